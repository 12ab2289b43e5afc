"""Expand ops into the simpler ops their `decompose` gives, over a whole graph.

Shared by the interpreter (ops without a `reference`) and the decompose pass (ops without a `lower`), which differ only in what they want
expanded.

    expand(graph, lambda op: isinstance(op, Gelu))
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from edgec.errors import Internal
from edgec.graph import Graph, Op, Value, map_graph

MAX_DEPTH = 32


def expand(graph: Graph, wanted: Callable[[Op], bool]) -> Graph:
    """Replace every wanted op by its decomposition, and again inside what came out; Internal when that does not end."""
    for _ in range(MAX_DEPTH):
        if not any(wanted(op) for op in graph.ops):
            return graph
        graph = map_graph(graph, lambda op, operands: decomposed(op.with_operands(operands)) if wanted(op) else None)
    op = next(op for op in graph.ops if wanted(op))
    raise Internal(f"{type(op).__name__} still decomposes after {MAX_DEPTH} rounds", loc=op.loc)


def decomposed(op: Op) -> Sequence[Value]:
    """The values that replace the results of an op, with its types and, where they are new, its names."""
    made = op.decompose()
    results = made if isinstance(made, tuple) else (made,)
    for old, new in zip(op.results, results, strict=True):
        if old.type != new.type:
            raise Internal(f"{type(op).__name__} is {old.type}, its decomposition {new.type}", loc=op.loc)
        if new.loc is None and not new.is_constant:
            new.name, new.loc = old.name, old.loc
    return results
