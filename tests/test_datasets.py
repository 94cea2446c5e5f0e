"""The digits are those of MNIST, wherever they come from, and every reader is found by a name."""

from __future__ import annotations

import gzip
import hashlib
import io
import re
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from pathlib import Path

import numpy as np
import pytest

from fastnn import datasets

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


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def assert_same(found, expected):
    assert found.dtype == expected.dtype
    assert found.dtype.isnative
    assert found.shape == expected.shape
    assert found.tobytes() == expected.tobytes()


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
def test_mnist_refuses_files_that_do_not_fit_each_other(tmp_path, replaced, message, refusal):
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


# ---------------------------------------------------------------------------------------- any file


def test_load_file_tells_the_reader_by_the_name(write, refusal):
    x, y = np.arange(6, dtype=np.uint8).reshape(2, 3), np.array([1, 0])
    text = "1,0,1,2\n0,3,4,5\n"
    labelled = {
        "a.csv": text,
        "A.CSV": text,
        "a.csv.gz": gzip.compress(text.encode()),
    }
    bare = {
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
    path = write("a.npy", b"")
    np.save(path, x)
    assert_same(datasets.load_file(path)[0], x)
    np.savez(path.with_suffix(".npz"), x=x, y=y)
    assert_same(datasets.load_file(path.with_suffix(".npz"))[1], y)
    assert datasets.load_file(write("a.csv", text), label="last")[1].tolist() == [2, 5]
    assert datasets.load_file(str(write("a.csv", text)), None)[1] is None
    message = refusal(datasets.load_file, write("a.xlsx", b""))
    assert "a.xlsx: expected a file named *.csv, *.npz, *.npy, *.idx or *-ubyte" in message
    for name in "gone.csv", "gone.npy", "gone.npz", "gone.idx":
        with pytest.raises(FileNotFoundError, match=name):
            datasets.load_file(write("a.csv", text).with_name(name))
