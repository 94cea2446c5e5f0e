"""The engine in plain NumPy: the specification that compiled engines are tested against.

B batch, I inputs, O outputs of a layer. x (B, I), W (I, O), b (O,), z = x @ W + b, h = g(z); t are
the targets. dq is the gradient of the loss with respect to q. Nothing here loops over rows; the
only loops are over layers and over training steps.

Source: Goodfellow, Bengio, Courville, Deep learning (2016), section 6.5.
"""

# ruff: noqa: E741, N806 (the textbook's capital letters)
# mypy: disable-error-code="no-any-return"

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from .program import Program

Array = NDArray[Any]

NAME = "reference"

# Columns of Program.layers; the last two are offsets in the arena.
INPUTS, OUTPUTS, ACTIVATION, WEIGHTS, BIASES = range(5)


def flushed(q: Array) -> Array:
    """q with zeros for subnormal numbers, in place: engines compute as if there were none."""
    q[np.abs(q) < np.finfo(q.dtype).tiny] = 0
    return q


# Activations h = g(z), and dz from h and dh.


def sigmoid(z: Array) -> Array:
    """1 / (1 + e^-z), without overflow."""
    e = np.exp(-np.abs(z))
    return np.where(z >= 0, 1 / (1 + e), e / (1 + e))


def softmax(z: Array) -> Array:
    """e^z / sum(e^z), without overflow."""
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


IDENTITY, SIGMOID, TANH, RELU, LEAKY_RELU, SOFTMAX = range(6)

ACTIVATIONS: dict[int, Callable[[Array, Any], Array]] = {
    IDENTITY: lambda z, slope: z,
    SIGMOID: lambda z, slope: sigmoid(z),
    TANH: lambda z, slope: np.tanh(z),
    RELU: lambda z, slope: np.maximum(z, 0),
    LEAKY_RELU: lambda z, slope: np.where(z > 0, z, slope * z),
    SOFTMAX: lambda z, slope: softmax(z),
}

DERIVATIVES: dict[int, Callable[[Array, Array, Any], Array]] = {
    IDENTITY: lambda h, dh, slope: dh,
    SIGMOID: lambda h, dh, slope: dh * (h * (1 - h)),
    TANH: lambda h, dh, slope: dh * (1 - h * h),
    RELU: lambda h, dh, slope: np.where(h > 0, dh, 0),
    LEAKY_RELU: lambda h, dh, slope: np.where(h > 0, dh, slope * dh),
    SOFTMAX: lambda h, dh, slope: h * (dh - (dh * h).sum(axis=1, keepdims=True)),
}

# Losses: one number per row from z, h = g(z) and t; and dz of the mean over the batch.

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


def loss_gradient(program: Program, h: Array, t: Array) -> Array:
    """dz (B, O) of the output layer, for the mean loss over the rows."""
    B, O = h.shape
    if program.loss == CROSS_ENTROPY:
        return (h - t) / B
    if program.loss == BINARY_CROSS_ENTROPY:
        return (h - t) / (B * O)
    code, slope = program.layers[-1, ACTIVATION], program.dtype.type(program.slopes[-1])
    return DERIVATIVES[code](h, 2 * (h - t) / (B * O), slope)


def agreeing(program: Program, h: Array, y: Array) -> int:
    """How many rows of h (B, O) have the winner that y names; one output wins above one half.

    Targets (B, O) of binary_cross_entropy are each met or not: how many outputs are on their side
    of one half.
    """
    t = targets(program, y)
    if h.shape[1] == 1 or (program.loss == BINARY_CROSS_ENTROPY and y.ndim == 2):
        return int(((h > 0.5) == (t > 0.5)).sum())
    return int((h.argmax(axis=1) == t.argmax(axis=1)).sum())


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


# The two passes.


def blocks(program: Program, arena: Array) -> list[tuple[Array, Array]]:
    """Views [(W (I, O), b (O,)), ...] of an arena laid out like the parameters."""
    return [
        (arena[w : w + inputs * outputs].reshape(inputs, outputs), arena[b : b + outputs])
        for inputs, outputs, _, w, b in program.layers.tolist()
    ]


def scaled(program: Program, x: Array) -> Array:
    """h_0: the inputs, standardised in float64 if the program says so, else times input_scale."""
    if program.center is None or program.factor is None:
        h = x.astype(program.dtype, order="C") * program.dtype.type(program.input_scale)
        return flushed(h)
    h = (x.astype(np.float64, order="C") - program.center) * program.factor
    return flushed(h.astype(program.dtype))


def forward_pass(program: Program, x: Array) -> tuple[list[Array], Array]:
    """[h_0, ..., h_L], where h_0 is the scaled input, and the last z."""
    h = [scaled(program, x)]
    slopes = program.slopes.astype(program.dtype)
    parameters = blocks(program, program.parameters)
    for (W, b), code, slope in zip(parameters, program.layers[:, ACTIVATION], slopes, strict=True):
        z = h[-1] @ W + b
        h.append(flushed(ACTIVATIONS[code](z, slope)))
    return h, z


def backward_pass(program: Program, h: list[Array], dz: Array, gradients: Array) -> Array:
    """Fill the arena of gradients from the output layer's dz; returns the first layer's dz."""
    slopes = program.slopes.astype(program.dtype)
    weights, d_weights = blocks(program, program.parameters), blocks(program, gradients)
    for layer in reversed(range(len(weights))):
        (W, _), (dW, db) = weights[layer], d_weights[layer]
        dW[:] = flushed(h[layer].T @ dz)
        db[:] = flushed(dz.sum(axis=0))
        if layer > 0:
            below = layer - 1
            code = program.layers[below, ACTIVATION]
            dz = flushed(DERIVATIVES[code](h[layer], dz @ W.T, slopes[below]))
    return dz


def targets(program: Program, y: Array) -> Array:
    """Targets t (B, O): as they are, or one-hot from int64 labels (B,)."""
    if y.ndim == 2:
        return y
    return np.eye(int(program.layers[-1, OUTPUTS]), dtype=program.dtype)[y]


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
    h = forward_pass(program, x)[0]
    out[:] = h[-1]
    return bool(np.isfinite(h[0]).all())


def activations(program: Program, x: Array, outs: list[Array], threads: int) -> None:
    """The scaled input and the outputs of every layer, each (B, width)."""
    for out, h in zip(outs, forward_pass(program, x)[0], strict=True):
        out[:] = h


def evaluate(program: Program, x: Array, y: Array, threads: int) -> tuple[float, int]:
    """The sum of the losses over the rows, and how many rows (or outputs) agree with y."""
    h, z = forward_pass(program, x)
    t = targets(program, y)
    loss = float(LOSSES[program.loss](z, h[-1], t).sum(dtype=np.float64))
    return loss, agreeing(program, h[-1], y)


def backward(
    program: Program,
    x: Array,
    d_output: Array,
    gradients: Array,
    d_input: Array | None,
    threads: int,
) -> None:
    """Gradients of the weights, and of the scaled input, from dh (B, O) of the output."""
    h, _ = forward_pass(program, x)
    code, slope = program.layers[-1, ACTIVATION], program.dtype.type(program.slopes[-1])
    dz = backward_pass(program, h, DERIVATIVES[code](h[-1], d_output, slope), gradients)
    if d_input is not None:
        d_input[:] = dz @ blocks(program, program.parameters)[0][0].T


def gradients(
    program: Program, x: Array, y: Array, gradients: Array, threads: int
) -> tuple[float, int]:
    """Gradients of the mean loss over the rows; returns the sum of losses, and what agrees."""
    h, z = forward_pass(program, x)
    t = targets(program, y)
    backward_pass(program, h, loss_gradient(program, h[-1], t), gradients)
    loss = float(LOSSES[program.loss](z, h[-1], t).sum(dtype=np.float64))
    return loss, agreeing(program, h[-1], y)


def train(
    program: Program,
    x: Array,
    rows: NDArray[np.int32],
    y: Array,
    batch_size: int,
    coefficients: NDArray[np.float64],
    threads: int,
) -> tuple[float, int]:
    """One update for every row of coefficients (S, 5).

    Step s takes rows[s * batch_size : (s + 1) * batch_size] of x, and the same range of y, which is
    already gathered: len(y) == len(rows). Returns the sum of the losses and what agrees, each taken
    just before the update of its batch.
    """
    g = np.zeros_like(program.parameters)
    loss, agree = 0.0, 0
    for step, numbers in enumerate(coefficients):
        batch = slice(step * batch_size, (step + 1) * batch_size)
        batch_loss, batch_agree = gradients(program, x[rows[batch]], y[batch], g, threads)
        apply_gradients(program, g, numbers, threads)
        loss, agree = loss + batch_loss, agree + batch_agree
    return loss, agree


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
