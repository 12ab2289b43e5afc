"""Weights from a small table of values (a codebook) are chosen by the bits of their index, in all lanes of a vector at once.

A read at an index that is itself read has no neighbours: vectors would be put together element by element. From up to 16 values a tree
of choices takes one operation a value for a whole vector of eight or more. Machines of shorter vectors read the table.

    book[index[k, o]], 4 values   ->   index & 2 ? (index & 1 ? c3 : c2) : (index & 1 ? c1 : c0)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from edgec.expr import Expr, cast, compare, const, select
from edgec.kernel import Program, Stage
from edgec.sweeps import transform, walk
from edgec.types import i32, index

MOST = 16        # values; a tree of more is dearer than what it replaces
LEAST_LANES = 8  # of a vector, or its elements are as soon read one by one


def codebooks(program: Program, target: Any) -> Program:
    """The program with choices in place of reads of small tables at constant indices, where vectors are long."""
    if target.lanes(32) < LEAST_LANES:
        return program
    return program.with_steps(replace(k, stages=tuple(map(_stage, k.stages))) for k in program.steps)


def _stage(stage: Stage) -> Stage:
    if not any(_is_codebook(n) for n in walk(stage.value)):
        return stage
    return replace(stage, value=transform((stage.value,), lambda n: _choice(n) if _is_codebook(n) else None)[0])


def _is_codebook(n: Expr) -> bool:
    """Whether a node reads a small constant vector at an index that is a constant of whole numbers."""
    if n.op != "read" or len(n.args) != 1 or n.data.kind != "constant" or not n.dtype.is_float or n.data.max_size > MOST:
        return False
    at = n.args[0]
    return at.op == "cast" and at.dtype is index and _is_constant(at.args[0])


def _is_constant(e: Expr) -> bool:
    while e.op == "cast":
        e = e.args[0]
    return e.op == "read" and e.data.kind == "constant"


def _choice(n: Expr) -> Expr:
    position = cast(n.args[0].args[0], i32)
    values = [const(value, n.dtype) for value in n.data.data.ravel().tolist()]
    return _tree(position, values + values[-1:] * (-len(values) % (1 << (len(values) - 1).bit_length())), 0)


def _tree(position: Expr, values: Sequence[Expr], bit: int) -> Expr:
    """The value at a position: pairs that differ in its lowest bit are decided first, since all lanes share the test."""
    if len(values) == 1:
        return values[0]
    odd = compare("ne", position & const(1 << bit, i32), const(0, i32))
    return _tree(position, [select(odd, high, low) for low, high in zip(values[::2], values[1::2])], bit + 1)
