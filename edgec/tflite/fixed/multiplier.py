"""Real factors as whole numbers, and the scaling of sums by them.

    quantized_multiplier(0.3)       # (1288490189, 32): 0.3 = multiplier * 2^-shift
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from edgec.graph import Value, constant
from edgec.onnx.tensor import CODE_OF_DTYPE
from edgec.ops.arithmetic import Sub
from edgec.ops.cast import Cast
from edgec.ops.rescale import Rescale
from edgec.tflite.node import Node, literal
from edgec.types import DType, i32

BITS = 31


def quantized_multiplier(factor: float) -> tuple[int, int]:
    """(multiplier, shift) of a factor that is not negative (QuantizeMultiplier in tflite/kernels/internal/quantization_util.cc)."""
    mantissa, exponent = math.frexp(factor)
    multiplier = math.floor(mantissa * (1 << BITS) + 0.5)
    if multiplier == 1 << BITS:
        multiplier, exponent = multiplier // 2, exponent + 1
    if exponent < -BITS:
        return 0, BITS
    return multiplier, BITS - exponent


def rescaled(node: Node, x: Value, factors: float | Iterable[float], **attributes: Any) -> Value:
    """`x` times a factor, or times one for every place of `axis`."""
    if isinstance(factors, float):
        return shifted(node, x, *quantized_multiplier(factors), **attributes)
    pairs = [quantized_multiplier(f) for f in factors]
    return shifted(node, x, [m for m, _ in pairs], [s for _, s in pairs], **attributes)


def shifted(node: Node, x: Value, multiplier: int | Sequence[int], shift: int | Sequence[int], **attributes: Any) -> Value:
    """`x` times multiplier * 2^-shift."""
    return node.emit(Rescale, x, constant(np.array(multiplier, np.int32)), constant(np.array(shift, np.int32)), **attributes)


def to_result(node: Node, x: Value, factors: float | Iterable[float], low: int, high: int, **attributes: Any) -> Value:
    """Sums as integers of the operator's result: scaled, moved to its zero point, limited."""
    return rescaled(node, x, factors, zero=node.result.zero, low=low, high=high, to=CODE_OF_DTYPE[node.result.dtype], **attributes)


def centred(node: Node, n: int, wide: DType = i32) -> Value:
    """Operand `n` less its zero point."""
    value = node.emit(Cast, node.operand(n), to=CODE_OF_DTYPE[wide])
    zero = node.source(n).zero
    return node.emit(Sub, value, literal(zero, wide)) if zero else value
