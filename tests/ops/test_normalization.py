"""Normalisations: reference against onnxruntime, lowering against reference, error messages."""

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from edgec.errors import TypeMismatch, Unsupported
from edgec.evaluate import evaluate_op
from edgec.expr import var
from edgec.graph import graph_input, run_reference
from edgec.ops.normalization import (
    LRN,
    BatchNormalization,
    GroupNormalization,
    InstanceNormalization,
    LayerNormalization,
    LpNormalization,
    MeanVarianceNormalization,
    RMSNormalization,
)
from edgec.types import TensorType, bf16, f32, i32

quick = settings(deadline=None, max_examples=25)
images = st.tuples(st.integers(1, 2), st.integers(1, 5), st.lists(st.integers(1, 4), min_size=1, max_size=3), st.integers(0, 99))


def value(name, *shape, dtype=f32):
    return graph_input(name, TensorType(dtype, shape))


def tensors(seed, *shapes, dtype=np.float32):
    random = np.random.default_rng(seed)
    return [random.standard_normal(s).astype(dtype) for s in shapes]


def error_scale(x, *others, epsilon=1e-5):
    """How far an error of one rounding of x can grow: by 1 / sqrt(epsilon), and by the largest scale."""
    worst = max([1.0, *(float(np.abs(o).max()) for o in others)])
    return {"terms": x.size, "magnitude": float(np.abs(x).max(initial=1)) * worst * 4 / np.sqrt(epsilon)}


@given(images)
@quick
def test_batch_normalization(check, image):
    n, c, sizes, seed = image
    x, scale, b, m, variance = tensors(seed, (n, c, *sizes), (c,), (c,), (c,), (c,))
    variance = np.abs(variance) + np.float32(0.1)
    check(BatchNormalization, [x, scale, b, m, variance], magnitude=40 * float(np.abs(x).max() * np.abs(scale).max() + np.abs(b).max() + 1),
          epsilon=0.01)


def test_batch_normalization_of_mixed_types(check):
    x, scale, b, m, variance = tensors(3, (2, 3, 4), (3,), (3,), (3,), (3,))
    arrays = [x.astype(np.float16), scale, b, m, np.abs(variance) + np.float32(0.5)]
    check(BatchNormalization, arrays, magnitude=10.0, oracle=False)


@given(images)
@quick
def test_instance_normalization(check, image):
    n, c, sizes, seed = image
    x, scale, b = tensors(seed, (n, c, *sizes), (c,), (c,))
    check(InstanceNormalization, [x, scale, b], **error_scale(x, scale, epsilon=0.1), epsilon=0.1)


@given(images, st.integers(1, 3))
@quick
def test_group_normalization(check, image, groups):
    n, c, sizes, seed = image
    x, scale, b = tensors(seed, (n, c * groups, *sizes), (c * groups,), (c * groups,))
    check(GroupNormalization, [x, scale, b], **error_scale(x, scale, epsilon=0.1), epsilon=0.1, num_groups=groups)


@given(images, st.data())
@quick
def test_layer_normalization(check, image, data):
    n, c, sizes, seed = image
    shape = (n, c, *sizes)
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    x, scale, b = tensors(seed, shape, shape[axis:], shape[axis:])
    outputs = data.draw(st.sampled_from((1, 3)))
    check(LayerNormalization, [x, scale, b if data.draw(st.booleans()) else None], **error_scale(x, scale, epsilon=0.1), axis=axis,
          epsilon=0.1, outputs=outputs)


@given(images, st.data())
@quick
def test_rms_normalization(check, image, data):
    n, c, sizes, seed = image
    shape = (n, c, *sizes)
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    x, scale = tensors(seed, shape, shape[axis:])
    check(RMSNormalization, [x, scale], **error_scale(x, scale, epsilon=0.1), axis=axis, epsilon=0.1, opset=23)


@given(images, st.sampled_from((1, 2)), st.data())
@quick
def test_lp_normalization(check, image, p, data):
    n, c, sizes, seed = image
    [x] = tensors(seed, (n, c, *sizes))
    x *= np.random.default_rng(seed).integers(0, 2, (n, c, *[1] * len(sizes))).astype(np.float32)
    check(LpNormalization, [x], terms=8, axis=data.draw(st.integers(-x.ndim, x.ndim - 1)), p=p)


@given(images, st.integers(1, 5))
@quick
def test_lrn(check, image, size):
    n, c, sizes, seed = image
    [x] = tensors(seed, (n, c, *(sizes + [1, 1])[:2]))
    size = size // 2 * 2 + 1  # onnxruntime takes odd sizes only
    check(LRN, [x], terms=16, magnitude=4 * float(np.abs(x).max()), size=size, alpha=0.3, beta=0.75, bias=1.5)


@pytest.mark.parametrize("size", [2, 4])
def test_lrn_of_even_size_looks_further_ahead(check, size):
    [x] = tensors(5, (1, 6, 2, 2))
    [y] = check(LRN, [x], magnitude=4.0, size=size, alpha=1.0, beta=1.0, oracle=False)
    first, end = max(0, 3 - (size - 1) // 2), 3 + size // 2 + 1
    np.testing.assert_allclose(y[0, 3], x[0, 3] / (1 + (x[0, first:end] ** 2).sum(axis=0) / size), rtol=1e-6)


@given(images)
@quick
def test_mean_variance_normalization(check, image):
    n, c, sizes, seed = image
    [x] = tensors(seed, (n + 1, c, *(sizes + [2, 2])[:2]))
    check(MeanVarianceNormalization, [x], **error_scale(x, epsilon=1e-3))
    check(MeanVarianceNormalization, [x], **error_scale(x, epsilon=1e-3), axes=(-1, 0), oracle=False)


@pytest.mark.parametrize("dtype", [np.float16, np.float64, bf16.numpy])
def test_other_float_types(check, dtype):
    x, scale, b = tensors(1, (2, 4, 6), (4,), (4,), dtype=dtype)
    wide = {"magnitude": 40.0, "oracle": False}
    check(InstanceNormalization, [x, scale, b], **wide)
    check(GroupNormalization, [x, scale, b], num_groups=2, **wide)
    check(RMSNormalization, [x, scale.reshape(4, 1)], **wide)
    check(LpNormalization, [x], **wide)
    check(LRN, [x], size=3, **wide)
    check(MeanVarianceNormalization, [x], axes=(0, 2), **wide)
    check(LayerNormalization, [x, scale.reshape(4, 1)], outputs=3, stash_type=11 if dtype is np.float64 else 1, terms=1 << 16, **wide)


def test_symbolic_rows():
    n, d = var("n", 1, 4), var("d", 1, 9)
    op = LayerNormalization(value("x", n, d), value("scale", d), value("b", d))
    x, scale, b = tensors(2, (3, 7), (7,), (7,))
    np.testing.assert_allclose(evaluate_op(op, [x, scale, b])[0], run_reference(op, [x, scale, b])[0], rtol=1e-5, atol=1e-5)


X, C4 = value("x", 2, 4, 5), value("scale", 4)


@pytest.mark.parametrize("make, message", [
    (lambda: BatchNormalization(X, C4, value("b", 3), C4, C4), r"%b has shape \[3\], one element for each of 4 channels"),
    (lambda: BatchNormalization(value("x", 4), C4, C4, C4, C4), "input has rank 1"),
    (lambda: InstanceNormalization(value("x", 2, 4), C4, C4), "input has rank 2"),
    (lambda: InstanceNormalization(value("x", 2, 4, 5, dtype=i32), C4, C4), "must be of float types"),
    (lambda: GroupNormalization(X, C4, C4, num_groups=3), "4 channels do not divide into 3 groups"),
    (lambda: LayerNormalization(X, value("scale", 4)), "do not broadcast"),
    (lambda: LayerNormalization(X, value("scale", 3, 2, 4, 5)), "does not broadcast to"),
    (lambda: LayerNormalization(X, value("scale", 5), axis=3), "axis 3 is outside"),
    (lambda: LayerNormalization(X, value("scale", 5), stash_type=7), "stash_type is 7"),
    (lambda: RMSNormalization(X, value("scale", 5, dtype=i32)), "must be of float types"),
    (lambda: LpNormalization(X, p=3), "p is 3"),
    (lambda: LRN(X, size=0), "size is 0"),
    (lambda: MeanVarianceNormalization(X, axes=(0, 3)), "axis 3 is outside"),
])
def test_errors(make, message):
    with pytest.raises(TypeMismatch, match=message):
        make()


def test_training_is_refused_with_a_hint():
    with pytest.raises(Unsupported, match="hint: export the model for inference"):
        BatchNormalization(X, C4, C4, C4, C4, training_mode=1)
