"""scikit-learn's displays, filled by our figures."""

import matplotlib
import numpy as np
import pytest

import fastnn
from fastnn import inspection, plotting

sklearn_metrics = pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed")
matplotlib.use("agg")


def test_displays_of_scikit_learn():
    from matplotlib import pyplot
    from sklearn.calibration import calibration_curve

    x = np.random.default_rng(0).normal(size=(300, 4))
    y = (x[:, 0] + 0.5 * x[:, 1] > 0).astype(int)
    net = fastnn.mlp([4, 8, 1], output="sigmoid")
    net.fit(x, y, epochs=5, verbose=0)
    _, ax = pyplot.subplots()
    shown = plotting.plot_confusion(net, x, y, ax=ax)
    assert isinstance(shown, sklearn_metrics.ConfusionMatrixDisplay)
    assert shown.ax_ is ax
    expected = sklearn_metrics.confusion_matrix(y, net.classify(x))
    assert (shown.confusion_matrix == expected).all()
    curve = plotting.plot_calibration(net, x, y)
    assert curve.figure_ is curve.ax_.figure
    p = net.predict(x)[:, 0]
    right, certain = net.classify(x) == y, np.maximum(p, 1 - p)
    shares, means = calibration_curve(right, certain, n_bins=15)
    found = inspection.calibration(net, x, y)
    assert found.accuracy[found.rows > 0] == pytest.approx(shares)
    assert found.certainty[found.rows > 0] == pytest.approx(means, abs=1e-6)
    pyplot.close("all")
