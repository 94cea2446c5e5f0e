"""The errors that fastnn raises, and the checks of names and numbers that raise them."""

from __future__ import annotations

import math
import numbers
import operator
import os
from collections.abc import Iterable
from typing import Any

import numpy as np

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


def number(name: str, value: float) -> float:
    """The value as a float. Raises TypeError for another type, ValueError beyond float64."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(
            f"expected {name} to be a number, got {type(value).__name__} {shown(value)}"
        )
    try:
        return float(value)
    except OverflowError:
        raise ValueError(f"expected {name} within float64, got {shown(value)}") from None


def positive(name: str, value: float) -> float:
    """The value as a float. Raises ValueError unless it is finite and positive."""
    result = number(name, value)
    if not (math.isfinite(result) and result > 0):
        raise ValueError(f"expected a positive {name}, got {value}")
    return result


@np.errstate(over="ignore", under="ignore")
def held(name: str, value: float, dtype: np.dtype[Any]) -> float:
    """The value as a float. Raises ValueError unless it is positive and finite in this dtype."""
    result = positive(name, value)
    if not 0 < dtype.type(result) < np.inf:
        article = "an" if name[0] in "aeio" else "a"
        raise ValueError(f"expected {article} {name} that {dtype} can hold, got {value}")
    return result


def not_negative(name: str, value: float) -> float:
    """The value as a float. Raises ValueError unless it is finite and at least 0."""
    result = number(name, value)
    if not 0 <= result < math.inf:
        raise ValueError(f"expected {name} of at least 0, got {value}")
    return result


def fraction(name: str, value: float) -> float:
    """The value as a float. Raises ValueError unless it lies in [0, 1)."""
    result = number(name, value)
    if not 0 <= result < 1:
        raise ValueError(f"expected {name} in [0, 1), got {value}")
    return result


def whole(name: str, value: int) -> int:
    """The value as an int. Raises TypeError for another type."""
    if not isinstance(value, bool):
        try:
            return operator.index(value)
        except TypeError:
            pass
    found = f"{type(value).__name__} {shown(value)}"
    raise TypeError(f"expected {name} to be a whole number, got {found}")


def count(name: str, value: int, end: int = 1 << 63) -> int:
    """The value as an int from 1 to end - 1. Raises TypeError for another type, else ValueError."""
    result = whole(name, value)
    if result < 1:
        raise ValueError(f"expected {name} to be at least 1, got {shown(result)}")
    if result >= end:
        raise ValueError(f"expected {name} below 2^{end.bit_length() - 1}, got {shown(result)}")
    return result


def flag(name: str, value: bool) -> bool:
    """The value as a bool. Raises TypeError for anything else, "no" and None included."""
    if not isinstance(value, (bool, np.bool_)):
        found = f"{type(value).__name__} {shown(value)}"
        raise TypeError(f"expected {name} to be True or False, got {found}")
    return bool(value)


def file_name(path: object) -> str:
    """The path of a file as text. Raises TypeError for a descriptor and whatever else is none."""
    name = os.fspath(path) if isinstance(path, (str, os.PathLike)) else None
    if not isinstance(name, str):
        found = f"{type(path).__name__} {shown(path)}"
        raise TypeError(f"expected a path as str or os.PathLike, got {found}")
    return name
