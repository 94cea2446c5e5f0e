"""Pictures of networks and trainings with matplotlib, the `plot` extra.

Each function takes `ax=`, draws into it or a new figure, and returns an object with `.ax_` and
`.figure_`, as scikit-learn's displays are; none shows anything. Red is for, blue against.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import _arrays, drawing
from ._arrays import Array
from ._errors import unknown
from .drawing import Drawing
from .inspection import judgements
from .inspection._functions import dense_of, layer_of

if TYPE_CHECKING:
    from .network import Network
    from .range_test import RangeTest
    from .training import History

BLUE, RED, GREY, SLATE = "#2a6fb0", "#c8382f", "#6b7280", "#3d5168"
FOR_AND_AGAINST = "RdBu_r"
MOST = 64  # pictures of weights
TICKS = 200  # of a decision boundary, along each side


@dataclass(frozen=True, eq=False)
class Display:
    """What was drawn, and where."""

    figure_: Any
    ax_: Any


def _axes(ax: Any, width: float = 6.4, height: float = 4.0) -> Any:
    """The axes that were given, or those of a new figure of so many inches."""
    if ax is not None:
        return ax
    try:
        from matplotlib import pyplot
    except ImportError as error:
        raise ImportError(
            "expected matplotlib for pictures, got none: python -m pip install 'fastnn-cpu[plot]'"
        ) from error
    _, ax = pyplot.subplots(figsize=(width, height), layout="constrained")
    return ax


def plot_network(
    net: Network, x: ArrayLike | None = None, *, dark: bool = True, ax: Any = None
) -> Display:
    """The network as circles and edges; lit by one input x (I,) if there is one.

    See `drawing.network_drawing`, which says what is drawn; dark=False is for paper.
    """
    found = drawing.network_drawing(net, x, dark)
    new = ax is None
    ax = _axes(ax, found.width / 72, found.height / 72)
    if new:  # the picture is the figure
        ax.figure.set_layout_engine("none")
        ax.set_position((0, 0, 1, 1))
    _draw(found, ax)
    return Display(ax.figure, ax)


def _draw(found: Drawing, ax: Any) -> None:
    """A drawing into axes, whose unit becomes the drawing's."""
    from matplotlib.collections import LineCollection, PatchCollection
    from matplotlib.patches import Circle, Rectangle

    ax.set(xlim=(0, found.width), ylim=(found.height, 0), aspect="equal", xticks=[], yticks=[])
    ax.set_facecolor(found.paper)
    ax.spines[:].set_visible(False)
    ax.set_anchor("C")
    ax.figure.draw_without_rendering()
    unit = ax.get_window_extent().width / found.width * 72 / ax.figure.dpi  # points
    for p in found.pictures:
        extent = (p.x, p.x + p.side, p.y + p.side, p.y)
        ax.imshow(p.pixels, extent=extent, interpolation="nearest", zorder=1)
        ax.add_patch(Rectangle((p.x, p.y), p.side, p.side, fill=False, edgecolor=p.frame))
    ax.set(xlim=(0, found.width), ylim=(found.height, 0))
    colours = [(*e.colour, e.opacity) for e in found.edges]
    widths = [unit * e.width for e in found.edges]
    lines = [(e.start, e.end) for e in found.edges]
    ax.add_collection(LineCollection(lines, colors=colours, linewidths=widths, zorder=2))
    circles = [Circle((c.x, c.y), c.radius) for c in found.circles]
    fills, edges = [c.fill for c in found.circles], [c.edge for c in found.circles]
    widths = [unit * c.width for c in found.circles]
    shapes = PatchCollection(circles, facecolors=fills, edgecolors=edges, linewidths=widths)
    ax.add_collection(shapes)
    shapes.set_zorder(3)
    sides = {"start": "left", "middle": "center", "end": "right"}
    for t in found.texts:
        options = {"fontweight": "bold" if t.bold else "normal", "fontsize": unit * t.size}
        ax.text(t.x, t.y, t.text, color=t.colour, ha=sides[t.anchor], **options)


def plot_weights(net: Network, layer: int = 0, *, ax: Any = None) -> Display:
    """What each of a dense layer's neurons looks for, as pictures: its incoming weights.

    At most 64 neurons, in rows; red weights are positive, blue ones negative, each picture in its
    own scale. Where the inputs of the layer are no square picture, each neuron is a row of a table.
    Raises ValueError for a layer that there is not, TypeError for another kind than Dense.
    """
    number, dense = dense_of(net, layer)
    weights = dense.weights.T[:MOST].astype(np.float64)
    if drawing.is_picture(weights[0]):
        weights = weights / np.maximum(np.abs(weights).max(axis=1, keepdims=True), 1e-300)
        table = tiled([drawing.square(w) for w in weights])
    else:
        table = weights
    height, width = table.shape
    ax = _axes(ax, 6.4, min(9.0, max(1.6, 6.4 * height / width)))
    most = float(np.nanmax(np.abs(table))) or 1.0
    ax.imshow(table, cmap=FOR_AND_AGAINST, vmin=-most, vmax=most, interpolation="nearest")
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_visible(False)
    some = f"{len(weights)} of {dense.units:,}" if len(weights) < dense.units else f"{dense.units}"
    ax.set_title(f"weights of layer {number + 1}: {some} neurons", fontsize="medium")
    return Display(ax.figure, ax)


def tiled(pictures: list[Array]) -> NDArray[np.float64]:
    """Pictures (h, w) side by side in rows, NaN between them."""
    across = max(1, round(np.ceil(np.sqrt(len(pictures) * 4))))
    h, w = pictures[0].shape
    table = np.full((-(-len(pictures) // across) * (h + 2) - 2, across * (w + 2) - 2), np.nan)
    for k, picture in enumerate(pictures):
        row, column = divmod(k, across)
        y, x = row * (h + 2), column * (w + 2)
        table[y : y + h, x : x + w] = picture
    return table


def plot_activations(net: Network, x: ArrayLike, *, ax: Any = None) -> Display:
    """What each layer makes of one input x (I,): bars, or a picture of the input if it is one.

    Layers that pass on what they get, such as dropout, are left out.
    """
    values = [h[0].astype(np.float64) for h in net.activations(drawing.one_row(x, net.inputs))]
    shown = [("input", values[0])]
    for k, layer in enumerate(net.layers):
        if layer.size:
            shown.append((f"layer {k + 1}: {len(values[k + 1]):,} {layer.label}", values[k + 1]))
    ax = _axes(ax, 7.0, 1.5 * len(shown) + 0.4)
    ax.set_axis_off()
    gap = 0.35 / len(shown)
    height = (1 - gap * (len(shown) - 1)) / len(shown)
    for row, (title, h) in enumerate(shown):
        inset = ax.inset_axes((0, 1 - height - row * (height + gap), 1, height))
        inset.set_title(title, fontsize="small", loc="left", color=GREY)
        inset.tick_params(labelsize="x-small", colors=GREY)
        if row == 0 and drawing.is_picture(h):
            inset.imshow(drawing.square(h), cmap="gray", interpolation="nearest")
            inset.set(xticks=[], yticks=[], anchor="W")
            continue
        inset.bar(np.arange(len(h)), h, 0.8, color=SLATE)
        inset.axhline(0, color=GREY, linewidth=0.6)
        inset.spines[["top", "right", "bottom"]].set_visible(False)
        inset.set_xlim(-0.8, len(h) - 0.2)
        if row == len(shown) - 1 and len(h) <= 20:
            inset.set_xticks(np.arange(len(h)), drawing.output_names(net))
        elif len(h) > 20:
            inset.set_xticks([])
        else:
            inset.set_xticks(np.arange(len(h)))
    return Display(ax.figure, ax)


def plot_attributions(
    attributions: ArrayLike,
    x: ArrayLike,
    *,
    names: list[str] | tuple[str, ...] | None = None,
    most: int = 20,
    ax: Any = None,
) -> Display:
    """Which features of one input x (I,) speak for (red) and against (blue): attributions (I,).

    Over the picture, where x is a square one, darker where there is ink; else as bars, the `most`
    strongest, with names (I,) of the features.
    """
    shares = _arrays.real("attributions", attributions).astype(np.float64).reshape(-1)
    values = _arrays.real("x", x).astype(np.float64).reshape(-1)
    if shares.shape != values.shape:
        raise ValueError(f"expected attributions of shape {values.shape}, got {shares.shape}")
    if drawing.is_picture(values):
        ax = _axes(ax, 4.0, 4.0)
        return _over_picture(drawing.square(shares), drawing.square(values), ax)
    order = np.argsort(-np.abs(shares), kind="stable")[:most][::-1]
    ax = _axes(ax, 6.4, 0.9 + 0.28 * len(order))
    labels = [f"{names[k] if names else f'feature {k}'} = {values[k]:.4g}" for k in order]
    ax.barh(np.arange(len(order)), shares[order], color=np.where(shares[order] >= 0, RED, BLUE))
    ax.set_yticks(np.arange(len(order)), labels)
    ax.axvline(0, color=GREY, linewidth=0.8)
    ax.spines[["top", "right", "left"]].set_visible(False)
    ax.set_xlabel("against   ←   share of the score   →   for")
    return Display(ax.figure, ax)


def _over_picture(shares: Array, values: Array, ax: Any) -> Display:
    """Attributions in colour over a light picture of the ink."""
    most = float(np.abs(shares).max()) or 1.0
    ink = drawing.scaled(values)
    ax.imshow(1 - 0.28 * ink, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    strength = np.clip(np.abs(shares) / most, 0, 1) ** 0.7
    options = {"vmin": -most, "vmax": most, "alpha": strength, "interpolation": "nearest"}
    ax.imshow(np.sign(shares) * most * 0.85, cmap=FOR_AND_AGAINST, **options)
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_color("#d0d4da")
    return Display(ax.figure, ax)


def plot_history(history: History, name: str = "loss", *, ax: Any = None) -> Display:
    """A training curve: a figure of each epoch, and the one of the validation rows if there is.

    Raises ValueError for a name that the history does not have.
    """
    found = history.history
    if name not in found and f"val_{name}" not in found:
        raise unknown("figure", name, sorted({key.removeprefix("val_") for key in found}))
    ax = _axes(ax)
    rows = (("", "training", BLUE, "-"), ("val_", "validation", RED, "--"))
    for prefix, label, colour, style in rows:
        y = found.get(f"{prefix}{name}")
        if y:
            marker = "o" if len(y) <= 30 else None
            line = {"color": colour, "linestyle": style, "marker": marker, "markersize": 3}
            ax.plot(np.arange(1, len(y) + 1), y, label=label, **line)
    ax.set(xlabel="epoch", ylabel=name.replace("_", " "))
    ax.xaxis.get_major_locator().set_params(integer=True)
    _clean(ax)
    ax.legend(frameon=False)
    return Display(ax.figure, ax)


def plot_learning_rate(found: RangeTest, *, ax: Any = None) -> Display:
    """The range test of `find_learning_rate`: loss by learning rate, and the suggestion."""
    ax = _axes(ax)
    ax.plot(found.rates, found.losses, color="#b9c4d0", linewidth=0.8, label="of a batch")
    ax.plot(found.rates, found.smoothed, color=BLUE, linewidth=2, label="running mean")
    label = f"suggestion, {found.suggestion:.2g}"
    ax.axvline(found.suggestion, color=RED, linestyle="--", label=label)
    low, high = found.smoothed.min(), found.smoothed[: max(2, len(found.smoothed) // 4)].max()
    ax.set(xscale="log", xlabel="learning rate", ylabel="loss")
    ax.set_ylim(low - 0.15 * (high - low or 1), high + 0.6 * (high - low or 1))
    _clean(ax)
    ax.legend(frameon=False)
    return Display(ax.figure, ax)


def _clean(ax: Any) -> None:
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(alpha=0.25)


def plot_decision_boundary(
    net: Network,
    x: ArrayLike,
    y: ArrayLike | None = None,
    *,
    features: tuple[int, int] = (0, 1),
    ax: Any = None,
) -> Display:
    """What the network decides over two of its features, the others at the medians of x (B, I).

    Colours are those of the classes, mixed by their probabilities; the rows x are drawn as points,
    coloured by the labels y (B,) if there are some. Raises ValueError for features that there are
    not, and where the outputs are no classes.
    """
    rows = net.rows(x)
    a, b = features
    for feature in features:
        if not 0 <= feature < net.inputs:
            raise ValueError(f"expected features below {net.inputs}, got {feature}")
    net.classify(rows[:1])  # refuses outputs that are no classes
    sides = [np.linspace(*_margins(rows[:, k].astype(np.float64)), TICKS) for k in (a, b)]
    grid = np.tile(np.median(rows, axis=0).astype(net.dtype), (TICKS * TICKS, 1))
    grid[:, a], grid[:, b] = (side.reshape(-1) for side in np.meshgrid(*sides))
    p = net.predict(grid).astype(np.float64)
    p = np.concatenate([1 - p, p], axis=1) if net.outputs == 1 else p
    p = np.clip(p, 0, None) / np.maximum(np.clip(p, 0, None).sum(axis=1, keepdims=True), 1e-300)
    ax = _axes(ax, 5.6, 4.8)
    colours = class_colours(p.shape[1])
    field = (p @ (0.45 * colours + 0.55)).reshape(TICKS, TICKS, 3)
    extent = (*sides[0][[0, -1]], *sides[1][[0, -1]])
    ax.imshow(field, extent=extent, origin="lower", aspect="auto", interpolation="bilinear")
    for k in range(p.shape[1]):
        ahead = (p[:, k] - np.delete(p, k, axis=1).max(axis=1)).reshape(TICKS, TICKS)
        if ahead.min() < 0 < ahead.max():
            ax.contour(*sides, ahead, levels=[0.0], colors="white", linewidths=1.2)
    names = net.classes or tuple(range(p.shape[1]))
    labels = None if y is None else np.asarray(y)
    for k in range(p.shape[1] if labels is not None else 0):
        mine = rows[labels == k]
        points = {"color": colours[k], "edgecolors": "white", "linewidths": 0.6}
        ax.scatter(mine[:, a], mine[:, b], 20, label=str(names[k]), **points)
    if labels is None:
        ax.scatter(rows[:, a], rows[:, b], 12, color=GREY, edgecolors="white", linewidths=0.6)
    else:
        ax.legend(frameon=True, framealpha=0.85, edgecolor="none")
    known = net.features or tuple(f"feature {k}" for k in range(net.inputs))
    ax.set(xlabel=known[a], ylabel=known[b], xlim=extent[:2], ylim=extent[2:])
    return Display(ax.figure, ax)


def _margins(column: NDArray[np.float64]) -> tuple[float, float]:
    """The range of a column and a tenth more on each side."""
    low, high = float(column.min()), float(column.max())
    more = 0.1 * (high - low) or 1.0
    return low - more, high + more


def class_colours(classes: int) -> NDArray[np.float64]:
    """A colour (classes, 3) for each class."""
    from matplotlib import colormaps

    few = colormaps["tab10" if classes <= 10 else "tab20"]
    return np.array([few(k % few.N)[:3] for k in range(classes)])


# What scikit-learn has a display for.


def plot_confusion(net: Network, x: ArrayLike, y: ArrayLike, *, ax: Any = None) -> Any:
    """The confusions over rows x and labels y (B,): scikit-learn's ConfusionMatrixDisplay."""
    found = judgements.confusion(net, x, y)
    names = [str(name) for name in net.classes or range(len(found.counts))]
    display = _scikit_learn("metrics").ConfusionMatrixDisplay(found.counts, display_labels=names)
    ax = _axes(ax, 5.6, 5.0)
    return display.plot(ax=ax, cmap="Blues", colorbar=False)


def plot_calibration(net: Network, x: ArrayLike, y: ArrayLike, *, ax: Any = None) -> Any:
    """How often the network is right by how certain it is: scikit-learn's CalibrationDisplay."""
    found = judgements.calibration(net, x, y)
    some = found.rows > 0
    curves = found.accuracy[some], found.certainty[some]
    display = _scikit_learn("calibration").CalibrationDisplay(*curves, found.certainty[some])
    ax = _axes(ax, 4.6, 4.4)
    display.plot(ax=ax, name=f"error {100 * found.error:.1f} %", color=BLUE)
    ax.set(xlabel="certainty", ylabel="share of right rows")
    return display


def _scikit_learn(module: str) -> Any:
    """A module of scikit-learn, whose displays these are."""
    try:
        return import_module(f"sklearn.{module}")
    except ImportError as error:
        raise ImportError(
            "expected scikit-learn for this display, got none: python -m pip install scikit-learn"
        ) from error


def plot_separability(
    net: Network, x: ArrayLike, y: ArrayLike, layer: int | None = None, *, ax: Any = None
) -> Display:
    """Rows x on the two axes of most variance of a layer's values, coloured by labels y (B,).

    layer: its place in `net.layers`, one with weights; by default the last hidden one, or the
    inputs if there is none. Raises ValueError for another.
    """
    found = judgements.separability(net, x, y)
    places = [one.layer for one in found]
    wanted = places[-2] if layer is None else layer_of(net, layer)
    if wanted not in places:
        raise ValueError(f"expected a layer with weights ({places[1:]}), got {layer}")
    shown = found[places.index(wanted)]
    ax = _axes(ax, 5.2, 4.8)
    labels = np.asarray(y)
    colours = class_colours(int(labels.max()) + 1)
    names = net.classes or range(len(colours))
    for k in np.unique(labels):
        mine = shown.projection[labels == k]
        ax.scatter(*mine.T, 7, color=colours[k], alpha=0.7, linewidths=0, label=str(names[k]))
    where = "inputs" if wanted is None else f"layer {wanted + 1}"
    ax.set_title(f"{where}: a linear probe gets {100 * shown.accuracy:.1f} %", fontsize="medium")
    ax.set(xticks=[], yticks=[])
    ax.legend(frameon=True, framealpha=0.85, edgecolor="none", fontsize="small")
    return Display(ax.figure, ax)
