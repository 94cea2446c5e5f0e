"""What messages may quote: one line, short, nothing that a terminal obeys."""

import numpy as np
import pytest

from fastnn import _errors
from fastnn._errors import printable, reason, shown


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("relu", "'relu'"),
        (3, "3"),
        (None, "None"),
        ("\x1b[2J\n", r"'\x1b[2J\n'"),
        (b"\x1b", r"b'\x1b'"),
        ("\u202e\ud800", r"'\u202e\ud800'"),
        (np.zeros((2, 1)), r"array([[0.],\n       [0.]])"),
        (10**10_000, "<int>"),
    ],
    ids=range(8),
)
def test_a_value_is_shown_in_one_line(value, text):
    assert shown(value) == text


@pytest.mark.parametrize(
    "value",
    ["a" * 10**6, "\x00" * 10**6, b"a" * 10**6, ["a"] * 10**6, {"a": "\x1b" * 10**6}],
    ids=range(5),
)
def test_what_is_shown_is_short(value):
    text = shown(value)
    assert len(text) == _errors.SHOWN
    assert text.isprintable()
    assert text.endswith("...")


def test_what_is_nested_too_deeply_to_be_shown():
    value = []
    for _ in range(100_000):
        value = [value]
    assert shown(value) == "<list>"
    while value:  # taken apart one by one
        value = value[0]


def test_text_is_printable():
    assert printable("a folder/net \u00e9 \U0001f600") == "a folder/net \u00e9 \U0001f600"
    assert printable("a\nb\x1b\x7f\x9b\u2028") == r"a\nb\x1b\x7f\x9b\u2028"


def test_names_and_numbers_of_callers_are_shown():
    message = str(_errors.unknown("loss", "\x1b" * 10**6, ["cross_entropy"]))
    assert len(message) < 150
    assert message.isprintable()
    with pytest.raises(TypeError) as caught:
        _errors.count("epochs", "\x1b" * 10**6)
    assert len(str(caught.value)) < 150
    assert str(caught.value).isprintable()
    with pytest.raises(ValueError, match="got <int>"):
        _errors.count("epochs", -(10**10_000))


def test_reason_is_one_short_line():
    assert reason(OSError("two\nlines \x1b[2J")) == r"two lines \x1b[2J"
    assert reason(EOFError()) == "EOFError"
    assert len(reason(ValueError("x" * 10_000))) == 160
