"""Comparisons, logic, bits and choices on elements.

    Where(Less(x, y).output, x, y).output
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edgec.errors import Unsupported
from edgec.expr import Expr, as_expr, binary, compare, const, is_const, maximum, minimum, select
from edgec.graph import Op, Value, constant
from edgec.lowering import Reader
from edgec.ops.elementwise import INTEGER, NUMERIC, Binary, Unary, require_kind, symbolic_elements
from edgec.ops.shape_arithmetic import Dim, broadcast_shapes, known
from edgec.types import DType, TensorType, bool_, index


class Comparison(Binary):
    """Base of operators that compare two tensors; the result is bool."""
    abstract = True
    widened = False

    def result_dtype(self) -> DType:
        return bool_

    def elements(self) -> Any:
        return symbolic_elements(self, self.decided, self.a, self.b) if self.a.dtype.is_integer else None

    def decided(self, a: Dim, b: Dim) -> bool | None:
        """The comparison of two dimensions, where intervals tell."""
        answer = self.formula(as_expr(a, index), as_expr(b, index))
        return bool(answer.data) if is_const(answer) else None


class Equal(Comparison):
    """ONNX Equal: a == b."""
    kinds = NUMERIC + "bs"
    exact = np.equal

    def in_bytes(self, a: Value, b: Value) -> Value:
        """Slots are equal where all bytes are; the shorter ones with zeros behind."""
        from edgec.ops.cast import Cast
        from edgec.ops.reduction import ReduceMin
        from edgec.ops.slicing import Pad
        width = max(a.shape[-1], b.shape[-1])
        first, second = (Pad(v, constant(np.array([0] * (2 * v.type.rank - 1) + [width - v.shape[-1]]))).output for v in (a, b))
        same = Cast(Equal(first, second).output, to=6).output
        return Cast(ReduceMin(same, constant(np.array([-1])), keepdims=0).output, to=9).output

    def formula(self, a: Expr, b: Expr) -> Expr:
        return compare("eq", a, b)


class Less(Comparison):
    """ONNX Less: a < b."""
    exact = np.less

    def formula(self, a: Expr, b: Expr) -> Expr:
        return a < b


class Greater(Comparison):
    """ONNX Greater: a > b."""
    exact = np.greater

    def formula(self, a: Expr, b: Expr) -> Expr:
        return a > b


class LessOrEqual(Comparison):
    """ONNX LessOrEqual: a <= b."""
    exact = np.less_equal

    def formula(self, a: Expr, b: Expr) -> Expr:
        return a <= b


class GreaterOrEqual(Comparison):
    """ONNX GreaterOrEqual: a >= b."""
    exact = np.greater_equal

    def formula(self, a: Expr, b: Expr) -> Expr:
        return a >= b


class And(Binary):
    """ONNX And: both are true."""
    kinds = "b"
    exact = np.logical_and

    def formula(self, a: Expr, b: Expr) -> Expr:
        return a & b


class Or(Binary):
    """ONNX Or: at least one is true."""
    kinds = "b"
    exact = np.logical_or

    def formula(self, a: Expr, b: Expr) -> Expr:
        return a | b


class Xor(Binary):
    """ONNX Xor: exactly one is true."""
    kinds = "b"
    exact = np.logical_xor

    def formula(self, a: Expr, b: Expr) -> Expr:
        return a ^ b


class Not(Unary):
    """ONNX Not: the opposite."""
    kinds = "b"
    exact = np.logical_not

    def formula(self, x: Expr) -> Expr:
        return ~x


class BitwiseAnd(Binary):
    """ONNX BitwiseAnd: a & b."""
    kinds = INTEGER
    exact = np.bitwise_and

    def formula(self, a: Expr, b: Expr) -> Expr:
        return a & b


class BitwiseOr(Binary):
    """ONNX BitwiseOr: a | b."""
    kinds = INTEGER
    exact = np.bitwise_or

    def formula(self, a: Expr, b: Expr) -> Expr:
        return a | b


class BitwiseXor(Binary):
    """ONNX BitwiseXor: a ^ b."""
    kinds = INTEGER
    exact = np.bitwise_xor

    def formula(self, a: Expr, b: Expr) -> Expr:
        return a ^ b


class BitwiseNot(Unary):
    """ONNX BitwiseNot: ~x."""
    kinds = INTEGER
    exact = np.bitwise_not

    def formula(self, x: Expr) -> Expr:
        return x ^ (-1 if x.dtype.kind == "i" else x.dtype.high)


class BitShift(Binary):
    """ONNX BitShift: a shifted by b bits to the LEFT or RIGHT (keeping the sign); amounts outside [0, bits) shift everything out."""
    direction: str
    kinds = INTEGER

    def infer(self) -> TensorType:
        self.require(self.direction in ("LEFT", "RIGHT"), f"direction '{self.direction}' is neither LEFT nor RIGHT")
        return super().infer()

    def exact(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        bits = 8 * a.dtype.itemsize
        outside = (b < 0) | (b >= bits)
        amount = np.where(outside, 0, b).astype(a.dtype)
        if self.direction == "LEFT":
            return np.where(outside, 0, np.left_shift(a, amount))
        return np.where(outside, np.where(a < 0, -1, 0).astype(a.dtype), np.right_shift(a, amount))

    def formula(self, a: Expr, b: Expr) -> Expr:
        last = a.dtype.bits - 1
        within = b <= last if b.dtype.kind == "u" else (b >= 0) & (b <= last)
        amount = minimum(b, last) if b.dtype.kind == "u" else maximum(minimum(b, last), 0)
        if self.direction == "LEFT":
            return select(within, binary("shl", a, amount), 0)
        return select(within, binary("shr", a, amount), 0 if a.dtype.kind == "u" else binary("shr", a, last))


class Where(Op):
    """ONNX Where: x where the condition holds, else y (all three broadcast)."""
    condition: Value
    x: Value
    y: Value

    def infer(self) -> TensorType:
        require_kind(self, self.condition, "b", "the condition")
        self.require(self.x.dtype is self.y.dtype, f"element types differ: {self.x.dtype} and {self.y.dtype}")
        return TensorType(self.x.dtype, broadcast_shapes(self, self.condition.shape, self.x.shape, self.y.shape))

    def elements(self) -> tuple[Dim, ...] | None:
        return symbolic_elements(self, lambda c, x, y: x if c else y, self.condition, self.x, self.y)

    def reference(self, condition: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.where(condition, x, y).astype(x.dtype)

    def lower(self, at: tuple[Expr, ...], condition: Reader, x: Reader, y: Reader) -> Expr:
        return select(condition.broadcast(at), x.broadcast(at), y.broadcast(at))


class Identity(Op):
    """ONNX Identity: x itself."""
    x: Value

    def infer(self) -> TensorType:
        return self.x.type

    def elements(self) -> tuple[Dim, ...] | None:
        return self.x.elements

    def reference(self, x: np.ndarray) -> np.ndarray:
        return x

    def lower(self, at: tuple[Expr, ...], x: Reader) -> Expr:
        return x(*at)


class Dropout(Op):
    """ONNX Dropout at inference, or of nothing (ratio 0): x itself, and a mask that keeps everything. Other training is refused."""
    x: Value
    ratio: Value | None = None
    training_mode: Value | None = None
    seed: int | None = None

    def infer(self) -> tuple[TensorType, TensorType]:
        trains = self.training_mode is not None and any(known(self, self.training_mode, "training_mode"))
        if trains and (self.ratio is None or any(known(self, self.ratio, "the ratio"))):
            raise Unsupported("Dropout: training mode is not inference", loc=self._pending_loc,
                              hint="export the model for inference, with training_mode false")
        return self.x.type, self.x.type.with_dtype(bool_)

    def elements(self) -> None:
        return None

    def reference(self, x: np.ndarray, ratio: Any, training_mode: Any) -> tuple[np.ndarray, np.ndarray]:
        return x, np.ones(x.shape, bool)

    def lower(self, at: tuple[Expr, ...], x: Reader, ratio: Any, training_mode: Any) -> tuple[Expr, Expr]:
        return x(*at), const(True, bool_)
