"""libxsmm-dnn: its MLP example, a program of its own that times itself.

FASTNN_LIBXSMM_MLP names the executable (`mlp_example`). It trains on one batch that is at hand:
forward, backward and plain SGD of float32 in blocked layouts, without a loss. Several blocks race.
"""

from __future__ import annotations

import math
import os
import subprocess
from dataclasses import dataclass
from typing import Any

from .cases import Spec, Task

VARIABLE = "FASTNN_LIBXSMM_MLP"
BLOCKS = ("32 32 32", "64 64 64", "32 64 64")  # of the batch, the outputs and the inputs
FUSED, BOTH_WAYS, FLOAT32, PACKED = "3", "A", "0", "1"  # bias and relu in the product's kernel
LEAST = 0.05  # seconds of one timing


def versions() -> dict[str, str]:
    return {"libxsmm-dnn": os.environ[VARIABLE]}


@dataclass
class Report:
    """What one run said: seconds a step, and the sum of the outputs' sizes after the last."""

    seconds: float
    size: float


def example(spec: Spec, blocks: str, steps: int) -> Report:
    """Train so many steps.

    Raises RuntimeError if the program fails or says something else than what was asked for.
    """
    sizes, batch, threads = spec["sizes"], spec["batch"], spec["threads"]
    options = [steps, batch, FUSED, BOTH_WAYS, *blocks.split(), FLOAT32, PACKED, *sizes]
    done = subprocess.run(
        [os.environ[VARIABLE], *map(str, options)],
        env=os.environ | {"OMP_NUM_THREADS": str(threads)},
        stdout=subprocess.PIPE, text=True, check=False,
    )  # fmt: skip
    lines = done.stdout.splitlines()
    dump = [line.split(",") for line in lines if line.startswith("PERFDUMP,")]
    norm = [line.split(":")[1] for line in lines if line.startswith("L1 of act")]
    asked = list(map(str, [threads, batch, *sizes[:-1]]))  # it leaves the last size out
    if done.returncode or len(dump) != 1 or len(norm) != 1 or dump[0][3:-2] != asked:
        raise RuntimeError(
            f"expected PERFDUMP,...,{','.join(asked)},seconds,GFLOPS from {os.environ[VARIABLE]}, "
            f"got exit code {done.returncode} and {lines[-5:]}"
        )
    return Report(float(dump[0][-2]), float(norm[0]))


def training(spec: Spec) -> Task:
    """The fastest blocks; `facts` has its own seconds a sample, as its start takes far longer."""
    wrong = [blocks for blocks in BLOCKS if not 0 < example(spec, blocks, 1).size < math.inf]
    if wrong:
        raise RuntimeError(f"expected finite outputs after one step, got others with {wrong}")
    steps = max(4, math.ceil(LEAST / example(spec, BLOCKS[0], 4).seconds))
    race = {blocks: example(spec, blocks, steps).seconds for blocks in BLOCKS}
    best = min(race, key=lambda blocks: race[blocks])
    facts: dict[str, Any] = {"seconds": []}

    def run() -> float:
        facts["seconds"].append(example(spec, best, steps).seconds / spec["batch"])
        return float(steps * spec["batch"])

    return Task(run, 0.0, note=best, facts=facts)
