"""Tiny nets and short calls, on one thread: what is left is the fixed cost of each call."""

from __future__ import annotations

from collections.abc import Callable

from . import cases
from .cases import Spec
from .run import Run, table
from .turns import Entry, prepare

FULL_BATCH: Spec = {"sizes": [4, 32, 16, 4], "hidden": "tanh", "batch": 10_000, "rows": 30_000,
                    "timed": 10_000, "epochs": 20}  # fmt: skip
ONE_STEP: Spec = {"sizes": [24, 8, 2], "hidden": "tanh", "batch": 200, "rows": 600, "timed": 200,
                  "epochs": 100, "joined": 100}  # fmt: skip
PEERS = ["JAX", "PyTorch"]
LABELS = ["fastnn", "unshuffled", *PEERS]


def tiny(run: Run) -> None:
    """SimpleChains.jl, made for such nets, is not run: its column is what its authors publish."""
    full, step, fit = (
        trained(run, net) for net in (FULL_BATCH, ONE_STEP, ONE_STEP | {"epochs": 1})
    )
    back = gradients(run)
    name = "-".join(map(str, ONE_STEP["sizes"]))
    rows = [
        ["4-32-16-4, 10,000 rows in one batch, Adam: million samples/s",
         *shown(full, lambda seconds: 1e-6 / seconds, 13), "13.5-15"],
        [f"{name}, an epoch of one step of 200 rows, Adam: us",
         *shown(step, lambda seconds: seconds * 200 * 1e6, 30), "-"],
        [f"{name}, fit of one such epoch: us",
         *shown(fit, lambda seconds: seconds * 200 * 1e6), "-"],
        [f"{name}, gradients of 200 rows: us",
         *shown(back, lambda seconds: seconds * 1e6, 12), "5.7"],
    ]  # fmt: skip
    table(
        "Tiny nets, one thread",
        "what | fastnn | fastnn, shuffle=False | JAX | PyTorch | SimpleChains.jl, as published",
        rows,
    )
    if "fastnn" in fit and "fastnn" in step:
        fixed = (fit["fastnn"].median - step["fastnn"].median) * 200
        print(f"\nA fit costs {fixed * 1e6:.0f} us beside its epochs")


def trained(run: Run, net: Spec) -> dict[str, Entry]:
    """Seconds a sample; of a fit of one epoch ours alone, as the others have no such call."""
    spec = net | {"optimizer": "adam", "threads": 1}
    entries = run.training(spec, PEERS if net["epochs"] > 1 else [])
    ours = spec | {"group": "training", "shuffle": False}
    entries.append(prepare("unshuffled", run.ours(), ours, cases.expected_loss(spec), 2e-3))
    return run.measure("tiny", spec, entries, 60, 300)


def gradients(run: Run) -> dict[str, Entry]:
    """Seconds of one call with as many rows as a step has."""
    case = {"sizes": ONE_STEP["sizes"], "hidden": ONE_STEP["hidden"], "rows": ONE_STEP["batch"]}
    spec = case | {"group": "gradients", "threads": 1}
    workers = {"fastnn": run.ours()} | {name: run.peer(name, 1) for name in PEERS}
    entries = [prepare(name, worker, spec, 0.0, 1e-4) for name, worker in workers.items()]
    return run.measure("tiny", spec, entries, 60, 300)


def shown(
    found: dict[str, Entry], figure: Callable[[float], float], goal: float | None = None
) -> list[str]:
    """A cell for each of LABELS; ours has the goal."""
    cells = [f"{figure(found[label].median):.3g}" if label in found else "-" for label in LABELS]
    return [cells[0] + (f" (goal {goal:g})" if goal else ""), *cells[1:]]
