"""What features of a table do to the outputs: Shapley values, partial dependence."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._arrays import Array
from .._errors import count
from . import _functions
from ._functions import Function, batches, index_of

if TYPE_CHECKING:
    from ..network import Network

EXACT = 12  # features at most of which all coalitions are looked at
PAIRS = 10  # of permutations, each with its reverse, where there are more
EDGES = (0.05, 0.95)  # quantiles of a column between which its grid lies


@dataclass(frozen=True, eq=False)
class Shapley:
    """Shapley values (B, I, O) of rows x (B, I): base + values.sum(axis=1) is `predict(x)`."""

    values: NDArray[np.float64]
    base: NDArray[np.float64]  # (O,), the mean output of the background
    x: Array
    names: tuple[str, ...] | None  # of the features

    def explanation(self) -> Any:
        """As a `shap.Explanation`, for the plots of shap. Raises ImportError where shap is not."""
        try:
            from shap import Explanation
        except ImportError as error:
            raise ImportError("expected shap, got none: python -m pip install shap") from error
        names = None if self.names is None else list(self.names)
        base = np.tile(self.base, (len(self.x), 1))
        return Explanation(self.values, base, self.x, feature_names=names)


def shapley(net: Network, x: ArrayLike, background: ArrayLike, *, seed: int = 0) -> Shapley:
    """How much each feature of each row x (B, I) takes the outputs from their mean: (B, I, O).

    A feature that is not in a coalition has the values of the rows of the background, each in turn.
    With up to 12 features all coalitions are looked at; with more 10 permutations, drawn by the
    seed, and their reverses. Either way the values of a row sum to f(x) - mean f(background).

    Sources: Lundberg, Lee, A unified approach to interpreting model predictions (2017); Mitchell,
    Cooper, Frank, Holmes, Sampling permutations for Shapley value estimation (2022).
    """
    f, rows = _functions.outputs(net), net.rows(x)
    others = net.rows(background).astype(f.dtype)
    m, out = net.inputs, np.empty((len(rows), net.inputs, net.outputs))
    exact = m <= EXACT
    masks, mixing = coalitions(m) if exact else (np.empty((0, m), bool), np.empty((m, 0)))
    for k, row in enumerate(rows.astype(f.dtype)):
        if exact:
            out[k] = mixing @ worth(f, row, others, masks)
        else:
            out[k] = by_permutations(partial(worth, f, row, others), m, seed)
    base = f(others).astype(np.float64).mean(axis=0)
    return Shapley(out, base, rows, net.features)


def worth(
    f: Function, row: Array, background: Array, masks: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """The mean outputs (n, O) over the background (m, I), the masked features from the row."""
    found = np.empty((len(masks), f.program.outputs))
    for some in batches(len(masks), background.size, 1 << 22):
        mixed = np.where(masks[some, None], row, background).reshape(-1, len(row))
        h = f(mixed).reshape(-1, len(background), f.program.outputs)
        found[some] = h.mean(axis=1, dtype=np.float64)
    return found


def coalitions(m: int) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """All coalitions (2^m, m), and the matrix (m, 2^m) that makes Shapley values of their worths.

    φ_i = Σ_S s! (m - s - 1)! / m! (v(S with i) - v(S)), over the S of s features without i.
    """
    masks = np.array(list(product((False, True), repeat=m)))
    weights = np.array([1 / (m * math.comb(m - 1, s)) for s in range(m)])
    sizes = masks.sum(axis=1)
    with_i, without_i = weights[np.maximum(sizes - 1, 0)], weights[np.minimum(sizes, m - 1)]
    return masks, np.where(masks.T, with_i, -without_i)


def by_permutations(
    v: Callable[[NDArray[np.bool_]], NDArray[np.float64]], m: int, seed: int
) -> NDArray[np.float64]:
    """Means of what each feature adds, over permutations and their reverses: (m, O)."""
    random = np.random.default_rng(seed)
    orders = [random.permutation(m) for _ in range(PAIRS)]
    orders = [order[::step] for order in orders for step in (1, -1)]
    places = np.array([np.argsort(order) for order in orders])  # of each feature
    masks = places[:, None, :] < np.arange(m + 1)[:, None]  # (permutations, m + 1, m)
    worths = v(masks.reshape(-1, m)).reshape(len(orders), m + 1, -1)
    added = np.diff(worths, axis=1)  # by the place in the order
    total: NDArray[np.float64] = np.mean(
        [steps[place] for steps, place in zip(added, places, strict=True)], axis=0
    )
    return total


@dataclass(frozen=True, eq=False)
class PartialDependence:
    """Mean outputs (G, O), or (G, H, O) over two features, on a grid of their values."""

    features: tuple[int, ...]
    grid: tuple[NDArray[np.float64], ...]  # (G,), or (G,) and (H,)
    means: NDArray[np.float64]


def partial_dependence(
    net: Network, x: ArrayLike, features: int | Sequence[int], *, points: int = 50
) -> PartialDependence:
    """The mean output over the rows x (B, I) as one feature, or two, take the values of a grid.

    A grid has `points` values from the 5 % to the 95 % quantile of the column, or all of its
    different values where they are fewer. Raises ValueError for a feature that there is not.

    Source: Friedman, Greedy function approximation: a gradient boosting machine (2001).
    """
    f, rows = _functions.outputs(net), net.rows(x)
    given = tuple(features) if isinstance(features, Sequence) else (features,)
    if not 1 <= len(given) <= 2:
        raise ValueError(f"expected one feature or two, got {len(given)}")
    chosen = tuple(index_of("features", feature, net.inputs) for feature in given)
    grid = tuple(values_of(rows[:, k], count("points", points)) for k in chosen)
    places = list(product(*grid))
    means = np.empty((len(places), net.outputs))
    changed = rows.astype(f.dtype)
    for k, place in enumerate(places):
        changed[:, chosen] = place
        means[k] = f(changed).mean(axis=0, dtype=np.float64)
    return PartialDependence(chosen, grid, means.reshape(*map(len, grid), net.outputs))


def values_of(column: Array, points: int) -> NDArray[np.float64]:
    """The grid of a column."""
    different = np.unique(column.astype(np.float64))
    if len(different) <= points:
        return different
    low, high = np.quantile(column.astype(np.float64), EDGES)
    return np.linspace(low, high, points)
