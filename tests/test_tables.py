"""Tables of text: what is read, what is guessed, and what is refused in one line."""

from __future__ import annotations

import gzip
import io
import tracemalloc
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra import numpy as hnp

from fastnn import _cells, datasets

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
    assert "got '0,1,2', which could be either; say --header" in refusal(read, write("n", numbers))
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
        ("1;2;3\n4;5;6\n7;8;9\n", "and at least 1 feature, got 1 column, with '4;5;6' in it"),
        ("1,2\n3,1_0\n", "line 2: expected a number in column 2, got '1_0'"),
        ("1,2\n2.5,3\n", "line 2: expected a whole number as label, got 2.5"),
        ("1,0.5\nnan,3\n", "line 2: expected a whole number as label, got nan"),
        ("1,0.5\n1e300,3\n", "line 2: expected a whole number as label, got 1e+300"),
        ("1\n2\n", "expected a label and at least 1 feature, got 1 column"),
        ('1,"2\n3",4\n', "line 1: expected a number in column 2, got '2\\n3'"),
        ("1,2\n3,4 # remark\n", "line 2: expected a number in column 2, got '4 # remark'"),
        ("x" * 3000 + ",1\n1,2\n3,\n", "line 1: expected a number in column 1, got 'xxx"),
        ("x" * 3000 + ",y\n1,2\n3,\n", "line 3: expected a number in column 2, got ''"),
        ("1,2,\n3,4,0\n", "line 1: expected a number in column 3, got ''; if line 1 is a header"),
        ("1,2\n3,1e999\n", "line 2: expected a number that float64 can hold in column 2"),
        ("1,2\n" * 3000 + "1,-1e999\n", "line 3001: expected a number that float64 can hold"),
        ("1,2\n3,\uff11\uff12\n", "line 2: expected a number in column 2"),
        ("1,2\n3,0x10\n", "line 2: expected a number in column 2, got '0x10'"),
        (",a,b\n0,2,3\n1,2,3\n2,3,4\n", "in column 1, got a count of the rows"),
        ("0,2,3\n1,2,3\n2,3,4\n", "in column 1, got a count of the rows"),
        ("1,2\n" * 3000 + "1,2,3\n", "line 3001: expected 2 values, got 3"),
        ("1,2\n" * 1024 + "1,2,3\n" * 5, "line 1025: expected 2 values, got 3"),
        (b"1,2\n\xff\xfe,3\n", "expected text in UTF-8"),
        (b"\x89PNG\r\n\x1a\n\0\0", "expected text in UTF-8"),
    ],
)
def test_csv_names_the_line_that_is_wrong(write, text, message, refusal):
    assert message in refusal(datasets.read_csv, write("bad.csv", text))


# -------------------------------------------------------------------- tables as pandas writes them

ROWS = [  # four features of iris, four kinds of label
    (5.1, 3.5, 1.4, 0.2, 0, "setosa", True, 151.0),
    (7.0, 3.2, 4.7, 1.4, 1, "versicolor", False, 75.5),
    (6.3, 3.3, 6.0, 2.5, 2, "virginica", False, 141.0),
    (5.0, 3.4, 1.5, 0.2, 0, "setosa", True, 206.0),
]
FEATURES = ("sepal length (cm)", "sepal width (cm)", "petal length (cm)", "petal width (cm)")
X = np.array([row[:4] for row in ROWS])
LABELS = {  # as they are written, and as they are read
    "numbers": np.array([row[4] for row in ROWS]),
    "words": np.array([row[5] for row in ROWS]),
    "flags": np.array([row[6] for row in ROWS]),
    "floats": np.array([row[7] for row in ROWS]),
}


def frame(kind, *, index, header, separator=",", target="target", start=0):
    """The text that pandas writes of these rows."""
    lines = [[*map(str, row[:4]), str(y)] for row, y in zip(ROWS, LABELS[kind], strict=True)]
    if header:
        lines.insert(0, [*FEATURES, target])
    if index:
        numbers = range(start, start + len(ROWS))
        names = [*([""] if header else []), *map(str, numbers)]
        lines = [[name, *line] for name, line in zip(names, lines, strict=True)]
    return "".join(separator.join(line) + "\n" for line in lines)


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("index", [True, False])
@pytest.mark.parametrize("kind", LABELS)
def test_table_with_a_header_reads_as_it_was_written(write, kind, index, separator):
    text = frame(kind, index=index, header=True, separator=separator)
    table = datasets.read_table(write("iris.csv", text))
    same(table.x, X)
    same(table.y, LABELS[kind])
    assert table.features == FEATURES
    assert table.target == "target"
    notes = [f"columns are separated by {separator!r}"] if separator != "," else []
    notes += ["column 1 (no name) is left out: it is an index"] if index else []
    notes += [f"column {5 + index} ('target') is the label: so says its name"]
    assert table.notes == tuple(notes)


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("kind", LABELS)
def test_table_without_a_header_reads_or_asks(write, refusal, kind, separator):
    path = write("iris.csv", frame(kind, index=False, header=False, separator=separator))
    if kind != "words":
        assert "say --label first, last or none" in refusal(datasets.read_table, path)
    table = datasets.read_table(path, label="auto" if kind == "words" else "last")
    same(table.x, X)
    same(table.y, LABELS[kind])
    assert table.features is None
    assert table.target is None
    assert "line 1 is data: there is no header" in table.notes
    assert ("column 5 is the label: no other holds words" in table.notes) == (kind == "words")
    path = write("indexed.csv", frame(kind, index=True, header=False, separator=separator))
    message = refusal(datasets.read_table, path, label="last")
    assert "column 1: expected a feature or a label, got 0, 1, 2, ..., which may be an" in message
    assert message.endswith("say --index first or none")
    table = datasets.read_table(path, label="last", index="first")
    same(table.x, X)
    same(table.y, LABELS[kind])
    assert datasets.read_table(path, label="last", index=None).x.shape == (4, 5)


@pytest.mark.parametrize("start", [0, 1])
@pytest.mark.parametrize("name", ["", "Unnamed: 0", "index", "Id", "id", "rownames", "n", "age"])
def test_table_index_is_left_out_or_asked_for(write, refusal, name, start):
    path = write("t.csv", name + frame("words", index=True, header=True, start=start))
    if name in ("n", "age"):
        message = refusal(datasets.read_table, path)
        expected = f"column 1 ({name!r}): expected a feature or a label, got {start}, {start + 1}, "
        assert expected in message
        assert "say --index" in message
        same(datasets.read_table(path, index=name).x, X)
    else:
        table = datasets.read_table(path)
        same(table.x, X)
        shown = repr(name) if name else "no name"
        assert f"column 1 ({shown}) is left out: it is an index" in table.notes
    assert datasets.read_table(path, index=None).features == (name, *FEATURES)


def test_table_index_of_words_or_without_order(write, refusal):
    read = datasets.read_table
    cars = ',mpg,class\n"Mazda RX4",21,a\n"Fiat 128",32,b\n'
    assert read(write("cars.csv", cars)).x.tolist() == [[21], [32]]
    shuffled = ",a,target\n77,1.5,0\n12,2.5,1\n3,0.5,0\n"
    assert read(write("shuffled.csv", shuffled)).x.tolist() == [[1.5], [2.5], [0.5]]
    repeated = "id,a,target\n7,1.5,0\n7,2.5,1\n3,0.5,0\n"
    message = refusal(read, write("repeated.csv", repeated))
    assert "('id'): expected a feature or a label, got the name of an index above '7'" in message
    assert read(write("repeated.csv", repeated), index="first").features == ("a",)
    rows = "".join(f"{i * 7 % 23},{i / 4},{i % 2}\n" for i in range(23))
    message = refusal(read, write("bare.csv", rows), label="last")
    assert "column 1: expected a feature or a label, got 0, 7, ..., all different" in message
    assert read(write("bare.csv", rows), label="last", index=None).x.shape == (23, 2)
    labelled = "n,a\n0,1.5\n1,2.5\n2,3.5\n"
    assert read(write("labelled.csv", labelled), label="n").y.tolist() == [0, 1, 2]


def test_table_index_never_becomes_the_label(write, refusal):
    path = write("iris.csv", frame("numbers", index=True, header=True))
    table = datasets.read_table(path, label="first")
    assert table.target == FEATURES[0]
    counted = write("n.csv", "n" + frame("numbers", index=True, header=True))
    assert "say --index" in refusal(datasets.read_table, counted, label="first")
    message = refusal(datasets.read_table, path, label="target", index="target")
    assert "expected different columns for --label and --index" in message


# ------------------------------------------------------------------------------------------ header


@pytest.mark.parametrize(
    "text",
    [
        ",0,1,2\n0,5,3,1\n1,7,3,4\n",  # pandas, with its index
        "0,1,2\n5.0,3.5,1.0\n7.0,3.2,0.0\n",
        "0,1,label\n5,3,1\n7,3,0\n",
        "label,0,1\n5,3,1\n7,3,0\n",
        ",0,1,species\n0,5,3,setosa\n1,7,3,virginica\n",
        "0,1,species\n5.0,3.5,setosa\n7.0,3.2,virginica\n",
        ",".join(map(str, range(64))) + "\n" + ("3,1," * 32)[:-1] + "\n",
        ",".join([*map(str, range(64)), "y"]) + "\n" + "3,1," * 32 + "b\n",
    ],
)
def test_table_header_that_counts_the_columns(write, text):
    path = write("t.csv", text)
    table = datasets.read_table(path, label="last")
    assert len(table.x) == text.count("\n") - 1
    assert "line 1 is a header: it counts columns from 0" in table.notes
    names = text.split("\n")[0].split(",")
    assert table.target == names[-1]
    assert table.features == tuple(name for name in names[:-1] if name)


@pytest.mark.parametrize(
    "text",
    [
        "0,1,2\n5,3,1\n7,3,0\n",
        "0,1,2\n5,3.5,1\n7,3.2,0\n",
        "0,1,setosa\n2,1,virginica\n",
        "1,2,\n3,4,0\n",
        "1,,2\n3,4,0\n",
        ",1,2\n3,4,0\n",
        "5,0,O,0\n1,2,3,4\n",
        "150,4,setosa,versicolor,virginica\n5.1,3.5,1.4,0.2,0\n",
        "2010,2011,2012\n0.5,0.7,0.1\n0.6,0.1,0.2\n0.4,0.2,0.3\n",
        "age,height,2019,y\n1,2,3,0\n3,4,5,1\n",
    ],
)
def test_table_first_line_that_may_be_either_is_asked_for(write, refusal, text):
    path = write("t.csv", text)
    for read in datasets.read_table, datasets.read_csv:
        message = refusal(read, path, label="last")
        assert "t.csv, line 1: expected " in message
        assert "say --header" in message


@pytest.mark.parametrize(
    ("text", "is_header"),
    [
        ("a,b,c\n1,2,3\n", True),
        ("a,b,species\n1,2,setosa\n", True),
        ("5.1,3.5,setosa\n4.9,3.0,setosa\n", False),
        ("5,3,1\n7,2,0\n", False),
        ("True,3,1\nFalse,2,0\n", False),
        ("5.1,3.5,setosa\n", False),
        ("5.1,3.5,1\n", False),
    ],
)
def test_table_header_is_told_by_its_words(write, text, is_header):
    path = write("t.csv", text)
    table = datasets.read_table(path, label="last")
    assert (table.features is not None) == is_header
    assert ("line 1 is data: there is no header" in table.notes) != is_header


def test_table_header_is_what_it_is_said_to_be(write, refusal):
    path = write("t.csv", "0,1,2\n5,3,1\n7,3,0\n")
    read = datasets.read_table
    assert read(path, header=True, label="2").features == ("0", "1")
    assert read(path, header=False, label="last").x.tolist() == [[0, 1], [5, 3], [7, 3]]
    message = refusal(read, write("w.csv", "a,b\n1,2\n"), header=False, label="last")
    assert "line 1: expected a number in column 1, got 'a'" in message
    for text, expected in (
        ("a,b,a\n1,2,3\n", "expected a header of different names, got 'a' in columns 1 and 3"),
        ("a,,b\n1,2,3\n", "line 1: expected a number in column 2, got ''"),
        ("a,b\n", "got only a header"),
        ("", "got an empty file"),
    ):
        assert expected in refusal(read, write("t.csv", text))
    assert "expected a name for column 2" in refusal(
        read, write("t.csv", "a,,b\n1,2,3\n"), header=True
    )


def test_table_names_are_those_of_the_header(write, refusal):
    read = datasets.read_names
    path = write("iris.csv", frame("words", index=True, header=True, separator=";"))
    assert read(path) == ("", *FEATURES, "target")
    assert read(write("n.csv", frame("words", index=False, header=False))) is None
    path = write("t.csv", "0,1,2\n5,3,1\n7,3,0\n")
    assert read(path, header=True) == ("0", "1", "2")
    assert read(path, header=False) is None
    assert "say --header" in refusal(read, path)


# ------------------------------------------------------------------------------------------- label


@pytest.mark.parametrize(
    ("text", "target", "reason"),
    [
        ("a,Class,b\n1,2,3\n4,5,6\n", "Class", "so says its name"),
        ("Species,a,b\nx,2,3\ny,5,6\n", "Species", "so says its name"),
        ("a,kind,b\n1,x,3\n4,y,6\n", "kind", "no other holds words"),
        ("a,b,quality\n1,2,3\n4,5,6\n", "quality", "it is the last"),
    ],
)
def test_table_label_is_guessed_and_noted(write, text, target, reason):
    table = datasets.read_table(write("t.csv", text))
    assert table.target == target
    column = text.split("\n")[0].split(",").index(target) + 1
    assert table.notes == (f"column {column} ({target!r}) is the label: {reason}",)


def test_table_label_of_pixels_is_the_first(write):
    rows = [[7, *range(250), *[0] * 534], [1, *range(5, 255), *[9] * 534]]
    path = write("mnist.csv", csv_text(np.array(rows)))
    table = datasets.read_table(path)
    same(table.x, np.array(rows, np.uint8)[:, 1:])
    same(table.y, np.array([7, 1]))
    assert "column 1 is the label: it is the first of 785, as in MNIST" in table.notes


def test_table_label_that_may_be_another_is_asked_for(write, refusal):
    read = datasets.read_table
    names = "".join(f"{i}.5,w{i}\n" for i in range(25))
    for text, expected in (
        ("a,target,species\n1,0,x\n2,1,y\n", "got column 2 ('target') and column 3 ('species')"),
        ("sex,smoker,age\nf,no,3\nm,yes,4\n", "got column 1 ('sex') and column 2 ('smoker')"),
        ("a,name\n" + names, "got another word in each row of column 2 ('name')"),
        ("3,1,2\n5,3,1\n", "which column is the label"),
        (",0,1\n0,2.5,3.5\n1,2.5,3.5\n", "which column is the label"),
        ("3\n5\n", "got 1 column, with '3' in it"),
    ):
        message = refusal(read, write("t.csv", text))
        assert expected in message
        assert "say --label" in message
    assert read(write("t.csv", "3\n5\n"), label=None).x.tolist() == [[3], [5]]


def test_table_label_is_what_it_is_said_to_be(write, refusal):
    path = write("t.csv", "a,b,c\n1,2,3\n4,5,6\n")
    read = datasets.read_table
    assert read(path, label="b").y.tolist() == [2, 5]
    assert read(path, label="b").features == ("a", "c")
    assert read(path, label="first").target == "a"
    assert read(path, label="last").target == "c"
    assert read(path, label=None).y is None
    assert read(path, label=None).notes == ()
    message = refusal(read, path, label="bb")
    assert (
        "expected a column named 'bb' (--label), got ['a', 'b', 'c']; did you mean 'b'?" in message
    )
    message = refusal(read, write("n.csv", "3,4\n5,6\n"), label="b")
    assert "expected a header, to find 'b' of --label in it, got data in line 1" in message


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["1", "2"], np.array([1, 2])),
        (["1.0", "2"], np.array([1, 2])),
        (["1.5", "2"], np.array([1.5, 2])),
        (["1e300", "2"], np.array([1e300, 2])),
        (["9007199254740993", "2"], np.array([9007199254740993, 2])),
        (["99999999999999999999", "2"], np.array([1e20, 2])),
        (["True", "False"], np.array([True, False])),
        (["TRUE", "false"], np.array([True, False])),
        (["yes", "no"], np.array(["yes", "no"])),
        (['"a,b"', " c "], np.array(["a,b", "c"])),
        (['"a ""b"""', '"c\n\nd"'], np.array(['a "b"', "c\n\nd"])),
        (["café", "日本"], np.array(["café", "日本"])),
        (["1", "2", "a", "b"], np.array(["1", "2", "a", "b"])),
    ],
)
def test_table_label_keeps_its_kind(write, cells, expected):
    text = "a,target\n" + "".join(f"{i}.5,{cell}\n" for i, cell in enumerate(cells))
    same(datasets.read_table(write("t.csv", text)).y, expected)


def test_table_label_that_is_missing_or_mixed_is_refused(write, refusal):
    rows = "".join(f"{i}.5,{i % 2}\n" for i in range(30))
    words = "".join(f"{i}.5,w{i % 2}\n" for i in range(30))
    for text, expected in (
        (rows + "1,O\n", "line 32: expected a number in column 2 ('target'), got 'O'"),
        (rows * 9 + "1,O\n", "line 272: expected a number in column 2 ('target'), got 'O'"),
        (rows + "1,nan\n", "line 32: expected a finite number in column 2 ('target'), got 'nan'"),
        (words + "1,NA\n", "line 32: expected a word of 1 to 100 characters in column 2"),
        (words * 9 + "1,\n", "line 272: expected a word of 1 to 100 characters in column 2"),
        (words + f"1,{'x' * 101}\n", "line 32: expected a word of 1 to 100 characters"),
    ):
        assert expected in refusal(datasets.read_table, write("t.csv", "a,target\n" + text))


# ------------------------------------------------------------------------------------------- cells


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["0", "255"], np.uint8([0, 255])),
        (["0", "256"], np.array([0.0, 256])),
        (["-1", "+3"], np.array([-1.0, 3])),
        (["1.", ".5"], np.array([1, 0.5])),
        (["1E5", "-2.5e-3"], np.array([1e5, -2.5e-3])),
        ([" 4", "5 "], np.uint8([4, 5])),
        (['"4"', '"5"'], np.uint8([4, 5])),
        (["True", "False"], np.uint8([1, 0])),
        (["9223372036854775808", "1"], np.array([9223372036854775808.0, 1])),
    ],
)
@pytest.mark.parametrize("copies", [1, 200])
def test_table_features_are_numbers(write, cells, expected, copies):
    text = "a,kind\n" + "".join(f"{cell},{'xy'[i]}\n" for i, cell in enumerate(cells)) * copies
    table = datasets.read_table(write("t.csv", text))
    same(table.x, np.tile(expected, copies)[:, None])


@pytest.mark.parametrize("copies", [1, 200])
@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("", "expected a number in column 2 ('b'), got ''; fill in what is missing"),
        ("NA", "got 'NA'; fill in what is missing"),
        ("?", "got '?'; fill in what is missing"),
        ("NULL", "got 'NULL'; fill in what is missing"),
        ("NaN", "expected a finite number in column 2 ('b'), got 'NaN'; fill in"),
        ("inf", "expected a finite number in column 2 ('b'), got 'inf'"),
        ("-Infinity", "expected a finite number in column 2 ('b'), got '-Infinity'"),
        ("1e400", "expected a number that float64 can hold in column 2 ('b'), got '1e400'"),
        ("1_000", "expected a number in column 2 ('b'), got '1_000'"),
        ('"1,000"', "got '1,000'; write decimal points, and thousands without a separator"),
        ("\uff11\uff12", "expected a number in column 2 ('b'), got '\uff11\uff12'"),
        ("0x1F", "got '0x1F'"),
        ("1 2", "got '1 2'"),
        ("1e", "got '1e'"),
        ("--1", "got '--1'"),
        ("True", "expected a number in column 2 ('b'), got 'True'"),
        ("red", "got 'red'; encode words among numbers, or name the --label"),
        ("\x1b[31m" + "x" * 500, "got '\\x1b[31mxxx"),
        ('"1\n2"', "got '1\\n2'"),
    ],
)
def test_table_cell_that_is_no_number_is_named(write, refusal, cell, expected, copies):
    text = "a,b,label\n" + "1.5,2,0\n2.5,3,1\n" * copies + f"3.5,{cell},0\n"
    message = refusal(datasets.read_table, write("t.csv", text))
    assert f"t.csv, line {2 + 2 * copies}: expected a" in message
    assert expected in message
    assert len(message) < 400


def test_table_flags_stay_flags(write, refusal):
    dummies = "is_red,a,is_blue,y\n" + "True,1.5,False,0\nFALSE,2.5,true,1\n" * 200
    path = write("t.csv", dummies)
    table = datasets.read_table(path)
    same(table.x, np.tile([[1, 1.5, 0], [0, 2.5, 1]], (200, 1)))
    path.write_text(dummies + "True,1.5,3,0\n")
    message = refusal(datasets.read_table, path)
    assert "line 402: expected True or False in column 3 ('is_blue'), got '3'" in message


@pytest.mark.parametrize("copies", [1, 300])
@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ("1.5,2", "expected 3 values, got 2: none for column 3"),
        ("1.5,2,3,4", "expected 3 values, got 4: '4' in column 4"),
        ('1.5,"2,3"', "expected 3 values, got 2: none for column 3"),
        ('1.5,2,"3', "expected whole quotes (unexpected end of data)"),
        ('1.5,"2"3,4', "expected whole quotes ("),
    ],
)
def test_table_row_of_another_length_is_named(write, refusal, row, expected, copies):
    text = "a,b,label\n" + "1.5,2,0\n2.5,3,1\n" * copies + row + "\n"
    for separator in ",\t":
        path = write("t.csv", text.replace(",", separator))
        message = refusal(datasets.read_table, path)
        assert f"t.csv, line {2 + 2 * copies}: {expected}" in message


def test_table_rows_of_several_lines_keep_their_numbers(write, refusal):
    """Also where a quoted cell goes on in the next block of lines."""
    quoted = '1.5,"setosa,\n\n""x"""\n\n2.5,b\n' * 60_000
    path = write("t.csv", 'a,"the\nkind"\n' + quoted)
    table = datasets.read_table(path)
    assert table.target == "the\nkind"
    same(table.x, np.tile([[1.5], [2.5]], (60_000, 1)))
    same(table.y, np.tile(np.array(['setosa,\n\n"x"', "b"]), 60_000))
    path.write_text('a,"the\nkind"\n' + quoted + "x,y\n")
    message = refusal(datasets.read_table, path)
    assert "line 300003: expected a number in column 1 ('a'), got 'x'" in message


# -------------------------------------------------------------------------------------- separators


@pytest.mark.parametrize(
    ("text", "separator"),
    [
        ("a;b\n1;x, y\n2;z\n", ";"),
        ("a,b\n1,x;y\n2,z|w\n", ","),
        ("a\tb\n1\tx y\n", "\t"),
        ("a|b\n1|x\n", "|"),
    ],
)
def test_table_separator_is_told_by_most_lines(write, text, separator):
    path = write("t.txt", text)
    table = datasets.read_table(path)
    assert table.features == ("a",)
    assert (f"columns are separated by {separator!r}" in table.notes) == (separator != ",")
    same(datasets.read_table(path, separator=separator).y, table.y)


@pytest.mark.parametrize("separator", [";", "\t", "|"])
@pytest.mark.parametrize("head", ["", "a{0}b{0}y\n"])
def test_table_decimal_commas_are_refused_by_name(write, refusal, separator, head):
    text = head.format(separator) + "5,1 3,5 0,2\n4,9 3,0 0,2\n".replace(" ", separator)
    message = refusal(datasets.read_table, write("t.csv", text))
    assert "expected decimal points, got '5,1' in column 1" in message
    text = head.format(separator) + f"5{separator}3{separator}0\n" * 200
    late = text + f"4,9{separator}3,0{separator}0\n"
    message = refusal(datasets.read_table, write("t.csv", late), label="last")
    assert f"line {201 + bool(head)}: expected a number in column 1" in message
    assert "write decimal points" in message


def test_table_of_two_separators_asks(write, refusal):
    path = write("t.csv", "a|b,c\n1|2,x\n4|5,y\n")
    message = refusal(datasets.read_table, path)
    assert "expected one separator, got lines that ',' or '|' divides; say --separator" in message
    table = datasets.read_table(path, separator="|")
    same(table.x, np.uint8([[1], [4]]))
    same(table.y, np.array(["2,x", "5,y"]))


def test_table_options_are_checked(write):
    path = write("t.csv", "a,b\n1,2\n")
    for option, value in (("separator", " "), ("header", "no")):
        with pytest.raises(ValueError, match=f"unknown {option} '"):
            datasets.read_table(path, **{option: value})


# ---------------------------------------------------------------------------------- bytes and size


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("bom", ["", "\ufeff"])
def test_table_of_any_line_ends(write, packed, end, bom):
    text = bom + frame("words", index=True, header=True) + "\n  \n"
    data = text.replace("\n", end).encode()
    table = datasets.read_table(write("t.csv", gzip.compress(data) if packed else data))
    same(table.x, X)
    same(table.y, LABELS["words"])


@pytest.mark.parametrize("length", range(8))
def test_lines_are_the_same_wherever_reading_pauses(length):
    data = b"a\r\nb\rc\n\r\n\r\xc3\xa9\r"
    lines = ["a", "b", "c", "", "", "é"]

    class Slow(io.BytesIO):
        def read(self, _):
            return super().read(length + 1)

    assert list(_cells.read_lines(Slow(data), "t")) == list(enumerate(lines, 1))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("a,b\n1,é\n2,x\n".encode("latin-1"), "line 2: expected text in UTF-8, got byte 0xe9"),
        (b"1,2\n" * 100_000 + b"1,\xff\n", "line 100001: expected text in UTF-8, got byte 0xff"),
        ("a,b\n1,2\n".encode("utf-16"), "expected text in UTF-8, got UTF-16"),
        ("a,b\n1,2\n".encode("utf-16-le"), "expected text in UTF-8, got UTF-16"),
        ("a,b\n1,2\n".encode("utf-16-be"), "expected text in UTF-8, got UTF-16"),
        (b"PK\3\4rest", "expected text in UTF-8, got a workbook or an archive"),
        (b"1,\0\n2,3\n", "expected text in UTF-8, got zero bytes"),
    ],
)
def test_table_in_another_encoding_is_refused_by_name(write, refusal, data, message):
    for read in datasets.read_table, datasets.read_csv:
        assert message in refusal(read, write("t.csv", data), label="last")


FLOODS = {  # bytes that are sent so many times, and what is said
    "newlines": (b"\n", 30_000_000, "expected at most 10,000 blank lines more than others"),
    "spaces": (b" " * 60_000 + b"\n", 300, "expected at most 10,000 blank lines more than"),
    "rows apart": (b"1,2\n" + b"\n" * 9990, 3000, "expected at most 10,000 blank lines more"),
    "commas": (b",", 30_000_000, "expected a row of at most 4,194,304 characters, got more"),
    "columns": (b",", 2_000_000, "line 1: expected at most 1,048,576 columns, got more"),
    "a cell": (b"1", 30_000_000, "expected a row of at most 4,194,304 characters, got more"),
    "a quote": (
        b'"' + b"a\n" * 200_000,
        75,
        "expected whole quotes (field larger than field limit",
    ),
    "quotes": (
        b'"' + b"a\n" * 1000 + b'",',
        15_000,
        "expected a row of at most 4,194,304 characters, got more",
    ),
    "padding": (b"1,2" + b" " * 60_000 + b"\n", 300, "expected at most 256 characters a value"),
}


@pytest.mark.parametrize("kind", FLOODS)
def test_floods_are_refused_before_they_are_held(write, refusal, kind):
    piece, times, message = FLOODS[kind]
    path = write("flood.csv.gz", gzip.compress(piece * times, 1))
    tracemalloc.start()
    try:
        assert message in refusal(datasets.read_table, path, label="last", header=False)
        assert tracemalloc.get_traced_memory()[1] < 25e6  # 30 MB were sent
    finally:
        tracemalloc.stop()


def test_tables_take_little_more_than_what_they_deliver(write):
    path = write("t.csv", "1.5,2.5,3.5,0\n" * 200_000)
    tracemalloc.start()
    try:
        x, y = datasets.read_csv(path, label="last")
        assert tracemalloc.get_traced_memory()[1] < 2 * (x.nbytes + y.nbytes) + 20e6
    finally:
        tracemalloc.stop()
