"""sample_weight and class_weight: a row of weight 2 is two rows, one of weight 0 none."""

import numpy as np
import pytest

import fastnn
from fastnn import engine, losses
from fastnn.activations import ACTIVATIONS
from fastnn.layers import Dense
from fastnn.losses import LOSSES
from fastnn.program import build, pairs, zeros_like_parameters


def data(rows=60, seed=0):
    random = np.random.default_rng(seed)
    x = random.normal(size=(rows, 4))
    return x, random.integers(0, 3, rows), random.integers(0, 4, rows)


def network(**options):
    return fastnn.Network(4, [Dense(5, "tanh"), Dense(3, "softmax")], dtype="float64", **options)


@pytest.mark.parametrize("rows", [5, 60, 300])  # one by one, side by side, in blocks
@pytest.mark.parametrize("name", LOSSES)
def test_weights_are_repeated_rows(engine_name, name, rows):
    loss, core = LOSSES[name], engine.get(engine_name, "float64")
    random = np.random.default_rng(1)
    output, codes = ACTIVATIONS[loss.output or "identity"], (ACTIVATIONS["tanh"],)
    program = build([3, 5, 4], [*codes, output], loss.code, "float64", 1.0, loss.numbers)
    for weights, _ in pairs(program, program.parameters):
        weights[...] = random.normal(size=weights.shape)
    x, w = random.normal(size=(rows, 3)), random.integers(0, 4, rows)
    w[0] = 2
    t = random.random((rows, program.targets))
    t /= t.sum(axis=1, keepdims=True)
    found, expected = zeros_like_parameters(program), zeros_like_parameters(program)
    again = np.repeat(np.arange(rows), w)
    sums = core.gradients(program, x, (t, w.astype(float)), found, 1)
    repeated = core.gradients(program, x[again], t[again], expected, 1)
    assert sums == pytest.approx(repeated, rel=1e-12)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-13 * np.abs(expected).max())
    assert core.evaluate(program, x, (t, w.astype(float)), 1) == pytest.approx(repeated, rel=1e-12)


@pytest.mark.parametrize("rows", [7, 40])
def test_weights_of_one_and_of_nothing(engine_name, rows):
    """Ones have the bits of no weights; zeros have no gradient, even where the loss is infinite."""
    core = engine.get(engine_name, "float64")
    net = network(engine=engine_name)
    x, y, _ = data(rows)
    plain, ones, none = (zeros_like_parameters(net.program) for _ in range(3))
    loss, agreeing = core.gradients(net.program, x, y, plain, 1)
    assert core.gradients(net.program, x, (y, np.ones(rows)), ones, 1) == (loss, agreeing)
    assert ones.tobytes() == plain.tobytes()
    assert type(agreeing) is int
    assert core.gradients(net.program, x, (y, np.zeros(rows)), none, 1) == (0, 0)
    assert not none.any()
    x[::2] = np.inf
    with np.errstate(invalid="ignore"):
        loss, _ = core.evaluate(net.program, x, (y, np.arange(rows) % 2.0), 1)
    assert np.isfinite(loss)


@pytest.mark.parametrize("batch_size", [60, 16])
def test_fits_are_those_of_the_weighted_mean(engine_name, batch_size):
    x, y, w = data()
    nets = [network(engine=engine_name) for _ in range(2)]
    settings = {"epochs": 2, "batch_size": batch_size, "verbose": 0, "shuffle": False}
    nets[0].fit(x, y, sample_weight=w, optimizer=fastnn.SGD(0.1), **settings)
    steps = -(-60 // batch_size)
    for _ in range(2):
        for step in range(steps):
            part = slice(step * batch_size, (step + 1) * batch_size)
            again = np.repeat(np.arange(60)[part], w[part])
            nets[1].train_on_batch(x[again], y[again], optimizer=fastnn.SGD(0.1))
    for ours, theirs in zip(nets[0].get_weights(), nets[1].get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-12)


def test_batches_larger_than_a_call(monkeypatch):
    """Units of a batch are added by their weight."""
    x, y, w = data(700)
    nets = [network() for _ in range(2)]
    nets[1]._unit = 256
    for net in nets:
        net.fit(x, y, sample_weight=w, epochs=2, batch_size=700, verbose=0)
    np.testing.assert_allclose(nets[0].predict(x), nets[1].predict(x), rtol=1e-10)
    assert nets[0].history.history["loss"] == pytest.approx(nets[1].history.history["loss"])


def test_history_and_evaluate_are_weighted_means():
    x, y, w = data()
    net = network()
    expected = network().evaluate(*(np.repeat(part, w, axis=0) for part in (x, y)))
    history = net.fit(
        x,
        y,
        sample_weight=w,
        validation_data=(x, y, w),
        epochs=1,
        batch_size=7,
        optimizer=fastnn.SGD(1e-12),
        verbose=0,
    ).history
    for name in ("loss", "accuracy"):
        assert history[name] == pytest.approx([expected[name]])
        assert history[f"val_{name}"] == pytest.approx([expected[name]])
    assert network().evaluate(x, y, sample_weight=w) == pytest.approx(expected)


NAMES = [
    "accuracy",
    "top_2",
    "balanced_accuracy",
    "precision",
    "recall",
    "f1",
    "roc_auc",
    "log_loss",
]


def test_metrics_count_rows_by_their_weights():
    x, y, w = data()
    again = np.repeat(np.arange(60), w)
    ours = network().evaluate(x, y, metrics=NAMES, sample_weight=w)
    assert ours == pytest.approx(network().evaluate(x[again], y[again], metrics=NAMES))
    net, t = fastnn.Network(4, [Dense(2)], dtype="float64"), x[:, :2] ** 2
    names = ["mae", "rmse", "r2"]
    ours = net.evaluate(x, t, metrics=names, sample_weight=w)
    assert ours == pytest.approx(net.evaluate(x[again], t[again], metrics=names))


@pytest.mark.parametrize("kind", ["labels", "one-hot", "one output"])
def test_classes_have_weights(kind):
    x, y, w = data()
    net = network()
    if kind == "one-hot":
        y_given = np.eye(3)[y]
    elif kind == "one output":
        net, y = fastnn.Network(4, [Dense(1, "sigmoid")], dtype="float64"), np.minimum(y, 1)
        y_given = y
    else:
        y_given = y
    table = np.array([1, 0.5, 3])[: y.max() + 1]
    expected = net.evaluate(x, y_given, sample_weight=w * table[y])
    by_label = dict(enumerate(table.tolist()))
    del by_label[0]  # it is 1
    assert net.evaluate(x, y_given, sample_weight=w, class_weight=by_label) == expected
    counts = np.bincount(y)
    balanced = (len(y) / (len(counts) * counts))[y]
    expected = net.evaluate(x, y_given, sample_weight=balanced)
    assert net.evaluate(x, y_given, class_weight="balanced") == pytest.approx(expected, rel=1e-15)


def test_balanced_is_of_the_rows_that_are_learned_from():
    x, y, _ = data()
    nets = [network() for _ in range(2)]
    nets[0].fit(x, y, class_weight="balanced", validation_split=0.5, epochs=1, verbose=0)
    known = fastnn.rows.split(0, 0.5, 60, y)[0]
    counts = np.bincount(y[known])
    weights = (len(known) / (3 * counts))[y]
    nets[1].fit(x, y, sample_weight=weights, validation_split=0.5, epochs=1, verbose=0)
    np.testing.assert_allclose(nets[0].predict(x), nets[1].predict(x), rtol=1e-12)


def test_batches_bring_their_weights():
    x, y, w = data()
    nets = [network() for _ in range(2)]
    batches = [(x[i : i + 20], y[i : i + 20], w[i : i + 20]) for i in (0, 20, 40)]
    batches.insert(1, (x[:5], y[:5], np.zeros(5)))  # changes nothing with SGD
    settings = {"optimizer": fastnn.SGD(0.1), "verbose": 0, "epochs": 3}
    nets[0].fit(batches, class_weight={2: 3.0}, **settings)
    weights = w * np.array([1, 1, 3])[y]
    nets[1].fit(x, y, sample_weight=weights, batch_size=20, shuffle=False, **settings)
    assert nets[0].predict(x).tobytes() == nets[1].predict(x).tobytes()
    losses_of = [net.history.history["loss"] for net in nets]
    assert losses_of[0] == pytest.approx(losses_of[1])


def test_a_checkpoint_of_a_fit_with_weights_goes_on(tmp_path):
    x, y, w = data(200)
    path = tmp_path / "run.fastnn"
    settings = {"epochs": 2, "batch_size": 16, "sample_weight": w, "verbose": 0}
    whole = network()
    whole.fit(x, y, **settings)

    class Stop(fastnn.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch >= 9:
                raise KeyboardInterrupt

    part, again = network(), network()
    with pytest.raises(KeyboardInterrupt):
        part.fit(x, y, callbacks=[fastnn.Checkpoint(path, save_freq=5), Stop()], **settings)
    again.fit(x, y, resume=path, **settings)
    assert again.predict(x).tobytes() == whole.predict(x).tobytes()
    for name in ("loss", "accuracy"):
        assert again.history.history[name] == pytest.approx(whole.history.history[name], rel=1e-12)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sample_weight": -np.ones(60)}, "sample_weight of at least 0, got -1.0 in row 0"),
        ({"sample_weight": np.full(60, np.nan)}, "finite float64 numbers in sample_weight"),
        ({"sample_weight": np.ones(59)}, r"sample_weight of shape \(60,\), got \(59,\)"),
        ({"sample_weight": np.zeros(60)}, "a positive weight of some row"),
        ({"class_weight": {0: 0, 1: 0, 2: 0}}, "a positive weight of some row"),
        ({"class_weight": {3: 1}}, "labels from 0 to 2 in class_weight, got 3"),
        ({"class_weight": {1: -1}}, "class_weight of at least 0, got -1 of 1"),
        ({"class_weight": "balance"}, "class_weight as a dict or 'balanced', got 'balance'"),
        ({"validation_data": (*data()[:2], -np.ones(60))}, "validation sample_weight of at least"),
    ],
)
def test_weights_that_cannot_be(options, message):
    x, y, _ = data()
    with pytest.raises(ValueError, match=message):
        network().fit(x, y, verbose=0, **options)


def test_weights_where_they_cannot_be(tmp_path):
    x, y, w = data()
    with pytest.raises(ValueError, match="sample_weight in the batches of an iterable"):
        network().fit([(x, y)], sample_weight=w, verbose=0)
    with pytest.raises(ValueError, match="expected no class_weight with an iterable, got 'bal"):
        network().fit([(x, y)], class_weight="balanced", verbose=0)
    with pytest.raises(ValueError, match=r"batches of the iterable as \(x, y\) or \(x, y, sample_"):
        network().fit([(x, y, w, w)], verbose=0)
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "y.npy", y)
    with pytest.raises(ValueError, match="expected no sample_weight beside shards"):
        network().fit(fastnn.Shards(tmp_path), sample_weight=w, verbose=0)
    network().fit(fastnn.Shards(tmp_path), class_weight="balanced", epochs=1, verbose=0)
    net = fastnn.Network(4, [Dense(2)], loss=losses.Huber())
    with pytest.raises(ValueError, match="expected one class a row in y with class_weight"):
        net.fit(x, x[:, :2], class_weight="balanced", verbose=0)
