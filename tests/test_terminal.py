"""Pictures in text: what a reader sees is what the numbers say."""

from __future__ import annotations

import io

import numpy as np
import pytest

from fastnn.cli import terminal
from fastnn.cli.terminal import Screen

BLOCKS = Screen(blocks=True, colours=False, width=80)
ASCII = Screen(blocks=False, colours=False, width=80)
COLOURS = Screen(blocks=True, colours=True, width=80)


@pytest.mark.parametrize(
    ("fraction", "blocks", "plain"),
    [
        (0.0, "    ", "    "),
        (0.01, "    ", "    "),
        (1 / 32, "▏   ", "    "),
        (0.5, "██  ", "##  "),
        (0.625, "██▌ ", "##  "),
        (1.0, "████", "####"),
        (2.0, "████", "####"),
        (-1.0, "    ", "    "),
    ],
)
def test_a_bar_is_as_long_as_the_number(fraction: float, blocks: str, plain: str) -> None:
    assert BLOCKS.bar(fraction, 4) == blocks
    assert ASCII.bar(fraction, 4) == plain


def test_a_strip_is_as_high_as_the_numbers() -> None:
    heights = np.arange(9) / 8
    assert BLOCKS.strip(heights) == " ▁▂▃▄▅▆▇█"
    assert BLOCKS.strip(np.array([-1.0, 1e-9, 9.0])) == " ▁█"
    assert ASCII.strip(np.arange(8) / 7) == " _.-=*#@"


def test_columns_stand_on_each_other() -> None:
    assert BLOCKS.columns(np.array([0.0, 0.5, 0.75, 1.0]), 2) == ["    ▄ █", "  █ █ █"]


def test_a_picture_shows_ink() -> None:
    pixels = np.zeros((28, 28))
    pixels[10, 3:9] = 255  # the upper half of line 5
    pixels[17, 20] = 255  # the lower half of line 8
    pixels[2:4, 5] = 255  # all of line 1
    lines = BLOCKS.picture(pixels)
    assert len(lines) == 14
    expected = [" " * 28] * 14
    expected[5] = "   ▀▀▀▀▀▀".ljust(28)
    expected[8] = (" " * 20 + "▄").ljust(28)
    expected[1] = "     █".ljust(28)
    assert lines == expected
    assert ASCII.picture(pixels)[1] == "     @".ljust(28)
    assert "".join(ASCII.picture(pixels)).isascii()


def test_a_picture_in_colours_has_both_pixels_of_a_line() -> None:
    pixels = np.zeros((8, 8))
    pixels[0, 0] = 1.0
    first = COLOURS.picture(pixels, 8)[0]
    assert first.startswith("\x1b[38;5;255;48;5;232m▀\x1b[38;5;232;48;5;232m▀")
    assert first.endswith("\x1b[0m")
    assert terminal.shown_width(first) == 8


@pytest.mark.parametrize(("size", "side"), [(8, 32), (9, 27), (28, 28), (33, 17), (64, 32)])
def test_pictures_of_any_size_fit(size: int, side: int) -> None:
    pixels = np.ones((size, size))
    lines = BLOCKS.picture(pixels)
    assert {len(line) for line in lines} == {side}
    assert len(lines) == -(-side // 2)
    assert lines[0].startswith("█" * (side - 1))


def test_shrinking_is_the_mean_of_squares() -> None:
    pixels = np.arange(16.0).reshape(4, 4)
    np.testing.assert_array_equal(terminal._resized(pixels, 2), [[2.5, 4.5], [10.5, 12.5]])
    np.testing.assert_array_equal(terminal._resized(pixels[:3, :3], 2), [[2.5, 2], [4.25, 2.5]])


def test_beside_and_table_ignore_colour_codes() -> None:
    left = [COLOURS.bold("ab"), "c"]
    assert terminal.beside(left, ["x", "y", "z"]) == ["\x1b[1mab\x1b[0m  x", "c   y", "    z"]
    assert terminal.table([["a", COLOURS.red("1")], ["", "10"]]) == [
        "a   \x1b[31m1\x1b[0m",
        "   10",
    ]


def test_a_layer_of_many_neurons_is_a_strip_of_few_lines() -> None:
    h = np.zeros(5000)
    h[4999] = 2.5
    head, note, *strips = terminal.layer(BLOCKS, "layer 1", h, "relu")
    assert "5000 relu neurons" in head
    assert "1 fire" in head
    assert "number 4999" in head
    assert "the largest of 10 neighbours" in note
    assert len(strips) == 8
    assert strips[-1].strip(" │") == "█"
    assert {len(strip) for strip in strips} == {68}


def test_a_layer_of_few_neurons_is_columns() -> None:
    lines = terminal.layer(BLOCKS, "layer 1", np.array([-1.0, 0.0, 1.0]), "tanh")
    assert lines[1:] == ["      █", "      █", "    █ █", "    █ █"]
    lines = terminal.layer(BLOCKS, "layer 1", np.zeros(3), "relu")
    assert [line.strip() for line in lines[1:]] == [""] * 4


def test_of_many_outputs_the_largest_are_shown() -> None:
    h = np.full(100, 1e-3)
    h[[7, 93]] = 0.2, 0.7
    lines = terminal.outputs(BLOCKS, h, True, list(map(str, range(100))))
    assert len(lines) == 12
    assert [line.split()[0] for line in lines if "█" in line] == ["7", "93"]
    assert lines[-1].endswith("70.00 %")
    assert terminal.outputs(BLOCKS, np.array([-2.0, 2.0]), False, ["0", "1"])[0].split() == [
        "0",
        "-2",
    ]


def test_confusions_are_counted() -> None:
    truth, said = np.array([0, 0, 0, 1, 2]), np.array([0, 0, 2, 1, 2])
    _, head, *rows = terminal.confusions(BLOCKS, truth, said, list("0123"))
    assert head.split() == ["0", "1", "2", "3", "right"]
    assert [row.split() for row in rows] == [
        ["0", "2", "·", "1", "·", "66.67", "%"],
        ["1", "·", "1", "·", "·", "100.00", "%"],
        ["2", "·", "·", "1", "·", "100.00", "%"],
        ["3", "·", "·", "·", "0"],
    ]
    many = terminal.confusions(BLOCKS, truth, said, list(map(str, range(40))))
    assert many == ["the most frequent mistakes", "     1 times 0 was taken for 2"]
    assert terminal.confusions(BLOCKS, truth, truth, list(map(str, range(40)))) == []


@pytest.mark.parametrize(
    ("encoding", "blocks"),
    [("utf-8", True), ("ascii", False), ("latin-1", False), ("cp437", False)],
)
def test_what_a_file_can_show(encoding: str, blocks: bool) -> None:
    out = terminal.screen(io.TextIOWrapper(io.BytesIO(), encoding=encoding))
    assert out == Screen(blocks, False, 80)


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def test_what_a_terminal_can_show(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "90")
    assert terminal.screen(Terminal()) == Screen(True, True, 90)
    monkeypatch.setenv("COLUMNS", "300")
    assert terminal.screen(Terminal()).width == 100
    monkeypatch.setenv("NO_COLOR", "1")
    assert not terminal.screen(Terminal()).colours
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("TERM", "dumb")
    assert not terminal.screen(Terminal()).colours


class Writer:
    """As much of a stream as print needs."""

    def write(self, text: str) -> int:
        return len(text)


def test_streams_that_offer_little_are_plain_text(monkeypatch: pytest.MonkeyPatch) -> None:
    closed = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    closed.close()
    assert terminal.screen(Writer()) == Screen(False, False, 80)  # type: ignore[arg-type]
    assert terminal.screen(closed) == Screen(True, False, 80)
    for stream in (None, closed, Writer()):
        monkeypatch.setattr("sys.stderr", stream)
        terminal.complain("no error from this")


@pytest.mark.parametrize(
    ("columns", "width"), [(0, 80), (1, 60), (20, 60), (80, 80), (100, 100), (1000, 100)]
)
def test_widths_of_terminals(columns: int, width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", str(columns))
    assert terminal.screen(Terminal()).width == width


def test_long_names_are_cut_and_tables_fit() -> None:
    assert terminal.cut("versicolor", 10) == "versicolor"
    assert terminal.cut("versicolor", 5) == "vers…"
    names = ["a name that is much longer than a column", *(f"name number {k}" for k in range(11))]
    for width, classes in ((60, 8), (80, 12), (100, 12)):
        out, truth = Screen(blocks=True, colours=False, width=width), np.arange(classes)
        lines = terminal.confusions(out, truth, truth, names[:classes])
        assert max(map(len, lines)) <= width
        assert lines[2].strip().startswith("a name th")
    assert terminal.outputs(BLOCKS, np.ones(2), False, ["x" * 30, "y"])[0].startswith(
        "x" * 19 + "… "
    )


def test_a_mistake_in_a_picture_of_long_names() -> None:
    x, names = np.ones((1, 64)), ["trousers", "ankle boot"]
    args = (x, np.array([0]), np.array([1]), np.array([[0.1, 0.9]]), np.array([0]), names)
    lines = [line.strip() for line in terminal.mistakes(BLOCKS, *args)]
    assert lines[-3:] == ["row 0", "is trousers", "says ankle bo…"]
