"""Register tiles of dot products of scalars, or of several instructions: what they take beside sums and operands.

Every word is loaded and taken apart, `calls` registers each, before the products of a tile use them; all of it is issued one by one, so the
time of a step is its instructions. Asked by `schedule`.

    rows 2, columns 2, two smlad a word:  4 sums + 2 * 2 columns + 2 of one row + addresses = 13 registers;  20 instructions, 16 products
"""

from __future__ import annotations

from typing import Any

from edgec.backends.llvm_dots import dot_row
from edgec.passes.nest import Nest
from edgec.sweeps import walk

ADDRESSES = 3   # of either operand and the end of the loop
BETWEEN = 6     # vectors that the instructions of a few dot products hand on to each other


def calls_of(nest: Nest, target: Any) -> int:
    """How many instructions a dot product of scalars takes in this nest; 0 without one."""
    found = [dot_row(target, n) for d in nest.domains.values() for b in d.body for n in walk(b) if n.op == "dot"]
    return max((row.calls for row in found if row is not None and row.lanes == 1), default=0)


def between(nest: Nest, target: Any) -> int:
    """Vector registers for what lies between the instructions of a dot product that is several; 0 where it is one."""
    found = [dot_row(target, n) for d in nest.domains.values() for b in d.body for n in walk(b) if n.op == "dot"]
    return BETWEEN if any(row is not None and row.lanes > 1 and ";" in row.row.llvm for row in found) else 0


def registers(rows: int, columns: int, calls: int) -> int:
    """General registers of a tile; a single instruction takes its words as they are loaded."""
    return rows * columns + calls * (columns + 1) + ADDRESSES


def instructions(rows: int, columns: int, calls: int) -> float:
    """Instructions of one step of the reduction."""
    taken_apart = calls if calls > 1 else 0
    return calls * rows * columns + (1 + taken_apart) * (rows + columns) + 1.0
