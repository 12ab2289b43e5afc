"""Pooling: MaxPool, AveragePool, LpPool over sliding windows, and their global forms over all spatial axes.

Padding is never averaged in by accident: MaxPool fills with the least value, sums fill with 0 and AveragePool divides by a count that
index arithmetic gives for each window (a plain number where no window leaves the input).

    MaxPool(x, kernel_shape=(3, 3), strides=(2, 2), pads=(1, 1, 1, 1))
"""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np

from edgec.expr import (
    Combine,
    Expr,
    argument,
    as_expr,
    binary,
    cast,
    compare,
    const,
    fresh,
    inside,
    maximum,
    minimum,
    neutral,
    reduce,
    select,
    unary,
)
from edgec.graph import Op, Value
from edgec.ops.accumulation import fold, mean, narrow, rounded, widen
from edgec.ops.window import Pooling, Window, padded, require_counts, tap_views, window_of
from edgec.types import DType, TensorType, i64, index


def pooled_type(op: Op, x: Value, float_only: bool = True) -> TensorType:
    """The type of a pooled [n, c, spatial...] tensor."""
    op.require(x.type.rank >= 3, f"input has rank {x.type.rank}; [n, c, spatial...] is needed")
    op.require(x.dtype.is_float or not float_only, f"input is {x.dtype}; a float type is needed")
    window = window_of(op, x.shape[2:], op.kernel_shape)
    counts = window.counts(x.shape[2:], bool(op.ceil_mode))
    require_counts(op, window, x.shape[2:], counts)
    return TensorType(x.dtype, (*x.shape[:2], *counts))


def windows(op: Op, x: np.ndarray, fill: Any) -> tuple[np.ndarray, Window, tuple[int, ...]]:
    """[n, c, windows..., taps] of an array, with the window and the counts."""
    window = window_of(op, x.shape[2:], op.kernel_shape)
    counts = window.counts(x.shape[2:], bool(op.ceil_mode))
    views = [view for _, view in tap_views(padded(x, window, counts, fill), window, counts)]
    return np.stack(views, axis=-1), window, counts


def reduce_window(op: Op, at, x, combine: str, value, fill) -> Expr:
    """Fold value(x) over the taps of window `at`, with `fill` for taps outside the input."""
    window = window_of(op, x.shape[2:], op.kernel_shape)
    n, c, *y = at
    return fold(window.kernel, combine, lambda *k: value(x(n, c, *window.position(y, k), fill=fill)))


class MaxPool(Pooling):
    """ONNX MaxPool: the greatest element of each window and, as a second output, its index in the flat input (ONNX operators, MaxPool-22).

    Of equal elements the first in row-major order counts; storage_order=1 numbers the (last two) spatial axes column-major.
    """

    x: Value
    storage_order: int = 0
    outputs: int = 1

    def infer(self):
        self.require(self.x.dtype.is_float or self.x.dtype.is_integer, f"input is {self.x.dtype}; a number type is needed")
        pooled = pooled_type(self, self.x, float_only=False)
        return (pooled, pooled.with_dtype(i64)) if self.outputs > 1 else pooled

    def reference(self, x):
        lowest = -np.inf if self.x.dtype.is_float else self.x.dtype.low
        taps, _, counts = windows(self, x, x.dtype.type(lowest))
        pooled = taps.max(axis=-1)
        if self.outputs == 1:
            return pooled
        places = np.arange(x.size, dtype=np.int64).reshape(x.shape)
        numbers, _, _ = windows(self, places, np.int64(-1))
        greatest = (taps == pooled[..., None]) | np.isnan(taps.astype(np.float64))
        best = np.argmax(greatest & (numbers >= 0), axis=-1)
        chosen = np.take_along_axis(numbers, best[..., None], axis=-1)[..., 0]
        return pooled, self._column_major(chosen, x.shape) if self.storage_order else chosen

    def _column_major(self, places, shape):
        """Row-major flat indices renumbered with the spatial axes in the opposite order."""
        image = math.prod(shape[2:])
        inner = np.unravel_index(places % image, shape[2:])
        return places // image * image + np.ravel_multi_index(inner[::-1], shape[:1:-1])

    def lower(self, at, x):
        if self.outputs == 1:
            return reduce_window(self, at, x, "max", lambda v: v, self._least(x.dtype))
        window = window_of(self, x.shape[2:], self.kernel_shape)
        n, c, *y = at
        axes = [fresh("k", 0, k - 1) for k in window.kernel]
        position = window.position(y, axes)
        size = math.prod(x.shape[2:], start=const(1, index))
        place = flatten(position, x.shape[2:])
        value = x(n, c, *position, fill=self._least(x.dtype))
        where = inside(zip(position, x.shape[2:]), cast(place, i64), cast(size, i64))
        init = (self._least(x.dtype), cast(size, i64))
        best, found = reduce(first_greatest(x.dtype), axes, window.kernel, init, (value, where))
        found = minimum(found, cast(size - 1, i64))
        if self.storage_order:
            found = column_major(found, x.shape[2:])
        return best, found + cast((n * x.shape[1] + c) * size, i64)

    @staticmethod
    def _least(dtype: DType) -> Expr:
        return neutral("max", dtype)


@functools.cache
def first_greatest(dtype: DType) -> Combine:
    """(value, place) pairs: the greater value wins, of equal ones the earlier place."""
    a, i, b, j = argument("a", dtype), argument("i", i64), argument("b", dtype), argument("j", i64)
    right = compare("lt", a, b) | (compare("eq", a, b) & compare("lt", j, i))
    return Combine((a, i), (b, j), (select(right, b, a), select(right, j, i)))


def flatten(position, shape) -> Expr:
    """The row-major offset of an index in a box."""
    offset = as_expr(0, index)
    for i, size in zip(position, shape):
        offset = offset * size + i
    return offset


def column_major(place: Expr, shape) -> Expr:
    """A row-major i64 offset renumbered with the axes in the opposite order."""
    rest, digits = place, []
    for size in reversed(shape):
        size = cast(as_expr(size, index), i64)
        digits.append(binary("mod", rest, size))
        rest = rest / size
    offset = const(0, i64)
    for digit, size in zip(digits, reversed(shape)):
        offset = offset * cast(as_expr(size, index), i64) + digit
    return offset


class AveragePool(Pooling):
    """ONNX AveragePool: the mean of each window; padding counts only with count_include_pad (ONNX operators, AveragePool-22)."""

    x: Value
    count_include_pad: int = 0

    def infer(self) -> TensorType:
        return pooled_type(self, self.x)

    def reference(self, x):
        taps, _, _ = windows(self, x.astype(np.float64), 0.0)
        return rounded(taps.sum(axis=-1) / self.members_of(x.shape), self.x.dtype)

    def members_of(self, shape) -> np.ndarray:
        """How many elements each window averages, for an input of a shape."""
        window = window_of(self, shape[2:], self.kernel_shape)
        counts = window.counts(shape[2:], bool(self.ceil_mode))
        frame = [(0, 0), (0, 0), *(zip(window.begin, window.end) if self.count_include_pad else [(0, 0)] * window.rank)]
        ones = np.pad(np.ones(shape), frame)
        if self.count_include_pad:
            ones[:] = 1
            covering = Window(window.kernel, window.strides, window.dilations, (0,) * window.rank, (0,) * window.rank)
        else:
            covering = window
        found = sum(view for _, view in tap_views(padded(ones, covering, counts, 0.0), covering, counts))
        return np.maximum(found, 1)

    def lower(self, at, x):
        total = reduce_window(self, at, x, "add", widen, 0)
        count = members(self, at[2:], x.shape[2:])
        if count.op == "const":
            return narrow(total * (1.0 / count.data), x.dtype)
        return narrow(total / cast(count, total.dtype), x.dtype)


def members(op: Op, y, sizes) -> Expr:
    """How many elements window `y` of an average pool averages: the product over the axes of the taps within the counted range."""
    window = window_of(op, sizes, op.kernel_shape)
    product = const(1, index)
    for i, n, k, s, d, begin, end in zip(y, sizes, window.kernel, window.strides, window.dilations, window.begin, window.end):
        low, high = (-begin, n + end) if op.count_include_pad else (0, n)
        start = i * s - begin
        first = maximum((low - start + d - 1) // d, 0)
        last = minimum((high - start + d - 1) // d, k)
        product = product * maximum(last - first, 1)
    return product


class LpPool(Pooling):
    """ONNX LpPool: (sum of |x|^p over the window)^(1/p) (ONNX operators, LpPool-22)."""

    x: Value
    p: int = 2

    def infer(self) -> TensorType:
        self.require(self.p > 0, f"p is {self.p}; it must be positive")
        return pooled_type(self, self.x)

    def reference(self, x):
        taps, _, _ = windows(self, np.abs(x.astype(np.float64)) ** self.p, 0.0)
        return rounded(taps.sum(axis=-1) ** (1.0 / self.p), self.x.dtype)

    def lower(self, at, x):
        return narrow(root(reduce_window(self, at, x, "add", lambda v: power(widen(v), self.p), 0), self.p), x.dtype)


def power(v: Expr, p: int) -> Expr:
    """|v|^p."""
    if p == 1:
        return unary("abs", v)
    return v * v if p == 2 else binary("pow", unary("abs", v), const(p, v.dtype))


def root(v: Expr, p: int) -> Expr:
    """v^(1/p)."""
    if p == 1:
        return v
    return unary("sqrt", v) if p == 2 else binary("pow", v, const(1.0 / p, v.dtype))


def global_type(op: Op, x: Value) -> TensorType:
    """[n, c, 1, ...]: one element a channel."""
    op.require(x.type.rank >= 2, f"input has rank {x.type.rank}; [n, c, spatial...] is needed")
    op.require(x.dtype.is_float, f"input is {x.dtype}; a float type is needed")
    return x.type.with_shape((*x.shape[:2], *(1 for _ in x.shape[2:])))


def spatial(array: np.ndarray) -> tuple[int, ...]:
    return tuple(range(2, array.ndim))


class GlobalAveragePool(Op):
    """ONNX GlobalAveragePool: the mean over all spatial axes."""

    x: Value

    def infer(self) -> TensorType:
        return global_type(self, self.x)

    def reference(self, x):
        return rounded(x.astype(np.float64).mean(axis=spatial(x), keepdims=True), self.x.dtype)

    def lower(self, at, x):
        return narrow(mean(x.shape[2:], lambda *i: widen(x(at[0], at[1], *i))), x.dtype)


class GlobalMaxPool(Op):
    """ONNX GlobalMaxPool: the maximum over all spatial axes."""

    x: Value

    def infer(self) -> TensorType:
        return global_type(self, self.x)

    def reference(self, x):
        return x.max(axis=spatial(x), keepdims=True)

    def lower(self, at, x):
        return fold(x.shape[2:], "max", lambda *i: x(at[0], at[1], *i))


class GlobalLpPool(Op):
    """ONNX GlobalLpPool: (sum of |x|^p over all spatial axes)^(1/p)."""

    x: Value
    p: int = 2

    def infer(self) -> TensorType:
        self.require(self.p > 0, f"p is {self.p}; it must be positive")
        return global_type(self, self.x)

    def reference(self, x):
        return rounded((np.abs(x.astype(np.float64)) ** self.p).sum(axis=spatial(x), keepdims=True) ** (1.0 / self.p), self.x.dtype)

    def lower(self, at, x):
        total = fold(x.shape[2:], "add", lambda *i: power(widen(x(at[0], at[1], *i)), self.p))
        return narrow(root(total, self.p), x.dtype)
