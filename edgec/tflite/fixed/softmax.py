"""SOFTMAX in TFLite's arithmetic: an exponential is a table of the distance to the row's maximum, all else is whole numbers.

tflite/kernels/internal/reference/softmax.h; the factor: PreprocessSoftmaxScaling in tflite/kernels/internal/quantization_util.cc.
"""

from __future__ import annotations

import math

import numpy as np

from edgec.errors import Unsupported
from edgec.graph import Value, constant
from edgec.onnx.tensor import CODE_OF_DTYPE
from edgec.ops.arithmetic import Sub
from edgec.ops.cast import Cast
from edgec.ops.fixed_point import exp_of_negative, high_product, rounding_shift
from edgec.ops.fixed_softmax import SUM_BITS, FixedReciprocal, FixedShare
from edgec.ops.gather import Gather
from edgec.ops.reduction import ReduceMax, ReduceSum
from edgec.tflite.fixed.multiplier import BITS, quantized_multiplier
from edgec.tflite.node import Node, whole
from edgec.types import i8, i16, i32, u8

DIFFERENCE_BITS = 5  # integer bits of an exponent


def exponentials(scale: float, beta: float) -> np.ndarray:
    """exp(-beta * scale * d) in Q0 for d = 0 to 255; 0 where the exponent would leave its format."""
    factor = min(beta * scale * (1 << (BITS - DIFFERENCE_BITS)), float((1 << BITS) - 1))
    multiplier, shift = quantized_multiplier(factor)
    left = BITS - shift
    reach = math.floor(((1 << DIFFERENCE_BITS) - 1) * (1 << (BITS - DIFFERENCE_BITS)) / 2.0 ** left)
    distance = np.arange(256, dtype=np.int64)
    exponent = high_product(np.maximum(-distance, -reach) << left, np.int64(multiplier))
    return np.where(distance <= reach, exp_of_negative(exponent, DIFFERENCE_BITS), 0).astype(np.int32)


def softmax(node: Node) -> Value:
    """SOFTMAX of 8-bit integers along the last axis, in 8 or 16 bits."""
    if node.source(0).dtype not in (i8, u8) or node.result.dtype not in (i8, u8, i16):
        raise Unsupported(f"SOFTMAX from {node.source(0).dtype} to {node.result.dtype} in TFLite's integer arithmetic", loc=node.loc,
                          hint="compile without --requant")
    table = exponentials(float(node.source(0).scale), float(node.option("beta", 1.0)))
    x = node.operand(0)
    largest = node.emit(ReduceMax, x, axes=whole(-1))
    distance = node.emit(Sub, *(node.emit(Cast, v, to=CODE_OF_DTYPE[i32]) for v in (largest, x)))
    addends = rounding_shift(table.astype(np.int64), np.int64(SUM_BITS)).astype(np.int32)
    total = node.emit(ReduceSum, node.emit(Gather, constant(addends), distance), axes=whole(-1))
    scale, bits = FixedReciprocal(total, _loc=node.loc).results
    return node.emit(FixedShare, node.emit(Gather, constant(table), distance), scale, bits, to=CODE_OF_DTYPE[node.result.dtype])


FIXED = {"SOFTMAX": softmax}
