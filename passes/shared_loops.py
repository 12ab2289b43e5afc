"""Loops whose iterations threads share: they stand around their kernel for threads that run together, inside of it for one thread alone.

A sequence is one kernel with its loop inside, which nobody can share, since every step needs what the step before has stored. Threads that
run a model together meet so quickly that they may share each step instead, where that is worth a meeting (parallel.py).

    kernel lstm() repeat (t < 100): 238 us in one thread    ->    for t in 0..100: region(lstm, 2 parts)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from edgec.kernel import Kernel, Program
from edgec.passes.parallel import parallel
from edgec.passes.there_and_back import pair_kernels, walks_back
from edgec.passes.tile import Tiled, tile
from edgec.repeats import alone, outside

Choose = Callable[[Kernel], Any]  # what `tile` takes as its `choose`


def shared_loops(program: Program, tiled: Sequence[Tiled], target: Any, choose: Choose) -> tuple[Program, list[Tiled]]:
    """The program and its loop nests as threads together walk them; `tiled` are those of one thread, loops around one kernel inside."""
    steps: list[Kernel] = []
    nests: list[Tiled] = []
    worth: dict[int, bool] = {}  # kernels that are alike have their loops in common
    for kernel, short, one, loops in zip(program.steps, outside(program).steps, tiled, alone(program.steps)):
        possible = loops and target.hand_over and not program.sizes and worth.get(id(one.loops.body), True)
        shared = _shared(kernel, target, choose) if possible else []
        worth[id(one.loops.body)] = bool(shared)
        steps += [step for step, _ in shared] or [short]
        nests += [nest for _, nest in shared] or [one]
    return program.with_steps(steps), nests


def _shared(kernel: Kernel, target: Any, choose: Choose) -> list[tuple[Kernel, Tiled]]:
    """The kernels of one step, in the order in which one thread walks its operands; none where they are not worth sharing."""
    if any(axis.condition is not None for axis in kernel.repeat):
        return []
    steps = pair_kernels(kernel) if walks_back(kernel, target) else [(kernel, False)]
    nests = [tile(step, target, choose=choose(kernel), backward=backward) for step, backward in steps]
    kernels = [step for step, _ in steps]
    return list(zip(kernels, nests)) if len(parallel(kernels, nests, target)) == len(kernels) else []
