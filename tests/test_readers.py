"""Readers of arrays read what they should, and refuse the rest in one line."""

from __future__ import annotations

import gzip
import io
import os
import struct
import subprocess
import sys
import tracemalloc
import zipfile
import zlib
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fastnn import datasets
from fastnn._errors import FormatError


def npy_bytes(array):
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


def npz_bytes(**arrays):
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    return file.getvalue()


CODES = {"u1": 0x08, "i1": 0x09, "i2": 0x0B, "i4": 0x0C, "f4": 0x0D, "f8": 0x0E}


def idx_bytes(array):
    """An IDX file's bytes: 0, 0, type, rank, sizes and values, all big-endian."""
    big = array.astype(array.dtype.newbyteorder(">"))
    code = CODES[f"{array.dtype.kind}{array.dtype.itemsize}"]
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return bytes([0, 0, code, array.ndim]) + sizes + big.tobytes()


def assert_same(found, expected):
    assert found.dtype == expected.dtype
    assert found.dtype.isnative
    assert found.shape == expected.shape
    assert found.tobytes() == expected.tobytes()


# --------------------------------------------------------------------------------------------- IDX

SHAPES = hnp.array_shapes(min_dims=0, max_dims=5, min_side=0, max_side=4)


def arrays(codes):
    return st.sampled_from(codes).flatmap(lambda code: hnp.arrays(code, SHAPES))


@given(array=arrays([order + code for code in CODES for order in "<>"]), packed=st.booleans())
@settings(max_examples=100, deadline=None)
def test_idx_of_every_dtype_and_rank(scratch, array, packed):
    data = idx_bytes(array)
    scratch.write_bytes(gzip.compress(data) if packed else data)
    found = datasets.read_idx(scratch)
    assert_same(found, array.astype(array.dtype.newbyteorder("=")))
    assert found.flags.writeable


def test_idx_by_hand(write):
    path = write("by-hand.idx", bytes.fromhex("00000b02 00000001 00000003 0001 0100 fffe"))
    assert_same(datasets.read_idx(path), np.array([[1, 256, -2]], np.int16))
    assert_same(
        datasets.read_idx(write("scalar", bytes.fromhex("00000800 07"))), np.array(7, np.uint8)
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "expected IDX: 00 00, type (08, 09, 0b, 0c, 0d, 0e), rank; got an empty file"),
        (b"PK\3\4rest", "got 50 4b 03 04"),
        (b"\0\0\x0a\1\0\0\0\0", "got 00 00 0a 01"),
        (b"\0\1\x08\1\0\0\0\0", "got 00 01 08 01"),
        (b"\0\0\x08", "got 00 00 08"),
        (b"\0\0\x08\2\0\0\0\1\0", "expected 8 bytes of sizes, got 5"),
        (b"\0\0\x08\1\0\0\0\3ab", "expected 3 bytes for uint8 (3,), got 2"),
        (b"\0\0\x08\1\0\0\0\3abcd", "expected 3 bytes for uint8 (3,), got more"),
        (b"\0\0\x0e\1\0\0\0\1abcdefg", "expected 8 bytes for float64 (1,), got 7"),
        (b"\0\0\x08\x03" + b"\xff" * 12 + b"abc", f"expected {(2**32 - 1) ** 3} bytes for uint8"),
        (b"\0\0\x08\xff" + b"\0\0\0\1" * 255 + b"a", "expected a possible shape, got (1, 1,"),
        (
            b"\0\0\x08\x04" + b"\0" * 4 + b"\xff" * 12,
            "expected a possible shape, got (0, 4294967295,",
        ),
        (b"\0\0\x08\xff" + b"\xff" * 1020, "... bytes for uint8 (4294967295, 4294967295,"),
    ],
)
def test_idx_refuses_a_false_header(write, content, message, refusal):
    for data in content, gzip.compress(content):
        found = refusal(datasets.read_idx, write("false.idx", data))
        assert len(found) < 400
        assert message in found
        assert "false.idx" in found


@pytest.mark.parametrize(
    "damage",
    [
        lambda d: d[:-9],
        lambda d: d[: len(d) // 2],
        lambda d: d[:-5] + b"\0" + d[-4:],
        lambda d: d + b"junk",
        lambda d: d[:12] + b"\xff\xff\xff" + d[15:],
        lambda d: d[:2],
        lambda d: d[:2] + b"\7" + d[3:],
    ],
)
def test_idx_refuses_damaged_gzip(write, damage, refusal):
    data = gzip.compress(idx_bytes(np.arange(1000, dtype=np.int32)))
    message = refusal(datasets.read_idx, write("damaged.gz", damage(data)))
    assert "damaged.gz: expected whole gzip data" in message


def peak_bytes(read, *arguments):
    """The most memory held at once while `read` refuses its file, or reads it."""
    tracemalloc.start()
    try:
        with suppress(FormatError):
            read(*arguments)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def npy_header(text):
    return b"\x93NUMPY\1\0" + len(text).to_bytes(2, "little") + text.encode()


HUGE_NPY = (
    npy_header("{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000,)}") + b"12345678"
)


def test_readers_believe_no_header(write):
    huge = b"\0\0\x08\2" + (2**31).to_bytes(4, "big") * 2 + b"abc"
    bomb = gzip.compress(b"\0\0\x08\1\0\0\0\3" + bytes(50_000_000))
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("x.npy", HUGE_NPY)
    assert peak_bytes(datasets.read_idx, write("huge", huge)) < 5e6
    assert peak_bytes(datasets.read_idx, write("bomb.gz", bomb)) < 5e6
    assert peak_bytes(datasets.read_npy, write("huge.npy", HUGE_NPY)) < 5e6
    assert peak_bytes(datasets.read_npy, write("huge.npy", HUGE_NPY), "c") < 5e6
    assert peak_bytes(datasets.read_npz, write("huge.npz", archive.getvalue())) < 5e6


# ---------------------------------------------------------------------------------------- NPY, NPZ

NUMBERS = ["?", "<i8", ">i8", "<u2", ">u2", "<f4", ">f4", "<f8", ">f8", "<f2", "<c16"]


@given(array=arrays(NUMBERS), fortran=st.booleans())
@settings(max_examples=100, deadline=None)
def test_npy_and_npz_of_every_dtype_and_rank(scratch, array, fortran):
    if fortran:
        array = np.asfortranarray(array)
    native = array.astype(array.dtype.newbyteorder("="))
    scratch.write_bytes(npy_bytes(array))
    assert_same(datasets.read_npy(scratch), native)
    mapped = datasets.read_npy(scratch, mmap_mode="r")
    assert mapped.shape == array.shape
    assert mapped.tobytes() == (array if array.size else native).tobytes()
    del mapped
    scratch.write_bytes(npz_bytes(x=array))
    x, y = datasets.read_npz(scratch)
    assert_same(x, native)
    assert y is None


def test_npy_of_version_2(write):
    file = io.BytesIO()
    np.lib.format.write_array(file, np.arange(3), version=(2, 0))
    assert_same(datasets.read_npy(write("x.npy", file.getvalue())), np.arange(3))


def test_npy_that_ends_with_its_first_page_is_mapped(write):
    text = "{'descr': '|u1', 'fortran_order': False, 'shape': (0,)}".ljust(4096 - 10)
    path = write("empty.npy", npy_header(text))
    assert path.stat().st_size == 4096
    assert_same(datasets.read_npy(path, mmap_mode="r"), np.zeros(0, np.uint8))


def test_npy_is_mapped_on_request(write):
    path = write("x.npy", npy_bytes(np.arange(6).reshape(2, 3)))
    before = path.read_bytes()
    x = datasets.read_npy(path, mmap_mode="r")
    assert isinstance(x, np.memmap)
    assert not x.flags.writeable
    assert x.tolist() == [[0, 1, 2], [3, 4, 5]]
    x = datasets.read_npy(path, mmap_mode="c")
    x[0, 0] = 9
    assert path.read_bytes() == before
    with pytest.raises(ValueError, match="unknown mmap_mode 'r\\+'"):
        datasets.read_npy(path, mmap_mode="r+")


@pytest.mark.parametrize("mode", [None, "r", "c"])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "expected NPY of version 1.0 or 2.0"),
        (b"\0\0\x08\1\0\0\0\0", "expected NPY of version 1.0 or 2.0"),
        (b"\x93NUMPY\x09\0\0\0", "(version 9.0)"),
        (npy_bytes(np.arange(3))[:-1], "expected 24 bytes for int64 (3,), got 23"),
        (npy_bytes(np.arange(3))[:50], "expected NPY of version 1.0 or 2.0"),
        (HUGE_NPY, "expected 8000000000 bytes for float64 (1000000000,), got 8"),
        (
            npy_header("{'descr': '<f8', 'fortran_order': False, 'shape': (-1,)}"),
            "got float64 (-1,)",
        ),
        (npy_header("(" * 5000), "expected NPY of version 1.0 or 2.0"),
        (npy_header("[1]"), "expected NPY of version 1.0 or 2.0"),
        (npy_bytes(np.array([None])), "expected an array of numbers, got object (1,)"),
        (npy_bytes(np.array(["a"])), "expected an array of numbers, got <U1 (1,)"),
        (npy_bytes(np.zeros(2, "u1,f4")), "expected an array of numbers, got ["),
    ],
)
def test_npy_refuses_what_is_no_array_of_numbers(write, mode, content, message, refusal):
    found = refusal(datasets.read_npy, write("bad.npy", content), mode)
    assert message in found
    assert "bad.npy" in found


def test_npy_refuses_what_follows_the_array(write, refusal):
    path = write("long.npy", npy_bytes(np.arange(3)) + b"!")
    assert "expected 24 bytes for int64 (3,), got more" in refusal(datasets.read_npy, path)
    assert "expected 24 bytes for int64 (3,), got 25" in refusal(datasets.read_npy, path, "r")


class Trap:
    """Pickled, it would end the test run when it is loaded."""

    def __reduce__(self):
        return exit, ("a pickle was executed",)


def test_nothing_is_executed(write, refusal):
    trap = np.array([Trap()], dtype=object)
    assert "got object" in refusal(datasets.read_npy, write("trap.npy", npy_bytes(trap)))
    assert "array x: expected" in refusal(datasets.read_npz, write("trap.npz", npz_bytes(x=trap)))


@pytest.mark.parametrize("names", ["xy", "XY", "Xy"])
def test_npz_holds_x_and_y(write, names):
    x, y = np.arange(6.0).reshape(2, 3), np.array([1, 0])
    found = datasets.read_npz(
        write("xy.npz", npz_bytes(**dict(zip(names, (x, y), strict=True)), z=x))
    )
    assert_same(found[0], x)
    assert_same(found[1], y)


def test_npz_refuses_other_files(write, refusal):
    x = np.arange(1000.0)
    whole = npz_bytes(x=x)
    other = write("other.npz", npz_bytes(a=x, b=x))
    assert "other.npz: expected arrays x and y, got a, b" in refusal(datasets.read_npz, other)
    assert "expected arrays x and y, got none" in refusal(
        datasets.read_npz, write("0.npz", npz_bytes())
    )
    middle = len(whole) // 2
    for data in b"", whole[:-10], npy_bytes(x), whole[:middle] + b"\0" * 40 + whole[middle + 40 :]:
        message = refusal(datasets.read_npz, write("bad.npz", data))
        assert "bad.npz: expected a whole NPZ file" in message


def npz_members(*members, method=zipfile.ZIP_DEFLATED):
    """An archive of these pairs of name and bytes."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return file.getvalue()


def test_npz_refuses_what_no_npz_of_numpy_holds(write, refusal):
    x = npy_bytes(np.arange(3.0))
    twice = npz_members(("x.npy", x), ("X.npy", x))
    assert "expected one array x, got two" in refusal(datasets.read_npz, write("2.npz", twice))
    packed = npz_members(("x.npy", x), method=zipfile.ZIP_LZMA)
    assert "array x: expected it stored or deflated" in refusal(
        datasets.read_npz, write("lzma.npz", packed)
    )
    bare = npz_members(("x", x), ("y\x1b[31m", x))
    assert "expected arrays x and y, got x, y\\x1b[31m" in refusal(
        datasets.read_npz, write("bare.npz", bare)
    )
    swapped = npz_members(("x.npy", bytes(5000)), ("y.npy", x), method=zipfile.ZIP_STORED)
    swapped = swapped.replace(b"\5\0\0\0x.npy", b"\xff\xff\0\0x.npy", 1)  # a name of 65,535 bytes
    message = refusal(datasets.read_npz, write("swapped.npz", swapped))
    assert "swapped.npz: expected a whole NPZ file (File name in directory 'x.npy'" in message
    assert len(message) < 400
    many = npz_members(*((f"{i:0200}", b"") for i in range(6_000)))
    assert "expected a short table of contents" in refusal(
        datasets.read_npz, write("many.npz", many)
    )


def test_npz_declares_no_more_than_it_holds(write, refusal):
    """Neither the array's header nor the archive's directory is believed."""
    x = npy_bytes(np.arange(1000.0))
    lie = npz_members(("x.npy", HUGE_NPY))
    assert "array x: expected 8000000000 bytes for float64 (1000000000,), got 8" in refusal(
        datasets.read_npz, write("lie.npz", lie)
    )
    sizes = struct.pack("<LL", len(zlib.compress(x)) - 6, len(x))  # without zlib's own frame
    whole = npz_members(("x.npy", x))
    assert whole.count(sizes) == 2
    swollen = whole.replace(sizes, struct.pack("<LL", len(zlib.compress(x)) - 6, 3_000_000_000))
    path = write("swollen.npz", swollen)
    assert "array x: expected at most" in refusal(datasets.read_npz, path)
    assert peak_bytes(datasets.read_npz, path) < 1e6


@pytest.mark.parametrize("kind", ["npz", "npy", "big-endian", "idx"])
def test_arrays_are_read_into_their_own_memory(write, kind):
    x = np.ones(1_000_000, ">f8" if kind in ("idx", "big-endian") else "<f8")
    content = npz_bytes(x=x) if kind == "npz" else npy_bytes(x)
    content = gzip.compress(idx_bytes(x)) if kind == "idx" else content
    read = {"npz": datasets.read_npz, "idx": datasets.read_idx}.get(kind, datasets.read_npy)
    assert peak_bytes(read, write("x", content)) < 1.6 * x.nbytes  # and 4 MB of pieces


def test_gzip_cannot_hold_what_its_array_declares(write, refusal):
    path = write("lie.idx.gz", gzip.compress(b"\0\0\x08\1\x40\0\0\0abc"))
    message = refusal(datasets.read_idx, path)
    assert f"expected {2**30} bytes for uint8 ({2**30},), got at most " in message


def test_npy_header_is_never_long(write, refusal):
    long = b"\x93NUMPY\2\0" + (2**31 - 1).to_bytes(4, "little") + b" " * 1000
    packed = npz_members(("x.npy", long + bytes(20_000_000)))
    for path, read in (
        (write("long.npy", long), datasets.read_npy),
        (write("long.npz", packed), datasets.read_npz),
    ):
        assert "(a header of 2147483647 bytes)" in refusal(read, path)
        assert peak_bytes(read, path) < 1e6
    for side in ("1" + "0" * 4000 + ", 1" + "0" * 4000, "1," * 65, f"{2**63},"):
        header = npy_header(f"{{'descr': '<f8', 'fortran_order': False, 'shape': ({side})}}")
        assert "expected an array of numbers, got float64 " in refusal(
            datasets.read_npy, write("sides.npy", header)
        )


READERS = {
    "csv": datasets.read_csv,
    "table": datasets.read_table,
    "idx": datasets.read_idx,
    "npy": datasets.read_npy,
    "npz": datasets.read_npz,
    "file": datasets.load_file,
}


@pytest.mark.parametrize("kind", READERS)
def test_paths_are_text(kind):
    read, write = os.pipe()
    for value in 0, read, None, b"x.csv", 1.5, ["x.csv"]:
        with pytest.raises(TypeError, match="expected a path, got"):
            READERS[kind](value)
    os.fstat(read)  # raises if it was closed
    os.close(read)
    os.close(write)


@pytest.mark.parametrize("kind", READERS)
def test_what_is_no_file_is_refused_at_once(tmp_path, kind, refusal):
    suffix = {"file": ".csv"}.get(kind, "")
    for name in f"folder{suffix}", f"pipe{suffix}", f"null{suffix}":
        path = tmp_path / name
        if name.startswith("folder"):
            path.mkdir()
        elif name.startswith("pipe"):
            os.mkfifo(path)  # nobody writes into it
        else:
            path.symlink_to(os.devnull)
        expected = "got a folder" if path.is_dir() else "got a pipe or a device"
        assert expected in refusal(READERS[kind], path)
    with pytest.raises(FileNotFoundError, match="gone"):
        READERS[kind](tmp_path / f"gone{suffix}")
    assert "null byte" in refusal(READERS[kind], f"a\0b{suffix}")


def test_hostile_files_are_read_or_refused(tmp_path):
    """A short pass of the script that anyone can run longer."""
    script = Path(__file__).with_name("stress_data.py")
    run = subprocess.run(
        [sys.executable, script, "--seconds", "4", "--seed", "0"],
        cwd=tmp_path,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert (run.returncode, run.stderr) == (0, ""), run.stdout + run.stderr
    rows = [line.split() for line in run.stdout.splitlines()[1:]]
    assert [row[0] for row in rows] == ["table", "npy", "npz", "idx"]
    assert all(int(count) > 0 for row in rows for count in row[1:4])


BODIES = {
    "idx": (datasets.read_idx, idx_bytes(np.arange(6, dtype=np.int16).reshape(2, 3))),
    "gzip": (datasets.read_idx, gzip.compress(idx_bytes(np.arange(6, dtype=np.int16)))),
    "npy": (datasets.read_npy, npy_bytes(np.arange(6.0).reshape(2, 3))),
    "npz": (datasets.read_npz, npz_bytes(x=np.arange(6.0).reshape(2, 3), y=np.arange(2))),
    "csv": (datasets.read_csv, b'label,a,b\n1,2.5,3\n"4",5,6\n'),
    "table": (datasets.read_table, b',a,b\n0,2.5,"x"\n1,5,y\n'),
}


@pytest.mark.parametrize("kind", BODIES)
@given(place=st.integers(0, 600), value=st.integers(0, 255), cut=st.booleans())
@settings(max_examples=150, deadline=None)
def test_any_damage_is_refused_in_one_way(scratch, kind, place, value, cut):
    read, body = BODIES[kind]
    place %= len(body)
    scratch.write_bytes(body[:place] + (b"" if cut else bytes([value]) + body[place + 1 :]))
    message = ""
    try:
        read(scratch)
    except FormatError as error:
        message = str(error)
    assert "\n" not in message
