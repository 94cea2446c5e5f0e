"""`fastnn train`."""

from __future__ import annotations

import argparse
import contextlib
import math
import os
import shlex
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import engine, schedules
from .._atomic import replaceable
from .._errors import printable
from ..augmentation import Augment
from ..callbacks import BestWeights, Checkpoint
from ..drawing import is_picture
from ..network import Network, mlp, weight_bytes
from ..optimizers import OPTIMIZERS, Optimizer
from .data import Learning, learning_data, listed, stem
from .terminal import Screen, percent, show

Array = NDArray[Any]

SCHEDULES = {name.replace("_", "-"): kind for name, kind in schedules.SCHEDULES.items()}
STEPS = 500  # of a table at least, in epochs of its rows
EPOCHS = 10  # at least
LARGEST_BATCH, SMALLEST_BATCH = 64, 16
BATCHES = 32  # an epoch, at least while a batch is larger than the smallest
LINES = 20  # of epochs, where we chose how many there are


def train(chosen: argparse.Namespace, out: Screen) -> None:
    """Train a network on a data set and save it."""
    path = Path(chosen.output or _default_output(chosen.data))
    data = learning_data(chosen)
    for option, file in (("--output", path), ("--checkpoint", chosen.checkpoint)):
        if file is not None:
            check_writable(Path(file), option)
    plan, augment = plan_of(chosen, data), augment_of(chosen, data)
    network = network_of(chosen, plan, data)
    if not chosen.quiet:
        show(out, _described(chosen, plan, data, network))
    best = BestWeights("val_accuracy" if data.classes else "val_loss")
    lines = [] if chosen.quiet else [_Lines(out, plan, data)]
    checkpoint = chosen.checkpoint or chosen.resume
    keep = [Checkpoint(checkpoint)] if checkpoint else []
    try:
        network.fit(
            data.rows.x,
            data.y,
            epochs=plan.epochs,
            batch_size=plan.batch_size,
            optimizer=optimizer_of(chosen, plan),
            class_weight=None if chosen.class_weight == "none" else chosen.class_weight,
            validation_data=(data.x_test, data.y_test),
            augment=augment,
            callbacks=[best, *lines, *keep],
            verbose=0,
            resume=chosen.resume,
        )
        network.save(path)
    except KeyboardInterrupt:
        with _undisturbed():
            kept = _restored(best, network, plan.epochs, data)
            network.save(path)
        raise KeyboardInterrupt(f" {kept} in {printable(str(path))}") from None
    if not chosen.quiet:
        show(out, _result(data, network, path, _look_inside(chosen, path)))


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Deaf to Ctrl-C: it has been heard, and a second one would stop the saving."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _default_output(data: str | None) -> str:
    return f"{stem(data) if data and os.path.isfile(data) else 'digits'}.fastnn"


def check_writable(path: Path, option: str) -> None:
    """Find out now, and not when training is over, that the network cannot be saved there."""
    if path.exists() and not path.is_file():
        raise ValueError(f"expected {option} to be a file, got {path}")
    replaceable(path)
    folder = path.absolute().parent
    if not folder.is_dir():
        raise ValueError(f"expected {option} in an existing folder, got {path}")
    if not os.access(folder, os.W_OK):
        raise ValueError(f"expected {option} in a folder that can be written, got {path}")


# ------------------------------------------------------------------------------------ what to train


@dataclass
class Plan:
    """What was chosen, by the command line or, from the number of rows, by us."""

    activation: str
    batch_size: int
    epochs: int
    rate: float
    input_scale: float
    lines: int  # an epoch in so many gets a line


def plan_of(chosen: argparse.Namespace, data: Learning) -> Plan:
    x, rows, table = data.rows.x, len(data.rows.x), not data.is_picture
    largest = max(float(x.max()), -float(x.min()))
    batch = min(chosen.batch_size or (_batch_size(rows) if table else LARGEST_BATCH), rows)
    steps = STEPS if table else 0
    epochs = chosen.epochs or max(EPOCHS, math.ceil(steps / math.ceil(rows / batch)))
    return Plan(
        activation=chosen.activation or ("tanh" if table else "relu"),
        batch_size=batch,
        epochs=epochs,
        rate=chosen.learning_rate or OPTIMIZERS[chosen.optimizer].PEAK,
        input_scale=1.0 if table or largest <= 1 else 1 / largest,
        lines=1 if chosen.epochs else math.ceil(epochs / LINES),
    )


def _batch_size(rows: int) -> int:
    """The power of two that makes BATCHES batches or more, within its bounds."""
    fitting = 1 << max(0, (rows // BATCHES).bit_length() - 1)
    return min(max(fitting, SMALLEST_BATCH), LARGEST_BATCH)


def network_of(chosen: argparse.Namespace, plan: Plan, data: Learning) -> Network:
    """A network for these rows, which knows the names of columns and classes."""
    rows, classes = data.rows, data.classes
    sizes = [rows.x[0].size, *chosen.hidden, len(classes) if classes else 1]
    _check_memory(sizes)
    network = mlp(
        sizes,
        hidden=plan.activation,
        output="softmax" if classes else "identity",
        input_scale=plan.input_scale,
        standardize=not data.is_picture,
        seed=chosen.seed,
        engine=chosen.engine,
        num_threads=chosen.threads,
    )
    network.classes, network.features, network.target = classes, rows.features, rows.target
    network.columns = rows.columns
    network.trained_on = os.path.basename(os.path.abspath(rows.name))
    return network


def optimizer_of(chosen: argparse.Namespace, plan: Plan) -> Optimizer:
    """The optimizer, with the schedule of its rate if it takes one."""
    kind = OPTIMIZERS[chosen.optimizer]
    return kind(plan.rate if kind.KEPT else SCHEDULES[chosen.schedule](plan.rate))


def augment_of(chosen: argparse.Namespace, data: Learning) -> Augment | None:
    """How pictures are deformed, in proportion to their size, if the command line says so."""
    if not chosen.augment:
        return None
    first = data.rows.x[0]
    if not data.is_picture or not (first.ndim == 2 or is_picture(first)):
        found = f"{data.rows.name}, {first.size} numbers a row"
        raise ValueError(f"expected square pictures with --augment, got {printable(found)}")
    side = math.isqrt(first.size)
    height, width = first.shape if first.ndim == 2 else (side, side)
    sigma = max(1.0, side / 6)
    return Augment(
        shift=side / 20,
        rotation=12,
        scaling=0.12,
        shear=6,
        elastic=(sigma, 0.25 * side * sigma),
        shape=(height, width),
    )


def _check_memory(sizes: list[int]) -> None:
    """Raise MemoryError if weights, and Adam's state, are more than this machine has."""
    wanted = 4 * weight_bytes(sizes, np.dtype("float32"))  # weights, the best ones, two of state
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # not on every system
        memory = sys.maxsize
    if wanted > memory:
        raise MemoryError(
            f"expected layers that fit in {memory / 2**30:,.1f} GiB, got {wanted / 2**30:,.1f} GiB "
            f"of weights and training; say --hidden"
        )


# -------------------------------------------------------------------------------- what to say of it


def _described(
    chosen: argparse.Namespace, plan: Plan, data: Learning, network: Network
) -> list[str]:
    """What will be trained, on what, and how."""
    sizes = [f"{network.inputs:,}"]
    sizes += [
        layer.label if layer.units is None else f"{layer.units:,} {layer.label}"
        for layer in network.layers
    ]
    parameters = sum(layer.size for layer in network.layers)
    return [
        *about_data(plan, data),
        f"network   {' → '.join(sizes)}: {parameters:,} parameters",
        *about_training(chosen, plan, network.engine),
        "",
    ]


def about_data(plan: Plan, data: Learning) -> list[str]:
    """What the rows are, and what was guessed of them."""
    scale = f", divided by {1 / plan.input_scale:g}" if plan.input_scale != 1 else ""
    scale = scale if data.is_picture else ", standardised by column"
    counts = f"{len(data.y):,} to learn, {len(data.y_test):,} to test"
    classes = [f"classes   {listed(data.classes)}"] if data.classes and data.rows.target else []
    return [
        f"data      {printable(data.rows.name)}: {counts}{scale}",
        *(f"guessed   {note}" for note in data.rows.notes),
        *classes,
    ]


def about_training(chosen: argparse.Namespace, plan: Plan, engine_name: str) -> list[str]:
    """How a network is trained, and by what."""
    threads = chosen.threads or engine.get_num_threads()
    deformed = ", deformed pictures" * getattr(chosen, "augment", False)
    constant = chosen.schedule == "constant" or OPTIMIZERS[chosen.optimizer].KEPT
    schedule = "" if constant else f" ({chosen.schedule})"
    return [
        f"training  {chosen.optimizer}, learning rate {plan.rate:g}{schedule}, "
        f"batches of {plan.batch_size}, seed {chosen.seed}{deformed}",
        f"engine    {engine_name}, {threads} thread{'s' * (threads > 1)}; Ctrl-C stops early",
    ]


def _look_inside(chosen: argparse.Namespace, path: Path) -> str:
    """The command that shows the network at work on the same data."""
    words = ["fastnn", "inspect", str(path)]
    if chosen.data and os.path.isfile(chosen.data):
        words += ["--file", chosen.data]
        words += [f"--label={chosen.table_label or 'none'}"] * (chosen.table_label != "auto")
        header = {True: "yes", False: "no"}.get(chosen.table_header)
        words += [f"--header={header}"] if header else []
        words += [f"--separator={chosen.table_separator}"] * (chosen.table_separator != "auto")
    return shlex.join(words)


def _result(data: Learning, network: Network, path: Path, look_inside: str) -> list[str]:
    assert network.history is not None
    history = network.history.history
    after = f"after {sum(history['seconds']):.1f} s of training"
    tested = f"the {len(data.y_test):,} test rows"
    found = _figures(data, {name: values[-1] for name, values in history.items()})
    right = f"of {tested} are right" if data.classes else f"on {tested}"
    return [
        "",
        f"{found} {right}, {after}",
        f"saved {printable(str(path))}",
        f"look inside: {look_inside}",
    ]


def _figures(data: Learning, logs: dict[str, float]) -> str:
    """How good a network is, in the figure of its task."""
    if data.classes:
        return percent(logs["val_accuracy"])
    return f"R² {r_squared(logs['val_loss'], data.y_test):.4f}, RMSE {logs['val_loss'] ** 0.5:#.4g}"


def r_squared(mean_square: float, y: Array) -> float:
    """The share of the variance of y (n,) that is explained: 1 - mean_square / variance.

    NaN where y does not vary.
    """
    variance = float(np.var(y, dtype=np.float64))
    return 1 - mean_square / variance if variance > 0 else math.nan


def _restored(best: BestWeights, network: Network, epochs: int, data: Learning) -> str:
    """Give the network its best weights, unless its training was over; says what was saved."""
    history = network.history.history if network.history else {}
    done = len(history.get("loss", ()))
    if done == epochs:
        return "after training; saved the network"
    when = f"in epoch {done + 1}; saved"
    if best.weights is None:
        return f"{when} the weights as they were"
    best.restore()
    right = " right" * bool(data.classes)
    return f"{when} the best weights, of epoch {best.epoch} ({_figures(data, best.logs)}{right})"


class _Lines:
    """A callback that prints the figures of epochs."""

    def __init__(self, out: Screen, plan: Plan, data: Learning) -> None:
        self.out, self.plan, self.data = out, plan, data
        self.width = max(8, len(f"{plan.epochs} of {plan.epochs}")) + 1

    def __call__(self, network: Network, epoch: int, logs: dict[str, float]) -> None:
        assert network.history is not None
        speed = len(self.data.y) / network.history.history["seconds"][-1]
        if epoch == 1:
            heads = ("loss", "accuracy", "test loss", "test accuracy")
            if not self.data.classes:
                heads = ("RMSE", "R²", "test RMSE", "test R²")
            show(self.out, [self.out.dim(self._line("epoch", *heads, "rows/s"))])
        if epoch % self.plan.lines and epoch not in (1, self.plan.epochs):
            return
        cells = [
            cell
            for part, y in (("", self.data.y), ("val_", self.data.y_test))
            for cell in self._cells(logs[f"{part}loss"], logs.get(f"{part}accuracy"), y)
        ]
        show(self.out, [self._line(f"{epoch} of {self.plan.epochs}", *cells, f"{speed:,.0f}")])

    def _cells(self, loss: float, accuracy: float | None, y: Array) -> list[str]:
        if self.data.classes and accuracy is not None:
            return [f"{loss:.4f}", percent(accuracy)]
        return [f"{loss**0.5:#.4g}", f"{r_squared(loss, y):.4f}"]

    def _line(self, *cells: str) -> str:
        widths = (self.width, 9, 11, 12, 16, 12)
        return "".join(cell.rjust(width) for cell, width in zip(cells, widths, strict=True))
