"""Real handwritten digits, and every reader of data by its name."""

from __future__ import annotations

import math
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ._errors import FormatError, printable
from ._progress import Unit, progress
from .readers import CHUNK_BYTES, StrPath, as_path, opened, read_idx, read_idx_resource
from .readers import read_npy as read_npy
from .readers import read_npz as read_npz
from .tables import Label, Table, read_csv, read_names, read_table

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

__all__ = [
    "Table",
    "cache_folder",
    "load_digits",
    "load_file",
    "load_mnist",
    "read_csv",
    "read_idx",
    "read_names",
    "read_npy",
    "read_npz",
    "read_table",
]

Array: TypeAlias = NDArray[Any]
Labelled: TypeAlias = tuple[NDArray[np.uint8], NDArray[np.int64]]

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
        return _load_four([_find_or_raise(as_path(directory), name) for name in MNIST])
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
    x, y = read_idx_resource(images), read_idx_resource(labels)
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
            reason = printable(" ".join(str(error).split())) or type(error).__name__
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
    with opened(path) as source:
        while chunk := source.stream.read(CHUNK_BYTES):
            digest.update(chunk)
    found = digest.hexdigest()
    if found != expected:
        raise FormatError(f"expected SHA-256 {expected[:16]}..., got {found[:16]}...")


# ---------------------------------------------------------------------------------------- any file


def load_file(path: StrPath, label: Label = "first") -> tuple[Array, Array | None]:
    """Reads a CSV, NPZ, NPY or IDX file, told by its name: (x, y), or (x, None) without labels.

    `label` is that of `read_csv`; the other formats pay no heed to it. FormatError if the name
    ends in none of .csv, .npz, .npy, .idx, -ubyte (the first and the last two also with .gz), or
    if the file is not what its name says.
    """
    name = as_path(path).name.lower()
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
