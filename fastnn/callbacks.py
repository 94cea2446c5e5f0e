"""Callbacks: what is told how a fit goes, with Keras's moments and names."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Literal

import numpy as np

from . import _atomic
from ._arrays import Array
from ._errors import count, file_name, flag, fraction, not_negative, shown, unknown, whole

if TYPE_CHECKING:
    from .network import Network
    from .training import Logs, Run

Mode = Literal["auto", "min", "max"]

MODES = ("auto", "min", "max")
RISING = ("accuracy", "precision", "recall", "f1", "roc_auc", "r2")  # what is better if it is more


class Callback:
    """What a fit tells, moment by moment; a subclass overrides the moments that it needs.

    model: the network, and run: its fit, from on_train_begin on. Epochs, and batches of an epoch,
    are counted from 1 (Keras counts from 0). logs has figures by name: of an epoch those of the
    history, of a batch the means over the epoch so far. Training stops after an epoch for which
    on_epoch_end returns True. Where no callback has a batch's moments they cost nothing; where one
    has, a call of the engine is one step.
    """

    model: Network
    run: Run
    every = 1  # of so many steps of the fit, one has a batch's moments; 0: none has

    def on_train_begin(self, logs: Logs) -> object:
        """Before the first epoch; logs are empty. A callback that serves again begins anew."""

    def on_resume(self, history: dict[str, list[float]]) -> object:
        """After on_train_begin of a fit that is resumed: what its epochs so far brought."""

    def on_train_end(self, logs: Logs) -> object:
        """After the last epoch, with its figures; not after an error or Ctrl-C."""

    def on_epoch_begin(self, epoch: int, logs: Logs) -> object:
        """Before the epoch's first step; logs are empty."""

    def on_epoch_end(self, epoch: int, logs: Logs) -> object:
        """After the epoch and its validation."""

    def on_train_batch_begin(self, batch: int, logs: Logs) -> object:
        """Before a step; logs are empty."""

    def on_train_batch_end(self, batch: int, logs: Logs) -> object:
        """After a step."""

    def on_divergence(self, epoch: int) -> object:
        """Where Keras has NaN as the loss; True ends the fit instead of a DivergenceError."""


class Function(Callback):
    """A plain function of (network, epoch, logs), called after each epoch."""

    def __init__(self, function: Callable[..., object]) -> None:
        self.function = function

    def on_epoch_end(self, epoch: int, logs: Logs) -> object:
        """What the function says."""
        return self.function(self.model, epoch, logs)


def has_batches(callback: Callback) -> bool:
    """Whether it has a batch's moments."""
    names = ("on_train_batch_begin", "on_train_batch_end")
    return any(getattr(type(callback), name) is not getattr(Callback, name) for name in names)


class Callbacks:
    """The callbacks of one fit, as `training.Listener` asks; checkpoints are told last."""

    def __init__(self, callbacks: Iterable[object], network: Network) -> None:
        """Raises TypeError for what is no callback and cannot be called."""
        if callable(callbacks):
            raise TypeError("expected callbacks as a list, got a function; pass [function]")
        found = [one if isinstance(one, Callback) else function(one) for one in callbacks]
        self.callbacks = sorted(found, key=lambda callback: isinstance(callback, Checkpoint))
        self.batches = [one for one in self.callbacks if one.every and has_batches(one)]
        self.every = math.gcd(*(callback.every for callback in self.batches))
        self.network = network
        self.latest: Logs = {}

    def train_begin(self, run: Run) -> None:
        """on_train_begin of all, and on_resume where there was something before."""
        history = run.history.history
        for callback in self.callbacks:
            callback.model, callback.run = self.network, run
            callback.on_train_begin({})
            if history:
                callback.on_resume(history)

    def train_end(self) -> None:
        """on_train_end of all."""
        for callback in self.callbacks:
            callback.on_train_end(dict(self.latest))

    def epoch_begin(self, epoch: int) -> None:
        """on_epoch_begin of all."""
        for callback in self.callbacks:
            callback.on_epoch_begin(epoch, {})

    def epoch_end(self, epoch: int, logs: Logs) -> bool:
        """on_epoch_end of all, whatever the first ones answer; whether one answers True."""
        self.latest = logs
        answers = [callback.on_epoch_end(epoch, dict(logs)) for callback in self.callbacks]
        return any(map(yes, answers))

    def batches_begin(self, step: int, batch: int) -> None:
        """on_train_batch_begin of those whose turn it is."""
        for callback in self.batches:
            if (step - 1) % callback.every == 0:
                callback.on_train_batch_begin(batch, {})

    def batches_end(self, step: int, batch: int, logs: Logs) -> None:
        """on_train_batch_end of those whose turn it is."""
        for callback in self.batches:
            if step % callback.every == 0:
                callback.on_train_batch_end(batch, dict(logs))

    def diverged(self, epoch: int) -> bool:
        """Whether one of them wants no error."""
        return any(map(yes, [callback.on_divergence(epoch) for callback in self.callbacks]))


def function(callback: object) -> Function:
    """A function as a callback. Raises TypeError for what cannot be called."""
    if isinstance(callback, type) and issubclass(callback, Callback):
        found = callback.__name__
        raise TypeError(f"expected callbacks to be functions, got {found}; use {found}()")
    if not callable(callback):
        found = type(callback).__name__
        raise TypeError(f"expected callbacks to be functions, got {found}")
    return Function(callback)


def yes(answer: object) -> bool:
    """Whether a callback said True, or NumPy's True; not 1, nor an array."""
    return isinstance(answer, bool | np.bool_) and bool(answer)


def waiting(name: str, value: int) -> int:
    """The value as an int. Raises ValueError unless it is at least 0."""
    result = whole(name, value)
    if result < 0:
        raise ValueError(f"expected {name} of at least 0, got {shown(value)}")
    return result


class Monitor(Callback):
    """Watches one figure of an epoch: `better` says whether it beats the best one so far.

    mode: "min" or "max" is better; "auto" is max for accuracies, precision, recall, f1, roc_auc and
    r2, else min. min_delta: what counts as better.
    """

    def __init__(self, monitor: str = "val_loss", mode: Mode = "auto", min_delta: float = 0.0):
        if mode not in MODES:
            raise unknown("mode", mode, MODES)
        self.monitor, self.mode = monitor, mode
        self.min_delta = not_negative("min_delta", min_delta)
        rising = mode == "max" or (mode == "auto" and monitor.endswith(RISING))
        self.sign = -1.0 if rising else 1.0
        self.best = math.inf  # times the sign

    def on_train_begin(self, logs: Logs) -> object:
        """Nothing is best yet."""
        self.best = math.inf
        return None

    def better(self, logs: Logs) -> bool:
        """Whether the figure is better than all before. Raises ValueError if there is none."""
        if self.monitor not in logs:
            raise unknown("monitor", self.monitor, logs)
        value = self.sign * logs[self.monitor]
        if not value + self.min_delta < self.best:
            return False
        self.best = value
        return True


def epochs_of(history: dict[str, list[float]]) -> Iterable[tuple[int, Logs]]:
    """The numbers of epochs, and the figures of each."""
    columns = zip(*history.values(), strict=False)
    return ((i, dict(zip(history, column, strict=True))) for i, column in enumerate(columns, 1))


class BestWeights(Monitor):
    """Remembers the weights of the epoch in which `monitor` was best; `restore` brings them back.

    epoch: its number, 0 before there is one. logs: its figures.
    """

    def __init__(self, monitor: str = "val_loss", mode: Mode = "auto", min_delta: float = 0.0):
        super().__init__(monitor, mode, min_delta)
        self.epoch, self.logs = 0, dict[str, float]()
        self.weights: Array | None = None

    def on_train_begin(self, logs: Logs) -> object:
        """Nothing is best yet."""
        self.epoch, self.logs, self.weights = 0, {}, None
        return super().on_train_begin(logs)

    def on_epoch_end(self, epoch: int, logs: Logs) -> object:
        """Keep the weights if they are the best."""
        if self.better(logs):
            self.epoch, self.logs = epoch, logs
            self.keep()
        return None

    def keep(self) -> None:
        """Remember the weights as they are."""
        self.weights = self.model.program.parameters.copy()

    def restore(self) -> None:
        """Give the network the weights that are kept, if some are."""
        if self.weights is not None:
            self.model.program.parameters[:] = self.weights
        self.weights = None


class EarlyStopping(BestWeights):
    """Stops when `monitor` has not become better by more than min_delta for `patience` epochs.

    The first start_from_epoch epochs do not count. With restore_best_weights (in Keras off, if not
    said) the network ends with the weights of its best epoch, whatever ended the fit. They are in
    no checkpoint: where the best epoch lies before a resume, that raises ValueError.

    Source: Prechelt, Early stopping - but when? (1998).
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        min_delta: float = 0.0,
        patience: int = 0,
        mode: Mode = "auto",
        restore_best_weights: bool = True,
        start_from_epoch: int = 0,
    ) -> None:
        super().__init__(monitor, mode, min_delta)
        self.patience = waiting("patience", patience)
        self.restore_best_weights = flag("restore_best_weights", restore_best_weights)
        self.start_from_epoch = waiting("start_from_epoch", start_from_epoch)
        self.wait = 0  # epochs since the best one

    def on_train_begin(self, logs: Logs) -> object:
        """Nothing is best yet."""
        self.wait = 0
        return super().on_train_begin(logs)

    def on_resume(self, history: dict[str, list[float]]) -> object:
        """What was seen before; the weights now are known, earlier ones are not."""
        for epoch, logs in epochs_of(history):
            self._see(epoch, logs)
        if self.epoch and self.restore_best_weights:
            if self.epoch < len(history["loss"]) or self.run.now.calls:
                raise ValueError(
                    f"expected restore_best_weights=False with a resume, got True; the weights of "
                    f"the best epoch, {self.epoch}, are not in the checkpoint"
                )
            self.keep()
        return None

    def on_epoch_end(self, epoch: int, logs: Logs) -> object:
        """Keep the weights if they are the best; True if that was long ago."""
        if self._see(epoch, logs) and self.restore_best_weights:
            self.keep()
        return self.wait > 0 and self.wait >= self.patience

    def on_train_end(self, logs: Logs) -> object:
        """The best weights, if they are asked for."""
        self.restore()
        return None

    def _see(self, epoch: int, logs: Logs) -> bool:
        """Count how long the best epoch is ago; whether it is this one."""
        if epoch <= self.start_from_epoch:
            return False
        if not self.better(logs):
            self.wait += 1
            return False
        self.wait, self.epoch, self.logs = 0, epoch, logs
        return True


class ReduceLROnPlateau(Monitor):
    """Multiplies the rate by `factor` when `monitor` was not better for `patience` epochs.

    After that, `cooldown` epochs do not count. The rate, a schedule's too, does not fall below
    min_lr by it.
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        factor: float = 0.1,
        patience: int = 10,
        mode: Mode = "auto",
        min_delta: float = 1e-4,
        cooldown: int = 0,
        min_lr: float = 0.0,
    ) -> None:
        super().__init__(monitor, mode, min_delta)
        self.factor = fraction("factor", factor)
        self.patience, self.cooldown = waiting("patience", patience), waiting("cooldown", cooldown)
        self.min_lr = not_negative("min_lr", min_lr)
        self.wait, self.cooling = 0, 0

    def on_train_begin(self, logs: Logs) -> object:
        """Nothing is best yet."""
        self.wait, self.cooling = 0, 0
        return super().on_train_begin(logs)

    def on_resume(self, history: dict[str, list[float]]) -> object:
        """The same as was seen before; the checkpoint knows the rate."""
        for _, logs in epochs_of(history):
            self._see(logs)
        return None

    def on_epoch_end(self, epoch: int, logs: Logs) -> object:
        """Lower the rate, if it is time."""
        if self._see(logs) and self.run.rate > self.min_lr:
            lower = max(self.run.rate * self.factor, self.min_lr)
            self.run.rate_factor *= lower / self.run.rate
        return None

    def _see(self, logs: Logs) -> bool:
        """Count how long the best epoch is ago; whether that is too long."""
        cooling = self.cooling > 0
        self.cooling -= cooling
        if self.better(logs) or cooling:
            self.wait = 0
            return False
        self.wait += 1
        if self.wait < self.patience:
            return False
        self.wait, self.cooling = 0, self.cooldown
        return True


class Checkpoint(Monitor):
    """Writes the network, its optimizer's state and the place in the fit to the file `path`.

    `fit(resume=path)` goes on from there to the same bits. save_freq: "epoch", or a number of
    steps of the fit. save_best_only: after epochs only, and only if `monitor` is better than
    before. A file is written whole or not at all. In a fit on an iterable it has no place, and
    cannot be resumed. Raises ValueError if training is not finite.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        save_freq: str | int = "epoch",
        save_best_only: bool = False,
        monitor: str = "val_loss",
        mode: Mode = "auto",
    ) -> None:
        super().__init__(monitor, mode)
        self.path = file_name(path)
        self.save_best_only = flag("save_best_only", save_best_only)
        self.by_epoch = save_freq == "epoch"
        if isinstance(save_freq, str):
            if not self.by_epoch:
                raise ValueError(f"expected save_freq as 'epoch' or steps, got {shown(save_freq)}")
            self.every = 0  # no steps end a call
        else:
            self.every = count("save_freq", save_freq)
        if save_best_only and not self.by_epoch:
            raise ValueError(f"expected save_freq='epoch' with save_best_only, got {save_freq}")

    def on_resume(self, history: dict[str, list[float]]) -> object:
        """The best figure so far."""
        if self.save_best_only:
            for _, logs in epochs_of(history):
                self.better(logs)
        return None

    def on_epoch_end(self, epoch: int, logs: Logs) -> object:
        """Save, if that is what is wanted."""
        if self.by_epoch and (not self.save_best_only or self.better(logs)):
            self.save()
        return None

    def on_train_batch_end(self, batch: int, logs: Logs) -> object:
        """Save."""
        self.save()
        return None

    def save(self) -> None:
        """Write the file."""
        from . import files

        files.save(self.model, self.path, optimizer=True, place=self.run.place())


class CSVLogger(Callback):
    """Writes the history to a CSV file, a line an epoch; that of a resumed fit has all epochs."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = file_name(path)
        self.lines = 0

    def on_train_begin(self, logs: Logs) -> object:
        """The file begins anew."""
        self.lines = 0
        return None

    def on_epoch_end(self, epoch: int, logs: Logs) -> object:
        """Add a line; the first time, put a new file in the place of the old one."""
        history, first = self.run.history.history, self.lines
        fresh = {name: figures[first:] for name, figures in history.items()}
        lines = [
            ",".join(map(repr, [first + number, *figures.values()])) + "\n"
            for number, figures in epochs_of(fresh)
        ]
        self.lines += len(lines)
        if first:
            with open(self.path, "a", encoding="utf-8") as file:
                file.writelines(lines)
        else:
            with _atomic.replacing(self.path) as new:
                new.write("".join([",".join(["epoch", *history]) + "\n", *lines]).encode())
        return None


class TerminateOnNaN(Callback):
    """Ends a fit that diverges without an error; the weights are those from before that epoch."""

    def on_divergence(self, epoch: int) -> object:
        """No error."""
        return True
