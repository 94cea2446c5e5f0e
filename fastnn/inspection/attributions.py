"""Which inputs an output is due to: attributions of whole batches, and the Jacobian."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _arrays
from .._arrays import Array
from .._errors import count, unknown
from ..program import WIDTH
from . import _functions, _relevance
from ._functions import Function, batches, each_row, layer_of

if TYPE_CHECKING:
    from ..network import Network

STEPS = 50  # of the path of integrated gradients


def attribute(
    net: Network,
    x: ArrayLike,
    target: int | ArrayLike | None = None,
    against: int | ArrayLike | None = None,
    method: str = "integrated_gradients",
    *,
    layer: int | None = None,
    baseline: ArrayLike | None = None,
    steps: int = STEPS,
) -> Array:
    """How much each feature of each row x (B, I) speaks for a class, and against: (B, I).

    What is explained is the score of the output `target`: its value before softmax or sigmoid, or
    the output itself where it is another. target: one for all rows, or (B,); by default that of the
    largest score. against: another output; the difference of the two scores is explained, "why 9
    and not 7". With layer, the attributions are those of the values (B, width) of
    `net.layers[layer]` instead.

    method: "gradient", of the score with respect to x; "gradient_x_input"; "integrated_gradients",
    (x - baseline) times the mean gradient on the straight way from the baseline to x, at `steps`
    Gauss-Legendre points: their sum is the change of the score; "lrp", layer-wise relevance
    propagation by the ε rule: their sum is the score (less the mean of standardised targets);
    "occlusion", by how much the score falls if the baseline stands in the feature's place.
    baseline (I,): by default what the network scales to zeros: the means of standardised columns,
    else zeros. Only integrated gradients and occlusion use it.

    Raises ValueError for an unknown method, an output or layer that there is not, a baseline of
    another shape or that the method does not use; with "lrp" for ops that the ε rule does not pass.

    Sources: Sundararajan, Taly, Yan, Axiomatic attribution for deep networks (2017); Bach et al.,
    On pixel-wise explanations for non-linear classifier decisions by layer-wise relevance
    propagation (2015); Zeiler, Fergus, Visualizing and understanding convolutional networks (2014).
    """
    if method not in METHODS:
        raise unknown("method", method, METHODS)
    if baseline is not None and method not in WITH_BASELINE:
        raise ValueError(f"expected no baseline with {method}, got one")
    number = None if layer is None else layer_of(net, layer, last=False)
    f = _functions.scores(net, number)
    h = net.rows(x) if number is None else values(net, x, number)
    d = directions(f, h, target)
    if against is not None:
        d -= one_hot(each_row("against", against, len(h), net.outputs), net.outputs)
    start = f.origin() if baseline is None else baseline_of(baseline, f.program.inputs)
    return METHODS[method](f, h, d, start.astype(f.dtype), count("steps", steps))


def values(net: Network, x: ArrayLike, layer: int) -> Array:
    """The values (B, width) of a layer."""
    return net.activations(x)[layer + 1]


def baseline_of(baseline: ArrayLike, width: int) -> Array:
    """The baseline (I,), checked."""
    found = _arrays.real("baseline", baseline)
    if found.shape not in ((), (width,)):
        raise ValueError(f"expected baseline of shape ({width},), got {found.shape}")
    _arrays.check_finite("baseline", np.atleast_1d(found), np.float64)
    return np.broadcast_to(found.astype(np.float64), (width,))


def one_hot(labels: NDArray[np.int64], width: int) -> NDArray[np.float64]:
    """Rows (B, width) with a one each."""
    return np.eye(width)[labels]


def directions(f: Function, x: Array, target: int | ArrayLike | None) -> NDArray[np.float64]:
    """d (B, O): one at the target of each row, by default its largest score."""
    width = f.program.outputs
    if target is not None:
        return one_hot(each_row("target", target, len(x), width), width)
    return one_hot(f(x).argmax(axis=1), width)


# The methods: f, rows x (B, I), directions d (B, O), a baseline (I,), steps.


def gradient(f: Function, x: Array, d: Array, baseline: Array, steps: int) -> Array:
    """d score / dx."""
    return f.gradient(x, d)


def gradient_x_input(f: Function, x: Array, d: Array, baseline: Array, steps: int) -> Array:
    """x * d score / dx."""
    found = f.gradient(x, d)
    found *= x
    return found


def integrated_gradients(f: Function, x: Array, d: Array, baseline: Array, steps: int) -> Array:
    """(x - baseline) * ∫ d score / dx (baseline + a (x - baseline)) da, a from 0 to 1."""
    nodes, weights = np.polynomial.legendre.leggauss(steps)
    places, weights = (nodes + 1) / 2, (weights / 2)[:, None, None]
    out = np.empty(x.shape, f.dtype)
    for rows in batches(len(x), steps * x.shape[1], 1 << 22):
        away = x[rows].astype(f.dtype) - baseline
        path = (places.astype(f.dtype)[:, None, None] * away + baseline).reshape(-1, x.shape[1])
        dx = f.gradient(path, np.tile(d[rows], (steps, 1))).reshape(steps, *away.shape)
        out[rows] = away * (dx * weights).sum(axis=0)
    return out


def occlusion(f: Function, x: Array, d: Array, baseline: Array, steps: int) -> Array:
    """score(x) - score(x with the baseline in place of one feature), feature by feature."""
    width = x.shape[1]
    out = np.empty(x.shape, f.dtype)
    whole = (f(x) * d).sum(axis=1)
    features = np.arange(width)
    for row, (direction, score) in enumerate(zip(d, whole, strict=True)):
        for some in batches(width, width, 1 << 22):
            hidden = np.tile(x[row].astype(f.dtype), (len(features[some]), 1))
            hidden[np.arange(len(hidden)), features[some]] = baseline[some]
            out[row, some] = score - f(hidden) @ direction
    return out


def relevance(f: Function, x: Array, d: Array, baseline: Array, steps: int) -> Array:
    """By the ε rule, from the scores down."""
    out = np.empty(x.shape, f.dtype)
    for rows in batches(len(x), sum(f.program.ops[:, WIDTH]), 1 << 22):
        out[rows] = _relevance.relevance(f.program, x[rows], d[rows] * f.scale)
    return out


METHODS: dict[str, Callable[[Function, Array, Array, Array, int], Array]] = {
    "gradient": gradient,
    "gradient_x_input": gradient_x_input,
    "integrated_gradients": integrated_gradients,
    "lrp": relevance,
    "occlusion": occlusion,
}
WITH_BASELINE = ("integrated_gradients", "occlusion")


def jacobian(net: Network, x: ArrayLike) -> Array:
    """d outputs / dx of each row x (B, I): (B, O, I), outputs as `predict` gives them."""
    rows, f = net.rows(x), _functions.outputs(net)
    out = np.empty((len(rows), net.outputs, net.inputs), f.dtype)
    for o in range(net.outputs):
        d = np.zeros((len(rows), net.outputs))
        d[:, o] = 1
        out[:, o] = f.gradient(rows, d)
    return out
