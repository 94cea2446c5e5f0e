"""Losses beside PyTorch's: values, gradients, and a training of 20 steps."""

import numpy as np
import pytest

import fastnn
from fastnn import losses
from fastnn.layers import Dense

torch = pytest.importorskip("torch", reason="PyTorch is not installed: torch==2.13.0")
theirs = torch.nn.functional

BOUND = {"float32": 2e-4, "float64": 1e-9}  # of 20 steps
WEIGHTS = [0.5, 2.0, 3.0]


def pinball(h, t):
    """Of three quantiles; there is none in PyTorch."""
    e = t.unsqueeze(2) - h.reshape(len(t), -1, 3)
    q = torch.tensor([0.1, 0.5, 0.8], dtype=h.dtype)
    return torch.maximum(q * e, (q - 1) * e).mean()


def focal(z, t):
    """As torchvision's sigmoid_focal_loss, which is no part of PyTorch."""
    p = torch.sigmoid(z)
    entropy = theirs.binary_cross_entropy_with_logits(z, t, reduction="none")
    right = p * t + (1 - p) * (1 - t)
    return ((0.3 * t + 0.7 * (1 - t)) * entropy * (1 - right) ** 1.5).mean()


def smoothed(z, t):
    return theirs.cross_entropy(z, t, label_smoothing=0.2)


def weighted(z, t):
    weights = torch.tensor(WEIGHTS, dtype=z.dtype)
    return theirs.binary_cross_entropy_with_logits(z, t, pos_weight=weights)


def gaussian(h, t):
    return theirs.gaussian_nll_loss(h[:, ::2], t, torch.exp(h[:, 1::2]), eps=1e-12)


# the loss, its outputs, the kind of targets, and theirs of z
CASES = {
    "cross_entropy": ("cross_entropy", 3, "labels", theirs.cross_entropy),
    "cross_entropy of logits": ("cross_entropy_with_logits", 3, "soft", theirs.cross_entropy),
    "smoothed": (losses.CrossEntropy(0.2), 3, "labels", smoothed),
    "smoothed, of logits": (losses.CrossEntropy(0.2, from_logits=True), 3, "soft", smoothed),
    "binary_cross_entropy": (
        "binary_cross_entropy",
        3,
        "binary",
        theirs.binary_cross_entropy_with_logits,
    ),
    "weighted": (losses.BinaryCrossEntropy(WEIGHTS), 3, "binary", weighted),
    "weighted, of logits": (losses.BinaryCrossEntropy(WEIGHTS, True), 3, "soft", weighted),
    "mean_squared_error": ("mean_squared_error", 3, "numbers", theirs.mse_loss),
    "mean_absolute_error": ("mean_absolute_error", 3, "numbers", theirs.l1_loss),
    "huber": (
        losses.Huber(0.4),
        3,
        "numbers",
        lambda h, t: theirs.huber_loss(h, t, delta=0.4),
    ),
    "log_cosh": ("log_cosh", 3, "numbers", lambda h, t: torch.log(torch.cosh(h - t)).mean()),
    "quantile": (losses.Quantile(0.1, 0.5, 0.8), 6, "numbers", pinball),
    "poisson": ("poisson", 3, "counts", theirs.poisson_nll_loss),
    "hinge": (
        "hinge",
        3,
        "binary",
        lambda h, t: torch.clamp(1 - (2 * t - 1) * h, min=0).mean(),
    ),
    "focal": (losses.Focal(1.5, 0.3), 3, "binary", focal),
    "gaussian": ("gaussian", 4, "numbers", gaussian),
}


def make_targets(kind, targets, dtype, random):
    if kind == "labels":
        return random.integers(0, targets, 40)
    t = random.normal(size=(40, targets))
    if kind == "soft":
        t = np.exp(t) / np.exp(t).sum(axis=1, keepdims=True)
    if kind == "binary":
        t = t > 0.3
    return (np.floor(np.abs(t) * 3) if kind == "counts" else t).astype(dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", CASES)
def test_twenty_steps_are_pytorchs(case, dtype):
    loss, outputs, kind, their_loss = CASES[case]
    loss = losses.get(loss)
    random = np.random.default_rng(0)
    x = random.normal(size=(40, 7)).astype(dtype)
    t = make_targets(kind, loss.targets(outputs), dtype, random)
    layers = [Dense(9, "tanh"), Dense(outputs, loss.output or "identity")]
    net = fastnn.Network(7, layers, loss=loss, dtype=dtype, seed=1)
    parameters = [
        torch.tensor(array.copy(), requires_grad=True)
        for layer in net.layers
        for array in (layer.weights, layer.biases)
    ]
    optimizer = torch.optim.SGD(parameters, lr=0.1)
    their_x, their_t = torch.tensor(x), torch.tensor(t)
    for _ in range(20):
        optimizer.zero_grad()
        W, b, V, c = parameters  # noqa: N806
        value = their_loss(torch.tanh(their_x @ W + b) @ V + c, their_t)
        value.backward()
        ours, gradients = net.gradients(x, t)
        assert ours == pytest.approx(value.item(), rel=BOUND[dtype])
        for found, parameter in zip(sum(gradients, ()), parameters, strict=True):
            expected = parameter.grad.numpy()
            scale = np.abs(expected).max()
            np.testing.assert_allclose(found, expected, rtol=0, atol=BOUND[dtype] * scale)
        optimizer.step()
        net.fit(x, t, epochs=1, batch_size=40, optimizer=fastnn.SGD(0.1), verbose=0)


def test_every_loss_is_tried():
    assert {losses.get(loss).name for loss, *_ in CASES.values()} == set(losses.LOSSES)
