"""ConstantOfShape, Range, EyeLike, OneHot, Trilu: onnxruntime, lowering, symbolic sizes, error messages."""

import math

import numpy as np
import onnx
import pytest
from hypothesis import given, settings, strategies as st

from edgec.errors import TypeMismatch, Unsupported
from edgec.evaluate import evaluate_op
from edgec.expr import dim, var
from edgec.graph import constant, graph_input, run_reference
from edgec.ops.generate import ConstantOfShape, EyeLike, OneHot, Range, Trilu
from edgec.ops.reshape import Shape, Size
from edgec.types import TensorType, f32, f64, i32, i64

N = var("n", 1, 8)


def value(name, *shape, dtype=f32):
    return graph_input(name, TensorType(dtype, shape))


def ints(*numbers):
    return constant(np.array(numbers, np.int64))


@pytest.mark.parametrize("fill", [None, np.array([7], np.int64), np.array([2.5], np.float32), np.array([True])])
@pytest.mark.parametrize("shape", [(2, 3), (), (0, 2)])
def test_constant_of_shape(onnxruntime_results, fill, shape):
    op = ConstantOfShape(ints(*shape), fill)
    wanted = np.array(shape, np.int64)
    tensor = None if fill is None else onnx.numpy_helper.from_array(fill)
    expected, = onnxruntime_results("ConstantOfShape", [wanted], {"value": tensor})
    for found in (run_reference(op, [wanted])[0], evaluate_op(op, [wanted])[0]):
        np.testing.assert_array_equal(found, expected)
        assert found.dtype == expected.dtype and op.output.shape == shape


def test_constant_of_a_symbolic_shape():
    op = ConstantOfShape(Shape(value("x", N, 3)).output, np.array([1], np.int64))
    assert op.output.type == TensorType(i64, (N, 3)) and op.output.elements is None
    assert ConstantOfShape(ints(2), np.array([4], np.int64)).output.elements == (4, 4)


@given(st.integers(-9, 9), st.integers(-9, 9), st.sampled_from([1, 2, 3, -1, -2, -3]),
       st.sampled_from([np.int32, np.int64, np.float32, np.float64]))
@settings(deadline=None, max_examples=40)
def test_range(check, start, limit, delta, dtype):
    check(Range, [np.array(v, dtype) for v in (start, limit, delta)], constants=(0, 1, 2))


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_range_of_fractions(check, dtype):
    result, = check(Range, [np.array(v, dtype) for v in (0.5, 3, 0.75)], constants=(0, 1, 2), oracle=dtype is np.float32)
    assert result.tolist() == [0.5, 1.25, 2.0, 2.75]


def test_range_to_a_symbol():
    op = Range(constant(np.array(0)), Size(value("x", N)).output, constant(np.array(1)))
    assert op.output.shape == (N,)
    arrays = [np.array(0), np.array(5), np.array(1)]
    assert run_reference(op, arrays)[0].tolist() == [0, 1, 2, 3, 4]
    assert Range(Size(value("x", N)).output, Size(value("y", dim(N + 3))).output, constant(np.array(2))).output.elements == (N, N + 2)


@pytest.mark.parametrize("shape", [(3, 3), (2, 4), (4, 2)])
@pytest.mark.parametrize("k", [0, 1, -2])
def test_eye_like(check, shape, k):
    check(EyeLike, [np.ones(shape, np.float32)], k=k)
    check(EyeLike, [np.ones(shape, np.int32)], k=k, dtype=int(onnx.TensorProto.DOUBLE))


@given(st.lists(st.integers(1, 3), max_size=3), st.integers(1, 5), st.integers(0, 99),
       st.sampled_from([np.int32, np.int64, np.float32]), st.data())
@settings(deadline=None, max_examples=30)
def test_one_hot(check, shape, depth, seed, dtype, draw):
    axis = draw.draw(st.integers(-len(shape) - 1, len(shape)))
    indices = np.random.default_rng(seed).integers(-depth, depth, shape).astype(dtype)
    check(OneHot, [indices, np.array(depth, np.int64), np.array([2, 5], np.float32)], constants=(1,), axis=axis,
          oracle=dtype is np.int64 and shape != [])  # onnxruntime has no scalar indices


def test_one_hot_out_of_range_is_all_off(check):
    result, = check(OneHot, [np.array([3, -4, 99]), np.array([3]), np.array([0, 1])], constants=(1,))
    assert not result.any()


@given(st.lists(st.integers(1, 4), min_size=2, max_size=3), st.integers(-3, 3), st.booleans(), st.booleans())
@settings(deadline=None, max_examples=30)
def test_trilu(check, shape, k, upper, is_constant):
    x = np.arange(1, 1 + math.prod(shape), dtype=np.float32).reshape(shape)
    check(Trilu, [x, np.array(k)], constants=(1,) if is_constant else (), upper=int(upper))


def test_trilu_without_a_diagonal(check):
    check(Trilu, [np.ones((3, 3), np.int64), None], opset=14)


def test_errors():
    with pytest.raises(TypeMismatch, match=r"shape \[2, -1\] has a negative size"):
        ConstantOfShape(ints(2, -1))
    with pytest.raises(TypeMismatch, match="value must be one element"):
        ConstantOfShape(ints(2), np.array([1, 2]))
    with pytest.raises(TypeMismatch, match="delta is 0"):
        Range(*(constant(np.array(v)) for v in (0, 1, 0)))
    with pytest.raises(TypeMismatch, match="element types differ: i64 and i32"):
        Range(constant(np.array(0)), constant(np.array(1, np.int32)), constant(np.array(1)))
    with pytest.raises(Unsupported, match="limit %l is not known"):
        Range(constant(np.array(0)), value("l", dtype=i64), constant(np.array(1)))
    with pytest.raises(TypeMismatch, match="needs a matrix"):
        EyeLike(value("x", 3))
    with pytest.raises(TypeMismatch, match=r"axis 3 is outside \[-3, 2\]"):
        OneHot(value("i", 2, 2, dtype=i64), constant(np.array(3)), value("v", 2), axis=3)
    with pytest.raises(TypeMismatch, match=r"values must be \(off, on\)"):
        OneHot(value("i", 2, dtype=i64), constant(np.array(3)), value("v", 3))
    with pytest.raises(TypeMismatch, match="has a negative size"):
        OneHot(value("i", 2, dtype=i64), constant(np.array(-1)), value("v", 2))
    with pytest.raises(TypeMismatch, match="needs matrices"):
        Trilu(value("x", 3, dtype=f64))
    with pytest.raises(TypeMismatch, match="k must be an i64 scalar"):
        Trilu(value("x", 3, 3), value("k", dtype=i32))
