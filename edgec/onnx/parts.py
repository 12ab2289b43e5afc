"""Operators as parts of a node: what builds a node whose sizes only the run decides writes its arithmetic with.

    part("Add", value, [1, 2])        # Add(value, constant i64[2])
    counted(number)                   # 0, 1, 2 ... below a number that is a size
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from edgec.expr import Expr
from edgec.graph import Value, constant
from edgec.ops.known_values import known_value
from edgec.types import DType


def part(name: str, *operands: Any, **attributes: Any) -> Value:
    """The first result of an operator; numbers are i64 constants, a list of values is one variadic operand."""
    from edgec.ops import OPERATORS

    def operand(given: Any) -> Any:
        if isinstance(given, list) and any(isinstance(v, Value) for v in given):
            return tuple(map(operand, given))
        return given if isinstance(given, Value) or given is None else numbers_of(given)
    return OPERATORS["", name](*map(operand, operands), **attributes).output


def reshaped(value: Value, shape: Sequence[int]) -> Value:
    """The value under a constant shape."""
    return part("Reshape", value, shape)


def numbers_of(numbers: Any) -> Value:
    """Whole numbers as a constant, i64."""
    return constant(np.array(numbers, np.int64))


def cast_to(value: Value, dtype: DType) -> Value:
    """The value in another element type."""
    from edgec.onnx.tensor import CODE_OF_DTYPE
    return value if value.dtype is dtype else part("Cast", value, to=int(CODE_OF_DTYPE[dtype]))


def is_known(value: Value | None) -> bool:
    """Whether an operand follows from constants and shapes (one that is absent does)."""
    return value is None or value.elements is not None or known_value(value) is not None


def limit(size: Any) -> int:
    """The largest that a dimension may be."""
    return size if isinstance(size, int) else size.hi


def least(size: Any) -> int:
    """The smallest that a dimension may be."""
    return size if isinstance(size, int) else size.lo


def counted(number: Value) -> Value:
    """0, 1, 2 ... below a number that is a size."""
    return part("Range", 0, reshaped(number, []), 1)


def is_computed(element: Any) -> bool:
    """Whether a size is one that data decides."""
    return isinstance(element, Expr) and any("." in symbol.data for symbol in element.free)


def element(vector: Value, number: int) -> Value:
    """One element of a vector, as a vector."""
    return part("Gather", vector, [number])
