"""Dense layers."""

import numpy as np
import pytest

import fastnn


def test_weights_are_views_of_the_network():
    net = fastnn.mlp([3, 4, 2], engine="reference")
    net.layers[0].weights[...] = 1
    net.layers[0].biases[...] = -2
    assert net.layers[0].weights.shape == (3, 4)
    assert net.layers[0].biases.shape == (4,)
    hidden = net.activations(np.ones((1, 3)))[1]
    assert hidden.tolist() == [[1, 1, 1, 1]]


def test_one_layer_may_be_used_in_many_networks():
    layer = fastnn.Dense(2)
    one = fastnn.Network(3, [layer], engine="reference")
    two = fastnn.Network(3, [layer], engine="reference")
    one.layers[0].weights[...] = 0
    assert two.layers[0].weights.any()
    assert layer._place is None


def test_a_layer_without_network_has_no_weights():
    for name in ("weights", "biases"):
        with pytest.raises(RuntimeError, match=r"use network\.layers\[i\] for its weights"):
            getattr(fastnn.Dense(2), name)


@pytest.mark.parametrize("units", [0, -1])
def test_zero_or_negative_sizes(units):
    with pytest.raises(ValueError, match=rf"^expected units to be at least 1, got {units}$"):
        fastnn.Dense(units)


@pytest.mark.parametrize("units", [2.5, "3", None])
def test_sizes_of_another_type(units):
    with pytest.raises(TypeError, match=r"^expected units to be a whole number, got "):
        fastnn.Dense(units)


def test_softmax_of_one_unit():
    with pytest.raises(ValueError, match=r"^expected softmax with at least 2 outputs, got 1"):
        fastnn.Dense(1, "softmax")


def test_unknown_names():
    with pytest.raises(ValueError, match=r"did you mean 'tanh'\?"):
        fastnn.Dense(2, "tahn")
    with pytest.raises(ValueError, match=r"did you mean 'zeros'\?"):
        fastnn.Dense(2, initializer="zero")
