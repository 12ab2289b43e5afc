"""QGemm of the domain com.microsoft: Gemm of 8-bit integers with an i32 bias, scaled to 8 bits or to f32.

The sum is that of QLinearMatMul, see quantized.py; definition: onnxruntime's contributed operators.

    QGemm(a, a_scale, a_zero_point, b, b_scale, b_zero_point, c, y_scale, y_zero_point, transB=1)      # 8 bits; f32 without y_scale
"""

from __future__ import annotations

import numpy as np

from edgec.expr import Expr, cast, const, is_const, read
from edgec.graph import Op, Value
from edgec.lowering import Reader
from edgec.ops.accumulation import fold
from edgec.ops.constant_table import table
from edgec.ops.quantized import (
    centered,
    constant_array,
    entry,
    number,
    offsets,
    requantize,
    requantized,
    require_bytes,
    require_channels_of,
    require_single,
    sum_type,
    wrapped,
)
from edgec.ops.shape_arithmetic import broadcast_shapes, same_dim
from edgec.types import TensorType, f32, i32


class QGemm(Op):
    """com.microsoft QGemm: op(a) @ op(b) of 8-bit integers less their zero points, plus an i32 bias, times alpha and the scales."""

    domain = "com.microsoft"
    a: Value
    a_scale: Value
    a_zero_point: Value
    b: Value
    b_scale: Value
    b_zero_point: Value
    c: Value | None = None
    y_scale: Value | None = None
    y_zero_point: Value | None = None
    alpha: float = 1.0
    transA: int = 0
    transB: int = 0

    def infer(self) -> TensorType:
        require_bytes(self, (self.a, self.a_zero_point), words=True)
        require_bytes(self, (self.b, self.b_zero_point))
        self.require(self.a.type.rank == 2 and self.b.type.rank == 2, "both operands must be matrices")
        m, k = self.a.shape[::-1] if self.transA else self.a.shape
        other, n = self.b.shape[::-1] if self.transB else self.b.shape
        self.require(same_dim(k, other), f"inner dimensions differ: {k} and {other}")
        require_single(self, self.a_scale, self.a_zero_point, self.y_scale, self.y_zero_point)
        require_channels_of(self, n, "columns", self.b_scale, self.b_zero_point)
        self._check_bias(m, n)
        self.require((self.y_scale is None) == (self.y_zero_point is None), "y_scale and y_zero_point belong together")
        return TensorType(f32 if self.y_zero_point is None else self.y_zero_point.dtype, (m, n))

    def _check_bias(self, m, n) -> None:
        if self.c is not None:
            self.require(self.c.dtype is i32, "the bias must be i32")
            shape = broadcast_shapes(self, (m, n), self.c.shape)
            self.require(len(shape) == 2 and same_dim(shape[0], m) and same_dim(shape[1], n), "the bias does not broadcast to the result")

    def reference(self, a, a_scale, a_zero_point, b, b_scale, b_zero_point, c, y_scale, y_zero_point):
        left, right = a.astype(np.float64) - a_zero_point.reshape(()), b.T if self.transB else b
        total = wrapped((left.T if self.transA else left) @ (right.astype(np.float64) - b_zero_point.reshape(-1)), self.a)
        total = total if c is None else total + c
        scale = np.float32(self.alpha) * a_scale.reshape(()) * b_scale.reshape(-1)
        if y_scale is None:
            return total.astype(np.float32) * scale
        return requantize(total, scale / y_scale.reshape(()), y_zero_point.astype(np.float64).reshape(()), self.y_zero_point.dtype)

    def lower(self, at, a, a_scale, a_zero_point, b, b_scale, b_zero_point, c, y_scale, y_zero_point):
        total = self._sum(at, a, b, a_zero_point, b_zero_point, c)
        scale = self._scale(a_scale, b_scale, y_scale, at[1])
        if y_scale is None:
            return cast(total, f32) * scale
        return requantized(total, scale, number(y_zero_point, f32), y_zero_point.dtype)

    def _scale(self, a_scale: Reader, b_scale: Reader, y_scale: Reader | None, column: Expr) -> Expr:
        """alpha * sa * sb / sy of a column, a number known at compile time where the scales are."""
        arrays = [constant_array(r) for r in (a_scale, b_scale)] + [np.ones(1) if y_scale is None else constant_array(y_scale)]
        if all(a is not None for a in arrays):
            a, b, y = (each.astype(np.float32).reshape(-1) for each in arrays)
            return entry(np.float32(self.alpha) * a * b / y, column)
        scale = const(np.float32(self.alpha).item(), f32) * number(a_scale, f32) * number(b_scale, f32, column)
        return scale if y_scale is None else scale / number(y_scale, f32)

    def _sum(self, at, a: Reader, b: Reader, a_zero_point: Reader, b_zero_point: Reader, c: Reader | None) -> Expr:
        """The sum with the bias, what is known of both in one number a column."""
        i, j = at
        constant = centered(b.value, b_zero_point.value, 0 if self.transB else 1)
        wide = sum_type(a.value, a_zero_point.value, constant, 1 if self.transB else 0, c and c.value)
        left = lambda k: cast(a(k, i) if self.transA else a(i, k), wide)
        bias = 0 if c is None else cast(c.broadcast(at), wide)
        count, zero = a.shape[0 if self.transA else 1], number(a_zero_point, wide)
        if constant is None:
            right = lambda k: cast(b(j, k) if self.transB else b(k, j), wide) - number(b_zero_point, wide, j)
            return fold((count,), "add", lambda k: (left(k) - zero) * right(k)) + bias
        weights = table(constant)
        total = fold((count,), "add", lambda k: left(k) * cast(read(weights, (j, k) if self.transB else (k, j)), wide))
        if is_const(zero, 0):
            return total + bias
        sums, given = constant.astype(np.int32).sum(axis=1 if self.transB else 0, dtype=np.int32), constant_array(c)
        if zero.op == "const" and given is not None and given.shape in ((), sums.shape, (1, *sums.shape)):
            return total + entry(offsets(given, zero.data, sums, wide), j)
        return total - zero * cast(read(table(sums), (j,)), wide) + bias
