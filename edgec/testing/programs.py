"""Hypothesis strategies for expressions, programs and loops, and how to run and compare what they draw.

    @given(programs())
    def test_my_pass(program):
        arrays = random_inputs(program)
        assert_same(run_program(my_pass(program), arrays), run_program(program, arrays))
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from hypothesis import strategies as st

from edgec.expr import (
    Combine,
    Expr,
    argument,
    as_expr,
    binary,
    cast,
    const,
    fresh,
    inside,
    maximum,
    minimum,
    read,
    reduce,
    reduce_over,
    select,
    unary,
    var,
)
from edgec.kernel import Axis, Buffer, Kernel, Program, Stage
from edgec.loops import For, If, Let, Loops, Param, Register, Stmt, Store, get, horizontal, lane, load, splat
from edgec.types import f32, i32, index

EXTENTS = (1, 2, 3, 4, 5, 8)


def random_inputs(program: Program, seed: int = 0, size: int = 3) -> dict[str, np.ndarray]:
    """Inputs by name, normally distributed; every symbol has the given size, within its bounds."""
    generator = np.random.default_rng(seed)
    shapes = {b: [d if isinstance(d, int) else min(max(size, d.lo), d.hi) for d in b.shape] for b in program.inputs}
    return {b.name: (4 * generator.standard_normal(shapes[b])).astype(b.dtype.numpy) for b in program.inputs}


def assert_same(left: dict[str, np.ndarray], right: dict[str, np.ndarray]) -> None:
    """The same arrays under the same names, bit for bit (every NaN counts as one)."""
    assert left.keys() == right.keys()
    for name in left:
        np.testing.assert_array_equal(left[name], right[name], err_msg=name)


@st.composite
def index_exprs(draw: Any, variables: Sequence[Expr], depth: int = 3) -> Expr:
    """An index expression over the variables: sums, products, floor divisions, minima and maxima."""
    if depth == 0 or draw(st.integers(0, 3)) == 0:
        return draw(st.one_of(st.sampled_from(list(variables)), st.integers(-9, 9).map(lambda n: const(n, index))))
    a = draw(index_exprs(variables, depth - 1))
    match draw(st.sampled_from(["add", "sub", "scale", "mul", "div", "mod", "min", "max", "select"])):
        case "scale":
            return a * draw(st.integers(-5, 5))
        case "div":
            return a // draw(st.integers(1, 7))
        case "mod":
            return a % draw(st.integers(1, 7))
        case "select":
            return select(a < draw(st.integers(-9, 9)), a, draw(index_exprs(variables, depth - 1)))
        case op:
            return binary(op, a, draw(index_exprs(variables, depth - 1)))


@st.composite
def value_exprs(draw: Any, reads: Callable[[Sequence[Expr]], Sequence[Expr]], variables: Sequence[Expr], depth: int = 3) -> Expr:
    """An f32 expression; `reads(variables)` lists what it may read at an index of the given variables."""
    if depth == 0:
        return draw(st.one_of(st.sampled_from(list(reads(variables))), st.floats(width=32).map(lambda x: const(x, f32))))
    a = draw(value_exprs(reads, variables, depth - 1))
    again = value_exprs(reads, variables, depth - 1)
    match draw(st.sampled_from(["unary", "binary", "select", "sum", "twice", "tuple", "cast", "guard"])):
        case "unary":
            return unary(draw(st.sampled_from(["neg", "abs", "exp", "tanh", "sqrt"])), a)
        case "binary":
            return binary(draw(st.sampled_from(["add", "sub", "mul", "div", "min", "max"])), a, draw(again))
        case "select":
            return select(a < draw(again), a, draw(again))
        case "sum":
            extent, combine = draw(st.sampled_from(EXTENTS)), draw(st.sampled_from(["add", "max", "mul"]))
            return reduce_over([extent], combine, lambda r: draw(value_exprs(reads, (*variables, r), depth - 1)))
        case "twice":
            return a * a + a
        case "tuple":
            return draw(_argmax(reads, variables, depth))
        case "cast":
            return cast(cast(a, i32), f32)
        case _:
            return inside([(draw(index_exprs(variables, 1)), draw(st.integers(1, 6)))], a, 0.0)


@st.composite
def _argmax(draw: Any, reads: Callable[[Sequence[Expr]], Sequence[Expr]], variables: Sequence[Expr], depth: int) -> Expr:
    """The position of the largest value over a small range, by a tuple reduction."""
    extent = draw(st.sampled_from(EXTENTS))
    r = fresh("r", 0, extent - 1)
    body = draw(value_exprs(reads, (*variables, r), depth - 1))
    a, b, i, j = argument("a", f32), argument("b", f32), argument("i", index), argument("j", index)
    later = a < b
    combine = Combine((a, i), (b, j), (select(later, b, a), select(later, j, i)))
    position = reduce(combine, (r,), (extent,), (const(-np.inf, f32), const(0, index)), (body, r))[draw(st.integers(0, 1))]
    return position if position.dtype is f32 else cast(position, f32)


@st.composite
def programs(draw: Any, max_kernels: int = 6) -> Program:
    """A small program over matrices: elementwise, transposes, row reductions, shifts, stages, updates, recurrences, views."""
    rows = draw(st.one_of(st.sampled_from(EXTENTS), st.just(var("n", 1, 5))))
    state = _Draft(draw, rows, draw(st.sampled_from(EXTENTS)))
    for _ in range(draw(st.integers(1, max_kernels))):
        state.kernel()
    state.copy_out()
    symbols = () if isinstance(rows, int) else (rows,)
    return Program("drawn", (state.input,), (state.output,), tuple(state.steps), symbols)


@dataclass
class _Draft:
    """A program being drawn: every kernel reads among the buffers there are and stores a new one of the same shape."""

    draw: Any
    rows: Any
    columns: int
    steps: list[Kernel] = field(default_factory=list)

    def __post_init__(self) -> None:
        shape = (self.rows, self.columns)
        self.input, self.output = Buffer("x", f32, shape, "input"), Buffer("y", f32, shape, "output")
        self.known = [self.input]

    def axes(self) -> tuple[Axis, Axis]:
        high = self.rows if isinstance(self.rows, int) else self.rows.hi
        return Axis(fresh("a", 0, high - 1), self.rows), Axis(fresh("b", 0, self.columns - 1), self.columns)

    def source(self) -> Buffer:
        return self.draw(st.sampled_from(self.known[-4:]))

    def new_buffer(self) -> Buffer:
        """A temporary in either axis order, or half of a larger one."""
        shape = (self.rows, self.columns)
        made = Buffer(f"t{len(self.steps)}", f32, shape, "temporary", order=self.draw(st.sampled_from([(), (1, 0)])))
        if self.draw(st.integers(0, 3)) == 0:
            parent = Buffer(f"p{len(self.steps)}", f32, (self.rows, 2 * self.columns), "temporary")
            at = self.draw(st.sampled_from([0, self.columns]))
            made = Buffer(made.name, f32, shape, "temporary", parent=parent, offset=at, view_strides=(2 * self.columns, 1))
        return made

    def kernel(self) -> None:
        target = self.new_buffer()
        a, b = self.axes()
        draw = self.draw(st.sampled_from(["unary", "binary", "row_sum", "shift", "softmax", "reverse", "two_results", "update",
                                         "recurrence"]))
        if draw in ("softmax", "two_results", "update", "recurrence"):
            self.steps.append(getattr(self, "_" + draw)(a, b, target))
        else:
            value = getattr(self, "_" + draw)(a, b)
            self.steps.append(Kernel(self.name(), (a, b), (Stage("s", (), value, target, (a.var, b.var)),)))
        self.known.append(target)

    def name(self) -> str:
        return f"k{len(self.steps)}"

    def _unary(self, a: Axis, b: Axis) -> Expr:
        return maximum(read(self.source(), (a.var, b.var)) * 0.5, -1.0)

    def _binary(self, a: Axis, b: Axis) -> Expr:
        return read(self.source(), (a.var, b.var)) + read(self.source(), (a.var, b.var))

    def _row_sum(self, a: Axis, b: Axis) -> Expr:
        source = self.source()
        return read(source, (a.var, b.var)) + reduce_over([self.columns], "add", lambda r: read(source, (a.var, r)))

    def _shift(self, a: Axis, b: Axis) -> Expr:
        return inside([(b.var - 1, self.columns)], read(self.source(), (a.var, b.var - 1)), 0.0)

    def _reverse(self, a: Axis, b: Axis) -> Expr:
        return read(self.source(), (a.var, self.columns - 1 - b.var))

    def _softmax(self, a: Axis, b: Axis, target: Buffer) -> Kernel:
        """Rows in stages, with scratch that every row uses again."""
        source, name = self.source(), self.name()
        most, power, total = (Buffer(f"{name}.{part}", f32, shape, "scratch") for part, shape in
                              (("most", ()), ("power", (self.columns,)), ("total", ())))
        last = Axis(fresh("c", 0, self.columns - 1), self.columns)
        return Kernel(name, (a,), (
            Stage("most", (), reduce_over([self.columns], "max", lambda r: read(source, (a.var, r))), most),
            Stage("power", (b,), unary("exp", minimum(read(source, (a.var, b.var)) - read(most, ()), 0.0)), power, (b.var,)),
            Stage("total", (), reduce_over([self.columns], "add", lambda r: read(power, (r,))), total),
            Stage("scaled", (last,), read(power, (last.var,)) / read(total, ()), target, (a.var, last.var))))

    def _two_results(self, a: Axis, b: Axis, target: Buffer) -> Kernel:
        """One walk with two results, the first stored in two guarded halves."""
        x, half = read(self.source(), (a.var, b.var)), self.columns // 2
        other = self.new_buffer()
        self.known.append(other)
        at = (a.var, b.var)
        return Kernel(self.name(), (a,), (
            Stage("low", (b,), x * 2.0, other, at, guards=((b.var, as_expr(half, index)),)),
            Stage("high", (b,), x * 3.0, other, at, guards=((b.var - half, as_expr(self.columns, index)),)),
            Stage("all", (b,), x + 1.0, target, at)))

    def _update(self, a: Axis, b: Axis, target: Buffer) -> Kernel:
        """Every row begins as one of a source; then each element adds to the one at half its place."""
        combine = self.draw(st.sampled_from(["add", "max"]))
        c = Axis(fresh("c", 0, self.columns - 1), self.columns)
        return Kernel(self.name(), (a,), (
            Stage("start", (b,), read(self.source(), (a.var, b.var)), target, (a.var, b.var)),
            Stage("merge", (c,), read(self.source(), (a.var, c.var)), target, (a.var, c.var // 2), combine)))

    def _recurrence(self, a: Axis, b: Axis, target: Buffer) -> Kernel:
        """A state with two halves, of which three or n iterations read one and write the other, through an intermediate."""
        name, at, source = self.name(), (a.var, b.var), self.source()
        length = self.rows if self.draw(st.booleans()) else 3
        t = Axis(fresh("t", 0, (length if isinstance(length, int) else length.hi) - 1), length)
        state = Buffer(f"{name}.state", f32, (2, self.rows, self.columns), "temporary")
        between = Buffer(f"{name}.between", f32, (self.rows, self.columns), "temporary")
        value = read(state, (t.var % 2, *at)) * 0.5 + read(source, (a.var, self.columns - 1 - b.var))
        after = maximum(read(between, at), -1.0)
        self.steps += [Kernel(f"{name}.start", (a, b), (Stage("s", (), read(source, at), state, (const(0, index), *at)),)),
                       Kernel(f"{name}.value", (a, b), (Stage("s", (), value, between, at),), repeat=(t,)),
                       Kernel(f"{name}.next", (a, b), (Stage("s", (), after, state, ((t.var + 1) % 2, *at)),), repeat=(t,))]
        return Kernel(name, (a, b), (Stage("s", (), read(state, (as_expr(length, index) % 2, *at)), target, at),))

    def copy_out(self) -> None:
        a, b = self.axes()
        self.steps.append(Kernel("out", (a, b), (Stage("s", (), read(self.known[-1], (a.var, b.var)) + 0.0, self.output, (a.var, b.var)),)))


@st.composite
def loop_programs(draw: Any) -> Loops:
    """Small loops that verify and stay in range: nested loops, registers, vectors, branches."""
    size = 96
    x, y = Param("x", f32, size), Param("y", f32, size, writable=True)
    symbol = var("n", 1, 4)
    body = _body(draw, (x, y), [symbol], [], draw(st.integers(1, 3)))
    return Loops("drawn", (x, y), (symbol,), tuple(body))


def _body(draw: Any, params: tuple[Param, Param], variables: list[Expr], registers: list[Register], depth: int) -> list[Stmt]:
    found: list[Stmt] = []
    mine = list(registers)
    for _ in range(draw(st.integers(1, 3))):
        match draw(st.sampled_from(["let", "store", "for", "if"] if depth else ["let", "store"])):
            case "let":
                again = mine and draw(st.booleans())
                register = draw(st.sampled_from(mine)) if again else Register("t.acc", f32, draw(st.sampled_from([1, 4, 8])))
                found.append(Let(register, _value(draw, params, variables, mine, register.lanes)))
                mine.append(register)
            case "store":
                lanes = draw(st.sampled_from([1, 4, 8]))
                active = draw(st.integers(0, lanes)) if lanes > 1 else 0
                found.append(Store(params[1], _place(draw, variables), _value(draw, params, variables, mine, lanes), active))
            case "for":
                i = fresh("i", 0, draw(st.integers(1, 5)) - 1)
                stop = draw(st.sampled_from([const(i.hi + 1, index), binary("min", variables[0], i.hi + 1)]))
                step = draw(st.integers(1, 2))
                found.append(For(i, const(0, index), stop, step, tuple(_body(draw, params, [*variables, i], mine, depth - 1))))
            case _:
                condition = _place(draw, variables) < draw(st.integers(0, 40))
                parts = [tuple(_body(draw, params, variables, mine, depth - 1)) for _ in range(draw(st.integers(1, 2)))]
                found.append(If(condition, *parts))
    return found


def _place(draw: Any, variables: Sequence[Expr]) -> Expr:
    """An index that leaves room for 8 elements behind it."""
    i = draw(st.sampled_from(list(variables)))
    return minimum(i * draw(st.integers(0, 9)) + draw(st.integers(0, 20)), 80)


def _value(draw: Any, params: tuple[Param, Param], variables: Sequence[Expr], registers: Sequence[Register], lanes: int,
           depth: int = 2) -> Expr:
    """An f32 expression of that many lanes."""
    leaves = [load(draw(st.sampled_from(params)), _place(draw, variables), lanes, draw(st.integers(0, lanes - 1))),
              splat(const(draw(st.floats(-9, 9, width=32)), f32), lanes)]
    leaves += [get(r) for r in registers if r.lanes == lanes] + [lane(get(r), r.lanes - 1) for r in registers if r.lanes > 1 == lanes]
    a = draw(st.sampled_from(leaves))
    if depth == 0:
        return a
    b = _value(draw, params, variables, registers, lanes, depth - 1)
    match draw(st.sampled_from(["leaf", "binary", "unary", "select", "horizontal"])):
        case "binary":
            return binary(draw(st.sampled_from(["add", "sub", "mul", "min", "max"])), a, b)
        case "unary":
            return unary(draw(st.sampled_from(["neg", "abs", "tanh"])), a)
        case "select":
            return select(a < b, a, b)
        case "horizontal":
            wide = load(params[0], _place(draw, variables), 8)
            return splat(horizontal(draw(st.sampled_from(["add", "max"])), wide), lanes)
    return a
