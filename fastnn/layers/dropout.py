"""Dropout."""

from __future__ import annotations

from .._errors import fraction
from ..program import Builder
from .base import Layer


class Dropout(Layer):
    """Leaves numbers out in training: h = x * mask, x and h (B, I); nothing in prediction.

    The mask is 0 with the probability `rate`, else 1 / (1 - rate), so that h is x in the mean. It
    is drawn anew for every number and update: a function of the network's seed, the epoch, the
    update, the row of the batch and the column. It goes between layers, or before the first.
    Raises ValueError for a rate outside [0, 1), TypeError for what is no number.

    Source: Srivastava et al., Dropout: a simple way to prevent neural networks from overfitting
    (2014).
    """

    name = "dropout"
    SINCE = 3

    def __init__(self, rate: float) -> None:
        self.rate = fraction("rate", rate)

    def add(self, builder: Builder, source: int, name: str) -> int:
        """One op, which engines leave out where nothing is learned."""
        return builder.dropout(source, self.rate)

    @property
    def label(self) -> str:
        """dropout 0.5"""
        return f"{super().label} {self.rate:g}"

    def entry(self) -> dict[str, object]:
        """The rate."""
        return {"layer": self.name, "rate": self.rate}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.rate:g})"
