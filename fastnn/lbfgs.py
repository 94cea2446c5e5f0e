"""L-BFGS: all rows at once, by SciPy. It is the one optimizer that no engine runs.

Imports of SciPy are made by the first fit that asks for it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from . import training
from ._arrays import Array
from ._errors import DivergenceError, count, not_negative
from ._progress import progress
from .optimizers import Steps, Table
from .program import DROPOUT, KIND, normalises
from .training import History, Logs


@dataclass(frozen=True)
class LBFGS:
    """L-BFGS on all rows at once (SciPy's L-BFGS-B): for small data and smooth losses.

    An epoch is an iteration, and its figures are those after it; batch_size and shuffle do not
    count, and training ends early where it has converged. Dropout must be off. memory: how many
    steps the curvature is had from. gtol: it has converged where no gradient is larger; ftol: or
    where the loss falls by a smaller share. maxls: tries along a line in an iteration at most.
    A second fit begins anew. Training cannot be resumed. Results are the same on any number of
    threads, but SciPy's part may have other bits on other machines.
    Raises ValueError for numbers out of their range, and in `fit` for batches that come from an
    iterable, shards, a resume or callbacks with a batch's moments; ImportError without SciPy.

    Source: Liu, Nocedal, On the limited memory BFGS method for large scale optimization (1989).
    """

    SINCE: ClassVar[int] = 5
    learning_rate: ClassVar[float] = 1.0  # none is asked for
    code: ClassVar[int] = 0
    slots: ClassVar[int] = 0
    memory: int = 10
    gtol: float = 1e-5
    ftol: float = 2.2e-9
    maxls: int = 20

    def __post_init__(self) -> None:
        count("memory", self.memory, 1 << 31)
        count("maxls", self.maxls, 1 << 31)
        not_negative("gtol", self.gtol)
        not_negative("ftol", self.ftol)

    def coefficients(self, steps: Steps, rates: Table) -> Table:
        """Raises ValueError: there are no steps from batches."""
        raise ValueError("expected fit with LBFGS, which takes all rows at once, got a batch")

    def factors(self, names: tuple[str, ...]) -> None:
        """None: there are no groups."""


class Fit(training.Run):
    """One fit by L-BFGS."""

    def all_epochs(self) -> History:
        """Iterations until it has converged, there were enough, or a callback says so."""
        minimize = self.minimizer()
        listener, optimizer = self.settings.listener, self.settings.optimizer
        assert isinstance(optimizer, LBFGS)
        weights = self.runner.program.parameters
        accepted, begun = weights.copy(), weights.astype(np.float64)
        self.start = time.perf_counter()
        self.latest: tuple[bytes, Logs] = b"", {}

        def after(intermediate_result: Any) -> None:
            accepted[:] = intermediate_result.x
            if self.iteration_ends(accepted):
                raise StopIteration

        listener.train_begin(self)
        try:
            listener.epoch_begin(1)
            minimize(
                self.objective,
                begun,
                jac=True,
                method="L-BFGS-B",
                callback=after,
                options={
                    "maxiter": self.settings.epochs,
                    "maxfun": self.settings.epochs * (optimizer.maxls + 1) + 1,
                    "maxcor": optimizer.memory,
                    "gtol": optimizer.gtol,
                    "ftol": optimizer.ftol,
                    "maxls": optimizer.maxls,
                },
            )
        except DivergenceError:
            if not listener.diverged(1):
                raise
        finally:  # what was tried last need not be what was taken
            weights[:] = accepted
            self.runner.engine.rest(self.runner.program)
        listener.train_end()
        return self.history

    def minimizer(self) -> Callable[..., Any]:
        """SciPy's, unless the fit asks for what cannot be."""
        if self.streams or len(self.data) > 1:  # type: ignore[arg-type]
            raise ValueError("expected arrays x and y with LBFGS, got batches or shards")
        if self.every:
            raise ValueError("expected callbacks without a batch's moments with LBFGS, got some")
        if normalises(self.runner.program):
            raise ValueError("expected no BatchNorm with LBFGS, which has no batches, got some")
        ops, numbers = self.runner.program.ops, self.runner.program.numbers
        if (numbers[ops[:, KIND] == DROPOUT] > 0).any():
            raise ValueError("expected no dropout with LBFGS, which needs one loss, got some")
        try:
            from scipy.optimize import minimize
        except ImportError:
            raise ImportError(
                'LBFGS needs SciPy: run `python -m pip install "fastnn-cpu[scipy]"`'
            ) from None
        return minimize  # type: ignore[no-any-return]

    def place(self) -> None:
        """None: SciPy's memory is in no checkpoint."""

    @np.errstate(over="ignore", invalid="ignore")
    def objective(self, w: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        """The mean loss at weights w, and its gradient. Raises DivergenceError at the beginning."""
        weights = self.runner.program.parameters
        weights[:] = w
        gradients, loss, agreeing = training.gradients(self.runner, self.rows)
        if not self.latest[1] and not (math.isfinite(loss) and np.isfinite(gradients).all()):
            raise DivergenceError(
                f"training diverged: expected a finite loss and gradients to begin with, got loss "
                f"{loss}"
            )
        total = self.rows.total()
        figures = self.rows.figures(loss, agreeing, total)
        self.latest = weights.tobytes(), figures
        return loss / total, gradients.astype(np.float64)

    def iteration_ends(self, weights: Array) -> bool:
        """Its figures, its validation and the callbacks; whether the fit shall end."""
        listener, settings, state = self.settings.listener, self.settings, self.state
        number = len(self.history.history.get("loss", ())) + 1
        if self.latest[0] != weights.tobytes():  # another one was tried after it
            self.objective(weights.astype(np.float64))
        seconds = time.perf_counter() - self.start
        logs = dict(self.latest[1])
        if self.validation is not None:
            figures = training.evaluate(self.runner, self.validation, settings.metrics)
            logs.update((f"val_{name}", value) for name, value in figures.items())
        title = f"epoch {number}/{settings.epochs}"
        with progress(title, self.total_rows, training.SAMPLES, shown=settings.verbose > 0) as bar:
            bar.advance(len(self.rows), training.Described(logs))
            bar.finish(training.Described(logs))
        self.history.append({**logs, "seconds": seconds})
        state.epochs, state.steps = state.epochs + 1, state.steps + 1
        if listener.epoch_end(number, logs):
            return True
        if number < settings.epochs:
            listener.epoch_begin(number + 1)
        self.start = time.perf_counter()
        return False
