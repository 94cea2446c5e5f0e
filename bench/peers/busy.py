"""Busy cores: fastnn beside a neighbour that never rests, and beside itself.

Two threads are allowed where one core is taken. Whoever deals the work out evenly waits for a
thread without a core, whole time slices long; so a percentile counts here as much as the median.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median

from . import cases
from .cases import Spec
from .run import Run, number, ratio, table
from .turns import Entry, PeerError, Worker, complain, cores, forget, prepare, together

LOOP = """
import os, sys
parent, cpu = map(int, sys.argv[1:])
os.sched_setaffinity(0, {cpu})
print("busy", flush=True)
while os.getppid() == parent:
    for _ in range(10**6):
        pass
"""
BATCHES = (32, 128, 128)  # of the three nets' training
STEPS = 16  # of one fit: short, so that a turn has many


@contextmanager
def neighbour(cpu: int) -> Iterator[None]:
    """A process that never rests, on this CPU, as long as the block runs.

    It is killed at the block's end, however that comes, and ends by itself should we be killed.
    """
    command = [sys.executable, "-c", LOOP, str(os.getpid()), str(cpu)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:  # waits for it at the end
        try:
            assert process.stdout
            said = process.stdout.readline()
            if said != b"busy\n":
                raise PeerError(f"expected a neighbour that says it is busy, got {said!r}")
            yield
        finally:
            process.kill()


def busy(run: Run) -> None:
    """Both tables, on two cores."""
    cpus = cores(2)
    if len(cpus) < 2:
        print("\nBusy: left out; expected two cores, got one")
        return
    beside_a_neighbour(run, cpus[1])
    side_by_side(run)


def calls(run: Run) -> list[tuple[Spec, str, float]]:
    """What is called: the spec, its name, how many units of work one call is."""
    found: list[tuple[Spec, str, float]] = []
    nets = list(zip(cases.PREDICTIONS, BATCHES, strict=True))
    for net, batch in nets[1:2] if run.quick else nets:
        case = {"sizes": net["sizes"], "hidden": net["hidden"]}
        for rows in (32, 1024):
            found.append((case | {"group": "prediction", "rows": rows}, f"predict {rows:,}", 1))
        rows = STEPS * batch
        fit = {"group": "training", "optimizer": "sgd", "batch": batch, "rows": rows, "epochs": 1}
        found.append((case | fit, f"fit {rows:,}, batch {batch}", rows))
    return found


def ready(label: str, worker: Worker | None, spec: Spec) -> Entry | None:
    """A prediction or a training with as many threads as the label says, its result checked."""
    spec = spec | {"threads": int(label)} if label.isdigit() else spec
    if spec["group"] == "training":
        return prepare(label, worker, spec, cases.expected_loss(spec), 1e-3)
    return prepare(label, worker, spec, 0.0, 1e-5)


def beside_a_neighbour(run: Run, cpu: int) -> None:
    """One core is taken: two threads allowed over one thread, and ONNX Runtime with two."""
    rows = []
    for spec, name, units in calls(run):
        entries = [ready(label, run.ours(), spec) for label in ("1", "2")]
        if spec["group"] == "prediction":
            entries.append(ready("ONNX Runtime", run.peer("ONNX Runtime"), spec))
        with neighbour(cpu):
            found = run.measure("busy", spec, entries, 60, 400, each=True)
        one, two, onnx = (found.get(label) for label in ("1", "2", "ONNX Runtime"))
        slow = two.percentile(99) / one.median if one and two else None
        rows.append([
            "-".join(map(str, spec["sizes"])), name,
            *(shown(entry, units) for entry in (one, two, onnx)),
            number(ratio(two, one), 1.15), number(slow, 2),
        ])  # fmt: skip
    table(
        "Busy neighbour on one of two cores, microseconds a call: median, 99th percentile",
        "net | call | one thread | two allowed | ONNX Runtime, two "
        "| two / one, medians | 99th percentile / one's median",
        rows,
    )


def shown(entry: Entry | None, units: float) -> str:
    """The median and the 99th percentile, in microseconds, of a call of so many units."""
    if entry is None:
        return "-"
    times = [seconds * units * 1e6 for seconds in (entry.median, entry.percentile(99))]
    return ", ".join(f"{time:,.1f}" if time < 100 else f"{time:,.0f}" for time in times)


def side_by_side(run: Run) -> None:
    """Two processes of ours at once on two cores: two threads each over one thread each."""
    workers = [run.ours(), run.workers.start("fastnn beside", "ours")]
    rounds, milliseconds = run.pace(60, 300)
    rows = []
    for spec, name, units in calls(run):
        teams: dict[str, list[Entry]] = {"1": [], "2": []}
        for label, team in teams.items():
            team += filter(None, (ready(label, worker, spec) for worker in workers))
        if any(len(team) < len(workers) for team in teams.values()):
            continue
        rates: dict[str, list[float]] = {label: [] for label in teams}
        try:
            for _ in range(rounds):
                for label, team in teams.items():
                    rates[label].append(together(team, milliseconds) / units)
        except PeerError as error:
            complain(str(error))
            return
        forget(run.workers)
        one, two = (median(rates[label]) for label in ("1", "2"))
        print(f"  side by side {spec['sizes']} {name}: {one:.4g}, {two:.4g}", file=sys.stderr)
        run.rows.append({"group": "side by side", **spec, "calls per second": rates})
        rows.append([
            "-".join(map(str, spec["sizes"])), name, f"{one:,.0f}", f"{two:,.0f}",
            number(two / one, 0.9),
        ])  # fmt: skip
    table(
        "Two busy processes of fastnn side by side on two cores, calls/s together",
        "net | call | one thread each | two allowed each | two / one",
        rows,
    )
