"""AVERAGE_POOL_2D, MEAN and SUM in TFLite's arithmetic (tflite/kernels/internal/reference/{reduce.h,integer_ops/pooling.h})."""

from __future__ import annotations

from math import prod

from edgec.errors import Unsupported
from edgec.graph import Value
from edgec.onnx.tensor import CODE_OF_DTYPE
from edgec.ops.arithmetic import Clip, Sub
from edgec.ops.cast import Cast
from edgec.ops.integer_pool import IntegerAveragePool
from edgec.ops.reduction import ReduceSum
from edgec.tflite.converters.pools import pool_attributes
from edgec.tflite.fixed.multiplier import BITS, quantized_multiplier, shifted
from edgec.tflite.fixed.ranges import activation_range
from edgec.tflite.node import Node, channels_last, literal, whole
from edgec.types import i32


def average_pool(node: Node) -> Value:
    """AVERAGE_POOL_2D; operand and result are of one scale."""
    y = node.emit(IntegerAveragePool, node.channels_first(0), **pool_attributes(node))
    low, high = activation_range(node)
    if (low, high) != (y.dtype.low, y.dtype.high):
        y = node.emit(Clip, y, literal(low, y.dtype), literal(high, y.dtype))
    return channels_last(node, y)


def mean_or_sum(node: Node, mean: bool) -> Value:
    """The exact sum times a factor, which for a mean holds 1 / count, rounded down (QuantizedMeanOrSum)."""
    x, axes = node.operand(0), node.numbers(1)
    sizes = [x.shape[int(axis)] for axis in {int(a) % x.type.rank for a in axes}]
    if not all(isinstance(size, int) for size in sizes):
        raise Unsupported("a mean over an axis of open size in TFLite's integer arithmetic", loc=node.loc, hint="give the axis a size")
    count = max(prod(sizes), 1)
    keep = int(node.option("keep_dims", False))
    total = node.emit(ReduceSum, node.emit(Cast, x, to=CODE_OF_DTYPE[i32]), axes=whole(*axes), keepdims=keep, noop_with_empty_axes=1)
    total = node.emit(Sub, total, literal(node.source(0).zero * count, i32))
    multiplier, shift = quantized_multiplier(float(node.source(0).scale) / float(node.result.scale))
    if mean:
        more = min(count.bit_length() - 1, 32, 2 * BITS - shift)
        multiplier, shift = (multiplier << more) // count, shift + more
    return shifted(node, total, multiplier, shift, zero=node.result.zero, to=CODE_OF_DTYPE[node.result.dtype])


FIXED = {
    "AVERAGE_POOL_2D": average_pool,
    "MEAN": lambda node: mean_or_sum(node, True),
    "SUM": lambda node: mean_or_sum(node, False),
}
