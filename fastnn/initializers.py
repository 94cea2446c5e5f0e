"""Initial weights, by name. Biases start at zero.

fan_in and fan_out are a layer's inputs I and outputs O.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ._errors import unknown
from ._random import INITIALIZE, stream
from .activations import Activation

Initializer = Callable[[int, int, "np.random.Generator"], NDArray[np.float64]]  # random is lazy


def uniform(variance: Callable[[int, int], float]) -> Initializer:
    """Uniform in [-a, a] with this variance: a = sqrt(3 * variance)."""

    def initial(fan_in: int, fan_out: int, random: np.random.Generator) -> NDArray[np.float64]:
        limit = math.sqrt(3.0 * variance(fan_in, fan_out))
        return random.uniform(-limit, limit, (fan_in, fan_out))

    return initial


def normal(variance: Callable[[int, int], float]) -> Initializer:
    """Normal with mean 0 and this variance."""

    def initial(fan_in: int, fan_out: int, random: np.random.Generator) -> NDArray[np.float64]:
        deviation = math.sqrt(variance(fan_in, fan_out))
        return random.normal(0.0, deviation, (fan_in, fan_out))

    return initial


def zeros(fan_in: int, fan_out: int, random: np.random.Generator) -> NDArray[np.float64]:
    """All zero."""
    return np.zeros((fan_in, fan_out))


def glorot(fan_in: int, fan_out: int) -> float:
    """Glorot, Bengio, Understanding the difficulty of training deep networks (2010)."""
    return 2.0 / (fan_in + fan_out)


def he(fan_in: int, fan_out: int) -> float:
    """He et al., Delving deep into rectifiers (2015)."""
    return 2.0 / fan_in


def lecun(fan_in: int, fan_out: int) -> float:
    """LeCun et al., Efficient backprop (1998)."""
    return 1.0 / fan_in


INITIALIZERS: dict[str, Initializer] = {
    "glorot_uniform": uniform(glorot),
    "glorot_normal": normal(glorot),
    "he_uniform": uniform(he),
    "he_normal": normal(he),
    "lecun_uniform": uniform(lecun),
    "lecun_normal": normal(lecun),
    "zeros": zeros,
}


def default(activation: Activation) -> str:
    """He for the relu family, gelu and silu among it, LeCun for selu, else Glorot.

    Source of selu's: Klambauer et al., Self-normalizing neural networks (2017).
    """
    if activation.name == "selu":
        return "lecun_normal"
    family = activation.name.endswith("elu") or activation.name in ("gelu_tanh", "silu", "mish")
    return "he_uniform" if family else "glorot_uniform"


def check(name: str) -> str:
    """The name itself. Raises ValueError for an unknown one."""
    if not isinstance(name, str) or name not in INITIALIZERS:
        raise unknown("initializer", name, INITIALIZERS)
    return name


def weights(name: str, shape: tuple[int, int], seed: int, layer: int) -> NDArray[np.float64]:
    """The initial weights (I, O) of this layer, a function of the seed and the layer's number."""
    random = np.random.Generator(stream(seed, INITIALIZE, layer))
    return INITIALIZERS[check(name)](*shape, random)
