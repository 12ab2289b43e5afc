"""Rules of integers: sums, products and means of quantized tensors whose result is quantized again; `rules_products` asks for them.

They become onnxruntime's contributed operators, which divide by no scale when they run (quantized_arithmetic, quantized_pooling).

    quantizelinear(add(dequantizelinear(a), dequantizelinear(b)), s, z)  ->  qlinearadd(a, b, s, z)
"""

from __future__ import annotations

from edgec.graph import Op, Value
from edgec.ops.arithmetic import Add, Mul
from edgec.ops.pooling import AveragePool, GlobalAveragePool
from edgec.ops.quantized import BYTES, WORDS
from edgec.ops.quantized_arithmetic import QLinearAdd, QLinearMul
from edgec.ops.quantized_pooling import QLinearAveragePool, QLinearGlobalAveragePool, QLinearReduceMean
from edgec.ops.reduction import ReduceMean
from edgec.scaled_values import Scaled, is_regular, scaled
from edgec.types import DType

MAX_WORDS = 2 ** 15  # elements of a tensor of 16 bits whose sum stays within i32
POINTWISE = {Add: QLinearAdd, Mul: QLinearMul}


def quantized_arithmetic(op: Op, wanted: Scaled) -> Value | None:
    """The result of an operator on bytes of one type as bytes of the wanted scale; None where that is no such operator."""
    if type(op) in POINTWISE:
        return _pointwise(op, wanted)
    x = _integers(op.operands[0], wanted, BYTES + WORDS) if isinstance(op, AveragePool | GlobalAveragePool | ReduceMean) else None
    if x is None or x.dtype in WORDS and x.x.type.max_size > MAX_WORDS:
        return None
    operands = (x.x, x.scale, x.zero_point, wanted.scale, wanted.zero_point)
    if isinstance(op, AveragePool):
        return QLinearAveragePool(*operands, **op.attributes).output
    if isinstance(op, GlobalAveragePool):
        return QLinearGlobalAveragePool(*operands).output if op.x.type.rank > 2 else None
    axes = None if op.axes is None else op.axes.elements
    return QLinearReduceMean(*operands, axes=axes, keepdims=op.keepdims).output if axes else None


def _integers(value: Value, wanted: Scaled, types: tuple[DType, ...]) -> Scaled | None:
    """The integers behind an operand, where they are of the result's type, one of `types`, and have one known scale."""
    found = scaled(value)
    fits = found is not None and found.axis is None and found.dtype is wanted.dtype and wanted.dtype in types
    return found if fits and is_regular(found.scale) else None


def _pointwise(op: Add | Mul, wanted: Scaled) -> Value | None:
    a, b = (_integers(v, wanted, BYTES) for v in op.operands)
    if a is None or b is None:
        return None
    return POINTWISE[type(op)](a.x, a.scale, a.zero_point, b.x, b.scale, b.zero_point, wanted.scale, wanted.zero_point).output
