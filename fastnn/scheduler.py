"""Schedules of other numbers than the rate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import numpy as np

from . import schedules
from ._errors import fraction, shown, unknown, whole
from .callbacks import Callback
from .lbfgs import LBFGS
from .program import CROSS_ENTROPY, CROSS_ENTROPY_LOGITS, DROPOUT, KIND
from .schedules import Schedule
from .training import Logs

OF_THE_NETWORK = ("dropout", "label_smoothing")


class Scheduler(Callback):
    """Sets a number anew before each epoch, as a schedule of epochs has it.

    name: "dropout", the rate of every `Dropout` and `AlphaDropout`, or of those of the layer number
    `layer` alone; "label_smoothing", of cross-entropy; or a number of the optimizer, such as
    "weight_decay", "momentum" or "beta_2". schedule: as an optimizer's learning_rate, but epochs
    are its steps: `Cosine(0.5)` falls from 0.5 at the first epoch towards 0 over all of them; or a
    function of the epoch, from 0 on. The learning rate has schedules of its own, step by step.

        net.fit(x, y, epochs=20, callbacks=[fastnn.Scheduler("dropout", fastnn.Cosine(0.5))])

    After the fit everything is as before. A fit that is resumed has the same bits, given the same
    callbacks. Raises ValueError, before the first epoch, for what the network or the optimizer has
    not, and for one that is 0 in the optimizer, which then has no such rule; in an epoch for a
    value out of its range.
    """

    every = 0

    def __init__(
        self, name: str, schedule: Schedule | Callable[[int], float], layer: int | None = None
    ) -> None:
        if name == "learning_rate":
            hint = "; optimizers take schedules as their learning_rate"
            raise ValueError(f"expected another number, got learning_rate{hint}")
        if layer is not None and name != "dropout":
            raise ValueError(f"expected layer with 'dropout' alone, got it with {shown(name)}")
        self.name, self.schedule = name, schedules.get(schedule)
        self.layer = None if layer is None else whole("layer", layer)

    def on_train_begin(self, logs: Logs) -> object:
        """Look whether there is such a number."""
        program, name = self.run.runner.program, self.name
        optimizer: Any = self.run.optimizer  # a dataclass
        if isinstance(optimizer, LBFGS):
            raise ValueError("expected an optimizer that takes batches with Scheduler, got LBFGS")
        if name == "dropout":
            self._ops = self._dropouts()
        elif name == "label_smoothing":
            if program.loss not in (CROSS_ENTROPY, CROSS_ENTROPY_LOGITS):
                loss = self.model.loss.name
                raise ValueError(f"expected cross_entropy for label_smoothing, got {loss}")
        else:
            mine = [one.name for one in fields(optimizer) if one.type in ("float", "float | None")]
            if name not in mine:
                raise unknown("number", name, (*OF_THE_NETWORK, *mine))
            if not getattr(optimizer, name):
                kind = type(optimizer).__name__
                raise ValueError(f"expected {name} of {kind} above 0 to be scheduled, got 0")
        return None

    def _dropouts(self) -> list[int]:
        """The numbers of the ops that are meant."""
        program = self.run.runner.program
        first, last = 0, len(program.ops) - 1
        if self.layer is not None:
            count = len(program.layers) - 1
            if not 0 <= self.layer < count:
                raise ValueError(f"expected a layer from 0 to {count - 1}, got {self.layer}")
            first, last = program.layers[self.layer : self.layer + 2].tolist()
        found = np.flatnonzero(program.ops[:, KIND] == DROPOUT).tolist()
        ops = [op for op in found if first < op <= last]
        if not ops:
            where = "the network" if self.layer is None else f"layer {self.layer}"
            raise ValueError(f"expected Dropout in {where} to be scheduled, got none")
        return ops

    def on_epoch_begin(self, epoch: int, logs: Logs) -> object:
        """Set it."""
        run, program = self.run, self.run.runner.program
        found = schedules.checked_rates(self.schedule, epoch - 1, 1, run.settings.epochs)
        value = found.item()
        if self.name == "dropout":
            numbers: Any = program.numbers.copy()
            numbers[self._ops] = fraction("dropout", value)
            run.renumber(numbers, program.loss_numbers)
        elif self.name == "label_smoothing":
            run.renumber(program.numbers, np.array([fraction(self.name, value)]))
        else:
            optimizer: Any = run.optimizer
            run.optimizer = replace(optimizer, **{self.name: value})
        return None
