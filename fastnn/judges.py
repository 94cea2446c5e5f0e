"""Losses of one's own: engines whose calls that judge ask a Python function instead."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import _arrays, reference
from ._errors import number, shown
from .engine import Array, Engine, Targets
from .losses import Loss
from .program import Program, in_training, zeros_like_parameters


class Judge:
    """An engine, and a function that it asks for the loss of each batch and its gradient.

    A batch costs a pass forward more than with a loss of the engine's, and one call of the
    function.
    """

    def __init__(self, engine: Engine, loss: Loss) -> None:
        self.engine, self.loss = engine, loss

    def __getattr__(self, name: str) -> Any:
        return getattr(self.engine, name)

    def judged(self, h: Array, y: Array) -> tuple[float, Array]:
        """The mean loss over the rows, and its gradient (n, O), as an engine reads it.

        Raises TypeError or ValueError for what is none.
        """
        name = self.loss.name
        assert self.loss.function is not None
        found = self.loss.function(y_true=y, y_pred=h)
        if not isinstance(found, tuple) or len(found) != 2:
            raise TypeError(f"expected (loss, d_y_pred) from {name}, got {shown(found)}")
        what = f"the loss that {name} gives"
        loss = np.asarray(found[0])
        if loss.shape != ():
            raise ValueError(f"expected {what} to be one number, got {loss.shape}")
        d = _arrays.real(f"the d_y_pred that {name} gives", found[1])
        if d.shape != h.shape:
            raise ValueError(f"expected d_y_pred {h.shape} from {name}, got {d.shape}")
        _arrays.check_finite(f"the d_y_pred that {name} gives", d, h.dtype)
        return number(what, loss.item()), np.ascontiguousarray(d, h.dtype)

    def sums(self, program: Program, h: Array, y: Targets) -> tuple[float, float, Array]:
        """The sum of the losses, what agrees, and the gradient."""
        assert not isinstance(y, tuple)
        labels = y.ndim == 1  # of numbers nobody asks how many agree
        agreeing = int(reference.agreeing(program, h, y).sum()) if labels else 0
        loss, d = self.judged(h, y)
        return loss * len(h), agreeing, d

    def evaluate(self, program: Program, x: Array, y: Targets, threads: int) -> tuple[float, float]:
        """As an engine's."""
        h = np.empty((len(x), program.outputs), program.dtype)
        self.engine.forward(program, x, h, threads)
        loss, agreeing, _ = self.sums(program, h, y)
        return loss + reference.penalty(program, program.parameters) * len(x), agreeing

    def gradients(
        self,
        program: Program,
        x: Array,
        y: Targets,
        gradients: Array,
        threads: int,
        first_row: int | None = None,
    ) -> tuple[float, float]:
        """As an engine's."""
        how = threads, first_row
        loss, agreeing = self.differentiated(program, x, y, gradients, how)
        return loss + penalized(program, gradients, first_row is not None) * len(x), agreeing

    def differentiated(
        self, program: Program, x: Array, y: Targets, gradients: Array, how: tuple[int, int | None]
    ) -> tuple[float, float]:
        """The same without penalties; how: threads and first_row."""
        h = np.empty((len(x), program.outputs), program.dtype)
        self.engine.outputs(program, x, h, *how)
        loss, agreeing, d = self.sums(program, h, y)
        self.engine.backward(program, x, d, gradients, None, *how)
        return loss, agreeing

    def train(
        self,
        program: Program,
        x: Array,
        rows: NDArray[np.int32],
        y: Targets,
        batch_size: int,
        coefficients: NDArray[np.float64],
        threads: int,
    ) -> tuple[float, float]:
        """As an engine's."""
        assert not isinstance(y, tuple)
        g, first, loss = zeros_like_parameters(program), program.update, 0.0
        agreeing: float = 0
        try:
            for step, numbers in enumerate(coefficients):
                batch = slice(step * batch_size, (step + 1) * batch_size)
                program.update = first + step
                part = self.differentiated(program, x[rows[batch]], y[batch], g, (threads, 0))
                penalty = self.engine.apply_gradients(program, g, numbers, threads, True)
                loss += part[0] + penalty * len(y[batch])
                agreeing += part[1]
        finally:
            program.update = first
        return loss, agreeing


def penalized(program: Program, gradients: Array, training: bool) -> float:
    """The penalty of the weights, whose gradient is added."""
    weights = in_training(program) if training else program.parameters
    reference.penalize(program, weights, gradients, 1.0)
    return reference.penalty(program, weights)
