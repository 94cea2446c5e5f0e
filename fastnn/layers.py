"""Layers: what a network is made of."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from . import activations, initializers
from ._errors import count
from .activations import Activation
from .program import Builder, Program, pairs


class Dense:
    """A fully connected layer: h = g(x @ W + b), x (B, I), W (I, O), b (O,), h (B, O).

    units: O. activation: the name of g, or `LeakyReLU(slope)`. initializer: its name; by default
    He for the relu family, else Glorot.
    Raises ValueError for an unknown name, a size below 1, or softmax of one unit.
    """

    def __init__(
        self,
        units: int,
        activation: str | Activation = "identity",
        initializer: str | None = None,
    ) -> None:
        self.units = count("units", units)
        self.activation = activations.get(activation)
        if self.activation.name == "softmax" and self.units == 1:
            raise ValueError("expected softmax with at least 2 outputs, got 1 (use sigmoid)")
        self.initializer = initializers.check(
            initializers.default(self.activation) if initializer is None else initializer
        )
        self._place: tuple[Program, int] | None = None

    def add(self, builder: Builder, source: int, name: str) -> int:
        """Add the layer's ops behind the value `source`; returns the value that it gives."""
        return builder.activate(builder.dense(source, self.units, name), self.activation)

    def bound(self, program: Program, number: int) -> Dense:
        """A copy that is layer `number` of a program: a Dense may be used in many networks."""
        layer = Dense(self.units, self.activation, self.initializer)
        layer._place = program, number
        return layer

    def _block(self) -> tuple[NDArray[Any], NDArray[Any]]:
        if self._place is None:
            raise RuntimeError("this Dense is in no network; use network.layers[i] for its weights")
        program, number = self._place
        return pairs(program, program.parameters)[number]

    @property
    def weights(self) -> NDArray[Any]:
        """W (I, O), a view of the network's memory: `weights[...] = values` sets it."""
        return self._block()[0]

    @property
    def biases(self) -> NDArray[Any]:
        """b (O,), a view of the network's memory."""
        return self._block()[1]

    def __repr__(self) -> str:
        return f"Dense({self.units}, {self.activation.name!r})"
