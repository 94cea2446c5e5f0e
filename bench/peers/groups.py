"""The groups of measurements: which cases, which peers, and the table that each gives."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from statistics import geometric_mean, median
from typing import Any

from . import cases
from .cases import Spec
from .turns import BENCH, Entry, Worker, Workers, environment, forget, prepare, take_turns

TOLERANCE = {"sgd": 1e-4, "adam": 2e-3}  # of a float32 loss after three steps


@dataclass
class Peer:
    """A peer: its worker module, the package to look for and what to install."""

    module: str
    package: str
    install: str


PEERS = {
    "NumPy": Peer("numpy_blas", "numpy", "numpy"),
    "JAX": Peer("jax_scan", "jax", "jax"),
    "PyTorch": Peer("pytorch", "torch", "torch==2.13.0"),
    "scikit-learn": Peer("scikit", "sklearn", "scikit-learn"),
    "ONNX Runtime": Peer("onnx_runtime", "onnxruntime", "onnxruntime onnx"),
}


def missing() -> dict[str, Peer]:
    wanted = {name: peer.install.split() for name, peer in PEERS.items()}
    return {
        name: peer
        for name, peer in PEERS.items()
        if find_spec(peer.package) is None or ("onnx" in wanted[name] and find_spec("onnx") is None)
    }


@dataclass
class Run:
    """The settings of one run, its workers, and the rows that it has measured."""

    workers: Workers
    quick: bool
    mnist: str | None
    rows: list[Spec] = field(default_factory=list)

    @property
    def rounds(self) -> int:
        return 3 if self.quick else 7

    def peer(self, name: str, threads: int = 2, **environ: str) -> Worker | None:
        if name in missing():
            return None
        key = " ".join([name, *environ.values()]) + (" (1 thread)" if threads == 1 else "")
        return self.workers.start(key, PEERS[name].module, threads, **environ)

    def ours(self) -> Worker:
        worker = self.workers.start("fastnn", "ours")
        if worker is None:
            raise SystemExit("fastnn cannot be imported: python -m pip install .")
        return worker

    def measure(
        self, group: str, case: Spec, entries: list[Entry | None], milliseconds: float
    ) -> dict[str, Entry]:
        """Take turns, keep the figures for the JSON file, drop the tasks."""
        done = take_turns([e for e in entries if e], milliseconds, self.rounds)
        result = {entry.label: entry for entry in done}
        figures = {
            label: {
                "median": e.median,
                "fastest": min(e.seconds),
                "slowest": max(e.seconds),
                "timings": len(e.seconds),
                "note": e.note,
                **e.facts,
            }
            for label, e in result.items()
        }
        self.rows.append({"group": group, **case, "seconds per unit": figures})
        forget(self.workers)
        return result


def table(title: str, head: list[str], rows: list[list[str]]) -> None:
    """Print a Markdown table whose columns line up."""
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    lines = [head, ["-" * w for w in widths], *rows]
    print(f"\n{title}\n")
    for line in lines:
        print("| " + " | ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)) + " |")
    sys.stdout.flush()


def beside(value: float | None, goal: float | None, unit: str = "") -> str:
    """A figure beside its goal."""
    if value is None:
        return "-"
    if unit == "%":
        return f"{value:.0%}" + (f" (goal {goal:.0%})" if goal else "")
    return f"{value:.2f}" + (f" (goal {goal:g})" if goal else "")


def ratio(slow: Entry | None, fast: Entry | None) -> float | None:
    return slow.median / fast.median if slow and fast else None


def peak_entry(run: Run, **spec: Any) -> Entry | None:
    spec = {"group": "peak", "dtype": "float32", "threads": 2} | spec
    return prepare("peak", run.ours(), spec, 0.0, 0.0)


def speed(entry: Entry | None) -> str:
    """Thousand samples a second, and which variant of the peer it was."""
    if entry is None:
        return "-"
    note = f" {entry.note}" if entry.note else ""
    return f"{1e-3 / entry.median:.3g}{note}"


# ---------------------------------------------------------------- training


def training_entries(run: Run, spec: Spec, peers: list[str], **ours: Any) -> list[Entry | None]:
    """Everyone on one net from the same start, each with the loss that float64 gives."""
    expected = cases.expected_loss(spec)
    tolerance = TOLERANCE[spec["optimizer"]] * max(1.0, expected)
    spec = {"group": "training", "threads": 2, "quick": run.quick} | spec
    entries = [prepare("fastnn", run.ours(), spec | ours, expected, tolerance)]
    for name in peers:
        if name == "scikit-learn" and spec["sizes"][-1] == 2:
            # its one logistic output learns at another rate: only the start can be compared
            expected = cases.expected_loss(spec, steps=0)
        entries.append(prepare(name, run.peer(name), spec, expected, tolerance))
    return entries


def training(run: Run) -> None:
    rows = []
    for net in cases.NETS:
        to_jax, adam_to_jax, to_torch, of_peak = net["goals"]
        small = net["sizes"][0] < 2048
        if run.quick and not small:
            net = net | {"rows": 512}
        peers = ["JAX", "PyTorch", *(["scikit-learn"] if small else [])]
        results = {}
        for optimizer in ("sgd", "adam"):
            spec = net | {"optimizer": optimizer}
            entries = [*training_entries(run, spec, peers), peak_entry(run)]
            found = results[optimizer] = run.measure(
                "training", spec, entries, 60 if run.quick else 400
            )
            peak = found.get("peak")
            share = None
            if peak and "fastnn" in found:
                flops = cases.training_flops(net["sizes"])
                share = flops * peak.median / found["fastnn"].median
            ours = found.get("fastnn")
            sgd = optimizer == "sgd"
            rows.append(
                [
                    cases.net_name(net),
                    optimizer,
                    *(
                        speed(found.get(name))
                        for name in ("fastnn", "JAX", "PyTorch", "scikit-learn")
                    ),
                    beside(ratio(found.get("JAX"), ours), to_jax if sgd else adam_to_jax),
                    beside(ratio(found.get("PyTorch"), ours), to_torch if sgd else None),
                    beside(ratio(found.get("scikit-learn"), ours), 5 if small else None),
                    beside(share, of_peak if sgd else None, "%"),
                ]
            )
    table(
        "Training, thousand samples/s; ratios of medians; two threads",
        [
            "net, batch",
            "",
            "fastnn",
            "JAX",
            "PyTorch",
            "scikit-learn",
            "/ JAX",
            "/ PyTorch",
            "/ scikit-learn",
            "of FMA peak",
        ],
        rows,
    )


# ---------------------------------------------------------------- products


def products(run: Run) -> None:
    shapes = cases.QUICK_SHAPES if run.quick else cases.SHAPES
    settings = (
        [("float32", 2)] if run.quick else [(d, t) for t in (2, 1) for d in ("float32", "float64")]
    )
    summary = []
    for dtype, threads in settings:
        numpys = {"as it comes": run.peer("NumPy", threads)}
        for core in cases.CORE_TYPES:
            numpys[core] = run.peer("NumPy", threads, OPENBLAS_CORETYPE=core)
        times: dict[str, list[float]] = {}
        shares, rows = [], []
        for shape in shapes:
            for form in cases.FORMS:
                case = {"shape": shape, "form": form, "dtype": dtype, "threads": threads}
                spec = case | {"group": "products"}
                entries = [prepare("fastnn", run.ours(), spec, 0.5, 0.5)]
                entries += [prepare(n, w, spec, 0.5, 0.5) for n, w in numpys.items()]
                entries.append(peak_entry(run, dtype=dtype, threads=threads))
                found = run.measure("products", case, entries, 20)
                peak = found.pop("peak", None)
                for label, entry in found.items():
                    times.setdefault(label, []).append(entry.median)
                if "fastnn" not in found:
                    continue
                ours = found["fastnn"].median
                flops = 2 * shape[0] * shape[1] * shape[2]
                share = flops * peak.median / ours if peak else None
                shares.append(share)
                others = {label: e.median / ours for label, e in found.items() if label != "fastnn"}
                best = min(others, key=lambda label: others[label], default="-")
                rows.append(
                    [
                        "x".join(map(str, shape)),
                        form,
                        f"{flops / ours / 1e9:.0f}",
                        beside(share, None, "%"),
                        beside(others.get("as it comes"), None),
                        best,
                        beside(others.get(best), None),
                    ]
                )
        whole = {label: geometric_mean(t) for label, t in times.items() if len(t) == len(rows)}
        fastest = min(
            (n for n in whole if n in cases.CORE_TYPES), key=lambda n: whole[n], default=None
        )
        table(
            f"Products, {dtype}, {threads} threads: nn x @ W, tn x.T @ dz, nt dz @ W.T",
            [
                "shape",
                "form",
                "GFLOP/s",
                "of peak",
                "/ NumPy as it comes",
                "best core type",
                "/ it",
            ],
            rows,
        )
        if "fastnn" in whole and rows:
            ours = whole["fastnn"]
            summary.append(
                [
                    dtype,
                    str(threads),
                    fastest or "-",
                    beside(whole[fastest] / ours if fastest else None, 1.15),
                    beside(whole["as it comes"] / ours if "as it comes" in whole else None, 1.9),
                    f"{min((row[-1], row[0] + ' ' + row[1]) for row in rows)[0]} (goal 0.95)",
                    beside(median(shares[-3:]) if shapes[-1][0] == 2048 else None, 0.9, "%"),
                ]
            )
    table(
        "Products: geometric means over the shapes",
        [
            "dtype",
            "threads",
            "fastest core type",
            "/ it",
            "/ NumPy as it comes",
            "worst shape / best of all",
            "2048 cubed of peak",
        ],
        summary,
    )


# ---------------------------------------------------------------- prediction


def prediction(run: Run) -> None:
    rows = []
    names = ["ONNX Runtime", "PyTorch", "NumPy", "scikit-learn"]
    for net in cases.PREDICTIONS:
        for count in (1, 32, 1024):
            case = {"sizes": net["sizes"], "hidden": net["hidden"], "rows": count}
            spec = case | {"group": "prediction", "threads": 2}
            entries = [prepare("fastnn", run.ours(), spec, 0.0, 1e-5)]
            entries += [prepare(name, run.peer(name), spec, 0.0, 1e-5) for name in names]
            found = run.measure("prediction", case, entries, 50 if run.quick else 200)
            times = [
                f"{found[n].median * 1e6:.1f}" if n in found else "-" for n in ("fastnn", *names)
            ]
            share = ratio(found.get("fastnn"), found.get("ONNX Runtime"))
            name = "-".join(map(str, net["sizes"]))
            rows.append([name, str(count), *times, beside(share, net["goals"][count])])
    table(
        "Prediction from Python, median microseconds; two threads allowed",
        ["net", "rows", "fastnn", *names, "time / ONNX Runtime's"],
        rows,
    )
    net = cases.PREDICTIONS[2]
    case = {"sizes": net["sizes"], "hidden": net["hidden"], "rows": 32}
    entries = []
    for count in (1, 4):
        spec = case | {"group": "callers", "threads": 1, "callers": count}
        entries.append(prepare(f"{count} callers", run.ours(), spec, 0.0, 1e-5))
    found = run.measure("callers", case, entries, 100)
    gain = ratio(found.get("1 callers"), found.get("4 callers"))
    print(f"\nFour Python threads on one network and two cores / one: {beside(gain, 1.8)}")


# ---------------------------------------------------------------- digits


def digits(run: Run) -> None:
    if run.mnist is None:
        print("\nDigits: left out; name a folder with the four MNIST files: --mnist DIR")
        return
    spec = cases.RECIPE | {
        "group": "digits",
        "directory": run.mnist,
        "threads": 2,
        "quick": run.quick,
    }
    workers = {"fastnn": run.ours(), "PyTorch": run.peer("PyTorch")}
    entries = [prepare(name, worker, spec, 0.0, 0.0) for name, worker in workers.items()]
    found = run.measure("digits", cases.RECIPE, entries, 1)
    rows, seconds = [], {}
    for name, entry in found.items():
        accuracy = entry.facts["accuracy"]
        seconds[name] = median(entry.facts["seconds"])
        reached = sum(a >= 0.98 for a in accuracy)
        rows.append(
            [
                name,
                f"{seconds[name]:.2f}",
                f"{min(accuracy):.2%}",
                f"{median(accuracy):.2%}",
                f"{reached} of {len(accuracy)}",
            ]
        )
    recipe = ", ".join(f"{key} {value}" for key, value in cases.RECIPE.items())
    table(
        f"Digits: {recipe}",
        ["", "seconds of training", "worst accuracy", "median", "98 % reached"],
        rows,
    )
    if len(seconds) == 2:
        print(f"\nPyTorch / fastnn: {beside(seconds['PyTorch'] / seconds['fastnn'], 4)}")


# ---------------------------------------------------------------- threads


def threads(run: Run) -> None:
    rows = []
    nets = [(net, goal) for net, goal in zip(cases.NETS[2:], (1.7, 1.85, 1.85, 1.85), strict=True)]
    nets = [(net, 0.97) for net in cases.TINY] + (nets[:2] if run.quick else nets)
    for net, goal in nets:
        spec = net | {"optimizer": "sgd"}
        expected = cases.expected_loss(spec)
        entries = []
        for count in (1, 2):
            full = spec | {"group": "training", "threads": count}
            entries.append(prepare(f"{count}", run.ours(), full, expected, 1e-4 * max(1, expected)))
        found = run.measure("threads", spec, entries, 100 if run.quick else 400)
        one, two = found.get("1"), found.get("2")
        rows.append([cases.net_name(net), speed(one), speed(two), beside(ratio(one, two), goal)])
    table(
        "Threads: fastnn, SGD, thousand samples/s",
        ["net, batch", "one", "two allowed", "two / one"],
        rows,
    )


# ---------------------------------------------------------------- other builds


def builds(run: Run) -> None:
    """Goal 5: AVX2 beside its own peak, the baseline beside OpenBLAS with the same instructions."""
    rows = []
    nets = cases.NETS[3:4] if run.quick else [cases.NETS[3], cases.NETS[5]]
    for net in nets:
        spec = net | {"optimizer": "sgd"}
        entries = [*training_entries(run, spec, [], engine="avx2"), peak_entry(run, engine="avx2")]
        found = run.measure("builds", spec | {"engine": "avx2"}, entries, 100 if run.quick else 400)
        if len(found) == 2:
            ours, peak = found["fastnn"], found["peak"]
            share = cases.training_flops(net["sizes"]) * peak.median / ours.median
            rows.append([cases.net_name(net), speed(ours), beside(share, 0.8, "%")])
    table("AVX2 build, SGD", ["net, batch", "thousand samples/s", "of the AVX2 peak"], rows)
    rows, gains = [], []
    nehalem = run.peer("NumPy", OPENBLAS_CORETYPE="NEHALEM")
    for shape in cases.QUICK_SHAPES if run.quick else cases.SHAPES:
        for form in cases.FORMS:
            case = {"shape": shape, "form": form, "dtype": "float32", "threads": 2}
            spec = case | {"group": "products", "engine": "baseline"}
            entries = [
                prepare("fastnn", run.ours(), spec, 0.5, 0.5),
                prepare("NumPy", nehalem, spec, 0.5, 0.5),
            ]
            found = run.measure("builds", case | {"engine": "baseline"}, entries, 20)
            gain = ratio(found.get("NumPy"), found.get("fastnn"))
            if gain:
                gains.append(gain)
                rows.append(["x".join(map(str, shape)), form, f"{gain:.2f}"])
    if gains:
        rows.append(["geometric mean", "", beside(geometric_mean(gains), 0.9)])
    table(
        "Baseline build / OpenBLAS NEHALEM, float32, two threads", ["shape", "form", "ratio"], rows
    )


# ---------------------------------------------------------------- scale


def scale(run: Run) -> None:
    """Samples per second against the roofline: the slower of arithmetic and compulsory traffic."""
    sweeps: list[tuple[str, list[int], Callable[[int], Spec]]] = [
        ("width", cases.WIDTHS, cases.by_width),
        ("batch", cases.BATCHES, cases.by_batch),
    ]
    for name, values, make in sweeps:
        rows = []
        for value in values[::4] if run.quick else values:
            spec = make(value) | {"optimizer": "sgd"}
            memory = prepare(
                "bandwidth", run.ours(), {"group": "bandwidth", "threads": 2}, 0.0, 0.0
            )
            everyone = training_entries(run, spec, ["JAX", "PyTorch"])
            found = run.measure(
                "scale",
                spec | {name: value},
                [*everyone, memory, peak_entry(run)],
                60 if run.quick else 200,
            )
            line: float | None = None
            if "peak" in found and "bandwidth" in found:
                line = roofline(spec, 1 / found["peak"].median, 1 / found["bandwidth"].median)
                run.rows[-1]["roofline"] = line
            others = [found[n] for n in ("JAX", "PyTorch") if n in found]
            best = min(others, key=lambda e: e.median, default=None)
            ours = found.get("fastnn")
            rows.append(
                [
                    str(value),
                    speed(ours),
                    speed(best),
                    best.label if best else "-",
                    beside(ratio(best, ours), None),
                    f"{line / 1000:.3g}" if line else "-",
                    beside(1 / ours.median / line if ours and line else None, None, "%"),
                ]
            )
        shape = "784-W-W-10 relu, batch 128" if name == "width" else "784-256-10 relu"
        table(
            f"Scale by {name}: {shape}, SGD, thousand samples/s",
            [name, "fastnn", "best peer", "", "/ it", "roofline", "of roofline"],
            rows,
        )


def roofline(spec: Spec, flops: float, bytes_: float) -> float:
    """Samples/s if arithmetic ran at peak and only compulsory memory traffic counted.

    The data set is read once; weights that do not fit the last cache are read and written.
    """
    sizes = spec["sizes"]
    weights = sum(4 * i * o for i, o in pairwise(sizes))
    traffic = 4 * sizes[0] + (2 * weights / spec["batch"] if weights > last_cache() else 0)
    return 1 / max(cases.training_flops(sizes) / flops, traffic / bytes_)


@cache
def last_cache() -> int:
    """Bytes of the largest cache that Linux names, else 32 MB."""
    sizes = Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size")
    return max((int(s.read_text().rstrip("K\n")) * 1024 for s in sizes), default=2**25)


# ---------------------------------------------------------------- cost of use

IMPORT = """
import sys, time
status = lambda: next(int(l.split()[1]) for l in open("/proc/self/status") if l.startswith("VmRSS"))
memory, begin = status(), time.perf_counter()
import {module}
print(time.perf_counter() - begin, (status() - memory) / 1024)
"""


def cost(run: Run) -> None:
    """Fresh interpreters in turns: seconds and resident MB of an import, MB installed."""
    modules = {"NumPy": "numpy", "fastnn": "fastnn"} | {
        name: {"scikit-learn": "sklearn.neural_network"}.get(name, peer.package)
        for name, peer in PEERS.items()
        if name not in (*missing(), "NumPy")
    }
    figures: dict[str, list[tuple[float, float]]] = {name: [] for name in modules}
    for _ in range(4 if run.quick else 21):
        for name, module in modules.items():
            script = IMPORT.format(module=module)
            done = subprocess.run(
                [sys.executable, "-c", script],
                cwd=BENCH,
                env=environment(2, {}),
                capture_output=True,
                text=True,
            )
            if done.returncode == 0:
                seconds, memory = map(float, done.stdout.split())
                figures[name].append((seconds, memory))
    names = {"fastnn": "fastnn-cpu"} | {
        n: p.install.split()[0].split("==")[0] for n, p in PEERS.items()
    }
    rows = []
    base = median(s for s, _ in figures["NumPy"]), median(m for _, m in figures["NumPy"])
    for name, pairs in figures.items():
        if not pairs:
            continue
        pairs = pairs[1:]  # the first one fills the page cache
        seconds, memory = median(s for s, _ in pairs), median(m for _, m in pairs)
        size = installed(names[name])
        run.rows.append(
            {"group": "cost", "name": name, "seconds": seconds, "MB": memory, "installed MB": size}
        )
        goal = name == "fastnn"
        rows.append(
            [
                name,
                f"{seconds * 1000:.0f}",
                beside(seconds / base[0], 1.3 if goal else None),
                f"{memory:.0f}",
                f"{memory - base[1]:+.1f}" + (" (goal +15)" if goal else ""),
                f"{size:.1f}" if size else "-",
            ]
        )
    wheels = sorted((BENCH.parent / "dist").glob("*.whl"))
    table(
        "Cost of use: a fresh import",
        ["", "ms", "/ NumPy", "MB", "more than NumPy", "MB installed, without what it depends on"],
        rows,
    )
    for wheel in wheels:
        print(f"\n{wheel.name}: {wheel.stat().st_size / 1e6:.2f} MB (goal 6)")


def installed(name: str) -> float | None:
    """MB of a distribution's own files; None if it is not installed."""
    try:
        files = distribution(name).files or []
    except PackageNotFoundError:
        return None
    paths = [Path(str(file.locate())) for file in files]
    return sum(path.stat().st_size for path in paths if path.exists()) / 1e6


GROUPS: dict[str, Callable[[Run], None]] = {
    "training": training,
    "products": products,
    "prediction": prediction,
    "digits": digits,
    "threads": threads,
    "builds": builds,
    "scale": scale,
    "cost": cost,
}
