"""Rules of integers: products of two quantized tensors become products of integers.

REQUANTIZING: what is quantized again becomes ONNX's QLinear operator, whose arithmetic is the meaning of such a graph:
m = f32(f32(sx * sw) / sy); y = clamp(round_half_even(f32(sum) * m) + zy), with an exact sum that includes the bias in units of sx * sw.
A Relu or Clip between is a clamp of the result: rounding never reverses an order. INTEGER: any other product of two quantized tensors is
the integer sum times sx * sw, in f32.

    quantizelinear(relu(conv(dequantizelinear(x), dequantizelinear(w), b)), s, z)  ->  max(qlinearconv(x, w, b'), z)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from edgec.graph import Op, Value, constant
from edgec.onnx.tensor import CODE_OF_DTYPE
from edgec.ops.activation import Relu
from edgec.ops.arithmetic import Add, Clip, Mul
from edgec.ops.cast import Cast
from edgec.ops.convolution import Conv, ConvTranspose
from edgec.ops.matmul import Gemm, MatMul
from edgec.ops.quantization import QuantizeLinear
from edgec.ops.quantized import BYTES, WORDS, ConvInteger, MatMulInteger, QLinearConv, QLinearMatMul
from edgec.ops.quantized_gemm import QGemm
from edgec.ops.quantized_transposed import ConvTransposeInteger, QLinearConvTranspose
from edgec.ops.reshape import Reshape, Transpose
from edgec.passes.rules_means import quantized_arithmetic
from edgec.rewrite import Context, rule
from edgec.scaled_values import Scaled, is_regular, quantizing, scaled
from edgec.types import DType, f32, i32

SAME_SCALE = 1e-5  # exporters round sx * sw in more than one way
LARGEST_BIAS = 2 ** 30  # leaves the other half of the i32 range to the sum


@dataclass(frozen=True)
class Factors:
    """The two quantized operands of a product; the scales of weights that lie in groups count for each group."""

    x: Scaled
    w: Scaled
    groups: int = 1

    @property
    def scales(self) -> np.ndarray:
        """f32(sx * sw), one number or one a channel."""
        made = np.float32(self.x.scale.array) * self.w.scale.array.astype(np.float32)
        return np.tile(made, self.groups) if made.ndim else made


Product = Conv | ConvTranspose | MatMul | Gemm


def factors(op: Product, types: tuple[DType, ...] = BYTES) -> Factors | None:
    """Both operands as integers with known scales: x of one of the types with one for all, w bytes with one for all or one a channel."""
    found = [scaled(v) for v in op.operands[:2]]
    if None in found:
        return None
    x, w = (each.with_bytes() for each in found)
    if isinstance(op, ConvTranspose) and not (w.x.is_constant and w.zero_point.is_constant):
        return None
    fits = x.axis is None and w.axis in (None, _channel_axis(op)) and x.dtype in types and w.dtype in BYTES
    groups = op.group if isinstance(op, ConvTranspose) else 1
    return Factors(x, w, groups) if fits and is_regular(x.scale) and is_regular(w.scale) else None


def _channel_axis(op: Product) -> int:
    """The axis of the weights that counts output channels (of a group, in a ConvTranspose)."""
    if isinstance(op, (Conv, ConvTranspose)):
        return int(isinstance(op, ConvTranspose))
    return 0 if isinstance(op, Gemm) and op.transB else max(op.operands[1].type.rank - 1, 0)


# ------------------------------------------------------------------------------------------------------------------------ bias

def integer_bias(bias: Value, scales: np.ndarray) -> Value | None:
    """A bias in units of `scales`: its own integers where it is quantized so, else rounded; None where it is not known or too large."""
    given = scaled(bias)
    if given is not None and given.dtype is i32 and given.x.is_constant and is_regular(given.scale) and not given.zero_point.array.any():
        ratio = given.scale.array.astype(np.float64) / scales
        if np.all(np.abs(ratio - 1) <= SAME_SCALE):
            return given.x
        real = given.x.array * given.scale.array.astype(np.float64)
    elif bias.is_constant and bias.dtype is f32:
        real = bias.array.astype(np.float64)
    else:
        return None
    whole = np.rint(real / scales)
    return constant(whole.astype(np.int32), bias.name, bias.loc) if np.all(np.abs(whole) <= LARGEST_BIAS) else None


# ---------------------------------------------------------------------------------------------------------------- requantizing

@rule
def requantize(op: QuantizeLinear, context: Context):
    """quantizelinear(clip(conv(dequantizelinear(x), dequantizelinear(w), b)))  ->  clip(qlinearconv(x, w, b')); others alike"""
    wanted = quantizing(op)
    if wanted is None or wanted.axis is not None or wanted.dtype not in BYTES + WORDS or not is_regular(wanted.scale):
        return None
    if not wanted.zero_point.is_constant:
        return None
    value, low, high = _bounds(op.x, context)
    made = _quantized(value.op, wanted) if context.uses(value) == 1 else None
    return made and clamped(made, wanted, low, high)


def _bounds(value: Value, context: Context) -> tuple[Value, float, float]:
    """What the clamps at the end of a value are applied to, and their bounds."""
    low, high = -np.inf, np.inf
    while isinstance(value.op, (Relu, Clip)) and context.uses(value) == 1:
        limits = _limits(value.op)
        if limits is None or limits[0] > limits[1]:
            break
        low, high = (min(max(n, limits[0]), limits[1]) for n in (low, high))
        value = value.op.x
    return value, low, high


def _limits(op: Relu | Clip) -> tuple[float, float] | None:
    if isinstance(op, Relu):
        return 0.0, np.inf
    if any(v is not None and not v.is_constant for v in (op.low, op.high)):
        return None
    return tuple(other if v is None else float(v.array.reshape(())) for v, other in ((op.low, -np.inf), (op.high, np.inf)))


def clamped(made: Value, wanted: Scaled, low: float, high: float) -> Value:
    """Integers between the integers that two real bounds are quantized to."""
    dtype, scale, zero = wanted.dtype, np.float32(wanted.scale.array), int(wanted.zero_point.array)

    def bound(real: float, none: int) -> Value | None:
        with np.errstate(over="ignore"):
            whole = int(np.clip(np.rint(np.float32(real) / scale) + zero, dtype.low, dtype.high))
        return None if whole == none else constant(np.array(whole, dtype.numpy), "bound")

    least, greatest = bound(low, dtype.low), bound(high, dtype.high)
    return made if least is None and greatest is None else Clip(made, least, greatest).output


def _quantized(op: Op, wanted: Scaled) -> Value | None:
    """The result of an operator as integers of the wanted scale."""
    if not isinstance(op, Product):
        return quantized_arithmetic(op, wanted)
    found = factors(op, BYTES + WORDS)
    if found is None:
        return None
    x, w = found.x, found.w
    operands = (x.x, x.scale, x.zero_point, w.x, w.scale, w.zero_point)
    if isinstance(op, MatMul):
        return QLinearMatMul(*operands, wanted.scale, wanted.zero_point).output
    if isinstance(op, Gemm):
        return _gemm(op, found, wanted)
    bias = None if op.b is None else integer_bias(op.b, found.scales)
    if op.b is not None and bias is None:
        return None
    kind = QLinearConv if isinstance(op, Conv) else QLinearConvTranspose
    return kind(*operands, wanted.scale, wanted.zero_point, bias, **op.attributes).output


def _gemm(op: Gemm, found: Factors, wanted: Scaled) -> Value | None:
    x, w, bias = found.x, found.w, None
    if op.c is not None and op.beta != 0:
        if op.beta != 1.0 or op.alpha == 0:
            return None
        bias = integer_bias(op.c, found.scales * np.float32(op.alpha))
        if bias is None:
            return None
    return QGemm(x.x, x.scale, x.zero_point, w.x, w.scale, w.zero_point, bias, wanted.scale, wanted.zero_point, alpha=op.alpha,
                 transA=op.transA, transB=op.transB).output


# --------------------------------------------------------------------------------------------------------------------- integer

@rule
def integer_conv(op: Conv):
    """conv(dequantizelinear(x), dequantizelinear(w), b)  ->  cast(convinteger(x, w)) * (sx * sw) + b"""
    return _convolution(op, ConvInteger)


@rule
def integer_conv_transpose(op: ConvTranspose):
    """convtranspose(dequantizelinear(x), dequantizelinear(w), b)  ->  cast(convtransposeinteger(x, w)) * (sx * sw) + b"""
    return _convolution(op, ConvTransposeInteger)


def _convolution(op: Conv | ConvTranspose, kind: type[Op]) -> Value | None:
    found = factors(op)
    if found is None:
        return None
    x, w = found.x, found.w
    total = kind(x.x, w.x, x.zero_point, w.zero_point, **op.attributes).output
    channels = (-1, *[1] * (op.x.type.rank - 2))
    return _real(total, found, channels, op.b, lambda b: Reshape(b, constant(np.array(channels, np.int64))).output)


@rule
def integer_matmul(op: MatMul):
    """matmul(dequantizelinear(a), dequantizelinear(b))  ->  cast(matmulinteger(a, b)) * (sa * sb)"""
    found = factors(op)
    if found is None:
        return None
    x, w = found.x, found.w
    return _real(MatMulInteger(x.x, w.x, x.zero_point, w.zero_point).output, found, (-1,), None, None)


@rule
def integer_gemm(op: Gemm):
    """gemm(dequantizelinear(a), dequantizelinear(b), c)  ->  cast(matmulinteger(a, b)) * (sa * sb) + c"""
    found = factors(op)
    if found is None or op.alpha != 1.0 or op.c is not None and op.beta != 1.0:
        return None
    x, w = found.x, found.w
    a = Transpose(x.x, (1, 0)).output if op.transA else x.x
    b = Transpose(w.x, (1, 0)).output if op.transB else w.x
    return _real(MatMulInteger(a, b, x.zero_point, w.zero_point).output, found, (-1,), op.c, lambda c: c)


def _real(total: Value, found: Factors, channels: tuple[int, ...], bias: Value | None, spread: Any) -> Value:
    """The i32 sum in f32, times the scales, plus the bias: in integers where it is quantized with these scales."""
    whole = None if bias is None or scaled(bias) is None else _exact_bias(bias, found.scales)
    if whole is not None:
        total, bias = Add(total, spread(whole)).output, None
    scale = constant(found.scales.reshape(channels) if found.scales.ndim else found.scales, "scale")
    real = Mul(Cast(total, to=CODE_OF_DTYPE[f32]).output, scale).output
    return real if bias is None else Add(real, spread(bias)).output


def _exact_bias(bias: Value, scales: np.ndarray) -> Value | None:
    """The integers of a bias that is quantized with just these scales."""
    whole = integer_bias(bias, scales)
    return whole if whole is scaled(bias).x else None


REQUANTIZING = (requantize,)
INTEGER = (integer_conv, integer_conv_transpose, integer_matmul, integer_gemm)
