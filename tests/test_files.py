"""The model file: what is saved comes back; what is damaged is refused, and why."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

import fastnn
from fastnn import files

DEADLINE = 60  # seconds, for child processes


def network(seed: int = 0, **options: Any) -> fastnn.Network:
    """A small network with all that a file can say of one."""
    options.setdefault("engine", "reference")
    layers = [
        fastnn.Dense(5, fastnn.LeakyReLU(0.3)),
        fastnn.Dense(4, "tanh", "lecun_normal"),
        fastnn.Dense(3, "softmax"),
    ]
    net = fastnn.Network(7, layers, input_scale=1 / 255, seed=seed, **options)
    for layer in net.layers:
        layer.biases[...] = np.linspace(-1, 1, layer.units)
    return net


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "net.fastnn"


@pytest.fixture
def saved(path: Path) -> Path:
    files.save(network(), path)
    return path


def load(path: Path) -> fastnn.Network:
    return fastnn.load(path, engine="reference")


def weights(net: fastnn.Network) -> list[bytes]:
    return [block.tobytes() for layer in net.layers for block in (layer.weights, layer.biases)]


def rewritten(path: Path, change: Any, checksum: bool = True) -> None:
    """Save description and tensors again after `change(description, tensors)`."""
    with safe_open(path, framework="numpy") as file:
        description = json.loads(file.metadata()["fastnn"])
    tensors = load_file(path)
    del description["sha256"]
    change(description, tensors)
    if checksum:
        description["sha256"] = files._digest(description, tensors)
    save_file(tensors, path, {"fastnn": json.dumps(description)})


# ---------------------------------------------------------------------------------- what comes back


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_network_comes_back_whole(path: Path, dtype: str) -> None:
    net = network(seed=3, dtype=dtype)
    net.save(path)
    back = fastnn.load(path, engine="reference")
    assert weights(back) == weights(net)
    assert (back.inputs, back.input_scale, back.dtype, back.seed) == (7, 1 / 255, dtype, 3)
    assert back.loss == net.loss
    assert [layer.activation for layer in back.layers] == [a.activation for a in net.layers]
    assert [layer.initializer for layer in back.layers] == [a.initializer for a in net.layers]
    x = np.random.default_rng(0).integers(0, 256, (9, 7), np.uint8)
    assert back.predict(x).tobytes() == net.predict(x).tobytes()


@pytest.mark.parametrize("name", list(fastnn.activations.ACTIVATIONS))
@pytest.mark.parametrize("loss", list(fastnn.losses.LOSSES))
def test_every_activation_and_loss_comes_back(path: Path, name: str, loss: str) -> None:
    needed = fastnn.losses.LOSSES[loss].output
    layers = [fastnn.Dense(3, name), fastnn.Dense(2, needed or name)]
    files.save(fastnn.Network(4, layers, loss=loss, engine="reference"), path)
    back = load(path)
    assert back.loss.name == loss
    assert [layer.activation.name for layer in back.layers] == [name, needed or name]


def test_the_safetensors_library_sees_the_weights(saved: Path) -> None:
    tensors = load_file(saved)
    assert {name: tensor.shape for name, tensor in tensors.items()} == {
        "layers.0.weights": (7, 5),
        "layers.0.biases": (5,),
        "layers.1.weights": (5, 4),
        "layers.1.biases": (4,),
        "layers.2.weights": (4, 3),
        "layers.2.biases": (3,),
    }
    for i, layer in enumerate(network().layers):
        np.testing.assert_array_equal(tensors[f"layers.{i}.weights"], layer.weights)
        np.testing.assert_array_equal(tensors[f"layers.{i}.biases"], layer.biases)


def test_the_description_can_be_read_by_others(saved: Path) -> None:
    with safe_open(saved, framework="numpy") as file:
        description = json.loads(file.metadata()["fastnn"])
    assert description.pop("sha256")
    assert description == {
        "format": 1,
        "inputs": 7,
        "input_scale": 1 / 255,
        "dtype": "float32",
        "loss": "cross_entropy",
        "seed": 0,
        "layers": [
            {
                "units": 5,
                "activation": "leaky_relu",
                "initializer": "he_uniform",
                "slope": 0.3,
            },
            {"units": 4, "activation": "tanh", "initializer": "lecun_normal"},
            {"units": 3, "activation": "softmax", "initializer": "glorot_uniform"},
        ],
    }


def test_the_digest_is_sha256_of_description_and_tensors(saved: Path) -> None:
    with safe_open(saved, framework="numpy") as file:
        description = json.loads(file.metadata()["fastnn"])
    found = description.pop("sha256")
    text = json.dumps(description, sort_keys=True, separators=(",", ":"))
    digest = hashlib.sha256(text.encode())
    for name, tensor in sorted(load_file(saved).items()):
        digest.update(name.encode() + tensor.tobytes())
    assert digest.hexdigest() == found


def test_the_same_network_gives_the_same_file(saved: Path, tmp_path: Path) -> None:
    again = tmp_path / "again"
    files.save(load(saved), again)
    assert again.read_bytes() == saved.read_bytes()


def test_a_loaded_network_trains_on(saved: Path) -> None:
    x = np.random.default_rng(0).integers(0, 256, (30, 7), np.uint8)
    back = load(saved)
    back.fit(x, np.arange(30) % 3, epochs=1, verbose=0)
    assert weights(back) != weights(load(saved))


# ---------------------------------------------------------------------------------- what is refused


def refused(path: Path, *words: str) -> None:
    """Loading gives a FormatError of one line with the path and all of these words."""
    with pytest.raises(fastnn.FormatError) as caught:
        load(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    for word in words:
        assert word in message


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"", "empty"),
        (b"\x89PNG\r\n\x1a\n" + bytes(500), "another kind"),
        (b"hello world, this is text", "another kind"),
        (b"\x93NUMPY\x01\x00v\x00{'descr': '<f4'", "another kind"),
        (b"PK\x03\x04" + bytes(40), "another kind"),
        (bytes(9), "another kind"),
    ],
)
def test_another_kind(path: Path, content: bytes, word: str) -> None:
    path.write_bytes(content)
    refused(path, "not a fastnn model", word)


def test_the_safetensors_of_someone_else(path: Path) -> None:
    save_file({"encoder.weight": np.ones((3, 4), np.float32)}, path)
    refused(path, "a safetensors file, but not a fastnn model")
    save_file({"encoder.weight": np.ones((3, 4), np.float32)}, path, {"format": "pt"})
    refused(path, "a safetensors file, but not a fastnn model")


def test_truncated_anywhere(saved: Path) -> None:
    whole = saved.read_bytes()
    for length in range(1, len(whole)):
        saved.write_bytes(whole[:length])
        refused(saved, "truncated", f"got {length}")


def test_any_altered_byte_is_noticed_or_harmless(saved: Path) -> None:
    whole = saved.read_bytes()
    net = network()
    header = 8 + int.from_bytes(whole[:8], "little")
    harmless = []
    for place in range(len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << place % 8
        saved.write_bytes(damaged)
        try:
            back = load(saved)
        except fastnn.FormatError:
            continue
        assert files._describe(back, True) == files._describe(net, True)
        assert weights(back) == weights(net)
        harmless.append(place)
    # A letter's case in an exponent, or the blanks that fill the header up to its length.
    assert len(harmless) < 20
    assert max(harmless, default=0) < header


def test_bytes_behind_the_end(saved: Path) -> None:
    saved.write_bytes(saved.read_bytes() + b"more")
    refused(saved, "altered")


def test_swapped_tensors_are_noticed(saved: Path) -> None:
    def swap(description: dict[str, Any], tensors: dict[str, Any]) -> None:
        tensors["layers.0.biases"] = tensors["layers.0.biases"][::-1].copy()

    with safe_open(saved, framework="numpy") as file:
        sha = json.loads(file.metadata()["fastnn"])["sha256"]

    def swap_and_keep_digest(description: dict[str, Any], tensors: dict[str, Any]) -> None:
        swap(description, tensors)
        description["sha256"] = sha

    rewritten(saved, swap_and_keep_digest, checksum=False)
    refused(saved, "altered", "checksum")


def test_a_newer_version(saved: Path) -> None:
    def newer(description: dict[str, Any], tensors: dict[str, Any]) -> None:
        description.update(format=2, attention=True)
        tensors["optimizer.state"] = np.zeros(3, np.float32)

    rewritten(saved, newer, checksum=False)
    refused(saved, "newer", "format 1", "got 2")


def put(key: str, value: object) -> Any:
    return lambda description, tensors: description.update({key: value})


def put_in_layer(key: str, value: object) -> Any:
    return lambda description, tensors: description["layers"][1].update({key: value})


def put_tensor(name: str, tensor: object) -> Any:
    return lambda description, tensors: tensors.update({name: tensor})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (put("inputs", 0), ["positive number of inputs", "got 0"]),
        (put("inputs", 7.0), ["positive number of inputs", "got 7.0"]),
        (put("inputs", True), ["positive number of inputs"]),
        (put("inputs", 8), ["layers.0.weights", "(8, 5)", "(7, 5)"]),
        (put("inputs", 10**15), ["layers.0.weights", "(1000000000000000, 5)"]),
        (put("input_scale", float("nan")), ["input_scale", "nan"]),
        (put("input_scale", -1.0), ["input_scale", "-1.0"]),
        (put("input_scale", "1"), ["input_scale", "'1'"]),
        (put("dtype", "float16"), ["float32 or float64", "'float16'"]),
        (put("dtype", "float64"), ["float64", "float32"]),
        (put("dtype", ["float32"]), ["float32 or float64"]),
        (put("loss", "cross_entrophy"), ["did you mean 'cross_entropy'?"]),
        (put("loss", "binary_cross_entropy"), ["sigmoid", "softmax"]),
        (put("loss", 3), ["the name of a loss", "3"]),
        (put("seed", -1), ["seed", "-1"]),
        (put("seed", None), ["seed", "None"]),
        (put("layers", []), ["a list of layers", "[]"]),
        (put("layers", {"units": 5}), ["a list of layers"]),
        (put("layers", [7]), ["layer 0", "7"]),
        (put("extra", 1), ["entries", "extra"]),
        (lambda description, tensors: description.pop("loss"), ["entries", "loss"]),
        (put_in_layer("units", 0), ["positive size", "0"]),
        (put_in_layer("units", "4"), ["positive size", "'4'"]),
        (put_in_layer("activation", "tahn"), ["did you mean 'tanh'?"]),
        (put_in_layer("activation", "__import__('os')"), ["unknown activation"]),
        (put_in_layer("activation", 2), ["activation", "2"]),
        (put_in_layer("activation", "leaky_relu"), ["slope"]),
        (put_in_layer("initializer", "he"), ["unknown initializer"]),
        (put_in_layer("slope", 0.1), ["slope"]),
        (lambda d, t: d["layers"][0].update(slope=0.0), ["positive slope", "0.0"]),
        (put_tensor("layers.1.weights", np.ones((4, 5), np.float32)), ["(5, 4)", "(4, 5)"]),
        (put_tensor("layers.1.biases", np.ones(4, np.float64)), ["float32", "float64"]),
        (put_tensor("layers.1.biases", np.ones(4, np.int32)), ["layers.1.biases", "I32"]),
        (put_tensor("layers.1.biases", np.full(4, np.nan, np.float32)), ["finite"]),
        (put_tensor("layers.9.biases", np.ones(4, np.float32)), ["layers.9.biases"]),
        (lambda description, tensors: tensors.pop("layers.2.biases"), ["layers.2.biases"]),
    ],
)
def test_contents_that_do_not_fit(saved: Path, change: Any, words: list[str]) -> None:
    """The digest is right here: these are files that another program made, perhaps in malice."""
    rewritten(saved, change)
    refused(saved, *words)


@pytest.mark.parametrize("text", ["[]", "3", "null", '"x"', "{}", '{"format": "1"}', "[" * 100_000])
def test_a_description_that_is_none(path: Path, text: str) -> None:
    save_file({"layers.0.biases": np.ones(3, np.float32)}, path, {"fastnn": text})
    refused(path, "altered")


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "none")
    refused(tmp_path, "found a folder")


def test_an_unknown_engine_is_no_fault_of_the_file(saved: Path) -> None:
    with pytest.raises(ValueError, match="unknown engine") as caught:
        fastnn.load(saved, engine="referense")
    assert not isinstance(caught.value, fastnn.FormatError)


# ---------------------------------------------------------------------------- saving all or nothing


def only(folder: Path, *names: str) -> None:
    assert sorted(entry.name for entry in folder.iterdir()) == sorted(names)


def test_saving_leaves_one_file_with_the_usual_rights(saved: Path) -> None:
    only(saved.parent, saved.name)
    beside = saved.parent / "usual"
    beside.touch()
    assert stat.S_IMODE(saved.stat().st_mode) == stat.S_IMODE(beside.stat().st_mode)


@pytest.mark.parametrize("step", ["fsync", "replace"])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_failure_while_writing_leaves_the_old_file(
    saved: Path, monkeypatch: pytest.MonkeyPatch, step: str, error: BaseException
) -> None:
    old = saved.read_bytes()

    def fail(*arguments: object) -> None:
        raise error

    monkeypatch.setattr(os, step, fail)
    with pytest.raises(type(error)):
        files.save(network(seed=1), saved)
    assert saved.read_bytes() == old
    only(saved.parent, saved.name)


def test_a_full_disk(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = saved.read_bytes()
    plain_open = open

    def small_disk(*arguments: Any) -> Any:
        file = plain_open(*arguments)
        if "x" in arguments[1]:
            file.write(b"half")
            file.flush()
            file.close()  # the next write fails
        return file

    monkeypatch.setattr("builtins.open", small_disk)
    with pytest.raises(ValueError, match="closed file"):
        files.save(network(seed=1), saved)
    assert saved.read_bytes() == old
    only(saved.parent, saved.name)


def test_weights_that_are_not_finite_are_not_saved(saved: Path) -> None:
    old = saved.read_bytes()
    net = network()
    net.layers[1].weights[2, 3] = np.inf
    with pytest.raises(ValueError, match=r"expected finite weights.*layers\.1\.weights"):
        files.save(net, saved)
    assert saved.read_bytes() == old


def test_the_data_reach_the_disk_before_the_name(
    saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[object] = []
    fsync, replace = os.fsync, os.replace

    def noted_fsync(descriptor: int) -> None:
        status = os.fstat(descriptor)
        calls.append("folder" if stat.S_ISDIR(status.st_mode) else status.st_size)
        fsync(descriptor)

    def noted_replace(source: str, target: str) -> None:
        calls.append("rename")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(os, "replace", noted_replace)
    files.save(network(), saved)
    assert calls == [saved.stat().st_size, "rename", "folder"]


def test_a_link_stays_a_link(saved: Path) -> None:
    link = saved.parent / "link"
    link.symlink_to(saved.name)
    files.save(network(seed=5), link)
    assert link.is_symlink()
    assert weights(load(saved)) == weights(network(seed=5))


def test_only_files_are_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for place, found in ((tmp_path, "a folder"), (tmp_path / "pipe", "a device or pipe")):
        with pytest.raises(ValueError, match=f"expected a file to write to, found {found}"):
            files.save(network(), place)
    refused(tmp_path / "pipe", "found a device or pipe")
    with pytest.raises(FileNotFoundError):
        files.save(network(), tmp_path / "none" / "net")
    only(tmp_path, "pipe")


SAVE_AND_DIE = """
import builtins, os, signal, sys
import fastnn

path, step = sys.argv[1:]
net = fastnn.load(path, engine="reference")
net.layers[0].biases[...] = 7

def die(*arguments):
    os.kill(os.getpid(), signal.SIGKILL)

def replace_and_die(source, target, replace=os.replace):
    replace(source, target)
    die()

class Half:  # a file that gets half of what is written to it
    def __init__(self, file):
        self.file = file
    def __enter__(self):
        return self
    def __exit__(self, *error):
        self.file.close()
    def write(self, data):
        self.file.write(data[: len(data) // 2])
        self.file.flush()
        die()

def open_half(name, mode="r", open=open):
    return Half(open(name, mode)) if set(mode) & set("wx+") else open(name, mode)

if step == "half written":
    builtins.open = open_half
elif step == "written":
    os.fsync = die
elif step == "synced":
    os.replace = die
else:
    os.replace = replace_and_die
net.save(path)
"""


@pytest.mark.parametrize("step", ["half written", "written", "synced", "renamed"])
def test_killed_while_saving(saved: Path, step: str) -> None:
    """Whenever the process dies, the old file or the new one is there, whole."""
    command = [sys.executable, "-c", SAVE_AND_DIE, str(saved), step]
    environment = os.environ | {"PYTHONPATH": str(Path(fastnn.__file__).parents[1])}
    done = subprocess.run(command, env=environment, timeout=DEADLINE)
    assert done.returncode == -signal.SIGKILL
    new = np.full(5, 7, np.float32)
    expected = new if step == "renamed" else network().layers[0].biases
    np.testing.assert_array_equal(load(saved).layers[0].biases, expected)
    files.save(network(seed=8), saved)  # what the dead process left is no obstacle
    assert weights(load(saved)) == weights(network(seed=8))
