"""The fully connected layer."""

from __future__ import annotations

from copy import copy
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import activations, initializers
from .._errors import count, flag, held, not_negative, positive
from ..activations import Activation
from ..program import Builder
from .base import Layer


class Dense(Layer):
    """A fully connected layer: h = g(x @ W + b), x (B, I), W (I, O), b (O,), h (B, O).

    units: O. activation: the name of g, or `LeakyReLU(slope)`, `ELU(alpha)`. initializer: its name;
    by default He for the relu family, LeCun for selu, else Glorot. use_bias: without b if False, as
    before a layer that has a shift of its own.
    l1, l2: the loss in training, `evaluate` and `gradients` has l1 * sum |W| + l2 * sum W^2 besides
    (Keras's kernel_regularizer). max_norm: after each update the weights that lead into a neuron, a
    column of W, are scaled down to this norm (Keras's kernel_constraint MaxNorm).
    Raises ValueError for an unknown name, a size below 1, softmax of one unit, a negative l1 or l2
    or a max_norm that is not positive.
    """

    name = "dense"
    units: int

    def __init__(
        self,
        units: int,
        activation: str | Activation = "identity",
        initializer: str | None = None,
        use_bias: bool = True,
        *,
        l1: float = 0.0,
        l2: float = 0.0,
        max_norm: float | None = None,
    ) -> None:
        self.units = count("units", units)
        self.activation = activations.get(activation)
        if self.activation.name == "softmax" and self.units == 1:
            raise ValueError("expected softmax with at least 2 outputs, got 1 (use sigmoid)")
        self.initializer = initializers.check(
            initializers.default(self.activation) if initializer is None else initializer
        )
        self.use_bias = flag("use_bias", use_bias)
        self.l1, self.l2 = not_negative("l1", l1), not_negative("l2", l2)
        self.max_norm = None if max_norm is None else positive("max_norm", max_norm)
        self._drawn = True

    def add(self, builder: Builder, source: int, name: str) -> int:
        """x @ W + b, and g of it."""
        penalty = self.l1, self.l2, self.max_norm or 0.0
        z = builder.dense(source, self.units, name, self.use_bias, penalty)
        return builder.activate(z, self.activation)

    def check(self, dtype: np.dtype[np.floating]) -> None:
        """The slope, penalties and max_norm, if there are any."""
        for name, value in {"slope": self.activation.slope, **self._penalties()}.items():
            if value:
                held(name, value, dtype)

    def _penalties(self) -> dict[str, float]:
        """l1, l2 and max_norm, if they are not the defaults."""
        own = {"l1": self.l1, "l2": self.l2, "max_norm": self.max_norm}
        return {name: value for name, value in own.items() if value}

    def initialize(self, seed: int, number: int) -> int:
        """Draw W; b is zero."""
        if self._drawn:
            W = self.weights  # noqa: N806
            W[...] = initializers.weights(self.initializer, W.shape, seed, number)
        return number + 1

    def blank(self) -> Dense:
        """A copy whose weights stay zero."""
        layer = copy(self)
        layer._drawn = False
        return layer

    def resized(self, units: int) -> Dense:
        """A copy of other outputs, with initial weights."""
        layer = copy(self)
        layer.units, layer._drawn, layer._place = units, True, None
        return layer

    def with_biases(self) -> Dense:
        """A copy that has some."""
        layer = copy(self)
        layer.use_bias, layer._place = True, None
        return layer

    @property
    def weights(self) -> NDArray[Any]:
        """W (I, O), a view of the network's memory: `weights[...] = values` sets it."""
        return self._block("weights")

    @property
    def biases(self) -> NDArray[Any]:
        """b (O,), a view of the network's memory. Raises AttributeError where there is none."""
        if not self.use_bias:
            raise AttributeError("expected a Dense with biases, got one of use_bias=False")
        return self._block("biases")

    @property
    def label(self) -> str:
        """The activation's name."""
        return self.activation.name

    def entry(self) -> dict[str, object]:
        """Units, activation, initializer; what else there is: a slope, penalties, no biases."""
        more = {"slope": self.activation.slope} if self.activation.slope else {}
        bare = {} if self.use_bias else {"use_bias": False}
        names = {"activation": self.activation.name, "initializer": self.initializer}
        return {"units": self.units, **names, **more, **self._penalties(), **bare}

    @property
    def since(self) -> int:
        """Format 1, or that of the activation; 5 with penalties or without biases."""
        plain = self.use_bias and not self._penalties()
        return max(self.activation.since, 1 if plain else self.SINCE)

    def __repr__(self) -> str:
        bare = "" if self.use_bias else ", use_bias=False"
        return f"Dense({self.units}, {self.activation.name!r}{bare})"
