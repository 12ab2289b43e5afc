"""Decides what threads share: regions of neighbouring kernels, each cut into parts that may run at the same time.

A region is worth a hand-over to other threads when it is estimated to take several times as long as one; everything else stays in the
calling thread. The number of parts and their bounds are fixed here, at compile time, so no result depends on how many threads there are,
nor on which of them walks which part. 24 parts divide evenly among 2, 3, 4, 6, 8 and 12 threads.

    [conv 800 us, bias 1 us, conv 400 us]   ->   region(conv, 24 parts); bias; region(conv, 24 parts)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Sequence

from edgec.kernel import Kernel
from edgec.passes.cut import Cuttable, cuttable
from edgec.passes.tile import Tiled

PARTS = (24, 12, 6, 4, 3, 2)
WORTH = 3       # a region takes so many times as long as handing work over, or it is not shared


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

    @property
    def last(self) -> int:
        return self.first + len(self.kernels) - 1

    @property
    def parts(self) -> int:
        return len(self.kernels[0].bounds) - 1


def parallel(steps: Sequence[Kernel], tiled: Sequence[Tiled], target: Any) -> list[Region]:
    """The regions of a program, in order and without overlap; none for a machine without threads."""
    if not target.hand_over:
        return []
    cuts = [cuttable(one, target) for one in tiled]
    found = [_alone(step, cut, target) for step, cut in enumerate(cuts) if cut is not None]
    return [region for region in found if region is not None]


def _alone(step: int, cut: Cuttable, target: Any) -> Region | None:
    """A region of one kernel."""
    wanted = parts_for(cut.cycles, target)
    bounds = tuple(sorted(set(cut.bounds(wanted)))) if wanted > 1 else ()
    return Region(step, (Shared(cut, bounds),)) if len(bounds) > 2 else None


def parts_for(cycles: float, target: Any) -> int:
    """How many parts work of so many cycles is cut into, each worth a hand-over; 1 where the whole is not worth sharing."""
    return next((parts for parts in PARTS if cycles >= max(WORTH, parts) * target.hand_over), 1)
