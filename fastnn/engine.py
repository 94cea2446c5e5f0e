"""The only chooser: which engine runs, and on how many threads."""

from __future__ import annotations

import functools
import importlib
import math
import os
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from ._errors import count, shown, unknown

if TYPE_CHECKING:
    from .program import Program

COMPILED = ("avx512", "avx2", "baseline")  # best first
NAMES = (*COMPILED, "reference")

ENOUGH = 16  # threads that one may ask for on any machine
DIGITS = 20  # of a number of threads: so many are too many

Array = NDArray[Any]
Targets = Array | tuple[Array, NDArray[np.float64]]  # of rows, and their weights (n,) if any


class Engine(Protocol):
    """The calls that every engine, a module, offers; reference.py says what each does."""

    NAME: str  # compiled ones run programs of one dtype

    def forward(self, program: Program, x: Array, out: Array, threads: int) -> bool: ...

    def activations(self, program: Program, x: Array, outs: list[Array], threads: int) -> None: ...

    def evaluate(
        self, program: Program, x: Array, y: Targets, threads: int
    ) -> tuple[float, float]: ...

    def outputs(
        self, program: Program, x: Array, out: Array, threads: int, first_row: int | None = None
    ) -> None: ...

    def backward(
        self,
        program: Program,
        x: Array,
        d_output: Array,
        gradients: Array,
        d_input: Array | None,
        threads: int,
        first_row: int | None = None,
    ) -> None: ...

    def gradients(
        self,
        program: Program,
        x: Array,
        y: Targets,
        gradients: Array,
        threads: int,
        first_row: int | None = None,
    ) -> tuple[float, float]: ...

    def apply_gradients(
        self,
        program: Program,
        gradients: Array,
        coefficients: NDArray[np.float64],
        threads: int,
        without_penalty: bool = False,
    ) -> float: ...

    def train(
        self,
        program: Program,
        x: Array,
        rows: NDArray[np.int32],
        y: Targets,
        batch_size: int,
        coefficients: NDArray[np.float64],
        threads: int,
    ) -> tuple[float, float]: ...

    def rest(self, program: Program) -> None: ...

    def multiply_sparse(
        self,
        numbers: Array,
        columns: NDArray[np.int32],
        starts: NDArray[np.int64],
        weights: Array,
        out: Array,
        threads: int,
    ) -> None: ...

    def within(self, x: Array, limit: float, threads: int) -> bool: ...

    def shuffle(self, order: NDArray[np.int32], words: NDArray[np.uint32]) -> None: ...

    def build_info(self) -> dict[str, object]: ...


@functools.cache
def instruction_sets() -> dict[str, bool]:
    """The compiled engines that were built, and whether this CPU, and its system, runs each."""
    try:
        from ._cpu import instruction_sets as found
    except ModuleNotFoundError as error:
        if error.name != "fastnn._cpu":
            raise
        return {}
    return found()


@functools.cache
def load(name: str, dtype: str = "float32") -> Engine | None:
    """The engine of this name and dtype, or None where it is not built or the CPU cannot run it.

    The CPU is asked first: an engine's own start is compiled with its instructions.
    """
    if name == "reference":
        from . import reference

        return reference
    if not instruction_sets().get(name):
        return None
    return cast(Engine, importlib.import_module(f"fastnn._core_{name}_{dtype}"))


def available() -> tuple[str, ...]:
    """The engines that run here, best first; "reference" is last."""
    return tuple(name for name in NAMES if load(name) is not None)


def get(name: str = "auto", dtype: str = "float32") -> Engine:
    """The engine of this name for networks of this dtype.

    "auto" is FASTNN_ENGINE if that is set, else the best compiled one.

    Raises ValueError for an unknown name or one that cannot run here, ImportError if "auto" finds
    no compiled engine.
    """
    if name == "auto":
        name = os.environ.get("FASTNN_ENGINE") or "auto"
    if name == "auto":
        name = next((compiled for compiled in COMPILED if load(compiled)), "auto")
    if name == "auto":
        raise ImportError(
            "fastnn's compiled engine is not built here: run `python -m pip install .` in the "
            "source tree, or set FASTNN_ENGINE=reference for the slow one"
        )
    if name not in NAMES:
        raise unknown("engine", name, ("auto", *NAMES))
    engine = load(name, dtype)
    if engine is None:
        raise ValueError(
            f"expected an engine that runs here ({', '.join(available())}), got {shown(name)}"
        )
    return engine


def cgroup_quota() -> float:
    """How many CPUs the control group, or one above it, may use; infinity where none is limited."""
    quota = math.inf
    for line in read("/proc/self/cgroup").splitlines():
        _, controllers, group = line.split(":", 2)
        parts = group.strip("/").split("/")
        for depth in range(len(parts) + 1):
            folder = "/".join(parts[:depth])
            limit: list[str] = []
            if controllers == "":  # version 2
                limit = read(f"/sys/fs/cgroup/{folder}/cpu.max").split()
            elif "cpu" in controllers.split(","):
                base = f"/sys/fs/cgroup/cpu/{folder}/cpu.cfs"
                limit = [read(f"{base}_quota_us").strip(), read(f"{base}_period_us").strip()]
            if len(limit) == 2 and limit[0].isdigit():  # "max" and -1 are no limit
                quota = min(quota, int(limit[0]) / int(limit[1]))
    return quota


def read(path: str) -> str:
    """The text of a file of the kernel, empty where there is none."""
    try:
        with open(path) as file:
            return file.read()
    except OSError:
        return ""


def cpus() -> int:
    """How many CPUs the process may run on, as far as the system says."""
    affine = hasattr(os, "sched_getaffinity")  # Linux
    return len(os.sched_getaffinity(0)) if affine else os.cpu_count() or 1


def cores() -> int:
    """How many cores those CPUs are: hyperthreads share one, and its multipliers."""
    if not hasattr(os, "sched_getaffinity"):
        return cpus()
    topology = "/sys/devices/system/cpu/cpu{}/topology/thread_siblings_list"
    allowed = os.sched_getaffinity(0)
    return len({read(topology.format(cpu)).strip() or str(cpu) for cpu in allowed})


def openmp_num_threads() -> float:
    """The first number of OMP_NUM_THREADS; infinity if there is none, as OpenMP has it."""
    first = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    number = int(first) if first.isdecimal() and len(first) < DIGITS else 0
    return number or math.inf


def default_num_threads() -> int:
    """FASTNN_NUM_THREADS if that is set, else as many cores as affinity and cgroup quota allow.

    But not more than OMP_NUM_THREADS, by which others share the CPUs out: joblib sets it to 1 in
    its workers.
    """
    wanted = os.environ.get("FASTNN_NUM_THREADS")
    if wanted:
        if not wanted.isdecimal() or len(wanted) >= DIGITS:
            found = shown(wanted)
            raise ValueError(f"expected a whole number in FASTNN_NUM_THREADS, got {found}")
        return useful("FASTNN_NUM_THREADS", int(wanted))
    return int(max(1, min(cores(), math.ceil(min(cgroup_quota(), cores())), openmp_num_threads())))


def useful(name: str, num_threads: int) -> int:
    """So many threads, but no more than can be of use: the CPUs, or 16 where there are fewer.

    16, so that everyone can see that results do not depend on it. Raises ValueError below 1.
    """
    return min(count(name, num_threads), max(cpus(), ENOUGH))


_num_threads: int | None = None


def get_num_threads() -> int:
    """How many threads networks use that were made with num_threads=None."""
    global _num_threads
    if _num_threads is None:
        _num_threads = default_num_threads()
    return _num_threads


def set_num_threads(num_threads: int) -> None:
    """Use this many threads from now on; results do not depend on it. Raises ValueError below 1.

    More than there are CPUs, and more than 16, are not used.
    """
    global _num_threads
    _num_threads = useful("num_threads", num_threads)


def config() -> dict[str, str]:
    """What runs here: the version, the engine and how it was built, the threads."""
    import platform

    from . import __version__

    rows = {
        "fastnn": __version__,
        "engines": ", ".join(available()),
        "threads": str(get_num_threads()),
    }
    try:
        engine = get()
    except ImportError as error:
        rows["engine"] = f"none ({error})"
    else:
        rows["engine"] = engine.NAME
        rows.update((key, str(value)) for key, value in engine.build_info().items())
    rows["python"] = platform.python_version()
    rows["numpy"] = np.__version__
    rows["machine"] = f"{platform.system()} {platform.machine()}"
    return rows


def show_config() -> None:
    """Print which engine runs, how it was built, and the threads that it uses."""
    rows = config()
    width = max(map(len, rows))
    for key, value in rows.items():
        print(f"{key:{width}}  {value}")
