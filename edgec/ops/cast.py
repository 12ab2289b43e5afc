"""Changes of element type.

Float to integer truncates toward zero; values the type cannot hold saturate, NaN becomes 0 (ONNX leaves both undefined). Integers wrap.

    Cast(x, to=7).output          # i64; the numbers are those of ONNX's TensorProto.DataType
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edgec.errors import Unsupported
from edgec.expr import Expr, cast, compare, const, select
from edgec.graph import Op, Value, default_elements
from edgec.lowering import Reader
from edgec.onnx.tensor import CODE_OF_DTYPE, dtype_of_code
from edgec.ops.small_types import decoded, encoded, is_small, to_small
from edgec.types import DType, TensorType, bool_, dtype_of, string


def converted(x: np.ndarray, dtype: DType, saturate: bool = True, round_mode: str = "up") -> np.ndarray:
    """`x` in another element type: floats saturate at the ends of an integer type, NaN is 0; small types as `to_small` has it."""
    source = dtype_of(x.dtype)
    if source is string and dtype is string:
        return x
    if is_small(source):
        x = x.astype(np.float32 if source.is_float else np.int32)
    if is_small(dtype):
        return to_small(x, dtype, saturate, round_mode)
    if dtype is bool_ or x.dtype.kind in "iub" or dtype.is_float:
        with np.errstate(over="ignore"):
            return x.astype(dtype.numpy)
    wide = np.nan_to_num(x.astype(np.float64), nan=0.0)
    inside = (wide > dtype.low - 1) & (wide < dtype.high + 1)
    ends = np.where(wide < 0, np.array(dtype.low, dtype.numpy), np.array(dtype.high, dtype.numpy))
    return np.where(inside, np.where(inside, wide, 0).astype(dtype.numpy), ends)


def _cast_type(op: Any, dtype: DType) -> TensorType:
    """The type of the result; Unsupported where numbers should become text."""
    if dtype is string and op.x.dtype is not string:
        raise Unsupported(f"{type(op).__name__} cannot write {op.x.dtype} as strings", loc=op._pending_loc,
                          hint="make the numbers text after the model, which may return them as they are")
    return op.x.type.with_dtype(dtype)


class Cast(Op):
    """ONNX Cast: the elements in the type numbered `to`. `saturate` and `round_mode` concern 8-bit floats only."""
    x: Value
    to: int
    saturate: int = 1
    round_mode: str = "up"

    @property
    def dtype(self) -> DType:
        return dtype_of_code(self.to, "the result of Cast", self._pending_loc)

    def infer(self) -> TensorType:
        return _cast_type(self, self.dtype)

    def elements(self) -> Any:
        exact = default_elements(self)
        wide = self.dtype.is_integer and self.x.dtype.is_integer and min(self.dtype.bits, self.x.dtype.bits) >= 32
        return self.x.elements if exact is None and wide else exact

    def reference(self, x: np.ndarray) -> np.ndarray:
        return converted(x, self.dtype, bool(self.saturate), self.round_mode)

    def stored(self, x: Value) -> Value:
        """The conversion between bit patterns (see edgec.ops.small_types)."""
        return stored_cast(x, self.x.dtype, self.dtype, self)

    def lower(self, at: tuple[Expr, ...], x: Reader) -> Expr:
        return converted_expr(x(*at), self.dtype)


def converted_expr(x: Expr, dtype: DType) -> Expr:
    """The same conversion as an expression; to bool is a comparison with zero, from bool a choice of one and zero."""
    if x.dtype is dtype:
        return x
    if dtype is bool_:
        return compare("ne", x, 0)
    return select(x, const(1, dtype), const(0, dtype)) if x.dtype is bool_ else cast(x, dtype)


def stored_cast(x: Value, source: DType, dtype: DType, op: Any) -> Value:
    """`x`, whose small elements are bytes, in another type; `op` has the attributes saturate and round_mode."""
    number = decoded(x, source) if is_small(source) else x
    if is_small(dtype):
        return encoded(number, dtype, bool(op.saturate), op.round_mode)
    return Cast(number, to=CODE_OF_DTYPE[dtype]).output


class CastLike(Op):
    """ONNX CastLike: the elements in the type of `target`."""
    x: Value
    target: Value
    saturate: int = 1
    round_mode: str = "up"

    def infer(self) -> TensorType:
        return _cast_type(self, self.target.dtype)

    def elements(self) -> None:
        return None

    def reference(self, x: np.ndarray, target: np.ndarray) -> np.ndarray:
        return converted(x, self.target.dtype, bool(self.saturate), self.round_mode)

    def stored(self, x: Value, target: Value) -> Value:
        """The conversion between bit patterns (see edgec.ops.small_types)."""
        return stored_cast(x, self.x.dtype, self.target.dtype, self)

    def lower(self, at: tuple[Expr, ...], x: Reader, target: Reader) -> Expr:
        return converted_expr(x(*at), self.target.dtype)
