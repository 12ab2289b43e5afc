"""Cuts the last outer axis of a kernel into blocks of points that go through its stages together, and a smaller block at the end.

The points of a block become an axis of every stage, so a row of a softmax no longer waits for its own sum: eight rows are summed side by
side, and a block of queries fills vectors. Scratch has a slot per point (index i % block), which is the position in the block.

    i < 197 in blocks of 48   ->   b < 4: i = 48*b + n, n < 48   |   i = 192 + n, n < 5
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from edgec.expr import Expr, as_expr, const, dim, fresh
from edgec.kernel import Axis, Stage
from edgec.loops import For, Stmt
from edgec.sweeps import substitute
from edgec.types import index


@dataclass(frozen=True, eq=False)
class Run:
    """Blocks of one size: where the loop over them starts and stops, and the axis' value at position `place` of a block."""

    variable: Expr | None  # of the loop; None for a single block
    start: Expr
    stop: Expr
    size: int
    axis: Expr             # what `Axis.var` of the blocked axis stands for
    place: Axis | None     # the position in the block; None in blocks of one point

    def stages(self, group: Sequence[Stage], blocked: Axis) -> list[Stage]:
        """Stages of one walk, moved to a block: its points come first among their axes; stages that do not depend on them have none."""
        moved = {blocked.var: self.axis}
        depend = any(blocked.var in e.free for s in group for e in (s.value, *s.indices))
        places = (self.place,) if self.place is not None and depend else ()
        axes = (*places, *group[0].axes)
        return [replace(s, axes=axes, value=substitute(s.value, moved), indices=tuple(substitute(i, moved) for i in s.indices),
                        guards=tuple((substitute(i, moved), substitute(e, moved)) for i, e in s.guards)) for s in group]

    def loop(self, body: Sequence[Stmt]) -> list[Stmt]:
        """The blocks' statements within their loop."""
        return list(body) if self.variable is None else [For(self.variable, self.start, self.stop, 1, tuple(body))]


def runs(blocked: Axis, block: int) -> list[Run]:
    """The blocks of an axis in order. An open extent ends in single points."""
    if not isinstance(blocked.extent, int):
        whole, last = dim(blocked.extent // block), blocked.extent.hi
        one = fresh("b", 0, last - 1)
        rest = Run(one, as_expr(dim(whole * block), index), as_expr(blocked.extent, index), 1, one, None)
        return [_run(0, whole, block), rest] if last >= block else [rest]
    whole, rest = divmod(blocked.extent, block)
    return ([_run(0, whole, block)] if whole else []) + ([_run(whole * block, 1, rest)] if rest else [])


def _run(start: int, count: int | Expr, size: int) -> Run:
    place = Axis(fresh("n", 0, size - 1), size) if size > 1 else None
    inner = place.var if place is not None else const(0, index)
    if isinstance(count, int) and count == 1:
        return Run(None, const(0, index), const(1, index), size, inner + start, place)
    number = fresh("b", 0, (count if isinstance(count, int) else count.hi) - 1)
    return Run(number, const(0, index), as_expr(count, index), size, number * size + inner + start, place)
