"""`fastnn sweep`: a grid of networks, and what each is worth."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import fastnn
from fastnn import cli
from fastnn.cli import sweep as module
from fastnn.cli.arguments import parse
from fastnn.cli.data import learning_data

GRID = ["--widths", "8,2,8", "--depths", "1,2", "--epochs", "30", "--seed", "3"]
ORDER = ["2", "2,2", "8", "8,8"]


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Runs a command beside spots.npz (three classes), curve.csv (numbers); returns its output."""
    random = np.random.default_rng(0)
    y = np.arange(150) % 3
    x = random.normal(size=(150, 4)) + np.eye(4)[y] * 2.5
    monkeypatch.chdir(tmp_path)
    np.savez("spots.npz", x=x, y=y)
    curve = np.c_[x[:, :2], x[:, 0] * x[:, 1] + 0.1]
    np.savetxt("curve.csv", curve, "%.6f", ",", header="a,b,price", comments="")

    def call(*arguments, code=0):
        assert cli.main(["sweep", *arguments]) == code
        return capsys.readouterr()

    return call


def rows(text):
    """The cells of each network's line."""
    lines = text.splitlines()
    head = next(k for k, line in enumerate(lines) if line.split()[:1] == ["hidden"])
    return [line.split() for line in lines[head + 1 : lines.index("", head)]]


def stars(values):
    """Which are above all before them."""
    return [all(value > before for before in values[:k]) for k, value in enumerate(values)]


def test_each_network_is_that_of_train(run, capsys):
    text = run("--data", "spots.npz", *GRID).out
    assert text.startswith(
        "data      spots.npz: 125 to learn, 25 to test, standardised by column\n"
    )
    found = rows(text)
    assert [cells[0] for cells in found] == ORDER
    data = learning_data(parse(["sweep", "--data", "spots.npz", *GRID]))
    for cells in found:
        options = f"--data spots.npz --hidden {cells[0]} --epochs 30 --seed 3 --output net --quiet"
        assert cli.main(["train", *options.split()]) == 0
        net = fastnn.load("net")
        accuracy = net.evaluate(data.x_test, data.y_test)["accuracy"]
        parameters = sum(layer.size for layer in net.layers)
        assert cells[1:6] == [
            f"{parameters}",
            f"{net.flops // 2}",
            f"{4 * parameters}",
            f"{100 * accuracy:.2f}",
            "%",
        ]
        assert min(float(cells[6]), float(cells[7])) >= 0
    accuracies = [float(cells[4]) for cells in found]
    assert [cells[8:] == ["*"] for cells in found] == stars(accuracies)
    assert 1 < sum(stars(accuracies)) < 4  # or the case says nothing


def test_the_best_is_saved(run):
    text = run("--data", "spots.npz", *GRID, "--save-best", "best.fastnn").out
    best = max(rows(text), key=lambda cells: float(cells[4]))  # of equals the first, the smallest
    net = fastnn.load("best.fastnn")
    assert ",".join(str(layer.units) for layer in net.layers[:-1]) == best[0]
    assert text.splitlines()[-2].startswith(f"best      --hidden {best[0]};")
    assert text.splitlines()[-1] == "saved best.fastnn"
    data = learning_data(parse(["sweep", "--data", "spots.npz", *GRID]))
    accuracy = net.evaluate(data.x_test, data.y_test)["accuracy"]
    assert f"{100 * accuracy:.2f}" == best[4]


def test_json_and_csv_say_the_same(run):
    text = rows(run("--data", "spots.npz", *GRID).out)
    entries = json.loads(run("--data", "spots.npz", *GRID, "--json").out)
    head, *lines = run("--data", "spots.npz", *GRID, "--csv").out.splitlines()
    names = head.split(",")
    assert names == list(entries[0])
    for cells, entry, line in zip(text, entries, lines, strict=True):
        assert cells[0] == ",".join(map(str, entry["hidden"]))
        assert f"{100 * entry['accuracy']:.2f}" == cells[4]
        assert [entry["parameters"], entry["multiply_adds"]] == [int(cells[1]), int(cells[2])]
        twin = dict(zip(names, line.split(","), strict=True))
        assert twin["hidden"] == cells[0].replace(",", "-")
        for name in ("parameters", "bytes", "loss", "accuracy", "is_best"):
            assert twin[name] == str(entry[name])


MORE = ["--widths", "1,16", "--depths", "1", "--epochs", "200"]


def test_numbers_to_be_met(run):
    text = run("--data", "curve.csv", *MORE).out
    assert "guessed   column 3 ('price')" in text
    small, large = rows(text)
    assert float(small[4]) < 0.7 < 0.9 < float(large[4]) <= 1
    entries = json.loads(run("--data", "curve.csv", *MORE, "--json").out)
    assert f"{entries[0]['r2']:.4f}" == small[4]


def test_the_smallest_comes_first():
    data = SimpleNamespace(rows=SimpleNamespace(x=np.zeros((2, 100))), classes=("a", "b", "c"))
    found = module.hidden_sizes([20, 10], [3, 1], data)  # 1033 and 1253, 2063 and 2903 parameters
    assert found == [[10], [10, 10, 10], [20], [20, 20, 20]]
    data.rows.x = np.zeros((2, 5))  # 93, 183 and 313, 1023
    assert module.hidden_sizes([20, 10, 20], [3, 1, 1], data) == [
        [10],
        [20],
        [10, 10, 10],
        [20, 20, 20],
    ]


def test_a_star_is_better_than_all_before(run, monkeypatch):
    quality = iter([0.5, 0.5, float("nan"), 0.7])
    monkeypatch.setattr(module, "quality", lambda data, figures: next(quality))
    entries = json.loads(run("--data", "spots.npz", *GRID, "--json", "--save-best", "net").out)
    assert [entry["is_best"] for entry in entries] == [True, False, False, True]
    assert [layer.units for layer in fastnn.load("net").layers] == [8, 8, 3]


def fail_on(monkeypatch, hidden, error):
    """Training raises this for some sizes, in its last epoch."""
    fit = fastnn.Network.fit

    def failing(network, *arguments, **options):
        history = fit(network, *arguments, **options)
        if [layer.units for layer in network.layers[:-1]] in hidden:
            raise error
        return history

    monkeypatch.setattr(fastnn.Network, "fit", failing)


def test_a_training_that_diverges_is_no_end(run, monkeypatch):
    fail_on(monkeypatch, [[2], [8]], fastnn.DivergenceError())
    found = rows(run("--data", "spots.npz", *GRID, "--save-best", "best").out)
    assert [cells[4] == "diverged" for cells in found] == [True, False, True, False]
    assert [cells[-1] == "*" for cells in found][:2] == [False, True]
    assert len(fastnn.load("best").layers) == 3
    entries = json.loads(run("--data", "spots.npz", *GRID, "--json").out)
    assert [entries[0][name] for name in ("accuracy", "loss", "seconds")] == [None] * 3
    line = run("--data", "spots.npz", *GRID, "--csv").out.splitlines()[1]
    assert line.startswith("2,")
    assert ",,," in line


def test_when_all_diverge_it_fails(run):
    options = ("--optimizer", "sgd", "--learning-rate", "1e30")
    out, error = run("--data", "curve.csv", *GRID, *options, "--save-best", "best", code=1)
    assert out.count("diverged") == 4
    assert error == (
        "fastnn: error: expected a network that learned something, got none; "
        "try a smaller --learning-rate\n"
    )
    assert not Path("best").exists()


def test_after_an_interrupt_the_best_so_far_is_there(run, monkeypatch):
    fail_on(monkeypatch, [[8]], KeyboardInterrupt)
    out, error = run("--data", "spots.npz", *GRID, "--save-best", "best", code=130)
    assert "stopped by Ctrl-C" in error
    assert "2,2" in out
    assert fastnn.load("best").layers[0].units == 2


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--save-best", "no/where"], "expected --save-best in an existing folder, got no/where"),
        (["--save-best", "."], "expected --save-best to be a file, got ."),
        (["--widths", "2000000000", "--depths", "2"], "say --hidden"),
        (["--label", "kind"], "expected --label with a table"),
    ],
)
def test_what_cannot_be_is_said_before_training(run, options, words):
    out, error = run(*options, code=1)
    assert words in error
    assert error.count("\n") == 1
    assert not rows(out + "\nhidden\n\n")


@pytest.mark.parametrize("options", [["--widths", "0"], ["--depths", "1,x"], ["--json", "--csv"]])
def test_wrong_usage(options, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["sweep", *options])
    assert stop.value.code == 2
    assert capsys.readouterr().err.startswith("fastnn: error: argument --")
