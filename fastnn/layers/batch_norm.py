"""Batch normalisation."""

from __future__ import annotations

import numpy as np

from .._errors import held, positive
from ..program import Builder
from .base import Layer


class BatchNorm(Layer):
    """Each column in units of its own spread: h = (x - mean) / sqrt(variance + epsilon), (B, I).

    In training mean and variance are those of the batch, all of it whatever its size, the variance
    over B. Each update takes them into the running ones, as PyTorch does (Keras's momentum is 1
    less this one, and its variance over B): running += momentum * (of the batch - running), the
    variance over B - 1. Everything else goes by the running ones: `predict`, `evaluate`, and
    `gradients`, too. It goes between layers, or before the first.

    momentum: in (0, 1]. epsilon: above 0. Raises ValueError for other numbers, TypeError for what
    is no number. `fit` raises ValueError for a batch of one row, which has no spread, before it
    trains, and for one that is too large to keep.

    Source: Ioffe, Szegedy, Batch normalization: accelerating deep network training by reducing
    internal covariate shift (2015).
    """

    def __init__(self, momentum: float = 0.1, epsilon: float = 1e-5) -> None:
        self.momentum = positive("momentum", momentum)
        if self.momentum > 1:
            raise ValueError(f"expected momentum in (0, 1], got {momentum}")
        self.epsilon = positive("epsilon", epsilon)

    def add(self, builder: Builder, source: int, name: str) -> int:
        """One op, with its running statistics."""
        return builder.column_norm(source, self.momentum, self.epsilon, name)

    def check(self, dtype: np.dtype[np.floating]) -> None:
        """The epsilon."""
        held("epsilon", self.epsilon, dtype)

    def initialize(self, seed: int, number: int) -> int:
        """Running variances are 1, running means 0."""
        self._block("running_variance")[...] = 1
        return number

    @property
    def label(self) -> str:
        """batch norm"""
        return "batch norm"

    def entry(self) -> dict[str, object]:
        """Momentum and epsilon."""
        return {"layer": "batch_norm", "momentum": self.momentum, "epsilon": self.epsilon}

    @property
    def since(self) -> int:
        """Format 5."""
        return 5

    def __repr__(self) -> str:
        return f"BatchNorm(momentum={self.momentum:g}, epsilon={self.epsilon:g})"
