"""ONNX Runtime: one session; a plain `run` or bound buffers, the faster counts."""

from __future__ import annotations

import os
from collections.abc import Callable

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from . import cases
from .cases import Spec, Task, fastest
from .server import load

OPERATORS = {"sigmoid": "Sigmoid", "tanh": "Tanh", "relu": "Relu"}


def versions() -> dict[str, str]:
    return {"onnxruntime": onnxruntime.__version__, "onnx": onnx.__version__}


def session(spec: Spec) -> onnxruntime.InferenceSession:
    layers = cases.weights(spec["sizes"])
    nodes, constants, name = [], [], "x"
    for i, (w, b) in enumerate(layers):
        constants += [numpy_helper.from_array(w, f"w{i}"), numpy_helper.from_array(b, f"b{i}")]
        nodes.append(helper.make_node("Gemm", [name, f"w{i}", f"b{i}"], [f"z{i}"]))
        operator = OPERATORS[spec["hidden"]] if i + 1 < len(layers) else "Softmax"
        name = f"h{i}"
        nodes.append(helper.make_node(operator, [f"z{i}"], [name]))
    shapes = [("x", spec["sizes"][0]), (name, spec["sizes"][-1])]
    x, out = (helper.make_tensor_value_info(n, TensorProto.FLOAT, [None, k]) for n, k in shapes)
    graph = helper.make_graph(nodes, "mlp", [x], [out], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = spec.get("threads", int(os.environ["OMP_NUM_THREADS"]))
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def prediction(spec: Spec) -> Task:
    x, _ = cases.data(spec["sizes"], spec["rows"])
    run_session = session(spec)
    feed = {"x": x}
    out = np.empty((len(x), spec["sizes"][-1]), np.float32)
    binding = run_session.io_binding()
    binding.bind_cpu_input("x", x)
    last = f"h{len(spec['sizes']) - 2}"
    binding.bind_output(last, "cpu", 0, np.float32, out.shape, out.ctypes.data)

    def plain() -> cases.Array:
        result: cases.Array = run_session.run(None, feed)[0]
        return result

    def bound() -> cases.Array:
        run_session.run_with_iobinding(binding)
        return out

    ways: dict[str, Callable[[], cases.Array]] = {"plain": plain, "bound": bound}
    best = fastest(ways)
    predict = ways[best]

    def run() -> float:
        predict()
        return 1.0

    error = max(cases.prediction_error(spec, x, p) for p in (plain(), bound()))
    return Task(run, error, note=best)


def server(spec: Spec) -> Task:
    """All callers share the session; what trains beside them is fastnn here too."""
    run_session = session(spec)
    return load(spec, lambda x: run_session.run(None, {"x": x})[0])
