"""Makes three kernels one where the tensors between them are wanted row by row: attention's scores, softmax and weighted sum.

    S[i,j] = sum_over(d; Q[i,d] * K[j,d]);  P[i,j] = exp(S[i,j] - max_j S) / sum_j ...;  y[i,d] = sum_over(j; P[i,j] * V[j,d])
    ->  for blocks of i:  q[d] = Q[i,d];  s[j] = sum_over(d; q[d] * K[j,d]);  m[] = max_j s[j];  s[j] = exp(s[j] - m[]);
                          t[] = sum_j s[j];  y[d] = sum_over(j; s[j] * V[j,d]) * (1 / t[])

Neither S nor P ever exists as a whole. Rows are walked in blocks whose points fill vectors, so the statistics need no sums across a vector.
Nothing here knows attention: a row is what the last kernel reduces over, and the middle one takes statistics of. Where vectors run along
constants (a normalisation before a layer of weights), the last kernel is faster by itself: it takes rows of its own tile, words and all.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from edgec.accesses import buffer_reads
from edgec.expr import Expr, ReduceParts, fresh, is_const, read
from edgec.kernel import Axis, Buffer, Kernel, Program, Stage
from edgec.passes.stages import hoisted, in_blocks, staged
from edgec.passes.uses import Uses
from edgec.sweeps import substitute, transform, walk

VECTORS = 4    # vectors in a block of rows, at most
CACHED = 1.0   # the share of the first-level cache that a block's rows may fill


def chain(program: Program, target: Any = None) -> Program:
    """The program with such chains of kernels as kernels of several stages."""
    steps, uses = list(program.steps), Uses(program.steps)
    for kernel in program.steps:
        found = _match(kernel, steps, uses)
        if found is not None and not (target is not None and target.lanes(32) > 1 and found.has_weights):
            merged = _Merge(found).kernel(target)
            uses.replace((found.scores, found.rows, kernel), merged)
            steps = [merged if k is kernel else k for k in steps if k is not found.scores and k is not found.rows]
    return program.with_steps(steps)


@dataclass(frozen=True, eq=False)
class Chain:
    """scores -> rows -> last; `outer` are the last kernel's axes that say which row, `j` the reduction axis along it."""

    scores: Kernel
    rows: Kernel
    last: Kernel
    node: Expr                  # the reduction of the last kernel that consumes the row
    row: Expr                   # the read of the row in it
    outer: tuple[Axis, ...]
    j: Expr

    @property
    def has_weights(self) -> bool:
        """Whether all that rows are multiplied by are constants."""
        others = [n for b in ReduceParts(self.node).body for n in walk(b) if n.op == "read" and n is not self.row]
        return bool(others) and all(n.data.kind == "constant" for n in others)


def _match(last: Kernel, steps: list[Kernel], uses: Uses) -> Chain | None:
    if not _is_plain(last):
        return None
    for node in walk(last.stages[0].value):
        if node.op != "reduce" or node.data[0] != "add":
            continue
        parts = ReduceParts(node)
        for row in [n for b in parts.body for n in walk(b) if n.op == "read"]:
            found = _chain(last, node, parts, row, steps, uses)
            if found is not None:
                return found
    return None


def _chain(last: Kernel, node: Expr, parts: ReduceParts, row: Expr, steps: list[Kernel], uses: Uses) -> Chain | None:
    rows = _only_producer(row.data, last, uses)
    at = _places(rows, row) if rows else None
    if at is None or [n for n in buffer_reads(last) if n.data is row.data] != [row]:
        return None
    own = {a.var: a for a in last.axes}
    outer = {v: own[i] for v, i in at.items() if i in own}
    inner = [v for v in at if v not in outer and at[v] in parts.axes]
    if len(outer) + len(inner) != len(at) or len(inner) != 1 or not outer or len(set(outer.values())) != len(outer):
        return None
    if all(a in outer.values() or a.max_extent == 1 for a in last.axes):
        return None
    extent = {a.var: a.extent for a in rows.axes}[inner[0]]
    whole = parts.extents[parts.axes.index(at[inner[0]])]
    statistics = hoisted(rows.stages[0].value, rows.axes)
    if not is_const(whole, extent) or not statistics or any(inner[0] in n.free for n in statistics):
        return None
    for scores in _producers(rows, uses):
        if _reads_rows(scores, rows, set(outer), inner[0]) and _undisturbed(scores, rows, last, steps):
            return Chain(scores, rows, last, node, row, tuple(outer.values()), at[inner[0]])
    return None


def _is_plain(kernel: Kernel) -> bool:
    """One stage that stores every element where its axes say."""
    stage = kernel.stages[0]
    return len(kernel.stages) == 1 and not (stage.combine or stage.guards or kernel.repeat or stage.axes)


def _only_producer(buffer: Buffer, reader: Kernel, uses: Uses) -> Kernel | None:
    """The plain kernel that stores a temporary which nothing but `reader` reads."""
    found = uses.only_producer(buffer, reader)
    return found if found is not None and _is_plain(found) else None


def _producers(kernel: Kernel, uses: Uses) -> Iterator[Kernel]:
    for buffer in dict.fromkeys(n.data for n in buffer_reads(kernel)):
        found = _only_producer(buffer, kernel, uses)
        if found is not None and any(n.op == "reduce" and n.data[0] == "add" for n in walk(found.stages[0].value)):
            yield found


def _places(producer: Kernel, node: Expr) -> dict[Expr, Expr] | None:
    """What each axis of the producer is at a read of its result; None where its result does not lie along its axes."""
    found: dict[Expr, Expr] = {}
    own = {a.var for a in producer.axes}
    for index, argument in zip(producer.stages[0].indices, node.args):
        if index in own and index not in found:
            found[index] = argument
        elif index.free:
            return None
    return found if len(found) == len(own) else None


def _reads_rows(scores: Kernel, rows: Kernel, outer: set[Expr], j: Expr) -> bool:
    """Whether the middle kernel reads the scores of its own row only."""
    spans: set[Expr] = {j}
    for node in walk(rows.stages[0].value):
        if node.op == "reduce":
            parts = ReduceParts(node)
            extent = next(a.extent for a in rows.axes if a.var is j)
            spans.update(v for v, e in zip(parts.axes, parts.extents) if is_const(e, extent))
    along: set[Expr] = set()
    for node in buffer_reads(rows):
        if node.data is scores.stages[0].target:
            at = _places(scores, node)
            if at is None or not all(i in outer or i in spans for i in at.values()) or sum(i in spans for i in at.values()) != 1:
                return False
            if set(at.values()) & outer != outer:
                return False
            along.update(v for v, i in at.items() if i in spans)
    return len(along) == 1


def _undisturbed(scores: Kernel, rows: Kernel, last: Kernel, steps: list[Kernel]) -> bool:
    """Whether what the first two kernels read is still the same when the last one runs."""
    read_buffers = {n.data.root for k in (scores, rows) for n in buffer_reads(k)}
    between = steps[steps.index(scores) + 1:steps.index(last)]
    return not any(t.root in read_buffers and k is not rows and k is not scores for k in between for t in k.targets)


class _Merge:
    """Builds the one kernel of a chain."""

    def __init__(self, found: Chain):
        self.found = found
        self.name = found.last.name
        self.at_rows = _places(found.rows, found.row)
        self.extent = next(a.extent for a in found.rows.axes if self.at_rows[a.var] is found.j)
        self.scratch = Buffer(f"{self.name}.scores", found.scores.stages[0].value.dtype, (self.extent,), "scratch")
        self.stages: list[Stage] = []

    def kernel(self, target: Any) -> Kernel:
        middle = self._rows()
        self.stages += [*self._scores(), *middle.stages[:-1]]
        last = self._last(middle.stages[-1])
        inner = tuple(a for a in self.found.last.axes if a not in self.found.outer)
        stages = _reused([*self.stages, replace(last, axes=inner)], self.scratch)
        kernel = replace(self.found.last, axes=self.found.outer, stages=tuple(stages))
        return self._blocked(kernel, target)

    def _axis(self) -> Axis:
        return Axis(fresh("j", 0, self.extent - 1), self.extent)

    def _rows(self) -> Kernel:
        """The middle kernel in stages at one row, its result in scratch."""
        rows, j = self.found.rows, self._axis()
        stage = rows.stages[0]
        moved = {v: (j.var if i is self.found.j else i) for v, i in self.at_rows.items()}
        value = transform((substitute(stage.value, moved),), self._own_scores)[0]
        result = Buffer(f"{self.name}.row", value.dtype, (self.extent,), "scratch")
        one = Kernel(self.name, (*self.found.outer, j), (Stage(self.name, (), value, result, (j.var,)),))
        return staged(one, self.found.outer)

    def _own_scores(self, node: Expr) -> Expr | None:
        """A score of the row, where it lies in scratch."""
        if node.op != "read" or node.data is not self.found.scores.stages[0].target:
            return None
        outer = {a.var for a in self.found.outer}
        return read(self.scratch, tuple(i for i in _places(self.found.scores, node).values() if i not in outer))

    def _scores(self) -> list[Stage]:
        """The row of scores; what does not change along it is read once, in a stage of its own."""
        scores, j = self.found.scores, self._axis()
        node = next(n for n in buffer_reads(self.found.rows) if n.data is scores.stages[0].target)
        outer = set(self.at_rows)
        back = {v: self.at_rows[i] for v, i in _places(scores, node).items() if i in outer and self.at_rows[i] is not self.found.j}
        along = next(v for v in _places(scores, node) if v not in back)
        value = substitute(scores.stages[0].value, back | {along: j.var})
        found: list[Stage] = []
        for total in [n for n in walk(value) if n.op == "reduce" and n.data[0] == "add"]:
            operand = self._operand(total, j.var)
            if operand is not None:
                stage, replaced = operand
                found.append(stage)
                value = transform((value,), lambda n: replaced if n is total else None)[0]
        return [*found, Stage(self.scratch.name, (j,), value, self.scratch, (j.var,))]

    def _operand(self, total: Expr, j: Expr) -> tuple[Stage, Expr] | None:
        """A stage for the factor of a sum of products that does not change along the row, and the sum that reads it."""
        parts = ReduceParts(total)
        if len(parts.body) != 1 or parts.body[0].op != "mul" or any(e.op != "const" for e in parts.extents):
            return None
        rows = {a.var for a in self.found.outer}
        factor = next((a for a in parts.body[0].args if j not in a.free and a.free & rows and a.free & set(parts.axes)), None)
        if factor is None:
            return None
        axes = tuple(Axis(fresh("d", 0, e.data - 1), e.data) for e in parts.extents)
        buffer = Buffer(f"{self.name}.operand", factor.dtype, tuple(e.data for e in parts.extents), "scratch")
        own = tuple(a.var for a in axes)
        stage = Stage(buffer.name, axes, substitute(factor, dict(zip(parts.axes, own))), buffer, own)
        here = read(buffer, parts.axes)
        return stage, transform((total,), lambda n: here if n is factor else None)[0]

    def _last(self, row: Stage) -> Stage:
        """The last kernel's stage over the row in scratch; a factor that is the same for the whole row is applied to the sum."""
        found, stage = self.found, self.found.last.stages[0]
        own = row.indices[0]
        kept, factor = _split(row.value, own)
        linear = found.node in walk(stage.value) and _is_factor(ReduceParts(found.node).body[0], found.row)
        if factor is None or not linear:
            self.stages.append(row)
            kept, factor = read(row.target, (own,)), None
        here = substitute(kept, {own: found.j})
        total = transform((found.node,), lambda n: here if n is found.row else None)[0]
        total = total if factor is None else total * factor
        return replace(stage, value=transform((stage.value,), lambda n: total if n is found.node else None)[0])

    def _blocked(self, kernel: Kernel, target: Any) -> Kernel:
        """Rows in blocks that fill vectors; the axis with the most rows is the one that is cut."""
        lanes = target.lanes(32) if target is not None else 4
        axis = max(self.found.outer, key=lambda a: a.max_extent)
        room = (target.l1_bytes if target is not None and target.l1_bytes else 1 << 15) * CACHED
        vectors = max(1, min(VECTORS, int(room / (4 * lanes * self.extent))))
        size = min(axis.max_extent, lanes * vectors)
        return in_blocks(kernel, axis, size, slots_last=True) if size > 1 else kernel


def _is_factor(body: Expr, node: Expr) -> bool:
    return body.op == "mul" and any(a is node for a in body.args)


def _split(value: Expr, own: Expr) -> tuple[Expr, Expr | None]:
    """(what changes along the row, the factor that does not) of a product; no factor where it is none."""
    if value.op == "mul":
        for a, b in (value.args, value.args[::-1]):
            if own in a.free and own not in b.free:
                return a, b
    return value, None


def _reused(stages: list[Stage], scratch: Buffer) -> list[Stage]:
    """The stages with the one that reads the scores for the last time storing in their place."""
    readers = [s for s in stages if any(n.op == "read" and n.data is scratch for n in walk(s.value))]
    last = readers[-1] if readers else None
    if last is None or last.target.kind != "scratch" or last.target.shape != scratch.shape or last.target.dtype is not scratch.dtype:
        return stages
    if any(n.args != last.indices for n in walk(last.value) if n.op == "read" and n.data is scratch):
        return stages
    return [_retargeted(s, last.target, scratch) for s in stages]


def _retargeted(stage: Stage, old: Buffer, new: Buffer) -> Stage:
    value = transform((stage.value,), lambda n: read(new, n.args) if n.op == "read" and n.data is old else None)[0]
    return replace(stage, value=value, target=new if stage.target is old else stage.target)
