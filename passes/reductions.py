"""The loops of one reduction over all points of a register tile.

Axis by axis, outermost first: short axes and those on which border points disagree are written out, an axis that a guard bounds gets a
clamped loop, the innermost is unrolled a little, and an axis whose neighbours fill a vector is walked in whole vectors and a rest.
Several accumulators per point (partials) hide latency; they are merged at the end.

    sum_over(p, q, c; x[c, y+p-1, x+q-1] * w[...])   ->   for p in max(0, 1-y) .. min(3, H+1-y): for q: for c: acc += x * w
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod
from typing import Any

from edgec.expr import Expr, binary, const, dot, fresh, inside, make as make_node, mul_add, neutral
from edgec.linear import coefficient, coefficient_within
from edgec.loops import For, If, Let, Register, Stmt, get, horizontal, iota, splat, vector
from edgec.passes.activations_ahead import rows_asked
from edgec.passes.halves import taken_as_halves
from edgec.passes.in_order import channel_block, slides
from edgec.passes.nest import Domain, Nest, in_groups
from edgec.passes.points import KStep, Point, all_inside, instantiate, scalar_point
from edgec.passes.schedule import UNROLL_LIMIT, Schedule
from edgec.passes.wide_dots import wide_group
from edgec.sweeps import substitute, walk
from edgec.types import index


def reduce_order(nest: Nest, d: Domain, plan: Schedule, target: Any) -> tuple[Expr, ...]:
    """Reduction axes, the one with the smallest step through memory innermost, those that are to be loops outermost."""
    def step(v: Expr) -> int:
        steps = [abs(c) for b in d.body for n in walk(b) if n.op == "load" and not n.data[0].constant
                 for c in [coefficient_within(n.args[0], v, channel_block(target))] if c]
        return min(steps, default=1 << 40)
    sliding = sliding_taps(d, plan, target)
    guarded = {v for i, _ in d.guards for v in i.free} if sliding else _clamped(nest, d, plan, target)
    ordered = sorted(d.axes, key=lambda v: (v not in sliding and v not in guarded, -step(v)))
    if plan.reduce_vector in ordered:
        ordered.remove(plan.reduce_vector)
        ordered.append(plan.reduce_vector)
    elif (tap := _shared_tap(d, plan)) is not None:
        ordered.remove(tap)
        ordered.append(tap)
    return tuple(ordered)


def _clamped(nest: Nest, d: Domain, plan: Schedule, target: Any) -> set[Expr]:
    """Axes that borders bound, but for the window that the rows slide on: loops around what dealt loads bring, as many at a time as can."""
    along = channel_block(target) > 1 and plan.row is not None and plan.vector is not None and slides(plan.rows, nest)
    return {v for i, _ in d.guards if along and plan.row.var not in i.free for v in i.free}


def sliding_taps(d: Domain, plan: Schedule, target: Any) -> frozenset[Expr]:
    """The taps of a window along which neighbouring rows of a tile read the same scalars (x[2*row + tap]), if it fills the registers.

    Written out, LLVM loads each scalar once and keeps it for the next row: a register a row, and a full tile spills as many.
    """
    vectors = max((len(s.piece.lanes) for s in plan.segments), default=1)
    full = plan.rows * vectors + vectors + plan.rows >= target.registers
    if plan.row is None or plan.vector is None or plan.rows == 1 or not full or target.scalar_operand != "memory":
        return frozenset()
    found = set[Expr]()
    for n in (n for b in d.body for n in walk(b) if n.op == "load" and plan.vector.var not in n.free):
        along = coefficient(n.args[0], plan.row.var)
        steps = {v: coefficient(n.args[0], v) for v in d.axes if along}
        found |= {v for v, step in steps.items() if step and _meet(along, step, plan.rows, _reach(d, v))}
    return frozenset(found)


def _meet(along: int, step: int, rows: int, reach: int) -> bool:
    """Whether some of `rows` rows that lie `along` apart read the same place within `reach` taps that lie `step` apart."""
    return any(n * along % step == 0 and 0 < n * along // step < reach for n in range(1, rows))


def _reach(d: Domain, axis: Expr) -> int:
    """The largest extent of a reduction axis."""
    extent = d.extents[d.axes.index(axis)]
    return extent.data if extent.op == "const" else extent.hi


def _shared_tap(d: Domain, plan: Schedule) -> Expr | None:
    """The short axis along which rows of a narrow tile read the same words: written out innermost, each word is loaded for all of them.

    A wide tile has enough vectors to use a word for at once.
    """
    wide = max((len(s.piece.lanes) for s in plan.segments), default=NARROW + 1) > NARROW
    if plan.row is None or not 3 <= plan.rows <= MOST_ROWS or wide or d.body[0].op != "dot":
        return None
    moving = [n for n in walk(*d.body) if n.op == "load" and n.dtype.kind == "w" and coefficient(n.args[0], plan.row.var)]
    return next((v for v, e in zip(d.axes, d.extents) for n in moving if e.op == "const" and 1 < e.data <= LONGEST_TAP
                 and coefficient(n.args[0], v) == coefficient(n.args[0], plan.row.var)), None)


NARROW, LONGEST_TAP, MOST_ROWS = 1, 5, 16  # more rows would keep more words alive than there are registers for
WRITTEN_OUT = 4  # vectors of a dot product that are written out
LONGEST = 256  # multiply-adds in a row: among more of them LLVM keeps scalars that neighbouring taps share, and runs out of registers
DEALT_TAPS, LONGEST_DEALT = 21, 336  # taps of a round by dealt loads, whose addresses are in registers, and multiply-adds in it


class Reduction:
    """The loops of one reduction over all distinct points of a tile."""

    def __init__(self, tiler: Any, nest: Nest, node: Expr, points: list[Point]):
        self.tiler, self.nest, self.node, self.points = tiler, nest, node, points
        self.domain = nest.domains[node]
        self.order = tiler.orders[node]
        self.extents = dict(zip(self.domain.axes, self.domain.extents))
        named = isinstance(self.domain.combine, str)
        wide = tiler.plan.reduce_vector
        self.wide = wide if wide in self.domain.axes and all(p.lanes == 1 for p in points) else None
        self.group = wide_group(self.domain, tiler.target) if self.wide is not None and tiler.plan.vector is not None else 0
        self.lanes = 1 if self.group else tiler.target.lanes(max(b.dtype.bits for b in self.domain.body)) if self.wide is not None else 1
        self.partials = tiler.plan.partials if named and not self.group else 1
        self.registers = [[[tiler.register(b.dtype, max(p.lanes, self.lanes)) for b in self.domain.body] for p in points]
                          for _ in range(self.partials)]
        self.sliding = sliding_taps(self.domain, tiler.plan, tiler.target)
        along = channel_block(tiler.target) > 1 and tiler.plan.row is not None and slides(tiler.plan.rows, nest)
        self.most = DEALT_TAPS if along else UNROLL_LIMIT
        self.within = max((_points(nest.domains[n]) for b in self.domain.body for n in walk(b) if n in nest.domains), default=1)
        apart = self.wide is not None and not self.group
        self.scalars = [[tiler.register(b.dtype, 1) for b in self.domain.body] for _ in points] if apart else []

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
        size = self.within
        for a in axes:
            size *= self.extents[a].data if self.extents[a].op == "const" else 1 << 20
        around = prod(self.extents[a].data for a, k in env.items() if a in self.extents and k.op == "const")
        shares = axis in self.sliding or any(k.op == "const" and a in self.sliding for a, k in env.items())
        longest = LONGEST if self.most == UNROLL_LIMIT else LONGEST_DEALT
        if size <= self.most and around * size * len(self.points) <= longest and not shares:
            return True
        number = self.extents[axis].data
        undecided = [i for g, (i, _) in enumerate(self.domain.guards) if g not in met and axis in i.free]
        return number <= 32 and any(self._differs(i, env) for i in undecided)

    def _differs(self, i: Expr, env: dict[Expr, Expr]) -> bool:
        return len({id(instantiate(i, p.bind(env), {})) for p in self.points}) > 1 or not self._varies(i, env)

    def _varies(self, i: Expr, env: dict[Expr, Expr]) -> bool:
        """Whether a guard depends on anything but the reduction (on loops around the tile)."""
        start = {**env, **{a: const(0, index) for a in self.extents}}
        return any(instantiate(i, p.bind(start), {}).free for p in self.points)

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
            if where.lanes == 1 and c and (where - axis * c).free:
                found[g] = _bounds(where - axis * c, c, e)
        return found

    def _loop(self, body: list[Stmt], axis: Expr, rest: Sequence[Expr], env: dict[Expr, Expr], met: frozenset[int],
              clamps: dict[int, tuple[Expr, Expr]]) -> None:
        start, stop = const(0, index), self.extents[axis]
        for least, past in clamps.values():
            start, stop = binary("max", start, least), binary("min", stop, past)
        unroll = 1 if rest or clamps or stop.op != "const" or self.domain.is_nested else min(self.tiler.plan.unroll, stop.data)
        self._unrolled(body, axis, rest, env, met, (start, stop), unroll)

    def _unrolled(self, body: list[Stmt], axis: Expr, rest: Sequence[Expr], env: dict[Expr, Expr], met: frozenset[int],
                  bounds: tuple[Expr, Expr], unroll: int) -> None:
        start, stop = bounds
        inner: list[Stmt] = []
        peeled = axis in self.domain.peeled
        high = axis.hi - peeled
        whole = (stop.data - peeled) // unroll * unroll if unroll > 1 or peeled else 0
        if unroll > 1 and whole and in_groups(self.domain.body, axis, channel_block(self.tiler.target)):
            # rounds are counted, so that divisions by the size of a group go
            number = fresh("k", 0, whole // unroll - 1)
            loop, k = For(number, const(0, index), const(whole // unroll, index), 1, ()), number * unroll
        else:
            k = fresh("k", axis.lo, max(axis.lo, high - (unroll - 1))) if unroll > 1 else fresh("k", axis.lo, max(axis.lo, high))
            loop = For(k, start, const(whole, index) if unroll > 1 or peeled else stop, unroll, ())
        for copy in range(unroll):
            step = self._lane_step(axis, k, copy, unroll)
            self._axes(inner, rest, {**env, axis: self._place(axis, k + copy)}, met, step, copy)
        if not rest:
            inner += self._asked(env, axis, k, unroll)
        if unroll == 1 and not peeled:
            body.append(replace(loop, body=tuple(inner)))
            return
        if whole:
            body.append(replace(loop, body=tuple(inner)))
        for last in range(whole, stop.data):
            step = self._lane_step(axis, const(whole, index), last - whole, stop.data - whole)
            self._axes(body, rest, {**env, axis: self._place(axis, const(last, index))}, met, step, last - whole)

    def _asked(self, env: dict[Expr, Expr], axis: Expr, k: Expr, copies: int) -> list[Stmt]:
        """What is asked for with each round of the innermost loop, see prefetch.py and activations_ahead.py."""
        weights, rows = self.tiler.ahead, self.tiler.rows_ahead
        reads = walk(*self.domain.body) if self.wide is None and (weights is not None or rows is not None) else ()
        asked = rows_asked(rows, self.tiler.plan, self.points[0], axis, k, copies) if rows in reads else []
        if weights is not None and weights.read in reads:
            asked += weights.statements(self.domain, self.order, self.points[0], {**env, axis: k}, copies)
        return asked

    def _lane_step(self, axis: Expr, base: Expr, copy: int, copies: int) -> KStep | None:
        """Where multiply-adds take a lane of a vector: which lane this one of `copies` steps from `base` on is, if its vector is whole."""
        target = self.tiler.target
        bits = (16, 32) if self.domain.sums_halves or taken_as_halves(self.domain, target) else (self.domain.word_bits,)
        for width in map(target.lanes, bits if target.scalar_operand == "lane" else ()):
            first = copy // width * width
            if width > 1 and first + width <= copies:
                return KStep(axis, base + first, copy - first, width)
        return None

    def _place(self, axis: Expr, k: Expr) -> Expr:
        """Where step k of a loop is: k, or as far from the end when tables are walked backward."""
        extent, lanes = self.extents[axis], self.tiler.target.scalar_operand == "lane"
        back = self.tiler.backward and extent.op == "const" and not (lanes or self.domain.guards or axis in self.domain.peeled)
        return extent - 1 - k if back else k

    def _wide_axis(self, body: list[Stmt], axis: Expr, env: dict[Expr, Expr], met: frozenset[int]) -> None:
        """The axis whose neighbours fill a vector: whole vectors, then the rest element by element."""
        if self.group:
            return self._whole_vectors(body, axis, env, met)
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

    def _whole_vectors(self, body: list[Stmt], axis: Expr, env: dict[Expr, Expr], met: frozenset[int]) -> None:
        """The axis in vectors whose products are added up at once; the last one may be used in part."""
        extent, group = self.extents[axis].data, self.group
        whole, inner = extent // group * group, list[Stmt]()
        if whole > WRITTEN_OUT * group:
            k = fresh("k", 0, whole - group)
            self._accumulate(inner, {**env, axis: k + iota(group)}, met, None, 0, self.registers, group)
            body.append(For(k, const(0, index), const(whole, index), group, tuple(inner)))
        for start in range(whole if inner else 0, extent, group):
            self._accumulate(body, {**env, axis: iota(group) + start}, met, None, 0, self.registers, group, min(group, extent - start))

    # -------------------------------------------------------------------------------------------------------- one point

    def _accumulate(self, body: list[Stmt], env: dict[Expr, Expr], met: frozenset[int], step: KStep | None, copy: int,
                    registers: Any, lanes: int = 0, active: int = 0) -> None:
        points = [Point({**p.env, **env}, lanes or p.lanes, active or lanes or p.active) for p in self.points]
        kept, tests = [], []
        for n, p in enumerate(points):
            state = self._guards_at(p, met)
            if state is not None:
                kept.append(n)
                tests.append(state)
        if self.domain.is_nested and any(tests):
            self._accumulate_tested(body, points, kept, tests, registers[copy % len(registers)])
            return
        values = self.tiler.values(self.nest, self.domain.body, [points[n] for n in kept], body, step)
        for position, n in enumerate(kept):
            if any(i.lanes > 1 for i, _ in tests[position]):
                values[position] = [self._lane_by_lane(points[n], tests[position])]
                tests[position] = []
        mine = registers[copy % len(registers)]
        for position, n in enumerate(kept):
            self._combine(body, mine[n], values[position], tests[position])

    def _accumulate_tested(self, body: list[Stmt], points: list[Point], kept: list[int], tests: list[list[tuple[Expr, Expr]]],
                           registers: list[list[Register]]) -> None:
        """Where the body has loops of its own: points with equal tests together, these around the loops."""
        groups: dict[tuple, list[int]] = {}
        for n, state in zip(kept, tests):
            groups.setdefault(tuple(state), []).append(n)
        for state, together in groups.items():
            inner: list[Stmt] = []
            for n, value in zip(together, self.tiler.values(self.nest, self.domain.body, [points[n] for n in together], inner, None)):
                self._combine(inner, registers[n], value, [])
            body += [If(all_inside(state), tuple(inner))] if state else inner

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
        if value.op == "dot":
            summed = dot(get(register), *value.args[1:])
            body.append(Let(register, splat(inside(tests, summed, get(register)), register.lanes)))
            return
        if self.group:
            value = horizontal("add", value)
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


def _points(d: Domain) -> int:
    return prod(e.data if e.op == "const" else 1 << 20 for e in d.extents)


def _bounds(base: Expr, c: int, extent: Expr) -> tuple[Expr, Expr]:
    """The least k with 0 <= base + c * k < extent, and the number past the greatest; c < 0 in transposed convolutions."""
    if c > 0:
        return (c - 1 - base) // c, (extent - base + (c - 1)) // c
    return (base - extent - c) // -c, base // -c + 1


def _holds(i: Expr, extent: Expr) -> bool:
    return i.lo >= 0 and (extent - i).lo > 0
