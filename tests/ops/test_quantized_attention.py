"""QAttention against onnxruntime, its projection bit for bit in compiled code, and what is refused."""

import numpy as np
import onnx
import onnxruntime
import pytest

import edgec
from edgec.errors import TypeMismatch, Unsupported
from edgec.graph import constant, graph_input
from edgec.interpreter import interpret
from edgec.onnx.reader import load
from edgec.ops.quantized import MatMulInteger
from edgec.ops.quantized_attention import QAttention
from edgec.passes.integers import integer_form
from edgec.types import TensorType, f32, u8

BATCH, POSITIONS, WIDTH, HEADS, HIDDEN = 2, 7, 12, 3, 24


def model(by_column=False, mask=None, **attributes):
    """A model of one QAttention, and its input."""
    random = np.random.default_rng(4)
    x = random.integers(0, 256, (BATCH, POSITIONS, WIDTH)).astype(np.uint8)
    scale = random.uniform(0.005, 0.01, 3 * HIDDEN if by_column else ()).astype(np.float32)
    known = {"w": random.integers(-127, 128, (WIDTH, 3 * HIDDEN)).astype(np.int8), "b": random.normal(size=3 * HIDDEN).astype(np.float32),
             "sx": np.float32(0.01), "sw": scale, "mask": mask, "zx": np.uint8(125),
             "zw": np.zeros(3 * HIDDEN if by_column else (), np.int8)}
    names = ["x", *(n if a is not None else "" for n, a in known.items())]
    node = onnx.helper.make_node("QAttention", names, ["y"], domain="com.microsoft", num_heads=HEADS, **attributes)
    tensors = [onnx.numpy_helper.from_array(np.asarray(a), n) for n, a in known.items() if a is not None]
    graph = onnx.helper.make_graph([node], "one", [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.UINT8, x.shape)],
                                   [onnx.ValueInfoProto(name="y")], tensors)
    opsets = [onnx.helper.make_opsetid("", 21), onnx.helper.make_opsetid("com.microsoft", 1)]
    return onnx.helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString(), x


def in_onnxruntime(made, x):
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 4, 1
    return onnxruntime.InferenceSession(made, options, providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]


@pytest.mark.parametrize("options", [{}, {"by_column": True}, {"unidirectional": 1}, {"scale": 0.25},
                                     {"mask": np.array([7, 4], np.int32)},
                                     {"mask": np.array([[1, 1, 0, 1, 1, 1, 0], [0, 1, 1, 1, 0, 0, 0]], np.int32)}])
def test_results_are_those_of_onnxruntime(options):
    made, x = model(**options)
    expected, graph = in_onnxruntime(made, x), load(made)
    bound = 2.0 ** -24 * 64 * np.abs(expected).max()
    assert np.abs(interpret(graph, {"x": x})["y"] - expected).max() <= bound
    assert np.abs(edgec.compile(graph, workers=0).run({"x": x})["y"] - expected).max() <= bound


def test_the_projection_is_one_product_of_integers():
    made, _ = model()
    form = integer_form(load(made))
    assert sum(isinstance(op, MatMulInteger) for op in form.ops) == 1


def operands(columns=3 * HIDDEN):
    value = lambda *shape: constant(np.zeros(shape, np.float32))
    return (graph_input("x", TensorType(u8, (1, POSITIONS, WIDTH))), constant(np.zeros((WIDTH, columns), np.int8)), value(columns), value(),
            value())


def test_a_past_is_refused():
    past = graph_input("past", TensorType(f32, (2, 1, HEADS, 3, 8)))
    with pytest.raises(Unsupported, match="QAttention with a past or rotary positions"):
        QAttention(*operands(), past=past, num_heads=HEADS)


def test_columns_that_are_no_heads_are_refused():
    with pytest.raises(TypeMismatch, match="70 columns are not queries, keys and values of 3 heads"):
        QAttention(*operands(70), num_heads=HEADS)
