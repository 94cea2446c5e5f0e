"""Augmentation: images that are deformed anew each time they are learned from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ._errors import fraction, number, shown, whole
from .program import LONGEST_SIDE, SMALLEST_SIGMA


@dataclass(frozen=True)
class Augment:
    """Deforms the rows that a fit learns from, as images; all others stay as they are.

    Each time a row is learned from, numbers are drawn uniformly from -a to a, a function of the
    network's seed, the epoch, the update and the row of the batch. From them the image is
    scaled and sheared about its middle, rotated, shifted and warped, in one bilinear resampling;
    beyond its edges it is 0, in the units of x.

    shift: pixels, a number for each axis. rotation: degrees up to 180. scaling: a fraction in
    [0, 1); factors 1 - a to 1 + a, one for each axis. shear: degrees below 90, sideways. elastic:
    (sigma, alpha): a displacement for each pixel, drawn from -1 to 1 on each axis, smoothed by a
    Gaussian of standard deviation sigma (pixels, at least 1), times alpha: alpha / (6.14 sigma)
    pixels on each axis at the mean square. The noise that is smoothed lies sigma apart, and as much
    stronger: the same variance and correlation to 0.1 %, at a fraction of the work. noise: added to
    each pixel at last, in the units of x. shape: (height, width) of an image; rows are their pixels
    line by line.

    Raises ValueError for numbers out of their range or a shape that is none, TypeError for what is
    no number.

    Source: Simard, Steinkraus, Platt, Best practices for convolutional neural networks applied to
    visual document analysis (2003); Ciresan, Meier, Gambardella, Schmidhuber, Deep, big, simple
    neural nets for handwritten digit recognition (2010).
    """

    shift: float = 0.0
    rotation: float = 0.0
    scaling: float = 0.0
    shear: float = 0.0
    elastic: tuple[float, float] | None = None
    noise: float = 0.0
    shape: tuple[int, int] = (28, 28)

    def __post_init__(self) -> None:
        height, width = (side(value) for value in pair("shape (height, width)", self.shape))
        object.__setattr__(self, "shape", (height, width))
        for name, most in (("shift", max(height, width)), ("rotation", 180.0), ("noise", math.inf)):
            object.__setattr__(self, name, within(name, getattr(self, name), most))
        object.__setattr__(self, "shear", within("shear", self.shear, 90.0))
        if self.shear == 90:
            raise ValueError(f"expected shear below 90 degrees, got {self.shear}")
        object.__setattr__(self, "scaling", fraction("scaling", self.scaling))
        if self.elastic is not None:
            sigma, alpha = pair("elastic (sigma, alpha)", self.elastic)
            checked = within("sigma", sigma), within("alpha", alpha)
            if checked[0] < SMALLEST_SIGMA:
                raise ValueError(f"expected sigma of at least 1 pixel, got {sigma}")
            object.__setattr__(self, "elastic", checked)

    def numbers(self) -> NDArray[np.float64] | None:
        """What engines read, `Program.augmentation`; None if it does nothing."""
        sigma, alpha = self.elastic or (1.0, 0.0)
        if not any((self.shift, self.rotation, self.scaling, self.shear, alpha, self.noise)):
            return None
        turn, slant = math.radians(self.rotation), math.radians(self.shear)
        return np.array(
            [
                (0.0, self.shift),
                (0.0, self.shift),
                (1.0, self.scaling),
                (1.0, self.scaling),
                (0.0, turn),
                (0.0, slant),
                (sigma, alpha),
                (0.0, self.noise),
                self.shape,
            ]
        )

    def check(self, inputs: int, shape: tuple[int, ...]) -> None:
        """Raise ValueError unless rows of so many features, of an x (B, ...), are such images."""
        height, width = self.shape
        if height * width != inputs:
            expected = f"{height * width} features, images of {height} x {width}"
            raise ValueError(f"expected rows of {expected}, for augment, got {inputs}")
        if len(shape) > 2 and tuple(n for n in shape[1:] if n > 1) != tuple(
            n for n in self.shape if n > 1
        ):
            raise ValueError(f"expected x of images {height} x {width}, for augment, got {shape}")


def pair(name: str, values: object) -> tuple[float, float]:
    """Two values. Raises TypeError for anything else."""
    if not isinstance(values, Sequence) or isinstance(values, str) or len(values) != 2:
        raise TypeError(f"expected {name} as two numbers, got {shown(values)}")
    return values[0], values[1]


def side(value: float) -> int:
    """The height or width of an image."""
    result = whole("a side of shape", value)  # type: ignore[arg-type]
    if not 1 <= result <= LONGEST_SIDE:
        raise ValueError(f"expected sides from 1 to {LONGEST_SIDE} in shape, got {shown(value)}")
    return result


def within(name: str, value: float, most: float = math.inf) -> float:
    """The value as a float. Raises ValueError unless it is finite, from 0 to `most`."""
    result = number(name, value)
    if not (math.isfinite(result) and 0 <= result <= most):
        limit = "" if most == math.inf else f" to {most:g}"
        raise ValueError(f"expected {name} from 0{limit}, got {value}")
    return result
