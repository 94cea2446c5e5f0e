"""`fastnn evaluate`."""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._errors import FormatError, printable, shown
from ..network import Network, load
from .data import Rows, class_names, testing_data
from .predict import has_classes
from .terminal import Screen, confusions, mistakes, percent, show
from .train import r_squared

Array = NDArray[Any]


def evaluate(chosen: argparse.Namespace, out: Screen) -> None:
    """How often a network is right, and where it errs; or how near its numbers come."""
    network = load(chosen.model, engine=chosen.engine, num_threads=chosen.threads)
    rows = testing_data(network, chosen, "data")
    if rows.y is None:
        column = f" (a column named {shown(network.target)}, or --label)" if network.target else ""
        raise FormatError(f"{rows.name}: expected labels too{column}, got inputs only")
    figures = network.evaluate(rows.x, rows.y)
    name = printable(rows.name)
    whole = f"all rows of {name}" if chosen.data == rows.name else name
    seen = "; it was trained on rows of this name" if _is_known(network, rows) else ""
    show(out, [f"{printable(chosen.model)} on {whole}: {len(rows.x):,} rows{seen}"])
    show(out, [*(f"guessed   {note}" for note in rows.notes), ""])
    loss = f"loss      {figures['loss']:.4f} ({network.loss.name})"
    if "accuracy" in figures:
        accuracy = figures["accuracy"]
        right = round(accuracy * len(rows.x))
        counts = f"{right:,} right, {len(rows.x) - right:,} wrong"
        show(out, [f"accuracy  {out.bold(percent(accuracy))}: {counts}", loss])
    elif "binary_accuracy" in figures:
        share = out.bold(percent(figures["binary_accuracy"]))
        show(out, [f"accuracy  {share} of the outputs, each for itself", loss])
    else:
        show(out, [*_nearness(out, network, rows.x, rows.y), loss])
    if rows.y.ndim == 1 and "accuracy" in figures and has_classes(network):
        show(out, _mistakes(out, network, rows.x, rows.y.astype(np.int64)))


def _is_known(network: Network, rows: Rows) -> bool:
    return network.trained_on is not None and network.trained_on == rows.name.rpartition("/")[2]


def _nearness(out: Screen, network: Network, x: Array, y: Array) -> list[str]:
    """R², the mean of that of each output, and the root of the mean square."""
    y = y.reshape(len(y), -1).astype(np.float64)
    squares = np.mean((network.predict(x) - y) ** 2, axis=0)
    r2 = float(np.mean([r_squared(float(s), t) for s, t in zip(squares, y.T, strict=True)]))
    shown = f"{r2:.4f}" if r2 == r2 else "undefined: the numbers to be met are all the same"
    target = f" (of {printable(network.target)})" if network.target else ""
    return [
        f"R²        {out.bold(shown)}",
        f"RMSE      {float(np.mean(squares)) ** 0.5:#.4g}{target}",
    ]


def _mistakes(out: Screen, network: Network, x: Array, y: Array) -> list[str]:
    said, h, names = network.classify(x), network.predict(x), class_names(network)
    lines = ["", *confusions(out, y, said, names)]
    wrong = np.flatnonzero(said != y)
    if len(wrong) == 0:
        return lines
    if network.outputs == 1:
        h = np.hstack([1 - h, h])
    worst = wrong[np.argsort(h[wrong, y[wrong]], kind="stable")]
    return [*lines, "", *mistakes(out, x, y, said, h, worst, names)]
