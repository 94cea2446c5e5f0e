"""`fastnn inspect`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from .._errors import FormatError, printable
from ..drawing import is_picture, square
from ..network import Network, load
from .data import class_names, testing_data
from .predict import has_classes, is_probability, output_names
from .terminal import Screen, beside, layer, outputs, show

Array = NDArray[Any]


def inspect(chosen: argparse.Namespace, out: Screen) -> None:
    """One row's way through a network, layer by layer."""
    network = load(chosen.model, engine=chosen.engine, num_threads=chosen.threads)
    try:
        rows = testing_data(network, chosen, "file")
    except FormatError as error:  # here --index is that of a row
        raise FormatError(str(error).replace("say --index", "leave an index out")) from None
    i, name = chosen.row, printable(rows.name)
    if i >= len(rows.x):
        raise ValueError(f"expected --index below {len(rows.x)}, the rows of {name}, got {i}")
    x = rows.x[i : i + 1]
    saved = [] if chosen.save is None else ["", _save(network, x, Path(chosen.save))]
    first, *hidden, h = [values[0] for values in network.activations(x)]
    truth = rows.y[i].item() if rows.y is not None and rows.y.ndim == 1 else None
    bars = outputs(out, h, is_probability(network), output_names(network))
    decided = [_verdict(out, network, x, h, truth), "", *bars]
    show(out, [f"row {i} of {name}", *(f"guessed: {note}" for note in rows.notes), ""])
    if is_picture(first):
        show(out, beside(out.picture(square(first)), decided, gap=4))
    else:
        show(out, [*decided, "", *layer(out, "input", first, "")])
    for number, (values, shape) in enumerate(zip(hidden, network.layers, strict=False), start=1):
        if shape.units is not None:  # others, dropout, pass on what they get
            show(out, ["", *layer(out, f"layer {number}", values, shape.label)])
    show(out, saved)


def _save(network: Network, x: Array, path: Path) -> str:
    """Pictures of the network lit by x (1, I), and of what speaks for its answer."""
    from .. import plotting
    from ..inspection import attribute

    why = path.with_name(f"{path.stem}-why{path.suffix}")
    picture = plotting.plot_network(network, x).figure_
    picture.savefig(path, dpi=150)
    shares = attribute(network, x)
    plotting.plot_attributions(shares, x, names=network.features).figure_.savefig(why, dpi=150)
    return f"pictures of it: {printable(str(path))}, {printable(str(why))}"


def _verdict(out: Screen, network: Network, x: Array, h: Array, truth: float | None) -> str:
    """What the network makes of one row, and what is true if that is known."""
    if not has_classes(network):
        if network.outputs > 1:
            return "the network says"
        said = f"the network says {out.bold(f'{h[0]:.6g}')}"
        return said if truth is None else f"{said}, and it is {truth:.6g}"
    names, number = class_names(network), int(network.classify(x)[0])
    verdict = f"the network says {out.bold(names[number])}"
    if truth is None:
        return verdict
    if number == truth:
        return f"{verdict}: right"
    known = int(truth) if 0 <= truth < len(names) else None
    return f"{verdict}, {out.red(f'but it is {truth if known is None else names[known]}')}"
