"""Reductions: reference against onnxruntime, lowering against reference, empty axes, element types, symbolic sizes, error messages."""

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from edgec.errors import TypeMismatch, Unsupported
from edgec.evaluate import evaluate_op
from edgec.expr import var
from edgec.graph import constant, graph_input, run_reference
from edgec.ops.reduction import (
    ReduceL1,
    ReduceL2,
    ReduceLogSum,
    ReduceLogSumExp,
    ReduceMax,
    ReduceMean,
    ReduceMin,
    ReduceProd,
    ReduceSum,
    ReduceSumSquare,
)
from edgec.types import TensorType, bf16, bool_, f32, i64

FAMILY = [ReduceSum, ReduceMean, ReduceMax, ReduceMin, ReduceProd, ReduceL1, ReduceL2, ReduceSumSquare, ReduceLogSum, ReduceLogSumExp]
N = var("n", 1, 8)


def value(name, *shape, dtype=f32):
    return graph_input(name, TensorType(dtype, shape))


def data(cls, shape, seed, dtype=np.float32):
    x = np.random.default_rng(seed).standard_normal(shape) * 2
    return (np.abs(x) + 0.5 if cls is ReduceLogSum else x).astype(dtype)


@pytest.mark.parametrize("cls", FAMILY)
@given(st.lists(st.integers(1, 4), max_size=4), st.integers(0, 99), st.integers(0, 1), st.integers(0, 1), st.data())
@settings(deadline=None, max_examples=20)
def test_family(check, cls, shape, seed, keepdims, noop, draw):
    axes = draw.draw(st.lists(st.integers(0, len(shape) - 1), unique=True)) if shape else []
    axes = [a - len(shape) if draw.draw(st.booleans()) else a for a in axes]
    x = data(cls, shape, seed)
    operand = np.array(axes, np.int64) if axes or draw.draw(st.booleans()) else None
    is_scalar = not shape or (not axes and noop)  # there onnxruntime skips the non-reducing steps, which ONNX asks for since opset 18
    check(cls, [x, operand], terms=64, magnitude=max(1.0, float(np.sum(x.astype(np.float64) ** 2)) if cls is not ReduceProd else 1e4),
          constants=(1,), oracle=not is_scalar, opset=22, keepdims=keepdims, noop_with_empty_axes=noop)


@pytest.mark.parametrize("cls", FAMILY)
@pytest.mark.parametrize("dtype", [np.float16, bf16.numpy, np.float64])
def test_other_float_types(check, cls, dtype):
    x = (data(cls, (3, 5), 1) / 2).astype(dtype)
    check(cls, [x, np.array([1])], terms=8, magnitude=20, constants=(1,), oracle=False)


@pytest.mark.parametrize("cls", FAMILY)
@pytest.mark.parametrize("dtype", [np.int32, np.int64, np.uint32, np.uint64])
def test_integers(check, cls, dtype):
    low = 0 if np.dtype(dtype).kind == "u" or cls is ReduceLogSum else -5
    x = np.random.default_rng(2).integers(low, 9, (4, 5)).astype(dtype)
    check(cls, [x, np.array([1])], constants=(1,), oracle=dtype is np.int32)


@pytest.mark.parametrize("cls", [ReduceMax, ReduceMin])
@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
def test_extremes_of_bytes(check, cls, dtype):
    check(cls, [np.random.default_rng(3).integers(0, 100, (3, 4)).astype(dtype), np.array([0])], constants=(1,))


@pytest.mark.parametrize("cls", [ReduceMax, ReduceMin])
def test_extremes_of_bool(check, cls):
    check(cls, [np.array([[True, False], [True, True], [False, False]]), np.array([1])], constants=(1,))


@pytest.mark.parametrize("cls, expected", [(ReduceSum, 0), (ReduceProd, 1), (ReduceMax, -np.inf), (ReduceMin, np.inf), (ReduceL1, 0),
                                           (ReduceL2, 0), (ReduceSumSquare, 0), (ReduceLogSum, -np.inf), (ReduceLogSumExp, -np.inf)])
def test_nothing_to_reduce(check, cls, expected):
    result, = check(cls, [np.zeros((2, 0), np.float32), np.array([1])], constants=(1,), oracle=False)
    assert result.tolist() == [[expected]] * 2


def test_the_mean_of_nothing_is_nan(check):
    result, = check(ReduceMean, [np.zeros((2, 0), np.float32), np.array([1])], constants=(1,), oracle=False)
    assert np.isnan(result).all()


def test_log_sum_exp_does_not_overflow(check):
    x = np.array([[1e4, 1e4], [-1e4, -1e4], [-np.inf, -np.inf], [np.inf, 0]], np.float32)
    check(ReduceLogSumExp, [x, np.array([1])], constants=(1,), oracle=False)


@pytest.mark.parametrize("cls", FAMILY)
def test_symbolic_axis(cls):
    op = cls(value("x", N, 3), constant(np.array([0])), keepdims=0)
    assert op.output.shape == (3,)
    for n in (1, 5, 8):
        arrays = [data(cls, (n, 3), n), np.array([0])]
        np.testing.assert_allclose(evaluate_op(op, arrays)[0], run_reference(op, arrays)[0], rtol=1e-5, atol=1e-6)


def test_sums_of_dimensions_fold():
    assert ReduceProd(constant(np.array([2, 3, 4])), keepdims=0).output.elements == (24,)


def test_errors():
    x = value("x", 2, 3)
    with pytest.raises(TypeMismatch, match=r"axis 2 is outside \[-2, 1\]"):
        ReduceSum(x, constant(np.array([2])))
    with pytest.raises(TypeMismatch, match="name one axis twice"):
        ReduceSum(x, constant(np.array([1, -1])))
    with pytest.raises(Unsupported, match="the axes %a is not known"):
        ReduceMean(x, value("a", 1, dtype=i64))
    with pytest.raises(TypeMismatch, match="the operand must be a number type, it is bool"):
        ReduceSum(value("x", 2, dtype=bool_))
