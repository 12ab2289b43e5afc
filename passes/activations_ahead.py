"""Asks for the activations of a register tile, and for those of the next one, while its sum is computed.

Where activations are larger than the second-level cache, what is added to a finished sum (the other branch of a residual block) and what a
tile stores lie beyond it: the end of every tile would wait for both. They are asked for in front of the sum and arrive meanwhile. And rows
that a sum reads from beginning to end are asked for a tile ahead, a little with each step.

    for u: acc = 0; for k: acc += x[u, k] * w[k, 0..64];  y[u, 0..64] = relu(acc + z[u, 0..64])
    ->  for u: prefetch z[u, 0..64]; prefetch y[u, 0..64]; acc = 0; for k: ...; prefetch x[u + rows, k * rows / K]; ...
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edgec.expr import Expr, const
from edgec.linear import coefficient
from edgec.loops import Param, Prefetch, Stmt, iota
from edgec.passes.nest import Domain, Nest
from edgec.passes.points import Point, instantiate, scalar_point
from edgec.passes.schedule import Schedule
from edgec.sweeps import walk
from edgec.types import index

LINE = 64           # bytes that one request brings
LEAST_STEPS = 16    # of the sums: shorter ones end before anything has arrived
KEPT = 2            # buffers smaller than this part of the second-level cache may still be there


def ends_asked(nest: Nest, points: Sequence[Point], target: Any) -> list[Stmt]:
    """In front of a tile: what its end reads and where it stores; nothing where that cannot help."""
    longest = max((d.steps for d in nest.domains.values()), default=0)
    if not target.prefetches or target.compact or longest < LEAST_STEPS:
        return []
    ends = [*((n.data[0], n.args[0]) for n in _behind_sums(nest)), *((r.target, r.offset) for r in nest.results)]
    return [Prefetch(param, at) for param, offset in ends if _is_large(param, target)
            for at in _lines([_first(instantiate(offset, p, {})) for p in points], LINE // param.dtype.bytes)]


def rows_ahead(nest: Nest, plan: Schedule, target: Any) -> Expr | None:
    """The load of a large buffer whose rows lie behind each other and are read whole in every register tile; None where there is none."""
    if not target.prefetches or target.compact or plan.row is None or plan.vector is None or plan.reduce_vector is not None:
        return None
    found = [n for d in nest.domains.values() if _is_row(d) for n in walk(*d.body) if n.op == "load" and not n.data[0].constant
             and plan.vector.var not in n.free and _is_large(n.data[0], target)
             and coefficient(n.args[0], d.axes[0]) == 1 and coefficient(n.args[0], plan.row.var) == d.steps]
    return found[0] if len(found) == 1 else None


def rows_asked(read: Expr, plan: Schedule, point: Point, axis: Expr, k: Expr, copies: int) -> list[Stmt]:
    """Behind `copies` steps from `k` on: their share of the rows that the next tile reads; `point` is the first of this one."""
    here = scalar_point(point, 0).env
    first = instantiate(read.args[0], Point({**here, plan.row.var: here[plan.row.var] + plan.rows, axis: const(0, index)}), {})
    line = LINE // read.dtype.bytes
    return [Prefetch(read.data[0], first + k * plan.rows + n * line) for n in range(-(-plan.rows * copies // line))]


def _is_row(d: Domain) -> bool:
    """Whether a reduction is one walk along a single axis."""
    alone = len(d.axes) == 1 and not (d.guards or d.is_nested or d.around or d.peeled)
    return alone and d.extents[0].op == "const" and d.steps >= LEAST_STEPS


def _behind_sums(nest: Nest) -> list[Expr]:
    """The loads of activations outside of all reductions."""
    found, seen, stack = list[Expr](), set[int](), list(nest.values)
    while stack:
        node = stack.pop()
        if id(node) not in seen:
            seen.add(id(node))
            found += [node] if node.op == "load" and not node.data[0].constant else []
            stack.extend(nest.domains[node].init if node.op == "reduce" else node.args)
    return found


def _is_large(param: Param, target: Any) -> bool:
    """Whether a buffer is too large to be in the second-level cache still."""
    size = param.size if isinstance(param.size, int) else param.size.hi
    return size * param.dtype.bytes * KEPT > target.l2_bytes


def _lines(places: Sequence[Expr | None], line: int) -> list[Expr]:
    """Those places that do not lie less than a line of elements behind one that is kept."""
    kept = list[Expr]()
    for at in dict.fromkeys(places):
        if at is not None and not any((gap := at - k).op == "const" and 0 <= gap.data < line for k in kept[-1:]):
            kept.append(at)
    return kept


def _first(offset: Expr) -> Expr | None:
    """Where the neighbours that one vector holds begin; None where it holds none."""
    lanes = iota(offset.lanes) if offset.lanes > 1 else None
    return offset - lanes if lanes is not None and coefficient(offset, lanes) == 1 else None
