"""Optimizers: how a gradient g changes the weights w. The update itself lives in the engines.

An engine is handed one row of numbers per step, computed here once in float64. Below, t counts
updates from 1; defaults and formulas are Keras's but where a docstring says more.
"""

from __future__ import annotations

import numbers
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from functools import lru_cache
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from ._errors import count, flag, fraction, not_negative, positive, shown, unknown, whole
from .program import (
    ACCUMULATES,
    AVERAGE,
    AVERAGES,
    CLIP,
    CLIPS,
    CLIPS_GLOBAL_NORM,
    CLIPS_NORM,
    DECAY,
    DECAYS,
    EPSILON,
    KINDS_OF_UPDATE,
    PENALTY,
    RATE,
    SCHEDULE_FREE,
    SHARE,
    WIDTH_OF_ROW,
    A,
    B,
    C,
    D,
    E,
)
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

    def factors(self, names: tuple[str, ...]) -> Table | None:
        """Factors (m, 3) on rate, epsilon and decay of blocks of these names; None: all are 1."""


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


def schedule_free(
    t: Steps, beta_1: float, beta_2: float, epsilon: float, warmup_steps: int
) -> Columns:
    """rate_t is a share of the rate, min(1, t / n); c_t as the sum of squares up to n has it."""
    n = max(warmup_steps, 1)
    share = np.minimum(t, n) / n
    rising = np.minimum(t, n).astype(np.float64)
    squares = rising * (rising + 1) * (2 * rising + 1) / (6.0 * n * n) + np.maximum(t - n, 0)
    return {
        **adam(t, beta_1, beta_2, epsilon),
        RATE: 1.0 / share,
        B: beta_1,
        AVERAGE: share * share / squares,
    }


CLIPPING = {"clipvalue": CLIPS, "clipnorm": CLIPS_NORM, "global_clipnorm": CLIPS_GLOBAL_NORM}


def later(default: Any) -> Any:
    """A field that optimizers have since format 5, by name alone."""
    return field(default=default, kw_only=True, hash=False, metadata={"since": 5})


@lru_cache(maxsize=4, typed=True)  # the powers of a float32 have other bits
def table(make: Callable[..., Columns], first: int, *numbers: float, **named: float) -> Table:
    """The rows (BLOCK, n) of updates from the first on."""
    found = np.zeros((BLOCK, WIDTH_OF_ROW))
    found[:, [SHARE, PENALTY]] = 1.0
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
class Group:
    """Factors on an optimizer's rate, epsilon and weight decay, of some blocks of parameters.

    A rate of 0 freezes them. Raises ValueError for a negative factor, or an epsilon of 0.
    """

    rate: float = 1.0
    epsilon: float = 1.0
    decay: float = 1.0

    def __post_init__(self) -> None:
        not_negative("rate", self.rate)
        positive("epsilon", self.epsilon)
        not_negative("decay", self.decay)


@dataclass(frozen=True, repr=False)
class Rule:
    """What all optimizers have, as keyword arguments with Keras's names.

    weight_decay: w -= rate * weight_decay * w before the update, biases too: see groups.
    clipvalue: gradients are clipped to so much; clipnorm: a block's gradient (that of a layer's W,
    or of its b) is scaled down to this norm; global_clipnorm: all together are. One of them at
    most. gradient_accumulation_steps: an update follows so many steps, from the mean of their
    gradients, at the rate of the last; what is left at the end of a fit goes on in the next.
    use_ema: the network has the running means of the weights, average += (1 - ema_momentum) *
    (w - average) after each update, from the first w on; training goes on by w itself, which is
    kept as state. (Keras overwrites w with them at the end of a fit, and validates by w.)
    groups: factors by the name of a kind of blocks, "weights" or "biases"; of a layer, "layers.0"
    or 0; or of a block, "layers.0.biases". Where several name a block they are multiplied.
    Weights that were set by hand after a fit are where training by averages begins anew.
    Raises ValueError for numbers out of their range, or clips that exclude each other.
    """

    PEAK: ClassVar[float]  # of a schedule that suits most
    KEPT: ClassVar[bool] = False  # whether the update makes averages by itself
    learning_rate: Rate = 1e-3
    weight_decay: float = later(0.0)
    clipvalue: float | None = later(None)
    clipnorm: float | None = later(None)
    global_clipnorm: float | None = later(None)
    gradient_accumulation_steps: int = later(1)
    use_ema: bool = later(False)
    ema_momentum: float = later(0.99)
    groups: Mapping[str | int, Group] | None = later(None)
    _has_rules: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_rate(self.learning_rate)
        self._check()
        not_negative("weight_decay", self.weight_decay)
        clips = {name: getattr(self, name) for name in CLIPPING if getattr(self, name) is not None}
        for name, value in clips.items():
            positive(name, value)
        if len(clips) > 1:
            raise ValueError(f"expected one of {', '.join(CLIPPING)} at most, got {shown(clips)}")
        count("gradient_accumulation_steps", self.gradient_accumulation_steps, 1 << 31)
        flag("use_ema", self.use_ema)
        fraction("ema_momentum", self.ema_momentum)
        if self.groups is not None:
            object.__setattr__(self, "groups", checked_groups(self.groups))
        object.__setattr__(self, "_has_rules", self.code >= KINDS_OF_UPDATE)

    def __repr__(self) -> str:
        shown = [
            f"{one.name}={getattr(self, one.name)!r}"
            for one in sorted(fields(self), key=lambda one: one.kw_only is True)
            if not one.kw_only or getattr(self, one.name) != one.default
        ]
        return f"{type(self).__name__}({', '.join(shown)})"

    def _check(self) -> None:
        """Raise for numbers that do not fit."""

    @property
    def kind(self) -> int:
        """The kind of the update."""
        raise NotImplementedError

    @property
    def own_slots(self) -> int:
        """How many arrays of state that keeps."""
        raise NotImplementedError

    def _rows(self, updates: Steps) -> Table:
        """Its own numbers, (S, n)."""
        raise NotImplementedError

    @property
    def code(self) -> int:
        """The number that engines know the update by: its kind, and what there is besides."""
        clips = [bit for name, bit in CLIPPING.items() if getattr(self, name) is not None]
        return (
            self.kind
            + sum(clips)
            + DECAYS * (self.weight_decay > 0)
            + ACCUMULATES * (self.gradient_accumulation_steps > 1)
            + AVERAGES * (self.use_ema or self.KEPT)
        )

    @property
    def slots(self) -> int:
        """Its own, then the sum of gradients, and last the weights that there are averages of."""
        sums = self.gradient_accumulation_steps > 1
        return self.own_slots + sums + (self.use_ema or self.KEPT)

    def coefficients(self, steps: Steps, rates: Table) -> Table:
        """The rows (S, n) of steps (S,), in order from 0 on, at these rates (S,)."""
        every = self.gradient_accumulation_steps
        updates = np.maximum((steps + 1) // every - 1, 0) if every > 1 else steps
        found = self._rows(updates)
        found[:, RATE] = rates / found[:, RATE]
        if self._has_rules:
            self._add_rules(found, steps, updates, rates)
        return found

    def _add_rules(self, found: Table, steps: Steps, updates: Steps, rates: Table) -> None:
        """The numbers of what there is besides the kind."""
        every = self.gradient_accumulation_steps
        if every > 1:
            found[:, SHARE] = np.where((steps + 1) % every == 0, 1.0 / every, 0.0)
        if self.weight_decay > 0:
            found[:, DECAY] = rates * self.weight_decay
        for name in CLIPPING:
            if getattr(self, name) is not None:
                found[:, CLIP] = getattr(self, name)
        if self.use_ema:
            found[:, AVERAGE] = np.where(updates == 0, 1.0, 1.0 - self.ema_momentum)

    def factors(self, names: tuple[str, ...]) -> Table | None:
        """The groups' factors (m, 3) on rate, epsilon and decay of blocks of these names.

        Raises ValueError for a group that names none of them.
        """
        if not self.groups:
            return None
        found = np.ones((len(names), 3))
        for key, group in sorted(self.groups.items(), key=str):
            chosen = [i for i, name in enumerate(names) if str(key) in called(name)]
            if not chosen:
                known = dict.fromkeys(one for name in names for one in called(name))
                raise unknown("group", key, known)
            found[chosen] *= group.rate, group.epsilon, group.decay
        return found


def called(name: str) -> tuple[str, str, str]:
    """What a block may be called: by its kind, its layer, or in full."""
    layer, _, kind = name.rpartition(".")
    return kind, layer, name


def checked_groups(groups: Mapping[str | int, Group]) -> dict[str | int, Group]:
    """A copy, in which a layer's number is its name. TypeError for what is no group."""
    if not isinstance(groups, Mapping):
        raise TypeError(f"expected groups as a dict of Group, got {shown(groups)}")
    found: dict[str | int, Group] = {}
    for key, group in groups.items():
        if not isinstance(group, Group):
            raise TypeError(f"expected groups[{key!r}] as a Group, got {shown(group)}")
        number = isinstance(key, int) and not isinstance(key, bool)
        if not (number or isinstance(key, str)):
            raise TypeError(f"expected the names or numbers of groups, got {shown(key)}")
        found[f"layers.{key}" if number else key] = group
    return found


@dataclass(frozen=True, repr=False)
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
    def kind(self) -> int:
        """0 plain, 1 momentum, 2 Nesterov."""
        return 0 if self.momentum == 0 else 2 if self.nesterov else 1

    @property
    def own_slots(self) -> int:
        """v, if there is momentum."""
        return int(self.momentum > 0)

    def _rows(self, updates: Steps) -> Table:
        return rows(constant, updates, A=self.momentum)


@dataclass(frozen=True, repr=False)
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
    def kind(self) -> int:
        """3."""
        return 3

    @property
    def own_slots(self) -> int:
        """m and v."""
        return 2

    def _rows(self, updates: Steps) -> Table:
        return rows(adam, updates, self.beta_1, self.beta_2, self.epsilon)


@dataclass(frozen=True, repr=False)
class AMSGrad(Adam):
    """Adam, whose v in the update is the largest so far (Keras's `Adam(amsgrad=True)`).

    Source: Reddi, Kale, Kumar, On the convergence of Adam and beyond (2018).
    """

    SINCE: ClassVar[int] = 5

    @property
    def kind(self) -> int:
        """4."""
        return 4

    @property
    def own_slots(self) -> int:
        """m, v and the largest v."""
        return 3


@dataclass(frozen=True, repr=False)
class Adamax(Adam):
    """Adam by the largest |g|, which fades, instead of the mean square.

    m += (1 - beta_1) * (g - m);  u = max(beta_2 * u, |g|);
    w -= rate * (m / (1 - beta_1^t)) / (u + epsilon).

    Source: Kingma, Ba, Adam: a method for stochastic optimization (2015), section 7.1.
    """

    SINCE: ClassVar[int] = 5
    epsilon: float = 1e-7

    @property
    def kind(self) -> int:
        """5."""
        return 5

    def _rows(self, updates: Steps) -> Table:
        return rows(adamax, updates, self.beta_1, self.beta_2, self.epsilon)


@dataclass(frozen=True, repr=False)
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
    def kind(self) -> int:
        """6."""
        return 6

    def _rows(self, updates: Steps) -> Table:
        return rows(nadam, updates, self.beta_1, self.beta_2, self.epsilon)


@dataclass(frozen=True, repr=False)
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
    def kind(self) -> int:
        """7 plain, 8 with momentum, 9 centered."""
        return 9 if self.centered else 7 + (self.momentum > 0)

    @property
    def own_slots(self) -> int:
        """v, the change, a: as many as there are."""
        return self.kind - 6

    def _rows(self, updates: Steps) -> Table:
        return rows(constant, updates, A=self.momentum, C=1.0 - self.rho, epsilon=self.epsilon)


@dataclass(frozen=True, repr=False)
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
        not_negative("initial_accumulator_value", self.initial_accumulator_value)
        positive("epsilon", self.epsilon)

    @property
    def kind(self) -> int:
        """10."""
        return 10

    @property
    def own_slots(self) -> int:
        """v, less what it begins with."""
        return 1

    def _rows(self, updates: Steps) -> Table:
        return rows(constant, updates, A=self.initial_accumulator_value, epsilon=self.epsilon)


@dataclass(frozen=True, repr=False)
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
    def kind(self) -> int:
        """11."""
        return 11

    @property
    def own_slots(self) -> int:
        """v and d."""
        return 2

    def _rows(self, updates: Steps) -> Table:
        return rows(constant, updates, C=1.0 - self.rho, epsilon=self.epsilon)


@dataclass(frozen=True, repr=False)
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
    def kind(self) -> int:
        """12."""
        return 12

    @property
    def own_slots(self) -> int:
        """m."""
        return 1

    def _rows(self, updates: Steps) -> Table:
        return rows(constant, updates, B=1.0 - self.beta_1, C=1.0 - self.beta_2)


@dataclass(frozen=True, repr=False)
class AdamW(Adam):
    """Adam with weight decay apart from the gradient: see `weight_decay` of all optimizers.

    Source: Loshchilov, Hutter, Decoupled weight decay regularization (2019).
    """

    SINCE: ClassVar[int] = 5
    weight_decay: float = 0.004


@dataclass(frozen=True, repr=False)
class ScheduleFreeAdamW(Adam):
    """Adam whose weights are means over training, which do without a schedule that falls.

    y = (1 - beta_1) * z + beta_1 * x is what gradients are taken of;  v as Adam's;
    z -= rate_t * (g / (sqrt(v / (1 - beta_2^t)) + epsilon) + weight_decay * y);
    x += c_t * (z - x), c_t = rate_t^2 / (rate_1^2 + ... + rate_t^2).
    x are the network's weights, in callbacks and validation too; y and z are kept as state.
    learning_rate: a number; rate_t grows to it along a line in warmup_steps updates.
    Raises ValueError for a schedule, for use_ema, a beta_1 of 0, or warmup_steps below 0.

    Source: Defazio et al., The road less scheduled (2024).
    """

    SINCE: ClassVar[int] = 5
    KEPT: ClassVar[bool] = True
    learning_rate: Rate = 2.5e-3
    weight_decay: float = 0.0
    warmup_steps: int = 0

    def _check(self) -> None:
        super()._check()
        if is_schedule(self.learning_rate):
            found = shown(self.learning_rate)
            raise ValueError(f"expected a number as learning_rate without a schedule, got {found}")
        if self.use_ema:
            raise ValueError("expected no use_ema where weights are means already, got True")
        positive("beta_1", self.beta_1)
        if whole("warmup_steps", self.warmup_steps) < 0:
            raise ValueError(f"expected warmup_steps of at least 0, got {self.warmup_steps}")

    @property
    def kind(self) -> int:
        """13."""
        return SCHEDULE_FREE

    def _rows(self, updates: Steps) -> Table:
        numbers = self.beta_1, self.beta_2, self.epsilon, self.warmup_steps
        return rows(schedule_free, updates, *numbers)

    def coefficients(self, steps: Steps, rates: Table) -> Table:
        """The rows (S, n); the decay warms up as the rate does."""
        found = super().coefficients(steps, rates)
        found[:, DECAY] = found[:, RATE] * self.weight_decay
        return found


OPTIMIZERS: dict[str, type[Rule]] = {
    "sgd": SGD,
    "rmsprop": RMSprop,
    "adagrad": Adagrad,
    "adadelta": Adadelta,
    "adam": Adam,
    "adamw": AdamW,
    "nadam": Nadam,
    "amsgrad": AMSGrad,
    "adamax": Adamax,
    "lion": Lion,
    "schedule_free_adamw": ScheduleFreeAdamW,
}


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
