"""The README's pictures of what a network sees, from the shipped digits.

`python -m bench.pictures` needs the `plot` extra. They come out
the same wherever the seed gives the same bits.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib
import numpy as np

import fastnn
from fastnn import drawing, inspection, plotting

PLOTS = Path(__file__).parent / "plots"
KNOWN = {"metadata": {"Software": None}, "dpi": 100}


def main() -> None:
    matplotlib.use("agg")
    from matplotlib import pyplot

    (x, y), (x_test, y_test) = fastnn.datasets.load_digits()
    net = fastnn.mlp([784, 16, 16, 10], hidden="sigmoid", input_scale=1 / 255)
    rate = fastnn.OneCycle(2e-2)
    net.fit(x, y, epochs=20, optimizer=fastnn.Adam(rate), verbose=0)
    print(net.evaluate(x_test, y_test))
    right = net.classify(x_test) == y_test

    three = x_test[np.flatnonzero(right & (y_test == 3))[0]]
    picture = drawing.svg(drawing.network_drawing(net, three))
    (PLOTS / "network.svg").write_text(picture, encoding="utf-8")

    plotting.plot_weights(net).figure_.savefig(PLOTS / "weights.png", **KNOWN | {"dpi": 150})

    wide = fastnn.mlp([784, 128, 10], input_scale=1 / 255)
    wide.fit(x, y, epochs=8, optimizer=fastnn.Adam(fastnn.OneCycle(5e-3)), verbose=0)
    nine = x_test[np.flatnonzero((wide.classify(x_test) == 9) & (y_test == 9))[0]]
    titles = {"why 9?": None, "why 9 and not 4?": 4, "why 9 and not 7?": 7}
    figure, axes = pyplot.subplots(1, 4, figsize=(9.6, 2.8), layout="constrained")
    axes[0].imshow(nine.reshape(28, 28), cmap="gray")
    axes[0].set(xticks=[], yticks=[], title="the input")
    for ax, (title, against) in zip(axes[1:], titles.items(), strict=True):
        shares = inspection.attribute(wide, nine[None], 9, against)
        plotting.plot_attributions(shares, nine, ax=ax).ax_.set_title(title)
    figure.savefig(PLOTS / "attributions.png", **KNOWN)


if __name__ == "__main__":
    main()
