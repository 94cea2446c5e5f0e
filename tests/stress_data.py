"""Hostile files of data, each read in a child process that has little memory and little time.

    python tests/stress_data.py --seconds 60 --seed 1

Valid tables, NPY, NPZ and IDX files are written, most are then damaged: cut, bytes turned, pieces
inserted or repeated a million times, headers made to lie. A reader must give the arrays that were
written, where nothing was damaged; else arrays, or a FormatError or OSError of one line. The same
seed gives the same files; one that fails is kept.
"""

from __future__ import annotations

import os

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # a process of one thread may fork

import argparse
import gzip
import io
import itertools
import random
import resource
import signal
import struct
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from fastnn import FormatError, datasets

MEMORY = 400 << 20  # bytes beyond those of this process
SECONDS = 20
LONGEST = 500  # characters of a message, without the path
FLOOD = 30_000_000  # bytes, about, of what is repeated

Reader = Callable[[Path], Any]
Made = tuple[str, bytes, Reader, Any]  # suffix, content, reader, what it must give (or None)


# ------------------------------------------------------------------------------------------- files


def table(rng: random.Random) -> Made:
    """A table: of numbers, or with words as labels; with or without header, index and quotes."""
    separator = rng.choice([",", ";", "\t", "|"])
    header, index, words = (rng.random() < 0.5 for _ in range(3))
    x = np.array([[rng.randint(0, 99) / 4 for _ in range(3)] for _ in range(rng.randint(3, 200))])
    y = [rng.randint(0, 2) for _ in x]
    labels = [f"w{k}" for k in y] if words else [str(k) for k in y]
    quote = rng.choice([str, str, '"{}"'.format])
    lines = [[*map(repr, row), quote(label)] for row, label in zip(x.tolist(), labels, strict=True)]
    lines = [[str(i), *line] if index else line for i, line in enumerate(lines)]
    if header:
        lines.insert(0, [*([""] if index else []), "a", quote("b"), "c", "species"])
    end = rng.choice(["\n", "\r\n", "\r"])
    text = end.join(map(separator.join, lines)) + rng.choice(["", end])
    content = (rng.choice(["", "\ufeff"]) + text).encode()

    def read(path: Path) -> Any:
        told = datasets.read_table(path, label="last", index="first" if index else None)
        return told.x, told.y

    def guess(path: Path) -> Any:
        rng.choice([datasets.read_table, datasets.read_csv, datasets.load_file])(path)

    reader = read if rng.random() < 0.7 else guess
    return ".csv", content, reader, (x, labels if words else y) if reader is read else None


def array(rng: random.Random) -> np.ndarray[Any, Any]:
    code = rng.choice(["u1", "i1", "i2", "i4", "f4", "f8"])
    shape = [rng.randint(0, 6) for _ in range(rng.randint(0, 4))]
    return np.frombuffer(rng.randbytes(8 * 6**4), code)[: int(np.prod(shape))].reshape(shape)


def npy_bytes(x: np.ndarray[Any, Any]) -> bytes:
    file = io.BytesIO()
    np.save(file, x)
    return file.getvalue()


def npy(rng: random.Random) -> Made:
    x = array(rng)
    return ".npy", npy_bytes(x), datasets.read_npy, x


def npz(rng: random.Random) -> Made:
    file, x, y = io.BytesIO(), array(rng), array(rng)
    rng.choice([np.savez, np.savez_compressed])(file, x=x, y=y)
    return ".npz", file.getvalue(), datasets.read_npz, (x, y)


def idx(rng: random.Random) -> Made:
    x = array(rng)
    big = x.astype(x.dtype.newbyteorder(">"))
    code = {"u1": 8, "i1": 9, "i2": 11, "i4": 12, "f4": 13, "f8": 14}[f"{x.dtype.str[1:]}"]
    head = bytes([0, 0, code, x.ndim]) + struct.pack(f">{x.ndim}I", *x.shape)
    return ".idx", head + big.tobytes(), datasets.read_idx, x


MAKERS = {"table": table, "npy": npy, "npz": npz, "idx": idx}


# ------------------------------------------------------------------------------------------ damage


def cut(rng: random.Random, data: bytes) -> bytes:
    return data[: rng.randrange(len(data) + 1)]


def turn(rng: random.Random, data: bytes) -> bytes:
    body = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 8])):
        if body:
            body[rng.randrange(len(body))] = rng.choice([0, 0xFF, rng.randrange(256)])
    return bytes(body)


TOKENS = [
    *(b"", b",", b";", b"\t", b"|", b'"', b'""', b"\n", b"\r", b"\0", b"\x1b[31m", b"\xff\xfe"),
    *(b"nan", b"-inf", b"1e999", b"1_0", b"1,5", b"True", b"?", b"NA", "\uff11".encode()),
    *(b"9" * 30, b"9" * 5000, b"x" * 200_000, b"(" * 3000, b"-" * 3000, b"\xe9", b"0x1p-3"),
]


def insert(rng: random.Random, data: bytes) -> bytes:
    place = rng.randrange(len(data) + 1)
    return data[:place] + rng.choice(TOKENS) + data[place + rng.choice([0, 0, 1, 5]) :]


def repeat(rng: random.Random, data: bytes) -> bytes:
    """A piece again and again."""
    first = rng.randrange(len(data) + 1)
    last = min(len(data), first + rng.choice([1, 2, 10, 1000]))
    piece = data[first:last] or rng.choice([token for token in TOKENS if token])
    times = rng.choice([10, 1000, FLOOD // len(piece)])
    return data[:last] + piece * min(times, FLOOD // len(piece)) + data[last:]


def lie(rng: random.Random, data: bytes) -> bytes:
    """Another number where a header may hold one, in binary or in digits."""
    if b"'shape': (" in data and rng.random() < 0.7:
        number = rng.choice([b"-1", b"9" * 15, b"1000000000", b"9" * 4000, b"0, 1" + b"0" * 17])
        start = data.index(b"'shape': (") + 10
        return data[:start] + number + b", " + data[start + rng.choice([0, len(number) + 2]) :]
    place = rng.randrange(max(1, min(len(data), rng.choice([16, 200, len(data) + 1]))))
    number = rng.choice([0, 1, 2**16, 2**30, 2**31, 2**32 - 1])
    packed = struct.pack(rng.choice(["<I", ">I"]), number)
    return data[:place] + packed + data[place + 4 :]


DAMAGES = [cut, turn, insert, repeat, lie]


def hostile(rng: random.Random, kind: str) -> Made:
    """A file of that kind, whole in one of eight cases."""
    suffix, content, read, expected = MAKERS[kind](rng)
    packed = suffix in (".csv", ".idx") and rng.random() < 0.4
    damages = [rng.choice(DAMAGES) for _ in range(rng.choice([0, 1, 1, 1, 1, 2, 2, 3]))]
    late = packed and rng.random() < 0.3  # damage to what is packed
    for damage in () if late else damages:
        content = damage(rng, content)
    if packed:
        content, suffix = gzip.compress(content, 1), f"{suffix}.gz"
    for damage in damages if late else ():
        content = damage(rng, content)
    return suffix, content, read, None if damages else expected


# ----------------------------------------------------------------------------------------- reading


def same(found: Any, expected: Any) -> bool:
    if isinstance(expected, tuple):
        return all(map(same, found, expected))
    return np.array_equal(found, expected, equal_nan=np.asarray(expected).dtype.kind == "f")


def outcome(path: Path, read: Reader, expected: Any) -> str:
    """What became of a file: "read", "refused", or else what is wrong."""
    try:
        found = read(path)
    except (FormatError, OSError) as error:
        message = str(error).replace(str(path), "")
        if expected is not None:
            return f"a whole file was refused: {message}"
        if not message or not message.isprintable() or len(message) > LONGEST:
            return f"expected a message of one short line, got {message[:1000]!r}"
        return "refused"
    except BaseException as error:
        return f"{type(error).__name__}: {error}"[:1000]
    return "read" if expected is None or same(found, expected) else "other values were read"


def limited(path: Path, read: Reader, expected: Any) -> str:
    """The outcome in a child process of limited memory and time."""
    receive, send = os.pipe()
    child = os.fork()
    if child == 0:
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        signal.alarm(SECONDS)
        os.write(send, outcome(path, read, expected).encode(errors="replace")[:4000])
        os._exit(0)
    os.close(send)
    with os.fdopen(receive, "rb") as answers:
        answer = answers.read().decode()
    _, status = os.waitpid(child, 0)
    if not os.WIFSIGNALED(status):
        return answer or f"the process ended with {status}"
    name = signal.Signals(os.WTERMSIG(status)).name
    return f"more than {SECONDS} s" if name == "SIGALRM" else f"the process died of {name}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=60.0, help="how long to try")
    parser.add_argument("--seed", type=int, default=0, help="which files")
    chosen = parser.parse_args()
    warnings.simplefilter("error")
    warnings.filterwarnings("ignore", "Reading `.npy`")  # NumPy's word on files of Python 2
    counts: Counter[tuple[str, str]] = Counter()
    folder = Path(tempfile.mkdtemp(prefix="stress-data-"))
    end = time.monotonic() + chosen.seconds
    for number, kind in enumerate(itertools.cycle(MAKERS)):
        if time.monotonic() > end:
            break
        suffix, content, read, expected = hostile(random.Random(f"{chosen.seed} {number}"), kind)
        path = folder / f"{kind}-{number}{suffix}"
        path.write_bytes(content)
        found = limited(path, read, expected)
        if found in ("read", "refused"):
            path.unlink()
        else:
            print(f"{path}: {found}", flush=True)
            found = "failed"
        counts[kind, found] += 1
    print(f"{'kind':8}{'tries':>9}{'read':>9}{'refused':>9}{'failed':>9}")
    for kind in MAKERS:
        figures = [counts[kind, found] for found in ("read", "refused", "failed")]
        print(f"{kind:8}{sum(figures):>9,}{''.join(f'{figure:>9,}' for figure in figures)}")
    failed = sum(count for (_, found), count in counts.items() if found == "failed")
    if not failed:
        folder.rmdir()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
