"""The command line, run as its users run it."""

from __future__ import annotations

import contextlib
import csv
import gzip
import io
import json
import os
import pty
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import fastnn
from fastnn import cli
from fastnn.cli.arguments import parse
from fastnn.cli.data import learning_data
from fastnn.optimizers import OPTIMIZERS

DEADLINE = 60  # seconds for one command
ACCURACY = re.compile(r"^ +(\d+) of \d+ .* ([\d.]+) % +[\d,]+$", re.M)  # (epoch, on test rows)
TINY = ("--hidden", "16", "--epochs", "2")


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "fastnn", *map(str, arguments)]


def environment(**changes: str) -> dict[str, str]:
    ours = ("NO_COLOR", "COLUMNS", "TERM", "PYTHONUNBUFFERED")
    kept = {key: value for key, value in os.environ.items() if key not in ours}
    path = str(Path(fastnn.__file__).parents[1])
    return kept | {"PYTHONIOENCODING": "utf-8", "PYTHONPATH": path} | changes


def run(folder: Path, *arguments: object, code: int = 0, **changes: str) -> str:
    """What the command prints; it must end with this code, and without an error if that is 0."""
    done = subprocess.run(
        command(*arguments),
        cwd=folder,
        env=environment(**changes),
        capture_output=True,
        timeout=DEADLINE,
        encoding="utf-8",
    )
    assert done.returncode == code, done.stderr
    if code == 0:  # what was guessed of a table is no error
        assert all(line.startswith("fastnn: note: ") for line in done.stderr.splitlines())
    return done.stdout


def called(folder: Path, *arguments: object, code: int = 0) -> tuple[str, str]:
    """The same without a process of its own, which takes a fifth of a second: stdout, stderr."""
    out, error = (io.TextIOWrapper(io.BytesIO(), "utf-8", newline="") for _ in range(2))
    streams = contextlib.redirect_stdout(out), contextlib.redirect_stderr(error)
    with contextlib.chdir(folder), streams[0], streams[1]:
        assert cli.main(list(map(str, arguments))) == code
    texts = []
    for stream in (out, error):
        stream.seek(0)
        texts.append(stream.read())
    return texts[0], texts[1]


def told(folder: Path, *arguments: object) -> str:
    """What a command prints that must not fail; notes are no errors."""
    out, error = called(folder, *arguments)
    assert all(line.startswith("fastnn: note: ") for line in error.splitlines())
    return out


def denied(folder: Path, *arguments: object) -> str:
    """The error of a command that must fail: one line, nothing else."""
    out, error = called(folder, *arguments, code=1)
    assert (out, error.count("\n")) == ("", 1)
    assert error.startswith("fastnn: error: ")
    return error


def refused(folder: Path, *arguments: object, code: int = 1) -> str:
    """The error of a command that must fail: one line, nothing else."""
    done = subprocess.run(
        command(*arguments),
        cwd=folder,
        env=environment(),
        capture_output=True,
        timeout=DEADLINE,
        encoding="utf-8",
    )
    assert done.returncode == code
    assert done.stderr.startswith("fastnn: error: ")
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""
    return done.stderr


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small network of digits, and what its training printed."""
    folder = tmp_path_factory.mktemp("digits")
    (folder / "training.txt").write_text(run(folder, "train", *TINY), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def net(folder: Path) -> fastnn.Network:
    return fastnn.load(folder / "digits.fastnn")


@pytest.fixture(scope="module")
def test_digits() -> tuple[Any, Any]:
    return fastnn.datasets.load_digits()[1]


@pytest.fixture(scope="module")
def flowers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with flowers.csv, flowers.npz, unlabelled.csv and a network trained on the first."""
    folder = tmp_path_factory.mktemp("flowers")
    random = np.random.default_rng(0)
    y = np.arange(120) % 3
    x = np.round(
        np.array([[1, 5, 2, 0], [6, 1, 4, 3], [3, 3, 8, 9]])[y] + random.normal(size=(120, 4)), 2
    )
    head = "sepal,stalk,petal,leaf"
    np.savetxt(
        folder / "flowers.csv",
        np.c_[x, y],
        "%.2f,%.2f,%.2f,%.2f,%d",
        header=f"{head},kind",
        comments="",
    )
    np.savetxt(folder / "unlabelled.csv", x, "%.2f", ",", header=head, comments="")
    np.savez(folder / "flowers.npz", x=x, y=y)
    options = "--data flowers.csv --label last --hidden 8 --epochs 60 --batch-size 10"
    run(folder, "train", *options.split(), "--learning-rate", 0.03, "--quiet")
    return folder


# ----------------------------------------------------------------------------------------- training


def test_train_says_what_it_does_and_leaves_a_network(folder: Path, net: fastnn.Network) -> None:
    text = (folder / "training.txt").read_text(encoding="utf-8")
    assert "10,000 to learn, 2,000 to test" in text
    assert "784 → 16 relu → 10 softmax: 12,730 parameters" in text
    rows = re.findall(
        r"^ +(\d+) of 2 +([\d.]+) +([\d.]+) % +([\d.]+) +([\d.]+) % +([\d,]+)$", text, re.M
    )
    assert [row[0] for row in rows] == ["1", "2"]
    assert float(rows[1][1]) < float(rows[0][1])
    assert f"{rows[1][4]} % of the 2,000 test rows are right" in text
    figures = net.evaluate(*fastnn.datasets.load_digits()[1])
    assert rows[1][3:5] == (f"{figures['loss']:.4f}", f"{100 * figures['accuracy']:.2f}")
    assert figures["accuracy"] > 0.5
    assert (net.inputs, net.input_scale) == (784, 1 / 255)


def test_the_seed_decides_and_threads_do_not(folder: Path, tmp_path: Path) -> None:
    first = (folder / "digits.fastnn").read_bytes()
    for name, options in {"a": ("--threads", 1), "b": ("--threads", 3), "c": ("--seed", 1)}.items():
        assert run(tmp_path, "train", *TINY, "--quiet", "--output", name, *options) == ""
    assert (tmp_path / "a").read_bytes() == first
    assert (tmp_path / "b").read_bytes() == first
    assert (tmp_path / "c").read_bytes() != first


def test_train_does_as_it_is_told(flowers: Path, tmp_path: Path) -> None:
    """The command line and the library give the same network."""
    options = "--hidden 7,5 --activation tanh --epochs 3 --batch-size 9 --optimizer sgd"
    options += " --learning-rate 0.2 --schedule cosine --seed 4 --output net --quiet"
    run(tmp_path, "train", "--data", flowers / "flowers.npz", *options.split())
    found = fastnn.load(tmp_path / "net")
    with np.load(flowers / "flowers.npz") as file:
        x, y = file["x"], file["y"]
    order = np.random.Generator(np.random.Philox(key=4)).permutation(len(x))
    by_class = [i for k in range(3) for i in order if y[i] == k]
    learn = sorted(set(range(len(x))) - set(by_class[3::6]))
    expected = fastnn.mlp([4, 7, 5, 3], "tanh", standardize=True, seed=4)
    sgd = fastnn.SGD(fastnn.Cosine(0.2))
    expected.fit(x[learn], y[learn], epochs=3, batch_size=9, optimizer=sgd, verbose=0)
    for a, b in zip(found.layers, expected.layers, strict=True):
        assert a.activation == b.activation
        assert a.weights.tobytes() == b.weights.tobytes()


def test_train_deforms_pictures(flowers: Path, tmp_path: Path) -> None:
    options = ["train", "--augment", "--epochs", 1, "--hidden", 8, "--output", tmp_path / "net"]
    assert "seed 0, deformed pictures" in told(tmp_path, *options)
    (x, y), _ = fastnn.datasets.load_digits()
    expected = fastnn.mlp([784, 8, 10], input_scale=1 / 255)
    augment = fastnn.Augment(1.4, 12, 0.12, 6, (28 / 6, 7 * 28 / 6))
    optimizer = fastnn.Adam(fastnn.OneCycle(5e-3))
    expected.fit(x, y, epochs=1, optimizer=optimizer, augment=augment, verbose=0)
    weights = fastnn.load(tmp_path / "net").program.parameters
    assert weights.tobytes() == expected.program.parameters.tobytes()
    message = denied(tmp_path, *options, "--data", flowers / "flowers.npz")
    assert "expected square pictures with --augment, got " in message
    assert "flowers.npz, 4 numbers a row" in message


def test_train_and_evaluate_on_a_folder_of_idx_files(tmp_path: Path, test_digits: Any) -> None:
    x, y = test_digits
    for name, rows in {"train": slice(0, 300), "t10k": slice(300, 400)}.items():
        for kind, array in {"images-idx3": x.reshape(-1, 28, 28), "labels-idx1": y}.items():
            part = array[rows].astype(np.uint8)
            head = bytes([0, 0, 8, part.ndim]) + np.array(part.shape, ">u4").tobytes()
            (tmp_path / f"{name}-{kind}-ubyte.gz").write_bytes(gzip.compress(head + part.tobytes()))
    assert "300 to learn, 100 to test" in run(tmp_path, "train", "--data", ".", *TINY)
    assert "100 rows" in run(tmp_path, "evaluate", "digits.fastnn", "--data", ".")


def test_train_says_how_to_look_inside(folder: Path, flowers: Path, tmp_path: Path) -> None:
    hint = re.compile(r"^look inside: fastnn (.+)$", re.M)
    text = (folder / "training.txt").read_text(encoding="utf-8")
    assert hint.findall(text) == ["inspect digits.fastnn"]
    name = "my flowers.csv"
    (tmp_path / name).write_bytes((flowers / "flowers.csv").read_bytes())
    text = run(tmp_path, "train", "--data", name, "--label", "last", *TINY)
    (line,) = hint.findall(text)
    assert "saved my flowers.fastnn\n" in text
    assert run(tmp_path, *shlex.split(line)).startswith(f"row 0 of {name}\n\nthe network says ")


def test_diverging_is_an_error(tmp_path: Path) -> None:
    options = ("--optimizer", "sgd", "--learning-rate", "1e30", "--schedule", "constant")
    done = subprocess.run(
        command("train", *TINY, *options),
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        timeout=DEADLINE,
    )
    assert done.returncode == 1
    assert re.fullmatch(rb"fastnn: error: .*diverged in epoch 1.*\n", done.stderr)
    assert list(tmp_path.iterdir()) == []


def test_a_read_only_output_is_refused_before_training(folder: Path) -> None:
    """Not when training is over."""
    kept = folder / "kept.fastnn"
    kept.write_bytes(b"kept")
    kept.chmod(0o444)
    assert run(folder, "train", "--output", kept, code=1) == ""
    kept.chmod(0o644)
    assert kept.read_bytes() == b"kept"
    kept.unlink()


@contextlib.contextmanager
def training(folder: Path, *options: object) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        command("train", *options),
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    ) as child:
        try:
            yield child
        finally:
            child.kill()


def read_until(child: subprocess.Popen[str], word: str) -> str:
    assert child.stdout is not None
    text = ""
    while word not in text:
        line = child.stdout.readline()
        assert line, text
        text += line
    return text


def test_ctrl_c_keeps_the_best_weights(tmp_path: Path, test_digits: Any) -> None:
    options = "--hidden 16 --epochs 100000 --schedule constant --learning-rate 0.03"
    with training(tmp_path, *options.split()) as child:
        text = read_until(child, "8 of 100000")
        while ACCURACY.findall(text)[-1][1] == max(right for _, right in ACCURACY.findall(text)):
            text += read_until(child, " of 100000")  # so that the last weights are not the best
        child.send_signal(signal.SIGINT)
        rest, error = child.communicate(timeout=DEADLINE)
        assert child.returncode == 130
    said = re.fullmatch(
        r"fastnn: stopped by Ctrl-C in epoch (\d+); saved the best weights, of epoch (\d+) "
        r"\(([\d.]+) % right\) in digits.fastnn\n",
        error,
    )
    assert said
    stopped, best, right = said.groups()
    rows = dict(ACCURACY.findall(text + rest))
    assert int(stopped) == len(rows) + 1
    assert rows[best] == right == max(rows.values(), key=float)
    accuracy = fastnn.load(tmp_path / "digits.fastnn").evaluate(*test_digits)["accuracy"]
    assert f"{100 * accuracy:.2f}" == right
    assert [path.name for path in tmp_path.iterdir()] == ["digits.fastnn"]


def test_ctrl_c_in_the_first_epoch_keeps_what_is_there(tmp_path: Path) -> None:
    with training(tmp_path, "--hidden", "2048,2048") as child:
        read_until(child, "Ctrl-C stops early")
        time.sleep(0.15)
        child.send_signal(signal.SIGINT)
        _, error = child.communicate(timeout=DEADLINE)
        assert child.returncode == 130
    expected = (
        "fastnn: stopped by Ctrl-C in epoch 1; saved the weights as they were in digits.fastnn\n"
    )
    assert error == expected
    assert fastnn.load(tmp_path / "digits.fastnn").layers[1].units == 2048


# As the installed command begins; it says when Python's own start is over and ours begins.
STARTED = """
import sys
import fastnn.__main__ as process
open_descriptors = process.open_descriptors
def say():
    open_descriptors()
    sys.stderr.write("started\\n")
process.open_descriptors = say
sys.exit(process.main())
"""


def interrupted(folder: Path, moment: float, *arguments: object) -> tuple[int, str]:
    """The exit code and stderr of a command that hears Ctrl-C so many seconds after its start."""
    with subprocess.Popen(
        [sys.executable, "-c", STARTED, *map(str, arguments)],
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    ) as child:
        assert child.stderr is not None
        assert child.stderr.readline() == "started\n"
        time.sleep(moment)
        child.send_signal(signal.SIGINT)
        error = child.communicate(timeout=DEADLINE)[1]
        return child.returncode, error


def test_ctrl_c_is_heard_from_the_start(folder: Path) -> None:
    moments = [0.5 * i / 40 for i in range(40)]
    arguments = ("evaluate", "digits.fastnn")
    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(lambda moment: interrupted(folder, moment, *arguments), moments))
    stopped = (130, "fastnn: stopped by Ctrl-C\n")
    assert set(done) <= {stopped, (0, "")}
    assert done[:4] == [stopped] * 4  # nobody loads NumPy in 40 ms


def test_ctrl_c_within_any_import_of_the_start(folder: Path) -> None:
    """At the place where a KeyboardInterrupt would be ignored, or printed, by the import system."""
    code = """
import signal, sys
left = int(sys.argv.pop(1))
def count(event, _):
    global left
    if event == "import":
        left -= 1
        if left == 0:
            signal.raise_signal(signal.SIGINT)
from fastnn.__main__ import main
sys.addaudithook(count)
sys.exit(main())
"""

    def run_until(number: int) -> tuple[int, str, str]:
        done = subprocess.run(
            [sys.executable, "-c", code, str(number), "evaluate", "digits.fastnn"],
            cwd=folder,
            env=environment(),
            capture_output=True,
            encoding="utf-8",
            timeout=DEADLINE,
        )
        return done.returncode, done.stdout, done.stderr

    with ThreadPoolExecutor(4) as pool:
        done = set(pool.map(run_until, [1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144]))
    assert done == {(130, "", "fastnn: stopped by Ctrl-C\n")}


@pytest.mark.parametrize("gap", [0.0, 0.001, 0.003, 0.01, 0.03])
def test_a_second_ctrl_c_loses_neither_weights_nor_words(gap: float, tmp_path: Path) -> None:
    options = "--hidden 16 --epochs 100000 --schedule constant --learning-rate 0.03"
    for moment in (0.0, 0.02):
        with training(tmp_path, *options.split()) as child:
            read_until(child, "3 of 100000")
            time.sleep(moment)
            for _ in range(4):
                child.send_signal(signal.SIGINT)
                time.sleep(gap)
            _, error = child.communicate(timeout=DEADLINE)
        assert child.returncode == 130
        assert re.fullmatch(
            r"fastnn: stopped by Ctrl-C in epoch \d+; saved .* digits.fastnn\n", error
        )
        assert [path.name for path in tmp_path.iterdir()] == ["digits.fastnn"]
        fastnn.load(tmp_path / "digits.fastnn")
        (tmp_path / "digits.fastnn").unlink()


def test_ctrl_c_that_is_ignored_stays_ignored(folder: Path) -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # what nohup's children inherit
    try:
        code, error = interrupted(folder, 0.05, "info")
    finally:
        signal.signal(signal.SIGINT, before)
    assert (code, error) == (0, "")


# ------------------------------------------------------------------------------------------- tables


def write_table(
    path: Path,
    rows: list[tuple[object, ...]],
    header: tuple[str, ...] | None = None,
    index: bool = False,
    separator: str = ",",
) -> None:
    """A table as pandas writes it."""
    lines = [] if header is None else [("", *header) if index else header]
    lines += [(i, *row) if index else row for i, row in enumerate(rows)]
    text = "".join(separator.join(map(str, line)) + "\n" for line in lines)
    path.write_text(text, encoding="utf-8")


SCALES = np.array([1e-3, 1.0, 500.0, 1e6])
HEADER = ("tiny", "plain", "large", "huge", "kind")


def apart(names: tuple[object, ...], rows: int = 150) -> list[tuple[object, ...]]:
    """Rows whose columns have very different scales, and the name of their class."""
    random = np.random.default_rng(5)
    y = np.arange(rows) % len(names)
    centers = random.normal(size=(len(names), 4)) * 3
    x = (centers[y] + random.normal(size=(rows, 4))) * SCALES + 10 * SCALES
    return [(*map(repr, map(float, row)), names[k]) for row, k in zip(x, y, strict=True)]


def curve(rows: int = 200) -> list[tuple[object, ...]]:
    """Rows of three columns, and whole numbers that follow from them, hardly two the same."""
    random = np.random.default_rng(6)
    x = random.normal(size=(rows, 3)) * (1, 100, 1e4)
    y = 1e4 * (x[:, 0] + 0.01 * x[:, 1] - np.tanh(1e-4 * x[:, 2])) + 300 * random.normal(size=rows)
    return [(*map(repr, map(float, row)), round(t)) for row, t in zip(x, y, strict=True)]


CURVE = ("one", "two", "three", "price")


@pytest.mark.parametrize("separator", [",", "\t", ";"], ids=["comma", "tab", "semicolon"])
@pytest.mark.parametrize("index", [False, True], ids=["plain", "index"])
@pytest.mark.parametrize("header", [False, True], ids=["bare", "header"])
def test_tables_of_each_form_are_learned(
    header: bool, index: bool, separator: str, tmp_path: Path
) -> None:
    """The same rows give the same network, however they are written."""
    for name, rows, names in (("kinds", apart(("a", "b", "c")), HEADER), ("c", curve(), CURVE)):
        write_table(tmp_path / f"{name}.csv", rows, names if header else None, index, separator)
        write_table(tmp_path / "plain.csv", rows, names)
        said = (["--index", "first"] * index + ["--label", "last"]) * (not header)
        text = told(tmp_path, "train", "--data", f"{name}.csv", *said, "--output", "a")
        if name == "kinds":
            assert float(re.findall(r"^([\d.]+) % of the 25 test rows", text, re.M)[0]) > 95
        else:
            assert float(re.findall(r"^R² ([\d.]+), RMSE [\d.]+ on the 33", text, re.M)[0]) > 0.9
        assert ("guessed   columns are separated by" in text) == (separator != ",")
        told(tmp_path, "train", "--data", "plain.csv", "--output", "b", "--quiet")
        a, b = fastnn.load(tmp_path / "a"), fastnn.load(tmp_path / "b")
        for one, two in zip(a.layers, b.layers, strict=True):
            assert one.weights.tobytes() == two.weights.tobytes()
        assert a.trained_on == f"{name}.csv"
        assert a.features == (names[:-1] if header else None)
        assert a.target == (names[-1] if header else None)
        assert a.classes == b.classes == (("a", "b", "c") if name == "kinds" else None)


def test_the_defaults_suit_small_tables_of_many_scales(tmp_path: Path) -> None:
    write_table(tmp_path / "kinds.csv", apart(("a", "b", "c")), HEADER)
    text = told(tmp_path, "train", "--data", "kinds.csv")
    assert "125 to learn, 25 to test, standardised by column" in text
    assert "4 → 256 tanh → 3 softmax" in text
    assert "batches of 16" in text
    lines = ACCURACY.findall(text)
    assert "63 of 63" in text  # 8 steps an epoch, 500 at least
    assert len(lines) < 25
    assert float(lines[-1][1]) > 95
    text = told(tmp_path, "train", "--data", "kinds.csv", "--epochs", "30", "--batch-size", "200")
    assert "batches of 125" in text
    assert len(ACCURACY.findall(text)) == 30


@pytest.mark.parametrize("seed", [0, 1])
def test_every_sixth_row_of_a_class_is_tested_as_the_seed_draws(seed: int, tmp_path: Path) -> None:
    write_table(tmp_path / "kinds.csv", apart((1, 2, 7), 60), HEADER)
    chosen = parse(["train", "--data", str(tmp_path / "kinds.csv"), "--seed", str(seed)])
    found = learning_data(chosen)
    assert found.classes == (1, 2, 7)
    assert np.bincount(found.y_test).tolist() in ([3, 3, 4], [3, 4, 3], [4, 3, 3])
    assert len(found.y) == 50
    tested = set(found.x_test[:, 0])
    assert not tested & set(found.rows.x[:, 0])
    other = learning_data(parse(["train", "--data", str(tmp_path / "kinds.csv"), "--seed", "9"]))
    assert tested != set(other.x_test[:, 0])


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        (("rose", "tulip", "aster"), ("aster", "rose", "tulip")),
        (("True", "False"), (False, True)),
        ((1, 2, 7), (1, 2, 7)),
        ((-1, 1), (-1, 1)),
        (("1.0", "2.0", "3.0"), (1, 2, 3)),
        (('"a, b"', '"c ""d"""', "ä"), ("a, b", 'c "d"', "ä")),
    ],
    ids=["words", "flags", "gaps", "signs", "floats", "quoted"],
)
def test_names_of_classes_come_back_in_every_output(
    written: tuple[object, ...], kept: tuple[Any, ...], tmp_path: Path
) -> None:
    write_table(tmp_path / "kinds.csv", apart(written, 60), HEADER)
    told(tmp_path, "train", "--data", "kinds.csv", "--hidden", "32", "--quiet")
    net = fastnn.load(tmp_path / "kinds.fastnn")
    assert net.classes == kept
    assert list(map(type, net.classes)) == list(map(type, kept))
    with (tmp_path / "kinds.csv").open(encoding="utf-8", newline="") as file:
        truth = [row["kind"] for row in csv.DictReader(file)]
    names = list(map(str, kept))
    if written[0] == "1.0":
        truth = [name.removesuffix(".0") for name in truth]

    said = json.loads(told(tmp_path, "predict", "kinds.fastnn", "kinds.csv", "--json"))
    assert {entry["class"] for entry in said} == set(kept)
    said = [str(entry["class"]) for entry in said]
    assert np.mean([a == b for a, b in zip(said, truth, strict=True)]) > 0.9

    text = told(tmp_path, "predict", "kinds.fastnn", "kinds.csv", "--csv")
    table = list(csv.DictReader(io.StringIO(text)))
    assert [row["class"] for row in table] == said
    assert list(table[0]) == ["row", "class", *(f"probability_{name}" for name in names)]

    head, *rows = told(tmp_path, "predict", "kinds.fastnn", "kinds.csv").splitlines()
    assert re.split(r"  +", head.strip()) == ["row", "class", *(f"{name} %" for name in names)]
    assert [re.split(r"  +", row.strip())[1] for row in rows] == said

    text = told(tmp_path, "evaluate", "kinds.fastnn", "--data", "kinds.csv")
    assert [len(re.findall(rf"^ *{re.escape(name)}  .* %$", text, re.M)) for name in names] == [
        1
    ] * len(names)
    text = told(tmp_path, "inspect", "kinds.fastnn", "--file", "kinds.csv", "--index", 4)
    verdict = "right" if said[4] == truth[4] else f"but it is {truth[4]}"
    assert re.search(rf"^the network says {re.escape(said[4])}[:,] {verdict}$", text, re.M)
    assert re.findall(r"^ *(\S.*?) [ █▏▎▍▌▋▊▉]{20} +[\d.]+ %$", text, re.M) == names


def test_a_class_that_the_network_lacks(tmp_path: Path) -> None:
    write_table(tmp_path / "kinds.csv", apart(("rose", "tulip")), HEADER)
    told(tmp_path, "train", "--data", "kinds.csv", "--quiet", *TINY)
    write_table(tmp_path / "more.csv", apart(("rose", "tulpi")), HEADER)
    error = denied(tmp_path, "evaluate", "kinds.fastnn", "--data", "more.csv")
    assert "more.csv: unknown class 'tulpi'; did you mean 'tulip'? (one of: rose, tulip)" in error


def test_columns_are_found_by_name(tmp_path: Path) -> None:
    rows = apart(("a", "b", "c"), 60)
    write_table(tmp_path / "kinds.csv", rows, HEADER)
    told(tmp_path, "train", "--data", "kinds.csv", "--quiet", *TINY)
    expected = told(tmp_path, "predict", "kinds.fastnn", "kinds.csv", "--csv")
    figures = told(tmp_path, "evaluate", "kinds.fastnn", "--data", "kinds.csv").splitlines()[1:]
    for places in ([4, 2, 0, 3, 1], [3, 2, 1, 0], [0, 4, 1, 2, 3]):
        for index in (False, True):
            for separator in (",", "\t"):
                shuffled = [tuple(row[j] for j in places) for row in rows]
                header = tuple(HEADER[j] for j in places)
                write_table(tmp_path / "other.tsv", shuffled, header, index, separator)
                assert told(tmp_path, "predict", "kinds.fastnn", "other.tsv", "--csv") == expected
                command = ("evaluate", "kinds.fastnn", "--data", "other.tsv")
                if 4 in places:
                    assert told(tmp_path, *command).splitlines()[1:] == figures
                else:
                    assert "(a column named 'kind', or --label)" in denied(tmp_path, *command)
    write_table(tmp_path / "other.csv", [row[1:] for row in rows], HEADER[1:])
    error = denied(tmp_path, "predict", "kinds.fastnn", "other.csv")
    assert "other.csv: expected the columns tiny, plain, large, huge, got none named tiny" in error


def test_a_label_of_another_name_is_told_by_the_option(tmp_path: Path) -> None:
    rows = apart(("a", "b", "c"), 60)
    write_table(tmp_path / "kinds.csv", rows, HEADER)
    told(tmp_path, "train", "--data", "kinds.csv", "--quiet", *TINY)
    figures = told(tmp_path, "evaluate", "kinds.fastnn", "--data", "kinds.csv").splitlines()[1:]
    write_table(tmp_path / "other.csv", rows, (*HEADER[:4], "sort"))
    for label in ("sort", "last"):
        text = told(tmp_path, "evaluate", "kinds.fastnn", "--data", "other.csv", "--label", label)
        assert text.splitlines()[1:] == figures


def test_tables_without_names_are_read_by_their_width(tmp_path: Path) -> None:
    rows = apart(("a", "b", "c"), 60)
    write_table(tmp_path / "kinds.csv", rows)
    told(tmp_path, "train", "--data", "kinds.csv", "--quiet", *TINY)
    write_table(tmp_path / "inputs.csv", [row[:4] for row in rows])
    assert told(tmp_path, "predict", "kinds.fastnn", "inputs.csv", "--csv") == told(
        tmp_path, "predict", "kinds.fastnn", "kinds.csv", "--csv"
    )
    write_table(tmp_path / "narrow.csv", [row[:3] for row in rows])
    assert "expected 4 inputs a row, got 3" in denied(
        tmp_path, "predict", "kinds.fastnn", "narrow.csv", "--label", "none"
    )


def test_regression_from_the_first_command_to_the_last(tmp_path: Path) -> None:
    rows = curve()
    write_table(tmp_path / "houses.csv", rows, CURVE, index=True)
    text = told(tmp_path, "train", "--data", "houses.csv", "--label", "price")
    assert re.search(
        r"^guessed   price: \d+ different whole numbers in 200 rows are numbers to be met "
        r"\(--task regression\)$",
        text,
        re.M,
    )
    assert re.search(r"^ +epoch +RMSE +R² +test RMSE +test R² +rows/s$", text, re.M)
    assert "3 → 256 tanh → 1 identity" in text
    net = fastnn.load(tmp_path / "houses.fastnn")
    assert (net.classes, net.target, net.features) == (None, "price", CURVE[:3])
    assert (net.loss.name, net.trained_on) == ("mean_squared_error", "houses.csv")
    x = np.array([row[:3] for row in rows], float)
    y = np.array([row[3] for row in rows], float)
    h = net.predict(x)[:, 0]
    error = ((h - y) ** 2).mean()
    chosen = learning_data(parse(["train", "--data", str(tmp_path / "houses.csv")]))
    tested = ((net.predict(chosen.x_test)[:, 0] - chosen.y_test) ** 2).mean()
    r2, rmse = re.findall(r"^R² ([\d.]+), RMSE ([\d.]+) on the 33 test rows", text, re.M)[0]
    assert float(r2) == pytest.approx(1 - tested / chosen.y_test.var(), abs=1e-4)
    assert float(rmse) == pytest.approx(tested**0.5, rel=1e-3)

    text = told(tmp_path, "evaluate", "houses.fastnn", "--data", "houses.csv")
    assert f"R²        {1 - error / y.var():.4f}\n" in text
    assert f"RMSE      {error**0.5:#.4g} (of price)\n" in text
    assert "accuracy" not in text

    entries = json.loads(told(tmp_path, "predict", "houses.fastnn", "houses.csv", "--json"))
    assert [list(entry) for entry in entries] == [["row", "outputs"]] * 200
    assert np.array([entry["outputs"] for entry in entries], np.float32)[:, 0].tolist() == list(h)
    head, *lines = told(tmp_path, "predict", "houses.fastnn", "houses.csv", "--csv").splitlines()
    assert head == "row,price"
    assert np.array([line.split(",")[1] for line in lines], np.float32).tolist() == list(h)
    head, first, *_ = told(tmp_path, "predict", "houses.fastnn", "houses.csv").splitlines()
    assert (head.split(), first.split()) == (["row", "price"], ["0", f"{h[0]:.4g}"])

    text = told(tmp_path, "inspect", "houses.fastnn", "--file", "houses.csv", "--index", 2)
    assert f"the network says {h[2]:.6g}, and it is {y[2]:.6g}\n" in text
    assert re.search(rf"^price .* {re.escape(f'{h[2]:.4g}')}$", text, re.M)


def test_two_real_outputs_get_no_class(tmp_path: Path) -> None:
    net = fastnn.mlp([3, 2], output="identity")
    net.save(tmp_path / "net")
    np.save(tmp_path / "x.npy", np.eye(3))
    entry = json.loads(told(tmp_path, "predict", "net", "x.npy", "--json"))[0]
    assert list(entry) == ["row", "outputs"]
    text = told(tmp_path, "predict", "net", "x.npy", "--csv")
    assert text.startswith("row,output_0,output_1\n")
    assert "class" not in told(tmp_path, "predict", "net", "x.npy")
    text = told(tmp_path, "inspect", "net", "--file", "x.npy")
    assert "the network says\n" in text
    np.savez(tmp_path / "x.npz", x=np.eye(3), y=np.array([[1.0, 5], [2, 5], [3, 6]]))
    text = told(tmp_path, "evaluate", "net", "--data", "x.npz")
    y, h = np.array([[1.0, 5], [2, 5], [3, 6]]), net.predict(np.eye(3))
    r2 = np.mean(1 - ((h - y) ** 2).mean(0) / y.var(0))
    assert f"R²        {r2:.4f}\n" in text


def test_balanced_classes_are_told_apart_though_one_is_rare(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    rare = random.random(400) < 0.06
    x = random.normal(size=(400, 2)) + 1.2 * rare[:, None]
    rows = (f"{a:.3f},{b:.3f},{kind}" for (a, b), kind in zip(x, rare, strict=True))
    (tmp_path / "rare.csv").write_text("a,b,rare\n" + "\n".join(rows))
    found = []
    for weight in ("none", "balanced"):
        run(tmp_path, "train", "--data", "rare.csv", *TINY, "--class-weight", weight)
        net = fastnn.load(tmp_path / "rare.fastnn")
        found.append(net.classify(x)[rare].mean())
    assert found[0] < 0.4
    assert found[1] > 0.6


def test_the_task_is_guessed_from_the_label_and_said(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    x = random.normal(size=(200, 2)).round(3).tolist()
    labels: dict[str, tuple[list[object], str]] = {
        "few": ([k % 20 for k in range(200)], "y: 20 classes (--task classes)"),
        "many": (
            list(range(0, 400, 2)),
            "y: 200 different whole numbers in 200 rows are numbers to be met (--task regression)",
        ),
        "real": ([k / 4 for k in range(200)], "y: real numbers to be met (--task regression)"),
    }
    for name, (y, note) in labels.items():
        rows = [(*row, t) for row, t in zip(x, y, strict=True)]
        write_table(tmp_path / f"{name}.csv", rows, ("a", "b", "y"))
        text = told(tmp_path, "train", "--data", f"{name}.csv", *TINY)
        assert f"guessed   {note}\n" in text
        for task in ("classes", "regression"):
            text = told(tmp_path, "train", "--data", f"{name}.csv", *TINY, "--task", task)
            assert "--task" not in text
            assert ("softmax" in text) == (task == "classes")
    rows = [(*row, k % 21) for k, row in enumerate(x + x)]
    write_table(tmp_path / "either.csv", rows, ("a", "b", "y"))
    assert "got 21 different whole numbers in 400 rows, which could be either; say --task" in (
        denied(tmp_path, "train", "--data", "either.csv")
    )


def test_models_of_different_files_have_different_names(tmp_path: Path) -> None:
    for name in ("iris.2020.csv", "iris.2021.csv", "a.b.tsv"):
        write_table(tmp_path / name, apart(("a", "b"), 30), HEADER)
        told(tmp_path, "train", "--data", name, "--quiet", *TINY)
    assert {path.name for path in tmp_path.glob("*.fastnn")} == {
        "iris.2020.fastnn",
        "iris.2021.fastnn",
        "a.b.fastnn",
    }


def test_a_bad_number_is_named_where_it_stands(tmp_path: Path) -> None:
    rows = apart(("a", "b"), 150)
    rows[100] = (rows[100][0], "nan", *rows[100][2:])
    write_table(tmp_path / "kinds.csv", rows, HEADER)
    error = denied(tmp_path, "train", "--data", "kinds.csv")
    assert "kinds.csv, line 102" in error
    assert "column 2 ('plain')" in error
    x = np.array([row[:4] for row in rows], float)
    np.savez(tmp_path / "kinds.npz", x=x, y=np.arange(150) % 2)
    error = denied(tmp_path, "train", "--data", "kinds.npz")
    assert "kinds.npz: " in error
    assert "row 100, column 1" in error


def test_evaluate_alone_tests_what_was_trained_on_the_shipped_digits(
    folder: Path, flowers: Path, tmp_path: Path
) -> None:
    for verb, option in (("evaluate", "--data"), ("inspect", "--file")):
        error = denied(flowers, verb, "flowers.fastnn")
        assert f"expected {option}, since the network was trained on flowers.csv" in error
        assert "since" not in told(folder, verb, "digits.fastnn")
        net = fastnn.load(folder / "digits.fastnn")
        net.trained_on = "MNIST"
        net.save(tmp_path / "other")
        error = denied(tmp_path, verb, "other")
        assert f"expected {option}, since the network was trained on MNIST" in error
        net.trained_on = net.classes = None  # such as a file of format 1
        net.save(tmp_path / "old")
        said = "the shipped digits, since the network has their size and does not say what it knows"
        assert said in told(tmp_path, verb, "old")


def test_sets_of_pictures_are_not_standardised(folder: Path, net: fastnn.Network) -> None:
    assert not net.standardize
    assert net.classes == tuple(range(10))
    assert (net.trained_on, net.features, net.target) == ("the shipped digits", None, None)
    assert "relu" in (folder / "training.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_trains_by_its_name(name: str, tmp_path: Path) -> None:
    text = told(tmp_path, "train", *TINY, "--optimizer", name)
    told_rate = f"{name}, learning rate {OPTIMIZERS[name].PEAK:g}"
    assert f"{told_rate} (" in text or f"{told_rate}, " in text
    assert float(ACCURACY.findall(text)[-1][1]) > 50
    with pytest.raises(SystemExit), contextlib.redirect_stdout(io.StringIO()) as out:
        parse(["train", "--help"])
    assert f"{OPTIMIZERS[name].PEAK:g} for {name}" in " ".join(out.getvalue().split())


# --------------------------------------------------------------------------------------- evaluating


def test_evaluate_counts_and_shows_mistakes(
    folder: Path, net: fastnn.Network, test_digits: Any
) -> None:
    x, y = test_digits
    text = run(folder, "evaluate", "digits.fastnn")
    said = net.classify(x)
    right = int((said == y).sum())
    assert f"{right / 20:.2f} %: {right:,} right, {2000 - right:,} wrong" in text
    rows = re.findall(r"^(\d) ((?: +[\d·]+){10}) +[\d.]+ %$", text, re.M)
    counts = [[int(n) if n != "·" else 0 for n in cells.split()] for _, cells in rows]
    expected = np.zeros((10, 10), int)
    np.add.at(expected, (y, said), 1)
    np.testing.assert_array_equal(counts, expected)
    worst = list(map(int, re.findall(r"row (\d+)", text)))
    notes = re.findall(r"is (\d), says (\d)", text)
    assert [(str(y[i]), str(said[i])) for i in worst] == notes
    given = net.predict(x)[np.arange(2000), y]
    assert worst == np.argsort(np.where(said == y, 2, given), kind="stable")[:10].tolist()
    assert max(map(len, text.splitlines())) <= 80
    assert "\x1b" not in text
    assert "▀" in text


def test_evaluate_a_file(flowers: Path) -> None:
    text = run(flowers, "evaluate", "flowers.fastnn", "--data", "flowers.csv", "--label", "last")
    assert "all rows of flowers.csv: 120 rows" in text
    assert float(re.findall(r"accuracy +([\d.]+) %", text)[0]) > 90
    head, *rest = text.splitlines()
    assert head.endswith("120 rows; it was trained on rows of this name")
    text = run(flowers, "evaluate", "flowers.fastnn", "--data", "flowers.npz")
    assert text.splitlines() == ["flowers.fastnn on all rows of flowers.npz: 120 rows", *rest]


def test_evaluate_numbers_to_be_met(tmp_path: Path) -> None:
    x = np.linspace(-1, 1, 50)[:, None]
    np.savez(tmp_path / "line.npz", x=x, y=2 * x)
    net = fastnn.mlp([1, 1], output="identity")
    net.layers[0].weights[...] = 1.5
    net.save(tmp_path / "line.fastnn")
    text = run(tmp_path, "evaluate", "line.fastnn", "--data", "line.npz")
    assert f"{0.25 * (x**2).mean():.4f} (mean_squared_error)" in text
    text = run(tmp_path, "predict", "line.fastnn", "line.npz")
    assert text.splitlines()[1].split() == ["0", "-1.5"]


# --------------------------------------------------------------------------------------- predicting


def test_predict_says_what_the_library_says(
    folder: Path, net: fastnn.Network, test_digits: Any
) -> None:
    x = test_digits[0][:50]
    np.save(folder / "x.npy", x)
    np.savetxt(folder / "labelled.csv", np.c_[test_digits[1][:50], x], "%d", ",")
    h, classes = net.predict(x), net.classify(x).tolist()

    entries = json.loads(run(folder, "predict", "digits.fastnn", "x.npy", "--json"))
    assert [entry["row"] for entry in entries] == list(range(50))
    assert [entry["class"] for entry in entries] == classes
    found = np.array([entry["probabilities"] for entry in entries], np.float32)
    assert found.tobytes() == h.tobytes()

    text = run(folder, "predict", "digits.fastnn", "labelled.csv", "--label", "first", "--csv")
    head, *rows = [line.split(",") for line in text.splitlines()]
    assert head == ["row", "class", *(f"probability_{k}" for k in range(10))]
    assert [row[:2] for row in rows] == [[str(i), str(k)] for i, k in enumerate(classes)]
    assert np.array([row[2:] for row in rows]).astype(np.float32).tobytes() == h.tobytes()

    head, *rows = [
        line.split() for line in run(folder, "predict", "digits.fastnn", "x.npy").splitlines()
    ]
    assert head[:4] == ["row", "class", "0", "%"]
    assert rows == [
        [str(i), str(classes[i]), *(f"{100 * value:.1f}" for value in h[i])] for i in range(50)
    ]


def test_predict_with_many_classes_shows_three(tmp_path: Path) -> None:
    net = fastnn.mlp([2, 30])
    net.save(tmp_path / "net")
    x = np.array([[1.0, 2.0], [-3.0, 0.5]])
    np.save(tmp_path / "x.npy", x)
    head, first, _ = run(tmp_path, "predict", "net", "x.npy").splitlines()
    assert head.split() == ["row", "class", "first", "second", "third"]
    top = np.argsort(-net.predict(x)[0])[:3]
    assert first.split()[:3] == ["0", str(top[0]), f"{top[0]}:"]
    assert re.findall(r"(\d+): ", first) == [str(k) for k in top]


def test_a_reader_that_goes_away_is_no_matter(folder: Path, test_digits: Any) -> None:
    np.save(folder / "all.npy", test_digits[0])
    for arguments in (("info",), ("predict", "digits.fastnn", "all.npy", "--csv")):
        reader, writer = os.pipe()
        os.close(reader)
        done = subprocess.run(
            command(*arguments),
            cwd=folder,
            env=environment(),
            stdout=writer,
            stderr=subprocess.PIPE,
            timeout=DEADLINE,
        )
        os.close(writer)
        assert done.returncode == 141
        assert done.stderr == b""


@pytest.mark.parametrize("arguments", [("info",), ("inspect", "digits.fastnn")])
def test_a_full_disk_is_an_error(folder: Path, arguments: tuple[str, ...]) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            command(*arguments),
            cwd=folder,
            env=environment(),
            stdout=full,
            stderr=subprocess.PIPE,
            timeout=DEADLINE,
        )
    assert done.returncode == 1
    assert re.fullmatch(rb"fastnn: error: output: no space left on device\n", done.stderr)


def test_closed_output_is_no_matter(tmp_path: Path) -> None:
    line = shlex.join(command("info")) + " >&-"
    assert (
        subprocess.run(
            line, shell=True, cwd=tmp_path, env=environment(), timeout=DEADLINE
        ).returncode
        == 0
    )


STREAMS = """
import sys
from fastnn import cli
class Writer:
    text = ""
    def write(self, text):
        Writer.text += text
kind, *arguments = sys.argv[1:]
if "out" in kind:
    sys.stdout = None if "none" in kind else Writer()
if "closed" in kind:
    sys.stderr.close()
elif "err" in kind:
    sys.stderr = None if "none" in kind else Writer()
try:
    sys.exit(cli.main(arguments))
finally:
    sys.stdout = sys.__stdout__  # Python's own end flushes them
    sys.stderr = None
    sys.stdout.write(Writer.text)
"""


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("none err", ""),
        ("closed err", ""),
        ("write err", "fastnn: error: none: no such file or directory\n"),
    ],
)
def test_an_error_finds_no_stderr(kind: str, expected: str, tmp_path: Path) -> None:
    """It never goes to stdout instead."""
    for arguments, code in ((["evaluate", "none"], 1), (["trian"], 2)):
        done = subprocess.run(
            [sys.executable, "-c", STREAMS, kind, *arguments],
            cwd=tmp_path,
            env=environment(),
            capture_output=True,
            encoding="utf-8",
            timeout=DEADLINE,
        )
        assert done.returncode == code
        assert done.stderr == ""
        if code == 1:
            assert done.stdout == expected


@pytest.mark.parametrize("kind", ["none out", "write out"])
def test_results_find_no_usual_stdout(kind: str, folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", STREAMS, kind, "evaluate", "digits.fastnn"],
        cwd=folder,
        env=environment(),
        capture_output=True,
        encoding="utf-8",
        timeout=DEADLINE,
    )
    assert (done.returncode, done.stderr) == (0, "")
    plain = run(folder, "evaluate", "digits.fastnn", PYTHONIOENCODING="ascii")
    assert done.stdout == ("" if kind == "none out" else plain)


def test_no_file_takes_the_place_of_a_closed_stream(tmp_path: Path) -> None:
    """Libraries write to number 2, whoever has it."""
    code = """
import os, sys
import fastnn.__main__ as process
from fastnn import cli
cli.main = lambda: os.open(os.devnull, os.O_RDONLY)
sys.exit(process.main())
"""
    line = f"{shlex.join([sys.executable, '-c', code])} <&- >&- 2>&-"
    done = subprocess.run(line, shell=True, cwd=tmp_path, env=environment(), timeout=DEADLINE)
    assert done.returncode > 2


@pytest.mark.parametrize("closed", ["2>&-", "2>&- >&-", "<&- 2>&-"])
def test_descriptors_that_the_caller_closed(closed: str, tmp_path: Path) -> None:
    """Errors go nowhere else."""
    for words, code in ((command("evaluate", "none"), 1), (command("trian"), 2)):
        done = subprocess.run(
            f"{shlex.join(words)} {closed}",
            shell=True,
            cwd=tmp_path,
            env=environment(),
            capture_output=True,
            timeout=DEADLINE,
        )
        assert (done.returncode, done.stdout, done.stderr) == (code, b"", b"")
    line = f"{shlex.join(command('train', *TINY, '--quiet'))} {closed}"
    subprocess.run(line, shell=True, cwd=tmp_path, env=environment(), check=True, timeout=DEADLINE)
    fastnn.load(tmp_path / "digits.fastnn")


# --------------------------------------------------------------------------------------- inspecting


def test_inspect_shows_the_digit_and_what_the_net_decided(
    folder: Path, net: fastnn.Network, test_digits: Any
) -> None:
    x, y = test_digits
    i = int(np.flatnonzero(net.classify(x) == y)[5])
    text = run(folder, "inspect", "digits.fastnn", "--index", i)
    lines = text.splitlines()
    assert lines[0] == f"row {i} of the test part of the shipped digits"
    assert f"the network says {y[i]}: right" in text
    h = net.predict(x[i : i + 1])[0]
    shares = re.findall(r"(?:^|   )(\d) [ █▏▎▍▌▋▊▉]{20} +([\d.]+) %$", text, re.M)
    assert shares == [(str(k), f"{100 * h[k]:.2f}") for k in range(10)]
    ink = x[i].reshape(14, 2, 28).max(axis=1) > 200  # whatever is dark must be seen
    drawn = np.array([[mark != " " for mark in line[:28].ljust(28)] for line in lines[2:16]])
    assert drawn[ink].all()
    assert not drawn[x[i].reshape(14, 2, 28).max(axis=1) == 0].any()
    neurons = net.activations(x[i : i + 1])[1][0]
    assert f"layer 1: 16 relu neurons, {np.count_nonzero(neurons)} fire" in text
    foot = lines[-1][2:].ljust(31)[::2]
    assert [mark != " " for mark in foot] == (neurons > 0).tolist()
    assert max(map(len, lines)) <= 80
    assert "\x1b" not in text


def test_inspect_says_when_the_net_is_wrong(
    folder: Path, net: fastnn.Network, test_digits: Any
) -> None:
    x, y = test_digits
    i = int(np.flatnonzero(net.classify(x) != y)[0])
    said = net.classify(x[i : i + 1])[0]
    assert f"the network says {said}, but it is {y[i]}" in run(
        folder, "inspect", "digits.fastnn", "--index", i
    )


def test_inspect_saves_pictures(folder: Path, flowers: Path) -> None:
    for where, model, ending in ((folder, "digits", "png"), (flowers, "flowers", "svg")):
        file = () if model == "digits" else ("--file", "unlabelled.csv")
        text = run(where, "inspect", f"{model}.fastnn", *file, "--save", f"one.{ending}")
        assert f"pictures of it: one.{ending}, one-why.{ending}" in text
        for name in ("one", "one-why"):
            start = b"\x89PNG" if ending == "png" else b"<?xml"
            assert (where / f"{name}.{ending}").read_bytes().startswith(start)


def test_inspect_what_is_no_picture(flowers: Path) -> None:
    text = run(flowers, "inspect", "flowers.fastnn", "--file", "unlabelled.csv", "--index", 3)
    assert text.startswith("row 3 of unlabelled.csv\n")
    assert "input: 4 values" in text
    assert "layer 1: 8 tanh neurons" in text
    assert "but it is" not in text


def test_ascii_where_the_output_is_ascii(folder: Path) -> None:
    for arguments in (
        ("evaluate",),
        ("inspect", "--index", "3"),
        ("train", *TINY, "--epochs", "1"),
    ):
        name = [] if arguments[0] == "train" else ["digits.fastnn"]
        text = run(folder, arguments[0], *name, *arguments[1:], PYTHONIOENCODING="ascii")
        assert text.isascii()
        assert "\\u" not in text
        if arguments[0] != "train":
            assert "@" in text


def in_terminal(folder: Path, *arguments: object, **changes: str) -> str:
    """What the command writes to a terminal."""
    parent, child = pty.openpty()
    with subprocess.Popen(
        command(*arguments), cwd=folder, env=environment(TERM="xterm", **changes), stdout=child
    ) as process:
        os.close(child)
        text = b""
        with contextlib.suppress(OSError):  # how Linux says that the other side is closed
            while part := os.read(parent, 65536):
                text += part
        os.close(parent)
        assert process.wait(DEADLINE) == 0
    return text.decode()


@pytest.mark.parametrize(
    "columns", [0, 20, 80, *(pytest.param(n, marks=pytest.mark.slow) for n in (1, 100, 1000))]
)
def test_terminals_of_any_width_show_all_figures(columns: int, folder: Path) -> None:
    for words in (("evaluate", "digits.fastnn"), ("inspect", "digits.fastnn")):
        plain = run(folder, *words)
        text = in_terminal(folder, *words, COLUMNS=str(columns), NO_COLOR="1")
        figures = re.compile(r"[\d.]+ %")
        assert figures.findall(text) == figures.findall(plain)
        assert max(map(len, text.splitlines())) <= 100


def test_colours_in_a_terminal_only(folder: Path) -> None:
    plain = run(folder, "inspect", "digits.fastnn")
    coloured = in_terminal(folder, "inspect", "digits.fastnn")
    assert "\x1b[38;5;255;48;5;255m▀" in coloured
    assert (
        in_terminal(folder, "inspect", "digits.fastnn", NO_COLOR="1").replace("\r\n", "\n") == plain
    )
    without = re.sub(r"\x1b\[[\d;]*m", "", coloured).replace("\r\n", "\n")
    assert without.splitlines()[16:] == plain.splitlines()[16:]


# -------------------------------------------------------------------------------------------- usage


def test_info_and_version(tmp_path: Path) -> None:
    text = run(tmp_path, "info", FASTNN_NUM_THREADS="3")
    assert re.search(rf"^fastnn +{re.escape(fastnn.__version__)}$", text, re.M)
    assert re.search(r"^threads +3$", text, re.M)
    assert re.search(rf"^engine +{fastnn.mlp([1, 1], output='identity').engine}$", text, re.M)
    assert run(tmp_path, "--version") == f"fastnn {fastnn.__version__}\n"


EXAMPLE = r"^  (?:FASTNN_\S+ )*fastnn (.+?)(?: {2,}.*| > .*)?$"
COMMANDS = ("train", "evaluate", "predict", "inspect", "play", "page", "sweep", "info")


def test_help_lists_the_commands(tmp_path: Path) -> None:
    text = run(tmp_path, "--help")
    assert re.findall(r"^    (\w+)  ", text, re.M) == list(COMMANDS)
    assert run(tmp_path) == text


@pytest.mark.parametrize("name", ["", *COMMANDS])
def test_the_examples_in_help_are_right(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main([name, "--help"] if name else ["--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= 100
    examples = re.findall(EXAMPLE, text, re.M)
    assert examples
    for example in examples:
        chosen = parse(shlex.split(example))
        assert chosen.run.__name__ == example.split()[0]
        assert not name or name == example.split()[0]


def test_the_examples_in_help_work(
    folder: Path, flowers: Path, tmp_path: Path, test_digits: Any
) -> None:
    """Each of them, in their order, with files of the names that they use."""
    rows = apart(("iris", "rose", "tulip"), 120)
    write_table(tmp_path / "flowers.csv", rows, ("sepal", "stalk", "petal", "leaf", "kind"))
    write_table(tmp_path / "unknown.csv", rows, ("sepal", "stalk", "petal", "leaf", "kind"))
    write_table(tmp_path / "houses.csv", curve(), CURVE)
    write_table(tmp_path / "wines.csv", apart(tuple(range(1, 11)), 120), HEADER)
    x, y = test_digits
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "my_digits.npy", x)
    np.save(tmp_path / "digits.npy", x)
    head = bytes([0, 0, 8, 2]) + np.array(x.shape, ">u4").tobytes()
    (tmp_path / "t10k-images-idx3-ubyte.gz").write_bytes(gzip.compress(head + x.tobytes(), 1))
    Image.fromarray(255 - x[0].reshape(28, 28)).save(tmp_path / "photo.jpg")
    np.savetxt(tmp_path / "digits.csv", np.c_[y, x][:500], "%d", ",")
    (tmp_path / "digits.fastnn").write_bytes((folder / "digits.fastnn").read_bytes())
    told(tmp_path, "train", "--data", "flowers.csv", "--quiet")
    told(tmp_path, "train", "--data", "houses.csv", "--quiet")
    for name in ("", *COMMANDS):
        with contextlib.redirect_stdout(io.StringIO()) as out, pytest.raises(SystemExit):
            parse([name, "--help"] if name else ["--help"])
        examples = re.findall(EXAMPLE, out.getvalue(), re.M)
        tables = [line for line in examples if "flowers" in line]
        assert bool(tables) == (name != "info")
        assert name in ("", "info") or any("houses" in line for line in examples)
        for example in examples:
            others = "mnist" in example or example in ("train", "sweep")  # of other tests
            if others or example.startswith("play"):
                continue
            told(tmp_path, *shlex.split(example), *(TINY if "--hidden" in example else ()))


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("trian", "unknown command 'trian'; did you mean 'train'?"),
        ("train --activation rleu", "unknown activation 'rleu'; did you mean 'relu'?"),
        ("train --optimizer adm", "unknown optimizer 'adm'; did you mean 'adam'?"),
        ("train --schedule onecycle", "unknown schedule 'onecycle'; did you mean 'one-cycle'?"),
        ("train --engine avx", "unknown engine 'avx'; did you mean 'avx2'?"),
        ("train --class-weight balance", "did you mean 'balanced'?"),
        ("train --task regresion", "unknown task 'regresion'; did you mean 'regression'?"),
        ("train --header maybe", "unknown header 'maybe' (one of: auto, yes, no)"),
        ("train --separator :", "unknown separator ':' (one of: auto, tab, ,, ;, |)"),
        ("train --hidden 16,x", "expected a whole number of at least 1, got 'x'"),
        ("train --hidden 0", "expected a whole number of at least 1, got '0'"),
        ("train --epochs 0", "expected a whole number of at least 1, got '0'"),
        (
            "train --epochs 1" + "0" * 30,
            "argument --epochs: expected a whole number of at most 2147",
        ),
        (
            "train --epochs 1" + "0" * 5000,
            "argument --epochs: expected a whole number of at most 2",
        ),
        ("train --hidden 9,99999999999", "argument --hidden: expected a whole number of at most 2"),
        ("train --threads 99999", "argument --threads: expected a whole number of at most 1024"),
        (
            "train --batch-size 99999999999999999999",
            "argument --batch-size: expected a whole number",
        ),
        (
            "train --seed 18446744073709551616",
            "of at most 18446744073709551615, got '1844674407370",
        ),
        (
            "inspect net --index 99999999999999999999",
            "argument --index: expected a whole number of",
        ),
        ("train --batch-size -3", "expected a whole number of at least 1, got '-3'"),
        ("train --threads 1.5", "expected a whole number of at least 1, got '1.5'"),
        ("train --seed x", "expected a whole number of at least 0, got 'x'"),
        ("train --learning-rate 0", "expected a number above 0, got '0'"),
        ("train --learning-rate nan", "expected a number above 0, got 'nan'"),
        ("train --learning-rate inf", "expected a number above 0, got 'inf'"),
        ("train --epoch 3", "unrecognized arguments: --epoch"),
        ("train file", "unrecognized arguments: file"),
        ("evaluate", "the following arguments are required: MODEL"),
        ("predict net", "the following arguments are required: FILE"),
        ("predict net x --json --csv", "not allowed with"),
        ("inspect net --index -1", "expected a whole number of at least 0, got '-1'"),
        ("--nonsense", "unrecognized arguments: --nonsense"),
    ],
)
def test_wrong_usage(line: str, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(line.split())
    assert stop.value.code == 2
    out, error = capsys.readouterr()
    assert out == ""
    assert error.startswith("fastnn: error: ")
    assert error.count("\n") == 1
    assert words in error
    assert "--help)" in error


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("train --data mnits", "unknown data set 'mnits'; did you mean 'mnist'?"),
        ("train --data none.csv", "none.csv: no such file or directory"),
        ("train --data ./none", "none"),
        ("train --data x.npy", "x.npy: expected labels too"),
        ("train --data text.txt", "text.txt: expected a file named"),
        ("train --data empty", "train-images-idx3-ubyte"),
        ("train --data doubtful.npz", "got 3 different whole numbers in 3 rows, which could be"),
        ("train --data doubtful.npz", "say --task"),
        ("train --data one.npz", "one.npz: expected 2 to 10,000 classes, got only 5"),
        ("train --data two.npz", "two.npz: expected one label a row, got float64 (3, 2)"),
        ("train --data words.csv --task regression", "expected numbers in kind for --task"),
        ("train --data words.csv --label knd", "'knd' (--label)"),
        ("train --data words.csv --label knd", "did you mean 'kind'?"),
        ("train --label kind", "expected --label with a table (.csv or .tsv), got the shipped"),
        ("train --task regression", "expected --task classes for the shipped digits"),
        ("train --hidden 2000000000,2000000000", "say --hidden"),
        ("train --data uneven.npz", "expected rows and as many labels, got 3, 2"),
        ("train --data nan.npz", "got nan"),
        ("train --output no/where", "expected --output in an existing folder, got no/where"),
        ("train --output empty", "expected --output to be a file, got empty"),
        ("train --output /dev/null", "expected --output to be a file, got /dev/null"),
        ("evaluate none", "none: no such file or directory"),
        ("evaluate text.txt", "text.txt: not a fastnn model"),
        ("evaluate small", "small: expected --data, since the network does not say"),
        ("evaluate small --data pair.npz", "labels"),
        ("predict small pair.npz --engine referense", ""),
        ("predict small three.csv", "say --label"),
        ("predict small three.csv --label none", "expected 2 columns, got 3; if one of them is"),
        ("evaluate small --data words.csv", "expected numbers as labels, got 'a'"),
        ("predict small x.npy", "x.npy: expected 2 inputs a row, got 5"),
        ("inspect small --file pair.npz --index 3", "expected --index below 3"),
    ],
)
def test_failures(
    line: str,
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    x = np.ones((3, 2))
    np.save("x.npy", np.ones((3, 5)))
    Path("text.txt").write_text("this is just text")
    Path("three.csv").write_text("1,2,3\n4,5,6\n")
    Path("empty").mkdir()
    np.savez("pair.npz", x=x, y=np.array([0, 1, 9]))
    np.savez("doubtful.npz", x=x, y=np.array([0, 1, 10**6]))
    np.savez("one.npz", x=x, y=np.array([5, 5, 5]))
    np.savez("two.npz", x=x, y=x)
    Path("words.csv").write_text("width,height,kind\n1,2,a\n3,4,b\n3,5,b\n1,1,a\n")
    np.savez("uneven.npz", x=x, y=np.array([0, 1]))
    np.savez("nan.npz", x=x * np.nan, y=np.array([0, 1, 1]))
    fastnn.mlp([2, 3]).save("small")
    if "referense" in line:
        with pytest.raises(SystemExit):
            cli.main(line.split())
        return
    assert cli.main(line.split()) == 1
    out, error = capsys.readouterr()
    assert out == ""
    assert error.startswith("fastnn: error: ")
    assert error.count("\n") == 1
    assert words in error


def test_an_error_of_a_real_process(tmp_path: Path) -> None:
    assert "none: no such file or directory" in refused(tmp_path, "evaluate", "none")
    assert "did you mean 'train'?" in refused(tmp_path, "trian", code=2)


def test_control_characters_never_reach_the_terminal(tmp_path: Path) -> None:
    for arguments in (["evaluate", "\x1b[2J"], ["train", "--epochs", "\x1b[2J"], ["\x1b[2J"]):
        error = refused(tmp_path, *arguments, code=1 if arguments[0] == "evaluate" else 2)
        assert error.rstrip("\n").isprintable(), arguments
