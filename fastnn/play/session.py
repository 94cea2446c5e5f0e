"""What the page looks at: networks, the rows of the data, trainings."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._errors import printable, shown, unknown
from ..activations import ACTIVATIONS
from ..layers import Dense
from ..network import Network
from ..optimizers import OPTIMIZERS
from . import web
from .description import described, has_classes, ranges
from .live import Rows, Training, checked_rate

Array = NDArray[Any]

MOST_LAYERS, MOST_UNITS, MOST_EPOCHS, MOST_BATCH = 6, 1024, 500, 4096
MOST_ROWS = 200  # that one answer has
LOOKED_AT = 5000  # rows over which a neuron is looked at
EXAMPLES = 10  # that excite a neuron most
MOST_EDITS = 10_000
PARTS = ("test", "learn")
SLOTS = ("a", "b")  # networks that are trained in the page
SHOWN = 60  # rows in a page of its own
MNIST = ("the shipped digits", "MNIST")  # of which that is asked:
CREDIT = "pictures: part of MNIST, by LeCun, Cortes and Burges, CC BY-SA 3.0"


@dataclass
class Entry:
    """A network, what it is called, and its training."""

    title: str
    network: Network
    training: Training | None = None


Make = Callable[[list[int], str, int], Network]  # of hidden sizes, an activation and a seed


class Session:
    """Networks by a short name: "model", which was there first, and those trained in the page.

    make: a new network for these rows.
    """

    def __init__(self, name: str, rows: Rows, first: Entry, make: Make) -> None:
        self.name, self.data, self.make = name, rows, make
        self.entries = {"model": first}
        self.lock = threading.Lock()

    def stop(self) -> None:
        """End all trainings."""
        for entry in list(self.entries.values()):
            if entry.training is not None:
                entry.training.stop()

    def entry(self, asked: dict[str, Any]) -> Entry:
        """The network that is asked for. Raises ValueError if there is none of this name."""
        if asked["id"] not in self.entries:
            raise unknown("network", asked["id"], self.entries)
        return self.entries[asked["id"]]

    def part(self, asked: dict[str, Any]) -> tuple[Array, Array]:
        """Rows that are held out, or those to learn from."""
        name = asked.get("part", "test")
        if name not in PARTS:
            raise unknown("part", name, PARTS)
        rows = self.data
        return (rows.x_test, rows.y_test) if name == "test" else (rows.x, rows.y)

    # --------------------------------------------------------------------------------- to look at

    def described(self, asked: dict[str, Any]) -> dict[str, Any]:
        """What there is."""
        rows = self.data
        return {
            "data": printable(self.name),
            "learn": len(rows.y),
            "test": len(rows.y_test),
            "networks": {
                key: {"title": printable(entry.title), "training": entry.training is not None}
                for key, entry in self.entries.items()
            },
            "activations": [name for name in ACTIVATIONS if name != "softmax"],
            "optimizers": {name: kind.PEAK for name, kind in OPTIMIZERS.items()},
            "most": {"layers": MOST_LAYERS, "units": MOST_UNITS, "epochs": MOST_EPOCHS},
        }

    def network(self, asked: dict[str, Any]) -> dict[str, Any]:
        """A network as the page runs it."""
        entry = self.entry(asked)
        found = {"title": printable(entry.title), **described(entry.network)}
        if not found["side"]:
            found["ranges"] = ranges(self.data.x)
        return found

    def file(self, asked: dict[str, Any]) -> web.File:
        """A network as its file."""
        entry = self.entry(asked)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "network.fastnn")
            entry.network.save(path)
            content = path.read_bytes()
        return web.File(f"{file_stem(entry.title)}.fastnn", content, "application/octet-stream")

    def page(self, asked: dict[str, Any]) -> web.File:
        """A network as a page of its own."""
        entry = self.entry(asked)
        content = page(entry.title, entry.network, self.data)
        return web.File(f"{file_stem(entry.title)}.html", content.encode(), "text/html")

    def rows(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Some rows, what they are, and what the network says of them; `wrong`: mistakes alone."""
        network, (x, y) = self.entry(asked).network, self.part(asked)
        first, count = whole(asked, "first", 0, 1 << 31), whole(asked, "count", 1, MOST_ROWS + 1)
        chosen = np.arange(len(y))
        if asked.get("wrong") == "1" and has_classes(network):
            chosen = chosen[network.classify(x) != y]
        some = chosen[first : first + count]
        return {"total": len(chosen), "rows": listed(network, x, y, some)}

    def neuron(self, asked: dict[str, Any]) -> dict[str, Any]:
        """What a hidden neuron does over rows to learn from; what goes without it on the others."""
        from .. import inspection

        network, place = self.edited(asked), layer_of(self.entry(asked).network, asked)
        x, y = self.data.x[:LOOKED_AT], self.data.y[:LOOKED_AT]
        labels = y if has_classes(network) else None
        index = whole(asked, "index", 0, network.layers[place].units or 1)
        found = inspection.neuron(network, place, index, x, labels, top=EXAMPLES)
        assert found.activations is not None
        assert found.examples is not None
        rows, deaf = self.data, network.copy()
        with inspection.lesion(deaf, place, index):
            without = deaf.evaluate(rows.x_test, rows.y_test)
        means = None if found.class_means is None else np.nan_to_num(found.class_means).tolist()
        return {
            "preferred": found.preferred.tolist(),
            "means": means,
            "selectivity": found.selectivity,
            "with": network.evaluate(rows.x_test, rows.y_test),
            "without": without,
            "examples": listed(network, x, y, found.examples),
            "h": found.activations[found.examples].tolist(),
        }

    def dependence(self, asked: dict[str, Any]) -> dict[str, Any]:
        """The mean output over the rows held out, one feature set to each value in turn."""
        from .. import inspection

        network = self.edited(asked)
        feature = whole(asked, "feature", 0, network.inputs)
        found = inspection.partial_dependence(network, self.data.x_test, feature)
        return {"grid": found.grid[0].tolist(), "means": found.means.tolist()}

    def edited(self, asked: dict[str, Any]) -> Network:
        """The network with the weights that were changed in the page, and neurons silenced."""
        network = self.entry(asked).network
        weights, silenced = asked.get("weights", []), asked.get("silenced", [])
        if not weights and not silenced:
            return network
        if not isinstance(weights, list) or not isinstance(silenced, list):
            raise ValueError("expected lists of weights and silenced neurons")
        if len(weights) + len(silenced) > MOST_EDITS:
            raise ValueError(f"expected at most {MOST_EDITS} changes, got more")
        network = network.copy()
        dense = [layer for layer in network.layers if isinstance(layer, Dense)]
        try:
            for layer, i, j, value in weights:
                dense[layer].weights[i, j] = float(value)
            for layer, index in silenced:
                dense[layer + 1].weights[index] = 0
        except (IndexError, TypeError, ValueError):
            raise ValueError("expected changes of weights and neurons that exist") from None
        if not np.isfinite(network.program.parameters).all():
            raise ValueError("expected finite weights, got others")
        return network

    # ----------------------------------------------------------------------------------- to train

    def train(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Begin to train a new network, or go on with one."""
        slot = asked["id"]
        if slot not in SLOTS:
            raise unknown("network", slot, SLOTS)
        wanted = {
            "optimizer": asked.get("optimizer", "adam"),
            "rate": checked_rate(asked.get("rate")),
            "epochs": whole(asked, "epochs", 1, MOST_EPOCHS + 1),
            "batch": whole(asked, "batch", 1, MOST_BATCH + 1),
            "slow": bool(asked.get("slow", True)),
        }
        if wanted["optimizer"] not in OPTIMIZERS:
            raise unknown("optimizer", wanted["optimizer"], OPTIMIZERS)
        with self.lock:
            entry = self.entries.get(slot)
            running = entry is not None and entry.training is not None
            if running and entry and entry.training and entry.training.thread.is_alive():
                raise ValueError("expected a network at rest, got one that is being trained")
            if not asked.get("further") or entry is None:
                entry = self._new(slot, asked)
            entry.training = Training(entry.network, self.data, wanted)
            self.entries[slot] = entry
            entry.training.thread.start()
        return {"title": entry.title}

    def _new(self, slot: str, asked: dict[str, Any]) -> Entry:
        hidden, activation = asked.get("hidden"), asked.get("activation", "relu")
        fine = isinstance(hidden, list) and len(hidden) <= MOST_LAYERS
        if not fine or not all(type(n) is int and 1 <= n <= MOST_UNITS for n in hidden or ()):
            raise ValueError(
                f"expected up to {MOST_LAYERS} layers of 1 to {MOST_UNITS} neurons, "
                f"got {shown(hidden)}"
            )
        if activation not in ACTIVATIONS or activation == "softmax":
            raise unknown("activation", activation, list(ACTIVATIONS))
        network = self.make(hidden or [], activation, whole(asked, "seed", 0, 1 << 31))
        return Entry(title_of(network), network)

    def progress(self, asked: dict[str, Any]) -> dict[str, Any]:
        """How a training goes; what came since so many points."""
        training = self.entry(asked).training
        if training is None:
            raise ValueError("expected a network that is trained here, got one that is not")
        return training.progress(whole(asked, "since", 0, 1 << 31))

    def control(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Pause, go on, stop, or another rate."""
        training = self.entry(asked).training
        if training is None:
            raise ValueError("expected a network that is trained here, got one that is not")
        training.control(asked)
        return {"state": training.state}


def page(title: str, network: Network, rows: Rows | None) -> str:
    """A page of its own for a network; some of the pictures held out go with it."""
    found: dict[str, Any] = {"title": printable(title), **described(network), "rows": []}
    if found["side"] and rows is not None:
        some = np.arange(min(SHOWN, len(rows.y_test)))
        found["rows"] = listed(network, rows.x_test, rows.y_test, some)
        found["credit"] = CREDIT if network.trained_on in MNIST else ""
    if not found["side"]:
        found["ranges"] = scales(network) if rows is None else ranges(rows.x)
    return web.alone(found)


def scales(network: Network) -> dict[str, list[float]]:
    """What is known of a network's columns without rows: some deviations about the mean."""
    center, factor = network.program.center, network.program.factor
    if center is None or factor is None:
        center, factor = np.zeros(network.inputs), np.ones(network.inputs)
    spread = np.divide(2.5, factor, out=np.ones_like(factor), where=factor > 0)
    return ranges(np.stack([center - spread, center, center + spread]))


def listed(network: Network, x: Array, y: Array, chosen: Array) -> list[dict[str, Any]]:
    """Rows as the page has them: x, the label or number y, and what the network says."""
    if len(chosen) == 0:
        return []
    said = network.classify(x[chosen]).tolist() if has_classes(network) else [None] * len(chosen)
    return [
        {"index": int(i), "x": row.ravel().tolist(), "y": target.item(), "said": answer}
        for i, row, target, answer in zip(chosen, x[chosen], y[chosen], said, strict=True)
    ]


def layer_of(network: Network, asked: dict[str, Any]) -> int:
    """The place in `layers` of the dense layer of this number."""
    places = [i for i, layer in enumerate(network.layers) if isinstance(layer, Dense)]
    return places[whole(asked, "layer", 0, len(places))]


def whole(asked: dict[str, Any], name: str, least: int, end: int) -> int:
    """A whole number from `least` to `end` - 1; in the query it is text."""
    value = asked.get(name, least)
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < 12:
        value = int(value)
    if type(value) is not int or not least <= value < end:
        raise ValueError(f"expected {name} from {least} to {end - 1}, got {shown(value)}")
    return value


def title_of(network: Network) -> str:
    """Its sizes: 784-16-16-10."""
    sizes = [network.inputs, *(layer.units for layer in network.layers if layer.units)]
    return "-".join(map(str, sizes))


def file_stem(title: str) -> str:
    """A title as the name of a file."""
    stem = title.removesuffix(".fastnn")
    return "".join(c if c.isascii() and (c.isalnum() or c in "-_.") else "_" for c in stem)[:80]
