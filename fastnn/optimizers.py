"""Optimizers: how a gradient g changes the weights w. The update itself lives in the engines.

An engine is handed one row of five numbers per step, computed here once in float64. Below, t counts
steps from 1.
"""

from __future__ import annotations

import numbers
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from ._errors import flag, fraction, positive, shown, unknown
from .schedules import Schedule, is_schedule

WIDTH = 5  # numbers per step
BLOCK = 1024  # steps whose corrections are had at once


class Optimizer(Protocol):
    """What training asks of an optimizer."""

    @property
    def learning_rate(self) -> float | Schedule | Callable[[int], float]:
        """A rate, or the schedule of it."""

    @property
    def code(self) -> int:
        """The number that engines know the update by."""

    @property
    def slots(self) -> int:
        """How many arrays of state the update keeps, each as large as the parameters."""

    def coefficients(
        self, steps: NDArray[np.int64], rates: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """The numbers (S, 5) of updates `steps` (S,), in order from 0 on, at these rates (S,)."""


def power(base: float, exponents: NDArray[np.int64]) -> NDArray[np.float64]:
    """base ** exponents (S,) by squaring: the same bits on every CPU, unlike NumPy's power."""
    result = np.ones(len(exponents))
    while exponents.any():
        result = np.where(exponents & 1, result * base, result)
        base, exponents = base * base, exponents >> 1
    return result


@lru_cache(maxsize=4, typed=True)  # the powers of a float32 have other bits
def corrections(
    beta_1: float, beta_2: float, epsilon: float, first: int, end: int
) -> NDArray[np.float64]:
    """Adam's numbers of the steps `first` to `end`, but the first is what divides the rate."""
    t = np.arange(first, end) + 1
    table = np.empty((len(t), WIDTH))
    table[:, 0] = 1.0 - power(beta_1, t)
    table[:, 1] = 1.0 / np.sqrt(1.0 - power(beta_2, t))
    table[:, 2:] = beta_1, beta_2, epsilon
    return table


@dataclass(frozen=True)
class SGD:
    """Stochastic gradient descent, with momentum or Nesterov's variant of it.

    w -= rate * g;  with momentum  v = momentum * v - rate * g,  w += v;
    with nesterov  w += momentum * v - rate * g  (v already updated).
    Raises ValueError for a rate that is not positive, a momentum outside [0, 1), or nesterov
    without momentum; TypeError for what is no number.

    Source: Sutskever et al., On the importance of initialization and momentum (2013).
    """

    PEAK: ClassVar[float] = 0.5  # of a schedule that suits most: with one-cycle, 98 % on MNIST
    learning_rate: float | Schedule | Callable[[int], float] = 0.01
    momentum: float = 0.0
    nesterov: bool = False

    def __post_init__(self) -> None:
        check_rate(self.learning_rate)
        fraction("momentum", self.momentum)
        if flag("nesterov", self.nesterov) and self.momentum == 0:
            raise ValueError("expected a positive momentum with nesterov, got 0")

    @property
    def code(self) -> int:
        """0 plain, 1 momentum, 2 Nesterov."""
        return 0 if self.momentum == 0 else 2 if self.nesterov else 1

    @property
    def slots(self) -> int:
        """v, if there is momentum."""
        return int(self.momentum > 0)

    def coefficients(
        self, steps: NDArray[np.int64], rates: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """[rate, momentum, 0, 0, 0] for every step."""
        table = np.zeros((len(steps), WIDTH))
        table[:, 0] = rates
        table[:, 1] = self.momentum
        return table


@dataclass(frozen=True)
class Adam:
    """Adam: steps scaled by running means of the gradient and of its square.

    m += (1 - beta_1) * (g - m);  v += (1 - beta_2) * (g * g - v);
    w -= rate * (m / (1 - beta_1^t)) / (sqrt(v / (1 - beta_2^t)) + epsilon).
    Raises ValueError for a rate or epsilon that is not positive or a beta outside [0, 1);
    TypeError for what is no number.

    Source: Kingma, Ba, Adam: a method for stochastic optimization (2015).
    """

    PEAK: ClassVar[float] = 5e-3  # of a schedule that suits most: with one-cycle, 98 % on MNIST
    learning_rate: float | Schedule | Callable[[int], float] = 1e-3
    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-8

    def __post_init__(self) -> None:
        check_rate(self.learning_rate)
        fraction("beta_1", self.beta_1)
        fraction("beta_2", self.beta_2)
        positive("epsilon", self.epsilon)

    @property
    def code(self) -> int:
        """3."""
        return 3

    @property
    def slots(self) -> int:
        """m and v."""
        return 2

    def coefficients(
        self, steps: NDArray[np.int64], rates: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """[rate / (1 - beta_1^t), 1 / sqrt(1 - beta_2^t), beta_1, beta_2, epsilon], t from 1."""
        start = int(steps[0]) // BLOCK * BLOCK
        end = (int(steps[-1]) // BLOCK + 1) * BLOCK
        known = corrections(self.beta_1, self.beta_2, self.epsilon, start, end)
        table = known.take(steps - start, axis=0)
        table[:, 0] = rates / table[:, 0]
        return table


OPTIMIZERS: dict[str, type[SGD] | type[Adam]] = {"sgd": SGD, "adam": Adam}


def check_rate(rate: float | Schedule | Callable[[int], float]) -> None:
    """Raise unless the rate is a positive number or a schedule."""
    if isinstance(rate, (float, numbers.Real)) and not isinstance(rate, bool):
        positive("learning_rate", rate)
    elif not is_schedule(rate):
        found = f"{type(rate).__name__} {shown(rate)}"
        raise TypeError(f"expected learning_rate to be a number or a schedule, got {found}")


def get(optimizer: str | Optimizer) -> Optimizer:
    """The optimizer of this name, with its defaults. Raises ValueError for an unknown one."""
    if isinstance(optimizer, str):
        if optimizer not in OPTIMIZERS:
            raise unknown("optimizer", optimizer, OPTIMIZERS)
        return OPTIMIZERS[optimizer]()
    if isinstance(optimizer, type) or not hasattr(optimizer, "coefficients"):
        hint = f"; use {optimizer.__name__}()" if isinstance(optimizer, type) else ""
        kind = type(optimizer).__name__
        raise TypeError(f"expected an optimizer or its name, got {kind}{hint}")
    return optimizer
