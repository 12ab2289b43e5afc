"""Sweeps over expressions: visiting every node once, rebuilding a DAG bottom-up, replacing variables.

All are loops without recursion, so the depth of an expression is no limit. `rebuild` makes a node anew through the constructors of
[`edgec.expr`](expr.py), which simplify, so that what is put in for a variable folds on the way up.

    i = var("i", 0, 7);  substitute(i * 4 + 3, {i: const(2, index)})      # 11
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Container, Mapping, Sequence
from typing import Any

from edgec.expr import (
    BINARY,
    COMPARE,
    UNARY,
    Expr,
    binary,
    bitcast,
    cast,
    compare,
    const,
    dot_block,
    floordiv,
    inside,
    make,
    read,
    reduce,
    select,
    unary,
)
from edgec.types import index


def walk(*roots: Expr, beyond: Container[Expr] = frozenset()) -> list[Expr]:
    """Every node reachable from the roots without passing `beyond`, operands before users, each once (iterative: depth is no limit)."""
    seen: set[Expr] = set()
    order: list[Expr] = []
    add, append = seen.add, order.append
    for root in roots:
        if root in seen or root in beyond:
            continue
        add(root)
        path, rest = [], iter(root.args)  # nodes above the one at hand with their operands still to come
        while True:
            for node in rest:
                if node not in seen and node not in beyond:
                    add(node)
                    if node.args:
                        path.append((root, rest))
                        root, rest = node, iter(node.args)
                        break
                    append(node)
            else:
                append(root)
                if not path:
                    break
                root, rest = path.pop()
    return order


def rebuild(node: Expr, args: Sequence[Expr]) -> Expr:
    """The same operation on other operands, simplified again."""
    if all(a is b for a, b in zip(args, node.args)):
        return node
    op = node.op
    if op == "linear":
        from edgec import linear
        return linear.rebuild(node, args)
    if op == "floordiv":
        return floordiv(*args)
    if op == "inside":
        return inside(zip(args[2::2], args[3::2]), args[0], args[1])
    if op == "read":
        return read(node.data, args)
    if op == "reduce":
        parts = len(node.args) - 2 * node.data[1]
        made = reduce(node.data[0], args[:node.data[1]], args[node.data[1]:2 * node.data[1]], args[-parts:-parts // 2], args[-parts // 2:])
        return made[0] if len(made) == 1 else made[0].args[0]
    if op == "select":
        return select(*args)
    if op in COMPARE:
        return compare(op, *args)
    if op == "cast":
        return make("cast", args, node.dtype, "within") if node.data == "within" else cast(args[0], node.dtype, node.data == "saturate")
    if op == "bitcast":
        return bitcast(args[0], node.dtype)
    if op in BINARY:
        return functools.reduce(lambda a, b: binary(op, a, b), args)  # products of indices have any number of factors
    if op in UNARY:
        return unary(op, args[0])
    if op in ("load", "splat", "lane", "vector", "horizontal"):
        from edgec import loops
        return loops.rebuild(node, args)
    return dot_block(*args) if op == "dot_block" else make(op, args, node.dtype, node.data)


def transform(roots: Sequence[Expr], replace: Callable[[Expr], Expr | None], done: dict[Expr, Expr] | None = None) -> tuple[Expr, ...]:
    """Rebuild the DAG bottom-up: `replace(node)` on the rebuilt node gives its substitute, or None to keep it.

    Nodes in `done` are not visited again; a caller with many overlapping roots hands in the same one each time.
    """
    done = {} if done is None else done
    for node in walk(*roots, beyond=done):
        made = node
        for a in node.args:
            if done[a] is not a:
                made = rebuild(node, [done[b] for b in node.args])
                break
        other = replace(made)
        done[node] = made if other is None else other
    return tuple(done[root] for root in roots)


def substitute(root: Expr, values: Mapping[Expr, Expr]) -> Expr:
    """Replace variables by expressions (bound variables of reductions included, when named)."""
    if root.free.isdisjoint(values):
        return root
    done: dict[int, Expr] = {}
    for node in walk(root):
        if node.free.isdisjoint(values):
            done[id(node)] = node
        else:
            done[id(node)] = values[node] if node in values else rebuild(node, [done[id(a)] for a in node.args])
    return done[id(root)]


def evaluate_dim(value: Any, bindings: Mapping[str, int]) -> int:
    """The number a dimension has when its symbols have the given values."""
    if not isinstance(value, Expr):
        return int(value)
    result = substitute(value, {symbol: const(bindings[symbol.data], index) for symbol in value.free})
    return int(result.data)
