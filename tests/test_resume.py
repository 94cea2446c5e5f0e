"""Exact resume: a fit that goes on from a checkpoint ends with the bits of one never stopped."""

import os
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest

import fastnn


def rows():
    random = np.random.default_rng(0)
    y = random.integers(0, 3, 101)
    x = random.random((101, 9), np.float32)
    x.reshape(101, 3, 3)[np.arange(101), y] += 1
    return x, y


def make(engine="auto", **options):
    layers = [fastnn.Dense(16, "tanh"), fastnn.BatchNorm(), fastnn.Dropout(0.25)]
    layers.append(fastnn.Dense(3, "softmax"))
    return fastnn.Network(9, layers, **{"engine": engine, **options})


SETTINGS = {
    "epochs": 4,
    "batch_size": 16,
    "optimizer": fastnn.Adam(fastnn.OneCycle(0.05)),
    "verbose": 0,
}


class Kept(fastnn.Checkpoint):
    """A checkpoint after every so many steps, all of which are kept."""

    def save(self):
        super().save()
        with open(self.path, "rb") as file:
            self.files.append(file.read())

    files: list[bytes]


def checkpoints(path, net, save_freq, settings=SETTINGS, **options):
    keep = Kept(path, save_freq)
    keep.files = []
    history = net.fit(*rows(), callbacks=[keep], **settings, **options)
    return keep.files, history.history


def bits(net):
    return net.program.parameters.tobytes(), net.program.state.tobytes()


def without(history, *names):
    return {name: values for name, values in history.items() if name not in names}


@pytest.mark.parametrize(
    "change",
    [
        {"optimizer": fastnn.Adam(fastnn.OneCycle(0.05))},
        {"optimizer": fastnn.SGD(fastnn.Cosine(0.1), momentum=0.9)},
        {"optimizer": fastnn.SGD(0.1)},
        {"optimizer": fastnn.SGD(0.1, use_ema=True, ema_momentum=0.9)},
        {"optimizer": fastnn.Adam(0.01, gradient_accumulation_steps=3, global_clipnorm=0.5)},
        {
            "optimizer": fastnn.ScheduleFreeAdamW(
                0.05, weight_decay=0.1, groups={0: fastnn.Group(rate=0.5)}
            )
        },
        {"augment": fastnn.Augment(0.5, 20, 0.1, 5, (1, 2), 0.1, (3, 3))},
    ],
    ids=str,
)
@pytest.mark.parametrize("save_freq", [3, "epoch"])
def test_every_checkpoint_goes_on_to_the_same_bits(engine_name, tmp_path, change, save_freq):
    path, settings = tmp_path / "fit.fastnn", {**SETTINGS, **change}
    whole = make(engine_name)
    files, history = checkpoints(path, whole, save_freq, settings, validation_data=rows())
    assert len(files) == (9 if save_freq == 3 else 4)
    for threads, content in enumerate(files, start=1):
        path.write_bytes(content)
        net = make(engine_name, num_threads=min(threads, 3))
        _, found = checkpoints(path, net, save_freq, settings, validation_data=rows(), resume=path)
        assert bits(net) == bits(whole)
        assert without(found, "seconds") == without(history, "seconds")
        assert (net.trained.epochs, net.trained.steps) == (4, 28)


def test_a_network_from_the_file_goes_on_as_well(tmp_path):
    path = tmp_path / "fit.fastnn"
    whole = make()
    files, _ = checkpoints(path, whole, 5)
    path.write_bytes(files[2])
    net = fastnn.load(path)
    net.fit(*rows(), resume=path, **SETTINGS)
    assert bits(net) == bits(whole)


def test_a_later_fit_of_a_network_is_resumed(tmp_path):
    """Counts of epochs and steps are those of all fits, a schedule's those of this one."""
    path = tmp_path / "fit.fastnn"
    whole = make()
    whole.fit(*rows(), **{**SETTINGS, "epochs": 1})
    files, history = checkpoints(path, whole, 3)
    path.write_bytes(files[4])
    net = make()
    found = net.fit(*rows(), resume=path, callbacks=[fastnn.Checkpoint(path, 3)], **SETTINGS)
    assert bits(net) == bits(whole)
    assert without(found.history, "seconds") == without(history, "seconds")


def test_standardised_rows(tmp_path):
    path = tmp_path / "fit.fastnn"
    whole = make(standardize=True)
    files, _ = checkpoints(path, whole, 5)
    path.write_bytes(files[2])
    net = make(standardize=True)
    net.fit(*rows(), resume=path, **SETTINGS)
    assert bits(net) == bits(whole)


@pytest.mark.parametrize("save_freq", [5, "epoch"])
def test_callbacks_remember_what_they_saw(tmp_path, save_freq):
    path = tmp_path / "fit.fastnn"
    settings = {**SETTINGS, "epochs": 9, "optimizer": fastnn.SGD(0.1), "validation_data": rows()}

    def callbacks():
        plateau = fastnn.ReduceLROnPlateau(factor=0.5, patience=2, min_delta=1e9)
        log = fastnn.CSVLogger(tmp_path / "log.csv")
        keep = Kept(path, save_freq)
        keep.files = []
        return [keep, plateau, log]

    whole, first = make(), callbacks()
    history = whole.fit(*rows(), callbacks=first, **settings).history
    assert history["learning_rate"] == [0.1] * 3 + [0.05] * 2 + [0.025] * 2 + [0.0125] * 2
    lines = (tmp_path / "log.csv").read_text().splitlines()
    for content in first[0].files:
        path.write_bytes(content)
        net = make()
        found = net.fit(*rows(), callbacks=callbacks(), resume=path, **settings).history
        assert bits(net) == bits(whole)
        assert without(found, "seconds") == without(history, "seconds")
        again = (tmp_path / "log.csv").read_text().splitlines()
        assert [line.rpartition(",")[0] for line in again] == [
            line.rpartition(",")[0] for line in lines
        ]


def test_best_weights_are_in_no_checkpoint(tmp_path):
    path = tmp_path / "fit.fastnn"
    files, history = checkpoints(path, make(), "epoch", validation_data=rows())
    best = int(np.argmin(history["val_loss"]))
    stop = fastnn.EarlyStopping(patience=9)
    for number, content in enumerate(files):
        path.write_bytes(content)
        settings = {**SETTINGS, "validation_data": rows(), "callbacks": [stop], "resume": path}
        if number == int(np.argmin(history["val_loss"][: number + 1])):
            net = make()
            net.fit(*rows(), **settings)
            assert net.evaluate(*rows())["loss"] == history["val_loss"][best]
    whole = make()
    other = {**SETTINGS, "optimizer": fastnn.SGD(1.0), "epochs": 30}
    files, history = checkpoints(path, whole, "epoch", other, validation_data=rows())
    best = int(np.argmin(history["val_loss"]))
    if best < 29:
        path.write_bytes(files[29])
        with pytest.raises(ValueError, match=f"the best epoch, {best + 1}, are not in"):
            make().fit(*rows(), **{**settings, **other})


def test_a_fit_that_was_over_stays_so(tmp_path):
    path = tmp_path / "fit.fastnn"
    whole = make()
    _, history = checkpoints(path, whole, "epoch")
    net = make()
    assert net.fit(*rows(), resume=path, **SETTINGS).history == history
    assert bits(net) == bits(whole)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch_size": 32}, "expected batch_size 16, as in the checkpoint, got 32"),
        ({"epochs": 5}, "expected epochs 4, as in the checkpoint, got 5"),
        ({"shuffle": False}, "expected shuffle True, as in the checkpoint, got False"),
        (
            {"augment": fastnn.Augment(1, shape=(3, 3))},
            r"expected augment None, as in the checkpoint, got Augment\(shift=1.0,",
        ),
        ({"optimizer": "sgd"}, "expected optimizer Adam"),
        ({"optimizer": fastnn.Adam(fastnn.OneCycle(0.06))}, "peak=0.06"),
    ],
)
def test_what_decides_the_rest_must_be_the_same(tmp_path, change, message):
    path = tmp_path / "fit.fastnn"
    files, _ = checkpoints(path, make(), 5)
    path.write_bytes(files[2])
    net = make()
    before = bits(net)
    with pytest.raises(ValueError, match=message):
        net.fit(*rows(), resume=path, **{**SETTINGS, **change})
    assert bits(net) == before


@pytest.mark.parametrize(
    ("net", "message"),
    [
        (lambda: make(seed=1), "expected seed 0, as in the checkpoint, got 1"),
        (lambda: make(dtype="float64"), "expected dtype 'float32', as in the checkpoint, got"),
        (lambda: fastnn.mlp([9, 3]), "expected layers .* as in the checkpoint, got"),
        (lambda: make(input_scale=0.5), "expected input_scale 1.0, as in the checkpoint, got 0.5"),
    ],
)
def test_another_network_is_refused(tmp_path, net, message):
    path = tmp_path / "fit.fastnn"
    checkpoints(path, make(), 5)
    with pytest.raises(ValueError, match=message):
        net().fit(*rows(), resume=path, **SETTINGS)


def test_other_rows_and_other_files_are_refused(tmp_path):
    path = tmp_path / "fit.fastnn"
    checkpoints(path, make(), 5)
    x, y = rows()
    with pytest.raises(ValueError, match="expected rows 101, as in the checkpoint, got 100"):
        make().fit(x[1:], y[1:], resume=path, **SETTINGS)
    make().save(path, optimizer=True)
    with pytest.raises(ValueError, match="expected a checkpoint of a fit, got a model without one"):
        make().fit(x, y, resume=path, **SETTINGS)
    with pytest.raises(FileNotFoundError):
        make().fit(x, y, resume=tmp_path / "none", **SETTINGS)


PROGRAM = """
    import os, sys
    import numpy as np
    import fastnn

    path, done = sys.argv[1:3]
    random = np.random.default_rng(0)
    x, y = random.random((3000, 20), np.float32), random.integers(0, 3, 3000)
    layers = [fastnn.Dense(64, "relu"), fastnn.Dropout(0.25), fastnn.Dense(3, "softmax")]
    net = fastnn.Network(20, layers, num_threads=int(sys.argv[3]))
    history = net.fit(
        x, y, epochs={epochs}, batch_size=32, optimizer=fastnn.{optimizer}, verbose=0,
        callbacks=[fastnn.Checkpoint(path, save_freq=13)],
        resume=path if os.path.exists(path) else None,
    ).history
    np.savez(done, net.program.parameters, history["loss"], history["accuracy"])
"""


def killed_and_resumed(folder, optimizer, epochs, delays):
    """The end of a run that is killed by SIGKILL again and again, and how often it was."""
    path, done, kills = folder / "fit.fastnn", folder / "done.npz", 0
    program = textwrap.dedent(
        PROGRAM.replace("{optimizer}", optimizer).replace("{epochs}", str(epochs))
    )
    for delay in [*delays, None]:
        arguments = [sys.executable, "-c", program, path, done, str(1 + kills % 3)]
        child = subprocess.Popen(arguments, cwd=folder)
        seen = path.stat().st_mtime_ns if path.exists() else 0
        if delay is not None:  # counted from the first file that it writes itself
            while child.poll() is None and seen == (
                path.stat().st_mtime_ns if path.exists() else 0
            ):
                time.sleep(0.001)
            time.sleep(delay)
            child.send_signal(signal.SIGKILL)
        code = child.wait()
        kills += code == -signal.SIGKILL
        assert code in (0, -signal.SIGKILL)
        if done.exists():
            break
    with np.load(done) as found:
        return [found[name].tobytes() for name in found.files], kills


@pytest.mark.parametrize(
    ("optimizer", "kills"),
    [
        ("Adam(fastnn.OneCycle(5e-3))", 3),
        pytest.param("SGD(fastnn.Cosine(0.1), momentum=0.9)", 10, marks=pytest.mark.slow),
        pytest.param("Adam(fastnn.OneCycle(5e-3))", 20, marks=pytest.mark.slow),
    ],
)
def test_killed_at_random_moments(tmp_path, optimizer, kills):
    whole, again = tmp_path / "whole", tmp_path / "again"
    whole.mkdir()
    again.mkdir()
    expected, _ = killed_and_resumed(whole, optimizer, 3 + kills, [])
    delays = np.random.default_rng(kills).uniform(0, 0.005, kills)
    found, times = killed_and_resumed(again, optimizer, 3 + kills, delays)
    assert times > 0
    assert found == expected
    assert not [name for name in os.listdir(again) if name.endswith(".tmp")]
