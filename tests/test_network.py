"""Networks: how they are made, and what they answer."""

import concurrent.futures
import copy
import pickle
import tracemalloc

import numpy as np
import pytest

import fastnn
from fastnn.losses import LOSSES


@pytest.fixture
def data():
    random = np.random.default_rng(0)
    return random.random((50, 6), np.float32), random.integers(0, 3, 50)


def test_mlp_is_a_network_in_one_line(data):
    short = fastnn.mlp([6, 5, 4, 3], hidden="sigmoid", output="softmax", engine="reference")
    layers = [fastnn.Dense(5, "sigmoid"), fastnn.Dense(4, "sigmoid"), fastnn.Dense(3, "softmax")]
    long = fastnn.Network(6, layers, engine="reference")
    assert short.predict(data[0]).tobytes() == long.predict(data[0]).tobytes()
    assert (short.inputs, short.outputs, len(short.layers)) == (6, 3, 3)


def test_outputs_by_hand(engine_name):
    net = fastnn.Network(
        2,
        [fastnn.Dense(2, "relu"), fastnn.Dense(1)],
        input_scale=0.5,
        dtype="float64",
        engine=engine_name,
    )
    net.layers[0].weights[...] = [[1, -1], [2, 3]]
    net.layers[0].biases[...] = [0.5, -10]
    net.layers[1].weights[...] = [[2], [7]]
    net.layers[1].biases[...] = [1]
    x = np.array([[2, 4]], np.uint8)  # scaled [1, 2], z [5.5, -5], h [5.5, 0]
    assert [h.tolist() for h in net.activations(x)] == [[[1, 2]], [[5.5, 0]], [[12]]]
    assert net.predict(x).tolist() == [[12]]
    assert net.evaluate(x, [10.0]) == {"loss": 4.0}
    loss, gradients = net.gradients(x, [10.0])  # dh = 2 * 2
    assert loss == 4
    assert [(dW.tolist(), db.tolist()) for dW, db in gradients] == [
        ([[8, 0], [16, 0]], [8, 0]),
        ([[22], [0]], [4]),
    ]


def test_probabilities_and_classes(engine_name, data):
    x, y = data
    net = fastnn.mlp([6, 5, 3], engine=engine_name)
    p = net.predict(x)
    assert p.shape == (50, 3)
    assert p.dtype == np.float32
    assert p.sum(axis=1) == pytest.approx(np.ones(50), abs=1e-6)
    classes = net.classify(x)
    assert classes.tolist() == p.argmax(axis=1).tolist()
    figures = net.evaluate(x, y)
    assert figures["accuracy"] == (classes == y).mean()
    assert figures["loss"] == pytest.approx(-np.log(p[np.arange(50), y]).mean(), rel=1e-5)
    assert net.evaluate(x, np.eye(3)[y]) == figures


def test_one_output_is_class_one_above_one_half(engine_name, data):
    x, _ = data
    net = fastnn.mlp([6, 4, 1], output="sigmoid", engine=engine_name)
    p = net.predict(x)[:, 0]
    y = np.arange(50) % 2
    assert net.classify(x).tolist() == (p > 0.5).astype(int).tolist()
    assert net.evaluate(x, y)["accuracy"] == ((p > 0.5) == y).mean()


def test_several_labels_a_row(engine_name):
    net = fastnn.mlp([2, 2], output="sigmoid", engine=engine_name)
    net.layers[0].weights[...] = [[9, 0], [0, 10]]
    x = [[1, 1], [1, -1], [-1, -1]]  # outputs 1 and 1, 1 and 0, 0 and 0
    right = {"binary_accuracy": 1.0}
    for y, figures in [
        ([[1, 1], [1, 0], [0, 0]], right),
        ([[0.8, 0.9], [0.6, 0.2], [0.5, 0.1]], right),
        ([[0, 0], [1, 1], [0, 0]], {"binary_accuracy": 3 / 6}),
        ([[0, 1], [1, 0], [0, 1]], {"accuracy": 2 / 3}),  # one label a row: the winner counts
        ([1, 0, 1], {"accuracy": 2 / 3}),
    ]:
        found = net.evaluate(x, y)
        found.pop("loss")
        assert found == pytest.approx(figures)


@pytest.mark.parametrize("loss", ["binary_cross_entropy", "mean_squared_error"])
def test_one_hot_targets_mean_labels(engine_name, data, loss):
    x, y = data
    nets = [fastnn.mlp([6, 4, 3], output="sigmoid", loss=loss, engine=engine_name) for _ in "ab"]
    figures = []
    for net, targets in zip(nets, (y, np.eye(3)[y]), strict=True):
        loss = net.fit(x, targets, epochs=2, verbose=0).history["loss"]
        figures.append((loss, net.evaluate(x, targets)["loss"], net.classify(x).tolist()))
    assert figures[0] == figures[1]


def fitted(output, y, **options):
    """A network of as many outputs as y has, after a fit."""
    outputs = 1 if y.ndim == 1 else y.shape[1]
    net = fastnn.mlp([6, outputs], output=output, engine="reference", **options)
    net.fit(np.ones((len(y), 6)), y, epochs=1, verbose=0)
    return net


NUMBERS = (
    "expected outputs that are classes, got {} outputs that are numbers to be met; use predict(x)"
)
SEVERAL = (
    "expected one class a row, got a network that was fitted on several labels a row; "
    "use predict(x) > 0.5"
)
NO_CLASSES = {
    "never fitted, one": (fastnn.mlp([6, 1], output="identity"), NUMBERS.format("identity")),
    "never fitted, three": (fastnn.mlp([6, 3], output="tanh"), NUMBERS.format("tanh")),
    "real numbers": (fitted("identity", np.array([0.1, 2])), NUMBERS.format("identity")),
    "two real numbers": (fitted("tanh", np.array([[0, 1], [1, 1]])), NUMBERS.format("tanh")),
    "numbers after sigmoid": (
        fitted("sigmoid", np.array([[0.2, 0.3]]), loss="mean_squared_error"),
        NUMBERS.format("sigmoid"),
    ),
    "several labels": (fitted("sigmoid", np.array([[0, 1], [1, 1]])), SEVERAL),
}


@pytest.mark.parametrize("name", NO_CLASSES)
def test_outputs_that_are_no_classes(name):
    net, message = NO_CLASSES[name]
    with pytest.raises(ValueError) as error:  # noqa: PT011 (compared in full below)
        net.classify(np.ones((2, 6)))
    assert str(error.value) == message


def test_outputs_that_are_classes_by_their_targets():
    x = np.ones((2, 6))
    for y in (np.eye(2), np.array([0, 1])):  # one-hot; one output of 0 or 1
        assert fitted("identity", y).classify(x).shape == (2,)
    net = fastnn.mlp([6, 3], output="identity", engine="reference")
    net.fit(x, [0, 2], epochs=1, verbose=0)
    assert net.classify(x).shape == (2,)
    net.fit(x, np.ones((2, 3)), epochs=1, verbose=0)  # the latest fit counts
    with pytest.raises(ValueError, match="numbers to be met"):
        net.classify(x)


def test_predict_fills_out(engine_name, data):
    net = fastnn.mlp([6, 5, 3], engine=engine_name)
    out = np.full((50, 3), np.nan, np.float32)
    assert net.predict(data[0], out=out) is out
    assert out.tobytes() == net.predict(data[0]).tobytes()


@pytest.mark.parametrize("rows", [1, 32, 3000])
def test_predict_with_out_allocates_nothing(compiled, rows):
    x, out = np.ones((rows, 600), np.float32), np.empty((rows, 7), np.float32)
    net = fastnn.mlp([600, 500, 7], engine=compiled().NAME, num_threads=2)
    net.predict(x, out=out)
    tracemalloc.start()
    try:
        for _ in range(3):
            net.predict(x, out=out)
        assert tracemalloc.get_traced_memory()[1] < 10_000  # a few Python objects
    finally:
        tracemalloc.stop()


def test_blocks_change_nothing(engine_name):
    random = np.random.default_rng(1)
    x, y = random.random((1000, 6), np.float32), random.integers(0, 3, 1000)
    net = fastnn.mlp([6, 20, 3], engine=engine_name)
    whole = net.predict(x), net.activations(x), net.evaluate(x, y)
    net._block = 64
    assert net.predict(x) == pytest.approx(whole[0], abs=1e-6)
    for h, expected in zip(net.activations(x), whole[1], strict=True):
        assert h == pytest.approx(expected, abs=1e-6)
    assert net.evaluate(x, y) == pytest.approx(whole[2])


def test_blocks_give_the_same_bits(compiled):
    x = np.random.default_rng(1).random((333, 37), np.float32)
    net = fastnn.mlp([37, 21, 19, 11], hidden="tanh", engine=compiled().NAME)
    whole = net.predict(x)
    for length in (1, 7, 100):
        parts = [net.predict(x[first : first + length]) for first in range(0, 333, length)]
        assert np.concatenate(parts).tobytes() == whole.tobytes()


def test_sixteen_threads_predict_with_one_network(engine_name):
    x = np.random.default_rng(1).random((16, 40, 30), np.float32)
    net = fastnn.mlp([30, 20, 4], engine=engine_name)
    expected = [net.predict(rows).tobytes() for rows in x]
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        for _ in range(5):
            found = pool.map(lambda rows: net.predict(rows).tobytes(), x, timeout=60)
            assert list(found) == expected


def test_the_loss_follows_from_the_output():
    expected = {
        "softmax": "cross_entropy",
        "sigmoid": "binary_cross_entropy",
        "identity": "mean_squared_error",
    }
    for output, loss in expected.items():
        assert fastnn.mlp([2, 2], output=output, engine="reference").loss.name == loss


def test_summary_and_repr(capsys):
    net = fastnn.mlp([784, 16, 10], engine="reference")
    net.summary()
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == ["1", "784", "16", "12,560", "12,544", "50,240", "relu"]
    assert lines[2].split() == ["2", "16", "10", "170", "160", "680", "softmax"]
    assert lines[3] == "12,730 parameters, float32, cross_entropy, engine reference"
    assert repr(net) == (
        "Network(784, [Dense(16, 'relu'), Dense(10, 'softmax')], loss='cross_entropy')"
    )


def test_save_and_load(tmp_path, data):
    net = fastnn.mlp([6, 5, 3], hidden="tanh", input_scale=0.5, engine="reference")
    net.save(tmp_path / "net.fastnn")
    twin = fastnn.load(tmp_path / "net.fastnn", engine="reference")
    assert twin.predict(data[0]).tobytes() == net.predict(data[0]).tobytes()


def test_seeds(data):
    def first(seed):
        return fastnn.mlp([6, 5, 3], seed=seed, engine="reference").predict(data[0]).tobytes()

    assert first(7) == first(7) == first(np.int64(7))
    assert first(0) == fastnn.mlp([6, 5, 3], engine="reference").predict(data[0]).tobytes()
    assert len({first(0), first(1), first(2**64 - 1), first(None), first(None)}) == 5


def test_float64_networks(engine_name, data):
    net = fastnn.mlp([6, 5, 3], dtype=np.float64, engine=engine_name)
    assert net.predict(data[0]).dtype == np.float64
    net.fit(*data, epochs=1, verbose=0)
    assert net.layers[0].weights.dtype == np.float64


# Bad arguments.


def make(*arguments, **options):
    return lambda: fastnn.Network(*arguments, engine="reference", **options)


DENSE = [fastnn.Dense(2)]
BAD = {
    "no inputs": (make(0, DENSE), "expected inputs to be at least 1, got 0"),
    "negative inputs": (make(-3, DENSE), "expected inputs to be at least 1, got -3"),
    "no layers": (make(3, []), "expected at least one layer, got none"),
    "zero scale": (make(3, DENSE, input_scale=0), "expected a positive input_scale, got 0"),
    "infinite scale": (
        make(3, DENSE, input_scale=float("inf")),
        "expected a positive input_scale, got inf",
    ),
    "an unknown loss": (
        make(3, DENSE, loss="mean_square_error"),
        "unknown loss 'mean_square_error'; did you mean 'mean_squared_error'? "
        f"(one of: {', '.join(LOSSES)})",
    ),
    "a loss that does not fit": (
        make(3, DENSE, loss="cross_entropy"),
        "expected softmax outputs for cross_entropy, got identity (or cross_entropy_with_logits)",
    ),
    "an unknown dtype": (
        make(3, DENSE, dtype="flaot32"),
        "unknown dtype 'flaot32'; did you mean 'float32'? (one of: float32, float64)",
    ),
    "another dtype": (
        make(3, DENSE, dtype="int8"),
        "unknown dtype 'int8' (one of: float32, float64)",
    ),
    "a negative seed": (make(3, DENSE, seed=-1), "expected a seed from 0 to 2^64 - 1, got -1"),
    "a seed too large": (
        make(3, DENSE, seed=2**64),
        "expected a seed from 0 to 2^64 - 1, got 18446744073709551616",
    ),
    "no threads": (make(3, DENSE, num_threads=0), "expected num_threads to be at least 1, got 0"),
    "one size": (
        lambda: fastnn.mlp([3], engine="reference"),
        "expected at least two sizes, inputs and outputs, got [3]",
    ),
    "a size of zero": (
        lambda: fastnn.mlp([3, 0, 2], engine="reference"),
        "expected units to be at least 1, got 0",
    ),
    "softmax with one output": (
        lambda: fastnn.mlp([3, 1], engine="reference"),
        "expected softmax with at least 2 outputs, got 1 (use sigmoid)",
    ),
    "a loss of another type": (
        make(3, DENSE, loss=["mse"]),
        f"unknown loss ['mse'] (one of: {', '.join(LOSSES)})",
    ),
    "an activation of another type": (
        lambda: fastnn.Dense(3, [3]),
        "unknown activation [3] (one of: identity, sigmoid, tanh, relu, leaky_relu, gelu, elu, "
        "selu, gelu_tanh, silu, softplus, softsign, mish, exponential, hard_sigmoid, hard_tanh, "
        "softmax)",
    ),
    "an initializer of another type": (
        lambda: fastnn.Dense(3, "relu", {}),
        "unknown initializer {} (one of: glorot_uniform, glorot_normal, he_uniform, he_normal, "
        "lecun_uniform, lecun_normal, zeros)",
    ),
    "an unknown engine": (
        lambda: fastnn.mlp([3, 2], engine="refernce"),
        "unknown engine 'refernce'; did you mean 'reference'? "
        "(one of: auto, avx512, avx2, baseline, reference)",
    ),
}


BAD |= {
    "a scale beyond the dtype": (
        make(3, DENSE, input_scale=1e-50),
        "expected an input_scale that float32 can hold, got 1e-50",
    ),
    "inputs beyond 64 bits": (
        make(2**70, DENSE),
        "expected inputs below 2^63, got 1180591620717411303424",
    ),
    "threads beyond 64 bits": (
        make(3, DENSE, num_threads=2**64),
        "expected num_threads below 2^63, got 18446744073709551616",
    ),
    "units beyond an engine": (
        lambda: fastnn.mlp([2**33, 2**33], engine="reference"),
        "expected units below 2^31, got 8589934592",
    ),
}


@pytest.mark.parametrize("bad", BAD)
def test_bad_values(bad):
    make, message = BAD[bad]
    with pytest.raises(ValueError) as error:  # noqa: PT011 (compared in full below)
        make()
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (make(3, fastnn.Dense(2)), "expected layers as a list, got Dense(2, 'identity')"),
        (lambda: fastnn.mlp(784), "expected sizes as a list, got 784"),
        (make(3, [2, 3]), "expected layers such as Dense, got int"),
        (make(3.5, DENSE), "expected inputs to be a whole number, got float 3.5"),
        (make(3, DENSE, seed=True), "expected seed to be a whole number, got bool True"),
        (make(3, DENSE, input_scale="1"), "expected input_scale to be a number, got str '1'"),
        (make(True, DENSE), "expected inputs to be a whole number, got bool True"),
        (make(3, DENSE, seed=0.5), "expected seed to be a whole number, got float 0.5"),
    ],
)
def test_bad_types(make, message):
    with pytest.raises(TypeError) as error:
        make()
    assert str(error.value) == message


# What no process can address, and what no machine of today holds.
@pytest.mark.parametrize(("inputs", "outputs"), [(2**40, 2**30), (2**22, 2**22)])
def test_sizes_beyond_the_memory(inputs, outputs):
    with pytest.raises(MemoryError) as error:
        fastnn.mlp([inputs, outputs], output="identity", engine="reference")
    assert str(error.value) == (
        f"expected layers that fit in memory, got {4 * (inputs + 1) * outputs:,} bytes of float32 "
        f"weights for {inputs}-{outputs}"
    )


@pytest.mark.parametrize("way", [copy.copy, copy.deepcopy, lambda n: pickle.loads(pickle.dumps(n))])
def test_copies_share_nothing(engine_name, data, way):
    x, y = data
    net = fastnn.mlp([6, 5, 3], engine=engine_name, num_threads=2)
    net.fit(x, y, epochs=1, verbose=0)
    expected = net.predict(x).tobytes()
    twin = way(net)
    twin.fit(x, y, epochs=1, verbose=0)
    assert net.predict(x).tobytes() == expected
    net.fit(x, y, epochs=1, verbose=0)  # with the same state of the optimizer
    assert net.predict(x).tobytes() == twin.predict(x).tobytes()
    assert (twin.num_threads, twin.trained) == (2, net.trained)


@pytest.mark.parametrize("slope", [1e39, 1e-60])
def test_a_slope_that_the_dtype_cannot_hold_is_refused(slope):
    layers = [fastnn.Dense(3, fastnn.LeakyReLU(slope)), fastnn.Dense(2)]
    with pytest.raises(ValueError, match="expected a slope that float32 can hold, got"):
        fastnn.Network(2, layers)
    assert fastnn.Network(2, layers, dtype="float64").predict([[1.0, 2.0]]).shape == (1, 2)
