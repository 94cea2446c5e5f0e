"""Compiled engines against the reference, within the bound of rounding errors: k * eps * |A| |B|.

The reference computes in float64 what the engine computes in its own dtype from the same numbers. A
bound on the difference is carried along: for every value q there is an error e_q, and for a product
e = |A| e_B + e_A |B| + k * eps * |A| |B|, k the length of its sums. See Higham, Accuracy and
stability of numerical algorithms (2002), section 3.5. eps is twice the unit roundoff, so the bounds
hold for float64 as well, where the reference errs as much as the engine.
"""

# ruff: noqa: N806 (the textbook's capital letters)

import copy
import ctypes
import inspect
import itertools
import mmap
import re
import types

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from fastnn import engine, reference
from fastnn.activations import ACTIVATIONS
from fastnn.losses import LOSSES
from fastnn.optimizers import (
    OPTIMIZERS,
    SGD,
    Adadelta,
    Adagrad,
    Adam,
    Adamax,
    AdamW,
    AMSGrad,
    Lion,
    Nadam,
    RMSprop,
    ScheduleFreeAdamW,
)
from fastnn.program import (
    ACTIVATE,
    EPSILON,
    RATE,
    A,
    B,
    C,
    build,
    in_training,
    pairs,
    prepare,
    zeros_like_parameters,
)

FUNCTION = 8  # eps: the error of one exp, tanh or log
CURVED = {"gelu": 0.8, "gelu_tanh": 0.81, "silu": 0.51, "mish": 0.61}  # largest |g''|
TRAINED = [
    SGD(0.1),
    SGD(0.1, momentum=0.9),
    SGD(0.1, momentum=0.9, nesterov=True),
    Adam(0.01),
    RMSprop(0.01),
    RMSprop(0.01, momentum=0.5),
    RMSprop(0.01, centered=True, momentum=0.5),
    Adagrad(0.05),
    Adadelta(1.0),
    AMSGrad(0.01),
    Adamax(0.01),
    Nadam(0.01),
    Lion(0.001),
    AdamW(0.01, weight_decay=0.5),
    SGD(0.05, weight_decay=0.5),
    SGD(0.05, clipvalue=0.01),
    Adam(0.01, clipnorm=0.05),
    SGD(0.05, momentum=0.5, global_clipnorm=0.1),
    SGD(0.05, gradient_accumulation_steps=3),
    Adam(0.01, gradient_accumulation_steps=2, global_clipnorm=0.1, use_ema=True),
    SGD(0.05, use_ema=True, ema_momentum=0.9),
    ScheduleFreeAdamW(0.01, weight_decay=0.5, warmup_steps=3),
]
FITTING = [
    (output, loss)
    for output, loss in itertools.product(ACTIVATIONS, LOSSES)
    if LOSSES[loss].output in (None, output)
]


# Bounds.


def product(a, e_a, b, eps):
    """Error of a @ b, where b is exact."""
    return e_a @ np.abs(b) + (a.shape[1] + 4) * eps * (np.abs(a) @ np.abs(b))


def activated(name, slope, z, e_z, h, eps):
    """Error of h = g(z)."""
    if (
        name == "softmax"
    ):  # relative: e^z has the absolute error of z, twice: above and below the line
        spread = np.abs(z - z.max(axis=1, keepdims=True)).max(axis=1, keepdims=True)
        relative = np.expm1(2 * e_z.max(axis=1, keepdims=True))
        return h * (relative + (2 * spread + z.shape[1] + 2 * FUNCTION) * eps)
    if name == "exponential":
        return h * (np.expm1(e_z) + FUNCTION * eps)
    known = {
        "sigmoid": 0.25,
        "gelu": 1.13,
        "gelu_tanh": 1.13,
        "silu": 1.1,
        "mish": 1.1,
        "selu": 1.76,
    }
    steepest = known.get(name, max(1.0, slope))
    return steepest * e_z + FUNCTION * eps * np.abs(h)


def differentiated(name, slope, z, e_z, h, e_h, dh, e_dh, eps):
    """dz from dh, and its error."""
    if name == "softmax":
        s = (dh * h).sum(axis=1, keepdims=True)
        e_s = (e_dh * h + (np.abs(dh) + e_dh) * e_h).sum(axis=1, keepdims=True)
        e_s += (h.shape[1] + 4) * eps * np.abs(dh * h).sum(axis=1, keepdims=True)
        error = e_h * np.abs(dh - s) + (h + e_h) * (e_dh + e_s + 4 * eps * (np.abs(dh) + np.abs(s)))
        return h * (dh - s), error
    if name == "sigmoid":
        g, e_g = h * (1 - h), np.abs(1 - 2 * h) * e_h + e_h**2 + 4 * eps * h
    elif name == "tanh":
        g, e_g = 1 - h * h, 2 * np.abs(h) * e_h + e_h**2 + 4 * eps
    elif name in CURVED:
        g = reference.DERIVATIVES[ACTIVATIONS[name].code](z, np.ones_like(z), slope)
        e_g = CURVED[name] * e_z + FUNCTION * eps
    elif name == "elu":
        g, e_g = np.where(z < 0, h + slope, 1), e_h + 2 * eps
    elif name == "selu":  # near the kink either side may be right
        g = reference.DERIVATIVES[reference.SELU](h, np.ones_like(h), slope)
        e_g = e_h + 4 * eps + (np.abs(z) <= e_z) * 0.708
    elif name == "softplus":
        g, e_g = -np.expm1(-h), e_h + FUNCTION * eps
    elif name == "softsign":
        g, e_g = (1 - np.abs(h)) ** 2, 2 * (1 - np.abs(h)) * e_h + e_h**2 + 4 * eps
    elif name == "exponential":
        g, e_g = h, e_h
    elif name in ("hard_sigmoid", "hard_tanh"):
        top, g_inside = (3, 1 / 6) if name == "hard_sigmoid" else (1, 1)
        g = np.where(np.abs(z) < top, g_inside, 0)
        e_g = (np.abs(np.abs(z) - top) <= e_z + 16 * eps) * g_inside + eps
    elif name in ("relu", "leaky_relu"):  # near the kink either side may be right
        g, e_g = np.where(z > 0, 1, slope), (np.abs(z) <= e_z) * abs(1 - slope) + 2 * eps * slope
    else:
        g, e_g = np.ones_like(h), 0
    return dh * g, e_dh * (np.abs(g) + e_g) + np.abs(dh) * e_g + 4 * eps * np.abs(dh * g)


class Expected:
    """What the reference computes in float64 from a program, and how far off an engine may be."""

    def __init__(self, program, names, x):
        self.eps = float(np.finfo(program.dtype).eps)
        self.program = copy.copy(program)
        self.program.dtype = np.dtype("float64")
        self.program.parameters = program.parameters.astype("float64")
        self.program.state = program.state.astype("float64")
        self.program.input_scale = float(program.dtype.type(program.input_scale))
        self.names, self.slopes = names, [ACTIVATIONS[name].slope for name in names]
        self.x = x.astype(program.dtype).astype("float64")
        trained = reference.with_weights(self.program, in_training(self.program))
        values = reference.forward_pass(trained, self.x, reference.ops(trained))
        self.h = [values[value] for value in self.program.layers]
        self.e_h = [4 * self.eps * np.abs(self.h[0])]
        self.z, self.e_z = [None], [None]
        self.weights = pairs(self.program, trained.parameters)
        for layer, (W, b) in enumerate(self.weights):
            h, e_h = self.h[layer], self.e_h[layer]
            z = h @ W + b
            e_z = product(h, e_h, W, self.eps) + (len(W) + 4) * self.eps * np.abs(b)
            self.z.append(z)
            self.e_z.append(e_z)
            name, slope = names[layer], self.slopes[layer]
            self.e_h.append(activated(name, slope, z, e_z, self.h[layer + 1], self.eps))

    def outputs(self):
        """z, h and their errors as the loss sees them: of logits, which are z, h by its own g."""
        z, e_z, h, e_h = self.z[-1], self.e_z[-1], self.h[-1], self.e_h[-1]
        name = {11: "softmax", 12: "sigmoid"}.get(self.program.loss)
        if name is None:
            return z, e_z, h, e_h
        link = reference.LOGITS[self.program.loss][1](h)
        return h, e_h, link, activated(name, 0, h, e_h, link, self.eps)

    def loss(self, t):
        """Sum of the losses, and its error."""
        loss, eps = list(LOSSES)[self.program.loss], self.eps
        rows, _ = reference.losses_and_errors(self.program, self.z[-1], self.h[-1], t)
        z, e_z, h, e_h = self.outputs()
        if loss.startswith("cross_entropy"):
            spread = np.abs(z - z.max(axis=1, keepdims=True)).max(axis=1)
            each = 2 * e_z.max(axis=1) + (2 * spread + z.shape[1] + 2 * FUNCTION) * eps
            error = np.abs(t).sum(axis=1) * each
        elif loss.startswith("binary_cross_entropy"):
            error = ((np.abs(t) + 1) * (e_z + 2 * FUNCTION * eps * (np.abs(z) + 1))).mean(axis=1)
        elif loss == "mean_squared_error":
            d = np.abs(h - t)
            each = 2 * d * e_h + e_h**2 + 8 * eps * d * (np.abs(h) + np.abs(t))
            error = each.mean(axis=1) + (z.shape[1] + 4) * eps * rows
        else:
            error = self.error_of_each(loss, t).mean(axis=1) + (z.shape[1] + 4) * eps * rows
        return rows.sum(), error.sum() + len(rows) * 1e-15 * np.abs(rows).sum()

    def error_of_each(self, loss, t):
        """Error of each output's loss: how steep it is times the error of what it reads."""
        z, e_z, h, e_h = self.outputs()
        size = np.abs(h) + np.repeat(np.abs(t), h.shape[1] // t.shape[1], axis=1)
        if loss == "gaussian":  # of both outputs of a target alike
            e, s = np.abs(h[:, ::2] - t), h[:, 1::2]
            far = e + e_h[:, ::2]
            scaled = np.exp(e_h[:, 1::2] - s) * (1 + FUNCTION * self.eps)
            change = scaled * far**2 - np.exp(-s) * e**2 + e_h[:, 1::2]
            rounding = 16 * self.eps * (np.abs(s) + scaled * far * (size[:, ::2] + 1))
            return np.repeat(change + rounding, 2, axis=1)
        rounding = 4 * FUNCTION * self.eps * (size + 1)
        if loss == "poisson":
            return e_h + t * e_z + rounding * (1 + np.abs(z))
        if loss == "focal":  # 3: a bound of its slope at gamma = 2
            return 3 * e_z + rounding * (1 + np.abs(z))
        if loss == "huber":
            return np.minimum(size, 1) * e_h + e_h**2 + rounding * np.minimum(size, 1)
        return e_h + rounding

    def agreeing(self, y, t):
        """The least and the largest number of agreeing rows, or of right outputs."""
        h, e_h = self.h[-1], self.e_h[-1]
        loss = LOSSES[list(LOSSES)[self.program.loss]]
        if loss.per_target > 1:
            return 0, 0
        if h.shape[1] == 1 or (loss.kind == "binary" and y.ndim == 2):
            agree, sure = (h > loss.cut) == (t > 0.5), np.abs(h - loss.cut) > e_h
        else:
            best = np.sort(h, axis=1)
            agree = h.argmax(axis=1) == t.argmax(axis=1)
            sure = best[:, -1] - best[:, -2] > 2 * e_h.max(axis=1)
        return (agree & sure).sum(), (agree | ~sure).sum()

    def output_delta(self, t):
        """dz of the output layer for the mean loss, and its error."""
        loss, eps = list(LOSSES)[self.program.loss], self.eps
        _, d = reference.losses_and_errors(self.program, self.z[-1], self.h[-1], t)
        d = d / len(d)
        z, e_z, h, e_h = self.outputs()
        if loss == "gaussian":
            e, s, e_s = np.abs(h[:, ::2] - t), h[:, 1::2], e_h[:, 1::2]
            scaled = np.exp(e_s - s) * (1 + 2 * FUNCTION * eps)
            far = e + e_h[:, ::2] + 4 * eps * (np.abs(h[:, ::2]) + np.abs(t))
            e_d = np.empty_like(h)
            e_d[:, ::2] = far * scaled - e * np.exp(-s) + 4 * eps * far * scaled
            e_d[:, 1::2] = far**2 * scaled - e**2 * np.exp(-s) + 4 * eps * (1 + far**2 * scaled)
            return self.differentiated(len(self.names), d, e_d / t.size)
        t = np.repeat(t, h.shape[1] // t.shape[1], axis=1)
        rounding = 4 * eps * (np.abs(h) + np.abs(t))
        near = np.abs(h - t) <= e_h + rounding  # a kink: either side may be right
        if loss.startswith("cross_entropy"):
            return d, (e_h + rounding) / len(h)
        if loss.startswith("binary_cross_entropy") or loss == "poisson":
            return d, (e_h + rounding) / h.size
        if loss == "focal":  # 4: a bound of its second derivative at gamma = 2
            return d, (4 * e_z + 4 * FUNCTION * eps * (1 + np.abs(z))) / h.size
        e_dh = {
            "mean_squared_error": 2 * (e_h + rounding),
            "mean_absolute_error": 2 * near + 4 * eps,
            "huber": e_h + rounding,
            "log_cosh": e_h + rounding + FUNCTION * eps,
            "quantile": near + 4 * eps,
            "hinge": 2 * (np.abs((2 * t - 1) * h - 1) <= e_h + rounding + 4 * eps) + 4 * eps,
        }[loss]
        return self.differentiated(len(self.names), d, e_dh / h.size)

    def differentiated(self, layer, dh, e_dh):
        """dz of a layer, counted from 1, from its dh."""
        name, slope = self.names[layer - 1], self.slopes[layer - 1]
        z, e_z, h, e_h = self.z[layer], self.e_z[layer], self.h[layer], self.e_h[layer]
        return differentiated(name, slope, z, e_z, h, e_h, dh, e_dh, self.eps)

    def gradients(self, dz, e_dz):
        """(arena, its error, dx, its error) from dz of the output layer."""
        eps, arena = self.eps, zeros_like_parameters(self.program)
        errors = np.zeros_like(arena)
        dW, e_dW = pairs(self.program, arena), pairs(self.program, errors)
        for layer in reversed(range(len(self.weights))):
            W, h, e_h = self.weights[layer][0], self.h[layer], self.e_h[layer]
            dW[layer][0][...] = h.T @ dz
            e_dW[layer][0][...] = product(h.T, e_h.T, np.abs(dz) + e_dz, eps) + np.abs(h).T @ e_dz
            dW[layer][1][...] = dz.sum(axis=0)
            e_dW[layer][1][...] = (e_dz + (len(h) + 4) * eps * np.abs(dz)).sum(axis=0)
            dh, e_dh = dz @ W.T, product(dz, e_dz, W.T, eps)
            if layer > 0:
                dz, e_dz = self.differentiated(layer, dh, e_dh)
        return arena, errors, dh, e_dh

    def update(self, code, g, e_g, numbers):
        """(parameters, error, state, error) after one step from these gradients."""
        w, eps = self.program.parameters, self.eps
        if code > reference.ADAM:
            return self.updated(g, e_g, numbers)
        c0, c1 = numbers[RATE], numbers[A]
        after = copy.copy(self.program)
        after.parameters, after.state = w.copy(), self.program.state.copy()
        reference.apply_gradients(after, g, numbers, 1)
        a_w, a_g, state = np.abs(w), np.abs(g), self.program.state
        if code == reference.SGD:
            error = c0 * e_g + 4 * eps * (a_w + c0 * a_g)
            return after.parameters, error, after.state, np.zeros_like(after.state)
        if code in (reference.MOMENTUM, reference.NESTEROV):
            v = np.abs(after.state[0])
            e_v = c0 * e_g + 4 * eps * (c1 * np.abs(state[0]) + c0 * a_g)
            step, e_step = v, e_v
            if code == reference.NESTEROV:
                step = c1 * v + c0 * a_g
                e_step = c1 * e_v + c0 * e_g + 4 * eps * step
            return after.parameters, e_step + 4 * eps * (a_w + step), after.state, e_v[None]
        m, v = np.abs(after.state)
        new, new_2, c4 = numbers[B], numbers[C], numbers[EPSILON]
        e_m = new * e_g + 4 * eps * (np.abs(state[0]) * (1 + new) + a_g * new)
        e_v = new_2 * (2 * a_g + e_g) * e_g + 4 * eps * (state[1] * (1 + new_2) + g * g)
        below = (c1 * np.sqrt(np.maximum(v - e_v, 0)) + c4) * (1 - 4 * eps)
        above = (c1 * np.sqrt(v + e_v) + c4) * (1 + 4 * eps)
        e_step = c0 * ((m + e_m) / below - m / above) + c0 * e_m / below
        error = e_step + 8 * eps * (a_w + c0 * m / below)
        return after.parameters, error, after.state, np.stack([e_m, e_v])

    def updated(self, g, e_g, numbers):
        """The same of any optimizer: how far a step goes off if one thing that goes in is off."""
        eps, program = self.eps, self.program
        w, state = self.stepped(g, program.state, numbers)
        e_w, e_state = np.zeros_like(w), np.zeros_like(state)
        off_g = e_g + 8 * eps * np.abs(g)
        for slot, sign in itertools.product(range(-1, len(state)), (-1, 1)):
            begun = program.state.copy()
            if slot >= 0:
                begun[slot] *= 1 + 8 * eps * sign
            w_off, state_off = self.stepped(g + sign * off_g * (slot < 0), begun, numbers)
            e_w += np.abs(w_off - w)  # of both signs
            e_state += np.abs(state_off - state)
        moved = np.abs(w) + np.abs(program.parameters)
        kept = np.abs(state) + np.abs(program.state)
        return w, e_w + 16 * eps * moved, state, e_state + 16 * eps * kept

    def stepped(self, g, state, numbers):
        """Parameters and state after an update from these gradients and this state."""
        after = copy.copy(self.program)
        after.parameters, after.state = after.parameters.copy(), state.copy()
        reference.apply_gradients(after, g.copy(), numbers, 1)
        return after.parameters, after.state


def assert_within(found, expected, error, dtype):
    """Every number differs by at most its error, or by a few of the smallest normal numbers."""
    worst = np.abs(np.asarray(found, "float64") - expected) - error
    assert (worst <= 100 * float(np.finfo(dtype).tiny)).all(), worst.max()


# Cases.


def make_program(names, sizes, loss, dtype, random):
    """A program with random weights of a usual size."""
    activations = [ACTIVATIONS[name] for name in names]
    program = build(sizes, activations, LOSSES[loss].code, dtype, 1 / 3, LOSSES[loss].numbers)
    for weights, biases in pairs(program, program.parameters):
        weights[...] = random.normal(size=weights.shape) * np.sqrt(2 / len(weights))
        biases[...] = random.normal(size=biases.shape)
    return program


def make_inputs(rows, width, dtype, layout, random):
    """Inputs of an odd layout in memory."""
    wide = random.normal(size=(2 * rows, 3 * width)) * 3
    wide = np.abs(wide * 10).astype(dtype) if dtype == "uint8" else wide.astype(dtype)
    if layout == "plain":
        return np.ascontiguousarray(wide[:rows, :width])
    if layout == "fortran":
        return np.asfortranarray(wide[:rows, :width])
    if layout == "strided":
        return wide[::2, ::3]
    return wide[rows - 1 :: -1, width - 1 :: -1]


LAYOUTS = ["plain", "fortran", "strided", "reversed"]


def make_targets(kind, rows, outputs, dtype, random):
    """(y for an engine, the same as targets in float64)."""
    if kind == "labels":
        labels = random.integers(0, outputs, rows)
        return labels, np.eye(outputs)[labels]
    t = random.random((rows, outputs))
    t = (t / t.sum(axis=1, keepdims=True) if outputs > 1 else t).astype(dtype)
    return t, t.astype("float64")


def check_everything(core, names, sizes, loss, rows, dtype, x, kind, threads, random):
    """forward, activations, evaluate, gradients and backward of one case."""
    program = make_program(names, sizes, loss, dtype, random)
    y, t = make_targets(kind, rows, program.targets, dtype, random)
    untouched = program.parameters.copy(), x.copy(), y.copy()
    expected = Expected(program, names, x)

    out = np.empty((rows, sizes[-1]), dtype)
    core.forward(program, x, out, threads)
    assert_within(out, expected.h[-1], expected.e_h[-1], dtype)

    outs = [np.empty((rows, size), dtype) for size in sizes]
    core.activations(program, x, outs, threads)
    for found, h, e_h in zip(outs, expected.h, expected.e_h, strict=True):
        assert_within(found, h, e_h, dtype)
    assert outs[-1].tobytes() == out.tobytes()

    loss_sum, agreeing = core.evaluate(program, x, y, threads)
    least, largest = expected.agreeing(y, t)
    assert_within(loss_sum, *expected.loss(t), dtype)
    assert least <= agreeing <= largest

    found = zeros_like_parameters(program)
    found[...] = np.nan  # must be filled
    # another order of sums than in evaluate: near, not equal
    loss, agreeing = core.gradients(program, x, y, found, threads)
    assert_within(loss, *expected.loss(t), dtype)
    arena, errors, _, _ = expected.gradients(*expected.output_delta(t))
    check_arena(program, found, arena, errors)

    d_output, d_input = (
        random.normal(size=out.shape).astype(dtype),
        np.empty((rows, sizes[0]), dtype),
    )
    dh = d_output.astype("float64")
    dz, e_dz = expected.differentiated(len(names), dh, np.zeros_like(dh))
    arena, errors, dx, e_dx = expected.gradients(dz, e_dz)
    found[...] = np.nan
    core.backward(program, x, d_output, found, d_input, threads)
    check_arena(program, found, arena, errors)
    assert_within(d_input, dx, e_dx, dtype)

    for before, after in zip(untouched, (program.parameters, x, y), strict=True):
        assert before.tobytes() == after.tobytes()


def check_arena(program, found, expected, errors):
    """The blocks of an arena of gradients, each within its bound."""
    for parts in zip(*(pairs(program, a) for a in (found, expected, errors)), strict=True):
        for values in zip(*parts, strict=True):
            assert_within(*values, program.dtype)


@st.composite
def cases(draw):
    """Everything that a case is made of."""
    output, loss = draw(st.sampled_from(FITTING))
    hidden = draw(st.lists(st.sampled_from(sorted(ACTIVATIONS)), max_size=2))
    size = st.integers(1, 70)
    last = draw(st.integers(2, 70) if output == "softmax" else size)
    sizes = [draw(size) for _ in range(len(hidden) + 1)] + [last]
    last += last % LOSSES[loss].per_target
    sizes[-1] = last
    several = last > LOSSES[loss].per_target
    kind = draw(st.sampled_from(["labels", "soft"] if several else ["soft"]))
    dtypes = (
        draw(st.sampled_from(["float32", "float64"])),
        draw(st.sampled_from(["uint8", "float32", "float64"])),
    )
    layout, rows, threads = draw(st.sampled_from(LAYOUTS)), draw(size), draw(st.integers(1, 3))
    seed = draw(st.integers(0, 2**32))
    return [*hidden, output], sizes, loss, rows, dtypes, layout, kind, threads, seed


@settings(max_examples=150, deadline=None, derandomize=True)
@given(case=cases())
def test_any_case(compiled, case):
    names, sizes, loss, rows, (dtype, x_dtype), layout, kind, threads, seed = case
    assume("exponential" not in names)  # it overflows where z is large: 89 in float32
    random = np.random.default_rng(seed)
    x = make_inputs(rows, sizes[0], x_dtype, layout, random)
    check_everything(compiled(dtype), names, sizes, loss, rows, dtype, x, kind, threads, random)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_residue_of_every_size(compiled, dtype):
    for k in range(64):  # the factors are odd: every size takes every value from 1 to 64
        rows, *sizes, outputs = ((k * a + b) % 64 + 1 for a, b in ((1, 0), (3, 5), (5, 11), (7, 1)))
        random = np.random.default_rng(k)
        x = make_inputs(rows, sizes[0], dtype, "plain", random)
        names, loss = ["tanh", "softmax"], "cross_entropy"
        if outputs == 1:
            names, loss = ["tanh", "sigmoid"], "binary_cross_entropy"
        case = compiled(dtype), names, [*sizes, outputs], loss, rows, dtype, x, "soft", 2, random
        check_everything(*case)


@pytest.mark.parametrize("rows", [95, 193, 1100])
@pytest.mark.parametrize("sizes", [[300, 5, 3], [3, 130, 2], [17, 16, 515]], ids=str)
def test_many_rows_and_wide_layers(compiled, rows, sizes):
    random = np.random.default_rng(rows)
    x = make_inputs(rows, sizes[0], "uint8", "plain", random)
    names = ["relu", "softmax"]
    check_everything(
        compiled(), names, sizes, "cross_entropy", rows, "float32", x, "labels", 2, random
    )


# Training.


def make_training(names, sizes, loss, dtype, rows, batch_size, optimizer, steps, random):
    """(program, x, rows of x, y, targets, coefficients) of a training; the last batch is short."""
    program = make_program(names, sizes, loss, dtype, random)
    prepare(program, optimizer.code, optimizer.slots)
    x = make_inputs(rows, sizes[0], "float32", "plain", random)
    length = steps * batch_size - batch_size // 2
    chosen = random.integers(0, rows, length).astype(np.int32)
    y, t = make_targets("soft", length, sizes[-1], dtype, random)
    numbers = np.arange(steps), np.full(steps, optimizer.learning_rate)
    return program, x, chosen, y, t, optimizer.coefficients(*numbers)


def check_steps(core, names, loss, sizes, dtype, batch_size, optimizer, steps=50):
    """Every step is within its bound, starting from the engine's own weights; one call of all
    steps, on two threads, gives the same bits as a call for each on one."""
    random = np.random.default_rng(5)
    program, x, chosen, y, t, numbers = make_training(
        names, sizes, loss, dtype, 60, batch_size, optimizer, steps, random
    )
    at_once = copy.deepcopy(program)
    loss_sum = 0.0
    for step in range(steps):
        batch = slice(step * batch_size, (step + 1) * batch_size)
        rows = chosen[batch]
        expected = Expected(program, names, x[rows])
        g, e_g, _, _ = expected.gradients(*expected.output_delta(t[batch]))
        found = core.train(program, x, rows, y[batch], batch_size, numbers[step : step + 1], 1)
        least, largest = expected.agreeing(y[batch], t[batch])
        assert_within(found[0], *expected.loss(t[batch]), dtype)
        assert least <= found[1] <= largest
        w, e_w, state, e_state = expected.update(optimizer.code, g, e_g, numbers[step])
        assert_within(program.parameters, w, e_w, dtype)
        assert_within(program.state, state, e_state, dtype)
        loss_sum += found[0]
    total, _ = core.train(at_once, x, chosen, y, batch_size, numbers, 2)
    assert total == pytest.approx(loss_sum, rel=1e-12)
    assert at_once.parameters.tobytes() == program.parameters.tobytes()
    assert at_once.state.tobytes() == program.state.tobytes()


@pytest.mark.parametrize("optimizer", TRAINED, ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("batch_size", [1, 33])
def test_fifty_steps_of_every_optimizer(compiled, optimizer, dtype, batch_size):
    names, sizes = ["tanh", "relu", "softmax"], [19, 33, 7, 5]
    steps = 50 if optimizer in TRAINED[:4] else 20
    case = compiled(dtype), names, "cross_entropy", sizes, dtype, batch_size, optimizer
    check_steps(*case, steps)


@pytest.mark.parametrize("optimizer", [TRAINED[0], TRAINED[3]], ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("sizes", [[250, 100, 10], [200, 504, 9], [130, 505, 3]], ids=str)
def test_columns_beyond_whole_vectors(compiled, optimizer, dtype, sizes):
    """Few of them are had by the transpose, where a block of dW leaves room behind it."""
    case = compiled(dtype), ["relu", "softmax"], "cross_entropy", sizes, dtype, 33, optimizer
    check_steps(*case, 6)


@pytest.mark.parametrize("optimizer", TRAINED, ids=str)
def test_steps_of_batches_larger_than_any_chunk(compiled, optimizer):
    names, sizes = ["sigmoid", "softmax"], [9, 21, 3]
    check_steps(compiled(), names, "cross_entropy", sizes, "float32", 1100, optimizer, steps=3)


# Nothing of the vocabulary is missing.


def test_every_optimizer_is_tested():
    assert {type(optimizer) for optimizer in TRAINED} == set(OPTIMIZERS.values())


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.tuples(*[st.one_of(st.integers(1, 70), st.sampled_from([96, 255, 257, 300]))] * 3),
    st.sampled_from(["float32", "float64"]),
    st.integers(0, 99),
)
@example((400, 9, 3), "float32", 0)  # the last block of rows is short: whole vectors of w are read
@example((3, 9, 1), "float32", 0)  # w.T is a row
def test_products(compiled, shape, dtype, seed):
    """x @ w, and the two forms with a transposed factor, on any number of threads."""
    rows, columns, depth = shape
    core = compiled(dtype)
    random = np.random.default_rng(seed)
    x = random.normal(size=(rows, depth)).astype(dtype)
    w = random.normal(size=(depth, columns)).astype(dtype)
    exact = x.astype("float64") @ w.astype("float64")
    error = (depth + 4) * np.finfo(dtype).eps * (np.abs(x) @ np.abs(w))
    for call, a, b in (
        (core.product, x, w),
        (core.product_tn, np.ascontiguousarray(x.T), w),
        (core.product_nt, x, np.ascontiguousarray(w.T)),
    ):
        seen = set()
        for threads in (1, 2, 3):
            around = np.full((rows + 2, columns), np.nan, dtype)
            call(a, b, around[1:-1], threads)
            assert np.isnan(around[[0, -1]]).all()  # nothing is written outside
            assert (np.abs(around[1:-1] - exact) <= error).all()
            seen.add(around.tobytes())
        assert len(seen) == 1


def test_products_refuse_what_they_cannot_read(compiled):
    """What is not an array of our numbers, and an array that lies in memory as it must not."""
    core = compiled()
    x, out = np.ones((4, 8), "float32"), np.full((8, 8), 7, "float32")
    sealed = out.copy()
    sealed.flags.writeable = False
    shifted = np.zeros(4 * 8 * 4 + 1, "uint8")[1:].view("float32").reshape(4, 8)
    for error, message, call in (
        (TypeError, "an array, got list", lambda: core.product(x.tolist(), x, out, 1)),
        (TypeError, "got 2 of >f4", lambda: core.product_tn(x.astype(">f4"), x, out, 1)),
        (TypeError, "got 2 of int32", lambda: core.product_tn(x.astype("int32"), x, out, 1)),
        (TypeError, "got 1 of float32", lambda: core.product_tn(x[0], x, out, 1)),
        (ValueError, "C-contiguous, got", lambda: core.product(x.T, x, out, 1)),
        (ValueError, "writeable, got", lambda: core.product_tn(x, x, sealed, 1)),
        (ValueError, "writeable, got", lambda: core.product_tn(x, x, out.T, 1)),
        (ValueError, "aligned, C-contiguous, got", lambda: core.product_tn(shifted, x, out, 1)),
        (ValueError, "factors and out of float32 that fit", lambda: core.product(x, x, out, 1)),
    ):
        with pytest.raises(error, match=message):
            call()
    assert (out == 7).all()
    assert (sealed == 7).all()


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_every_activation_runs_on_every_engine(engine_name, name):
    core, random = engine.get(engine_name, "float64"), np.random.default_rng(2)
    for names in ([name, "identity"], [name, name], ["identity", name]):
        x = make_inputs(9, 6, "float64", "plain", random)
        check_everything(
            core, names, [6, 5, 4], "mean_squared_error", 9, "float64", x, "soft", 1, random
        )


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_runs_on_every_engine(engine_name, name):
    core, random = engine.get(engine_name, "float64"), np.random.default_rng(2)
    for kind in ("labels", "soft"):
        x = make_inputs(9, 6, "float64", "plain", random)
        output = LOSSES[name].output or "identity"
        check_everything(core, ["tanh", output], [6, 5, 4], name, 9, "float64", x, kind, 1, random)


@pytest.mark.parametrize("optimizer", TRAINED, ids=str)
def test_every_optimizer_runs_on_every_engine(engine_name, optimizer):
    core, names = engine.get(engine_name, "float64"), ["tanh", "sigmoid"]
    check_steps(core, names, "binary_cross_entropy", [6, 5, 4], "float64", 8, optimizer, steps=10)


def test_codes_beyond_the_vocabulary_have_no_twin():
    assert set(reference.ACTIVATIONS) == {
        a.code for a in ACTIVATIONS.values() if a.kind == ACTIVATE
    }
    assert set(reference.DERIVATIVES) == set(reference.ACTIVATIONS)
    assert {*reference.LOSSES, *reference.LOGITS} == {loss.code for loss in LOSSES.values()}


CALLS = [name for name, call in vars(engine.Engine).items() if name[0] != "_" and callable(call)]


@pytest.mark.parametrize("call", CALLS)
def test_engines_offer_the_same_calls_with_the_same_arguments(compiled, call):
    """As the protocol says, which mypy holds the callers to."""
    expected = list(inspect.signature(getattr(engine.Engine, call)).parameters)[1:]
    for module in (reference, compiled(), compiled("float64")):
        assert list(inspect.signature(getattr(module, call)).parameters) == expected
    assert compiled().NAME in engine.COMPILED


def test_the_protocol_names_every_call_of_the_reference():
    called = inspect.getsource(reference).partition("# The calls that every engine offers")[2]
    defined = re.findall(r"^def (\w+)", called, re.M)
    assert {*defined, "apply_gradients"} == set(CALLS)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("rows", "inputs", "width"), [(1, 1, 1), (200, 30, 17), (150, 1000, 100)])
def test_products_of_sparse_rows(compiled, dtype, rows, inputs, width):
    random = np.random.default_rng(rows)
    counts = random.integers(0, 9, rows)  # some rows have none
    starts = np.concatenate([[0], counts.cumsum()])
    columns = random.integers(0, inputs, starts[-1]).astype(np.int32)  # some twice
    numbers, W = (random.normal(size=size).astype(dtype) for size in (starts[-1], (inputs, width)))
    begun = random.normal(size=(rows, width)).astype(dtype)
    expected, bits = begun.astype("float64"), set()
    reference.multiply_sparse(numbers, columns, starts, W.astype("float64"), expected, 1)
    for threads in (1, 2, 5):
        out = begun.copy()
        compiled(dtype).multiply_sparse(numbers, columns, starts, W, out, threads)
        assert np.abs(out - expected).max() <= 20 * np.finfo(dtype).eps * 10
        bits.add(out.tobytes())
    assert len(bits) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"columns": [0, 3]}, "columns from 0 to 2, got 0 to 3"),
        ({"columns": [-1, 2]}, "columns from 0 to 2, got -1 to 2"),
        ({"starts": [0, 3]}, "ascending starts up to 2"),
        ({"starts": [-1, 2]}, "ascending starts up to 2"),
        ({"starts": [1, 0]}, "ascending starts up to 2"),
        ({"numbers": [1.0]}, "columns to be int32"),
        ({"out": [[0.0] * 3]}, "weights to be float64"),
    ],
)
def test_sparse_rows_that_do_not_fit(compiled, change, message):
    given = {
        "numbers": [1.0, 2.0],
        "columns": [0, 2],
        "starts": [0, 2],
        "out": [[0.0] * 2],
    } | change
    numbers, out = np.array(given["numbers"]), np.array(given["out"])
    columns, starts = np.array(given["columns"], np.int32), np.array(given["starts"], np.int64)
    with pytest.raises(ValueError, match=message):
        compiled("float64").multiply_sparse(numbers, columns, starts, np.ones((3, 2)), out, 1)


@pytest.mark.parametrize("n", [1, 2, 3, 1000])
def test_shuffles_are_the_same(compiled, n):
    words = np.random.default_rng(n).integers(0, 2**32, n, np.uint32)
    order, expected = np.full(n, -1, np.int32), np.empty(n, np.int32)
    compiled().shuffle(order, words)
    reference.shuffle(expected, words)
    assert order.tolist() == expected.tolist()
    assert sorted(order) == list(range(n))
    parts = np.full(n, -1, np.int32)
    for first, stop in ((0, n // 3), (n // 3, n // 3), (n // 3, n)):
        compiled().shuffle(parts[:stop], words[first:stop])
        assert sorted(parts[:stop]) == list(range(stop))
    assert parts.tolist() == order.tolist()
    with pytest.raises(ValueError, match=f"expected at most {n - 1} words, got {n}"):
        compiled().shuffle(order[1:], words)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_nan_is_kept(engine_name, name):
    core, random = engine.get(engine_name), np.random.default_rng(0)
    program = make_program([name, name], [3, 20, 2], "mean_squared_error", "float32", random)
    x, out = np.ones((4, 3), np.float32), np.empty((4, 2), np.float32)
    x[2, 1] = np.nan
    core.forward(program, x, out, 1)
    assert np.isnan(out).all(axis=1).tolist() == [False, False, True, False]


# The checks do catch a wrong kernel.


def spoiled(call, spoil):
    """The reference, with the arguments and the result of one call spoiled."""
    broken = types.SimpleNamespace(**vars(reference))

    def wrong(*arguments):
        result = getattr(reference, call)(*arguments)
        return spoil(result, *arguments)

    setattr(broken, call, wrong)
    return broken


def scale_last(array, factor):
    """Spoil one number."""
    array.flat[-1] *= factor


WRONG = {
    "an output": ("forward", lambda _, p, x, out, *rest: scale_last(out, 1.01)),
    "a hidden unit": ("activations", lambda _, p, x, outs, *rest: scale_last(outs[1], 1.01)),
    "a loss": ("evaluate", lambda result, *rest: (result[0] * 1.01, result[1])),
    "a row that agrees": ("evaluate", lambda result, *rest: (result[0], result[1] + 1)),
    "a weight's gradient": (
        "gradients",
        lambda result, p, x, y, arena, *rest: [result, scale_last(pairs(p, arena)[0][0], 1.1)][0],
    ),
    "a gradient from an output's": (
        "backward",
        lambda _, p, x, d, arena, *rest: scale_last(pairs(p, arena)[1][1], 1.1),
    ),
    "an input's gradient": ("backward", lambda _, p, x, d, arena, dx, *rest: scale_last(dx, 1.1)),
    "changed data": ("forward", lambda _, p, x, *rest: scale_last(x, 1.1)),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_number_is_seen(wrong):
    random = np.random.default_rng(4)
    x = make_inputs(9, 6, "float32", "plain", random)
    case = ["tanh", "softmax"], [6, 5, 4], "cross_entropy", 9, "float32", x, "soft", 1, random
    with pytest.raises(AssertionError):
        check_everything(spoiled(*WRONG[wrong]), *case)


WRONG_STEPS = {
    "a weight": lambda result, p, *rest: [result, scale_last(pairs(p, p.parameters)[0][0], 1.01)][
        0
    ],
    "the state": lambda result, p, *rest: [result, scale_last(pairs(p, p.state[0])[0][0], 1.1)][0],
    "the loss": lambda result, p, *rest: (result[0] * 1.01, result[1]),
}


@pytest.mark.parametrize("wrong", WRONG_STEPS)
def test_a_wrong_step_is_seen(wrong):
    broken = spoiled("train", WRONG_STEPS[wrong])
    names, sizes = ["tanh", "softmax"], [6, 5, 4]
    with pytest.raises(AssertionError):
        check_steps(broken, names, "cross_entropy", sizes, "float32", 8, Adam(0.01), steps=3)


def at_the_end_of_memory(array):
    """A copy behind which nothing can be read: touching it ends the process."""
    page = mmap.PAGESIZE
    pages = -(-array.nbytes // page)
    memory = mmap.mmap(-1, (pages + 1) * page)
    copy = np.frombuffer(memory, array.dtype, array.size, pages * page - array.nbytes)
    copy = copy.reshape(array.shape)
    copy[...] = array
    guard = ctypes.c_void_p(np.frombuffer(memory, np.uint8).ctypes.data + pages * page)
    if ctypes.CDLL(None).mprotect(guard, page, 0):
        raise OSError("expected mprotect to work")
    return copy


@pytest.mark.parametrize("rows", [1, 5, 47, 48, 90, 96, 100, 385, 400, 431, 432])
def test_products_read_nothing_behind_their_factors(compiled, rows):
    core = compiled("float32")
    draw = np.random.default_rng(0)
    for columns in (1, 7, 9, 10, 12, 15, 17, 30, 33, 50, 71, 300):
        for threads in (1, 2, 3):
            w = at_the_end_of_memory(draw.random((20, columns), "f4"))
            out = np.empty((rows, columns), "f4")
            x = at_the_end_of_memory(draw.random((rows, 20), "f4"))
            core.product(x, w, out, threads)
            np.testing.assert_allclose(out, x @ w, rtol=1e-5)
            x_t = at_the_end_of_memory(np.ascontiguousarray(x.T))
            core.product_tn(x_t, w, out, threads)
            np.testing.assert_allclose(out, x @ w, rtol=1e-5)
            w_t = at_the_end_of_memory(np.ascontiguousarray(w.T))
            core.product_nt(x, w_t, out, threads)
            np.testing.assert_allclose(out, x @ w, rtol=1e-5)
