"""A Program: a network, loss and optimizer flattened into the plain arrays that an engine runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from .reference import ACTIVATION, BIASES, INPUTS, OUTPUTS, WEIGHTS, blocks

__all__ = [
    "ACTIVATION",
    "BIASES",
    "INPUTS",
    "OUTPUTS",
    "PADDING",
    "WEIGHTS",
    "Program",
    "aligned_copy",
    "blocks",
    "build",
    "flops",
    "prepare",
    "zero_state",
    "zeros_like_parameters",
]

ALIGNMENT = 16  # elements: each block of weights or biases starts at a multiple of this
PADDING = 64  # elements of readable memory behind every arena, for whole-vector loads
CACHE_LINE = 64  # bytes


@dataclass(slots=True, eq=False)
class Program:
    """Plain data; engines know nothing else of a network."""

    dtype: np.dtype[Any]  # float32 or float64
    layers: NDArray[np.int64]  # (L, 5): INPUTS, OUTPUTS, ACTIVATION, WEIGHTS, BIASES
    slopes: NDArray[np.float64]  # (L,): leaky_relu's slope, else 0
    parameters: NDArray[Any]  # (P + PADDING,); gaps between blocks are zero
    input_scale: float
    center: NDArray[np.float64] | None  # (I,), what standardised inputs are measured from,
    factor: NDArray[np.float64] | None  # (I,), and in units of what; None: input_scale instead
    loss: int  # code
    optimizer: int  # code
    state: NDArray[Any]  # (slots, P + PADDING), the optimizer's
    plan: Any = (
        None  # an engine's own notes on this program; it makes them anew where they are not its own
    )


def aligned_zeros(shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    """Zeros that start on a cache line."""
    dtype = np.dtype(dtype)
    size = int(np.prod(shape)) * dtype.itemsize
    memory = np.zeros(size + CACHE_LINE, np.uint8)
    first = -memory.ctypes.data % CACHE_LINE
    return memory[first : first + size].view(dtype).reshape(shape)


def aligned_copy(array: NDArray[Any]) -> NDArray[Any]:
    """A copy that starts on a cache line."""
    copy = aligned_zeros(array.shape, array.dtype)
    copy[...] = array
    return copy


def build(
    sizes: Sequence[int],
    activations: Sequence[tuple[int, float]],
    loss: int,
    dtype: DTypeLike = "float32",
    input_scale: float = 1.0,
) -> Program:
    """A Program with all parameters zero, and no optimizer state yet.

    sizes: [I, ..., O], one more than there are layers; activations: (code, slope) of each layer;
    loss: its code.
    """
    dtype = np.dtype(dtype)
    layers = np.zeros((len(activations), 5), np.int64)
    layers[:, INPUTS], layers[:, OUTPUTS] = sizes[:-1], sizes[1:]
    layers[:, ACTIVATION] = [code for code, _ in activations]
    end = 0
    for layer in layers:
        for column, length in ((WEIGHTS, layer[INPUTS] * layer[OUTPUTS]), (BIASES, layer[OUTPUTS])):
            layer[column] = end
            end += -(-length // ALIGNMENT) * ALIGNMENT
    return Program(
        dtype=dtype,
        layers=layers,
        slopes=np.array([slope for _, slope in activations], np.float64),
        parameters=aligned_zeros((end + PADDING,), dtype),
        input_scale=float(input_scale),
        center=None,
        factor=None,
        loss=loss,
        optimizer=0,
        state=aligned_zeros((0, end + PADDING), dtype),
    )


def flops(program: Program) -> int:
    """Floating-point operations of one row's way forward, products only."""
    return 2 * int(program.layers[:, INPUTS] @ program.layers[:, OUTPUTS])


def prepare(program: Program, optimizer: int, slots: int) -> None:
    """Make the program ready for an optimizer, its state zero."""
    program.state = zero_state(program, slots)
    program.optimizer = optimizer


def zero_state(program: Program, slots: int) -> NDArray[Any]:
    """The state (slots, P + PADDING) that an optimizer begins with."""
    return aligned_zeros((slots, len(program.parameters)), program.dtype)


def zeros_like_parameters(program: Program) -> NDArray[Any]:
    """An arena of gradients, laid out like the parameters."""
    return aligned_zeros(program.parameters.shape, program.dtype)
