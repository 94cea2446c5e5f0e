"""Metrics beside those of scikit-learn."""

import numpy as np
import pytest

from fastnn import metrics

theirs = pytest.importorskip(
    "sklearn.metrics", reason="a comparison with scikit-learn, which is not installed"
)


def drawn(seed, outputs):
    """Labels and outputs of 60 rows, some equal, that go together a little."""
    random = np.random.default_rng(seed)
    y = random.integers(0, max(outputs, 2), 60)
    h = random.random((60, outputs)) + 0.5 * (y[:, None] == np.arange(outputs))
    if outputs == 1:
        return y[:, None], np.round((random.random((60, 1)) + y[:, None]) / 2, 1)
    return y, np.round(h / h.sum(axis=1, keepdims=True), 2)


def of(name, y, h):
    return metrics.get([name])[0].of(y, h)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("outputs", [2, 3, 7])
def test_of_classes(seed, outputs):
    y, h = drawn(seed, outputs)
    h = h + 1e-6 * np.random.default_rng(seed).random(h.shape)  # no two largest
    h /= h.sum(axis=1, keepdims=True)
    given, labels = h.argmax(axis=1), np.arange(outputs)
    macro = {"average": "macro", "zero_division": 0}
    expected = {
        "accuracy": theirs.accuracy_score(y, given),
        "balanced_accuracy": theirs.balanced_accuracy_score(y, given),
        "precision": theirs.precision_score(y, given, **macro),
        "recall": theirs.recall_score(y, given, **macro),
        "f1": theirs.f1_score(y, given, **macro),
        "log_loss": theirs.log_loss(y, h, labels=labels),
    }
    if outputs > 2:
        expected["roc_auc"] = theirs.roc_auc_score(y, h, multi_class="ovr", labels=labels)
        expected["top_2"] = theirs.top_k_accuracy_score(y, h, k=2, labels=labels)
    else:
        expected["roc_auc"] = theirs.roc_auc_score(y, h[:, 1])
    assert {name: of(name, y, h) for name in expected} == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_of_one_output(seed):
    y, h = drawn(seed, 1)
    labels, given = y[:, 0], (h > 0.5)[:, 0].astype(int)
    expected = {
        "accuracy": theirs.accuracy_score(labels, given),
        "balanced_accuracy": theirs.balanced_accuracy_score(labels, given),
        "precision": theirs.precision_score(labels, given),
        "recall": theirs.recall_score(labels, given),
        "f1": theirs.f1_score(labels, given),
        "roc_auc": theirs.roc_auc_score(labels, h[:, 0]),
        "log_loss": theirs.log_loss(labels, h[:, 0]),
    }
    assert {name: of(name, y, h) for name in expected} == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_of_several_labels_a_row(seed):
    random = np.random.default_rng(seed)
    y = random.integers(0, 2, (60, 4))
    h = np.round((random.random((60, 4)) + y) / 2, 1)
    given = (h > 0.5).astype(int)
    expected = {
        "accuracy": theirs.accuracy_score(y, given),
        "precision": theirs.precision_score(y, given, average="macro"),
        "recall": theirs.recall_score(y, given, average="macro"),
        "f1": theirs.f1_score(y, given, average="macro"),
        "roc_auc": theirs.roc_auc_score(y, h, average="macro"),
    }
    assert {name: of(name, y, h) for name in expected} == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("outputs", [1, 3])
def test_of_numbers(outputs):
    random = np.random.default_rng(outputs)
    y, h = random.normal(size=(2, 50, outputs))
    expected = {
        "mae": theirs.mean_absolute_error(y, h),
        "rmse": theirs.root_mean_squared_error(y, h),
        "r2": theirs.r2_score(y, h),
    }
    assert {name: of(name, y, h) for name in expected} == pytest.approx(expected, rel=1e-12)
