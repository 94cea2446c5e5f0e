"""Prediction, per engine: one row, 32 and 1024 rows, with and without `out`."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fastnn

NETS = {
    "784-16-16-10": ([784, 16, 16, 10], "sigmoid"),
    "784-128-10": ([784, 128, 10], "relu"),
    "784-512-512-10": ([784, 512, 512, 10], "relu"),
}


@pytest.mark.parametrize("given", [False, True], ids=["new", "out"])
@pytest.mark.parametrize("rows", [1, 32, 1024])
@pytest.mark.parametrize("net", NETS)
def test_predict(
    benchmark: Any, engine_name: str, rng: Any, net: str, rows: int, given: bool
) -> None:
    sizes, hidden = NETS[net]
    fast, exact = (
        fastnn.mlp(
            sizes, hidden=hidden, output="softmax", engine=engine, dtype=dtype, num_threads=2
        )
        for engine, dtype in ((engine_name, "float32"), ("reference", "float64"))
    )
    for mine, start in zip(exact.layers, fast.layers, strict=True):
        mine.weights[...] = start.weights
    x = rng.random((rows, sizes[0]), dtype=np.float32)
    np.testing.assert_allclose(fast.predict(x), exact.predict(x), atol=1e-5)
    if given:
        benchmark(fast.predict, x, out=np.empty((rows, sizes[-1]), np.float32))
    else:
        benchmark(fast.predict, x)
    benchmark.extra_info["rows/s"] = rows / benchmark.stats.stats.median
