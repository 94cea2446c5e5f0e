"""Several heads on one network, each with its loss and its weight."""

import numpy as np
import pytest

import fastnn
from fastnn import losses


def data(rows=300):
    random = np.random.default_rng(0)
    x = random.normal(size=(rows, 4))
    return x, x[:, :3].argmax(axis=1), x[:, 2:] * 2 + 1


def network(heads, seed=0, **options):
    layers = [fastnn.Dense(16, "tanh"), fastnn.Dense(heads.units)]
    return fastnn.Network(4, layers, loss=heads, dtype="float64", seed=seed, **options)


def test_both_are_learned(tmp_path):
    x, kinds, sizes = data()
    heads = fastnn.Heads(kind=(3, "cross_entropy"), size=(2, "mean_squared_error", 0.5))
    net = network(heads)
    net.fit(x, heads.targets(kind=kinds, size=sizes), epochs=150, optimizer="adam", verbose=0)
    found = heads.outputs(net.predict(x))
    assert (found["kind"].argmax(axis=1) == kinds).mean() > 0.95
    np.testing.assert_allclose(found["kind"].sum(axis=1), 1)
    assert np.abs(found["size"] - sizes).mean() < 0.3
    net.save(tmp_path / "net.fastnn")
    again = fastnn.load(tmp_path / "net.fastnn", loss=heads)
    assert (again.predict(x) == net.predict(x)).all()


@pytest.mark.parametrize(
    ("loss", "weight"),
    [
        ("cross_entropy", 1.0),
        (losses.CrossEntropy(label_smoothing=0.2), 0.7),
        ("binary_cross_entropy", 2.0),
        (losses.BinaryCrossEntropy(pos_weight=3.0), 1.0),
        (losses.Huber(0.5), 0.3),
        ("hinge", 1.0),
    ],
)
def test_one_head_is_the_same_loss_of_an_engine(loss, weight, engine_name):
    x, kinds, _ = data()
    t = np.eye(3)[kinds]
    heads = fastnn.Heads(only=(3, loss, weight))
    own = heads.heads["only"].loss
    nets = [
        fastnn.Network(
            4, [fastnn.Dense(8, "tanh"), fastnn.Dense(3)], loss=one, dtype="float64", seed=1,
            engine=engine_name,
        )
        for one in (heads, own)
    ]  # fmt: skip
    for net, rate in zip(nets, (0.05, 0.05 * weight), strict=True):
        net.fit(x, t, epochs=2, batch_size=50, optimizer=fastnn.SGD(rate), verbose=0)
    for ours, theirs in zip(*(net.get_weights() for net in nets), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-12)
    loss, expected = (net.evaluate(x, t)["loss"] for net in nets)
    assert loss == pytest.approx(weight * expected, rel=1e-12)


def test_gradients_are_central_differences():
    x, kinds, sizes = data(20)
    heads = fastnn.Heads(
        kind=(3, "cross_entropy", 0.3), off=(1, "binary_cross_entropy"), size=(2, "log_cosh", 2.0)
    )
    net = network(heads)
    y = heads.targets(kind=kinds, off=kinds == 1, size=sizes)
    _, gradients = net.gradients(x, y)
    for layer, found in zip(net.layers, gradients, strict=True):
        for weights, d in zip((layer.weights, layer.biases), found, strict=True):
            where = (1,) * weights.ndim
            kept, losses_at = weights[where], []
            for step in (-1e-6, 1e-6):
                weights[where] = kept + step
                losses_at.append(net.evaluate(x, y)["loss"])
            weights[where] = kept
            slope = (losses_at[1] - losses_at[0]) / 2e-6
            assert d[where] == pytest.approx(slope, rel=1e-5, abs=1e-8)


def test_what_does_not_fit_is_refused():
    heads = fastnn.Heads(kind=(3, "cross_entropy"), size=(2, "mean_squared_error"))
    _, kinds, sizes = data(10)
    with pytest.raises(ValueError, match="expected at least one head, got none"):
        fastnn.Heads()
    with pytest.raises(TypeError, match=r"expected kind as \(columns, loss, weight\), got 3"):
        fastnn.Heads(kind=3)
    with pytest.raises(ValueError, match="one identity output a target in kind, got quantile"):
        fastnn.Heads(kind=(3, losses.Quantile(0.1, 0.5, 0.9)))
    with pytest.raises(ValueError, match="one identity output a target in kind, got poisson"):
        fastnn.Heads(kind=(3, "poisson"))
    with pytest.raises(ValueError, match="at least 2 outputs for cross_entropy_with_logits, got 1"):
        fastnn.Heads(kind=(1, "cross_entropy"))
    with pytest.raises(ValueError, match="expected targets of kind, size, got those of kind"):
        heads.targets(kind=kinds)
    with pytest.raises(ValueError, match=r"expected size of shape \(n, 2\), got \(10,\)"):
        heads.targets(kind=kinds, size=kinds)
    with pytest.raises(ValueError, match="labels from 0 to 2 in kind, got 5"):
        heads.targets(kind=kinds * 0 + 5, size=sizes)
    with pytest.raises(ValueError, match="as many rows for each head, got 10 of kind, 4 of size"):
        heads.targets(kind=kinds, size=sizes[:4])
    with pytest.raises(ValueError, match=r"expected outputs \(n, 5\), got \(10, 4\)"):
        heads.outputs(np.zeros((10, 4)))
