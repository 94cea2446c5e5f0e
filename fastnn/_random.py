"""Counter-based randomness: a number is a function of (seed, purpose, index, position)."""

from __future__ import annotations

import numpy as np

INITIALIZE, SHUFFLE = range(2)  # purposes; the index is the layer, or the epoch


def stream(seed: int, purpose: int, index: int) -> np.random.Philox:
    """The random stream of one purpose, e.g. the order of rows in epoch `index`.

    Source: Salmon et al., Parallel random numbers: as easy as 1, 2, 3 (SC 2011).
    """
    return np.random.Philox(
        key=np.array([seed, purpose], np.uint64), counter=np.array([0, 0, index, 0], np.uint64)
    )
