"""How good decisions are: confusions, calibration, and how layers separate the classes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._arrays import Array
from .._errors import count, positive
from ..rows import split
from . import _functions
from ._functions import index_of
from .neurons import labels_of

if TYPE_CHECKING:
    from ..network import Network

HOTTEST = 100.0  # temperatures from 1 / 100 to 100 are looked at
HALVINGS = 60
RIDGE = 1e-3  # times the rows: the penalty of a probe's squared weights


@dataclass(frozen=True, eq=False)
class Confusion:
    """Which classes are taken for which: counts (C, C) by true class and decision, and the rows."""

    counts: NDArray[np.int64]
    truth: NDArray[np.int64]  # (B,)
    decisions: NDArray[np.int64]  # (B,)
    certainty: NDArray[np.float64]  # (B,), the output of the decision; of one output p or 1 - p

    def examples(self, truth: int, decision: int) -> NDArray[np.int64]:
        """The numbers of the rows behind a cell, the most certain first."""
        end = len(self.counts)
        cell = index_of("truth", truth, end), index_of("decision", decision, end)
        rows = np.flatnonzero((self.truth == cell[0]) & (self.decisions == cell[1]))
        return rows[np.argsort(-self.certainty[rows], kind="stable")]


def confusion(net: Network, x: ArrayLike, y: ArrayLike) -> Confusion:
    """The confusions of a network over rows x and labels y (B,). Raises as `classify`."""
    decisions, p = net.classify(x), net.predict(x).astype(np.float64)
    truth = labels_of(y, len(p))
    classes = max(net.outputs, 2)
    if len(truth) and truth.max() >= classes:
        raise ValueError(f"expected labels from 0 to {classes - 1} in y, got {truth.max()}")
    p = np.concatenate([1 - p, p], axis=1) if net.outputs == 1 else p
    cells = np.bincount(truth * classes + decisions, minlength=classes * classes)
    certainty = p[np.arange(len(p)), decisions]
    return Confusion(cells.reshape(classes, classes), truth, decisions, certainty)


@dataclass(frozen=True, eq=False)
class Calibration:
    """How far a network's certainty is from how often it is right, in bins of equal certainty.

    error: the expected calibration error, Σ_bins rows / B |accuracy - certainty|.
    temperature: by what the scores before softmax or sigmoid should be divided, the least mean
    cross-entropy of these rows; tempered_error: the error there. `temper` puts it into a network.
    """

    error: float
    certainty: NDArray[np.float64]  # (bins,), means; NaN in empty bins
    accuracy: NDArray[np.float64]  # (bins,), the share of right rows
    rows: NDArray[np.int64]  # (bins,)
    temperature: float
    tempered_error: float


def calibration(net: Network, x: ArrayLike, y: ArrayLike, *, bins: int = 15) -> Calibration:
    """The calibration of a network over rows x and labels y (B,) that it did not learn from.

    Raises ValueError for outputs that are not softmax or one sigmoid.

    Source: Guo, Pleiss, Sun, Weinberger, On calibration of modern neural networks (2017).
    """
    check_probabilities(net)
    z = _functions.scores(net)(net.rows(x)).astype(np.float64)
    z = np.concatenate([np.zeros_like(z), z], axis=1) if net.outputs == 1 else z
    truth = labels_of(y, len(z))
    if truth.max() >= z.shape[1]:
        raise ValueError(f"expected labels from 0 to {z.shape[1] - 1} in y, got {truth.max()}")
    many = count("bins", bins)
    certainty, accuracy, rows = curve(softmax(z), truth, many)
    best = temperature(z, truth)
    return Calibration(
        gap(certainty, accuracy, rows),
        certainty,
        accuracy,
        rows,
        best,
        gap(*curve(softmax(z / best), truth, many)),
    )


def check_probabilities(net: Network) -> None:
    """Raise unless the outputs are the probabilities of classes that exclude each other."""
    name = net.activation.name
    if name != "softmax" and not (name == "sigmoid" and net.outputs == 1):
        raise ValueError(f"expected softmax or one sigmoid as outputs, got {net.outputs} of {name}")


def softmax(z: Array) -> Array:
    """Probabilities (B, C) of scores."""
    e = np.exp(z - z.max(axis=1, keepdims=True))
    found: Array = e / e.sum(axis=1, keepdims=True)
    return found


def curve(
    p: Array, truth: NDArray[np.int64], bins: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """Of bins of equal width: mean certainty, share of right rows, and how many rows."""
    certainty, right = p.max(axis=1), p.argmax(axis=1) == truth
    place = np.minimum((certainty * bins).astype(int), bins - 1)
    rows = np.bincount(place, minlength=bins)
    some = np.where(rows > 0, rows, np.nan)
    sums = [np.bincount(place, values, minlength=bins) for values in (certainty, right)]
    return sums[0] / some, sums[1] / some, rows


def gap(
    certainty: NDArray[np.float64], accuracy: NDArray[np.float64], rows: NDArray[np.int64]
) -> float:
    """Σ_bins rows / B |accuracy - certainty|."""
    return float(np.nansum(rows * np.abs(accuracy - certainty)) / rows.sum())


def temperature(z: Array, truth: NDArray[np.int64]) -> float:
    """The T of the least mean cross-entropy of softmax(z / T).

    It is convex in a = 1 / T, and its slope is the mean of Σ_c p_c z_c - z_truth.
    """
    right = z[np.arange(len(z)), truth]
    low, high = -math.log(HOTTEST), math.log(HOTTEST)  # of log a
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        slope = ((softmax(math.exp(middle) * z) * z).sum(axis=1) - right).mean()
        low, high = (low, middle) if slope > 0 else (middle, high)
    return math.exp(-(low + high) / 2)


def temper(net: Network, temperature: float) -> None:
    """Divide the scores of a network by a temperature: decisions stay, certainties are others.

    The weights and biases of the last layer are divided by it, so that it is saved with the model.
    Raises ValueError for a temperature that is not positive, or outputs as in `calibration`.
    """
    check_probabilities(net)
    by = positive("temperature", temperature)
    last = net.layers[-1]
    for block in (last.weights, last.biases):  # type: ignore[attr-defined]
        block /= by


@dataclass(frozen=True, eq=False)
class Separated:
    """How well the values of a layer separate the classes, and where the rows lie in two axes."""

    layer: int | None  # its place in `net.layers`; None for the inputs
    label: str
    accuracy: float  # of a linear probe, on rows that it did not learn from
    projection: NDArray[np.float64]  # (B, 2), on the axes of most variance
    explained: NDArray[np.float64]  # (2,), their shares of the variance


def separability(net: Network, x: ArrayLike, y: ArrayLike) -> tuple[Separated, ...]:
    """How well the inputs, and each layer with weights, separate the classes y (B,) of rows x.

    A linear probe, ridge regression onto one-hot classes, learns from half of the rows, of each
    class alike, and is judged by the other half. Raises ValueError for fewer than 2 rows.

    Source: Alain, Bengio, Understanding intermediate layers using linear classifier probes (2017).
    """
    values = net.activations(x)
    truth = labels_of(y, len(values[0]))
    if len(truth) < 2:
        raise ValueError(f"expected at least 2 rows in x, got {len(truth)}")
    parts = split(0, 0.5, len(truth), truth)
    layers = [(None, "input"), *((k, f.label) for k, f in enumerate(net.layers) if f.size)]
    found = []
    for k, label in layers:
        h = values[0 if k is None else k + 1].astype(np.float64)
        found.append(Separated(k, label, probe(h, truth, parts), *projected(h)))
    return tuple(found)


def probe(
    h: NDArray[np.float64],
    truth: NDArray[np.int64],
    parts: tuple[NDArray[np.int32], NDArray[np.int32]],
) -> float:
    """The share of the second part that a linear probe of the first part gets right."""
    learned, judged = parts
    mean, deviation = h[learned].mean(axis=0), h[learned].std(axis=0)
    h = (h - mean) / np.where(deviation > 0, deviation, np.inf)
    h = np.concatenate([h, np.ones((len(h), 1))], axis=1)
    t = np.eye(int(truth.max()) + 1)[truth[learned]]
    x = h[learned]
    weights = np.linalg.solve(x.T @ x + RIDGE * len(x) * np.eye(x.shape[1]), x.T @ t)
    return float(((h[judged] @ weights).argmax(axis=1) == truth[judged]).mean())


def projected(h: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The rows on their two axes of most variance, and the shares of these.

    Of each axis the largest part is positive. One column alone has a second axis of zeros.
    """
    away = h - h.mean(axis=0)
    variances, axes = np.linalg.eigh(away.T @ away / len(h))
    axes, variances = axes[:, ::-1][:, :2], np.maximum(variances[::-1], 0)
    axes = axes * np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])])
    places, shares = np.zeros((len(h), 2)), np.zeros(2)
    places[:, : axes.shape[1]] = away @ axes
    shares[: axes.shape[1]] = variances[:2] / (variances.sum() or 1.0)
    return places, shares
