"""Cuts the row axis of a register tile into whole tiles and one smaller tile, borders apart from the interior.

    56 columns in tiles of 14 where columns 0 and 55 touch a border  ->  tile 0 | loop over tiles 1, 2 | tile 3
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from edgec.expr import Expr, const, dim
from edgec.kernel import Axis
from edgec.linear import coefficient
from edgec.passes.nest import Nest
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
    low, high = _interior(nest, row)
    first, last = min(count, -(-low // rows)), max(0, min(count, high // rows))
    if last < first:
        first = last = count
    static = [*range(first), *range(last, count)]
    tail = [_static(count * rows, rest)] if rest else []
    if len(static) > MAX_STATIC:
        return [RowTile(0, count * rows, rows, False), *tail]
    inner = [RowTile(first * rows, last * rows, rows, False)] if last - first > 1 else [_static(first * rows, rows)] if last > first else []
    return [*(_static(t * rows, rows) for t in range(first)), *inner, *(_static(t * rows, rows) for t in range(last, count)), *tail]


def _static(start: int, rows: int) -> RowTile:
    return RowTile(const(start, index), const(start + rows, index), rows, True)


def _interior(nest: Nest, row: Axis) -> tuple[int, int]:
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
