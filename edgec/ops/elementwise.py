"""What elementwise operators have in common: broadcasting, element types, rounding, and symbolic results.

A family (arithmetic, activation, comparison, ...) derives from `Unary`, `Binary` or `Variadic` and says its formula twice: `exact`
in numpy, given float64 for every float type and rounded once afterwards; `formula` as an expression, given f32 for 16-bit floats.

    class Exp(Unary):
        exact = staticmethod(np.exp)
        def formula(self, x): return unary("exp", x)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from edgec.expr import Expr, dim
from edgec.graph import Op, Value, default_elements
from edgec.lowering import Reader
from edgec.ops.accumulation import narrow, rounded, widen
from edgec.ops.shape_arithmetic import Dim, broadcast_shapes, element_array
from edgec.types import DType, TensorType

NUMERIC, FLOAT, INTEGER, SIGNED = "fiu", "f", "iu", "fi"
KIND_NAMES = {NUMERIC: "a number type", FLOAT: "a float type", INTEGER: "an integer type", SIGNED: "a signed number type", "b": "bool"}


def require_kind(op: Op, value: Value, kinds: str, what: str) -> None:
    """A TypeMismatch of `op` unless the element type of `value` is of one of `kinds`."""
    op.require(value.dtype.kind in kinds, f"{what} must be {KIND_NAMES.get(kinds, 'one of ' + kinds)}, it is {value.dtype}")


def in_double(function: Callable[..., Any], dtype: DType, *arrays: np.ndarray) -> np.ndarray:
    """`function` on float64 copies of float arrays, rounded once to `dtype`; other arrays are passed as they are."""
    wide = [a.astype(np.float64) if dtype.is_float else a for a in arrays]
    with np.errstate(all="ignore"):
        return rounded(function(*wide), dtype)


def symbolic_elements(op: Op, function: Callable[..., Any], *operands: Value) -> tuple[Dim, ...] | None:
    """Known elements of an elementwise integer operator: `function` on each tuple of elements (numbers or dimensions).

    None where elements are unknown; `function` may return None for an element it cannot say, or raise TypeError for an open comparison.
    """
    arrays = [element_array(v) for v in operands]
    if any(a is None for a in arrays):
        return None
    try:
        found = [function(*row) for row in zip(*(a.ravel() for a in np.broadcast_arrays(*arrays)))]
    except (TypeError, ZeroDivisionError):
        return None
    return None if any(f is None for f in found) else tuple(map(dim, found))


class Pointwise(Op):
    """Base of elementwise operators: their operands broadcast and have one element type."""

    abstract = True
    kinds = NUMERIC
    widened = True   # whether 16-bit floats compute in f32
    symbolic = None  # the operation on dimensions, where shape arithmetic uses it

    def infer(self) -> TensorType:
        first = self.operands[0]
        for value in self.operands:
            require_kind(self, value, self.kinds, f"operand %{value.name}")
            self.require(value.dtype is first.dtype, f"element types differ: {first.dtype} and {value.dtype}")
        return TensorType(self.result_dtype(), broadcast_shapes(self, *(v.shape for v in self.operands)))

    def result_dtype(self) -> DType:
        return self.operands[0].dtype

    def elements(self) -> Any:
        exact = default_elements(self)
        if exact is not None or self.symbolic is None or not self.operands[0].dtype.is_integer:
            return exact
        return symbolic_elements(self, self.symbolic, *self.operands)

    def reference(self, *arrays: np.ndarray) -> np.ndarray:
        if self.result_dtype().is_float:
            return in_double(self.exact, self.result_dtype(), *arrays)
        with np.errstate(all="ignore"):
            return np.asarray(self.exact(*arrays)).astype(self.result_dtype().numpy, copy=False)

    def lower(self, at: Sequence[Expr], *readers: Reader) -> Expr:
        values = [r.broadcast(at) for r in readers]
        return narrow(self.formula(*map(widen, values)), self.result_dtype()) if self.widened else self.formula(*values)


class Unary(Pointwise):
    """Base of operators on one tensor."""

    abstract = True
    x: Value


class Binary(Pointwise):
    """Base of operators on two tensors that broadcast."""

    abstract = True
    a: Value
    b: Value


class Variadic(Pointwise):
    """Base of operators on any number of tensors that broadcast; `formula` and `exact` merge two of them."""

    abstract = True
    inputs: tuple[Value, ...] = ()

    def infer(self) -> TensorType:
        self.require(self.inputs and all(v is not None for v in self.inputs), "needs at least one operand")
        return super().infer()

    def reference(self, arrays: tuple[np.ndarray, ...]) -> np.ndarray:
        return super().reference(*arrays)

    def exact(self, *arrays: np.ndarray) -> np.ndarray:
        result = arrays[0]
        for array in arrays[1:]:
            result = self.merge_exact(result, array)
        return result

    def lower(self, at: Sequence[Expr], readers: tuple[Reader, ...]) -> Expr:
        return super().lower(at, *readers)

    def formula(self, *values: Expr) -> Expr:
        result = values[0]
        for value in values[1:]:
            result = self.merge(result, value)
        return result
