"""As in a web server: threads that predict one row or 32 with one network while another trains."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from statistics import median
from typing import Any

from . import cases
from .cases import Array, Spec, Task
from .run import Run, table
from .turns import Entry, prepare, rank

CALLERS = 8
SIZES = (1, 32)  # rows of a request, each as often as the other
NET: Spec = {"sizes": [784, 128, 10], "hidden": "relu"}
TRAINED: Spec = NET | {"batch": 128, "rows": 3200, "threads": 2}  # short fits, to stop in time


def load(spec: Spec, predict: Callable[[Array], Array]) -> Task:
    """A run is `spec["seconds"]` of requests, each sent when the one before is answered.

    `facts` has the median and 99th percentile of the seconds of each run's requests by their rows,
    the requests a second and the rows trained on a second.
    """
    x, _ = cases.data(spec["sizes"], max(SIZES))
    error = max(cases.prediction_error(spec, x[:n], predict(x[:n])) for n in SIZES)
    train = trainer() if spec["trainer"] else None
    facts: dict[str, list[Any]] = {name: [] for name in (*map(str, SIZES), "requests", "trained")}

    def call(number: int, end: float) -> dict[int, list[float]]:
        """What one thread does; returns the seconds of its requests by their rows."""
        chance = random.Random(number)
        seconds: dict[int, list[float]] = {rows: [] for rows in SIZES}
        now = time.perf_counter()
        while now < end:
            rows = chance.choice(SIZES)
            begin = time.perf_counter()
            predict(x[:rows])
            now = time.perf_counter()
            seconds[rows].append(now - begin)
        return seconds

    def learn(end: float) -> float:
        """Rows a second of fits that go on until then."""
        if train is None:
            return 0.0
        begin, rows = time.perf_counter(), 0
        while time.perf_counter() < end:
            rows += train()
        return rows / (time.perf_counter() - begin)

    def run() -> float:
        end = time.perf_counter() + spec["seconds"]
        with ThreadPoolExecutor(CALLERS + 1) as pool:
            learning = pool.submit(learn, end)
            each = list(pool.map(call, range(CALLERS), [end] * CALLERS))
            facts["trained"].append(learning.result())
        count = 0
        for rows in SIZES:
            seconds = sorted(second for found in each for second in found[rows])
            facts[str(rows)].append([median(seconds), rank(seconds, 99)])
            count += len(seconds)
        facts["requests"].append(count / spec["seconds"])
        return float(count)

    return Task(run, error, facts=facts)


def trainer() -> Callable[[], int]:
    """One epoch of another network of fastnn's; a call returns the rows that it took."""
    import fastnn

    from .ours import network

    x, y = cases.data(TRAINED["sizes"], TRAINED["rows"])
    net = network(TRAINED)
    optimizer = fastnn.SGD(learning_rate=cases.RATES["sgd"])

    def train() -> int:
        net.fit(x, y, batch_size=TRAINED["batch"], epochs=1, optimizer=optimizer, verbose=0)
        return len(x)

    return train


def server(run: Run) -> None:
    """With and without the trainer; each library with one thread a request and with two."""
    threads = (2,) if run.quick else (2, 1)
    rows = []
    for training in (False, True):
        case = NET | {"trainer": training, "seconds": 0.2 if run.quick else 1.0}
        entries: list[Entry | None] = []
        for name in ("fastnn", "ONNX Runtime"):
            worker = run.ours() if name == "fastnn" else run.peer(name)
            for count in threads:
                spec = case | {"group": "server", "threads": count}
                label = f"{name}, {count} thread{'s' if count > 1 else ''}"
                entries.append(prepare(label, worker, spec, 0.0, 1e-5))
        found = run.measure("server", case, entries, 1, 1)
        rows += [[label, *line(entry)] for label, entry in found.items()]
    table(
        f"Web server: {CALLERS} threads predict 1 or 32 rows of 784-128-10, a ninth trains: "
        "microseconds a request: median, 99th percentile",
        "who predicts | 1 row | 32 rows | requests/s | thousand rows trained/s",
        rows,
    )


def line(entry: Entry) -> list[str]:
    """Medians over the runs."""
    facts, cells = entry.facts, []
    for rows in map(str, SIZES):
        both = (median(found[i] for found in facts[rows]) for i in (0, 1))
        cells.append(", ".join(f"{seconds * 1e6:,.0f}" for seconds in both))
    trained = median(facts["trained"])
    return [
        *cells,
        f"{median(facts['requests']):,.0f}",
        f"{trained / 1000:.0f}" if trained else "-",
    ]
