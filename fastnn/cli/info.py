"""`fastnn info`."""

from __future__ import annotations

import argparse

from .. import engine
from .terminal import Screen


def info(chosen: argparse.Namespace, out: Screen) -> None:
    """What runs here."""
    engine.show_config()
