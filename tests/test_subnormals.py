"""Subnormal numbers: engines count them as zero, so that no training slows down.

A moment of a dead neuron shrinks by a tenth a step; left alone it would stay subnormal for ever.
Some CPUs take 100 times as long for such a number, others hide it: so they are counted, not timed.
"""

import ctypes
import itertools
import os
import platform
import subprocess
import sys

import numpy as np
import pytest

import fastnn
from fastnn import engine
from fastnn.optimizers import SGD, Adam

OPTIMIZERS = [
    SGD(0.1),
    SGD(0.1, momentum=0.5),
    SGD(0.1, momentum=0.5, nesterov=True),
    Adam(1e-3, beta_1=0.5, beta_2=0.6),
]


def subnormal(numbers):
    """How many of the numbers are subnormal."""
    return int(((numbers != 0) & (np.abs(numbers) < np.finfo(numbers.dtype).tiny)).sum())


def with_dead_neurons(dtype, name, optimizer, hidden="relu"):
    """A network after a fit in which neurons and inputs die half way: their gradients become 0."""
    random = np.random.default_rng(0)
    x, y = random.random((64, 12)).astype(dtype), random.integers(0, 3, 64)
    net = fastnn.mlp([12, 16, 3], hidden=hidden, dtype=dtype, engine=name, num_threads=2)

    def fit(epochs):
        net.fit(x, y, epochs=epochs, batch_size=16, optimizer=optimizer, verbose=0)

    fit(3)
    x[:, :4] = 0
    net.layers[0].biases[:8] = -1e4
    fit(400)
    return net, x


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_none_in_weights_and_state_after_neurons_died(engine_name, dtype, optimizer):
    net, x = with_dead_neurons(dtype, engine_name, optimizer)
    assert not net.layers[0].weights[:, :8].any() or not net.activations(x)[1][:, :8].any()
    assert subnormal(net.program.parameters) == 0
    assert subnormal(net.program.state) == 0
    if optimizer.slots:  # what would be subnormal got zero
        assert (net.program.state[0] == 0).mean() > 0.2


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("hidden", "output"), [("sigmoid", "softmax"), ("tanh", "sigmoid")])
def test_none_in_activations_and_gradients_of_saturated_units(engine_name, dtype, hidden, output):
    limit = np.log(float(np.finfo(dtype).tiny))  # e^limit is the smallest number that is normal
    net = fastnn.mlp([5, 40, 30], hidden=hidden, output=output, dtype=dtype, engine=engine_name)
    net.layers[0].biases[...] = np.linspace(limit - 20, limit + 2, 40)
    net.layers[1].biases[...] = np.linspace(limit - 20, 0, 30)
    x = np.random.default_rng(0).normal(size=(50, 5))
    h = net.activations(x)
    assert sum(map(subnormal, h)) == 0
    assert subnormal(net.predict(x)) == 0
    loss, gradients = net.gradients(x, np.eye(30)[np.arange(50) % 30])
    assert sum(subnormal(array) for pair in gradients for array in pair) == 0
    assert np.isfinite(loss)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("standardize", [False, True])
def test_none_from_inputs(engine_name, dtype, standardize):
    tiny = np.finfo(dtype).tiny
    net = fastnn.mlp([6, 8, 2], dtype=dtype, engine=engine_name, standardize=standardize)
    x = (np.random.default_rng(0).normal(size=(40, 6)) * tiny / 8).astype(dtype)
    net.fit(np.eye(6), np.arange(6) % 2, epochs=1, verbose=0)
    assert sum(map(subnormal, net.activations(x))) == 0
    if not standardize:
        assert not net.activations(x)[0].any()


def flush_in_caller(on):
    """Set the caller's own flush-to-zero and denormals-are-zero, through the C library."""
    if platform.machine() != "x86_64":
        return
    libc = ctypes.CDLL(None)
    environment = (ctypes.c_uint32 * 8)()  # x86-64's fenv_t: MXCSR is its last word
    libc.fegetenv(environment)
    environment[7] = environment[7] | 0x8040 if on else environment[7] & ~0x8040
    libc.fesetenv(environment)


def mode_of_caller():
    """MXCSR."""
    if platform.machine() != "x86_64":
        return 0
    libc = ctypes.CDLL(None)
    environment = (ctypes.c_uint32 * 8)()
    libc.fegetenv(environment)
    return environment[7]


CALLER = """
import sys, numpy as np, fastnn
sys.path.insert(0, sys.argv[1])
import test_subnormals as t
on, threads = sys.argv[2] == "on", int(sys.argv[3])
x = np.random.default_rng(0).random((256, 700)).astype("f4") * 1e-38
x[::2] *= 1e38
net = fastnn.mlp([700, 200, 10], num_threads=threads)
t.flush_in_caller(on)
mode = t.mode_of_caller()
net.fit(x, np.arange(256) % 10, epochs=3, batch_size=64, verbose=0)
h = net.predict(x), net.predict(x[:1]), *net.activations(x[:5])
assert t.mode_of_caller() == mode, (hex(mode), hex(t.mode_of_caller()))
t.flush_in_caller(False)
print(t.digest(net.program.parameters, net.program.state, *h))
"""


def digest(*arrays):
    import hashlib

    return hashlib.sha256(b"".join(array.tobytes() for array in arrays)).hexdigest()


def test_the_callers_own_mode_changes_nothing_and_is_kept():
    """Another library may have set flush-to-zero in this thread alone."""
    found = set()
    for name, on, threads in itertools.product(engine.available()[:1], ("on", "off"), "123"):
        run = subprocess.run(
            [sys.executable, "-P", "-c", CALLER, os.path.dirname(__file__), on, threads],
            env={**os.environ, "FASTNN_ENGINE": name},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert run.returncode == 0, run.stderr
        found.add(run.stdout)
    assert len(found) == 1
