"""Arithmetic operators: reference against onnxruntime, lowering against reference, edge cases of integers, error messages."""

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from edgec.errors import TypeMismatch
from edgec.evaluate import evaluate_op
from edgec.expr import var
from edgec.graph import graph_input, run_reference
from edgec.ops.arithmetic import Abs, Add, Clip, Div, Max, Mean, Min, Mod, Mul, Neg, Pow, Reciprocal, Sign, Sqrt, Sub, Sum
from edgec.types import TensorType, bf16, bool_, f32, i32, i64

INTEGERS = [np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32, np.uint64]


def numbers(shape, dtype, seed, low=-9, high=9):
    random = np.random.default_rng(seed)
    if np.dtype(dtype).kind in "iu":
        return random.integers(0 if np.dtype(dtype).kind == "u" else low, high + 1, shape).astype(dtype)
    return (random.standard_normal(shape) * 3).astype(dtype)


def value(name, *shape, dtype=f32):
    return graph_input(name, TensorType(dtype, shape))


@st.composite
def broadcasting(draw, count=2):
    """Shapes that broadcast: some axes of size 1, some leading axes left out."""
    full = draw(st.lists(st.integers(1, 4), max_size=4))
    shapes = []
    for _ in range(count):
        kept = draw(st.integers(0, len(full)))
        shapes.append(tuple(d if draw(st.booleans()) else 1 for d in full[kept:]))
    return shapes


@pytest.mark.parametrize("cls", [Add, Sub, Mul, Div])
@given(broadcasting(), st.integers(0, 99), st.sampled_from([np.float32, np.float64, np.int32, np.int64]))
@settings(deadline=None, max_examples=25)
def test_four_operations(check, cls, shapes, seed, dtype):
    a, b = numbers(shapes[0], dtype, seed), numbers(shapes[1], dtype, seed + 1)
    if cls is Div and np.dtype(dtype).kind == "i":
        b = np.where(b == 0, 1, b).astype(dtype)
    check(cls, [a, b])


@pytest.mark.parametrize("cls", [Add, Sub, Mul, Div, Max, Min])
@pytest.mark.parametrize("dtype", [np.float16, bf16.numpy, *INTEGERS])
def test_other_types(check, cls, dtype):
    check(cls, [numbers((3, 4), dtype, 1), numbers((4,), dtype, 2)], oracle=False)


@pytest.mark.parametrize("dtype", INTEGERS)
def test_integer_division_never_traps(check, dtype):
    info = np.iinfo(dtype)
    divisors = [0, 1, 3, info.max, 255 if info.min == 0 else -1]
    a, b = np.meshgrid(np.array([info.min, info.max, 0, 1, 7], dtype), np.array(divisors, dtype))
    quotient, = check(Div, [a, b], oracle=False)
    assert quotient[0].tolist() == a[0].tolist()
    check(Mod, [a, b], oracle=False)
    check(Mod, [a, b], oracle=False, fmod=1)


@pytest.mark.parametrize("fmod", [0, 1])
@given(broadcasting(), st.integers(0, 99), st.sampled_from([np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint32]))
@settings(deadline=None, max_examples=25)
def test_integer_remainders(check, fmod, shapes, seed, dtype):
    b = numbers(shapes[1], dtype, seed + 1)
    check(Mod, [numbers(shapes[0], dtype, seed, -100, 100), np.where(b == 0, 3, b).astype(dtype)], fmod=fmod, opset=13)


@given(st.integers(0, 99), st.sampled_from([np.float32, np.float64]))
@settings(deadline=None, max_examples=25)
def test_float_remainders(check, seed, dtype):
    check(Mod, [numbers((5, 4), dtype, seed), numbers((4,), dtype, seed + 1)], fmod=1, opset=13)
    check(Mod, [numbers((5, 4), dtype, seed), numbers((4,), dtype, seed + 1)], fmod=0, oracle=False)


@given(broadcasting(), st.integers(0, 99))
@settings(deadline=None, max_examples=25)
def test_float_powers(check, shapes, seed):
    base, exponent = np.abs(numbers(shapes[0], np.float32, seed)) + np.float32(0.1), numbers(shapes[1], np.float32, seed + 1) / 3
    check(Pow, [base.astype(np.float32), exponent.astype(np.float32)], terms=8)


@pytest.mark.parametrize("exponent", [0.0, 1.0, 2.0, 3.0, 4.0, -1.0, -2.0, 0.5, -0.5, 2.5])
def test_powers_by_a_constant(check, exponent):
    check(Pow, [np.abs(numbers((4, 5), np.float32, 3)) + np.float32(0.5), np.float32(exponent)], terms=8, constants=(1,))


@pytest.mark.parametrize("base", [np.int8, np.int32, np.int64, np.uint8])
@pytest.mark.parametrize("power", [np.int8, np.int32, np.int64, np.uint8, np.uint64])
def test_integer_powers_wrap_and_reciprocals_truncate(check, base, power):
    low = 0 if power in (np.uint8, np.uint64) else -3
    x, y = np.meshgrid(np.array([-3, -1, 0, 1, 2, 5]).astype(base), np.concatenate([np.arange(low, 12), [63, 64, 65, 100]]).astype(power))
    result, = check(Pow, [x, y], oracle=False)
    assert result[-low + 2, 5] == 25


def test_integer_powers_agree_with_onnxruntime(check):
    x, y = np.meshgrid(np.arange(-4, 5).astype(np.int32), np.arange(0, 6).astype(np.int32))
    check(Pow, [x, y])
    check(Pow, [x, np.array(3, np.int32)], constants=(1,))


def test_powers_of_mixed_types(check):
    x = np.arange(1, 7).astype(np.int32)
    check(Pow, [x, np.full(6, 1.5, np.float32)])
    check(Pow, [x.astype(np.float32), np.arange(6).astype(np.int64)], terms=8)


@pytest.mark.parametrize("cls", [Neg, Abs, Sign])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32, np.int64, np.int8])
def test_signs(check, cls, dtype):
    check(cls, [numbers((3, 5), dtype, 5)])


def test_magnitude_and_sign_of_unsigned(check):
    for cls in (Abs, Sign):
        check(cls, [np.array([0, 1, 255], np.uint8)])


@pytest.mark.parametrize("cls", [Sqrt, Reciprocal])
@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.float64])
def test_roots_and_reciprocals(check, cls, dtype):
    check(cls, [np.abs(numbers((4, 5), dtype, 2)) + dtype(0.1)], oracle=dtype is not np.float16)


@pytest.mark.parametrize("cls", [Min, Max, Sum, Mean])
@given(broadcasting(count=3), st.integers(0, 99), st.integers(1, 3))
@settings(deadline=None, max_examples=25)
def test_variadic(check, cls, shapes, seed, count):
    check(cls, [numbers(s, np.float32, seed + n) for n, s in enumerate(shapes[:count])], terms=3)


@pytest.mark.parametrize("cls", [Min, Max])
@pytest.mark.parametrize("dtype", [np.int32, np.int64, np.uint32, np.uint64])
def test_integer_extremes(check, cls, dtype):
    check(cls, [numbers((2, 3), dtype, n) for n in range(3)])


@pytest.mark.parametrize("low, high", [(None, None), (-1, None), (None, 2), (-1, 2), (2, -1)])
@pytest.mark.parametrize("dtype", [np.float32, np.int32, np.int8, np.uint8])
def test_clip(check, low, high, dtype):
    bounds = [None if b is None else np.array(max(b, 0) if dtype is np.uint8 else b, dtype) for b in (low, high)]
    check(Clip, [numbers((3, 4), dtype, 7), *bounds])


def test_clip_with_constant_bounds_of_one_element(check):
    check(Clip, [numbers((3, 4), np.float32, 7), np.array([-1], np.float32), np.array([1], np.float32)], constants=(1, 2), oracle=False)


def test_symbolic_shapes_broadcast():
    n = var("n", 1, 8)
    op = Add(value("a", n, 1, 4), value("b", 3, 1))
    assert op.output.shape == (n, 3, 4)
    arrays = [numbers((2, 1, 4), np.float32, 1), numbers((3, 1), np.float32, 2)]
    np.testing.assert_array_equal(evaluate_op(op, arrays)[0], run_reference(op, arrays)[0])


def test_shape_arithmetic_keeps_symbols():
    from edgec.graph import constant
    from edgec.ops.reshape import Shape
    n = var("n", 1, 8)
    size = Shape(value("x", n, 6)).output
    two = constant(np.array([2, 2]))
    assert Add(size, two).output.elements == (n + 2, 8)
    assert Mul(size, two).output.elements == (n * 2, 12)
    assert Sub(Mul(size, two).output, size).output.elements == (n, 6)
    assert Div(Mul(size, two).output, two).output.elements == (n, 6)
    assert Max((size, constant(np.array([1, 7])))).output.elements == (n, 7)
    assert Mod(Mul(size, two).output, two).output.elements == (0, 0)


def test_errors():
    with pytest.raises(TypeMismatch, match=r"shapes \[2, 3\] and \[4\] do not broadcast: sizes 3 and 4 at axis -1"):
        Add(value("a", 2, 3), value("b", 4))
    with pytest.raises(TypeMismatch, match="element types differ: f32 and i32"):
        Mul(value("a", 2), value("b", 2, dtype=i32))
    with pytest.raises(TypeMismatch, match="must be a float type, it is i64"):
        Sqrt(value("a", 2, dtype=i64))
    with pytest.raises(TypeMismatch, match="must be a number type, it is bool"):
        Add(value("a", 2, dtype=bool_), value("b", 2, dtype=bool_))
    with pytest.raises(TypeMismatch, match="needs at least one operand"):
        Sum(())
    with pytest.raises(TypeMismatch, match="a bound must be a scalar"):
        Clip(value("a", 2), value("b", 2))
    with pytest.raises(TypeMismatch, match="the bound has type i32, the operand f32"):
        Clip(value("a", 2), value("b", dtype=i32))
    with pytest.raises(TypeMismatch, match="sizes n and 3 at axis -1") as caught:
        Add(value("a", var("n", 1, 8)), value("b", 3))
    assert "give the symbolic dimension a fixed size" in str(caught.value)
