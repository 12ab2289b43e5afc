"""Means of quantized tensors: QLinearAveragePool, QLinearGlobalAveragePool and QLinearReduceMean of the domain com.microsoft.

Sums are exact, in i32 (of 16-bit elements, which only edgec knows, up to 2^15 of them). With n elements in a mean,
y = clamp(round_half_even(f32(sum of (x - zx)) * m) + zy), m = f32(sx / f32(sy * n)), which is how onnxruntime's global pool rounds.

    QLinearGlobalAveragePool(x, x_scale, x_zero_point, y_scale, y_zero_point)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from edgec.expr import Expr, cast, is_const
from edgec.graph import Op, Value
from edgec.lowering import Reader
from edgec.ops.accumulation import fold
from edgec.ops.pooling import AveragePool, members, windows
from edgec.ops.quantized import number, requantize, requantized, require_bytes, require_single
from edgec.ops.quantized_arithmetic import less, zero_of
from edgec.ops.window import Pooling, require_counts, window_of
from edgec.types import DType, TensorType, f32, i32


class QuantizedMean(Op):
    """Base of means of a quantized tensor."""

    abstract = True
    domain = "com.microsoft"
    x: Value
    x_scale: Value
    x_zero_point: Value | None = None
    y_scale: Value
    y_zero_point: Value | None = None

    def check(self) -> None:
        require_bytes(self, (self.x, self.x_zero_point), (self.x, self.y_zero_point), words=True)
        require_single(self, *self.operands[1:])

    def scaled(self, total: Expr, count: Any, x_scale: Reader, y_scale: Reader, y_zero_point: Reader | None) -> Expr:
        """The quantized mean of `count` elements with a given sum."""
        number_of = cast(count, f32) if isinstance(count, Expr) else float(count)
        m = number(x_scale, f32) / (number(y_scale, f32) * number_of)
        return requantized(total, m, number(y_zero_point, f32), self.x.dtype)


def quantized_mean(total: np.ndarray, count: Any, x_scale, y_scale, y_zero_point, dtype: DType) -> np.ndarray:
    """The same on arrays."""
    divisor = y_scale.astype(np.float32).reshape(()) * np.asarray(count, np.float32)
    return requantize(total, x_scale.astype(np.float32).reshape(()) / divisor, zero_of(y_zero_point), dtype)


def sum_over_box(extents: Sequence[Any], value, zero: Expr) -> Expr:
    """The sum of value(*index) - zero over a box, as one sum of bytes and a product."""
    total = fold(extents, "add", lambda *k: cast(value(*k), i32))
    count = math.prod(extents)
    if is_const(zero, 0):
        return total
    return total - zero * (cast(count, i32) if isinstance(count, Expr) else count)


class QLinearAveragePool(QuantizedMean, Pooling):
    """com.microsoft QLinearAveragePool: the mean of each window, quantized; channels are the last axis with channels_last=1."""

    channels_last: int = 0
    count_include_pad: int = 0

    def infer(self) -> TensorType:
        self.check()
        self.require(self.x.type.rank >= 3, f"input has rank {self.x.type.rank}; [n, c, spatial...] is needed")
        n, c, *sizes = self.moved(self.x.shape)
        window = window_of(self, sizes, self.kernel_shape)
        counts = window.counts(sizes, bool(self.ceil_mode))
        require_counts(self, window, sizes, counts)
        return self.x.type.with_shape((n, *counts, c) if self.channels_last else (n, c, *counts))

    def moved(self, places: Sequence[Any]) -> tuple[Any, ...]:
        """What belongs to the axes, with the channels as the second one."""
        return (places[0], places[-1], *places[1:-1]) if self.channels_last else tuple(places)

    def reference(self, x, x_scale, x_zero_point, y_scale, y_zero_point):
        x = np.moveaxis(x, -1, 1) if self.channels_last else x
        taps, _, _ = windows(self, less(x, x_zero_point), 0)
        ones = AveragePool.members_of(self, x.shape)
        y = quantized_mean(taps.sum(axis=-1), ones, x_scale, y_scale, y_zero_point, self.x.dtype)
        return np.moveaxis(y, 1, -1) if self.channels_last else y

    def lower(self, at, x, x_scale, x_zero_point, y_scale, y_zero_point):
        n, c, *y = self.moved(at)
        sizes = self.moved(x.shape)[2:]
        window, fill = window_of(self, sizes, self.kernel_shape), number(x_zero_point, x.dtype)

        def tap(*k):
            position = window.position(y, k)
            return x(n, *position, c, fill=fill) if self.channels_last else x(n, c, *position, fill=fill)
        total, count = sum_over_box(window.kernel, tap, number(x_zero_point, i32)), members(self, y, sizes)
        return self.scaled(total, count.data if count.op == "const" else count, x_scale, y_scale, y_zero_point)


class QLinearGlobalAveragePool(QuantizedMean):
    """com.microsoft QLinearGlobalAveragePool: the mean over all spatial axes, quantized."""

    channels_last: int = 0

    def infer(self) -> TensorType:
        self.check()
        self.require(self.x.type.rank >= 3, f"input has rank {self.x.type.rank}; [n, c, spatial...] is needed")
        return self.x.type.with_shape(tuple(1 if n in self.axes else d for n, d in enumerate(self.x.shape)))

    @property
    def axes(self) -> tuple[int, ...]:
        """Those that are averaged."""
        first = 1 if self.channels_last else 2
        return tuple(range(first, first + self.x.type.rank - 2))

    def reference(self, x, x_scale, x_zero_point, y_scale, y_zero_point):
        count = math.prod(x.shape[n] for n in self.axes)
        total = less(x, x_zero_point).sum(axis=self.axes, keepdims=True, dtype=np.int32)
        return quantized_mean(total, count, x_scale, y_scale, y_zero_point, self.x.dtype)

    def lower(self, at, x, x_scale, x_zero_point, y_scale, y_zero_point):
        return self.over(self.axes, at, x, x_scale, x_zero_point, y_scale, y_zero_point)

    def over(self, axes, at, x, x_scale, x_zero_point, y_scale, y_zero_point):
        """The mean over some axes, at an index that has them."""
        extents = [x.shape[n] for n in axes]
        place = lambda k: [k[axes.index(n)] if n in axes else i for n, i in enumerate(at)]
        total = sum_over_box(extents, lambda *k: x(*place(k)), number(x_zero_point, i32))
        return self.scaled(total, math.prod(extents), x_scale, y_scale, y_zero_point)


class QLinearReduceMean(QuantizedMean):
    """com.microsoft QLinearReduceMean: the mean over some axes, quantized."""

    axes: tuple
    keepdims: int = 1

    def infer(self) -> TensorType:
        self.check()
        self.require(all(-self.x.type.rank <= n < self.x.type.rank for n in self.axes), f"axes {self.axes} of {self.x.type}")
        kept = [1 if n in self.places else d for n, d in enumerate(self.x.shape) if self.keepdims or n not in self.places]
        return self.x.type.with_shape(tuple(kept))

    @property
    def places(self) -> tuple[int, ...]:
        return tuple(sorted(n % self.x.type.rank for n in self.axes))

    def reference(self, x, x_scale, x_zero_point, y_scale, y_zero_point):
        count = math.prod(x.shape[n] for n in self.places)
        total = less(x, x_zero_point).sum(axis=self.places, keepdims=bool(self.keepdims), dtype=np.int32)
        return quantized_mean(total, count, x_scale, y_scale, y_zero_point, self.x.dtype)

    def lower(self, at, *readers):
        whole = list(at)
        for n in self.places if not self.keepdims else ():
            whole.insert(n, 0)
        return QLinearGlobalAveragePool.over(self, self.places, whole, *readers)
