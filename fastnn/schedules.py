"""Learning-rate schedules: the rate of every step of one fit, in float64.

A rate depends on nothing but its step and the total, so a range gives the same bits however it is
cut in pieces. Cosines come one by one from `math`: NumPy's vector cosine differs between CPUs.
"""

from __future__ import annotations

import math
import numbers
from dataclasses import dataclass, fields
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ._errors import number, positive, shown


class Schedule(Protocol):
    """Anything that offers `rates`."""

    def rates(self, first_step: int, steps: int, total_steps: int) -> NDArray[np.float64]:
        """The rates (steps,) of steps first_step, first_step + 1, ... out of total_steps."""


def cosine(start: float, end: float, progress: float) -> float:
    """From start to end along half a cosine; progress runs from 0 to 1."""
    return end + (start - end) * 0.5 * (1.0 + math.cos(math.pi * progress))


@dataclass(frozen=True)
class Constant:
    """The same rate at every step. Raises ValueError unless it is positive."""

    rate: float

    def __post_init__(self) -> None:
        positive("rate", self.rate)

    def rates(self, first_step: int, steps: int, total_steps: int) -> NDArray[np.float64]:
        """The rates (steps,) from first_step on."""
        rates = np.empty(steps)
        rates.fill(self.rate)  # `full` takes longer for a few
        return rates


@dataclass(frozen=True)
class Cosine:
    """From `peak` down to `final` along half a cosine.

    Raises ValueError unless the peak is positive and the final rate is not negative.

    Source: Loshchilov, Hutter, SGDR (2017), without restarts.
    """

    peak: float
    final: float = 0.0

    def __post_init__(self) -> None:
        positive("peak", self.peak)
        if not 0 <= number("final", self.final) < math.inf:
            raise ValueError(f"expected a final rate of at least 0, got {self.final}")

    def rates(self, first_step: int, steps: int, total_steps: int) -> NDArray[np.float64]:
        """The rates (steps,) from first_step on."""
        last = max(total_steps - 1, 1)
        return np.array(
            [cosine(self.peak, self.final, t / last) for t in range(first_step, first_step + steps)]
        )


@dataclass(frozen=True)
class OneCycle:
    """Up from peak / div_factor to `peak`, then down to peak / (div_factor * final_div_factor).

    `warmup` is the share of the steps that goes up, 0 < warmup < 1; both ways are half a cosine.
    Raises ValueError for a warmup outside of that range or a number that is not positive.

    Source: Smith, Topin, Super-convergence (2018), with PyTorch's constants.
    """

    peak: float
    warmup: float = 0.3
    div_factor: float = 25.0
    final_div_factor: float = 1e4

    def __post_init__(self) -> None:
        for field in fields(self):
            positive(field.name, getattr(self, field.name))
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


SCHEDULES: dict[str, type[Constant] | type[Cosine] | type[OneCycle]] = {
    "constant": Constant,
    "cosine": Cosine,
    "one_cycle": OneCycle,
}


def get(rate: float | Schedule) -> Schedule:
    """A schedule, from one or from a plain rate."""
    return Constant(float(rate)) if isinstance(rate, (float, numbers.Real)) else rate


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
