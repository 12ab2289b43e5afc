"""Sequences, optionals and unrolled loops: models made of ONNX nodes, run through the interpreter and compiled."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edgec.cli.runs import compiled, interpreted
from edgec.errors import CompileError, ModelError, Unsupported
from edgec.named_arrays import gathered, spread
from edgec.onnx.reader import load

A, B = np.arange(6, dtype=np.float32).reshape(2, 3), np.ones((2, 3), np.float32)


def tensor(name, shape=(2, 3), code=TensorProto.FLOAT):
    return helper.make_tensor_value_info(name, code, shape)


def sequence(name):
    return helper.make_tensor_sequence_value_info(name, TensorProto.FLOAT, None)


def model_of(nodes, inputs, outputs, tensors=()):
    graph = helper.make_graph(nodes, "g", inputs, outputs, [onnx.numpy_helper.from_array(np.asarray(v), n) for n, v in tensors])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def run(model, names, values):
    """The results by interpreter and native code, which must agree."""
    arrays = spread(names, values)
    one, two = interpreted(model, arrays), compiled(model, arrays)
    assert one.keys() == two.keys() and all(np.array_equal(one[k], two[k]) for k in one)
    return gathered([o.name for o in model.graph.output], one)


def node(*arguments, **attributes):
    return helper.make_node(*arguments, **attributes)


def test_a_sequence_comes_in_changes_and_goes_out():
    nodes = [node("SequenceInsert", ["s", "x", "zero"], ["t"]), node("SequenceErase", ["t", "last"], ["u"]),
             node("SequenceAt", ["u", "last"], ["y"]), node("SequenceLength", ["u"], ["n"])]
    model = model_of(nodes, [sequence("s"), tensor("x")], [sequence("u"), tensor("y"), tensor("n", (), TensorProto.INT64)],
                     [("zero", np.int64(0)), ("last", np.int64(-1))])
    items, last, count = run(model, ["s", "x"], [[A, A + 1], B])
    assert len(items) == 2 == count
    np.testing.assert_array_equal(items[0], B)
    np.testing.assert_array_equal(last, A)


@pytest.mark.parametrize("new_axis", [0, 1])
def test_split_and_concat(new_axis):
    nodes = [node("SplitToSequence", ["x"], ["s"], axis=1, keepdims=1 - new_axis), node("ConcatFromSequence", ["s"], ["y"], axis=0, new_axis=new_axis)]
    found, = run(model_of(nodes, [tensor("x")], [tensor("y", None)]), ["x"], [A])
    np.testing.assert_array_equal(found, A.T if new_axis else A.T.reshape(-1, 1))


def test_pieces_of_a_size():
    nodes = [node("SplitToSequence", ["x", "two"], ["s"], axis=1)]
    found, = run(model_of(nodes, [tensor("x")], [sequence("s")], [("two", np.int64(2))]), ["x"], [A])
    assert [f.shape for f in found] == [(2, 2), (2, 1)]


def test_map():
    body = helper.make_graph([node("Add", ["i", "j"], ["o"])], "b", [tensor("i", None), tensor("j", None)], [tensor("o", None)])
    found, = run(model_of([node("SequenceMap", ["s", "x"], ["t"], body=body)], [sequence("s"), tensor("x")], [sequence("t")]), ["s", "x"],
                 [[A, A + 1], B])
    np.testing.assert_array_equal(found, [A + 1, A + 2])


@pytest.mark.parametrize("given", [A, None])
def test_optional(given):
    kind = helper.make_optional_type_proto(helper.make_tensor_type_proto(TensorProto.FLOAT, [2, 3]))
    info = helper.make_value_info("x", kind)
    found, = run(model_of([node("OptionalHasElement", ["x"], ["y"])], [info], [tensor("y", (), TensorProto.BOOL)]), ["x"], [given])
    assert found == (given is not None)
    if given is None:
        with pytest.raises(ModelError, match="holds nothing"):
            load(model_of([node("OptionalGetElement", ["x"], ["y"])], [info], [tensor("y")]))


def test_an_unrolled_loop_collects_and_grows():
    body = helper.make_graph(
        [node("Add", ["state", "one"], ["next"]), node("SequenceInsert", ["s", "next"], ["t"]), node("Identity", ["c"], ["d"]),
         node("Mul", ["next", "next"], ["scan"])],
        "b", [tensor("i", (), TensorProto.INT64), tensor("c", (), TensorProto.BOOL), tensor("state"), sequence("s")],
        [tensor("d", (), TensorProto.BOOL), tensor("next"), sequence("t"), tensor("scan")])
    nodes = [node("SequenceEmpty", [], ["empty"]), node("Loop", ["m", "", "x", "empty"], ["y", "items", "squares"], body=body)]
    model = model_of(nodes, [tensor("m", (), TensorProto.INT64), tensor("x")], [tensor("y"), sequence("items"), tensor("squares", None)], [("one", B)])
    last, items, squares = run(model, ["m", "x"], [np.array(3), A])
    np.testing.assert_array_equal(last, A + 3)
    assert len(items) == 3 and squares.shape == (3, 2, 3)
    with pytest.raises(Unsupported, match="not known at compile time"):
        load(model)


def test_a_condition_that_depends_on_data_chooses_between_results():
    branches = {n: helper.make_graph([node(op, ["x"], ["r"])], n, [], [tensor("r")]) for n, op in (("then_branch", "Neg"), ("else_branch", "Abs"))}
    model = model_of([node("If", ["c"], ["y"], **branches)], [tensor("c", (), TensorProto.BOOL), tensor("x")], [tensor("y")])
    for condition, expected in ((True, -A), (False, A)):
        found, = run(model, ["c", "x"], [np.array(condition), A])
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("nodes, message", [
    ([node("SequenceAt", ["s", "far"], ["y"])], "position 5 in a sequence of 1"), ([node("Relu", ["s"], ["y"])], "Relu of a sequence"),
    ([node("SequenceLength", ["x"], ["y"])], "needs a sequence"),
])
def test_errors(nodes, message):
    made = [node("SequenceConstruct", ["x"], ["s"]), *nodes]
    with pytest.raises(CompileError, match=message):
        load(model_of(made, [tensor("x")], [tensor("y", None)], [("far", np.int64(5))]))
