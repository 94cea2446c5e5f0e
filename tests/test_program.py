"""The seam: how a network is laid out in plain arrays."""

import copy
import pickle

import numpy as np
import pytest

import fastnn
from fastnn.program import (
    BIASES,
    INPUTS,
    OUTPUTS,
    PADDING,
    WEIGHTS,
    blocks,
    build,
    prepare,
    zeros_like_parameters,
)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_layout(dtype):
    program = build([5, 3, 2], [(3, 0.0), (4, 0.5)], loss=2, dtype=dtype, input_scale=0.5)
    assert program.layers[:, INPUTS].tolist() == [5, 3]
    assert program.layers[:, OUTPUTS].tolist() == [3, 2]
    assert program.layers[:, [WEIGHTS, BIASES]].tolist() == [[0, 16], [32, 48]]
    assert program.parameters.shape == (64 + PADDING,)
    assert program.slopes.tolist() == [0.0, 0.5]
    assert program.state.shape == (0, 64 + PADDING)
    prepare(program, 3, 2)
    assert program.state.shape == (2, 64 + PADDING)
    for arena in (program.parameters, program.state, zeros_like_parameters(program)):
        assert arena.ctypes.data % 64 == 0
        assert arena.flags.c_contiguous
        assert arena.dtype == dtype
        assert not arena.any()


def test_blocks_are_views_that_do_not_overlap():
    program = build([5, 3, 2], [(3, 0.0), (4, 0.5)], loss=2)
    arena = zeros_like_parameters(program)
    for weights, biases in blocks(program, arena):
        weights += 1
        biases += 1
    assert arena.sum() == 5 * 3 + 3 + 3 * 2 + 2
    assert arena.max() == 1


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
