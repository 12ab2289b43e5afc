"""CumSum and CumProd: onnxruntime, lowering, element types, error messages."""

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from edgec.errors import TypeMismatch, Unsupported
from edgec.evaluate import evaluate_op
from edgec.expr import var
from edgec.graph import constant, graph_input, run_reference
from edgec.ops.cumulative import CumProd, CumSum
from edgec.types import TensorType, bool_, f32, i64

FLAGS = st.tuples(st.integers(0, 1), st.integers(0, 1))


def value(name, *shape, dtype=f32):
    return graph_input(name, TensorType(dtype, shape))


@given(st.lists(st.integers(1, 5), min_size=1, max_size=3), FLAGS, st.integers(0, 99),
       st.sampled_from([np.float32, np.float64, np.int32, np.int64]), st.data())
@settings(deadline=None, max_examples=30)
def test_cumsum(check, shape, flags, seed, dtype, draw):
    axis = draw.draw(st.integers(-len(shape), len(shape) - 1))
    x = (np.random.default_rng(seed).standard_normal(shape) * 5).astype(dtype)
    check(CumSum, [x, np.array(axis)], terms=5, magnitude=30, constants=(1,), exclusive=flags[0], reverse=flags[1])


@pytest.mark.parametrize("exclusive", [0, 1])
@pytest.mark.parametrize("reverse", [0, 1])
@pytest.mark.parametrize("dtype", [np.float32, np.int32, np.float16])
def test_cumprod(check, exclusive, reverse, dtype):
    x = np.array([[1, 2, 3], [-1, 4, 2]], dtype)
    result, = check(CumProd, [x, np.array(1)], terms=3, constants=(1,), oracle=False, exclusive=exclusive, reverse=reverse)
    expected = {(0, 0): [1, 2, 6], (1, 0): [1, 1, 2], (0, 1): [6, 6, 3], (1, 1): [6, 3, 1]}[exclusive, reverse]
    assert result[0].tolist() == expected


def test_symbolic_axis():
    op = CumSum(value("x", var("n", 1, 8)), constant(np.array(0)))
    arrays = [np.arange(5, dtype=np.float32), np.array(0)]
    np.testing.assert_array_equal(evaluate_op(op, arrays)[0], run_reference(op, arrays)[0])


def test_errors():
    with pytest.raises(TypeMismatch, match=r"axis 2 is outside \[-1, 0\]"):
        CumSum(value("x", 3), constant(np.array(2)))
    with pytest.raises(TypeMismatch, match="needs numbers"):
        CumSum(value("x", 3, dtype=bool_), constant(np.array(0)))
    with pytest.raises(TypeMismatch, match="the axis must be one number"):
        CumSum(value("x", 3), constant(np.array([0, 0])))
    with pytest.raises(Unsupported, match="the axis %a is not known"):
        CumSum(value("x", 3), value("a", dtype=i64))
