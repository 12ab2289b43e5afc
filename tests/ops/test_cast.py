"""Cast and CastLike: every pair of types, saturation, symbols through shape arithmetic."""

import numpy as np
import onnx
import pytest

from edgec.cli.runs import run_compiled
from edgec.errors import ModelError, Unsupported
from edgec.expr import var
from edgec.graph import Graph, constant, graph_input, run_reference
from edgec.ops.cast import Cast, CastLike
from edgec.ops.reshape import Shape
from edgec.types import DTYPES, SMALL, TensorType, bf16, f32, i8, index, string, u8

TYPES = [t.numpy for t in DTYPES.values() if t not in (index, string, *SMALL)]  # small types are in test_small_types, text is below


def code(dtype):
    return onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))


@pytest.mark.parametrize("target", TYPES, ids=str)
@pytest.mark.parametrize("source", TYPES, ids=str)
def test_every_pair(check, source, target):
    x = np.array([0, 1, 2, 3, 17, 100]) if np.dtype(source) != np.bool_ else np.array([False, True])
    check(Cast, [x.astype(source)], to=code(target), oracle=bf16.numpy not in (source, target))  # onnxruntime has no numpy bf16
    check(CastLike, [x.astype(source), np.zeros(1, target)], oracle=False)


@pytest.mark.parametrize("target", [np.int8, np.int32, np.int64, np.uint8, np.uint16, np.uint64])
@pytest.mark.parametrize("source", [np.float32, np.float64, np.float16, bf16.numpy])
def test_floats_truncate_and_saturate(check, source, target):
    x = np.array([1.75, -1.75, 0.5, -0.5, 300, -300, 6e4, np.nan, np.inf, -np.inf]).astype(source)
    result, = check(Cast, [x], to=code(target), oracle=False)
    info = np.iinfo(target)
    assert result[:4].tolist() == [1, max(-1, info.min), 0, 0]
    assert result[-3:].tolist() == [0, info.max, info.min]


def test_integers_wrap(check):
    check(Cast, [np.array([300, -1, 127, 128, -129], np.int32)], to=code(np.int8))
    check(Cast, [np.array([300, -1, 2 ** 40 + 5], np.int64)], to=code(np.uint8))
    check(Cast, [np.array([2 ** 53 + 1, -2 ** 62 - 1], np.int64)], to=code(np.float32))


def test_symbols_pass_casts_of_wide_integers():
    n = var("n", 1, 8)
    shape = Shape(graph_input("x", TensorType(f32, (n, 3)))).output
    assert Cast(shape, to=6).output.elements == (n, 3)
    assert Cast(shape, to=3).output.elements is None


def test_numbers_pass_through_floats():
    scaled = Cast(constant(np.array([3, 5])), to=1).output
    assert scaled.elements == (3.0, 5.0)
    assert Cast(scaled, to=7).output.elements == (3, 5)


def test_errors():
    x = graph_input("x", TensorType(f32, (2,)))
    with pytest.raises(ModelError, match="element type number 99"):
        Cast(x, to=99)
    text = graph_input("text", TensorType(string, (2,)))
    for made in (lambda: Cast(x, to=8), lambda: CastLike(x, text)):
        with pytest.raises(Unsupported, match="cannot write f32 as strings"):
            made()


def test_text_stays_text():
    text = graph_input("text", TensorType(string, (2,)))
    words = np.array(["1.50", "é"], object)
    for op, operands in ((Cast(text, to=8), [words]), (CastLike(text, text), [words, words])):
        assert run_reference(op, operands)[0].tolist() == words.tolist()
    graph = Graph((text,), (Cast(text, to=8).output,), ("y",))
    assert run_compiled(graph, {"text": words}, optimize="0", workers=0)["y"].tolist() == words.tolist()


def test_types():
    x = graph_input("x", TensorType(f32, (2,)))
    assert CastLike(x, graph_input("t", TensorType(u8, (5,)))).output.type == TensorType(u8, (2,))
    assert Cast(x, to=3).output.type == TensorType(i8, (2,))
