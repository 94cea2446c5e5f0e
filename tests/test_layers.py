"""Layers: Dense and Dropout."""

import numpy as np
import pytest

import fastnn


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"l1": -1}, "expected l1 of at least 0, got -1"),
        ({"l2": float("inf")}, "expected l2 of at least 0, got inf"),
        ({"max_norm": 0}, "expected a positive max_norm, got 0"),
    ],
)
def test_penalties_that_cannot_be(options, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        fastnn.Dense(3, **options)


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


# Dropout.


@pytest.mark.parametrize("rate", [1, 1.5, -0.1, float("nan")])
def test_rates_out_of_range(rate):
    with pytest.raises(ValueError, match=rf"^expected rate in \[0, 1\), got {rate}$"):
        fastnn.Dropout(rate)


def test_a_rate_that_is_no_number():
    with pytest.raises(TypeError, match=r"^expected rate to be a number, got "):
        fastnn.Dropout("0.5")


def test_the_last_layer_gives_outputs():
    with pytest.raises(
        ValueError, match=r"^expected a Dense as the last layer, got Dropout\(0.5\)$"
    ):
        fastnn.Network(3, [fastnn.Dense(2), fastnn.Dropout(0.5)])


def dropped(rate=0.5, **options):
    layers = [
        fastnn.Dropout(rate / 2),
        fastnn.Dense(40, "gelu"),
        fastnn.Dropout(rate),
        fastnn.Dense(3, "softmax"),
    ]
    return fastnn.Network(20, layers, **options)


def rows(n=600):
    x = np.random.default_rng(0).normal(size=(n, 20))
    return x, (x[:, 0] > 0).astype(int) + (x[:, 1] > 0)


def test_dropout_changes_no_initial_weights_and_no_prediction(engine_name):
    """It is off wherever nothing is learned."""
    x, y = rows()
    with_it, without = dropped(engine=engine_name), dropped(0, engine=engine_name)
    plain = fastnn.Network(
        20, [fastnn.Dense(40, "gelu"), fastnn.Dense(3, "softmax")], engine=engine_name
    )
    assert (
        with_it.predict(x).tobytes() == plain.predict(x).tobytes() == without.predict(x).tobytes()
    )
    assert with_it.evaluate(x, y) == plain.evaluate(x, y)
    assert with_it.gradients(x, y)[0] == plain.gradients(x, y)[0]
    inputs, first, second, third, _ = with_it.activations(x)
    assert inputs.tobytes() == first.tobytes()
    assert second.tobytes() == third.tobytes()


def test_dropout_of_nothing_trains_the_same_bits(engine_name):
    x, y = rows()
    nets = [dropped(0, engine=engine_name), None]
    nets[1] = fastnn.Network(
        20, [fastnn.Dense(40, "gelu"), fastnn.Dense(3, "softmax")], engine=engine_name
    )
    weights = []
    for net in nets:
        net.fit(x, y, epochs=2, verbose=0)
        weights.append([layer.weights.tobytes() for layer in net.layers if layer.size])
    assert weights[0] == weights[1]


def test_dropout_is_on_in_training(engine_name):
    """Seeds decide what is dropped; a network learns all the same."""
    x, y = rows()
    nets = [dropped(seed=seed, engine=engine_name) for seed in (4, 4, 5)]
    start = nets[0].program.parameters.copy()
    for net in nets:
        net.program.parameters[:] = start
        net.fit(x, y, epochs=1, shuffle=False, verbose=0)
    same, again, other = (net.layers[1].weights.tobytes() for net in nets)
    assert same == again != other
    nets[0].fit(x, y, epochs=40, verbose=0)
    assert nets[0].evaluate(x, y)["accuracy"] > 0.7  # the largest class has half of the rows


@pytest.mark.parametrize("batch_size", [32, 300, 600])
def test_dropout_gives_the_same_bits_on_any_number_of_threads(engine_name, batch_size, monkeypatch):
    """Whole batches, batches in blocks, and batches in units of many calls."""
    from fastnn import training

    monkeypatch.setattr(training, "MOST_UNITS", 1)
    x, y = rows()
    bits = set()
    for threads in (1, 2, 3):
        net = dropped(engine=engine_name, num_threads=threads)
        net.fit(x, y, epochs=2, batch_size=batch_size, verbose=0)
        bits.add(net.program.parameters.tobytes())
    assert len(bits) == 1


def test_a_network_with_dropout_goes_on_after_load(tmp_path):
    x, y = rows()
    whole, half = dropped(), dropped()
    whole.fit(x, y, epochs=4, verbose=0)
    half.fit(x, y, epochs=2, verbose=0)
    half.save(tmp_path / "net", optimizer=True)
    back = fastnn.load(tmp_path / "net")
    back.fit(x, y, epochs=2, verbose=0)
    assert back.program.parameters.tobytes() == whole.program.parameters.tobytes()


def test_summary_names_dropout(capsys):
    dropped().summary()
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == ["1", "20", "20", "0", "0", "0", "dropout", "0.25"]
    assert lines[2].split() == ["2", "20", "40", "840", "800", "3,360", "gelu"]
    assert lines[-1].startswith("963 parameters")


def test_a_step_of_dropout_by_hand(engine_name):
    """PyTorch's formula: y = x * mask / (1 - rate), and its chain rule, in float64."""
    from fastnn._random import DROP, words

    x, t = np.random.default_rng(1).normal(size=(8, 6)), np.zeros((8, 2))
    layers = [fastnn.Dropout(0.4), fastnn.Dense(2)]
    net = fastnn.Network(6, layers, dtype="float64", seed=9, engine=engine_name)
    W, b = net.layers[1].weights.copy(), net.layers[1].biases.copy()  # noqa: N806
    net.fit(x, t, epochs=1, batch_size=8, shuffle=False, optimizer=fastnn.SGD(0.1), verbose=0)
    kept = words(9, DROP, 0, 1, np.arange(8), 6) >= 0.4 * 2**32
    h = x * kept / (1 - 0.4)
    dz = 2 * (h @ W + b - t) / t.size
    assert 0 < kept.sum() < kept.size
    assert np.abs(net.layers[1].weights - (W - 0.1 * h.T @ dz)).max() < 1e-15
    assert np.abs(net.layers[1].biases - (b - 0.1 * dz.sum(axis=0))).max() < 1e-15
