"""Which buffers a kernel touches, and how: the facts that memory planning, printing and interpretation of programs share.

    [node.data.name for node in buffer_reads(kernel)]        # ['x', 'w']
"""

from __future__ import annotations

from collections.abc import Iterator

from edgec.expr import Expr, as_expr
from edgec.kernel import Buffer, Kernel, Program, Stage
from edgec.sweeps import walk
from edgec.types import index


def stage_roots(stage: Stage) -> tuple[Expr, ...]:
    """Every expression a stage evaluates: its axes' extents, its value, where it stores and under which guards."""
    guards = (e for pair in stage.guards for e in pair)
    return (*(as_expr(a.extent, index) for a in stage.axes), stage.value, *stage.indices, *guards)


def kernel_roots(kernel: Kernel) -> tuple[Expr, ...]:
    """Every expression a kernel evaluates."""
    return (*(as_expr(a.extent, index) for a in kernel.axes), *(root for stage in kernel.stages for root in stage_roots(stage)))


def buffer_reads(kernel: Kernel) -> list[Expr]:
    """The distinct read nodes of a kernel whose source is a buffer, in a stable order."""
    return [node for node in walk(*kernel_roots(kernel)) if node.op == "read" and isinstance(node.data, Buffer)]


def updated_buffers(kernel: Kernel) -> list[Buffer]:
    """The targets that a kernel merges into before it stores to them, so that what they held before counts."""
    found, stored = [], set()
    for stage in kernel.stages:
        if stage.combine and stage.target not in stored:
            found.append(stage.target)
        stored.add(stage.target)
    return found


def kernel_buffers(kernel: Kernel) -> list[Buffer]:
    """The buffers a kernel reads or stores into, each once, targets last."""
    return list(dict.fromkeys([*(node.data for node in buffer_reads(kernel)), *kernel.targets]))


def program_buffers(program: Program) -> list[Buffer]:
    """Every buffer of a program in order of appearance: inputs, outputs, then by kernel; a view follows its parent."""
    found: dict[Buffer, None] = {}
    conditions = (a.condition for kernel in program.steps for a in kernel.repeat if a.condition is not None)
    for buffer in (*program.inputs, *program.outputs, *(b for kernel in program.steps for b in kernel_buffers(kernel)), *conditions):
        for each in reversed(list(_with_parents(buffer))):
            found.setdefault(each)
    return list(found)


def _with_parents(buffer: Buffer) -> Iterator[Buffer]:
    while buffer is not None:
        yield buffer
        buffer = buffer.parent
