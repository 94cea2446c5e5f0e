"""Blocks whose input is added to their output."""

from __future__ import annotations

from copy import copy

import numpy as np

from ..program import Builder, Program
from .base import Layer

DEEPEST = 16  # blocks in one another


class Residual(Layer):
    """A block of layers, and its input added to its output: h = x + block(x), x and h (B, I).

    layers: of the block, one after the other; the last gives as many columns as the block gets:

        fastnn.Residual(fastnn.Dense(64, "relu"), fastnn.Dense(32))  # where x has 32 columns

    Raises TypeError for what is no layer, ValueError for none, for blocks more than 16 deep in one
    another, and, in a network, for other widths.

    Source: He, Zhang, Ren, Sun, Deep residual learning for image recognition (2016).
    """

    name = "residual"

    def __init__(self, *layers: Layer) -> None:
        for layer in layers:
            if not isinstance(layer, Layer):
                raise TypeError(f"expected layers such as Dense, got {type(layer).__name__}")
        if not layers:
            raise ValueError("expected at least one layer in Residual, got none")
        self.layers = layers
        self.depth: int = 1 + max(getattr(layer, "depth", 0) for layer in layers)
        if self.depth > DEEPEST:
            raise ValueError(f"expected Residual at most {DEEPEST} deep, got {self.depth}")

    def add(self, builder: Builder, source: int, name: str) -> int:
        """The layers' ops, and the sum."""
        value = source
        for number, layer in enumerate(self.layers):
            value = layer.add(builder, value, f"{name}.{number}")
        found, wanted = builder.width(value), builder.width(source)
        if found != wanted:
            raise ValueError(
                f"expected a block that gives {wanted} columns, as many as it gets, "
                f"got {found} from {self}"
            )
        return builder.add(value, source)

    def check(self, dtype: np.dtype[np.floating]) -> None:
        """All layers of the block."""
        for layer in self.layers:
            layer.check(dtype)

    def initialize(self, seed: int, number: int) -> int:
        """One layer after the other."""
        for layer in self.layers:
            number = layer.initialize(seed, number)
        return number

    def bound(self, program: Program, name: str) -> Residual:
        """A copy whose layers are bound, too."""
        block = super().bound(program, name)
        block.layers = tuple(
            layer.bound(program, f"{name}.{number}") for number, layer in enumerate(self.layers)
        )
        return block

    def blank(self) -> Residual:
        """A copy of blank layers."""
        block = copy(self)
        block.layers = tuple(layer.blank() for layer in self.layers)
        return block

    @property
    def widths(self) -> list[int]:
        """Of all layers of the block."""
        return [width for layer in self.layers for width in layer.widths]

    @property
    def label(self) -> str:
        """residual (relu, identity)"""
        return f"residual ({', '.join(layer.label for layer in self.layers)})"

    def entry(self) -> dict[str, object]:
        """The layers' entries."""
        return {"layer": self.name, "layers": [layer.entry() for layer in self.layers]}

    @property
    def since(self) -> int:
        """Format 5, or that of a newer layer."""
        return max(self.SINCE, *(layer.since for layer in self.layers))

    def __repr__(self) -> str:
        return f"Residual({', '.join(map(repr, self.layers))})"
