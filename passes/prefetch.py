"""Asks for the packed weights of the next tile while the rows of this one are computed.

Between two calls of a model of any size its weights leave the caches, so each tile of them arrives at the speed of main memory. The first
block of rows would wait for that, and the others find the tile in the second-level cache. So every block of rows asks for its share of the
tile that follows, a little with each step of the sum; behind the last tile of a table lie the weights of the next kernel.

    for t: for rows u: for k: acc += x[u, k] * table[t, k, 0..48]
    ->  for t: for rows u: for k: acc += ...;  prefetch table[t + 1, (u * steps + k) * share]
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgec.expr import Expr, as_expr, const
from edgec.loops import Param, Prefetch, Stmt
from edgec.passes.nest import Domain, Nest
from edgec.passes.pack import Tables
from edgec.passes.points import Point, instantiate, scalar_point
from edgec.passes.schedule import Schedule
from edgec.passes.segments import Segment
from edgec.sweeps import walk
from edgec.types import index

LINE = 64           # bytes that one request brings
LEAST_BLOCKS = 3    # of rows: fewer cannot hide what they ask for
KEPT = 4            # tables smaller than this part of the second-level cache may still be there


@dataclass(frozen=True, eq=False)
class Ahead:
    """What one tile of vectors of a nest asks for: from where its table is read, the width of the tile, and the rows that share that."""

    read: Expr
    width: int
    vector: Expr
    row: Expr       # the position among all rows, by the variables of the loops around
    rows: int       # of the register tile
    all_rows: int

    def statements(self, domain: Domain, order: tuple[Expr, ...], point: Point, env: Mapping[Expr, Expr], copies: int) -> list[Stmt]:
        """Behind `copies` steps of the innermost loop over the reduction; `env` says where that is."""
        param: Param = self.read.data[0]
        steps, share = domain.steps, -(-self.width * self.rows // self.all_rows)
        here = scalar_point(point, 0).env
        beside = Point({**here, self.vector: here[self.vector] + self.width, **{v: const(0, index) for v in order}})
        step = as_expr(0, index)
        for v in order:
            step = step * domain.extents[domain.axes.index(v)].data + env[v]
        share_of_row = -(-self.width * steps // self.all_rows)
        place = instantiate(self.read.args[0], beside, {}) + instantiate(self.row, Point(here), {}) * share_of_row + step * share
        line = LINE // param.dtype.bytes
        return [Prefetch(param, place + n * line) for n in range(-(-share * copies // line))]


def ahead(nest: Nest, plan: Schedule, segment: Segment, tables: Tables, target: Any) -> Ahead | None:
    """What to ask for in the tiles of a segment whose constants are packed; None where that cannot help."""
    if not target.prefetches or target.compact or plan.row is None or plan.block or segment.count < 2:
        return None
    around = (*plan.middle, plan.row)
    reads = [n for d in nest.domains.values() if _plain(d) for b in d.body for n in walk(b) if n.op == "load"
             and n.data[0] in tables.made and plan.vector.var in n.free and not any(a.var in n.free for a in around)]
    if len(reads) != 1 or not all(isinstance(a.extent, int) for a in around):
        return None
    all_rows, row = 1, as_expr(0, index)
    for axis in around:
        all_rows, row = all_rows * axis.extent, row * axis.extent + axis.var
    size = reads[0].data[0].size * reads[0].data[0].dtype.bytes
    if all_rows < LEAST_BLOCKS * plan.rows or size * KEPT < target.l2_bytes:
        return None
    return Ahead(reads[0], segment.piece.width, plan.vector.var, row, plan.rows, all_rows)


def _plain(domain: Domain) -> bool:
    """Whether a reduction stands by itself and has sizes."""
    return not domain.is_nested and not domain.around and not domain.peeled and all(e.op == "const" for e in domain.extents)
