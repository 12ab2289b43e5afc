"""ArgMax and ArgMin: onnxruntime, lowering as a tuple reduction, ties, infinities, symbolic sizes, error messages."""

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from edgec.errors import TypeMismatch
from edgec.evaluate import evaluate_op
from edgec.expr import var
from edgec.graph import graph_input, run_reference
from edgec.ops.argmax import ArgMax, ArgMin
from edgec.types import TensorType, bf16, bool_, f32

FAMILY = pytest.mark.parametrize("cls", [ArgMax, ArgMin])


def value(name, *shape, dtype=f32):
    return graph_input(name, TensorType(dtype, shape))


@FAMILY
@given(st.lists(st.integers(1, 5), min_size=1, max_size=3), st.integers(0, 99), st.tuples(st.integers(0, 1), st.integers(0, 1)),
       st.sampled_from([np.float32, np.float64, np.int32, np.int8, np.uint8]), st.data())
@settings(deadline=None, max_examples=40)
def test_family(check, cls, shape, seed, flags, dtype, draw):
    x = np.random.default_rng(seed).integers(0, 4, shape).astype(dtype)  # few values: many ties
    axis = draw.draw(st.integers(-len(shape), len(shape) - 1))
    check(cls, [x], axis=axis, keepdims=flags[0], select_last_index=flags[1])


@FAMILY
@pytest.mark.parametrize("dtype", [np.float16, bf16.numpy, np.int64, np.uint32])
def test_other_types(check, cls, dtype):
    check(cls, [np.random.default_rng(0).integers(0, 9, (3, 7)).astype(dtype)], axis=1, oracle=False)


@FAMILY
@pytest.mark.parametrize("last", [0, 1])
@pytest.mark.parametrize("fill", [np.inf, -np.inf])
def test_rows_of_infinities(check, cls, last, fill):
    check(cls, [np.full((2, 5), fill, np.float32)], axis=1, select_last_index=last)


@FAMILY
def test_rows_of_nan_stay_in_range(cls):
    op = cls(value("x", 2, 5), axis=1)
    found = evaluate_op(op, [np.full((2, 5), np.nan, np.float32)])[0]
    assert ((found >= 0) & (found < 5)).all()


@FAMILY
def test_symbolic_axis(cls):
    op = cls(value("x", 2, var("n", 1, 8)), axis=1)
    for n in (1, 3, 8):
        x = np.random.default_rng(n).standard_normal((2, n)).astype(np.float32)
        np.testing.assert_array_equal(evaluate_op(op, [x])[0], run_reference(op, [x])[0])


@FAMILY
def test_errors(cls):
    with pytest.raises(TypeMismatch, match=r"axis 1 is outside \[-1, 0\]"):
        cls(value("x", 3), axis=1)
    with pytest.raises(TypeMismatch, match="axis 0 is empty"):
        cls(value("x", 0))
    with pytest.raises(TypeMismatch, match="a scalar has no axis"):
        cls(value("x"))
    with pytest.raises(TypeMismatch, match="must be a number type, it is bool"):
        cls(value("x", 3, dtype=bool_))
