"""Ctrl-C, wherever it comes: the network stays whole, and goes on."""

import importlib.util
import os
import signal
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

import fastnn
from fastnn import training

PATH = Path(__file__).parent / "stress_interrupts.py"
SPEC = importlib.util.spec_from_file_location("stress_interrupts", PATH)
stress = sys.modules[SPEC.name] = importlib.util.module_from_spec(SPEC)  # as dataclasses ask
SPEC.loader.exec_module(stress)
CASES = list(stress.drawn(np.random.default_rng(2)))


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_every_line_interrupted(case, monkeypatch):
    """`python tests/stress_interrupts.py` does it with every bytecode, for as long as one likes."""
    monkeypatch.setattr(training, "CALL_COST", 1)  # one step a call
    places = list(stress.tried(case, opcodes=False))
    assert len(places) > 10
    assert [fault for faults in places for fault in faults] == []


def fit_until_a_signal(net, x, y, delay):
    timer = threading.Timer(delay, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    try:
        net.fit(x, y, epochs=10**6, batch_size=32, verbose=0)
    finally:
        timer.join()


def test_a_signal_is_heard_after_the_updates_are_counted(compiled, monkeypatch):
    """It comes while the engine works, in most cases, and is raised when the engine comes back."""
    monkeypatch.setattr(training, "CALL_COST", 1 << 22)
    random = np.random.default_rng(0)
    x, y = random.random((3000, 50), np.float32), random.integers(0, 3, 3000)
    for delay in (0.0, 0.01, 0.03, 0.05):
        net = fastnn.mlp([50, 64, 3], engine=compiled().NAME)
        with pytest.raises(KeyboardInterrupt):
            fit_until_a_signal(net, x, y, delay)
        twin = fastnn.mlp([50, 64, 3], engine=compiled().NAME)
        states = {0: twin.program.parameters.tobytes()}
        twin._engine = recorder = stress.Recorder(twin._engine)
        twin.fit(x, y, epochs=1 + net.trained.epochs, batch_size=32, verbose=0)
        states.update((steps, weights) for weights, _, steps in recorder.states)
        assert net.program.parameters.tobytes() == states[net.trained.steps]
