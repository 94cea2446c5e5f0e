"""Attributions beside Captum's, of the same network in PyTorch."""

import numpy as np
import pytest

import fastnn
from fastnn import inspection

torch = pytest.importorskip("torch", reason="PyTorch is not installed: torch==2.13.0")
captum = pytest.importorskip("captum.attr", reason="Captum is not installed: captum")

NAMES = {"relu": "ReLU", "tanh": "Tanh", "gelu": "GELU"}
BASELINE = np.linspace(-0.5, 0.5, 12)
THEIRS = {
    "gradient": lambda f, x, k: captum.Saliency(f).attribute(x, target=k, abs=False),
    "gradient_x_input": lambda f, x, k: captum.InputXGradient(f).attribute(x, target=k),
    "integrated_gradients": lambda f, x, k: captum.IntegratedGradients(f).attribute(
        x, torch.tensor(BASELINE)[None], target=k
    ),
    "occlusion": lambda f, x, k: captum.Occlusion(f).attribute(
        x, (1,), target=k, baselines=torch.tensor(BASELINE)[None]
    ),
}


@pytest.mark.filterwarnings("ignore::UserWarning:captum")
@pytest.mark.parametrize("method", THEIRS)
@pytest.mark.parametrize("hidden", NAMES)
def test_attributions_are_captums(method, hidden):
    x = np.random.default_rng(0).normal(size=(20, 12))
    net = fastnn.mlp([12, 16, 8, 5], hidden=hidden, dtype="float64", seed=1)
    linear = [torch.nn.Linear(*sizes, dtype=torch.float64) for sizes in ((12, 16), (16, 8), (8, 5))]
    for theirs, layer in zip(linear, net.layers, strict=True):
        theirs.weight.data = torch.tensor(layer.weights.T.copy())
        theirs.bias.data = torch.tensor(layer.biases.copy())
    g = getattr(torch.nn, NAMES[hidden])
    model = torch.nn.Sequential(linear[0], g(), linear[1], g(), linear[2])
    baseline = {"baseline": BASELINE} if method in ("integrated_gradients", "occlusion") else {}
    for target in (0, 3):
        found = inspection.attribute(net, x, target, method=method, **baseline)
        expected = THEIRS[method](model, torch.tensor(x, requires_grad=True), target)
        assert found == pytest.approx(expected.detach().numpy(), abs=1e-5)
