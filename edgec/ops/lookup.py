"""A function of bytes as a table of its 256 values, known at compile time.

    Lookup(x, table)      # table[0] is the value of the least byte: 0 of u8, -128 of i8
"""

from __future__ import annotations

import numpy as np

from edgec.expr import Expr, cast
from edgec.graph import Op, Value
from edgec.lowering import Reader
from edgec.types import TensorType, i8, i32, index, u8

VALUES = 256


class Lookup(Op):
    """edgec Lookup: table[x - least], for 8-bit x and 256 elements of any type."""

    domain = "edgec"
    x: Value
    table: Value

    def infer(self) -> TensorType:
        self.require(self.x.dtype in (i8, u8), f"the operand is {self.x.type}; i8 or u8 is needed")
        self.require(self.table.is_constant and self.table.shape == (VALUES,), f"{VALUES} known elements are needed, not {self.table.type}")
        return self.x.type.with_dtype(self.table.dtype)

    def reference(self, x: np.ndarray, table: np.ndarray) -> np.ndarray:
        return table[x.astype(np.int32) - self.x.dtype.low]

    def lower(self, at: tuple[Expr, ...], x: Reader, table: Reader) -> Expr:
        return table(cast(cast(x(*at), i32) - self.x.dtype.low, index))
