"""Training, per engine: one step, and one epoch on the shipped digits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fastnn

NETS: dict[str, tuple[list[int], str, int]] = {
    "784-16-16-10 sigmoid 32": ([784, 16, 16, 10], "sigmoid", 32),
    "784-128-10 relu 32": ([784, 128, 10], "relu", 32),
    "784-128-10 relu 128": ([784, 128, 10], "relu", 128),
    "784-512-512-10 relu 128": ([784, 512, 512, 10], "relu", 128),
    "28-300x5-2 tanh 100": ([28, 300, 300, 300, 300, 300, 2], "tanh", 100),
}
OPTIMIZERS = {
    "sgd": fastnn.SGD(learning_rate=0.01),
    "momentum": fastnn.SGD(learning_rate=0.01, momentum=0.9),
    "adam": fastnn.Adam(learning_rate=1e-3),
}


def network(sizes: list[int], hidden: str, engine: str, dtype: str = "float32") -> Any:
    return fastnn.mlp(
        sizes, hidden=hidden, output="softmax", engine=engine, dtype=dtype, num_threads=2
    )


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("net", NETS)
def test_step(benchmark: Any, engine_name: str, rng: Any, net: str, optimizer: str) -> None:
    """One `fit` of one batch: a step with everything that a call costs.

    Three steps must first agree with the reference in float64.
    """
    sizes, hidden, batch = NETS[net]
    x = rng.random((3 * batch, sizes[0]), dtype=np.float32)
    y = rng.integers(0, sizes[-1], 3 * batch)
    settings: dict[str, Any] = {"epochs": 1, "batch_size": batch, "verbose": 0, "shuffle": False}
    settings["optimizer"] = OPTIMIZERS[optimizer]
    fast = network(sizes, hidden, engine_name)
    exact = network(sizes, hidden, "reference", "float64")
    for mine, start in zip(exact.layers, fast.layers, strict=True):
        mine.weights[...] = start.weights
    for each in (fast, exact):
        each.fit(x, y, **settings)
    loss = fast.evaluate(x, y)["loss"]
    assert loss == pytest.approx(exact.evaluate(x, y)["loss"], rel=1e-3)
    benchmark(fast.fit, x[:batch], y[:batch], **settings)
    benchmark.extra_info["samples/s"] = batch / benchmark.stats.stats.median


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_epoch(benchmark: Any, engine_name: str, optimizer: str) -> None:
    """One epoch of 784-128-10 on the shipped digits, bytes as they are; it must learn."""
    (x, y), (x_test, y_test) = fastnn.datasets.load_digits()
    net = fastnn.mlp(
        [784, 128, 10], hidden="relu", input_scale=1 / 255, engine=engine_name, num_threads=2
    )
    optimizers = {**OPTIMIZERS, "sgd": fastnn.SGD(learning_rate=0.1)}
    settings: dict[str, Any] = {"epochs": 1, "batch_size": 64, "verbose": 0}
    settings["optimizer"] = optimizers[optimizer]
    net.fit(x, y, **settings)
    assert net.evaluate(x_test, y_test)["accuracy"] > 0.8
    benchmark(net.fit, x, y, **settings)
    benchmark.extra_info["samples/s"] = len(x) / benchmark.stats.stats.median
