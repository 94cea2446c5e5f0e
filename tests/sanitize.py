"""Runs the engine's tests on an engine that GCC's sanitizers watch: `python tests/sanitize.py`.

Without an argument it is AddressSanitizer and UndefinedBehaviorSanitizer (reads and writes beyond an
array, shifts and casts that C leaves open), with `thread` ThreadSanitizer (threads that race). What
follows is for pytest: `python tests/sanitize.py address -k products`.
"""

import os
import runpy
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TESTS = {
    "address": ["tests/test_engines.py", "tests/test_bits.py", "tests/test_numerics.py"],
    "thread": ["tests/test_bits.py"],
}
# -fno-wrapv: what overflows is reported, though Python's own flags define it.
FLAGS = {
    "address": ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined", "-fno-wrapv"],
    "thread": ["-fsanitize=thread"],
}
RUNTIMES = {"address": ["libasan.so", "libubsan.so"], "thread": ["libtsan.so"]}
OPTIONS = {
    "ASAN_OPTIONS": "detect_leaks=0",  # Python frees little at its end
    "UBSAN_OPTIONS": "print_stacktrace=1",
    "TSAN_OPTIONS": "ignore_noninstrumented_modules=1 exitcode=66",
    "PYTHONMALLOC": "malloc",  # each array's end is watched
    "OPENBLAS_NUM_THREADS": "1",
}


def build(kind: str, folder: Path) -> None:
    """Puts the package into the folder, with the best engine of this machine that has FMA, watched."""
    recipe = runpy.run_path(str(ROOT / "setup.py"), run_name="recipe")
    sets = recipe["INSTRUCTION_SETS"]
    name = "avx2" if "avx2" in sets else "baseline"
    for other in set(sets) - {name}:
        del sets[other]
    recipe["CONTRACT"][recipe["CONTRACT"].index("-O3")] = "-O1"
    recipe["CONTRACT"][recipe["CONTRACT"].index("-g0")] = "-g1"
    recipe["CONTRACT"].extend(FLAGS[kind])
    os.environ["LDFLAGS"] = FLAGS[kind][0]
    shutil.copytree(ROOT / "fastnn", folder / "fastnn", ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    recipe["build"](["build_ext", "--build-lib", str(folder), "--build-temp", str(folder / "build")], folder / "c")


def main(kind: str = "address", *arguments: str) -> int:
    """The exit code of pytest; 1 too where a sanitizer complained."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        build(kind, folder)
        runtimes = [
            subprocess.check_output(["gcc", f"-print-file-name={file}"], text=True).strip()
            for file in RUNTIMES[kind]
        ]
        environment = {**os.environ, **OPTIONS, "PYTHONPATH": name, "LD_PRELOAD": " ".join(runtimes)}
        command = [sys.executable, "-P", "-m", "pytest", "-q", "-p", "no:cacheprovider", *TESTS[kind], *arguments]
        return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
