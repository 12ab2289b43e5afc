"""Bytes of a model's inputs that a sum of products would gather one by one get a copy whose axes may be reordered.

Inputs lie in memory as ONNX says. Dot products want neighbours along the sum: where the only neighbours that a sum of bytes has in an input
are cut off by padding (the columns of a channels-first picture), it would multiply one by one. The copy is a buffer like any other, so that
`layout` puts the channels innermost.

    y[o,i,j] = sum_over(c, p, q; inside(x[c, i+p-1, j+q-1]) * w[o,c,p,q])   ->   t[c,i,j] = x[c,i,j];   y[o,i,j] = sum_over(...; t[...] ...)
"""

from __future__ import annotations

from dataclasses import replace
from math import prod
from typing import Any

from edgec.backends.instruction import dots
from edgec.expr import Expr, ReduceParts, fresh, inside_pairs, read
from edgec.kernel import Axis, Buffer, Kernel, Program, Stage
from edgec.linear import coefficient
from edgec.passes.layout import replace_buffers
from edgec.sweeps import walk

SHARED = 32  # products of each byte, at least: a copy costs about as much as so few


def input_order(program: Program, target: Any) -> Program:
    """The program with such inputs copied first; itself where the target has no dot products of integers."""
    if not any(row.group > 1 and row.acc == "i32" for row in dots(target.instructions)):
        return program
    kept = {b for pair in program.states for b in pair}
    wanted = [b for b in program.inputs if b not in kept and _may_be_copied(b) and any(_gathers(k, b) for k in program.steps)]
    copies = {b: replace(b, name=f"{b.name}.ordered", kind="temporary") for b in wanted}
    if not copies:
        return program
    return program.with_steps((*(_copy(b, t) for b, t in copies.items()), *replace_buffers(program, copies).steps))


def _may_be_copied(b: Buffer) -> bool:
    return b.dtype.is_integer and b.dtype.bits == 8 and b.rank > 2 and all(isinstance(n, int) for n in b.shape)


def _copy(source: Buffer, target: Buffer) -> Kernel:
    axes = tuple(Axis(fresh("i", 0, n - 1), n) for n in source.shape)
    at = tuple(a.var for a in axes)
    return Kernel(target.name, axes, (Stage(target.name, (), read(source, at), target, at),))


def _gathers(kernel: Kernel, b: Buffer) -> bool:
    """Whether a sum of products of constants and this input has no neighbours to take together, and would have them in another order."""
    axes = {a.var: a.max_extent for s in kernel.stages for a in (*kernel.axes, *s.axes)}
    sums = (ReduceParts(n) for s in kernel.stages for n in walk(s.value) if n.op == "reduce" and n.data[0] == "add")
    return any(_would_gain(parts, b, axes) for parts in sums)


def _would_gain(parts: ReduceParts, b: Buffer, axes: dict[Expr, int]) -> bool:
    nodes = walk(*parts.body)
    found = [n for n in nodes if n.op == "read" and n.data is b]
    constants = [n for n in nodes if n.op == "read" and n.data.kind == "constant"]
    if len(parts.body) != 1 or parts.body[0].op != "mul" or len(found) != 1 or not constants:
        return False
    data, = found
    guarded = {v for n in nodes if n.op == "inside" for i, _ in inside_pairs(n) for v in i.free}
    extents = {r: e.data if e.op == "const" else e.hi for r, e in zip(parts.axes, parts.extents)}
    free = [r for r in parts.axes if r not in guarded and extents[r] > 1]
    neighbours = any(coefficient(data.args[-1], r) == 1 for r in free)
    channels = [r for r in free if any(coefficient(i, r) == 1 and len(i.free) == 1 for i in data.args[:-1])]
    results = max((axes[v] for c in constants for v in c.free if v in axes and v not in data.free), default=1)
    products = results * prod(n for r, n in extents.items() if r not in channels)
    return bool(channels) and not neighbours and results > 1 and products >= SHARED
