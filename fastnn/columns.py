"""Columns: a table of numbers and words as the rows of floats that a network reads.

What is learned of them, in one pass over the rows to learn from, travels with the model.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterable, Mapping
from copy import copy
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from . import _arrays
from ._arrays import Array
from ._errors import count, positive, shown, unknown
from ._random import SAMPLE, philox
from ._statistics import Running
from .layers import Embed

Key = str | int
Category = str | int | None  # None: missing
Self = TypeVar("Self", bound="Column")
Numbers = TypeVar("Numbers", bound="_Numbers")

BLOCK = 1 << 14  # rows of a table at a time
SAMPLED = 1 << 16  # rows at most that quartiles are taken of: their ranks are right to some 0.2 %
MOST_CATEGORIES = 10_000
MISSING = ("error", "mean", "indicator")  # what becomes of missing numbers


class Column:
    """What becomes of one column of a table; a column may be used for many."""

    @property
    def width(self) -> int:
        """How many columns it becomes."""
        raise NotImplementedError

    def read(self, values: Array, where: str, first: int) -> Array:
        """Some values (n,), checked. where: the column's name; first: the number of their row."""
        raise NotImplementedError

    def begin(self: Self) -> Self:
        """A copy that knows nothing of the values yet."""
        raise NotImplementedError

    def see(self, values: Array, words: NDArray[np.uint64]) -> None:
        """Learn from some values that were read; words: a random one for each row."""
        raise NotImplementedError

    def end(self, where: str) -> None:
        """All values were seen. Raises ValueError if they were not enough."""
        raise NotImplementedError

    def encode(self, values: Array, out: Array) -> None:
        """Fill out (n, width) from values that were read."""
        raise NotImplementedError

    def names(self, key: Key) -> list[str]:
        """What to call the columns that it becomes."""
        return [str(key)]

    def entry(self) -> dict[str, object]:
        """What JSON holds of it."""
        raise NotImplementedError


class _Numbers(Column):
    """A column of numbers: (x - center) * factor; what is missing, NaN or None, becomes 0.

    missing: "error" (the default); "mean", which it counts as; or "indicator", the same with one
    more column that is 1 where a number is missing, else 0.
    """

    _seen: Running  # while it learns

    def __init__(self, missing: str = "error") -> None:
        if missing not in MISSING:
            raise unknown("missing", missing, MISSING)
        self.missing = missing
        self.center, self.factor = 0.0, 0.0

    @property
    def width(self) -> int:
        """One, or two with an indicator."""
        return 1 + (self.missing == "indicator")

    def read(self, values: Array, where: str, first: int) -> Array:
        """Numbers as float64, NaN what is missing. Raises ValueError or TypeError for others."""
        if values.dtype == object:
            for i, value in enumerate(values):
                if not (value is None or isinstance(value, numbers.Real | np.bool_)):
                    found = f"{type(value).__name__} {shown(value)} in row {first + i}"
                    raise TypeError(f"expected numbers in column {where}, got {found}")
        elif values.dtype.kind not in "fiub":
            found = f"{values.dtype}; say OneHot() for words"
            raise TypeError(f"expected numbers in column {where}, got {found}")
        x = values.astype(np.float64)
        bad = ~np.isfinite(x) if self.missing == "error" else np.isinf(x)
        if bad.any():
            i = int(bad.argmax())
            hint = "; say missing='mean' or 'indicator'" if np.isnan(x[i]) else ""
            raise ValueError(
                f"expected finite numbers in column {where}, got {x[i]} in row {first + i}{hint}"
            )
        return x

    def begin(self: Numbers) -> Numbers:
        """A copy that has seen no row."""
        column = copy(self)
        column._seen = Running(1)
        return column

    def see(self, values: Array, words: NDArray[np.uint64]) -> None:
        """Mean, deviation and range of what is there."""
        there = values[~np.isnan(values)]
        if len(there):
            self._seen.add(there[:, None])

    def end(self, where: str) -> None:
        """Raises ValueError if all numbers are missing."""
        if self._seen.rows == 0:
            raise ValueError(f"expected a number in column {where}, got none")
        try:
            self.settle()
        except ValueError:
            low, high = self._seen.low[0], self._seen.high[0]
            raise ValueError(
                f"expected numbers whose squares float64 can hold in column {where}, "
                f"got {low:g} to {high:g}"
            ) from None
        del self._seen

    def settle(self) -> None:
        """Center and factor from what was seen."""
        raise NotImplementedError

    def scaled(self, x: Array) -> Array:
        """The numbers in their scale."""
        z: Array = (x - self.center) * self.factor
        return z

    def encode(self, values: Array, out: Array) -> None:
        """The numbers in their scale, and whether they are missing."""
        lost = np.isnan(values)
        with np.errstate(over="ignore"):  # a network refuses what is infinite
            out[:, 0] = np.where(lost, 0.0, self.scaled(values))
        if self.missing == "indicator":
            out[:, 1] = lost

    def names(self, key: Key) -> list[str]:
        """Its own, and that of the indicator."""
        return [str(key), f"{key} is missing"][: self.width]


class Standardize(_Numbers):
    """A column of numbers by its mean and deviation: (x - mean) / deviation; 0 if it never varied.

    missing: what becomes of NaN and None: "error"; "mean": they count as the mean; "indicator": the
    same with one more column that is 1 where a number is missing, else 0.
    """

    def settle(self) -> None:
        """The mean, and one by the deviation."""
        columns = self._seen.columns()
        self.center, self.factor = float(columns.mean[0]), one_by(float(columns.deviation[0]))

    def entry(self) -> dict[str, object]:
        """What was learned."""
        return {
            "kind": "standardize",
            "missing": self.missing,
            "center": self.center,
            "factor": self.factor,
        }

    def __repr__(self) -> str:
        return f"Standardize(missing={self.missing!r})"


class RobustScale(_Numbers):
    """A column of numbers by its median and quartiles, which outliers do not move.

    z = (x - median) / (third quartile - first quartile); by half of the range where they agree.
    clip: c makes it z / sqrt(1 + (z / c)²), which is smooth and within -c to c.
    missing: as `Standardize`; "mean" is the median here. Of more than 65,536 rows, quartiles are
    those of as many, drawn at random and always the same.

    Source: Holzmüller, Grinsztajn, Steinwart, Better by default: strong pre-tuned MLPs and boosted
    trees on tabular data (2024).
    """

    _sample: tuple[Array, Array]  # numbers and words of their rows, while it learns

    def __init__(self, clip: float | None = None, missing: str = "error") -> None:
        super().__init__(missing)
        self.clip = None if clip is None else positive("clip", clip)

    def begin(self) -> RobustScale:
        """A copy with an empty sample."""
        column = super().begin()
        column._sample = np.empty(0), np.empty(0, np.uint64)
        return column

    def see(self, values: Array, words: NDArray[np.uint64]) -> None:
        """Keep the numbers whose rows have the smallest words."""
        super().see(values, words)
        there = ~np.isnan(values)
        kept, order = (
            np.concatenate([old, new[there]])
            for old, new in zip(self._sample, (values, words), strict=True)
        )
        if len(kept) > SAMPLED:
            smallest = np.argpartition(order, SAMPLED)[:SAMPLED]
            kept, order = kept[smallest], order[smallest]
        self._sample = kept, order

    def settle(self) -> None:
        """The median, and one by the distance of the quartiles."""
        low, self.center, high = map(float, np.quantile(self._sample[0], (0.25, 0.5, 0.75)))
        self.factor = one_by(high - low or float(self._seen.high[0] - self._seen.low[0]) / 2)
        del self._sample

    def scaled(self, x: Array) -> Array:
        """The numbers in their scale, clipped."""
        z = super().scaled(x)
        return z if self.clip is None else z / np.hypot(1.0, z / self.clip)  # no square overflows

    def entry(self) -> dict[str, object]:
        """What was learned."""
        return {
            "kind": "robust_scale",
            "missing": self.missing,
            "clip": self.clip,
            "center": self.center,
            "factor": self.factor,
        }

    def __repr__(self) -> str:
        return f"RobustScale(clip={self.clip}, missing={self.missing!r})"


class OneHot(Column):
    """A column of words or whole numbers that name something: one column a category, 1 or 0.

    Missing values (None, NaN, "") are a category of their own, if the rows to learn from have some.
    A category that these rows do not have becomes zeros. The rows of W that a first Dense has for
    the categories are an embedding of them: a vector of its units each.
    Raises ValueError for more than 10,000 categories.
    """

    _seen: dict[Category, None]  # while it learns

    def __init__(self) -> None:
        self.categories: tuple[Category, ...] = ()

    @property
    def width(self) -> int:
        """The number of categories."""
        return len(self.categories)

    def read(self, values: Array, where: str, first: int) -> Array:
        """Words and whole numbers as Python's, in an array of objects; None what is missing."""
        cells = values.tolist()
        try:
            known = {value: category(value) for value in dict.fromkeys(cells)}
        except (TypeError, ValueError, OverflowError):
            for i, value in enumerate(cells):
                check_category(value, f"in column {where}", f"in row {first + i}")
            raise
        out = np.empty(len(cells), object)
        out[:] = [known[value] for value in cells]  # NaN, too: it is itself
        return out

    def begin(self) -> OneHot:
        """A copy without categories."""
        column = copy(self)
        column._seen = {}
        return column

    def see(self, values: Array, words: NDArray[np.uint64]) -> None:
        """More categories."""
        if len(self._seen) <= MOST_CATEGORIES:
            self._seen.update(dict.fromkeys(values.tolist()))

    def end(self, where: str) -> None:
        """Raises ValueError if they are too many, or there is but what is missing."""
        found = [value for value in self._seen if value is not None]
        if not 1 <= len(found) <= MOST_CATEGORIES:
            text = f"{len(found):,}" if len(found) <= MOST_CATEGORIES else "more"
            raise ValueError(
                f"expected 1 to {MOST_CATEGORIES:,} categories in column {where}, got {text}"
            )
        found.sort(key=lambda value: (isinstance(value, str), value))
        self.categories = (*found, *([None] if None in self._seen else []))
        del self._seen

    def encode(self, values: Array, out: Array) -> None:
        """One 1 a row, none for what is unknown."""
        places = {value: k for k, value in enumerate(self.categories)}
        codes = np.array([places.get(value, -1) for value in values.tolist()])
        known = np.flatnonzero(codes >= 0)
        out[:] = 0
        out[known, codes[known]] = 1

    def names(self, key: Key) -> list[str]:
        """One a category."""
        return [f"{key} is {'missing' if c is None else c}" for c in self.categories]

    def entry(self) -> dict[str, object]:
        """The categories."""
        return {"kind": "one_hot", "categories": list(self.categories)}

    def __repr__(self) -> str:
        return "OneHot()"


class Embedding(OneHot):
    """A column of words or whole numbers as codes, for which a network learns vectors.

    size: the numbers of a vector. The column becomes one of codes: 0, 1, ... in the order of the
    categories, then one for all that the rows to learn from do not have. The first layer of the
    network, `Columns.embed()`, puts the vectors in their place.
    Raises as `OneHot`, and ValueError for a size below 1.

    Source: Guo, Berkhahn, Entity embeddings of categorical variables (2016).
    """

    def __init__(self, size: int = 8) -> None:
        super().__init__()
        self.size = count("size", size)

    @property
    def width(self) -> int:
        """One."""
        return 1

    def encode(self, values: Array, out: Array) -> None:
        """A code each; that of what is unknown is the last."""
        places = {value: k for k, value in enumerate(self.categories)}
        out[:, 0] = [places.get(value, len(places)) for value in values.tolist()]

    def names(self, key: Key) -> list[str]:
        """Its own."""
        return [str(key)]

    def entry(self) -> dict[str, object]:
        """The size and the categories."""
        return {"kind": "embedding", "size": self.size, "categories": list(self.categories)}

    def __repr__(self) -> str:
        return f"Embedding({self.size})"


KINDS: dict[str, type[Column]] = {
    "standardize": Standardize,
    "robust_scale": RobustScale,
    "one_hot": OneHot,
    "embedding": Embedding,
}


def one_by(spread: float) -> float:
    """One by the spread of a column; 0 if it has none."""
    return 1 / spread if spread >= np.finfo(np.float64).tiny else 0.0


def category(value: Any) -> Category:
    """A value of a column of categories. Raises TypeError or ValueError for what is none."""
    if value is None or isinstance(value, str):
        return value or None
    if not isinstance(value, numbers.Real | np.bool_):
        raise TypeError
    number = float(value)
    if math.isnan(number):
        return None
    if abs(number) >= 1 << 63 or number != math.trunc(number):
        raise ValueError
    return int(value)  # type: ignore[arg-type]


def check_category(value: Any, where: str, row: str) -> None:
    """Raise with all words for a value that is none."""
    try:
        category(value)
    except (TypeError, ValueError, OverflowError) as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        found = f"{type(value).__name__} {shown(value)} {row}"
        raise kind(f"expected words or whole numbers {where}, got {found}") from None


class Columns:
    """What becomes of each column of a table, so that a network can read its rows.

    columns: a `Standardize`, `RobustScale`, `OneHot` or `Embedding` for each, by name, for a table
    that gives a column for a name (a dict of lists or arrays, a structured array, a pandas
    DataFrame); or a list of them, for an array (B, C). Columns that are not named are left out.

        columns = fastnn.Columns({"age": fastnn.RobustScale(), "city": fastnn.OneHot()})
        x = columns.adapt(table)(table)  # (B, width) of float32
        net = fastnn.mlp([columns.width, 64, 2])
        net.columns = columns  # is saved with it

    Raises TypeError for other things than such columns, ValueError for none.
    """

    def __init__(self, columns: Mapping[str, Column] | Iterable[Column]) -> None:
        items: Iterable[tuple[Key, Any]] = (
            columns.items() if isinstance(columns, Mapping) else enumerate(columns)
        )
        self.columns: dict[Key, Column] = {}
        for key, column in items:
            if not isinstance(column, Column):
                raise TypeError(f"expected columns such as OneHot(), got {shown(column)}")
            self.columns[key] = column
        if not self.columns:
            raise ValueError("expected at least one column, got none")
        self.is_adapted = False

    def adapt(self, table: Any) -> Columns:
        """Learn scales and categories from the rows of a table, read once; returns itself.

        Raises ValueError for missing or infinite numbers (see `Standardize`), for a column that is
        not there or has no values, TypeError for values of another type.
        """
        columns = {key: column.begin() for key, column in self.columns.items()}
        values = views(table, [*columns])
        for rows in _arrays.pieces(len(values[0]), BLOCK):
            words = words_of(rows)
            for (key, column), array in zip(columns.items(), values, strict=True):
                column.see(column.read(array[rows], shown(key), rows.start), words)
        for key, column in columns.items():
            column.end(shown(key))
        self.columns, self.is_adapted = columns, True
        return self

    @property
    def width(self) -> int:
        """How many inputs a network needs. Raises ValueError before `adapt`."""
        self._check_adapted()
        return sum(column.width for column in self.columns.values())

    def tables(self) -> dict[int, tuple[int, int]]:
        """Of each input that holds codes, by its number: how many there are, a vector's size."""
        self._check_adapted()
        found, start = {}, 0
        for column in self.columns.values():
            if isinstance(column, Embedding):
                found[start] = len(column.categories) + 1, column.size
            start += column.width
        return found

    def embed(self) -> Embed:
        """The first layer of a network that has `Embedding` columns. Raises ValueError for none."""
        return Embed(self.tables())

    @property
    def names(self) -> tuple[str, ...]:
        """What to call each of them."""
        self._check_adapted()
        return tuple(name for key, column in self.columns.items() for name in column.names(key))

    def __call__(self, table: Any) -> NDArray[np.float32]:
        """The rows (B, width) of a table. Raises as `adapt`."""
        self._check_adapted()
        values = views(table, [*self.columns])
        x = np.empty((len(values[0]), self.width), np.float32)
        for rows in _arrays.pieces(len(x), BLOCK):
            start = 0
            for (key, column), array in zip(self.columns.items(), values, strict=True):
                end = start + column.width
                block = column.read(array[rows], shown(key), rows.start)
                column.encode(block, x[rows, start:end])
                start = end
        return x

    def entry(self) -> list[dict[str, object]]:
        """What JSON holds of them. Raises ValueError before `adapt`."""
        self._check_adapted()
        return [{"key": key, **column.entry()} for key, column in self.columns.items()]

    def _check_adapted(self) -> None:
        if not self.is_adapted:
            raise ValueError("expected columns that were adapted to a table; call adapt(table)")

    def __repr__(self) -> str:
        if list(self.columns) == list(range(len(self.columns))):
            return f"Columns({list(self.columns.values())})"
        return f"Columns({self.columns})"


def words_of(rows: slice) -> NDArray[np.uint64]:
    """A random word of 64 bits for each row: a function of its number alone."""
    row = np.arange(rows.start, rows.stop, dtype=np.uint64)
    high, low = philox(np.stack([row, 0 * row, 0 * row, 0 * row]), (0, SAMPLE))[:2]
    words: NDArray[np.uint64] = (high << np.uint64(32)) | low
    return words


def views(table: Any, keys: list[Key]) -> list[Array]:
    """The columns (B,) of a table. Raises ValueError or TypeError if it does not have these."""
    if isinstance(table, np.ndarray) and table.dtype.names is None:
        if table.ndim != 2 or keys != list(range(table.shape[1])):
            by = "columns by name" if isinstance(keys[0], str) else f"shape (rows, {len(keys)})"
            raise ValueError(f"expected a table with {by}, got an array {table.shape}")
        found = list(table.T)
    else:
        found = [column_of(table, key) for key in keys]
    lengths = [len(array) for array in found]
    if len(set(lengths)) > 1:
        raise ValueError(f"expected columns of one length, got {shown(lengths)}")
    if lengths[0] == 0:
        raise ValueError("expected at least one row, got none")
    return found


def column_of(table: Any, key: Key) -> Array:
    """The column (B,) that a table has for a name."""
    try:
        values = table[key]
    except (KeyError, IndexError, TypeError, ValueError):
        names = getattr(getattr(table, "dtype", None), "names", None) or list(table)
        raise unknown("column", key, map(str, names)) from None
    if _arrays.is_masked(values):
        raise TypeError(f"expected column {shown(key)} as a plain array, got a masked one")
    array = np.array(values, object) if isinstance(values, list | tuple) else np.asarray(values)
    if array.ndim != 1:
        raise ValueError(f"expected column {shown(key)} with one axis, got {array.shape}")
    return array
