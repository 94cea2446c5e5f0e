"""Looking at structure: what each layer costs, which neurons do nothing, fewer neurons or more.

It knows programs, layers and values, and nothing of a `Network`.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import losses
from ._arrays import Array
from ._statistics import Columns, Running
from .activations import Activation
from .layers import BatchNorm, Dense, Dropout, Layer, Scale
from .program import (
    ACTIVATE,
    BLOCK,
    DENSE,
    DROPOUT,
    INPUT,
    KIND,
    OTHER,
    SOURCE,
    WIDTH,
    Program,
    aligned_zeros,
    flops,
    views,
)

Forward = Callable[[Program, Array, Array], object]  # an engine's, with its threads

ROWS = (1, 1024)  # of a measurement
SECONDS = 0.01  # that one takes at least,
REPEATS = 5  # and in how many parts; the shortest counts

LIMITS = {"sigmoid": (0.0, 1.0), "tanh": (-1.0, 1.0)}  # of activations that saturate
NEAR = 0.025  # of the range between the limits: |tanh| above 0.95, the sigmoid's slope below 0.025
MOSTLY = 0.95  # of the rows
ROUNDING = 8  # units in the last place: values that differ by less are one

ELEMENTWISE = (ACTIVATE, DROPOUT)  # ops whose columns are neurons, each for itself


# ------------------------------------------------------------------------------------------ summary


def summary(program: Program, layers: Sequence[Layer], forward: Forward | None) -> list[str]:
    """A line for each layer below a head: shape, parameters, cost. With `forward`, measured too."""
    head = f"{'layer':<6}{'inputs':>7}{'outputs':>8}{'parameters':>12}{'multiply-adds':>15}"
    head += f"{'bytes':>13}" + "".join(f"{f'µs, {n:,} rows':>16}" for n in ROWS if forward)
    lines = [f"{head.replace('1 rows', '1 row', 1)}  activation"]
    times = [measured(program, n, forward) for n in ROWS] if forward else []
    widths = program.ops[program.layers, WIDTH].tolist()
    products = [flops(prefix(program, k)) // 2 for k in range(len(layers) + 1)]
    for k, layer in enumerate(layers):
        line = f"{k + 1:<6}{widths[k]:>7}{widths[k + 1]:>8}{layer.size:>12,}"
        line += f"{products[k + 1] - products[k]:>15,}{layer.size * program.dtype.itemsize:>13,}"
        line += "".join(f"{time[k]:>16,.1f}" for time in times)
        lines.append(f"{line}  {layer.label}")
    return lines


def prefix(program: Program, layers: int) -> Program:
    """The program of the first so many layers, on the same parameters."""
    return stretch(program, 0, layers, int(program.layers[layers]))


def stretch(program: Program, first: int, last: int, end: int) -> Program:
    """The program of the layers `first` to `last` - 1, on the same parameters.

    Its inputs are the values of the layer before, or the program's own, scaled as there. end: the
    op that it ends with, that of the last layer's value or one before.
    """
    begin = int(program.layers[first])
    ops = program.ops[begin : end + 1].copy()
    known = [f"layers.{k}." for k in range(first, last)]
    blocks = [k for k, name in enumerate(program.names) if name.startswith(tuple(known))]
    ops[:, [SOURCE, OTHER]] = np.maximum(ops[:, [SOURCE, OTHER]] - begin, 0)
    ops[:, BLOCK] = np.maximum(ops[:, BLOCK] - min(blocks, default=0), 0)
    ops[0] = 0
    ops[0, WIDTH] = program.ops[begin, WIDTH]
    scaled = first == 0
    return replace(
        program,
        ops=ops,
        numbers=np.where(ops[:, KIND] == INPUT, 0.0, program.numbers[begin : end + 1]),
        momenta=program.momenta[begin : end + 1].copy(),
        blocks=program.blocks[blocks].copy(),
        names=tuple(program.names[k] for k in blocks),
        layers=np.minimum(program.layers[first : last + 1], end) - begin,
        loss=losses.LOSSES["mean_squared_error"].code,  # which any output will do for
        plan=None,
        input_scale=program.input_scale if scaled else 1.0,
        center=program.center if scaled else None,
        factor=program.factor if scaled else None,
    )


def measured(program: Program, rows: int, forward: Forward) -> list[float]:
    """Microseconds that each layer takes of a prediction of so many rows; their sum is that of all.

    Each is the time up to this layer less the time up to the one before, and not below 0; the
    first layer with weights has the time of the call itself, and of those before it.
    """
    parts = [prefix(program, layers) for layers in range(1, len(program.layers))]
    calls = [
        partial(
            forward,
            part,
            np.ones((rows, part.inputs), part.dtype),
            aligned_zeros((rows, part.outputs), part.dtype),
        )
        for part in parts
        if DENSE in part.ops[:, KIND]  # engines run nothing without
    ]
    times = [0.0] * (len(parts) - len(calls)) + shortest(calls)
    ends = np.maximum.accumulate([0.0, *times])
    return [1e6 * float(time) for time in np.diff(ends)]


def shortest(calls: Sequence[Callable[[], object]]) -> list[float]:
    """Seconds of each call: the shortest mean of some parts of a measurement, taken in turns."""
    counts = []
    for call in calls:
        call()  # plans, memory, threads
        once = timed(call, 1)
        counts.append(max(1, math.ceil(SECONDS / REPEATS / max(once, 1e-7))))
    rounds = [
        [timed(call, count) for call, count in zip(calls, counts, strict=True)]
        for _ in range(REPEATS)
    ]
    return [min(found) for found in zip(*rounds, strict=True)]


def timed(call: Callable[[], object], count: int) -> float:
    """The mean seconds of so many calls."""
    begin = time.perf_counter()
    for _ in range(count):
        call()
    return (time.perf_counter() - begin) / count


# ---------------------------------------------------------------------------------------- diagnosis


@dataclass(frozen=True, eq=False)
class Neurons:
    """Those of a layer that do nothing, or little, over some rows: their numbers, ascending.

    dead: never positive, of the relu family. saturated: in 95 % of the rows within 2.5 % of a limit
    of tanh or the sigmoid. constant: the same value in every row, dead ones left out.
    """

    layer: int  # its place in `network.layers`
    label: str
    width: int
    dead: NDArray[np.int64]
    saturated: NDArray[np.int64]
    constant: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Diagnosis:
    """What `Network.diagnose` found: one `Neurons` for each layer with weights. Print it."""

    rows: int
    layers: tuple[Neurons, ...]

    def __str__(self) -> str:
        lines = [
            f"{'layer':<6}{'neurons':>8}{'dead':>8}{'saturated':>11}{'constant':>10}  activation"
        ]
        for found in self.layers:
            counts = (found.dead, found.saturated, found.constant)
            cells = [
                f"{len(neurons):>{width},}"
                for neurons, width in zip(counts, (8, 11, 10), strict=True)
            ]
            lines.append(f"{found.layer + 1:<6}{found.width:>8,}{''.join(cells)}  {found.label}")
        return "\n".join([*lines, f"over {self.rows:,} row{'s' * (self.rows > 1)}"])

    __repr__ = __str__


def diagnose(
    layers: Sequence[Layer], blocks: Iterable[list[Array]], dtype: np.dtype[Any]
) -> Diagnosis:
    """The diagnosis of these layers from blocks of values, [h_0, ..., h_L] each (n, width)."""
    with_weights = [(k, layer) for k, layer in enumerate(layers) if layer.size]
    running: dict[int, Running] = {}
    near: dict[int, Any] = {}  # in how many rows each neuron is near a limit
    for _, *h in blocks:
        for k, layer in with_weights:
            running.setdefault(k, Running(h[k].shape[1])).add(h[k].astype(np.float64))
            near[k] = near.get(k, 0) + near_limit(h[k], activation_of(layer)).sum(axis=0)
    found = []
    for k, layer in with_weights:
        columns = running[k].columns()
        dead = columns.high <= 0 if in_relu_family(activation_of(layer)) else np.False_
        still = columns.high - columns.low <= ROUNDING * np.finfo(dtype).eps * np.maximum(
            -columns.low, columns.high
        )
        states = dead, near[k] >= MOSTLY * running[k].rows, still & ~dead
        numbers = [np.flatnonzero(np.broadcast_to(s, still.shape)) for s in states]
        found.append(Neurons(k, layer.label, len(still), *numbers))
    return Diagnosis(running[found[0].layer].rows, tuple(found))


def activation_of(layer: Layer) -> Activation | None:
    """The layer's activation, if it has one."""
    found: Activation | None = getattr(layer, "activation", None)
    return found


def in_relu_family(activation: Activation | None) -> bool:
    """Whether it is near zero or flat for what is not positive: relu, leaky_relu, gelu, ..."""
    return activation is not None and activation.name.endswith("lu")


def near_limit(h: Array, activation: Activation | None) -> NDArray[np.bool_]:
    """Which values (B, O) are near a limit of their activation."""
    if activation is None or activation.name not in LIMITS:
        return np.zeros(h.shape, bool)
    low, high = LIMITS[activation.name]
    margin = NEAR * (high - low)
    return (h < low + margin) | (h > high - margin)


# ------------------------------------------------------------------------- fewer neurons, and more


@dataclass(frozen=True)
class Place:
    """Where the neurons of a hidden layer are made and read."""

    made: str  # weights and biases of the layer: the names of its blocks without their endings,
    read: str  # and those of the layer that reads it
    value: int  # in program.layers: what is read


def place(program: Program, layer: int) -> Place:
    """The place of a hidden dense layer; layer: its number in `network.layers`.

    Raises ValueError unless its neurons are read by one dense layer and nobody else, through ops
    that take each for itself.
    """
    first, last = (int(program.layers[k]) for k in (layer, layer + 1))
    ops = program.ops.tolist()
    made = value = next((v for v in range(first + 1, last + 1) if ops[v][KIND] == DENSE), 0)
    readers = read_by(ops, value)
    while made and len(readers) == 1 and ops[readers[0]][KIND] in ELEMENTWISE:
        value = readers[0]
        readers = read_by(ops, value)
    values = program.layers.tolist()
    if not made or [ops[v][KIND] for v in readers] != [DENSE] or value not in values:
        raise ValueError(
            f"expected a hidden layer that one dense layer reads, neuron by neuron, "
            f"got layers[{layer}]"
        )
    layers = [program.names[ops[v][BLOCK]].rpartition(".")[0] for v in (made, readers[0])]
    return Place(layers[0], layers[1], values.index(value))


def read_by(ops: list[list[int]], value: int) -> list[int]:
    """The ops that read a value other than the input."""
    return [v for v in range(value + 1, len(ops)) if value in (ops[v][SOURCE], ops[v][OTHER])]


def places(program: Program, layers: Sequence[Layer]) -> dict[int, Place]:
    """The places of all hidden layers that have one, by their numbers."""
    found = {}
    for k, layer in enumerate(layers):
        if isinstance(layer, Dense):
            with contextlib.suppress(ValueError):
                found[k] = place(program, k)
    return found


def seen(blocks: Iterable[list[Array]], values: Sequence[int]) -> list[Columns]:
    """What is known of some values over all rows; values: their numbers in program.layers."""
    found: dict[int, Running] = {}
    for h in blocks:
        for v in values:
            found.setdefault(v, Running(h[v].shape[1])).add(h[v].astype(np.float64))
    return [found[v].columns() for v in values]


def importance(program: Program, where: Place, neurons: Columns) -> NDArray[np.float64]:
    """The mean square (width,) that each neuron adds to what the next layer computes.

    What is left when its mean goes into the next biases: Σ_o (deviation(h) W[:, o])²; where there
    are none, the mean adds to it.
    """
    blocks = views(program, program.parameters)
    outgoing = blocks[f"{where.read}.weights"].astype(np.float64)
    kept = 0.0 if f"{where.read}.biases" in blocks else neurons.mean**2
    squares: NDArray[np.float64] = (neurons.deviation**2 + kept) * (outgoing**2).sum(axis=1)
    return squares


def strongest(neurons: NDArray[np.float64], width: int) -> NDArray[np.int64]:
    """The numbers, ascending, of so many of the most important neurons; of equals the first."""
    return np.sort(np.argsort(-neurons, kind="stable")[:width])


def share_out(neurons: Sequence[NDArray[np.float64]], keep: float) -> list[int]:
    """How many neurons of each layer are among the share `keep` of all; at least 1 of each.

    They are compared by their importance in units of their layer's mean.
    """
    shares = [found / (found.mean() or 1.0) for found in neurons]
    best = [found.argmax() for found in shares]
    for found, k in zip(shares, best, strict=True):
        found[k] = np.inf
    layer = np.repeat(np.arange(len(shares)), [len(found) for found in shares])
    wanted = max(len(shares), round(keep * len(layer)))
    chosen = layer[np.argsort(-np.concatenate(shares), kind="stable")[:wanted]]
    return [int(count) for count in np.bincount(chosen, minlength=len(shares))]


@dataclass(frozen=True)
class Folded:
    """A layer of a network whose scales were folded, and which layer it was."""

    layer: Layer
    number: int
    weights: Array | None = None  # W and b, if they are others than before
    biases: Array | None = None


def fold(layers: Sequence[Layer]) -> list[Folded]:
    """The layers, `BatchNorm` and `Scale` in the weights of the `Dense` behind them.

    Between them may be dropout. With x * a + c for x, x @ W + b is x @ (a W) + (b + c @ W).
    """
    found: list[Folded] = []
    held: list[Folded] = []  # since the latest other layer
    for number, layer in enumerate(layers):
        if isinstance(layer, BatchNorm | Scale | Dropout):
            held.append(Folded(layer, number))
            continue
        scales = [one.layer for one in held if isinstance(one.layer, BatchNorm | Scale)]
        if scales and isinstance(layer, Dense):
            held = [one for one in held if isinstance(one.layer, Dropout)]
            weights = layer.weights.astype(np.float64)
            biases = layer.biases.astype(np.float64) if layer.use_bias else np.zeros(layer.units)
            for scale in reversed(scales):
                assert isinstance(scale, BatchNorm | Scale)
                factor, shift = scale.affine()
                biases += shift @ weights
                weights *= factor[:, None]
            held.append(Folded(layer.with_biases(), number, weights, biases))
        else:
            held.append(Folded(layer, number))
        found, held = found + held, []
    return found + held


def carry(old: Program, new: Program, where: Place, kept: NDArray[np.int64], mean: Array) -> None:
    """Give a program the parameters of one that differs in the width of one layer.

    kept: the neurons that stay, first in the new layer. mean (width,): the values of those that go,
    which the next biases get, if there are some. Neurons beyond them keep the weights that they
    have, and nobody hears them yet: their outgoing weights are zero.
    """
    before, after = views(old, old.parameters), views(new, new.parameters)
    resized = (f"{where.made}.weights", f"{where.made}.biases", f"{where.read}.weights")
    for name in before.keys() - set(resized):
        after[name][...] = before[name]
    n = len(kept)
    made, biases, read = resized
    after[made][:, :n] = before[made][:, kept]
    if biases in before:
        after[biases][:n] = before[biases][kept]
    after[read][:n] = before[read][kept]
    after[read][n:] = 0
    gone = np.delete(np.arange(len(mean)), kept)
    heard = f"{where.read}.biases"
    if heard in before:
        after[heard][...] = before[heard] + mean[gone] @ before[read][gone].astype(np.float64)
