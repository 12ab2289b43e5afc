"""Running sums and products along an axis: CumSum CumProd.

Each element is a reduction over the axis in which the elements past it count as the neutral element.

    CumSum(x, axis, exclusive=1).output
"""

from __future__ import annotations

import numpy as np

from edgec.expr import Expr, neutral, reduce_over, select
from edgec.graph import Op, Value
from edgec.lowering import Reader
from edgec.ops.accumulation import narrow, rounded, widen
from edgec.ops.shape_arithmetic import known_numbers, normal_axis
from edgec.types import TensorType


class Cumulative(Op):
    """Base of the two: `exclusive` leaves the element itself out, `reverse` runs from the end."""
    abstract = True
    x: Value
    axis: Value
    exclusive: int = 0
    reverse: int = 0

    def infer(self) -> TensorType:
        self.require(self.x.dtype.kind in "fiu", f"needs numbers, the operand is {self.x.type}")
        self.require(self.axis.type.max_size == 1, f"the axis must be one number, it is {self.axis.type}")
        self.require(0 <= self.place < len(self.x.shape), "the axis is out of range")
        return self.x.type

    @property
    def place(self) -> int:
        """The axis, counted from the front."""
        return normal_axis(self, known_numbers(self, self.axis, "the axis")[0], len(self.x.shape))

    def reference(self, x: np.ndarray, axis: np.ndarray) -> np.ndarray:
        place = int(axis.reshape(()))
        wide = x.astype(np.float64) if self.x.dtype.is_float else x
        wide = np.flip(wide, place) if self.reverse else wide
        total = self.accumulate(wide, axis=place, dtype=wide.dtype)
        if self.exclusive:
            total = np.roll(total, 1, place)
            np.moveaxis(total, place, 0)[:1] = self.neutral
        return rounded(np.flip(total, place) if self.reverse else total, self.x.dtype)

    def lower(self, at: tuple[Expr, ...], x: Reader, axis: Reader) -> Expr:
        place, here = self.place, at[self.place]

        def value(k: Expr) -> Expr:
            first, second = (here, k) if self.reverse else (k, here)
            counted = first < second if self.exclusive else first <= second
            element = widen(x(*at[:place], k, *at[place + 1:]))
            return select(counted, element, neutral(self.combine, element.dtype))
        return narrow(reduce_over([x.shape[place]], self.combine, value), x.dtype)


class CumSum(Cumulative):
    """ONNX CumSum: the sum of the elements up to each one."""
    combine, neutral = "add", 0
    accumulate = np.add.accumulate


class CumProd(Cumulative):
    """ONNX CumProd: the product of the elements up to each one."""
    combine, neutral = "mul", 1
    accumulate = np.multiply.accumulate
