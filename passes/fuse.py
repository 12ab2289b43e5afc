"""Graph -> Program: decides which values get memory; everything else becomes part of the kernel that reads it.

Reading an operand is calling it, so fusing is substituting a producer's expression into its reader's. This pass only decides what is
*worth* it, by counting: a value is inlined when that never evaluates one of its elements twice, or when it is a pure view (no arithmetic).

    relu(conv(x, w) + b)   ->   one kernel  y[o,i,j] = max(sum_over(...) + b[o], 0)
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from math import prod
from typing import Any, Callable, Sequence

from edgec.errors import Unsupported
from edgec.expr import Expr, ReduceParts, as_expr, const, fresh, is_const, read, substitute, transform, walk
from edgec.graph import Constant, Graph, Input, Op, Value
from edgec.kernel import Axis, Buffer, Kernel, Program, Stage
from edgec.lowering import Recurrence, lower_op, scalar, update_of
from edgec.passes.normalize import normalize
from edgec.passes.widening import widened
from edgec.types import DType, bf16, f32, index

# What decoding a constant may take: it is done where the constant is read, as often as it is, so that it stays as small as it is stored.
DECODING = frozenset({"read", "inside", "const", "var", "linear", "floordiv", "cast", "bitcast", "select", "add", "sub", "mul", "min",
                      "max", "and", "or", "xor", "shl", "shr", "lt", "le", "eq", "ne", "not"})


MAX_WIDENINGS = 8  # of each byte that is read as a real number, before the real numbers are stored


@dataclass(eq=False)
class Local:
    """One value's own definition, reading its operands as Values."""

    value: Value
    axes: tuple[Expr, ...]
    expr: Expr
    is_view: bool
    is_piecewise: bool
    has_reduce: bool
    sites: dict[Value, list["Site"]]


@dataclass(frozen=True, eq=False)
class Site:
    """One read of an operand: how often it is evaluated, and whether inside a reduction."""

    evaluations: int
    in_reduce: bool
    is_identity: bool


@dataclass(eq=False)
class Group:
    """What is known of a value's kernel while fusing: its root, and how its own elements are evaluated there."""

    root: Value
    in_reduce: bool = False


@dataclass(eq=False)
class _State:
    graph: Graph
    max_ops: int
    locals: dict[Value, Local] = field(default_factory=dict)
    groups: dict[Value, Group] = field(default_factory=dict)
    has_anchor: dict[Value, bool] = field(default_factory=dict)
    size: dict[Value, int] = field(default_factory=dict)
    users: dict[Value, tuple[Value, ...]] = field(default_factory=dict)
    fixed: set[Value] = field(default_factory=set)  # values that depend on constants alone
    pinned: set[Value] = field(default_factory=set)  # values that need memory whoever reads them: outputs, operands of recurrences
    axes: dict[tuple[int, int], Expr] = field(default_factory=dict)
    widened: frozenset[DType] = frozenset({bf16})  # narrow floats that cost next to nothing to read as f32

    def axes_of(self, shape: Sequence[Any]) -> tuple[Expr, ...]:
        """The index variables of a value: values of one shape share them, so that what is read where it is stored needs no renaming."""
        return tuple(self.axes.setdefault((n, _high(d)), fresh("i", 0, _high(d) - 1)) for n, d in enumerate(shape))


def fuse(graph: Graph, target: Any = None, *, max_ops: int = 64) -> Program:
    """The program of a graph: one kernel per value that needs memory. `max_ops` bounds the operators of one kernel."""
    emission = _Emission(_grouped(graph, max_ops, target))
    return emission.program()


def _grouped(graph: Graph, max_ops: int, target: Any = None) -> _State:
    state = _State(graph, max_ops, pinned=set(graph.outputs), widened=frozenset({bf16, *widened(target)}))
    _lower_all(state)
    _group_all(state)
    return state


# ---------------------------------------------------------------------------------------------------------------- lowering

def _lower_all(state: _State) -> None:
    for op in state.graph.ops:
        if hasattr(op, "recurrence") or hasattr(op, "update"):
            state.pinned.update(op.operands)
        elif not isinstance(op, (Input, Constant)):
            known = bool(op.operands) and all(v.is_constant or v in state.fixed for v in op.operands)
            for result in _used_results(state.graph, op):
                local = state.locals[result] = _lower_one(op, result, state.axes_of(result.type.shape), state.widened)
                if known and all(n.op in DECODING for n in walk(local.expr)):
                    state.fixed.add(result)
                    local.is_view = True
    for local in state.locals.values():
        for operand in local.sites:
            state.users[operand] = (*state.users.get(operand, ()), local.value)


def _used_results(graph: Graph, op: Op) -> list[Value]:
    used = set(graph.outputs)
    return [r for r in op.results if r in graph.users or r in used]


def _lower_one(op: Op, result: Value, axes: tuple[Expr, ...], widened: frozenset[DType]) -> Local:
    if not hasattr(op, "lower"):
        raise Unsupported(f"{type(op).__name__} cannot be compiled to native code yet", loc=op.loc,
                          hint="the interpreter runs it; `edgec check` lists every such node")
    expr = lower_op(op, axes, _resolve_plain)[result.number]
    nodes = walk(expr)
    view = all(n.op in ("read", "inside", "const", "var", "linear", "floordiv", "mul", "min", "max", "select", "cast", "and", "or",
                        "lt", "le", "eq", "ne", "not") for n in nodes) and _is_view(expr, widened)
    return Local(result, axes, expr, view, _is_piecewise(expr), any(n.op == "reduce" for n in nodes), _sites(expr, axes, result))


def _high(d: Any) -> int:
    return d if isinstance(d, int) else d.hi


def _resolve_plain(value: Value, at: tuple[Expr, ...]) -> Expr:
    literal = scalar(value)
    return read(value, at) if literal is None else literal


def _is_view(expr: Expr, widened: frozenset[DType]) -> bool:
    """A read of one tensor at some index, or a literal; possibly with a fill outside, possibly widened (from bfloat16 by a shift)."""
    while expr.op == "inside" or expr.op == "cast" and expr.args[0].dtype in widened and expr.dtype is f32:
        expr = expr.args[0]
    return expr.op == "const" or expr.op == "read" and not _is_table(expr)


def _is_table(expr: Expr) -> bool:
    """A constant read where a byte says: a function of that byte, computed once an element and not wherever the element is read."""
    return isinstance(expr.data, Value) and expr.data.is_constant and any(
        n.op == "read" and n.dtype.bits == 8 and isinstance(n.data, Value) and not n.data.is_constant for a in expr.args for n in walk(a))


def is_widened_byte(expr: Expr) -> bool:
    """An 8-bit element as a real number, (x - zero) * scale: four times smaller in memory, and cheaper to compute again than to store."""
    nodes = walk(expr)
    bytes_read = [n for n in nodes if n.op == "read" and n.dtype.bits == 8 and isinstance(n.data, Value) and not n.data.is_constant]
    others = [n for n in nodes if n.op == "read" and n not in bytes_read]
    return expr.op == "mul" and expr.dtype is f32 and len(bytes_read) == 1 and all(n.data.is_constant for n in others) \
        and all(n.op in ("read", "const", "cast", "sub", "mul", "var", "linear") for n in nodes)


def _is_piecewise(expr: Expr) -> bool:
    """A choice between operands by index, as concatenation is."""
    return expr.op == "select" and any(n.op == "read" for n in walk(expr)) and all(v.op == "var" for v in expr.args[0].free) \
        and not any(n.op == "read" for n in walk(expr.args[0]))


def _sites(expr: Expr, axes: tuple[Expr, ...], result: Value) -> dict[Value, list[Site]]:
    """Every read, with the number of its evaluations once invariant reductions are hoisted."""
    found: dict[Value, list[Site]] = {}
    extents = {a: _high(d) for a, d in zip(axes, result.type.shape)}
    work: list[tuple[Expr, int, bool]] = [(expr, prod(extents.values()), False)]
    seen: set[tuple[int, bool]] = set()
    while work:
        node, count, in_reduce = work.pop()
        if (id(node), in_reduce) in seen:
            continue
        seen.add((id(node), in_reduce))
        if node.op == "read" and isinstance(node.data, Value):
            identity = len(node.args) == len(axes) and all(a is b or extents[b] == 1 and is_const(a, 0) for a, b in zip(node.args, axes))
            found.setdefault(node.data, []).append(Site(count, in_reduce, identity))
        if node.op == "reduce":
            parts = ReduceParts(node)
            outer = prod(extents.get(v, 1) for v in node.free) if not in_reduce else count
            count = outer * prod(_high_expr(e) for e in parts.extents)
            in_reduce = True
        work.extend((a, count, in_reduce) for a in node.args)
    return found


def _high_expr(e: Expr) -> int:
    return e.data if e.op == "const" else e.hi


# ---------------------------------------------------------------------------------------------------------------- grouping

def _group_all(state: _State) -> None:
    for value in reversed(list(state.locals)):
        group = None if value in state.pinned else _join(state, state.locals[value])
        if group is None:
            group = Group(value)
            state.has_anchor[value] = state.locals[value].has_reduce
        elif state.locals[value].has_reduce:
            state.has_anchor[group.root] = True
        state.groups[value] = group
        state.size[group.root] = state.size.get(group.root, 0) + 1


def _join(state: _State, local: Local) -> Group | None:
    """The group this value is inlined into, or None when it needs memory of its own."""
    value, users = local.value, state.users.get(local.value, ())
    if local.is_piecewise or not users:
        return None
    if is_widened_byte(local.expr) and _evaluations(state, local, users) <= MAX_WIDENINGS * value.type.max_size:
        local.is_view = True
    if local.is_view:
        # A view is free to read from any number of kernels: it belongs to none, and never counts as evaluated twice.
        return Group(state.groups[users[0]].root, any(state.groups[u].in_reduce for u in users) or _read_in_reduce(state, local, users))
    roots = {state.groups[u].root for u in users}
    if len(roots) != 1 or any(state.locals[u].is_piecewise for u in users) or _through_shared_view(state, users):
        return None
    root = roots.pop()
    in_reduce = any(state.groups[u].in_reduce for u in users) or _read_in_reduce(state, local, users)
    if local.has_reduce and (in_reduce or state.has_anchor[root]):
        return None
    if state.size[root] >= state.max_ops or _evaluations(state, local, users) > value.type.max_size:
        return None
    return Group(root, in_reduce)


def _through_shared_view(state: _State, users: tuple[Value, ...]) -> bool:
    """Whether some user is a view read by several kernels (then this value would be computed in each of them)."""
    work = list(users)
    while work:
        user = work.pop()
        local = state.locals[user]
        if local.is_view and state.groups[user].root is not user:
            readers = state.users.get(user, ())
            if len({state.groups[r].root for r in readers}) > 1 or any(state.locals[r].is_piecewise for r in readers):
                return True
            work.extend(readers)
    return False


def _read_in_reduce(state: _State, local: Local, users: tuple[Value, ...]) -> bool:
    return any(site.in_reduce for u in users for site in state.locals[u].sites[local.value])


def _evaluations(state: _State, local: Local, users: tuple[Value, ...]) -> int:
    """How often elements of this value would be evaluated; equal indices count once (x * sigmoid(x) reads x once)."""
    counts = []
    for user in dict.fromkeys(users):
        sites = state.locals[user].sites[local.value]
        through = _view_factor(state, user)
        total = sum(site.evaluations for site in sites) * through
        counts.append((total, all(site.is_identity for site in sites)))
    if all(identity for _, identity in counts):
        return max(total for total, _ in counts)
    return int(sum(total for total, _ in counts))


def _view_factor(state: _State, user: Value) -> float:
    """How often each element of an inlined user is itself evaluated: 1, except for views read repeatedly."""
    local = state.locals[user]
    if not local.is_view or state.groups[user].root is user:
        return 1.0
    readers = dict.fromkeys(state.users.get(user, ()))
    sites = [site for r in readers for site in state.locals[r].sites[user]]
    if all(site.is_identity for site in sites):  # x * f(x) reads x once
        total = max(_view_factor(state, r) * max(s.evaluations for s in state.locals[r].sites[user]) for r in readers)
    else:
        total = sum(_view_factor(state, r) * sum(s.evaluations for s in state.locals[r].sites[user]) for r in readers)
    return total / max(1, user.type.max_size)


# ---------------------------------------------------------------------------------------------------------------- emission

Place = tuple[Buffer, Callable[[tuple[Expr, ...]], tuple[Expr, ...]]]  # a buffer, and where in it the element at an index lies


def _whole(buffer: Buffer) -> Place:
    return buffer, lambda at: at


class _Emission:
    """Composes the expression of every value from its own definition and those inlined into it, and gives kernels to the roots.

    `places` says where values lie that others have stored, `repeat` what loops enclose the kernels (a recurrence's body is emitted by an
    emission of its own).
    """

    def __init__(self, state: _State, places: dict[Value, Place] | None = None, repeat: tuple[Axis, ...] = (),
                 names: set[str] | None = None):
        self.state, self.graph, self.repeat = state, state.graph, repeat
        self.places: dict[Value, Place] = dict(places or {})
        self.names = set(self.graph.output_names) if names is None else names
        self.composite: dict[Value, Expr] = {}
        self.kernels: list[Kernel] = []
        self.origins: dict[Value, dict[Any, None]] = {}  # for each root, the places in the model that its kernel computes

    def program(self) -> Program:
        """The whole graph as a program: inputs and outputs get buffers under their names."""
        for value in self.graph.inputs:
            self.names.add(value.op.name)
            self.places[value] = _whole(Buffer(value.op.name, value.type.dtype, value.type.shape, "input"))
        outputs = [Buffer(n, v.type.dtype, v.type.shape, "output") for n, v in zip(self.graph.output_names, self.graph.outputs)]
        self.emit([_whole(b) for b in outputs])
        inputs = tuple(self.places[v][0] for v in self.graph.inputs)
        named = {b.name: b for b in outputs}
        states = tuple((b, named[output]) for name, output in self.graph.states for b in inputs if b.name == name)
        return Program(self.graph.name, inputs, tuple(outputs), tuple(self.kernels), self.graph.symbols, states=states)

    def emit(self, targets: Sequence[Place]) -> None:
        """Kernels for everything the graph computes, its outputs stored to `targets`."""
        direct: dict[Value, Place] = {}
        for value, target in zip(self.graph.outputs, targets):
            if value in self.state.locals or hasattr(value.op, "update"):
                direct.setdefault(value, target)
        for op in self.graph.ops:
            if hasattr(op, "recurrence"):
                self._recurrence(op)
            if hasattr(op, "update"):
                self._update(op, direct)
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
        axes = tuple(fresh("i", 0, _high(d) - 1) for d in value.type.shape)
        self._kernel(value, axes, self._read(value, axes), target)

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
        name, count = stem, 1
        while name in self.names:
            count += 1
            name = f"{stem}.{count}"
        self.names.add(name)
        return name

    def _update(self, op: Op, direct: dict[Value, Place]) -> None:
        """A copy of the operand that is changed, then one kernel that walks the points in order and stores what each has to."""
        result = op.output
        self.places[result] = buffer, place = direct.get(result) or _whole(self._temporary(result.name, result))
        axes = tuple(fresh("i", 0, _high(d) - 1) for d in op.points)
        form = update_of(op, axes, _resolve_plain)
        self._copy(form.base, (buffer, place))
        flat = [e for pair in form.guards for e in pair]
        value, *rest = transform((form.value, *form.indices, *flat), self._resolve)
        indices, flat = rest[:len(form.indices)], rest[len(form.indices):]
        over = tuple(Axis(v, d) for v, d in zip(axes, op.points))
        stage = Stage(buffer.name, over, value, buffer, place(tuple(indices)), form.combine, tuple(zip(flat[::2], flat[1::2])))
        self.kernels.append(Kernel(buffer.name, (), (stage,), repeat=self.repeat, loc=op.loc))

    # ------------------------------------------------------------------------------------------------------- recurrences

    def _recurrence(self, op: Op) -> None:
        """The body's kernels, repeated. A state has two halves: an iteration reads one and writes the other, so nothing is moved."""
        form: Recurrence = op.recurrence()
        step = Axis(fresh("t", 0, _high(form.length) - 1), form.length)
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
        body = _Emission(_grouped(form.body, self.state.max_ops), inside_places, (*self.repeat, step), self.names)
        body.emit(targets)
        self.kernels.extend(body.kernels)

    def _slice(self, value: Value, axis: int | None, at: Expr | None) -> Place:
        """Where the slices of an outer value lie."""
        self._read(value, tuple(fresh("i", 0, _high(d) - 1) for d in value.type.shape))  # gives a constant its buffer
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
