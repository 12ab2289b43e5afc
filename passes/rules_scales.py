"""Rules of integers: scales pass by what only moves elements, so that integers are moved, and meet where they cancel.

Every rule preserves each bit. A scale of the whole tensor commutes with any choice of elements; a positive one with maxima as well, since
(x - z) * s grows with x and rounding never reverses an order.

    quantizelinear(maxpool(dequantizelinear(x, s, z)), s, z)  ->  maxpool(x)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from edgec.errors import CompileError
from edgec.graph import Op, Value
from edgec.ops.activation import Relu
from edgec.ops.arithmetic import Max
from edgec.ops.depth_space import DepthToSpace, SpaceToDepth
from edgec.ops.gather import Gather, GatherElements, GatherND
from edgec.ops.joining import Concat, Expand, Split, Tile
from edgec.ops.pooling import MaxPool
from edgec.ops.quantization import QuantizeLinear
from edgec.ops.reshape import Flatten, Reshape, Squeeze, Transpose, Unsqueeze
from edgec.ops.resize import Resize
from edgec.ops.slicing import Pad, Slice
from edgec.rewrite import Context, rule
from edgec.scaled_values import Scaled, is_regular, quantizing, scaled

Shaping = Reshape | Flatten | Squeeze | Unsqueeze
Moving = (Shaping | Transpose | Slice | Gather | GatherElements | GatherND | Expand | Tile | Split | DepthToSpace | SpaceToDepth)


@rule
def cancel(op: QuantizeLinear):
    """quantizelinear(dequantizelinear(x, s, z), s, z)  ->  x"""
    given, wanted = scaled(op.x), quantizing(op)
    if given is None or wanted is None or not given.same_parameters(wanted) or not is_regular(given.scale):
        return None
    return given.x


@rule
def dequantize_after_move(op: Moving):
    """move(dequantizelinear(x, s, z))  ->  dequantizelinear(move(x), s, z)"""
    given = scaled(op.operands[0])
    if given is None or given.axis is not None and not isinstance(op, Transpose):
        return None
    moved = _moved(op, given.x)
    if given.axis is not None:
        given = replace(given, axis=op.order.index(given.axis))
    return moved and tuple(given.redone(v) for v in moved)


def _moved(op: Op, x: Value) -> tuple[Value, ...] | None:
    """The results of an op on another first operand."""
    try:
        return op.with_operands((x, *op.operands[1:])).results
    except CompileError:  # an element type that it does not take
        return None


@rule
def dequantize_after_resize(op: Resize):
    """resize(dequantizelinear(x, s, z)) mode=nearest  ->  dequantizelinear(resize(x), s, z)"""
    given = scaled(op.x)
    outside = op.coordinate_transformation_mode == "tf_crop_and_resize"
    if given is None or given.axis is not None or op.mode != "nearest" or outside:
        return None
    moved = _moved(op, given.x)
    return moved and given.redone(moved[0])


@rule
def dequantize_after_max_pool(op: MaxPool):
    """maxpool(dequantizelinear(x, s, z))  ->  dequantizelinear(maxpool(x), s, z)"""
    given = scaled(op.x)
    if given is None or given.axis is not None or op.outputs > 1 or not is_regular(given.scale):
        return None
    return given.redone(type(op)(given.x, **op.attributes).output)


@rule
def dequantize_after_relu(op: Relu):
    """relu(dequantizelinear(x, s, z))  ->  dequantizelinear(max(x, z), s, z)"""
    given = scaled(op.x)
    if given is None or given.axis is not None or not is_regular(given.scale):
        return None
    return given.redone(Max((given.x, given.zero_point)).output)


@rule
def dequantize_after_pad(op: Pad):
    """pad(dequantizelinear(x, s, z), 0)  ->  dequantizelinear(pad(x, z), s, z)"""
    given = scaled(op.data)
    fill = op.constant_value
    zeros = fill is None or fill.is_constant and not fill.array.any()
    if given is None or given.axis is not None or op.mode == "constant" and not zeros:
        return None
    filled = given.zero_point if op.mode == "constant" else None
    return given.redone(Pad(given.x, op.pads, filled, op.axes, op.mode).output)


@rule
def dequantize_after_concat(op: Concat):
    """concat(dequantizelinear(x, s, z), dequantizelinear(y, s, z))  ->  dequantizelinear(concat(x, y), s, z)"""
    parts = _of_one_scale(op.inputs)
    if parts is None or parts[0].axis is not None:
        return None
    return parts[0].redone(Concat(tuple(p.x for p in parts), axis=op.axis).output)


def _of_one_scale(values: Sequence[Value]) -> list[Scaled] | None:
    parts = [scaled(v) for v in values]
    same = all(p is not None and p.same_parameters(parts[0]) for p in parts)
    return parts if parts and same else None


@rule
def quantize_before_concat(op: QuantizeLinear, context: Context):
    """quantizelinear(concat(x, y), s, z)  ->  concat(quantizelinear(x, s, z), quantizelinear(y, s, z))"""
    wanted = quantizing(op)
    if wanted is None or wanted.axis is not None or not isinstance(op.x.op, Concat) or context.uses(op.x) > 1:
        return None
    return Concat(tuple(_again(op, v) for v in op.x.op.inputs), axis=op.x.op.axis).output


def _again(op: QuantizeLinear, x: Value) -> Value:
    return QuantizeLinear(x, op.scale, op.zero_point, **op.attributes).output


@rule
def quantize_before_move(op: QuantizeLinear, context: Context):
    """quantizelinear(transpose(x), s, z)  ->  transpose(quantizelinear(x, s, z)), and so for reshapes and maxima of windows"""
    wanted, moving = quantizing(op), op.x.op
    moves = isinstance(moving, Shaping | Transpose) or isinstance(moving, MaxPool) and moving.outputs == 1
    if wanted is None or wanted.axis is not None or not moves or context.uses(op.x) > 1 or not is_regular(op.scale):
        return None
    moved = _moved(moving, _again(op, moving.operands[0]))
    return moved and moved[0]


RULES = (cancel, dequantize_after_move, dequantize_after_resize, dequantize_after_max_pool, dequantize_after_relu, dequantize_after_pad,
         dequantize_after_concat, quantize_before_concat, quantize_before_move)
