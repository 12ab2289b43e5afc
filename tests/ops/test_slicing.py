"""Slice and Pad: onnxruntime, lowering, symbolic bounds, error messages."""

import math

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from edgec.errors import TypeMismatch, Unsupported
from edgec.evaluate import evaluate_op
from edgec.expr import dim, var
from edgec.graph import constant, graph_input, run_reference
from edgec.ops.arithmetic import Div, Sub
from edgec.ops.reshape import Shape
from edgec.ops.slicing import Pad, Slice
from edgec.types import TensorType, f32, i32, i64

N = var("n", 1, 8)
HUGE = np.iinfo(np.int64).max


def value(name, *shape, dtype=f32):
    return graph_input(name, TensorType(dtype, shape))


def ints(*numbers):
    return constant(np.array(numbers, np.int64))


def data(shape):
    return np.arange(math.prod(shape), dtype=np.float32).reshape(shape)


@given(st.lists(st.integers(1, 6), min_size=1, max_size=3), st.data())
@settings(deadline=None, max_examples=60)
def test_slice(check, shape, draw):
    axes = draw.draw(st.lists(st.integers(0, len(shape) - 1), min_size=1, unique=True))
    bound = st.integers(-8, 8)
    starts, ends = ([draw.draw(bound) for _ in axes] for _ in range(2))
    steps = [draw.draw(st.sampled_from([1, 2, 3, -1, -2])) for _ in axes]
    axes = [a - len(shape) if draw.draw(st.booleans()) else a for a in axes]
    check(Slice, [data(shape), *(np.array(v, np.int64) for v in (starts, ends, axes, steps))], constants=(1, 2, 3, 4))


@pytest.mark.parametrize("start, end, step", [(0, HUGE, 1), (-1, -HUGE - 1, -1), (HUGE, -HUGE, -2), (1, HUGE, 2), (-2, HUGE, 1)])
def test_extreme_bounds(check, start, end, step):
    check(Slice, [data((5, 2)), np.array([start]), np.array([end]), np.array([0]), np.array([step])], constants=(1, 2, 3, 4))


def test_slice_without_axes_and_steps(check):
    check(Slice, [data((4, 5)), np.array([1, 2]), np.array([3, -1]), None, None], constants=(1, 2))


@pytest.mark.parametrize("start, end, step, expected", [
    (0, HUGE, 1, N), (0, -1, 1, N - 1), (1, HUGE, 1, N - 1), (-1, HUGE, 1, 1), (0, 1, 1, 1), (-1, -HUGE - 1, -1, N),
    (0, HUGE, 2, (N + 1) // 2)])
def test_slices_of_a_symbolic_axis(start, end, step, expected):
    bounds = [np.array([b]) for b in (start, end, 0, step)]
    op = Slice(value("x", N, 2), *map(constant, bounds))
    assert op.output.shape == (expected, 2)
    for n in (1, 2, 5, 8):
        x = data((n, 2))
        np.testing.assert_array_equal(evaluate_op(op, [x, *bounds])[0], run_reference(op, [x, *bounds])[0])


def test_bounds_with_symbols():
    x = value("x", dim(N * 2), 3)
    half = Div(Shape(x, end=1).output, ints(2)).output
    assert Slice(x, ints(0), half, ints(0)).output.shape == (N, 3)
    assert Slice(x, half, ints(HUGE), ints(0)).output.shape == (N, 3)
    assert Slice(Shape(x).output, ints(1), ints(2)).output.elements == (3,)
    assert Slice(Shape(x).output, ints(-1), ints(-HUGE), None, ints(-1)).output.elements == (3, dim(N * 2))


@given(st.lists(st.tuples(st.integers(2, 5), st.integers(-1, 3), st.integers(-1, 3)), min_size=1, max_size=3), st.booleans())
@settings(deadline=None, max_examples=40)
def test_constant_border(check, axes, with_value):
    pads = np.array([a for _, a, _ in axes] + [b for _, _, b in axes], np.int64)
    check(Pad, [data([d for d, _, _ in axes]), pads, np.float32(7.5) if with_value else None], constants=(1, 2))


@pytest.mark.parametrize("mode", ["reflect", "edge", "wrap"])
@given(st.lists(st.tuples(st.integers(2, 5), st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=3))
@settings(deadline=None, max_examples=30)
def test_other_borders(check, mode, axes):
    pads = np.array([a for _, a, _ in axes] + [b for _, _, b in axes], np.int64)
    fits = all(max(a, b) < d for d, a, b in axes)  # beyond that, onnxruntime repeats differently from numpy.pad, which ONNX names
    check(Pad, [data([d for d, _, _ in axes]), pads], constants=(1,), mode=mode, oracle=fits)


def test_border_of_some_axes(check):
    check(Pad, [data((2, 3, 4)), np.array([1, 2, 0, 1]), None, np.array([2, -3])], constants=(1, 3))


@pytest.mark.parametrize("dtype", [np.int32, np.bool_, np.uint8, np.float16])
def test_border_of_other_types(check, dtype):
    check(Pad, [np.ones((2, 3), dtype), np.array([0, 1, 1, 0]), np.array(1, dtype)], constants=(1,), oracle=dtype != np.float16)


def test_border_value_from_data():
    x, fill = data((2, 2)), np.array([9], np.float32)
    op = Pad(value("x", 2, 2), ints(0, 1, 0, 0), value("fill", 1))
    np.testing.assert_array_equal(evaluate_op(op, [x, np.array([0, 1, 0, 0]), fill])[0], [[9, 0, 1], [9, 2, 3]])


@pytest.mark.parametrize("mode", ["constant", "reflect", "edge", "wrap"])
def test_border_of_a_symbolic_axis(mode):
    op = Pad(value("x", N, 2), ints(2, 0, 1, 0), mode=mode)
    assert op.output.shape == (N + 3, 2)
    for n in (2, 3, 8):
        arrays = [data((n, 2)), np.array([2, 0, 1, 0])]
        np.testing.assert_array_equal(evaluate_op(op, arrays)[0], run_reference(op, arrays)[0])


def test_errors():
    x = value("x", 2, 3)
    with pytest.raises(TypeMismatch, match=r"a step of 0 in \[0\]"):
        Slice(x, ints(0), ints(1), ints(0), ints(0))
    with pytest.raises(TypeMismatch, match="1 starts, 2 ends, 1 axes and 1 steps"):
        Slice(x, ints(0), ints(1, 1))
    with pytest.raises(Unsupported, match="starts %s is not known"):
        Slice(x, value("s", 1, dtype=i64), ints(1))
    with pytest.raises(Unsupported, match=r"the bound n - 3 may be positive or negative"):
        Slice(x, ints(0), Sub(Shape(value("y", N)).output, ints(3)).output, ints(0))
    with pytest.raises(TypeMismatch, match="mode 'mirror' is none of"):
        Pad(x, ints(0, 0, 0, 0), mode="mirror")
    with pytest.raises(TypeMismatch, match="3 pads for 2 axes"):
        Pad(x, ints(0, 0, 0))
    with pytest.raises(TypeMismatch, match="the constant must be one element of type f32"):
        Pad(x, ints(0, 0, 0, 0), value("v", dtype=i32))
    with pytest.raises(TypeMismatch, match=r"shape \[-1, 3\] has a negative size"):
        Pad(x, ints(-3, 0, 0, 0))
    with pytest.raises(Unsupported, match="the size n - 2 may be negative"):
        Pad(value("x", N), ints(-2, 0))
    with pytest.raises(Unsupported, match="mode 'edge' with pads -1 and 0"):
        Pad(x, ints(-1, 0, 0, 0), mode="edge")
    with pytest.raises(TypeMismatch, match="axis 0 is empty"):
        Pad(value("x", 0, 3), ints(1, 0, 0, 0), mode="wrap")
