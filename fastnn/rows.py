"""Checked rows: what their targets mean, how engines read them, what sums over them say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from . import _arrays, losses
from ._arrays import Array

Meaning = Literal["class", "classes", "numbers"]  # of a row's targets: one class, or any of them


def meaning_of(loss: str, *targets: Array) -> Meaning:
    """What the targets of every row are: one class, some of the classes, or real numbers."""
    binary = loss == "binary_cross_entropy"
    if loss == "cross_entropy" or (binary and targets[0].shape[1:] == (1,)):
        return "class"
    if all(map(_arrays.one_class, targets)):
        return "class"
    return "classes" if binary else "numbers"


@dataclass(eq=False)
class Rows:
    """Inputs and targets that were checked, and what is known of them.

    x: (B, I), or (B, ...) of that size. y: labels (B,), or targets (B, O). Standardised targets are
    (y - center) / scale.
    """

    x: Array
    y: Array
    loss: str  # its name
    dtype: np.dtype[Any]  # that engines compute in
    meaning: Meaning
    center: NDArray[np.float64] | None = None  # (O,)
    scale: float = 1.0

    def __post_init__(self) -> None:
        if self.meaning == "class" and self.output_by_output:  # one-hot targets
            self.y = _arrays.labels_of(self.y)

    def __len__(self) -> int:
        return len(self.x)

    @property
    def output_by_output(self) -> bool:
        """Whether engines count right outputs, of several a row, and not right rows."""
        return self.loss == "binary_cross_entropy" and self.y.ndim == 2 and self.y.shape[1] > 1

    def inputs(self, chosen: _arrays.Chosen) -> Array:
        """The inputs (n, I) of some rows, as engines can read them."""
        return _arrays.block(self.x, chosen, self.dtype)

    def targets(self, chosen: _arrays.Chosen) -> Array:
        """The labels (n,) or targets (n, O) of some rows, as engines can read them."""
        if self.center is None or self.y.ndim == 1:
            return _arrays.target_block(self.y, chosen, self.dtype)
        t = (_arrays.taken(self.y, chosen) - self.center) / self.scale
        return np.ascontiguousarray(t, self.dtype)

    def where(self, chosen: NDArray[np.int32]) -> tuple[Array, NDArray[np.int32]]:
        """An x that engines can read, a copy only if need be, and the places of rows in it."""
        if _arrays.direct(self.x):
            return self.x, chosen
        return self.inputs(chosen), np.arange(len(chosen), dtype=np.int32)

    def figures(self, loss: float, agreeing: int, rows: int) -> dict[str, float]:
        """Means from the sums over so many rows; y decides which figures there are."""
        power = losses.get(self.loss).power
        figures = {"loss": loss / rows * self.scale**power}
        if self.output_by_output:
            figures["binary_accuracy"] = agreeing / (rows * self.y.shape[1])
        elif self.y.ndim == 1 or power == 0:
            figures["accuracy"] = agreeing / rows
        return figures
