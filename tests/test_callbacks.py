"""Callbacks: their moments, and those that fastnn brings."""

import csv

import numpy as np
import pytest

import fastnn
from fastnn import training


@pytest.fixture
def data():
    """Three classes that a net can learn, and rows to validate on."""
    random = np.random.default_rng(0)
    y = random.integers(0, 3, 70)
    x = random.random((70, 9), np.float32)
    x.reshape(70, 3, 3)[np.arange(70), y] += 1
    return x, y


def make(**options):
    return fastnn.mlp([9, 8, 3], **{"engine": "reference", **options})


def fit(net, data, *callbacks, **options):
    options = {"epochs": 3, "batch_size": 32, "verbose": 0, **options}
    return net.fit(*data, validation_data=data, callbacks=callbacks, **options).history


class Recorder(fastnn.Callback):
    def __init__(self):
        self.seen = []

    def on_train_begin(self, logs):
        self.seen.append(("train begins", logs))

    def on_train_end(self, logs):
        self.seen.append(("train ends", *logs))

    def on_epoch_begin(self, epoch, logs):
        self.seen.append((f"epoch {epoch} begins", logs))

    def on_epoch_end(self, epoch, logs):
        self.seen.append((f"epoch {epoch} ends", *logs))


class Batches(Recorder):
    def on_train_batch_begin(self, batch, logs):
        self.seen.append((f"batch {batch} begins", logs))

    def on_train_batch_end(self, batch, logs):
        self.seen.append((f"batch {batch} ends", *logs))


FIGURES = ("loss", "accuracy", "val_loss", "val_accuracy")


def test_moments_come_in_keras_s_order(data):
    callback, net = Recorder(), make()
    fit(net, data, callback, epochs=2)
    assert callback.seen == [
        ("train begins", {}),
        ("epoch 1 begins", {}), ("epoch 1 ends", *FIGURES),
        ("epoch 2 begins", {}), ("epoch 2 ends", *FIGURES),
        ("train ends", *FIGURES),
    ]  # fmt: skip
    assert callback.model is net


def test_moments_of_batches(data):
    callback = Batches()
    fit(make(), data, callback, epochs=1)
    names = [name for name, *_ in callback.seen]
    batches = [f"batch {batch} {what}" for batch in (1, 2, 3) for what in ("begins", "ends")]
    assert names == ["train begins", "epoch 1 begins", *batches, "epoch 1 ends", "train ends"]
    assert callback.seen[3] == ("batch 1 ends", "loss", "accuracy")


def test_batch_moments_cost_nothing_where_nobody_wants_them(data):
    """A call of the engine is one step where a callback has a batch's moments, else many."""
    calls = []
    for callback in (Recorder(), Batches()):
        net = make()
        real = net._engine.train

        class Counting:
            def __getattr__(self, name, net=net, engine=net._engine):
                return getattr(engine, name)

            def train(self, *arguments, real=real):
                calls.append(len(arguments[5]))
                return real(*arguments)

        net._engine = Counting()
        fit(net, data, callback, epochs=1)
    assert calls == [3, 1, 1, 1]


def test_the_same_weights_with_batch_moments(data):
    nets = make(), make()
    histories = [fit(nets[0], data), fit(nets[1], data, Batches())]
    assert nets[0].program.parameters.tobytes() == nets[1].program.parameters.tobytes()
    assert histories[0]["loss"] == pytest.approx(histories[1]["loss"], rel=1e-12)


def test_a_class_is_no_callback(data):
    with pytest.raises(TypeError, match="got Recorder; use Recorder\\(\\)"):
        fit(make(), data, Recorder)


def monitored(callback, figures, epochs=None, name="val_loss"):
    """The epochs that ran when the callback saw these figures, one an epoch."""
    net, ran = make(), []
    callback.model = net
    callback.on_train_begin({})
    for epoch, figure in enumerate(figures, 1):
        ran.append(epoch)
        net.program.parameters[0] = epoch
        if callback.on_epoch_end(epoch, {name: figure}):
            break
    callback.on_train_end({})
    return ran, int(net.program.parameters[0])


@pytest.mark.parametrize(
    ("options", "figures", "ran", "kept"),
    [
        ({"patience": 2}, [3, 2, 2.5, 2.4, 1], 4, 2),
        ({"patience": 0}, [3, 2, 2, 1], 3, 2),
        ({"patience": 2, "min_delta": 0.5}, [3, 2.6, 2.4, 2.3, 2.2], 5, 3),
        ({"patience": 1, "start_from_epoch": 2}, [1, 5, 4, 3, 3.5], 5, 4),
        ({"patience": 9}, [3, 1, 2], 3, 2),
        ({"patience": 1, "mode": "max"}, [3, 4, 2, 9], 3, 2),
        ({"patience": 1, "restore_best_weights": False}, [3, 4, 9], 2, 2),
        ({"patience": 1}, [float("nan"), 1], 1, 1),
    ],
)
def test_early_stopping(options, figures, ran, kept):
    epochs, weights = monitored(fastnn.EarlyStopping(**options), figures)
    assert (len(epochs), weights) == (ran, kept)


def test_accuracies_are_better_when_they_rise():
    callback = fastnn.EarlyStopping("val_accuracy", patience=1)
    assert monitored(callback, [0.5, 0.6, 0.4, 0.9], name="val_accuracy") == ([1, 2, 3], 2)


def test_early_stopping_gives_the_weights_of_the_best_epoch(data):
    net, weights = make(), {}

    def keep(network, epoch, logs):
        weights[logs["val_loss"]] = network.program.parameters.tobytes()

    stop = fastnn.EarlyStopping(patience=3)
    logs = fit(net, data, keep, stop, epochs=30, optimizer=fastnn.Adam(0.3))
    assert len(logs["loss"]) < 30
    assert net.program.parameters.tobytes() == weights[min(weights)]
    assert net.evaluate(*data)["loss"] == min(logs["val_loss"])


def test_an_unknown_figure_is_named(data):
    with pytest.raises(ValueError, match="unknown monitor 'val_los'; did you mean 'val_loss'"):
        fit(make(), data, fastnn.EarlyStopping("val_los"))


def test_reduce_on_plateau(data):
    callback = fastnn.ReduceLROnPlateau(
        factor=0.5, patience=1, min_delta=1e9, cooldown=1, min_lr=0.02
    )
    logs = fit(make(), data, callback, epochs=7, optimizer=fastnn.SGD(0.1))
    # the first is best for ever; epoch 2 halves, 3 cools, 4 halves, 5 cools, 6 meets min_lr
    assert logs["learning_rate"] == [0.1, 0.1, 0.05, 0.05, 0.025, 0.025, 0.02]


def test_a_csv_file_has_the_history(data, tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("old\n")
    logs = fit(make(), data, fastnn.CSVLogger(path))
    with path.open() as file:
        rows = list(csv.DictReader(file))
    assert [row.pop("epoch") for row in rows] == ["1", "2", "3"]
    assert {name: [float(row[name]) for row in rows] for name in logs} == logs


def test_terminate_on_nan(data):
    net = make(dtype="float64")
    net.layers[0].weights[...] = 1e200
    weights = net.program.parameters.tobytes()
    logs = fit(net, data, fastnn.TerminateOnNaN(), optimizer=fastnn.SGD(1e300))
    assert logs == {}
    assert net.program.parameters.tobytes() == weights
    with pytest.raises(fastnn.DivergenceError):
        fit(net, data, optimizer=fastnn.SGD(1e300))


def test_checkpoints_after_every_epoch_or_the_best(data, tmp_path):
    path = tmp_path / "net.fastnn"
    net, saved = make(), []

    class Watch(fastnn.Checkpoint):
        def save(self):
            super().save()
            saved.append(len(self.run.history.history["loss"]))

    fit(net, data, Watch(path))
    assert saved == [1, 2, 3]
    assert fastnn.load(path).program.parameters.tobytes() == net.program.parameters.tobytes()
    saved.clear()
    logs = fit(make(), data, Watch(path, save_best_only=True, monitor="val_loss", mode="max"))
    losses = logs["val_loss"]
    assert saved == [i + 1 for i in range(3) if losses[i] > max([-1.0, *losses[:i]])]


def test_checkpoints_every_few_steps(data, tmp_path):
    steps = []

    class Watch(fastnn.Checkpoint):
        def save(self):
            super().save()
            steps.append(fastnn.load(self.path).trained.steps)

    fit(make(), data, Watch(tmp_path / "net.fastnn", save_freq=2))
    assert steps == [2, 4, 6, 8]


@pytest.mark.parametrize(
    ("make_it", "message"),
    [
        (lambda: fastnn.EarlyStopping(patience=-1), "expected patience of at least 0, got -1"),
        (lambda: fastnn.EarlyStopping(mode="maxi"), "unknown mode 'maxi'; did you mean 'max'"),
        (lambda: fastnn.EarlyStopping(min_delta=-1), "expected min_delta of at least 0, got -1"),
        (lambda: fastnn.ReduceLROnPlateau(factor=1), "expected factor in \\[0, 1\\), got 1"),
        (lambda: fastnn.Checkpoint("a", "batch"), "expected save_freq as 'epoch' or steps"),
        (lambda: fastnn.Checkpoint("a", 0), "expected save_freq to be at least 1, got 0"),
        (lambda: fastnn.Checkpoint("a", 5, save_best_only=True), "expected save_freq='epoch' with"),
    ],
)
def test_bad_settings(make_it, message):
    with pytest.raises(ValueError, match=message):
        make_it()


def test_a_listener_has_all_moments():
    """What training asks of one, `Callbacks` offers."""
    names = {name for name in vars(training.Listener) if not name.startswith("_")}
    assert names <= set(dir(fastnn.callbacks.Callbacks)) | {"every"}
