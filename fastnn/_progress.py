"""Progress for a person: a bar in a terminal, the notebook's in a notebook, a line elsewhere.

A bar in motion fits its terminal; what stays is whole, and a narrow terminal wraps it. Where
stderr cannot be written to nothing is shown, and the work goes on.
"""

from __future__ import annotations

import os
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Self

COLUMNS = 80  # of a terminal that does not say
BAR, SHORTEST_BAR = 20, 5  # columns of the bar itself
PAUSE = 0.1  # seconds between two pictures of a bar in motion


@dataclass(frozen=True)
class Unit:
    """What is counted: its name, and how many make one of it."""

    name: str
    size: int = 1


class Progress:
    """No progress shown; the others show it. total: how much there is to do, None if unknown.

    A text is anything that has one: it is asked for only where it is shown.
    """

    def __init__(self, title: str, total: int | None, unit: Unit) -> None:
        self.title, self.total, self.unit = title, total, unit
        self.start = time.perf_counter()
        self.done, self.seconds = 0, 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def advance(self, amount: int, text: object) -> None:
        """So much more is done; a text on how it goes."""
        self.done += amount
        self.seconds = time.perf_counter() - self.start
        self.show(text)

    def with_speed(self, text: object) -> str:
        """The text, and what was done in a second up to the latest advance."""
        speed = self.done / self.unit.size / max(self.seconds, 1e-9)
        return ", ".join(filter(None, [str(text), f"{speed:,.0f} {self.unit.name}/s"]))

    def show(self, text: object) -> None:
        """Show that it goes on."""

    def finish(self, text: object) -> None:
        """Show what stays: a text on how it went."""

    def close(self) -> None:
        """Leave stderr in order."""


class Lines(Progress):
    """One line at the end."""

    def finish(self, text: object) -> None:
        """Write it."""
        write(f"{self.title}: {self.with_speed(text)}\n")


class Bar(Progress):
    """A line that is drawn again and again, and a whole one at the end."""

    def __init__(self, title: str, total: int | None, unit: Unit) -> None:
        super().__init__(title, total, unit)
        self.drawn = 0  # columns
        self.due = 0.0  # seconds

    def show(self, text: object) -> None:
        """Draw it, unless it was drawn just now."""
        if self.seconds >= self.due or self.done == self.total:
            self.due = self.seconds + PAUSE
            share = min(1.0, self.done / self.total) if self.total else None
            self.draw(fitted(self.title, share, self.with_speed(text), columns() - 1))

    def draw(self, line: str) -> None:
        """Put a line in the place of the one before."""
        write(f"\r{line.ljust(self.drawn)}" if line or self.drawn else "")
        self.drawn = len(line)

    def finish(self, text: object) -> None:
        """The whole line, at any length: nothing will be drawn over it."""
        self.draw("")
        write(f"\r{self.title}: {self.with_speed(text)}\n")

    def close(self) -> None:
        """Begin a new line if a bar was left in motion."""
        if self.drawn:
            write("\n")


class Notebook(Progress):
    """The bar of tqdm for notebooks, which shows the speed itself."""

    def __init__(self, title: str, total: int | None, unit: Unit, bar: Any) -> None:
        super().__init__(title, total, unit)
        scale = unit.size != 1 and 1 / unit.size
        self.bar = bar(total=total, desc=title, unit=f" {unit.name}", unit_scale=scale)

    def advance(self, amount: int, text: object) -> None:
        """Move the bar, and set the text beside it."""
        self.bar.set_postfix_str(str(text), refresh=False)
        self.bar.update(amount)

    def finish(self, text: object) -> None:
        """Set the final text."""
        self.bar.set_postfix_str(str(text))

    def close(self) -> None:
        """Leave the bar where it is."""
        self.bar.close()


def fitted(title: str, share: float | None, text: str, width: int) -> str:
    """As much of title, share, bar and text as one line holds; of the text, whole parts."""
    head = title if share is None else f"{title} {100 * share:3.0f}%"
    room = min(BAR, width - len(f"{head} || {text}"))
    if share is not None and room >= SHORTEST_BAR:
        full = round(share * room) * mark()
        return f"{head} |{full:{room}}| {text}"
    parts = text.split(", ")
    while parts and len(head) + 1 + len(", ".join(parts)) > width:
        parts.pop()
    return f"{head} {', '.join(parts)}"[: max(0, width)].rstrip()


def mark() -> str:
    """A full column of a bar, as stderr can show it."""
    with suppress(Exception):
        "█".encode(sys.stderr.encoding)
        return "█"
    return "#"


def columns() -> int:
    """How many columns stderr's terminal has."""
    with suppress(Exception):
        return os.get_terminal_size(sys.stderr.fileno()).columns or COLUMNS
    return COLUMNS


def is_terminal() -> bool:
    """Whether stderr is one."""
    with suppress(Exception):
        return bool(sys.stderr.isatty())
    return False


def write(text: str) -> None:
    """Write to stderr, if that can be: it may be None, closed, full, or anything with a `write`."""
    with suppress(Exception):
        sys.stderr.write(text)
        sys.stderr.flush()


def notebook_bar() -> Any:
    """The bar of tqdm for notebooks; None where there is no notebook, or none that can show it."""
    if "ipykernel" not in sys.modules:
        return None
    import warnings

    with warnings.catch_warnings():  # that ipywidgets are missing
        warnings.simplefilter("ignore")
        from tqdm.auto import tqdm
    return tqdm if any(base.__module__ == "tqdm.notebook" for base in tqdm.__mro__) else None


def chosen(title: str, total: int | None, unit: Unit) -> Progress:
    """A bar in a notebook or a terminal, lines elsewhere."""
    bar = notebook_bar()
    if bar is not None:
        return Notebook(title, total, unit, bar)
    return (Bar if is_terminal() else Lines)(title, total, unit)


def progress(title: str, total: int | None, unit: Unit, shown: bool = True) -> Progress:
    """Something that shows how far the work in its `with` block has come, or nothing."""
    return (chosen if shown else Progress)(title, total, unit)
