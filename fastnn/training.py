"""Training: epochs, the order of rows, validation, callbacks, history.

It knows a program, the engine that runs it and checked rows, and nothing of a `Network`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import starmap
from operator import itemgetter

import numpy as np
from numpy.typing import NDArray

from . import _arrays, schedules
from ._arrays import Array
from ._errors import DivergenceError
from ._progress import Progress, Unit, progress
from ._random import SHUFFLE, rewound
from .engine import Engine
from .optimizers import Optimizer
from .program import Program, flops, zero_state, zeros_like_parameters
from .rows import Meaning, Rows

Callback = Callable[[int, dict[str, float]], object]  # of an epoch's number, and its figures
Sums = tuple[float, int]  # of losses, and of what agrees

# One call of an engine takes about as many steps as cost this many flops: some 5 to 50 ms, so that
# Ctrl-C and the progress bar are prompt. A count and not a clock, so that the sums behind the
# reported loss are the same in every run.
CALL_COST = 1 << 31
STEP_COST = 1 << 18  # what a step costs at least, in flops
CALL_SIZE = 1 << 23  # numbers of x at most, since some must be converted
UNIT_ROWS, UNIT_COST = 256, 1 << 32  # a larger batch goes in units, multiples of 256 rows as cheap
MOST_UNITS = 256  # of those rows together: sums over rows are cut, and never in one long chain
SHUFFLED = 1 << 18  # rows shuffled in one call; even, since a draw has two words

SAMPLES = Unit("samples")


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


@dataclass(frozen=True)
class Settings:
    """How to train."""

    epochs: int
    batch_size: int
    optimizer: Optimizer
    shuffle: bool
    seed: int  # of the order of rows
    callbacks: tuple[Callback, ...]
    verbose: int


@dataclass(frozen=True, eq=False)
class Runner:
    """A program, and what runs it."""

    program: Program
    engine: Engine
    threads: Callable[[], int]  # asked at each call of the engine: it may change during a fit
    length: int  # rows at most in one call that evaluates,
    unit: int  # and in one that has gradients


class Hold:
    """The right to change a network, which one call has at a time: an entry in its `holder`.

    It is taken in one step of the interpreter, and may be given back twice: an interrupt can come
    just before the first time.
    """

    def __init__(self, holder: dict[str, object]) -> None:
        self.holder = holder

    def __enter__(self) -> None:
        if self.holder.setdefault("fit", self) is not self:
            raise RuntimeError("expected a network at rest, got one that another fit is training")

    def __exit__(self, *_: object) -> None:
        self.release()

    def release(self) -> None:
        """Give it back, if it is ours."""
        if self.holder.get("fit") is self:
            self.holder.pop("fit")


def bound(callbacks: Iterable[Callable[..., object]], network: object) -> tuple[Callback, ...]:
    """Callbacks that bring their network along. Raises TypeError for what cannot be called."""
    if callable(callbacks):
        raise TypeError("expected callbacks as a list, got a function; pass [function]")
    found = tuple(callbacks)
    for callback in found:
        if not callable(callback):
            raise TypeError(f"expected callbacks to be functions, got {type(callback).__name__}")
    return tuple(partial(callback, network) for callback in found)


def evaluate(runner: Runner, rows: Rows) -> dict[str, float]:
    """The figures of these rows at the current weights."""
    loss, agreeing = 0.0, 0
    for part in _arrays.pieces(len(rows), runner.length):
        x, y = rows.inputs(part), rows.targets(part)
        part_loss, part_agreeing = runner.engine.evaluate(runner.program, x, y, runner.threads())
        loss, agreeing = loss + part_loss, agreeing + part_agreeing
    return rows.figures(loss, agreeing, len(rows))


def unit(program: Program) -> int:
    """Rows whose gradients are had in one call, so that Ctrl-C is prompt; the sizes decide it."""
    cost = 3 * flops(program) * UNIT_ROWS
    return UNIT_ROWS * max(1, min(MOST_UNITS, UNIT_COST // cost))


def gradients(
    runner: Runner, rows: Rows, batch: NDArray[np.int32] | None = None
) -> tuple[Array, float, int]:
    """Gradients of the mean loss over all rows, or those of a batch with dropout, as parameters.

    Also returns the sum of the losses, and what agrees. Rows go to the engine unit by unit,
    whose gradients are added in float64.
    """
    program = runner.program
    count = len(rows) if batch is None else len(batch)
    arena = zeros_like_parameters(program)
    total = np.zeros(arena.shape) if count > runner.unit else None
    loss, agreeing = 0.0, 0
    for part in _arrays.pieces(count, runner.unit):
        taken = part if batch is None else batch[part]
        x, y = rows.inputs(taken), rows.targets(taken)
        first_row = None if batch is None else part.start
        part_loss, part_agreeing = runner.engine.gradients(
            program, x, y, arena, runner.threads(), first_row
        )
        loss, agreeing = loss + part_loss, agreeing + part_agreeing
        if total is not None:
            share = (part.stop - part.start) / count
            total += np.multiply(arena, share, dtype=np.float64)
    if total is not None:
        arena[:] = total
    return arena, loss, agreeing


class Described:
    """Figures, and their text where it is asked for: loss 0.1234, accuracy 0.9876."""

    def __init__(self, figures: dict[str, float]) -> None:
        self.figures = figures

    def __str__(self) -> str:
        return ", ".join(f"{name} {value:.4f}" for name, value in self.figures.items())


@dataclass
class Epoch:
    """Where an epoch began, and which calls of the engine have come back since."""

    weights: Array
    steps: int  # updates by this optimizer before it
    # of each call: its steps, and the sums of losses and of what agrees
    calls: list[tuple[int, Sums]] = field(default_factory=list)


class Run:
    """One fit: its rows, and how far it has come."""

    def __init__(
        self, runner: Runner, rows: Rows, validation: Rows | None, state: State, settings: Settings
    ) -> None:
        self.runner, self.rows, self.validation = runner, rows, validation
        self.state, self.settings = state, settings
        self.history = History()
        self.batch_size = batch_size = min(settings.batch_size, len(rows))
        self.schedule = schedules.get(settings.optimizer.learning_rate)
        self.total_steps = settings.epochs * -(-len(rows) // batch_size)
        self.rate = math.nan  # of the latest step
        self.order = np.arange(len(rows), dtype=np.int32)
        self.random = np.random.Philox(0)  # a new one for each epoch takes longer than its words
        program = runner.program
        self.largest = float(np.finfo(program.dtype).max)  # of a weight
        step_cost = STEP_COST + 3 * flops(program) * batch_size  # two products back for one forward
        steps = min(CALL_COST // step_cost, CALL_SIZE // (program.inputs * batch_size))
        self.in_units = batch_size > runner.unit
        self.rows_per_call = batch_size * (1 if self.in_units else max(1, steps))
        if state.optimizer != settings.optimizer:
            prepare(program, state, settings.optimizer)
        state.meaning = rows.meaning
        self.first_step = state.steps
        self.now = Epoch(program.parameters, state.steps)  # none yet: nothing to go back to

    def begun(self) -> Epoch:
        """An epoch that begins now; its weights take the room of the one before."""
        weights, kept = self.runner.program.parameters, self.now.weights
        if kept is weights:
            return Epoch(weights.copy(), self.state.steps)
        kept[:] = weights
        return Epoch(kept, self.state.steps)

    def all_epochs(self) -> History:
        """Every epoch, its validation, and the callbacks, until one of them returns True."""
        try:
            for number in range(1, self.settings.epochs + 1):
                logs, seconds = self.validated_epoch(number)
                self.history.append({**logs, "learning_rate": self.rate, "seconds": seconds})
                answers = [callback(number, dict(logs)) for callback in self.settings.callbacks]
                if any(isinstance(answer, bool | np.bool_) and answer for answer in answers):
                    break
        except BaseException:
            self.settle()  # again: an interrupt may have come just before the first time
            raise
        finally:
            self.runner.engine.rest(self.runner.program)
        return self.history

    def validated_epoch(self, number: int) -> tuple[dict[str, float], float]:
        """One epoch and its validation, shown; returns their figures, and the epoch's seconds."""
        title, shown = f"epoch {number}/{self.settings.epochs}", self.settings.verbose > 0
        with progress(title, len(self.rows), SAMPLES, shown=shown) as bar:
            start = time.perf_counter()
            logs = self.epoch(number, bar)
            seconds = time.perf_counter() - start
            if self.validation is not None:
                figures = evaluate(self.runner, self.validation)
                logs.update((f"val_{name}", value) for name, value in figures.items())
            bar.finish(Described(logs))
        return logs, seconds

    def epoch(self, number: int, bar: Progress) -> dict[str, float]:
        """Every row once; returns the means of loss and accuracy. Raises DivergenceError."""
        self.now = self.begun()
        if self.settings.shuffle:
            rewound(self.random, self.settings.seed, SHUFFLE, self.state.epochs)
            shuffle(self.runner.engine, self.order, self.random)
        loss, agreeing = 0.0, 0
        figures: dict[str, float] = {}
        try:
            for part in _arrays.pieces(len(self.rows), self.rows_per_call):
                part_loss, part_agreeing = self.call(part)
                loss, agreeing = loss + part_loss, agreeing + part_agreeing
                if not math.isfinite(loss):
                    break
                figures = self.rows.figures(loss, agreeing, part.stop)
                bar.advance(part.stop - part.start, Described(figures))
        finally:  # after Ctrl-C, too
            finite = self.settle()
        if not finite:
            found = "infinite weights" if math.isfinite(loss) else f"loss {loss}"
            raise DivergenceError(
                f"training diverged in epoch {number}: expected a finite loss and weights, got "
                f"{found}; the weights are those from the start of that epoch (try a smaller "
                f"learning rate)"
            )
        self.state.epochs += 1
        return figures

    def settle(self) -> bool:
        """Count the epoch's steps; undo it if it diverged. Returns whether it did not."""
        state, weights = self.state, self.runner.program.parameters
        state.steps = self.now.steps + sum(steps for steps, _ in self.now.calls)
        loss = sum(loss for _, (loss, _) in self.now.calls)
        if math.isfinite(loss) and self.runner.engine.within(weights[None], self.largest):
            return True
        weights[:] = self.now.weights
        state.optimizer = None  # its state is lost
        return False

    @np.errstate(over="ignore", invalid="ignore")  # settle() looks at the result
    def call(self, part: slice) -> Sums:
        """One call of the engine: the updates from a part of the order of rows."""
        chosen = self.order[part]
        steps = -(-len(chosen) // self.batch_size)
        before = self.now.steps + part.start // self.batch_size
        first = before - self.first_step
        rates = schedules.checked_rates(self.schedule, first, steps, self.total_steps)
        numbers = np.arange(before, before + steps, dtype=np.int64)
        coefficients = self.settings.optimizer.coefficients(numbers, rates)
        self.runner.program.update = (self.state.epochs << 32) + before - self.now.steps
        sums = (self.large_step if self.in_units else self.small_steps)(chosen, coefficients)
        # in C: no interrupt comes between the updates and their count
        self.now.calls.extend(zip([steps], sums, strict=True))
        self.rate = float(rates[-1])
        return self.now.calls[-1][1]

    def small_steps(self, chosen: NDArray[np.int32], coefficients: Array) -> Iterator[Sums]:
        """An update for each batch of the chosen rows; the call is made when its sums are taken."""
        runner = self.runner
        x, places = self.rows.where(chosen)
        y, size = self.rows.targets(chosen), self.batch_size
        arguments = runner.program, x, places, y, size, coefficients, runner.threads()
        return starmap(runner.engine.train, [arguments])

    def large_step(self, batch: NDArray[np.int32], coefficients: Array) -> Iterator[Sums]:
        """One update from the rows of one batch, whose gradients take many calls; made as above."""
        runner = self.runner
        arena, *sums = gradients(runner, self.rows, batch)
        arguments = runner.program, arena, coefficients[0], runner.threads()
        applied = starmap(runner.engine.apply_gradients, [arguments])
        return map(itemgetter(1), zip(applied, [tuple(sums)], strict=True))


def prepare(program: Program, state: State, optimizer: Optimizer) -> None:
    """Begin anew with another optimizer, its state zero; while that is done there is none."""
    zeros = zero_state(program, optimizer.slots)
    state.optimizer = None  # first: an interrupt may come after any of these
    state.steps = 0
    program.optimizer, program.state = optimizer.code, zeros
    state.optimizer = optimizer


def shuffle(engine: Engine, order: NDArray[np.int32], random: np.random.Philox) -> None:
    """Draw the order of rows (B,) in place."""
    rows = len(order)
    for first in range(0, rows, SHUFFLED):
        end = min(first + SHUFFLED, rows)
        words = random.random_raw((end - first + 1) // 2).view(np.uint32)
        engine.shuffle(order[:end], words[: end - first])
