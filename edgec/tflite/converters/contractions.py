"""Sums of products of TFLite: CONV_2D, DEPTHWISE_CONV_2D, TRANSPOSE_CONV, FULLY_CONNECTED, BATCH_MATMUL.

TFLite has its channels last; the operators of the graph have them first, so a convolution stands between two transpositions, which the
layout pass turns into no work at all. Weights are constants and change their order while they are read.
"""

from __future__ import annotations

from typing import Any

from edgec.errors import ModelError
from edgec.expr import dim
from edgec.graph import Value
from edgec.ops.convolution import Conv, ConvTranspose
from edgec.ops.matmul import Gemm, MatMul
from edgec.ops.reshape import Reshape
from edgec.tflite.converters.activations import activated
from edgec.tflite.node import Node, channels_last, whole

FILTER, DEPTHWISE_FILTER = (0, 3, 1, 2), (3, 0, 1, 2)  # [out, h, w, in] and [1, h, w, out] as [out, in, h, w]
PADDING = ("SAME_UPPER", "VALID")


def window_attributes(node: Node) -> dict[str, Any]:
    """Strides, dilations and padding of a convolution as attributes of the graph's operators."""
    padding = node.option("padding", 0)
    if padding not in (0, 1):
        raise ModelError(f"the padding is number {padding}; it can be 0 (SAME) or 1 (VALID)", loc=node.loc)
    dilations = node.option("dilation_h_factor", 1), node.option("dilation_w_factor", 1)
    strides = node.option("stride_h", 1), node.option("stride_w", 1)
    return {"strides": strides, "dilations": dilations, "auto_pad": PADDING[padding]}


def groups(node: Node, depthwise: bool) -> int:
    """How many groups the channels of a convolution fall into."""
    x, w = node.given(0), node.given(1)
    if x.type.rank != 4 or w.type.rank != 4:
        raise ModelError(f"a convolution of {x.type} and {w.type}; both need four axes", loc=node.loc)
    channels, inner = x.shape[3], w.shape[3]
    if depthwise:
        return channels
    if inner == 0 or channels % inner:
        raise ModelError(f"{channels} channels do not fall into groups of {inner}", loc=node.loc)
    return channels // inner


def convolution(node: Node, depthwise: bool = False) -> Value:
    """CONV_2D and DEPTHWISE_CONV_2D of real numbers."""
    w = node.operand(1, DEPTHWISE_FILTER if depthwise else FILTER)
    x = node.channels_first(0)
    y = node.emit(Conv, x, w, node.optional(2), group=groups(node, depthwise), **window_attributes(node))
    return channels_last(node, activated(node, y))


def transpose_pads(node: Node, kernel: tuple[int, ...], sizes: tuple[int, ...], counts: tuple[int, ...]) -> tuple[int, ...]:
    """The padding of a transposed convolution from `counts` to `sizes` elements: that of the convolution the other way around."""
    begin, end = [], []
    strides = node.option("stride_h", 1), node.option("stride_w", 1)
    for k, s, size, count in zip(kernel, strides, sizes, counts):
        total = (count - 1) * s + k - size
        small = max(total, 0) // 2 if node.option("padding", 0) == 0 else 0
        begin.append(small)
        end.append(total - small)
    return (*begin, *end)


def transpose_convolution(node: Node) -> Value:
    """TRANSPOSE_CONV: the size of the result, weights [out, h, w, in], the operand, and a bias."""
    sizes = tuple(node.numbers(0))
    w = node.operand(1, (3, 0, 1, 2))
    x = node.channels_first(2)
    if len(sizes) != 4 or x.type.rank != 4:
        raise ModelError(f"a transposed convolution of {x.type} to {list(sizes)}; both need four axes", loc=node.loc)
    pads, extra = padded_counts(transpose_pads(node, w.shape[2:], sizes[1:3], x.shape[2:]))
    y = node.emit(ConvTranspose, x, w, node.optional(3), strides=window_attributes(node)["strides"], pads=pads, output_padding=extra)
    return channels_last(node, activated(node, y))


def padded_counts(pads: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Pads of which none is negative, and what is to be added at the end instead."""
    half = len(pads) // 2
    return tuple(max(p, 0) for p in pads), tuple(max(-p, 0) for p in pads[half:])


def rows(node: Node, x: Value) -> Value:
    """The operand of FULLY_CONNECTED as a matrix whose rows are as long as those of the weights."""
    length = node.given(1).shape[-1] if node.given(1).type.rank == 2 else 0
    if x.type.rank == 2 and x.shape[1] == length:
        return x
    if not isinstance(length, int) or length == 0:
        raise ModelError(f"the weights are {node.given(1).type}; a matrix is needed", loc=node.loc)
    return node.emit(Reshape, x, whole(-1, length))


def lines(node: Node, y: Value) -> Value:
    """A result of FULLY_CONNECTED with the axes of its operand, where that is asked for."""
    if not node.option("keep_num_dims", False) or node.given(0).type.rank == 2:
        return y
    *lead, _ = node.given(0).shape
    shape = tuple(d if isinstance(d, int) else -1 for d in lead)
    return node.emit(Reshape, y, whole(*shape, dim(y.shape[1])))


def fully_connected(node: Node) -> Value:
    """x times the transposed weights, plus a bias."""
    w = node.operand(1, (1, 0))
    y = node.emit(Gemm, rows(node, node.operand(0)), w, node.optional(2))
    return activated(node, lines(node, y))


def batch_matmul(node: Node) -> Value:
    """BATCH_MATMUL, either operand transposed where asked."""
    def side(n: int, name: str) -> Value:
        rank = node.given(n).type.rank
        return node.operand(n, (*range(rank - 2), rank - 1, rank - 2) if node.option(name, False) else None)
    return node.emit(MatMul, side(0, "adj_x"), side(1, "adj_y"))


REAL = {
    "CONV_2D": convolution,
    "DEPTHWISE_CONV_2D": lambda node: convolution(node, depthwise=True),
    "TRANSPOSE_CONV": transpose_convolution,
    "FULLY_CONNECTED": fully_connected,
    "BATCH_MATMUL": batch_matmul,
}
