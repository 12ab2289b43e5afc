"""Sums and products of two quantized tensors: QLinearAdd and QLinearMul of the domain com.microsoft (onnxruntime's contributed operators).

The scales are divided once, at compile time, so no element is: with ra = f32(sa / sy) and rb = f32(sb / sy),

    QLinearAdd: clamp(round_half_even(f32(a - za) * ra + f32(b - zb) * rb) + zy)
    QLinearMul: clamp(round_half_even(f32((a - za) * (b - zb)) * f32(f32(sa * sb) / sy)) + zy)
"""

from __future__ import annotations

import numpy as np

from edgec.expr import Expr, cast
from edgec.graph import Op, Value
from edgec.lowering import Reader
from edgec.ops.quantized import number, requantize, requantized, require_bytes, require_single, rounded_to
from edgec.ops.shape_arithmetic import broadcast_shapes
from edgec.types import TensorType, f32, i32


class TwoQuantized(Op):
    """Base of elementwise operators of two quantized tensors of one 8-bit type, which broadcast."""

    abstract = True
    domain = "com.microsoft"
    a: Value
    a_scale: Value
    a_zero_point: Value | None = None
    b: Value
    b_scale: Value
    b_zero_point: Value | None = None
    y_scale: Value
    y_zero_point: Value | None = None

    def infer(self) -> TensorType:
        require_bytes(self, (self.a, self.a_zero_point), (self.b, self.b_zero_point), (self.a, self.y_zero_point))
        self.require(self.b.dtype is self.a.dtype, f"element types differ: {self.a.dtype} and {self.b.dtype}")
        require_single(self, *(v for v in self.operands if v not in (self.a, self.b)))
        return TensorType(self.a.dtype, broadcast_shapes(self, self.a.shape, self.b.shape))


def less(x: np.ndarray, zero_point: np.ndarray | None) -> np.ndarray:
    """x less its zero point, in i32."""
    return x.astype(np.int32) - (0 if zero_point is None else zero_point.astype(np.int32).reshape(()))


def zero_of(zero_point: np.ndarray | None) -> np.ndarray:
    return np.zeros(()) if zero_point is None else zero_point.astype(np.float64).reshape(())


def shifted(x: Reader, zero_point: Reader | None, at) -> Expr:
    """The element that broadcasting gives for an index, less its zero point, in i32."""
    return cast(x.broadcast(at), i32) - number(zero_point, i32)


class QLinearAdd(TwoQuantized):
    """com.microsoft QLinearAdd: the sum of two quantized tensors, quantized."""

    def reference(self, a, a_scale, a_zero_point, b, b_scale, b_zero_point, y_scale, y_zero_point):
        ratios = [(s.reshape(()) / y_scale.reshape(())).astype(np.float32) for s in (a_scale, b_scale)]
        total = less(a, a_zero_point).astype(np.float32) * ratios[0] + less(b, b_zero_point).astype(np.float32) * ratios[1]
        low, high = self.a.dtype.low, self.a.dtype.high
        return np.clip(np.rint(total).astype(np.float64) + zero_of(y_zero_point), low, high).astype(a.dtype)

    def lower(self, at, a, a_scale, a_zero_point, b, b_scale, b_zero_point, y_scale, y_zero_point):
        y = number(y_scale, f32)
        left = cast(shifted(a, a_zero_point, at), f32) * (number(a_scale, f32) / y)
        right = cast(shifted(b, b_zero_point, at), f32) * (number(b_scale, f32) / y)
        return rounded_to(left + right, number(y_zero_point, f32), a.dtype)


class QLinearMul(TwoQuantized):
    """com.microsoft QLinearMul: the product of two quantized tensors, quantized."""

    def reference(self, a, a_scale, a_zero_point, b, b_scale, b_zero_point, y_scale, y_zero_point):
        m = (a_scale.reshape(()) * b_scale.reshape(()) / y_scale.reshape(())).astype(np.float32)
        return requantize(less(a, a_zero_point) * less(b, b_zero_point), m, zero_of(y_zero_point), self.a.dtype)

    def lower(self, at, a, a_scale, a_zero_point, b, b_scale, b_zero_point, y_scale, y_zero_point):
        m = number(a_scale, f32) * number(b_scale, f32) / number(y_scale, f32)
        return requantized(shifted(a, a_zero_point, at) * shifted(b, b_zero_point, at), m, number(y_zero_point, f32), a.dtype)
