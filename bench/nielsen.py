"""Nielsen's networks, repeated: `python bench/nielsen.py [folder with the MNIST files]`.

Michael Nielsen, Neural Networks and Deep Learning (2015): gradient descent with batches of 10 on
the first 50,000 training digits; the best epoch on the 10,000 test digits counts.

Chapter 1: sigmoid everywhere, the cost 1/2 ||y - a||^2 averaged over the batch, rate 3.0, 30
epochs. Chapter 3: cross-entropy summed over the sigmoid outputs, and weights that decay: the cost
has lambda / 2n times the sum of their squares besides, lambda = 5.0, n = 50,000.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from statistics import mean

import fastnn

LEARNED = 50000
LAMBDA = 5.0
OUTPUTS = 10


@dataclass(frozen=True)
class Row:
    """A network of the book, and the accuracy that it has there, in percent."""

    chapter: int
    hidden: tuple[int, ...]
    book: float | None
    rate: float = 3.0
    epochs: int = 30


ROWS = [
    Row(1, (30,), 95.42),
    Row(1, (100,), 96.59),
    Row(1, (16, 16), None),
    Row(3, (30,), 96.49, rate=0.5),
    Row(3, (100,), 97.92, rate=0.5),
    Row(3, (100,), 98.04, rate=0.1, epochs=60),
]

# fastnn's losses are means over the 10 outputs, too: so much times the book's costs, by which
# rates are to be divided. A penalty of the book's cost is to be multiplied by it.
SCALES = {1: ("mean_squared_error", 2 / OUTPUTS), 3: ("binary_cross_entropy", 1 / OUTPUTS)}


def best_epoch(row: Row, seed: int, initializer: str, folder: str | None) -> float:
    """The best accuracy of all epochs on the test digits, in percent."""
    (x, y), test = fastnn.datasets.load_mnist(folder)
    loss, scale = SCALES[row.chapter]
    l2 = scale * LAMBDA / (2 * LEARNED) if row.chapter == 3 else 0.0
    sizes = [*row.hidden, OUTPUTS]
    layers = [fastnn.Dense(units, "sigmoid", initializer=initializer, l2=l2) for units in sizes]
    net = fastnn.Network(784, layers, input_scale=1 / 255, loss=loss, seed=seed)
    history = net.fit(
        x[:LEARNED], y[:LEARNED], epochs=row.epochs, batch_size=10,
        optimizer=fastnn.SGD(row.rate / scale), validation_data=test, verbose=0,
    )  # fmt: skip
    figures = history.history
    name = "val_accuracy" if "val_accuracy" in figures else "val_binary_accuracy"
    return 100 * max(figures[name])


def main() -> None:
    parser = argparse.ArgumentParser(description="Nielsen's networks, three seeds each.")
    parser.add_argument("folder", nargs="?", help="the four MNIST files; default: as load_mnist()")
    parser.add_argument("--initializer", default="glorot_uniform", help="of all layers")
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    print("| chapter | network | rate, epochs | book | fastnn, mean | best epoch of each seed |")
    print("| --- | --- | --- | --- | --- | --- |")
    for row in ROWS:
        best = [
            best_epoch(row, seed, options.initializer, options.folder)
            for seed in range(options.seeds)
        ]
        name = "-".join(map(str, (784, *row.hidden, OUTPUTS)))
        each = ", ".join(f"{accuracy:.2f}" for accuracy in best)
        print(
            f"| {row.chapter} | {name} | {row.rate}, {row.epochs} | {row.book or '-'} "
            f"| {mean(best):.2f} | {each} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
