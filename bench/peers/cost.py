"""What it costs to have fastnn at all: the time and memory of an import, the size installed."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from statistics import median

from .run import PEERS, Run, missing, number, table
from .turns import BENCH, ROOT, environment

IMPORT = """
import sys, time
def resident():
    return next(int(l.split()[1]) for l in open("/proc/self/status") if l.startswith("VmRSS"))
memory, begin = resident(), time.perf_counter()
import {module}
print(time.perf_counter() - begin, (resident() - memory) / 1024)
"""


def imported(module: str) -> tuple[float, float]:
    """Seconds and resident MB of an import in a fresh interpreter: ours up to the first name."""
    done = subprocess.run(
        [sys.executable, "-c", IMPORT.format(module=module)],
        cwd=BENCH, env=environment(2, {}), capture_output=True, text=True, check=True,
    )  # fmt: skip
    seconds, megabytes = map(float, done.stdout.split())
    return seconds, megabytes


def installed(name: str) -> float | None:
    """MB of a distribution's own files; None if it is not installed."""
    try:
        files = distribution(name).files or []
    except PackageNotFoundError:
        return None
    paths = [Path(str(file.locate())) for file in files]
    return sum(path.stat().st_size for path in paths if path.exists()) / 1e6


def cost(run: Run) -> None:
    """Goal 8: fresh interpreters in turns."""
    modules = {"NumPy": "numpy", "fastnn": "fastnn._public", "JAX": "jax", "PyTorch": "torch",
               "scikit-learn": "sklearn.neural_network", "ONNX Runtime": "onnxruntime",
               "OpenVINO": "openvino"}  # fmt: skip
    modules = {name: module for name, module in modules.items() if name not in missing()}
    figures: dict[str, list[tuple[float, float]]] = {name: [] for name in modules}
    for turn in range(5 if run.quick else 21):
        for name, module in modules.items():
            if run.quick and turn != 1 and name not in ("NumPy", "fastnn"):
                continue
            figure = imported(module)
            if turn:  # the first one fills the page cache
                figures[name].append(figure)
    seconds, megabytes = (
        {name: median(pair[i] for pair in pairs) for name, pairs in figures.items()} for i in (0, 1)
    )
    rows = []
    for name in modules:
        ours = name == "fastnn"
        size = installed(
            "fastnn-cpu" if ours else PEERS[name].install.split()[0].strip('"').split("==")[0]
        )
        more = megabytes[name] - megabytes["NumPy"]
        run.rows.append({
            "group": "cost", "name": name, "seconds": seconds[name], "MB": megabytes[name],
            "MB installed": size,
        })  # fmt: skip
        rows.append([
            name, f"{seconds[name] * 1000:.0f}",
            number(seconds[name] / seconds["NumPy"], 1.3 if ours else None),
            f"{megabytes[name]:.0f}", f"{more:+.1f}" + (" (goal +15)" if ours else ""),
            f"{size:.1f}" if size else "-",
        ])  # fmt: skip
    table(
        "Cost of use: a fresh import",
        " | ms | / NumPy | MB | more than NumPy | MB installed, without what it depends on",
        rows,
    )
    for wheel in sorted((ROOT / "dist").glob("*.whl")):
        print(f"\n{wheel.name}: {wheel.stat().st_size / 1e6:.2f} MB (goal 6)")
