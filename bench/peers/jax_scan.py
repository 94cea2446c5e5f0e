"""JAX: the epoch is one jitted lax.scan with donated parameters; rows gathered inside or before."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import Any

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import jax.numpy as jnp
import numpy as np

from . import cases
from .cases import Spec, Task, fastest

HIDDEN = {"sigmoid": jax.nn.sigmoid, "tanh": jnp.tanh, "relu": jax.nn.relu}


def versions() -> dict[str, str]:
    return {"jax": f"{jax.__version__} ({len(os.sched_getaffinity(0))} CPUs)"}


def logits(hidden: str, parameters: Any, x: Any) -> Any:
    for w, b in parameters[:-1]:
        x = HIDDEN[hidden](x @ w + b)
    w, b = parameters[-1]
    return x @ w + b


def mean_loss(hidden: str, parameters: Any, x: Any, y: Any) -> Any:
    z = logits(hidden, parameters, x)
    return -(jax.nn.one_hot(y, z.shape[1]) * jax.nn.log_softmax(z)).sum(axis=1).mean()


WAYS = {"inside": (True, 1), "unrolled": (True, 4), "before": (False, 1)}


@partial(jax.jit, static_argnames=("hidden", "optimizer", "way"), donate_argnums=(0, 1))
def epoch(
    parameters: Any, state: Any, data: Any, order: Any, *, hidden: str, optimizer: str, way: str
) -> Any:
    """One pass over order (steps, B) int32; returns the parameters, the state and the mean loss.

    Each step gathers its rows inside the scan, or all of them are gathered before it.
    """
    inside, unroll = WAYS[way]
    rate = cases.RATES[optimizer]
    tree = jax.tree.map

    def gather(rows: Any) -> Any:
        return [a.at[rows].get(mode="promise_in_bounds") for a in data]

    def step(carry: Any, batch: Any) -> Any:
        parameters, (t, ms, vs) = carry
        xb, yb = gather(batch) if inside else batch
        loss, gradients = jax.value_and_grad(partial(mean_loss, hidden))(parameters, xb, yb)
        if optimizer == "sgd":
            parameters = tree(lambda p, g: p - rate * g, parameters, gradients)
        else:
            t = t + 1
            ms = tree(lambda m, g: m + 0.1 * (g - m), ms, gradients)
            vs = tree(lambda v, g: v + 0.001 * (g * g - v), vs, gradients)
            c, d = rate / (1 - 0.9**t), 1 / jnp.sqrt(1 - 0.999**t)
            parameters = tree(
                lambda p, m, v: p - c * m / (jnp.sqrt(v) * d + 1e-8), parameters, ms, vs
            )
        return (parameters, (t, ms, vs)), loss

    batches = order if inside else gather(order)
    (parameters, state), losses = jax.lax.scan(step, (parameters, state), batches, unroll=unroll)
    return parameters, state, losses.mean()


def training(spec: Spec) -> Task:
    """The fastest of WAYS, by a race of whole epochs; the first without one for a quick look."""
    x, y = cases.data(spec["sizes"], spec["rows"])
    batch, hidden = spec["batch"], spec["hidden"]
    data = jnp.asarray(x), jnp.asarray(y.astype(np.int32))
    head = cases.CHECKED_STEPS * batch
    timed, joined = spec.get("timed", len(x)), spec.get("joined", 1)
    order = cases.orders(timed)

    def starting(way: str) -> tuple[Callable[[], float], float]:
        """A function that runs one epoch, and the loss after the checked steps."""
        run_epoch = partial(epoch, hidden=hidden, optimizer=spec["optimizer"], way=way)
        parameters = jax.tree.map(jnp.asarray, cases.weights(spec["sizes"]))
        zeros = partial(jax.tree.map, jnp.zeros_like)
        state: Any = (jnp.zeros(()), 0, 0)
        if spec["optimizer"] == "adam":
            state = (jnp.zeros(()), zeros(parameters), zeros(parameters))
        first = jnp.arange(head, dtype=jnp.int32).reshape(-1, batch)
        *carry, _ = run_epoch(parameters, state, data, first)
        probabilities = jax.nn.softmax(logits(hidden, carry[0], x[:head]))
        loss = cases.cross_entropy(np.asarray(probabilities), y[:head])

        def run() -> float:
            shuffled = np.concatenate([order() for _ in range(joined)])
            shuffled = shuffled.astype(np.int32).reshape(-1, batch)
            *carry[:], last = run_epoch(*carry, data, shuffled)
            last.block_until_ready()
            return float(len(shuffled) * batch)

        return run, loss

    ways = {way: starting(way) for way in (["inside"] if spec["quick"] else WAYS)}
    best = "inside" if spec["quick"] else fastest({way: run for way, (run, _) in ways.items()})
    ways[best][0]()  # compiled before the turns
    return Task(ways[best][0], max(loss for _, loss in ways.values()), note=best)


def gradients(spec: Spec) -> Task:
    x, y = cases.data(spec["sizes"], spec["rows"])
    parameters = jax.tree.map(jnp.asarray, cases.weights(spec["sizes"]))
    data = jnp.asarray(x), jnp.asarray(y.astype(np.int32))
    both = jax.jit(jax.value_and_grad(partial(mean_loss, spec["hidden"])))

    def run() -> float:
        both(parameters, *data)[0].block_until_ready()  # one program: all are ready together
        return 1.0

    found = jax.tree.map(np.asarray, both(parameters, *data)[1])
    return Task(run, cases.gradient_error(spec, x, y, found))
