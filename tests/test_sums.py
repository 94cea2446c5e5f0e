"""Long sums along the batch: cut, so that their error does not grow with the rows."""

import numpy as np
import pytest

import fastnn
from fastnn import training

EPS = float(np.finfo("float32").eps)


def one_weight(**options):
    return fastnn.Network(1, [fastnn.Dense(1, "identity", "zeros")], **options)


@pytest.mark.parametrize("rows", [255, 256, 257, 65_536, 65_537, 100_000, 2_000_000])
def test_gradients_of_any_number_of_rows(compiled, rows):
    """Equal terms make the worst chain: each rounding errs the same way. db as dW, two levels."""
    net = one_weight(engine=compiled().NAME)
    x, y = np.ones((rows, 1), "f4"), np.full(rows, -0.1, "f4")
    loss, ((dW, db),) = net.gradients(x, y)  # noqa: N806
    chains = 256 + min(rows, training.unit(net.program)) / 256
    exact = 2 * float(np.float32(0.1))
    assert dW.item() == pytest.approx(exact, rel=chains * EPS)
    assert db.item() == pytest.approx(exact, rel=chains * EPS)
    assert db.item() == pytest.approx(exact, rel=4e-6)
    assert loss == pytest.approx(float(np.float32(0.1)) ** 2, rel=1e-7)


@pytest.mark.parametrize("batch_size", [70_000, 150_000, 2**63 - 1])
def test_one_step_of_a_large_batch(engine_name, batch_size):
    rows = 150_000
    net = one_weight(engine=engine_name)
    x, y = np.ones((rows, 1), "f4"), np.full(rows, -0.1, "f4")
    sgd = fastnn.SGD(0.125)
    net.fit(x, y, epochs=1, batch_size=batch_size, optimizer=sgd, verbose=0)
    w = b = 0.0
    for _ in range(-(-rows // batch_size)):
        error = w + b + float(np.float32(0.1))
        w, b = w - 0.125 * 2 * error, b - 0.125 * 2 * error
    rel = 1e-4 if engine_name == "reference" else 1e-5  # each CPU's BLAS has chains of its own
    assert net.layers[0].weights.item() == pytest.approx(w, rel=rel)
    assert net.layers[0].biases.item() == pytest.approx(b, rel=rel)


OPTIMIZERS = [fastnn.SGD(0.1), fastnn.SGD(0.1, momentum=0.9), fastnn.Adam(0.01)]


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=str)
def test_a_batch_in_units_is_the_batch(compiled, optimizer, monkeypatch):
    """Many calls for one step give its numbers, and the same bits on any number of threads."""
    random = np.random.default_rng(0)
    x, y = random.integers(0, 256, (1500, 30), np.uint8), random.integers(0, 4, 1500)

    def fitted(num_threads):
        net = fastnn.mlp(
            [30, 40, 4], input_scale=1 / 255, engine=compiled().NAME, num_threads=num_threads
        )
        history = net.fit(x, y, epochs=3, batch_size=1100, optimizer=optimizer, verbose=0).history
        return net.program.parameters, net.program.state, history

    whole = fitted(2)
    monkeypatch.setattr(training, "MOST_UNITS", 1)
    units = [fitted(threads) for threads in (1, 2, 3)]
    assert len({w.tobytes() + state.tobytes() for w, state, _ in units}) == 1
    np.testing.assert_allclose(units[0][0], whole[0], atol=2e-4)
    assert units[0][2]["loss"] == pytest.approx(whole[2]["loss"], rel=1e-5)
    assert units[0][2]["accuracy"] == pytest.approx(whole[2]["accuracy"], abs=2e-3)


def test_gradients_in_units_read_data_of_any_dtype_without_converting_all(monkeypatch):
    """x of another dtype is converted a unit at a time."""
    monkeypatch.setattr(training, "MOST_UNITS", 1)
    net = fastnn.mlp([6, 5, 2], dtype="float64")
    x = np.random.default_rng(0).integers(-50, 50, (1000, 6)).astype(">i2")
    y = np.arange(1000) % 2
    converted = []
    block = training._arrays.block

    def watched(x, rows, *arguments):
        converted.append(rows.stop - rows.start)
        return block(x, rows, *arguments)

    monkeypatch.setattr(training._arrays, "block", watched)
    loss, gradients = net.gradients(x, y)
    assert converted == [256, 256, 256, 232]
    monkeypatch.undo()
    expected_loss, expected = net.gradients(x.astype("f8"), y)
    assert loss == pytest.approx(expected_loss)
    for pair, other in zip(gradients, expected, strict=True):
        for found, exact in zip(pair, other, strict=True):
            np.testing.assert_allclose(found, exact, atol=1e-13)


def test_scratch_grows_with_the_inputs_not_with_their_square():
    """100,000 features in batches of 256 were said to need 75 GiB."""
    net = fastnn.mlp([100_000, 4, 2], seed=0)
    x = np.zeros((256, 100_000), np.uint8)
    x[np.arange(256), np.arange(256)] = 1
    history = net.fit(x, np.arange(256) % 2, epochs=1, batch_size=256, verbose=0)
    assert np.isfinite(history.history["loss"]).all()
