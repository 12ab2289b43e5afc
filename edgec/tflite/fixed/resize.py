"""RESIZE_BILINEAR in TFLite's arithmetic: places and weights of 10 bits, which are known when compiling.

tflite/kernels/internal/reference/resize_bilinear.h (ResizeBilinearInteger).
"""

from __future__ import annotations

import numpy as np

from edgec.errors import Unsupported
from edgec.graph import Value, constant
from edgec.onnx.tensor import CODE_OF_DTYPE
from edgec.ops.arithmetic import Add, Div, Mul
from edgec.ops.cast import Cast
from edgec.ops.comparison import Less, Where
from edgec.ops.gather import Gather
from edgec.tflite.node import Node, literal
from edgec.types import i8, i32

BITS = 10


def places(size: int, count: int, corners: bool, centers: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(lower neighbours, upper neighbours, weights of the upper ones in 2^-10) of `count` results of `size` elements."""
    from_, to = (size - 1, count - 1) if corners and count > 1 else (size, count)
    step = ((from_ << BITS) + to // 2) // to
    at = np.arange(count, dtype=np.int64) * step + (step // 2 - (1 << (BITS - 1)) if centers else 0)
    lower = np.maximum(np.sign(at) * (np.abs(at) >> BITS), 0)
    upper = np.minimum((at + (1 << BITS) - 1) // (1 << BITS), size - 1)
    return lower, np.maximum(upper, 0), at - (lower << BITS)


def blended(node: Node, x: Value, axis: int, count: int) -> Value:
    """x with `count` elements along an axis, each the weighted sum of two neighbours; 10 bits are added below."""
    size = x.shape[axis]
    if not isinstance(size, int):
        raise Unsupported("an axis of open size is resized in TFLite's integer arithmetic", loc=node.loc, hint="give the axis a size")
    lower, upper, weight = places(size, count, node.option("align_corners", False), node.option("half_pixel_centers", False))
    shape = [-1 if n == axis else 1 for n in range(x.type.rank)]
    sides = [node.emit(Mul, node.emit(Gather, x, constant(at), axis=axis), constant(part.astype(np.int32).reshape(shape)))
             for at, part in ((lower, (1 << BITS) - weight), (upper, weight))]
    return node.emit(Add, *sides)


def resize_bilinear(node: Node) -> Value:
    """RESIZE_BILINEAR of i8: the weighted sum of four neighbours, rounded with halves away from zero."""
    if node.source(0).dtype is not i8:
        raise Unsupported(f"RESIZE_BILINEAR of {node.source(0).dtype} in TFLite's integer arithmetic", loc=node.loc,
                          hint="compile without --requant")
    height, width = (int(n) for n in node.numbers(1))
    total = node.emit(Cast, node.operand(0), to=CODE_OF_DTYPE[i32])
    total = blended(node, blended(node, total, 1, height), 2, width)
    half = 1 << (2 * BITS - 1)
    nudge = node.emit(Where, node.emit(Less, literal(0, i32), total), literal(half, i32), literal(-half, i32))
    rounded = node.emit(Div, node.emit(Add, total, nudge), literal(1 << (2 * BITS), i32))
    return node.emit(Cast, rounded, to=CODE_OF_DTYPE[node.result.dtype])


FIXED = {"RESIZE_BILINEAR": resize_bilinear}
