"""How `fastnn.estimators` fits: scikit-learn's order of rows, rates and ends, fastnn's steps."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning

from . import training
from ._arrays import Array
from .callbacks import Callback
from .losses import Loss
from .optimizers import PENALTY, PENALTY_LOSS, WIDTH, Adam
from .rows import Rows
from .training import Logs


@dataclass(frozen=True)
class Gradient:
    """What scikit-learn's gradient, and its loss, are in units of those of a fastnn loss.

    fastnn's losses are means over the outputs. scikit-learn's gradients are sums over them; so are
    its losses but the squared one, which is half of the mean.
    """

    times: float
    loss_times: float

    @classmethod
    def of(cls, loss: Loss, outputs: int) -> Gradient:
        """Those of a network with so many outputs."""
        if loss.name == "cross_entropy":
            return cls(1.0, 1.0)
        if loss.name == "mean_squared_error":
            return cls(outputs / 2, 0.5)
        return cls(float(outputs), float(outputs))


@dataclass(frozen=True)
class Update:
    """scikit-learn's SGD and Adam as an optimizer of fastnn: the same update, other numbers.

    The gradient that engines see is scikit-learn's divided by `times`. Adam's epsilon stands beside
    sqrt(v) before that is corrected.
    """

    solver: str
    momentum: float
    nesterov: bool
    beta_1: float
    beta_2: float
    epsilon: float
    times: float
    learning_rate: float = 1.0  # that of a step comes from scikit-learn's own optimizer

    @property
    def code(self) -> int:
        """That of `SGD` or `Adam` in fastnn.optimizers."""
        if self.solver == "adam":
            return 3
        return 0 if self.momentum == 0 else 2 if self.nesterov else 1

    @property
    def slots(self) -> int:
        """As there."""
        return (0, 1, 1, 2)[self.code]

    def coefficients(
        self, steps: NDArray[np.int64], rates: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """As there: of updates `steps` (S,), from 0 on, at these rates (S,)."""
        if self.solver == "sgd":
            table = np.zeros((len(steps), WIDTH))
            table[:, 0] = rates * self.times
            table[:, 1] = self.momentum
            return table
        table = Adam(1.0, self.beta_1, self.beta_2, self.epsilon).coefficients(steps, rates)
        table[:, 4] = self.epsilon / self.times * table[:, 1]
        return table


class Epochs(training.Run):
    """A fit whose rows come in scikit-learn's order, at the rate of its optimizer."""

    random_state: np.random.RandomState
    loss = math.nan  # the sum over the latest epoch
    gradient: Gradient
    rate_now: Callable[[], float] | None = None  # None: fastnn's own schedule

    def arrange(self, rows: int, shard: int) -> None:
        """One permutation after the other, as sklearn.utils.shuffle draws them."""
        if self.settings.shuffle:
            permutation = np.arange(rows, dtype=np.int32)
            self.random_state.shuffle(permutation)
            self.order = self.order[permutation]

    def coefficients(self, before: int, rates: NDArray[np.float64], rows: int) -> Array:
        """Penalties are divided by the rows of a batch, whatever the units of the gradient."""
        table = super().coefficients(before, rates, rows)
        batch = np.full(len(rates), self.batch_size)
        batch[-1] = rows - (len(rates) - 1) * self.batch_size
        table[:, PENALTY] = 1 / (batch * self.gradient.times)
        table[:, PENALTY_LOSS] = 1 / (batch * self.gradient.loss_times)
        return table

    def settle(self) -> bool:
        """As it is, also where it diverged: scikit-learn goes on, and says so in the end."""
        steps, (self.loss, _) = self.now.done()
        self.state.steps = self.now.steps + steps
        return True

    def rates(self, first: int, steps: int) -> NDArray[np.float64]:
        """The same for all steps of an epoch."""
        return (
            super().rates(first, steps)
            if self.rate_now is None
            else np.full(steps, self.rate_now())
        )


class Judge(Callback):
    """After each epoch of an estimator: its loss, whether it improves, and whether that is all."""

    def __init__(
        self, estimator: Any, gradient: Gradient, validation: tuple[Any, Any, Any], once: bool
    ) -> None:
        self.estimator, self.gradient = estimator, gradient
        self.validation, self.once = validation, once

    def on_epoch_end(self, epoch: int, logs: Logs) -> object:
        """What scikit-learn does after an epoch; True if training is over."""
        estimator = self.estimator
        estimator.n_iter_ += 1
        estimator.loss_ = self.run.loss / len(self.run.rows) * self.gradient.loss_times
        estimator.t_ += len(self.run.rows)
        estimator.loss_curve_.append(estimator.loss_)
        if estimator.verbose:
            print(f"Iteration {estimator.n_iter_}, loss = {estimator.loss_:.8f}")
        estimator._update_no_improvement_count(estimator.early_stopping, *self.validation)
        estimator._optimizer.iteration_ends(estimator.t_)
        if self._stops() or self.once:
            return True
        if estimator.n_iter_ == estimator.max_iter:
            warnings.warn(
                f"Stochastic Optimizer: Maximum iterations ({estimator.max_iter}) reached and the "
                f"optimization hasn't converged yet.",
                ConvergenceWarning,
                stacklevel=2,
            )
        return None

    def _stops(self) -> bool:
        """Whether too many epochs brought nothing, and the rate is not lowered instead."""
        estimator = self.estimator
        if estimator._no_improvement_count <= estimator.n_iter_no_change:
            return False
        what = "Validation score" if estimator.early_stopping else "Training loss"
        message = (
            f"{what} did not improve more than tol={estimator.tol:f} for "
            f"{estimator.n_iter_no_change} consecutive epochs."
        )
        if estimator._optimizer.trigger_stopping(message, estimator.verbose):
            return True
        estimator._no_improvement_count = 0
        return False


class Validation(Callback):
    """Appends the loss of rows that are not learned from to `validation_loss_curve_`."""

    def __init__(self, estimator: Any, gradient: Gradient, rows: Rows) -> None:
        self.estimator, self.gradient, self.rows = estimator, gradient, rows

    def on_epoch_end(self, epoch: int, logs: Logs) -> object:
        """Evaluate them."""
        loss = training.evaluate(self.run.runner, self.rows)["loss"] * self.gradient.loss_times
        self.estimator.validation_loss_curve_.append(loss)
        return None


class Tasks(Callback):
    """Tells scikit-learn's callbacks of a fit, and of its epochs, its subtasks."""

    def __init__(self, estimator: Any, context: Any, X: Any, y: Any) -> None:  # noqa: N803
        self.estimator, self.context = estimator, context
        self.data = {"estimator": estimator, "X": X, "y": y}
        self.wanted = bool(context._callbacks)
        if self.wanted:
            context.call_on_fit_task_begin(**self.data)

    def on_epoch_begin(self, epoch: int, logs: Logs) -> object:
        """A subtask begins."""
        self.epoch = self.context.subcontext(task_name="epoch")
        self.epoch.call_on_fit_task_begin(**self.data, reconstruction_attributes=self.fitted)
        return None

    def on_epoch_end(self, epoch: int, logs: Logs) -> object:
        """It ends; True if one of them wants no more."""
        return self.epoch.call_on_fit_task_end(**self.data, reconstruction_attributes=self.fitted)

    def end(self) -> None:
        """The fit ends."""
        if self.wanted:
            self.context.call_on_fit_task_end(**self.data, reconstruction_attributes=self.fitted)

    def fitted(self) -> dict[str, list[Array]]:
        """What makes a fitted estimator of a copy."""
        return {
            name: [weights.copy() for weights in getattr(self.estimator, name)]
            for name in ("coefs_", "intercepts_")
        }


def dense(x: Any) -> Array:
    """Rows of an array, or of a sparse matrix, as an array."""
    return x.toarray() if hasattr(x, "toarray") else np.asarray(x)
