"""The groups of measurements: which cases, which peers, and the tables that each prints."""

from __future__ import annotations

from collections.abc import Callable
from statistics import geometric_mean, median

from . import cases
from .busy import busy
from .cases import net_name
from .cost import cost
from .libxsmm import libxsmm
from .memory import memory
from .products import products
from .run import Run, fastest_of, microseconds, number, percent, ratio, speed, table
from .scale import scale
from .server import server
from .tiny import tiny
from .turns import prepare


def training(run: Run) -> None:
    """Six nets, each with SGD and Adam, beside the libraries that train."""
    rows = []
    for net in map(cases.shorter, cases.NETS) if run.quick else cases.NETS:
        small = net["sizes"][0] < 2048
        peers = ["JAX", "PyTorch", "scikit-learn"] if small else ["JAX", "PyTorch"]
        light = cases.training_flops(net["sizes"]) < 1e6
        for optimizer in ("sgd", "adam") if light or not run.quick else ("sgd",):
            spec = net | {"optimizer": optimizer}
            entries = [*run.training(spec, peers), run.peak()]
            found = run.measure("training", spec, entries, 40, 400)
            ours, jax, torch, scikit, peak = (
                found.get(name) for name in ("fastnn", "JAX", "PyTorch", "scikit-learn", "peak")
            )
            share = ratio(peak, ours)
            rows.append([
                net_name(net), optimizer, speed(ours), speed(jax), speed(torch), speed(scikit),
                number(ratio(jax, ours), net["goal"]), number(ratio(torch, ours), net["goal"]),
                number(ratio(scikit, ours)),
                percent(share and share * cases.training_flops(net["sizes"])),
            ])  # fmt: skip
    table(
        "Training, thousand samples/s; ratios of medians; two threads",
        "net, batch |  | fastnn | JAX | PyTorch | scikit-learn | / JAX | / PyTorch "
        "| / scikit-learn | of FMA peak",
        rows,
    )


def prediction(run: Run) -> None:
    """One row, a few and many, beside what only predicts and what also trains."""
    rows = []
    best = ["ONNX Runtime", "OpenVINO"]
    names = [*best, "PyTorch", "NumPy", "scikit-learn"]
    for net in cases.PREDICTIONS:
        for count in (1, 32, 1024):
            case = {"sizes": net["sizes"], "hidden": net["hidden"], "rows": count}
            spec = case | {"group": "prediction", "threads": 2}
            entries = [prepare("fastnn", run.ours(), spec, 0.0, 1e-5)]
            entries += [prepare(name, run.peer(name), spec, 0.0, 1e-5) for name in names]
            found = run.measure("prediction", case, entries, 50, 200)
            share = ratio(found.get("fastnn"), fastest_of(found, best))
            rows.append([
                "-".join(map(str, net["sizes"])), str(count),
                *(microseconds(found.get(name)) for name in ("fastnn", *names)),
                number(share, net["goals"][count]),
            ])  # fmt: skip
    table(
        "Prediction from Python, median microseconds; two threads allowed",
        "net | rows | fastnn | " + " | ".join(names) + " | time / the best of both",
        rows,
    )
    net = cases.PREDICTIONS[2]
    case = {"sizes": net["sizes"], "hidden": net["hidden"], "rows": 32}
    entries = []
    for count in (1, 4):
        spec = case | {"group": "callers", "threads": 1, "callers": count}
        entries.append(prepare(str(count), run.ours(), spec, 0.0, 1e-5))
    found = run.measure("callers", case, entries, 100, 400)
    gain = ratio(found.get("1"), found.get("4"))
    print(f"\nFour Python threads with one network on two cores / one: {number(gain, 1.8)}")


def digits(run: Run) -> None:
    """Goal 4."""
    if run.mnist is None:
        print("\nDigits: left out; name a folder with the four MNIST files: --mnist DIR")
        return
    spec = {"group": "digits", "directory": run.mnist, "threads": 2, "quick": run.quick}
    spec |= cases.RECIPE
    workers = {"fastnn": run.ours(), "PyTorch": run.peer("PyTorch")}
    entries = [prepare(name, worker, spec, 0.0, 0.0) for name, worker in workers.items()]
    found = run.measure("digits", cases.RECIPE, entries, 1, 1)
    rows, seconds = [], {}
    for name, entry in found.items():
        accuracy = entry.facts["accuracy"]
        seconds[name] = median(entry.facts["seconds"])
        reached = sum(a >= 0.98 for a in accuracy)
        rows.append([
            f"{name} {entry.note}".rstrip(), f"{seconds[name]:.2f}", f"{min(accuracy):.2%}",
            f"{median(accuracy):.2%}", f"{reached} of {len(accuracy)}",
        ])  # fmt: skip
    table(
        "Digits: " + ", ".join(f"{key} {value}" for key, value in cases.RECIPE.items()),
        " | seconds of training (goal 0.8) | worst accuracy | median | 98 % reached",
        rows,
    )
    if len(seconds) == 2:
        print(f"\nPyTorch / fastnn: {number(seconds['PyTorch'] / seconds['fastnn'], 4)}")


def threads(run: Run) -> None:
    """What a second thread gives: nothing may be lost on small nets, 85 % is won on wide ones."""
    rows = []
    for net in cases.TINY + (cases.NETS[3:4] if run.quick else cases.NETS[2:]):
        widest = max(net["sizes"][1:])
        goal = 0.97 if widest <= 64 else 1.85 if widest >= 512 else None
        spec = net | {"optimizer": "sgd"}
        expected = cases.expected_loss(spec)
        entries = []
        for count in (1, 2):
            full = spec | {"group": "training", "threads": count}
            entries.append(prepare(str(count), run.ours(), full, expected, 1e-3))
        found = run.measure("threads", spec, entries, 100, 400)
        one, two = found.get("1"), found.get("2")
        rows.append([net_name(net), speed(one), speed(two), number(ratio(one, two), goal)])
    table(
        "Threads: fastnn, SGD, thousand samples/s",
        "net, batch | one | two allowed | two / one",
        rows,
    )


def builds(run: Run) -> None:
    """Goal 5: AVX2 beside its own peak, the baseline beside OpenBLAS with the same instructions."""
    rows = []
    for net in cases.NETS[3:4] if run.quick else [cases.NETS[3], cases.NETS[5]]:
        spec = net | {"optimizer": "sgd"}
        entries = [*run.training(spec, [], engine="avx2"), run.peak(engine="avx2")]
        found = run.measure("builds", spec | {"engine": "avx2"}, entries, 100, 400)
        share = ratio(found.get("peak"), found.get("fastnn"))
        share = share and share * cases.training_flops(net["sizes"])
        rows.append([net_name(net), speed(found.get("fastnn")), percent(share, 0.8)])
    table("AVX2 build, SGD", "net, batch | thousand samples/s | of the AVX2 peak", rows)
    rows, gains = [], []
    nehalem = run.peer("NumPy", OPENBLAS_CORETYPE="NEHALEM")
    for shape in cases.QUICK_SHAPES if run.quick else cases.SHAPES:
        for form in cases.FORMS:
            case = {"shape": shape, "form": form, "dtype": "float32", "threads": 2}
            spec = case | {"group": "products", "engine": "baseline"}
            workers = {"fastnn": run.ours(), "NumPy": nehalem}
            entries = [prepare(name, w, spec, 0.5, 0.5) for name, w in workers.items()]
            found = run.measure("builds", case | {"engine": "baseline"}, entries, 20, 20)
            gain = ratio(found.get("NumPy"), found.get("fastnn"))
            if gain:
                gains.append(gain)
            rows.append(["x".join(map(str, shape)), form, number(gain)])
    rows.append(["geometric mean", "", number(geometric_mean(gains) if gains else None, 0.9)])
    table("Baseline build / OpenBLAS NEHALEM, float32, 2 threads", "shape | form | ratio", rows)


GROUPS: dict[str, Callable[[Run], None]] = {
    "training": training, "products": products, "prediction": prediction, "digits": digits,
    "threads": threads, "builds": builds, "memory": memory, "scale": scale, "cost": cost,
    "busy": busy, "tiny": tiny, "server": server, "libxsmm": libxsmm,
}  # fmt: skip
