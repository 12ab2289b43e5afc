"""Several fixed shapes in one object: every one computes what it computes alone, the choice goes by the call, what fits none is refused."""

import subprocess

import numpy as np
import onnx.parser
import pytest
from hypothesis import given, settings, strategies as st

from edgec.backends.emulate import emulate, missing_tools
from edgec.backends.interface import BAD_DIMENSION
from edgec.backends.native import Loaded
from edgec.backends.target import find
from edgec.cli import main
from edgec.compiler import compile
from edgec.errors import ModelError, TypeMismatch, Unsupported
from edgec.graph_text import parse_graph
from edgec.interpreter import interpret
from edgec.onnx.reader import load
from edgec.several_shapes import merged, one_by_one

DIGITS = "testdata/digits/digits_dyn.onnx"
SHAPES = {"image": [(1, 1, 8, 8), (4, 1, 8, 8), (7, 1, 8, 8)]}
WEIGHTS = {"w": np.random.default_rng(0).standard_normal((6, 3, 3, 3), np.float32)}


def image(n):
    return np.random.default_rng(n).standard_normal((n, 1, 8, 8)).astype(np.float32)


def window(rows, columns, stride=2):
    """A convolution over a picture of some size."""
    out = [(extent + 2 - 3) // stride + 1 for extent in (rows, columns)]
    return parse_graph(f"graph g(%x: f32[1,3,{rows},{columns}], %k: f32[2]) -> (%y, %l) {{\n  @w: f32[6,3,3,3]\n"
                       f"  %y = Conv(%x, @w) pads=[1,1,1,1] strides=[{stride},{stride}] : f32[1,6,{out[0]},{out[1]}]\n"
                       "  %l = Relu(%k) : f32[2]\n}\n", WEIGHTS)


@pytest.fixture(scope="module")
def digits():
    return compile(DIGITS, shapes=SHAPES)


def test_every_shape_computes_what_it_computes_alone(digits):
    for n in (4, 1, 7, 1):
        alone = compile(DIGITS, shapes={"image": (n, 1, 8, 8)}).run({"image": image(n)})
        for name, array in digits.run({"image": image(n)}).items():
            assert array.tobytes() == alone[name].tobytes() and array.shape == alone[name].shape


def test_weights_are_stored_once():
    both = compile(DIGITS, shapes={"image": SHAPES["image"][:2]}, winograd=False)
    four = compile(DIGITS, shapes={"image": (4, 1, 8, 8)}, winograd=False)
    assert both.manifest["constant_bytes"] < 1.5 * four.manifest["constant_bytes"]


def test_other_shapes_are_refused(digits):
    with pytest.raises(TypeMismatch, match="no code for these shapes") as error:
        digits.run({"image": image(2)})
    assert "image_0 = 1; image_0 = 4; image_0 = 7" in str(error.value)
    with Loaded(digits.object, digits.interface) as model:
        model.run({"image": image(4)})
        offset, = model._layout.dims
        model._context[offset:offset + 4] = np.int32(3).tobytes()
        assert model.call() == BAD_DIMENSION
    assert "in.image_0 is one of (1), (4), (7)" in digits.header


@pytest.mark.parametrize("target", ["aarch64", "cortex-m4", "wasm32"])
def test_shapes_of_other_machines(target):
    if missing_tools(find(target)):
        pytest.skip(f"{', '.join(missing_tools(find(target)))} not installed")
    artifact = compile(DIGITS, target, shapes={"image": SHAPES["image"][:2]})
    found = emulate(artifact, [{"image": image(n)} for n in (4, 1)]).outputs
    for n, outputs in zip((4, 1), found):
        expected = interpret(load(DIGITS, {"image": (n, 1, 8, 8)}), {"image": image(n)})
        for name, array in expected.items():
            np.testing.assert_allclose(outputs[name], array, atol=1e-5)


@settings(max_examples=8, deadline=None)
@given(st.lists(st.tuples(st.integers(3, 20), st.integers(3, 20)), min_size=2, max_size=2, unique=True), st.sampled_from([1, 2]))
def test_sizes_that_follow_from_others(sizes, stride):
    graphs = [window(*each, stride) for each in sizes]
    artifact = compile(graphs, workers=0, optimize="1")
    for graph, (rows, columns) in zip(graphs, sizes):
        arrays = {"x": np.ones((1, 3, rows, columns), np.float32), "k": np.float32([1, -1])}
        expected, found = interpret(graph, arrays), artifact.run(arrays)
        for name in expected:
            np.testing.assert_allclose(found[name], expected[name], rtol=1e-4, atol=1e-4)


def test_the_c_header_compiles(digits, tmp_path):
    (tmp_path / "digits_dyn.h").write_text(digits.header)
    (tmp_path / "a.c").write_text('#include "digits_dyn.h"\nint n[] = DIGITS_DYN_OUT_PROBABILITIES_SHAPE(4);\n')
    subprocess.run(["gcc", "-Wall", "-Werror", "-c", "a.c"], cwd=tmp_path, check=True)


def test_shapes_go_together_by_number():
    pair = {"a": [(1, 2), (3, 4)], "b": (5,), "c": [(6,), (7,)]}
    assert one_by_one(pair) == [{"a": (1, 2), "b": (5,), "c": (6,)}, {"a": (3, 4), "b": (5,), "c": (7,)}]
    assert one_by_one(None) == [{}]
    with pytest.raises(ModelError, match="do not have equally many shapes: 2 of 'a', 3 of 'b'"):
        one_by_one({"a": [(1,), (2,)], "b": [(1,), (2,), (3,)]})
    with pytest.raises(ModelError, match="range cannot be one of several shapes"):
        one_by_one({"a": [("1..8",), (2,)]})


def test_what_cannot_be_one_object_says_why(digits):
    with pytest.raises(ModelError, match="two of the shapes are the same"):
        compile(DIGITS, shapes={"image": [(1, 1, 8, 8), (1, 1, 8, 8)]})
    with pytest.raises(Unsupported, match="several shapes and several levels"):
        compile(DIGITS, "x86-64", shapes=SHAPES, multiversion=True)
    sized = onnx.parser.parse_model('<ir_version: 9, opset_import: ["": 18]> g (float[N] x) => (int64[1,M] y) { y = NonZero(x) }')
    with pytest.raises(Unsupported, match=r"several shapes of a model with sizes that the model computes \(\w+\)") as error:
        compile(sized, shapes={"x": [(3,), (5,)]}, workers=0)
    assert "an object for each shape, or one for a range: --shape INPUT=1..8x3" in str(error.value)
    assert compile(sized, shapes={"x": ("1..5",)}, workers=0).interface.sizes
    crooked = [compile([window(rows, 8, 2)]).interface for rows in (4, 5, 6)]
    with pytest.raises(Unsupported, match="output y, axis 2: 2, 3, 3 are no linear function"):
        merged(crooked)


def test_the_command_line(tmp_path, capsys):
    assert main(["compile", DIGITS, "--shape", "image=1x1x8x8,4x1x8x8", "--no-cache", "-o", str(tmp_path)]) == 0
    assert "in.image_0 is one of (1), (4)" in (tmp_path / "digits_dyn.h").read_text()
    assert main(["compile", DIGITS, "--shape", "image=1x1x8x8,4x1x8x8", "--emit", "graph", "-o", str(tmp_path)]) == 1
    assert main(["profile", DIGITS, "--shape", "image=1x1x8x8,4x1x8x8"]) == 1
    assert "several shapes of one input are for `edgec compile`" in capsys.readouterr().err


RUNNING = """<ir_version: 9, opset_import: ["": 18]> g (float[N,3] x, float[3] past) => (float[N,3] y, float[3] next) {
  zero = Constant<value: tensor=int64[1]{0}>()  sum = ReduceSum<keepdims=0>(x, zero)  next = Add(sum, past)  y = Mul(x, next) }"""


def test_shapes_share_their_state():
    model = onnx.parser.parse_model(RUNNING)
    artifact = compile(model, shapes={"x": [(1, 3), (4, 3)]}, state={"past": "next"}, workers=0)
    samples = [{"x": np.full((n, 3), n, np.float32)} for n in (1, 4, 1)]
    past = np.zeros(3, np.float32)
    for sample, found in zip(samples, artifact.run_steps(samples)):
        wanted = interpret(load(model, bind={"N": len(sample["x"])}), sample | {"past": past})
        past = wanted["next"]
        np.testing.assert_array_equal(found["y"], wanted["y"])
        np.testing.assert_array_equal(found["next"], past)


def test_states_of_several_shapes_are_refused():
    text = RUNNING.replace("Add(sum, past)", "Add(x, past)")
    for name in ("past", "next"):
        text = text.replace(f"float[3] {name}", f"float[N,3] {name}")
    with pytest.raises(Unsupported, match="state is not the same for all of them"):
        compile(onnx.parser.parse_model(text), shapes={"x": [(1, 3), (4, 3)], "past": [(1, 3), (4, 3)]}, state={"past": "next"}, workers=0)
