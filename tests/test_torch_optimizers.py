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


def net(dtype):
    layers = [fastnn.Dense(7, "tanh"), fastnn.Dense(3)]
    return fastnn.Network(5, layers, dtype=dtype, seed=1)


def fitted(ours, dtype):
    """The weights after 20 steps, and those before."""
    found = net(dtype)
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
    getattr(optimizer, "end", lambda: None)()
    return [parameter.detach().numpy() for parameter in parameters]


def check(ours, dtype, make, between=lambda parameters: None):
    found, before = fitted(ours, dtype)
    expected = theirs_fitted(before, make, dtype, between)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=TOLERANCE[dtype])
    assert max(np.abs(a - b).max() for a, b in zip(found, before, strict=True)) > 1e-3


optim = torch.optim


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


class ScheduleFree(Lion):
    """The equations of Defazio et al. (2024): rates grow in 5 steps, and decay is that of y."""

    @torch.no_grad()
    def step(self):
        for w in self.param_groups[0]["params"]:
            state = self.state[w]
            if not state:
                state.update(z=w.clone(), x=w.clone(), v=torch.zeros_like(w), t=0, sum=0.0)
            state["t"] += 1
            rate = 0.01 * min(1, state["t"] / 5)
            state["sum"] += rate**2
            state["v"].mul_(0.999).add_(0.001 * w.grad**2)
            root = (state["v"] / (1 - 0.999 ** state["t"])).sqrt() + 1e-8
            state["z"] -= rate * (w.grad / root + 0.1 * w)
            state["x"] += rate**2 / state["sum"] * (state["z"] - state["x"])
            w.copy_(0.1 * state["z"] + 0.9 * state["x"])

    @torch.no_grad()
    def end(self):
        for w in self.param_groups[0]["params"]:
            w.copy_(self.state[w]["x"])


class Averaged(optim.SGD):
    """Keras's running means of the weights, from the first on."""

    @torch.no_grad()
    def step(self):
        super().step()
        for w in self.param_groups[0]["params"]:
            state = self.state[w]
            state["mean"] = 0.8 * state["mean"] + 0.2 * w if "mean" in state else w.clone()

    @torch.no_grad()
    def end(self):
        for w in self.param_groups[0]["params"]:
            w.copy_(self.state[w]["mean"])


class Accumulating(optim.Adam):
    """A step for every three, by the mean of their gradients."""

    sums = None

    @torch.no_grad()
    def step(self):
        weights = self.param_groups[0]["params"]
        self.sums = [*(self.sums or []), [w.grad.clone() for w in weights]]
        if len(self.sums) == 3:
            for w, *gradients in zip(weights, *self.sums, strict=True):
                w.grad.copy_(sum(gradients) / 3)
            self.sums = None
            super().step()


def scale(gradients, most):
    """Scale the gradients down to a norm, if theirs is larger."""
    norm = torch.sqrt(sum((g**2).sum() for g in gradients))
    assert norm > most  # or nothing is tried
    for g in gradients:
        g.mul_(most / norm)


@torch.no_grad()
def decay(parameters):
    for w in parameters:
        w.mul_(1 - 0.1 * 0.3)


@torch.no_grad()
def by_group(parameters):
    """Half of the rate for biases, a quarter for those of the first layer; its decay is doubled."""
    for w, factor, decay in zip(parameters, (0.5, 0.25, 1, 0.5), (1, 1, 1, 1), strict=True):
        w.mul_(1 - 0.1 * 0.3 * factor * decay)
        w.grad.mul_(factor)


CLIPPED = {
    "clipvalue": lambda ps: [w.grad.clamp_(-0.01, 0.01) for w in ps],
    "clipnorm": lambda ps: [scale([w.grad], 0.02) for w in ps],
    "global_clipnorm": lambda ps: scale([w.grad for w in ps], 0.05),
}
GROUPS = {"biases": fastnn.Group(rate=0.5), 0: fastnn.Group(rate=0.5)}
RULES = {
    "decay": (fastnn.SGD(0.1, weight_decay=0.3), lambda p: optim.SGD(p, 0.1), decay),
    **{
        name: (fastnn.SGD(0.1, **{name: most}), lambda p: optim.SGD(p, 0.1), CLIPPED[name])
        for name, most in (("clipvalue", 0.01), ("clipnorm", 0.02), ("global_clipnorm", 0.05))
    },
    "groups": (
        fastnn.SGD(0.1, weight_decay=0.3, groups=GROUPS),
        lambda p: optim.SGD(p, 0.1),
        by_group,
    ),
}


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
    "adamw": (
        fastnn.AdamW(0.01, weight_decay=0.2),
        lambda p: optim.AdamW(p, 0.01, weight_decay=0.2),
    ),
    "schedule-free": (
        fastnn.ScheduleFreeAdamW(0.01, weight_decay=0.1, warmup_steps=5),
        ScheduleFree,
    ),
    "averages": (
        fastnn.SGD(0.1, use_ema=True, ema_momentum=0.8),
        lambda p: Averaged(p, 0.1),
    ),
    "accumulation": (
        fastnn.Adam(0.01, gradient_accumulation_steps=3),
        lambda p: Accumulating(p, 0.01),
    ),
}


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("case", CASES)
def test_twenty_steps(case, dtype):
    ours, make = CASES[case]
    check(ours, dtype, make)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("rule", RULES)
def test_what_goes_before_an_update(rule, dtype):
    ours, make, between = RULES[rule]
    check(ours, dtype, make, between)


@pytest.mark.parametrize("batch_size", [4, 300])
@pytest.mark.parametrize("dtype", TOLERANCE)
def test_penalties_and_max_norm(engine_name, dtype, batch_size):
    """The loss, the gradients and the steps of a network with both."""
    layers = [fastnn.Dense(7, "tanh", l1=0.01, max_norm=0.6), fastnn.Dense(3, l2=0.02)]
    ours = fastnn.Network(5, layers, dtype=dtype, engine=engine_name, seed=1)
    x = np.random.default_rng(3).normal(size=(20 * batch_size, 5)).astype(dtype)
    y = np.random.default_rng(4).normal(size=(20 * batch_size, 3)).astype(dtype)
    parameters = [torch.tensor(w.astype("f8"), requires_grad=True) for w in ours.get_weights()]
    w_1, b_1, w_2, b_2 = parameters

    def loss(rows):
        h = torch.tanh(torch.tensor(x[rows].astype("f8")) @ w_1 + b_1) @ w_2 + b_2
        error = ((h - torch.tensor(y[rows].astype("f8"))) ** 2).mean()
        return error + 0.01 * w_1.abs().sum() + 0.02 * (w_2**2).sum()

    part = slice(0, 50)
    assert ours.evaluate(x[part], y[part])["loss"] == pytest.approx(loss(part).item(), rel=1e-6)
    found, gradients = ours.gradients(x[part], y[part])
    loss(part).backward()
    assert found == pytest.approx(loss(part).item(), rel=1e-6)
    for one, w in zip([g for pair in gradients for g in pair], parameters, strict=True):
        np.testing.assert_allclose(one, w.grad.numpy(), atol=TOLERANCE[dtype])
    optimizer, losses, shortened = torch.optim.SGD(parameters, 0.1), [], 0
    for step in range(20):
        optimizer.zero_grad()
        losses.append(loss(slice(step * batch_size, (step + 1) * batch_size)))
        losses[-1].backward()
        optimizer.step()
        with torch.no_grad():
            norms = w_1.norm(dim=0)
            shortened += int((norms > 0.6).sum())
            w_1.mul_(torch.where(norms > 0.6, 0.6 / norms, 1.0))
    options = {"shuffle": False, "epochs": 1, "batch_size": batch_size, "verbose": 0}
    history = ours.fit(x, y, optimizer=fastnn.SGD(0.1), **options).history
    mean = sum(one.item() for one in losses) / 20
    assert history["loss"][0] == pytest.approx(mean, rel=1e-6)
    for one, w in zip(ours.get_weights(), parameters, strict=True):
        np.testing.assert_allclose(one, w.detach().numpy(), atol=TOLERANCE[dtype])
    assert shortened > 3  # or nothing is tried


def test_a_wrong_rate_is_seen():
    with pytest.raises(AssertionError):
        check(fastnn.Adam(0.01), "float64", lambda p: optim.Adam(p, 0.01001))


def test_every_optimizer_is_compared():
    assert {type(ours) for ours, _ in CASES.values()} == {*fastnn.optimizers.OPTIMIZERS.values()}
