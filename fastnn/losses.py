"""Losses, by name, or by a function where they have numbers: means over the batch.

The arithmetic lives in the engines. Below, h are a row's outputs (O,), z those before their
activation, t its targets (T,), e = h - t; labels stand for one-hot targets. T is O, except where a
target has several outputs, which stand side by side: of target k they are
h[k * O / T : (k + 1) * O / T]. A row's loss is the mean over outputs, of cross_entropy the sum.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ._errors import flag, fraction, number, positive, shown, unknown
from .activations import Activation

Kind = Literal["class", "binary", "numbers"]
Function = Callable[..., tuple[float, NDArray[Any]]]

LOGITS = "_with_logits"  # the end of the names of losses that apply the activation themselves


@dataclass(frozen=True)
class Loss:
    """A loss: its name, the code that engines know it by, and what it asks of outputs and targets.

    kind: what targets are: one class a row, yes or no for each output, or numbers.
    power: that of the targets' unit which the loss is measured in.
    """

    name: str
    code: int
    kind: Kind = "numbers"
    output: str | None = None  # the activation that it needs
    power: int = 0
    numbers: tuple[float, ...] = ()
    cut: float = 0.5  # outputs above it say yes
    least: float = -math.inf  # of a target
    per_target: int = 1  # outputs
    since: int = 5  # the first format of model files that has it
    function: Function | None = None  # that is asked instead of an engine

    def targets(self, outputs: int) -> int:
        """T: how many targets a row has."""
        return outputs // self.per_target

    def in_units(self, value: float, scale: float) -> float:
        """The loss in the units of targets that were divided by `scale`."""
        if self.name == "gaussian":  # a density
            return value + math.log(scale)
        return value * scale**self.power

    def outputs_in_units(
        self, h: NDArray[Any], center: NDArray[np.float64] | None, scale: float
    ) -> NDArray[Any]:
        """Outputs (n, O) in the units of targets that were (t - center) / scale; in place."""
        if center is None:
            return h
        of_target = h.reshape(len(h), -1, self.per_target)
        located = of_target[:, :, :1] if self.name == "gaussian" else of_target
        located *= h.dtype.type(scale)
        located += center.astype(h.dtype)[:, None]
        if self.name == "gaussian":
            of_target[:, :, 1] += h.dtype.type(2 * math.log(scale))
        return h

    def for_metrics(self, h: NDArray[Any]) -> NDArray[Any]:
        """What known metrics look at, of outputs (n, O): probabilities, means.

        A score of hinge is halved, and moved from -1 .. 1 to 0 .. 1.
        """
        if self.name == "hinge":
            return (h + 1) / 2
        if self.name == "gaussian":
            return h[:, ::2]
        if not self.name.endswith(LOGITS):
            return h
        from . import reference

        return reference.softmax(h) if self.kind == "class" else reference.sigmoid(h)


def CrossEntropy(label_smoothing: float = 0.0, from_logits: bool = False) -> Loss:  # noqa: N802
    """-sum(t * log p), p the outputs after softmax.

    label_smoothing: t becomes (1 - label_smoothing) * t + label_smoothing / O; it lies in [0, 1).
    from_logits: outputs are identity, and p = softmax(h); `predict` then gives logits.
    Raises ValueError for a number out of its range, as all below do.

    Source: Szegedy et al., Rethinking the Inception architecture for computer vision (2016).
    """
    smoothing = fraction("label_smoothing", label_smoothing)
    numbers = (smoothing,) if smoothing else ()
    if flag("from_logits", from_logits):
        return Loss("cross_entropy" + LOGITS, 11, "class", "identity", numbers=numbers)
    return Loss("cross_entropy", 0, "class", "softmax", numbers=numbers, since=5 if numbers else 1)


def BinaryCrossEntropy(  # noqa: N802
    pos_weight: float | Iterable[float] | None = None, from_logits: bool = False
) -> Loss:
    """-pos_weight * t * log p - (1 - t) * log(1 - p), p the outputs after sigmoid.

    pos_weight: one number, or one for each output; above 1 it makes up for rare positive targets.
    from_logits: outputs are identity, and p = sigmoid(h); `predict` then gives logits.
    """
    given: Iterable[float] = ()
    if pos_weight is not None:
        given = pos_weight if isinstance(pos_weight, Iterable) else (pos_weight,)
    numbers = tuple(positive("pos_weight", one) for one in given)
    if set(numbers) <= {1.0}:
        numbers = ()
    if flag("from_logits", from_logits):
        return Loss(
            "binary_cross_entropy" + LOGITS, 12, "binary", "identity", numbers=numbers, cut=0
        )
    since = 5 if numbers else 1
    return Loss("binary_cross_entropy", 1, "binary", "sigmoid", numbers=numbers, since=since)


def Focal(gamma: float = 2.0, alpha: float = 0.25) -> Loss:  # noqa: N802
    """Binary cross-entropy where an output that is right already counts less.

    -alpha * t * (1 - p)^gamma * log p - (1 - alpha) * (1 - t) * p^gamma * log(1 - p), p the outputs
    after sigmoid. gamma is at least 0, alpha in (0, 1) weighs positive targets.

    Source: Lin et al., Focal loss for dense object detection (2017).
    """
    if not 0 <= number("gamma", gamma) < math.inf:
        raise ValueError(f"expected gamma of at least 0, got {gamma}")
    if not 0 < number("alpha", alpha) < 1:
        raise ValueError(f"expected alpha in (0, 1), got {alpha}")
    return Loss("focal", 9, "binary", "sigmoid", numbers=(float(gamma), float(alpha)))


def Huber(delta: float = 1.0) -> Loss:  # noqa: N802
    """e^2 / 2, or delta * (|e| - delta / 2) where |e| > delta.

    Where targets are standardised, delta is a number of their deviations; elsewhere it is in their
    unit.

    Source: Huber, Robust estimation of a location parameter (1964).
    """
    return Loss("huber", 4, power=2, numbers=(positive("delta", delta),))


def Quantile(*quantiles: float) -> Loss:  # noqa: N802
    """The pinball loss: q * (t - h) where t > h, else (1 - q) * (h - t); its minimum is a quantile.

    quantiles: one or several, each in (0, 1); every target has an output for each of them: y (B, T)
    and outputs (B, T * Q), `predict(x).reshape(B, T, Q)`. One half if none is given: the median.

    Source: Koenker, Bassett, Regression quantiles (1978).
    """
    for quantile in quantiles:
        if not 0 < number("quantile", quantile) < 1:
            raise ValueError(f"expected quantiles in (0, 1), got {quantile}")
    numbers = tuple(map(float, quantiles)) or (0.5,)
    return Loss("quantile", 6, power=1, numbers=numbers, per_target=len(numbers))


LOSSES: dict[str, Loss] = {
    loss.name: loss
    for loss in (
        CrossEntropy(),
        BinaryCrossEntropy(),
        Loss("mean_squared_error", 2, power=2, since=1),  # e^2
        Loss("mean_absolute_error", 3, power=1),  # |e|
        Huber(),
        Loss("log_cosh", 5, power=2),  # log(cosh(e))
        Quantile(),
        # h - t * log h, h = e^z a rate: Poisson's likelihood but for what t alone decides
        Loss("poisson", 7, output="exponential", least=0),
        Loss("hinge", 8, "binary", "identity", cut=0),  # max(0, 1 - (2 t - 1) * h)
        Focal(),
        # (s + (t - m)^2 * e^-s) / 2: minus the log of a normal density, but for log(2 pi) / 2; each
        # target has two outputs, its mean m and the log s of its variance.
        # Source: Nix, Weigend, Estimating the mean and variance of the target (1994)
        Loss("gaussian", 10, output="identity", per_target=2),
        CrossEntropy(from_logits=True),
        BinaryCrossEntropy(from_logits=True),
    )
}
WITH_NUMBERS: dict[str, Callable[[tuple[float, ...]], Loss]] = {  # made again from their numbers
    "cross_entropy": lambda numbers: CrossEntropy(sum(numbers)),
    "binary_cross_entropy": BinaryCrossEntropy,
    "huber": lambda numbers: Huber(*numbers),
    "quantile": lambda numbers: Quantile(*numbers),
    "focal": lambda numbers: Focal(*numbers),
    "cross_entropy" + LOGITS: lambda numbers: CrossEntropy(sum(numbers), True),
    "binary_cross_entropy" + LOGITS: lambda numbers: BinaryCrossEntropy(numbers, True),
}


def default(activation: Activation) -> Loss:
    """The loss that follows from the output: softmax, sigmoid, or anything else."""
    names = {"softmax": "cross_entropy", "sigmoid": "binary_cross_entropy"}
    return LOSSES[names.get(activation.name, "mean_squared_error")]


def of_function(function: Function) -> Loss:
    """The loss that a function f(y_true=, y_pred=) -> (loss, d_y_pred) gives: see `Network`."""
    name = getattr(function, "__name__", type(function).__name__)
    return Loss(name, LOSSES["mean_squared_error"].code, function=function)


def missing(name: str) -> Loss:
    """That of a function of which a file has only the name: it says what is missing."""

    def function(**_: object) -> tuple[float, NDArray[Any]]:
        raise ValueError(f"expected the loss {name}: pass load(path, loss={name})")

    function.__name__ = name
    return of_function(function)


def get(loss: str | Loss | Function) -> Loss:
    """The loss of this name, with its usual numbers. Raises ValueError for an unknown one."""
    if isinstance(loss, Loss):
        return loss
    if callable(loss) and not isinstance(loss, type):
        return of_function(loss)
    if not isinstance(loss, str) or loss not in LOSSES:
        raise unknown("loss", loss, LOSSES)
    return LOSSES[loss]


def fits(loss: Loss, activation: Activation, outputs: int) -> None:
    """Check that the loss fits the output layer. Raises ValueError if it does not."""
    if activation.name == "softmax" and outputs == 1:
        raise ValueError("expected softmax with at least 2 outputs, got 1 (use sigmoid)")
    if loss.output not in (None, activation.name):
        other = f"{loss.name}{LOGITS}"
        hint = f" (or {other})" if other in LOSSES and activation.name == "identity" else ""
        raise ValueError(
            f"expected {loss.output} outputs for {loss.name}, got {activation.name}{hint}"
        )
    if loss.name == "cross_entropy" + LOGITS and outputs == 1:
        other = "binary_cross_entropy" + LOGITS
        raise ValueError(f"expected at least 2 outputs for {loss.name}, got 1 (use {other})")
    if outputs % loss.per_target:
        raise ValueError(
            f"expected {loss.per_target} outputs for each target of {loss.name}, got {outputs}"
        )
    if loss.kind == "binary" and loss.name != "focal" and len(loss.numbers) not in (0, 1, outputs):
        raise ValueError(
            f"expected pos_weight as one number or {outputs}, got {shown(list(loss.numbers))}"
        )
