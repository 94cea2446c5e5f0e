"""Shapley values, partial dependence, counterfactuals: sums, numbers by hand, smallest changes."""

from itertools import permutations

import numpy as np
import pytest

import fastnn
from fastnn import inspection
from fastnn.inspection import tables

RANDOM = np.random.default_rng(0)


def network(inputs, outputs=3, output="softmax", engine="auto", **options):
    layers = [fastnn.Dense(8, "tanh"), fastnn.Dense(outputs, output)]
    return fastnn.Network(inputs, layers, engine=engine, **{"dtype": "float64"} | options)


# Shapley values.


def test_shapley_values_by_all_permutations(engine_name):
    net, x = network(4, engine=engine_name), RANDOM.normal(size=(2, 4))
    background = RANDOM.normal(size=(5, 4))
    found = inspection.shapley(net, x, background)
    for row, values in zip(x, found.values, strict=True):
        expected = np.zeros((4, 3))
        for order in permutations(range(4)):
            mixed, before = background.copy(), net.predict(background).mean(axis=0)
            for feature in order:
                mixed[:, feature] = row[feature]
                after = net.predict(mixed).mean(axis=0)
                expected[feature] += (after - before) / 24
                before = after
        assert values == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("features", [1, 12, 13, 20])
def test_shapley_values_sum_to_the_change_of_the_output(engine_name, features, monkeypatch):
    monkeypatch.setattr(tables, "EXACT", 6)
    net = network(features, 2, "identity", engine_name)
    x, background = RANDOM.normal(size=(3, features)), RANDOM.normal(size=(7, features))
    found = inspection.shapley(net, x, background)
    assert found.base == pytest.approx(net.predict(background).mean(axis=0))
    assert found.base + found.values.sum(axis=1) == pytest.approx(net.predict(x), abs=1e-9)


def test_sampled_values_of_a_linear_network_are_exact():
    net = fastnn.Network(20, [fastnn.Dense(2)], dtype="float64")
    x, background = RANDOM.normal(size=(2, 20)), RANDOM.normal(size=(9, 20))
    away = x - background.mean(axis=0)
    expected = away[:, :, None] * net.layers[0].weights
    assert inspection.shapley(net, x, background).values == pytest.approx(expected)


def test_sampled_values_are_near_the_exact_ones(monkeypatch):
    net, x, background = network(8), RANDOM.normal(size=(2, 8)), RANDOM.normal(size=(20, 8))
    exact = inspection.shapley(net, x, background).values
    monkeypatch.setattr(tables, "EXACT", 0)
    sampled = inspection.shapley(net, x, background)
    assert np.abs(sampled.values - exact).max() < 0.2 * np.abs(exact).max()
    assert (inspection.shapley(net, x, background).values == sampled.values).all()
    assert (inspection.shapley(net, x, background, seed=1).values != sampled.values).any()


# Partial dependence.


def test_partial_dependence_is_a_mean(engine_name):
    net, x = network(3, engine=engine_name), RANDOM.normal(size=(60, 3))
    found = inspection.partial_dependence(net, x, 1, points=4)
    assert found.grid[0] == pytest.approx(np.linspace(*np.quantile(x[:, 1], [0.05, 0.95]), 4))
    changed = x.copy()
    changed[:, 1] = found.grid[0][2]
    assert found.means[2] == pytest.approx(net.predict(changed).mean(axis=0))
    x[:, 2] = np.arange(60) % 3
    found = inspection.partial_dependence(net, x, [0, 2], points=5)
    assert found.grid[1].tolist() == [0, 1, 2]
    assert found.means.shape == (5, 3, 3)
    changed = x.copy()
    changed[:, 0], changed[:, 2] = found.grid[0][3], 1
    assert found.means[3, 1] == pytest.approx(net.predict(changed).mean(axis=0))
    with pytest.raises(ValueError, match="expected features below 3, got 3"):
        inspection.partial_dependence(net, x, 3)
    with pytest.raises(ValueError, match="expected one feature or two, got 3"):
        inspection.partial_dependence(net, x, [0, 1, 2])


# Counterfactuals.


def plane(engine, weights, bias=0.0):
    """One sigmoid: class 1 where x @ weights + bias is positive."""
    net = fastnn.Network(len(weights), [fastnn.Dense(1, "sigmoid")], dtype="float64", engine=engine)
    net.layers[0].weights[:, 0] = weights
    net.layers[0].biases[...] = bias
    return net


def test_counterfactuals_of_a_plane_by_hand(engine_name):
    net = plane(engine_name, [3.0, 4.0], -5.0)
    found = inspection.counterfactual(net, [-3.0, -4.0], 1)  # 6 away from the plane
    assert found.x == pytest.approx([0.6, 0.8], abs=1e-3)
    assert found.distance == pytest.approx(6, abs=1e-3)
    assert found.change == pytest.approx([3.6, 4.8], abs=1e-3)
    bound = inspection.counterfactual(net, [-3.0, -4.0], 1, high=[9, 0.5])
    assert bound.x == pytest.approx([1, 0.5], abs=1e-3)
    assert inspection.counterfactual(net, [-3.0, -4.0], 1, frozen=[0]).x == pytest.approx(
        [-3, 3.5], abs=1e-3
    )
    back = inspection.counterfactual(net, [3.0, 4.0], 0)
    assert back.x == pytest.approx([0.6, 0.8], abs=1e-3)
    assert inspection.counterfactual(net, [3.0, 4.0], 1).distance == 0
    with pytest.raises(ValueError, match="expected an input within the bounds of class 1, found"):
        inspection.counterfactual(net, [-3.0, -4.0], 1, high=0)


def test_counterfactuals_are_near_the_smallest(engine_name):
    net = network(2, engine=engine_name)
    net.set_weights([2 * w for w in net.get_weights()])
    side = np.linspace(-3, 3, 301)
    grid = np.stack(np.meshgrid(side, side), axis=2).reshape(-1, 2)
    classes = net.classify(grid)
    for x in np.random.default_rng(1).normal(size=(2, 2)):
        for target in set(classes.tolist()) - {int(net.classify(x[None])[0])}:
            found = inspection.counterfactual(net, x, target, low=-3, high=3)
            assert net.classify(found.x[None])[0] == target
            best = np.linalg.norm(grid[classes == target] - x, axis=1).min()
            assert found.distance < 1.3 * best + 0.03  # a local minimum


def test_counterfactuals_of_standardised_columns():
    x = RANDOM.normal(size=(200, 3)) * [1, 100, 1]
    x[:, 2] = 7  # never varied: the network does not see it
    y = (x[:, 0] + x[:, 1] / 100 > 0).astype(int)
    net = network(3, 2, standardize=True)
    net.fit(x, y, epochs=40, verbose=0)
    row = x[y == 0][0]
    found = inspection.counterfactual(net, row, 1)
    assert net.classify(found.x[None])[0] == 1
    assert found.x[2] == 7
    assert found.change[1] > 10 * found.change[0] > 0  # in deviations they are alike


def test_counterfactuals_of_digits_stay_bytes():
    (x, y), (x_test, _) = fastnn.datasets.load_digits()
    net = fastnn.mlp([784, 32, 10], input_scale=1 / 255)
    net.fit(x, y, epochs=2, verbose=0)
    for target in (3, 7):
        found = inspection.counterfactual(net, x_test[0], target)
        assert net.classify(found.x[None])[0] == target
        assert 0 <= found.x.min() <= found.x.max() <= 255
        assert found.distance < 5


def test_what_is_refused():
    net = network(2)
    with pytest.raises(ValueError, match="expected target below 3, got 3"):
        inspection.counterfactual(net, [0, 0], 3)
    with pytest.raises(ValueError, match=r"expected one input \(2,\), got \(3, 2\)"):
        inspection.counterfactual(net, np.zeros((3, 2)), 0)
    with pytest.raises(ValueError, match="expected low up to high"):
        inspection.counterfactual(net, [0, 0], 0, low=1, high=0)
    with pytest.raises(ValueError, match="expected frozen below 2, got 2"):
        inspection.counterfactual(net, [0, 0], 0, frozen=[2])
    with pytest.raises(ValueError, match="expected outputs that are classes"):
        inspection.counterfactual(network(2, output="identity"), [0, 0], 0)
