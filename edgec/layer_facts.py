"""What each layer of a graph costs: multiply-adds, parameters and bytes. Counted from what operators say they compute, not by their names.

    sum(layer.macs for layer in layer_facts(graph))      # 1_814_073_344 for resnet18
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from edgec.decomposition import decomposed
from edgec.expr import Expr, ReduceParts, fresh, read
from edgec.graph import Constant, Graph, Input, Op, Value, topological
from edgec.lowering import lower_op
from edgec.sweeps import walk
from edgec.types import index


@dataclass(frozen=True)
class Layer:
    """One operator of a graph; sizes at the upper bounds of symbolic dimensions."""

    name: str
    operator: str
    output: str
    macs: int
    parameters: int
    weight_bytes: int
    output_bytes: int


def layer_facts(graph: Graph) -> list[Layer]:
    """The operators of a graph in order; a constant counts for the first that reads it."""
    counted: set[Value] = set()
    return [_layer(op, counted) for op in graph.ops if not isinstance(op, (Input, Constant))]


def _layer(op: Op, counted: set[Value]) -> Layer:
    weights = [v for v in dict.fromkeys(op.operands) if v.is_constant and v not in counted]
    counted.update(weights)
    name = op.loc.node if op.loc and op.loc.node else op.results[0].name
    output = ", ".join(str(r.type) for r in op.results)
    return Layer(name, type(op).__name__, output, macs(op), sum(v.array.size for v in weights), sum(v.type.max_bytes for v in weights),
                 sum(r.type.max_bytes for r in op.results))


def macs(op: Op) -> int:
    """Multiply-adds of an operator: the points of sums whose terms are products, taps in the padding included as is usual.

    The results of one operator share their work. An operator that says neither an index formula nor simpler operators counts as 0.
    """
    if hasattr(op, "lower"):
        return max(_macs_of_result(op, number) for number in range(len(op.results)))
    if hasattr(op, "decompose"):
        known = set(topological(op.operands))
        return sum(macs(each) for each in topological(decomposed(op)) if each not in known)
    return 0


def _macs_of_result(op: Op, number: int) -> int:
    shape = op.results[number].type.max_shape
    axes = tuple(fresh("i", 0, max(size - 1, 0)) for size in shape)
    if 0 in shape:
        return 0
    value = lower_op(op, axes, lambda v, at: read(v, at))[number]
    extents = dict(zip(axes, shape))
    for node in walk(value):
        if node.op == "reduce":
            extents.update((v, max(e.hi, 0)) for v, e in zip(ReduceParts(node).axes, ReduceParts(node).extents))
    return sum(_points(node, extents) for node in walk(value) if node.op == "reduce" and sums_products(node))


def _points(node: Expr, extents: dict[Expr, int]) -> int:
    """How often the body of a reduction is evaluated once equal evaluations are shared."""
    own = ReduceParts(node).axes
    return prod(extents[v] for v in (*own, *(v for v in node.free if v in extents)))


def sums_products(node: Expr) -> bool:
    """Whether a reduction is a sum of products: each of its points is a multiply-add."""
    parts = ReduceParts(node)
    return parts.combine == "add" and any(n.op in ("mul", "mul_add") and n.dtype is not index for n in _own_nodes(parts.body[0]))


def _own_nodes(body: Expr) -> list[Expr]:
    """The nodes of a reduction's body that belong to no reduction inside it."""
    found, stack = {}, [body]
    while stack:
        node = stack.pop()
        if id(node) not in found and node.op != "reduce":
            found[id(node)] = node
            stack.extend(node.args)
    return list(found.values())
