"""Plain digits, big nets: `python bench/ciresan.py [--mnist DIR] [--picture FILE]`.

Ciresan, Meier, Gambardella, Schmidhuber, Deep, big, simple neural nets for handwritten digit
recognition (2010): a multilayer perceptron on digits that are deformed anew in each epoch;
784-1000-500-10 ends at 0.49 % wrong test digits there, after hours on a GPU. Here it is the same
network with relu, Adam and a rate that falls to nothing, in less than half an hour on two cores.

All 60,000 training digits are learned from. The test digits are looked at after each epoch for the
curve and choose nothing: what counts is the last epoch.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import fastnn
from fastnn.network import Network

HIDDEN = (1000, 500)
BOOK = 0.49  # % wrong, of the paper
AUGMENT = fastnn.Augment(shift=1.5, rotation=12, scaling=0.15, shear=8, elastic=(5, 36))
OPTIMIZER = fastnn.Adam(fastnn.OneCycle(2e-3))
EPOCHS = 400
BATCH = 128

Curve = list[float]  # % wrong after each epoch


def trained(folder: str | None, epochs: int, seed: int) -> tuple[Curve, Curve]:
    """The errors after each epoch: of deformed digits before they are learned, of test digits."""
    (x, y), test = fastnn.datasets.load_mnist(folder)
    net = fastnn.mlp([784, *HIDDEN, 10], input_scale=1 / 255, seed=seed)
    learned: Curve = []
    tested: Curve = []
    start = time.perf_counter()

    def tell(_: Network, epoch: int, logs: dict[str, float]) -> None:
        learned.append(100 * (1 - logs["accuracy"]))
        tested.append(100 * (1 - logs["val_accuracy"]))
        minutes = (time.perf_counter() - start) / 60
        print(
            f"epoch {epoch:4}  {minutes:6.2f} min  deformed {learned[-1]:6.2f} %  "
            f"test {tested[-1]:5.2f} % wrong",
            flush=True,
        )

    net.fit(
        x, y, epochs=epochs, batch_size=BATCH, optimizer=OPTIMIZER, augment=AUGMENT,
        validation_data=test, callbacks=[tell], verbose=0,
    )  # fmt: skip
    return learned, tested


def draw(learned: Curve, tested: Curve, path: Path) -> None:
    """The learning curve, as a picture."""
    import matplotlib
    from matplotlib.figure import Figure

    matplotlib.rcParams |= {"svg.hashsalt": "fastnn", "svg.fonttype": "none", "font.size": 9}
    figure = Figure(figsize=(6, 3.5), layout="constrained")
    axes = figure.subplots()
    epochs = range(1, len(tested) + 1)
    axes.semilogy(epochs, learned, color="#30638e", label="deformed training digits")
    axes.semilogy(epochs, tested, color="#d1495b", label=f"test digits, {tested[-1]:.2f} % at last")
    axes.axhline(BOOK, color="#888888", linestyle=":", label=f"the paper, {BOOK} %")
    axes.set(xlabel="epoch", ylabel="wrong digits, %")
    axes.set_yticks([0.5, 1, 2, 5, 10], labels=["0.5", "1", "2", "5", "10"])
    axes.minorticks_off()
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def main() -> None:
    parser = argparse.ArgumentParser(description="784-1000-500-10 on deformed digits.")
    parser.add_argument("--mnist", help="the folder of the MNIST files; default: as load_mnist()")
    parser.add_argument(
        "--picture", type=Path, help="where to draw the learning curve (.svg, .png)"
    )
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if options.picture is not None:
        try:
            import matplotlib  # noqa: F401 (before the work, should it be missing)
        except ImportError:
            sys.exit("matplotlib is needed for pictures: python -m pip install matplotlib")
    learned, tested = trained(options.mnist, options.epochs, options.seed)
    if options.picture is not None:
        draw(learned, tested, options.picture)
    print(f"after the last epoch {tested[-1]:.2f} % of the test digits are wrong")


if __name__ == "__main__":
    main()
