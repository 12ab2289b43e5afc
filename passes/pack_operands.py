"""Puts an operand of a matrix product of two tensors into the order in which the product reads it: a stage that is a plain read.

The product fills vectors along the axis j that is innermost in its result, so the operand that has j wants its j next to each other, in
panels of one register tile's width, each used up while it is in cache. Constants are laid out so at compile time (`pack`); a tensor that
is only known at run time is copied into scratch first, a block at a time, where it is read often enough to pay for that.

    y[h,i,j] = sum_over(k; a[h,i,k] * b[h,j,k])
    ->  for h:  p[t,k,l] = b[h,64*t+l,k];  y[h,i,64*t+l] = sum_over(k; a[h,i,k] * p[t,k,l])      and the same for the ragged end of j
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from typing import Any

from edgec.expr import Expr, ReduceParts, fresh, read
from edgec.kernel import Axis, Buffer, Kernel, Program, Stage
from edgec.linear import coefficient
from edgec.passes.nest import flatten
from edgec.passes.pack import Tables
from edgec.passes.schedule import schedule
from edgec.sweeps import substitute, transform, walk

LEAST_USES = 8    # rows that share an operand before a copy of it is cheaper than reading it as it lies
LEAST_STEPS = 8   # and the length of their sums: shorter ones are a matter of storing results
PANELS = 4        # panels of an operand too large for L2 that are copied at a time
CLOSE = 0.5       # the share of L2 in which an operand that lies well is left where it is


@dataclass(frozen=True, eq=False)
class Product:
    """The parts of a kernel that sums products of what varies along its result's innermost axis and what does not."""

    kernel: Kernel
    column: Axis                   # j
    moved: Expr                    # the read that has j
    shared: tuple[Axis, ...]       # axes that the read does not depend on: each of its elements is used once for each of their points
    batch: tuple[Axis, ...]        # axes other than j that it does depend on
    steps: tuple[tuple[Expr, int], ...]   # its reduction axes and their extents


def pack_operands(program: Program, target: Any) -> Program:
    """The program with kernels that copy an operand into scratch and compute from there, where that is faster."""
    if target.lanes(32) == 1 or not target.l2_bytes:  # without caches memory is scarce and every place in it equally near
        return program
    return program.with_steps(new for kernel in program.steps for new in _packed(kernel, target))


def recognise(kernel: Kernel, lanes: int) -> Product | None:
    """The product of two run-time tensors that a kernel of one stage computes, if it is one that vectors can fill."""
    stage = kernel.stages[0]
    nodes = [n for n in walk(stage.value) if n.op == "reduce"]
    if len(kernel.stages) > 1 or len(nodes) != 1 or stage.combine or stage.guards or nodes[0].data[0] != "add":
        return None
    parts = ReduceParts(nodes[0])
    inner = walk(*parts.body)
    reads = [n for n in inner if n.op == "read"]
    if any(e.op != "const" for e in parts.extents) or any(n.op == "inside" for n in inner) or len(parts.body) != 1:
        return None
    if parts.body[0].dtype.bits < 32 or any(n.data.root.kind == "constant" for n in reads):  # narrow elements are for dot products to group
        return None
    place = stage.target.flat(stage.indices)
    columns = [a for a in kernel.axes if coefficient(place, a.var) == 1 and isinstance(a.extent, int) and a.extent >= lanes]
    return _product(kernel, columns[0], parts, reads) if len(columns) == 1 else None


def _product(kernel: Kernel, column: Axis, parts: ReduceParts, reads: list[Expr]) -> Product | None:
    moved = [n for n in reads if column.var in n.free]
    extents = {v: e.data for v, e in zip(parts.axes, parts.extents)}
    if len(moved) != 1 or not all(i.op in ("var", "const") or _is_affine(i) for i in moved[0].args):
        return None
    others = [a for a in kernel.axes if a is not column]
    own = tuple((v, extents[v]) for v in parts.axes if v in moved[0].free)
    if len(own) != len(parts.axes) or not moved[0].free <= {a.var for a in kernel.axes} | set(parts.axes):
        return None
    batch = tuple(a for a in others if a.var in moved[0].free)
    return Product(kernel, column, moved[0], tuple(a for a in others if a not in batch), batch, own)


def _is_affine(i: Expr) -> bool:
    return i.op == "linear" and all(v.op == "var" for v in i.free)


# ------------------------------------------------------------------------------------------------------------------- worth it

def _packed(kernel: Kernel, target: Any) -> list[Kernel]:
    found = recognise(kernel, target.lanes(32))
    if found is None or not _pays(found, target):
        return [kernel]
    width = _width(found, target)
    return _Builder(found, width, target).kernels()


def _pays(p: Product, target: Any) -> bool:
    """A copy pays where neighbours of j do not lie next to each other, or where the operand is too large to be streamed by every row."""
    uses, steps = prod(a.max_extent for a in p.shared), prod(e for _, e in p.steps)
    if uses < LEAST_USES or steps < LEAST_STEPS:
        return False
    unit = coefficient(p.moved.data.flat(p.moved.args), p.column.var) == 1
    large = steps * p.column.extent * p.moved.dtype.bytes > CLOSE * target.l2_bytes > 0
    return not unit or large


def _width(p: Product, target: Any) -> int:
    """The width of the register tile that is chosen when the operand lies well."""
    stage, *_ = p.kernel.stages
    plain = Buffer("plain", p.moved.dtype, (*(e for _, e in p.steps), p.column.extent), "scratch")
    value = transform((stage.value,), lambda n: read(plain, (*(v for v, _ in p.steps), p.column.var)) if n is p.moved else None)[0]
    moved = replace(stage, value=value)
    roots = dict.fromkeys([stage.target.root, *(n.data.root for n in walk(value) if n.op == "read")])
    axes = tuple(a for a in p.kernel.axes if a not in p.batch)
    plan = schedule(flatten([moved], axes, Tables(list(roots), [stage.target.root]).params), target)
    whole = [segment.piece.width for segment in plan.segments if segment.count]
    return whole[0] if whole else target.lanes(32)


# --------------------------------------------------------------------------------------------------------------------- stages

class _Builder:
    """Writes the stages of a packed product."""

    def __init__(self, product: Product, width: int, target: Any):
        self.product, self.width = product, width
        whole, self.rest = divmod(product.column.extent, width)
        size = prod(e for _, e in product.steps) * product.column.extent * product.moved.dtype.bytes
        large = size > target.l2_bytes > 0 and whole > 1
        self.together = next(n for n in range(min(PANELS, whole), 0, -1) if whole % n == 0) if large else whole
        self.blocks = whole // max(1, self.together)

    def kernels(self) -> list[Kernel]:
        """One kernel; or, where only some panels are copied at a time, one for the whole panels and one for the ragged end."""
        batch = self.product.batch
        if self.blocks <= 1:
            whole = self._stages(0, self.together, self.width, None, "") if self.together else ()
            return [self._kernel(batch, (*whole, *self._end()))]
        block = Axis(fresh("b", 0, self.blocks - 1), self.blocks)
        found = [self._kernel((*batch, block), self._stages(0, self.together, self.width, block, ""))]
        return [*found, replace(self._kernel(batch, self._end()), name=f"{self.product.kernel.name}.end")] if self.rest else found

    def _end(self) -> tuple[Stage, ...]:
        return self._stages(self.product.column.extent - self.rest, 1, self.rest, None, ".end") if self.rest else ()

    def _kernel(self, axes: tuple[Axis, ...], stages: tuple[Stage, ...]) -> Kernel:
        return replace(self.product.kernel, axes=axes, stages=stages)

    def _stages(self, start: int, panels: int, width: int, block: Axis | None, suffix: str) -> tuple[Stage, Stage]:
        """(the copy of some panels, the product for their columns): `panels` of them from column `start`, or from the block's own."""
        p, stage = self.product, self.product.kernel.stages[0]
        scratch = Buffer(f"{p.kernel.name}.panels{suffix}", p.moved.dtype, (panels, *(e for _, e in p.steps), width), "scratch")
        first = start if block is None else block.var * (panels * width) + start
        own = tuple(Axis(fresh("k", 0, e - 1), e) for _, e in p.steps)
        (t, t2), (lane, lane2) = ([Axis(fresh(s, 0, n - 1), n) for _ in range(2)] for s, n in (("t", panels), ("l", width)))
        at = {p.column.var: t.var * width + lane.var + first, **{v: a.var for (v, _), a in zip(p.steps, own)}}
        copy = Stage(scratch.name, (t, *own, lane), substitute(p.moved, at), scratch, (t.var, *(a.var for a in own), lane.var))
        panel = read(scratch, (t2.var, *(v for v, _ in p.steps), lane2.var))
        column = {p.column.var: t2.var * width + lane2.var + first}
        value = substitute(transform((stage.value,), lambda n: panel if n is p.moved else None)[0], column)
        indices = tuple(substitute(i, column) for i in stage.indices)
        return copy, replace(stage, axes=(t2, *p.shared, lane2), value=value, indices=indices)
