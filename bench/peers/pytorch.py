"""PyTorch, the fastest of: eager with a foreach or a fused optimizer, the whole step compiled."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")  # no idle helpers beside the worker

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, linear

from . import cases
from .cases import Spec, Task

torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
HIDDEN = {"sigmoid": nn.Sigmoid, "tanh": nn.Tanh, "relu": nn.ReLU}
Step = Callable[[Tensor, float], None]  # one update with these rows at this rate


def versions() -> dict[str, str]:
    return {"torch": f"{torch.__version__} ({torch.get_num_threads()} threads)"}


def model(spec: Spec) -> nn.Sequential:
    layers: list[nn.Module] = []
    for w, b in cases.weights(spec["sizes"]):
        dense = nn.Linear(*w.shape)
        with torch.no_grad():
            dense.weight.copy_(torch.from_numpy(w).T)
            dense.bias.copy_(torch.from_numpy(b))
        layers += [dense, HIDDEN[spec["hidden"]]()]
    return nn.Sequential(*layers[:-1])


def eager(net: nn.Sequential, x: Tensor, y: Tensor, spec: Spec, **how: bool) -> Step:
    kind = torch.optim.SGD if spec["optimizer"] == "sgd" else torch.optim.Adam
    optimizer = kind(net.parameters(), lr=cases.RATES[spec["optimizer"]], **how)
    loss_of = nn.CrossEntropyLoss(label_smoothing=spec.get("smoothing", 0.0))

    def step(rows: Tensor, rate: float) -> None:
        optimizer.param_groups[0]["lr"] = rate
        optimizer.zero_grad(set_to_none=True)
        loss_of(net(x.index_select(0, rows)), y.index_select(0, rows)).backward()
        optimizer.step()

    return step


def compiled(net: nn.Sequential, x: Tensor, y: Tensor, spec: Spec) -> Step:
    """Gather, forward, backward and update as one graph: the least overhead per step."""
    from torch.func import grad

    parameters = [p.detach() for p in net.parameters()]
    moments = [(torch.zeros_like(p), torch.zeros_like(p)) for p in parameters]
    activation = HIDDEN[spec["hidden"]]()
    time_, rate_ = torch.zeros(()), torch.zeros(())

    def loss(parameters: list[Tensor], x: Tensor, y: Tensor) -> Tensor:
        h = x
        for i in range(0, len(parameters), 2):
            z = linear(h, parameters[i], parameters[i + 1])
            h = activation(z) if i + 2 < len(parameters) else z
        return cross_entropy(h, y, label_smoothing=spec.get("smoothing", 0.0))

    def whole(rows: Tensor) -> None:
        gradients = grad(loss)(parameters, x.index_select(0, rows), y.index_select(0, rows))
        if spec["optimizer"] == "sgd":
            for p, g in zip(parameters, gradients, strict=True):
                p.sub_(rate_ * g)
            return
        time_.add_(1)
        for p, g, (m, v) in zip(parameters, gradients, moments, strict=True):
            m.lerp_(g, 0.1)
            v.mul_(0.999).addcmul_(g, g, value=0.001)
            p.sub_(rate_ * (m / (1 - 0.9**time_)) / ((v / (1 - 0.999**time_)).sqrt() + 1e-8))

    torch.compiler.reset()  # `whole` is one function to its cache, which holds eight shapes
    fast = torch.compile(whole, fullgraph=True, dynamic=False)

    def step(rows: Tensor, rate: float) -> None:
        rate_.fill_(rate)
        with torch.no_grad():
            fast(rows)

    return step


def variants(spec: Spec) -> dict[str, Callable[..., Step]]:
    ways: dict[str, Callable[..., Step]] = {
        "foreach": lambda *a: eager(*a, foreach=True),
        "fused": lambda *a: eager(*a, fused=True),
    }
    return ways if spec["quick"] else ways | {"compiled": compiled}


def training(spec: Spec) -> Task:
    """The fastest variant, by a race after warming up."""
    x, y = (torch.from_numpy(a) for a in cases.data(spec["sizes"], spec["rows"]))
    batch, rate = spec["batch"], cases.RATES[spec["optimizer"]]
    order = cases.orders(spec.get("timed", len(x)))

    def epoch(step: Step, limit: float = 1e9) -> float:
        begin = time.perf_counter()
        done = 0
        for rows in torch.from_numpy(order()).split(batch):
            step(rows, rate)
            done += len(rows)
            if time.perf_counter() - begin > limit:
                break
        return (time.perf_counter() - begin) / done

    head = cases.CHECKED_STEPS * batch
    race: dict[str, tuple[float, Step]] = {}
    losses = []
    for name, make in variants(spec).items():
        net = model(spec)
        step = make(net, x, y, spec)
        for rows in torch.arange(head).split(batch):
            step(rows, rate)
        with torch.inference_mode():
            probabilities = net(x[:head]).softmax(1).numpy()
        losses.append(cases.cross_entropy(probabilities, y[:head].numpy()))
        race[name] = (epoch(step, limit=0.1 if spec["quick"] else 0.5), step)
    best = min(race, key=lambda name: race[name][0])
    step = race[best][1]
    race.clear()

    def run() -> float:
        epoch(step)
        return float(spec.get("timed", len(x)))

    return Task(run, max(losses), note=best)


def gradients(spec: Spec) -> Task:
    x, y = cases.data(spec["sizes"], spec["rows"])
    net = model(spec)
    data = torch.from_numpy(x), torch.from_numpy(y)
    parameters = list(net.parameters())

    def both() -> tuple[Tensor, ...]:
        return torch.autograd.grad(cross_entropy(net(data[0]), data[1]), parameters)

    def run() -> float:
        both()
        return 1.0

    found = [gradient.numpy().T for gradient in both()]
    return Task(
        run, cases.gradient_error(spec, x, y, list(zip(found[::2], found[1::2], strict=True)))
    )


def prediction(spec: Spec) -> Task:
    x = torch.from_numpy(cases.data(spec["sizes"], spec["rows"])[0])
    net = nn.Sequential(*model(spec), nn.Softmax(1)).eval()

    def predict() -> Any:
        with torch.inference_mode():
            return net(x).numpy()

    def run() -> float:
        predict()
        return 1.0

    return Task(run, cases.prediction_error(spec, x.numpy(), predict()))


def products(spec: Spec) -> Task:
    """MKL's products, which PyTorch uses on x86-64."""
    if not torch.backends.mkl.is_available():
        raise RuntimeError("expected a PyTorch with MKL, got one without")
    a, b, out = cases.operands(spec)
    left, right, result = map(torch.from_numpy, (a, b, out))
    left = left.T if spec["form"] == "tn" else left
    right = right.T if spec["form"] == "nt" else right

    def run() -> float:
        torch.mm(left, right, out=result)
        return 1.0

    run()
    return Task(run, cases.product_error(spec, a, b, out))


def digits(spec: Spec) -> Task:
    """The recipe from a fresh Glorot start; compiling and scaling the data are not counted."""
    pixels, labels, test_pixels, test_labels = cases.mnist(spec["directory"])
    x, x_test = (torch.from_numpy(a.astype("float32") / 255) for a in (pixels, test_pixels))
    y, y_test = torch.from_numpy(labels), torch.from_numpy(test_labels)
    steps = spec["epochs"] * -(-len(x) // spec["batch"])
    rates = cases.one_cycle(spec["peak"], spec["warmup"], steps).tolist()
    facts: dict[str, Any] = {"accuracy": [], "seconds": []}

    def train(make: Callable[..., Step], steps: int) -> tuple[float, float]:
        net = model(spec)
        layers = [layer for layer in net if isinstance(layer, nn.Linear)]
        for layer in layers:
            nn.init.kaiming_uniform_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)
        nn.init.xavier_uniform_(layers[-1].weight)
        step = make(net, x, y, spec)
        begin = time.perf_counter()
        s = 0
        while s < steps:
            for rows in torch.randperm(len(x)).split(spec["batch"]):
                step(rows, rates[s])
                s += 1
                if s == steps:
                    break
        seconds = time.perf_counter() - begin
        with torch.inference_mode():
            right = (net(x_test).argmax(1) == y_test).double().mean().item()
        return seconds, right

    ways = variants(spec)
    for make in ways.values():
        train(make, 100)
    best = min(ways, key=lambda name: train(ways[name], 200)[0])

    def run() -> float:
        torch.manual_seed(len(facts["accuracy"]))
        seconds, right = train(ways[best], steps)
        facts["seconds"].append(seconds)
        facts["accuracy"].append(right)
        return 1.0

    return Task(run, 0.0, note=best, facts=facts)
