"""The model file: one safetensors file, the weights and a JSON description of the network.

The tensors are `layers.0.weights` (I, O), `layers.0.biases` (O,), and so on, in the network's
dtype. The metadata entry `fastnn` holds the description as JSON text:

    {"format": 1, "inputs": 784, "input_scale": 0.00392, "dtype": "float32",
     "loss": "cross_entropy", "seed": 0, "sha256": "...",
     "layers": [{"units": 128, "activation": "relu", "initializer": "he_normal"}, ...]}

A layer of leaky_relu also holds its `slope`. The digest covers the description without itself and
the bytes of all tensors. What format 1 does not name is an error: a file that says more has a
higher number.
"""

from __future__ import annotations

import math
import os
import stat
from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np
from numpy.typing import NDArray

from . import activations, initializers, losses
from ._errors import FormatError
from .layers import Dense

if TYPE_CHECKING:
    from .network import Network

FORMAT = 1
DTYPES = {"F32": "float32", "F64": "float64"}  # safetensors' names: NumPy's names
LARGEST_HEADER = 100_000_000  # bytes; safetensors' own limit

Description = dict[str, Any]
Tensors = dict[str, NDArray[Any]]


def save(network: Network, path: str | os.PathLike[str]) -> None:
    """Write `network` to the file `path`, whole or not at all.

    Raises ValueError if a weight is not finite or `path` is a device or the like, OSError if
    writing fails. After an error or a crash, the file that stood there before still stands there.
    """
    from safetensors.numpy import save as serialize

    tensors: Tensors = {}
    for i, layer in enumerate(network.layers):
        tensors[f"layers.{i}.weights"] = np.ascontiguousarray(layer.weights)
        tensors[f"layers.{i}.biases"] = np.ascontiguousarray(layer.biases)
    for name, tensor in tensors.items():
        if not np.isfinite(tensor).all():
            raise ValueError(f"expected finite weights to save, got NaN or infinity in {name}")
    description = _describe(network)
    description["sha256"] = _digest(description, tensors)
    _write(os.path.realpath(path), serialize(tensors, {"fastnn": _to_json(description)}))


def load(
    path: str | os.PathLike[str], *, engine: str = "auto", num_threads: int | None = None
) -> Network:
    """Read the network that `save` wrote to the file `path`. Nothing in the file is executed.

    Raises FormatError if the file is truncated, altered, of another kind or of a newer version,
    OSError if it cannot be read.
    """
    try:
        description, tensors = _read(path)
        _check_description(description)
        _check_tensors(description, tensors)
        return _build(description, tensors, engine, num_threads)
    except FormatError as error:
        raise FormatError(f"{os.fspath(path)}: {error}") from None


def _describe(network: Network) -> Description:
    layers = []
    for layer in network.layers:
        entry: Description = {
            "units": layer.units,
            "activation": layer.activation.name,
            "initializer": layer.initializer,
        }
        if layer.activation.name == "leaky_relu":
            entry["slope"] = layer.activation.slope
        layers.append(entry)
    return {
        "format": FORMAT,
        "inputs": network.inputs,
        "input_scale": float(network.input_scale),
        "dtype": network.dtype.name,
        "loss": network.loss.name,
        "seed": network.seed,
        "layers": layers,
    }


def _to_json(description: Description) -> str:
    import json

    return json.dumps(description, sort_keys=True, separators=(",", ":"))


def _digest(description: Description, tensors: Tensors) -> str:
    import hashlib

    plain = {key: value for key, value in description.items() if key != "sha256"}
    digest = hashlib.sha256(_to_json(plain).encode())
    for name in sorted(tensors):
        little_endian = tensors[name].dtype.newbyteorder("<")
        digest.update(name.encode())
        digest.update(tensors[name].astype(little_endian, copy=False).tobytes())
    return digest.hexdigest()


def _write(path: str, data: bytes) -> None:
    """Put `data` into the file `path` in one step: the old content or the new, never a part."""
    if os.path.exists(path) and not os.path.isfile(path):
        raise ValueError(f"expected a file to write to, found {_kind(os.stat(path))}: {path}")
    folder = os.path.dirname(path)
    temporary = os.path.join(folder, f".fastnn-{os.urandom(6).hex()}.tmp")
    try:
        with open(temporary, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        if os.path.exists(temporary):
            os.unlink(temporary)
        raise
    if hasattr(os, "O_DIRECTORY"):  # the rename itself must reach the disk; not so on Windows
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _kind(status: os.stat_result) -> str:
    return "a folder" if stat.S_ISDIR(status.st_mode) else "a device or pipe"


def _read(path: str | os.PathLike[str]) -> tuple[Description, Tensors]:
    """The description and tensors of a file whose digest is right."""
    from safetensors import SafetensorError, safe_open

    status = os.stat(path)
    if not stat.S_ISREG(status.st_mode):
        raise FormatError(f"expected a model file, found {_kind(status)}")
    with open(path, "rb") as file:
        head = file.read(9)  # also the plain error where reading is not allowed
    try:
        with safe_open(path, framework="numpy") as contents:
            description = _parse(contents.metadata() or {})
            for name in contents.keys():  # noqa: SIM118 (safe_open is no mapping)
                dtype = contents.get_slice(name).get_dtype()
                if dtype not in DTYPES:
                    raise FormatError(f"expected {' or '.join(DTYPES)}, got {dtype} in {name!r}")
            tensors = {name: contents.get_tensor(name) for name in contents.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise FormatError(_diagnose(path, head, status.st_size, error)) from None
    if description.get("sha256") != _digest(description, tensors):
        raise FormatError("altered since it was saved: the checksum does not match")
    return description, tensors


def _parse(metadata: dict[str, str]) -> Description:
    import json

    if "fastnn" not in metadata:
        raise FormatError("a safetensors file, but not a fastnn model")
    try:
        description = json.loads(metadata["fastnn"])
    except (ValueError, RecursionError) as error:
        raise FormatError(f"altered: the description is not JSON ({error})") from None
    version = description.get("format") if isinstance(description, dict) else None
    if not _is_whole(version, 1):
        raise FormatError("altered: the description has no format number")
    if version > FORMAT:
        raise FormatError(
            f"written by a newer fastnn: expected format {FORMAT} or less, got {version}"
        )
    assert isinstance(description, dict)
    return description


def _diagnose(path: str | os.PathLike[str], head: bytes, size: int, error: Exception) -> str:
    """Why safetensors refuses a file: empty, of another kind, truncated or altered."""
    import json

    if size == 0:
        return "not a fastnn model: the file is empty"
    if size < 9:
        return f"truncated: expected at least 9 bytes, got {size}"
    if head[8:] != b"{":
        return "not a fastnn model: the file is of another kind"
    header = int.from_bytes(head[:8], "little")
    if size < 8 + header:
        if header > LARGEST_HEADER:
            return f"altered since it was saved: {error}"
        return f"truncated: expected at least {8 + header} bytes, got {size}"
    try:
        with open(path, "rb") as file:
            entries = json.loads(file.read(8 + header)[8:])
        end = max(entry["data_offsets"][1] for entry in entries.values() if "dtype" in entry)
        if size < 8 + header + end:
            return f"truncated: expected {8 + header + end} bytes, got {size}"
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        pass  # a header that cannot be read says nothing better than safetensors did
    return f"altered since it was saved: {error}"


def _is_whole(value: object, least: int) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value < 1 << 64


def _is_positive(value: object) -> bool:
    return isinstance(value, float) and math.isfinite(value) and value > 0


def _expect(fine: bool, expected: str, found: object) -> None:
    if not fine:
        raise FormatError(f"expected {expected}, got {found!r}")


def _check_description(description: Description) -> None:
    names = {"format", "inputs", "input_scale", "dtype", "loss", "seed", "layers", "sha256"}
    _expect(description.keys() == names, f"the entries {sorted(names)}", sorted(description))
    inputs, scale = description["inputs"], description["input_scale"]
    dtype, seed, layers = description["dtype"], description["seed"], description["layers"]
    _expect(_is_whole(inputs, 1), "a positive number of inputs", inputs)
    _expect(_is_positive(scale), "a positive input_scale", scale)
    _expect(dtype in DTYPES.values(), "dtype float32 or float64", dtype)
    _expect(isinstance(description["loss"], str), "the name of a loss", description["loss"])
    _expect(_is_whole(seed, 0), "a seed from 0 to 2^64 - 1", seed)
    _expect(isinstance(layers, list) and len(layers) > 0, "a list of layers", layers)
    for i, layer in enumerate(layers):
        _expect(isinstance(layer, dict), f"layer {i} as an object", layer)
        names = {"units", "activation", "initializer"}
        if layer.get("activation") == "leaky_relu":
            names.add("slope")
        _expect(layer.keys() == names, f"the entries {sorted(names)} in layer {i}", sorted(layer))
        _expect(_is_whole(layer["units"], 1), f"a positive size of layer {i}", layer["units"])
        for name in ("activation", "initializer"):
            _expect(isinstance(layer[name], str), f"the name of an {name}", layer[name])
        _expect(_is_positive(layer.get("slope", 1.0)), "a positive slope", layer.get("slope"))


def _check_tensors(description: Description, tensors: Tensors) -> None:
    expected: dict[str, tuple[int, ...]] = {}
    inputs = description["inputs"]
    for i, layer in enumerate(description["layers"]):
        outputs = layer["units"]
        expected[f"layers.{i}.weights"] = (inputs, outputs)
        expected[f"layers.{i}.biases"] = (outputs,)
        inputs = outputs
    _expect(expected.keys() == tensors.keys(), f"tensors {sorted(expected)}", sorted(tensors))
    for name, shape in expected.items():
        found = (tensors[name].dtype.name, tensors[name].shape)
        expected_kind = (description["dtype"], shape)
        _expect(found == expected_kind, f"{name} as {expected_kind}", found)
        if not np.isfinite(tensors[name]).all():
            raise FormatError(f"expected finite weights, got NaN or infinity in {name}")


def _layer(entry: Description) -> Dense:
    activation = activations.get(entry["activation"])
    if "slope" in entry:
        activation = activations.LeakyReLU(entry["slope"])
    initializers.check(entry["initializer"])
    return Dense(entry["units"], activation, "zeros")  # the weights come from the file


def _build(
    description: Description, tensors: Tensors, engine: str, num_threads: int | None
) -> Network:
    from .network import Network

    try:
        layers = [_layer(entry) for entry in description["layers"]]
        loss = losses.get(description["loss"])
        losses.fits(loss, layers[-1].activation, layers[-1].units)
    except ValueError as error:
        raise FormatError(str(error)) from None
    network = Network(
        description["inputs"],
        layers,
        input_scale=description["input_scale"],
        loss=loss,
        dtype=description["dtype"],
        seed=description["seed"],
        engine=engine,
        num_threads=num_threads,
    )
    for i, layer in enumerate(network.layers):
        layer.initializer = description["layers"][i]["initializer"]
        layer.weights[...] = tensors[f"layers.{i}.weights"]
        layer.biases[...] = tensors[f"layers.{i}.biases"]
    return network
