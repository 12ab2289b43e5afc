"""Places the nodes of a directed graph in layers, so that edges run downwards and few of them cross.

A node lies one layer below the lowest that it depends on. An edge over several layers passes through a bend in each, shared by all edges
of one source; nodes and bends are ordered by the mean place of what is above them (K. Sugiyama, S. Tagawa, M. Toda, 1981).

    drawing = draw(3, {(0, 1), (1, 2), (0, 2)})
    drawing.boxes[2]          # its left upper corner
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass

import networkx as nx

WIDTH, HEIGHT = 190.0, 34.0   # of a box
GAP, BEND, LAYER = 16.0, 14.0, 56.0  # between boxes, of a bend, from layer to layer

Node = Hashable  # a number, or (source, layer) for a bend


@dataclass(frozen=True)
class Drawing:
    """Sizes, the left upper corner of every box, and every edge as points from top to bottom."""

    width: float
    height: float
    boxes: tuple[tuple[float, float], ...]
    lines: tuple[tuple[tuple[float, float], ...], ...]


def draw(count: int, edges: Iterable[tuple[int, int]]) -> Drawing:
    """The drawing of nodes 0 .. count - 1 and edges (from, to) without a cycle."""
    graph = nx.DiGraph()
    graph.add_nodes_from(range(count))
    graph.add_edges_from(sorted(set(edges)))
    layer = {node: n for n, layer in enumerate(nx.topological_generations(graph)) for node in layer}
    routed = _with_bends(graph, layer)
    middle = _middles(routed, layer)
    left = min((middle[n] - _width(n) / 2 for n in routed), default=0.0)
    right = max((middle[n] + _width(n) / 2 for n in routed), default=0.0)
    at = {n: (middle[n] - left + GAP, layer[n] * LAYER + GAP) for n in routed}
    boxes = tuple((at[n][0] - WIDTH / 2, at[n][1]) for n in range(count))
    lines = tuple(_line(routed, at, source, target) for source, target in graph.edges)
    return Drawing(right - left + 2 * GAP, max((y for _, y in at.values()), default=0.0) + HEIGHT + GAP, boxes, lines)


def _width(node: Node) -> float:
    return BEND if isinstance(node, tuple) else WIDTH


def _with_bends(graph: nx.DiGraph, layer: dict[Node, int]) -> nx.DiGraph:
    """The graph with a bend (source, layer) wherever an edge passes a layer; every edge goes down one layer."""
    routed = nx.DiGraph()
    routed.add_nodes_from(graph)
    for source, target in graph.edges:
        above: Node = source
        for level in range(layer[source] + 1, layer[target]):
            bend = (source, level)
            layer[bend] = level
            routed.add_edge(above, bend)
            above = bend
        routed.add_edge(above, target)
    return routed


def _middles(routed: nx.DiGraph, layer: dict[Node, int]) -> dict[Node, float]:
    """The horizontal middle of every node: below the mean of its predecessors, pushed apart where boxes would meet."""
    layers: list[list[Node]] = [[] for _ in range(1 + max(layer.values(), default=-1))]
    for node in routed:
        layers[layer[node]].append(node)
    middle: dict[Node, float] = {}
    for nodes in layers:
        wanted = {n: _mean([middle[p] for p in routed.predecessors(n)]) for n in nodes}
        edge = float("-inf")
        for n in sorted(nodes, key=lambda n: (wanted[n], str(n))):
            middle[n] = max(wanted[n], edge + GAP + _width(n) / 2)
            edge = middle[n] + _width(n) / 2
        shift = _mean([middle[n] - wanted[n] for n in nodes])
        middle.update({n: middle[n] - shift for n in nodes})
    return middle


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def _line(routed: nx.DiGraph, at: dict[Node, tuple[float, float]], source: int, target: int) -> tuple[tuple[float, float], ...]:
    """From the lower edge of one box over the bends of its source to the upper edge of the other."""
    above = next(p for p in routed.predecessors(target) if p == source or isinstance(p, tuple) and p[0] == source)
    bends = [] if above == source else [n for n in at if isinstance(n, tuple) and n[0] == source and at[n][1] <= at[above][1]]
    inner = [point for n in sorted(bends, key=lambda n: at[n][1]) for point in (at[n], (at[n][0], at[n][1] + HEIGHT))]
    return ((at[source][0], at[source][1] + HEIGHT), *inner, at[target])
