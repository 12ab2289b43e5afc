"""Kernel -> Loops: the one tiling pass, for every operator and every target.

A nest is walked in register tiles of rows x vectors. Reductions run innermost over all points of a tile at once, each point with its own
accumulator registers; the epilogue and the store follow. Borders are peeled: tiles whose reads may leave a buffer are written out with
only the taps that count, loops that a border depends on get clamped bounds, and the interior is free of tests.

    y[o,x] = relu(sum_over(c; x[c,x] * w[o,c]))
    ->  for t: for u: acc[r][j] = 0; for c: acc[r][j] = mul_add(x[c, 14u+r], table[t, c, 16j..], acc[r][j]); store relu(acc)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from edgec.expr import Expr, as_expr, binary, const, fresh, inside_pairs, is_const
from edgec.kernel import Axis, Buffer, Kernel, Stage
from edgec.linear import coefficient
from edgec.loops import Block, For, If, Loops, Param, Register, Stmt, Store, expressions, flattened, iota, lane, load, splat, statements
from edgec.passes.activations_ahead import ends_asked, rows_ahead
from edgec.passes.bits import bits
from edgec.passes.blocks import runs
from edgec.passes.conversions import conversions
from edgec.passes.dealt_rows import dealt_rows
from edgec.passes.dealt_windows import dealt_windows
from edgec.passes.dots import dots
from edgec.passes.first_terms import first_terms
from edgec.passes.halves import planned as in_halves
from edgec.passes.loads_ahead import loads_ahead
from edgec.passes.matrix_sums import MatrixSums, in_matrices
from edgec.passes.nest import Nest, Result, flatten
from edgec.passes.pack import Tables, pack
from edgec.passes.points import KStep, Point, all_inside, instantiate, scalar_point
from edgec.passes.prefetch import Ahead, ahead
from edgec.passes.reductions import Reduction, reduce_order
from edgec.passes.rows import RowTile, border_parts, row_tiles
from edgec.passes.scalar_runs import scalar_runs
from edgec.passes.schedule import Schedule, schedule
from edgec.passes.segments import Piece, Segment
from edgec.passes.short_sums import short_sums
from edgec.passes.slots import independent
from edgec.passes.there_and_back import pairs, walks_back
from edgec.sweeps import substitute, transform, walk
from edgec.types import index

MIN_TESTS, MAX_TESTS = 3, 32  # so many border tests in one tile are worth a copy of it without them
Inner = Callable[[], list[Stmt]]


@dataclass(frozen=True, eq=False)
class Tiled:
    """Finished loops and the buffer behind each of their parameters; `pieces` and `parallel` say how the work may be cut (see cut.py)."""

    loops: Loops
    buffers: tuple[Buffer, ...]
    pieces: tuple[Stmt, ...] = ()            # the same statements, each register tile that stands among others in a Block of its own
    parallel: frozenset[Expr] = frozenset()  # the variables of loops whose iterations do not depend on each other
    tables: Tables | None = None             # what became of the constants


def tile(kernel: Kernel, target: Any, *, choose: Callable[[Nest, Any], Schedule] = schedule, inside: int = 0,
         backward: bool = False) -> Tiled:
    """The loops of a kernel for a target's description; `choose(nest, target)` gives the schedule of each stage.

    The innermost `inside` of the kernel's repeats become loops of its own. `backward` is how every other step of a sequence is walked
    (there_and_back.py).
    """
    roots = [e for s in kernel.stages for e in (s.value, *s.indices, *(e for pair in s.guards for e in pair))]
    reads = [n.data.root for n in walk(*roots) if n.op == "read"]
    written = [s.target.root for s in kernel.stages]
    tables = Tables(list(dict.fromkeys([*written, *reads])), written, target.max_flash_growth)
    groups = walked_together(kernel.stages)
    parallel = {axis.var for axis in kernel.axes}

    def prepared(group: Sequence[Stage], axes: tuple[Axis, ...]) -> Nest:
        return conversions(first_terms(dots(flatten(group, axes, tables.params), target, tables), target), tables, target)

    @cache
    def planned(number: int) -> tuple[Nest, Schedule]:
        nest = prepared(groups[number], groups[number][0].axes)
        return in_halves(nest, target, choose)

    def step(backward: bool) -> list[Stmt]:
        plans = [planned(number) for number in range(len(groups))]
        return flattened([s for nest, plan in plans for s in _Tiler(nest, plan, target, tables, backward).statements()])

    def walks(group: Sequence[Stage], axes: tuple[Axis, ...]) -> list[Stmt]:
        tiler = _Tiler(*in_halves(prepared(group, axes), target, choose), target, tables, backward)
        body = tiler.statements()
        parallel.update(tiler.parallel if len(groups) == 1 else ())
        return body

    def in_turn(groups: Sequence[Sequence[Stage]]) -> tuple[Stmt, ...]:
        return flattened([s for group in groups for s in walks(group, group[0].axes)])

    if inside and walks_back(kernel, target):
        outer = kernel.repeat[len(kernel.repeat) - inside:-1]
        return _finish(kernel, _wrap(outer, pairs(kernel.repeat[-1], step)), tables, frozenset(), target)
    if kernel.block:
        inner: list[Stmt] = []
        for run in runs(kernel.axes[-1], kernel.block):
            whole = run.loop([Block(in_turn([run.stages(group, kernel.axes[-1]) for group in groups]))])
            parallel.update(s.var for s in whole if isinstance(s, For))
            inner += whole
        body = _wrap(kernel.axes[:-1], inner)
    elif len(groups) == 1:
        body = walks(groups[0], (*kernel.axes, *groups[0][0].axes))
    else:
        body = _wrap(kernel.axes, in_turn(groups))
    if inside:
        return _finish(kernel, _wrap(kernel.repeat[-inside:], flattened(body)), tables, frozenset(), target)
    return _finish(kernel, body, tables, frozenset(() if _is_ordered(kernel) else parallel), target)


def _is_ordered(kernel: Kernel) -> bool:
    """Whether points may meet in one element: where a stage merges, or stores at a place that it reads somewhere."""
    return any(s.combine or any(n.op == "read" for n in walk(*s.indices)) for s in kernel.stages)


def walked_together(stages: Sequence[Stage]) -> list[list[Stage]]:
    """Neighbouring stages over the very same axes, of which none reads what another of them stores, are one walk."""
    groups: list[list[Stage]] = []
    for stage in stages:
        last = groups[-1] if groups else []
        same = last and len(last[0].axes) == len(stage.axes) and all(a is b for a, b in zip(last[0].axes, stage.axes))
        if same and all(independent(s, stage) for s in last) and not stage.combine and not last[0].combine:
            last.append(stage)
        else:
            groups.append([stage])
    return groups


def _wrap(axes: Sequence[Axis], body: Sequence[Stmt]) -> list[Stmt]:
    for axis in reversed(axes):
        body = [For(axis.var, const(0, index), as_expr(axis.extent, index), 1, tuple(body))]
    return list(body)


def _finish(kernel: Kernel, pieces: list[Stmt], tables: Tables, parallel: frozenset[Expr], target: Any) -> Tiled:
    pieces = short_sums(scalar_runs(dealt_windows(bits(pieces, tables), target), target), tables, target)
    pieces = loads_ahead(dealt_rows(pieces, target), target)
    body = flattened(pieces)
    everything = [e for s in statements(body) for e in expressions(s)]
    nodes = walk(*everything)
    touched = {n.data[0] for n in nodes if n.op == "load"} | {s.param for s in statements(body) if isinstance(s, Store)}
    used = tables.used(touched)
    bound = {s.var for s in statements(body) if isinstance(s, For)}
    symbols = sorted({v for n in nodes if n.op == "var" for v in n.free} - bound, key=lambda v: v.serial)
    loops = Loops(kernel.name, tuple(p for _, p in used), tuple(symbols), body)
    return Tiled(loops, tuple(b for b, _ in used), tuple(pieces), parallel, tables)


class _Tiler:
    """Writes the loops of one nest under one schedule."""

    def __init__(self, nest: Nest, plan: Schedule, target: Any, tables: Tables, backward: bool = False):
        """`backward` walks vector tiles and reductions from their ends, where that is all the same."""
        self.nest, self.plan, self.target, self.tables, self.backward = nest, plan, target, tables, backward
        self.orders = {node: reduce_order(nest, d, plan, target) for node, d in nest.domains.items()}
        self.fixed: dict[Expr, Expr] = {}  # what the variables of axes that are walked in parts stand for
        self.counter = 0
        self.parallel: set[Expr] = set()

    # ------------------------------------------------------------------------------------------------------ loops of a nest

    def statements(self) -> list[Stmt]:
        plan = self.plan
        if not plan.block:
            return self._loops(plan.outer, self._vector_tiles)
        blocked = plan.middle[0]
        start = fresh("b", 0, blocked.max_extent - 1)
        stop = binary("min", start + plan.block, blocked.extent)
        self.block_range = {blocked: (start, stop)}
        body = self._loops(plan.outer, self._vector_tiles)
        return [self._parallel(For(start, const(0, index), as_expr(blocked.extent, index), plan.block, tuple(body)))]

    def _parallel(self, loop: For) -> For:
        self.parallel.add(loop.var)
        return loop

    block_range: dict[Axis, tuple[Expr, Expr]] = {}
    ahead: Ahead | None = None      # what the tiles of the segment ask for, of weights
    rows_ahead: Expr | None = None  # and of rows

    def _loops(self, axes: Sequence[Axis], inner: Inner) -> list[Stmt]:
        if not axes:
            return inner()
        axis, rest = axes[0], axes[1:]
        start, stop = self.block_range.get(axis, (const(0, index), as_expr(axis.extent, index)))
        parts = [] if axis in self.block_range or self.target.compact else border_parts(self.nest, axis)
        if not parts:
            return [self._parallel(For(axis.var, start, stop, 1, tuple(self._loops(rest, inner))))]
        body, around = list[Stmt](), self.fixed
        for part in parts:
            self.fixed = {**around, axis.var: part.var}
            walked = self._loops(rest, inner)
            body += [self._parallel(For(part.var, part.start, part.stop, part.step, tuple(walked)))] if part.step else walked
        self.fixed = around
        return body

    def _vector_tiles(self) -> list[Stmt]:
        if self.plan.vector is None:
            return self._loops(self.plan.middle, lambda: self._row_tiles(self.nest, [Point(self.fixed)]))
        body: list[Stmt] = []
        for segment in reversed(self.plan.segments) if self.backward else self.plan.segments:
            body.extend(self._segment(segment))
        return body

    def _segment(self, segment: Segment) -> list[Stmt]:
        packed = segment if self.plan.reduce_vector is None else Segment(0, self.plan.vector.extent, Piece((1,), 1))
        deal, copies = self.target.dealt_vectors, self.plan.unroll
        nest = self.nest
        if nest.domains:
            nest = pack(nest, packed, self.plan.vector, self.orders, self.tables, deal, copies, self.plan.outer)
        self.ahead = None if self.backward else ahead(nest, self.plan, segment, self.tables, self.target)
        self.rows_ahead = None if self.backward else rows_ahead(nest, self.plan, self.target)
        number = fresh("t", 0, segment.count - 1) if segment.count > 1 else const(0, index)
        place = segment.count - 1 - number if self.backward else number
        body = self._loops(self.plan.middle, lambda: self._row_tiles(nest, self._columns(segment, place)))
        return body if segment.count == 1 else [self._parallel(For(number, const(0, index), const(segment.count, index), 1, tuple(body)))]

    def _columns(self, segment: Segment, number: Expr) -> list[Point]:
        base = number * segment.piece.width + segment.start
        columns, at = [], 0
        for k, lanes in enumerate(segment.piece.lanes):
            last = k == len(segment.piece.lanes) - 1
            where = base + at + iota(lanes) if lanes > 1 else base + at
            columns.append(Point({**self.fixed, self.plan.vector.var: where}, lanes, segment.piece.active if last else lanes))
            at += lanes
        return columns

    def _row_tiles(self, nest: Nest, columns: list[Point]) -> list[Stmt]:
        row = self.plan.row
        if row is None:
            return [Block(tuple(self._tile(nest, columns)))]
        body: list[Stmt] = []
        for part in row_tiles(nest, row, self.plan.rows):
            body.extend(self._row_tile(nest, columns, part, row))
        return body

    def _row_tile(self, nest: Nest, columns: list[Point], part: RowTile, row: Axis) -> list[Stmt]:
        start, stop = as_expr(part.start, index), as_expr(part.stop, index)
        # The interval of the variable is what tells the interior from borders.
        first = start if part.static else fresh("u", start.lo, max(start.lo, stop.hi - part.rows))
        points = [c.bind({row.var: first + r}) for r in range(part.rows) for c in columns]
        body = self._tile(nest, points)
        return [Block(tuple(body))] if part.static else [self._parallel(For(first, start, stop, part.rows, tuple(body)))]

    # ------------------------------------------------------------------------------------------------------ one register tile

    def _tile(self, nest: Nest, points: list[Point]) -> list[Stmt]:
        body: list[Stmt] = ends_asked(nest, points, self.target)
        values = self.values(nest, nest.values, points, body, None)
        tests = _open_tests([v for at_point in values for v in at_point])
        if not MIN_TESTS <= len(tests) <= MAX_TESTS:
            return body + self._stores(nest, points, values)
        # Where every read is in range, one test stands for all of them.
        inner = [[_untested(v, tests) for v in at_point] for at_point in values]
        condition = all_inside(tests)
        body.append(If(condition, tuple(self._stores(nest, points, inner)), tuple(self._stores(nest, points, values))))
        return body

    def _stores(self, nest: Nest, points: list[Point], values: list[list[Expr]]) -> list[Stmt]:
        pairs = [(point, result, value) for point, at_point in zip(points, values) for result, value in zip(nest.results, at_point)]
        return [statement for point, result, value in pairs for statement in _result(result, value, point)]

    def values(self, nest: Nest, roots: Sequence[Expr], points: list[Point], body: list[Stmt], step: KStep | None) -> list[list[Expr]]:
        """Every root at every point; the loops of their reductions go to `body` first."""
        replaced: list[dict[Expr, Expr]] = [{} for _ in points]
        nodes = _outer_reductions(roots, nest)
        free = not any(n.op == "reduce" for node in nodes for n in walk(*nest.domains[node].init))
        for node in reversed(nodes) if self.backward and free else nodes:
            results = self._shared(nest, node, points, body)
            for mine, result in zip(replaced, results):
                mine.update(result)
        return [[instantiate(root, p, r, step) for root in roots] for p, r in zip(points, replaced)]

    def _shared(self, nest: Nest, node: Expr, points: list[Point], body: list[Stmt]) -> list[dict[Expr, Expr]]:
        """A reduction at every point, computed once for points that do not differ in what it depends on."""
        keys = [tuple(id(p.env[v]) for v in p.env if v in node.free) for p in points]
        distinct: dict[tuple, Point] = {}
        for key, p in zip(keys, points):
            wide = any(p.env[v].lanes > 1 for v in p.env if v in node.free)
            distinct.setdefault(key, p if wide else Point({v: e for v, e in p.env.items() if e.lanes == 1}))
        results = dict(zip(distinct, self._reduce(nest, node, list(distinct.values()), body)))
        return [results[key] for key in keys]

    def _reduce(self, nest: Nest, node: Expr, points: list[Point], body: list[Stmt]) -> list[dict[Expr, Expr]]:
        matrix = in_matrices(nest.domains[node], self.plan, self.target)
        made = MatrixSums(self, nest, node, points, matrix) if matrix else Reduction(self, nest, node, points)
        return made.emit(body)

    def register(self, dtype: Any, lanes: int) -> Register:
        self.counter += 1
        return Register(f"{self.nest.results[0].target.name}.acc{self.counter}", dtype, lanes)


def _result(result: Result, value: Expr, point: Point) -> list[Stmt]:
    """The store of one result at one point, tested where its guards may fail; an update merges with what is there."""
    offset = instantiate(result.offset, point, {})
    if result.combine:
        value = binary(result.combine, load(result.target, offset), value)
    stores = _store(result, offset, value, point)
    condition = all_inside([(instantiate(i, point, {}), instantiate(e, point, {})) for i, e in result.guards])
    if is_const(condition):
        return stores if condition.data else []
    if condition.lanes > 1:
        return _stores_by_lane(result.target, offset, splat(value, condition.lanes), condition, point.active)
    return [If(condition, tuple(stores))]


def _stores_by_lane(target: Param, offset: Expr, value: Expr, condition: Expr, active: int) -> list[Stmt]:
    """A vector of which the condition may hold in some lanes only: each is tested and stored by itself."""
    lanes, found = iota(condition.lanes), []
    for k in range(active):
        test, at = (substitute(e, {lanes: const(k, index)}) for e in (condition, offset))
        if not is_const(test, False):
            store = Store(target, at, lane(value, k))
            found.append(store if is_const(test) else If(test, (store,)))
    return found


def _open_tests(values: Sequence[Expr]) -> list[tuple[Expr, Expr]]:
    """The distinct scalar tests of the `inside` nodes of some values."""
    pairs = [pair for n in walk(*values) if n.op == "inside" for pair in inside_pairs(n)]
    return list(dict.fromkeys(p for p in pairs if p[0].lanes == 1))


def _untested(value: Expr, tests: Sequence[tuple[Expr, Expr]]) -> Expr:
    """A value where the tests are known to hold."""
    known = set(tests)
    return transform((value,), lambda n: n.args[0] if n.op == "inside" and known.issuperset(inside_pairs(n)) else None)[0]


def _outer_reductions(roots: Sequence[Expr], nest: Nest) -> list[Expr]:
    """The reduce nodes that expressions use other than within the body of another one, in evaluation order."""
    found: dict[Expr, None] = {}
    seen: set[int] = set()
    stack = list(reversed(roots))
    while stack:
        node = stack.pop()
        if id(node) not in seen:
            seen.add(id(node))
            stack.extend(nest.domains[node].init if node.op == "reduce" else node.args)
            if node.op == "reduce":
                found[node] = None
    return [n for n in walk(*roots) if n in found]


def _store(result: Result, offset: Expr, value: Expr, point: Point) -> list[Stmt]:
    """The store of one point: a vector where lanes are neighbours, else lane by lane."""
    if offset.lanes == 1:
        return [Store(result.target, offset, value)]
    lanes = iota(offset.lanes)
    value = splat(value, offset.lanes)
    if coefficient(offset, lanes) == 1:
        return [Store(result.target, offset - lanes, value, 0 if point.active == point.lanes else point.active)]
    return [Store(result.target, instantiate(result.offset, scalar_point(point, k), {}), lane(value, k)) for k in range(point.active)]
