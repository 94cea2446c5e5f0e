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
    "Heads",
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
    "Scheduler",
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

LATER = {  # what few programs use, and the modules that it comes from, without the others
    "Ensemble": "ensemble",
    "Heads": "heads",
    "MLPClassifier": "estimators",  # these need scikit-learn
    "MLPRegressor": "estimators",
    "Scheduler": "scheduler",
    "cross_validate": "many",
    "find_learning_rate": "range_test",
    "fit_many": "many",
    "from_sklearn": "estimators",
    "search": "trials",
}


def __getattr__(name: str) -> object:
    """A public name, from where it is defined; or one of fastnn's modules."""
    from importlib import import_module

    if name in LATER or (name in __all__ and name != "datasets"):
        module = import_module(f"fastnn.{LATER.get(name, '_public')}")
        value = globals()[name] = getattr(module, name)
        return value
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
