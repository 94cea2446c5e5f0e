"""What each command does: read, call the library, print."""

from __future__ import annotations

import argparse
import os
import shlex
import signal
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from . import datasets, engine
from ._errors import FormatError, unknown
from ._terminal import (
    Screen,
    beside,
    confusions,
    is_picture,
    layer,
    mistakes,
    outputs,
    percent,
    square,
)
from .network import Network, load, mlp
from .optimizers import OPTIMIZERS
from .schedules import Constant, Cosine, OneCycle, Schedule

Array = NDArray[Any]

SCHEDULES: dict[str, Callable[[float], Schedule]] = {
    "constant": Constant,
    "cosine": Cosine,
    "one-cycle": OneCycle,
}
LEARNING_RATES = {"sgd": 0.5, "adam": 5e-3}  # with one-cycle: 98 % on MNIST
LABELS: dict[str, Literal["first", "last"] | None] = {
    "first": "first",
    "last": "last",
    "none": None,
}
TESTED = 6  # of a single file, every so-manieth row, at random, is kept for testing
MOST_CLASSES = 10_000  # more are a mistake in the labels
WIDE_TABLE = 10  # outputs that fit in a line


def _show(out: Screen, lines: Iterable[str]) -> None:
    for line in lines:
        print(out.text(line).rstrip(), flush=True)


# -------------------------------------------------------------------------------------------- data


@dataclass
class _Data:
    """Rows to learn from and rows to test on; `name` says what they are."""

    name: str
    x: Array
    y: Array
    x_test: Array
    y_test: Array


def _split(name: str) -> _Data | None:
    """A data set that comes with rows to test on; None if `name` is that of a file."""
    if name == "digits":
        (x, y), test = datasets.load_digits()
        return _Data("the shipped digits", x, y, *test)
    if name == "mnist":
        (x, y), test = datasets.load_mnist()
        return _Data("MNIST", x, y, *test)
    if os.path.isdir(name):
        (x, y), test = datasets.load_mnist(name)
        return _Data(name, x, y, *test)
    if not os.path.exists(name) and os.path.basename(name) == name and "." not in name:
        raise unknown("data set", name, ("digits", "mnist", "a file", "a folder"))
    return None


def _labelled(path: str, label: str) -> tuple[Array, Array]:
    """All rows of a file and their labels."""
    x, y = datasets.load_file(path, LABELS[label])
    if y is None:
        raise FormatError(f"{path}: expected labels too (a .csv or .npz file), got inputs only")
    return x, y


def _learning_data(name: str, label: str) -> _Data:
    data = _split(name)
    if data is None:
        x, y = _labelled(name, label)
        if len(x) < 2 or len(x) != len(y):
            raise FormatError(f"{name}: expected rows and as many labels, got {len(x)}, {len(y)}")
        _check_labels(name, y)
        order = np.random.Generator(np.random.Philox(key=0)).permutation(len(x))
        tested = max(1, len(x) // TESTED)
        test, learn = np.sort(order[:tested]), np.sort(order[tested:])
        return _Data(name, x[learn], y[learn], x[test], y[test])
    _check_labels(name, data.y)
    _check_labels(name, data.y_test)
    return data


def _check_labels(name: str, y: Array) -> None:
    if y.ndim != 1 or y.dtype.kind not in "iu":
        raise ValueError(f"{name}: expected whole numbers as labels, got {y.dtype} {y.shape}")
    if y.min() < 0 or y.max() >= MOST_CLASSES:
        expected = f"labels from 0 to {MOST_CLASSES - 1}"
        raise ValueError(f"{name}: expected {expected}, got {y.min()} to {y.max()}")


def _testing_data(network: Network, name: str | None, label: str) -> tuple[str, Array, Array]:
    """What to call the rows, the rows, their labels."""
    if name is None and network.inputs != 784:
        raise ValueError(
            f"expected a network of 784 inputs for the shipped digits, got {network.inputs} "
            f"inputs; name other data"
        )
    data = _split(name or "digits")
    if data is None:
        return f"all rows of {name}", *_labelled(str(name), label)
    return f"the test part of {data.name}", data.x_test, data.y_test


def _inputs(network: Network, path: str, label: str) -> tuple[Array, Array | None]:
    """The inputs in a file, and their labels if it has any."""
    x, y = datasets.load_file(path, LABELS[label])
    width = x[0].size if x.ndim > 1 and len(x) else 1
    if width == network.inputs + 1 and label == "none":
        raise ValueError(
            f"{path}: expected {network.inputs} columns, got {width}; if one of them is the label, "
            f"say --label first or --label last"
        )
    if width != network.inputs:
        raise ValueError(f"{path}: expected {network.inputs} inputs a row, got {width}")
    return x, y


# -------------------------------------------------------------------------------------------- train


def train(chosen: argparse.Namespace, out: Screen) -> None:
    """Train a classifier on a data set and save it."""
    source = chosen.data or "digits"
    data = _learning_data(source, chosen.label)
    path = Path(chosen.output or _default_output(source))
    _check_writable(path)
    classes = 1 + int(max(data.y.max(), data.y_test.max()))
    largest = max(float(data.x.max()), -float(data.x.min()))
    network = mlp(
        [data.x[0].size, *chosen.hidden, max(classes, 2)],
        hidden=chosen.activation,
        input_scale=1 / largest if largest > 1 else 1.0,
        seed=chosen.seed,
        engine=chosen.engine,
        num_threads=chosen.threads,
    )
    rate = chosen.learning_rate or LEARNING_RATES[chosen.optimizer]
    if not chosen.quiet:
        _show(out, _plan(chosen, data, network, rate, largest))
    best = _Best()
    optimizer = OPTIMIZERS[chosen.optimizer](SCHEDULES[chosen.schedule](rate))
    try:
        network.fit(
            data.x,
            data.y,
            epochs=chosen.epochs,
            batch_size=chosen.batch_size,
            optimizer=optimizer,
            validation_data=(data.x_test, data.y_test),
            callbacks=[best] if chosen.quiet else [best, _Rows(out, chosen.epochs, len(data.x))],
            verbose=0,
        )
    except KeyboardInterrupt:
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second one would stop the saving
        try:
            kept = best.restore(network)
            network.save(path)
        finally:
            signal.signal(signal.SIGINT, before)
        raise KeyboardInterrupt(f" in epoch {best.epochs + 1}; saved {kept} in {path}") from None
    network.save(path)
    if not chosen.quiet:
        _show(out, _result(data, network, path))
        rows = ["--file", source, "--label", chosen.label] if os.path.isfile(source) else []
        _show(out, [f"look inside: {shlex.join(['fastnn', 'inspect', str(path), *rows])}"])


def _default_output(data: str) -> str:
    name = Path(data).name.partition(".")[0] if os.path.isfile(data) else "digits"
    return f"{name}.fastnn"


def _check_writable(path: Path) -> None:
    """Find out now, and not when training is over, that the network cannot be saved there."""
    if path.exists() and not path.is_file():
        raise ValueError(f"expected --output to be a file, got {path}")
    folder = path.absolute().parent
    if not folder.is_dir():
        raise ValueError(f"expected --output in an existing folder, got {path}")
    if not os.access(folder, os.W_OK):
        raise ValueError(f"expected --output in a folder that can be written, got {path}")


def _plan(
    chosen: argparse.Namespace, data: _Data, network: Network, rate: float, largest: float
) -> list[str]:
    """What will be trained, on what, and how."""
    sizes = [f"{network.inputs:,}"]
    sizes += [f"{layer.units:,} {layer.activation.name}" for layer in network.layers]
    parameters = sum(layer.weights.size + layer.biases.size for layer in network.layers)
    scale = f", divided by {largest:g}" if largest > 1 else ""
    threads = chosen.threads or engine.get_num_threads()
    schedule = "" if chosen.schedule == "constant" else f" ({chosen.schedule})"
    return [
        f"data      {data.name}: {len(data.x):,} to learn, {len(data.x_test):,} to test{scale}",
        f"network   {' → '.join(sizes)}: {parameters:,} parameters",
        f"training  {chosen.optimizer}, learning rate {rate:g}{schedule}, "
        f"batches of {chosen.batch_size}, seed {chosen.seed}",
        f"engine    {network.engine}, {threads} thread{'s' * (threads > 1)}; Ctrl-C stops early",
        "",
    ]


def _result(data: _Data, network: Network, path: Path) -> list[str]:
    assert network.history is not None
    history = network.history.history
    seconds = sum(history["seconds"])
    return [
        "",
        f"{percent(history['val_accuracy'][-1])} of the {len(data.y_test):,} test rows are right, "
        f"after {seconds:.1f} s of training",
        f"saved {path}",
    ]


class _Best:
    """A callback that remembers the weights of the epoch that tested best."""

    def __init__(self) -> None:
        self.epochs = 0  # ended so far
        self.figures = (-1.0, 0.0)  # accuracy, minus the loss
        self.epoch = 0
        self.parameters: Array | None = None

    def __call__(self, network: Network, epoch: int, logs: dict[str, float]) -> None:
        figures = logs["val_accuracy"], -logs["val_loss"]
        if figures > self.figures:
            self.parameters = network.program.parameters.copy()
            self.figures, self.epoch = figures, epoch
        self.epochs = epoch

    def restore(self, network: Network) -> str:
        """Give the network these weights; returns what they are."""
        if self.parameters is None:
            return "the weights as they were"
        network.program.parameters[:] = self.parameters
        return f"the best weights, of epoch {self.epoch} ({percent(self.figures[0])} right)"


class _Rows:
    """A callback that prints the figures of each epoch."""

    def __init__(self, out: Screen, epochs: int, rows: int) -> None:
        self.out, self.epochs, self.rows = out, epochs, rows
        self.width = max(8, len(f"{epochs} of {epochs}")) + 1

    def __call__(self, network: Network, epoch: int, logs: dict[str, float]) -> None:
        assert network.history is not None
        speed = self.rows / network.history.history["seconds"][-1]
        if epoch == 1:
            title = (
                f"{'loss':>9}{'accuracy':>11}{'test loss':>12}{'test accuracy':>16}{'rows/s':>12}"
            )
            _show(self.out, [self.out.dim(f"{'epoch':>{self.width}}{title}")])
        cells = [
            f"{epoch} of {self.epochs}".rjust(self.width),
            f"{logs['loss']:>9.4f}",
            f"{percent(logs['accuracy']):>11}",
            f"{logs['val_loss']:>12.4f}",
            f"{percent(logs['val_accuracy']):>16}",
            f"{speed:>12,.0f}",
        ]
        _show(self.out, ["".join(cells)])


# ----------------------------------------------------------------------------------------- evaluate


def _load(chosen: argparse.Namespace) -> Network:
    return load(chosen.model, engine=chosen.engine, num_threads=chosen.threads)


def evaluate(chosen: argparse.Namespace, out: Screen) -> None:
    """How often a network is right, and where it errs."""
    network = _load(chosen)
    name, x, y = _testing_data(network, chosen.data, chosen.label)
    figures = network.evaluate(x, y)
    lines = [f"{chosen.model} on {name}: {len(x):,} rows", ""]
    if "accuracy" not in figures:
        _show(out, [*lines, f"loss      {figures['loss']:.4f} ({network.loss.name})"])
        return
    right = round(figures["accuracy"] * len(x))
    lines += [
        f"accuracy  {out.bold(percent(figures['accuracy']))}: "
        f"{right:,} right, {len(x) - right:,} wrong",
        f"loss      {figures['loss']:.4f} ({network.loss.name})",
    ]
    _show(out, lines)
    if y.ndim == 1:
        _show(out, _mistakes(out, network, x, y.astype(np.int64)))


def _mistakes(out: Screen, network: Network, x: Array, y: Array) -> list[str]:
    said, h = network.classify(x), network.predict(x)
    lines = ["", *confusions(out, y, said, max(network.outputs, 2))]
    wrong = np.flatnonzero(said != y)
    if len(wrong) == 0:
        return lines
    if network.outputs == 1:
        h = np.hstack([1 - h, h])
    worst = wrong[np.argsort(h[wrong, y[wrong]], kind="stable")]
    return [*lines, "", *mistakes(out, x, y, said, h, worst)]


# ------------------------------------------------------------------------------------------ predict


def predict(chosen: argparse.Namespace, out: Screen) -> None:
    """What a network says of each row of a file."""
    network = _load(chosen)
    x, _ = _inputs(network, chosen.file, chosen.label)
    h = network.predict(x)
    classes = network.classify(x).tolist() if _classifies(network) else None
    form = _json_lines if chosen.json else _csv_lines if chosen.csv else _text_lines
    for line in form(network, classes, h):
        print(line)


def _classifies(network: Network) -> bool:
    return network.outputs > 1 or _is_probability(network)


def _is_probability(network: Network) -> bool:
    return network.layers[-1].activation.name in ("softmax", "sigmoid")


def _numbers(h: Array) -> list[float]:
    """One row as Python floats, in the fewest digits that tell them apart in their dtype."""
    return [float(str(value)) for value in h]


def _json_lines(network: Network, classes: list[int] | None, h: Array) -> Iterator[str]:
    import json

    name = "probabilities" if _is_probability(network) else "outputs"
    for i, row in enumerate(h):
        entry: dict[str, Any] = {"row": i}
        if classes is not None:
            entry["class"] = classes[i]
        entry[name] = _numbers(row)
        yield f"{'[' if i == 0 else ' '}{json.dumps(entry)}{',' if i + 1 < len(h) else ']'}"


def _csv_lines(network: Network, classes: list[int] | None, h: Array) -> Iterator[str]:
    name = "probability" if _is_probability(network) else "output"
    heads = ["row", *(["class"] if classes is not None else [])]
    yield ",".join([*heads, *(f"{name}_{k}" for k in range(h.shape[1]))])
    for i, row in enumerate(h):
        answer = [] if classes is None else [classes[i]]
        yield ",".join(map(str, [i, *answer, *_numbers(row)]))


def _text_lines(network: Network, classes: list[int] | None, h: Array) -> Iterator[str]:
    """One line a row: all outputs if they fit, else the three largest."""
    probable, outputs = _is_probability(network), network.outputs
    unit, factor, digits, column = (" %", 100, ".1f", 6) if probable else ("", 1, ".4g", 11)
    names = [f"{k}{unit}" for k in range(outputs)]
    if outputs == 1:
        names = [f"1{unit}"] if probable else ["output"]
    elif outputs > WIDE_TABLE:
        names, column = ["first", "second", "third"], 16
    answer = "" if classes is None else "  class"
    yield f"{'row':>7}{answer}  {''.join(name.rjust(column) for name in names)}"
    for i, row in enumerate(h):
        cells = [f"{factor * value:{digits}}" for value in row]
        if outputs > WIDE_TABLE:
            top = np.argsort(-row, kind="stable")[:3]
            cells = [f"{k}: {cells[k]}{unit}" for k in top]
        answer = "" if classes is None else f"{classes[i]:>7}"
        yield f"{i:>7}{answer}  {''.join(cell.rjust(column) for cell in cells)}"


# ------------------------------------------------------------------------------------------ inspect


def inspect(chosen: argparse.Namespace, out: Screen) -> None:
    """One row's way through a network, layer by layer."""
    network = _load(chosen)
    if chosen.file:
        name = chosen.file
        x, y = _inputs(network, chosen.file, chosen.label)
    else:
        name, x, y = _testing_data(network, None, chosen.label)
    i = chosen.index
    if i >= len(x):
        raise ValueError(f"expected --index below {len(x)}, the rows of {name}, got {i}")
    first, *hidden, h = [values[0] for values in network.activations(x[i : i + 1])]
    truth = int(y[i]) if y is not None and y.ndim == 1 and y.dtype.kind in "iu" else None
    bars = outputs(out, h, _is_probability(network))
    decided = [_verdict(out, network, x[i : i + 1], truth), "", *bars]
    _show(out, [f"row {i} of {name}", ""])
    if is_picture(first):
        _show(out, beside(out.picture(square(first)), decided, gap=4))
    else:
        _show(out, [*decided, "", *layer(out, "input", first, "")])
    for number, (values, shape) in enumerate(zip(hidden, network.layers, strict=False), start=1):
        _show(out, ["", *layer(out, f"layer {number}", values, shape.activation.name)])


def _verdict(out: Screen, network: Network, x: Array, truth: int | None) -> str:
    if not _classifies(network):
        return "the network says"
    said = int(network.classify(x)[0])
    verdict = f"the network says {out.bold(str(said))}"
    if truth is None:
        return verdict
    return f"{verdict}: right" if said == truth else f"{verdict}, {out.red(f'but it is {truth}')}"


# --------------------------------------------------------------------------------------------- info


def info(chosen: argparse.Namespace, out: Screen) -> None:
    """What runs here."""
    engine.show_config()
