"""The engine in plain NumPy: the specification that compiled engines are tested against.

B batch, I inputs, O outputs of a layer. x (B, I), W (I, O), b (O,), z = x @ W + b, h = g(z); t are
the targets. dq is the gradient of the loss with respect to q. A network is a list of ops, of which
each has a forward and a backward side in the tables below; the chain rule is the loop over them.
Nothing here loops over rows.

Source: Goodfellow, Bengio, Courville, Deep learning (2016), section 6.5.
"""

# ruff: noqa: N815 (the textbook's capital letters)
# mypy: disable-error-code="no-any-return"

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._random import DROP, words
from .program import (
    ACTIVATE,
    ADD,
    BINARY_CROSS_ENTROPY,
    BINARY_CROSS_ENTROPY_LOGITS,
    BLOCK,
    CODE,
    CROSS_ENTROPY,
    CROSS_ENTROPY_LOGITS,
    DENSE,
    DROPOUT,
    FOCAL,
    GAUSSIAN,
    HINGE,
    HUBER,
    INPUT,
    KIND,
    LAST,
    LOG_COSH,
    MEAN_ABSOLUTE_ERROR,
    MEAN_SQUARED_ERROR,
    OTHER,
    POISSON,
    QUANTILE,
    SOFTMAX,
    SOURCE,
    Program,
    check,
    views,
)

Array = NDArray[Any]

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

# Losses: one number per row from z, h = g(z), t (B, T) and the loss's numbers c; and its d (B, O):
# dz where the loss cancels g', else dh. Those of LOGITS take z for h, and have their own g.

Numbers = NDArray[np.float64]
NONE = np.zeros(0)


def smoothed(t: Array, c: Numbers) -> Array:
    """(1 - c) * t + c / O."""
    return (1 - c[0]) * t + c[0] / t.shape[1] if len(c) else t


def cross_entropy(z: Array, h: Array, t: Array, c: Numbers = NONE) -> Array:
    """-sum(t * log p), p = softmax(z)."""
    z = z - z.max(axis=1, keepdims=True)
    log_p = z - np.log(np.exp(z).sum(axis=1, keepdims=True))
    return -(smoothed(t, c) * log_p).sum(axis=1)


def binary_cross_entropy(z: Array, h: Array, t: Array, c: Numbers = NONE) -> Array:
    """mean(-c * t * log p - (1 - t) * log(1 - p)), p = sigmoid(z)."""
    if not len(c):
        return (np.maximum(z, 0) - t * z + np.log1p(np.exp(-np.abs(z)))).mean(axis=1)
    return (c * t * softplus(-z) + (1 - t) * softplus(z)).mean(axis=1)


def mean_squared_error(z: Array, h: Array, t: Array, c: Numbers = NONE) -> Array:
    """mean((h - t)^2)."""
    return ((h - t) ** 2).mean(axis=1)


def mean_absolute_error(z: Array, h: Array, t: Array, c: Numbers) -> Array:
    """mean(|h - t|)."""
    return np.abs(h - t).mean(axis=1)


def huber(z: Array, h: Array, t: Array, c: Numbers) -> Array:
    """mean(e^2 / 2, or c * (|e| - c / 2) where |e| > c)."""
    e = np.abs(h - t)
    return np.where(e > c, c * (e - c / 2), e * e / 2).mean(axis=1)


def log_cosh(z: Array, h: Array, t: Array, c: Numbers) -> Array:
    """mean(log(cosh(e))) = mean(|e| + log(1 + e^(-2 |e|)) - log 2), without overflow."""
    e = np.abs(h - t)
    return (e + np.log1p(np.exp(-2 * e)) - math.log(2)).mean(axis=1)


def of_targets(h: Array, t: Array) -> tuple[Array, Array]:
    """Outputs (B, T, O / T), and targets (B, T, 1) beside them."""
    return h.reshape(*t.shape, -1), t[:, :, None]


def quantile(z: Array, h: Array, t: Array, c: Numbers) -> Array:
    """mean(c * (t - h) where t > h, else (1 - c) * (h - t)) over targets and quantiles c."""
    h, t = of_targets(h, t)
    return np.where(t > h, c * (t - h), (1 - c) * (h - t)).mean(axis=(1, 2))


def quantile_error(z: Array, h: Array, t: Array, c: Numbers) -> Array:
    """-c where t > h, 1 - c where t < h, over O."""
    h3, t = of_targets(h, t)
    return ((t < h3) - c * (t != h3)).reshape(h.shape) / h.shape[1]


def poisson(z: Array, h: Array, t: Array, c: Numbers) -> Array:
    """mean(h - t * z), h = e^z."""
    return (h - t * z).mean(axis=1)


def hinge(z: Array, h: Array, t: Array, c: Numbers) -> Array:
    """mean(max(0, 1 - (2 t - 1) * h))."""
    return np.maximum(0, 1 - (2 * t - 1) * h).mean(axis=1)


def hinge_error(z: Array, h: Array, t: Array, c: Numbers) -> Array:
    """1 - 2 t, or 0 where the margin is kept, over O."""
    return np.where((2 * t - 1) * h < 1, 1 - 2 * t, 0) / h.shape[1]


def focal(z: Array, h: Array, t: Array, c: Numbers) -> Array:
    """mean(-a t (1 - p)^c log p - (1 - a) (1 - t) p^c log(1 - p)), p = sigmoid(z)."""
    gamma, alpha = c
    yes = alpha * t * np.exp(-gamma * softplus(z)) * softplus(-z)
    no = (1 - alpha) * (1 - t) * np.exp(-gamma * softplus(-z)) * softplus(z)
    return (yes + no).mean(axis=1)


def focal_error(z: Array, h: Array, t: Array, c: Numbers) -> Array:
    """dz; (1 - p)' = -p (1 - p), (log p)' = 1 - p."""
    gamma, alpha = c
    p, q = sigmoid(z), sigmoid(-z)
    yes = alpha * t * np.exp(-gamma * softplus(z)) * (gamma * p * softplus(-z) + q)
    no = (1 - alpha) * (1 - t) * np.exp(-gamma * softplus(-z)) * (gamma * q * softplus(z) + p)
    return (no - yes) / h.shape[1]


def gaussian(z: Array, h: Array, t: Array, c: Numbers) -> Array:
    """mean(s + (t - m)^2 e^-s) / 2 over targets; h = m, s, m, s, ..."""
    m, s = h[:, ::2], h[:, 1::2]
    return ((s + (t - m) ** 2 * np.exp(-s)) / 2).mean(axis=1)


def gaussian_error(z: Array, h: Array, t: Array, c: Numbers) -> Array:
    """dm = (m - t) e^-s, ds = (1 - (t - m)^2 e^-s) / 2, over T."""
    m, s = h[:, ::2], h[:, 1::2]
    d = np.empty_like(h)
    d[:, ::2] = (m - t) * np.exp(-s)
    d[:, 1::2] = (1 - (t - m) ** 2 * np.exp(-s)) / 2
    return d / t.shape[1]


RowLoss = Callable[[Array, Array, Array, Numbers], Array]
LOSSES: dict[int, tuple[RowLoss, RowLoss]] = {
    CROSS_ENTROPY: (cross_entropy, lambda z, h, t, c: h - smoothed(t, c)),
    BINARY_CROSS_ENTROPY: (
        binary_cross_entropy,
        lambda z, h, t, c: (h * (1 + (c - 1) * t) - c * t if len(c) else h - t) / h.shape[1],
    ),
    MEAN_SQUARED_ERROR: (mean_squared_error, lambda z, h, t, c: 2 * (h - t) / h.shape[1]),
    MEAN_ABSOLUTE_ERROR: (mean_absolute_error, lambda z, h, t, c: np.sign(h - t) / h.shape[1]),
    HUBER: (huber, lambda z, h, t, c: np.clip(h - t, -c, c) / h.shape[1]),
    LOG_COSH: (log_cosh, lambda z, h, t, c: np.tanh(h - t) / h.shape[1]),
    QUANTILE: (quantile, quantile_error),
    POISSON: (poisson, lambda z, h, t, c: (h - t) / h.shape[1]),
    HINGE: (hinge, hinge_error),
    FOCAL: (focal, focal_error),
    GAUSSIAN: (gaussian, gaussian_error),
}
LOGITS = {
    CROSS_ENTROPY_LOGITS: (CROSS_ENTROPY, softmax),
    BINARY_CROSS_ENTROPY_LOGITS: (BINARY_CROSS_ENTROPY, sigmoid),
}
BINARY = (BINARY_CROSS_ENTROPY, BINARY_CROSS_ENTROPY_LOGITS, HINGE, FOCAL)  # each output yes or no


def losses_and_errors(program: Program, z: Array, h: Array, t: Array) -> tuple[Array, Array]:
    """The loss (B,) of each row, and its gradient (B, O); z and h of the last op."""
    loss = program.loss
    if loss in LOGITS:
        loss, link = LOGITS[loss]
        z, h = h, link(h)
    of, error = LOSSES[loss]
    return of(z, h, t, program.loss_numbers), error(z, h, t, program.loss_numbers)


def agreeing(program: Program, h: Array, y: Array) -> Array:
    """Whether each row of h (B, O) has the winner that y names; one output wins above one half.

    Targets (B, O) of a loss of BINARY are each met or not: how many outputs are on their side of
    one half (or of 0, if they are no probabilities).
    """
    t = targets(program, y)
    cut = 0.0 if program.loss in (HINGE, BINARY_CROSS_ENTROPY_LOGITS) else 0.5
    if program.per_target > 1:
        return np.zeros(len(h), np.int64)  # no output is a class
    if h.shape[1] == 1 or (program.loss in BINARY and y.ndim == 2):
        return ((h > cut) == (t > 0.5)).sum(axis=1)
    return (h.argmax(axis=1) == t.argmax(axis=1)).astype(np.int64)


# Optimizers: one update of w from g, with a row (5,) of the numbers of optimizers.py.

SGD, MOMENTUM, NESTEROV, ADAM = range(4)


def apply_gradients(
    program: Program, gradients: Array, coefficients: NDArray[np.float64], threads: int
) -> None:
    """Change the weights and the optimizer's state in place."""
    w, g, state = program.parameters, gradients, program.state
    c = coefficients.astype(program.dtype)
    if program.optimizer == SGD:
        w -= c[0] * g
    elif program.optimizer in (MOMENTUM, NESTEROV):
        rate, momentum, v = c[0], c[1], state[0]
        v[:] = momentum * v - rate * g
        w += v if program.optimizer == MOMENTUM else momentum * v - rate * g
    else:
        m, v = state
        decay_1, decay_2 = (1 - coefficients[2:4]).astype(program.dtype)
        m += decay_1 * (g - m)
        v += decay_2 * (g * g - v)
        w -= c[0] * m / (np.sqrt(v) * c[1] + c[4])
    flushed(w)
    flushed(state)


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
    check(program, program.dtype, len(ACTIVATIONS), len(LOSSES) + len(LOGITS))
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
    """Targets t (B, T): as they are, or one-hot from int64 labels (B,)."""
    if y.ndim == 2:
        return y
    return np.eye(program.targets, dtype=program.dtype)[y]


Targets = Array | tuple[Array, NDArray[np.float64]]  # of rows, and their weights (B,) if any


def judged(program: Program, h: Values, y: Targets) -> tuple[float, float, Array]:
    """The sum of the losses over the rows, what agrees with y, and d (B, O) of the mean loss.

    Where y is (y, weights), each row counts by its weight w (B,): the mean is sum(w l) / sum(w),
    and 0 if that is 0 / 0.
    """
    y, weights = y if isinstance(y, tuple) else (y, None)
    z = h[program.ops[-1, SOURCE]]
    losses, d = losses_and_errors(program, z, h[-1], targets(program, y))
    agree = agreeing(program, h[-1], y)
    if weights is None:
        loss = float(losses.sum(dtype=np.float64))
        return loss, int(agree.sum()), (d / len(d)).astype(program.dtype)
    counted, total = weights > 0, weights.sum()  # 0 times infinity would be no number
    losses = weights[counted] * losses[counted].astype(np.float64)
    d = np.where(counted[:, None], d * weights[:, None] / (total or 1), 0)
    return float(losses.sum()), float((weights * agree).sum()), d.astype(program.dtype)


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


def evaluate(program: Program, x: Array, y: Targets, threads: int) -> tuple[float, float]:
    """The sum of the losses over the rows, and how many rows (or outputs) agree with y."""
    return judged(program, forward_pass(program, x, ops(program)), y)[:2]


def outputs(
    program: Program, x: Array, out: Array, threads: int, first_row: int | None = None
) -> None:
    """The outputs (B, O) that `backward` starts from, with dropout as in `gradients`.

    A compiled engine's may have other bits than those of `forward`, which are sums in one piece.
    """
    out[:] = forward_pass(program, x, ops(program, None, first_row))[-1]


def backward(
    program: Program,
    x: Array,
    d_output: Array,
    gradients: Array,
    d_input: Array | None,
    threads: int,
    first_row: int | None = None,
) -> None:
    """Gradients of the weights, and of the scaled input, from dh (B, O) of the output.

    Dropout as in `gradients`.
    """
    chain = ops(program, gradients, first_row)
    d = backward_pass(program, forward_pass(program, x, chain), chain, d_output, 0)
    if d_input is not None:
        d_input[:] = d[0]


def gradients(
    program: Program,
    x: Array,
    y: Targets,
    gradients: Array,
    threads: int,
    first_row: int | None = None,
) -> tuple[float, float]:
    """Gradients of the mean loss over the rows; returns the sum of losses, and what agrees.

    Where first_row says which row of its batch x begins with, dropout is on.
    """
    chain = ops(program, gradients, first_row)
    h = forward_pass(program, x, chain)
    loss, agree, d = judged(program, h, y)
    backward_pass(program, h, chain, d, int(program.loss in LAST))
    return loss, agree


def train(
    program: Program,
    x: Array,
    rows: NDArray[np.int32],
    y: Targets,
    batch_size: int,
    coefficients: NDArray[np.float64],
    threads: int,
) -> tuple[float, float]:
    """One update for every row of coefficients (S, 5).

    Step s takes rows[s * batch_size : (s + 1) * batch_size] of x, and the same range of y, which is
    already gathered: len(y) == len(rows). Returns the sum of the losses and what agrees, each taken
    just before the update of its batch.
    """
    g = np.zeros_like(program.parameters)
    loss, first = 0.0, program.update
    agree: float = 0
    try:
        for step, numbers in enumerate(coefficients):
            batch = slice(step * batch_size, (step + 1) * batch_size)
            program.update = first + step
            t = (y[0][batch], y[1][batch]) if isinstance(y, tuple) else y[batch]
            batch_loss, batch_agree = gradients(program, x[rows[batch]], t, g, threads, 0)
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
