"""The model file: one safetensors file, the weights and a JSON description of the network.

The tensors are `layers.0.weights` (I, O), `layers.0.biases` (O,), and so on, in the network's
dtype. The metadata entry `fastnn` holds the description as JSON text:

    {"format": 1, "inputs": 784, "input_scale": 0.00392, "dtype": "float32",
     "loss": "cross_entropy", "seed": 0, "sha256": "...",
     "layers": [{"units": 128, "activation": "relu", "initializer": "he_normal"}, ...]}

A layer of leaky_relu also holds its `slope`; one of another kind than dense its name, as `layer`,
and what it has: {"layer": "dropout", "rate": 0.5}, of format 3. Format 4 adds `columns`, the scales
and categories that make the inputs of a table: see `columns`. Format 5 adds other layers, and
`"use_bias": false` for a dense one without biases. The layers of a block stand in its entry,
{"layer": "residual", "layers": [...]}, and its tensors are `layers.2.0.weights` and so on. Batch
norm has `layers.1.running_mean` and `layers.1.running_variance`, of which no optimizer's state is
kept. The digest covers the description without itself and the bytes of all tensors. `_fields` names
all entries; one that has its default is not written, and the file's format is the lowest that has
all that are. Format 2 adds, of float64, the tensors `inputs.center` (I,), `inputs.factor` (I,) and
`outputs.center` (O,), where the network has learned them, and with the optimizer each slot of its
state as `optimizer.0.layers.0.weights` and so on. In format 4 a checkpoint has `fit`: where it
stands, as `training.Place` has it, in format 5 also how images are deformed. What a format does not
name is an error.

An ensemble, of format 5, is one such file, {"format": 5, "networks": [...]}: a description for each
network as above, with its own digest, and `networks.0.` and so on before the names of its tensors.
"""

from __future__ import annotations

import dataclasses
import io
import math
import os
import stat
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

import numpy as np
from numpy.typing import NDArray

from . import _atomic
from ._errors import FormatError, file_name, printable, shown
from ._fields import (
    FORMAT,
    Description,
    Model,
    check_resumed,
    describe,
    expect,
    expect_names,
    model_of,
)
from .program import STATISTICS, Builder, Program, axes
from .program import views as named

if TYPE_CHECKING:
    from .network import Network
    from .training import Place, State

DTYPES = {"F32": "float32", "F64": "float64"}  # safetensors' names: NumPy's names
LARGEST_HEADER = 1 << 24  # bytes
MOST_VALUES = 500_000  # in it; each takes some 100 bytes of memory once it is parsed

T = TypeVar("T")
Tensors = dict[str, NDArray[Any]]
Kinds = dict[str, tuple[str, tuple[int, ...]]]  # dtype and shape of each tensor


# ------------------------------------------------------------------------------------------ tensors


def views(program: Program, parameters: NDArray[Any], state: NDArray[Any]) -> Tensors:
    """Weights, biases and the optimizer's state under their names, in the memory of arenas."""
    tensors: Tensors = {}
    prefixes = ["", *(f"optimizer.{slot}." for slot in range(len(state)))]
    for prefix, arena in zip(prefixes, [parameters, *state], strict=True):
        for name, block in named(program, arena).items():
            if not (prefix and name.endswith(STATISTICS)):  # an optimizer keeps nothing of them
                tensors[prefix + name] = block
    return tensors


def _kinds(model: Model, found: Set[str]) -> Kinds:
    """The tensors that belong to a model; of scales that may be learned, those that are found."""
    inputs, layers, dtype = model["inputs"], model["layers"], model["dtype"]
    slots = 0 if model["optimizer"] is None else model["optimizer"].slots
    builder, value = Builder(inputs), 0
    try:
        for i, layer in enumerate(layers):
            value = layer.add(builder, value, f"layers.{i}")
    except ValueError as error:  # widths that do not fit
        raise FormatError(str(error)) from None
    kinds: Kinds = {}
    for prefix in ["", *(f"optimizer.{slot}." for slot in range(slots))]:
        for name, (_, *shape) in zip(builder.names, builder.blocks, strict=True):
            if prefix and name.endswith(STATISTICS):
                continue
            kinds[prefix + name] = (dtype, axes(name, *shape))
    if model["standardize"] and "inputs.center" in found:
        kinds["inputs.center"] = kinds["inputs.factor"] = ("float64", (inputs,))
        loss = model["loss"]
        if (
            loss.kind == "numbers"
            and layers[-1].activation.name == "identity"
            and "outputs.center" in found
        ):
            kinds["outputs.center"] = ("float64", (loss.targets(layers[-1].units),))
    if "outputs.center" not in kinds:
        expect(model["output_scale"] == 1.0, "no output_scale", model["output_scale"])
    return kinds


def _check_kinds(model: Model, found: Kinds) -> None:
    expected = _kinds(model, found.keys())
    expect_names("the tensors", found.keys(), expected.keys())
    for name, kind in expected.items():
        expect(found[name] == kind, f"{name} as {kind}", found[name])


@np.errstate(over="ignore")
def _check_numbers(model: Model, tensors: Tensors) -> None:
    for name, tensor in tensors.items():
        held = tensor.astype(model["dtype"]) if name == "outputs.center" else tensor
        if not np.isfinite(held).all():
            what = "weights" if name.startswith("layers.") else f"{held.dtype} numbers"
            raise FormatError(f"expected finite {what}, got NaN or infinity in {name}")
        if name.endswith(".running_variance") and tensor.min() < 0:
            raise FormatError(f"expected variances of at least 0 in {name}, got {tensor.min()}")
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


def save(
    network: Network,
    path: str | os.PathLike[str],
    optimizer: bool = False,
    place: Place | None = None,
) -> None:
    """`Network.save`: see there. place: where a fit stands, in a checkpoint of it."""
    name = file_name(path)
    description, tensors = _copied(network, optimizer, place)
    _write(name, {"": (description, tensors)}, lambda: description)


def save_all(networks: Sequence[Network], path: str | os.PathLike[str]) -> None:
    """`Ensemble.save`: see there."""
    name = file_name(path)
    parts = {_prefix(i): _copied(network, False, None) for i, network in enumerate(networks)}
    descriptions = [description for description, _ in parts.values()]
    _write(name, parts, lambda: {"format": FORMAT, "networks": descriptions})


def _prefix(i: int) -> str:
    """What the names of the tensors of a network of several begin with."""
    return f"networks.{i}."


def _write(
    path: str, parts: dict[str, tuple[Description, Tensors]], whole: Callable[[], Description]
) -> None:
    """Write one file of networks, by the prefix of their tensors, once all of it is checked."""
    from safetensors.numpy import save as serialize

    try:
        every: Tensors = {}
        for prefix, (description, tensors) in parts.items():
            model = model_of(description)
            _check_kinds(model, {name: (str(t.dtype), t.shape) for name, t in tensors.items()})
            _check_numbers(model, tensors)
            description["sha256"] = _digest(description, tensors)
            every.update((prefix + name, tensor) for name, tensor in tensors.items())
        text = _to_json(whole())
        _check_header(len(text))
        data = serialize(every, {"fastnn": text})
        _description(_header(io.BytesIO(data), len(data)))  # what could not be read is not written
    except FormatError as error:  # no file is at fault
        raise ValueError(f"{error}; nothing was saved") from None
    with _atomic.replacing(path) as file:
        file.write(data)


def _copied(network: Network, optimizer: bool, place: Place | None) -> tuple[Description, Tensors]:
    """One copy of all that changes while another thread fits the network."""
    program = network.program
    learned = program.center is not None  # assigned last: with it all scales are there
    trained, state = _state(network, optimizer)
    trained.place = place
    tensors = views(program, program.parameters.copy(), state)
    description = describe(network, trained)
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
        return dataclasses.replace(network.trained, optimizer=None), network.program.state[:0]
    while True:
        arena = network.program.state  # another one as soon as it is another optimizer's
        state, trained = arena.copy(), dataclasses.replace(network.trained)
        if network.program.state is arena:
            return trained, state if trained.optimizer else state[:0]


# ------------------------------------------------------------------------------------------ reading


def read(path: str | os.PathLike[str]) -> tuple[Model, Tensors]:
    """The model in a file, all of it checked. Nothing in the file is executed.

    Raises FormatError if the file is truncated, altered, of another kind or of a newer version,
    OSError if it cannot be read. Memory is taken only for what the file has the size of, once the
    description, the tensors and that size agree.
    """
    (found,) = _from(path, several=False)
    return found


def read_all(path: str | os.PathLike[str]) -> list[tuple[Model, Tensors]]:
    """The same of a file of several networks."""
    return _from(path, several=True)


def _from(path: str | os.PathLike[str], several: bool) -> list[tuple[Model, Tensors]]:
    name = file_name(path)
    try:
        with _opened(name) as file:
            return _read(file, several)
    except FormatError as error:
        raise FormatError(f"{printable(name)}: {error}") from None


def checkpoint(
    path: str | os.PathLike[str], network: Network, wanted: State
) -> tuple[Model, Tensors]:
    """The model in a checkpoint, if it is of the fit that is wanted: optimizer, place.

    Raises ValueError that names what differs, FormatError and OSError as `read` does.
    """
    model, tensors = read(path)
    try:
        check_resumed(model, network, wanted)
    except ValueError as error:
        raise ValueError(f"{printable(file_name(path))}: {error}") from None
    return model, tensors


def _opened(path: str) -> BinaryIO:
    """The file, open; a pipe makes nobody wait."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        raise FormatError(f"expected a model file, found {_atomic.kind(status)}")
    return os.fdopen(descriptor, "rb")


def _read(file: BinaryIO, several: bool) -> list[tuple[Model, Tensors]]:
    size = os.fstat(file.fileno()).st_size
    header = _header(file, size)
    parts = _parts(_description(header), several)
    models = {prefix: model_of(description) for prefix, description in parts.items()}
    kinds, offsets, end = _entries(header)
    for prefix, own in _dealt(kinds, parts).items():
        _check_kinds(models[prefix], own)
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
    found = []
    for prefix, own_tensors in _dealt(tensors, parts).items():
        if parts[prefix].get("sha256") != _digest(parts[prefix], own_tensors):
            raise FormatError("altered since it was saved: the checksum does not match")
        _check_numbers(models[prefix], own_tensors)
        found.append((models[prefix], own_tensors))
    return found


def _parts(description: Description, several: bool) -> dict[str, Description]:
    """The description of each network in the file, by the prefix of its tensors."""
    if "networks" not in description:
        if several:
            raise FormatError("expected an ensemble, got one network; use fastnn.load")
        return {"": description}
    if not several:
        raise FormatError("expected one network, got an ensemble; use fastnn.Ensemble.load")
    expect(description["format"] >= 5, "format 5 for an ensemble", description["format"])
    expect_names("the description", description.keys(), {"format", "networks"})
    networks = description["networks"]
    expect(isinstance(networks, list) and len(networks) > 0, "a list of networks", networks)
    for one in networks:
        expect(isinstance(one, dict), "an object for each network", one)
        _check_version(one)
    return {_prefix(i): one for i, one in enumerate(networks)}


def _dealt(named: Mapping[str, T], prefixes: Iterable[str]) -> dict[str, dict[str, T]]:
    """What stands under names with each prefix, without it."""
    dealt: dict[str, dict[str, T]] = {prefix: {} for prefix in prefixes}
    if "" in dealt:
        return {"": dict(named)}
    for name, value in named.items():
        first, _, rest = name.partition(".")
        number, _, rest = rest.partition(".")
        prefix = f"{first}.{number}."
        expect(prefix in dealt, "tensors of the networks", name)
        dealt[prefix][rest] = value
    return dealt


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
    expect(isinstance(found, dict), f"an object as the {what} (altered since it was saved)", found)
    return dict(found)


def _description(header: Description) -> Description:
    """The description of a format that is known; it is taken out of the header."""
    metadata = header.pop("__metadata__", None)
    text = metadata.get("fastnn") if isinstance(metadata, dict) else None
    if not isinstance(text, str):
        raise FormatError("a safetensors file, but not a fastnn model")
    description = _parsed("description", text.encode(errors="replace"))
    _check_version(description)
    return description


def _check_version(description: Description) -> None:
    version = description.get("format")
    if type(version) is not int or version < 1:
        raise FormatError("altered: the description has no format number")
    if version > FORMAT:
        raise FormatError(
            f"written by a newer fastnn: expected format {FORMAT} or less, got {shown(version)}"
        )


def _entries(header: Description) -> tuple[Kinds, dict[str, int], int]:
    """Dtype and shape of each tensor, where it starts behind the header, and where the last ends.

    They lie there one behind the other, without gaps.
    """
    kinds: Kinds = {}
    places: list[tuple[int, int, str]] = []
    for name, entry in header.items():
        expect(isinstance(entry, dict), f"an object for {shown(name)}", entry)
        expect_names(shown(name), entry.keys(), {"dtype", "shape", "data_offsets"})
        dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
        known = isinstance(dtype, str) and dtype in DTYPES
        expect(known, f"{' or '.join(DTYPES)} in {shown(name)}", dtype)
        expect(_are_whole(shape), f"the shape of {shown(name)}", shape)
        expect(_are_whole(offsets) and len(offsets) == 2, f"offsets of {shown(name)}", offsets)
        size = math.prod(shape) * np.dtype(DTYPES[dtype]).itemsize
        expect(offsets[1] - offsets[0] == size, f"{size} bytes of {shown(name)}", offsets)
        kinds[name] = (DTYPES[dtype], tuple(shape))
        places.append((offsets[0], offsets[1], name))
    end = 0
    for first, last, name in sorted(places):
        expect(first == end, f"{shown(name)} to start at {end}", first)
        end = last
    return kinds, {name: first for first, _, name in places}, end


def _are_whole(values: Any) -> bool:
    few = isinstance(values, list) and len(values) <= 2
    return few and all(type(value) is int and 0 <= value < 1 << 64 for value in values)
