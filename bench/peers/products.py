"""The three products of a dense layer beside OpenBLAS (NumPy) and MKL (PyTorch)."""

from __future__ import annotations

from statistics import geometric_mean

from . import cases
from .cases import FORMS, Spec
from .run import Run, fastest_of, number, percent, ratio, table
from .turns import Entry, Worker, prepare

USUAL = "as it comes"  # the core type that OpenBLAS chooses by itself


def products(run: Run) -> None:
    """Every shape in three forms, both dtypes, one and two threads."""
    settings = [(2, "float32"), (2, "float64"), (1, "float32"), (1, "float64")]
    summary = []
    for threads, dtype in settings[:1] if run.quick else settings:
        shapes = cases.QUICK_SHAPES if run.quick else cases.SHAPES
        specs = [
            {"shape": shape, "form": form, "dtype": dtype, "threads": threads}
            for shape in shapes for form in FORMS
        ]  # fmt: skip
        peers = contestants(run, threads)
        measured = [(spec, found) for spec in specs if (found := beside(run, spec, peers))]
        table(
            f"Products, {dtype}, {threads} threads: nn x @ W, tn x.T @ dz, nt dz @ W.T",
            "shape | form | GFLOP/s | of peak | / OpenBLAS as it comes | / MKL | / the best of all "
            "| it is",
            [line(spec, found) for spec, found in measured],
        )
        if measured:
            summary.append([dtype, str(threads), *means(measured)])
    table(
        "Products, geometric means over the shapes",
        "dtype | threads | / OpenBLAS as it comes | / its fastest core type | it is | / MKL "
        "| / the best at each shape | worst | at | worst of 2048 cubed | it, of peak",
        summary,
    )


def contestants(run: Run, threads: int) -> dict[str, Worker | None]:
    """OpenBLAS with every core type, and MKL."""
    peers = {USUAL: run.peer("NumPy", threads)}
    for core in cases.CORE_TYPES:
        peers[core] = run.peer("NumPy", threads, OPENBLAS_CORETYPE=core)
    return peers | {"MKL": run.peer("PyTorch", threads)}


def beside(run: Run, case: Spec, peers: dict[str, Worker | None]) -> dict[str, Entry]:
    """Everyone's timings of one product; nothing if ours or the peak is missing."""
    spec = case | {"group": "products"}
    workers = {"fastnn": run.ours()} | peers
    entries = [prepare(name, worker, spec, 0.5, 0.5) for name, worker in workers.items()]
    entries.append(run.peak(dtype=case["dtype"], threads=case["threads"]))
    found = run.measure("products", case, entries, 20, 20)
    return found if {"fastnn", "peak"} <= found.keys() else {}


def best_of(found: dict[str, Entry]) -> Entry | None:
    return fastest_of(found, [name for name in found if name not in ("fastnn", "peak")])


def shape_name(spec: Spec) -> str:
    return "x".join(map(str, spec["shape"]))


def flops(spec: Spec) -> float:
    n, i, o = spec["shape"]
    return float(2 * n * i * o)


def share_of_peak(spec: Spec, found: dict[str, Entry]) -> float:
    return flops(spec) * found["peak"].median / found["fastnn"].median


def line(spec: Spec, found: dict[str, Entry]) -> list[str]:
    """One product's row of the table."""
    ours, best = found["fastnn"], best_of(found)
    return [
        shape_name(spec), spec["form"], f"{flops(spec) / ours.median / 1e9:.0f}",
        percent(share_of_peak(spec, found)),
        number(ratio(found.get(USUAL), ours)), number(ratio(found.get("MKL"), ours)),
        number(ratio(best, ours)), best.label if best else "-",
    ]  # fmt: skip


def means(measured: list[tuple[Spec, dict[str, Entry]]]) -> list[str]:
    """The summary's row for one dtype and number of threads."""

    def mean(name: str) -> float | None:
        """Ours over one peer's, over all shapes; None where it lacks one."""
        gains = [ratio(found.get(name), found["fastnn"]) for _, found in measured]
        present = [gain for gain in gains if gain]
        return geometric_mean(present) if len(present) == len(measured) else None

    cores = {core: gain for core in cases.CORE_TYPES if (gain := mean(core))}
    core = min(cores, key=lambda name: cores[name], default="-")
    beaten = [
        (gain, spec, found)
        for spec, found in measured if (gain := ratio(best_of(found), found["fastnn"]))
    ]  # fmt: skip
    gains = [gain for gain, _, _ in beaten]
    worst, at, _ = min(beaten, key=lambda each: each[0], default=(None, None, None))
    cubes = [each for each in beaten if min(each[1]["shape"]) == 2048]
    cube, *of_cube = min(cubes, key=lambda each: each[0], default=(None,))
    return [
        number(mean(USUAL)), number(cores.get(core)), core, number(mean("MKL")),
        number(geometric_mean(gains) if gains else None, 1.0), number(worst, 0.85),
        f"{shape_name(at)} {at['form']}" if at else "-",
        number(cube, 0.95), percent(share_of_peak(*of_cube) if of_cube else None),
    ]  # fmt: skip
