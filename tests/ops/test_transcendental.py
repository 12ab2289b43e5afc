"""Transcendental functions, rounding and the classes of floats: reference against onnxruntime, lowering."""

import numpy as np
import pytest

from edgec.errors import TypeMismatch
from edgec.evaluate import evaluate_op
from edgec.graph import graph_input, run_reference
from edgec.ops.rounding import Ceil, Floor, IsInf, IsNaN, Round
from edgec.ops.transcendental import Acos, Acosh, Asin, Asinh, Atan, Atanh, Cos, Cosh, Erf, Exp, Log, Sin, Sinh, Tan, Tanh
from edgec.types import TensorType, bf16, dtype_of, f32, f64, i32

DOMAINS = {Exp: (-100, 88), Log: (1e-30, 1e30), Sin: (-100, 100), Cos: (-100, 100), Tan: (-1.5, 1.5), Asin: (-1, 1), Acos: (-1, 1),
           Atan: (-50, 50), Sinh: (-88, 88), Cosh: (-88, 88), Tanh: (-9, 9), Asinh: (-1e3, 1e3), Acosh: (1, 1e3), Atanh: (-0.999, 0.999),
           Erf: (-4, 4)}


def value(name, *shape, dtype=f32):
    return graph_input(name, TensorType(dtype, shape))


def samples(cls, dtype):
    """Evenly spaced over the domain, and evenly spaced in the exponent towards 0 (or 1, the edge of acosh and log)."""
    low, high = DOMAINS[cls]
    even = np.linspace(low, high, 4001)
    tiny = np.concatenate([sign * 2.0 ** np.linspace(-40, 0, 401) for sign in (-1, 1)])
    near = tiny + 1 if cls in (Acosh, Log) else tiny
    points = np.concatenate([even, near])
    return points[(points >= low) & (points <= high)].astype(dtype)


@pytest.mark.parametrize("cls", DOMAINS)
def test_reference_is_onnxruntime(check, cls):
    x = samples(cls, np.float32)
    x = x if cls is not Acosh else np.maximum(x, 1)
    check(cls, [x[::7]], terms=8)


@pytest.mark.parametrize("cls", DOMAINS)
@pytest.mark.parametrize("dtype", [f32, f64])
def test_lowering_names_the_function(cls, dtype):
    x = samples(cls, dtype.numpy)
    op = cls(value("x", x.size, dtype=dtype))
    found, expected = evaluate_op(op, [x])[0], run_reference(op, [x])[0]
    distance = np.abs(found.astype(np.float64) - expected) / np.spacing(np.abs(expected))
    assert np.max(distance) <= 1, (x[np.argmax(distance)], distance.max())


@pytest.mark.parametrize("cls", DOMAINS)
@pytest.mark.parametrize("dtype", [np.float16, bf16.numpy])
def test_16_bit_floats_compute_in_f32(cls, dtype):
    x = np.clip(samples(cls, np.float32)[::13], -9, 9).astype(dtype)
    op = cls(value("x", x.size, dtype=dtype_of(dtype)))
    found, expected = (r.astype(np.float64) for r in (evaluate_op(op, [x])[0], run_reference(op, [x])[0]))
    eps = 2.0 ** -10 if dtype is np.float16 else 2.0 ** -7
    np.testing.assert_allclose(found, expected, rtol=eps, atol=2.0 ** -24)


def test_erf_of_integers_truncates(check):
    result, = check(Erf, [np.array([-3, 0, 1, 50], np.int32)], oracle=False)
    assert result.tolist() == [0, 0, 0, 1]


@pytest.mark.parametrize("cls", [Floor, Ceil, Round])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
def test_rounding(check, cls, dtype):
    x = np.array([0.5, 1.5, 2.5, -0.5, -1.5, 2.4999, -2.6, 7, -7, 0, 1e4, np.inf], dtype)
    check(cls, [x], oracle=dtype is not np.float16)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
def test_classes(check, dtype):
    x = np.array([np.nan, np.inf, -np.inf, 0, 1], dtype)
    check(IsNaN, [x])
    for negative in (0, 1):
        for positive in (0, 1):
            check(IsInf, [x], detect_negative=negative, detect_positive=positive, oracle=dtype is not np.float16)


def test_errors():
    with pytest.raises(TypeMismatch, match="must be a float type, it is i32"):
        Exp(value("x", 2, dtype=i32))
