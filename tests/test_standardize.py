"""Networks whose columns have different scales: statistics in one pass, units in and out."""

import pickle

import numpy as np
import pytest

import fastnn
from fastnn import _statistics


def table(rows=600, seed=0):
    """Columns of very different scales, one of them constant, and two targets that follow them."""
    random = np.random.default_rng(seed)
    plain = random.normal(size=(rows, 4))
    x = plain * [1, 1e3, 1e-4, 0] + [0, 2020, 5, 7]
    return x, plain[:, :3] @ [[40, 3], [-70, 1], [25, -2]] + [300, -20]


def network(engine="auto", standardize=True, **options):
    layers = [fastnn.Dense(16, "tanh"), fastnn.Dense(2)]
    return fastnn.Network(4, layers, standardize=standardize, engine=engine, **options)


def fitted(engine="auto", dtype="float32", epochs=30, **options):
    net = network(engine, dtype=dtype, **options)
    net.fit(*table(), epochs=epochs, batch_size=32, optimizer=fastnn.Adam(1e-2), verbose=0)
    return net


@pytest.mark.parametrize("rows", [1, 2, 7, 100_003])
@pytest.mark.parametrize("shape", [(3,), (2, 3)])
def test_means_and_deviations_are_those_of_all_rows(rows, shape):
    x = np.random.default_rng(rows).normal(1e6, 3, (rows, *shape))
    found = _statistics.columns(x)
    flat = x.reshape(rows, -1)
    np.testing.assert_allclose(found.mean, flat.mean(axis=0), rtol=1e-14)
    np.testing.assert_allclose(found.deviation, flat.std(axis=0), rtol=1e-8)


def test_a_column_of_one_number_has_that_mean_and_no_deviation():
    found = _statistics.columns(np.full((100_000, 3), 0.1))
    assert found.mean.tolist() == [0.1] * 3
    assert found.deviation.tolist() == [0.0] * 3


def test_statistics_have_the_same_bits_wherever_the_rows_lie(tmp_path):
    x = np.random.default_rng(0).normal(5, 2, (30_000, 17)).astype("float32")
    np.save(tmp_path / "x.npy", x)
    ways = [x, np.asfortranarray(x), np.load(tmp_path / "x.npy", mmap_mode="r"), x.astype(">f8")]
    bits = {
        b"".join([c.mean.tobytes(), c.deviation.tobytes()]) for c in map(_statistics.columns, ways)
    }
    assert len(bits) == 1


def test_squares_beyond_float64_are_refused():
    x = np.array([[1.0, 1e300], [2.0, -1e300]])
    with pytest.raises(ValueError, match="float64 can hold in column 1, got -1e\\+300 to 1e\\+300"):
        _statistics.columns(x)


def test_it_learns_columns_that_no_common_scale_fits(engine_name):
    x, y = table()
    net = fitted(engine_name)
    assert 1 - net.evaluate(x, y)["loss"] / y.var() > 0.99


def test_what_goes_in_and_comes_out_is_in_the_units_of_the_data(engine_name):
    x, y = table()
    net = fitted(engine_name, dtype="float64")
    h = net.predict(x)
    loss = np.mean((h - y) ** 2)
    assert net.evaluate(x, y)["loss"] == pytest.approx(loss, rel=1e-9)
    assert net.gradients(x, y)[0] == pytest.approx(loss, rel=1e-9)
    np.testing.assert_array_equal(net.activations(x)[-1], h)
    np.testing.assert_allclose(net.activations(x)[0][:, :3].std(axis=0), 1, rtol=1e-9)
    assert not net.activations(x)[0][:, 3].any()  # it never varied
    single = np.concatenate([net.predict(row[None]) for row in x[:9]])
    np.testing.assert_allclose(single, h[:9], rtol=1e-12)
    out = np.empty_like(h)
    assert net.predict(x, out=out) is out
    np.testing.assert_array_equal(out, h)


def test_history_is_in_the_units_of_the_data():
    x, y = table()
    net = network()
    history = net.fit(
        x, y, epochs=2, batch_size=32, optimizer=fastnn.SGD(1e-9), validation_data=(x, y), verbose=0
    ).history
    assert history["loss"] == pytest.approx(history["val_loss"], rel=1e-4)
    assert history["loss"][0] > y.var(axis=0).mean() / 2


def test_gradients_are_those_of_the_loss_in_the_units_of_the_data(engine_name):
    x, y = table(50)
    net = fitted(engine_name, dtype="float64", epochs=2)
    _, gradients = net.gradients(x, y)
    for layer, pair in zip(net.layers, gradients, strict=True):
        for array, gradient in zip((layer.weights, layer.biases), pair, strict=True):
            place = tuple(n // 2 for n in array.shape)
            before, losses = array[place], []
            for step in (1e-5, -1e-5):
                array[place] = before + step
                losses.append(net.evaluate(x, y)["loss"])
            array[place] = before
            assert gradient[place] == pytest.approx((losses[0] - losses[1]) / 2e-5, rel=1e-5)


def test_classes_are_learned_from_standardised_columns():
    x, y = table()
    labels = (y[:, 0] > 300).astype(np.int64)
    net = fastnn.mlp([4, 8, 2], standardize=True)
    net.fit(x, labels, epochs=20, batch_size=16, optimizer=fastnn.Adam(1e-2), verbose=0)
    assert net.output_center is None
    assert net.evaluate(x, labels)["accuracy"] > 0.97


def test_the_same_bits_on_any_number_of_threads_from_any_dtype():
    x, _ = table()
    x = x.astype("float32")
    expected = None
    for num_threads in (1, 2, 3):
        for same in (x, x.astype("float64"), np.asfortranarray(x), x.astype(">f4")):
            net = network(num_threads=num_threads)
            net.fit(same, table()[1], epochs=2, batch_size=100, verbose=0)
            bits = net.program.parameters.tobytes() + net.predict(same).tobytes()
            expected = expected or bits
            assert bits == expected


def test_a_second_fit_keeps_the_scales():
    x, y = table()
    net = fitted(epochs=1)
    center, scale = net.program.center.copy(), net.output_scale
    net.fit(10 * x, 10 * y, epochs=1, verbose=0)
    np.testing.assert_array_equal(net.program.center, center)
    assert net.output_scale == scale


def test_before_the_first_fit_it_says_what_is_missing():
    x, y = table()
    net = network()
    for call in (net.predict, net.classify, net.activations):
        with pytest.raises(ValueError, match="expected a network that was fitted"):
            call(x)
    for call in (net.evaluate, net.gradients):
        with pytest.raises(ValueError, match="expected a network that was fitted"):
            call(x, y)


def test_an_input_scale_beside_it_is_refused():
    with pytest.raises(ValueError, match=r"expected no input_scale with standardize, got 0\.5"):
        network(input_scale=0.5)


def test_a_pickled_network_keeps_its_scales():
    x, _ = table()
    net = fitted(epochs=1)
    copy = pickle.loads(pickle.dumps(net))
    assert copy.predict(x).tobytes() == net.predict(x).tobytes()


def test_engines_refuse_scales_that_do_not_fit(compiled):
    net = fitted(compiled().NAME, epochs=1)
    net.program.center = np.zeros(3)
    with pytest.raises(ValueError, match="expected center to be float64 \\(4,\\)"):
        compiled().forward(net.program, table()[0], np.empty((600, 2), "float32"), 1)
