"""Pooling of TFLite, channels last: AVERAGE_POOL_2D, MAX_POOL_2D, L2_POOL_2D."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from edgec.errors import ModelError
from edgec.graph import Op, Value
from edgec.ops.arithmetic import Clip, Mul, Sqrt
from edgec.ops.pooling import AveragePool, MaxPool
from edgec.tflite.converters.activations import activated, fused_activation
from edgec.tflite.converters.contractions import PADDING
from edgec.tflite.fixed.ranges import activation_range
from edgec.tflite.node import Node, channels_last, is_quantized, literal


def pool_attributes(node: Node) -> dict[str, Any]:
    """Window, strides and padding of a pool."""
    padding = node.option("padding", 0)
    if padding not in (0, 1) or node.given(0).type.rank != 4:
        raise ModelError(f"a pool of {node.given(0).type} with padding number {padding}", loc=node.loc)
    kernel = node.option("filter_height", 0), node.option("filter_width", 0)
    return {"kernel_shape": kernel, "strides": (node.option("stride_h", 1), node.option("stride_w", 1)), "auto_pad": PADDING[padding]}


def _pool(op: type[Op]) -> Callable[[Node], Value]:
    def convert(node: Node) -> Value:
        y = node.emit(op, node.channels_first(0), **pool_attributes(node))
        return channels_last(node, _activated(node, y))
    return convert


def _activated(node: Node, y: Value) -> Value:
    """The activation of a pool, which integers of the same scale have as a range of integers."""
    if not node.raw or not is_quantized(node.result):
        return activated(node, y)
    if fused_activation(node) == "none":
        return y
    low, high = activation_range(node)
    return node.emit(Clip, y, literal(low, y.dtype), literal(high, y.dtype))


def l2_pool(node: Node) -> Value:
    """The root of the mean of the squares."""
    x = node.channels_first(0)
    mean = node.emit(AveragePool, node.emit(Mul, x, x), **pool_attributes(node))
    return channels_last(node, activated(node, node.emit(Sqrt, mean)))


REAL = {"AVERAGE_POOL_2D": _pool(AveragePool), "L2_POOL_2D": l2_pool}
MOVES = {"MAX_POOL_2D": _pool(MaxPool)}
