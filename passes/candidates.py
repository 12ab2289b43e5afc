"""Schedules worth measuring for a nest: the chosen one, and what differs from it in one decision.

Other register tiles near the best estimates, other axes for vectors and rows, other loop orders and blocks, other numbers of unrolled
steps and partial sums; tiles that are estimated best come first. All are legal, each is listed once.

    [print_schedule(nest, plan) for plan in candidates(nest, target)]      # the first is schedule(nest, target)
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import permutations
from typing import Any

from edgec.kernel import Axis
from edgec.passes.in_order import channel_block
from edgec.passes.legal import illegal, wide_axes
from edgec.passes.nest import Nest
from edgec.passes.schedule import MAX_POINTS, Schedule, arranged, row_axis, schedule, tile_choices, vector_cost, widest
from edgec.passes.schedule_text import print_schedule

SLOWER = 1.4      # tiles that are estimated to take longer than this by the best are not worth a measurement
TILES = 24        # tiles of one pair of axes
COUNTS = (1, 2, 4, 8)
COST = 4.0        # axes whose vectors need this many times the memory accesses are not considered


def candidates(nest: Nest, target: Any, around: Schedule | None = None) -> list[Schedule]:
    """The schedules to measure, the chosen one first; `around` gives another one to differ from."""
    first = schedule(nest, target)
    if nest.is_update:
        return [first]
    found: dict[str, Schedule] = {}
    start = around or first
    for plan in (first, start, *_variants(nest, target, start)):
        if not illegal(nest, plan, target):
            found.setdefault(print_schedule(nest, plan), plan)
    return list(found.values())


def _variants(nest: Nest, target: Any, start: Schedule) -> Iterator[Schedule]:
    yield from _tiles(nest, target, start)
    yield from _counts(nest, target, start)
    yield from _orders(nest, target, start)
    yield from _axes(nest, target, start)


def _tiles(nest: Nest, target: Any, start: Schedule) -> Iterator[Schedule]:
    """Other rows and vectors along the same axes."""
    for rows, vectors in _tile_sizes(nest, target, start.vector, start.row):
        plan = arranged(nest, target, start.vector, start.row, rows, vectors, start.reduce_vector)
        yield plan
        if (plan.outer, plan.middle, plan.block) != (start.outer, start.middle, start.block):
            yield replace(plan, outer=start.outer, middle=start.middle, block=start.block)


def _tile_sizes(nest: Nest, target: Any, vector: Axis | None, row: Axis | None) -> list[tuple[int, int]]:
    lanes = target.lanes(widest(nest))
    if nest.domains:
        tiles = sorted(tile_choices(nest, target, vector, row, lanes), key=lambda t: t.cycles)
        return [(t.rows, t.vectors) for t in tiles if t.cycles <= SLOWER * tiles[0].cycles][:TILES]
    columns = -(-vector.extent // lanes) if vector is not None else 1
    most = min(row.max_extent, MAX_POINTS) if row is not None else 1
    return [(r, v) for v in COUNTS if v <= columns for r in COUNTS if r <= most and r * v <= MAX_POINTS]


def _counts(nest: Nest, target: Any, start: Schedule) -> Iterator[Schedule]:
    """Other numbers of partial sums and unrolled steps."""
    if not nest.domains:
        return
    points = start.rows * max((len(s.piece.lanes) for s in start.segments), default=1)
    for partials in COUNTS:
        if points * partials <= max(target.registers, points):
            for unroll in sorted({partials, *COUNTS, start.unroll, target.lanes(32)}):
                if unroll >= partials and unroll * points <= 8 * MAX_POINTS:
                    yield replace(start, partials=partials, unroll=unroll)


def _orders(nest: Nest, target: Any, start: Schedule) -> Iterator[Schedule]:
    """Other orders of the loops around the tiles, other blocks."""
    rest = [a for a in nest.axes if a is not start.vector and a is not start.row]
    for order in permutations(rest) if len(rest) <= 3 else [tuple(rest)]:
        for cut in range(len(order) + 1):
            yield replace(start, outer=tuple(order[:cut]), middle=tuple(order[cut:]), block=0)
    for axis in rest:
        if isinstance(axis.extent, int) and axis.extent > 2:
            blocks = {start.block // 2, start.block * 2} if start.block else {n for n in (4, 16, 64) if 2 * n <= axis.extent}
            for block in sorted(blocks - {0}):
                if block < axis.extent:
                    yield replace(start, outer=tuple(a for a in rest if a is not axis), middle=(axis,), block=block)


def _axes(nest: Nest, target: Any, start: Schedule) -> Iterator[Schedule]:
    """Other axes for vectors and rows, each with its best tiles; a reduction in vectors; points one at a time."""
    lanes = target.lanes(widest(nest))
    static = [a for a in nest.axes if isinstance(a.extent, int) and a.extent > 1]
    costs = {a: vector_cost(nest, a, lanes, channel_block(target)) for a in static}
    limit = COST * min(costs.values(), default=0.0)
    for vector in sorted((a for a in static if costs[a] <= limit), key=costs.__getitem__):
        own = row_axis(nest, vector)
        others = [a for a in nest.axes if a is not vector and a is not own and a.max_extent > 1]
        for row in (own, *others, None) if vector is start.vector else (own, None):
            if (vector, row) != (start.vector, start.row):
                for rows, vectors in _tile_sizes(nest, target, vector, row)[:4]:
                    yield arranged(nest, target, vector, row, rows, vectors, None)
    for wide in wide_axes(nest, lanes) if lanes > 1 else []:
        row = row_axis(nest, None)
        for rows, vectors in _tile_sizes(nest, target, None, row)[:4]:
            yield arranged(nest, target, None, row, rows, vectors, wide)
