"""The public names; `fastnn` itself fetches them here when the first one is used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._errors import DivergenceError, FormatError
from .activations import LeakyReLU
from .engine import get_num_threads, set_num_threads, show_config
from .layers import Dense
from .network import Network, load, mlp
from .optimizers import SGD, Adam
from .schedules import Constant, Cosine, OneCycle
from .training import History

if TYPE_CHECKING:
    from . import datasets

__all__ = [
    "SGD",
    "Adam",
    "Constant",
    "Cosine",
    "Dense",
    "DivergenceError",
    "FormatError",
    "History",
    "LeakyReLU",
    "Network",
    "OneCycle",
    "datasets",
    "get_num_threads",
    "load",
    "mlp",
    "set_num_threads",
    "show_config",
]


def __getattr__(name: str) -> object:
    """Import `fastnn.datasets` when it is first used."""
    if name == "datasets":
        from importlib import import_module

        return import_module("fastnn.datasets")
    raise AttributeError(f"module 'fastnn' has no attribute {name!r}")
