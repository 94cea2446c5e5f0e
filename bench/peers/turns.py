"""Worker processes that take turns, so that every peer meets the same moods of the machine.

Between its turns a worker is stopped (SIGSTOP); only `together` has several run at once. Thread
pools of the peers spin for a while after each call, which is part of their speed and so is left on;
a stopped process cannot spin.
"""

from __future__ import annotations

import json
import os
import select
import signal
import statistics
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

BENCH = Path(__file__).resolve().parents[1]
ROOT = BENCH.parent
PATIENCE = 600.0  # seconds before a silent worker is given up
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "FASTNN_NUM_THREADS",
)


class PeerError(Exception):
    """A peer cannot do what was asked of it; the run goes on without it."""


def cores(count: int) -> list[int]:
    """That many of the CPUs that this process may use, on different cores where it can."""
    allowed = sorted(os.sched_getaffinity(0))
    firsts = []
    for cpu in allowed:
        siblings = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
        text = siblings.read_text() if siblings.exists() else str(cpu)
        if cpu == int(text.replace("-", ",").split(",")[0]):
            firsts.append(cpu)
    return (firsts + [cpu for cpu in allowed if cpu not in firsts])[:count]


def environment(threads: int, extra: dict[str, str]) -> dict[str, str]:
    """The variables of a worker: its threads, and this tree's fastnn if it is built in place.

    OpenBLAS chooses its core type itself, whatever the machine's variables say, unless a case does.
    """
    inherited = {name: value for name, value in os.environ.items() if name != "OPENBLAS_CORETYPE"}
    variables = inherited | dict.fromkeys(THREAD_VARIABLES, str(threads)) | extra
    variables["CI"] = "true"  # else each import of OpenVINO is reported to its makers meanwhile
    variables.pop("PYTHONDONTWRITEBYTECODE", None)  # else each import compiles what is in place
    if any((ROOT / "fastnn").glob("_core_*.so")):
        variables["PYTHONPATH"] = str(ROOT)
    return variables


class Worker:
    """A peer's process: `module` is a file beside this one, `environ` is set before it starts."""

    def __init__(self, name: str, module: str, threads: int = 2, **environ: str) -> None:
        self.name = name
        cpus = ",".join(map(str, cores(threads)))
        self.process = subprocess.Popen(
            [sys.executable, "-m", "peers.worker", module, cpus],
            cwd=BENCH,
            env=environment(threads, environ),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self.versions: dict[str, str] = self.ask(versions=True)["versions"]

    def ask(self, **request: Any) -> dict[str, Any]:
        """Wake the worker, send a request, wait for its answer, stop it again."""
        self.send(**request)
        return self.receive()

    def send(self, **request: Any) -> None:
        """Wake the worker and send a request; what comes next must be `receive`."""
        assert self.process.stdin
        try:
            self.process.send_signal(signal.SIGCONT)
            self.process.stdin.write(json.dumps(request).encode() + b"\n")
            self.process.stdin.flush()
        except BrokenPipeError as error:
            self.close()
            raise PeerError(f"{self.name}: {error}") from None

    def receive(self) -> dict[str, Any]:
        """Wait for the answer and stop the worker again."""
        process = self.process
        assert process.stdout
        try:
            if not select.select([process.stdout], [], [], PATIENCE)[0]:
                raise PeerError(f"no answer in {PATIENCE:.0f} s")
            line = process.stdout.readline()
            if not line:
                raise PeerError(f"died with exit code {process.wait()}")
            process.send_signal(signal.SIGSTOP)
        except PeerError as error:
            self.close()
            raise PeerError(f"{self.name}: {error}") from None
        reply: dict[str, Any] = json.loads(line)
        if "error" in reply:
            raise PeerError(f"{self.name}: {reply['error']}")
        return reply

    def close(self) -> None:
        self.process.kill()
        self.process.wait()


class Workers:
    """Open workers by name; those that cannot start are reported and left out."""

    def __init__(self) -> None:
        self.open: dict[str, Worker] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self.open.values():
            worker.close()
        self.open.clear()

    def start(self, name: str, module: str, threads: int = 2, **environ: str) -> Worker | None:
        """The worker of that name, started if it is not running; None if it cannot start."""
        worker = self.open.get(name)
        if worker is None or worker.process.poll() is not None:
            try:
                worker = self.open[name] = Worker(name, module, threads, **environ)
            except PeerError as error:
                complain(str(error))
                return None
        return worker


def complain(message: str) -> None:
    print(f"  ! {message}", file=sys.stderr, flush=True)


def rank(ordered: list[float], percent: int) -> float:
    """What so many percent of the numbers do not exceed."""
    return ordered[(len(ordered) * percent - 1) // 100]


@dataclass
class Entry:
    """One contestant of a case: a prepared task of a worker, and its timings so far."""

    label: str
    worker: Worker
    task: str
    note: str
    seconds: list[float]
    facts: dict[str, Any]

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    def percentile(self, percent: int) -> float:
        """What so many percent of the timings do not exceed."""
        return rank(sorted(self.seconds), percent)

    def figures(self) -> dict[str, Any]:
        """What the JSON file keeps."""
        return {
            "median": self.median, "fastest": min(self.seconds), "slowest": max(self.seconds),
            "99th percentile": self.percentile(99),
            "timings": len(self.seconds), "note": self.note, **self.facts,
        }  # fmt: skip


def prepare(
    label: str, worker: Worker | None, spec: dict[str, Any], expected: float, tolerance: float
) -> Entry | None:
    """Prepare a task and verify its result; None, with a complaint, if it is wrong or fails."""
    if worker is None or worker.process.poll() is not None:
        return None
    try:
        reply = worker.ask(prepare=spec, task=label)
    except PeerError as error:
        complain(str(error))
        return None
    if not abs(reply["check"] - expected) <= tolerance:
        complain(
            f"{label}: wrong result, left out: expected {expected:.7g} +- {tolerance:.1g}, "
            f"got {reply['check']:.7g}: {spec}"
        )
        return None
    return Entry(label, worker, label, reply["note"], [], {})


def take_turns(
    entries: list[Entry], milliseconds: float, rounds: int, each: bool = False
) -> list[Entry]:
    """Measure A B C A B C ...; returns those that got through all rounds.

    each: one timing for each call, for percentiles.
    """
    alive = list(entries)
    for _ in range(rounds):
        for entry in list(alive):
            try:
                reply = entry.worker.ask(measure=milliseconds, task=entry.task, each=each)
            except PeerError as error:
                complain(str(error))
                alive.remove(entry)
                continue
            entry.seconds += reply["seconds"]
            entry.facts = reply["facts"]
    return alive


def together(entries: list[Entry], milliseconds: float) -> float:
    """Measure all of them at the same time, each in a worker of its own: units of work a second."""
    try:
        for entry in entries:
            entry.worker.send(measure=milliseconds, task=entry.task)
        replies = [entry.worker.receive() for entry in entries]
    except PeerError:
        for entry in entries:  # an answer that nobody waits for would be taken for the next one
            entry.worker.close()
        raise
    return sum(1 / statistics.fmean(reply["seconds"]) for reply in replies)


def forget(workers: Workers) -> None:
    """Drop every worker's tasks and their memory."""
    for worker in workers.open.values():
        if worker.process.poll() is None:
            with suppress(PeerError):  # already complained about; the next start is a fresh one
                worker.ask(forget=True)
