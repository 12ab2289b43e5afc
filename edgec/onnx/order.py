"""The structure of an ONNX graph, before anything is built: every name defined once, every use defined, no cycle, dead nodes left out.

    for position in live_order(graph.node, defined, wanted, outer, where): ...      # operands before users
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from onnx import GraphProto, NodeProto

from edgec.errors import CompileError, Loc, ModelError, raise_all

Where = Callable[[int], Loc]


def live_order(nodes: Sequence[NodeProto], defined: Iterable[str], wanted: Sequence[str], outer: Callable[[str], bool],
               where: Where, place: Loc) -> list[int]:
    """Positions of the nodes that `wanted` names depend on, operands before users.

    `defined` are inputs and initialisers, `outer(name)` tells whether an enclosing graph has the name, `where(n)` is the place of node n.
    Raises one ModelError that lists every name defined twice or never, and every node on a cycle.
    """
    defined = set(defined)
    producers = _producers(nodes, defined, where)
    uses = [list(names_read(node)) for node in nodes]
    problems = [p for n, names in enumerate(uses) for p in _undefined(names, defined, producers, outer, where(n))]
    problems += [ModelError(f"the graph output '{n}' is not computed by any node", loc=place)
                 for n in wanted if n not in producers and n not in defined and not outer(n)]
    raise_all(problems)
    needs = [[producers[u] for u in names if u in producers] for names in uses]
    _depth_first(range(len(nodes)), needs, where)
    return _depth_first([producers[n] for n in wanted if n in producers], needs, where)


def live_nodes(nodes: Sequence[NodeProto], wanted: Iterable[str]) -> list[int]:
    """Positions of the nodes that the wanted names depend on, in file order; nothing is checked."""
    producers = {name: n for n, node in enumerate(nodes) for name in node.output if name}
    stack, live = [producers[name] for name in wanted if name in producers], set()
    while stack:
        n = stack.pop()
        if n not in live:
            live.add(n)
            stack.extend(producers[name] for name in names_read(nodes[n]) if name in producers)
    return sorted(live)


def _producers(nodes: Sequence[NodeProto], defined: set[str], where: Where) -> dict[str, int]:
    found: dict[str, int] = {}
    problems: list[CompileError] = []
    for n, node in enumerate(nodes):
        for name in filter(None, node.output):
            if name in found:
                problems.append(ModelError(f"the name '{name}' is defined twice, first by {where(found[name])}", loc=where(n)))
            elif name in defined:
                problems.append(ModelError(f"the name '{name}' is defined twice, it is a graph input or initialiser too", loc=where(n)))
            found.setdefault(name, n)
    raise_all(problems)
    return found


def _undefined(names: Sequence[str], defined: set[str], producers: dict[str, int], outer: Callable[[str], bool],
               loc: Loc) -> Iterator[CompileError]:
    for name in dict.fromkeys(names):
        if name not in producers and name not in defined and not outer(name):
            yield ModelError(f"its input '{name}' is not a graph input, an initialiser or the result of a node", loc=loc)


def _depth_first(roots: Iterable[int], needs: list[list[int]], where: Where) -> list[int]:
    """Post-order over `needs` from the roots; iterative. ModelError names the nodes of the first cycle."""
    state = bytearray(len(needs))  # 0 unseen, 1 on the path, 2 done
    order: list[int] = []
    for root in roots:
        path = [(root, iter(needs[root]))] if state[root] == 0 else []
        state[root] = state[root] or 1
        while path:
            node, rest = path[-1]
            below = next(rest, None)
            if below is None:
                state[node] = 2
                order.append(node)
                path.pop()
            elif state[below] == 0:
                state[below] = 1
                path.append((below, iter(needs[below])))
            elif state[below] == 1:
                raise _cycle([n for n, _ in path], below, where)
    return order


def _cycle(path: list[int], start: int, where: Where) -> ModelError:
    members = path[path.index(start):]
    shown = [str(where(n)) for n in members[:8]] + (["..."] if len(members) > 8 else [])
    return ModelError(f"the graph has a cycle through {len(members)} node{'s' if len(members) > 1 else ''}", loc=where(start), notes=shown)


def names_read(node: NodeProto) -> Iterator[str]:
    """Every name a node reads, those its subgraphs take from outside included."""
    yield from filter(None, node.input)
    for graph in subgraphs(node):
        yield from free_names(graph)


def subgraphs(node: NodeProto) -> Iterator[GraphProto]:
    """The graphs a node holds as attributes."""
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def free_names(graph: GraphProto) -> list[str]:
    """The names a subgraph reads and does not define (its nesting is bounded by the protobuf parser)."""
    own = {v.name for v in graph.input} | {t.name for t in graph.initializer} | {t.values.name for t in graph.sparse_initializer}
    own.update(name for node in graph.node for name in node.output)
    used = [name for node in graph.node for name in names_read(node)] + [v.name for v in graph.output]
    return [name for name in dict.fromkeys(used) if name not in own]
