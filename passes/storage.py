"""The pass storage: elements of fewer than 8 bits, and 8-bit floats, become bytes that hold their bit patterns.

Below it nothing knows such types: a model's inputs and outputs of them are u8, one element a byte. An operator that computes with them
says how it does so on bytes (`stored`); any other may only move them.

    y: f8e4m3fn = cast(x: f32)   ->   y: u8 = encodefloat(x) format=f8e4m3fn
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from edgec.errors import Unsupported
from edgec.expr import fresh, read
from edgec.graph import Constant, Graph, Input, Op, Value, constant, fields_of, graph_input
from edgec.lowering import lower_op
from edgec.ops.small_types import is_small
from edgec.pipeline import graph_pass
from edgec.sweeps import walk
from edgec.types import u8


@graph_pass("storage", before={"fuse": "kernels know no elements of less than a byte"})
def storage(graph: Graph) -> Graph:
    """Small elements as bytes; the graph itself where it has none."""
    if not any(is_small(v.dtype) for op in graph.ops for v in op.results):
        return graph
    done: dict[Value, Value] = {}
    for op in (*(v.op for v in graph.inputs), *graph.ops):
        if op.results[0] not in done:
            done.update(zip(op.results, _stored(op, tuple(done[v] for v in op.operands))))
    return replace(graph, inputs=tuple(done[v] for v in graph.inputs), outputs=tuple(done[v] for v in graph.outputs))


def _stored(op: Op, operands: tuple[Value, ...]) -> Sequence[Value]:
    """The results of an op on operands whose small elements are bytes."""
    if isinstance(op, Input):
        small = is_small(op.output.dtype)
        return (graph_input(op.name, op.type.with_dtype(u8), op.loc, op.tag),) if small else op.results
    if isinstance(op, Constant):
        small = is_small(op.output.dtype)
        return (constant(np.asarray(op.data).view(np.uint8), op.output.name, op.loc),) if small else op.results
    if not any(is_small(v.dtype) for v in (*op.operands, *op.results)):
        return op.results if operands == op.operands else op.with_operands(operands).results
    if hasattr(op, "stored"):
        found = op.stored(*_by_field(op, operands))
        return found if isinstance(found, tuple) else (found,)
    if not _moves(op):
        raise Unsupported(f"{type(op).__name__} cannot compute with {_small_type(op)}", loc=op.loc, hint="cast to a wider type first")
    return op.with_operands(operands).results


def _by_field(op: Op, operands: tuple[Value, ...]) -> list[Value | None]:
    """The operands in field order, None where one is absent."""
    queue = iter(operands)
    return [None if getattr(op, f.name) is None else next(queue) for f in fields_of(type(op)) if f.kind in ("operand", "optional")]


def _moves(op: Op) -> bool:
    """Whether every small element of the result is one of an operand, or zero: nothing is computed with them."""
    if not hasattr(op, "lower"):
        return False
    for result in op.results:
        at = tuple(fresh(f"at{n}", 0, max(d - 1, 0)) for n, d in enumerate(result.type.max_shape))
        values = lower_op(op, at, read)
        if any(is_small(n.dtype) and n.op not in ("read", "inside", "select") and not (n.op == "const" and n.data == 0)
               for n in walk(values[result.number])):
            return False
    return True


def _small_type(op: Op) -> str:
    return next(v.dtype.name for v in (*op.operands, *op.results) if is_small(v.dtype))
