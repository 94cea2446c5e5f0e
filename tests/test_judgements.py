"""Confusions, calibration, probes: numbers by hand, and data that are known to be so."""

import numpy as np
import pytest

import fastnn
from fastnn import inspection

X = np.random.default_rng(0).normal(size=(400, 5))


def identity(outputs=3, output="softmax", engine="auto"):
    """A network whose scores are its inputs."""
    net = fastnn.Network(outputs, [fastnn.Dense(outputs, output)], dtype="float64", engine=engine)
    net.layers[0].weights[...] = np.eye(outputs)
    return net


def test_confusions_by_hand(engine_name):
    net = identity(engine=engine_name)
    x = np.log([[0.5, 0.3, 0.2], [0.8, 0.1, 0.1], [0.1, 0.7, 0.2], [0.2, 0.2, 0.6]])
    found = inspection.confusion(net, x, [1, 1, 1, 2])
    assert found.counts.tolist() == [[0, 0, 0], [2, 1, 0], [0, 0, 1]]
    assert found.certainty == pytest.approx([0.5, 0.8, 0.7, 0.6])
    assert found.examples(1, 0).tolist() == [1, 0]
    assert found.examples(0, 1).tolist() == []
    with pytest.raises(ValueError, match="expected labels from 0 to 2 in y, got 3"):
        inspection.confusion(net, x, [0, 1, 2, 3])
    one = inspection.confusion(identity(1, "sigmoid"), [[-1.0], [2.0]], [1, 1])
    assert one.counts.tolist() == [[0, 0], [1, 1]]
    assert one.certainty == pytest.approx([1 / (1 + np.exp(-1)), 1 / (1 + np.exp(-2))])


def test_the_calibration_error_by_hand(engine_name):
    net = identity(engine=engine_name)
    x = np.log([[0.72, 0.18, 0.1], [0.76, 0.14, 0.1], [0.05, 0.92, 0.03], [0.5, 0.45, 0.05]])
    found = inspection.calibration(net, x, [0, 1, 1, 0], bins=10)
    assert found.rows.tolist() == [0, 0, 0, 0, 0, 1, 0, 2, 0, 1]
    assert found.certainty[[5, 7, 9]] == pytest.approx([0.5, 0.74, 0.92])
    assert found.accuracy[[5, 7, 9]] == pytest.approx([1, 0.5, 1])
    assert found.error == pytest.approx((0.5 + 2 * 0.24 + 0.08) / 4)


@pytest.mark.parametrize("outputs", [1, 4])
def test_the_temperature_is_found_and_kept(outputs, tmp_path):
    random = np.random.default_rng(1)
    z = random.normal(size=(40_000, outputs))
    both = np.concatenate([0 * z, z], axis=1) if outputs == 1 else z
    drawn = (both + random.gumbel(size=both.shape)).argmax(axis=1)  # by softmax(z)
    net = identity(outputs, "sigmoid" if outputs == 1 else "softmax")
    net.layers[0].weights[...] *= 2.5  # too certain
    before = net.classify(z)
    found = inspection.calibration(net, z, drawn)
    assert found.temperature == pytest.approx(2.5, rel=0.03)
    assert found.tempered_error < 0.02 < 0.1 < found.error
    inspection.temper(net, found.temperature)
    net.save(tmp_path / "net")
    again = fastnn.load(tmp_path / "net")
    assert (again.classify(z) == before).all()
    cool = inspection.calibration(again, z, drawn)
    assert cool.temperature == pytest.approx(1)
    assert cool.error == pytest.approx(found.tempered_error)


def test_tempering_divides_the_scores(engine_name):
    net = identity(engine=engine_name)
    net.layers[0].biases[...] = [1, 2, 3]
    inspection.temper(net, 4)
    e = np.exp((X[:, :3] + [1, 2, 3]) / 4)
    assert net.predict(X[:, :3]) == pytest.approx(e / e.sum(axis=1, keepdims=True))


def test_what_cannot_be_calibrated():
    with pytest.raises(ValueError, match="expected softmax or one sigmoid as outputs, got 3 of"):
        inspection.calibration(identity(output="sigmoid"), X[:, :3], np.zeros(400, int))
    with pytest.raises(ValueError, match="expected a positive temperature, got 0"):
        inspection.temper(identity(), 0)


def test_layers_separate_what_inputs_do_not(engine_name):
    y = (np.sqrt((X[:, :2] ** 2).sum(axis=1)) > 1.1).astype(int)  # a ring: no plane separates it
    layers = [fastnn.Dense(16, "tanh"), fastnn.Dropout(0.1), fastnn.Dense(2, "softmax")]
    net = fastnn.Network(5, layers, engine=engine_name)
    net.fit(X, y, epochs=60, batch_size=16, optimizer=fastnn.Adam(0.02), verbose=0)
    inputs, hidden, output = inspection.separability(net, X, y)
    assert [one.layer for one in (inputs, hidden, output)] == [None, 0, 2]
    assert inputs.accuracy < 0.75 < 0.85 < hidden.accuracy
    assert output.accuracy > 0.85


def test_projections_are_principal_axes():
    x = X * [1, 5, 1, 3, 1]
    inputs, *_ = inspection.separability(fastnn.mlp([5, 2], dtype="float64"), x, np.arange(400) % 2)
    assert np.abs(np.corrcoef(inputs.projection[:, 0], x[:, 1])[0, 1]) > 0.99
    assert inputs.projection[:, 0] @ inputs.projection[:, 1] == pytest.approx(0, abs=1e-6)
    total = x.var(axis=0).sum()
    assert inputs.explained == pytest.approx(inputs.projection.var(axis=0) / total)
    one, *_ = inspection.separability(fastnn.mlp([1, 2]), X[:, :1], np.arange(400) % 2)
    assert one.explained == pytest.approx([1, 0])
