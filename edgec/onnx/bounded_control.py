"""If and Loop whose results have sizes that only the run decides: a result at its largest, and the part of it that counts.

    If(c) {f32[4]} else {f32[10]}        ->  Prefix(If(c) {padded to 10, [4]} else {x, [10]})
    Loop(m, c) {..., row: f32[4]}        ->  Prefix(all rows: f32[100,4], how many iterations there were)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from edgec.errors import Unsupported
from edgec.expr import Expr
from edgec.graph import Graph, Value, constant
from edgec.onnx.node import Node, build, named
from edgec.onnx.parts import cast_to, least, limit, part, reshaped
from edgec.ops.control_flow import CountedLoop, Loop, same_dim, same_shape
from edgec.ops.sizes import Prefix
from edgec.types import i64

MOST_ROWS = 1 << 16


def branches_of_any_size(node: Node, graphs: dict[str, Graph], captured: tuple[Value, ...], reader: Any) -> Sequence[Value] | None:
    """An If whose branches give results of one rank and different sizes; None where they are of one shape (or of different ranks)."""
    pairs = list(zip(graphs["then_branch"].outputs, graphs["else_branch"].outputs))
    differing = [n for n, (a, b) in enumerate(pairs)
                 if a.dtype is b.dtype and a.type.rank == b.type.rank and not same_shape(a.shape, b.shape)]
    if not differing or len(graphs["then_branch"].outputs) != len(graphs["else_branch"].outputs):
        return None
    room = {n: tuple(max(limit(d), limit(e)) for d, e in zip(*(v.shape for v in pairs[n]))) for n in differing}
    wide = {name: _at_largest(graph, room) for name, graph in graphs.items()}
    inner = replace(node, attributes={**node.attributes, **wide}, outputs=(*node.outputs, *(f"{node.outputs[n]}.shape" for n in differing)))
    results = list(build(inner, captured=captured, operators=reader.operators))
    for n, shape in zip(differing, results[len(pairs):]):
        results[n] = named(_cut(results[n], shape, pairs[n], reader.sizes, node.outputs[n] or node.op), results[n].name, node.loc)
    return results[:len(pairs)]


def _at_largest(graph: Graph, room: dict[int, tuple[int, ...]]) -> Graph:
    """A branch whose results (by number) are padded to a size, followed by the shapes that they had."""
    outputs, shapes = list(graph.outputs), []
    for n, sizes in room.items():
        extents = part("Shape", outputs[n])
        rest = part("Sub", sizes, extents)
        shapes.append(part("Identity", extents))
        outputs[n] = part("Pad", outputs[n], part("Concat", [part("Mul", rest, 0), rest], axis=0))
    names = (*graph.output_names, *(f"shape{n}" for n in room))
    return Graph(graph.inputs, (*outputs, *shapes), names, graph.name)


def _cut(value: Value, shape: Value, pair: tuple[Value, Value], sizes: Any, name: str) -> Value:
    """The part of a padded result that counts."""
    axes = [n for n, (a, b) in enumerate(zip(*(v.shape for v in pair))) if not same_dim(a, b)]
    bounds = tuple((min(map(least, ends)), max(map(limit, ends))) for ends in ((pair[0].shape[n], pair[1].shape[n]) for n in axes))
    number = sizes.sizes(part("Gather", shape, axes), bounds, f"{name}_count")
    for n, axis in enumerate(axes):
        value = Prefix(value, part("Gather", number, [n]), axis=axis).output
    for axis, (a, b) in enumerate(zip(*(v.shape for v in pair))):
        if isinstance(a, Expr) and same_dim(a, b):  # a size of the graph around, which both branches have
            value = _as_outside(value, axis, a)
    return value


def _as_outside(value: Value, axis: int, size: Expr) -> Value:
    raise Unsupported(f"If: branches of different shapes with an open dimension {size} beside them", loc=value.loc,
                      hint="give the open dimension a fixed size")


def loop_of_any_length(node: Node, body: Graph, captured: tuple[Value, ...], reader: Any) -> Sequence[Value] | None:
    """A Loop with scan results whose iterations are counted when it runs; None where there are none, or their number is known before."""
    m, cond, initial = node.input(0), node.input(1), tuple(node.inputs[2:])
    scans = len(body.outputs) - 1 - len(initial)
    if scans <= 0 or Loop.counted_before(m, cond, body):
        return None
    low, room = _rows(node, m, len(initial), reader.sizes)
    stop = room + 1 if any(n in reader.sizes.given for n in node.outputs[len(initial):]) else room
    limit_ = constant(np.array(stop)) if m is None else part("Min", [reshaped(cast_to(m, i64), []), constant(np.array(stop))])
    loop = CountedLoop(limit_, cond, initial, captured, body=body, room=stop, _loc=node.loc)
    count, *results = loop.results
    number = reader.sizes.sizes(reshaped(count, [1]), ((low, room),), f"{node.outputs[len(initial)] or node.op}_count")
    results[len(initial):] = [Prefix(v, number, axis=0).output for v in results[len(initial):]]
    return [named(v, name or v.name, node.loc) for v, name in zip(results, node.outputs)]


def _rows(node: Node, m: Value | None, states: int, sizes: Any) -> tuple[int, int]:
    """The fewest and the most iterations: as the user says, or as the trip count allows."""
    given = [name for name in node.outputs[states:] if name in sizes.given]
    if given:
        return sizes.bounds(given[0], 1, node.loc)[0]
    most = m.elements[0] if m is not None and m.elements is not None else None
    name = next(filter(None, node.outputs[states:]), "y")
    if most is None or limit(most) > MOST_ROWS:
        raise Unsupported("Loop: how many iterations there are is not known at compile time, and as many rows its scan results have",
                          loc=node.loc, hint=f"say how many at the most: --bind {name}=0..100")
    return 0, max(0, limit(most))
