"""Nodes whose results have sizes that depend on data: NonZero Compress Unique NonMaxSuppression Range TopK Slice Reshape.

Where a size follows from constants and the sizes of inputs, their operator classes do. Where it does not, the node is built from parts
here: the result at its largest, a count, and the part of the result that counts (edgec.ops.sizes). The largest is known from the
operands (no more elements are true than there are), or it is given: `--bind NAME=0..100` bounds the whole numbers of a value.

    NonZero(x: f32[4,5])  ->  Unravel(Prefix(places, number))      # i64[2,y_count], y_count from 0 to 20
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any

import numpy as np

from edgec.errors import Loc, ModelError, Unsupported, raise_all
from edgec.expr import Expr
from edgec.graph import Value, constant
from edgec.onnx.node import Node, named
from edgec.onnx.parts import cast_to, counted, is_computed, is_known, least, limit, part, reshaped
from edgec.onnx.shapes import unused_binding
from edgec.onnx.sized_resize import resize_at_run_time
from edgec.onnx.sized_shapes import expand_at_run_time, slice_anywhere, split_at_run_time, squeeze_at_run_time
from edgec.onnx.sized_texts import normalize_texts, split_texts
from edgec.ops.known_values import known_value
from edgec.ops.shape_arithmetic import exact_quotient, same_dim, same_product
from edgec.ops.sizes import Arranged, Compacted, Prefix, Sizes
from edgec.types import bf16, f16, f32, i32, i64

MOST = 64  # elements of a value that are sizes
Bounds = tuple[tuple[int, int], ...]


class DataSizes:
    """What is known of sizes that data decides while one model is read: the bounds the user gives, and the names already taken."""

    def __init__(self, given: Mapping[str, Any], open_names: Sequence[str]):
        self.given = {name: bounds_of(size) for name, size in given.items() if name not in open_names}
        self.open_names, self.used, self.stems = open_names, set[str](), set[str]()

    def bounded(self, value: Any, name: str) -> Any:
        """The value as sizes, where the user gives its bounds."""
        if name not in self.given or not isinstance(value, Value) or not value.type.is_static or value.dtype not in (i32, i64):
            return value
        if value.type.max_size > MOST or value.elements is not None:
            return value
        return self.sizes(value, self.bounds(name, value.type.max_size, value.loc), name)

    def bounds(self, name: str, count: int, loc: Loc | None) -> Bounds:
        """The bounds given for so many numbers; one for all is enough."""
        self.used.add(name)
        found = self.given[name]
        if len(found) not in (1, count):
            raise ModelError(f"--bind gives {len(found)} sizes for the {count} numbers of '{name}'", loc=loc)
        return found * count if len(found) == 1 else found

    def sizes(self, value: Value, bounds: Bounds, stem: str) -> Value:
        """The numbers of a value as sizes within bounds."""
        plain = re.sub(r"\W", "_", stem, flags=re.ASCII).lstrip("_0123456789") or "size"
        free, number = plain, 1
        while free in self.stems:
            number += 1
            free = f"{plain}_{number}"
        self.stems.add(free)
        low, high = zip(*bounds)
        return named(Sizes(value, low, high, free, _name=f"{value.name}.sizes").output, value.name, value.loc)

    def count(self, node: Node, value: Value, most: int) -> Value:
        """A number from 0 to `most` that a node computes for its first result; the user may have given a closer bound."""
        name, loc = result_name(node), node.loc
        low, high = self.bounds(name, 1, loc)[0] if name in self.given else (0, most)
        return self.sizes(reshaped(value, [1]), ((min(low, most), min(high, most)),), f"{name}_count")

    def check(self, place: Loc) -> None:
        """Raise a ModelError for every bound that nothing asked for."""
        raise_all([unused_binding(n, self.open_names, place.file) for n in sorted(self.given.keys() - self.used)])


def bounds_of(size: Any) -> Bounds:
    """A number, a range, or a tuple of these as (low, high) pairs."""
    pairs = []
    for one in size if isinstance(size, tuple) else str(size).split("x"):
        low, _, high = str(one).partition("..")
        pairs.append((int(low), int(high or low)))
    return tuple(pairs)


def result_name(node: Node) -> str:
    return next(filter(None, node.outputs), node.op)


def build_sized(node: Node, sizes: DataSizes) -> Sequence[Value] | None:
    """The results of a node of the newest opset whose sizes depend on data; None where its class does it."""
    handler = HANDLERS.get(node.op) if not node.domain else None
    found = handler(node, sizes) if handler else None
    return None if found is None else [named(value, name or value.name, node.loc) for value, name in zip(found, node.outputs)]


# --------------------------------------------------------------------------------------------------------------------- operators

def _non_zero(node: Node, sizes: DataSizes) -> list[Value] | None:
    from edgec.ops.selection import Unravel
    x = node.inputs[0]
    if known_value(x) is not None or x.type.rank == 0:
        return None
    from edgec.types import bool_
    places, number = Compacted(cast_to(reshaped(x, [-1]), bool_)).results
    return [Unravel(Prefix(places, sizes.count(node, number, x.type.max_size)).output, part("Shape", x)).output]


def _compress(node: Node, sizes: DataSizes) -> list[Value] | None:
    data, condition = node.inputs
    if is_known(condition) or condition.type.rank != 1:
        return None
    axis = node.attributes.get("axis")
    data, axis = (reshaped(data, [-1]), 0) if axis is None else (data, axis)
    places, number = Compacted(condition).results
    return [part("Gather", data, Prefix(places, sizes.count(node, number, condition.type.max_size)).output, axis=axis)]


def _unique(node: Node, sizes: DataSizes) -> list[Value] | None:
    from edgec.ops.selection import different
    x, axis = node.inputs[0], node.attributes.get("axis")
    if known_value(x) is not None:
        return None
    most = limit(x.shape[axis]) if axis is not None else x.type.max_size
    numbers: dict[Value, Value] = {}

    def cut(values: Value, mask: Value) -> Value:
        number = numbers.get(mask) or sizes.count(node, part("ReduceSum", cast_to(mask, i64), keepdims=1), most)
        return Prefix(values, numbers.setdefault(mask, number)).output
    return list(different(x, axis, node.attributes.get("sorted", 1), most, cut))


def _non_max_suppression(node: Node, sizes: DataSizes) -> list[Value] | None:
    from edgec.ops.boxes import kept_boxes, named_boxes
    fields = [node.input(n) for n in range(5)]
    boxes, scores, most = fields[:3]
    fits = boxes.type.rank == scores.type.rank == 3 and boxes.shape[:2] == (scores.shape[0], scores.shape[2])
    if not fits or not scores.type.is_static or all(v is None or known_value(v) is not None for v in fields):
        return None
    flat, order = kept_boxes(*fields, node.attributes.get("center_point_box", 0))
    each = most.elements[0] if most is not None and most.elements is not None else 0 if most is None else scores.shape[2]
    batch, classes, count = scores.shape
    places, number = Compacted(flat).results
    return [named_boxes(Prefix(places, sizes.count(node, number, batch * classes * max(0, min(limit(each), count)))).output, order)]


def _range(node: Node, sizes: DataSizes) -> list[Value] | None:
    start, limit, delta = node.inputs
    if all(map(is_known, node.inputs)) and not any(isinstance(e, Expr) for e in delta.elements or ()):
        return None
    if result_name(node) not in sizes.given:
        raise Unsupported("Range: how many numbers there are is not known at compile time", loc=node.loc,
                          hint=f"say how many at the most: --bind {result_name(node)}=0..100")
    first, last, step = (reshaped(v, []) for v in node.inputs)
    if start.dtype.is_float:
        wide = f32 if start.dtype in (f16, bf16) else start.dtype
        first, last, step = (cast_to(v, wide) for v in (first, last, step))
        number = part("Max", [cast_to(part("Ceil", part("Div", part("Sub", last, first), step)), i64), 0])
    else:
        wide, number = start.dtype, _whole_numbers(*(cast_to(v, i64) for v in (first, last, step)))
    places = cast_to(counted(sizes.count(node, number, 1 << 31)), wide)
    return [cast_to(part("Add", part("Mul", places, step), first), start.dtype)]


def _whole_numbers(first: Value, last: Value, step: Value) -> Value:
    """How many there are; -1, which no bound allows, for a step of 0 and for more than 2^63."""
    span = part("Mul", part("Sub", last, first), part("Sign", step))
    forward, wanted = part("Greater", span, 0), part("Greater", part("Mul", part("Sign", step), _sign(first, last)), 0)
    number = part("Where", forward, part("Add", part("Div", part("Sub", span, 1), part("Max", [part("Abs", step), 1])), 1), 0)
    sound = part("And", part("Equal", forward, wanted), part("Not", part("Equal", step, 0)))
    return part("Where", sound, number, -1)


def _sign(low: Value, high: Value) -> Value:
    """1 where high is above low, -1 where it is below, else 0."""
    return part("Sub", *(cast_to(part("Greater", a, b), i64) for a, b in ((high, low), (low, high))))


def _top_k(node: Node, sizes: DataSizes) -> list[Value] | None:
    from edgec.ops.selection import TopK
    x, k = node.inputs
    axis = node.attributes.get("axis", -1) % max(1, x.type.rank)
    if x.type.rank == 0 or not isinstance(x.shape[axis], int) or k.type.max_size != 1 or k.dtype is not i64:
        return None
    if k.elements is not None and not isinstance(k.elements[0], Expr):
        return None
    attributes = {n: v for n, v in node.attributes.items() if n in ("axis", "largest", "sorted")}
    number = k if k.elements is not None and k.elements[0].hi <= x.shape[axis] else sizes.count(node, k, x.shape[axis])
    whole = TopK(x, constant(np.array([x.shape[axis]])), **attributes).results
    return [Prefix(result, reshaped(number, [1]), axis=axis).output for result in whole]


def _slice(node: Node, sizes: DataSizes) -> list[Value] | None:
    data, starts, ends, axes, steps = (node.input(n) for n in range(5))
    if all(v.elements is not None for v in (starts, ends)) or any(v is not None and v.elements is None for v in (axes, steps)):
        return None
    count = starts.type.max_size
    over = [int(a) % data.type.rank for a in (axes.elements if axes is not None else range(count))]
    step = [int(s) for s in (steps.elements if steps is not None else [1] * count)]
    if starts.shape != (count,) or ends.shape != (count,) or len(over) != count or len(step) != count or 0 in step:
        return None
    extents = part("Gather", part("Shape", data), over)
    down = np.array([s < 0 for s in step])
    top = part("Sub", extents, down.astype(np.int64))

    def place(given: Value, lowest: np.ndarray) -> Value:
        given = cast_to(given, i64)
        front = part("Where", part("Less", given, 0), part("Add", given, extents), given)
        return part("Max", [part("Min", [front, top]), lowest])
    first, last = place(starts, np.zeros(count)), place(ends, -down.astype(np.int64))
    span = part("Mul", part("Sub", last, first), np.sign(step))
    number = part("Div", part("Add", part("Max", [span, 0]), np.abs(step) - 1), np.abs(step))
    bounds = tuple((0, -(-limit(data.shape[axis]) // abs(s))) for axis, s in zip(over, step))
    number = sizes.sizes(number, bounds, f"{result_name(node)}_count")
    for n, (axis, each) in enumerate(zip(over, step)):
        here = part("Mul", counted(part("Gather", number, [n])), each)
        data = part("Gather", data, part("Add", here, part("Gather", first, [n])), axis=axis)
    return [data]


def _reshape(node: Node, sizes: DataSizes) -> list[Value] | None:
    data, shape = node.inputs
    if shape.type.rank != 1 or not shape.type.is_static or shape.elements is not None and _fits_for_sure(node):
        return None
    rank, name = shape.type.max_size, result_name(node)
    if shape.elements is None and name not in sizes.given and rank != 1:
        raise Unsupported(f"Reshape: the shape %{shape.name} is not known at compile time", loc=node.loc,
                          hint=f"give bounds for its numbers: --bind {shape.name}={'x'.join(['1..8'] * rank)}")
    size = reshaped(part("Size", data), [1])
    if shape.elements is None:
        shape = _resolved(shape, data, size, node.attributes.get("allowzero", 0))
        bounds = sizes.bounds(name, rank, node.loc) if name in sizes.given else ((0, data.type.max_size),)
        shape = sizes.sizes(shape, bounds, name)
    elif any(same_dim(e, -1) or same_dim(e, 0) for e in shape.elements):
        shape = _with_rest(node, sizes, size)
    if data.type.is_static and prod(limit(e) for e in shape.elements) < data.type.max_size:
        raise ModelError(f"Reshape: {data.type} does not fit into sizes of at most {[limit(e) for e in shape.elements]}", loc=node.loc)
    fits = cast_to(part("Equal", part("ReduceProd", shape, keepdims=1), size), i64)
    return [Arranged(data, shape, sizes.sizes(fits, ((1, 1),), f"{name}_fits")).output]


def _fits_for_sure(node: Node) -> bool:
    """Whether the class of Reshape can see that a known shape has as many elements, or that it has not."""
    data, shape = node.inputs
    if any(map(is_computed, shape.elements)):
        return False
    sizes = _copied(node)
    rest = [d for d in sizes if not same_dim(d, -1)]
    is_open = any(isinstance(d, Expr) for d in (*data.shape, *rest))
    if not is_open or len(rest) < len(sizes) - 1:
        return True
    return same_product(data.shape, rest) if len(rest) == len(sizes) else exact_quotient(data.shape, rest) is not None


def _copied(node: Node) -> list[Any]:
    """The elements of a known shape, each 0 replaced by the size that it stands for."""
    data, shape = node.inputs
    keeps = not node.attributes.get("allowzero", 0)
    return [data.shape[n] if keeps and same_dim(d, 0) and n < data.type.rank else d for n, d in enumerate(shape.elements)]


def _with_rest(node: Node, sizes: DataSizes, size: Value) -> Value:
    """The numbers of a known shape; what its -1 stands for is computed."""
    data, found = node.inputs[0], _copied(node)
    others = [d for d in found if not same_dim(d, -1)]
    extents = part("Shape", data)
    parts = [part("Gather", extents, [n]) if d is data.shape[min(n, data.type.rank - 1)] and isinstance(d, Expr) else
             part("Gather", node.inputs[1], [n]) for n, d in enumerate(found)]
    if len(others) < len(found):
        most = data.type.max_size // max(1, prod(max(1, least(d)) for d in others))
        known = part("ReduceProd", part("Concat", [p for p, d in zip(parts, found) if not same_dim(d, -1)] or [[1]], axis=0), keepdims=1)
        rest = sizes.sizes(part("Div", size, part("Max", [known, [1]])), ((0, most),), f"{result_name(node)}_rest")
        parts = [rest if same_dim(d, -1) else p for p, d in zip(parts, found)]
    return part("Concat", parts, axis=0)


def _resolved(shape: Value, data: Value, size: Value, allow_zero: int) -> Value:
    """What ONNX makes of 0 (the size that the axis has) and of one -1 (what is left)."""
    rank = shape.type.max_size
    shape = cast_to(shape, i64)
    if not allow_zero:
        own = part("Concat", [part("Shape", data, end=rank), [0] * max(0, rank - data.type.rank)], axis=0)
        shape = part("Where", part("Equal", shape, 0), own, shape)
    is_open = part("Equal", shape, -1)
    others = part("ReduceProd", part("Where", is_open, 1, shape), keepdims=1)
    return part("Where", is_open, part("Div", size, part("Max", [others, [1]])), shape)


def _by_name(build: Callable[[Node, DataSizes, str], list[Value] | None]) -> Handler:
    """A handler from a function that also takes the name of the node's first result."""
    return lambda node, sizes: build(node, sizes, result_name(node))


def _slice_at_run_time(node: Node, sizes: DataSizes) -> list[Value] | None:
    """Slice by computed bounds; by computed axes or steps as well."""
    return _slice(node, sizes) or slice_anywhere(node, sizes, result_name(node))


Handler = Callable[[Node, DataSizes], "list[Value] | None"]
HANDLERS: dict[str, Handler] = {
    "NonZero": _non_zero, "Compress": _compress, "Unique": _unique, "NonMaxSuppression": _non_max_suppression, "Range": _range,
    "TopK": _top_k, "Slice": _slice_at_run_time, "Reshape": _reshape, "Split": _by_name(split_at_run_time),
    "Expand": _by_name(expand_at_run_time), "Squeeze": _by_name(squeeze_at_run_time),
    "Resize": _by_name(resize_at_run_time), "StringSplit": _by_name(split_texts), "StringNormalizer": _by_name(normalize_texts),
}
