"""Sums of f16 products where the machine multiplies and adds f16 but has no instruction that adds their products to f32.

Stands between `flatten` and the schedule. At most BLOCK neighbouring products are summed up in f16, twice as many lanes a vector as f32
has; the sums of the blocks are added in f32. So rounding errors of f16 never pile up beyond a block.

    sum_over(p, c < 96; f32(x[p,c]) * f32(w[o,p,c]))    x, w: f16
    ->  sum_over(p, b < 3; f32(sum_over(c < 32; x[p,32*b+c] * w[o,p,32*b+c])))      the inner sum in f16
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import prod
from typing import Any

from edgec.backends.instruction import meaning, widening_multiply_add
from edgec.expr import Expr, as_expr, binary, cast, const, fresh, is_const, make
from edgec.linear import coefficient
from edgec.passes.nest import Domain, Nest
from edgec.sweeps import rebuild, substitute, walk
from edgec.types import f16, f32

BLOCK = 32   # products summed up in f16
LEAST = 8    # fewer are not worth two conversions and two additions


def planned(nest: Nest, target: Any, choose: Callable[[Nest, Any], Any]) -> tuple[Nest, Any]:
    """The nest with sums of f16 in blocks, where its schedule then fills vectors with results that borders treat alike; and that."""
    split = halves(nest, target)
    plan = choose(split, target)
    if split is nest or plan.vector is not None and not _border_cuts(split, plan.vector.var):
        return split, plan
    return nest, choose(nest, target)


def _border_cuts(nest: Nest, vector: Expr) -> bool:
    """Whether some lanes of a vector may count where others do not."""
    return any(vector in i.free for d in nest.domains.values() for i, _ in d.guards)


def halves(nest: Nest, target: Any) -> Nest:
    """The nest with each contraction of f16 operands as f32 sums of f16 sums, on a target that this is for; else the same nest."""
    if nest.is_update or not multiplies_halves(target):
        return nest
    inner = {node: axes for node, d in nest.domains.items() if (axes := _block(nest, d))}
    if not inner:
        return nest
    done: dict[int, Expr] = {}
    domains: dict[Expr, Domain] = {}
    for node in walk(*nest.values):
        if node in inner:
            done[id(node)] = _split(node, nest.domains[node], inner[node], domains)
            continue
        done[id(node)] = rebuild(node, [done[id(a)] for a in node.args]) if node.args else node
        if node in nest.domains:
            done[id(node)] = node
            domains[node] = nest.domains[node]
    return replace(nest, results=tuple(replace(r, value=done[id(r.value)]) for r in nest.results), domains=domains)


def multiplies_halves(target: Any) -> bool:
    """Whether vectors of f16 are multiplied and added by one instruction, and none adds products of f16 to f32."""
    rows = [m for m in map(meaning, target.instructions) if m.operation == "fma" and m.result.dtype == "f16" and m.result.lanes == 0]
    return bool(rows) and target.vector_bits > 0 and widening_multiply_add(target, "f16") is None


def taken_as_halves(d: Domain, target: Any) -> bool:
    """Whether one instruction adds the products of a reduction's f16 factors to f32, so that nothing converts them before."""
    return all(map(_is_product, d.body)) and widening_multiply_add(target, "f16") is not None


def _block(nest: Nest, d: Domain) -> dict[Expr, int]:
    """The axes of the sums in f16 with what of their extents a block takes: those without a border, least step through memory first."""
    if d.combine != "add" or len(d.body) != 1 or not _is_product(d.body[0]):
        return {}
    loads = [a.args[0] for a in d.body[0].args]
    contracts = any(a.var in x.free and a.var not in y.free and a.extent != 1 for x, y in (loads, loads[::-1]) for a in nest.axes)
    guarded = {v for i, _ in d.guards for v in i.free}
    free = [(v, e.data) for v, e in zip(d.axes, d.extents) if e.op == "const" and v not in guarded]
    if not contracts or len(free) < 1:
        return {}
    moving = next((x for x in loads if not x.data[0].constant), loads[0])
    found: dict[Expr, int] = {}
    for v, extent in sorted(free, key=lambda pair: abs(coefficient(moving.args[0], pair[0]) or 1 << 40)):
        found[v] = block_length(extent, BLOCK // prod(found.values()))
        if found[v] < extent:
            break
    return {v: n for v, n in found.items() if n > 1} if prod(found.values()) >= LEAST else {}


def block_length(extent: int, room: int = BLOCK) -> int:
    """The longest divisor of an extent up to `room`: as many products of it are summed up in f16."""
    return max(n for n in range(1, room + 1) if extent % n == 0)


def _is_product(body: Expr) -> bool:
    return body.op == "mul" and body.dtype is f32 and all(
        a.op == "cast" and a.args[0].op == "load" and a.args[0].dtype is f16 and a.args[0].lanes == 1 for a in body.args)


def _split(node: Expr, d: Domain, block: dict[Expr, int], domains: dict[Expr, Domain]) -> Expr:
    """The reduction in two levels, both noted in `domains`; where one block is all there is, its sum and what the sum begins with."""
    product = make("mul", tuple(a.args[0] for a in d.body[0].args), f16)
    outer: list[tuple[Expr, Expr]] = []
    values: dict[Expr, Expr] = {}
    within: list[tuple[Expr, Expr]] = []
    for v, e in zip(d.axes, d.extents):
        size = block.get(v, 1)
        if v not in block:
            outer.append((v, e))
        elif size == e.data:
            within.append((v, e))
        else:
            blocks, k = fresh("b", 0, e.data // size - 1), fresh("c", 0, size - 1)
            values[v] = blocks * size + k
            outer.append((blocks, as_expr(e.data // size, e.dtype)))
            within.append((k, as_expr(size, e.dtype)))
    zero = const(0.0, f16)
    sums = _reduce(node, within, zero, substitute(product, values))
    domains[sums] = Domain("add", *map(tuple, zip(*within)), (zero,), (substitute(product, values),), (), around=tuple(outer))
    wide = cast(sums, f32)
    if not outer:
        return wide if is_const(d.init[0], 0) else binary("add", d.init[0], wide)
    total = _reduce(node, outer, d.init[0], wide)
    domains[total] = Domain("add", *map(tuple, zip(*outer)), d.init, (wide,), d.guards)
    return total


def _reduce(of: Expr, axes: list[tuple[Expr, Expr]], init: Expr, body: Expr) -> Expr:
    variables, extents = zip(*axes)
    free = init.free | (body.free - frozenset(variables))
    key = ("half", id(of), len(variables))
    return make("reduce", (*variables, *extents, init, body), body.dtype, ("add", len(variables)), free=free, key=key)
