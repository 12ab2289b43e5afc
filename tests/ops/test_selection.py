"""TopK, NonZero and Unique against onnxruntime, compiled against interpreted."""

import numpy as np
import pytest

from edgec.errors import TypeMismatch, Unsupported
from edgec.graph import constant, graph_input, run_reference
from edgec.ops.arithmetic import Add
from edgec.ops.known_values import known_value
from edgec.ops.selection import FirstEqual, NonZero, Occurrences, PlaceOf, Rank, RowRank, SameAsPlace, TopK, Unique, Unravel
from edgec.types import TensorType, f32

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("largest", [0, 1])
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_top_k(check, check_compiled, largest, axis):
    x = RNG.integers(0, 6, (4, 5, 6)).astype(np.float32)  # many are equal
    check(TopK, [x, np.array([3])], constants=(1,), axis=axis, largest=largest)
    check_compiled(lambda v: TopK(v, constant(np.array([3])), axis=axis, largest=largest).results, [x])
    check_compiled(lambda v: TopK(v, constant(np.array([2])), axis=axis, largest=largest).results, [x.astype(np.int64)])


@pytest.mark.parametrize("x", [np.array([0, 3, 0, -1, 5]), RNG.integers(0, 2, (3, 4)).astype(np.float32), np.zeros((2, 2), bool), np.ones((), np.int32)],
                         ids=["vector", "matrix", "none", "scalar"])
def test_non_zero(check, check_compiled, x):
    make = lambda v: NonZero(v).output
    if x.ndim:
        expected, = check_compiled(make, [x])
        np.testing.assert_array_equal(expected, np.array(np.nonzero(x)))


@pytest.mark.parametrize("sort", [0, 1])
@pytest.mark.parametrize("axis", [None, 0, 1])
def test_unique(onnxruntime_results, check_compiled, sort, axis):
    x = RNG.integers(0, 3, (5, 3)).astype(np.float32)
    found = check_compiled(lambda v: Unique(v, axis=axis, sorted=sort).results, [x])
    expected = onnxruntime_results("Unique", [x], {"axis": axis, "sorted": sort}, 4)
    for ours, theirs in zip(found, expected):
        np.testing.assert_array_equal(ours, theirs)


def test_parts(check):
    rows = RNG.integers(0, 2, (6, 2)).astype(np.float32)
    group, = check(FirstEqual, [rows], oracle=False)
    check(RowRank, [rows, group], oracle=False)
    check(SameAsPlace, [np.array([0, 0, 2])], oracle=False)
    check(Occurrences, [np.array([0, 2, 2])], oracle=False, number=4)
    check(Unravel, [np.array([0, 7, 11]), np.array([3, 4])], oracle=False, constants=(1,))
    check(Rank, [rows], oracle=False, axis=0)
    check(PlaceOf, [np.array([2, 0, 1, 0]), np.array([True, False, True, True])], oracle=False, axis=0, count=3)


def test_sizes_need_known_values():
    x = graph_input("x", TensorType(f32, (3,)))
    assert known_value(x) is None
    with pytest.raises(Unsupported, match="not known at compile time"):
        NonZero(x)
    with pytest.raises(Unsupported, match="not known at compile time"):
        Unique(x)
    with pytest.raises(TypeMismatch, match="k is 4 of 3"):
        TopK(x, constant(np.array([4])))
    given = graph_input("given", TensorType(f32, (3,)), known=np.float32([1, 0, 2]))
    assert known_value(Add(given, given).output).tolist() == [2, 0, 4]
    assert NonZero(given).output.shape == (1, 2)
    assert run_reference(NonZero(given), [np.float32([1, 0, 2])])[0].tolist() == [[0, 2]]
