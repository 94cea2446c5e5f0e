"""Accuracy of exp, tanh and activations in ulp: `python bench/ulp.py [--dtype float64] [NAME ...]`.

float32: all 2^32 numbers, against NumPy in float64. Every engine that multiplies and adds with one
rounding computes them; they must agree in every bit. Some minutes a function.
float64: runs of neighbouring numbers at random places, against NumPy in extended precision (x86).

An error is |found - exact| / ulp(exact), ulp(v) = 2^(floor(log2 |v|) - mantissa bits), and at least
the smallest subnormal. Engines compute without subnormal numbers: such an x counts as zero, and
zero is right where the exact value is subnormal or about to round to one. A fall is a number whose
result is smaller than that of the number below it.

gelu, silu, mish and gelu_tanh are meant to fall below about -1. gelu takes a quarter of an hour,
and is measured in float32 alone: NumPy has no erf.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastnn import engine

Array = NDArray[Any]

CHUNK = 1 << 13  # numbers at a time, in the cache
RUN = 1 << 12  # neighbours, in float64
LARGEST = {"tanh": 25.0}  # beyond it nothing changes in float64; 750 for the others


def sigmoid(x: Array) -> Array:
    e = np.exp(-np.abs(x))
    return np.asarray(np.where(x < 0, e, 1) / (1 + e))


def softplus(x: Array) -> Array:
    return np.asarray(np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x))))


def gelu(x: Array) -> Array:
    return np.asarray(x * np.vectorize(math.erfc, otypes=[float])(-x / math.sqrt(2)) / 2)


def gelu_tanh(x: Array) -> Array:
    two, pi = x.dtype.type(2), 4 * np.arctan(x.dtype.type(1))
    near = np.clip(x, -1e4, 1e4)  # beyond them it is 0, or x
    u = np.sqrt(two / pi) * (near + 44715 * near**3 / 1000000)
    return np.asarray(np.where(x > 1e4, x, near * sigmoid(2 * u)))


def selu(x: Array) -> Array:
    scale = x.dtype.type("1.0507009873554804934193349852946")
    alpha = x.dtype.type("1.6732632423543772848170429916717")
    return np.asarray(scale * np.where(x < 0, alpha * np.expm1(np.minimum(x, 0)), x))


def down(x: Array) -> Array:
    """x, but not so low that x * 0 is no number."""
    return np.maximum(x, -20000 if x.dtype == np.longdouble else -740)


GATED = ("silu", "mish", "gelu_tanh")  # x times what counts as zero where that is subnormal

EXACT: dict[str, Callable[[Array], Any]] = {  # in the dtype of x, precise in both tails
    "exp": np.exp,
    "tanh": np.tanh,
    "sigmoid": sigmoid,
    "elu": lambda x: np.where(x < 0, np.expm1(np.minimum(x, 0)), x),
    "selu": selu,
    "silu": lambda x: down(x) * sigmoid(down(x)),
    "softplus": softplus,
    "mish": lambda x: down(x) * np.tanh(softplus(down(x))),
    "softsign": lambda x: 1 / (1 / x + np.sign(x)),
    "gelu": lambda x: gelu(np.maximum(x, -40)),
    "gelu_tanh": gelu_tanh,
}


def one_ulp(values: Array, dtype: str) -> Array:
    """The distance of numbers of `dtype` at these values, which have a wider dtype."""
    kind = np.finfo(dtype)
    if values.dtype == np.float64:  # the bits of the exponent alone: quicker than frexp
        power = (values.view(np.int64) & (0x7FF << 52)).view(np.float64)
        return np.asarray(np.maximum(power, kind.tiny) * kind.eps)
    exponent = np.maximum(np.frexp(values)[1] - 1, kind.minexp)
    return np.asarray(np.ldexp(values.dtype.type(1), exponent - kind.nmant))


@dataclass
class Report:
    """The worst that was met."""

    name: str
    dtype: str
    count: int = 0
    worst: float = -1.0
    where: float = np.nan
    falls: int = 0
    fall: float = np.nan  # the first of them
    last: float = np.inf  # the last number, and its result
    last_found: float = np.inf
    other_bits: int = 0  # results that the engines do not agree on
    nans_kept: bool = True

    def add(self, x: Array, found: Array) -> None:
        """Numbers in ascending order."""
        kind = np.finfo(self.dtype)
        wide = x.astype(np.longdouble if self.dtype == "float64" else np.float64)
        wide[np.abs(x) < kind.tiny] = 0
        with np.errstate(divide="ignore"):
            values = np.asarray(EXACT[self.name](wide))
        with np.errstate(invalid="ignore"):
            error = np.abs(found - values) / one_ulp(values, self.dtype)
        found = np.where(np.abs(found) < kind.tiny, 0, found)  # as whatever reads it has it
        lost = np.maximum(1, np.abs(wide)) if self.name in GATED else 1
        least = kind.tiny * (1 + 4 * kind.eps) * lost
        flushed = (found == 0) & (np.abs(values) < least)
        error[(found == values) | flushed | (np.isinf(found) & (values > kind.max))] = 0
        i = int(error.argmax())
        if not error[i] <= self.worst:
            self.worst, self.where = float(error[i]), float(x[i])
        before = found.dtype.type(self.last_found if x[0] > self.last else -np.inf)
        falls = np.flatnonzero(found < np.concatenate([[before], found[:-1]]))
        if len(falls) and not self.falls:
            self.fall = float(x[falls[0]])
        self.falls += len(falls)
        self.last, self.last_found = float(x[-1]), float(found[-1])
        self.count += len(x)

    def show(self, seconds: float) -> None:
        falls = f"{self.falls:,}" + (f", the first at {self.fall!r}" if self.falls else "")
        kept = "kept" if self.nans_kept else "lost"
        print(
            f"| {self.name} | {self.dtype} | {self.count:,} | {self.worst:.4f} | "
            f"{self.where!r} ({self.where.hex()}) | {falls} | {self.other_bits:,} | {kept} | "
            f"{seconds:.0f} s |",
            flush=True,
        )


def all_floats() -> Iterator[Array]:
    """Every float32 that is a number, in ascending order, with the infinities."""
    end = 0x7F800001  # one more than infinity's bits
    for start in range(-end, end, CHUNK):
        ranks = np.arange(start, min(start + CHUNK, end), dtype=np.int64)
        bits = np.where(ranks >= 0, ranks, (-ranks - 1) | (1 << 31))
        yield bits.astype(np.uint32).view(np.float32)


def all_nans() -> Iterator[Array]:
    """Every float32 that is not a number."""
    for sign in (0, 1 << 31):
        for start in range(0x7F800001, 1 << 31, CHUNK):
            bits = np.arange(start, min(start + CHUNK, 1 << 31), dtype=np.int64) | sign
            yield bits.astype(np.uint32).view(np.float32)


def runs(count: int, largest: float) -> Iterator[Array]:
    """Neighbouring float64 numbers, ascending: places uniform in size or in exponent."""
    random = np.random.default_rng(0)
    for number in range(count // RUN):
        place = random.uniform(0, largest)
        if number % 2:
            place = np.exp2(random.uniform(-60, np.log2(largest)))
        x = (np.array(place).view(np.int64) + np.arange(RUN)).view(np.float64)
        yield -x[::-1] if number % 4 < 2 else x


def sweep(cores: list[Any], name: str, dtype: str, samples: int) -> Report:
    """Every number, or `samples` of float64, on every engine."""
    report = Report(name, dtype)

    def compute(x: Array) -> Array:
        outs = [np.empty_like(x) for _ in cores]
        for core, out in zip(cores, outs, strict=True):
            core.evaluate_function(name, x, out)
        bits = [out.view(f"u{out.itemsize}") for out in outs]
        numbers = ~np.isnan(x)
        report.other_bits += sum(int((other != bits[0])[numbers].sum()) for other in bits[1:])
        return outs[0]

    for x in all_floats() if dtype == "float32" else runs(samples, LARGEST.get(name, 750.0)):
        report.add(x, compute(x))
    nans = all_nans() if dtype == "float32" else iter([np.full(RUN, np.nan)])
    report.nans_kept = all(bool(np.isnan(compute(x)).all()) for x in nans)
    return report


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dtype", choices=("float32", "float64"), default="float32")
    parser.add_argument("--samples", type=int, default=10**8, help="of float64")
    parser.add_argument("functions", nargs="*", default=["exp", "tanh", "sigmoid"])
    options = parser.parse_args()
    for name in options.functions:
        if name not in EXACT:
            parser.error(f"expected functions among {', '.join(EXACT)}, got {name}")
    if "gelu" in options.functions and options.dtype == "float64":
        parser.error("expected float32 for gelu, whose exact values are float64's")
    names = [n for n in engine.available() if n not in ("baseline", "reference")] or ["baseline"]
    cores = [engine.get(name, options.dtype) for name in names]
    print(f"engines: {', '.join(core.NAME for core in cores)}\n")
    print("| function | dtype | numbers | max ulp | at | falls | other bits | NaN | time |")
    print("| --- " * 9 + "|")
    for name in options.functions:
        start = time.perf_counter()
        with np.errstate(over="ignore", under="ignore"):
            report = sweep(cores, name, options.dtype, options.samples)
        report.show(time.perf_counter() - start)


if __name__ == "__main__":
    main()
