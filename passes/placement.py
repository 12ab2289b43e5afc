"""Places intervals of time with a size in one address range: dynamic storage allocation, which is NP-hard in general.

Used by `liveness`. Knows nothing of buffers: an interval is (first step, last step, bytes), the answer is one offset each.

    place([Interval(0, 1, 64), Interval(1, 2, 128), Interval(2, 3, 64)])      # ([128, 0, 128], 192)
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import NamedTuple

WORK = 500_000  # neighbours looked at by the search: 0.1 to 0.2 seconds, whatever the number of intervals


class Interval(NamedTuple):
    """Alive in the steps first..last, both included; `bytes` a multiple of the alignment."""

    first: int
    last: int
    bytes: int


ORDERS: tuple[Callable[[Interval], tuple], ...] = (
    lambda i: (-i.bytes, -(i.last - i.first), i.first),
    lambda i: (-i.bytes * (i.last - i.first + 1), i.first),
    lambda i: (-(i.last - i.first), -i.bytes, i.first),
    lambda i: (i.first, -i.bytes, i.last),
    lambda i: (-i.last, -i.bytes, i.first),
)


def largest_live_set(intervals: Sequence[Interval]) -> int:
    """The most bytes alive in one step: a lower bound of every placement."""
    change: dict[int, int] = {}
    for i in intervals:
        change[i.first] = change.get(i.first, 0) + i.bytes
        change[i.last + 1] = change.get(i.last + 1, 0) - i.bytes
    live = most = 0
    for step in sorted(change):
        live += change[step]
        most = max(most, live)
    return most


def place(intervals: Sequence[Interval], work: int = WORK) -> tuple[list[int], int]:
    """Offsets in the order of the intervals, and the size of the range; the same on every machine. `work` bounds the search."""
    bound, search = largest_live_set(intervals), _Search(intervals)
    orders = [sorted(range(len(intervals)), key=lambda n: (key(intervals[n]), n)) for key in ORDERS]
    for order in (*orders, _by_breadth(intervals)):
        search.attempt(order)
        if search.size == bound:
            return search.offsets, search.size
    _improve(search, bound, work)
    return search.offsets, search.size


class _Search:
    """The best placement so far, and the order that gave it."""

    def __init__(self, intervals: Sequence[Interval]):
        self.intervals, self.order, self.offsets, self.size, self.work = intervals, [], [], -1, 0
        self.neighbours = _overlaps(intervals)

    def attempt(self, order: list[int]) -> int:
        """Place in this order, each at the lowest gap that holds it; keep the result when it is no worse than the best. Its size."""
        sizes = [interval.bytes for interval in self.intervals]
        offsets, size = [-1] * len(sizes), 0
        for n in order:
            offsets[n] = _lowest_gap(sizes[n], [(offsets[m], sizes[m]) for m in self.neighbours[n] if offsets[m] >= 0])
            size = max(size, offsets[n] + sizes[n])
            self.work += len(self.neighbours[n])
        if self.size < 0 or size <= self.size:
            self.order, self.offsets, self.size = order, offsets, size
        return size


def _lowest_gap(size: int, taken: list[tuple[int, int]]) -> int:
    at = 0
    for start, length in sorted(taken):
        if start - at >= size:
            break
        at = max(at, start + length)
    return at


def _overlaps(intervals: Sequence[Interval]) -> list[list[int]]:
    """For each interval, those alive in one of its steps."""
    found: list[list[int]] = [[] for _ in intervals]
    alive: list[int] = []
    for n in sorted(range(len(intervals)), key=lambda n: intervals[n].first):
        alive = [m for m in alive if intervals[m].last >= intervals[n].first]
        for m in alive:
            found[n].append(m)
            found[m].append(n)
        alive.append(n)
    return found


def _by_breadth(intervals: Sequence[Interval]) -> list[int]:
    """The steps with most alive bytes first; within a step, large intervals first."""
    alive = _alive(intervals)
    fullest = sorted(alive, key=lambda step: (-sum(intervals[n].bytes for n in alive[step]), step))
    return list(dict.fromkeys(n for step in fullest for n in sorted(alive[step], key=lambda n: (-intervals[n].bytes, n))))


def _alive(intervals: Sequence[Interval]) -> dict[int, list[int]]:
    """The intervals that are alive at each step where one begins."""
    found: dict[int, list[int]] = {}
    alive: list[int] = []
    first = lambda n: intervals[n].first
    for step, beginning in groupby(sorted(range(len(intervals)), key=first), key=first):
        alive = found[step] = [*(n for n in alive if intervals[n].last >= step), *beginning]
    return found


def _improve(search: _Search, bound: int, work: int) -> None:
    """Local search: what stands at the top changes places in the order with a neighbour in time, or two intervals at random."""
    generator = random.Random(len(search.intervals))
    search.work = 0
    while search.size > bound and search.work < work:
        order = list(search.order)
        top = generator.choice([n for n in order if search.offsets[n] + search.intervals[n].bytes == search.size])
        if search.neighbours[top] and generator.random() < 0.5:
            a, b = order.index(top), order.index(generator.choice(search.neighbours[top]))
        else:
            a, b = generator.randrange(len(order)), generator.randrange(len(order))
        order[a], order[b] = order[b], order[a]
        search.work += len(order)
        search.attempt(order)
