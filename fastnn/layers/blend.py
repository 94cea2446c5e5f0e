"""Activations that learn how much they do."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import activations
from .._errors import held
from ..activations import Activation
from ..program import ACTIVATE, Builder
from .base import Layer


class Blend(Layer):
    """An activation f, as much of it as each column learns: h = z + a * (f(z) - z).

    z and h (B, I), a (I,), at first 1: f itself; a = 0 is the identity. activation: the name of f,
    or `LeakyReLU(slope)`, `ELU(alpha)`. It follows a `Dense` without activation.
    Raises ValueError for an unknown name, or for softmax, which is none of single numbers.

    Source: Holzmüller, Grinsztajn, Steinwart, Better by default: strong pre-tuned MLPs and boosted
    trees on tabular data (2024), "parametric activation functions".
    """

    name = "blend"

    def __init__(self, activation: str | Activation) -> None:
        self.activation = activations.get(activation)
        if self.activation.kind != ACTIVATE:
            found = self.activation.name
            raise ValueError(f"expected an activation of single numbers in Blend, got {found}")

    def add(self, builder: Builder, source: int, name: str) -> int:
        """One op."""
        return builder.blend(source, self.activation, name)

    def check(self, dtype: np.dtype[np.floating]) -> None:
        """The slope, if there is one."""
        if self.activation.slope:
            held("slope", self.activation.slope, dtype)

    def initialize(self, seed: int, number: int) -> int:
        """All of f."""
        self.blend[...] = 1
        return number

    @property
    def blend(self) -> NDArray[Any]:
        """How much of f (I,), a view of the network's memory."""
        return self._block("blend")

    @property
    def label(self) -> str:
        """blend gelu"""
        return f"blend {self.activation.name}"

    def entry(self) -> dict[str, object]:
        """The activation, and leaky_relu's slope or elu's alpha."""
        more = {"slope": self.activation.slope} if self.activation.slope else {}
        return {"layer": self.name, "activation": self.activation.name, **more}

    @property
    def since(self) -> int:
        """Format 5, or that of the activation."""
        return max(self.SINCE, self.activation.since)

    def __repr__(self) -> str:
        return f"Blend({self.activation.name!r})"
