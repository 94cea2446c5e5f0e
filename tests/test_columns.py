"""Columns: tables of numbers and words as the rows that a network reads."""

import json
import math

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

import fastnn
from fastnn import Columns, OneHot, RobustScale, Standardize, columns, files

NAN = math.nan


def encoded(column, values, others=None):
    """What a column makes of some values, learned from them, or of others."""
    found = Columns({"a": column}).adapt({"a": values})
    return found({"a": values if others is None else others}).tolist()


# Numbers.


def test_standardize_by_hand():
    assert encoded(Standardize(), [1, 3, 5, 3]) == pytest.approx(
        np.array([[-(2**0.5)], [0], [2**0.5], [0]])
    )  # mean 3, deviation √2
    assert encoded(Standardize(), [7.5, 7.5], [7.5, 9]) == [[0], [0]]  # never varied


def test_robust_scale_by_hand():
    values = [0, 1, 2, 3, 4000]  # median 2, quartiles 1 and 3
    assert encoded(RobustScale(), values) == [[-1], [-0.5], [0], [0.5], [1999]]
    z = np.array([[-1], [-0.5], [0], [0.5], [1999]])
    clipped = z / np.sqrt(1 + (z / 3) ** 2)
    assert np.array(encoded(RobustScale(clip=3), values)) == pytest.approx(clipped, rel=1e-6)
    assert encoded(RobustScale(), [0, 0, 0, 0, 8]) == [[0], [0], [0], [0], [2]]  # by half the range
    assert encoded(RobustScale(), [4, 4], [4, 9]) == [[0], [0]]


def test_a_clip_of_what_has_no_square():
    values = [0, 1, 2, 3, 1e300]
    assert encoded(RobustScale(clip=3), values)[-1] == [3]
    assert encoded(RobustScale(), values)[-1] == [math.inf]  # which a network refuses


@pytest.mark.parametrize("values", [[1.0, NAN, 3], [1, None, 3], np.array([1, NAN, 3], "f4")])
def test_missing_numbers(values):
    assert encoded(Standardize(missing="mean"), values) == [[-1], [0], [1]]
    assert encoded(Standardize(missing="indicator"), values) == [[-1, 0], [0, 1], [1, 0]]
    assert encoded(RobustScale(missing="mean"), values) == [[-1], [0], [1]]
    with pytest.raises(ValueError, match=r"in column 'a', got nan in row 1; say missing='mean'"):
        encoded(Standardize(), values)
    with pytest.raises(ValueError, match=r"got nan in row 1; say missing='mean' or 'indicator'"):
        encoded(RobustScale(), [1, 2, 3], values)


def test_the_dtype_of_numbers_does_not_matter():
    values = np.array([3, 0, 1, 200, 7])
    expected = encoded(RobustScale(), values.tolist())
    for dtype in ("uint8", "int16", "float32", ">f8", "object"):
        assert encoded(RobustScale(), values.astype(dtype)) == expected
    assert encoded(Standardize(), [True, False]) == [[1], [-1]]


# Categories.


def test_one_hot_by_hand():
    values = ["b", "a", "b", "c"]
    assert encoded(OneHot(), values) == [[0, 1, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]]
    assert encoded(OneHot(), values, ["a", "new", None, ""]) == [[1, 0, 0], *[[0, 0, 0]] * 3]


@pytest.mark.parametrize("missing", [None, NAN, "", np.float64("nan")])
def test_missing_categories_are_one(missing):
    values = ["b", missing, "a"]
    assert encoded(OneHot(), values) == [[0, 1, 0], [0, 0, 1], [1, 0, 0]]
    found = Columns([OneHot()]).adapt(np.array(values, object)[:, None])
    assert found.names == ("0 is a", "0 is b", "0 is missing")
    assert found(np.array([[None], [NAN], ["z"]], object)).tolist() == [[0, 0, 1]] * 2 + [[0] * 3]


def test_integer_codes_in_any_dtype():
    expected = [[0, 1, 0], [1, 0, 0], [0, 0, 1]]
    for dtype in ("uint8", "int64", "float32", "object"):
        assert (
            encoded(OneHot(), np.array([5, -1 if dtype != "uint8" else 1, 30], dtype)) == expected
        )
    assert encoded(OneHot(), np.array([2.0, NAN, 1])) == [[0, 1, 0], [0, 0, 1], [1, 0, 0]]
    assert encoded(OneHot(), [1, "1", True]) == [[1, 0], [0, 1], [1, 0]]  # numbers before words
    assert encoded(OneHot(), np.array([False, True])) == [[1, 0], [0, 1]]


def test_too_many_categories():
    values = np.arange(columns.MOST_CATEGORIES + 1)
    assert Columns([OneHot()]).adapt(values[:-1, None]).width == columns.MOST_CATEGORIES
    with pytest.raises(ValueError, match="expected 1 to 10,000 categories in column 0, got more"):
        Columns([OneHot()]).adapt(values[:, None])
    with pytest.raises(ValueError, match="expected 1 to 10,000 categories in column 'a', got 0"):
        encoded(OneHot(), [None, ""])


# Tables.


def table(rows=40_000):
    """Three blocks of rows: numbers, words, codes, with holes."""
    random = np.random.default_rng(0)
    size = random.lognormal(3, 1, rows)
    size[::7] = NAN
    city = np.array(["Rome", "Oslo", None, "Lima"], object)[random.integers(0, 4, rows)]
    return {"size": size, "city": city, "floor": random.integers(0, 5, rows), "age": size * 0 + 1}


KINDS = {
    "floor": OneHot(),
    "size": RobustScale(clip=3, missing="indicator"),
    "city": OneHot(),
    "age": Standardize(missing="mean"),
}


def test_a_table_by_its_columns():
    data = table()
    found = Columns(KINDS).adapt(data)
    x = found(data)
    assert x.dtype == np.float32
    assert found.width == x.shape[1] == 5 + 2 + 4 + 1
    assert found.names == (
        *(f"floor is {k}" for k in range(5)),
        "size",
        "size is missing",
        *(f"city is {name}" for name in ("Lima", "Oslo", "Rome", "missing")),
        "age",
    )
    assert (x[:, :5] == np.eye(5)[data["floor"]]).all()
    low, median, high = np.nanquantile(data["size"], (0.25, 0.5, 0.75))
    z = (data["size"] - median) / (high - low)
    assert x[:, 5] == pytest.approx(np.nan_to_num(z / np.sqrt(1 + z**2 / 9)), abs=1e-6)
    assert (x[:, 6] == np.isnan(data["size"])).all()
    assert (x[:, 7:11].sum(axis=1) == 1).all()
    assert (x[:, 9] == (data["city"] == "Rome")).all()
    assert not x[:, 11].any()


def test_tables_of_other_kinds_give_the_same():
    data = {name: array[:100] for name, array in table().items()}
    expected = Columns(KINDS).adapt(data)(data)
    lists = {name: array.tolist() for name, array in data.items()}
    assert Columns(KINDS).adapt(lists)(lists).tobytes() == expected.tobytes()
    kinds = [(name, array.dtype) for name, array in data.items()]
    structured = np.empty(100, kinds)
    for name, array in data.items():
        structured[name] = array
    assert Columns(KINDS).adapt(structured)(structured).tobytes() == expected.tobytes()
    array = np.empty((100, 4), object)
    for k, name in enumerate(KINDS):
        array[:, k] = data[name]
    listed = Columns(list(KINDS.values())).adapt(array)
    assert listed(array).tobytes() == expected.tobytes()
    assert listed.names[0] == "0 is 0"


def test_rows_on_disk_are_read_once(tmp_path, monkeypatch):
    x = np.random.default_rng(0).normal(size=(50_000, 3)).astype("float32")
    np.save(tmp_path / "x.npy", x)
    rows = np.load(tmp_path / "x.npy", mmap_mode="r")
    seen = []
    read = Standardize.read
    monkeypatch.setattr(
        Standardize, "read", lambda *given: seen.append((given[3], len(given[1]))) or read(*given)
    )
    found = Columns([Standardize()] * 3).adapt(rows)
    assert sum(length for _, length in seen) == 3 * 50_000
    assert [first for first, _ in seen] == sorted(first for first, _ in seen)  # block by block
    z = (x - x.mean(axis=0, dtype="f8")) / x.std(axis=0, dtype="f8")
    assert found(rows) == pytest.approx(z, abs=1e-5)


def test_quartiles_of_many_rows_are_those_of_a_sample(monkeypatch):
    x = np.sort(np.random.default_rng(0).normal(size=300_000))
    found = [Columns([RobustScale()]).adapt(x[:, None]).columns[0] for _ in "ab"]
    assert found[0].center == found[1].center != np.median(x)
    assert found[0].center == pytest.approx(0, abs=0.02)  # 4 deviations of a median of 65,536
    assert 1 / found[0].factor == pytest.approx(1.349, abs=0.03)
    monkeypatch.setattr(columns, "BLOCK", 1000)  # which rows does not depend on blocks
    again = Columns([RobustScale()]).adapt(x[:, None]).columns[0]
    assert (again.center, again.factor) == (found[0].center, found[0].factor)
    monkeypatch.setattr(columns, "SAMPLED", 300_000)
    whole = Columns([RobustScale()]).adapt(x[:, None]).columns[0]
    assert whole.center == np.median(x)


def test_one_column_may_be_used_for_many():
    one = OneHot()
    found = Columns({"a": one, "b": one}).adapt({"a": ["x", "y"], "b": [1, 1]})
    assert found.width == 3
    assert one.categories == ()


def test_rows_are_numbered_through_all_blocks():
    numbers, words = np.zeros(40_000), np.array(["a"] * 40_000, object)
    numbers[33_333], words[22_222] = NAN, 2.5
    with pytest.raises(ValueError, match="got nan in row 33333"):
        encoded(Standardize(), numbers)
    with pytest.raises(ValueError, match=r"got float 2\.5 in row 22222"):
        encoded(OneHot(), words)


def test_what_fails_changes_nothing():
    found = Columns({"a": Standardize(), "b": OneHot()}).adapt({"a": [1, 2], "b": ["x", "y"]})
    before = found.entry()
    with pytest.raises(ValueError, match="categories in column 'b', got 0"):
        found.adapt({"a": [5, 6], "b": ["", None]})
    assert found.entry() == before


# With a network.


def test_they_go_with_the_network(tmp_path):
    data = table(500)
    kinds = Columns(KINDS).adapt(data)
    net = fastnn.mlp([kinds.width, 4, 2], engine="reference")
    net.columns = kinds
    net.save(tmp_path / "net")
    back = fastnn.load(tmp_path / "net", engine="reference")
    assert back.columns.entry() == kinds.entry()
    assert repr(back.columns) == repr(kinds)
    assert back.columns(data).tobytes() == kinds(data).tobytes()
    assert back.columns.names == kinds.names
    wide = net.resize(0, 6)
    assert wide.columns.entry() == kinds.entry()
    numbered = Columns([OneHot(), Standardize()]).adapt(np.array([[1, 2], [3, 4]]))
    net = fastnn.mlp([numbered.width, 2], engine="reference")
    net.columns = numbered
    net.save(tmp_path / "net")
    assert fastnn.load(tmp_path / "net").columns.entry() == numbered.entry()


def test_missing_and_unknown_values_are_learned_from():
    """A table whose classes are told by what is missing, a word and an outlying number."""
    data = table(2000)
    y = (np.isnan(data["size"]) | (data["city"] == "Oslo")).astype(np.int64)
    kinds = Columns(KINDS).adapt(data)
    net = fastnn.mlp([kinds.width, 16, 2], hidden="tanh")
    net.fit(kinds(data), y, epochs=10, batch_size=32, optimizer=fastnn.Adam(1e-2), verbose=0)
    assert net.evaluate(kinds(data), y)["accuracy"] > 0.99
    new = {"size": [NAN, 20.0, 1e30], "city": ["Oslo", "Paris", None], "floor": [9, 0, 1]}
    h = net.predict(kinds(new | {"age": [1, None, 1]}))
    assert np.isfinite(h).all()
    assert h.argmax(axis=1).tolist() == [1, 0, 0]


def changed(path, change):
    """Save a model again after `change(entries of the columns)`."""
    with safe_open(path, framework="numpy") as file:
        description = json.loads(file.metadata()["fastnn"])
    tensors = load_file(path)
    del description["sha256"]
    change(description["columns"])
    description["sha256"] = files._digest(description, tensors)
    save_file(tensors, path, {"fastnn": json.dumps(description)})


def put(column, **entries):
    return lambda found: found[column].update(entries)


ALTERED = {
    "no columns": (lambda found: found.clear(), "a list of columns"),
    "no object": (lambda found: found.append(3), "columns as objects"),
    "another name": (put(0, key="size"), "different names of columns"),
    "mixed names": (put(0, key=0), "different names of columns"),
    "an unknown kind": (put(0, kind="onehot"), "did you mean 'one_hot'?"),
    "no kind": (put(0, kind=None), "the kind of column 'floor'"),
    "one more entry": (put(1, x=1), "no entries"),
    "one less": (lambda found: found[1].pop("clip"), "expected the entries"),
    "a whole center": (put(1, center=3), "center of column 'size' as a finite float"),
    "a negative factor": (put(1, factor=-1.0), "factor of column 'size' as a finite float"),
    "a clip of 0": (put(1, clip=0.0), "a positive clip"),
    "a clip in words": (put(1, clip="3"), "clip of column 'size'"),
    "missing of another name": (put(1, missing="men"), "did you mean 'mean'?"),
    "missing of another type": (put(1, missing=[]), "missing of column 'size' as text"),
    "no categories": (put(0, categories=[]), "categories of column 'floor' as a list"),
    "categories twice": (put(0, categories=[1, 1, 2, 3, 4]), "different categories"),
    "real categories": (put(0, categories=[1.5, 1, 2, 3, 4]), "categories of column 'floor'"),
    "none within": (put(0, categories=[None, 1, 2, 3, 4]), "categories of column 'floor'"),
    "one category less": (put(0, categories=[1, 2, 3, 4]), "11 inputs, as columns make"),
}


@pytest.mark.parametrize("name", ALTERED)
def test_files_that_do_not_fit(tmp_path, name, refusal):
    change, words = ALTERED[name]
    kinds = Columns(KINDS).adapt(table(100))
    net = fastnn.mlp([kinds.width, 2], engine="reference")
    net.columns = kinds
    net.save(tmp_path / "net")
    changed(tmp_path / "net", lambda found: None)
    fastnn.load(tmp_path / "net")
    changed(tmp_path / "net", change)
    assert words in refusal(fastnn.load, tmp_path / "net")


# What is refused.

BAD = {
    "no columns": (lambda: Columns([]), "expected at least one column, got none"),
    "before adapt": (lambda: Columns([OneHot()])([[1]]), "expected columns that were adapted"),
    "the width before": (lambda: Columns([OneHot()]).width, "expected columns that were adapted"),
    "an unknown name": (lambda: encoded_by("siz"), "unknown column 'siz'; did you mean 'size'?"),
    "no rows": (lambda: Columns({"a": OneHot()}).adapt({"a": []}), "at least one row, got none"),
    "two lengths": (
        lambda: Columns({"a": OneHot(), "b": OneHot()}).adapt({"a": [1], "b": [1, 2]}),
        r"expected columns of one length, got \[1, 2\]",
    ),
    "two axes": (
        lambda: Columns({"a": OneHot()}).adapt({"a": np.ones((2, 2))}),
        r"expected column 'a' with one axis, got \(2, 2\)",
    ),
    "columns left over": (
        lambda: Columns([OneHot()]).adapt(np.ones((2, 2))),
        r"expected a table with shape \(rows, 1\), got an array \(2, 2\)",
    ),
    "names for an array": (
        lambda: Columns({"a": OneHot()}).adapt(np.ones((2, 1))),
        r"expected a table with columns by name, got an array \(2, 1\)",
    ),
    "infinity": (
        lambda: encoded(Standardize(missing="mean"), [1, math.inf]),
        "expected finite numbers in column 'a', got inf in row 1$",
    ),
    "only missing numbers": (
        lambda: encoded(Standardize(missing="mean"), [NAN, None]),
        "expected a number in column 'a', got none",
    ),
    "squares": (
        lambda: encoded(Standardize(), [1e200, -1e200]),
        r"squares float64 can hold in column 'a', got -1e\+200 to 1e\+200",
    ),
    "a fraction": (
        lambda: encoded(OneHot(), [1.0, 2.5]),
        "expected words or whole numbers in column 'a', got float 2.5 in row 1",
    ),
    "an infinite category": (lambda: encoded(OneHot(), [1, math.inf]), "got float inf in row 1"),
    "a huge category": (lambda: encoded(OneHot(), [1, 10**400]), "got int 1000.* in row 1"),
    "an unknown word": (lambda: Standardize(missing="men"), "did you mean 'mean'?"),
    "a negative clip": (lambda: RobustScale(clip=-1), "expected a positive clip, got -1"),
    "inputs of another number": (
        lambda: saved(Columns([OneHot()]).adapt(np.eye(2)[:, :1]), 3),
        "2",
    ),
    "columns not adapted": (lambda: saved(Columns([OneHot()]), 3), "columns that were adapted"),
}


def encoded_by(name):
    return Columns({name: OneHot()}).adapt({"size": [1], "city": [2]})


def saved(columns, inputs):
    net = fastnn.mlp([inputs, 2], engine="reference")
    net.columns = columns
    net.save("never written")


@pytest.mark.parametrize("bad", BAD)
def test_bad_values(bad):
    call, message = BAD[bad]
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Columns([3]), r"expected columns such as OneHot\(\), got 3"),
        (lambda: Columns([OneHot]), "expected columns such as OneHot"),
        (lambda: encoded(OneHot(), [[1], 2]), r"got list \[1\] in row 0"),
        (lambda: encoded(OneHot(), ["a", 1j]), "got complex 1j in row 1"),
        (lambda: encoded(Standardize(), ["a", 1]), "expected numbers in column 'a', got str 'a'"),
        (lambda: encoded(Standardize(), np.array(["a"])), r"got <U1; say OneHot\(\) for words"),
        (lambda: encoded(Standardize(), np.ma.array([1, 2])), "got a masked one"),
        (lambda: RobustScale(clip="3"), "expected clip to be a number, got str '3'"),
        (lambda: saved([OneHot()], 3), "expected network.columns as Columns, got list"),
    ],
)
def test_bad_types(call, message):
    with pytest.raises(TypeError, match=message):
        call()


# Embedding.


def test_categories_as_codes_with_vectors(tmp_path):
    table = {
        "age": [1.0, 2.0, 3.0, 4.0],
        "city": ["Rome", "", "Bern", "Rome"],
        "size": [7, 7, 3, 5],
    }
    kinds = {"city": fastnn.Embedding(3), "age": fastnn.Standardize(), "size": fastnn.Embedding(2)}
    columns = fastnn.Columns(kinds).adapt(table)
    assert columns.names == ("city", "age", "size")
    x = columns(table)
    assert x[:, [0, 2]].tolist() == [[1, 2], [2, 2], [0, 0], [1, 1]]
    new = {"age": [1.0, 2.0], "city": ["Oslo", None], "size": [4, 7]}
    assert columns(new)[:, [0, 2]].tolist() == [[3, 3], [2, 2]]
    layers = [columns.embed(), fastnn.Dense(2, "softmax")]
    assert repr(layers[0]) == "Embed({0: (4, 3), 2: (4, 2)})"
    net = fastnn.Network(columns.width, layers)
    net.fit(x, [0, 1, 0, 1], epochs=2, verbose=0)
    assert net.activations(columns(new))[1][0, [0, 1, 2, 4, 5]].tolist() == [0] * 5
    net.columns = columns
    net.save(tmp_path / "net")
    back = fastnn.load(tmp_path / "net")
    assert repr(back.columns) == repr(columns)
    assert back.predict(back.columns(new)).tobytes() == net.predict(columns(new)).tobytes()


def test_embeddings_that_cannot_be():
    with pytest.raises(ValueError, match=r"^expected size to be at least 1, got 0$"):
        fastnn.Embedding(0)
    columns = fastnn.Columns([fastnn.OneHot()])
    with pytest.raises(ValueError, match="expected columns that were adapted"):
        columns.embed()
    with pytest.raises(ValueError, match="expected at least one table in Embed, got none"):
        columns.adapt(np.array([[1], [2]])).embed()
