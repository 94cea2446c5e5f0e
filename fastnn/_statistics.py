"""Means and deviations of columns, in one pass over rows that may lie on disk."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from . import _arrays
from ._arrays import Array

ELEMENTS = 1 << 18  # of a block of rows; a constant, so that the bits follow from the rows alone


@dataclass
class Columns:
    """The means (I,) and deviations (I,) of columns; 0 is the deviation of equal numbers."""

    mean: NDArray[np.float64]
    deviation: NDArray[np.float64]


@np.errstate(over="ignore", invalid="ignore")
def columns(x: Array | _arrays.Part) -> Columns:
    """Of the rows x (B, ...), each flattened, in float64; they are read once, a block at a time.

    Sums of squares are taken about each block's own means, and merged. Raises ValueError where a
    square is beyond float64.
    Source: Chan, Golub, LeVeque, Updating formulae and a pairwise algorithm for computing sample
    variances (1979).
    """
    width = x[:1].size
    rows = 0
    mean, squares = np.zeros(width), np.zeros(width)
    low, high = np.full(width, np.inf), np.full(width, -np.inf)
    for part in _arrays.pieces(len(x), max(1, ELEMENTS // max(1, width))):
        block = np.ascontiguousarray(x[part], np.float64).reshape(-1, width)
        n, total = len(block), rows + len(block)
        block_mean = block.sum(axis=0) / n
        from_mean = block - block_mean
        apart = block_mean - mean
        mean += apart * (n / total)
        squares += (from_mean * from_mean).sum(axis=0) + apart * apart * (rows * n / total)
        np.minimum(low, block.min(axis=0), out=low)
        np.maximum(high, block.max(axis=0), out=high)
        rows = total
    if not np.isfinite(squares).all():
        column = int(np.isfinite(squares).argmin())
        raise ValueError(
            f"expected numbers whose squares float64 can hold in column {column}, "
            f"got {low[column]:g} to {high[column]:g}"
        )
    deviation = np.where(low < high, np.sqrt(squares / rows), 0.0)
    return Columns(np.where(low < high, mean, low), deviation)
