"""What a person sees of a training: on terminals of any width, and on any stream."""

import fcntl
import io
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import threading
import types
import warnings

import numpy as np
import pytest

import fastnn
from fastnn import _progress
from fastnn._progress import fitted

WIDTHS = [0, 1, 20, 40, 80, 100, 200]
FIGURES = (
    r"epoch 2/2: loss \d\.\d{4}, accuracy \d\.\d{4}, val_loss \d\.\d{4}, val_accuracy \d\.\d{4}, "
    r"[\d,]+ samples/s"
)


def fit(**options):
    x, y = np.eye(4), np.arange(4) % 2
    net = fastnn.mlp([4, 2], engine="reference")
    return net.fit(x, y, epochs=2, validation_data=(x, y), **options)


class Terminal(io.StringIO):
    def isatty(self):
        return True


def on_a_terminal(columns, call):
    """What the call writes to a pseudo-terminal of so many columns."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    parts = []

    def read():
        while True:
            try:
                part = os.read(ours, 4096)
            except OSError:  # the other end is closed
                return
            parts.append(part)

    reader = threading.Thread(target=read)
    reader.start()
    with pytest.MonkeyPatch.context() as patch, open(theirs, "w", encoding="utf-8") as stream:
        patch.setattr("sys.stderr", stream)
        call()
    reader.join()
    os.close(ours)
    return b"".join(parts).decode()


@pytest.mark.parametrize("columns", WIDTHS)
def test_a_terminal_of_any_width(columns, monkeypatch):
    monkeypatch.setattr(_progress, "PAUSE", 0)
    text = on_a_terminal(columns, fit)
    epochs = text.split("\r\n")
    assert len(epochs) == 3
    assert epochs[2] == ""
    assert re.fullmatch(FIGURES, epochs[1].split("\r")[-1])  # whole; a narrow terminal wraps it
    for moving in (picture for epoch in epochs for picture in epoch.split("\r")[:-1]):
        assert len(moving) < (columns or 80)
    pictures = [picture for picture in epochs[1].split("\r")[:-1] if picture.strip()]
    assert len(pictures) == (columns != 1)
    for picture in pictures:
        assert picture.startswith("epoch 2/2 100%")
        assert ("|█████" in picture) == (columns in (0, 80, 100, 200))
        assert ("loss" in picture) == (columns != 20)
        assert not picture.rstrip().endswith(",")


def test_nothing_of_a_picture_stays(monkeypatch):
    monkeypatch.setattr("sys.stderr", Terminal())
    monkeypatch.setattr(_progress, "PAUSE", 0)
    with _progress.progress("a long title", 2, _progress.Unit("rows")) as bar:
        bar.advance(1, "a long text, and more")
        bar.advance(1, "short")
        first, second = sys.stderr.getvalue().split("\r")[1:]
        assert len(second) == len(first)
        bar.finish("end")
    *_, third, end = sys.stderr.getvalue().split("\r")
    assert third == " " * len(second.rstrip())
    assert re.fullmatch(r"a long title: end, [\d,]+ rows/s\n", end)


def test_a_bar_is_drawn_now_and_then(monkeypatch):
    monkeypatch.setattr("sys.stderr", Terminal())
    monkeypatch.setattr(_progress, "PAUSE", 1000)
    with _progress.progress("title", 100, _progress.Unit("rows")) as bar:
        for _ in range(99):
            bar.advance(1, "")
        assert sys.stderr.getvalue().count("\r") == 1
        bar.advance(1, "")
        assert "100%" in sys.stderr.getvalue()
    assert sys.stderr.getvalue().endswith("rows/s\n")  # left in motion: the next line is free


@pytest.mark.parametrize("width", range(-1, 70))
def test_lines_fit(width, monkeypatch):
    """The bar shrinks and goes, then parts of the text from the last one on, then the title."""
    monkeypatch.setattr(_progress, "mark", lambda: "#")
    for share, head in ((None, "epoch 1/10"), (0, "epoch 1/10   0%"), (1, "epoch 1/10 100%")):
        line = fitted("epoch 1/10", share, "loss 0.1234, accuracy 0.9876", width)
        assert len(line) <= max(0, width)
        if width < len(head):
            assert line == head[: max(0, width)].rstrip()
        else:
            rest = line.removeprefix(head)
            bar = r"( \|[# ]{5,20}\|)?"
            assert re.fullmatch(rf"{bar}( loss 0\.1234(, accuracy 0\.9876)?)?", rest)
            assert ("accuracy" in line) == (width >= len(head) + 29)
            assert ("|" in line) == (share is not None and width >= len(head) + 37)


# Streams.


class Writes:
    """All that an object needs."""

    def __init__(self):
        self.text = ""

    def write(self, text):
        self.text += text


class Breaks(Writes):
    """A pipe that nobody reads, a full disk."""

    def __init__(self, terminal):
        self.isatty = lambda: terminal

    def write(self, text):
        raise BrokenPipeError


class Ascii(io.TextIOWrapper):
    """A terminal that can show little."""

    def isatty(self):
        return True


def closed():
    stream = io.StringIO()
    stream.close()
    return stream


SILENT = {
    "None": lambda: None,
    "closed": closed,
    "nothing": object,
    "breaks": lambda: Breaks(False),
    "a terminal that breaks": lambda: Breaks(True),
    "bytes": io.BytesIO,
}


@pytest.mark.parametrize("stream", SILENT)
def test_where_nothing_can_be_shown_training_goes_on(monkeypatch, stream):
    monkeypatch.setattr("sys.stderr", SILENT[stream]())
    assert len(fit().history["loss"]) == 2


def test_an_object_that_writes(monkeypatch):
    monkeypatch.setattr("sys.stderr", Writes())
    fit()
    assert re.fullmatch(FIGURES, sys.stderr.text.splitlines()[1])


def test_a_terminal_of_ascii(monkeypatch):
    memory = io.BytesIO()
    monkeypatch.setattr("sys.stderr", Ascii(memory, encoding="ascii"))
    fit()
    assert b"100% |#####" in memory.getvalue()


def test_a_closed_descriptor():
    """`2>&-`: nothing of it lands in another file."""
    script = f"import sys; sys.path[:] = {sys.path}; import numpy as np, fastnn\n" + (
        "fastnn.mlp([2, 2], engine='reference').fit(np.eye(2), [0, 1], epochs=2); print('done')"
    )
    command = f'"{sys.executable}" -c "$SCRIPT" 2>&-'
    found = subprocess.run(
        ["sh", "-c", command], env={**os.environ, "SCRIPT": script}, capture_output=True, text=True
    )
    assert (found.stdout, found.returncode) == ("done\n", 0)


# Notebooks.


@pytest.fixture
def notebook(monkeypatch):
    """As in a notebook's kernel, as far as tqdm looks at it."""
    kernel = types.ModuleType("IPython")
    shell = type("ZMQInteractiveShell", (), {"config": {"IPKernelApp": {}}})()
    kernel.get_ipython = lambda: shell
    for name in ("IPython", "ipykernel", "ipykernel.zmqshell"):
        monkeypatch.setitem(sys.modules, name, kernel)
    for name in ("tqdm.auto", "tqdm.autonotebook"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    yield
    for name in ("tqdm.auto", "tqdm.autonotebook"):
        sys.modules.pop(name, None)


def test_a_notebook_without_widgets_gets_lines_and_no_warning(notebook, monkeypatch):
    monkeypatch.setattr("sys.stderr", io.StringIO())
    monkeypatch.setitem(sys.modules, "tqdm.notebook", types.ModuleType("tqdm.notebook"))
    sys.modules["tqdm.notebook"].IProgress = None
    sys.modules["tqdm.notebook"].WARN_NOIPYW = "widgets are missing"
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        fit()
    assert heard == []
    assert re.fullmatch(FIGURES, sys.stderr.getvalue().splitlines()[1])


def test_a_notebook_with_widgets_gets_its_own_bar(notebook, monkeypatch):
    from tqdm.std import tqdm

    bars = []

    class NotebookBar(tqdm):
        def __init__(self, *arguments, **options):
            super().__init__(*arguments, **options, file=io.StringIO())
            bars.append(self)

    NotebookBar.__module__ = "tqdm.notebook"
    module = types.ModuleType("tqdm.notebook")
    module.IProgress, module.WARN_NOIPYW = object, ""
    module.tqdm, module.trange = NotebookBar, None
    monkeypatch.setitem(sys.modules, "tqdm.notebook", module)
    monkeypatch.setattr("sys.stderr", io.StringIO())
    fit()
    assert sys.stderr.getvalue() == ""
    assert [(bar.desc, bar.n, bar.total) for bar in bars] == [
        ("epoch 1/2", 4, 4),
        ("epoch 2/2", 4, 4),
    ]
    assert re.search(r"4/4 .* samples/s, loss .*, val_accuracy \d\.\d{4}\]", str(bars[1]))
