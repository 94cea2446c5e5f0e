"""The engine in plain NumPy: the specification that compiled engines are tested against.

B batch, I inputs, O outputs of a layer. x (B, I), W (I, O), b (O,), z = x @ W + b, h = g(z); t are
the targets. dq is the gradient of the loss with respect to q. A network is a list of ops, of which
each has a forward and a backward side in the tables below; the chain rule is the loop over them.
Nothing here loops over rows.

Source: Goodfellow, Bengio, Courville, Deep learning (2016), section 6.5.
"""


# ruff: noqa: N806 (the textbook's capital letters)
# mypy: disable-error-code="no-any-return"

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from copy import copy
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._random import AUGMENT, DROP, words
from .program import (
    ACCUMULATES,
    ACTIVATE,
    ADD,
    ALPHA,
    AVERAGE,
    AVERAGES,
    BINARY_CROSS_ENTROPY,
    BINARY_CROSS_ENTROPY_LOGITS,
    BLEND,
    BLOCK,
    CLIP,
    CLIPS,
    CLIPS_GLOBAL_NORM,
    CLIPS_NORM,
    CODE,
    COLUMN_NORM,
    CROSS_ENTROPY,
    CROSS_ENTROPY_LOGITS,
    DECAY,
    DECAYS,
    DENSE,
    DROPOUT,
    ELASTIC,
    EMBED,
    EPSILON,
    FOCAL,
    GAUSSIAN,
    HINGE,
    HUBER,
    INPUT,
    KIND,
    KINDS_OF_UPDATE,
    LAST,
    LOG_COSH,
    MEAN_ABSOLUTE_ERROR,
    MEAN_SQUARED_ERROR,
    NOISE,
    OTHER,
    PENALTY,
    POISSON,
    PRELU,
    QUANTILE,
    RATE,
    ROW_NORM,
    SCALE,
    SCHEDULE_FREE,
    SHAPE,
    SHARE,
    SHEAR,
    SHIFT_X,
    SOFTMAX,
    SOURCE,
    STATISTICS,
    A,
    B,
    C,
    D,
    E,
    Program,
    check,
    check_augmentation,
    copy_statistics,
    in_training,
    shapes,
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
    program: Program,
    gradients: Array,
    coefficients: NDArray[np.float64],
    threads: int,
    without_penalty: bool = False,
) -> float:
    """Change the weights and the optimizer's state in place; the gradients are used up.

    without_penalty: the gradients lack that of the penalty, times its coefficient. Returns the
    penalty of the weights before, so many times; else 0.
    """
    w, g, c = in_training(program), gradients, coefficients.astype(program.dtype)
    had = 0.0
    if without_penalty:
        factor = coefficients[PENALTY].item()
        penalize(program, w, g, factor)
        had = factor * penalty(program, w)
    code, rule = program.optimizer % KINDS_OF_UPDATE, program.optimizer
    if rule & ACCUMULATES:
        so_far = program.state[-2 if rule & AVERAGES else -1]
        g += so_far
        so_far[:] = 0 if c[SHARE] > 0 else g
        if c[SHARE] == 0:
            return had
        g *= c[SHARE]
    g = clipped(program, g, c)
    blocks = [views(program, array).values() for array in (w, g, program.parameters)]
    slots = [views(program, slot).values() for slot in program.state[: slots_of(rule)]]
    for b, (W, dW, average, *state) in enumerate(zip(*blocks, *slots, strict=True)):
        if program.names[b].endswith(STATISTICS):
            continue
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
    return had


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


def alpha_factor(rate: float) -> float:
    """a of alpha dropout, a * x + b: it gives values of variance 1 their variance back."""
    return float(1 / np.sqrt((1 - rate) * (1 + rate * (SELU_SCALE * SELU_ALPHA) ** 2)))


@dataclass
class Op:
    """One op of a program, its weights, and where dropout is on, the rows that it draws for."""

    number: int
    kind: int
    source: int
    other: int
    code: int
    value: Any  # its slope or rate
    blocks: list[Array] = field(default_factory=list)  # (rows, columns) each
    gradients: list[Array] = field(default_factory=list)
    draws: tuple[int, int, Array] | None = None  # seed, update, rows of the batch (B,)
    statistics: list[Array] | None = None  # mean and variance that COLUMN_NORM goes by

    def mask(self, x: Array) -> Array:
        """Dropout's factors (B, width): 0 with the probability `value`, else 1 / (1 - value)."""
        if self.draws is None:
            return np.ones((), x.dtype)
        seed, update, rows = self.draws
        drawn = words(seed, DROP, update, self.number, rows, x.shape[1])
        kept = drawn >= np.uint64(self.value * 4294967296.0)
        factor = alpha_factor(self.value) if self.code == ALPHA else 1 / (1 - self.value)
        return np.where(kept, x.dtype.type(factor), x.dtype.type(0))

    def normalised(self, x: Array) -> Array:
        """(x - mean) / sqrt(variance + epsilon): in training of these rows, which are a batch."""
        self.statistics = self.blocks
        if self.draws is not None:
            x64 = x.astype(np.float64)
            self.statistics = [x64.mean(axis=0), x64.var(axis=0)]
        mean, _ = self.statistics
        return (x - mean.astype(x.dtype)) * self.scale(x.dtype)

    def scale(self, dtype: np.dtype[Any]) -> Array:
        """1 / sqrt(variance + epsilon), of each column."""
        assert self.statistics is not None
        _, variance = self.statistics
        return (1 / np.sqrt(variance + self.value)).astype(dtype)

    def remember(self, momentum: float, rows: int) -> None:
        """Take the statistics of a batch into the running ones, the variance unbiased."""
        assert self.statistics is not None
        mean, variance = self.statistics
        found = mean, variance * (rows / max(rows - 1, 1))
        for running, of_batch in zip(self.blocks, found, strict=True):
            running += momentum * (of_batch - running)  # in float64
            flushed(running)


Values = list[Array]


def dropout(op: Op, x: Array) -> Array:
    """x * mask; alpha dropout: a * x + b, x the limit of selu where the mask is 0.

    Source: Klambauer, Unterthiner, Mayr, Hochreiter, Self-normalizing neural networks (2017).
    """
    mask = op.mask(x)
    if op.code != ALPHA or op.draws is None:
        return x * mask
    limit, a = -SELU_SCALE * SELU_ALPHA, alpha_factor(op.value)
    kept, dropped = x.dtype.type(-a * op.value * limit), x.dtype.type(a * (1 - op.value) * limit)
    return x * mask + np.where(mask > 0, kept, dropped)


def deviations(op: Op, x: Array) -> tuple[Array, Array]:
    """Of each row (B, 1), in float64: the mean, and sqrt(variance + epsilon)."""
    x64 = x.astype(np.float64)
    return x64.mean(axis=1, keepdims=True), np.sqrt(x64.var(axis=1, keepdims=True) + op.value)


def row_norm(op: Op, x: Array) -> Array:
    """(x - mean) / sqrt(variance + epsilon), of each row.

    Source: Ba, Kiros, Hinton, Layer normalization (2016).
    """
    mean, deviation = deviations(op, x)
    return ((x - mean) / deviation).astype(x.dtype)


def blend(op: Op, z: Array) -> tuple[Array, Array]:
    """f(z), and z + a * (f(z) - z)."""
    f = ACTIVATIONS[op.code](z, z.dtype.type(op.value))
    return f, z + op.blocks[0] * (f - z)


def codes(op: Op, x: Array) -> NDArray[np.int64]:
    """The row (B,) of its table for each row of x; the last where there is no other."""
    column, last = x[:, op.code], len(op.blocks[0]) - 1
    found: NDArray[np.int64] = np.where((column >= 0) & (column < last), column, last).astype(int)
    return found


def embed(op: Op, x: Array) -> Array:
    """x, in the place of a column the row of a table; NaN where the column is not finite."""
    c, column = op.code, x[:, op.code : op.code + 1]
    return np.hstack([x[:, :c], op.blocks[0][codes(op, x)] + (column - column), x[:, c + 1 :]])


FORWARD: dict[int, Callable[[Op, Values], Array]] = {
    DENSE: lambda op, h: sum(op.blocks[1:], h[op.source] @ op.blocks[0]),
    ACTIVATE: lambda op, h: ACTIVATIONS[op.code](h[op.source], h[0].dtype.type(op.value)),
    SOFTMAX: lambda op, h: softmax(h[op.source]),
    DROPOUT: lambda op, h: dropout(op, h[op.source]),
    ADD: lambda op, h: h[op.source] + h[op.other],
    COLUMN_NORM: lambda op, h: op.normalised(h[op.source]),
    SCALE: lambda op, h: sum(op.blocks[1:], h[op.source] * op.blocks[0]),
    ROW_NORM: lambda op, h: row_norm(op, h[op.source]),
    PRELU: lambda op, h: h[op.source] * np.where(h[op.source] > 0, 1, op.blocks[0]),
    BLEND: lambda op, h: blend(op, h[op.source])[1],
    EMBED: lambda op, h: embed(op, h[op.source]),
}


def sum_of_rows(d: Array) -> Array:
    """The sum (width,) of the rows, in pairs and not in one long chain."""
    return flushed(np.ascontiguousarray(d.T).sum(axis=1))


def dense_backward(op: Op, h: Values, d: Values) -> None:
    """dW = x^T dz, db = the sum of dz's rows, dx = dz W^T."""
    x, dz = h[op.source], d[op.number]
    op.gradients[0][:] = flushed(x.T @ dz)
    for db in op.gradients[1:]:
        db[:] = sum_of_rows(dz)
    d[op.source] += dz @ op.blocks[0].T


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


def column_norm_backward(op: Op, h: Values, d: Values) -> None:
    """dx = (dh - mean(dh) - h * mean(dh * h)) / sqrt(variance + epsilon), means over the batch.

    By the running statistics, which do not depend on x, dh / sqrt(variance + epsilon).
    Source: Ioffe, Szegedy, Batch normalization (2015).
    """
    h_norm, dh = h[op.number], d[op.number]
    dx = dh
    if op.draws is not None:
        means = [q.mean(axis=0, dtype=np.float64).astype(dh.dtype) for q in (dh, dh * h_norm)]
        dx = dh - means[0] - h_norm * means[1]
    d[op.source] += dx * op.scale(dh.dtype)


def scale_backward(op: Op, h: Values, d: Values) -> None:
    """dgamma = the sum of dh * x over the rows, dbeta = that of dh, dx = dh * gamma."""
    dh = d[op.number]
    for gradient, rows in zip(op.gradients, (dh * h[op.source], dh), strict=False):
        gradient[:] = sum_of_rows(rows)
    d[op.source] += dh * op.blocks[0]


def row_norm_backward(op: Op, h: Values, d: Values) -> None:
    """dx = (dh - mean(dh) - h * mean(dh * h)) / sqrt(variance + epsilon)."""
    dh, y = d[op.number].astype(np.float64), h[op.number]
    centred = dh - dh.mean(axis=1, keepdims=True) - y * (dh * y).mean(axis=1, keepdims=True)
    d[op.source] += (centred / deviations(op, h[op.source])[1]).astype(y.dtype)


def prelu_backward(op: Op, h: Values, d: Values) -> None:
    """da = the sum of dh * min(z, 0) over the rows, dz = dh, or dh * a below 0."""
    z, dh = h[op.source], d[op.number]
    op.gradients[0][:] = sum_of_rows(dh * np.minimum(z, 0))
    d[op.source] += dh * np.where(z > 0, 1, op.blocks[0])


def blend_backward(op: Op, h: Values, d: Values) -> None:
    """da = the sum of dh * (f - z) over the rows, dz = dh + a * (dh * f' - dh)."""
    z, dh = h[op.source], d[op.number]
    f, _ = blend(op, z)
    op.gradients[0][:] = sum_of_rows(dh * (f - z))
    read = z if op.code in READ_Z else f
    steeper = DERIVATIVES[op.code](read, dh, z.dtype.type(op.value))
    d[op.source] += dh + op.blocks[0] * (steeper - dh)


def embed_backward(op: Op, h: Values, d: Values) -> None:
    """A row of the table gets the sum of dh over the rows that have its code; dx = dh elsewhere."""
    x, dh, c = h[op.source], d[op.number], op.code
    end = c + op.blocks[0].shape[1]
    op.gradients[0][:] = 0
    np.add.at(op.gradients[0], codes(op, x), dh[:, c:end])
    flushed(op.gradients[0])
    d[op.source][:, :c] += dh[:, :c]
    d[op.source][:, c + 1 :] += dh[:, end:]


BACKWARD: dict[int, Callable[[Op, Values, Values], None]] = {
    DENSE: dense_backward,
    ACTIVATE: activate_backward,
    SOFTMAX: softmax_backward,
    DROPOUT: dropout_backward,
    ADD: add_backward,
    COLUMN_NORM: column_norm_backward,
    SCALE: scale_backward,
    ROW_NORM: row_norm_backward,
    PRELU: prelu_backward,
    BLEND: blend_backward,
    EMBED: embed_backward,
}


def ops(program: Program, gradients: Array | None = None, first_row: int | None = None) -> list[Op]:
    """The ops after INPUT, with views of their weights and of an arena of gradients.

    first_row: the row of its batch that x begins with, in training: dropout is on.
    """
    check(program, program.dtype, len(ACTIVATIONS), len(LOSSES) + len(LOGITS))
    arenas = [program.parameters] if gradients is None else [program.parameters, gradients]
    rows = program.ops.tolist()
    found = []
    for number, row in enumerate(rows):
        op = Op(
            number, row[KIND], row[SOURCE], row[OTHER], row[CODE], program.numbers[number].item()
        )
        for block in range(row[BLOCK], row[BLOCK] + len(shapes(rows, number))):
            start, n, m = program.blocks[block].tolist()
            for arena, found_views in zip(arenas, (op.blocks, op.gradients), strict=False):
                found_views.append(arena[start : start + n * m].reshape(n, m))
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


# Augmentation: rows as images (B, height, width), deformed in training only. A pixel, at (p, q)
# right of and below the middle, shows what is at A (p, q) + the displacement there.

PLACES, SPECKS = range(2)  # what the random numbers of a row are for
NODES = 16  # the first of PLACES that a node has; those before it move the image as a whole
TAPS = 8  # nodes, on each axis, that displace a pixel


def drawn(program: Program, use: int, rows: NDArray[np.int64], count: int) -> Array:
    """Numbers (B, count), uniform in (-1, 1): odd 16-bit numbers / 2^16.

    Number j is of word j % 64 + 64 * (j // 128), of its high half where j // 64 is odd.
    """
    j = np.arange(count)
    place, high = j % 64 + 64 * (j // 128), j // 64 % 2
    found = words(program.seed, AUGMENT, program.update, use, rows, int(place.max()) + 1)
    half = (found.astype(np.int64)[:, place] >> 16 * high) % (1 << 16)
    return (2 * half - np.where(half < 1 << 15, 0, 1 << 17) + 1) / 2.0**16


def views_of(program: Program, rows: NDArray[np.int64]) -> tuple[Array, Array]:
    """Where the pixels of each row's image look, u right and v down (B, height, width).

    The image is scaled, sheared, rotated and shifted; each pixel looks back.
    """
    assert program.augmentation is not None
    middle, spread = program.augmentation[SHIFT_X : SHEAR + 1].T
    numbers = middle + spread * drawn(program, PLACES, rows, SHEAR + 1)
    right, down, wider, higher, turn, slant = numbers.T[..., None, None]
    height, width = map(int, program.augmentation[SHAPE])
    p = np.arange(width) - (width - 1) / 2 - right
    q = np.arange(height)[:, None] - (height - 1) / 2 - down
    p, q = p * np.cos(turn) - q * np.sin(turn), p * np.sin(turn) + q * np.cos(turn)
    u, v = (p + q * np.tan(slant)) / wider, q / higher
    return u + (width - 1) / 2, v + (height - 1) / 2


def taps(sigma: float, length: int) -> Array:
    """e^(-t^2 / 2) (length, nodes), t from each pixel to each node, in sigma; its TAPS nearest.

    Nodes lie sigma apart, from 3 sigma before the first pixel on. The sum of the squares of a
    pixel's taps is sqrt(pi), to 0.02 %, wherever it lies.
    """
    place = np.arange(length) * (1 / sigma)
    first = np.floor(place).astype(np.int64)
    node = np.arange(first[-1] + TAPS)
    near = (node >= first[:, None]) & (node < first[:, None] + TAPS)
    return np.where(near, np.exp(-((place[:, None] - (node - 3)) ** 2) / 2), 0)


def displacements(program: Program, rows: NDArray[np.int64]) -> Array:
    """Elastic displacements (2, B, height, width), right and down.

    Noise in [-1, 1) at each pixel, smoothed by a Gaussian of standard deviation sigma, times alpha,
    has the variance alpha^2 / (12 pi sigma^2), and a correlation of e^(-d^2 / (4 sigma^2)) over the
    distance d. So has noise at nodes sigma apart, sigma times as strong.
    Source: Simard, Steinkraus, Platt (2003), see `Augment`.
    """
    assert program.augmentation is not None
    (sigma, alpha), (height, width) = program.augmentation[[ELASTIC, SHAPE]].tolist()
    down, across = taps(sigma, int(height)), taps(sigma, int(width))
    nodes = down.shape[1], across.shape[1]
    noise = drawn(program, PLACES, rows, NODES + 2 * nodes[0] * nodes[1])[:, NODES:]
    noise = noise.reshape(len(rows), 2, *nodes).swapaxes(0, 1)
    return alpha / (2 * math.pi * sigma) * (down @ noise @ across.T)


def looked_up(images: Array, u: Array, v: Array) -> Array:
    """Images (B, height, width) at the columns u and rows v, bilinear between pixels, 0 outside."""
    _, height, width = images.shape
    framed = np.pad(images, ((0, 0), (1, 2), (1, 2)))
    u, v = np.clip(u, -1, width) + 1, np.clip(v, -1, height) + 1
    j, i, image = u.astype(np.int64), v.astype(np.int64), np.arange(len(images))[:, None, None]
    corners = [[framed[image, i + a, j + b] for b in (0, 1)] for a in (0, 1)]
    upper, lower = (left + (u - j) * (right - left) for left, right in corners)
    return upper + (v - i) * (lower - upper)


def augmented(program: Program, x: Array, first_row: int | None) -> Array:
    """The rows x (B, I) as training sees them, in float64; first_row: the row of their batch.

    None for rows that are not learned from: they stay as they are.
    """
    if first_row is None or program.augmentation is None:
        return x
    check_augmentation(program)
    rows = first_row + np.arange(len(x))
    height, width = map(int, program.augmentation[SHAPE])
    places = np.stack(views_of(program, rows)) + displacements(program, rows)
    found = looked_up(x.reshape(len(x), height, width).astype(np.float64), *places)
    middle, spread = program.augmentation[NOISE]
    return found.reshape(x.shape) + middle + spread * drawn(program, SPECKS, rows, x.shape[1])


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


def total(x: Array, y: Targets) -> float:
    """What the rows weigh together."""
    return float(np.sum(y[1])) if isinstance(y, tuple) else float(len(x))


def with_weights(program: Program, weights: Array) -> Program:
    """The same program at these weights."""
    other = copy(program)
    other.parameters = weights
    return other


def deformed(
    program: Program, x: Array, gradients: Array | None, first_row: int | None
) -> tuple[Program, Array, list[Op]]:
    """The program at the weights that count, the rows and the ops; in training with first_row."""
    trained = program if first_row is None else with_weights(program, in_training(program))
    return trained, augmented(program, x, first_row), ops(trained, gradients, first_row)


def differentiated(program: Program, x: Array, y: Targets, chain: list[Op]) -> tuple[float, float]:
    """Forward and back through these ops; returns the sum of losses, and what agrees."""
    h = forward_pass(program, x, chain)
    loss, agree, d = judged(program, h, y)
    backward_pass(program, h, chain, d, int(program.loss in LAST))
    return loss, agree


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


@np.errstate(over="ignore", invalid="ignore")
def evaluate(program: Program, x: Array, y: Targets, threads: int) -> tuple[float, float]:
    """The sum of the losses over the rows, and how many rows (or outputs) agree with y."""
    loss, agree, _ = judged(program, forward_pass(program, x, ops(program)), y)
    return loss + total(x, y) * penalty(program, program.parameters), agree


def outputs(
    program: Program, x: Array, out: Array, threads: int, first_row: int | None = None
) -> None:
    """The outputs (B, O) that `backward` starts from, with dropout as in `gradients`.

    A compiled engine's may have other bits than those of `forward`, which are sums in one piece.
    """
    out[:] = forward_pass(*deformed(program, x, None, first_row))[-1]


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
    trained, x, chain = deformed(program, x, gradients, first_row)
    d = backward_pass(trained, forward_pass(trained, x, chain), chain, d_output, 0)
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

    Where first_row says which row of its batch x begins with, it is as in training: dropout and
    augmentation are on, the weights are those in training, and COLUMN_NORM goes by the statistics
    of these rows. The running ones stay as they are.
    """
    trained, x, chain = deformed(program, x, gradients, first_row)
    loss, agree = differentiated(trained, x, y, chain)
    penalize(program, trained.parameters, gradients, 1.0)
    return loss + total(x, y) * penalty(program, trained.parameters), agree


def train(
    program: Program,
    x: Array,
    rows: NDArray[np.int32],
    y: Targets,
    batch_size: int,
    coefficients: NDArray[np.float64],
    threads: int,
) -> tuple[float, float]:
    """One update for every row of coefficients.

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
            trained, rows_now, chain = deformed(program, x[rows[batch]], g, 0)
            batch_loss, batch_agree = differentiated(trained, rows_now, t, chain)
            for op in chain:
                if op.kind == COLUMN_NORM:
                    op.remember(program.momenta[op.number], len(rows[batch]))
            copy_statistics(program, trained.parameters, program.parameters)
            had = apply_gradients(program, g, numbers, threads, True)
            loss += batch_loss + total(rows_now, t) * had
            agree += batch_agree
    finally:
        program.update = first
    return loss, agree


def rest(program: Program) -> None:
    """Give back the memory of the latest training: nothing is kept here."""


def multiply_sparse(
    numbers: Array,
    columns: NDArray[np.int32],
    starts: NDArray[np.int64],
    weights: Array,
    out: Array,
    threads: int,
) -> None:
    """Add x @ W (I, O) to out (n, O).

    Row r of x is numbers[starts[r]:starts[r + 1]] in those columns, and zeros elsewhere.
    """
    for row, (first, last) in enumerate(itertools.pairwise(starts)):
        out[row] += numbers[first:last] @ weights[columns[first:last]]


def within(x: Array, limit: float, threads: int) -> bool:
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
