"""A term that is added to a sum starts it: the accumulators begin with it, and the addition at the end is gone.

Runs on a nest, between `flatten` and the schedule. One addition a result is saved, which counts where reductions are short.

    sum_over(c; x[c] * w[o,c]) + b[o]   ->   sum_over(c; x[c] * w[o,c]) started with b[o]

Integer sums wrap, so that all their terms can be brought together first: (sum - z * s[o]) + b[o] is sum + ((0 - z * s[o]) + b[o]).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

from edgec.expr import Expr, ReduceParts, const, is_const, make
from edgec.passes.nest import Domain, Nest
from edgec.sweeps import transform, walk
from edgec.types import i32

LATE = frozenset({"reduce", "inside"})  # a term with one of these is not worth having before the loops


def first_terms(nest: Nest, target: Any) -> Nest:
    """The nest with added terms as initial values of the sums they are added to."""
    if nest.is_update:
        return nest
    nest = _together(nest)
    uses = Counter(a for n in walk(*nest.values) for a in n.args)
    uses.update(nest.values)
    within = {n for total in nest.domains for a in total.args for n in walk(a)}
    domains = dict(nest.domains)
    points = frozenset(axis.var for axis in nest.axes)

    def started(node: Expr) -> Expr | None:
        if node.op != "add" or len(node.args) != 2 or node in within or target.late_terms and node.dtype.is_float:
            return None
        for total, term in (node.args, node.args[::-1]):
            if total in domains and uses[total] == 1 and _starts(domains[total], total, term, points):
                return _with_start(total, term, domains)
        return None

    values = transform(nest.values, started)
    return replace(nest, results=tuple(replace(r, value=v) for r, v in zip(nest.results, values)), domains=domains)


def _together(nest: Nest) -> Nest:
    """The nest with the terms of each integer sum that stand outside it as one term."""
    within = {n for total in nest.domains for a in total.args for n in walk(a)}

    def regrouped(node: Expr) -> Expr | None:
        if node.dtype is not i32 or node.op not in ("add", "sub") or len(node.args) != 2 or node in within:
            return None
        total, terms = _split(node, nest.domains)
        return total + terms if total is not None and terms is not None else None

    values = transform(nest.values, regrouped)
    return replace(nest, results=tuple(replace(r, value=v) for r, v in zip(nest.results, values)))


def _split(node: Expr, domains: dict[Expr, Domain]) -> tuple[Expr | None, Expr | None]:
    """A sum and all that is added to it; (None, node) for what is no sum with terms."""
    if node in domains:
        return node, None
    if node.op not in ("add", "sub") or len(node.args) != 2:
        return None, node
    a, b = node.args
    total, terms = _split(a, domains)
    if total is not None:
        more = b if node.op == "add" else const(0, i32) - b
        return total, more if terms is None else terms + more
    total, terms = _split(b, domains) if node.op == "add" else (None, None)
    return (total, a if terms is None else terms + a) if total is not None else (None, node)


def _starts(d: Domain, total: Expr, term: Expr, points: frozenset[Expr]) -> bool:
    """Whether a sum that begins with zero may begin with this term, without being computed for more points than before."""
    return (d.combine == "add" and is_const(d.init[0], 0) and not is_const(term) and term.dtype is total.dtype
            and term.free & points <= total.free and not any(n.op in LATE for n in walk(term)))


def _with_start(total: Expr, term: Expr, domains: dict[Expr, Domain]) -> Expr:
    d, parts = domains.pop(total), ReduceParts(total)
    key = ("started", id(total), id(term))
    node = make("reduce", (*parts.axes, *parts.extents, term, *parts.body), total.dtype, total.data, free=total.free, key=key)
    domains[node] = replace(d, init=(term,))
    return node
