"""Fixtures of the benchmarks: every engine that this machine runs, and fixed random numbers."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest

from fastnn import engine

COMPILED = [name for name in engine.available() if name != "reference"]


@pytest.fixture(params=engine.available())
def engine_name(request: pytest.FixtureRequest) -> str:
    """Each engine in turn, the NumPy reference too."""
    name: str = request.param
    return name


@pytest.fixture(params=COMPILED)
def build(request: pytest.FixtureRequest) -> Any:
    """Gives the module of each compiled engine in turn, by dtype."""
    return functools.partial(engine.get, request.param)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)
