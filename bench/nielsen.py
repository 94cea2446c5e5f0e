"""Nielsen's first networks, repeated: `python bench/nielsen.py [folder with the MNIST files]`.

Michael Nielsen, Neural Networks and Deep Learning (2015), chapter 1: sigmoid everywhere, the cost
1/2 ||y - a||^2 averaged over the batch, gradient descent with batches of 10 at rate 3.0 for 30
epochs on the first 50,000 training digits; the best epoch on the 10,000 test digits counts.
"""

from __future__ import annotations

import argparse
from statistics import mean

import fastnn

# fastnn's mean_squared_error is a mean over the 10 outputs too, so the book's cost is 5 times it:
# rate 3.0 on the book's cost is rate 15 on ours.
RATE = 3.0 * 10 / 2
BOOK: dict[tuple[int, ...], float | None] = {(30,): 95.42, (100,): 96.59, (16, 16): None}


def best_epoch(hidden: tuple[int, ...], seed: int, initializer: str, folder: str | None) -> float:
    """The best accuracy of 30 epochs on the test digits, in percent."""
    (x, y), test = fastnn.datasets.load_mnist(folder)
    sizes = [*hidden, 10]
    layers = [fastnn.Dense(units, "sigmoid", initializer=initializer) for units in sizes]
    net = fastnn.Network(784, layers, input_scale=1 / 255, loss="mean_squared_error", seed=seed)
    history = net.fit(
        x[:50000], y[:50000], epochs=30, batch_size=10, optimizer=fastnn.SGD(learning_rate=RATE),
        validation_data=test, verbose=0,
    )  # fmt: skip
    return 100 * max(history.history["val_accuracy"])


def main() -> None:
    parser = argparse.ArgumentParser(description="Nielsen's first networks, three seeds each.")
    parser.add_argument("folder", nargs="?", help="the four MNIST files; default: as load_mnist()")
    parser.add_argument("--initializer", default="glorot_uniform", help="of all layers")
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    print("| network | book | fastnn, mean | best epoch of each seed |\n| --- | --- | --- | --- |")
    for hidden, book in BOOK.items():
        best = [
            best_epoch(hidden, seed, options.initializer, options.folder)
            for seed in range(options.seeds)
        ]
        name = "-".join(map(str, (784, *hidden, 10)))
        each = ", ".join(f"{accuracy:.2f}" for accuracy in best)
        print(f"| {name} | {book or '-'} | {mean(best):.2f} | {each} |", flush=True)


if __name__ == "__main__":
    main()
