"""Reductions of TFLite over axes that are known when compiling, ARG_MAX and ARG_MIN, CUMSUM, L2_NORMALIZATION."""

from __future__ import annotations

from collections.abc import Callable

from edgec.graph import Op, Value
from edgec.onnx.tensor import CODE_OF_DTYPE
from edgec.ops.argmax import ArgMax, ArgMin
from edgec.ops.arithmetic import Div, Max
from edgec.ops.cast import Cast
from edgec.ops.cumulative import CumSum
from edgec.ops.reduction import ReduceL2, ReduceMax, ReduceMean, ReduceMin, ReduceProd, ReduceSum
from edgec.tflite.converters.activations import activated
from edgec.tflite.node import Node, literal, whole
from edgec.types import i32, u8


def _over_axes(op: type[Op]) -> Callable[[Node], Value]:
    """A reduction over the axes that the second operand names."""
    def convert(node: Node) -> Value:
        return node.emit(op, node.operand(0), axes=whole(*node.numbers(1)), keepdims=int(node.option("keep_dims", False)),
                         noop_with_empty_axes=1)
    return convert


def _of_truth(op: type[Op]) -> Callable[[Node], Value]:
    """REDUCE_ANY and REDUCE_ALL, as the greatest and the least."""
    def convert(node: Node) -> Value:
        bytes_ = node.emit(Cast, node.operand(0), to=CODE_OF_DTYPE[u8])
        found = node.emit(op, bytes_, axes=whole(*node.numbers(1)), keepdims=int(node.option("keep_dims", False)), noop_with_empty_axes=1)
        return node.emit(Cast, found, to=CODE_OF_DTYPE[node.result.dtype])
    return convert


def _place(op: type[Op]) -> Callable[[Node], Value]:
    """The index of the greatest or least element along the axis that the second operand names."""
    def convert(node: Node) -> Value:
        axis, = node.numbers(1)
        return node.emit(Cast, node.emit(op, node.given(0), axis=int(axis), keepdims=0), to=CODE_OF_DTYPE[node.result.dtype])
    return convert


def cumsum(node: Node) -> Value:
    axis, = node.numbers(1)
    return node.emit(CumSum, node.operand(0), literal(axis, i32), exclusive=int(node.option("exclusive", False)),
                     reverse=int(node.option("reverse", False)))


def l2_normalization(node: Node) -> Value:
    """x over the root of the sum of its squares along the last axis, which is at least 1e-6 (reference/l2normalization.h)."""
    x = node.operand(0)
    length = node.emit(Max, (node.emit(ReduceL2, x, axes=whole(-1)), literal(1e-6, x.dtype)))
    return activated(node, node.emit(Div, x, length))


REAL = {
    "MEAN": _over_axes(ReduceMean),
    "SUM": _over_axes(ReduceSum),
    "REDUCE_PROD": _over_axes(ReduceProd),
    "REDUCE_ANY": _of_truth(ReduceMax),
    "REDUCE_ALL": _of_truth(ReduceMin),
    "CUMSUM": cumsum,
    "L2_NORMALIZATION": l2_normalization,
}
MOVES = {
    "REDUCE_MAX": _over_axes(ReduceMax),
    "REDUCE_MIN": _over_axes(ReduceMin),
    "ARG_MAX": _place(ArgMax),
    "ARG_MIN": _place(ArgMin),
}
