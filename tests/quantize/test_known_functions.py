"""Functions that exporters spell out are known by what they compute, and are one table when quantized."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgec.edge_file import read_graph
from edgec.ops.activation import Gelu, HardSwish
from edgec.quantize import quantize
from edgec.quantize.prepare import prepared

ERF = [("Div", ["a", 2 ** 0.5], "d"), ("Erf", ["d"], "e"), ("Add", ["e", 1.0], "f"), ("Mul", ["a", "f"], "g"), ("Mul", ["g", 0.5], "y")]
HALF_FIRST = [("Mul", ["a", 0.5], "h"), ("Mul", ["a", 0.5 ** 0.5], "d"), ("Erf", ["d"], "e"), ("Add", [1.0, "e"], "f"),
              ("Mul", ["h", "f"], "y")]
TANH = [("Mul", ["a", "a"], "s"), ("Mul", ["s", "a"], "c"), ("Mul", ["c", 0.044715], "k"), ("Add", ["a", "k"], "l"),
        ("Mul", ["l", (2 / np.pi) ** 0.5], "m"), ("Tanh", ["m"], "t"), ("Add", ["t", 1.0], "f"), ("Mul", ["a", 0.5], "h"),
        ("Mul", ["h", "f"], "y")]
HARD = [("Add", ["a", 3.0], "p"), ("Clip", ["p", 0.0, 6.0], "c"), ("Mul", ["a", "c"], "m"), ("Div", ["m", 6.0], "y")]
SIGMOID = [("Mul", ["a", 1.702], "k"), ("Sigmoid", ["k"], "s"), ("Mul", ["a", "s"], "y")]  # near a Gelu, and none


def model(chain, path):
    """x @ w through the chain, times v."""
    rng = np.random.default_rng(1)
    stored = {"w": rng.standard_normal((16, 24)).astype(np.float32), "v": rng.standard_normal((24, 8)).astype(np.float32)}
    nodes = [helper.make_node("MatMul", ["x", "w"], ["a"])]
    for kind, operands, result in chain:
        named = [v if isinstance(v, str) else f"{result}{n}" for n, v in enumerate(operands)]
        stored |= {name: np.array(v, np.float32) for name, v in zip(named, operands) if not isinstance(v, str)}
        nodes.append(helper.make_node(kind, named, [result]))
    nodes.append(helper.make_node("MatMul", ["y", "v"], ["z"]))
    graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [4, 16])],
                              [helper.make_tensor_value_info("z", TensorProto.FLOAT, [4, 8])],
                              [numpy_helper.from_array(v, k) for k, v in stored.items()])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


CASES = [(ERF, "Gelu"), (HALF_FIRST, "Gelu"), (TANH, "Gelu"), (HARD, "HardSwish")]


@pytest.mark.parametrize("chain, kind", CASES)
def test_a_spelled_out_function_is_one_operator_between_bytes(tmp_path, chain, kind):
    data = np.random.default_rng(2).standard_normal((8, 4, 16)).astype(np.float32)
    made = quantize(model(chain, tmp_path / "m.onnx"), {"x": data}).model
    kinds = [n.op_type for n in made.graph.node]
    assert kinds.count(kind) == 1 and not {"Erf", "Tanh", "Clip", "Add", "Mul", "Div"} & set(kinds)
    one = next(n for n in made.graph.node if n.op_type == kind)
    by_output = {n.output[0]: n for n in made.graph.node}
    assert by_output[one.input[0]].op_type == "DequantizeLinear"
    assert [n.op_type for n in made.graph.node if one.output[0] in n.input] == ["QuantizeLinear"]


def test_what_is_only_near_a_gelu_is_left_alone(tmp_path):
    data = np.random.default_rng(2).standard_normal((8, 4, 16)).astype(np.float32)
    kinds = [n.op_type for n in quantize(model(SIGMOID, tmp_path / "m.onnx"), {"x": data}).model.graph.node]
    assert "Sigmoid" in kinds and "Gelu" not in kinds


def test_a_chain_that_reads_a_second_tensor_is_none():
    graph = prepared(read_graph("""graph g(%x: f32[4], %z: f32[4]) -> (%y) {
      %d = Mul(%x, f32[]{0.70710678}) : f32[4]
      %e = Erf(%d) : f32[4]
      %f = Add(%e, f32[]{1}) : f32[4]
      %h = Mul(%z, f32[]{0.5}) : f32[4]
      %y = Mul(%h, %f) : f32[4]
    }""", "test"))
    assert not any(isinstance(op, (Gelu, HardSwish)) for op in graph.ops)
