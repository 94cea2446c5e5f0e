"""The command line, run as its users run it."""

from __future__ import annotations

import contextlib
import gzip
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
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastnn
from fastnn import cli

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
    if code == 0:
        assert done.stderr == ""
    return done.stdout


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
    order = np.random.Generator(np.random.Philox(key=0)).permutation(len(x))
    learn = np.sort(order[len(x) // 6 :])
    expected = fastnn.mlp([4, 7, 5, 3], "tanh", input_scale=1 / abs(x).max(), seed=4)
    sgd = fastnn.SGD(fastnn.Cosine(0.2))
    expected.fit(x[learn], y[learn], epochs=3, batch_size=9, optimizer=sgd, verbose=0)
    for a, b in zip(found.layers, expected.layers, strict=True):
        assert a.activation == b.activation
        assert a.weights.tobytes() == b.weights.tobytes()


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
    assert text == run(flowers, "evaluate", "flowers.fastnn", "--data", "flowers.npz").replace(
        ".npz", ".csv"
    )


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


def test_inspect_what_is_no_picture(flowers: Path) -> None:
    text = run(flowers, "inspect", "flowers.fastnn", "--file", "unlabelled.csv", "--index", 3)
    assert text.startswith("row 3 of unlabelled.csv\n")
    assert "input: 4 values" in text
    assert "layer 1: 8 relu neurons" in text
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


COMMANDS = ("train", "evaluate", "predict", "inspect", "info")


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
    examples = re.findall(r"^  (?:FASTNN_\S+ )*fastnn (.+?)(?: {2,}.*| > .*)?$", text, re.M)
    assert examples
    for example in examples:
        chosen = cli._parse(example.split())
        assert chosen.run.__name__ == example.split()[0]
        assert not name or name == example.split()[0]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("trian", "unknown command 'trian'; did you mean 'train'?"),
        ("train --activation rleu", "unknown activation 'rleu'; did you mean 'relu'?"),
        ("train --optimizer adm", "unknown optimizer 'adm'; did you mean 'adam'?"),
        ("train --schedule onecycle", "unknown schedule 'onecycle'; did you mean 'one-cycle'?"),
        ("train --engine avx", "unknown engine 'avx'; did you mean 'avx2'?"),
        ("train --label frist", "unknown label 'frist'; did you mean 'first'?"),
        ("train --hidden 16,x", "expected a whole number of at least 1, got 'x'"),
        ("train --hidden 0", "expected a whole number of at least 1, got '0'"),
        ("train --epochs 0", "expected a whole number of at least 1, got '0'"),
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
        ("train --data real.npz", "real.npz: expected whole numbers as labels, got float64 (3,)"),
        ("train --data negative.npz", "negative.npz: expected labels from 0 to 9999, got -1 to 1"),
        ("train --data huge.npz", "expected labels from 0 to 9999, got 0 to 1000000"),
        ("train --data uneven.npz", "expected rows and as many labels, got 3, 2"),
        ("train --data nan.npz", "got nan"),
        ("train --output no/where", "expected --output in an existing folder, got no/where"),
        ("train --output empty", "expected --output to be a file, got empty"),
        ("train --output /dev/null", "expected --output to be a file, got /dev/null"),
        ("evaluate none", "none: no such file or directory"),
        ("evaluate text.txt", "text.txt: not a fastnn model"),
        ("evaluate small", "got 2 inputs"),
        ("evaluate small --data pair.npz", "labels"),
        ("predict small pair.npz --engine referense", ""),
        ("predict small three.csv", "expected 2 columns, got 3; if one of them is the label"),
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
    np.savez("real.npz", x=x, y=np.array([0.0, 1.0, 0.5]))
    np.savez("negative.npz", x=x, y=np.array([0, 1, -1]))
    np.savez("huge.npz", x=x, y=np.array([0, 1, 10**6]))
    np.savez("uneven.npz", x=x, y=np.array([0, 1]))
    np.savez("nan.npz", x=x * np.nan, y=np.array([0, 1, 1]))
    fastnn.mlp([2, 3]).save("small")
    if "referense" in line:
        with pytest.raises(SystemExit):
            cli.main(line.split())
        return
    assert cli.main(line.split()) == 1
    out, error = capsys.readouterr()
    assert out == "" or line == "train --data nan.npz"
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
