"""A network as the page's JSON: what network.js needs to run it."""

from __future__ import annotations

import base64
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._errors import printable
from ..layers import Dense, Dropout
from ..network import Network

LEAST_PICTURE = 64  # inputs
MOST_INSIDE = 4_000_000  # weights that a page takes


def text_of(numbers: NDArray[Any]) -> str:
    """An array as the base64 of its little-endian float32, which is what a page computes from."""
    return base64.b64encode(np.ascontiguousarray(numbers, "<f4").tobytes()).decode()


def doubles(numbers: NDArray[Any] | None) -> list[float] | None:
    """Scales as they are, in float64."""
    return None if numbers is None else [float(value) for value in numbers]


def has_classes(network: Network) -> bool:
    """Whether outputs stand for classes: where they do not, the network names none."""
    try:
        network.classify(np.zeros((1, network.inputs), network.dtype))
    except ValueError:
        return False
    return True


def side_of(network: Network) -> int:
    """The side of the square pictures that the network reads; 0 if its inputs are a table's."""
    named = network.features is not None or network.columns is not None or network.standardize
    side = math.isqrt(network.inputs)
    return 0 if named or network.inputs < LEAST_PICTURE or side**2 != network.inputs else side


def described(network: Network) -> dict[str, Any]:
    """All that a page needs to compute what the network says, and to name it.

    Raises ValueError for layers that the page cannot run (`Network.folded` takes some of them out),
    a network that was not fitted, or one of more than 4 million weights.
    """
    for layer in network.layers:
        if not isinstance(layer, Dense | Dropout):
            raise ValueError(
                f"expected a network of Dense, and of Dropout, BatchNorm and Scale before them, "
                f"for a page, got {layer}"
            )
    if network.standardize and network.program.center is None:
        raise ValueError("expected a network that was fitted, got one without scales")
    if (size := sum(layer.size for layer in network.layers)) > MOST_INSIDE:
        raise ValueError(f"expected at most {MOST_INSIDE:,} weights for a page, got {size:,}")
    classes = None
    if has_classes(network):
        names = network.classes or range(max(network.outputs, 2))
        classes = [printable(str(name)) for name in names]
    program, columns = network.program, network.columns
    return {
        "inputs": network.inputs,
        "side": side_of(network),
        "scale": network.input_scale,
        "center": doubles(program.center),
        "factor": doubles(program.factor),
        "outputCenter": doubles(network.output_center),
        "outputScale": network.output_scale,
        "layers": [
            {
                "number": number,
                "units": layer.units,
                "activation": layer.activation.name,
                "slope": layer.activation.slope,
                "weights": text_of(layer.weights),
                "biases": text_of(layer.biases if layer.use_bias else np.zeros(layer.units)),
            }
            for number, layer in enumerate(network.layers)
            if isinstance(layer, Dense)
        ],
        "classes": classes,
        "features": [printable(name) for name in network.features or ()],
        "target": printable(network.target or "output"),
        "columns": None if columns is None else columns.entry(),
        "parameters": size,
    }


def ranges(x: NDArray[Any]) -> dict[str, list[float]]:
    """Of each column of x (n, I): its range, its mean, and whether it has whole numbers only."""
    x = np.asarray(x, np.float64)
    return {
        "low": x.min(axis=0).tolist(),
        "high": x.max(axis=0).tolist(),
        "mean": x.mean(axis=0).tolist(),
        "whole": (x == np.trunc(x)).all(axis=0).tolist(),
    }
