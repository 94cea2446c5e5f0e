"""The names of losses, and which output they fit."""

import pytest

from fastnn import losses
from fastnn.activations import ACTIVATIONS
from fastnn.losses import LOSSES


def test_names_and_codes_are_those_of_the_registry():
    assert [loss.code for loss in LOSSES.values()] == list(range(len(LOSSES)))
    assert all(name == loss.name for name, loss in LOSSES.items())


@pytest.mark.parametrize("output", ACTIVATIONS)
def test_default_follows_from_the_output(output):
    expected = {"softmax": "cross_entropy", "sigmoid": "binary_cross_entropy"}
    loss = losses.default(ACTIVATIONS[output])
    assert loss.name == expected.get(output, "mean_squared_error")
    losses.fits(loss, ACTIVATIONS[output], 3)


@pytest.mark.parametrize("output", ACTIVATIONS)
@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_fits_its_own_output_only(name, output):
    loss = LOSSES[name]
    if loss.output in (None, output):
        losses.fits(loss, ACTIVATIONS[output], 3)
    else:
        with pytest.raises(ValueError, match=f"^expected {loss.output} outputs for {name}, got "):
            losses.fits(loss, ACTIVATIONS[output], 3)


def test_softmax_wants_two_outputs():
    with pytest.raises(ValueError, match=r"^expected softmax with at least 2 outputs, got 1"):
        losses.fits(LOSSES["cross_entropy"], ACTIVATIONS["softmax"], 1)


def test_unknown_name_suggests_the_nearest():
    with pytest.raises(ValueError, match=r"did you mean 'cross_entropy'\?"):
        losses.get("crossentropy")
