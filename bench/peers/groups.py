"""The groups of measurements: which cases, which peers, and the tables that each prints."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from statistics import geometric_mean, median

from . import cases
from .cases import Spec, net_name
from .cost import cost
from .memory import memory
from .run import Run, fastest_of, microseconds, number, percent, ratio, speed, table
from .turns import prepare


def training(run: Run) -> None:
    """Goal 1."""
    rows = []
    for net in map(cases.shorter, cases.NETS) if run.quick else cases.NETS:
        to_jax, adam_to_jax, to_torch, of_peak = net["goals"]
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
            sgd = optimizer == "sgd"
            rows.append([
                net_name(net), optimizer, speed(ours), speed(jax), speed(torch), speed(scikit),
                number(ratio(jax, ours), to_jax if sgd else adam_to_jax),
                number(ratio(torch, ours), to_torch if sgd else None),
                number(ratio(scikit, ours), 5 if small else None),
                percent(share and share * cases.training_flops(net["sizes"]), sgd and of_peak),
            ])  # fmt: skip
    table(
        "Training, thousand samples/s; ratios of medians; two threads",
        "net, batch |  | fastnn | JAX | PyTorch | scikit-learn | / JAX | / PyTorch "
        "| / scikit-learn | of FMA peak",
        rows,
    )


def products(run: Run) -> None:
    """Goal 2."""
    shapes = cases.QUICK_SHAPES if run.quick else cases.SHAPES
    settings = [(2, "float32"), (2, "float64"), (1, "float32"), (1, "float64")]
    summary = []
    for threads, dtype in settings[:1] if run.quick else settings:
        numpys = {"as it comes": run.peer("NumPy", threads)}
        for core in cases.CORE_TYPES:
            numpys[core] = run.peer("NumPy", threads, OPENBLAS_CORETYPE=core)
        gains: dict[str, list[float]] = {label: [] for label in numpys}  # ours / theirs
        worst, large = (9.9, "-"), []
        rows = []
        for shape in shapes:
            for form in cases.FORMS:
                case = {"shape": shape, "form": form, "dtype": dtype, "threads": threads}
                spec = case | {"group": "products"}
                entries = [prepare("fastnn", run.ours(), spec, 0.5, 0.5)]
                entries += [prepare(n, worker, spec, 0.5, 0.5) for n, worker in numpys.items()]
                entries.append(run.peak(dtype=dtype, threads=threads))
                found = run.measure("products", case, entries, 20, 20)
                ours, peak = found.get("fastnn"), found.get("peak")
                if ours is None or peak is None:
                    continue
                name, flops = "x".join(map(str, shape)), 2 * shape[0] * shape[1] * shape[2]
                others = {n: found[n].median / ours.median for n in numpys if n in found}
                best = min(others, key=lambda n: others[n], default="-")
                for label, gain in others.items():
                    gains[label].append(gain)
                worst = min(worst, (others.get(best, 9.9), f"{name} {form}"))
                share = flops * peak.median / ours.median
                if min(shape) == 2048:
                    large.append(share)
                rows.append([
                    name, form, f"{flops / ours.median / 1e9:.0f}", percent(share),
                    number(others.get("as it comes")), number(others.get(best)), best,
                ])  # fmt: skip
        table(
            f"Products, {dtype}, {threads} threads: nn x @ W, tn x.T @ dz, nt dz @ W.T",
            "shape | form | GFLOP/s | of peak | / NumPy as it comes | / the best of all | it is",
            rows,
        )
        means = {n: geometric_mean(g) for n, g in gains.items() if g and len(g) == len(rows)}
        best = min((n for n in means if n != "as it comes"), key=lambda n: means[n], default="-")
        summary.append([
            dtype, str(threads), best, number(means.get(best), 1.15),
            number(means.get("as it comes"), 1.9), number(worst[0], 0.95), worst[1],
            percent(min(large) if large else None, 0.9),
        ])  # fmt: skip
    table(
        "Products, geometric means over the shapes",
        "dtype | threads | fastest core type | / it | / NumPy as it comes "
        "| worst / the best of all | at | 2048 cubed, of peak",
        summary,
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
    """Goal 6."""
    nets = [(net, 0.97) for net in cases.TINY]
    large = list(zip(cases.NETS[2:], (1.7, 1.85, 1.85, 1.85), strict=True))
    rows = []
    for net, goal in nets + (large[1:2] if run.quick else large):
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


def scale(run: Run) -> None:
    """Goal 7: samples per second by width and by batch, beside the best peer and the roofline.

    PyTorch runs without `torch.compile` here, which would take many minutes.
    """
    sweeps: list[tuple[str, list[int], Callable[[int], Spec]]] = [
        ("width", cases.WIDTHS, cases.by_width), ("batch", cases.BATCHES, cases.by_batch),
    ]  # fmt: skip
    for name, values, make in sweeps:
        rows = []
        for value in values[4:5] if run.quick else values:
            spec = make(value) | {"optimizer": "sgd"}
            memory = {"group": "bandwidth", "threads": 2}
            entries = run.training(spec | {"quick": True}, ["JAX", "PyTorch"])
            entries += [run.peak(), prepare("bandwidth", run.ours(), memory, 0.0, 0.0)]
            found = run.measure("scale", spec | {"by": name, name: value}, entries, 60, 200)
            line = share = None
            if "peak" in found and "bandwidth" in found:
                line = roofline(spec, found["peak"].median, found["bandwidth"].median)
                run.rows[-1]["roofline"] = line
            best = fastest_of(found, ["JAX", "PyTorch"])
            ours = found.get("fastnn")
            if ours and line:
                share = 1 / ours.median / line
            rows.append([
                str(value), speed(ours), best.label if best else "-", speed(best),
                number(ratio(best, ours)), f"{line / 1000:.3g}" if line else "-", percent(share),
            ])  # fmt: skip
        what = "784-W-W-10 relu, batch 128" if name == "width" else "784-256-10 relu"
        table(
            f"Scale by {name}: {what}, SGD, thousand samples/s",
            f"{name} | fastnn | best peer |  | / it | roofline | of roofline",
            rows,
        )


def roofline(spec: Spec, flop_seconds: float, byte_seconds: float) -> float:
    """Samples/s if arithmetic ran at peak and only compulsory memory traffic counted.

    The data set is read once; weights that do not fit the last cache are read and written.
    """
    sizes = spec["sizes"]
    weights = sum(4 * i * o for i, o in pairwise(sizes))
    traffic = 4 * sizes[0] + (2 * weights / spec["batch"] if weights > last_cache() else 0)
    seconds: float = max(cases.training_flops(sizes) * flop_seconds, traffic * byte_seconds)
    return 1 / seconds


def last_cache() -> int:
    """Bytes of the largest cache that Linux names, else 32 MB."""
    sizes = Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size")
    return max((int(size.read_text().rstrip("K\n")) << 10 for size in sizes), default=1 << 25)


GROUPS: dict[str, Callable[[Run], None]] = {
    "training": training, "products": products, "prediction": prediction, "digits": digits,
    "threads": threads, "builds": builds, "memory": memory, "scale": scale, "cost": cost,
}  # fmt: skip
