"""What PREFIX_run does, step by step: calls of kernels, loops around them, and regions that threads may share.

The compiler makes them, `entry.py` writes them as LLVM IR.

    [CallStep("edgec_1f", (Place("input", 0), Place("arena", 64))), LoopStep("loop0", 12, False, (CallStep(...),))]
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Place:
    """Where a kernel's parameter points: an input or output by number, or bytes into the arena, the weights or the caller's state."""

    kind: str  # input | output | arena | weights | state
    number: int


@dataclass(frozen=True)
class CallStep:
    """One call: the kernel's symbol, its pointers, and the index arguments it takes: a dimension's number or a loop's name.

    A kernel that is cut takes two more, the positions to begin at and to end before: part c walks those from bounds[c] below bounds[c + 1].
    `scratch` are pairs of a place's number among `places` and its byte offset in the scratch memory of an executor's slot. Threads that run
    together meet before a call that `waits`.
    """

    symbol: str
    places: tuple[Place, ...]
    indices: tuple[int | str, ...] = ()
    bounds: tuple[int, ...] = ()
    scratch: tuple[tuple[int, int], ...] = ()
    waits: bool = False


@dataclass(frozen=True)
class RegionStep:
    """Calls of kernels that are cut into equally many parts, which an executor may run at the same time, in any order.

    Neighbouring parts are `lent` together in so many calls; below two, only threads that run together share the region.
    """

    calls: tuple[CallStep, ...]
    lent: int = 1

    def lent_bounds(self, call: CallStep) -> tuple[int, ...]:
        """Where each part that is lent begins, and where the last one ends."""
        return tuple(call.bounds[self.parts * n // self.lent] for n in range(self.lent + 1))

    @property
    def parts(self) -> int:
        return len(self.calls[0].bounds) - 1


@dataclass(frozen=True)
class LoopStep:
    """Calls (or loops) repeated with `name` running from 0; the length is a number, or the number of a symbolic dimension.

    With a `condition`, the place of one bool, the loop ends before an iteration that finds it false.
    """

    name: str
    length: int
    symbolic: bool
    body: tuple[Step, ...]
    condition: Place | None = None


@dataclass(frozen=True)
class SizeStep:
    """A number that the call before has stored becomes the value of a dimension (None: it is only looked at); it must be in low..high.

    It lies `offset` bytes into the arena and has `bits`; where the caller wants to know it, `member` is its number among the sizes of the
    interface.
    """

    dimension: int | None
    offset: int
    bits: int
    low: int
    high: int
    member: int | None = None


Step = CallStep | RegionStep | LoopStep | SizeStep


def calls_of(steps: Sequence[Step]) -> list[CallStep]:
    """Every call below some steps, in order."""
    return [c for s in steps for c in ([s] if isinstance(s, CallStep) else s.calls if isinstance(s, RegionStep)
                                       else calls_of(s.body) if isinstance(s, LoopStep) else [])]


def regions_of(steps: Sequence[Step]) -> list[RegionStep]:
    """Every region below some steps, in order."""
    return [r for s in steps for r in ([s] if isinstance(s, RegionStep) else regions_of(s.body) if isinstance(s, LoopStep) else [])]


def places_of(steps: Sequence[Step]) -> list[Place]:
    """Every place that steps use, each once: those of calls and of the conditions of loops."""
    conditions = [loop.condition for loop in loops_of(steps) if loop.condition is not None]
    return list(dict.fromkeys([*(place for call in calls_of(steps) for place in call.places), *conditions]))


def loops_of(steps: Sequence[Step]) -> list[LoopStep]:
    """Every loop among some steps, outer before inner."""
    return [each for s in steps if isinstance(s, LoopStep) for each in (s, *loops_of(s.body))]


def measures(steps: Sequence[Step]) -> bool:
    """Whether a size is computed anywhere among some steps."""
    return any(isinstance(s, SizeStep) or isinstance(s, LoopStep) and measures(s.body) for s in steps)
