"""Activations beside PyTorch's: values, gradients, and a training."""

import numpy as np
import pytest

import fastnn
from fastnn.layers import Dense

torch = pytest.importorskip("torch", reason="PyTorch is not installed: torch==2.13.0")

THEIRS = {
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "relu": torch.relu,
    "leaky_relu": lambda z: torch.nn.functional.leaky_relu(z, 0.01),
    "gelu": torch.nn.functional.gelu,
    "gelu_tanh": lambda z: torch.nn.functional.gelu(z, approximate="tanh"),
    "elu": torch.nn.functional.elu,
    "selu": torch.nn.functional.selu,
    "silu": torch.nn.functional.silu,
    "softplus": torch.nn.functional.softplus,
    "softsign": torch.nn.functional.softsign,
    "mish": torch.nn.functional.mish,
    "exponential": torch.exp,
    "hard_sigmoid": lambda z: torch.clamp(z / 6 + 0.5, 0, 1),  # theirs has 1/6 in float32
    "hard_tanh": torch.nn.functional.hardtanh,
    "softmax": lambda z: torch.softmax(z, 1),
}
BOUND = {"float32": 2e-4, "float64": 1e-9}  # of 20 steps


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", THEIRS)
def test_twenty_steps_are_pytorchs(name, dtype):
    random = np.random.default_rng(0)
    x = random.normal(size=(40, 7)).astype(dtype)
    t = random.normal(size=(40, 3)).astype(dtype)
    layers = [Dense(9, name, initializer="glorot_uniform"), Dense(3)]
    net = fastnn.Network(7, layers, dtype=dtype, seed=1)
    their_dtype = getattr(torch, dtype)
    parameters = [
        torch.tensor(array.copy(), dtype=their_dtype, requires_grad=True)
        for layer in net.layers
        for array in (layer.weights, layer.biases)
    ]
    optimizer = torch.optim.SGD(parameters, lr=0.05)
    their_x, their_t = torch.tensor(x), torch.tensor(t)

    def their_loss():
        W, b, V, c = parameters  # noqa: N806
        return ((THEIRS[name](their_x @ W + b) @ V + c - their_t) ** 2).mean()

    for _ in range(20):
        optimizer.zero_grad()
        value = their_loss()
        value.backward()
        ours, gradients = net.gradients(x, t)
        assert ours == pytest.approx(value.item(), rel=BOUND[dtype])
        for found, parameter in zip(sum(gradients, ()), parameters, strict=True):
            expected = parameter.grad.numpy()
            scale = np.abs(expected).max()
            np.testing.assert_allclose(found, expected, rtol=0, atol=BOUND[dtype] * scale)
        optimizer.step()
        net.fit(x, t, epochs=1, batch_size=40, optimizer=fastnn.SGD(0.05), verbose=0)
