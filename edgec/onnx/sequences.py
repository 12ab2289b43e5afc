"""Sequences and optionals, resolved while a model is read: a sequence is a tuple of values, an absent optional is nothing.

No type of the graph language stands for them. Their lengths, and the positions that nodes name, are known or made known
(edgec.onnx.specialise); a model's input `x` that is a sequence becomes the inputs `x#0`, `x#1` ..., an output likewise, with `y#len`.

    SequenceAt(SequenceConstruct(a, b), 1)      # b
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from onnx import GraphProto, TypeProto, ValueInfoProto

from edgec.errors import ModelError, Unsupported
from edgec.graph import Value, constant
from edgec.onnx.known import known_array
from edgec.onnx.node import NEWEST, Node


@dataclass(frozen=True, eq=False)
class Items:
    """A sequence: one value for each element (an element may be a sequence again)."""

    items: tuple[Any, ...]


def is_about_sequences(node: Node) -> bool:
    """Whether a node makes, reads or hands on sequences or optionals."""
    return not node.domain and (node.op in HANDLERS or node.op == "Identity" and any(not isinstance(v, Value) for v in node.inputs))


def build_sequences(reader: Any, node: Node, scope: Any) -> Sequence[Any]:
    """The results of such a node: values, Items, or None for an absent optional."""
    return HANDLERS.get(node.op, _same)(reader, node, scope)


def require_values(node: Node) -> None:
    """Unsupported for a sequence as the operand of any other operator."""
    if any(isinstance(v, Items) for v in node.inputs):
        raise Unsupported(f"{node.op} of a sequence", loc=node.loc)


def _number(node: Node, value: Value, what: str) -> np.ndarray:
    found = known_array(value)
    if found is None:
        raise Unsupported(f"{node.op}: {what} %{value.name} is not known at compile time", loc=node.loc)
    return found


def _items(node: Node, position: int = 0) -> tuple[Any, ...]:
    found = node.input(position)
    if not isinstance(found, Items):
        raise ModelError(f"{node.op} needs a sequence", loc=node.loc)
    return found.items


def _position(node: Node, count: int, number: int, most: int) -> int:
    """The place that an operand names, counted from the front; without the operand the end."""
    given = node.input(number)
    place = count if given is None else int(_number(node, given, "the position").reshape(()))
    if not -count <= place < most:
        raise ModelError(f"{node.op}: position {place} in a sequence of {count}", loc=node.loc)
    return place + count if place < 0 else place


def _emit(reader: Any, node: Node, scope: Any, op: str, inputs: Sequence[Value | None], attributes: Mapping[str, Any],
          count: int = 1) -> list:
    names = tuple(f"{next(filter(None, node.outputs), node.op)}.{op.lower()}{n}" for n in range(count))
    return list(reader.build(Node(op, "", NEWEST, tuple(inputs), dict(attributes), names, node.loc), scope))


def _constant(numbers: Any, dtype: Any = np.int64) -> Value:
    return constant(np.array(numbers, dtype))


def _same(reader: Any, node: Node, scope: Any) -> list[Any]:
    return [node.input(0)]


def _construct(reader: Any, node: Node, scope: Any) -> list[Any]:
    return [Items(node.inputs)]


def _empty(reader: Any, node: Node, scope: Any) -> list[Any]:
    return [Items(())]


def _length(reader: Any, node: Node, scope: Any) -> list[Any]:
    return [_constant(len(_items(node)))]


def _at(reader: Any, node: Node, scope: Any) -> list[Any]:
    items = _items(node)
    return [items[_position(node, len(items), 1, len(items))]]


def _insert(reader: Any, node: Node, scope: Any) -> list[Any]:
    items = _items(node)
    place = _position(node, len(items), 2, len(items) + 1)
    return [Items((*items[:place], node.input(1), *items[place:]))]


def _erase(reader: Any, node: Node, scope: Any) -> list[Any]:
    items = _items(node)
    place = _position(node, len(items), 1, len(items)) if node.input(1) is not None else len(items) - 1
    return [Items((*items[:place], *items[place + 1:]))]


def _split(reader: Any, node: Node, scope: Any) -> list[Any]:
    data, axis = node.input(0), node.attributes.get("axis", 0)
    total = data.shape[axis]
    if not isinstance(total, int):
        raise Unsupported("SplitToSequence along a symbolic axis", loc=node.loc, hint="give the dimension a fixed size")
    if node.input(1) is None:
        sizes = [1] * total
    else:
        given = _number(node, node.input(1), "the sizes of the pieces")
        each = max(1, int(given.reshape(-1)[0])) if given.size else 1
        sizes = [min(each, total - start) for start in range(0, total, each)] if given.ndim == 0 else given.tolist()
    pieces = _emit(reader, node, scope, "Split", (data, _constant(sizes)), {"axis": axis}, len(sizes))
    if node.input(1) is None and not node.attributes.get("keepdims", 1):
        pieces = [_emit(reader, node, scope, "Squeeze", (p, _constant([axis])), {})[0] for p in pieces]
    return [Items(tuple(pieces))]


def joined(reader: Any, node: Node, scope: Any, items: Sequence[Value], axis: int, new_axis: bool) -> Value:
    """The items one after the other along an axis, or along a new one."""
    if new_axis:
        items = [_emit(reader, node, scope, "Unsqueeze", (v, _constant([axis])), {})[0] for v in items]
    return _emit(reader, node, scope, "Concat", items, {"axis": axis})[0]


def _concat(reader: Any, node: Node, scope: Any) -> list[Any]:
    return [joined(reader, node, scope, _items(node), node.attributes.get("axis", 0), bool(node.attributes.get("new_axis", 0)))]


def _map(reader: Any, node: Node, scope: Any) -> list[Any]:
    """The body in place, once for every element; an operand that is no sequence is handed to each."""
    body, count = node.attributes["body"], len(_items(node))
    rows = [inline(reader, node, scope, body, [v.items[n] if isinstance(v, Items) else v for v in node.inputs]) for n in range(count)]
    return [Items(tuple(row[n] for row in rows)) for n in range(len(body.output))]


def inline(reader: Any, node: Node, scope: Any, graph: GraphProto, values: Sequence[Any]) -> list[Any]:
    """The results of a subgraph on values of the scope around it."""
    if len(graph.input) != len(values):
        raise ModelError(f"the body of {node.op} has {len(graph.input)} inputs, it is given {len(values)}", loc=node.loc)
    inner = scope.inner(prefix=f"{node.loc.node}/")
    reader.declare_tensors(graph, inner, node.loc)
    inner.values.update((i.name, v) for i, v in zip(graph.input, values))
    return reader.body(graph.node, inner, [o.name for o in graph.output], node.loc)


def _has_element(reader: Any, node: Node, scope: Any) -> list[Any]:
    return [_constant(node.input(0) is not None, np.bool_)]


def _get_element(reader: Any, node: Node, scope: Any) -> list[Any]:
    if node.input(0) is None:
        raise ModelError("OptionalGetElement of an optional that holds nothing", loc=node.loc)
    return [node.input(0)]


Handler = Callable[[Any, Node, Any], list[Any]]
HANDLERS: dict[str, Handler] = {
    "SequenceConstruct": _construct, "SequenceEmpty": _empty, "SequenceLength": _length, "SequenceAt": _at, "SequenceInsert": _insert,
    "SequenceErase": _erase, "SplitToSequence": _split, "ConcatFromSequence": _concat, "SequenceMap": _map, "Optional": _same,
    "OptionalHasElement": _has_element, "OptionalGetElement": _get_element,
}


def opened(info: ValueInfoProto, shapes: Mapping[str, Any]) -> tuple[list[ValueInfoProto], Callable[[Mapping[str, Value]], Any]]:
    """(the tensors that a model's input consists of, what makes its value of theirs); `shapes` tells which elements there are."""
    kind = info.type.WhichOneof("value")
    if kind == "optional_type":
        present = info.name in shapes or f"{info.name}#len" in shapes or f"{info.name}#0" in shapes
        return opened(_named(info.name, info.type.optional_type.elem_type), shapes) if present else ([], lambda values: None)
    if kind == "sequence_type" and (f"{info.name}#len" in shapes or f"{info.name}#0" in shapes):
        names = _elements(info.name, shapes)
        parts = [opened(_named(n, info.type.sequence_type.elem_type), shapes) for n in names]
        return [i for infos, _ in parts for i in infos], lambda values: Items(tuple(make(values) for _, make in parts))
    return [info], lambda values: values[info.name]


def _elements(name: str, shapes: Mapping[str, Any]) -> list[str]:
    found: list[str] = []
    while any(key == f"{name}#{len(found)}" or key.startswith(f"{name}#{len(found)}#") for key in shapes):
        found.append(f"{name}#{len(found)}")
    return found


def _named(name: str, type_: TypeProto) -> ValueInfoProto:
    """An element as an input of its own: a named dimension of it is not one size for all elements."""
    info = ValueInfoProto(name=name, type=type_)
    for dim in info.type.tensor_type.shape.dim if info.type.HasField("tensor_type") else ():
        if dim.dim_param:
            dim.Clear()
    return info


def flat_results(name: str, value: Any) -> list[tuple[str, Value]]:
    """(name, value) of every tensor that a result consists of."""
    if isinstance(value, Items):
        length = (f"{name}#len", _constant(len(value.items)))
        return [length, *(pair for n, item in enumerate(value.items) for pair in flat_results(f"{name}#{n}", item))]
    return [] if value is None else [(name, value)]
