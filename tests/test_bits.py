"""The same bits: for any number of threads, any split of a prediction, any build that has FMA.

A `digest` holds every bit of what was computed; digests that must agree are compared as they are.
Threads race, so the same is computed several times where threads share work.
"""

import copy
import hashlib
import itertools
import os
import subprocess
import sys

import numpy as np
import pytest

import fastnn
from fastnn import (
    AlphaDropout,
    Blend,
    Dense,
    Embed,
    LayerNorm,
    PReLU,
    Residual,
    Scale,
    engine,
    initializers,
)
from fastnn._random import SHUFFLE, stream
from fastnn.activations import ACTIVATIONS
from fastnn.losses import LOSSES
from fastnn.optimizers import (
    SGD,
    Adadelta,
    Adagrad,
    Adam,
    Adamax,
    AdamW,
    AMSGrad,
    Lion,
    Nadam,
    RMSprop,
    ScheduleFreeAdamW,
)
from fastnn.program import WIDTH, Builder, build, pairs, prepare, views, zeros_like_parameters
from fastnn.training import shuffle

THREADS = (1, 2, 3, 4)
DTYPES = ("float32", "float64")
BASELINE_ERROR = {"float32": 1e-4, "float64": 1e-11}  # relative to the largest number around
OPTIMIZERS = [
    SGD(0.05),
    SGD(0.05, momentum=0.9),
    SGD(0.05, momentum=0.9, nesterov=True),
    Adam(0.01),
    RMSprop(0.01),
    RMSprop(0.01, momentum=0.5),
    RMSprop(0.01, centered=True, momentum=0.5),
    Adagrad(0.05),
    Adadelta(1.0),
    AMSGrad(0.01),
    Adamax(0.01),
    Nadam(0.01),
    Lion(0.001),
    AdamW(0.01, weight_decay=0.5),
    SGD(0.05, weight_decay=0.5),
    SGD(0.05, clipvalue=0.01),
    Adam(0.01, clipnorm=0.05),
    SGD(0.05, momentum=0.5, global_clipnorm=0.1),
    SGD(0.05, gradient_accumulation_steps=3),
    Adam(0.01, gradient_accumulation_steps=2, global_clipnorm=0.1, use_ema=True),
    SGD(0.05, use_ema=True, ema_momentum=0.9),
    ScheduleFreeAdamW(0.01, weight_decay=0.5, warmup_steps=3),
]
FITTING = [
    (output, loss)
    for output, loss in itertools.product(ACTIVATIONS, LOSSES)
    if LOSSES[loss].output in ([output] if loss != "mean_squared_error" else [None])
    or (LOSSES[loss].output is None and output in ("identity", "softplus"))
]
HIDDEN = [
    ["identity", "tanh"],
    ["relu", "sigmoid"],
    ["softmax", "leaky_relu"],
    ["gelu", "gelu"],
    ["elu", "selu"],
    ["gelu_tanh", "silu"],
    ["softplus", "softsign"],
    ["mish", "hard_tanh"],
    ["hard_sigmoid", "tanh"],
    ["exponential", "sigmoid"],
]
AUGMENT = fastnn.Augment(2, 180, 0.3, 30, (1.7, 9), 20, shape=(10, 13))


def hidden_of(output, loss):
    """All hidden layers below three outputs with the losses that most have, two below others."""
    usual = [("softmax", "cross_entropy"), ("sigmoid", "binary_cross_entropy")]
    return HIDDEN if (output, loss) in [*usual, ("identity", "mean_squared_error")] else HIDDEN[:2]


CHUNK = 256  # rows that are summed together, and inputs of one chain: part of the numerics contract

# (sizes, rows): one input, one output, one row; widths round 8, 16 and 32; chains and batches round
# a chunk, with a short rest.
SMALL = [
    ([1, 2], 1),
    ([1, 1, 2], 3),
    ([3, 17, 5], 7),
    ([9, 15, 33, 31], 19),
    ([CHUNK + 1, 7, 2], 65),
    ([5, CHUNK + 3, 3], CHUNK - 1),
    ([33, 65, 9], CHUNK + 1),
]
# The same with enough neurons and work that all of four threads take part (see test_processes.py).
LARGE = [
    ([1, 1501, 2], CHUNK),
    ([787, 131, 3], 33),
    ([40, 129, 130, 131, 7], 65),
    ([50, 70, 301], CHUNK + 1),
    ([131, 257, 129, 11], 2 * CHUNK + 37),
    ([600, 40], CHUNK + 9),
    ([907, 37, 14, 5], 29),  # the last layers are so small that no thread shares them,
    ([700, 17, 14, 231, 6, 8], 61),  # nor the second and the last of these
    ([90, 131, 301], CHUNK + 9),  # the output is so wide that they share its rows
]
ONE_OUTPUT = [([1, 1], 1), ([7, 1], CHUNK + 5), ([163, 530, 1], 329)]


def fuses(core):
    """Whether the engine multiplies and adds with one rounding: s^2 - (1 + 2^-11) = 2^-24."""
    s = 1 + 2.0**-12
    program = build([2, 1], [ACTIVATIONS["identity"]], 2, "float32")
    ((weights, _),) = pairs(program, program.parameters)
    weights[:, 0] = -(1 + 2.0**-11), s
    out = np.empty((1, 1), np.float32)
    core.forward(program, np.array([[1, s]], np.float32), out, 1)
    assert out in (0, 2.0**-24)
    return out == 2.0**-24


COMPILED = [name for name in engine.available() if name != "reference"]
FUSED = [name for name in COMPILED if fuses(engine.get(name))]
ROUNDED_TWICE = [name for name in COMPILED if name not in FUSED]


@pytest.fixture(autouse=True)
def everyone():
    """All threads that are asked for take part, however busy the machine is."""
    yield from teams(patience=True, comes_and_goes=False)


def teams(**mode):
    cores = [engine.get(name, dtype) for name in COMPILED for dtype in DTYPES]
    for core in cores:
        core.team_mode(**mode)
    yield
    for core in cores:
        core.team_mode(patience=False, comes_and_goes=False)


def fused(dtype):
    """The engines that fuse, for this dtype."""
    return [engine.get(name, dtype) for name in FUSED]


def digest(*values):
    """Every bit of arrays and numbers."""
    bits = hashlib.sha256()
    for value in values:
        bits.update(np.ascontiguousarray(value).tobytes())
    return bits.hexdigest()


def subnormal(numbers):
    """Which of the numbers are subnormal."""
    return (numbers != 0) & (np.abs(numbers) < np.finfo(numbers.dtype).tiny)


def make_program(sizes, names, loss, dtype, seed=0):
    """A program whose numbers are all different, and whose outputs are not all saturated."""
    random = np.random.default_rng(seed)
    codes = [ACTIVATIONS[name] for name in names]
    program = build(sizes, codes, LOSSES[loss].code, dtype, 1 / 3, LOSSES[loss].numbers)
    for weights, biases in pairs(program, program.parameters):
        weights[...] = random.normal(size=weights.shape) * np.sqrt(2 / len(weights))
        biases[...] = random.normal(size=biases.shape)
    return program


def make_data(sizes, rows, dtype, x_dtype="float32", labels=True, seed=1):
    """(x, y): labels, or targets that sum to 1."""
    random = np.random.default_rng(seed)
    x = (random.normal(size=(rows, sizes[0])) * 3).astype(x_dtype)
    if x_dtype == "uint8":
        x = random.integers(0, 256, x.shape, np.uint8)
    if labels and sizes[-1] > 1:
        return x, random.integers(0, sizes[-1], rows)
    t = random.random((rows, sizes[-1]))
    return x, (t / t.sum(axis=1, keepdims=True) if sizes[-1] > 1 else t).astype(dtype)


def standardized(program):
    """The program with centres and factors of its columns, all different."""
    inputs = program.inputs
    program.center, program.factor = np.linspace(-3, 5, inputs), np.geomspace(0.001, 0.02, inputs)
    return program


def everything(core, program, x, y, threads):
    """What each call but train gives, as a list of arrays."""
    rows, outputs = len(x), program.outputs
    widths = program.ops[program.layers, WIDTH]
    out = np.empty((rows, outputs), program.dtype)
    core.forward(program, x, out, threads)
    outs = [np.empty((rows, width), program.dtype) for width in widths]
    core.activations(program, x, outs, threads)
    figures = core.evaluate(program, x, y, threads)
    gradients, by_hand = zeros_like_parameters(program), zeros_like_parameters(program)
    loss, _ = core.gradients(program, x, y, gradients, threads)
    d_output = np.cos(np.arange(out.size)).astype(program.dtype).reshape(out.shape)
    d_input = np.empty((rows, widths[0]), program.dtype)
    core.backward(program, x, d_output, by_hand, d_input, threads)
    return [out, *outs, np.array(figures), np.array(loss), gradients, by_hand, d_input]


def trained(core, program, x, y, batch_size, optimizer, threads, factors=None):
    """Weights, state, loss and hits of three rounds over the rows, each with a short last batch."""
    program = copy.deepcopy(program)
    prepare(program, optimizer.code, optimizer.slots, factors)
    steps = -(-len(x) // batch_size)
    sums = []
    for epoch in range(3):
        rows = np.random.default_rng(epoch).permutation(len(x)).astype(np.int32)
        numbers = np.arange(steps) + epoch * steps
        table = optimizer.coefficients(numbers, np.full(steps, optimizer.learning_rate))
        sums += core.train(program, x, rows, y[rows], batch_size, table, threads)
    return [program.parameters, program.state, np.array(sums)]


def agree(compute, dtype):
    """`compute(core, threads)` gives the same bits on any number of threads and every fused build;
    a build that is not fused has its own bits, near those of the others."""
    expected = None
    for core in fused(dtype):
        for threads in THREADS if expected is None else (3,):
            found = compute(core, threads)
            expected = expected or found
            assert digest(*found) == digest(*expected), (core.NAME, threads)
    for core in [engine.get(name, dtype) for name in ROUNDED_TWICE]:
        single = compute(core, 1)
        assert digest(*compute(core, 2)) == digest(*single), core.NAME
        for found, other in zip(single, expected or single, strict=True):
            limit = BASELINE_ERROR[dtype] * max(1, np.abs(other).max(initial=0))
            assert np.abs(found - other).max(initial=0) <= limit


def test_every_activation_is_among_the_hidden_ones():
    assert {name for names in HIDDEN for name in names} == set(ACTIVATIONS)


def test_the_builds_with_the_instruction_fuse():
    assert FUSED[:2] == [name for name in COMPILED if name in ("avx512", "avx2")]


# Every call.


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("sizes", "rows"), SMALL + LARGE, ids=str)
def test_shapes(sizes, rows, dtype):
    hidden = ["tanh", "sigmoid", "relu", "softmax"][: len(sizes) - 2]
    for labels in (True, False):
        program = make_program(sizes, [*hidden, "softmax"], "cross_entropy", dtype)
        x, y = make_data(sizes, rows, dtype, labels=labels)
        agree(lambda core, threads: everything(core, program, x, y, threads), dtype)  # noqa: B023


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("sizes", "rows"), ONE_OUTPUT, ids=str)
def test_one_output(sizes, rows, dtype):
    for output, loss in (("sigmoid", "binary_cross_entropy"), ("identity", "mean_squared_error")):
        program = make_program(sizes, [*["tanh"] * (len(sizes) - 2), output], loss, dtype)
        x, y = make_data(sizes, rows, dtype)
        agree(lambda core, threads: everything(core, program, x, y, threads), dtype)  # noqa: B023


def tamed(program, number, output):
    """The program with smaller weights where its activations may grow without end."""
    if number > 3 or ACTIVATIONS[output].code > 5:
        program.parameters *= program.dtype.type(0.25)
    return program


@pytest.mark.parametrize(("output", "loss"), FITTING)
def test_every_activation_and_loss(output, loss):
    sizes, rows = [37, 131, 133, 12 + LOSSES[loss].per_target % 2], CHUNK + 30
    for (number, hidden), dtype in itertools.product(enumerate(hidden_of(output, loss)), DTYPES):
        program = tamed(make_program(sizes, [*hidden, output], loss, dtype), number, output)
        x, y = make_data([37, program.targets], rows, dtype, labels=number % 2)
        agree(lambda core, threads: everything(core, program, x, y, threads), dtype)  # noqa: B023


@pytest.mark.parametrize("dtype", DTYPES)
def test_wide_logits(dtype):
    """So wide that threads share the rows of the output."""
    for loss in ("cross_entropy_with_logits", "binary_cross_entropy_with_logits"):
        program = make_program([90, 131, 301], ["tanh", "identity"], loss, dtype)
        x, y = make_data([90, 301], CHUNK + 9, dtype)
        agree(lambda core, threads: everything(core, program, x, y, threads), dtype)  # noqa: B023


@pytest.mark.parametrize("x_dtype", ["uint8", "float32", "float64"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_dtype_of_the_data(x_dtype, dtype):
    sizes, rows = [237, 150, 3], 77
    program = make_program(sizes, ["leaky_relu", "softmax"], "cross_entropy", dtype)
    x, y = make_data(sizes, 2 * rows, dtype, x_dtype)
    agree(lambda core, threads: everything(core, program, x[::2], y[:rows], threads), dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_subnormal_numbers(dtype):
    """Every build and every thread flushes them to zero."""
    sizes, rows = [119, 140, 6], 70
    program = make_program(sizes, ["tanh", "identity"], "mean_squared_error", dtype)
    program.parameters *= np.finfo(dtype).tiny
    x, y = make_data(sizes, rows, dtype, dtype)
    x[:, ::3] *= np.finfo(dtype).tiny
    outs = [np.empty((rows, width), dtype) for width in sizes]
    for name, threads in itertools.product(COMPILED, THREADS):
        core = engine.get(name, dtype)
        core.activations(program, x, outs, threads)
        assert not any(subnormal(out).any() for out in outs)
        assert 0.2 < (outs[1] == 0).mean() < 0.9
    agree(lambda core, threads: everything(core, program, x, y, threads), dtype)


@pytest.mark.parametrize("x_dtype", ["uint8", "float32", "float64"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_standardised_columns(x_dtype, dtype):
    sizes, rows = [237, 150, 3], 77
    program = standardized(make_program(sizes, ["tanh", "softmax"], "cross_entropy", dtype))
    x, y = make_data(sizes, 2 * rows, dtype, x_dtype)
    agree(lambda core, threads: everything(core, program, x[::2], y[:rows], threads), dtype)
    agree(lambda core, threads: trained(core, program, x, y, 50, OPTIMIZERS[1], threads), dtype)


# Predictions in pieces.


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("sizes", "names"),
    [
        ([1, 2], ["softmax"]),
        ([13, 1], ["sigmoid"]),
        ([300, 240, 21, 9], ["sigmoid", "tanh", "softmax"]),
        ([35, 515, 133], ["relu", "leaky_relu"]),
    ],
    ids=str,
)
def test_any_split_of_a_prediction(sizes, names, dtype):
    rows = 2 * CHUNK + 91
    program = make_program(sizes, names, "mean_squared_error", dtype)
    x, _ = make_data(sizes, rows, dtype)
    digests = set()
    for core, length in itertools.product(fused(dtype), (1, 2, 5, 31, 97, CHUNK + 1, rows)):
        for threads in THREADS if length > 5 else (1, 2):
            out = np.full((rows, sizes[-1]), np.nan, dtype)
            for first in range(0, rows, length):
                part = slice(first, first + length)
                core.forward(program, x[part], out[part], threads)
            digests.add(digest(out))
    assert len(digests) == bool(FUSED)


@pytest.mark.parametrize("dtype", DTYPES)
def test_threads_share_the_neurons_of_one_row(dtype):
    names = ["relu", "softmax", "tanh", "identity"]
    program = make_program([700, 1201, 300, 19, 5], names, "mean_squared_error", dtype)
    x, _ = make_data([700], 3, dtype)
    digests = set()
    for core, threads in itertools.product(fused(dtype), (1, 2, 3, 4, 7)):
        out = np.full((3, 5), np.nan, dtype)
        assert core.forward(program, x, out, threads)
        digests.add(digest(out))
        for row in range(3):
            out[row] = np.nan
            assert core.forward(program, x[row:][:1], out[row:][:1], threads)
        digests.add(digest(out))
    assert len(digests) == bool(FUSED)


@pytest.mark.parametrize("scale", [1, 1 / 255])
def test_rows_give_the_same_bits_wherever_they_lie(scale):
    x = np.random.default_rng(3).integers(0, 256, (50, 30), np.uint8)
    wide = np.zeros((50, 41), np.float32)
    wide[:, 5:35] = x
    for name in engine.available()[:-1]:
        net = fastnn.mlp([30, 33, 7], hidden="tanh", input_scale=scale, engine=name)
        whole = net.predict(x).tobytes()
        for same in (x.astype("f4"), x.astype("f8", order="F"), wide[:, 5:35], x.astype(">i2")):
            assert net.predict(same).tobytes() == whole


def test_networks_predict_the_same_bits_in_any_split():
    x = np.random.default_rng(3).random((701, 50), np.float32)
    for dtype, name in itertools.product(DTYPES, engine.available()[:-1]):
        net = fastnn.mlp([50, 33, 7], hidden="tanh", dtype=dtype, engine=name)
        whole = net.predict(x).tobytes()
        for num_threads, cuts in itertools.product(
            (1, 4), (range(1, 701), [1, 4, 20, 333], [350], [96, 97, 512])
        ):
            net.num_threads = num_threads
            assert b"".join(net.predict(part).tobytes() for part in np.split(x, cuts)) == whole
            outs = [net.activations(part)[-1] for part in np.split(x, cuts)]
            assert np.concatenate(outs).tobytes() == whole


@pytest.mark.parametrize("outputs", [1, 3, 10, 16, 17, 128, 129])
@pytest.mark.parametrize(("output", "loss"), FITTING)
def test_a_row_is_judged_alike_alone_and_beside_others(output, loss, outputs):
    """Rows of a narrow output stand side by side in the engine, where there are enough."""
    per_target = LOSSES[loss].per_target
    if (output == "softmax" and outputs == 1) or outputs % per_target:
        return
    rng = np.random.default_rng(outputs)
    x, t = rng.normal(size=(41, 6)), rng.random((41, outputs // per_target))
    t /= t.sum(axis=1, keepdims=True)
    for dtype, name in itertools.product(DTYPES, engine.available()[:-1]):
        module = engine.get(name, dtype)
        program = build(
            [6, 5, outputs],
            [ACTIVATIONS["tanh"], ACTIVATIONS[output]],
            LOSSES[loss].code,
            dtype,
            loss_numbers=LOSSES[loss].numbers,
        )
        program.parameters[:-64] = rng.normal(size=len(program.parameters) - 64)
        targets = [t.astype(dtype)]
        if outputs > per_target:
            targets.append(rng.integers(0, outputs // per_target, 41))
        for y in targets:
            single = [module.evaluate(program, x[r : r + 1], y[r : r + 1], 1) for r in range(41)]
            losses, agreeing = zip(*single, strict=True)
            assert module.evaluate(program, x, y, 1) == (sum(losses), sum(agreeing))


def test_many_rows_of_wide_networks_predict_the_same_bits():
    """They go by a copy of the weights, which may change between two calls."""
    x = np.random.default_rng(3).random((577, 300), np.float32)
    y = np.arange(577) % 77
    for dtype, name in itertools.product(DTYPES, engine.available()[:-1]):
        net = fastnn.mlp([300, 900, 77], hidden="tanh", dtype=dtype, engine=name)
        kept, losses = net.layers[0].weights, set()
        for change, num_threads in itertools.product((0, 1), (1, 2, 4)):
            kept[7, 5] += change
            net.num_threads = num_threads
            parts = [net.predict(part) for part in np.split(x, [1, 100, 400])]
            assert net.predict(x).tobytes() == np.concatenate(parts).tobytes()
            loss = net.evaluate(x, y)["loss"]
            whole = np.concatenate(parts)[np.arange(577), y].astype(np.float64)
            assert np.isclose(loss, -np.log(whole).mean(), rtol=1e-5)
            losses.add(loss)
        assert len(losses) == 4


def test_products_of_colliding_rows_give_the_same_bits():
    """Of x.T @ dz: rows of x that are multiples of 4 KB apart are copied."""
    rng = np.random.default_rng(3)
    for dtype in DTYPES:
        x = rng.standard_normal((300, 1024)).astype(dtype)
        dz = rng.standard_normal((300, 520)).astype(dtype)
        for core, threads in itertools.product(fused(dtype), (1, 3)):
            out, other = np.empty((1024, 520), dtype), np.empty((1001, 520), dtype)
            core.product_tn(x, dz, out, threads)
            core.product_tn(np.ascontiguousarray(x[:, 23:]), dz, other, threads)
            assert out[23:].tobytes() == other.tobytes()


# Training.


TRAINED = [
    ([1, 1, 2], 11, 1),
    ([7, 9, 3], 50, 3),
    ([CHUNK + 2, 33, 5], 100, 33),
    ([9, 1, 15], 2 * CHUNK + 1, 5 * CHUNK),
    ([119, 134, 3], 700, CHUNK),
    ([119, 134, 3], 900, CHUNK + 61),  # last batch: fewer rows than a chunk
    ([11, 1530, 2], 70, 32),
    ([70, 129, 301], 75, 31),
    ([131, 257, 129, 11], 300, 96),
    ([907, 37, 14, 5], 100, 29),
    ([700, 17, 14, 231, 6, 8], 130, 61),
]


def thinned(cases, *values):
    """Every case of the first four optimizers, and of others every third: each time other ones."""
    product = list(enumerate(itertools.product(cases, *values)))
    return [
        (optimizer, *case)
        for number, optimizer in enumerate(OPTIMIZERS)
        for place, case in product
        if number < 4 or (number + place) % 3 == 0
    ]


@pytest.mark.parametrize(("optimizer", "shape", "dtype"), thinned(TRAINED, DTYPES), ids=str)
def test_every_optimizer(optimizer, shape, dtype):
    sizes, rows, batch_size = shape
    names = ["tanh", "relu", "softmax", "sigmoid"][: len(sizes) - 2]
    program = make_program(sizes, [*names, "softmax"], "cross_entropy", dtype)
    x, y = make_data(sizes, rows, dtype)

    def compute(core, threads):
        return trained(core, program, x, y, batch_size, optimizer, threads)

    agree(compute, dtype)


@pytest.mark.parametrize("optimizer", OPTIMIZERS[:2], ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("sizes", "rows", "batch_size"),
    [
        ([7, 9, 3], 50, 4),
        ([50, 129, 130, 7], 300, 64),
        ([119, 134, 3], 900, CHUNK + 61),
        ([700, 17, 14, 231, 6, 8], 2 * CHUNK + 2, 2 * CHUNK),
        ([90, 131, 301], 3 * CHUNK, 3 * CHUNK),
    ],
    ids=str,
)
def test_batches_that_are_normalised(sizes, rows, batch_size, dtype, optimizer):
    """Columns of every layer, the input's too; the output is so wide that its rows are shared."""
    builder, value = Builder(sizes[0]), 0
    for number, units in enumerate(sizes[1:]):
        value = builder.column_norm(value, 0.2, 0.1, f"layers.n{number}")
        value = builder.scale(value, f"layers.s{number}", shift=True)
        value = builder.activate(value, ACTIVATIONS["tanh"])
        # before a norm a bias has no gradient but what is rounded, and Adam makes steps of that
        value = builder.dense(value, units, f"layers.{number}", number == len(sizes) - 2)
    value = builder.activate(value, ACTIVATIONS["softmax"])
    program = builder.program([value], LOSSES["cross_entropy"].code, dtype)
    for block in views(program, program.parameters).values():
        block[...] = np.random.default_rng(2).uniform(-0.5, 1, block.shape) / np.sqrt(len(block))
    program.parameters[...] = np.abs(program.parameters)
    x, y = make_data(sizes, rows, dtype)

    def compute(core, threads):
        return trained(core, program, x, y, batch_size, optimizer, threads)

    agree(compute, dtype)
    agree(lambda core, threads: everything(core, program, x, y, threads), dtype)


@pytest.mark.parametrize("optimizer", [OPTIMIZERS[0], OPTIMIZERS[3], OPTIMIZERS[17]], ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("sizes", "rows", "batch_size"),
    [
        ([7, 9, 3], 50, 3),
        ([119, 134, 3], 700, CHUNK + 61),
        ([70, 129, 601], 75, 31),
        ([907, 37, 14, 5], 100, 29),
    ],
)
def test_penalties_and_groups(sizes, rows, batch_size, dtype, optimizer):
    names = ["tanh", "relu", "sigmoid"][: len(sizes) - 2]
    program = make_program(sizes, [*names, "softmax"], "cross_entropy", dtype)
    blocks = len(program.names)
    program.penalties = np.tile([[1e-3, 2e-3, 1.5], [0, 0, 0]], (blocks // 2, 1))
    program.penalties[-2] = 0, 1e-3, 0
    factors = 1 + np.arange(3 * blocks).reshape(blocks, 3) / 8
    x, y = make_data(sizes, rows, dtype)

    def compute(core, threads):
        return [
            *trained(core, program, x, y, batch_size, optimizer, threads, factors),
            *everything(core, program, x, y, threads),
        ]

    agree(compute, dtype)


@pytest.mark.parametrize(("output", "loss"), FITTING)
def test_every_activation_and_loss_in_training(output, loss):
    sizes, rows = [112, 135, 130, 6], 81
    for (number, hidden), dtype in itertools.product(enumerate(hidden_of(output, loss)), DTYPES):
        program = tamed(make_program(sizes, [*hidden, output], loss, dtype), number, output)
        x, y = make_data([112, program.targets], rows, dtype, labels=number % 2)
        optimizer = OPTIMIZERS[-number % len(OPTIMIZERS)]

        def compute(core, threads):
            return trained(core, program, x, y, 50, optimizer, threads)  # noqa: B023

        agree(compute, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("sizes", "rows"),
    [
        ([1040, 1100, 9], 130),  # sixteen pieces each,
        ([600, 1030, 520, 70], 97),  # or eight, sixteen, eight
        ([2100, 300, 5000, 65], 41),  # pieces of two chunks would be too long: 32 of them
    ],
    ids=str,
)
def test_up_to_sixteen_threads(sizes, rows, dtype):
    """Any number of threads, that of a layer's pieces or not."""
    program = make_program(sizes, ["relu"] * (len(sizes) - 2) + ["softmax"], "cross_entropy", dtype)
    x, y = make_data(sizes, rows, dtype)
    core = engine.get(COMPILED[0], dtype)
    digests = {
        digest(*trained(core, program, x, y, 64, OPTIMIZERS[1], threads))
        for threads in range(1, 17)
    }
    assert len(digests) == 1


@pytest.mark.parametrize("optimizer", [OPTIMIZERS[0], OPTIMIZERS[3]], ids=str)
@pytest.mark.parametrize("sizes", [[24, 160, 130, 8], [900, 16, 16, 8]], ids=str)
def test_many_small_steps_never_race(sizes, optimizer):
    """Threads meet several times in each of a thousand steps; one missing meeting is seen."""
    rows = 8000
    program = make_program(sizes, ["relu", "tanh", "softmax"], "cross_entropy", "float32")
    x, y = make_data(sizes, rows, "float32")
    core = engine.get(COMPILED[0])
    expected = digest(*trained(core, program, x, y, 40, optimizer, 1))
    for threads in (2, 4):
        assert digest(*trained(core, program, x, y, 40, optimizer, threads)) == expected


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("sizes", "rows"), LARGE, ids=str)
def test_four_threads_take_part(sizes, rows, dtype):
    """Where more threads would not pay, fewer are taken than asked for; not in these."""
    names = ["tanh"] * (len(sizes) - 2) + ["softmax"]
    program = make_program(sizes, names, "cross_entropy", dtype)
    x, y = make_data(sizes, rows, dtype)
    for core in fused(dtype):
        trained(core, program, x, y, rows, OPTIMIZERS[0], 4)
        assert core.threads_of_latest() == 4


LONGER = [
    ([131, 257, 129, 11], 900, 64),
    ([907, 37, 14, 5], 400, 29),
    ([90, 131, 301], 1100, CHUNK + 9),
    ([1040, 1100, 9], 700, 50),
]


def longer():
    """The cases; those of the widest network are slow."""
    for optimizer, shape in thinned(LONGER):
        slow = shape == LONGER[-1] and optimizer is not OPTIMIZERS[0]
        yield pytest.param(optimizer, shape, marks=[pytest.mark.slow] * slow)


@pytest.mark.parametrize(("optimizer", "shape"), list(longer()), ids=str)
def test_threads_come_and_go_within_a_fit(optimizer, shape):
    """One thread, two, three, ..., one again: each goes on from what others did."""
    sizes, rows, batch_size = shape
    names = ["tanh"] * (len(sizes) - 2) + ["softmax"]
    program = make_program(sizes, names, "cross_entropy", "float32")
    x, y = make_data(sizes, rows, "float32")
    for core in fused("float32"):
        expected = digest(*trained(core, program, x, y, batch_size, optimizer, 1))
        for patience in (True, False):  # all of so many threads, or whoever is there
            core.team_mode(patience, comes_and_goes=True)
            for threads in (2, 3, 4, 16):
                found = trained(core, program, x, y, batch_size, optimizer, threads)
                assert digest(*found) == expected, (core.NAME, threads)


# (inputs, layers before the output, rows of a batch): parameters of columns that every thread
# reads whole, or its own of; the first is read before the threads of a step have met.
LAYERED = [
    (20, [Residual(LayerNorm(), Dense(20, "relu", use_bias=False), PReLU()), Dense(400)], 20),
    (150, [Blend("gelu"), LayerNorm(), Dense(400, "tanh"), Dense(4), Scale()], 64),
    (150, [Dense(150, use_bias=False), PReLU(), AlphaDropout(0.2), Residual(Dense(150))], 64),
    (40, [Embed({0: (3, 4), 7: (900, 16)}), Dense(300, "tanh"), Dense(5)], 50),
    (40, [Dense(130), LayerNorm(), Blend("tanh"), Dense(131), PReLU()], CHUNK + 9),
]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("inputs", "layers", "batch_size"), LAYERED, ids=str)
def test_layers_along_rows_and_columns(inputs, layers, batch_size, dtype):
    x, y = make_data([inputs, 3], 1100, dtype)

    def compute(core, threads):
        net = fastnn.Network(
            inputs, [*layers, Dense(3, "softmax")], dtype=dtype, seed=3, engine=core.NAME,
            num_threads=threads,
        )  # fmt: skip
        net.fit(x, y, epochs=2, batch_size=batch_size, optimizer=SGD(0.05), verbose=0)
        single = net.predict(x[-1:])
        gradients = [g for one in net.gradients(x, y)[1] for g in one]
        return [net.program.parameters, net.predict(x), single, *gradients]

    agree(compute, dtype)


# Networks: the initial weights, the order of rows, schedules, history.


def fitted(core, threads, dtype, optimizer, **options):
    """A network after fit, and its history: a list of arrays."""
    raw = np.random.Philox(5).random_raw(6000)  # the same in every version of NumPy
    x, y = raw[:5460].view(np.uint8).reshape(336, 130), (raw[-336:] % 4).astype(np.int64)
    net = fastnn.mlp(
        [130, 137, 129, 4], hidden="tanh", input_scale=1 / 255, dtype=dtype, seed=11,
        engine=core.NAME, num_threads=threads,
    )  # fmt: skip
    logs = net.fit(
        x, y, epochs=2, batch_size=50, optimizer=optimizer, validation_data=(x[:101], y[:101]),
        verbose=0, **options,
    ).history  # fmt: skip
    del logs["seconds"]
    history = np.array([*logs.values()])
    gradients = [array for pair in net.gradients(x, y)[1] for array in pair]
    return [net.program.parameters, net.program.state, history, net.predict(x), *gradients]


@pytest.mark.parametrize(
    ("number", "optimizer", "options"),
    [
        *((number, optimizer, {}) for number, optimizer in enumerate(OPTIMIZERS)),
        (0, SGD(fastnn.Cosine(0.1), momentum=0.5), {}),
        (1, Adam(fastnn.OneCycle(0.1)), {}),
        (0, OPTIMIZERS[0], {"augment": AUGMENT}),
        (1, OPTIMIZERS[3], {"augment": AUGMENT}),
    ],
    ids=str,
)
def test_fit_and_its_history(number, optimizer, options):
    dtype = DTYPES[number % 2]
    agree(lambda core, threads: fitted(core, threads, dtype, optimizer, **options), dtype)


def test_the_order_of_rows_is_the_same_on_every_engine():
    for rows in (1, 2, 101, 10_007):
        orders = {}
        for name in engine.available():
            order = np.arange(rows, dtype=np.int32)
            for epoch in range(3):
                shuffle(engine.get(name), order, stream(2**63 + 5, SHUFFLE, epoch))
                assert np.bincount(order, minlength=rows).tolist() == [1] * rows
                orders.setdefault(epoch, set()).add(order.tobytes())
        assert all(len(bits) == 1 for bits in orders.values())
        assert rows < 100 or len(set.union(*orders.values())) == 3


# From commit to commit, and on CPUs with fewer instructions.


def what_numpy_computes():
    """Bits that depend on the initial weights, the rates and the optimizers' coefficients."""
    bits = [
        digest(initializers.weights(name, (31, 17), 0, 1)) for name in initializers.INITIALIZERS
    ]
    for rate, optimizer in itertools.product(
        (fastnn.Cosine(0.1), fastnn.OneCycle(0.1)), OPTIMIZERS
    ):
        rates = rate.rates(0, 1001, 2000)
        bits.append(digest(optimizer.coefficients(np.arange(1001), rates)))
    return [
        *bits,
        digest(*fitted(engine.get(COMPILED[0]), 2, "float64", Adam(fastnn.OneCycle(0.1)))),
    ]


def test_numpy_with_fewer_instructions_gives_the_same_bits():
    """NumPy's own vector code differs between CPUs; nothing that is computed with it may."""
    found = np.show_config(mode="dicts")["SIMD Extensions"].get("found", [])
    environment = {
        **os.environ,
        "NPY_DISABLE_CPU_FEATURES": " ".join(found),
        "PYTHONPATH": os.pathsep.join([os.path.dirname(__file__), *sys.path]),
    }
    code = "import test_bits; print(*test_bits.what_numpy_computes())"
    run = subprocess.run(
        [sys.executable, "-P", "-c", code],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert run.stdout.split() == what_numpy_computes(), run.stderr


GOLDEN = {
    "float32": "9676212d6b40fab2cd1e8e66e2db90b6a46ed29665e250021c6cad1b62a1bed9",
    "float64": "578433fe5bbd4dce2f7cbeef04e5f373b18b99777e00042a68a677b0b1bcd08a",
}


@pytest.mark.parametrize("dtype", DTYPES)
def test_bits_stay_from_commit_to_commit(dtype):
    for core in fused(dtype):
        found = digest(*fitted(core, 2, dtype, OPTIMIZERS[3]))
        assert found == GOLDEN[dtype], (
            f"{core.NAME}: a training in {dtype} ends with other bits than it did at earlier "
            f"commits. If the numerics were changed on purpose, put {found!r} in GOLDEN and say so "
            f"in CHANGELOG.md: seeds give other networks from now on. If not, this is a bug."
        )
