"""The errors that fastnn raises, and the checks of names and numbers that raise them."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable

SHOWN = 80  # characters of a value in a message


class FormatError(ValueError):
    """A file that is truncated, altered, of another kind or of a newer version."""


class DivergenceError(ArithmeticError):
    """Training reached a loss or a weight that is not finite."""


def printable(text: str) -> str:
    """The text in one line, its control characters escaped: it cannot command a terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def shown(value: object) -> str:
    """The repr of what a file or a caller holds, for a message: printable and at most 80 long."""
    if isinstance(value, (str, bytes)):
        value = value[: SHOWN + 1]
    try:
        text = printable(repr(value)[: SHOWN + 1])
    except (ValueError, RecursionError):  # an int of 10,000 digits; lists nested as deeply
        text = f"<{type(value).__name__}>"
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 3]}..."


def reason(error: Exception) -> str:
    """What another library says, for a message: one printable line, not much longer than SHOWN."""
    text = printable(" ".join(str(error).split())) or type(error).__name__
    return text if len(text) <= 2 * SHOWN else f"{text[: 2 * SHOWN - 3]}..."


def unknown(kind: str, name: object, valid: Iterable[str]) -> ValueError:
    """The error for an unknown name; it suggests the nearest valid one."""
    import difflib

    names, found = list(valid), shown(name)
    near = difflib.get_close_matches(found.strip("'").lower(), names, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    separator = "; " if near else " "
    return ValueError(f"unknown {kind} {found}{separator}{hint}(one of: {', '.join(names)})")


def positive(name: str, number: float) -> float:
    """The number as a float. Raises ValueError unless it is finite and positive."""
    if not (math.isfinite(number) and number > 0):
        raise ValueError(f"expected a positive {name}, got {number}")
    return float(number)


def count(name: str, number: int) -> int:
    """The number as an int. Raises TypeError for another type, ValueError below 1."""
    try:
        whole = operator.index(number)
    except TypeError:
        found = f"{type(number).__name__} {shown(number)}"
        raise TypeError(f"expected {name} to be a whole number, got {found}") from None
    if whole < 1:
        raise ValueError(f"expected {name} to be at least 1, got {shown(whole)}")
    return whole
