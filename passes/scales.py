"""Factors of weights that a sum does not depend on are taken out of it: the scale of a channel multiplies its sum once.

Weights in few bits are numbers times a scale; where the scale belongs to the whole tensor or to one result, it need not be multiplied to
each weight. Scales of blocks along the sum stay in it. Only factors of constants move, so no other product is reassociated.

    y[o] = sum_over(k; x[k] * (f32(q[k,o]) * s[o]))   ->   y[o] = sum_over(k; x[k] * f32(q[k,o])) * s[o]
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from edgec.expr import Expr, ReduceParts, is_const, reduce
from edgec.kernel import Program, Stage
from edgec.sweeps import transform, walk


def scales(program: Program, target: Any = None) -> Program:
    """The program with scales of weights behind the sums that they do not change in."""
    return program.with_steps(replace(k, stages=tuple(map(_stage, k.stages))) for k in program.steps)


def _stage(stage: Stage) -> Stage:
    if not any(n.op == "reduce" for n in walk(stage.value)):
        return stage
    return replace(stage, value=transform((stage.value,), _without_scale)[0])


def _without_scale(node: Expr) -> Expr | None:
    """A sum of products with what is constant over it taken out."""
    if node.op != "reduce" or node.data[0] != "add" or not node.dtype.is_float:
        return None
    parts = ReduceParts(node)
    if len(parts.body) != 1 or parts.body[0].op != "mul" or not is_const(parts.init[0], 0):
        return None
    own = set(parts.axes)
    for place, weight in enumerate(parts.body[0].args):
        scale = next((a for a in weight.args if not a.free & own), None) if weight.op == "mul" and _is_constant(weight) else None
        if scale is not None:
            rest = weight.args[1 - weight.args.index(scale)]
            factors = list(parts.body[0].args)
            factors[place] = rest
            return _rebuilt(parts, factors) * scale
    return None


def _rebuilt(parts: ReduceParts, factors: list[Expr]) -> Expr:
    return reduce(parts.combine, parts.axes, parts.extents, parts.init, (factors[0] * factors[1],))[0]


def _is_constant(e: Expr) -> bool:
    """Whether an expression reads constants and nothing else."""
    reads = [n for n in walk(e) if n.op == "read"]
    return bool(reads) and all(n.data.root.kind == "constant" for n in reads)
