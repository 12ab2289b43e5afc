"""The points of a register tile, and what expressions become at them.

A point binds the tiled axes of a nest to index expressions (`o = 32*t + 16 + iota`, `x = 14*u + 3`); instantiating an expression at a point
turns loads along the vector axis into vector loads. Equal results of different points are one node, which is how operands get shared.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgec.expr import Expr, binary, bitcast, cast, compare, const, is_const
from edgec.linear import coefficient, coefficient_within, without
from edgec.loops import group_of, iota, lane, load, vector
from edgec.sweeps import rebuild, substitute
from edgec.types import bool_, i8, i32, index, u8

BYTES = 256


@dataclass(frozen=True, eq=False)
class Point:
    """One vector of results: where it lies, how many lanes it has, how many of them are real."""

    env: Mapping[Expr, Expr]
    lanes: int = 1
    active: int = 1

    def bind(self, more: Mapping[Expr, Expr]) -> Point:
        return Point({**self.env, **more}, self.lanes, self.active)


@dataclass(frozen=True, eq=False)
class KStep:
    """Copy `number` of `lanes` unrolled copies along `axis`, which starts at `base`: its scalars may be lanes of one vector load."""

    axis: Expr
    base: Expr
    number: int
    lanes: int


def instantiate(root: Expr, point: Point, replaced: Mapping[Expr, Expr], step: KStep | None = None) -> Expr:
    """`root` at a point; nodes in `replaced` stand for finished reductions."""
    done: dict[int, Expr] = {}
    stack: list[tuple[Expr, bool]] = [(root, False)]
    env = point.env
    while stack:
        node, ready = stack.pop()
        if id(node) in done:
            continue
        if node in replaced:
            done[id(node)] = replaced[node]
        elif node in env:
            done[id(node)] = env[node]
        elif not ready and node.args:
            if node.free.isdisjoint(env) and not replaced:
                done[id(node)] = node
                continue
            stack.append((node, True))
            stack.extend((a, False) for a in node.args if id(a) not in done)
        else:
            done[id(node)] = _at(node, [done[id(a)] for a in node.args], point, replaced, step)
    return done[id(root)]


def _at(node: Expr, args: list[Expr], point: Point, replaced: Mapping[Expr, Expr], step: KStep | None) -> Expr:
    if node.op == "load":
        return _load(node, args[0], point, replaced, step)
    if node.op == "inside" and any(a.lanes > 1 for a in args[2:]):
        return lane_by_lane(node, point, replaced)
    if node.op == "cast" and not node.data and args[0].op == "lane":  # the whole vector is converted at once
        return lane(cast(args[0].args[0], node.dtype), args[0].data)
    return rebuild(node, args) if args else node


def _scalars(replaced: Mapping[Expr, Expr], k: int) -> dict[Expr, Expr]:
    return {node: value if value.lanes == 1 else lane(value, k) for node, value in replaced.items()}


def scalar_point(point: Point, k: int) -> Point:
    """Lane k of a point, as a point of its own."""
    fixed = {iota(point.lanes): const(k, index)}
    return Point({v: substitute(e, fixed) for v, e in point.env.items()})


def _load(node: Expr, offset: Expr, point: Point, replaced: Mapping[Expr, Expr], step: KStep | None) -> Expr:
    param = node.data[0]
    if offset.lanes == 1:
        whole = step is not None and not param.constant and is_const(step.base % step.lanes, 0)
        if step is not None and not param.constant and \
                coefficient_within(node.args[0], step.axis, step.lanes if whole else 1) == group_of(node):
            first = instantiate(node.args[0], point.bind({step.axis: step.base}), replaced)
            return lane(load(param, first, step.lanes, dtype=node.dtype), step.number)
        return load(param, offset, dtype=node.dtype)
    lanes, group = iota(offset.lanes), group_of(node)
    if coefficient(offset, lanes) == group and (first := without(offset, lanes)).lanes == 1:  # else no run of neighbours
        return load(param, first, offset.lanes, point.active, node.dtype)
    if param.dealt and coefficient(offset, lanes) == param.dealt:
        return load(param, offset, dtype=node.dtype)
    byte = _byte_of(node)
    if byte is not None:
        return load(param, cast(instantiate(byte, point, replaced), index))
    return lane_by_lane(node, point, replaced)


def _byte_of(node: Expr) -> Expr | None:
    """The u8 by which a load picks one of 256 constant bytes: that of cast<index>(x), or of x + 128 for a signed one."""
    param, at = node.data[0], node.args[0]
    if not (param.constant and param.size == BYTES and node.dtype.bits == 8 and at.op == "cast"):
        return None
    number, = at.args
    least = number.args[1] if number.op == "sub" else number.args[1] if number.op == "add" else const(0, index)
    byte = number.args[0] if number.op in ("add", "sub") else number
    byte = byte.args[0] if byte.op == "cast" and byte.dtype is i32 else byte
    offset = least.data * (-1 if number.op == "sub" else 1) if is_const(least) else None
    if byte.dtype is u8 and offset == 0:
        return byte
    return binary("xor", bitcast(byte, u8), const(BYTES // 2, u8)) if byte.dtype is i8 and offset == BYTES // 2 else None


def is_picked(n: Expr) -> bool:
    """Whether a load picks from a table by a byte that was read, as byte_tables has it for machines that do so within registers."""
    at = n.args[0]
    return n.data[0].constant and at.op == "cast" and at.args[0].dtype is u8


def lane_by_lane(node: Expr, point: Point, replaced: Mapping[Expr, Expr]) -> Expr:
    """Every lane computed as a scalar; lanes past the active ones repeat the last real one."""
    places = [min(k, point.active - 1) for k in range(point.lanes)]
    return vector([instantiate(node, scalar_point(point, k), _scalars(replaced, k)) for k in places])


def all_inside(pairs: Sequence[tuple[Expr, Expr]]) -> Expr:
    """Whether 0 <= i < extent holds for every pair."""
    condition = const(True, bool_)
    for i, extent in pairs:
        condition = binary("and", condition, binary("and", compare("le", 0, i), compare("lt", i, extent)))
    return condition
