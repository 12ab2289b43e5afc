"""The loops of a reduction whose products an instruction multiplies as small matrices: several rows and columns of the tile at once.

Neighbouring rows of a tile share their columns, so that their words of k make the first matrix; the words of neighbouring lanes of a vector
make the second. Each register holds one block of sums, row by row; behind the loops the sums of each point are put together from blocks.

    acc[r][o] += dot(x[r, k : 8], w[o, k : 8])     r < 2, o < 4
    ->  block0 = dot_block(block0, [x0, x1], [w0, w1]);  block1 = dot_block(block1, [x0, x1], [w2, w3])
        point r = [block0[2*r], block0[2*r + 1], block1[2*r], block1[2*r + 1]]
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edgec.backends.instruction import Dot
from edgec.backends.llvm_dots import matrix_row
from edgec.expr import Expr, const, dot_block, inside
from edgec.loops import Let, Stmt, get, iota, lane, vector
from edgec.passes.nest import Domain, Nest
from edgec.passes.points import KStep, Point, instantiate
from edgec.passes.reductions import Reduction
from edgec.passes.schedule import Schedule
from edgec.sweeps import substitute

Tests = list[tuple[Expr, Expr]]


def in_matrices(domain: Domain, plan: Schedule, target: Any) -> Dot | None:
    """The row that multiplies the words of a reduction under a schedule: its vectors have to run along the second words alone."""
    body = domain.body[0]
    if body.op != "dot" or plan.vector is None or plan.reduce_vector is not None:
        return None
    lanes, (_, rows, columns) = plan.vector.var, body.args
    fits = lanes in columns.free and lanes not in rows.free and not any(lanes in i.free for i, _ in domain.guards)
    return matrix_row(target, body) if fits else None


class MatrixSums(Reduction):
    """The loops of one reduction in blocks of sums."""

    def __init__(self, tiler: Any, nest: Nest, node: Expr, points: list[Point], matrix: Dot):
        super().__init__(tiler, nest, node, points)
        self.matrix = matrix
        self.groups = _together(points, tiler.plan.vector.var, matrix.rows)
        self.blocks = [{(g, c): tiler.register(node.dtype, matrix.rows * matrix.lanes)
                        for g, group in enumerate(self.groups) for c in range(-(-points[group[0]].active // matrix.lanes))}
                       for _ in range(self.partials)]

    def emit(self, body: list[Stmt]) -> list[dict[Expr, Expr]]:
        """Append initialisation, loops and merging; give what the reduction is replaced by, per point."""
        for copy, blocks in enumerate(self.blocks):
            for (g, c), register in blocks.items():
                body.append(Let(register, self._start(g, c) if copy == 0 else vector([const(0, register.dtype)] * register.lanes)))
        self._axes(body, self.order, {}, frozenset(self._always()), None)
        for blocks in self.blocks[1:]:
            for key, register in self.blocks[0].items():
                body.append(Let(register, get(register) + get(blocks[key])))
        values = {n: self._value(g, m) for g, group in enumerate(self.groups) for m, n in enumerate(group)}
        return [{self.node: values[n]} for n in range(len(self.points))]

    def _start(self, g: int, c: int) -> Expr:
        """The initial value of a block: that of each of its rows, of the last one again where rows are missing."""
        members = self.groups[g]
        points = [self.points[members[min(m, len(members) - 1)]] for m in range(self.matrix.rows)]
        starts = [instantiate(self.domain.init[0], self._columns(p, c), {}) for p in points]
        return vector([lane(s, min(n, s.lanes - 1)) if s.lanes > 1 else s for s in starts for n in range(self.matrix.lanes)])

    def _value(self, g: int, m: int) -> Expr:
        """All sums of one point; lanes that are not real have the last one."""
        point, columns = self.points[self.groups[g][m]], self.matrix.lanes
        at = lambda n: lane(get(self.blocks[0][g, n // columns]), m * columns + n % columns)
        lanes = [at(min(n, point.active - 1)) for n in range(point.lanes)]
        return vector(lanes) if point.lanes > 1 else lanes[0]

    def _columns(self, point: Point, c: int) -> Point:
        """The point of some neighbouring lanes of a vector."""
        if point.lanes == 1:
            return point
        count, first = self.matrix.lanes, self.matrix.lanes * c
        part = {iota(point.lanes): iota(count) + first}
        return Point({v: substitute(e, part) for v, e in point.env.items()}, count, min(count, point.active - first))

    def _accumulate(self, body: list[Stmt], env: dict[Expr, Expr], met: frozenset[int], step: KStep | None, copy: int,
                    registers: Any, lanes: int = 0, active: int = 0) -> None:
        """One step of all blocks, column by column: what is loaded of a column is used by all rows."""
        points = [p.bind(env) for p in self.points]
        tests = [self._guards_at(p, met) for p in points]
        kept = [(g, group) for g, group in enumerate(self.groups) if any(tests[n] is not None for n in group)]
        rows = {g: self._rows([points[n] for n in group], [tests[n] for n in group], step) for g, group in kept}
        blocks = self.blocks[copy % len(self.blocks)]
        for c in range(max((c + 1 for _, c in blocks), default=0)):
            for g, group in kept:
                if (g, c) in blocks:
                    words = instantiate(self.domain.body[0].args[2], self._columns(points[group[0]], c), {}, step)
                    body.append(Let(blocks[g, c], dot_block(get(blocks[g, c]), rows[g], self._filled(words))))

    def _rows(self, points: Sequence[Point], tests: Sequence[Tests | None], step: KStep | None) -> Expr:
        """The words of a group's rows; zero for one that does not count."""
        word = self.domain.body[0].args[1]
        zero = const(0, word.dtype)
        found = [zero if state is None else inside(state, instantiate(word, p, {}, step), zero) for p, state in zip(points, tests)]
        return vector(found + [found[-1]] * (self.matrix.rows - len(found)))

    def _filled(self, words: Expr) -> Expr:
        """The words of as many columns as the row takes: a single one again and again."""
        return words if words.lanes > 1 else vector([words] * self.matrix.lanes)


def _together(points: Sequence[Point], columns_axis: Expr, most: int) -> list[list[int]]:
    """The numbers of points with the same columns, up to so many in a group."""
    columns: dict[Expr, list[int]] = {}
    for n, p in enumerate(points):
        columns.setdefault(p.env[columns_axis], []).append(n)
    return [found[start:start + most] for found in columns.values() for start in range(0, len(found), most)]
