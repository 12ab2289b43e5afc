"""The activation functions that LSTM, GRU and RNN name in their attributes, each said twice: in numpy and as graph operators.

A name may come with numbers of the lists activation_alpha and activation_beta: each function that has an alpha (beta) takes the next entry
of its list, functions without one take none (which is how onnxruntime reads them); past the end, the default of the ONNX operator holds.

    f, g = cell_activations(op, ("HardSigmoid", "Tanh"), (0.25,), ());  f.alpha      # 0.25;  f.exact(x), g.build(emit, x)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgec.graph import Op, Value, constant
from edgec.ops.activation import Elu, HardSigmoid, LeakyRelu, Relu, Sigmoid, Softplus, Softsign, ThresholdedRelu
from edgec.ops.arithmetic import Add, Mul
from edgec.ops.transcendental import Tanh

Emit = Callable[..., Value]  # emit(operator class, *operands, **attributes)


@dataclass(frozen=True)
class Function:
    """A function of x, alpha and beta; a default is None where there is none, and UNUSED for a number the function does not have."""

    exact: Callable[[np.ndarray, float, float], np.ndarray]
    build: Callable[[Emit, Value, float, float], Value]
    alpha: Any = "unused"
    beta: Any = "unused"


@dataclass(frozen=True)
class Activation:
    """A function with its numbers."""

    function: Function
    alpha: float
    beta: float

    def exact(self, x: np.ndarray) -> np.ndarray:
        """The function in float64."""
        return self.function.exact(x, self.alpha, self.beta)

    def build(self, emit: Emit, x: Value) -> Value:
        """The function as operators."""
        return self.function.build(emit, x, self.alpha, self.beta)


def cell_activations(op: Op, names: Sequence[str], alphas: Sequence[float], betas: Sequence[float]) -> tuple[Activation, ...]:
    """The named functions (in any case) with their numbers; a TypeMismatch of `op` for an unknown name or a number that is missing."""
    alphas, betas, found = iter(alphas), iter(betas), []
    for name in names:
        function = FUNCTIONS.get(name.lower())
        op.require(function is not None, f"activation '{name}' is not known", hint=f"ONNX has {', '.join(sorted(FUNCTIONS))}")
        alpha, beta = _number(function.alpha, alphas), _number(function.beta, betas)
        op.require(alpha is not None and beta is not None, f"activation {name} needs an entry in activation_alpha and activation_beta")
        found.append(Activation(function, alpha, beta))
    return tuple(found)


def _number(default: Any, given: Any) -> Any:
    return 0.0 if default == "unused" else next(given, default)


def affine(emit: Emit, x: Value, alpha: float, beta: float) -> Value:
    """alpha * x + beta."""
    return emit(Add, scaled(emit, x, alpha), literal(beta, x))


def scaled(emit: Emit, x: Value, factor: float) -> Value:
    return x if factor == 1.0 else emit(Mul, x, literal(factor, x))


def literal(number: float, like: Value) -> Value:
    """A scalar constant of the element type of another value."""
    return constant(np.array(number, like.dtype.numpy))


FUNCTIONS: dict[str, Function] = {
    "affine": Function(lambda x, a, b: a * x + b, affine, None, None),
    "elu": Function(lambda x, a, b: np.where(x < 0, a * np.expm1(np.minimum(x, 0)), x), lambda emit, x, a, b: emit(Elu, x, alpha=a),
                    Elu.alpha),
    "hardsigmoid": Function(lambda x, a, b: np.minimum(np.maximum(a * x + b, 0), 1),
                            lambda emit, x, a, b: emit(HardSigmoid, x, alpha=a, beta=b), HardSigmoid.alpha, HardSigmoid.beta),
    "leakyrelu": Function(lambda x, a, b: np.where(x < 0, a * x, x), lambda emit, x, a, b: emit(LeakyRelu, x, alpha=a), LeakyRelu.alpha),
    "relu": Function(lambda x, a, b: np.maximum(x, 0), lambda emit, x, a, b: emit(Relu, x)),
    "scaledtanh": Function(lambda x, a, b: a * np.tanh(b * x),
                           lambda emit, x, a, b: scaled(emit, emit(Tanh, scaled(emit, x, b)), a), None, None),
    "sigmoid": Function(lambda x, a, b: 1 / (1 + np.exp(-x)), lambda emit, x, a, b: emit(Sigmoid, x)),
    "softplus": Function(lambda x, a, b: np.logaddexp(0, x), lambda emit, x, a, b: emit(Softplus, x)),
    "softsign": Function(lambda x, a, b: x / (1 + np.abs(x)), lambda emit, x, a, b: emit(Softsign, x)),
    "tanh": Function(lambda x, a, b: np.tanh(x), lambda emit, x, a, b: emit(Tanh, x)),
    "thresholdedrelu": Function(lambda x, a, b: np.where(x > a, x, 0), lambda emit, x, a, b: emit(ThresholdedRelu, x, alpha=a),
                                ThresholdedRelu.alpha),
}
