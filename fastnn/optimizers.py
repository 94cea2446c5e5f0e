"""Optimizers: how a gradient g changes the weights w. The update itself lives in the engines.

An engine is handed one row of numbers per step, computed here once in float64. Below, t counts
updates from 1; defaults and formulas are Keras's but where a docstring says more.
"""

from __future__ import annotations

import numbers
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from ._errors import flag, fraction, number, positive, shown, unknown
from .program import EPSILON, RATE, WIDTH_OF_ROW, A, B, C, D, E
from .schedules import Schedule, is_schedule

BLOCK = 1024  # steps whose numbers are had at once
Rate = float | Schedule | Callable[[int], float]
Steps = NDArray[np.int64]
Table = NDArray[np.float64]


class Optimizer(Protocol):
    """What training asks of an optimizer."""

    @property
    def learning_rate(self) -> Rate:
        """A rate, or the schedule of it."""

    @property
    def code(self) -> int:
        """The number that engines know the update by."""

    @property
    def slots(self) -> int:
        """How many arrays of state the update keeps, each as large as the parameters."""

    def coefficients(self, steps: Steps, rates: Table) -> Table:
        """The rows (S, n) of steps (S,), in order from 0 on, at these rates (S,)."""


def power(base: float, exponents: Steps) -> Table:
    """base ** exponents (S,) by squaring: the same bits on every CPU, unlike NumPy's power."""
    result = np.ones(len(exponents))
    while exponents.any():
        result = np.where(exponents & 1, result * base, result)
        base, exponents = base * base, exponents >> 1
    return result


# The numbers of updates t (S,), by column of a row; that of RATE is what divides the rate.

Columns = dict[int, Table | float]


def constant(t: Steps, **columns: float) -> Columns:
    """The same of every update, by the names of the columns."""
    places = {"A": A, "B": B, "C": C, "epsilon": EPSILON}
    return {RATE: 1.0, **{places[name]: value for name, value in columns.items()}}


def adam(t: Steps, beta_1: float, beta_2: float, epsilon: float) -> Columns:
    """What makes up for means that began at zero, and the means' shares of what is new."""
    return {
        RATE: 1.0 - power(beta_1, t),
        A: 1.0 / np.sqrt(1.0 - power(beta_2, t)),
        B: 1.0 - beta_1,
        C: 1.0 - beta_2,
        EPSILON: epsilon,
    }


def adamax(t: Steps, beta_1: float, beta_2: float, epsilon: float) -> Columns:
    """The same for the mean alone; the largest |g| fades by beta_2."""
    return {RATE: 1.0 - power(beta_1, t), B: 1.0 - beta_1, C: beta_2, EPSILON: epsilon}


def nadam(t: Steps, beta_1: float, beta_2: float, epsilon: float) -> Columns:
    """u_t = beta_1 * (1 - 0.96^t / 2); of m, D = u_(t+1) / (1 - u_1 ... u_(t+1)), of g,
    E = (1 - u_t) / (1 - u_1 ... u_t)."""
    u = beta_1 * (1.0 - 0.5 * power(0.96, np.arange(1, t[-1] + 2)))
    products, first = np.cumprod(u), int(t[0]) - 1
    return {
        **adam(t, beta_1, beta_2, epsilon),
        RATE: 1.0,
        D: u[first + 1 :] / (1.0 - products[first + 1 :]),
        E: (1.0 - u[first:-1]) / (1.0 - products[first:-1]),
    }


@lru_cache(maxsize=4, typed=True)  # the powers of a float32 have other bits
def table(make: Callable[..., Columns], first: int, *numbers: float, **named: float) -> Table:
    """The rows (BLOCK, n) of updates from the first on."""
    found = np.zeros((BLOCK, WIDTH_OF_ROW))
    for column, values in make(np.arange(first, first + BLOCK) + 1, *numbers, **named).items():
        found[:, column] = values
    return found


def rows(make: Callable[..., Columns], steps: Steps, *numbers: float, **named: float) -> Table:
    """The rows (S, n) of steps (S,), in order."""
    first, last = int(steps[0]) // BLOCK * BLOCK, int(steps[-1])
    if last < first + BLOCK:
        return table(make, first, *numbers, **named).take(steps - first, axis=0)
    starts = range(first, last + 1, BLOCK)
    known = np.concatenate([table(make, start, *numbers, **named) for start in starts])
    return known.take(steps - first, axis=0)


@dataclass(frozen=True)
class Rule:
    """What all optimizers have: a class adds its numbers and its columns."""

    PEAK: ClassVar[float]  # of a schedule that suits most
    learning_rate: Rate = 1e-3

    def __post_init__(self) -> None:
        check_rate(self.learning_rate)
        self._check()

    def _check(self) -> None:
        """Raise for numbers that do not fit."""

    @property
    def code(self) -> int:
        """The number that engines know the update by."""
        raise NotImplementedError

    @property
    def slots(self) -> int:
        """How many arrays of state the update keeps."""
        raise NotImplementedError

    def _rows(self, steps: Steps) -> Table:
        """Its own numbers, (S, n)."""
        raise NotImplementedError

    def coefficients(self, steps: Steps, rates: Table) -> Table:
        """The rows (S, n) of steps (S,), in order from 0 on, at these rates (S,)."""
        found = self._rows(steps)
        found[:, RATE] = rates / found[:, RATE]
        return found


@dataclass(frozen=True)
class SGD(Rule):
    """Stochastic gradient descent, with momentum or Nesterov's variant of it.

    w -= rate * g;  with momentum  v = momentum * v - rate * g,  w += v;
    with nesterov  w += momentum * v - rate * g  (v already updated).
    Raises ValueError for a rate that is not positive, a momentum outside [0, 1), or nesterov
    without momentum; TypeError for what is no number.

    Source: Sutskever et al., On the importance of initialization and momentum (2013).
    """

    PEAK: ClassVar[float] = 0.5  # with one-cycle, 98 % on MNIST
    learning_rate: Rate = 0.01
    momentum: float = 0.0
    nesterov: bool = False

    def _check(self) -> None:
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

    def _rows(self, steps: Steps) -> Table:
        return rows(constant, steps, A=self.momentum)


@dataclass(frozen=True)
class Adam(Rule):
    """Adam: steps scaled by running means of the gradient and of its square.

    m += (1 - beta_1) * (g - m);  v += (1 - beta_2) * (g * g - v);
    w -= rate * (m / (1 - beta_1^t)) / (sqrt(v / (1 - beta_2^t)) + epsilon).
    Raises ValueError for a rate or epsilon that is not positive or a beta outside [0, 1);
    TypeError for what is no number.

    Source: Kingma, Ba, Adam: a method for stochastic optimization (2015), whose epsilon this is.
    """

    PEAK: ClassVar[float] = 5e-3  # with one-cycle, 98 % on MNIST
    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-8

    def _check(self) -> None:
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

    def _rows(self, steps: Steps) -> Table:
        return rows(adam, steps, self.beta_1, self.beta_2, self.epsilon)


@dataclass(frozen=True)
class AMSGrad(Adam):
    """Adam, whose v in the update is the largest so far (Keras's `Adam(amsgrad=True)`).

    Source: Reddi, Kale, Kumar, On the convergence of Adam and beyond (2018).
    """

    SINCE: ClassVar[int] = 5

    @property
    def code(self) -> int:
        """4."""
        return 4

    @property
    def slots(self) -> int:
        """m, v and the largest v."""
        return 3


@dataclass(frozen=True)
class Adamax(Adam):
    """Adam by the largest |g|, which fades, instead of the mean square.

    m += (1 - beta_1) * (g - m);  u = max(beta_2 * u, |g|);
    w -= rate * (m / (1 - beta_1^t)) / (u + epsilon).

    Source: Kingma, Ba, Adam: a method for stochastic optimization (2015), section 7.1.
    """

    SINCE: ClassVar[int] = 5
    epsilon: float = 1e-7

    @property
    def code(self) -> int:
        """5."""
        return 5

    def _rows(self, steps: Steps) -> Table:
        return rows(adamax, steps, self.beta_1, self.beta_2, self.epsilon)


@dataclass(frozen=True)
class Nadam(Adam):
    """Adam with Nesterov's momentum.

    m and v as Adam's;  u_t = beta_1 * (1 - 0.96^t / 2), P_t = u_1 * ... * u_t;
    w -= rate * (u_(t+1) * m / (1 - P_(t+1)) + (1 - u_t) * g / (1 - P_t))
    / (sqrt(v / (1 - beta_2^t)) + epsilon).

    Source: Dozat, Incorporating Nesterov momentum into Adam (2016).
    """

    SINCE: ClassVar[int] = 5
    PEAK: ClassVar[float] = 2e-3
    epsilon: float = 1e-7

    @property
    def code(self) -> int:
        """6."""
        return 6

    def _rows(self, steps: Steps) -> Table:
        return rows(nadam, steps, self.beta_1, self.beta_2, self.epsilon)


@dataclass(frozen=True)
class RMSprop(Rule):
    """Steps scaled by a running mean of the gradient's square.

    v += (1 - rho) * (g * g - v);  change = momentum * change + rate * g / sqrt(v + epsilon);
    w -= change.  centered: instead of v, v - a * a with a += (1 - rho) * (g - a).
    Raises ValueError for a rate or epsilon that is not positive, a rho or momentum outside [0, 1).

    Source: Tieleman, Hinton, Lecture 6.5 of Neural networks for machine learning (2012).
    """

    SINCE: ClassVar[int] = 5
    PEAK: ClassVar[float] = 2e-3
    rho: float = 0.9
    momentum: float = 0.0
    epsilon: float = 1e-7
    centered: bool = False

    def _check(self) -> None:
        fraction("rho", self.rho)
        fraction("momentum", self.momentum)
        positive("epsilon", self.epsilon)
        flag("centered", self.centered)

    @property
    def code(self) -> int:
        """7 plain, 8 with momentum, 9 centered."""
        return 9 if self.centered else 7 + (self.momentum > 0)

    @property
    def slots(self) -> int:
        """v, the change, a: as many as there are."""
        return self.code - 6

    def _rows(self, steps: Steps) -> Table:
        return rows(constant, steps, A=self.momentum, C=1.0 - self.rho, epsilon=self.epsilon)


@dataclass(frozen=True)
class Adagrad(Rule):
    """Steps scaled by the sum of all squares of the gradient.

    v += g * g, from initial_accumulator_value on;  w -= rate * g / sqrt(v + epsilon).
    Raises ValueError for a rate or epsilon that is not positive, a negative beginning.

    Source: Duchi, Hazan, Singer, Adaptive subgradient methods (2011).
    """

    SINCE: ClassVar[int] = 5
    PEAK: ClassVar[float] = 0.05
    initial_accumulator_value: float = 0.1
    epsilon: float = 1e-7

    def _check(self) -> None:
        at_least_zero("initial_accumulator_value", self.initial_accumulator_value)
        positive("epsilon", self.epsilon)

    @property
    def code(self) -> int:
        """10."""
        return 10

    @property
    def slots(self) -> int:
        """v, less what it begins with."""
        return 1

    def _rows(self, steps: Steps) -> Table:
        return rows(constant, steps, A=self.initial_accumulator_value, epsilon=self.epsilon)


@dataclass(frozen=True)
class Adadelta(Rule):
    """Steps scaled by the gradient's running mean square, and by that of the steps before.

    v += (1 - rho) * (g * g - v);  change = sqrt(d + epsilon) * g / sqrt(v + epsilon);
    d += (1 - rho) * (change * change - d);  w -= rate * change.
    Raises ValueError for a rate or epsilon that is not positive, a rho outside [0, 1).

    Source: Zeiler, ADADELTA: an adaptive learning rate method (2012), whose rate is 1.
    """

    SINCE: ClassVar[int] = 5
    PEAK: ClassVar[float] = 2.0
    rho: float = 0.95
    epsilon: float = 1e-7

    def _check(self) -> None:
        fraction("rho", self.rho)
        positive("epsilon", self.epsilon)

    @property
    def code(self) -> int:
        """11."""
        return 11

    @property
    def slots(self) -> int:
        """v and d."""
        return 2

    def _rows(self, steps: Steps) -> Table:
        return rows(constant, steps, C=1.0 - self.rho, epsilon=self.epsilon)


@dataclass(frozen=True)
class Lion(Rule):
    """Steps of one length: the sign of a running mean.

    w -= rate * sign(beta_1 * m + (1 - beta_1) * g);  m += (1 - beta_2) * (g - m).
    Raises ValueError for a rate that is not positive or a beta outside [0, 1).

    Source: Chen et al., Symbolic discovery of optimization algorithms (2023).
    """

    SINCE: ClassVar[int] = 5
    PEAK: ClassVar[float] = 5e-4
    beta_1: float = 0.9
    beta_2: float = 0.99

    def _check(self) -> None:
        fraction("beta_1", self.beta_1)
        fraction("beta_2", self.beta_2)

    @property
    def code(self) -> int:
        """12."""
        return 12

    @property
    def slots(self) -> int:
        """m."""
        return 1

    def _rows(self, steps: Steps) -> Table:
        return rows(constant, steps, B=1.0 - self.beta_1, C=1.0 - self.beta_2)


OPTIMIZERS: dict[str, type[Rule]] = {
    "sgd": SGD,
    "rmsprop": RMSprop,
    "adagrad": Adagrad,
    "adadelta": Adadelta,
    "adam": Adam,
    "nadam": Nadam,
    "amsgrad": AMSGrad,
    "adamax": Adamax,
    "lion": Lion,
}


def at_least_zero(name: str, value: float) -> None:
    """Raise unless the number is finite and not negative."""
    if not 0 <= number(name, value) < np.inf:
        raise ValueError(f"expected {name} of at least 0, got {value}")


def check_rate(rate: Rate) -> None:
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
