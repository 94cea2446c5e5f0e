"""Counter-based random numbers: known answers, and what dropout draws by them."""

import itertools

import numpy as np
import pytest

import fastnn
from fastnn import _random, engine
from fastnn.program import DROPOUT, Builder, prepare


@pytest.mark.parametrize(
    ("counter", "key", "words"),
    [  # of the paper's own implementation, Random123
        ([0, 0, 0, 0], [0, 0], [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
        (
            [0xFFFFFFFF] * 4,
            [0xFFFFFFFF] * 2,
            [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD],
        ),
        (
            [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
            [0xA4093822, 0x299F31D0],
            [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
        ),
    ],
)
def test_philox_by_its_authors(counter, key, words):
    found = _random.philox(np.array(counter, np.uint64), (key[0], key[1]))
    assert found.tolist() == words


def test_words_are_a_function_of_each_number():
    rows = np.arange(4)
    base = _random.words(2**63 + 5, _random.DROP, 2**40 + 3, 2, rows, 200)
    assert base.shape == (4, 200)
    assert base.max() < 2**32
    assert len(np.unique(base)) > 790  # of 800
    again = _random.words(2**63 + 5, _random.DROP, 2**40 + 3, 2, rows[2:], 70)
    assert (again == base[2:, :70]).all()
    for other in (
        _random.words(5, _random.DROP, 2**40 + 3, 2, rows, 200),
        _random.words(2**63 + 5, _random.SHUFFLE, 2**40 + 3, 2, rows, 200),
        _random.words(2**63 + 5, _random.DROP, 2**40 + 4, 2, rows, 200),
        _random.words(2**63 + 5, _random.DROP, 3, 2, rows, 200),
        _random.words(2**63 + 5, _random.DROP, 2**40 + 3, 1, rows, 200),
        _random.words(2**63 + 5, _random.DROP, 2**40 + 3, 2, rows + 4, 200),
    ):
        assert (other == base).sum() < 5


def masks(core, rate, rows, width, update=0, seed=3):
    """What dropout makes of ones, seen through W = 1 and the gradient of its bias' neighbour."""
    builder = Builder(width)
    value = builder.dense(builder.dropout(0, rate), 1, "layers.0")
    program = builder.program([value], 2, "float64", seed=seed)
    prepare(program, 0, 0)
    program.update = update
    found = np.empty((rows, width))
    for row in range(rows):  # the loss is (sum(mask * w) - t)^2: dW / db is the mask
        gradients = np.zeros_like(program.parameters)
        x, t = np.ones((1, width)), np.full((1, 1), -1.0)
        core.gradients(program, x, t, gradients, 1, row)
        found[row] = gradients[:width] / gradients[program.blocks[1, 0]]
    assert program.ops[1, 0] == DROPOUT
    return found


def test_the_engines_drop_what_the_words_say(engine_name):
    core = engine.get(engine_name, "float64")
    for rate, update in ((0.3, 0), (0.75, (7 << 32) + 9)):
        words = _random.words(3, _random.DROP, update, 1, np.arange(9), 131)
        expected = np.where(words >= rate * 2**32, 1 / (1 - rate), 0)
        assert np.abs(masks(core, rate, 9, 131, update) - expected).max() < 1e-15


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_the_share_that_is_dropped(rate):
    words = _random.words(0, _random.DROP, 1, 1, np.arange(500), 400)
    dropped = words < rate * 2**32
    assert abs(dropped.mean() - rate) < 4 * np.sqrt(rate * (1 - rate) / dropped.size)
    for axis in (0, 1):  # no row and no column is favoured
        n = dropped.shape[axis]
        assert np.abs(dropped.mean(axis=axis) - rate).max() < 5.5 * np.sqrt(rate * (1 - rate) / n)
    neighbours = np.corrcoef(dropped[:, :-1].ravel(), dropped[:, 1:].ravel())[0, 1]
    assert abs(neighbours) < 4 / np.sqrt(dropped.size)


def test_every_update_and_epoch_drops_something_else():
    """Of one row and a rate so high that an update changes few weights: those that were kept."""
    net = fastnn.Network(64, [fastnn.Dropout(0.9), fastnn.Dense(1)], seed=1)
    x, y, seen = np.ones((3, 64), "float32"), np.full(3, 7.0, "float32"), []

    def look(net, epoch, logs):
        seen.append(net.layers[1].weights[:, 0].copy())

    seen.append(net.layers[1].weights[:, 0].copy())
    for _ in range(2):
        net.fit(x, y, epochs=3, batch_size=3, optimizer="sgd", callbacks=[look], verbose=0)
    changed = {tuple(np.flatnonzero(b - a)) for a, b in itertools.pairwise(seen)}
    assert len(changed) == 6
