"""The chooser of engines and threads."""

import math
import os
import pickle
import platform
import subprocess
import sys

import numpy as np
import pytest

import fastnn
from fastnn import engine


def test_available_ends_with_the_reference():
    names = engine.available()
    assert names[-1] == "reference"
    assert list(names) == [name for name in engine.NAMES if name in names]


def only_the_reference(name, dtype="float32"):
    """`engine.load` where nothing is compiled."""
    return "REFERENCE" if name == "reference" else None


def test_a_dtype_has_an_engine_of_its_own(engine_name):
    engines = {engine.get(engine_name, dtype) for dtype in ("float32", "float64")}
    assert len(engines) == (1 if engine_name == "reference" else 2)


def test_get_by_name(engine_name):
    module = engine.get(engine_name)
    assert module is engine.get(engine_name)
    assert engine_name == module.NAME
    assert fastnn.mlp([2, 2], engine=engine_name).engine == engine_name


def test_auto_follows_the_environment(monkeypatch):
    monkeypatch.setenv("FASTNN_ENGINE", "reference")
    assert engine.get().NAME == "reference"
    monkeypatch.setenv("FASTNN_ENGINE", "refrence")
    with pytest.raises(ValueError, match=r"^unknown engine 'refrence'; did you mean 'reference'\?"):
        engine.get()


def test_auto_takes_the_best_compiled_engine(monkeypatch):
    monkeypatch.delenv("FASTNN_ENGINE", raising=False)
    built = {"avx2": "AVX2", "baseline": "BASE"}
    monkeypatch.setattr(engine, "load", lambda name, dtype="float32": built.get(name))
    assert engine.get() == "AVX2"


def test_without_a_compiled_engine_auto_says_how_to_build_one(monkeypatch):
    monkeypatch.delenv("FASTNN_ENGINE", raising=False)
    monkeypatch.setattr(engine, "load", only_the_reference)
    with pytest.raises(ImportError, match=r"not built here: run `python -m pip install \.`"):
        engine.get()
    assert engine.get("reference") == "REFERENCE"


def test_an_engine_that_cannot_run_here(monkeypatch):
    monkeypatch.setattr(engine, "load", only_the_reference)
    with pytest.raises(ValueError, match=r"runs here \(reference\), got 'avx512'$"):
        engine.get("avx512")


def test_no_engine_is_loaded_before_the_cpu_is_asked():
    """An engine's own start has its instructions: importing it would end the process."""
    code = """
import sys, types
fake = types.ModuleType("fastnn._cpu")
fake.instruction_sets = lambda: {"avx512": False, "avx2": False, "baseline": True}
sys.modules["fastnn._cpu"] = fake
import fastnn
net = fastnn.mlp([2, 2])
assert net.engine == "baseline", net.engine
fastnn.show_config()
loaded = [name for name in sys.modules if name.startswith("fastnn._core_")]
assert loaded == ["fastnn._core_baseline_float32"], loaded
"""
    environment = {key: value for key, value in os.environ.items() if key != "FASTNN_ENGINE"}
    run = subprocess.run(
        [sys.executable, "-P", "-c", code],
        env={**environment, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr


def test_the_cpu_is_asked_for_every_engine_that_was_built():
    here = platform.machine().lower() in ("x86_64", "amd64")
    built = engine.COMPILED if here else ("baseline",)
    assert tuple(engine.instruction_sets()) == built  # setup.py's table, best first
    for name, runs in engine.instruction_sets().items():
        assert (name in engine.available()) == runs


def test_unknown_engine_suggests_the_nearest():
    with pytest.raises(ValueError, match=r"^unknown engine 'avx511'; did you mean 'avx512'\?"):
        engine.get("avx511")


def test_set_num_threads():
    before = fastnn.get_num_threads()
    try:
        fastnn.set_num_threads(3)
        assert fastnn.get_num_threads() == 3
    finally:
        fastnn.set_num_threads(before)


@pytest.mark.parametrize("bad", [0, -1])
def test_zero_or_negative_threads(bad):
    with pytest.raises(ValueError, match=rf"^expected num_threads to be at least 1, got {bad}$"):
        fastnn.set_num_threads(bad)
    with pytest.raises(ValueError, match=rf"^expected num_threads to be at least 1, got {bad}$"):
        fastnn.mlp([2, 2], engine="reference", num_threads=bad)


def test_default_threads_follow_the_environment(monkeypatch):
    monkeypatch.setenv("FASTNN_NUM_THREADS", "5")
    assert engine.default_num_threads() == 5
    for bad in ("two", "-2", "1.5", "²", "9" * 30):
        monkeypatch.setenv("FASTNN_NUM_THREADS", bad)
        with pytest.raises(ValueError) as error:  # noqa: PT011 (compared in full below)
            engine.default_num_threads()
        found = f"expected a whole number in FASTNN_NUM_THREADS, got {bad!r}"
        assert str(error.value) == found


@pytest.mark.parametrize(
    ("setting", "threads"),
    [
        ("1", 1), ("3", 3), ("4,2", 4), (" 2 , 1", 2), ("9", 4),  # not more than there are CPUs
        ("", 4), ("0", 4), ("-1", 4), ("two", 4), (",2", 4), ("²", 4), ("9" * 30, 4),  # nonsense
    ],
)  # fmt: skip
def test_default_threads_follow_openmp(monkeypatch, setting, threads):
    monkeypatch.delenv("FASTNN_NUM_THREADS", raising=False)
    monkeypatch.setattr(engine, "cores", lambda: 4)
    monkeypatch.setattr(engine, "cgroup_quota", lambda: math.inf)
    monkeypatch.setenv("OMP_NUM_THREADS", setting)
    assert engine.default_num_threads() == threads
    monkeypatch.setenv("FASTNN_NUM_THREADS", "2")  # goes first
    assert engine.default_num_threads() == 2


@pytest.mark.parametrize(("cpus", "most"), [(1, 16), (2, 16), (24, 24)])
def test_no_more_threads_than_are_of_use(monkeypatch, cpus, most):
    monkeypatch.setattr(engine, "cpus", lambda: cpus)
    for wanted in (1, 16, most, most + 1, 1000, 2**62):
        used = min(wanted, most)
        net = fastnn.mlp([2, 2], engine="reference", num_threads=wanted)
        assert net.num_threads == used
        net.num_threads = 1
        net.num_threads = wanted
        assert net._threads() == used
        monkeypatch.setattr(engine, "_num_threads", None)
        fastnn.set_num_threads(wanted)
        assert fastnn.get_num_threads() == used
        monkeypatch.setenv("FASTNN_NUM_THREADS", str(wanted))
        assert engine.default_num_threads() == used
    assert pickle.loads(pickle.dumps(net)).num_threads == most
    monkeypatch.setattr(engine, "cpus", lambda: 16)  # another machine
    assert pickle.loads(pickle.dumps(net)).num_threads == 16


@pytest.mark.parametrize(("quota", "threads"), [(math.inf, 4), (1.5, 2), (0.2, 1), (9, 4)])
def test_default_threads_follow_affinity_and_quota(monkeypatch, quota, threads):
    monkeypatch.delenv("FASTNN_NUM_THREADS", raising=False)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 2, 5}, raising=False)
    monkeypatch.setattr(engine, "cgroup_quota", lambda: quota)
    monkeypatch.setattr(engine, "read", lambda path: "")  # nothing is known of hyperthreads
    assert engine.default_num_threads() == threads


@pytest.mark.parametrize(
    ("allowed", "threads"), [({0, 1, 2, 3}, 2), ({0, 2}, 1), ({0, 1}, 2), ({3}, 1), ({0, 2, 9}, 2)]
)
def test_hyperthreads_of_one_core_count_once(monkeypatch, allowed, threads):
    folder = "/sys/devices/system/cpu/cpu{}/topology/thread_siblings_list"
    siblings = {0: "0,2", 1: "1,3", 2: "0,2", 3: "1,3"}
    files = {folder.format(cpu): f"{text}\n" for cpu, text in siblings.items()}
    monkeypatch.delenv("FASTNN_NUM_THREADS", raising=False)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: allowed, raising=False)
    monkeypatch.setattr(engine, "read", lambda path: files.get(path, ""))
    assert engine.default_num_threads() == threads


@pytest.mark.parametrize(
    ("files", "quota"),
    [
        ({}, math.inf),
        ({"/proc/self/cgroup": "0::/\n", "/sys/fs/cgroup/cpu.max": "max 100000\n"}, math.inf),
        ({"/proc/self/cgroup": "0::/\n", "/sys/fs/cgroup/cpu.max": "150000 100000\n"}, 1.5),
        (
            {
                "/proc/self/cgroup": "0::/a/b\n",
                "/sys/fs/cgroup/a/cpu.max": "300000 100000\n",
                "/sys/fs/cgroup/a/b/cpu.max": "max 100000\n",
            },
            3.0,
        ),
        (
            {
                "/proc/self/cgroup": "5:memory:/x\n4:cpu,cpuacct:/x\n",
                "/sys/fs/cgroup/cpu/x/cpu.cfs_quota_us": "50000\n",
                "/sys/fs/cgroup/cpu/x/cpu.cfs_period_us": "100000\n",
                "/sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
                "/sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            },
            0.5,
        ),
    ],
)
def test_cgroup_quota(monkeypatch, files, quota):
    monkeypatch.setattr(engine, "read", lambda path: files.get(os.path.normpath(path), ""))
    assert engine.cgroup_quota() == quota


def test_show_config_names_version_engine_and_threads(capsys, monkeypatch, engine_name):
    monkeypatch.setenv("FASTNN_ENGINE", engine_name)
    fastnn.show_config()
    rows = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert rows["fastnn"] == fastnn.__version__
    assert rows["engine"] == engine_name
    assert rows["threads"] == str(fastnn.get_num_threads())


def test_import_is_light():
    code = """
import sys
import fastnn
assert [name for name in sys.modules if name.startswith(("fastnn", "numpy"))] == ["fastnn"]
import numpy
before = set(sys.modules)
assert fastnn.Network and fastnn.load and fastnn.mlp
new = set(sys.modules) - before
roots = {name.split(".")[0] for name in new}
print(sorted(roots - set(sys.stdlib_module_names)), "numpy.random" in new)
print(sorted(roots & {"json", "gzip", "urllib", "argparse", "tqdm", "email", "pathlib", "difflib"}))
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split("\n") == ["['fastnn', 'numpy'] False", "[]", ""]


def test_the_public_names_are_fetched_when_first_used():
    from fastnn import _public

    defined = {name for name in vars(_public) if not name.startswith("_")}
    defined -= {"annotations", "TYPE_CHECKING"}
    late = {name for name, module in fastnn.LATER.items() if module != "estimators"}
    assert set(fastnn.__all__) == defined | late | {"datasets"}
    assert not defined & late
    assert all(callable(getattr(fastnn, name)) for name in late)
    assert set(fastnn.__all__) <= set(dir(fastnn))
    assert all(getattr(fastnn, name) is getattr(_public, name) for name in defined)
    assert fastnn.losses.default  # modules, too


def test_datasets_are_imported_when_first_used():
    assert fastnn.datasets.load_digits
    with pytest.raises(AttributeError, match="has no attribute 'dataset'"):
        fastnn.dataset  # noqa: B018


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_within_finds_what_is_outside_wherever_it_is(engine_name, dtype):
    core = engine.get(engine_name)
    limit = float(np.finfo("float32").max)
    x = np.full((3, 37), limit, dtype)
    assert core.within(x, limit, 1)
    assert core.within(x[:, ::-2], limit, 2)
    for bad in (np.nan, np.inf, -np.inf):
        for place in ((0, 0), (1, 17), (2, 36)):
            y = x.copy()
            y[place] = bad
            assert not core.within(y, limit, 2)
            assert not core.within(y[::-1, ::-1], limit, 1)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_threads_that_look_overlook_nothing(engine_name, threads):
    """More numbers than a thread claims at once, in one piece and in rows that lie apart."""
    core, x = engine.get(engine_name), np.zeros((1301, 307))
    for rows in (x, np.zeros((1301, 614))[:, ::2], np.asfortranarray(x)):
        assert core.within(rows, 1.0, threads)
        for place in ((0, 0), (427, 100), (426, 306), (1300, 0), (1300, 306)):
            rows[place] = 2.0
            assert not core.within(rows, 1.0, threads)
            rows[place] = 0.0
