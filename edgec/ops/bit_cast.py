"""The bits of an element read as another type: BitCast.

    BitCast(x, to=6).output          # the bits of f32 elements as i32
"""

from __future__ import annotations

import numpy as np

from edgec.expr import Expr, bitcast, compare, const, select
from edgec.graph import Op, Value
from edgec.lowering import Reader
from edgec.onnx.tensor import CODE_OF_DTYPE, dtype_of_code
from edgec.ops.small_types import is_small
from edgec.types import DType, TensorType, bool_, u8


class BitCast(Op):
    """ONNX BitCast: the same bits as elements of the type numbered `to`, which has as many."""

    x: Value
    to: int

    @property
    def dtype(self) -> DType:
        """The type of the result."""
        return dtype_of_code(self.to, "the result of BitCast", self._pending_loc)

    def infer(self) -> TensorType:
        self.require(self.dtype.bits == self.x.dtype.bits, f"{self.x.dtype} has {self.x.dtype.bits} bits, {self.dtype} {self.dtype.bits}")
        return self.x.type.with_dtype(self.dtype)

    def reference(self, x: np.ndarray) -> np.ndarray:
        return np.asarray(x, order="C").view(self.dtype.numpy)

    def lower(self, at: tuple[Expr, ...], x: Reader) -> Expr:
        value = x(*at)
        if x.dtype is bool_:
            value = select(value, const(1, u8), const(0, u8))
        return compare("ne", bitcast(value, u8), const(0, u8)) if self.dtype is bool_ else bitcast(value, self.dtype)

    def stored(self, x: Value) -> Value:
        """Bytes are what both are kept as."""
        if is_small(self.dtype):
            return BitCast(x, to=CODE_OF_DTYPE[u8]).output
        return BitCast(x, to=self.to).output
