"""Average pooling of whole numbers as TFLite has it: the sum over the window divided by its size, rounded to the nearest.

Halves go away from zero, and padding is not counted (tflite/kernels/internal/reference/integer_ops/pooling.h).

    IntegerAveragePool(x, kernel_shape=(2, 2), strides=(2, 2))
"""

from __future__ import annotations

import numpy as np

from edgec.expr import Expr, cast, const, select
from edgec.ops.pooling import AveragePool, members, pooled_type, reduce_window, windows
from edgec.types import TensorType, i32


class IntegerAveragePool(AveragePool):
    """edgec IntegerAveragePool: AveragePool of i8, u8 or i16 elements, rounded with halves away from zero; padding never counts."""

    domain = "edgec"

    def infer(self) -> TensorType:
        self.require(self.x.dtype.is_integer and self.x.dtype.bits <= 16, f"the operand is {self.x.dtype}; 8 or 16-bit integers are needed")
        self.require(not self.count_include_pad, "padding is not counted")
        return pooled_type(self, self.x, float_only=False)

    def reference(self, x):
        taps, _, _ = windows(self, x.astype(np.int64), 0)
        ones, _, _ = windows(self, np.ones(x.shape, np.int64), 0)
        total, count = taps.sum(axis=-1), np.maximum(ones.sum(axis=-1), 1)
        return (np.sign(total) * ((np.abs(total) + count // 2) // count)).astype(x.dtype)

    def lower(self, at, x) -> Expr:
        total = reduce_window(self, at, x, "add", lambda v: cast(v, i32), 0)
        count = cast(members(self, at[2:], x.shape[2:]), i32)
        half = const(count.data // 2, i32) if count.op == "const" else count / const(2, i32)
        return cast((total + select(total > 0, half, -half)) / count, x.dtype)
