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
INPUT, DENSE, ACTIVATE, SOFTMAX, DROPOUT, ADD, SCALE, ROW_NORM, PRELU, BLEND, COLUMN_NORM, EMBED = (
    range(12)
)
KINDS = (
    "INPUT",  # the data, scaled
    "DENSE",  # x @ W + b; W is block BLOCK, b the next; with the code BARE no b
    "ACTIVATE",  # g(x), g by its CODE; leaky_relu's slope or elu's alpha is the op's number
    "SOFTMAX",  # along a row
    "DROPOUT",  # in training, x without some of its numbers; the rate is the op's number. With the
    # code ALPHA they become the limit of selu, and mean 0 and variance 1 stay as they are
    "ADD",  # x + y
    "SCALE",  # x * gamma + beta, along each column; with the code BARE no beta
    "ROW_NORM",  # (x - mean) / sqrt(variance + epsilon) along a row; epsilon is the op's number
    "PRELU",  # x, or a * x below 0, with an a for each column
    "BLEND",  # x + a * (g(x) - x), with an a for each column; g and its number as in ACTIVATE
    "COLUMN_NORM",  # as ROW_NORM, of each column over the batch; running ones in BLOCK and the next
    "EMBED",  # x, in the place of its column CODE the row of a table that stands there; the last
    # row for what is the number of no other
)

KIND, SOURCE, OTHER, WIDTH, BLOCK, CODE = range(6)  # columns of Program.ops
START, ROWS, COLUMNS = range(3)  # columns of Program.blocks
BARE = 1  # the code of an op without the last of its blocks, what is added
ALPHA = 1  # the code of alpha dropout
ANY = -1  # rows of a block

# Rows of Program.augmentation: numbers are drawn from MIDDLE - SPREAD to MIDDLE + SPREAD
SHIFT_X, SHIFT_Y, SCALE_X, SCALE_Y, ROTATION, SHEAR = range(6)  # pixels, factors, radians
ELASTIC, NOISE, SHAPE = range(6, 9)  # (sigma, alpha), in units of x, (height, width)
LONGEST_SIDE = 1 << 12  # of an image: weights of nodes for columns take up to 64 MB
SMALLEST_SIGMA = 1.0

# Losses whose numbers or last op must be of a kind; those of LAST read the last op's source.
CROSS_ENTROPY, BINARY_CROSS_ENTROPY, MEAN_SQUARED_ERROR, MEAN_ABSOLUTE_ERROR, HUBER = range(5)
LOG_COSH, QUANTILE, POISSON, HINGE, FOCAL, GAUSSIAN = range(5, 11)
CROSS_ENTROPY_LOGITS, BINARY_CROSS_ENTROPY_LOGITS = 11, 12
LAST = {
    CROSS_ENTROPY: SOFTMAX,
    BINARY_CROSS_ENTROPY: ACTIVATE,
    POISSON: ACTIVATE,
    FOCAL: ACTIVATE,
}

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

STATISTICS = (".running_mean", ".running_variance")  # endings of blocks that no optimizer changes


@dataclass(slots=True, eq=False)
class Program:
    """Plain data; engines know nothing else of a network.

    What stands in parameters and state changes, and loss, optimizer, seed, update and augmentation
    may; engines look at the rest once: for other ops, blocks, scales or numbers of the loss, put
    new arrays in their place.
    """

    dtype: np.dtype[Any]  # float32 or float64
    ops: NDArray[np.int64]  # (n, 6): KIND, SOURCE, OTHER, WIDTH, BLOCK, CODE
    numbers: NDArray[np.float64]  # (n,): an op's slope, rate or epsilon, else 0
    momenta: NDArray[np.float64]  # (n,): a batch's share in an op's running statistics, else 0
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
    loss_numbers: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))  # the loss's
    augmentation: NDArray[np.float64] | None = None  # (9, 2): how rows to learn from are deformed
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

    @property
    def per_target(self) -> int:
        """How many outputs a target has: more than one where the loss is of several."""
        return {QUANTILE: len(self.loss_numbers), GAUSSIAN: 2}.get(self.loss, 1)

    @property
    def targets(self) -> int:
        """T, the number of a row's targets."""
        return self.outputs // self.per_target


@dataclass
class Builder:
    """Ops and blocks of a network in the making. Each method adds an op and returns its value."""

    inputs: int
    ops: list[tuple[int, ...]] = field(default_factory=list)
    numbers: list[float] = field(default_factory=list)
    momenta: list[float] = field(default_factory=list)
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
        self.momenta.append(0.0)
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
        use_bias: bool = True,
        penalty: tuple[float, float, float] = (0, 0, 0),
    ) -> int:
        """x @ W + b; the blocks are called `name`.weights and `name`.biases.

        penalty: l1, l2 and max_norm of W.
        """
        block = self._block(f"{name}.weights", self.width(source), units, penalty)
        if use_bias:
            self._block(f"{name}.biases", 1, units)
        return self._append(DENSE, source, units, block=block, code=0 if use_bias else BARE)

    def activate(self, source: int, activation: Activation) -> int:
        """g(x); nothing for the identity."""
        if activation.name == "identity":
            return source
        value = self._append(activation.kind, source, self.width(source), code=activation.code)
        self.numbers[value] = activation.slope
        return value

    def dropout(self, source: int, rate: float, alpha: bool = False) -> int:
        """In training, x * mask, the mask 0 with probability `rate`, else 1 / (1 - rate).

        alpha: alpha dropout.
        """
        value = self._append(DROPOUT, source, self.width(source), code=ALPHA if alpha else 0)
        self.numbers[value] = rate
        return value

    def add(self, source: int, other: int) -> int:
        """x + y."""
        return self._append(ADD, source, self.width(source), other=other)

    def column_norm(self, source: int, momentum: float, epsilon: float, name: str) -> int:
        """(x - mean) / sqrt(variance + epsilon) of each column: over the batch in training.

        Elsewhere by the blocks `name`.running_mean and `name`.running_variance, to which each
        batch is added with the weight `momentum`.
        """
        width = self.width(source)
        block = self._block(f"{name}.running_mean", 1, width)
        self._block(f"{name}.running_variance", 1, width)
        value = self._append(COLUMN_NORM, source, width, block=block)
        self.numbers[value], self.momenta[value] = epsilon, momentum
        return value

    def scale(self, source: int, name: str, shift: bool = False) -> int:
        """x * gamma, with a shift + beta; the blocks are called `name`.gamma and `name`.beta."""
        width = self.width(source)
        block = self._block(f"{name}.gamma", 1, width)
        if shift:
            self._block(f"{name}.beta", 1, width)
        return self._append(SCALE, source, width, block=block, code=0 if shift else BARE)

    def row_norm(self, source: int, epsilon: float) -> int:
        """(x - mean) / sqrt(variance + epsilon), of each row."""
        value = self._append(ROW_NORM, source, self.width(source))
        self.numbers[value] = epsilon
        return value

    def prelu(self, source: int, name: str) -> int:
        """x, or slope * x below 0; the block is called `name`.slopes."""
        width = self.width(source)
        return self._append(PRELU, source, width, block=self._block(f"{name}.slopes", 1, width))

    def blend(self, source: int, activation: Activation, name: str) -> int:
        """x + a * (g(x) - x); the block is called `name`.blend."""
        width = self.width(source)
        block = self._block(f"{name}.blend", 1, width)
        value = self._append(BLEND, source, width, block=block, code=activation.code)
        self.numbers[value] = activation.slope
        return value

    def embed(self, source: int, column: int, table: tuple[int, int], name: str) -> int:
        """x, in the place of a column of codes a row of the table; its block is `name`.weights."""
        block = self._block(f"{name}.weights", *table)
        width = self.width(source) - 1 + table[1]
        return self._append(EMBED, source, width, block=block, code=column)

    def program(
        self,
        layers: Sequence[int],
        loss: int,
        dtype: DTypeLike = "float32",
        input_scale: float = 1.0,
        seed: int = 0,
        loss_numbers: Sequence[float] = (),
    ) -> Program:
        """The Program, all parameters zero, no optimizer state yet. layers: their values."""
        dtype = np.dtype(dtype)
        return Program(
            dtype=dtype,
            ops=np.array(self.ops, np.int64),
            numbers=np.array(self.numbers, np.float64),
            momenta=np.array(self.momenta, np.float64),
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
            loss_numbers=np.array(loss_numbers, np.float64),
            penalties=np.array(self.penalties, np.float64) if np.any(self.penalties) else None,
        )


def build(
    sizes: Sequence[int],
    activations: Sequence[Activation],
    loss: int,
    dtype: DTypeLike = "float32",
    input_scale: float = 1.0,
    loss_numbers: Sequence[float] = (),
) -> Program:
    """The Program of dense layers. sizes: [I, ..., O], one more than there are activations."""
    builder = Builder(sizes[0])
    value, values = 0, []
    for number, (units, activation) in enumerate(zip(sizes[1:], activations, strict=True)):
        value = builder.activate(builder.dense(value, units, f"layers.{number}"), activation)
        values.append(value)
    return builder.program(values, loss, dtype, input_scale, loss_numbers=loss_numbers)


def views(program: Program, arena: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """The blocks of an arena laid out like the parameters, by name, in the shape of `axes`."""
    found = {}
    for name, (start, rows, columns) in zip(program.names, program.blocks.tolist(), strict=True):
        found[name] = arena[start : start + rows * columns].reshape(axes(name, rows, columns))
    return found


def axes(name: str, rows: int, columns: int) -> tuple[int, ...]:
    """The shape of a block's view: all but weights have one axis."""
    return (rows, columns) if name.endswith(".weights") else (columns,)


def normalises(program: Program) -> bool:
    """Whether training takes statistics of whole batches: COLUMN_NORM is among the ops."""
    return any(name.endswith(STATISTICS) for name in program.names)


def shapes(ops: Sequence[Sequence[int]], number: int) -> list[tuple[int, int]]:
    """Rows and columns of the blocks that an op has: BLOCK and those that follow it.

    ANY rows where the block itself says how many.
    """
    kind, source, _, width, _, code = ops[number]
    if kind in (DENSE, SCALE):
        first = ops[source][WIDTH] if kind == DENSE else 1
        return [(first, width), (1, width)][: 1 if code == BARE else 2]
    if kind == EMBED:
        return [(ANY, width + 1 - ops[source][WIDTH])]
    return [(1, width)] * {PRELU: 1, BLEND: 1, COLUMN_NORM: 2}.get(kind, 0)


Places = list[list[tuple[slice, tuple[int, ...]]]]


def block_places(program: Program) -> Places:
    """Of each op with parameters, where they lie in an arena like them, and as what."""
    ops, blocks, found = program.ops.tolist(), program.blocks.tolist(), []
    for number, op in enumerate(ops):
        numbers = range(op[BLOCK], op[BLOCK] + len(shapes(ops, number)))
        places = [(program.names[k], *blocks[k]) for k in numbers]
        if places and op[KIND] != COLUMN_NORM:
            found.append([(slice(i, i + r * c), axes(name, r, c)) for name, i, r, c in places])
    return found


def pairs(
    program: Program, arena: NDArray[Any], places: Places | None = None
) -> list[tuple[NDArray[Any], ...]]:
    """Views of the blocks of each op with parameters, in an arena like them.

    (W (I, O), b (O,)) of a dense layer. Their places are looked up unless they are given.
    """
    found = places or block_places(program)
    return [tuple(arena[where].reshape(shape) for where, shape in one) for one in found]


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
        or not len(ops) == len(program.numbers) == len(program.momenta)
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
    _check_loss(program, rows[-1][KIND], rows[-1][WIDTH])
    _check_scales(program, rows[0][WIDTH])
    check_own(program)
    if not set(np.asarray(program.layers).tolist()) <= set(range(len(rows))):
        raise ValueError(f"expected layers' values below {len(rows)}, got {program.layers}")


def _check_loss(program: Program, last: int, outputs: int) -> None:
    """Raise for a last op or numbers that do not fit the loss."""
    wanted = LAST.get(program.loss)
    if wanted not in (None, last):
        raise ValueError(
            f"expected {KINDS[wanted or 0]} as the last op for the loss, got {KINDS[last]}"
        )
    numbers = program.loss_numbers
    if not isinstance(numbers, np.ndarray) or numbers.dtype != np.float64 or numbers.ndim != 1:
        raise ValueError(f"expected loss_numbers on one axis of float64, got {numbers}")
    count = len(numbers)
    if program.loss in (CROSS_ENTROPY, CROSS_ENTROPY_LOGITS):
        fine = count <= 1
    elif program.loss in (BINARY_CROSS_ENTROPY, BINARY_CROSS_ENTROPY_LOGITS):
        fine = count in (0, 1, outputs)
    elif program.loss == QUANTILE:
        fine = count > 0 and outputs % count == 0
    else:
        fine = count == {HUBER: 1, FOCAL: 2}.get(program.loss, 0)
    if not (fine and numbers.flags.c_contiguous and np.isfinite(numbers).all()):
        raise ValueError(f"expected numbers that the loss can use, got {numbers}")
    if outputs % program.per_target:
        raise ValueError(f"expected {program.per_target} outputs for each target, got {outputs}")


def check_own(program: Program) -> None:
    """Raise for penalties or factors that are not three of each block; penalties are of W."""
    shape = len(program.blocks), 3
    for name in ("penalties", "factors"):
        own = getattr(program, name)
        if own is not None and not (own.shape == shape and (own >= 0).all()):
            raise ValueError(f"expected {name} {shape} of at least 0, got {own}")
    penalties = np.zeros(shape) if program.penalties is None else program.penalties
    tables = program.ops[program.ops[:, KIND] == EMBED, BLOCK]
    for block, (name, own) in enumerate(zip(program.names, penalties, strict=True)):
        if own.any() and not name.endswith(".weights"):  # in engines threads share a row of those
            raise ValueError(f"expected penalties of weights alone, got one of {name}")
        if own[2] and block in tables:  # no engine measures their columns
            raise ValueError(f"expected max_norm of dense layers alone, got one of {name}")


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
    wanted = shapes(ops, number)
    if wanted:
        end = block + len(wanted)
        if not 0 <= block <= end <= len(program.blocks):
            numbers = " and ".join(map(str, range(block, end)))
            return f"expected blocks {numbers}, got {len(program.blocks)} blocks"
        found = [tuple(place[1:]) for place in program.blocks[block:end].tolist()]
        alike = [
            (n if rows == ANY else rows, m) for (rows, m), (n, _) in zip(wanted, found, strict=True)
        ]
        if found != alike:
            return f"expected blocks {wanted}, got {found}"
        if min(map(min, found)) < 1:
            return f"expected blocks of at least one number, got {found}"
    if kind in (DENSE, SCALE, DROPOUT) and code not in (0, 1):  # BARE, ALPHA
        return f"expected a code of 0 or 1, got {code}"
    if kind == EMBED and not 0 <= code < wide:
        return f"expected a column below {wide}, got {code}"
    if kind not in (DENSE, EMBED) and (
        width != wide or (kind == ADD and width != ops[other][WIDTH])
    ):
        sources = f"{wide} and {ops[other][WIDTH]}" if kind == ADD else f"{wide}"
        return f"expected one width, got {width} of sources of {sources}"
    if kind in (ACTIVATE, BLEND) and not 0 <= code < activations:
        return f"expected an activation's code below {activations}, got {code}"
    given = float(program.numbers[number])
    if kind == COLUMN_NORM:
        momentum = float(program.momenta[number])
        if not 0 < momentum <= 1:
            return f"expected a momentum in (0, 1], got {momentum}"
    if not (0 <= given < 1 if kind == DROPOUT else np.isfinite(given)):
        return f"expected a rate in [0, 1) or a finite number, got {given}"
    if kind in (ROW_NORM, COLUMN_NORM) and not program.dtype.type(given) > 0:
        return f"expected a positive epsilon, got {given}"
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
    used = sorted(op[BLOCK] + k for v, op in enumerate(ops) for k in range(len(shapes(ops, v))))
    if used != list(range(len(program.blocks))):
        raise ValueError(f"expected {len(program.blocks)} blocks, each of one op, got {used}")
    if DENSE not in [op[KIND] for op in ops]:
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


def check_augmentation(program: Program) -> None:
    """Raise ValueError for an augmentation that does not fit, before an engine runs it."""
    found = program.augmentation
    if not (
        isinstance(found, np.ndarray)
        and found.dtype == np.float64
        and found.shape == (SHAPE + 1, 2)
    ):
        raise ValueError(f"expected augmentation to be float64 {(SHAPE + 1, 2)}, got {found!r}")
    middle, spread = np.abs(found[SCALE_X : SCALE_Y + 1].T)
    if not (np.isfinite(found).all() and (middle > spread).all()):
        raise ValueError(
            f"expected finite numbers and positive scales in augmentation, got {found}"
        )
    height, width = found[SHAPE].tolist()
    sides = 1 <= min(height, width) <= max(height, width) <= LONGEST_SIDE
    if not sides or height % 1 or width % 1 or height * width != program.inputs:
        raise ValueError(f"expected images of {program.inputs} pixels, got {height} x {width}")
    if found[ELASTIC, 0] < SMALLEST_SIGMA:
        raise ValueError(f"expected sigma of at least 1 in augmentation, got {found[ELASTIC, 0]}")


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


def copy_statistics(program: Program, source: NDArray[Any], target: NDArray[Any]) -> None:
    """Running statistics of one arena like the parameters into another: nothing averages them."""
    for name, (start, rows, columns) in zip(program.names, program.blocks.tolist(), strict=True):
        if name.endswith(STATISTICS):
            target[start : start + rows * columns] = source[start : start + rows * columns]


def in_training(program: Program) -> NDArray[Any]:
    """The weights that training goes by: the parameters, or what they are averages of."""
    last: NDArray[Any] = program.state[-1] if program.optimizer & AVERAGES else program.parameters
    return last


def zeros_like_parameters(program: Program) -> NDArray[Any]:
    """An arena of gradients, laid out like the parameters."""
    return aligned_zeros(program.parameters.shape, program.dtype)
