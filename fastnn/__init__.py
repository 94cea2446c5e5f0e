"""fastnn: small neural networks, trained and run on CPUs.

The names are imported when the first one is used, so that the command line, which starts here,
hears Ctrl-C before NumPy is there.
"""

# ruff: noqa: F405 (the names are those of _public)

TYPE_CHECKING = False  # the one in typing would be an import
if TYPE_CHECKING:
    from ._public import *  # noqa: F403

__version__ = "0.1.0"

__all__ = [
    "ELU",
    "LBFGS",
    "SGD",
    "AMSGrad",
    "Adadelta",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "AlphaDropout",
    "Augment",
    "BatchNorm",
    "Blend",
    "CSVLogger",
    "Callback",
    "Checkpoint",
    "Columns",
    "Constant",
    "CosLog",
    "Cosine",
    "CosineRestarts",
    "Dense",
    "DivergenceError",
    "Dropout",
    "EarlyStopping",
    "Embed",
    "Embedding",
    "Ensemble",
    "Exponential",
    "FlatCosine",
    "FormatError",
    "Group",
    "History",
    "InverseTime",
    "LayerNorm",
    "LeakyReLU",
    "Lion",
    "Nadam",
    "Network",
    "OneCycle",
    "OneHot",
    "PReLU",
    "Polynomial",
    "RMSprop",
    "ReduceLROnPlateau",
    "Residual",
    "RobustScale",
    "Scale",
    "ScheduleFreeAdamW",
    "Shards",
    "Standardize",
    "Step",
    "TerminateOnNaN",
    "cross_validate",
    "datasets",
    "find_learning_rate",
    "fit_many",
    "get_num_threads",
    "load",
    "mlp",
    "search",
    "set_num_threads",
    "show_config",
]

ESTIMATORS = ("MLPClassifier", "MLPRegressor", "from_sklearn")  # they need scikit-learn


def __getattr__(name: str) -> object:
    """A public name, from where it is defined; or one of fastnn's modules."""
    from importlib import import_module

    if name in __all__ and name != "datasets":
        value = globals()[name] = getattr(import_module("fastnn._public"), name)
        return value
    if name in ESTIMATORS:
        return getattr(import_module("fastnn.estimators"), name)
    try:
        if not name.startswith("__"):
            return import_module(f"fastnn.{name}")
    except ModuleNotFoundError as error:
        if error.name != f"fastnn.{name}":
            raise
    raise AttributeError(f"module 'fastnn' has no attribute {name!r}")


def __dir__() -> list[str]:
    """What is there, and what would be fetched."""
    return sorted({*globals(), *__all__})
