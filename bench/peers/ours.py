"""fastnn through its public API; products and peak through the engine's benchmark calls."""

from __future__ import annotations

import platform
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

import fastnn
from fastnn import engine

from . import cases
from .cases import Spec, Task
from .server import load
from .turns import ROOT


def versions() -> dict[str, str]:
    module = engine.get("auto")
    build = ", ".join(f"{key} {value}" for key, value in module.build_info().items())
    in_place = Path(fastnn.__file__).is_relative_to(ROOT)
    return {
        "python": platform.python_version(),
        "fastnn": f"{fastnn.__version__}, {'built in place' if in_place else 'installed'}",
        "fastnn builds": ", ".join(engine.available()),
        f"fastnn {module.NAME}": build,
    }


def network(spec: Spec, **options: Any) -> Any:
    """The fixed start as a network."""
    sizes = spec["sizes"]
    net = fastnn.mlp(
        sizes,
        hidden=spec["hidden"],
        output="softmax",
        engine=spec.get("engine", "auto"),
        num_threads=spec["threads"],
        **options,
    )
    for layer, (w, b) in zip(net.layers, cases.weights(sizes), strict=True):
        layer.weights[...] = w
        layer.biases[...] = b
    return net


def training(spec: Spec) -> Task:
    x, y = cases.data(spec["sizes"], spec["rows"])
    net = network(spec)
    rate = cases.RATES[spec["optimizer"]]
    optimizer = {"sgd": fastnn.SGD, "adam": fastnn.Adam}[spec["optimizer"]](learning_rate=rate)
    settings = {"batch_size": spec["batch"], "optimizer": optimizer, "verbose": 0}
    head = cases.CHECKED_STEPS * spec["batch"]
    net.fit(x[:head], y[:head], epochs=1, shuffle=False, **settings)
    loss = cases.cross_entropy(net.predict(x[:head]), y[:head])
    timed = spec.get("timed", len(x))
    x, y = x[:timed], y[:timed]
    settings |= {"epochs": spec["epochs"], "shuffle": spec.get("shuffle", True)}

    def run() -> float:
        net.fit(x, y, **settings)
        return float(spec["epochs"] * len(x))

    return Task(run, loss)


def gradients(spec: Spec) -> Task:
    x, y = cases.data(spec["sizes"], spec["rows"])
    net = network(spec)

    def run() -> float:
        net.gradients(x, y)
        return 1.0

    return Task(run, cases.gradient_error(spec, x, y, net.gradients(x, y)[1]))


def products(spec: Spec) -> Task:
    a, b, out = cases.operands(spec)
    module = engine.get(spec.get("engine", "auto"), a.dtype.name)
    function = getattr(
        module, {"nn": "product", "tn": "product_tn", "nt": "product_nt"}[spec["form"]]
    )
    threads = spec["threads"]
    function(a, b, out, threads)

    def run() -> float:
        function(a, b, out, threads)
        return 1.0

    return Task(run, cases.product_error(spec, a, b, out))


def prediction(spec: Spec) -> Task:
    x, _ = cases.data(spec["sizes"], spec["rows"])
    net = network(spec)
    predict = net.predict

    def run() -> float:
        predict(x)
        return 1.0

    return Task(run, cases.prediction_error(spec, x, predict(x)))


def callers(spec: Spec) -> Task:
    """Python threads that predict with one network at once; a unit is one prediction."""
    x, _ = cases.data(spec["sizes"], spec["rows"])
    net = network(spec)
    count, repeat = spec["callers"], 64
    pool = ThreadPoolExecutor(count)

    def one(_: int) -> None:
        for _ in range(repeat):
            net.predict(x)

    def run() -> float:
        list(pool.map(one, range(count)))
        return float(count * repeat)

    return Task(run, cases.prediction_error(spec, x, net.predict(x)))


def server(spec: Spec) -> Task:
    return load(spec, network(spec).predict)


def digits(spec: Spec) -> Task:
    x, y, x_test, y_test = cases.mnist(spec["directory"])
    facts: dict[str, Any] = {"accuracy": []}

    def run() -> float:
        net = fastnn.mlp(
            spec["sizes"],
            hidden=spec["hidden"],
            output="softmax",
            input_scale=1 / 255,
            seed=len(facts["accuracy"]),
            num_threads=spec["threads"],
        )
        rate = fastnn.OneCycle(spec["peak"], warmup=spec["warmup"])
        begin = time.perf_counter()
        net.fit(
            x,
            cases.smoothed(y, spec["smoothing"]),
            epochs=spec["epochs"],
            batch_size=spec["batch"],
            optimizer=fastnn.SGD(rate),
            verbose=0,
        )
        seconds = time.perf_counter() - begin
        facts.setdefault("seconds", []).append(seconds)
        facts["accuracy"].append(net.evaluate(x_test, y_test)["accuracy"])
        return 1.0

    return Task(run, 0.0, facts=facts)


def peak(spec: Spec) -> Task:
    """The FMA peak; a unit is one floating-point operation."""
    module = engine.get(spec.get("engine", "auto"), spec["dtype"])
    threads, seconds = spec["threads"], 0.02
    pool = ThreadPoolExecutor(threads)

    def run() -> float:
        rates = pool.map(lambda _: module.fma_peak(seconds), range(threads))
        return float(seconds * sum(rates))

    return Task(run, 0.0)


def bandwidth(spec: Spec) -> Task:
    """Reading memory beyond the caches; a unit is one byte."""
    parts = np.ones((spec["threads"], 2**24))
    pool = ThreadPoolExecutor(spec["threads"])

    def run() -> float:
        list(pool.map(np.ndarray.max, parts))
        return float(parts.nbytes)

    return Task(run, 0.0)
