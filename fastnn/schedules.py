"""Learning-rate schedules: the rate of every step of one fit, in float64.

A rate depends on nothing but its step and the total, so a range gives the same bits however it is
cut in pieces. Cosines come one by one from `math`: NumPy's vector cosine differs between CPUs.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from ._errors import fraction, number, positive, shown


class Schedule(Protocol):
    """Anything that offers `rates`."""

    def rates(self, first_step: int, steps: int, total_steps: int) -> NDArray[np.float64]:
        """The rates (steps,) of steps first_step, first_step + 1, ... out of total_steps."""


def cosine(start: float, end: float, progress: float) -> float:
    """From start to end along half a cosine; progress runs from 0 to 1."""
    return end + (start - end) * 0.5 * (1.0 + math.cos(math.pi * progress))


@dataclass(frozen=True)
class Curve:
    """A rate that is a function of progress, which runs from 0 at the first step to 1 at the last.

    warmup: the share of the steps, in [0, 1), that first goes up to it along a line.
    """

    SINCE: ClassVar[int] = 4  # the format of model files that has it
    warmup: float = field(default=0.0, kw_only=True, metadata={"since": 4})

    def __post_init__(self) -> None:
        fraction("warmup", self.warmup)

    def at(self, progress: float) -> float:
        """The rate there."""
        raise NotImplementedError

    def rates(self, first_step: int, steps: int, total_steps: int) -> NDArray[np.float64]:
        """The rates (steps,) from first_step on."""
        rising = int(self.warmup * total_steps)
        last, start = max(total_steps - rising - 1, 1), self.at(0.0)

        def rate(t: int) -> float:
            return start * (t + 1) / (rising + 1) if t < rising else self.at((t - rising) / last)

        return np.array([rate(t) for t in range(first_step, first_step + steps)])


@dataclass(frozen=True)
class Constant(Curve):
    """The same rate at every step. Raises ValueError unless it is positive."""

    SINCE: ClassVar[int] = 2
    rate: float

    def __post_init__(self) -> None:
        super().__post_init__()
        positive("rate", self.rate)

    def at(self, progress: float) -> float:
        """The rate."""
        return self.rate

    def rates(self, first_step: int, steps: int, total_steps: int) -> NDArray[np.float64]:
        """The rates (steps,) from first_step on."""
        if self.warmup:
            return super().rates(first_step, steps, total_steps)
        rates = np.empty(steps)
        rates.fill(self.rate)  # `full` takes longer for a few
        return rates


@dataclass(frozen=True)
class Falling(Curve):
    """From `peak` on, in one way or another. Raises ValueError unless all numbers are in range."""

    peak: float

    def __post_init__(self) -> None:
        super().__post_init__()
        positive("peak", self.peak)
        for one in fields(self):
            self.check(one.name, getattr(self, one.name))

    def check(self, name: str, value: float) -> None:
        """Raise ValueError for a number that cannot be."""
        if name == "final" and not 0 <= number(name, value) < math.inf:
            raise ValueError(f"expected a final rate of at least 0, got {value}")
        if name in ("cycles", "stages"):
            at_least_one(name, value)
        elif name not in ("final", "flat", "warmup"):
            positive(name, value)


@dataclass(frozen=True)
class Cosine(Falling):
    """From `peak` down to `final` along half a cosine.

    Source: Loshchilov, Hutter, SGDR (2017), without restarts.
    """

    SINCE: ClassVar[int] = 2
    final: float = 0.0

    def at(self, progress: float) -> float:
        """The rate there."""
        return cosine(self.peak, self.final, progress)


@dataclass(frozen=True)
class CosineRestarts(Falling):
    """Half a cosine from `peak` to `final`, again and again, each `t_mul` times as long.

    Source: Loshchilov, Hutter, SGDR: stochastic gradient descent with warm restarts (2017).
    """

    final: float = 0.0
    cycles: float = 3  # a whole number
    t_mul: float = 2.0

    def at(self, progress: float) -> float:
        """The rate there."""
        lengths = [self.t_mul**cycle for cycle in range(int(self.cycles))]
        place = progress * math.fsum(lengths)
        for length in lengths[:-1]:
            if place < length:
                break
            place -= length
        else:
            length = lengths[-1]
        return cosine(self.peak, self.final, min(place / length, 1.0))


@dataclass(frozen=True)
class FlatCosine(Falling):
    """`peak` for the share `flat` of the steps, in [0, 1), then half a cosine down to `final`.

    Source: fastai's fit_flat_cos (2019).
    """

    final: float = 0.0
    flat: float = 0.75

    def __post_init__(self) -> None:
        super().__post_init__()
        fraction("flat", self.flat)

    def at(self, progress: float) -> float:
        """The rate there."""
        return cosine(self.peak, self.final, max(progress - self.flat, 0.0) / (1.0 - self.flat))


@dataclass(frozen=True)
class Step(Falling):
    """`peak` in the first of so many stages of equal length, in each next one `factor` times that.

    Source: Goodfellow, Bengio, Courville, Deep Learning (2016), section 8.3.1.
    """

    factor: float = 0.1
    stages: float = 3  # a whole number

    def at(self, progress: float) -> float:
        """The rate there."""
        return self.peak * self.factor ** min(int(progress * self.stages), int(self.stages) - 1)


@dataclass(frozen=True)
class Exponential(Falling):
    """peak * decay_rate ** progress: at the end `decay_rate` times the peak.

    Source: Keras's ExponentialDecay, over all steps.
    """

    decay_rate: float = 0.01

    def at(self, progress: float) -> float:
        """The rate there."""
        return self.peak * math.pow(self.decay_rate, progress)


@dataclass(frozen=True)
class Polynomial(Falling):
    """From `peak` to `final` along (1 - progress) ** power; a line by default.

    Source: Keras's PolynomialDecay, over all steps.
    """

    final: float = 0.0
    power: float = 1.0

    def at(self, progress: float) -> float:
        """The rate there."""
        return self.final + (self.peak - self.final) * math.pow(1.0 - progress, self.power)


@dataclass(frozen=True)
class InverseTime(Falling):
    """peak / (1 + decay_rate * progress): at the end a tenth of the peak by default.

    Source: Keras's InverseTimeDecay, over all steps.
    """

    decay_rate: float = 9.0

    def at(self, progress: float) -> float:
        """The rate there."""
        return self.peak / (1.0 + self.decay_rate * progress)


@dataclass(frozen=True)
class CosLog(Falling):
    """Four waves from 0 to `peak` and back, each twice as long as the one before.

    peak * (1 - cos(2 pi log2(1 + 15 progress))) / 2. It rises by itself: a warmup is an error.

    Source: Holzmueller, Grinsztajn, Steinwart, Better by default (2024).
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.warmup:
            raise ValueError(f"expected no warmup with CosLog, got {self.warmup}")

    def at(self, progress: float) -> float:
        """The rate there."""
        return self.peak * 0.5 * (1.0 - math.cos(2.0 * math.pi * math.log2(1.0 + 15.0 * progress)))


@dataclass(frozen=True)
class OneCycle:
    """Up from peak / div_factor to `peak`, then down to peak / (div_factor * final_div_factor).

    `warmup` is the share of the steps that goes up, 0 < warmup < 1; both ways are half a cosine.
    Raises ValueError for a warmup outside of that range or a number that is not positive.

    Source: Smith, Topin, Super-convergence (2018), with PyTorch's constants.
    """

    peak: float
    SINCE: ClassVar[int] = 2
    warmup: float = 0.3
    div_factor: float = 25.0
    final_div_factor: float = 1e4

    def __post_init__(self) -> None:
        for one in fields(self):
            positive(one.name, getattr(self, one.name))
        if self.warmup >= 1:
            raise ValueError(f"expected a warmup below 1, got {self.warmup}")

    def rates(self, first_step: int, steps: int, total_steps: int) -> NDArray[np.float64]:
        """The rates (steps,) from first_step on."""
        start = self.peak / self.div_factor
        end = start / self.final_div_factor
        last = max(total_steps - 1, 1)
        top = self.warmup * last

        def rate(t: int) -> float:
            if t < top:
                return cosine(start, self.peak, t / top)
            return cosine(self.peak, end, (t - top) / (last - top))

        return np.array([rate(t) for t in range(first_step, first_step + steps)])


class Function:
    """The rate of a function of the step, counted from 0 in each fit."""

    def __init__(self, function: Callable[[int], float]) -> None:
        self.function = function

    def rates(self, first_step: int, steps: int, total_steps: int) -> NDArray[np.float64]:
        """What the function gives for the steps from first_step on."""
        found = [self.function(step) for step in range(first_step, first_step + steps)]
        return np.array([number("a rate", rate) for rate in found])


SCHEDULES: dict[str, type[Constant] | type[Falling] | type[OneCycle]] = {
    "constant": Constant,
    "cosine": Cosine,
    "one_cycle": OneCycle,
    "cosine_restarts": CosineRestarts,
    "flat_cosine": FlatCosine,
    "step": Step,
    "exponential": Exponential,
    "polynomial": Polynomial,
    "inverse_time": InverseTime,
    "cos_log": CosLog,
}


def at_least_one(name: str, value: float) -> None:
    """Raise ValueError unless it is a whole number from 1 to 64."""
    if not (1 <= number(name, value) <= 64 and value == int(value)):
        raise ValueError(f"expected {name} as a whole number from 1 to 64, got {value}")


def is_schedule(rate: object) -> bool:
    """Whether it offers rates, or is a function of the step."""
    return not isinstance(rate, type) and (hasattr(rate, "rates") or callable(rate))


def get(rate: float | Schedule | Callable[[int], float]) -> Schedule:
    """A schedule, from one, from a plain rate or from a function of the step."""
    if isinstance(rate, (float, numbers.Real)):
        return Constant(float(rate))
    return rate if hasattr(rate, "rates") else Function(rate)


def checked_rates(
    schedule: Schedule, first_step: int, steps: int, total_steps: int
) -> NDArray[np.float64]:
    """The schedule's rates (steps,). Raises ValueError unless they are finite and none is negative.

    A rate may be 0: a cosine may end there.
    """
    name = f"rates of {type(schedule).__name__}"
    rates = schedule.rates(first_step, steps, total_steps)
    try:
        array = np.asarray(rates, np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"expected {name} to be {steps} numbers, got {shown(rates)}") from None
    if array.shape != (steps,):
        raise ValueError(f"expected {name} of shape {(steps,)}, got {array.shape}")
    lowest, highest = map(array.item, (array.argmin(), array.argmax()))  # a NaN where there is one
    if not 0 <= lowest <= highest < math.inf:
        step = int(((array >= 0) & (array < math.inf)).argmin())
        found = f"{array[step]} at step {first_step + step} of {total_steps}"
        raise ValueError(f"expected {name} to be finite and not negative, got {found}")
    return array
