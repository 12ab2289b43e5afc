"""Cuts the row axis of a register tile into whole tiles and one smaller tile, borders apart from the interior.

    56 columns in tiles of 14 where columns 0 and 55 touch a border  ->  tile 0 | loop over tiles 1, 2 | tile 3
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

from edgec.expr import Expr, const, dim, fresh
from edgec.kernel import Axis
from edgec.linear import coefficient
from edgec.passes.nest import Nest
from edgec.passes.schedule import UNROLL_LIMIT
from edgec.types import index

MAX_STATIC = 16  # border tiles written out at most; more of them are looped over with tests


@dataclass(frozen=True, eq=False)
class RowTile:
    """`rows` rows at once from `start` to `stop`; static: written out at the number `start`."""

    start: Any
    stop: Any
    rows: int
    static: bool


def row_tiles(nest: Nest, row: Axis, rows: int) -> list[RowTile]:
    """The tiles of the row axis in order."""
    if not isinstance(row.extent, int):
        whole = dim(row.extent // rows * rows)
        return [RowTile(0, whole, rows, False), *([RowTile(whole, row.extent, 1, False)] if rows > 1 else [])]
    count, rest = divmod(row.extent, rows)
    low, high = interior(nest, row)
    first, last = min(count, -(-low // rows)), max(0, min(count, high // rows))
    if last < first:
        first = last = count
    static = [*range(first), *range(last, count)]
    tail = [_static(count * rows, rest)] if rest else []
    if len(static) > MAX_STATIC:
        return [RowTile(0, count * rows, rows, False), *tail]
    inner = [RowTile(first * rows, last * rows, rows, False)] if last - first > 1 else [_static(first * rows, rows)] if last > first else []
    return [*(_static(t * rows, rows) for t in range(first)), *inner, *(_static(t * rows, rows) for t in range(last, count)), *tail]


@dataclass(frozen=True, eq=False)
class Part:
    """Points of an axis around the register tile: a loop of `step` over a variable of its own, or one point (`var` a number, step 0)."""

    var: Expr
    start: Expr
    stop: Expr
    step: int


def border_parts(nest: Nest, axis: Axis) -> list[Part]:
    """Border points of an axis apart from its interior, where that lets a short reduction be written out; [] to walk it as one."""
    if not isinstance(axis.extent, int) or not _written_out_inside(nest, axis):
        return []
    low, high = interior(nest, axis)
    if high - low < 2 or (low, high) == (0, axis.extent):
        return []
    if (low, high) == (1, axis.extent - 1):  # both ends are one loop of two turns
        return [_part(0, axis.extent, axis.extent - 1), _part(low, high, 1)]
    return [_part(start, stop, 1) for start, stop in ((0, low), (low, high), (high, axis.extent)) if stop > start]


def _part(start: int, stop: int, step: int) -> Part:
    first, past = const(start, index), const(stop, index)
    return Part(first, first, past, 0) if stop - start == 1 else Part(fresh("y", start, stop - 1), first, past, step)


def _written_out_inside(nest: Nest, axis: Axis) -> bool:
    """Whether guards on this axis keep every reduction from being written out, and none shares operands along some axis (a contraction)."""
    if not nest.domains:
        return False
    for d in nest.domains.values():
        size = prod(e.data if e.op == "const" else UNROLL_LIMIT + 1 for e in d.extents)
        if size > UNROLL_LIMIT or not any(axis.var in i.free for i, _ in d.guards):
            return False
    return True


def _static(start: int, rows: int) -> RowTile:
    return RowTile(const(start, index), const(start + rows, index), rows, True)


def interior(nest: Nest, row: Axis) -> tuple[int, int]:
    """[low, high): rows at which every guard that depends on the row holds for all values of everything else."""
    low, high = 0, row.extent
    for domain in nest.domains.values():
        for i, extent in domain.guards:
            c = coefficient(i, row.var) if row.var in i.free else 0
            if row.var in i.free and not c:
                return row.extent, row.extent
            if c and c > 0:
                low, high = _narrow(low, high, i - row.var * c, c, extent)
            elif c:
                return row.extent, row.extent
    return low, max(low, high)


def _narrow(low: int, high: int, rest: Expr, c: int, extent: Expr) -> tuple[int, int]:
    least = -(rest.lo // c) if rest.lo < 0 else 0
    past = (extent.lo - 1 - rest.hi) // c + 1
    return max(low, least), min(high, past)
