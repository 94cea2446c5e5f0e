"""The model file: one safetensors file, the weights and a JSON description of the network.

The tensors are `layers.0.weights` (I, O), `layers.0.biases` (O,), and so on, in the network's
dtype. The metadata entry `fastnn` holds the description as JSON text:

    {"format": 1, "inputs": 784, "input_scale": 0.00392, "dtype": "float32",
     "loss": "cross_entropy", "seed": 0, "sha256": "...",
     "layers": [{"units": 128, "activation": "relu", "initializer": "he_normal"}, ...]}

A layer of leaky_relu also holds its `slope`. The digest covers the description without itself and
the bytes of all tensors. `FIELDS` names all entries; one that has its default is not written, and
the file's format is the lowest that has all that are. Format 2 adds, of float64, the tensors
`inputs.center` (I,), `inputs.factor` (I,) and `outputs.center` (O,), where the network has learned
them, and with the optimizer each slot of its state as `optimizer.0.layers.0.weights` and so on.
What a format does not name is an error.
"""

from __future__ import annotations

import dataclasses
import io
import math
import os
import stat
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from . import _atomic, activations, losses
from ._errors import FormatError, file_name, printable, shown, unknown
from .layers import Dense
from .losses import Loss
from .optimizers import OPTIMIZERS
from .program import Program, blocks
from .schedules import SCHEDULES

if TYPE_CHECKING:
    from .network import Network
    from .training import State

DTYPES = {"F32": "float32", "F64": "float64"}  # safetensors' names: NumPy's names
MEANINGS = ("class", "classes", "numbers")  # of targets, as in `training`
LARGEST_HEADER = 1 << 24  # bytes
MOST_VALUES = 500_000  # in it; each takes some 100 bytes of memory once it is parsed
LARGEST_COUNT = 1 << 62  # of epochs and steps, so that sums stay below 2^63

Description = dict[str, Any]  # as JSON has it
Model = dict[str, Any]  # the same entries as fastnn has them: layers, an optimizer, ...
Tensors = dict[str, NDArray[Any]]
Kinds = dict[str, tuple[str, tuple[int, ...]]]  # dtype and shape of each tensor


# ------------------------------------------------------------------------------------------- fields


def _expect(fine: bool, expected: str, found: object) -> None:
    if not fine:
        raise FormatError(f"expected {expected}, got {shown(found)}")


def _expect_names(
    where: str, found: Set[str], needed: Set[str], known: Set[str] = frozenset()
) -> None:
    """Nothing of what is needed may be missing, nothing else be there but what is known."""
    missing, unexpected = sorted(needed - found), sorted(found - needed - known)
    if missing:
        raise FormatError(
            f"expected the entries {shown(missing)} in {where}, got {shown([*found])}"
        )
    if unexpected:
        raise FormatError(f"expected no entries {shown(unexpected)} in {where}")


def _whole(name: str, least: int, end: int = 1 << 64) -> Callable[[Any], int]:
    def read(value: Any) -> int:
        _expect(type(value) is int and least <= value < end, name, value)
        return int(value)

    return read


def _positive(name: str) -> Callable[[Any], float]:
    def read(value: Any) -> float:
        _expect(isinstance(value, float) and math.isfinite(value) and value > 0, name, value)
        return float(value)

    return read


def _is(kind: type, name: str) -> Callable[[Any], Any]:
    def read(value: Any) -> Any:
        _expect(type(value) is kind, name, value)
        return value

    return read


def _names(name: str, *kinds: type) -> Callable[[Any], tuple[Any, ...]]:
    def read(value: Any) -> tuple[Any, ...]:
        _expect(isinstance(value, list), name, value)
        for one in value:
            _expect(type(one) in kinds and (type(one) is str or abs(one) < 1 << 64), name, one)
        return tuple(value)

    return read


def _dtype(value: Any) -> str:
    _expect(value in DTYPES.values(), "dtype float32 or float64", value)
    return str(value)


def _loss(value: Any) -> Loss:
    return losses.get(_is(str, "the name of a loss")(value))


def _meaning(value: Any) -> str:
    _expect(value in MEANINGS, f"meaning as one of {', '.join(MEANINGS)}", value)
    return str(value)


def _layers(value: Any) -> list[Dense]:
    _expect(isinstance(value, list) and len(value) > 0, "a list of layers", value)
    return [_layer(i, entry) for i, entry in enumerate(value)]


def _layer(i: int, entry: Any) -> Dense:
    _expect(isinstance(entry, dict), f"layer {i} as an object", entry)
    leaky = entry.get("activation") == "leaky_relu"
    names = {"units", "activation", "initializer", *(["slope"] if leaky else [])}
    _expect_names(f"layer {i}", entry.keys(), names)
    units = _whole(f"a positive size of layer {i}", 1)(entry["units"])
    activation = activations.get(_is(str, "the name of an activation")(entry["activation"]))
    if leaky:
        activation = activations.LeakyReLU(_positive("a positive slope")(entry["slope"]))
    return Dense(units, activation, _is(str, "the name of an initializer")(entry["initializer"]))


def _layer_entry(layer: Dense) -> Description:
    entry: Description = {
        "units": layer.units,
        "activation": layer.activation.name,
        "initializer": layer.initializer,
    }
    if layer.activation.name == "leaky_relu":
        entry["slope"] = layer.activation.slope
    return entry


def _kind_entry(what: str, kinds: Mapping[str, type], value: Any) -> Description:
    """An optimizer or a schedule as its name and its fields."""
    names = [name for name, kind in kinds.items() if type(value) is kind]
    if not names:
        raise TypeError(f"expected {what} of fastnn to save, got {type(value).__name__}")
    entry: Description = {"name": names[0]}
    for field in dataclasses.fields(value):
        found = getattr(value, field.name)
        if isinstance(field.default, bool):
            entry[field.name] = bool(found)
        elif hasattr(found, "rates"):
            entry[field.name] = _kind_entry("a schedule", SCHEDULES, found)
        else:
            entry[field.name] = float(found)
    return entry


def _kind(what: str, kinds: Mapping[str, type], entry: Any) -> Any:
    """The optimizer or the schedule that such an entry describes."""
    _expect(isinstance(entry, dict), f"{what} as an object", entry)
    name = _is(str, f"the name of {what}")(entry.get("name"))
    if name not in kinds:
        raise unknown(what.partition(" ")[2], name, kinds)
    fields = {field.name: field for field in dataclasses.fields(kinds[name])}
    _expect_names(name, entry.keys(), {"name", *fields})
    values: dict[str, Any] = {}
    for key, field in fields.items():
        value = entry[key]
        if key == "learning_rate" and isinstance(value, dict):
            values[key] = _kind("a schedule", SCHEDULES, value)
        else:
            kind = bool if isinstance(field.default, bool) else float
            values[key] = _is(kind, f"{key} of {name} as a {kind.__name__}")(value)
    return kinds[name](**values)


def _optimizer(value: Any) -> Any:
    return _kind("an optimizer", OPTIMIZERS, value)


def _optimizer_entry(network: Network, training: State) -> Description | None:
    optimizer = training.optimizer
    return None if optimizer is None else _kind_entry("an optimizer", OPTIMIZERS, optimizer)


def _plain(value: Any) -> Any:
    """Names as JSON has them: arrays, tuples and NumPy's numbers as lists and Python's."""
    if hasattr(value, "tolist"):
        return value.tolist()
    return [_plain(one) for one in value] if isinstance(value, (list, tuple)) else value


REQUIRED = object()


@dataclass(frozen=True)
class Field:
    """One entry of the description: which format brought it, how it is written and how read.

    `write` gives what JSON holds, of a network and how far its training has come; `read` gives what
    that means, or raises ValueError. What has its default is not written.
    """

    name: str
    since: int
    write: Callable[[Any, Any], Any]
    read: Callable[[Any], Any]
    default: Any = REQUIRED


FIELDS = (
    Field("inputs", 1, lambda net, _: net.inputs, _whole("a positive number of inputs", 1)),
    Field("input_scale", 1, lambda net, _: net.input_scale, _positive("a positive input_scale")),
    Field("dtype", 1, lambda net, _: net.dtype.name, _dtype),
    Field("loss", 1, lambda net, _: net.loss.name, _loss),
    Field("seed", 1, lambda net, _: net.seed, _whole("a seed from 0 to 2^64 - 1", 0)),
    Field("layers", 1, lambda net, _: [_layer_entry(layer) for layer in net.layers], _layers),
    Field(
        "standardize", 2, lambda net, _: net.standardize, _is(bool, "standardize as a bool"), False
    ),
    Field(
        "output_scale",
        2,
        lambda net, _: net.output_scale,
        _positive("a positive output_scale"),
        1.0,
    ),
    Field(
        "classes",
        2,
        lambda net, _: _plain(net.classes),
        _names("classes as a list of names or numbers below 2^64", str, int, float, bool),
        None,
    ),
    Field(
        "features",
        2,
        lambda net, _: _plain(net.features),
        _names("features as a list of names", str),
        None,
    ),
    Field("target", 2, lambda net, _: _plain(net.target), _is(str, "target as a name"), None),
    Field("trained_on", 2, lambda net, _: net.trained_on, _is(str, "trained_on as text"), None),
    Field("meaning", 2, lambda net, training: training.meaning, _meaning, None),
    Field(
        "epochs",
        2,
        lambda net, training: training.epochs,
        _whole("epochs from 0 to 2^62 - 1", 0, LARGEST_COUNT),
        0,
    ),
    Field(
        "steps",
        2,
        lambda net, training: training.steps,
        _whole("steps from 0 to 2^62 - 1", 0, LARGEST_COUNT),
        0,
    ),
    Field("optimizer", 2, _optimizer_entry, _optimizer, None),
)
FORMAT = max(field.since for field in FIELDS)


def _describe(network: Network, training: State) -> Description:
    """What is written of a network, beside its tensors; the format is the lowest that can."""
    description: Description = {}
    version = 1
    for field in FIELDS:
        value = field.write(network, training)
        if value != field.default:
            description[field.name] = value
            version = max(version, field.since)
    return {"format": version, **description}


def _model(description: Description) -> Model:
    """What a description means, checked."""
    fields = [field for field in FIELDS if field.since <= description["format"]]
    needed = {field.name for field in fields if field.default is REQUIRED}
    known = {"format", "sha256", *(field.name for field in fields)}
    _expect_names("the description", description.keys(), needed, known)
    model: Model = {}
    try:
        for field in fields:
            there = field.name in description
            model[field.name] = field.read(description[field.name]) if there else field.default
        for field in FIELDS:
            model.setdefault(field.name, field.default)
        output = model["layers"][-1]
        losses.fits(model["loss"], output.activation, output.units)
    except ValueError as error:  # an unknown name, a number out of its range
        raise FormatError(str(error)) from None
    _check_together(model)
    return model


def _check_together(model: Model) -> None:
    outputs = model["layers"][-1].units
    for name, length in (("classes", max(outputs, 2)), ("features", model["inputs"])):
        found = length if model[name] is None else len(model[name])
        _expect(found == length, f"{length} {name}", found)
    scale, dtype = model["input_scale"], model["dtype"]
    with np.errstate(over="ignore", under="ignore"):
        held = float(np.dtype(dtype).type(scale))
    _expect(0 < held < math.inf, f"an input_scale that {dtype} can hold", scale)
    scale = model["output_scale"]
    _expect(scale <= float(np.finfo(dtype).max), f"an output_scale that {dtype} can hold", scale)
    if model["standardize"]:
        _expect(
            model["input_scale"] == 1.0, "no input_scale beside standardize", model["input_scale"]
        )


# ------------------------------------------------------------------------------------------ tensors


def views(program: Program, parameters: NDArray[Any], state: NDArray[Any]) -> Tensors:
    """Weights, biases and the optimizer's state under their names, in the memory of arenas."""
    tensors: Tensors = {}
    prefixes = ["", *(f"optimizer.{slot}." for slot in range(len(state)))]
    for prefix, arena in zip(prefixes, [parameters, *state], strict=True):
        for i, pair in enumerate(blocks(program, arena)):
            for name, block in zip(("weights", "biases"), pair, strict=True):
                tensors[f"{prefix}layers.{i}.{name}"] = block
    return tensors


def _kinds(model: Model, found: Set[str]) -> Kinds:
    """The tensors that belong to a model; of scales that may be learned, those that are found."""
    inputs, layers, dtype = model["inputs"], model["layers"], model["dtype"]
    slots = 0 if model["optimizer"] is None else model["optimizer"].slots
    widths = [inputs, *(layer.units for layer in layers)]
    kinds: Kinds = {}
    for prefix in ["", *(f"optimizer.{slot}." for slot in range(slots))]:
        for i in range(len(layers)):
            kinds[f"{prefix}layers.{i}.weights"] = (dtype, (widths[i], widths[i + 1]))
            kinds[f"{prefix}layers.{i}.biases"] = (dtype, (widths[i + 1],))
    if model["standardize"] and "inputs.center" in found:
        kinds["inputs.center"] = kinds["inputs.factor"] = ("float64", (inputs,))
        real = model["loss"].name == "mean_squared_error"
        if real and layers[-1].activation.name == "identity" and "outputs.center" in found:
            kinds["outputs.center"] = ("float64", (widths[-1],))
    if "outputs.center" not in kinds:
        _expect(model["output_scale"] == 1.0, "no output_scale", model["output_scale"])
    return kinds


def _check_kinds(model: Model, found: Kinds) -> None:
    expected = _kinds(model, found.keys())
    _expect_names("the tensors", found.keys(), expected.keys())
    for name, kind in expected.items():
        _expect(found[name] == kind, f"{name} as {kind}", found[name])


def _check_numbers(model: Model, tensors: Tensors) -> None:
    for name, tensor in tensors.items():
        with np.errstate(over="ignore"):
            held = tensor.astype(model["dtype"]) if name == "outputs.center" else tensor
        if not np.isfinite(held).all():
            what = "weights" if name.startswith("layers.") else f"{held.dtype} numbers"
            raise FormatError(f"expected finite {what}, got NaN or infinity in {name}")
    factor = tensors.get("inputs.factor")
    if factor is not None and factor.min() < 0:
        raise FormatError(f"expected factors of at least 0 in inputs.factor, got {factor.min()}")


def _to_json(description: Description) -> str:
    import json

    return json.dumps(description, sort_keys=True, separators=(",", ":"))


def _digest(description: Description, tensors: Tensors) -> str:
    import hashlib

    plain = {key: value for key, value in description.items() if key != "sha256"}
    digest = hashlib.sha256(_to_json(plain).encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(name.encode())
        digest.update(tensor.astype(tensor.dtype.newbyteorder("<"), copy=False).reshape(-1).data)
    return digest.hexdigest()


# ------------------------------------------------------------------------------------------- saving


def save(network: Network, path: str | os.PathLike[str], optimizer: bool = False) -> None:
    """`Network.save`: see there."""
    from safetensors.numpy import save as serialize

    name = file_name(path)
    description, tensors = _copied(network, optimizer)
    try:
        model = _model(description)
        _check_kinds(model, {name: (str(t.dtype), t.shape) for name, t in tensors.items()})
        _check_numbers(model, tensors)
        description["sha256"] = _digest(description, tensors)
        text = _to_json(description)
        _check_header(len(text))
        data = serialize(tensors, {"fastnn": text})
        _description(_header(io.BytesIO(data), len(data)))  # what could not be read is not written
    except FormatError as error:  # no file is at fault
        raise ValueError(f"{error}; nothing was saved") from None
    with _atomic.replacing(name) as file:
        file.write(data)


def _copied(network: Network, optimizer: bool) -> tuple[Description, Tensors]:
    """One copy of all that changes while another thread fits the network."""
    program = network.program
    learned = program.center is not None  # assigned last: with it all scales are there
    training, state = _state(network, optimizer)
    tensors = views(program, program.parameters.copy(), state)
    description = _describe(network, training)
    if not learned:
        description.pop("output_scale", None)
        return description, tensors
    scales = {
        "inputs.center": program.center,
        "inputs.factor": program.factor,
        "outputs.center": network.output_center,
    }
    tensors.update((name, scale) for name, scale in scales.items() if scale is not None)
    return description, tensors


def _state(network: Network, optimizer: bool) -> tuple[State, NDArray[Any]]:
    """How far training has come, and the state of the optimizer if that is kept."""
    if not optimizer:
        return dataclasses.replace(network._training, optimizer=None), network.program.state[:0]
    while True:
        training = network._training  # another one as soon as the state is another optimizer's
        state = network.program.state.copy()
        if network._training is training:
            return training, state if training.optimizer else state[:0]


# ------------------------------------------------------------------------------------------ reading


def read(path: str | os.PathLike[str]) -> tuple[Model, Tensors]:
    """The model in a file, all of it checked. Nothing in the file is executed.

    Raises FormatError if the file is truncated, altered, of another kind or of a newer version,
    OSError if it cannot be read. Memory is taken only for what the file has the size of, once the
    description, the tensors and that size agree.
    """
    name = file_name(path)
    try:
        with _opened(name) as file:
            return _read(file)
    except FormatError as error:
        raise FormatError(f"{printable(name)}: {error}") from None


def _opened(path: str) -> BinaryIO:
    """The file, open; a pipe makes nobody wait."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        raise FormatError(f"expected a model file, found {_atomic.kind(status)}")
    return os.fdopen(descriptor, "rb")


def _read(file: BinaryIO) -> tuple[Model, Tensors]:
    size = os.fstat(file.fileno()).st_size
    header = _header(file, size)
    description = _description(header)
    model = _model(description)
    kinds, offsets, end = _entries(header)
    _check_kinds(model, kinds)
    start = file.tell()
    if size < start + end:
        raise FormatError(f"truncated: expected {start + end} bytes, got {size}")
    if size > start + end:
        raise FormatError(f"altered since it was saved: expected {start + end} bytes, got {size}")
    tensors: Tensors = {}
    for name in sorted(offsets, key=offsets.__getitem__):
        dtype, shape = kinds[name]
        tensor = np.empty(shape, np.dtype(dtype).newbyteorder("<"))
        if file.readinto(tensor.reshape(-1).view(np.uint8)) != tensor.nbytes:  # type: ignore[attr-defined]
            raise FormatError("altered while it was read")
        tensors[name] = tensor
    if description.get("sha256") != _digest(description, tensors):
        raise FormatError("altered since it was saved: the checksum does not match")
    _check_numbers(model, tensors)
    return model, tensors


def _header(file: BinaryIO, size: int) -> Description:
    """The JSON object that a safetensors file begins with."""
    head = file.read(9)
    if len(head) == 0:
        raise FormatError("not a fastnn model: the file is empty")
    if len(head) < 9:
        raise FormatError(f"truncated: expected at least 9 bytes, got {size}")
    if head[8:] != b"{":
        raise FormatError("not a fastnn model: the file is of another kind")
    length = int.from_bytes(head[:8], "little")
    _check_header(length)
    if size < 8 + length:
        raise FormatError(f"truncated: expected at least {8 + length} bytes, got {size}")
    text = (head[8:] + file.read(max(0, length - 1)))[:length]
    return _parsed("header", text)


def _check_header(length: int) -> None:
    if length > LARGEST_HEADER:
        raise FormatError(f"expected a header of {LARGEST_HEADER} bytes at most, got {length}")


def _parsed(what: str, text: bytes) -> Description:
    """A JSON object without what JSON should not hold: names twice, NaN, numbers without end."""
    import json

    def unique(pairs: list[tuple[str, Any]]) -> Description:
        found = dict(pairs)
        if len(found) < len(pairs):
            raise ValueError("a name stands twice in one object")
        return found

    def whole(digits: str) -> int:
        if len(digits) > 21:  # -2^64 has 21
            raise ValueError(f"expected numbers of 64 bits, got {len(digits)} digits")
        return int(digits)

    def constant(name: str) -> float:
        raise ValueError(f"expected finite numbers, got {name}")

    values = text.count(b",")
    if values > MOST_VALUES:
        raise FormatError(f"expected {MOST_VALUES} values in the {what} at most, got {values}")
    try:
        found = json.loads(
            text.decode(), object_pairs_hook=unique, parse_int=whole, parse_constant=constant
        )
    except (ValueError, RecursionError) as error:
        deep = isinstance(error, RecursionError)
        reason = "it is nested too deeply" if deep else printable(str(error))
        raise FormatError(
            f"altered since it was saved: the {what} is not JSON ({reason})"
        ) from None
    _expect(isinstance(found, dict), f"an object as the {what} (altered since it was saved)", found)
    return dict(found)


def _description(header: Description) -> Description:
    """The description of a format that is known; it is taken out of the header."""
    metadata = header.pop("__metadata__", None)
    text = metadata.get("fastnn") if isinstance(metadata, dict) else None
    if not isinstance(text, str):
        raise FormatError("a safetensors file, but not a fastnn model")
    description = _parsed("description", text.encode(errors="replace"))
    version = description.get("format")
    if type(version) is not int or version < 1:
        raise FormatError("altered: the description has no format number")
    if version > FORMAT:
        raise FormatError(
            f"written by a newer fastnn: expected format {FORMAT} or less, got {shown(version)}"
        )
    return description


def _entries(header: Description) -> tuple[Kinds, dict[str, int], int]:
    """Dtype and shape of each tensor, where it starts behind the header, and where the last ends.

    They lie there one behind the other, without gaps.
    """
    kinds: Kinds = {}
    places: list[tuple[int, int, str]] = []
    for name, entry in header.items():
        _expect(isinstance(entry, dict), f"an object for {shown(name)}", entry)
        _expect_names(shown(name), entry.keys(), {"dtype", "shape", "data_offsets"})
        dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
        known = isinstance(dtype, str) and dtype in DTYPES
        _expect(known, f"{' or '.join(DTYPES)} in {shown(name)}", dtype)
        _expect(_are_whole(shape), f"the shape of {shown(name)}", shape)
        _expect(_are_whole(offsets) and len(offsets) == 2, f"offsets of {shown(name)}", offsets)
        size = math.prod(shape) * np.dtype(DTYPES[dtype]).itemsize
        _expect(offsets[1] - offsets[0] == size, f"{size} bytes of {shown(name)}", offsets)
        kinds[name] = (DTYPES[dtype], tuple(shape))
        places.append((offsets[0], offsets[1], name))
    end = 0
    for first, last, name in sorted(places):
        _expect(first == end, f"{shown(name)} to start at {end}", first)
        end = last
    return kinds, {name: first for first, _, name in places}, end


def _are_whole(values: Any) -> bool:
    few = isinstance(values, list) and len(values) <= 2
    return few and all(type(value) is int and 0 <= value < 1 << 64 for value in values)
