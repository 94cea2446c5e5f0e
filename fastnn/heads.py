"""Several heads of different kinds on one network."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import _arrays, activations, losses, reference
from ._errors import count, positive, shown
from .losses import LOGITS, WITH_NUMBERS, Function, Loss

Array = NDArray[Any]


@dataclass(frozen=True)
class Head:
    """Some of the columns of the outputs, and their loss, as it counts in the whole."""

    columns: slice
    loss: Loss  # of the outputs as they are
    weight: float

    @property
    def width(self) -> int:
        """How many columns."""
        return int(self.columns.stop - self.columns.start)

    def targets(self, name: str, y: Array) -> Array:
        """Targets (n, width): as they are, or one-hot from labels (n,)."""
        if y.ndim == 1 and self.loss.kind == "class":
            _arrays.check_labels(name, y, self.width)
            return np.eye(self.width)[y]
        y = y[:, None] if y.ndim == 1 and self.width == 1 else y
        if y.ndim != 2 or y.shape[1] != self.width:
            raise ValueError(f"expected {name} of shape (n, {self.width}), got {y.shape}")
        return y

    def judged(self, y: Array, h: Array) -> tuple[float, Array]:
        """The mean loss, and its gradient (n, width), each times the weight."""
        like: Any = SimpleNamespace(loss=self.loss.code, loss_numbers=np.array(self.loss.numbers))
        found, error = reference.losses_and_errors(like, h, h, y)
        return self.weight * float(found.mean()), self.weight / len(h) * error


class Heads:
    """A loss of several heads: each has its columns of the outputs, its loss and its weight.

    heads: (columns, loss) or (columns, loss, weight) of each, by its name, in the order of the
    outputs. The network ends in one `Dense` of all columns together, without activation; a head of
    "cross_entropy" or "binary_cross_entropy" reads its own as logits. Losses are fastnn's, by name
    or with numbers, those of one output a target that need no other activation.

        heads = fastnn.Heads(kind=(3, "cross_entropy"), size=(2, "mean_squared_error", 0.5))
        net = fastnn.Network(4, [fastnn.Dense(32, "tanh"), fastnn.Dense(heads.units)], loss=heads)
        net.fit(x, heads.targets(kind=labels, size=numbers))
        found = heads.outputs(net.predict(x))  # {"kind": probabilities (n, 3), "size": (n, 2)}

    It is a loss of one's own: a batch costs a pass forward more, and NumPy's time for the losses;
    `fastnn.load(path, loss=heads)` reads what was saved. Raises ValueError for no heads, or a loss
    that does not fit.
    """

    def __init__(self, **heads: tuple[int, str | Loss | Function] | tuple[int, Any, float]) -> None:
        if not heads:
            raise ValueError("expected at least one head, got none")
        self.heads: dict[str, Head] = {}
        self.units = 0  # the columns of all
        for name, given in heads.items():
            if not isinstance(given, tuple) or len(given) not in (2, 3):
                raise TypeError(f"expected {name} as (columns, loss, weight), got {shown(given)}")
            columns, loss, weight = (*given, 1.0)[:3]
            end = self.units + count(f"columns of {name}", columns)
            found = Head(
                slice(self.units, end), of_identity(name, loss), positive("weight", weight)
            )
            losses.fits(found.loss, activations.get("identity"), found.width)
            self.heads[name], self.units = found, end

    def targets(self, **y: ArrayLike) -> Array:
        """Targets (n, units) for `fit`, from those of each head: labels (n,), or (n, columns).

        Raises ValueError unless each head has some, of its shape and of as many rows.
        """
        if y.keys() != self.heads.keys():
            expected = ", ".join(self.heads)
            raise ValueError(f"expected targets of {expected}, got those of {', '.join(y)}")
        parts = [
            head.targets(name, _arrays.real(name, y[name])) for name, head in self.heads.items()
        ]
        if len({len(part) for part in parts}) != 1:
            found = ", ".join(f"{len(part)} of {name}" for name, part in zip(y, parts, strict=True))
            raise ValueError(f"expected targets of as many rows for each head, got {found}")
        return np.hstack(parts)

    def outputs(self, h: Array) -> dict[str, Array]:
        """Of outputs (n, units) those of each head: probabilities where its loss is of logits."""
        if h.ndim != 2 or h.shape[1] != self.units:
            raise ValueError(f"expected outputs (n, {self.units}), got {h.shape}")
        return {
            name: head.loss.for_metrics(h[:, head.columns])
            if head.loss.name.endswith(LOGITS)
            else h[:, head.columns]
            for name, head in self.heads.items()
        }

    def __call__(self, *, y_true: Array, y_pred: Array) -> tuple[float, Array]:
        """The sum of the heads' mean losses, each times its weight, and its gradient."""
        if y_true.ndim != 2:
            raise ValueError(f"expected targets as Heads.targets gives them, got {y_true.shape}")
        total, gradient = 0.0, np.empty_like(y_pred)
        for head in self.heads.values():
            loss, gradient[:, head.columns] = head.judged(
                y_true[:, head.columns], y_pred[:, head.columns]
            )
            total += loss
        return total, gradient


def of_identity(name: str, wanted: str | Loss | Function) -> Loss:
    """The loss, of logits where it else needs an activation. Raises ValueError for other ones."""
    loss = losses.get(wanted)
    if loss.output not in (None, "identity") and loss.name + LOGITS in WITH_NUMBERS:
        loss = WITH_NUMBERS[loss.name + LOGITS](loss.numbers)
    if loss.output not in (None, "identity") or loss.per_target > 1 or loss.function is not None:
        expected = f"a loss of one identity output a target in {name}"
        raise ValueError(f"expected {expected}, got {loss.name}")
    return loss
