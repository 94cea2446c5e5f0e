"""What each addition costs a training step, ours and PyTorch's: `python bench/additions.py`.

A step of 784-512-512-10 (relu, softmax, cross-entropy, SGD, batches of 128, float32), and the same
step with one thing more or another in its place. The four programs, plain and with the addition,
ours and PyTorch's, take turns in one process; a figure is the median of the turns' ratios. PyTorch
runs eagerly, as its users write it.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import numpy as np

import fastnn

ROWS, BATCH = 6400, 128
HIDDEN = 512

Step = Callable[[], None]


@dataclass
class Addition:
    """Something in the place of the plain step's: after each hidden layer, its loss, its update."""

    name: str
    layer: Callable[[], Any] | None = None
    activation: Any = "relu"
    optimizer: Any = None
    dense: dict[str, Any] = field(default_factory=dict)
    loss: Any = None
    targets: str = "labels"  # or numbers
    fit: dict[str, Any] = field(default_factory=dict)
    torch: Callable[[Any], dict[str, Any]] | None = None  # what PyTorch's step has instead


def data(kind: str) -> tuple[Any, Any]:
    """x (ROWS, 784) and y."""
    random = np.random.default_rng(0)
    x = random.random((ROWS, 784), np.float32)
    if kind == "numbers":
        return x, random.random((ROWS, 10), np.float32)
    return x, random.integers(0, 10, ROWS)


def ours(addition: Addition) -> Step:
    """An epoch of our steps."""
    layers: list[Any] = []
    for _ in range(2):
        layers.append(fastnn.Dense(HIDDEN, addition.activation, **addition.dense))
        if addition.layer is not None:
            layers.append(addition.layer())
    numbers = addition.targets == "numbers"
    layers.append(fastnn.Dense(10, "identity" if numbers else "softmax"))
    net = fastnn.Network(784, layers, loss=addition.loss)
    x, y = data(addition.targets)
    optimizer = addition.optimizer or fastnn.SGD(0.01)
    options = {"batch_size": BATCH, "optimizer": optimizer, "verbose": 0, **addition.fit}
    return lambda: net.fit(x, y, epochs=1, **options) and None


def theirs(addition: Addition, torch: Any) -> Step:
    """An epoch of PyTorch's steps."""
    nn = torch.nn
    given = addition.torch(torch) if addition.torch else {}
    blocks: list[Any] = []
    for width in (784, HIDDEN):
        blocks += [nn.Linear(width, HIDDEN), given.get("activation", nn.ReLU)()]
        if "layer" in given:
            blocks.append(given["layer"]())
    model = nn.Sequential(*blocks, nn.Linear(HIDDEN, 10))
    make = given.get("optimizer", lambda p: torch.optim.SGD(p, lr=0.01))
    optimizer = make(model.parameters())
    loss = given.get("loss", nn.functional.cross_entropy)
    x, y = (torch.from_numpy(part) for part in data(addition.targets))

    def epoch() -> None:
        for rows in torch.randperm(ROWS).split(BATCH):
            optimizer.zero_grad()
            loss(model(x[rows]), y[rows]).backward()
            if "clip" in given:
                given["clip"](model.parameters())
            optimizer.step()

    return epoch


def additions() -> list[Addition]:
    """All of them."""

    def optimizer(name: str, **options: Any) -> Callable[[Any], dict[str, Any]]:
        return lambda t: {"optimizer": lambda p: getattr(t.optim, name)(p, lr=1e-3, **options)}

    def activation(name: str, **options: Any) -> Callable[[Any], dict[str, Any]]:
        return lambda t: {"activation": lambda: getattr(t.nn, name)(**options)}

    def layer(name: str, *values: Any) -> Callable[[Any], dict[str, Any]]:
        return lambda t: {"layer": lambda: getattr(t.nn, name)(*values)}

    f = fastnn
    found = [
        Addition("Dropout(0.5)", lambda: f.Dropout(0.5), torch=layer("Dropout", 0.5)),
        Addition(
            "AlphaDropout(0.1)", lambda: f.AlphaDropout(0.1), torch=layer("AlphaDropout", 0.1)
        ),
        Addition("LayerNorm", f.LayerNorm, torch=layer("LayerNorm", HIDDEN)),
        Addition("BatchNorm", f.BatchNorm, torch=layer("BatchNorm1d", HIDDEN)),
        Addition("Scale", f.Scale),
        Addition(
            "PReLU for relu", f.PReLU, "identity", torch=activation("PReLU", num_parameters=HIDDEN)
        ),
        Addition("Blend(tanh) for relu", lambda: f.Blend("tanh"), "identity"),
        Addition("l1 and l2", dense={"l1": 1e-5, "l2": 1e-5}),
        Addition("max_norm", dense={"max_norm": 3.0}),
    ]
    names = {
        "elu": "ELU", "selu": "SELU", "gelu": "GELU", "silu": "SiLU", "softplus": "Softplus",
        "softsign": "Softsign", "mish": "Mish", "hard_sigmoid": "Hardsigmoid",
        "hard_tanh": "Hardtanh", "tanh": "Tanh", "sigmoid": "Sigmoid",
    }  # fmt: skip
    for name, other in names.items():
        found.append(Addition(f"{name} for relu", activation=name, torch=activation(other)))
    adam: dict[str, Any] = {"weight_decay": 0.01}
    for made, other in [
        (f.SGD(1e-3, momentum=0.9), optimizer("SGD", momentum=0.9)),
        (f.RMSprop(1e-3), optimizer("RMSprop")),
        (f.Adagrad(1e-3), optimizer("Adagrad")),
        (f.Adadelta(1e-3), optimizer("Adadelta")),
        (f.Adam(1e-3), optimizer("Adam")),
        (f.AdamW(1e-3), optimizer("AdamW", **adam)),
        (f.AMSGrad(1e-3), optimizer("Adam", amsgrad=True)),
        (f.Adamax(1e-3), optimizer("Adamax")),
        (f.Nadam(1e-3), optimizer("NAdam")),
        (f.Lion(1e-4), None),
        (f.ScheduleFreeAdamW(1e-3), None),
    ]:
        name = type(made).__name__ + (" with momentum" if isinstance(made, f.SGD) else "")
        found.append(Addition(f"{name} for SGD", optimizer=made, torch=other))
    found += [
        Addition("weight_decay", optimizer=f.SGD(0.01, weight_decay=1e-4)),
        Addition("clipvalue", optimizer=f.SGD(0.01, clipvalue=1.0)),
        Addition(
            "global_clipnorm",
            optimizer=f.SGD(0.01, global_clipnorm=1.0),
            torch=lambda t: {"clip": lambda p: t.nn.utils.clip_grad_norm_(p, 1.0)},
        ),
        Addition("use_ema", optimizer=f.SGD(0.01, use_ema=True)),
        Addition("sample_weight", fit={"sample_weight": np.ones(ROWS, np.float32)}),
    ]
    mse = "mean_squared_error"
    for loss, other in [
        (mse, "mse_loss"), ("mean_absolute_error", "l1_loss"), ("huber", "huber_loss"),
        ("log_cosh", None),
    ]:  # fmt: skip
        step = None if other is None else losses(other)
        found.append(Addition(f"{loss}, 10 numbers", loss=loss, targets="numbers", torch=step))
    augment = f.Augment(2.0, 15.0, 0.15, 5.0, (4.0, 30.0), 0.05)
    found.append(Addition("augmentation, all six", fit={"augment": augment}))
    return found


def losses(name: str) -> Callable[[Any], dict[str, Any]]:
    """PyTorch's step with this loss of torch.nn.functional."""
    return lambda torch: {"loss": getattr(torch.nn.functional, name)}


def timed(step: Step) -> float:
    """Seconds."""
    start = time.perf_counter()
    step()
    return time.perf_counter() - start


def measured(plain: list[Step], added: list[Step], turns: int) -> list[tuple[float, float]]:
    """Of each pair: microseconds of a plain step, and how much more the other takes, in percent."""
    for step in [*plain, *added]:
        step()
    taken = [
        [(timed(one), timed(other)) for one, other in zip(plain, added, strict=True)]
        for _ in range(turns)
    ]
    return [
        (
            median(a for a, _ in pairs) / (ROWS / BATCH) * 1e6,
            (median(b / a for a, b in pairs) - 1) * 100,
        )
        for pairs in zip(*taken, strict=True)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=9)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", default="", help="part of a name")
    options = parser.parse_args()
    import torch

    torch.set_num_threads(options.threads)
    fastnn.set_num_threads(options.threads)
    print(f"{options.threads} threads, torch {torch.__version__}, {options.turns} turns")
    print("| addition | fastnn | PyTorch |\n| --- | --- | --- |")
    plain = [ours(Addition("plain")), theirs(Addition("plain"), torch)]
    times = measured(plain, plain, options.turns)
    print(f"| plain step | {times[0][0]:.0f} us | {times[1][0]:.0f} us |", flush=True)
    for addition in additions():
        if options.only not in addition.name:
            continue
        known = addition.torch is not None
        added = [ours(addition)] + ([theirs(addition, torch)] if known else [])
        times = measured(plain[: len(added)], added, options.turns)
        shown = [f"{more:+.0f} %" for _, more in times]
        print(f"| {addition.name} | {' | '.join(([*shown, '-'])[:2])} |", flush=True)


if __name__ == "__main__":
    main()
