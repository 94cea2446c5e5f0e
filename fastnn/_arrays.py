"""The door: which arrays may come in, and how they reach an engine.

A data set is never copied or converted as a whole. Engines read native uint8, float32 and float64
of any strides; blocks of rows of anything else are converted just before they are used.
"""

from __future__ import annotations

import math
import numbers
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from ._errors import shown
from .losses import Loss

Array = NDArray[Any]
Chosen = slice | NDArray[np.int32]  # rows

NATIVE = frozenset(map(np.dtype, ("uint8", "float32", "float64")))
CHECKED = 1 << 18  # elements looked at together, so that they stay in the cache


def real(name: str, values: ArrayLike) -> Array:
    """An array of real numbers. Raises TypeError for object, complex, text and so on.

    Raises ValueError for rows of different lengths, and where a masked array hides a value.
    """
    if is_masked(values) and np.ma.is_masked(values):
        where = place(np.ma.getmaskarray(values))
        raise ValueError(f"expected {name} without masked values, got one in {where}")
    try:
        array = np.asarray(values)
    except ValueError:
        kind = type(values).__name__
        raise ValueError(f"expected {name} as one array, got {kind} of ragged rows") from None
    if array.dtype.kind not in "fiub":
        raise TypeError(f"expected real numbers in {name}, got {not_real(values, array)}")
    return array


def is_masked(values: object) -> TypeGuard[np.ma.MaskedArray[Any, Any]]:
    """Whether it is a masked array; where nobody has loaded numpy.ma, there is none."""
    return isinstance(values, getattr(sys.modules.get("numpy.ma"), "MaskedArray", ()))


def not_real(values: ArrayLike, array: Array) -> str:
    """What there is instead of real numbers, and where or what helps."""
    if hasattr(values, "toarray"):  # SciPy's sparse matrices
        return f"a sparse {type(values).__name__}; use .toarray(), on some rows at a time if large"
    columns: Any = getattr(getattr(values, "dtypes", None), "items", tuple)()  # of a pandas table
    for column, dtype in columns:
        if getattr(dtype, "kind", "O") not in "fiub":
            return f"dtype {dtype} in column {shown(column)}"
    if array.dtype != object:
        return f"dtype {array.dtype}"
    if array.ndim == 0:
        return type(values).__name__
    for position, value in np.ndenumerate(array):
        if not isinstance(value, numbers.Real | np.bool_):
            return f"{type(value).__name__} {shown(value)} in {spot(array.shape, position)}"
    whole = all(isinstance(value, numbers.Integral) for value in array.flat)
    return f"dtype object; use .astype({'int' if whole else 'float'})"


def spot(shape: tuple[int, ...], position: tuple[int, ...]) -> str:
    """The name of a position: its row, and the column of the flattened row."""
    if len(shape) == 1:
        return f"row {position[0]}"
    return f"row {position[0]}, column {np.ravel_multi_index(position[1:], shape[1:])}"


def place(wrong: Array) -> str:
    """The name of the first place that is True."""
    return spot(wrong.shape, tuple(map(int, np.unravel_index(wrong.argmax(), wrong.shape))))


def features(x: ArrayLike, width: int, name: str = "x") -> Array:
    """Inputs (B, width); where (B, ...) cannot be viewed so, it stays as it is.

    Raises ValueError for the wrong rank or number of features, or no rows.
    """
    array = real(name, x)
    shape = array.shape
    if len(shape) == 2 and shape[1] == width and shape[0] > 0:
        return array
    if array.ndim == 0 or (array.ndim == 1 and width > 1):
        hint = "; pass x[None] for one row" if shape == (width,) else ""
        raise ValueError(f"expected {name} of shape (rows, {width}), got {shape}{hint}")
    if math.prod(shape[1:]) != width:
        raise ValueError(f"expected {name} with {width} features, got {shape}")
    if len(array) == 0:
        raise ValueError(f"expected at least one row in {name}, got {shape}")
    if array.ndim == 1:
        return array[:, None]
    if array.ndim > 2 and np.may_share_memory(array[0].reshape(-1), array):
        return array.reshape(-1, width)
    return array


def direct(x: Array) -> bool:
    """Whether engines can read these inputs as they are."""
    return isinstance(x, np.ndarray) and x.ndim == 2 and x.dtype in NATIVE and x.flags.aligned


def taken(array: Array, rows: Chosen) -> Array:
    """Some rows. `take` is several times as fast, but first copies what is not contiguous whole."""
    flags = array.flags
    if isinstance(rows, slice) or not (flags.c_contiguous and flags.aligned):
        return array[rows]
    return array.take(rows, axis=0)


@dataclass(frozen=True, eq=False)
class Part:
    """Rows of some arrays, one behind the other, or chosen ones of a single array.

    They are taken a block at a time, so that nothing is copied as a whole.
    """

    arrays: tuple[Array, ...]
    chosen: NDArray[np.int32] | None = None

    def __len__(self) -> int:
        return sum(map(len, self.arrays)) if self.chosen is None else len(self.chosen)

    def __getitem__(self, rows: slice) -> Array:
        if self.chosen is not None:
            return taken(self.arrays[0], self.chosen[rows])
        first, last, _ = rows.indices(len(self))
        found = []
        for array in self.arrays:
            found.append(array[max(first, 0) : max(last, 0)])
            first, last = first - len(array), last - len(array)
        found = [part for part in found if len(part)]
        return found[0] if len(found) == 1 else np.concatenate(found)


def block(x: Array, rows: Chosen, dtype: DTypeLike) -> Array:
    """Rows of the inputs, as engines can read them; of a sparse matrix, sparse."""
    if not isinstance(x, np.ndarray):
        return x[rows].astype(dtype, copy=False)
    part = taken(x, rows)
    return part if direct(part) else part.reshape(len(part), -1).astype(dtype, order="C")


def pieces(rows: int, length: int) -> Iterator[slice]:
    """Cut the rows in slices of this length; the last may be short."""
    return (slice(first, min(first + length, rows)) for first in range(0, rows, length))


def check_finite(name: str, array: Array, dtype: DTypeLike) -> None:
    """Raise ValueError if a number is NaN or infinite, or becomes so in this dtype."""
    if array.dtype.kind != "f":
        return
    length = max(1, CHECKED // max(1, math.prod(array.shape[1:])))
    for rows in pieces(len(array), length):
        wrong = not_finite(array[rows], dtype)
        if wrong is not None:
            value = array[rows][wrong]
            where = spot(array.shape, (rows.start + wrong[0], *wrong[1:]))
            raise ValueError(f"expected finite {dtype} numbers in {name}, got {value} in {where}")


@np.errstate(over="ignore", invalid="ignore")
def not_finite(part: Array, dtype: DTypeLike) -> tuple[int, ...] | None:
    """The position of the first number that is not finite in this dtype."""
    part = part.astype(dtype, copy=False)
    if np.isfinite(part.sum()):  # the sum of finite numbers may overflow
        return None
    wrong = ~np.isfinite(part)
    position = np.unravel_index(wrong.argmax(), part.shape)
    return tuple(map(int, position)) if wrong.any() else None


def targets(
    y: ArrayLike, rows: int, outputs: int, loss: Loss, dtype: DTypeLike, of: str = ""
) -> Array:
    """Labels (B,), or targets (B, T), checked but not converted; `of` goes before their name.

    Integers of rank 1 are labels from 0 to T - 1, unless there is only one target a row. T is O,
    but where the loss has several outputs for a target.
    Raises ValueError or TypeError for anything that the loss cannot use.
    """
    name, width = f"{of}y", loss.targets(outputs)
    array = real(name, y)
    if array.ndim == 0 or len(array) != rows:
        found = f"shape {array.shape}"
        raise ValueError(f"expected {name} with {rows} rows, as in {of}x, got {found}")
    if width == 1 and array.ndim == 1:
        array = array[:, None]
    labels = loss.per_target == 1
    if array.ndim == 1 and labels:
        check_labels(name, array, width)
        return array
    if array.shape != (rows, width):
        expected = f"labels ({rows},) or targets" * labels or "targets"
        raise ValueError(f"expected {name} as {expected} ({rows}, {width}), got {array.shape}")
    check_finite(name, array, dtype)
    if loss.kind != "numbers":
        check_probabilities(name, array, loss)
    elif array.size and array.min() < loss.least:
        least = int(array.argmin())
        where = spot(array.shape, tuple(map(int, np.unravel_index(least, array.shape))))
        raise ValueError(
            f"expected targets of at least {loss.least} for {loss.name} in {name}, got "
            f"{array.flat[least]} in {where}"
        )
    return array


def check_labels(name: str, labels: Array, outputs: int) -> None:
    """Raise unless they are whole numbers from 0 to O - 1."""
    if labels.dtype.kind == "f":
        whole = bool((labels == np.rint(labels)).all())
        hint = "; use .astype(int)" if whole else ""
        raise TypeError(f"expected integer labels in {name}, got dtype {labels.dtype}{hint}")
    for row in (int(labels.argmin()), int(labels.argmax())):
        if not 0 <= labels[row] < outputs:
            found = f"{labels[row]} in row {row}"
            raise ValueError(f"expected labels from 0 to {outputs - 1} in {name}, got {found}")


def check_probabilities(name: str, targets: Array, loss: Loss) -> None:
    """Raise unless they lie from 0 to 1, and sum to 1 where a row has one class."""
    for place in (int(targets.argmin()), int(targets.argmax())):
        position = tuple(map(int, np.unravel_index(place, targets.shape)))
        if not 0 <= targets[position] <= 1:
            found = f"{targets[position]} in {spot(targets.shape, position)}"
            raise ValueError(f"expected targets from 0 to 1 for {loss.name} in {name}, got {found}")
    if loss.kind == "class":
        total = targets.sum(axis=1, dtype=np.float64)
        worst = int(np.abs(total - 1).argmax())
        if abs(total[worst] - 1) > 1e-3:
            found = f"{total[worst]} in row {worst}"
            raise ValueError(
                f"expected targets that sum to 1 for {loss.name} in {name}, got {found}"
            )


def one_class(y: Array) -> bool:
    """Whether each row of y names one class: labels, one-hot targets, or one output of 0 or 1."""
    if y.ndim == 1:
        return True
    ones = (0, 1) if y.shape[1] == 1 else (1,)  # how many a row may have
    for rows in pieces(len(y), max(1, CHECKED // y.shape[1])):
        one = y[rows] == 1
        if not ((y[rows] == 0) | one).all() or not np.isin(one.sum(axis=1), ones).all():
            return False
    return True


def labels_of(y: Array) -> Array:
    """The labels (B,) of one-hot targets (B, O)."""
    parts = pieces(len(y), max(1, CHECKED // y.shape[1]))
    return np.concatenate([y[rows].argmax(axis=1) for rows in parts])


def weights(values: ArrayLike, rows: int, of: str = "") -> NDArray[np.float64]:
    """The weights (B,) of rows, as float64; `of` goes before their name in errors.

    Raises ValueError for another shape, or a weight that is negative or not finite.
    """
    name = f"{of}sample_weight"
    array = real(name, values)
    if array.shape != (rows,):
        raise ValueError(f"expected {name} of shape ({rows},), got {array.shape}")
    check_finite(name, array, "float64")
    if rows and array.min() < 0:
        row = int(array.argmin())
        raise ValueError(f"expected {name} of at least 0, got {array[row]} in row {row}")
    return np.ascontiguousarray(array, np.float64)


def target_block(y: Array, rows: Chosen, dtype: DTypeLike) -> Array:
    """Rows of the labels or targets, as engines can read them."""
    return np.ascontiguousarray(taken(y, rows), np.int64 if y.ndim == 1 else dtype)


def check_apart(name: str, array: Array, others: dict[str, Array]) -> None:
    """Raise ValueError if an array shares memory with another one, named so."""
    for other, memory in others.items():
        if np.may_share_memory(array, memory) and np.shares_memory(array, memory):
            raise ValueError(f"expected {name} in memory of its own, got a part of {other}")
