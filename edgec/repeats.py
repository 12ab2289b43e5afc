"""The loops around kernels: neighbouring steps of a program under the same repeat axis are the body of one loop, iteration by iteration.

    for axis, steps in groups(program.steps, depth=0): ...      # (None, [0]), (t, [1, 2]), (None, [3])
    loops(program.steps)                                        # [Loop(axis=t, first=1, last=2)]
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from typing import NamedTuple

from edgec.kernel import Axis, Kernel, Program


class Loop(NamedTuple):
    """The steps first..last, both included, run again for every value of the axis."""

    axis: Axis
    first: int
    last: int


def groups(steps: Sequence[Kernel], depth: int, numbers: Sequence[int] | None = None) -> Iterator[tuple[Axis | None, list[int]]]:
    """Runs of steps (by number) that stand `depth` loops deep and share the next one; None for those without a further loop."""
    numbers = range(len(steps)) if numbers is None else numbers
    for axis, group in groupby(numbers, key=lambda n: steps[n].repeat[depth] if len(steps[n].repeat) > depth else None):
        yield axis, list(group)


def loops(steps: Sequence[Kernel]) -> list[Loop]:
    """Every loop of a program, outer before inner."""
    found: list[Loop] = []
    pending = [(0, list(range(len(steps))))]
    while pending:
        depth, numbers = pending.pop(0)
        for axis, group in groups(steps, depth, numbers):
            if axis is not None:
                found.append(Loop(axis, group[0], group[-1]))
                pending.append((depth + 1, group))
    return found


def alone(steps: Sequence[Kernel]) -> list[int]:
    """For each step, how many of the innermost loops around it hold no other step and no condition: those may stand inside its own code."""
    found = [len(kernel.repeat) for kernel in steps]
    for loop in loops(steps):
        if loop.first != loop.last or loop.axis.condition is not None:
            for step in range(loop.first, loop.last + 1):
                depth = next(n for n, axis in enumerate(steps[step].repeat) if axis is loop.axis)
                found[step] = min(found[step], len(steps[step].repeat) - 1 - depth)
    return found


def outside(program: Program) -> Program:
    """The program with only those repeats that stand around several steps."""
    short = (replace(k, repeat=k.repeat[:len(k.repeat) - n]) for k, n in zip(program.steps, alone(program.steps)))
    return program.with_steps(short)
