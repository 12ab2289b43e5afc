"""Cast and CastLike: every pair of types, saturation, symbols through shape arithmetic."""

import numpy as np
import onnx
import pytest

from edgec.errors import ModelError, Unsupported
from edgec.expr import var
from edgec.graph import constant, graph_input
from edgec.ops.cast import Cast, CastLike
from edgec.ops.reshape import Shape
from edgec.types import DTYPES, SMALL, TensorType, bf16, f32, i8, u8

TYPES = [t.numpy for n, t in DTYPES.items() if n != "index" and t not in SMALL]  # those are in test_small_types


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
    with pytest.raises(Unsupported, match="string"):
        Cast(x, to=8)


def test_types():
    x = graph_input("x", TensorType(f32, (2,)))
    assert CastLike(x, graph_input("t", TensorType(u8, (5,)))).output.type == TensorType(u8, (2,))
    assert Cast(x, to=3).output.type == TensorType(i8, (2,))
