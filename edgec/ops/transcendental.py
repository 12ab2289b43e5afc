"""Exponential, logarithmic, trigonometric and hyperbolic functions of elements, and the error function.

The reference computes in float64 and rounds once; native code uses the polynomials of `edgec.portable`.

    Atanh(x).output
"""

from __future__ import annotations

import math

import numpy as np

from edgec.expr import Expr, cast, unary
from edgec.ops.elementwise import FLOAT, NUMERIC, Unary
from edgec.types import f32


class Exp(Unary):
    """ONNX Exp: e to the x."""
    kinds = FLOAT
    exact = np.exp

    def formula(self, x: Expr) -> Expr:
        return unary("exp", x)


class Log(Unary):
    """ONNX Log: the natural logarithm; NaN below zero."""
    kinds = FLOAT
    exact = np.log

    def formula(self, x: Expr) -> Expr:
        return unary("log", x)


class Sin(Unary):
    """ONNX Sin: the sine of x radians."""
    kinds = FLOAT
    exact = np.sin

    def formula(self, x: Expr) -> Expr:
        return unary("sin", x)


class Cos(Unary):
    """ONNX Cos: the cosine of x radians."""
    kinds = FLOAT
    exact = np.cos

    def formula(self, x: Expr) -> Expr:
        return unary("cos", x)


class Tan(Unary):
    """ONNX Tan: the tangent of x radians."""
    kinds = FLOAT
    exact = np.tan

    def formula(self, x: Expr) -> Expr:
        return unary("tan", x)


class Asin(Unary):
    """ONNX Asin: the inverse sine in radians; NaN outside [-1, 1]."""
    kinds = FLOAT
    exact = np.arcsin

    def formula(self, x: Expr) -> Expr:
        return unary("asin", x)


class Acos(Unary):
    """ONNX Acos: the inverse cosine in radians; NaN outside [-1, 1]."""
    kinds = FLOAT
    exact = np.arccos

    def formula(self, x: Expr) -> Expr:
        return unary("acos", x)


class Atan(Unary):
    """ONNX Atan: the inverse tangent in radians."""
    kinds = FLOAT
    exact = np.arctan

    def formula(self, x: Expr) -> Expr:
        return unary("atan", x)


class Sinh(Unary):
    """ONNX Sinh: the hyperbolic sine."""
    kinds = FLOAT
    exact = np.sinh

    def formula(self, x: Expr) -> Expr:
        return unary("sinh", x)


class Cosh(Unary):
    """ONNX Cosh: the hyperbolic cosine."""
    kinds = FLOAT
    exact = np.cosh

    def formula(self, x: Expr) -> Expr:
        return unary("cosh", x)


class Tanh(Unary):
    """ONNX Tanh: the hyperbolic tangent."""
    kinds = FLOAT
    exact = np.tanh

    def formula(self, x: Expr) -> Expr:
        return unary("tanh", x)


class Asinh(Unary):
    """ONNX Asinh: the inverse hyperbolic sine."""
    kinds = FLOAT
    exact = np.arcsinh

    def formula(self, x: Expr) -> Expr:
        return unary("asinh", x)


class Acosh(Unary):
    """ONNX Acosh: the inverse hyperbolic cosine; NaN below 1."""
    kinds = FLOAT
    exact = np.arccosh

    def formula(self, x: Expr) -> Expr:
        return unary("acosh", x)


class Atanh(Unary):
    """ONNX Atanh: the inverse hyperbolic tangent; NaN outside [-1, 1]."""
    kinds = FLOAT
    exact = np.arctanh

    def formula(self, x: Expr) -> Expr:
        return unary("atanh", x)


def error_function(x: np.ndarray) -> np.ndarray:
    """erf(x) in float64, by the C library that Python is linked with."""
    return np.vectorize(math.erf, otypes=[np.float64])(x)


def complementary_error_function(x: np.ndarray) -> np.ndarray:
    """1 - erf(x) in float64, without the cancellation where erf(x) is near 1."""
    return np.vectorize(math.erfc, otypes=[np.float64])(x)


class Erf(Unary):
    """ONNX Erf: the error function 2/sqrt(pi) * integral of e^(-t^2) from 0 to x; integers truncate the result."""
    kinds = NUMERIC
    exact = staticmethod(error_function)

    def formula(self, x: Expr) -> Expr:
        return cast(unary("erf", x if x.dtype.is_float else cast(x, f32)), x.dtype)
