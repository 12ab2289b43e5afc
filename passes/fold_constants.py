"""The pass fold-constants: what depends on constants alone becomes a constant.

The oracle computes the value (`reference`), so folding cannot mean anything else than the model says. A fold that would grow the constants
by more than 1 KB over the bytes it replaces is left to run time: an Expand of one number to an image; and weights of 8, 4 or 2 bits or
indices into a codebook, which whoever reads them decodes.

    reshape(@w, [64,-1])  ->  @w'          shape(x) of a static x  ->  i64[4]{1,3,224,224}
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from edgec.errors import CompileError
from edgec.expr import Expr
from edgec.graph import Constant, Graph, Input, Op, Value, constant, map_graph, run_reference
from edgec.pipeline import graph_pass
from edgec.types import dtype_of

MAX_GROWTH = 1024  # bytes
MOST_GROWTH = 64   # 64-bit numbers from single bits, where growing is allowed
MAX_KNOWN = 4096  # elements of shape arithmetic


@graph_pass("fold-constants", before={"fuse": "kernels read constants, they do not compute them"})
def fold_constants(graph: Graph, *, keep_dequantize: bool = False, grow: bool = False) -> Graph:
    """Operations on constants, and integer values known from shapes, become constants.

    With `grow` constants may become larger than what they are made of, up to 64 times. With `keep_dequantize` a DequantizeLinear stays,
    for a pass that makes integer arithmetic of it.
    """
    def visit(op: Op, operands: Sequence[Value]) -> Sequence[Value] | None:
        kept = isinstance(op, (Input, Constant)) or hasattr(op, "computed_sizes")  # the latter refuses numbers out of bounds when it runs
        if kept or keep_dequantize and type(op).__name__ == "DequantizeLinear":
            return None
        same = all(a is b for a, b in zip(operands, op.operands))
        op = op if same else op.with_operands(operands)
        return _folded(op, MOST_GROWTH if grow else 1) or [_known(value) for value in op.results]
    return map_graph(graph, visit)


def _folded(op: Op, growth: int) -> list[Value] | None:
    """The results of an op on constants, None where it cannot or should not be folded: past `growth` times the bytes of its operands."""
    if not op.operands or not all(v.is_constant for v in op.operands) or not hasattr(op, "reference"):
        return None
    operands = [v.array for v in dict.fromkeys(op.operands)]
    most = MAX_GROWTH + MOST_GROWTH * sum(array.nbytes for array in operands)
    if not all(v.type.is_static for v in op.results) or sum(v.type.max_bytes for v in op.results) > most:
        return None
    try:
        with np.errstate(all="ignore"):
            arrays = run_reference(op, [v.array for v in op.operands])
    except (ArithmeticError, CompileError, LookupError, TypeError, ValueError):
        return None  # values the operator refuses are reported by whoever runs it
    if sum(map(_stored, arrays)) > MAX_GROWTH + growth * sum(map(_stored, operands)):
        return None
    return [constant(np.asarray(a, v.dtype.numpy), v.name, v.loc) for a, v in zip(arrays, op.results)]


def _stored(array: Any) -> int:
    """Bytes that a constant takes in the object: whole numbers may be kept in as few bits as their values need (see bits.py)."""
    array = np.asarray(array)
    dtype = dtype_of(array.dtype)
    if not dtype.is_integer or not array.size:
        return array.nbytes
    needed = (int(array.max()) - int(array.min())).bit_length()
    return array.size * (max(1, needed) if needed <= 8 else dtype.bits) // 8


def _known(value: Value) -> Value:
    """A constant where every element of the value is a known number, else the value itself."""
    if not value.dtype.is_integer or not value.type.is_static or value.type.max_size > MAX_KNOWN:
        return value
    elements: tuple[Any, ...] | None = value.elements
    if elements is None or any(isinstance(e, Expr) for e in elements):
        return value
    return constant(np.array(elements, value.dtype.numpy).reshape(value.shape), value.name, value.loc)
