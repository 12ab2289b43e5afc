"""`edgec show`, `targets`, `passes`, `ops`, `check`: what they list."""

import numpy as np
import onnx
import pytest

from edgec.backends.target import all_targets
from edgec.expr import var
from edgec.graph import Graph, constant, graph_input
from edgec.layer_facts import layer_facts, macs
from edgec.ops import OPERATORS
from edgec.program_parser import parse_program
from edgec.types import TensorType, f32


def test_the_table_of_layers(edgec, digits):
    result = edgec("show", digits)
    assert result.status == 0
    lines = result.out.splitlines()
    assert lines[0].split() == ["#", "layer", "operator", "output", "MACs", "parameters", "weight", "bytes", "output", "bytes"]
    conv = next(line for line in lines if "conv2/Conv" in line).split()
    assert conv[2:] == ["Conv", "f32[1,16,4,4]", "18,432", "1,168", "4,672", "1,024"]
    assert next(line for line in lines if " layers " in line).split()[2] == "97,088"
    assert lines[-2:] == ["inputs: image f32[1,1,8,8]", "outputs: probabilities f32[1,10]"]


def test_multiply_adds_are_counted_from_the_formula():
    def count(name, *shapes, **attributes):
        values = [graph_input(f"x{n}", TensorType(f32, s)) for n, s in enumerate(shapes)]
        return macs(OPERATORS["", name](*values, **attributes))
    assert count("MatMul", (2, 5, 7), (7, 3)) == 2 * 5 * 7 * 3
    assert count("MatMul", (var("n", 1, 4), 7), (7, 3)) == 4 * 7 * 3
    assert count("Conv", (1, 6, 8, 8), (4, 3, 3, 3), group=2, pads=(1, 1, 1, 1)) == 4 * 64 * 27
    assert count("Relu", (9,)) == count("AveragePool", (1, 2, 4, 4), kernel_shape=(2, 2)) == count("MatMul", (0, 3), (3, 2)) == 0


def test_constants_count_once():
    x, w = graph_input("x", TensorType(f32, (4,))), constant(np.ones(4, np.float32), "w")
    add = OPERATORS["", "Add"](x, w).output
    layers = layer_facts(Graph((x,), (OPERATORS["", "Mul"](add, w).output,), ("y",)))
    assert [layer.parameters for layer in layers] == [4, 0] and [layer.output_bytes for layer in layers] == [16, 16]


@pytest.mark.parametrize("language, start", [("graph", "graph "), ("optimised", "graph "), ("kernels", "program "), ("loops", "loops ")])
def test_texts(edgec, digits, language, start):
    result = edgec("show", digits, "--text", language)
    assert result.status == 0 and result.err == "" and result.out.startswith(start)
    if language == "kernels":
        assert len(parse_program(result.out, Anything()).steps) == result.out.count("\nkernel ")


class Anything(dict):
    """Data for every @name."""

    def __contains__(self, name):
        return True

    def __missing__(self, name):
        return np.zeros(1)


def test_targets(edgec):
    result = edgec("targets")
    assert result.status == 0
    for target in all_targets():
        assert f"\n{target.name} " in result.out
    one = edgec("targets", "cortex-m4")
    assert one.status == 0 and "triple = 'thumbv7em-unknown-none-eabihf'" in one.out
    assert edgec("targets", "z80").status == 1


def test_passes(edgec, tmp_path):
    (tmp_path / "p.py").write_text('import edgec\n@edgec.graph_pass("mine")\ndef mine(graph, *, rounds=3):\n    """Does nothing."""\n    return graph\n')
    result = edgec("passes", "--passes", tmp_path / "p.py")
    assert result.status == 0 and "fold-constants" in result.out and "\npipeline: " in result.out
    assert "mine" in result.out and "rounds=3" in result.out and "Does nothing." in result.out


def test_ops(edgec):
    result = edgec("ops")
    assert result.status == 0 and f"{len(OPERATORS)} operators" in result.out
    for _, name in OPERATORS:
        assert f"\n{name} " in result.out


def test_check(edgec, digits, tmp_path):
    result = edgec("check", digits)
    assert result.status == 0 and "kernels" in result.out
    helper = onnx.helper
    branch = helper.make_graph([helper.make_node("Relu", ["x"], ["r"])], "b", [], [helper.make_tensor_value_info("r", 1, [2])])
    other = helper.make_graph([helper.make_node("Neg", ["x"], ["s"])], "c", [], [helper.make_tensor_value_info("s", 1, [2])])
    node = helper.make_node("If", ["c"], ["y"], name="choice", then_branch=branch, else_branch=other)
    inputs = [helper.make_tensor_value_info("c", 9, []), helper.make_tensor_value_info("x", 1, [2])]
    graph = helper.make_graph([node], "g", inputs, [helper.make_tensor_value_info("y", 1, [2])])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10), tmp_path / "if.onnx")
    result = edgec("check", tmp_path / "if.onnx")
    assert result.status in (0, 1)
    if result.status:
        assert "node 'choice'" in result.err
