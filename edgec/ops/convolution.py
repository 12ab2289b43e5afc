"""Conv and ConvTranspose over one, two or three (or more) spatial axes.

Both are one sum of products of two reads; padding is the fill value of an out-of-range read, so there is no pad kernel. The transposed
convolution is written as a gather (each output element sums the inputs that reach it), never as a scatter.

    Conv(x, w, b, strides=(2, 2), pads=(1, 1, 1, 1))       # x [n, c, y, x], w [o, c/group, ky, kx], b [o]
"""

from __future__ import annotations

import itertools
from math import gcd
from typing import Any

import numpy as np

from edgec.expr import dim, inside
from edgec.graph import Op, Value
from edgec.ops.accumulation import fold, narrow, rounded, widen
from edgec.ops.window import (
    Convolution,
    TransposedConvolution,
    Window,
    explicit_pads,
    greatest,
    padded,
    per_axis,
    require_counts,
    tap_views,
    window_of,
)
from edgec.types import DType, TensorType


def kernel_of(op: Op, w: Value) -> tuple[int, ...]:
    """The spatial extents of the weights, which the attribute kernel_shape, when given, must repeat."""
    kernel = w.shape[2:]
    declared = tuple(op.kernel_shape or ())
    op.require(declared in ((), kernel), f"kernel_shape {list(declared)} differs from the weights' {list(kernel)}")
    return kernel


def require_operands(op: Op, x: Value, w: Value, bias: Value | None, transposed: bool = False) -> None:
    """Ranks, shapes and channel counts of a convolution; a transposed one has w [c, o/group, k...] in place of [o, c/group, k...]."""
    op.require(x.type.rank >= 3 and w.type.rank == x.type.rank,
               f"input and weights have ranks {x.type.rank} and {w.type.rank}; both must be the same and at least 3")
    op.require(w.type.is_static, f"the weights' shape {list(w.shape)} must be known")
    op.require(op.group > 0 and w.shape[0] % op.group == 0, f"{w.shape[0]} weight channels do not divide into {op.group} groups")
    channels = (w.shape[0], w.shape[1] * op.group)
    expected, made = channels if transposed else channels[::-1]
    op.require(x.shape[1] == expected, f"input has {x.shape[1]} channels, weights with group {op.group} need {expected}")
    if bias is not None:
        op.require(bias.shape == (made,), f"bias has shape {list(bias.shape)}, must be [{made}]")


class Conv(Convolution):
    """ONNX Conv: y[n,o,p] = b[o] + sum over c, k of x[n, c, p*stride + k*dilation - pad] * w[o, c, k] (ONNX operators, Conv-22)."""

    x: Value
    w: Value
    b: Value | None = None

    def infer(self) -> TensorType:
        require_operands(self, self.x, self.w, self.b)
        same = all(v.dtype is self.x.dtype for v in self.operands)
        self.require(self.x.dtype.is_float and same, "operands must have one float type")
        sizes = self.x.shape[2:]
        window = window_of(self, sizes, kernel_of(self, self.w))
        counts = window.counts(sizes)
        require_counts(self, window, sizes, counts)
        return TensorType(self.x.dtype, (self.x.shape[0], self.w.shape[0], *counts))

    def reference(self, x, w, b):
        y = convolve(x.astype(np.float64), w.astype(np.float64), window_of(self, x.shape[2:], w.shape[2:]), self.group)
        if b is not None:
            y = y + b.astype(np.float64).reshape(-1, *[1] * (x.ndim - 2))
        return rounded(y, self.x.dtype)

    def lower(self, at, x, w, b):
        window = window_of(self, x.shape[2:], w.shape[2:])
        y = convolution_sum(at, window, self.group, w.shape,
                            lambda n, c, position: widen(x(n, c, *position, fill=0)), lambda *i: widen(w(*i)))
        return narrow(y if b is None else y + widen(b(at[1])), x.dtype)


def convolution_sum(at, window: Window, group: int, weight_shape: tuple, x, w):
    """The sum of x(n, channel, positions) * w(o, c, *taps) over the channels of the group and the taps of window `at`."""
    n, o, *y = at
    channels = weight_shape[1]
    base = 0 if group == 1 else o // (weight_shape[0] // group) * channels
    return fold((channels, *window.kernel), "add",
                     lambda c, *k: x(n, base + c, window.position(y, k)) * w(o, c, *k))


def convolve(x: np.ndarray, w: np.ndarray, window: Window, group: int) -> np.ndarray:
    """Convolution of arrays in their own type: one matrix product a tap and group."""
    counts = window.counts(x.shape[2:])
    weights = w.reshape(group, -1, *w.shape[1:])
    total = np.zeros((x.shape[0], group, weights.shape[1], int(np.prod(counts))), dtype=x.dtype)
    for tap, view in tap_views(padded(x, window, counts, 0), window, counts):
        total += weights[(..., *tap)] @ view.reshape(x.shape[0], group, weights.shape[2], -1)
    return total.reshape(x.shape[0], w.shape[0], *counts)


class ConvTranspose(TransposedConvolution):
    """ONNX ConvTranspose: the gradient of Conv; y[n,o,p] = b[o] + sum of x[n,c,i] * w[c,o,k] where i*stride + k*dilation - pad = p.

    Output size: stride*(size-1) + output_padding + (kernel-1)*dilation + 1 - pads, unless output_shape or auto_pad SAME_* fixes it and
    the padding follows from it (ONNX operators, ConvTranspose-22). w is [c, o/group, k...].
    """

    x: Value
    w: Value
    b: Value | None = None

    def infer(self) -> TensorType:
        require_operands(self, self.x, self.w, self.b, transposed=True)
        same = all(v.dtype is self.x.dtype for v in self.operands)
        self.require(self.x.dtype.is_float and same, "operands must have one float type")
        return transposed_type(self, self.x.dtype)

    def reference(self, x, w, b):
        window, counts = transposed_window(self, x.shape[2:], w.shape[2:])
        y = scatter_convolve(x.astype(np.float64), w.astype(np.float64), window, counts, self.group)
        if b is not None:
            y = y + b.astype(np.float64).reshape(-1, *[1] * (x.ndim - 2))
        return rounded(y, self.x.dtype)

    def lower(self, at, x, w, b):
        window, _ = transposed_window(self, x.shape[2:], w.shape[2:])
        n, o, *p = at
        channels, per_group = w.shape[0] // self.group, w.shape[1]
        base = 0 if self.group == 1 else o // per_group * channels
        axes = [Phase(y, *axis) for y, axis in zip(p, zip(window.kernel, window.strides, window.dilations, window.begin))]

        def product(c, *q):
            taps, positions = [a.tap(i) for a, i in zip(axes, q)], [a.position(i) for a, i in zip(axes, q)]
            source = widen(x(n, base + c, *positions, fill=0))
            whole = inside([(a.remainder, 1) for a in axes], source, 0)
            return whole * widen(w(base + c, o % per_group if self.group > 1 else o, *taps, fill=0))

        y = fold((channels, *(a.extent for a in axes)), "add", product)
        return narrow(y if b is None else y + widen(b(o)), x.dtype)


def transposed_type(op: Op, dtype: DType) -> TensorType:
    """The type of the result of a transposed convolution."""
    _, counts = transposed_window(op, op.x.shape[2:], kernel_of(op, op.w))
    op.require(all(not isinstance(c, int) or c > 0 for c in counts), f"the output would have spatial shape {list(counts)}")
    return TensorType(dtype, (op.x.shape[0], op.w.shape[1] * op.group, *counts))


def transposed_window(op: Op, sizes, kernel) -> tuple[Window, tuple[Any, ...]]:
    """The window of a transposed convolution with its padding, and the spatial output sizes."""
    rank = len(sizes)
    strides, dilations = per_axis(op, "strides", rank), per_axis(op, "dilations", rank)
    extra = per_axis(op, "output_padding", rank, 0)
    window = Window(tuple(kernel), strides, dilations, (0,) * rank, (0,) * rank)
    full = tuple(dim(s * (n - 1) + a + e) for s, n, a, e in zip(strides, sizes, extra, window.extents))
    same = op.auto_pad in ("SAME_UPPER", "SAME_LOWER")
    if not op.output_shape and not same:
        begin, end = explicit_pads(op, rank) if op.auto_pad == "NOTSET" else (window.begin, window.end)
        counts = tuple(dim(f - b - e) for f, b, e in zip(full, begin, end))
    else:
        counts = per_axis(op, "output_shape", rank) if op.output_shape else tuple(dim(n * s) for n, s in zip(sizes, strides))
        begin, end = _distribute(op, full, counts)
    return Window(window.kernel, strides, dilations, begin, end), counts


def _distribute(op: Op, full, counts):
    """Padding that cuts the full output down to `counts`: half on each side, an odd element at the end for SAME_UPPER only."""
    total = [greatest(f - c, 0) for f, c in zip(full, counts)]
    half = tuple(dim(t // 2) for t in total)
    rest = tuple(dim(t - h) for t, h in zip(total, half))
    return (half, rest) if op.auto_pad == "SAME_UPPER" else (rest, half)


class Phase:
    """The taps k of one axis that reach output index y: those where (y + pad - k*dilation) is a multiple of the stride.

    With g = gcd(stride, dilation), s = stride/g and d = dilation/g there is none unless g divides u = y + pad; then k = s*q + phase with
    phase = (u/g) * d^-1 mod s, for q from 0, and the position falls by d, the `rise`, from tap to tap. `remainder` is u mod g.
    """

    def __init__(self, y, kernel: int, stride: int, dilation: int, pad: Any):
        common = gcd(stride, dilation)
        self.stride, self.dilation, self.step, self.rise = stride, dilation, stride // common, dilation // common
        self.reached = y + pad
        self.remainder = self.reached % common
        self.phase = self.reached // common * pow(self.rise, -1, self.step) % self.step
        self.extent = -(-kernel // self.step)

    def tap(self, q):
        return q * self.step + self.phase

    def position(self, q):
        return (self.reached - self.tap(q) * self.dilation) // self.stride


def scatter_convolve(x: np.ndarray, w: np.ndarray, window: Window, counts, group: int) -> np.ndarray:
    """Transposed convolution of arrays: every input element times the kernel is added to the output it reaches."""
    n, per_group = x.shape[0], w.shape[1]
    inputs, weights = x.reshape(n, group, -1, *x.shape[2:]), w.reshape(group, -1, *w.shape[1:])
    room = [max(b + c, (i - 1) * s + e) for b, c, i, s, e in zip(window.begin, counts, x.shape[2:], window.strides, window.extents)]
    full = np.zeros((n, group, per_group, *room), dtype=x.dtype)
    for tap in itertools.product(*(range(k) for k in window.kernel)):
        cut = tuple(slice(k * d, k * d + (i - 1) * s + 1, s) for k, d, i, s in zip(tap, window.dilations, x.shape[2:], window.strides))
        full[(..., *cut)] += np.einsum("ngc...,gco->ngo...", inputs, weights[(..., *tap)])
    cropped = full[(..., *(slice(b, b + c) for b, c in zip(window.begin, counts)))]
    return cropped.reshape(n, group * per_group, *counts)
