"""The two steps of a softmax on whole numbers that no other operator does: the reciprocal of a row's sum, and an element's share of it.

TFLite's softmax (tflite/kernels/internal/reference/softmax.h) sums exponentials in Q12 and scales each, in Q0, by the reciprocal.

    scale, bits = FixedReciprocal(sums).results;  FixedShare(exponentials, scale, bits, to=CODE_OF_DTYPE[i8])
"""

from __future__ import annotations

import numpy as np

from edgec.expr import Expr, binary, cast, const, maximum, minimum, select
from edgec.graph import Op, Value
from edgec.lowering import Reader
from edgec.onnx.tensor import CODE_OF_DTYPE, dtype_of_code
from edgec.ops.fixed_point import high_product, high_product_expr, reciprocal, reciprocal_expr, rounding_shift, rounding_shift_expr
from edgec.ops.shape_arithmetic import broadcast_shapes
from edgec.types import TensorType, i8, i32

SUM_BITS = 12  # integer bits of the sums


class FixedReciprocal(Op):
    """edgec FixedReciprocal: of a sum of at least 1 in Q12, (r, b) with 1 / sum = r * 2^-b, r in Q0; both i32."""

    domain = "edgec"
    x: Value

    def infer(self) -> tuple[TensorType, TensorType]:
        self.require(self.x.dtype is i32, f"the operand is {self.x.dtype}; i32 is needed")
        return self.x.type, self.x.type

    def reference(self, x):
        total = np.maximum(x.astype(np.int64), 1 << 19)
        length = np.floor(np.log2(total)).astype(np.int64) + 1
        fraction = (total << (32 - length)) - (1 << 31)
        return reciprocal(fraction).astype(np.int32), (SUM_BITS - 32 + length).astype(np.int32)

    def lower(self, at, x: Reader):
        total = maximum(x(*at), 1 << 19)
        length = const(20, i32)
        for bit in range(20, 31):
            length = length + select(total < 1 << bit, const(0, i32), const(1, i32))
        fraction = binary("shl", total, 32 - length) ^ const(-(1 << 31), i32)
        return reciprocal_expr(fraction), length - (32 - SUM_BITS)


class FixedShare(Op):
    """edgec FixedShare: x * scale * 2^(width - 31 - bits) less half the range, of x and scale in Q0; a type of that width, saturating."""

    domain = "edgec"
    x: Value
    scale: Value
    bits: Value
    to: int = CODE_OF_DTYPE[i8]

    def infer(self) -> TensorType:
        self.require(all(v.dtype is i32 for v in self.operands), "all operands must be i32")
        dtype = dtype_of_code(self.to, "the result of FixedShare", self._pending_loc)
        return TensorType(dtype, broadcast_shapes(self, *(v.shape for v in self.operands)))

    def reference(self, x, scale, bits):
        dtype = self.output.dtype
        share = rounding_shift(high_product(scale.astype(np.int64), x.astype(np.int64)), bits.astype(np.int64) + (31 - dtype.bits))
        return np.clip(share + dtype.low, dtype.low, dtype.high).astype(dtype.numpy)

    def lower(self, at, x: Reader, scale: Reader, bits: Reader) -> Expr:
        dtype = self.output.dtype
        share = rounding_shift_expr(high_product_expr(scale.broadcast(at), x.broadcast(at)), bits.broadcast(at) + (31 - dtype.bits))
        return cast(minimum(maximum(share + dtype.low, dtype.low), dtype.high), dtype)
