"""The figures of a run, as SVG files."""

from __future__ import annotations

import sys
from math import nan
from pathlib import Path
from typing import Any

from .cases import net_name

try:
    import matplotlib
    from matplotlib.figure import Figure
except ImportError:
    sys.exit("matplotlib is needed for plots: python -m pip install matplotlib")

matplotlib.use("svg")
matplotlib.rcParams |= {
    "svg.hashsalt": "fastnn",  # the same names in each run
    "svg.fonttype": "none",  # text stays text, which keeps the files small
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
}
COLOURS = {"fastnn": "#d1495b", "JAX": "#30638e", "PyTorch": "#edae49", "scikit-learn": "#66a182"}
MARKERS = {"fastnn": "o", "JAX": "s", "PyTorch": "^"}


def draw(rows: list[dict[str, Any]], folder: Path) -> None:
    """Draw the groups that have figures and were measured."""
    folder.mkdir(parents=True, exist_ok=True)
    if chosen := [row for row in rows if row["group"] == "training"]:
        training(chosen, folder / "training.svg")
    if chosen := [row for row in rows if row["group"] == "scale"]:
        scale(chosen, folder / "scale.svg")


def save(figure: Figure, path: Path) -> None:
    figure.savefig(path, metadata={"Date": None}, facecolor="white")
    print(path)


def medians(row: dict[str, Any]) -> dict[str, float]:
    """Seconds per sample of everyone."""
    return {name: found["median"] for name, found in row["seconds per unit"].items()}


def training(rows: list[dict[str, Any]], path: Path) -> None:
    """How many times as fast as each peer fastnn trains, with the goals."""
    figure = Figure(figsize=(9, 5.5), layout="constrained")
    for axes, optimizer in zip(figure.subplots(2, sharex=True), ("sgd", "adam"), strict=True):
        chosen = [row for row in rows if row["optimizer"] == optimizer]
        for i, peer in enumerate(("JAX", "PyTorch", "scikit-learn")):
            times = [medians(row) for row in chosen]
            gains = [t[peer] / t["fastnn"] if peer in t else nan for t in times]
            places = [j + (i - 1) * 0.27 for j in range(len(chosen))]
            bars = axes.bar(places, gains, 0.25, label=f"/ {peer}", color=COLOURS[peer])
            labels = [f"{gain:.1f}" if gain == gain else "" for gain in gains]
            axes.bar_label(bars, labels, fontsize=7, padding=1)
            goals = [goal(row, peer) for row in chosen]
            ends = [(x - 0.125, x + 0.125) for x in places]
            axes.hlines(goals, *zip(*ends, strict=True), color="black", lw=1.5,
                        label="goal" if i == 0 else None)  # fmt: skip
        axes.axhline(1, color="black", lw=0.5)
        axes.set_yscale("log", base=2)
        axes.set_yticks([1, 2, 4, 8, 16], ["1", "2", "4", "8", "16"])
        axes.set_ylim(bottom=0.5)
        axes.set_ylabel(f"times as fast, {'SGD' if optimizer == 'sgd' else 'Adam'}")
        names = [net_name(row).replace("-300" * 5, "-300x5") for row in chosen]
        names = [name.replace(" ", "\n", 1) for name in names]
        axes.set_xticks(range(len(chosen)), names, fontsize=8)
    figure.suptitle("fastnn's training speed over that of its peers, two threads")
    figure.axes[0].legend(frameon=False, ncols=4, loc="upper right")
    save(figure, path)


def goal(row: dict[str, Any], peer: str) -> float:
    """The goal of this ratio; NaN where there is none."""
    return float(row["goal"]) if peer in ("JAX", "PyTorch") else nan


def scale(rows: list[dict[str, Any]], path: Path) -> None:
    """Samples per second by width and by batch, below the roofline."""
    figure = Figure(figsize=(9, 4.5), layout="constrained")
    sweeps = {
        "width": "width W of 784-W-W-10 relu, batch 128",
        "batch": "batch of 784-256-10 relu",
    }
    for axes, (name, text) in zip(figure.subplots(1, 2), sweeps.items(), strict=True):
        chosen = [row for row in rows if row["by"] == name]
        values = [row[name] for row in chosen]
        lines = [row.get("roofline", nan) for row in chosen]
        axes.plot(values, lines, color="black", lw=1, ls="--", label="roofline")
        for label, marker in MARKERS.items():
            speeds = [1 / medians(row).get(label, nan) for row in chosen]
            axes.plot(values, speeds, f"{marker}-", ms=4, color=COLOURS[label], label=label)
        axes.set_xscale("log", base=2)
        axes.set_xticks(values, list(map(str, values)), rotation=45)
        axes.set_yscale("log")
        axes.grid(which="major", color="#dddddd", lw=0.5)
        axes.set_xlabel(text)
        axes.set_ylabel("samples/s")
    figure.axes[0].legend(frameon=False)
    figure.suptitle("Training with SGD, two threads: speed by size")
    save(figure, path)
