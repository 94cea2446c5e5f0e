"""One run: its settings, its workers, its figures, and the tables that it prints."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any

from . import cases
from .cases import Spec
from .turns import Entry, Worker, Workers, forget, prepare, take_turns


@dataclass
class Peer:
    """A peer: its worker module, the module it must be able to import, what to install."""

    module: str
    imports: tuple[str, ...]
    install: str


PEERS = {
    "NumPy": Peer("numpy_blas", ("numpy",), "numpy"),
    "JAX": Peer("jax_scan", ("jax",), "jax"),
    "PyTorch": Peer("pytorch", ("torch",), '"torch==2.13.0"'),
    "scikit-learn": Peer("scikit", ("sklearn",), "scikit-learn"),
    "ONNX Runtime": Peer("onnx_runtime", ("onnxruntime", "onnx"), "onnxruntime onnx"),
    "OpenVINO": Peer("openvino_runtime", ("openvino",), "openvino"),
}


def missing() -> dict[str, Peer]:
    """The peers that cannot run because something is not installed."""
    return {
        name: peer
        for name, peer in PEERS.items()
        if any(find_spec(module) is None for module in peer.imports)
    }


@dataclass
class Run:
    """The settings of one run, its workers, and the rows that it has measured."""

    workers: Workers
    quick: bool
    mnist: str | None
    rows: list[Spec] = field(default_factory=list)

    def peer(self, name: str, threads: int = 2, **environ: str) -> Worker | None:
        """A peer's worker; None if it is missing or cannot start."""
        if name in missing():
            return None
        key = " ".join([name, *environ.values()]) + (" (1 thread)" if threads == 1 else "")
        return self.workers.start(key, PEERS[name].module, threads, **environ)

    def ours(self) -> Worker:
        worker = self.workers.start("fastnn", "ours")
        if worker is None:
            raise SystemExit("fastnn cannot be imported: python -m pip install .")
        return worker

    def peak(self, **spec: Any) -> Entry | None:
        """The FMA peak as a contestant of its own."""
        spec = {"group": "peak", "dtype": "float32", "threads": 2} | spec
        return prepare("peak", self.ours(), spec, 0.0, 0.0)

    def training(self, spec: Spec, peers: list[str], **ours: Any) -> list[Entry | None]:
        """Everyone on one net from the same start, each with the loss that float64 gives."""
        expected = cases.expected_loss(spec)
        tolerance = (1e-4 if spec["optimizer"] == "sgd" else 2e-3) * max(1.0, expected)
        spec = {"group": "training", "threads": 2, "quick": self.quick, **spec}
        entries = [prepare("fastnn", self.ours(), spec | ours, expected, tolerance)]
        for name in peers:
            if name == "scikit-learn" and spec["sizes"][-1] == 2:
                # its one logistic output learns at another rate: only the start can be compared
                expected = cases.expected_loss(spec, steps=0)
            worker = self.peer(name, spec["threads"])
            entries.append(prepare(name, worker, spec, expected, tolerance))
        return entries

    def pace(self, quick: float, full: float) -> tuple[int, float]:
        """How many turns, and of how many milliseconds."""
        return (3, quick) if self.quick else (7, full)

    def measure(
        self, group: str, case: Spec, entries: list[Entry | None], quick: float, full: float,
        each: bool = False,
    ) -> dict[str, Entry]:  # fmt: skip
        """Take turns of so many milliseconds, keep the figures for the file, drop the tasks."""
        present = [entry for entry in entries if entry]
        rounds, milliseconds = self.pace(quick, full)
        done = take_turns(present, milliseconds, rounds, each)
        result = {entry.label: entry for entry in done}
        figures = {label: entry.figures() for label, entry in result.items()}
        self.rows.append({"group": group, **case, "seconds per unit": figures})
        medians = ", ".join(f"{label} {entry.median:.3g} s" for label, entry in result.items())
        what = " ".join(str(value) for key, value in case.items() if key != "goal")
        print(f"  {group} {what}: {medians}", file=sys.stderr, flush=True)
        forget(self.workers)
        return result


def table(title: str, columns: str, rows: list[list[str]]) -> None:
    """Print a Markdown table; the columns' names stand between bars."""
    head = columns.split(" | ")
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    print(f"\n{title}\n")
    for line in [head, ["-" * width for width in widths], *rows]:
        print("| " + " | ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)) + " |")
    sys.stdout.flush()


def ratio(slow: Entry | None, fast: Entry | None) -> float | None:
    """How many times as fast, by medians."""
    return slow.median / fast.median if slow and fast else None


def fastest_of(found: dict[str, Entry], names: list[str]) -> Entry | None:
    """The fastest of those that were measured."""
    present = [found[name] for name in names if name in found]
    return min(present, key=lambda entry: entry.median, default=None)


def number(value: float | None, goal: float | None = None) -> str:
    """A ratio, beside its goal."""
    if value is None:
        return "-"
    return f"{value:.2f}" + (f" (goal {goal:g})" if goal else "")


def percent(value: float | None, goal: float | None = None) -> str:
    """A share, beside its goal."""
    if value is None:
        return "-"
    return f"{value:.0%}" + (f" (goal {goal:.0%})" if goal else "")


def microseconds(entry: Entry | None) -> str:
    return f"{entry.median * 1e6:.1f}" if entry else "-"


def speed(entry: Entry | None) -> str:
    """Thousand samples a second, and which variant of the peer it was."""
    if entry is None:
        return "-"
    return f"{1e-3 / entry.median:.3g} {entry.note}".rstrip()
