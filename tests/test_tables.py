"""Tables of text: what is read, what is guessed, and what is refused in one line."""

from __future__ import annotations

import gzip
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra import numpy as hnp

from fastnn import datasets

same = partial(np.testing.assert_array_equal, strict=True)


# --------------------------------------------------------------------------------------------- CSV


def csv_text(array, delimiter=","):
    return "".join(delimiter.join(map(str, row)) + "\n" for row in array.tolist())


PIXELS = np.array([[7, 0, 255], [2, 128, 1]])


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("bom", ["", "\ufeff"])
@pytest.mark.parametrize(
    "head", ["", "label,a,b\n", '"label","a,b","c"\n', "label,0,1\n", ",0,1\n"]
)
def test_csv_of_pixels(write, packed, end, bom, head):
    data = (bom + head + csv_text(PIXELS)).replace("\n", end).encode()
    x, y = datasets.read_csv(write("p.csv", gzip.compress(data) if packed else data))
    same(x, PIXELS[:, 1:].astype(np.uint8))
    same(y, PIXELS[:, 0].astype(np.int64))


def test_csv_label_column(write):
    path = write("p.csv", csv_text(PIXELS))
    x, y = datasets.read_csv(path, label="last")
    same(x, PIXELS[:, :-1].astype(np.uint8))
    same(y, PIXELS[:, -1].astype(np.int64))
    x, y = datasets.read_csv(path, label=None)
    same(x, PIXELS.astype(np.uint8))
    assert y is None
    for wrong, text in (
        ("frist", "did you mean 'first'"),
        ("middle", "unknown label column 'middle'"),
    ):
        with pytest.raises(ValueError, match=text):
            datasets.read_csv(path, label=wrong)


def test_csv_header_is_found_or_told(write, refusal):
    numbers, named = "0,1,2\n3,4,5\n", "a,b,class\n3,4,5\n"
    read = datasets.read_csv
    assert len(read(write("n", numbers))[0]) == 2
    assert len(read(write("n", numbers), header=True)[0]) == 1
    assert len(read(write("n", numbers), header=False)[0]) == 2
    assert len(read(write("h", named), label="last")[0]) == 1
    assert len(read(write("h", named), label=None)[0]) == 1
    assert len(read(write("h", named), label=None, header=True)[0]) == 1
    assert "line 1: expected a number in column 1, got 'a'" in refusal(
        read, write("h", named), header=False
    )
    assert read(write("last", "0,1,class\n3,4,5\n"), label="last")[1].tolist() == [5]
    with pytest.raises(ValueError, match="unknown header 'no'"):
        read(write("h", named), header="no")


def test_csv_typing_error_in_the_first_row_is_no_header(write, refusal):
    path = write("o.csv", "5,0,O,0\n1,2,3,4\n")
    assert "o.csv, line 1: expected a number in column 3, got 'O'" in refusal(
        datasets.read_csv, path
    )
    assert "line 1: expected a number" in refusal(datasets.read_csv, path, label=None)


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        ("0,255", np.uint8),
        ("0,256", np.float64),
        ("-1,3", np.float64),
        ("0.0,1.0", np.float64),
        ("+3, 4", np.uint8),
        ('"3","4"', np.uint8),
        ("1e2,2", np.float64),
        ("nan,inf", np.float64),
        ("99999999999999999999,1", np.float64),
    ],
)
def test_csv_dtype_follows_the_values(write, values, dtype):
    x, y = datasets.read_csv(write("v.csv", f"1,{values}\n"))
    same(x, np.array([[float(v.strip('"')) for v in values.split(",")]]).astype(dtype))
    same(y, np.array([1]))


def test_csv_is_the_same_however_many_lines(write, monkeypatch):
    rng = np.random.default_rng(0)
    table = rng.integers(0, 256, (2500, 5))
    x, y = datasets.read_csv(write("long.csv", csv_text(table)))
    same(x, table[:, 1:].astype(np.uint8))
    same(y, table[:, 0])
    mixed = csv_text(table) + "300,0.25,-1,3,4\n"  # after two blocks of bytes
    x, y = datasets.read_csv(write("mixed.csv", mixed))
    same(x, np.concatenate([table[:, 1:], [[0.25, -1, 3, 4]]]))
    same(y, np.append(table[:, 0], 300))


@given(rows=hnp.arrays(np.float64, hnp.array_shapes(min_dims=2, max_dims=2)))
@settings(max_examples=100, deadline=None)
def test_csv_keeps_every_bit_of_a_float(scratch, rows):
    rows = rows + 0.0  # no negative zero: "0.0" and "-0.0" are told apart below
    scratch.write_text("\n".join(",".join(map(repr, row)) for row in rows.tolist()))
    x, _ = datasets.read_csv(scratch, label=None)
    assert np.array_equal(x, rows, equal_nan=True)
    assert x.dtype == np.float64


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected rows of numbers, got an empty file"),
        ("\n\n  \n", "expected rows of numbers, got an empty file"),
        ("label,a\n", "expected rows of numbers, got only a header"),
        ("1,2,3\n4,5\n", "bad.csv, line 2: expected 3 values, got 2"),
        ("1,2,3\n\n4,5,6,7\n", "bad.csv, line 3: expected 3 values, got 4"),
        ("l,a,b\n1,2,3\n4,5,six\n", "bad.csv, line 3: expected a number in column 3, got 'six'"),
        ("1,2,3\n4,,6\n", "line 2: expected a number in column 2, got ''"),
        ("1,2,3,\n", "line 1: expected a number in column 4, got ''"),
        ("1;2;3\n4;5;6\n7;8;9\n", "line 2: expected a number in column 1, got '4;5;6'"),
        ("1,2\n3,1_0\n", "line 2: expected a number in column 2, got '1_0'"),
        ("1,2\n2.5,3\n", "line 2: expected a whole number as label, got 2.5"),
        ("1,0.5\nnan,3\n", "line 2: expected a whole number as label, got nan"),
        ("1,0.5\n1e300,3\n", "line 2: expected a whole number as label, got 1e+300"),
        ("1\n2\n", "expected a label and at least 1 feature, got 1 column"),
        ('1,"2\n3",4\n', "lines 1 to 2: expected plain numbers, got quoted or odd ones"),
        ("1,2\n3,4 # remark\n", "line 2: expected a number in column 2, got '4 # remark'"),
        ("x" * 3000 + ",1\n1,2\n3,\n", "line 3: expected a number in column 2"),
        ("1,2\n" * 3000 + "1,2,3\n", "line 3001: expected 2 values, got 3"),
        ("1,2\n" * 1024 + "1,2,3\n" * 5, "line 1025: expected 2 values, got 3"),
        (b"1,2\n\xff\xfe,3\n", "expected text in UTF-8"),
        (b"\x89PNG\r\n\x1a\n\0\0", "expected text in UTF-8"),
    ],
)
def test_csv_names_the_line_that_is_wrong(write, text, message, refusal):
    assert message in refusal(datasets.read_csv, write("bad.csv", text))
