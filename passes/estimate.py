"""How many cycles a kernel is estimated to take: the numbers by which its schedules are chosen, summed over its loop nests.

This is what choices over the whole graph are made by (the layouts of buffers). A choice is a program; the numbers of two programs compare
how well their loops suit the target's vectors, register tiles and loads. Bytes that travel are the same for all of them, and are left out.

    sum(kernel_cycles(k, target) for k in program.steps)
"""

from __future__ import annotations

from math import prod
from typing import Any

from edgec.expr import Expr
from edgec.kernel import Axis, Kernel
from edgec.linear import coefficient_within
from edgec.passes.dots import dots
from edgec.passes.in_order import channel_block
from edgec.passes.nest import Domain, Nest, flatten, in_groups
from edgec.passes.pack import Tables
from edgec.passes.points import is_picked
from edgec.passes.schedule import Schedule, schedule, tile_choices, widest
from edgec.passes.tile import walked_together
from edgec.sweeps import walk

TURN = 12.0  # cycles by which a sum takes longer for every group of steps that lies apart, where a round of its loop is no whole group


def kernel_cycles(kernel: Kernel, target: Any) -> float:
    """The cycles of one call of a kernel, every step of a loop around it counted once."""
    written = [s.target.root for s in kernel.stages]
    roots = [e for s in kernel.stages for e in (s.value, *s.indices, *(e for pair in s.guards for e in pair))]
    tables = Tables(list(dict.fromkeys([*written, *(n.data.root for n in walk(*roots) if n.op == "read")])), written)
    groups = walked_together(kernel.stages)
    around = kernel.axes if len(groups) == 1 else kernel.axes[-1:] if kernel.block else ()
    nests = [dots(flatten(group, (*around, *group[0].axes), tables.params), target, tables) for group in groups]
    return sum(nest_cycles(n, target) for n in nests) * prod(a.max_extent for a in kernel.axes if a not in around)


def nest_cycles(nest: Nest, target: Any) -> float:
    """The cycles of a nest under the schedule that is chosen for it: its sums, and what is loaded and stored around them."""
    plan = schedule(nest, target)
    lanes = target.lanes(widest(nest)) if plan.vector is not None else 1
    summed = {n for d in nest.domains.values() for n in walk(*d.body) if n.op == "load"}
    once = [n for n in nest.loads if n not in summed]
    places = sum(_accesses(n, plan.vector, lanes, target) for n in once) + _place(nest.offset, plan.vector, lanes, target)
    return places * _points(nest.axes) + _sums(nest, plan, lanes, target)


def _points(axes: Any) -> int:
    return prod(a.max_extent for a in axes)


def _accesses(n: Expr, vector: Axis | None, lanes: int, target: Any) -> float:
    """Memory accesses for one element of a load: a share of a vector of neighbours, or one of its own."""
    return 1.0 / lanes if is_picked(n) or n.data[0].constant else _place(n.args[0], vector, lanes, target)


def _place(offset: Expr, vector: Axis | None, lanes: int, target: Any) -> float:
    step = coefficient_within(offset, vector.var, channel_block(target)) if vector is not None else None
    return 1.0 / lanes if step in (0, 1) else 1.0


def _sums(nest: Nest, plan: Schedule, lanes: int, target: Any) -> float:
    """The cycles of the register tiles over all steps, of the loads that are no vectors, and of turns between groups of steps.

    A sum that some axes do not change is done once for all of them, whether or not that has been brought about yet.
    """
    vectors, whole = max((len(s.piece.lanes) for s in plan.segments), default=1), target.lanes(widest(nest))
    tiles = tile_choices(nest, target, plan.vector, plan.row, whole) if nest.domains else ()
    plane = _points(a for a in (plan.vector, plan.row) if a is not None)
    step = next((t.cycles / plane for t in tiles if (t.rows, t.vectors) == (plan.rows, vectors)), 1.0)  # of one point
    step /= whole if plan.reduce_vector is not None else 1
    points = {d: _points(a for a in nest.axes if a.var in node.free) for node, d in nest.domains.items()}
    return sum(n * d.steps * (step + _gathered(d, plan, target)) for d, n in points.items()) \
        + sum(_turns(nest, d, plan, vectors * lanes) for d in points)


def _gathered(d: Domain, plan: Schedule, target: Any) -> int:
    """Loads of a step that bring single elements to a vector."""
    if plan.vector is None:
        return 0
    loads = [n for n in walk(*d.body) if n.op == "load" and not n.data[0].constant and not is_picked(n)]
    return sum(coefficient_within(n.args[0], plan.vector.var, channel_block(target)) not in (0, 1) for n in loads)


def _turns(nest: Nest, d: Domain, plan: Schedule, width: int) -> float:
    """The cycles between groups of steps that lie apart, as those of a buffer in blocks of channels do."""
    group = max((_group(d, axis) for axis in d.axes), default=0)
    if not group or plan.unroll % group == 0:
        return 0.0
    tiles = prod(-(-a.max_extent // (plan.rows if a is plan.row else width if a is plan.vector else 1)) for a in nest.axes)
    return TURN * tiles * d.steps / group


def _group(d: Domain, axis: Expr) -> int:
    """Steps of an axis that lie side by side before a jump; 0 where all steps are of one length."""
    divisors = {n.args[1].data for n in walk(*(m.args[0] for b in d.body for m in walk(b) if m.op == "load" and not m.data[0].constant))
                if n.op == "floordiv" and axis in n.free and n.args[1].op == "const"}
    return next((g for g in sorted(divisors) if in_groups(d.body, axis, g)), 0)
