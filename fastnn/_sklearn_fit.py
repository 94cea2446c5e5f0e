"""How `fastnn.estimators` fits: scikit-learn's order of rows, rates and ends, fastnn's steps."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import starmap
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning

from . import training
from ._arrays import Array
from ._sparse import Sparse
from .callbacks import Callback
from .engine import Targets
from .heads import Heads
from .losses import Loss
from .optimizers import Adam
from .program import EPSILON, PENALTY, RATE, SHARE, WIDTH_OF_ROW, A
from .reference import penalty
from .rows import Rows
from .training import Logs, Sums


@dataclass(frozen=True)
class Gradient:
    """What scikit-learn's gradient, and its loss, are in units of those of a fastnn loss.

    fastnn's losses are means over the outputs. scikit-learn's gradients are sums over them; so are
    its losses but the squared one, which is half of the mean.
    """

    times: float
    loss_times: float

    @property
    def differs(self) -> bool:
        """Whether a penalty counts otherwise in the loss than in the gradient."""
        return self.times != self.loss_times

    @classmethod
    def of(cls, loss: Loss, outputs: int) -> Gradient:
        """Those of a network with so many outputs."""
        if loss.kind == "class" or loss.function is not None:
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
        if self.solver == "adam":
            table = adam(self.beta_1, self.beta_2, self.epsilon).coefficients(steps, rates)
            table[:, EPSILON] = self.epsilon / self.times * table[:, A]
            return table
        table = np.zeros((len(steps), WIDTH_OF_ROW))
        table[:, SHARE] = 1.0
        table[:, RATE] = rates * self.times
        table[:, A] = self.momentum
        return table

    def factors(self, names: tuple[str, ...]) -> None:
        """None: all blocks learn alike."""


class Several:
    """Several targets of classes at once, as a label binarizer: one-hot, one behind the other."""

    y_type_ = "multiclass-multioutput"

    def __init__(self, y: Array) -> None:
        self.classes_ = [np.unique(column) for column in y.T]
        given: Any = {
            f"target {k}": (max(2, len(found)), "cross_entropy")
            for k, found in enumerate(self.classes_)
        }
        self.heads = Heads(**given)

    def transform(self, y: Array) -> Array:
        """One-hot targets (n, the classes of all) of y (n, k); ValueError for new classes."""
        labels = {}
        for k, known in enumerate(self.classes_):
            new = np.setdiff1d(y[:, k], known)
            if len(new):
                raise ValueError(f"expected classes {known} in target {k}, got {new}")
            labels[f"target {k}"] = np.searchsorted(known, y[:, k])
        return self.heads.targets(**labels)

    def inverse_transform(self, h: Array) -> Array:
        """The classes (n, k) with the largest of their outputs (n, the classes of all)."""
        found = zip(self.classes_, self.heads.outputs(h).values(), strict=True)
        parts = [known[part[:, : len(known)].argmax(axis=1)] for known, part in found]
        return np.stack(parts, axis=1)


@cache
def adam(beta_1: float, beta_2: float, epsilon: float) -> Adam:
    """Checked once, and not for each call of an engine."""
    return Adam(1.0, beta_1, beta_2, epsilon)


class Epochs(training.Run):
    """A fit whose rows come in scikit-learn's order, at the rate of its optimizer."""

    random_state: np.random.RandomState
    rate_now: Callable[[], float] | None = None  # None: fastnn's own schedule
    constants: NDArray[np.float64] | None = None  # (n,): what a row's loss has besides
    loss = math.nan  # the mean over the latest epoch
    more = 0.0  # what its sum has besides the engine's

    @property
    def gradient(self) -> Gradient:
        """The units of scikit-learn's gradients and losses."""
        return Gradient.of(self.rows.loss, self.runner.program.outputs)

    def arrange(self, rows: int, shard: int) -> None:
        """One permutation after the other, as sklearn.utils.shuffle draws them."""
        if self.settings.shuffle:
            permutation = np.arange(rows, dtype=np.int32)
            self.random_state.shuffle(permutation)
            self.order = self.order[permutation]

    def cut(self, batch_size: int) -> None:
        """Calls of one step where a penalty has other units in the loss than in the gradient."""
        super().cut(batch_size)
        if isinstance(self.runner.engine, Sparse):
            self.in_units = True
        if self.in_units or (self.runner.program.penalties is not None and self.gradient.differs):
            self.steps_per_call = 1

    def small_steps(self, chosen: NDArray[np.int32], coefficients: Array) -> Iterator[Sums]:
        """As there; each batch weighs as many as its rows are, penalties are divided by weights."""
        runner, rows, size = self.runner, self.rows, self.batch_size
        weights = rows.weights_of(chosen)
        starts = np.arange(0, len(chosen), size)
        counts = np.minimum(size, len(chosen) - starts)
        totals = counts if weights is None else np.add.reduceat(weights, starts)
        self.penalize(coefficients, counts, totals)
        targets = rows.targets(chosen)
        y: Targets = targets
        if weights is not None:
            weights = weights * np.repeat(counts / totals, counts)
            y = targets, weights
        if self.constants is not None:
            own = self.constants[chosen]
            self.more += float(own.sum() if weights is None else own @ weights)
        x, places = rows.where(chosen)
        arguments = runner.program, x, places, y, size, coefficients, runner.threads()
        return starmap(runner.engine.train, [arguments])

    def penalize(self, coefficients: Array, counts: Array, totals: Array) -> None:
        """What penalties are times in the gradients of these batches, and in the loss."""
        units, program = self.gradient, self.runner.program
        coefficients[:, PENALTY] = 1 / (totals * units.times)
        if self.steps_per_call == 1 and program.penalties is not None and units.differs:
            share = 1 - units.loss_times / units.times
            self.more += penalty(program, program.parameters) * counts[0] / totals[0] * share

    def large_step(self, batch: NDArray[np.int32], coefficients: Array) -> Iterator[Sums]:
        """As there; the penalty, whose units are scikit-learn's, is added here."""
        runner, program, count = self.runner, self.runner.program, len(batch)
        penalties, program.penalties = program.penalties, None
        try:
            arena, loss, agreeing = training.gradients(runner, self.rows, batch)
        finally:
            program.penalties = penalties
        total = self.rows.total(batch)
        self.penalize(coefficients, np.array([count]), np.array([total]))
        if self.constants is not None:
            own, weights = self.constants[batch], self.rows.weights_of(batch)
            self.more += float(own.sum() if weights is None else own @ weights * (count / total))
        update = program, arena, coefficients[0], runner.threads(), True
        penalty = runner.engine.apply_gradients(*update)
        return iter([(loss * count / total + count * penalty, agreeing)])

    def settle(self) -> bool:
        """As it is, also where it diverged: scikit-learn goes on, and says so in the end."""
        steps, (loss, _) = self.now.done()
        self.state.steps = self.now.steps + steps
        self.loss = (loss * self.gradient.loss_times + self.more) / len(self.rows)
        self.more = 0.0
        return True

    def rates(self, first: int, steps: int) -> NDArray[np.float64]:
        """The same for all steps of an epoch."""
        if self.rate_now is None:
            return super().rates(first, steps)
        return np.full(steps, self.rate_now())


class Verdict(Callback):
    """After each epoch of an estimator: its loss, whether it improves, and whether that is all."""

    best: Array | None = None  # parameters, where early stopping has found some

    def __init__(self, estimator: Any, validation: tuple[Any, Any, Any], once: bool) -> None:
        self.estimator, self.validation, self.once = estimator, validation, once

    def on_epoch_end(self, epoch: int, logs: Logs) -> object:
        """What scikit-learn does after an epoch; True if training is over."""
        estimator = self.estimator
        estimator.n_iter_ += 1
        assert isinstance(self.run, Epochs)
        estimator.loss_ = self.run.loss
        estimator.t_ += len(self.run.rows)
        estimator.loss_curve_.append(estimator.loss_)
        if estimator.verbose:
            print(f"Iteration {estimator.n_iter_}, loss = {estimator.loss_:.8f}")
        known = getattr(estimator, "_best_coefs", None)
        estimator._update_no_improvement_count(estimator.early_stopping, *self.validation)
        if estimator.early_stopping and estimator._best_coefs is not known:
            self.best = self.run.runner.program.parameters.copy()
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
