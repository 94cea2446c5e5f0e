"""Memory, and speed by the number of rows: each figure from a fresh process (Linux).

The functions of CHILDREN run in that process, `python -m peers.memory NAME ARGUMENT...`, and print
JSON. Memory is resident memory, sampled by a thread while fastnn works.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from .run import Run, percent, table
from .turns import BENCH, complain, environment

Figures = dict[str, float]


def resident(kind: str = "RssAnon") -> float:
    """MB of this process in memory: VmRSS is all of it, RssAnon what no file backs."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(kind)) * 1024 / 1e6


def watched(call: Callable[[], Any], kind: str = "RssAnon") -> float:
    """How many MB there were at most during `call` over what was there before."""
    done = threading.Event()
    before = peak = resident(kind)

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.002):
            peak = max(peak, resident(kind))

    watcher = threading.Thread(target=watch)
    watcher.start()
    call()
    done.set()
    watcher.join()
    return peak - before


def seconds(call: Callable[[], Any]) -> float:
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


def digits(rows: int) -> tuple[Any, Any]:
    """Random bytes and labels in the shape of MNIST's."""
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (rows, 784), np.uint8), rng.integers(0, 10, rows)


def train(x: Any, y: Any, epochs: int = 1) -> None:
    import fastnn

    net = fastnn.mlp([784, 128, 10], hidden="relu", input_scale=1 / 255, seed=0)
    net.fit(x, y, epochs=epochs, batch_size=128, verbose=0)


# ------------------------------------------------------------------------- what runs in a process


def training(directory: str) -> Figures:
    """Reading MNIST (random bytes without a directory) and training, beyond the data itself."""
    import fastnn

    fastnn.engine.get()
    held = 0.0

    def work() -> None:
        nonlocal held
        train_, test = fastnn.datasets.load_mnist(directory) if directory else (digits(60_000), ())
        held = sum(a.nbytes for a in (*train_, *test)) / 1e6
        train(*train_, epochs=2)

    return {"MB": watched(work, "VmRSS") - held}


def growth(largest: str) -> Figures:
    """Rows a second with 6,000 rows and with `largest`, in turns; as many rows in all."""
    x, y = digits(int(largest))
    rates: dict[int, list[float]] = {6_000: [], len(x): []}
    for _ in range(3):
        for rows, found in rates.items():
            epochs = len(x) // rows
            found.append(rows * epochs / seconds(lambda: train(x[:rows], y[:rows], epochs)))  # noqa: B023
    few, many = map(median, rates.values())
    return {"few": few, "many": many}


def predicting(rows: str) -> Figures:
    import fastnn

    x = np.tile(np.random.default_rng(0).random((1000, 28), np.float32), (int(rows) // 1000, 1))
    net = fastnn.mlp([28, 32, 2], hidden="tanh", seed=0)
    out = np.ones((len(x), 2), np.float32)  # touched, so that its own pages do not count
    net.predict(x[:1000], out=out[:1000])
    return {
        "MB": watched(lambda: net.predict(x, out=out)),
        "rate": len(x) / seconds(lambda: net.predict(x, out=out)),
    }


def mapped(path: str) -> Figures:
    """Epochs over bytes in a file mapped into memory, beside epochs over a copy, in turns.

    The first epoch starts with nothing of the file in the page cache. MB are those beyond the order
    of the rows, four bytes each.
    """
    with open(path, "rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    x = np.memmap(path, np.uint8, "r").reshape(-1, 784)
    y = np.random.default_rng(0).integers(0, 10, len(x))
    train(x[:1000], y[:1000])
    figures = {"from disk": len(x) / seconds(lambda: train(x, y))}
    figures["MB"] = watched(lambda: train(x, y)) - 4 * len(x) / 1e6
    copy = np.array(x)
    times: dict[str, list[float]] = {"mapped": [], "in memory": []}
    for _ in range(2):
        times["in memory"].append(seconds(lambda: train(copy, y)))
        times["mapped"].append(seconds(lambda: train(x, y)))
    return figures | {name: len(x) / median(found) for name, found in times.items()}


CHILDREN: dict[str, Callable[..., Figures]] = {
    "training": training, "growth": growth, "predicting": predicting, "mapped": mapped,
}  # fmt: skip

# ------------------------------------------------------------------------------ the group's part


def child(run: Run, name: str, *values: object) -> Figures:
    """The figures of one of CHILDREN, from its own process; none if it fails."""
    done = subprocess.run(
        [sys.executable, "-m", "peers.memory", name, *map(str, values)],
        cwd=BENCH, env=environment(2, {}), stdout=subprocess.PIPE, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        complain(f"memory: {name} failed")
        return {}
    figures: Figures = json.loads(done.stdout)
    run.rows.append({"group": "memory", "name": name, **figures})
    return figures


def write(path: Path, rows: int) -> None:
    """A file of random bytes (rows, 784), on the disk when this returns."""
    rng = np.random.default_rng(0)
    with path.open("wb") as file:
        for first in range(0, rows, 1 << 15):
            file.write(rng.bytes(784 * min(1 << 15, rows - first)))
        file.flush()
        os.fsync(file.fileno())


def memory(run: Run) -> None:
    """Goal 7."""

    def megabytes(figures: Figures, goal: str) -> str:
        return f"{figures['MB']:.1f} (goal {goal})" if figures else "-"

    def thousands(rate: float | None) -> str:
        return f"{rate / 1000:.0f}" if rate else "-"

    def share(part: float | None, whole: float | None) -> float | None:
        return part / whole if part and whole else None

    rows = []
    found = child(run, "training", run.mnist or "")
    what = "MNIST read and trained on" if run.mnist else "60,000 x 784 bytes made and trained on"
    rows.append([f"{what}, beyond data and import", megabytes(found, "40"), "-", "-"])
    most = 60_000 if run.quick else 600_000
    found = child(run, "growth", most)
    rows.append(["training, 6,000 rows", "-", thousands(found.get("few")), "-"])
    of_few = percent(share(found.get("many"), found.get("few")), 1)
    rows.append([f"training, {most:,} rows / 6,000", "-", thousands(found.get("many")), of_few])
    for count in (10_000_000,) if run.quick else (1_000_000, 10_000_000):
        found = child(run, "predicting", count)
        what = f"predict(out=), {count:,} rows of 28 floats"
        rows.append([what, megabytes(found, "0"), thousands(found.get("rate")), "-"])
    gigabytes = 0.1 if run.quick else 4
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "bytes")
        write(path, int(gigabytes * 1e9 / 784))
        found = child(run, "mapped", path)
    what = f"an epoch, {gigabytes} GB of bytes"
    disk, cached, copied = map(found.get, ("from disk", "mapped", "in memory"))
    rows.append([f"{what}, in memory", "-", thousands(copied), "-"])
    rows.append([
        f"{what}, mapped from a file / in memory", megabytes(found, "20"), thousands(cached),
        percent(share(cached, copied), 0.8),
    ])  # fmt: skip
    rows.append([f"{what}, mapped, read from the disk meanwhile", "-", thousands(disk), "-"])
    table("Memory and scale: fastnn, two threads", " | MB | thousand rows/s | share", rows)


if __name__ == "__main__":
    json.dump(CHILDREN[sys.argv[1]](*sys.argv[2:]), sys.stdout)
