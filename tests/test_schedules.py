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
