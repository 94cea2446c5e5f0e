"""The model file: what is saved comes back; what is damaged is refused, and why."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import signal
import stat
import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

import fastnn
from fastnn import _fields, files, training
from fastnn.program import views

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
    return [block.tobytes() for block in views(net.program, net.program.parameters).values()]


# What fastnn 0.1.0 wrote, byte for byte; it is read for ever.
FORMAT_1 = (
    b"\xa8\x02\x00\x00\x00\x00\x00\x00"
    rb'{"__metadata__":{"fastnn":"{\"dtype\":\"float32\",\"format\":1,\"input_scale\":0.5,'
    rb"\"inputs\":3,\"layers\":[{\"activation\":\"leaky_relu\",\"initializer\":\"lecun_uniform\","
    rb"\"slope\":0.25,\"units\":2},{\"activation\":\"softmax\",\"initializer\":\"glorot_uniform\","
    rb"\"units\":2}],\"loss\":\"cross_entropy\",\"seed\":7,\"sha256\":\"ac8c272acfec427b810af92abfb64"
    rb'de88c1e2c8b685061da7d367cdb6676a6ad\"}"},"layers.0.biases":{"dtype":"F32","shape":[2],'
    rb'"data_offsets":[0,8]},"layers.0.weights":{"dtype":"F32","shape":[3,2],"data_offsets":[8,32]},'
    rb'"layers.1.biases":{"dtype":"F32","shape":[2],"data_offsets":[32,40]},"layers.1.weights":'
    rb'{"dtype":"F32","shape":[2,2],"data_offsets":[40,56]}}  '
) + np.array([0.5, -0.25, 1, -2, 3, 4, -5, 6, 0, 11, 7, 8, -9, 10], "<f4").tobytes()

OPTIMIZERS = [
    fastnn.SGD(0.125),
    fastnn.SGD(0.125, momentum=0.75),
    fastnn.SGD(fastnn.Constant(0.125), momentum=0.75, nesterov=True),
    fastnn.Adam(0.0625, beta_1=0.75, beta_2=0.875, epsilon=1e-6),
    fastnn.AMSGrad(0.0625),
    fastnn.Adam(0.0625, gradient_accumulation_steps=3, use_ema=True, clipvalue=0.5),
    fastnn.ScheduleFreeAdamW(0.0625, groups={"biases": fastnn.Group(decay=0)}, warmup_steps=2),
    fastnn.RMSprop(0.0625, momentum=0.5, centered=True),
]
SCHEDULES = [fastnn.Constant(0.5), fastnn.Cosine(0.5, 0.25), fastnn.OneCycle(0.5, warmup=0.125)]


def rows() -> tuple[Any, Any]:
    """Rows to learn from, of columns of different scales."""
    x = np.random.default_rng(0).normal(size=(40, 7)) * np.geomspace(0.01, 100, 7)
    return x, np.arange(40) % 3


def fit(net: fastnn.Network, epochs: int, optimizer: Any = "adam") -> fastnn.Network:
    net.fit(*rows(), epochs=epochs, batch_size=8, optimizer=optimizer, verbose=0)
    return net


AUGMENT = {  # as a file has it
    "shift": 1.0,
    "rotation": 0.0,
    "scaling": 0.0,
    "shear": 0.0,
    "elastic": [4.0, 34.0],
    "noise": 0.0,
    "shape": [1, 7],
}


def full() -> fastnn.Network:
    """A network that holds something for every field and every tensor of the newest format."""
    layers = [fastnn.Dropout(0.25), fastnn.Dense(4, "gelu"), fastnn.Dropout(0.5), fastnn.Dense(3)]
    net = fastnn.Network(7, layers, standardize=True, seed=2)
    x, y = rows()
    net.fit(x, np.eye(3)[y] * 50 + 7, epochs=2, batch_size=8, verbose=0)
    net.classes = ("a \u00e9 \U0001f600", 2, 0.5)
    net.features = tuple(f"column {i}" for i in range(7))
    net.target, net.trained_on = "kind", "rows.csv"
    kinds = [fastnn.OneHot(), fastnn.Standardize("mean"), *[fastnn.RobustScale(clip=2.0)] * 5]
    net.columns = fastnn.Columns(kinds).adapt(np.eye(7)[1:3])  # one category, and numbers
    return net


def description(path: Path) -> dict[str, Any]:
    with safe_open(path, framework="numpy") as file:
        found: dict[str, Any] = json.loads(file.metadata()["fastnn"])
    return found


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


@pytest.mark.parametrize(
    "loss",
    [
        fastnn.losses.CrossEntropy(0.25),
        fastnn.losses.CrossEntropy(0.25, from_logits=True),
        fastnn.losses.BinaryCrossEntropy(2.0),
        fastnn.losses.BinaryCrossEntropy([2.0, 3.0]),
        fastnn.losses.BinaryCrossEntropy([2.0, 3.0], from_logits=True),
        fastnn.losses.Huber(0.5),
        fastnn.losses.Quantile(0.25, 0.75),
        fastnn.losses.Focal(1.0, 0.5),
    ],
    ids=str,
)
def test_numbers_of_a_loss_come_back(path: Path, loss: fastnn.losses.Loss) -> None:
    layers = [fastnn.Dense(2, loss.output or "identity")]
    net = fastnn.Network(4, layers, loss=loss, standardize=True, engine="reference")
    y = np.eye(2)[[0, 1, 0, 1]] if loss.kind != "numbers" else np.ones((4, loss.targets(2)))
    net.fit(np.eye(4), y + np.zeros_like(y), epochs=1, verbose=0)
    net.save(path)
    back = load(path)
    assert back.loss == loss
    assert back.program.loss_numbers.tolist() == list(loss.numbers)
    assert back.predict(np.eye(4)).tobytes() == net.predict(np.eye(4)).tobytes()


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


def test_a_file_of_format_1_is_read_and_written_as_it_was(path: Path) -> None:
    path.write_bytes(FORMAT_1)
    net = load(path)
    assert (net.inputs, net.input_scale, net.seed, net.dtype) == (3, 0.5, 7, np.dtype("float32"))
    assert net.layers[0].activation == fastnn.LeakyReLU(0.25)
    assert [layer.initializer for layer in net.layers] == ["lecun_uniform", "glorot_uniform"]
    assert net.layers[0].weights.tolist() == [[1, -2], [3, 4], [-5, 6]]
    assert net.layers[1].biases.tolist() == [0, 11]
    path.unlink()
    net.save(path, optimizer=True)
    assert path.read_bytes() == FORMAT_1


@pytest.mark.parametrize("field", [field for field in _fields.FIELDS if field.since > 1], ids=str)
def test_a_file_has_the_lowest_format_that_can_say_it(
    path: Path, monkeypatch: pytest.MonkeyPatch, field: _fields.Field
) -> None:
    place = training.Place(2, 8, 20, True, history={"loss": [1.0, float("nan")]})
    files.save(full(), path, optimizer=True, place=place)
    whole = description(path)
    files.save(network(), path, optimizer=True)
    plain = description(path)
    assert plain["format"] == 1
    assert field.name not in plain
    assert whole["format"] <= _fields.FORMAT
    field.read(whole[field.name])
    assert whole[field.name] != field.default  # full() is full


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"epochs": 0}, ["at least 1"]),
        ({"batch_size": True}, ["batch_size of fit", "got True"]),
        ({"rows": -1}, ["rows of fit"]),
        ({"shuffle": 1}, ["shuffle of fit as a bool", "got 1"]),
        ({"steps": 21}, ["20 steps of an epoch at most in fit, got 21"]),
        ({"steps": 20}, ["steps of fit up to", "got 20"]),
        ({"loss": 3}, ["loss of fit as a float", "got 3"]),
        ({"history": {}}, ["history as a list"]),
        ({"history": [["loss", [1.0]], ["loss", [1.0]]]}, ["history as names and lists"]),
        ({"history": [["loss", ["one"]]]}, ["history as names and lists"]),
        ({"history": [["loss", [1.0]], ["accuracy", []]]}, ["a history of these epochs"]),
        ({"history": [["accuracy", [1.0]]]}, ["a history of these epochs"]),
        ({"history": [["loss", [1.0] * 3]]}, ["a history of these epochs"]),
        ({"more": 1}, ["no entries ['more'] in fit"]),
        ({"augment": None}, ["augment as an object"]),
        ({"augment": {**AUGMENT, "more": 1.0}}, ["no entries ['more'] in augment"]),
        ({"augment": {**AUGMENT, "shift": 1}}, ["shift of augment as a float", "got 1"]),
        ({"augment": {**AUGMENT, "shift": -1.0}}, ["shift from 0 to 7", "got -1"]),
        ({"augment": {**AUGMENT, "shape": None}}, ["shape of augment as two numbers"]),
        ({"augment": {**AUGMENT, "shape": [1.0, 7]}}, ["shape of augment as two numbers"]),
        ({"augment": {**AUGMENT, "elastic": [4.0]}}, ["elastic of augment as two numbers"]),
    ],
)
def test_places_that_cannot_be(path: Path, change: Any, words: list[str]) -> None:
    augment = fastnn.Augment(1, shape=(1, 7), elastic=(4, 34))
    place = training.Place(2, 8, 20, True, history={"loss": [1.0]}, augment=augment)
    files.save(full(), path, optimizer=True, place=place)
    fastnn.load(path)
    assert description(path)["fit"]["augment"] == AUGMENT
    rewritten(path, lambda found, _: found["fit"].update(change))
    refused(path, *words)


def test_a_place_with_an_augmentation_needs_a_newer_format(path: Path) -> None:
    for augment, since in ((None, 4), (fastnn.Augment(shape=(1, 7)), 5)):
        place = training.Place(2, 8, 20, True, history={"loss": [1.0]}, augment=augment)
        files.save(full(), path, optimizer=True, place=place)
        assert description(path)["format"] == since
        assert files.read(os.fspath(path))[0]["fit"] == place
    rewritten(path, lambda found, _: found.update(format=4))
    refused(path, "format 5 for this fit, got 4")


@pytest.mark.parametrize(
    ("layer", "since"),
    [
        (fastnn.Dropout(0.25), 3),
        (fastnn.Dense(4, "gelu"), 3),
        (fastnn.Dense(4, fastnn.ELU(0.5)), 4),
        (fastnn.Dense(4, "silu"), 4),
        (fastnn.Dense(4, use_bias=False), 5),
        (fastnn.Scale(), 5),
        (fastnn.LayerNorm(0.25), 5),
        (fastnn.PReLU(), 5),
        (fastnn.Blend(fastnn.ELU(0.5)), 5),
        (fastnn.AlphaDropout(0.25), 5),
        (fastnn.Embed({0: (3, 2), 6: (2, 9)}), 5),
        (fastnn.BatchNorm(0.25, 0.5), 5),
        (
            fastnn.Residual(
                fastnn.Dense(4, "relu"), fastnn.Residual(fastnn.Dense(4)), fastnn.Dense(7)
            ),
            5,
        ),
        (fastnn.Dense(4, l1=0.5, l2=0.25), 5),
        (fastnn.Dense(4, max_norm=2.0), 5),
    ],
    ids=str,
)
def test_new_layers_need_a_newer_format(path: Path, layer: Any, since: int) -> None:
    """A reader of an earlier format says that it is too old, and meets nothing unknown."""
    net = fastnn.Network(7, [layer, fastnn.Dense(3, "softmax")], engine="reference")
    net.save(path)
    assert description(path)["format"] == since
    back = load(path)
    assert repr(back.layers) == repr(net.layers)
    assert weights(back) == weights(net)
    rewritten(path, lambda found, _: found.update(format=since - 1))
    refused(path, f"format {since} for these layers, got {since - 1}")


DENSE = {"units": 3, "activation": "relu", "initializer": "zeros"}
BATCH_NORM = {"layer": "batch_norm", "momentum": 0.1, "epsilon": 1e-5}


def residual(layers: list[Any]) -> Any:
    return {"layer": "residual", "layers": layers}


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"layer": "dropuot", "rate": 0.5}, ["unknown layer 'dropuot'", "did you mean 'dropout'"]),
        ({"layer": 3, "rate": 0.5}, ["unknown layer 3"]),
        ({"layer": "dropout", "rate": 1.0}, ["rate in [0, 1)"]),
        ({"layer": "dropout", "rate": 1}, ["the rate of layer 1 as a float"]),
        ({"layer": "dropout"}, ["['rate']"]),
        ({"layer": "dropout", "rate": 0.5, "units": 3}, ["no entries ['units']"]),
        ({"layer": "dense", "units": 3}, ["'activation'"]),
        ({"layer": "scale", "gamma": 1.0}, ["no entries ['gamma'] in layer 1"]),
        ({"layer": "layer_norm", "epsilon": 0.0}, ["a positive epsilon, got 0.0"]),
        ({"layer": "layer_norm", "epsilon": 1e-60}, ["an epsilon that float32 can hold"]),
        ({"layer": "layer_norm", "epsilon": "0"}, ["the epsilon of layer 1 as a float"]),
        ({"layer": "blend", "activation": "softmax"}, ["of single numbers in Blend, got softmax"]),
        ({"layer": "blend", "activation": "elu", "slope": -1.0}, ["a positive slope, got -1.0"]),
        ({"layer": "blend", "activation": "tanh", "slope": 1.0}, ["no entries ['slope']"]),
        ({"layer": "embed", "tables": [[0, 3]]}, ["tables of layer 1 as lists"]),
        ({"layer": "embed", "tables": [[0, 3, 0.5]]}, ["as whole numbers, got 0.5"]),
        ({"layer": "embed", "tables": [[0, 3, 2], [0, 3, 2]]}, ["different columns in layer 1"]),
        ({"layer": "embed", "tables": []}, ["at least one table in Embed"]),
        ({"layer": "embed", "tables": [[0, 3, 2]]}, ["inputs as they are with Embed"]),
        ({**BATCH_NORM, "momentum": 0.0}, ["a positive momentum"]),
        ({**BATCH_NORM, "momentum": 1}, ["the momentum of layer 1 as a float"]),
        ({**BATCH_NORM, "epsilon": 1e-99}, ["an epsilon that float32 can hold"]),
        (BATCH_NORM, ["['layers.1.beta', 'layers.1.gamma', 'layers.1.running_mean'"]),
        ({**DENSE, "use_bias": True}, ["use_bias of layer 1 as false", "got True"]),
        (residual([]), ["a list of layers in layer 1"]),
        (residual([DENSE]), ["a block that gives 7 columns", "got 3 from Residual(Dense(3"]),
        (residual([residual([5])]), ["layer 1.0.0 as an object"]),
        (
            functools.reduce(lambda one, _: residual([one]), range(300), DENSE),
            ["at most 16 blocks"],
        ),
    ],
)
def test_layers_that_do_not_fit(path: Path, entry: Any, words: list[str]) -> None:
    def insert(found: Any, _: Any) -> None:
        found["format"] = _fields.FORMAT
        found["layers"].insert(1, entry)

    full().save(path)
    rewritten(path, insert)
    refused(path, *words)


def test_a_last_layer_that_gives_no_outputs(path: Path) -> None:
    full().save(path)
    rewritten(path, lambda found, _: found["layers"].append({"layer": "dropout", "rate": 0.5}))
    refused(path, "a dense layer as the last")


def test_every_field_comes_back(path: Path, tmp_path: Path) -> None:
    net = full()
    net.save(path, optimizer=True)
    back = load(path)
    assert _fields.describe(back, back.trained) == _fields.describe(net, net.trained)
    assert (back.classes, back.features) == (net.classes, net.features)
    assert [type(name) for name in back.classes or ()] == [str, int, float]
    assert (back.target, back.trained_on) == ("kind", "rows.csv")
    assert (back.standardize, back.output_scale) == (True, net.output_scale)
    assert back.trained == net.trained
    for name in ("center", "factor", "state", "parameters"):
        assert getattr(back.program, name).tobytes() == getattr(net.program, name).tobytes()
    assert back.predict(rows()[0]).tobytes() == load(path).predict(rows()[0]).tobytes()
    back.save(tmp_path / "again", optimizer=True)
    assert (tmp_path / "again").read_bytes() == path.read_bytes()


def test_names_may_be_arrays_and_lists(path: Path) -> None:
    net = network()
    for classes in (np.array(["a", "b", "c"]), ["a", "b", "c"], list(np.array(["a", "b", "c"]))):
        net.classes = classes  # type: ignore[assignment]
        net.save(path)
        assert load(path).classes == ("a", "b", "c")
    net.classes = (True, 1.5, np.int64(7))  # type: ignore[assignment]
    net.save(path)
    assert repr(load(path).classes) == "(True, 1.5, 7)"


def test_one_sigmoid_output_has_two_classes(path: Path) -> None:
    net = fastnn.mlp([2, 1], output="sigmoid", engine="reference")
    net.classes = ("no", "yes")
    net.save(path)
    assert load(path).classes == ("no", "yes")
    net.classes = ("no",)
    with pytest.raises(ValueError, match="expected 2 classes, got 1"):
        net.save(path)


def test_what_targets_mean_comes_back(path: Path) -> None:
    assert get_args(training.Meaning) == _fields.MEANINGS
    x, y = rows()
    net = fastnn.mlp([7, 3], output="sigmoid", engine="reference")
    net.fit(x, np.hstack([np.eye(3)[y][:, :2], np.ones((40, 1))]), epochs=1, verbose=0)
    net.save(path)
    for same in (net, load(path)):
        with pytest.raises(ValueError, match="fitted on several labels a row"):
            same.classify(x)


def test_scales_that_are_not_learned_yet_are_learned_after_loading(path: Path) -> None:
    net = fastnn.mlp([7, 4, 3], standardize=True)
    net.save(path)
    back = fastnn.load(path)
    with pytest.raises(ValueError, match="expected a network that was fitted"):
        back.predict(rows()[0])
    assert weights(fit(back, 2)) == weights(fit(net, 2))


def test_scales_that_another_thread_is_just_learning_are_not_saved(path: Path) -> None:
    """The centre comes last: without it, the others may be half of the truth."""
    net = full()
    net.program.center = None
    net.save(path)
    back = load(path)
    assert (back.output_scale, back.output_center, back.program.factor) == (1.0, None, None)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("standardize", [False, True])
@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=str)
def test_save_load_and_fit_give_the_bits_of_one_fit(
    path: Path, optimizer: Any, standardize: bool, dtype: str
) -> None:
    def make() -> fastnn.Network:
        return fastnn.mlp([7, 9, 3], standardize=standardize, dtype=dtype, hidden="tanh")

    whole = fit(make(), 5, optimizer)
    net = fit(make(), 2, optimizer)
    for epochs in (1, 2):
        net.save(path, optimizer=True)
        net = fit(fastnn.load(path), epochs, optimizer)
    assert weights(net) == weights(whole)
    assert net.program.state.tobytes() == whole.program.state.tobytes()
    assert net.trained == whole.trained


def test_an_optimizer_is_saved_with_its_own_state(path: Path) -> None:
    """Another thread's fit changes the optimizer just while the state is copied."""
    net = fit(fastnn.mlp([7, 9, 3]), 1, fastnn.SGD(0.5, momentum=0.5))

    class Old:
        state = net.program.state

        def copy(self) -> Any:
            fit(net, 1, fastnn.SGD(0.25, momentum=0.25))
            return self.state.copy()

    net.program.state = Old()  # type: ignore[assignment]
    net.save(path, optimizer=True)
    back = fastnn.load(path)
    assert back.trained == net.trained
    assert back.program.state.tobytes() == net.program.state.tobytes()


def test_a_callback_saves_what_a_fit_goes_on_from(path: Path) -> None:
    def keep(net: fastnn.Network, epoch: int, logs: dict[str, float]) -> None:
        if epoch == 2:
            net.save(path, optimizer=True)

    x, y = rows()
    whole = fastnn.mlp([7, 9, 3])
    whole.fit(x, y, epochs=5, batch_size=8, callbacks=[keep], verbose=0)
    assert weights(fit(fastnn.load(path), 3)) == weights(whole)


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=str)
def test_without_the_optimizer_the_orders_of_rows_go_on(path: Path, optimizer: Any) -> None:
    net = fit(fastnn.mlp([7, 9, 3]), 2, optimizer)
    net.save(path)
    back = fit(fastnn.load(path), 2, optimizer)
    net.trained.optimizer = None  # it begins anew
    assert weights(back) == weights(fit(net, 2, optimizer))
    assert back.trained == net.trained


@pytest.mark.parametrize("schedule", SCHEDULES, ids=str)
@pytest.mark.parametrize("kind", [fastnn.SGD, fastnn.Adam])
def test_schedules_come_back(path: Path, kind: Any, schedule: Any) -> None:
    net = fit(fastnn.mlp([7, 3]), 1, kind(schedule))
    net.save(path, optimizer=True)
    assert load(path).trained.optimizer == kind(schedule)


def test_optimizers_have_names_in_files(path: Path) -> None:
    """All that the package offers; who adds one adds it to the table."""
    offered = [getattr(fastnn, name) for name in fastnn.__all__]
    assert {kind for kind in offered if hasattr(kind, "coefficients")} == {
        *_fields.SAVED_OPTIMIZERS.values()
    }
    names = [value.__name__ for value in fastnn.schedules.SCHEDULES.values()]
    assert {name for name in fastnn.__all__ if hasattr(getattr(fastnn, name), "rates")} == {*names}


def test_an_optimizer_of_someone_else_is_not_saved(saved: Path) -> None:
    class Ours(fastnn.SGD):
        pass

    class Half(fastnn.Constant):
        pass

    old = saved.read_bytes()
    for optimizer, found in ((Ours(), "Ours"), (fastnn.SGD(Half(0.5)), "Half")):
        net = fit(network(), 1, optimizer)
        with pytest.raises(TypeError, match=f"of fastnn to save, got {found}"):
            net.save(saved, optimizer=True)
        assert saved.read_bytes() == old
    net.save(saved)
    assert load(saved).trained.optimizer is None


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
        assert _fields.describe(back, back.trained) == _fields.describe(net, net.trained)
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
        description.update(format=_fields.FORMAT + 1, attention=True)
        tensors["attention"] = np.zeros(3, np.float32)

    rewritten(saved, newer, checksum=False)
    refused(saved, "newer", f"format {_fields.FORMAT} or less", f"got {_fields.FORMAT + 1}")


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
        (put("input_scale", float("nan")), ["description is not JSON", "NaN"]),
        (put("input_scale", 10**400), ["description is not JSON", "401 digits"]),
        (put("input_scale", 1), ["input_scale", "1"]),
        (put("input_scale", -1.0), ["input_scale", "-1.0"]),
        (put("input_scale", "1"), ["input_scale", "'1'"]),
        (put("input_scale", 1e39), ["an input_scale that float32 can hold", "1e+39"]),
        (put("input_scale", 1e-60), ["an input_scale that float32 can hold", "1e-60"]),
        (put("dtype", "float16"), ["float32 or float64", "'float16'"]),
        (put("dtype", "float64"), ["float64", "float32"]),
        (put("dtype", ["float32"]), ["float32 or float64"]),
        (put("loss", "cross_entrophy"), ["did you mean 'cross_entropy'?"]),
        (put("loss", "binary_cross_entropy"), ["sigmoid", "softmax"]),
        (put("loss", 3), ["the name of a loss", "3"]),
        (put("loss", "huber"), ["format 5 for this loss", "1"]),
        (put("loss", {"name": "huber"}), ["entries", "numbers"]),
        (put("loss", {"name": "huber", "numbers": []}), ["a loss and its numbers"]),
        (put("loss", {"name": "huber", "numbers": [1]}), ["a loss and its numbers"]),
        (put("loss", {"name": "huber", "numbers": [1.0, 2.0]}), ["the numbers of huber"]),
        (put("loss", {"name": "huber", "numbers": [-1.0]}), ["a positive delta"]),
        (put("loss", {"name": "log_cosh", "numbers": [1.0]}), ["a loss and its numbers"]),
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
        (
            lambda d, t: d["layers"][0].update(slope=1e39),
            ["a slope that float32 can hold", "1e+39"],
        ),
        (put_tensor("layers.1.weights", np.ones((4, 5), np.float32)), ["(5, 4)", "(4, 5)"]),
        (put_tensor("layers.1.biases", np.ones(4, np.float64)), ["float32", "float64"]),
        (put_tensor("layers.1.biases", np.ones(4, np.int32)), ["layers.1.biases", "I32"]),
        (put_tensor("layers.1.biases", np.full(4, np.nan, np.float32)), ["finite"]),
        (put_tensor("layers.9.biases", np.ones(4, np.float32)), ["layers.9.biases"]),
        (put("classes", ["a", "b", "c"]), ["no entries ['classes']"]),  # not of format 1
        (put_tensor("inputs.center", np.ones(7)), ["no entries ['inputs.center']"]),
        (lambda description, tensors: tensors.pop("layers.2.biases"), ["layers.2.biases"]),
    ],
)
def test_contents_that_do_not_fit(saved: Path, change: Any, words: list[str]) -> None:
    """The digest is right here: these are files that another program made, perhaps in malice."""
    rewritten(saved, change)
    refused(saved, *words)


def put_in_optimizer(key: str, value: object) -> Any:
    return lambda description, tensors: description["optimizer"].update({key: value})


def put_in_tensor(name: str, value: float) -> Any:
    return lambda description, tensors: tensors[name].__setitem__(0, value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (put("format", 1), ["no entries", "'classes'"]),
        (put("classes", []), ["3 classes", "0"]),
        (put("classes", ["a", "b"]), ["3 classes", "2"]),
        (put("classes", "abc"), ["classes as a list", "'abc'"]),
        (put("classes", [1, 2, None]), ["names or numbers", "None"]),
        (put("classes", [1, 2, 1 << 64]), ["numbers below 2^64", "18446744073709551616"]),
        (put("classes", None), ["classes as a list", "None"]),
        (put("features", ["a"]), ["7 features", "1"]),
        (put("features", [7] * 7), ["list of names", "7"]),
        (put("target", 3), ["target", "3"]),
        (put("trained_on", ["rows.csv"]), ["trained_on", "rows.csv"]),
        (put("standardize", 1), ["standardize", "1"]),
        (put("standardize", False), ["no output_scale"]),
        (put("input_scale", 0.5), ["no input_scale beside standardize", "0.5"]),
        (put("output_scale", 0.0), ["positive output_scale", "0.0"]),
        (put("output_scale", 1e39), ["an output_scale that float32 can hold", "1e+39"]),
        (put_in_tensor("outputs.center", -1e39), ["finite float32 numbers", "outputs.center"]),
        (put("meaning", "class "), ["meaning as one of class, classes, numbers", "'class '"]),
        (put("meaning", None), ["meaning", "None"]),
        (put("epochs", -1), ["epochs", "-1"]),
        (put("epochs", True), ["epochs", "True"]),
        (put("epochs", 1 << 62), ["epochs", "4611686018427387904"]),
        (put("steps", 1.0), ["steps", "1.0"]),
        (put("steps", 1 << 63), ["steps"]),
        (put("optimizer", "adam"), ["an optimizer as an object", "'adam'"]),
        (put("optimizer", {"name": "sgd"}), ["learning_rate", "in sgd"]),
        (put_in_optimizer("name", "adm"), ["did you mean 'adam'?"]),
        (put_in_optimizer("name", ["adam"]), ["the name of an optimizer"]),
        (put_in_optimizer("beta_1", 1.0), ["beta_1", "1.0"]),
        (put_in_optimizer("beta_1", 0), ["beta_1 of adam as a float", "0"]),
        (put_in_optimizer("epsilon", "1e-8"), ["epsilon of adam", "'1e-8'"]),
        (put_in_optimizer("learning_rate", -1.0), ["learning_rate", "-1.0"]),
        (put_in_optimizer("learning_rate", {"name": "cosin"}), ["schedule 'cosin'"]),
        (put_in_optimizer("learning_rate", {"name": "cosine", "peak": 1.0}), ["final"]),
        (put_in_optimizer("nesterov", False), ["no entries ['nesterov'] in adam"]),
        (lambda d, t: d.pop("optimizer"), ["no entries ['optimizer.0"]),
        (lambda d, t: t.pop("optimizer.1.layers.1.biases"), ["optimizer.1.layers.1.biases"]),
        (lambda d, t: t.pop("inputs.factor"), ["inputs.factor"]),
        (lambda d, t: t.pop("outputs.center"), ["no output_scale"]),
        (lambda d, t: t.pop("inputs.center"), ["no output_scale"]),
        (put("loss", "cross_entropy"), ["softmax"]),
        (put_tensor("inputs.center", np.ones(7, np.float32)), ["inputs.center", "float64"]),
        (put_tensor("inputs.center", np.ones(6)), ["inputs.center", "(7,)", "(6,)"]),
        (put_in_tensor("inputs.factor", -1), ["inputs.factor", "-1"]),
        (put_in_tensor("outputs.center", np.inf), ["finite float32 numbers", "outputs.center"]),
        (put_in_tensor("optimizer.0.layers.1.biases", np.nan), ["finite", "optimizer.0"]),
    ],
)
def test_contents_of_format_2_that_do_not_fit(path: Path, change: Any, words: list[str]) -> None:
    full().save(path, optimizer=True)
    rewritten(path, lambda description, tensors: None)
    load(path)  # what is rewritten is read
    rewritten(path, change)
    refused(path, *words)


def test_what_cannot_be_loaded_is_not_saved(saved: Path) -> None:
    old = saved.read_bytes()
    wrong: list[tuple[str, Any, str]] = [
        ("classes", ("a", "b"), "expected 3 classes, got 2"),
        ("classes", ("a", "b", float("nan")), "got nan"),
        ("classes", ("a", "b", object()), "got <object"),
        ("classes", "abc", "as a list"),
        ("features", tuple("abcdef"), "expected 7 features, got 6"),
        ("features", (1, 2, 3, 4, 5, 6, 7), "names, got 1"),
        ("features", ("\x1b" * 10**7,) * 7, "a header of"),
        ("target", 3, "target as a name, got 3"),
        ("trained_on", Path("rows.csv"), "trained_on as text"),
    ]
    for name, value, words in wrong:
        net = network()
        setattr(net, name, value)
        with pytest.raises(ValueError, match=words) as caught:
            net.save(saved)
        assert "nothing was saved" in str(caught.value)
        assert not isinstance(caught.value, fastnn.FormatError)
        assert saved.read_bytes() == old
    wide = fastnn.mlp([600_000, 1], output="sigmoid", engine="reference")
    wide.features = ("",) * 600_000
    with pytest.raises(ValueError, match="expected 500000 values in the header at most, got 6000"):
        wide.save(saved)
    assert saved.read_bytes() == old
    only(saved.parent, saved.name)


@pytest.mark.parametrize(
    "text",
    [
        *("[]", "3", "null", '"x"', "{}", '{"format": "1"}', "[" * 100_000),
        *('{"format":1,"format":1}', '{"a":' * 100_000, '{"format":' + "1" * 10_000 + "}"),
        *('{"format":1e999}', '{"format":Infinity}', '{"format":-1}', '{"format":true}'),
    ],
    ids=range(14),
)
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


# ------------------------------------------------------------------------- files made to do harm


def raw(path: Path, header: bytes, tensors: bytes = b"", length: int | None = None) -> None:
    """A file that no library helped to write."""
    length = len(header) if length is None else length
    path.write_bytes(length.to_bytes(8, "little") + header + tensors)


def with_tensor(entry: str, name: str = '"layers.0.biases"') -> bytes:
    """The header of a file of format 1, with another entry for a tensor."""
    text = FORMAT_1[8 : -14 * 4].decode().rstrip()
    old = '"layers.0.biases":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}'
    assert old in text
    return text.replace(old, f"{name}:{entry}").encode()


# Their product would take minutes.
LONG_SHAPE = f'{{"dtype":"F32","shape":[{"9" * 18}{("," + "9" * 18) * 400_000}],'
LONG_SHAPE += '"data_offsets":[0,8]}'


@pytest.mark.parametrize(
    ("header", "words"),
    [
        (b'{"a":' * 100_000, ["header is not JSON", "nested too deeply"]),
        (b'{"a":' + b"[" * 5000, ["header is not JSON", "nested too deeply"]),
        (b'{"a":[' + b"[]," * 4_000_000 + b"[]]}", ["500000 values", "got 4000000"]),
        (b'{"a":1,"a":1}', ["a name stands twice"]),
        (b'{"a":' + b"9" * 10_000 + b"}", ["10000 digits"]),
        (b'{"a":NaN}', ["finite numbers, got NaN"]),
        (b'{"a":-Infinity}', ["finite numbers, got -Infinity"]),
        (b'{"\xff":1}', ["header is not JSON"]),
        (b"{}", ["not a fastnn model"]),
        (b'{"__metadata__":[]}', ["not a fastnn model"]),
        (b'{"__metadata__":{"fastnn":{}}}', ["not a fastnn model"]),
        (b'{"__metadata__":{"fastnn":"\\ud800"}}', ["description is not JSON"]),
        (b"{}" + b" " * (1 << 24), ["a header of 16777216 bytes", "got 16777218"]),
        (with_tensor("7"), ["an object for 'layers.0.biases'", "got 7"]),
        (with_tensor("{}"), ["dtype", "in 'layers.0.biases'"]),
        (with_tensor('{"dtype":"F32","shape":[2],"data_offsets":[0,8],"x":1}'), ["no entries"]),
        (with_tensor('{"dtype":["F32"],"shape":[2],"data_offsets":[0,8]}'), ["F32 or F64"]),
        (with_tensor('{"dtype":"F32","shape":2,"data_offsets":[0,8]}'), ["the shape of"]),
        (with_tensor('{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}'), ["the shape of"]),
        (with_tensor(LONG_SHAPE), ["the shape of"]),
        (with_tensor('{"dtype":"F32","shape":[2.0],"data_offsets":[0,8]}'), ["the shape of"]),
        (with_tensor('{"dtype":"F32","shape":[2],"data_offsets":[0]}'), ["offsets of"]),
        (with_tensor('{"dtype":"F32","shape":[2],"data_offsets":[8,0]}'), ["8 bytes of"]),
        (with_tensor('{"dtype":"F32","shape":[2],"data_offsets":[4,12]}'), ["start at"]),
        (with_tensor('{"dtype":"F32","shape":[3],"data_offsets":[0,12]}'), ["start at 12"]),
        (with_tensor('{"dtype":"F32","shape":[2],"data_offsets":[0,8]}', '"x"'), ["biases"]),
    ],
    ids=range(26),
)
def test_headers_made_to_do_harm(path: Path, header: bytes, words: list[str]) -> None:
    raw(path, header, FORMAT_1[-14 * 4 :])
    refused(path, *words)


def peak(call: Any) -> int:
    """The memory that a call takes at most, in bytes."""
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_size_that_is_declared_takes_no_memory(path: Path) -> None:
    """Sparse files of 1 GB: what they declare is held against what they are."""
    huge, header = 1 << 30, FORMAT_1[8 : -14 * 4]
    size = huge - 8 - len(header)
    wide = with_tensor(
        f'{{"dtype":"F32","shape":[{size // 4}],"data_offsets":[0,{size // 4 * 4}]}}'
    )
    layer = with_tensor('{"dtype":"F32","shape":[2],"data_offsets":[0,8]}').replace(
        rb"\"units\":2", rb"\"units\":99999999"
    )
    load(saved_as(path, FORMAT_1))  # so that nothing is imported below
    for head in (
        FORMAT_1,
        bytes(16),
        bytes(8) + b"{",
        b"\x01" + bytes(7) + b"{",
        huge.to_bytes(8, "little") + b"{",
    ):
        saved_as(path, head)
        os.truncate(path, huge)
        assert peak(lambda: refused(path)) < 500_000
    for header, words in ((wide, "to start at"), (layer, "(3, 99999999)")):
        raw(path, header)
        os.truncate(path, huge)
        assert peak(functools.partial(refused, path, words)) < 500_000


def saved_as(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("optimizer", [False, True])
def test_loading_takes_little_more_memory_than_the_network(path: Path, optimizer: bool) -> None:
    x, y = np.zeros((1, 2000), np.float32), np.zeros(1, np.int64)
    net = fastnn.mlp([2000, 1000, 3])
    net.fit(x, y, epochs=1, verbose=0)
    net.save(path, optimizer=optimizer)
    load(path)
    assert peak(lambda: load(path)) < 2.3 * path.stat().st_size + 8 * 2000 * 1000


def test_a_header_as_large_as_may_be_takes_little_memory(path: Path) -> None:
    raw(path, b'{"a":[' + b'{"b":1},' * 499_999 + b"0]}")
    assert peak(lambda: refused(path, "not a fastnn model")) < 200e6


@pytest.mark.parametrize("length", [0, 1, 100, 700])
def test_a_file_that_shrinks_while_it_is_read(
    path: Path, monkeypatch: pytest.MonkeyPatch, length: int
) -> None:
    """A mapped file would end the process."""
    net = fastnn.mlp([500, 50, 3], engine="reference")
    net.save(path)
    entries = files._entries

    def shrink(header: Any) -> Any:
        os.truncate(path, length)
        return entries(header)

    monkeypatch.setattr(files, "_entries", shrink)
    refused(path, "altered while it was read")


@pytest.mark.parametrize("wrong", [0, 2, True, None, b"net.fastnn", 1.5, ["net"]], ids=repr)
def test_only_paths_are_paths(wrong: Any) -> None:
    """The descriptor 0 is the process's own; it is not closed."""
    before = os.fstat(0), os.fstat(2)
    for call in (fastnn.load, network().save):
        with pytest.raises(TypeError, match=r"expected a path as str or os\.PathLike, got"):
            call(wrong)
    assert (os.fstat(0), os.fstat(2)) == before


HOSTILE = "\x1b[2J" * 300_000


@pytest.mark.parametrize(
    "change",
    [
        put(HOSTILE, 1),
        put("loss", HOSTILE),
        put("loss", [HOSTILE]),
        put("dtype", HOSTILE),
        put("seed", HOSTILE),
        put("layers", HOSTILE),
        put("layers", [{HOSTILE: HOSTILE}]),
        put_in_layer("activation", HOSTILE),
        put_in_layer("initializer", HOSTILE),
        put_in_layer("units", {HOSTILE: 1}),
        put_tensor("layers\x1b.1.biases", np.ones(4, np.float32)),
    ],
    ids=range(11),
)
def test_messages_quote_little_and_nothing_that_a_terminal_obeys(saved: Path, change: Any) -> None:
    rewritten(saved, change)
    with pytest.raises(fastnn.FormatError) as caught:
        load(saved)
    message = str(caught.value).removeprefix(str(saved))
    assert message.isprintable()
    assert len(message) < 400


def test_a_path_is_shown_without_control_characters(tmp_path: Path) -> None:
    path = saved_as(tmp_path / "a\x1b[2J\nb", b"")
    with pytest.raises(fastnn.FormatError) as caught:
        load(path)
    assert str(caught.value).endswith(r"/a\x1b[2J\nb: not a fastnn model: the file is empty")


def test_a_pipe_makes_nobody_wait(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    refused(tmp_path / "pipe", "found a device or pipe")
    with pytest.raises(fastnn.FormatError, match="found a device or pipe"):
        load(Path("/dev/zero"))


# ---------------------------------------------------------------------------- saving all or nothing


def in_child(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """What became of a script in a process of its own."""
    command = [sys.executable, "-c", script, *arguments]
    environment = os.environ | {"PYTHONPATH": str(Path(fastnn.__file__).parents[1])}
    return subprocess.run(
        command, env=environment, timeout=DEADLINE, capture_output=True, text=True
    )


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


def test_a_full_disk(saved: Path, tmp_path: Path) -> None:
    """A process that may write no more than half of the file, as on a disk that is full."""
    old = saved.read_bytes()
    script = f"""
import errno, os, resource
import fastnn
net = fastnn.load({str(saved)!r}, engine="reference")
net.layers[0].biases[...] = 7
resource.setrlimit(resource.RLIMIT_FSIZE, (len({old!r}) // 2,) * 2)
try:
    net.save({str(saved)!r})
except OSError as error:
    assert (error.errno, error.filename) == (errno.EFBIG, {str(saved)!r}), error
else:
    raise AssertionError("expected an OSError")
"""
    done = in_child(script)
    assert done.returncode == 0, done.stderr
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
import os, signal, sys
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

if step == "half written":
    os.fdopen = lambda descriptor, mode, fdopen=os.fdopen: Half(fdopen(descriptor, mode))
elif step == "written":
    os.fsync = die
elif step == "synced":
    os.replace = die
else:
    os.replace = replace_and_die
if step == "created":
    os.fdopen = die
net.save(path)
"""


@pytest.mark.parametrize("step", ["created", "half written", "written", "synced", "renamed"])
def test_killed_while_saving(saved: Path, step: str) -> None:
    """Whenever the process dies, the old file or the new one is there, whole."""
    done = in_child(SAVE_AND_DIE, str(saved), step)
    assert done.returncode == -signal.SIGKILL
    new = np.full(5, 7, np.float32)
    expected = new if step == "renamed" else network().layers[0].biases
    np.testing.assert_array_equal(load(saved).layers[0].biases, expected)
    left = [] if step == "renamed" else [str(file) for file in saved.parent.glob(".fastnn-*.tmp")]
    assert len(left) == (step != "renamed")
    network(seed=8).save(saved.parent / "other")  # any save in that folder clears it away
    only(saved.parent, saved.name, "other")


@pytest.mark.slow
@pytest.mark.parametrize("group", ["models", "kills", "overwrites", "threads"])
def test_a_short_pass_of_the_stress(group: str) -> None:
    """The script says what it does; it may be run for longer."""
    script = str(Path(__file__).with_name("stress_files.py"))
    command = [sys.executable, "-P", "-W", "error", script, "--seconds", "2", group]
    done = subprocess.run(command, timeout=DEADLINE, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    tries, word, failures = done.stdout.split()[1:4]
    assert (int(tries) > 10, word, failures) == (True, "tries", "0")
