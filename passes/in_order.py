"""Register tiles of cores that run code in its order: what their loads cost, the registers these take, how long a round of a loop is.

Such a core lets no load finish before the sums that stand before it, so a load waits for them; one that fills several vectors in turn (a
dealt one) has a longer latency of its own and waits least. The figures are those of LLVM's model of the Cortex-A53, in multiply-adds.

    dealt_together(6, most=4)   # 3: six vectors of a tile come by two loads of three
"""

from __future__ import annotations

from typing import Any

from edgec.expr import walk
from edgec.linear import coefficient
from edgec.passes.nest import Nest

LONG_ROUNDS = (32, 48, 24, 40, 16, 8)  # reduction steps in one round of a loop
SHORT = 12                             # steps of an axis that is written out
APART = 10                             # multiply-adds between two dealt loads, below which the second waits
UNDER_WAY = 2                          # dealt loads whose vectors are in registers at a time


def dealt_together(vectors: int, most: int) -> int:
    """How many vectors of a tile one load fills in turn, of `most` that it may: a divisor of their number, or 0."""
    return next((n for n in range(most, 1, -1) if vectors % n == 0), 0)


def deals(nest: Nest, target: Any) -> bool:
    """Whether the constants of the reductions are such that dealt loads may fetch them: elements of 32 bits."""
    loads = [n for d in nest.domains.values() for b in d.body for n in walk(b) if n.op == "load" and n.data[0].constant]
    return target.dealt_vectors > 1 and bool(loads) and all(n.dtype.bits == 32 for n in loads)


def dealt_registers(r: int, v: int, dealt: int, nest: Nest) -> int:
    """Registers of a tile of r rows whose v vectors come `dealt` at a time: sums, dealt loads, and what the rows read.

    That is two vectors of k for each row where scalars are their lanes, else the scalars under windows that move on by two elements.
    """
    return r * v + UNDER_WAY * dealt + 2 * r + max(0, _window(nest) - 3)


def _window(nest: Nest) -> int:
    """Steps of the short reduction axis along which rows read neighbours; 0 where they have them along a long one."""
    steps = [SHORT + 1 if extent.op != "const" else extent.data for d in nest.domains.values() for b in d.body for n in walk(b)
             if n.op == "load" and not n.data[0].constant
             for axis, extent in zip(d.axes, d.extents) if coefficient(n.args[0], axis) == 1]
    return 0 if any(n > SHORT for n in steps) else max(steps, default=0)


def step_cycles(r: int, v: int, most: int, target: Any) -> float:
    """Cycles of a reduction step of a tile: loads that deal to `most` vectors take few slots, others one each, a group some more."""
    dealt = dealt_together(v, most)
    apart = 0.7 * max(0, APART - r * dealt)
    loads = v / dealt * ((1.5 if dealt == most else 2.5) + apart) if dealt else v + 1.0
    return max(r * v / target.fma_per_cycle, 2.0 * target.fma_latency) + loads + r / 4 + 1.0


def round_length(nest: Nest) -> int:
    """Steps of one round: what a loop's end costs is shared by as many as divide the sum, but a single round would be no loop."""
    longest = max((e.data for d in nest.domains.values() for e in d.extents if e.op == "const"), default=0)
    return next((n for n in LONG_ROUNDS if longest >= 2 * n and longest % n == 0), LONG_ROUNDS[-1])
