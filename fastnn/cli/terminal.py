"""Pictures of numbers in text: digits, bars, strips and tables, for terminals and for pipes.

A `Screen` knows what its output can show. Where that is no terminal there are no colour codes;
where it cannot encode block characters, ASCII stands in for them.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray

from ..drawing import is_picture, square

HEIGHTS = " ▁▂▃▄▅▆▇█"
WIDTHS = " ▏▎▍▌▋▊▉█"
SHADES = " ░▒▓█"
HALVES = "▀▄"
INK = " .:-=+*#%@"  # shades in ASCII
STEPS = " _.-=*#@"  # heights in ASCII
IN_ASCII = str.maketrans({"→": "->", "·": ".", "│": "|", "²": "^2", "…": "~"})
PIPE_WIDTH = 80
WIDEST = 100  # columns; longer lines are hard to read
NARROWEST = 60  # a terminal that has less wraps the lines, and nothing is lost
LARGE, SMALL = 32, 14  # columns of a picture at most
BAR = 20  # columns of a bar
NAME = 20  # columns of a name
BARS = 12  # bars, rows of a table or mistakes shown
FEW = 32  # neurons drawn as columns; more are drawn as strips
COLUMN_LINES = 4
STRIP, STRIP_LINES = 64, 8  # neurons a line, lines at most
RANGES = {"sigmoid": (0.0, 1.0), "softmax": (0.0, 1.0), "tanh": (-1.0, 1.0)}
COLOUR = re.compile(r"\x1b\[[0-9;]*m")

Array = NDArray[Any]


@dataclass(frozen=True)
class Screen:
    """What an output can show: block characters or only ASCII, colours or not, how many columns."""

    blocks: bool
    colours: bool
    width: int

    def text(self, line: str) -> str:
        """The line as the output can show it."""
        return line if self.blocks else line.translate(IN_ASCII)

    def bold(self, text: str) -> str:
        """Bold where there are colours."""
        return f"\x1b[1m{text}\x1b[0m" if self.colours else text

    def dim(self, text: str) -> str:
        """Faint where there are colours."""
        return f"\x1b[2m{text}\x1b[0m" if self.colours else text

    def red(self, text: str) -> str:
        """Red where there are colours."""
        return f"\x1b[31m{text}\x1b[0m" if self.colours else text

    def bar(self, fraction: float, width: int) -> str:
        """A bar (0 to 1) of up to `width` columns, filled up with blanks."""
        fraction = min(max(fraction, 0.0), 1.0)
        if not self.blocks:
            return ("#" * round(fraction * width)).ljust(width)
        full, rest = divmod(round(fraction * width * 8), 8)
        return ("█" * full + WIDTHS[rest].strip()).ljust(width)

    def strip(self, heights: Array) -> str:
        """One character for each height (0 to 1); what is above 0 shows."""
        marks = HEIGHTS if self.blocks else STEPS
        levels = np.ceil(np.clip(heights, 0, 1) * (len(marks) - 1)).astype(int)
        return "".join(marks[level] for level in levels)

    def columns(self, heights: Array, lines: int) -> list[str]:
        """A column for each height (0 to 1), two characters apart, over several lines."""
        rows = [self.strip(heights * lines - line) for line in reversed(range(lines))]
        return [" ".join(row) for row in rows]

    def picture(self, pixels: Array, columns: int = LARGE) -> list[str]:
        """A square picture (S, S) in about so many columns, two rows of pixels a line."""
        ink = _unit(_resized(pixels.astype(np.float64), columns))
        if len(ink) % 2:
            ink = np.vstack([ink, np.zeros_like(ink[:1])])
        return [self._two_rows(*rows) for rows in zip(ink[::2], ink[1::2], strict=True)]

    def _two_rows(self, top: Array, bottom: Array) -> str:
        pairs = list(zip(top.tolist(), bottom.tolist(), strict=True))
        if self.colours:
            codes = (f"\x1b[38;5;{_grey(t)};48;5;{_grey(b)}m{HALVES[0]}" for t, b in pairs)
            return "".join(codes) + "\x1b[0m"
        if self.blocks:
            return "".join(_half_blocks(t, b) for t, b in pairs)
        return "".join(INK[round((t + b) / 2 * (len(INK) - 1))] for t, b in pairs)


def screen(stream: TextIO) -> Screen:
    """What the stream can show; NO_COLOR and TERM=dumb are respected.

    A stream that offers nothing but `write` is plain text in ASCII.
    """
    encoding = getattr(stream, "encoding", None) or "ascii"
    try:
        "".join([HEIGHTS, WIDTHS, SHADES, HALVES, *map(chr, IN_ASCII)]).encode(encoding)
        blocks = True
    except (UnicodeEncodeError, LookupError):
        blocks = False
    try:
        terminal = stream.isatty() and os.environ.get("TERM") != "dumb"
    except (AttributeError, ValueError):  # no such method; closed
        terminal = False
    colours = blocks and terminal and not os.environ.get("NO_COLOR")
    width = shutil.get_terminal_size((PIPE_WIDTH, 24)).columns if terminal else PIPE_WIDTH
    return Screen(blocks, colours, min(max(width, NARROWEST), WIDEST))


def show(out: Screen, lines: Iterable[str]) -> None:
    """Print lines to stdout at once, as the output can show them."""
    for line in lines:
        print(out.text(line).rstrip())
    if hasattr(sys.stdout, "flush"):
        sys.stdout.flush()


def complain(text: str) -> None:
    """Say one line on stderr, if there is a stderr: never on stdout instead."""
    with contextlib.suppress(AttributeError, ValueError, OSError):
        sys.stderr.write(f"fastnn: {text}\n")


def cut(name: str, width: int) -> str:
    """The name in this many columns at most."""
    return name if len(name) <= width else f"{name[: width - 1]}…"


def _half_blocks(top: float, bottom: float) -> str:
    """The character nearest to two pixels, one above the other."""
    if abs(top - bottom) > 0.5:
        return HALVES[0] if top > bottom else HALVES[1]
    return SHADES[round((top + bottom) / 2 * (len(SHADES) - 1))]


def _grey(ink: float) -> int:
    """Of xterm's 256 colours, the one from 232 (nearly black) to 255 (nearly white)."""
    return 232 + round(ink * 23)


def _unit(values: Array) -> Array:
    """Values stretched to 0 ... 1; zero stays zero unless there are negative values."""
    low, high = min(float(values.min()), 0.0), max(float(values.max()), 0.0)
    unit: Array = (values - low) / ((high - low) or 1.0)
    return unit


def _resized(pixels: Array, side: int) -> Array:
    """Pixels (S, S) repeated, or averaged over squares, by a whole factor to about `side`."""
    size = len(pixels)
    if 2 * size <= side:
        return np.kron(pixels, np.ones((side // size, side // size)))
    factor = -(-size // side)
    blocks = -(-size // factor)
    padded = np.pad(pixels, (0, blocks * factor - size))
    means: Array = padded.reshape(blocks, factor, blocks, factor).mean((1, 3))
    return means


def shown_width(line: str) -> int:
    """Columns that the line takes: colour codes take none."""
    return len(COLOUR.sub("", line))


def beside(*blocks: Sequence[str], gap: int = 2) -> list[str]:
    """Blocks of lines set side by side."""
    widths = [max(map(shown_width, block), default=0) for block in blocks]
    lines = []
    for i in range(max(map(len, blocks))):
        cells = [block[i] if i < len(block) else "" for block in blocks]
        padded = (c + " " * (w - shown_width(c)) for c, w in zip(cells, widths, strict=True))
        lines.append((" " * gap).join(padded).rstrip())
    return lines


def table(rows: Sequence[Sequence[str]], gap: int = 2) -> list[str]:
    """Rows of cells, set to the right of columns as wide as their widest cell."""
    widths = [max(map(shown_width, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = (" " * (w - shown_width(c)) + c for c, w in zip(row, widths, strict=True))
        lines.append((" " * gap).join(cells).rstrip())
    return lines


def percent(fraction: float) -> str:
    """0.98765 as 98.77 %."""
    return f"{100 * fraction:.2f} %"


# ----------------------------------------------------------------------------- pictures of networks


def layer(out: Screen, title: str, h: Array, activation: str) -> list[str]:
    """What one layer h (O,) gave: columns for a few neurons, strips for many."""
    low, high = RANGES.get(activation, (min(0.0, float(h.min())), max(0.0, float(h.max()))))
    heights = (h - low) / ((high - low) or 1.0)
    firing = f", {np.count_nonzero(h)} fire" if activation == "relu" else ""
    what = f"{h.size} {activation} neurons" if activation else f"{h.size} values"
    lines = [
        f"{out.bold(title)}: {what}{firing}; "
        f"{h.min():.3g} to {h.max():.3g}, the largest is number {h.argmax()}"
    ]
    if h.size <= FEW:
        return lines + ["  " + line for line in out.columns(heights, COLUMN_LINES)]
    together = -(-h.size // (STRIP * STRIP_LINES))
    if together > 1:
        padded = np.pad(heights, (0, -h.size % together))
        heights = padded.reshape(-1, together).max(axis=1)
        lines.append(f"  each mark is the largest of {together} neighbours")
    strips = (out.strip(heights[i : i + STRIP]) for i in range(0, len(heights), STRIP))
    return lines + [f"  │{strip.ljust(min(STRIP, h.size))}│" for strip in strips]


def outputs(out: Screen, h: Array, probable: bool, names: Sequence[str]) -> list[str]:
    """A bar for each output (O,), or for the largest of many."""
    shown = np.arange(h.size) if h.size <= BARS else np.sort(np.argsort(-h, kind="stable")[:BARS])
    low = 0.0 if probable else min(0.0, float(h.min()))
    high = 1.0 if probable else max(float(h.max()), low + 1e-30)
    names = [cut(name, NAME) for name in names]
    width = max(len(names[k]) for k in shown)
    lines = []
    for k in shown:
        value = percent(h[k]) if probable else f"{h[k]:.4g}"
        line = f"{names[k]:>{width}} {out.bar((h[k] - low) / (high - low), BAR)} {value:>9}"
        lines.append(out.bold(line) if k == h.argmax() else line)
    return lines


def confusions(out: Screen, truth: Array, said: Array, names: Sequence[str]) -> list[str]:
    """How often each class was taken for each: a table, or a list of the most frequent mistakes."""
    counts = np.zeros((len(names), len(names)), np.int64)
    np.add.at(counts, (truth, said), 1)
    if len(names) > BARS:
        return _frequent(counts, names)
    room = out.width - len("  100.00 %")
    side = min(NAME, max(room - 5 * len(names), 6))
    heads = [cut(name, max((room - side) // len(names) - 2, 3)) for name in names]
    rows = [["", *heads, "right"]]
    for k, row in enumerate(counts):
        cells = [out.dim("·") if n == 0 else out.red(f"{n}") for n in row]
        cells[k] = out.bold(f"{row[k]}")
        share = percent(row[k] / row.sum()) if row.any() else ""
        rows.append([cut(names[k], side), *cells, share])
    return ["what it is (rows), what the network says (columns)", *table(rows, gap=2)]


def _frequent(counts: Array, names: Sequence[str]) -> list[str]:
    wrong = counts * (1 - np.eye(len(counts), dtype=np.int64))
    worst = np.argsort(-wrong, axis=None, kind="stable")[:BARS]
    pairs = [divmod(int(place), len(counts)) for place in worst if wrong.flat[place]]
    return ["the most frequent mistakes"] * bool(pairs) + [
        f"{wrong[a, b]:>6} times {names[a]} was taken for {names[b]}" for a, b in pairs
    ]


def mistakes(
    out: Screen,
    x: Array,
    truth: Array,
    said: Array,
    h: Array,
    worst: Array,
    names: Sequence[str],
) -> list[str]:
    """The worst mistakes: rows x[worst] whose own class was given the least probability h."""
    names = [cut(name, NAME) for name in names]
    pictures = is_picture(x[0])
    across = (out.width + 2) // (SMALL + 2)
    worst = worst[: 2 * across if pictures else BARS]
    title = f"the worst mistake{'s' * (len(worst) > 1)}"
    if not pictures:
        heads = ["row", "is", "says", "sure"]
        rows = [[str(i), names[truth[i]], names[said[i]], percent(h[i, said[i]])] for i in worst]
        return [title, *table([heads, *rows])]
    lines = [title]
    for start in range(0, len(worst), across):
        blocks = []
        for i in worst[start : start + across]:
            said_of_it = [f"is {names[truth[i]]}", f"says {names[said[i]]}"]
            if len(", ".join(said_of_it)) <= SMALL:
                said_of_it = [", ".join(said_of_it)]
            notes = [cut(note, SMALL).ljust(SMALL) for note in (f"row {i}", *said_of_it)]
            blocks.append([*out.picture(square(x[i]), SMALL), *notes])
        lines += ["", *beside(*blocks)]
    return lines
