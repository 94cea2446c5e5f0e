"""The figures of a run, as SVG files."""

from __future__ import annotations

import sys
from math import nan
from pathlib import Path
from typing import Any

from .cases import net_name

COLOURS = {
    "fastnn": "#d1495b",
    "JAX": "#30638e",
    "PyTorch": "#edae49",
    "scikit-learn": "#66a182",
    "ONNX Runtime": "#7d5ba6",
    "NumPy": "#8d96a3",
}


def draw(rows: list[dict[str, Any]], folder: Path) -> None:
    """Draw every group that was measured; says so if matplotlib is missing."""
    try:
        import matplotlib
    except ImportError:
        sys.exit("matplotlib is needed for plots: python -m pip install matplotlib")
    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "fastnn"
    folder.mkdir(parents=True, exist_ok=True)
    bars([r for r in rows if r["group"] == "training" and r["optimizer"] == "sgd"], folder)
    for name in ("width", "batch"):
        curve([r for r in rows if r["group"] == "scale" and name in r], name, folder)


def save(figure: Any, path: Path) -> None:
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    print(path)


def bars(rows: list[dict[str, Any]], folder: Path) -> None:
    """Training speed of everyone, relative to fastnn."""
    if not rows:
        return
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4))
    axes = figure.add_subplot()
    names = ["fastnn", "JAX", "PyTorch", "scikit-learn"]
    for i, name in enumerate(names):
        heights = []
        for row in rows:
            times = {k: v["median"] for k, v in row["seconds per unit"].items()}
            heights.append(times["fastnn"] / times[name] if name in times else 0)
        places = [j + (i - 1.5) * 0.2 for j in range(len(rows))]
        axes.bar(places, heights, 0.19, label=name, color=COLOURS[name])
    axes.set_xticks(
        range(len(rows)), [net_name(row).replace(" ", "\n", 1) for row in rows], fontsize=6
    )
    axes.set_ylabel("samples/s relative to fastnn")
    axes.legend(frameon=False)
    save(figure, folder / "training.svg")


def curve(rows: list[dict[str, Any]], name: str, folder: Path) -> None:
    """Samples per second by width or batch, with the roofline."""
    if not rows:
        return
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4))
    axes = figure.add_subplot()
    values = [row[name] for row in rows]
    axes.plot(
        values,
        [row.get("roofline", nan) for row in rows],
        color="black",
        lw=1,
        ls="--",
        label="roofline",
    )
    for label in ("fastnn", "JAX", "PyTorch"):
        found = [row["seconds per unit"].get(label) for row in rows]
        axes.plot(
            values,
            [1 / f["median"] if f else nan for f in found],
            "o-",
            ms=3,
            color=COLOURS[label],
            label=label,
        )
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xlabel(name)
    axes.set_ylabel("samples/s")
    axes.legend(frameon=False)
    save(figure, folder / f"scale_{name}.svg")
