"""`fastnn predict`."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._errors import printable
from ..network import Network, load
from .data import Name, class_names, network_rows, table_options
from .terminal import Screen, complain, cut

Array = NDArray[Any]

WIDE_TABLE = 10  # outputs that fit in a line
COLUMN, REAL, TOP = 6, 11, 16  # columns of a probability, a real number, one of the three largest
NAME = 20  # columns of a name at most


def predict(chosen: argparse.Namespace, out: Screen) -> None:
    """What a network says of each row of a file."""
    network = load(chosen.model, engine=chosen.engine, num_threads=chosen.threads)
    rows = network_rows(network, chosen.file, table_options(chosen))
    h = network.predict(rows.x)
    answers = _answers(network, rows.x) if has_classes(network) else None
    for note in rows.notes:
        complain(f"note: {note}")
    form = _json_lines if chosen.json else _csv_lines if chosen.csv else _text_lines
    for line in form(network, answers, h):
        print(line if form is not _text_lines else out.text(line))


def has_classes(network: Network) -> bool:
    """Whether the outputs stand for classes: where they do not, the network will not name one."""
    try:
        network.classify(np.zeros((1, network.inputs), network.dtype))
    except ValueError:
        return False
    return True


def is_probability(network: Network) -> bool:
    """Whether the outputs are probabilities."""
    return network.activation.name in ("softmax", "sigmoid")


def output_names(network: Network) -> list[str]:
    """What to call each output, in text."""
    if network.classes is not None or is_probability(network):
        return class_names(network)[-network.outputs :]  # one output is the second class's
    if network.outputs == 1:
        return [printable(network.target) if network.target else "output"]
    return [f"output {k}" for k in range(network.outputs)]


def _answers(network: Network, x: Array) -> list[Name]:
    """The class of each row, by its name."""
    names: Sequence[Name] = network.classes or range(max(network.outputs, 2))
    return [names[k] for k in network.classify(x).tolist()]


def _numbers(h: Array) -> list[float]:
    """One row as Python floats, in the fewest digits that tell them apart in their dtype."""
    return [float(str(value)) for value in h]


Form = Callable[[Network, "list[Name] | None", Array], Iterator[str]]


def _json_lines(network: Network, answers: list[Name] | None, h: Array) -> Iterator[str]:
    import json

    name = "probabilities" if is_probability(network) else "outputs"
    for i, row in enumerate(h):
        entry: dict[str, Any] = {"row": i}
        if answers is not None:
            entry["class"] = answers[i]
        entry[name] = _numbers(row)
        yield f"{'[' if i == 0 else ' '}{json.dumps(entry)}{',' if i + 1 < len(h) else ']'}"


def _csv_lines(network: Network, answers: list[Name] | None, h: Array) -> Iterator[str]:
    heads = ["row", *(["class"] if answers is not None else [])]
    if is_probability(network):
        heads += [f"probability_{name}" for name in output_names(network)]
    elif network.target and network.outputs == 1 and answers is None:
        heads += output_names(network)
    else:
        heads += [f"output_{k}" for k in range(network.outputs)]
    yield _csv_line(heads)
    for i, row in enumerate(h):
        answer = [] if answers is None else [answers[i]]
        yield _csv_line([i, *answer, *_numbers(row)])


def _csv_line(cells: Sequence[object]) -> str:
    """One line of CSV; what holds commas, quotes or breaks is quoted."""
    return ",".join(_quoted(str(cell)) for cell in cells)


def _quoted(cell: str) -> str:
    return '"' + cell.replace('"', '""') + '"' if any(c in cell for c in ',"\r\n') else cell


def _text_lines(network: Network, answers: list[Name] | None, h: Array) -> Iterator[str]:
    """One line a row: all outputs if they fit, else the three largest."""
    probable, names = is_probability(network), [cut(n, NAME) for n in output_names(network)]
    unit, factor, digits = (" %", 100, ".1f") if probable else ("", 1, ".4g")
    many = network.outputs > WIDE_TABLE
    heads = ["first", "second", "third"] if many else [f"{name}{unit}" for name in names]
    least = TOP if many else COLUMN if probable else REAL
    widest = max(map(len, names)) + 11 if many else max(map(len, heads)) + 2
    column = max(least, widest if probable or not many else least)
    said = None if answers is None else [cut(printable(str(answer)), NAME) for answer in answers]
    width = max([5, *map(len, said or [])]) + 2
    head = "" if said is None else "class".rjust(width)
    yield f"{'row':>7}{head}  {''.join(name.rjust(column) for name in heads)}"
    for i, row in enumerate(h):
        cells = [f"{factor * value:{digits}}" for value in row]
        if many:
            top = np.argsort(-row, kind="stable")[:3]
            cells = [f"{names[k]}: {cells[k]}{unit}" for k in top]
        answer = "" if said is None else said[i].rjust(width)
        yield f"{i:>7}{answer}  {''.join(cell.rjust(column) for cell in cells)}"
