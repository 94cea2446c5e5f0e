"""A network, or a stretch of its layers, as a function: values and gradients of whole batches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _arrays, activations, structure
from .. import engine as engines
from .._arrays import Array
from .._errors import shown, whole
from ..engine import Engine
from ..layers import Dense
from ..program import ACTIVATE, CODE, KIND, SOFTMAX, SOURCE, Program, zeros_like_parameters

if TYPE_CHECKING:
    from ..network import Network

ROWS = 4096  # of one call of an engine, so that Ctrl-C is prompt


@dataclass(frozen=True, eq=False)
class Function:
    """What a program computes, in the units of the data: h * scale + shift, (B, I) to (B, O)."""

    program: Program
    engine: Engine
    threads: int
    scale: float = 1.0
    shift: NDArray[np.float64] | None = None  # (O,)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the values and gradients."""
        return self.program.dtype

    def __call__(self, x: Array) -> Array:
        """The outputs (B, O)."""
        out = np.empty((len(x), self.program.outputs), self.dtype)
        for rows in _arrays.pieces(len(x), ROWS):
            self.engine.forward(self.program, x[rows], out[rows], self.threads)
        if self.shift is not None:
            out *= self.dtype.type(self.scale)
            out += self.shift.astype(self.dtype)
        return out

    def gradient(self, x: Array, d: Array) -> Array:
        """Of sum(d * outputs), d (B, O), with respect to x: (B, I)."""
        dx = np.empty((len(x), self.program.inputs), self.dtype)
        weights = zeros_like_parameters(self.program)  # their gradients are not used
        d = np.ascontiguousarray(d * self.scale, self.dtype)
        slopes = self.slopes()
        for rows in _arrays.pieces(len(x), ROWS):
            part = dx[rows]
            self.engine.backward(self.program, x[rows], d[rows], weights, part, self.threads)
            if slopes is not None:
                part *= slopes
        return dx

    def slopes(self) -> Array | None:
        """What inputs are multiplied by, (I,) or (); None for one."""
        if self.program.factor is not None:
            return self.program.factor.astype(self.dtype)
        scale = self.program.input_scale
        return None if scale == 1.0 else self.dtype.type(scale)

    def of_scaled(self) -> Function:
        """The same function of the scaled inputs h_0."""
        program = replace(self.program, input_scale=1.0, center=None, factor=None, plan=None)
        return replace(self, program=program)

    def scaled(self, x: Array) -> NDArray[np.float64]:
        """h_0 (B, I) of x in the units of the data."""
        slopes = self.program.input_scale if self.program.factor is None else self.program.factor
        return (x.astype(np.float64) - self.origin()) * slopes

    def in_units(self, h: Array) -> NDArray[np.float64]:
        """x (B, I) of h_0; columns that the network does not look at are as at the origin."""
        slopes = self.program.factor
        if slopes is None:
            return h / self.program.input_scale
        seen = slopes != 0
        found: NDArray[np.float64] = self.origin() + np.where(
            seen, h / np.where(seen, slopes, 1), 0
        )
        return found

    def origin(self) -> Array:
        """The input (I,) that is scaled to zeros: the means of standardised columns, else zeros."""
        center = self.program.center
        return np.zeros(self.program.inputs) if center is None else center


def threads_of(net: Network) -> int:
    """On how many threads a network runs."""
    return net.num_threads or engines.get_num_threads()


def outputs(net: Network) -> Function:
    """What `predict` gives."""
    engine = engines.get(net.engine, net.dtype.name)
    return Function(net.program, engine, threads_of(net), net.output_scale, net.output_center)


def scores(net: Network, layer: int | None = None) -> Function:
    """The outputs before a last softmax or sigmoid; from the inputs, or the values of a layer."""
    program, found = net.program, outputs(net)
    ops, end = program.ops.tolist(), len(program.ops) - 1
    sigmoid = ops[end][KIND] == ACTIVATE and ops[end][CODE] == activations.get("sigmoid").code
    if ops[end][KIND] == SOFTMAX or sigmoid:
        end = ops[end][SOURCE]
    first = 0 if layer is None else layer + 1
    part = structure.stretch(program, first, len(net.layers), end)
    return Function(part, found.engine, found.threads, found.scale, found.shift)


def sums(net: Network, layer: int) -> Function:
    """z (B, width) of a dense layer, before its activation, from the inputs."""
    found, end = outputs(net), int(net.program.layers[layer]) + 1
    part = structure.stretch(net.program, 0, layer + 1, end)
    return Function(part, found.engine, found.threads)


def dense_of(net: Network, layer: int) -> tuple[int, Dense]:
    """A dense layer, and its place in `net.layers`; TypeError where it is another layer."""
    number = layer_of(net, layer)
    found = net.layers[number]
    if not isinstance(found, Dense):
        raise TypeError(f"expected layer to be that of a Dense, got {found}")
    return number, found


def layer_of(net: Network, layer: int, *, last: bool = True) -> int:
    """The place of a layer in `net.layers`, counted from the end if it is negative.

    last: whether it may be the last. Raises ValueError for a place that there is not.
    """
    number, most = whole("layer", layer), len(net.layers)
    if not -most <= number < most:
        raise ValueError(f"expected layer below {most}, got {shown(number)}")
    number %= most
    if number == most - 1 and not last:
        raise ValueError(f"expected a layer before the last, got {shown(layer)}")
    return number


def index_of(name: str, index: int, end: int) -> int:
    """A whole number from 0 to end - 1, counted from the end if it is negative."""
    number = whole(name, index)
    if not -end <= number < end:
        raise ValueError(f"expected {name} below {end}, got {shown(number)}")
    return number % end


def each_row(name: str, which: int | ArrayLike, rows: int, end: int) -> NDArray[np.int64]:
    """One number below `end` for each row (B,), from such an array or a single one."""
    found = _arrays.real(name, which)
    if found.shape not in ((), (rows,)):
        raise ValueError(f"expected {name} as a number or ({rows},) of them, got {found.shape}")
    if found.dtype.kind not in "iu":
        raise TypeError(f"expected whole numbers in {name}, got {found.dtype}")
    if found.size and not 0 <= found.min() <= found.max() < end:
        raise ValueError(f"expected {name} from 0 to {end - 1}, got {found.min()} to {found.max()}")
    return np.broadcast_to(found.astype(np.int64), (rows,))


def batches(rows: int, each: int, most: int = 1 << 24) -> Iterator[slice]:
    """Slices of so many rows that each, of `each` elements, makes at most `most` of them."""
    return _arrays.pieces(rows, max(1, most // each))
