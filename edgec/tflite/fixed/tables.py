"""Activations of 8-bit tensors in TFLite's arithmetic: each is a table of 256 results, made when compiling.

Sigmoid, tanh and the like are tables in TFLite as well, of an f32 function (LUTPopulate in tflite/kernels/internal/reference/integer_ops/
lut.h). ReLUs are a change of scale with limits, leaky ReLU two of them, and hard-swish is 16-bit fixed-point arithmetic
(tflite/kernels/activations.cc, tflite/kernels/internal/reference/{leaky_relu,hard_swish}.h).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from edgec.errors import Unsupported
from edgec.graph import Value, constant
from edgec.onnx.tensor import CODE_OF_DTYPE
from edgec.ops.arithmetic import Max, Min, Sub
from edgec.ops.cast import Cast
from edgec.ops.fixed_point import high_product, rounding_shift
from edgec.ops.gather import Gather
from edgec.tflite.fixed.multiplier import BITS, centred, quantized_multiplier, to_result
from edgec.tflite.fixed.ranges import limits
from edgec.tflite.node import Node, literal
from edgec.types import i8, i32, u8


def looked_up(node: Node, results: Callable[[np.ndarray], np.ndarray]) -> Value:
    """The result of an 8-bit operand by a table of `results` of all its integers, held within the type of the result."""
    tensor, result = node.source(0), node.result
    if tensor.dtype not in (i8, u8) or result.dtype not in (i8, u8):
        raise Unsupported(f"{node.record.name} of {tensor.dtype} in TFLite's integer arithmetic", loc=node.loc,
                          hint="compile without --requant")
    every = np.arange(tensor.dtype.low, tensor.dtype.high + 1, dtype=np.int64)
    found = np.clip(results(every), result.dtype.low, result.dtype.high).astype(result.dtype.numpy)
    place = node.emit(Cast, node.operand(0), to=CODE_OF_DTYPE[i32])
    return node.emit(Gather, constant(found), node.emit(Sub, place, literal(tensor.dtype.low, i32)))


def of_real(function: Callable[[np.ndarray], np.ndarray]) -> Callable[[Node], Value]:
    """A table of an f32 function: the operand made real, the result rounded with halves away from zero."""
    def convert(node: Node) -> Value:
        def results(every: np.ndarray) -> np.ndarray:
            real = node.source(0).scale * (every - node.source(0).zero).astype(np.float32)
            with np.errstate(over="ignore"):
                made = function(real.astype(np.float64)).astype(np.float32)
            ratio = (made * (np.float32(1) / node.result.scale)).astype(np.float64)
            return np.copysign(np.floor(np.abs(ratio) + 0.5), ratio) + node.result.zero
        return looked_up(node, results)
    return convert


def relu(low: float, high: float) -> Callable[[Node], Value]:
    """A change of scale within limits."""
    def convert(node: Node) -> Value:
        factor = float(np.float32(node.source(0).scale / node.result.scale))
        return to_result(node, centred(node, 0), factor, *limits(node.result, low, high))
    return convert


def scaled(x: np.ndarray, factor: float) -> np.ndarray:
    """Whole numbers times a factor, rounded twice (as Rescale does)."""
    multiplier, shift = quantized_multiplier(factor)
    return rounding_shift(high_product(x << max(BITS - shift, 0), np.int64(multiplier)), np.int64(max(shift - BITS, 0)))


def leaky_relu(node: Node) -> Value:
    """Two changes of scale, of which that for numbers below 0 has the slope in it."""
    inner, outer, alpha = node.source(0), node.result, np.float32(node.option("alpha", 0.0))

    def results(every: np.ndarray) -> np.ndarray:
        x = every - inner.zero
        plain, sloped = float(np.float32(inner.scale / outer.scale)), float(np.float32(inner.scale * alpha / outer.scale))
        return np.where(x >= 0, scaled(x, plain), scaled(x, sloped)) + outer.zero
    return looked_up(node, results)


def hard_swish(node: Node) -> Value:
    """x * relu6(x + 3) / 6, the second factor as (x / 3 + 1) / 2 within 0 and 1, in 16 bits."""
    fine = np.float32(1 / 128) * node.source(0).scale
    outer, outer_exponent = _short_multiplier(float(fine / node.result.scale))
    slope, slope_exponent = _short_multiplier(float(fine / np.float32(3 / 32768)))

    def results(every: np.ndarray) -> np.ndarray:
        x = (every - node.source(0).zero) * 128
        ramp = _saturated(x << (slope_exponent - 1)) if slope_exponent > 0 else x
        ramp = _short_product(ramp, slope)
        ramp = _saturated(ramp << 1) if slope_exponent > 0 else rounding_shift(ramp, np.int64(-slope_exponent))
        product = ((ramp + (1 << 15)) >> 1) * _short_product(x, outer)
        whole = _saturated(np.sign(product) * (np.abs(product) >> 15))
        return rounding_shift(whole, np.int64(-outer_exponent)) + node.result.zero
    return looked_up(node, results)


def _short_multiplier(factor: float) -> tuple[int, int]:
    """A factor as a multiplier of 15 bits and a power of two."""
    multiplier, shift = quantized_multiplier(factor)
    return min((multiplier + (1 << 15)) >> 16, (1 << 15) - 1), BITS - shift


def _saturated(x: np.ndarray) -> np.ndarray:
    return np.clip(x, -(1 << 15), (1 << 15) - 1)


def _short_product(a: np.ndarray, b: int) -> np.ndarray:
    """The rounded upper half of the doubled 16-bit product; halves go up, and towards zero below it."""
    product = a * b
    nudge = np.where(product >= 0, 1 << 14, 1 - (1 << 14))
    return np.sign(product + nudge) * (np.abs(product + nudge) >> 15)


def extreme(op: type) -> Callable[[Node], Value]:
    """MAXIMUM and MINIMUM of operands that have the scale of the result."""
    def convert(node: Node) -> Value:
        if not all(node.source(n).quantization.same_as(node.result.quantization) for n in (0, 1)):
            raise Unsupported(f"{node.record.name} of operands of other scales in TFLite's integer arithmetic", loc=node.loc,
                              hint="compile without --requant")
        return node.emit(op, (node.operand(0), node.operand(1)))
    return convert


FIXED = {
    "LOGISTIC": of_real(lambda x: 1 / (1 + np.exp(-x))),
    "TANH": of_real(np.tanh),
    "RELU": relu(0.0, math.inf),
    "RELU6": relu(0.0, 6.0),
    "RELU_N1_TO_1": relu(-1.0, 1.0),
    "LEAKY_RELU": leaky_relu,
    "HARD_SWISH": hard_swish,
    "MAXIMUM": extreme(Max),
    "MINIMUM": extreme(Min),
}
