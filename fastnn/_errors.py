"""The errors that fastnn raises, and the checks of names and numbers that raise them."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable


class FormatError(ValueError):
    """A file that is truncated, altered, of another kind or of a newer version."""


class DivergenceError(ArithmeticError):
    """Training reached a loss or a weight that is not finite."""


def unknown(kind: str, name: object, valid: Iterable[str]) -> ValueError:
    """The error for an unknown name; it suggests the nearest valid one."""
    import difflib

    names = list(valid)
    near = difflib.get_close_matches(str(name).lower(), names, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    separator = "; " if near else " "
    return ValueError(f"unknown {kind} {name!r}{separator}{hint}(one of: {', '.join(names)})")


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
        kind = type(number).__name__
        raise TypeError(f"expected {name} to be a whole number, got {kind} {number!r}") from None
    if whole < 1:
        raise ValueError(f"expected {name} to be at least 1, got {whole}")
    return whole
