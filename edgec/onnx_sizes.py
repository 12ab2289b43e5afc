"""Nodes whose results have sizes that depend on data: NonZero Compress Unique NonMaxSuppression Range TopK Slice Reshape.

Where a size follows from constants and the sizes of inputs, their operator classes do. Where it does not, the node is built from parts
here: the result at its largest, a count, and the part of the result that counts (edgec.ops.sizes). The largest is known from the
operands (no more elements are true than there are), or it is given: `--bind NAME=0..100` bounds the whole numbers of a value.

    NonZero(x: f32[4,5])  ->  Unravel(Prefix(places, number))      # i64[2,y_count], y_count from 0 to 20
"""

from __future__ import annotations

import re
from math import prod
from typing import Any, Callable, Mapping, Sequence

import numpy as np

from edgec.errors import Loc, ModelError, Unsupported, raise_all
from edgec.expr import Expr
from edgec.graph import Value, constant
from edgec.onnx_node import Node, named
from edgec.onnx_shapes import unused_binding
from edgec.ops.known_values import known_value
from edgec.ops.sizes import Arranged, Compacted, Prefix, Sizes
from edgec.types import DType, f16, bf16, f32, i32, i64

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
        return self.sizes(Reshape(value, [1]), ((min(low, most), min(high, most)),), f"{name}_count")

    def check(self, place: Loc) -> None:
        """Raise a ModelError for every bound that nothing asked for."""
        raise_all([unused_binding(n, self.open_names, place.file) for n in sorted(self.given.keys() - self.used)])


def bounds_of(size: Any) -> Bounds:
    """A number, a range, or a tuple of these as (low, high) pairs."""
    pairs = []
    for one in size if isinstance(size, tuple) else (size,):
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


# ------------------------------------------------------------------------------------------------------------------- arithmetic

def Reshape(value: Value, shape: Sequence[int]) -> Value:
    """The value under a constant shape."""
    from edgec.ops.reshape import Reshape as reshape
    return reshape(value, _ints(shape)).output


def _ints(numbers: Any) -> Value:
    return constant(np.array(numbers, np.int64))


def _op(name: str, *operands: Any, **attributes: Any) -> Value:
    """The first result of an operator; numbers are i64 constants, a list of values is one variadic operand."""
    from edgec.ops import OPERATORS

    def operand(given: Any) -> Any:
        if isinstance(given, list) and any(isinstance(v, Value) for v in given):
            return tuple(map(operand, given))
        return given if isinstance(given, Value) or given is None else _ints(given)
    return OPERATORS["", name](*map(operand, operands), **attributes).output


def _cast(value: Value, dtype: DType) -> Value:
    from edgec.onnx_tensor import CODE_OF_DTYPE
    return value if value.dtype is dtype else _op("Cast", value, to=int(CODE_OF_DTYPE[dtype]))


def _is_known(value: Value | None) -> bool:
    return value is None or value.elements is not None or known_value(value) is not None


def _limit(size: Any) -> int:
    return size if isinstance(size, int) else size.hi


def _counted(number: Value) -> Value:
    """0, 1, 2 ... below a number that is a size."""
    return _op("Range", 0, Reshape(number, []), 1)


# --------------------------------------------------------------------------------------------------------------------- operators

def _non_zero(node: Node, sizes: DataSizes) -> list[Value] | None:
    from edgec.ops.selection import Unravel
    x = node.inputs[0]
    if known_value(x) is not None or x.type.rank == 0:
        return None
    from edgec.types import bool_
    places, number = Compacted(_cast(Reshape(x, [-1]), bool_)).results
    return [Unravel(Prefix(places, sizes.count(node, number, x.type.max_size)).output, sizes=x.shape).output]


def _compress(node: Node, sizes: DataSizes) -> list[Value] | None:
    data, condition = node.inputs
    if _is_known(condition) or condition.type.rank != 1:
        return None
    axis = node.attributes.get("axis")
    data, axis = (Reshape(data, [-1]), 0) if axis is None else (data, axis)
    places, number = Compacted(condition).results
    return [_op("Gather", data, Prefix(places, sizes.count(node, number, condition.type.max_size)).output, axis=axis)]


def _unique(node: Node, sizes: DataSizes) -> list[Value] | None:
    from edgec.ops.selection import different
    x, axis = node.inputs[0], node.attributes.get("axis")
    if known_value(x) is not None:
        return None
    most = _limit(x.shape[axis]) if axis is not None else x.type.max_size
    numbers: dict[Value, Value] = {}

    def cut(values: Value, mask: Value) -> Value:
        number = numbers.get(mask) or sizes.count(node, _op("ReduceSum", _cast(mask, i64), keepdims=1), most)
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
    return [named_boxes(Prefix(places, sizes.count(node, number, batch * classes * max(0, min(_limit(each), count)))).output, order)]


def _range(node: Node, sizes: DataSizes) -> list[Value] | None:
    start, limit, delta = node.inputs
    if all(map(_is_known, node.inputs)) and not any(isinstance(e, Expr) for e in delta.elements or ()):
        return None
    if result_name(node) not in sizes.given:
        raise Unsupported("Range: how many numbers there are is not known at compile time", loc=node.loc,
                          hint=f"say how many at the most: --bind {result_name(node)}=0..100")
    first, last, step = (Reshape(v, []) for v in node.inputs)
    if start.dtype.is_float:
        wide = f32 if start.dtype in (f16, bf16) else start.dtype
        first, last, step = (_cast(v, wide) for v in (first, last, step))
        number = _op("Max", [_cast(_op("Ceil", _op("Div", _op("Sub", last, first), step)), i64), 0])
    else:
        wide, number = start.dtype, _whole_numbers(*(_cast(v, i64) for v in (first, last, step)))
    places = _cast(_counted(sizes.count(node, number, 1 << 31)), wide)
    return [_cast(_op("Add", _op("Mul", places, step), first), start.dtype)]


def _whole_numbers(first: Value, last: Value, step: Value) -> Value:
    """How many there are; -1, which no bound allows, for a step of 0 and for more than 2^63."""
    span = _op("Mul", _op("Sub", last, first), _op("Sign", step))
    forward, wanted = _op("Greater", span, 0), _op("Greater", _op("Mul", _op("Sign", step), _sign(first, last)), 0)
    number = _op("Where", forward, _op("Add", _op("Div", _op("Sub", span, 1), _op("Max", [_op("Abs", step), 1])), 1), 0)
    sound = _op("And", _op("Equal", forward, wanted), _op("Not", _op("Equal", step, 0)))
    return _op("Where", sound, number, -1)


def _sign(low: Value, high: Value) -> Value:
    """1 where high is above low, -1 where it is below, else 0."""
    return _op("Sub", *(_cast(_op("Greater", a, b), i64) for a, b in ((high, low), (low, high))))


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
    whole = TopK(x, _ints([x.shape[axis]]), **attributes).results
    return [Prefix(result, Reshape(number, [1]), axis=axis).output for result in whole]


def _slice(node: Node, sizes: DataSizes) -> list[Value] | None:
    data, starts, ends, axes, steps = (node.input(n) for n in range(5))
    if all(v.elements is not None for v in (starts, ends)) or any(v is not None and v.elements is None for v in (axes, steps)):
        return None
    count = starts.type.max_size
    over = [int(a) % data.type.rank for a in (axes.elements if axes is not None else range(count))]
    step = [int(s) for s in (steps.elements if steps is not None else [1] * count)]
    if starts.shape != (count,) or ends.shape != (count,) or len(over) != count or len(step) != count or 0 in step:
        return None
    extents = _op("Gather", _op("Shape", data), over)
    down = np.array([s < 0 for s in step])
    top = _op("Sub", extents, down.astype(np.int64))

    def place(given: Value, lowest: np.ndarray) -> Value:
        given = _cast(given, i64)
        front = _op("Where", _op("Less", given, 0), _op("Add", given, extents), given)
        return _op("Max", [_op("Min", [front, top]), lowest])
    first, last = place(starts, np.zeros(count)), place(ends, -down.astype(np.int64))
    span = _op("Mul", _op("Sub", last, first), np.sign(step))
    number = _op("Div", _op("Add", _op("Max", [span, 0]), np.abs(step) - 1), np.abs(step))
    bounds = tuple((0, -(-_limit(data.shape[axis]) // abs(s))) for axis, s in zip(over, step))
    number = sizes.sizes(number, bounds, f"{result_name(node)}_count")
    for n, (axis, each) in enumerate(zip(over, step)):
        here = _op("Mul", _counted(_op("Gather", number, [n])), each)
        data = _op("Gather", data, _op("Add", here, _op("Gather", first, [n])), axis=axis)
    return [data]


def _reshape(node: Node, sizes: DataSizes) -> list[Value] | None:
    data, shape = node.inputs
    if shape.elements is not None and not any(_is_computed(e) for e in shape.elements) or shape.type.rank != 1 or not shape.type.is_static:
        return None
    rank, name = shape.type.max_size, result_name(node)
    if shape.elements is None and name not in sizes.given and rank != 1:
        raise Unsupported(f"Reshape: the shape %{shape.name} is not known at compile time", loc=node.loc,
                          hint=f"give bounds for its numbers: --bind {shape.name}={'x'.join(['1..8'] * rank)}")
    size = Reshape(_op("Size", data), [1])
    if shape.elements is None:
        shape = _resolved(shape, data, size, node.attributes.get("allowzero", 0))
        bounds = sizes.bounds(name, rank, node.loc) if name in sizes.given else ((0, data.type.max_size),)
        shape = sizes.sizes(shape, bounds, name)
    if data.type.is_static and prod(_limit(e) for e in shape.elements) < data.type.max_size:
        raise ModelError(f"Reshape: {data.type} does not fit into sizes of at most {[_limit(e) for e in shape.elements]}", loc=node.loc)
    fits = _cast(_op("Equal", _op("ReduceProd", shape, keepdims=1), size), i64)
    return [Arranged(data, shape, sizes.sizes(fits, ((1, 1),), f"{name}_fits")).output]


def _is_computed(element: Any) -> bool:
    """Whether a size is one that data decides."""
    return isinstance(element, Expr) and any("." in symbol.data for symbol in element.free)


def _resolved(shape: Value, data: Value, size: Value, allow_zero: int) -> Value:
    """What ONNX makes of 0 (the size that the axis has) and of one -1 (what is left)."""
    rank = shape.type.max_size
    shape = _cast(shape, i64)
    if not allow_zero:
        own = _op("Concat", [_op("Shape", data, end=rank), [0] * max(0, rank - data.type.rank)], axis=0)
        shape = _op("Where", _op("Equal", shape, 0), own, shape)
    is_open = _op("Equal", shape, -1)
    others = _op("ReduceProd", _op("Where", is_open, 1, shape), keepdims=1)
    return _op("Where", is_open, _op("Div", size, _op("Max", [others, [1]])), shape)


Handler = Callable[[Node, DataSizes], "list[Value] | None"]
HANDLERS: dict[str, Handler] = {
    "NonZero": _non_zero, "Compress": _compress, "Unique": _unique, "NonMaxSuppression": _non_max_suppression, "Range": _range,
    "TopK": _top_k, "Slice": _slice, "Reshape": _reshape,
}
