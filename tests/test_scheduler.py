"""Numbers other than the rate that change from epoch to epoch."""

import numpy as np
import pytest

import fastnn
from fastnn import losses

RATES = [0.3, 0.6, 0.0]


def data(rows=90):
    random = np.random.default_rng(0)
    return random.random((rows, 7), np.float32), random.integers(0, 3, rows)


def network(rate=0.5, smoothing=0.0, seed=0):
    layers = [
        fastnn.Dense(9, "relu"),
        fastnn.Dropout(rate),
        fastnn.Dense(8, "selu"),
        fastnn.AlphaDropout(rate),
        fastnn.Dense(3, "softmax"),
    ]
    loss = losses.CrossEntropy(smoothing) if smoothing else None
    return fastnn.Network(7, layers, loss=loss, seed=seed)


def fit(net, epochs=3, optimizer=None, **options):
    optimizer = optimizer or fastnn.SGD(0.1)
    return net.fit(*data(), epochs=epochs, batch_size=20, optimizer=optimizer, verbose=0, **options)


def bits(net):
    return b"".join(part.tobytes() for part in net.get_weights())


def by_hand(made, optimizers=None):
    """The bits after an epoch with each of these networks, which hand weights and counts on."""
    optimizers = optimizers or [fastnn.SGD(0.1)] * len(made)
    before = made[0]
    for net, optimizer in zip(made, optimizers, strict=True):
        net.set_weights(before.get_weights())
        net.trained.epochs = before.trained.epochs
        fit(net, 1, optimizer)
        before = net
    return bits(before)


def test_dropout_has_each_epochs_rate():
    net = network()
    fit(net, callbacks=[fastnn.Scheduler("dropout", lambda epoch: RATES[epoch])])
    assert bits(net) == by_hand([network(rate) for rate in RATES])


def test_the_dropout_of_one_layer():
    net = network(0.0)
    fit(net, callbacks=[fastnn.Scheduler("dropout", lambda _: 0.4, layer=3)])
    made = fastnn.Network(
        7,
        [
            fastnn.Dense(9, "relu"),
            fastnn.Dropout(0.0),
            fastnn.Dense(8, "selu"),
            fastnn.AlphaDropout(0.4),
            fastnn.Dense(3, "softmax"),
        ],
    )
    fit(made)
    assert bits(net) == bits(made)
    plain = network(0.0)
    fit(plain)
    assert bits(net) != bits(plain)


def test_labels_are_smoothed_as_each_epoch_has_it():
    net, smoothings = network(), [0.2, 0.1, 0.0]
    fit(net, callbacks=[fastnn.Scheduler("label_smoothing", lambda epoch: smoothings[epoch])])
    assert bits(net) == by_hand([network(smoothing=one) for one in smoothings])


def test_the_numbers_of_an_optimizer():
    net, decays = network(), [0.2, 0.0, 0.5]
    fit(
        net,
        optimizer=fastnn.SGD(0.1, weight_decay=9.0),
        callbacks=[fastnn.Scheduler("weight_decay", lambda epoch: decays[epoch])],
    )
    same = [fastnn.SGD(0.1, weight_decay=one) for one in decays]
    assert bits(net) == by_hand([network() for _ in decays], same)


def test_a_schedule_counts_epochs():
    seen = []

    class Look(fastnn.Callback):
        every = 0

        def on_epoch_begin(self, epoch, logs):
            seen.append(self.run.optimizer.momentum)

    falling = fastnn.Polynomial(0.8, final=0.4, power=1.0)
    fit(
        network(),
        epochs=4,
        optimizer=fastnn.SGD(0.1, momentum=0.9),
        callbacks=[fastnn.Scheduler("momentum", falling), Look()],
    )
    np.testing.assert_allclose(seen, falling.rates(0, 4, 4))
    assert seen[0] == 0.8 > seen[1] > seen[2] > seen[3]


@pytest.mark.parametrize("name", ["dropout", "label_smoothing"])
def test_after_a_fit_everything_is_as_before(name):
    def interrupt(net, epoch, logs):
        raise KeyboardInterrupt

    net, plain = network(), network()
    with pytest.raises(KeyboardInterrupt):
        fit(net, callbacks=[fastnn.Scheduler(name, lambda _: 0.2), interrupt])
    net.set_weights(plain.get_weights())
    net.trained.epochs = net.trained.steps = 0
    fit(net)
    fit(plain)
    assert bits(net) == bits(plain)


@pytest.mark.parametrize("name", ["dropout", "label_smoothing", "weight_decay"])
def test_a_resumed_fit_has_the_same_bits(name, tmp_path):
    path, optimizer = tmp_path / "c.fastnn", fastnn.AdamW(0.01)

    def callbacks(*more):
        return [fastnn.Scheduler(name, fastnn.Cosine(0.3)), *more]

    whole = network()
    fit(whole, 5, optimizer, callbacks=callbacks(fastnn.Checkpoint(path, save_freq=8)))
    again = network()
    fit(again, 5, optimizer, callbacks=callbacks(), resume=path)
    assert bits(again) == bits(whole)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("learning_rate", 0.1), "another number, got learning_rate"),
        (("momentum", 0.1, 1), "layer with 'dropout' alone, got it with 'momentum'"),
        (("dropuot", 0.1), "did you mean 'dropout'"),
        (("dropout", 0.1, 7), "a layer from 0 to 4, got 7"),
        (("dropout", 0.1, 0), "Dropout in layer 0 to be scheduled, got none"),
        (("momentum", 0.1), "momentum of SGD above 0 to be scheduled, got 0"),
        (("dropout", lambda epoch: 1.5), r"dropout in \[0, 1\), got 1.5"),
    ],
)
def test_what_cannot_be_scheduled_is_refused(arguments, message):
    net = network()
    before = bits(net)
    with pytest.raises(ValueError, match=message):
        fit(net, callbacks=[fastnn.Scheduler(*arguments)])
    assert bits(net) == before


def test_other_networks_are_refused():
    net = fastnn.Network(7, [fastnn.Dense(3)])
    x, y = data()
    with pytest.raises(ValueError, match="cross_entropy for label_smoothing, got mean_squ"):
        net.fit(x, np.eye(3)[y], callbacks=[fastnn.Scheduler("label_smoothing", 0.1)], verbose=0)


def test_all_rows_at_once_are_refused():
    pytest.importorskip("scipy", reason="SciPy is not installed: LBFGS")
    with pytest.raises(ValueError, match="an optimizer that takes batches with Scheduler, got"):
        fit(network(0), 1, fastnn.LBFGS(), callbacks=[fastnn.Scheduler("dropout", 0.1)])
