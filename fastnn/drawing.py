"""The picture of a network: circles lit by activation, edges coloured by weight times activation.

What stands where is decided here, in points from the upper left corner; `svg` writes it down, and
`plotting` hands it to matplotlib.
"""

from __future__ import annotations

import math
import struct
import zlib
from base64 import b64encode
from dataclasses import dataclass, field
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ._arrays import Array
from ._errors import printable
from .layers import Dense

if TYPE_CHECKING:
    from .network import Network

MOST = 16  # circles of a layer; of more the strongest are drawn
FAINTEST = 0.03  # of the strongest edge of its layer: weaker ones are left out
WIDTH, HEIGHT = 960.0, 600.0
TOP, BOTTOM = 40.0, 70.0  # above and below the circles
PICTURE = 196.0  # the side of the input's picture
LETTER = 8.2  # the width of a letter in the names

Colour = tuple[float, float, float]  # red, green, blue, 0 to 1


@dataclass(frozen=True)
class Theme:
    """The colours of a picture; red is for, blue against."""

    paper: Colour
    ink: Colour
    quiet: Colour
    lit: Colour
    positive: Colour
    negative: Colour
    chosen: Colour


DARK = Theme(
    paper=(0.055, 0.065, 0.09),
    ink=(0.93, 0.94, 0.96),
    quiet=(0.60, 0.64, 0.70),
    lit=(1.0, 1.0, 1.0),
    positive=(0.99, 0.42, 0.36),
    negative=(0.35, 0.68, 0.98),
    chosen=(1.0, 0.84, 0.30),
)
LIGHT = Theme(
    paper=(1.0, 1.0, 1.0),
    ink=(0.10, 0.11, 0.14),
    quiet=(0.40, 0.43, 0.48),
    lit=(0.15, 0.16, 0.19),
    positive=(0.80, 0.16, 0.16),
    negative=(0.13, 0.40, 0.74),
    chosen=(0.80, 0.52, 0.0),
)


@dataclass(frozen=True)
class Circle:
    """A neuron."""

    x: float
    y: float
    radius: float
    fill: Colour
    edge: Colour
    width: float = 1.0  # of its edge
    title: str = ""  # what a pointer over it is told


@dataclass(frozen=True)
class Edge:
    """A line between two neurons."""

    start: tuple[float, float]
    end: tuple[float, float]
    colour: Colour
    opacity: float
    width: float


@dataclass(frozen=True)
class Text:
    """A line of text; x is where it begins, or its middle or end by the anchor; y its base line."""

    x: float
    y: float
    text: str
    size: float
    colour: Colour
    anchor: str = "middle"  # start, middle, end
    bold: bool = False


@dataclass(frozen=True)
class Picture:
    """Pixels (h, w, 3), 0 to 1, on a square whose upper left corner is (x, y)."""

    x: float
    y: float
    side: float
    pixels: NDArray[np.float64]
    frame: Colour


@dataclass
class Drawing:
    """All that a picture is made of."""

    width: float
    height: float
    paper: Colour
    pictures: list[Picture] = field(default_factory=list)
    edges: list[Edge] = field(default_factory=list)
    circles: list[Circle] = field(default_factory=list)
    texts: list[Text] = field(default_factory=list)


@dataclass(eq=False)
class Column:
    """A layer that is drawn, and which of its neurons where."""

    h: Array  # (width,), its values; zeros without an input
    layer: int | None  # its place in `net.layers`; None for the inputs
    label: str
    shown: NDArray[np.int64] = field(default_factory=lambda: np.arange(0))
    x: float = 0.0
    y: Any = None  # (shown,)
    radius: float = 0.0


def is_picture(x: Array) -> bool:
    """Whether inputs (I,) are the pixels of a square picture of at least 8 x 8."""
    return x.size >= 64 and math.isqrt(x.size) ** 2 == x.size


def square(x: Array) -> Array:
    """Inputs (I,) as a square picture."""
    side = math.isqrt(x.size)
    return x.reshape(side, side)


def mixed(a: Colour, b: Colour, share: float) -> Colour:
    """From a (share 0) to b (share 1)."""
    red, green, blue = ((1 - share) * p + share * q for p, q in zip(a, b, strict=True))
    return red, green, blue


def network_drawing(net: Network, x: ArrayLike | None = None, dark: bool = True) -> Drawing:
    """The inputs and dense layers of a network as columns of circles, and the edges between them.

    x (I,) or (1, I): one input, by which circles are lit (white, or blue where they are negative)
    and edges coloured: red where weight times activation is positive, blue where it is negative.
    Without it edges show the weights. Of layers of more than 16 neurons those that send most are
    drawn, of the outputs the largest; an input that is a square picture stands beside it.
    """
    theme = DARK if dark else LIGHT
    values = None if x is None else [h[0] for h in net.activations(one_row(x, net.inputs))]
    columns, flows = columns_of(net, values)
    drawing = Drawing(WIDTH, HEIGHT, theme.paper)
    names = [short(name) for name in output_names(net)]
    features = [short(name) for name in net.features or ()]
    left = 70.0 + LETTER * max(map(len, features), default=0)
    right = 140.0 + LETTER * max(map(len, names))
    if values is not None and is_picture(values[0]):
        draw_picture(drawing, values[0], theme)
        left += PICTURE + 50
    for number, column in enumerate(columns):
        column.x = left + (WIDTH - left - right) * number / (len(columns) - 1)
        choose(column, flows[number] if number < len(flows) else None)
    for before, after, flow in zip(columns, columns[1:], flows, strict=False):
        if flow is not None:
            draw_edges(drawing, before, after, flow, theme)
    for column in columns:
        draw_column(drawing, column, values is not None, theme)
    draw_features(drawing, columns[0], features, theme)
    draw_outputs(drawing, net, columns[-1], names, values, theme)
    return drawing


def one_row(x: ArrayLike, width: int) -> Array:
    """One input (1, I) of (I,) or (1, I). Raises ValueError for several."""
    array = np.asarray(x)
    array = array[None] if array.shape == (width,) else array
    if array.ndim == 0 or len(array) != 1:
        raise ValueError(f"expected one input ({width},), got {array.shape}")
    return array


def columns_of(net: Network, values: list[Array] | None) -> tuple[list[Column], list[Array | None]]:
    """The columns, and between each two what goes along their edges (from, to)."""
    nothing = np.zeros(net.inputs) if values is None else values[0]
    columns, flows = [Column(nothing, None, f"{net.inputs:,} inputs")], []
    for k, layer in enumerate(net.layers):
        if not isinstance(layer, Dense):
            continue
        weights = layer.weights.astype(np.float64)
        source = np.ones(len(weights)) if values is None else values[k]
        whole = len(weights) == len(columns[-1].h)
        flows.append(source[:, None] * weights if whole else None)
        h = np.zeros(layer.units) if values is None else values[k + 1]
        columns.append(Column(h, k, f"{layer.units:,} {layer.label}"))
    return columns, flows


def choose(column: Column, flow: Array | None) -> None:
    """Which neurons are shown, and where they stand; those that send most, in their own order."""
    width = len(column.h)
    strength = np.abs(column.h) if flow is None else np.abs(flow).sum(axis=1)
    column.shown = np.sort(np.argsort(-strength, kind="stable")[:MOST])
    thinned = width > len(column.shown)
    slots = len(column.shown) + (1.4 if thinned else 0)
    space = min((HEIGHT - TOP - BOTTOM) / slots, 56.0)
    column.radius = 0.38 * space
    place = np.arange(len(column.shown)) + 0.5
    if thinned:
        place[(len(place) + 1) // 2 :] += 1.4
    column.y = TOP + (HEIGHT - TOP - BOTTOM - slots * space) / 2 + place * space


def draw_picture(drawing: Drawing, h: Array, theme: Theme) -> None:
    """The input, white on black as the network sees it."""
    grey = square(scaled(h.astype(np.float64)))
    dark, light = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    pixels = np.stack([a + (b - a) * grey for a, b in zip(dark, light, strict=True)], axis=2)
    y = (HEIGHT - BOTTOM + TOP - PICTURE) / 2
    drawing.pictures.append(Picture(36.0, y, PICTURE, pixels, theme.quiet))
    side = math.isqrt(h.size)
    label = f"{side} by {side} pixels"
    drawing.texts.append(Text(36 + PICTURE / 2, y + PICTURE + 24, label, 13, theme.quiet))


def scaled(h: Array) -> Array:
    """From 0 to 1: as it is if that is its range, else by its least and largest number."""
    low, high = min(0.0, float(h.min())), max(1.0 if h.max() > 0.2 else 1e-9, float(h.max()))
    found: Array = (h - low) / (high - low)
    return found


def draw_edges(drawing: Drawing, before: Column, after: Column, flow: Array, theme: Theme) -> None:
    """The edges between shown neurons, the strongest last."""
    part = flow[np.ix_(before.shown, after.shown)]
    most = float(np.abs(part).max()) or 1.0
    order = np.argsort(np.abs(part), axis=None)
    for i, j in zip(*np.unravel_index(order, part.shape), strict=True):
        share = float(part[i, j]) / most
        if abs(share) < FAINTEST:
            continue
        drawing.edges.append(
            Edge(
                (before.x, float(before.y[i])),
                (after.x, float(after.y[j])),
                theme.positive if share > 0 else theme.negative,
                opacity=0.08 + 0.9 * abs(share) ** 1.3,
                width=0.5 + 2.0 * abs(share),
            )
        )


def draw_column(drawing: Drawing, column: Column, lit: bool, theme: Theme) -> None:
    """The circles of a layer, the dots where some are left out, and its label."""
    h = column.h.astype(np.float64)
    most = max(float(np.abs(h).max()), 1.0 if h.min() >= 0 and h.max() <= 1 else 1e-9)
    for number, y in zip(column.shown.tolist(), column.y.tolist(), strict=True):
        share = h[number] / most
        light = theme.lit if share >= 0 else theme.negative
        fill = mixed(theme.paper, light, abs(share) ** 0.8)
        title = f"{number}: {h[number]:.4g}" if lit else f"{number}"
        drawing.circles.append(Circle(column.x, y, column.radius, fill, theme.quiet, title=title))
    if len(h) > len(column.shown):
        half = (len(column.y) + 1) // 2
        middle = (column.y[half - 1] + column.y[half]) / 2
        for step in (-1, 0, 1):
            drawing.circles.append(
                Circle(column.x, middle + 9 * step, 1.8, theme.quiet, theme.quiet)
            )
    y = HEIGHT - BOTTOM + 32
    drawing.texts.append(Text(column.x, y, column.label, 14, theme.ink))
    if len(h) > len(column.shown):
        label = f"the {len(column.shown)} strongest"
        drawing.texts.append(Text(column.x, y + 19, label, 12, theme.quiet))


def draw_features(drawing: Drawing, column: Column, names: list[str], theme: Theme) -> None:
    """The names of the inputs, if they have some."""
    x = column.x - column.radius - 12
    for number, y in zip(column.shown.tolist(), column.y.tolist(), strict=True):
        if names:
            drawing.texts.append(Text(x, y + 4.5, names[number], 13, theme.ink, "end"))


def draw_outputs(
    drawing: Drawing,
    net: Network,
    column: Column,
    names: list[str],
    values: list[Array] | None,
    theme: Theme,
) -> None:
    """The names of the outputs, their values, and a ring around the winner."""
    classes = net.activation.name in ("softmax", "sigmoid")
    winner = int(column.h.argmax()) if values is not None and classes and len(names) > 1 else None
    for number, y in zip(column.shown.tolist(), column.y.tolist(), strict=True):
        won = number == winner
        colour = theme.chosen if won else theme.ink if values is None else theme.quiet
        x, size = column.x + column.radius + 14, 16.0 if len(names[number]) < 3 else 14.0
        drawing.texts.append(Text(x, y + 5, names[number], size, colour, "start", won))
        if values is not None:
            h = float(column.h[number])
            said = f"{100 * h:.1f} %" if classes else f"{h:.4g}"
            drawing.texts.append(Text(WIDTH - 24, y + 5, said, 13, colour, "end", won))
        if won:
            drawing.circles.append(ring(column, y, theme))


def short(name: str) -> str:
    """A name in at most 18 letters."""
    text = printable(name)
    return text if len(text) <= 18 else f"{text[:17]}…"


def ring(column: Column, y: float, theme: Theme) -> Circle:
    """The lit circle of the winner, in the colour of what is chosen."""
    fill = mixed(theme.paper, theme.lit, float(column.h.max()) ** 0.8)
    return Circle(column.x, y, column.radius + 1, fill, theme.chosen, 2.5)


def output_names(net: Network) -> list[str]:
    """What to call each output."""
    if net.classes is not None:
        return [printable(str(name)) for name in net.classes][-net.outputs :]
    return [str(k) for k in range(net.outputs)] if net.outputs > 1 else [net.target or "output"]


# SVG.


def svg(drawing: Drawing) -> str:
    """The picture as SVG, on its own: nothing is loaded from elsewhere."""
    size = f'width="{drawing.width:g}" height="{drawing.height:g}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {drawing.width:g} '
        f'{drawing.height:g}" {size} style="max-width:100%;height:auto" role="img" '
        f'font-family="Helvetica Neue, Helvetica, Arial, sans-serif">',
        f'<rect {size} rx="10" fill="{hexadecimal(drawing.paper)}"/>',
    ]
    for p in drawing.pictures:
        square = f'x="{p.x:g}" y="{p.y:g}" width="{p.side:g}" height="{p.side:g}"'
        data = b64encode(png(p.pixels)).decode()
        parts.append(
            f'<image {square} style="image-rendering:pixelated" '
            f'href="data:image/png;base64,{data}"/>'
            f'<rect {square} fill="none" stroke="{hexadecimal(p.frame)}"/>'
        )
    for e in drawing.edges:
        (x1, y1), (x2, y2) = e.start, e.end
        parts.append(
            f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" '
            f'stroke="{hexadecimal(e.colour)}" stroke-opacity="{e.opacity:.2f}" '
            f'stroke-width="{e.width:.2f}"/>'
        )
    for c in drawing.circles:
        title = f"<title>{escape(c.title)}</title>" if c.title else ""
        parts.append(
            f'<circle cx="{c.x:.1f}" cy="{c.y:.1f}" r="{c.radius:.1f}" '
            f'fill="{hexadecimal(c.fill)}" stroke="{hexadecimal(c.edge)}" '
            f'stroke-width="{c.width:g}">{title}</circle>'
        )
    for t in drawing.texts:
        bold = ' font-weight="bold"' if t.bold else ""
        parts.append(
            f'<text x="{t.x:.1f}" y="{t.y:.1f}" font-size="{t.size:g}" text-anchor="{t.anchor}" '
            f'fill="{hexadecimal(t.colour)}"{bold}>{escape(t.text)}</text>'
        )
    return "\n".join([*parts, "</svg>"])


def hexadecimal(colour: Colour) -> str:
    """As in #ff8800."""
    return "#" + "".join(f"{round(255 * part):02x}" for part in colour)


def png(pixels: NDArray[np.float64]) -> bytes:
    """Pixels (h, w, 3), 0 to 1, as a PNG file."""
    height, width, _ = pixels.shape
    rows = np.zeros((height, 1 + 3 * width), np.uint8)  # each begins with its filter, none
    rows[:, 1:] = np.rint(255 * np.clip(pixels, 0, 1)).reshape(height, -1)
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(rows.tobytes(), 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )
