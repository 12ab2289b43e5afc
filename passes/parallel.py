"""Decides what threads share: regions of neighbouring kernels, each cut into parts that may run at the same time.

Threads that run a model together meet between kernels, which takes a fraction of a microsecond: a region is worth a meeting when it is
estimated to take several times as long as one. Where work can only be handed over kernel by kernel, a region must be worth a hand-over.
Everything else stays in the calling thread. The number of parts and their bounds are fixed here, at compile time, so no result depends on
how many threads there are, nor on which of them walks which part. 24 parts divide evenly among 2, 3, 4, 6, 8 and 12 threads.

    [conv 800 us, bias 0.1 us, conv 4 us]   ->   region(conv, 24 parts, lent 24); bias; region(conv, 12 parts, lent 1)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

from edgec.kernel import Kernel
from edgec.passes.cut import Cuttable, cuttable
from edgec.passes.tile import Tiled

PARTS = (24, 12, 6, 4, 3, 2)
WORTH = 3       # a region takes so many times as long as a meeting, or as handing work over, or it is not shared


@dataclass(frozen=True)
class Shared:
    """One kernel of a region: where each part of it begins, and where the last one ends."""

    cut: Cuttable
    bounds: tuple[int, ...]


@dataclass(frozen=True)
class Region:
    """Neighbouring kernels from the step `first` on that run part by part: part c of each kernel in order, without waiting in between."""

    first: int
    kernels: tuple[Shared, ...]
    lent: int = 1  # the parts, neighbours taken together, that are worth a hand-over each; 1 where the region is not worth one

    @property
    def last(self) -> int:
        return self.first + len(self.kernels) - 1

    @property
    def parts(self) -> int:
        return len(self.kernels[0].bounds) - 1


def parallel(steps: Sequence[Kernel], tiled: Sequence[Tiled], target: Any) -> list[Region]:
    """The regions of a program, in order and without overlap; none for a machine without threads, nor where all together are not worth
    handing over."""
    if not target.hand_over:
        return []
    cuts = _cuts(steps, tiled, target)
    found = [_alone(step, cut, target) for step, cut in enumerate(cuts) if cut is not None]
    regions = [region for region in found if region is not None]
    times = {region: prod(a.max_extent for a in steps[region.first].repeat) for region in regions}
    total = sum(region.kernels[0].cut.cycles * times[region] for region in regions)
    return regions if total >= WORTH * target.hand_over else []


def _cuts(steps: Sequence[Kernel], tiled: Sequence[Tiled], target: Any) -> list[Cuttable | None]:
    """How each kernel may be cut; those that have their loops in common are looked at once."""
    known: dict[int, Cuttable | None] = {}
    for step, one in zip(steps, tiled):
        if id(one.loops.body) not in known:
            known[id(one.loops.body)] = None if step.external else cuttable(one, target)
    found = (known[id(one.loops.body)] for one in tiled)
    return [cut and replace(cut, tiled=one) for cut, one in zip(found, tiled)]


def _alone(step: int, cut: Cuttable, target: Any) -> Region | None:
    """A region of one kernel."""
    wanted = parts_for(cut.cycles, min(target.meeting, target.hand_over))
    bounds = tuple(sorted(set(cut.bounds(wanted)))) if wanted > 1 else ()
    if len(bounds) <= 2:
        return None
    return Region(step, (Shared(cut, bounds),), min(parts_for(cut.cycles, target.hand_over), len(bounds) - 1))


def parts_for(cycles: float, price: int) -> int:
    """How many parts work of so many cycles is cut into, each worth the `price` in cycles; 1 where the whole is not worth sharing."""
    return next((parts for parts in PARTS if cycles >= max(WORTH, parts) * price), 1)
