"""Register tiles of cores that run code in its order: what their loads cost, the registers these take, how long a round of a loop is.

Such a core lets no load finish before the sums that stand before it, so a load waits for them; one that fills several vectors in turn (a
dealt one) has a longer latency of its own and waits least. The figures are those of LLVM's model of the Cortex-A53, in multiply-adds.

    dealt_together(6, most=4)   # 3: six vectors of a tile come by two loads of three
"""

from __future__ import annotations

from typing import Any

from edgec.expr import Expr
from edgec.linear import coefficient
from edgec.passes.nest import Nest, in_groups
from edgec.sweeps import walk

LONG_ROUNDS = (32, 48, 24, 40, 28, 20, 16, 12, 8)  # reduction steps in one round of a loop
SHORT = 12                             # steps of an axis that is written out
APART = 10                             # multiply-adds between two dealt loads, below which the second waits
LANES = 4                              # of f32 in a vector
SLOTS = 4                              # loads whose vectors are in registers where rows come from blocks
BLOCKED_ROUNDS = (16, 12, 8)  # steps of a round there, each with an address of its own in a register
UNDER_WAY = 2                          # dealt loads whose vectors are in registers at a time


def dealt_together(vectors: int, most: int) -> int:
    """How many vectors of a tile one load fills in turn, of `most` that it may: a divisor of their number, or 0."""
    return next((n for n in range(most, 1, -1) if vectors % n == 0), 0)


def deals(nest: Nest, target: Any) -> bool:
    """Whether the constants of the reductions are such that dealt loads may fetch them: elements of 32 bits."""
    loads = [n for d in nest.domains.values() for b in d.body for n in walk(b) if n.op == "load" and n.data[0].constant]
    return target.dealt_vectors > 1 and bool(loads) and all(n.dtype.bits == 32 for n in loads)


def channel_block(target: Any) -> int:
    """How many channels of a point may lie together in a buffer in blocks; 1 for a target that has none."""
    return max(target.channel_blocks, default=1)


def deals_rows(target: Any) -> bool:
    """Whether loads deal elements of blocks out to as many rows of a tile as a vector has lanes, each where the code has it."""
    return target.in_order and target.dealt_vectors == target.lanes(32) == channel_block(target)


def in_blocks(nest: Nest, row: Any) -> bool:
    """Whether rows of a tile read buffers in blocks of channels: four steps of a sum side by side, and the next row's behind them."""
    return row is not None and any(coefficient(n.args[0], row.var) == LANES and in_groups([n], axis, LANES)
                                   for d in nest.domains.values() for b in d.body for n in walk(b) if n.op == "load" for axis in d.axes)


def blocked_registers(r: int, v: int) -> int:
    """Registers of a tile whose rows come from blocks: sums, and four dealt loads, of rows and of weights, each in use or under way."""
    return r * v + SLOTS * LANES


def blocked_cycles(r: int, v: int) -> float:
    """Cycles of a reduction step of such a tile: each load costs one and the addition of its address."""
    return max(r * v, APART) + 1.8 * (v / LANES + r / LANES ** 2)


def suits_blocks(r: int, v: int) -> bool:
    """Whether whole loads bring what a tile takes from blocks in few steps."""
    return r % LANES == 0 and v > 1 and LANES % v == 0


def dealt_registers(r: int, v: int, dealt: int, nest: Nest) -> int:
    """Registers of a tile of r rows whose v vectors come `dealt` at a time: sums, dealt loads, and what the rows read.

    That is two vectors of k for each row, or vectors of what the rows of a window read together where neighbours lie side by side.
    """
    if dealt == LANES and slides(r, nest):
        return blocked_registers(r, v)
    return r * v + UNDER_WAY * dealt + max((_read_by_rows(r, n, nest) for n in _moving(nest)), default=2 * r)


def slides(r: int, nest: Nest) -> bool:
    """Whether what r rows read lies side by side along a window, so near that one dealt load brings it."""
    moving = _moving(nest)
    return bool(moving) and all(0 < _span(r, n, nest) <= LANES ** 2 for n in moving)


def _moving(nest: Nest) -> list[Expr]:
    return [n for d in nest.domains.values() for b in d.body for n in walk(b) if n.op == "load" and not n.data[0].constant]


def _read_by_rows(r: int, n: Expr, nest: Nest) -> int:
    """Registers for what one load brings to r rows (`scalar_runs` makes vectors of the neighbours in a window)."""
    window, span = _window(n, nest), _span(r, n, nest)
    return -(-span // LANES) + 1 if span else 2 * r + max(0, window - 3)


def _window(n: Expr, nest: Nest) -> int:
    """Neighbouring elements that one point reads along a short axis; 0 where none is short."""
    steps = [SHORT + 1 if extent.op != "const" else extent.data for d in nest.domains.values()
             for axis, extent in zip(d.axes, d.extents) if coefficient(n.args[0], axis) == 1]
    return 0 if any(s > SHORT for s in steps) else max(steps, default=0)


def _span(r: int, n: Expr, nest: Nest) -> int:
    """Elements between the first and past the last that r rows read of such; 0 where they are not near each other."""
    window = _window(n, nest)
    apart = [c for a in nest.axes if 0 < (c := coefficient(n.args[0], a.var) or 0) <= window]
    return (r - 1) * min(apart) + window if apart else 0


def window_registers(r: int, v: int, nest: Nest, row: Any, target: Any) -> int:
    """Registers of a tile whose rows read neighbouring vectors along a window, a row of taps at a time: sums, vectors, taps, one to spare.

    Fewer would load vectors anew that stand in a register, or let LLVM put some on the stack, each in front of the sum that wants it.
    0 where the order of the code is not the core's, or elements have other than 32 bits.
    """
    if not target.in_order or any(n.dtype.bits != 32 for n in _moving(nest)):
        return 0
    read = max((_window_vectors(r, n, nest, row) for n in _moving(nest)), default=0)
    return (r + read) * v + 1


def _window_vectors(r: int, n: Expr, nest: Nest, row: Any) -> int:
    """Vectors that r rows read along the window they slide on, and its taps; without a window, each row its own."""
    step = coefficient(n.args[0], row.var) or 0 if row else 0
    for d in nest.domains.values():
        for axis, extent in zip(d.axes, d.extents):
            apart = coefficient(n.args[0], axis) or 0
            if apart and step and step % apart == 0 and extent.op == "const" and step // apart <= extent.data:
                return (r - 1) * (step // apart) + 2 * extent.data
    return r + 1


def alone(target: Any, contraction: bool) -> float:
    """Cycles of a step in which each sum of a window waits for itself, which nothing overtakes on a core that runs code in its order."""
    return 2.0 * target.fma_latency if target.in_order and not contraction else 0.0


def step_cycles(r: int, v: int, most: int, target: Any) -> float:
    """Cycles of a reduction step of a tile: loads that deal to `most` vectors take few slots, others one each, a group some more."""
    dealt = dealt_together(v, most)
    apart = 0.7 * max(0, APART - r * dealt)
    loads = v / dealt * ((1.5 if dealt == most else 2.5) + apart) if dealt else v + 1.0
    return max(r * v / target.fma_per_cycle, 2.0 * target.fma_latency) + loads + r / 4 + 1.0


def round_length(nest: Nest, blocked: bool = False) -> int:
    """Steps of one round: what a loop's end costs is shared by as many as divide the sum, but a single round would be no loop."""
    longest = max((e.data for d in nest.domains.values() for e in d.extents if e.op == "const"), default=0)
    lengths = BLOCKED_ROUNDS if blocked else LONG_ROUNDS
    return next((n for n in lengths if longest >= 2 * n and longest % n == 0), lengths[-1])
