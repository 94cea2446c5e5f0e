"""Single neurons: their sums, what excites them, and networks without them."""

import numpy as np
import pytest

import fastnn
from fastnn import inspection

X = np.random.default_rng(0).normal(size=(60, 6))
Y = np.random.default_rng(1).integers(0, 3, 60)


def network(engine="reference", **options):
    """6-5-4-3 with dropout between, in float64."""
    layers = [
        fastnn.Dense(5, "sigmoid"),
        fastnn.Dropout(0.2),
        fastnn.Dense(4, "tanh"),
        fastnn.Dense(3, "softmax"),
    ]
    return fastnn.Network(6, layers, engine=engine, **{"dtype": "float64", "seed": 2} | options)


def without(net, layer, neurons):
    """A copy in which the weights behind some neurons are zero."""
    found = net.copy()
    found.layers[layer + 1 + (layer == 0)].weights[neurons] = 0
    return found


def test_weights_and_sums(engine_name):
    net = network(engine_name)
    net.layers[2].biases[...] = [1, 2, 3, 4]
    found = inspection.neuron(net, 2, 1)
    assert (found.layer, found.index, found.bias) == (2, 1, 2.0)
    assert (found.incoming == net.layers[2].weights[:, 1]).all()
    assert (found.outgoing == net.layers[3].weights[1]).all()
    assert inspection.neuron(net, -1, 0).outgoing is None
    z = inspection.terms(net, 2, 1, X).sum(axis=1) + found.bias
    assert np.tanh(z) == pytest.approx(net.activations(X)[3][:, 1], abs=1e-12)
    assert inspection.terms(net, 0, 4, X) == pytest.approx(X * net.layers[0].weights[:, 4])


def test_examples_and_classes(engine_name):
    net = network(engine_name)
    h = net.activations(X)[1][:, 3]
    found = inspection.neuron(net, 0, 3, X, Y, top=5)
    assert (found.activations == h).all()
    assert (found.examples == np.argsort(-h)[:5]).all()
    assert found.class_means == pytest.approx([h[c == Y].mean() for c in range(3)])
    between = sum((c == Y).sum() * (h[c == Y].mean() - h.mean()) ** 2 for c in range(3))
    assert found.selectivity == pytest.approx(between / ((h - h.mean()) ** 2).sum())
    assert inspection.neuron(net, 0, 3, X).class_means is None


def test_selectivity_is_one_for_the_class_itself():
    net = fastnn.Network(1, [fastnn.Dense(2, "relu"), fastnn.Dense(2, "softmax")])
    net.layers[0].weights[...] = [[1, 0]]
    labels = np.array([0, 0, 2, 2])
    found = inspection.neuron(net, 0, 0, labels[:, None].astype(float), labels)
    assert found.selectivity == pytest.approx(1)
    assert found.class_means == pytest.approx([0, np.nan, 2], nan_ok=True)
    assert inspection.neuron(net, 0, 1, labels[:, None], labels).selectivity == 0


@pytest.mark.parametrize("options", [{}, {"input_scale": 1 / 255}, {"standardize": True}])
def test_the_preferred_input_excites_within_bounds(engine_name, options):
    net = network(engine_name, **options)
    x = np.clip(X * 60 + 128, 0, 255) if options else X
    if options.get("standardize"):
        net.fit(x, Y, epochs=1, verbose=0)
    for layer, index in ((0, 2), (2, 1), (3, 0)):
        for rows in (None, x):
            found = inspection.neuron(net, layer, index, rows)
            assert found.preferred.shape == (6,)
            best = net.activations(found.preferred[None])[layer + 1][0, index]
            if rows is not None:
                h = found.activations
                assert best > np.quantile(h, 0.8)
                assert (found.preferred >= x.min(axis=0) - 1e-3).all()
                assert (found.preferred <= x.max(axis=0) + 1e-3).all()
    if options.get("input_scale"):
        assert (found.preferred >= 0).all()
        assert found.preferred.max() <= 255 + 1e-3


def test_a_lesion_silences_and_heals(engine_name):
    net = network(engine_name)
    before, kept = net.predict(X), net.get_weights()
    for layer, neurons in ((0, [1, 3]), (2, 0), (-2, -1)):
        with inspection.lesion(net, layer, neurons) as same:
            assert same is net
            found = net.predict(X)
        expected = without(net, layer % 4, neurons).predict(X)
        assert found == pytest.approx(expected, abs=1e-12)
        assert np.abs(found - before).max() > 1e-3
    with pytest.raises(KeyError), inspection.lesion(net, 0, [2]):
        raise KeyError
    assert all((a == b).all() for a, b in zip(net.get_weights(), kept, strict=True))


@pytest.mark.parametrize("layer", [0, 2])
def test_importance_is_the_accuracy_that_a_lesion_costs(engine_name, layer):
    net = network(engine_name)
    net.fit(X, Y, epochs=30, verbose=0)
    before = net.evaluate(X, Y)["accuracy"]
    found = inspection.importance(net, layer, X, Y)
    assert found.shape == (net.layers[layer].units,)
    for k, lost in enumerate(found):
        with inspection.lesion(net, layer, k):
            assert before - net.evaluate(X, Y)["accuracy"] == pytest.approx(lost)
    assert np.abs(found).max() > 0


def test_importance_for_numbers_is_the_loss(engine_name):
    layers = [fastnn.Dense(4, "tanh"), fastnn.Dense(2)]
    net = fastnn.Network(6, layers, standardize=True, engine=engine_name, dtype="float64")
    t = 5 * X[:, :2] + 3
    net.fit(X, t, epochs=5, verbose=0)
    found = inspection.importance(net, 0, X, t)
    with inspection.lesion(net, 0, 2):
        without = net.evaluate(X, t)["loss"]
    assert found[2] == pytest.approx(without - net.evaluate(X, t)["loss"])


def test_what_is_refused():
    net = network()
    with pytest.raises(TypeError, match=r"expected layer to be that of a Dense, got Dropout"):
        inspection.neuron(net, 1, 0)
    with pytest.raises(ValueError, match="expected index below 5, got 5"):
        inspection.neuron(net, 0, 5)
    with pytest.raises(ValueError, match="expected neurons below 5, got 7"):
        inspection.lesion(net, 0, [1, 7]).__enter__()
    with pytest.raises(ValueError, match="expected a hidden layer that one dense layer reads"):
        inspection.importance(net, 3, X, Y)
    with pytest.raises(ValueError, match="expected x with y, got none"):
        inspection.neuron(net, 0, 0, y=Y)
    with pytest.raises(ValueError, match=r"expected labels \(60,\) in y, got \(6,\)"):
        inspection.neuron(net, 0, 0, X, Y[:6])
