"""Activation functions: reference against onnxruntime, lowering against reference, extreme operands, error messages."""

import math

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from edgec.errors import TypeMismatch
from edgec.evaluate import evaluate_op
from edgec.graph import graph_input, run_reference
from edgec.ops.activation import (
    Celu,
    Elu,
    Gelu,
    HardSigmoid,
    HardSwish,
    LeakyRelu,
    Mish,
    PRelu,
    Relu,
    Selu,
    Shrink,
    Sigmoid,
    Softplus,
    Softsign,
    Swish,
    ThresholdedRelu,
)
from edgec.types import TensorType, bf16, f32, i32

CASES = [(Relu, {}), (LeakyRelu, {}), (LeakyRelu, {"alpha": 0.25}), (Elu, {}), (Elu, {"alpha": 2.0}), (Selu, {}),
         (Selu, {"alpha": 1.5, "gamma": 2.0}), (Celu, {}), (Celu, {"alpha": 0.5}),
         (ThresholdedRelu, {}), (ThresholdedRelu, {"alpha": 0.25}),
         (Sigmoid, {}), (HardSigmoid, {}), (HardSigmoid, {"alpha": 0.5, "beta": 0.25}), (HardSwish, {}), (Mish, {}), (Softplus, {}),
         (Softsign, {}), (Gelu, {}), (Gelu, {"approximate": "tanh"}), (Shrink, {}), (Shrink, {"bias": 0.5, "lambd": 1.5})]


def value(name, *shape, dtype=f32):
    return graph_input(name, TensorType(dtype, shape))


@pytest.mark.parametrize("cls, attributes", CASES)
@given(st.lists(st.integers(1, 5), max_size=3), st.integers(0, 99))
@settings(deadline=None, max_examples=10)
def test_activations(check, cls, attributes, shape, seed):
    check(cls, [(np.random.default_rng(seed).standard_normal(shape) * 4).astype(np.float32)], terms=8, **attributes)


@pytest.mark.parametrize("cls, attributes", [*CASES, (Swish, {}), (Swish, {"alpha": 1.5})])
@pytest.mark.parametrize("dtype", [np.float16, bf16.numpy, np.float64])
def test_other_float_types(check, cls, attributes, dtype):
    check(cls, [np.linspace(-6, 6, 97).astype(dtype)], terms=8, oracle=False, **attributes)


def test_swish_is_silu(check):
    x = np.linspace(-20, 20, 101).astype(np.float32)
    result, = check(Swish, [x], oracle=False)
    np.testing.assert_allclose(result, x / (1 + np.exp(-x.astype(np.float64))), rtol=1e-6)


@pytest.mark.parametrize("cls, attributes", [*CASES, (Swish, {})])
def test_large_operands_do_not_make_nan(cls, attributes):
    x = np.array([-3e4, -200, -90, 90, 200, 3e4], np.float32)
    op = cls(value("x", 6), **attributes)
    found, expected = evaluate_op(op, [x])[0], run_reference(op, [x])[0]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", [np.float16, bf16.numpy, np.float32, np.float64])
def test_gelu_far_from_zero(check, dtype):
    """The reference has the digits of the tail; the formula is as near as it documents."""
    x = np.linspace(-14, 14, 20001).astype(dtype)
    check(Gelu, [x], terms=8, oracle=False)
    tail, = check(Gelu, [np.linspace(-9, -6, 7).astype(dtype)], terms=8, oracle=False)
    exact = [0.5 * v * math.erfc(-v / math.sqrt(2)) for v in np.linspace(-9, -6, 7)]
    if dtype in (np.float32, np.float64):
        np.testing.assert_allclose(tail, exact, rtol=1e-6 if dtype is np.float32 else 1e-14)


@pytest.mark.parametrize("dtype", [np.int8, np.int32, np.int64])
def test_relu_of_integers(check, dtype):
    check(Relu, [np.arange(-4, 5).astype(dtype)], oracle=dtype is not np.int64)


def test_shrink_of_integers(check):
    check(Shrink, [np.arange(-9, 10).astype(np.int32)], bias=1.5, lambd=2.5, opset=9)


@given(st.sampled_from([((2, 3, 4), (3, 1)), ((2, 3), (1,)), ((5,), ()), ((2, 3), (2, 3))]), st.integers(0, 99))
@settings(deadline=None, max_examples=20)
def test_prelu(check, shapes, seed):
    random = np.random.default_rng(seed)
    check(PRelu, [random.standard_normal(s).astype(np.float32) for s in shapes])


def test_errors():
    with pytest.raises(TypeMismatch, match="approximate 'fast' is neither none nor tanh"):
        Gelu(value("x", 2), approximate="fast")
    with pytest.raises(TypeMismatch, match=r"the slope %?s?.*f32\[2,3\] does not broadcast to f32\[3\]"):
        PRelu(value("x", 3), value("s", 2, 3))
    with pytest.raises(TypeMismatch, match="must be a float type, it is i32"):
        Sigmoid(value("x", 2, dtype=i32))
