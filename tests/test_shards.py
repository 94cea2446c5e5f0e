"""Rows that come batch by batch, or shard by shard from a folder."""

from itertools import pairwise

import numpy as np
import pytest

import fastnn


def rows(n=70):
    random = np.random.default_rng(0)
    y = random.integers(0, 3, n)
    return random.random((n, 5), np.float32) + y[:, None], y


def batches(size=16):
    x, y = rows()
    return [(x[i : i + size], y[i : i + size]) for i in range(0, len(x), size)]


def make(engine="reference", **options):
    layers = [fastnn.Dense(8, "tanh"), fastnn.Dropout(0.2), fastnn.Dense(3, "softmax")]
    return fastnn.Network(5, layers, **{"engine": engine, **options})


def bits(net):
    return net.program.parameters.tobytes(), net.program.state.tobytes()


SETTINGS = {"epochs": 3, "optimizer": fastnn.Adam(fastnn.OneCycle(0.05)), "verbose": 0}


def test_batches_give_the_bits_of_arrays(engine_name):
    fitted, fed = make(engine_name), make(engine_name)
    x, y = rows()
    options = {**SETTINGS, "validation_data": (x, y), "metrics": ["f1"]}
    expected = fitted.fit(x, y, batch_size=16, shuffle=False, **options).history
    found = fed.fit(batches(), **options).history
    assert bits(fed) == bits(fitted)
    assert (fed.trained.epochs, fed.trained.steps) == (3, 15)
    for name in set(expected) - {"seconds"}:
        assert found[name] == pytest.approx(expected[name], rel=1e-12), name


def test_every_batch_is_one_step_whatever_its_size():
    net = make()
    parts = [part for size in (5, 40) for part in batches(size)[:2]]
    net.fit(parts, epochs=1, optimizer="sgd", verbose=0)
    assert net.trained.steps == 4


def test_a_generator_has_one_epoch():
    lists, generated = make(), make()
    lists.fit(batches(), epochs=1, verbose=0)
    generated.fit((batch for batch in batches()), epochs=1, verbose=0)
    assert bits(lists) == bits(generated)
    with pytest.raises(ValueError, match="expected more batches in an epoch, got 0; a generator"):
        make().fit((batch for batch in batches()), epochs=2, verbose=0)


@pytest.mark.parametrize(
    ("data", "options", "error", "message"),
    [
        ([], {}, ValueError, "expected at least one batch, got none"),
        ([3], {}, ValueError, "expected batches of the iterable as"),
        (iter(batches()), {"optimizer": fastnn.SGD(fastnn.Cosine(1.0))}, ValueError,
         "expected an iterable with a length for Cosine"),
        (rows()[0], {}, TypeError, "expected y beside x, or an iterable of"),
        (3, {}, TypeError, "expected y beside x, or an iterable of"),
        (batches(), {"validation_split": 0.5}, ValueError, "expected no validation_split with an"),
        (batches(), {"resume": "a"}, ValueError, "expected no resume with an iterable, got 'a'"),
        ([(np.ones((4, 6)), [0] * 4)], {}, ValueError, "expected x with 5 features"),
    ],
)  # fmt: skip
def test_iterables_that_cannot_be(data, options, error, message):
    with pytest.raises(error, match=message):
        make().fit(data, **{"verbose": 0, **options})


class Wrong:
    """Says that it has so many batches."""

    def __init__(self, says):
        self.says = says

    def __len__(self):
        return self.says

    def __iter__(self):
        return iter(batches())


@pytest.mark.parametrize(("says", "found"), [(4, "more"), (6, "5")])
def test_a_length_must_be_so(says, found):
    with pytest.raises(ValueError, match=f"expected {says} batches.*, got {found}"):
        make().fit(Wrong(says), verbose=0)


def test_scales_come_from_no_iterable():
    net = fastnn.Network(5, [fastnn.Dense(3, "softmax")], standardize=True, engine="reference")
    with pytest.raises(ValueError, match="expected a network that was fitted"):
        net.fit(batches(), verbose=0)
    net.fit(*rows(), verbose=0)
    net.fit(batches(), epochs=1, verbose=0)


# Shards.


def folder(path, *cuts):
    x, y = rows()
    edges = [0, *cuts, len(x)]
    for i, (first, last) in enumerate(pairwise(edges)):
        np.save(path / f"x_{i}.npy", x[first:last])
        np.save(path / f"y_{i}.npy", y[first:last])
    return fastnn.Shards(path)


def test_one_shard_is_an_array(engine_name, tmp_path):
    nets = make(engine_name), make(engine_name)
    nets[0].fit(*rows(), batch_size=16, **SETTINGS)
    nets[1].fit(folder(tmp_path), batch_size=16, **SETTINGS)
    assert bits(nets[0]) == bits(nets[1])


def test_shards_in_turn_without_shuffling(engine_name, tmp_path):
    """Cut where a batch ends, they are the array."""
    nets = make(engine_name), make(engine_name)
    options = {**SETTINGS, "batch_size": 16, "shuffle": False, "validation_data": rows()}
    nets[0].fit(*rows(), **options)
    nets[1].fit(folder(tmp_path, 32, 48), **options)
    losses = [net.history.history["loss"] for net in nets]
    assert losses[0] == pytest.approx(losses[1], rel=1e-12)
    assert bits(nets[0]) == bits(nets[1])


def test_every_epoch_has_every_row_once(tmp_path):
    orders, net = [], make()
    real = net._engine

    class Spy:
        def __getattr__(self, name):
            return getattr(real, name)

        def train(self, program, x, places, y, *rest):
            orders.append(x[places].tobytes())
            return real.train(program, x, places, y, *rest)

    net._engine = Spy()
    net.fit(folder(tmp_path, 30, 50), batch_size=16, **SETTINGS)
    assert len(orders) == 9
    seen = [np.frombuffer(b"".join(orders[i : i + 3])) for i in (0, 3, 6)]
    everything = sorted(rows()[0].tolist())
    assert [sorted(one.reshape(-1, 5).tolist()) for one in seen] == [everything] * 3
    assert len({one.tobytes() for one in seen}) == 3
    firsts = {len(orders[i]) for i in (0, 3, 6)}
    assert len(firsts) > 1  # another shard begins
    assert net.trained.steps == 3 * (2 + 2 + 2)


def test_every_shard_has_its_own_order(tmp_path):
    orders, net = [], make()
    real = net._engine

    class Spy:
        def __getattr__(self, name):
            return getattr(real, name)

        def train(self, program, x, places, y, *rest):
            orders.append(places.tolist())
            return real.train(program, x, places, y, *rest)

    net._engine = Spy()
    net.fit(folder(tmp_path, 35), batch_size=35, **SETTINGS)
    assert len(orders) == len({tuple(order) for order in orders}) == 6


def test_shards_are_resumed_at_any_step(tmp_path):
    path, files = tmp_path / "fit", []
    shards = folder(tmp_path, 30, 50)

    class Keep(fastnn.Checkpoint):
        def save(self):
            super().save()
            files.append(path.read_bytes())

    options = {**SETTINGS, "batch_size": 16}
    whole = make("auto")
    expected = whole.fit(shards, callbacks=[Keep(path, 1)], **options).history
    assert len(files) == 18
    for content in list(files):
        path.write_bytes(content)
        net = make("auto")
        callback = fastnn.Checkpoint(tmp_path / "other", 1)
        found = net.fit(shards, callbacks=[callback], resume=path, **options).history
        assert bits(net) == bits(whole)
        assert found["loss"] == expected["loss"]
        assert found["accuracy"] == expected["accuracy"]


def test_scales_of_all_shards(tmp_path, monkeypatch):
    monkeypatch.setattr("fastnn._statistics.ELEMENTS", 7 * 5)  # blocks of rows of two shards
    layers, nets = [fastnn.Dense(3, "softmax")], []
    for data in ((folder(tmp_path, 30, 33),), rows()):
        nets.append(fastnn.Network(5, layers, standardize=True, engine="reference"))
        nets[-1].fit(*data, verbose=0)
    assert nets[0].program.center.tobytes() == nets[1].program.center.tobytes()
    assert nets[0].program.factor.tobytes() == nets[1].program.factor.tobytes()


def test_bad_folders(tmp_path):
    with pytest.raises(ValueError, match=r"expected files such as x_0\.npy and y_0\.npy, got none"):
        fastnn.Shards(tmp_path)
    shards = folder(tmp_path, 30)
    with pytest.raises(ValueError, match="expected no y beside shards"):
        make().fit(shards, rows()[1], verbose=0)
    with pytest.raises(ValueError, match="expected validation_data with shards"):
        make().fit(shards, validation_split=0.5, verbose=0)
    np.save(tmp_path / "x_1.npy", np.ones((3, 5)))
    with pytest.raises(ValueError, match=r"expected x_1\.npy: y with 3 rows, as in x_1\.npy: x"):
        make().fit(shards, verbose=0)
    (tmp_path / "x_1.npy").write_bytes(b"no array")
    with pytest.raises(ValueError, match=r"x_1\.npy: expected an array, got"):
        make().fit(shards, verbose=0)
    (tmp_path / "x_1.npy").unlink()
    with pytest.raises(ValueError, match=r"expected x_1\.npy and y_1\.npy, got one of them"):
        fastnn.Shards(tmp_path)
