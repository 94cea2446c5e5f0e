"""The digits are those of MNIST; readers read what they should and refuse the rest in one line."""

from __future__ import annotations

import gzip
import hashlib
import io
import re
import sys
import threading
import tracemalloc
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fastnn import datasets
from fastnn._errors import FormatError

DIGITS = {  # SHA-256 of each shipped file after gzip is undone
    "train-images-idx3-ubyte": "4a9c0a3f919025e3acb3317ef8bd4b489e537e5a41a51add6f20689ac218431e",
    "train-labels-idx1-ubyte": "155e21a5f6dbf9226f5c03a68ec4ce9c98df812fb8bc45008ad7ee19aee40e30",
    "t10k-images-idx3-ubyte": "423dd7d4656f3f213c4376e8849d9b5cc8f783eb303475a41bcc094cf86afc46",
    "t10k-labels-idx1-ubyte": "7a47e8791328b4fef18bbbc8de73a30e0228951273d374db72435a5777a8f6a7",
}
MNIST_COUNTS = (
    (5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949),
    (980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009),
)
CODES = {"u1": 0x08, "i1": 0x09, "i2": 0x0B, "i4": 0x0C, "f4": 0x0D, "f8": 0x0E}


def idx_bytes(array):
    """An IDX file's bytes: 0, 0, type, rank, sizes and values, all big-endian."""
    big = array.astype(array.dtype.newbyteorder(">"))
    code = CODES[f"{array.dtype.kind}{array.dtype.itemsize}"]
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return bytes([0, 0, code, array.ndim]) + sizes + big.tobytes()


def npy_bytes(array):
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


def npz_bytes(**arrays):
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    return file.getvalue()


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def assert_same(found, expected):
    assert found.dtype == expected.dtype
    assert found.dtype.isnative
    assert found.shape == expected.shape
    assert found.tobytes() == expected.tobytes()


def refusal(read, *arguments, **options):
    """The one-line message of the FormatError that `read` raises."""
    with pytest.raises(FormatError) as caught:
        read(*arguments, **options)
    message = str(caught.value)
    assert message
    assert "\n" not in message
    return message


@pytest.fixture
def write(tmp_path):
    """Writes bytes or text to a file of that name and returns its path."""

    def to(name, content):
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return to


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    """A path that Hypothesis may write to again and again."""
    return tmp_path_factory.mktemp("scratch") / "file"


# ------------------------------------------------------------------------------------------ digits


def share(counts, n):
    """n divided among classes as `counts` are, by largest remainders."""
    exact = np.array(counts) * n / sum(counts)
    shares = exact.astype(int)
    shares[np.argsort(shares - exact, kind="stable")[: n - shares.sum()]] += 1
    return shares


def choose(labels, n):
    """The positions of n digits: shares of the classes, evenly spaced in each, in MNIST's order."""
    chosen = []
    for digit, k in enumerate(share(np.bincount(labels), n)):
        members = np.flatnonzero(labels == digit)
        chosen.append(members[(2 * np.arange(k) + 1) * len(members) // (2 * k)])
    return np.sort(np.concatenate(chosen))


def test_digits_have_the_promised_shapes_and_classes():
    pairs = datasets.load_digits()
    for (x, y), n, counts in zip(pairs, (10_000, 2_000), MNIST_COUNTS, strict=True):
        assert (x.dtype, x.shape) == (np.uint8, (n, 784))
        assert (y.dtype, y.shape) == (np.int64, (n,))
        assert np.bincount(y).tolist() == share(counts, n).tolist()
        assert x.flags.c_contiguous
        assert x.flags.writeable
        assert (x.min(), x.max()) == (0, 255)


def test_digits_are_those_that_were_chosen():
    pairs = datasets.load_digits()
    arrays = [array for x, y in pairs for array in (x.reshape(-1, 28, 28), y.astype(np.uint8))]
    assert [sha256(idx_bytes(array)) for array in arrays] == list(DIGITS.values())


def test_choice_follows_the_rule_wherever_mnist_is_at_hand():
    cache = datasets.cache_folder()
    folders = [f for f in (cache / "mnist", cache) if all(datasets._find(f, n) for n in DIGITS)]
    mnist = datasets.load_mnist(folders[0]) if folders else datasets.load_digits()
    for (x, y), (shipped_x, shipped_y) in zip(mnist, datasets.load_digits(), strict=True):
        rows = choose(y, len(shipped_y))
        assert np.array_equal(x[rows], shipped_x)
        assert np.array_equal(y[rows], shipped_y)


def test_digits_are_small_and_bring_their_licence():
    files = list((resources.files("fastnn") / "data").iterdir())
    assert sum(len(file.read_bytes()) for file in files) <= 2_500_000
    (licence,) = (file.read_text() for file in files if file.name == "LICENSE-digits.md")
    for word in ("Attribution-Share Alike 3.0", "LeCun", "Cortes", "Burges", "Special Database 3"):
        assert word in licence
    for counts, n in zip(MNIST_COUNTS, (10_000, 2_000), strict=True):
        assert " | ".join(map(str, share(counts, n))) in licence


# ------------------------------------------------------------------------------- MNIST in a folder

SMALL = {
    "train-images-idx3-ubyte": np.arange(5 * 12, dtype=np.uint8).reshape(5, 4, 3),
    "train-labels-idx1-ubyte": np.array([3, 1, 4, 1, 5], np.uint8),
    "t10k-images-idx3-ubyte": np.arange(100, 100 + 2 * 12, dtype=np.uint8).reshape(2, 4, 3),
    "t10k-labels-idx1-ubyte": np.array([9, 2], np.uint8),
}
SPELLINGS = {
    "plain": (lambda name: name, bytes),
    "gzip": (lambda name: f"{name}.gz", gzip.compress),
    "dot": (lambda name: name.replace("-idx", ".idx"), bytes),
    "dot-gzip": (lambda name: name.replace("-idx", ".idx") + ".gz", gzip.compress),
    "gzip-without-suffix": (lambda name: name, gzip.compress),
}


def write_small(folder, spelling="plain", **replaced):
    """MNIST in small; `replaced` takes underscores for hyphens."""
    spell, pack = SPELLINGS[spelling]
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in SMALL.items():
        array = replaced.get(name.replace("-", "_"), array)
        (folder / spell(name)).write_bytes(pack(idx_bytes(array)))
    return folder


def assert_small(pairs):
    for (x, y), (images, labels) in zip(
        pairs,
        (
            ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
            ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
        ),
        strict=True,
    ):
        assert_same(x, SMALL[images].reshape(-1, 12))
        assert_same(y, SMALL[labels].astype(np.int64))


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_mnist_is_read_from_a_folder(tmp_path, spelling):
    assert_small(datasets.load_mnist(write_small(tmp_path, spelling)))
    assert_small(datasets.load_mnist(str(tmp_path)))


def test_mnist_of_a_folder_that_lacks_a_file_names_it(tmp_path):
    write_small(tmp_path)
    (tmp_path / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(FileNotFoundError, match=r"expected t10k-labels-idx1-ubyte or .*\.gz in "):
        datasets.load_mnist(tmp_path)
    with pytest.raises(NotADirectoryError, match=r"expected a folder of IDX files, got .*nowhere"):
        datasets.load_mnist(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("replaced", "message"),
    [
        (
            {"train_images_idx3_ubyte": np.zeros(5, np.uint8)},
            "expected images of uint8 pixels, got uint8 (5,)",
        ),
        (
            {"t10k_images_idx3_ubyte": np.zeros((2, 4, 3), np.int16)},
            "expected images of uint8 pixels, got int16",
        ),
        (
            {"train_labels_idx1_ubyte": np.zeros(4, np.uint8)},
            "expected 5 integer labels, got uint8 (4,)",
        ),
        (
            {"train_labels_idx1_ubyte": np.zeros((5, 1), np.uint8)},
            "expected 5 integer labels, got uint8 (5, 1)",
        ),
        (
            {"t10k_labels_idx1_ubyte": np.zeros(2, np.float32)},
            "expected 2 integer labels, got float32",
        ),
        (
            {"t10k_images_idx3_ubyte": np.zeros((2, 4, 4), np.uint8)},
            "expected 12 pixels an image, got 16",
        ),
    ],
)
def test_mnist_refuses_files_that_do_not_fit_each_other(tmp_path, replaced, message):
    assert message in refusal(datasets.load_mnist, write_small(tmp_path, **replaced))


def test_cache_folder_follows_the_platform(monkeypatch, tmp_path):
    for name in "FASTNN_DATA", "XDG_CACHE_HOME", "LOCALAPPDATA":
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", lambda: Path("/home/ada"))
    expected = {
        "linux": "/home/ada/.cache/fastnn",
        "darwin": "/home/ada/Library/Caches/fastnn",
        "win32": "/home/ada/AppData/Local/fastnn",
    }
    for platform, folder in expected.items():
        monkeypatch.setattr(sys, "platform", platform)
        assert datasets.cache_folder() == Path(folder)
    monkeypatch.setenv("LOCALAPPDATA", "/local")
    assert datasets.cache_folder() == Path("/local/fastnn")
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert datasets.cache_folder() == Path("/xdg/fastnn")
    monkeypatch.setenv("FASTNN_DATA", str(tmp_path))
    assert datasets.cache_folder() == tmp_path


@pytest.mark.parametrize("subfolder", ["", "mnist"])
def test_mnist_is_taken_from_the_cache_without_a_download(monkeypatch, tmp_path, subfolder):
    monkeypatch.setenv("FASTNN_DATA", str(tmp_path))
    monkeypatch.setattr(datasets, "MIRRORS", ())
    write_small(tmp_path / subfolder)
    assert_small(datasets.load_mnist())


# ---------------------------------------------------------------------------------------- download


class Mirror(BaseHTTPRequestHandler):
    """Answers as the first part of the path says: /good/, /wrong/, /short/, /absent/, ..."""

    protocol_version = "HTTP/1.0"

    def do_GET(self):
        _, mirror, name = self.path.split("/")
        self.server.asked.append((mirror, name))
        data = gzip.compress(idx_bytes(SMALL[name.removesuffix(".gz")]))
        if mirror == "absent":
            self.send_error(404)
            return
        if mirror == "stalled":
            self.server.over.wait(10)
            return
        if mirror == "wrong":
            data = gzip.compress(b"something else")
        if mirror == "page":
            data = b"<html>Please log in to this network</html>"
        self.send_response(200)
        if mirror not in ("unsized", "unsized-cut"):
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        cut = mirror in ("short", "unsized-cut", "stops")
        self.wfile.write(data[: len(data) // 2] if cut else data)
        if mirror == "stops":
            self.wfile.flush()
            self.server.over.wait(10)

    def log_message(self, *_):
        pass


@pytest.fixture
def mirrors(monkeypatch, tmp_path):
    """Sets the mirrors by their kinds; the cache is empty, the digests are those of SMALL."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Mirror)
    server.daemon_threads = True
    server.asked, server.over = [], threading.Event()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    monkeypatch.setenv("FASTNN_DATA", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(datasets, "TIMEOUT", 1.0)
    digests = {name: sha256(idx_bytes(array)) for name, array in SMALL.items()}
    monkeypatch.setattr(datasets, "MNIST", digests)

    def use(*kinds):
        urls = tuple(f"http://127.0.0.1:{server.server_port}/{kind}/" for kind in kinds)
        monkeypatch.setattr(datasets, "MIRRORS", urls)
        return server.asked

    yield use
    server.over.set()
    server.shutdown()
    server.server_close()
    thread.join(5)


def cached(tmp_path):
    return sorted(file.name for file in (tmp_path / "cache" / "mnist").iterdir())


def lacking(tmp_path, name):
    """Fills the cache, but for the file of that name."""
    (write_small(tmp_path / "cache" / "mnist", "gzip") / name).unlink()
    return name


WHOLE = sorted(f"{name}.gz" for name in SMALL)


@pytest.mark.parametrize("kind", ["good", "unsized"])
def test_download_fills_the_cache_once(mirrors, tmp_path, kind):
    asked = mirrors(kind, "absent")
    assert_small(datasets.load_mnist())
    assert cached(tmp_path) == WHOLE
    assert asked == [(kind, f"{name}.gz") for name in SMALL]
    assert_small(datasets.load_mnist())
    assert len(asked) == 4


def test_download_fetches_only_what_is_missing(mirrors, tmp_path):
    asked = mirrors("good")
    missing = lacking(tmp_path, "train-labels-idx1-ubyte.gz")
    assert_small(datasets.load_mnist())
    assert asked == [("good", missing)]


BAD = {
    "wrong": "expected SHA-256 ",
    "page": "expected SHA-256 ",
    "short": "expected {size} bytes, got {half}",
    "unsized-cut": "expected whole gzip data",
    "absent": "HTTP Error 404",
    "stalled": "timed out",
    "stops": "timed out",
}


@pytest.mark.parametrize("bad", BAD)
def test_download_turns_to_the_second_mirror(mirrors, tmp_path, bad):
    asked = mirrors(bad, "good")
    missing = lacking(tmp_path, "t10k-images-idx3-ubyte.gz")
    assert_small(datasets.load_mnist())
    assert cached(tmp_path) == WHOLE
    assert asked == [(bad, missing), ("good", missing)]


@pytest.mark.parametrize("bad", BAD)
def test_download_that_fails_leaves_nothing_and_says_why(mirrors, tmp_path, bad):
    mirrors(bad, "absent")
    with pytest.raises(
        OSError, match=r"train-images-idx3-ubyte\.gz could not be downloaded"
    ) as caught:
        datasets.load_mnist()
    message = str(caught.value)
    size = len(gzip.compress(idx_bytes(SMALL["train-images-idx3-ubyte"])))
    assert f"/{bad}/: {BAD[bad].format(size=size, half=size // 2)}" in message
    assert "/absent/: HTTP Error 404" in message
    assert str(tmp_path / "cache" / "mnist") in message
    assert ".part" not in message
    assert "\n" not in message
    assert cached(tmp_path) == []


def test_download_without_a_network_is_one_line(mirrors, tmp_path, monkeypatch):
    monkeypatch.setattr(datasets, "MIRRORS", ("http://127.0.0.1:1/", "http://127.0.0.1:1/"))
    with pytest.raises(OSError, match=r"could not be downloaded \(.*refused.*;.*refused") as caught:
        datasets.load_mnist()
    assert "\n" not in str(caught.value)


def test_download_that_is_interrupted_leaves_nothing(mirrors, tmp_path, monkeypatch):
    def interrupt(path, _):
        assert path.suffix == ".part"
        assert path.stat().st_size > 0
        raise KeyboardInterrupt

    mirrors("good")
    monkeypatch.setattr(datasets, "_check_digest", interrupt)
    with pytest.raises(KeyboardInterrupt):
        datasets.load_mnist()
    assert cached(tmp_path) == []


def test_download_shows_its_progress(mirrors, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr("sys.stderr", Terminal())
    mirrors("good")
    datasets.load_mnist()
    *lines, rest = sys.stderr.getvalue().split("\n")
    assert rest == ""
    for line, name in zip(lines, SMALL, strict=True):
        last = line.rpartition("\r")[2]
        assert re.match(rf"{name}\.gz 100% \|#{{20}}\| 0\.0 MB, [\d,]+ kB/s *$", last)


def test_download_is_silent_where_there_is_no_terminal(mirrors, capfd):
    mirrors("good")
    datasets.load_mnist()
    assert capfd.readouterr() == ("", "")


def test_digests_are_those_of_mnist():
    assert list(datasets.MNIST) == list(DIGITS)
    assert [digest[:8] for digest in datasets.MNIST.values()] == [
        "ba891046",
        "65a50cbb",
        "0fa7898d",
        "ff7bcfd4",
    ]
    assert len(datasets.MIRRORS) == 2
    assert all(url.startswith("https://") and url.endswith("/mnist/") for url in datasets.MIRRORS)


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
    ],
)
def test_idx_refuses_a_false_header(write, content, message):
    for data in content, gzip.compress(content):
        found = refusal(datasets.read_idx, write("false.idx", data))
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
def test_idx_refuses_damaged_gzip(write, damage):
    data = gzip.compress(idx_bytes(np.arange(1000, dtype=np.int32)))
    message = refusal(datasets.read_idx, write("damaged.gz", damage(data)))
    assert "damaged.gz: expected whole gzip data" in message


def peak_bytes(read, *arguments):
    """The most memory held at once while `read` refuses its file."""
    tracemalloc.start()
    try:
        refusal(read, *arguments)
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
def test_npy_refuses_what_is_no_array_of_numbers(write, mode, content, message):
    found = refusal(datasets.read_npy, write("bad.npy", content), mode)
    assert message in found
    assert "bad.npy" in found


def test_npy_refuses_what_follows_the_array(write):
    path = write("long.npy", npy_bytes(np.arange(3)) + b"!")
    assert "expected 24 bytes for int64 (3,), got more" in refusal(datasets.read_npy, path)
    assert "expected 24 bytes for int64 (3,), got 25" in refusal(datasets.read_npy, path, "r")


class Trap:
    """Pickled, it would end the test run when it is loaded."""

    def __reduce__(self):
        return exit, ("a pickle was executed",)


def test_nothing_is_executed(write):
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


def test_npz_refuses_other_files(write):
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


BODIES = {
    "idx": (datasets.read_idx, idx_bytes(np.arange(6, dtype=np.int16).reshape(2, 3))),
    "gzip": (datasets.read_idx, gzip.compress(idx_bytes(np.arange(6, dtype=np.int16)))),
    "npy": (datasets.read_npy, npy_bytes(np.arange(6.0).reshape(2, 3))),
    "npz": (datasets.read_npz, npz_bytes(x=np.arange(6.0).reshape(2, 3), y=np.arange(2))),
    "csv": (datasets.read_csv, b'label,a,b\n1,2.5,3\n"4",5,6\n'),
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


# --------------------------------------------------------------------------------------------- CSV


def csv_text(array, delimiter=","):
    return "".join(delimiter.join(map(str, row)) + "\n" for row in array.tolist())


PIXELS = np.array([[7, 0, 255], [2, 128, 1]])


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("bom", ["", "\ufeff"])
@pytest.mark.parametrize(
    "head", ["", "label,a,b\n", '"label","a,b","c"\n', "label,0,1\n", ",0,1\n"]
)
def test_csv_of_pixels(write, packed, end, bom, head):
    data = (bom + head + csv_text(PIXELS)).replace("\n", end).encode()
    x, y = datasets.read_csv(write("p.csv", gzip.compress(data) if packed else data))
    assert_same(x, PIXELS[:, 1:].astype(np.uint8))
    assert_same(y, PIXELS[:, 0].astype(np.int64))


def test_csv_label_column(write):
    path = write("p.csv", csv_text(PIXELS))
    x, y = datasets.read_csv(path, label="last")
    assert_same(x, PIXELS[:, :-1].astype(np.uint8))
    assert_same(y, PIXELS[:, -1].astype(np.int64))
    x, y = datasets.read_csv(path, label=None)
    assert_same(x, PIXELS.astype(np.uint8))
    assert y is None
    for wrong, text in (
        ("frist", "did you mean 'first'"),
        ("middle", "unknown label column 'middle'"),
    ):
        with pytest.raises(ValueError, match=text):
            datasets.read_csv(path, label=wrong)


def test_csv_header_is_found_or_told(write):
    numbers, named = "0,1,2\n3,4,5\n", "a,b,class\n3,4,5\n"
    read = datasets.read_csv
    assert len(read(write("n", numbers))[0]) == 2
    assert len(read(write("n", numbers), header=True)[0]) == 1
    assert len(read(write("n", numbers), header=False)[0]) == 2
    assert len(read(write("h", named), label="last")[0]) == 1
    assert len(read(write("h", named), label=None)[0]) == 1
    assert len(read(write("h", named), label=None, header=True)[0]) == 1
    assert "line 1: expected a number in column 1, got 'a'" in refusal(
        read, write("h", named), header=False
    )
    assert read(write("last", "0,1,class\n3,4,5\n"), label="last")[1].tolist() == [5]
    with pytest.raises(ValueError, match="unknown header 'no'"):
        read(write("h", named), header="no")


def test_csv_typing_error_in_the_first_row_is_no_header(write):
    path = write("o.csv", "5,0,O,0\n1,2,3,4\n")
    assert "o.csv, line 1: expected a number in column 3, got 'O'" in refusal(
        datasets.read_csv, path
    )
    assert "line 1: expected a number" in refusal(datasets.read_csv, path, label=None)


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        ("0,255", np.uint8),
        ("0,256", np.float64),
        ("-1,3", np.float64),
        ("0.0,1.0", np.float64),
        ("+3, 4", np.uint8),
        ('"3","4"', np.uint8),
        ("1e2,2", np.float64),
        ("nan,inf", np.float64),
        ("99999999999999999999,1", np.float64),
    ],
)
def test_csv_dtype_follows_the_values(write, values, dtype):
    x, y = datasets.read_csv(write("v.csv", f"1,{values}\n"))
    assert_same(x, np.array([[float(v.strip('"')) for v in values.split(",")]]).astype(dtype))
    assert_same(y, np.array([1]))


def test_csv_is_the_same_however_many_lines(write, monkeypatch):
    rng = np.random.default_rng(0)
    table = rng.integers(0, 256, (2500, 5))
    x, y = datasets.read_csv(write("long.csv", csv_text(table)))
    assert_same(x, table[:, 1:].astype(np.uint8))
    assert_same(y, table[:, 0])
    mixed = csv_text(table) + "300,0.25,-1,3,4\n"  # after two blocks of bytes
    x, y = datasets.read_csv(write("mixed.csv", mixed))
    assert_same(x, np.concatenate([table[:, 1:], [[0.25, -1, 3, 4]]]))
    assert_same(y, np.append(table[:, 0], 300))


@given(rows=hnp.arrays(np.float64, hnp.array_shapes(min_dims=2, max_dims=2)))
@settings(max_examples=100, deadline=None)
def test_csv_keeps_every_bit_of_a_float(scratch, rows):
    rows = rows + 0.0  # no negative zero: "0.0" and "-0.0" are told apart below
    scratch.write_text("\n".join(",".join(map(repr, row)) for row in rows.tolist()))
    x, _ = datasets.read_csv(scratch, label=None)
    assert np.array_equal(x, rows, equal_nan=True)
    assert x.dtype == np.float64


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected rows of numbers, got an empty file"),
        ("\n\n  \n", "expected rows of numbers, got an empty file"),
        ("label,a\n", "expected rows of numbers, got only a header"),
        ("1,2,3\n4,5\n", "bad.csv, line 2: expected 3 values, got 2"),
        ("1,2,3\n\n4,5,6,7\n", "bad.csv, line 3: expected 3 values, got 4"),
        ("l,a,b\n1,2,3\n4,5,six\n", "bad.csv, line 3: expected a number in column 3, got 'six'"),
        ("1,2,3\n4,,6\n", "line 2: expected a number in column 2, got ''"),
        ("1,2,3,\n", "line 1: expected a number in column 4, got ''"),
        ("1;2;3\n4;5;6\n7;8;9\n", "line 2: expected a number in column 1, got '4;5;6'"),
        ("1,2\n3,1_0\n", "line 2: expected a number in column 2, got '1_0'"),
        ("1,2\n2.5,3\n", "line 2: expected a whole number as label, got 2.5"),
        ("1,0.5\nnan,3\n", "line 2: expected a whole number as label, got nan"),
        ("1,0.5\n1e300,3\n", "line 2: expected a whole number as label, got 1e+300"),
        ("1\n2\n", "expected a label and at least 1 feature, got 1 column"),
        ('1,"2\n3",4\n', "lines 1 to 2: expected plain numbers, got quoted or odd ones"),
        ("1,2\n3,4 # remark\n", "line 2: expected a number in column 2, got '4 # remark'"),
        ("x" * 3000 + ",1\n1,2\n3,\n", "line 3: expected a number in column 2"),
        ("1,2\n" * 3000 + "1,2,3\n", "line 3001: expected 2 values, got 3"),
        ("1,2\n" * 1024 + "1,2,3\n" * 5, "line 1025: expected 2 values, got 3"),
        (b"1,2\n\xff\xfe,3\n", "expected text in UTF-8"),
        (b"\x89PNG\r\n\x1a\n\0\0", "expected text in UTF-8"),
    ],
)
def test_csv_names_the_line_that_is_wrong(write, text, message):
    assert message in refusal(datasets.read_csv, write("bad.csv", text))


# ---------------------------------------------------------------------------------------- any file


def test_load_file_tells_the_reader_by_the_name(write):
    x, y = np.arange(6, dtype=np.uint8).reshape(2, 3), np.array([1, 0])
    text = csv_text(np.column_stack([y, x]))
    labelled = {
        "a.csv": text,
        "A.CSV": text,
        "a.csv.gz": gzip.compress(text.encode()),
        "a.npz": npz_bytes(x=x, y=y),
    }
    bare = {
        "a.npy": npy_bytes(x),
        "a.idx": idx_bytes(x),
        "a-idx2-ubyte": idx_bytes(x),
        "a.idx2-ubyte.gz": gzip.compress(idx_bytes(x)),
    }
    for name, content in labelled.items():
        found = datasets.load_file(write(name, content))
        assert_same(found[0], x)
        assert_same(found[1], y)
    for name, content in bare.items():
        found = datasets.load_file(write(name, content))
        assert_same(found[0], x)
        assert found[1] is None
    assert datasets.load_file(write("a.csv", text), label="last")[1].tolist() == [2, 5]
    assert datasets.load_file(str(write("a.csv", text)), None)[1] is None
    message = refusal(datasets.load_file, write("a.xlsx", b""))
    assert "a.xlsx: expected a file named *.csv, *.npz, *.npy, *.idx or *-ubyte" in message
    for name in "gone.csv", "gone.npy", "gone.npz", "gone.idx":
        with pytest.raises(FileNotFoundError, match=name):
            datasets.load_file(write("a.csv", text).with_name(name))
