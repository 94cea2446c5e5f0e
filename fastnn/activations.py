"""Activations h = g(z), by name. The arithmetic lives in the engines."""

from __future__ import annotations

from dataclasses import dataclass

from ._errors import positive, unknown
from .program import ACTIVATE, SOFTMAX


@dataclass(frozen=True)
class Activation:
    """An activation: its name, the code that engines know it by, and its number, if it has one.

    slope: leaky_relu's, or elu's alpha; 0 where there is none.
    kind: that of its op. Softmax, which needs the whole row, has an op of its own.
    """

    name: str
    code: int
    slope: float = 0.0
    kind: int = ACTIVATE
    since: int = 1  # the first format of model files that has it


ACTIVATIONS: dict[str, Activation] = {
    activation.name: activation
    for activation in (
        Activation("identity", 0),
        Activation("sigmoid", 1),
        Activation("tanh", 2),
        Activation("relu", 3),
        Activation("leaky_relu", 4, slope=0.01),
        Activation("gelu", 5, since=3),
        Activation("elu", 6, slope=1.0, since=4),
        Activation("selu", 7, since=4),
        Activation("gelu_tanh", 8, since=4),
        Activation("silu", 9, since=4),
        Activation("softplus", 10, since=4),
        Activation("softsign", 11, since=4),
        Activation("mish", 12, since=4),
        Activation("exponential", 13, since=4),
        Activation("hard_sigmoid", 14, since=4),
        Activation("hard_tanh", 15, since=4),
        Activation("softmax", 0, kind=SOFTMAX),
    )
}


def LeakyReLU(slope: float = 0.01) -> Activation:  # noqa: N802 (reads like a layer's class)
    """g(z) = z for z > 0, else slope * z.

    The slope is positive: the derivative is read off the sign of h.
    Raises ValueError if it is not.

    Source: Maas, Hannun, Ng, Rectifier nonlinearities improve acoustic models (2013).
    """
    return Activation("leaky_relu", ACTIVATIONS["leaky_relu"].code, positive("slope", slope))


def ELU(alpha: float = 1.0) -> Activation:  # noqa: N802
    """g(z) = z for z > 0, else alpha * (e^z - 1); alpha is positive.

    Raises ValueError if it is not.

    Source: Clevert, Unterthiner, Hochreiter, Fast and accurate deep network learning by exponential
    linear units (2016).
    """
    return Activation("elu", ACTIVATIONS["elu"].code, positive("alpha", alpha), since=4)


def get(activation: str | Activation) -> Activation:
    """The activation of this name. Raises ValueError for an unknown one."""
    if isinstance(activation, Activation):
        return activation
    if not isinstance(activation, str) or activation not in ACTIVATIONS:
        raise unknown("activation", activation, ACTIVATIONS)
    return ACTIVATIONS[activation]
