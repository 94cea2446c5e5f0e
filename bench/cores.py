"""What 1 to 32 cores would make of a training, derived: `python bench/cores.py`.

All threads run on the cores that there are, each with its share of every step. Counted are the
phases between two meetings, and in each the time on a core of the slowest thread (CPU time: waits
do not count). A step on as many cores takes the sum of those times, and for each meeting what one
takes between two cores, measured here. What this leaves out: more cores share the memory's
bandwidth and a last cache, and cores that lie apart exchange lines more slowly.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

import fastnn
from fastnn import engine
from fastnn.optimizers import SGD
from fastnn.program import prepare

NETS = [
    ([784, 512, 512, 10], 128, 8), ([784, 512, 512, 10], 1024, 2),
    ([2048, 4096, 4096, 1000], 128, 1), ([2048, 4096, 4096, 1000], 1024, 1),
]  # fmt: skip
THREADS = (1, 2, 4, 8, 16, 32)
TURNS = 3
CHUNK, SHARED_OUTPUT = 256, 1 << 15  # as in src/sizes.pxi


def exchanged(sizes: list[int], batch: int, threads: int) -> float:
    """Bytes that a thread reads of what others have laid down, in a step of float32.

    Of a hidden layer's z it adds all threads' sums for its own neurons, and it reads the others'
    dz; of the output it adds all sums, or those of its own rows where it is wide.
    """
    *hidden, outputs = sizes[1:]
    wide = min(batch, CHUNK) * outputs >= SHARED_OUTPUT
    whole = 2 * outputs if wide else threads * outputs
    return 4 * batch * (2 * sum(hidden) + whole) * (threads - 1) / threads


def trainer(core: Any, sizes: list[int], batch: int, steps: int) -> Callable[[int], None]:
    """A call that trains so many steps on so many threads."""
    net = fastnn.mlp(sizes, num_threads=1)
    rng = np.random.default_rng(0)
    rows = np.arange(batch * steps, dtype=np.int32)
    x = rng.random((len(rows), sizes[0]), dtype=np.float32)
    y = rng.integers(0, sizes[-1], len(rows))
    optimizer = SGD(1e-3)
    prepare(net.program, optimizer.code, optimizer.slots)
    coefficients = optimizer.coefficients(np.arange(steps), np.full(steps, 1e-3))
    return lambda threads: core.train(net.program, x, rows, y, batch, coefficients, threads)


def phases(core: Any, train: Callable[[int], None], threads: int) -> tuple[float, int, list[float]]:
    """Seconds of the slowest threads' phases, meetings, and the seconds of each thread."""
    core.team_times(True)
    begin = time.thread_time()
    train(threads)
    alone = time.thread_time() - begin
    critical, meetings, each = core.team_times(False)
    return (critical, meetings, each) if meetings else (alone, 0, [alone])


def meeting(core: Any) -> float:
    """Seconds of a meeting of two threads: what a small net's step takes beyond its phases."""
    train = trainer(core, [256, 128, 128, 128, 128, 10], 64, 200)
    found = []
    for _ in range(9):
        begin = time.perf_counter()
        critical, meetings, _ = phases(core, train, 2)
        found.append((time.perf_counter() - begin - critical) / meetings)
    return statistics.median(found)


def main() -> None:
    core = engine.get()
    core.team_mode(True, False)  # everyone takes part
    meets = meeting(core)
    print(
        f"{core.NAME}, {engine.cpus()} CPUs; a meeting of two threads takes {meets * 1e6:.1f} us\n"
    )
    print("| net, batch | threads | part of them | ms a step | times as fast | meetings a step "
          "| MB read from others | busy beside the slowest |")  # fmt: skip
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for sizes, batch, steps in NETS:
        train = trainer(core, sizes, batch, steps)
        train(1)
        one = 0.0
        for threads in THREADS:
            found = min(phases(core, train, threads) for _ in range(TURNS))
            critical, meetings, each = found
            seconds = (critical + meetings * meets) / steps
            one = one or seconds
            mean = sum(each) / len(each)
            print(
                f"| {'-'.join(map(str, sizes))}, {batch} | {threads} | {len(each)} "
                f"| {seconds * 1e3:.3g} | {one / seconds:.1f} | {meetings / steps:.0f} "
                f"| {exchanged(sizes, batch, len(each)) / 1e6:.2f} | {mean / max(each):.0%} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
