"""Between real numbers and integers with a scale: QuantizeLinear DequantizeLinear DynamicQuantizeLinear.

The scale belongs to the whole tensor (a scalar), to one place of an axis (a vector), or to a block of `block_size` places of it (a
tensor of the operand's rank). Rounding is to the nearest, halves to even, and saturates; ONNX operator documentation.

    QuantizeLinear(x, scale, zero_point, axis=0).output        # u8 by default
"""

from __future__ import annotations

import numpy as np

from edgec.expr import Expr, as_expr, cast, dim, floordiv, unary
from edgec.graph import Op, Value, constant
from edgec.lowering import Reader
from edgec.onnx.tensor import CODE_OF_DTYPE, dtype_of_code
from edgec.ops.accumulation import rounded
from edgec.ops.arithmetic import Clip
from edgec.ops.cast import Cast
from edgec.ops.shape_arithmetic import normal_axis, same_dim, same_shape
from edgec.ops.small_types import decoded, encoded, to_small
from edgec.types import SMALL, DType, TensorType, bf16, f8e8m0, f16, f32, f64, i8, i16, i32, index, u8, u16

QUANTIZED = (u8, i8, u16, i16, i32, *(t for t in SMALL if t is not f8e8m0))


def is_zero(zero_point: Value) -> bool:
    """Whether a zero point is known to be 0 throughout."""
    return zero_point.is_constant and not zero_point.array.any()


class Scaled(Op):
    """Base of both directions: where the scale (and zero point) of an element lies."""
    abstract = True
    x: Value
    scale: Value
    zero_point: Value | None = None
    axis: int = 1
    block_size: int = 0
    output_dtype: int = 0

    def check_scale(self) -> None:
        """Scale and zero point agree, and fit the operand: one element, one an axis place, or one a block."""
        x, scale, zero = self.x.type, self.scale.type, self.zero_point
        self.require(zero is None or same_shape(zero.shape, scale.shape) or zero.type.max_size == scale.max_size == 1,
                     f"the scale {scale} and the zero point {zero.type if zero else ''} differ in shape")
        if self.granularity == "axis":
            axis = normal_axis(self, self.axis, x.rank)
            self.require(same_dim(scale.shape[0], x.shape[axis]), f"{scale.shape[0]} scales for axis {axis} of {x}")
        elif self.granularity == "block":
            axis = normal_axis(self, self.axis, x.rank)
            wanted = list(x.shape)
            wanted[axis] = dim(floordiv(as_expr(x.shape[axis], index) + (self.block_size - 1), self.block_size))
            self.require(same_shape(scale.shape, wanted),
                         f"the scale {scale} does not hold one element a block of {self.block_size} at axis {axis} of {x}")

    @property
    def granularity(self) -> str:
        """tensor, axis or block."""
        if self.block_size:
            return "block"
        return "axis" if self.scale.type.rank == 1 and not same_dim(self.scale.shape[0], 1) else "tensor"

    def spread(self, parameter: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """A scale or zero point with the operand's shape (or one that broadcasts with it)."""
        if self.granularity == "tensor":
            return parameter.reshape(())
        axis = self.axis % len(shape)
        if self.granularity == "axis":
            return parameter.reshape([-1 if n == axis else 1 for n in range(len(shape))])
        return np.repeat(parameter, self.block_size, axis).take(range(shape[axis]), axis)

    def parameter(self, reader: Reader, at: tuple[Expr, ...]) -> Expr:
        """The scale or zero point of the element at an index."""
        if self.granularity == "tensor":
            return reader(*[0] * reader.rank)
        axis = self.axis % len(at)
        if self.granularity == "axis":
            return reader(at[axis])
        return reader(*at[:axis], at[axis] // self.block_size, *at[axis + 1:])


class QuantizeLinear(Scaled):
    """ONNX QuantizeLinear: saturate(round(x / scale) + zero point); `precision` is the type of the division, else that of the scale."""
    saturate: int = 1
    precision: int = 0

    @property
    def quantized(self) -> DType:
        """The integer type of the result."""
        if self.output_dtype:
            return dtype_of_code(self.output_dtype, "the result of QuantizeLinear", self._pending_loc)
        return u8 if self.zero_point is None else self.zero_point.dtype

    @property
    def division(self) -> DType:
        """The float type of the division."""
        wanted = dtype_of_code(self.precision, "the precision", self._pending_loc) if self.precision else self.scale.dtype
        return wanted if wanted.is_float else f32

    def infer(self) -> TensorType:
        self.require(self.x.dtype in (f32, f16, bf16, f64, i32), f"cannot quantize {self.x.dtype}")
        self.require(self.quantized in QUANTIZED, f"cannot quantize to {self.quantized}")
        self.require(self.zero_point is None or self.zero_point.dtype is self.quantized,
                     f"the zero point is {self.zero_point and self.zero_point.dtype}, the result {self.quantized}")
        self.require(self.quantized is not i32 or self.zero_point is None or is_zero(self.zero_point),
                     "a result of 32 bits needs a constant zero point of 0")
        self.check_scale()
        return self.x.type.with_dtype(self.quantized)

    def reference(self, x: np.ndarray, scale: np.ndarray, zero_point: np.ndarray | None) -> np.ndarray:
        divided = self.division.numpy
        with np.errstate(all="ignore"):
            ratio = (x.astype(divided) / self.spread(scale, x.shape).astype(divided)).astype(np.float64)
        if self.quantized.is_float:
            return to_small(ratio.astype(np.float32), self.quantized, bool(self.saturate))
        zero = 0 if zero_point is None else self.spread(zero_point, x.shape).astype(np.float64)
        whole = np.clip(np.rint(ratio) + zero, self.quantized.low, self.quantized.high)
        return np.nan_to_num(whole).astype(self.quantized.numpy)

    def lower(self, at: tuple[Expr, ...], x: Reader, scale: Reader, zero_point: Reader | None) -> Expr:
        ratio = cast(x(*at), self.division) / cast(self.parameter(scale, at), self.division)
        whole = unary("round", ratio if ratio.dtype in (f32, f64) else cast(ratio, f32))
        if zero_point is not None:
            whole = whole + cast(self.parameter(zero_point, at), whole.dtype)
        return cast(whole, self.quantized)


    def stored(self, x: Value, scale: Value, zero_point: Value | None) -> Value:
        """As bit patterns: small floats from the ratio (their zero point is 0), small integers from the 8-bit ones."""
        dtype = self.quantized
        if dtype.is_float:
            return encoded(Ratio(x, scale, axis=self.axis, block_size=self.block_size).output, dtype, bool(self.saturate))
        byte = i8 if dtype.kind == "i" else u8
        zero = None if zero_point is None else Cast(decoded(zero_point, dtype), to=CODE_OF_DTYPE[byte]).output
        whole = QuantizeLinear(x, scale, zero, axis=self.axis, block_size=self.block_size, output_dtype=CODE_OF_DTYPE[byte],
                               precision=self.precision).output
        low, high = (constant(np.array(n, byte.numpy)) for n in (dtype.low, dtype.high))
        return encoded(Clip(whole, low, high).output, dtype)


class Ratio(Scaled):
    """edgec Ratio: x / scale in f32, the scale spread as QuantizeLinear does."""

    domain = "edgec"

    def infer(self) -> TensorType:
        self.check_scale()
        return self.x.type.with_dtype(f32)

    def reference(self, x: np.ndarray, scale: np.ndarray, zero_point: None) -> np.ndarray:
        with np.errstate(all="ignore"):
            return (x.astype(np.float64) / self.spread(scale, x.shape).astype(np.float64)).astype(np.float32)

    def lower(self, at: tuple[Expr, ...], x: Reader, scale: Reader, zero_point: None) -> Expr:
        return cast(x(*at), f32) / cast(self.parameter(scale, at), f32)


class DequantizeLinear(Scaled):
    """ONNX DequantizeLinear: (x - zero point) * scale."""

    def infer(self) -> TensorType:
        self.require(self.x.dtype in QUANTIZED, f"cannot dequantize {self.x.dtype}")
        self.require(self.zero_point is None or self.zero_point.dtype is self.x.dtype,
                     f"the zero point is {self.zero_point and self.zero_point.dtype}, the operand {self.x.dtype}")
        self.require(self.scale.dtype.is_float, f"the scale must be a float, it is {self.scale.dtype}")
        self.check_scale()
        return self.x.type.with_dtype(self.real)

    @property
    def real(self) -> DType:
        """The float type of the result."""
        given = self.output_dtype
        return dtype_of_code(given, "the result of DequantizeLinear", self._pending_loc) if given else self.scale.dtype

    def reference(self, x: np.ndarray, scale: np.ndarray, zero_point: np.ndarray | None) -> np.ndarray:
        whole = np.float32 if self.x.dtype.is_float else np.int64
        zero = 0 if zero_point is None else self.spread(zero_point, x.shape).astype(whole)
        difference = (x.astype(whole) - zero).astype(np.float32)
        return rounded(difference.astype(np.float64) * self.spread(scale, x.shape).astype(np.float64), self.real)

    def lower(self, at: tuple[Expr, ...], x: Reader, scale: Reader, zero_point: Reader | None) -> Expr:
        difference = cast(x(*at), i32)
        if zero_point is not None:
            difference = difference - cast(self.parameter(zero_point, at), i32)
        wide = f64 if self.real is f64 else f32
        return cast(cast(difference, wide) * cast(self.parameter(scale, at), wide), self.real)


    def stored(self, x: Value, scale: Value, zero_point: Value | None) -> Value:
        """From bit patterns: the numbers, then as for any other."""
        dtype, attributes = self.x.dtype, {"axis": self.axis, "block_size": self.block_size, "output_dtype": CODE_OF_DTYPE[self.real]}
        if dtype.is_float:
            return Product(decoded(x, dtype), scale, **attributes).output
        number, zero = (None if v is None else _as_bytes(v, dtype) for v in (x, zero_point))
        return DequantizeLinear(number, scale, zero, **attributes).output


def _as_bytes(stored: Value, dtype: DType) -> Value:
    """Small integers, given as bit patterns, as i8 or u8."""
    byte = i8 if dtype.kind == "i" else u8
    if stored.is_constant:
        return constant(stored.array.view(dtype.numpy).astype(byte.numpy), stored.name, stored.loc)
    return Cast(decoded(stored, dtype), to=CODE_OF_DTYPE[byte]).output


class Product(Scaled):
    """edgec Product: x * scale, the scale spread as DequantizeLinear does, in the type numbered `output_dtype`."""

    domain = "edgec"

    def infer(self) -> TensorType:
        self.check_scale()
        return self.x.type.with_dtype(dtype_of_code(self.output_dtype, "the result of Product", self._pending_loc))

    def reference(self, x: np.ndarray, scale: np.ndarray, zero_point: None) -> np.ndarray:
        return rounded(x.astype(np.float64) * self.spread(scale, x.shape).astype(np.float64), self.output.dtype)

    def lower(self, at: tuple[Expr, ...], x: Reader, scale: Reader, zero_point: None) -> Expr:
        wide = f64 if self.output.dtype is f64 else f32
        return cast(cast(x(*at), wide) * cast(self.parameter(scale, at), wide), self.output.dtype)


class DynamicQuantizeLinear(Op):
    """ONNX DynamicQuantizeLinear: u8 elements, with the scale and zero point that just cover x and 0 (scale 1 for an x of zeros)."""
    x: Value

    def infer(self) -> tuple[TensorType, ...]:
        self.require(self.x.dtype is f32, f"needs f32, the operand is {self.x.type}")
        return self.x.type.with_dtype(u8), TensorType(f32, ()), TensorType(u8, ())

    def reference(self, x: np.ndarray) -> tuple[np.ndarray, ...]:
        low, high = np.float32(min(0.0, x.min(initial=0.0))), np.float32(max(0.0, x.max(initial=0.0)))
        scale = (high - low) / np.float32(255) if high > low else np.float32(1)
        zero = np.clip(np.rint(-low / scale), 0, 255)
        return np.clip(np.rint(x / scale) + zero, 0, 255).astype(np.uint8), np.asarray(scale, np.float32), zero.astype(np.uint8)

    def decompose(self) -> tuple[Value, ...]:
        """The ONNX function body, with the guard against a scale of 0."""
        from edgec.ops.arithmetic import Div, Max, Min, Neg, Sub
        from edgec.ops.comparison import Equal, Where
        from edgec.ops.reduction import ReduceMax, ReduceMin
        zero, one = (constant(np.float32(v)) for v in (0, 1))
        low = Min((ReduceMin(self.x, keepdims=0).output, zero)).output
        high = Max((ReduceMax(self.x, keepdims=0).output, zero)).output
        range_ = Div(Sub(high, low).output, constant(np.float32(255))).output
        scale = Where(Equal(range_, zero).output, one, range_).output
        zero_point = QuantizeLinear(Neg(low).output, scale).output
        return QuantizeLinear(self.x, scale, zero_point).output, scale, zero_point
