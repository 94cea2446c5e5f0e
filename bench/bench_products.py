"""The three products of a dense layer, per build: x @ W, x.T @ dz, dz @ W.T."""

from __future__ import annotations

import time
from statistics import median
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

Array = NDArray[Any]
SHAPES = [(32, 784, 16), (32, 784, 128), (128, 784, 128), (128, 512, 512), (128, 128, 10)]
FORMS = {"nn": "product", "tn": "product_tn", "nt": "product_nt"}


def operands(
    rng: np.random.Generator, form: str, shape: tuple[int, int, int], dtype: str
) -> tuple[Array, Array, Array, Array]:
    """The two operands, the expected product in float64 and the bound k eps |A||B| of its error."""
    n, i, o = shape
    x, w, dz = (rng.standard_normal(s).astype(dtype) for s in ((n, i), (i, o), (n, o)))
    a, b = {"nn": (x, w), "tn": (x, dz), "nt": (dz, w)}[form]
    left, right = (a.T if form == "tn" else a), (b.T if form == "nt" else b)
    wide = np.longdouble if dtype == "float64" else np.float64
    left, right = left.astype(wide), right.astype(wide)
    bound = left.shape[1] * np.finfo(dtype).eps * (np.abs(left) @ np.abs(right))
    return a, b, left @ right, bound


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("shape", SHAPES, ids=lambda s: "x".join(map(str, s)))
def test_product(
    benchmark: Any, build: Any, rng: Any, shape: Any, form: str, dtype: str, threads: int
) -> None:
    a, b, expected, bound = operands(rng, form, shape, dtype)
    out = np.empty(expected.shape, dtype)
    function = getattr(build(dtype), FORMS[form])
    function(a, b, out, threads)
    assert (np.abs(out - expected) <= bound).all()
    benchmark(function, a, b, out, threads)
    flops = 2 * shape[0] * shape[1] * shape[2]
    benchmark.extra_info["GFLOP/s"] = flops / benchmark.stats.stats.median / 1e9


def seconds(core: Any, form: str, a: Array, b: Array, out: Array, repeat: int) -> float:
    """The median time of one call out of a few timings."""
    function = getattr(core, FORMS[form])
    times = []
    for _ in range(5):
        begin = time.perf_counter()
        for _ in range(repeat):
            function(a, b, out, 1)
        times.append((time.perf_counter() - begin) / repeat)
    return median(times)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_share_of_peak(benchmark: Any, build: Any, rng: Any, capsys: Any, dtype: str) -> None:
    """The tile's speed as a share of this build's own peak: a compiler's whim shows here.

    GCC once unrolled a loop of the tile before vectorising it, and the product was 25 times slower;
    a sound tile stands at 80 % or more of the peak, a spoilt one below 20 %.
    """
    shape = (192, 512, 192)
    flops = 2 * shape[0] * shape[1] * shape[2]
    core = build(dtype)
    peak = core.fma_peak(0.05)
    shares = {}
    for form in FORMS:
        a, b, expected, bound = operands(rng, form, shape, dtype)
        out = np.empty(expected.shape, dtype)
        getattr(core, FORMS[form])(a, b, out, 1)
        assert (np.abs(out - expected) <= bound).all()
        shares[form] = flops / seconds(core, form, a, b, out, 10) / peak
    benchmark.extra_info.update(shares, peak=peak)
    a, b, expected, _ = operands(rng, "nn", shape, dtype)
    benchmark(core.product, a, b, np.empty(expected.shape, dtype), 1)
    text = "  ".join(f"{form} {share:4.0%}" for form, share in shares.items())
    with capsys.disabled():
        print(f"\n{core.NAME:9} {dtype} of its FMA peak ({peak / 1e9:.0f} GFLOP/s): {text}")


@pytest.mark.parametrize("form", FORMS)
def test_residues(benchmark: Any, build: Any, rng: Any, capsys: Any, form: str) -> None:
    """Every residue of the sizes modulo the tile: the slowest beside the median of its neighbours.

    Speeds are per element of the result; 33 sizes of B, and then of O, take turns.
    """
    core, worst = build("float32"), {}
    function = getattr(core, FORMS[form])
    for axis in ("B", "O"):
        cases = []
        times: list[list[float]] = [[] for _ in range(33)]
        for extra in range(33):
            shape = (96 + extra, 256, 128) if axis == "B" else (96, 256, 128 + extra)
            a, b, expected, bound = operands(rng, form, shape, "float32")
            out = np.empty(expected.shape, "float32")
            function(a, b, out, 1)
            assert (np.abs(out - expected) <= bound).all()
            cases.append((a, b, out, 1))
        for _ in range(25):
            for case, found in zip(cases, times, strict=True):
                begin = time.perf_counter()
                function(*case)
                found.append(time.perf_counter() - begin)
        first = 96 if axis == "B" else 128
        speeds = [(first + extra) / median(found) for extra, found in enumerate(times)]
        near = [median(speeds[max(0, i - 8) : i + 9]) for i in range(len(speeds))]
        share, size = min((s / n, i) for i, (s, n) in enumerate(zip(speeds, near, strict=True)))
        worst[axis] = share
        benchmark.extra_info[f"worst {axis}"] = share, first + size
    benchmark(function, *cases[-1])
    with capsys.disabled():
        text = "  ".join(f"{axis} {share:.0%}" for axis, share in worst.items())
        print(f"\n{core.NAME:9} {form} slowest residue / its neighbours: {text}")
