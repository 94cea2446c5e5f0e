"""Leaky rectifiers that learn their slopes."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from ..program import Builder
from .base import Layer

SLOPE = 0.25  # at first, as in the paper


class PReLU(Layer):
    """A rectifier with a learned slope for each column: h = x, or slope * x below 0.

    x and h (B, I), slopes (I,), at first 0.25. It follows a `Dense` without activation.

    Source: He, Zhang, Ren, Sun, Delving deep into rectifiers (2015).
    """

    name = "prelu"

    def add(self, builder: Builder, source: int, name: str) -> int:
        """One op."""
        return builder.prelu(source, name)

    def initialize(self, seed: int, number: int) -> int:
        """The same slope everywhere."""
        self.slopes[...] = SLOPE
        return number

    @property
    def slopes(self) -> NDArray[Any]:
        """Below zero (I,), a view of the network's memory."""
        return self._block("slopes")

    def __repr__(self) -> str:
        return "PReLU()"
