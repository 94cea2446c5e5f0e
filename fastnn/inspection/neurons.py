"""What single neurons do: their weights and sums, what excites them, what goes without them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _arrays, structure
from .._arrays import Array
from .._errors import count
from ..program import views
from ..rows import Rows, meaning_of
from ._functions import Function, dense_of, index_of, outputs, sums

if TYPE_CHECKING:
    from ..network import Network

STEPS = 60  # of the ascent to the input that excites a neuron most
FAR = 1 / 3  # of the diagonal of all allowed inputs: so far it goes from the origin


@dataclass(frozen=True, eq=False)
class Neuron:
    """One neuron of a dense layer, and over some rows x (B, I) what it does there.

    preferred (inputs,): an input that excites it most, by gradient ascent, in the units of x.
    selectivity: the share, 0 to 1, of the variance of its activations that lies between classes.
    """

    layer: int  # its place in `net.layers`,
    index: int  # and the neuron's in the layer
    incoming: Array  # (I,), its weights
    bias: float
    outgoing: Array | None  # (O,), in the dense layer that reads it, if one does
    preferred: NDArray[np.float64]
    activations: Array | None = None  # (B,), if there are rows
    examples: NDArray[np.int64] | None = None  # numbers of the rows that excite it most, in order
    class_means: NDArray[np.float64] | None = None  # (classes,), mean activations, if there is y
    selectivity: float | None = None


def neuron(
    net: Network,
    layer: int,
    index: int,
    x: ArrayLike | None = None,
    y: ArrayLike | None = None,
    *,
    top: int = 16,
) -> Neuron:
    """A neuron of a dense layer: what it looks for, and what it does over rows x and labels y (B,).

    layer: its place in `net.layers`. top: how many examples. The preferred input lies between the
    least and the largest number of each column of x; without x within two deviations of its mean
    where columns are standardised, from 0 to 1 / input_scale where inputs are scaled, else from -1
    to 1; and no farther from the origin than a third of the diagonal of that box.
    Raises ValueError for a layer or neuron that there is not, TypeError for another kind of layer.
    """
    number, dense = dense_of(net, layer)
    chosen = index_of("index", index, dense.units)
    outgoing = None
    with suppress(ValueError):
        outgoing = outgoing_weights(net, number)[chosen].copy()
    rows = None if x is None else net.rows(x)
    known = Neuron(
        number,
        chosen,
        dense.weights[:, chosen].copy(),
        dense.biases[chosen].item(),
        outgoing,
        preferred(sums(net, number), chosen, rows),
    )
    if rows is None:
        if y is not None:
            raise ValueError("expected x with y, got none")
        return known
    h = net.activations(rows)[number + 1][:, chosen]
    examples = np.argsort(-h, kind="stable")[: count("top", top)]
    known = replace(known, activations=h, examples=examples)
    if y is None:
        return known
    means, selectivity = by_class(h, labels_of(y, len(h)))
    return replace(known, class_means=means, selectivity=selectivity)


def terms(net: Network, layer: int, index: int, x: ArrayLike) -> Array:
    """What each input of a neuron adds to its sum: x_i w_ij (B, inputs of the layer) of rows x.

    With the bias their sum is z, of which the activation is made.
    """
    number, dense = dense_of(net, layer)
    chosen = index_of("index", index, dense.units)
    found: Array = net.activations(x)[number] * dense.weights[:, chosen]
    return found


def labels_of(y: ArrayLike, rows: int) -> NDArray[np.int64]:
    """Labels (B,), checked."""
    labels = _arrays.real("y", y)
    if labels.shape != (rows,):
        raise ValueError(f"expected labels ({rows},) in y, got {labels.shape}")
    _arrays.check_labels("y", labels, 1 << 31)
    return labels.astype(np.int64)


def by_class(h: Array, labels: NDArray[np.int64]) -> tuple[NDArray[np.float64], float]:
    """Mean activations of the classes, NaN of those without rows, and η².

    η² = Σ_c n_c (mean_c - mean)² / Σ (h - mean)². Source: Fisher, Statistical methods for research
    workers (1925).
    """
    h = h.astype(np.float64)
    n = np.bincount(labels)
    means = np.bincount(labels, h) / np.where(n > 0, n, np.nan)
    total = ((h - h.mean()) ** 2).sum()
    between = np.nansum(n * (means - h.mean()) ** 2)
    return means, float(between / total) if total > 0 else 0.0


def preferred(f: Function, index: int, x: Array | None) -> NDArray[np.float64]:
    """An input (I,) that makes output `index` of f large, in the units of x, by gradient ascent."""
    low, high = (f.scaled(edge)[0] for edge in bounds(f, x))
    start = np.clip(0.0, low, high)
    reach = FAR * float(np.sqrt(((high - low) ** 2).sum()))
    ascent, h = f.of_scaled(), start
    d = np.zeros((1, f.program.outputs))
    d[0, index] = 1
    for step in range(STEPS):
        slope = ascent.gradient(h[None].astype(f.dtype), d)[0].astype(np.float64)
        slope[(slope < 0) & (h <= low) | (slope > 0) & (h >= high)] = 0
        steepness = float(np.sqrt((slope * slope).sum()))
        if steepness == 0:
            break
        h = np.clip(h + reach * (1 - step / STEPS) / 4 / steepness * slope, low, high)
        far = float(np.sqrt(((h - start) ** 2).sum()))
        h = start + (h - start) * min(1.0, reach / max(far, 1e-300))
    found: NDArray[np.float64] = f.in_units(h[None])[0]
    return found


def bounds(f: Function, x: Array | None) -> tuple[Array, Array]:
    """The least and the largest inputs (1, I) that are looked at."""
    if x is not None:
        return x.min(axis=0, keepdims=True), x.max(axis=0, keepdims=True)
    ones = np.ones((1, f.program.inputs))
    if f.program.factor is not None:
        return f.in_units(-2 * ones), f.in_units(2 * ones)
    return (-ones, ones) if f.program.input_scale == 1 else (0 * ones, f.in_units(ones))


def outgoing_weights(net: Network, layer: int) -> Array:
    """The weights (width, O) by which one dense layer reads a hidden layer, in the net's memory."""
    where = structure.place(net.program, layer)
    return views(net.program, net.program.parameters)[f"{where.read}.weights"]


@contextmanager
def lesion(net: Network, layer: int, neurons: ArrayLike) -> Iterator[Network]:
    """While it lasts, nobody hears some neurons of a hidden layer: as if each gave zero.

        with lesion(net, 0, [3, 7]):
            net.evaluate(x, y)

    neurons: one number, or an array of them. Their outgoing weights are zero until the end, then
    what they were before; do not train meanwhile. Raises ValueError for a layer that no single
    dense layer reads neuron by neuron, or a neuron that there is not, TypeError for another kind of
    layer than Dense.
    """
    number, dense = dense_of(net, layer)
    outgoing = outgoing_weights(net, number)
    silent = np.unique(np.atleast_1d(np.asarray(neurons, object)))
    chosen = [index_of("neurons", index, dense.units) for index in silent]
    kept = outgoing[chosen]
    outgoing[chosen] = 0
    try:
        yield net
    finally:
        outgoing[chosen] = kept


def importance(net: Network, layer: int, x: ArrayLike, y: ArrayLike) -> NDArray[np.float64]:
    """How much accuracy the network loses if one neuron of a hidden layer is silent: (width,).

    Over the rows x and y, for each neuron alone; negative where the network is better without it.
    Where y are numbers to be met, it is by how much the loss grows. Raises as `lesion`.
    """
    number, _ = dense_of(net, layer)
    where, f = structure.place(net.program, number), outputs(net)
    end = len(net.program.ops) - 1
    behind = structure.stretch(net.program, where.value, len(net.layers), end)
    behind = replace(behind, loss=net.program.loss)
    h = net.activations(x)[where.value]
    targets = _arrays.targets(y, len(h), net.outputs, net.loss, net.dtype)
    meaning = meaning_of(net.loss, targets)
    rows = Rows(h, targets, net.loss, net.dtype, meaning, net.output_center, net.output_scale)
    t = rows.targets(slice(None))

    def loss() -> float:
        """The share of wrong rows, or outputs, or the loss."""
        figures = rows.figures(*f.engine.evaluate(behind, h, t, f.threads), len(h))
        right = figures.get("accuracy", figures.get("binary_accuracy"))
        return figures["loss"] if right is None else 1 - right

    before, found = loss(), np.empty(h.shape[1])
    for k in range(len(found)):
        kept = h[:, k].copy()
        h[:, k] = 0
        found[k] = loss() - before
        h[:, k] = kept
    return found
