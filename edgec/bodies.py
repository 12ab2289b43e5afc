"""Graphs that operators hold (the bodies of Scan and Loop, the branches of If), changed as the graph around them is.

A body is closed: it reads nothing but its own inputs, so a transformation of graphs may be applied to it as it stands.

    in_bodies(graph, integers)      # the graph, every body of it through the pass integers
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from edgec.graph import Graph, Op, Value, map_graph


def in_bodies(graph: Graph, change: Callable[[Graph], Graph]) -> Graph:
    """The graph with every body replaced by `change(body)`, which must keep its inputs and the types of its outputs."""
    def visit(op: Op, operands: Sequence[Value]) -> Sequence[Value] | None:
        old = {name: value for name, value in op.attributes.items() if isinstance(value, Graph)}
        new = {name: change(body) for name, body in old.items()}
        if all(new[name] is body for name, body in old.items()):
            return None
        return op.with_operands(operands).with_attributes(**new).results
    return map_graph(graph, visit) if any(isinstance(a, Graph) for op in graph.ops for a in op.attributes.values()) else graph
