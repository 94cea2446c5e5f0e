"""Ensembles: the mean of several networks, and how far apart they are."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ._arrays import Array
from ._errors import FormatError, file_name, printable, shown
from .layers import Dense
from .many import distinct, fit_many
from .metrics import Measure
from .network import Network, check_classes, network_of, winners
from .training import History

SAME = ("inputs", "outputs", "loss", "activation", "dtype", "classes")


class Ensemble:
    """Several networks for the same rows: their mean is what they say, their spread how surely.

    networks: they may differ in layers, seeds and rows that they learned from; inputs, outputs,
    loss, output activation, dtype and classes are the same. Raises ValueError if they are not,
    or one stands twice. Below, x is (B, I), as for a `Network`.

    Source: Lakshminarayanan, Pritzel, Blundell, Simple and scalable predictive uncertainty
    estimation using deep ensembles (2017).
    """

    def __init__(self, networks: Iterable[Network]) -> None:
        self.networks = tuple(distinct(networks))
        first = self.networks[0]
        for number, network in enumerate(self.networks):
            for name in SAME:
                wanted, found = getattr(first, name), getattr(network, name)
                if wanted != found:
                    expected = f"{name} {shown(wanted)}, as of network 0"
                    raise ValueError(f"expected {expected}, got {shown(found)} of network {number}")

    def fit(self, x: ArrayLike, y: ArrayLike, **options: Any) -> list[History]:
        """Train all of them: `fit_many`, with its options."""
        return fit_many(self.networks, x, y, **options)

    def predict(self, x: ArrayLike) -> Array:
        """The mean of the networks' outputs (B, O), taken in float64."""
        mean, _ = self._moments(x)
        return mean.astype(self.networks[0].dtype)

    def spread(self, x: ArrayLike) -> Array:
        """The deviation of the networks' outputs about their mean (B, O), 0 if all say the same.

        sqrt(mean((h - mean(h))^2)) over the networks.
        """
        _, squares = self._moments(x)
        return np.sqrt(squares / len(self.networks)).astype(self.networks[0].dtype)

    def classify(self, x: ArrayLike) -> NDArray[np.int64]:
        """The winning class (B,) of the mean; raises as `Network.classify` does."""
        for network in self.networks:
            check_classes(network)
        return winners(self.predict(x), self.networks[0].loss.cut)

    def evaluate(
        self, x: ArrayLike, y: ArrayLike, *, metrics: Iterable[str | Measure] = ()
    ) -> dict[str, float]:
        """Loss, accuracy and metrics of the mean, as `Network.evaluate` has them of one network."""
        return judge(self.networks[0], self.predict(x), y, metrics)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write all networks to one file, whole or not at all; raises as `Network.save` does."""
        from . import files

        files.save_all(self.networks, path)

    @classmethod
    def load(
        cls, path: str | os.PathLike[str], *, engine: str = "auto", num_threads: int | None = None
    ) -> Ensemble:
        """Read what `save` wrote; raises as `fastnn.load` does."""
        from . import files

        networks = [network_of(*one, engine, num_threads) for one in files.read_all(path)]
        try:
            return cls(networks)
        except ValueError as error:
            raise FormatError(f"{printable(file_name(path))}: {error}") from None

    def _moments(self, x: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The mean (B, O), and the sum of squares about it.

        Source: Welford, Note on a method for calculating corrected sums of squares (1962).
        """
        mean = self.networks[0].predict(x).astype(np.float64)
        squares = np.zeros_like(mean)
        for number, network in enumerate(self.networks[1:], start=2):
            h = network.predict(x)
            distance = h - mean
            mean += distance / number
            squares += distance * (h - mean)
        return mean, squares

    def __len__(self) -> int:
        return len(self.networks)

    def __repr__(self) -> str:
        return f"Ensemble({list(self.networks)})"


def judge(
    network: Network, h: Array, y: ArrayLike, metrics: Iterable[str | Measure]
) -> dict[str, float]:
    """The figures of outputs h (B, O), as if the network had given them.

    Another network gives them: of one layer whose weights are 1 where input and output are the
    same, on an x of which its output activation makes h.
    """
    output = network.activation if network.loss.output else "identity"
    last = Dense(network.outputs, output, "zeros")
    like = Network(
        network.outputs, [last], loss=network.loss, dtype="float64", engine=network.engine
    )
    like.set_weights([np.eye(network.outputs), np.zeros(network.outputs)])
    return like.evaluate(unactivated(h, network.loss.output), y, metrics=metrics)


def unactivated(h: Array, activation: str | None) -> NDArray[np.float64]:
    """z (B, O) of which softmax or sigmoid makes h; h is taken to be at least the smallest number.

    log(h), or log(h / (1 - h)).
    """
    h64, least = h.astype(np.float64), float(np.finfo(np.float64).tiny)
    if activation is None:
        return h64
    if activation == "softmax":
        return np.asarray(np.log(np.maximum(h64, least)))
    return np.asarray(np.log(np.maximum(h64, least)) - np.log(np.maximum(1 - h64, least)))
