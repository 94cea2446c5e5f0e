"""Layer normalisation."""

from __future__ import annotations

import numpy as np

from .._errors import held, positive
from ..program import Builder
from .base import Shifted


class LayerNorm(Shifted):
    """Each row by its own mean and deviation, and a learned scale: x and h (B, I).

    h = (x - mean(x)) / sqrt(variance(x) + epsilon) * gamma + beta, mean and variance along the row,
    gamma (I,) at first 1, beta (I,) at first 0.
    epsilon: Keras's 1e-3; PyTorch's is 1e-5. Raises ValueError if it is not positive.

    Source: Ba, Kiros, Hinton, Layer normalization (2016).
    """

    name = "layer_norm"

    def __init__(self, epsilon: float = 1e-3) -> None:
        self.epsilon = positive("epsilon", epsilon)

    def add(self, builder: Builder, source: int, name: str) -> int:
        """The row by its deviation, and the scale."""
        return builder.scale(builder.row_norm(source, self.epsilon), name, shift=True)

    def check(self, dtype: np.dtype[np.floating]) -> None:
        """Epsilon."""
        held("epsilon", self.epsilon, dtype)

    def entry(self) -> dict[str, object]:
        """Epsilon."""
        return {"layer": self.name, "epsilon": self.epsilon}

    def __repr__(self) -> str:
        return f"LayerNorm({self.epsilon:g})"
