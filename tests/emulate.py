"""Runs the installed fastnn on emulated CPUs, engine by engine: `python tests/emulate.py`.

Needs qemu-x86_64 (Debian's package qemu-user), which knows no AVX-512. Each CPU must choose its
engine, and compute the bits that this engine computes natively, on two threads.
"""

import os
import platform
import shutil
import subprocess
import sys

CPUS = {"Haswell": "avx2", "EPYC-Milan": "avx2", "Nehalem": "baseline"}
DEADLINE = 60  # seconds; each takes two

PROGRAM = """
import hashlib, numpy as np, fastnn
raw = np.random.Philox(5).random_raw(800)
x, y = raw[:480].view(np.uint8).reshape(96, 40), (raw[-96:] % 4).astype(np.int64)
bits = hashlib.sha256()
for dtype in ("float32", "float64"):
    options = dict(input_scale=1 / 255, dtype=dtype, num_threads=2)
    layers = [fastnn.Dense(128, "tanh"), fastnn.Dropout(0.3), fastnn.Dense(65, "gelu")]
    net = fastnn.Network(40, [*layers, fastnn.Dense(4, "softmax")], **options)
    net._engine.team_mode(True, False)  # everyone takes part
    net.fit(x, y, epochs=2, batch_size=40, verbose=0)
    threads = net._engine.threads_of_latest()
    for array in (net.program.parameters, net.program.state, net.predict(x)):
        bits.update(array.tobytes())
print(f"{net.engine} on {threads} threads: {bits.hexdigest()}")
"""


def outcome(command: list[str], **environment: str) -> str:
    """The engine, the threads and the digest that the program prints, or how it ended."""
    pinned = ("FASTNN_ENGINE", "OPENBLAS_", "NPY_")  # what was chosen for the CPU that emulates
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(pinned)}
    try:
        run = subprocess.run(
            [*command, sys.executable, "-P", "-c", PROGRAM],
            env={**inherited, "OPENBLAS_NUM_THREADS": "1", **environment},
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"no end after {DEADLINE} s"
    if run.returncode:
        last = run.stderr.strip().rpartition("\n")[2]
        return f"exit code {run.returncode}, {last}"
    return run.stdout.strip()


def main() -> int:
    """0 where every CPU gives what its engine gives natively, else 1."""
    emulator = shutil.which("qemu-x86_64")
    if emulator is None or platform.machine() != "x86_64":
        print("emulated CPUs are left out: no qemu-x86_64 here, or no x86-64 machine")
        return 0
    wrong = False
    for cpu, engine in CPUS.items():
        found = outcome([emulator, "-cpu", cpu])
        expected = outcome([], FASTNN_ENGINE=engine)
        right = found == expected and found.startswith(f"{engine} on 2 threads: ")
        print(f"{cpu}: {found}{'' if right else f'; expected {expected}'}", flush=True)
        wrong |= not right
    return int(wrong)


if __name__ == "__main__":
    sys.exit(main())
