"""Our estimators beside scikit-learn's, turn by turn: `python -m bench.estimators [--data DIR]`.

Prints a line for each row of the table in bench/README.md: seconds of each at the median, and the
median of the turns' ratios, how many times as fast ours is. Both get the same arguments, data and
seeds, and so learn the same network; scikit-learn's products may use all threads of its BLAS, which
chooses its core type itself.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from statistics import median
from typing import Any

import numpy as np
import scipy.sparse
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV
from sklearn.neural_network import MLPClassifier as Theirs
from threadpoolctl import threadpool_info

import fastnn
from fastnn.estimators import MLPClassifier as Ours

PAUSE = 0.2  # seconds before each turn
Row = tuple[str, int, Callable[[], object], Callable[[], object]]  # name, turns, ours, theirs


def fits(x: Any, y: Any, x_theirs: Any = None, **options: Any) -> list[Callable[[], object]]:
    """A fit by ours, and one by scikit-learn's."""
    rows = {Ours: x, Theirs: x if x_theirs is None else x_theirs}
    own = {Ours: {"dtype": options.pop("dtype", None)}, Theirs: {}}

    def fit(kind: Any) -> Callable[[], object]:
        return lambda: kind(random_state=0, **options, **own[kind]).fit(rows[kind], y)

    return [fit(Ours), fit(Theirs)]


def words(rows: int, columns: int, per_row: int) -> tuple[Any, Any]:
    """Rows as TF-IDF has them: few of many columns, some columns in most rows, 20 classes."""
    random = np.random.default_rng(0)
    drawn = (columns * random.random((rows, per_row)) ** 3).astype(np.int32)
    starts = np.arange(0, rows * per_row + 1, per_row, dtype=np.int32)
    parts = random.random(rows * per_row), drawn.ravel(), starts
    x = scipy.sparse.csr_array(parts, shape=(rows, columns))
    x.sum_duplicates()
    return x, random.integers(0, 20, rows)


def grid(kind: Any, x: Any, y: Any) -> Callable[[], object]:
    """scikit-learn's search over eight networks, two at a time."""
    made = kind(max_iter=3, random_state=0)
    choices = {"hidden_layer_sizes": [(16,), (32,), (64,), (128,)], "alpha": [1e-4, 1e-2]}
    return lambda: GridSearchCV(made, choices, n_jobs=2, cv=2, refit=False).fit(x, y)


def same_grid(x: Any, y: Any) -> Callable[[], object]:
    """The same sixteen fits by `fit_many`."""

    def run() -> object:
        half = len(x) // 2
        parts = [np.arange(half), np.arange(half, len(x))]
        nets, rows = [], []
        for units in (16, 32, 64, 128):
            for l2 in (1e-4, 1e-2):
                for part in parts:
                    hidden, output = fastnn.Dense(units, "relu", l2=l2), fastnn.Dense(10, "softmax")
                    nets.append(fastnn.Network(x.shape[1], [hidden, output]))
                    rows.append(part)
        return fastnn.fit_many(nets, x, y, epochs=3, batch_size=200, rows=rows, verbose=0)

    return run


def table(folder: str | None) -> Iterator[Row]:
    """All rows; what is heavy is made when its turn comes."""
    (x, y), _ = fastnn.datasets.load_mnist(folder)
    x64 = x / 255.0
    x32 = x64.astype(np.float32)
    yield "MNIST, defaults, 3 epochs, float64", 3, *fits(x64, y, max_iter=3)
    yield "MNIST, defaults, 3 epochs, float32", 3, *fits(x32, y, max_iter=3)
    yield "MNIST, batches of 32, 1 epoch, float64", 3, *fits(x64, y, max_iter=1, batch_size=32)
    yield "MNIST, batches of 32, 1 epoch, float32", 3, *fits(x32, y, max_iter=1, batch_size=32)
    as_bytes = fits(x, y, x64, max_iter=3, dtype="float32")
    yield "MNIST, 3 epochs, bytes in float32 / float64", 3, *as_bytes
    random = np.random.default_rng(0)
    small, labels = random.normal(size=(500, 20)), random.integers(0, 2, 500)
    yield "500 x 20, defaults, 200 epochs", 7, *fits(small, labels, max_iter=200)
    some, few = x64[:5000], y[:5000]
    yield "L-BFGS, 5,000 of MNIST, 30 iterations", 3, *fits(some, few, solver="lbfgs", max_iter=30)
    theirs = Theirs(max_iter=2, random_state=0).fit(some, few)
    ours = fastnn.from_sklearn(theirs)
    one = x64[:1]

    def again(made: Any) -> Callable[[], object]:
        return lambda: [made.predict_proba(one) for _ in range(200)]

    yield "predict_proba of one row, 200 times", 9, again(ours), again(theirs)
    sparse, topics = words(11000, 100000, 100)
    yield "TF-IDF 11,000 x 100,000, 1 epoch", 3, *fits(sparse, topics, max_iter=1)
    theirs = Theirs(max_iter=1, random_state=0).fit(sparse[:400], topics[:400])
    ours = fastnn.from_sklearn(theirs)
    yield (
        "TF-IDF, predict_proba", 5,
        lambda: ours.predict_proba(sparse), lambda: theirs.predict_proba(sparse),
    )  # fmt: skip
    yield "GridSearchCV(n_jobs=2), 16 fits", 3, grid(Ours, some, few), grid(Theirs, some, few)
    yield "16 fits by fit_many / GridSearchCV", 3, same_grid(some, few), grid(Theirs, some, few)


def seconds(run: Callable[[], object]) -> float:
    """What a turn takes, once the threads of the other's BLAS, which spin after its turn, sleep."""
    time.sleep(PAUSE)
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--data", help="the folder of the MNIST files; default: as load_mnist()")
    parser.add_argument("--only", default="", help="rows whose names have this in them")
    chosen = parser.parse_args()
    if os.environ.pop("OPENBLAS_CORETYPE", None):  # some machines set one; it is read at the start
        os.execv(sys.executable, [sys.executable, "-m", "bench.estimators", *sys.argv[1:]])
    warnings.simplefilter("ignore", ConvergenceWarning)
    for pool in threadpool_info():
        if pool["user_api"] == "blas":
            kind = pool.get("architecture", "")
            print(f"BLAS: {pool['internal_api']} {kind}, {pool['num_threads']} threads")
    print("| what | fastnn, s | scikit-learn, s | times as fast | turns |\n" + "| --- " * 5 + "|")
    for name, turns, ours, theirs in table(chosen.data):
        if chosen.only not in name:
            continue
        seconds(ours)  # once before it counts
        found = []
        for turn in range(turns):
            both = {run: seconds(run) for run in ((ours, theirs) if turn % 2 else (theirs, ours))}
            found.append((both[ours], both[theirs]))
        mine, other = (median(side) for side in zip(*found, strict=True))
        ratios = sorted(b / a for a, b in found)
        print(
            f"| {name} | {mine:.4g} | {other:.4g} | {median(ratios):.2f} "
            f"| {ratios[0]:.2f}-{ratios[-1]:.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
