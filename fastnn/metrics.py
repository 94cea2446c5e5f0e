"""Metrics: what outputs are worth, by name or by a function of one's own.

y_true is labels (n,), or targets (n, O) in their units; y_pred the outputs (n, O) in the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ._arrays import Array
from ._errors import number, shown, unknown
from .losses import Loss
from .rows import Meaning

Measure = Callable[[Array, Array], float]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Metric:
    """A figure of rows: its name, and what it is of (y_true, y_pred)."""

    name: str
    of: Measure
    known: bool = True  # not a function of one's own: of classes it sees probabilities, no logits


# ------------------------------------------------------------------------------------------ classes


def classes(y: Array, h: Array) -> tuple[Bools, Bools, Array]:
    """Which classes rows (n, C) have, which they were given, and the scores of these.

    One output has two classes of which the second counts; where rows may have several classes,
    each output is one, above one half.
    """
    if h.shape[1] == 1:
        return y.reshape(-1, 1) == 1, h > 0.5, h
    if y.ndim == 2:
        return y == 1, h > 0.5, h
    every = np.arange(h.shape[1])
    return y[:, None] == every, h.argmax(axis=1)[:, None] == every, h


def ratio(part: Array, whole: Array) -> NDArray[np.float64]:
    """part / whole, and 0 where that is 0 / 0."""
    return np.divide(part, whole, out=np.zeros(len(whole)), where=whole > 0)


def counts(y: Array, h: Array) -> tuple[Array, Array, Array]:
    """Of each class that occurs: rows that are right, that were given it, that have it (C,)."""
    true, found, _ = classes(y, h)
    right, given, had = ((true & found).sum(axis=0), found.sum(axis=0), true.sum(axis=0))
    occurs = given + had > 0
    if h.shape[1] == 1 or y.ndim == 2:
        occurs[:] = True  # what each output is about is known
    return right[occurs], given[occurs], had[occurs]


def accuracy(y: Array, h: Array) -> float:
    """The share of right rows; where rows have several classes, of rows that are all right."""
    true, found, _ = classes(y, h)
    return float(np.mean((true == found).all(axis=1)))


def top(k: int) -> Measure:
    """The share of rows whose class has one of the k largest outputs; equals count against it."""

    def of(y: Array, h: Array) -> float:
        if y.ndim == 2:
            raise ValueError(f"expected one class a row for top_{k}, got targets {y.shape}")
        score = np.take_along_axis(h, y[:, None].astype(np.int64), 1)
        return float(np.mean((h >= score).sum(axis=1) <= k))

    return of


def balanced_accuracy(y: Array, h: Array) -> float:
    """The mean over classes of the share of their rows that are right.

    Source: Brodersen et al., The balanced accuracy and its posterior distribution (2010).
    """
    true, found, _ = classes(y, h)
    if h.shape[1] == 1:
        true, found = np.hstack([~true, true]), np.hstack([~found, found])
    had = true.sum(axis=0)
    return float(np.mean(((true & found).sum(axis=0) / np.maximum(had, 1))[had > 0]))


def precision(y: Array, h: Array) -> float:
    """Of rows that were given a class, the share that has it; mean over classes (macro)."""
    right, given, _ = counts(y, h)
    return float(np.mean(ratio(right, given)))


def recall(y: Array, h: Array) -> float:
    """Of rows that have a class, the share that was given it; mean over classes (macro)."""
    right, _, had = counts(y, h)
    return float(np.mean(ratio(right, had)))


def f1(y: Array, h: Array) -> float:
    """2 precision recall / (precision + recall) of each class; mean over classes (macro)."""
    right, given, had = counts(y, h)
    return float(np.mean(ratio(2 * right, given + had)))


def roc_auc(y: Array, h: Array) -> float:
    """The chance that a row of a class scores above a row without it; mean over classes.

    NaN where no class has both kinds of rows. Equal scores count half.
    Source: Fawcett, An introduction to ROC analysis (2006).
    """
    true, _, scores = classes(y, h)
    found = [area(mine, score) for mine, score in zip(true.T, scores.T, strict=True)]
    known = [value for value in found if not math.isnan(value)]
    return math.fsum(known) / len(known) if known else math.nan


def area(true: Bools, score: Array) -> float:
    """Of one class, by the ranks of its rows."""
    positive = int(true.sum())
    pairs = positive * (len(true) - positive)
    if pairs == 0:
        return math.nan
    _, place, many = np.unique(score, return_inverse=True, return_counts=True)
    ranks = np.cumsum(many) - (many - 1) / 2  # the mean rank of equal scores, from 1
    return float(ranks[place[true]].sum() - positive * (positive + 1) / 2) / pairs


def log_loss(y: Array, h: Array) -> float:
    """Minus the mean logarithm of what was given to the class that a row has.

    Outputs are taken to be at least the dtype's eps, so that it is finite.
    """
    true, _, scores = classes(y, h)
    if y.ndim == 2 and h.shape[1] > 1:
        raise ValueError(f"expected one class a row for log_loss, got targets {y.shape}")
    eps = float(np.finfo(h.dtype).eps)
    chance = scores[true] if h.shape[1] > 1 else np.where(true, scores, 1 - scores)
    return -math.fsum(map(math.log, np.clip(chance.ravel(), eps, 1 - eps).tolist())) / len(y)


# ------------------------------------------------------------------------------------------ numbers


def errors(y: Array, h: Array) -> NDArray[np.float64]:
    """Outputs less targets (n, O)."""
    return h.astype(np.float64) - y


def mae(y: Array, h: Array) -> float:
    """The mean absolute error."""
    return float(np.mean(np.abs(errors(y, h))))


def rmse(y: Array, h: Array) -> float:
    """The root of the mean square error of each output; mean over outputs."""
    return float(np.mean(np.sqrt(np.mean(errors(y, h) ** 2, axis=0))))


def r2(y: Array, h: Array) -> float:
    """The explained share of a target's variance; mean over targets, NaN if one does not vary.

    1 - sum (h - y)^2 / sum (y - mean)^2.
    """
    variance = np.sum((y - y.mean(axis=0, dtype=np.float64)) ** 2, axis=0)
    if not variance.all():
        return math.nan
    return float(np.mean(1 - np.sum(errors(y, h) ** 2, axis=0) / variance))


CLASSES: dict[str, Measure] = {
    "accuracy": accuracy,
    "balanced_accuracy": balanced_accuracy,
    "precision": precision,
    "recall": recall,
    "f1": f1,
    "roc_auc": roc_auc,
    "log_loss": log_loss,
}
NUMBERS: dict[str, Measure] = {"mae": mae, "rmse": rmse, "r2": r2}


def get(metrics: Iterable[str | Measure]) -> tuple[Metric, ...]:
    """Metrics by name (top_5 and the like too), and functions under theirs.

    Raises ValueError for an unknown name or one that stands twice, TypeError for anything else.
    """
    if isinstance(metrics, str) or callable(metrics):
        raise TypeError(f"expected metrics as a list, got {shown(metrics)}; pass [{metrics!r}]")
    found = tuple(map(metric, metrics))
    names = [one.name for one in found]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"expected each metric once, got {name} twice")
    return found


def metric(wanted: str | Measure) -> Metric:
    """One of them."""
    if callable(wanted):
        name = getattr(wanted, "__name__", type(wanted).__name__)
        return Metric(name, lambda y, h: number(f"what {name} gives", wanted(y, h)), False)
    if not isinstance(wanted, str):
        found = type(wanted).__name__
        raise TypeError(f"expected metrics to be names or functions, got {found}")
    head, _, k = wanted.partition("_")
    if head == "top" and k.isascii() and k.isdecimal() and 0 < int(k[:9]) == int(k):
        return Metric(wanted, top(int(k)))
    known = {**CLASSES, **NUMBERS}
    if wanted not in known:
        raise unknown("metric", wanted, [*known, "top_5"])
    return Metric(wanted, known[wanted])


def check(metrics: Iterable[Metric], meaning: Meaning, loss: Loss) -> None:
    """Raise ValueError for a metric that cannot be had of such targets and outputs."""
    for one in metrics:
        if one.of is log_loss and loss.name == "hinge":
            raise ValueError("expected probabilities for log_loss, got scores of hinge")
        if one.of in NUMBERS.values() and loss.name == "quantile" and loss.per_target > 1:
            raise ValueError(f"expected one output a target for {one.name}, got several quantiles")
        if meaning == "numbers" and (one.name in CLASSES or one.name.startswith("top_")):
            raise ValueError(f"expected classes as y for the metric {one.name}, got numbers")
        if meaning != "numbers" and one.of in NUMBERS.values():
            raise ValueError(f"expected numbers as y for the metric {one.name}, got classes")
