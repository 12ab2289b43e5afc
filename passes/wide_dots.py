"""Dot products of whole vectors into one scalar: a reduction is walked a vector of bytes at a time where the target adds up its products.

The sums of a register tile stand in general registers; rows and columns share the vectors they load. The constant operand is packed so that
its elements along the reduction are neighbours, too, and what is left of an axis is one vector that is loaded in part. Asked by `schedule`.

    sum_over(c < 40; i32(x[40*i + c]) * i32(w[o,c]))   ->   acc += horizontal(x[40*i + k : 16] * w[o, k : 16])  for k = 0, 16; 32 : 8 lanes
"""

from __future__ import annotations

from typing import Any

from edgec.backends.instruction import wide_row
from edgec.expr import Expr
from edgec.linear import coefficient
from edgec.passes.nest import Domain, Nest
from edgec.types import i32

LEAST = 0.25    # of a vector's lanes must be in use


def wide_group(domain: Domain, target: Any) -> int:
    """How many neighbouring products one instruction adds up in this reduction; 0 where none does."""
    factors = _factors(domain)
    found = wide_row(target.instructions, *(f.dtype.name for f in factors)) if factors else None
    return found[1] if found else 0


def wide_axis(nest: Nest, target: Any) -> Expr | None:
    """The reduction axis that is walked in vectors when a nest has one sum of such products, of something moving and a constant."""
    groups = [(d, wide_group(d, target)) for d in nest.domains.values()]
    if len(groups) != 1 or not groups[0][1]:
        return None
    (domain, group), = groups
    moving, constant = sorted(_factors(domain), key=lambda f: f.data[0].constant)
    shared = [a for a in nest.axes if a.extent != 1 and a.var in constant.free and a.var not in moving.free]
    if moving.data[0].constant or not constant.data[0].constant or not shared or not all(isinstance(a.extent, int) for a in nest.axes):
        return None
    guarded = {v for i, _ in domain.guards for v in i.free}
    fitting = [(e.data, -n) for n, (v, e) in enumerate(zip(domain.axes, domain.extents))
               if e.op == "const" and e.data >= LEAST * group and v not in guarded
               and coefficient(moving.args[0], v) == 1 and coefficient(constant.args[0], v)]
    return domain.axes[-max(fitting)[1]] if fitting else None


def _factors(domain: Domain) -> list[Expr]:
    """The loads of whose products a reduction is the sum; [] for others."""
    if domain.combine != "add" or len(domain.body) != 1 or domain.body[0].op != "mul" or domain.body[0].dtype is not i32:
        return []
    factors = [a.args[0] if a.op == "cast" else a for a in domain.body[0].args]
    return factors if all(f.op == "load" and f.lanes == 1 for f in factors) else []
