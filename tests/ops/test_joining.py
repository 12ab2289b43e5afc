"""Concat, Split, Tile, Expand: onnxruntime, lowering, symbolic sizes, error messages."""

import math

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from edgec.errors import TypeMismatch, Unsupported
from edgec.evaluate import evaluate_op
from edgec.expr import dim, var
from edgec.graph import constant, graph_input, run_reference
from edgec.ops.joining import Concat, Expand, Split, Tile
from edgec.ops.reshape import Shape
from edgec.types import TensorType, f32, i32, i64

N, M = var("n", 1, 8), var("m", 0, 5)


def value(name, *shape, dtype=f32):
    return graph_input(name, TensorType(dtype, shape))


def ints(*numbers):
    return constant(np.array(numbers, np.int64))


def data(shape, start=0):
    return np.arange(start, start + math.prod(shape), dtype=np.float32).reshape(shape)


@given(st.lists(st.integers(1, 3), min_size=1, max_size=3), st.lists(st.integers(0, 3), min_size=1, max_size=4), st.data())
@settings(deadline=None, max_examples=30)
def test_concat(check, shape, sizes, draw):
    axis = draw.draw(st.integers(-len(shape), len(shape) - 1))
    arrays = []
    for n, size in enumerate(sizes):
        local = list(shape)
        local[axis] = size
        arrays.append(data(local, 100 * n))
    check(Concat, arrays, axis=axis)


@pytest.mark.parametrize("dtype", [np.int64, np.bool_, np.uint8])
def test_concat_of_other_types(check, dtype):
    check(Concat, [np.ones((2, 1), dtype), np.zeros((2, 3), dtype)], axis=1)


def test_concat_of_symbolic_pieces():
    op = Concat((value("a", 2, N), value("b", 2, M), value("c", 2, 3)), axis=1)
    assert op.output.shape == (2, dim(N + M + 3))
    for n, m in ((1, 0), (3, 2), (8, 5)):
        arrays = [data((2, n)), data((2, m), 50), data((2, 3), 100)]
        np.testing.assert_array_equal(evaluate_op(op, arrays)[0], run_reference(op, arrays)[0])


@given(st.lists(st.integers(1, 3), min_size=1, max_size=3), st.lists(st.integers(0, 3), min_size=1, max_size=4), st.data())
@settings(deadline=None, max_examples=30)
def test_split_by_sizes(check, shape, sizes, draw):
    axis = draw.draw(st.integers(-len(shape), len(shape) - 1))
    shape[axis] = sum(sizes)
    check(Split, [data(shape), np.array(sizes, np.int64)], constants=(1,), axis=axis)


@pytest.mark.parametrize("total, count", [(6, 3), (7, 3), (5, 1), (7, 2)])
def test_split_by_count(check, total, count):
    check(Split, [data((2, total)), None], axis=1, num_outputs=count)


def test_split_of_symbols():
    op = Split(value("x", dim(N * 2), 3), None, axis=0, num_outputs=2)
    assert [r.shape for r in op.results] == [(N, 3)] * 2
    op = Split(value("x", 2, 6), ints(2, 4), axis=1)
    assert [r.shape for r in op.results] == [(2, 2), (2, 4)]
    first, second = Split(Shape(value("x", N, 3, 4)).output, ints(1, 2)).results
    assert first.elements == (N,) and second.elements == (3, 4)


@given(st.lists(st.tuples(st.integers(1, 3), st.integers(0, 3)), max_size=3))
@settings(deadline=None, max_examples=25)
def test_tile(check, axes):
    check(Tile, [data([d for d, _ in axes]), np.array([r for _, r in axes], np.int64)], constants=(1,))


def test_tile_by_a_symbol():
    x = value("x", 1, 3)
    op = Tile(x, Concat((Shape(value("y", N, 5), end=1).output, ints(2)), axis=0).output)
    assert op.output.shape == (N, 6)


@given(st.sampled_from([((3, 1), (2, 1, 6)), ((3,), (1,)), ((), (2, 2)), ((2, 1, 3), (4, 1)), ((1,), (0,))]))
@settings(deadline=None, max_examples=10)
def test_expand(check, shapes):
    check(Expand, [data(shapes[0]), np.array(shapes[1], np.int64)], constants=(1,))


def test_expand_to_a_symbol():
    op = Expand(value("x", 1, 3), Shape(value("y", N, 1)).output)
    assert op.output.shape == (N, 3)
    assert Expand(ints(7), ints(2)).output.elements == (7, 7)


def test_errors():
    x = value("x", 2, 3)
    with pytest.raises(TypeMismatch, match=r"\[2, 3\] and \[4, 4\] differ beside axis 1"):
        Concat((x, value("y", 4, 4)), axis=1)
    with pytest.raises(TypeMismatch, match="element types differ: f32 and i32"):
        Concat((x, value("y", 2, 3, dtype=i32)), axis=1)
    with pytest.raises(TypeMismatch, match="needs at least one operand"):
        Concat((), axis=0)
    with pytest.raises(TypeMismatch, match=r"the pieces \[1, 1\] do not add up to 3"):
        Split(x, ints(1, 1), axis=1)
    with pytest.raises(TypeMismatch, match="needs the sizes of the pieces, or num_outputs"):
        Split(x)
    with pytest.raises(TypeMismatch, match="2 pieces for 3 results"):
        Split(x, ints(1, 2), axis=1, num_outputs=3)
    with pytest.raises(TypeMismatch, match="2 elements do not make 4 pieces"):
        Split(x, None, axis=0, num_outputs=4)
    with pytest.raises(Unsupported, match="n elements into 2 pieces"):
        Split(value("x", N), None, num_outputs=2)
    with pytest.raises(TypeMismatch, match="1 repeats for 2 axes"):
        Tile(x, ints(2))
    with pytest.raises(TypeMismatch, match="has a negative size"):
        Tile(x, ints(2, -1))
    with pytest.raises(Unsupported, match="the shape %s is not known"):
        Expand(x, value("s", 2, dtype=i64))
