"""Learning-rate schedules."""

import math

import numpy as np
import pytest

import fastnn

SCHEDULES = [
    fastnn.Constant(0.1),
    fastnn.Cosine(0.1, 0.01),
    fastnn.Cosine(0.1),
    fastnn.OneCycle(0.1),
    fastnn.OneCycle(0.1, warmup=0.5, div_factor=10, final_div_factor=100),
]


def test_constant():
    assert fastnn.Constant(0.5).rates(3, 4, 10).tolist() == [0.5] * 4


def test_cosine_starts_at_the_peak_and_ends_at_the_final_rate():
    rates = fastnn.Cosine(2.0, 1.0).rates(0, 5, 5)
    half = math.sqrt(0.5)
    assert rates == pytest.approx([2.0, 1.5 + half / 2, 1.5, 1.5 - half / 2, 1.0])


def test_one_cycle_rises_to_the_peak_and_falls():
    rates = fastnn.OneCycle(1.0, warmup=0.25).rates(0, 101, 101)
    assert rates[0] == pytest.approx(1 / 25)
    assert rates[25] == pytest.approx(1.0)
    assert rates[100] == pytest.approx(1 / 25e4)
    assert (np.diff(rates[:26]) > 0).all()
    assert (np.diff(rates[25:]) < 0).all()


@pytest.mark.parametrize("schedule", SCHEDULES, ids=str)
@pytest.mark.parametrize("total", [1, 2, 3, 97])
def test_the_same_bits_however_the_range_is_cut(schedule, total):
    whole = schedule.rates(0, total, total)
    one_by_one = [schedule.rates(step, 1, total)[0] for step in range(total)]
    assert whole.dtype == np.float64
    assert whole.tolist() == one_by_one
    assert (whole >= 0).all()
    assert (whole <= 0.1).all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: fastnn.Constant(0), "expected a positive rate, got 0"),
        (lambda: fastnn.Cosine(-1), "expected a positive peak, got -1"),
        (lambda: fastnn.Cosine(1, -1), "expected a final rate of at least 0, got -1"),
        (lambda: fastnn.OneCycle(math.nan), "expected a positive peak, got nan"),
        (lambda: fastnn.OneCycle(1, warmup=0), "expected a positive warmup, got 0"),
        (lambda: fastnn.OneCycle(1, warmup=1), "expected a warmup below 1, got 1"),
        (lambda: fastnn.OneCycle(1, div_factor=0), "expected a positive div_factor, got 0"),
    ],
)
def test_bad_rates(make, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        make()


# Schedules of other people.

FINITE = "to be finite and not negative"


@pytest.mark.parametrize(
    ("rates", "message"),
    [
        (lambda t: np.where(t == 4, -0.5, 0.1), f"{FINITE}, got -0.5 at step 4 of 6"),
        (lambda t: np.where(t == 2, np.nan, 0.1), f"{FINITE}, got nan at step 2 of 6"),
        (lambda t: np.where(t == 5, np.inf, 0.1), f"{FINITE}, got inf at step 5 of 6"),
        (lambda t: np.full(len(t) + 1, 0.1), "of shape (2,), got (3,)"),
        (lambda t: 0.1, "of shape (2,), got ()"),
        (lambda t: "fast", "to be 2 numbers, got 'fast'"),
        (lambda t: [0.1, "x"], "to be 2 numbers, got [0.1, 'x']"),
    ],
)  # fmt: skip
def test_rates_that_cannot_be(rates, message, monkeypatch):
    class Own:
        def rates(self, first_step, steps, total_steps):
            return rates(np.arange(first_step, first_step + steps))

    monkeypatch.setattr(fastnn.training, "CALL_COST", 2 * fastnn.training.STEP_COST + 400)
    net = fastnn.mlp([4, 2], engine="reference")
    with pytest.raises((ValueError, TypeError)) as error:
        net.fit(
            np.ones((6, 4)), [0] * 6, epochs=1, batch_size=1, optimizer=fastnn.SGD(Own()), verbose=0
        )
    assert str(error.value) == f"expected rates of Own {message}"
    assert np.isfinite(net.program.parameters).all()


def test_rates_of_other_kinds():
    class Own:
        def rates(self, first_step, steps, total_steps):
            return [0] * steps  # may be zero, and a list

    net = fastnn.mlp([4, 2], engine="reference")
    before = net.program.parameters.tobytes()
    logs = net.fit(np.ones((6, 4)), [0] * 6, epochs=1, optimizer=fastnn.SGD(Own()), verbose=0)
    assert logs.history["learning_rate"] == [0.0]
    assert net.program.parameters.tobytes() == before
