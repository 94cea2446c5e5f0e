"""Memory, and speed by the number of rows: `python bench/memory.py [--gigabytes 4]` (Linux).

Anonymous memory (RssAnon) is sampled from a thread while fastnn trains and predicts.
"""

from __future__ import annotations

import argparse
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

import fastnn


def anonymous() -> float:
    """MB of memory that is backed by no file."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1024


def watched(call: Callable[[], Any]) -> tuple[float, float]:
    """How many MB `call` needed at most over what was there before, and its seconds."""
    done = threading.Event()
    before = peak = anonymous()

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.005):
            peak = max(peak, anonymous())

    watcher = threading.Thread(target=watch)
    watcher.start()
    begin = time.perf_counter()
    call()
    seconds = time.perf_counter() - begin
    done.set()
    watcher.join()
    return peak - before, seconds


def report(name: str, megabytes: float, rate: float, goal: str) -> None:
    print(f"| {name} | {megabytes:.1f} | {rate / 1000:.0f} | {goal} |", flush=True)


def digits(rows: int) -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (rows, 784), np.uint8), rng.integers(0, 10, rows)


def network() -> Any:
    return fastnn.mlp([784, 128, 10], hidden="relu", input_scale=1 / 255)


def training(rows: int) -> None:
    """The data as large as MNIST's; what is watched includes the scratch but not the data."""
    x, y = digits(rows)
    net = network()
    more, seconds = watched(lambda: net.fit(x, y, epochs=3, verbose=0))
    report(f"fit, {rows} rows of bytes", more, 3 * rows / seconds, "40 MB at most")


def predicting(rows: int, width: int = 28) -> None:
    x = np.random.default_rng(0).random((rows, width), np.float32)
    net = fastnn.mlp([width, 32, 2], hidden="tanh")
    out = np.empty((rows, 2), np.float32)
    out.fill(0)  # touched, so that its own pages do not count
    more, seconds = watched(lambda: net.predict(x, out=out))
    report(f"predict(out=), {rows} rows", more, rows / seconds, "no growth with the rows")


def mapped(gigabytes: float) -> None:
    """One epoch over a memory map, then over the same rows in memory."""
    rows = int(gigabytes * 1e9 / 784)
    rng = np.random.default_rng(0)
    y = rng.integers(0, 10, rows)
    with tempfile.TemporaryDirectory(dir=".") as folder:
        path = Path(folder, "x.npy")
        file = np.lib.format.open_memmap(path, "w+", np.uint8, (rows, 784))
        for part in np.array_split(file, max(1, rows >> 16)):
            part[...] = rng.integers(0, 256, part.shape, np.uint8)
        file.flush()
        x: Any = np.load(path, mmap_mode="r")
        net = network()
        more, seconds = watched(lambda: net.fit(x, y, epochs=1, verbose=0))
        report(f"fit, memory map of {gigabytes:g} GB", more, rows / seconds, "20 MB at most")
        x = np.array(x)
    times = [watched(lambda: network().fit(x, y, epochs=1, verbose=0))[1] for _ in range(2)]
    report("fit, the same in memory", 0, rows / median(times), "mapped is 80 % of it or more")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gigabytes", type=float, default=4, help="size of the memory map")
    options = parser.parse_args()
    fastnn.show_config()
    print("\n| what | MB more | thousand rows/s | goal |\n| --- | --- | --- | --- |")
    for rows in (60_000, 240_000):
        training(rows)
    for rows in (1_000_000, 10_000_000):
        predicting(rows)
    mapped(options.gigabytes)


if __name__ == "__main__":
    main()
