"""Nodes that cut or stretch a tensor by sizes that only the run decides: Split Expand Squeeze and Slice along any axes.

What the operator's class must know for sure (pieces add up, shapes broadcast, a dropped axis has size 1) is checked when the model runs:
`checked` hands a value on only where a condition holds, and the call ends with an error otherwise.

    Split(x: f32[10], split)  ->  Gather(x, 0 .. y0_count), Gather(x, y0_count .. y0_count + y1_count)
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edgec.expr import Expr
from edgec.graph import Value
from edgec.onnx.node import Node
from edgec.onnx.parts import cast_to, counted, element, is_computed, least, limit, part, reshaped
from edgec.ops.shape_arithmetic import normal_axes, same_dim
from edgec.ops.sizes import Arranged
from edgec.types import i32, i64


def checked(value: Value, holds: Value, shape: Value, sizes: Any, name: str) -> Value:
    """The value under a shape of as many elements; a call that finds the condition false is refused."""
    flag = cast_to(reshaped(part("ReduceMin", cast_to(holds, i32), keepdims=0), [1]), i64)
    return Arranged(value, shape, sizes.sizes(flag, ((1, 1),), f"{name}_fits")).output


def split_at_run_time(node: Node, sizes: Any, name: str) -> list[Value] | None:
    """The pieces of a Split whose sizes are computed: each may be as long as the axis, and together they must be."""
    data, split = node.input(0), node.input(1)
    if split is None or split.type.rank != 1 or not split.type.is_static or split.dtype is not i64 or data.type.rank == 0:
        return None
    if split.elements is not None and not any(map(is_computed, split.elements)):
        return None
    count = split.type.max_size
    axis, = normal_axes(data.op, (node.attributes.get("axis", 0),), data.type.rank)
    room = limit(data.shape[axis])
    bounds = tuple((least(e), min(limit(e), room)) for e in split.elements) if split.elements is not None else ((0, room),) * count
    whole = part("Equal", part("ReduceSum", split, keepdims=1), part("Shape", data, start=axis, end=axis + 1))
    pieces = sizes.sizes(part("Where", whole, split, -1), bounds, f"{name}_count")
    start, found = part("Mul", element(pieces, 0), 0), []
    for n in range(count):
        here = element(pieces, n)
        found.append(part("Gather", data, part("Add", counted(here), start), axis=axis))
        start = part("Add", start, here)
    return found


def expand_at_run_time(node: Node, sizes: Any, name: str) -> list[Value] | None:
    """Expand where it is not known which of two sizes is 1: the larger is the result's, and both must be equal if neither is."""
    data, shape = node.inputs
    if shape.type.rank != 1 or not shape.type.is_static:
        return None
    if shape.elements is None and name not in sizes.given:
        return None
    rank = max(shape.type.max_size, data.type.rank)
    own = (1,) * (rank - data.type.rank) + data.shape
    if shape.elements is None:
        low, high = zip(*sizes.bounds(name, shape.type.max_size, node.loc))
        shape = sizes.sizes(shape, tuple((min(1, a), b) for a, b in zip(low, high)), f"{name}_shape")
    wanted = (1,) * (rank - shape.type.max_size) + tuple(shape.elements)
    open_axes = [n for n, (a, b) in enumerate(zip(own, wanted)) if not (same_dim(a, 1) or same_dim(b, 1) or same_dim(a, b))]
    if any(isinstance(own[n], int) and isinstance(wanted[n], int) for n in open_axes) or not open_axes and shape is node.inputs[1]:
        return None
    target, lead = shape, data.type.rank
    for n in open_axes:
        have, want = (part("Gather", part("Shape", data), [n - rank + lead]), element(shape, n - rank + shape.type.max_size))
        one, other = part("Equal", have, 1), part("Equal", want, 1)
        fits = part("Or", part("Or", one, other), part("Equal", have, want))
        a, b = own[n], wanted[n]
        low, high = min(least(a), least(b)), max(limit(a), limit(b))
        if isinstance(a, int) or isinstance(b, int):  # a number above 1 is the result's size, whatever the other is
            low = high = a if isinstance(a, int) else b
            data = checked(data, fits, part("Shape", data), sizes, name)
        number = sizes.sizes(part("Where", fits, part("Where", one, want, have), -1), ((low, high),), f"{name}_count")
        data = part("Gather", data, part("Min", [counted(number), part("Sub", have, 1)]), axis=n - rank + lead)
        at = n - rank + shape.type.max_size
        kept = [element(target, k) if k != at else part("Mul", element(target, k), 0) for k in range(shape.type.max_size)]
        target = part("Concat", [part("Add", k, 1) if m == at else k for m, k in enumerate(kept)], axis=0)
    return [part("Expand", data, target)]


def squeeze_at_run_time(node: Node, sizes: Any, name: str) -> list[Value] | None:
    """Squeeze of axes whose sizes are open: they must be 1 when the model runs."""
    data, axes = node.input(0), node.input(1)
    if axes is None or axes.elements is None or any(isinstance(a, Expr) for a in axes.elements):
        return None
    over = normal_axes(data.op, [int(a) for a in axes.elements], data.type.rank)
    unsure = [a for a in over if isinstance(data.shape[a], Expr) and data.shape[a].lo <= 1 <= data.shape[a].hi]
    if not unsure:
        return None
    kept = [n for n in range(data.type.rank) if n not in over]
    extents = part("Shape", data)
    shape = part("Gather", extents, kept)
    return [checked(data, part("Equal", part("Gather", extents, unsure), 1), shape, sizes, name)]


def slice_anywhere(node: Node, sizes: Any, name: str) -> list[Value] | None:
    """Slice whose axes or steps are computed: every axis of the tensor is cut, those that are not named from end to end."""
    data, starts, ends, axes, steps = (node.input(n) for n in range(5))
    known = all(v is None or v.elements is not None and not any(isinstance(e, Expr) for e in v.elements) for v in (axes, steps))
    rank, count = data.type.rank, starts.type.max_size
    if known or rank == 0 or any(v is not None and v.shape != (count,) for v in (starts, ends, axes, steps)):
        return None
    starts, ends, axes, steps = (None if v is None else cast_to(v, i64) for v in (starts, ends, axes, steps))
    extents = part("Shape", data)
    over = part("Mul", starts, 0) if axes is None else part("Where", part("Less", axes, 0), part("Add", axes, rank), axes)
    over = part("Add", over, np.arange(count)) if axes is None else over
    named_by = part("Equal", reshaped(over, [1, count]), np.arange(rank)[:, None])  # [axis of the data, entry]
    any_named = part("ReduceMax", cast_to(named_by, i32), [1], keepdims=0)

    def by_axis(given: Value | None, otherwise: Any) -> Value:
        given = part("ConstantOfShape", [count], value=np.array([1])) if given is None else given
        total = part("ReduceSum", part("Where", named_by, reshaped(given, [1, count]), 0), [1], keepdims=0)
        return part("Where", part("Equal", cast_to(any_named, i64), 0), otherwise, total)
    first, last, step = by_axis(starts, [0] * rank), by_axis(ends, extents), by_axis(steps, [1] * rank)
    down = cast_to(part("Less", step, 0), i64)
    top = part("Sub", extents, down)

    def place(given: Value, lowest: Any) -> Value:
        front = part("Where", part("Less", given, 0), part("Add", given, extents), given)
        return part("Max", [part("Min", [front, top]), lowest])
    first, last = place(first, [0] * rank), place(last, part("Sub", [0] * rank, down))
    stride = part("Max", [part("Abs", step), 1])
    span = part("Max", [part("Mul", part("Sub", last, first), part("Sign", step)), 0])
    number = part("Div", part("Add", span, part("Sub", stride, 1)), stride)
    once = part("Equal", part("ReduceSum", cast_to(named_by, i64), keepdims=0), count)  # every entry names an axis of the tensor
    sound = part("And", once, part("Not", part("Equal", step, 0)))
    number = sizes.sizes(part("Where", sound, number, -1), tuple((0, limit(d)) for d in data.shape), f"{name}_count")
    for axis in range(rank):
        here = part("Mul", counted(element(number, axis)), element(step, axis))
        data = part("Gather", data, part("Add", here, element(first, axis)), axis=axis)
    return [data]
