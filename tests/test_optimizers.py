"""Optimizers: the numbers that they hand to an engine."""

import math

import numpy as np
import pytest

import fastnn
from fastnn import optimizers
from fastnn.optimizers import OPTIMIZERS
from fastnn.program import (
    ACCUMULATES,
    AVERAGE,
    AVERAGES,
    CLIPS,
    CLIPS_GLOBAL_NORM,
    CLIPS_NORM,
    DECAY,
    DECAYS,
    EPSILON,
    RATE,
    SHARE,
    A,
    B,
    C,
    D,
    E,
)


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
        (fastnn.ScheduleFreeAdamW(), 13 + AVERAGES, 3),
        (fastnn.AdamW(), 3 + DECAYS, 2),
        (fastnn.SGD(clipvalue=1), CLIPS, 0),
        (fastnn.SGD(clipnorm=1), CLIPS_NORM, 0),
        (fastnn.SGD(global_clipnorm=1), CLIPS_GLOBAL_NORM, 0),
        (
            fastnn.Adam(gradient_accumulation_steps=2, use_ema=True),
            3 + ACCUMULATES + AVERAGES,
            4,
        ),
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
        (lambda: fastnn.SGD(weight_decay=-1), "expected weight_decay of at least 0, got -1"),
        (lambda: fastnn.SGD(clipvalue=0), "expected a positive clipvalue, got 0"),
        (lambda: fastnn.SGD(clipnorm=-1), "expected a positive clipnorm, got -1"),
        (
            lambda: fastnn.SGD(clipvalue=1, global_clipnorm=1),
            "expected one of clipvalue, clipnorm, global_clipnorm at most, got {'clipvalue': 1, ",
        ),
        (
            lambda: fastnn.SGD(gradient_accumulation_steps=0),
            "expected gradient_accumulation_steps to be at least 1, got 0",
        ),
        (lambda: fastnn.SGD(ema_momentum=1), "expected ema_momentum in [0, 1), got 1"),
        (lambda: fastnn.Group(rate=-1), "expected rate of at least 0, got -1"),
        (lambda: fastnn.Group(epsilon=0), "expected a positive epsilon, got 0"),
        (
            lambda: fastnn.ScheduleFreeAdamW(fastnn.Cosine(0.1)),
            "expected a number as learning_rate without a schedule, got Cosine(",
        ),
        (
            lambda: fastnn.ScheduleFreeAdamW(use_ema=True),
            "expected no use_ema where weights are means already, got True",
        ),
        (lambda: fastnn.ScheduleFreeAdamW(beta_1=0), "expected a positive beta_1, got 0"),
        (
            lambda: fastnn.ScheduleFreeAdamW(warmup_steps=-1),
            "expected warmup_steps of at least 0, got -1",
        ),
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


def test_accumulation_hands_over_an_update_for_every_so_many_steps():
    optimizer = fastnn.Adam(gradient_accumulation_steps=3)
    table = optimizer.coefficients(np.arange(1, 9), np.full(8, 0.1))
    assert table[:, SHARE].tolist() == [0, 1 / 3, 0, 0, 1 / 3, 0, 0, 1 / 3]
    updates = [0.1 / (1 - 0.9**t) for t in (1, 2, 3)]
    assert table[[1, 4, 7], RATE] == pytest.approx(updates)


def test_decay_and_averages_hand_over_their_shares():
    optimizer = fastnn.Adam(weight_decay=0.5, use_ema=True, ema_momentum=0.75)
    table = optimizer.coefficients(np.arange(2), np.array([0.1, 0.2]))
    assert table[:, DECAY].tolist() == [0.05, 0.1]
    assert table[:, AVERAGE].tolist() == [1, 0.25]


def test_schedule_free_means_weigh_by_the_square_of_the_rate():
    optimizer = fastnn.ScheduleFreeAdamW(0.1, warmup_steps=4, weight_decay=0.5)
    table = optimizer.coefficients(np.arange(6), np.full(6, 0.1))
    rates = [0.1 * min(1, t / 4) for t in range(1, 7)]
    means = [rates[t] ** 2 / sum(rate**2 for rate in rates[: t + 1]) for t in range(6)]
    assert table[:, RATE] == pytest.approx(rates)
    assert table[:, AVERAGE] == pytest.approx(means)
    assert table[:, DECAY] == pytest.approx([rate / 2 for rate in rates])


NAMES = ("layers.0.weights", "layers.0.biases", "layers.1.weights", "layers.1.biases")


def test_groups_by_kind_layer_and_name():
    groups = {
        "biases": fastnn.Group(decay=0),
        1: fastnn.Group(rate=0.5),
        "layers.0": fastnn.Group(epsilon=2),
        "layers.1.biases": fastnn.Group(rate=0.5),
    }
    found = fastnn.Adam(groups=groups).factors(NAMES)
    assert found.tolist() == [[1, 2, 1], [1, 2, 0], [0.5, 1, 1], [0.25, 1, 0]]
    assert fastnn.Adam().factors(NAMES) is None
    assert fastnn.Adam(groups=groups) == fastnn.Adam(groups=dict(groups))
    assert hash(fastnn.Adam(groups=groups)) == hash(fastnn.Adam())


@pytest.mark.parametrize(
    ("groups", "error", "message"),
    [
        ({"bias": fastnn.Group()}, ValueError, "unknown group 'bias'; did you mean 'biases'?"),
        ({7: fastnn.Group()}, ValueError, "unknown group 'layers.7'; did you mean 'layers."),
        ({"biases": 0.5}, TypeError, "expected groups['biases'] as a Group, got 0.5"),
        ({1.5: fastnn.Group()}, TypeError, "expected the names or numbers of groups, got 1.5"),
        ([fastnn.Group()], TypeError, "expected groups as a dict of Group, got ["),
    ],
)
def test_groups_that_do_not_fit(groups, error, message):
    net = fastnn.mlp([2, 3, 2])
    before = net.get_weights()[0].tolist()
    with pytest.raises(error) as caught:
        net.fit(np.ones((4, 2)), [0, 1, 0, 1], optimizer=fastnn.SGD(groups=groups), verbose=0)
    assert str(caught.value).startswith(message)
    assert net.get_weights()[0].tolist() == before


def fitted(optimizer, epochs=2, net=None, callbacks=()):
    net = net or fastnn.mlp([3, 5, 2], hidden="tanh")
    x = np.random.default_rng(0).normal(size=(40, 3))
    options = {"epochs": epochs, "batch_size": 8, "callbacks": callbacks, "verbose": 0}
    net.fit(x, (x[:, 0] > 0).astype(int), optimizer=optimizer, **options)
    return net


def test_a_rate_of_zero_freezes_a_layer():
    groups = {0: fastnn.Group(rate=0)}
    for optimizer in (fastnn.SGD(0.1, groups=groups), fastnn.AdamW(0.1, groups=groups)):
        net, begun = fitted(optimizer), fastnn.mlp([3, 5, 2], hidden="tanh")
        frozen = [
            a.tobytes() == b.tobytes()
            for a, b in zip(net.get_weights(), begun.get_weights(), strict=True)
        ]
        assert frozen == [True, True, False, False]


AVERAGING = [
    fastnn.SGD(0.1, use_ema=True, ema_momentum=0.9),
    fastnn.ScheduleFreeAdamW(0.1),
]


@pytest.mark.parametrize("optimizer", AVERAGING, ids=str)
def test_two_fits_by_averages_are_one_longer_fit(optimizer):
    two = fitted(optimizer, 3, fitted(optimizer, 2))
    assert two.program.parameters.tobytes() == fitted(optimizer, 5).program.parameters.tobytes()


@pytest.mark.parametrize("optimizer", AVERAGING, ids=str)
def test_weights_set_by_hand_are_where_training_begins(optimizer):
    net = fitted(optimizer)
    begun = fastnn.mlp([3, 5, 2], hidden="tanh")
    net.set_weights(begun.get_weights())
    net.trained.epochs = 0  # the order of rows too
    again = fitted(optimizer, 2, net)
    assert again.get_weights()[0].tobytes() == fitted(optimizer).get_weights()[0].tobytes()


@pytest.mark.parametrize("optimizer", AVERAGING, ids=str)
def test_callbacks_see_the_averages(optimizer):
    seen = []
    look = lambda net, epoch, logs: seen.append(net.get_weights()[0].tobytes())  # noqa: E731
    net = fitted(optimizer, 2, callbacks=[look])
    assert seen == [fitted(optimizer, 1).get_weights()[0].tobytes(), net.get_weights()[0].tobytes()]
    assert net.program.state[-1].tobytes() != net.program.parameters.tobytes()
