"""Operators of TFLite that arrange elements anew, or speak of shapes: RESHAPE, TRANSPOSE, PAD, RESIZE_BILINEAR, SHAPE, ..."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from edgec.errors import ModelError
from edgec.graph import Op, Value, constant
from edgec.onnx.tensor import CODE_OF_DTYPE
from edgec.ops.cast import Cast
from edgec.ops.depth_space import DepthToSpace, SpaceToDepth
from edgec.ops.gather import Gather
from edgec.ops.generate import Range
from edgec.ops.joining import Expand, Tile
from edgec.ops.reshape import Reshape, Shape, Squeeze, Transpose, Unsqueeze
from edgec.ops.resize import Resize
from edgec.ops.slicing import Pad
from edgec.tflite.node import Node, channels_last, is_quantized, literal, whole
from edgec.types import i64


def reshape(node: Node) -> Value:
    """RESHAPE to the second operand, else to the option of that name."""
    if node.has(1):
        shape = node.emit(Cast, node.given(1), to=CODE_OF_DTYPE[i64])
    else:
        shape = whole(*node.option("new_shape", ()))
    return node.emit(Reshape, node.operand(0), shape, allowzero=1)


def squeeze(node: Node) -> Value:
    axes = node.option("squeeze_dims", ())
    return node.emit(Squeeze, node.operand(0), whole(*axes) if axes else None)


def transpose(node: Node) -> Value:
    return node.emit(Transpose, node.operand(0), perm=tuple(int(p) for p in node.numbers(1)))


def pad(node: Node) -> Value:
    """PAD and PADV2; a quantized tensor is padded with what stands for 0."""
    x, pads = node.operand(0), np.array(node.numbers(1)).reshape(-1, 2)
    fill = node.operand(2) if node.has(2) else literal(node.source(0).zero if node.raw and is_quantized(node.source(0)) else 0, x.dtype)
    if fill.type.rank:
        fill = node.emit(Reshape, fill, whole())
    return node.emit(Pad, x, whole(*pads[:, 0], *pads[:, 1]), fill)


def mirror_pad(node: Node) -> Value:
    """MIRROR_PAD: the elements before the border again, without (0, REFLECT) or with (1, SYMMETRIC) the border itself."""
    x = node.operand(0)
    for axis, (begin, end) in enumerate(np.array(node.numbers(1)).reshape(-1, 2).tolist()):
        x = mirrored(node, x, axis, begin, end, node.option("mode", 0)) if begin or end else x
    return x


def mirrored(node: Node, x: Value, axis: int, begin: int, end: int, border: int) -> Value:
    """One axis mirrored at both ends."""
    size = x.shape[axis]
    if not isinstance(size, int) or max(begin, end) > size - 1 + border:
        raise ModelError(f"axis {axis} of {x.type} cannot be mirrored by {begin} and {end}", loc=node.loc)
    places = np.pad(np.arange(size), (begin, end), mode="symmetric" if border else "reflect")
    return node.emit(Gather, x, whole(*places), axis=axis)


def resized(mode: str) -> Callable[[Node], Value]:
    """RESIZE_BILINEAR and RESIZE_NEAREST_NEIGHBOR to the sizes in the second operand (tflite/kernels/internal/reference)."""
    def convert(node: Node) -> Value:
        x, sizes = node.channels_first(0), node.numbers(1)
        corners, centers = node.option("align_corners", False), node.option("half_pixel_centers", False)
        place = "align_corners" if corners else "half_pixel" if centers else "asymmetric"
        nearest = "round_prefer_ceil" if corners or centers else "floor"
        y = node.emit(Resize, x, None, None, whole(*x.shape[:2], *sizes), mode=mode, coordinate_transformation_mode=place,
                      nearest_mode=nearest)
        return channels_last(node, y)
    return convert


def blocks(op: type[Op]) -> Callable[[Node], Value]:
    """DEPTH_TO_SPACE and SPACE_TO_DEPTH."""
    return lambda node: channels_last(node, node.emit(op, node.channels_first(0), blocksize=node.option("block_size", 0)))


def shape_of(node: Node) -> Value:
    return node.emit(Cast, node.emit(Shape, node.given(0)), to=CODE_OF_DTYPE[node.result.dtype])


def expand_dims(node: Node) -> Value:
    axis, = node.numbers(1)
    return node.emit(Unsqueeze, node.operand(0), whole(int(axis)))


def zeros_like(node: Node) -> Value:
    return node.emit(Expand, literal(0, node.operand(0).dtype), node.emit(Shape, node.given(0)))


def fill(node: Node) -> Value:
    return node.emit(Expand, node.operand(1), whole(*node.numbers(0)))


def rank_of(node: Node) -> Value:
    return constant(np.array(node.given(0).type.rank, np.int32))


REAL = {
    "RESIZE_BILINEAR": resized("linear"),
    "RANGE": lambda node: node.emit(Range, node.given(0), node.given(1), node.given(2)),
    "ZEROS_LIKE": zeros_like,
    "FILL": fill,
}
MOVES = {
    "SHAPE": shape_of,
    "RANK": rank_of,
    "RESHAPE": reshape,
    "SQUEEZE": squeeze,
    "EXPAND_DIMS": expand_dims,
    "TRANSPOSE": transpose,
    "PAD": pad,
    "PADV2": pad,
    "MIRROR_PAD": mirror_pad,
    "RESIZE_NEAREST_NEIGHBOR": resized("nearest"),
    "DEPTH_TO_SPACE": blocks(DepthToSpace),
    "SPACE_TO_DEPTH": blocks(SpaceToDepth),
    "TILE": lambda node: node.emit(Tile, node.operand(0), whole(*node.numbers(1))),
    "BROADCAST_TO": lambda node: node.emit(Expand, node.operand(0), whole(*node.numbers(1))),
}
