"""Pictures: what stands in a network's, as SVG and by matplotlib, and the other displays."""

import base64
import struct
import sys
import zlib
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest

import fastnn
from fastnn import drawing, inspection, plotting

matplotlib.use("agg")
from matplotlib import pyplot

X = np.random.default_rng(0).integers(0, 256, (40, 784)).astype("uint8")
Y = np.arange(40) % 10


@pytest.fixture(autouse=True)
def closed():
    """No figure outlives its test."""
    yield
    pyplot.close("all")


def digits(*hidden):
    return fastnn.mlp([784, *hidden, 10], hidden="sigmoid", input_scale=1 / 255)


def table(classes=("ant", "bee", "<fly>")):
    layers = [fastnn.Dense(3, "tanh"), fastnn.Dropout(0.1), fastnn.Dense(len(classes), "softmax")]
    net = fastnn.Network(4, layers)
    net.classes, net.features = classes, ("legs", "wings", "eyes", "size & weight")
    return net


# The picture of a network.


def test_a_network_by_hand():
    net = fastnn.Network(2, [fastnn.Dense(2, "relu"), fastnn.Dropout(0.5), fastnn.Dense(1)])
    net.layers[0].weights[...] = [[2, -4], [0, 1]]
    net.layers[2].weights[...] = [[1], [5]]
    found = drawing.network_drawing(net, [1.0, 3.0])
    columns = sorted({c.x for c in found.circles})
    assert len(columns) == 3  # dropout is no column
    assert [len([c for c in found.circles if c.x == x]) for x in columns] == [2, 2, 1]
    # weight times activation: 2 and -4 of the first input, 3 of the second, 2 of the first neuron
    first = [e for e in found.edges if e.start[0] == columns[0]]
    assert [e.colour for e in first] == [drawing.DARK.positive] * 2 + [drawing.DARK.negative]
    assert [e.opacity for e in first] == sorted(e.opacity for e in first)
    assert len([e for e in found.edges if e.start[0] == columns[1]]) == 1  # the other gives 0
    assert [c.title for c in found.circles] == ["0: 1", "1: 3", "0: 2", "1: 0", "0: 2"]
    assert [t.text for t in found.texts] == ["2 inputs", "2 relu", "1 identity", "output", "2"]


def test_the_winner_has_a_ring():
    net, x = digits(16, 16), X[0]
    found = drawing.network_drawing(net, x)
    (ring,) = [c for c in found.circles if c.edge == drawing.DARK.chosen]
    texts = {t.text: t for t in found.texts if t.bold}
    assert str(net.classify(x[None])[0]) in texts
    assert ring.y + 5 == texts[str(net.classify(x[None])[0])].y
    assert f"{100 * net.predict(x[None]).max():.1f} %" in texts


def test_large_layers_are_thinned_to_the_strongest():
    net, x = digits(100), X[0]
    found = drawing.network_drawing(net, x)
    inputs = sorted({c.x for c in found.circles})[0]
    titles = [c.title for c in found.circles if c.x == inputs and c.title]
    flow = np.abs(x[:, None] / 255 * net.layers[0].weights).sum(axis=1)
    assert [int(t.partition(":")[0]) for t in titles] == sorted(np.argsort(-flow)[:16])
    assert len([c for c in found.circles if not c.title]) == 6 + 1  # dots twice, a ring
    assert [t.text for t in found.texts].count("the 16 strongest") == 2
    assert len(found.edges) <= 16 * 16 + 16 * 10


@pytest.mark.parametrize("dark", [True, False])
@pytest.mark.parametrize("sizes", [[1, 1], [784, 16, 16, 10], [5, 300, 2], [64, 40]])
def test_everything_is_on_the_page(sizes, dark):
    net = fastnn.mlp(sizes, output="sigmoid")
    for x in (None, np.full(sizes[0], -1.0)):
        found = drawing.network_drawing(net, x, dark)
        assert all(c.radius < c.x < found.width - c.radius for c in found.circles)
        assert all(c.radius < c.y < found.height - c.radius for c in found.circles)
        assert all(0 < t.x < found.width and 0 < t.y < found.height for t in found.texts)


def test_svg_is_xml_that_loads_nothing():
    for net, x in ((digits(16, 16), X[0]), (table(), np.ones(4)), (table(), None)):
        text = drawing.svg(drawing.network_drawing(net, x))
        root = ElementTree.fromstring(text)
        assert root.tag.endswith("svg")
        assert "http" not in text.replace("http://www.w3.org/2000/svg", "")
        assert ("<image" in text) == (net.inputs == 784)
    assert "size &amp; weight" in text
    assert "&lt;fly&gt;" in text


def test_a_notebook_draws_a_network_without_matplotlib(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert digits(16)._repr_html_().startswith("<svg")


def test_the_png_has_the_pixels():
    pixels = np.arange(24).reshape(2, 4, 3) / 23
    data = drawing.png(pixels)
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    assert struct.unpack(">II", data[16:24]) == (4, 2)
    length = struct.unpack(">I", data[33:37])[0]
    rows = np.frombuffer(zlib.decompress(data[41 : 41 + length]), np.uint8).reshape(2, 13)
    assert (rows[:, 1:].reshape(2, 4, 3) == np.rint(255 * pixels)).all()
    shown = drawing.svg(drawing.network_drawing(digits(4), X[0])).partition("base64,")[2]
    assert base64.b64decode(shown.partition('"')[0]).startswith(b"\x89PNG")


def test_plot_network_draws_what_svg_writes(tmp_path):
    net = digits(16, 16)
    found = drawing.network_drawing(net, X[0])
    shown = plotting.plot_network(net, X[0])
    lines, circles = shown.ax_.collections
    assert len(lines.get_segments()) == len(found.edges)
    assert len(circles.get_paths()) == len(found.circles)
    assert [t.get_text() for t in shown.ax_.texts] == [t.text for t in found.texts]
    shown.figure_.savefig(tmp_path / "network.svg")
    assert (tmp_path / "network.svg").stat().st_size > 10_000


def test_one_input_is_drawn():
    with pytest.raises(ValueError, match=r"expected one input \(784,\), got \(40, 784\)"):
        plotting.plot_network(digits(4), X)


# Displays.


def shows(display, ax):
    return display.ax_ is ax and display.figure_ is ax.figure


def test_every_display_takes_axes():
    net, other = digits(5), table()
    rows = np.random.default_rng(1).normal(size=(30, 4))
    labels = np.arange(30) % 3
    history = other.fit(rows, labels, epochs=3, validation_data=(rows, labels), verbose=0)
    test = fastnn.find_learning_rate(other, rows, labels, steps=20)
    shares = inspection.attribute(net, X[:1])
    calls = [
        lambda ax: plotting.plot_network(net, X[0], ax=ax),
        lambda ax: plotting.plot_weights(net, ax=ax),
        lambda ax: plotting.plot_weights(other, -1, ax=ax),
        lambda ax: plotting.plot_activations(net, X[0], ax=ax),
        lambda ax: plotting.plot_activations(other, rows[:1], ax=ax),
        lambda ax: plotting.plot_attributions(shares, X[0], ax=ax),
        lambda ax: plotting.plot_attributions([1, -2], [3, 4], names=["a", "b"], ax=ax),
        lambda ax: plotting.plot_history(history, ax=ax),
        lambda ax: plotting.plot_history(history, "accuracy", ax=ax),
        lambda ax: plotting.plot_learning_rate(test, ax=ax),
        lambda ax: plotting.plot_decision_boundary(other, rows, labels, features=(2, 1), ax=ax),
        lambda ax: plotting.plot_decision_boundary(other, rows, ax=ax),
        lambda ax: plotting.plot_separability(other, rows, labels, ax=ax),
    ]
    for call in calls:
        _, ax = pyplot.subplots()
        assert shows(call(ax), ax)
        new = call(None)
        assert new.ax_ is not ax
        ax.figure.canvas.draw()
        new.figure_.canvas.draw()
        pyplot.close("all")


def test_curves_are_the_history():
    history = fastnn.History({"loss": [3.0, 2.0], "val_loss": [4.0, 1.0]})
    training, validation = plotting.plot_history(history).ax_.lines
    assert training.get_xydata().tolist() == [[1, 3], [2, 2]]
    assert validation.get_ydata().tolist() == [4, 1]
    with pytest.raises(ValueError, match=r"unknown figure 'los'; did you mean 'loss'\?"):
        plotting.plot_history(history, "los")


def test_weights_are_tiled():
    net = digits(100)
    (image,) = plotting.plot_weights(net).ax_.images
    shown = image.get_array()
    w = net.layers[0].weights[:, 1].reshape(28, 28)
    assert np.asarray(shown[:28, 30:58]) == pytest.approx(w / np.abs(w).max(), abs=1e-6)
    assert np.ma.getmaskarray(shown)[:, 28:30].all()
    (table_,) = plotting.plot_weights(table()).ax_.images
    assert table_.get_array().shape == (3, 4)


def test_bars_are_the_strongest_attributions():
    shown = plotting.plot_attributions([1, -3, 2, 0], [5, 6, 7, 8], most=2).ax_
    assert [bar.get_width() for bar in shown.patches] == [2, -3]
    labels = [label.get_text() for label in shown.get_yticklabels()]
    assert labels == ["feature 2 = 7", "feature 1 = 6"]
    with pytest.raises(ValueError, match=r"expected attributions of shape \(4,\), got \(3,\)"):
        plotting.plot_attributions([1, 2, 3], [1, 2, 3, 4])


def test_a_decision_boundary_lies_where_classes_change():
    net = fastnn.Network(2, [fastnn.Dense(1, "sigmoid")])
    net.layers[0].weights[...] = [[1], [0]]
    x = np.array([[-1.0, -1], [1, 1]])
    shown = plotting.plot_decision_boundary(net, x, [0, 1]).ax_
    lines = [path for line in shown.collections[:2] for path in line.get_paths()]
    places = np.concatenate([path.vertices for path in lines if len(path.vertices)])
    assert np.abs(places[:, 0]).max() < 0.01
    with pytest.raises(ValueError, match="expected features below 2, got 2"):
        plotting.plot_decision_boundary(net, x, features=(0, 2))
    with pytest.raises(ValueError, match="expected outputs that are classes"):
        plotting.plot_decision_boundary(fastnn.Network(2, [fastnn.Dense(2)]), x)


def test_projections_name_their_layer():
    net, rows, labels = table(), np.eye(12)[:, :4], np.arange(12) % 3
    assert plotting.plot_separability(net, rows, labels).ax_.get_title().startswith("layer 1: ")
    assert plotting.plot_separability(net, rows, labels, -1).ax_.get_title().startswith("layer 3: ")
    with pytest.raises(ValueError, match=r"expected a layer with weights \(\[0, 2\]\), got 1"):
        plotting.plot_separability(net, rows, labels, 1)


def test_without_scikit_learn_the_error_names_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.metrics", None)
    with pytest.raises(ImportError, match="expected scikit-learn for this display"):
        plotting.plot_confusion(table(), np.eye(4), [0, 1, 2, 0])


def test_without_matplotlib_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=r"fastnn-cpu\[plot\]"):
        plotting.plot_weights(digits(2))
