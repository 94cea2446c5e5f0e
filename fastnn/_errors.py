"""The errors that fastnn raises, and the one sentence for a name that nobody knows."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class FormatError(ValueError):
    """A file that is truncated, altered, of another kind or of a newer version."""


class DivergenceError(ArithmeticError):
    """Training reached a loss or a weight that is not finite."""


def unknown(kind: str, name: object, valid: Iterable[str]) -> ValueError:
    """The error for an unknown name; it suggests the nearest valid one."""
    names = list(valid)
    near = difflib.get_close_matches(str(name).lower(), names, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    separator = "; " if near else " "
    return ValueError(f"unknown {kind} {name!r}{separator}{hint}(one of: {', '.join(names)})")
