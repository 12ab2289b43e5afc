"""Sizes that data decides: compiled once, held against the interpreter, the program's interpreter and onnxruntime at sizes 0, 1, bound."""
from dataclasses import dataclass, field
from functools import cache

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

import edgec
from edgec.backends.emulate import emulate, missing_tools
from edgec.backends.native import Loaded
from edgec.backends.target import find
from edgec.compiler import compile, lower, optimise_graph
from edgec.errors import CompileError, Internal
from edgec.graph_text import parse_graph, print_graph
from edgec.interpreter import interpret
from edgec.onnx.reader import load
from edgec.program_interpreter import run_program
from edgec.program_parser import parse_program
from edgec.program_text import constants, print_program
from edgec.verifier import verify

F, I, B = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL
DTYPES = {F: np.float32, I: np.int64, B: np.bool_}


@dataclass(frozen=True)
class Case:
    """Nodes, the types of inputs and outputs (None: any size), bounds for `bind`, and values of the inputs for each call."""

    nodes: list
    inputs: dict
    outputs: dict
    calls: list
    bind: dict = field(default_factory=dict)
    constants: dict = field(default_factory=dict)

    def model(self):
        infos = [[helper.make_tensor_value_info(n, t, s) for n, (t, s) in side.items()] for side in (self.inputs, self.outputs)]
        graph = helper.make_graph(self.nodes, "g", *infos, [numpy_helper.from_array(np.array(a), n) for n, a in self.constants.items()])
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)

    def feeds(self):
        return [{n: np.array(v, DTYPES[t]).reshape([np.size(v)] if len(s) == 1 else np.shape(v))
                 for (n, (t, s)), v in zip(self.inputs.items(), call)} for call in self.calls]


def node(op, inputs, outputs, **attributes):
    return helper.make_node(op, inputs.split(), outputs.split(), **attributes)


def noise(*shape, seed=0):
    return np.random.default_rng(seed).normal(0, 1, shape).astype(np.float32)


def some(number, *shape):
    """An array with so many elements that are not zero."""
    array = np.zeros(int(np.prod(shape)), np.float32)
    array[np.random.default_rng(number).permutation(array.size)[:number]] = 1 + np.arange(number)
    return array.reshape(shape)


def boxes(count):
    corners = np.sort(np.random.default_rng(count).random((1, count, 2, 2)), axis=2).reshape(1, count, 4)
    return corners.astype(np.float32)


MATRIX, VECTOR, NUMBER = (F, [4, 5]), (F, [9]), (I, [])
PARTS = {"y": (F, [None]), "i": (I, [None]), "j": (I, [None]), "c": (I, [None])}
SCORES = np.random.default_rng(3).random((1, 3, 12)).astype(np.float32)
CASES = {
    "NonZero": Case([node("NonZero", "x", "y")], {"x": MATRIX}, {"y": (I, [2, None])}, [[some(n, 4, 5)] for n in (0, 1, 7, 20)]),
    "what NonZero finds": Case(
        [node("Relu", "x", "r"), node("NonZero", "r", "p"), node("Transpose", "p", "q"), node("GatherND", "x q", "y"),
         node("Exp", "y", "z"), node("ReduceSum", "z", "s", keepdims=0), node("Shape", "z", "n")],
        {"x": MATRIX}, {"y": (F, [None]), "s": (F, []), "p": (I, [2, None]), "n": (I, [1])},
        [[noise(4, 5) + shift] for shift in (-9, 0, 1, 9)]),
    "Compress along an axis": Case([node("Compress", "x c", "y", axis=1)], {"x": MATRIX, "c": (B, [5])}, {"y": (F, [4, None])},
                                   [[noise(4, 5), c] for c in ([1, 0, 1, 1, 0], [0] * 5, [1] * 5, [0, 0, 0, 0, 1])]),
    "Compress": Case([node("Compress", "x c", "y")], {"x": MATRIX, "c": (B, [7])}, {"y": (F, [None])},
                     [[noise(4, 5), c] for c in ([1, 0, 1, 1, 0, 1, 1], [0] * 7, [1] * 7)]),
    "Unique": Case([node("Unique", "x", "y i j c")], {"x": VECTOR}, PARTS, [[np.arange(9) * 5 % n] for n in (1, 3, 9)]),
    "Unique in order": Case([node("Unique", "x", "y i j c", sorted=0)], {"x": VECTOR}, PARTS, [[np.arange(9) * 5 % n] for n in (1, 3, 9)]),
    "Unique along an axis": Case([node("Unique", "x", "y i j c", axis=1)], {"x": (F, [3, 6])}, {**PARTS, "y": (F, [3, None])},
                                 [[np.arange(6) % n + np.zeros((3, 1))] for n in (1, 2, 6)]),
    "NonMaxSuppression": Case(
        [node("NonMaxSuppression", "b s m t u", "y")],
        {"b": (F, [1, 12, 4]), "s": (F, [1, 3, 12]), "m": (I, [1]), "t": (F, [1]), "u": (F, [1])}, {"y": (I, [None, 3])},
        [[boxes(12), SCORES, most, 0.3, least] for most, least in ((5, 0.1), (0, 0.1), (12, 0.0), (3, 0.97), (1, 2.0))]),
    "Range": Case([node("Range", "a b c", "y")], {"a": NUMBER, "b": NUMBER, "c": NUMBER}, {"y": (I, [None])},
                  [[0, 10, 3], [5, 5, 1], [10, 0, -3], [3, -1, 2], [0, 20, 1], [-7, -6, 5]], {"y": "0..20"}),
    "Range of floats": Case([node("Range", "a b c", "y")], {n: (F, []) for n in "abc"}, {"y": (F, [None])},
                            [[0, 1, 0.3], [5, 5, 1], [1, 0, -0.25], [0, 20, 1]], {"y": "0..20"}),
    "Range up to a bounded number": Case([node("Range", "a b c", "y")], {"b": NUMBER}, {"y": (I, [None])}, [[0], [7], [20]],
                                         {"b": "0..20"}, {"a": np.int64(0), "c": np.int64(2)}),
    "TopK": Case([node("TopK", "x k", "v i")], {"x": MATRIX, "k": (I, [1])}, {"v": (F, [4, None]), "i": (I, [4, None])},
                 [[noise(4, 5), k] for k in (1, 3, 5)]),
    "Slice": Case([node("Slice", "x s e a t", "y")], {"x": (F, [7, 9]), "s": (I, [2]), "e": (I, [2])}, {"y": (F, [None, None])},
                  [[noise(7, 9), s, e] for s, e in (([0, 8], [7, 0]), ([1, -1], [-1, -100]), ([3, 3], [3, 3]), ([-2, 100], [2 ** 62, 1]),
                                                    ([0, 0], [0, 8]), ([0, -1], [7, -2 ** 62]))],
                  constants={"a": [0, 1], "t": [2, -1]}),
    "Reshape": Case([node("Reshape", "x s", "y")], {"x": (F, [4, 6]), "s": (I, [2])}, {"y": (F, [None, None])},
                    [[noise(4, 6), s] for s in ([4, 6], [2, 12], [12, 2], [3, 8])], {"s": "1..12"}),
    "Reshape to what is left": Case([node("Reshape", "x s", "y")], {"x": (F, [4, 6]), "s": (I, [2])}, {"y": (F, [None, None])},
                                    [[noise(4, 6), s] for s in ([4, 6], [2, -1], [0, -1], [-1, 6])], {"y": ("2..4", "6..12")}),
    "Reshape to a vector": Case([node("Reshape", "x s", "y")], {"x": (F, [4, 6]), "s": (I, [1])}, {"y": (F, [None])},
                                [[noise(4, 6), s] for s in ([24], [-1])]),
    "Expand": Case([node("Expand", "x s", "y")], {"x": (F, [4, 1]), "s": (I, [3])}, {"y": (F, [None] * 3)},
                   [[noise(4, 1), s] for s in ([1, 4, 6], [5, 4, 1])], {"s": ("1..5", 4, "1..7")}),
    "Tile": Case([node("Tile", "x s", "y")], {"x": (F, [4, 2]), "s": (I, [2])}, {"y": (F, [None, None])},
                 [[noise(4, 2), s] for s in ([1, 4], [3, 1], [0, 2], [5, 5])], {"s": "0..5"}),
    "Pad": Case([node("Pad", "x s", "y")], {"x": (F, [4, 2]), "s": (I, [4])}, {"y": (F, [None, None])},
                [[noise(4, 2), s] for s in ([1, 4, 0, 2], [0] * 4, [5] * 4)], {"s": "0..5"}),
    "ConstantOfShape": Case([node("ConstantOfShape", "s", "c"), node("Add", "c b", "y")], {"s": (I, [2]), "b": (F, [1])},
                            {"y": (F, [None, None])}, [[s, [2.5]] for s in ([1, 4], [0, 2], [5, 5])], {"s": "0..5"}),
    "a computed number": Case([node("Mul", "a b", "k"), node("TopK", "x k", "v i"), node("Exp", "v", "y")],
                              {"x": MATRIX, "a": (I, [1]), "b": (I, [1])}, {"y": (F, [4, None]), "i": (I, [4, None])},
                              [[noise(4, 5), a, b] for a, b in ((1, 1), (2, 2), (5, 1))], {"k": "1..5"}),
    "a matrix product": Case([node("Compress", "x c", "r", axis=0), node("MatMul", "r w", "m"), node("Softmax", "m", "y", axis=-1)],
                             {"x": (F, [37, 24]), "c": (B, [37])}, {"y": (F, [None, 33])},
                             [[noise(37, 24), np.arange(37) % 37 < n] for n in (0, 1, 5, 6, 17, 37)], {}, {"w": noise(24, 33)}),
    "sizes of one another": Case(
        [node("NonZero", "x", "p"), node("Squeeze", "p a", "q"), node("Gather", "x q", "g"), node("Unique", "g", "u"),
         node("Concat", "u g", "y", axis=0)],
        {"x": VECTOR}, {"u": (F, [None]), "y": (F, [None])}, [[np.arange(9) * 5 % n] for n in (1, 2, 4, 9)], {}, {"a": [0]}),
}
HOSTILE = {
    "Range": [[0, 21, 1], [0, 10, 0], [-2 ** 63, 2 ** 62, 1], [0, 2 ** 62, 1]],
    "Range up to a bounded number": [[21], [-1], [2 ** 62], [-2 ** 63]],
    "Range of floats": [[0, 21, 1], [0, np.inf, 1]],
    "TopK": [[noise(4, 5), 6], [noise(4, 5), -1], [noise(4, 5), 2 ** 32 + 1]],
    "Reshape": [[noise(4, 6), s] for s in ([4, 5], [0, 0], [-1, 6], [2 ** 32 + 4, 6], [13, 2])],
    "Reshape to what is left": [[noise(4, 6), s] for s in ([5, -1], [1, 24], [-1, -1])],
    "Tile": [[noise(4, 2), s] for s in ([6, 1], [-1, 1])],
    "ConstantOfShape": [[s, [2.5]] for s in ([6, 0], [-1, 2])],
}


@cache
def graph_of(name):
    return load(CASES[name].model(), bind=CASES[name].bind)


@cache
def expected(name):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(CASES[name].model().SerializeToString(), options)
    return [dict(zip(CASES[name].outputs, session.run(None, feeds))) for feeds in CASES[name].feeds()]


def assert_same(found, wanted):
    assert list(found) == list(wanted)
    for name, array in wanted.items():
        assert found[name].shape == array.shape and found[name].dtype == array.dtype, (name, found[name].shape, array.shape)
        np.testing.assert_allclose(found[name], array, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", CASES)
def test_native(name):
    graph = graph_of(name)
    assert not verify(graph)
    artifact = compile(graph, workers=0)
    for feeds, wanted in zip(CASES[name].feeds(), expected(name)):
        assert_same(artifact.run(feeds), wanted)
        assert_same(interpret(graph, feeds), wanted)


@pytest.mark.parametrize("name", CASES)
def test_program(name):
    target = find("x86-64-v3")
    program = lower(optimise_graph(graph_of(name), target), target)
    text = print_program(program)
    again = parse_program(text, constants(program))
    assert print_program(again) == text
    for feeds, wanted in zip(CASES[name].feeds(), expected(name)):
        assert_same(run_program(again, feeds, arena=True), wanted)


@pytest.mark.parametrize("name", CASES)
def test_graph_text(name):
    text, arrays = print_graph(graph_of(name))
    assert print_graph(parse_graph(text, arrays))[0] == text


@pytest.mark.parametrize("name", ["what NonZero finds", "Slice", "Reshape to what is left", "NonMaxSuppression", "a matrix product"])
@pytest.mark.parametrize("machine", ["aarch64", "cortex-m4", "wasm32"])
def test_elsewhere(name, machine):
    target = find(machine)
    if missing := missing_tools(target):
        pytest.skip(f"{target.name}: {', '.join(missing)} not installed")
    artifact = compile(graph_of(name), target, workers=0)
    for found, wanted in zip(emulate(artifact, CASES[name].feeds()).outputs, expected(name)):
        assert_same(found, wanted)


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_sizes_are_refused(name):
    case, artifact = CASES[name], compile(graph_of(name), workers=0)
    feeds = Case(case.nodes, case.inputs, case.outputs, HOSTILE[name]).feeds()
    with Loaded(artifact.object, artifact.interface) as model:
        for each in feeds:
            with pytest.raises(Internal, match="returned -2: a dimension is out of range"):
                model.run(each)
            with pytest.raises(CompileError):
                interpret(graph_of(name), each)
        assert_same(model.run(case.feeds()[0]), expected(name)[0])  # a refused call leaves nothing behind


def test_sizes_are_members_of_the_outputs():
    interface = compile(graph_of("what NonZero finds"), workers=0).interface
    assert interface.dims == () and interface.sizes == (("p_count", 0, 20),)
    assert [port.shape for port in interface.outputs] == [("p_count",), (), (2, "p_count"), (1,)]


def test_every_bound_is_asked_for():
    with pytest.raises(CompileError, match="--bind names 'r', which is not an open dimension of an input, nor a size that data decides"):
        load(CASES["what NonZero finds"].model(), bind={"r": 4})


@pytest.mark.parametrize("name, hint", [("Range", "--bind y=0..100"), ("Reshape", "--bind s=1..8x1..8"), ("Tile", "--bind s=1..8")])
def test_what_has_no_bound_is_refused_with_a_way_to_give_one(name, hint):
    with pytest.raises(CompileError, match="is not known at compile time") as error:
        load(CASES[name].model())
    assert hint in error.value.hint and error.value.loc.op == name


def test_a_size_may_be_bounded_closer():
    case = CASES["NonZero"]
    artifact = edgec.compile(case.model(), bind={"y": "1..7"}, workers=0)
    assert artifact.interface.sizes == (("y_count", 1, 7),)
    assert_same(artifact.run(case.feeds()[2]), expected("NonZero")[2])
    for refused in (case.feeds()[0], case.feeds()[3]):
        with pytest.raises(Internal, match="a dimension is out of range"):
            artifact.run(refused)


def test_overlaps_take_memory_for_boxes_not_for_their_pairs():
    nodes = [node("NonMaxSuppression", "b s m t u", "y")]
    inputs = {"b": (F, [1, 300, 4]), "s": (F, [1, 1, 300]), "m": (I, [1]), "t": (F, [1]), "u": (F, [1])}
    scores = SCORES.reshape(-1)[np.arange(300) % 36].reshape(1, 1, 300)
    case = Case(nodes, inputs, {"y": (I, [None, 3])}, [[boxes(300), scores, 300, 0.5, 0.2]])
    graph = load(case.model())
    artifact = compile(graph, workers=0)
    assert artifact.interface.arena_bytes < 300 * 64
    assert_same(artifact.run(case.feeds()[0]), interpret(graph, case.feeds()[0]))
