"""Rows for the commands: what to learn and to test on, and what a network finds in a file."""

from __future__ import annotations

import argparse
import contextlib
import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import datasets
from .._arrays import check_finite
from .._errors import FormatError, printable, shown, unknown
from ..columns import Column, Columns, OneHot, Standardize
from ..network import Network
from ..pictures import is_picture_file, read_picture

Array = NDArray[Any]
Name = str | int | float | bool

DIGITS = "the shipped digits"
TABLES = (".csv", ".tsv")  # also with .gz
OPTIONS = ("header", "label", "index", "separator")  # of tables, all "auto" unless they are named
TESTED = 6  # of a single file, every so-manieth row of a class, at random, is kept for testing
MOST_CLASSES = 10_000  # more are a mistake in the labels
FEW = 20  # different whole numbers are classes; more are doubtful, or numbers to be met
ROWS_A_CLASS = 10  # with fewer on average, many different whole numbers are numbers to be met
PICTURE = 64  # columns at least


@dataclass
class Rows:
    """Rows of a file: x, and labels or targets y; names of columns; what was guessed."""

    name: str
    x: Array
    y: Array | None
    features: tuple[str, ...] | None = None
    target: str | None = None
    notes: list[str] = field(default_factory=list)
    columns: Columns | None = None  # that made x of a table with words, or with something missing


@dataclass
class Learning:
    """Rows to learn from and rows to test on.

    y is the number of each row's class where there are `classes`, else a number to be met.
    """

    rows: Rows
    y: Array
    x_test: Array
    y_test: Array
    classes: tuple[Name, ...] | None

    @property
    def is_picture(self) -> bool:
        """Whether all columns share one scale, as pixels do."""
        x = self.rows.x
        if x[0].size < PICTURE or self.rows.columns is not None:
            return False
        return x.dtype == np.uint8 or bool(x.min() >= 0 and x.max() <= 1)


# ------------------------------------------------------------------------------------------- files


def is_table(path: str) -> bool:
    """Whether the file's name is that of a table in text."""
    return path.lower().removesuffix(".gz").endswith(TABLES)


def read(path: str, options: dict[str, Any]) -> Rows:
    """All rows of a file; the options are those of `datasets.read_table`."""
    if is_table(path):
        table = datasets.read_table(path, **options)
        notes = list(table.notes)
        return Rows(path, table.x, table.y, table.features, table.target, notes)
    _refuse_options(options, path)
    x, y = datasets.load_file(path)
    if x.ndim == 0 or x.size == 0:
        raise FormatError(f"{path}: expected rows of numbers, got shape {x.shape}")
    return Rows(path, x.reshape(len(x), -1), y)


def table_options(chosen: argparse.Namespace) -> dict[str, Any]:
    """What the command line says of tables, in the words of `datasets.read_table`."""
    return {name: getattr(chosen, f"table_{name}") for name in OPTIONS}


def _refuse_options(options: dict[str, Any], what: str) -> None:
    for name, value in options.items():
        if value != "auto":
            raise ValueError(f"expected --{name} with a table (.csv or .tsv), got {what}")


def _data_set(name: str) -> tuple[str, datasets.Labelled, datasets.Labelled] | None:
    """A data set that comes with rows to test on; None if `name` is that of a file."""
    if name == "digits":
        return DIGITS, *datasets.load_digits()
    if name == "mnist":
        return "MNIST", *datasets.load_mnist()
    if os.path.isdir(name):
        return name, *datasets.load_mnist(name)
    if not os.path.exists(name) and os.path.basename(name) == name and "." not in name:
        raise unknown("data set", name, ("digits", "mnist", "a file", "a folder"))
    return None


# ---------------------------------------------------------------------------------------- learning


def learning_data(chosen: argparse.Namespace) -> Learning:
    """What to learn, and what to test on."""
    options, name = table_options(chosen), chosen.data or "digits"
    found = _data_set(name)
    if chosen.missing != "error" and not (found is None and is_table(name)):
        raise ValueError(f"expected --missing with a table (.csv or .tsv), got {name}")
    if found is None:
        if is_table(name):
            options["missing"] = chosen.missing != "error"
        return _of_file(read(name, options), chosen)
    what, (x, y), (x_test, y_test) = found
    _refuse_options(options, what)
    if chosen.task == "regression":
        raise ValueError(f"expected --task classes for {what}, got regression")
    classes, codes = _coded(what, np.concatenate([y, y_test]))
    return Learning(Rows(what, x, y), codes[: len(y)], x_test, codes[len(y) :], classes)


def _of_file(rows: Rows, chosen: argparse.Namespace) -> Learning:
    """The rows of one file, some of them kept for testing."""
    if rows.y is None:
        wanted = "labels too (a table or an .npz file)"
        raise FormatError(f"{rows.name}: expected {wanted}, got inputs only")
    y = _one_column(rows)
    if chosen.missing == "error":
        _check_numbers(rows)
    classes: tuple[Name, ...] | None = None
    groups: Array = np.zeros(len(y), np.int64)
    if _is_classes(rows, y, chosen.task):
        classes, y = _coded(rows.name, y)
        groups = y
    else:
        y = y.astype(np.float64)
    learn, test = _split(groups, chosen.seed)
    x_test, rows.x = rows.x[test], rows.x[learn]
    if rows.x.dtype == object or chosen.missing != "error":
        x_test = _with_columns(rows, x_test, chosen.missing)
    return Learning(rows, y[learn], x_test, y[test], classes)


def _with_columns(rows: Rows, x_test: Array, missing: str) -> Array:
    """Make numbers of what the rows hold, as they teach it; returns those of the rows to test."""
    names = rows.features or [str(k + 1) for k in range(_width(rows))]
    kinds = [_kind(column, missing) for column in rows.x.T]
    rows.columns = Columns(dict(zip(names, kinds, strict=True)))
    try:
        rows.columns.adapt(dict(zip(names, rows.x.T, strict=True)))
    except ValueError as error:
        raise FormatError(f"{rows.name}: {error}") from None
    rows.x, x_test = (_as_numbers(rows.name, x, rows.columns) for x in (rows.x, x_test))
    return x_test


def _kind(cells: Array, missing: str) -> Column:
    """What a column (n,) of a table becomes; an indicator only where something is missing."""
    if any(isinstance(cell, str) for cell in cells):
        return OneHot()
    is_whole = missing == "indicator" and all(cell == cell for cell in cells)
    return Standardize("mean" if is_whole else missing)


def _as_numbers(name: str, x: Array, columns: Columns) -> Array:
    """Rows (n, C) of a file as the inputs that the columns make of them."""
    try:
        return columns(dict(zip(columns.columns, x.T, strict=True)))
    except (ValueError, TypeError) as error:
        raise FormatError(f"{name}: {error}") from None


def _check_numbers(rows: Rows) -> None:
    """Find what is not finite here, where rows have the numbers that they have in the file."""
    arrays = {"x": rows.x} if rows.y is None else {"x": rows.x, "y": rows.y}
    for name, array in arrays.items():
        try:
            check_finite(name, array, np.float64)
        except ValueError as error:
            raise FormatError(f"{rows.name}: {error}") from None


def _one_column(rows: Rows) -> Array:
    """The labels or targets (n,). Raises FormatError for other shapes, or too few rows."""
    x, y = rows.x, rows.y
    assert y is not None
    if len(x) < 2 or y.ndim == 0 or len(x) != len(y):
        found = f"{len(x)}, {len(y) if y.ndim else 1}"
        raise FormatError(f"{rows.name}: expected rows and as many labels, got {found}")
    if y.size != len(y):
        raise FormatError(f"{rows.name}: expected one label a row, got {y.dtype} {y.shape}")
    if y.dtype.kind not in "biufU":
        raise FormatError(f"{rows.name}: expected labels or real numbers, got {y.dtype}")
    return y.reshape(-1)


def _split(classes: Array, seed: int) -> tuple[Array, Array]:
    """The rows to learn from and to test on: of each class the same share, drawn with the seed."""
    order = np.random.Generator(np.random.Philox(key=seed)).permutation(len(classes))
    order = order[np.argsort(classes[order], kind="stable")]
    tested = np.zeros(len(order), bool)
    tested[order[min(TESTED // 2, len(order) - 1) :: TESTED]] = True
    return np.flatnonzero(~tested), np.flatnonzero(tested)


def _is_classes(rows: Rows, y: Array, task: str) -> bool:
    """Whether the task is to tell classes apart. Raises ValueError if that is doubtful."""
    what = "labels" if rows.target is None else printable(rows.target)
    if task == "regression" and y.dtype.kind in "bU":
        found = shown(y[0].item())
        raise ValueError(
            f"{rows.name}: expected numbers in {what} for --task regression, got {found}"
        )
    if task != "auto":
        return task == "classes"
    if y.dtype.kind in "bU":
        return True
    if y.dtype.kind == "f" and (y != np.trunc(y)).any():
        rows.notes.append(f"{what}: real numbers to be met (--task regression)")
        return False
    different, n = len(np.unique(y)), len(y)
    found = f"{different:,} different whole numbers in {n:,} rows"
    if different <= FEW and 2 * different <= n:
        rows.notes.append(f"{what}: {different} classes (--task classes)")
        return True
    if different > FEW and different * ROWS_A_CLASS > n:
        rows.notes.append(f"{what}: {found} are numbers to be met (--task regression)")
        return False
    raise ValueError(
        f"{rows.name}: expected classes or numbers to be met, got {found}, which could be either; "
        f"say --task"
    )


def _coded(name: str, y: Array) -> tuple[tuple[Name, ...], Array]:
    """The names of the classes, in order, and each row's number among them."""
    names, codes = np.unique(y, return_inverse=True)
    if not 2 <= len(names) <= MOST_CLASSES:
        found = f"{len(names):,}" if len(names) > 1 else f"only {shown(names[0].item())}"
        raise ValueError(f"{name}: expected 2 to {MOST_CLASSES:,} classes, got {found}")
    return tuple(names.tolist()), codes.reshape(-1).astype(np.int64)


# ---------------------------------------------------------------------------- for a trained network


def testing_data(network: Network, chosen: argparse.Namespace, option: str) -> Rows:
    """Rows to test a network on; y is None, numbers of classes, or targets."""
    options, name = table_options(chosen), getattr(chosen, option)
    if name is None:
        return _shipped(network, chosen.model, option)
    found = _data_set(name) if option == "data" else None
    if found is not None:
        what, _, (x, y) = found
        _refuse_options(options, what)
        return _fitting(network, Rows(f"the test part of {what}", x, y))
    return _fitting(network, network_rows(network, name, options))


def known_data(network: Network, chosen: argparse.Namespace) -> Learning:
    """Rows for a network that has learned: those it may have learned from, and those held out.

    Of one file, they are told apart as when the network learned it, if it did.
    """
    options, name = table_options(chosen), chosen.data
    if name is None:
        _shipped(network, chosen.model, "data")  # or it says what is missing
        name = "digits"
    found = _data_set(name)
    if found is None:
        rows = _fitting(network, network_rows(network, name, options))
        if rows.y is None:
            raise FormatError(f"{rows.name}: expected labels too, got inputs only")
        y = rows.y.reshape(-1)
        groups = y if y.dtype.kind in "iu" else np.zeros(len(y), np.int64)
        learn, test = _split(groups, network.seed)
        x, rows.x = rows.x, rows.x[learn]
        return Learning(rows, y[learn], x[test], y[test], network.classes)
    what, learned, tested = found
    _refuse_options(options, what)
    rows, held = (_fitting(network, Rows(what, *part)) for part in (learned, tested))
    assert rows.y is not None
    assert held.y is not None
    return Learning(rows, rows.y, held.x, held.y, network.classes)


def _shipped(network: Network, model: str, option: str) -> Rows:
    """The shipped test digits, for a network that was trained on them, or does not say."""
    known, unnamed = network.trained_on, (network.classes, network.features) == (None, None)
    fits = (network.inputs, network.outputs) == (784, 10)
    if known != DIGITS and not (known is None and unnamed and fits):
        where = f"was trained on {printable(known)}" if known else "does not say what it was taught"
        raise ValueError(f"{model}: expected --{option}, since the network {where}")
    _, (x, y) = datasets.load_digits()
    silent = "" if known else ", since the network has their size and does not say what it knows"
    return _fitting(network, Rows(f"the test part of {DIGITS}{silent}", x, y))


def network_rows(network: Network, path: str, options: dict[str, Any]) -> Rows:
    """The rows of a file with the columns that the network takes, in its order."""
    rows = _raw_rows(network, path, options)
    if network.columns is not None:
        rows.x = _as_numbers(rows.name, rows.x, network.columns)
    return rows


def _raw_rows(network: Network, path: str, options: dict[str, Any]) -> Rows:
    """The same before the network's columns make numbers of them."""
    if is_picture_file(path):
        return _picture(network, path, options)
    if not is_table(path):
        return _wide_enough(read(path, options), _raw_width(network))
    options = {**options, "missing": network.columns is not None}
    scan = {name: options[name] for name in ("header", "separator")}
    names = datasets.read_names(path, **scan) if network.features else None
    if network.features and names:
        return _by_names(network, path, options, names)
    return _wide_enough(_by_width(network, path, options), _raw_width(network))


def _picture(network: Network, path: str, options: dict[str, Any]) -> Rows:
    """The digit on a picture, centred and scaled as MNIST's, in the network's range of pixels."""
    _refuse_options(options, path)
    side = math.isqrt(network.inputs)
    if network.inputs < PICTURE or side**2 != network.inputs or network.standardize:
        found = f"one with {network.inputs} inputs"
        raise ValueError(f"{path}: expected a network that reads square pictures, got {found}")
    x = read_picture(path, side).reshape(1, -1)
    if network.input_scale * 255 != 1:
        return Rows(path, x / (255 * network.input_scale), None)
    return Rows(path, x, None)


def _raw_width(network: Network) -> int:
    """How many columns of a file the network's inputs are made of."""
    return network.inputs if network.columns is None else len(network.columns.columns)


def _by_width(network: Network, path: str, options: dict[str, Any]) -> Rows:
    """A table without names: the number of its columns says whether one of them is the label."""
    if options["label"] == "auto":
        with contextlib.suppress(FormatError):  # words, for example
            rows = read(path, {**options, "label": None})
            if _width(rows) == _raw_width(network):
                return rows
    return read(path, options)


def _by_names(network: Network, path: str, options: dict[str, Any], names: Sequence[str]) -> Rows:
    """The columns that have the names of the network's inputs, wherever they stand."""
    assert network.features is not None
    if missing := [name for name in network.features if name not in names]:
        raise FormatError(
            f"{path}: expected the columns {listed(network.features)}, got none named "
            f"{listed(missing)}"
        )
    others = [name for name in names if name not in network.features]
    label, index = options["label"], options["index"]
    if label in ("auto", "first", "last"):
        places = {"first": others[:1], "last": others[-1:]}
        known = [network.target] if network.target in others else places.get(label, [])
        label = known[0] if known else None
    if index == "auto":
        index = next((name for name in others if name != label), None)
    rows = read(path, {**options, "label": label, "index": index})
    assert rows.features is not None
    columns = [rows.features.index(name) for name in network.features]
    if columns != list(range(_width(rows))):
        rows.x = rows.x[:, columns]
    rows.notes = []  # the names say that all guesses were right
    return rows


def _wide_enough(rows: Rows, wanted: int) -> Rows:
    width = _width(rows)
    if width == wanted + 1 and rows.y is None and is_table(rows.name):
        raise FormatError(
            f"{rows.name}: expected {wanted} columns, got {width}; if one of them is the "
            f"label or an index, say --label or --index"
        )
    if width != wanted:
        raise FormatError(f"{rows.name}: expected {wanted} inputs a row, got {width}")
    return rows


def _width(rows: Rows) -> int:
    return int(rows.x.shape[1])


def _fitting(network: Network, rows: Rows) -> Rows:
    """The same rows, y as the network knows it: numbers of its classes, or numbers to be met."""
    _wide_enough(rows, network.inputs)
    _check_numbers(rows)
    y = rows.y
    if y is None:
        return rows
    if y.shape[:1] != rows.x.shape[:1]:
        found = f"{len(rows.x)}, {len(y) if y.ndim else 1}"
        raise FormatError(f"{rows.name}: expected rows and as many labels, got {found}")
    if y.ndim == 1 and network.classes is not None:
        rows.y = _numbered(rows.name, y, network.classes)
    elif y.dtype.kind not in "biuf":
        raise FormatError(f"{rows.name}: expected numbers as labels, got {shown(y[0].item())}")
    elif network.loss.kind == "numbers" and network.outputs == 1:
        rows.y = y.astype(np.float64)
    return rows


def _numbered(name: str, y: Array, classes: Sequence[Name]) -> Array:
    """Names of classes as their numbers. Raises FormatError for one that the network lacks."""
    numbers: dict[object, int] = {str(known): k for k, known in enumerate(classes)}
    numbers |= {known: k for k, known in enumerate(classes)}
    found, places = np.unique(y, return_inverse=True)
    codes = []
    for value in found.tolist():
        code = numbers.get(value, numbers.get(str(value)))
        if code is None:
            raise FormatError(f"{name}: {unknown('class', value, map(class_name, classes))}")
        codes.append(code)
    return np.array(codes, np.int64)[places.reshape(-1)]


def class_names(network: Network) -> list[str]:
    """What to call each class, in text."""
    classes = network.classes or range(max(network.outputs, 2))
    return [class_name(name) for name in classes]


def class_name(name: Name) -> str:
    """One class in text."""
    return printable(str(name))


def listed(names: Iterable[object], most: int = 6) -> str:
    """Some names in a line."""
    texts = [printable(str(name)) for name in names]
    more = f", ... ({len(texts)} in all)" if len(texts) > most else ""
    return ", ".join(texts[:most]) + more


def stem(path: str) -> str:
    """The file's name without the ending that says what it is; a model is named after it."""
    name = Path(path).name
    known = (*TABLES, ".npz", ".npy", ".idx")
    bare = name[:-3] if name.lower().endswith(".gz") else name
    for ending in known:
        if bare.lower().endswith(ending):
            return bare[: -len(ending)] or bare
    return bare
