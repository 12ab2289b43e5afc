"""Transposed convolution of integers: the exact sum of a ConvTranspose in f64, lowering against reference bit for bit, error messages."""

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from edgec.errors import TypeMismatch
from edgec.graph import constant, graph_input
from edgec.ops.convolution import ConvTranspose
from edgec.ops.quantized_transposed import ConvTransposeInteger, QLinearConvTranspose
from edgec.types import TensorType, f32, f64, u8

quick = settings(deadline=None, max_examples=40)
BYTES = st.sampled_from((np.int8, np.uint8))


def integers(seed, dtype, *shape):
    info = np.iinfo(dtype)
    return np.random.default_rng(seed).integers(info.min, info.max, shape, endpoint=True).astype(dtype)


@st.composite
def cases(draw, x_types=BYTES):
    """(x, w, attributes) of a transposed convolution of one or two axes that has a result."""
    rank, seed, group = draw(st.integers(1, 2)), draw(st.integers(0, 99)), draw(st.integers(1, 2))
    axis = lambda low, high: [draw(st.integers(low, high)) for _ in range(rank)]
    kernel, strides, dilations, sizes = axis(1, 4), axis(1, 3), axis(1, 2), axis(2, 4)
    extra = [draw(st.integers(0, s - 1)) for s in strides]
    full = [s * (n - 1) + (k - 1) * d + 1 + e for s, n, k, d, e in zip(strides, sizes, kernel, dilations, extra)]
    pads = [draw(st.integers(0, min(2, (f - 1) // 2))) for f in full * 2]
    attributes = {"group": group, "strides": strides, "dilations": dilations, "output_padding": extra, "pads": pads}
    per_in, per_out = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    return (integers(seed, draw(x_types), 1, group * per_in, *sizes), integers(seed + 1, draw(BYTES), group * per_in, per_out, *kernel),
            attributes)


def exact(x, x_zero, w, w_zero, attributes):
    """The sum by a ConvTranspose of f64, whose numbers stay whole."""
    real, weights = x.astype(np.float64) - float(x_zero), w.astype(np.float64) - np.reshape(w_zero, (1, -1, *[1] * (x.ndim - 2)))
    values = [graph_input("x", TensorType(f64, real.shape)), constant(weights)]
    return ConvTranspose(*values, **attributes).reference(real, weights, None)


@given(cases(), st.sampled_from(("none", "single", "lines")), st.integers(0, 99))
@quick
def test_sums_are_exact(check, case, zero_points, seed):
    x, w, attributes = case
    x_zero = None if zero_points == "none" else integers(seed, x.dtype)
    w_zero = None if zero_points == "none" else integers(seed + 1, w.dtype, *([w.shape[1]] if zero_points == "lines" else []))
    y, = check(ConvTransposeInteger, [x, w, x_zero, w_zero], constants=(1, 3), oracle=False, **attributes)
    np.testing.assert_array_equal(y, exact(x, 0 if x_zero is None else x_zero, w, 0 if w_zero is None else w_zero, attributes))


@given(cases(st.sampled_from((np.int8, np.uint8, np.int16))), st.booleans(), st.booleans(), st.integers(0, 99))
@quick
def test_requantized_by_the_formula(check, case, per_channel, biased, seed):
    x, w, attributes = case
    random, group = np.random.default_rng(seed), attributes["group"]
    sx, sy = np.float32(random.uniform(0.001, 0.02)), np.float32(random.uniform(0.3, 6))
    sw = random.uniform(0.001, 0.02, w.shape[1] if per_channel else ()).astype(np.float32)
    zx, zy, zw = integers(seed, x.dtype), integers(seed + 1, np.uint8), np.zeros(sw.shape, w.dtype)
    b = random.integers(-9999, 9999, group * w.shape[1]).astype(np.int32) if biased else None
    y, = check(QLinearConvTranspose, [x, sx, zx, w, sw, zw, sy, zy, b], constants=(1, 2, 3, 4, 5, 6, 7, 8), oracle=False, **attributes)
    ones = [1] * (x.ndim - 2)
    total = exact(x, zx, w, 0, attributes) + (0 if b is None else b.reshape(-1, *ones))
    m = np.broadcast_to(np.tile(sx * sw / sy, group) if per_channel else sx * sw / sy, group * w.shape[1]).reshape(-1, *ones)
    np.testing.assert_array_equal(y, np.clip(np.rint(total.astype(np.float32) * m) + int(zy), 0, 255))


X = graph_input("x", TensorType(u8, (1, 4, 5, 5)))
W = constant(integers(1, np.int8, 4, 3, 2, 2))
ONE, ZERO = constant(np.float32(1)), constant(np.uint8(0))


@pytest.mark.parametrize("make, message", [
    (lambda: ConvTransposeInteger(X, graph_input("w", W.type)), "the weights and their zero points must be constants"),
    (lambda: ConvTransposeInteger(X, constant(integers(1, np.int8, 5, 3, 2, 2))), "input has 4 channels, weights with group 1 need 5"),
    (lambda: ConvTransposeInteger(graph_input("x", TensorType(f32, (1, 4, 5, 5))), W), "%x is f32; i8 or u8 is needed"),
    (lambda: ConvTransposeInteger(X, W, pads=(9, 9, 9, 9)), "the output would have spatial shape"),
    (lambda: QLinearConvTranspose(X, ONE, ZERO, W, constant(np.ones(4, np.float32)), constant(np.int8(0)), ONE, ZERO),
     "must be a single number or one for each of 3 output channels of a group"),
])
def test_errors(make, message):
    with pytest.raises(TypeMismatch, match=message):
        make()
