"""What a network asks of a layer."""

from __future__ import annotations

from copy import copy
from typing import Any, ClassVar, TypeVar

import numpy as np
from numpy.typing import NDArray

from .._errors import FormatError
from ..program import Builder, Program, views

Self = TypeVar("Self", bound="Layer")


class Layer:
    """Something between the values of a network; a layer may be used in many networks."""

    name: ClassVar[str] = ""  # what model files call it
    SINCE: ClassVar[int] = 5  # the first format of model files that has it
    units: int | None = None  # O, its outputs; None: as many as it has inputs
    _place: tuple[Program, str] | None = None  # the network's, and what its blocks are called there

    def add(self, builder: Builder, source: int, name: str) -> int:
        """Add the layer's ops behind the value `source`; returns the value that it gives.

        name: what its blocks are called, before a dot and their own names.
        """
        raise NotImplementedError

    def check(self, dtype: np.dtype[np.floating]) -> None:
        """Raise ValueError for a number that the network's dtype cannot hold."""

    def initialize(self, seed: int, number: int) -> int:
        """Set the initial parameters: a function of the seed, and of the layer's number among those
        that draw some; returns the number of the next."""
        return number

    def bound(self: Self, program: Program, name: str) -> Self:
        """A copy that is the layer of this name in a program: see `add`."""
        layer = copy(self)
        layer._place = program, name
        return layer

    def blank(self: Self) -> Self:
        """A copy whose initial weights are zero, as they will be overwritten."""
        return self

    def _bound(self) -> tuple[Program, str]:
        if self._place is None:
            kind = type(self).__name__
            raise RuntimeError(
                f"this {kind} is in no network; use network.layers[i] for its weights"
            )
        return self._place

    def _block(self, name: str) -> NDArray[Any]:
        """A view of one of its blocks, by its ending."""
        program, layer = self._bound()
        return views(program, program.parameters)[f"{layer}.{name}"]

    @property
    def widths(self) -> list[int]:
        """How many columns come and go within it, as far as it changes them."""
        return [] if self.units is None else [self.units]

    @property
    def size(self) -> int:
        """How many parameters it has."""
        program, layer = self._bound()
        pairs = zip(program.names, program.blocks.tolist(), strict=True)
        return sum(r * c for name, (_, r, c) in pairs if name.startswith(f"{layer}."))

    @property
    def label(self) -> str:
        """What it is, in a word or two."""
        return self.name.replace("_", " ")

    # In a model file: see `_fields`.

    def entry(self) -> dict[str, object]:
        """What JSON holds of it: its name, and what its constructor was given."""
        return {"layer": self.name}

    @property
    def since(self) -> int:
        """The first format of model files that has it as it is."""
        if not self.name:
            raise FormatError(f"expected a layer that has a place in files, got {self}")
        return self.SINCE


class Scaled(Layer):
    """A layer that ends in a learned factor for each column."""

    def initialize(self, seed: int, number: int) -> int:
        """Factors of 1; a shift is 0."""
        self.gamma[...] = 1
        return number

    @property
    def gamma(self) -> NDArray[Any]:
        """The factors (I,), a view of the network's memory."""
        return self._block("gamma")


class Shifted(Scaled):
    """A layer that ends in a learned factor and a shift for each column."""

    @property
    def beta(self) -> NDArray[Any]:
        """What is added (I,), a view of the network's memory."""
        return self._block("beta")
