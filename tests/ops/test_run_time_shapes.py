"""Shapes that only the run decides, in the forms that edgec builds from parts: native code, the interpreter, and numpy or onnxruntime."""
from functools import cache

import numpy as np
import onnx.parser
import onnxruntime
import pytest

import edgec
from edgec.backends.native import Loaded
from edgec.backends.target import find
from edgec.compiler import lower, optimise_graph
from edgec.errors import CompileError, Internal
from edgec.interpreter import interpret
from edgec.onnx.reader import load
from edgec.program_interpreter import run_program
from edgec.program_parser import parse_program
from edgec.program_text import constants, print_program

F = np.float32


def noise(*shape):
    return np.random.default_rng(0).standard_normal(shape).astype(F)


def calls(names, *values):
    """Inputs by name, call after call; whole numbers are i64."""
    def array(v):
        a = np.array(v)
        return a.astype(np.int64) if a.dtype.kind == "i" else a
    return [dict(zip(names.split(), map(array, row))) for row in values]


LOOP = """g (int64 m, bool c, float[4] x) => (float[4] y, float[n,4] z) {
  y, z = Loop(m, c, x) <body = b (int64 i, bool k, float[4] s) => (bool go, float[4] t, float[4] o) {
    one = Constant<value: tensor=float{1.0}>() t = Add(s, one) o = Mul(t, t)
    sum = ReduceSum<keepdims=0>(t) most = Constant<value: tensor=float{20.0}>() go = Less(sum, most) }> }"""
NESTED = """g (float[3,8] x) => (float[3] y, float z) { zero = Constant<value: tensor=float{0.0}>()
  z, y = Scan<num_scan_inputs=1, body = b (float s, float[8] r) => (float t, float o) {
    at = NonZero(r) places = Transpose(at) found = GatherND(r, places) e = Exp(found) o = ReduceSum<keepdims=0>(e) t = Add(s, o) }>(zero, x) }"""
IF = """g (bool c, float[10] x) => (float[n] y) {
  y = If(c) <then_branch = t () => (float[a] u) { s=Constant<value: tensor=int64[1]{0}>() e=Constant<value: tensor=int64[1]{4}>() v=Slice(x,s,e) u=Neg(v) },
             else_branch = e () => (float[b] w) { w = Exp(x) }> }"""
IF_OF_SIZES = """g (bool c, float[6] x) => (int64[1,n] y) {
  y = If(c) <then_branch = t () => (int64[1,a] u) { u = NonZero(x) },
             else_branch = e () => (int64[1,b] w) { w = Constant<value: tensor=int64[1,2]{7,9}>() }> }"""
ONE_HOT = "g (int64[3] x, int64 d) => (float[3,n] y) { v = Constant<value: tensor=float[2]{0.0,1.0}>() y = OneHot(x, d, v) }"
PAD = 'g (float[4,5] x, int64[4] s) => (float[h,w] y) { y = Pad<mode="%s">(x, s) }'
RESIZE = 'g (float[1,2,4,6] x, int64[4] s) => (float[1,2,h,w] y) { y = Resize<mode="%s", coordinate_transformation_mode="%s">(x, , , s) }'
SCALE = 'g (float[1,2,4,6] x, float[4] s) => (float[1,2,h,w] y) { y = Resize<mode="%s">(x, , s) }'
PADS = ([0, 0, 0, 0], [3, 3, 3, 3], [0, 1, 2, 3])
X = noise(4, 5)
IMAGE, SIZES = noise(1, 2, 4, 6), ([1, 2, 4, 6], [1, 2, 1, 1], [1, 2, 8, 12], [1, 2, 5, 7], [1, 2, 16, 16])
CASES = {
    "Loop until its condition fails": (LOOP, {"z": "0..9"}, calls("m c x", *[(m, True, np.zeros(4, F)) for m in (0, 1, 3, 9)], (7, False, np.zeros(4, F)))),
    "Loop of a bounded trip count": (LOOP, {"m": "0..9"}, calls("m c x", *[(m, True, np.zeros(4, F)) for m in (0, 1, 9)])),
    "a size inside of a Scan": (NESTED, {}, [{"x": np.round(noise(3, 8))}, {"x": np.zeros((3, 8), F)}, {"x": np.ones((3, 8), F)}]),
    "If of two sizes": (IF, {}, calls("c x", (True, noise(10)), (False, noise(10)))),
    "If of a computed size": (IF_OF_SIZES, {}, calls("c x", (True, np.ones(6, F)), (True, np.zeros(6, F)), (False, np.ones(6, F)))),
    "Split": ("g (float[10] x, int64[3] s) => (float[a] p, float[b] q, float[c] r) { p, q, r = Split<axis=0>(x, s) }", {},
              calls("x s", (noise(10), [2, 3, 5]), (noise(10), [0, 0, 10]), (noise(10), [10, 0, 0]))),
    "Split along the last axis": ("g (float[4,5] x, int64[2] s) => (float[4,a] p, float[4,b] q) { p, q = Split<axis=-1>(x, s) }", {"s": "0..5"},
                                  calls("x s", (X, [2, 3]), (X, [0, 5]), (X, [5, 0]))),
    "OneHot": (ONE_HOT, {"d": "1..6"}, calls("x d", ([0, 1, 5], 6), ([0, 1, 5], 2), ([-1, 1, 5], 1))),
    **{f"Pad {mode}": (PAD % mode, {"s": "0..3"}, calls("x s", *[(X, p) for p in PADS])) for mode in ("edge", "reflect", "wrap", "constant")},
    "Slice of any axis": ("g (float[4,5] x, int64[1] a, int64[1] b, int64[1] k) => (float[n,m] y) { y = Slice(x, a, b, k) }", {},
                          calls("x a b k", (X, [0], [3], [1]), (X, [-3], [-1], [0]), (X, [2], [2], [-1]), (X, [0], [100], [-2]))),
    "Slice by any step": ("g (float[8] x, int64[1] a, int64[1] b, int64[1] s) => (float[n] y) {"
                          " k=Constant<value: tensor=int64[1]{0}>() y = Slice(x, a, b, k, s) }", {},
                          calls("x a b s", *[(noise(8), [a], [b], [s]) for a, b, s in ((0, 8, 2), (7, -100, -3), (1, 5, 1), (2, 2, 1), (-1, 0, -1))])),
    "Expand": ("g (float[1,5] x, int64[2] s) => (float[n,m] y) { y = Expand(x, s) }", {"s": "1..5"},
               calls("x s", *[(noise(1, 5), s) for s in ([1, 1], [5, 5], [4, 1])])),
    "Expand of an open dimension": ("g (float[N,5] x, int64[2] s) => (float[n,m] y) { y = Expand(x, s) }", {"N": "1..4", "s": ("1..4", 5)},
                                    calls("x s", *[(noise(n, 5), [m, 5]) for n, m in ((1, 1), (1, 4), (4, 1), (4, 4))])),
    "Expand, bounded by its result": ("g (float[1,5] x, int64[3] s) => (float[k,n,m] y) { y = Expand(x, s) }", {"y": ("0..2", "0..4", 5)},
                                      calls("x s", *[(noise(1, 5), s) for s in ([1, 1, 1], [2, 4, 5], [0, 3, 1])])),
    "Reshape to what is left of a range": ("g (float[N,8] x) => (float[n,m] y) { s=Constant<value: tensor=int64[2]{-1,3}>() y = Reshape(x, s) }",
                                           {"N": "1..6"}, [{"x": noise(n, 8)} for n in (3, 6)]),
    "Reshape of a range": ("g (float[N,8] x) => (float[n,m] y) { s=Constant<value: tensor=int64[2]{4,6}>() y = Reshape(x, s) }",
                           {"N": "1..6"}, [{"x": noise(3, 8)}]),
    "Squeeze of an open dimension": ("g (float[N,8] x) => (float[m] y) { a=Constant<value: tensor=int64[1]{0}>() y = Squeeze(x, a) }",
                                     {"N": "1..6"}, [{"x": noise(1, 8)}]),
    **{f"Resize {mode}, {how}": (RESIZE % (mode, how), {"s": (1, 2, "1..16", "1..16")}, calls("x s", *[(IMAGE, s) for s in SIZES]))
       for mode, how in (("nearest", "asymmetric"), ("nearest", "half_pixel"), ("linear", "half_pixel"), ("linear", "align_corners"),
                         ("cubic", "pytorch_half_pixel"))},
    **{f"Resize by scales, {mode}": (SCALE % mode, {"y": (1, 2, "1..16", "1..16")},
                                     [{"x": IMAGE, "s": F([1, 1, *s])} for s in ((1, 1), (0.5, 0.5), (2, 2.5), (4, 1.25))])
       for mode in ("nearest", "linear", "cubic")},
    "Resize of a range to fixed sizes": ('g (float[1,2,H,6] x) => (float[1,2,5,7] y) { s=Constant<value: tensor=int64[4]{1,2,5,7}>()'
                                         ' y = Resize<mode="linear">(x, , , s) }', {"H": "1..9"}, [{"x": noise(1, 2, n, 6)} for n in (1, 4, 9)]),
}
HOSTILE = {
    "Loop until its condition fails": calls("m c x", (100, True, np.full(4, -100, F))),
    "Split": calls("x s", (noise(10), [2, 3, 4]), (noise(10), [-1, 1, 10]), (noise(10), [2 ** 62, 2 ** 62, -2 ** 63 + 10])),
    "Split along the last axis": calls("x s", (X, [3, 3]), (X, [6, -1])),
    "OneHot": calls("x d", ([0, 1, 5], 7), ([0, 1, 5], 0), ([0, 1, 5], -1)),
    "Pad reflect": calls("x s", (X, [4, 0, 0, 0]), (X, [-1, 0, 0, 0])),
    "Slice of any axis": calls("x a b k", (X, [0], [3], [2]), (X, [0], [3], [-3])),
    "Slice by any step": calls("x a b s", (noise(8), [0], [8], [0])),
    "Expand": calls("x s", (noise(1, 5), [1, 3]), (noise(1, 5), [6, 1])),
    "Expand of an open dimension": calls("x s", (noise(3, 5), [2, 5])),
    "Reshape to what is left of a range": [{"x": noise(4, 8)}],
    "Reshape of a range": [{"x": noise(2, 8)}],
    "Squeeze of an open dimension": [{"x": noise(2, 8)}],
    "Resize linear, half_pixel": calls("x s", (IMAGE, [1, 2, 17, 3]), (IMAGE, [1, 2, 0, 3]), (IMAGE, [2, 2, 3, 3])),
    "Resize by scales, cubic": [{"x": IMAGE, "s": F([1, 1, 5, 1])}, {"x": IMAGE, "s": F([1, 1, -1, 1])}],
}


def model_of(name):
    return onnx.parser.parse_model('<ir_version: 9, opset_import: ["": 19]> ' + CASES[name][0])


@cache
def graph_of(name):
    return load(model_of(name), bind=CASES[name][1])


@cache
def artifact_of(name):
    return edgec.compile(graph_of(name), workers=0)


def peer(name):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(model_of(name).SerializeToString(), options)


def assert_same(found, wanted):
    for name, array in wanted.items():
        assert found[name].shape == array.shape and found[name].dtype == array.dtype, (name, found[name].shape, array.shape)
        np.testing.assert_allclose(found[name], array, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", CASES)
def test_native(name):
    graph, session = graph_of(name), peer(name)
    with Loaded(artifact_of(name).object, artifact_of(name).interface) as model:
        for feeds in CASES[name][2]:
            wanted = dict(zip(graph.output_names, session.run(None, feeds)))
            assert_same(interpret(graph, feeds), wanted)
            assert_same(model.run(feeds), wanted)


@pytest.mark.parametrize("name", ["Loop until its condition fails", "a size inside of a Scan", "If of a computed size", "Split"])
def test_program(name):
    target = find("x86-64-v3")
    program = lower(optimise_graph(graph_of(name), target), target)
    again = parse_program(print_program(program), constants(program))
    assert print_program(again) == print_program(program)
    for feeds in CASES[name][2]:
        assert_same(run_program(again, feeds, arena=True), interpret(graph_of(name), feeds))


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_sizes_are_refused(name):
    with Loaded(artifact_of(name).object, artifact_of(name).interface) as model:
        for feeds in HOSTILE[name]:
            with pytest.raises(Internal, match="returned -2: a dimension is out of range"):
                model.run(feeds)
            with pytest.raises(CompileError):
                interpret(graph_of(name), feeds)
        feeds = CASES[name][2][0]
        assert_same(model.run(feeds), interpret(graph_of(name), feeds))  # a refused call leaves nothing behind


@pytest.mark.parametrize("text, hint", [
    (LOOP, "--bind z=0..100"), (SCALE % "linear", "--bind y=1x2x1..64x1..64"), (PAD % "edge", "--bind s=1..8"),
    ("g (string[3] x) => (string[3,n] y, int64[3] z) { y, z = StringSplit(x) }", "--bind y=0..8")])
def test_what_has_no_bound_says_how_to_give_one(text, hint):
    with pytest.raises(CompileError) as error:
        load(onnx.parser.parse_model('<ir_version: 9, opset_import: ["": 20]> ' + text))
    assert hint in error.value.hint and error.value.loc.op


TEXTS = {
    "pieces": ("g (string[3] x) => (string[3,n] y, int64[3] z) { y, z = StringSplit(x) }", {"y": "0..3"},
               [["a b", "c", "d e f"], ["ab", "c", ""], ["", "", ""]], [["a b c d", "", ""]]),
    "pieces between commas": ('g (string[2] x) => (string[2,n] y, int64[2] z) { y, z = StringSplit<delimiter=",">(x) }', {"y": "1..3"},
                              [["a,b", ",c,"], ["", "x"]], [["a,b,c,d", ""]]),
    "words that stay": ('g (string[3] x) => (string[n] y) { y = StringNormalizer<stopwords=["a","b"], case_change_action="UPPER">(x) }', {},
                        [["a", "c", "B"], ["a", "A", "b"], ["x", "y", "z"]], []),
    "words of one row": ('g (string[1,3] x) => (string[1,n] y) { y = StringNormalizer<stopwords=["a"], is_case_sensitive=1>(x) }', {},
                         [[["a", "A", "b"]], [["a", "a", "a"]]], []),
}


@pytest.mark.parametrize("name", TEXTS)
def test_texts(name):
    text, bind, inputs, hostile = TEXTS[name]
    graph = load(onnx.parser.parse_model('<ir_version: 9, opset_import: ["": 20]> ' + text), bind=bind)
    artifact = edgec.compile(graph, workers=0)
    for words in inputs:
        feeds = {"x": np.array(words, object)}
        wanted, found = interpret(graph, feeds), artifact.run(feeds)
        assert all(found[n].shape == a.shape and (found[n] == a).all() for n, a in wanted.items()), (found, wanted)
    for words in hostile:
        with pytest.raises(Internal, match="a dimension is out of range"):
            artifact.run({"x": np.array(words, object)})
