"""The range test of learning rates."""

import numpy as np
import pytest

import fastnn


def digits():
    (x, y), test = fastnn.datasets.load_digits()
    return (x[:2000], y[:2000]), test


def test_the_suggestion_trains_and_the_network_stays_as_it_was():
    (x, y), test = digits()
    net = fastnn.mlp([784, 16, 10], input_scale=1 / 255)
    before = net.program.parameters.tobytes()
    for optimizer in ("adam", "sgd"):
        found = fastnn.find_learning_rate(net, x, y, optimizer=optimizer)
        assert net.program.parameters.tobytes() == before
        assert net.trained.steps == 0
        assert len(found.rates) == len(found.losses) == len(found.smoothed) <= 200
        assert found.rates[0] == pytest.approx(1e-6)
        assert found.rates[1:] / found.rates[:-1] == pytest.approx(1e7 ** (1 / 199))
        kind = {"adam": fastnn.Adam, "sgd": fastnn.SGD}[optimizer]
        trained = net.copy()
        trained.fit(x, y, epochs=5, optimizer=kind(found.suggestion), verbose=0)
        assert trained.evaluate(*test)["accuracy"] > 0.8


def test_the_losses_are_those_of_the_batches():
    """At a rate near zero the first epoch has the losses of the untrained network."""
    (x, y), _ = digits()
    net = fastnn.mlp([784, 16, 10], input_scale=1 / 255, engine="reference")
    found = fastnn.find_learning_rate(
        net, x[:100], y[:100], optimizer="sgd", batch_size=30, lowest=1e-30, highest=1e-29, steps=4
    )
    sizes = np.array([30, 30, 30, 10])
    whole = net.evaluate(x[:100], y[:100])["loss"]
    assert (found.losses * sizes).sum() / 100 == pytest.approx(whole, rel=1e-6)
    weights = 0.95 ** np.arange(3, -1, -1)
    assert found.smoothed[-1] == pytest.approx((weights * found.losses).sum() / weights.sum())


def test_it_ends_where_training_would():
    (x, y), _ = digits()
    net = fastnn.mlp([784, 16, 10], input_scale=1 / 255)
    found = fastnn.find_learning_rate(net, x, y, optimizer="sgd", highest=1e6)
    assert len(found.rates) < 200
    assert np.isfinite(found.losses).all()
    assert found.suggestion < 10


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lowest": 0}, "expected a positive lowest, got 0"),
        ({"lowest": 1, "highest": 1}, "expected highest above lowest, 1, got 1"),
        ({"steps": 1}, "expected steps to be at least 2, got 1"),
    ],
)
def test_bad_ranges(options, message):
    with pytest.raises(ValueError, match=message):
        fastnn.find_learning_rate(fastnn.mlp([4, 2]), np.ones((6, 4)), [0] * 6, **options)
