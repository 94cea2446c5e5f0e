"""What all tests share: every engine that this machine runs, and files of data."""

import contextlib
import functools
import http.client
import json
import re
import signal
import subprocess
import sys

import pytest

import fastnn
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


class Server:
    """A `fastnn play` in a process of its own."""

    def __init__(self, folder, *arguments):
        command = [sys.executable, "-m", "fastnn", "play", *map(str, arguments)]
        self.process = subprocess.Popen(
            command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        said = ""
        while "http" not in said and self.process.poll() is None:
            said = self.process.stdout.readline()
        assert "http" in said, said
        self.address = re.search(r"http://\S+", said)[0]
        self.port = int(re.search(r":(\d+)/", said)[1])
        self.token = said.strip().rpartition("=")[2].removesuffix("\x1b[0m")
        self.cookie = f"fastnn-{self.port}={self.token}"

    def ask(self, path, body=None, method=None, **headers):
        """The status, the headers and the body of an answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        known = {"cookie": self.cookie} | {k.replace("_", "-"): v for k, v in headers.items()}
        method = method or ("GET" if body is None else "POST")
        sent = {name: value for name, value in known.items() if value is not None}
        with contextlib.closing(connection):
            connection.request(method, path, body, sent)
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()

    def json(self, path, body=None):
        """A good answer."""
        status, _, content = self.ask(path, None if body is None else json.dumps(body))
        assert status == 200, content
        return json.loads(content)

    def end(self):
        """Ctrl-C; how it ended."""
        self.process.send_signal(signal.SIGINT)
        code = self.process.wait(20)
        self.process.stdout.close()
        return code


@pytest.fixture(scope="session")
def play(tmp_path_factory):
    """Starts a `fastnn play` with these arguments; all are ended in the end."""
    started = []

    def start(*arguments):
        started.append(Server(tmp_path_factory.mktemp("play"), *arguments))
        return started[-1]

    yield start
    for server in started:
        if server.process.poll() is None:
            server.end()


@pytest.fixture(scope="session")
def small_model(tmp_path_factory):
    """The file of a small network that has seen the digits twice."""
    (x, y), _ = fastnn.datasets.load_digits()
    net = fastnn.mlp([784, 16, 12, 10], "sigmoid", input_scale=1 / 255)
    net.fit(x, y, epochs=2, optimizer=fastnn.Adam(0.01), verbose=0)
    net.classes, net.trained_on = tuple(range(10)), "the shipped digits"
    path = tmp_path_factory.mktemp("model") / "small.fastnn"
    net.save(path)
    return path
