"""The whole array of a value, where it follows from constants and inputs known beforehand: for operators whose results have sizes that
depend on data (how many elements are true, how many boxes are kept).

    known_value(x)      # an array, or None
"""

from __future__ import annotations

import numpy as np

from edgec.errors import CompileError
from edgec.graph import Constant, Input, Value, run_reference, topological

MOST = 1 << 20  # elements of an array that is computed beforehand


def known_value(value: Value) -> np.ndarray | None:
    """The array of a value; None where it depends on an input that is not known, or would be large."""
    arrays: dict[Value, np.ndarray] = {}
    for op in topological([value]):
        found = _results(op, arrays)
        if found is None:
            return None
        arrays.update(zip(op.results, found))
    return arrays[value]


def _results(op, arrays: dict[Value, np.ndarray]) -> tuple[np.ndarray, ...] | None:
    if isinstance(op, Input):
        return None if op.known is None else (op.known,)
    if isinstance(op, Constant):
        return (op.data,)
    if not hasattr(op, "reference") or any(not v.type.is_static or v.type.max_size > MOST for v in op.results):
        return None
    try:
        with np.errstate(all="ignore"):
            results = run_reference(op, [arrays[v] for v in op.operands])
    except (ArithmeticError, CompileError, LookupError, TypeError, ValueError):
        return None  # values the operator refuses are reported by whoever runs it
    return tuple(np.asarray(r, v.dtype.numpy) for r, v in zip(results, op.results))
