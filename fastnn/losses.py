"""Losses, by name: means over the batch. The arithmetic lives in the engines."""

from __future__ import annotations

from dataclasses import dataclass

from ._errors import unknown
from .activations import Activation


@dataclass(frozen=True)
class Loss:
    """A loss: its name, the code that engines know it by, the output activation that it needs.

    power: that of the targets' unit which the loss is measured in; 0 where targets are classes.
    """

    name: str
    code: int
    output: str | None = None
    power: int = 0


LOSSES: dict[str, Loss] = {
    loss.name: loss
    for loss in (
        Loss("cross_entropy", 0, output="softmax"),
        Loss("binary_cross_entropy", 1, output="sigmoid"),
        Loss("mean_squared_error", 2, power=2),
    )
}


def default(activation: Activation) -> Loss:
    """The loss that follows from the output: softmax, sigmoid, or anything else."""
    matching = (loss for loss in LOSSES.values() if loss.output == activation.name)
    return next(matching, LOSSES["mean_squared_error"])


def get(loss: str | Loss) -> Loss:
    """The loss of this name. Raises ValueError for an unknown one."""
    if isinstance(loss, Loss):
        return loss
    if not isinstance(loss, str) or loss not in LOSSES:
        raise unknown("loss", loss, LOSSES)
    return LOSSES[loss]


def fits(loss: Loss, activation: Activation, outputs: int) -> None:
    """Check that the loss fits the output layer. Raises ValueError if it does not."""
    if activation.name == "softmax" and outputs == 1:
        raise ValueError("expected softmax with at least 2 outputs, got 1 (use sigmoid)")
    if loss.output not in (None, activation.name):
        raise ValueError(f"expected {loss.output} outputs for {loss.name}, got {activation.name}")
