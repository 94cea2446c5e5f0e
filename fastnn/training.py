"""Training: epochs, the order of rows, validation, history, and where a fit can be resumed.

It knows a program, the engine that runs it and checked rows, and nothing of a `Network`.
"""

from __future__ import annotations

import math
import threading
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from dataclasses import dataclass, field
from itertools import chain, starmap
from operator import itemgetter
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from . import _arrays, schedules
from ._arrays import Array
from ._errors import DivergenceError, shown
from ._progress import Progress, Unit, progress
from ._random import SHUFFLE, rewound
from .augmentation import Augment
from .engine import Engine
from .metrics import Metric
from .optimizers import Optimizer
from .program import (
    AVERAGES,
    WIDTH,
    Program,
    first_state,
    flops,
    normalises,
    zeros_like_parameters,
)
from .rows import Meaning, Rows

Logs = dict[str, float]  # figures of an epoch, by name
Sums = tuple[float, float]  # of losses, and of what agrees

# One call of an engine takes about as many steps as cost this many flops: some 5 to 50 ms, so that
# Ctrl-C and the progress bar are prompt. A count and not a clock, so that the sums behind the
# reported loss are the same in every run.
CALL_COST = 1 << 31
STEP_COST = 1 << 18  # what a step costs at least, in flops
CALL_SIZE = 1 << 23  # numbers of x at most, since some must be converted
UNIT_ROWS, UNIT_COST = 256, 1 << 32  # a larger batch goes in units, multiples of 256 rows as cheap
MOST_UNITS = 256  # of those rows together: sums over rows are cut, and never in one long chain
MOST_KEPT = 1 << 27  # numbers of all values of a batch that is normalised, which is kept as a whole
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


@dataclass(frozen=True)
class Place:
    """Where a fit stands, and what decides how it goes on: with weights and state, all of it."""

    epochs: int  # that the fit shall have
    batch_size: int
    rows: int
    shuffle: bool
    steps: int = 0  # so far, of an epoch that has begun
    loss: float = 0.0  # the sum of the losses in these steps
    agreeing: int | float = 0  # and of what agrees; whole where rows have no weights
    rate_factor: float = 1.0
    history: dict[str, list[float]] = field(default_factory=dict)  # of the epochs completed
    augment: Augment | None = field(default=None, metadata={"since": 5})

    @property
    def completed(self) -> int:
        """How many epochs there were."""
        return len(self.history.get("loss", ()))


@dataclass
class State:
    """What a second fit goes on from."""

    epochs: int = 0  # completed so far: the index of the next order of rows
    steps: int = 0  # updates so far by this optimizer
    optimizer: Optimizer | None = None
    meaning: Meaning | None = None  # of the targets of the latest fit
    place: Place | None = None  # in a checkpoint: where its fit stands
    seen: int | None = None  # the fingerprint of the weights as they were left


class Stream:
    """Rows that come batch by batch from an iterable, which begins again with each epoch.

    rows: makes checked rows of what comes. Raises ValueError if nothing comes.
    """

    def __init__(self, batches: Iterable[object], rows: Callable[[object], Rows]) -> None:
        self.batches, self.rows = batches, rows
        self.known = len(batches) if isinstance(batches, Sized) else None
        begun = self.start()
        self.begun: Iterator[Rows] | None = begun
        first = next(begun, None)
        if first is None:
            raise ValueError("expected at least one batch, got none")
        self.first = first

    def start(self) -> Iterator[Rows]:
        """All batches, from the first on."""
        return map(self.rows, self.batches)

    def epoch(self, steps: int) -> Iterator[Rows]:
        """The batches of an epoch. Raises ValueError if they are not as many as there should be."""
        begun, self.begun = self.begun, None
        batches = self.start() if begun is None else chain([self.first], begun)
        count = 0
        for count, rows in enumerate(batches, start=1):
            if self.known is not None and count > steps:
                raise ValueError(f"expected {steps} batches, as the iterable says, got more")
            yield rows
        if count == 0 or (self.known is not None and count < steps):
            hint = "" if count else "; a generator has one epoch: pass what can begin again"
            raise ValueError(f"expected {steps or 'more'} batches in an epoch, got {count}{hint}")

    def steps_for(self, schedule: schedules.Schedule) -> int:
        """How many batches an epoch has, 0 if that is unknown and the schedule does not ask."""
        asks = not isinstance(schedule, schedules.Function | schedules.Constant)
        if self.known is None and (asks or getattr(schedule, "warmup", False)):
            found = type(schedule).__name__
            raise ValueError(
                f"expected an iterable with a length for {found}, which asks how many steps there "
                f"are; got {shown(self.batches)}"
            )
        return self.known or 0


class Listener(Protocol):
    """Whoever is told how a fit goes. Epochs and batches are counted from 1."""

    @property
    def every(self) -> int:
        """Calls of the engine end with each so many-th step of the fit; 0: where they like."""

    def train_begin(self, run: Run) -> None:
        """Before the first epoch, of a fit that is resumed too."""

    def train_end(self) -> None:
        """After the last epoch, unless an error or Ctrl-C ended the fit."""

    def epoch_begin(self, epoch: int) -> None:
        """Before its first step."""

    def epoch_end(self, epoch: int, logs: Logs) -> bool:
        """After its validation; whether the fit shall end."""

    def batches_begin(self, step: int, batch: int) -> None:
        """Before a call, if `every` is not 0. step: of the fit, batch: of the epoch."""

    def batches_end(self, step: int, batch: int, logs: Logs) -> None:
        """After it, with the means over the epoch so far. step, batch: the latest."""

    def diverged(self, epoch: int) -> bool:
        """Whether the fit shall end without an error, the weights as they were before."""


@dataclass(frozen=True)
class Settings:
    """How to train."""

    epochs: int
    batch_size: int
    optimizer: Optimizer
    shuffle: bool
    seed: int  # of the order of rows
    listener: Listener
    verbose: int
    metrics: tuple[Metric, ...] = ()  # of validation rows
    augment: Augment | None = None  # how rows to learn from are deformed


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


def evaluate(runner: Runner, rows: Rows, metrics: Sequence[Metric] = ()) -> Logs:
    """The figures of these rows at the current weights, and metrics of their outputs."""
    loss, agreeing = 0.0, 0.0
    for part in _arrays.pieces(len(rows), runner.length):
        x, y = rows.inputs(part), rows.wanted(part)
        part_loss, part_agreeing = runner.engine.evaluate(runner.program, x, y, runner.threads())
        loss, agreeing = loss + part_loss, agreeing + part_agreeing
    figures = rows.figures(loss, agreeing, rows.total())
    if metrics:
        y, h = rows.truth(), outputs(runner, rows)
        seen, weights = rows.loss.for_metrics(h), rows.weights_of(slice(None))
        figures.update((one.name, one.of(y, seen if one.known else h, weights)) for one in metrics)
    return figures


def outputs(runner: Runner, rows: Rows) -> Array:
    """The outputs (n, O) of these rows, in the units of their targets."""
    h = np.empty((len(rows), runner.program.outputs), runner.program.dtype)
    for part in _arrays.pieces(len(rows), runner.length):
        runner.engine.forward(runner.program, rows.inputs(part), h[part], runner.threads())
    return rows.loss.outputs_in_units(h, rows.center, rows.scale)


def unit(program: Program) -> int:
    """Rows whose gradients are had in one call, so that Ctrl-C is prompt; the sizes decide it."""
    cost = 3 * flops(program) * UNIT_ROWS
    return UNIT_ROWS * max(1, min(MOST_UNITS, UNIT_COST // cost))


def gradients(
    runner: Runner, rows: Rows, batch: NDArray[np.int32] | None = None
) -> tuple[Array, float, float]:
    """Gradients of the mean loss over all rows, or those of a batch to learn from, as parameters.

    Also returns the sum of the losses, and what agrees. Rows go to the engine unit by unit,
    whose gradients are added in float64.
    """
    program = runner.program
    count = len(rows) if batch is None else len(batch)
    arena = zeros_like_parameters(program)
    total = np.zeros(arena.shape) if count > runner.unit else None
    loss, agreeing = 0.0, 0 if rows.weights is None else 0.0
    weight = rows.total(slice(None) if batch is None else batch)
    for part in _arrays.pieces(count, runner.unit):
        taken = part if batch is None else batch[part]
        x, y = rows.inputs(taken), rows.wanted(taken)
        first_row = None if batch is None else part.start
        part_loss, part_agreeing = runner.engine.gradients(
            program, x, y, arena, runner.threads(), first_row
        )
        loss, agreeing = loss + part_loss, agreeing + part_agreeing
        if total is not None:
            share = rows.total(taken) / (weight or 1.0)
            total += np.multiply(arena, share, dtype=np.float64)
    if total is not None:
        arena[:] = total
    return arena, loss, agreeing


def check_batches(program: Program, counts: Iterable[int], batch_size: int) -> None:
    """Raise ValueError for batches that cannot be normalised. counts: rows, of each shard."""
    if not normalises(program):
        return
    for rows in counts:
        size = min(rows, batch_size)
        if size == 1 or rows % size == 1:
            found = f"got {rows} row" if rows == 1 else f"got {rows} rows in batches of {size}"
            raise ValueError(
                f"expected batches of at least 2 rows with BatchNorm, also the last one, {found} "
                f"(choose another batch_size)"
            )
        kept = int(program.ops[:, WIDTH].sum())
        if size * kept > MOST_KEPT:
            raise ValueError(
                f"expected batches of at most {MOST_KEPT // kept:,} rows with BatchNorm in this "
                f"network, all of which are kept, got {size:,}"
            )


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
    drawn: int = 0  # what the first step's random numbers are drawn by

    def done(self) -> tuple[int, Sums]:
        """The steps of these calls, and their sums, added in order."""
        steps, loss = 0, 0.0
        agreeing: float = 0
        for part, (part_loss, part_agreeing) in self.calls:
            steps, loss, agreeing = steps + part, loss + part_loss, agreeing + part_agreeing
        return steps, (loss, agreeing)


LARGEST = {np.dtype(name): float(np.finfo(name).max) for name in ("float32", "float64")}
_own = threading.local()


def generator() -> np.random.Philox:
    """This thread's, to be rewound: a new one takes as long as a tiny epoch."""
    if not hasattr(_own, "generator"):
        _own.generator = np.random.Philox(0)
    found: np.random.Philox = _own.generator
    return found


class Run:
    """One fit: its rows, and how far it has come.

    place: where an earlier fit stood that this one resumes; weights and state are those of it.
    """

    def __init__(
        self,
        runner: Runner,
        data: Sequence[Rows] | Stream,
        validation: Rows | None,
        state: State,
        settings: Settings,
        place: Place | None = None,
    ) -> None:
        self.runner, self.data, self.validation = runner, data, validation
        self.state, self.settings = state, settings
        self.optimizer = settings.optimizer  # a callback may change numbers of it, and of the ops
        self.numbers = runner.program.numbers, runner.program.loss_numbers
        self.schedule = schedules.get(settings.optimizer.learning_rate)
        self.streams = isinstance(data, Stream)
        self.rows = rows = data.first if isinstance(data, Stream) else max(data, key=len)
        self.order = np.arange(len(rows), dtype=np.int32)
        self.cut(len(rows) if self.streams else min(settings.batch_size, len(rows)))
        if isinstance(data, Stream):
            self.total_rows, self.steps_per_epoch = None, data.steps_for(self.schedule)
        else:
            self.total_rows = sum(map(len, data))
            self.steps_per_epoch = sum(self.steps_of(rows) for rows in data)
        self.total_steps = settings.epochs * self.steps_per_epoch
        self.rate = math.nan  # of the latest step
        program = runner.program
        program.augmentation = None if settings.augment is None else settings.augment.numbers()
        self.largest = LARGEST[program.dtype]  # of a weight
        if state.optimizer != settings.optimizer or state.seen != fingerprint(program):
            prepare(program, state, settings.optimizer)
        state.meaning = rows.meaning
        self.now = Epoch(program.parameters, state.steps)  # none yet: nothing to go back to
        self.every = settings.listener.every
        self.rate_factor = 1.0  # what a callback makes of the schedule's rates
        self.history = History()
        self.first_step = state.steps
        if place is not None:
            self.go_on(place)

    def cut(self, batch_size: int) -> None:
        """From here on batches have so many rows, which says how many go into one call."""
        program = self.runner.program
        check_batches(program, [batch_size], batch_size)
        step_cost = STEP_COST + 3 * flops(program) * batch_size  # two products back for one forward
        steps = min(CALL_COST // step_cost, CALL_SIZE // (program.inputs * batch_size))
        self.batch_size = batch_size
        self.in_units = batch_size > self.runner.unit and not normalises(program)
        self.steps_per_call = 1 if self.in_units else max(1, steps)

    def steps_of(self, rows: Rows) -> int:
        """How many batches they are; the last may be short."""
        return -(-len(rows) // self.batch_size)

    def go_on(self, place: Place) -> None:
        """Take the counts of a fit that stood there."""
        self.history.history.update((name, list(found)) for name, found in place.history.items())
        if place.steps:
            self.now.steps -= place.steps
            self.now.calls.append((place.steps, (place.loss, place.agreeing)))
        done = place.completed * self.steps_per_epoch + place.steps
        self.first_step -= done
        self.rate_factor = place.rate_factor
        if done:
            self.rate = float(self.rates(done - 1, 1)[0])

    def place(self) -> Place | None:
        """Where the fit stands now, for `go_on`; between two calls of the engine.

        None where rows come from an iterable, of which nobody knows what comes next.
        """
        if self.total_rows is None:
            return None
        settings = self.settings
        steps, (loss, agreeing) = self.now.done()
        return Place(
            epochs=settings.epochs,
            batch_size=settings.batch_size,
            rows=self.total_rows,
            shuffle=settings.shuffle,
            steps=steps,
            loss=loss,
            agreeing=agreeing,
            rate_factor=self.rate_factor,
            history=self.history.history,
            augment=settings.augment,
        )

    def begun(self) -> Epoch:
        """An epoch that begins now; its weights take the room of the one before."""
        weights, kept = self.runner.program.parameters, self.now.weights
        if kept is weights:
            return Epoch(weights.copy(), self.now.steps, self.now.calls)
        kept[:] = weights
        return Epoch(kept, self.state.steps)

    def all_epochs(self) -> History:
        """Every epoch, its validation, and the callbacks, until one of them says so."""
        listener = self.settings.listener
        try:
            listener.train_begin(self)
            completed = len(self.history.history.get("loss", ()))
            for number in range(completed + 1, self.settings.epochs + 1):
                listener.epoch_begin(number)
                try:
                    logs, seconds = self.validated_epoch(number)
                except DivergenceError:
                    if not listener.diverged(number):
                        raise
                    break
                self.history.append({**logs, "learning_rate": self.rate, "seconds": seconds})
                self.now = Epoch(self.now.weights, self.state.steps)  # its calls are counted
                if listener.epoch_end(number, logs):
                    break
            listener.train_end()
        except BaseException:
            self.settle()  # again: an interrupt may have come just before the first time
            raise
        finally:
            self.renumber(*self.numbers)
            self.runner.engine.rest(self.runner.program)
        return self.history

    def renumber(self, numbers: Array, loss_numbers: Array) -> None:
        """From here on the ops and the loss go by these numbers."""
        program = self.runner.program
        if numbers is not program.numbers or loss_numbers is not program.loss_numbers:
            program.numbers, program.loss_numbers, program.plan = numbers, loss_numbers, None

    def validated_epoch(self, number: int) -> tuple[Logs, float]:
        """One epoch and its validation, shown; returns their figures, and the epoch's seconds."""
        title, shown = f"epoch {number}/{self.settings.epochs}", self.settings.verbose > 0
        with progress(title, self.total_rows, SAMPLES, shown=shown) as bar:
            start = time.perf_counter()
            logs = self.epoch(number, bar)
            seconds = time.perf_counter() - start
            if self.validation is not None:
                figures = evaluate(self.runner, self.validation, self.settings.metrics)
                logs.update((f"val_{name}", value) for name, value in figures.items())
            bar.finish(Described(logs))
        return logs, seconds

    def epoch(self, number: int, bar: Progress) -> Logs:
        """Every row once; returns the means of loss and accuracy. Raises DivergenceError."""
        self.now = self.begun()
        done, (loss, agreeing) = self.now.done()  # more than nothing where a fit is resumed
        seen, figures = 0, Logs()
        if done and not isinstance(self.data, Stream):  # those of all, if no call is left
            figures = self.rows.figures(loss, agreeing, sum(rows.total() for rows in self.data))
        try:
            for end, rows, weight, (part_loss, part_agreeing) in self.calls(number, done):
                loss, agreeing = loss + part_loss, agreeing + part_agreeing
                if not math.isfinite(loss):
                    break
                figures = self.rows.figures(loss, agreeing, weight)
                bar.advance(rows - seen, Described(figures))
                seen = rows
                if self.every:
                    self.tell(number, end, figures)
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

    def calls(self, number: int, done: int) -> Iterator[tuple[int, int, float, Sums]]:
        """The epoch's calls after so many steps, of each steps, rows, weight so far; its sums."""
        first, seen, weight = 0, 0, 0.0
        for rows, shard in self.segments():
            if self.streams:
                self.cut(len(rows))
            last = first + self.steps_of(rows)
            if done < last:
                self.rows = rows
                self.arrange(len(rows), shard)
                if done > first:
                    weight += rows.total(self.order[: (done - first) * self.batch_size])
            else:
                weight += rows.total()
            while done < last:
                end = self.next_stop(number, done, last)
                part = slice(
                    (done - first) * self.batch_size,
                    min((end - first) * self.batch_size, len(rows)),
                )
                weight += rows.total(self.order[part])
                yield end, seen + part.stop, weight, self.call(part, done)
                done = end
            first, seen = last, seen + len(rows)

    def segments(self) -> Iterator[tuple[Rows, int]]:
        """Rows that are learned from one after the other, and the number of each in the data."""
        if isinstance(self.data, Stream):
            yield from ((rows, 0) for rows in self.data.epoch(self.steps_per_epoch))
        elif len(self.data) == 1:
            yield self.data[0], 0
        else:
            self.arrange(len(self.data), 0)
            for shard in self.order.tolist():
                yield self.data[shard], shard + 1

    def arrange(self, rows: int, shard: int) -> None:
        """Their order: a function of the epoch, and of the shard where there are many."""
        if len(self.order) != rows:
            self.order = np.arange(rows, dtype=np.int32)
        if self.settings.shuffle and not self.streams:
            random = generator()
            rewound(random, self.settings.seed, SHUFFLE, self.state.epochs + (shard << 48))
            shuffle(self.runner.engine, self.order, random)

    def next_stop(self, number: int, done: int, last: int) -> int:
        """The step of the epoch before which the next call ends; tells that it begins.

        Multiples alone decide it: a fit that is resumed cuts where it would have done.
        """
        size = self.steps_per_call
        end = min(done - done % size + size, last)
        if self.every:
            step = (number - 1) * self.steps_per_epoch + done
            end = min(end, done + self.every - step % self.every)
            self.settings.listener.batches_begin(step + 1, done + 1)
        return end

    def tell(self, number: int, done: int, figures: Logs) -> None:
        """That a call has come back, and how the epoch goes."""
        self.state.steps = self.now.steps + done
        step = (number - 1) * self.steps_per_epoch + done
        self.settings.listener.batches_end(step, done, dict(figures))

    def settle(self) -> bool:
        """Count the epoch's steps; undo it if it diverged. Returns whether it did not."""
        state, weights = self.state, self.runner.program.parameters
        state.steps = self.now.steps + sum(steps for steps, _ in self.now.calls)
        loss = sum(loss for _, (loss, _) in self.now.calls)
        state.seen = fingerprint(self.runner.program)
        if math.isfinite(loss) and self.runner.engine.within(weights[None], self.largest, 1):
            return True
        weights[:] = self.now.weights
        state.optimizer = None  # its state is lost
        return False

    def rates(self, first: int, steps: int) -> NDArray[np.float64]:
        """The rates (steps,) of steps of this fit, from the first on."""
        rates = schedules.checked_rates(self.schedule, first, steps, self.total_steps)
        return rates if self.rate_factor == 1.0 else rates * self.rate_factor

    @np.errstate(over="ignore", invalid="ignore")  # settle() looks at the result
    def call(self, part: slice, done: int) -> Sums:
        """One call of the engine: the updates from a part of the order, after so many steps."""
        chosen = self.order[part]
        steps = -(-len(chosen) // self.batch_size)
        before = self.now.steps + done
        rates = self.rates(before - self.first_step, steps)
        numbers = np.arange(before, before + steps, dtype=np.int64)
        coefficients = self.optimizer.coefficients(numbers, rates)
        drawn = self.now.drawn + before - self.now.steps
        self.runner.program.update = (self.state.epochs << 32) + drawn
        sums = (self.large_step if self.in_units else self.small_steps)(chosen, coefficients)
        # in C: no interrupt comes between the updates and their count
        self.now.calls.extend(zip([steps], sums, strict=True))
        self.rate = float(rates[-1])
        return self.now.calls[-1][1]

    def small_steps(self, chosen: NDArray[np.int32], coefficients: Array) -> Iterator[Sums]:
        """An update for each batch of the chosen rows; the call is made when its sums are taken."""
        runner = self.runner
        x, places = self.rows.where(chosen)
        y, size = self.rows.wanted(chosen), self.batch_size
        arguments = runner.program, x, places, y, size, coefficients, runner.threads()
        return starmap(runner.engine.train, [arguments])

    def large_step(self, batch: NDArray[np.int32], coefficients: Array) -> Iterator[Sums]:
        """One update from the rows of one batch, whose gradients take many calls; made as above."""
        runner = self.runner
        arena, *sums = gradients(runner, self.rows, batch)
        arguments = runner.program, arena, coefficients[0], runner.threads()
        applied = starmap(runner.engine.apply_gradients, [arguments])
        return map(itemgetter(1), zip(applied, [tuple(sums)], strict=True))


def one_step(runner: Runner, rows: Rows, state: State, settings: Settings) -> Logs:
    """One update from all rows; their figures before it. Raises DivergenceError as an epoch does.

    It counts as an update, and not as one of an epoch.
    """
    rate = settings.optimizer.learning_rate
    if hasattr(rate, "rates"):
        raise ValueError(f"expected a rate or a function of the step, got {shown(rate)}")
    run = Run(runner, [rows], None, state, settings)
    run.first_step = 0  # of a function: it goes on
    run.now = Epoch(runner.program.parameters.copy(), state.steps, drawn=state.steps)
    loss, agreeing = math.nan, 0.0
    try:
        loss, agreeing = run.call(slice(0, len(rows)), 0)
    finally:  # after Ctrl-C, too
        finite = run.settle()
        runner.engine.rest(runner.program)
    if not finite:
        raise DivergenceError(
            f"training diverged: expected a finite loss and weights, got loss {loss}; the weights "
            f"are those from before (try a smaller learning rate)"
        )
    return rows.figures(loss, agreeing, rows.total())


def fingerprint(program: Program) -> int | None:
    """A number of the weights, by which it is seen that somebody set them, where that matters.

    Where they are averages, training goes by other weights.
    """
    return zlib.crc32(program.parameters.data) if program.optimizer & AVERAGES else None


def prepare(program: Program, state: State, optimizer: Optimizer) -> None:
    """Begin anew with another optimizer; while that is done there is none."""
    factors = optimizer.factors(program.names)
    begun = first_state(program, optimizer.code, optimizer.slots)
    state.optimizer = None  # first: an interrupt may come after any of these
    state.steps = 0
    program.optimizer, program.state, program.factors = optimizer.code, begun, factors
    state.seen = fingerprint(program)
    state.optimizer = optimizer


def shuffle(engine: Engine, order: NDArray[np.int32], random: np.random.Philox) -> None:
    """Draw the order of rows (B,) in place."""
    rows = len(order)
    for first in range(0, rows, SHUFFLED):
        end = min(first + SHUFFLED, rows)
        words = random.random_raw((end - first + 1) // 2).view(np.uint32)
        engine.shuffle(order[:end], words[: end - first])
