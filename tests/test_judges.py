"""Losses of one's own: the steps of fastnn's, a call a batch, and words for what does not fit."""

import numpy as np
import pytest

import fastnn
from fastnn import engine
from fastnn.layers import Dense, Dropout

CALLS = []


def squared(y_true, y_pred):
    CALLS.append(len(y_pred))
    e = y_pred - y_true
    return np.mean(e * e), 2 * e / e.size


def network(loss=squared, dropout=0.0, **options):
    layers = [Dense(9, "tanh"), Dropout(dropout), Dense(2)]
    return fastnn.Network(4, layers, loss=loss, **{"dtype": "float64", **options})


def data(rows=100):
    random = np.random.default_rng(0)
    x = random.normal(size=(rows, 4))
    return x, x[:, :2] ** 2


@pytest.mark.parametrize("dropout", [0.0, 0.4])
@pytest.mark.parametrize("batch_size", [16, 100, 700])
def test_a_fit_is_that_of_the_same_loss_of_an_engine(engine_name, batch_size, dropout):
    x, y = data(700 if batch_size == 700 else 100)
    nets = [network(loss, dropout, engine=engine_name) for loss in (squared, "mean_squared_error")]
    for net in nets:
        net._unit = 256
        net.fit(x, y, validation_data=(x, y), epochs=3, batch_size=batch_size, verbose=0)
        assert net.evaluate(x, y).keys() == {"loss"}
    for ours, theirs in zip(*(net.get_weights() for net in nets), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-12)
    for name in ("loss", "val_loss"):
        ours, theirs = (net.history.history[name] for net in nets)
        assert ours == pytest.approx(theirs, rel=1e-12)
    gradients = [np.hstack([p.ravel() for q in net.gradients(x, y)[1] for p in q]) for net in nets]
    np.testing.assert_allclose(*gradients, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", engine.available()[:-1])
def test_any_number_of_threads_gives_the_same_bits(name):
    x, y = np.tile(data(300)[0], (1, 50)), data(300)[1]
    weights = set()
    for num_threads in (1, 2, 3, 4):
        layers = [Dense(300, "tanh"), Dropout(0.3), Dense(130, "relu"), Dense(2)]
        net = fastnn.Network(200, layers, loss=squared, engine=name, num_threads=num_threads)
        net.fit(x, y, epochs=2, batch_size=100, verbose=0)
        weights.add(b"".join(w.tobytes() for w in net.get_weights()))
    assert len(weights) == 1


def test_it_is_called_once_a_batch():
    x, y = data()
    CALLS.clear()
    network().fit(x, y, epochs=2, batch_size=30, verbose=0)
    assert CALLS == [30, 30, 30, 10] * 2


def test_it_sees_labels():
    def entropy(y_true, y_pred):
        assert y_true.dtype == np.int64
        p = np.exp(y_pred) / np.exp(y_pred).sum(axis=1, keepdims=True)
        rows = np.arange(len(p))
        loss = -np.log(p[rows, y_true]).mean()
        p[rows, y_true] -= 1
        return loss, p / len(p)

    x, y = data()
    labels = (y[:, 0] > y[:, 1]).astype(int)
    nets = [network(entropy), network("cross_entropy_with_logits")]
    for net in nets:
        net.fit(x, labels, epochs=3, verbose=0)
    np.testing.assert_allclose(nets[0].predict(x), nets[1].predict(x), rtol=1e-9)
    assert nets[0].evaluate(x, labels) == pytest.approx(nets[1].evaluate(x, labels))
    assert nets[0].classify(x).tolist() == nets[1].classify(x).tolist()


def giving(result):
    def f(y_true, y_pred):
        return result(y_pred)

    return f


@pytest.mark.parametrize(
    ("result", "error", "message"),
    [
        (lambda h: 0.0, TypeError, r"expected \(loss, d_y_pred\) from f, got 0.0"),
        (
            lambda h: (h[:, 0], h),
            ValueError,
            r"the loss that f gives to be one number, got \(64,\)",
        ),
        (lambda h: ("one", h), TypeError, "expected the loss that f gives to be a number, got str"),
        (lambda h: (0.0, h[0]), ValueError, r"d_y_pred \(64, 2\) from f, got \(2,\)"),
        (lambda h: (0.0, h + 1j), TypeError, "real numbers in the d_y_pred that f gives"),
        (lambda h: (0.0, h * np.nan), ValueError, "finite float64 numbers in the d_y_pred that f"),
        (lambda h: (np.nan, h), fastnn.DivergenceError, "got loss nan"),
    ],
)
def test_what_it_gives_is_checked(result, error, message):
    with pytest.raises(error, match=message):
        network(giving(result)).fit(*data(), verbose=0)


def test_weights_are_refused():
    x, y = data()
    for name, value in (("sample_weight", np.ones(100)), ("class_weight", {0: 1.0})):
        with pytest.raises(ValueError, match=f"expected no {name} with the function squared"):
            network().fit(x, y, verbose=0, **{name: value})


def test_a_file_has_its_name(tmp_path):
    x, y = data()
    net, path = network(), tmp_path / "net.fastnn"
    net.fit(x, y, epochs=1, verbose=0)
    net.save(path)
    back = fastnn.load(path)
    assert back.predict(x).tobytes() == net.predict(x).tobytes()
    with pytest.raises(ValueError, match=r"expected the loss squared: pass load\(path, loss=squ"):
        back.evaluate(x, y)
    back.save(path)
    assert fastnn.load(path, loss=squared).evaluate(x, y) == net.evaluate(x, y)
    with pytest.raises(ValueError, match="expected the loss squared, got giving"):
        fastnn.load(path, loss=giving)
