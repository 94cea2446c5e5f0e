"""Batch normalisation beside PyTorch's: forward, gradients, 20 steps."""

import numpy as np
import pytest

import fastnn
import fastnn.engine
from fastnn.layers import BatchNorm, Dense
from fastnn.program import views, zeros_like_parameters

torch = pytest.importorskip("torch", reason="PyTorch is not installed: torch==2.13.0")

torch.set_num_threads(1)  # more of them wait longer than these small batches take
BOUND = {"float32": 2e-4, "float64": 1e-9}  # relative to the largest number around


def agree(ours, theirs, dtype):
    theirs = theirs.detach().numpy()
    scale = max(1, np.abs(theirs).max())
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=BOUND[dtype] * scale)


def both(dtype, momentum, epsilon, seed=1):
    """The same network here and there: of a batch norm first, one in the middle, one small."""
    norms = [BatchNorm(momentum, epsilon) for _ in range(3)]
    layers = [norms[0], Dense(33, "identity"), norms[1], Dense(5, "tanh"), norms[2], Dense(3)]
    net = fastnn.Network(7, layers, dtype=dtype, seed=seed)
    random = np.random.default_rng(seed)
    parts = []
    for layer in net.layers:
        if isinstance(layer, Dense):
            theirs = torch.nn.Linear(*layer.weights.shape, dtype=getattr(torch, dtype))
            theirs.weight.data[...] = torch.tensor(layer.weights.T.copy())
            theirs.bias.data[...] = torch.tensor(layer.biases.copy())
            parts += [theirs, torch.nn.Tanh()] if layer.activation.name == "tanh" else [theirs]
        else:
            layer.gamma[...] = random.uniform(0.5, 2, layer.gamma.shape)
            layer.beta[...] = random.normal(size=layer.beta.shape)
            theirs = torch.nn.BatchNorm1d(
                len(layer.gamma), epsilon, momentum, dtype=getattr(torch, dtype)
            )
            theirs.weight.data[...] = torch.tensor(layer.gamma.copy())
            theirs.bias.data[...] = torch.tensor(layer.beta.copy())
            parts.append(theirs)
    return net, torch.nn.Sequential(*parts)


def blocks_of(model):
    """Their parameters and buffers in our order."""
    for part in model:
        if isinstance(part, torch.nn.Linear):
            yield from (part.weight.T, part.bias)
        elif isinstance(part, torch.nn.BatchNorm1d):
            yield from (part.running_mean, part.running_var, part.weight, part.bias)


def gradients_of(model):
    """The same of their gradients; zeros for what is not learned."""
    for part in model:
        if isinstance(part, torch.nn.Linear):
            yield from (part.weight.grad.T, part.bias.grad)
        elif isinstance(part, torch.nn.BatchNorm1d):
            nothing = torch.zeros_like(part.running_mean)
            yield from (nothing, nothing, part.weight.grad, part.bias.grad)


@pytest.mark.parametrize("dtype", BOUND)
@pytest.mark.parametrize(
    ("rows", "batch_size", "momentum", "epsilon"),
    [(40, 40, 0.1, 1e-5), (51, 7, 1.0, 0.1), (700, 600, 0.3, 1e-3)],
)
def test_twenty_steps_are_pytorchs(dtype, rows, batch_size, momentum, epsilon):
    """Batches of one block and of several, and short last ones."""
    random = np.random.default_rng(0)
    x = (random.normal(size=(rows, 7)) * 3 + random.normal(size=7)).astype(dtype)
    t = random.normal(size=(rows, 3)).astype(dtype)
    net, model = both(dtype, momentum, epsilon)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    steps = 0
    while steps < 20:
        for first in range(0, rows, batch_size):
            part = slice(first, first + batch_size)
            optimizer.zero_grad()
            ((model(torch.tensor(x[part])) - torch.tensor(t[part])) ** 2).mean().backward()
            optimizer.step()
            steps += 1
        net.fit(
            x,
            t,
            epochs=1,
            batch_size=batch_size,
            shuffle=False,
            optimizer=fastnn.SGD(0.05),
            verbose=0,
        )
        for ours, theirs in zip(net.get_weights(), blocks_of(model), strict=True):
            agree(ours, theirs, dtype)
    model.eval()
    agree(net.predict(x), model(torch.tensor(x)), dtype)


@pytest.mark.parametrize("dtype", BOUND)
@pytest.mark.parametrize("rows", [2, 40, 600])
def test_gradients_are_pytorchs(engine_name, dtype, rows):
    """In training by the statistics of the batch, in `gradients` by the running ones."""
    random = np.random.default_rng(rows)
    x, t = (random.normal(size=(rows, n)).astype(dtype) for n in (7, 3))
    net, model = both(dtype, 0.1, 0.01)
    core = fastnn.engine.get(engine_name, dtype)
    arena = zeros_like_parameters(net.program)
    for first_row in (None, 0):  # theirs learns running statistics in training
        model.train(first_row is not None)
        model.zero_grad()
        loss = ((model(torch.tensor(x)) - torch.tensor(t)) ** 2).mean()
        loss.backward()
        found, _ = core.gradients(net.program, x, t, arena, 2, first_row)
        assert found / rows == pytest.approx(loss.item(), rel=BOUND[dtype])
        ours = views(net.program, arena).values()
        for gradient, theirs in zip(ours, gradients_of(model), strict=True):
            agree(gradient, theirs, dtype)
