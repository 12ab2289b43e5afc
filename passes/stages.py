"""Gives reductions that the last axes do not change a stage of their own, computed once per outer point and kept in scratch.

    y[n,c] = exp(x[n,c] - max_k x[n,k]) / sum_k exp(x[n,k] - max_j x[n,j])
    ->  for n:  m[] = max_over(k; x[n,k]);  e[c] = exp(x[n,c] - m[]);  s[] = sum_over(k; e[k]);  y[n,c] = e[c] / s[]

Where there are vectors, outer points go through the stages in blocks: neighbours in memory fill vectors, others hide each other's latency.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from edgec.expr import UNARY, Expr, ReduceParts, fresh, read
from edgec.kernel import Axis, Buffer, Kernel, Program, Stage
from edgec.linear import coefficient
from edgec.sweeps import substitute, transform, walk

ROWS = 8     # rows whose reductions hide each other's latency
VECTORS = 4  # vectors of a block whose points are neighbours in memory
COSTLY = frozenset(UNARY) - {"neg", "abs", "not", "floor", "ceil", "round", "trunc", "isnan", "isinf"}


def stages(program: Program, target: Any = None) -> Program:
    """The program with multi-stage kernels where that saves repeated work."""
    return program.with_steps(_in_blocks(_staged(kernel), target) for kernel in program.steps)


def _staged(kernel: Kernel) -> Kernel:
    if len(kernel.stages) > 1:
        return kernel
    found = hoisted(kernel.stages[0].value, kernel.axes)
    return staged(kernel, tuple(a for a in kernel.axes if all(a.var in node.free for node in found))) if found else kernel


def staged(kernel: Kernel, outer: tuple[Axis, ...]) -> Kernel:
    """A kernel of one stage with its invariant reductions as stages at one point of the axes `outer`."""
    inner = tuple(a for a in kernel.axes if a not in outer)
    return _Builder(kernel, outer, inner).build(hoisted(kernel.stages[0].value, kernel.axes))


def hoisted(value: Expr, axes: tuple[Axis, ...]) -> list[Expr]:
    """Reductions worth computing ahead: some axis of extent > 1 does not change them, or they stand inside another reduction."""
    found, nested = [], set()
    for node in walk(value):
        if node.op == "reduce":
            own = set(ReduceParts(node).axes)
            nested.update(n for b in ReduceParts(node).body for n in walk(b) if n.op == "reduce" and not n.free & own)
    for node in walk(value):
        if node.op == "reduce" and _reads(node):
            missing = [a for a in axes if a.var not in node.free and a.max_extent > 1]
            if missing or node in nested:
                found.append(node)
    return [n for n in found if n.free <= value.free]  # else it depends on a reduction around it, and changes with its variable


def _reads(node: Expr) -> bool:
    """Whether a reduction touches memory (one that only counts is cheaper where it stands)."""
    return any(n.op == "read" for n in walk(node))


class _Builder:
    """Moves reductions, and costly expressions that two stages share, into scratch buffers."""

    def __init__(self, kernel: Kernel, outer: tuple[Axis, ...], inner: tuple[Axis, ...]):
        self.kernel, self.outer, self.inner = kernel, outer, inner
        self.made: list[Stage] = []
        self.value = kernel.stages[0].value

    def build(self, found: list[Expr]) -> Kernel:
        pending = list(found)
        while pending:
            node = pending.pop(0)
            self._share(node)
            current = self._current(node)
            pending = [self._renamed(p) for p in pending]
            new = self._scratch(current)
            pending = [transform((p,), lambda n: new if n is current else None)[0] for p in pending]
            self.value = transform((self.value,), lambda n: new if n is current else None)[0]
        last = replace(self.kernel.stages[0], axes=self.inner, value=self.value)
        return replace(self.kernel, axes=self.outer, stages=(*self.made, last))

    def _current(self, node: Expr) -> Expr:
        return self._renamed(node)

    def _renamed(self, node: Expr) -> Expr:
        """The node as it stands now that shared expressions have been moved out."""
        return transform((node,), lambda n: self.shared.get(n))[0] if getattr(self, "shared", None) else node

    def _scratch(self, node: Expr) -> Expr:
        """A stage for a reduction: axes are the kernel's axes it depends on beyond the outer ones."""
        axes = tuple(a for a in self.inner if a.var in node.free)
        return self._stage(node, axes, tuple(a.var for a in axes))

    def _stage(self, value: Expr, axes: tuple[Axis, ...], at: tuple[Expr, ...]) -> Expr:
        own = tuple(Axis(fresh("s", 0, a.max_extent - 1), a.extent) for a in axes)
        moved = substitute(value, dict(zip(at, (a.var for a in own))))
        buffer = Buffer(f"{self.kernel.name}.s{len(self.made)}", value.dtype, tuple(a.extent for a in axes), "scratch")
        self.made.append(Stage(buffer.name, own, moved, buffer, tuple(a.var for a in own)))
        return read(buffer, at)

    def _share(self, node: Expr) -> None:
        """A costly body of this reduction that the result needs again, point by point, is computed once into scratch."""
        parts = ReduceParts(self._renamed(node))
        if len(parts.body) != 1 or len(parts.axes) != len(self.inner):
            return
        if any(e.op != "const" or a.extent != e.data for a, e in zip(self.inner, parts.extents)):
            return
        to_result = dict(zip(parts.axes, (a.var for a in self.inner)))
        in_result = set(map(id, walk(self.value)))
        for n in reversed(walk(parts.body[0])):
            if n.op in COSTLY and set(parts.axes) <= n.free and not any(m.op == "reduce" for m in walk(n)):
                other = substitute(n, to_result)
                if id(other) in in_result:
                    self._share_stage(n, other, parts)
                    return

    def _share_stage(self, in_body: Expr, in_result: Expr, parts: ReduceParts) -> None:
        there = self._stage(in_result, self.inner, tuple(a.var for a in self.inner))
        here = read(there.data, parts.axes)
        self.shared = {**getattr(self, "shared", {}), in_body: here, in_result: there}
        self.value = transform((self.value,), lambda n: self.shared.get(n))[0]


def scratch_bytes(kernel: Kernel) -> int:
    """Bytes of scratch one point of the outer axes needs."""
    return sum(b.bytes for b in dict.fromkeys(s.target for s in kernel.stages) if b is not None and b.kind == "scratch")


# ------------------------------------------------------------------------------------------------------------------- blocks

def _in_blocks(kernel: Kernel, target: Any) -> Kernel:
    """A kernel of several stages with its outer points in blocks, where the target has vectors."""
    candidates = [a for a in kernel.axes if a.max_extent > 1]
    if target is None or target.lanes(32) == 1 or not candidates or len(kernel.stages) == 1 or kernel.block:
        return kernel
    if any(s.combine or isinstance(a.extent, Expr) and a.extent.free for s in kernel.stages for a in s.axes):
        return kernel
    near = [a for a in candidates if _is_innermost(kernel, a)]
    axis = near[0] if near else candidates[-1]
    size = min(axis.max_extent, target.lanes(32) * VECTORS if near else ROWS)
    while size > 1 and size * scratch_bytes(kernel) > target.l1_bytes // 2:
        size //= 2
    return in_blocks(kernel, axis, size, slots_last=bool(near)) if size > 1 else kernel


def _is_innermost(kernel: Kernel, axis: Axis) -> bool:
    """Whether most tensors of the kernel have the axis' points as neighbours in memory."""
    places = [n.data.flat(n.args) for s in kernel.stages for n in walk(s.value) if n.op == "read" and n.data.root.kind != "scratch"]
    places += [s.target.flat(s.indices) for s in kernel.stages if s.target.root.kind != "scratch"]
    steps = [coefficient(place, axis.var) for place in places if axis.var in place.free]
    return 2 * sum(c == 1 for c in steps) > len(steps)


def in_blocks(kernel: Kernel, axis: Axis, size: int, *, slots_last: bool) -> Kernel:
    """The kernel with `axis` walked `size` points at a time; scratch gets a slot for each, as its last dimension or as its first."""
    slot = axis.var % size

    def slotted(indices: tuple) -> tuple:
        return (*indices, slot) if slots_last else (slot, *indices)

    scratch = {s.target: replace(s.target, shape=slotted_shape(s.target.shape, size, slots_last))
               for s in kernel.stages if s.target.kind == "scratch"}

    def moved(node: Expr) -> Expr | None:
        return read(scratch[node.data], slotted(node.args)) if node.op == "read" and node.data in scratch else None

    def stage(s: Stage) -> Stage:
        value, *indices = transform((s.value, *s.indices), moved)
        own = s.target in scratch
        return replace(s, value=value, target=scratch.get(s.target, s.target), indices=slotted(tuple(indices)) if own else tuple(indices))

    axes = (*(a for a in kernel.axes if a is not axis), axis)
    return replace(kernel, axes=axes, stages=tuple(map(stage, kernel.stages)), block=size)


def slotted_shape(shape: tuple[int, ...], size: int, slots_last: bool) -> tuple[int, ...]:
    """The shape of scratch with a slot for every point of a block."""
    return (*shape, size) if slots_last else (size, *shape)
