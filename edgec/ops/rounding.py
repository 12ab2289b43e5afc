"""Rounding and the classes of floating-point values: Floor Ceil Round IsNaN IsInf.

    Round(x).output            # halves go to the even neighbour
"""

from __future__ import annotations

import numpy as np

from edgec.expr import Expr, const, unary
from edgec.ops.elementwise import FLOAT, Unary
from edgec.types import DType, bool_


class Floor(Unary):
    """ONNX Floor: the greatest whole number not above x."""
    kinds = FLOAT
    exact = np.floor

    def formula(self, x: Expr) -> Expr:
        return unary("floor", x)


class Ceil(Unary):
    """ONNX Ceil: the least whole number not below x."""
    kinds = FLOAT
    exact = np.ceil

    def formula(self, x: Expr) -> Expr:
        return unary("ceil", x)


class Round(Unary):
    """ONNX Round: the nearest whole number, halves to even."""
    kinds = FLOAT
    exact = np.rint

    def formula(self, x: Expr) -> Expr:
        return unary("round", x)


class IsNaN(Unary):
    """ONNX IsNaN: whether x is not a number."""
    kinds = FLOAT
    exact = np.isnan

    def result_dtype(self) -> DType:
        return bool_

    def formula(self, x: Expr) -> Expr:
        return unary("isnan", x)


class IsInf(Unary):
    """ONNX IsInf: whether x is infinite, of the signs that are asked for."""
    detect_negative: int = 1
    detect_positive: int = 1
    kinds = FLOAT

    def result_dtype(self) -> DType:
        return bool_

    def exact(self, x: np.ndarray) -> np.ndarray:
        return (np.isneginf(x) & bool(self.detect_negative)) | (np.isposinf(x) & bool(self.detect_positive))

    def formula(self, x: Expr) -> Expr:
        if not self.detect_negative and not self.detect_positive:
            return const(False, bool_)
        infinite = unary("isinf", x)
        if self.detect_negative and self.detect_positive:
            return infinite
        return infinite & (x < 0.0 if self.detect_negative else x > 0.0)
