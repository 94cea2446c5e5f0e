"""Layers: what a network is made of, a file each. What all of them are is `base.Layer`."""

from .base import Layer
from .batch_norm import BatchNorm
from .dense import Dense
from .dropout import Dropout
from .residual import Residual

__all__ = ["BatchNorm", "Dense", "Dropout", "Layer", "Residual"]
