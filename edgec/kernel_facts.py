"""What a kernel must do at least, counted from its expressions: multiply-adds, operations, and the bytes it moves.

    kernel_facts(kernel).macs            # 115_605_504 for a 3x3 convolution of 64 x 56 x 56 with 64 channels

Equal evaluations count once; a kernel in a loop counts for all iterations; scratch is no traffic, since it stays in cache.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

from edgec.accesses import buffer_reads
from edgec.expr import BINARY, COMPARE, UNARY, Expr, ReduceParts
from edgec.kernel import Axis, Buffer, Kernel, Stage
from edgec.layer_facts import sums_products
from edgec.sweeps import evaluate_dim, walk
from edgec.types import element_of, index

POLYNOMIAL = 16  # operations of an exponential, error function or the like, at least: a polynomial of degree 6 and its reduction
FREE = frozenset({"neg", "abs", "not"})
TRANSCENDENTAL = frozenset(UNARY) - FREE - {"floor", "ceil", "round", "trunc", "isnan", "isinf", "sqrt"}


@dataclass(frozen=True)
class KernelFacts:
    """Counts of one call of the model."""

    macs: int
    operations: int       # floating-point or integer; a multiply-add is two
    read_bytes: int       # of inputs and temporaries
    written_bytes: int
    weight_bytes: int     # of constants
    repeats: int = 1      # iterations of the loops around it

    @property
    def bytes(self) -> int:
        """What one iteration touches."""
        return (self.read_bytes + self.written_bytes + self.weight_bytes) // self.repeats


def kernel_facts(kernel: Kernel, bindings: Mapping[str, int] | None = None) -> KernelFacts:
    """The facts of a kernel; symbolic dimensions have the sizes of `bindings`, or their largest."""
    def number(extent: Any) -> int:
        if isinstance(extent, int):
            return extent
        return evaluate_dim(extent, bindings or {}) if all(v.data in (bindings or {}) for v in extent.free) else extent.hi

    repeated = prod(number(a.extent) for a in kernel.repeat)
    extents = {a.var: number(a.extent) for a in (*kernel.axes, *(a for s in kernel.stages for a in s.axes))}
    for node in walk(*(s.value for s in kernel.stages)):
        if node.op == "reduce":
            extents.update((v, max(0, number(e))) for v, e in zip(ReduceParts(node).axes, ReduceParts(node).extents))
    macs = sum(_macs(s, kernel.axes, extents) for s in kernel.stages)
    operations = sum(_operations(s, kernel.axes, extents) for s in kernel.stages)
    reads = _read_elements(kernel, extents)
    moved = {kind: sum(n * b.dtype.bytes for b, n in reads.items() if (b.kind == "constant") == kind) for kind in (False, True)}
    written = sum(prod(extents[a.var] for a in (*kernel.axes, *s.axes)) * s.target.dtype.bytes
                  for s in kernel.stages if s.target is not None and s.target.root.kind != "scratch")
    return KernelFacts(macs * repeated, operations * repeated, moved[False] * repeated, written * repeated, moved[True] * repeated,
                       max(1, repeated))


def _points(free: Iterable[Expr], extents: Mapping[Expr, int]) -> int:
    return prod(extents[v] for v in free if v in extents)


def _varies(stage: Stage, axes: tuple[Axis, ...]) -> dict[Expr, frozenset]:
    """For each node of a stage's value what it depends on: its variables, and the outer axes where it reads scratch they change."""
    outer = frozenset(a.var for a in axes)
    found: dict[Expr, frozenset] = {}
    for node in walk(stage.value):
        own = outer if node.op == "read" and node.data.root.kind == "scratch" else frozenset()
        inner = frozenset().union(own, *(found[a] for a in node.args if a in found))
        found[node] = (inner & outer) | node.free
    return found


def _macs(stage: Stage, axes: tuple[Axis, ...], extents: Mapping[Expr, int]) -> int:
    """How often the bodies of sums of products are added, equal evaluations once."""
    varies = _varies(stage, axes)
    return sum(_products(n) * _points({*ReduceParts(n).axes, *varies[n]}, extents) for n in varies if n.op == "reduce")


def _products(node: Expr) -> int:
    """The products in each term of a sum: one, those of two words, or none (a word and a constant one are a sum of elements)."""
    body = ReduceParts(node).body[0]
    if body.op == "dot":
        return 0 if any(a.op == "const" for a in body.args[1:]) else body.args[1].dtype.bits // element_of(body.args[1].dtype).bits
    return int(sums_products(node))


def _operations(stage: Stage, axes: tuple[Axis, ...], extents: Mapping[Expr, int]) -> int:
    """Arithmetic on elements: index arithmetic, selects and conversions are not counted."""
    total = 0
    for node, free in _varies(stage, axes).items():
        if node.op == "reduce":
            total += _points({*ReduceParts(node).axes, *free}, extents)
        elif node.dtype is not index and (node.op in BINARY or node.op in UNARY or node.op in COMPARE or node.op == "mul_add"):
            weight = POLYNOMIAL if node.op in TRANSCENDENTAL else 0 if node.op in FREE else 2 if node.op == "mul_add" else 1
            total += weight * _points(free, extents)
    return total


def _read_elements(kernel: Kernel, extents: Mapping[Expr, int]) -> dict[Buffer, int]:
    """Distinct elements read of each root buffer but scratch: what the index reaches, never more than its points or the buffer."""
    found: dict[Buffer, int] = {}
    for node in buffer_reads(kernel):
        root = node.data.root
        if root.kind != "scratch":
            flat = node.data.flat(node.args)
            own = min(flat.hi - flat.lo + 1, _points(flat.free, extents))
            found[root] = min(root.memory_size, found.get(root, 0) + own)
    return found
