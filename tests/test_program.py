"""The seam: how a network is laid out in plain arrays."""

import copy
import pickle

import numpy as np
import pytest

import fastnn
from fastnn.activations import ACTIVATIONS, LeakyReLU
from fastnn.program import (
    ACTIVATE,
    BLOCK,
    DENSE,
    INPUT,
    KIND,
    PADDING,
    SOURCE,
    WIDTH,
    Builder,
    build,
    check_own,
    pairs,
    prepare,
    views,
    zeros_like_parameters,
)

LAYERS = [ACTIVATIONS["relu"], LeakyReLU(0.5)]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_layout(dtype):
    program = build([5, 3, 2], LAYERS, loss=2, dtype=dtype, input_scale=0.5)
    assert program.ops[:, KIND].tolist() == [INPUT, DENSE, ACTIVATE, DENSE, ACTIVATE]
    assert program.ops[:, SOURCE].tolist() == [0, 0, 1, 2, 3]
    assert program.ops[:, WIDTH].tolist() == [5, 3, 3, 2, 2]
    assert program.ops[[1, 3], BLOCK].tolist() == [0, 2]
    assert program.blocks.tolist() == [[0, 5, 3], [16, 1, 3], [32, 3, 2], [48, 1, 2]]
    assert program.names[2:] == ("layers.1.weights", "layers.1.biases")
    assert program.layers.tolist() == [0, 2, 4]
    assert program.parameters.shape == (64 + PADDING,)
    assert program.numbers.tolist() == [0, 0, 0, 0, 0.5]
    assert program.state.shape == (0, 64 + PADDING)
    prepare(program, 3, 2)
    assert program.state.shape == (2, 64 + PADDING)
    for arena in (program.parameters, program.state, zeros_like_parameters(program)):
        assert arena.ctypes.data % 64 == 0
        assert arena.flags.c_contiguous
        assert arena.dtype == dtype
        assert not arena.any()


def test_blocks_are_views_that_do_not_overlap():
    program = build([5, 3, 2], LAYERS, loss=2)
    arena = zeros_like_parameters(program)
    for weights, biases in pairs(program, arena):
        weights += 1
        biases += 1
    assert arena.sum() == 5 * 3 + 3 + 3 * 2 + 2
    assert arena.max() == 1
    shapes = {name: view.shape for name, view in views(program, arena).items()}
    assert shapes["layers.0.weights"] == (5, 3)
    assert shapes["layers.1.biases"] == (2,)


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda n: pickle.loads(pickle.dumps(n))])
def test_a_copied_network_keeps_the_layout(duplicate):
    net = fastnn.mlp([5, 3, 2], engine="reference")
    twin = duplicate(net)
    x = np.ones((2, 5))
    assert (twin.predict(x) == net.predict(x)).all()
    assert twin.program.parameters.ctypes.data % 64 == 0
    twin.layers[0].weights[...] = 0
    twin.layers[1].weights[...] = 0
    assert (twin.predict(x) == 0.5).all()
    assert (net.predict(x) != 0.5).all()


def test_penalties_and_factors_that_do_not_fit():
    for name, found in (("penalties", np.ones((1, 3))), ("factors", -np.ones((2, 3)))):
        program = build([3, 2], [ACTIVATIONS["identity"]], 2)
        setattr(program, name, found)
        with pytest.raises(ValueError, match=rf"^expected {name} \(2, 3\) of at least 0, got "):
            check_own(program)
    program.factors, program.penalties = None, np.array([[0.0, 0, 0], [0, 1e-3, 0]])
    with pytest.raises(ValueError, match=r"penalties of weights alone, got one of layers.0.biases"):
        check_own(program)
    builder = Builder(3)
    output = builder.dense(builder.embed(0, 1, (4, 2), "layers.0"), 2, "layers.1")
    program = builder.program([output], 2, "float32")
    program.penalties = np.array([[1e-3, 0, 0], [0, 0, 1.0], [0, 0, 0]])
    check_own(program)
    program.penalties[0, 2] = 1.0
    with pytest.raises(ValueError, match=r"max_norm of dense layers alone, got one of layers.0"):
        check_own(program)
