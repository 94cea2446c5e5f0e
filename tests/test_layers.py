"""Layers: what each does, its parameters, files, threads, and what is refused."""

import numpy as np
import pytest

import fastnn
from fastnn import reference


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


# Dense without biases.


def bare(**options):
    layers = [fastnn.Dense(5, "relu", use_bias=False), fastnn.Dense(2, use_bias=False)]
    return fastnn.Network(3, layers, **options)


def test_a_dense_without_biases(engine_name):
    net = bare(engine=engine_name)
    W, V = net.get_weights()  # noqa: N806
    x = np.random.default_rng(0).normal(size=(9, 3))
    assert np.abs(net.predict(x) - np.maximum(x @ W, 0) @ V).max() < 1e-6
    assert [[g.shape for g in one] for one in net.gradients(x, np.ones((9, 2)))[1]] == [
        [(3, 5)],
        [(5, 2)],
    ]
    assert net.layers[0].size == 15
    with pytest.raises(AttributeError, match=r"^expected a Dense with biases, got one of use_bias"):
        _ = net.layers[0].biases


def test_use_bias_is_true_or_false():
    with pytest.raises(TypeError, match=r"^expected use_bias to be True or False, got int 1$"):
        fastnn.Dense(2, use_bias=1)


def test_neurons_that_a_dense_without_biases_reads():
    """Their means have no biases to go to: they count as what is lost."""
    net = bare(engine="reference", dtype="float64")
    x = np.random.default_rng(0).random((50, 3))
    net.layers[0].weights[...] = np.abs(net.layers[0].weights) * [1, 1, 0, 1, 1]
    smaller = net.resize(0, 4, x)
    assert np.abs(smaller.predict(x) - net.predict(x)).max() < 1e-15
    assert np.abs(net.resize(0, 8).predict(x) - net.predict(x)).max() < 1e-15


# Residual.


def residual(**options):
    block = fastnn.Residual(
        fastnn.Dense(5, "relu"),
        fastnn.Dropout(0.3),
        fastnn.Residual(fastnn.Dense(5)),
        fastnn.Dense(4),
    )
    layers = [fastnn.Dense(4, "tanh"), block, fastnn.Dense(2)]
    return fastnn.Network(3, layers, **options)


def test_a_block_is_added_to_its_input(engine_name):
    net = residual(engine=engine_name, dtype="float64")
    x = np.random.default_rng(0).normal(size=(9, 3))
    _, before, after, _ = net.activations(x)
    W, b, V, c, U, d = net.get_weights()[2:8]  # noqa: N806
    h = np.maximum(before @ W + b, 0)
    assert np.abs(after - (before + (h + h @ V + c) @ U + d)).max() < 1e-14
    first, _, inner, last = net.layers[1].layers
    assert first.weights.base is net.layers[0].weights.base
    assert inner.layers[0].weights.tobytes() == V.tobytes()
    assert net.layers[1].size == first.size + inner.size + last.size == 20 + 5 + 30 + 24


def test_initial_weights_of_a_block_are_those_of_its_layers_in_a_row():
    plain = [fastnn.Dense(n, name) for n, name in ((4, "tanh"), (5, "relu"), (5, "identity"))]
    other = fastnn.Network(3, [*plain, fastnn.Dense(4), fastnn.Dense(2)])
    assert [w.tobytes() for w in residual().get_weights()] == [
        w.tobytes() for w in other.get_weights()
    ]


def test_a_block_trains_and_is_copied_and_loaded(engine_name, tmp_path):
    x = np.random.default_rng(0).normal(size=(200, 3))
    net = residual(engine=engine_name)
    logs = net.fit(x, x[:, :2] * x[:, 1:], epochs=30, verbose=0).history
    assert logs["loss"][-1] < logs["loss"][0] / 2
    net.save(tmp_path / "net", optimizer=True)
    back, twin = fastnn.load(tmp_path / "net", engine=engine_name), net.copy()
    for other in (back, twin):
        assert other.predict(x).tobytes() == net.predict(x).tobytes()
    twin.layers[1].layers[0].weights[...] = 0
    assert twin.predict(x).tobytes() != net.predict(x).tobytes() == back.predict(x).tobytes()
    assert "residual (relu, dropout 0.3, residual (identity), identity)" in capture(net.summary)


def capture(call):
    import contextlib
    import io

    with contextlib.redirect_stdout(io.StringIO()) as found:
        call()
    return found.getvalue()


def test_what_residual_refuses():
    with pytest.raises(ValueError, match=r"^expected at least one layer in Residual, got none$"):
        fastnn.Residual()
    with pytest.raises(TypeError, match=r"^expected layers such as Dense, got list$"):
        fastnn.Residual([fastnn.Dense(2)])
    with pytest.raises(
        ValueError,
        match=r"^expected a block that gives 3 columns, as many as it gets, "
        r"got 4 from Residual\(Dense\(4, 'identity'\)\)$",
    ):
        fastnn.Network(3, [fastnn.Residual(fastnn.Dense(4)), fastnn.Dense(2)])
    with pytest.raises(ValueError, match=r"^expected a Dense as the last layer, got Residual"):
        fastnn.Network(3, [fastnn.Residual(fastnn.Dense(3))])
    deep = fastnn.Dense(3)
    for _ in range(16):
        deep = fastnn.Residual(deep)
    with pytest.raises(ValueError, match=r"^expected Residual at most 16 deep, got 17$"):
        fastnn.Residual(deep)
    wide = fastnn.Residual(fastnn.Dense(2**31 - 1), fastnn.Dense(100_000))
    with pytest.raises(MemoryError, match=r"^expected layers that fit in memory, got "):
        fastnn.Network(100_000, [wide, fastnn.Dense(2)])


def test_structure_leaves_blocks_alone():
    """Neurons that a sum reads, or that a block makes, stay."""
    net, x = residual(dtype="float64"), np.random.default_rng(0).normal(size=(50, 3))
    for call in (lambda: net.prune(x, 0.5), lambda: net.resize(0, 8)):
        with pytest.raises(ValueError, match=r"^expected a hidden layer"):
            call()
    with pytest.raises(TypeError, match=r"^expected layer to be that of a Dense, got Residual\("):
        net.resize(1, 8)
    assert [found.label for found in net.diagnose(x).layers] == [
        "tanh",
        "residual (relu, dropout 0.3, residual (identity), identity)",
        "identity",
    ]


# Layers along rows and columns.

ALONG = [
    fastnn.Scale(),
    fastnn.LayerNorm(),
    fastnn.PReLU(),
    fastnn.Blend("gelu"),
    fastnn.Blend("tanh"),
    fastnn.AlphaDropout(0.2),
    fastnn.Residual(fastnn.LayerNorm(), fastnn.Dense(40, use_bias=False), fastnn.PReLU()),
]


def along(layer, units=40, **options):
    """The layer as the first of a network, and behind a wide one."""
    first, hidden, last = fastnn.Dense(40), fastnn.Dense(units), fastnn.Dense(3, "softmax")
    layers = [layer, first, layer, hidden, layer, last]
    if isinstance(layer, fastnn.Residual):
        layers = [first, layer, hidden, last]
    return fastnn.Network(20, layers, **options)


def test_what_layers_begin_with():
    x = np.random.default_rng(0).normal(size=(9, 4))
    expected = {
        fastnn.Scale(): x,
        fastnn.LayerNorm(0.5): (x - x.mean(axis=1)[:, None])
        / np.sqrt(x.var(axis=1)[:, None] + 0.5),
        fastnn.PReLU(): np.where(x > 0, x, x / 4),
        fastnn.Blend("relu"): np.maximum(x, 0),
        fastnn.AlphaDropout(0.5): x,
    }
    for layer, h in expected.items():
        net = fastnn.Network(4, [layer, fastnn.Dense(2)], dtype="float64")
        assert np.abs(net.activations(x)[1] - h).max() < 1e-15
        first = fastnn.Network(4, [fastnn.Dense(2)], dtype="float64").layers[0].weights
        assert net.layers[1].weights.tobytes() == first.tobytes()  # they draw nothing


def test_parameters_of_layers_are_views():
    layers = [fastnn.LayerNorm(), fastnn.Scale(), fastnn.PReLU(), fastnn.Blend("elu")]
    net = fastnn.Network(5, [*layers, fastnn.Dense(1)])
    norm, scale, prelu, blend, _ = net.layers
    views = [norm.gamma, norm.beta, scale.gamma, prelu.slopes, blend.blend]
    assert [view.shape for view in views] == [(5,)] * 5
    for view, number in zip(views, (1, 0, 1, 0.25, 1), strict=True):
        assert (view == number).all()
        view[...] = 7
    assert (net.program.parameters == 7).sum() == 25
    assert [layer.size for layer in net.layers] == [10, 5, 5, 5, 6]
    labels = [layer.label for layer in net.layers[:4]]
    assert labels == ["layer norm", "scale", "prelu", "blend elu"]


@pytest.mark.parametrize("layer", ALONG, ids=str)
@pytest.mark.parametrize("batch_size", [32, 300])
def test_layers_give_the_same_bits_on_any_number_of_threads(engine_name, layer, batch_size):
    """Small and wide ones, whole batches and batches in blocks."""
    x, y = rows()
    for units in (7, 300):
        bits = set()
        for threads in (1, 2, 3):
            net = along(layer, units, engine=engine_name, num_threads=threads)
            net.fit(x, y, epochs=2, batch_size=batch_size, verbose=0)
            gradients = [g.tobytes() for one in net.gradients(x, y)[1] for g in one]
            bits.add(b"".join([net.program.parameters.tobytes(), *gradients]))
        assert len(bits) == 1


@pytest.mark.parametrize("layer", ALONG, ids=str)
def test_layers_train_and_go_on_after_load(layer, tmp_path):
    x, y = rows()
    whole, half = along(layer), along(layer)
    logs = whole.fit(x, y, epochs=4, verbose=0).history
    assert logs["loss"][-1] < logs["loss"][0]
    half.fit(x, y, epochs=2, verbose=0)
    half.save(tmp_path / "net", optimizer=True)
    back = fastnn.load(tmp_path / "net")
    back.fit(x, y, epochs=2, verbose=0)
    assert back.program.parameters.tobytes() == whole.program.parameters.tobytes()
    other = half.copy()
    other.set_weights(whole.get_weights())
    assert other.predict(x).tobytes() == whole.predict(x).tobytes()


@pytest.mark.parametrize("layer", ALONG[:-1], ids=str)
def test_a_first_layer_hides_no_bad_number(engine_name, layer):
    net = along(layer, engine=engine_name)
    for bad in (np.nan, np.inf, -np.inf):
        for n in (1, 50):
            x = np.zeros((n, 20), np.float32)
            x[-1, 3] = bad
            with pytest.raises(ValueError, match=r"^expected finite float32 numbers in x, got "):
                net.predict(x)


def test_alpha_dropout_keeps_mean_and_variance():
    net = fastnn.Network(500, [fastnn.AlphaDropout(0.3), fastnn.Dense(1)], dtype="float64", seed=4)
    x = np.random.default_rng(0).normal(size=(400, 500))
    chain = reference.ops(net.program, first_row=0)
    h = reference.forward_pass(net.program, x, chain)[1]
    assert abs(h.mean()) < 0.01
    assert h.var() == pytest.approx(1, abs=0.01)


def test_structure_leaves_learned_activations_alone():
    layers = [fastnn.Dense(9), fastnn.PReLU(), fastnn.Dense(4, "relu"), fastnn.Dense(2)]
    net, x = fastnn.Network(3, layers), np.random.default_rng(0).normal(size=(50, 3))
    with pytest.raises(ValueError, match=r"^expected a hidden layer that one dense layer reads"):
        net.resize(0, 4, x)
    assert [layer.units for layer in net.prune(x, 0.5).layers] == [9, None, 2, 2]
    assert [found.label for found in net.diagnose(x).layers] == [
        "identity",
        "prelu",
        "relu",
        "identity",
    ]


@pytest.mark.parametrize("epsilon", [0, -1.0, float("inf")])
def test_what_layer_norm_refuses(epsilon):
    with pytest.raises(ValueError, match=rf"^expected a positive epsilon, got {epsilon}$"):
        fastnn.LayerNorm(epsilon)


def test_other_refusals():
    with pytest.raises(ValueError, match=r"^expected an epsilon that float32 can hold, got 1e-60$"):
        fastnn.Network(3, [fastnn.LayerNorm(1e-60), fastnn.Dense(2)])
    with pytest.raises(ValueError, match=r"single numbers in Blend, got softmax$"):
        fastnn.Blend("softmax")
    with pytest.raises(ValueError, match=r"did you mean 'tanh'\?"):
        fastnn.Blend("tahn")
    with pytest.raises(ValueError, match=r"^expected rate in \[0, 1\), got 1$"):
        fastnn.AlphaDropout(1)
    with pytest.raises(RuntimeError, match=r"^this PReLU is in no network; use network\.layers"):
        _ = fastnn.PReLU().slopes


# Embed.

CODES = np.array([[0.5, 2, 7], [1.5, 0, 8], [2.5, 9, 9], [3.5, -1, 1e30]])


def test_vectors_in_the_place_of_codes(engine_name):
    layers = [fastnn.Embed({2: (2, 1), 1: (3, 4)}), fastnn.Dense(2)]
    net = fastnn.Network(3, layers, dtype="float64", engine=engine_name)
    one, two = net.layers[0].weights
    assert (one.shape, two.shape, net.layers[0].size) == ((3, 4), (2, 1), 14)
    assert not one[-1].any()
    assert one[:-1].all()
    one[-1], two[:, 0] = 5, [3, 4]
    h = net.activations(CODES)[1]
    assert h[:, 0].tolist() == CODES[:, 0].tolist()
    assert h[:, 1:5].tolist() == one[[2, 0, 2, 2]].tolist()
    assert h[:, 5].tolist() == [4, 4, 4, 4]
    for bad in (np.nan, np.inf):
        for column in range(3):
            x = CODES.copy()
            x[2, column] = bad
            with pytest.raises(ValueError, match=r"^expected finite float64 numbers in x, got "):
                net.predict(x)


def test_only_vectors_that_are_there_learn(engine_name):
    layers = [fastnn.Embed({1: (3, 4)}), fastnn.Dense(2)]
    net = fastnn.Network(3, layers, dtype="float64", engine=engine_name)
    before = net.layers[0].weights[0].copy()
    net.fit(CODES[:1], [[1.0, 0.0]], epochs=1, optimizer=fastnn.SGD(0.1), verbose=0)
    changed = (net.layers[0].weights[0] != before).any(axis=1)
    assert changed.tolist() == [False, False, True]


@pytest.mark.parametrize(
    ("tables", "error", "message"),
    [
        ({}, ValueError, "expected at least one table in Embed, got none"),
        ([(3, 2)], TypeError, r"expected tables by column, got \[\(3, 2\)\]"),
        ({0: 3}, TypeError, "expected a pair of codes and width, got 3"),
        ({0: (1, 3)}, ValueError, "expected codes to be at least 2, got 1"),
        ({0: (2, 0)}, ValueError, "expected width to be at least 1, got 0"),
        ({0.5: (2, 1)}, TypeError, "expected column to be a whole number, got float 0.5"),
        ({0: (2**24, 1)}, ValueError, r"expected codes below 2\^24"),
    ],
    ids=str,
)
def test_tables_that_cannot_be(tables, error, message):
    with pytest.raises(error, match=f"^{message}"):
        fastnn.Embed(tables)


def test_where_embed_may_stand():
    embed = fastnn.Embed({3: (2, 4)})
    for layers, options, message in [
        ([embed, fastnn.Dense(1)], {}, "expected columns of Embed below 3, got 3"),
        ([fastnn.Dense(9), embed, fastnn.Dense(1)], {}, "expected Embed as the first layer, got"),
        ([embed, fastnn.Dense(1)], {"standardize": True}, "expected inputs as they are with Embed"),
        ([embed, fastnn.Dense(1)], {"input_scale": 0.5}, "as they are with Embed, got input_scale"),
    ]:
        with pytest.raises(ValueError, match=message):
            fastnn.Network(3, layers, **options)
