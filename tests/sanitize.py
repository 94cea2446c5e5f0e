"""Runs the engine's tests on an engine that GCC's sanitizers watch: `python tests/sanitize.py`.

Without an argument it is AddressSanitizer and UndefinedBehaviorSanitizer (reads and writes beyond
an array, shifts and casts that C leaves open), with `thread` ThreadSanitizer (threads that race;
eight minutes). What follows is for pytest: `python tests/sanitize.py address tests/test_bits.py`
runs those as well, some minutes longer. Needs the build's packages.
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
    "address": ["test_engines.py", "test_numerics.py", "test_ops.py", "test_subnormals.py"],
    "thread": ["test_bits.py"],
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
    """Puts the package into the folder, with one engine that has FMA, if there is one, watched."""
    recipe = runpy.run_path(str(ROOT / "setup.py"), run_name="recipe")
    sets, contract = recipe["INSTRUCTION_SETS"], recipe["CONTRACT"]
    for other in set(sets) - {"avx2" if "avx2" in sets else "baseline"}:
        del sets[other]
    contract[:] = [{"-O3": "-O1", "-g0": "-g1"}.get(flag, flag) for flag in contract]
    contract.extend(FLAGS[kind])
    os.environ["LDFLAGS"] = FLAGS[kind][0]
    ignored = shutil.ignore_patterns("*.so", "__pycache__")
    shutil.copytree(ROOT / "fastnn", folder / "fastnn", ignore=ignored)
    where = ["--build-lib", str(folder), "--build-temp", str(folder / "build")]
    recipe["build"](["-q", "build_ext", *where], folder / "c")


def main(kind: str = "address", *arguments: str) -> int:
    """The exit code of pytest: not 0 where a sanitizer complained."""
    os.chdir(ROOT)
    with tempfile.TemporaryDirectory() as name:
        build(kind, Path(name))
        runtimes = [
            subprocess.check_output(["gcc", f"-print-file-name={file}"], text=True).strip()
            for file in RUNTIMES[kind]
        ]
        environment = {**os.environ, **OPTIONS, "PYTHONPATH": name}
        environment["LD_PRELOAD"] = " ".join(runtimes)
        tests = [str(ROOT / "tests" / file) for file in TESTS[kind]]
        command = [sys.executable, "-P", "-m", "pytest", "-q", "-p", "no:cacheprovider"]
        command.append("--capture=sys")  # a sanitizer writes past pytest, and then ends it
        run = subprocess.run([*command, *tests, *arguments], cwd=ROOT, env=environment, check=False)
        return run.returncode


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
