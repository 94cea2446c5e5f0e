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
    """The means (I,) and deviations (I,) of columns, and from where to where their numbers lie.

    0 is the deviation of equal numbers, and their mean is that number.
    """

    mean: NDArray[np.float64]
    deviation: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]


class Running:
    """What is known of the columns of the rows so far.

    Sums of squares are taken about each block's own means, and merged.
    Source: Chan, Golub, LeVeque, Updating formulae and a pairwise algorithm for computing sample
    variances (1979).
    """

    def __init__(self, width: int) -> None:
        self.rows = 0
        self.mean, self.squares = np.zeros(width), np.zeros(width)
        self.low, self.high = np.full(width, np.inf), np.full(width, -np.inf)

    @np.errstate(over="ignore", invalid="ignore")  # columns() looks at the result
    def add(self, block: NDArray[np.float64]) -> None:
        """More rows (n, I)."""
        n, total = len(block), self.rows + len(block)
        block_mean = block.sum(axis=0) / n
        from_mean = block - block_mean
        apart = block_mean - self.mean
        self.mean += apart * (n / total)
        squares = (from_mean * from_mean).sum(axis=0)
        self.squares += squares + apart * apart * (self.rows * n / total)
        np.minimum(self.low, block.min(axis=0), out=self.low)
        np.maximum(self.high, block.max(axis=0), out=self.high)
        self.rows = total

    def columns(self) -> Columns:
        """Of all rows. Raises ValueError where a square is beyond float64."""
        low, high = self.low, self.high
        if not np.isfinite(self.squares).all():
            column = int(np.isfinite(self.squares).argmin())
            raise ValueError(
                f"expected numbers whose squares float64 can hold in column {column}, "
                f"got {low[column]:g} to {high[column]:g}"
            )
        deviation = np.where(low < high, np.sqrt(self.squares / self.rows), 0.0)
        return Columns(np.where(low < high, self.mean, low), deviation, low, high)


def columns(x: Array | _arrays.Part) -> Columns:
    """Of the rows x (B, ...), each flattened, in float64; they are read once, a block at a time.

    Raises ValueError where a square is beyond float64.
    """
    width = x[:1].size
    running = Running(width)
    for part in _arrays.pieces(len(x), max(1, ELEMENTS // max(1, width))):
        running.add(np.ascontiguousarray(x[part], np.float64).reshape(-1, width))
    return running.columns()
