"""Removes kernels that only move a tensor into part of another: the producer stores there directly.

    a = conv(...);  b = conv(...);  y[0:64] = a;  y[64:96] = b     ->     a and b are views of y, two kernels fewer

A copy stays where its source is a model input, already lives elsewhere, or would lose its unit stride; where a loop runs around it; and
where what it is copied to is changed later while others read the source (an update works on a copy of its operand).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from math import prod
from typing import Any

from edgec.accesses import buffer_reads
from edgec.expr import Expr
from edgec.kernel import Buffer, Kernel, Program
from edgec.linear import coefficient, split
from edgec.passes.layout import replace_buffers


def views(program: Program, target: Any = None) -> Program:
    """The program without the copies that can be views; later copies first, so that views of views resolve to one root."""
    new: dict[Buffer, Buffer] = {}
    kept: list[Kernel] = []
    changed, readers = _changed(program), Counter(root for k in program.steps for root in {n.data.root for n in buffer_reads(k)})
    for kernel in reversed(program.steps):
        found = _view(kernel, new)
        if found is not None and kernel.targets[0].root in changed and readers[found[0]] > 1:
            found = None
        if found is None:
            kept.append(kernel)
        else:
            new[found[0]] = found[1]
    return replace_buffers(program.with_steps(reversed(kept)), new)


def _changed(program: Program) -> set[Buffer]:
    """The root buffers that more elements are stored to than they have: some are stored twice."""
    stored: Counter = Counter()
    for kernel in program.steps:
        for stage in kernel.stages:
            stored[stage.target.root] += prod(a.max_extent for a in (*kernel.repeat, *kernel.axes, *stage.axes))
    return {root for root, count in stored.items() if count > root.max_size}


def _view(kernel: Kernel, new: dict[Buffer, Buffer]) -> tuple[Buffer, Buffer] | None:
    """(source, the view it becomes) when the kernel is a copy of a whole temporary."""
    stage = kernel.stages[0]
    if len(kernel.stages) != 1 or stage.value.op != "read" or kernel.repeat:
        return None
    source: Buffer = stage.value.data
    if source.kind != "temporary" or source in new or source.parent is not None or not _whole(kernel, source, stage.value.args):
        return None
    target = new.get(stage.target, stage.target)
    if source.root is target.root or target.root.kind == "sizes":  # those are read as soon as the copy has been made
        return None
    offset = target.flat(stage.indices)
    strides = tuple(_stride(offset, i) for i in stage.value.args)
    if any(s is None for s in strides) or not all(isinstance(s, int) for s in target.strides[1:]):
        return None
    if not _keeps_unit_stride(source, strides):
        return None
    return source, replace(source, parent=target.root, offset=split(offset)[0], view_strides=strides, order=(), pad=0)


def _whole(kernel: Kernel, source: Buffer, indices: tuple[Expr, ...]) -> bool:
    """Whether the copy reads every element of the source exactly once: each dimension is an axis of its own."""
    extents = {a.var: a.extent for a in kernel.axes}
    used = [i for i in indices if i.op == "var"]
    if len(set(used)) != len(used) or set(used) != set(extents):
        return False
    return all(size == 1 if i.op == "const" else i.op == "var" and extents.get(i) is not None and _same(extents[i], size)
               for i, size in zip(indices, source.shape))


def _same(a: Any, b: Any) -> bool:
    return a is b or a == b


def _stride(offset: Expr, i: Expr) -> int | None:
    return 0 if i.op == "const" else coefficient(offset, i)


def _keeps_unit_stride(source: Buffer, strides: tuple[int, ...]) -> bool:
    moving = [d for d in (source.order or range(source.rank)) if source.shape[d] != 1]
    return not moving or strides[moving[-1]] == 1
