"""Activations of TFLite: those fused into other operators, and operators of their own. Formulas: tflite/kernels/activations.cc."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from edgec.errors import Unsupported
from edgec.graph import Op, Value, constant
from edgec.ops.activation import Elu, Gelu, HardSwish, LeakyRelu, PRelu, Relu, Sigmoid
from edgec.ops.arithmetic import Clip, Mul
from edgec.ops.softmax import LogSoftmax, Softmax
from edgec.ops.transcendental import Tanh
from edgec.tflite.node import Node, literal

FUSED = ("none", "relu", "relu_n1_to_1", "relu6", "tanh", "sign_bit")  # by their number in the schema
RANGES = {"none": (-math.inf, math.inf), "relu": (0.0, math.inf), "relu_n1_to_1": (-1.0, 1.0), "relu6": (0.0, 6.0)}


def fused_activation(node: Node) -> str:
    """The name of the activation that an operator ends with."""
    number = node.option("fused_activation_function", 0)
    name = FUSED[number] if 0 <= number < len(FUSED) else str(number)
    if name not in RANGES:
        raise Unsupported(f"the fused activation {name}", loc=node.loc, hint="a TANH operator of its own is supported")
    return name


def activated(node: Node, value: Value) -> Value:
    """A real result after the activation that is fused into the operator."""
    return limited(node, value, *RANGES[fused_activation(node)])


def limited(node: Node, value: Value, low: float, high: float) -> Value:
    """Real numbers held within a range."""
    if (low, high) == (0.0, math.inf):
        return node.emit(Relu, value)
    if math.isinf(low) and math.isinf(high):
        return value
    return node.emit(Clip, value, literal(low, value.dtype), literal(high, value.dtype))


def _unary(op: type[Op], **attributes) -> Callable[[Node], Value]:
    return lambda node: node.emit(op, node.operand(0), **attributes)


def _limit(low: float, high: float) -> Callable[[Node], Value]:
    return lambda node: limited(node, node.operand(0), low, high)


def leaky_relu(node: Node) -> Value:
    return node.emit(LeakyRelu, node.operand(0), alpha=float(node.option("alpha", 0.0)))


def gelu(node: Node) -> Value:
    return node.emit(Gelu, node.operand(0), approximate="tanh" if node.option("approximate", False) else "none")


def softmax(node: Node) -> Value:
    """exp(beta x) over its sum along the last axis."""
    beta, x = node.option("beta", 1.0), node.operand(0)
    return node.emit(Softmax, x if beta == 1.0 else node.emit(Mul, x, constant(np.float32(beta))), axis=-1)


REAL = {
    "RELU": _limit(0.0, math.inf),
    "RELU_N1_TO_1": _limit(-1.0, 1.0),
    "RELU_0_TO_1": _limit(0.0, 1.0),
    "RELU6": _limit(0.0, 6.0),
    "LOGISTIC": _unary(Sigmoid),
    "TANH": _unary(Tanh),
    "ELU": _unary(Elu),
    "HARD_SWISH": _unary(HardSwish),
    "LEAKY_RELU": leaky_relu,
    "GELU": gelu,
    "PRELU": lambda node: node.emit(PRelu, node.operand(0), node.operand(1)),
    "SOFTMAX": softmax,
    "LOG_SOFTMAX": _unary(LogSoftmax, axis=-1),
}
