"""What all tests share: every engine that this machine runs."""

import pytest

from fastnn import engine

COMPILED = [name for name in engine.available() if name != "reference"]


@pytest.fixture(params=engine.available())
def engine_name(request):
    """The name of each engine in turn."""
    return request.param


@pytest.fixture(params=COMPILED, scope="session")
def compiled(request):
    """Each compiled engine in turn, as a module."""
    return engine.get(request.param)
