"""Dropout for selu."""

from __future__ import annotations

from ..program import Builder
from .dropout import Dropout


class AlphaDropout(Dropout):
    """Dropout for layers of selu, which keeps their mean 0 and variance 1; x and h (B, I).

    In training h = a * x' + b, where x' is x, or selu's limit -1.7581 with the probability `rate`;
    a and b are such that mean and variance stay. Nothing in prediction; drawn as in `Dropout`.
    Raises ValueError for a rate outside [0, 1), TypeError for what is no number.

    Source: Klambauer, Unterthiner, Mayr, Hochreiter, Self-normalizing neural networks (2017).
    """

    name = "alpha_dropout"
    SINCE = 5

    def add(self, builder: Builder, source: int, name: str) -> int:
        """One op, which engines leave out where nothing is learned."""
        return builder.dropout(source, self.rate, alpha=True)
