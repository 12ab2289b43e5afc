"""ADD, SUB, MUL and changes of scale in TFLite's arithmetic (tflite/kernels/{add,sub,mul,quantize,dequantize}.cc).

The operands of a sum are brought to half a common scale with 20 bits more (15 for 16-bit integers), which leaves room for the sum.
"""

from __future__ import annotations

import numpy as np

from edgec.graph import Value
from edgec.onnx.tensor import CODE_OF_DTYPE
from edgec.ops.arithmetic import Add, Clip, Mul, Sub
from edgec.ops.cast import Cast
from edgec.ops.comparison import Less, Where
from edgec.ops.rescale import RoundAway
from edgec.tflite.fixed.multiplier import centred, rescaled, to_result
from edgec.tflite.fixed.ranges import activation_range, limits
from edgec.tflite.node import Node, is_quantized, literal
from edgec.types import i16, i32


def sum_or_difference(node: Node, op: type) -> Value:
    """ADD and SUB of quantized tensors."""
    bits = 15 if node.result.dtype is i16 else 20
    scales = float(node.source(0).scale), float(node.source(1).scale)
    common = 2 * max(scales)
    sides = [rescaled(node, node.emit(Mul, centred(node, n), literal(1 << bits, i32)), scale / common) for n, scale in enumerate(scales)]
    factor = common / ((1 << bits) * float(node.result.scale))
    return to_result(node, node.emit(op, *sides), factor, *activation_range(node))


def product(node: Node) -> Value:
    """MUL; the factor is rounded to f32 on its way."""
    factor = float(np.float32(node.source(0).scale * node.source(1).scale) / node.result.scale)
    return to_result(node, node.emit(Mul, centred(node, 0), centred(node, 1)), factor, *activation_range(node))


def quantize(node: Node) -> Value:
    """QUANTIZE: of integers a change of scale; of real numbers, rounded with halves away from zero."""
    if not is_quantized(node.source(0)):
        return from_real(node)
    factor = float(node.source(0).scale) / float(node.result.scale)
    return to_result(node, centred(node, 0), factor, *limits(node.result, -np.inf, np.inf))


def from_real(node: Node) -> Value:
    """round(x / scale) + zero point, limited."""
    return node.emit(RoundAway, node.operand(0), scale=float(node.result.scale), zero=node.result.zero, to=CODE_OF_DTYPE[node.result.dtype])


def dequantize(node: Node) -> Value:
    """DEQUANTIZE: scale * (x - zero point)."""
    return node.dequantized(node.operand(0), node.source(0).quantization)


def prelu(node: Node) -> Value:
    """PRELU: a change of scale above 0, a product with the slopes below (tflite/kernels/internal/reference/prelu.h)."""
    x, ratio = centred(node, 0), np.float32(node.source(0).scale / node.result.scale)
    slope = np.float32(np.float32(node.source(0).scale * node.source(1).scale) / node.result.scale)
    plain, sloped = rescaled(node, x, float(ratio)), rescaled(node, node.emit(Mul, x, centred(node, 1)), float(slope))
    chosen = node.emit(Where, node.emit(Less, x, literal(0, i32)), sloped, plain)
    moved = node.emit(Add, chosen, literal(node.result.zero, i32))
    low, high = (literal(n, i32) for n in limits(node.result, -np.inf, np.inf))
    return node.emit(Cast, node.emit(Clip, moved, low, high), to=CODE_OF_DTYPE[node.result.dtype])


FIXED = {
    "PRELU": prelu,
    "ADD": lambda node: sum_or_difference(node, Add),
    "SUB": lambda node: sum_or_difference(node, Sub),
    "MUL": product,
    "QUANTIZE": quantize,
    "DEQUANTIZE": dequantize,
}
