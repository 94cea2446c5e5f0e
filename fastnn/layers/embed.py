"""Learned vectors for codes among the inputs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from numpy.typing import NDArray

from .. import initializers
from .._errors import count, shown, whole
from ..program import INPUT, KIND, Builder
from .base import Layer

MOST_CODES = 1 << 24  # float32 has all whole numbers up to there
WIDEST = 1 << 16


class Embed(Layer):
    """Puts a learned vector in the place of each input column that holds codes; the first layer.

    tables: by its number, what each such column has: (codes, width). x (B, I) becomes h (B, I and
    width - 1 more for each table), where the code 0, 1, ... of a row chooses a row of the table
    (codes, width), at first normal of deviation 1. The last code is that of whatever is no other: a
    number outside 0 to codes - 2 counts as it, 2.7 as 2; its vector is 0 until it is trained.
    `Columns.embed()` makes this layer for the columns of a table.
    Raises ValueError for no table, for less than 2 codes or no width, and in a network for a column
    that is not there, as another than the first layer, or beside scales of the inputs.
    """

    name = "embed"

    def __init__(self, tables: Mapping[int, tuple[int, int]]) -> None:
        if not isinstance(tables, Mapping):
            raise TypeError(f"expected tables by column, got {shown(tables)}")
        self.tables: dict[int, tuple[int, int]] = {}
        for column, table in sorted((whole("column", key), table) for key, table in tables.items()):
            if not isinstance(table, tuple) or len(table) != 2:
                raise TypeError(f"expected a pair of codes and width, got {shown(table)}")
            codes, width = count("codes", table[0], MOST_CODES), count("width", table[1], WIDEST)
            if codes < 2:
                raise ValueError(f"expected codes to be at least 2, got {codes}")
            self.tables[column] = codes, width
        if not self.tables:
            raise ValueError("expected at least one table in Embed, got none")
        self._drawn = True

    def add(self, builder: Builder, source: int, name: str) -> int:
        """An op for each table; columns behind it move on."""
        if builder.ops[source][KIND] != INPUT:
            raise ValueError(f"expected Embed as the first layer, got {self} behind another")
        inputs, value, moved = builder.width(source), source, 0
        for column, (codes, width) in self.tables.items():
            if not 0 <= column < inputs:
                raise ValueError(f"expected columns of Embed below {inputs}, got {column}")
            value = builder.embed(value, column + moved, (codes, width), f"{name}.{column}")
            moved += width - 1
        return value

    def initialize(self, seed: int, number: int) -> int:
        """Draw the vectors: only one row counts at a time, as if there were one input."""
        for table in self.weights if self._drawn else ():
            known = table[:-1]
            drawn = initializers.weights("lecun_normal", (1, known.size), seed, number)
            known[...] = drawn.reshape(known.shape)
            number += 1
        return number

    def blank(self) -> Embed:
        """A copy whose vectors stay zero."""
        layer = Embed(self.tables)
        layer._drawn = False
        return layer

    @property
    def weights(self) -> list[NDArray[Any]]:
        """The tables (codes, width), views of the network's memory."""
        return [self._block(f"{column}.weights") for column in self.tables]

    @property
    def label(self) -> str:
        """embed 2 columns"""
        return f"embed {len(self.tables)} column{'s' * (len(self.tables) > 1)}"

    def entry(self) -> dict[str, object]:
        """The tables as [column, codes, width]."""
        tables = [[column, *table] for column, table in self.tables.items()]
        return {"layer": self.name, "tables": tables}

    def __repr__(self) -> str:
        return f"Embed({self.tables})"


def check_codes(layers: Iterable[Layer], standardize: bool, input_scale: float) -> None:
    """Raise ValueError where codes would be scaled."""
    if (standardize or input_scale != 1.0) and any(isinstance(layer, Embed) for layer in layers):
        found = "standardize" if standardize else f"input_scale {input_scale:g}"
        raise ValueError(f"expected inputs as they are with Embed, got {found}")
