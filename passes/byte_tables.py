"""What a kernel makes of one byte and nothing else becomes a table of 256 bytes, where vectors choose bytes from tables.

A tensor of bytes that gets another scale (before a concatenation, say) goes through floats otherwise, a quarter of a vector at a time. The
table is computed by the interpreter, from operations that are exact on every machine.

    y[i] = cast<u8>(round((f32(i32(x[i]) - 115) * 0.031) / 0.032) + 120.0)   ->   y[i] = table[index(x[i])]
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from edgec.backends.llvm_tables import picking_row
from edgec.evaluate import evaluate
from edgec.expr import Expr, binary, bitcast, cast, const, fresh, read
from edgec.kernel import Buffer, Program, Stage
from edgec.sweeps import transform, walk
from edgec.types import i8, i32, index, u8

BYTES = (i8, u8)
EXACT = frozenset({"const", "cast", "add", "sub", "mul", "div", "min", "max", "round", "select", "eq", "ne", "lt", "le"})
VALUES = 256
LEAST = 6  # operations that a table is faster than


def byte_tables(program: Program, target: Any) -> Program:
    """The program with functions of one byte as tables, for a target that has an instruction that picks from them."""
    if picking_row(target) is None:
        return program
    return program.with_steps(replace(k, stages=tuple(map(_stage, k.stages))) for k in program.steps)


def _stage(stage: Stage) -> Stage:
    byte = None if stage.combine else _only_byte(stage.value)
    if byte is None:
        return replace(stage, value=transform((stage.value,), _picked)[0])
    number = fresh("b", byte.dtype.low, byte.dtype.high)
    every = np.arange(byte.dtype.low, byte.dtype.high + 1)
    value = transform((stage.value,), lambda n: cast(number, byte.dtype) if n is byte else None)[0]
    values = np.ascontiguousarray(evaluate(value, {number: every}, None))
    table = Buffer("table", stage.value.dtype, values.shape, "constant", data=values)
    return replace(stage, value=read(table, (_place(byte),)))


def _picked(n: Expr) -> Expr | None:
    """A table's element at the place of a byte that never was wider, so that a whole vector of bytes is picked at once."""
    if n.op != "read" or n.data.kind != "constant" or n.data.shape != (VALUES,) or n.dtype.bits != 8 or n.args[0].op != "cast":
        return None
    wide = n.args[0].args[0]
    for dtype in BYTES:
        byte = next((m for m in walk(wide) if m.dtype is dtype and cast(m, i32) - dtype.low is wide), None)
        if byte is not None and byte.op == "read":
            return read(n.data, (_place(byte),))
    return None


def _place(byte: Expr) -> Expr:
    """Where a byte stands in a table that begins with the least one."""
    return cast(byte if byte.dtype is u8 else binary("xor", bitcast(byte, u8), const(VALUES // 2, u8)), index)


def _only_byte(value: Expr) -> Expr | None:
    """The byte that decides a byte by exact operations, if there are enough of them to be worth a table; None otherwise."""
    if value.dtype not in BYTES:
        return None
    within = _above_reads(value)
    reads = [n for n in within if n.op == "read"]
    others = [n for n in within if n.op != "read" and n.op != "const"]
    if len(reads) != 1 or reads[0].data.root.kind == "constant" or reads[0].dtype not in BYTES or len(others) < LEAST:
        return None
    return reads[0] if all(n.op in EXACT for n in others) else None


def _above_reads(value: Expr) -> list[Expr]:
    """The nodes of an expression down to its reads, not those of their places."""
    found: dict[Expr, None] = {}
    stack = [value]
    while stack:
        node = stack.pop()
        if node not in found:
            found[node] = None
            stack += () if node.op == "read" else node.args
    return list(found)
