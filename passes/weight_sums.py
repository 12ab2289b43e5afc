"""The sum of a constant operand over everything that a reduction adds up, as constants: what an offset of the other operand contributes.

    sum_over(c, p; (x[c, i+p-1] + 128) * w[o,c,p])  =  sum_over(...; x * w)  +  128 * W[o],   W[o] = sum_over(c, p; w[o,c,p])

Where a border test cuts taps off, W is read from prefix sums along the tested axes (see `edgec.box_sums`).
"""

from __future__ import annotations

import numpy as np

from edgec.box_sums import Range, box_sum, prefix_sums, within
from edgec.evaluate import evaluate
from edgec.expr import Expr, as_expr, const, substitute
from edgec.kernel import Axis
from edgec.linear import coefficient
from edgec.loops import load
from edgec.passes.nest import Domain, Nest
from edgec.passes.pack import Tables
from edgec.types import i32, index


def weight_sum(nest: Nest, domain: Domain, weight: Expr, inner: Axis, tables: Tables) -> Expr | None:
    """The i32 sum of a loaded constant over the domain, `inner` innermost in the table; None where the operand or the border is not so."""
    extents = {a.var: a.extent for a in nest.axes} | {v: e.data if e.op == "const" else None for v, e in zip(domain.axes, domain.extents)}
    ranges = _ranges(domain, extents)
    if ranges is None or not weight.data[0].constant or any(not isinstance(extents.get(v), int) for v in weight.free | set(domain.axes)):
        return None
    summed = [v for v in domain.axes if v not in ranges]
    kept = [*(a.var for a in nest.axes if a.var in weight.free and a is not inner), inner.var]
    axes = [*ranges, *kept, *summed]
    grid = {v: np.arange(extents[v]).reshape([-1 if k == n else 1 for k in range(len(axes))]) for n, v in enumerate(axes)}
    places = np.broadcast_to(evaluate(weight.args[0], grid, None), [extents[v] for v in axes])
    source = tables.data(weight.data[0])
    taps = np.array(source[places].astype(np.int32).sum(axis=tuple(range(len(axes) - len(summed), len(axes))), dtype=np.int32))
    data = prefix_sums(taps, len(ranges))
    param = tables.add((weight.data[0], "sum", weight, tuple(axes)), data, tables.stem(weight.data[0]), i32)

    def at(corner: tuple[Expr, ...]) -> Expr:
        offset = const(0, index)
        for i, size in zip((*corner, *kept), data.shape):
            offset = offset * size + i
        return load(param, offset)
    return box_sum(list(ranges.values()), at)


def _ranges(domain: Domain, extents: dict[Expr, int | None]) -> dict[Expr, Range] | None:
    """The part of each tested axis that is within bounds; None for tests of another form than 0 <= rest + step * axis < extent."""
    found: dict[Expr, Range] = {}
    for i, extent in domain.guards:
        tested = [v for v in domain.axes if v in i.free]
        step = coefficient(i, tested[0]) if len(tested) == 1 else None
        if not step or step < 0 or tested[0] in found or not isinstance(extents[tested[0]], int):
            return None
        rest = substitute(i, {tested[0]: const(0, index)})
        found[tested[0]] = within(rest, step, as_expr(extent, index), extents[tested[0]])
    return found
