"""scikit-learn's estimators and ours: the same network from the same arguments and data."""

import copy
import inspect
import pickle
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="scikit-learn is not installed")

from sklearn import datasets, neural_network
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.utils.estimator_checks import check_estimator

import fastnn
from fastnn import estimators

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

CLASSES = (neural_network.MLPClassifier, estimators.MLPClassifier)
NUMBERS = (neural_network.MLPRegressor, estimators.MLPRegressor)
ACTIVATIONS = ["identity", "logistic", "tanh", "relu"]
WAYS = ["fit", "early_stopping", "warm_start", "partial_fit", "weights"]


def scaled(load):
    x, y = load(return_X_y=True)
    return (x - x.mean(axis=0)) / (x.std(axis=0) + 1e-9), y


def two_outputs():
    x, y = scaled(datasets.load_diabetes)
    return x, np.stack([y, y[::-1]], axis=1) / 100


def several_labels():
    x, y = two_outputs()
    return x, (y > 1.5).astype(int)


DATA = {
    "iris": (CLASSES, lambda: scaled(datasets.load_iris)),
    "digits": (CLASSES, lambda: scaled(datasets.load_digits)),
    "cancer": (CLASSES, lambda: scaled(datasets.load_breast_cancer)),
    "labels": (CLASSES, several_labels),
    "diabetes": (NUMBERS, lambda: (two_outputs()[0], two_outputs()[1][:, 0])),
    "outputs": (NUMBERS, two_outputs),
}


def fitted(kind, x, y, way, **options):
    """An estimator after about 20 epochs."""
    given = {"hidden_layer_sizes": (20, 10), "alpha": 0.3, "max_iter": 20, "random_state": 3}
    given |= options
    if way == "early_stopping":
        return kind(**given, early_stopping=True).fit(x, y)
    if way == "warm_start":
        given["max_iter"] = 7
        return kind(**given, warm_start=True).fit(x, y).fit(x, y).fit(x, y)
    if way == "partial_fit":
        made = kind(**given)
        classes = {"classes": np.unique(y)} if hasattr(made, "predict_proba") else {}
        for _ in range(10):
            made.partial_fit(x, y, **classes)
        return made
    if way == "weights":
        return kind(**given).fit(x, y, sample_weight=np.random.default_rng(0).random(x.shape[0]))
    return kind(**given).fit(x, y)


def same(found, wanted, error):
    for one, other in zip(found, wanted, strict=True):
        one, other = np.asarray(one), np.asarray(other)
        assert one.dtype == other.dtype
        assert np.abs(one - other).max() <= error * max(np.abs(other).max(), 1e-30)


def learned(estimator, x):
    outputs = getattr(estimator, "predict_proba", estimator.predict)(x)
    curve = getattr(estimator, "loss_curve_", [estimator.loss_])
    return [*estimator.coefs_, *estimator.intercepts_, curve, outputs]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("solver", ["sgd", "adam"])
@pytest.mark.parametrize("name", ["iris", "cancer", "diabetes"])
def test_the_same_numbers(name, solver, activation, way):
    kinds, load = DATA[name]
    x, y = load()
    theirs, ours = (fitted(k, x, y, way, solver=solver, activation=activation) for k in kinds)
    same(learned(ours, x), learned(theirs, x), 1e-8)
    assert (ours.n_iter_, ours.t_) == (theirs.n_iter_, theirs.t_)
    assert (ours.predict(x) == theirs.predict(x)).all() or name == "diabetes"


@pytest.mark.parametrize("solver", ["sgd", "adam"])
@pytest.mark.parametrize("name", ["digits", "labels", "outputs"])
@pytest.mark.parametrize("way", ["fit", "early_stopping", "weights"])
def test_the_same_numbers_of_several_outputs(name, solver, way):
    kinds, load = DATA[name]
    x, y = load()
    theirs, ours = (fitted(kind, x, y, way, solver=solver) for kind in kinds)
    same(learned(ours, x), learned(theirs, x), 1e-8)


@pytest.mark.parametrize("activation", ["identity", "logistic", "tanh"])
@pytest.mark.parametrize("name", ["iris", "cancer", "diabetes", "outputs", "labels"])
def test_the_same_numbers_of_lbfgs(name, activation):
    kinds, load = DATA[name]
    x, y = load()
    options = {"solver": "lbfgs", "activation": activation, "max_iter": 12}
    theirs, ours = (fitted(kind, x, y, "fit", **options) for kind in kinds)
    same(learned(ours, x), learned(theirs, x), 1e-6)


@pytest.mark.parametrize("schedule", ["constant", "invscaling", "adaptive"])
@pytest.mark.parametrize("options", [{"momentum": 0.0}, {"nesterovs_momentum": False}, {}])
def test_the_same_rates(schedule, options):
    x, y = scaled(datasets.load_iris)
    options = dict(options, solver="sgd", learning_rate=schedule, learning_rate_init=0.1, tol=0.05)
    theirs, ours = (
        fitted(kind, x, y, "fit", **options, max_iter=60, n_iter_no_change=2) for kind in CLASSES
    )
    same(learned(ours, x), learned(theirs, x), 1e-8)
    assert ours._optimizer.learning_rate == theirs._optimizer.learning_rate


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_dtypes_go_through(dtype):
    x, y = scaled(datasets.load_iris)
    for theirs, ours in (CLASSES, NUMBERS):
        found = [fitted(kind, x.astype(dtype), y, "fit") for kind in (ours, theirs)]
        assert {one.dtype for one in found[0].coefs_} == {np.dtype(dtype)}
        same(
            *(learned(one, x.astype(dtype)) for one in found), 1e-3 if dtype == "float32" else 1e-8
        )


@pytest.mark.parametrize("way", WAYS)
def test_bytes_stay_bytes(way, monkeypatch):
    x, y = datasets.load_digits(return_X_y=True)
    theirs, ours = (fitted(kind, x, y, way) for kind in CLASSES)
    seen = []
    rows = estimators._Fast._rows
    monkeypatch.setattr(
        estimators._Fast,
        "_rows",
        lambda self, x, *rest: seen.append(x.dtype) or rows(self, x, *rest),
    )
    found = fitted(estimators.MLPClassifier, x.astype(np.uint8), y, way)
    assert set(seen) == {np.dtype(np.uint8)}
    same(learned(found, x), learned(ours, x), 0)
    same(learned(found, x), learned(theirs, x), 1e-8)
    assert found.coefs_[0].dtype == np.float64
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        estimators.MLPClassifier().fit(x.astype(np.uint8), y[:5])
    with pytest.raises(ValueError, match="0 feature"):
        estimators.MLPClassifier().fit(x.astype(np.uint8)[:, :0], y)


SPARSE = [
    ("iris", "fit", {}),
    ("iris", "fit", {"hidden_layer_sizes": (), "batch_size": 7, "solver": "sgd"}),
    ("iris", "warm_start", {"hidden_layer_sizes": (9,), "activation": "tanh"}),
    ("digits", "early_stopping", {"n_threads": 2}),
    ("cancer", "partial_fit", {"activation": "logistic"}),
    ("labels", "weights", {}),
    ("outputs", "fit", {"solver": "lbfgs", "activation": "tanh"}),
    ("diabetes", "weights", {"loss": "poisson", "alpha": 0.0}),
    ("diabetes", "fit", {"loss": "huber"}),
    ("iris", "fit", {"dropout": 0.3}),
]


@pytest.mark.parametrize("make", ["csr_array", "csc_array", "csr_matrix", "coo_array"])
@pytest.mark.parametrize(("name", "way", "options"), SPARSE)
def test_sparse_rows_are_never_dense(make, name, way, options, monkeypatch):
    import scipy.sparse

    (_, kind), load = DATA[name]
    x, y = load()
    x = np.where(np.abs(x) < 0.7, 0, x)
    one = fitted(kind, x, y, way, **options)
    dense = scipy.sparse._compressed._cs_matrix.toarray

    def toarray(self, *arguments, **options):
        assert self.shape[1] < x.shape[1]  # targets, of which scikit-learn makes such
        return dense(self, *arguments, **options)

    monkeypatch.setattr(scipy.sparse._compressed._cs_matrix, "toarray", toarray)
    sparse = getattr(scipy.sparse, make)(x)
    other = fitted(kind, sparse, y, way, **options)
    same(learned(other, sparse), learned(one, x), 1e-6 if "solver" in options else 1e-9)
    same([other.predict(sparse)], [other.predict(x)], 1e-12)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_sparse_rows_of_another_dtype(dtype):
    import scipy.sparse

    x, y = scaled(datasets.load_iris)
    x = np.where(np.abs(x) < 0.7, 0, x)
    sparse = scipy.sparse.csr_array(x.astype("float64" if dtype == "float32" else "float32"))
    sparse.indices, sparse.indptr = sparse.indices.astype(np.int64), sparse.indptr.astype(np.int64)
    made = fitted(estimators.MLPClassifier, sparse, y, "fit", dtype=dtype)
    dense = fitted(estimators.MLPClassifier, sparse.toarray(), y, "fit", dtype=dtype)
    assert made.coefs_[0].dtype == dtype
    same([made.predict_proba(sparse)], [dense.predict_proba(sparse.toarray())], 1e-3)


def test_a_warm_start_that_brings_nothing_better():
    x, y = scaled(datasets.load_iris)
    found = []
    for kind in CLASSES:
        made = kind((8,), early_stopping=True, warm_start=True, max_iter=30, random_state=3)
        made.set_params(learning_rate_init=0.05).fit(x, y)
        made.set_params(learning_rate_init=5.0, max_iter=3).fit(x, y)
        found.append([*made.coefs_, *made.intercepts_, made.validation_scores_])
    assert max(found[0][-1][-3:]) <= max(found[0][-1][:-3])
    same(found[1], found[0], 1e-8)


def test_sparse_rows_unit_by_unit(monkeypatch):
    """More rows than one call takes: the gradients of each are written over the ones before."""
    import scipy.sparse

    x, y = scaled(datasets.load_iris)
    sparse = scipy.sparse.csr_array(
        np.where(np.abs(x) < 1.0, 0, x) * (np.arange(150) < 50)[:, None]
    )
    sparse.eliminate_zeros()
    options = {"solver": "lbfgs", "max_iter": 8, "alpha": 1.0}
    whole = fitted(estimators.MLPClassifier, sparse, y, "fit", **options)
    monkeypatch.setattr(estimators, "SPARSE_ROWS", 40)
    parts = fitted(estimators.MLPClassifier, sparse, y, "fit", **options)
    same(learned(parts, sparse), learned(whole, sparse), 1e-6)


def test_many_sparse_rows_are_shared_by_threads():
    import scipy.sparse

    random = np.random.default_rng(0)
    x = scipy.sparse.random_array((5000, 300), density=0.02, rng=random, format="csr")
    y = random.integers(0, 3, 5000)
    made = fitted(estimators.MLPClassifier, x, y, "fit", max_iter=2)
    found = [made.predict_proba(x)]
    for threads in (1, 3):
        made.network_.num_threads = threads
        found.append(made.predict_proba(x))
    assert (found[0] == found[1]).all()
    assert (found[0] == found[2]).all()
    same([made.predict_proba(x.toarray())], found[:1], 1e-12)


def test_threads_do_not_change_bits():
    x, y = scaled(datasets.load_digits)
    found = set()
    for threads in (1, 2, 3):
        made = fitted(estimators.MLPClassifier, x, y, "fit", n_threads=threads, max_iter=5)
        found.add(b"".join(part.tobytes() for part in [*made.coefs_, np.array(made.loss_curve_)]))
    assert len(found) == 1


@pytest.mark.parametrize("kinds", [CLASSES, NUMBERS], ids=["classifier", "regressor"])
def test_every_argument_of_scikit_learn(kinds):
    theirs, ours = (inspect.signature(kind).parameters for kind in kinds)
    assert list(ours)[: len(theirs)] == list(theirs)
    for name, parameter in theirs.items():
        assert ours[name].default == parameter.default
        assert ours[name].kind == parameter.kind


@pytest.mark.parametrize(
    "estimator", [estimators.MLPClassifier(max_iter=100), estimators.MLPRegressor(max_iter=100)]
)
@pytest.mark.filterwarnings("ignore")
def test_check_estimator(estimator):
    check_estimator(estimator, on_skip=None)


def test_their_own_tests(tmp_path):
    """Those of the installed scikit-learn, with our classes in place of theirs."""
    folder = Path(neural_network.__file__).parent / "tests"
    text = (folder / "test_mlp.py").read_text(encoding="utf-8")
    line = "from sklearn.neural_network import MLPClassifier, MLPRegressor\n"
    assert line in text
    text = text.replace(line, line.replace("sklearn.neural_network", "fastnn.estimators"))
    (tmp_path / "test_mlp.py").write_text(text, encoding="utf-8")
    (tmp_path / "conftest.py").write_text(
        "import pytest\n@pytest.fixture\ndef global_random_seed():\n    return 42\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir=."]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, env=environment(), timeout=500
    )
    assert done.returncode == 0, done.stdout[-3000:]


def environment():
    import os

    return {name: value for name, value in os.environ.items() if name != "PYTEST_ADDOPTS"}


def test_copies_keep_what_was_learned():
    x, y = scaled(datasets.load_iris)
    made = fitted(estimators.MLPClassifier, x, y, "fit")
    wanted = made.predict_proba(x)
    for other in (copy.copy(made), copy.deepcopy(made), pickle.loads(pickle.dumps(made))):
        assert other.predict_proba(x).tobytes() == wanted.tobytes()
        assert other.coefs_[0].base is other.network_.layers[0].weights.base
    with pytest.raises(NotFittedError):
        clone(made).predict(x)
    going, on = pickle.loads(pickle.dumps(made)).partial_fit(x, y), made.partial_fit(x, y)
    assert going.predict_proba(x).tobytes() == on.predict_proba(x).tobytes()


def test_weights_may_be_set():
    x, y = scaled(datasets.load_iris)
    made = fitted(estimators.MLPClassifier, x, y, "fit")
    made.coefs_[0][...] = 0
    changed = made.predict_proba(x)
    made.coefs_ = [weights.copy() for weights in made.coefs_]
    assert made.predict_proba(x).tobytes() == changed.tobytes()


@pytest.mark.parametrize("name", ["iris", "cancer", "diabetes", "labels"])
def test_there_and_back(name):
    (theirs, ours), load = DATA[name]
    x, y = load()
    one = fitted(theirs, x, y, "fit")
    other = estimators.from_sklearn(one)
    assert type(other) is ours
    assert isinstance(other.network_, fastnn.Network)
    same(learned(other, x), learned(one, x), 1e-12)
    back = fitted(ours, x, y, "fit").to_sklearn()
    assert type(back) is theirs
    same(learned(back, x), learned(one, x), 1e-8)
    with pytest.raises(TypeError, match="expected scikit-learn's MLPClassifier or MLPRegressor"):
        estimators.from_sklearn(other)


def test_beyond_scikit_learn():
    x, y = scaled(datasets.load_iris)
    seen = []
    made = estimators.MLPClassifier(
        (16, 16),
        ["elu", "gelu"],
        dropout=0.1,
        optimizer=fastnn.Adam(fastnn.OneCycle(0.02)),
        callbacks=[fastnn.EarlyStopping("loss", patience=100), lambda *_: seen.append(1)],
        class_weight="balanced",
        scoring="balanced_accuracy",
        early_stopping=True,
        dtype="float32",
        batch_size=16,
        max_iter=30,
        random_state=0,
    ).fit(x, y, X_val=x[::3], y_val=y[::3])
    assert made.score(x, y) > 0.9
    assert len(made.validation_loss_curve_) == len(made.validation_scores_) == len(seen)
    assert [layer.label for layer in made.network_.layers][:2] == ["elu", "dropout 0.1"]
    assert made.coefs_[0].dtype == np.float32


def test_batch_norm():
    x, y = scaled(datasets.load_digits)
    made = estimators.MLPClassifier(
        (32, 16),
        batch_norm=True,
        dropout=0.1,
        early_stopping=True,
        max_iter=25,
        batch_size=32,
        random_state=0,
    ).fit(x, y)
    labels = [layer.label for layer in made.network_.layers]
    assert labels == ["relu", "batch norm", "dropout 0.1"] * 2 + ["softmax"]
    assert made.score(x, y) > 0.95
    split = made.best_validation_score_
    assert split == max(made.validation_scores_)
    same([pickle.loads(pickle.dumps(made)).predict_proba(x)], [made.predict_proba(x)], 0)
    with pytest.raises(ValueError, match="'sgd' or 'adam' with batch_norm, got 'lbfgs'"):
        estimators.MLPClassifier(solver="lbfgs", batch_norm=True).fit(x, y)
    with pytest.raises(ValueError, match="expected what scikit-learn has, got batch_norm"):
        made.to_sklearn()


def test_early_stopping_restores_what_was_normalised():
    x, y = scaled(datasets.load_iris)
    seen = []

    def see(net, *_):
        seen.append([part.copy() for part in net.get_weights()])

    made = estimators.MLPClassifier(
        (8,), batch_norm=True, early_stopping=True, max_iter=9, random_state=1, callbacks=[see],
        learning_rate_init=0.1,
    ).fit(x, y)  # fmt: skip
    best = seen[int(np.argmax(made.validation_scores_))]
    assert int(np.argmax(made.validation_scores_)) < len(seen) - 1
    for found, wanted in zip(made.network_.get_weights(), best, strict=True):
        assert (found == wanted).all()


def test_losses_of_fastnn():
    x, y = scaled(datasets.load_iris)
    smooth = fastnn.losses.CrossEntropy(label_smoothing=0.2)
    made = estimators.MLPClassifier(loss=smooth, max_iter=40, random_state=0).fit(x, y)
    plain = estimators.MLPClassifier(max_iter=40, random_state=0).fit(x, y)
    assert made.network_.loss == smooth
    assert made.predict_proba(x).max() < plain.predict_proba(x).max()
    with pytest.raises(ValueError, match="expected what scikit-learn has, got the loss cross_ent"):
        made.to_sklearn()
    with pytest.raises(ValueError, match="a loss of one softmax output a target, got focal"):
        estimators.MLPClassifier(loss="focal").fit(x, y)
    assert estimators.MLPClassifier(loss="focal", max_iter=40).fit(x, y > 0).score(x, y > 0) > 0.9
    x, y = two_outputs()
    for one in ("huber", "mean_absolute_error", fastnn.losses.Quantile(0.5)):
        found = estimators.MLPRegressor(one, max_iter=150, random_state=0).fit(x, y[:, 0])
        assert np.abs(found.predict(x) - y[:, 0]).mean() < 0.6
    with pytest.raises(ValueError, match="a loss of one identity output a target, got quantile"):
        estimators.MLPRegressor(fastnn.losses.Quantile(0.1, 0.9)).fit(x, y)
    assert clone(made).loss is not None


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_several_targets_of_classes(solver):
    x, y = scaled(datasets.load_iris)
    names = np.array(["a", "b", "c", "d"])[np.digitize(x[:, 0], [-1, 0, 1])]
    targets = np.stack([datasets.load_iris().target_names[y], names], axis=1)
    options = {"solver": solver, "max_iter": 150, "random_state": 0, "alpha": 0.1}
    options["learning_rate_init"] = 0.01
    made = estimators.MLPClassifier((16,), **options).fit(x, targets)
    assert [list(found) for found in made.classes_][1] == ["a", "b", "c", "d"]
    assert made.predict(x).shape == targets.shape
    assert made.score(x, targets) > 0.9
    probabilities = made.predict_proba(x)
    assert [part.shape for part in probabilities] == [(150, 3), (150, 4)]
    for part, log in zip(probabilities, made.predict_log_proba(x), strict=True):
        np.testing.assert_allclose(part.sum(axis=1), 1)
        np.testing.assert_allclose(np.exp(log), part)
    again = pickle.loads(pickle.dumps(made))
    assert (again.predict(x) == made.predict(x)).all()


WHOLE = {
    "solver": "sgd",
    "batch_size": 150,
    "learning_rate_init": 0.1,
    "max_iter": 2000,
    "tol": 0.0,
}


@pytest.mark.parametrize(
    "options", [{"solver": "lbfgs", "tol": 1e-12}, WHOLE], ids=["lbfgs", "sgd"]
)
def test_targets_that_share_no_layer_end_where_each_would_alone(options):
    """Without a hidden layer, and with a penalty, there is one best W for each."""
    x, y = scaled(datasets.load_iris)
    targets = np.stack([y, (x[:, 0] > 0).astype(int) + (x[:, 1] > 1)], axis=1)
    options = {"alpha": 5.0, "max_iter": 500, "random_state": 0, "n_iter_no_change": 2000} | options
    both = estimators.MLPClassifier((), **options).fit(x, targets)
    for k, columns in enumerate((slice(0, 3), slice(3, 6))):
        alone = neural_network.MLPClassifier((), **options).fit(x, targets[:, k])
        assert np.abs(both.coefs_[0][:, columns] - alone.coefs_[0]).max() < 1e-3


def test_several_targets_that_do_not_fit():
    x, y = scaled(datasets.load_iris)
    targets = np.stack([y, (y + 1) % 3], axis=1)
    made = estimators.MLPClassifier(max_iter=3, early_stopping=True, warm_start=True)
    assert 0 <= made.fit(x, targets, X_val=x[:20], y_val=targets[:20]).validation_scores_[0] <= 1
    with pytest.raises(ValueError, match=r"expected classes \[0 1 2\] in target 1, got \[7\]"):
        made.fit(x, np.where(targets == [9, 2], 7, targets))
    with pytest.raises(ValueError, match="expected what scikit-learn has, got several targets"):
        made.to_sklearn()
    with pytest.raises(ValueError, match="no weights of rows with several targets"):
        made.fit(x, targets, sample_weight=np.ones(150))
    with pytest.raises(ValueError, match="log_loss for several targets of classes, got focal"):
        estimators.MLPClassifier(loss="focal").fit(x, targets)


def test_several_labels_in_parts():
    x, y = several_labels()
    made = estimators.MLPClassifier(random_state=0)
    for _ in range(60):
        made.partial_fit(x, y, classes=[0, 1])
    assert made.score(x, y) > 0.5
    assert made.predict(x).shape == y.shape


def test_validation_loss_is_that_of_the_rows():
    x, y = scaled(datasets.load_iris)
    made = estimators.MLPClassifier(max_iter=3, alpha=0, random_state=0).fit(x, y, X_val=x, y_val=y)
    p = made.predict_proba(x)[np.arange(len(y)), y]
    assert made.validation_loss_curve_[-1] == pytest.approx(-np.log(p).mean(), rel=1e-9)


def test_what_does_not_fit_together():
    x, y = scaled(datasets.load_iris)
    with pytest.raises(ValueError, match="expected X_val and y_val together"):
        estimators.MLPClassifier().fit(x, y, X_val=x)
    with pytest.raises(ValueError, match="expected 1 activations, got 2"):
        estimators.MLPClassifier(activation=["relu", "relu"]).fit(x, y)
    with pytest.raises(ValueError, match="expected y_val of 150 rows, got 3"):
        estimators.MLPClassifier().fit(x, y, X_val=x, y_val=y[:3])


def test_ctrl_c_keeps_the_fit():
    x, y = scaled(datasets.load_iris)

    def press(network, epoch, logs):
        if epoch == 3:
            raise KeyboardInterrupt

    made = estimators.MLPClassifier(random_state=0, callbacks=[press])
    with pytest.warns(UserWarning, match="Training interrupted by user"):
        made.fit(x, y)
    assert made.n_iter_ == 3
    made.predict(x)


def test_a_search_on_two_processes():
    x, y = scaled(datasets.load_iris)
    search = GridSearchCV(
        estimators.MLPClassifier(max_iter=20, random_state=0),
        {"hidden_layer_sizes": [(5,), (10,)]},
        n_jobs=2,
        cv=2,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        assert search.fit(x, y).best_score_ > 0.3


LAYOUTS = {
    "rows": lambda x: x,
    "columns": np.asfortranarray,
    "strided": lambda x: np.repeat(x, 2, axis=1)[:, ::2],
    "float32": lambda x: x.astype(np.float32),
    "big-endian": lambda x: x.astype(">f8"),
    "list": lambda x: x.tolist(),
}


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_is_not_finite_is_refused_in_scikit_learns_words(layout, bad):
    """An engine looks in its place: at X in its own dtype, at y, in `fit` and in `predict`."""
    x, y = np.random.default_rng(0).normal(size=(2000, 7)), np.arange(2000) % 3
    wrong = x.copy()
    wrong[1999, 6] = bad  # the last: some threads and blocks later
    wrong, fine = LAYOUTS[layout](wrong), LAYOUTS[layout](x)
    numbers = np.where(np.arange(2000) == 1999, bad, y)
    for kinds, name in ((CLASSES, "X"), (NUMBERS, "y")):
        messages = []
        for kind in kinds:
            estimator = kind(hidden_layer_sizes=(3,), max_iter=1, random_state=0)
            found = (wrong, y) if name == "X" else (fine, numbers)
            with pytest.raises(ValueError, match=f"Input {name} contains") as fit:
                estimator.fit(*found)
            estimator.fit(fine, y)
            with pytest.raises(ValueError, match="Input X contains") as predict:
                estimator.predict(wrong)
            messages.append([str(fit.value).split("\n")[0], str(predict.value).split("\n")[0]])
        assert messages[0] == messages[1]
