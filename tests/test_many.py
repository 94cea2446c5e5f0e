"""Many networks at once: each has the bits that it would have alone, and nothing else changes."""

import os
import signal
import threading

import numpy as np
import pytest

import fastnn
from fastnn import many, network, training
from fastnn.rows import folds

RANDOM = np.random.default_rng(0)
X = (RANDOM.random((400, 20)) * 255).astype(np.uint8)
Y = (X[:, :5].argmax(axis=1)).astype(np.int64)
SIZES = ([20, 5], [20, 40, 5], [20, 130, 70, 5], [20, 8, 5])


def nets(engine="auto", **options):
    """A network of each size, with its own seed."""
    return [
        fastnn.mlp(sizes, input_scale=1 / 255, seed=seed, engine=engine, **options)
        for seed, sizes in enumerate(SIZES)
    ]


def bits(net):
    """What a next fit depends on."""
    program, trained = net.program, net.trained
    return program.parameters.tobytes(), program.state.tobytes(), trained.epochs, trained.steps


def figures(history):
    """All but the seconds."""
    return {name: values for name, values in history.history.items() if name != "seconds"}


ROWS = [None, np.arange(400)[::-3], RANDOM.integers(0, 400, 300), [7, 3, 3, 250]]


@pytest.mark.parametrize("num_threads", [1, 2, 4, 16])
def test_each_has_the_bits_that_it_would_have_alone(engine_name, num_threads):
    own = {
        "epochs": [3, 1, 2, 4],
        "batch_size": [32, 7, 300, 64],
        "optimizer": [
            "adam",
            fastnn.SGD(0.1, momentum=0.9),
            fastnn.Adam(fastnn.OneCycle(0.01)),
            "sgd",
        ],
    }
    common = {"validation_split": 0.25, "metrics": ["f1"], "verbose": 0}
    alone, together = nets(engine_name), nets(engine_name)
    histories = fastnn.fit_many(together, X, Y, rows=ROWS, num_threads=num_threads, **own, **common)
    for k, (one, net) in enumerate(zip(alone, together, strict=True)):
        rows = slice(None) if ROWS[k] is None else ROWS[k]
        mine = {name: values[k] for name, values in own.items()}
        expected = one.fit(X[rows], Y[rows], **mine, **common)
        assert bits(net) == bits(one)
        assert figures(histories[k]) == figures(expected)
        assert histories[k] is net.history
        assert "val_f1" in figures(expected)


@pytest.mark.parametrize("dtype", ["uint8", "int64", "float16", "float32", "float64"])
def test_any_data_standardised_and_validated(dtype):
    x, y = X.astype(dtype), np.eye(5)[Y]
    options = {"epochs": 2, "validation_data": (x[:50], y[:50]), "shuffle": False, "verbose": 0}
    pair = [[fastnn.mlp([20, 6, 5], output=output, standardize=True, dtype=float_dtype)
             for output, float_dtype in (("softmax", "float32"), ("identity", "float64"))]
            for _ in range(2)]  # fmt: skip
    fastnn.fit_many(pair[0], x[::2], y[::2], num_threads=2, **options)
    for net, one in zip(*pair, strict=True):
        one.fit(x[::2].copy(), y[::2].copy(), **options)
        assert bits(net) == bits(one)
        assert (net.program.center == one.program.center).all()
        assert figures(net.history) == figures(one.history)


def test_a_second_fit_goes_on():
    once, twice = nets(), nets()
    fastnn.fit_many(once, X, Y, epochs=3, verbose=0)
    fastnn.fit_many(twice, X, Y, epochs=2, verbose=0)
    fastnn.fit_many(twice, X, Y, epochs=1, verbose=0)
    assert list(map(bits, once)) == list(map(bits, twice))


def test_what_is_common_is_checked_once(monkeypatch):
    seen, check = [], network.Network._data
    monkeypatch.setattr(
        network.Network,
        "_data",
        lambda net, *x, **of: seen.append(net) or check(net, *x, **of),
    )
    same = [fastnn.mlp([20, size, 5], seed=size) for size in (3, 5)]
    other = [fastnn.mlp([20, 5], dtype="float64"), fastnn.mlp([20, 5], output="sigmoid")]
    fastnn.fit_many(same + other, X, Y, validation_data=(X, Y), epochs=1, verbose=0)
    assert seen == [net for net in [same[0], *other] for _ in range(2)]
    common = many.Common(X.tolist(), Y.tolist())
    assert common.seen_by(same[0])[0] is common.seen_by(same[1])[0]
    assert np.shares_memory(many.Common(X, Y).seen_by(same[0])[0], X)


def test_callbacks_hear_of_their_own_network():
    heard = [[] for _ in SIZES]
    stop = fastnn.EarlyStopping(monitor="loss", patience=1, min_delta=100.0)
    callbacks = [[lambda net, epoch, logs, mine=mine: mine.append((net, epoch))] for mine in heard]
    callbacks[2].append(stop)
    together = nets()
    fastnn.fit_many(together, X, Y, epochs=4, callbacks=callbacks, num_threads=3, verbose=0)
    for k, net in enumerate(together):
        assert heard[k] == [(net, epoch) for epoch in range(1, 3 if k == 2 else 5)]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"x": X[:, :19]}, r"network 0: expected x with 20 features, got \(400, 19\)"),
        ({"y": Y + 1}, "network 0: expected labels from 0 to 4 in y, got 5"),
        ({"epochs": [1, 2, 3]}, "expected epochs for 4 networks, got 3"),
        ({"epochs": [1, 2, 3, 0]}, "network 3: expected epochs to be at least 1, got 0"),
        ({"optimizer": ["sgd"] * 3 + ["adm"]}, "network 3: unknown optimizer 'adm'; did you"),
        ({"rows": [None]}, "expected rows for 4 networks, got 1"),
        ({"rows": [None, None, [400], None]}, "expected rows from 0 to 399, got 400"),
        ({"rows": [None, None, [-1], None]}, "expected rows from 0 to 399, got -1"),
        ({"rows": [None, None, [[1]], None]}, r"expected rows of shape \(n,\), got \(1, 1\)"),
        ({"rows": [[], None, None, None]}, "expected rows"),
        ({"rows": [Y == 1] * 4}, "got dtype bool; use np.flatnonzero"),
        ({"rows": [[0], [1], [2], [3]], "validation_split": 0.5}, "at least 2 rows in x"),
        ({"validation_split": 0.5, "validation_data": (X, Y)}, "validation_data, got both"),
        ({"validation_data": X}, r"validation_data as \(x, y\)"),
        ({"metrics": ["f1"]}, "with metrics, got none"),
        ({"metrics": ["f2"], "validation_split": 0.5}, "unknown metric 'f2'"),
        ({"verbose": 2}, "expected verbose to be 0 or 1, got 2"),
        ({"num_threads": 0}, "expected num_threads to be at least 1"),
        ({"callbacks": [[]]}, "expected callbacks for 4 networks, got 1"),
        ({"callbacks": [[fastnn.TerminateOnNaN()]] * 4}, "of its own for each network, got one"),
        ({"callbacks": [3] * 4}, "callbacks of a network as a list, got 3"),
    ],
)
def test_what_cannot_be_is_refused_before_the_first_step(change, words):
    together = nets()
    before = [net.program.parameters.tobytes() for net in together]
    arguments = {"x": X, "y": Y, "verbose": 0, **change}
    with pytest.raises((ValueError, TypeError), match=words):
        fastnn.fit_many(together, **arguments)
    assert [net.program.parameters.tobytes() for net in together] == before
    assert not any(net._holder for net in together)


def test_networks_that_cannot_be():
    first, *others = nets()
    with pytest.raises(ValueError, match="once, got the same as networks 0 and 3"):
        fastnn.fit_many([first, *others[:2], first], X, Y)
    with pytest.raises(ValueError, match="expected at least one network, got none"):
        fastnn.fit_many([], X, Y)
    with pytest.raises(TypeError, match="expected networks as a list"):
        fastnn.fit_many(first, X, Y)
    with pytest.raises(TypeError, match="expected networks, got 3"):
        fastnn.fit_many([first, 3], X, Y)


def test_a_network_that_is_being_trained():
    together = nets()

    def inside(net, epoch, logs):
        with pytest.raises(RuntimeError, match="network 2: expected a network at rest"):
            fastnn.fit_many(together, X, Y, verbose=0)
        assert [bool(net._holder) for net in together] == [False, False, True, False]

    together[2].fit(X, Y, epochs=1, callbacks=[inside], verbose=0)
    refused = []

    def fit_again(net, epoch, logs):
        with pytest.raises(RuntimeError):
            together[0].fit(X, Y, verbose=0)
        refused.append(net)

    callbacks = [[], [], [fit_again], []]  # others may have ended
    together[0].fit(X, Y, epochs=1, verbose=0)
    fastnn.fit_many(together[:1] + together[2:3], X, Y, epochs=[500, 1], verbose=0,
                    callbacks=[[], callbacks[2]], num_threads=2)  # fmt: skip
    assert refused == [together[2]]


def test_one_that_diverges_is_named_and_the_others_are_trained():
    together, alone = nets(), nets()
    rates = [fastnn.SGD(rate) for rate in (0.1, 1e30, 0.1, 1e30)]
    words = "network 1, 3: training diverged in epoch 1: expected a finite loss"
    with pytest.raises(fastnn.DivergenceError, match=words):
        fastnn.fit_many(together, X, Y, epochs=2, optimizer=rates, num_threads=1, verbose=0)
    for k in (0, 2):
        alone[k].fit(X, Y, epochs=2, optimizer=rates[k], verbose=0)
        assert bits(together[k]) == bits(alone[k])
        assert len(together[k].history.history["loss"]) == 2
    assert together[1].program.parameters.tobytes() == alone[1].program.parameters.tobytes()
    assert not any(net._holder for net in together)


def test_an_error_in_a_callback_stops_all():
    together, begun = nets(), threading.Event()

    def fail(net, epoch, logs):
        assert begun.wait(60)
        raise ZeroDivisionError

    callbacks = [[lambda *_: begun.set()], [], [], [fail]]
    with pytest.raises(ZeroDivisionError):
        fastnn.fit_many(together, X, Y, epochs=10**6, callbacks=callbacks, num_threads=4, verbose=0)
    assert not any(net._holder for net in together)
    assert "fastnn" not in [one.name for one in threading.enumerate()]
    again = together[0].copy()
    again.fit(X, Y, epochs=1, verbose=0)  # at rest, and whole
    assert len(together[0].history.history["loss"]) == together[0].trained.epochs > 0


def fit_until_a_signal(networks, delay):
    timer = threading.Timer(delay, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    fastnn.fit_many(networks, X, Y, epochs=10**6, batch_size=16, num_threads=3, verbose=0)


def test_ctrl_c_ends_all_within_a_call_and_leaves_each_whole(compiled, monkeypatch):
    monkeypatch.setattr(training, "CALL_COST", 1 << 22)
    before = signal.getsignal(signal.SIGINT)
    for delay in (0.01, 0.05, 0.1):
        together, alone = nets(compiled().NAME), nets(compiled().NAME)
        with pytest.raises(KeyboardInterrupt):
            fit_until_a_signal(together, delay)
        for net, one in zip(together, alone, strict=True):
            assert not net._holder
            history = {} if net.history is None else net.history.history
            assert len(history.get("loss", ())) == net.trained.epochs
            if net.trained.steps:  # the bits of so many steps
                epochs, steps = divmod(net.trained.steps, 25)
                assert epochs == net.trained.epochs or (steps, epochs) == (
                    0,
                    net.trained.epochs + 1,
                )
                fit_steps(one, epochs, steps)
                assert bits(one)[0] == bits(net)[0]
    assert signal.getsignal(signal.SIGINT) is before


class Stop(fastnn.Callback):
    """Ends a fit after so many steps."""

    def __init__(self, steps):
        self.steps = steps

    def on_train_batch_end(self, batch, logs):
        self.steps -= 1
        if self.steps == 0:
            raise KeyboardInterrupt


def fit_steps(net, epochs, steps):
    """So many steps, of batches of 16."""
    if epochs:
        net.fit(X, Y, epochs=epochs, batch_size=16, verbose=0)
    if steps:
        with pytest.raises(KeyboardInterrupt):
            net.fit(X, Y, epochs=1, batch_size=16, verbose=0, callbacks=[Stop(steps)])


def test_the_threads_that_there_are_are_shared_by_the_jobs():
    team = many.Team(8)
    found = []
    for unfinished in (1, 2, 3, 4, 5, 8, 20):
        team.unfinished = unfinished
        found.append(team.threads())
    # an engine takes off the calls of the others: 8, 4, 2, 2, 1, ...
    assert found == [8, 4 + 1, 2 + 2, 2 + 3, 1, 1, 1]
    assert many.Team(None).most == fastnn.get_num_threads()


def test_it_is_shown(capsys):
    fastnn.fit_many(nets(), X, Y, epochs=1)
    line = capsys.readouterr().err
    assert line.startswith("4 networks: loss ")
    assert line.endswith(" samples/s\n")
    fastnn.fit_many(nets(), X, Y, epochs=1, verbose=0)
    assert capsys.readouterr().err == ""


# --------------------------------------------------------------------------------- cross-validation


def make(**options):
    return fastnn.mlp([20, 12, 5], input_scale=1 / 255, **options)


def test_folds_have_as_many_of_each_label():
    for rows, count in ((400, 5), (37, 4), (12, 12)):
        y = Y[:rows]
        parts = folds(3, count, rows, y)
        assert sorted(np.concatenate(parts).tolist()) == list(range(rows))
        counts = np.array([np.bincount(y[part], minlength=5) for part in parts])
        assert np.ptp(counts, axis=0).max() <= 1
        assert np.ptp(counts.sum(axis=1)) <= 1
        assert all((np.diff(part) > 0).all() for part in parts)
        again, other = folds(3, count, rows, y), folds(4, count, rows, y)
        assert all(map(np.array_equal, parts, again))
        assert rows == count or not all(map(np.array_equal, parts, other))
    assert sorted(np.concatenate(folds(0, 3, 10, None)).tolist()) == list(range(10))


@pytest.mark.parametrize("one_hot", [False, True])
def test_scores_are_those_of_fits_by_hand(one_hot):
    y = np.eye(5)[Y] if one_hot else Y
    parts = folds(9, 4, len(X), Y)
    options = {"epochs": 3, "batch_size": 16, "optimizer": "sgd"}
    scores = fastnn.cross_validate(
        make, X, y, folds=4, seed=9, metrics=["f1"], num_threads=2, verbose=0, **options
    )
    assert list(scores) == ["loss", "accuracy", "f1"]
    for fold, part in enumerate(parts):
        rest = np.setdiff1d(np.arange(len(X)), part)
        net = make()
        net.fit(X[rest], y[rest], verbose=0, **options)
        found = net.evaluate(X[part], y[part], metrics=["f1"])
        assert found == {name: values[fold] for name, values in scores.items()}


def test_numbers_are_cut_without_labels():
    y = X[:, :1] / 255
    scores = fastnn.cross_validate(
        lambda: fastnn.mlp([20, 8, 1], output="identity", standardize=True),
        X, y, folds=3, epochs=20, batch_size=16, metrics=["r2"], verbose=0,
    )  # fmt: skip
    assert scores["r2"].shape == (3,)
    assert scores["r2"].min() > 0.5


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"folds": 1}, "expected folds from 2 to 400 rows, got 1"),
        ({"folds": 401}, "expected folds from 2 to 400 rows, got 401"),
        ({"make": make()}, "expected make as a function that gives a new network, got Network"),
        ({"make": lambda: 3}, "expected networks, got 3"),
        ({"make": [make()].__iter__().__next__}, ""),
        ({"metrics": ["r2"]}, "fold 0: expected numbers as y for the metric r2, got classes"),
        ({"epochs": 0}, "fold 0: expected epochs"),
        ({"seed": -1}, "expected a seed from 0"),
    ],
)
def test_what_cannot_be_validated(change, words):
    net = make()
    arguments = {"make": make, "x": X, "y": Y, "verbose": 0, **change}
    if not words:
        arguments["make"], words = lambda: net, "got the same as networks 0 and 1"
    with pytest.raises((ValueError, TypeError), match=words):
        fastnn.cross_validate(**arguments)


def test_networks_are_at_rest_after_an_error():
    networks = [make() for _ in range(3)]
    remaining = iter(networks)
    with pytest.raises(ValueError, match="fold 0: expected numbers"):
        fastnn.cross_validate(lambda: next(remaining), X, Y, folds=3, metrics=["r2"], verbose=0)
    assert not any(net._holder for net in networks)


def test_a_fold_that_diverges_is_named():
    with pytest.raises(fastnn.DivergenceError, match="fold 0, 1: training diverged in epoch 1"):
        fastnn.cross_validate(make, X, Y, folds=2, optimizer=fastnn.SGD(1e30), verbose=0)
