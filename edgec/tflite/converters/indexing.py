"""Operators of TFLite that choose elements: SLICE, STRIDED_SLICE, GATHER, GATHER_ND, REVERSE_V2."""

from __future__ import annotations

from edgec.errors import Unsupported
from edgec.graph import Value
from edgec.ops.gather import Gather, GatherND
from edgec.ops.reshape import Squeeze
from edgec.ops.slicing import Slice
from edgec.tflite.node import Node, whole

FAR = 1 << 31  # beyond every axis


def slice_(node: Node) -> Value:
    """SLICE: from the place that the second operand names, as many as the third says (-1: all that are left)."""
    begin, size = node.numbers(1), node.numbers(2)
    end = [FAR if s == -1 else b + s for b, s in zip(begin, size)]
    return node.emit(Slice, node.operand(0), whole(*begin), whole(*end), whole(*range(len(begin))))


def strided_slice(node: Node) -> Value:
    """STRIDED_SLICE with begin, end and stride an axis; masks leave an end open, or take one place and drop the axis.

    Bit n of a mask is about axis n (tflite/kernels/internal/strided_slice_logic.h).
    """
    if node.option("ellipsis_mask", 0) or node.option("new_axis_mask", 0):
        raise Unsupported("STRIDED_SLICE with an ellipsis or a new axis", loc=node.loc, hint="export it with begin and end for every axis")
    begin, end, strides = ([int(n) for n in node.numbers(place)] for place in (1, 2, 3))
    shrunk = [n for n in range(len(begin)) if node.option("shrink_axis_mask", 0) >> n & 1]
    for n, step in enumerate(strides):
        if n in shrunk:
            end[n], strides[n] = (begin[n] + 1 or FAR), 1
        else:
            if node.option("begin_mask", 0) >> n & 1:
                begin[n] = 0 if step > 0 else FAR
            if node.option("end_mask", 0) >> n & 1:
                end[n] = FAR if step > 0 else -FAR
            elif node.option("offset", False):
                end[n] += begin[n]
    y = node.emit(Slice, node.operand(0), whole(*begin), whole(*end), whole(*range(len(begin))), whole(*strides))
    return node.emit(Squeeze, y, whole(*shrunk)) if shrunk else y


def gather(node: Node) -> Value:
    """GATHER along an axis, by indices that are any tensor."""
    if node.option("batch_dims", 0):
        raise Unsupported("GATHER with batch dimensions", loc=node.loc, hint="GATHER_ND, or one GATHER a batch, is supported")
    return node.emit(Gather, node.operand(0), node.given(1), axis=node.option("axis", 0))


def gather_nd(node: Node) -> Value:
    return node.emit(GatherND, node.operand(0), node.given(1))


def reverse(node: Node) -> Value:
    """REVERSE_V2 along the axes that the second operand names."""
    axes = [int(axis) for axis in node.numbers(1)]
    backwards = whole(*[-1] * len(axes))
    return node.emit(Slice, node.operand(0), backwards, whole(*[-FAR] * len(axes)), whole(*axes), backwards)


MOVES = {"SLICE": slice_, "STRIDED_SLICE": strided_slice, "GATHER": gather, "GATHER_ND": gather_nd, "REVERSE_V2": reverse}
