"""Optimizers beside those of PyTorch: twenty steps of the same network on the same rows."""

import numpy as np
import pytest

import fastnn

torch = pytest.importorskip("torch", reason="a comparison with PyTorch, which is not installed")

STEPS, ROWS = 20, 12
TINY = 1e-30  # where PyTorch's epsilon stands elsewhere, outside a root
# An engine's row of numbers is taken in float32: a step is off by some units in the last place.
TOLERANCE = {"float64": 1e-9, "float32": 2e-5}


def data():
    random = np.random.default_rng(3)
    return random.normal(size=(ROWS * STEPS, 5)), random.normal(size=(ROWS * STEPS, 3))


def net(dtype, name="auto", **options):
    layers = [fastnn.Dense(7, "tanh"), fastnn.Dense(3)]
    return fastnn.Network(5, layers, dtype=dtype, seed=1, engine=name, **options)


def fitted(ours, dtype, name="auto"):
    """The weights after 20 steps, and those before."""
    found = net(dtype, name)
    before = found.get_weights()
    x, y = data()
    options = {"batch_size": ROWS, "epochs": 1, "shuffle": False, "verbose": 0}
    found.fit(x, y.astype(dtype), optimizer=ours, **options)
    return found.get_weights(), before


def theirs_fitted(before, make, dtype, between=lambda parameters: None):
    """What PyTorch makes of the same weights; between: what is done between gradient and step."""
    parameters = [torch.tensor(w.astype("float64"), requires_grad=True) for w in before]
    optimizer = make(parameters)
    x, y = (torch.tensor(array.astype(dtype).astype("float64")) for array in data())
    for step in range(STEPS):
        batch = slice(step * ROWS, (step + 1) * ROWS)
        w_1, b_1, w_2, b_2 = parameters
        h = torch.tanh(x[batch] @ w_1 + b_1) @ w_2 + b_2
        optimizer.zero_grad()
        ((h - y[batch]) ** 2).mean().backward()
        between(parameters)
        optimizer.step()
    return [parameter.detach().numpy() for parameter in parameters]


def check(ours, dtype, make, between=lambda parameters: None, name="auto"):
    found, before = fitted(ours, dtype, name)
    expected = theirs_fitted(before, make, dtype, between)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=TOLERANCE[dtype])
    assert max(np.abs(a - b).max() for a, b in zip(found, before, strict=True)) > 1e-3


class Lion(torch.optim.Optimizer):
    """Keras's formula: PyTorch has none."""

    def __init__(self, parameters):
        super().__init__(parameters, {})

    @torch.no_grad()
    def step(self):
        for w in self.param_groups[0]["params"]:
            m = self.state[w].setdefault("m", torch.zeros_like(w))
            w -= 0.001 * torch.sign(m * 0.9 + w.grad * 0.1)
            m.mul_(0.99).add_(0.01 * w.grad)


optim = torch.optim
CASES = {
    "sgd": (fastnn.SGD(0.1), lambda p: optim.SGD(p, 0.1)),
    "momentum": (fastnn.SGD(0.1, momentum=0.9), lambda p: optim.SGD(p, 0.1, 0.9)),
    "nesterov": (
        fastnn.SGD(0.1, momentum=0.9, nesterov=True),
        lambda p: optim.SGD(p, 0.1, 0.9, nesterov=True),
    ),
    "adam": (fastnn.Adam(0.01, epsilon=1e-4), lambda p: optim.Adam(p, 0.01, eps=1e-4)),
    "amsgrad": (
        fastnn.AMSGrad(0.01, beta_2=0.5),
        lambda p: optim.Adam(p, 0.01, (0.9, 0.5), amsgrad=True),
    ),
    "nadam": (
        fastnn.Nadam(0.01),
        lambda p: optim.NAdam(p, 0.01, eps=1e-7, momentum_decay=1.0),
    ),
    "adamax": (fastnn.Adamax(0.01, epsilon=TINY), lambda p: optim.Adamax(p, 0.01, eps=TINY)),
    "adadelta": (
        fastnn.Adadelta(1.0, epsilon=1e-6),
        lambda p: optim.Adadelta(p, 1.0, 0.95, 1e-6),
    ),
    "adagrad": (
        fastnn.Adagrad(0.05, epsilon=TINY),
        lambda p: optim.Adagrad(p, 0.05, initial_accumulator_value=0.1, eps=TINY),
    ),
    "rmsprop": (
        fastnn.RMSprop(0.01, epsilon=TINY),
        lambda p: optim.RMSprop(p, 0.01, 0.9, TINY),
    ),
    "rmsprop with momentum": (
        fastnn.RMSprop(0.01, momentum=0.5, epsilon=TINY),
        lambda p: optim.RMSprop(p, 0.01, 0.9, TINY, momentum=0.5),
    ),
    "rmsprop centered": (
        fastnn.RMSprop(0.01, centered=True, epsilon=TINY),
        lambda p: optim.RMSprop(p, 0.01, 0.9, TINY, centered=True),
    ),
    "lion": (fastnn.Lion(0.001), Lion),
}


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("case", CASES)
def test_twenty_steps(case, dtype):
    ours, make = CASES[case]
    check(ours, dtype, make)


@pytest.mark.parametrize("case", CASES)
def test_twenty_steps_of_every_engine(engine_name, case):
    ours, make = CASES[case]
    check(ours, "float64", make, name=engine_name)


def test_a_wrong_rate_is_seen():
    with pytest.raises(AssertionError):
        check(fastnn.Adam(0.01), "float64", lambda p: optim.Adam(p, 0.01001))


def test_every_optimizer_is_compared():
    assert {type(ours) for ours, _ in CASES.values()} == {*fastnn.optimizers.OPTIMIZERS.values()}
