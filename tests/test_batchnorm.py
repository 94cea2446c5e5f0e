"""Batch normalisation: numbers by hand, what is refused, and that running statistics are kept."""

import numpy as np
import pytest

import fastnn
from fastnn import training
from fastnn.layers import BatchNorm, Dense, Dropout, Residual


def rows(n=600):
    x = np.random.default_rng(0).normal(size=(n, 20)) * np.geomspace(0.1, 10, 20)
    return x, (x[:, 0] > 0).astype(int) + (x[:, -1] > 0)


def normed(**options):
    layers = [
        BatchNorm(),
        Dense(40, use_bias=False),
        BatchNorm(0.3, 0.01),
        Dropout(0.25),
        Residual(BatchNorm(), Dense(40, "relu")),
        Dense(3, "softmax"),
    ]
    return fastnn.Network(20, layers, **options)


def bits(net):
    return net.program.parameters.tobytes() + net.program.state.tobytes()


def test_a_step_by_hand(engine_name):
    """One column of mean 3 and variance 4: h = gamma * x_norm + beta, x_norm = -1 and 1."""
    layers = [BatchNorm(0.25, 1e-30), Dense(1, initializer="zeros")]
    net = fastnn.Network(1, layers, dtype="float64", engine=engine_name)
    norm, dense = net.layers
    norm.gamma[...], norm.beta[...] = 2, 0.5
    dense.weights[...], dense.biases[...] = 3, -1
    x, t = np.array([[1.0], [5.0]]), np.zeros((2, 1))
    # outputs 3 (-2 + 0.5) - 1 = -5.5 and 3 (2 + 0.5) - 1 = 6.5, whose dz are themselves
    history = net.fit(x, t, epochs=1, batch_size=2, optimizer=fastnn.SGD(0.1), verbose=0).history
    assert history["loss"] == [pytest.approx((5.5**2 + 6.5**2) / 2)]
    assert dense.weights.item() == pytest.approx(3 - 0.1 * (-5.5 * -1.5 + 6.5 * 2.5))
    assert dense.biases.item() == pytest.approx(-1 - 0.1 * 1.0)
    assert norm.gamma.item() == pytest.approx(2 - 0.1 * 3 * (5.5 + 6.5))
    assert norm.beta.item() == pytest.approx(0.5 - 0.1 * 3 * 1.0)
    assert norm.running_mean.item() == pytest.approx(0.25 * 3)
    assert norm.running_variance.item() == pytest.approx(1 + 0.25 * (8 - 1))  # over one row less
    h = (x - 0.75) / np.sqrt(2.75) * norm.gamma + norm.beta
    assert net.predict(x) == pytest.approx(h * dense.weights + dense.biases)


def test_columns_far_from_zero_and_constant_ones(engine_name):
    """A mean that is a million deviations away costs no digits but those of x itself."""
    x = np.random.default_rng(1).normal(size=(600, 3))
    x[:, 0] += 1e6
    x[:, 2] = 7
    net = fastnn.Network(3, [BatchNorm(1.0), Dense(2)], dtype="float64", engine=engine_name)
    net.fit(x, np.zeros((600, 2)), epochs=1, batch_size=600, verbose=0)
    norm = net.layers[0]
    assert norm.running_mean == pytest.approx(x.mean(axis=0), rel=1e-14)
    assert norm.running_variance == pytest.approx(x.var(axis=0, ddof=1), rel=1e-9, abs=1e-20)
    assert np.isfinite(net.predict(x)).all()


@pytest.mark.parametrize("batch_size", [50, 300, 600])
def test_the_same_bits_on_any_number_of_threads(engine_name, batch_size, monkeypatch):
    """One call a batch, even where others go in units of many calls."""
    monkeypatch.setattr(training, "MOST_UNITS", 1)
    x, y = rows()
    found = set()
    for threads in (1, 2, 3):
        net = normed(engine=engine_name, num_threads=threads)
        net.fit(x, y, epochs=2, batch_size=batch_size, verbose=0)
        found.add(bits(net) + net.predict(x).tobytes())
    assert len(found) == 1


def test_a_network_learns_and_predicts_by_the_running_statistics(engine_name):
    x, y = rows()
    net = normed(engine=engine_name)
    net.fit(x, y, epochs=60, verbose=0)
    assert net.evaluate(x, y)["accuracy"] > 0.9
    one_by_one = np.concatenate([net.predict(row[None]) for row in x[:50]])
    np.testing.assert_allclose(one_by_one, net.predict(x)[:50], atol=1e-6)
    loss, gradients = net.gradients(x, y)
    assert loss == pytest.approx(net.evaluate(x, y)["loss"])
    assert [len(part) for part in gradients] == [2, 1, 2, 2, 2, 2]


def test_many_rows_of_a_wide_network(engine_name):
    """Whose weights are copied for a prediction: running statistics are read where they lie."""
    layers = [Dense(600, "relu"), BatchNorm(), Dense(600), BatchNorm(), Dense(3, "softmax")]
    net = fastnn.Network(20, layers, engine=engine_name)
    x, y = rows()
    net.fit(x[:100], y[:100], epochs=1, verbose=0)
    parts = np.concatenate([net.predict(part) for part in np.split(x, 12)])
    np.testing.assert_allclose(net.predict(x), parts, atol=1e-5)
    chosen = parts[np.arange(600), y].astype(np.float64)
    assert net.evaluate(x, y)["loss"] == pytest.approx(-np.log(chosen).mean(), rel=1e-5)


def test_running_statistics_are_saved_copied_and_set(tmp_path):
    x, y = rows()
    whole, half = normed(), normed()
    whole.fit(x, y, epochs=4, verbose=0)
    half.fit(x, y, epochs=2, verbose=0)
    half.save(tmp_path / "net", optimizer=True)
    back, copy, other = fastnn.load(tmp_path / "net"), half.copy(), normed(seed=5)
    other.set_weights(half.get_weights())
    assert other.predict(x).tobytes() == half.predict(x).tobytes()
    for net in (back, copy):
        assert bits(net) == bits(half)
        net.fit(x, y, epochs=2, verbose=0)
        assert bits(net) == bits(whole)
    assert bits(half) != bits(whole)


def test_no_optimizer_has_a_state_of_them(tmp_path):
    from safetensors.numpy import load_file

    net = normed()
    net.fit(*rows(), epochs=1, verbose=0)
    net.save(tmp_path / "net", optimizer=True)
    names = set(load_file(tmp_path / "net"))
    assert {"layers.0.running_mean", "layers.4.0.running_variance"} <= names
    assert not [name for name in names if name.startswith("optimizer.") and "running" in name]


def test_variances_below_zero_are_refused(tmp_path):
    net = normed()
    weights = net.get_weights()
    weights[1][3] = -1
    with pytest.raises(ValueError, match=r"^expected variances in weights\[1\], got -1\.0$"):
        net.set_weights(weights)
    net.layers[0].running_variance[3] = -1
    with pytest.raises(ValueError, match=r"at least 0 in layers\.0\.running_variance, got -1\.0"):
        net.save(tmp_path / "net")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"momentum": 0}, "expected a positive momentum, got 0"),
        ({"momentum": 1.5}, r"expected momentum in \(0, 1\], got 1.5"),
        ({"epsilon": 0}, "expected a positive epsilon, got 0"),
        ({"epsilon": float("nan")}, "expected a positive epsilon, got nan"),
    ],
)
def test_numbers_that_cannot_be(options, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        BatchNorm(**options)


def test_an_epsilon_that_the_dtype_cannot_hold():
    with pytest.raises(ValueError, match=r"^expected an epsilon that float32 can hold, got 1e-60$"):
        fastnn.Network(3, [BatchNorm(epsilon=1e-60), Dense(2)])


ONE_ROW = "expected batches of at least 2 rows with BatchNorm, also the last one, got "
FITS = {
    "batches of one": (
        lambda net, x, y: net.fit(x, y, batch_size=1),
        "600 rows in batches of 1 ",
    ),
    "a last batch of one": (
        lambda net, x, y: net.fit(x[:129], y[:129]),
        "129 rows in batches of 64 ",
    ),
    "what a split leaves": (
        lambda net, x, y: net.fit(x[:100], y[:100], batch_size=6, validation_split=0.09),
        "91 rows in batches of 6 ",
    ),
    "one row": (lambda net, x, y: net.train_on_batch(x[:1], y[:1]), "1 row "),
    "a shard": (
        lambda net, x, y: training.check_batches(net.program, [64, 65], 64),
        "65 rows in batches of 64 ",
    ),
    "an iterable": (lambda net, x, y: net.fit([(x[:1], y[:1])]), "1 row "),
}


@pytest.mark.parametrize("name", FITS)
def test_batches_of_one_row_are_refused_before_training(name):
    fit, found = FITS[name]
    net = normed(standardize=True) if name != "an iterable" else normed()
    before = bits(net)
    with pytest.raises(ValueError, match=f"^{ONE_ROW}{found}"):
        fit(net, *rows())
    assert bits(net) == before
    assert net.program.center is None
    assert net.trained == training.State()


def test_batches_that_are_too_large_are_refused_before_training(monkeypatch):
    x, y = rows()
    net = normed()
    kept = int(net.program.ops[:, 3].sum())
    monkeypatch.setattr(training, "MOST_KEPT", 300 * kept + 7)
    message = r"^expected batches of at most 300 rows with BatchNorm in this network, .* got 301$"
    with pytest.raises(ValueError, match=message):
        net.fit(x, y, batch_size=301, verbose=0)
    net.fit(x, y, batch_size=300, epochs=1, verbose=0)


def test_sixteen_thousand_rows_are_a_batch():
    layers = [Dense(512), BatchNorm(), Dense(512, "relu"), BatchNorm(), Dense(10, "softmax")]
    net = fastnn.Network(784, layers)
    training.check_batches(net.program, [1 << 20], 16384)


def test_summary_names_it(capsys):
    normed().summary()
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == ["1", "20", "20", "40", "0", "160", "batch", "norm"]


def test_a_layer_without_network_has_no_numbers():
    for name in ("gamma", "beta", "running_mean", "running_variance"):
        with pytest.raises(RuntimeError, match=r"this BatchNorm is in no network"):
            getattr(BatchNorm(), name)
