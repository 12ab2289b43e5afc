"""What is worth fusing: which values of a graph get memory, and which are computed in the kernel that reads them. Used by `fuse`.

Every value is lowered on its own first, its operands read as values. From the last to the first each one joins the kernel of its readers,
when that never evaluates one of its elements twice, or when it is a pure view (no arithmetic), else it gets a kernel. A view chosen by
data that is chosen from again and read repeatedly is stored: through a chain of TopK each kernel would follow all choices before it.

    state = grouped(graph, max_ops=64);  state.groups[value].root        # the value whose kernel computes it
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

from edgec.errors import Unsupported
from edgec.expr import Expr, ReduceParts, fresh, is_const, read
from edgec.graph import Constant, Graph, Input, Op, Value
from edgec.lowering import lower_op, scalar
from edgec.passes.widening import widened
from edgec.sweeps import walk
from edgec.types import DType, bf16, f32

# What decoding a constant may take: it is done where the constant is read, as often as it is, so that it stays as small as it is stored.
DECODING = frozenset({"read", "inside", "const", "var", "linear", "floordiv", "cast", "bitcast", "select", "add", "sub", "mul", "min",
                      "max", "and", "or", "xor", "shl", "shr", "lt", "le", "eq", "ne", "not"})


MAX_CHOICES = 8  # by data, one in the index of another, before a value is stored: each kernel would follow all before it
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
    sites: dict[Value, list[Site]]
    is_chosen: bool  # a view that reads where another tensor says


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
class Grouping:
    """What is known of every value of a graph: its own definition, who reads it, the kernel that computes it."""

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
    factors: dict[Value, float] = field(default_factory=dict)  # how often each element of a value is evaluated, once it has its group
    chosen_from: set[Value] = field(default_factory=set)  # values that a choice by data reads, itself or through views
    choices: dict[Value, int] = field(default_factory=dict)  # how many choices by data stand one in another where a value is inlined
    widened: frozenset[DType] = frozenset({bf16})  # narrow floats that cost next to nothing to read as f32

    def axes_of(self, shape: Sequence[Any]) -> tuple[Expr, ...]:
        """The index variables of a value: values of one shape share them, so that what is read where it is stored needs no renaming."""
        return tuple(self.axes.setdefault((n, high(d)), fresh("i", 0, high(d) - 1)) for n, d in enumerate(shape))


def grouped(graph: Graph, max_ops: int, target: Any = None) -> Grouping:
    """Every value of a graph with the kernel it belongs to; `max_ops` bounds the operators of one kernel."""
    state = Grouping(graph, max_ops, pinned=set(graph.outputs), widened=frozenset({bf16, *widened(target)}))
    _lower_all(state)
    _group_all(state)
    return state


STORING = ("recurrence", "update", "alternatives", "selection")  # methods of operators whose kernels store results by themselves


# ---------------------------------------------------------------------------------------------------------------- lowering

def _lower_all(state: Grouping) -> None:
    for op in state.graph.ops:
        stores = any(hasattr(op, form) for form in STORING)
        if stores or hasattr(op, "computed_sizes"):
            state.pinned.update(op.operands)
        if not stores and not isinstance(op, (Input, Constant)):
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
    expr = lower_op(op, axes, resolve_plain)[result.number]
    nodes = walk(expr)
    view = all(n.op in ("read", "inside", "const", "var", "linear", "floordiv", "mul", "min", "max", "select", "cast", "and", "or",
                        "lt", "le", "eq", "ne", "not") for n in nodes) and _is_view(expr, widened)
    return Local(result, axes, expr, view, _is_piecewise(expr), any(n.op == "reduce" for n in nodes), _sites(expr, axes, result),
                 view and _is_chosen(expr))


def high(d: Any) -> int:
    """The largest size of a dimension."""
    return d if isinstance(d, int) else d.hi


def resolve_plain(value: Value, at: tuple[Expr, ...]) -> Expr:
    """An operand as a read of its value, or as the number it is."""
    literal = scalar(value)
    return read(value, at) if literal is None else literal


def _is_view(expr: Expr, widened: frozenset[DType]) -> bool:
    """A read of one tensor at some index, or a literal; possibly with a fill outside, possibly widened (from bfloat16 by a shift)."""
    while expr.op == "inside" or expr.op == "cast" and expr.args[0].dtype in widened and expr.dtype is f32:
        expr = expr.args[0]
    return expr.op == "const" or expr.op == "read" and not _is_table(expr)


def _is_chosen(view: Expr) -> bool:
    """A view whose index is read from memory, as GatherElements' is."""
    return any(n.op == "read" for read_here in walk(view) if read_here.op == "read" for a in read_here.args for n in walk(a))


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
    extents = {a: high(d) for a, d in zip(axes, result.type.shape)}
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

def _group_all(state: Grouping) -> None:
    for value in reversed(list(state.locals)):
        group = None if value in state.pinned else _join(state, state.locals[value])
        if group is None:
            group = Group(value)
            state.has_anchor[value] = state.locals[value].has_reduce
        elif state.locals[value].has_reduce:
            state.has_anchor[group.root] = True
        state.groups[value] = group
        state.factors[value] = _view_factor(state, value)
        state.size[group.root] = state.size.get(group.root, 0) + 1


def _join(state: Grouping, local: Local) -> Group | None:
    """The group this value is inlined into, or None when it needs memory of its own."""
    value, users = local.value, state.users.get(local.value, ())
    if local.is_piecewise or not users:
        return None
    if is_widened_byte(local.expr) and _evaluations(state, local, users) <= MAX_WIDENINGS * value.type.max_size:
        local.is_view = True
    if _is_chosen_from(state, users):
        state.chosen_from.add(value)
        again = local.is_chosen and _evaluations(state, local, users) > value.type.max_size
        if value not in state.fixed and (again or _choices(state, local, users) > MAX_CHOICES):
            return None
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


def _is_chosen_from(state: Grouping, users: tuple[Value, ...]) -> bool:
    """Whether some user is a choice by data, or a view inlined into one."""
    return any(state.locals[u].is_chosen or state.locals[u].is_view and u in state.chosen_from for u in users)


def _choices(state: Grouping, local: Local, users: tuple[Value, ...]) -> int:
    """How many choices by data stand one in another where the value is computed in its readers: its own, and those that read it."""
    around = (state.choices.get(u, 0) for u in users if state.groups[u].root is not u)
    state.choices[local.value] = local.is_chosen + max(around, default=0)
    return state.choices[local.value]


def _through_shared_view(state: Grouping, users: tuple[Value, ...]) -> bool:
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


def _read_in_reduce(state: Grouping, local: Local, users: tuple[Value, ...]) -> bool:
    return any(site.in_reduce for u in users for site in state.locals[u].sites[local.value])


def _evaluations(state: Grouping, local: Local, users: tuple[Value, ...]) -> int:
    """How often elements of this value would be evaluated; equal indices count once (x * sigmoid(x) reads x once)."""
    counts = []
    for user in dict.fromkeys(users):
        sites = state.locals[user].sites[local.value]
        through = state.factors[user]
        total = sum(site.evaluations for site in sites) * through
        counts.append((total, all(site.is_identity for site in sites)))
    if all(identity for _, identity in counts):
        return max(total for total, _ in counts)
    return int(sum(total for total, _ in counts))


def _view_factor(state: Grouping, user: Value) -> float:
    """How often each element of an inlined user is itself evaluated: 1, except for views read repeatedly."""
    local = state.locals[user]
    if not local.is_view or state.groups[user].root is user:
        return 1.0
    readers = dict.fromkeys(state.users.get(user, ()))
    sites = [site for r in readers for site in state.locals[r].sites[user]]
    if all(site.is_identity for site in sites):  # x * f(x) reads x once
        total = max(state.factors[r] * max(s.evaluations for s in state.locals[r].sites[user]) for r in readers)
    else:
        total = sum(state.factors[r] * sum(s.evaluations for s in state.locals[r].sites[user]) for r in readers)
    return total / max(1, user.type.max_size)
