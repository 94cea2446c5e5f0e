"""The engine in plain NumPy: the specification that compiled engines are tested against.

B batch, I inputs, O outputs of a layer. x (B, I), W (I, O), b (O,), z = x @ W + b, h = g(z); t are
the targets. dq is the gradient of the loss with respect to q. A network is a list of ops, of which
each has a forward and a backward side in the tables below; the chain rule is the loop over them.
Nothing here loops over rows.

Source: Goodfellow, Bengio, Courville, Deep learning (2016), section 6.5.
"""

# ruff: noqa: N806, N815 (the textbook's capital letters)
# mypy: disable-error-code="no-any-return"

from __future__ import annotations

import math
from collections.abc import Callable
from copy import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._random import DROP, words
from .program import (
    ACCUMULATES,
    ACTIVATE,
    ADD,
    AVERAGE,
    AVERAGES,
    BLOCK,
    CLIP,
    CLIPS,
    CLIPS_GLOBAL_NORM,
    CLIPS_NORM,
    CODE,
    DECAY,
    DECAYS,
    DENSE,
    DROPOUT,
    EPSILON,
    INPUT,
    KIND,
    KINDS_OF_UPDATE,
    OTHER,
    PENALTY,
    RATE,
    SCHEDULE_FREE,
    SHARE,
    SOFTMAX,
    SOURCE,
    A,
    B,
    C,
    D,
    E,
    Program,
    check,
    in_training,
    views,
)

Array = NDArray[Any]
Slots = list[Array]

NAME = "reference"


def flushed(q: Array) -> Array:
    """q with zeros for subnormal numbers, in place: engines compute as if there were none."""
    q[np.abs(q) < np.finfo(q.dtype).tiny] = 0
    return q


# Activations h = g(z), and dz from what they read, z or h, and dh.


def sigmoid(z: Array) -> Array:
    """1 / (1 + e^-z), without overflow."""
    e = np.exp(-np.abs(z))
    return np.where(z >= 0, 1 / (1 + e), e / (1 + e))


def softmax(z: Array) -> Array:
    """e^z / sum(e^z), without overflow."""
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def normal_cdf(z: Array) -> Array:
    """(1 + erf(z / sqrt(2))) / 2, the standard normal distribution's, by the complement of erf."""
    found: Array = np.vectorize(math.erfc, otypes=[np.float64])(-z / math.sqrt(2)) / 2
    return found


def gelu(z: Array) -> Array:
    """z * normal_cdf(z). Source: Hendrycks, Gimpel, Gaussian error linear units (2016)."""
    z64 = np.maximum(z, -40).astype(np.float64)  # -inf * 0 is no number
    return (z64 * normal_cdf(z64)).astype(z.dtype)


def gelu_derivative(z: Array) -> Array:
    """normal_cdf(z) + z * e^(-z^2 / 2) / sqrt(2 pi)."""
    z64 = np.clip(z, -40, 40).astype(np.float64)
    density = np.exp(-z64 * z64 / 2) / math.sqrt(2 * math.pi)
    return (normal_cdf(z64) + z64 * density).astype(z.dtype)


SELU_SCALE, SELU_ALPHA = 1.0507009873554804934, 1.6732632423543772848


def elu(z: Array, alpha: Any) -> Array:
    """z, or alpha * (e^z - 1) below 0."""
    return np.where(z < 0, alpha * np.expm1(np.minimum(z, 0)), z)


def softplus(z: Array) -> Array:
    """log(1 + e^z), without overflow."""
    return np.maximum(z, 0) + np.log1p(np.exp(-np.abs(z)))


def gated(z: Array, x: Array) -> Array:
    """z * sigmoid(x), 0 where the gate is shut."""
    return np.maximum(z, -1000) * sigmoid(x)


def gated_derivative(z: Array, x: Array, slope: Any) -> Array:
    """sigmoid(x) + z * sigmoid(x) * sigmoid(-x) * slope; x' = slope."""
    return sigmoid(x) + z * sigmoid(x) * sigmoid(-x) * slope


def gelu_tanh_argument(z: Array) -> Array:
    """2 * sqrt(2 / pi) * (z + 0.044715 * z^3): its sigmoid is (1 + tanh of half of it) / 2."""
    return 2 * math.sqrt(2 / math.pi) * (z + 0.044715 * z**3)


def gelu_tanh(z: Array) -> Array:
    """GELU by tanh. Source: Hendrycks, Gimpel, Gaussian error linear units (2016)."""
    return gated(z, gelu_tanh_argument(np.clip(z, -30, 30))).astype(z.dtype)


def gelu_tanh_derivative(z: Array) -> Array:
    """By the product's and the chain's rule."""
    z = np.clip(z, -30, 30)
    slope = 2 * math.sqrt(2 / math.pi) * (1 + 3 * 0.044715 * z * z)
    return gated_derivative(z, gelu_tanh_argument(z), slope)


def silu_derivative(z: Array) -> Array:
    """sigmoid(z) + z * sigmoid(z) * sigmoid(-z)."""
    z = np.clip(z, -1000, 1000)
    return gated_derivative(z, z, 1)


def mish(z: Array) -> Array:
    """z * tanh(softplus(z)). Source: Misra, Mish (2020)."""
    return np.maximum(z, -1000) * np.tanh(softplus(z))


def mish_derivative(z: Array) -> Array:
    """t + z * (1 - t^2) * sigmoid(z), t = tanh(softplus(z))."""
    z = np.clip(z, -1000, 1000)
    t = np.tanh(softplus(z))
    return t + z * (1 - t * t) * sigmoid(z)


def softsign(z: Array) -> Array:
    """z / (1 + |z|)."""
    z = np.clip(z, -1e30, 1e30)
    return z / (1 + np.abs(z))


IDENTITY, SIGMOID, TANH, RELU, LEAKY_RELU, GELU, ELU, SELU = range(8)
GELU_TANH, SILU, SOFTPLUS, SOFTSIGN, MISH, EXPONENTIAL, HARD_SIGMOID, HARD_TANH = range(8, 16)

ACTIVATIONS: dict[int, Callable[[Array, Any], Array]] = {
    IDENTITY: lambda z, slope: z,
    SIGMOID: lambda z, slope: sigmoid(z),
    TANH: lambda z, slope: np.tanh(z),
    RELU: lambda z, slope: np.maximum(z, 0),
    LEAKY_RELU: lambda z, slope: np.where(z > 0, z, slope * z),
    GELU: lambda z, slope: gelu(z),
    ELU: elu,
    SELU: lambda z, slope: SELU_SCALE * elu(z, z.dtype.type(SELU_ALPHA)),
    GELU_TANH: lambda z, slope: gelu_tanh(z),
    SILU: lambda z, slope: gated(z, z),
    SOFTPLUS: lambda z, slope: softplus(z),
    SOFTSIGN: lambda z, slope: softsign(z),
    MISH: lambda z, slope: mish(z),
    EXPONENTIAL: lambda z, slope: np.exp(z),
    HARD_SIGMOID: lambda z, slope: np.clip(z / 6 + z.dtype.type(0.5), 0, 1),
    HARD_TANH: lambda z, slope: np.clip(z, -1, 1),
}

DERIVATIVES: dict[int, Callable[[Array, Array, Any], Array]] = {
    IDENTITY: lambda h, dh, slope: dh,
    SIGMOID: lambda h, dh, slope: dh * (h * (1 - h)),
    TANH: lambda h, dh, slope: dh * (1 - h * h),
    RELU: lambda h, dh, slope: np.where(h > 0, dh, 0),
    LEAKY_RELU: lambda h, dh, slope: np.where(h > 0, dh, slope * dh),
    GELU: lambda z, dh, slope: dh * gelu_derivative(z),
    ELU: lambda h, dh, slope: np.where(h < 0, dh * (h + slope), dh),
    SELU: lambda h, dh, slope: (
        dh * np.where(h < 0, h + h.dtype.type(SELU_SCALE * SELU_ALPHA), h.dtype.type(SELU_SCALE))
    ),
    GELU_TANH: lambda z, dh, slope: dh * gelu_tanh_derivative(z),
    SILU: lambda z, dh, slope: dh * silu_derivative(z),
    SOFTPLUS: lambda h, dh, slope: dh * -np.expm1(-h),
    SOFTSIGN: lambda h, dh, slope: dh * (1 - np.abs(h)) ** 2,
    MISH: lambda z, dh, slope: dh * mish_derivative(z),
    EXPONENTIAL: lambda h, dh, slope: dh * h,
    HARD_SIGMOID: lambda h, dh, slope: np.where((h > 0) & (h < 1), dh / 6, 0),
    HARD_TANH: lambda h, dh, slope: np.where(np.abs(h) < 1, dh, 0),
}

READ_Z = frozenset(
    {GELU, GELU_TANH, SILU, MISH}
)  # activations whose derivative is written in z; the others' in h

# Losses: one number per row from z, h = g(z) and t.

CROSS_ENTROPY, BINARY_CROSS_ENTROPY, MEAN_SQUARED_ERROR = range(3)


def cross_entropy(z: Array, h: Array, t: Array) -> Array:
    """-sum(t * log p), p = softmax(z)."""
    z = z - z.max(axis=1, keepdims=True)
    log_p = z - np.log(np.exp(z).sum(axis=1, keepdims=True))
    return -(t * log_p).sum(axis=1)


def binary_cross_entropy(z: Array, h: Array, t: Array) -> Array:
    """mean(-t * log p - (1 - t) * log(1 - p)), p = sigmoid(z)."""
    return (np.maximum(z, 0) - t * z + np.log1p(np.exp(-np.abs(z)))).mean(axis=1)


def mean_squared_error(z: Array, h: Array, t: Array) -> Array:
    """mean((h - t)^2)."""
    return ((h - t) ** 2).mean(axis=1)


LOSSES: dict[int, Callable[[Array, Array, Array], Array]] = {
    CROSS_ENTROPY: cross_entropy,
    BINARY_CROSS_ENTROPY: binary_cross_entropy,
    MEAN_SQUARED_ERROR: mean_squared_error,
}


def error(loss: int, h: Array, t: Array) -> Array:
    """d (B, O) of the mean loss: dz of the last op where the loss cancels its g', else dh."""
    B, O = h.shape  # noqa: E741
    if loss == CROSS_ENTROPY:
        return (h - t) / B
    return (1 if loss == BINARY_CROSS_ENTROPY else 2) * (h - t) / (B * O)


def agreeing(program: Program, h: Array, y: Array) -> int:
    """How many rows of h (B, O) have the winner that y names; one output wins above one half.

    Targets (B, O) of binary_cross_entropy are each met or not: how many outputs are on their side
    of one half.
    """
    t = targets(program, y)
    if h.shape[1] == 1 or (program.loss == BINARY_CROSS_ENTROPY and y.ndim == 2):
        return int(((h > 0.5) == (t > 0.5)).sum())
    return int((h.argmax(axis=1) == t.argmax(axis=1)).sum())


# Optimizers: one update of w from g, with a row c of the numbers of optimizers.py.

SGD, MOMENTUM, NESTEROV, ADAM, AMSGRAD, ADAMAX, NADAM = range(7)
RMSPROP, RMSPROP_MOMENTUM, RMSPROP_CENTERED, ADAGRAD, ADADELTA, LION = range(7, 13)


def sgd(w: Array, g: Array, state: Slots, c: Array) -> None:
    """w -= rate * g."""
    w -= c[RATE] * g


def momentum(w: Array, g: Array, state: Slots, c: Array) -> None:
    """v = momentum * v - rate * g, w += v."""
    (v,) = state
    v[:] = c[A] * v - c[RATE] * g
    w += v


def nesterov(w: Array, g: Array, state: Slots, c: Array) -> None:
    """v as above, w += momentum * v - rate * g."""
    (v,) = state
    v[:] = c[A] * v - c[RATE] * g
    w += c[A] * v - c[RATE] * g


def adam(w: Array, g: Array, state: Slots, c: Array) -> None:
    """w -= rate * m / (sqrt(v) + epsilon), corrected."""
    m, v = state
    m += c[B] * (g - m)
    v += c[C] * (g * g - v)
    w -= c[RATE] * m / (np.sqrt(v) * c[A] + c[EPSILON])


def amsgrad(w: Array, g: Array, state: Slots, c: Array) -> None:
    """The same by the largest v so far."""
    m, v, largest = state
    m += c[B] * (g - m)
    v += c[C] * (g * g - v)
    largest[:] = np.maximum(largest, v)
    w -= c[RATE] * m / (np.sqrt(largest) * c[A] + c[EPSILON])


def adamax(w: Array, g: Array, state: Slots, c: Array) -> None:
    """w -= rate * m / (u + epsilon), u the largest |g|, which fades."""
    m, u = state
    m += c[B] * (g - m)
    u[:] = np.maximum(c[C] * u, np.abs(g))
    w -= c[RATE] * m / (u + c[EPSILON])


def nadam(w: Array, g: Array, state: Slots, c: Array) -> None:
    """Adam's, with the momentum that the next step will have."""
    m, v = state
    m += c[B] * (g - m)
    v += c[C] * (g * g - v)
    w -= c[RATE] * (c[D] * m + c[E] * g) / (np.sqrt(v) * c[A] + c[EPSILON])


def rmsprop(w: Array, g: Array, state: Slots, c: Array) -> None:
    """w -= rate * g / sqrt(v + epsilon)."""
    (v,) = state
    v += c[C] * (g * g - v)
    w -= c[RATE] * g / np.sqrt(v + c[EPSILON])


def rmsprop_momentum(w: Array, g: Array, state: Slots, c: Array) -> None:
    """The same change, a running sum of it."""
    v, change = state
    v += c[C] * (g * g - v)
    change[:] = c[A] * change + c[RATE] * g / np.sqrt(v + c[EPSILON])
    w -= change


def rmsprop_centered(w: Array, g: Array, state: Slots, c: Array) -> None:
    """The same, by the variance of g instead of the mean of its square."""
    v, change, mean = state
    v += c[C] * (g * g - v)
    mean += c[C] * (g - mean)
    variance = np.maximum(v - mean * mean, 0)
    change[:] = c[A] * change + c[RATE] * g / np.sqrt(variance + c[EPSILON])
    w -= change


def adagrad(w: Array, g: Array, state: Slots, c: Array) -> None:
    """w -= rate * g / sqrt(the sum of g^2, which begins at A, + epsilon)."""
    (v,) = state
    v += g * g
    w -= c[RATE] * g / np.sqrt(v + c[A] + c[EPSILON])


def adadelta(w: Array, g: Array, state: Slots, c: Array) -> None:
    """w -= rate * change, the change of g's scale made one of the changes' before."""
    v, changes = state
    v += c[C] * (g * g - v)
    change = np.sqrt(changes + c[EPSILON]) * g / np.sqrt(v + c[EPSILON])
    changes += c[C] * (change * change - changes)
    w -= c[RATE] * change


def lion(w: Array, g: Array, state: Slots, c: Array) -> None:
    """w -= rate * sign(a mean of g and of those before)."""
    (m,) = state
    w -= c[RATE] * np.sign(m + c[B] * (g - m))
    m += c[C] * (g - m)


def schedule_free(y: Array, g: Array, state: Slots, c: Array, x: Array) -> None:
    """z -= rate * (g / (sqrt(v) + epsilon) + decay * y), x their mean, y between the two."""
    z, v = state
    v += c[C] * (g * g - v)
    z -= c[RATE] * g / (np.sqrt(v) * c[A] + c[EPSILON]) + c[DECAY] * y
    x += c[AVERAGE] * (z - x)
    y[:] = z + c[B] * (x - z)


UPDATES: dict[int, Callable[[Array, Array, Slots, Array], None]] = {
    SGD: sgd,
    MOMENTUM: momentum,
    NESTEROV: nesterov,
    ADAM: adam,
    AMSGRAD: amsgrad,
    ADAMAX: adamax,
    NADAM: nadam,
    RMSPROP: rmsprop,
    RMSPROP_MOMENTUM: rmsprop_momentum,
    RMSPROP_CENTERED: rmsprop_centered,
    ADAGRAD: adagrad,
    ADADELTA: adadelta,
    LION: lion,
}


def penalty(program: Program, weights: Array) -> float:
    """l1 * sum |W| + l2 * sum W^2 over all blocks."""
    total = 0.0
    if program.penalties is not None:
        blocks = views(program, weights).values()
        for W, (l1, l2, _) in zip(blocks, program.penalties, strict=True):
            W64 = W.astype(np.float64)
            total += float(l1 * np.abs(W64).sum() + l2 * (W64 * W64).sum())
    return total


def penalize(program: Program, weights: Array, gradients: Array, factor: float) -> None:
    """Add the gradient of a factor times the penalty."""
    if program.penalties is not None:
        d_blocks = views(program, gradients).values()
        for W, dW, own in zip(
            views(program, weights).values(), d_blocks, program.penalties, strict=True
        ):
            l1, l2, _ = (factor * own).astype(W.dtype)
            dW += l1 * np.sign(W) + 2 * l2 * W


def clipped(program: Program, g: Array, c: Array) -> Array:
    """The gradients by value, or none of their norms above what is wanted."""
    rule, limit = program.optimizer, c[CLIP]
    if rule & CLIPS:
        return np.clip(g, -limit, limit)
    if rule & (CLIPS_NORM | CLIPS_GLOBAL_NORM):
        parts = [g] if rule & CLIPS_GLOBAL_NORM else list(views(program, g).values())
        for part in parts:
            norm = np.sqrt((part.astype(np.float64) ** 2).sum())
            part *= g.dtype.type(limit / norm if norm > limit else 1)
    return g


def apply_gradients(
    program: Program, gradients: Array, coefficients: NDArray[np.float64], threads: int
) -> None:
    """Change the weights and the optimizer's state in place; the gradients are used up."""
    w, g, c = in_training(program), gradients, coefficients.astype(program.dtype)
    code, rule = program.optimizer % KINDS_OF_UPDATE, program.optimizer
    if rule & ACCUMULATES:
        so_far = program.state[-2 if rule & AVERAGES else -1]
        g += so_far
        so_far[:] = 0 if c[SHARE] > 0 else g
        if c[SHARE] == 0:
            return
        g *= c[SHARE]
    g = clipped(program, g, c)
    blocks = [views(program, array).values() for array in (w, g, program.parameters)]
    slots = [views(program, slot).values() for slot in program.state[: slots_of(rule)]]
    for b, (W, dW, average, *state) in enumerate(zip(*blocks, *slots, strict=True)):
        own = c.copy()
        if program.factors is not None:
            rate, epsilon, decay = program.factors[b].astype(c.dtype)
            own[[RATE, EPSILON, DECAY]] *= np.array([rate, epsilon, rate * decay])
        if code == SCHEDULE_FREE:
            schedule_free(W, dW, state, own, average)
            continue
        if rule & DECAYS:
            W -= own[DECAY] * W
        UPDATES[code](W, dW, state, own)
        if rule & AVERAGES:
            average += own[AVERAGE] * (W - average)
    for array in (w, program.parameters, program.state):
        flushed(array)
    constrain(program, w)


def slots_of(rule: int) -> int:
    """How many slots of the state belong to the update itself."""
    kinds = {SGD: 0, AMSGRAD: 3, RMSPROP_CENTERED: 3}
    single = (MOMENTUM, NESTEROV, RMSPROP, ADAGRAD, LION)
    code = rule % KINDS_OF_UPDATE
    return kinds.get(code, 1 if code in single else 2)


def constrain(program: Program, weights: Array) -> None:
    """Scale columns of W down to max_norm."""
    if program.penalties is not None:
        for W, (_, _, most) in zip(
            views(program, weights).values(), program.penalties, strict=True
        ):
            norms = np.sqrt((W.astype(np.float64) ** 2).sum(axis=0))
            long = (norms > most) & (most > 0)
            W *= np.where(long, most / np.where(long, norms, 1), 1).astype(W.dtype)


# Ops: h from the values before, and the gradients of the values that it was made of.


@dataclass
class Op:
    """One op of a program, its weights, and where dropout is on, the rows that it draws for."""

    number: int
    kind: int
    source: int
    other: int
    code: int
    value: Any  # its slope or rate
    W: Array | None = None
    b: Array | None = None
    dW: Array | None = None
    db: Array | None = None
    draws: tuple[int, int, Array] | None = None  # seed, update, rows of the batch (B,)

    def mask(self, x: Array) -> Array:
        """Dropout's factors (B, width): 0 with the probability `value`, else 1 / (1 - value)."""
        if self.draws is None:
            return np.ones((), x.dtype)
        seed, update, rows = self.draws
        drawn = words(seed, DROP, update, self.number, rows, x.shape[1])
        kept = drawn >= np.uint64(self.value * 4294967296.0)
        return np.where(kept, x.dtype.type(1 / (1 - self.value)), x.dtype.type(0))


Values = list[Array]

FORWARD: dict[int, Callable[[Op, Values], Array]] = {
    DENSE: lambda op, h: h[op.source] @ op.W + op.b,
    ACTIVATE: lambda op, h: ACTIVATIONS[op.code](h[op.source], h[0].dtype.type(op.value)),
    SOFTMAX: lambda op, h: softmax(h[op.source]),
    DROPOUT: lambda op, h: h[op.source] * op.mask(h[op.source]),
    ADD: lambda op, h: h[op.source] + h[op.other],
}


def dense_backward(op: Op, h: Values, d: Values) -> None:
    """dW = x^T dz, db = the sum of dz's rows, dx = dz W^T."""
    x, dz = h[op.source], d[op.number]
    assert op.W is not None and op.dW is not None and op.db is not None  # noqa: PT018
    op.dW[:] = flushed(x.T @ dz)
    op.db[:] = flushed(np.ascontiguousarray(dz.T).sum(axis=1))  # in pairs, not in one long chain
    d[op.source] += dz @ op.W.T


def activate_backward(op: Op, h: Values, d: Values) -> None:
    """dz = dh * g'(z)."""
    read = h[op.source if op.code in READ_Z else op.number]
    d[op.source] += DERIVATIVES[op.code](read, d[op.number], read.dtype.type(op.value))


def softmax_backward(op: Op, h: Values, d: Values) -> None:
    """dz = h * (dh - sum(dh * h))."""
    p, dh = h[op.number], d[op.number]
    d[op.source] += p * (dh - (dh * p).sum(axis=1, keepdims=True))


def dropout_backward(op: Op, h: Values, d: Values) -> None:
    """dx = dh * mask."""
    d[op.source] += d[op.number] * op.mask(h[op.source])


def add_backward(op: Op, h: Values, d: Values) -> None:
    """dx = dh, dy = dh."""
    d[op.source] += d[op.number]
    d[op.other] += d[op.number]


BACKWARD: dict[int, Callable[[Op, Values, Values], None]] = {
    DENSE: dense_backward,
    ACTIVATE: activate_backward,
    SOFTMAX: softmax_backward,
    DROPOUT: dropout_backward,
    ADD: add_backward,
}


def ops(program: Program, gradients: Array | None = None, first_row: int | None = None) -> list[Op]:
    """The ops after INPUT, with views of their weights and of an arena of gradients.

    first_row: the row of its batch that x begins with, where dropout is on.
    """
    check(program, program.dtype, len(ACTIVATIONS), len(LOSSES))
    weights = list(views(program, program.parameters).values())
    found = []
    for number, row in enumerate(program.ops.tolist()):
        op = Op(
            number, row[KIND], row[SOURCE], row[OTHER], row[CODE], program.numbers[number].item()
        )
        if op.kind == DENSE:
            op.W, op.b = weights[row[BLOCK]], weights[row[BLOCK] + 1]
            if gradients is not None:
                d_weights = list(views(program, gradients).values())
                op.dW, op.db = d_weights[row[BLOCK]], d_weights[row[BLOCK] + 1]
        if first_row is not None:
            op.draws = program.seed, program.update, np.array(first_row)
        if op.kind != INPUT:
            found.append(op)
    return found


def scaled(program: Program, x: Array) -> Array:
    """h_0: the inputs, standardised in float64 if the program says so, else times input_scale."""
    if program.center is None or program.factor is None:
        h = x.astype(program.dtype, order="C") * program.dtype.type(program.input_scale)
        return flushed(h)
    h = (x.astype(np.float64, order="C") - program.center) * program.factor
    return flushed(h.astype(program.dtype))


def forward_pass(program: Program, x: Array, ops: list[Op]) -> Values:
    """The values of all ops, h_0 first."""
    h = [scaled(program, x)]
    for op in ops:
        if op.draws is not None:
            seed, update, first_row = op.draws
            op.draws = seed, update, first_row + np.arange(len(x))
        h.append(flushed(FORWARD[op.kind](op, h)))
    return h


def backward_pass(program: Program, h: Values, ops: list[Op], d_output: Array, skip: int) -> Values:
    """d of all values, from d_output; the gradients of the weights are filled.

    skip: how many ops d_output is past: 1 where the loss cancels the derivative of the last.
    """
    d = [np.zeros_like(value) for value in h]
    ops = ops[: len(ops) - skip]
    d[ops[-1].number] += d_output
    for op in reversed(ops):
        flushed(d[op.number])
        BACKWARD[op.kind](op, h, d)
    return d


def targets(program: Program, y: Array) -> Array:
    """Targets t (B, O): as they are, or one-hot from int64 labels (B,)."""
    if y.ndim == 2:
        return y
    return np.eye(program.outputs, dtype=program.dtype)[y]


def judged(program: Program, h: Values, y: Array) -> tuple[float, int]:
    """The sum of the losses over the rows, and how many rows (or outputs) agree with y."""
    z, t = h[program.ops[-1, SOURCE]], targets(program, y)
    loss = float(LOSSES[program.loss](z, h[-1], t).sum(dtype=np.float64))
    return loss, agreeing(program, h[-1], y)


def with_penalty(
    program: Program,
    x: Array,
    y: Array,
    gradients: Array,
    first_row: int | None,
    factor: float,
) -> tuple[float, int]:
    """The same; loss and gradients are those of the mean loss plus a factor times the penalty."""
    trained = program if first_row is None else with_weights(program, in_training(program))
    chain = ops(trained, gradients, first_row)
    h = forward_pass(trained, x, chain)
    cancels = program.loss in (CROSS_ENTROPY, BINARY_CROSS_ENTROPY)
    backward_pass(trained, h, chain, error(program.loss, h[-1], targets(program, y)), int(cancels))
    loss, agree = judged(trained, h, y)
    penalize(program, trained.parameters, gradients, factor)
    return loss + len(x) * factor * penalty(program, trained.parameters), agree


def with_weights(program: Program, weights: Array) -> Program:
    """The same program at these weights."""
    other = copy(program)
    other.parameters = weights
    return other


# The calls that every engine offers. Arrays named out, outs, gradients, d_input are filled.


@np.errstate(over="ignore", invalid="ignore")
def forward(program: Program, x: Array, out: Array, threads: int) -> bool:
    """The outputs (B, O). Returns False if x is not finite in the program's dtype.

    Raises TypeError or ValueError for an x that is not (B, I) of uint8, float32 or float64. A
    compiled engine looks at the first layer's sums instead of x: it may return False also where
    finite numbers overflow.
    """
    if x.ndim != 2 or x.dtype.char not in "Bfd":
        raise TypeError(
            f"expected x (B, I) of uint8, float32 or float64, got {x.ndim} axes of {x.dtype}"
        )
    h = forward_pass(program, x, ops(program))
    out[:] = h[-1]
    return bool(np.isfinite(h[0]).all())


def activations(program: Program, x: Array, outs: list[Array], threads: int) -> None:
    """The scaled input and the outputs of every layer, each (B, width)."""
    h = forward_pass(program, x, ops(program))
    for out, value in zip(outs, program.layers.tolist(), strict=True):
        out[:] = h[value]


def evaluate(program: Program, x: Array, y: Array, threads: int) -> tuple[float, int]:
    """The sum of the losses over the rows, and how many rows (or outputs) agree with y."""
    loss, agree = judged(program, forward_pass(program, x, ops(program)), y)
    return loss + len(x) * penalty(program, program.parameters), agree


def backward(
    program: Program,
    x: Array,
    d_output: Array,
    gradients: Array,
    d_input: Array | None,
    threads: int,
) -> None:
    """Gradients of the weights, and of the scaled input, from dh (B, O) of the output."""
    chain = ops(program, gradients)
    d = backward_pass(program, forward_pass(program, x, chain), chain, d_output, 0)
    if d_input is not None:
        d_input[:] = d[0]


def gradients(
    program: Program,
    x: Array,
    y: Array,
    gradients: Array,
    threads: int,
    first_row: int | None = None,
) -> tuple[float, int]:
    """Gradients of the mean loss over the rows; returns the sum of losses, and what agrees.

    Where first_row says which row of its batch x begins with, dropout is on, and the weights are
    those in training.
    """
    return with_penalty(program, x, y, gradients, first_row, 1.0)


def train(
    program: Program,
    x: Array,
    rows: NDArray[np.int32],
    y: Array,
    batch_size: int,
    coefficients: NDArray[np.float64],
    threads: int,
) -> tuple[float, int]:
    """One update for every row of coefficients.

    Step s takes rows[s * batch_size : (s + 1) * batch_size] of x, and the same range of y, which is
    already gathered: len(y) == len(rows). Returns the sum of the losses and what agrees, each taken
    just before the update of its batch.
    """
    g = np.zeros_like(program.parameters)
    loss, agree, first = 0.0, 0, program.update
    try:
        for step, numbers in enumerate(coefficients):
            batch = slice(step * batch_size, (step + 1) * batch_size)
            program.update = first + step
            batch_loss, batch_agree = with_penalty(
                program, x[rows[batch]], y[batch], g, 0, numbers[PENALTY].item()
            )
            apply_gradients(program, g, numbers, threads)
            loss, agree = loss + batch_loss, agree + batch_agree
    finally:
        program.update = first
    return loss, agree


def rest(program: Program) -> None:
    """Give back the memory of the latest training: nothing is kept here."""


def within(x: Array, limit: float) -> bool:
    """Whether -limit <= x <= limit for all of x; a NaN is not."""
    return bool((np.abs(x.astype(np.float64)) <= limit).all())


def shuffle(order: NDArray[np.int32], words: NDArray[np.uint32]) -> None:
    """Make the order (n,) a permutation of 0 .. n - 1; its last k places follow the words (k,).

    The places before them must already be a permutation of 0 .. n - k - 1.
    Source: the inside-out Fisher-Yates shuffle; Lemire, Fast random integer generation (2019).
    """
    result = order.tolist()
    for i, word in enumerate(words.tolist(), start=len(order) - len(words)):
        j = (word * (i + 1)) >> 32
        result[i] = result[j]
        result[j] = i
    order[:] = result


def build_info() -> dict[str, object]:
    """How this engine was compiled: it was not."""
    return {}
