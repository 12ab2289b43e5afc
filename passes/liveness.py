"""Gives every temporary its place in the arena: buffers that are never alive together share bytes.

A temporary lives from the first kernel that stores into it to the last that reads it; a scratch buffer lives during its kernels only; a
view lives in the memory of its root. The output of an elementwise kernel takes the place of an input that dies there. Placing the
intervals is dynamic storage allocation: greedy placement in several orders, then a short deterministic search that moves whatever
stands at the top of the arena earlier, ended at once by an arena as small as the largest live set, below which no plan can go.

    a: steps 0-1, 64 bytes; b: 1-2, 128 bytes; c: 2-3, 64 bytes   ->   arena 192: a at 128, b at 0, c at 128
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from edgec.accesses import buffer_reads, updated_buffers
from edgec.errors import Internal
from edgec.expr import Expr, ReduceParts
from edgec.kernel import Buffer, Kernel, Program
from edgec.linear import split
from edgec.passes.placement import Interval, largest_live_set, place
from edgec.repeats import Loop, loops
from edgec.sweeps import walk

ALIGNMENT = 64  # bytes: a cache line, and the widest vector


def liveness(program: Program, *, in_place: bool = True) -> Program:
    """The program with `arena` (byte offsets), `arena_bytes` and `live_bytes`, sizes at the upper bounds of symbolic dimensions.

    Without `in_place` no output takes the space of a dying input. Raises Internal for a temporary that is read before it is stored.
    """
    blocks = _blocks(program, in_place)
    intervals = [block.interval for block in blocks]
    offsets, size = place(intervals)
    arena = {member: offset for block, offset in zip(blocks, offsets) for member in block.members}
    for buffer in _touched(program):
        if buffer.root in arena:
            arena[buffer] = arena[buffer.root] + (buffer.offset * buffer.dtype.bytes if buffer.parent is not None else 0)
    return replace(program, arena=arena, arena_bytes=size, live_bytes=largest_live_set(intervals))


def lifetimes(program: Program) -> dict[Buffer, tuple[int, int]]:
    """(first step, last step) of every root buffer in the arena, by order of first store; both steps included.

    What a loop around steps carries from one iteration to the next, or across its border, lives as long as the loop.
    """
    found: dict[Buffer, tuple[int, int]] = {}
    for step, kernel in enumerate(program.steps):
        for root, needed in _roots(kernel).items():
            if root.kind in ("temporary", "scratch", "sizes"):
                if needed and root not in found:
                    raise Internal(f"{root.name} is read before anything is stored in it", loc=kernel.loc, notes=[f"by {kernel.name}"])
                found[root] = (found.get(root, (step, step))[0], step)
    for loop in loops(program.steps):
        if loop.axis.condition is not None:
            root = loop.axis.condition.root
            found[root] = (min(found[root][0], loop.first), max(found[root][1], loop.last))
        for root in _carried(program, loop, found):
            found[root] = (min(found[root][0], loop.first), max(found[root][1], loop.last))
    return found


def _roots(kernel: Kernel) -> dict[Buffer, bool]:
    """The root buffers of a kernel, targets first, and whether it needs what they held before."""
    stored = dict.fromkeys((target.root for target in kernel.targets), False)
    updated = {target.root: True for target in updated_buffers(kernel)}
    read = {root: True for node in buffer_reads(kernel) if (root := node.data.root) not in stored}
    return stored | updated | read


def _carried(program: Program, loop: Loop, lives: dict[Buffer, tuple[int, int]]) -> set[Buffer]:
    """The buffers of a loop that are more than intermediates of one iteration: touched outside of it too, read where no earlier step of
    the iteration has stored, or stored at a place that depends on the iteration."""
    found: set[Buffer] = set()
    stored: set[Buffer] = set()
    for kernel in program.steps[loop.first:loop.last + 1]:
        read = {root for node in buffer_reads(kernel) if (root := node.data.root).kind != "scratch"}
        found |= (read | {target.root for target in updated_buffers(kernel)}) - stored
        stored |= {target.root for target in kernel.targets}
        found |= {stage.target.root for stage in kernel.stages if any(loop.axis.var in i.free for i in stage.indices)}
    own = stored & lives.keys()
    outside = {root for root in own if not loop.first <= lives[root][0] <= lives[root][1] <= loop.last}
    return (found | outside) & lives.keys()


def takes_place_of(kernel: Kernel) -> list[Buffer]:
    """Root buffers whose memory the kernel's target may take over while the kernel runs, when they die there.

    That is safe when every element is read at the very place where the result of the same point is stored, outside of reductions, and
    no two points store to one place.
    """
    stage = kernel.stages[0]
    if len(kernel.stages) != 1 or stage.combine or stage.guards:
        return []
    target = stage.target
    flat = target.flat(stage.indices)
    if not _is_injective(kernel, flat):
        return []
    reduced = {id(node) for node in _below_reductions(kernel)}
    places: dict[Buffer, bool] = {}
    for node in buffer_reads(kernel):
        source = node.data
        same = source.flat(node.args) is flat and source.dtype.bytes == target.dtype.bytes and id(node) not in reduced
        places[source.root] = places.get(source.root, True) and same
    return [root for root, same in places.items() if same and root is not target.root]


def _below_reductions(kernel: Kernel) -> list[Expr]:
    reductions = [node for node in walk(kernel.stages[0].value) if node.op == "reduce"]
    return walk(*(body for node in reductions for body in ReduceParts(node).body))


def _is_injective(kernel: Kernel, flat: Expr) -> bool:
    """Whether different points have different places: a mixed-radix number of all axes, or an index that holds each axis as it is."""
    stage = kernel.stages[0]
    extents = {axis.var: axis.max_extent for axis in (*kernel.axes, *stage.axes) if axis.max_extent > 1}
    if set(extents) <= set(stage.indices):
        return True
    terms = split(flat)[1]
    if not set(extents) <= set(terms):
        return False
    reach = 0
    for var, coefficient in sorted(terms.items(), key=lambda term: abs(term[1])):
        if var.op != "var" or abs(coefficient) <= reach:
            return False
        reach += abs(coefficient) * (extents.get(var, 1) - 1)
    return True


@dataclass(frozen=True)
class _Block:
    """Root buffers that take over each other's bytes one after the other."""

    members: tuple[Buffer, ...]
    interval: Interval


def _blocks(program: Program, in_place: bool) -> list[_Block]:
    lives = lifetimes(program)
    chains: dict[Buffer, list[Buffer]] = {root: [root] for root in lives}
    for step, kernel in enumerate(program.steps if in_place else ()):
        heir = _heir(kernel, step, lives)
        for root in takes_place_of(kernel) if heir and not kernel.repeat else ():
            dies = root in lives and lives[root][0] < lives[root][1] == step
            if dies and root.kind == "temporary" and _size(root) == _size(heir):
                chains[root].append(heir)
                chains[heir] = chains[root]
                break
    distinct = {id(chain): chain for chain in chains.values()}
    return [_Block(tuple(c), Interval(lives[c[0]][0], lives[c[-1]][1], max(map(_size, c)))) for c in distinct.values()]


def _heir(kernel: Kernel, step: int, lives: dict[Buffer, tuple[int, int]]) -> Buffer | None:
    """The temporary that begins its life in this kernel and is stored here alone."""
    root = kernel.targets[0].root if kernel.targets else None
    return root if root in lives and lives[root][0] == step and root.kind == "temporary" else None


def _size(buffer: Buffer) -> int:
    return -(-buffer.bytes // ALIGNMENT) * ALIGNMENT


def _touched(program: Program) -> dict[Buffer, None]:
    return dict.fromkeys(b for kernel in program.steps for b in (*(n.data for n in buffer_reads(kernel)), *kernel.targets))
