"""Optimizers: the numbers that they hand to an engine."""

import math

import numpy as np
import pytest

import fastnn
from fastnn import optimizers
from fastnn.optimizers import OPTIMIZERS
from fastnn.program import EPSILON, RATE, A, B, C, D, E


@pytest.mark.parametrize(
    ("optimizer", "code", "slots"),
    [
        (fastnn.SGD(), 0, 0),
        (fastnn.SGD(momentum=0.9), 1, 1),
        (fastnn.SGD(momentum=0.9, nesterov=True), 2, 1),
        (fastnn.Adam(), 3, 2),
        (fastnn.AMSGrad(), 4, 3),
        (fastnn.Adamax(), 5, 2),
        (fastnn.Nadam(), 6, 2),
        (fastnn.RMSprop(), 7, 1),
        (fastnn.RMSprop(momentum=0.5), 8, 2),
        (fastnn.RMSprop(centered=True), 9, 3),
        (fastnn.Adagrad(), 10, 1),
        (fastnn.Adadelta(), 11, 2),
        (fastnn.Lion(), 12, 1),
    ],
)
def test_codes_and_slots(optimizer, code, slots):
    assert (optimizer.code, optimizer.slots) == (code, slots)


def test_sgd_hands_over_rate_and_momentum():
    table = fastnn.SGD(momentum=0.5).coefficients(np.arange(2), np.array([0.1, 0.2]))
    assert table[:, [RATE, A]].tolist() == [[0.1, 0.5], [0.2, 0.5]]


def test_adam_hands_over_the_corrections_of_its_means():
    steps, rates = np.array([0, 1, 999]), np.array([0.1, 0.2, 0.3])
    table = fastnn.Adam(beta_1=0.8, beta_2=0.99, epsilon=1e-7).coefficients(steps, rates)
    chosen = table[:, [RATE, A, B, C, EPSILON]].tolist()
    for (c0, c1, *rest), t, rate in zip(chosen, [1, 2, 1000], rates, strict=True):
        assert c0 == pytest.approx(rate / (1 - 0.8**t), rel=1e-14)
        assert c1 == pytest.approx((1 - 0.99**t) ** -0.5, rel=1e-14)
        assert rest == [1 - 0.8, 1 - 0.99, 1e-7]


def test_nadam_hands_over_the_momentum_of_the_next_step():
    steps, rates = np.array([0, 1, 1999]), np.ones(3)
    table = fastnn.Nadam(beta_1=0.99).coefficients(steps, rates)
    u = [0.99 * (1 - 0.5 * 0.96**t) for t in range(1, 2002)]
    for row, t in zip(table, [1, 2, 2000], strict=True):
        assert row[RATE] == 1
        assert row[D] == pytest.approx(u[t] / (1 - math.prod(u[: t + 1])), rel=1e-12)
        assert row[E] == pytest.approx((1 - u[t - 1]) / (1 - math.prod(u[:t])), rel=1e-12)


def test_adam_gives_the_same_bits_however_the_steps_are_cut():
    steps = np.arange(3000)
    rates, t = np.full(3000, 1e-3), steps + 1
    whole = fastnn.Adam().coefficients(steps, rates)
    single = [fastnn.Adam().coefficients(steps[s : s + 1], rates[:1])[0] for s in steps]
    assert whole.tobytes() == np.array(single).tobytes()
    assert whole[:, 0].tolist() == (rates / (1 - optimizers.power(0.9, t))).tolist()


def test_betas_that_are_equal_but_of_other_types():
    """What is known of one is not taken for the other: its powers have other bits."""
    steps, rates = np.arange(9), np.ones(9)
    for beta in (np.float32(0.9), float(np.float32(0.9))):
        table = fastnn.Adam(beta_1=beta).coefficients(steps, rates)
        assert table[:, 0].tolist() == (rates / (1 - optimizers.power(beta, steps + 1))).tolist()


def test_get_takes_a_name_or_an_optimizer():
    assert optimizers.get("adam") == fastnn.Adam()
    assert {name: type(optimizers.get(name)) for name in OPTIMIZERS} == OPTIMIZERS
    assert optimizers.get(fastnn.SGD(0.5)) == fastnn.SGD(0.5)


def test_unknown_name_suggests_the_nearest():
    with pytest.raises(ValueError, match=r"^unknown optimizer 'adm'; did you mean 'adam'\?"):
        optimizers.get("adm")


def test_another_type():
    with pytest.raises(TypeError, match=r"^expected an optimizer or its name, got int$"):
        optimizers.get(3)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: fastnn.SGD(0), "expected a positive learning_rate, got 0"),
        (lambda: fastnn.SGD(-0.1), "expected a positive learning_rate, got -0.1"),
        (lambda: fastnn.Adam(float("inf")), "expected a positive learning_rate, got inf"),
        (lambda: fastnn.SGD(momentum=1), "expected momentum in [0, 1), got 1"),
        (lambda: fastnn.SGD(momentum=-0.5), "expected momentum in [0, 1), got -0.5"),
        (lambda: fastnn.SGD(nesterov=True), "expected a positive momentum with nesterov, got 0"),
        (lambda: fastnn.Adam(beta_1=1.5), "expected beta_1 in [0, 1), got 1.5"),
        (lambda: fastnn.Adam(beta_2=float("nan")), "expected beta_2 in [0, 1), got nan"),
        (lambda: fastnn.SGD(10**400), "expected learning_rate within float64, got 1000"),
        (lambda: fastnn.Adam(epsilon=float("inf")), "expected a positive epsilon, got inf"),
        (lambda: fastnn.Adam(epsilon=0), "expected a positive epsilon, got 0"),
        (lambda: fastnn.AMSGrad(beta_1=1), "expected beta_1 in [0, 1), got 1"),
        (lambda: fastnn.RMSprop(rho=1), "expected rho in [0, 1), got 1"),
        (lambda: fastnn.RMSprop(momentum=1), "expected momentum in [0, 1), got 1"),
        (lambda: fastnn.RMSprop(epsilon=0), "expected a positive epsilon, got 0"),
        (
            lambda: fastnn.Adagrad(initial_accumulator_value=-1),
            "expected initial_accumulator_value of at least 0, got -1",
        ),
        (lambda: fastnn.Adagrad(epsilon=0), "expected a positive epsilon, got 0"),
        (lambda: fastnn.Adadelta(rho=-1), "expected rho in [0, 1), got -1"),
        (lambda: fastnn.Adadelta(epsilon=0), "expected a positive epsilon, got 0"),
        (lambda: fastnn.Lion(beta_2=1), "expected beta_2 in [0, 1), got 1"),
    ],
)
def test_bad_numbers(make, message):
    with pytest.raises(ValueError) as error:  # noqa: PT011 (compared in full below)
        make()
    assert str(error.value).startswith(message)


NUMBER = "expected {} to be a number, got {}"
LEARNING = "expected learning_rate to be a number or a schedule, got {}"
FLAG = "expected nesterov to be True or False, got {}"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: fastnn.SGD("0.1"), LEARNING.format("str '0.1'")),
        (lambda: fastnn.Adam(True), LEARNING.format("bool True")),
        (lambda: fastnn.Adam(None), LEARNING.format("NoneType None")),
        (lambda: fastnn.Adam(1j), LEARNING.format("complex 1j")),
        (lambda: fastnn.Adam(np.ones(1)), LEARNING.format("ndarray array([1.])")),
        (
            lambda: fastnn.SGD(fastnn.Cosine),
            LEARNING.format("type <class 'fastnn.schedules.Cosine'>"),
        ),
        (lambda: fastnn.SGD(momentum="0.9"), NUMBER.format("momentum", "str '0.9'")),
        (lambda: fastnn.SGD(momentum=False), NUMBER.format("momentum", "bool False")),
        (lambda: fastnn.SGD(momentum=0.5, nesterov="no"), FLAG.format("str 'no'")),
        (lambda: fastnn.Adam(beta_1=None), NUMBER.format("beta_1", "NoneType None")),
        (lambda: fastnn.Adam(beta_2=[0.9]), NUMBER.format("beta_2", "list [0.9]")),
        (lambda: fastnn.Adam(epsilon="tiny"), NUMBER.format("epsilon", "str 'tiny'")),
        (lambda: fastnn.OneCycle(1, warmup="long"), NUMBER.format("warmup", "str 'long'")),
        (lambda: fastnn.Cosine(1, None), NUMBER.format("final", "NoneType None")),
    ],
)
def test_numbers_of_another_type(make, message):
    with pytest.raises(TypeError) as error:
        make()
    assert str(error.value) == message


@pytest.mark.parametrize("kind", [np.float32, np.float64, np.int64])
def test_numbers_of_numpy(kind):
    assert fastnn.SGD(kind(1), momentum=kind(0)) == fastnn.SGD(1.0)
    assert fastnn.SGD(0.1, momentum=0.5, nesterov=np.bool_(True)).code == 2
