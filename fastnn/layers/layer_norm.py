"""Layer normalisation."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._errors import held, positive
from ..program import Builder
from .base import Layer


class LayerNorm(Layer):
    """Each row by its own mean and deviation, and a learned scale: x and h (B, I).

    h = (x - mean(x)) / sqrt(variance(x) + epsilon) * gamma + beta, mean and variance along the row,
    gamma (I,) at first 1, beta (I,) at first 0.
    epsilon: Keras's 1e-3; PyTorch's is 1e-5. Raises ValueError if it is not positive.

    Source: Ba, Kiros, Hinton, Layer normalization (2016).
    """

    def __init__(self, epsilon: float = 1e-3) -> None:
        self.epsilon = positive("epsilon", epsilon)

    def add(self, builder: Builder, source: int, name: str) -> int:
        """The row by its deviation, and the scale."""
        return builder.scale(builder.row_norm(source, self.epsilon), name, shift=True)

    def check(self, dtype: np.dtype[np.floating]) -> None:
        """Epsilon."""
        held("epsilon", self.epsilon, dtype)

    def initialize(self, seed: int, number: int) -> int:
        """Ones; the shift is zero."""
        self.gamma[...] = 1
        return number

    @property
    def gamma(self) -> NDArray[Any]:
        """The factors (I,), a view of the network's memory."""
        return self._block("gamma")

    @property
    def beta(self) -> NDArray[Any]:
        """What is added (I,), a view of the network's memory."""
        return self._block("beta")

    @property
    def label(self) -> str:
        """layer norm"""
        return "layer norm"

    def entry(self) -> dict[str, object]:
        """Epsilon."""
        return {"layer": "layer_norm", "epsilon": self.epsilon}

    @property
    def since(self) -> int:
        """Format 5."""
        return 5

    def __repr__(self) -> str:
        return f"LayerNorm({self.epsilon:g})"
