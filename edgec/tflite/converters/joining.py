"""Operators of TFLite that put tensors together and take them apart: CONCATENATION, PACK, UNPACK, SPLIT, SPLIT_V."""

from __future__ import annotations

from edgec.errors import ModelError
from edgec.graph import Value
from edgec.ops.joining import Concat, Split
from edgec.ops.reshape import Squeeze, Unsqueeze
from edgec.tflite.converters.activations import activated, fused_activation
from edgec.tflite.node import Node, whole


def concatenation(node: Node) -> Value:
    joined = node.emit(Concat, tuple(node.operand(n) for n in range(len(node.values))), axis=node.option("axis", 0))
    return joined if fused_activation(node) == "none" else activated(node, joined)


def pack(node: Node) -> Value:
    """PACK: tensors of one shape along a new axis."""
    axis = node.option("axis", 0)
    rows = tuple(node.emit(Unsqueeze, node.operand(n), whole(axis)) for n in range(len(node.values)))
    return node.emit(Concat, rows, axis=axis)


def unpack(node: Node) -> tuple[Value, ...]:
    """UNPACK: the slices along an axis, which is gone."""
    x, axis, count = node.operand(0), node.option("axis", 0), len(node.record.outputs)
    if not -x.type.rank <= axis < x.type.rank or x.shape[axis] != count:
        raise ModelError(f"{x.type} does not fall into {count} slices along axis {axis}", loc=node.loc)
    if count == 1:
        return (node.emit(Squeeze, x, whole(axis)),)
    parts = Split(x, None, axis=axis, num_outputs=count, _loc=node.loc).results
    return tuple(node.emit(Squeeze, part, whole(axis)) for part in parts)


def split(node: Node) -> tuple[Value, ...]:
    """SPLIT: equal parts along the axis that the first operand names."""
    axis, = node.numbers(0)
    return parted(node, node.operand(1), int(axis), None)


def split_v(node: Node) -> tuple[Value, ...]:
    """SPLIT_V: parts of the sizes that the second operand lists (-1: what is left), along the axis that the third names."""
    x, sizes, (axis,) = node.operand(0), [int(s) for s in node.numbers(1)], node.numbers(2)
    if sizes.count(-1) == 1 and isinstance(x.shape[int(axis)], int):
        sizes[sizes.index(-1)] = x.shape[int(axis)] - sum(sizes) - 1
    return parted(node, x, int(axis), whole(*sizes))


def parted(node: Node, x: Value, axis: int, sizes: Value | None) -> tuple[Value, ...]:
    """The parts of a tensor, as many as the operator has results."""
    count = len(node.record.outputs)
    if count == 1:
        return (x,)
    return Split(x, sizes, axis=axis, num_outputs=None if sizes is not None else count, _loc=node.loc).results


MOVES = {"CONCATENATION": concatenation, "PACK": pack, "UNPACK": unpack, "SPLIT": split, "SPLIT_V": split_v}
