"""Rules of simplify: operations that only rename elements, and conversions.

Flatten, Squeeze and Unsqueeze become Reshape, so that one rule combines them all; a Transpose that moves nothing but axes of size 1 does
too.

    reshape(squeeze(x))  ->  reshape(x)
"""

from __future__ import annotations

import numpy as np

from edgec.errors import CompileError
from edgec.graph import Value, constant
from edgec.ops.cast import Cast, CastLike
from edgec.ops.joining import Expand, Tile
from edgec.ops.reshape import Flatten, Reshape, Squeeze, Transpose, Unsqueeze
from edgec.rewrite import rule
from edgec.types import DType


def reshaped(x: Value, like: Value) -> Value | None:
    """`x` in the shape of `like`, None where that shape has more than one symbol and cannot be a constant operand."""
    if x.type == like.type:
        return x
    if sum(not isinstance(d, int) for d in like.shape) > 1 or (not like.type.is_static and 0 in like.shape):
        return None
    target = np.array([d if isinstance(d, int) else -1 for d in like.shape], np.int64)
    try:
        made = Reshape(x, constant(target, f"{like.name}.shape"), allowzero=int(0 in target)).output
    except CompileError:  # a quotient of symbols that is not known to be whole
        return None
    return made if made.type == like.type else None


@rule
def reshape_of_reshape(op: Reshape):
    """reshape(reshape(x))  ->  reshape(x)"""
    return reshaped(op.data.op.data, op.output) if isinstance(op.data.op, Reshape) else None


@rule
def reshape_to_itself(op: Reshape):
    """reshape(x) to the shape of x  ->  x"""
    return op.data if op.data.type == op.output.type else None


@rule
def constant_shape(op: Reshape):
    """reshape(x, computed shape)  ->  reshape(x, constant shape)"""
    return None if op.shape.is_constant else reshaped(op.data, op.output)


@rule
def as_reshape(op: Flatten | Squeeze | Unsqueeze):
    """flatten(x), squeeze(x), unsqueeze(x)  ->  reshape(x)"""
    return reshaped(op.operands[0], op.output)


@rule
def transpose_of_transpose(op: Transpose):
    """transpose(transpose(x) p) q  ->  transpose(x) p[q]"""
    inner = op.data.op
    if not isinstance(inner, Transpose):
        return None
    return Transpose(inner.data, perm=tuple(inner.order[axis] for axis in op.order)).output


@rule
def transpose_of_unit_axes(op: Transpose):
    """transpose(x) that keeps the order of all axes larger than 1  ->  reshape(x)"""
    kept = [axis for axis in op.order if op.data.shape[axis] != 1]
    return reshaped(op.data, op.output) if kept == sorted(kept) else None


@rule
def repeat_once(op: Expand | Tile):
    """expand(x), tile(x) to the shape of x  ->  x"""
    return op.data if op.data.type == op.output.type else None


def holds(wide: DType, narrow: DType) -> bool:
    """Whether every value of `narrow` is a value of `wide`."""
    digits = {"f16": 11, "bf16": 8, "f32": 24, "f64": 53}
    if wide is narrow or narrow.kind == "b":
        return True
    if wide.is_float and narrow.is_float:
        return (wide.name, narrow.name) in {("f32", "f16"), ("f32", "bf16"), ("f64", "f16"), ("f64", "bf16"), ("f64", "f32")}
    if wide.is_float:
        return narrow.bits - (narrow.kind == "i") <= digits[wide.name] and wide.name != "f16"
    return narrow.is_integer and wide.is_integer and wide.low <= narrow.low and narrow.high <= wide.high


@rule
def cast_to_itself(op: Cast | CastLike):
    """cast(x) to the type of x  ->  x"""
    return op.x if op.x.type == op.output.type else None


@rule
def cast_of_cast(op: Cast):
    """cast(cast(x) to a type that holds every value of x) to t  ->  cast(x) to t"""
    inner = op.x.op
    if not isinstance(inner, (Cast, CastLike)) or not holds(op.x.dtype, inner.x.dtype):
        return None
    return Cast(inner.x, op.to).output


RULES = (reshape_to_itself, reshape_of_reshape, constant_shape, as_reshape, transpose_of_transpose, transpose_of_unit_axes, repeat_once,
         cast_to_itself, cast_of_cast)
