"""Kernel -> Loops: the one tiling pass, for every operator and every target.

A nest is walked in register tiles of rows x vectors. Reductions run innermost over all points of a tile at once, each point with its own
accumulator registers; the epilogue and the store follow. Borders are peeled: tiles whose reads may leave a buffer are written out with
only the taps that count, loops that a border depends on get clamped bounds, and the interior is free of tests.

    y[o,x] = relu(sum_over(c; x[c,x] * w[o,c]))
    ->  for t: for u: acc[r][j] = 0; for c: acc[r][j] = mul_add(x[c, 14u+r], table[t, c, 16j..], acc[r][j]); store relu(acc)
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Callable, Sequence

from edgec.expr import Expr, as_expr, binary, compare, const, fresh, inside, inside_pairs, is_const, mul_add, neutral, substitute, transform, walk
from edgec.expr import make as make_node
from edgec.kernel import Axis, Buffer, Kernel, Stage
from edgec.linear import coefficient
from edgec.loops import For, If, Let, Loops, Param, Register, Stmt, Store, expressions, get, horizontal, iota, lane, load, splat, statements, vector
from edgec.passes.nest import Domain, Nest, Result, flatten
from edgec.passes.pack import Tables, pack
from edgec.passes.points import KStep, Point, instantiate, scalar_point
from edgec.passes.rows import RowTile, row_tiles
from edgec.passes.schedule import UNROLL_LIMIT, Schedule, Segment, schedule
from edgec.types import bool_, index

MIN_TESTS, MAX_TESTS = 3, 32  # so many border tests in one tile are worth a copy of it without them
Inner = Callable[[], list[Stmt]]


@dataclass(frozen=True, eq=False)
class Tiled:
    """Finished loops and the buffer behind each of their parameters."""

    loops: Loops
    buffers: tuple[Buffer, ...]


def tile(kernel: Kernel, target: Any, *, choose: Callable[[Nest, Any], Schedule] = schedule) -> Tiled:
    """The loops of a kernel for a target's description; `choose(nest, target)` gives the schedule of each stage."""
    reads = [n.data.root for s in kernel.stages for n in walk(s.value, *s.indices, *(e for pair in s.guards for e in pair)) if n.op == "read"]
    written = [s.target.root for s in kernel.stages]
    tables = Tables(list(dict.fromkeys([*written, *reads])), written, target.max_flash_growth)
    groups = _walked_together(kernel.stages)
    whole = len(groups) == 1
    body: list[Stmt] = []
    for group in groups:
        axes = (*kernel.axes, *group[0].axes) if whole else group[0].axes
        nest = flatten(group, axes, tables.params)
        body.extend(_Tiler(nest, choose(nest, target), target, tables).statements())
    if not whole:
        body = _wrap(kernel.axes, body)
    return _finish(kernel, body, tables)


def _walked_together(stages: Sequence[Stage]) -> list[list[Stage]]:
    """Neighbouring stages over the very same axes, of which none reads what another of them stores, are one walk."""
    groups: list[list[Stage]] = []
    for stage in stages:
        read = {n.data.root for n in walk(stage.value, *stage.indices) if n.op == "read"}
        last = groups[-1] if groups else []
        same = last and len(last[0].axes) == len(stage.axes) and all(a is b for a, b in zip(last[0].axes, stage.axes))
        if same and not any(s.target.root in read for s in last) and not stage.combine and not last[0].combine:
            last.append(stage)
        else:
            groups.append([stage])
    return groups


def _wrap(axes: Sequence[Axis], body: list[Stmt]) -> list[Stmt]:
    for axis in reversed(axes):
        body = [For(axis.var, const(0, index), as_expr(axis.extent, index), 1, tuple(body))]
    return body


def _finish(kernel: Kernel, body: list[Stmt], tables: Tables) -> Tiled:
    everything = [e for s in statements(body) for e in expressions(s)]
    nodes = walk(*everything)
    touched = {n.data[0] for n in nodes if n.op == "load"} | {s.param for s in statements(body) if isinstance(s, Store)}
    used = tables.used(touched)
    bound = {s.var for s in statements(body) if isinstance(s, For)}
    symbols = sorted({v for n in nodes if n.op == "var" for v in n.free} - bound, key=lambda v: v.data)
    return Tiled(Loops(kernel.name, tuple(p for _, p in used), tuple(symbols), tuple(body)), tuple(b for b, _ in used))


class _Tiler:
    """Writes the loops of one nest under one schedule."""

    def __init__(self, nest: Nest, plan: Schedule, target: Any, tables: Tables):
        self.nest, self.plan, self.target, self.tables = nest, plan, target, tables
        self.orders = {node: _reduce_order(nest, d, plan) for node, d in nest.domains.items()}
        self.counter = 0

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
        return [For(start, const(0, index), as_expr(blocked.extent, index), plan.block, tuple(body))]

    block_range: dict[Axis, tuple[Expr, Expr]] = {}

    def _loops(self, axes: Sequence[Axis], inner: Inner) -> list[Stmt]:
        body = inner()
        for axis in reversed(axes):
            start, stop = self.block_range.get(axis, (const(0, index), as_expr(axis.extent, index)))
            body = [For(axis.var, start, stop, 1, tuple(body))]
        return body

    def _vector_tiles(self) -> list[Stmt]:
        if self.plan.vector is None:
            return self._loops(self.plan.middle, lambda: self._row_tiles(self.nest, [Point({})]))
        body: list[Stmt] = []
        for segment in self.plan.segments:
            body.extend(self._segment(segment))
        return body

    def _segment(self, segment: Segment) -> list[Stmt]:
        nest = pack(self.nest, segment, self.plan.vector, self.orders, self.tables) if self.nest.domains else self.nest
        number = fresh("t", 0, segment.count - 1) if segment.count > 1 else const(0, index)
        columns = self._columns(segment, number)
        body = self._loops(self.plan.middle, lambda: self._row_tiles(nest, columns))
        return body if segment.count == 1 else [For(number, const(0, index), const(segment.count, index), 1, tuple(body))]

    def _columns(self, segment: Segment, number: Expr) -> list[Point]:
        base = number * segment.piece.width + segment.start
        columns, at = [], 0
        for k, lanes in enumerate(segment.piece.lanes):
            last = k == len(segment.piece.lanes) - 1
            where = base + at + iota(lanes) if lanes > 1 else base + at
            columns.append(Point({self.plan.vector.var: where}, lanes, segment.piece.active if last else lanes))
            at += lanes
        return columns

    def _row_tiles(self, nest: Nest, columns: list[Point]) -> list[Stmt]:
        row = self.plan.row
        if row is None:
            return self._tile(nest, columns)
        body: list[Stmt] = []
        for part in row_tiles(nest, row, self.plan.rows):
            body.extend(self._row_tile(nest, columns, part, row))
        return body

    def _row_tile(self, nest: Nest, columns: list[Point], part: RowTile, row: Axis) -> list[Stmt]:
        first = part.start if part.static else fresh("u", 0, row.max_extent - part.rows)
        points = [c.bind({row.var: first + r}) for r in range(part.rows) for c in columns]
        body = self._tile(nest, points)
        return body if part.static else [For(first, as_expr(part.start, index), as_expr(part.stop, index), part.rows, tuple(body))]

    # ------------------------------------------------------------------------------------------------------ one register tile

    def _tile(self, nest: Nest, points: list[Point]) -> list[Stmt]:
        body: list[Stmt] = []
        values = self._values(nest, nest.values, points, body, None)
        tests = _open_tests([v for at_point in values for v in at_point])
        if not MIN_TESTS <= len(tests) <= MAX_TESTS:
            return body + self._stores(nest, points, values)
        # Where every read is in range, one test stands for all of them.
        inner = [[_untested(v, tests) for v in at_point] for at_point in values]
        condition = _all(tests)
        body.append(If(condition, tuple(self._stores(nest, points, inner)), tuple(self._stores(nest, points, values))))
        return body

    def _stores(self, nest: Nest, points: list[Point], values: list[list[Expr]]) -> list[Stmt]:
        return [s for point, at_point in zip(points, values) for result, value in zip(nest.results, at_point) for s in _result(result, value, point)]

    def _values(self, nest: Nest, roots: Sequence[Expr], points: list[Point], body: list[Stmt], step: KStep | None) -> list[list[Expr]]:
        """Every root at every point; the loops of their reductions go to `body` first."""
        replaced: list[dict[Expr, Expr]] = [{} for _ in points]
        for node in _outer_reductions(roots, nest):
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
        return _Reduction(self, nest, node, points).emit(body)

    def register(self, dtype: Any, lanes: int) -> Register:
        self.counter += 1
        return Register(f"{self.nest.results[0].target.name}.acc{self.counter}", dtype, lanes)


def _result(result: Result, value: Expr, point: Point) -> list[Stmt]:
    """The store of one result at one point, tested where its guards may fail; an update merges with what is there."""
    offset = instantiate(result.offset, point, {})
    if result.combine:
        value = binary(result.combine, load(result.target, offset), value)
    stores = _store(result.target, offset, value, point)
    condition = _all([(instantiate(i, point, {}), instantiate(e, point, {})) for i, e in result.guards])
    if is_const(condition):
        return stores if condition.data else []
    return [If(condition, tuple(stores))]


def _all(pairs: Sequence[tuple[Expr, Expr]]) -> Expr:
    """Whether 0 <= i < extent holds for every pair."""
    condition = const(True, bool_)
    for i, extent in pairs:
        condition = binary("and", condition, binary("and", compare("le", 0, i), compare("lt", i, extent)))
    return condition


def _open_tests(values: Sequence[Expr]) -> list[tuple[Expr, Expr]]:
    """The distinct scalar tests of the `inside` nodes of some values."""
    pairs = [pair for n in walk(*values) if n.op == "inside" for pair in inside_pairs(n)]
    return list(dict.fromkeys(p for p in pairs if p[0].lanes == 1))


def _untested(value: Expr, tests: Sequence[tuple[Expr, Expr]]) -> Expr:
    """A value where the tests are known to hold."""
    known = set(tests)
    return transform((value,), lambda n: n.args[0] if n.op == "inside" and known.issuperset(inside_pairs(n)) else None)[0]


def _outer_reductions(roots: Sequence[Expr], nest: Nest) -> list[Expr]:
    """The reduce nodes of expressions that are not inside another one, in evaluation order."""
    inner: set[int] = set()
    found = [n for n in walk(*roots) if n.op == "reduce"]
    for n in found:
        for b in nest.domains[n].body:
            inner.update(id(m) for m in walk(b) if m.op == "reduce")
    return [n for n in found if id(n) not in inner]


def _store(param: Param, offset: Expr, value: Expr, point: Point) -> list[Stmt]:
    """The store of one point: a vector where lanes are neighbours, else lane by lane."""
    if offset.lanes == 1:
        return [Store(param, offset, value)]
    lanes = iota(offset.lanes)
    value = splat(value, offset.lanes)
    if coefficient(offset, lanes) == 1:
        return [Store(param, offset - lanes, value, 0 if point.active == point.lanes else point.active)]
    return [Store(param, substitute(offset, {lanes: const(k, index)}), lane(value, k)) for k in range(point.active)]


def _reduce_order(nest: Nest, d: Domain, plan: Schedule) -> tuple[Expr, ...]:
    """Reduction axes, the one with the smallest step through memory innermost."""
    def step(v: Expr) -> int:
        steps = [abs(c) for b in d.body for n in walk(b) if n.op == "load" and not n.data[0].constant
                 for c in [coefficient(n.args[0], v)] if c]
        return min(steps, default=1 << 40)
    ordered = sorted(d.axes, key=lambda v: -step(v))
    if plan.reduce_vector in ordered:
        ordered.remove(plan.reduce_vector)
        ordered.append(plan.reduce_vector)
    return tuple(ordered)


class _Reduction:
    """The loops of one reduction over all distinct points of a tile."""

    def __init__(self, tiler: _Tiler, nest: Nest, node: Expr, points: list[Point]):
        self.tiler, self.nest, self.node, self.points = tiler, nest, node, points
        self.domain = nest.domains[node]
        self.order = tiler.orders[node]
        self.extents = dict(zip(self.domain.axes, self.domain.extents))
        named = isinstance(self.domain.combine, str)
        wide = tiler.plan.reduce_vector
        self.wide = wide if wide in self.domain.axes and all(p.lanes == 1 for p in points) else None
        self.lanes = tiler.target.lanes(max(b.dtype.bits for b in self.domain.body)) if self.wide is not None else 1
        self.partials = tiler.plan.partials if named else 1
        self.registers = [[[tiler.register(b.dtype, max(p.lanes, self.lanes)) for b in self.domain.body] for p in points]
                          for _ in range(self.partials)]
        self.scalars = [[tiler.register(b.dtype, 1) for b in self.domain.body] for _ in points] if self.wide is not None else []

    def emit(self, body: list[Stmt]) -> list[dict[Expr, Expr]]:
        """Append initialisation, loops and merging; give what the reduction (or its items) is replaced by, per point."""
        self._initialise(body)
        self._axes(body, self.order, {}, frozenset(self._always()), None)
        self._merge(body)
        final = self.scalars or self.registers[0]
        if len(self.domain.body) == 1:
            return [{self.node: get(regs[0])} for regs in final]
        return [{make_node("item", (self.node,), b.dtype, n): get(regs[n]) for n, b in enumerate(self.domain.body)} for regs in final]

    def _initialise(self, body: list[Stmt]) -> None:
        for p, point in enumerate(self.points):
            for m, start in enumerate(self.domain.init):
                value = instantiate(start, point, {})
                for copy in range(self.partials):
                    own = copy == 0 and not self.scalars
                    register = self.registers[copy][p][m]
                    body.append(Let(register, splat(value if own else self._neutral(m), register.lanes)))
                if self.scalars:
                    body.append(Let(self.scalars[p][m], value))

    def _neutral(self, member: int) -> Expr:
        return neutral(self.domain.combine, self.domain.body[member].dtype)

    def _merge(self, body: list[Stmt]) -> None:
        combine = self.domain.combine
        for p in range(len(self.points)):
            first = self.registers[0][p][0]
            for copy in range(1, self.partials):
                body.append(Let(first, binary(combine, get(first), get(self.registers[copy][p][0]))))
            if self.scalars:
                scalar = self.scalars[p][0]
                body.append(Let(scalar, binary(combine, get(scalar), horizontal(combine, get(first)))))

    # -------------------------------------------------------------------------------------------------------- axis by axis

    def _always(self) -> list[int]:
        """Guards that hold at every point over the whole range of the reduction."""
        return [g for g, (i, e) in enumerate(self.domain.guards) if all(_holds(instantiate(i, p, {}), e) for p in self.points)]

    def _axes(self, body: list[Stmt], axes: Sequence[Expr], env: dict[Expr, Expr], met: frozenset[int], step: KStep | None,
              copy: int = 0) -> None:
        if not axes:
            self._accumulate(body, env, met, step, copy, self.registers)
            return
        axis, rest = axes[0], axes[1:]
        extent = self.extents[axis]
        clamps = self._clamps(axis, rest, env, met)
        number = extent.data if extent.op == "const" else None
        if number is not None and not clamps and axis is not self.wide and self._written_out(axis, axes, env, met):
            for k in range(number):
                self._axes(body, rest, {**env, axis: const(k, index)}, met, step, (copy * number + k) if not rest else copy)
        elif axis is self.wide:
            self._wide_axis(body, axis, env, met)
        else:
            self._loop(body, axis, rest, env, met | frozenset(clamps), clamps)

    def _written_out(self, axis: Expr, axes: Sequence[Expr], env: dict[Expr, Expr], met: frozenset[int]) -> bool:
        """Short reductions, and axes on which border points of the tile disagree, are unrolled."""
        size = 1
        for a in axes:
            size *= self.extents[a].data if self.extents[a].op == "const" else 1 << 20
        if size <= UNROLL_LIMIT and size * len(self.points) <= 256:
            return True
        number = self.extents[axis].data
        undecided = [i for g, (i, _) in enumerate(self.domain.guards) if g not in met and axis in i.free]
        return number <= 32 and any(self._differs(i, env) for i in undecided)

    def _differs(self, i: Expr, env: dict[Expr, Expr]) -> bool:
        return len({id(instantiate(i, p.bind(env), {})) for p in self.points}) > 1 or \
            not any(v.free for p in self.points for v in [instantiate(i, p.bind({**env, **{a: const(0, index) for a in self.extents}}), {})])

    def _clamps(self, axis: Expr, rest: Sequence[Expr], env: dict[Expr, Expr], met: frozenset[int]) -> dict[int, tuple[Expr, Expr]]:
        """Guards that the bounds of this axis' loop can ensure: {guard: (least, past the greatest)}."""
        found = {}
        for g, (i, e) in enumerate(self.domain.guards):
            if g in met or axis not in i.free or i.free & set(rest):
                continue
            at = {id(x): x for x in (instantiate(i, p.bind(env), {}) for p in self.points)}
            if len(at) != 1:
                continue
            where = next(iter(at.values()))
            c = coefficient(where, axis)
            if where.lanes == 1 and c and c > 0 and (where - axis * c).free:
                base = where - axis * c
                found[g] = ((c - 1 - base) // c, (e - base + (c - 1)) // c)
        return found

    def _loop(self, body: list[Stmt], axis: Expr, rest: Sequence[Expr], env: dict[Expr, Expr], met: frozenset[int],
              clamps: dict[int, tuple[Expr, Expr]]) -> None:
        start, stop = const(0, index), self.extents[axis]
        for least, past in clamps.values():
            start, stop = binary("max", start, least), binary("min", stop, past)
        unroll = 1 if rest or clamps or stop.op != "const" else min(self.tiler.plan.unroll, stop.data)
        self._unrolled(body, axis, rest, env, met, (start, stop), unroll)

    def _unrolled(self, body: list[Stmt], axis: Expr, rest: Sequence[Expr], env: dict[Expr, Expr], met: frozenset[int],
                  bounds: tuple[Expr, Expr], unroll: int) -> None:
        start, stop = bounds
        inner: list[Stmt] = []
        lanes = unroll == self.tiler.target.lanes(32) and self.tiler.target.scalar_operand == "lane" and unroll > 1
        k = fresh("k", axis.lo, axis.hi - (unroll - 1)) if unroll > 1 else fresh("k", axis.lo, axis.hi)
        for copy in range(unroll):
            step = KStep(axis, k, copy, unroll) if lanes else None
            self._axes(inner, rest, {**env, axis: k + copy}, met, step, copy)
        if unroll == 1:
            body.append(For(k, start, stop, 1, tuple(inner)))
            return
        whole = stop.data // unroll * unroll
        body.append(For(k, start, const(whole, index), unroll, tuple(inner)))
        for last in range(whole, stop.data):
            self._axes(body, rest, {**env, axis: const(last, index)}, met, None, last - whole)

    def _wide_axis(self, body: list[Stmt], axis: Expr, env: dict[Expr, Expr], met: frozenset[int]) -> None:
        """The axis whose neighbours fill a vector: whole vectors, then the rest element by element."""
        extent, inner = self.extents[axis].data, []
        stride = self.lanes * self.partials
        k = fresh("k", 0, max(0, extent - stride))
        for copy in range(self.partials):
            self._accumulate(inner, {**env, axis: k + copy * self.lanes + iota(self.lanes)}, met, None, copy, self.registers, self.lanes)
        whole = extent // stride * stride
        if whole:
            body.append(For(k, const(0, index), const(whole, index), stride, tuple(inner)))
        while whole + self.lanes <= extent:
            self._accumulate(body, {**env, axis: iota(self.lanes) + whole}, met, None, 0, self.registers, self.lanes)
            whole += self.lanes
        for last in range(whole, extent):
            self._accumulate(body, {**env, axis: const(last, index)}, met, None, 0, [self.scalars])

    # -------------------------------------------------------------------------------------------------------- one point

    def _accumulate(self, body: list[Stmt], env: dict[Expr, Expr], met: frozenset[int], step: KStep | None, copy: int,
                    registers: Any, lanes: int = 0) -> None:
        points = [Point({**p.env, **env}, lanes or p.lanes, lanes or p.active) for p in self.points]
        kept, tests = [], []
        for n, p in enumerate(points):
            state = self._guards_at(p, met)
            if state is not None:
                kept.append(n)
                tests.append(state)
        values = self.tiler._values(self.nest, self.domain.body, [points[n] for n in kept], body, step)
        for position, n in enumerate(kept):
            if any(i.lanes > 1 for i, _ in tests[position]):
                values[position] = [self._lane_by_lane(points[n], tests[position])]
                tests[position] = []
        mine = registers[copy % len(registers)]
        for position, n in enumerate(kept):
            self._combine(body, mine[n], values[position], tests[position])

    def _lane_by_lane(self, point: Point, tests: list[tuple[Expr, Expr]]) -> Expr:
        """The body where lanes of one vector disagree on whether they count."""
        parts = []
        for k in range(point.lanes):
            fixed = {iota(point.lanes): const(min(k, point.active - 1), index)}
            value = instantiate(self.domain.body[0], scalar_point(point, min(k, point.active - 1)), {})
            parts.append(inside([(substitute(i, fixed), e) for i, e in tests], value, self._neutral(0)))
        return vector(parts)

    def _guards_at(self, point: Point, met: frozenset[int]) -> list[tuple[Expr, Expr]] | None:
        """The guards left to test at run time, or None where the point does not count."""
        left = []
        for g, (i, e) in enumerate(self.domain.guards):
            if g in met:
                continue
            at = instantiate(i, point, {})
            if _holds(at, e):
                continue
            if at.hi < 0 or (at - e).lo >= 0:
                return None
            left.append((at, e))
        return left

    def _combine(self, body: list[Stmt], registers: list[Register], values: list[Expr], tests: list[tuple[Expr, Expr]]) -> None:
        combine = self.domain.combine
        if not isinstance(combine, str):
            self._combine_tuple(body, registers, values, tests)
            return
        register, value = registers[0], values[0]
        if tests:
            value = inside(tests, value, self._neutral(0))
        if combine == "add" and value.op == "mul":
            result = mul_add(*value.args, get(register))
        else:
            result = binary(combine, get(register), value)
        body.append(Let(register, splat(result, register.lanes)))

    def _combine_tuple(self, body: list[Stmt], registers: list[Register], values: list[Expr], tests: list[tuple[Expr, Expr]]) -> None:
        combine = self.domain.combine
        env = {**dict(zip(combine.left, map(get, registers))), **dict(zip(combine.right, values))}
        merged = [substitute(m, env) for m in combine.merged]
        scratch = [self.tiler.register(r.dtype, r.lanes) for r in registers]
        for s, m, r in zip(scratch, merged, registers):
            body.append(Let(s, splat(m if not tests else inside(tests, m, get(r)), s.lanes)))
        for s, r in zip(scratch, registers):
            body.append(Let(r, get(s)))


def _holds(i: Expr, extent: Expr) -> bool:
    return i.lo >= 0 and (extent - i).lo > 0
