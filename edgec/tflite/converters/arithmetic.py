"""Elementwise operators of TFLite on real numbers, and on integers and truth values that stand for nothing else."""

from __future__ import annotations

from collections.abc import Callable

from edgec.errors import Unsupported
from edgec.graph import Op, Value
from edgec.onnx.tensor import CODE_OF_DTYPE
from edgec.ops.arithmetic import Abs, Add, Div, Max, Min, Mod, Mul, Neg, Pow, Reciprocal, Sign, Sqrt, Sub
from edgec.ops.cast import Cast
from edgec.ops.comparison import And, BitwiseXor, Equal, Greater, GreaterOrEqual, Less, LessOrEqual, Not, Or, Where
from edgec.ops.rounding import Ceil, Floor, Round
from edgec.ops.transcendental import Cos, Exp, Log, Sin
from edgec.tflite.converters.activations import activated
from edgec.tflite.node import Node, literal


def _fused(op: type[Op]) -> Callable[[Node], Value]:
    """A binary operator that ends with an activation."""
    return lambda node: activated(node, node.emit(op, node.operand(0), node.operand(1)))


def _unary(*ops: type[Op]) -> Callable[[Node], Value]:
    """Operators one after the other."""
    def convert(node: Node) -> Value:
        value = node.operand(0)
        for op in ops:
            value = node.emit(op, value)
        return value
    return convert


def _binary(*ops: type[Op]) -> Callable[[Node], Value]:
    """A binary operator, and unary ones on its result."""
    def convert(node: Node) -> Value:
        value = node.emit(ops[0], node.operand(0), node.operand(1))
        for op in ops[1:]:
            value = node.emit(op, value)
        return value
    return convert


def _extreme(op: type[Op]) -> Callable[[Node], Value]:
    return lambda node: node.emit(op, (node.operand(0), node.operand(1)))


def squared_difference(node: Node) -> Value:
    difference = node.emit(Sub, node.operand(0), node.operand(1))
    return node.emit(Mul, difference, difference)


def square(node: Node) -> Value:
    return node.emit(Mul, node.operand(0), node.operand(0))


def floor_div(node: Node) -> Value:
    """The quotient rounded down; of integers one less than C's where a remainder is left and the signs differ."""
    a, b = node.operand(0), node.operand(1)
    if a.dtype.is_float:
        return node.emit(Floor, node.emit(Div, a, b))
    zero, one, quotient = literal(0, a.dtype), literal(1, a.dtype), node.emit(Div, a, b)
    whole = node.emit(Equal, node.emit(Sub, a, node.emit(Mul, quotient, b)), zero)
    signs = node.emit(Equal, node.emit(Less, a, zero), node.emit(Less, b, zero))
    return node.emit(Where, node.emit(Or, whole, signs), quotient, node.emit(Sub, quotient, one))


def floor_mod(node: Node) -> Value:
    """The remainder with the sign of the divisor."""
    a, b = node.operand(0), node.operand(1)
    if not a.dtype.is_float:
        return node.emit(Mod, a, b)
    return node.emit(Sub, a, node.emit(Mul, node.emit(Floor, node.emit(Div, a, b)), b))


def add_n(node: Node) -> Value:
    total = node.operand(0)
    for n in range(1, len(node.values)):
        total = node.emit(Add, total, node.operand(n))
    return total


def cast(node: Node) -> Value:
    """CAST to the type of the result."""
    return node.emit(Cast, node.operand(0), to=CODE_OF_DTYPE[node.result.dtype])


def requantize(node: Node) -> Value:
    """QUANTIZE and DEQUANTIZE: the change of view does all there is to do; narrower floats are widened."""
    value = node.operand(0)
    return cast(node) if value.dtype.is_float and node.result.dtype.is_float and value.dtype is not node.result.dtype else value


def select(node: Node) -> Value:
    """SELECT and SELECT_V2: the second operand where the condition holds, else the third."""
    condition = node.given(0)
    if node.record.name == "SELECT" and condition.type.rank == 1 and node.given(1).type.rank > 1:
        raise Unsupported("SELECT by whole rows", loc=node.loc, hint="SELECT_V2 chooses by elements")
    return node.emit(Where, condition, node.operand(1), node.operand(2))


REAL = {
    "ADD": _fused(Add),
    "SUB": _fused(Sub),
    "MUL": _fused(Mul),
    "DIV": _fused(Div),
    "ADD_N": add_n,
    "MAXIMUM": _extreme(Max),
    "MINIMUM": _extreme(Min),
    "POW": _binary(Pow),
    "SQUARED_DIFFERENCE": squared_difference,
    "FLOOR_DIV": floor_div,
    "FLOOR_MOD": floor_mod,
    "ABS": _unary(Abs),
    "NEG": _unary(Neg),
    "EXP": _unary(Exp),
    "LOG": _unary(Log),
    "SQRT": _unary(Sqrt),
    "RSQRT": _unary(Sqrt, Reciprocal),
    "SQUARE": square,
    "SIN": _unary(Sin),
    "COS": _unary(Cos),
    "FLOOR": _unary(Floor),
    "CEIL": _unary(Ceil),
    "ROUND": _unary(Round),
    "SIGN": _unary(Sign),
    "CAST": cast,
    "QUANTIZE": requantize,
    "DEQUANTIZE": requantize,
    "SELECT": select,
    "SELECT_V2": select,
    "EQUAL": _binary(Equal),
    "NOT_EQUAL": _binary(Equal, Not),
    "LESS": _binary(Less),
    "LESS_EQUAL": _binary(LessOrEqual),
    "GREATER": _binary(Greater),
    "GREATER_EQUAL": _binary(GreaterOrEqual),
    "LOGICAL_AND": _binary(And),
    "LOGICAL_OR": _binary(Or),
    "LOGICAL_NOT": _unary(Not),
    "BITWISE_XOR": _binary(BitwiseXor),
}
