"""Every other step of a sequence walks its tables backward, so that what one step reads last the next one reads first.

    for t < 2*n: step(t)    ->    for u < n: { step(2*u);  step(2*u + 1) from the ends of its tables }
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from edgec.expr import Expr, const, fresh
from edgec.kernel import Axis, Kernel, Stage
from edgec.loops import For, Stmt
from edgec.sweeps import substitute, walk
from edgec.types import index


def walks_back(kernel: Kernel, target: Any) -> bool:
    """Whether every other step of the innermost repeat walks its tables backward: what the step before read last is still in the nearest
    cache. Going round and round through more than a cache holds, each line would be gone before its turn comes."""
    roots = dict.fromkeys(n.data.root for s in kernel.stages for n in walk(s.value) if n.op == "read")
    steps, constants = kernel.repeat[-1].extent, sum(b.bytes for b in roots if b.kind == "constant")
    return isinstance(steps, int) and steps > 1 and not kernel.axes and constants > target.l1_bytes > 0


def pairs(axis: Axis, step: Callable[[bool], Sequence[Stmt]]) -> list[Stmt]:
    """The loop over pairs of steps, and a last step where their number is odd; `step(backward)` writes one step at the axis' variable."""
    pair = fresh("u", 0, axis.extent // 2 - 1)
    body: list[Stmt] = [For(pair, const(0, index), const(axis.extent // 2, index), 1,
                            (_at(axis, pair * 2, step(False)), _at(axis, pair * 2 + 1, step(True))))]
    return [*body, _at(axis, const(axis.extent - 1, index), step(False))] if axis.extent % 2 else body


def pair_kernels(kernel: Kernel) -> list[tuple[Kernel, bool]]:
    """The same as kernels: one for each step of a pair, under a loop over pairs, and one for a last step; with whether it goes backward."""
    axis = kernel.repeat[-1]
    pair = Axis(fresh("u", 0, axis.extent // 2 - 1), axis.extent // 2)
    found = [(_step(kernel, axis, pair.var * 2, (pair,)), False), (_step(kernel, axis, pair.var * 2 + 1, (pair,)), True)]
    return [*found, (_step(kernel, axis, const(axis.extent - 1, index), ()), False)] if axis.extent % 2 else found


def _step(kernel: Kernel, axis: Axis, t: Expr, around: tuple[Axis, ...]) -> Kernel:
    """The kernel of one step t, or of one in every iteration of a loop around it."""
    def at(stage: Stage) -> Stage:
        value, *indices = (substitute(e, {axis.var: t}) for e in (stage.value, *stage.indices))
        return replace(stage, value=value, indices=tuple(indices))
    return replace(kernel, stages=tuple(map(at, kernel.stages)), repeat=(*kernel.repeat[:-1], *around))


def _at(axis: Axis, t: Expr, body: Sequence[Stmt]) -> For:
    """Statements at one value of a variable: a loop that runs once."""
    return For(axis.var, t, t + 1, 1, tuple(body))
