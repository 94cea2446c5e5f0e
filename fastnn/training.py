"""Training: epochs, the order of rows, validation, callbacks, history, progress."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from . import _arrays, schedules
from ._arrays import Array
from ._errors import DivergenceError
from ._random import SHUFFLE, stream
from .optimizers import Optimizer
from .program import prepare

if TYPE_CHECKING:
    from .network import Network

Callback = Callable[["Network", int, dict[str, float]], object]

# One call of an engine takes about as many steps as cost this many flops: some 5 to 50 ms, so that
# Ctrl-C and the progress bar are prompt. A count and not a clock, so that the sums behind the
# reported loss are the same in every run.
CALL_COST = 1 << 31
STEP_COST = 1 << 18  # what a step costs at least, in flops
CALL_SIZE = 1 << 23  # numbers of x at most, since some must be converted
SHUFFLED = 1 << 18  # rows shuffled in one call; even, since a draw has two words


@dataclass
class History:
    """What each epoch brought: `history` maps a name to a list, one value an epoch.

    loss and accuracy (of each batch just before its update), val_loss and val_accuracy, the
    learning_rate of the last step, and the seconds of training without validation. There is no
    accuracy where y are real numbers to be met.
    """

    history: dict[str, list[float]] = field(default_factory=dict)

    def append(self, logs: dict[str, float]) -> None:
        """Add one epoch."""
        for name, value in logs.items():
            self.history.setdefault(name, []).append(value)


@dataclass
class State:
    """What a second fit goes on from."""

    epochs: int = 0  # completed so far: the index of the next order of rows
    steps: int = 0  # updates so far by this optimizer
    optimizer: Optimizer | None = None


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
    x, y = network._data(x, y)
    if len(x) > np.iinfo(np.int32).max:
        raise ValueError(f"expected at most 2^31 - 1 rows in x, got {len(x)}")
    validation = None if validation_data is None else validation_arrays(network, validation_data)
    callbacks = tuple(callbacks)
    if not network._learned():
        network._learn_scales(x, y)
    run = Run(network, x, y, batch_size, optimizer, epochs)
    network.history = history = History()
    try:
        for epoch in range(1, epochs + 1):
            with progress(verbose, f"epoch {epoch}/{epochs}", len(x)) as bar:
                start = time.perf_counter()
                logs = run.epoch(epoch, shuffle, bar)
                seconds = time.perf_counter() - start
                if validation is not None:
                    figures = network._evaluate(*validation)
                    logs.update((f"val_{name}", value) for name, value in figures.items())
                bar.finish(logs, len(x) / seconds)
            history.append({**logs, "learning_rate": run.rate, "seconds": seconds})
            if True in [callback(network, epoch, dict(logs)) for callback in callbacks]:
                break
    finally:
        network.program.plan = None  # and with it the engine's memory for training
    return history


def validation_arrays(network: Network, data: tuple[ArrayLike, ArrayLike]) -> tuple[Array, Array]:
    """The checked (x, y) of validation_data."""
    try:
        x, y = data
    except (TypeError, ValueError):
        raise ValueError("expected validation_data as a pair (x, y)") from None
    return network._data(x, y)


class Run:
    """One fit: its data, and how far it has come."""

    def __init__(
        self,
        network: Network,
        x: Array,
        y: Array,
        batch_size: int,
        optimizer: Optimizer,
        epochs: int,
    ) -> None:
        self.network, self.x, self.y = network, x, y
        self.batch_size = batch_size
        self.optimizer = optimizer
        self.schedule = schedules.get(optimizer.learning_rate)
        self.total_steps = epochs * -(-len(x) // batch_size)
        self.step = 0  # of total_steps
        self.rate = math.nan  # of the latest step
        self.order = np.arange(len(x), dtype=np.int32)
        self.direct = _arrays.direct(x)
        if network._training.optimizer != optimizer:
            prepare(network.program, optimizer.code, optimizer.slots)
            network._training.optimizer, network._training.steps = optimizer, 0
        step_cost = STEP_COST + 3 * network.flops * batch_size  # two products back for one forward
        steps = min(CALL_COST // step_cost, CALL_SIZE // (network.inputs * batch_size))
        self.rows_per_call = batch_size * max(1, steps)

    def epoch(self, number: int, shuffle: bool, bar: Progress) -> dict[str, float]:
        """Every row once; returns the means of loss and accuracy. Raises DivergenceError."""
        network, weights = self.network, self.network.program.parameters
        before = weights.copy()
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
                figures = network._figures(loss, agreeing, part.stop, self.y)
                bar.advance(part.stop - part.start, figures)
        finally:  # after Ctrl-C, too
            finite = math.isfinite(loss) and bool(np.isfinite(weights).all())
            if not finite:
                weights[:] = before
                network._training.optimizer = None  # its state is lost
        if not finite:
            found = "infinite weights" if math.isfinite(loss) else f"loss {loss}"
            raise DivergenceError(
                f"training diverged in epoch {number}: expected a finite loss and weights, got "
                f"{found}; the weights are those from the start of that epoch (try a smaller "
                f"learning rate)"
            )
        network._training.epochs += 1
        return figures

    def shuffle(self) -> None:
        """Draw the order of rows, a function of the seed and the number of the epoch."""
        network = self.network
        random = stream(network.seed, SHUFFLE, network._training.epochs)
        for part in _arrays.pieces(len(self.order), SHUFFLED):
            words = random.random_raw(-(-(part.stop - part.start) // 2)).view(np.uint32)
            network._engine.shuffle(self.order[: part.stop], words[: part.stop - part.start])

    def call(self, part: slice) -> tuple[float, int]:
        """One call of the engine: the updates from a part of the order of rows."""
        network, chosen = self.network, self.order[part]
        steps = -(-len(chosen) // self.batch_size)
        rates = self.schedule.rates(self.step, steps, self.total_steps)
        numbers = network._training.steps + np.arange(steps, dtype=np.int64)
        x, rows = self.x, chosen
        if not self.direct:
            x = _arrays.block(x, chosen, network.inputs, network.dtype)
            rows = np.arange(len(x), dtype=np.int32)
        with np.errstate(over="ignore", invalid="ignore"):  # epoch() looks at the result
            sums: tuple[float, int] = network._engine.train(
                network.program,
                x,
                rows,
                network._target_block(self.y, chosen),
                self.batch_size,
                self.optimizer.coefficients(numbers, rates),
                network._threads(),
            )
        self.step += steps
        self.rate = float(rates[-1])
        network._training.steps += steps
        return sums


class Progress:
    """No progress shown; the others show it."""

    def __init__(self, title: str, rows: int) -> None:
        self.title = title

    def advance(self, rows: int, figures: dict[str, float]) -> None:
        """So many more rows, and the figures of the epoch so far."""

    def finish(self, figures: dict[str, float], speed: float) -> None:
        """The figures of the whole epoch, and its rows per second."""

    def close(self) -> None:
        """Leave the terminal in order."""


class Lines(Progress):
    """One line an epoch."""

    def finish(self, figures: dict[str, float], speed: float) -> None:
        """Print it."""
        print(f"{self.title}: {described(figures, speed)}", file=sys.stderr, flush=True)


class Bar(Progress):
    """A bar an epoch."""

    def __init__(self, title: str, rows: int) -> None:
        from tqdm import tqdm

        self.start = time.perf_counter()
        self.bar = tqdm(
            total=rows,
            desc=title,
            bar_format="{desc} {percentage:3.0f}% |{bar:20}| {postfix}",
            dynamic_ncols=True,
        )

    def advance(self, rows: int, figures: dict[str, float]) -> None:
        """Move the bar."""
        speed = (self.bar.n + rows) / (time.perf_counter() - self.start)
        self.bar.set_postfix_str(described(figures, speed), refresh=False)
        self.bar.update(rows)

    def finish(self, figures: dict[str, float], speed: float) -> None:
        """Show the final figures."""
        self.bar.set_postfix_str(described(figures, speed))

    def close(self) -> None:
        """Leave the bar where it is."""
        self.bar.close()


def described(figures: dict[str, float], speed: float) -> str:
    """loss 0.1234, accuracy 0.9876, 123,456 samples/s"""
    parts = [f"{name} {value:.4f}" for name, value in figures.items()]
    return ", ".join([*parts, f"{speed:,.0f} samples/s"])


@contextmanager
def progress(verbose: int, title: str, rows: int) -> Iterator[Progress]:
    """Nothing, a bar in a terminal, or lines elsewhere."""
    shown = (Bar if sys.stderr.isatty() else Lines) if verbose else Progress
    bar = shown(title, rows)
    try:
        yield bar
    finally:
        bar.close()
