"""`search`: which choices do best, the same whoever trains them and wherever it was stopped."""

import json
import math
import threading

import numpy as np
import pytest

import fastnn
from fastnn import trials
from fastnn.rows import split

RANDOM = np.random.default_rng(0)
X = RANDOM.random((300, 12)).astype(np.float32)
Y = X[:, :4].argmax(axis=1)
CHOICES = {"units": [2, 16, 6], "rate": [1e-4, 0.03]}
OPTIONS = {"epochs": 4, "batch_size": 16, "verbose": 0}


def make(units, rate):
    return fastnn.mlp([12, units, 4], seed=units), {"optimizer": fastnn.Adam(rate)}


def plain(found):
    """All of the trials but the seconds."""
    return [(trial.choices, trial.epochs, trial.score, trial.figures) for trial in found.trials]


def by_hand(choices, epochs):
    """A network of these choices, trained alone, and what it is worth."""
    learned, held_out = split(7, 0.25, len(X), Y)
    net, own = make(**choices)
    net.fit(X[learned], Y[learned], **own, **{**OPTIONS, "epochs": epochs})
    return net, net.evaluate(X[held_out], Y[held_out], metrics=["f1"])


@pytest.mark.parametrize("num_threads", [1, 2, 4])
def test_a_grid_is_ranked_by_what_fits_alone_bring(num_threads):
    found = fastnn.search(
        make, X, Y, CHOICES, validation_split=0.25, seed=7, score="f1",
        num_threads=num_threads, **OPTIONS,
    )  # fmt: skip
    assert len(found.trials) == 6
    alone = {repr(trial.choices): by_hand(trial.choices, 4) for trial in found.trials}
    for trial in found.trials:
        _, figures = alone[repr(trial.choices)]
        assert trial.figures == figures
        assert (trial.score, trial.epochs) == (figures["f1"], 4)
        assert trial.seconds > 0
    scores = [trial.score for trial in found.trials]
    assert scores == sorted(scores, reverse=True)
    assert scores[0] > scores[-1]
    best, _ = alone[repr(found.best.choices)]
    assert found.best is found.trials[0]
    assert (found.network.program.parameters == best.program.parameters).all()


def test_the_smallest_loss_of_given_rows_comes_first():
    found = fastnn.search(make, X[:200], Y[:200], CHOICES, validation_data=(X[200:], Y[200:]),
                          **OPTIONS)  # fmt: skip
    losses = [trial.score for trial in found.trials]
    assert losses == sorted(losses)
    net, own = make(**found.best.choices)
    net.fit(X[:200], Y[:200], **own, **OPTIONS)
    assert net.evaluate(X[200:], Y[200:]) == found.best.figures
    assert found.network.evaluate(X[200:], Y[200:]) == found.best.figures
    assert "val_loss" not in found.network.history.history  # judged once, at the end


@pytest.mark.parametrize(
    ("points", "epochs", "halving", "plan"),
    [
        (6, 4, None, [(6, 4)]),
        (9, 9, 3, [(9, 1), (3, 3), (1, 9)]),
        (16, 10, 2, [(16, 1), (8, 2), (4, 5), (2, 10)]),
        (5, 100, 2, [(5, 25), (2, 50), (1, 100)]),
        (2, 4, 3, [(2, 4)]),
    ],
)
def test_rungs(points, epochs, halving, plan):
    assert trials.rungs(points, epochs, halving) == plan


def test_the_best_network_is_kept():
    made = []

    def noted(**choices):
        made.append(choices)
        return make(**choices)

    fastnn.search(noted, X, Y, CHOICES, num_threads=1, **OPTIONS)
    assert len(made) == 6 + 6  # looked at before the first is trained, and trained


@pytest.mark.parametrize("num_threads", [1, 3])
def test_halving_goes_on_with_the_best(num_threads):
    options = {"validation_split": 0.25, "seed": 7, "halving": 2, "num_threads": num_threads}
    found = fastnn.search(make, X, Y, CHOICES, **options, **OPTIONS)
    assert [trial.epochs for trial in found.trials] == [4, 2, 2, 1, 1, 1]
    left = [{"units": u, "rate": r} for u in CHOICES["units"] for r in CHOICES["rate"]]
    for size, epochs in ((6, 1), (3, 2), (1, 4)):
        left = sorted(left[:size], key=lambda one: by_hand(one, epochs)[1]["loss"])
    assert found.best.choices == left[0]
    best, figures = by_hand(found.best.choices, 4)
    assert found.best.score == figures["loss"]
    assert (found.network.program.parameters == best.program.parameters).all()
    for epochs in (1, 2):
        losses = [trial.score for trial in found.trials if trial.epochs == epochs]
        assert losses == sorted(losses)


def test_draws_follow_from_the_seed():
    choices = {"units": [2, 3, 5], "rate": lambda random: 10 ** random.uniform(-4, -1)}
    first, again, other = (
        fastnn.search(make, X, Y, choices, draws=5, seed=seed, **OPTIONS) for seed in (1, 1, 2)
    )
    assert plain(first) == plain(again)
    assert {repr(trial.choices) for trial in first.trials}.isdisjoint(
        repr(trial.choices) for trial in other.trials
    )
    assert all(1e-4 <= trial.choices["rate"] <= 0.1 for trial in first.trials)
    lists = trials.drawn({"a": [1, 2], "b": [3]}, 50, 0)
    assert sorted(map(repr, lists)) == ["{'a': 1, 'b': 3}", "{'a': 2, 'b': 3}"]


def test_one_that_diverges_comes_last():
    choices = {"units": [30, 40], "rate": [1e30, 0.01]}

    def sgd(units, rate):
        return fastnn.mlp([12, units, 4], "identity"), {"optimizer": fastnn.SGD(rate)}

    found = fastnn.search(sgd, X, Y, choices, halving=2, **OPTIONS)
    assert [math.isnan(trial.score) for trial in found.trials] == [False, False, True, True]
    assert found.trials[-1].figures == {}
    with pytest.raises(fastnn.DivergenceError, match="expected a training that brings a finite"):
        fastnn.search(sgd, X, Y, {"units": [3, 4], "rate": [1e30]}, **OPTIONS)


# ----------------------------------------------------------------------------- stopped, and resumed


class Stop(Exception):  # noqa: N818 (no error)
    """Ends a search."""


@pytest.mark.parametrize("halving", [None, 2])
def test_a_search_that_was_stopped_goes_on(tmp_path, monkeypatch, halving):
    path = tmp_path / "results"
    options = {"halving": halving, "num_threads": 2, **OPTIONS}
    whole = fastnn.search(make, X, Y, CHOICES, **options)
    add, seen = trials.Journal.add, []

    def limited(journal, *training):
        add(journal, *training)
        seen.append(training)
        if len(seen) % 3 == 0:
            raise Stop

    monkeypatch.setattr(trials.Journal, "add", limited)
    total = 6 if halving is None else 10
    for part in range(total // 3):
        with pytest.raises(Stop):
            fastnn.search(make, X, Y, CHOICES, path=path, **options)
        assert "fastnn" not in [one.name for one in threading.enumerate()]
        assert len(json.loads(path.read_text())["trainings"]) == 3 * (part + 1)
    monkeypatch.setattr(trials.Journal, "add", add)
    for _ in range(2):  # to the end; from the end
        found = fastnn.search(make, X, Y, CHOICES, path=path, **options)
        assert plain(found) == plain(whole)
        assert (found.network.program.parameters == whole.network.program.parameters).all()
    assert len(json.loads(path.read_text())["trainings"]) == total


def test_nan_is_resumed_too(tmp_path):
    path = tmp_path / "results"

    def sgd(units, rate):
        return fastnn.mlp([12, units, 4], "identity"), {"optimizer": fastnn.SGD(rate)}

    choices = {"units": [3], "rate": [1e30, 0.01]}
    first = fastnn.search(sgd, X, Y, choices, path=path, **OPTIONS)
    again = fastnn.search(sgd, X, Y, choices, path=path, **OPTIONS)
    assert repr(plain(first)) == repr(plain(again))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"epochs": 5}, "expected epochs 4, as in the file, got 5"),
        ({"batch_size": 8}, "expected options"),
        ({"seed": 1}, "expected seed 0, as in the file, got 1"),
        ({"score": "f1"}, "expected score 'loss', as in the file, got 'f1'"),
        ({"halving": 2}, "expected halving None, as in the file, got 2"),
        ({"choices": {"units": [2], "rate": [1e-3]}}, "expected choices"),
        ({"x": X[:200], "y": Y[:200]}, "expected rows 300, as in the file, got 200"),
    ],
)
def test_the_file_of_another_search(tmp_path, change, words):
    path = tmp_path / "results"
    small = {"choices": {"units": [2, 3], "rate": [1e-3]}, "x": X, "y": Y, "path": path, **OPTIONS}
    fastnn.search(make, **small)
    before = path.read_bytes()
    with pytest.raises(ValueError, match=words) as caught:
        fastnn.search(make, **{**small, **change})
    assert not isinstance(caught.value, fastnn.FormatError)
    assert str(path) in str(caught.value)
    assert path.read_bytes() == before


def test_files_that_are_none(tmp_path, refusal):
    path = tmp_path / "results"
    options = {"choices": {"units": [2], "rate": [1e-3]}, "x": X, "y": Y, "path": path, **OPTIONS}
    fastnn.search(make, **options)
    whole = path.read_text()
    entry = json.loads(whole)
    del entry["trainings"][0]["seconds"]
    broken = json.loads(whole)
    broken["trainings"][0]["figures"]["loss"] = "0"
    for text in (
        "", "{", "[" * 100_000, "3", "{}", whole[:-3], whole.replace('"format": 1', '"format": 2'),
        json.dumps(entry), json.dumps(broken), json.dumps({**broken, "trainings": 3}),
    ):  # fmt: skip
        path.write_text(text)
        assert refusal(fastnn.search, make, **options).startswith(str(path))
    path.write_bytes(b"\xff\xfe")
    refusal(fastnn.search, make, **options)
    with pytest.raises(ValueError, match="expected a file to write to, found a folder"):
        fastnn.search(make, **{**options, "path": tmp_path})


# ----------------------------------------------------------------------------------- what cannot be


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"choices": [1]}, "expected choices as a dict of lists"),
        ({"choices": {"units": []}}, "expected choices of units, got none"),
        ({"choices": {"units": 3}}, "expected the choices of units as a list, got 3"),
        ({"choices": {"units": "ab"}}, "expected the choices of units as a list"),
        ({"choices": {"units": lambda random: 3}}, "expected draws with a function as the choice"),
        ({"choices": {"units": [3, 0], "rate": [1.0]}}, "units=0, rate=1.0: expected units to be"),
        ({"choices": {"units": [3], "rate": [1.0, -1.0]}}, "units=3, rate=-1.0: expected a positi"),
        ({"choices": {"units": [3]}}, "units=3: make.. missing 1 required"),
        ({"make": lambda **_: 3}, "units=2, rate=0.001: expected make to give a network"),
        ({"make": lambda **_: (make(2, 0.1)[0], {"epochs": 3})}, "unknown option 'epochs'"),
        ({"x": X[:, :3]}, "expected x with 12 features"),
        ({"draws": 0}, "expected draws to be at least 1"),
        ({"halving": 1}, "expected halving to be at least 2, got 1"),
        ({"epochs": 0}, "expected epochs to be at least 1"),
        (
            {"validation_split": 0.0},
            "expected rows to validate on, got validation_split 0.0 of 300",
        ),
        ({"validation_data": (X[:, :3], Y)}, "expected validation x with 12 features"),
        ({"score": "f2"}, "unknown metric 'f2'"),
        ({"score": "r2"}, "expected numbers as y for the metric r2, got classes"),
        ({"score": "binary_accuracy"}, "unknown score 'binary_accuracy'"),
        ({"seed": -1}, "expected a seed from 0"),
        ({"verbose": 3}, "expected verbose to be 0 or 1"),
    ],
)
def test_what_cannot_be_searched(change, words):
    small = {"units": [2], "rate": [1e-3]}
    arguments = {"make": make, "x": X, "y": Y, "choices": small, **OPTIONS, **change}
    with pytest.raises((ValueError, TypeError), match=words):
        fastnn.search(**arguments)
    assert "fastnn" not in [one.name for one in threading.enumerate()]


def test_it_is_shown(capsys):
    fastnn.search(make, X, Y, CHOICES, halving=2, **{**OPTIONS, "verbose": 1})
    line = capsys.readouterr().err
    assert line.startswith("search: best loss ")
    assert line.endswith(" trainings/s\n")
