"""What a network asks of a layer."""

from __future__ import annotations

from copy import copy
from typing import TypeVar

import numpy as np

from .._errors import FormatError
from ..program import Builder, Program

Self = TypeVar("Self", bound="Layer")


class Layer:
    """Something between the values of a network; a layer may be used in many networks."""

    units: int | None = None  # O, its outputs; None: as many as it has inputs
    _place: tuple[Program, int] | None = None  # the network's, and the layer's number there

    def add(self, builder: Builder, source: int, name: str) -> int:
        """Add the layer's ops behind the value `source`; returns the value that it gives.

        name: what its blocks are called, before a dot and their own names.
        """
        raise NotImplementedError

    def check(self, dtype: np.dtype[np.floating]) -> None:
        """Raise ValueError for a number that the network's dtype cannot hold."""

    def initialize(self, seed: int, number: int) -> None:
        """Draw the initial weights: a function of the seed, and of the layer's number among those
        that have weights."""

    def bound(self: Self, program: Program, number: int) -> Self:
        """A copy that is layer `number` of a program."""
        layer = copy(self)
        layer._place = program, number
        return layer

    def blank(self: Self) -> Self:
        """A copy whose initial weights are zero, as they will be overwritten."""
        return self

    @property
    def size(self) -> int:
        """How many parameters it has."""
        return 0

    @property
    def label(self) -> str:
        """What it is, in a word or two."""
        return str(self)

    # In a model file: see `_fields`.

    def entry(self) -> dict[str, object]:
        """What JSON holds of it."""
        raise NotImplementedError

    @property
    def since(self) -> int:
        """The first format of model files that has it."""
        raise FormatError(f"expected a layer that has a place in files, got {self}")
