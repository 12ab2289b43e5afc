"""Makes a kernel of one outer point a kernel for each of its walks, so that threads can share each of them.

    kernel(w < 1): { v[f,b,c] = ...;  m[f,b,o] = sum_over(c; v[f,b,c] * u[f,c,o]);  y[o,y,x] = ... m ... }
    ->  v[f,b,c] = ...;   m[f,b,o] = ...;   y[o,y,x] = ...

The stages of a kernel are one after the other at each of its outer points; where there is but one point, as in a Winograd convolution whose
tiles are one block, nothing could be shared. Scratch becomes a temporary, which is as large and dies sooner. Small kernels stay whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod
from typing import Any

from edgec.accesses import buffer_reads
from edgec.expr import Expr, const, read
from edgec.kernel import Axis, Buffer, Kernel, Program, Stage
from edgec.passes.tile import walked_together
from edgec.sweeps import substitute, transform
from edgec.types import index

LEAST = 16 << 10  # bytes of scratch below which the whole kernel takes about as long as a few meetings of threads


def walks(program: Program, target: Any) -> Program:
    """The program with kernels of one point taken apart; as it is for a machine without threads."""
    if not target.hand_over:
        return program
    return program.with_steps(new for kernel in program.steps for new in _apart(kernel))


def _apart(kernel: Kernel) -> list[Kernel]:
    scratch = [b for b in dict.fromkeys(s.target for s in kernel.stages) if b.kind == "scratch"]
    groups = walked_together(kernel.stages)
    ordered = kernel.repeat or kernel.block or any(s.combine for s in kernel.stages) or any(b.parent is not None for b in scratch)
    if len(groups) < 2 or ordered or prod(a.max_extent for a in kernel.axes) > 1 or sum(b.bytes for b in scratch) < LEAST:
        return [kernel]
    stored = {s.target for s in kernel.stages}
    if any(n.data.kind == "scratch" and n.data not in stored for n in buffer_reads(kernel)):
        return [kernel]
    kept = {b: replace(b, kind="temporary") for b in scratch}
    return [_one(kernel, group, kept, number) for number, group in enumerate(groups)]


def _one(kernel: Kernel, group: Sequence[Stage], kept: dict[Buffer, Buffer], number: int) -> Kernel:
    """A kernel of one walk: the stages' own axes become the kernel's, whose only point is 0."""
    at: dict[Expr, Expr] = {a.var: const(0, index) for a in kernel.axes}

    def moved(node: Expr) -> Expr | None:
        return read(kept[node.data], node.args) if node.op == "read" and node.data in kept else None

    def stage(old: Stage) -> Stage:
        bounds = [e for pair in old.guards for e in pair]
        value, *rest = transform([substitute(e, at) for e in (old.value, *old.indices, *bounds)], moved)
        indices, ends = rest[:len(old.indices)], rest[len(old.indices):]
        return replace(old, axes=(), value=value, indices=tuple(indices), guards=tuple(zip(ends[::2], ends[1::2])),
                       target=kept.get(old.target, old.target))

    axes: tuple[Axis, ...] = group[0].axes
    name = kernel.name if group[-1] is kernel.stages[-1] else f"{kernel.name}.{number}"
    return replace(kernel, name=name, axes=axes, stages=tuple(map(stage, group)))
