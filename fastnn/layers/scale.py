"""A learned factor for each column."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..program import Builder
from .base import Scaled


class Scale(Scaled):
    """A learned factor for each column: h = x * gamma, x and h (B, I), gamma (I,), at first 1."""

    name = "scale"

    def affine(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """h = x * factor + shift, each (I,), in float64."""
        factor = self.gamma.astype(np.float64)
        return factor, np.zeros_like(factor)

    def add(self, builder: Builder, source: int, name: str) -> int:
        """One op."""
        return builder.scale(source, name)

    def __repr__(self) -> str:
        return "Scale()"
