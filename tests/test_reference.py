"""The reference engine against numbers worked by hand."""

import math

import numpy as np
import pytest

from fastnn import ELU, LeakyReLU, activations, losses, reference
from fastnn.activations import ACTIVATIONS
from fastnn.program import (
    EPSILON,
    RATE,
    WIDTH_OF_ROW,
    A,
    B,
    C,
    D,
    E,
    build,
    pairs,
    prepare,
    zeros_like_parameters,
)


def one_unit(activation="identity", loss=2, weight=2.0, bias=-1.0):
    """z = weight * x + bias, one input and one output."""
    program = build([1, 1], [activations.get(activation)], loss, "float64")
    (weights, biases), *_ = pairs(program, program.parameters)
    weights[...], biases[...] = weight, bias
    return program


def forward(program, x):
    out = np.empty((len(x), 1))
    reference.forward(program, np.array(x)[:, None], out, 1)
    return out[:, 0].tolist()


@pytest.mark.parametrize(
    ("activation", "expected"),
    [
        ("identity", [-3, 1]),
        ("sigmoid", [1 / (1 + math.e**3), 1 / (1 + 1 / math.e)]),
        ("tanh", [math.tanh(-3), math.tanh(1)]),
        ("relu", [0, 1]),
        (LeakyReLU(0.1), [-0.3, 1]),
        ("gelu", [-0.00404969409489031, 0.841344746068543]),
        (ELU(0.5), [(math.e**-3 - 1) / 2, 1]),
        ("selu", [1.0507009873554805 * 1.6732632423543772 * (math.e**-3 - 1), 1.0507009873554805]),
        ("gelu_tanh", [-0.00363739208, 0.841191990608]),
        ("silu", [-3 / (1 + math.e**3), 1 / (1 + 1 / math.e)]),
        ("softplus", [math.log(1 + math.e**-3), math.log(1 + math.e)]),
        ("softsign", [-3 / 4, 1 / 2]),
        ("mish", [-0.145647461276, 0.865098388268]),
        ("exponential", [math.e**-3, math.e]),
        ("hard_sigmoid", [0, 2 / 3]),
        ("hard_tanh", [-1, 1]),
    ],
)
def test_activations_of_minus_three_and_one(activation, expected):
    assert forward(one_unit(activation), [-1.0, 1.0]) == pytest.approx(expected)


def test_softmax_of_logs():
    z = np.log([[1.0, 2.0, 5.0]]) + 1000  # shifting all z by the same number changes nothing
    assert reference.softmax(z)[0] == pytest.approx([1 / 8, 2 / 8, 5 / 8])


def test_extreme_z_neither_overflow_nor_warn():
    z = np.array([[-1e4, 0.0, 1e4]])
    assert reference.sigmoid(z).tolist() == [[0, 0.5, 1]]
    assert reference.softmax(z).tolist() == [[0, 0, 1]]
    t = np.array([[1.0, 0.0, 0.0]])
    assert reference.cross_entropy(z, None, t).tolist() == [2e4]
    assert reference.binary_cross_entropy(z, None, t) == pytest.approx((2e4 + math.log(2)) / 3)


def test_losses():
    h = np.array([[0.25, 0.75]])
    t = np.array([[1.0, 0.0]])
    logits = np.log(h / (1 - h))
    assert reference.cross_entropy(np.log(h), h, t)[0] == pytest.approx(math.log(4))
    assert reference.binary_cross_entropy(logits, h, t)[0] == pytest.approx(math.log(4))
    assert reference.mean_squared_error(None, h, t)[0] == pytest.approx(0.75**2)


LN3, LN4 = math.log(3), math.log(4)


@pytest.mark.parametrize(
    ("loss", "z", "t", "loss_of_row", "d"),
    [
        (losses.get("mean_absolute_error"), [1, -1], [3, -2], 1.5, [-0.5, 0.5]),
        (losses.Huber(1), [1, -1], [4, -1.5], 2.5 / 2 + 0.125 / 2, [-0.5, 0.25]),
        (losses.get("log_cosh"), [1, 0], [1, 0], 0, [0, 0]),
        (losses.get("log_cosh"), [1e3, 0], [0, 0], 500 - math.log(2) / 2, [0.5, 0]),
        (losses.Quantile(0.25, 0.5), [1, 3], [2], (0.25 + 0.5) / 2, [-0.125, 0.25]),
        (losses.Quantile(0.25, 0.5), [1, 2], [2], 0.25 / 2, [-0.125, 0]),
        (losses.get("poisson"), [0, LN3], [2, 3], (1 + 3 - 3 * LN3) / 2, [-0.5, 0]),
        (losses.get("hinge"), [0.5, -2], [1, 0], 0.25, [-0.5, 0]),
        (losses.get("hinge"), [0.5, -2], [0, 1], (1.5 + 3) / 2, [0.5, -0.5]),
        # p = 3/4: the loss of t = 1 is a (1 - p)^2 log(4/3), its d a (1 - p)^2 (2 p log p - 1 + p)
        (
            losses.Focal(2, 0.5),
            [LN3],
            [1],
            math.log(4 / 3) / 32,
            [(1.5 * math.log(3 / 4) - 0.25) / 32],
        ),
        (losses.Focal(2, 0.5), [LN3], [0], 9 / 32 * LN4, [9 / 32 * (0.5 * LN4 + 0.75)]),
        (losses.get("gaussian"), [1, LN3], [4], (LN3 + 9 / 3) / 2, [-1, -1]),
        (losses.CrossEntropy(0.5), [LN3, 0], [1, 0], LN4 - 0.75 * LN3, [0, 0]),
        (losses.CrossEntropy(0.5, True), [LN3, 0], [0, 1], LN4 - 0.25 * LN3, [0.5, -0.5]),
        (losses.BinaryCrossEntropy(2), [LN3], [1], 2 * math.log(4 / 3), [-0.5]),
        (losses.BinaryCrossEntropy([1, 2], True), [LN3, 0], [0, 1], LN4, [3 / 8, -0.5]),
    ],
    ids=str,
)
def test_losses_and_their_gradients(loss, z, t, loss_of_row, d):
    """By hand, of one row; d is dz where the loss cancels the derivative of the output."""
    z, t = np.array([z], float), np.array([t], float)
    output = ACTIVATIONS[loss.output or "identity"]
    program = build([1, z.shape[1]], [output], loss.code, "float64", 1.0, loss.numbers)
    h = np.empty_like(z)
    pairs(program, program.parameters)[0][1][...] = z
    reference.forward(program, np.zeros((1, 1)), h, 1)
    losses_of_rows, gradient = reference.losses_and_errors(program, z, h, t)
    assert losses_of_rows.tolist() == pytest.approx([loss_of_row])
    assert gradient[0].tolist() == pytest.approx(d)


def test_labels_mean_one_hot_targets():
    program = build([1, 3], [ACTIVATIONS["identity"]], 2, "float64")
    assert reference.targets(program, np.array([2, 0])).tolist() == [[0, 0, 1], [1, 0, 0]]


def test_evaluate_sums_losses_and_counts_agreeing_rows():
    program = one_unit()
    x, y = np.array([[1.0], [0.0]]), np.array([[3.0], [1.0]])
    # h = 1, -1: losses (1 - 3)^2 and (-1 - 1)^2; h > 0.5 agrees in the first row
    assert reference.evaluate(program, x, y, 1) == (8.0, 1)


def test_several_targets_of_a_row_are_each_met_or_not():
    program = build([1, 3], [ACTIVATIONS["sigmoid"]], reference.BINARY_CROSS_ENTROPY, "float64")
    h = np.array([[0.9, 0.8, 0.1], [0.2, 0.7, 0.3]])
    t = np.array([[1.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    assert reference.agreeing(program, h, t).sum() == 4  # all three, and the first
    assert reference.agreeing(program, h, np.array([0, 1])).sum() == 2  # rows whose winner is right
    program.loss = reference.MEAN_SQUARED_ERROR
    assert reference.agreeing(program, h, t).sum() == 1


def test_gradients_of_one_unit():
    program = one_unit()
    arena = zeros_like_parameters(program)
    x, y = np.array([[1.0], [3.0]]), np.array([[0.0], [1.0]])
    # h - t = 1, 4; mean of 2 (h - t) x = (2 + 24) / 2, mean of 2 (h - t) = (2 + 8) / 2
    # h > 0.5 agrees with t > 0.5 in the second row
    assert reference.gradients(program, x, y, arena, 1) == (17.0, 1)
    (weights, biases), *_ = pairs(program, arena)
    assert (weights.item(), biases.item()) == (13.0, 5.0)


def row(numbers):
    """A row (1, n) of these numbers, by column."""
    found = np.zeros((1, WIDTH_OF_ROW))
    found[:, list(numbers)] = list(numbers.values())
    return found


def train(program, optimizer, slots, numbers):
    """Two steps on x = 1, t = 0, one row each; returns the weight after each."""
    prepare(program, optimizer, slots)
    weights = []
    for _ in range(2):
        rows, t = np.zeros(1, np.int32), np.zeros((1, 1))
        reference.train(program, np.ones((1, 1)), rows, t, 1, row(numbers), 1)
        weights.append(program.parameters[0])
    return weights


def test_two_steps_of_sgd():
    # h = w + b, g = 2 h for both: w = 2, b = -1 -> g = 2 -> w = 1.8, b = -1.2 -> g = 1.2
    weights = train(one_unit(), reference.SGD, 0, {RATE: 0.1})
    assert weights == pytest.approx([1.8, 1.68])


def test_two_steps_of_momentum():
    # v = -0.2, then v = 0.5 * -0.2 - 0.1 * 1.2 = -0.22
    weights = train(one_unit(), reference.MOMENTUM, 1, {RATE: 0.1, A: 0.5})
    assert weights == pytest.approx([1.8, 1.58])


def test_two_steps_of_nesterov():
    # v = -0.2, w += 0.5 v - 0.2 -> w = 1.7, b = -1.3, g = 0.8; v = -0.18, w += 0.5 v - 0.08
    weights = train(one_unit(), reference.NESTEROV, 1, {RATE: 0.1, A: 0.5})
    assert weights == pytest.approx([1.7, 1.53])


def test_the_first_step_of_adam_is_the_rate():
    # m / (1 - b1) = g, v / (1 - b2) = g^2: w -= rate * g / (|g| + eps)
    corrections = {RATE: 0.1 / (1 - 0.9), A: 1 / math.sqrt(1 - 0.99)}
    numbers = {**corrections, B: 1 - 0.9, C: 1 - 0.99, EPSILON: 1e-8}
    program = one_unit()
    weights = train(program, reference.ADAM, 2, numbers)
    assert weights[0] == pytest.approx(1.9)
    # the second gradient is 2 (1.9 - 1.1) = 1.6
    m, v = 0.9 * 0.1 * 2 + 0.1 * 1.6, 0.99 * 0.01 * 4 + 0.01 * 1.6**2
    assert program.state[:, 0] == pytest.approx([m, v])
    assert weights[1] == pytest.approx(1.9 - 1.0 * m / (math.sqrt(v) * 10 + 1e-8))


# x = 1, w = 2, b = -1, g = 2 h: the first gradient is 2; v = 0.1 * 4 where C = 0.1


def test_two_steps_of_rmsprop():
    weights = train(one_unit(), reference.RMSPROP, 1, {RATE: 0.1, C: 0.1, EPSILON: 0.01})
    first = 0.1 * 2 / math.sqrt(0.4 + 0.01)
    assert weights[0] == pytest.approx(2 - first)
    g = 2 * (1 - 2 * first)
    assert weights[1] == pytest.approx(weights[0] - 0.1 * g / math.sqrt(0.36 + 0.1 * g * g + 0.01))


def test_two_steps_of_rmsprop_with_momentum():
    numbers = {RATE: 0.1, A: 0.5, C: 0.1, EPSILON: 0.01}
    weights = train(one_unit(), reference.RMSPROP_MOMENTUM, 2, numbers)
    first = 0.1 * 2 / math.sqrt(0.4 + 0.01)
    g = 2 * (1 - 2 * first)
    second = 0.5 * first + 0.1 * g / math.sqrt(0.36 + 0.1 * g * g + 0.01)
    assert weights == pytest.approx([2 - first, 2 - first - second])


def test_two_steps_of_centered_rmsprop():
    numbers = {RATE: 0.1, A: 0.5, C: 0.1, EPSILON: 0.01}
    weights = train(one_unit(), reference.RMSPROP_CENTERED, 3, numbers)
    first = 0.1 * 2 / math.sqrt(0.4 - 0.2**2 + 0.01)
    g = 2 * (1 - 2 * first)
    variance = 0.36 + 0.1 * g * g - (0.18 + 0.1 * g) ** 2
    second = 0.5 * first + 0.1 * g / math.sqrt(variance + 0.01)
    assert weights == pytest.approx([2 - first, 2 - first - second])


def test_two_steps_of_adagrad():
    weights = train(one_unit(), reference.ADAGRAD, 1, {RATE: 0.1, A: 0.5, EPSILON: 0.01})
    first = 0.1 * 2 / math.sqrt(0.5 + 4 + 0.01)
    g = 2 * (1 - 2 * first)
    second = 0.1 * g / math.sqrt(0.5 + 4 + g * g + 0.01)
    assert weights == pytest.approx([2 - first, 2 - first - second])


def test_two_steps_of_adadelta():
    weights = train(one_unit(), reference.ADADELTA, 2, {RATE: 1.0, C: 0.1, EPSILON: 0.01})
    first = math.sqrt(0.01) * 2 / math.sqrt(0.4 + 0.01)
    g, d = 2 * (1 - 2 * first), 0.1 * first**2
    second = math.sqrt(d + 0.01) * g / math.sqrt(0.36 + 0.1 * g * g + 0.01)
    assert weights == pytest.approx([2 - first, 2 - first - second])


def test_two_steps_of_adamax():
    weights = train(one_unit(), reference.ADAMAX, 2, {RATE: 0.1, B: 0.1, C: 0.5, EPSILON: 0.01})
    first = 0.1 * 0.2 / (2 + 0.01)
    g = 2 * (1 - 2 * first)
    second = 0.1 * (0.9 * 0.2 + 0.1 * g) / (max(1, g) + 0.01)
    assert weights == pytest.approx([2 - first, 2 - first - second])


def test_two_steps_of_nadam():
    numbers = {RATE: 0.1, A: 2.0, B: 0.1, C: 0.1, D: 0.7, E: 0.3, EPSILON: 0.01}
    weights = train(one_unit(), reference.NADAM, 2, numbers)
    first = 0.1 * (0.7 * 0.2 + 0.3 * 2) / (2 * math.sqrt(0.4) + 0.01)
    g = 2 * (1 - 2 * first)
    m, v = 0.18 + 0.1 * g, 0.36 + 0.1 * g * g
    second = 0.1 * (0.7 * m + 0.3 * g) / (2 * math.sqrt(v) + 0.01)
    assert weights == pytest.approx([2 - first, 2 - first - second])


def test_amsgrad_goes_by_the_largest_v():
    numbers = {RATE: 5.0, A: 2.0, B: 0.1, C: 0.9, EPSILON: 0.01}
    weights = train(one_unit(), reference.AMSGRAD, 3, numbers)
    first = 5 * 0.2 / (2 * math.sqrt(3.6) + 0.01)
    g = 2 * (1 - 2 * first)
    assert 0.36 + 0.9 * g * g < 3.6  # v falls
    second = 5 * (0.18 + 0.1 * g) / (2 * math.sqrt(3.6) + 0.01)
    assert weights == pytest.approx([2 - first, 2 - first - second])


def test_lion_goes_by_the_sign():
    # m = 0.2 after the first step; then 0.2 + 0.5 * (g - 0.2) with g = 2 * 0.8, negative at -1
    weights = train(one_unit(), reference.LION, 1, {RATE: 0.75, B: 0.5, C: 0.1})
    assert weights == pytest.approx([1.25, 2.0])  # h = 1, then -0.5: g = -1, m = 0.2 - 0.6 < 0


def test_gaps_of_the_arenas_stay_zero():
    random = np.random.default_rng(0)
    program = build([3, 5, 2], [ACTIVATIONS["tanh"], ACTIVATIONS["identity"]], 2, "float32")
    prepare(program, reference.ADAM, 2)
    for weights, _ in pairs(program, program.parameters):
        weights[...] = random.normal(size=weights.shape)
    used = np.zeros(len(program.parameters), bool)
    for weights, biases in pairs(program, used):
        weights[...] = biases[...] = True
    numbers = np.tile(row({RATE: 0.01, A: 1.0, B: 0.1, C: 0.01, EPSILON: 1e-8}), (4, 1))
    x, y = random.random((12, 3)), random.random((12, 2))
    reference.train(program, x, np.arange(12, dtype=np.int32), y, 3, numbers, 1)
    assert not program.parameters[~used].any()
    assert not program.state[:, ~used].any()
    assert program.parameters[used].all()  # so the training did happen


def test_shuffle_by_hand():
    # i = 0: j = 0; i = 1: j = (2^31 * 2) >> 32 = 1; i = 2: j = 0 -> [2, 1, 0]
    order = np.empty(3, np.int32)
    reference.shuffle(order, np.array([7, 2**31, 5], np.uint32))
    assert order.tolist() == [2, 1, 0]
    reference.shuffle(order[:2], np.array([7, 2**31], np.uint32))
    reference.shuffle(order, np.array([5], np.uint32))  # the rest of the words
    assert order.tolist() == [2, 1, 0]


def test_shuffle_gives_every_permutation_equally_often():
    random = np.random.default_rng(3)
    counts = {}
    for _ in range(6000):
        order = np.empty(3, np.int32)
        reference.shuffle(order, random.integers(0, 2**32, 3, np.uint32))
        counts[tuple(order.tolist())] = counts.get(tuple(order.tolist()), 0) + 1
    assert len(counts) == 6
    assert all(abs(count - 1000) < 5 * math.sqrt(1000) for count in counts.values())
