"""Pooling over windows and over whole images: reference against onnxruntime, lowering against reference, error messages."""

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from edgec.errors import TypeMismatch
from edgec.evaluate import evaluate_op
from edgec.expr import var
from edgec.graph import graph_input, run_reference
from edgec.ops.pooling import AveragePool, GlobalAveragePool, GlobalLpPool, GlobalMaxPool, LpPool, MaxPool
from edgec.sweeps import evaluate_dim
from edgec.types import TensorType, bf16, f32, i32

quick = settings(deadline=None, max_examples=25)


def value(name, *shape, dtype=f32):
    return graph_input(name, TensorType(dtype, shape))


@st.composite
def poolings(draw, dilated=True):
    """(x, attributes) of a pooling whose padding is smaller than its kernel, as onnxruntime demands."""
    rank = draw(st.integers(1, 3))
    axis = lambda strategy: [draw(strategy) for _ in range(rank)]
    kernel, strides, dilations = axis(st.integers(1, 3)), axis(st.integers(1, 3)), axis(st.integers(1, 2))
    auto_pad = draw(st.sampled_from(("NOTSET", "NOTSET", "NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER")))
    attributes = {"kernel_shape": kernel, "strides": strides, "auto_pad": auto_pad}
    if auto_pad == "NOTSET":
        attributes["pads"] = [draw(st.integers(0, k - 1)) for k in kernel + kernel]
        attributes["ceil_mode"] = draw(st.integers(0, 1))
    if auto_pad.startswith("SAME"):  # onnxruntime pads by a negative number where a stride is greater than its kernel
        attributes["strides"] = [min(s, k) for s, k in zip(strides, kernel)]
    if auto_pad.startswith("SAME") or not dilated:
        dilations = [1] * rank
    attributes["dilations"] = dilations
    sizes = [draw(st.integers((k - 1) * d + 1, (k - 1) * d + 6)) for k, d in zip(kernel, dilations)]
    random = np.random.default_rng(draw(st.integers(0, 99)))
    x = random.standard_normal((draw(st.integers(1, 2)), draw(st.integers(1, 3)), *sizes)).astype(np.float32)
    return x, attributes


@given(poolings(), st.booleans())
@quick
def test_max_pool(check, case, repeated):
    x, attributes = case
    check(MaxPool, [np.round(x) if repeated else x], **attributes)


@given(poolings(), st.integers(0, 1))
@quick
def test_max_pool_with_indices(check, case, storage_order):
    x, attributes = case
    check(MaxPool, [np.round(x)], outputs=2, storage_order=storage_order, **attributes)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
def test_max_pool_of_integers(check, dtype):
    x = np.random.default_rng(0).integers(np.iinfo(dtype).min, np.iinfo(dtype).max, (2, 3, 7, 8)).astype(dtype)
    check(MaxPool, [x], kernel_shape=(3, 2), strides=(2, 2), pads=(1, 1, 1, 0))


def test_max_pool_of_minus_infinity_has_an_index_within_the_input():
    x = np.full((1, 1, 4), -np.inf, np.float32)
    op = MaxPool(value("x", 1, 1, 4), kernel_shape=(2,), outputs=2, pads=(1, 1))
    for results in (run_reference(op, [x]), evaluate_op(op, [x])):
        np.testing.assert_array_equal(results[1].ravel(), [0, 0, 1, 2, 3])


@given(poolings(), st.integers(0, 1))
@quick
def test_average_pool(check, case, count_include_pad):
    x, attributes = case
    check(AveragePool, [x], terms=27, magnitude=27 * float(np.abs(x).max()), count_include_pad=count_include_pad, **attributes)


@given(poolings(dilated=False), st.integers(1, 3))
@quick
def test_lp_pool(check, case, p):
    x, attributes = case
    check(LpPool, [x], terms=27, magnitude=27 * float(np.abs(x).max()), p=p, **attributes)


@pytest.mark.parametrize("cls", [GlobalAveragePool, GlobalMaxPool, GlobalLpPool])
@given(st.lists(st.integers(1, 5), min_size=1, max_size=3), st.integers(0, 99))
@quick
def test_global_pools(check, cls, sizes, seed):
    x = np.random.default_rng(seed).standard_normal((2, 3, *sizes)).astype(np.float32)
    check(cls, [x], opset=21, terms=x[0, 0].size, magnitude=float(np.abs(x).sum(axis=tuple(range(2, x.ndim))).max()))


@pytest.mark.parametrize("dtype", [np.float16, np.float64, bf16.numpy])
@pytest.mark.parametrize("cls, attributes", [
    (AveragePool, {"kernel_shape": (3, 3), "pads": (1, 1, 1, 1)}), (MaxPool, {"kernel_shape": (2, 3), "outputs": 2}),
    (LpPool, {"kernel_shape": (2, 2), "p": 3}), (GlobalAveragePool, {}), (GlobalMaxPool, {}), (GlobalLpPool, {"p": 1})])
def test_other_float_types(check, cls, attributes, dtype):
    x = np.random.default_rng(3).standard_normal((1, 2, 5, 6)).astype(dtype)
    check(cls, [x], terms=9, magnitude=9 * float(np.abs(x).max()), oracle=False, **attributes)


@pytest.mark.parametrize("make", [
    lambda x: AveragePool(x, kernel_shape=(3,), pads=(1, 1), strides=(2,), ceil_mode=1),
    lambda x: AveragePool(x, kernel_shape=(3,), auto_pad="SAME_UPPER"),
    lambda x: MaxPool(x, kernel_shape=(2,), strides=(2,), outputs=2), GlobalAveragePool, GlobalMaxPool])
def test_symbolic_sizes(make):
    n, y = var("n", 1, 4), var("y", 2, 9)
    op = make(value("x", n, 2, y))
    for batch, size in ((1, 9), (3, 4), (2, 5)):
        x = np.random.default_rng(size).standard_normal((batch, 2, size)).astype(np.float32)
        for found, expected, result in zip(evaluate_op(op, [x]), run_reference(op, [x]), op.results):
            assert expected.shape == tuple(evaluate_dim(d, {"n": batch, "y": size}) for d in result.type.shape)
            np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)


X = value("x", 1, 4, 8, 8)


@pytest.mark.parametrize("make, message", [
    (lambda: MaxPool(value("x", 4, 8), kernel_shape=(2,)), "input has rank 2"),
    (lambda: MaxPool(X, kernel_shape=(2,)), r"kernel \[2\] does not fit 2 spatial axes"),
    (lambda: MaxPool(X, kernel_shape=(9, 2)), "a window of 9 elements does not fit spatial axis 0"),
    (lambda: AveragePool(value("x", 1, 4, 8, dtype=i32), kernel_shape=(2,)), "a float type is needed"),
    (lambda: LpPool(X, kernel_shape=(2, 2), p=0), "p is 0"),
    (lambda: GlobalLpPool(X, p=-1), "p is -1"),
    (lambda: GlobalMaxPool(value("x", 4)), "input has rank 1"),
    (lambda: GlobalAveragePool(value("x", 1, 2, 3, dtype=i32)), "a float type is needed"),
])
def test_errors(make, message):
    with pytest.raises(TypeMismatch, match=message):
        make()
