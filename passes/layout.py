"""Chooses which axis of each temporary lies innermost in memory; readers and writers only see other strides.

Every kernel votes, weighted by how often it touches the buffer (a sum that other axes do not change is done once for all of them): a
contraction wants the axis that its packed weights run along innermost in the result, and its own reduction axis innermost in what it
reads; a sliding window wants an axis it does not slide over. Elementwise kernels pass on what their neighbours want. Then the estimated
cycles of all kernels decide whether a buffer gets that order or stays as it is. Model inputs and outputs keep ONNX's order.

    conv(x)[o, y, x]  ->  order (y, x, o): vectors along o
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from math import prod
from typing import Any

from edgec.expr import Expr, ReduceParts, inside_pairs, read
from edgec.kernel import Buffer, Kernel, Program, Stage
from edgec.linear import coefficient, split
from edgec.passes.choices import Choice, Chosen
from edgec.passes.estimate import kernel_cycles
from edgec.sweeps import transform, walk

Votes = dict[Buffer, Counter]
ALIASING = 2048  # bytes: half of what one way of a 32 KB, 8-way first-level cache holds
LINE = 64        # bytes of a cache line
LATER = 0.5      # of the cycles: a buffer stays as it is for less, since the passes behind (Winograd, bands, blocks) want what is voted for
LEAST_RUNS = 8   # fewer runs find room in the ways of a set


def layout(program: Program, target: Any = None) -> Program:
    """The program with an order for every temporary."""
    votes: Votes = {}
    for kernel in program.steps:
        for stage in kernel.stages:
            _vote(kernel, stage, votes)
    inner = {b: _winner(b, v) for b, v in votes.items()}
    for _ in range(2):
        for kernel in (*program.steps, *reversed(program.steps)):
            _pass_on(kernel, inner)
    inner = {b: d for b, d in inner.items() if b.kind == "temporary"}
    return _apply(program, inner if target is None else _worth_it(program, inner, target), target)


def _worth_it(program: Program, inner: dict[Buffer, int], target: Any) -> dict[Buffer, int]:
    """Of the innermost dimensions voted for, those by which the kernels are estimated to take fewer cycles; the others stay.

    Elements of fewer than 32 bits have what is voted for: instructions that take several of them at once want those they sum together.
    """
    whole = {b: _with_last(b, d) for b, d in inner.items() if d != b.rank - 1}
    narrow = {b: other for b, other in whole.items() if b.dtype.bits < 32}
    program = replace_buffers(program, narrow)
    moved = {b: other for b, other in whole.items() if b not in narrow}

    def other(kernel: Kernel, chosen: Chosen) -> Kernel:
        return replace_buffers(program.with_steps([kernel]), {b: moved[b] for b in chosen}).steps[0]

    chosen, _ = Choice(program, moved, other, lambda kernel: kernel_cycles(kernel, target), LATER).settled()
    return {b: d if b in chosen or b in narrow else b.rank - 1 for b, d in inner.items()}


def _with_last(b: Buffer, last: int) -> Buffer:
    """The buffer with one dimension innermost, the others in their order."""
    return replace(b, order=(*(d for d in range(b.rank) if d != last), last))


def _winner(buffer: Buffer, votes: Counter) -> int:
    """The dimension most votes name; the later one when even."""
    return max(votes, key=lambda d: (votes[d], d))


def _vote(kernel: Kernel, stage: Stage, votes: Votes) -> None:
    axes = {a.var: a.max_extent for a in (*kernel.axes, *stage.axes)}
    for node in walk(stage.value):
        if node.op == "reduce":
            parts = ReduceParts(node)
            reads = [n for b in parts.body for n in walk(b) if n.op == "read"]
            guarded = {v for b in parts.body for n in walk(b) if n.op == "inside" for i, _ in inside_pairs(n) for v in i.free}
            times = prod(extent for v, extent in axes.items() if v in node.free)
            weight = times * prod(e.data if e.op == "const" else e.hi for e in parts.extents)
            _vote_reduction(stage, axes, set(parts.axes), reads, guarded, weight, votes)


def _vote_reduction(stage: Stage, axes: dict[Expr, int], reduced: set[Expr], reads: list[Expr], guarded: set[Expr], weight: int,
                    votes: Votes) -> None:
    constants = [n for n in reads if n.data.root.kind == "constant"]
    moving = [n for n in reads if n.data.root.kind != "constant"]
    packed = [v for v in axes if axes[v] > 1 and any(v in c.free for c in constants) and any(v not in m.free for m in moving)]
    for v in packed:
        if axes[v] == max(axes[p] for p in packed):  # not the two phases of a transposed convolution beside its channels
            _ballot(votes, stage.target, _dimension(stage.indices, v), weight * 2)
    partly = [v for v in axes if axes[v] > 1 and 0 < sum(v in n.free for n in moving) < len(moving)]
    if not packed and partly:  # a product of tensors that are both known at run time: operands are brought into order by the kernel itself
        for v in partly:
            _ballot(votes, stage.target, _dimension(stage.indices, v), weight)
        return
    for n in moving:
        shared = [v for v in axes if v in n.free and axes[v] > 1 and v not in guarded and not _slides(n, v, reduced)]
        wanted = [r for r in reduced if _dimension(n.args, r) is not None and r not in guarded and not _slides_with(n, r, axes)]
        for r in wanted if packed or not shared else ():
            _ballot(votes, n.data, _dimension(n.args, r), weight)
        if not packed:
            for v in shared:
                _ballot(votes, n.data, _dimension(n.args, v), weight)
                _ballot(votes, stage.target, _dimension(stage.indices, v), weight)


def _ballot(votes: Votes, buffer: Buffer | None, dimension: int | None, weight: int) -> None:
    if buffer is not None and dimension is not None:
        votes.setdefault(buffer, Counter())[dimension] += weight


def _dimension(indices: tuple[Expr, ...], v: Expr) -> int | None:
    """The dimension whose index steps by one with v."""
    for d, i in enumerate(indices):
        if v in i.free and coefficient(i, v) == 1:
            return d
    return None


def _slides(n: Expr, v: Expr, reduced: set[Expr]) -> bool:
    """Whether v shares a dimension with a reduction axis (a window)."""
    return any(v in i.free and i.free & reduced for i in n.args)


def _slides_with(n: Expr, r: Expr, axes: dict[Expr, int]) -> bool:
    """Whether a reduction axis shares a dimension with a parallel axis (a kernel tap)."""
    return any(r in i.free and any(v in axes for v in i.free) for i in n.args)


def _pass_on(kernel: Kernel, inner: dict[Buffer, int]) -> None:
    """Buffers without votes take the axis their elementwise neighbours have innermost."""
    for stage in kernel.stages:
        if stage.target is None or any(n.op == "reduce" for n in walk(stage.value)):
            continue
        places = [(stage.target, stage.indices)] + [(n.data, n.args) for n in walk(stage.value) if n.op == "read"]
        places = [(b, i) for b, i in places if b.kind != "constant" and b.rank > 1]
        known = Counter()
        for b, indices in places:
            d = inner.get(b)
            if d is not None:
                known.update({v: b.max_size for v, c in split(indices[d])[1].items() if c == 1})
        if not known:
            continue
        best = max(known, key=lambda v: known[v])
        for b, indices in places:
            if b not in inner and b.kind == "temporary":
                d = _dimension(indices, best)
                if d is not None:
                    inner[b] = d


def _apply(program: Program, inner: dict[Buffer, int], target: Any) -> Program:
    """The program over buffers with the chosen dimension moved last, padded where caches want it."""
    new = {b: _with_last(b, last) for b, last in inner.items() if last != b.rank - 1}
    return replace_buffers(program, {b: _padded(new.get(b, b), target) for b in inner if _padded(new.get(b, b), target) is not b})


def _padded(buffer: Buffer, target: Any) -> Buffer:
    """The buffer with a cache line after every run, where runs a multiple of ALIASING bytes apart would fall into the same cache sets."""
    inner = buffer.shape[(buffer.order or range(buffer.rank))[-1]]
    if target is None or not target.l2_bytes or buffer.rank < 2 or not isinstance(inner, int):
        return buffer
    aliasing = inner * buffer.dtype.bytes % ALIASING == 0 and buffer.max_size // inner >= LEAST_RUNS
    return replace(buffer, pad=LINE // buffer.dtype.bytes) if aliasing else buffer


def replace_buffers(program: Program, new: dict[Buffer, Buffer]) -> Program:
    """The program with every mention of a buffer replaced."""
    def renew(node: Expr) -> Expr | None:
        return read(new[node.data], node.args) if node.op == "read" and node.data in new else None

    around = dict.fromkeys(a for k in program.steps for a in k.repeat)
    loops = {a: replace(a, condition=new[a.condition]) if a.condition in new else a for a in around}
    return program.with_steps(replace(k, stages=tuple(_renewed(s, renew, new) for s in k.stages), repeat=tuple(loops[a] for a in k.repeat))
                              for k in program.steps)


def _renewed(stage: Stage, renew: Callable[[Expr], Expr | None], new: dict[Buffer, Buffer]) -> Stage:
    """The stage with every expression it evaluates transformed."""
    value, *rest = transform((stage.value, *stage.indices, *(e for pair in stage.guards for e in pair)), renew)
    indices, flat = tuple(rest[:len(stage.indices)]), rest[len(stage.indices):]
    guards = tuple(zip(flat[::2], flat[1::2]))
    return replace(stage, value=value, target=new.get(stage.target, stage.target), indices=indices, guards=guards)
