"""Graph -> Program: decides which values get memory; everything else becomes part of the kernel that reads it.

Reading an operand is calling it, so fusing is substituting a producer's expression into its reader's. What is *worth* it is counted in
grouping.py; here are the kernels: of values, of updates, of loops and of what stands under a condition.

    relu(conv(x, w) + b)   ->   one kernel  y[o,i,j] = max(sum_over(...) + b[o], 0)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from edgec.expr import Expr, as_expr, const, fresh, read
from edgec.graph import Graph, Op, Value
from edgec.kernel import Axis, Buffer, Kernel, Program, Size, Stage
from edgec.lowering import Alternatives, Recurrence, scalar, selection_of, update_of
from edgec.passes.grouping import Grouping, grouped, high, resolve_plain
from edgec.passes.normalize import normalize
from edgec.passes.selecting import selecting
from edgec.sweeps import substitute, transform
from edgec.types import index

Place = tuple[Buffer, Callable[[tuple[Expr, ...]], tuple[Expr, ...]]]  # a buffer, and where in it the element at an index lies


def fuse(graph: Graph, target: Any = None, *, max_ops: int = 64) -> Program:
    """The program of a graph: one kernel per value that needs memory. `max_ops` bounds the operators of one kernel."""
    emission = _Emission(grouped(graph, max_ops, target))
    return emission.program()


def _whole(buffer: Buffer) -> Place:
    return buffer, lambda at: at


class _Emission:
    """Composes the expression of every value from its own definition and those inlined into it, and gives kernels to the roots.

    `places` says where values lie that others have stored, `repeat` what loops enclose the kernels (a recurrence's body is emitted by an
    emission of its own).
    """

    def __init__(self, state: Grouping, places: dict[Value, Place] | None = None, repeat: tuple[Axis, ...] = (),
                 names: dict[str, int] | None = None):
        self.state, self.graph, self.repeat = state, state.graph, repeat
        self.places: dict[Value, Place] = dict(places or {})
        self.names = dict.fromkeys(self.graph.output_names, 1) if names is None else names  # with the last number of each stem
        self.composite: dict[Value, Expr] = {}
        self.kernels: list[Kernel] = []
        self.sizes: list[Size] = []
        self.origins: dict[Value, dict[Any, None]] = {}  # for each root, the places in the model that its kernel computes

    def program(self) -> Program:
        """The whole graph as a program: inputs and outputs get buffers under their names."""
        kept, results = dict(self.graph.states), dict(zip(self.graph.output_names, self.graph.outputs))
        for value in self.graph.inputs:
            self.names[value.op.name] = 1
            buffer = Buffer(value.op.name, value.type.dtype, value.type.shape, "input")
            after = results.get(kept.get(value.op.name, ""))
            self.places[value] = _whole(buffer if after is None or after.shape == value.shape else self._room(buffer, after.type.max_shape))
        outputs = [Buffer(n, v.type.dtype, v.type.shape, "output") for n, v in zip(self.graph.output_names, self.graph.outputs)]
        self.emit([_whole(b) for b in outputs])
        inputs = tuple(self.places[v][0] for v in self.graph.inputs)
        named = {b.name: b for b in outputs}
        states = tuple((b, named[output]) for name, output in self.graph.states for b in inputs if b.name == name)
        symbols = (*self.graph.symbols, *(s.symbol for s in self.sizes if isinstance(s.symbol, Expr)))
        return Program(self.graph.name, inputs, tuple(outputs), tuple(self.kernels), symbols, states=states,
                       sizes=tuple(self.sizes))

    def _room(self, buffer: Buffer, after: tuple[int, ...]) -> Buffer:
        """What is kept and grows, as a view of the memory that it may fill: places stay the same while it does."""
        shape = tuple(map(max, buffer.max_shape, after))
        room = Buffer(self._unique(f"{buffer.name}.room"), buffer.dtype, shape, "input")
        return replace(buffer, parent=room, view_strides=room.strides)

    def emit(self, targets: Sequence[Place]) -> None:
        """Kernels for everything the graph computes, its outputs stored to `targets`."""
        direct: dict[Value, Place] = {}
        for value, target in zip(self.graph.outputs, targets):
            if value in self.state.locals or hasattr(value.op, "update") or hasattr(value.op, "alternatives"):
                direct.setdefault(value, target)
        for op in self.graph.ops:
            if hasattr(op, "computed_sizes"):
                self._sizes(op)
            if hasattr(op, "selection"):
                self._selection(op)
            if hasattr(op, "recurrence"):
                self._recurrence(op)
            if hasattr(op, "update"):
                self._update(op, direct)
            if hasattr(op, "alternatives"):
                self._alternatives(op, direct)
            for value in op.results:
                if value in self.state.locals:
                    self._value(value, direct)
        for value, target in zip(self.graph.outputs, targets):
            if direct.get(value) is not target:
                self._copy(value, target)

    def _value(self, value: Value, direct: dict[Value, Place]) -> None:
        local = self.state.locals[value]
        self.composite[value] = transform((local.expr,), self._resolve)[0]
        if value.loc:
            self.origins.setdefault(self.state.groups[value].root, {})[value.loc] = None
        if self.state.groups[value].root is value:
            self.places[value] = direct.get(value) or _whole(self._temporary(value.name, value))
            self._kernel(value, local.axes, self.composite[value], self.places[value])

    def _copy(self, value: Value, target: Place) -> None:
        """Inputs, constants and values given out twice are copied to where they are wanted."""
        axes = tuple(fresh("i", 0, high(d) - 1) for d in value.type.shape)
        self._kernel(value, axes, self._read(value, axes), target)

    def _sizes(self, op: Op) -> None:
        """What an operator gives as sizes is stored on its own before anything of these sizes is computed."""
        value, = op.operands
        buffer = Buffer(self._unique(op.output.name), value.type.dtype, value.type.shape, "sizes")
        self._copy(value, _whole(buffer))
        self.sizes += [Size(symbol, buffer, n, low, high) for n, (symbol, low, high) in enumerate(op.computed_sizes)]

    def _kernel(self, value: Value, axes: tuple[Expr, ...], expr: Expr, target: Place) -> None:
        buffer, place = target
        over = tuple(Axis(v, d) for v, d in zip(axes, value.type.shape))
        kernel = Kernel(buffer.name, over, (Stage(buffer.name, (), expr, buffer, place(axes)),), loc=value.loc)
        origins = tuple(self.origins.get(value, ()))
        self.kernels.extend(replace(k, repeat=self.repeat, origins=origins) for k in normalize(kernel))

    def _resolve(self, node: Expr) -> Expr | None:
        return self._read(node.data, node.args) if node.op == "read" and isinstance(node.data, Value) else None

    def _read(self, value: Value, at: tuple[Expr, ...]) -> Expr:
        """The element of a value at an index: computed here where it is inlined, else read from its place."""
        if value in self.state.groups and self.state.groups[value].root is not value:
            moved = {own: i for own, i in zip(self.state.locals[value].axes, at) if own is not i}
            return substitute(self.composite[value], moved) if moved else self.composite[value]
        literal = scalar(value)
        if literal is not None:
            return literal
        if value not in self.places and value.is_constant:
            self.places[value] = _whole(Buffer(self._unique(value.name), value.type.dtype, value.type.shape, "constant", data=value.array))
        buffer, place = self.places[value]
        return read(buffer, place(at))

    def _temporary(self, stem: str, value: Value, shape: tuple[Any, ...] | None = None) -> Buffer:
        return Buffer(self._unique(stem), value.type.dtype, value.type.shape if shape is None else shape, "temporary")

    def _unique(self, stem: str) -> str:
        """A name that no other buffer has; numbers go on where those of the stem ended, so the thousandth costs no more than the first."""
        name, count = stem, self.names.get(stem, 1)
        while name in self.names:
            count += 1
            name = f"{stem}.{count}"
        self.names.setdefault(name, 1)
        self.names[stem] = count
        return name

    def _update(self, op: Op, direct: dict[Value, Place]) -> None:
        """A copy of the operand that is changed, then one kernel that walks the points in order and stores what each has to."""
        result = op.output
        self.places[result] = buffer, place = direct.get(result) or _whole(self._temporary(result.name, result))
        axes = tuple(fresh("i", 0, high(d) - 1) for d in op.points)
        form = update_of(op, axes, resolve_plain)
        self._copy(form.base, (buffer, place))
        flat = [e for pair in form.guards for e in pair]
        value, *rest = transform((form.value, *form.indices, *flat), self._resolve)
        indices, flat = rest[:len(form.indices)], rest[len(form.indices):]
        over = tuple(Axis(v, d) for v, d in zip(axes, op.points))
        stage = Stage(buffer.name, over, value, buffer, place(tuple(indices)), form.combine, tuple(zip(flat[::2], flat[1::2])))
        self.kernels.append(Kernel(buffer.name, (), (stage,), repeat=self.repeat, loc=op.loc))

    def _selection(self, op: Op) -> None:
        """The places of what is chosen, and their number, which starts at 0 with the places."""
        places, number = (self._temporary(result.name, result) for result in op.results)
        for value, buffer in zip(op.results, (places, number)):
            self.places[value] = _whole(buffer)
            axes = tuple(fresh("i", 0, high(d) - 1) for d in value.type.shape)
            self._kernel(value, axes, const(0, value.type.dtype), _whole(buffer))
        holds = lambda at: transform(selection_of(op, at, resolve_plain), self._resolve)[0]
        self.kernels += selecting(places, number, holds, self.repeat, op.loc)

    # ------------------------------------------------------------------------------------------------------- recurrences

    def _recurrence(self, op: Op) -> None:
        """The body's kernels, repeated. A state has two halves: an iteration reads one and writes the other, so nothing is moved."""
        form: Recurrence = op.recurrence()
        if form.condition is not None:
            return self._while(op, form)
        step = Axis(fresh("t", 0, high(form.length) - 1), form.length)
        t = step.var
        inside_places: dict[Value, Place] = {}
        targets: list[Place] = []
        for state in form.states:
            buffer = self._temporary(f"{op.results[0].name}.state", state.initial, (2, *state.initial.type.shape))
            self._copy(state.initial, (buffer, _fixed(0)))
            inside_places[state.inside] = (buffer, lambda at, t=t: (t % 2, *at))
            targets.append((buffer, lambda at, t=t: ((t + 1) % 2, *at)))
            if state.final is not None:
                self.places[state.final] = (buffer, _fixed_end(form.length))
        for part in form.slices:
            inside_places[part.inside] = self._slice(part.outer, part.axis, _running(t, form.length, part.backward))
        for outer, inner in form.captured:
            if inner is not outer:
                inside_places[inner] = self._slice(outer, None, None)
        for part in form.scans:
            buffer = self._temporary(part.outer.name, part.outer)
            self.places[part.outer] = _whole(buffer)
            targets.append((buffer, _inserted(part.axis, _running(t, form.length, part.backward))))
        self._body(form.body, inside_places, step, targets)

    def _while(self, op: Op, form: Recurrence) -> None:
        """The body's kernels under a condition. How often they run nobody knows, so a state has one place: the next one is moved there."""
        condition = self._condition(op, form.condition, True)
        step = Axis(fresh("t", 0, high(form.length)), form.length, condition)
        places: dict[Value, Place] = {inner: self._slice(outer, None, None) for outer, inner in form.captured if inner is not outer}
        targets: list[Place] = [_whole(self._temporary(f"{condition.name}.next", form.condition, ()))]
        moves = [(targets[0][0], condition)]
        for state in form.states:
            buffer, following = (self._temporary(f"{op.results[0].name}.{stem}", state.initial) for stem in ("state", "next"))
            self._copy(state.initial, _whole(buffer))
            places[state.inside] = self.places[state.final] = _whole(buffer)
            targets.append(_whole(following))
            moves.append((following, buffer))
        for part in form.scans:
            buffer = self._temporary(part.outer.name, part.outer)
            self.places[part.outer] = _whole(buffer)
            targets.append((buffer, _inserted(part.axis, step.var)))
        self._body(form.body, places, step, targets)
        self.kernels.extend(self._moved(source, target, (*self.repeat, step)) for source, target in moves)

    def _alternatives(self, op: Op, direct: dict[Value, Place]) -> None:
        """The kernels of each graph under its condition, all storing to the same results."""
        form: Alternatives = op.alternatives()
        for value in op.results:
            self.places[value] = direct.get(value) or _whole(self._temporary(value.name, value))
        conditions = [self._condition(op, form.condition, when) for when, _ in form.graphs]
        for condition, (_, graph) in zip(conditions, form.graphs):
            step = Axis(fresh("t", 0, 1), 1, condition)
            places = {inner: self._slice(outer, None, None) for outer, inner in zip(form.captured, graph.inputs)}
            self._body(graph, places, step, [self.places[value] for value in op.results])

    def _condition(self, op: Op, value: Value, when: bool) -> Buffer:
        """A buffer of one bool that says whether a value is `when`, now."""
        buffer = self._temporary(f"{op.results[0].name}.{'if' if when else 'else'}", value, ())
        found = self._read(value, (const(0, index),) * value.type.rank)
        self.kernels.append(Kernel(buffer.name, (), (Stage(buffer.name, (), found if when else ~found, buffer),), repeat=self.repeat,
                                   loc=op.loc))
        return buffer

    def _body(self, graph: Graph, places: dict[Value, Place], step: Axis, targets: Sequence[Place]) -> None:
        body = _Emission(grouped(graph, self.state.max_ops), places, (*self.repeat, step), self.names)
        body.emit(targets)
        self.kernels.extend(body.kernels)
        self.sizes.extend(body.sizes)

    def _moved(self, source: Buffer, target: Buffer, repeat: tuple[Axis, ...]) -> Kernel:
        axes = tuple(Axis(fresh("i", 0, high(d) - 1), d) for d in target.shape)
        at = tuple(a.var for a in axes)
        return Kernel(target.name, axes, (Stage(target.name, (), read(source, at), target, at),), repeat=repeat)

    def _slice(self, value: Value, axis: int | None, at: Expr | None) -> Place:
        """Where the slices of an outer value lie."""
        self._read(value, tuple(fresh("i", 0, high(d) - 1) for d in value.type.shape))  # gives a constant its buffer
        if value not in self.places:
            literal = Buffer(self._unique(value.name), value.type.dtype, value.type.shape, "constant", data=value.array)
            self.places[value] = _whole(literal)
        buffer, place = self.places[value]
        return (buffer, place) if axis is None else (buffer, lambda i: place(_inserted(axis, at)(i)))


def _fixed(number: int) -> Callable[[tuple[Expr, ...]], tuple[Expr, ...]]:
    return lambda at: (const(number, index), *at)


def _fixed_end(length: Any) -> Callable[[tuple[Expr, ...]], tuple[Expr, ...]]:
    """The half of a state that holds its last value."""
    return lambda at: (as_expr(length, index) % 2, *at)


def _running(t: Expr, length: Any, backward: bool) -> Expr:
    return as_expr(length, index) - 1 - t if backward else t


def _inserted(axis: int, at: Expr) -> Callable[[tuple[Expr, ...]], tuple[Expr, ...]]:
    return lambda i: (*i[:axis], at, *i[axis:])
