"""Layers beside PyTorch's: values, gradients, and a training of 20 steps."""

import numpy as np
import pytest

import fastnn
from fastnn import AlphaDropout, Blend, Dense, Embed, LayerNorm, PReLU, Residual, Scale
from fastnn._random import DROP, words

torch = pytest.importorskip("torch", reason="PyTorch is not installed: torch==2.13.0")

BOUND = {"float32": 3e-4, "float64": 1e-9}  # of 20 steps

# ruff: noqa: N803, N806 (the textbook's capital letters)

# Layers between a first Dense and a last one, and theirs as functions of the values (B, 9) and of
# the parameters, the same arrays in the same order.
LAYERS = {
    "Dense(use_bias=False)": ([Dense(9, "tanh", use_bias=False)], lambda h, W: torch.tanh(h @ W)),
    "Scale": ([Scale()], lambda h, gamma: h * gamma),
    "LayerNorm": (
        [LayerNorm()],
        lambda h, gamma, beta: torch.nn.functional.layer_norm(h, (9,), gamma, beta, 1e-3),
    ),
    "PReLU": ([PReLU()], lambda h, slopes: torch.nn.functional.prelu(h, slopes)),
    "Blend gelu": ([Blend("gelu")], lambda h, a: h + a * (gelu(h) - h)),
    "Blend leaky_relu": (
        [Dense(20), Blend(fastnn.LeakyReLU(0.2))],
        lambda h, W, b, a: leaky_blend(h @ W + b, a),
    ),
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


def leaky_blend(z, a):
    return z + a * (torch.nn.functional.leaky_relu(z, 0.2) - z)


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


def alpha_dropout(x, rate, kept):
    """PyTorch's, its mask handed over: aten's dropout.cpp."""
    alpha = 1.7580993408473766
    a = 1 / np.sqrt((alpha**2 * rate + 1) * (1 - rate))
    return x * kept * a + (kept - 1) * alpha * a + alpha * a * rate


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_twenty_steps_with_alpha_dropout(dtype):
    x, t = rows(dtype)
    layers = [Dense(9, "selu"), AlphaDropout(0.4), Dense(3)]
    net = fastnn.Network(7, layers, dtype=dtype, seed=9)
    W, b, V, c = parameters = [torch.tensor(w, requires_grad=True) for w in net.get_weights()]
    optimizer = torch.optim.SGD(parameters, lr=0.05)
    for epoch in range(20):
        kept = words(9, DROP, epoch << 32, 3, np.arange(40), 9) >= 0.4 * 2**32
        optimizer.zero_grad()
        h = alpha_dropout(
            torch.selu(torch.tensor(x) @ W + b), 0.4, torch.tensor(kept.astype(dtype))
        )
        ((h @ V + c - torch.tensor(t)) ** 2).mean().backward()
        optimizer.step()
    net.fit(x, t, epochs=20, batch_size=40, shuffle=False, optimizer=fastnn.SGD(0.05), verbose=0)
    for found, expected in zip(net.get_weights(), parameters, strict=True):
        np.testing.assert_allclose(found, expected.detach(), rtol=0, atol=BOUND[dtype])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_twenty_steps_of_embeddings(dtype):
    """Two tables beside numeric columns."""
    random = np.random.default_rng(0)
    x, t = random.normal(size=(40, 4)).astype(dtype), random.normal(size=(40, 3)).astype(dtype)
    x[:, 1], x[:, 3] = random.integers(0, 5, 40), random.integers(0, 4, 40)
    layers = [Embed({1: (5, 3), 3: (4, 2)}), Dense(9, "tanh"), Dense(3)]
    net = fastnn.Network(4, layers, dtype=dtype, seed=9)
    one, two, W, b, V, c = parameters = [
        torch.tensor(array, requires_grad=True) for array in net.get_weights()
    ]
    optimizer = torch.optim.SGD(parameters, lr=0.05)
    their_x, codes = torch.tensor(x), torch.tensor(x.astype(np.int64))
    embed = torch.nn.functional.embedding
    for _ in range(20):
        optimizer.zero_grad()
        h = [their_x[:, :1], embed(codes[:, 1], one), their_x[:, 2:3], embed(codes[:, 3], two)]
        ((torch.tanh(torch.cat(h, 1) @ W + b) @ V + c - torch.tensor(t)) ** 2).mean().backward()
        for found, parameter in zip(sum(net.gradients(x, t)[1], ()), parameters, strict=True):
            expected = parameter.grad.numpy()
            scale = np.abs(expected).max()
            np.testing.assert_allclose(found, expected, rtol=0, atol=BOUND[dtype] * scale)
        optimizer.step()
        net.fit(x, t, epochs=1, batch_size=40, optimizer=fastnn.SGD(0.05), verbose=0)
    for found, expected in zip(net.get_weights(), parameters, strict=True):
        np.testing.assert_allclose(found, expected.detach(), rtol=0, atol=BOUND[dtype])
