"""Gather, GatherElements, GatherND, Compress, ReverseSequence: onnxruntime, lowering, safety out of range, symbols, error messages."""

import math

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from edgec.decomposition import expand
from edgec.errors import TypeMismatch, Unsupported
from edgec.evaluate import evaluate_op
from edgec.expr import fresh, read, var
from edgec.graph import Graph, constant, graph_input, run_reference
from edgec.interpreter import run
from edgec.lowering import lower_op
from edgec.ops.gather import Compress, Gather, GatherElements, GatherND, ReverseSequence
from edgec.ops.reshape import Shape
from edgec.sweeps import walk
from edgec.types import TensorType, bool_, f32, i32, i64, u8

N = var("n", 1, 8)


def value(name, *shape, dtype=f32):
    return graph_input(name, TensorType(dtype, shape))


def data(shape):
    return np.arange(math.prod(shape), dtype=np.float32).reshape(shape)


def places(shape, size, seed, dtype=np.int64):
    return np.random.default_rng(seed).integers(-size, size, shape).astype(dtype)


@given(st.lists(st.integers(1, 4), min_size=1, max_size=3), st.lists(st.integers(0, 3), max_size=2), st.integers(0, 99),
       st.sampled_from([np.int32, np.int64]), st.booleans(), st.data())
@settings(deadline=None, max_examples=40)
def test_gather(check, shape, index_shape, seed, dtype, is_constant, draw):
    axis = draw.draw(st.integers(-len(shape), len(shape) - 1))
    check(Gather, [data(shape), places(index_shape, shape[axis], seed, dtype)], constants=(1,) if is_constant else (), axis=axis)


def test_gather_of_a_symbolic_axis():
    op = Gather(value("x", N, 2), value("i", 3, dtype=i64))
    for n in (1, 4, 8):
        arrays = [data((n, 2)), places((3,), n, n)]
        np.testing.assert_array_equal(evaluate_op(op, arrays)[0], run_reference(op, arrays)[0])


def test_gather_of_one_known_index_reads_it_directly():
    op = Gather(value("x", N, 5), constant(np.array(-2)), axis=1)
    a = fresh("a", 0, 7)
    assert lower_op(op, (a,), lambda v, i: read(v, i))[0].args[1].data == 3


@pytest.mark.parametrize("row, expected", [(5, [2, 5, 5]), (-6, [0, 0, 2]), (0, [0, 0, 0]), (-1, [2, 5, 7])])
def test_a_known_index_stays_inside_a_symbolic_axis(row, expected):
    op = Gather(value("x", N), constant(np.array(row)))
    assert [evaluate_op(op, [data((n,)), np.array(row)])[0] for n in (3, 6, 8)] == expected


def test_gather_of_constant_indices_needs_no_test_for_negative_ones():
    op = Gather(value("x", 5), constant(np.array([0, 4, 2])))
    assert not any(n.op == "select" for n in walk(lower_op(op, (fresh("a", 0, 2),), lambda v, i: read(v, i))[0]))


def test_gather_of_dimensions():
    shape = Shape(value("x", N, 3, 5)).output
    assert Gather(shape, constant(np.array(0))).output.elements == (N,)
    assert Gather(shape, constant(np.array([-1, 0]))).output.elements == (5, N)


@pytest.mark.parametrize("cls, shape", [(Gather, (4,)), (GatherElements, (4,)), (GatherND, (4, 1))])
def test_indices_out_of_range_stay_inside(cls, shape):
    op = cls(value("x", 3), value("i", *shape, dtype=i64))
    found = evaluate_op(op, [data((3,)), np.array([-100, -4, 3, 2 ** 62]).reshape(shape)])[0]
    assert found.tolist() == [0, 0, 2, 2]


def test_unsigned_indices():
    op = Gather(value("x", 4), value("i", 2, dtype=u8))
    np.testing.assert_array_equal(evaluate_op(op, [data((4,)), np.array([3, 1], np.uint8)])[0], [3, 1])


@given(st.lists(st.integers(1, 4), min_size=1, max_size=3), st.integers(0, 99), st.data())
@settings(deadline=None, max_examples=30)
def test_gather_elements(check, shape, seed, draw):
    axis = draw.draw(st.integers(-len(shape), len(shape) - 1))
    extents = [draw.draw(st.integers(1, d)) for d in shape]
    extents[axis] = draw.draw(st.integers(1, 5))
    check(GatherElements, [data(shape), places(extents, shape[axis], seed)], axis=axis)


@given(st.lists(st.integers(1, 3), min_size=1, max_size=4), st.integers(0, 99), st.data())
@settings(deadline=None, max_examples=30)
def test_gather_nd(check, shape, seed, draw):
    batch = draw.draw(st.integers(0, len(shape) - 1))
    depth = draw.draw(st.integers(1, len(shape) - batch))
    outer = draw.draw(st.lists(st.integers(1, 3), max_size=2))
    named = [places((*shape[:batch], *outer), shape[batch + k], seed + k) for k in range(depth)]
    check(GatherND, [data(shape), np.stack(named, -1)], batch_dims=batch)


@pytest.mark.parametrize("axis, kept", [(0, [True, False, True]), (1, [False, True]), (-1, [True, True, False, True]),
                                        (None, [True, False] * 4)])
def test_compress(onnxruntime_results, axis, kept):
    x, condition = data((3, 4)), np.array(kept)
    op = Compress(value("x", 3, 4), constant(condition), axis=axis)
    expected, = onnxruntime_results("Compress", [x, condition], {"axis": axis})
    np.testing.assert_array_equal(run_reference(op, [x, condition])[0], expected)
    graph = Graph(op.operands[:1], op.results, ("y",))
    lowered = expand(graph, lambda o: isinstance(o, Compress))
    np.testing.assert_array_equal(run(lowered, [x])[0], expected)


@given(st.lists(st.integers(1, 4), min_size=2, max_size=3), st.integers(0, 99), st.booleans())
@settings(deadline=None, max_examples=25)
def test_reverse_sequence(check, shape, seed, time_first):
    time, batch = (0, 1) if time_first else (1, 0)
    lengths = np.random.default_rng(seed).integers(1, shape[time] + 1, shape[batch])
    check(ReverseSequence, [data(shape), lengths], time_axis=time, batch_axis=batch)


def test_reverse_sequence_clamps_lengths():
    op = ReverseSequence(value("x", 3, 2), value("l", 2, dtype=i64))
    assert evaluate_op(op, [data((3, 2)), np.array([-5, 99])])[0].tolist() == [[0, 5], [2, 3], [4, 1]]


def test_errors():
    x = value("x", 2, 3)
    with pytest.raises(TypeMismatch, match=r"index 5 is outside \[-3, 2\]"):
        Gather(x, constant(np.array([0, 5])), axis=1)
    with pytest.raises(TypeMismatch, match="the indices must be an integer type, it is f32"):
        Gather(x, value("i", 2))
    with pytest.raises(TypeMismatch, match="a scalar has no axis|axis 0 is outside"):
        Gather(value("s"), constant(np.array(0)))
    with pytest.raises(TypeMismatch, match="axis 0 is empty"):
        Gather(value("e", 0, 3), value("i", 2, dtype=i64))
    with pytest.raises(Unsupported, match="axis 0 of size m may be empty"):
        GatherND(value("e", var("m", 0, 4)), value("i", 2, 1, dtype=i64))
    with pytest.raises(TypeMismatch, match="ranks differ"):
        GatherElements(x, value("i", 2, dtype=i64))
    with pytest.raises(TypeMismatch, match=r"indices \[3, 3\] exceed \[2, 3\] at axis 0"):
        GatherElements(x, value("i", 3, 3, dtype=i64), axis=1)
    with pytest.raises(TypeMismatch, match="batch_dims 2 is not below"):
        GatherND(x, value("i", 2, 3, 1, dtype=i64), batch_dims=2)
    with pytest.raises(TypeMismatch, match="the first 1 axes differ"):
        GatherND(x, value("i", 4, 1, dtype=i64), batch_dims=1)
    with pytest.raises(TypeMismatch, match="index tuples of 3 for rank 2"):
        GatherND(x, value("i", 4, 3, dtype=i64))
    with pytest.raises(Unsupported, match="the condition depends on data"):
        Compress(x, value("c", 2, dtype=bool_), axis=0)
    with pytest.raises(TypeMismatch, match="a condition of 4 for 2 elements"):
        Compress(x, constant(np.ones(4, bool)), axis=0)
    with pytest.raises(TypeMismatch, match="the condition must be a bool vector"):
        Compress(x, value("c", 2, dtype=i32), axis=0)
    with pytest.raises(TypeMismatch, match="time and batch axis are both 0"):
        ReverseSequence(x, value("l", 2, dtype=i64), batch_axis=0, time_axis=0)
    with pytest.raises(TypeMismatch, match="for a batch of 3"):
        ReverseSequence(x, value("l", 2, dtype=i64))
