"""scikit-learn's MLPClassifier: `fit` with a warm start, the same batches and optimizers."""

from __future__ import annotations

import warnings

import sklearn
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier

from . import cases
from .cases import Spec, Task

warnings.simplefilter("ignore", ConvergenceWarning)  # epochs are counted here, not judged


def versions() -> dict[str, str]:
    return {"scikit-learn": sklearn.__version__}


def classifier(spec: Spec, x: cases.Array, y: cases.Array, **options: object) -> MLPClassifier:
    """A classifier at the fixed start: one step creates the arrays, which are then overwritten.

    For two classes scikit-learn has one logistic output: the difference of ours.
    """
    sizes = spec["sizes"]
    hidden = {"sigmoid": "logistic"}.get(spec["hidden"], spec["hidden"])
    net = MLPClassifier(tuple(sizes[1:-1]), activation=hidden, alpha=0, **options)
    net.partial_fit(x[:1024], y[:1024], classes=range(sizes[-1]))
    layers = cases.weights(sizes)
    if sizes[-1] == 2:
        w, b = layers[-1]
        layers[-1] = w[:, 1:] - w[:, :1], b[1:] - b[:1]
    for i, (w, b) in enumerate(layers):
        net.coefs_[i][...] = w
        net.intercepts_[i][...] = b
    del net._optimizer
    return net


def training(spec: Spec) -> Task:
    x, y = cases.data(spec["sizes"], spec["rows"])
    head = cases.CHECKED_STEPS * spec["batch"]
    net = classifier(
        spec,
        x,
        y,
        solver=spec["optimizer"],
        momentum=0,
        batch_size=spec["batch"],
        learning_rate_init=cases.RATES[spec["optimizer"]],
        shuffle=False,
    )
    if spec["sizes"][-1] > 2:
        net.partial_fit(x[:head], y[:head])
    loss = cases.cross_entropy(net.predict_proba(x[:head]), y[:head])
    net.set_params(shuffle=True, warm_start=True, max_iter=spec["epochs"], n_iter_no_change=10**9)

    def run() -> float:
        net.t_, net.n_iter_ = 0, 0
        net.fit(x, y)
        return float(spec["epochs"] * len(x))

    return Task(run, loss)


def prediction(spec: Spec) -> Task:
    x, y = cases.data(spec["sizes"], max(1024, spec["rows"]))
    net = classifier(spec, x, y, batch_size=1024)
    x = x[: spec["rows"]]

    def run() -> float:
        net.predict_proba(x)
        return 1.0

    return Task(run, cases.prediction_error(spec, x, net.predict_proba(x)))
