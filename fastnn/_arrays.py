"""The door: which arrays may come in, and how they reach an engine.

A data set is never copied or converted as a whole. Engines read native uint8, float32 and float64
of any strides; blocks of rows of anything else are converted just before they are used.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

Array = NDArray[Any]
Rows = slice | NDArray[np.int32]

NATIVE = frozenset(map(np.dtype, ("uint8", "float32", "float64")))
CHECKED = 1 << 18  # elements looked at together, so that they stay in the cache


def real(name: str, values: ArrayLike) -> Array:
    """An array of real numbers. Raises TypeError for object, complex, text and so on."""
    array = np.asarray(values)
    if array.dtype.kind not in "fiub":
        raise TypeError(f"expected real numbers in {name}, got dtype {array.dtype}")
    return array


def features(x: ArrayLike, width: int) -> Array:
    """Inputs (B, width); where (B, ...) cannot be viewed so, it stays as it is.

    Raises ValueError for the wrong rank or number of features, or no rows.
    """
    array = real("x", x)
    shape = array.shape
    if len(shape) == 2 and shape[1] == width and shape[0] > 0:
        return array
    if array.ndim == 0 or (array.ndim == 1 and width > 1):
        hint = "; pass x[None] for one row" if shape == (width,) else ""
        raise ValueError(f"expected x of shape (rows, {width}), got {shape}{hint}")
    if math.prod(shape[1:]) != width:
        raise ValueError(f"expected x with {width} features, got {shape}")
    if len(array) == 0:
        raise ValueError(f"expected at least one row in x, got {shape}")
    if array.ndim == 1:
        return array[:, None]
    if array.ndim > 2 and np.may_share_memory(array[0].reshape(-1), array):
        return array.reshape(-1, width)
    return array


def direct(x: Array) -> bool:
    """Whether engines can read these inputs as they are."""
    return x.ndim == 2 and x.dtype in NATIVE and x.flags.aligned


def block(x: Array, rows: Rows, width: int, dtype: DTypeLike) -> Array:
    """Rows of the inputs, as engines can read them."""
    part = x[rows]
    return part if direct(part) else part.reshape(-1, width).astype(dtype, order="C")


def pieces(rows: int, length: int) -> Iterator[slice]:
    """Cut the rows in slices of this length; the last may be short."""
    return (slice(first, min(first + length, rows)) for first in range(0, rows, length))


def check_finite(name: str, array: Array, dtype: DTypeLike) -> None:
    """Raise ValueError if a number is NaN or infinite, or becomes so in this dtype."""
    if array.dtype.kind != "f":
        return
    length = max(1, CHECKED // max(1, math.prod(array.shape[1:])))
    with np.errstate(over="ignore", invalid="ignore"):
        for rows in pieces(len(array), length):
            part = array[rows].astype(dtype, copy=False)
            if np.isfinite(part.sum()):  # the sum of finite numbers may overflow
                continue
            for position in np.argwhere(~np.isfinite(part)):
                value = array[rows][tuple(position)]
                row = rows.start + position[0]
                column = np.ravel_multi_index(position[1:], part.shape[1:])
                where = f"row {row}, column {column}"
                raise ValueError(
                    f"expected finite {dtype} numbers in {name}, got {value} in {where}"
                )


def targets(y: ArrayLike, rows: int, outputs: int, loss: str, dtype: DTypeLike) -> Array:
    """Labels (B,), or targets (B, O), checked but not converted.

    Integers of rank 1 are labels from 0 to O - 1, unless there is only one output.
    Raises ValueError or TypeError for anything that the loss cannot use.
    """
    array = real("y", y)
    if array.ndim == 0 or len(array) != rows:
        raise ValueError(f"expected y with {rows} rows, as in x, got shape {array.shape}")
    if outputs == 1 and array.ndim == 1:
        array = array[:, None]
    if array.ndim == 1:
        if array.dtype.kind == "f":
            raise TypeError(f"expected integer labels in y, got dtype {array.dtype}")
        for label in (array.min(), array.max()):
            if not 0 <= label < outputs:
                raise ValueError(f"expected labels from 0 to {outputs - 1} in y, got {label}")
        return array
    if array.shape != (rows, outputs):
        raise ValueError(
            f"expected y as labels ({rows},) or targets ({rows}, {outputs}), got {array.shape}"
        )
    check_finite("y", array, dtype)
    if loss != "mean_squared_error" and (array.min() < 0 or array.max() > 1):
        found = f"{array.min()} to {array.max()}"
        raise ValueError(f"expected targets from 0 to 1 for {loss}, got {found}")
    if loss == "cross_entropy":
        total = array.sum(axis=1, dtype=np.float64)
        worst = np.abs(total - 1).argmax()
        if abs(total[worst] - 1) > 1e-3:
            found = f"{total[worst]} in row {worst}"
            raise ValueError(f"expected targets that sum to 1 for {loss}, got {found}")
    return array


def target_block(y: Array, rows: Rows, dtype: DTypeLike) -> Array:
    """Rows of the labels or targets, as engines can read them."""
    return np.ascontiguousarray(y[rows], np.int64 if y.ndim == 1 else dtype)
