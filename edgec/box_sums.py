"""Sums of a constant over the part of a box that lies within bounds, read from a table of prefix sums.

Of the taps k of a window at `rest + step*k` those within 0 <= position < extent form a range; over ranges of several axes the sum is an
alternating sum of the corners (F. C. Crow, "Summed-area tables for texture mapping", 1984).

    low, high = within(y - 1, 1, 8, 3)          # max(0, 1 - y), min(3, 9 - y)
    box_sum([(low, high)], lambda corner: read(prefix, corner))
"""

from __future__ import annotations

import itertools
from typing import Any, Callable, Sequence

import numpy as np

from edgec.expr import Expr, as_expr, binary, const, is_const
from edgec.types import index

Range = tuple[Expr, Expr]


def within(rest: Expr, step: int, extent: Any, count: int) -> Range:
    """[low, high) of the k in [0, count) with 0 <= rest + step*k < extent, step > 0; low == high where there is none."""
    low = binary("max", const(0, index), binary("min", const(count, index), -(rest // step)))
    high = binary("min", const(count, index), (as_expr(extent, index) - 1 - rest) // step + 1)
    return low, binary("max", low, high)


def prefix_sums(array: np.ndarray, axes: int) -> np.ndarray:
    """i32 sums over all entries before an index along each of the first `axes` axes, which grow by one; wraps."""
    found = array.astype(np.int32)
    for axis in range(axes):
        found = np.cumsum(found, axis=axis, dtype=np.int32)
        found = np.concatenate([np.zeros_like(found.take([0], axis)), found], axis=axis)
    return found


def box_sum(ranges: Sequence[Range], at: Callable[[tuple[Expr, ...]], Expr]) -> Expr:
    """The sum over the box of `ranges`, `at(corner)` being the prefix sum before a corner."""
    total = None
    for picks in itertools.product((1, 0), repeat=len(ranges)):
        corner = tuple(r[pick] for r, pick in zip(ranges, picks))
        if any(is_const(c, 0) for c in corner):  # nothing lies before it
            continue
        term = at(corner)
        negative = picks.count(0) % 2
        total = (-term if negative else term) if total is None else total - term if negative else total + term
    return const(0, at(tuple(r[1] for r in ranges)).dtype) if total is None else total
