"""Sums of a constant over the part of a box that lies within bounds, read from a table.

Of the taps k of a window at `rest + step*k` those within 0 <= position < extent form a range [low, high). Both ends only fall as `rest`
grows, so low + high tells which range it is: the table has the sum of each of the few there are. Where extents are open, it has prefix
sums, and a sum is an alternating one of the corners (F. C. Crow, "Summed-area tables for texture mapping", 1984).

    windows([(y - 1, 1, 8, 3)])                 # [max(0, 1 - y) + min(3, 9 - y) - 2], [3 rows: 110, 111, 011]
    low, high = within(y - 1, 1, 8, 3)          # max(0, 1 - y), min(3, 9 - y)
    box_sum([(low, high)], lambda corner: read(prefix, corner))
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from edgec.expr import Expr, as_expr, binary, const, is_const
from edgec.types import index

Range = tuple[Expr, Expr]
MOST_PLACES = 1 << 16  # positions along an axis that are looked at one by one


def within(rest: Expr, step: int, extent: Any, count: int) -> Range:
    """[low, high) of the k in [0, count) with 0 <= rest + step*k < extent, step > 0; low == high where there is none."""
    low = binary("max", const(0, index), binary("min", const(count, index), -(rest // step)))
    high = binary("min", const(count, index), (as_expr(extent, index) - 1 - rest) // step + 1)
    return low, binary("max", low, high)


def windows(axes: Sequence[tuple[Expr, int, Any, int]]) -> tuple[list[Expr], list[np.ndarray]] | None:
    """For axes (rest, step, extent, count): numbers of the ranges they have, from 0, and 0/1 matrices [ranges, count] of what is in each.

    None where an extent is open or a position has no bounds.
    """
    numbers, members = [], []
    for rest, step, extent, count in axes:
        extent = as_expr(extent, index)
        if not is_const(extent) or rest.hi - rest.lo > MOST_PLACES:
            return None
        found = {}
        for place in range(rest.lo, rest.hi + 1):
            low = max(0, min(count, -(place // step)))
            high = max(low, min(count, (extent.data - 1 - place) // step + 1))
            found[low + high] = (low, high)
        least = min(found)
        matrix = np.zeros((max(found) - least + 1, count), np.int64)
        for number, (low, high) in found.items():
            matrix[number - least, low:high] = 1
        low, high = within(rest, step, extent, count)
        numbers.append(low + high - least)
        members.append(matrix)
    return numbers, members


def window_sums(array: np.ndarray, members: Sequence[np.ndarray]) -> np.ndarray:
    """i32 sums over every range of the first axes (`members` of `windows`), whose extents become the numbers of ranges; wraps."""
    found = array.astype(np.int64)
    for axis, matrix in enumerate(members):
        found = np.moveaxis(np.tensordot(matrix, found, (1, axis)), 0, axis)
    return np.ascontiguousarray(found.astype(np.int32))


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
