"""Training beside libxsmm-dnn, on its own shapes: it neither gathers rows nor computes a loss."""

from __future__ import annotations

import os
from statistics import median

from . import cases
from .cases import Spec, net_name
from .libxsmm_mlp import VARIABLE
from .run import Run, number, table
from .turns import prepare

NETS: list[Spec] = [
    {"sizes": [768, 512, 512, 64], "batch": 128, "rows": 6400, "epochs": 1},
    {"sizes": [768, 128, 64], "batch": 128, "rows": 12800, "epochs": 1},
    {"sizes": [2048, 4096, 4096, 1024], "batch": 256, "rows": 4096, "epochs": 1},
]


def libxsmm(run: Run) -> None:
    """Plain SGD in float32, on one and two threads."""
    if not os.environ.get(VARIABLE):
        print(
            f"\nlibxsmm: left out; set {VARIABLE} to libxsmm-dnn's program mlp_example, "
            "which its folder tests/mlp builds"
        )
        return
    rows = []
    for net in NETS[:2] if run.quick else NETS:
        case = net | {"hidden": "relu", "optimizer": "sgd"}
        line = [net_name(case)]
        for threads in (1, 2):
            spec = case | {"group": "training", "threads": threads}
            theirs = run.workers.start(f"libxsmm-dnn ({threads})", "libxsmm_mlp", threads)
            entries = [
                prepare("fastnn", run.ours(), spec, cases.expected_loss(spec), 1e-3),
                prepare("libxsmm-dnn", theirs, spec, 0.0, 0.0),
            ]
            found = run.measure("libxsmm", case | {"threads": threads}, entries, 60, 300)
            rates = {}  # GFLOP/s
            for name, entry in found.items():
                seconds = median(entry.facts.get("seconds", entry.seconds))  # a sample
                rates[name] = cases.training_flops(net["sizes"]) / seconds / 1e9
            ours, others = rates.get("fastnn"), rates.get("libxsmm-dnn")
            note = found["libxsmm-dnn"].note if others else ""
            share = ours / others if ours and others else None
            line += [
                f"{ours:.0f}" if ours else "-", f"{others:.0f} ({note})" if others else "-",
                number(share, 1.0 if threads == 2 else None),
            ]  # fmt: skip
        rows.append(line)
    table(
        "Training beside libxsmm-dnn, SGD, float32, GFLOP/s (its blocks: batch, outputs, inputs)",
        "net, batch | fastnn, one thread | libxsmm-dnn | / it "
        "| fastnn, two threads | libxsmm-dnn | / it",
        rows,
    )
