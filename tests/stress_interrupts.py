"""Ctrl-C at every place of fastnn's Python code, one by one, and whether the network is whole.

    python tests/stress_interrupts.py --seconds 600 --seed 1

Nets, data and optimizers are drawn anew until the time is over; test_interrupts.py runs one draw.
Prints how many places were interrupted, and what was found; exits with 1 if that is not nothing.
"""

from __future__ import annotations

import argparse
import copy
import io
import itertools
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr
from dataclasses import dataclass
from types import FrameType
from typing import Any

import numpy as np

import fastnn
from fastnn import training

PACKAGE = os.path.dirname(fastnn.__file__)
OPTIMIZERS = [
    fastnn.SGD(0.1),
    fastnn.SGD(0.1, momentum=0.5),
    fastnn.SGD(0.1, momentum=0.5, nesterov=True),
    fastnn.Adam(0.01),
]


class Trace:
    """Raises KeyboardInterrupt at the n-th line, or bytecode, of fastnn."""

    def __init__(self, at: int, opcodes: bool) -> None:
        self.at, self.opcodes, self.seen = at, opcodes, 0
        self.where = ""

    def enter(self, frame: FrameType, event: str, arg: object) -> Any:
        """Of each function that is called."""
        if not frame.f_code.co_filename.startswith(PACKAGE):
            return None
        frame.f_trace_opcodes = self.opcodes
        frame.f_trace_lines = not self.opcodes
        return self.step

    def step(self, frame: FrameType, event: str, arg: object) -> Any:
        """Of each line, or bytecode."""
        self.seen += event in ("line", "opcode")
        if self.seen == self.at and event in ("line", "opcode"):
            code = frame.f_code
            self.where = f"{os.path.basename(code.co_filename)}:{frame.f_lineno} {code.co_name}"
            raise KeyboardInterrupt
        return self.step


class Terminal(io.StringIO):
    """What a bar is shown on."""

    def isatty(self) -> bool:
        """It is one."""
        return True


class Recorder:
    """An engine that notes weights, state and number of steps after each call of train."""

    def __init__(self, engine: Any) -> None:
        self.engine = engine
        self.states: list[tuple[bytes, bytes, int]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.engine, name)

    def train(self, program: Any, *arguments: Any) -> Any:
        """The same, and noted."""
        result = self.engine.train(program, *arguments)
        steps = len(arguments[-2]) + (self.states[-1][2] if self.states else 0)
        self.states.append((program.parameters.tobytes(), program.state.tobytes(), steps))
        return result


@dataclass
class Case:
    """A network at rest, a call of it, and how many steps an epoch has."""

    name: str
    network: fastnn.Network
    call: Callable[[fastnn.Network], object]
    epoch: int = 1

    def legal(self) -> set[tuple[Any, ...]]:
        """Every state that the call may leave behind, as `state_of` has it."""
        network = copy.deepcopy(self.network)
        before, first = copy.copy(network.trained), state_of(network)
        network._engine = recorder = Recorder(network._engine)
        self.call(network)
        after, states = network.trained, recorder.states
        start = before.steps if before.optimizer == after.optimizer else 0
        result = {first, (first[0], before.epochs)}
        if states:  # weights as they were, the new optimizer's state
            zero = bytes(len(states[0][1])) if start == 0 else first[-1]
            result.add((first[0], before.epochs, start, repr(after.optimizer), zero))
        for weights, state, steps in states:
            for epochs in {steps // self.epoch, (steps - 1) // self.epoch}:
                counts = before.epochs + epochs, start + steps
                result.add((weights, *counts, repr(after.optimizer), state))
        return result


def state_of(network: fastnn.Network) -> tuple[Any, ...]:
    """What a next fit depends on: the optimizer's part only if it has one."""
    now = network.trained
    state = network.program.parameters.tobytes(), now.epochs
    if now.optimizer is None:
        return state
    return (*state, now.steps, repr(now.optimizer), network.program.state.tobytes())


def faults(case: Case, network: fastnn.Network, legal: set[tuple[Any, ...]]) -> Iterator[str]:
    """What is wrong with a network whose call was interrupted."""
    if state_of(network) not in legal:
        yield "no state that calls of the engine leave"
    if network._holder:
        yield "still held"
    history = {} if network.history is None else network.history.history
    lengths = {len(values) for values in history.values()}
    if len(lengths) > 1:
        yield f"a history with lists of {lengths}"
    if np.geterr()["over"] != "warn":
        yield f"NumPy's flags {np.geterr()}"
        np.seterr(over="warn", under="ignore", invalid="warn")
    try:
        again = copy.deepcopy(network)
        case.call(again)
        again.predict(np.ones((1, network.inputs)))
        if not np.isfinite(again.program.parameters).all():
            yield "weights that are not finite after the next call"
    except Exception as error:
        yield f"{type(error).__name__} in the next call: {error}"


def drawn(random: np.random.Generator) -> Iterator[Case]:
    """Every kind of call, of nets and data of random sizes."""
    rows, inputs, outputs = (int(random.integers(2, most)) for most in (9, 7, 5))
    batch = int(random.integers(1, rows + 1))
    x = random.random((rows, inputs), np.float32)
    y = random.integers(0, outputs, rows)
    hidden = str(random.choice(["relu", "tanh", "sigmoid"]))

    def callback(network: fastnn.Network, epoch: int, logs: dict[str, float]) -> None:
        network.evaluate(x, y)

    first, other = random.permutation(len(OPTIMIZERS))[:2]
    for second in (first, other):
        network = fastnn.mlp([inputs, 3, outputs], hidden, seed=int(random.integers(99)))
        network.fit(x, y, epochs=1, batch_size=batch, optimizer=OPTIMIZERS[first], verbose=0)

        def fit(network: fastnn.Network, optimizer: Any = OPTIMIZERS[second]) -> None:
            with redirect_stderr(Terminal()):
                network.fit(
                    x, y, epochs=2, batch_size=batch, optimizer=optimizer,
                    validation_data=(x, y), callbacks=[callback],
                )  # fmt: skip

        yield Case(f"fit, optimizer {second} after {first}", network, fit, -(-rows // batch))
    twin = network.copy()

    def fit_many(network: fastnn.Network) -> None:
        with redirect_stderr(Terminal()):
            fastnn.fit_many([twin.copy(), network], x, y, epochs=1, batch_size=batch)

    yield Case("one of many", network, fit_many, -(-rows // batch))
    scaled = fastnn.mlp([inputs, 1], output="identity", standardize=True)
    yield Case(
        "the first fit of a net that standardizes",
        scaled,
        lambda network: network.fit(x, y, epochs=1, batch_size=batch, verbose=0),
        -(-rows // batch),
    )
    images = x.astype(np.float16).reshape(rows, 1, inputs)
    yield Case("gradients", network, lambda network: network.gradients(images, y))
    yield Case("evaluate", network, lambda network: network.evaluate(images, y))
    yield Case("activations", network, lambda network: network.activations(images))
    yield Case("predict", network, lambda network: (network.predict(x), network.classify(images)))


def tried(case: Case, opcodes: bool) -> Iterator[list[str]]:
    """Interrupt the case at each place in turn; what was found there."""
    legal = case.legal()
    for at in itertools.count(1):
        network, trace = copy.deepcopy(case.network), Trace(at, opcodes)
        sys.settrace(trace.enter)
        try:
            case.call(network)
        except KeyboardInterrupt:
            pass
        finally:
            sys.settrace(None)
        if trace.seen < at:
            return
        found = faults(case, network, legal)
        yield [f"{case.name}, interrupted in {trace.where}: {fault}" for fault in found]


def main() -> int:
    """Try until the time is over."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    training.CALL_COST = 1  # one step a call
    random = np.random.default_rng(chosen.seed)
    end = time.monotonic() + chosen.seconds
    tries = failures = 0
    while time.monotonic() < end:
        for case in drawn(random):
            for found in tried(case, opcodes=True):
                tries, failures = tries + 1, failures + bool(found)
                for line in found:
                    print(line, flush=True)
                if time.monotonic() > end:
                    break
    print(f"{tries:,} places interrupted, {failures:,} of them with a fault")
    return int(failures > 0)


if __name__ == "__main__":
    sys.exit(main())
