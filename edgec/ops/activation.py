"""Activation functions.

The exponential ones are written as e^x - 1, which is exact to 2^-24 in absolute terms (the scale of their saturation), not relative to
the result near 0.

    Gelu(x, approximate="tanh").output
"""

from __future__ import annotations

import math

import numpy as np

from edgec.expr import Expr, cast, compare, maximum, minimum, select, unary
from edgec.graph import Value
from edgec.normal_gelu import ERROR, normal_gelu
from edgec.ops.elementwise import FLOAT, Pointwise, Unary
from edgec.ops.shape_arithmetic import same_shape
from edgec.ops.transcendental import complementary_error_function
from edgec.types import TensorType, f32, f64


def logistic(x: Expr) -> Expr:
    """1 / (1 + e^-x); the overflow of e^-x gives 0, as it should."""
    return 1.0 / (unary("exp", -x) + 1.0)


def log_one_plus(u: Expr) -> Expr:
    """log(1 + u) for 0 <= u <= 1: log(w) * u / (w - 1) with w = 1 + u rounded, in which the error of w cancels (W. Kahan)."""
    w = u + 1.0
    exact = compare("eq", w, 1.0)
    return select(exact, u, unary("log", w) * (u / select(exact, 1.0, w - 1.0)))


class Relu(Unary):
    """ONNX Relu: max(x, 0)."""
    widened = False

    def exact(self, x: np.ndarray) -> np.ndarray:
        return np.maximum(x, np.zeros((), x.dtype))

    def formula(self, x: Expr) -> Expr:
        return maximum(x, 0)


class LeakyRelu(Unary):
    """ONNX LeakyRelu: alpha * x below zero, else x."""
    alpha: float = 0.009999999776482582
    kinds = FLOAT

    def exact(self, x: np.ndarray) -> np.ndarray:
        return np.where(x < 0, self.alpha * x, x)

    def formula(self, x: Expr) -> Expr:
        return select(x < 0, x * self.alpha, x)


class PRelu(Pointwise):
    """ONNX PRelu: slope * x below zero, else x; the slope broadcasts to the shape of x."""
    x: Value
    slope: Value
    widened = False

    def infer(self) -> TensorType:
        result = super().infer()
        self.require(same_shape(result.shape, self.x.shape), f"the slope {self.slope.type} does not broadcast to {self.x.type}")
        return result

    def exact(self, x: np.ndarray, slope: np.ndarray) -> np.ndarray:
        return np.where(x < 0, slope * x, x)

    def formula(self, x: Expr, slope: Expr) -> Expr:
        return select(x < 0, x * slope, x)


class Elu(Unary):
    """ONNX Elu: alpha * (e^x - 1) below zero, else x."""
    alpha: float = 1.0
    kinds = FLOAT

    def exact(self, x: np.ndarray) -> np.ndarray:
        return np.where(x < 0, self.alpha * np.expm1(x), x)

    def formula(self, x: Expr) -> Expr:
        return select(x < 0, (unary("exp", x) - 1.0) * self.alpha, x)


class Selu(Unary):
    """ONNX Selu: gamma * (alpha * (e^x - 1) below zero, else x)."""
    alpha: float = 1.6732631921768188
    gamma: float = 1.0507010221481323
    kinds = FLOAT

    def exact(self, x: np.ndarray) -> np.ndarray:
        return self.gamma * np.where(x <= 0, self.alpha * np.expm1(x), x)

    def formula(self, x: Expr) -> Expr:
        return select(x <= 0, (unary("exp", x) - 1.0) * (self.alpha * self.gamma), x * self.gamma)


class Celu(Unary):
    """ONNX Celu: max(0, x) + min(0, alpha * (e^(x/alpha) - 1))."""
    alpha: float = 1.0
    kinds = FLOAT

    def exact(self, x: np.ndarray) -> np.ndarray:
        return np.maximum(x, 0) + np.minimum(0, self.alpha * np.expm1(x / self.alpha))

    def formula(self, x: Expr) -> Expr:
        return maximum(x, 0.0) + minimum((unary("exp", x * (1.0 / self.alpha)) - 1.0) * self.alpha, 0.0)


class ThresholdedRelu(Unary):
    """ONNX ThresholdedRelu: x above alpha, else 0."""
    alpha: float = 1.0
    kinds = FLOAT

    def exact(self, x: np.ndarray) -> np.ndarray:
        return np.where(x > self.alpha, x, 0)

    def formula(self, x: Expr) -> Expr:
        return select(x > self.alpha, x, 0.0)


class Sigmoid(Unary):
    """ONNX Sigmoid: 1 / (1 + e^-x)."""
    kinds = FLOAT

    def exact(self, x: np.ndarray) -> np.ndarray:
        return 1.0 / (1.0 + np.exp(-x))

    def formula(self, x: Expr) -> Expr:
        return logistic(x)


class HardSigmoid(Unary):
    """ONNX HardSigmoid: max(0, min(1, alpha * x + beta))."""
    alpha: float = 0.20000000298023224
    beta: float = 0.5
    kinds = FLOAT

    def exact(self, x: np.ndarray) -> np.ndarray:
        return np.clip(self.alpha * x + self.beta, 0.0, 1.0)

    def formula(self, x: Expr) -> Expr:
        return maximum(minimum(x * self.alpha + self.beta, 1.0), 0.0)


class HardSwish(Unary):
    """ONNX HardSwish: x * max(0, min(1, x/6 + 1/2))."""
    kinds = FLOAT

    def exact(self, x: np.ndarray) -> np.ndarray:
        return x * np.clip(x / 6.0 + 0.5, 0.0, 1.0)

    def formula(self, x: Expr) -> Expr:
        return x * maximum(minimum(x * (1.0 / 6.0) + 0.5, 1.0), 0.0)


class Mish(Unary):
    """ONNX Mish: x * tanh(log(1 + e^x)) (D. Misra, arXiv:1908.08681)."""
    kinds = FLOAT

    def exact(self, x: np.ndarray) -> np.ndarray:
        return x * np.tanh(np.logaddexp(0.0, x))

    def formula(self, x: Expr) -> Expr:
        n = unary("exp", minimum(x, 20.0))  # tanh(log(1 + n)) = n(n+2) / (n(n+2) + 2), and 1 to the last bit above 20
        numerator = n * (n + 2.0)
        return x * (numerator / (numerator + 2.0))


class Softplus(Unary):
    """ONNX Softplus: log(1 + e^x)."""
    kinds = FLOAT

    def exact(self, x: np.ndarray) -> np.ndarray:
        return np.logaddexp(0.0, x)

    def formula(self, x: Expr) -> Expr:
        return maximum(x, 0.0) + log_one_plus(unary("exp", -unary("abs", x)))


class Softsign(Unary):
    """ONNX Softsign: x / (1 + |x|)."""
    kinds = FLOAT

    def exact(self, x: np.ndarray) -> np.ndarray:
        return x / (1.0 + np.abs(x))

    def formula(self, x: Expr) -> Expr:
        return x / (unary("abs", x) + 1.0)


class Gelu(Unary):
    """ONNX Gelu: x * P(X <= x) for a standard normal X, or its tanh approximation (D. Hendrycks, K. Gimpel, arXiv:1606.08415)."""
    approximate: str = "none"
    kinds = FLOAT

    def infer(self) -> TensorType:
        self.require(self.approximate in ("none", "tanh"), f"approximate '{self.approximate}' is neither none nor tanh")
        return super().infer()

    @property
    def off(self) -> float:
        """How far the formula may lie from the exact value, as a part of |x|; 0 where only roundings of the result count."""
        return 0.0 if self.approximate == "tanh" or self.x.dtype is f64 else ERROR

    def exact(self, x: np.ndarray) -> np.ndarray:
        if self.approximate == "tanh":
            return 0.5 * x * (1.0 + np.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * x ** 3)))
        return 0.5 * x * complementary_error_function(-x / math.sqrt(2.0))

    def formula(self, x: Expr) -> Expr:
        if self.approximate == "tanh":
            inner = x * (x * x * (0.044715 * math.sqrt(2.0 / math.pi)) + math.sqrt(2.0 / math.pi))
            if x.dtype is f32:  # (1 + tanh(u)) / 2 is the logistic function of 2u
                return x / (unary("exp", inner * -2.0) + 1.0)
            return x * 0.5 * (unary("tanh", inner) + 1.0)
        if x.dtype is f32:
            return normal_gelu(x)
        return x * 0.5 * (unary("erf", x * math.sqrt(0.5)) + 1.0)


class Swish(Unary):
    """ONNX Swish: x / (1 + e^(-alpha x)), SiLU for alpha 1."""
    alpha: float = 1.0
    kinds = FLOAT

    def exact(self, x: np.ndarray) -> np.ndarray:
        return x / (1.0 + np.exp(-self.alpha * x))

    def formula(self, x: Expr) -> Expr:
        return x * logistic(x if self.alpha == 1.0 else x * self.alpha)


class Shrink(Unary):
    """ONNX Shrink: x + bias below -lambd, x - bias above lambd, else 0; of integers in f32, as in onnxruntime."""
    bias: float = 0.0
    lambd: float = 0.5

    def reference(self, x: np.ndarray) -> np.ndarray:
        wide = x.astype(np.float64 if x.dtype.kind == "f" or x.dtype.itemsize < 4 else np.float32)
        return np.where(wide < -self.lambd, wide + self.bias, np.where(wide > self.lambd, wide - self.bias, 0)).astype(x.dtype)

    def formula(self, x: Expr) -> Expr:
        wide = x if x.dtype.is_float else cast(x, f32)
        return cast(select(wide < -self.lambd, wide + self.bias, select(wide > self.lambd, wide - self.bias, 0.0)), x.dtype)
