"""scikit-learn's multilayer perceptrons, trained and run by fastnn: one changed import.

`MLPClassifier` and `MLPRegressor` are subclasses of scikit-learn's own, which check arguments and
data, draw initial weights, split off rows for early stopping, and say what went wrong. What takes
time is fastnn's: gradients, updates, predictions. With the same arguments and data they learn the
same network, to rounding. It needs scikit-learn 1.9, the `sklearn` extra.
"""

from __future__ import annotations

import copy
import operator
import warnings
from collections.abc import Iterable
from dataclasses import replace
from inspect import signature
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np

try:
    from scipy.special import xlogy
    from sklearn import config_context
    from sklearn.base import _fit_context
    from sklearn.callback import CallbackSupportMixin
    from sklearn.metrics import get_scorer
    from sklearn.model_selection import train_test_split
    from sklearn.neural_network import MLPClassifier as _Classifier
    from sklearn.neural_network import MLPRegressor as _Regressor
    from sklearn.neural_network._stochastic_optimizers import AdamOptimizer, SGDOptimizer
    from sklearn.utils import compute_sample_weight
    from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
    from sklearn.utils.multiclass import type_of_target
    from sklearn.utils.validation import check_is_fitted, validate_data
    from threadpoolctl import threadpool_limits
except ImportError as error:  # pragma: no cover
    raise ImportError(
        "fastnn.estimators needs scikit-learn 1.9 or newer: "
        "`python -m pip install 'fastnn-cpu[sklearn]'`"
    ) from error

from . import losses, training
from ._arrays import Array, direct, pieces
from ._sklearn_fit import Epochs, Gradient, Several, Tasks, Update, Validation, Verdict
from ._sparse import Sparse, is_sparse
from .callbacks import Callbacks
from .engine import get as engine_of
from .engine import get_num_threads
from .layers import BatchNorm, Dense, Dropout, Layer
from .losses import Loss
from .network import Network, hold_of, runner_of
from .program import pairs
from .rows import Rows, meaning_of

ACTIVATIONS = {"logistic": "sigmoid", "exp": "exponential"}  # the others have fastnn's names
QUICK = 1024  # rows that go to an engine in one call
SPARSE_ROWS = 16384  # of a sparse matrix, in one call
BEYOND = frozenset(
    (
        "batch_norm",
        "callbacks",
        "class_weight",
        "dropout",
        "dtype",
        "loss",
        "n_threads",
        "optimizer",
        "scoring",
    )
)
SHARED = frozenset(signature(_Classifier).parameters)  # arguments of both, but the loss
THEIRS = ("log_loss", "squared_error", "poisson")  # losses that scikit-learn has, too
ANY_LOSS = [StrOptions({*THEIRS, *losses.LOSSES}), Loss]


class _Fast(CallbackSupportMixin):  # type: ignore[misc]
    """What both estimators do with a network of fastnn instead of NumPy."""

    coefs_: list[Array]
    intercepts_: list[Array]

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "activation": [*_Classifier._parameter_constraints["activation"], list, tuple],
        "batch_norm": ["boolean"],
        "dropout": [Interval(Real, 0, 1, closed="left")],
        "optimizer": [HasMethods("coefficients"), None],
        "callbacks": [list, tuple, None],
        "scoring": [str, callable, None],
        "n_threads": [Interval(Integral, 1, None, closed="left"), None],
        "dtype": [StrOptions({"float32", "float64"}), None],
    }

    def _set(self, given: dict[str, Any], theirs: Iterable[str]) -> None:
        """Set the arguments of a constructor, scikit-learn's through its own."""
        super().__init__(**{name: given[name] for name in theirs})
        for name in BEYOND & given.keys():
            setattr(self, name, given[name])

    @_fit_context(prefer_skip_nested_validation=True)  # type: ignore[untyped-decorator]
    def fit(
        self,
        X: Any,  # noqa: N803
        y: Any,
        sample_weight: Any = None,
        *,
        X_val: Any = None,  # noqa: N803
        y_val: Any = None,
    ) -> Any:
        """Train on X (n, I), an array or a sparse matrix, and y (n,) or (n, O); returns itself.

        A classifier's y may be several targets of classes (n, k): the last layer has the outputs of
        all, the loss is the sum of theirs; without weights of rows, and not on sparse X.

        sample_weight: (n,); a batch's gradient is its weighted mean. X_val, y_val: rows to validate
        on after each epoch, whose loss goes to `validation_loss_curve_`; early_stopping looks at
        them instead of splitting some of X off. Raises what scikit-learn raises.
        """
        if (X_val is None) != (y_val is None):
            raise ValueError("expected X_val and y_val together, got one of them")
        self._given = X_val, y_val
        subtasks = 0 if self.solver == "lbfgs" else self.max_iter
        self._tasks = Tasks(self, self._init_callback_context(max_subtasks=subtasks), X, y)
        try:
            weights = self._weighted(y, sample_weight)
            self._fit(X, y, sample_weight=weights)
            self._tasks.end()
        finally:
            del self._given, self._tasks
        return self

    def _weighted(self, y: Any, sample_weight: Any) -> Any:
        return sample_weight

    def to_sklearn(self) -> Any:
        """scikit-learn's own estimator with these arguments and weights.

        Raises ValueError where a fit used what scikit-learn has not.
        """
        check_is_fitted(self)
        kind = _Classifier if isinstance(self, _Classifier) else _Regressor
        arguments = {name: getattr(self, name) for name in signature(kind).parameters}
        if not isinstance(self.activation, str):
            raise ValueError(f"expected one activation for scikit-learn, got {self.activation}")
        if self._several():
            raise ValueError("expected what scikit-learn has, got several targets of classes")
        if self.batch_norm or self.loss not in THEIRS:
            found = "batch_norm" if self.batch_norm else f"the loss {self.network_.loss.name}"
            raise ValueError(f"expected what scikit-learn has, got {found}")
        theirs = kind(**arguments)
        self._network()
        _copy_fit(self, theirs)
        return theirs

    def _validate_input(self, X: Any, y: Any, incremental: bool, reset: bool) -> Any:  # noqa: N803
        """scikit-learn's look at the data; bytes, which engines read, stay bytes."""
        words = isinstance(y, np.ndarray) and y.dtype.kind in "US"
        known = self._finite(X) and (words or self._finite(y))
        with config_context(assume_finite=known or None):
            checked, y = self._checked(looked_at(X), y, incremental, reset)
        return X if is_bytes(X) else checked, y

    def _finite(self, numbers: object) -> bool:
        """Whether an engine, which is quicker than scikit-learn's look, finds all of it finite."""
        if type(numbers) is not np.ndarray:
            return False
        if numbers.dtype.kind in "biu":
            return True
        rows = numbers[None] if numbers.ndim == 1 else numbers
        if not direct(rows):
            return False
        limit, threads = float(np.finfo(rows.dtype).max), self.n_threads or get_num_threads()
        return engine_of("auto").within(rows, limit, threads)

    def _checked(self, X: Any, y: Any, incremental: bool, reset: bool) -> Any:  # noqa: N803
        return super()._validate_input(X, y, incremental, reset)

    def _initialize(self, y: Array, layer_units: list[int], dtype: Any) -> None:
        floats = dtype if np.dtype(dtype).kind == "f" else np.float64
        super()._initialize(y, layer_units, self.dtype or floats)
        if self._several():
            self.out_activation_ = "identity"
        self.validation_loss_curve_: list[float] = []

    def _several(self) -> bool:
        """Whether there are several targets of classes."""
        return isinstance(getattr(self, "_label_binarizer", None), Several)

    # --- the network, whose memory coefs_ and intercepts_ are views of -------------------------

    def _network(self) -> Network:
        """The network of coefs_ and intercepts_: the one at hand, unless they are others."""
        views = self.__dict__.get("_views", ())
        given = [*self.coefs_, *self.intercepts_]
        if len(views) != len(given) or not all(map(operator.is_, views, given)):
            self._bind()
        return self.network_

    def _activations(self, hidden: int) -> list[str]:
        """Of all layers, of which so many are hidden."""
        one = isinstance(self.activation, str)
        found = [self.activation] * hidden if one else list(self.activation)
        if len(found) != hidden:
            raise ValueError(f"expected {hidden} activations, got {len(found)}: {found}")
        return [*found, self.out_activation_]

    def _loss(self) -> Loss:
        """As fastnn has it. Raises ValueError for one that does not fit the outputs."""
        name = self.loss
        if self._several():
            if name != "log_loss":
                raise ValueError(f"expected log_loss for several targets of classes, got {name}")
            return losses.get(self._label_binarizer.heads)
        if name == "log_loss":
            softmax = self.out_activation_ == "softmax"
            name = "cross_entropy" if softmax else "binary_cross_entropy"
        elif name == "squared_error":
            name = "mean_squared_error"
        loss = losses.get(name) if isinstance(name, str) else name
        output = ACTIVATIONS.get(self.out_activation_, self.out_activation_)
        wanted = loss.output or "identity"
        if wanted != output or loss.per_target > 1:
            raise ValueError(f"expected a loss of one {output} output a target, got {loss.name}")
        return loss

    def _bind(self) -> None:
        """A new network with the weights that there are, which become views of its memory."""
        sizes = [len(self.coefs_[0]), *(W.shape[1] for W in self.coefs_)]
        layers: list[Layer] = []
        for units, name in zip(sizes[1:], self._activations(len(sizes) - 2), strict=True):
            if layers and self.batch_norm:
                layers.append(BatchNorm())
            if layers and self.dropout:
                layers.append(Dropout(self.dropout))
            layers.append(Dense(units, ACTIVATIONS.get(name, name)).blank())
        dtype = self.coefs_[0].dtype
        seed = int(self.random_state) if isinstance(self.random_state, Integral) else 0
        network = Network(
            sizes[0], layers, loss=self._loss(), dtype=dtype, seed=seed, num_threads=self.n_threads
        )
        given = [*self.coefs_, *self.intercepts_]
        self.network_ = network
        self._see()
        for view, weights in zip(self._views, given, strict=True):
            view[...] = weights

    def _see(self) -> None:
        """coefs_ and intercepts_ are views of the network."""
        dense = [layer for layer in self.network_.layers if isinstance(layer, Dense)]
        self.coefs_ = [layer.weights for layer in dense]
        self.intercepts_ = [layer.biases for layer in dense]
        self._views = [*self.coefs_, *self.intercepts_]
        self._runner = runner_of(self.network_)

    def __getstate__(self) -> dict[str, Any]:
        state = dict(super().__getstate__())
        if "coefs_" in state:
            self._network()
            state = dict(super().__getstate__())
            for name in ("coefs_", "intercepts_", "_views", "_runner"):
                del state[name]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if "network_" in self.__dict__:
            self._see()

    # --- fitting --------------------------------------------------------------------------------

    def _fit_stochastic(
        self,
        X: Any,  # noqa: N803
        y: Array,
        sample_weight: Array | None,
        activations: Any,
        deltas: Any,
        coef_grads: Any,
        intercept_grads: Any,
        layer_units: list[int],
        incremental: bool,
    ) -> None:
        """Epochs of SGD or Adam: scikit-learn's loop, whose steps an engine takes."""
        if self.early_stopping and incremental:
            raise ValueError("partial_fit does not support early_stopping=True")
        network = self._network()
        self._penalize(network)
        if not incremental or not hasattr(self, "_optimizer"):
            self._optimizer = self._new_optimizer()
            network.trained = training.State()
        learned, validation = self._parts(X, y, sample_weight)
        verdict = Verdict(self, validation, incremental)
        told = [verdict, *(self.callbacks or ())]
        if validation[0] is not None and not self._splits():
            told.insert(
                0, Validation(self, self._gradient(), self._validation_rows(*validation[:2]))
            )
        if not incremental and self._tasks.wanted:
            told.append(self._tasks)
        listener = Callbacks(told, network)
        settings = training.Settings(
            epochs=self.max_iter,
            batch_size=self._batch_size(len(learned[1])),
            optimizer=self.optimizer or self._update(),
            shuffle=self.shuffle,
            seed=0,
            listener=listener,
            verbose=0,
        )
        self.n_iter_ = 0
        run = Epochs(self._runner_on(X), [self._rows(*learned)], None, network.trained, settings)
        run.random_state = self._random_state
        run.constants = self._constants(learned[1])
        if self.optimizer is None:
            run.rate_now = lambda: self._optimizer.learning_rate
        try:
            with hold_of(network):
                run.all_epochs()
        except KeyboardInterrupt:
            warnings.warn("Training interrupted by user.", stacklevel=2)
        if verdict.best is not None:  # else an earlier fit was better: the last weights, as theirs
            network.program.parameters[:] = verdict.best

    def _fit_lbfgs(self, X: Any, y: Array, sample_weight: Array | None, *rest: Any) -> None:  # noqa: N803
        """scikit-learn's, which computes in float64 whatever X is."""
        if self.batch_norm:
            raise ValueError("expected solver 'sgd' or 'adam' with batch_norm, got 'lbfgs'")
        self.coefs_ = [W.astype(np.float64) for W in self.coefs_]
        self.intercepts_ = [b.astype(np.float64) for b in self.intercepts_]
        self._network()
        self._batch = X, self._rows(X, y, sample_weight)
        try:
            with threadpool_limits(1, "blas"):  # SciPy's threads would wait on our cores, spinning
                super()._fit_lbfgs(X, y, sample_weight, *rest)
        finally:
            del self._batch

    def _unpack(self, packed_parameters: Array) -> None:
        self._network()
        for place, view in self._places():
            view[...] = packed_parameters[place].reshape(view.shape)

    def _places(self) -> list[tuple[slice, Array]]:
        """Where scikit-learn packs coefs_ and intercepts_ in one vector, and those."""
        ends = np.cumsum([view.size for view in self._views]).tolist()
        return [
            (slice(end - view.size, end), view) for end, view in zip(ends, self._views, strict=True)
        ]

    def _loss_grad_lbfgs(
        self,
        packed_coef_inter: Array,
        X: Any,  # noqa: N803
        y: Array,
        sample_weight: Array | None,
        activations: Any,
        deltas: Any,
        coef_grads: Any,
        intercept_grads: Any,
    ) -> tuple[float, Array]:
        """The loss and its gradient, packed, both in scikit-learn's units."""
        self._unpack(packed_coef_inter)
        known, rows = self.__dict__.get("_batch", (None, None))
        if known is not X:
            rows = self._rows(X, y, sample_weight)
        network, units = self.network_, self._gradient()
        network.program.penalties = None  # added below
        arena, loss, _ = training.gradients(self._runner_on(X), rows)
        found = pairs(network.program, arena)
        gradient = np.concatenate(
            [part.reshape(-1) for one in zip(*found, strict=False) for part in one]
        )
        gradient *= units.times
        total = rows.total()
        own = self._constants(y)
        if own is not None:
            weights = rows.weights if rows.weights is not None else np.ones(len(own))
            loss += float(own @ weights) / units.loss_times
        end = sum(W.size for W in self.coefs_)
        packed = packed_coef_inter[:end]
        gradient[:end] += self.alpha / total * packed
        loss = loss / total * units.loss_times
        return loss + 0.5 * self.alpha * float(packed @ packed) / total, gradient

    def _score(self, X: Any, y: Any, sample_weight: Any = None) -> float:  # noqa: N803
        """What early stopping looks at: `scoring`, or the accuracy or R^2."""
        if self.scoring is None:
            return float(super()._score(X, y, sample_weight=sample_weight))
        weights = {} if sample_weight is None else {"sample_weight": sample_weight}
        return float(get_scorer(self.scoring)(self, X, y, **weights))

    def _penalize(self, network: Network) -> None:
        """alpha / 2 times the sum of the squares of all W."""
        names = network.program.names
        penalties = np.zeros((len(names), 3))
        penalties[:, 1] = [self.alpha / 2 * name.endswith(".weights") for name in names]
        network.program.penalties = penalties if self.alpha else None

    def _new_optimizer(self) -> Any:
        """scikit-learn's, for its rates alone: it updates nothing."""
        rate = self.learning_rate_init
        if self.solver == "adam":
            return AdamOptimizer([], rate, self.beta_1, self.beta_2, self.epsilon)
        return SGDOptimizer(
            [], rate, self.learning_rate, self.momentum, self.nesterovs_momentum, self.power_t
        )

    def _gradient(self) -> Gradient:
        return Gradient.of(self.network_.loss, self.n_outputs_)

    def _update(self) -> Update:
        return Update(
            self.solver,
            self.momentum,
            self.nesterovs_momentum,
            self.beta_1,
            self.beta_2,
            self.epsilon,
            self._gradient().times,
        )

    def _splits(self) -> bool:
        """Whether rows are split off to validate on."""
        given, _ = self.__dict__.get("_given", (None, None))
        return bool(self.early_stopping) and given is None

    def _parts(self, X: Any, y: Array, sample_weight: Array | None) -> tuple[Any, Any]:  # noqa: N803
        """What is learned from, and what is validated on, each (X, y, sample_weight)."""
        X_val, y_val = self.__dict__.get("_given", (None, None))  # noqa: N806
        if X_val is not None:
            X_val = validate_data(self, X_val, accept_sparse=["csr", "csc"], reset=False)  # noqa: N806
            if len(y_val) != X_val.shape[0]:
                raise ValueError(f"expected y_val of {X_val.shape[0]} rows, got {len(y_val)}")
        if not self._splits():
            return (X, y, sample_weight), (X_val, y_val, None)
        classes = hasattr(self, "_label_binarizer")
        arrays = [X, y] if sample_weight is None else [X, y, sample_weight]
        parts = train_test_split(
            *arrays,
            random_state=self._random_state,
            test_size=self.validation_fraction,
            stratify=y if classes and self.n_outputs_ == 1 else None,
        )
        learned, validation = [*parts[::2], None][:3], [*parts[1::2], None][:3]
        if validation[0].shape[0] < 2:
            raise ValueError(
                "The validation set is too small. Increase 'validation_fraction' or the size of "
                "your dataset."
            )
        if classes:
            validation[1] = self._label_binarizer.inverse_transform(validation[1])
        return learned, validation

    def _validation_rows(self, X_val: Any, y_val: Any) -> Rows:  # noqa: N803
        """X_val and y_val of `fit`, as fastnn evaluates them."""
        y = np.asarray(y_val)
        if hasattr(self, "_label_binarizer"):
            y = self._label_binarizer.transform(y)
            y = y if self._several() else y.astype(bool)
        return self._rows(X_val, y.reshape(len(y), -1), None)

    def _batch_size(self, rows: int) -> int:
        if self.batch_size == "auto":
            return min(200, rows)
        if self.batch_size > rows:
            warnings.warn(
                "Got `batch_size` less than 1 or larger than sample size. It is going to be "
                "clipped",
                stacklevel=2,
            )
        return int(np.clip(self.batch_size, 1, rows))

    def _rows(self, X: Any, y: Array, sample_weight: Array | None) -> Rows:  # noqa: N803
        """Checked rows, as fastnn trains on them."""
        network = self.network_
        if network.loss.kind == "class":
            y = y.argmax(axis=1)
        weights = None if sample_weight is None else np.asarray(sample_weight, np.float64)
        if weights is not None and self._several():
            raise ValueError("expected no weights of rows with several targets of classes")
        known = network.loss, network.dtype, meaning_of(network.loss, y)
        return Rows(X.tocsr() if is_sparse(X) else X, y, *known, weights=weights)

    def _runner_on(self, X: Any) -> training.Runner:  # noqa: N803
        """What runs the network on rows such as X."""
        run = self._runner
        if not is_sparse(X):
            return run
        for found, what in ((self.batch_norm, "batch_norm"), (self._several(), "several targets")):
            if found:
                raise ValueError(f"expected an array with {what}, got a sparse X")
        engine: Any = Sparse(run.engine, run.program, self.network_.layers)
        return replace(run, engine=engine, length=SPARSE_ROWS, unit=SPARSE_ROWS)

    def _constants(self, y: Array) -> Array | None:
        """What a row's loss (n,) has besides fastnn's: Poisson's deviance is 0 at its best."""
        if self.network_.loss.name != "poisson":
            return None
        found: Array = (xlogy(y, y) - y).reshape(len(y), -1).sum(axis=1)
        return found

    # --- prediction -----------------------------------------------------------------------------

    def _quick(self, X: object) -> Array | None:  # noqa: N803
        """The outputs (n, O) of what needs no look by scikit-learn, else None."""
        if type(X) is not np.ndarray or "feature_names_in_" in self.__dict__:
            return None
        if "_views" not in self.__dict__ or X.ndim != 2:
            return None
        network = self._network()
        if X.shape[1] != network.inputs or len(X) == 0 or X.dtype != network.dtype:
            return None
        out = np.empty((len(X), network.outputs), network.dtype)
        run = self._runner
        fine = len(X) <= QUICK and run.engine.forward(run.program, X, out, run.threads())
        return out if fine else None

    def _forward_pass_fast(self, X: Any, check_input: bool = True) -> Array:  # noqa: N803
        """The outputs (n, O) of X (n, I)."""
        if check_input:
            found = self._quick(X)
            if found is not None:
                return found
            sparse = ["csr", "csc"]
            with config_context(assume_finite=self._finite(X) or None):
                checked = validate_data(self, looked_at(X), accept_sparse=sparse, reset=False)
            X = X if is_bytes(X) else checked  # noqa: N806
        network = self._network()
        if X.shape[0] == 0:
            return np.empty((0, network.outputs), network.dtype)
        if is_sparse(X):
            h = np.empty((X.shape[0], network.outputs), network.dtype)
            run, rows = self._runner_on(X), X.tocsr()
            for part in pieces(len(h), run.length):
                some = rows[part] if len(h) > SPARSE_ROWS else rows  # not copied
                run.engine.forward(run.program, some, h[part], run.threads())
        else:
            h = network.predict(X)
        return h.astype(np.result_type(X, network.dtype), copy=False)


def is_bytes(X: object) -> bool:  # noqa: N803
    """Whether engines read X as the bytes that it is."""
    return type(X) is np.ndarray and X.dtype == np.uint8 and X.ndim == 2


def looked_at(X: Any) -> Any:  # noqa: N803
    """What scikit-learn checks instead of X: of bytes the shape alone, which it would convert."""
    return np.broadcast_to(np.zeros((), np.float32), X.shape) if is_bytes(X) else X


# Both constructors are written out: scikit-learn reads the names of arguments from them.


class MLPClassifier(_Fast, _Classifier):  # type: ignore[misc]
    """scikit-learn's MLPClassifier, at fastnn's speed: the same arguments, the same numbers.

    Beyond it, by keyword: activation may be a list, one for each hidden layer.
    class_weight: {class: weight}, or "balanced". loss: one of fastnn's, by name or with numbers,
    that fits softmax outputs (sigmoid ones of two classes, or of several labels a row), such as
    `losses.CrossEntropy(label_smoothing=0.1)`. batch_norm: columns are normalised after each hidden
    layer. dropout: its rate before each layer but the first. optimizer: one of fastnn's, with its
    schedule, instead of the solver's. callbacks: fastnn's, or functions. scoring: what early
    stopping looks at, a scorer's name, or a function. n_threads: as fastnn's num_threads; results
    do not depend on it. dtype: "float32" or "float64", instead of X's.
    `network_` is the fitted fastnn network.
    """

    def __init__(
        self,
        hidden_layer_sizes: Any = (100,),
        activation: str = "relu",
        *,
        solver: str = "adam",
        alpha: float = 0.0001,
        batch_size: int | str = "auto",
        learning_rate: str = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: bool = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: float = 10,
        max_fun: int = 15000,
        class_weight: Any = None,
        loss: Any = "log_loss",
        batch_norm: bool = False,
        dropout: float = 0.0,
        optimizer: Any = None,
        callbacks: Any = None,
        scoring: Any = None,
        n_threads: int | None = None,
        dtype: str | None = None,
    ) -> None:
        self._set(locals(), SHARED)

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **_Classifier._parameter_constraints,
        **_Fast._parameter_constraints,
        "class_weight": [dict, StrOptions({"balanced"}), None],
        "loss": ANY_LOSS,
    }

    def _weighted(self, y: Any, sample_weight: Any) -> Any:
        """The weights of the rows, times those of their classes."""
        if self.class_weight is None:
            return sample_weight
        weights = compute_sample_weight(self.class_weight, y)
        return weights if sample_weight is None else weights * np.asarray(sample_weight)

    def _checked(self, X: Any, y: Any, incremental: bool, reset: bool) -> Any:  # noqa: N803
        """scikit-learn's look, or, with several targets of classes, ours."""
        columns = (
            y.ndim == 2 if hasattr(y, "ndim") else isinstance(y, list) and len(np.shape(y)) == 2
        )
        if not columns or type_of_target(y) != Several.y_type_:
            return super()._checked(X, y, incremental, reset)
        checked = {"accept_sparse": ["csr", "csc"], "multi_output": True, "reset": reset}
        X, y = validate_data(self, X, y, dtype=(np.float64, np.float32), **checked)  # noqa: N806
        if reset or not self._several():
            self._label_binarizer = Several(y)
            self.classes_ = self._label_binarizer.classes_
        return X, self._label_binarizer.transform(y)

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:  # noqa: N803
        """The accuracy; of several targets the share of rows where all are right."""
        if not self._several():
            return float(super().score(X, y, sample_weight=sample_weight))
        right = (self.predict(X) == np.asarray(y)).all(axis=1)
        return float(np.average(right, weights=sample_weight))

    def _score(self, X: Any, y: Any, sample_weight: Any = None) -> float:  # noqa: N803
        if self._several() and self.scoring is None:
            return self.score(X, y, sample_weight)
        return super()._score(X, y, sample_weight=sample_weight)

    def predict_log_proba(self, X: Any) -> Any:  # noqa: N803
        """The logarithms of `predict_proba`."""
        found = self.predict_proba(X)
        return [np.log(part) for part in found] if isinstance(found, list) else np.log(found)

    def predict(self, X: Any) -> Array:  # noqa: N803
        """The classes (n,) of X (n, I), as scikit-learn's.

        Of several targets (n, k); of several labels a row zeros and ones (n, O).
        """
        h = self._quick(X)
        if h is None or self._label_binarizer.y_type_ not in ("binary", "multiclass"):
            theirs: Array = super().predict(X)
            return theirs
        winners = (h[:, 0] > 0.5).astype(int) if h.shape[1] == 1 else h.argmax(axis=1)
        found: Array = self.classes_[winners]
        return found

    def predict_proba(self, X: Any) -> Any:  # noqa: N803
        """Probabilities (n, C) of X (n, I), in the order of `classes_`, as scikit-learn's.

        Of several targets of classes a list of them, one for each.
        """
        h = self._quick(X)
        if self._several():
            h = self._forward_pass_fast(X) if h is None else h
            return list(self._label_binarizer.heads.outputs(h).values())
        if h is None:
            theirs: Array = super().predict_proba(X)
            return theirs
        return h if h.shape[1] > 1 else np.concatenate([1 - h, h], axis=1)


class MLPRegressor(_Fast, _Regressor):  # type: ignore[misc]
    """scikit-learn's MLPRegressor, at fastnn's speed: the same arguments, the same numbers.

    Beyond it: as `MLPClassifier`, without class_weight. loss may be one of fastnn's of real
    numbers, by name or with numbers, such as "huber" or `losses.Quantile(0.9)`.
    """

    def __init__(
        self,
        loss: str = "squared_error",
        hidden_layer_sizes: Any = (100,),
        activation: str = "relu",
        *,
        solver: str = "adam",
        alpha: float = 0.0001,
        batch_size: int | str = "auto",
        learning_rate: str = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: bool = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: float = 10,
        max_fun: int = 15000,
        batch_norm: bool = False,
        dropout: float = 0.0,
        optimizer: Any = None,
        callbacks: Any = None,
        scoring: Any = None,
        n_threads: int | None = None,
        dtype: str | None = None,
    ) -> None:
        self._set(locals(), {"loss", *SHARED})

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **_Regressor._parameter_constraints,
        **_Fast._parameter_constraints,
        "loss": ANY_LOSS,
    }


FASTER: dict[type, type] = {_Classifier: MLPClassifier, _Regressor: MLPRegressor}


def from_sklearn(fitted: Any) -> Any:
    """Our estimator of scikit-learn's fitted MLPClassifier or MLPRegressor, with its weights.

    Its `network_` is the fastnn network. `partial_fit` begins with a new optimizer. Raises
    TypeError for another estimator, and scikit-learn's NotFittedError.
    """
    if type(fitted) not in FASTER:
        found = type(fitted).__name__
        raise TypeError(f"expected scikit-learn's MLPClassifier or MLPRegressor, got {found}")
    check_is_fitted(fitted)
    ours = FASTER[type(fitted)](**fitted.get_params())
    _copy_fit(fitted, ours)
    ours._bind()
    return ours


def _copy_fit(source: Any, target: Any) -> None:
    """What a fit has learned, but the network and the optimizer."""
    ours = {"network_", "_views", "_runner", "_optimizer", "validation_loss_curve_"}
    known = {*source.get_params(), *ours}
    learned = {name: value for name, value in vars(source).items() if name not in known}
    vars(target).update(copy.deepcopy(learned))
