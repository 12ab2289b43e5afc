"""What a schedule must obey to be a walk of its nest: every point once, vectors only where neighbours may share one.

Whatever is legal gives the same results up to the order of sums, fast or not; `illegal` says what is wrong with a schedule from elsewhere.

    illegal(nest, replace(schedule(nest, target), rows=0), target)       # 'rows must be 1 to 56, not 0'
"""

from __future__ import annotations

from typing import Any

from edgec.expr import Expr
from edgec.linear import coefficient
from edgec.passes.nest import Nest
from edgec.passes.schedule import Schedule
from edgec.passes.wide_dots import wide_axis

MAX_BODIES = 512  # steps of points that one loop body may hold, written out
MAX_LANES = 64


def wide_axes(nest: Nest, lanes: int) -> list[Expr]:
    """Reduction axes along which neighbours may fill a vector: a known extent, no tests, unit stride in every load that moves."""
    found = []
    for d in nest.domains.values():
        loads = [n for n in nest.loads if n.free & set(d.axes)]
        for axis, extent in zip(d.axes, d.extents):
            steps = {coefficient(n.args[0], axis) for n in loads}
            plain = isinstance(d.combine, str) and not d.guards and extent.op == "const" and extent.data >= lanes
            if plain and 1 in steps and steps <= {0, 1}:
                found.append(axis)
    return found


def illegal(nest: Nest, plan: Schedule, target: Any) -> str:
    """What is wrong with a schedule of a nest, "" for nothing."""
    if nest.is_update:
        plain = plan.vector is plan.row is plan.reduce_vector is None and plan.outer == nest.axes and not plan.middle
        return "" if plain else "points that may meet in one element are walked one by one, in order"
    walked = [*plan.outer, *plan.middle, *(a for a in (plan.vector, plan.row) if a is not None)]
    if len(walked) != len(nest.axes) or set(walked) != set(nest.axes):
        return "every axis must be walked once"
    return _wrong_tile(nest, plan) or _wrong_vector(plan, target) or _wrong_reduction(nest, plan, target)


def _wrong_tile(nest: Nest, plan: Schedule) -> str:
    most = plan.row.max_extent if plan.row is not None else 1
    if not 1 <= plan.rows <= most:
        return f"rows must be 1 to {most}, not {plan.rows}"
    blocked = plan.middle[0].extent if plan.middle else 0
    if plan.block and not (isinstance(blocked, int) and 0 < plan.block <= blocked):
        return f"a block of {plan.block} needs an axis between vectors and rows that is as long"
    points = plan.rows * max((len(s.piece.lanes) for s in plan.segments), default=1)
    if plan.unroll < 1 or plan.partials < 1 or points * plan.unroll > MAX_BODIES:
        return f"{points} points unrolled {plan.unroll} times are outside 1 to {MAX_BODIES}"
    return ""


def _wrong_vector(plan: Schedule, target: Any) -> str:
    if plan.vector is None:
        return "pieces of an axis without a name" if plan.segments else ""
    if not isinstance(plan.vector.extent, int):
        return "an axis of open length fills no vectors"
    at = 0
    for segment in plan.segments:
        lanes = segment.piece.lanes
        if segment.start != at or segment.count < 1 or any(n < 1 or n > MAX_LANES or n & (n - 1) for n in lanes):
            return "pieces must be vectors of powers of two, one after the other"
        if not 1 <= segment.piece.active <= lanes[-1] or segment.piece.active < lanes[-1] and not target.masks:
            return "a vector that is only partly used needs masks, which this target does not have"
        at += segment.count * segment.piece.width
    return "" if at == plan.vector.extent else f"pieces cover {at} of {plan.vector.extent}"


def _wrong_reduction(nest: Nest, plan: Schedule, target: Any) -> str:
    if plan.reduce_vector is None:
        return ""
    if plan.vector is not None and plan.reduce_vector is wide_axis(nest, target):
        return ""  # points are scalars there, the other axis gives the columns of the tile
    if plan.vector is not None:
        return "either a parallel axis fills vectors or a reduction does"
    return "" if plan.reduce_vector in wide_axes(nest, target.lanes(32)) else "neighbours along this reduction are no neighbours in memory"
