"""Training: epochs, the order of rows, validation, callbacks, history."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import starmap
from operator import itemgetter
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import _arrays, schedules
from ._arrays import Array
from ._errors import DivergenceError
from ._progress import Progress, Unit, progress
from ._random import SHUFFLE, stream
from .optimizers import Optimizer
from .program import Program, zero_state, zeros_like_parameters

if TYPE_CHECKING:
    from .network import Network

Callback = Callable[["Network", int, dict[str, float]], object]
Sums = tuple[float, int]  # of losses, and of what agrees
Meaning = Literal["class", "classes", "numbers"]  # of a row's targets: one class, or any of them

# One call of an engine takes about as many steps as cost this many flops: some 5 to 50 ms, so that
# Ctrl-C and the progress bar are prompt. A count and not a clock, so that the sums behind the
# reported loss are the same in every run.
CALL_COST = 1 << 31
STEP_COST = 1 << 18  # what a step costs at least, in flops
CALL_SIZE = 1 << 23  # numbers of x at most, since some must be converted
UNIT_ROWS, UNIT_COST = 256, 1 << 32  # a larger batch goes in units, multiples of 256 rows as cheap
MOST_UNITS = 256  # of those rows together: sums over rows are cut, and never in one long chain
SHUFFLED = 1 << 18  # rows shuffled in one call; even, since a draw has two words


@dataclass
class History:
    """What each epoch brought: `history` maps a name to a list, one value an epoch.

    loss and accuracy (of each batch just before its update), val_loss and val_accuracy, the
    learning_rate of the last step, and the seconds of training without validation. Where a row may
    have several labels it is binary_accuracy and val_binary_accuracy, the share of right outputs;
    there is neither where y are real numbers to be met.
    """

    history: dict[str, list[float]] = field(default_factory=dict)

    def append(self, logs: dict[str, float]) -> None:
        """Add one epoch."""
        lists = [self.history.setdefault(name, []) for name in logs]
        any(map(list.append, lists, logs.values()))  # in C: no interrupt comes between two of them


@dataclass
class State:
    """What a second fit goes on from."""

    epochs: int = 0  # completed so far: the index of the next order of rows
    steps: int = 0  # updates so far by this optimizer
    optimizer: Optimizer | None = None
    meaning: Meaning | None = None  # of the targets of the latest fit


class Hold:
    """The right to change a network, which one call has at a time.

    It is taken in one step of the interpreter, and may be given back twice: an interrupt can come
    just before the first time.
    """

    def __init__(self, network: Network) -> None:
        self.holder = network._holder

    def __enter__(self) -> None:
        if self.holder.setdefault("fit", self) is not self:
            raise RuntimeError("expected a network at rest, got one that another fit is training")

    def __exit__(self, *_: object) -> None:
        self.release()

    def release(self) -> None:
        """Give it back, if it is ours."""
        if self.holder.get("fit") is self:
            self.holder.pop("fit")


def fit(
    network: Network,
    x: ArrayLike,
    y: ArrayLike,
    *,
    epochs: int,
    batch_size: int,
    optimizer: Optimizer,
    validation_data: tuple[ArrayLike, ArrayLike] | None,
    shuffle: bool,
    callbacks: Iterable[Callback],
    verbose: int,
) -> History:
    """`Network.fit`."""
    callbacks = checked_callbacks(callbacks)
    hold = Hold(network)
    try:
        with hold:
            data = Data(network, x, y, validation_data)
            if not network._learned():
                network._learn_scales(data.x, data.y)
            run = Run(network, data, min(batch_size, len(data.x)), optimizer, epochs)
            return run.all_epochs(shuffle, callbacks, verbose)
    finally:
        hold.release()


def unit(network: Network) -> int:
    """Rows whose gradients are had in one call, so that Ctrl-C is prompt; the sizes decide it."""
    cost = 3 * network.flops * UNIT_ROWS
    return UNIT_ROWS * max(1, min(MOST_UNITS, UNIT_COST // cost))


def gradients(
    network: Network, x: Array, y: Array, chosen: NDArray[np.int32] | None = None
) -> tuple[Array, float, int]:
    """Gradients of the mean loss over the chosen rows, or all, laid out like the parameters.

    Also returns the sum of the losses, and what agrees. Rows go to the engine unit by unit,
    whose gradients are added in float64.
    """
    program, engine = network.program, network._engine
    rows, at_once = len(x) if chosen is None else len(chosen), unit(network)
    arena = zeros_like_parameters(program)
    total = np.zeros(arena.shape if rows > at_once else 0)
    loss, agreeing = 0.0, 0
    for part in _arrays.pieces(rows, at_once):
        taken = part if chosen is None else chosen[part]
        part_loss, part_agreeing = engine.gradients(
            program,
            _arrays.block(x, taken, network.inputs, network.dtype),
            network._target_block(y, taken),
            arena,
            network._threads(),
        )
        loss, agreeing = loss + part_loss, agreeing + part_agreeing
        if total.size:
            share = (part.stop - part.start) / rows
            total += np.multiply(arena, share, dtype=np.float64)
    if total.size:
        arena[:] = total
    return arena, loss, agreeing


def checked_callbacks(callbacks: Iterable[Callback]) -> tuple[Callback, ...]:
    """The callbacks. Raises TypeError for what cannot be called."""
    if callable(callbacks):
        raise TypeError("expected callbacks as a list, got a function; pass [function]")
    found = tuple(callbacks)
    for callback in found:
        if not callable(callback):
            raise TypeError(f"expected callbacks to be functions, got {type(callback).__name__}")
    return found


class Data:
    """The checked rows of a fit, and those of its validation."""

    def __init__(
        self,
        network: Network,
        x: ArrayLike,
        y: ArrayLike,
        validation_data: tuple[ArrayLike, ArrayLike] | None,
    ) -> None:
        self.x, self.y = network._data(x, y)
        if len(self.x) > np.iinfo(np.int32).max:
            raise ValueError(f"expected at most 2^31 - 1 rows in x, got {len(self.x)}")
        weights = {"the network's weights": network.program.parameters}
        _arrays.check_apart("x", self.x, weights)
        _arrays.check_apart("y", self.y, weights)
        validation = None if validation_data is None else pair(network, validation_data)
        # whether a row has several labels is decided by all rows
        self.meaning = network._meaning(self.y, *([] if validation is None else validation[1:]))
        self.y = network._judged(self.y, self.meaning)
        self.validation = validation and (
            validation[0],
            network._judged(validation[1], self.meaning),
        )


def pair(network: Network, data: tuple[ArrayLike, ArrayLike]) -> tuple[Array, Array]:
    """The checked (x, y) of validation_data."""
    try:
        x, y = data
    except (TypeError, ValueError):
        raise ValueError("expected validation_data as a pair (x, y)") from None
    return network._data(x, y, "validation ")


@dataclass
class Epoch:
    """Where an epoch began, and which calls of the engine have come back since."""

    weights: Array
    steps: int  # updates by this optimizer before it
    # of each call: its steps, and the sums of losses and of what agrees
    calls: list[tuple[int, Sums]] = field(default_factory=list)


class Run:
    """One fit: its data, and how far it has come."""

    def __init__(
        self, network: Network, data: Data, batch_size: int, optimizer: Optimizer, epochs: int
    ) -> None:
        self.network, self.x, self.y = network, data.x, data.y
        self.validation = data.validation
        self.batch_size, self.epochs = batch_size, epochs
        self.optimizer = optimizer
        self.schedule = schedules.get(optimizer.learning_rate)
        self.total_steps = epochs * -(-len(self.x) // batch_size)
        self.rate = math.nan  # of the latest step
        self.order = np.arange(len(self.x), dtype=np.int32)
        self.direct = _arrays.direct(self.x)
        step_cost = STEP_COST + 3 * network.flops * batch_size  # two products back for one forward
        steps = min(CALL_COST // step_cost, CALL_SIZE // (network.inputs * batch_size))
        self.in_units = batch_size > unit(network)
        self.rows_per_call = batch_size * (1 if self.in_units else max(1, steps))
        if network.trained.optimizer != optimizer:
            prepare(network.program, network.trained, optimizer)
        network.trained.meaning = data.meaning
        self.first_step = network.trained.steps
        self.now = self.begun()

    def begun(self) -> Epoch:
        """An epoch that begins now."""
        return Epoch(self.network.program.parameters.copy(), self.network.trained.steps)

    def all_epochs(self, shuffle: bool, callbacks: tuple[Callback, ...], verbose: int) -> History:
        """Every epoch, its validation, and the callbacks, until one of them returns True."""
        network = self.network
        network.history = history = History()
        try:
            for number in range(1, self.epochs + 1):
                logs, seconds = self.validated_epoch(number, shuffle, verbose)
                history.append({**logs, "learning_rate": self.rate, "seconds": seconds})
                answers = [callback(network, number, dict(logs)) for callback in callbacks]
                if any(isinstance(answer, bool | np.bool_) and answer for answer in answers):
                    break
        except BaseException:
            self.settle()  # again: an interrupt may have come just before the first time
            raise
        finally:
            network.program.plan = None  # and with it the engine's memory for training
        return history

    def validated_epoch(
        self, number: int, shuffle: bool, verbose: int
    ) -> tuple[dict[str, float], float]:
        """One epoch and its validation, shown; returns their figures, and the epoch's seconds."""
        title = f"epoch {number}/{self.epochs}"
        with progress(title, len(self.x), Unit("samples"), shown=verbose > 0) as bar:
            start = time.perf_counter()
            logs = self.epoch(number, shuffle, bar)
            seconds = time.perf_counter() - start
            if self.validation is not None:
                figures = self.network._evaluate(*self.validation)
                logs.update((f"val_{name}", value) for name, value in figures.items())
            bar.finish(described(logs))
        return logs, seconds

    def epoch(self, number: int, shuffle: bool, bar: Progress) -> dict[str, float]:
        """Every row once; returns the means of loss and accuracy. Raises DivergenceError."""
        self.now = self.begun()
        if shuffle:
            self.shuffle()
        loss, agreeing = 0.0, 0
        figures: dict[str, float] = {}
        try:
            for part in _arrays.pieces(len(self.x), self.rows_per_call):
                part_loss, part_agreeing = self.call(part)
                loss, agreeing = loss + part_loss, agreeing + part_agreeing
                if not math.isfinite(loss):
                    break
                figures = self.network._figures(loss, agreeing, part.stop, self.y)
                bar.advance(part.stop - part.start, described(figures))
        finally:  # after Ctrl-C, too
            finite = self.settle()
        if not finite:
            found = "infinite weights" if math.isfinite(loss) else f"loss {loss}"
            raise DivergenceError(
                f"training diverged in epoch {number}: expected a finite loss and weights, got "
                f"{found}; the weights are those from the start of that epoch (try a smaller "
                f"learning rate)"
            )
        self.network.trained.epochs += 1
        return figures

    def settle(self) -> bool:
        """Count the epoch's steps; undo it if it diverged. Returns whether it did not."""
        training, weights = self.network.trained, self.network.program.parameters
        training.steps = self.now.steps + sum(steps for steps, _ in self.now.calls)
        loss = sum(loss for _, (loss, _) in self.now.calls)
        if math.isfinite(loss) and np.isfinite(weights).all():
            return True
        weights[:] = self.now.weights
        training.optimizer = None  # its state is lost
        return False

    def shuffle(self) -> None:
        """Draw the order of rows, a function of the seed and the number of the epoch."""
        network = self.network
        random = stream(network.seed, SHUFFLE, network.trained.epochs)
        for part in _arrays.pieces(len(self.order), SHUFFLED):
            words = random.random_raw(-(-(part.stop - part.start) // 2)).view(np.uint32)
            network._engine.shuffle(self.order[: part.stop], words[: part.stop - part.start])

    @np.errstate(over="ignore", invalid="ignore")  # settle() looks at the result
    def call(self, part: slice) -> tuple[float, int]:
        """One call of the engine: the updates from a part of the order of rows."""
        chosen = self.order[part]
        steps = -(-len(chosen) // self.batch_size)
        before = self.now.steps + part.start // self.batch_size
        first = before - self.first_step
        rates = schedules.checked_rates(self.schedule, first, steps, self.total_steps)
        numbers = before + np.arange(steps, dtype=np.int64)
        coefficients = self.optimizer.coefficients(numbers, rates)
        sums = (self.large_step if self.in_units else self.small_steps)(chosen, coefficients)
        # in C: no interrupt comes between the updates and their count
        self.now.calls.extend(zip([steps], sums, strict=True))
        self.rate = float(rates[-1])
        return self.now.calls[-1][1]

    def small_steps(self, chosen: NDArray[np.int32], coefficients: Array) -> Iterator[Sums]:
        """An update for each batch of the chosen rows; the call is made when its sums are taken."""
        network, x, rows = self.network, self.x, chosen
        if not self.direct:
            x = _arrays.block(x, chosen, network.inputs, network.dtype)
            rows = np.arange(len(x), dtype=np.int32)
        arguments = (
            network.program,
            x,
            rows,
            network._target_block(self.y, chosen),
            self.batch_size,
            coefficients,
            network._threads(),
        )
        return starmap(network._engine.train, [arguments])

    def large_step(self, batch: NDArray[np.int32], coefficients: Array) -> Iterator[Sums]:
        """One update from the rows of one batch, whose gradients take many calls; made as above."""
        network = self.network
        arena, *sums = gradients(network, self.x, self.y, batch)
        arguments = network.program, arena, coefficients[0], network._threads()
        applied = starmap(network._engine.apply_gradients, [arguments])
        return map(itemgetter(1), zip(applied, [tuple(sums)], strict=True))


def prepare(program: Program, state: State, optimizer: Optimizer) -> None:
    """Begin anew with another optimizer, its state zero; while that is done there is none."""
    zeros = zero_state(program, optimizer.slots)
    state.optimizer = None  # first: an interrupt may come after any of these
    state.steps = 0
    program.optimizer, program.state = optimizer.code, zeros
    state.optimizer = optimizer


def described(figures: dict[str, float]) -> str:
    """loss 0.1234, accuracy 0.9876"""
    return ", ".join(f"{name} {value:.4f}" for name, value in figures.items())
