"""Tables with words and with something missing, from the file to the answer."""

import json

import numpy as np
import pytest

import fastnn
from fastnn import cli, datasets

TOWNS = ("Lima", "Oslo", "Rome", "?")


def lines(rows=300, gap="?"):
    """town, size and furnished, from which rent follows; kind says whether that is high."""
    random = np.random.default_rng(0)
    for k in range(rows):
        town, size = TOWNS[random.integers(4)], f"{random.uniform(20, 90):.1f}"
        size = gap if gap and k % 8 == 3 else size
        furnished = bool(random.integers(2))
        rent = 10 * (40 if size == gap else float(size)) * (2 if town == "Oslo" else 1)
        yield town, size, furnished, "high" if rent > 600 else "low", f"{rent:.1f}"


def written(path, table, head="town,size,furnished,kind", columns=(0, 1, 2, 3)):
    rows = [",".join(str(row[k]) for k in columns) for row in table]
    path.write_text("\n".join([head, *rows, ""]))


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Runs a command beside flats.csv (classes) and rents.csv (numbers); returns its output."""
    monkeypatch.chdir(tmp_path)
    written(tmp_path / "flats.csv", lines())
    written(tmp_path / "rents.csv", lines(), "town,size,furnished,rent", (0, 1, 2, 4))

    def call(line, code=0):
        assert cli.main(line.split()) == code
        out, error = capsys.readouterr()
        assert code == 0 or (error.startswith("fastnn: error: ") and error.count("\n") == 1)
        return out if code == 0 else error

    return call


FLATS = "train --data flats.csv --label kind --missing indicator"


def test_words_are_read_as_they_are(tmp_path):
    written(tmp_path / "t.csv", [("a", 1, True, "x"), ("NA", 2.5, False, "y"), ("b", 3, True, "x")])
    table = datasets.read_table(tmp_path / "t.csv", label="kind")
    assert table.x.dtype == object
    assert table.x.tolist() == [["a", 1.0, 1.0], [None, 2.5, 0.0], ["b", 3.0, 1.0]]
    assert table.features == ("town", "size", "furnished")
    assert table.y.tolist() == ["x", "y", "x"]
    assert "column 1 ('town') holds words: an input for each" in table.notes


def test_missing_numbers_are_read_where_they_may_be(tmp_path, refusal):
    (tmp_path / "t.csv").write_text("a,b,y\n" + "1,2.5,0\n" * 200 + "NA,2,1\n,?,1\n")
    table = datasets.read_table(tmp_path / "t.csv", missing=True)
    assert table.x.dtype == np.float64
    assert table.x[-3:].tolist() == pytest.approx(
        np.array([[1, 2.5], [np.nan, 2], [np.nan, np.nan]]), nan_ok=True
    )
    assert "got 'NA'; fill in what is missing" in refusal(datasets.read_table, tmp_path / "t.csv")
    for cell, expected in (
        ("inf", "expected a finite number in column 1 ('a'), got 'inf'"),
        ("red", "expected a number in column 1 ('a'), got 'red'"),
    ):
        (tmp_path / "t.csv").write_text("a,b,y\n" + "1,2.5,0\n" * 200 + f"{cell},2,1\n")
        message = refusal(datasets.read_table, tmp_path / "t.csv", missing=True)
        assert f"line 202: {expected}" in message
    (tmp_path / "t.csv").write_text("a,b,y\n" + "1,2.5,0\n" * 200 + "1,2,?\n")
    message = refusal(datasets.read_table, tmp_path / "t.csv", missing=True)
    assert "line 202: expected a number in column 3 ('y'), got '?'" in message  # no label


def test_missing_flags(tmp_path, refusal):
    (tmp_path / "t.csv").write_text("a,y\n" + "True,1.5\nNA,2.5\n?,1.5\nFALSE,3.5\n" * 3)
    x = datasets.read_table(tmp_path / "t.csv", missing=True).x
    assert x[:4, 0].tolist() == pytest.approx([1, np.nan, np.nan, 0], nan_ok=True)
    assert "expected True or False" in refusal(datasets.read_table, tmp_path / "t.csv")
    (tmp_path / "t.csv").write_text("a,y\n" + "True,1.5\nNA,2.5\n" * 60 + "maybe,1.5\n")
    message = refusal(datasets.read_table, tmp_path / "t.csv", missing=True)
    assert "line 122: expected True or False in column 1 ('a'), got 'maybe'" in message


def test_a_word_that_is_long_is_refused(tmp_path, refusal):
    (tmp_path / "t.csv").write_text("a,y\n" + "u,1.5\nv,2.5\n" * 200 + "w" * 101 + ",3.5\n")
    message = refusal(datasets.read_table, tmp_path / "t.csv", label="y")
    assert "line 402: expected a word of 1 to 100 characters in column 1 ('a')" in message


def test_from_a_table_to_answers(run, tmp_path):
    text = run(FLATS)
    assert "guessed   column 1 ('town') holds words: an input for each" in text
    assert "network   7 → 256 tanh → 2 softmax" in text  # 4 towns, size and its gap, furnished
    net = fastnn.load("flats.fastnn")
    assert net.features == ("town", "size", "furnished")
    towns = [f"town is {name}" for name in ("Lima", "Oslo", "Rome", "missing")]
    assert net.columns.names == (*towns, "size", "size is missing", "furnished")
    evaluated = run("evaluate flats.fastnn --data flats.csv")
    accuracy = float(evaluated.split("accuracy  ")[1].split(" %")[0])
    assert accuracy > 95
    new = [("?", "Bonn", 80, True), ("x", "Oslo", "NA", False), ("x", "Oslo", 85, False)]
    written(tmp_path / "new.csv", new, "note,town,size,furnished", (0, 1, 2, 3))
    answers = json.loads(run("predict flats.fastnn new.csv --json"))
    table = {"town": ["Bonn", "Oslo", "Oslo"], "size": [80, None, 85], "furnished": [1, 0, 0]}
    h = net.predict(net.columns(table))
    assert [row["probabilities"] for row in answers] == pytest.approx(h.astype(float), abs=1e-6)
    assert [row["class"] for row in answers][1:] == ["high", "high"]
    assert "low" in run("inspect flats.fastnn --file flats.csv --index 0")


def test_numbers_to_be_met_and_a_sweep(run):
    text = run("train --data rents.csv --label rent --missing mean --epochs 60")
    assert float(text.split("R² ")[-1].split(",")[0]) > 0.9
    assert "RMSE" in run("evaluate rents.fastnn --data rents.csv")
    assert fastnn.load("rents.fastnn").columns.width == 6
    options = "--data rents.csv --label rent --missing mean --widths 4 --depths 1 --save-best best"
    assert "*" in run(f"sweep {options}")
    assert fastnn.load("best").columns.names[-2:] == ("size", "furnished")


def test_without_names_the_columns_are_counted(run, tmp_path):
    (tmp_path / "flats.csv").write_text((tmp_path / "flats.csv").read_text().partition("\n")[2])
    run("train --data flats.csv --label last --header no --index none --missing mean --epochs 2")
    assert list(fastnn.load("flats.fastnn").columns.columns) == ["1", "2", "3"]
    evaluated = run("evaluate flats.fastnn --data flats.csv --label last --header no --index none")
    assert "accuracy" in evaluated
    unlabelled = [row[:3] for row in lines(60)]
    head, *rest = [",".join(map(str, row)) for row in unlabelled]
    (tmp_path / "new.csv").write_text("\n".join([head, *rest, ""]))
    answers = run("predict flats.fastnn new.csv --header no --index none --csv").splitlines()
    assert len(answers) == 61


def test_numbers_alone_with_gaps(run, tmp_path):
    written(tmp_path / "flats.csv", lines(), "size,furnished,kind", (1, 2, 3))
    text = run("train --data flats.csv --missing indicator --epochs 2")
    assert "network   3 → " in text  # size, its gap, furnished
    run("evaluate flats.fastnn --data flats.csv")


def test_many_words_are_no_picture(run, tmp_path):
    """Their inputs are 0 and 1, as those of pixels may be."""
    rows = [(f"w{k % 70}", "high" if k % 2 else "low") for k in range(700)]
    written(tmp_path / "flats.csv", rows, "word,kind", (0, 1))
    text = run("train --data flats.csv --label kind --epochs 1")
    assert ", standardised by column" in text
    assert "network   70 → 256 tanh" in text


def test_what_was_never_missing_gets_no_indicator_and_may_be_missing_later(run, tmp_path):
    written(tmp_path / "flats.csv", lines(gap=None))
    run(f"{FLATS} --epochs 2")
    assert fastnn.load("flats.fastnn").columns.width == 6
    written(tmp_path / "new.csv", [("Oslo", "?", "?")], "town,size,furnished", (0, 1, 2))
    assert len(run("predict flats.fastnn new.csv --csv").splitlines()) == 2


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("train --data flats.csv --label kind", "got '?'; fill in what is missing, leave the row"),
        ("train --data flats.csv --label kind", "or say --missing"),
        ("train --data flats.csv", "expected one column of words, got column 1 ('town') and"),
        ("train --missing mean", "expected --missing with a table (.csv or .tsv), got digits"),
        ("train --data many.csv --label y", "expected 1 to 10,000 categories in column 'a'"),
        ("train --data none.csv --missing mean --label y", "expected a number in column 'a'"),
        ("predict net odd.csv", "odd.csv: expected numbers in column 'size', got str 'big'"),
        ("predict net short.csv", "expected the columns town, size, furnished, got none named"),
    ],
)
def test_failures(run, tmp_path, line, words):
    if "net" in line:
        run(f"{FLATS} --epochs 1 --output net")
    (tmp_path / "many.csv").write_text("a,y\n" + "".join(f"w{k},{k / 2}\n" for k in range(15_000)))
    (tmp_path / "none.csv").write_text("a,b,y\n" + "?,1,1.5\n?,2,2.5\n" * 20)
    written(tmp_path / "odd.csv", [("Oslo", "big", True)], "town,size,furnished", (0, 1, 2))
    written(tmp_path / "short.csv", [("Oslo", 3)], "town,size", (0, 1))
    assert words in run(line, code=1)
