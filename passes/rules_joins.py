"""Rules of simplify: concatenation, and slices of it.

Flattened concatenations are one copy-free buffer. Where concat(a, b) exists on its own account, concat(a, b, c) is written with it as its
first operand, so that a densely connected block is one growing buffer and no piece is stored twice.

    concat(concat(a, b), c)  ->  concat(a, b, c);      slice(concat(a, b)) of just a's part  ->  a
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edgec.graph import Value
from edgec.ops.joining import Concat, Split
from edgec.ops.slicing import Slice
from edgec.rewrite import Context, rule


def axis_of(op: Concat) -> int:
    return op.axis % len(op.inputs[0].shape)


@rule
def concat_of_one(op: Concat):
    """concat(x)  ->  x"""
    return op.inputs[0] if len(op.inputs) == 1 else None


@rule
def count_axis_from_front(op: Concat):
    """concat(a, b) axis=-1  ->  concat(a, b) axis=rank-1, so that equal concatenations are one"""
    return Concat(op.inputs, axis=axis_of(op)).output if op.axis < 0 else None


@rule
def drop_empty(op: Concat):
    """concat(a, empty, b)  ->  concat(a, b)"""
    kept = tuple(v for v in op.inputs if v.shape[axis_of(op)] != 0)
    return Concat(kept, axis=op.axis).output if 0 < len(kept) < len(op.inputs) else None


@rule
def flatten_concat(op: Concat, context: Context):
    """concat(concat(a, b), c)  ->  concat(a, b, c), where nothing else reads concat(a, b)"""
    axis = axis_of(op)

    def inner(value: Value) -> Sequence[Value]:
        nested = isinstance(value.op, Concat) and axis_of(value.op) == axis and context.uses(value) == 1
        return value.op.inputs if nested else (value,)
    flat = tuple(v for value in op.inputs for v in inner(value))
    return Concat(flat, axis=op.axis).output if len(flat) > len(op.inputs) else None


@rule
def share_prefix(op: Concat, context: Context):
    """concat(a, b, c) beside concat(a, b)  ->  concat(concat(a, b), c)"""
    for count in range(len(op.inputs) - 1, 1, -1):
        prefix = Concat(op.inputs[:count], axis=op.axis).output
        if context.uses(prefix):
            return Concat((prefix, *op.inputs[count:]), axis=op.axis).output
    return None


def parts_between(joined: Concat, start: Any, end: Any) -> Value | None:
    """The operands of a concatenation that lie exactly between two places on its axis, joined again; None where a cut goes through one."""
    axis, place = axis_of(joined), 0
    found: list[Value] = []
    for value in joined.inputs:
        size = value.shape[axis]
        if not isinstance(size, int):
            return None
        inside = start <= place and place + size <= end
        if inside and size:
            found.append(value)
        elif place < end and start < place + size:
            return None
        place += size
    if not found or len(found) == len(joined.inputs):
        return None
    return found[0] if len(found) == 1 else Concat(tuple(found), axis=joined.axis).output


@rule
def slice_of_concat(op: Slice):
    """slice(concat(a, b, c)) from the start of one operand to the end of one  ->  these operands"""
    joined = op.data.op
    if not isinstance(joined, Concat):
        return None
    cuts = {axis: cut for axis, cut in op.ranges.items() if cut != (0, 1, op.data.shape[axis])}
    if list(cuts) != [axis_of(joined)]:
        return None
    first, step, count = cuts[axis_of(joined)]
    if step != 1 or not isinstance(first, int) or not isinstance(count, int):
        return None
    return parts_between(joined, first, first + count)


@rule
def whole_slice(op: Slice):
    """slice(x) of everything  ->  x"""
    return op.data if all(cut == (0, 1, op.data.shape[axis]) for axis, cut in op.ranges.items()) else None


@rule
def split_of_concat(op: Split):
    """split(concat(a, b)) into the pieces it was made of  ->  a, b"""
    joined = op.data.op
    if not isinstance(joined, Concat) or op.axis % len(op.data.shape) != axis_of(joined):
        return None
    same = [v.type for v in joined.inputs] == [v.type for v in op.results]
    return tuple(joined.inputs) if same else None


@rule
def split_into_one(op: Split):
    """split(x) into one piece  ->  x"""
    return op.data if len(op.results) == 1 else None


RULES = (concat_of_one, count_axis_from_front, drop_empty, flatten_concat, whole_slice, slice_of_concat, split_of_concat, split_into_one)
