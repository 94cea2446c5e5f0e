"""Real handwritten digits, and readers for IDX, CSV, NPZ and NPY files.

A reader believes no header: memory grows only with the bytes that have come. A file that is
damaged, or of another kind than its reader, gives a `FormatError` of one line that says what was
expected and what was found.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain, islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from ._errors import FormatError, unknown
from ._progress import Unit, progress

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

__all__ = [
    "cache_folder",
    "load_digits",
    "load_file",
    "load_mnist",
    "read_csv",
    "read_idx",
    "read_npy",
    "read_npz",
]

Array: TypeAlias = NDArray[Any]
Header: TypeAlias = tuple[np.dtype[Any], tuple[int, ...], Literal["C", "F"]]
Label: TypeAlias = Literal["first", "last"] | None
Labelled: TypeAlias = tuple[NDArray[np.uint8], NDArray[np.int64]]
Line: TypeAlias = tuple[int, str]  # number in the file, from 1, and text
StrPath: TypeAlias = str | os.PathLike[str]

MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)
TIMEOUT = 30.0  # seconds without a byte before the next mirror is asked
MNIST = {  # SHA-256 of each file after gzip is undone
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
IDX_DTYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
CHUNK_BYTES = 1 << 20
CSV_LINES = 1024  # lines parsed at once
COLUMN = {"first": 0, "last": -1}


# ------------------------------------------------------------------------------------------ digits


def load_digits() -> tuple[Labelled, Labelled]:
    """10,000 training and 2,000 test digits of MNIST, shipped: (x, y), (x_test, y_test).

    x is uint8 (n, 784), 28 rows of 28 pixels each, 0 paper to 255 ink; y is int64 (n,), 0 to 9.
    The classes are as frequent as in MNIST. fastnn/data/LICENSE-digits.md states the origin, the
    licence and the choice of the digits.
    """
    from importlib import resources

    folder = resources.files(__package__) / "data"
    return _load_four([folder / f"{name}.gz" for name in MNIST])


def load_mnist(directory: StrPath | None = None) -> tuple[Labelled, Labelled]:
    """All of MNIST, 60,000 training and 10,000 test digits: (x, y), (x_test, y_test).

    Shapes and dtypes are those of `load_digits`. `directory` holds four IDX files under MNIST's
    names (`train-images-idx3-ubyte`, or with `.idx3`), plain or `.gz`; data sets made in MNIST's
    likeness may have other sizes. Without a directory the files are taken from the subfolder
    `mnist` of `cache_folder()`, or from that folder itself; what is missing is downloaded into the
    subfolder and checked. FileNotFoundError if `directory` lacks a file, OSError if both mirrors
    fail, FormatError if a file is damaged.
    Source: LeCun, Bottou, Bengio, Haffner, Gradient-based learning applied to document
    recognition, 1998.
    """
    if directory is not None:
        return _load_four([_find_or_raise(Path(directory), name) for name in MNIST])
    cache = cache_folder()
    folder = cache / "mnist"
    return _load_four([_find(folder, n) or _find(cache, n) or _download(n, folder) for n in MNIST])


def cache_folder() -> Path:
    """Where downloads lie: the folder FASTNN_DATA if that is set, else the platform's cache."""
    if own := os.environ.get("FASTNN_DATA"):
        return Path(own).expanduser()
    home = Path.home()
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = home / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache")
    return base / "fastnn"


def _load_four(paths: list[Traversable] | list[Path]) -> tuple[Labelled, Labelled]:
    """Training images and labels, test images and labels (the order of MNIST) as two pairs."""
    train, test = _load_pair(paths[0], paths[1]), _load_pair(paths[2], paths[3])
    expected, found = train[0].shape[1], test[0].shape[1]
    if found != expected:
        raise FormatError(f"{paths[2]}: expected {expected} pixels an image, got {found}")
    return train, test


def _load_pair(images: Traversable, labels: Traversable) -> Labelled:
    x, y = _read_idx(images), _read_idx(labels)
    if x.ndim < 2 or x.dtype != np.uint8:
        raise FormatError(f"{images}: expected images of uint8 pixels, got {x.dtype} {x.shape}")
    if y.shape != x.shape[:1] or y.dtype.kind not in "iu":
        raise FormatError(f"{labels}: expected {len(x)} integer labels, got {y.dtype} {y.shape}")
    return x.reshape(len(x), math.prod(x.shape[1:])), y.astype(np.int64)


def _find(folder: Path, name: str) -> Path | None:
    """The file of that name in `folder`, also spelt `train-images.idx3-ubyte`, also gzipped."""
    names = name, name.replace("-idx", ".idx")
    candidates = (folder / f"{spelt}{suffix}" for suffix in ("", ".gz") for spelt in names)
    return next(filter(Path.is_file, candidates), None)


def _find_or_raise(folder: Path, name: str) -> Path:
    if not folder.is_dir():
        raise NotADirectoryError(f"expected a folder of IDX files, got {folder}")
    if (path := _find(folder, name)) is None:
        raise FileNotFoundError(f"expected {name} or {name}.gz in {folder}, found neither")
    return path


# ---------------------------------------------------------------------------------------- download


def _download(name: str, folder: Path) -> Path:
    """Fetch `name` from the first mirror that has it whole; it gets its name once it is checked."""
    from http.client import HTTPException
    from uuid import uuid4

    folder.mkdir(parents=True, exist_ok=True)
    path, part = folder / f"{name}.gz", folder / f"{name}.{uuid4().hex}.part"
    failures = []
    for mirror in MIRRORS:
        try:
            _fetch(mirror + path.name, part)
            _check_digest(part, MNIST[name])
            part.replace(path)
            return path
        except (OSError, HTTPException, FormatError) as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            failures.append(f"{mirror}: {reason.removeprefix(f'{part}: ')}")
        finally:
            part.unlink(missing_ok=True)
    reasons = "; ".join(failures)
    raise OSError(f"{path.name} could not be downloaded ({reasons}); it may be put in {folder}")


def _fetch(url: str, path: Path) -> None:
    from urllib.request import urlopen

    with urlopen(url, timeout=TIMEOUT) as answer, path.open("wb") as file:
        length = answer.headers.get("Content-Length", "")
        total = int(length) if length.isdecimal() else None
        name = url.rpartition("/")[2]
        with progress(name, total, Unit("kB", 1000)) as bar:
            while chunk := answer.read1(CHUNK_BYTES):
                file.write(chunk)
                bar.advance(len(chunk), f"{file.tell() / 1e6:.1f} MB")
        if total is not None and file.tell() != total:
            raise FormatError(f"expected {total} bytes, got {file.tell()}")
        file.flush()
        os.fsync(file.fileno())


def _check_digest(path: Path, expected: str) -> None:
    import hashlib

    digest = hashlib.sha256()
    with _opened(path) as stream:
        while chunk := stream.read(CHUNK_BYTES):
            digest.update(chunk)
    found = digest.hexdigest()
    if found != expected:
        raise FormatError(f"expected SHA-256 {expected[:16]}..., got {found[:16]}...")


# ------------------------------------------------------------------------------- bytes, gzip, IDX


@contextmanager
def _opened(path: Traversable) -> Iterator[IO[bytes]]:
    """The bytes of a file, with gzip undone if the file starts like gzip."""
    with path.open("rb") as file:
        gzipped = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        if not gzipped:
            yield file
            return
        import gzip
        import zlib

        with gzip.open(file) as stream:
            try:
                yield cast(IO[bytes], stream)
            except (EOFError, gzip.BadGzipFile, zlib.error) as error:
                raise FormatError(f"{path}: expected whole gzip data ({error})") from None


def _read_body(stream: IO[bytes], header: Header, path: object) -> Array:
    """All that is left of `stream` as the writable array, in native byte order, of that header."""
    dtype, shape, order = header
    expected = math.prod(shape) * dtype.itemsize
    body = bytearray()
    while chunk := stream.read(min(CHUNK_BYTES, expected + 1 - len(body))):
        body += chunk
    if len(body) != expected:
        raise _wrong_length(path, header, len(body) if len(body) < expected else "more")
    try:
        array = np.frombuffer(body, dtype).reshape(shape, order=order)
    except ValueError as error:  # too many dimensions, or an empty array with a huge side
        raise FormatError(f"{path}: expected a possible shape, got {shape} ({error})") from None
    return array.astype(dtype.newbyteorder("="), copy=False)


def _wrong_length(path: object, header: Header, found: int | str) -> FormatError:
    dtype, shape, _ = header
    expected = math.prod(shape) * dtype.itemsize
    return FormatError(f"{path}: expected {expected} bytes for {dtype.name} {shape}, got {found}")


def read_idx(path: StrPath) -> Array:
    """The array in an IDX file, gzipped or not: any rank, all dtypes of IDX, native byte order.

    FormatError if the file is no IDX file, or its length is not the one that its header tells.
    Source: LeCun, Cortes, Burges, The MNIST database, yann.lecun.com/exdb/mnist, last section.
    """
    return _read_idx(Path(path))


def _read_idx(path: Traversable) -> Array:
    with _opened(path) as stream:
        magic = stream.read(4)
        if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in IDX_DTYPES:
            codes = ", ".join(f"{code:02x}" for code in IDX_DTYPES)
            found = magic.hex(" ") or "an empty file"
            raise FormatError(f"{path}: expected IDX: 00 00, type ({codes}), rank; got {found}")
        rank = magic[3]
        sizes = stream.read(4 * rank)
        if len(sizes) != 4 * rank:
            raise FormatError(f"{path}: expected {4 * rank} bytes of sizes, got {len(sizes)}")
        shape = tuple(np.frombuffer(sizes, ">u4").tolist())
        return _read_body(stream, (np.dtype(IDX_DTYPES[magic[2]]), shape, "C"), path)


# ---------------------------------------------------------------------------------------- NPY, NPZ


def read_npy(path: StrPath, mmap_mode: Literal["r", "c"] | None = None) -> Array:
    """The array in an NPY file; `mmap_mode` "r" (read-only) or "c" (copy on write) maps it.

    What is mapped keeps its byte order, what is read becomes native. FormatError if the file is no
    NPY file, holds anything but numbers, or its length is not the one that its header tells.
    Source: Kern, NEP 1, A simple file format for NumPy arrays, 2007.
    """
    if mmap_mode not in (None, "r", "c"):
        raise unknown("mmap_mode", mmap_mode, ("r", "c"))
    path = Path(path)
    with path.open("rb") as stream:
        header = dtype, shape, order = _read_npy_header(stream, path)
        size = math.prod(shape) * dtype.itemsize
        if mmap_mode is None or size == 0:  # nothing cannot be mapped
            return _read_body(stream, header, path)
        start = stream.tell()
        if (found := path.stat().st_size - start) != size:
            raise _wrong_length(path, header, found)
        return np.memmap(stream, dtype, mmap_mode, start, shape, order)


def read_npz(path: StrPath) -> tuple[Array, Array | None]:
    """The arrays named x and y (or X and Y) of an NPZ file; y is None if there is none.

    FormatError if the file is no NPZ file, is damaged, or has no x.
    """
    import zipfile

    arrays = {}
    with Path(path).open("rb") as file:
        try:
            with zipfile.ZipFile(file) as archive:
                names = [name.removesuffix(".npy") for name in archive.namelist()]
                for name in {"x", "y", "X", "Y"}.intersection(names):
                    member = f"{path}, array {name}"
                    with archive.open(f"{name}.npy") as stream:
                        header = _read_npy_header(stream, member)
                        arrays[name.lower()] = _read_body(stream, header, member)
        except FormatError:
            raise
        except Exception as error:  # zipfile does not say what a damaged file may raise
            raise FormatError(f"{path}: expected a whole NPZ file ({error})") from None
    if "x" not in arrays:
        raise FormatError(f"{path}: expected arrays x and y, got {', '.join(names) or 'none'}")
    return arrays["x"], arrays.get("y")


def _read_npy_header(stream: IO[bytes], path: object) -> Header:
    from numpy.lib import format as npy

    readers = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
    try:
        version = npy.read_magic(stream)
        if version not in readers:
            raise ValueError(f"version {version[0]}.{version[1]}")
        shape, fortran, dtype = readers[version](stream)
    except Exception as error:  # NumPy does not say what a hostile header may raise
        reason = " ".join(str(error).split())
        raise FormatError(f"{path}: expected NPY of version 1.0 or 2.0 ({reason})") from None
    if dtype.kind not in "biufc" or min(shape, default=0) < 0:
        raise FormatError(f"{path}: expected an array of numbers, got {dtype} {shape}")
    return dtype, shape, "F" if fortran else "C"


# --------------------------------------------------------------------------------------------- CSV


def read_csv(
    path: StrPath, label: Label = "first", header: Literal["auto"] | bool = "auto"
) -> tuple[Array, NDArray[np.int64] | None]:
    """The numbers in a file of comma-separated values, gzipped or not: x (n, columns), y (n,).

    `label` says which column holds the labels; with None all columns are x, and y is None. x is
    uint8 if every value is written as a whole number from 0 to 255, else float64; y is int64. The
    first line is a `header` (True), is data (False), or is looked at ("auto"): it is a header if
    its label, or everything in it, is no number.
    FormatError names the line of a value that is no number, of a label that is no whole number,
    and of a row that is longer or shorter than the first.
    """
    if label not in ("first", "last", None):
        raise unknown("label column", label, ("first", "last", "None"))
    if header not in ("auto", True, False):
        raise unknown("header", header, ("auto", "True", "False"))
    import io

    xs: list[Array] = []
    ys: list[NDArray[np.int64]] = []
    width = 0
    with _opened(Path(path)) as stream, io.TextIOWrapper(stream, encoding="utf-8-sig") as text:
        try:
            lines: Iterator[Line] = (line for line in enumerate(text, 1) if not line[1].isspace())
            first = list(islice(lines, 1))
            skipped = first and (_is_header(first[0], label) if header == "auto" else header)
            lines = lines if skipped else chain(first, lines)
            while chunk := list(islice(lines, CSV_LINES)):
                width = width or len(_fields(chunk[0]))
                x, y = _split(_parse(chunk, width, path), chunk, label, path)
                xs.append(x)
                ys.append(y)
        except UnicodeDecodeError as error:
            raise FormatError(f"{path}: expected text in UTF-8, got {error}") from None
    if not xs:
        found = "only a header" if first else "an empty file"
        raise FormatError(f"{path}: expected rows of numbers, got {found}")
    return np.concatenate(xs), np.concatenate(ys) if label else None


def _fields(line: Line) -> list[str]:
    return [field.strip().strip('"') for field in line[1].split(",")]


def _is_number(field: str) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return "_" not in field


def _is_header(line: Line, label: Label) -> bool:
    numeric = [_is_number(field) for field in _fields(line)]
    return not any(numeric) or (label is not None and not numeric[COLUMN[label]])


def _parse(chunk: list[Line], width: int, path: object) -> Array:
    """The numbers of some lines: int64 if all are written as whole numbers, else float64."""
    text = [line for _, line in chunk]
    whole = not "".join(text).encode().translate(None, b'0123456789+-," \t\r\n')
    for dtype in (np.int64, np.float64) if whole else (np.float64,):
        try:
            rows = np.loadtxt(text, dtype, None, ",", quotechar='"', ndmin=2)
        except ValueError:
            continue
        if rows.shape == (len(chunk), width):
            return rows
    raise FormatError(f"{path}, {_fault(chunk, width)}")


def _fault(chunk: list[Line], width: int) -> str:
    """Says which line could not be parsed, and why."""
    for line in chunk:
        fields = _fields(line)
        if len(fields) != width:
            return f"line {line[0]}: expected {width} values, got {len(fields)}"
        for column, field in enumerate(fields, 1):
            if not _is_number(field):
                return f"line {line[0]}: expected a number in column {column}, got {field[:40]!r}"
    return f"lines {chunk[0][0]} to {chunk[-1][0]}: expected plain numbers, got quoted or odd ones"


def _split(
    rows: Array, chunk: list[Line], label: Label, path: object
) -> tuple[Array, NDArray[np.int64]]:
    """Features, as uint8 if they are whole numbers from 0 to 255, and labels (none: empty)."""
    y = rows[:, :0]
    if label is not None:
        if rows.shape[1] < 2:
            raise FormatError(f"{path}: expected a label and at least 1 feature, got 1 column")
        y = rows[:, COLUMN[label]]
        rows = np.delete(rows, COLUMN[label], axis=1)
        bad = np.flatnonzero((y != np.trunc(y)) | (np.abs(y) > 2**53))
        if bad.size:
            line, found = chunk[bad[0]][0], y[bad[0]]
            raise FormatError(f"{path}, line {line}: expected a whole number as label, got {found}")
    is_byte = rows.dtype == np.int64 and rows.min() >= 0 and rows.max() <= 255
    return rows.astype(np.uint8 if is_byte else np.float64), y.astype(np.int64)


# ---------------------------------------------------------------------------------------- any file


def load_file(path: StrPath, label: Label = "first") -> tuple[Array, Array | None]:
    """Reads a CSV, NPZ, NPY or IDX file, told by its name: (x, y), or (x, None) without labels.

    `label` is that of `read_csv`; the other formats pay no heed to it. FormatError if the name
    ends in none of .csv, .npz, .npy, .idx, -ubyte (the first and the last two also with .gz), or
    if the file is not what its name says.
    """
    name = Path(path).name.lower()
    bare = name.removesuffix(".gz")
    if bare.endswith(".csv"):
        return read_csv(path, label)
    if bare.endswith((".idx", "-ubyte")):
        return read_idx(path), None
    if name.endswith(".npz"):
        return read_npz(path)
    if name.endswith(".npy"):
        return read_npy(path), None
    raise FormatError(f"{path}: expected a file named *.csv, *.npz, *.npy, *.idx or *-ubyte")
