"""Checked rows: what their targets mean, how engines read them, what sums over them say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from . import _arrays
from ._arrays import Array
from ._errors import number, shown, whole
from ._random import SPLIT, stream
from .engine import Targets
from .losses import Loss

Meaning = Literal["class", "classes", "numbers"]  # of a row's targets: one class, or any of them


def meaning_of(loss: Loss, *targets: Array) -> Meaning:
    """What the targets of every row are: one class, some of the classes, or real numbers."""
    if loss.kind == "class" or (loss.kind == "binary" and targets[0].shape[1:] == (1,)):
        return "class"
    if loss.kind == "numbers" and (loss.per_target > 1 or loss.least == 0):
        return "numbers"  # counts, or outputs that are no classes
    if all(map(_arrays.one_class, targets)):
        return "class"
    return "classes" if loss.kind == "binary" else "numbers"


def split(
    seed: int, share: float, rows: int, labels: Array | None
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """The rows to learn from, and that share of all to validate on, each in ascending order.

    They are drawn by the seed; of each label (rows,) as many as its share, to within one row.
    """
    keys = stream(seed, SPLIT, 0).random_raw(rows)
    if labels is None:
        order = np.lexsort((keys,))
    else:  # in the order of (place within the label + 1/2) / rows of the label: a fair merge
        order = np.lexsort((keys, labels))
        _, first, many = np.unique(labels[order], return_index=True, return_counts=True)
        place = np.arange(rows) - np.repeat(first, many)
        order = order[np.lexsort((keys[order], (place + 0.5) / np.repeat(many, many)))]
    held = min(max(round(share * rows), 1), rows - 1)
    parts = order[held:], order[:held]
    learned, validated = (np.sort(part).astype(np.int32) for part in parts)
    return learned, validated


def folds(seed: int, count: int, rows: int, labels: Array | None) -> list[NDArray[np.int32]]:
    """The rows cut into folds, each in ascending order; their sizes differ by one at most.

    They are drawn by the seed; of each label (rows,), too, all have as many, to within one row.
    """
    keys = stream(seed, SPLIT, 1).random_raw(rows)
    order = np.lexsort((keys,) if labels is None else (keys, labels))
    return [np.sort(order[fold::count]).astype(np.int32) for fold in range(count)]


def with_class_weights(
    parts: Sequence[Rows], wanted: dict[int, float] | str, outputs: int
) -> list[Rows]:
    """The same rows, each weight times that of the row's class.

    wanted: {label: weight}, of other labels 1; or "balanced": rows / (classes * rows of the class),
    counted over all parts, of the classes that occur. Raises ValueError for anything else, and for
    rows that have not one class each.
    """
    classes = max(outputs, 2)
    for rows in parts:
        if rows.meaning != "class" or not _arrays.one_class(rows.y):
            raise ValueError("expected one class a row in y with class_weight, got other targets")
    if isinstance(wanted, dict):
        table = np.ones(classes)
        for label, weight in wanted.items():
            if not 0 <= whole("a label of class_weight", label) < classes:
                expected = f"labels from 0 to {classes - 1} in class_weight"
                raise ValueError(f"expected {expected}, got {shown(label)}")
            table[label] = number(f"class_weight of {label}", weight)
            if not 0 <= table[label] < np.inf:
                raise ValueError(f"expected class_weight of at least 0, got {weight} of {label}")
    elif isinstance(wanted, str) and wanted == "balanced":
        labels = (rows.labels()[rows.at(slice(None))] for rows in parts)
        counts = sum(np.bincount(found, minlength=classes) for found in labels)
        table = np.sum(counts) / (np.count_nonzero(counts) * np.maximum(counts, 1))
    else:
        raise ValueError(f"expected class_weight as a dict or 'balanced', got {shown(wanted)}")
    found = []
    for rows in parts:
        weights = table[rows.labels()]
        found.append(
            replace(rows, weights=weights if rows.weights is None else rows.weights * weights)
        )
    return found


@dataclass(eq=False)
class Rows:
    """Inputs and targets that were checked, and what is known of them.

    x: (B, I), or (B, ...) of that size. y: labels (B,), or targets (B, T). Standardised targets are
    (y - center) / scale.
    """

    x: Array
    y: Array
    loss: Loss
    dtype: np.dtype[Any]  # that engines compute in
    meaning: Meaning
    center: NDArray[np.float64] | None = None  # (T,)
    scale: float = 1.0
    weights: NDArray[np.float64] | None = None  # (B,), of x and y; None: all rows count alike
    chosen: NDArray[np.int32] | None = None  # which rows of x and y these are, if not all

    def __post_init__(self) -> None:
        if self.meaning == "class" and self.output_by_output:  # one-hot targets
            self.y = _arrays.labels_of(self.y)

    def labels(self) -> NDArray[np.int64]:
        """The classes (B,) of all of x and y."""
        y = self.y
        if y.ndim == 2:
            y = y[:, 0] if y.shape[1] == 1 else _arrays.labels_of(y)
        return y.astype(np.int64)

    def __len__(self) -> int:
        return self.x.shape[0] if self.chosen is None else len(self.chosen)

    def at(self, rows: _arrays.Chosen) -> _arrays.Chosen:
        """The places in x and y of some of these rows."""
        return rows if self.chosen is None else self.chosen[rows]

    @property
    def output_by_output(self) -> bool:
        """Whether engines count right outputs, of several a row, and not right rows."""
        return self.loss.kind == "binary" and self.y.ndim == 2 and self.y.shape[1] > 1

    def inputs(self, chosen: _arrays.Chosen) -> Array:
        """The inputs (n, I) of some rows, as engines can read them."""
        return _arrays.block(self.x, self.at(chosen), self.dtype)

    def targets(self, chosen: _arrays.Chosen) -> Array:
        """The labels (n,) or targets (n, T) of some rows, as engines can read them."""
        chosen = self.at(chosen)
        if self.center is None or self.y.ndim == 1:
            return _arrays.target_block(self.y, chosen, self.dtype)
        t = (_arrays.taken(self.y, chosen) - self.center) / self.scale
        return np.ascontiguousarray(t, self.dtype)

    def weights_of(self, chosen: _arrays.Chosen) -> NDArray[np.float64] | None:
        """The weights (n,) of some rows, if there are any."""
        if self.weights is None:
            return None
        return np.ascontiguousarray(_arrays.taken(self.weights, self.at(chosen)))

    def wanted(self, chosen: _arrays.Chosen) -> Targets:
        """What engines judge some rows by: targets, and weights if there are any."""
        weights = self.weights_of(chosen)
        return self.targets(chosen) if weights is None else (self.targets(chosen), weights)

    def total(self, chosen: _arrays.Chosen = slice(None)) -> float:
        """How much some rows count: their number, or the sum of their weights."""
        if self.weights is None:
            return len(range(*chosen.indices(len(self))) if isinstance(chosen, slice) else chosen)
        return float(_arrays.taken(self.weights, self.at(chosen)).sum())

    def where(self, chosen: NDArray[np.int32]) -> tuple[Array, NDArray[np.int32]]:
        """An x that engines can read, a copy only if need be, and the places of rows in it."""
        if _arrays.direct(self.x):
            return self.x, chosen if self.chosen is None else self.chosen[chosen]
        return self.inputs(chosen), np.arange(len(chosen), dtype=np.int32)

    def truth(self) -> Array:
        """All labels (n,), of one-hot targets too, or targets (n, T), as they came."""
        y = self.y if self.chosen is None else self.y[self.chosen]
        one_hot = self.meaning == "class" and y.ndim == 2 and y.shape[1] > 1
        return _arrays.labels_of(y) if one_hot else y

    def figures(self, loss: float, agreeing: float, rows: float) -> dict[str, float]:
        """Means from the sums over rows and their number, or weight; y decides which there are."""
        rows = rows or 1.0  # of rows that do not count, zeros
        figures = {"loss": self.loss.in_units(loss / rows, self.scale)}
        if self.output_by_output:
            figures["binary_accuracy"] = agreeing / (rows * self.y.shape[1])
        elif self.y.ndim == 1 or self.loss.kind != "numbers":
            figures["accuracy"] = agreeing / rows
        return figures
