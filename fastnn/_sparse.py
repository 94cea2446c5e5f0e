"""Sparse rows: what the first layer costs is decided by their numbers that are not zero."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from typing import Any

import numpy as np

from . import activations, reference
from ._arrays import Array
from .engine import Engine, Targets
from .judges import penalized
from .layers import Dense, Layer
from .program import (
    LAST,
    MEAN_SQUARED_ERROR,
    Builder,
    Program,
    in_training,
    views,
    zeros_like_parameters,
)


class Sparse:
    """An engine for rows of a SciPy CSR matrix, of a network that begins with a `Dense` layer.

    The engine multiplies z = x @ W + b, carries z through a network of the other layers, and
    updates all weights; dW = x^T dz is SciPy's.
    """

    def __init__(self, engine: Engine, program: Program, layers: Sequence[Layer]) -> None:
        self.engine = engine
        self.cancels = program.loss in LAST  # the loss, the derivative of the last activation
        self.others = self._others(program, layers) if len(layers) > 1 else None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.engine, name)

    def _others(self, program: Program, layers: Sequence[Layer]) -> Program:
        """All but the first product, up to what the loss reads."""
        first, *others = layers
        last = others[-1] = copy(others[-1])
        assert isinstance(first, Dense)
        assert isinstance(last, Dense)
        if self.cancels:
            last.activation = activations.get("identity")
        builder = Builder(first.units)
        value = builder.dropout(0, 0.0)  # in the place of the first product: the ops' numbers stay
        value = builder.activate(value, first.activation)
        for number, layer in enumerate(others, start=1):
            value = layer.add(builder, value, f"layers.{number}")
        unasked = MEAN_SQUARED_ERROR
        return builder.program([value], unasked, program.dtype, seed=program.seed)

    def _first(self, program: Program, weights: Array, x: Any, threads: int) -> Array:
        """z (B, O) of the first layer; the others' weights go where they are read."""
        blocks = views(program, weights)
        if self.others is not None:
            self.others.update = program.update
            for name, view in views(self.others, self.others.parameters).items():
                view[...] = blocks[name]
        W, b = blocks["layers.0.weights"], blocks["layers.0.biases"]  # noqa: N806
        z = np.repeat(b[None], x.shape[0], axis=0)
        numbers = x.data.astype(program.dtype, copy=False)
        places = x.indices.astype(np.int32, copy=False), x.indptr.astype(np.int64, copy=False)
        self.engine.multiply_sparse(numbers, *places, W, z, threads)
        return z

    def _ends(self, program: Program, before: Array) -> Any:
        """What the last op reads, and the outputs, where the reference looks for them."""
        op = reference.ops(program)[-1]
        values: Any = {0: before, op.source: before}
        return values | {-1: reference.FORWARD[op.kind](op, values) if self.cancels else before}

    def _values(self, program: Program, x: Any, threads: int) -> Any:
        """The same, of rows that are not learned from."""
        z = self._first(program, program.parameters, x, threads)
        if self.others is None:
            return self._ends(program, z)
        h = np.empty((len(z), program.outputs), program.dtype)
        self.engine.forward(self.others, z, h, threads)
        return self._ends(program, h)

    def forward(self, program: Program, x: Any, out: Array, threads: int) -> bool:
        """As an engine's; x was checked."""
        out[...] = self._values(program, x, threads)[-1]
        return True

    def evaluate(self, program: Program, x: Any, y: Targets, threads: int) -> tuple[float, float]:
        """As an engine's."""
        values = self._values(program, x, threads)
        loss, agreeing, _ = reference.judged(program, values, y)
        penalty = reference.penalty(program, program.parameters)
        return loss + penalty * reference.total(values[-1], y), agreeing

    def gradients(
        self,
        program: Program,
        x: Any,
        y: Targets,
        gradients: Array,
        threads: int,
        first_row: int | None = None,
    ) -> tuple[float, float]:
        """As an engine's."""
        training, found = first_row is not None, views(program, gradients)
        weights = in_training(program) if training else program.parameters
        z = self._first(program, weights, x, threads)
        if self.others is None:
            loss, agreeing, dz = reference.judged(program, self._ends(program, z), y)
        else:
            h = np.empty((len(z), program.outputs), program.dtype)
            self.engine.outputs(self.others, z, h, threads, first_row)
            loss, agreeing, d = reference.judged(program, self._ends(program, h), y)
            d_others, dz = zeros_like_parameters(self.others), np.empty_like(z)
            self.engine.backward(self.others, z, d, d_others, dz, threads, first_row)
            for name, view in views(self.others, d_others).items():
                found[name][...] = view
        found["layers.0.biases"][...] = reference.sum_of_rows(dz)
        transposed_product(x, dz, found["layers.0.weights"])
        if program.penalties is not None:
            loss += penalized(program, gradients, training) * reference.total(z, y)
        return loss, agreeing


def is_sparse(x: object) -> bool:
    """Whether it is a sparse matrix or array of SciPy."""
    return hasattr(x, "tocsr")


def transposed_product(x: Any, dz: Array, out: Array) -> None:
    """x^T dz (I, O) into `out`, of the columns that occur in x: the others are 0."""
    used, places = np.unique(x.indices, return_inverse=True)
    narrow = type(x)((x.data, places, x.indptr), shape=(x.shape[0], len(used)))
    out[...] = 0
    out[used] = narrow.T @ dz
