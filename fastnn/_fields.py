"""The description in a model file: the entries it may have, how they are written and read.

`FIELDS` is the only statement of them; `files` puts the description beside the tensors.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping, Set
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from . import activations, losses
from ._errors import FormatError, held, shown, unknown
from .activations import Activation
from .augmentation import Augment
from .columns import KINDS, MOST_CATEGORIES, Column, Columns, Embedding, OneHot
from .layers import (
    AlphaDropout,
    BatchNorm,
    Blend,
    Dense,
    Dropout,
    Embed,
    Layer,
    LayerNorm,
    PReLU,
    Residual,
    Scale,
)
from .layers.embed import check_codes
from .layers.residual import DEEPEST
from .lbfgs import LBFGS
from .losses import Loss
from .optimizers import OPTIMIZERS, Group
from .schedules import SCHEDULES, is_schedule
from .training import Place, State

if TYPE_CHECKING:
    from .network import Network

DTYPES = ("float32", "float64")
SAVED_OPTIMIZERS: dict[str, type] = {**OPTIMIZERS, "lbfgs": LBFGS}
MEANINGS = ("class", "classes", "numbers")  # of targets, as in `training`
LARGEST_COUNT = 1 << 62  # of epochs and steps, so that sums stay below 2^63
PENALTIES = ("l1", "l2", "max_norm")  # of a dense layer
REQUIRED = object()  # the default of what must be there

Description = dict[str, Any]  # as JSON has it
Model = dict[str, Any]  # the same entries as fastnn has them: layers, an optimizer, ...


def expect(fine: bool, expected: str, found: object) -> None:
    if not fine:
        raise FormatError(f"expected {expected}, got {shown(found)}")


def expect_names(
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
        expect(type(value) is int and least <= value < end, name, value)
        return int(value)

    return read


def _positive(name: str) -> Callable[[Any], float]:
    def read(value: Any) -> float:
        expect(isinstance(value, float) and math.isfinite(value) and value > 0, name, value)
        return float(value)

    return read


def _count_or_weight(name: str) -> Callable[[Any], float]:
    def read(value: Any) -> float:
        known = type(value) in (int, float) and 0 <= value < LARGEST_COUNT
        expect(known, name, value)
        return value  # type: ignore[no-any-return]

    return read


def _is(kind: type, name: str) -> Callable[[Any], Any]:
    def read(value: Any) -> Any:
        expect(type(value) is kind, name, value)
        return value

    return read


def _names(name: str, *kinds: type) -> Callable[[Any], tuple[Any, ...]]:
    def read(value: Any) -> tuple[Any, ...]:
        expect(isinstance(value, list), name, value)
        for one in value:
            expect(type(one) in kinds and (type(one) is str or abs(one) < 1 << 64), name, one)
        return tuple(value)

    return read


def _dtype(value: Any) -> str:
    expect(value in DTYPES, "dtype float32 or float64", value)
    return str(value)


def _loss(value: Any) -> Loss:
    if isinstance(value, dict) and "function" in value:
        expect_names("loss", value.keys(), {"function"})
        return losses.missing(_is(str, "the name of a function")(value["function"]))
    if not isinstance(value, dict):
        return losses.get(_is(str, "the name of a loss")(value))
    expect_names("loss", value.keys(), {"name", "numbers"})
    name, numbers = _is(str, "the name of a loss")(value["name"]), value["numbers"]
    fine = isinstance(numbers, list) and {*map(type, numbers)} == {float}
    expect(fine and name in losses.WITH_NUMBERS, "a loss and its numbers", value)
    try:
        return losses.WITH_NUMBERS[name](tuple(numbers))
    except TypeError:  # too many
        raise FormatError(f"expected the numbers of {name}, got {shown(numbers)}") from None


def _loss_entry(network: Network, _: State) -> Any:
    loss = network.loss
    if loss.function is not None:
        return {"function": loss.name}
    if loss == losses.LOSSES.get(loss.name):
        return loss.name
    return {"name": loss.name, "numbers": list(loss.numbers)}


def _meaning(value: Any) -> str:
    expect(value in MEANINGS, f"meaning as one of {', '.join(MEANINGS)}", value)
    return str(value)


def _layers(value: Any) -> list[Layer]:
    expect(isinstance(value, list) and len(value) > 0, "a list of layers", value)
    return [_layer(f"layer {i}", entry) for i, entry in enumerate(value)]


def _layer(where: str, entry: Any) -> Layer:
    expect(isinstance(entry, dict), f"{where} as an object", entry)
    kind = entry.get("layer", "dense")
    if not isinstance(kind, str) or kind not in LAYERS:
        raise unknown("layer", kind, LAYERS)
    return LAYERS[kind](where, entry)


def _plain_layer(kind: type[Layer], *numbers: str) -> Callable[[str, Description], Layer]:
    """Reads a layer of such numbers as its arguments."""

    def read(where: str, entry: Description) -> Layer:
        expect_names(where, entry.keys(), {"layer", *numbers})
        return kind(*(_is(float, f"the {n} of {where} as a float")(entry[n]) for n in numbers))

    return read


def _activation(entry: Description) -> Activation:
    """That of a layer, with the number that leaky_relu and elu have."""
    activation = activations.get(_is(str, "the name of an activation")(entry["activation"]))
    if "slope" not in entry:
        return activation
    return dataclasses.replace(activation, slope=_positive("a positive slope")(entry["slope"]))


def _names_of_activation(entry: Description) -> set[str]:
    """The entries that say which activation a layer has."""
    with_slope = entry.get("activation") in ("leaky_relu", "elu")
    return {"activation", *(["slope"] if with_slope else [])}


def _blend(where: str, entry: Description) -> Blend:
    expect_names(where, entry.keys(), {"layer", *_names_of_activation(entry)})
    return Blend(_activation(entry))


def _dense(where: str, entry: Description) -> Dense:
    names = {"units", "initializer", *_names_of_activation(entry)}
    expect_names(where, entry.keys(), names, {"use_bias", *PENALTIES})
    penalties = {
        name: _positive(f"a positive {name} of {where}")(entry[name])
        for name in PENALTIES
        if name in entry
    }
    bare = entry.get("use_bias", False)
    expect(bare is False, f"use_bias of {where} as false, where it is said", bare)
    units = _whole(f"a positive size of {where}", 1)(entry["units"])
    initializer = _is(str, "the name of an initializer")(entry["initializer"])
    return Dense(units, _activation(entry), initializer, "use_bias" not in entry, **penalties)


def _embed(where: str, entry: Description) -> Embed:
    expect_names(where, entry.keys(), {"layer", "tables"})
    tables, read = entry["tables"], _whole(f"tables of {where} as whole numbers", 0)
    fine = isinstance(tables, list) and all(isinstance(t, list) and len(t) == 3 for t in tables)
    expect(fine, f"tables of {where} as lists of column, codes and width", tables)
    numbers = [[read(number) for number in table] for table in tables]
    expect(len({c for c, *_ in numbers}) == len(numbers), f"different columns in {where}", tables)
    return Embed({column: (codes, width) for column, codes, width in numbers})


def _batch_norm(where: str, entry: Description) -> BatchNorm:
    expect_names(where, entry.keys(), {"layer", "momentum", "epsilon"})
    names = "momentum", "epsilon"
    return BatchNorm(
        *(_is(float, f"the {name} of {where} as a float")(entry[name]) for name in names)
    )


def _residual(where: str, entry: Description) -> Residual:
    expect_names(where, entry.keys(), {"layer", "layers"})
    inner = entry["layers"]
    expect(isinstance(inner, list) and len(inner) > 0, f"a list of layers in {where}", inner)
    expect(where.count(".") < DEEPEST, f"at most {DEEPEST} blocks in one another", where)
    return Residual(*(_layer(f"{where}.{i}", one) for i, one in enumerate(inner)))


LAYERS: dict[str, Callable[[str, Description], Layer]] = {
    "batch_norm": _batch_norm,
    "dense": _dense,
    "dropout": _plain_layer(Dropout, "rate"),
    "alpha_dropout": _plain_layer(AlphaDropout, "rate"),
    "layer_norm": _plain_layer(LayerNorm, "epsilon"),
    "scale": _plain_layer(Scale),
    "prelu": _plain_layer(PReLU),
    "blend": _blend,
    "embed": _embed,
    "residual": _residual,
}


def _kind_entry(what: str, kinds: Mapping[str, type], value: Any) -> Description:
    """An optimizer or a schedule as its name and its fields."""
    names = [name for name, kind in kinds.items() if type(value) is kind]
    if not names:
        raise TypeError(f"expected {what} of fastnn to save, got {type(value).__name__}")
    entry: Description = {"name": names[0]}
    for field in dataclasses.fields(value):
        found = getattr(value, field.name)
        if "since" in field.metadata and found == field.default:
            continue
        if isinstance(field.default, bool):
            entry[field.name] = bool(found)
        elif is_schedule(found):
            entry[field.name] = _kind_entry("a schedule", SCHEDULES, found)
        elif field.name == "groups":
            entry[field.name] = {
                key: {name: float(value) for name, value in dataclasses.asdict(group).items()}
                for key, group in found.items()
            }
        elif field.type == "int":
            entry[field.name] = int(found)
        else:
            entry[field.name] = float(found)
    return entry


def _kind(what: str, kinds: Mapping[str, type], entry: Any) -> Any:
    """The optimizer or the schedule that such an entry describes."""
    expect(isinstance(entry, dict), f"{what} as an object", entry)
    name = _is(str, f"the name of {what}")(entry.get("name"))
    if name not in kinds:
        raise unknown(what.partition(" ")[2], name, kinds)
    fields = {field.name: field for field in dataclasses.fields(kinds[name])}
    needed = {key for key, field in fields.items() if "since" not in field.metadata}
    expect_names(name, entry.keys(), {"name", *needed}, fields.keys())
    values: dict[str, Any] = {}
    for key, field in fields.items():
        value = entry.get(key, field.default)
        if key == "learning_rate" and isinstance(value, dict):
            values[key] = _kind("a schedule", SCHEDULES, value)
        elif key == "groups" and value is not None:
            values[key] = _groups(value)
        elif value is None and field.default is None:
            values[key] = value
        else:
            kind = {"bool": bool, "int": int}.get(str(field.type), float)
            values[key] = _is(kind, f"{key} of {name} as a {kind.__name__}")(value)
    return kinds[name](**values)


def _groups(value: Any) -> dict[str, Group]:
    """Groups of an optimizer by their names."""
    expect(isinstance(value, dict), "groups as an object", value)
    found = {}
    for key, factors in value.items():
        where = f"group {shown(key)}"
        expect(isinstance(factors, dict), f"{where} as an object", factors)
        expect_names(where, factors.keys(), {field.name for field in dataclasses.fields(Group)})
        for name, factor in factors.items():
            _is(float, f"{name} of {where} as a float")(factor)
        found[key] = Group(**factors)
    return found


def _kind_since(value: Any) -> int:
    """The first format that has an optimizer, or a schedule, with these numbers."""
    since = [getattr(value, "SINCE", 2)]
    for field in dataclasses.fields(value):
        found = getattr(value, field.name)
        if found != field.default:
            since.append(field.metadata.get("since", 2))
        if is_schedule(found):
            since.append(_kind_since(found))
    return max(since)


def _optimizer(value: Any) -> Any:
    return _kind("an optimizer", SAVED_OPTIMIZERS, value)


def _optimizer_entry(network: Network, training: State) -> Description | None:
    optimizer = training.optimizer
    return None if optimizer is None else _kind_entry("an optimizer", SAVED_OPTIMIZERS, optimizer)


def _place_entry(_: Network, training: State) -> Description | None:
    """Where a fit stands; a figure that is no number has null."""
    if training.place is None:
        return None
    entry = {field.name: getattr(training.place, field.name) for field in PLACE}
    augment = entry.pop("augment")
    if augment is not None:
        entry["augment"] = {**dataclasses.asdict(augment), "shape": list(augment.shape)}
        entry["augment"]["elastic"] = augment.elastic and list(augment.elastic)
    lists = training.place.history.items()
    plain = [[name, [x if math.isfinite(x) else None for x in found]] for name, found in lists]
    return {**entry, "history": plain}


def _place(value: Any) -> Place:
    expect(isinstance(value, dict), "fit as an object", value)
    known = {field.name for field in PLACE}
    expect_names("fit", value.keys(), known - {"augment"}, known)
    found = {
        field.name: PLACE_READERS[field.type](field.name)(value[field.name])
        for field in PLACE
        if field.name in value
    }
    place = Place(**found)
    counts = place.epochs, place.batch_size, place.rows
    expect(min(counts) > 0, "epochs, batch_size and rows of at least 1 in fit", counts)
    expect(place.steps <= place.rows, f"{place.rows} steps of an epoch at most in fit", place.steps)
    lengths = {len(figures) for figures in place.history.values()}
    fine = len(lengths) <= 1 and place.completed <= place.epochs
    expect(fine and (not lengths or "loss" in place.history), "a history of these epochs", lengths)
    return place


def _history(name: str) -> Callable[[Any], dict[str, list[float]]]:
    """Reads pairs of a figure's name and its values, in the order of the history."""

    def read(value: Any) -> dict[str, list[float]]:
        expect(isinstance(value, list), f"{name} as a list", value)
        history: dict[str, list[float]] = {}
        for one in value:
            pair = isinstance(one, list) and [type(part) for part in one] == [str, list]
            fine = pair and all(type(x) in (float, _NONE) for x in one[1])
            expect(fine and one[0] not in history, f"{name} as names and lists of numbers", one)
            history[one[0]] = [math.nan if x is None else x for x in one[1]]
        return history

    return read


def _augment(name: str) -> Callable[[Any], Augment]:
    def read(value: Any) -> Augment:
        expect(isinstance(value, dict), f"{name} as an object", value)
        expect_names(name, value.keys(), {field.name for field in dataclasses.fields(Augment)})
        plain = {key: one for key, one in value.items() if key not in ("shape", "elastic")}
        for key, one in plain.items():
            expect(type(one) is float, f"{key} of {name} as a float", one)
        for key, kind in (("shape", int), ("elastic", float)):
            one, missing = value[key], key == "elastic" and value[key] is None
            fine = isinstance(one, list) and [type(part) for part in one] == [kind, kind]
            expect(fine or missing, f"{key} of {name} as two numbers", one)
            plain[key] = None if missing else tuple(one)
        return Augment(**plain)

    return read


_NONE = type(None)
PLACE = dataclasses.fields(Place)
PLACE_READERS: dict[Any, Callable[[str], Callable[[Any], Any]]] = {
    "int": lambda name: _whole(f"{name} of fit from 0 to 2^62 - 1", 0, LARGEST_COUNT),
    "bool": lambda name: _is(bool, f"{name} of fit as a bool"),
    "float": lambda name: _is(float, f"{name} of fit as a float"),
    "int | float": lambda name: _count_or_weight(f"{name} of fit as a count or a sum of weights"),
    "dict[str, list[float]]": _history,
    "Augment | None": _augment,
}


def _columns(value: Any) -> Columns:
    expect(isinstance(value, list) and len(value) > 0, "a list of columns", value)
    expect(all(isinstance(entry, dict) for entry in value), "columns as objects", value)
    keys = [entry.get("key") for entry in value]
    known = all(type(key) is str for key in keys) and len(set(keys)) == len(keys)
    numbered = all(type(key) is int for key in keys) and keys == list(range(len(keys)))
    expect(known or numbered, "different names of columns, or 0, 1, 2, ...", keys)
    found = [_column(f"column {shown(entry['key'])}", entry) for entry in value]
    columns = Columns(dict(zip(keys, found, strict=True)) if known else found)
    columns.is_adapted = True
    return columns


def _column(where: str, entry: Description) -> Column:
    kind = _is(str, f"the kind of {where}")(entry.get("kind"))
    if kind not in KINDS:
        raise unknown("kind of column", kind, KINDS)
    column = KINDS[kind]()
    expect_names(where, entry.keys(), {"key", *column.entry()})
    if isinstance(column, Embedding):
        column = Embedding(_whole(f"a positive size of {where}", 1)(entry["size"]))
    if isinstance(column, OneHot):
        column.categories = _categories(where, entry["categories"])
        return column
    options = {name: entry[name] for name in ("clip", "missing") if name in entry}
    expect(type(options.get("clip")) in (float, type(None)), f"clip of {where}", options)
    expect(isinstance(entry["missing"], str), f"missing of {where} as text", entry["missing"])
    column = KINDS[kind](**options)
    for name in ("center", "factor"):
        number = entry[name]
        fine = type(number) is float and math.isfinite(number) and (name[0] == "c" or number >= 0)
        expect(fine, f"{name} of {where} as a finite float", number)
        setattr(column, name, number)
    return column


def _categories(where: str, value: Any) -> tuple[Any, ...]:
    fine = isinstance(value, list) and 0 < len(value) <= MOST_CATEGORIES + 1
    expect(fine, f"categories of {where} as a list", value)
    for one in value[: -1 if value[-1] is None and len(value) > 1 else None]:
        expect(type(one) is str or type(one) is int, f"categories of {where} as names", one)
    expect(len(set(value)) == len(value), f"different categories of {where}", value)
    return tuple(value)


def _columns_since(columns: Columns) -> int:
    """The first format that has all of these kinds of columns."""
    return 5 if columns.tables() else 4


def _columns_entry(network: Network, training: State) -> list[Description] | None:
    columns = network.columns
    if columns is None:
        return None
    if not isinstance(columns, Columns):
        raise TypeError(f"expected network.columns as Columns, got {type(columns).__name__}")
    return columns.entry()


def _plain(value: Any) -> Any:
    """Names as JSON has them: arrays, tuples and NumPy's numbers as lists and Python's."""
    if hasattr(value, "tolist"):
        return value.tolist()
    return [_plain(one) for one in value] if isinstance(value, (list, tuple)) else value


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
    Field("loss", 1, _loss_entry, _loss),
    Field("seed", 1, lambda net, _: net.seed, _whole("a seed from 0 to 2^64 - 1", 0)),
    Field("layers", 1, lambda net, _: [layer.entry() for layer in net.layers], _layers),
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
    Field("fit", 4, _place_entry, _place, None),
    Field("columns", 4, _columns_entry, _columns, None),
)
DECIDING = ("inputs", "input_scale", "standardize", "dtype", "loss", "seed", "layers", "optimizer")
FORMAT = 5


def _since(layers: Iterable[Layer]) -> int:
    """The first format that has all of these layers."""
    return max(layer.since for layer in layers)


def describe(network: Network, training: State) -> Description:
    """What is written of a network, beside its tensors; the format is the lowest that can."""
    description: Description = {}
    version = max(_since(network.layers), network.loss.since)
    for field in FIELDS:
        value = field.write(network, training)
        if value != field.default:
            description[field.name] = value
            version = max(version, field.since)
    if network.columns is not None:
        version = max(version, _columns_since(network.columns))
    if "optimizer" in description:
        version = max(version, _kind_since(training.optimizer))
    if training.place is not None:
        weighted = type(training.place.agreeing) is float  # rows have weights
        version = max(version, _kind_since(training.place), 5 if weighted else 1)
    return {"format": version, **description}


def model_of(description: Description) -> Model:
    """What a description means, checked."""
    fields = [field for field in FIELDS if field.since <= description["format"]]
    needed = {field.name for field in fields if field.default is REQUIRED}
    known = {"format", "sha256", *(field.name for field in fields)}
    expect_names("the description", description.keys(), needed, known)
    model: Model = {}
    try:
        for field in fields:
            there = field.name in description
            model[field.name] = field.read(description[field.name]) if there else field.default
        for field in FIELDS:
            model.setdefault(field.name, field.default)
        version = _since(model["layers"])
        found = description["format"]
        expect(version <= found, f"format {version} for these layers", found)
        if model["columns"] is not None:
            version = _columns_since(model["columns"])
            expect(version <= found, f"format {version} for these columns", found)
        version = model["loss"].since
        expect(version <= found, f"format {version} for this loss", found)
        if model["optimizer"] is not None:
            version = _kind_since(model["optimizer"])
            expect(version <= found, f"format {version} for this optimizer", found)
        if model["fit"] is not None:
            version = _kind_since(model["fit"])
            expect(version <= found, f"format {version} for this fit", found)
        *_, output = model["layers"]
        expect(isinstance(output, Dense), "a dense layer as the last", str(output))
        losses.fits(model["loss"], output.activation, output.units)
        dtype: np.dtype[Any] = np.dtype(model["dtype"])
        held("input_scale", model["input_scale"], dtype)
        check_codes(model["layers"], model["standardize"], model["input_scale"])
        for layer in model["layers"]:
            layer.check(dtype)
    except ValueError as error:  # an unknown name, a number out of its range
        raise FormatError(str(error)) from None
    _check_together(model)
    return model


def check_resumed(model: Model, network: Network, wanted: State) -> None:
    """Raise ValueError unless a fit of the network, as wanted, is the one that was interrupted."""
    if model["fit"] is None:
        raise ValueError("expected a checkpoint of a fit, got a model without one")
    here = model_of(describe(network, wanted))
    pairs = [(name, _plain_layers(model[name]), _plain_layers(here[name])) for name in DECIDING]
    for name in ("epochs", "batch_size", "shuffle", "rows", "augment"):
        pairs.append((name, getattr(model["fit"], name), getattr(wanted.place, name)))
    for name, before, now in pairs:
        if before != now:
            found = f"{name} {shown(before)}, as in the checkpoint"
            raise ValueError(f"expected {found}, got {shown(now)}")


def _plain_layers(value: Any) -> Any:
    """Layers as what JSON holds of them; anything else as it is."""
    if isinstance(value, list):
        return [layer.entry() for layer in value]
    return (value.name, value.numbers) if isinstance(value, Loss) else value


def _check_together(model: Model) -> None:
    outputs, columns = model["layers"][-1].units, model["columns"]
    features = model["inputs"] if columns is None else len(columns.columns)
    for name, length in (("classes", max(outputs, 2)), ("features", features)):
        found = length if model[name] is None else len(model[name])
        expect(found == length, f"{length} {name}", found)
    if model["fit"] is not None:
        expect(model["optimizer"] is not None, "an optimizer beside fit", None)
        found = model["fit"].steps, model["steps"]
        expect(found[0] <= found[1], f"steps of fit up to {found[1]}", found[0])
    if columns is not None:
        found = model["inputs"]
        expect(columns.width == found, f"{columns.width} inputs, as columns make", found)
    scale, dtype = model["output_scale"], model["dtype"]
    expect(scale <= float(np.finfo(dtype).max), f"an output_scale that {dtype} can hold", scale)
    if model["standardize"]:
        expect(
            model["input_scale"] == 1.0, "no input_scale beside standardize", model["input_scale"]
        )
