"""Scatter against onnxruntime, compiled against interpreted; MaxUnpool undoes MaxPool; TensorScatter by hand."""

import numpy as np
import pytest

from edgec.errors import TypeMismatch
from edgec.graph import constant, graph_input
from edgec.ops.scatter import MaxUnpool, ScatterElements, ScatterND, TensorScatter
from edgec.types import TensorType, f32, i64

RNG = np.random.default_rng(0)
X = RNG.standard_normal((3, 4, 5)).astype(np.float32)


def value(name, shape, dtype=f32):
    return graph_input(name, TensorType(dtype, shape))


@pytest.mark.parametrize("reduction", ["none", "add", "mul", "min", "max"])
@pytest.mark.parametrize("axis", [0, -1])
def test_elements(check, check_compiled, reduction, axis):
    indices = np.argsort(RNG.random((3, 4, 5)), axis=axis)[:2, :3, :3] % X.shape[axis] - X.shape[axis] * RNG.integers(0, 2, (2, 3, 3))
    if reduction == "none":
        indices = np.broadcast_to(np.arange(3 if axis else 2).reshape((-1, 1, 1) if axis == 0 else (1, 1, -1)), (2, 3, 3)).copy()
    updates = RNG.standard_normal((2, 3, 3)).astype(np.float32)
    check(ScatterElements, [X, indices, updates], opset=18, axis=axis, reduction=reduction)
    check_compiled(lambda *v: ScatterElements(*v, axis=axis, reduction=reduction).output, [X, indices, updates])


@pytest.mark.parametrize("reduction", ["none", "add", "mul", "min", "max"])
def test_nd(check, check_compiled, reduction):
    indices = np.array([[[0, 1], [2, -1]], [[1, 0], [2, 2]]])
    updates = RNG.standard_normal((2, 2, 5)).astype(np.float32)
    check(ScatterND, [X, indices, updates], opset=18, reduction=reduction)
    check_compiled(lambda *v: ScatterND(*v, reduction=reduction).output, [X, indices, updates])


def test_points_of_one_place_add_up(check_compiled):
    result, = check_compiled(lambda *v: ScatterElements(*v, reduction="add").output,
                             [np.zeros(3, np.int32), np.array([1, 1, 1, 2]), np.array([1, 2, 3, 4], np.int32)])
    assert result.tolist() == [0, 6, 4]


def test_an_update_reads_what_is_fused_before_it(check_compiled):
    from edgec.ops.activation import Relu
    from edgec.ops.arithmetic import Add
    check_compiled(lambda x, i, u: Add(ScatterND(Relu(x).output, i, Relu(u).output).output, x).output,
                   [X, np.array([[2], [0]]), RNG.standard_normal((2, 4, 5)).astype(np.float32)])


@pytest.mark.parametrize("mode, starts", [("linear", [0, 2]), ("circular", [3, 1])])
def test_tensor_scatter(check, check_compiled, mode, starts):
    cache, new = RNG.standard_normal((2, 3, 4, 5)).astype(np.float32), RNG.standard_normal((2, 3, 2, 5)).astype(np.float32)
    arrays = [cache, new, np.array(starts)]
    result, = check(TensorScatter, arrays, oracle=False, mode=mode)
    for b, start in enumerate(starts):
        for k in range(2):
            np.testing.assert_array_equal(result[b, :, (start + k) % 4], new[b, :, k])
    check_compiled(lambda *v: TensorScatter(*v, mode=mode).output, arrays)


def test_unpool(check, check_compiled):
    from edgec.ops.pooling import MaxPool
    x = RNG.standard_normal((1, 2, 6, 6)).astype(np.float32)
    def both(v):
        pooled, places = MaxPool(v, kernel_shape=(2, 2), strides=(2, 2), outputs=2).results
        return MaxUnpool(pooled, places, kernel_shape=(2, 2), strides=(2, 2)).output, pooled
    full, pooled = check_compiled(both, [x])
    assert (full != 0).sum() == pooled.size and set(full[full != 0]) == set(pooled.ravel())
    small, places = np.float32([[[[1, 2], [3, 4]]]]), np.array([[[[5, 7], [13, 15]]]])
    arrays = [small, places, np.array([1, 1, 5, 5])]
    check(MaxUnpool, arrays, constants=(2,), oracle=False, kernel_shape=(2, 2), strides=(2, 2))
    check_compiled(lambda a, b: MaxUnpool(a, b, constant(arrays[2]), kernel_shape=(2, 2), strides=(2, 2)).output, arrays[:2])


def test_errors():
    x, i = value("x", (3, 4)), value("i", (2, 2), i64)
    with pytest.raises(TypeMismatch, match="reduction is 'sum'"):
        ScatterElements(x, i, value("u", (2, 2)), reduction="sum")
    with pytest.raises(TypeMismatch, match="differ in shape"):
        ScatterElements(x, i, value("u", (2, 3)))
    with pytest.raises(TypeMismatch, match="exceed"):
        ScatterElements(x, value("j", (4, 5), i64), value("u", (4, 5)), axis=0)
    with pytest.raises(TypeMismatch, match="index tuples of 3"):
        ScatterND(x, value("j", (2, 3), i64), value("u", (2,)))
    with pytest.raises(TypeMismatch, match="do not fit"):
        ScatterND(x, value("j", (2, 1), i64), value("u", (2, 3)))
    with pytest.raises(TypeMismatch, match="does not fit"):
        TensorScatter(value("c", (2, 3, 4)), value("n", (2, 2, 5)))
    with pytest.raises(TypeMismatch, match="does not hold"):
        MaxUnpool(value("p", (1, 1, 2, 2)), value("q", (1, 1, 2, 2), i64), constant(np.array([1, 1, 3, 3])), kernel_shape=(2, 2), strides=(2, 2))
