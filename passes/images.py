"""Runs neighbouring kernels image by image, where a whole batch of their intermediates would not stay in the cache: a loop around them.

    t[n,c,y,x] = conv(a);  z[n,o,y,x] = conv(t)            (n < 8)
    ->  repeat (n < 8): { t[0,c,y,x] = conv(a[n]);  z[n,o,y,x] = conv(t) }

What only the loop touches is as large as for one image, and each image finds it in the cache. Kernels whose weights are worth more than
their results stay as they are: a batch reads them once. It stands before the passes that look at the sizes of intermediates.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any

from edgec.accesses import buffer_reads, kernel_buffers
from edgec.expr import Expr, const, fresh, read
from edgec.kernel import Axis, Buffer, Kernel, Program, Stage
from edgec.kernel_facts import kernel_facts
from edgec.passes.winograd_convolution import recognise
from edgec.sweeps import substitute, transform
from edgec.types import index

RESIDENT = 0.5             # the share of the second-level cache that one tensor may fill and still be there for its reader
BYTES_PER_CYCLE = 8.0      # beyond the second-level cache, one way
WEIGHTS_PER_CYCLE = 16.0   # bytes, beyond what multiplying hides
WINOGRAD = 3               # as many times as many weights a convolution may have when it is in Winograd form
CALL = 500.0               # cycles by which a kernel called once more costs more than one that goes on


Lives = dict[Buffer, tuple[int, int]]  # the first and the last step that touches each temporary


@dataclass(frozen=True, eq=False)
class Batched:
    """A kernel along whose axis no image touches another's results: what it stores and reads image by image, and what it reads whole."""

    axis: Axis
    stored: frozenset[Buffer]
    own: frozenset[Buffer]
    whole: frozenset[Buffer]


def images(program: Program, target: Any) -> Program:
    """The program with loops over images where that keeps intermediates in the cache; without a second-level cache it stays as it is."""
    if not target.l2_bytes:
        return program
    found = [_batched(kernel, program) for kernel in program.steps]
    steps, lives = list(program.steps), _lives(program)
    for run in _runs(found):
        for first, last in _worthwhile(program, found, lives, run, target):
            steps[first:last + 1] = _looped(program, found, lives, first, last)
    return program.with_steps(steps)


# ----------------------------------------------------------------------------------------------------------------- what can

def _batched(kernel: Kernel, program: Program) -> Batched | None:
    """The kernel by its outermost axis, when everything it stores it stores image by image."""
    axis = next((a for a in kernel.axes if a.max_extent > 1), None)
    ordered = kernel.repeat or kernel.block and axis is kernel.axes[-1] or any(s.combine for s in kernel.stages)
    if axis is None or ordered or not (isinstance(axis.extent, int) or axis.extent in program.symbols):
        return None
    stores = [(s.target, s.indices) for s in kernel.stages]
    reads = [(n.data, n.args) for n in buffer_reads(kernel)]
    scratch = [indices for b, indices in (*stores, *reads) if b.root.kind == "scratch"]
    shared = any(axis.var in i.free for indices in scratch for i in indices)
    if shared or not all(b.root.kind == "scratch" or _along(b, indices, axis) >= 0 for b, indices in stores):
        return None
    own = {b.root for b, indices in reads if _along(b, indices, axis) >= 0}
    whole = {b.root for b, indices in reads if _along(b, indices, axis) < 0}
    return Batched(axis, frozenset(b.root for b, _ in stores), frozenset(own - whole), frozenset(whole))


def _along(buffer: Buffer, indices: Sequence[Expr], axis: Axis) -> int:
    """The dimension whose index is the axis, where it is the outermost one in memory and no other index depends on it; else -1."""
    if any(axis.var in i.free for i in indices if i is not axis.var) or sum(i is axis.var for i in indices) != 1:
        return -1
    dimension = next(d for d, i in enumerate(indices) if i is axis.var)
    return dimension if dimension == _outermost(buffer, axis.extent) else -1


def _outermost(buffer: Buffer, extent: Any) -> int:
    """The dimension along which a buffer's images follow each other in its root's memory; -1 where it has none of that extent."""
    root = buffer.root
    outer = next((d for d in root.order or range(root.rank) if root.max_shape[d] > 1), -1)
    if outer < 0 or root.shape[outer] != extent:
        return -1
    return next((d for d in range(buffer.rank) if buffer.shape[d] == extent and buffer.strides[d] == root.strides[outer]), -1)


def _runs(found: Sequence[Batched | None]) -> list[tuple[int, int]]:
    """The longest runs of kernels (first and last) that one loop could hold: an image of one needs no other image of another."""
    runs: list[tuple[int, int]] = []
    first, stored, whole = 0, set(), set()
    for step, one in enumerate((*found, None)):
        alike = one and step > first and one.axis.extent == found[first].axis.extent
        if not alike or not stored.isdisjoint(one.whole) or not whole.isdisjoint(one.stored):
            if step - first > 1:
                runs.append((first, step - 1))
            first, stored, whole = step if one else step + 1, set(), set()
        if one:
            stored |= one.stored
            whole |= one.whole
    return runs


# --------------------------------------------------------------------------------------------------------------------- cost

def _worthwhile(program: Program, found: Sequence[Batched], lives: Lives, run: tuple[int, int], target: Any) -> list[tuple[int, int]]:
    """The parts of a run whose loops save most cycles together (a loop holds two kernels at least)."""
    first, last = run
    gains = _gains(found, lives, run, target)
    if not any(gains):
        return []
    costs = [_cost(program.steps[step], target) for step in range(first, last + 1)]
    most = list(accumulate((sum(gain for _, gain in each) for each in gains), initial=0.0))  # what stands before a step saves at most
    best: list[tuple[float, list[tuple[int, int]]]] = [(0.0, [])]  # of what stands before each step
    for end in range(last - first + 1):
        options = [best[-1]]
        value = 0.0
        for start in range(end, -1, -1):
            value += sum(gain for until, gain in gains[start] if until <= first + end) - costs[start]
            if start < end and value > 0:
                before = best[start]
                options.append((before[0] + value, [*before[1], (first + start, first + end)]))
            if value + most[start] <= 0:
                break
        best.append(max(options, key=lambda option: option[0]))
    return best[-1][1]


def _gains(found: Sequence[Batched], lives: Lives, run: tuple[int, int], target: Any) -> list[list[tuple[int, float]]]:
    """For each step of a run the tensors stored there first: the step that a loop must reach to keep one, and the cycles that saves."""
    first, last = run
    gains = [[(lives[b][1], _saved(b, found[step].axis.max_extent, target)) for b in found[step].stored if lives.get(b, (-1,))[0] == step]
             for step in range(first, last + 1)]
    return [[(until, gain) for until, gain in each if gain > 0] for each in gains]


def _lives(program: Program) -> Lives:
    """The first and the last step that touches each temporary."""
    lives: Lives = {}
    for step, kernel in enumerate(program.steps):
        for root in (b.root for b in kernel_buffers(kernel) if b.root.kind == "temporary"):
            lives[root] = (lives.get(root, (step, step))[0], step)
    return lives


def _saved(buffer: Buffer, number: int, target: Any) -> float:
    """Cycles in which a batch of a tensor goes beyond the second-level cache and comes back, when an image of it stays."""
    if buffer.bytes <= RESIDENT * target.l2_bytes:
        return 0.0
    stays = buffer.bytes // number <= RESIDENT * target.l2_bytes
    return buffer.bytes / BYTES_PER_CYCLE * (2 if stays else 1)  # bands may keep a larger image


def _cost(kernel: Kernel, target: Any) -> float:
    """Cycles in which the other images wait for weights and calls."""
    facts, number = kernel_facts(kernel), next(a.max_extent for a in kernel.axes if a.max_extent > 1)
    growth = WINOGRAD if target.max_flash_growth > 1 and recognise(kernel) is not None else 1
    return (number - 1) * (CALL + growth * facts.weight_bytes / WEIGHTS_PER_CYCLE)


# --------------------------------------------------------------------------------------------------------------------- loop

def _looped(program: Program, found: Sequence[Batched], lives: Lives, first: int, last: int) -> list[Kernel]:
    """The steps first..last under one repeat axis; what nothing else touches becomes as large as one image."""
    extent = found[first].axis.extent
    loop = Axis(fresh("n", 0, found[first].axis.max_extent - 1), extent)
    inner = {b for step in range(first, last + 1) for b in found[step].stored
             if b in lives and first <= lives[b][0] and lives[b][1] <= last and not any(b in f.whole for f in found[first:last + 1])}
    smaller: dict[Buffer, Buffer] = {}
    for buffer in (b for kernel in program.steps[first:last + 1] for b in kernel_buffers(kernel) if b.root in inner):
        _image(buffer, extent, smaller)
    return [_one_image(program.steps[step], found[step].axis, loop, smaller) for step in range(first, last + 1)]


def _image(buffer: Buffer, extent: Any, made: dict[Buffer, Buffer]) -> Buffer:
    """A buffer, and those it is a view of, of one image."""
    if buffer not in made:
        dimension = _outermost(buffer, extent)
        shape = tuple(1 if d == dimension else n for d, n in enumerate(buffer.shape))
        made[buffer] = replace(buffer, shape=shape, parent=_image(buffer.parent, extent, made) if buffer.parent is not None else None)
    return made[buffer]


def _one_image(kernel: Kernel, axis: Axis, loop: Axis, smaller: dict[Buffer, Buffer]) -> Kernel:
    """The kernel at one point of the loop."""
    def at_start(indices: Sequence[Expr]) -> tuple[Expr, ...]:
        return tuple(const(0, index) if i is loop.var else i for i in indices)

    def local(node: Expr) -> Expr | None:
        return read(smaller[node.data], at_start(node.args)) if node.op == "read" and node.data in smaller else None

    def stage(old: Stage) -> Stage:
        value, *rest = transform([substitute(e, {axis.var: loop.var}) for e in (old.value, *old.indices, *_flat(old.guards))], local)
        indices, bounds = rest[:len(old.indices)], rest[len(old.indices):]
        guards = tuple(zip(bounds[::2], bounds[1::2]))
        if old.target not in smaller:
            return replace(old, value=value, indices=tuple(indices), guards=guards)
        return replace(old, value=value, indices=at_start(indices), guards=guards, target=smaller[old.target])

    axes = tuple(a for a in kernel.axes if a is not axis)
    return replace(kernel, axes=axes, stages=tuple(map(stage, kernel.stages)), repeat=(loop,))


def _flat(pairs: Sequence[tuple[Expr, Expr]]) -> list[Expr]:
    return [e for pair in pairs for e in pair]
