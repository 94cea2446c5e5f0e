"""What all tests share: every engine that this machine runs, and files of data."""

import functools

import pytest

from fastnn import FormatError, engine

COMPILED = [name for name in engine.available() if name != "reference"]


@pytest.fixture(params=engine.available())
def engine_name(request):
    """The name of each engine in turn."""
    return request.param


@pytest.fixture(params=COMPILED, scope="session")
def compiled(request):
    """Gives the module of each compiled engine in turn, by dtype: float32 if that is not said."""
    return functools.partial(engine.get, request.param)


@pytest.fixture(scope="session")
def refusal():
    """Gives the one-line message of the FormatError that a reader raises."""

    def of(read, *arguments, **options):
        with pytest.raises(FormatError) as caught:
            read(*arguments, **options)
        message = str(caught.value)
        assert message
        assert message.isprintable()
        return message

    return of


@pytest.fixture
def write(tmp_path):
    """Writes bytes or text to a file of that name and returns its path."""

    def to(name, content):
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return to


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    """A path that Hypothesis may write to again and again."""
    return tmp_path_factory.mktemp("scratch") / "file"
