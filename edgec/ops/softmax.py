"""Softmax, LogSoftmax and Hardmax along one axis (the meaning they have since opset 13).

The row's maximum and sum are reductions in the element's formula; the compiler hoists them into stages of the row.

    Softmax(x, axis=-1)       # exp(x - max) / sum(exp(x - max))
"""

from __future__ import annotations

import numpy as np

from edgec.expr import Expr, cast, compare, const, select, unary
from edgec.graph import Op, Value
from edgec.ops.accumulation import fold, narrow, rounded, widen
from edgec.ops.shape_arithmetic import normal_axis
from edgec.types import TensorType, i64


class AxisOp(Op):
    """A float operator along one axis that keeps the type."""

    abstract = True
    x: Value
    axis: int = -1

    def infer(self) -> TensorType:
        self.require(self.x.dtype.is_float, f"input is {self.x.dtype}; a float type is needed")
        normal_axis(self, self.axis, self.x.type.rank)
        return self.x.type

    def row(self, at, x):
        """(extent of the axis, k -> the k-th element of the row that holds `at`)."""
        axis = self.axis % x.rank
        return x.shape[axis], lambda k: widen(x(*at[:axis], k, *at[axis + 1:]))


class Softmax(AxisOp):
    """ONNX Softmax: exp(x - max) / sum(exp(x - max)) along the axis (Softmax-13)."""

    def reference(self, x):
        wide = x.astype(np.float64)
        powers = np.exp(wide - wide.max(axis=self.axis, keepdims=True, initial=-np.inf))
        return rounded(powers / powers.sum(axis=self.axis, keepdims=True), self.x.dtype)

    def lower(self, at, x):
        extent, row = self.row(at, x)
        greatest = fold((extent,), "max", row)
        power = lambda v: unary("exp", v - greatest)
        # One division per row: the compiler keeps the sum, and its reciprocal, for the whole row.
        return narrow(power(widen(x(*at))) * (1.0 / fold((extent,), "add", lambda k: power(row(k)))), x.dtype)


class LogSoftmax(AxisOp):
    """ONNX LogSoftmax: x - max - log(sum(exp(x - max))) along the axis (LogSoftmax-13)."""

    def reference(self, x):
        wide = x.astype(np.float64)
        wide = wide - wide.max(axis=self.axis, keepdims=True, initial=-np.inf)
        return rounded(wide - np.log(np.exp(wide).sum(axis=self.axis, keepdims=True)), self.x.dtype)

    def lower(self, at, x):
        extent, row = self.row(at, x)
        greatest = fold((extent,), "max", row)
        total = fold((extent,), "add", lambda k: unary("exp", row(k) - greatest))
        return narrow(widen(x(*at)) - greatest - unary("log", total), x.dtype)


class Hardmax(AxisOp):
    """ONNX Hardmax: 1 at the first greatest element along the axis, else 0 (Hardmax-13)."""

    def reference(self, x):
        result = np.zeros(x.shape, x.dtype)
        if x.size:
            np.put_along_axis(result, np.argmax(x, axis=self.axis, keepdims=True), x.dtype.type(1), axis=self.axis)
        return result

    def lower(self, at, x):
        extent, row = self.row(at, x)
        greatest = fold((extent,), "max", row)
        first = fold((extent,), "min", lambda k: self._place(k, row(k), greatest))
        here = cast(at[self.axis % x.rank], i64)
        return select(compare("eq", here, first), const(1.0, x.dtype), const(0.0, x.dtype))

    @staticmethod
    def _place(k: Expr, v: Expr, greatest: Expr) -> Expr:
        """k where v is the greatest, else a number beyond every index."""
        return select(compare("eq", v, greatest), cast(k, i64), const(i64.high, i64))
