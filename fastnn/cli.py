"""The command line: a thin shell over the library.

Results go to stdout, errors to stderr, one line each. Exit codes: 0 done, 1 failed, 2 wrong usage,
130 stopped by Ctrl-C, 141 the reader of the output went away.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NoReturn

from . import __version__, _commands
from ._errors import DivergenceError, printable, shown, unknown
from ._terminal import screen
from .activations import ACTIVATIONS
from .engine import NAMES
from .optimizers import OPTIMIZERS


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    if sys.stdout is None:  # closed by the caller
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 (stays open)
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        chosen = _parse(sys.argv[1:] if arguments is None else list(arguments))
        chosen.run(chosen, screen(sys.stdout))
        sys.stdout.flush()
        return 0
    except KeyboardInterrupt as stop:
        print(f"fastnn: stopped by Ctrl-C{stop}", file=sys.stderr)
        return 130
    except BrokenPipeError:
        _forget_output()
        return 141
    except (ValueError, TypeError, OSError, ImportError, MemoryError, DivergenceError) as error:
        print(f"fastnn: error: {_one_line(error)}", file=sys.stderr)
        _forget_output()
        return 1


def _one_line(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return printable(f"{error.filename or 'output'}: {error.strerror.lower()}")
    return printable(" ".join(str(error).split())) or type(error).__name__


def _forget_output() -> None:
    """Where stdout cannot be written, write nothing more, not even what waits in its buffer."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class Parser(argparse.ArgumentParser):
    """Errors in one line; examples as they are written."""

    def __init__(self, **options: Any) -> None:
        options.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(allow_abbrev=False, **options)

    def error(self, message: str) -> NoReturn:
        """Say in one line what is wrong; exit with 2."""
        self.exit(2, f"fastnn: error: {printable(message)} (see {self.prog} --help)\n")

    def add_name(self, option: str, names: Iterable[str], default: str, text: str) -> None:
        """An option that is one of these names."""
        kind, known = option.strip("-"), list(names)

        def check(name: str) -> str:
            if name not in known:
                raise argparse.ArgumentTypeError(str(unknown(kind, name, known)))
            return name

        text = f"{text}: {', '.join(known)} (default: {default})"
        self.add_argument(option, type=check, default=default, metavar="NAME", help=text)


def _whole(least: int) -> Callable[[str], int]:
    def check(text: str) -> int:
        if not text.strip().isdecimal() or int(text) < least:
            expected = f"a whole number of at least {least}"
            raise argparse.ArgumentTypeError(f"expected {expected}, got {shown(text)}")
        return int(text)

    return check


def _rate(text: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = math.nan
    if not 0 < rate < math.inf:
        raise argparse.ArgumentTypeError(f"expected a number above 0, got {shown(text)}")
    return rate


def _sizes(text: str) -> list[int]:
    return [_whole(1)(size) for size in text.split(",")]


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = Parser(
        prog="fastnn",
        description="Small neural networks on CPUs: train them, test them, look inside.",
        epilog="""examples:
  fastnn train                        learn handwritten digits; leaves digits.fastnn behind
  fastnn evaluate digits.fastnn       how good is it, and where does it err?
  fastnn inspect digits.fastnn        watch it look at a digit
  fastnn predict digits.fastnn x.npy  what are these?""",
    )
    parser.add_argument("--version", action="version", version=f"fastnn {__version__}")
    parser.set_defaults(run=lambda chosen, out: parser.print_help())
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    for add in (_add_train, _add_evaluate, _add_predict, _add_inspect, _add_info):
        add(commands)
    if arguments and not arguments[0].startswith("-") and arguments[0] not in commands.choices:
        parser.error(str(unknown("command", arguments[0], commands.choices)))
    return parser.parse_args(arguments)


def _add(commands: Any, run: Callable[..., None], summary: str, examples: str) -> Parser:
    """A command, named after the function that it runs."""
    parser: Parser = commands.add_parser(
        run.__name__,
        help=summary,
        description=f"{summary[0].upper()}{summary[1:]}.",
        epilog=f"examples:\n{examples}",
    )
    parser.set_defaults(run=run)
    return parser


def _add_train(commands: Any) -> None:
    parser = _add(
        commands,
        _commands.train,
        "train a network to classify, and save it",
        """  fastnn train
  fastnn train --hidden 16,16 --activation sigmoid --epochs 20
  fastnn train --data mnist --output mnist.fastnn
  fastnn train --data flowers.csv --label last --hidden 32

Ctrl-C stops early and saves the best weights so far.""",
    )
    _add_data(parser, "what to learn")
    whole = _whole(1)
    parser.add_argument(
        "--hidden",
        type=_sizes,
        default=[256],
        metavar="N[,N...]",
        help="sizes of the hidden layers (default: 256)",
    )
    parser.add_name("--activation", ACTIVATIONS, "relu", "of the hidden layers")
    parser.add_argument(
        "--epochs", type=whole, default=10, metavar="N", help="passes over the data (default: 10)"
    )
    parser.add_argument(
        "--batch-size", type=whole, default=64, metavar="N", help="rows a step (default: 64)"
    )
    parser.add_name("--optimizer", OPTIMIZERS, "adam", "one of")
    rates = ", ".join(f"{rate:g} for {name}" for name, rate in _commands.LEARNING_RATES.items())
    parser.add_argument(
        "--learning-rate", type=_rate, metavar="R", help=f"at its highest (default: {rates})"
    )
    parser.add_name("--schedule", _commands.SCHEDULES, "one-cycle", "of the learning rate")
    parser.add_argument(
        "--seed", type=_whole(0), default=0, metavar="N", help="of all that is random (default: 0)"
    )
    parser.add_argument(
        "--output",
        metavar="FILE",
        help="where to save the network (default: digits.fastnn, or named after the data's file)",
    )
    parser.add_argument("--quiet", action="store_true", help="print nothing but errors")
    _add_machine(parser)


def _add_evaluate(commands: Any) -> None:
    parser = _add(
        commands,
        _commands.evaluate,
        "test a network: accuracy, confusions, worst mistakes",
        """  fastnn evaluate digits.fastnn
  fastnn evaluate digits.fastnn --data mnist
  fastnn evaluate flowers.fastnn --data flowers.csv --label last""",
    )
    _add_model(parser)
    _add_data(parser, "what to test on")
    _add_machine(parser)


def _add_predict(commands: Any) -> None:
    parser = _add(
        commands,
        _commands.predict,
        "classes and probabilities for a file of inputs",
        """  fastnn predict digits.fastnn t10k-images-idx3-ubyte.gz
  fastnn predict digits.fastnn digits.csv --label first --csv > answers.csv
  fastnn predict digits.fastnn digits.npy --json""",
    )
    _add_model(parser)
    parser.add_argument("file", metavar="FILE", help="inputs: .csv, .npy, .npz or IDX")
    _add_label(parser, "none")
    forms = parser.add_mutually_exclusive_group()
    forms.add_argument("--json", action="store_true", help="print a JSON list of rows")
    forms.add_argument("--csv", action="store_true", help="print comma-separated values")
    _add_machine(parser)


def _add_inspect(commands: Any) -> None:
    parser = _add(
        commands,
        _commands.inspect,
        "show what each layer saw in one input, and what the network decided",
        """  fastnn inspect digits.fastnn
  fastnn inspect digits.fastnn --index 1403
  fastnn inspect digits.fastnn --file my_digits.npy --index 2""",
    )
    _add_model(parser)
    parser.add_argument(
        "--index", type=_whole(0), default=0, metavar="N", help="which row, from 0 (default: 0)"
    )
    parser.add_argument(
        "--file",
        metavar="FILE",
        help="inputs: .csv, .npy, .npz or IDX (default: the shipped test digits)",
    )
    _add_label(parser, "none")
    _add_machine(parser)


def _add_info(commands: Any) -> None:
    _add(
        commands,
        _commands.info,
        "show the version, the engine and how it was built, the threads",
        """  fastnn info
  FASTNN_ENGINE=avx2 FASTNN_NUM_THREADS=1 fastnn info""",
    )


def _add_model(parser: Parser) -> None:
    parser.add_argument("model", metavar="MODEL", help="the file that `fastnn train` wrote")


def _add_data(parser: Parser, text: str) -> None:
    parser.add_argument(
        "--data",
        metavar="DATA",
        help=f"{text}: digits (shipped, the default), mnist (downloaded when first used), a folder "
        "with MNIST's four IDX files, or a file (.csv or .npz)",
    )
    _add_label(parser, "first")


def _add_label(parser: Parser, default: str) -> None:
    parser.add_name("--label", _commands.LABELS, default, "the column of labels in a CSV file")


def _add_machine(parser: Parser) -> None:
    parser.add_argument(
        "--threads",
        type=_whole(1),
        metavar="N",
        help="threads to use, without effect on results (default: as many as the process may use)",
    )
    parser.add_name("--engine", ("auto", *NAMES), "auto", "one of")
