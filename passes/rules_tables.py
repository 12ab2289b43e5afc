"""Rules of integers: functions of one tensor of bytes whose result is bytes again become tables.

A table holds what the oracle computes for each of the 256 bytes, so it is exact on every target, whatever its exp or erf; it replaces
chains that hold such a function or a division. What is cheap (a Relu, another scale) stays arithmetic.

    quantizelinear(x * sigmoid(x))  ->  lookup(b, table)        with x = dequantizelinear(b)

Where the model rounds in between, as in a sigmoid that is quantized before it multiplies x, the integer product of a byte and its own table
is one table, too.
"""

from __future__ import annotations

import numpy as np

from edgec.graph import Op, Value, constant, run_reference
from edgec.ops import activation, arithmetic, transcendental
from edgec.ops.elementwise import Pointwise
from edgec.ops.lookup import Lookup
from edgec.ops.quantization import DequantizeLinear, QuantizeLinear
from edgec.ops.quantized import BYTES
from edgec.ops.quantized_arithmetic import QLinearAdd, QLinearMul
from edgec.passes.known_functions import chain_results
from edgec.rewrite import rule
from edgec.scaled_values import quantizing, scaled
from edgec.types import f32

COSTLY = tuple(c for module in (activation, transcendental) for c in vars(module).values()
               if isinstance(c, type) and issubclass(c, Op) and c.__module__ == module.__name__
               and c not in (activation.Relu, activation.LeakyRelu, activation.PRelu, activation.ThresholdedRelu, activation.Shrink)) \
    + (arithmetic.Div, arithmetic.Pow, arithmetic.Sqrt, arithmetic.Reciprocal)
MAX_OPERATORS = 32  # of a chain


@rule
def function_of_bytes(op: QuantizeLinear):
    """quantizelinear(f(dequantizelinear(x)))  ->  lookup(x, table), where f is elementwise and costly"""
    wanted = quantizing(op)
    chain = _chain(op) if wanted is not None and wanted.axis is None and wanted.dtype in BYTES else None
    if chain is None or not any(isinstance(each, COSTLY) for each in chain):
        return None
    x = next(each.x for each in chain if isinstance(each, DequantizeLinear))
    table = _table(chain, x)
    return None if table is None or x.shape != op.output.shape else Lookup(x, constant(table, "table")).output


def _chain(root: QuantizeLinear) -> list[Op] | None:
    """The elementwise operators from one tensor of bytes to the root, operands first; None where there is more to it."""
    order: dict[Op, None] = {}
    work: list[tuple[Op, bool]] = [(root, False)]
    while work:
        op, done = work.pop()
        if done:
            order[op] = None
        elif op not in order:
            inner = _operands(op, root)
            if inner is None or len(order) + len(work) > MAX_OPERATORS:
                return None
            work += [(op, True), *((v.op, False) for v in inner)]
    return list(order) if len({op.x for op in order if isinstance(op, DequantizeLinear)}) == 1 else None


def _operands(op: Op, root: QuantizeLinear) -> list[Value] | None:
    """The operands of a link of the chain that others compute, none at its beginning; None for what can be no link."""
    if isinstance(op, DequantizeLinear):
        given = scaled(op.output)
        return [] if given is not None and given.axis is None and given.dtype in BYTES and _known(op.operands[1:]) else None
    if op is root:
        return [op.x] if _known(op.operands[1:]) else None
    computed = [v for v in op.operands if not (v.is_constant and v.array.size == 1)]
    fits = isinstance(op, Pointwise) and op.output.dtype is f32 and all(v.shape == root.output.shape for v in computed)
    return computed if fits else None


def _known(values: tuple[Value, ...]) -> bool:
    return all(v.is_constant for v in values)


def _table(chain: list[Op], x: Value) -> np.ndarray | None:
    """The results of a chain for every byte; None where an operator does not take a vector."""
    return chain_results(chain, x, np.arange(x.dtype.low, x.dtype.high + 1).astype(x.dtype.numpy))


@rule
def table_of_products(op: QLinearMul | QLinearAdd):
    """qlinearmul(x, lookup(x, table))  ->  lookup(x, table'), where both operands are x or functions of it"""
    if not any(isinstance(v.op, Lookup) for v in (op.a, op.b)) or not _known(tuple(v for v in op.operands if v not in (op.a, op.b))):
        return None
    bases = {v.op.x if isinstance(v.op, Lookup) else v for v in (op.a, op.b)}
    x = bases.pop()
    if bases or x.is_constant or x.dtype not in BYTES or x.shape != op.output.shape:
        return None
    every = np.arange(x.dtype.low, x.dtype.high + 1).astype(x.dtype.numpy)
    given = {v: v.op.table.array if isinstance(v.op, Lookup) else every for v in (op.a, op.b)}
    table = run_reference(op, [given[v] if v in given else v.array for v in op.operands])[0]
    return Lookup(x, constant(np.asarray(table), "table")).output


@rule
def table_of_table(op: Lookup):
    """lookup(lookup(x, first), second)  ->  lookup(x, both)"""
    inner = op.x.op
    if not isinstance(inner, Lookup):
        return None
    places = inner.table.array.astype(np.int32) - op.x.dtype.low
    return Lookup(inner.x, constant(op.table.array[places], "table")).output


RULES = (function_of_bytes, table_of_products, table_of_table)
