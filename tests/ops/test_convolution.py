"""Conv and ConvTranspose: reference against onnxruntime, lowering against reference, inference of symbolic sizes, error messages."""

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from edgec.errors import TypeMismatch
from edgec.evaluate import evaluate_op
from edgec.expr import var
from edgec.graph import graph_input, run_reference
from edgec.ops.convolution import Conv, ConvTranspose
from edgec.sweeps import evaluate_dim
from edgec.types import TensorType, bf16, f16, f32

quick = settings(deadline=None, max_examples=25)


def value(name, *shape, dtype=f32):
    return graph_input(name, TensorType(dtype, shape))


@st.composite
def convolutions(draw, transposed=False):
    """(x, w, b, attributes) of a convolution that fits."""
    rank = draw(st.integers(1, 3))
    axis = lambda strategy: [draw(strategy) for _ in range(rank)]
    kernel, strides, dilations = axis(st.integers(1, 3)), axis(st.integers(1, 3)), axis(st.integers(1, 3))
    group, per_in, per_out = draw(st.integers(1, 3)), draw(st.integers(1, 2)), draw(st.integers(1, 3))
    extents = [(k - 1) * d + 1 for k, d in zip(kernel, dilations)]
    auto_pad = draw(st.sampled_from(("NOTSET", "NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER")))
    attributes = {"strides": strides, "group": group, "auto_pad": auto_pad}
    if auto_pad == "NOTSET":
        attributes["pads"] = [draw(st.integers(0, 2)) for _ in range(2 * rank)]
    if auto_pad.startswith("SAME"):
        extents, dilations = kernel, [1] * rank  # onnxruntime has no dilation here
    attributes["dilations"] = dilations
    sizes = [draw(st.integers(max(1, e), e + 4)) for e in extents]
    weights = (group * per_in, per_out, *kernel) if transposed else (group * per_out, per_in, *kernel)
    random = np.random.default_rng(draw(st.integers(0, 99)))
    tensor = lambda *shape: random.standard_normal(shape).astype(np.float32)
    x, w = tensor(draw(st.integers(1, 2)), group * per_in, *sizes), tensor(*weights)
    b = tensor(group * per_out) if draw(st.booleans()) else None
    return x, w, b, attributes


def magnitude(x, w):
    """A bound on the sum of |products| of one result: K * max|x| * max|w|."""
    terms = int(np.prod(w.shape[1:]))
    return {"terms": terms, "magnitude": max(1.0, terms * float(np.abs(x).max() * np.abs(w).max()))}


@given(convolutions())
@quick
def test_conv(check, case):
    x, w, b, attributes = case
    check(Conv, [x, w, b], **magnitude(x, w), **attributes)


@given(convolutions(transposed=True), st.data())
@quick
def test_conv_transpose(check, case, data):
    x, w, b, attributes = case
    rank = x.ndim - 2
    attributes["output_padding"] = [data.draw(st.integers(0, s - 1)) for s in attributes["strides"]]
    full = [s * (n - 1) + (k - 1) * d + 1 + o for s, n, k, d, o in zip(
        attributes["strides"], x.shape[2:], w.shape[2:], attributes["dilations"], attributes["output_padding"])]
    same = attributes["auto_pad"].startswith("SAME")
    pads = attributes.get("pads", [0] * 2 * rank)
    if any(f - b - e <= 0 for f, b, e in zip(full, pads, pads[rank:])) or same and any(
            f < n * s for f, n, s in zip(full, x.shape[2:], attributes["strides"])):
        return  # an empty output, or onnxruntime gives less than size * stride
    check(ConvTranspose, [x, w, b], **magnitude(x, w), **attributes)


@given(convolutions(transposed=True), st.data())
@quick
def test_conv_transpose_with_a_given_output_shape(check, case, data):
    x, w, b, attributes = case
    attributes.pop("pads", None)
    if attributes["auto_pad"] == "VALID":
        attributes["auto_pad"] = "NOTSET"
    full = [s * (n - 1) + (k - 1) * d + 1 for s, n, k, d in zip(attributes["strides"], x.shape[2:], w.shape[2:], attributes["dilations"])]
    attributes["output_shape"] = [data.draw(st.integers(max(1, f - 2), f)) for f in full]
    check(ConvTranspose, [x, w, b], **magnitude(x, w), **attributes)


@pytest.mark.parametrize("dtype", [np.float16, np.float64, bf16.numpy])
@pytest.mark.parametrize("cls", [Conv, ConvTranspose])
def test_other_float_types(check, cls, dtype):
    random = np.random.default_rng(1)
    x, w, b = (random.standard_normal(s).astype(dtype) for s in ((1, 4, 6, 5), (4, 2, 3, 3), (8 if cls is ConvTranspose else 4,)))
    group = 4 if cls is ConvTranspose else 2
    check(cls, [x, w, b], group=group, pads=(1, 0, 1, 2), oracle=False, **magnitude(x, w))


def test_depthwise_has_no_channel_axis():
    op = Conv(value("x", 1, 6, 8, 8), value("w", 6, 1, 3, 3), group=6)
    axes = reduction_axes(op)
    assert axes == [3, 3]
    assert reduction_axes(Conv(value("x", 1, 6, 8, 8), value("w", 4, 6, 1, 1))) == [6]


def reduction_axes(op):
    from edgec.expr import ReduceParts, fresh, read
    from edgec.lowering import lower_op
    from edgec.sweeps import walk
    at = [fresh("i", 0, d - 1) for d in op.output.shape]
    [found] = [n for n in walk(*lower_op(op, at, read)) if n.op == "reduce"]
    assert ReduceParts(found).body[0].op == "mul"
    return [e.data for e in ReduceParts(found).extents]


@pytest.mark.parametrize("auto_pad", ["NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID"])
@pytest.mark.parametrize("cls", [Conv, ConvTranspose])
def test_symbolic_batch_and_size(cls, auto_pad):
    n, y = var("n", 1, 4), var("y", 1, 9)
    pads = (1, 0, 1, 1) if auto_pad == "NOTSET" else ()
    op = cls(value("x", n, 2, y, 7), value("w", 2, 2, 3, 3), auto_pad=auto_pad, strides=(2, 2), pads=pads)
    random = np.random.default_rng(0)
    for batch, rows in ((1, 9), (3, 4), (2, 5)):
        x, w = random.standard_normal((batch, 2, rows, 7)).astype(np.float32), random.standard_normal((2, 2, 3, 3)).astype(np.float32)
        [reference] = run_reference(op, [x, w])
        assert reference.shape == tuple(evaluate_dim(d, {"n": batch, "y": rows}) for d in op.output.shape)
        np.testing.assert_allclose(evaluate_op(op, [x, w])[0], reference, rtol=1e-5, atol=1e-5)


def test_a_whole_symbolic_image_keeps_its_size_exactly():
    y = var("y", 1, 64)
    assert Conv(value("x", 1, 2, y, y), value("w", 4, 2, 3, 3), pads=(1, 1, 1, 1)).output.shape == (1, 4, y, y)
    assert ConvTranspose(value("x", 1, 2, y, y), value("w", 2, 4, 2, 2), strides=(2, 2)).output.shape == (1, 4, y * 2, y * 2)


X, W = value("x", 1, 4, 8, 8), value("w", 6, 4, 3, 3)


@pytest.mark.parametrize("make, message", [
    (lambda: Conv(value("x", 4, 8), W), "ranks 2 and 4"),
    (lambda: Conv(X, value("w", 6, 3, 3, 3)), "input has 4 channels, weights with group 1 need 3"),
    (lambda: Conv(X, value("w", 6, 1, 3, 3), group=4), "6 weight channels do not divide into 4 groups"),
    (lambda: Conv(X, W, value("b", 5)), r"bias has shape \[5\], must be \[6\]"),
    (lambda: Conv(X, W, kernel_shape=(3, 5)), r"kernel_shape \[3, 5\] differs from the weights' \[3, 3\]"),
    (lambda: Conv(X, value("w", 6, 4, 3, 3, dtype=f16)), "one float type"),
    (lambda: Conv(X, value("w", 6, 4, 9, 3)), "a window of 9 elements does not fit spatial axis 0 of 8 elements"),
    (lambda: Conv(X, W, strides=(1,)), "strides has 1 entries for 2 spatial axes"),
    (lambda: Conv(X, W, strides=(0, 1)), "entries must be at least 1"),
    (lambda: Conv(X, W, pads=(1, 1)), "pads has 2 entries"),
    (lambda: Conv(X, W, pads=(1, 1, -1, 1)), "padding cannot be negative"),
    (lambda: Conv(X, W, auto_pad="SAME"), "auto_pad is 'SAME'"),
    (lambda: Conv(X, value("w", var("m", 1, 8), 4, 3, 3)), "must be known"),
    (lambda: ConvTranspose(X, W), "input has 4 channels, weights with group 1 need 6"),
    (lambda: ConvTranspose(X, value("w", 4, 3, 3, 3), value("b", 4)), r"bias has shape \[4\], must be \[3\]"),
    (lambda: ConvTranspose(X, value("w", 4, 3, 1, 1), pads=(4, 4, 4, 4)), "the output would have spatial shape"),
])
def test_errors(make, message):
    with pytest.raises(TypeMismatch, match=message):
        make()
