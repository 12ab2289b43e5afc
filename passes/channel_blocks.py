"""Lays buffers out in blocks of channels where the kernels that touch them are estimated to take fewer cycles so.

A buffer whose channels a contraction sums up, for neighbouring points in the rows of its tile, becomes one of one more dimension; all who
read or write it only see other places, since c // 4 and c % 4 vanish in tiles that begin at multiples of four. The sizes of blocks are the
target's; whether they pay (one load may bring sixteen elements that lie side by side) is what `estimate` says of both programs.

    y[o,p] = sum_over(c; x[c,p] * w[o,c])   ->   y[o,p] = sum_over(c; x[c // 4, p, c % 4] * w[o,c])
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import prod
from typing import Any

from edgec.expr import Expr, ReduceParts, read
from edgec.kernel import Buffer, Kernel, Program, Stage
from edgec.linear import coefficient_within, split
from edgec.passes.choices import Choice, Chosen
from edgec.passes.estimate import kernel_cycles
from edgec.sweeps import transform, walk
from edgec.types import f32

KINDS = ("temporary", "scratch")


@dataclass(frozen=True)
class Wish:
    """The dimension of a buffer that a contraction sums over, and those along which its constants change, too (a batch of products)."""

    channel: int
    batch: tuple[int, ...]


def channel_blocks(program: Program, target: Any = None, cycles: Callable[[Kernel, Any], float] = kernel_cycles) -> Program:
    """The program with buffers in blocks of one of the target's sizes, where `cycles` says that this costs less; else unchanged."""
    if target is None or not target.channel_blocks:
        return program
    saved, steps = max((_in_blocks(program, target, width, cycles) for width in target.channel_blocks), key=lambda found: found[0])
    return program.with_steps(steps) if saved > 0 else program


def _in_blocks(program: Program, target: Any, width: int, cycles: Callable[[Kernel, Any], float]) -> tuple[float, tuple[Kernel, ...]]:
    """(cycles saved, kernels) with what suits blocks of one size and saves cycles in such."""
    wishes: dict[Buffer, Wish] = {}
    for kernel in program.steps:
        for stage in kernel.stages:
            _wishes(kernel, stage, width, wishes)
    accesses = [place for kernel in program.steps for stage in kernel.stages for place in _accesses(stage)]
    spoilt = {buffer.root for buffer, args in accesses if not _suits(buffer, args, wishes, width)}
    blocked = {b: _blocked(b, wish, width) for b, wish in wishes.items() if b not in spoilt}

    def moved(kernel: Kernel, chosen: Chosen) -> Kernel:
        own = {b: blocked[b] for b in chosen}
        return replace(kernel, stages=tuple(_moved(s, wishes, own, width) for s in kernel.stages))

    choice = Choice(program, blocked, moved, lambda kernel: cycles(kernel, target))
    chosen, saved = choice.settled()
    return saved, tuple(choice.moved(k, chosen) for k in program.steps)


def _wishes(kernel: Kernel, stage: Stage, width: int, wishes: dict[Buffer, Wish]) -> None:
    axes = {a.var for a in (*kernel.axes, *stage.axes)}
    for node in walk(stage.value):
        if node.op != "reduce" or node.dtype is not f32:
            continue
        parts = ReduceParts(node)
        reads = [n for b in parts.body for n in walk(b) if n.op == "read"]
        constants = [n for n in reads if n.data.root.kind == "constant"]
        packed = frozenset().union(*(n.free for n in constants))
        for n in reads:
            if n.data.root.kind in KINDS and packed & axes - n.free:
                _wish(n, set(parts.axes) & packed, packed & axes, width, wishes)


def _wish(n: Expr, summed: set[Expr], batch: frozenset[Expr], width: int, wishes: dict[Buffer, Wish]) -> None:
    """Wish for blocks where channels are whole blocks, innermost, of a buffer of many points."""
    found = _at_root(n.data, n.args)
    if found is None:
        return
    root, args = found
    channel = next((d for d, i in enumerate(args) if (split(i)[1].keys() & summed)), None)
    inner = (root.order or range(root.rank))[-1]
    whole = channel == inner and all(isinstance(s, int) for s in root.shape) and root.shape[inner] % width == 0
    if whole and root.dtype is f32 and prod(root.shape) // root.shape[inner] >= width:
        wishes.setdefault(root, Wish(inner, tuple(d for d, i in enumerate(args) if d != inner and i.free & batch)))


def _accesses(stage: Stage) -> list[tuple[Buffer, tuple[Expr, ...]]]:
    roots = (stage.value, *stage.indices, *(e for pair in stage.guards for e in pair))
    reads = [(n.data, n.args) for n in walk(*roots) if n.op == "read"]
    return [*reads, (stage.target, stage.indices)] if stage.target is not None else reads


def _suits(buffer: Buffer, args: tuple[Expr, ...], wishes: dict[Buffer, Wish], width: int) -> bool:
    """Whether neighbours in a block are still neighbours where the buffer is read or written here."""
    if buffer.root not in wishes:
        return True
    found = _at_root(buffer, args)
    if found is None:
        return False
    at = found[1][wishes[found[0]].channel]
    constant, terms = split(at)
    single = [v for v, c in terms.items() if c == 1 and v.op == "var"]
    return constant % width == 0 and len(single) <= 1 and all(c % width == 0 for v, c in terms.items() if v not in single) \
        and (not single or coefficient_within(at // width, single[0], width) == 0)


def _at_root(buffer: Buffer, args: tuple[Expr, ...]) -> tuple[Buffer, tuple[Expr, ...]] | None:
    """A place in a view as one in the buffer it is part of; None where it is not a box of it."""
    while buffer.parent is not None:
        parent, rest, shifts = buffer.parent, buffer.offset, [0] * buffer.rank
        if buffer.rank != parent.rank or not all(map(_is_int, (*parent.strides, *buffer.shape, *parent.shape))):
            return None
        if any(e > 1 and step != other for e, step, other in zip(buffer.shape, buffer.view_strides, parent.strides)):
            return None
        for d in sorted(range(parent.rank), key=lambda d: -parent.strides[d]):
            if parent.shape[d] != 1:
                shifts[d], rest = divmod(rest, parent.strides[d])
        if rest or any(s + e > f for s, e, f in zip(shifts, buffer.shape, parent.shape)):
            return None
        buffer, args = parent, tuple(i + s for i, s in zip(args, shifts))
    return buffer, args


def _is_int(value: Any) -> bool:
    return isinstance(value, int)


def _blocked(b: Buffer, wish: Wish, width: int) -> Buffer:
    """The buffer of one more dimension: batch, blocks of channels, all other dimensions as they lie, channels of a block."""
    return replace(b, shape=tuple(b.shape[d] for d in wish.batch) + (b.shape[wish.channel] // width,)
                   + tuple(b.shape[d] for d in _others(b, wish)) + (width,), order=(), pad=0)


def _others(b: Buffer, wish: Wish) -> list[int]:
    return [d for d in b.order or range(b.rank) if d != wish.channel and d not in wish.batch]


def _moved(stage: Stage, wishes: Mapping[Buffer, Wish], blocked: Mapping[Buffer, Buffer], width: int) -> Stage:
    """The stage with every place in such a buffer said in blocks."""
    def moved(buffer: Buffer, args: tuple[Expr, ...]) -> tuple[Buffer, tuple[Expr, ...]]:
        root, args = _at_root(buffer, args)
        wish, other = wishes[root], blocked[root]
        at = args[wish.channel]
        return other, (*(args[d] for d in wish.batch), at // width, *(args[d] for d in _others(root, wish)), at % width)

    def renewed(n: Expr) -> Expr | None:
        return read(*moved(n.data, n.args)) if n.op == "read" and n.data.root in blocked else None

    value, *rest = transform((stage.value, *stage.indices, *(e for pair in stage.guards for e in pair)), renewed)
    indices, flat = tuple(rest[:len(stage.indices)]), rest[len(stage.indices):]
    target, indices = moved(stage.target, indices) if stage.target is not None and stage.target.root in blocked else (stage.target, indices)
    return replace(stage, value=value, target=target, indices=indices, guards=tuple(zip(flat[::2], flat[1::2])))
