"""Counter-based randomness: a number is a function of (seed, purpose, index, position).

Source: Salmon et al., Parallel random numbers: as easy as 1, 2, 3 (SC 2011).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

# purposes; the index is the layer, the epoch, the update; 0 of a validation split, 1 of folds
INITIALIZE, SHUFFLE, DROP, SPLIT, AUGMENT, CHOOSE = range(6)
SAMPLE = 255  # another purpose: which rows a sample has
LOW = np.uint64(0xFFFFFFFF)  # the low word


def stream(seed: int, purpose: int, index: int) -> np.random.Philox:
    """The random stream of one purpose, e.g. the order of rows in epoch `index`."""
    return rewound(np.random.Philox(0), seed, purpose, index)


def rewound(random: np.random.Philox, seed: int, purpose: int, index: int) -> np.random.Philox:
    """The stream in a generator that is there already: a new one takes longer than 200 words."""
    state: Any = {
        "bit_generator": "Philox",
        "state": {"counter": (0, 0, index, 0), "key": (seed, purpose)},
        "buffer": (0, 0, 0, 0),
        "buffer_pos": 4,  # nothing in it
        "has_uint32": 0,
        "uinteger": 0,
    }
    random.state = state
    return random


def philox(counters: NDArray[np.uint64], key: tuple[int, int]) -> NDArray[np.uint64]:
    """Philox4x32-10: the four words (4, ...) of each counter (4, ...), all below 2^32."""
    a, b, c, d = counters
    low, high = key
    for _ in range(10):
        p, q = a * np.uint64(0xD2511F53), c * np.uint64(0xCD9E8D57)
        a, b = (q >> np.uint64(32)) ^ b ^ np.uint64(low), q & LOW
        c, d = (p >> np.uint64(32)) ^ d ^ np.uint64(high), p & LOW
        low, high = (low + 0x9E3779B9) % (1 << 32), (high + 0xBB67AE85) % (1 << 32)
    return np.stack([a, b, c, d])


def words(
    seed: int, purpose: int, update: int, op: int, rows: NDArray[np.int64], columns: int
) -> NDArray[np.uint64]:
    """A random word, below 2^32, for each of these rows and columns of an op in one update.

    Column j has word (j // 16) % 4 of the counter (16 * (j // 64) + j % 16, row).
    """
    counter = np.array([update % (1 << 32), update >> 32, op, purpose], np.uint64)
    low, high = philox(counter, (seed % (1 << 32), seed >> 32))[:2].tolist()
    j = np.arange(columns)
    first, row = np.broadcast_arrays(16 * (j // 64) + j % 16, rows[:, None])
    counters = np.stack([first, row, row >> 32, 0 * row]).astype(np.uint64)
    found = philox(counters & LOW, (low, high))
    chosen: NDArray[np.uint64] = np.take_along_axis(found, ((j // 16) % 4)[None, None, :], 0)[0]
    return chosen
