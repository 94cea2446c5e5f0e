"""Training: epochs, order, validation, callbacks, history, progress, and what goes wrong."""

# ruff: noqa: N806 (the textbook's capital letters)

import contextlib
import copy
import itertools
import os
import pickle
import re
import signal
import sys
import threading
import tracemalloc

import numpy as np
import pytest

import fastnn
from fastnn import engine
from fastnn.optimizers import OPTIMIZERS
from fastnn.program import pairs

OPTIMIZERS_TRIED = [
    fastnn.SGD(0.1),
    fastnn.SGD(0.1, momentum=0.9),
    fastnn.SGD(0.1, momentum=0.9, nesterov=True),
    fastnn.Adam(0.01),
]


@pytest.fixture
def data():
    """Three classes that a net can learn: which third of the row is brightest."""
    random = np.random.default_rng(0)
    y = random.integers(0, 3, 301)
    x = random.random((301, 9), np.float32)
    x.reshape(301, 3, 3)[np.arange(301), y] += 1
    return x, y


def make(engine_name="reference", **options):
    return fastnn.mlp([9, 8, 3], engine=engine_name, **options)


def weights(net):
    return net.program.parameters.tobytes()


@pytest.mark.parametrize(
    "optimizer", [*OPTIMIZERS_TRIED, *(kind(kind.PEAK) for kind in OPTIMIZERS.values())], ids=str
)
def test_every_optimizer_learns(engine_name, data, optimizer):
    x, y = data
    net = make(engine_name)
    history = net.fit(x, y, epochs=30, batch_size=16, optimizer=optimizer, verbose=0).history
    assert history["loss"][-1] < 0.8 * history["loss"][0]
    assert net.evaluate(x, y)["loss"] < 0.8 * history["loss"][0]


def test_digits_are_learnt(engine_name):
    (x, y), (x_test, y_test) = fastnn.datasets.load_digits()
    net = fastnn.mlp([784, 16, 10], input_scale=1 / 255, engine=engine_name)
    net.fit(x, y, epochs=2, batch_size=32, verbose=0)
    assert net.evaluate(x_test, y_test)["accuracy"] > 0.85


def test_regression(engine_name):
    x = np.random.default_rng(0).random((200, 2), np.float32)
    net = fastnn.mlp([2, 16, 1], hidden="tanh", output="identity", engine=engine_name)
    logs = net.fit(
        x,
        x[:, 0] * x[:, 1],
        epochs=200,
        optimizer=fastnn.Adam(0.01),
        validation_data=(x, x[:, 0] * x[:, 1]),
        verbose=0,
    ).history
    assert logs["val_loss"][-1] < 1e-3
    assert not {"accuracy", "val_accuracy"} & set(logs)


# What the history says.


def test_history(engine_name, data):
    x, y = data
    net = make(engine_name)
    result = net.fit(x, y, epochs=3, validation_data=(x[:50], y[:50]), verbose=0)
    assert net.history is result
    assert set(result.history) == {
        "loss", "accuracy", "val_loss", "val_accuracy", "learning_rate", "seconds",
    }  # fmt: skip
    assert all(len(values) == 3 for values in result.history.values())
    assert all(type(value) is float for values in result.history.values() for value in values)
    assert result.history["learning_rate"] == [1e-3] * 3
    figures = net.evaluate(x[:50], y[:50])
    assert result.history["val_loss"][-1] == figures["loss"]
    assert result.history["val_accuracy"][-1] == figures["accuracy"]


def test_the_loss_of_an_epoch_is_taken_before_each_update(data):
    x, y = data
    net = make()
    expected = net.evaluate(x, y)
    logs = net.fit(x, y, epochs=1, batch_size=400, verbose=0).history
    assert logs["loss"] == pytest.approx([expected["loss"]])
    assert logs["accuracy"] == [expected["accuracy"]]


def test_schedules_run_over_all_steps_of_a_fit(data):
    x, y = data
    schedule = fastnn.Cosine(0.1)
    logs = make().fit(x, y, epochs=4, batch_size=100, optimizer=fastnn.SGD(schedule), verbose=0)
    assert logs.history["learning_rate"] == schedule.rates(0, 16, 16)[3::4].tolist()


def test_each_step_gets_its_rate(data):
    """One-cycle training is single steps at its rates."""
    x, y = data
    schedule, optimizer = fastnn.OneCycle(0.1), fastnn.SGD
    whole, single = make(), make()
    whole.fit(
        x, y, epochs=1, batch_size=50, optimizer=optimizer(schedule), shuffle=False, verbose=0
    )
    for step, rate in enumerate(schedule.rates(0, 7, 7)):
        rows = slice(50 * step, 50 * step + 50)
        single.fit(
            x[rows], y[rows], epochs=1, batch_size=50, optimizer=optimizer(rate), shuffle=False,
            verbose=0,
        )  # fmt: skip
    assert weights(whole) == weights(single)


# Order.


def test_without_shuffle_rows_come_in_order(data):
    x, y = data
    net, by_hand = make(), make()
    net.fit(x, y, epochs=2, batch_size=64, optimizer=fastnn.SGD(0.1), shuffle=False, verbose=0)
    for _, first in itertools.product(range(2), range(0, 301, 64)):
        _, gradients = by_hand.gradients(x[first : first + 64], y[first : first + 64])
        parameters = pairs(by_hand.program, by_hand.program.parameters)
        for (W, b), (dW, db) in zip(parameters, gradients, strict=True):
            W -= np.float32(0.1) * dW
            b -= np.float32(0.1) * db
    for layer, expected in zip(net.layers, by_hand.layers, strict=True):
        assert layer.weights == pytest.approx(expected.weights, rel=1e-5, abs=1e-6)


def test_every_epoch_has_its_own_order_of_all_rows(data, monkeypatch):
    orders = []

    class Spy:
        def __getattr__(self, name):
            return getattr(engine.get("reference"), name)

        def train(self, program, x, rows, *rest):
            orders.append(rows.copy())
            return engine.get("reference").train(program, x, rows, *rest)

    x, y = data
    net = make()
    net._engine = Spy()
    net.fit(x, y, epochs=3, verbose=0)
    assert [sorted(order.tolist()) for order in orders] == [list(range(301))] * 3
    assert len({order.tobytes() for order in orders}) == 3


# The same bits.


@pytest.mark.parametrize("optimizer", OPTIMIZERS_TRIED, ids=str)
def test_the_same_seed_gives_the_same_bits(engine_name, data, optimizer):
    runs = []
    for num_threads in (1, 2, 3, 4):
        net = make(engine_name, seed=3, num_threads=num_threads)
        logs = net.fit(*data, epochs=3, batch_size=33, optimizer=optimizer, verbose=0).history
        runs.append((weights(net), logs["loss"], logs["accuracy"]))
    assert all(run == runs[0] for run in runs)
    other = make(engine_name, seed=4)
    other.fit(*data, epochs=3, batch_size=33, optimizer=optimizer, verbose=0)
    assert weights(other) != runs[0][0]


def test_compiled_builds_give_the_same_bits(data):
    """All but the baseline, which has no fused multiply-add."""
    names = [name for name in engine.COMPILED[:-1] if name in engine.available()]
    runs = set()
    for name in names:
        net = fastnn.mlp([9, 33, 17, 3], hidden="tanh", engine=name)
        net.fit(*data, epochs=3, batch_size=31, verbose=0)
        runs.add(weights(net))
    assert len(runs) == min(len(names), 1)


@pytest.mark.parametrize("optimizer", OPTIMIZERS_TRIED, ids=str)
def test_a_second_fit_goes_on(engine_name, data, optimizer):
    once, twice = make(engine_name), make(engine_name)
    whole = once.fit(*data, epochs=5, optimizer=optimizer, verbose=0).history["loss"]
    first = twice.fit(*data, epochs=2, optimizer=optimizer, verbose=0).history["loss"]
    second = twice.fit(*data, epochs=3, optimizer=optimizer, verbose=0).history["loss"]
    assert first + second == whole
    assert weights(once) == weights(twice)


def test_another_optimizer_starts_with_its_own_state(data):
    net = make()
    net.fit(*data, epochs=1, optimizer=fastnn.Adam(), verbose=0)
    net.fit(*data, epochs=1, optimizer=fastnn.SGD(momentum=0.5), verbose=0)
    assert net.program.state.shape[0] == 1
    net.fit(*data, epochs=1, optimizer="adam", verbose=0)
    assert net.trained.steps == 5


def test_where_memory_is_short_the_optimizer_stays(data, monkeypatch):
    net, twin = make(), make()
    for one in (net, twin):
        one.fit(*data, epochs=1, optimizer="adam", verbose=0)
    with monkeypatch.context() as patch:
        patch.setattr("fastnn.program.aligned_zeros", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            net.fit(*data, epochs=1, optimizer="sgd", verbose=0)
    for one in (net, twin):
        one.fit(*data, epochs=1, optimizer="adam", verbose=0)
    assert weights(net) == weights(twin)


def test_a_fit_gives_its_memory_back_and_keeps_what_it_knows(compiled):
    x, y = np.ones((256, 50), np.float32), np.zeros(256, int)
    net = fastnn.mlp([50, 800, 3], engine=compiled().NAME, num_threads=1)
    net.predict(x)
    fastnn.mlp([50, 3]).fit(x, y, epochs=1, optimizer="sgd", verbose=0)  # tables that all share
    plan = net.program.plan
    tracemalloc.start()
    try:
        net.fit(x, y, epochs=1, batch_size=256, optimizer="sgd", verbose=0)
        left, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert net.program.plan is plan
    assert most > 2 * 256 * 800 * 4  # h and dh
    assert left < 256 * 800 * 4 / 10


@pytest.mark.parametrize("batch_size", [301, 302, sys.maxsize])
def test_a_batch_is_all_rows_at_most(engine_name, data, batch_size):
    net, whole = make(engine_name), make(engine_name)
    logs = net.fit(*data, epochs=3, batch_size=batch_size, verbose=0).history["loss"]
    assert logs == whole.fit(*data, epochs=3, batch_size=301, verbose=0).history["loss"]
    assert weights(net) == weights(whole)
    assert net.trained.steps == 3


def test_an_interrupted_epoch_counts_with_its_updates(data):
    """As the docstring of fit says; and save and load count what fit does."""

    class Interrupted:
        def __init__(self, calls):
            self.calls = calls

        def __getattr__(self, name):
            return getattr(engine.get("reference"), name)

        def train(self, program, x, rows, *rest):
            self.calls.append(rows.tolist())
            if len(self.calls) == 3:
                raise KeyboardInterrupt
            return engine.get("reference").train(program, x, rows, *rest)

    net, calls = make(), []
    net._engine = Interrupted(calls)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fastnn.training, "CALL_COST", 1)  # one step a call
        with pytest.raises(KeyboardInterrupt):
            net.fit(*data, epochs=1, batch_size=100, verbose=0)
        assert (net.trained.steps, net.trained.epochs) == (2, 0)
        net.fit(*data, epochs=1, batch_size=100, verbose=0)
    assert (net.trained.steps, net.trained.epochs) == (6, 1)
    assert calls[:3] == calls[3:6]  # the same order of rows again


def test_calls_of_the_engine_change_nothing(engine_name, data, monkeypatch):
    one, many = make(engine_name), make(engine_name)
    one.fit(*data, epochs=2, batch_size=8, verbose=0)
    monkeypatch.setattr(fastnn.training, "CALL_COST", 1)  # one step a call
    many.fit(*data, epochs=2, batch_size=8, verbose=0)
    assert weights(one) == weights(many)
    assert one.history.history["accuracy"] == many.history.history["accuracy"]
    assert one.history.history["loss"] == pytest.approx(many.history.history["loss"])


# Callbacks.


def test_callbacks_see_every_epoch(data):
    seen = []
    net = make()

    def callback(network, epoch, logs):
        assert network is net
        seen.append((epoch, logs))

    logs = net.fit(*data, epochs=2, callbacks=[callback], verbose=0).history
    assert [epoch for epoch, _ in seen] == [1, 2]
    assert [epoch_logs["loss"] for _, epoch_logs in seen] == logs["loss"]


def test_a_callback_that_returns_true_stops(data):
    net = make()
    calls = []
    callbacks = [lambda net, epoch, logs: epoch == 2, lambda *_: calls.append(1)]
    logs = net.fit(*data, epochs=5, callbacks=callbacks, verbose=0).history
    assert len(logs["loss"]) == len(calls) == 2


@pytest.mark.parametrize(
    ("answer", "epochs"),
    [
        (True, 1), (np.True_, 1), (False, 3), (None, 3), (1, 3), (1.0, 3), ("stop", 3), ([1], 3),
        (np.bool_(False), 3), (np.int64(1), 3), (np.array(True), 3), (np.array([True, True]), 3),
    ],
    ids=repr,
)  # fmt: skip
def test_only_true_stops(data, answer, epochs):
    logs = make().fit(*data, epochs=3, callbacks=[lambda *_: answer], verbose=0).history
    assert len(logs["loss"]) == epochs


# Several labels a row.


def test_several_labels_in_the_history(engine_name, data):
    x, _ = data
    y = x[:, :3] > 0.7
    net = fastnn.mlp([9, 3], output="sigmoid", engine=engine_name)
    options = {"epochs": 3, "optimizer": fastnn.SGD(1e-9), "verbose": 0}
    single = np.eye(3)[np.arange(50) % 3]
    logs = net.fit(x, y, validation_data=(x[:50], single), **options).history
    share = ((net.predict(x) > 0.5) == y).mean()
    assert logs["binary_accuracy"] == pytest.approx([share] * 3)
    share = ((net.predict(x[:50]) > 0.5) == single).mean()  # one rule for all rows of a fit
    assert logs["val_binary_accuracy"] == pytest.approx([share] * 3)
    assert not {"accuracy", "val_accuracy"} & set(logs)
    logs = net.fit(x, np.eye(3)[y.argmax(axis=1)], **options).history
    assert logs["accuracy"] == pytest.approx([net.evaluate(x, y.argmax(axis=1))["accuracy"]] * 3)
    assert "binary_accuracy" not in logs


# One fit at a time.


HELD = r"^expected a network at rest, got one that another fit is training$"


@pytest.mark.parametrize("optimizer", OPTIMIZERS_TRIED, ids=str)
def test_a_callback_cannot_fit_the_same_network(data, optimizer):
    net, twin = make(), make()

    def callback(network, epoch, logs):
        with pytest.raises(RuntimeError, match=HELD):
            network.fit(*data, epochs=1, optimizer=optimizer, verbose=0)

    net.fit(*data, epochs=2, callbacks=[callback], verbose=0)
    twin.fit(*data, epochs=2, verbose=0)
    assert weights(net) == weights(twin)
    net.fit(*data, epochs=1, verbose=0)


def test_callbacks_may_do_what_changes_no_network(engine_name, data, tmp_path):
    net, twin = make(engine_name), make(engine_name)
    copies = []

    def callback(network, epoch, logs):
        network.predict(data[0])
        network.classify(data[0])
        network.evaluate(*data)
        network.gradients(*data)
        network.activations(data[0])
        network.save(tmp_path / "net.fastnn")
        for way in (copy.copy, copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))):
            copies.append(way(network))
            copies[-1].fit(*data, epochs=1, verbose=0)

    net.fit(*data, epochs=2, callbacks=[callback], verbose=0)
    twin.fit(*data, epochs=2, verbose=0)
    assert weights(net) == weights(twin)
    assert {weights(one) for one in copies[:3]} == {weights(net)}


def test_two_threads_cannot_fit_one_network(engine_name, data):
    """With different optimizers, which laid the state anew under each other's feet."""
    net = make(engine_name)
    held, done = [], []

    def fit(optimizer):
        for _ in range(40):
            try:
                net.fit(*data, epochs=2, optimizer=optimizer, verbose=0)
                done.append(optimizer)
            except RuntimeError as error:
                held.append(str(error))
            net.predict(data[0])

    threads = [threading.Thread(target=fit, args=[one]) for one in OPTIMIZERS_TRIED]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(done) + len(held) == 160
    assert done
    assert set(held) <= {HELD.strip("^$")}
    assert np.isfinite(net.program.parameters).all()
    assert net.trained.epochs == 2 * len(done)


def test_a_second_thread_is_refused_while_the_first_trains(data):
    net = make()
    begun, end = threading.Event(), threading.Event()

    def callback(network, epoch, logs):
        begun.set()
        assert end.wait(60)

    thread = threading.Thread(
        target=net.fit, args=data, kwargs={"epochs": 1, "callbacks": [callback], "verbose": 0}
    )
    thread.start()
    assert begun.wait(60)
    before = weights(net)
    with pytest.raises(RuntimeError, match=HELD):
        net.fit(*data, optimizer="sgd", verbose=0)
    assert weights(net) == before
    end.set()
    thread.join()
    net.fit(*data, epochs=1, optimizer="sgd", verbose=0)


@pytest.mark.parametrize("use", ["evaluate", "gradients", "fit"])
def test_labels_that_another_thread_changes(compiled, use):
    """Each call uses the labels that it has checked, or refuses them."""
    random = np.random.default_rng(0)
    x, y = random.random((3000, 4), np.float32), random.integers(0, 3, 3000)
    net = fastnn.mlp([4, 8, 3], engine=compiled().NAME)
    end = threading.Event()

    def change():
        while not end.is_set():
            y[:] = 1 << 40
            y[:] = 0

    thread = threading.Thread(target=change)
    thread.start()
    calls = {
        "evaluate": lambda: net.evaluate(x, y),
        "gradients": lambda: net.gradients(x, y),
        "fit": lambda: net.fit(x, y, epochs=1, verbose=0),
    }
    try:
        for _ in range(200):
            with contextlib.suppress(ValueError):
                calls[use]()
    finally:
        end.set()
        thread.join()
    assert np.isfinite(net.program.parameters).all()


# Progress: what it says; how it is shown is in test_progress.py.


def test_silent(data, capfd):
    make().fit(*data, epochs=2, verbose=0)
    assert capfd.readouterr() == ("", "")


def test_one_line_an_epoch_where_there_is_no_terminal(data, capfd):
    make().fit(*data, epochs=2, validation_data=data)
    out, err = capfd.readouterr()
    assert out == ""
    lines = err.splitlines()
    assert len(lines) == 2
    number = r"\d\.\d{4}"
    for epoch, line in enumerate(lines, start=1):
        assert line.startswith(f"epoch {epoch}/2: loss ")
        pattern = f"loss {number}, accuracy {number}, val_loss {number}, val_accuracy {number}, "
        assert re.search(pattern + r"[\d,]+ samples/s$", line)


# What goes wrong.


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 0}, "expected epochs to be at least 1, got 0"),
        ({"epochs": -1}, "expected epochs to be at least 1, got -1"),
        ({"epochs": 10**20}, f"expected epochs below 2^63, got {10**20}"),
        ({"batch_size": 2**63}, f"expected batch_size below 2^63, got {2**63}"),
        ({"verbose": 2}, "expected verbose to be 0 or 1, got 2"),
        ({"batch_size": 0}, "expected batch_size to be at least 1, got 0"),
        (
            {"optimizer": "sdg"},
            f"unknown optimizer 'sdg'; did you mean 'sgd'? (one of: {', '.join(OPTIMIZERS)})",
        ),
        ({"validation_data": 3}, "expected validation_data as (x, y) or (x, y, sample_weight)"),
        (
            {"validation_data": (1, 2, 3, 4)},
            "expected validation_data as (x, y) or (x, y, sample_weight)",
        ),
    ],
)
def test_bad_arguments(data, options, message):
    with pytest.raises(ValueError) as error:  # noqa: PT011 (compared in full below)
        make().fit(*data, **{"verbose": 0, **options})
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 1.5}, "expected epochs to be a whole number, got float 1.5"),
        ({"batch_size": "64"}, "expected batch_size to be a whole number, got str '64'"),
        ({"epochs": True}, "expected epochs to be a whole number, got bool True"),
        ({"shuffle": "no"}, "expected shuffle to be True or False, got str 'no'"),
        ({"optimizer": 0.1}, "expected an optimizer or its name, got float"),
        ({"optimizer": fastnn.Adam}, "expected an optimizer or its name, got type; use Adam()"),
        ({"callbacks": [3]}, "expected callbacks to be functions, got int"),
        ({"callbacks": print}, "expected callbacks as a list, got a function; pass [function]"),
    ],
)
def test_arguments_of_another_type(data, options, message):
    with pytest.raises(TypeError) as error:
        make().fit(*data, **{"verbose": 0, **options})
    assert str(error.value) == message


def test_divergence_says_when_and_restores_the_epoch(engine_name):
    random = np.random.default_rng(0)
    x = random.random((64, 4), np.float32)
    net = fastnn.mlp([4, 1], output="identity", engine=engine_name)
    after = []
    with pytest.raises(fastnn.DivergenceError) as error:
        net.fit(
            x,
            random.random(64),
            epochs=200,
            batch_size=8,
            optimizer=fastnn.SGD(1.5, momentum=0.5),
            callbacks=[lambda net, *_: after.append(weights(net))],
            verbose=0,
        )
    epoch = len(after) + 1
    assert epoch > 1
    message = str(error.value)
    assert message.startswith(f"training diverged in epoch {epoch}: expected a finite loss")
    assert "\n" not in message
    assert weights(net) == after[-1]
    assert np.isfinite(net.program.parameters).all()
    assert len(net.history.history["loss"]) == epoch - 1
    # the optimizer's state was lost with the weights, and starts anew
    fresh = fastnn.mlp([4, 1], output="identity", engine=engine_name)
    for one in (net, fresh):
        one.layers[0].weights[...] = one.layers[0].biases[...] = 1
        optimizer = fastnn.SGD(1.5, momentum=0.5)
        one.fit(x, x[:, 0], epochs=1, optimizer=optimizer, shuffle=False, verbose=0)
    assert weights(net) == weights(fresh)


def test_weights_that_become_infinite_are_divergence(engine_name):
    net = fastnn.mlp([1, 1], output="identity", engine=engine_name)
    before = weights(net)
    with pytest.raises(fastnn.DivergenceError, match=r"got infinite weights"):
        net.fit([[1e10]], [1e10], epochs=1, optimizer=fastnn.SGD(1e30), verbose=0)
    assert weights(net) == before


def test_an_interrupt_keeps_weights_and_history(engine_name, data):
    net = make(engine_name)
    after = []

    def callback(network, epoch, logs):
        after.append(weights(network))
        if epoch == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        net.fit(*data, epochs=9, callbacks=[callback], verbose=0)
    assert weights(net) == after[-1]
    assert len(net.history.history["loss"]) == 3


def test_ctrl_c_is_prompt(engine_name):
    """The signal comes in the midst of a long epoch, and training ends."""
    x = np.zeros((200_000, 50), np.float32)
    net = fastnn.mlp([50, 64, 3], engine=engine_name)
    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        net.fit(x, np.zeros(len(x), int), epochs=10_000, verbose=0)
    timer.join()
    assert np.isfinite(net.program.parameters).all()
    net.fit(x[:64], np.zeros(64, int), epochs=1, verbose=0)


def test_an_interrupt_never_leaves_infinite_weights(data):
    class Interrupted:
        def __getattr__(self, name):
            return getattr(engine.get("reference"), name)

        def train(self, program, *rest):
            program.parameters[0] = np.nan
            raise KeyboardInterrupt

    net = make()
    before = weights(net)
    net._engine = Interrupted()
    with pytest.raises(KeyboardInterrupt):
        net.fit(*data, verbose=0)
    assert weights(net) == before
