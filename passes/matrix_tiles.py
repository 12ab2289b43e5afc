"""Register tiles of sums that an instruction adds up for several rows and columns at once: what they take. Asked by `schedule` and `dots`.

A row of a target `acc:i32[2,2] += matmul(a:i8[2,8], b:i8[2,8])` takes words of 64 bits, of two rows of the tile and of two columns. The two
rows' words are brought together from two loads; the columns' words lie packed in the order of their use.

    4 rows, 4 vectors of 4 columns: 16 sums of 2 x 2 + 4 vectors of rows + columns = 23 registers; 16 products of 32, 8 loads of columns
"""

from __future__ import annotations

from typing import Any

from edgec.backends.instruction import Dot
from edgec.backends.llvm_dots import matrix_row
from edgec.kernel import Axis
from edgec.passes.nest import Nest
from edgec.sweeps import walk

BETWEEN = 3     # registers for columns on their way


def matrix_of(nest: Nest, target: Any) -> Dot | None:
    """The row that adds up the products of a nest as matrices; None where there is none."""
    dots = (n for d in nest.domains.values() for b in d.body for n in walk(b) if n.op == "dot")
    return next((found for n in dots if (found := matrix_row(target, n))), None)


def is_column(nest: Nest, axis: Axis) -> bool:
    """Whether neighbours along an axis may be columns of all the matrices that a nest multiplies; words of 64 bits are theirs."""
    dots = (b for d in nest.domains.values() if d.word_bits > 32 for b in d.body)
    return all(axis.var in b.args[2].free and axis.var not in b.args[1].free for b in dots)


def registers(rows: int, vectors: int, matrix: Dot, target: Any) -> int:
    """Vector registers of a tile: its sums, and what of its rows two steps read."""
    groups = -(-rows // matrix.rows)
    return groups * vectors * (target.lanes(32) // matrix.lanes) + groups * matrix.rows + BETWEEN


def cycles(rows: int, vectors: int, matrix: Dot, target: Any) -> float:
    """Cycles of one step of the reduction: bringing a word of rows together takes as long as a product, and so do half of the loads."""
    groups, columns = -(-rows // matrix.rows), vectors * (target.lanes(32) // matrix.lanes)
    brought = groups * matrix.rows / 2
    latency = target.fma_latency * 0.5 if groups * columns < target.fma_latency * target.fma_per_cycle else 0.0
    return max((groups * columns + brought + (columns + brought) / 2) / target.fma_per_cycle, latency) + 0.5
