"""Text tables as lines, lines as cells, and cells as numbers, however they are separated or quoted.

Nothing is held but a block of lines and what became of those before: what a file takes in memory
and in time is bounded by the values that it delivers.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from io import BufferedIOBase
from itertools import chain
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ._errors import FormatError, reason, shown

Array: TypeAlias = NDArray[Any]
Kind: TypeAlias = Literal["number", "flag", "missing", "word"]
Line: TypeAlias = tuple[int, str]  # number in the file, from 1, and text without its end

SEPARATORS = (",", ";", "\t", "|")
READ_BYTES = 1 << 18
BLOCK = 1 << 20  # characters parsed at once
LONGEST_LINE = 1 << 22  # characters of a row
MOST_COLUMNS = 1 << 20
LONGEST_WORD = 100  # characters of a label
LONGEST_VALUE = 256  # characters that a value may take on average
MOST_BLANK = 10_000  # blank lines; from there on no more than there are others
BLANK_LINE = 1000  # characters of a blank line that count as one such
HEAD = 100  # rows that are looked at before anything is decided

FLAGS = {
    word: value == "true"
    for value in ("true", "false")
    for word in (value, value.title(), value.upper())
}
MISSING = frozenset(("", "?", "na", "n/a", "#n/a", "<na>", "null", "nan", "-nan"))
NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?", re.ASCII)
DECIMAL_COMMA = re.compile(r"[+-]?[0-9.]*[0-9],[0-9]+", re.ASCII)
NOT_FINITE = re.compile(r"[+-]?(nan|inf|infinity)", re.ASCII | re.IGNORECASE)
SPACE = re.compile(r"[^\S\n]")
WHOLE_CHARACTERS = b"0123456789+- \t\n"
NUMBER_CHARACTERS = WHOLE_CHARACTERS + b".eE"
NOT_FINITE_CHARACTERS = b"nNaAiIfFtTyY"


class Row(NamedTuple):
    """The cells of a row, without spaces around them, and the number of its first line."""

    number: int
    cells: list[str]


def kind_of(cell: str) -> Kind:
    if NUMBER.fullmatch(cell) or NOT_FINITE.fullmatch(cell):
        return "number"
    if cell in FLAGS:
        return "flag"
    return "missing" if cell.lower() in MISSING else "word"


def column_text(column: int, names: list[str] | None) -> str:
    """Which column that is, for a message; columns are counted from 0, and told from 1."""
    if not names or column >= len(names):
        return f"column {column + 1}"
    return f"column {column + 1} ({shown(names[column]) if names[column] else 'no name'})"


def is_whole(cell: str) -> bool:
    return cell.lstrip("+-").isdecimal()


# ------------------------------------------------------------------------------------------- lines


def read_lines(stream: BufferedIOBase, path: object) -> Iterator[Line]:
    """The lines of a text in UTF-8, that end in LF, CR LF or CR; those between may be blank."""
    number, rest = 1, b""
    while block := stream.read(READ_BYTES):
        if number == 1 and not rest:
            _refuse_other_kinds(block, path)
            block = block.removeprefix(b"\xef\xbb\xbf")
        text = rest + block
        held = b"\r" if text.endswith(b"\r") else b""  # its LF may come with the next block
        text = text.removesuffix(b"\r").replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        whole, end, rest = text.rpartition(b"\n")
        rest += held
        if end:
            lines = _decoded(whole, number, path)
            yield from enumerate(lines, number)
            number += len(lines)
        if len(rest) > LONGEST_LINE:
            raise _too_long(path, number)
    if rest:
        yield from enumerate(_decoded(rest.removesuffix(b"\r"), number, path), number)


def _decoded(text: bytes, first: int, path: object) -> list[str]:
    """The lines of a text whose first line has this number."""
    try:
        lines = text.decode().split("\n")
    except UnicodeDecodeError as error:
        line = first + text.count(b"\n", 0, error.start)
        place = error.start - text.rfind(b"\n", 0, error.start)
        found = f"byte {text[error.start]:#04x} as number {place}"
        raise FormatError(f"{path}, line {line}: expected text in UTF-8, got {found}") from None
    if len(text) > MOST_COLUMNS:
        for number, row in enumerate(lines, first):
            _check_length(row, number, path)
    return lines


def _check_length(line: str, number: int, path: object) -> None:
    if len(line) > LONGEST_LINE:
        raise _too_long(path, number)
    if len(line) > MOST_COLUMNS and max(map(line.count, SEPARATORS)) >= MOST_COLUMNS:
        expected = f"at most {MOST_COLUMNS:,} columns"
        raise FormatError(f"{path}, line {number}: expected {expected}, got more")


def _too_long(path: object, number: int) -> FormatError:
    expected = f"a row of at most {LONGEST_LINE:,} characters"
    return FormatError(f"{path}, line {number}: expected {expected}, got more")


def _refuse_other_kinds(block: bytes, path: object) -> None:
    """Name what is often given the name of a text table by mistake."""
    found = None
    if block.startswith((b"\xff\xfe", b"\xfe\xff")):
        found = "UTF-16"
    elif block.startswith((b"PK\3\4", b"\xd0\xcf\x11\xe0")):
        found = "a workbook or an archive"
    elif b"\0" in block:
        zeros = block[: len(block) & ~1]
        half = len(zeros) // 2
        is_wide = max(zeros[::2].count(0), zeros[1::2].count(0)) > 0.9 * half
        found = "UTF-16" if is_wide else "zero bytes"
    if found:
        raise FormatError(f"{path}: expected text in UTF-8, got {found}")


# ------------------------------------------------------------------------------------------- cells


class Rows:
    """The rows of a text table: the first ones one by one, the others as blocks of lines."""

    def __init__(self, lines: Iterator[Line], separator: str, path: object) -> None:
        self.path, self.separator = path, separator
        self._blank = self._full = 0
        if separator == "auto":
            lines, first = self._with_first(lines)
            self.separator = guess_separator(first, path)
        self._lines = lines

    def _with_first(self, lines: Iterator[Line]) -> tuple[Iterator[Line], list[str]]:
        """The same lines, and the texts of the first ones that are not blank."""
        taken, texts, size = [], [], 0
        for line in lines:
            taken.append(line)
            if self._is_blank(line):
                continue
            texts.append(line[1])
            size += len(line[1])
            if len(texts) >= HEAD or (len(texts) > 1 and size > BLOCK):
                break
        self._blank = self._full = 0  # they are counted when they come again
        return chain(taken, lines), texts

    def _is_blank(self, line: Line) -> bool:
        """Whether to pass over a line. FormatError where there are too many such."""
        if line[1] and not line[1].isspace():
            self._full += 1
            return False
        self._blank += 1 + len(line[1]) // BLANK_LINE
        if self._blank > MOST_BLANK + self._full:
            expected = f"at most {MOST_BLANK:,} blank lines more than others"
            raise FormatError(f"{self.path}, line {line[0]}: expected {expected}")
        return True

    def head(self) -> list[Row]:
        """The first rows, to be looked at; at most HEAD and a header."""
        taken: list[Row] = []
        size = 0
        for row in self._parsed(self._lines):
            taken.append(row)
            size += sum(map(len, row.cells))
            if len(taken) > HEAD or (len(taken) > 1 and size > BLOCK):
                break
        return taken

    def block(self) -> list[Line]:
        """The next lines, about a million characters; none at the end."""
        taken, size, quoted = [], 0, False
        for line in self._lines:
            quoted = quoted or '"' in line[1]  # then a blank line may be a part of a cell
            if not quoted and self._is_blank(line):
                continue
            taken.append(line)
            size += len(line[1]) + 1
            if size > BLOCK:
                break
        return taken

    def cells(self, block: list[Line]) -> tuple[list[int], list[list[str]]]:
        """The rows that begin in these lines: their lines, and their cells.

        The last one may end in a later line.
        """
        text = "\n".join([line for _, line in block])
        if '"' not in text:
            cells = [line.split(self.separator) for _, line in block]
            if SPACE.search(text):
                cells = [[cell.strip() for cell in row] for row in cells]
            return [number for number, _ in block], cells
        last = block[-1][0]
        rows = []
        for row in self._parsed(chain(block, self._lines)):
            rows.append(row)
            if self._reached >= last:
                break
        return [row.number for row in rows], [row.cells for row in rows]

    def _parsed(self, lines: Iterator[Line]) -> Iterator[Row]:
        """Rows of cells; takes no line more than it needs."""
        import csv

        start = size = 0

        def texts() -> Iterator[str]:
            nonlocal start, size
            for line in lines:
                if not start and self._is_blank(line):
                    continue
                start = start or line[0]
                size += len(line[1]) + 1
                if size > LONGEST_LINE:
                    raise _too_long(self.path, start)
                self._reached = line[0]
                yield line[1] + "\n"

        reader = csv.reader(texts(), delimiter=self.separator, skipinitialspace=True, strict=True)
        while True:
            start = size = 0
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                where = f"{self.path}, line {start}"
                raise FormatError(f"{where}: expected whole quotes ({reason(error)})") from None
            yield Row(start, [cell.strip() for cell in cells])


def guess_separator(lines: list[str], path: object) -> str:
    """What divides most of these lines in the same number of cells, and in more than one."""
    import csv

    agreeing: dict[str, int] = {}
    for separator in SEPARATORS:
        try:
            rows = csv.reader(
                [line + "\n" for line in lines], delimiter=separator, skipinitialspace=True
            )
            widths = Counter(len(cells) for cells in rows if len(cells) > 1)
        except csv.Error:  # it is told where the row is read
            continue
        if widths:
            agreeing[separator] = widths.most_common(1)[0][1]
    if not agreeing:
        return ","
    most = max(agreeing.values())
    best = [separator for separator, count in agreeing.items() if count == most]
    if len(best) == 2 and best[0] == "," and _has_decimal_comma(lines, best[1]):
        return best[1]  # and is refused by name
    if len(best) > 1:
        found = " or ".join(map(repr, best))
        raise FormatError(
            f"{path}: expected one separator, got lines that {found} divides; say --separator"
        )
    return best[0]


def _has_decimal_comma(lines: list[str], separator: str) -> bool:
    return any(DECIMAL_COMMA.fullmatch(c.strip()) for c in lines[-1].split(separator))


# ----------------------------------------------------------------------------------------- numbers


@dataclass(frozen=True)
class Columns:
    """What the columns of a table are: counted from 0, by what their cells must be."""

    width: int
    numbers: list[int]  # features
    flags: list[int]  # features that are True or False
    words: list[int]  # features that are text
    label: int | None
    label_kind: Kind | None
    names: list[str] | None
    finite: bool  # whether NaN and infinities are refused
    missing: bool  # whether numbers may be missing

    @property
    def features(self) -> list[int]:
        """The columns of x."""
        return sorted(self.numbers + self.flags + self.words)

    def where(self, column: int) -> str:
        return column_text(column, self.names)


class Values(NamedTuple):
    """The lines of some rows, their features, and their labels if there are any."""

    lines: list[int]
    x: Array  # uint8 if all numbers, labels too, are written as whole ones and x is 0 to 255;
    # with words objects: float, and str or None
    y: Array | None  # int64, float64, bool or text


def read_values(rows: Rows, head: list[Row], columns: Columns) -> Iterator[Values]:
    """All values of a table, block by block, from the rows in `head` on."""
    plain = not columns.flags + columns.words and columns.label_kind in (None, "number")
    yield _parse_cells(
        [row.number for row in head], [row.cells for row in head], columns, rows.path
    )
    while block := rows.block():
        values = _parse_plain(rows, block, columns) if plain else None
        if values is None:
            values = _parse_cells(*rows.cells(block), columns, rows.path)
        size = sum(len(text) for _, text in block)
        if size > BLOCK // 16 + LONGEST_VALUE * len(values.lines) * columns.width:
            where = f"{rows.path}, lines {block[0][0]} to {block[-1][0]}"
            expected = f"at most {LONGEST_VALUE} characters a value on average"
            raise FormatError(f"{where}: expected {expected}, got {size:,} characters")
        yield values


def _parse_plain(rows: Rows, block: list[Line], columns: Columns) -> Values | None:
    """The values of lines that hold nothing but numbers; None if they do not."""
    table = _numbers([text for _, text in block], rows.separator, columns.width, columns.finite)
    if table is None or not _is_finite(table):
        return None
    first, last = columns.numbers[0], columns.numbers[-1]
    one_by_one = last - first >= len(columns.numbers)  # slices are faster
    x = table[:, columns.numbers if one_by_one else slice(first, last + 1)]
    y = None if columns.label is None else table[:, columns.label].copy()
    return Values([number for number, _ in block], _small(x, y), y)


def _parse_cells(
    lines: list[int], cells: list[list[str]], columns: Columns, path: object
) -> Values:
    """The values of rows, cell by cell. FormatError names the first that is not as expected."""
    check_widths(lines, cells, columns.width, path)
    try:
        numbers = _feature_numbers(cells, columns)
        flags = _feature_flags(cells, columns)
        y = _labels(cells, columns)
    except (KeyError, ValueError):
        where = f"lines {lines[0]} to {lines[-1]}"
        odd = _fault(lines, cells, columns) or f"{where}: expected plain numbers, got odd ones"
        raise FormatError(f"{path}, {odd}") from None
    there = np.nan_to_num(numbers, posinf=np.inf, neginf=-np.inf) if columns.missing else numbers
    is_finite = _is_finite(there) and (y is None or _is_finite(y))
    texts = [row[j] for row in cells for j in columns.words]
    is_short = max(map(len, texts), default=0) <= LONGEST_WORD
    if not (is_finite and is_short) and (fault := _fault(lines, cells, columns)):
        raise FormatError(f"{path}, {fault}")
    x = np.concatenate([numbers, flags.reshape(len(cells), -1)], axis=1)
    if columns.words:
        words = [None if text.lower() in MISSING else text for text in texts]
        mixed = np.empty((len(cells), len(columns.features)), object)
        mixed[:, : x.shape[1]] = x.astype(np.float64)
        mixed[:, x.shape[1] :] = np.array(words, object).reshape(len(cells), -1)
        return Values(lines, mixed[:, _order(columns)], y)
    return Values(lines, _small(x[:, _order(columns)], y), y)


def _order(columns: Columns) -> Array:
    """Where each feature stands among numbers, flags and words."""
    return np.argsort(columns.numbers + columns.flags + columns.words)


def _feature_numbers(cells: list[list[str]], columns: Columns) -> Array:
    """The numbers among the features, NaN where one may be missing and is."""
    if not columns.missing:
        return _column_numbers(cells, columns.numbers, columns.finite)
    texts = [[row[j] for j in columns.numbers] for row in cells]
    filled = [["nan" if text.lower() in MISSING else text for text in row] for row in texts]
    return _column_numbers(filled, [*range(len(columns.numbers))], False).astype(np.float64)


def _feature_flags(cells: list[list[str]], columns: Columns) -> Array:
    """The flags among the features, 1 and 0. Raises KeyError if something else is there."""
    known = FLAGS | dict.fromkeys(MISSING, np.nan) if columns.missing else FLAGS
    texts = [[row[j] for j in columns.flags] for row in cells]
    if columns.missing:
        texts = [[text if text in FLAGS else text.lower() for text in row] for row in texts]
    dtype = np.float64 if columns.missing else np.int64
    return np.array([[known[text] for text in row] for row in texts], dtype)


def _labels(cells: list[list[str]], columns: Columns) -> Array | None:
    """The labels of some rows. Raises KeyError or ValueError if one is not as it must be."""
    if columns.label is None:
        return None
    if columns.label_kind == "number":
        return _column_numbers(cells, [columns.label], columns.finite)[:, 0]
    texts = [row[columns.label] for row in cells]
    if columns.label_kind == "flag":
        return np.array([FLAGS[text] for text in texts], np.bool_)
    if any(map(_is_no_word, set(texts))):
        raise ValueError
    return np.array(texts)


def _is_no_word(text: str) -> bool:
    return len(text) > LONGEST_WORD or text.lower() in MISSING


def _column_numbers(cells: list[list[str]], columns: list[int], finite: bool) -> Array:
    """The numbers in some columns. Raises ValueError if something else is there."""
    if not columns:
        return np.zeros((len(cells), 0), np.int64)
    texts = [",".join([row[j] for j in columns]) for row in cells]
    if (table := _numbers(texts, ",", len(columns), finite)) is None:
        raise ValueError
    return table


def _numbers(lines: list[str], separator: str, width: int, finite: bool) -> Array | None:
    """The numbers in some lines: int64 if all are written as whole numbers, else float64."""
    text, ends = "\n".join(lines).encode(), separator.encode()
    odd = text.translate(None, NUMBER_CHARACTERS + ends)
    if (odd if finite else odd.translate(None, NOT_FINITE_CHARACTERS)) or "" in lines:
        return None
    whole = not text.translate(None, WHOLE_CHARACTERS + ends)
    for dtype in (np.int64, np.float64) if whole else (np.float64,):
        try:
            table = np.loadtxt(lines, dtype, None, separator, ndmin=2)
        except ValueError:
            continue
        if table.shape == (len(lines), width):
            return table
    return None


def _is_finite(values: Array) -> bool:
    return values.dtype.kind != "f" or bool(np.isfinite(values).all())


def _small(x: Array, y: Array | None) -> Array:
    is_whole_table = x.dtype == np.int64 and (y is None or y.dtype != np.float64)
    is_byte = is_whole_table and x.min() >= 0 and x.max() <= 255
    return x.astype(np.uint8 if is_byte else np.float64)


# ------------------------------------------------------------------------------------------ faults


def check_widths(lines: list[int], cells: list[list[str]], expected: int, path: object) -> None:
    """FormatError for a row that is longer or shorter than the first of the table."""
    for line, row in zip(lines, cells, strict=True):
        if len(row) == expected:
            continue
        which = f"none for column {len(row) + 1}"
        if len(row) > expected:
            which = f"{shown(row[expected])} in column {expected + 1}"
        raise FormatError(
            f"{path}, line {line}: expected {expected} values, got {len(row)}: {which}"
        )


def _fault(lines: list[int], cells: list[list[str]], columns: Columns) -> str | None:
    """Says which cell is not what its column must hold; None if all are."""
    kinds: list[tuple[int, Kind]] = [(j, "number") for j in columns.numbers]
    kinds += [(j, "flag") for j in columns.flags]
    kinds += [(j, "word") for j in columns.words]
    if columns.label is not None and columns.label_kind is not None:
        kinds.append((columns.label, columns.label_kind))
    kinds.sort()
    for line, row in zip(lines, cells, strict=True):
        for column, kind in kinds:
            cell = row[column]
            may_miss = columns.missing or kind == "word"
            if column != columns.label and may_miss and cell.lower() in MISSING:
                continue
            if expected := _expected(cell, kind, columns.finite):
                found = f"in {columns.where(column)}, got {shown(cell)}"
                hint = _hint(cell, columns) if column != columns.label else ""
                return f"line {line}: expected {expected} {found}{hint}"
    return None


def _expected(cell: str, kind: Kind, finite: bool) -> str | None:
    """What this cell ought to be; None if it is."""
    if kind == "flag":
        return None if cell in FLAGS else "True or False"
    if kind == "word":
        return f"a word of 1 to {LONGEST_WORD} characters" if _is_no_word(cell) else None
    if NOT_FINITE.fullmatch(cell):
        return "a finite number" if finite else None
    if not NUMBER.fullmatch(cell):
        return "a number"
    return None if np.isfinite(float(cell)) else "a number that float64 can hold"


def _hint(cell: str, columns: Columns) -> str:
    if not columns.finite:  # the reader has no options
        return ""
    if DECIMAL_COMMA.fullmatch(cell):
        return "; write decimal points, and thousands without a separator"
    if cell.lower() in MISSING:
        return "; fill in what is missing, leave the row out, or say --missing"
    if kind_of(cell) == "word":
        return "; encode words among numbers, or name the --label"
    return ""
