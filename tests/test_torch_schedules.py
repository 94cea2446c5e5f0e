"""Schedules beside those of PyTorch, step by step."""

import pytest

import fastnn

torch = pytest.importorskip("torch", reason="a comparison with PyTorch, which is not installed")
schedulers = torch.optim.lr_scheduler


def torch_rates(steps, make):
    """The rates of that many steps, of an optimizer whose rate begins at 0.5."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.5)
    schedule, rates = make(optimizer), []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return rates


CASES = [
    (21, fastnn.Step(0.5, 0.3), lambda o: schedulers.StepLR(o, 7, gamma=0.3)),
    (21, fastnn.Exponential(0.5, 0.25), lambda o: schedulers.ExponentialLR(o, 0.25 ** (1 / 20))),
    (21, fastnn.Polynomial(0.5, power=1.5), lambda o: schedulers.PolynomialLR(o, 20, 1.5)),
    (21, fastnn.InverseTime(0.5, 4.0),
     lambda o: schedulers.LambdaLR(o, lambda t: 1 / (1 + 4 * t / 20))),
    (21, fastnn.Cosine(0.5, 0.1), lambda o: schedulers.CosineAnnealingLR(o, 20, 0.1)),
    (22, fastnn.CosineRestarts(0.5, 0.1),
     lambda o: schedulers.CosineAnnealingWarmRestarts(o, 3, 2, 0.1)),
    (22, fastnn.OneCycle(0.5, warmup=(0.3 * 22 - 1) / 21),
     lambda o: schedulers.OneCycleLR(o, 0.5, 22, cycle_momentum=False)),
    (20, fastnn.Constant(0.5, warmup=0.5), lambda o: schedulers.LinearLR(o, 1 / 11, 1, 10)),
]  # fmt: skip


@pytest.mark.parametrize(("steps", "ours", "theirs"), CASES, ids=lambda case: str(case)[:20])
def test_the_rates_are_those_of_pytorch(steps, ours, theirs):
    steps_compared = steps - isinstance(ours, fastnn.CosineRestarts)  # theirs begins anew at last
    rates = ours.rates(0, steps, steps)[:steps_compared]
    assert rates == pytest.approx(torch_rates(steps, theirs)[:steps_compared], rel=1e-9)
