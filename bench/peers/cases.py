"""What is measured: networks, shapes, data and fixed starts, the same for every peer."""

from __future__ import annotations

import gzip
import math
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Spec = dict[str, Any]
Array = NDArray[Any]
Weights = list[tuple[Array, Array]]


@dataclass
class Task:
    """One thing to time: `run()` does it and returns how many units of work that was."""

    run: Callable[[], float]
    check: float  # what the parent compares before it measures
    note: str = ""
    facts: dict[str, Any] = field(default_factory=dict)


def fastest(ways: dict[str, Callable[[], Any]], limit: float = 0.3) -> str:
    """The name of the fastest way to do the same: medians, in turns for at least `limit` seconds.

    The first turn only warms up.
    """
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    end = math.inf
    while time.perf_counter() < end:
        for name, way in ways.items():
            begin = time.perf_counter()
            way()
            seconds[name].append(time.perf_counter() - begin)
        end = min(end, time.perf_counter() + limit)
    return min(seconds, key=lambda name: statistics.median(seconds[name][1:]))


# ---------------------------------------------------------------- training
# rows: a data set beyond the caches for the small nets, few steps for the large ones.
# goal: speed / JAX's and / PyTorch's, with each optimizer. Other groups have nets with timed: as
# many of the rows are trained on (the others are for the check), and joined: epochs of one call.
NETS: list[Spec] = [
    {"sizes": [784, 16, 16, 10], "hidden": "sigmoid", "batch": 32, "rows": 25600, "epochs": 8,
     "goal": 3.0},
    {"sizes": [784, 128, 10], "hidden": "relu", "batch": 32, "rows": 25600, "epochs": 4,
     "goal": 1.3},
    {"sizes": [784, 128, 10], "hidden": "relu", "batch": 128, "rows": 25600, "epochs": 4,
     "goal": 1.3},
    {"sizes": [784, 512, 512, 10], "hidden": "relu", "batch": 128, "rows": 6400, "epochs": 2,
     "goal": 1.3},
    {"sizes": [28, 300, 300, 300, 300, 300, 2], "hidden": "tanh", "batch": 100, "rows": 6400,
     "epochs": 2, "goal": 1.3},
    {"sizes": [2048, 4096, 4096, 1000], "hidden": "relu", "batch": 256, "rows": 2048, "epochs": 1,
     "goal": 1.05},
]  # fmt: skip
RATES = {"sgd": 0.01, "adam": 1e-3}
CHECKED_STEPS = 3


def shorter(net: Spec) -> Spec:
    """The same net with fewer rows and one epoch, for a quick look."""
    rows = {25600: 6400, 6400: 3200}.get(net["rows"], CHECKED_STEPS * net["batch"])
    return net | {"rows": rows, "epochs": 1}


def net_name(spec: Spec) -> str:
    return "-".join(map(str, spec["sizes"])) + f" {spec['hidden']}, {spec['batch']}"


def training_flops(sizes: list[int]) -> int:
    """Floating-point operations per sample: three products a layer, but no dx at the first."""
    pairs = list(pairwise(sizes))
    return sum(6 * i * o for i, o in pairs) - 2 * pairs[0][0] * pairs[0][1]


def data(sizes: list[int], rows: int) -> tuple[Array, Array]:
    """Random x (rows, I) float32 in [0, 1) and learnable labels y (rows,) int64."""
    rng = np.random.default_rng(1)
    x = rng.random((rows, sizes[0]), dtype=np.float32)
    teacher = rng.standard_normal((sizes[0], sizes[-1]), dtype=np.float32)
    return x, ((x - 0.5) @ teacher).argmax(axis=1).astype(np.int64)


def weights(sizes: list[int]) -> Weights:
    """The fixed start: Glorot-uniform W (I, O) and small b (O,), float32."""
    rng = np.random.default_rng(2)
    limits = [(i, o, math.sqrt(6 / (i + o))) for i, o in pairwise(sizes)]
    return [
        ((2 * rng.random((i, o), dtype=np.float32) - 1) * np.float32(limit),
         np.float32(0.1) * rng.random(o, dtype=np.float32))
        for i, o, limit in limits
    ]  # fmt: skip


def orders(rows: int, seed: int = 0) -> Callable[[], Array]:
    """A fresh shuffled order of the rows (int64) at each call."""
    rng = np.random.default_rng(seed)
    return lambda: rng.permutation(rows)


ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "sigmoid": lambda z: 1 / (1 + np.exp(-z)),
    "tanh": np.tanh,
    "relu": lambda z: np.maximum(z, 0),
}
DERIVATIVES: dict[str, Callable[[Array], Array]] = {  # of h = g(z)
    "sigmoid": lambda h: h * (1 - h),
    "tanh": lambda h: 1 - h * h,
    "relu": lambda h: (h > 0).astype(h.dtype),
}


def softmax(z: Array) -> Array:
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def forward(parameters: Weights, hidden: str, x: Array) -> list[Array]:
    """[x, h1, ..., probabilities], NumPy's plain form."""
    hs = [x]
    for w, b in parameters[:-1]:
        hs.append(ACTIVATIONS[hidden](hs[-1] @ w + b))
    w, b = parameters[-1]
    return [*hs, softmax(hs[-1] @ w + b)]


def cross_entropy(probabilities: Array, y: Array) -> float:
    picked = np.asarray(probabilities, np.float64)[np.arange(len(y)), y]
    return float(-np.log(np.maximum(picked, 1e-300)).mean())


def gradients(parameters: Weights, hidden: str, x: Array, y: Array) -> Weights:
    """[(dW, db), ...] of the mean cross-entropy, the textbook's way back."""
    hs = forward(parameters, hidden, x)
    dz = hs[-1]
    dz[np.arange(len(dz)), y] -= 1
    dz /= len(dz)
    found = []
    for i in reversed(range(len(parameters))):
        found.append((hs[i].T @ dz, dz.sum(axis=0)))
        if i:
            dz = (dz @ parameters[i][0].T) * DERIVATIVES[hidden](hs[i])
    return found[::-1]


def in_float64(parameters: Weights) -> Weights:
    return [(w.astype(np.float64), b.astype(np.float64)) for w, b in parameters]


def gradient_error(spec: Spec, x: Array, y: Array, found: Weights) -> float:
    """The worst difference of a gradient from float64's, over the largest gradient."""
    start = in_float64(weights(spec["sizes"]))
    exact = gradients(start, spec["hidden"], x.astype(np.float64), y)
    flat = [np.concatenate([g.ravel() for pair in each for g in pair]) for each in (found, exact)]
    return float(np.abs(flat[0] - flat[1]).max() / np.abs(flat[1]).max())


def expected_loss(spec: Spec, steps: int = CHECKED_STEPS) -> float:
    """The loss on the first CHECKED_STEPS batches after as many unshuffled steps, in float64."""
    batch, hidden = spec["batch"], spec["hidden"]
    rate = RATES[spec["optimizer"]]
    x, y = (a[: CHECKED_STEPS * batch] for a in data(spec["sizes"], spec["rows"]))
    x = x.astype(np.float64)
    layers = in_float64(weights(spec["sizes"]))
    moments = [[[np.zeros_like(p), np.zeros_like(p)] for p in layer] for layer in layers]

    def update(parameter: Array, gradient: Array, moment: list[Array], t: int) -> None:
        if spec["optimizer"] == "sgd":
            parameter -= rate * gradient
            return
        m, v = moment
        m += 0.1 * (gradient - m)
        v += 0.001 * (gradient * gradient - v)
        parameter -= rate * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)

    for step in range(steps):
        rows = slice(step * batch, (step + 1) * batch)
        for i, pair in enumerate(gradients(layers, hidden, x[rows], y[rows])):
            for j in (0, 1):
                update(layers[i][j], pair[j], moments[i][j], step + 1)
    return cross_entropy(forward(layers, hidden, x)[-1], y)


# ---------------------------------------------------------------- products: goal 2
# (B, I, O): plain x @ W (B,I)(I,O); tn x.T @ dz (I,B)(B,O); nt dz @ W.T (B,O)(O,I).
SHAPES: list[tuple[int, int, int]] = [
    *((n, 784, m) for n in (32, 64, 128, 256, 1024) for m in (16, 128, 512)),
    (128, 512, 512), (100, 300, 300), (128, 128, 10), (2048, 2048, 2048),
]  # fmt: skip
QUICK_SHAPES = [(32, 784, 16), (32, 784, 128), (128, 784, 128), (128, 512, 512), (128, 128, 10)]
FORMS = ("nn", "tn", "nt")
CORE_TYPES = ("SKYLAKEX", "COOPERLAKE", "ZEN", "HASWELL")


def operands(spec: Spec) -> tuple[Array, Array, Array]:
    """The two C-contiguous operands of a product and an empty result."""
    n, i, o = spec["shape"]
    rng = np.random.default_rng(3)
    x, w, dz = (rng.random(s).astype(spec["dtype"]) - 0.5 for s in ((n, i), (i, o), (n, o)))
    a, b, shape = {"nn": (x, w, (n, o)), "tn": (x, dz, (i, o)), "nt": (dz, w, (n, i))}[spec["form"]]
    return a, b, np.empty(shape, spec["dtype"])


def product_error(spec: Spec, a: Array, b: Array, out: Array) -> float:
    """The worst error of a few rows of `out`, in units of the bound k eps |A||B|: at most 1."""
    a = a.T if spec["form"] == "tn" else a
    b = b.T if spec["form"] == "nt" else b
    rows = np.linspace(0, len(a) - 1, 5).astype(int)
    wide = np.longdouble if out.dtype == np.float64 else np.float64
    a, b, out = a[rows].astype(wide), b.astype(wide), out[rows]
    bound = a.shape[1] * np.finfo(out.dtype).eps * (np.abs(a) @ np.abs(b))
    return float((np.abs(out - a @ b) / bound).max())


# ---------------------------------------------------------------- prediction
# goals: time / the best of ONNX Runtime and OpenVINO, by rows.
PREDICTIONS: list[Spec] = [
    {"sizes": [784, 16, 16, 10], "hidden": "sigmoid", "goals": {1: 0.4, 32: 0.95, 1024: 0.95}},
    {"sizes": [784, 128, 10], "hidden": "relu", "goals": {1: 0.5, 32: 0.95, 1024: 0.95}},
    {"sizes": [784, 512, 512, 10], "hidden": "relu", "goals": {1: 0.9, 32: 0.95, 1024: 0.95}},
]


def prediction_error(spec: Spec, x: Array, probabilities: Array) -> float:
    """The worst difference of a probability from float64's."""
    exact = forward(in_float64(weights(spec["sizes"])), spec["hidden"], x)[-1]
    return float(np.abs(probabilities - exact).max())


# ---------------------------------------------------------------- digits: goal 4
# One cycle of the rate, labels smoothed as in Szegedy et al., Rethinking the Inception architecture
# (2016).
RECIPE: Spec = {"sizes": [784, 144, 10], "hidden": "relu", "optimizer": "sgd", "batch": 32,
                "epochs": 3, "peak": 1.0, "warmup": 0.3, "smoothing": 0.06}  # fmt: skip


def smoothed(y: Array, smoothing: float) -> Array:
    """Targets (B, 10) float32: the label's has a share of 1 - smoothing, all share the rest."""
    targets = np.full((len(y), 10), smoothing / 10, np.float32)
    targets[np.arange(len(y)), y] += np.float32(1 - smoothing)
    return targets


def one_cycle(peak: float, warmup: float, steps: int) -> Array:
    """Half a cosine up from peak / 25 and half a cosine down to peak / 250,000: (steps,)."""
    up = max(1, round(warmup * steps))
    start, end = peak / 25, peak / 250_000
    rise = start + (peak - start) * (1 - np.cos(np.pi * np.arange(up) / up)) / 2
    fall = end + (peak - end) * (1 + np.cos(np.pi * np.arange(steps - up) / (steps - up))) / 2
    return np.concatenate([rise, fall])


def mnist(directory: str) -> list[Array]:
    """x (60000, 784) uint8, y int64, x_test (10000, 784), y_test from a folder of IDX files."""

    def read(name: str, header: int) -> Array:
        path = Path(directory, name)
        packed = path.with_name(path.name + ".gz")
        raw = gzip.decompress(packed.read_bytes()) if packed.exists() else path.read_bytes()
        return np.frombuffer(raw, np.uint8, offset=header)

    arrays = []
    for part in ("train", "t10k"):
        arrays.append(read(f"{part}-images-idx3-ubyte", 16).reshape(-1, 784))
        arrays.append(read(f"{part}-labels-idx1-ubyte", 8).astype(np.int64))
    return arrays


# ---------------------------------------------------------------- threads: goal 6
TINY: list[Spec] = [
    {"sizes": sizes, "hidden": "relu", "batch": batch, "rows": 64 * batch, "epochs": 4}
    for sizes, batch in (([4, 8, 3], 8), ([16, 16, 4], 16), ([30, 32, 2], 32), ([64, 64, 10], 32))
]

# ---------------------------------------------------------------- scale: goal 7
WIDTHS = [16, 32, 64, 128, 256, 512, 1024, 2048, 4096]
BATCHES = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192]


def by_width(width: int) -> Spec:
    rows = max(1024, min(25600, 2**32 // (6 * width * (width + 784)) // 128 * 128))
    return {"sizes": [784, width, width, 10], "hidden": "relu", "batch": 128, "rows": rows,
            "epochs": 1}  # fmt: skip


def by_batch(batch: int) -> Spec:
    return {"sizes": [784, 256, 10], "hidden": "relu", "batch": batch,
            "rows": max(CHECKED_STEPS * batch, min(8192, 1024 * batch)), "epochs": 1}  # fmt: skip
