"""DepthToSpace and SpaceToDepth: onnxruntime, lowering, each the inverse of the other, symbolic sizes, error messages."""

import math

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from edgec.errors import TypeMismatch
from edgec.evaluate import evaluate_op
from edgec.expr import dim, var
from edgec.graph import graph_input, run_reference
from edgec.ops.depth_space import DepthToSpace, SpaceToDepth
from edgec.types import TensorType, f32

SIZES = st.tuples(st.integers(1, 2), st.integers(1, 3), st.integers(1, 3), st.integers(1, 3))


def value(*shape):
    return graph_input("x", TensorType(f32, shape))


def data(*shape):
    return np.arange(math.prod(shape), dtype=np.float32).reshape(shape)


@given(SIZES, st.integers(1, 3), st.sampled_from(["DCR", "CRD"]))
@settings(deadline=None, max_examples=25)
def test_depth_to_space(check, sizes, side, mode):
    n, c, y, x = sizes
    check(DepthToSpace, [data(n, c * side * side, y, x)], blocksize=side, mode=mode)


@given(SIZES, st.integers(1, 3))
@settings(deadline=None, max_examples=25)
def test_space_to_depth(check, sizes, side):
    n, c, y, x = sizes
    check(SpaceToDepth, [data(n, c, y * side, x * side)], blocksize=side)


@pytest.mark.parametrize("mode", ["DCR", "CRD"])
def test_round_trip(check, mode):
    x = data(2, 3, 4, 6)
    deep, = check(SpaceToDepth, [x], blocksize=2, mode=mode, oracle=False)
    back, = check(DepthToSpace, [deep], blocksize=2, mode=mode)
    np.testing.assert_array_equal(back, x)


def test_symbolic_sizes():
    n, y = var("n", 1, 3), var("y", 1, 4)
    op = SpaceToDepth(value(n, 2, dim(y * 2), 4), blocksize=2)
    assert op.output.shape == (n, 8, y, 2)
    op = DepthToSpace(value(n, 8, y, 2), blocksize=2)
    x = data(2, 8, 3, 2)
    np.testing.assert_array_equal(evaluate_op(op, [x])[0], run_reference(op, [x])[0])


def test_errors():
    with pytest.raises(TypeMismatch, match="the channel count 6 is not a multiple of 4"):
        DepthToSpace(value(1, 6, 2, 2), blocksize=2)
    with pytest.raises(TypeMismatch, match="the height 3 is not a multiple of 2"):
        SpaceToDepth(value(1, 6, 3, 2), blocksize=2)
    with pytest.raises(TypeMismatch, match="needs an image batch"):
        DepthToSpace(value(6, 2, 2), blocksize=2)
    with pytest.raises(TypeMismatch, match="blocksize 0 is not positive"):
        DepthToSpace(value(1, 4, 2, 2), blocksize=0)
    with pytest.raises(TypeMismatch, match="mode 'RCD' is neither"):
        DepthToSpace(value(1, 4, 2, 2), blocksize=2, mode="RCD")
