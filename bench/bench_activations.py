"""Activations, per engine: one input and many outputs, so that the product costs next to nothing.

Networks and not functions, so that the path is the one that training takes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import fastnn

Array = NDArray[Any]


def softmax(z: Array) -> Array:
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return np.asarray(e / e.sum(axis=1, keepdims=True))


FORMULAS: dict[str, Callable[[Array], Array]] = {
    "identity": lambda z: z,
    "sigmoid": lambda z: 1 / (1 + np.exp(-z)),
    "tanh": np.tanh,
    "relu": lambda z: np.maximum(z, 0),
    "leaky_relu": lambda z: np.where(z > 0, z, 0.01 * z),
    "softmax": softmax,
}


@pytest.mark.parametrize("width", [10, 1000])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", FORMULAS)
def test_activation(
    benchmark: Any, engine_name: str, rng: Any, name: str, dtype: str, width: int
) -> None:
    net = fastnn.Network(
        1, [fastnn.Dense(width, name)], dtype=dtype, engine=engine_name, num_threads=1
    )
    net.layers[0].weights[...] = rng.uniform(-2, 2, (1, width))
    x = rng.uniform(-4, 4, (100_000 // width, 1)).astype(dtype)
    out = np.empty((len(x), width), dtype)
    z = x.astype(np.float64) @ net.layers[0].weights.astype(np.float64)
    # z is rounded once, |z| <= 8, and the activations have slopes of at most 1
    bound = 16 * float(np.finfo(dtype).eps)
    np.testing.assert_allclose(net.predict(x, out=out), FORMULAS[name](z), rtol=bound, atol=bound)
    benchmark(net.predict, x, out=out)
    benchmark.extra_info["ns per element"] = benchmark.stats.stats.median / out.size * 1e9
