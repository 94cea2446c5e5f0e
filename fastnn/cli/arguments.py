"""The arguments of each command, their help and its examples."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NoReturn

from .. import __version__
from .._errors import printable, shown, unknown
from ..activations import ACTIVATIONS
from ..columns import MISSING
from ..engine import NAMES
from ..optimizers import OPTIMIZERS
from .evaluate import evaluate
from .info import info
from .inspect import inspect
from .play import page, play
from .predict import predict
from .sweep import sweep
from .terminal import complain
from .train import SCHEDULES, train

MOST = 2**31 - 1  # what engines count with
MOST_THREADS = 1024
TASKS = ("auto", "classes", "regression")
HEADERS = {"auto": "auto", "yes": True, "no": False}
SEPARATORS = {"auto": "auto", "tab": "\t", "\\t": "\t"} | {mark: mark for mark in ",;\t|"}
COLUMNS = {"none": None}  # beside auto, first, last and a name


class Parser(argparse.ArgumentParser):
    """Errors in one line; examples as they are written."""

    def __init__(self, **options: Any) -> None:
        options.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(allow_abbrev=False, **options)

    def error(self, message: str) -> NoReturn:
        """Say in one line what is wrong; exit with 2."""
        complain(f"error: {printable(message)} (see {self.prog} --help)")
        self.exit(2)

    def add_name(self, option: str, names: Iterable[str], default: str | None, text: str) -> None:
        """An option that is one of these names; without a default, the text tells it."""
        kind, known = option.strip("-"), list(names)

        def check(name: str) -> str:
            if name not in known:
                raise argparse.ArgumentTypeError(str(unknown(kind, name, known)))
            return name

        text = f"{text}: {', '.join(known)}" + (f" (default: {default})" if default else "")
        self.add_argument(option, type=check, default=default, metavar="NAME", help=text)


def whole(least: int, most: int = MOST) -> Callable[[str], int]:
    """A check for whole numbers in this range."""

    def check(text: str) -> int:
        plain = text.strip().lstrip("0") or "0"
        is_whole = text.strip().isascii() and text.strip().isdecimal()
        number = int(plain[: len(str(most)) + 1]) if is_whole else -1  # int() of 5,000 digits fails
        if least <= number <= most:
            return number
        expected = f"at most {most}" if number > most else f"at least {least}"
        raise argparse.ArgumentTypeError(
            f"expected a whole number of {expected}, got {shown(text)}"
        )

    return check


def rate(text: str) -> float:
    """A check for positive numbers."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"expected a number above 0, got {shown(text)}")
    return number


def sizes(text: str) -> list[int]:
    """A check for sizes of layers."""
    return [whole(1)(size) for size in text.split(",")]


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """What to do, from the words of the command line; exits with 2 if they are wrong."""
    parser = Parser(
        prog="fastnn",
        description="Small neural networks on CPUs: train them, test them, look inside.",
        epilog="""examples:
  fastnn train                        learn handwritten digits; leaves digits.fastnn behind
  fastnn evaluate digits.fastnn       how good is it, and where does it err?
  fastnn inspect digits.fastnn        watch it look at a digit
  fastnn predict digits.fastnn x.npy  what are these?
  fastnn train --data flowers.csv     learn from a table, classes or numbers
  fastnn play                         draw, look inside and train in a page""",
    )
    parser.add_argument("--version", action="version", version=f"fastnn {__version__}")
    parser.set_defaults(run=lambda chosen, out: parser.print_help())
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    for add in (
        _add_train,
        _add_evaluate,
        _add_predict,
        _add_inspect,
        _add_play,
        _add_page,
        _add_sweep,
        _add_info,
    ):
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
        train,
        "train a network to tell classes apart or to meet numbers, and save it",
        """  fastnn train
  fastnn train --hidden 16,16 --activation sigmoid --epochs 20
  fastnn train --data mnist --output mnist.fastnn
  fastnn train --augment --epochs 30                       pictures, deformed anew each time
  fastnn train --data flowers.csv                          classes: the words in its last column
  fastnn train --data houses.csv --label price             numbers to be met: regression
  fastnn train --data wines.csv --task regression          marks from 1 to 10, as numbers
  fastnn train --data mnist --checkpoint run.fastnn        then, if it was interrupted:
  fastnn train --data mnist --resume run.fastnn            the same options, and --resume

Columns of a table are standardised, and every sixth row, drawn with the seed, is kept for testing.
What is guessed of a table is said; options settle it. Ctrl-C stops early and saves the best
weights so far.""",
    )
    _add_data(parser, "what to learn")
    parser.add_name("--task", TASKS, "auto", "classes to tell apart, or numbers to be met")
    parser.add_argument(
        "--hidden",
        type=sizes,
        default=[256],
        metavar="N[,N...]",
        help="sizes of the hidden layers (default: 256)",
    )
    _add_training(parser)
    text = "whether all rows count alike, or all classes"
    parser.add_name("--class-weight", ("none", "balanced"), "none", text)
    parser.add_argument(
        "--augment",
        action="store_true",
        help="shift, turn, scale and warp pictures a little, anew each time they are learned from",
    )
    parser.add_argument(
        "--output",
        metavar="FILE",
        help="where to save the network (default: digits.fastnn, or named after the data's file)",
    )
    parser.add_argument(
        "--checkpoint",
        metavar="FILE",
        help="write after each epoch what --resume needs to go on (default: nothing)",
    )
    parser.add_argument(
        "--resume",
        metavar="FILE",
        help="go on from a checkpoint, to the same bits, and write further ones there",
    )
    parser.add_argument("--quiet", action="store_true", help="print nothing but errors")
    _add_machine(parser)


def _add_sweep(commands: Any) -> None:
    parser = _add(
        commands,
        sweep,
        "train a grid of widths and depths: accuracy beside size and time",
        """  fastnn sweep
  fastnn sweep --widths 8,16 --depths 1 --epochs 2 --json > sizes.json
  fastnn sweep --data flowers.csv --widths 4,8,16 --save-best flowers.fastnn
  fastnn sweep --data houses.csv --widths 4,8,16 --csv     regression: R²

The smallest network comes first; a star marks one that is better than all smaller ones. The rows
that choose are those kept for testing, so that the best figure is a little too good.""",
    )
    _add_data(parser, "what to learn")
    parser.add_name("--task", TASKS, "auto", "classes to tell apart, or numbers to be met")
    grid = (("--widths", [16, 64, 256], "neurons of a"), ("--depths", [1, 2], "numbers of"))
    for option, default, text in grid:
        layers = f"{text} hidden layer{'s' * (option == '--depths')}"
        chosen = ",".join(map(str, default))
        help_text = f"{layers}, each with each (default: {chosen})"
        parser.add_argument(option, type=sizes, default=default, metavar="N[,N...]", help=help_text)
    _add_training(parser)
    parser.add_argument("--save-best", metavar="FILE", help="where to save the best network")
    forms = parser.add_mutually_exclusive_group()
    forms.add_argument("--json", action="store_true", help="print a JSON list of networks")
    forms.add_argument("--csv", action="store_true", help="print comma-separated values")
    _add_machine(parser)


def _add_training(parser: Parser) -> None:
    """How to train, whatever the sizes are."""
    text = (
        "what becomes of missing numbers in a table (words are a category where they are missing)"
    )
    parser.add_name("--missing", MISSING, "error", text)
    text = "of the hidden layers, by default relu for pictures and tanh for tables"
    parser.add_name("--activation", ACTIVATIONS, None, text)
    parser.add_argument(
        "--epochs",
        type=whole(1),
        metavar="N",
        help="passes over the data (default: 10, for small tables as many as make 500 steps)",
    )
    parser.add_argument(
        "--batch-size",
        type=whole(1),
        metavar="N",
        help="rows a step (default: 64, for tables of less than 2,048 rows 16 or 32)",
    )
    parser.add_name("--optimizer", OPTIMIZERS, "adam", "one of")
    rates = ", ".join(f"{kind.PEAK:g} for {name}" for name, kind in OPTIMIZERS.items())
    parser.add_argument(
        "--learning-rate", type=rate, metavar="R", help=f"at its highest (default: {rates})"
    )
    parser.add_name("--schedule", SCHEDULES, "one-cycle", "of the learning rate")
    parser.add_argument(
        "--seed",
        type=whole(0, 2**64 - 1),
        default=0,
        metavar="N",
        help="of all that is random (default: 0)",
    )


def _add_evaluate(commands: Any) -> None:
    parser = _add(
        commands,
        evaluate,
        "test a network: accuracy, confusions and worst mistakes, or how near its numbers are",
        """  fastnn evaluate digits.fastnn
  fastnn evaluate digits.fastnn --data mnist
  fastnn evaluate flowers.fastnn --data flowers.csv        a table: columns are found by name
  fastnn evaluate houses.fastnn --data houses.csv          regression: R² and RMSE""",
    )
    _add_model(parser)
    _add_data(parser, "what to test on")
    _add_machine(parser)


def _add_predict(commands: Any) -> None:
    parser = _add(
        commands,
        predict,
        "what a network says of each row of a file: class and probabilities, or numbers",
        """  fastnn predict digits.fastnn t10k-images-idx3-ubyte.gz
  fastnn predict digits.fastnn digits.csv --label first --csv > answers.csv
  fastnn predict digits.fastnn digits.npy --json
  fastnn predict digits.fastnn photo.jpg                   a digit on paper: centred and scaled
  fastnn predict flowers.fastnn unknown.csv                a table: columns are found by name
  fastnn predict houses.fastnn houses.csv --csv            regression: one number a row

Probabilities stand in the order of the classes that --csv names in its first line.""",
    )
    _add_model(parser)
    parser.add_argument("file", metavar="FILE", help=f"inputs: {FILES}, IDX, .png or .jpg")
    _add_table(parser)
    forms = parser.add_mutually_exclusive_group()
    forms.add_argument("--json", action="store_true", help="print a JSON list of rows")
    forms.add_argument("--csv", action="store_true", help="print comma-separated values")
    _add_machine(parser)


def _add_inspect(commands: Any) -> None:
    parser = _add(
        commands,
        inspect,
        "show what each layer saw in one input, and what the network decided",
        """  fastnn inspect digits.fastnn
  fastnn inspect digits.fastnn --index 1403
  fastnn inspect digits.fastnn --file my_digits.npy --index 2
  fastnn inspect flowers.fastnn --file flowers.csv         a table: columns are found by name
  fastnn inspect houses.fastnn --file houses.csv           regression
  fastnn inspect digits.fastnn --save three.png            pictures of it, with matplotlib""",
    )
    _add_model(parser)
    parser.add_argument(
        "--index",
        type=whole(0),
        default=0,
        metavar="N",
        dest="row",
        help="which row, from 0 (default: 0)",
    )
    parser.add_argument(
        "--file",
        metavar="FILE",
        help=f"inputs: {FILES} or IDX (default: the shipped test digits, if it was taught them)",
    )
    parser.add_argument(
        "--save",
        metavar="FILE",
        help="write the network's picture to FILE, .png, .svg or .pdf, and beside it FILE-why, the "
        "inputs that speak for and against what it says (needs the plot extra)",
    )
    _add_table(parser, index=False)
    _add_machine(parser)


def _add_play(commands: Any) -> None:
    parser = _add(
        commands,
        play,
        "open a page: draw a digit, look inside the network, train others",
        """  fastnn play
  fastnn play digits.fastnn
  fastnn play flowers.fastnn --data flowers.csv
  fastnn play houses.fastnn --data houses.csv              regression
  fastnn play --data flowers.csv                           a network is trained first

It prints the address to open, which holds a token made for this run. It listens on 127.0.0.1 alone,
needs no network, and ends with Ctrl-C.""",
    )
    parser.add_argument(
        "model", nargs="?", metavar="MODEL", help="a network (default: one is trained on the data)"
    )
    _add_data(parser, "rows to look at and to learn from")
    parser.add_name("--task", TASKS, "auto", "classes to tell apart, or numbers to be met")
    _add_training(parser)
    parser.add_argument(
        "--port", type=whole(1, 65535), metavar="N", help="default: 8765, or another if it is taken"
    )
    _add_machine(parser)


def _add_page(commands: Any) -> None:
    parser = _add(
        commands,
        page,
        "write a network as one HTML file, to draw and to look inside",
        """  fastnn page digits.fastnn digits.html
  fastnn page flowers.fastnn flowers.html --data flowers.csv
  fastnn page houses.fastnn houses.html                    ranges of features from the network

The file works from a disk, in a mail or on any static host, and asks nobody for anything.""",
    )
    _add_model(parser)
    parser.add_argument("out", metavar="OUT", help="the HTML file to write")
    _add_data(parser, "rows for the ranges of features, and pictures to pick")
    _add_machine(parser)


def _add_info(commands: Any) -> None:
    _add(
        commands,
        info,
        "show the version, the engine and how it was built, the threads",
        """  fastnn info
  FASTNN_ENGINE=avx2 FASTNN_NUM_THREADS=1 fastnn info""",
    )


FILES = "a table (.csv, .tsv), .npy, .npz"


def _add_model(parser: Parser) -> None:
    parser.add_argument("model", metavar="MODEL", help="the file that `fastnn train` wrote")


def _add_data(parser: Parser, text: str) -> None:
    parser.add_argument(
        "--data",
        metavar="DATA",
        help=f"{text}: digits (shipped, the default), mnist (downloaded when first used), a folder "
        "with MNIST's four IDX files, or a file: a table (.csv or .tsv) or .npz",
    )
    _add_table(parser)


def _add_table(parser: Parser, index: bool = True) -> None:
    """How to read a table; `inspect` has another use for the word index."""
    words = "auto, first, last, none or its name"
    table = parser.add_argument_group("tables", "what a table does not tell by itself")
    _add_choice(table, "--header", HEADERS, "whether line 1 holds names: auto, yes or no")
    _add_choice(table, "--label", COLUMNS, f"the column of labels: {words}", free=True)
    if index:
        words = "auto, first, none or its name"
        text = f"a column that only counts the rows, to be left out: {words}"
        _add_choice(table, "--index", COLUMNS, text, free=True)
    else:
        parser.set_defaults(table_index="auto")
    _add_choice(table, "--separator", SEPARATORS, "between columns: auto, ',', ';', '|' or tab")


def _add_choice(
    group: Any, option: str, known: dict[str, Any], text: str, free: bool = False
) -> None:
    """An option of `datasets.read_table`; a free one may be a name in the header, too."""
    word = option.strip("-")

    def check(name: str) -> object:
        if not free and name not in known:
            names = dict.fromkeys("tab" if key in ("\t", "\\t") else key for key in known)
            raise argparse.ArgumentTypeError(str(unknown(word, name, names)))
        return known.get(name, name)

    group.add_argument(
        option, type=check, default="auto", metavar="NAME", dest=f"table_{word}", help=text
    )


def _add_machine(parser: Parser) -> None:
    parser.add_argument(
        "--threads",
        type=whole(1, MOST_THREADS),
        metavar="N",
        help="threads to use, without effect on results (default: as many as the process may use)",
    )
    parser.add_name("--engine", ("auto", *NAMES), "auto", "one of")
