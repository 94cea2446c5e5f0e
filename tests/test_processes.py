"""Forks, threads and signals, each in a process of its own that has a deadline."""

import os
import signal
import subprocess
import sys

import numpy as np
import pytest

from fastnn import engine

DEADLINE = 60  # seconds; each takes a few

# What every script starts with. `work` trains and predicts with enough arithmetic that two threads
# are worth it, and gives every bit of the result.
START = """
import faulthandler
faulthandler.dump_traceback_later(50, exit=True)  # a hang says where
import hashlib, multiprocessing, os, signal, sys, threading, time
import numpy as np
import fastnn

random = np.random.default_rng(0)
x, y = random.random((512, 100), np.float32), random.integers(0, 10, 512)

def make(num_threads=2, seed=0):
    return fastnn.mlp([100, 256, 128, 10], hidden="tanh", num_threads=num_threads, seed=seed)

def train(net):
    net.fit(x, y, epochs=2, batch_size=128, verbose=0)
    return net

def bits(net):
    figures = repr(net.evaluate(x, y)).encode()
    predicted = net.predict(x).tobytes() + net.predict(x[:1]).tobytes()
    arenas = net.program.parameters.tobytes() + net.program.state.tobytes()
    return hashlib.sha256(figures + predicted + arenas).hexdigest()

def work(seed=0, num_threads=2):
    return bits(train(make(num_threads, seed)))

def check_threads():
    # helpers are there, so that what follows is a test of them
    assert not os.path.exists("/proc/self/task") or len(os.listdir("/proc/self/task")) > 1

def child(run):
    # fork, and leave the child with 0 if it gives what is expected
    pid = os.fork()
    if pid == 0:
        signal.alarm(30)  # kills a child that hangs (faulthandler's watchdog is not inherited)
        try:
            os._exit(0 if run() == expected else 3)
        except BaseException:
            faulthandler.dump_traceback()
            os._exit(4)
    return pid

def ended(pid):
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert code == 0, code
"""


def run(path, script, timeout=DEADLINE, **environment):
    """The output of a script in a new session, all of which is killed at the deadline."""
    file = path / "script.py"
    file.write_text(START + script)
    variables = {
        **os.environ,
        "OPENBLAS_NUM_THREADS": "1",  # NumPy's threads are no matter of ours
        "PYTHONPATH": os.pathsep.join(sys.path),
        **environment,
    }
    process = subprocess.Popen(
        [sys.executable, str(file)], env=variables, text=True, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        out, err = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        out, err = process.communicate()
        pytest.fail(f"no end after {timeout} s:\n{out}\n{err}")
    assert process.returncode == 0, f"exit code {process.returncode}:\n{out}\n{err}"
    return out.split()


# Forks.


def test_fifty_forks_after_training(tmp_path):
    script = """
net = train(make())
expected = bits(net)
check_threads()
for number in range(50):
    pid = child(lambda: bits(net) if number % 2 else work())
    assert (bits(net) if number % 3 else work()) == expected  # the parent does not wait
    ended(pid)
"""
    run(tmp_path, script)


@pytest.mark.parametrize("library", ["CDLL", "PyDLL"])  # without and with the GIL
def test_forks_of_the_c_library(tmp_path, library):
    """Python's hooks do not hear of them; helpers must not be missed in the child."""
    script = f"""
import ctypes
net = train(make())
expected = work()
libc = ctypes.{library}(None)
for _ in range(10):
    work()
    check_threads()
    pid = libc.fork()
    if pid == 0:
        signal.alarm(30)
        os._exit(0 if work() == expected else 3)
    ended(pid)
assert work() == expected
"""
    run(tmp_path, script)


def test_threads_that_the_system_does_not_make(tmp_path):
    """Fewer threads give the same bits, and a warning."""
    if not os.path.exists("/proc/self/statm"):
        return
    script = """
import resource, warnings
rows = np.tile(x, (50, 1))
predicted, expected = make(1).predict(rows).tobytes(), work(num_threads=2)
with open("/proc/self/statm") as file:
    size = int(file.read().split()[0]) * os.sysconf("SC_PAGESIZE")
limits = resource.getrlimit(resource.RLIMIT_AS)
resource.setrlimit(resource.RLIMIT_AS, (size + (12 << 20), limits[1]))
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    for _ in range(3):
        assert make(64).predict(rows).tobytes() == predicted
    assert work(num_threads=64) == expected
resource.setrlimit(resource.RLIMIT_AS, limits)
assert work() == expected
assert caught
for warning in caught:
    assert "threads, the system gave" in str(warning.message), warning.message
print("fewer")
"""
    assert run(tmp_path, script) == ["fewer"]


def test_a_child_forks_as_well(tmp_path):
    script = """
net = train(make())
expected = bits(net)

def grandchild():
    before = work()
    ended(child(work))
    return before if before == work(num_threads=3) else "different"

for _ in range(10):
    ended(child(grandchild))
"""
    run(tmp_path, script)


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_multiprocessing(tmp_path, method):
    script = f"""
if __name__ == "__main__":
    expected = [work(seed) for seed in range(6)]
    for _ in range(3 if "{method}" == "fork" else 1):
        with multiprocessing.get_context("{method}").Pool(2) as pool:
            assert pool.map(work, range(6), chunksize=1) == expected
        assert work(5) == expected[5]
"""
    run(tmp_path, script)


def test_a_network_goes_to_another_process(tmp_path):
    script = """
if __name__ == "__main__":
    net = train(make())
    for method in ("fork", "spawn"):
        with multiprocessing.get_context(method).Pool(1) as pool:
            assert pool.apply(bits, [net]) == bits(net)
            twin = pool.apply(train, [net])
        assert bits(twin) == bits(train(pickled := __import__("copy").deepcopy(net)))
"""
    run(tmp_path, script)


def test_a_second_thread_forks(tmp_path):
    script = """
net = train(make())
expected = bits(net)
failures = []

def second():
    try:
        for number in range(10):
            if number % 2:
                assert work() == expected  # this thread has helpers of its own
            ended(child(work))
    except BaseException as error:
        failures.append(error)

thread = threading.Thread(target=second)
thread.start()
thread.join()
assert not failures, failures
assert work() == expected
"""
    run(tmp_path, script)


def test_forks_while_another_thread_trains(tmp_path):
    script = """
net = train(make())
expected, done, results = bits(net), threading.Event(), []

def second():
    while not done.is_set():
        results.append(work(num_threads=3))

thread = threading.Thread(target=second)
thread.start()
try:
    for number in range(20):
        ended(child(work))
        assert work() == expected
finally:
    done.set()
    thread.join()
assert set(results) == {expected}
"""
    run(tmp_path, script)


# Threads.


def test_sixteen_threads_predict_with_one_network(tmp_path):
    script = """
from concurrent.futures import ThreadPoolExecutor
net = train(make())
rows = random.random((16, 3000, 100), np.float32)
parts = [part[:length] for part in rows for length in (1, 2, 33, 500, 3000)]
expected = [net.predict(part).tobytes() for part in parts]
activations = [h.tobytes() for h in net.activations(rows[0])]
with ThreadPoolExecutor(16) as pool:
    for _ in range(3):
        found = pool.map(lambda part: net.predict(part).tobytes(), parts, timeout=40)
        hidden = [pool.submit(net.activations, rows[0]) for _ in range(2)]
        assert list(found) == expected
        for result in hidden:
            assert [h.tobytes() for h in result.result(timeout=40)] == activations
"""
    run(tmp_path, script)


def test_four_threads_train_four_networks(tmp_path):
    script = """
from concurrent.futures import ThreadPoolExecutor
alone = [work(seed) for seed in range(4)]
with ThreadPoolExecutor(4) as pool:
    for num_threads in (1, 2, 4):
        assert list(pool.map(work, range(4), [num_threads] * 4, timeout=40)) == alone
"""
    run(tmp_path, script)


def test_saves_beside_a_fit_can_be_loaded(tmp_path):
    """The weights change under the saver's hands; a file must be one copy of them."""
    script = f"""
path = {str(tmp_path / "net.fastnn")!r}
net, done = make(), threading.Event()
stop = [lambda *arguments: done.is_set()]

def second():
    for optimizer in ("sgd", "adam", "sgd"):
        done.clear()
        net.fit(x, y, epochs=10**6, optimizer=optimizer, callbacks=stop, verbose=0)

thread = threading.Thread(target=second, daemon=True)
thread.start()
for _ in range(3):
    for number in range(20):
        net.save(path, optimizer=number % 2 > 0)
        found = fastnn.load(path)
        assert np.isfinite(found.predict(x)).all()
    done.set()
    time.sleep(0.1)
done.set()
"""
    run(tmp_path, script)


def test_the_process_ends_while_a_daemon_thread_trains(tmp_path):
    script = """
started = threading.Event()
def forever():
    while True:
        work()
        started.set()
threading.Thread(target=forever, daemon=True).start()
started.wait()
time.sleep(0.05)
print("end")
"""
    for _ in range(3):
        assert run(tmp_path, script) == ["end"]


def test_more_callers_than_helpers(tmp_path):
    """Each caller takes what helpers are idle, and none is kept waiting by another's."""
    script = """
from concurrent.futures import ThreadPoolExecutor
alone = [work(seed, 1) for seed in range(8)]
core = make()._engine
with ThreadPoolExecutor(8) as pool:
    for patience in (True, False):
        core.team_mode(patience, patience)
        assert list(pool.map(work, range(8), [3] * 8, timeout=40)) == alone
"""
    run(tmp_path, script)


def test_idle_helpers_sleep(tmp_path):
    """After a call they spin for microseconds, not for a time slice."""
    script = """
net, rows = make(), np.tile(x, (20, 1))
net.predict(rows)
spent = []
for _ in range(20):
    time.sleep(0.02)
    before = time.process_time()
    net.predict(rows)
    after = time.process_time()
    time.sleep(0.02)
    spent.append(time.process_time() - after)
print(min(spent) < 1e-3)
"""
    assert run(tmp_path, script) == ["True"]


NEIGHBOUR = """
def helper():
    for task in map(int, os.listdir("/proc/self/task")):
        with open(f"/proc/self/task/{task}/comm") as file:
            if file.read().strip() == "fastnn" and task != os.getpid():
                return task

def spin():
    pid, parent = os.fork(), os.getpid()
    if pid == 0:                    # ends with its parent
        os.sched_setaffinity(0, {there})
        while os.getppid() == parent:
            pass
        os._exit(0)
    return pid

here, there = min(os.sched_getaffinity(0)), max(os.sched_getaffinity(0))
"""


def test_calls_end_beside_a_neighbour_that_has_the_helpers_core(tmp_path):
    """The system lets the helper run last of all; it is asked again when the neighbour is gone."""
    if not hasattr(os, "SCHED_IDLE"):
        return
    script = f"""{NEIGHBOUR}
rows = np.tile(x, (10, 1))
net, alone = make(2), make(1)
core, expected = net._engine, [alone.predict(rows).tobytes(), work(0, 1)]

def until_two():                    # calls till two threads take part
    while core.threads_of_latest() != 2:
        assert net.predict(rows).tobytes() == expected[0]
        time.sleep(0.001)

until_two()
task = helper()
os.sched_setaffinity(0, {{here}})
os.sched_setaffinity(task, {{there}})
os.sched_setscheduler(task, os.SCHED_IDLE, os.sched_param(0))
pid = spin()
for _ in range(30):
    assert net.predict(rows).tobytes() == expected[0]
assert work(0, 2) == expected[1]
os.kill(pid, signal.SIGKILL)
os.waitpid(pid, 0)
os.sched_setscheduler(task, os.SCHED_OTHER, os.sched_param(0))
until_two()
"""
    run(tmp_path, script)


def test_a_helper_on_the_callers_cpu_is_sent_away(tmp_path):
    """There it would wait for the caller to rest, and count as late though other CPUs are idle."""
    if not hasattr(os, "SCHED_IDLE") or len(os.sched_getaffinity(0)) < 2:
        return
    script = f"""{NEIGHBOUR}
rows = np.tile(x, (10, 1))
net, both = make(2), {{here, there}}
os.sched_setaffinity(0, both)
net.predict(rows)
task = helper()
os.sched_setaffinity(task, {{there}})
os.sched_setscheduler(task, os.SCHED_IDLE, os.sched_param(0))
for _ in range(4):
    os.sched_setaffinity(0, {{here}})
    net.predict(rows)
    time.sleep(0.01)                # it sleeps there, we come to it, wake it, and do not let it run
    os.sched_setaffinity(0, {{there}})
    net.predict(rows)
    os.sched_setaffinity(0, both)   # which moves nobody
    net.predict(rows)
    if os.sched_getaffinity(task) == {{here}}:
        break
print(os.sched_getaffinity(task) == {{here}})
"""
    assert run(tmp_path, script) == ["True"]


def rests(*waits, work=1.0):
    """Milliseconds of rest after these waits (ms), with so many ms of work before each."""
    core = engine.get()
    times = 1000 + np.cumsum(np.array(waits) + work)
    # a first event, of no account, so that the work before the second one counts
    times = np.concatenate([[10**9], np.round(times * 1e6).astype(np.int64)])
    waits = np.concatenate([[0], np.round(np.array(waits) * 1e6).astype(np.int64)])
    return core.rest_of_helper(times, waits) / 1e6


@pytest.mark.parametrize(
    ("waits", "work", "least"),
    [
        ([5.0], 1.0, 0),  # once may be chance
        ([5.0, 0.01], 1.0, 0),
        ([0.01] * 500, 0.1, 0),  # a tenth of the time: what two threads are worth
        ([0.0] * 100, 1.0, 0),
        ([4.0, 4.0], 4.0, 32),  # two time slices
        ([300.0, 300.0], 0.1, 999),  # the most
        ([0.1] * 22, 0.012, 8),  # small waits, but most of the time
    ],
)
def test_a_helper_that_is_waited_for_rests(waits, work, least):
    found = rests(*waits, work=work)
    assert found >= least if least else found == 0


def test_a_helper_rests_longer_each_time_and_then_not():
    """Two slices lost, a rest; twice as long after two more; after some good time as at first."""
    slices = [4.0, 4.0]
    assert rests(*slices, *slices, work=4.0) >= 2 * rests(*slices, work=4.0)
    good = [0.0] * 20
    assert rests(*slices, *good, *slices, work=4.0) < 2 * rests(*slices, work=4.0)


def test_the_same_bits_beside_a_busy_neighbour(tmp_path):
    script = f"""{NEIGHBOUR}
expected = [work(seed, 1) for seed in range(4)]
pid = spin() if hasattr(os, "sched_setaffinity") else None
try:
    for threads in (2, 3, 16):
        assert [work(seed, threads) for seed in range(4)] == expected
finally:
    if pid:
        os.kill(pid, signal.SIGKILL)
"""
    run(tmp_path, script)


def test_signals_are_the_callers(tmp_path):
    """A helper that took a signal would leave Python's own thread asleep."""
    script = """
train(make(3))
tasks = os.listdir("/proc/self/task") if os.path.exists("/proc/self/task") else []
blocked = []
for task in tasks:
    with open(f"/proc/self/task/{task}/status") as file:
        lines = dict(line.split(":", 1) for line in file)
    if int(task) != os.getpid() and lines["Name"].strip() == "fastnn":
        blocked.append(int(lines["SigBlk"], 16) >> signal.SIGINT - 1 & 1)
assert not tasks or (len(blocked) == 2 and all(blocked)), blocked
"""
    run(tmp_path, script)


# More threads than cores.


def test_many_more_threads_than_cores(tmp_path):
    script = """
from fastnn import engine
expected, big = work(0, 1), np.ones((20_000, 100), np.float32)
labels = np.zeros(len(big), int)
for num_threads in (16, 1000):
    net = make(num_threads)
    net.fit(x, y, epochs=2, batch_size=128, verbose=0)
    assert bits(net) == expected
    net.fit(x, y, epochs=1, batch_size=2, verbose=0)  # most threads have no row
    assert np.isfinite(net.program.parameters).all()
    net.evaluate(big, labels)
if os.path.isdir("/proc/self/task"):
    assert len(os.listdir("/proc/self/task")) <= max(16, engine.cpus()) + 1
"""
    run(tmp_path, script)


# Environment variables.


@pytest.mark.parametrize("name", engine.available())
def test_the_engine_of_the_environment(tmp_path, name):
    script = "net = make(); print(net.engine, fastnn.mlp([2, 2], engine='reference').engine)"
    assert run(tmp_path, script, FASTNN_ENGINE=name) == [name, "reference"]


def test_the_threads_of_the_environment(tmp_path):
    script = """
class Spy:
    def __getattr__(self, name):
        def call(*arguments):
            asked.add(arguments[-1])
            return getattr(core, name)(*arguments)
        return call if name in ("forward", "evaluate", "train") else getattr(core, name)

asked, net = set(), make(num_threads=None)
core, net._engine = net._engine, Spy()
bits(train(net))
print(fastnn.get_num_threads(), *asked)
fastnn.set_num_threads(2)
asked.clear()
bits(train(net))
print(fastnn.get_num_threads(), *asked)
"""
    assert run(tmp_path, script, FASTNN_NUM_THREADS="3") == ["3", "3", "2", "2"]


# Ctrl-C.


def test_interrupts_leave_a_network_that_works(tmp_path):
    """Ctrl-C at any moment of a fit on two threads: weights are finite, and all goes on."""
    script = """
big = random.random((20_000, 100), np.float32)
labels = random.integers(0, 10, len(big))
wide = fastnn.mlp([100, 1000, 1000, 10], num_threads=2)
for net in (make(), wide):
    for delay in (0.0, 0.02, 0.1, 0.3):
        timer = threading.Timer(delay, os.kill, (os.getpid(), signal.SIGINT))
        try:
            timer.start()
            net.fit(big, labels, epochs=10**6, batch_size=100, verbose=0)
        except KeyboardInterrupt:
            pass
        timer.join()
        assert np.isfinite(net.program.parameters).all()
        assert np.isfinite(net.program.state).all()
        fresh = fastnn.mlp([layer.weights.shape[0] for layer in net.layers] + [10],
                           hidden=net.layers[0].activation, num_threads=1)
        fresh.program.parameters[:] = net.program.parameters
        assert fresh.predict(x).tobytes() == net.predict(x).tobytes()
    before = net.evaluate(x, y)["loss"]
    net.fit(x, y, epochs=20, batch_size=128, verbose=0)
    assert net.evaluate(x, y)["loss"] < before
"""
    run(tmp_path, script)


def test_an_interrupted_process_ends(tmp_path):
    """The signal comes from outside, as from a terminal, and nobody catches the exception."""
    script = """
print("training", flush=True)
make().fit(x, y, epochs=10**6, verbose=0)
"""
    file = tmp_path / "script.py"
    file.write_text(START + script)
    variables = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen(
        [sys.executable, str(file)], env=variables, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        assert process.stdout.readline() == "training\n"
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=DEADLINE)
    finally:
        process.kill()
    assert process.returncode == -signal.SIGINT
    assert err.rstrip().endswith("KeyboardInterrupt")
