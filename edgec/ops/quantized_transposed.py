"""Transposed convolution of integers with known weights, which ONNX does not have: ConvTransposeInteger, QLinearConvTranspose.

Attributes and shapes are those of ConvTranspose, arithmetic and types those of ConvInteger and QLinearConv: an exact sum of
(x - zx) (w - zw), then y = clamp(round_half_even(f32(sum + b) * m) + zy), m = f32(f32(sx * sw) / sy). The pass integers makes them.

    QLinearConvTranspose(x, sx, zx, w, sw, zw, sy, zy, b, strides=(2, 2))      # w [c, o/group, ky, kx], sw one or [o/group]
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edgec.box_sums import box_sum, prefix_sums, within
from edgec.expr import Expr, as_expr, cast, inside, is_const, read
from edgec.graph import Op, Value
from edgec.lowering import Reader
from edgec.ops.accumulation import fold
from edgec.ops.constant_table import table
from edgec.ops.convolution import Phase, require_operands, scatter_convolve, transposed_type, transposed_window
from edgec.ops.quantized import (
    centered,
    multiplier,
    number,
    requantize,
    requantized,
    require_bytes,
    require_channels_of,
    require_scaled,
    require_single,
    sum_type,
    wrapped,
)
from edgec.ops.window import TransposedConvolution
from edgec.types import DType, TensorType, f32, i32, index


def _type(op: Op, bias: Value | None, dtype: DType) -> TensorType:
    """The type of a transposed convolution of integers, whose weights must be known."""
    op.require(centered(op.w, op.w_zero_point, 1) is not None, "the weights and their zero points must be constants")
    require_operands(op, op.x, op.w, bias, transposed=True)
    require_channels_of(op, op.w.shape[1], "output channels of a group", op.w_zero_point)
    return transposed_type(op, dtype)


def _scattered(op: Op, x: np.ndarray, w: np.ndarray, x_zero_point: np.ndarray | None, w_zero_point: np.ndarray | None) -> np.ndarray:
    """The exact sums of arrays, as i32 (i64 of 16-bit x)."""
    real = x.astype(np.float64) - (0 if x_zero_point is None else x_zero_point.astype(np.float64).reshape(()))
    ones = (1,) * (x.ndim - 2)
    weights = w.astype(np.float64) - (0 if w_zero_point is None else w_zero_point.astype(np.float64).reshape(1, -1, *ones))
    return wrapped(scatter_convolve(real, weights, *transposed_window(op, x.shape[2:], w.shape[2:]), op.group), op.x)


def _sum(op: Op, at: tuple[Expr, ...], x: Reader, w: Reader, x_zero_point: Reader | None, w_zero_point: Reader | None,
         b: Reader | None = None) -> Expr:
    """The sum at one output index with the bias: sum x w' - zx sum w', the second over the taps that reach an element of x."""
    constant = centered(w.value, w_zero_point and w_zero_point.value, 1)
    wide = sum_type(x.value, x_zero_point and x_zero_point.value, constant, (0, *range(2, w.rank)), b and b.value)
    window, _ = transposed_window(op, x.shape[2:], w.shape[2:])
    axes = [Phase(y, *axis) for y, axis in zip(at[2:], zip(window.kernel, window.strides, window.dilations, window.begin))]
    laid = _by_phase(constant, axes)
    total = _products(op, at, x, axes, laid, wide)
    zero, bias = number(x_zero_point, wide), 0 if b is None else cast(b(at[1]), wide)
    if is_const(zero, 0):
        return total + bias
    return total - zero * cast(_reached_weights(op, at, x, axes, laid), wide) + bias


def _by_phase(weights: np.ndarray, axes: list[Phase]) -> np.ndarray:
    """Weights [c, o, k...] as [c, o, q..., phase...], tap k = q * step + phase, with zeros behind the kernel."""
    rank = len(axes)
    room = [a.extent * a.step - k for a, k in zip(axes, weights.shape[2:])]
    split = np.pad(weights, [(0, 0), (0, 0), *((0, n) for n in room)]).reshape(
        *weights.shape[:2], *(n for a in axes for n in (a.extent, a.step)))
    return split.transpose(0, 1, *range(2, 2 + 2 * rank, 2), *range(3, 3 + 2 * rank, 2))


def _products(op: Op, at: tuple[Expr, ...], x: Reader, axes: list[Phase], laid: np.ndarray, wide: DType) -> Expr:
    """The sum of products of x with the weights of each phase; elements that are not there add nothing."""
    n, o = at[:2]
    channels, per_group = laid.shape[0] // op.group, laid.shape[1]
    base, column = (0, o) if op.group == 1 else (o // per_group * channels, o % per_group)
    weights, phases = table(laid), [a.phase for a in axes]

    def product(c: Expr, *q: Expr) -> Expr:
        source = x(n, base + c, *(a.position(i) for a, i in zip(axes, q)), fill=0)
        return cast(_where_reached(axes, source), wide) * cast(read(weights, (base + c, column, *q, *phases)), wide)
    return fold((channels, *(a.extent for a in axes)), "add", product)


def _where_reached(axes: list[Phase], value: Expr) -> Expr:
    """A value, 0 at outputs that no tap reaches since stride and dilation have a common factor."""
    return inside([(a.remainder, 1) for a in axes if not is_const(a.remainder, 0)], value, 0)


def _reached_weights(op: Op, at: tuple[Expr, ...], x: Reader, axes: list[Phase], laid: np.ndarray) -> Expr:
    """The sum of the weights of output channel at[1] over the taps of its phase that reach an element of x."""
    rank = len(axes)
    grouped = laid.astype(np.int32).reshape(op.group, -1, *laid.shape[1:]).sum(axis=1, dtype=np.int32)
    taps = np.flip(grouped.reshape(-1, *laid.shape[2:]), range(1, 1 + rank))  # positions fall with q; box sums want them to rise
    sums = table(prefix_sums(np.moveaxis(taps, 0, -1), rank))
    ranges = [within(as_expr(a.position(a.extent - 1), index), a.rise, size, a.extent) for a, size in zip(axes, x.shape[2:])]
    place = (*(a.phase for a in axes), at[1])
    return _where_reached(axes, box_sum(ranges, lambda corner: read(sums, (*corner, *place))))


class ConvTransposeInteger(TransposedConvolution):
    """edgec ConvTransposeInteger: ConvTranspose of 8-bit integers less their zero points, as i32."""

    domain = "edgec"
    x: Value
    w: Value
    x_zero_point: Value | None = None
    w_zero_point: Value | None = None

    def infer(self) -> TensorType:
        require_bytes(self, (self.x, self.x_zero_point), (self.w, self.w_zero_point))
        require_single(self, self.x_zero_point)
        return _type(self, None, i32)

    def reference(self, x, w, x_zero_point, w_zero_point):
        return _scattered(self, x, w, x_zero_point, w_zero_point)

    def lower(self, at, x, w, x_zero_point, w_zero_point):
        return _sum(self, at, x, w, x_zero_point, w_zero_point)


class QLinearConvTranspose(TransposedConvolution):
    """edgec QLinearConvTranspose: ConvTransposeInteger plus an i32 bias, scaled to the 8-bit (16-bit) output as in QLinearConv."""

    domain = "edgec"
    x: Value
    x_scale: Value
    x_zero_point: Value
    w: Value
    w_scale: Value
    w_zero_point: Value
    y_scale: Value
    y_zero_point: Value
    b: Value | None = None

    def infer(self) -> TensorType:
        require_scaled(self)
        made = _type(self, self.b, self.y_zero_point.dtype)
        require_channels_of(self, self.w.shape[1], "output channels of a group", self.w_scale)
        return made

    def reference(self, x, x_scale, x_zero_point, w, w_scale, w_zero_point, y_scale, y_zero_point, b):
        ones = (1,) * (x.ndim - 2)
        total = _scattered(self, x, w, x_zero_point, w_zero_point)
        total = total if b is None else total + b.reshape(-1, *ones)
        m: Any = x_scale.reshape(()) * w_scale.reshape(-1) / y_scale.reshape(())
        m = m if m.size == 1 else np.tile(m, self.group)
        return requantize(total, m.reshape(-1, *ones), y_zero_point.astype(np.float64).reshape(()), self.y_zero_point.dtype)

    def lower(self, at, x, x_scale, x_zero_point, w, w_scale, w_zero_point, y_scale, y_zero_point, b):
        total = _sum(self, at, x, w, x_zero_point, w_zero_point, b)
        m = multiplier(x_scale, w_scale, y_scale, at[1] if self.group == 1 else at[1] % w.shape[1])
        return requantized(total, m, number(y_zero_point, f32), y_zero_point.dtype)
