"""Accuracy of the engine's exp, tanh and sigmoid in ulp: `python bench/ulp.py [--dtype float64]`.

float32: all 2^32 numbers in ascending order, against NumPy in float64; takes some minutes.
float64: random samples, against NumPy in extended precision (x86).

An error is |found - exact| / ulp(exact), ulp(v) = 2^(floor(log2 |v|) - mantissa bits), and at least
the smallest subnormal. Monotone: no number has a smaller result than the number below it.

The engine is reached through its `forward`: tanh and sigmoid by a network with W = 1, b = 0. exp
has no layer of its own but stands in a softmax over the logits 0 and x: next to a small exp(x) the
sum is 1, the first output 1 and the second exp(x). Beside a larger one, two fillers make the sum 2:
the first output shows that it was exactly 2, the second is exp(x) / 2.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastnn import engine
from fastnn.activations import ACTIVATIONS
from fastnn.program import Program, blocks, build

Array = NDArray[Any]
Function = Callable[[Array], Array]

CHUNK = 1 << 22
WIDTH = 16  # numbers in a row: the product with the identity passes them on unchanged
NEVER = -1e4  # a logit whose exponential is 0


def program(name: str, width: int, dtype: str) -> Program:
    """h = g(x)."""
    identity = build([width, width], [(ACTIVATIONS[name].code, 0.0)], 2, dtype)
    ((weights, _),) = blocks(identity, identity.parameters)
    weights[...] = np.eye(width)
    return identity


def elementwise(core: Any, name: str, dtype: str) -> Function:
    """g of finite numbers (n,), n a multiple of WIDTH."""
    net = program(name, WIDTH, dtype)

    def function(x: Array) -> Array:
        out = np.empty((len(x) // WIDTH, WIDTH), dtype)
        core.forward(net, x.reshape(out.shape), out, 1)
        return out.reshape(-1)

    return function


def exponential(core: Any, dtype: str) -> Function:
    """exp of numbers (n,) below or equal to 0; NaN where no fillers were found."""
    net = program("softmax", 4, dtype)
    step = np.finfo(dtype).eps / 4

    def function(x: Array) -> Array:
        result = np.full(len(x), np.nan, dtype)
        todo = np.arange(len(x))
        for attempt in (0, 1, -1, 2, -2, 3, -3, 4, -4, 6, -6, 8, -8):
            wide = x[todo].astype(np.longdouble if dtype == "float64" else "float64")
            z = np.zeros((len(todo), 4), dtype)
            z[:, 1] = x[todo]
            rest = -np.expm1(wide)  # the fillers' exponentials sum to 1 - exp(x)
            rest[wide < np.log(step / 2)] = 0
            with np.errstate(divide="ignore", invalid="ignore"):
                z[:, 2] = np.fmax(np.log(rest) - 2.0**-10, NEVER)
                rest = rest - np.exp(z[:, 2].astype(wide.dtype))
                z[:, 3] = np.fmax(np.log(rest + attempt * step), NEVER)
            out = np.empty_like(z)
            core.forward(net, z, out, 1)
            found = (out[:, 0] == 0.5) | (out[:, 0] == 1)
            result[todo[found]] = out[found, 1] / out[found, 0]
            todo = todo[~found]
            if not len(todo):
                break
        return result

    return function


def sigmoid(x: Array) -> Array:
    """1 / (1 + e^-x), precise in both tails."""
    e = np.exp(-np.abs(x))
    return np.where(x < 0, e, 1) / (1 + e)


EXACT: dict[str, Function] = {"exp": np.exp, "tanh": np.tanh, "sigmoid": sigmoid}


def errors(found: Array, exact: Array, dtype: str) -> Array:
    """|found - exact| in ulp of the exact values, which have a wider dtype."""
    kind = np.finfo(dtype)
    exponent = np.frexp(exact)[1] - 1
    ulp = np.ldexp(exact.dtype.type(1), np.maximum(exponent, kind.minexp) - kind.nmant)
    return np.asarray(np.abs(found - exact) / ulp)


@dataclass
class Report:
    """The worst that was met."""

    name: str
    dtype: str
    count: int = 0
    unknown: int = 0  # numbers whose exponential softmax did not show
    worst: float = -1.0
    where: float = np.nan
    found: float = np.nan
    falls: int = 0  # numbers with a smaller result than the one before
    fall: float = np.nan  # the first of them
    last: float = -np.inf

    def add(self, x: Array, found: Array, exact: Array, ascending: bool) -> None:
        """x in ascending order, if monotonicity is asked for."""
        known = ~np.isnan(found)
        self.count += len(x)
        self.unknown += int((~known).sum())
        x, found, exact = x[known], found[known], exact[known]
        error = errors(found, exact, self.dtype)
        if len(x) and error.max() > self.worst:
            i = int(error.argmax())
            self.worst, self.where, self.found = float(error[i]), float(x[i]), float(found[i])
        if len(x) and ascending:
            falls = np.flatnonzero(np.diff(found, prepend=found.dtype.type(self.last)) < 0)
            if len(falls) and not self.falls:
                self.fall = float(x[falls[0]])
            self.falls += len(falls)
            self.last = float(found[-1])

    def show(self, seconds: float) -> None:
        unknown = f", {self.unknown:,} not shown by softmax" if self.unknown else ""
        print(
            f"| {self.name} | {self.dtype} | {self.count:,}{unknown} | {self.worst:.4f} | "
            f"{self.where!r} ({self.where.hex()}) -> {self.found!r} | "
            f"{self.falls} {'' if np.isnan(self.fall) else self.fall!r} | {seconds:.0f} s |",
            flush=True,
        )


def all_floats(lowest: float, highest: float) -> Iterator[Array]:
    """Every float32 between two finite ones, ascending, in chunks of a multiple of WIDTH."""

    def rank(x: float) -> int:  # numbers the floats in ascending order
        bits = int(np.float32(x).view(np.int32))
        return bits if bits >= 0 else -(bits & 0x7FFFFFFF) - 1

    first, last = rank(lowest), rank(highest)
    for start, end in pairwise([*range(first, last + 1, CHUNK), last + 1]):
        ranks = np.arange(start, end, dtype=np.int32)
        ranks = np.pad(ranks, (0, -len(ranks) % WIDTH), mode="edge")
        yield np.where(ranks >= 0, ranks, (-ranks - 1) | np.int32(-(2**31))).view(np.float32)


def samples(random: np.random.Generator, count: int, limit: float) -> Array:
    """Half of them uniform in (-limit, limit), half with uniform exponents."""
    x = random.uniform(-limit, limit, count)
    x[::2] = np.copysign(np.exp2(random.uniform(-60, np.log2(limit), len(x[::2]))), x[::2])
    return x


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--dtype", choices=("float32", "float64"), default="float32")
    parser.add_argument("--samples", type=int, default=10**7, help="of float64")
    parser.add_argument("functions", nargs="*", default=list(EXACT))
    options = parser.parse_args()
    core, dtype = engine.get(options.engine), options.dtype
    print(f"engine {core.NAME}")
    print("\n| function | dtype | numbers | max ulp | at | falls | time |\n" + "| --- " * 7 + "|")
    for name in options.functions:
        function = exponential(core, dtype) if name == "exp" else elementwise(core, name, dtype)
        report, start = Report(name, dtype), time.perf_counter()
        if dtype == "float32":
            largest = float(np.finfo(dtype).max)
            for x in all_floats(-largest, -0.0 if name == "exp" else largest):
                report.add(x, function(x), EXACT[name](x.astype("float64")), ascending=True)
        else:
            random = np.random.default_rng(0)
            for count in np.diff([*range(0, options.samples, CHUNK), options.samples]):
                x = samples(random, -(-count // WIDTH) * WIDTH, 800.0 if name == "exp" else 40.0)
                x = -np.abs(x) if name == "exp" else x
                report.add(x, function(x), EXACT[name](x.astype(np.longdouble)), ascending=False)
        report.show(time.perf_counter() - start)


if __name__ == "__main__":
    main()
