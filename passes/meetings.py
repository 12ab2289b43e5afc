"""Where threads that run a program together must wait for each other: before a step that touches what others may still be touching.

Each thread walks its part of the kernels that are shared; kernels that are not are done by one thread, those in a row by the same one. Two
steps need nobody to wait in between when neither stores what the other touches (two branches that read one tensor), or when they are of
one such row.

    [shared a -> t, shared t -> u, shared a -> v]   ->   {1}: the third reads a, and stores where nobody else does
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgec.accesses import buffer_reads, updated_buffers
from edgec.kernel import Buffer, Kernel, Program
from edgec.passes.parallel import Region
from edgec.repeats import loops


@dataclass(frozen=True, eq=False)
class _Touched:
    """What a step stores, reads, and uses as scratch: in the arena for the first thread, and for what is not shared whoever does it."""

    shared: bool
    stored: frozenset[Buffer]
    read: frozenset[Buffer]
    scratch: frozenset[Buffer]


def meetings(program: Program, regions: Sequence[Region]) -> frozenset[int]:
    """The steps before which all threads meet. A step that begins a loop is one, as is the one behind it."""
    inside = {step for region in regions for step in range(region.first, region.last + 1)}
    steps = [_touched(kernel, step in inside) for step, kernel in enumerate(program.steps)]
    forced = {step for loop in loops(program.steps) for step in (loop.first, loop.last + 1)}
    found: set[int] = set()
    since = 0
    shared = 0  # the steps behind which no other is shared: those are of one thread, in order
    for number, step in enumerate(steps):
        shared = number + 1 if step.shared else shared
        if number in forced or any(_conflict(steps[n], step, program) for n in range(since, min(shared, number))):
            found.add(number)
            since = number
    return frozenset(found)


def _touched(kernel: Kernel, shared: bool) -> _Touched:
    stored = {b for b in kernel.targets if b.root.kind != "scratch"}
    read = {n.data for n in buffer_reads(kernel) if n.data.root.kind not in ("scratch", "constant")}
    scratch = {b for b in (*kernel.targets, *(n.data for n in buffer_reads(kernel))) if b.root.kind == "scratch"}
    return _Touched(shared, frozenset(stored), frozenset(read | set(updated_buffers(kernel))), frozenset(scratch))


def _conflict(early: _Touched, late: _Touched, program: Program) -> bool:
    """Whether a thread may not begin the later step while another is at the earlier one."""
    meet = _Memory(program).meet
    alone = not (early.shared and late.shared)  # in the arena's scratch memory, whichever thread it is
    return alone and any(meet(a, b) for a in early.scratch for b in late.scratch) or \
        any(meet(a, b) for a in early.stored for b in late.read | late.scratch) or \
        any(meet(a, b) for a in early.read | early.scratch for b in late.stored) or \
        any(meet(a, b) for a in early.read for b in late.scratch) or any(meet(a, b) for a in early.scratch for b in late.read) or \
        any(meet(a, b) and not _apart(a, b) for a in early.stored for b in late.stored)


@dataclass(frozen=True)
class _Memory:
    """Which buffers share bytes."""

    program: Program

    def meet(self, a: Buffer, b: Buffer) -> bool:
        if a.root is b.root:
            return True
        arena = self.program.arena
        if a.root not in arena or b.root not in arena:
            return False
        return arena[a.root] < arena[b.root] + b.root.bytes and arena[b.root] < arena[a.root] + a.root.bytes


def _apart(a: Buffer, b: Buffer) -> bool:
    """Whether two views of one buffer are different stretches along one dimension, as the parts of a concatenation are."""
    if a.root is not b.root or a.strides != b.strides or not all(isinstance(n, int) for n in (*a.strides, *a.shape, *b.shape)):
        return False
    low, high = sorted((a, b), key=lambda view: view.offset)
    return any(_behind(low, high, d) for d in range(a.rank))


def _behind(low: Buffer, high: Buffer, dimension: int) -> bool:
    """Whether `high` begins behind `low` along a dimension, within one step of the next larger stride, all other extents being equal."""
    stride = low.strides[dimension]
    larger = min((s for s in low.strides if s > stride), default=low.root.memory_size)
    steps, rest = divmod(high.offset - low.offset, stride) if stride else (0, 1)
    others = all(m == n for d, (m, n) in enumerate(zip(low.shape, high.shape)) if d != dimension)
    return others and not rest and steps >= low.shape[dimension] and (steps + high.shape[dimension]) * stride <= larger

