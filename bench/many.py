"""Many networks at once beside the same ones after another, turn by turn.

    python -m bench.many --networks 16 --turns 7 --data mnist

Prints, for each size, the seconds of each way in each turn, and the medians of the ratios: how many
times as fast `fit_many` on all threads is as fits one after another on one thread, and on all.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from statistics import median

import fastnn

SIZES = ([784, 32, 10], [784, 128, 10])


def seconds(train: Callable[[list[fastnn.Network]], object], sizes: list[int], count: int) -> float:
    """Of one way to train networks of these sizes, new ones with other seeds."""
    networks = [fastnn.mlp(sizes, input_scale=1 / 255, seed=seed) for seed in range(count)]
    start = time.perf_counter()
    train(networks)
    return time.perf_counter() - start


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", type=int, default=16)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--threads", type=int, default=fastnn.get_num_threads())
    parser.add_argument("--data", choices=["digits", "mnist"], default="digits")
    chosen = parser.parse_args()
    read = {"digits": fastnn.datasets.load_digits, "mnist": fastnn.datasets.load_mnist}
    (x, y), _ = read[chosen.data]()
    options = {"epochs": chosen.epochs, "verbose": 0}

    def one_by_one(threads: int) -> Callable[[list[fastnn.Network]], object]:
        def train(networks: list[fastnn.Network]) -> None:
            for network in networks:
                network.num_threads = threads
                network.fit(x, y, **options)

        return train

    def together(networks: list[fastnn.Network]) -> None:
        fastnn.fit_many(networks, x, y, num_threads=chosen.threads, **options)

    ways = (one_by_one(1), one_by_one(chosen.threads), together)
    for sizes in SIZES:
        turns = [
            [seconds(way, sizes, chosen.networks) for way in ways] for _ in range(chosen.turns)
        ]
        for turn in turns:
            print("  ".join(f"{found:7.3f}" for found in turn))
        ratios = [median(turn[way] / turn[2] for turn in turns) for way in (0, 1)]
        name = "-".join(map(str, sizes))
        print(
            f"{name}, {chosen.networks} networks: {ratios[0]:.2f} times as fast as one by one",
            end=" ",
        )
        print(f"on one thread, {ratios[1]:.2f} times as on {chosen.threads}")


if __name__ == "__main__":
    main()
