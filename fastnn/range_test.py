"""The range test: which learning rates suit a network and its rows."""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import optimizers
from ._errors import DivergenceError, count, positive
from .callbacks import Callback
from .optimizers import Optimizer

if TYPE_CHECKING:
    from .network import Network
    from .training import Logs

MEMORY = 0.95  # of the running mean of losses
TOO_MUCH = 4.0  # times the lowest mean: the test is over
MARGIN = 10.0  # the suggestion is so many times below the rate of the lowest mean


@dataclass(frozen=True, eq=False)
class RangeTest:
    """What a range test found: at each rate (S,) the batch's loss, and the running mean of it.

    suggestion: a tenth of the rate at which the mean was lowest.
    """

    rates: NDArray[np.float64]
    losses: NDArray[np.float64]
    smoothed: NDArray[np.float64]
    suggestion: float


class _Enough(Exception):  # noqa: N818 (no error)
    """Ends a fit in the middle of an epoch."""


class _Watch(Callback):
    """Keeps the loss of every batch, until there are enough or they are too large."""

    def __init__(self, steps: int) -> None:
        self.steps, self.mean, self.lowest = steps, 0.0, math.inf
        self.rates: list[float] = []
        self.losses: list[float] = []
        self.smoothed: list[float] = []

    def on_train_batch_end(self, batch: int, logs: Logs) -> object:
        """One more."""
        run = self.run
        _, (loss, agreeing) = run.now.calls[-1]
        rows = min(run.batch_size, len(run.rows) - (batch - 1) * run.batch_size)
        self.losses.append(run.rows.figures(loss, agreeing, rows)["loss"])
        self.rates.append(run.rate)
        self.mean = MEMORY * self.mean + (1 - MEMORY) * self.losses[-1]
        self.smoothed.append(self.mean / (1 - MEMORY ** len(self.losses)))
        self.lowest = min(self.lowest, self.smoothed[-1])
        if len(self.rates) == self.steps or self.smoothed[-1] > TOO_MUCH * self.lowest:
            raise _Enough
        return None


def find_learning_rate(
    network: Network,
    x: ArrayLike,
    y: ArrayLike,
    *,
    optimizer: str | Optimizer = "adam",
    batch_size: int = 64,
    lowest: float = 1e-6,
    highest: float = 10.0,
    steps: int = 200,
) -> RangeTest:
    """Train a copy of the network at rates that grow from lowest to highest, each times a constant.

    It ends before where the running mean of the loss is four times its lowest, or not finite. The
    network stays as it is. The optimizer's own rate does not count. Raises ValueError for rates
    that are not positive or do not grow, steps below 2, or a first step that diverges.

    Source: Smith, Cyclical learning rates for training neural networks (2017).
    """
    low, high = positive("lowest", lowest), positive("highest", highest)
    if low >= high:
        raise ValueError(f"expected highest above lowest, {lowest}, got {highest}")
    if count("steps", steps) < 2:
        raise ValueError(f"expected steps to be at least 2, got {steps}")
    wanted = optimizers.get(optimizer)
    if not is_dataclass(wanted) or "learning_rate" not in {field.name for field in fields(wanted)}:
        found = type(wanted).__name__
        raise TypeError(f"expected an optimizer of fastnn, whose rate can be set, got {found}")
    growth = math.log(high / low) / (steps - 1)
    rising = replace(wanted, learning_rate=lambda step: low * math.exp(growth * step))
    watch = _Watch(steps)
    options = {"epochs": steps, "batch_size": batch_size, "verbose": 0}
    with suppress(_Enough, DivergenceError):
        network.copy().fit(x, y, optimizer=rising, callbacks=[watch], **options)
    if not watch.rates:
        raise ValueError(f"expected a lowest rate that trains, got {lowest}, which diverges")
    best = watch.rates[int(np.argmin(watch.smoothed))]
    columns = map(np.array, (watch.rates, watch.losses, watch.smoothed))
    return RangeTest(*columns, suggestion=best / MARGIN)
