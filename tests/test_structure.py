"""Structure: what layers cost, which neurons do nothing, fewer neurons and more."""

import numpy as np
import pytest

import fastnn
from fastnn import program, structure

X = np.random.default_rng(0).normal(size=(300, 6))


def network(engine="reference", **options):
    """6-5-4-2 with dropout behind each hidden layer, identity outputs."""
    options = {"dtype": "float64"} | options
    layers = [
        fastnn.Dense(5, "relu"),
        fastnn.Dropout(0.3),
        fastnn.Dense(4, "tanh"),
        fastnn.Dropout(0.1),
        fastnn.Dense(2),
    ]
    return fastnn.Network(6, layers, engine=engine, **options)


def units(net):
    return [layer.units for layer in net.layers if layer.units]


# What layers cost.


def test_summary_by_hand(capsys):
    network().summary()
    head, *lines, total = capsys.readouterr().out.splitlines()
    names = ["layer", "inputs", "outputs", "parameters", "multiply-adds", "bytes", "activation"]
    assert head.split() == names
    assert [line.split() for line in lines] == [
        ["1", "6", "5", "35", "30", "280", "relu"],
        ["2", "5", "5", "0", "0", "0", "dropout", "0.3"],
        ["3", "5", "4", "24", "20", "192", "tanh"],
        ["4", "4", "4", "0", "0", "0", "dropout", "0.1"],
        ["5", "4", "2", "10", "8", "80", "identity"],
    ]
    assert total.startswith("69 parameters, float64")


def test_a_measured_summary_has_two_more_columns(capsys, engine_name):
    net = fastnn.Network(3, [fastnn.Dropout(0.5), fastnn.Dense(2, "softmax")], engine=engine_name)
    net.summary(measure=True)
    head, first, second, _ = capsys.readouterr().out.splitlines()
    assert "µs, 1 row  µs, 1,024 rows" in head
    assert first.split()[6:] == ["0.0", "0.0", "dropout", "0.5"]
    assert min(float(cell.replace(",", "")) for cell in second.split()[6:8]) > 0
    with pytest.raises(TypeError, match="expected measure to be True or False, got int 1"):
        net.summary(measure=1)


@pytest.mark.parametrize("output", ["identity", "sigmoid", "softmax"])
def test_prefixes_give_the_values_of_layers(engine_name, output):
    layers = [*network().layers, fastnn.Dense(3, output)]
    net = fastnn.Network(6, layers, engine=engine_name)
    x = X.astype("float32")
    for number, h in enumerate(net.activations(x)[1:], start=1):
        part = structure.prefix(net.program, number)
        out = np.empty(h.shape, h.dtype)
        net._measured(part, x, out)
        assert out == pytest.approx(h, abs=1e-6)


def test_times_of_layers_are_differences(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(structure.time, "perf_counter", lambda: clock[0])

    def forward(program, x, out):
        assert (len(x), len(out)) == (7, 7)
        clock[0] += 1e-6 * {5: 10.0, 4: 25.0, 2: 24.0}[program.outputs]  # the last one by noise

    found = structure.measured(network().program, 7, forward)
    assert found == pytest.approx([10, 0, 15, 0, 0])


# Neurons that do nothing.


def planted(engine, dtype="float64"):
    """6-5-4-2: relu neuron 1 dead, 3 constant; tanh neuron 0 saturated in most rows, 2 constant."""
    net = network(engine, dtype=dtype)
    relu, tanh = net.layers[0], net.layers[2]
    relu.weights[:, [1, 3]] = 0
    relu.biases[...] = [0.1, -1, 0.1, 2, 0.1]
    tanh.weights[...] *= 0.1
    tanh.weights[:, 0], tanh.biases[0] = [1000, 0, 0, 0, 0], -50
    tanh.weights[:, 2], tanh.biases[2] = 0, 0.5
    return net


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_diagnosis_by_hand(engine_name, dtype):
    found = planted(engine_name, dtype).diagnose(X)
    assert found.rows == 300
    dead, saturated, constant = (
        [getattr(layer, name).tolist() for layer in found.layers]
        for name in ("dead", "saturated", "constant")
    )
    assert dead == [[1], [], []]
    assert saturated == [[], [0], []]
    assert constant == [[3], [2], []]
    assert [(layer.layer, layer.label, layer.width) for layer in found.layers] == [
        (0, "relu", 5),
        (2, "tanh", 4),
        (4, "identity", 2),
    ]
    lines = str(found).splitlines()
    assert lines[1].split() == ["1", "5", "1", "0", "1", "relu"]
    assert lines[2].split() == ["3", "4", "0", "1", "1", "tanh"]
    assert lines[-1] == "over 300 rows"
    assert repr(found) == str(found)


@pytest.mark.parametrize(("share", "is_saturated"), [(0.94, False), (0.96, True)])
@pytest.mark.parametrize(
    ("activation", "inside", "outside"),
    [("tanh", [-1.8, 1.8], [-1.9, 1.9]), ("sigmoid", [-3.6, 3.6], [-3.7, 3.7])],
)  # tanh(1.832) = 0.95, sigmoid(3.664) = 0.975
def test_saturated_is_near_a_limit_in_most_rows(activation, inside, outside, share, is_saturated):
    net = fastnn.mlp([1, 1, 1], hidden=activation, output="identity", engine="reference")
    net.layers[0].weights[...] = 1
    n = round(100 * share)
    x = np.array([outside[k % 2] for k in range(n)] + [inside[k % 2] for k in range(100 - n)])
    found = net.diagnose(x[:, None]).layers[0].saturated.tolist()
    assert found == [0] * is_saturated


def test_constant_is_equal_but_for_rounding():
    net = fastnn.mlp([1, 3], output="identity", engine="reference")
    eps = np.finfo("float32").eps
    h = np.array([[-1, 2, 5], [-1 - 2 * eps, 2, 5 * (1 + 20 * eps)]], "float32")
    found = structure.diagnose(net.layers, [[h, h]], net.dtype)
    assert found.layers[0].constant.tolist() == [0, 1]


def test_a_diagnosis_of_many_blocks_is_that_of_all_rows():
    net = planted("reference")
    whole = net.diagnose(X)
    net._block = 7
    assert str(net.diagnose(X)) == str(whole)


# More neurons.


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("layer", [0, 2, -3])
def test_more_neurons_keep_the_function(engine_name, dtype, layer):
    net = network(engine_name, dtype=dtype)
    before = net.program.parameters.copy()
    wide = net.resize(layer, 9)
    assert units(wide) == ([9, 4, 2] if layer == 0 else [5, 9, 2])
    x = X.astype(dtype)
    assert wide.predict(x) == pytest.approx(net.predict(x), abs=8 * float(np.finfo(dtype).eps))
    assert net.program.parameters.tobytes() == before.tobytes()
    assert units(net) == [5, 4, 2]


def test_new_neurons_can_learn_and_differ(engine_name):
    net = network(engine_name)
    wide = net.resize(2, 7)
    new = wide.layers[2].weights[:, 4:]
    assert (wide.layers[4].weights[4:] == 0).all()
    assert np.linalg.matrix_rank(new) == 3
    y = X[:, :2] * X[:, 1:3]
    _, gradients = wide.gradients(X, y)
    assert (np.abs(gradients[2][0][4:]) > 1e-6).all()
    before = new.copy()
    wide.fit(X, y, epochs=2, verbose=0)
    assert (wide.layers[4].weights[4:] != 0).all()
    assert (wide.layers[2].weights[:, 4:] != before).all()


def test_new_neurons_of_a_loaded_network_have_weights(tmp_path):
    network().save(tmp_path / "net.fastnn")
    net = fastnn.load(tmp_path / "net.fastnn", engine="reference")
    wide = net.resize(0, 8)
    assert (wide.layers[0].weights[:, 5:] != 0).all()
    assert wide.predict(X) == pytest.approx(net.predict(X), abs=1e-14)


# Fewer neurons.


def test_folded_scales_keep_the_function(engine_name):
    layers = [
        fastnn.BatchNorm(),
        fastnn.Dense(9, "relu", use_bias=False),
        fastnn.Scale(),
        fastnn.Dropout(0.2),
        fastnn.BatchNorm(),
        fastnn.Dense(8),
        fastnn.BatchNorm(),
        fastnn.PReLU(),
        fastnn.Dense(3, "softmax"),
    ]
    net = fastnn.Network(6, layers, dtype="float64", engine=engine_name, standardize=True, seed=2)
    random = np.random.default_rng(0)
    x, y = random.normal(size=(80, 6)) * [1, 10, 3, 0.1, 5, 1] + 4, random.integers(0, 3, 80)
    net.fit(x, y, epochs=5, batch_size=16, optimizer=fastnn.Adam(0.02), verbose=0)
    plain = net.folded()
    kinds = [type(layer).__name__ for layer in plain.layers]
    assert kinds == ["Dense", "Dropout", "Dense", "BatchNorm", "PReLU", "Dense"]
    np.testing.assert_allclose(plain.predict(x), net.predict(x), rtol=1e-11)
    assert (plain.classify(x) == net.classify(x)).all()
    again = plain.folded()
    assert (again.predict(x) == plain.predict(x)).all()
    plain.fit(x, y, epochs=1, verbose=0)


def test_dead_and_constant_neurons_go_first_and_nothing_is_lost(engine_name):
    net = planted(engine_name)
    slim = net.resize(0, 3, X)
    assert slim.layers[0].weights.tolist() == net.layers[0].weights[:, [0, 2, 4]].tolist()
    assert slim.predict(X) == pytest.approx(net.predict(X), abs=1e-12)
    slim = slim.resize(2, 3, X)
    assert (
        slim.layers[2].weights.tolist() == net.layers[2].weights[[0, 2, 4]][:, [0, 1, 3]].tolist()
    )
    assert slim.predict(X) == pytest.approx(net.predict(X), abs=1e-12)
    assert units(net) == [5, 4, 2]


def test_the_least_important_goes_and_leaves_its_mean():
    net = fastnn.Network(
        2, [fastnn.Dense(3, "relu"), fastnn.Dense(1)], dtype="float64", engine="reference"
    )
    net.layers[0].weights[...] = [[1, 0, 0], [0, 1, 10]]
    net.layers[1].weights[...] = [[1], [5], [0.4]]
    net.layers[1].biases[...] = 0.5
    x = np.array([[1.0, 7.0], [3.0, 8.0]])  # h: 1, 3 | 7, 8 | 70, 80
    # deviations 1, 0.5, 5; importances 1, 6.25, 4: the first goes, its mean 2
    slim = net.resize(0, 2, x)
    assert slim.layers[0].weights.tolist() == [[0, 0], [1, 10]]
    assert slim.layers[1].weights.tolist() == [[5], [0.4]]
    assert slim.layers[1].biases.tolist() == [2.5]
    slim = net.resize(0, 1, x)  # and then the third: 2 * 1 + 75 * 0.4
    assert slim.layers[1].weights.tolist() == [[5]]
    assert slim.layers[1].biases.tolist() == [32.5]


def test_outputs_keep_their_means(engine_name):
    net = network(engine_name)
    slim = net.resize(2, 1, X)
    assert slim.predict(X).mean(axis=0) == pytest.approx(net.predict(X).mean(axis=0))
    assert slim.predict(X) != pytest.approx(net.predict(X))


def test_pruning_by_hand():
    found = [np.array([1.0, 3.0, 2.0]), np.array([0.1, 0.0]), np.array([0.0, 0.0, 0.0, 0.0])]
    # in units of their means 0.5, 1.5, 1 and 2, 0; one of each stays
    shares = {0.01: [1, 1, 1], 0.4: [2, 1, 1], 0.5: [2, 1, 1], 0.55: [3, 1, 1], 1: [3, 2, 4]}
    for keep, expected in shares.items():
        assert structure.share_out(found, keep) == expected, keep
    wide, narrow = np.array([1.0, 1.1, 0.9, 1.0, 1.0, 1.0]), np.array([1.3, 0.7])
    assert structure.share_out([wide, narrow], 0.75) == [5, 1]  # equal shares would leave 4, 2


def test_pruned_networks(engine_name):
    net = planted(engine_name)
    assert net.prune(X, 1).predict(X).tobytes() == net.predict(X).tobytes()
    slim = net.prune(X, 6 / 9)  # one dead, two constant
    assert units(slim) == [3, 3, 2]
    assert slim.predict(X) == pytest.approx(net.predict(X), abs=1e-12)
    assert units(net.prune(X, 0.01)) == [1, 1, 2]
    assert units(net) == [5, 4, 2]


def test_pruning_measures_what_earlier_pruning_left():
    """The means that go into biases are those of the network as it is by then."""
    net = network()
    slim = net.prune(X, 0.3)
    widths = units(slim)[:2]
    steps = net.resize(0, widths[0], X).resize(2, widths[1], X)
    assert slim.program.parameters.tobytes() == steps.program.parameters.tobytes()


# What goes with the network.


def test_all_else_goes_with_it(tmp_path):
    net = network(standardize=True, seed=3)
    net.classes, net.features, net.target = ("a", "b"), tuple("uvwxyz"), "what"
    net.fit(7 * X + 2, X[:, :2] + 5, epochs=2, verbose=0)
    wide = net.resize(0, 6)
    assert wide.predict(X) == pytest.approx(net.predict(X), abs=1e-12)
    for name in ("classes", "features", "target", "seed", "output_scale", "standardize", "engine"):
        assert getattr(wide, name) == getattr(net, name)
    assert (wide.trained.epochs, wide.trained.steps, wide.trained.optimizer) == (2, 0, None)
    assert wide.history is None
    assert wide.flops == net.flops + 2 * (6 + 4)
    wide.save(tmp_path / "net.fastnn")
    again = fastnn.load(tmp_path / "net.fastnn", engine="reference")
    assert again.predict(X).tobytes() == wide.predict(X).tobytes()
    wide.fit(X, X[:, :2], epochs=1, verbose=0)
    assert net.program.center is not wide.program.center


def test_a_resized_network_trains_like_a_copy_of_its_weights(compiled):
    x, y = X.astype("float32"), np.arange(300) % 2
    net = fastnn.mlp([6, 20, 2], engine=compiled().NAME)
    net.fit(x, y, epochs=1, verbose=0)
    slim = net.resize(0, 12, x)
    twin = fastnn.mlp([6, 12, 2], engine=compiled().NAME)
    twin.program.parameters[:] = slim.program.parameters
    twin.trained.epochs = 1
    for each in (slim, twin):
        each.fit(x, y, epochs=2, verbose=0)
    assert slim.program.parameters.tobytes() == twin.program.parameters.tobytes()


def test_rows_of_any_dtype_on_disk(tmp_path):
    (x, _), _ = fastnn.datasets.load_digits()
    np.save(tmp_path / "x.npy", x[:500])
    rows = np.load(tmp_path / "x.npy", mmap_mode="r")
    net = fastnn.mlp([784, 12, 10], input_scale=1 / 255, engine="reference")
    assert str(net.diagnose(rows)) == str(net.diagnose(x[:500].astype("float64")))
    assert units(net.prune(rows, 0.5)) == [6, 10]


# What is refused.

BAD = {
    "the output": (lambda net: net.resize(4, 3), r"one dense layer reads, .* got layers\[4\]"),
    "no layer": (lambda net: net.resize(5, 3), "expected layer below 5, got 5"),
    "no width": (lambda net: net.resize(0, 0), "expected width to be at least 1, got 0"),
    "no rows": (lambda net: net.resize(0, 3), "expected x to choose 3 of 5 neurons by, got none"),
    "other rows": (lambda net: net.resize(0, 3, X[:, :4]), "expected x with 6 features"),
    "NaN": (lambda net: net.diagnose(np.full((3, 6), np.nan)), "expected finite float64 numbers"),
    "keep 0": (lambda net: net.prune(X, 0), "expected a positive keep, got 0"),
    "keep 2": (lambda net: net.prune(X, 2), r"expected keep in \(0, 1\], got 2"),
    "no scales": (
        lambda net: network(standardize=True).diagnose(X),
        "expected a network that was fitted",
    ),
    "nothing hidden": (
        lambda net: fastnn.mlp([6, 2], engine="reference").prune(X, 0.5),
        "expected a hidden layer to prune, got Network",
    ),
    "a hidden softmax": (
        lambda net: fastnn.mlp([6, 4, 2], hidden="softmax").resize(0, 5),
        r"got layers\[0\]",
    ),
}


@pytest.mark.parametrize("bad", BAD)
def test_bad_values(bad):
    call, message = BAD[bad]
    with pytest.raises(ValueError, match=message):
        call(network())


def test_more_than_memory_holds():
    net = fastnn.mlp([100_000, 1, 1], output="identity", engine="reference")
    with pytest.raises(MemoryError, match=r"^expected layers that fit in memory, got 8\d\d,"):
        net.resize(0, 2**31 - 1)


def test_bad_types():
    net = network()
    with pytest.raises(
        TypeError, match=r"expected layer to be that of a Dense, got Dropout\(0.3\)"
    ):
        net.resize(1, 3)
    with pytest.raises(TypeError, match="expected layer to be a whole number, got str 'a'"):
        net.resize("a", 3)
    with pytest.raises(TypeError, match="expected keep to be a number, got str '1'"):
        net.prune(X, "1")


class Branch(fastnn.layers.Layer):
    """Adds the value before the layer to itself: a second reader."""

    def add(self, builder, source, name):
        return builder.add(source, source)


class Twice(fastnn.layers.Layer):
    """relu(x) + x."""

    def add(self, builder, source, name):
        relu = fastnn.activations.get("relu")
        return builder.add(builder.activate(source, relu), source)


class Inner(fastnn.layers.Layer):
    """relu(x) @ W + b: the value that is read is that of no layer."""

    def add(self, builder, source, name):
        relu = builder.activate(source, fastnn.activations.get("relu"))
        return builder.dense(relu, builder.width(source), name)


@pytest.mark.parametrize("between", [Branch(), Twice(), Inner()])
def test_neurons_with_other_readers_stay(between):
    layers = [fastnn.Dense(3, "tanh"), between, fastnn.Dense(2, "tanh"), fastnn.Dense(1)]
    net = fastnn.Network(6, layers, dtype="float64", engine="reference")
    with pytest.raises(ValueError, match=r"got layers\[0\]"):
        net.resize(0, 2, X)
    assert list(structure.places(net.program, net.layers)) == [2]
    assert units(net.prune(X, 0.5)) == [3, 1, 1]


def test_a_later_reader_counts():
    """relu(h) @ W + b, and h once more: the first reader is elementwise, the last one is not."""
    builder = program.Builder(4)
    h = builder.dense(0, 4, "layers.0")
    relu = builder.activate(h, fastnn.activations.get("relu"))
    dense = builder.dense(relu, 4, "layers.1")
    values = [relu, dense]
    assert structure.place(builder.program(values, loss=2), 0).value == 1
    values.append(builder.add(dense, h))
    with pytest.raises(ValueError, match=r"got layers\[0\]"):
        structure.place(builder.program(values, loss=2), 0)
