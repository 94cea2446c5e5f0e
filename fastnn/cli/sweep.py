"""`fastnn sweep`."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .. import engine, structure
from .._errors import DivergenceError, printable
from ..network import Network, weight_bytes
from .data import Learning, learning_data
from .terminal import Screen, percent
from .train import (
    about_data,
    about_training,
    check_writable,
    network_of,
    optimizer_of,
    plan_of,
    r_squared,
)

WIDTHS = (14, 12, 15, 13, 15, 10, 10)  # columns of the table


def sweep(chosen: argparse.Namespace, out: Screen) -> None:
    """Train networks of a grid of widths and depths, the smallest first; say what each is worth."""
    data = learning_data(chosen)
    if chosen.save_best:
        check_writable(Path(chosen.save_best), "--save-best")
    grid = hidden_sizes(chosen.widths, chosen.depths, data)
    results = _each(chosen, grid, data)
    if chosen.json:
        lines = _json_lines(results, data, len(grid))
    elif chosen.csv:
        lines = _csv_lines(results, data)
    else:
        lines = _text_lines(results, data, chosen)
    for line in lines:
        print(out.text(line), flush=True)


def hidden_sizes(widths: list[int], depths: list[int], data: Learning) -> list[list[int]]:
    """The sizes of the hidden layers of each network, by the number of parameters."""
    inputs, outputs = data.rows.x[0].size, len(data.classes) if data.classes else 1
    grid = [[width] * depth for depth in sorted(set(depths)) for width in sorted(set(widths))]
    dtype = np.dtype("float32")
    return sorted(grid, key=lambda hidden: weight_bytes([inputs, *hidden, outputs], dtype))


@dataclass
class Found:
    """What one network of the grid is worth."""

    hidden: list[int]
    parameters: int
    multiply_adds: int  # of one row
    bytes: int  # of the parameters
    loss: float  # on the rows to test on
    quality: float  # accuracy or R² there; NaN, as all figures, after a training that diverged
    seconds: float  # of training
    microseconds: float  # of the prediction of one row
    is_best: bool = False  # better than all before it


def _each(chosen: argparse.Namespace, grid: list[list[int]], data: Learning) -> Iterator[Found]:
    """What each network is worth, once it is trained; the best so far is saved if that is wanted.

    Raises DivergenceError at the end if there is none.
    """
    best = -math.inf
    for hidden in grid:
        network, found = trained(chosen, hidden, data)
        found.is_best = found.quality > best  # false for NaN
        if found.is_best:
            best = found.quality
            if chosen.save_best:
                network.save(chosen.save_best)
        yield found
    if best == -math.inf:
        raise DivergenceError(
            "expected a network that learned something, got none; try a smaller --learning-rate"
        )


def trained(chosen: argparse.Namespace, hidden: list[int], data: Learning) -> tuple[Network, Found]:
    """A network with these hidden layers, trained as `fastnn train` does."""
    chosen = argparse.Namespace(**{**vars(chosen), "hidden": hidden})
    plan = plan_of(chosen, data)
    network = network_of(chosen, plan, data)
    try:
        history = network.fit(
            data.rows.x,
            data.y,
            epochs=plan.epochs,
            batch_size=plan.batch_size,
            optimizer=optimizer_of(chosen, plan),
            verbose=0,
        ).history
        figures = network.evaluate(data.x_test, data.y_test)
    except DivergenceError:
        history, figures = {"seconds": [math.nan]}, {"loss": math.nan, "accuracy": math.nan}
    row = np.zeros((1, network.inputs), network.dtype)
    answer = np.empty((1, network.outputs), network.dtype)
    parameters = sum(layer.size for layer in network.layers)
    return network, Found(
        hidden,
        parameters,
        network.flops // 2,
        parameters * network.dtype.itemsize,
        figures["loss"],
        quality(data, figures),
        sum(history["seconds"]),
        1e6 * structure.shortest([lambda: network.predict(row, out=answer)])[0],
    )


def quality(data: Learning, figures: dict[str, float]) -> float:
    """Accuracy of classes, R² of numbers."""
    return figures["accuracy"] if data.classes else r_squared(figures["loss"], data.y_test)


def _text_lines(
    results: Iterator[Found], data: Learning, chosen: argparse.Namespace
) -> Iterator[str]:
    plan = plan_of(chosen, data)
    yield from about_data(plan, data)
    yield from about_training(chosen, plan, engine.get(chosen.engine).NAME)
    measure = "accuracy" if data.classes else "R²"
    heads = ("hidden", "parameters", "multiply-adds", "bytes", f"test {measure}", "seconds")
    yield from ("", _line(*heads, "µs a row"))
    best = None
    for found in results:
        worth = percent(found.quality) if data.classes else f"{found.quality:.4f}"
        cells = (
            _sizes(found),
            f"{found.parameters:,}",
            f"{found.multiply_adds:,}",
            f"{found.bytes:,}",
            "diverged" if math.isnan(found.loss) else worth,
            f"{found.seconds:.2f}",
            f"{found.microseconds:.1f}",
        )
        yield _line(*cells) + "  *" * found.is_best
        best = found if found.is_best else best
    if best is not None:
        yield from ("", f"best      --hidden {_sizes(best)}; a star: better than all smaller ones")
        if chosen.save_best:
            yield f"saved {printable(chosen.save_best)}"


def _line(*cells: str) -> str:
    return "".join(cell.rjust(width) for cell, width in zip(cells, WIDTHS, strict=True))


def _sizes(found: Found) -> str:
    return ",".join(map(str, found.hidden))


def _entry(found: Found, data: Learning) -> dict[str, Any]:
    """What a machine reads of a network; None where training diverged."""
    name = "accuracy" if data.classes else "r2"
    entry = {name if key == "quality" else key: value for key, value in asdict(found).items()}
    return {key: None if value != value else value for key, value in entry.items()}


def _json_lines(results: Iterator[Found], data: Learning, total: int) -> Iterator[str]:
    for i, found in enumerate(results):
        entry = json.dumps(_entry(found, data))
        yield f"{'[' if i == 0 else ' '}{entry}{',' if i + 1 < total else ']'}"


def _csv_lines(results: Iterator[Found], data: Learning) -> Iterator[str]:
    for i, found in enumerate(results):
        entry = _entry(found, data) | {"hidden": "-".join(map(str, found.hidden))}
        if i == 0:
            yield ",".join(entry)
        yield ",".join("" if value is None else str(value) for value in entry.values())
