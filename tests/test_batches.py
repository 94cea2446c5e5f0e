"""Training batch by batch; copies of networks and of their weights."""

import numpy as np
import pytest

import fastnn


def rows():
    random = np.random.default_rng(0)
    y = random.integers(0, 3, 64)
    return random.random((64, 5), np.float32) + y[:, None], y


def make(engine="reference", **options):
    layers = [fastnn.Dense(8, "tanh"), fastnn.Dense(3, "softmax")]
    return fastnn.Network(5, layers, **{"engine": engine, **options})


def bits(net):
    return net.program.parameters.tobytes(), net.program.state.tobytes()


def test_batches_give_the_bits_of_a_fit(engine_name):
    x, y = rows()
    for optimizer in (fastnn.Adam(0.01), fastnn.SGD(lambda step: 0.1 / (1 + step), momentum=0.9)):
        fitted, fed = make(engine_name), make(engine_name)
        logs = fitted.fit(
            x, y, epochs=2, batch_size=16, shuffle=False, optimizer=optimizer, verbose=0
        ).history
        losses = [
            fed.train_on_batch(x[i : i + 16], y[i : i + 16], optimizer=optimizer)["loss"]
            for i in (0, 16, 32, 48, 0, 16, 32, 48)
        ]
        assert bits(fed) == bits(fitted)
        assert fed.trained.steps == 8
        assert [np.mean(losses[:4]), np.mean(losses[4:])] == pytest.approx(logs["loss"])


def test_the_figures_are_those_before_the_update(engine_name):
    net = make(engine_name)
    before = net.evaluate(*rows())
    found = net.train_on_batch(*rows())
    assert found == pytest.approx(before, rel=1e-6)
    assert net.evaluate(*rows())["loss"] < found["loss"]


def test_every_batch_has_its_own_mask():
    """With a rate near zero only the mask of dropout changes the loss."""
    layers = [fastnn.Dense(8, "tanh"), fastnn.Dropout(0.5), fastnn.Dense(3, "softmax")]
    net = fastnn.Network(5, layers, engine="reference")
    losses = {net.train_on_batch(*rows(), optimizer=fastnn.SGD(1e-30))["loss"] for _ in range(5)}
    assert len(losses) == 5


def test_a_batch_that_diverges(engine_name):
    net = fastnn.Network(5, [fastnn.Dense(1)], dtype="float64", engine=engine_name)
    before = bits(net)[0]
    x, y = 1e200 * rows()[0], rows()[1] / 3
    with pytest.raises(fastnn.DivergenceError, match="got loss inf; the weights are those from"):
        net.train_on_batch(x, y)
    assert bits(net)[0] == before
    assert net.trained.optimizer is None  # its state is lost


def test_a_schedule_asks_how_many_batches_there_will_be():
    with pytest.raises(ValueError, match="expected a rate or a function of the step, got Cosine"):
        make().train_on_batch(*rows(), optimizer=fastnn.SGD(fastnn.Cosine(0.1)))


def test_a_copy_goes_its_own_way(engine_name):
    net = make(engine_name)
    net.train_on_batch(*rows())
    twin = net.copy()
    assert bits(twin) == bits(net)
    twin.train_on_batch(*rows())
    assert bits(twin) != bits(net)
    net.train_on_batch(*rows())
    assert bits(twin) == bits(net)


def test_weights_are_got_and_set(engine_name):
    net, other = make(engine_name), make(engine_name, seed=1)
    weights = net.get_weights()
    assert [one.shape for one in weights] == [(5, 8), (8,), (8, 3), (3,)]
    other.set_weights(weights)
    assert bits(other) == bits(net)
    weights[0][...] = 0
    assert bits(other) == bits(net)  # they were copies
    net.set_weights([one.astype(float) for one in other.get_weights()][::1])
    net.set_weights([net.layers[0].weights[::-1], *net.get_weights()[1:]])  # in its own memory
    assert (net.layers[0].weights == other.layers[0].weights[::-1]).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w[:3], "expected 4 arrays of weights, got 3"),
        (lambda w: [w[0].T, *w[1:]], r"expected weights\[0\] of \(5, 8\), got \(8, 5\)"),
        (lambda w: [*w[:3], w[3] + np.inf], r"expected finite float32 numbers in weights\[3\]"),
    ],
)
def test_weights_that_do_not_fit(change, message):
    net = make()
    before = bits(net)
    with pytest.raises(ValueError, match=message):
        net.set_weights(change(net.get_weights()))
    assert bits(net) == before
