"""Dynamic quantization: products of integers by scales found as the network runs, the same in onnxruntime."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime

from edgec import load
from edgec.graph import Graph, constant, graph_input
from edgec.interpreter import interpret, run
from edgec.onnx.writer import model_proto
from edgec.ops.matmul import Gemm, MatMul
from edgec.quantize.dynamic import dynamic
from edgec.types import TensorType, f32

DIGITS = Path(__file__).parent.parent.parent / "testdata" / "digits"
X = np.load(DIGITS / "digits.npz")["inputs"][:40]


def test_digits_as_onnxruntime_runs_them():
    model = model_proto(dynamic(DIGITS / "digits.onnx"))
    onnx.checker.check_model(model, full_check=True)
    kinds = [n.op_type for n in model.graph.node]
    assert kinds.count("ConvInteger") == 3 and kinds.count("MatMulInteger") == 1 and kinds.count("DynamicQuantizeLinear") == 4
    session, exact = onnxruntime.InferenceSession(model.SerializeToString()), load(DIGITS / "digits.onnx")
    graph = load(model)
    for x in X:
        ours, theirs = interpret(graph, {"image": x[None]})["probabilities"], session.run(None, {"image": x[None]})[0]
        assert np.abs(ours - theirs).max() < 1e-5
        assert ours.argmax() == interpret(exact, {"image": x[None]})["probabilities"].argmax()


def test_kept_nodes_and_every_form_of_matrix_product():
    generator = np.random.default_rng(0)
    x = graph_input("x", TensorType(f32, (2, 3, 8)))
    w, v, b = (constant(generator.normal(0, 1, s).astype(np.float32)) for s in ((8, 6), (4, 6), (4,)))
    flat = graph_input("y", TensorType(f32, (5, 6)))
    graph = Graph((x, flat), (MatMul(x, w).output, Gemm(flat, v, b, transB=1).output), ("p", "q"))
    arrays = [generator.normal(0, 1, v.shape).astype(np.float32) for v in graph.inputs]
    for per_channel in (True, False):
        for exact, ours in zip(run(graph, arrays), run(dynamic(graph, per_channel=per_channel), arrays)):
            assert np.abs(exact - ours).max() < 0.1
    kept = dynamic(graph, keep_float=(graph.outputs[1].name,))
    assert {"Gemm", "MatMulInteger"} <= {type(op).__name__ for op in kept.ops}
