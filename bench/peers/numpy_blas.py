"""NumPy: its OpenBLAS for products (OPENBLAS_CORETYPE is set from outside), plain prediction."""

from __future__ import annotations

import numpy as np

from . import cases
from .cases import Spec, Task


def versions() -> dict[str, str]:
    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    try:
        from threadpoolctl import threadpool_info

        core = ", ".join(i.get("architecture", "?") for i in threadpool_info())
    except ImportError:
        core = "core type unknown without threadpoolctl"
    return {"numpy": f"{np.__version__} ({blas['name']} {blas['version']}, {core})"}


def products(spec: Spec) -> Task:
    a, b, out = cases.operands(spec)
    left = a.T if spec["form"] == "tn" else a
    right = b.T if spec["form"] == "nt" else b
    np.matmul(left, right, out=out)

    def run() -> float:
        np.matmul(left, right, out=out)
        return 1.0

    return Task(run, cases.product_error(spec, a, b, out))


def prediction(spec: Spec) -> Task:
    x, _ = cases.data(spec["sizes"], spec["rows"])
    layers = cases.weights(spec["sizes"])

    def predict() -> cases.Array:
        h = x
        for w, b in layers[:-1]:
            h = h @ w
            h += b
            if spec["hidden"] == "relu":
                np.maximum(h, 0, out=h)
            else:
                h = 1 / (1 + np.exp(-h))
        w, b = layers[-1]
        return cases.softmax(h @ w + b)

    def run() -> float:
        predict()
        return 1.0

    return Task(run, cases.prediction_error(spec, x, predict()))
