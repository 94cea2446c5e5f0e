"""`python -m fastnn`, and the command `fastnn`: the command line as a process of its own.

Ctrl-C is heard from the first line on, so next to nothing is imported before. It ends the process
with 130 and one line, always: at once while nothing but imports has been done, later by a
KeyboardInterrupt, so that a training is saved and a half-written file removed.
"""

import os
import sys
import time

APART = 1.0  # seconds; more of Ctrl-C within them is the same wish, and must not stop the saving


def main() -> int:
    """Run the command line; returns its exit code."""
    try:
        import signal

        # Where it is ignored (nohup, a script's background) it stays ignored.
        heard = signal.getsignal(signal.SIGINT) is signal.default_int_handler
        if heard:
            signal.signal(signal.SIGINT, leave)
        open_descriptors()
        from .cli import main as run

        if heard:
            signal.signal(signal.SIGINT, Stop())
        code = run()
        if heard:
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # nothing is left to be stopped
    except KeyboardInterrupt:
        leave()
    return code


def leave(*_: object) -> None:
    """End the process here and now: nobody else has a word for it."""
    try:
        os.write(2, b"fastnn: stopped by Ctrl-C\n")
    finally:
        os._exit(130)


def open_descriptors() -> None:
    """Give standard streams that the caller closed a place, so that no file of ours takes it."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free


class Stop:
    """A handler that raises KeyboardInterrupt, once for what comes within a second."""

    def __init__(self) -> None:
        self.latest = -APART

    def __call__(self, *_: object) -> None:
        """The signal has come."""
        now = time.monotonic()
        again, self.latest = now - self.latest < APART, now
        if not again:
            raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
