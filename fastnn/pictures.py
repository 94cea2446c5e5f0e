"""Drawn and photographed digits as MNIST has them: ink on paper, centred and scaled.

`fastnn/play/web/digit.js` is the same arithmetic in the browser.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._errors import FormatError, reason
from .readers import StrPath

Array = NDArray[Any]

SIDE, BOX = 28, 20  # pixels of MNIST's pictures, and of the box that a digit fills there
FAINT = 0.1  # of the darkest ink: what is less does not count as the digit's edge
NOISE = 0.3  # of the darkest ink of a photograph: what is less is paper
WHITE = 127.5  # paper that is brighter is dark on light, and is inverted
MOST_PIXELS = 64_000_000  # of a picture: a telephone's have 50 million
WORKED = 1000  # pixels of the longer side at most that are looked at
PICTURES = (".png", ".jpg", ".jpeg")


def centred(ink: Array, side: int = SIDE) -> NDArray[np.uint8]:
    """A digit, ink (H, W) from 0, as one of MNIST's pictures (side, side), 0 paper to 255 ink.

    Its bounding box is scaled to 20 pixels (of 28), each the mean of what it covers; then its
    centre of mass is moved to the middle, by whole pixels. Without ink all is paper.

    Source: LeCun, Bottou, Bengio, Haffner, Gradient-based learning applied to document
    recognition, 1998.
    """
    picture = np.zeros((side, side), np.uint8)
    ink = np.asarray(ink, np.float64)
    seen = ink > FAINT * ink.max(initial=0.0)
    if not seen.any():
        return picture
    rows, columns = (np.flatnonzero(seen.any(axis)) for axis in (1, 0))
    part = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    scale = nearest(side * BOX / SIDE) / max(part.shape)
    height, width = (max(1, nearest(n * scale)) for n in part.shape)
    small = means(height, part.shape[0]) @ part @ means(width, part.shape[1]).T
    top = place(small.sum(axis=1), side)
    left = place(small.sum(axis=0), side)
    picture[top : top + height, left : left + width] = small * (255 / small.max()) + 0.5
    return picture


def means(small: int, large: int) -> NDArray[np.float64]:
    """The matrix (small, large) that makes `large` pixels `small` ones: means of what each covers.

    A pixel that is covered in part counts in part.
    """
    step = large / small
    end, last = np.arange(1, small + 1)[:, None] * step, np.arange(1, large + 1)
    covered = np.minimum(end, last) - np.maximum(end - step, last - 1)
    shares: NDArray[np.float64] = np.maximum(covered, 0) / step
    return shares


def place(sums: NDArray[np.float64], side: int) -> int:
    """Where pixels of these sums begin, so that their centre of mass is the pixel in the middle."""
    centre = float(sums @ np.arange(len(sums))) / float(sums.sum())
    return min(max(nearest(side / 2 - centre), 0), side - len(sums))


def nearest(value: float) -> int:
    """The nearest whole number, halves upwards, as JavaScript rounds."""
    return int(np.floor(value + 0.5))


def ink_of(grey: Array) -> NDArray[np.float64]:
    """The ink (H, W) of a photograph or a scan (H, W), 0 black to 255 white.

    The light on the paper may fall off to one side. Paper that is white is inverted first;
    what is faint beside the darkest ink counts as paper, too.
    """
    grey = np.asarray(grey, np.float64)
    if np.median(grey) > WHITE:
        grey = 255 - grey
    ink = np.maximum(grey - plane(grey), 0)
    darkest = float(np.quantile(ink, 0.999)) if ink.size > WORKED else float(ink.max())
    return np.where(ink < NOISE * darkest, 0, np.minimum(ink, darkest))


def plane(grey: NDArray[np.float64]) -> NDArray[np.float64]:
    """The light (H, W) that falls on the paper: a plane through the pixels that are no ink."""
    height, width = grey.shape
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    terms = np.stack([np.ones(grey.size), y.ravel(), x.ravel()], axis=1)
    values, paper = grey.ravel(), np.ones(grey.size, bool)
    light = np.full(grey.size, np.median(values))
    for _ in range(4):  # least squares; what lies above by far is ink, and is left out
        spread = float(np.median(np.abs(values - light)[paper]))
        paper = values - light < 4 * spread + 1
        light = terms @ np.linalg.lstsq(terms[paper], values[paper], rcond=None)[0]
    return light.reshape(grey.shape)


def is_picture_file(path: str) -> bool:
    """Whether the file's name is that of a picture."""
    return path.lower().endswith(PICTURES)


def read_picture(path: StrPath, side: int = SIDE) -> NDArray[np.uint8]:
    """The digit on a PNG or JPEG picture as MNIST has it: (side, side), 0 paper to 255 ink.

    Raises ImportError without Pillow, OSError if the file cannot be read, FormatError if it is no
    picture, or one of more than 64 million pixels.
    """
    try:
        from PIL import Image, ImageOps
    except ImportError:
        raise ImportError('pictures need Pillow: pip install "fastnn-cpu[image]"') from None
    with open(path, "rb") as file:
        try:
            with Image.open(file, formats=("PNG", "JPEG")) as image:
                if image.width * image.height > MOST_PIXELS:
                    raise ValueError(f"{image.width} x {image.height} pixels are too many")
                image.draft("L", (WORKED, WORKED))
                upright = ImageOps.exif_transpose(image)
                if upright.has_transparency_data:  # on white paper
                    paper = Image.new("RGBA", upright.size, "white")
                    paper.alpha_composite(upright.convert("RGBA"))
                    upright = paper
                grey = upright.convert("L")
                grey.thumbnail((WORKED, WORKED))
                return centred(ink_of(np.asarray(grey)), side)
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            text = f"expected a PNG or JPEG picture, got one that cannot be read: {reason(error)}"
            raise FormatError(f"{path}: {text}") from None
