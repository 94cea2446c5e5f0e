"""Learning-rate schedules."""

import math
import re

import numpy as np
import pytest

import fastnn

SCHEDULES = [
    fastnn.Constant(0.1),
    fastnn.Cosine(0.1, 0.01),
    fastnn.Cosine(0.1),
    fastnn.OneCycle(0.1),
    fastnn.OneCycle(0.1, warmup=0.5, div_factor=10, final_div_factor=100),
    fastnn.Constant(0.1, warmup=0.2),
    fastnn.Cosine(0.1, warmup=0.2),
    fastnn.CosineRestarts(0.1),
    fastnn.CosineRestarts(0.1, 0.01, cycles=4, t_mul=1.5, warmup=0.1),
    fastnn.FlatCosine(0.1, flat=0.5),
    fastnn.Step(0.1, warmup=0.5),
    fastnn.Exponential(0.1),
    fastnn.Polynomial(0.1, 0.01, power=2.0),
    fastnn.InverseTime(0.1),
    fastnn.CosLog(0.1),
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


@pytest.mark.parametrize(
    ("schedule", "rates"),
    [
        (fastnn.Step(1.0, 0.5), [1, 1, 1, 0.5, 0.5, 0.5, 0.25, 0.25, 0.25]),
        (fastnn.Exponential(8.0, 1 / 256), [8, 4, 2, 1, 1 / 2, 1 / 4, 1 / 8, 1 / 16, 1 / 32]),
        (fastnn.Polynomial(8.0), [8, 7, 6, 5, 4, 3, 2, 1, 0]),
        (fastnn.Polynomial(65.0, 1.0, 2.0), [65, 50, 37, 26, 17, 10, 5, 2, 1]),
        (fastnn.InverseTime(24.0, 8.0), [24, 12, 8, 6, 24 / 5, 4, 24 / 7, 3, 24 / 9]),
        (fastnn.FlatCosine(2.0, flat=0.5), [2, 2, 2, 2, 2, 1 + 0.5**0.5, 1, 1 - 0.5**0.5, 0]),
        (fastnn.CosineRestarts(2.0, cycles=2, t_mul=1.0), [2, 1 + 0.5**0.5, 1, 1 - 0.5**0.5] * 2),
        (fastnn.CosineRestarts(2.0, cycles=2, t_mul=3.0), [2, 1, 2, 1.5 + 0.75**0.5 - 0.5]),
        (fastnn.Constant(5.0, warmup=0.5), [1, 2, 3, 4, 5, 5, 5, 5, 5]),
        (fastnn.Polynomial(4.0, warmup=0.4), [1, 2, 3, 4, 3.2, 2.4, 1.6, 0.8, 0]),
    ],
    ids=str,
)
def test_numbers_worked_by_hand(schedule, rates):
    assert schedule.rates(0, 9, 9)[: len(rates)] == pytest.approx(rates)


def test_coslog_has_four_waves():
    """Peaks where log2(1 + 15 t) is one half more than a whole number, zeros where it is whole."""
    coslog = fastnn.CosLog(2.0)
    for wave in range(4):
        assert coslog.at((2.0 ** (wave + 0.5) - 1) / 15) == pytest.approx(2.0)
        assert coslog.at((2.0**wave - 1) / 15) == pytest.approx(0.0, abs=1e-12)
    assert coslog.at(0.2) == pytest.approx(0.0, abs=1e-12)  # log2(4)


def test_any_function_of_the_step():
    steps = []

    def rate(step):
        steps.append(step)
        return 0.1 / (1 + step)

    net = fastnn.mlp([4, 2], engine="reference")
    logs = net.fit(
        np.ones((6, 4)), [0] * 6, epochs=2, batch_size=2, optimizer=fastnn.SGD(rate), verbose=0
    ).history
    assert steps == [0, 1, 2, 3, 4, 5]
    assert logs["learning_rate"] == [0.1 / 3, 0.1 / 6]
    with pytest.raises(TypeError, match="expected a schedule of fastnn to save, got function"):
        net.save("nowhere", optimizer=True)


def test_a_function_that_gives_no_number():
    net = fastnn.mlp([4, 2], engine="reference")
    with pytest.raises(TypeError, match="expected a rate to be a number, got str 'fast'"):
        net.fit(np.ones((6, 4)), [0] * 6, optimizer=fastnn.SGD(lambda step: "fast"), verbose=0)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=str)
def test_schedules_come_back_from_files(schedule, tmp_path):
    """Format 2 holds those that it knew, without a warmup."""
    path = tmp_path / "net.fastnn"
    net = fastnn.mlp([4, 2], engine="reference")
    net.fit(np.ones((6, 4)), [0] * 6, optimizer=fastnn.Adam(schedule), epochs=1, verbose=0)
    net.save(path, optimizer=True)
    assert fastnn.load(path).trained.optimizer.learning_rate == schedule
    old = isinstance(schedule, fastnn.OneCycle | fastnn.Constant | fastnn.Cosine)
    warm = not isinstance(schedule, fastnn.OneCycle) and schedule.warmup > 0
    found = re.search(rb'\\"format\\":(\d)', path.read_bytes())
    assert int(found[1]) == (2 if old and not warm else 4)


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
        (lambda: fastnn.Constant(1, warmup=1), r"expected warmup in \[0, 1\), got 1"),
        (lambda: fastnn.Cosine(1, warmup=-1), r"expected warmup in \[0, 1\), got -1"),
        (lambda: fastnn.FlatCosine(1, flat=1), r"expected flat in \[0, 1\), got 1"),
        (
            lambda: fastnn.Step(1, stages=1.5),
            "expected stages as a whole number .*, got 1.5",
        ),
        (lambda: fastnn.CosineRestarts(1, cycles=0), "expected cycles as a whole number .*, got 0"),
        (lambda: fastnn.Exponential(1, 0), "expected a positive decay_rate, got 0"),
        (lambda: fastnn.Polynomial(1, power=-1), "expected a positive power, got -1"),
        (lambda: fastnn.CosLog(1, warmup=0.5), "expected no warmup with CosLog, got 0.5"),
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
