"""Training in a thread of its own, which can be watched, paused, slowed and stopped."""

from __future__ import annotations

import base64
import threading
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._errors import DivergenceError, reason
from ..callbacks import Callback
from ..layers import Dense
from ..network import Network
from ..optimizers import OPTIMIZERS

Array = NDArray[Any]

LOOKS = 8  # an epoch: how often figures are taken
LOOK_SECONDS = 0.08  # from one look to the next at least, when somebody watches
SAMPLE = 1000  # rows to learn from of which figures are taken
TILES = 24  # neurons of the first layer whose weights are shown


@dataclass(frozen=True)
class Rows:
    """Rows to learn from and rows that are held out, as the network reads them."""

    x: Array
    y: Array
    x_test: Array
    y_test: Array


class StopTrainingError(Exception):
    """Somebody pressed stop."""


class Training(Callback):
    """One training: what it brought so far, and the knobs.

    state: "running", "paused", "done", "stopped" or "failed".
    """

    def __init__(self, network: Network, rows: Rows, asked: dict[str, Any]) -> None:
        self.network, self.rows = network, rows
        self.optimizer, self.first_rate = str(asked["optimizer"]), float(asked["rate"])
        self.rate, self.slow = self.first_rate, bool(asked["slow"])
        self.epochs, self.batch_size = int(asked["epochs"]), int(asked["batch"])
        self.points: list[dict[str, float]] = []
        self.state, self.error = "running", ""
        self.going = threading.Event()
        self.going.set()
        self.wanted = True
        self.latest = time.monotonic()
        steps = -(-len(rows.y) // self.batch_size)
        self.every, self.steps = max(1, steps // LOOKS), steps
        self.sample = np.linspace(0, len(rows.y) - 1, min(SAMPLE, len(rows.y))).astype(int)
        self.thread = threading.Thread(target=self.fit, daemon=True)

    def fit(self) -> None:
        """Train to the end, or until somebody stops it."""
        kind = OPTIMIZERS[self.optimizer]
        try:
            self.network.fit(
                self.rows.x,
                self.rows.y,
                epochs=self.epochs,
                batch_size=self.batch_size,
                optimizer=kind(self.first_rate),
                callbacks=[self],
                verbose=0,
            )
            self.state = "done"
        except StopTrainingError:
            self.state = "stopped"
        except (DivergenceError, ValueError, TypeError, MemoryError) as error:
            self.state, self.error = "failed", reason(error)

    def on_train_begin(self, logs: dict[str, float]) -> object:
        """The figures before the first step."""
        if self.network.trained.steps or not self.network.standardize:
            self.look(0.0)
        return None

    def on_train_end(self, logs: dict[str, float]) -> object:
        """The figures after the last step."""
        if self.points[-1]["epoch"] != self.epochs:
            self.look(float(self.epochs))
        return None

    def on_train_batch_end(self, batch: int, logs: dict[str, float]) -> object:
        """Take figures, turn the knobs, wait if that is wanted."""
        self.look(len(self.run.history.history.get("loss", ())) + batch / self.steps)
        if self.slow and self.wanted:
            time.sleep(max(0.0, self.latest + LOOK_SECONDS - time.monotonic()))
        self.latest = time.monotonic()
        self.going.wait()
        if not self.wanted:
            raise StopTrainingError
        self.run.rate_factor = self.rate / self.first_rate
        return None

    def look(self, epoch: float) -> None:
        """The figures of a sample and of the rows held out, at the weights as they are."""
        rows = self.rows
        learned = self.network.evaluate(rows.x[self.sample], rows.y[self.sample])
        tested = self.network.evaluate(rows.x_test, rows.y_test)
        point = {"epoch": epoch, "rate": self.rate, **learned}
        self.points.append(point | {f"val_{name}": value for name, value in tested.items()})

    def control(self, asked: dict[str, Any]) -> None:
        """Pause, go on, stop; another rate."""
        if "rate" in asked:
            self.rate = checked_rate(asked["rate"])
        if "slow" in asked:
            self.slow = bool(asked["slow"])
        if "paused" in asked and self.thread.is_alive():
            self.state = "paused" if asked["paused"] else "running"
            (self.going.clear if asked["paused"] else self.going.set)()
        if asked.get("stop"):
            self.stop()

    def stop(self) -> None:
        """End it soon."""
        self.wanted = False
        self.going.set()

    def progress(self, since: int) -> dict[str, Any]:
        """What is new."""
        return {
            "state": self.state,
            "error": self.error,
            "epochs": self.epochs,
            "points": self.points[since:],
            "rate": self.rate,
            "tiles": tiles(self.network),
        }


def tiles(network: Network) -> dict[str, Any]:
    """The weights of some of the first layer's neurons, as bytes: -127 to 127 times a scale."""
    first = next(layer for layer in network.layers if isinstance(layer, Dense))
    weights = np.nan_to_num(first.weights[:, :TILES].T.astype(np.float64))  # while it diverges
    largest = float(np.abs(weights).max()) or 1.0
    small = np.rint(weights * (127 / largest)).astype(np.int8)
    text = base64.b64encode(small.tobytes()).decode()
    return {"count": len(weights), "scale": largest / 127, "bytes": text}


def checked_rate(rate: Any) -> float:
    """A learning rate. Raises ValueError unless it is a number from 1e-6 to 100."""
    if isinstance(rate, bool) or not isinstance(rate, int | float) or not 1e-6 <= rate <= 100:
        raise ValueError(f"expected a rate from 0.000001 to 100, got {reason(ValueError(rate))}")
    return float(rate)
