"""The cell of a recurrent layer in one walk: its kernels store their results side by side, and compute its gates where they are read.

    repeat (t < 100):  g[i] = x[t,i] + sum_over(k; h[t%2,k] * r[k,i]);  c[(t+1)%2,j] = ... g[j] ... g[j+128];  h[(t+1)%2,j] = ... g[j+256]
    ->  repeat (t < 100):  { c[(t+1)%2,j] = ...;  h[(t+1)%2,j] = ... }   over one axis j, sums within

Every unit of the cell then depends on what the step before has left, and on nothing that this step stores: threads share the units and
meet once a step. Gates are computed once only, since each is read at one point; what several results share is one expression.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby
from math import prod
from typing import Any

from edgec.accesses import buffer_reads
from edgec.expr import Expr, is_const, read
from edgec.kernel import Axis, Buffer, Kernel, Program, Stage
from edgec.passes.sequences import carries
from edgec.passes.slots import independent
from edgec.passes.uses import Uses
from edgec.sweeps import substitute, transform, walk


def cells(program: Program, target: Any) -> Program:
    """The program with the kernels of each loop that carries something merged where their points allow; as it is for a machine without
    threads, where nothing would be gained."""
    if not target.hand_over:
        return program
    found: list[Kernel] = []
    uses = Uses(program.steps if any(kernel.repeat for kernel in program.steps) else ())
    for repeat, group in groupby(program.steps, key=lambda k: k.repeat):
        kernels = list(group)
        found += _gates_inside(_side_by_side(kernels), uses) if repeat and len(kernels) > 1 and carries(kernels) else kernels
    return program.with_steps(found)


def _side_by_side(kernels: Sequence[Kernel]) -> list[Kernel]:
    """Neighbours over equal axes as several results of one walk."""
    found: list[Kernel] = []
    for kernel in kernels:
        merged = _beside(found[-1], kernel) if found else None
        found = [*found[:-1], merged] if merged is not None else [*found, kernel]
    return found


def _beside(early: Kernel, late: Kernel) -> Kernel | None:
    """One kernel with the results of two; None where a point of one needs another point of the other."""
    if not (_is_plain(early) and _is_plain(late)) or [a.extent for a in early.axes] != [a.extent for a in late.axes]:
        return None
    own = {old.var: new.var for old, new in zip(late.axes, early.axes)}
    known = {read(s.target, s.indices): s.value for s in early.stages}
    stages = []
    for stage in late.stages:
        value, *indices = transform([substitute(e, own) for e in (stage.value, *stage.indices)], known.get)
        stages.append(replace(stage, value=value, indices=tuple(indices)))
    if not all(independent(a, b) for a in early.stages for b in stages):
        return None
    return replace(late, axes=early.axes, stages=(*early.stages, *stages), origins=tuple(dict.fromkeys((*early.origins, *late.origins))))


def _is_plain(kernel: Kernel) -> bool:
    """Results at every point of the kernel's axes, and nothing else."""
    return bool(kernel.axes) and not kernel.block and kernel.external is None and \
        not any(s.axes or s.combine or s.guards or s.target is None or s.target.root.kind in ("scratch", "sizes") for s in kernel.stages)


def _gates_inside(kernels: list[Kernel], uses: Uses) -> list[Kernel]:
    """Producers vanish into the neighbour behind them where every element is wanted at one point of it."""
    found: list[Kernel] = []
    for kernel in kernels:
        merged = _within(found[-1], kernel, uses) if found else None
        found = [*found[:-1], merged] if merged is not None else [*found, kernel]
    return found


def _within(producer: Kernel, reader: Kernel, uses: Uses) -> Kernel | None:
    if not (_is_plain(producer) and _is_plain(reader)) or len(producer.stages) != 1:
        return None
    stage, wanted = producer.stages[0], [n for n in buffer_reads(reader) if n.data.root is producer.stages[0].target.root]
    once = len(wanted) * prod(a.max_extent for a in reader.axes) == prod(a.max_extent for a in producer.axes)
    if not (once and wanted and _has_sums(stage) and _only_read_by(stage.target, reader, producer, uses)):
        return None
    values: dict[Expr, Expr] = {}
    for node in wanted:
        at = _point(stage, producer.axes, node)
        if at is None:
            return None
        values[node] = substitute(stage.value, at)
    stages = [replace(s, value=transform([s.value], values.get)[0]) for s in reader.stages]
    if not all(independent(a, b) for n, a in enumerate(stages) for b in stages[:n + 1]):
        return None
    return replace(reader, stages=tuple(stages), origins=tuple(dict.fromkeys((*producer.origins, *reader.origins))))


def _has_sums(stage: Stage) -> bool:
    return any(n.op == "reduce" for n in walk(stage.value))


def _only_read_by(buffer: Buffer, reader: Kernel, producer: Kernel, uses: Uses) -> bool:
    """Whether a whole temporary is stored by one kernel for the stages of another."""
    if buffer.kind != "temporary" or buffer.parent is not None or any(a.condition is not None for a in reader.repeat):
        return False
    within = {s.target for s in reader.stages}
    return all(k is producer or k.repeat == reader.repeat and within & set(k.targets) for k in uses.users(buffer))


def _point(stage: Stage, axes: Sequence[Axis], node: Expr) -> dict[Expr, Expr] | None:
    """The values of the producer's axes at which it stores the element that is read."""
    if node.data is not stage.target:
        return None
    own = {a.var for a in axes}
    found = {i: at for i, at in zip(stage.indices, node.args) if i in own}
    same = all(i in own or is_const(i) and (i is at) for i, at in zip(stage.indices, node.args))
    return found if same and len(found) == len(own) else None
