"""Small arrays that are known while a model is read: conditions, trip counts, places in a sequence.

    known_array(node.inputs[0])     # array(True), or None
"""

from __future__ import annotations

import numpy as np

from edgec.expr import Expr
from edgec.graph import Input, Value, run_reference

SIZE, DEPTH = 64, 32


def known_array(value: Value) -> np.ndarray | None:
    """The elements of a value of at most `SIZE` that depends on nothing but constants and known shapes in `DEPTH` steps; else None."""
    return _known(value, DEPTH, {})


def _known(value: Value, depth: int, seen: dict[Value, np.ndarray | None]) -> np.ndarray | None:
    """`seen` has what was asked for before, or a product of the same two factors again and again would take 2^DEPTH questions."""
    if value not in seen:
        seen[value] = _found(value, depth, seen)
    return seen[value]


def _found(value: Value, depth: int, seen: dict[Value, np.ndarray | None]) -> np.ndarray | None:
    if value.is_constant:
        return value.array
    if isinstance(value.op, Input):
        return value.op.known
    if depth == 0 or not value.type.is_static or value.type.max_size > SIZE:
        return None
    elements = value.elements if value.dtype.is_integer else None
    if elements is not None and not any(isinstance(e, Expr) for e in elements):
        return np.array(elements, value.dtype.numpy).reshape(value.shape)
    if not value.op.operands or not hasattr(value.op, "reference"):
        return None
    operands = [_known(v, depth - 1, seen) for v in value.op.operands]
    return None if any(a is None for a in operands) else np.asarray(run_reference(value.op, operands)[value.number])
