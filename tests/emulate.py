"""Runs the installed fastnn on emulated CPUs, engine by engine: `python tests/emulate.py`.

Needs qemu-x86_64 (Debian's package qemu-user), which knows no AVX-512. Each CPU must choose its
engine, and compute the bits that this engine computes natively.
"""

import os
import platform
import shutil
import subprocess
import sys

CPUS = {"Haswell": "avx2", "EPYC-Milan": "avx2", "Nehalem": "baseline"}

PROGRAM = """
import hashlib, numpy as np, fastnn
raw = np.random.Philox(5).random_raw(800)
x, y = raw[:480].view(np.uint8).reshape(96, 40), (raw[-96:] % 4).astype(np.int64)
bits = hashlib.sha256()
for dtype in ("float32", "float64"):
    net = fastnn.mlp([40, 33, 4], hidden="tanh", input_scale=1 / 255, dtype=dtype, num_threads=2)
    net.fit(x, y, epochs=2, batch_size=20, verbose=0)
    for array in (net.program.parameters, net.program.state, net.predict(x)):
        bits.update(array.tobytes())
print(net.engine, bits.hexdigest())
"""


def outcome(command: list[str], **environment: str) -> str:
    """The engine and the digest that the program prints, or how it ended."""
    run = subprocess.run(
        [*command, sys.executable, "-P", "-c", PROGRAM],
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    return run.stdout.strip() or f"exit code {run.returncode}: {run.stderr[-300:]}"


def main() -> int:
    """0 where every CPU gives what its engine gives natively."""
    emulator = shutil.which("qemu-x86_64")
    if emulator is None or platform.machine() != "x86_64":
        print("emulated CPUs are left out: no qemu-x86_64 here, or no x86-64 machine")
        return 0
    wrong = 0
    for cpu, engine in CPUS.items():
        found = outcome([emulator, "-cpu", cpu])
        expected = outcome([], FASTNN_ENGINE=engine)
        right = found == expected and found.startswith(engine)
        print(f"{cpu}: {found}{'' if right else f'; expected {expected}'}", flush=True)
        wrong += not right
    return wrong


if __name__ == "__main__":
    sys.exit(main())
