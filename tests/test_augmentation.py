"""Augmentation: images by hand, what is drawn, compiled engines against the reference."""

import dataclasses
import itertools
import re

import numpy as np
import pytest

import fastnn
from fastnn import _random, engine, reference
from fastnn.augmentation import Augment
from fastnn.program import Builder, pairs, zeros_like_parameters

COMPILED = [name for name in engine.available() if name != "reference"]
SHIFT_X, SHIFT_Y, SCALE_X, SCALE_Y, ROTATION, SHEAR, ELASTIC, NOISE, SHAPE = range(9)
FULL = Augment(2, 40, 0.3, 20, (5.3, 36), 2.5)


def program_of(augment, rows, inputs, dtype="float64", **options):
    """One whose gradient dW is h_0 transposed: dz is the identity."""
    builder = Builder(inputs)
    made = builder.program([builder.dense(0, rows, "layers.0")], 2, dtype, **options)
    made.augmentation = augment.numbers() if isinstance(augment, Augment) else augment
    return made


def seen(core, program, x, threads=1, first_row=0):
    """h_0 (B, I) as training sees it."""
    rows, found = len(x), zeros_like_parameters(program)
    t = np.eye(rows, dtype=program.dtype) * (-rows * rows / 2)
    core.gradients(program, x, t, found, threads, first_row)
    ((gradient, _),) = pairs(program, found)
    return gradient.T.copy()


def numbers(height, width, **fixed):
    """An augmentation that draws nothing: each of its numbers has this value."""
    found = np.zeros((9, 2))
    found[[SCALE_X, SCALE_Y, ELASTIC], 0] = 1
    found[SHAPE] = height, width
    for name, value in fixed.items():
        found[globals()[name], 0] = value
    return found


def by_hand(core, image, **fixed):
    """What becomes of an image (height, width)."""
    program = program_of(numbers(*image.shape, **fixed), 1, image.size)
    return seen(core, program, image.reshape(1, -1)).reshape(image.shape)


def digits(rows=40):
    (x, _), _ = fastnn.datasets.load_digits()
    return x[:rows]


# By hand.

IMAGE = np.arange(1.0, 21).reshape(4, 5)


def test_an_image_that_is_shifted(engine_name):
    core = engine.get(engine_name, "float64")
    right, up, half = np.zeros((3, 4, 5))
    right[:, 1:] = IMAGE[:, :-1]
    assert by_hand(core, IMAGE, SHIFT_X=1).tolist() == right.tolist()
    up[:-1] = IMAGE[1:]
    assert by_hand(core, IMAGE, SHIFT_Y=-1).tolist() == up.tolist()
    half[:, 0], half[:, 1:] = IMAGE[:, 0] / 2, (IMAGE[:, 1:] + IMAGE[:, :-1]) / 2
    assert by_hand(core, IMAGE, SHIFT_X=0.5).tolist() == half.tolist()
    for far in (-1e300, -6, 6, 1e9):
        assert not by_hand(core, IMAGE, SHIFT_X=far).any()
        assert not by_hand(core, IMAGE, SHIFT_Y=far).any()


def test_an_image_that_is_turned(engine_name):
    """Counter-clockwise, about its middle; by any angle as NumPy's sine has it."""
    core, image = engine.get(engine_name, "float64"), IMAGE[:, :4]
    for quarters in range(-2, 3):
        found = by_hand(core, image, ROTATION=quarters * np.pi / 2)
        assert np.abs(found - np.rot90(image, quarters)).max() < 1e-13
    image = np.add.outer(3 * np.arange(9.0), np.arange(9.0))  # a slope, of which bilinear is exact
    for angle in np.linspace(-np.pi, np.pi, 97):
        c, s = np.cos(angle), np.sin(angle)
        j, i = np.meshgrid(np.arange(9) - 4, np.arange(9) - 4)
        p, q = c * j - s * i, s * j + c * i
        inside = (np.abs(p) <= 4) & (np.abs(q) <= 4)
        found = by_hand(core, image, ROTATION=angle)
        assert np.abs(found - (3 * (q + 4) + p + 4))[inside].max() < 1e-12


def test_an_image_that_is_scaled_and_sheared(engine_name):
    core, image = engine.get(engine_name, "float64"), np.zeros((5, 5))
    image[2, 1:4] = 1, 2, 3
    wide = by_hand(core, image, SCALE_X=2)
    assert wide.tolist() == [[0] * 5] * 2 + [[1, 1.5, 2, 2.5, 3]] + [[0] * 5] * 2
    assert by_hand(core, image.T, SCALE_Y=2).tolist() == wide.T.tolist()
    assert by_hand(core, image, SCALE_X=0.5).tolist()[2] == [0, 0, 2, 0, 0]
    column = np.zeros((5, 5))
    column[:, 2] = 1  # it leans to the right: what lies above moves there
    found = by_hand(core, column, SHEAR=np.pi / 4)
    assert np.abs(found - np.eye(5)[::-1]).max() < 1e-14


def test_what_is_drawn_at_zero_spread_is_the_image(engine_name):
    core, x = engine.get(engine_name, "float64"), digits(3)
    for fixed in ({}, {"ROTATION": 1e-300}):
        found = [by_hand(core, row.astype("float64").reshape(28, 28), **fixed) for row in x]
        assert np.array_equal(np.reshape(found, (3, 784)), x)
    assert Augment().numbers() is None
    assert Augment(elastic=(4, 0)).numbers() is None
    program = program_of(Augment(shift=1), 3, 784)
    program.augmentation[SHIFT_X:SCALE_X] = 0
    assert np.array_equal(seen(core, program, x), x)


def test_noise_is_added_in_the_units_of_x(engine_name):
    core = engine.get(engine_name, "float64")
    assert by_hand(core, IMAGE, NOISE=0.5).tolist() == (IMAGE + 0.5).tolist()
    program = program_of(numbers(4, 5, NOISE=0.5), 1, 20, input_scale=4.0)
    assert seen(core, program, IMAGE.reshape(1, -1)).tolist() == [(4 * IMAGE + 2).ravel().tolist()]
    program.center, program.factor = np.linspace(-3, 5, 20), np.geomspace(0.1, 20, 20)
    found = seen(core, program, IMAGE.reshape(1, -1))
    expected = (IMAGE.ravel() + 0.5 - program.center) * program.factor
    assert np.abs(found - expected).max() < 1e-14 * np.abs(expected).max()


# What is drawn.


def test_drawn_numbers():
    program = program_of(Augment(shift=1), 1, 784, seed=5)
    found = reference.drawn(program, reference.SPECKS, np.arange(300), 784)
    assert np.abs(found).max() < 1
    assert np.array_equal(found * 2**16 % 2, np.ones_like(found))
    assert abs(found.mean()) < 4 / np.sqrt(3 * found.size)
    assert abs((found**2).mean() - 1 / 3) < 4 * np.sqrt(4 / 45 / found.size)
    for a, b in itertools.pairwise([found[:, :-1], found[:, 1:], found[:, :-64:][:, : 784 - 1]]):
        columns = min(a.shape[1], b.shape[1])
        correlation = np.corrcoef(a[:, :columns].ravel(), b[:, :columns].ravel())[0, 1]
        assert abs(correlation) < 4 / np.sqrt(columns * len(a))
    words = _random.words(5, _random.AUGMENT, 0, reference.SPECKS, np.arange(3), 128)
    low, high = (words % 2**16).astype(np.int16), (words // 2**16).astype(np.int16)
    halves = np.concatenate([low[:, :64], high[:, :64], low[:, 64:], high[:, 64:]], axis=1)
    assert np.array_equal(found[:3, :256], (2.0 * halves + 1) / 2**16)


def test_places_are_uniform():
    """Of a pixel in the middle the shift alone, of others all; and each row has its own."""
    program = program_of(Augment(3, shape=(1, 9)), 1, 9)
    u, v = (place[:, 0, 4] for place in reference.views_of(program, np.arange(4000)))
    for found in (4 - u, -v):
        assert np.abs(found).max() <= 3
        assert abs(found.mean()) < 4 * 3 / np.sqrt(3 * 4000)
        counts, _ = np.histogram(found, bins=8, range=(-3, 3))
        assert np.abs(counts - 500).max() < 4 * np.sqrt(500)
    assert abs(np.corrcoef(u, v)[0, 1]) < 4 / np.sqrt(4000)
    program = program_of(Augment(rotation=20, shape=(1, 9)), 1, 9)
    u, v = (place[:, 0, 8] for place in reference.views_of(program, np.arange(4000)))
    angles = np.degrees(np.arctan2(v, u - 4))
    assert 19.9 < np.abs(angles).max() <= 20
    assert abs(angles.std() - 20 / np.sqrt(3)) < 0.3


def smoothed(sigma, alpha, rows, size, seed):
    """Simard's displacements as they stand in the paper: noise at each pixel, smoothed."""
    edge = int(6 * sigma)
    distance = np.arange(-edge, edge + 1)
    kernel = np.exp(-(distance**2) / (2 * sigma**2))
    kernel /= kernel.sum()
    noise = np.random.default_rng(seed).uniform(-1, 1, (rows, size + 2 * edge, size + 2 * edge))
    for axis in (1, 2):
        noise = np.apply_along_axis(np.convolve, axis, noise, kernel, "valid")
    return alpha * noise


@pytest.mark.parametrize(("sigma", "alpha"), [(1.0, 3.0), (2.7, 20.0), (4.0, 34.0)])
def test_elastic_displacements_are_those_of_the_paper(sigma, alpha):
    """Noise sigma apart gives the variances and correlations of noise at each pixel."""
    size = 16
    program = program_of(Augment(elastic=(sigma, alpha), shape=(size, size)), 1, size * size)
    down = reference.taps(sigma, size)
    covariance = (
        (alpha / (2 * np.pi * sigma)) ** 2 / 3 * np.multiply.outer(down @ down.T, down @ down.T)
    )
    apart = np.subtract.outer(np.arange(size), np.arange(size)) ** 2
    curve = np.exp(-apart / (4 * sigma**2))
    variance = alpha**2 / (12 * np.pi * sigma**2)
    assert np.abs(covariance / variance - np.multiply.outer(curve, curve)).max() < 1e-3
    rows = 400
    ours = reference.displacements(program, np.arange(rows))
    paper = smoothed(sigma, alpha, rows, size, 0)
    for found in (*ours, paper):
        assert abs(found.std() / np.sqrt(variance) - 1) < 0.06
        for step in (1, int(sigma), int(2 * sigma)):
            for a, b in (
                (found[:, step:], found[:, :-step]),
                (found[..., step:], found[..., :-step]),
            ):
                correlation = (a * b).mean() / variance
                assert abs(correlation - np.exp(-(step**2) / (4 * sigma**2))) < 0.1
    assert abs(np.corrcoef(ours[0].ravel(), ours[1].ravel())[0, 1]) < 0.1


def test_rows_updates_epochs_and_seeds_draw_something_else(engine_name):
    core, x = engine.get(engine_name, "float64"), np.repeat(digits(1), 4, axis=0)
    found = []
    for seed, update in ((0, 0), (1, 0), (0, 1), (0, 1 << 32)):
        program = program_of(FULL, 4, 784, seed=seed)
        program.update = update
        found += list(seen(core, program, x))
    assert len({row.tobytes() for row in found}) == 16


def test_a_batch_in_parts_has_the_images_of_the_whole(engine_name):
    core, x = engine.get(engine_name, "float64"), digits(8)
    whole = seen(core, program_of(FULL, 8, 784), x)
    parts = [seen(core, program_of(FULL, 4, 784), x[i : i + 4], first_row=i) for i in (0, 4)]
    assert np.array_equal(np.concatenate(parts), whole)


# Compiled engines against the reference.


def bound(x, dtype, side=28):
    """Of a number's error: steps of at most the range, places with some roundings of 3 sides."""
    return 40 * np.finfo(dtype).eps * 3 * side * (x.max() - min(0, x.min()))


SINGLE = [
    Augment(shift=3),
    Augment(rotation=180),
    Augment(scaling=0.9),
    Augment(shear=60),
    Augment(elastic=(4, 34)),
    Augment(elastic=(1, 3)),
    Augment(elastic=(300, 40000)),
    Augment(noise=3),
    FULL,
]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("augment", SINGLE, ids=str)
def test_engines_agree_with_the_reference(compiled, augment, dtype):
    x = digits()
    expected = seen(reference, program_of(augment, len(x), 784), x)
    assert np.abs(expected - x).max() > (50 if augment.noise == 0 else 2)
    for threads in (1, 2):
        found = seen(compiled(dtype), program_of(augment, len(x), 784, dtype), x, threads)
        assert np.abs(found - expected).max() < bound(x, dtype)


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (300, 1), (3, 5), (17, 16), (40, 33)], ids=str)
def test_images_of_any_shape(compiled, shape):
    augment = dataclasses.replace(FULL, shape=shape, shift=0.5)
    x = np.random.default_rng(0).normal(size=(9, *shape)).reshape(9, -1)
    for threads in (1, 2, 3):
        program = program_of(augment, 9, x.shape[1])
        found = seen(compiled("float64"), program, x, threads)
        assert np.abs(found - seen(reference, program, x)).max() < bound(x, "float64", max(shape))


@pytest.mark.parametrize("kind", ["uint8", "float32", "float64"])
def test_rows_of_any_kind_and_stride(compiled, kind):
    x = digits()
    wide = np.zeros((len(x), 2 * 784 + 3), kind)
    wide[:, 3::2] = x
    for dtype, scaled in itertools.product(("float32", "float64"), (True, False)):
        program = program_of(FULL, len(x), 784, dtype, input_scale=1 / 255 if scaled else 1.0)
        if not scaled:
            program.center, program.factor = np.linspace(-3, 5, 784), np.geomspace(0.001, 0.02, 784)
        found = {
            seen(compiled(dtype), program, rows).tobytes()
            for rows in (wide[:, 3::2], x.astype(kind), np.asfortranarray(x, kind))
        }
        assert len(found) == 1
        expected = seen(reference, program_of(FULL, len(x), 784), x)
        expected = (expected - program.center) * program.factor if not scaled else expected / 255
        error = bound(x, dtype) * (1 / 255 if scaled else program.factor)
        assert np.all(np.abs(np.frombuffer(found.pop(), dtype).reshape(x.shape) - expected) < error)


# Networks.


def network(**options):
    return fastnn.mlp([784, 20, 10], input_scale=1 / 255, **options)


def labelled(rows=300):
    (x, y), _ = fastnn.datasets.load_digits()
    return x[:rows], y[:rows]


def test_only_what_is_learned_from_is_deformed(engine_name):
    x, y = labelled(100)
    net, plain = network(engine=engine_name), network(engine=engine_name)
    settings = {"epochs": 2, "batch_size": 50, "verbose": 0, "validation_data": (x, y)}
    history = net.fit(x, y, augment=FULL, **settings).history
    other = net.copy()
    other.program.augmentation = None
    for call in ("predict", "activations"):
        found, expected = (np.concatenate(getattr(n, call)(x), axis=None) for n in (net, other))
        assert np.array_equal(found, expected)
    assert net.evaluate(x, y) == other.evaluate(x, y)
    assert history["val_loss"][-1] == net.evaluate(x, y)["loss"]
    assert net.gradients(x, y)[0] == other.gradients(x, y)[0]
    plain.fit(x, y, **settings)
    assert plain.program.parameters.tobytes() != net.program.parameters.tobytes()
    net, other = network(engine=engine_name), network(engine=engine_name)
    net.fit(x, y, augment=FULL, **settings)
    for n in (net, other):
        n.program.parameters[:] = plain.program.parameters
        n.trained.epochs = 0
        n.fit(x, y, optimizer=fastnn.SGD(0.1), **settings)  # without: the fit before is over
    assert net.program.parameters.tobytes() == other.program.parameters.tobytes()


def test_nothing_to_do_gives_the_bits_of_no_augmentation(engine_name):
    x, y = labelled(100)
    bits = set()
    for augment in (None, Augment()):
        net = network(engine=engine_name)
        net.fit(x, y, augment=augment, epochs=2, verbose=0)
        bits.add(net.program.parameters.tobytes())
    assert len(bits) == 1


@pytest.mark.parametrize("batch_size", [32, 300])
def test_units_of_a_large_batch(batch_size, monkeypatch, engine_name):
    """Whole batches, and batches in many calls: the same images."""
    from fastnn import training

    x, y = labelled()
    weights = []
    for cost in (training.UNIT_COST, 1):
        monkeypatch.setattr(training, "UNIT_COST", cost)
        net = network(engine=engine_name, dtype="float64")
        net.fit(x, y, augment=FULL, epochs=1, batch_size=batch_size, optimizer="sgd", verbose=0)
        weights.append(net.program.parameters.copy())
    assert np.abs(weights[0] - weights[1]).max() < 1e-13


def test_it_helps():
    x, y = labelled(1000)
    (_, _), test = fastnn.datasets.load_digits()
    found = []
    for augment in (None, Augment(shift=1.5, rotation=12, scaling=0.12, elastic=(5, 30))):
        net = fastnn.mlp([784, 100, 10], input_scale=1 / 255)
        optimizer = fastnn.Adam(fastnn.OneCycle(5e-3))
        net.fit(x, y, epochs=25, augment=augment, optimizer=optimizer, verbose=0)
        found.append(net.evaluate(*test)["accuracy"])
    assert found[1] > found[0] + 0.02


# What is refused.


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shift": -1}, "expected shift from 0 to 28, got -1"),
        ({"shift": 29}, "expected shift from 0 to 28, got 29"),
        ({"rotation": 181}, "expected rotation from 0 to 180, got 181"),
        ({"rotation": float("nan")}, "expected rotation from 0 to 180, got nan"),
        ({"scaling": 1}, "expected scaling in [0, 1), got 1"),
        ({"scaling": -0.1}, "expected scaling in [0, 1), got -0.1"),
        ({"shear": 90}, "expected shear below 90 degrees, got 90"),
        ({"noise": float("inf")}, "expected noise from 0, got inf"),
        ({"elastic": (0.5, 3)}, "expected sigma of at least 1 pixel, got 0.5"),
        ({"elastic": (4, -1)}, "expected alpha from 0, got -1"),
        ({"shape": (0, 784)}, "expected sides from 1 to 4096 in shape, got 0"),
        ({"shape": (1, 4097)}, "expected sides from 1 to 4096 in shape, got 4097"),
    ],
)
def test_numbers_out_of_range(options, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        Augment(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shift": "1"}, "expected shift to be a number, got str '1'"),
        ({"elastic": 4}, "expected elastic (sigma, alpha) as two numbers, got 4"),
        ({"elastic": "ab"}, "expected elastic (sigma, alpha) as two numbers, got 'ab'"),
        ({"shape": 28}, "expected shape (height, width) as two numbers, got 28"),
        ({"shape": (28, 28.0)}, "expected a side of shape to be a whole number, got float 28.0"),
    ],
)
def test_what_is_no_number(options, message):
    with pytest.raises(TypeError, match=f"^{re.escape(message)}$"):
        Augment(**options)


def test_rows_that_are_no_such_images():
    x, y = labelled(10)
    net = network()
    before = net.program.parameters.tobytes()
    with pytest.raises(ValueError, match=r"expected rows of 400 features, images of 20 x 20"):
        net.fit(x, y, augment=Augment(1, shape=(20, 20)), verbose=0)
    with pytest.raises(
        ValueError, match=r"expected x of images 14 x 56, for augment, got \(10, 28"
    ):
        net.fit(x.reshape(-1, 28, 28), y, augment=Augment(1, shape=(14, 56)), verbose=0)
    with pytest.raises(TypeError, match=r"expected augment as fastnn.Augment\(...\), got True"):
        net.fit(x, y, augment=True, verbose=0)
    assert net.program.parameters.tobytes() == before
    net.fit(x.reshape(-1, 1, 28, 28), y, augment=Augment(1), epochs=1, verbose=0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a[:8], "expected augmentation to be float64 (9, 2)"),
        (lambda a: a.astype("float32"), "expected augmentation to be float64 (9, 2)"),
        (
            lambda a: np.where(np.arange(18).reshape(9, 2) == 3, np.nan, a),
            "expected finite numbers",
        ),
        (lambda a: a * (np.arange(9) != SCALE_X)[:, None], "positive scales"),
        (lambda a: a * (np.arange(9) != ELASTIC)[:, None], "expected sigma of at least 1"),
        (lambda a: a + (np.arange(9) == SHAPE)[:, None], "expected images of 784 pixels"),
        (lambda a: a * np.where(np.arange(9) == SHAPE, -1, 1)[:, None], "expected images of 784"),
    ],
)
def test_augmentations_that_no_engine_runs(engine_name, change, message):
    core, x = engine.get(engine_name, "float64"), digits(2)
    program = program_of(change(Augment(1).numbers()), 2, 784)
    with pytest.raises(ValueError, match=re.escape(message)):
        seen(core, program, x)


def test_numbers_beyond_all_sense_do_not_crash(engine_name):
    """Images become 0 where places are infinite or none."""
    core, x = engine.get(engine_name, "float64"), digits(2)
    for row in range(SHEAR + 1):
        program = program_of(numbers(28, 28), 2, 784)
        program.augmentation[row] = 1e308, 0
        if row not in (ROTATION, SHEAR):
            seen(core, program, x)
    program = program_of(Augment(elastic=(1e300, 1e300)), 2, 784)
    assert np.isfinite(seen(core, program, x)).all()
