"""Metrics: what outputs are worth, by name or by a function of one's own.

y_true is labels (n,), or targets (n, O) in their units; y_pred the outputs (n, O) in the same. Rows
count by their weights w, where they have some.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ._arrays import Array
from ._errors import number, shown, unknown
from .losses import Loss
from .rows import Meaning

Measure = Callable[[Array, Array], float]
Weights = NDArray[np.float64] | None  # (n,), of the rows
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Metric:
    """A figure of rows: its name, and what it is of (y_true, y_pred)."""

    name: str
    of: Callable[..., float]  # y_true, y_pred, and weights or None
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


def mean(values: Array, w: Weights) -> float:
    """Over rows (n,)."""
    return float(np.mean(values) if w is None else np.average(values, weights=w))


def sums(rows: Array, w: Weights) -> Array:
    """Of each column (C,)."""
    found: Array = rows.sum(axis=0) if w is None else w @ rows
    return found


def ratio(part: Array, whole: Array) -> NDArray[np.float64]:
    """part / whole, and 0 where that is 0 / 0."""
    return np.divide(part, whole, out=np.zeros(len(whole)), where=whole > 0)


def counts(y: Array, h: Array, w: Weights) -> tuple[Array, Array, Array]:
    """Of each class that occurs: rows that are right, that were given it, that have it (C,)."""
    true, found, _ = classes(y, h)
    right, given, had = sums(true & found, w), sums(found, w), sums(true, w)
    occurs: Bools = np.any(true | found, axis=0)
    if h.shape[1] == 1 or y.ndim == 2:
        occurs[:] = True  # what each output is about is known
    return right[occurs], given[occurs], had[occurs]


def accuracy(y: Array, h: Array, w: Weights = None) -> float:
    """The share of right rows; where rows have several classes, of rows that are all right."""
    true, found, _ = classes(y, h)
    return mean((true == found).all(axis=1), w)


def top(k: int) -> Callable[..., float]:
    """The share of rows whose class has one of the k largest outputs; equals count against it."""

    def of(y: Array, h: Array, w: Weights = None) -> float:
        if y.ndim == 2:
            raise ValueError(f"expected one class a row for top_{k}, got targets {y.shape}")
        score = np.take_along_axis(h, y[:, None].astype(np.int64), 1)
        return mean((h >= score).sum(axis=1) <= k, w)

    return of


def balanced_accuracy(y: Array, h: Array, w: Weights = None) -> float:
    """The mean over classes of the share of their rows that are right.

    Source: Brodersen et al., The balanced accuracy and its posterior distribution (2010).
    """
    true, found, _ = classes(y, h)
    if h.shape[1] == 1:
        true, found = np.hstack([~true, true]), np.hstack([~found, found])
    had = sums(true, w)
    return float(np.mean(sums(true & found, w)[had > 0] / had[had > 0]))


def precision(y: Array, h: Array, w: Weights = None) -> float:
    """Of rows that were given a class, the share that has it; mean over classes (macro)."""
    right, given, _ = counts(y, h, w)
    return float(np.mean(ratio(right, given)))


def recall(y: Array, h: Array, w: Weights = None) -> float:
    """Of rows that have a class, the share that was given it; mean over classes (macro)."""
    right, _, had = counts(y, h, w)
    return float(np.mean(ratio(right, had)))


def f1(y: Array, h: Array, w: Weights = None) -> float:
    """2 precision recall / (precision + recall) of each class; mean over classes (macro)."""
    right, given, had = counts(y, h, w)
    return float(np.mean(ratio(2 * right, given + had)))


def roc_auc(y: Array, h: Array, w: Weights = None) -> float:
    """The chance that a row of a class scores above a row without it; mean over classes.

    NaN where no class has both kinds of rows. Equal scores count half.
    Source: Fawcett, An introduction to ROC analysis (2006).
    """
    true, _, scores = classes(y, h)
    found = [area(mine, score, w) for mine, score in zip(true.T, scores.T, strict=True)]
    known = [value for value in found if not math.isnan(value)]
    return math.fsum(known) / len(known) if known else math.nan


def area(true: Bools, score: Array, w: Weights) -> float:
    """Of one class: of each score, its rows times the others below it, and half of those at it."""
    mine = true.astype(np.float64) if w is None else true * w
    others = (~true).astype(np.float64) if w is None else ~true * w
    _, place = np.unique(score, return_inverse=True)
    positive, negative = np.bincount(place, mine), np.bincount(place, others)
    pairs = float(positive.sum() * negative.sum())
    if pairs == 0:
        return math.nan
    return float((positive * (np.cumsum(negative) - negative / 2)).sum()) / pairs


def log_loss(y: Array, h: Array, w: Weights = None) -> float:
    """Minus the mean logarithm of what was given to the class that a row has.

    Outputs are taken to be at least the dtype's eps, so that it is finite.
    """
    true, _, scores = classes(y, h)
    if y.ndim == 2 and h.shape[1] > 1:
        raise ValueError(f"expected one class a row for log_loss, got targets {y.shape}")
    eps = float(np.finfo(h.dtype).eps)
    chance = scores[true] if h.shape[1] > 1 else np.where(true, scores, 1 - scores)
    logs = map(math.log, np.clip(chance.ravel(), eps, 1 - eps).tolist())
    if w is None:
        return -math.fsum(logs) / len(y)
    return -math.fsum(map(operator.mul, w.tolist(), logs)) / math.fsum(w.tolist())


# ------------------------------------------------------------------------------------------ numbers


def errors(y: Array, h: Array) -> NDArray[np.float64]:
    """Outputs less targets (n, O)."""
    return h.astype(np.float64) - y


def mae(y: Array, h: Array, w: Weights = None) -> float:
    """The mean absolute error."""
    return mean(np.abs(errors(y, h)).mean(axis=1), w)


def rmse(y: Array, h: Array, w: Weights = None) -> float:
    """The root of the mean square error of each output; mean over outputs."""
    return float(np.mean(np.sqrt(np.average(errors(y, h) ** 2, axis=0, weights=w))))


def r2(y: Array, h: Array, w: Weights = None) -> float:
    """The explained share of a target's variance; mean over targets, NaN if one does not vary.

    1 - sum (h - y)^2 / sum (y - mean)^2.
    """
    center = np.average(y.astype(np.float64), axis=0, weights=w)
    variance = sums((y - center) ** 2, w)
    if not variance.all():
        return math.nan
    return float(np.mean(1 - sums(errors(y, h) ** 2, w) / variance))


CLASSES: dict[str, Callable[..., float]] = {
    "accuracy": accuracy,
    "balanced_accuracy": balanced_accuracy,
    "precision": precision,
    "recall": recall,
    "f1": f1,
    "roc_auc": roc_auc,
    "log_loss": log_loss,
}
NUMBERS: dict[str, Callable[..., float]] = {"mae": mae, "rmse": rmse, "r2": r2}


def get(metrics: Iterable[str | Measure | Metric]) -> tuple[Metric, ...]:
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


def metric(wanted: str | Measure | Metric) -> Metric:
    """One of them."""
    if isinstance(wanted, Metric):
        return wanted
    if callable(wanted):
        name = getattr(wanted, "__name__", type(wanted).__name__)
        return Metric(name, lambda y, h, w=None: number(f"what {name} gives", wanted(y, h)), False)
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
