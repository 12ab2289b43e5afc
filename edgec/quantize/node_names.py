"""Operators by the names of the model's nodes, also where folding has merged several nodes into one operator.

    ops_named(original, prepared, "conv1")       # the Conv that conv1 and its batch normalisation became
"""

from __future__ import annotations

from edgec.errors import ModelError
from edgec.graph import Constant, Graph, Input, Op


def node_name(op: Op) -> str:
    """The name of the model's node an operator comes from, else that of its first result."""
    return op.loc.node if op.loc and op.loc.node else op.output.name


def ops_named(original: Graph, prepared: Graph, name: str) -> list[Op]:
    """The operators of the prepared graph that a node of the original one became: its own, or the next one in the flow of data.

    ModelError where the model has no such node.
    """
    found = _by_name(prepared).get(name)
    if found:
        return found
    nodes = _by_name(original)
    op = nodes.get(name, [None])[0]
    while op is not None:
        users = original.users.get(op.output, ())
        op = users[0] if len(users) == 1 else None
        for each in (node_name(op), op.output.name) if op is not None else ():
            if each in _by_name(prepared):
                return _by_name(prepared)[each]
    raise ModelError(f"there is no node '{name}' to keep in f32" if name not in nodes else f"the node '{name}' was folded into others",
                     hint="the nodes are " + ", ".join(_shown(prepared)))


def _by_name(graph: Graph) -> dict[str, list[Op]]:
    found: dict[str, list[Op]] = {}
    for op in graph.ops:
        if not isinstance(op, (Input, Constant)):
            for name in dict.fromkeys((node_name(op), *(v.name for v in op.results))):
                found.setdefault(name, []).append(op)
    return found


def _shown(graph: Graph, most: int = 12) -> list[str]:
    names = list(dict.fromkeys(node_name(op) for op in graph.ops if not isinstance(op, (Input, Constant))))
    return names[:most] + [f"... ({len(names)} in all)"] * (len(names) > most)
