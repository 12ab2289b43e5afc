"""Convolution and matmul of 8-bit integers: QLinearConv, QLinearMatMul, ConvInteger, MatMulInteger.

The sums are plain products of (element - zero point) in i32, which wrap as ONNX allows. The QLinear forms then scale to 8 bits with
y = clamp(round_half_even(f32(sum) * m) + zero_point), m = f32(f32(scale_a * scale_b) / scale_y), the same in reference and lowering.
They also take activations of 16 bits, which ONNX does not know; see `sum_type`.

    ConvInteger(x, w, x_zero_point, pads=(1, 1, 1, 1))       # i32
"""

from __future__ import annotations

import numpy as np

from edgec.box_sums import box_sum, prefix_sums, window_sums, windows, within
from edgec.expr import Expr, as_expr, cast, const, is_const, read, unary
from edgec.graph import Op, Value
from edgec.lowering import Reader, scalar
from edgec.ops.accumulation import fold
from edgec.ops.constant_table import table
from edgec.ops.convolution import convolution_sum, convolve, kernel_of, require_operands
from edgec.ops.matmul import matmul_indices, matmul_shape
from edgec.ops.shape_arithmetic import broadcast_shapes, same_dim, same_shape, shape_text
from edgec.ops.window import Convolution, require_counts, window_of
from edgec.types import DType, TensorType, dtype_of, f32, i8, i16, i32, i64, index, u8, u16

BYTES = (i8, u8)
WORDS = (i16, u16)


def is_single(value: Value) -> bool:
    """Whether a scale or zero point is one number for the whole tensor."""
    return value.shape in ((), (1,))


def number(reader: Reader | None, dtype: DType, *place) -> Expr:
    """A scale or zero point at a place (its one element, when it has but one) in another type; absent and all-zero ones are literals."""
    if reader is None or reader.value.is_constant and not reader.value.array.any():
        return as_expr(0, dtype)
    literal = scalar(reader.value)
    if literal is not None:
        return as_expr(literal.data, dtype)
    return cast(reader(*(0,) * reader.rank) if is_single(reader.value) else reader(*place), dtype)


def constant_array(reader: Reader | None) -> np.ndarray | None:
    """The elements of a constant operand, 0 where it is absent; None where it is computed."""
    if reader is None:
        return np.zeros((), np.int32)
    return reader.value.array if reader.value.is_constant else None


def multiplier(x_scale: Reader, w_scale: Reader, y_scale: Reader, channel: Expr) -> Expr:
    """f32(f32(sx * sw) / sy) of an output channel, a number known at compile time where the scales are."""
    arrays = [constant_array(r) for r in (x_scale, w_scale, y_scale)]
    if any(a is None for a in arrays):
        return number(x_scale, f32) * number(w_scale, f32, channel) / number(y_scale, f32)
    x, w, y = (a.astype(np.float32).reshape(-1) for a in arrays)
    return entry(x * w / y, channel)


def entry(array: np.ndarray, place: Expr) -> Expr:
    """The element of a vector at a place, a literal where all are one."""
    return const(array.item(), dtype_of(array.dtype)) if array.size == 1 else read(table(array), (place,))


def sum_type(x: Value, zero: Value | None, weights: np.ndarray | None, axes: tuple[int, ...] | int, bias: Value | None = None) -> DType:
    """What sums of products over `axes` of centered weights are kept in: i32 for bytes, and where no sum of 16-bit ones can leave it."""
    if x.dtype in BYTES:
        return i32
    if weights is None or any(v is not None and not v.is_constant for v in (zero, bias)):
        return i64
    middle = 0 if zero is None else int(np.abs(zero.array.astype(np.int64)).max())
    reach = max(-x.dtype.low, x.dtype.high) + middle  # of x and of its zero point, which are summed apart
    largest = int(np.abs(weights.astype(np.int64)).sum(axis=axes).max(initial=0)) * reach
    return i32 if largest + (0 if bias is None else int(np.abs(bias.array.astype(np.int64)).max(initial=0))) <= i32.high else i64


def requantized(total: Expr, m: Expr, zero_point: Expr, dtype: DType) -> Expr:
    """clamp(round_half_even(f32(total) * m) + zero_point); the cast saturates."""
    return rounded_to(cast(total, f32) * m, zero_point, dtype)


def rounded_to(real: Expr, zero_point: Expr, dtype: DType) -> Expr:
    """clamp(round_half_even(real) + zero_point); the cast saturates."""
    rounded = unary("round", real)
    return cast(rounded if is_const(zero_point, 0) else rounded + zero_point, dtype, saturate=True)


def requantize(total: np.ndarray, m: np.ndarray, zero_point: np.ndarray, dtype: DType) -> np.ndarray:
    """The same on arrays."""
    rounded = np.rint(total.astype(np.float32) * m).astype(np.float64) + zero_point
    return np.clip(rounded, dtype.low, dtype.high).astype(dtype.numpy)


def wrapped(total: np.ndarray, x: Value | None = None) -> np.ndarray:
    """Whole numbers of a float64 array, exact below 2^53, in i32 with wrapping; in i64 where they come from 16-bit `x`."""
    return total.astype(np.int64).astype(np.int32 if x is None or x.dtype in BYTES else np.int64)


def require_bytes(op: Op, *pairs: tuple[Value, Value | None], words: bool = False) -> None:
    """8-bit (with `words` also 16-bit) operands, each with a zero point of its own type."""
    for value, zero_point in pairs:
        fits = value.dtype in BYTES or words and value.dtype in WORDS
        op.require(fits, f"%{value.name} is {value.dtype}; i8 or u8 is needed")
        op.require(zero_point is None or zero_point.dtype is value.dtype, f"%{value.name} and its zero point differ in element type")


def require_single(op: Op, *values: Value | None) -> None:
    for v in values:
        op.require(v is None or is_single(v), f"%{v.name if v else ''} must be a single number")


def require_scaled(op: QLinearConv) -> None:
    """What QLinearConv and its transpose ask of their operands: one scale and zero point for input and output, an i32 bias, f32 scales."""
    require_bytes(op, (op.x, op.x_zero_point), (op.y_zero_point, None), words=True)
    require_bytes(op, (op.w, op.w_zero_point))
    require_single(op, op.x_scale, op.x_zero_point, op.y_scale, op.y_zero_point)
    op.require(op.b is None or op.b.dtype is i32, "the bias must be i32")
    op.require(all(v.dtype is f32 for v in (op.x_scale, op.w_scale, op.y_scale)), "the scales must be f32")


def convolution_type(op: Op, x: Value, w: Value, bias: Value | None, dtype: DType) -> TensorType:
    """The type of a convolution of integers."""
    require_operands(op, x, w, bias)
    window = window_of(op, x.shape[2:], kernel_of(op, w))
    counts = window.counts(x.shape[2:])
    require_counts(op, window, x.shape[2:], counts)
    return TensorType(dtype, (x.shape[0], w.shape[0], *counts))


def require_channels_of(op: Op, count, what: str, *values: Value | None) -> None:
    """Scales and zero points of weights: single numbers, or one for each of `count` places."""
    for v in values:
        fits = v is None or is_single(v) or v.shape == (count,)
        op.require(fits, f"%{v.name if v else ''} must be a single number or one for each of {count} {what}")


def integer_convolution(op: Op, x: np.ndarray, w: np.ndarray, x_zero_point, w_zero_point) -> np.ndarray:
    """Convolution of arrays less their zero points (numbers, or one an output channel), as i32 (i64 of 16-bit x)."""
    centered = x.astype(np.float64) - (0 if x_zero_point is None else x_zero_point.astype(np.float64).reshape(()))
    channel = 0 if w_zero_point is None else w_zero_point.astype(np.float64).reshape(-1, *[1] * (w.ndim - 1))
    return wrapped(convolve(centered, w.astype(np.float64) - channel, window_of(op, x.shape[2:], w.shape[2:]), op.group), op.x)


def integer_convolution_sum(op: Op, at, x: Reader, w: Reader, x_zero_point: Reader | None, w_zero_point: Reader | None,
                            b: Reader | None = None) -> Expr:
    """The sum at one output index with the bias, in `sum_type`; padding reads as the zero point of x, so it adds nothing.

    With constant weights, sum (x - zx) (w - zw) = sum x w' - zx sum w': a sum of plain products, and one over the taps within bounds of
    w' = w - zw added up over the channels, which a table has for every way that a border cuts taps off (see edgec.box_sums), as b - zx sum
    w' where the bias and the zero point are constant. Exact, since i32 wraps.
    """
    constant = centered(w.value, w_zero_point and w_zero_point.value, 0)
    wide = sum_type(x.value, x_zero_point and x_zero_point.value, constant, tuple(range(1, w.rank)), b and b.value)
    bias = 0 if b is None else cast(b(at[1]), wide)
    window, zero = window_of(op, x.shape[2:], w.shape[2:]), number(x_zero_point, wide)
    if constant is None:
        padding = number(x_zero_point, x.dtype)
        return convolution_sum(at, window, op.group, w.shape, lambda n, c, position: cast(x(n, c, *position, fill=padding), wide) - zero,
                               lambda o, *i: cast(w(o, *i), wide) - number(w_zero_point, wide, o)) + bias
    weights = table(constant)
    total = convolution_sum(at, window, op.group, w.shape, lambda n, c, position: cast(x(n, c, *position, fill=0), wide),
                            lambda *i: cast(read(weights, i), wide))
    if is_const(zero, 0):
        return total + bias
    given, taps = constant_array(b), np.moveaxis(constant.astype(np.int32).sum(axis=1, dtype=np.int32), 0, -1)
    starts = window.position(at[2:], (0,) * window.rank)
    places = [(as_expr(i, index), d, size, k) for i, d, size, k in zip(starts, window.dilations, x.shape[2:], window.kernel)]
    found = windows(places)
    if found is None:
        prefix = table(prefix_sums(taps, window.rank))
        return total - zero * cast(box_sum([within(*p) for p in places], lambda corner: read(prefix, (*corner, at[1]))), wide) + bias
    sums = window_sums(taps, found[1])
    if zero.op == "const" and given is not None:
        return total + cast(read(table(offsets(given, zero.data, sums, wide)), (*found[0], at[1])), wide)
    return total - zero * cast(read(table(sums), (*found[0], at[1])), wide) + bias


def offsets(bias: np.ndarray, zero: int, sums: np.ndarray, wide: DType = i32) -> np.ndarray:
    """bias - zero * sums, one a channel, in i32 with wrapping (or in i64)."""
    return (bias.astype(np.int64) - zero * sums.astype(np.int64)).astype(wide.numpy)


def centered(weights: Value, zero_point: Value | None, axis: int) -> np.ndarray | None:
    """Constant weights less their zero points (one, or one an entry of `axis`), in the smallest type that holds them; else None."""
    if not weights.is_constant or not (zero_point is None or zero_point.is_constant and zero_point.type.rank <= 1):
        return None
    shape = [1] * weights.type.rank
    shape[axis] = -1
    zeros = np.zeros(1, np.int32) if zero_point is None else zero_point.array.astype(np.int32)
    less = weights.array.astype(np.int32) - zeros.reshape(shape)
    return less.astype(next(t for t in (np.int8, np.uint8, np.int16) if less.min() >= np.iinfo(t).min and less.max() <= np.iinfo(t).max))


class ConvInteger(Convolution):
    """ONNX ConvInteger: Conv of 8-bit integers less their zero points, as i32 (ConvInteger-10)."""

    x: Value
    w: Value
    x_zero_point: Value | None = None
    w_zero_point: Value | None = None

    def infer(self) -> TensorType:
        require_bytes(self, (self.x, self.x_zero_point), (self.w, self.w_zero_point))
        require_single(self, self.x_zero_point)
        made = convolution_type(self, self.x, self.w, None, i32)
        require_channels_of(self, self.w.shape[0], "output channels", self.w_zero_point)
        return made

    def reference(self, x, w, x_zero_point, w_zero_point):
        return integer_convolution(self, x, w, x_zero_point, w_zero_point)

    def lower(self, at, x, w, x_zero_point, w_zero_point):
        return integer_convolution_sum(self, at, x, w, x_zero_point, w_zero_point)


class QLinearConv(Convolution):
    """ONNX QLinearConv: ConvInteger plus an i32 bias, scaled to the 8-bit output (QLinearConv-10)."""

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
        made = convolution_type(self, self.x, self.w, self.b, self.y_zero_point.dtype)
        require_channels_of(self, self.w.shape[0], "output channels", self.w_scale, self.w_zero_point)
        return made

    def reference(self, x, x_scale, x_zero_point, w, w_scale, w_zero_point, y_scale, y_zero_point, b):
        ones = (1,) * (x.ndim - 2)
        total = integer_convolution(self, x, w, x_zero_point, w_zero_point)
        if b is not None:
            total = total + b.reshape(-1, *ones)
        m = x_scale.reshape(()) * w_scale.reshape(-1, *ones) / y_scale.reshape(())
        return requantize(total, m, y_zero_point.astype(np.float64).reshape(()), self.y_zero_point.dtype)

    def lower(self, at, x, x_scale, x_zero_point, w, w_scale, w_zero_point, y_scale, y_zero_point, b):
        total = integer_convolution_sum(self, at, x, w, x_zero_point, w_zero_point, b)
        m = multiplier(x_scale, w_scale, y_scale, at[1])
        return requantized(total, m, number(y_zero_point, f32), y_zero_point.dtype)


def require_lines(op: Op, matrix: Value, axis: int, *values: Value | None) -> None:
    """Scales and zero points of a matmul operand: single numbers, a vector over `axis` (-2: rows, -1: columns) of a matrix, or a tensor
    of the matrix's rank that is 1 long along the other axis."""
    for v in values:
        if v is None or is_single(v):
            continue
        lines = matrix.shape[axis] if matrix.type.rank >= 2 else 1
        vector = v.type.rank == 1 and same_dim(v.shape[0], lines)
        op.require(vector or v.type.rank == matrix.type.rank and same_shape(broadcast_shapes(op, v.shape, matrix.shape), matrix.shape)
                   and v.shape[-3 - axis] == 1, f"%{v.name} of shape {shape_text(v.shape)} does not fit {shape_text(matrix.shape)}; "
                   f"a single number, or one for each of {lines} {'rows' if axis == -2 else 'columns'} is needed")


def line(reader: Reader | None, dtype: DType, index: tuple, axis: int) -> Expr:
    """A scale or zero point for the matrix element at `index`."""
    if reader is None or reader.rank <= 1:
        return number(reader, dtype, index[axis] if len(index) > 1 else 0)
    return number(reader, dtype, *(0 if same_dim(n, 1) else i for i, n in zip(index, reader.shape)))


def spread(array: np.ndarray | None, axis: int) -> np.ndarray:
    """A scale or zero point that broadcasts against its matrix: a vector over rows becomes a column."""
    if array is None:
        return np.zeros(())
    return array[:, None] if array.ndim == 1 and array.size > 1 and axis == -2 else array.reshape(()) if array.size == 1 else array


def integer_product(a: np.ndarray, b: np.ndarray, a_zero_point, b_zero_point, of: Value | None = None) -> np.ndarray:
    """matmul of arrays less their zero points, as i32 (i64 of a 16-bit a)."""
    left = a.astype(np.float64) - spread(a_zero_point, -2).astype(np.float64)
    return wrapped(np.matmul(left, b.astype(np.float64) - spread(b_zero_point, -1).astype(np.float64)), of)


def integer_product_sum(at, a: Reader, b: Reader, a_zero_point: Reader | None, b_zero_point: Reader | None) -> Expr:
    """The i32 or i64 sum of (a - zero point) * (b - zero point) at one output index; for a constant b as for convolutions."""
    constant = centered(b.value, b_zero_point and b_zero_point.value, -1) if b.rank > 1 else None
    wide = sum_type(a.value, a_zero_point and a_zero_point.value, constant, -2)
    if constant is None:
        return _plain_product_sum(at, a, b, a_zero_point, b_zero_point, wide)
    factors = table(constant)

    def product(k):
        left, right = matmul_indices(at, a.shape, b.shape, k)
        return cast(a(*left), wide) * cast(read(factors, right), wide)

    left, right = matmul_indices(at, a.shape, b.shape, 0)
    total, zero = fold((a.shape[-1],), "add", product), line(a_zero_point, wide, left, -2)
    if is_const(zero, 0):
        return total
    sums, place = constant.astype(np.int32).sum(axis=-2, dtype=np.int32), (*right[:-2], right[-1])
    if zero.op == "const":
        return total + read(table((sums.astype(np.int64) * -zero.data).astype(wide.numpy)), place)
    return total - zero * cast(read(table(sums), place), wide)


def _plain_product_sum(at, a: Reader, b: Reader, a_zero_point: Reader | None, b_zero_point: Reader | None, wide: DType) -> Expr:
    def product(k):
        left, right = matmul_indices(at, a.shape, b.shape, k)
        return (cast(a(*left), wide) - line(a_zero_point, wide, left, -2)) * (cast(b(*right), wide) - line(b_zero_point, wide, right, -1))
    return fold((a.shape[-1],), "add", product)


class MatMulInteger(Op):
    """ONNX MatMulInteger: MatMul of 8-bit integers less their zero points, as i32 (MatMulInteger-10)."""

    a: Value
    b: Value
    a_zero_point: Value | None = None
    b_zero_point: Value | None = None

    def infer(self) -> TensorType:
        require_bytes(self, (self.a, self.a_zero_point), (self.b, self.b_zero_point))
        made = TensorType(i32, matmul_shape(self, self.a, self.b))
        require_lines(self, self.a, -2, self.a_zero_point)
        require_lines(self, self.b, -1, self.b_zero_point)
        return made

    def reference(self, a, b, a_zero_point, b_zero_point):
        return integer_product(a, b, a_zero_point, b_zero_point)

    def lower(self, at, a, b, a_zero_point, b_zero_point):
        return integer_product_sum(at, a, b, a_zero_point, b_zero_point)


class QLinearMatMul(Op):
    """ONNX QLinearMatMul: MatMulInteger scaled to the 8-bit output (QLinearMatMul-21)."""

    a: Value
    a_scale: Value
    a_zero_point: Value
    b: Value
    b_scale: Value
    b_zero_point: Value
    y_scale: Value
    y_zero_point: Value

    def infer(self) -> TensorType:
        require_bytes(self, (self.a, self.a_zero_point), (self.y_zero_point, None), words=True)
        require_bytes(self, (self.b, self.b_zero_point))
        self.require(all(v.dtype.is_float for v in (self.a_scale, self.b_scale, self.y_scale)), "the scales must be of a float type")
        made = TensorType(self.y_zero_point.dtype, matmul_shape(self, self.a, self.b))
        require_lines(self, self.a, -2, self.a_scale, self.a_zero_point)
        require_lines(self, self.b, -1, self.b_scale, self.b_zero_point)
        require_single(self, self.y_scale, self.y_zero_point)
        return made

    def reference(self, a, a_scale, a_zero_point, b, b_scale, b_zero_point, y_scale, y_zero_point):
        total = integer_product(a, b, a_zero_point, b_zero_point, self.a)
        scales = [s.astype(np.float32) for s in (spread(a_scale, -2), spread(b_scale, -1), spread(y_scale, -1))]
        return requantize(total, scales[0] * scales[1] / scales[2], spread(y_zero_point, -1).astype(np.float64), self.y_zero_point.dtype)

    def lower(self, at, a, a_scale, a_zero_point, b, b_scale, b_zero_point, y_scale, y_zero_point):
        total = integer_product_sum(at, a, b, a_zero_point, b_zero_point)
        left, right = matmul_indices(at, a.shape, b.shape, 0)
        if is_single(self.a_scale) and self.b_scale.type.rank <= 1:
            m = multiplier(a_scale, b_scale, y_scale, right[-1] if b.rank > 1 else as_expr(0, index))
        else:
            m = line(a_scale, f32, left, -2) * line(b_scale, f32, right, -1) / number(y_scale, f32)
        return requantized(total, m, number(y_zero_point, f32), y_zero_point.dtype)
