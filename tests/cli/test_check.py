"""`edgec check`: every problem of a model at once, with node, reason and hint; status 0 only for what compiles."""

import json

import numpy as np
import onnx
import pytest
from onnx import helper

from edgec.errors import Loc, Unsupported
from edgec.graph import graph_input
from edgec.onnx.node import NEWEST, Node, build
from edgec.onnx.problems import read_with_problems
from edgec.types import TensorType, f32

F32, F64 = onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE


def info(name, shape, code=F32):
    return helper.make_tensor_value_info(name, code, shape)


def model(nodes, inputs, outputs, value_info=(), weights=()):
    graph = helper.make_graph(nodes, "g", inputs, outputs, [onnx.numpy_helper.from_array(a, n) for n, a in weights], value_info=list(value_info))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("my", 1)], ir_version=8)


def save(path, *arguments, **options):
    onnx.save(model(*arguments, **options), path)
    return path


@pytest.fixture
def broken(tmp_path):
    """An unknown operator, shapes that do not fit, an element type that ONNX does not allow, and f64."""
    nodes = [helper.make_node("Frob", ["x"], ["a"], name="first", domain="my"),
             helper.make_node("Relu", ["a"], ["b"], name="after"),
             helper.make_node("MatMul", ["x", "w"], ["c"], name="second"),
             helper.make_node("Sigmoid", ["i"], ["d"], name="third"),
             helper.make_node("Exp", ["z"], ["e"], name="fourth"),
             helper.make_node("Neg", ["x"], ["f"], name="fine")]
    outputs = [info(n, [2, 4]) for n in "bcdf"] + [info("e", [2], F64)]
    inputs = [info("x", [2, 4]), info("i", [2, 4], onnx.TensorProto.INT32), info("z", [2], F64)]
    return save(tmp_path / "broken.onnx", nodes, inputs, outputs, weights=[("w", np.ones((5, 3), np.float32))])


def test_all_problems_are_shown(edgec, broken):
    result = edgec("check", broken, "--target", "cortex-m4", "--no-cache")
    assert result.status == 1 and "4 problems" in result.err and result.out == ""
    for node in ("first", "second", "third", "fourth"):
        assert result.err.count(f"node '{node}'") == 1
    assert "'after'" not in result.err and "'fine'" not in result.err


def test_json_has_node_reason_and_hint(edgec, broken):
    result = edgec("check", broken, "--target", "cortex-m4", "--json", "--no-cache")
    found = json.loads(result.out)
    assert result.status == 1 and not found["compiles"] and found["target"] == "cortex-m4"
    problems = {p["node"]: p for p in found["problems"]}
    assert {n: p["kind"] for n, p in problems.items()} == {
        "first": "Unsupported", "second": "TypeMismatch", "third": "TypeMismatch", "fourth": "Unsupported"}
    assert problems["first"]["operator"] == "Frob" and "--ops" in problems["first"]["hint"]
    assert "double" in problems["third"]["hint"] and "f32" in problems["fourth"]["hint"]
    assert any("f32[5,3]" in note for note in problems["second"]["notes"]) and problems["second"]["index"] == 2


def test_on_a_machine_with_doubles_they_are_no_problem(edgec, broken):
    result = edgec("check", broken, "--no-cache")
    assert result.status == 1 and "3 problems" in result.err and "fourth" not in result.err


def test_a_model_that_compiles(edgec, digits, cache):
    result = edgec("check", digits, "--json", *cache)
    found = json.loads(result.out)
    assert result.status == 0 and found["compiles"] and found["problems"] == [] and found["kernels"] > 0


def test_declared_types_stand_in_for_what_cannot_be_read():
    nodes = [helper.make_node("Frob", ["x"], ["a"], name="first", domain="my"),
             helper.make_node("MatMul", ["a", "x"], ["y"], name="second")]
    inputs, outputs = [info("x", [2, 4])], [info("y", [2, 4])]
    _, problems = read_with_problems(model(nodes, inputs, outputs, value_info=[info("a", [3, 7])]))
    assert [p.loc.node for p in problems] == ["first", "second"] and "f32[3,7]" in str(problems[1])
    _, problems = read_with_problems(model(nodes, inputs, outputs))
    assert [p.loc.node for p in problems] == ["first"]


def test_unknown_operators_behind_one_another_are_all_named():
    nodes = [helper.make_node("Frob", ["x"], ["a"], name="first", domain="my"),
             helper.make_node("Grob", ["a"], ["y"], name="second", domain="my")]
    _, problems = read_with_problems(model(nodes, [info("x", [2])], [info("y", [2])]))
    assert sorted(p.loc.node for p in problems) == ["first", "second"]


def test_the_nearest_operator_is_named():
    nodes = [helper.make_node("Relo", ["x"], ["y"], name="first")]
    _, problems = read_with_problems(model(nodes, [info("x", [2])], [info("y", [2])]))
    assert problems[0].hint == "the nearest is Relu"


def test_every_open_dimension_and_unknown_operator():
    nodes = [helper.make_node("Frob", ["x"], ["a"], name="first", domain="my"), helper.make_node("Add", ["a", "z"], ["y"])]
    graph, problems = read_with_problems(model(nodes, [info("x", ["N"]), info("z", ["M"])], [info("y", [2])]))
    told = "\n".join(map(str, problems))
    assert graph is None and len(problems) == 3 and "--bind N=1" in told and "--bind M=1" in told and "Frob" in told


def test_a_branch_that_cannot_be_read_is_the_problem_of_its_node():
    def branch(op, name):
        return helper.make_graph([helper.make_node(op, ["a"], [name], name="inner")], name, [], [info(name, [2])])
    nodes = [helper.make_node("Frob", ["x"], ["a"], name="first", domain="my"),
             helper.make_node("If", ["c"], ["y"], name="choice", then_branch=branch("Relu", "t"), else_branch=branch("Neg", "e"))]
    inputs = [info("x", [2]), info("c", [], onnx.TensorProto.BOOL)]
    _, problems = read_with_problems(model(nodes, inputs, [info("y", [2])]))
    assert [p.loc.node for p in problems] == ["first"]


def test_an_attribute_that_is_not_supported_comes_with_the_nearest_form():
    x = graph_input("x", TensorType(f32, (2,)))
    with pytest.raises(Unsupported, match="hint: leave slope out"):
        build(Node("Relu", "", NEWEST, (x,), {"slope": 1.0}, ("y",), Loc("m.onnx", "n", "Relu", 0)))
