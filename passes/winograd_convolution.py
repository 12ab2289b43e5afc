"""Recognises 3x3 (r x r) convolutions of stride 1, of f32, f16 or bytes, by the axes and reads of a kernel alone.

    y[o,y,x] = relu(sum_over(c, p, q; x[c, y+p-1, x+q-1] * w[o,c,p,q]))   ->   Convolution(rows y x, taps p q, channel c, out o)
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from edgec.expr import Expr, ReduceParts, inside_pairs
from edgec.kernel import Axis, Kernel
from edgec.linear import coefficient
from edgec.sweeps import walk
from edgec.types import f16, f32, i32


@dataclass(frozen=True, eq=False)
class Convolution:
    """The parts of a kernel that is a stride-1 r x r convolution."""

    kernel: Kernel
    node: Expr            # the reduction
    data: Expr            # the read of the input inside it, f32, f16 or bytes
    weight: Expr          # the read of the constant, f32, f16 or bytes
    rows: tuple[Axis, Axis]       # y and x
    taps: tuple[Expr, Expr]       # their reduction axes
    channel: tuple[Expr, int]     # the remaining reduction axis and its extent
    out: Axis             # the axis only the weights vary along
    guards: tuple[tuple[Expr, Expr], ...]
    size: int             # r

    @property
    def is_integer(self) -> bool:
        """Whether bytes are multiplied and added up in i32."""
        return self.node.dtype is i32

    @property
    def is_half(self) -> bool:
        """Whether both operands lie in memory as f16."""
        return self.data.dtype is f16 and self.weight.dtype is f16

    @property
    def images(self) -> int:
        """How often the two-dimensional convolution is done."""
        return prod(a.max_extent for a in self.kernel.axes if a not in self.rows and a is not self.out)


def recognise(kernel: Kernel) -> Convolution | None:
    """The convolution a single-stage kernel computes, if it is one."""
    stage = kernel.stages[0]
    nodes = [n for n in walk(stage.value) if n.op == "reduce"]
    if len(kernel.stages) > 1 or len(nodes) != 1 or nodes[0].data[0] != "add" or nodes[0].dtype not in (f32, i32):
        return None
    if _chosen_by(nodes[0], stage.value):
        return None
    parts = ReduceParts(nodes[0])
    if len(parts.axes) != 3 or parts.body[0].op != "mul" or any(e.op != "const" for e in parts.extents) or parts.init[0].data != 0:
        return None
    data, weight = map(_halves if nodes[0].dtype is f32 else _bytes, parts.body[0].args)
    guards: list = []
    while data.op == "inside" and data.args[1].data == 0:
        guards, data = guards + inside_pairs(data), _halves(data.args[0])
    if nodes[0].dtype is i32 and not all(x.dtype.is_integer and x.dtype.bits == 8 for x in (data, weight)):
        return None
    if data.op != "read" or weight.op != "read" or weight.data.kind != "constant" or data.data.root.kind == "constant":
        return None
    return _match_axes(kernel, nodes[0], parts, data, weight, tuple(guards))


def _chosen_by(total: Expr, value: Expr) -> bool:
    """Whether a sum says which element of a table is read: a tile of sums does that in its registers, a stage of its own point by point."""
    return any(n.op == "read" and any(total in walk(index) for index in n.args) for n in walk(value))


def _bytes(factor: Expr) -> Expr:
    """The 8-bit integer that a factor of an integer product was before it was widened; the factor where it was none."""
    inner = factor.args[0] if factor.op == "cast" else factor
    return inner if inner.dtype.is_integer and inner.dtype.bits == 8 else factor


def _halves(factor: Expr) -> Expr:
    """The f16 that a factor was before it was widened; the factor where it was none."""
    return factor.args[0] if factor.op == "cast" and factor.dtype is f32 and factor.args[0].dtype is f16 else factor


def _match_axes(kernel: Kernel, node: Expr, parts: ReduceParts, data: Expr, weight: Expr, guards: tuple) -> Convolution | None:
    pairs = []
    for tap, extent in zip(parts.axes, parts.extents):
        for axis in kernel.axes:
            if any(coefficient(i, tap) == 1 and coefficient(i, axis.var) == 1 for i in data.args):
                pairs.append((axis, tap, extent.data))
    if len(pairs) != 2 or pairs[0][2] != pairs[1][2] or pairs[0][0] is pairs[1][0] or pairs[0][2] != 3:
        return None
    taps = (pairs[0][1], pairs[1][1])
    rest = [(a, e.data) for a, e in zip(parts.axes, parts.extents) if a not in taps]
    outs = [a for a in kernel.axes if a.var in weight.free and a.var not in data.free]
    rows = (pairs[0][0], pairs[1][0])
    static = all(isinstance(a.extent, int) for a in (*rows, *outs))
    if len(rest) != 1 or len(outs) != 1 or not static or any(a.var in weight.free for a in rows) or rest[0][0] not in data.free:
        return None
    if any(a.var in weight.free for a in kernel.axes if a is not outs[0]) or not _sliding(data, rows, taps):
        return None
    if coefficient(data.data.flat(data.args), rest[0][0]) != 1:  # channels must be neighbours, or every patch would be gathered
        return None
    return Convolution(kernel, node, data, weight, rows, taps, rest[0], outs[0], guards, pairs[0][2])


def _sliding(data: Expr, rows: tuple[Axis, Axis], taps: tuple[Expr, Expr]) -> bool:
    """Whether each row axis occurs in one index only, together with its tap."""
    for axis, tap in zip(rows, taps):
        holders = [i for i in data.args if axis.var in i.free or tap in i.free]
        if len(holders) != 1 or coefficient(holders[0], axis.var) != 1 or coefficient(holders[0], tap) != 1:
            return False
    return True
