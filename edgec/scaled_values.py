"""What stands for a real tensor in a QDQ graph: integers with a scale and a zero point. Used by the rules of the pass integers.

    found = scaled(conv.x)         # where conv.x is dequantizelinear(x, s, z): Scaled(x, s, z, axis), else None
    found.redone(other)            # another tensor of the same integers as real numbers: dequantizelinear(other, s, z)
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from edgec.graph import Value, constant
from edgec.onnx.tensor import CODE_OF_DTYPE
from edgec.ops.cast import Cast
from edgec.ops.quantization import DequantizeLinear, QuantizeLinear
from edgec.types import DType, f32, i4, i8, u4, u8

LEAST_SCALE = 2.0 ** -100  # (n * s) / s gives n for every n of a few bits where products stay normal numbers
LARGEST_SCALE = 2.0 ** 100
WIDER = {i4: i8, u4: u8}


@dataclass(frozen=True)
class Scaled:
    """The numbers (x - zero_point) * scale, the parameters one for the tensor (axis None) or one a place of an axis."""

    x: Value
    scale: Value
    zero_point: Value
    axis: int | None = None

    @property
    def dtype(self) -> DType:
        return self.x.dtype

    def redone(self, x: Value) -> Value:
        """Another tensor with these parameters, as real numbers."""
        return DequantizeLinear(x, self.scale, self.zero_point, axis=1 if self.axis is None else self.axis).output

    def with_bytes(self) -> Scaled:
        """The same numbers where 4-bit constants become 8-bit ones."""
        if self.dtype not in WIDER or not self.x.is_constant:
            return self
        wide = WIDER[self.dtype]
        return replace(self, x=widened(self.x, wide), zero_point=widened(self.zero_point, wide))

    def same_parameters(self, other: Scaled) -> bool:
        return self.dtype is other.dtype and self.axis == other.axis and self.scale is other.scale and self.zero_point is other.zero_point


def widened(value: Value, dtype: DType) -> Value:
    """A constant in another integer type; a Cast of anything else."""
    if value.is_constant:
        return constant(value.array.astype(dtype.numpy), value.name, value.loc)
    return Cast(value, to=CODE_OF_DTYPE[dtype]).output


def scaled(value: Value | None) -> Scaled | None:
    """The integers behind the result of a DequantizeLinear in f32; None for any other value, and for scales of blocks."""
    op = None if value is None else value.op
    if not isinstance(op, DequantizeLinear) or value.dtype is not f32 or op.scale.dtype is not f32:
        return None
    return parameters_of(op, op.x, op.x.dtype)


def parameters_of(op: DequantizeLinear | QuantizeLinear, x: Value, dtype: DType) -> Scaled | None:
    """The parameters of either direction, those of a whole tensor as scalars; None where they are of blocks or of floats."""
    if op.granularity == "block" or dtype.is_float:
        return None
    whole = op.granularity == "tensor"
    if op.zero_point is None:
        zero = constant(np.zeros(() if whole else op.scale.shape, dtype.numpy), "zero")
    else:
        zero = as_scalar(op.zero_point) if whole else op.zero_point
    return Scaled(x, as_scalar(op.scale) if whole else op.scale, zero, None if whole else op.axis % x.type.rank)


def as_scalar(value: Value) -> Value:
    """A constant of one element without axes; others as they are."""
    if value.is_constant and value.array.ndim:
        return constant(value.array.reshape(()), value.name, value.loc)
    return value


def quantizing(op: QuantizeLinear) -> Scaled | None:
    """The result of a QuantizeLinear of f32 by f32 as integers with parameters; None for other types and for scales of blocks."""
    if op.x.dtype is not f32 or op.division is not f32 or op.scale.dtype is not f32:
        return None
    return parameters_of(op, op.output, op.quantized)


def is_regular(scale: Value) -> bool:
    """Whether a scale is known, positive and far from the ends of the float range, so that exact steps stay exact."""
    return scale.is_constant and bool(np.all((scale.array >= LEAST_SCALE) & (scale.array <= LARGEST_SCALE)))
