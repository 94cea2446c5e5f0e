"""Attributions: against numerical derivatives, sums that must hold, and numbers by hand."""

import numpy as np
import pytest

import fastnn
from fastnn import inspection, program
from fastnn.inspection import _functions, _relevance
from fastnn.inspection.attributions import METHODS

X = np.random.default_rng(0).normal(size=(7, 6))


def network(engine="reference", hidden="tanh", output="softmax", **options):
    """6-5-4-3 with dropout behind the first layer, and biases that are not zero."""
    options = {"dtype": "float64", "seed": 3} | options
    layers = [
        fastnn.Dense(5, hidden),
        fastnn.Dropout(0.3),
        fastnn.Dense(4, hidden),
        fastnn.Dense(3, output),
    ]
    net = fastnn.Network(6, layers, engine=engine, **options)
    for k in (0, 2, 3):
        net.layers[k].biases[...] = np.random.default_rng(k).normal(0, 0.3, net.layers[k].units)
    return net


def scores(net, x):
    """z of the last layer, from the values before it."""
    return net.activations(x)[-2] @ net.layers[-1].weights + net.layers[-1].biases


def slopes(f, x, step=1e-6):
    """Numerical derivatives (B, O, I) of f."""
    columns = [(f(x + step * e) - f(x - step * e)) / (2 * step) for e in np.eye(x.shape[1])]
    return np.stack(columns, axis=2)


@pytest.fixture(scope="module")
def digits():
    """784-128-10 after some epochs, and the test digits."""
    (x, y), test = fastnn.datasets.load_digits()
    net = fastnn.mlp([784, 128, 10], input_scale=1 / 255)
    net.fit(x, y, epochs=3, optimizer=fastnn.Adam(2e-3), verbose=0)
    return net, *test


# Gradients, and what is made of them.


@pytest.mark.parametrize("options", [{}, {"input_scale": 0.3}, {"output": "sigmoid"}])
def test_gradients_are_numerical_derivatives(engine_name, options):
    net = network(engine_name, **options)
    expected = slopes(lambda x: scores(net, x), X)
    for target in range(3):
        found = inspection.attribute(net, X, target, method="gradient")
        assert found == pytest.approx(expected[:, target], abs=1e-8)
    found = inspection.attribute(net, X, 1, against=[0, 1, 2, 0, 1, 2, 0], method="gradient")
    other = expected[np.arange(7), [0, 1, 2, 0, 1, 2, 0]]
    assert found == pytest.approx(expected[:, 1] - other, abs=1e-8)


def test_standardised_columns_and_targets(engine_name):
    x = X * [1, 10, 100, 1, 1, 1] + [0, 5, 50, 0, 0, 0]
    net = network(engine_name, output="identity", standardize=True)
    net.fit(x, 7 * X[:, :3] + 2, epochs=3, verbose=0)
    expected = slopes(net.predict, x)
    assert inspection.jacobian(net, x) == pytest.approx(expected, abs=1e-6)
    found = inspection.attribute(net, x, 2, method="integrated_gradients")
    change = net.predict(x) - net.predict(x.mean(axis=0)[None])  # the baseline: the means
    assert found.sum(axis=1) == pytest.approx(change[:, 2])
    shares = inspection.attribute(net, x, 2, method="lrp").sum(axis=1)
    assert shares == pytest.approx(net.predict(x)[:, 2] - net.output_center[2])


def test_the_jacobian_is_that_of_predict(engine_name):
    net = network(engine_name)
    assert inspection.jacobian(net, X) == pytest.approx(slopes(net.predict, X), abs=1e-8)
    assert inspection.jacobian(net, X).shape == (7, 3, 6)


def test_gradients_of_many_rows_are_those_of_each(engine_name, monkeypatch):
    net = network(engine_name)
    whole = inspection.attribute(net, X, 0, method="gradient")
    monkeypatch.setattr(_functions, "ROWS", 2)
    assert inspection.attribute(net, X, 0, method="gradient") == pytest.approx(whole, abs=1e-12)


def test_by_default_the_largest_score_is_explained(engine_name):
    net = network(engine_name)
    expected = inspection.attribute(net, X, net.classify(X))
    assert inspection.attribute(net, X) == pytest.approx(expected)


@pytest.mark.parametrize("method", METHODS)
def test_attributions_of_a_linear_network_by_hand(engine_name, method):
    net = fastnn.Network(2, [fastnn.Dense(2)], dtype="float64", engine=engine_name)
    net.layers[0].weights[...] = [[1, 3], [2, -4]]
    found = inspection.attribute(net, [[5.0, 6.0]], 1, method=method)
    expected = [3, -4] if method == "gradient" else [15, -24]
    # ε, 0.01 of z = -9, is shared out as 15 and 24 are
    assert found[0] == pytest.approx(expected, abs=0.03 if method == "lrp" else 1e-12)


# Sums.


@pytest.mark.parametrize("hidden", ["tanh", "sigmoid", "gelu"])
def test_integrated_gradients_sum_to_the_change_of_the_score(engine_name, hidden):
    net, baseline = network(engine_name, hidden), np.linspace(-1, 1, 6)
    change = scores(net, X) - scores(net, baseline[None])
    found = inspection.attribute(net, X, 2, 0, baseline=baseline)
    assert found.sum(axis=1) == pytest.approx(change[:, 2] - change[:, 0], abs=1e-9)


def test_integrated_gradients_of_digits(digits):
    net, x, _ = digits
    found = inspection.attribute(net, x[:20], steps=300).sum(axis=1)
    change = scores(net, x[:20]).max(axis=1) - scores(net, x[:1] * 0)[0, net.classify(x[:20])]
    assert found == pytest.approx(change, abs=0.02)  # relu has kinks on the way


@pytest.mark.parametrize("hidden", ["relu", "tanh", "silu"])
def test_relevance_is_conserved(engine_name, hidden):
    net = network(engine_name, hidden)
    for target, against in ((0, None), (1, 2)):
        z = scores(net, X)
        expected = z[:, target] - (0 if against is None else z[:, against])
        found = inspection.attribute(net, X, target, against, method="lrp")
        assert found.sum(axis=1) == pytest.approx(expected, abs=1e-9)
    nothing = inspection.attribute(net, X * 0, 0, method="lrp")  # biases alone speak
    assert nothing.sum(axis=1) == pytest.approx(scores(net, X * 0)[:, 0], abs=1e-9)


def test_relevance_of_digits_is_conserved(digits):
    net, x, _ = digits
    found = inspection.attribute(net, x, method="lrp")
    assert found.sum(axis=1) == pytest.approx(scores(net, x).max(axis=1), abs=1e-4)
    assert np.abs(found[x == 0]).max() < 1e-6  # black pixels have none


def test_relevance_is_conserved_where_values_are_added():
    builder = program.Builder(3)
    first = builder.dense(0, 4, "layers.0")
    last = builder.dense(builder.add(first, builder.dense(first, 4, "layers.1")), 2, "layers.2")
    built = builder.program([first, last], 2, "float64")
    built.parameters[: -program.PADDING] = np.random.default_rng(1).normal(
        size=len(built.parameters) - program.PADDING
    )
    from fastnn import reference

    x, out = X[:, :3].copy(), np.zeros((7, 2))
    reference.forward(built, x, out, 1)
    found = _relevance.relevance(built, x, np.array([[1.0, -2.0]]))
    assert found.sum(axis=1) == pytest.approx(out @ [1, -2], abs=1e-9)


def test_relevance_is_conserved_through_every_layer(engine_name):
    layers = [
        fastnn.Embed({1: (4, 3), 4: (3, 2)}),
        fastnn.Dense(8, "gelu"),
        fastnn.BatchNorm(),
        fastnn.Residual(fastnn.Dense(8), fastnn.PReLU(), fastnn.LayerNorm(), fastnn.Dense(8)),
        fastnn.Dense(6),
        fastnn.Blend("tanh"),
        fastnn.Scale(),
        fastnn.AlphaDropout(0.2),
        fastnn.Dense(3, "softmax"),
    ]
    net = fastnn.Network(6, layers, dtype="float64", engine=engine_name, seed=1)
    x = np.abs(X)
    x[:, [1, 4]] = np.arange(14).reshape(7, 2) % 3
    net.fit(x, np.arange(7) % 3, epochs=3, batch_size=4, verbose=0)
    found = inspection.attribute(net, x, 2, method="lrp")
    assert found.sum(axis=1) == pytest.approx(scores(net, x)[:, 2], abs=1e-9)
    assert np.abs(found).min(axis=0).max() > 0  # codes, too, have some


def test_relevance_names_the_op_that_it_does_not_pass():
    layers = [fastnn.Dense(4, "softmax"), fastnn.Dense(3)]
    net = fastnn.Network(6, layers, dtype="float64")
    with pytest.raises(ValueError, match=r"expected ops that the ε rule passes .* got SOFTMAX"):
        inspection.attribute(net, X, 0, method="lrp")


def test_occlusion_is_what_a_score_loses(engine_name):
    net, baseline = network(engine_name), np.full(6, 0.5)
    found = inspection.attribute(net, X, 1, method="occlusion", baseline=baseline)
    hidden = X.copy()
    hidden[:, 4] = 0.5
    assert found[:, 4] == pytest.approx((scores(net, X) - scores(net, hidden))[:, 1])


# Layers, and promises.


@pytest.mark.parametrize("method", METHODS)
def test_attributions_to_a_layer_are_those_of_the_network_behind_it(engine_name, method):
    net = network(engine_name)
    behind = fastnn.Network(4, [fastnn.Dense(3, "softmax")], dtype="float64", engine=engine_name)
    behind.set_weights(net.get_weights()[4:])
    h = net.activations(X)[3]
    found = inspection.attribute(net, X, 2, method=method, layer=-2)
    assert found == pytest.approx(inspection.attribute(behind, h, 2, method=method), abs=1e-12)


def test_the_pixels_that_attributions_rank_highest_matter(digits):
    net, x, y = digits

    def accuracy(order):
        masked = x.copy()
        np.put_along_axis(masked, order[:, :50], 0, axis=1)
        return net.evaluate(masked, y)["accuracy"]

    found = inspection.attribute(net, x, method="gradient_x_input")
    random = np.random.default_rng(0).random(x.shape).argsort(axis=1)
    assert accuracy((-found).argsort(axis=1)) < accuracy(random) - 0.3


def test_what_is_refused():
    net = network()
    with pytest.raises(ValueError, match=r"unknown method 'gradients'; did you mean 'gradient'\?"):
        inspection.attribute(net, X, method="gradients")
    with pytest.raises(ValueError, match="expected target from 0 to 2, got 3 to 3"):
        inspection.attribute(net, X, 3)
    with pytest.raises(TypeError, match="expected whole numbers in against, got float64"):
        inspection.attribute(net, X, 0, 1.5)
    with pytest.raises(ValueError, match=r"expected target as a number or \(7,\) of them"):
        inspection.attribute(net, X, [1, 2])
    with pytest.raises(ValueError, match="expected no baseline with lrp, got one"):
        inspection.attribute(net, X, method="lrp", baseline=X[0])
    with pytest.raises(ValueError, match=r"expected baseline of shape \(6,\), got \(5,\)"):
        inspection.attribute(net, X, baseline=X[0, :5])
    with pytest.raises(ValueError, match="expected layer below 4, got 4"):
        inspection.attribute(net, X, layer=4)
    with pytest.raises(ValueError, match="expected a layer before the last, got 3"):
        inspection.attribute(net, X, layer=3)
    with pytest.raises(ValueError, match="expected x with 6 features"):
        inspection.attribute(net, X[:, :5])
    with pytest.raises(ValueError, match="expected a network that was fitted"):
        inspection.jacobian(network(standardize=True), X)
