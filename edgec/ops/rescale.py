"""Scaling of whole numbers by whole numbers: a multiplier and a shift stand for a real factor, as TFLite has it.

The factor is multiplier * 2^-shift with a multiplier of 31 bits (MultiplyByQuantizedMultiplier, tflite/kernels/internal/common.cc). TFLite
has two ways to round. "twice", that of its reference kernels, takes the rounded upper half of the doubled 64-bit product and shifts that
with rounding, halves away from zero; "once" shifts the whole product, halves upwards, as its matrix library ruy does.

    Rescale(sums, multiplier, shift, axis=1, zero=-3, to=CODE_OF_DTYPE[i8])
"""

from __future__ import annotations

import numpy as np

from edgec.expr import Expr, as_expr, binary, cast, compare, const, maximum, minimum, read, select, unary
from edgec.graph import Op, Value
from edgec.lowering import Reader
from edgec.onnx.tensor import CODE_OF_DTYPE, dtype_of_code
from edgec.ops.constant_table import table
from edgec.ops.fixed_point import high_product, high_product_expr, rounding_shift, rounding_shift_expr
from edgec.ops.shape_arithmetic import normal_axis, same_dim
from edgec.types import DType, TensorType, f32, i8, i32, i64

BITS = 31


class Rescale(Op):
    """edgec Rescale: clamp(round(x * multiplier * 2^-shift) + zero, low, high), multiplier and shift one or one an axis place.

    x is i32, multiplier and shift (1 to 62) are constants; without `low` and `high` the limits are those of the result's type.
    """

    domain = "edgec"
    x: Value
    multiplier: Value
    shift: Value
    axis: int = 0
    zero: int = 0
    low: int | None = None
    high: int | None = None
    to: int = CODE_OF_DTYPE[i32]
    rounding: str = "twice"

    def infer(self) -> TensorType:
        self.require(self.rounding in ("twice", "once"), f"the rounding is {self.rounding!r}; it can be 'twice' or 'once'")
        self.require(self.x.dtype is i32, f"the operand is {self.x.dtype}; i32 is needed")
        for value in (self.multiplier, self.shift):
            fits = value.shape == () or value.type.rank == 1 and same_dim(value.shape[0], self.x.shape[self._axis()])
            self.require(value.dtype is i32 and value.is_constant and fits, f"%{value.name} must be an i32 constant, one or one a place "
                         f"of axis {self.axis} of {self.x.type}")
        self.require(((self.shift.array >= 1) & (self.shift.array <= 62)).all(), "a shift is not within 1 to 62")
        return self.x.type.with_dtype(self.dtype)

    def _axis(self) -> int:
        return normal_axis(self, self.axis, self.x.type.rank)

    @property
    def dtype(self) -> DType:
        """The type of the result."""
        return dtype_of_code(self.to, "the result of Rescale", self._pending_loc)

    @property
    def limits(self) -> tuple[int, int]:
        """The least and greatest result."""
        return (self.dtype.low if self.low is None else self.low, self.dtype.high if self.high is None else self.high)

    def reference(self, x, multiplier, shift):
        place = [-1 if n == self._axis() else 1 for n in range(x.ndim)]
        factor, right = (a.astype(np.int64).reshape(place if a.ndim else ()) for a in (multiplier, shift))
        if self.rounding == "once":
            scaled = (x.astype(np.int64) * factor + (np.int64(1) << (right - 1))) >> right
        else:
            left = (x.astype(np.int64) << np.maximum(BITS - right, 0)).astype(np.int32)
            scaled = rounding_shift(high_product(left, factor), np.maximum(right - BITS, 0))
        return np.clip(scaled.astype(np.int32).astype(np.int64) + self.zero, *self.limits).astype(self.dtype.numpy)

    def lower(self, at, x: Reader, multiplier: Reader, shift: Reader):
        factor, right = self._number(multiplier.value.array, multiplier, at), shift.value.array
        scaled = self._once(x(*at), factor, shift, right, at) if self.rounding == "once" else self._twice(x(*at), factor, shift, right, at)
        return self._limited(scaled if self.zero == 0 else scaled + self.zero)

    def _number(self, array: np.ndarray, reader: Reader, at) -> Expr:
        """The element of `array` (the operand's, or as many numbers made of it) for an index; equal ones are a literal."""
        if array.size and (array == array.flat[0]).all():
            return const(int(array.flat[0]), i32)
        if array is reader.value.array:
            return reader(at[self._axis()])
        return read(table(array), (at[self._axis()],))

    def _once(self, x: Expr, factor: Expr, shift: Reader, right: np.ndarray, at) -> Expr:
        """The 64-bit product shifted with rounding; shifts of 32 and more are of its upper half alone, which needs no 64-bit shift."""
        by = self._number(right, shift, at)
        total = cast(x, i64) * cast(factor, i64) + binary("shl", const(1, i64), cast(by, i64) - 1)
        if right.min(initial=62) < 32:
            return cast(binary("shr", total, cast(by, i64)), i32)
        return binary("shr", cast(binary("shr", total, const(32, i64)), i32), self._number(right - 32, shift, at))

    def _twice(self, x: Expr, factor: Expr, shift: Reader, right: np.ndarray, at) -> Expr:
        """The upper half of the doubled product, rounded, shifted with rounding."""
        left, by = (np.maximum(n, 0).astype(np.int32) for n in (BITS - right, right - BITS))
        moved = binary("shl", x, self._number(left, shift, at)) if left.any() else x
        upper = high_product_expr(moved, factor)
        return rounding_shift_expr(upper, self._number(by, shift, at)) if by.any() else upper

    def _limited(self, whole: Expr) -> Expr:
        """The i32 result within the limits, in the type of the result."""
        low, high = self.limits
        if (low, high) != (self.dtype.low, self.dtype.high):
            whole = minimum(maximum(whole, as_expr(low, i32)), as_expr(high, i32))
        return cast(whole, self.dtype, saturate=(low, high) == (self.dtype.low, self.dtype.high))


class RoundAway(Op):
    """edgec RoundAway: round(x / scale) + zero in the type numbered `to`, halves away from zero, saturating; x and the ratio are f32."""

    domain = "edgec"
    x: Value
    scale: float
    zero: int = 0
    to: int = CODE_OF_DTYPE[i8]

    def infer(self) -> TensorType:
        self.require(self.x.dtype is f32, f"the operand is {self.x.dtype}; f32 is needed")
        return self.x.type.with_dtype(dtype_of_code(self.to, "the result of RoundAway", self._pending_loc))

    def reference(self, x):
        dtype = self.output.dtype
        with np.errstate(all="ignore"):
            ratio = (x / np.float32(self.scale)).astype(np.float64)
        rounded = np.copysign(np.floor(np.abs(ratio) + 0.5), ratio)
        return np.nan_to_num(np.clip(rounded + self.zero, dtype.low, dtype.high)).astype(dtype.numpy)

    def lower(self, at, x: Reader):
        ratio = x(*at) / const(self.scale, f32)
        nearest = unary("round", ratio)
        distance = unary("abs", ratio - unary("trunc", ratio))
        away = unary("trunc", ratio) + select(ratio < 0.0, const(-1.0, f32), const(1.0, f32))
        rounded = select(compare("eq", distance, const(0.5, f32)), away, nearest)
        return cast(rounded + float(self.zero), self.output.dtype)
