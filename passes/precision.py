"""The pass precision: contractions take 16-bit floats, everything else stays in f32.

A contraction is a reduction that adds products of two operands, along some axis without a border test, such that one computed operand
serves many results (along an axis of the result that only the other one has); whatever operator it comes from. Its constant operands
become 16-bit constants; the others are rounded where they are made, to nearest even, so that they lie in memory as 16-bit numbers, and
whoever else reads them reads these. Values that only move elements are narrowed at their source. Sums are accumulated in f32.

    conv(relu(a), w)  ->  conv(f32(bf16(relu(a))), f32(w'))        w' a bf16 constant
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from edgec.backends.instruction import dots
from edgec.errors import CompileError, ModelError, Unsupported
from edgec.expr import Expr, ReduceParts, fresh, inside_pairs, read
from edgec.graph import Constant, Graph, Input, Op, Value, constant
from edgec.lowering import lower_op, scalar
from edgec.onnx.tensor import CODE_OF_DTYPE
from edgec.ops.cast import Cast
from edgec.passes.widening import widened
from edgec.pipeline import graph_pass
from edgec.sweeps import walk
from edgec.types import DTYPES, DType, f16, f32

NARROW = ("bf16", "f16")
LARGEST = 65504.0  # of the finite numbers of f16


@graph_pass("precision", before={"fuse": "producers round what they store, readers widen it"})
def precision(graph: Graph, target: Any, to: str = "bf16") -> Graph:
    """Contractions of f32 operands take operands of the 16-bit float type `to`, with sums in f32."""
    if to == "f32":
        return graph
    if to not in NARROW:
        raise ModelError(f"no precision {to!r}", hint=f"choose f32 or {', '.join(NARROW)}")
    if not (_has_dots(target, to) if to == "bf16" else DTYPES[to] in widened(target)):
        lacking = "dot product" if to == "bf16" else "vector conversion"
        raise Unsupported(f"{target.name} has no {lacking} of {to}", hint="compile with --precision f32, or for a target that has one")
    wanted = {v for op in graph.ops for v in contracted(op)}
    if to == "f16" and target.scalar_operand != "lane":  # scalars would be converted one by one
        wanted = {v for v in wanted if v.is_constant}
    return _Narrowing(graph, DTYPES[to], wanted).graph()


def _has_dots(target: Any, to: str) -> bool:
    """Whether a dot product of the type fills the target's vectors."""
    return any(row.a == row.b == to and row.acc == "f32" and row.lanes == target.lanes(32) for row in dots(target.instructions))


def contracted(op: Op) -> list[Value]:
    """The f32 operands whose products an operator sums up, when it is a contraction."""
    if isinstance(op, (Input, Constant)) or not hasattr(op, "lower") or not any(v.dtype is f32 for v in op.operands):
        return []
    found = []
    for result in op.results:
        axes = tuple(fresh("i", 0, max(0, n - 1)) for n in result.type.max_shape)
        for node in walk(lower_op(op, axes, _read)[result.number]):
            if node.op == "reduce":
                found += _factors(ReduceParts(node), set(axes))
    return list(dict.fromkeys(found))


def _read(value: Value, at: tuple[Expr, ...]) -> Expr:
    literal = scalar(value)
    return read(value, at) if literal is None else literal


def _factors(parts: ReduceParts, axes: set[Expr]) -> list[Value]:
    if parts.combine != "add" or len(parts.body) != 1 or parts.body[0].op != "mul":
        return []
    reads = [_bare(a) for a in parts.body[0].args]
    if any(r.op != "read" or r.dtype is not f32 for r in reads):
        return []
    guarded = {v for n in walk(*parts.body) if n.op == "inside" for i, _ in inside_pairs(n) for v in i.free}
    lengths = [e.hi for v, e in zip(parts.axes, parts.extents) if v not in guarded and all(v in r.free for r in reads)]
    contracts = any(not a.data.is_constant and b.free & axes - a.free for a, b in (reads, reads[::-1]))
    return [r.data for r in reads] if contracts and max(lengths, default=1) > 1 else []


def _bare(e: Expr) -> Expr:
    while e.op == "inside":
        e = e.args[0]
    return e


class _Narrowing:
    """Rebuilds the graph: `narrow` holds the 16-bit form of every value that has one."""

    def __init__(self, graph: Graph, dtype: DType, wanted: set[Value]):
        self.old, self.dtype, self.code = graph, dtype, CODE_OF_DTYPE[dtype]
        self.wide_code = CODE_OF_DTYPE[f32]
        self.wanted = self._sources(wanted)
        self.narrow: dict[Value, Value] = {}
        self.exact: dict[Value, Value] = {}  # what is rounded, before that: outputs are not

    def _sources(self, wanted: set[Value]) -> set[Value]:
        """The wanted values and those they are only moved from."""
        found, work = set(wanted), list(wanted)
        while work:
            op = work.pop().op
            for v in op.operands if moves(op) else ():
                if v.dtype is f32 and v not in found:
                    found.add(v)
                    work.append(v)
        return found

    def graph(self) -> Graph:
        done: dict[Value, Value] = {v: self._through(v, v) for v in self.old.inputs}
        for op in self.old.ops:
            if not isinstance(op, Input):
                self._op(op, done)
        return self.old.with_outputs(self.exact.get(v, done[v]) for v in self.old.outputs)

    def _op(self, op: Op, done: dict[Value, Value]) -> None:
        operands = [done[v] for v in op.operands]
        moved = self._moved(op, operands) if any(r in self.wanted for r in op.results) and moves(op) else None
        if moved is not None:
            for old, new in zip(op.results, moved):
                done[old] = self._widened(new)
            return
        results = op.results if all(a is b for a, b in zip(operands, op.operands)) else op.with_operands(operands).results
        for old, new in zip(op.results, results):
            done[old] = self._through(old, new)

    def _moved(self, op: Op, operands: Sequence[Value]) -> Sequence[Value] | None:
        """The results of an operator that only moves elements, on 16-bit operands."""
        narrow = [self.narrow.get(v, v) for v in operands]
        if any(v.dtype is f32 for v in narrow):
            return None
        try:
            results = op.with_operands(narrow).results
        except CompileError:
            return None
        return results if all(r.dtype is self.dtype for r in results) else None

    def _through(self, old: Value, new: Value) -> Value:
        """The value as others read it: by way of 16 bits when it is wanted so."""
        if old not in self.wanted or old.dtype is not f32:
            return new
        self.exact[old] = new
        if new.is_constant:
            return self._widened(constant(_rounded(new, self.dtype), new.name, new.loc))
        return self._widened(Cast(new, self.code, _name=f"{new.name}.{self.dtype}", _loc=new.loc).output)

    def _widened(self, narrow: Value) -> Value:
        if narrow.dtype is not self.dtype:
            return narrow
        wide = Cast(narrow, self.wide_code, _name=f"{narrow.name}.f32", _loc=narrow.loc).output
        self.narrow[wide] = narrow
        return wide


def _rounded(value: Value, dtype: DType) -> np.ndarray:
    """The elements of a constant, rounded to a 16-bit type; ModelError where one is too large for it."""
    largest = float(np.abs(value.array, where=np.isfinite(value.array), out=np.zeros_like(value.array)).max(initial=0.0))
    if dtype is f16 and largest > LARGEST:
        raise ModelError(f"'{value.name}' holds {largest:g}, and f16 ends at {LARGEST:g}", loc=value.loc,
                         hint="compile with --precision f32")
    return value.array.astype(dtype.numpy)


def moves(op: Op) -> bool:
    """Whether every element of the results is an element of some f32 operand, or a literal."""
    if isinstance(op, (Input, Constant)) or not hasattr(op, "lower") or not any(v.dtype is f32 for v in op.operands):
        return False
    for result in op.results:
        axes = tuple(fresh("i", 0, max(0, n - 1)) for n in result.type.max_shape)
        if result.dtype is not f32 or not _is_moved(lower_op(op, axes, _read)[result.number]):
            return False
    return True


def _is_moved(root: Expr) -> bool:
    """Nothing but reads and choices among them by index."""
    work = [root]
    while work:
        e = work.pop()
        if e.op == "inside":
            work += e.args[:2]
        elif e.op == "select" and all(v.op == "var" for v in e.args[0].free) and not any(n.op == "read" for n in walk(e.args[0])):
            work += e.args[1:]
        elif e.op not in ("read", "const"):
            return False
    return True
