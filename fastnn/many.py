"""Many networks at once: one to a core, each with the bits that it would have alone.

Engines work without Python's lock, and their calls last some milliseconds: so Python's threads
suffice, each of which carries out one fit after another on a thread of its own.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from itertools import islice
from queue import Empty, SimpleQueue
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import engine, training
from . import metrics as metrics_of
from ._errors import DivergenceError, count, shown
from ._progress import progress
from .callbacks import Callback, Function
from .metrics import Measure, Metric
from .network import (
    Common,
    Network,
    PlainFunction,
    checked_seed,
    hold_of,
    is_shown,
    listed,
    run_of,
    settings_of,
    strata,
    triple,
)
from .optimizers import Optimizer
from .rows import Rows
from .rows import folds as folds_of
from .training import SAMPLES, Described, History, Logs

Callbacks = Iterable[Callback | PlainFunction]
Told = Callable[["Job", Logs | None], None]  # of an epoch of a job, with its figures, or its end


# ----------------------------------------------------------------------------------- one at a time


class _Stopped(Exception):  # noqa: N818 (no error)
    """Ends a fit between two calls of the engine."""


class Job:
    """The fit of one network among others, and what came of it.

    test, metrics: rows that are evaluated after it, and what is had of them; figures: that.
    """

    def __init__(self, network: Network) -> None:
        self.network, self.hold = network, hold_of(network)
        self.run: training.Run
        self.test: Rows | None = None
        self.metrics: Sequence[Metric] = ()
        self.figures = Logs()
        self.begun = False
        self.error: BaseException | None = None

    def prepare(
        self,
        team: Team,
        data: Common,
        *,
        rows: NDArray[np.int32] | None = None,
        validation: Common | None = None,
        validation_split: float = 0.0,
        callbacks: Callbacks = (),
        **options: Any,
    ) -> None:
        """Check everything, and take the network until the fit has ended, or is released."""
        self.hold.__enter__()
        told = [*listed("callbacks", callbacks), Function(self._tell(team))]
        settings = settings_of(self.network, callbacks=told, verbose=0, **options)
        self.run = run_of(
            self.network,
            data,
            settings,
            rows=rows,
            validation=validation,
            share=validation_split,
            threads=team.threads,
        )

    def _tell(self, team: Team) -> Callable[[Network, int, Logs], None]:
        return lambda network, epoch, logs: team.events.put((self, logs))

    def judge(self, rows: NDArray[np.int32] | None, metrics: Sequence[Metric]) -> None:
        """Once it is trained, evaluate it on these rows of the data; None: on the validation's."""
        run = self.run
        self.test = run.validation if rows is None else replace(run.rows, chosen=rows)
        run.validation, self.metrics = None, metrics
        metrics_of.check(metrics, run.rows.meaning, run.rows.loss)

    @property
    def cost(self) -> int:
        """In flops, roughly."""
        return self.network.flops * (self.run.total_rows or 0) * self.run.settings.epochs

    def carry_out(self, team: Team) -> None:
        """Fit the network, and evaluate the test rows; `error` is what ended that early."""
        self.begun = True  # before a look at `stopped`: see `release`
        try:
            if not team.stopped:
                self.run.all_epochs()
                if self.test is not None:
                    self.figures = training.evaluate(self.run.runner, self.test, self.metrics)
        except BaseException as error:  # the caller's thread raises it
            self.error = error
        finally:
            self.hold.release()

    def release(self) -> None:
        """Give the network back, unless its fit has begun, and does it. The team has stopped."""
        if not self.begun:
            self.hold.release()


class Team:
    """Python's threads, each of which carries out one job after another, and who waits for them."""

    def __init__(self, num_threads: int | None) -> None:
        self.most = engine.get_num_threads()
        if num_threads is not None:
            self.most = engine.useful("num_threads", num_threads)
        self.waiting: SimpleQueue[Job | None] = SimpleQueue()
        self.events: SimpleQueue[tuple[Job, Logs | None]] = SimpleQueue()
        self.members: list[threading.Thread] = []
        self.unfinished = 0  # jobs that were handed out
        self.stopped = False

    def threads(self) -> int:
        """How many a job may have for its next call: one, unless there are more than jobs.

        Raises _Stopped if the job shall end. Engines take off the other jobs' calls.
        """
        if self.stopped:
            raise _Stopped
        jobs = max(1, self.unfinished)
        share = self.most // jobs
        return share + jobs - 1 if share > 1 else 1

    def carry_out(self, jobs: Iterable[Job], at_once: int, told: Told) -> None:
        """All jobs, so many of them at once; `told` hears of each epoch and end, in this thread.

        Jobs are asked for when there is room. Training that diverges is its job's error; any other
        ends all jobs within milliseconds, and is raised, as are Ctrl-C and what `told` raises.
        """
        try:
            try:
                self._carry_out(iter(jobs), min(at_once, self.most), told)
            finally:
                self._stop()
        finally:
            self._stop()  # again: an interrupt may have come just before the first time

    def _carry_out(self, jobs: Iterator[Job], at_once: int, told: Told) -> None:
        for job in islice(jobs, at_once):
            self._hand_out(job)
        self.members = [
            threading.Thread(target=self._work, name="fastnn", daemon=True) for _ in range(at_once)
        ]
        for member in self.members:
            member.start()
        for job in islice(jobs, at_once):  # one for each to go on with
            self._hand_out(job)
        while self.unfinished:
            job, logs = self.events.get()
            if logs is None:
                self.unfinished -= 1
                if job.error is not None and not isinstance(job.error, DivergenceError):
                    raise job.error
                for following in islice(jobs, 1):
                    self._hand_out(following)
            told(job, logs)

    def _hand_out(self, job: Job) -> None:
        self.unfinished += 1
        self.waiting.put(job)

    def _work(self) -> None:
        for job in iter(self.waiting.get, None):
            job.carry_out(self)
            self.events.put((job, None))

    def _stop(self) -> None:
        """End what is left, and wait for those who do it.

        One that an interrupt kept from being known as started finds nothing to do.
        """
        self.stopped = True
        with suppress(Empty):
            while True:
                release(filter(None, [self.waiting.get_nowait()]))
        for _ in self.members:
            self.waiting.put(None)
        for member in self.members:
            if member.is_alive():
                member.join()


# ------------------------------------------------------------------------------------ all of them


def fit_many(
    networks: Iterable[Network],
    x: ArrayLike,
    y: ArrayLike,
    *,
    epochs: int | Sequence[int] = 10,
    batch_size: int | Sequence[int] = 64,
    optimizer: str | Optimizer | Sequence[str | Optimizer] = "adam",
    rows: Sequence[ArrayLike | None] | None = None,
    validation_data: tuple[ArrayLike, ArrayLike] | None = None,
    validation_split: float = 0.0,
    metrics: Iterable[str | Measure] = (),
    shuffle: bool = True,
    callbacks: Sequence[Callbacks] | None = None,
    num_threads: int | None = None,
    verbose: int = 1,
) -> list[History]:
    """Train many networks on the same x (B, I) and y, one to a core; returns their histories.

    Each gets the very bits of network.fit(x[rows], y[rows], ...) alone, on any number of threads;
    x and y are checked once and never copied. epochs, batch_size and optimizer are one value, or a
    list with one for each network. rows: a list with the rows (n,) that each learns from, in any
    order, some of them several times if wanted; None is all. callbacks: a list for each network,
    told in threads of their own. num_threads: of all networks together; theirs do not count. Where
    there are more of them than networks, these share them.

    Everything is checked before the first step. Ctrl-C, or an error in a callback, ends all at
    once; each network is then as `fit` leaves it. A network that diverges stops alone: once the
    others are trained, DivergenceError names it. Raises ValueError for a network that stands twice,
    or a list of the wrong length, RuntimeError while another fit trains one of them, and what `fit`
    does.
    """
    chosen = distinct(networks)
    team, data, shows = Team(num_threads), Common(x, y), is_shown(verbose)
    common: dict[str, Any] = {
        "validation": common_of(validation_data),
        "validation_split": validation_split,
        "metrics": metrics_of.get(metrics),
        "shuffle": shuffle,
    }
    own = each(
        len(chosen),
        epochs=epochs,
        batch_size=batch_size,
        optimizer=optimizer,
        rows=None if rows is None else [rows_of(one, len(data.x)) for one in rows],
        callbacks=[()] * len(chosen) if callbacks is None else separate(callbacks),
    )
    jobs = [Job(network) for network in chosen]
    train(
        team,
        jobs,
        "network",
        lambda number: jobs[number].prepare(team, data, **common, **own[number]),
        shows,
    )
    return [job.run.history for job in jobs]


def cross_validate(
    make: Callable[[], Network],
    x: ArrayLike,
    y: ArrayLike,
    *,
    folds: int = 5,
    epochs: int = 10,
    batch_size: int = 64,
    optimizer: str | Optimizer = "adam",
    metrics: Iterable[str | Measure] = (),
    seed: int = 0,
    num_threads: int | None = None,
    verbose: int = 1,
) -> dict[str, NDArray[np.float64]]:
    """How well networks do on rows that they have not seen: figures by name, each (folds,).

    make gives a new network for each fold, which learns from the rows of the other folds and is
    then evaluated on its own: loss, accuracy (as `Network.evaluate` has them) and the metrics. The
    folds are drawn by the seed, of each label alike, and never copied; networks are trained as by
    `fit_many`. Raises ValueError for fewer folds than 2 or more than rows, DivergenceError if one
    diverges, and what `fit` does.

    Source: Kohavi, A study of cross-validation and bootstrap (1995).
    """
    if not callable(make):
        raise TypeError(f"expected make as a function that gives a new network, got {shown(make)}")
    team, data, shows = Team(num_threads), Common(x, y), is_shown(verbose)
    number, wanted, first = count("folds", folds), metrics_of.get(metrics), make()
    _, targets, _ = data.seen_by(*distinct([first]))
    if not 2 <= number <= len(targets):
        raise ValueError(f"expected folds from 2 to {len(targets)} rows, got {number}")
    networks = distinct([first, *(make() for _ in range(number - 1))])
    parts = folds_of(checked_seed(seed), number, len(targets), strata(first, targets))
    jobs = [Job(network) for network in networks]

    def prepare(fold: int) -> None:
        jobs[fold].prepare(
            team,
            data,
            rows=np.sort(np.concatenate(parts[:fold] + parts[fold + 1 :])),
            epochs=epochs,
            batch_size=batch_size,
            optimizer=optimizer,
            shuffle=True,
            metrics=(),
        )
        jobs[fold].judge(parts[fold], wanted)

    train(team, jobs, "fold", prepare, shows)
    names = jobs[0].figures
    return {name: np.array([job.figures[name] for job in jobs]) for name in names}


def train(
    team: Team, jobs: list[Job], name: str, prepare: Callable[[int], None], shows: bool
) -> None:
    """Prepare jobs, by number, and carry them out; in errors each is called by name and number."""
    try:
        try:
            for number in range(len(jobs)):
                with named(f"{name} {number}"):
                    prepare(number)
            carry_out_shown(team, jobs, shows)
        finally:
            release(jobs)
    finally:
        release(jobs)  # again: an interrupt may have come just before the first time
    check_all_finite(jobs, name)


def release(jobs: Iterable[Job]) -> None:
    """Give back the networks of those that have not begun."""
    for job in jobs:
        job.release()


def carry_out_shown(team: Team, jobs: list[Job], shows: bool) -> None:
    """Carry out prepared jobs, the longest first, and show how far they have come."""
    total = sum(job.run.settings.epochs * (job.run.total_rows or 0) for job in jobs)
    latest: dict[Job, float] = {}
    ended = 0

    def told(job: Job, logs: Logs | None) -> None:
        nonlocal ended
        ended += logs is None
        if logs is not None:
            latest[job] = logs["loss"]
        loss = sum(latest.values()) / max(1, len(latest))
        rows = 0 if logs is None else job.run.total_rows or 0
        bar.advance(rows, Described({"loss": loss}))

    with progress(f"{len(jobs)} networks", total, SAMPLES, shows) as bar:
        longest_first = sorted(jobs, key=lambda job: -job.cost)
        team.carry_out(longest_first, len(jobs), told)
        bar.finish(Described({"loss": sum(latest.values()) / max(1, len(latest))}))


def check_all_finite(jobs: list[Job], each: str) -> None:
    """Raise DivergenceError that names the jobs that diverged."""
    wrong = {number: job.error for number, job in enumerate(jobs) if job.error is not None}
    if wrong:
        numbers = ", ".join(map(str, wrong))
        first = next(iter(wrong.values()))
        raise DivergenceError(f"{each} {numbers}: {first}")


# ----------------------------------------------------------------------------------------- checks


def distinct(networks: Iterable[Network]) -> list[Network]:
    """The networks as a list. Raises ValueError for none, or one that stands twice."""
    found = listed("networks", networks)
    first: dict[int, int] = {}
    for number, network in enumerate(found):
        if not isinstance(network, Network):
            raise TypeError(f"expected networks, got {shown(network)}")
        if first.setdefault(id(network), number) != number:
            twice = f"{first[id(network)]} and {number}"
            raise ValueError(f"expected each network once, got the same as networks {twice}")
    if not found:
        raise ValueError("expected at least one network, got none")
    return found


def each(n: int, **values: Any) -> list[dict[str, Any]]:
    """The options of each network: of a list its entry, else the value itself."""
    for name, value in values.items():
        if isinstance(value, list | tuple) and len(value) != n:
            raise ValueError(f"expected {name} for {n} networks, got {len(value)}")
    return [
        {
            name: value[number] if isinstance(value, list | tuple) else value
            for name, value in values.items()
        }
        for number in range(n)
    ]


def rows_of(rows: ArrayLike | None, total: int) -> NDArray[np.int32] | None:
    """The rows to learn from, None for all. Raises TypeError or ValueError if they are none."""
    if rows is None:
        return None
    array = np.asarray(rows)
    if array.dtype.kind not in "iu":
        hint = "; use np.flatnonzero(rows)" if array.dtype.kind == "b" else ""
        raise TypeError(f"expected rows as whole numbers, got dtype {array.dtype}{hint}")
    if array.ndim != 1 or len(array) == 0:
        raise ValueError(f"expected rows of shape (n,), got {array.shape}")
    for found in (int(array.min()), int(array.max())):
        if not 0 <= found < total:
            raise ValueError(f"expected rows from 0 to {total - 1}, got {found}")
    return array.astype(np.int32)


def separate(callbacks: Sequence[Callbacks]) -> list[list[Callback | PlainFunction]]:
    """A list for each network. Raises ValueError for a callback that would serve two at a time."""
    found = [listed("callbacks of a network", own) for own in listed("callbacks", callbacks)]
    for k, own in enumerate(found):
        others = {id(one) for other in found[:k] for one in other if isinstance(one, Callback)}
        if others & set(map(id, own)):
            raise ValueError("expected callbacks of its own for each network, got one for two")
    return found


def common_of(data: tuple[ArrayLike, ArrayLike] | None) -> Common | None:
    """Validation rows, if there are some."""
    if data is None:
        return None
    x, y, weights = triple(data)
    if weights is not None:
        raise ValueError("expected validation_data as (x, y) for several networks, got weights")
    return Common(x, y, "validation ")


@contextmanager
def named(name: str) -> Iterator[None]:
    """Errors of what is in the block begin with the name."""
    try:
        yield
    except (ValueError, TypeError, RuntimeError) as error:
        if type(error) not in (ValueError, TypeError, RuntimeError):
            raise
        raise type(error)(f"{name}: {error}") from None
