"""Gradients of every engine against central differences of its own loss, in float64."""

import itertools

import numpy as np
import pytest

from fastnn import engine, losses
from fastnn.activations import ACTIVATIONS
from fastnn.losses import LOSSES as NAMED
from fastnn.program import build, pairs, zeros_like_parameters

LOSSES = {
    **NAMED,
    "smoothed": losses.CrossEntropy(0.2),
    "smoothed logits": losses.CrossEntropy(0.2, from_logits=True),
    "weighted": losses.BinaryCrossEntropy(3.0),
    "weighted by output": losses.BinaryCrossEntropy([0.5, 2.0, 3.0]),
    "weighted logits": losses.BinaryCrossEntropy([0.5, 2.0, 3.0], from_logits=True),
    "three quantiles": losses.Quantile(0.1, 0.5, 0.8),
    "narrow": losses.Huber(0.3),
    "focal of 0": losses.Focal(0, 0.5),
}
ROWS, INPUTS, WIDTH = 4, 3, 2
STEP = 1e-5  # of the differences: their error is about STEP^2 + eps / STEP
OUTPUTS = ("identity", "sigmoid", "relu", "softmax")
COMMON = ("cross_entropy", "binary_cross_entropy", "mean_squared_error")  # on all layers
FITTING = {  # of each loss, outputs that it takes here
    "gaussian": (2, 4),
    "three quantiles": (3, 6),
    "weighted by output": (3,),
    "weighted logits": (3,),
}
LAYERS = [(output,) for output in ACTIVATIONS]
LAYERS += [("tanh", output) for output in ACTIVATIONS if output not in OUTPUTS]
LAYERS += [
    (*[hidden] * count, output)
    for count in (1, 2)
    for hidden, output in itertools.product(ACTIVATIONS, OUTPUTS)
]


def targets(kind, outputs, random):
    """Labels, or soft rows that sum to 1."""
    if kind == "labels":
        return random.integers(0, outputs, ROWS)
    soft = random.random((ROWS, outputs))
    return soft / soft.sum(axis=1, keepdims=True)


def make_program(names, outputs, loss, random):
    """A Program with random weights."""
    activations = [ACTIVATIONS[name] for name in names]
    sizes = [INPUTS, *[WIDTH] * (len(names) - 1), outputs]
    program = build(sizes, activations, LOSSES[loss].code, "float64", 0.5, LOSSES[loss].numbers)
    for weights, biases in pairs(program, program.parameters):
        weights[...] = random.normal(size=weights.shape)
        biases[...] = random.normal(size=biases.shape)
    return program


def central_differences(core, program, x, y):
    """The gradient of the mean loss, an arena, with the gaps zero."""
    positions = np.arange(len(program.parameters))
    arena = zeros_like_parameters(program)
    for parts in pairs(program, positions):
        for position in np.concatenate([part.ravel() for part in parts]):
            value = program.parameters[position]
            losses = []
            for shifted in (value + STEP, value - STEP):
                program.parameters[position] = shifted
                losses.append(core.evaluate(program, x, y, 1)[0] / len(x))
            program.parameters[position] = value
            arena[position] = (losses[0] - losses[1]) / (2 * STEP)
    return arena


@pytest.mark.parametrize("names", LAYERS, ids="-".join)
@pytest.mark.parametrize("kind", ["labels", "soft"])
def test_gradients_are_central_differences(engine_name, names, kind):
    core = engine.get(engine_name, "float64")
    cases = [(loss, outputs) for loss in LOSSES for outputs in FITTING.get(loss, (1, 3))]
    for loss, outputs in cases:
        per_target = LOSSES[loss].per_target
        if len(names) > 1 and names[0] != "tanh" and loss not in COMMON:
            continue
        if LOSSES[loss].output not in (None, names[-1]):
            continue
        if outputs == per_target and (names[-1] == "softmax" or kind == "labels"):
            continue
        random = np.random.default_rng(list(map(ord, loss)))
        program = make_program(names, outputs, loss, random)
        x, y = random.normal(size=(ROWS, INPUTS)), targets(kind, outputs // per_target, random)
        gradients = zeros_like_parameters(program)
        loss_sum, _ = core.gradients(program, x, y, gradients, 1)
        expected = central_differences(core, program, x, y)
        assert loss_sum == pytest.approx(core.evaluate(program, x, y, 1)[0], rel=1e-12)
        scale = max(np.abs(expected).max(), 1e-3)
        steep = names.count("exponential") > 1  # so are its higher derivatives
        assert np.abs(gradients - expected).max() <= (1e-5 if steep else 1e-6) * scale, loss


@pytest.mark.parametrize("names", LAYERS, ids="-".join)
def test_backward_gives_the_gradients_of_inputs(engine_name, names):
    core = engine.get(engine_name, "float64")
    random = np.random.default_rng(1)
    program = make_program(names, 3, "mean_squared_error", random)
    x, d_output = random.normal(size=(ROWS, INPUTS)), random.normal(size=(ROWS, 3))
    gradients, d_input = zeros_like_parameters(program), np.empty((ROWS, INPUTS))

    def loss(x):
        """sum(h * d_output): its gradient with respect to h is d_output."""
        out = np.empty((ROWS, 3))
        core.forward(program, x, out, 1)
        return (out * d_output).sum()

    core.backward(program, x, d_output, gradients, d_input, 1)
    for position in np.ndindex(x.shape):
        shift = np.zeros_like(x)
        shift[position] = STEP
        # d_input is with respect to the scaled input
        expected = (loss(x + shift) - loss(x - shift)) / (2 * STEP) / program.input_scale
        assert d_input[position] == pytest.approx(expected, rel=1e-6, abs=1e-7)
    first = gradients.copy()
    core.backward(program, x, d_output, gradients, None, 1)
    assert gradients.tobytes() == first.tobytes()
