"""Sums of products become dot products where the target has an instruction for them: g reduction steps at once in every lane.

The reduction axis k is walked in groups of g neighbours, 32 bits together. One operand has these neighbours side by side in memory and is
read as whole words; the other's are gathered into words, by `pack` at compile time where it is constant. A last incomplete group is filled
up with zeros and written out apart from the loop.

    sum_over(c < 64; f32(x[64*i + c]) * f32(w[64*o + c]))                       x, w: bf16
    ->  sum_over(c < 32; dot(0.0, x[64*i + 2*c as bf16x2], word(w[64*o + 2*c], w[64*o + 2*c + 1])))
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Sequence

from edgec.backends.instruction import Dot, dots as dot_rows
from edgec.expr import Expr, const, dot, fresh, inside, is_const, make, rebuild, substitute, walk, word
from edgec.linear import coefficient
from edgec.loops import load
from edgec.passes.nest import Domain, Nest, domain_key
from edgec.types import index, word_of


@dataclass(frozen=True, eq=False)
class Product:
    """What a dot product needs to know of a reduction: `row` takes `first` and `second` in its order, words along `axis`."""

    row: Dot
    first: Expr
    second: Expr
    axis: Expr


def dots(nest: Nest, target: Any) -> Nest:
    """The nest with those reductions as dot products that a row of the target fits."""
    rows = [row for row in dot_rows(target.instructions) if row.lanes == target.lanes(32)]
    found = {node: _product(nest, domain, rows) for node, domain in nest.domains.items()} if rows else {}
    if not any(found.values()):
        return nest
    done: dict[int, Expr] = {}
    domains: dict[Expr, Domain] = {}
    for node in walk(*nest.values):
        made = rebuild(node, [done[id(a)] for a in node.args]) if node.args else node
        if node in nest.domains:
            made, domain = _rewritten(node, nest.domains[node], found[node]) if found[node] else (node, nest.domains[node])
            domains[made] = domain
        done[id(node)] = made
    return replace(nest, results=tuple(replace(r, value=done[id(r.value)]) for r in nest.results), domains=domains)


def _product(nest: Nest, domain: Domain, rows: Sequence[Dot]) -> Product | None:
    if domain.combine != "add" or len(domain.body) != 1 or domain.body[0].op != "mul" or not is_const(domain.init[0]):
        return None
    factors = [a.args[0] if a.op == "cast" else a for a in domain.body[0].args]
    if any(f.op != "load" or f.lanes > 1 for f in factors):
        return None
    for moving, other in (factors, factors[::-1]):
        shared = any(a.extent != 1 and a.var in other.free and a.var not in moving.free for a in nest.axes)
        axis = _grouped_axis(domain, moving, other) if shared and not moving.data[0].constant else None
        row = _fitting(rows, domain.body[0].dtype.name, moving.dtype.name, other.dtype.name)
        if axis is not None and row is not None:
            return Product(row, moving, other, axis)
    return None


def _fitting(rows: Sequence[Dot], acc: str, moving: str, other: str) -> Dot | None:
    return next((row for row in rows if row.acc == acc and (row.a, row.b) in ((moving, other), (other, moving))), None)


def _grouped_axis(domain: Domain, moving: Expr, other: Expr) -> Expr | None:
    """The longest reduction axis along which one operand's elements are neighbours and the other's lie at regular steps."""
    guarded = {v for i, _ in domain.guards for v in i.free}
    fitting = [(e.data, -n) for n, (v, e) in enumerate(zip(domain.axes, domain.extents))
               if e.op == "const" and e.data > 1 and v not in guarded and coefficient(moving.args[0], v) == 1
               and coefficient(other.args[0], v)]
    return domain.axes[-max(fitting)[1]] if fitting else None


def _rewritten(node: Expr, domain: Domain, product: Product) -> tuple[Expr, Domain]:
    """The reduction over groups."""
    group, place = product.row.group, domain.axes.index(product.axis)
    extent = domain.extents[place].data
    count = -(-extent // group)
    groups = fresh("g", 0, count - 1)
    first = _side_by_side(product.first, product.axis, groups, extent, group)
    second = word(_elements(product.second, product.axis, groups, extent, group))
    in_order = (product.row.a, product.row.b) == (product.first.dtype.name, product.second.dtype.name)
    operands = (first, second) if in_order else (second, first)
    body = (dot(const(0, node.dtype), *operands),)
    axes = (*domain.axes[:place], groups, *domain.axes[place + 1:])
    extents = (*domain.extents[:place], const(count, index), *domain.extents[place + 1:])
    free = node.free - {product.axis, groups}
    made = make("reduce", (*axes, *extents, *domain.init, *body), node.dtype, node.data, free=free, key=domain_key(node, domain.guards))
    return made, replace(domain, axes=axes, extents=extents, body=body, peeled=frozenset({groups}) if extent % group else frozenset())


def _elements(x: Expr, axis: Expr, groups: Expr, extent: int, group: int) -> list[Expr]:
    """The elements of one group; past the end of the axis they are zeros."""
    places = [groups * group + n for n in range(group)]
    return [inside([(at, extent)], substitute(x, {axis: at}), 0) for at in places]


def _side_by_side(x: Expr, axis: Expr, groups: Expr, extent: int, group: int) -> Expr:
    """One group as a word in memory; the last one is gathered where it is incomplete."""
    whole = load(x.data[0], substitute(x.args[0], {axis: groups * group}), dtype=word_of(x.dtype))
    if extent % group == 0:
        return whole
    return inside([(groups, extent // group)], whole, word(_elements(x, axis, groups, extent, group)))
