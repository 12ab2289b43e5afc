"""The pass strings: text becomes slots of bytes, along a new last axis.

Below it nothing knows strings: a model's inputs of them are u8[..., bytes] (see edgec.text_slots), an output as many bytes wide as its
texts may need. An operator that computes with text says how it does so on bytes (`in_bytes`); any other may only move texts, and then
moves their numbers, by which the bytes are looked up: 0 is the empty text, which a border is made of.

    y: string[3] = concat(a: string[2], b: string[1])   ->   y: u8[3,64] = gather(@all, concat([1,2], [3]))
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from edgec.decomposition import expand
from edgec.errors import Unsupported
from edgec.expr import fresh, read
from edgec.graph import Constant, Graph, Input, Op, Value, constant, fields_of, graph_input
from edgec.lowering import lower_op
from edgec.ops.gather import Gather
from edgec.ops.joining import Concat
from edgec.ops.reshape import Reshape
from edgec.ops.slicing import Pad
from edgec.pipeline import graph_pass
from edgec.sweeps import walk
from edgec.text_slots import DEFAULT_BYTES, bytes_needed, to_slots
from edgec.types import TensorType, string, u8


@graph_pass("strings", before={"storage": "texts are bytes before anything is packed", "fuse": "kernels know no text"})
def strings(graph: Graph, *, bytes: int = DEFAULT_BYTES) -> Graph:
    """Strings as slots, those of the inputs of so many `bytes`; the graph itself where it has none."""
    if not any(v.dtype is string for op in graph.ops for v in op.results):
        return graph
    graph = expand(graph, lambda op: _has_text(op) and hasattr(op, "decompose") and not (hasattr(op, "in_bytes") or hasattr(op, "lower")))
    done: dict[Value, Value] = {}
    for op in (*(v.op for v in graph.inputs), *graph.ops):
        if op.results[0] not in done:
            done.update(zip(op.results, _in_bytes(op, tuple(done[v] for v in op.operands), bytes)))
    return Graph(tuple(done[v] for v in graph.inputs), tuple(done[v] for v in graph.outputs), graph.output_names, graph.name)


def _has_text(op: Op) -> bool:
    return any(v.dtype is string for v in (*op.operands, *op.results))


def _in_bytes(op: Op, operands: tuple[Value, ...], size: int) -> Sequence[Value]:
    """The results of an op on operands whose texts are slots."""
    if not _has_text(op):
        return op.results if operands == op.operands else op.with_operands(operands).results
    if isinstance(op, Input):
        known = None if op.known is None else to_slots(op.known, size, f"input '{op.name}'")
        return (graph_input(op.name, TensorType(u8, (*op.type.shape, size)), op.loc, op.tag, known),)
    if isinstance(op, Constant):
        return (constant(to_slots(op.data, bytes_needed(op.data)), op.output.name, op.loc),)
    if hasattr(op, "in_bytes"):
        found = op.in_bytes(*_by_field(op, operands))
        return _named(op, found if isinstance(found, tuple) else (found,))
    if not hasattr(op, "lower") or not all(v.type.is_static for v in op.operands if v.dtype is string) or not _moves(op):
        raise Unsupported(f"{type(op).__name__} cannot compute with strings of {', '.join(str(v.type) for v in op.operands)}", loc=op.loc,
                          hint="compiled code compares, joins, splits, looks up and moves them, of known shapes")
    return _named(op, _moved(op, operands))


def _by_field(op: Op, operands: tuple[Value, ...]) -> list[Value | None]:
    """The operands in field order, None where one is absent."""
    queue = iter(operands)
    return [None if getattr(op, f.name) is None else next(queue) for f in fields_of(type(op)) if f.kind in ("operand", "optional")]


def _named(op: Op, results: Sequence[Value]) -> Sequence[Value]:
    for old, new in zip(op.results, results, strict=True):
        if new.loc is None and not new.is_constant:
            new.name, new.loc = old.name, old.loc
    return results


def _moves(op: Op) -> bool:
    """Whether every text of the result is one of an operand: nothing is computed with them."""
    results = [v for v in op.results if v.dtype is string]
    for result in results:
        at = tuple(fresh(f"at{n}", 0, max(d - 1, 0)) for n, d in enumerate(result.type.max_shape))
        value = lower_op(op, at, read)[result.number]
        made = (n for n in walk(value) if n.dtype is string and n.op not in ("read", "inside", "select"))
        if not all(n.op == "const" and n.data == 0 for n in made):
            return False
    return len(results) == len(op.results)


def _moved(op: Op, operands: tuple[Value, ...]) -> list[Value]:
    """The op on the numbers of texts, and the texts of these numbers."""
    texts = [(old, new) for old, new in zip(op.operands, operands) if old.dtype is string]
    width = max(new.shape[-1] for _, new in texts)
    every, numbers, first = [constant(np.zeros((1, width), np.uint8))], [], 1
    for old, new in texts:
        count = math.prod(old.shape)
        wide = Pad(new, constant(np.array([0] * new.type.rank + [0] * (new.type.rank - 1) + [width - new.shape[-1]]))).output
        every.append(Reshape(wide if new.shape[-1] < width else new, constant(np.array([count, width]))).output)
        numbers.append(constant(np.arange(first, first + count, dtype=np.int32).reshape(old.shape)))
        first += count
    queue = iter(numbers)
    moved = op.with_operands([next(queue) if old.dtype is string else new for old, new in zip(op.operands, operands)])
    table = Concat(tuple(every), axis=0).output
    return [Gather(table, v).output for v in moved.results]
