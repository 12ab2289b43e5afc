"""8-bit convolution and matmul: reference against onnxruntime and lowering against reference, bit for bit; error messages."""

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from edgec.errors import TypeMismatch
from edgec.expr import ReduceParts, fresh, read
from edgec.graph import constant, graph_input
from edgec.lowering import lower_op
from edgec.ops.quantized import ConvInteger, MatMulInteger, QLinearConv, QLinearMatMul
from edgec.sweeps import walk
from edgec.types import TensorType, f32, i8, i32, u8

quick = settings(deadline=None, max_examples=25)
BYTES = st.sampled_from((np.int8, np.uint8))


def value(name, *shape, dtype=f32):
    return graph_input(name, TensorType(dtype, shape))


def integers(seed, dtype, *shape):
    info = np.iinfo(dtype)
    return np.random.default_rng(seed).integers(info.min, info.max, shape, endpoint=True).astype(dtype)


def scales(seed, *shape):
    return np.random.default_rng(seed).uniform(0.001, 0.02, shape).astype(np.float32)


@st.composite
def convolutions(draw, x_type, w_type):
    """(x, w, attributes) of an 8-bit 2-D convolution that fits."""
    pair = lambda low, high: [draw(st.integers(low, high)) for _ in range(2)]
    kernel, group, seed = pair(1, 3), draw(st.integers(1, 2)), draw(st.integers(0, 99))
    per_in, per_out = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    attributes = {"group": group, "strides": pair(1, 2), "dilations": pair(1, 2), "pads": pair(0, 1) + pair(0, 1)}
    sizes = [n + draw(st.integers(4, 6)) for n in kernel]
    return integers(seed, x_type, 1, group * per_in, *sizes), integers(seed + 1, w_type, group * per_out, per_in, *kernel), attributes


@given(BYTES.flatmap(lambda w: convolutions(np.uint8, w)), st.integers(0, 3), st.integers(0, 99))
@quick
def test_conv_integer(check, case, zero_points, seed):
    x, w, attributes = case
    x_zero = integers(seed, x.dtype) if zero_points & 1 else None
    w_zero = integers(seed + 1, w.dtype) if zero_points & 2 else None
    check(ConvInteger, [x, w, x_zero, w_zero], **attributes)


@given(BYTES.flatmap(lambda x: convolutions(x, np.int8)), st.booleans(), st.booleans(), st.integers(0, 99))
@quick
def test_qlinear_conv(check, case, per_channel, biased, seed):
    x, w, attributes = case
    channels = (w.shape[0],) if per_channel else ()
    w_zero = np.zeros(channels, w.dtype)
    b = np.random.default_rng(seed).integers(-9999, 9999, w.shape[0]).astype(np.int32) if biased else None
    check(QLinearConv, [x, scales(seed), integers(seed, x.dtype), w, scales(seed + 1, *channels), w_zero, scales(seed + 2) * 300,
                        integers(seed + 1, x.dtype), b], constants=(3, 5), **attributes)


def matrices(seed, a_type, b_type, lead=()):
    return integers(seed, a_type, *lead, 3, 5), integers(seed + 1, b_type, *lead, 5, 4)


@given(BYTES, BYTES, st.sampled_from(("none", "single", "lines")), st.integers(0, 99))
@quick
def test_matmul_integer(check, a_type, b_type, zero_points, seed):
    a, b = matrices(seed, a_type, b_type)
    shapes = {"single": ((), ()), "lines": ((), (4,))}.get(zero_points)
    zeros = [integers(seed + 2, a.dtype, *shapes[0]), integers(seed + 3, b.dtype, *shapes[1])] if shapes else []
    check(MatMulInteger, [a, b, *zeros])


def test_zero_points_of_every_row_of_a_batch(check):
    a, b = matrices(5, np.uint8, np.int8, lead=(2,))
    a_zero, b_zero = integers(1, np.uint8, 2, 3, 1), integers(2, np.int8, 2, 1, 4)
    [y] = check(MatMulInteger, [a, b, a_zero, b_zero], oracle=False)
    np.testing.assert_array_equal(y, (a.astype(int) - a_zero) @ (b.astype(int) - b_zero))
    [y] = check(MatMulInteger, [a[0], b[0], a_zero[0, :, 0], b_zero[0, 0]], oracle=False)
    np.testing.assert_array_equal(y, (a[0].astype(int) - a_zero[0]) @ (b[0].astype(int) - b_zero[0]))


@given(BYTES, st.booleans(), st.booleans(), st.integers(0, 99))
@quick
def test_qlinear_matmul(check, b_type, per_column, batched, seed):
    a, b = matrices(seed, b_type, np.int8, lead=(2,) if batched else ())
    columns = (4,) if per_column and not batched else ()
    check(QLinearMatMul, [a, scales(seed), integers(seed, a.dtype), b, scales(seed + 1, *columns), np.zeros(columns, np.int8),
                          scales(seed + 2) * 300, integers(seed + 3, a.dtype)], constants=(3, 5))


def test_zero_points_of_zero_leave_a_plain_product():
    zero = constant(np.zeros(6, np.int8))
    op = ConvInteger(value("x", 1, 4, 8, 8, dtype=u8), value("w", 6, 4, 3, 3, dtype=i8), constant(np.uint8(0)), zero, pads=(1, 1, 1, 1))
    root = lower_op(op, [fresh("i", 0, d - 1) for d in op.output.shape], read)[0]
    [body] = ReduceParts(root).body
    assert body.op == "mul" and [a.op for a in body.args] == ["cast", "cast"] and not [n for n in walk(root) if n.op == "sub"]


def test_ties_round_to_even_and_the_result_saturates(check):
    a, b = np.array([[1], [3], [-3], [100], [-100]], np.int8), np.array([[1]], np.int8)
    one, zero = np.float32(1).reshape(()), np.zeros((), np.int8)
    [y] = check(QLinearMatMul, [a, one, zero, b, one, zero, one * np.float32(2), zero], oracle=False)
    np.testing.assert_array_equal(y.ravel(), [0, 2, -2, 50, -50])
    [y] = check(QLinearMatMul, [a, one, zero, b, one, zero, np.float32(0.5).reshape(()), zero], oracle=False)
    np.testing.assert_array_equal(y.ravel(), [2, 6, -6, 127, -128])


X, W, ZERO = value("x", 1, 4, 8, 8, dtype=u8), value("w", 6, 4, 3, 3, dtype=i8), value("zero", dtype=u8)
S, WZERO = value("s"), value("wzero", dtype=i8)
A, B = value("a", 3, 5, dtype=u8), value("b", 5, 4, dtype=i8)


@pytest.mark.parametrize("make, message", [
    (lambda: ConvInteger(X, value("w", 6, 4, 3, 3)), "%w is f32; i8 or u8 is needed"),
    (lambda: ConvInteger(X, W, WZERO), "%x and its zero point differ in element type"),
    (lambda: ConvInteger(X, W, value("z", 4, dtype=u8)), "%z must be a single number"),
    (lambda: ConvInteger(X, W, ZERO, value("z", 4, dtype=i8)), "%z must be a single number or one for each of 6 output channels"),
    (lambda: QLinearConv(X, S, ZERO, W, S, WZERO, S, ZERO, value("bias", 6)), "the bias must be i32"),
    (lambda: QLinearConv(X, S, ZERO, W, S, WZERO, S, ZERO, value("bias", 5, dtype=i32)), r"bias has shape \[5\]"),
    (lambda: QLinearConv(X, S, ZERO, W, ZERO, WZERO, S, ZERO), "the scales must be f32"),
    (lambda: MatMulInteger(A, value("b", 4, 4, dtype=i8)), "inner dimensions differ: 5 and 4"),
    (lambda: MatMulInteger(A, B, value("z", 4, dtype=u8)), r"do not broadcast|one for each of 3 rows"),
    (lambda: MatMulInteger(A, B, None, value("z", 5, 1, dtype=i8)), "one for each of 4 columns is needed"),
    (lambda: QLinearMatMul(A, ZERO, ZERO, B, S, WZERO, S, ZERO), "the scales must be of a float type"),
    (lambda: QLinearMatMul(A, S, ZERO, B, S, WZERO, value("s", 3), ZERO), "%s must be a single number"),
])
def test_errors(make, message):
    with pytest.raises(TypeMismatch, match=message):
        make()
