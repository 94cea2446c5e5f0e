"""`fastnn play` without a browser: who is refused, what is answered, how a training is steered."""

import json
import re
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

import fastnn
from fastnn import cli
from fastnn.play import web
from fastnn.play.description import described
from fastnn.play.live import Rows, Training, tiles
from fastnn.play.server import finite
from fastnn.play.session import Entry, Session, page, whole


@pytest.fixture(scope="module")
def server(play, small_model):
    """One for all tests here, which all leave it alive."""
    found = play(small_model)
    yield found
    assert found.ask("/api/session")[0] == 200
    assert found.end() == 130


def test_the_page_and_its_files_come_with_a_policy(server):
    for name in ("", *web.files()):
        status, headers, content = server.ask(f"/{name}" if name != web.PAGE else "/")
        assert status == 200
        assert content
        assert "default-src 'none'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"


def test_the_token_of_the_address_becomes_a_cookie(server):
    status, headers, _ = server.ask(f"/?token={server.token}", cookie=None)
    assert status == 303
    assert headers["location"] == "/"
    assert headers["set-cookie"] == f"{server.cookie}; HttpOnly; SameSite=Strict; Path=/"


@pytest.mark.parametrize(
    "headers",
    [
        {"cookie": None},
        {"cookie": "fastnn-1=x"},
        {"cookie": "=;;\x01"},
        {"host": "example.org"},
        {"host": "127.0.0.1:1"},
        {"origin": "http://example.org"},
        {"origin": "null"},
    ],
)
@pytest.mark.parametrize("path", ["/", "/app.js", "/api/session", f"/?token={'x' * 32}"])
def test_strangers_are_refused(server, path, headers):
    status, answered, content = server.ask(path, **headers)
    assert status == 403
    assert "set-cookie" not in answered
    assert len(content) < 100


@pytest.mark.parametrize(
    "path", ["/../pyproject.toml", "/..%2f..%2fetc%2fpasswd", "/%2e%2e/session.py", "//etc/passwd"]
)
def test_no_path_leads_out(server, path):
    assert server.ask(path)[0] == 404


def test_large_bodies_are_refused_unread(server):
    status, _, _ = server.ask(
        "/api/training/a", method="POST", content_length=str(100 << 20), body=None
    )
    assert status == 413


def test_large_bodies_in_chunks_are_refused(server):
    chunks = (b" " * 65536 for _ in range(1600))  # 100 MB
    try:
        status = server.ask("/api/training/a", chunks, transfer_encoding="chunked")[0]
    except (BrokenPipeError, ConnectionResetError):
        status = 400
    assert status == 400
    assert server.ask("/api/session")[0] == 200


@pytest.mark.parametrize(
    ("path", "body", "words"),
    [
        ("networks/model/neuron", "{", "expected JSON"),
        ("networks/model/neuron", "[" * 100_000, "expected JSON"),
        ("networks/model/neuron", "[]", "expected a JSON object, got list"),
        ("networks/modle/neuron", "{}", "did you mean 'model'?"),
        ("networks/model/neuron", '{"layer": 3}', "expected layer from 0 to 2, got 3"),
        ("networks/model/neuron", '{"layer": 0, "index": 16}', "expected index from 0 to 15"),
        ("networks/model/neuron", '{"weights": [[0, 0, 99, 1]]}', "that exist"),
        ("networks/model/neuron", '{"weights": [[0, 0, 0, 1e999]]}', "finite"),
        ("training/model", "{}", "unknown network 'model'"),
        ("training/a", '{"rate": 0}', "expected a rate from"),
        ("training/a", '{"rate": 0.1, "hidden": [100000]}', "1 to 1024 neurons"),
        ("training/a", '{"rate": 0.1, "hidden": [1,1,1,1,1,1,1]}', "up to 6 layers"),
        ("training/a", '{"rate": 0.1, "optimizer": "adem"}', "did you mean 'adam'?"),
        ("training/a", '{"rate": 0.1, "hidden": [4], "activation": "rleu"}', "'relu'?"),
        ("training/a", '{"rate": 0.1, "epochs": 1000000}', "expected epochs from 1 to 500"),
        ("training/b/control", '{"stop": true}', "unknown network 'b'"),
    ],
)
def test_bad_requests_get_a_line(server, path, body, words):
    status, _, content = server.ask(f"/api/{path}", body)
    assert status == 400
    message = json.loads(content)["error"]
    assert words in message
    assert message.isprintable()


def test_a_thousand_connections_do_not_shut_others_out(server):
    sockets = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(1000)]
    try:
        assert server.ask("/api/session")[0] == 200
        assert sum(map(ended, sockets)) > 700  # those that waited longest
    finally:
        for one in sockets:
            one.close()


def ended(connection):
    """Whether the other side has closed it."""
    connection.setblocking(False)
    try:
        return connection.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return True


def test_garbage_is_no_news(server):
    with socket.create_connection(("127.0.0.1", server.port)) as one:
        one.sendall(b"\x16\x03\x01 hello\r\n\r\n" * 100)
        assert one.recv(1000).startswith(b"HTTP/1.1 400")
    assert server.ask("/api/session")[0] == 200


def test_it_listens_on_this_machine_alone(server):
    with socket.socket() as one, pytest.raises(OSError, match="refused"):
        one.connect(("127.0.0.2", server.port))


def test_rows_are_those_of_the_data(server):
    _, (x, y) = fastnn.datasets.load_digits()
    found = server.json("/api/rows?id=model&part=test&first=3&count=2")
    assert found["total"] == 2000
    assert [row["index"] for row in found["rows"]] == [3, 4]
    assert found["rows"][0]["x"] == x[3].tolist()
    assert found["rows"][0]["y"] == y[3]
    wrong = server.json("/api/rows?id=model&wrong=1&count=50")
    assert 0 < wrong["total"] < 1000
    assert all(row["y"] != row["said"] for row in wrong["rows"])


def test_a_neuron_without_its_inputs_is_found_so(server):
    plain = server.json("/api/networks/model/neuron", {"layer": 1, "index": 3})
    assert len(plain["means"]) == 10
    assert len(plain["examples"]) == 10
    assert plain["h"] == sorted(plain["h"], reverse=True)
    deaf = [[1, i, 3, 0] for i in range(16)]
    found = server.json("/api/networks/model/neuron", {"layer": 1, "index": 3, "weights": deaf})
    np.testing.assert_allclose(found["means"], found["means"][0])  # but for its bias it is deaf
    again = server.json("/api/networks/model/neuron", {"layer": 1, "index": 3})
    assert again == plain


def test_what_goes_without_a_neuron(server, small_model):
    found = server.json("/api/networks/model/neuron", {"layer": 0, "index": 5})
    _, (x, y) = fastnn.datasets.load_digits()
    net = fastnn.load(small_model)
    assert found["with"] == net.evaluate(x, y)
    net.layers[1].weights[5] = 0
    assert found["without"] == net.evaluate(x, y)


def until(server, state, slot="a"):
    """Wait for a training to come to this state."""
    for _ in range(600):
        found = server.json(f"/api/training/{slot}")
        if found["state"] == state:
            return found
        time.sleep(0.05)
    raise AssertionError(found["state"])


def test_a_training_is_paused_changed_and_ended(server, tmp_path):
    asked = {"hidden": [16, 16], "activation": "sigmoid", "rate": 0.01, "epochs": 6, "slow": False}
    server.json("/api/training/a", {**asked, "optimizer": "adam", "batch": 64})
    assert server.json("/api/training/a/control", {"paused": True})["state"] == "paused"
    time.sleep(0.1)
    first = server.json("/api/training/a")["points"]
    time.sleep(0.1)
    assert server.json("/api/training/a")["points"] == first
    status, _, content = server.ask("/api/training/a", json.dumps(asked))
    assert status == 400
    assert "being trained" in content.decode()
    server.json("/api/training/a/control", {"rate": 0.005, "paused": False})
    found = until(server, "done")
    assert found["points"][-1]["rate"] == 0.005
    assert found["points"][-1]["epoch"] == 6
    assert found["points"][-1]["val_accuracy"] > 0.9
    assert found["points"][-1]["val_accuracy"] > found["points"][0]["val_accuracy"]
    path = tmp_path / "saved.fastnn"
    path.write_bytes(server.ask("/api/networks/a/file")[2])
    _, (x, y) = fastnn.datasets.load_digits()
    accuracy = fastnn.load(path).evaluate(x, y)["accuracy"]
    assert accuracy == pytest.approx(found["points"][-1]["val_accuracy"])


def test_another_rate_is_that_of_the_next_steps():
    (x, y), (x_test, y_test) = fastnn.datasets.load_digits()
    net = fastnn.mlp([784, 4, 10], input_scale=1 / 255)
    asked = {"optimizer": "sgd", "rate": 0.1, "slow": False, "epochs": 2, "batch": 64}
    training = Training(net, Rows(x[:640], y[:640], x_test[:50], y_test[:50]), asked)
    training.control({"rate": 0.02})
    training.thread.start()
    training.thread.join()
    assert training.state == "done"
    assert net.history.history["learning_rate"] == [pytest.approx(0.02)] * 2


def test_a_training_is_stopped_and_goes_on(server):
    asked = {"hidden": [8], "rate": 0.1, "epochs": 500, "optimizer": "sgd", "batch": 64}
    server.json("/api/training/b", {**asked, "slow": True})
    server.json("/api/training/b/control", {"stop": True})
    until(server, "stopped", "b")
    server.json("/api/training/b", {**asked, "epochs": 1, "further": True, "slow": False})
    assert until(server, "done", "b")["epochs"] == 1


def test_a_training_that_diverges_says_so(server):
    asked = {"hidden": [8], "rate": 100, "epochs": 5, "optimizer": "sgd", "batch": 64}
    server.json("/api/training/b", {**asked, "activation": "exponential", "slow": False})
    assert "diverged" in until(server, "failed", "b")["error"]


def test_figures_that_are_no_numbers_are_null():
    found = finite({"a": [float("nan"), 1.5, {"b": float("inf")}], "c": "x", "d": 3})
    assert found == {"a": [None, 1.5, {"b": None}], "c": "x", "d": 3}


def test_weights_that_are_infinite_have_tiles():
    net = fastnn.mlp([4, 3, 2])
    net.layers[0].weights[:] = np.array([np.inf, np.nan, 1])
    assert tiles(net)["count"] == 3
    assert np.isfinite(tiles(net)["scale"])


def test_a_model_that_is_none_and_formulas_are_refused(tmp_path, write):
    bad = write("bad.fastnn", b"not a model")
    formulas = write("f.csv", 'a,b,y\n=1+1,=cmd|" /C calc"!A0,yes\n2,3,no\n')
    for arguments in ((bad,), ("--data", formulas)):
        command = [sys.executable, "-m", "fastnn", "play", *map(str, arguments)]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
        assert done.returncode == 1
        assert done.stderr.startswith("fastnn: error: ")
        assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("module", "arguments", "extra"),
    [("uvicorn", ["play"], "play"), ("PIL", ["predict", "MODEL", "x.png"], "image")],
)
def test_a_missing_extra_is_named(
    module, arguments, extra, small_model, write, monkeypatch, capsys
):
    write("x.png", b"")
    monkeypatch.chdir(write("x.png", b"").parent)
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.delitem(sys.modules, "fastnn.play.server", raising=False)
    monkeypatch.delattr(fastnn.play, "server", raising=False)
    words = [str(small_model) if word == "MODEL" else word for word in arguments]
    assert cli.main(words) == 1
    assert f'pip install "fastnn-cpu[{extra}]"' in capsys.readouterr().err


def test_scripts_of_the_page_have_no_name_in_common():
    names = []
    for name, content in web.files().items():
        if name.endswith(".js"):
            pattern = r"^(?:export )?(?:async )?(?:function|const|let|class) (\w+)"
            names += re.findall(pattern, content.decode(), re.M)
            names += re.findall(r"^(?:const|let) .*?, (\w+) = ", content.decode(), re.M)
    assert sorted(names) == sorted(set(names))


def test_a_page_of_its_own_asks_nobody(small_model):
    content = page("small", fastnn.load(small_model), None)
    assert re.findall(r"\w+://[\w./]+", content) in ([], ["http://www.w3.org/2000/svg"])  # a name
    assert "import {" not in content
    assert "connect-src" not in content  # default-src 'none' it is
    assert content.count("<script") == 2


def test_networks_that_a_page_cannot_run_are_refused():
    net = fastnn.Network(2, [fastnn.Dense(1)], standardize=True)
    with pytest.raises(ValueError, match="expected a network that was fitted"):
        described(net)
    with pytest.raises(ValueError, match="expected at most 4,000,000 weights"):
        described(fastnn.mlp([2000, 2001, 2]))


@pytest.mark.parametrize("value", ["-1", "1.0", "x", "9" * 30, None, True, 1.5, [1]])
def test_numbers_of_a_query_are_whole(value):
    with pytest.raises(ValueError, match="expected n from 0 to 9, got"):
        whole({"n": value}, "n", 0, 10)


def test_titles_are_safe_names():
    x, y = np.zeros((4, 2)), np.array([0, 1, 0, 1])
    entry = Entry('../a"b\n.fastnn', fastnn.mlp([2, 2]))
    session = Session("data", Rows(x, y, x, y), entry, lambda *_: None)
    assert session.file({"id": "model"}).name == ".._a_b_.fastnn"
