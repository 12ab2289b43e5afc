"""Reshape, Flatten, Squeeze, Unsqueeze, Transpose, Shape, Size: onnxruntime, lowering, symbolic shapes and chains, error messages."""

import math

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from edgec.errors import TypeMismatch, Unsupported
from edgec.evaluate import evaluate_op
from edgec.expr import dim, fresh, read, var
from edgec.graph import constant, graph_input, run_reference
from edgec.lowering import lower_op
from edgec.ops.gather import Gather
from edgec.ops.joining import Concat
from edgec.ops.reshape import Flatten, Reshape, Shape, Size, Squeeze, Transpose, Unsqueeze, reshape_groups
from edgec.sweeps import walk
from edgec.types import TensorType, f32, i64

N, M = var("n", 1, 8), var("m", 2, 5)


def value(name, *shape, dtype=f32):
    return graph_input(name, TensorType(dtype, shape))


def ints(*numbers):
    return constant(np.array(numbers, np.int64))


def data(shape):
    return np.arange(math.prod(shape), dtype=np.float32).reshape(shape)


@st.composite
def refactored(draw):
    """Two shapes of equally many elements."""
    primes = draw(st.lists(st.sampled_from([1, 2, 3]), max_size=5))

    def grouped():
        shape, left = [], list(draw(st.permutations(primes)))
        while left:
            count = draw(st.integers(1, len(left)))
            shape.append(math.prod(left[:count]))
            left = left[count:]
        return tuple(shape)
    return grouped(), grouped()


@given(refactored())
@settings(deadline=None, max_examples=60)
def test_reshape(check, shapes):
    check(Reshape, [data(shapes[0]), np.array(shapes[1], np.int64)], constants=(1,))


@pytest.mark.parametrize("shape", [(0, -1), (2, 0, -1), (-1,), (0, 0, 2, 2), (4, -1, 2)])
def test_zeros_and_minus_one(check, shape):
    check(Reshape, [data((2, 3, 4)), np.array(shape)], constants=(1,))


def test_allowzero(check):
    check(Reshape, [np.zeros((0, 3), np.float32), np.array([3, 0])], constants=(1,), allowzero=1)
    check(Reshape, [np.zeros((0, 3), np.float32), np.array([0, 3, 1])], constants=(1,))


def test_groups_keep_common_axes_apart():
    assert reshape_groups((N, M, 12), (N, M, 3, 4)) == [([0], [0]), ([1], [1]), ([2], [2, 3])]
    assert reshape_groups((N, 3, 4), (dim(N * 3), 4)) == [([0, 1], [0]), ([2], [1])]
    assert reshape_groups((1, 4, 1), (2, 2)) == [([1], [0, 1])]


@pytest.mark.parametrize("source, target, sizes", [
    ((N, 3, 4), (0, -1), (2, 3, 4)), ((N, 3, 4), (-1, 4), (2, 3, 4)), ((N, M, 12), (0, 0, 3, 4), (2, 3, 12)),
    ((N, M, 6), (0, -1), (3, 2, 6)), ((4, N), (2, 2, -1), (4, 5)), ((N, 6), (-1, 3, 2), (2, 6)), ((N, 8), (2, -1), (3, 8))])
def test_symbolic_axes(source, target, sizes):
    op = Reshape(value("x", *source), ints(*target))
    x = data(sizes)
    np.testing.assert_array_equal(evaluate_op(op, [x, np.array(target)])[0], run_reference(op, [x, np.array(target)])[0])


def test_symbolic_axes_that_stay_are_read_directly():
    op = Reshape(value("x", N, M, 12), ints(0, 0, 3, 4))
    a, b, c, d = (fresh(s, 0, h - 1) for s, h in zip("abcd", (8, 5, 3, 4)))
    assert lower_op(op, (a, b, c, d), lambda v, i: read(v, i))[0].args == (a, b, c * 4 + d)


def test_the_batch_passes_an_exported_chain():
    x = value("x", N, 3, 4)
    batch = Gather(Shape(x).output, constant(np.array(0)), axis=0).output
    shape = Concat((Unsqueeze(batch, ints(0)).output, ints(-1)), axis=0).output
    assert Reshape(x, shape).output.shape == (N, 12)
    assert Reshape(x, Concat((ints(2), shape), axis=0).output).output.shape == (2, N, 6)


@given(st.lists(st.integers(1, 3), max_size=4), st.data())
@settings(deadline=None, max_examples=25)
def test_flatten(check, shape, draw):
    check(Flatten, [data(shape)], axis=draw.draw(st.integers(-len(shape), len(shape))))


@given(st.lists(st.sampled_from([1, 2, 1, 3]), max_size=4), st.data())
@settings(deadline=None, max_examples=25)
def test_squeeze_and_unsqueeze(check, shape, draw):
    x = data(shape)
    check(Squeeze, [x, None])
    ones = [n - (len(shape) if draw.draw(st.booleans()) else 0) for n, d in enumerate(shape) if d == 1]
    check(Squeeze, [x, np.array(ones, np.int64)], constants=(1,))
    rank = len(shape) + 2
    axes = draw.draw(st.lists(st.integers(0, rank - 1), min_size=2, max_size=2, unique=True))
    check(Unsqueeze, [x, np.array([axes[0] - rank, axes[1]])], constants=(1,))


@given(st.lists(st.integers(1, 3), max_size=4), st.data())
@settings(deadline=None, max_examples=25)
def test_transpose(check, shape, draw):
    check(Transpose, [data(shape)])
    if shape:  # onnx.helper cannot write an empty list
        check(Transpose, [data(shape)], perm=tuple(draw.draw(st.permutations(range(len(shape))))))


@pytest.mark.parametrize("start, end", [(0, None), (1, None), (-1, None), (0, -1), (1, 2), (-9, 9), (2, 1)])
def test_shape(check, start, end):
    check(Shape, [data((2, 3, 4))], start=start, end=end)


def test_shape_and_size_of_symbols():
    x = value("x", N, 3)
    assert Shape(x).output.elements == (N, 3) and Size(x).output.elements == (dim(N * 3),)
    array = data((5, 3))
    np.testing.assert_array_equal(evaluate_op(Shape(x), [array])[0], [5, 3])
    assert evaluate_op(Size(x), [array])[0] == 15


def test_size(check):
    check(Size, [data((2, 3))])


def test_shape_of_a_scalar_is_empty(check):
    check(Shape, [np.float32(1)])


def test_elements_follow_moves():
    shape = Shape(value("x", N, 3)).output
    assert Reshape(shape, ints(2, 1)).output.elements == (N, 3)
    assert Transpose(Reshape(shape, ints(1, 2)).output).output.elements == (N, 3)
    assert Squeeze(Unsqueeze(shape, ints(0)).output, ints(0)).output.elements == (N, 3)
    assert Flatten(shape, axis=0).output.elements == (N, 3)


def test_lowering_holds_nothing_but_reads():
    op = Reshape(value("x", 6, 4), ints(3, 8))
    a, b = fresh("a", 0, 2), fresh("b", 0, 7)
    assert sum(n.op == "read" for n in walk(lower_op(op, (a, b), lambda v, i: read(v, i))[0])) == 1


def test_errors():
    x = value("x", 2, 3)
    with pytest.raises(TypeMismatch, match=r"\[2, 3\] and \[4, 2\] differ in their number of elements"):
        Reshape(x, ints(4, 2))
    with pytest.raises(TypeMismatch, match="more than one -1"):
        Reshape(x, ints(-1, -1))
    with pytest.raises(TypeMismatch, match=r"\[2, 3\] does not divide into \[4, -1\]"):
        Reshape(x, ints(4, -1))
    with pytest.raises(TypeMismatch, match="0 at axis 2 copies a size"):
        Reshape(x, ints(2, 3, 0))
    with pytest.raises(TypeMismatch, match="has a negative size"):
        Reshape(x, ints(2, -3))
    with pytest.raises(Unsupported, match="the shape %s is not known at compile time"):
        Reshape(x, value("s", 2, dtype=i64))
    with pytest.raises(Unsupported, match=r"the -1 of \[4, -1\] over \[n, 3\] is not known to be whole"):
        Reshape(value("x", N, 3), ints(4, -1))
    with pytest.raises(Unsupported, match="differ in their number of elements, as far as is known"):
        Reshape(value("x", N, 3), ints(2, 3))
    with pytest.raises(TypeMismatch, match=r"axis 3 is outside \[-2, 2\]"):
        Flatten(x, axis=3)
    with pytest.raises(TypeMismatch, match="axis 0 has size 2, not 1"):
        Squeeze(x, ints(0))
    with pytest.raises(TypeMismatch, match=r"perm \[0, 0\] is not an order of 2 axes"):
        Transpose(x, perm=(0, 0))
    with pytest.raises(TypeMismatch, match="axis 4 is outside"):
        Unsqueeze(x, ints(4))
