"""Readers for IDX, NPY and NPZ files, and the door through which every file of data comes in.

A reader believes no header: what is declared is held against the file's own size before memory is
taken, and an array is read into its own memory. A file that is damaged, or of another kind than
its reader, gives a `FormatError` of one line that says what was expected and what was found.
"""

from __future__ import annotations

import math
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedIOBase, BytesIO
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from ._errors import SHOWN, FormatError, printable, reason, shown, unknown

if TYPE_CHECKING:
    import zipfile
    from importlib.resources.abc import Traversable

Array: TypeAlias = NDArray[Any]
Header: TypeAlias = tuple[np.dtype[Any], tuple[int, ...], Literal["C", "F"]]
StrPath: TypeAlias = str | os.PathLike[str]

IDX_DTYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
CHUNK_BYTES = 1 << 20
DEFLATED = 1032  # bytes that one byte of deflate can hold at most (zlib.net/zlib_tech.html)
NPY_HEADER = 10_000  # characters; NumPy refuses longer ones too, but reads them first
NPZ_NAMES = {"x.npy": "x", "X.npy": "x", "y.npy": "y", "Y.npy": "y"}


# ------------------------------------------------------------------------------- opening, and gzip


def as_path(path: StrPath) -> Path:
    """The path. Raises TypeError for anything else, a number of an open file too."""
    if isinstance(path, str | os.PathLike) and isinstance(os.fspath(path), str):
        return Path(path)
    raise TypeError(f"expected a path, got {type(path).__name__} {shown(path)}")


@contextmanager
def opened_plain(path: Traversable) -> Iterator[IO[bytes]]:
    """The bytes of a regular file. FormatError for a folder, a pipe or a device; never waits."""
    if not isinstance(path, Path):  # a resource, perhaps inside a wheel
        with path.open("rb") as file:
            yield file
        return

    def at_once(name: str, flags: int) -> int:  # to open a pipe would wait for its other end
        return os.open(name, flags | getattr(os, "O_NONBLOCK", 0))

    try:
        file = open(path, "rb", opener=at_once)  # noqa: SIM115
    except IsADirectoryError:
        raise FormatError(f"{path}: expected a file, got a folder") from None
    except ValueError as error:  # a null byte in the name
        raise FormatError(f"expected a path, got {shown(str(path))} ({reason(error)})") from None
    with file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise FormatError(f"{path}: expected a regular file, got a pipe or a device")
        yield file


@dataclass(frozen=True)
class Source:
    """Bytes to read; there are `most` of them, or, unless that is exact, at most as many."""

    stream: BufferedIOBase
    most: int
    exact: bool

    def left(self) -> int:
        return self.most - self.stream.tell()


@contextmanager
def opened(path: Traversable) -> Iterator[Source]:
    """The bytes of a file, with gzip undone if the file starts like gzip."""
    with opened_plain(path) as file:
        gzipped = file.read(2) == b"\x1f\x8b"
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        if not gzipped:
            yield Source(cast(BufferedIOBase, file), size, exact=True)
            return
        import gzip
        import zlib

        with gzip.open(file) as stream:
            try:
                yield Source(cast(BufferedIOBase, stream), size * DEFLATED, exact=False)
            except (EOFError, gzip.BadGzipFile, zlib.error) as error:
                raise FormatError(f"{path}: expected whole gzip data ({reason(error)})") from None


# ---------------------------------------------------------------------------------- array, and IDX


def _read_body(source: Source, header: Header, path: object) -> Array:
    """All that is left of the bytes as the writable array, in native byte order, of that header."""
    dtype, shape, order = header
    expected, left = math.prod(shape) * dtype.itemsize, source.left()
    if expected > left:
        raise _wrong_length(path, header, left if source.exact else f"at most {left}")
    try:
        body = np.empty(expected, np.uint8)
    except MemoryError:
        kind = f"{dtype.name} {shown(shape)}"
        raise MemoryError(f"{path}: expected memory for {expected} bytes of {kind}") from None
    read = _fill(body.data, source.stream)
    if read < expected or source.stream.read(1):
        raise _wrong_length(path, header, read if read < expected else "more")
    flat: Array = body.view(dtype)
    if not dtype.isnative:
        flat = flat.byteswap(inplace=True).view(dtype.newbyteorder("="))
    try:
        return flat.reshape(shape, order=order)
    except ValueError as error:  # too many dimensions, or an empty array with a huge side
        found = f"{shown(shape)} ({reason(error)})"
        raise FormatError(f"{path}: expected a possible shape, got {found}") from None


def _fill(body: memoryview, stream: BufferedIOBase) -> int:
    """Read until `body` is full or the stream at its end; returns the number of bytes read."""
    read = 0
    while got := stream.readinto(body[read : read + CHUNK_BYTES]):
        read += got
    return read


def _wrong_length(path: object, header: Header, found: int | str) -> FormatError:
    dtype, shape, _ = header
    size = shown(math.prod(shape) * dtype.itemsize)
    expected = f"{size} bytes for {dtype.name} {shown(shape)}"
    return FormatError(f"{path}: expected {expected}, got {found}")


def read_idx(path: StrPath) -> Array:
    """The array in an IDX file, gzipped or not: any rank, all dtypes of IDX, native byte order.

    FormatError if the file is no IDX file, or its length is not the one that its header tells.
    Source: LeCun, Cortes, Burges, The MNIST database, yann.lecun.com/exdb/mnist, last section.
    """
    return read_idx_resource(as_path(path))


def read_idx_resource(path: Traversable) -> Array:
    """As `read_idx`, of a file or of a resource of a package."""
    with opened(path) as source:
        magic = source.stream.read(4)
        if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in IDX_DTYPES:
            codes = ", ".join(f"{code:02x}" for code in IDX_DTYPES)
            found = magic.hex(" ") or "an empty file"
            raise FormatError(f"{path}: expected IDX: 00 00, type ({codes}), rank; got {found}")
        rank = magic[3]
        sizes = source.stream.read(4 * rank)
        if len(sizes) != 4 * rank:
            raise FormatError(f"{path}: expected {4 * rank} bytes of sizes, got {len(sizes)}")
        shape = tuple(np.frombuffer(sizes, ">u4").tolist())
        return _read_body(source, (np.dtype(IDX_DTYPES[magic[2]]), shape, "C"), path)


# ---------------------------------------------------------------------------------------- NPY, NPZ


def read_npy(path: StrPath, mmap_mode: Literal["r", "c"] | None = None) -> Array:
    """The array in an NPY file; `mmap_mode` "r" (read-only) or "c" (copy on write) maps it.

    What is mapped keeps its byte order, what is read becomes native. FormatError if the file is no
    NPY file, holds anything but numbers, or its length is not the one that its header tells.
    Source: Kern, NEP 1, A simple file format for NumPy arrays, 2007.
    """
    if mmap_mode not in (None, "r", "c"):
        raise unknown("mmap_mode", mmap_mode, ("r", "c"))
    path = as_path(path)
    with opened_plain(path) as file:
        size = os.fstat(file.fileno()).st_size
        header = dtype, shape, order = _read_npy_header(file, path)
        expected = math.prod(shape) * dtype.itemsize
        if mmap_mode is None or expected == 0:  # nothing cannot be mapped
            return _read_body(Source(cast(BufferedIOBase, file), size, exact=True), header, path)
        start = file.tell()
        if (found := size - start) != expected:
            raise _wrong_length(path, header, found)
        return np.memmap(cast(Any, file), dtype, mmap_mode, start, shape, order)


def read_npz(path: StrPath) -> tuple[Array, Array | None]:
    """The arrays named x and y (or X and Y) of an NPZ file; y is None if there is none.

    FormatError if the file is no NPZ file, is damaged, or has no x.
    """
    import zipfile

    path = as_path(path)
    with opened_plain(path) as file:
        try:
            with zipfile.ZipFile(cast(IO[bytes], _Frugal(file, path))) as archive:
                members = _members(archive, path)
                arrays = {n: _read_member(archive, m, path) for n, m in members.items()}
        except (FormatError, MemoryError):
            raise
        except Exception as error:  # zipfile does not say what a damaged file may raise
            raise FormatError(f"{path}: expected a whole NPZ file ({reason(error)})") from None
    return arrays["x"], arrays.get("y")


class _Frugal:
    """A file that refuses to read much at once, such as a zip's table of contents of 1 GB."""

    def __init__(self, file: IO[bytes], path: Path) -> None:
        self._file, self._path = file, path

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def read(self, size: int = -1) -> bytes:
        if size > CHUNK_BYTES:
            raise FormatError(f"{self._path}: expected a short table of contents, got {size} bytes")
        return self._file.read(size)


def _members(archive: zipfile.ZipFile, path: Path) -> dict[str, zipfile.ZipInfo]:
    """The members of the names x and y, of which x must be there, and each but once."""
    members: dict[str, zipfile.ZipInfo] = {}
    for member in archive.infolist():
        if (name := NPZ_NAMES.get(member.filename)) is None:
            continue
        if name in members:
            raise FormatError(f"{path}: expected one array {name}, got two")
        members[name] = member
    if "x" not in members:
        names = [name.removesuffix(".npy") for name in archive.namelist()]
        found = printable(", ".join(names))[:SHOWN] or "none"
        raise FormatError(f"{path}: expected arrays x and y, got {found}")
    return members


def _read_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, path: Path) -> Array:
    where = f"{path}, array {member.filename.removesuffix('.npy')}"
    size, packed = member.file_size, member.compress_size
    if member.compress_type not in (0, 8):  # NumPy writes no other; theirs may hold anything
        raise FormatError(f"{where}: expected it stored or deflated, got {member.compress_type}")
    if size > packed * DEFLATED:
        raise FormatError(f"{where}: expected at most {packed * DEFLATED} bytes, got {size}")
    with archive.open(member) as stream:
        header = _read_npy_header(stream, where)
        return _read_body(Source(cast(BufferedIOBase, stream), size, exact=True), header, where)


def _read_npy_header(stream: IO[bytes], path: object) -> Header:
    from numpy.lib import format as npy

    readers = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
    try:
        version = npy.read_magic(stream)
        if version not in readers:
            raise ValueError(f"version {version[0]}.{version[1]}")
        length = stream.read(2 * version[0])
        if (size := int.from_bytes(length, "little")) > NPY_HEADER:
            raise ValueError(f"a header of {size} bytes")
        shape, fortran, dtype = readers[version](BytesIO(length + stream.read(size)))
    except Exception as error:  # NumPy does not say what a hostile header may raise
        raise FormatError(f"{path}: expected NPY of version 1.0 or 2.0 ({reason(error)})") from None
    possible = len(shape) <= 64 and all(0 <= side < 2**63 for side in shape)
    if dtype.kind not in "biufc" or not possible:
        found = f"{printable(str(dtype))[:SHOWN]} {shown(shape)}"
        raise FormatError(f"{path}: expected an array of numbers, got {found}")
    return dtype, shape, "F" if fortran else "C"
