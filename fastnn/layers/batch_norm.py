"""Batch normalisation."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._errors import held, positive
from ..program import Builder
from .base import Shifted


class BatchNorm(Shifted):
    """Columns normalised, h = gamma * (x - mean) / sqrt(variance + epsilon) + beta.

    x and h (B, I); gamma and beta (I,) are learned, from 1 and 0 on. In training mean and variance
    are those of the batch, all of it whatever its size, the variance over B. Each update takes them
    into the running ones, as PyTorch does: running += momentum * (of the batch - running), the
    variance over B - 1. (Keras's momentum is 1 less this one, and its variance over B.) Everything
    else goes by the running ones: `predict`, `evaluate`, and `gradients`, too. It goes between
    layers, or before the first.

    momentum: in (0, 1]. epsilon: above 0. Raises ValueError for other numbers, TypeError for what
    is no number. `fit` raises ValueError for a batch of one row, which has no spread, before it
    trains, and for one that is too large to keep: each thread keeps all values of a batch, of
    which the widths of the values times the rows may be 2^27.

    Source: Ioffe, Szegedy, Batch normalization: accelerating deep network training by reducing
    internal covariate shift (2015).
    """

    name = "batch_norm"

    def __init__(self, momentum: float = 0.1, epsilon: float = 1e-5) -> None:
        self.momentum = positive("momentum", momentum)
        if self.momentum > 1:
            raise ValueError(f"expected momentum in (0, 1], got {momentum}")
        self.epsilon = positive("epsilon", epsilon)

    def affine(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """In prediction h = x * factor + shift, each (I,), in float64."""
        variance = self.running_variance.astype(np.float64)
        factor = self.gamma / np.sqrt(variance + self.epsilon)
        return factor, self.beta - self.running_mean * factor

    def add(self, builder: Builder, source: int, name: str) -> int:
        """One op with the running statistics, and one with gamma and beta."""
        value = builder.column_norm(source, self.momentum, self.epsilon, name)
        return builder.scale(value, name, shift=True)

    def check(self, dtype: np.dtype[np.floating]) -> None:
        """The epsilon."""
        held("epsilon", self.epsilon, dtype)

    def initialize(self, seed: int, number: int) -> int:
        """Running means of 0 and variances of 1, gamma 1 and beta 0."""
        self.running_variance[...] = 1
        return super().initialize(seed, number)

    @property
    def running_mean(self) -> NDArray[Any]:
        """Mean (I,), a view of the network's memory."""
        return self._block("running_mean")

    @property
    def running_variance(self) -> NDArray[Any]:
        """Variance (I,), a view of the network's memory."""
        return self._block("running_variance")

    @property
    def size(self) -> int:
        """Of gamma and beta; the running statistics are not learned by an optimizer."""
        return self.gamma.size + self.beta.size

    def entry(self) -> dict[str, object]:
        """Momentum and epsilon."""
        return {"layer": self.name, "momentum": self.momentum, "epsilon": self.epsilon}

    def __repr__(self) -> str:
        return f"BatchNorm(momentum={self.momentum:g}, epsilon={self.epsilon:g})"
