"""Speed by size: sweeps over the width and over the batch, below the roofline."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

from . import cases
from .cases import Spec
from .run import Run, fastest_of, number, percent, ratio, speed, table
from .turns import prepare


def scale(run: Run) -> None:
    """Samples per second by width and by batch, beside the best peer and the roofline.

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
