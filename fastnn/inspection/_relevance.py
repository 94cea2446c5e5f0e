"""Layer-wise relevance propagation by the ε rule, op by op, in float64.

R (B, O) is the relevance of what an op gives, and its side here says that of what it was made of.
z_j = Σ_i x_i w_ij + b_j, and R_i = Σ_j x_i w_ij / (z_j ± ε) R_j. What the bias and ε of a sum keep,
(b_j ± ε) / (z_j ± ε) R_j, is shared out over its inputs as |x_i w_ij| is, so that no relevance is
lost: Σ_i R_i = Σ_j R_j. What works on numbers one by one passes them on, and so do norms, whose
means and deviations count as given (Ali et al., XAI for transformers, 2022).

Source: Bach et al., On pixel-wise explanations for non-linear classifier decisions by layer-wise
relevance propagation (2015), equations 58 to 61.
"""

# ruff: noqa: N803, N806 (the textbook's capital letters)

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .. import reference
from .._arrays import Array
from ..program import (
    ACTIVATE,
    ADD,
    BLEND,
    COLUMN_NORM,
    DENSE,
    DROPOUT,
    EMBED,
    KINDS,
    PRELU,
    ROW_NORM,
    SCALE,
    Program,
)
from ..reference import Op

EPSILON = 0.01
ALIKE = 1e-12  # the share of every input, beside |x_i w_ij|: all are alike where none speaks

Values = list[Array]


def stabilised(z: Array) -> Array:
    """z ± ε, away from zero."""
    return z + np.where(z < 0, -EPSILON, EPSILON)


def through_dense(op: Op, h: Values, R: Values) -> None:
    """The rule above."""
    W, *biases = (block.astype(np.float64) for block in op.blocks)
    b = biases[0] if biases else np.zeros(W.shape[1])
    x, Rz = h[op.source], R[op.number]
    z = x @ W + b
    steady = stabilised(z)
    sizes = np.abs(x) @ np.abs(W) + ALIKE * len(W)
    kept = Rz * (steady - z + b) / steady / sizes
    R[op.source] += x * ((Rz / steady) @ W.T)
    R[op.source] += np.abs(x) * (kept @ np.abs(W).T) + ALIKE * kept.sum(axis=1, keepdims=True)


def through_one_to_one(op: Op, h: Values, R: Values) -> None:
    """Each number's relevance goes on to the one that it was made of."""
    R[op.source] += R[op.number]


def through_embed(op: Op, h: Values, R: Values) -> None:
    """A code has the relevance of its vector."""
    Rz, c = R[op.number], op.code
    end = c + op.blocks[0].shape[1]
    R[op.source][:, :c] += Rz[:, :c]
    R[op.source][:, c] += Rz[:, c:end].sum(axis=1)
    R[op.source][:, c + 1 :] += Rz[:, end:]


def through_add(op: Op, h: Values, R: Values) -> None:
    """R_x = x / (x + y ± ε) R, R_y alike, and half of what ε keeps for each."""
    x, y, Rz = h[op.source], h[op.other], R[op.number]
    steady = stabilised(x + y)
    kept = (steady - x - y) / 2
    R[op.source] += (x + kept) / steady * Rz
    R[op.other] += (y + kept) / steady * Rz


RULES: dict[int, Callable[[Op, Values, Values], None]] = {
    DENSE: through_dense,
    ADD: through_add,
    EMBED: through_embed,
    **dict.fromkeys(
        (ACTIVATE, DROPOUT, COLUMN_NORM, ROW_NORM, SCALE, PRELU, BLEND), through_one_to_one
    ),
}


def relevance(program: Program, x: Array, d: Array) -> Array:
    """The relevance (B, I) of the inputs x for d (B, O) times the program's outputs.

    Raises ValueError for ops that the rule does not pass.
    """
    ops = reference.ops(program)
    for op in ops:
        if op.kind not in RULES:
            passed = ", ".join(KINDS[kind] for kind in RULES)
            raise ValueError(
                f"expected ops that the ε rule passes ({passed}), got {KINDS[op.kind]}"
            )
    h = [value.astype(np.float64) for value in reference.forward_pass(program, x, ops)]
    R = [np.zeros_like(value) for value in h]
    R[-1] += h[-1] * d
    for op in reversed(ops):
        RULES[op.kind](op, h, R)
    return R[0]
