"""`fastnn play` and `fastnn page`."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from .. import _atomic
from .._errors import printable
from ..network import Network, load
from .data import Learning, known_data, learning_data
from .terminal import Screen, show
from .train import check_writable, network_of, optimizer_of, plan_of

if TYPE_CHECKING:
    from ..play.live import Rows

FIRST_HIDDEN = [32]  # of the network that is there when none is named
NEEDED = 'fastnn play needs Starlette and uvicorn: pip install "fastnn-cpu[play]"'


def play(chosen: argparse.Namespace, out: Screen) -> None:
    """A page to draw, look inside and train; it lives until Ctrl-C."""
    try:
        from ..play import server
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("fastnn"):
            raise
        raise ImportError(NEEDED) from None
    from ..play.session import Entry, Session, title_of

    model = chosen.model and load(chosen.model, engine=chosen.engine, num_threads=chosen.threads)
    data = known_data(model, chosen) if model else learning_data(chosen)

    def make(hidden: list[int], activation: str, seed: int) -> Network:
        words = {"hidden": hidden, "activation": activation, "seed": seed}
        wanted = argparse.Namespace(**{**vars(chosen), **words})
        return network_of(wanted, plan_of(wanted, data), data)

    if model:
        first = Entry(os.path.basename(chosen.model), model.folded())
    else:
        network = _learned(chosen, data)
        first = Entry(title_of(network), network)
    session = Session(os.path.basename(data.rows.name), _rows(data), first, make)

    def say(address: str) -> None:
        notes = [f"guessed   {note}" for note in data.rows.notes]
        show(out, [*notes, f"open {out.bold(address)}", "Ctrl-C ends it"])

    server.serve(session, chosen.port, say)


def page(chosen: argparse.Namespace, out: Screen) -> None:
    """Write a network as one HTML file, to draw and to look inside."""
    from ..play import session

    path = Path(chosen.out)
    check_writable(path, "OUT")
    network = load(chosen.model, engine=chosen.engine, num_threads=chosen.threads).folded()
    rows = None
    if chosen.data is not None or network.trained_on == "the shipped digits":
        rows = _rows(known_data(network, chosen))
    content = session.page(os.path.basename(chosen.model), network, rows)
    with _atomic.replacing(chosen.out) as file:
        file.write(content.encode())
    show(out, [f"saved {printable(str(path))} ({len(content):,} bytes)"])


def _learned(chosen: argparse.Namespace, data: Learning) -> Network:
    """A network that has learned the data in a second or so."""
    wanted = argparse.Namespace(**{**vars(chosen), "hidden": FIRST_HIDDEN})
    plan = plan_of(wanted, data)
    network = network_of(wanted, plan, data)
    network.fit(
        data.rows.x,
        data.y,
        epochs=plan.epochs,
        batch_size=plan.batch_size,
        optimizer=optimizer_of(wanted, plan),
        verbose=0,
    )
    return network


def _rows(data: Learning) -> Rows:
    from ..play.live import Rows

    x, x_test = (one.reshape(len(one), -1) for one in (data.rows.x, data.x_test))
    return Rows(x, data.y, x_test, data.y_test)
