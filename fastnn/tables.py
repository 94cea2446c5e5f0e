"""Tables of numbers as text: which row is a header, and which columns are index and label.

What is guessed is said in a note; where a guess could be wrong there is a `FormatError` that names
the option that settles it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ._cells import (
    DECIMAL_COMMA,
    SEPARATORS,
    Columns,
    Kind,
    Row,
    Rows,
    Values,
    check_widths,
    column_text,
    is_whole,
    kind_of,
    read_lines,
    read_values,
)
from ._errors import FormatError, shown, unknown
from .readers import StrPath, as_path, opened

Array: TypeAlias = NDArray[Any]
Header: TypeAlias = Literal["auto"] | bool
Label: TypeAlias = Literal["first", "last"] | None

INDEX_NAMES = ("", "unnamed: 0", "index", "id", "row", "row_id", "rownames")
LABEL_NAMES = (
    *("label", "labels", "class", "classes", "target", "targets", "y"),
    *("species", "variety", "diagnosis", "category", "outcome"),
)
MANY_NAMES = 10  # a row of data that counts 0, 1, 2, ... so far is no chance
COUNTING = 3  # rows that count 0, 1, 2, ... make an index likely
MANY_ROWS = 20  # that all differ in a column: it holds the rows' names or numbers
MNIST_WIDTH = 785
MOST_WHOLE = 2**53  # float64 may have rounded what is beyond


@dataclass(frozen=True, eq=False)
class Table:
    """A table of numbers: n rows, I features, and a label a row where there are labels.

    `features`: the names of the columns of x, if there is a header. `x`: (n, I) uint8 if every
    number of the table is written as a whole one and all of x are 0 to 255, else float64; True and
    False are 1 and 0. With columns of words, objects: floats, and text or None where it is missing.
    `target`: the name of the labels' column. `y`: (n,) int64 if all are whole numbers, float64 if
    all are numbers, bool if True and False, else text. `notes`: a line for each thing that was
    guessed.
    """

    features: tuple[str, ...] | None
    x: Array
    target: str | None
    y: Array | None
    notes: tuple[str, ...]


def read_table(
    path: StrPath,
    *,
    header: Header = "auto",
    label: str | None = "auto",
    index: str | None = "auto",
    separator: str = "auto",
    missing: bool = False,
) -> Table:
    """The numbers, words and labels in a table of text, gzipped or not: CSV, TSV and their like.

    `separator` is one of , ; | and tab. The first line is a `header` (True) or data (False).
    `label` and `index` say which column holds the labels and which is left out: "first", "last"
    (labels only; positions do not count the index), None (no column), or a name in the header.
    All four are guessed on "auto". With `missing` a number may be missing: NaN.
    FormatError names file, line and column of what is no number, or missing, and of a row that is
    longer or shorter than the first; and the option (--header, --label, --index, --separator) that
    settles what could be either.
    """
    _check_header(header)
    if separator not in ("auto", *SEPARATORS):
        raise unknown("separator", separator, ("auto", *map(repr, SEPARATORS)))
    notes: list[str] = []
    with _rows(path, separator) as rows:
        if separator == "auto" and rows.separator != ",":
            notes.append(f"columns are separated by {rows.separator!r}")
        sketch = _sketch(rows, header, notes)
        _check_names(sketch)
        out = _find_index(sketch, index, label, notes)
        target = _find_label(sketch, out, label, notes)
        columns = _columns(sketch, out, target, missing)
        notes += [f"{sketch.where(j)} holds words: an input for each" for j in columns.words]
        x, y = _joined(read_values(rows, sketch.rows, columns))
    names = sketch.names
    return Table(
        None if names is None else tuple(names[j] for j in columns.features),
        x,
        names[target] if names and target is not None else None,
        y,
        tuple(notes),
    )


def read_names(
    path: StrPath, *, header: Header = "auto", separator: str = "auto"
) -> tuple[str, ...] | None:
    """The names of a table's columns, None where its first line is data; as in `read_table`."""
    _check_header(header)
    with _rows(path, separator) as rows:
        sketch = _sketch(rows, header, [])
    return None if sketch.names is None else tuple(sketch.names)


def read_csv(
    path: StrPath, label: Label = "first", header: Header = "auto"
) -> tuple[Array, NDArray[np.int64] | None]:
    """The numbers in a file of comma-separated values, gzipped or not: x (n, columns), y (n,).

    `label` says which column holds the labels; with None all columns are x, and y is None. x is
    uint8 if every value is written as a whole number from 0 to 255, else float64; y is int64. The
    first line is a `header` (True), is data (False), or is looked at ("auto").
    FormatError names the line of a value that is no number (NaN and infinities are numbers), of a
    label that is no whole number, and of a row that is longer or shorter than the first; it also
    refuses a first line that could be either, and labels that count the rows.
    """
    if label not in ("first", "last", None):
        raise unknown("label column", label, ("first", "last", "None"))
    _check_header(header)
    with _rows(path, ",") as rows:
        sketch = _sketch(rows, header, [])
        if sketch.counts(0) and (label == "first" or sketch.name(0) in INDEX_NAMES):
            raise FormatError(
                f"{rows.path}: expected labels or features in column 1, got a count of the rows; "
                f"write the table without its index, or read it by read_table"
            )
        positions = {"first": 0, "last": sketch.width - 1, None: None}
        columns = _columns(sketch, None, positions[label], missing=False)
        columns = replace(
            columns,
            numbers=sorted(columns.numbers + columns.words),
            words=[],
            label_kind="number" if label else None,
            names=None,
            finite=False,
        )
        return _joined(_with_whole_labels(read_values(rows, sketch.rows, columns), rows.path))


def _check_header(header: Header) -> None:
    if header not in ("auto", True, False):
        raise unknown("header", header, ("auto", "True", "False"))


@contextmanager
def _rows(path: StrPath, separator: str) -> Iterator[Rows]:
    path = as_path(path)
    with opened(path) as source:
        yield Rows(read_lines(source.stream, path), separator, path)


def _with_whole_labels(blocks: Iterable[Values], path: object) -> Iterator[Values]:
    """The same, with labels as int64. FormatError names the line of one that is not whole."""
    for lines, x, y in blocks:
        if y is not None:
            bad = np.flatnonzero((y != np.trunc(y)) | (np.abs(y) > MOST_WHOLE))
            if bad.size:
                where = f"{path}, line {lines[bad[0]]}"
                raise FormatError(f"{where}: expected a whole number as label, got {y[bad[0]]}")
            y = y.astype(np.int64)
        yield Values(lines, x, y)


def _joined(blocks: Iterable[Values]) -> tuple[Array, Array | None]:
    """All features and all labels."""
    xs: list[Array] = []
    ys: list[Array] = []
    for _, x, y in blocks:
        xs.append(x)
        if y is not None:
            ys.append(y)
    return _concatenated(xs), _smallest(_concatenated(ys)) if ys else None


def _concatenated(blocks: list[Array]) -> Array:
    """All rows of some arrays; empties the list meanwhile, so that memory holds no row twice."""
    end = sum(map(len, blocks))
    rows = np.empty((end, *blocks[0].shape[1:]), np.result_type(*{b.dtype for b in blocks}))
    while blocks:
        block = blocks.pop()
        rows[end - len(block) : end] = block
        end -= len(block)
    return rows


def _smallest(y: Array) -> Array:
    """Labels as int64 if they are whole numbers, however they are written."""
    if y.dtype.kind != "f" or (y != np.trunc(y)).any() or np.abs(y).max() > MOST_WHOLE:
        return y
    return y.astype(np.int64)


# -------------------------------------------------------------------------------------- first rows


@dataclass(frozen=True)
class Sketch:
    """What the first rows of a table show."""

    path: object
    line: int  # the first
    names: list[str] | None  # from the header
    is_counted: bool  # whether those names are 0, 1, 2, ...
    rows: list[Row]
    width: int

    def name(self, column: int) -> str | None:
        return self.names[column].lower() if self.names else None

    def where(self, column: int) -> str:
        return column_text(column, self.names)

    def cells(self, column: int) -> list[str]:
        return [row.cells[column] for row in self.rows]

    def kind(self, column: int) -> Kind | Literal["mixed"]:
        """What all cells are; those that are missing do not count."""
        kinds = {kind_of(cell) for cell in self.cells(column)} - {"missing"}
        if len(kinds) > 1:
            return "mixed"
        return kinds.pop() if kinds else "number"

    def counts(self, column: int) -> bool:
        """Whether the cells are 0, 1, 2, ... or 1, 2, 3, ..."""
        cells = self.cells(column)
        counted = [list(map(str, range(k, k + len(cells)))) for k in (0, 1)]
        return len(cells) >= COUNTING and cells in counted

    def find(self, name: str, option: str) -> int:
        """The column of that name."""
        if self.names is None:
            raise FormatError(
                f"{self.path}: expected a header, to find {shown(name)} of --{option} in it, "
                f"got data in line 1"
            )
        if name in self.names:
            return self.names.index(name)
        from difflib import get_close_matches

        near = get_close_matches(name, self.names, n=1)
        hint = f"; did you mean {shown(near[0])}?" if near else ""
        expected = f"a column named {shown(name)} (--{option})"
        raise FormatError(f"{self.path}: expected {expected}, got {shown(self.names)}{hint}")


def _sketch(rows: Rows, header: Header, notes: list[str]) -> Sketch:
    """The first rows, and whether the very first is a header."""
    head = rows.head()
    if not head:
        raise FormatError(f"{rows.path}: expected rows of numbers, got an empty file")
    _refuse_decimal_commas(rows, head)
    first = head[0].cells
    check_widths([row.number for row in head], [row.cells for row in head], len(first), rows.path)
    is_header = _is_header(head, rows.path, notes) if header == "auto" else header
    if is_header and len(head) == 1:
        raise FormatError(f"{rows.path}: expected rows of numbers, got only a header")
    names = first if is_header else None
    is_counted = bool(names and _counted(names))
    data = head[1:] if is_header else head
    return Sketch(rows.path, head[0].number, names, is_counted, data, len(first))


def _refuse_decimal_commas(rows: Rows, head: list[Row]) -> None:
    if rows.separator == ",":
        return
    for row in head:
        for column, cell in enumerate(row.cells, 1):
            if DECIMAL_COMMA.fullmatch(cell):
                raise FormatError(
                    f"{rows.path}, line {row.number}: expected decimal points, got {shown(cell)} "
                    f"in column {column}; write decimal points, or name another --separator"
                )


def _is_header(head: list[Row], path: object, notes: list[str]) -> bool:
    """Whether the first row holds names. FormatError where it could be either."""
    number, first = head[0]
    below = [row.cells for row in head[1:]]
    kinds = [kind_of(cell) for cell in first]
    worded = [any(kind_of(cells[j]) == "word" for cells in below) for j in range(len(first))]
    strange = [j for j in range(len(first)) if kinds[j] == "word" and below and not worded[j]]
    nameless = [j for j in range(len(first)) if kinds[j] == "missing"]
    where = f"{path}, line {number}"
    if counted := _counted(first):
        floats = bool(below) and not any(is_whole(cells[j]) for cells in below for j in counted)
        if len(counted) < MANY_NAMES and not (strange or nameless or floats):
            raise FormatError(
                f"{where}: expected a header or data, got {shown(','.join(first))}, which could be "
                f"either; say --header"
            )
        notes.append(f"line {number} is a header: it counts columns from 0")
        return True
    if all(kind == "word" for kind in kinds[1:]) and kinds[0] in ("word", "missing"):
        return True
    if odd := nameless or strange:
        raise FormatError(
            f"{where}: expected a number in column {odd[0] + 1}, got {shown(first[odd[0]])}; "
            f"if line {number} is a header, say --header"
        )
    if "word" not in kinds and _are_whole_above_floats(first, below):
        raise FormatError(
            f"{where}: expected a header or data, got whole numbers above others; say --header"
        )
    notes.append(f"line {number} is data: there is no header")
    return False


def _counted(first: list[str]) -> list[int]:
    """The columns whose names are 0, 1, 2, ...: all, or all but a word or none at either end."""
    columns = list(range(len(first)))
    for end in (0, -1):
        if columns and kind_of(first[columns[end]]) in ("word", "missing"):
            del columns[end]
    is_counted = len(columns) > 1 and [first[j] for j in columns] == [
        str(k) for k in range(len(columns))
    ]
    return columns if is_counted else []


def _are_whole_above_floats(first: list[str], below: list[list[str]]) -> bool:
    """Whether only the first row holds whole numbers, such as years as names."""
    return (
        len(below) >= COUNTING
        and all(map(is_whole, first))
        and not any(is_whole(cell) for cells in below for cell in cells)
    )


def _check_names(sketch: Sketch) -> None:
    """FormatError for a header with two columns of one name, or with none but in the first."""
    where = f"{sketch.path}, line {sketch.line}"
    seen: dict[str, int] = {}
    for column, name in enumerate(sketch.names or ()):
        if not name and column:
            raise FormatError(f"{where}: expected a name for column {column + 1}, got none")
        if name in seen:
            columns = f"columns {seen[name] + 1} and {column + 1}"
            raise FormatError(
                f"{where}: expected a header of different names, got {shown(name)} in {columns}"
            )
        seen[name] = column


# ----------------------------------------------------------------------------------- which columns


def _find_index(
    sketch: Sketch, index: str | None, label: str | None, notes: list[str]
) -> int | None:
    """The column that is left out. FormatError if the first one may be an index, or may not."""
    if index is None:
        return None
    if index != "auto":
        return 0 if index == "first" else sketch.find(index, "index")
    name, cells = sketch.name(0), sketch.cells(0)
    if sketch.names and label == sketch.names[0]:
        return None
    differ = len(set(cells)) == len(cells) and sketch.kind(0) != "mixed"
    if name in INDEX_NAMES and differ:
        notes.append(f"{sketch.where(0)} is left out: it is an index")
        return 0
    if name in INDEX_NAMES:
        found = f"the name of an index above {shown(cells[0])}, ..., which are not all different"
    elif sketch.counts(0):
        found = f"{cells[0]}, {cells[1]}, {cells[2]}, ..., which may be an index"
    elif name is None and differ and len(cells) >= MANY_ROWS and all(map(is_whole, cells)):
        found = f"{cells[0]}, {cells[1]}, ..., all different, which may be an index"
    else:
        return None
    where = f"{sketch.path}, {sketch.where(0)}"
    raise FormatError(
        f"{where}: expected a feature or a label, got {found}; say --index first or none"
    )


def _find_label(sketch: Sketch, out: int | None, label: str | None, notes: list[str]) -> int | None:
    """The column of labels. FormatError if it cannot be told."""
    columns = [j for j in range(sketch.width) if j != out]
    if label is None:
        return None
    if len(columns) < 2:
        first = shown(sketch.cells(columns[0])[0])
        raise FormatError(
            f"{sketch.path}: expected a label and at least 1 feature, got 1 column, with {first} "
            f"in it; say --label none or --separator"
        )
    if label in ("first", "last"):
        return columns[0 if label == "first" else -1]
    if label != "auto":
        if (found := sketch.find(label, "label")) == out:
            raise FormatError(f"{sketch.path}: expected different columns for --label and --index")
        return found
    found, reason = _guess_label(sketch, columns)
    notes.append(f"{sketch.where(found)} is the label: {reason}")
    return found


def _guess_label(sketch: Sketch, columns: list[int]) -> tuple[int, str]:
    """The likeliest column, and why."""
    named = [j for j in columns if sketch.name(j) in LABEL_NAMES]
    words = [j for j in columns if sketch.kind(j) == "word"]
    if len(named) == 1:
        return named[0], "so says its name"
    if len(named) > 1 or len(words) > 1:
        which = "names of labels" if named else "words"
        where = " and ".join(map(sketch.where, (named or words)[:2]))
        raise FormatError(
            f"{sketch.path}: expected one column of {which}, got {where}; say --label"
        )
    if words:
        cells = sketch.cells(words[0])
        if len(cells) >= MANY_ROWS and len(set(cells)) == len(cells):
            found = f"another word in each row of {sketch.where(words[0])}"
            raise FormatError(
                f"{sketch.path}: expected a column of labels, got {found}; say --label"
            )
        return words[0], "no other holds words"
    if sketch.names and not sketch.is_counted:
        return columns[-1], "it is the last"
    if len(columns) == MNIST_WIDTH and all(map(is_whole, sketch.rows[0].cells)):
        return columns[0], "it is the first of 785, as in MNIST"
    raise FormatError(
        f"{sketch.path}: expected a name or words that tell which column is the label, got numbers "
        f"without names; say --label first, last or none"
    )


def _columns(sketch: Sketch, out: int | None, label: int | None, missing: bool) -> Columns:
    """What each column must hold from the first row to the last."""
    features = [j for j in range(sketch.width) if j not in (out, label)]
    if not features:
        wanted = "at least 1 feature" if label is None else "a label and at least 1 feature"
        found = f"1 column, with {shown(sketch.cells(0)[0])} in it"
        raise FormatError(f"{sketch.path}: expected {wanted}, got {found}")
    flags = [j for j in features if sketch.kind(j) == "flag"]
    words = [j for j in features if sketch.kind(j) == "word"]
    return Columns(
        width=sketch.width,
        numbers=[j for j in features if j not in flags + words],
        flags=flags,
        words=words,
        label=label,
        label_kind=None if label is None else _label_kind(sketch, label),
        names=sketch.names,
        finite=True,
        missing=missing,
    )


def _label_kind(sketch: Sketch, label: int) -> Kind:
    """A word among numbers is an error, unless there are many."""
    kind = sketch.kind(label)
    if kind != "mixed":
        return kind
    kinds = [kind_of(cell) for cell in sketch.cells(label)]
    return "word" if kinds.count("word") > max(1, len(kinds) // 10) else "number"
