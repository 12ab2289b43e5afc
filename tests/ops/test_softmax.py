"""Softmax, LogSoftmax, Hardmax: reference against onnxruntime, lowering against reference, error messages."""

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from edgec.errors import TypeMismatch
from edgec.evaluate import evaluate_op
from edgec.expr import var
from edgec.graph import graph_input, run_reference
from edgec.ops.softmax import Hardmax, LogSoftmax, Softmax
from edgec.types import TensorType, bf16, f32, i32

FAMILY = pytest.mark.parametrize("cls", [Softmax, LogSoftmax, Hardmax])


def value(name, *shape, dtype=f32):
    return graph_input(name, TensorType(dtype, shape))


@FAMILY
@given(st.lists(st.integers(1, 6), min_size=1, max_size=4), st.integers(0, 99), st.data())
@settings(deadline=None, max_examples=25)
def test_family(check, cls, shape, seed, data):
    x = np.round(np.random.default_rng(seed).standard_normal(shape) * 4).astype(np.float32)
    check(cls, [x], terms=8, axis=data.draw(st.integers(-len(shape), len(shape) - 1)))


@FAMILY
def test_large_elements_do_not_overflow(check, cls):
    check(cls, [np.array([[1e4, 1e4, -1e4], [-3e38, 0.0, 3e38]], np.float32)], terms=8)


@FAMILY
@pytest.mark.parametrize("dtype", [np.float16, np.float64, bf16.numpy])
def test_other_float_types(check, cls, dtype):
    check(cls, [np.random.default_rng(0).standard_normal((3, 5)).astype(dtype)], terms=8, axis=0, oracle=False)


@FAMILY
def test_symbolic_rows(cls):
    op = cls(value("x", var("n", 1, 4), var("d", 1, 9)))
    x = np.random.default_rng(0).standard_normal((3, 7)).astype(np.float32)
    np.testing.assert_allclose(evaluate_op(op, [x])[0], run_reference(op, [x])[0], rtol=1e-6, atol=1e-6)


@FAMILY
def test_errors(cls):
    with pytest.raises(TypeMismatch, match="axis 2 is outside"):
        cls(value("x", 3, 4), axis=2)
    with pytest.raises(TypeMismatch, match="a float type is needed"):
        cls(value("x", 3, 4, dtype=i32))
