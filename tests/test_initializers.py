"""Initial weights."""

import math

import numpy as np
import pytest

from fastnn import initializers
from fastnn.activations import ACTIVATIONS
from fastnn.initializers import INITIALIZERS

I, O = 300, 500  # noqa: E741
VARIANCES = {"glorot": 2 / (I + O), "he": 2 / I, "lecun": 1 / I}


@pytest.mark.parametrize("name", [name for name in INITIALIZERS if name != "zeros"])
def test_mean_and_variance(name):
    weights = initializers.weights(name, (I, O), seed=1, layer=0)
    variance = VARIANCES[name.split("_")[0]]
    assert weights.shape == (I, O)
    assert abs(weights.mean()) < 5 * math.sqrt(variance / weights.size)
    # the variance of n squares, at most 2 * variance^2 each
    assert weights.var() == pytest.approx(variance, rel=5 * math.sqrt(2 / weights.size))


@pytest.mark.parametrize("name", [name for name in INITIALIZERS if name.endswith("uniform")])
def test_uniform_keeps_its_limit(name):
    weights = initializers.weights(name, (I, O), seed=1, layer=0)
    limit = math.sqrt(3 * VARIANCES[name.split("_")[0]])
    assert 0.999 * limit < np.abs(weights).max() <= limit


def test_zeros():
    assert not initializers.weights("zeros", (3, 4), seed=0, layer=0).any()


def test_weights_follow_from_seed_and_layer():
    def first(seed, layer):
        return initializers.weights("he_normal", (4, 3), seed, layer).tobytes()

    assert first(1, 0) == first(1, 0)
    assert len({first(1, 0), first(2, 0), first(1, 1), first(2**64 - 1, 0)}) == 4


def test_defaults():
    names = {name: initializers.default(a) for name, a in ACTIVATIONS.items()}
    relus = ("relu", "leaky_relu", "elu", "gelu", "gelu_tanh", "silu", "mish")
    assert {names.pop(name) for name in relus} == {"he_uniform"}
    assert names.pop("selu") == "lecun_normal"
    assert set(names.values()) == {"glorot_uniform"}


def test_unknown_name_suggests_the_nearest():
    with pytest.raises(ValueError, match=r"did you mean 'he_normal'\?"):
        initializers.check("he_norml")
