"""The sum of a constant operand over everything that a reduction adds up, as constants: what an offset of the other operand contributes.

    sum_over(c, p; (x[c, i+p-1] + 128) * w[o,c,p])  =  sum_over(...; x * w)  +  128 * W[o],   W[o] = sum_over(c, p; w[o,c,p])

Where a border test cuts taps off, W has an entry for every way it does, or prefix sums along the tested axes (see `edgec.box_sums`).
"""

from __future__ import annotations

import numpy as np

from edgec.box_sums import box_sum, prefix_sums, window_sums, windows, within
from edgec.evaluate import evaluate
from edgec.expr import Expr, as_expr, const
from edgec.kernel import Axis
from edgec.linear import coefficient
from edgec.loops import load
from edgec.passes.nest import Domain, Nest
from edgec.passes.pack import Tables
from edgec.sweeps import substitute
from edgec.types import i32, index


def weight_sum(nest: Nest, domain: Domain, weight: Expr, inner: Axis, tables: Tables) -> Expr | None:
    """The i32 sum of a loaded constant over the domain, `inner` innermost in the table; None where the operand or the border is not so."""
    extents = {a.var: a.extent for a in nest.axes} | {v: e.data if e.op == "const" else None for v, e in zip(domain.axes, domain.extents)}
    tested = _tested(domain, extents)
    if tested is None or not weight.data[0].constant or any(not isinstance(extents.get(v), int) for v in weight.free | set(domain.axes)):
        return None
    summed = [v for v in domain.axes if v not in tested]
    kept = [*(a.var for a in nest.axes if a.var in weight.free and a is not inner), inner.var]
    axes = [*tested, *kept, *summed]
    grid = {v: np.arange(extents[v]).reshape([-1 if k == n else 1 for k in range(len(axes))]) for n, v in enumerate(axes)}
    places = np.broadcast_to(evaluate(weight.args[0], grid, None), [extents[v] for v in axes])
    source = tables.data(weight.data[0])
    taps = np.array(source[places].astype(np.int32).sum(axis=tuple(range(len(axes) - len(summed), len(axes))), dtype=np.int32))
    found = windows(list(tested.values()))
    data = window_sums(taps, found[1]) if found else prefix_sums(taps, len(tested))
    param = tables.add((weight.data[0], "sum", weight, tuple(axes)), data, tables.stem(weight.data[0]), i32)

    def at(corner: tuple[Expr, ...]) -> Expr:
        offset = const(0, index)
        for i, size in zip((*corner, *kept), data.shape):
            offset = offset * size + i
        return load(param, offset)
    return at(tuple(found[0])) if found else box_sum([within(*place) for place in tested.values()], at)


def _tested(domain: Domain, extents: dict[Expr, int | None]) -> dict[Expr, tuple[Expr, int, Expr, int]] | None:
    """(rest, step, extent, count) of each tested axis; None for tests of another form than 0 <= rest + step * axis < extent."""
    found: dict[Expr, tuple[Expr, int, Expr, int]] = {}
    for i, extent in domain.guards:
        tested = [v for v in domain.axes if v in i.free]
        step = coefficient(i, tested[0]) if len(tested) == 1 else None
        if not step or step < 0 or tested[0] in found or not isinstance(extents[tested[0]], int):
            return None
        rest = substitute(i, {tested[0]: const(0, index)})
        found[tested[0]] = (rest, step, as_expr(extent, index), extents[tested[0]])
    return found
