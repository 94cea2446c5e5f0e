"""The names of activations."""

import pytest

import fastnn
from fastnn import activations
from fastnn.activations import ACTIVATIONS, Activation
from fastnn.program import ACTIVATE, SOFTMAX


def test_names_and_codes_are_those_of_the_registry():
    codes = [(a.kind, a.code) for a in ACTIVATIONS.values()]
    assert sorted(codes) == [(ACTIVATE, n) for n in range(len(codes) - 1)] + [(SOFTMAX, 0)]
    assert all(name == a.name for name, a in ACTIVATIONS.items())


def test_get_takes_a_name_or_an_activation():
    assert activations.get("relu") is ACTIVATIONS["relu"]
    assert activations.get(fastnn.LeakyReLU(0.2)) == Activation("leaky_relu", 4, 0.2)


def test_unknown_name_suggests_the_nearest():
    with pytest.raises(ValueError, match=r"^unknown activation 'rleu'; did you mean 'relu'\? "):
        activations.get("rleu")


def test_unknown_name_far_from_all_lists_them():
    with pytest.raises(ValueError, match=r"^unknown activation 'xyz' \(one of: identity, sigmoid"):
        activations.get("xyz")


@pytest.mark.parametrize("alpha", [0, -0.1, float("nan"), float("inf")])
def test_elu_wants_a_positive_alpha(alpha):
    with pytest.raises(ValueError, match=r"^expected a positive alpha, got "):
        fastnn.ELU(alpha)


@pytest.mark.parametrize("slope", [0, -0.1, float("nan"), float("inf")])
def test_leaky_relu_wants_a_positive_slope(slope):
    with pytest.raises(ValueError, match=r"^expected a positive slope, got "):
        fastnn.LeakyReLU(slope)
