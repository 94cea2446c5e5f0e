"""Training as neurons and inputs die: the rate of epochs 8 to 10 as a share of that of 1 to 3.

Moments of weights that get no gradient shrink for ever. On a CPU that is slow with subnormal
numbers (Intel's) a training would fall to a third; engines flush them, so the share stays about 1.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fastnn

OPTIMIZERS = {
    "sgd": fastnn.SGD(learning_rate=0.01),
    "momentum": fastnn.SGD(learning_rate=0.01, momentum=0.9),
    "nesterov": fastnn.SGD(learning_rate=0.01, momentum=0.9, nesterov=True),
    "adam": fastnn.Adam(learning_rate=1e-3),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_last_epochs(benchmark: Any, rng: np.random.Generator, optimizer: str, dtype: str) -> None:
    """784-128-10, batches of 32 of 12,800 rows, random labels; a third of the inputs are zero,
    half of the hidden neurons die half way. None of the state may be subnormal."""
    x = rng.random((12_800, 784), dtype=np.float32)
    x[:, ::3] = 0
    y = rng.integers(0, 10, len(x))
    net = fastnn.mlp([784, 128, 10], dtype=dtype, num_threads=2)
    settings: dict[str, Any] = {"batch_size": 32, "optimizer": OPTIMIZERS[optimizer], "verbose": 0}

    def ten_epochs() -> list[float]:
        seconds = net.fit(x, y, epochs=5, **settings).history["seconds"]
        net.layers[0].biases[::2] = -1e3  # they die
        return [*seconds, *net.fit(x, y, epochs=5, **settings).history["seconds"]]

    seconds = benchmark.pedantic(ten_epochs, rounds=1)
    for numbers in (net.program.parameters, net.program.state):
        assert not ((numbers != 0) & (np.abs(numbers) < np.finfo(dtype).tiny)).any()
    # the best of three: a moment without the core is no slow epoch
    share = benchmark.extra_info["last / first"] = min(seconds[:3]) / min(seconds[-3:])
    print(f"{optimizer:>9} {dtype}: the last epochs run at {share:.2f} of the first ones' rate")
