"""Metrics, by numbers worked by hand, and where they are asked for."""

import math

import numpy as np
import pytest

import fastnn
from fastnn import metrics

# Three classes, six rows: given 0, 0, 1, 1, 2, 0.
LABELS = np.array([0, 0, 1, 2, 2, 2])
OUTPUTS = np.array(
    [[0.5, 0.25, 0.25], [0.5, 0.25, 0.25], [0.25, 0.5, 0.25],
     [0.125, 0.5, 0.375], [0.25, 0.25, 0.5], [0.5, 0.125, 0.375]]
)  # fmt: skip
# One output, five rows: given 1, 0, 1, 0, 0.
BINARY = np.array([[1], [1], [0], [0], [0]])
CHANCES = np.array([[0.75], [0.5], [0.75], [0.25], [0.125]])
# Two targets.
NUMBERS = np.array([[0.0, 1.0], [2.0, 1.0], [4.0, 4.0]])
MET = np.array([[1.0, 1.0], [2.0, 1.0], [3.0, 1.0]])


@pytest.mark.parametrize(
    ("name", "y", "h", "expected"),
    [
        ("accuracy", LABELS, OUTPUTS, 4 / 6),
        ("top_1", LABELS, OUTPUTS, 4 / 6),
        ("top_2", LABELS, OUTPUTS, 1.0),
        ("balanced_accuracy", LABELS, OUTPUTS, (1 + 1 + 1 / 3) / 3),
        ("precision", LABELS, OUTPUTS, (2 / 3 + 1 / 2 + 1) / 3),
        ("recall", LABELS, OUTPUTS, (1 + 1 + 1 / 3) / 3),
        ("f1", LABELS, OUTPUTS, (4 / 5 + 2 / 3 + 1 / 2) / 3),
        ("log_loss", LABELS, OUTPUTS, (4 * math.log(2) + 2 * math.log(8 / 3)) / 6),
        ("accuracy", BINARY, CHANCES, 3 / 5),
        ("balanced_accuracy", BINARY, CHANCES, (1 / 2 + 2 / 3) / 2),
        ("precision", BINARY, CHANCES, 1 / 2),
        ("recall", BINARY, CHANCES, 1 / 2),
        ("f1", BINARY, CHANCES, 1 / 2),
        ("roc_auc", BINARY, CHANCES, (0.5 + 1 + 1 + 0 + 1 + 1) / 6),
        ("mae", NUMBERS, MET, (1 + 1 + 3) / 6),
        ("rmse", NUMBERS, MET, ((2 / 3) ** 0.5 + 3**0.5) / 2),
        ("r2", NUMBERS, MET, ((1 - 2 / 8) + (1 - 9 / 6)) / 2),
    ],
)
def test_numbers_worked_by_hand(name, y, h, expected):
    (metric,) = metrics.get([name])
    assert metric.of(y, h) == pytest.approx(expected, rel=1e-12)


def test_what_is_not_defined():
    assert math.isnan(metrics.roc_auc(np.zeros((3, 1)), CHANCES[:3]))
    assert math.isnan(metrics.r2(np.ones((3, 1)), MET[:, :1]))
    assert metrics.precision(BINARY, 0 * CHANCES) == 0.0


def test_names_suggest_the_nearest():
    with pytest.raises(ValueError, match="unknown metric 'acuracy'; did you mean 'accuracy'"):
        metrics.get(["acuracy"])
    with pytest.raises(ValueError, match="unknown metric 'top_0'"):
        metrics.get(["top_0"])
    with pytest.raises(ValueError, match="expected each metric once, got f1 twice"):
        metrics.get(["f1", "f1"])
    with pytest.raises(TypeError, match=r"expected metrics as a list, got 'f1'; pass \['f1'\]"):
        metrics.get("f1")
    with pytest.raises(TypeError, match="expected metrics to be names or functions, got int"):
        metrics.get([3])


def classes():
    random = np.random.default_rng(0)
    y = random.integers(0, 3, 90)
    return random.random((90, 4), np.float32) + y[:, None], y


def test_fit_has_them_of_validation_rows(engine_name):
    x, y = classes()

    def largest(y_true, y_pred):
        assert y_true.shape == (20,)
        return y_pred.max()

    net = fastnn.mlp([4, 8, 3], engine=engine_name)
    wanted = ["f1", "top_2", largest]
    logs = net.fit(
        x, y, epochs=2, validation_data=(x[:20], y[:20]), metrics=wanted, verbose=0
    ).history
    figures = net.evaluate(x[:20], y[:20], metrics=wanted)
    assert list(figures) == ["loss", "accuracy", "f1", "top_2", "largest"]
    assert {name: logs[f"val_{name}"][-1] for name in figures} == figures
    assert figures["f1"] == metrics.f1(y[:20], net.predict(x[:20]))
    one_hot = np.eye(3)[y[:20]]
    assert net.evaluate(x[:20], one_hot, metrics=["f1"])["f1"] == figures["f1"]


def test_numbers_are_in_the_units_of_the_targets(engine_name):
    x, y = classes()
    net = fastnn.Network(4, [fastnn.Dense(1)], standardize=True, engine=engine_name)
    net.fit(x, 1000.0 * y, epochs=3, verbose=0)
    figures = net.evaluate(x, 1000.0 * y, metrics=["rmse", "mae", "r2"])
    assert figures["rmse"] == pytest.approx(figures["loss"] ** 0.5, rel=1e-5)
    assert figures["mae"] == np.abs(net.predict(x).astype(float)[:, 0] - 1000.0 * y).mean()


def test_metrics_that_do_not_fit():
    x, y = classes()
    net = fastnn.mlp([4, 3], engine="reference")
    with pytest.raises(ValueError, match="expected validation_data or validation_split with"):
        net.fit(x, y, metrics=["f1"], verbose=0)
    with pytest.raises(ValueError, match="expected numbers as y for the metric mae, got classes"):
        net.evaluate(x, y, metrics=["mae"])
    real = fastnn.mlp([4, 1], output="identity", engine="reference")
    with pytest.raises(ValueError, match="expected classes as y for the metric f1, got numbers"):
        real.evaluate(x, y / 3, metrics=["f1"])

    def bad(y_true, y_pred):
        return "x"

    with pytest.raises(TypeError, match="expected what bad gives to be a number, got str 'x'"):
        net.evaluate(x, y, metrics=[bad])


# Rows that are split off to validate on.


def recorded(x, y, share, **options):
    """The rows that were learned from, and those that a metric saw."""
    seen, learned = [], []

    def keep(y_true, y_pred):
        seen.append(y_true)
        return 0.0

    net = fastnn.mlp([4, 8, 3], engine="reference", **options)
    real = net._engine

    class Spy:
        def __getattr__(self, name):
            return getattr(real, name)

        def train(self, program, x, rows, y, *rest):
            learned.append((x[rows], y))
            return real.train(program, x, rows, y, *rest)

    net._engine = Spy()
    net.fit(x, y, epochs=1, validation_split=share, metrics=[keep], verbose=0)
    return learned[0], seen[0]


@pytest.mark.parametrize("share", [0.1, 0.25, 0.5, 0.95])
def test_a_split_takes_of_each_label_alike(share):
    x = np.arange(400, dtype=np.float32).reshape(100, 4) / 400
    y = np.repeat([0, 1, 2], [70, 20, 10])
    (x_learned, y_learned), y_seen = recorded(x, y, share)
    assert len(x_learned) == 100 - len(y_seen) == 100 - round(share * 100)
    for label, many in enumerate((70, 20, 10)):
        assert abs((y_seen == label).sum() - share * many) <= 1
    numbers = np.rint(x_learned[:, 0] * 100).astype(int)
    assert sorted(y[numbers].tolist()) == sorted(y_learned.tolist())
    assert (y[numbers] == y_learned).all()
    assert len(set(numbers.tolist())) == len(numbers)


def test_a_split_follows_from_the_seed():
    x, y = classes()
    first, again, other = (recorded(x, y, 0.2, seed=seed) for seed in (0, 0, 1))
    assert first[1].tolist() == again[1].tolist()
    assert first[0][0].tobytes() == again[0][0].tobytes()
    assert sorted(first[0][0].tolist()) != sorted(other[0][0].tolist())


def test_a_split_of_numbers_and_its_scales(engine_name):
    """Scales are learned from the rows that are learned from, and from no other."""
    random = np.random.default_rng(0)
    x, y = random.normal(size=(50, 4)), random.normal(size=50)
    learned, validated = fastnn.rows.split(0, 0.2, 50, None)
    assert sorted([*learned, *validated]) == list(range(50))
    nets = [
        fastnn.Network(4, [fastnn.Dense(1)], standardize=True, engine=engine_name) for _ in "ab"
    ]
    logs = [
        nets[0].fit(x, y, validation_split=0.2, verbose=0).history,
        nets[1]
        .fit(x[learned], y[learned], validation_data=(x[validated], y[validated]), verbose=0)
        .history,
    ]
    assert nets[0].program.center.tobytes() == nets[1].program.center.tobytes()
    assert nets[0].program.parameters.tobytes() == nets[1].program.parameters.tobytes()
    assert logs[0]["val_loss"] == logs[1]["val_loss"]


def test_bad_splits():
    x, y = classes()
    net = fastnn.mlp([4, 3], engine="reference")
    for share in (-0.1, 1.0):
        with pytest.raises(ValueError, match=r"expected validation_split in \[0, 1\), got"):
            net.fit(x, y, validation_split=share)
    with pytest.raises(ValueError, match="expected validation_split or validation_data, got both"):
        net.fit(x, y, validation_split=0.5, validation_data=(x, y))
    with pytest.raises(ValueError, match="expected at least 2 rows in x with validation_split"):
        net.fit(x[:1], y[:1], validation_split=0.5)
