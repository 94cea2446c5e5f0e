"""The command line: a thin shell over the library.

Results go to stdout, errors to stderr, one line each. Exit codes: 0 done, 1 failed, 2 wrong usage,
130 stopped by Ctrl-C, 141 the reader of the output went away.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, Sequence

from .._errors import DivergenceError, printable
from .arguments import parse
from .terminal import complain, screen


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    with _streams():
        try:
            chosen = parse(sys.argv[1:] if arguments is None else list(arguments))
            chosen.run(chosen, screen(sys.stdout))
            _flush()
            return 0
        except KeyboardInterrupt as stop:
            complain(f"stopped by Ctrl-C{stop}")
            return 130
        except BrokenPipeError:
            _forget_output()
            return 141
        except (ValueError, TypeError, OSError, ImportError, MemoryError, DivergenceError) as error:
            complain(f"error: {_one_line(error)}")
            _forget_output()
            return 1


@contextlib.contextmanager
def _streams() -> Iterator[None]:
    """Streams that can be written to: what goes to one that the caller closed is dropped."""
    with contextlib.ExitStack() as stack:
        for name, redirect in (
            ("stdout", contextlib.redirect_stdout),
            ("stderr", contextlib.redirect_stderr),
        ):
            stream = getattr(sys, name)
            if stream is None or getattr(stream, "closed", False):
                nowhere = stack.enter_context(open(os.devnull, "w", encoding="utf-8"))
                stack.enter_context(redirect(nowhere))
        if hasattr(sys.stdout, "reconfigure"):
            sys.stdout.reconfigure(errors="backslashreplace")
        yield


def _one_line(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return printable(f"{error.filename or 'output'}: {error.strerror.lower()}")
    return printable(" ".join(str(error).split())) or type(error).__name__


def _flush() -> None:
    if hasattr(sys.stdout, "flush"):
        sys.stdout.flush()


def _forget_output() -> None:
    """Where stdout cannot be written, write nothing more, not even what waits in its buffer."""
    try:
        _flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
