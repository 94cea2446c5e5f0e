"""OpenVINO: the net in its own operations, compiled for one size; the fastest of its calls counts.

`call` is the compiled model itself; `shared` one request that copies neither input nor output;
`bound` the same with both tensors bound before; `started` an asynchronous start and a wait.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import openvino
from openvino import opset13 as ops

from . import cases
from .cases import Array, Spec, Task, fastest

OPERATIONS = {"sigmoid": ops.sigmoid, "tanh": ops.tanh, "relu": ops.relu}
OPTIONS = {
    "PERFORMANCE_HINT": "LATENCY",
    "INFERENCE_PRECISION_HINT": "f32",  # else bfloat16 where the CPU has it
}


def versions() -> dict[str, str]:
    return {"openvino": openvino.__version__}


def compiled(spec: Spec) -> Any:
    """The network with its start, for as many rows as the spec says."""
    layers = cases.weights(spec["sizes"])
    x = h = ops.parameter([spec["rows"], spec["sizes"][0]], openvino.Type.f32)
    for i, (w, b) in enumerate(layers):
        z = ops.add(ops.matmul(h, ops.constant(w), False, False), ops.constant(b))
        last = i + 1 == len(layers)
        h = ops.softmax(z, 1) if last else OPERATIONS[spec["hidden"]](z)
    model = openvino.Model([h], [x], "mlp")
    options = OPTIONS | {"INFERENCE_NUM_THREADS": os.environ["OMP_NUM_THREADS"]}
    return openvino.Core().compile_model(model, "CPU", options)


def ways_to_predict(model: Any, x: Array) -> dict[str, Callable[[], Array]]:
    """Each way gives the probabilities of x (B, O)."""
    request, bound_request, started_request = (model.create_infer_request() for _ in range(3))
    bound_request.set_input_tensor(openvino.Tensor(x, shared_memory=True))
    bound_out: Array = bound_request.get_output_tensor().data

    def call() -> Array:
        result: Array = model(x)[0]
        return result

    def shared() -> Array:
        result: Array = request.infer(x, share_inputs=True, share_outputs=True)[0]
        return result

    def bound(_alive: Array = x) -> Array:  # the request reads x's memory and does not own it
        bound_request.infer(share_outputs=True)
        return bound_out

    def started() -> Array:
        started_request.start_async(x, share_inputs=True)
        started_request.wait()
        result: Array = started_request.get_output_tensor().data
        return result

    return {"call": call, "shared": shared, "bound": bound, "started": started}


def prediction(spec: Spec) -> Task:
    x, _ = cases.data(spec["sizes"], spec["rows"])
    ways = ways_to_predict(compiled(spec), x)
    error = max(cases.prediction_error(spec, x, way()) for way in ways.values())
    best = fastest(ways)
    predict = ways[best]

    def run() -> float:
        predict()
        return 1.0

    return Task(run, error, note=best)
