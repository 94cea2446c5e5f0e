"""L-BFGS: beside SciPy's, which scikit-learn brings along, on the same loss."""

import sys

import numpy as np
import pytest

import fastnn

optimize = pytest.importorskip(
    "scipy.optimize", reason="a comparison with SciPy, which is not installed"
)


def data(rows=60):
    random = np.random.default_rng(0)
    y = random.integers(0, 3, rows)
    return random.normal(size=(rows, 4)) + np.eye(3, 4)[y], y


def make(**options):
    layers = [fastnn.Dense(5, "tanh", l2=1e-3), fastnn.Dense(3, "softmax")]
    return fastnn.Network(4, layers, **{"dtype": "float64", "seed": 3, **options})


def fit(net, epochs=15, optimizer="lbfgs", **options):
    return net.fit(*data(), epochs=epochs, optimizer=optimizer, verbose=0, **options).history


def test_iterations_are_those_of_scipy(engine_name):
    net = make(engine=engine_name)
    shapes = [w.shape for w in net.get_weights()]
    x, y = data()

    def unflat(w):
        cuts = np.cumsum([np.prod(shape) for shape in shapes])[:-1]
        return [part.reshape(s) for part, s in zip(np.split(w, cuts), shapes, strict=True)]

    def objective(w):
        w_1, b_1, w_2, b_2 = unflat(w)
        h = np.tanh(x @ w_1 + b_1)
        z = h @ w_2 + b_2
        p = np.exp(z - z.max(axis=1, keepdims=True))
        p /= p.sum(axis=1, keepdims=True)
        dz = (p - np.eye(3)[y]) / len(x)
        dh = dz @ w_2.T * (1 - h * h)
        gradients = x.T @ dh + 2e-3 * w_1, dh.sum(axis=0), h.T @ dz, dz.sum(axis=0)
        loss = -np.log(p[np.arange(len(x)), y]).mean() + 1e-3 * (w_1**2).sum()
        return loss, np.concatenate([g.ravel() for g in gradients])

    losses = []
    begun = np.concatenate([w.ravel() for w in net.get_weights()])
    options = {"maxiter": 15, "maxcor": 10}
    found = optimize.minimize(
        objective, begun, jac=True, method="L-BFGS-B", options=options,
        callback=lambda w: losses.append(objective(w)[0]),
    )  # fmt: skip
    history = fit(net)
    assert history["loss"] == pytest.approx(losses, rel=1e-6)
    for w, expected in zip(net.get_weights(), unflat(found.x), strict=True):
        np.testing.assert_allclose(w, expected, atol=1e-5)
    assert history["loss"][-1] == pytest.approx(net.evaluate(x, y)["loss"])


def test_any_number_of_threads():
    found = {make(num_threads=n) for n in (1, 3)}
    for net in found:
        fit(net)
    assert len({net.program.parameters.tobytes() for net in found}) == 1


def test_it_stops_where_it_has_converged_or_a_callback_says_so():
    assert len(fit(make(), 500, fastnn.LBFGS(gtol=1e-2))["loss"]) < 500
    seen = []
    history = fit(make(), callbacks=[lambda net, epoch, logs: seen.append(epoch) or epoch == 4])
    assert seen == [1, 2, 3, 4]
    assert len(history["loss"]) == len(history["accuracy"]) == 4
    stop = fastnn.EarlyStopping(patience=2)
    history = fit(make(), 200, validation_data=data(50), callbacks=[stop])
    assert len(history["val_loss"]) < 200
    assert stop.model.evaluate(*data(50))["loss"] == pytest.approx(min(history["val_loss"]))


def test_an_interrupt_leaves_what_was_accepted():
    def interrupt(net, epoch, logs):
        kept.append(net.get_weights()[0])
        if epoch == 3:
            raise KeyboardInterrupt

    net, kept = make(), []
    with pytest.raises(KeyboardInterrupt):
        fit(net, callbacks=[interrupt])
    assert net.get_weights()[0].tobytes() == kept[-1].tobytes()
    assert len(net.history.history["loss"]) == 3
    fit(net)  # begins anew


def test_a_network_keeps_its_settings(tmp_path):
    net = make()
    fit(net, optimizer=fastnn.LBFGS(memory=5))
    net.save(tmp_path / "net", optimizer=True)
    assert fastnn.load(tmp_path / "net").trained.optimizer == fastnn.LBFGS(memory=5)


def test_what_makes_no_sense_is_refused(tmp_path):
    x, y = data()
    options = {"optimizer": fastnn.LBFGS(), "verbose": 0}
    with pytest.raises(ValueError, match=r"^expected arrays x and y with LBFGS, got batches"):
        make().fit([(x, y)], **options)
    with pytest.raises(ValueError, match=r"^expected fit with LBFGS, .* got a batch$"):
        make().train_on_batch(x, y, optimizer=fastnn.LBFGS())
    with pytest.raises(ValueError, match=r"^expected callbacks without a batch's moments"):
        make().fit(x, y, callbacks=[fastnn.Checkpoint(tmp_path / "a", 3)], **options)
    with pytest.raises(ValueError, match=r"^expected no resume with LBFGS"):
        make().fit(x, y, resume=tmp_path / "a", **options)
    layers = [fastnn.Dropout(0.5), fastnn.Dense(3, "softmax")]
    with pytest.raises(ValueError, match=r"^expected no dropout with LBFGS"):
        fastnn.Network(4, layers).fit(x, y, **options)
    with pytest.raises(ValueError, match=r"^expected memory to be at least 1, got 0$"):
        fastnn.LBFGS(memory=0)
    with pytest.raises(TypeError, match=r"whose rate can be set, got LBFGS$"):
        fastnn.find_learning_rate(make(), x, y, optimizer=fastnn.LBFGS())


def test_without_scipy_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy.optimize", None)
    net = make()
    before = net.get_weights()[0].tolist()
    with pytest.raises(ImportError, match=r"fastnn-cpu\[scipy\]"):
        fit(net)
    assert net.get_weights()[0].tolist() == before
