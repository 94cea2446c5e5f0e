"""A learned factor for each column."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from ..program import Builder
from .base import Layer


class Scale(Layer):
    """A learned factor for each column: h = x * gamma, x and h (B, I), gamma (I,), at first 1."""

    def add(self, builder: Builder, source: int, name: str) -> int:
        """One op."""
        return builder.scale(source, name)

    def initialize(self, seed: int, number: int) -> int:
        """Ones."""
        self.gamma[...] = 1
        return number

    @property
    def gamma(self) -> NDArray[Any]:
        """The factors (I,), a view of the network's memory."""
        return self._block("gamma")

    @property
    def label(self) -> str:
        """scale"""
        return "scale"

    def entry(self) -> dict[str, object]:
        """Its name."""
        return {"layer": "scale"}

    @property
    def since(self) -> int:
        """Format 5."""
        return 5

    def __repr__(self) -> str:
        return "Scale()"
