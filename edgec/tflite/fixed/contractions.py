"""Convolutions and matrix products in TFLite's arithmetic: the exact i32 sum, plus the bias, times a factor of every channel.

Sums: tflite/kernels/internal/reference/integer_ops/{conv,depthwise_conv,fully_connected}.h; factors:
PopulateConvolutionQuantizationParams in tflite/kernels/kernel_util.cc.
"""

from __future__ import annotations

import numpy as np

from edgec.errors import Unsupported
from edgec.graph import Value, constant
from edgec.ops.arithmetic import Add
from edgec.ops.quantized import ConvInteger, MatMulInteger
from edgec.ops.reshape import Reshape
from edgec.tflite.converters.contractions import DEPTHWISE_FILTER, FILTER, groups, lines, rows, window_attributes
from edgec.tflite.fixed.multiplier import to_result
from edgec.tflite.fixed.ranges import activation_range
from edgec.tflite.node import Node, channels_last, whole
from edgec.types import i8, u8


def channel_factors(node: Node, x: int = 0) -> list[float]:
    """input scale * filter scale / output scale of every channel, in f64."""
    output = float(node.result.scale)
    return [float(node.source(x).scale) * float(scale) / output for scale in node.source(1).quantization.scale]


def zero_point(node: Node, n: int) -> Value:
    return constant(np.array(node.source(n).zero, node.source(n).dtype.numpy))


def require_bytes(node: Node) -> None:
    """8-bit operands and result."""
    for tensor in (node.source(0), node.source(1), node.result):
        if tensor.dtype not in (i8, u8) or tensor.quantization is None:
            raise Unsupported(f"{node.record.name} of {tensor.dtype} in TFLite's integer arithmetic", loc=node.loc,
                              hint="compile without --requant")


def convolution(node: Node, depthwise: bool = False) -> Value:
    """CONV_2D and DEPTHWISE_CONV_2D."""
    require_bytes(node)
    x, w = node.channels_first(0), node.operand(1, DEPTHWISE_FILTER if depthwise else FILTER)
    total = node.emit(ConvInteger, x, w, zero_point(node, 0), zero_point(node, 1), group=groups(node, depthwise), **window_attributes(node))
    if node.has(2):
        total = node.emit(Add, total, node.emit(Reshape, node.operand(2), whole(-1, 1, 1)))
    return channels_last(node, to_result(node, total, factors_of(node), *activation_range(node), axis=1))


def factors_of(node: Node) -> float | list[float]:
    """The factor of the sums, one where the scales are one."""
    factors = channel_factors(node)
    return factors[0] if len(factors) == 1 else factors


def fully_connected(node: Node) -> Value:
    """FULLY_CONNECTED, which even the reference kernels hand to the matrix library ruy: the factor is rounded once."""
    require_bytes(node)
    total = node.emit(MatMulInteger, rows(node, node.operand(0)), node.operand(1, (1, 0)), zero_point(node, 0), zero_point(node, 1))
    if node.has(2):
        total = node.emit(Add, total, node.operand(2))
    return lines(node, to_result(node, total, factors_of(node), *activation_range(node), axis=1, rounding="once"))


def batch_matmul(node: Node) -> Value:
    """BATCH_MATMUL of two operands with one scale each."""
    require_bytes(node)
    sides = []
    for n, name in enumerate(("adj_x", "adj_y")):
        rank = node.given(n).type.rank
        sides.append(node.operand(n, (*range(rank - 2), rank - 1, rank - 2) if node.option(name, False) else None))
    total = node.emit(MatMulInteger, *sides, zero_point(node, 0), zero_point(node, 1))
    factor = float(np.float32(node.source(0).scale * node.source(1).scale)) / float(node.result.scale)
    return to_result(node, total, factor, node.result.dtype.low, node.result.dtype.high)


FIXED = {
    "BATCH_MATMUL": batch_matmul,
    "CONV_2D": convolution,
    "DEPTHWISE_CONV_2D": lambda node: convolution(node, depthwise=True),
    "FULLY_CONNECTED": fully_connected,
}
