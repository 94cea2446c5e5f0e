"""Ensembles: the mean of networks, their spread, and one file of them."""

import json

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

import fastnn
from fastnn.ensemble import unactivated

RANDOM = np.random.default_rng(0)
X = RANDOM.random((200, 9)).astype(np.float32)
Y = X[:, :3].argmax(axis=1)


def ensemble(count=4, outputs=3, **options):
    return fastnn.Ensemble(
        fastnn.mlp([9, 5 + seed, outputs], seed=seed, **options) for seed in range(count)
    )


def test_mean_and_spread():
    several = ensemble()
    several.fit(X, Y, epochs=2, verbose=0)
    outputs = np.array([net.predict(X) for net in several.networks], np.float64)
    assert several.predict(X).dtype == several.spread(X).dtype == np.float32
    np.testing.assert_allclose(several.predict(X), outputs.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(several.spread(X), outputs.std(axis=0), rtol=1e-5)
    assert (several.classify(X) == outputs.mean(axis=0).argmax(axis=1)).all()
    parts = [several.predict(X[rows]) for rows in (slice(70), slice(70, None))]
    assert (several.predict(X) == np.concatenate(parts)).all()
    same = fastnn.Ensemble([several.networks[0], several.networks[0].copy()])
    assert (same.spread(X) == 0).all()
    assert (same.predict(X) == several.networks[0].predict(X)).all()
    assert len(several) == 4
    assert repr(same).startswith("Ensemble([Network(9, [Dense(5")


CASES = {
    "softmax": ({}, Y),
    "sigmoid": ({"outputs": 1, "output": "sigmoid"}, Y == 0),
    "several labels": ({"output": "sigmoid"}, X[:, :3] > 0.5),
    "numbers": ({"output": "identity", "standardize": True}, 50 * X[:, :3] - 7),
    "softmax, squares": ({"loss": "mean_squared_error"}, np.eye(3)[Y]),
    "soft targets": ({"dtype": "float64"}, X[:, :3] / X[:, :3].sum(axis=1, keepdims=True)),
}


@pytest.mark.parametrize("case", CASES)
def test_what_one_network_is_worth_it_is_worth_in_an_ensemble(case):
    options, y = CASES[case]
    several = ensemble(1, **options)
    several.fit(X, y, epochs=5, verbose=0)
    (net,) = several.networks
    expected, found = net.evaluate(X, y), several.evaluate(X, y)
    assert found.keys() == expected.keys()
    assert found == pytest.approx(expected, rel=1e-5)


def test_what_many_are_worth():
    several = ensemble()
    several.fit(X, Y, epochs=5, verbose=0)
    found = several.evaluate(X, Y, metrics=["log_loss", "f1"])
    p = several.predict(X).astype(np.float64)
    assert found["loss"] == pytest.approx(-np.log(p[np.arange(200), Y]).mean(), rel=1e-6)
    assert found["log_loss"] == pytest.approx(found["loss"], rel=1e-6)
    assert found["accuracy"] == np.mean(several.classify(X) == Y)
    assert found["loss"] < np.mean([net.evaluate(X, Y)["loss"] for net in several.networks])


def test_outputs_that_are_certain_have_a_finite_loss():
    h = np.array([[0, 1], [0.25, 0.75]], np.float32)
    assert np.isfinite(unactivated(h, "softmax")).all()
    z = unactivated(h, "sigmoid")
    assert np.isfinite(z).all()
    assert z[1] == pytest.approx([-np.log(3), np.log(3)])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"outputs": 4}, "expected outputs 3, as of network 0, got 4 of network 1"),
        ({"loss": "mean_squared_error"}, "expected loss Loss.*, got Loss.*of network 1"),
        ({"dtype": "float64"}, r"expected dtype dtype\('float32'\), as of network 0"),
    ],
)
def test_networks_that_do_not_fit_together(change, words):
    (first,), (other,) = ensemble(1).networks, ensemble(1, **change).networks
    with pytest.raises(ValueError, match=words):
        fastnn.Ensemble([first, other])
    with pytest.raises(ValueError, match="got the same as networks 0 and 1"):
        fastnn.Ensemble([first, first])


def test_numbers_are_no_classes():
    several = ensemble(outputs=1, output="identity")
    with pytest.raises(ValueError, match="expected outputs that are classes"):
        several.classify(X)


# --------------------------------------------------------------------------------------- one file


@pytest.fixture
def saved(tmp_path):
    """An ensemble of 11 networks that learned scales, and its file."""
    several = ensemble(11, standardize=True)
    several.fit(X, Y, epochs=1, verbose=0)
    for net in several.networks:
        net.classes = ("a", "b", "c")
    path = tmp_path / "several.fastnn"
    several.save(path)
    return several, path


def test_saved_and_loaded(saved, tmp_path):
    several, path = saved
    again = fastnn.Ensemble.load(path, num_threads=1)
    assert (again.predict(X) == several.predict(X)).all()
    assert (again.spread(X) == several.spread(X)).all()
    assert [net.seed for net in again.networks] == list(range(11))
    assert {net.classes for net in again.networks} == {("a", "b", "c")}
    assert {net.num_threads for net in again.networks} == {1}
    again.save(tmp_path / "twin")
    assert (tmp_path / "twin").read_bytes() == path.read_bytes()


def test_what_stands_in_the_file(saved):
    several, path = saved
    with safe_open(path, "numpy") as file:
        description = json.loads(file.metadata()["fastnn"])
        weights = file.get_tensor("networks.10.layers.0.weights")
    assert description.keys() == {"format", "networks"}
    assert description["format"] == 5
    assert {one["format"] for one in description["networks"]} == {2}
    assert (weights == several.networks[10].layers[0].weights).all()


def test_each_kind_of_file_says_what_it_is(saved, tmp_path, refusal):
    several, path = saved
    message = refusal(fastnn.load, path)
    assert message.endswith("expected one network, got an ensemble; use fastnn.Ensemble.load")
    several.networks[0].save(tmp_path / "one")
    message = refusal(fastnn.Ensemble.load, tmp_path / "one")
    assert message.endswith("expected an ensemble, got one network; use fastnn.load")


def test_every_byte_counts(saved, refusal, write):
    _, path = saved
    whole = path.read_bytes()
    for place in {*range(0, len(whole), 397), *range(8)}:
        broken = bytearray(whole)
        broken[place] ^= 1
        refusal(fastnn.Ensemble.load, write("broken", bytes(broken)))
    for length in (0, 5, 100, len(whole) // 2, len(whole) - 1):
        refusal(fastnn.Ensemble.load, write("broken", whole[:length]))
    refusal(fastnn.Ensemble.load, write("broken", whole + b"0"))


def rewritten(path, change):
    """The file with another description or other tensors."""
    with safe_open(path, "numpy") as file:
        description = json.loads(file.metadata()["fastnn"])
    tensors = load_file(path)
    change(description, tensors)
    save_file(tensors, path, {"fastnn": json.dumps(description)})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d, t: d.update(format=4), "expected format 5 for an ensemble, got 4"),
        (lambda d, t: d.update(format=6), "written by a newer fastnn"),
        (lambda d, t: d.update(more=1), "expected no entries"),
        (lambda d, t: d.update(networks=[]), "expected a list of networks"),
        (lambda d, t: d.update(networks={}), "expected a list of networks"),
        (lambda d, t: d.update(networks=[3]), "expected an object for each network"),
        (lambda d, t: d["networks"].pop(), "expected tensors of the networks"),
        (lambda d, t: d["networks"].append(d["networks"][0]), "expected the entries"),
        (lambda d, t: d["networks"][1].update(format=6), "written by a newer fastnn"),
        (lambda d, t: d["networks"][1].pop("format"), "no format number"),
        (lambda d, t: d["networks"][1].update(seed=99), "checksum"),
        (lambda d, t: d["networks"][1].update(inputs=8), "expected"),
        (lambda d, t: t.pop("networks.3.inputs.factor"), "expected"),
        (lambda d, t: t.update(more=t["networks.0.inputs.center"]), "tensors of the networks"),
        (lambda d, t: d["networks"].__setitem__(0, d["networks"][1]), "expected"),
    ],
)
def test_files_that_are_none(saved, refusal, change, words):
    _, path = saved
    rewritten(path, change)
    assert words in refusal(fastnn.Ensemble.load, path)


def test_networks_that_differ_in_a_file(tmp_path, refusal):
    from fastnn import files

    files.save_all([*ensemble(1).networks, *ensemble(1, outputs=4).networks], tmp_path / "odd")
    message = refusal(fastnn.Ensemble.load, tmp_path / "odd")
    assert "expected outputs 3, as of network 0, got 4 of network 1" in message


def test_what_cannot_be_saved(tmp_path):
    several = ensemble()
    several.networks[2].layers[0].weights[0, 0] = np.nan
    with pytest.raises(ValueError, match=r"expected finite weights.*nothing was saved"):
        several.save(tmp_path / "file")
    assert not (tmp_path / "file").exists()
    with pytest.raises(TypeError, match="expected a path"):
        several.save(3)
