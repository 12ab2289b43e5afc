"""Rules of simplify: operations that change nothing.

    x + 0  ->  x
"""

from __future__ import annotations

import numpy as np

from edgec.graph import Value
from edgec.ops.arithmetic import Add, Div, Max, Mean, Min, Mul, Neg, Pow, Sub, Sum
from edgec.ops.comparison import Dropout, Identity, Not
from edgec.rewrite import Context, rule


def filled_with(value: Value, number: float) -> bool:
    """Whether every element of a constant is this number."""
    return value.is_constant and bool(np.all(value.array == number))


@rule
def identity(op: Identity):
    """identity(x)  ->  x"""
    return op.x


@rule
def dropout(op: Dropout, context: Context):
    """dropout(x)  ->  x, where nobody reads the mask"""
    return None if context.uses(op.results[1]) else (op.x, op.results[1])


@rule
def add_zero(op: Add):
    """x + 0, 0 + x  ->  x"""
    if op.a.type == op.output.type and filled_with(op.b, 0):
        return op.a
    return op.b if op.b.type == op.output.type and filled_with(op.a, 0) else None


@rule
def subtract_zero(op: Sub):
    """x - 0  ->  x"""
    return op.a if op.a.type == op.output.type and filled_with(op.b, 0) else None


@rule
def multiply_by_one(op: Mul):
    """x * 1, 1 * x  ->  x"""
    if op.a.type == op.output.type and filled_with(op.b, 1):
        return op.a
    return op.b if op.b.type == op.output.type and filled_with(op.a, 1) else None


@rule
def divide_by_one(op: Div):
    """x / 1  ->  x"""
    return op.a if op.a.type == op.output.type and filled_with(op.b, 1) else None


@rule
def power(op: Pow):
    """pow(x, 1), pow(x, 2)  ->  x, x * x"""
    if op.x.type != op.output.type:
        return None
    if filled_with(op.y, 1):
        return op.x
    return Mul(op.x, op.x).output if filled_with(op.y, 2) else None


@rule
def double_negation(op: Neg | Not):
    """-(-x), not(not(x))  ->  x"""
    inner = op.x.op
    return inner.x if type(inner) is type(op) else None


@rule
def single_operand(op: Max | Min | Sum | Mean):
    """max(x), min(x), sum(x), mean(x)  ->  x"""
    return op.inputs[0] if len(op.inputs) == 1 else None


RULES = (identity, dropout, add_zero, subtract_zero, multiply_by_one, divide_by_one, power, double_negation, single_operand)
