"""A Program: a network, loss and optimizer flattened into the plain arrays that an engine runs.

A network is a list of small ops; value i is what op i gives. Beside them stand the blocks, the only
statement of where parameters lie: each an array of two axes in one arena.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

if TYPE_CHECKING:
    from .activations import Activation

# Kinds of ops. x is the value of op SOURCE, y that of op OTHER.
INPUT, DENSE, ACTIVATE, SOFTMAX, DROPOUT, ADD = range(6)
KINDS = (
    "INPUT",  # the data, scaled
    "DENSE",  # x @ W + b; W is block BLOCK, b the next
    "ACTIVATE",  # g(x), g by its CODE; leaky_relu's slope or elu's alpha is the op's number
    "SOFTMAX",  # along a row
    "DROPOUT",  # in training, x without some of its numbers; the rate is the op's number
    "ADD",  # x + y
)

KIND, SOURCE, OTHER, WIDTH, BLOCK, CODE = range(6)  # columns of Program.ops
START, ROWS, COLUMNS = range(3)  # columns of Program.blocks

CROSS_ENTROPY, BINARY_CROSS_ENTROPY = 0, 1  # losses that are read from the last op's source

# A row of an optimizer's numbers, one for each step: the rate, and what each optimizer makes of the
# letters; rate times weight decay, what clips, the share of each of the accumulated gradients in
# their mean (0: no update yet), of the weights in their averages, and what penalties are times.
RATE, A, B, C, D, E, EPSILON, DECAY, CLIP, SHARE, AVERAGE, PENALTY = range(12)
WIDTH_OF_ROW = 12

# An optimizer's code: the kind of its update, and what it has besides.
KINDS_OF_UPDATE = 256
SCHEDULE_FREE = 13  # a kind
DECAYS, CLIPS, CLIPS_NORM, CLIPS_GLOBAL_NORM, ACCUMULATES, AVERAGES = (
    KINDS_OF_UPDATE << bit for bit in range(6)
)

ALIGNMENT = 16  # elements: each block starts at a multiple of this
PADDING = 64  # elements of readable memory behind every arena, for whole-vector loads
CACHE_LINE = 64  # bytes


@dataclass(slots=True, eq=False)
class Program:
    """Plain data; engines know nothing else of a network.

    What stands in parameters and state changes, and loss, optimizer, seed and update may; engines
    look at the rest once: for other ops, blocks or scales, put new arrays in their place.
    """

    dtype: np.dtype[Any]  # float32 or float64
    ops: NDArray[np.int64]  # (n, 6): KIND, SOURCE, OTHER, WIDTH, BLOCK, CODE
    numbers: NDArray[np.float64]  # (n,): an op's slope or rate, else 0
    blocks: NDArray[np.int64]  # (m, 3): START in an arena, ROWS, COLUMNS
    names: tuple[str, ...]  # of the blocks
    layers: NDArray[np.int64]  # (L + 1,): the value that each layer gives; h_0 first
    parameters: NDArray[Any]  # (P + PADDING,); gaps between blocks are zero
    input_scale: float
    center: NDArray[np.float64] | None  # (I,), what standardised inputs are measured from,
    factor: NDArray[np.float64] | None  # (I,), and in units of what; None: input_scale instead
    loss: int  # code
    optimizer: int  # code
    state: NDArray[Any]  # (slots, P + PADDING), the optimizer's
    seed: int = 0
    penalties: NDArray[np.float64] | None = None  # (m, 3): l1, l2 and max_norm of each block
    factors: NDArray[np.float64] | None = None  # (m, 3): on the optimizer's rate, epsilon, decay
    update: int = 0  # what random numbers of the next call's first update are drawn by
    plan: Any = (
        None  # an engine's own notes on this program; it makes them anew where they are not its own
    )

    @property
    def inputs(self) -> int:
        """I, the number of features."""
        return int(self.ops[0, WIDTH])

    @property
    def outputs(self) -> int:
        """O, the number of outputs."""
        return int(self.ops[-1, WIDTH])


@dataclass
class Builder:
    """Ops and blocks of a network in the making. Each method adds an op and returns its value."""

    inputs: int
    ops: list[tuple[int, ...]] = field(default_factory=list)
    numbers: list[float] = field(default_factory=list)
    blocks: list[tuple[int, int, int]] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    penalties: list[tuple[float, float, float]] = field(default_factory=list)
    end: int = 0  # of the arena

    def __post_init__(self) -> None:
        self._append(INPUT, 0, self.inputs)

    def _append(
        self, kind: int, source: int, width: int, *, other: int = 0, block: int = 0, code: int = 0
    ) -> int:
        self.ops.append((kind, source, other, width, block, code))
        self.numbers.append(0.0)
        return len(self.ops) - 1

    def width(self, value: int) -> int:
        """The columns of a value."""
        return self.ops[value][WIDTH]

    def _block(
        self, name: str, rows: int, columns: int, penalty: tuple[float, float, float] = (0, 0, 0)
    ) -> int:
        self.names.append(name)
        self.penalties.append(penalty)
        self.blocks.append((self.end, rows, columns))
        self.end += -(-rows * columns // ALIGNMENT) * ALIGNMENT
        return len(self.blocks) - 1

    def dense(
        self,
        source: int,
        units: int,
        name: str,
        penalty: tuple[float, float, float] = (0, 0, 0),
    ) -> int:
        """x @ W + b; the blocks are called `name`.weights and `name`.biases.

        penalty: l1, l2 and max_norm of W.
        """
        block = self._block(f"{name}.weights", self.width(source), units, penalty)
        self._block(f"{name}.biases", 1, units)
        return self._append(DENSE, source, units, block=block)

    def activate(self, source: int, activation: Activation) -> int:
        """g(x); nothing for the identity."""
        if activation.name == "identity":
            return source
        value = self._append(activation.kind, source, self.width(source), code=activation.code)
        self.numbers[value] = activation.slope
        return value

    def dropout(self, source: int, rate: float) -> int:
        """In training, x * mask, the mask 0 with probability `rate`, else 1 / (1 - rate)."""
        value = self._append(DROPOUT, source, self.width(source))
        self.numbers[value] = rate
        return value

    def add(self, source: int, other: int) -> int:
        """x + y."""
        return self._append(ADD, source, self.width(source), other=other)

    def program(
        self,
        layers: Sequence[int],
        loss: int,
        dtype: DTypeLike = "float32",
        input_scale: float = 1.0,
        seed: int = 0,
    ) -> Program:
        """The Program, all parameters zero, no optimizer state yet. layers: their values."""
        dtype = np.dtype(dtype)
        return Program(
            dtype=dtype,
            ops=np.array(self.ops, np.int64),
            numbers=np.array(self.numbers, np.float64),
            blocks=np.array(self.blocks, np.int64).reshape(-1, 3),
            names=tuple(self.names),
            layers=np.array([0, *layers], np.int64),
            parameters=aligned_zeros((self.end + PADDING,), dtype),
            input_scale=float(input_scale),
            center=None,
            factor=None,
            loss=loss,
            optimizer=0,
            state=aligned_zeros((0, self.end + PADDING), dtype),
            seed=seed,
            penalties=np.array(self.penalties, np.float64) if np.any(self.penalties) else None,
        )


def build(
    sizes: Sequence[int],
    activations: Sequence[Activation],
    loss: int,
    dtype: DTypeLike = "float32",
    input_scale: float = 1.0,
) -> Program:
    """The Program of dense layers. sizes: [I, ..., O], one more than there are activations."""
    builder = Builder(sizes[0])
    value, values = 0, []
    for number, (units, activation) in enumerate(zip(sizes[1:], activations, strict=True)):
        value = builder.activate(builder.dense(value, units, f"layers.{number}"), activation)
        values.append(value)
    return builder.program(values, loss, dtype, input_scale)


def views(program: Program, arena: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """The blocks of an arena laid out like the parameters, by name; biases have one axis."""
    found = {}
    for name, (start, rows, columns) in zip(program.names, program.blocks.tolist(), strict=True):
        found[name] = arena[start : start + rows * columns].reshape(axes(name, rows, columns))
    return found


def axes(name: str, rows: int, columns: int) -> tuple[int, ...]:
    """The shape of a block's view: biases have one axis."""
    return (columns,) if name.endswith(".biases") else (rows, columns)


def dense_places(program: Program) -> list[tuple[slice, slice, int]]:
    """Of the dense layers, where W and b lie in an arena like the parameters, and the outputs."""
    found = []
    blocks = program.blocks.tolist()
    for op in program.ops.tolist():
        if op[KIND] == DENSE:
            (w, inputs, outputs), (b, _, _) = blocks[op[BLOCK] : op[BLOCK] + 2]
            found.append((slice(w, w + inputs * outputs), slice(b, b + outputs), outputs))
    return found


def pairs(
    program: Program, arena: NDArray[Any], places: list[tuple[slice, slice, int]] | None = None
) -> list[tuple[NDArray[Any], NDArray[Any]]]:
    """Views [(W (I, O), b (O,)), ...] of the dense layers, in an arena like the parameters.

    Their places are looked up unless they are given.
    """
    found = places or dense_places(program)
    return [(arena[w].reshape(-1, outputs), arena[b]) for w, b, outputs in found]


def check(program: Program, dtype: np.dtype[Any], activations: int, losses: int) -> None:
    """Raise for a program that does not fit, before an engine runs it.

    dtype: the engine's; activations, losses: how many it has. TypeError for parameters of another
    dtype or shape, ValueError for the rest.
    """
    parameters = program.parameters
    if parameters.dtype != dtype or parameters.ndim != 1 or not parameters.flags.c_contiguous:
        found = f"{parameters.ndim} axes of {parameters.dtype}"
        raise TypeError(f"expected parameters on one axis of {dtype}, got {found}")
    ops = np.asarray(program.ops)
    if (
        ops.ndim != 2
        or ops.shape[1] != CODE + 1
        or len(ops) != len(program.numbers)
        or len(ops) < 2
    ):
        raise ValueError(f"expected ops (n, {CODE + 1}) and n numbers, got {ops.shape}")
    rows = ops.tolist()
    for number, op in enumerate(rows):
        problem = _problem(program, rows, number, activations)
        if problem:
            kind = KINDS[op[KIND]] if 0 <= op[KIND] < len(KINDS) else f"of kind {op[KIND]}"
            raise ValueError(f"op {number} ({kind}) of the program does not fit: {problem}")
    _check_read(rows)
    _check_blocks(program, rows)
    if not 0 <= program.loss < losses:
        raise ValueError(f"expected a loss's code below {losses}, got {program.loss}")
    wanted = {CROSS_ENTROPY: SOFTMAX, BINARY_CROSS_ENTROPY: ACTIVATE}.get(program.loss)
    if wanted not in (None, rows[-1][KIND]):
        kind = KINDS[rows[-1][KIND]]
        raise ValueError(f"expected {KINDS[wanted or 0]} as the last op for the loss, got {kind}")
    _check_scales(program, rows[0][WIDTH])
    check_own(program)
    if not set(np.asarray(program.layers).tolist()) <= set(range(len(rows))):
        raise ValueError(f"expected layers' values below {len(rows)}, got {program.layers}")


def check_own(program: Program) -> None:
    """Raise for penalties or factors that are not three of each block."""
    shape = len(program.blocks), 3
    for name in ("penalties", "factors"):
        own = getattr(program, name)
        if own is not None and not (own.shape == shape and (own >= 0).all()):
            raise ValueError(f"expected {name} {shape} of at least 0, got {own}")


def _problem(program: Program, ops: list[list[int]], number: int, activations: int) -> str:
    """What is wrong with an op, or nothing."""
    kind, source, other, width, block, code = ops[number]
    if (kind == INPUT) != (number == 0) or not 0 <= kind < len(KINDS):
        return "expected INPUT first, and the other kinds after it"
    if not 0 < width < 1 << 31:
        return f"expected a width from 1 to 2^31 - 1, got {width}"
    if number == 0:
        return ""
    for value in (source, other):
        if not 0 <= value < number:
            return f"expected a source before it, got {value}"
    wide = ops[source][WIDTH]
    if kind == DENSE:
        if not 0 <= block < len(program.blocks) - 1:
            return f"expected blocks {block} and {block + 1}, got {len(program.blocks)} blocks"
        found = [tuple(place[1:]) for place in program.blocks[block : block + 2].tolist()]
        if found != [(wide, width), (1, width)]:
            return f"expected blocks {[(wide, width), (1, width)]}, got {found}"
    elif width != wide or (kind == ADD and width != ops[other][WIDTH]):
        sources = f"{wide} and {ops[other][WIDTH]}" if kind == ADD else f"{wide}"
        return f"expected one width, got {width} of sources of {sources}"
    if kind == ACTIVATE and not 0 <= code < activations:
        return f"expected an activation's code below {activations}, got {code}"
    given = float(program.numbers[number])
    if not (0 <= given < 1 if kind == DROPOUT else np.isfinite(given)):
        return f"expected a rate in [0, 1) or a finite number, got {given}"
    return ""


def _check_read(ops: list[list[int]]) -> None:
    """Raise for a value that no op reads, but the last."""
    read = {op[SOURCE] for op in ops[1:]} | {op[OTHER] for op in ops if op[KIND] == ADD}
    for number, op in enumerate(ops[:-1]):
        if number not in read:
            kind = KINDS[op[KIND]]
            raise ValueError(
                f"op {number} ({kind}) of the program does not fit: expected an op that reads it"
            )


def _check_blocks(program: Program, ops: list[list[int]]) -> None:
    """Raise for a block outside the arena, one that lies in another, or one that two ops share."""
    end = len(program.parameters) - PADDING
    last = 0
    for start, rows, columns in sorted(program.blocks.tolist()):
        if not last <= start <= start + rows * columns <= end:
            found = f"{start} to {start + rows * columns}"
            raise ValueError(f"expected a block within {last} to {end} of the arena, got {found}")
        last = start + rows * columns
    used = sorted(op[BLOCK] + k for op in ops if op[KIND] == DENSE for k in (0, 1))
    if used != list(range(len(program.blocks))):
        raise ValueError(f"expected {len(program.blocks)} blocks, each of one op, got {used}")
    if not used:
        raise ValueError("expected at least one DENSE op, got none")


def _check_scales(program: Program, inputs: int) -> None:
    """Raise for columns' scales of another shape or dtype."""
    for name in ("center", "factor"):
        scale = getattr(program, name)
        if scale is None and program.center is None:
            continue
        fits = (
            isinstance(scale, np.ndarray) and scale.dtype == np.float64 and scale.shape == (inputs,)
        )
        if not fits or not scale.flags.c_contiguous:
            found = f"{scale.dtype} {scale.shape}" if isinstance(scale, np.ndarray) else f"{scale}"
            raise ValueError(f"expected {name} to be float64 {(inputs,)}, got {found}")


def aligned_zeros(shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    """Zeros that start on a cache line."""
    dtype = np.dtype(dtype)
    size = math.prod(shape) * dtype.itemsize
    memory = np.zeros(size + CACHE_LINE, np.uint8)
    return np.ndarray(shape, dtype, memory, -memory.ctypes.data % CACHE_LINE)


def aligned_copy(array: NDArray[Any]) -> NDArray[Any]:
    """A copy that starts on a cache line."""
    copy = aligned_zeros(array.shape, array.dtype)
    copy[...] = array
    return copy


def flops(program: Program) -> int:
    """Floating-point operations of one row's way forward, products only."""
    ops: list[list[int]] = program.ops.tolist()
    return 2 * sum(ops[op[SOURCE]][WIDTH] * op[WIDTH] for op in ops if op[KIND] == DENSE)


def prepare(
    program: Program, optimizer: int, slots: int, factors: NDArray[np.float64] | None = None
) -> None:
    """Make the program ready for an optimizer of this code, its state as it begins."""
    program.state = first_state(program, optimizer, slots)
    program.optimizer, program.factors = optimizer, factors


def first_state(program: Program, optimizer: int, slots: int) -> NDArray[Any]:
    """The state (slots, P + PADDING) that an optimizer begins with: zeros, or weights.

    Where the parameters are averages, the weights that training goes by are the last slot.
    """
    state = aligned_zeros((slots, len(program.parameters)), program.dtype)
    if optimizer & AVERAGES:
        state[-1] = program.parameters
    if optimizer % KINDS_OF_UPDATE == SCHEDULE_FREE:
        state[0] = program.parameters
    return state


def in_training(program: Program) -> NDArray[Any]:
    """The weights that training goes by: the parameters, or what they are averages of."""
    last: NDArray[Any] = program.state[-1] if program.optimizer & AVERAGES else program.parameters
    return last


def zeros_like_parameters(program: Program) -> NDArray[Any]:
    """An arena of gradients, laid out like the parameters."""
    return aligned_zeros(program.parameters.shape, program.dtype)
