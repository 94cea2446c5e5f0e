"""The smallest change of an input that changes the decision."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _arrays
from .._arrays import Array
from . import _functions
from ._functions import Function, index_of

if TYPE_CHECKING:
    from ..network import Network

ATTEMPTS = 8  # the first from the input itself
STEPS = 60  # to the other side,
ROUNDS = 40  # and along the boundary
HALVINGS = 40
AHEAD = 1e-3  # by how much the score of the target leads in the end
BETTER = 1e-4  # of the distance: a round that gains less is the last

Vector = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Counterfactual:
    """An input (I,) that is taken for the target, what was changed for it, and how far it is.

    distance: Euclidean, in scaled inputs: deviations where columns are standardised.
    """

    x: Vector
    change: Vector
    distance: float


def counterfactual(
    net: Network,
    x: ArrayLike,
    target: int,
    *,
    low: ArrayLike | None = None,
    high: ArrayLike | None = None,
    frozen: ArrayLike = (),
) -> Counterfactual:
    """The smallest change of one input x (I,) that makes the network decide for the class `target`.

    low, high: numbers or (I,), between which the input stays; for bytes 0 and 255, else no bounds
    unless they are given. frozen: numbers of features that stay as they are. What is found is the
    best of some local minima: the boundary is walked along from where steep ways meet it.

    Raises ValueError where nothing within the bounds is taken for the target or no steep way
    finds it, for classes or features that there are not, and for several inputs.

    Sources: Wachter, Mittelstadt, Russell, Counterfactual explanations without opening the black
    box (2018); Moosavi-Dezfooli, Fawzi, Frossard, DeepFool (2016).
    """
    array = _arrays.real("x", x)
    row = net.rows(array[None] if array.shape == (net.inputs,) else array)
    if len(row) != 1:
        raise ValueError(f"expected one input ({net.inputs},), got {array.shape}")
    net.classify(row)  # refuses outputs that are no classes
    wanted = index_of("target", target, max(net.outputs, 2))
    f = _functions.scores(net)
    start = f.scaled(row)[0]
    box = bounds(f, row, low, high, np.atleast_1d(np.asarray(frozen, np.int64)))
    lead = Lead(f.of_scaled(), wanted, 0.0 if net.activation.name == "sigmoid" else 0.5)
    here = np.clip(start, *box)
    if lead(here) < AHEAD:
        here = smallest(lead, start, box)
    found = f.in_units(here[None])[0]
    fixed = box[0] == box[1]
    found[fixed] = row[0][fixed]
    if net.classify(found[None].astype(net.dtype))[0] != wanted:
        raise ValueError(f"expected an input within the bounds of class {wanted}, found none")
    distance = float(np.linalg.norm(here - start))
    return Counterfactual(found, found - row[0], distance)


@dataclass(frozen=True, eq=False)
class Lead:
    """By how much the score of the target leads the largest other, at scaled inputs (I,)."""

    f: Function
    target: int
    threshold: float  # of a single output

    def __call__(self, h: Vector) -> float:
        return self._of(h)[0]

    def _of(self, h: Vector) -> tuple[float, NDArray[np.float64]]:
        """The lead, and the direction (1, O) of the scores that it is made of."""
        z = self.f(h[None].astype(self.f.dtype))[0].astype(np.float64)
        d = np.zeros((1, len(z)))
        if len(z) == 1:
            d[0, 0] = 1.0 if self.target == 1 else -1.0
            return float(d[0, 0] * (z[0] - self.threshold)), d
        others = np.where(np.arange(len(z)) == self.target, -np.inf, z)
        d[0, self.target], d[0, others.argmax()] = 1, -1
        return float(z[self.target] - others.max()), d

    def slope(self, h: Vector) -> tuple[float, Vector]:
        """The lead and its gradient (I,)."""
        lead, d = self._of(h)
        return lead, self.f.gradient(h[None].astype(self.f.dtype), d)[0].astype(np.float64)


Box = tuple[Vector, Vector]


def bounds(
    f: Function,
    row: Array,
    low: ArrayLike | None,
    high: ArrayLike | None,
    frozen: NDArray[np.int64],
) -> Box:
    """The least and largest scaled inputs (I,)."""
    if row.dtype == np.uint8:
        low, high = 0 if low is None else low, 255 if high is None else high
    edges = []
    for name, edge, nothing in (("low", low, -np.inf), ("high", high, np.inf)):
        given = np.asarray(nothing) if edge is None else _arrays.real(name, edge)
        if given.shape not in ((), row.shape[1:]):
            raise ValueError(f"expected {name} of shape {row.shape[1:]}, got {given.shape}")
        edges.append(np.broadcast_to(given, row.shape[1:]).astype(np.float64))
    if not (edges[0] <= edges[1]).all():
        raise ValueError("expected low up to high, got low above high")
    here = f.scaled(row)[0]
    with np.errstate(invalid="ignore"):  # infinity times a column's factor of zero
        least, most = (np.nan_to_num(f.scaled(e[None])[0], nan=0.0) for e in edges)
    for k in frozen.tolist():
        feature = index_of("frozen", k, len(here))
        least[feature] = most[feature] = here[feature]
    return least, most


def smallest(lead: Lead, start: Vector, box: Box) -> Vector:
    """The nearest point where the target leads, of those found from the start and around it."""
    random, best = np.random.default_rng(0), np.clip(start, *box)
    distance, reach = np.inf, 1.0
    for attempt in range(ATTEMPTS):
        away = random.normal(size=len(start)) * reach / np.sqrt(len(start))
        there = across(lead, np.clip(start + away * (attempt > 0), *box), box)
        if lead(there) < AHEAD:
            continue
        found = along(lead, start, there, box)
        reach = float(np.linalg.norm(found - start))
        if reach < distance:
            best, distance = found, reach
    return best


def across(lead: Lead, here: Vector, box: Box) -> Vector:
    """A point where the target leads, by steps to where the linear function would."""
    for _ in range(STEPS):
        ahead, slope = lead.slope(here)
        if ahead >= AHEAD:
            break
        here = nearest(here, slope, 2 * AHEAD - ahead, box)
    return here


def along(lead: Lead, start: Vector, there: Vector, box: Box) -> Vector:
    """A point where the target just leads, nearer and nearer to the start."""
    best = to_boundary(lead, start, there)
    for _ in range(ROUNDS):
        ahead, slope = lead.slope(best)
        wanted = AHEAD - ahead - float(slope @ (np.clip(start, *box) - best))
        tip = nearest(np.clip(start, *box), slope, wanted, box)
        before = float(np.linalg.norm(best - start))
        for _ in range(10):
            if lead(tip) >= AHEAD:
                break
            tip = (tip + best) / 2
        tip = to_boundary(lead, start, tip) if lead(tip) >= AHEAD else best
        gained = before - float(np.linalg.norm(tip - start))
        if gained > 0:
            best = tip
        if gained < BETTER * before:
            break
    return best


def to_boundary(lead: Lead, start: Vector, there: Vector) -> Vector:
    """The last point between start and there, from there, where the target leads."""
    near, far = 0.0, 1.0
    for _ in range(HALVINGS):
        middle = (near + far) / 2
        if lead(start + middle * (there - start)) >= AHEAD:
            far = middle
        else:
            near = middle
        if far - near < 1e-6:
            break
    return start + far * (there - start)


def nearest(here: Vector, slope: Vector, wanted: float, box: Box) -> Vector:
    """The point of the box nearest to here where slope @ (point - here) is what is wanted.

    It is here + clip(λ slope), λ found by halving; where none has so much, the one with most.
    """
    low, high = box

    def at(step: float) -> Vector:
        return np.clip(here + step * slope, low, high)

    steep = float(slope @ slope)
    if steep == 0:
        return here
    far = max(wanted / steep, 0.0)
    for _ in range(60):
        if slope @ (at(far) - here) >= wanted:
            break
        far *= 2
    else:
        return at(far)
    near = 0.0
    for _ in range(HALVINGS):
        middle = (near + far) / 2
        near, far = (near, middle) if slope @ (at(middle) - here) >= wanted else (middle, far)
    return at(far)
