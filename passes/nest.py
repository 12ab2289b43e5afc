"""A nest: one stage in flat form. Reads become loads of element offsets, which makes strides, merging and vectors a matter of coefficients.

    y[o,i,j] = sum_over(c, p, q; x[c, i+p-1, j+q-1] * w[o,c,p,q])
    ->  axes o i j;  y[56*56*o + 56*i + j] = sum(... x[...] * w[...])  with the domain 0 <= i+p-1 < 56, 0 <= j+q-1 < 56
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

from edgec.expr import Expr, ReduceParts, as_expr, fresh, inside_pairs, is_const, make, neutral
from edgec.kernel import Axis, Buffer, Stage
from edgec.linear import coefficient, coefficient_within, split
from edgec.loops import Param, load
from edgec.sweeps import rebuild, substitute, transform, walk
from edgec.types import index


@dataclass(frozen=True, eq=False)
class Domain:
    """A reduction whose out-of-range points may be left out, since they would add the identity."""

    combine: Any
    axes: tuple[Expr, ...]
    extents: tuple[Expr, ...]
    init: tuple[Expr, ...]
    body: tuple[Expr, ...]
    guards: tuple[tuple[Expr, Expr], ...]  # 0 <= index < extent must hold for a point to count
    peeled: frozenset[Expr] = frozenset()  # axes whose last step differs from the others and is written out
    around: tuple[tuple[Expr, Expr], ...] = ()  # (axis, extent) of the reduction whose body this one stands in

    @property
    def steps(self) -> int:
        """Points of the reduction and of the one around it."""
        extents = (*self.extents, *(e for _, e in self.around))
        return prod(e.data if e.op == "const" else e.hi for e in extents)

    @property
    def sums_halves(self) -> bool:
        """Whether products are summed up in 16 bits."""
        return self.combine == "add" and self.body[0].dtype.is_float and self.body[0].dtype.bits == 16

    @property
    def word_bits(self) -> int:
        """Bits of the words whose products are summed up; 32 where elements are multiplied."""
        return max((n.args[1].dtype.bits for n in self.body if n.op == "dot"), default=32)

    @property
    def is_nested(self) -> bool:
        """Whether its body holds further reductions."""
        return any(n.op == "reduce" for n in walk(*self.body))


@dataclass(frozen=True, eq=False)
class Result:
    """One store per point: target[offset] (= | combine=) value where the guards hold."""

    value: Expr
    target: Param
    offset: Expr
    combine: str = ""
    guards: tuple[tuple[Expr, Expr], ...] = ()


@dataclass(frozen=True, eq=False)
class Nest:
    """One or more results at every point of `axes`."""

    axes: tuple[Axis, ...]
    results: tuple[Result, ...]
    domains: dict[Expr, Domain]  # what is known of each reduce node in the values

    @property
    def values(self) -> tuple[Expr, ...]:
        return tuple(r.value for r in self.results)

    @property
    def offset(self) -> Expr:
        """Where the first result goes (the others follow the same walk)."""
        return self.results[0].offset

    @property
    def is_update(self) -> bool:
        return any(r.combine for r in self.results)

    @property
    def loads(self) -> list[Expr]:
        return [n for n in walk(*self.values) if n.op == "load"]


def flatten(together: Sequence[Stage], axes: tuple[Axis, ...], params: dict[Buffer, Param]) -> Nest:
    """The nest of stages that share their axes; `params` maps every root buffer to its parameter."""
    def flat(node: Expr) -> Expr | None:
        if node.op != "read":
            return None
        buffer: Buffer = node.data
        return load(params[buffer.root], buffer.flat(node.args))

    values = transform([s.value for s in together], flat)
    results = tuple(Result(v, params[s.target.root], transform((s.target.flat(s.indices),), flat)[0], s.combine,
                           tuple(tuple(transform(pair, flat)) for pair in s.guards)) for s, v in zip(together, values))
    return merge_axes(_find_domains(Nest(axes, results, {})))


def _find_domains(nest: Nest) -> Nest:
    """Take droppable `inside` guards out of reduction bodies and into the domain."""
    domains: dict[Expr, Domain] = {}

    def visit(node: Expr) -> Expr | None:
        if node.op != "reduce":
            return None
        parts = ReduceParts(node)
        body, guards = _without_guards(parts)
        if body is not parts.body:
            args = (*parts.axes, *parts.extents, *parts.init, *body)
            free = node.free
            node = make("reduce", args, node.dtype, node.data, free=free, key=domain_key(node, guards))
        domains[node] = Domain(parts.combine, parts.axes, parts.extents, parts.init, body, guards)
        return node

    values = transform(nest.values, visit)
    return replace(nest, results=tuple(replace(r, value=v) for r, v in zip(nest.results, values)), domains=domains)


def domain_key(node: Expr, guards: tuple[tuple[Expr, Expr], ...]) -> tuple:
    """Reductions of equal bodies but other guards must stay two nodes."""
    combine = node.data[0]
    return ("domain", combine if isinstance(combine, str) else id(combine), node.data[1], tuple((id(i), id(e)) for i, e in guards))


def _without_guards(parts: ReduceParts) -> tuple[tuple[Expr, ...], tuple[tuple[Expr, Expr], ...]]:
    if not isinstance(parts.combine, str) or len(parts.body) != 1:
        return parts.body, ()
    body, guards = parts.body[0], []
    for node in walk(body):
        if node.op == "inside" and _is_identity(_replace(body, node, node.args[1]), parts.combine):
            guards.extend(inside_pairs(node))
            body = _replace(body, node, node.args[0])
    return ((body,), tuple(guards)) if guards else (parts.body, ())


def _replace(root: Expr, node: Expr, other: Expr) -> Expr:
    return transform((root,), lambda n: other if n is node else None)[0]


def _is_identity(body: Expr, combine: str) -> bool:
    """Whether combining with this body changes nothing (0 * x counts as 0 inside a declared sum)."""
    if combine == "add" and body.op == "mul":
        return any(is_const(a.args[0] if a.op == "cast" else a, 0) for a in body.args)
    if combine == "add" and body.op == "cast":
        return _is_identity(body.args[0], combine)
    return is_const(body) and body is neutral(combine, body.dtype)


def merge_axes(nest: Nest) -> Nest:
    """Two axes that every access walks as one become one (y, x of a pointwise convolution; all axes of an elementwise kernel)."""
    merged = True
    while merged:
        merged = False
        for outer in nest.axes:
            for inner in nest.axes:
                if outer is not inner and _mergeable(nest, outer, inner):
                    nest, merged = _merge(nest, outer, inner), True
                    break
            if merged:
                break
    return nest


def _offsets(nest: Nest) -> list[Expr]:
    return [*(r.offset for r in nest.results), *(n.args[0] for n in nest.loads)]


def _other_uses(nest: Nest) -> frozenset:
    """Variables that matter beyond load offsets: in guards, comparisons, casts of indices."""
    found: set[Expr] = set()
    guards = [pair for d in nest.domains.values() for pair in d.guards] + [pair for r in nest.results for pair in r.guards]
    roots = [*nest.values, *(e for pair in guards for e in pair)]
    inner: set[int] = set()
    for node in walk(*roots):
        if node.op == "load":
            inner.update(id(n) for n in walk(node.args[0]))
    for node in walk(*roots):
        if node.op in ("lt", "le", "eq", "ne", "cast", "inside", "select", "min", "max", "reduce"):
            for a in node.args[2:] if node.op == "inside" else node.args:
                if a.dtype is index:
                    found |= a.free
    for pair in guards:
        found |= pair[0].free
    return frozenset(found)


def _mergeable(nest: Nest, outer: Axis, inner: Axis) -> bool:
    if nest.is_update or not isinstance(inner.extent, int) or {outer.var, inner.var} & _other_uses(nest):
        return False
    for offset in _offsets(nest):
        a, b = coefficient(offset, outer.var), coefficient(offset, inner.var)
        if a is None or b is None or a != b * inner.extent:
            return False
    return True


def _merge(nest: Nest, outer: Axis, inner: Axis) -> Nest:
    extent = outer.extent * inner.extent
    high = extent if isinstance(extent, int) else as_expr(extent, index).hi
    both = fresh("m", 0, high - 1)
    values = {outer.var: both // inner.extent, inner.var: both % inner.extent}
    axes = tuple(Axis(both, extent) if a is outer else a for a in nest.axes if a is not inner)
    return substitute_nest(replace(nest, axes=axes), values)


def substitute_nest(nest: Nest, values: dict[Expr, Expr]) -> Nest:
    """The nest with parallel variables replaced in every part."""
    done: dict[int, Expr] = {}
    domains: dict[Expr, Domain] = {}
    for node in walk(*nest.values):
        if node.op == "reduce" and node in nest.domains:
            new = _substitute_domain(nest.domains[node], node, values, done)
            domains[new[0]] = new[1]
            done[id(node)] = new[0]
        else:
            done[id(node)] = values.get(node) if node in values else rebuild(node, [done[id(a)] for a in node.args])
    def moved(r: Result) -> Result:
        guards = tuple((substitute(i, values), substitute(e, values)) for i, e in r.guards)
        return Result(done[id(r.value)], r.target, substitute(r.offset, values), r.combine, guards)

    return replace(nest, results=tuple(map(moved, nest.results)), domains=domains)


def _substitute_domain(d: Domain, node: Expr, values: dict[Expr, Expr], done: dict[int, Expr]) -> tuple[Expr, Domain]:
    init = tuple(done[id(x)] for x in d.init)
    body = tuple(done[id(x)] for x in d.body)
    extents = tuple(done[id(x)] for x in d.extents)
    guards = tuple((substitute(i, values), substitute(e, values)) for i, e in d.guards)
    args = (*d.axes, *extents, *init, *body)
    free = frozenset().union(*(x.free for x in (*init, *extents)), *(x.free - frozenset(d.axes) for x in body))
    made = make("reduce", args, node.dtype, node.data, free=free, key=domain_key(node, guards))
    return made, Domain(d.combine, d.axes, extents, init, body, guards, d.peeled)


def strides_of(nest: Nest, variable: Expr) -> list[tuple[Expr, int | None]]:
    """(load, coefficient of the variable in its offset) for every load."""
    return [(n, coefficient(n.args[0], variable)) for n in nest.loads]


def in_groups(body: Sequence[Expr], axis: Expr, width: int) -> bool:
    """Whether groups of `width` steps of an axis lie apart in what is loaded, as in a buffer in blocks of channels."""
    offsets = [n.args[0] for b in body for n in walk(b) if n.op == "load" and not n.data[0].constant]
    return any(coefficient(at, axis) is None and coefficient_within(at, axis, width) == 1 for at in offsets)


def constant_part(e: Expr) -> int:
    return split(e)[0]


def transformed(nest: Nest, other: Callable[[Expr, Expr], Expr | None]) -> Nest:
    """The nest rebuilt bottom-up, bodies of reductions included: `other(node, rebuilt)` gives a substitute for a node, or None."""
    done: dict[int, Expr] = {}
    domains: dict[Expr, Domain] = {}
    for node in walk(*nest.values):
        arguments = [done[id(a)] for a in node.args]
        changed = any(a is not b for a, b in zip(arguments, node.args))
        made = node
        if node in nest.domains:
            d, parts = nest.domains[node], len(nest.domains[node].init)
            if changed:
                key = domain_key(node, d.guards)
                made = make("reduce", arguments, node.dtype, node.data, free=node.free, key=key)
                d = replace(d, init=tuple(arguments[-2 * parts:-parts]), body=tuple(arguments[-parts:]))
            domains[made] = d
        elif changed:
            made = rebuild(node, arguments)
        substituted = other(node, made)
        done[id(node)] = made if substituted is None else substituted
    return replace(nest, results=tuple(replace(r, value=done[id(r.value)]) for r in nest.results), domains=domains)
