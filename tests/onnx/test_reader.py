"""The reader: what it reads, and one clear error for everything it does not."""

import os

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgec import interpret, load
from edgec.errors import CompileError, ModelError, TypeMismatch, Unsupported
from edgec.onnx.shapes import parse_bind, parse_shape
from edgec.verifier import verify

F32 = TensorProto.FLOAT


def tensor(name, shape, dtype=F32):
    return helper.make_tensor_value_info(name, dtype, shape)


def make(nodes, inputs=None, outputs=None, tensors=(), opset=17, functions=(), domains=()):
    """A model x f32[2,3] -> y, unless other inputs and outputs are given."""
    graph = helper.make_graph(nodes, "g", inputs if inputs is not None else [tensor("x", [2, 3])],
                              outputs if outputs is not None else [tensor("y", None)], list(tensors))
    imports = [helper.make_opsetid("", opset), *(helper.make_opsetid(d, v) for d, v in domains)]
    return helper.make_model(graph, opset_imports=imports, functions=list(functions), ir_version=10)


def node(op, inputs, outputs, name="", **attributes):
    return helper.make_node(op, inputs, outputs, name=name, **attributes)


def error_of(model, kind=ModelError, **options):
    with pytest.raises(kind) as caught:
        load(model, **options)
    return str(caught.value)


# ---------------------------------------------------------------------------------------------------------------- what is read

def test_positions_names_and_places(tmp_path):
    model = make([node("Relu", ["x"], ["h"], name="first"), node("Neg", ["h"], ["y"])])
    onnx.save(model, tmp_path / "m.onnx")
    graph = load(tmp_path / "m.onnx")
    assert [v.name for v in graph.inputs] == ["x"] and graph.output_names == ("y",)
    assert str(graph.outputs[0].loc) == f"{tmp_path / 'm.onnx'}: node 'y' (Neg, #1)"
    assert graph.outputs[0].op.operands[0].name == "h"
    assert verify(graph) == []


def test_bytes_and_proto_and_path_give_the_same_graph(tmp_path):
    model = make([node("Relu", ["x"], ["y"])])
    onnx.save(model, tmp_path / "m.onnx")
    graphs = [load(model), load(model.SerializeToString()), load(tmp_path / "m.onnx"), load(str(tmp_path / "m.onnx"))]
    assert all(g.outputs[0] is graphs[0].outputs[0] for g in graphs)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16, np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16,
                                   np.uint32, np.uint64, bool])
@pytest.mark.parametrize("raw", [True, False])
def test_initialisers_of_every_type(dtype, raw):
    array = np.array([[0, 1, 2], [3, 100, 127]]).astype(dtype)
    code = helper.np_dtype_to_tensor_dtype(array.dtype)
    proto = helper.make_tensor("w", code, array.shape, array.tobytes() if raw else array.ravel(), raw=raw)
    graph = load(make([node("Identity", ["w"], ["y"])], [], [tensor("y", [2, 3], code)], [proto]))
    assert graph.outputs[0].type.shape == (2, 3)
    np.testing.assert_array_equal(interpret(graph, {})["y"], array)


def test_bfloat16_initialisers():
    import ml_dtypes
    array = np.array([1.5, -2.25, 3e38], ml_dtypes.bfloat16)
    for proto in (numpy_helper.from_array(array, "w"), helper.make_tensor("w", TensorProto.BFLOAT16, [3], array.astype(np.float32))):
        graph = load(make([node("Identity", ["w"], ["y"])], [], [tensor("y", [3], TensorProto.BFLOAT16)], [proto]))
        np.testing.assert_array_equal(interpret(graph, {})["y"], array)


@pytest.mark.parametrize("attributes, expected", [
    ({"value": numpy_helper.from_array(np.array([[1.5, 2.5]], np.float32))}, np.array([[1.5, 2.5]], np.float32)),
    ({"value_float": 0.5}, np.float32(0.5)), ({"value_floats": [0.5, 1.5]}, np.array([0.5, 1.5], np.float32)),
    ({"value_int": 7}, np.int64(7)), ({"value_ints": [7, -8]}, np.array([7, -8])),
    ({"sparse_value": helper.make_sparse_tensor(numpy_helper.from_array(np.array([3, 4], np.float32), "s"),
                                                numpy_helper.from_array(np.array([1, 5], np.int64)), [2, 3])},
     np.array([[0, 3, 0], [0, 0, 4]], np.float32)),
])
def test_constant_nodes_in_every_form(attributes, expected):
    graph = load(make([helper.make_node("Constant", [], ["c"], **attributes), node("Identity", ["c"], ["y"])], [],
                      [helper.make_tensor_value_info("y", helper.np_dtype_to_tensor_dtype(expected.dtype), None)]))
    np.testing.assert_array_equal(interpret(graph, {})["y"], expected)


def test_an_initialiser_that_is_an_input_too_is_a_constant():
    model = make([node("Add", ["x", "w"], ["y"])], [tensor("x", [3]), tensor("w", [3])],
                 tensors=[numpy_helper.from_array(np.ones(3, np.float32), "w")])
    assert [v.name for v in load(model).inputs] == ["x"]


def test_absent_optional_operands():
    model = make([node("Clip", ["x", "", "m"], ["y"])], tensors=[numpy_helper.from_array(np.float32(1), "m")])
    x = np.array([[-5, 0.5, 5], [0, 1, 2]], np.float32)
    np.testing.assert_array_equal(interpret(load(model), {"x": x})["y"], np.minimum(x, 1))


def test_nodes_in_any_order_and_dead_nodes_of_unknown_operators():
    model = make([node("Neg", ["h"], ["y"]), node("Relu", ["x"], ["h"]), node("Nonsense", ["x"], ["dead"])])
    assert [type(op).__name__ for op in load(model).ops] == ["Input", "Relu", "Neg"]


def test_unused_domains_are_ignored():
    load(make([node("Relu", ["x"], ["y"])], domains=[("com.example", 9)]))


def test_long_chains():
    count = 10_000
    names = ["x", *(f"v{n}" for n in range(count - 1)), "y"]
    graph = load(make([node("Neg" if n % 2 else "Relu", [names[n]], [names[n + 1]]) for n in range(count)]))
    assert len(graph.ops) == count + 1


# ---------------------------------------------------------------------------------------------------------------- shapes

def test_shape_texts():
    assert parse_shape("input=1..8x42") == ("input", ("1..8", 42))
    assert parse_shape("a=b=3") == ("a=b", (3,))
    assert parse_shape("s=") == ("s", ())
    assert parse_bind("N=1..8") == ("N", "1..8") and parse_bind("N=4..4") == ("N", 4)


@pytest.mark.parametrize("text", ["x", "=3", "x=3xx4", "x=a", "x=8..1", "x=-1", "x=1.5", "x=" + "9" * 5000])
def test_bad_shape_texts(text):
    with pytest.raises(ModelError):
        parse_shape(text)


def open_model():
    return make([node("Add", ["x", "z"], ["y"])], [tensor("x", ["N", 3]), tensor("z", ["N", 3])])


def test_bound_dimensions():
    assert load(open_model(), bind={"N": 2}).inputs[0].type.shape == (2, 3)
    symbolic = load(open_model(), bind={"N": "1..8"})
    n = symbolic.inputs[0].shape[0]
    assert (n.data, n.lo, n.hi) == ("N", 1, 8) and symbolic.inputs[1].shape[0] is n and symbolic.outputs[0].shape == (n, 3)
    assert load(open_model(), shapes={"x": ("2..4", 3)}).inputs[1].shape[0].hi == 4
    assert load(open_model(), shapes={"x": (5, 3)}).inputs[1].shape == (5, 3)


def test_open_dimensions_name_the_option():
    message = error_of(open_model())
    assert "axis 0 of input 'x' is open (N)" in message and "axis 0 of input 'z'" in message
    assert "--bind N=1, a range --bind N=1..8, or --shape x=1x3" in message
    unnamed = make([node("Relu", ["x"], ["y"])], [tensor("x", [None, 3])])
    assert "--shape x=1x3, or with a range --shape x=1..8x3" in error_of(unnamed)
    assert load(unnamed, shapes={"x": ("1..8", 3)}).inputs[0].shape[0].data == "x_0"
    unranked = make([node("Relu", ["x"], ["y"])], [tensor("x", None)])
    assert "input 'x' has no shape" in error_of(unranked)
    assert load(unranked, shapes={"x": (2, 3)}).inputs[0].shape == (2, 3)


@pytest.mark.parametrize("options, expected", [
    ({"bind": {"M": 1}}, "--bind names 'M'"), ({"shapes": {"w": (1,)}}, "--shape names 'w'"), ({"shapes": {"x": (1,)}}, "rank 1"),
    ({"shapes": {"x": (1, 4)}}, "in the model it is 3"), ({"shapes": {"x": (1, 3)}, "bind": {"N": 2}}, "'N' is given as 2"),
    ({"bind": {"N": "8..1"}}, "not a size"), ({"bind": {"N": -1}}, "not a size"), ({"bind": {"N": 1 << 40}}, "2^31"),
    ({"bind": {"N": 1 << 30}}, "more than 2^31 elements"),
])
def test_bad_options(options, expected):
    assert expected in error_of(open_model(), **options)


def test_symbols_become_identifiers():
    model = make([node("Relu", ["x"], ["y"])], [tensor("x", ["batch size*2", 3])])
    assert load(model, bind={"batch size*2": "1..8"}).inputs[0].shape[0].data == "batch_size_2"


# ---------------------------------------------------------------------------------------------------------------- functions, subgraphs

def test_local_functions_are_built_in_place():
    body = helper.make_function("my", "Scaled", ["a", "b"], ["r"],
                                [helper.make_node("Add", ["a", "b"], ["s"]), node_with_reference("Softmax", "s", "r", "axis", "dim")],
                                [helper.make_opsetid("", 17)], ["dim"])
    model = make([helper.make_node("Scaled", ["x", "x"], ["y"], name="call", domain="my", dim=0)], functions=[body], domains=[("my", 1)])
    graph = load(model)
    assert [type(op).__name__ for op in graph.ops] == ["Input", "Add", "Softmax"]
    assert graph.outputs[0].op.axis == 0 and graph.outputs[0].name == "y" and graph.ops[1].output.name == "call/s"


def node_with_reference(op, x, y, attribute, reference):
    made = helper.make_node(op, [x], [y])
    made.attribute.append(onnx.AttributeProto(name=attribute, ref_attr_name=reference, type=onnx.AttributeProto.INT))
    return made


def test_a_reference_that_is_not_given_leaves_the_default():
    body = helper.make_function("my", "S", ["a"], ["r"], [node_with_reference("Softmax", "a", "r", "axis", "dim")],
                                [helper.make_opsetid("", 17)], ["dim"])
    graph = load(make([helper.make_node("S", ["x"], ["y"], domain="my")], functions=[body], domains=[("my", 1)]))
    assert graph.outputs[0].op.axis == -1


def test_functions_that_call_themselves():
    body = helper.make_function("my", "F", ["a"], ["r"], [helper.make_node("F", ["a"], ["r"], domain="my")], [helper.make_opsetid("my", 1)])
    model = make([helper.make_node("F", ["x"], ["y"], domain="my")], functions=[body], domains=[("my", 1)])
    assert "calls itself" in error_of(model)


def test_bodies_of_schemas():
    model = make([node("SoftmaxCrossEntropyLoss", ["x", "t"], ["y"])], [tensor("x", [2, 3]), tensor("t", [2], TensorProto.INT64)])
    from edgec.ops import OPERATORS
    if ("", "ReduceMean") not in OPERATORS or ("", "NegativeLogLikelihoodLoss") in OPERATORS:
        assert "not supported" in error_of(model, Unsupported)
        return
    x = np.array([[1, 2, 3], [0, 5, 1]], np.float32)
    log = x - np.log(np.exp(x).sum(1, keepdims=True))
    result = interpret(load(model), {"x": x, "t": np.array([2, 0])})["y"]
    np.testing.assert_allclose(result, -(log[0, 2] + log[1, 0]) / 2, rtol=1e-6)


def test_an_if_with_a_known_condition_is_the_branch_taken():
    taken = helper.make_graph([node("Relu", ["x"], ["t"])], "then", [], [tensor("t", None)])
    other = helper.make_graph([node("Nonsense", ["x"], ["e"])], "else", [], [tensor("e", None)])
    model = make([helper.make_node("Constant", [], ["c"], value=numpy_helper.from_array(np.array(True))),
                  helper.make_node("If", ["c"], ["y"], then_branch=taken, else_branch=other)])
    assert [type(op).__name__ for op in load(model).ops] == ["Input", "Relu"]


def test_subgraphs_are_closed():
    taken = helper.make_graph([node("Add", ["h", "w"], ["t"])], "then", [], [tensor("t", None)])
    other = helper.make_graph([node("Mul", ["x", "h"], ["m"]), node("Neg", ["m"], ["e"])], "else", [], [tensor("e", None)])
    model = make([node("Relu", ["x"], ["h"]), helper.make_node("If", ["c"], ["y"], name="if", then_branch=taken, else_branch=other)],
                 [tensor("x", [2, 3]), tensor("c", [], TensorProto.BOOL)], tensors=[numpy_helper.from_array(np.float32([1, 2, 3]), "w")])
    graph = load(model)
    assert verify(graph) == []
    op = graph.outputs[0].op
    assert sorted(v.name for v in op.captured) == ["h", "x"]
    assert op.then_branch.inputs == op.else_branch.inputs and op.then_branch.outputs[0].op.b.is_constant
    x = np.array([[-1, 2, 3], [4, -5, 6]], np.float32)
    np.testing.assert_array_equal(interpret(graph, {"x": x, "c": np.array(True)})["y"], np.maximum(x, 0) + [1, 2, 3])
    np.testing.assert_array_equal(interpret(graph, {"x": x, "c": np.array(False)})["y"], -x * np.maximum(x, 0))
    from edgec.graph_text import parse_graph, print_graph
    text, arrays = print_graph(graph)
    assert print_graph(parse_graph(text, arrays))[0] == text


def test_sizes_that_a_branch_decides():
    taken = helper.make_graph([node("Concat", ["x", "x"], ["t"], axis=0)], "then", [], [tensor("t", None)])
    other = helper.make_graph([node("Neg", ["x"], ["e"])], "else", [], [tensor("e", None)])
    model = make([helper.make_node("If", ["c"], ["s"], then_branch=taken, else_branch=other), node("Concat", ["s", "x"], ["y"], axis=0)],
                 [tensor("x", [2, 3]), tensor("c", [], TensorProto.BOOL)])
    graph = load(model)
    assert verify(graph) == []
    x = np.ones((2, 3), np.float32)
    for condition, rows in ((True, 6), (False, 4)):
        assert interpret(graph, {"x": x, "c": np.array(condition)})["y"].shape == (rows, 3)
    from edgec.graph_text import parse_graph, print_graph
    text, arrays = print_graph(graph)
    assert 'low=[2] high=[4] stem="s_count"' in text and print_graph(parse_graph(text, arrays))[0] == text


# ---------------------------------------------------------------------------------------------------------------- bad files

def test_missing_and_garbage_files(tmp_path):
    assert "cannot read the file" in error_of(tmp_path / "none.onnx")
    assert "cannot read the file" in error_of(tmp_path)
    for content in (b"", b"hello, this is not a model at all", os.urandom(5000), b"PK\x03\x04" + bytes(100)):
        (tmp_path / "bad.onnx").write_bytes(content)
        assert str(tmp_path / "bad.onnx") in error_of(tmp_path / "bad.onnx", CompileError)


def test_every_truncation_of_a_model():
    data = make([node("Add", ["x", "w"], ["y"])], tensors=[numpy_helper.from_array(np.ones((2, 3), np.float32), "w")]).SerializeToString()
    for length in range(len(data)):
        try:
            load(data[:length])
        except CompileError:
            continue


@pytest.mark.parametrize("seed", range(200))
def test_flipped_bytes_never_give_a_traceback(seed):
    data = bytearray(make([node("Add", ["x", "w"], ["h"]), node("Softmax", ["h"], ["y"], axis=1)],
                          tensors=[numpy_helper.from_array(np.ones((2, 3), np.float32), "w")]).SerializeToString())
    rng = np.random.default_rng(seed)
    for place in rng.integers(0, len(data), rng.integers(1, 4)):
        data[place] = rng.integers(0, 256)
    try:
        load(bytes(data))
    except CompileError:
        pass


def test_unknown_operators_are_reported_together():
    nodes = [node("Nonsense", ["x"], ["h"], name="one"), helper.make_node("Magic", ["h"], ["y"], domain="com.example", name="two")]
    message = error_of(make(nodes, domains=[("com.example", 1)]), CompileError)
    assert "node 'one' (Nonsense, #0): ONNX opset 17 has no operator Nonsense" in message
    assert "node 'two' (Magic, #1): operator Magic of domain 'com.example' is not known" in message


def test_domains_must_be_imported():
    message = error_of(make([helper.make_node("Magic", ["x"], ["y"], domain="com.example")]), CompileError)
    assert "domain 'com.example', which the model does not import" in message


@pytest.mark.parametrize("opset", [0, 999])
def test_opsets_out_of_range(opset):
    assert f"opset {opset}" in error_of(make([node("Relu", ["x"], ["y"])], opset=opset), Unsupported)


def test_cycles():
    nodes = [node("Add", ["x", "b"], ["a"], name="one"), node("Relu", ["a"], ["b"], name="two"), node("Relu", ["b"], ["y"])]
    message = error_of(make(nodes))
    assert "cycle through 2 nodes" in message and "'one'" in message and "'two'" in message


def test_names_that_are_not_defined():
    message = error_of(make([node("Add", ["x", "ghost"], ["h"], name="n"), node("Add", ["h", "spirit"], ["y"])]))
    assert "node 'n' (Add, #0): its input 'ghost'" in message and "'spirit'" in message
    assert "output 'y' is not computed" in error_of(make([node("Relu", ["x"], ["z"])]))


def test_names_defined_twice():
    assert "'y' is defined twice" in error_of(make([node("Relu", ["x"], ["y"]), node("Neg", ["x"], ["y"])]))
    assert "'x' is defined twice" in error_of(make([node("Relu", ["x"], ["x"])], outputs=[tensor("x", None)]))
    twice = [numpy_helper.from_array(np.ones(3, np.float32), "w")] * 2
    assert "initialiser 'w' is defined twice" in error_of(make([node("Add", ["x", "w"], ["y"])], tensors=twice))
    assert "input 'x' is defined twice" in error_of(make([node("Relu", ["x"], ["y"])], [tensor("x", [1])] * 2))
    assert "output 'y' is defined twice" in error_of(make([node("Relu", ["x"], ["y"])], outputs=[tensor("y", None)] * 2))


def weight(**fields):
    return TensorProto(name="w", **{"data_type": F32, "dims": [2, 3], **fields})


@pytest.mark.parametrize("proto, kind, expected", [
    (weight(raw_data=bytes(23)), ModelError, "needs 24 bytes and has 23"),
    (weight(float_data=[1.0] * 5), ModelError, "needs 6 elements and has 5"),
    (weight(), ModelError, "needs 6 elements and has 0"),
    (weight(dims=[-1, 3], raw_data=bytes(24)), ModelError, "negative dimension"),
    (weight(dims=[1 << 40, 1 << 40], raw_data=bytes(24)), ModelError, "more than 2^31 elements"),
    (weight(data_type=TensorProto.COMPLEX64, raw_data=bytes(3)), Unsupported, "element type complex64"),
    (weight(data_type=TensorProto.COMPLEX128, raw_data=bytes(6)), Unsupported, "element type complex128"),
    (weight(data_type=TensorProto.STRING, string_data=[b"a"] * 5), ModelError, "needs 6 strings and has 5"),
    (weight(data_type=TensorProto.STRING, string_data=[b"\xff"] * 6), ModelError, "not valid UTF-8"),
    (weight(data_type=0, raw_data=bytes(24)), ModelError, "element type number 0"),
    (weight(data_type=77, raw_data=bytes(24)), ModelError, "element type number 77"),
    (weight(data_type=TensorProto.INT8, int32_data=[300] * 6), ModelError, "outside the range of i8"),
])
def test_bad_initialisers(proto, kind, expected):
    message = error_of(make([node("Add", ["x", "w"], ["y"])], tensors=[proto]), kind)
    assert expected in message and "tensor 'w'" in message


@pytest.mark.parametrize("made, kind, expected", [
    (node("Softmax", ["x"], ["y"], n="n", axs=1), ModelError, "no attribute"),
    (node("Softmax", ["x"], ["y"], axis=1.5), ModelError, "attribute 'axis' must be of type int, it is float"),
    (node("Softmax", ["x"], ["y"], axis="1"), ModelError, "must be of type int, it is string"),
    (node("Softmax", ["x"], ["y"], axis=7), TypeMismatch, "axis"),
    (node("Cast", ["x"], ["y"]), ModelError, "needs the attribute 'to'"),
    (node("Softmax", ["x", "x"], ["y"]), ModelError, "takes at most 1"),
    (node("Add", ["x"], ["y"]), ModelError, "needs its input 'B'"),
    (node("Add", ["x", ""], ["y"]), ModelError, "needs its input 'B'"),
    (node("And", ["x", "x"], ["y"]), TypeMismatch, "cannot be f32[2,3]"),
    (node("Add", ["x", "i"], ["y"]), TypeMismatch, "must have one element type: f32 and i64"),
    (node("Relu", ["x"], ["y", "z"]), Unsupported, "1 of the 2 results"),
])
def test_bad_nodes(made, kind, expected):
    model = make([made], [tensor("x", [2, 3]), tensor("i", [2, 3], TensorProto.INT64)])
    message = error_of(model, kind)
    assert expected in message and f"({made.op_type}, #0)" in message


def test_outputs_of_another_type_than_declared():
    assert "is declared i64" in error_of(make([node("Relu", ["x"], ["y"])], outputs=[tensor("y", None, TensorProto.INT64)]))


def test_sequences_are_refused():
    info = helper.make_tensor_sequence_value_info("x", F32, None)
    assert "input 'x' is a sequence" in error_of(make([node("Identity", ["x"], ["y"])], [info]), Unsupported)


# ---------------------------------------------------------------------------------------------------------------- external data

def external_model(folder, size=24, **entries):
    proto = weight(data_location=TensorProto.EXTERNAL)
    for key, value in {"location": "w.bin", **entries}.items():
        proto.external_data.add(key=key, value=str(value))
    (folder / "w.bin").write_bytes(np.arange(size // 4, dtype=np.float32).tobytes())
    path = folder / "m.onnx"
    path.write_bytes(make([node("Add", ["x", "w"], ["y"])], tensors=[proto]).SerializeToString())
    return path


def test_external_data(tmp_path):
    for entries, first in (({}, 0), ({"offset": 8}, 2), ({"offset": 4, "length": 24}, 1)):
        graph = load(external_model(tmp_path, size=40, **entries))
        result = interpret(graph, {"x": np.zeros((2, 3), np.float32)})["y"]
        np.testing.assert_array_equal(result.ravel(), np.arange(first, first + 6))


@pytest.mark.parametrize("entries, expected", [
    ({"location": "../w.bin"}, "own folder"), ({"location": "/etc/passwd"}, "own folder"), ({"location": "a/../../w.bin"}, "own folder"),
    ({"location": "C:\\w.bin"}, "own folder"), ({"location": ""}, "own folder"), ({"location": "none.bin"}, "no external data file"),
    ({"location": "."}, "no external data file"), ({"offset": 4}, "outside 'w.bin' of 24 bytes"), ({"offset": -4}, "outside"),
    ({"offset": "two"}, "must be numbers"), ({"length": 20}, "needs 24 bytes, its external data has 20"), ({"offset": 1 << 62}, "outside"),
])
def test_bad_external_data(tmp_path, entries, expected):
    assert expected in error_of(external_model(tmp_path, **entries))


def test_external_data_through_a_link(tmp_path):
    (tmp_path / "secret").write_bytes(bytes(24))
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "link.bin").symlink_to(tmp_path / "secret")
    assert "leads out of the model's folder" in error_of(external_model(folder, location="link.bin"))
    (folder / "inner.bin").symlink_to(folder / "w.bin")
    load(external_model(folder, location="inner.bin"))


def test_external_data_needs_a_file():
    proto = weight(data_location=TensorProto.EXTERNAL)
    proto.external_data.add(key="location", value="w.bin")
    assert "load the model from its file" in error_of(make([node("Add", ["x", "w"], ["y"])], tensors=[proto]))
