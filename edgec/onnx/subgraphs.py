"""Nodes that hold graphs: If, Loop and Scan. Their subgraphs become closed Graphs.

What a subgraph takes from outside becomes further inputs of it, and the operator gets the outer values as its last, variadic operand
`captured`; so a Graph attribute reads nothing but its inputs. An If whose condition is known is replaced by the branch taken, and the other
is never read (exporters leave branches there that do not even type-check).

    y = If(condition, captured=(a, b), then_branch=Graph((a', b') -> ...), else_branch=Graph((a', b') -> ...))
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from onnx import GraphProto

from edgec.errors import Loc, ModelError, Unsupported
from edgec.graph import Graph, Value
from edgec.onnx.functions import schema_body
from edgec.onnx.known import known_array
from edgec.onnx.node import Node, build
from edgec.types import TensorType, bool_, i64


def build_with_subgraphs(reader: Any, node: Node, scope: Any) -> Sequence[Value]:
    """The results of a node with graph attributes, built in the reader's scope."""
    if node.op == "If":
        condition = known_array(node.inputs[0]) if node.input(0) is not None else None
        if condition is not None and condition.size == 1:
            return _taken_branch(reader, node, scope, "then_branch" if condition.item() else "else_branch")
    if node.op == "Loop":
        from edgec.onnx.unroll import unrolled
        found = unrolled(reader, node, scope)
        if found is not None:
            return found
    if node.op == "Scan" and node.opset < 9:
        from edgec.onnx.batched_scan import batched_scan
        return batched_scan(reader, node, scope)
    if (node.domain, node.op) not in reader.operators:
        body = schema_body(node)
        if body is not None:  # the graphs stand in the body ONNX gives for this very call
            return reader.call(body, node, scope)
        raise Unsupported(f"operator {node.op} is not supported here", loc=node.loc)
    captures: dict[Value, Value] = {}
    types = _body_types(node)
    bodies = {n: _read_body(reader, g, scope, types, captures, node, n) for n, g in node.attributes.items() if isinstance(g, GraphProto)}
    inner = tuple(captures.values())
    graphs = {n: Graph((*formal, *inner), tuple(outputs), names, f"{node.op}.{n}") for n, (formal, outputs, names) in bodies.items()}
    from edgec.onnx.bounded_control import branches_of_any_size, loop_of_any_length
    if node.op == "If" and graphs.keys() == {"then_branch", "else_branch"}:
        found = branches_of_any_size(node, graphs, tuple(captures), reader)
        if found is not None:
            return found
    if node.op == "Loop" and "body" in graphs:
        found = loop_of_any_length(node, graphs["body"], tuple(captures), reader)
        if found is not None:
            return found
    return build(replace(node, attributes={**node.attributes, **graphs}), captured=tuple(captures), operators=reader.operators)


def _taken_branch(reader: Any, node: Node, scope: Any, branch: str) -> list[Value]:
    graph = node.attributes[branch]
    inner = scope.inner(prefix=f"{node.loc.node}/")
    inner.public = {o.name: label for o, label in zip(graph.output, node.outputs) if label}
    reader.declare_tensors(graph, inner, node.loc)
    return reader.body(graph.node, inner, [o.name for o in graph.output], node.loc)


def _read_body(reader: Any, graph: GraphProto, scope: Any, types: Sequence[TensorType], captures: dict[Value, Value], node: Node,
               name: str) -> tuple[list[Value], list[Value], tuple[str, ...]]:
    """(formal inputs, outputs, output names) of a subgraph; the outer values it reads are added to `captures`."""
    inner = scope.inner(prefix=f"{node.loc.node}/")
    inner.captures = captures
    reader.declare_tensors(graph, inner, node.loc)
    if len(graph.input) != len(types):
        raise ModelError(f"{name} of {node.op} has {len(graph.input)} inputs, it is given {len(types)}", loc=node.loc)
    formal = [reader.subgraph_input(i.name, t, node.loc) for i, t in zip(graph.input, types)]
    inner.values.update((i.name, v) for i, v in zip(graph.input, formal))
    outputs = reader.body(graph.node, inner, [o.name for o in graph.output], node.loc)
    if any(not isinstance(v, Value) for v in outputs):
        raise Unsupported(f"{node.op} with sequences or optionals: its condition is not known at compile time", loc=node.loc)
    return formal, outputs, tuple(o.name for o in graph.output)


def _body_types(node: Node) -> list[TensorType]:
    """The types of a subgraph's formal inputs, from the operands: Loop gives counter, condition and state; Scan state and slices."""
    if any(v is not None and not isinstance(v, Value) for v in node.inputs):
        raise Unsupported(f"{node.op} with sequences: the number of its iterations is not known at compile time", loc=node.loc)
    given = [v.type for v in node.inputs if v is not None]
    if node.op == "Loop":
        return [TensorType(i64, ()), TensorType(bool_, ()), *(v.type for v in node.inputs[2:] if v is not None)]
    if node.op == "Scan":
        count = node.attributes.get("num_scan_inputs", 0)
        axes = node.attributes.get("scan_input_axes", (0,) * count)
        if not 0 < count <= len(given) or len(axes) != count:
            raise ModelError(f"Scan with num_scan_inputs={count} and {len(given)} operands", loc=node.loc)
        return given[:-count] + [_slice_type(t, a, node.loc) for t, a in zip(given[-count:], axes)]
    return []


def _slice_type(type_: TensorType, axis: int, loc: Loc) -> TensorType:
    if not -type_.rank <= axis < type_.rank:
        raise ModelError(f"Scan along axis {axis} of {type_}", loc=loc)
    return type_.with_shape(tuple(d for n, d in enumerate(type_.shape) if n != axis % type_.rank))
