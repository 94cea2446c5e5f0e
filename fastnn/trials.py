"""Search: which of many choices make a network that does well on rows that it has not seen."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import _atomic
from . import metrics as metrics_of
from ._errors import (
    DivergenceError,
    FormatError,
    count,
    file_name,
    fraction,
    printable,
    reason,
    shown,
    unknown,
)
from ._progress import Progress, Unit, progress
from ._random import CHOOSE, stream
from .callbacks import RISING
from .many import Job, Team, common_of, named
from .metrics import Measure
from .network import Common, Network, checked_seed, is_shown, settings_of, strata
from .optimizers import Optimizer
from .rows import split
from .training import Described, Logs

Made = Network | tuple[Network, dict[str, Any]]
Point = dict[str, Any]  # a choice for each name

OWN = ("batch_size", "optimizer", "shuffle", "callbacks")  # what make may say of a fit
GIVEN = ("loss", "accuracy", "binary_accuracy")  # figures that are there without a metric
FORMAT, LARGEST = 1, 1 << 28  # of the file of results; bytes
TRAININGS = Unit("trainings")


@dataclass(frozen=True)
class Training:
    """What one training brought: figures of the validation rows, None if it diverged."""

    figures: Logs | None
    seconds: float


@dataclass(frozen=True)
class Trial:
    """Choices, and what they are worth: after so many epochs the score, NaN if that diverged.

    figures: all of the validation rows; seconds: of the training, others beside it.
    """

    choices: Point
    epochs: int
    score: float
    figures: Logs
    seconds: float


@dataclass(frozen=True, eq=False)
class Search:
    """What a search found: the trials, best first, and the network of the first one, trained."""

    trials: list[Trial]
    network: Network

    @property
    def best(self) -> Trial:
        """The first of the trials."""
        return self.trials[0]


def search(
    make: Callable[..., Made],
    x: ArrayLike,
    y: ArrayLike,
    choices: Mapping[str, Sequence[Any] | Callable[[np.random.Generator], Any]],
    *,
    draws: int | None = None,
    halving: int | None = None,
    epochs: int = 10,
    batch_size: int = 64,
    optimizer: str | Optimizer = "adam",
    validation_data: tuple[ArrayLike, ArrayLike] | None = None,
    validation_split: float = 0.2,
    score: str | Measure = "loss",
    seed: int = 0,
    path: str | os.PathLike[str] | None = None,
    num_threads: int | None = None,
    verbose: int = 1,
) -> Search:
    """Train a network for each combination of choices, many at once; the best comes first.

    make(**choices) gives a new network, or (network, options) with what `fit` shall have of its
    own: {"optimizer": ..., "batch_size": ...}. choices maps each name to a list; all combinations
    are tried. With draws, so many are drawn by the seed instead: of a list an entry, each as
    likely, and of a function(random) what it gives for a NumPy generator; equal ones count once.

    halving: successive halving. All are trained for few epochs, the best 1 / halving of them for
    `halving` times as many, from the start, and so on, the last ones for `epochs`.

    score: loss, accuracy or a metric of the validation rows: validation_data, else a share of the
    rows that is drawn by the seed, of each label alike, and not learned from. Accuracies, f1 and
    the like are better if larger. Networks are trained as by `fit_many`; results do not depend on
    num_threads. A training that diverges comes last.

    path: a file of results, written after each training; a search that was stopped goes on from
    there, given the same arguments. Raises ValueError if they are others, FormatError for another
    file. Raises DivergenceError if all diverge, ValueError and TypeError for what no network can
    be made of, or fitted on, before the first is trained.

    Source: Jamieson, Talwalkar, Non-stochastic best arm identification and hyperparameter
    optimization (2016), for the halving.
    """
    shows, number = is_shown(verbose), checked_seed(seed)
    points = drawn(choices, draws, number)
    plan = rungs(len(points), count("epochs", epochs), halving)
    options = {"batch_size": batch_size, "optimizer": optimizer}
    judge = Judge(Common(x, y), common_of(validation_data), score)
    maker = Maker(make, options)
    judge.check([maker.made(point)[0] for point in points], validation_split, number)
    about = {
        "choices": [repr(point) for point in points],
        "halving": halving and int(halving),
        "epochs": int(epochs),
        "options": repr(options),
        "rows": len(judge.data.x),
        "validation": repr(validation_split) if validation_data is None else "given",
        "score": judge.score,
        "seed": number,
    }
    journal = Journal(None if path is None else file_name(path), about)
    with progress("search", sum(size for size, _ in plan), TRAININGS, shows) as bar:
        return Climb(maker, judge, journal, num_threads, bar).up(points, plan)


# ----------------------------------------------------------------------------------------- choices


def drawn(
    choices: Mapping[str, Sequence[Any] | Callable[[np.random.Generator], Any]],
    draws: int | None,
    seed: int,
) -> list[Point]:
    """All combinations, or those that are drawn. Raises ValueError or TypeError for no choices."""
    if not isinstance(choices, Mapping):
        raise TypeError(f"expected choices as a dict of lists, got {shown(choices)}")
    for name, values in choices.items():
        if callable(values) and draws is None:
            raise ValueError(f"expected draws with a function as the choice of {name}, got none")
        if not callable(values) and (isinstance(values, str) or not isinstance(values, Sequence)):
            raise TypeError(f"expected the choices of {name} as a list, got {shown(values)}")
        if not callable(values) and not values:
            raise ValueError(f"expected choices of {name}, got none")
    if draws is None:
        lists = [values for values in choices.values() if not callable(values)]
        every = [dict(zip(choices, values, strict=True)) for values in product(*lists)]
    else:
        random = np.random.Generator(stream(seed, CHOOSE, 0))
        every = [
            {name: drawn_of(values, random) for name, values in choices.items()}
            for _ in range(count("draws", draws))
        ]
    return list({repr(point): point for point in every}.values())


def drawn_of(values: Sequence[Any] | Callable[[np.random.Generator], Any], random: Any) -> Any:
    """One of the values, or what the function gives."""
    return values(random) if callable(values) else values[int(random.integers(len(values)))]


def rungs(points: int, epochs: int, halving: int | None) -> list[tuple[int, int]]:
    """How many are trained in each rung, and for how many epochs."""
    if halving is None:
        return [(points, epochs)]
    if count("halving", halving) < 2:
        raise ValueError(f"expected halving to be at least 2, got {halving}")
    last = 0
    while halving ** (last + 1) <= min(points, epochs):
        last += 1
    return [(points // halving**k, epochs // halving ** (last - k)) for k in range(last + 1)]


@dataclass(frozen=True)
class Maker:
    """What makes a network of choices, and the options of its fit where it has none of its own."""

    make: Callable[..., Made]
    options: dict[str, Any]

    def made(self, point: Point) -> tuple[Network, dict[str, Any]]:
        """A new network, and how it is fitted."""
        with named(words(point)):
            found = self.make(**point)
            network, own = found if isinstance(found, tuple) else (found, {})
            if not isinstance(network, Network) or not isinstance(own, dict):
                raise TypeError(
                    f"expected make to give a network, or (network, options), got {shown(found)}"
                )
            for name in own:
                if name not in OWN:
                    raise unknown("option", name, OWN)
            options = {"shuffle": True, "callbacks": (), **self.options, **own}
            settings_of(network, **options, epochs=1, verbose=0, metrics=())
        return network, options


def words(point: Point) -> str:
    """The choices, for a message: units=3, rate=0.1."""
    return ", ".join(f"{name}={shown(value)}" for name, value in point.items()) or "no choices"


# ------------------------------------------------------------------------------------------ judging


class Judge:
    """The rows that networks learn from and are judged by, and what is asked of them."""

    def __init__(self, data: Common, validation: Common | None, score: str | Measure) -> None:
        self.data, self.validation = data, validation
        self.metrics = () if score in GIVEN else metrics_of.get([score])
        self.score = self.metrics[0].name if self.metrics else str(score)
        self.rises = self.score.endswith(RISING) or self.score.startswith("top_")
        self.learned: NDArray[np.int32] | None = None
        self.held_out: NDArray[np.int32] | None = None

    def check(self, networks: list[Network], share: float, seed: int) -> None:
        """Whether all can be fitted and judged; hold a share of the rows out."""
        for network in networks:
            self.data.seen_by(network)
            if self.validation is not None:
                self.validation.seen_by(network)
        if self.validation is None:
            _, y, _ = self.data.seen_by(networks[0])
            if len(y) < 2 or not fraction("validation_split", share):
                raise ValueError(
                    f"expected rows to validate on, got validation_split {share} of {len(y)} rows"
                )
            parts = split(seed, share, len(y), strata(networks[0], y))
            self.learned, self.held_out = parts

    def job(self, network: Network, team: Team, options: dict[str, Any]) -> Job:
        """The fit of a network, and what it is worth."""
        job, parts = Job(network), (self.learned, self.validation)
        job.prepare(team, self.data, rows=parts[0], validation=parts[1], metrics=(), **options)
        job.judge(self.held_out, self.metrics)
        return job

    def value(self, figures: Logs | None) -> float:
        """The score; NaN where there is none."""
        if figures is None:
            return math.nan
        if self.score not in figures:
            raise unknown("score", self.score, figures)
        return figures[self.score]


class Climb:
    """A search that goes on rung by rung."""

    def __init__(
        self, maker: Maker, judge: Judge, journal: Journal, num_threads: int | None, bar: Progress
    ) -> None:
        self.maker, self.judge, self.journal, self.bar = maker, judge, journal, bar
        self.num_threads = num_threads
        self.found: dict[int, Trial] = {}  # the latest of each point, by its place in the list
        self.kept: dict[int, Network] = {}  # the best of the networks of a rung, if trained now

    def up(self, points: list[Point], plan: list[tuple[int, int]]) -> Search:
        """All rungs, each with the best of the one before."""
        order = list(range(len(points)))
        for size, epochs in plan:
            self.kept = {}
            self.rung(points, order[:size], epochs)
            order = sorted(order[:size], key=self.rank) + order[size:]
        trials = [self.found[k] for k in order]
        if math.isnan(trials[0].score):
            raise DivergenceError("expected a training that brings a finite loss, got none")
        if order[0] not in self.kept:  # its result stood in the file
            self.train([order[0]], points, plan[-1][1])
        self.bar.finish(self.best_of(order))
        return Search(trials, self.kept[order[0]])

    def rank(self, k: int) -> tuple[float, int]:
        """What is smaller is better; of equals, the first."""
        score = self.found[k].score
        return math.inf if math.isnan(score) else -score if self.judge.rises else score, k

    def best_of(self, order: Iterable[int]) -> Described:
        """The best score of these, to be shown."""
        best = min(order, key=self.rank)
        return Described({f"best {self.judge.score}": self.found[best].score})

    def rung(self, points: list[Point], order: list[int], epochs: int) -> None:
        """Train those whose results are not known."""
        unknown_ones = []
        for k in order:
            training = self.journal.known.get((repr(points[k]), epochs))
            if training is None:
                unknown_ones.append(k)
            else:
                self.enter(k, points[k], epochs, training)
        self.train(unknown_ones, points, epochs)

    def enter(self, k: int, point: Point, epochs: int, training: Training) -> None:
        """A result."""
        score = self.judge.value(training.figures)
        self.found[k] = Trial(point, epochs, score, training.figures or {}, training.seconds)
        self.bar.advance(1, self.best_of(k for k in self.found if self.found[k].epochs == epochs))

    def train(self, order: list[int], points: list[Point], epochs: int) -> None:
        """Train these, and keep the best network."""
        team = Team(self.num_threads)
        places: dict[Job, int] = {}

        def jobs() -> Iterator[Job]:
            for k in order:
                with named(words(points[k])):
                    network, options = self.maker.made(points[k])
                    job = self.judge.job(network, team, {**options, "epochs": epochs})
                places[job] = k
                yield job

        def told(job: Job, logs: Logs | None) -> None:
            if logs is not None:
                return
            k = places.pop(job)
            seconds = math.fsum(job.run.history.history.get("seconds", ()))
            training = Training(None if job.error else job.figures, seconds)
            self.journal.add(points[k], epochs, training)
            self.enter(k, points[k], epochs, training)
            best = min([k, *self.kept], key=self.rank)
            self.kept = {best: self.kept.get(best, job.network)}

        team.carry_out(jobs(), team.most, told)


# -------------------------------------------------------------------------------------- the results


class Journal:
    """The results so far, in a file if there is a path: what a search goes on from.

    about: what decides the results. Raises ValueError that names what is not as in the file, a
    FormatError for another file.
    """

    def __init__(self, path: str | None, about: dict[str, Any]) -> None:
        self.path, self.about = path, about
        self.known: dict[tuple[str, int], Training] = {}
        import json

        if path is not None and _atomic.replaceable(path) is not None:
            try:
                with open(path, "rb") as file:
                    self._read(json.loads(file.read(LARGEST)))
            except (ValueError, RecursionError) as error:
                kind = ValueError if isinstance(error, _Other) else FormatError
                raise kind(f"{printable(path)}: {reason(error)}") from None

    def add(self, point: Point, epochs: int, training: Training) -> None:
        """One more, which is in the file when this returns."""
        import json

        self.known[repr(point), epochs] = training
        if self.path is not None:
            with _atomic.replacing(self.path) as file:
                file.write(json.dumps(self._described(), allow_nan=True).encode())

    def _described(self) -> dict[str, Any]:
        trainings = [
            {"choices": text, "epochs": epochs, "figures": found.figures, "seconds": found.seconds}
            for (text, epochs), found in self.known.items()
        ]
        return {"fastnn": "search", "format": FORMAT, "about": self.about, "trainings": trainings}

    def _read(self, found: Any) -> None:
        if not isinstance(found, dict) or found.get("fastnn") != "search":
            raise ValueError("expected the results of a search")
        if found.get("format") != FORMAT:
            raise ValueError(f"expected format {FORMAT}, got {shown(found.get('format'))}")
        about, trainings = found.get("about"), found.get("trainings")
        if not isinstance(about, dict) or not isinstance(trainings, list):
            raise ValueError("expected what the search is about, and its trainings")
        for name, wanted in self.about.items():
            if about.get(name) != wanted:
                there = f"{name} {shown(about.get(name))}, as in the file"
                raise _Other(f"expected {there}, got {shown(wanted)}")
        for entry in trainings:
            text, epochs, training = training_of(entry)
            self.known[text, epochs] = training


class _Other(ValueError):  # noqa: N818 (raised as a ValueError)
    """The file is of another search."""


def training_of(entry: Any) -> tuple[str, int, Training]:
    """One entry of the file. Raises ValueError if it is none."""
    names = {"choices": str, "epochs": int, "seconds": float}
    fine = isinstance(entry, dict) and all(type(entry.get(n)) is kind for n, kind in names.items())
    figures = entry.get("figures", ()) if fine else ()
    if isinstance(figures, dict):
        fine = all(type(value) is float for value in figures.values())
    if not fine or not (figures is None or isinstance(figures, dict)):
        raise ValueError(f"expected a training with its figures, got {shown(entry)}")
    return entry["choices"], entry["epochs"], Training(figures, entry["seconds"])
