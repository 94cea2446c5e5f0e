"""The names and numbers of losses, which outputs and targets they fit, and their units."""

import numpy as np
import pytest

import fastnn
from fastnn import losses, reference
from fastnn.activations import ACTIVATIONS
from fastnn.layers import Dense
from fastnn.losses import LOSSES


def test_names_and_codes_are_those_of_the_registry():
    assert [loss.code for loss in LOSSES.values()] == list(range(len(LOSSES)))
    assert all(name == loss.name for name, loss in LOSSES.items())
    for name, make in losses.WITH_NUMBERS.items():
        assert make(LOSSES[name].numbers) == LOSSES[name]


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
        losses.fits(loss, ACTIVATIONS[output], 6)
    else:
        with pytest.raises(ValueError, match=f"^expected {loss.output} outputs for {name}, got "):
            losses.fits(loss, ACTIVATIONS[output], 6)


@pytest.mark.parametrize(
    ("loss", "output", "outputs", "message"),
    [
        ("cross_entropy", "softmax", 1, "softmax with at least 2 outputs, got 1"),
        ("cross_entropy", "identity", 3, r"got identity \(or cross_entropy_with_logits\)"),
        ("binary_cross_entropy", "identity", 3, r"\(or binary_cross_entropy_with_logits\)"),
        ("cross_entropy_with_logits", "identity", 1, "at least 2 outputs .* binary_cross_entropy_"),
        ("gaussian", "identity", 3, "2 outputs for each target of gaussian, got 3"),
        (losses.Quantile(0.1, 0.5), "identity", 3, "2 outputs for each target of quantile, got 3"),
        (losses.BinaryCrossEntropy([1, 2]), "sigmoid", 3, r"as one number or 3, got \[1.0, 2.0\]"),
    ],
)
def test_a_network_says_what_its_loss_wants(loss, output, outputs, message):
    with pytest.raises(ValueError, match=message):
        fastnn.Network(2, [Dense(outputs, output)], loss=loss)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: losses.Huber(0), "a positive delta, got 0"),
        (lambda: losses.Quantile(0.5, 1), r"quantiles in \(0, 1\), got 1"),
        (lambda: losses.CrossEntropy(1), r"label_smoothing in \[0, 1\), got 1"),
        (lambda: losses.BinaryCrossEntropy([1, -2]), "a positive pos_weight, got -2"),
        (lambda: losses.Focal(-1), "gamma of at least 0, got -1"),
        (lambda: losses.Focal(alpha=1), r"alpha in \(0, 1\), got 1"),
        (lambda: losses.get("crossentropy"), r"did you mean 'cross_entropy'\?"),
    ],
)
def test_bad_numbers(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("loss", "outputs", "y", "message"),
    [
        ("poisson", 1, [1, -1, 0], "targets of at least 0 for poisson in y, got -1 in row 1"),
        ("gaussian", 4, [1, 0, 1], r"expected y as targets \(3, 2\), got \(3,\)"),
        (losses.Quantile(0.1, 0.9), 2, [[1, 0]] * 3, r"expected y as targets \(3, 1\)"),
        ("hinge", 1, [1, -1, 0], "targets from 0 to 1 for hinge in y, got -1"),
        ("focal", 2, [[1, 2]] * 3, "targets from 0 to 1 for focal in y, got 2"),
        ("cross_entropy_with_logits", 2, [[1, 1]] * 3, "targets that sum to 1"),
    ],
)
def test_targets_that_a_loss_cannot_use(loss, outputs, y, message):
    output = losses.get(loss).output or "identity"
    net = fastnn.Network(2, [Dense(outputs, output)], loss=loss)
    with pytest.raises(ValueError, match=message):
        net.fit(np.ones((3, 2)), y, verbose=0)


def blobs(rows=200):
    random = np.random.default_rng(0)
    y = random.integers(0, 2, rows)
    return random.normal(size=(rows, 2)) + 3 * y[:, None] - 1.5, y


@pytest.mark.parametrize(
    ("loss", "output"),
    [("hinge", 1), ("binary_cross_entropy_with_logits", 1), ("cross_entropy_with_logits", 2)],
)
def test_scores_and_logits_are_classes(loss, output):
    """Above 0 where a probability is above one half; known metrics see probabilities."""
    x, y = blobs()
    net = fastnn.Network(2, [Dense(output)], loss=loss, dtype="float64")
    net.fit(x, y, epochs=20, optimizer=fastnn.Adam(0.05), verbose=0)
    names = ["accuracy", "roc_auc", "f1", *(["log_loss"] if loss != "hinge" else [])]
    found = net.evaluate(x, y, metrics=names)
    right = np.mean(net.classify(x) == y)
    assert right == found["accuracy"] > 0.95
    assert found["roc_auc"] > 0.97
    assert found["f1"] > 0.95
    h = net.predict(x)
    assert h.min() < 0
    if loss != "hinge":
        p = reference.softmax(h)[:, 1] if output == 2 else reference.sigmoid(h)[:, 0]
        expected = -np.mean(np.log(np.where(y, p, 1 - p)))
        assert found["loss"] == pytest.approx(expected) == found["log_loss"]


def test_metrics_that_outputs_are_not_for():
    x, y = blobs()
    net = fastnn.Network(2, [Dense(1)], loss="hinge")
    with pytest.raises(ValueError, match="expected probabilities for log_loss, got scores"):
        net.evaluate(x, y, metrics=["log_loss"])
    net = fastnn.Network(2, [Dense(2)], loss=losses.Quantile(0.1, 0.9))
    with pytest.raises(ValueError, match="one output a target for mae, got several"):
        net.evaluate(x, y, metrics=["mae"])


def prices(rows=300):
    random = np.random.default_rng(1)
    x = random.normal(size=(rows, 3))
    return x, 5000 + 900 * x @ [1.0, -2.0, 0.5] + random.normal(size=rows) * 300


def test_quantiles_are_met_in_the_units_of_the_targets(engine_name):
    x, y = prices()
    loss = losses.Quantile(0.1, 0.5, 0.9)
    net = fastnn.Network(3, [Dense(3)], loss=loss, standardize=True, engine=engine_name)
    net.fit(x, y, epochs=60, optimizer=fastnn.Adam(0.03), verbose=0)
    below = (y[:, None] < net.predict(x)).mean(axis=0)
    assert below == pytest.approx([0.1, 0.5, 0.9], abs=0.06)
    e = y[:, None] - net.predict(x).astype(float)
    pinball = np.mean(np.maximum(np.array(loss.numbers) * e, (np.array(loss.numbers) - 1) * e))
    assert net.evaluate(x, y) == {"loss": pytest.approx(pinball, rel=1e-4)}
    assert net.trained.meaning == "numbers"


def test_means_and_variances_are_met_in_the_units_of_the_targets(engine_name):
    x, y = prices()
    net = fastnn.Network(3, [Dense(2)], loss="gaussian", standardize=True, engine=engine_name)
    net.fit(x, y, epochs=80, optimizer=fastnn.Adam(0.03), verbose=0)
    mean, log_variance = net.predict(x).astype(float).T
    assert np.exp(log_variance.mean() / 2) == pytest.approx(300, rel=0.1)
    expected = np.mean(log_variance + (y - mean) ** 2 / np.exp(log_variance)) / 2
    found = net.evaluate(x, y, metrics=["r2"])
    assert found["loss"] == pytest.approx(expected, rel=1e-4)
    assert found["r2"] > 0.95


@pytest.mark.parametrize("name", ["mean_absolute_error", "huber", "log_cosh"])
def test_losses_of_standardised_targets(name):
    """In the units of the targets; huber's delta and log_cosh's 1 are a deviation."""
    x, y = prices()
    net = fastnn.Network(3, [Dense(1)], loss=name, standardize=True, dtype="float64")
    net.fit(x, y, epochs=2, verbose=0)
    e, scale = np.abs(net.predict(x)[:, 0] - y), y.std()
    expected = {
        "mean_absolute_error": e,
        "huber": np.where(e > scale, scale * (e - scale / 2), e * e / 2),
        "log_cosh": scale**2 * np.log(np.cosh(e / scale)),
    }[name]
    assert net.evaluate(x, y)["loss"] == pytest.approx(expected.mean(), rel=1e-9)


def test_rates_of_counts():
    random = np.random.default_rng(2)
    x = random.normal(size=(400, 2))
    y = random.poisson(np.exp(0.5 + x @ [0.7, -0.4]))
    net = fastnn.Network(2, [Dense(1, "exponential")], loss="poisson")
    net.fit(x, y, epochs=60, optimizer=fastnn.Adam(0.02), verbose=0)
    assert net.layers[0].weights[:, 0] == pytest.approx([0.7, -0.4], abs=0.1)
    assert net.trained.meaning == "numbers"
