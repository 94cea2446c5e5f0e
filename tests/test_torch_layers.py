"""Layers beside PyTorch's: values, gradients, and a training of 20 steps."""

import numpy as np
import pytest

import fastnn
from fastnn import Dense, Residual

torch = pytest.importorskip("torch", reason="PyTorch is not installed: torch==2.13.0")

BOUND = {"float32": 3e-4, "float64": 1e-9}  # of 20 steps

# ruff: noqa: N803, N806 (the textbook's capital letters)

# Layers between a first Dense and a last one, and theirs as functions of the values (B, 9) and of
# the parameters, the same arrays in the same order.
LAYERS = {
    "Dense(use_bias=False)": ([Dense(9, "tanh", use_bias=False)], lambda h, W: torch.tanh(h @ W)),
    "Residual": (
        [Residual(Dense(5, "tanh"), Dense(9))],
        lambda h, W, b, V, c: h + torch.tanh(h @ W + b) @ V + c,
    ),
    "Residual of Residual": (
        [
            Residual(Residual(Dense(9, "gelu")), Dense(9, use_bias=False)),
            Residual(Dense(9, "relu")),
        ],
        lambda h, W, b, V, U, c: relu_block(h + (h + gelu(h @ W + b)) @ V, U, c),
    ),
}
gelu = torch.nn.functional.gelu


def relu_block(h, W, b):
    return h + torch.relu(h @ W + b)


def theirs(name, x, parameters):
    """What PyTorch computes from x (B, 7)."""
    W, b, *inner, V, c = parameters
    return LAYERS[name][1](torch.tanh(x @ W + b), *inner) @ V + c


def rows(dtype):
    random = np.random.default_rng(0)
    return random.normal(size=(40, 7)).astype(dtype), random.normal(size=(40, 3)).astype(dtype)


def network(name, dtype):
    layers = [Dense(9, "tanh"), *LAYERS[name][0], Dense(3)]
    net = fastnn.Network(7, layers, dtype=dtype, seed=1)
    random = np.random.default_rng(2)
    net.set_weights([w + random.normal(size=w.shape) / 4 for w in net.get_weights()])
    return net


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", LAYERS)
def test_twenty_steps_are_pytorchs(name, dtype):
    x, t = rows(dtype)
    net = network(name, dtype)
    parameters = [torch.tensor(array, requires_grad=True) for array in net.get_weights()]
    optimizer = torch.optim.SGD(parameters, lr=0.05)
    their_x, their_t = torch.tensor(x), torch.tensor(t)
    for _ in range(20):
        optimizer.zero_grad()
        outputs = theirs(name, their_x, parameters)
        np.testing.assert_allclose(net.predict(x), outputs.detach(), rtol=0, atol=BOUND[dtype])
        value = ((outputs - their_t) ** 2).mean()
        value.backward()
        ours, gradients = net.gradients(x, t)
        assert ours == pytest.approx(value.item(), rel=BOUND[dtype])
        for found, parameter in zip(sum(gradients, ()), parameters, strict=True):
            expected = parameter.grad.numpy()
            scale = np.abs(expected).max()
            np.testing.assert_allclose(found, expected, rtol=0, atol=BOUND[dtype] * scale)
        optimizer.step()
        net.fit(x, t, epochs=1, batch_size=40, optimizer=fastnn.SGD(0.05), verbose=0)
