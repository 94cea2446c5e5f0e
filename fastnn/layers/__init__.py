"""Layers: what a network is made of, a file each. What all of them are is `base.Layer`."""

from .alpha_dropout import AlphaDropout
from .base import Layer
from .batch_norm import BatchNorm
from .blend import Blend
from .dense import Dense
from .dropout import Dropout
from .embed import Embed
from .layer_norm import LayerNorm
from .prelu import PReLU
from .residual import Residual
from .scale import Scale

__all__ = [
    "AlphaDropout",
    "BatchNorm",
    "Blend",
    "Dense",
    "Dropout",
    "Embed",
    "Layer",
    "LayerNorm",
    "PReLU",
    "Residual",
    "Scale",
]
