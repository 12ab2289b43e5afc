"""Kernels that stand in one loop become one kernel of several stages: a whole sequence is then one function, without a call per step.

A step of a recurrent layer is short (a few microseconds), so what stands around its arithmetic counts: calls, pointers, and weights that
are read again at every step. As stages of one kernel the steps share one function, `tile` puts the loop into it, and what one stage stores
the next one finds in the first-level cache.

    repeat (t < 100): gates[i] = x[t,i] + sum_over(k; h[t%2,k] * r[k,i]);   repeat (t < 100): h[(t+1)%2,i] = ...
    ->  repeat (t < 100): { gates[i] = ...; h[(t+1)%2,i] = ... }

Where the constants of a step do not fit into L2 the kernels stay apart: threads may then share each of them. So do the kernels of a loop
that carries nothing from one iteration to the next (a loop over images): its kernels are long.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any

from edgec.accesses import buffer_reads
from edgec.kernel import Kernel, Program
from edgec.passes.tile import walked_together
from edgec.sweeps import walk

SMALL = 1 << 20  # bytes of constants a step may read on a machine without a second-level cache


def sequences(program: Program, target: Any) -> Program:
    """The program with one kernel for neighbours in one loop."""
    found: list[Kernel] = []
    for repeat, group in groupby(program.steps, key=lambda k: k.repeat):
        kernels = list(group)
        short = _constants(kernels) <= max(4 * target.l2_bytes, SMALL)
        joined = repeat and all(map(_is_plain, kernels)) and short and carries(kernels)
        found += [_joined(kernels)] if joined else kernels
    return program.with_steps(found)


def _is_plain(kernel: Kernel) -> bool:
    """Whether the outer axes may as well be those of its stage."""
    measured = any(target.root.kind == "sizes" for target in kernel.targets)  # read between kernels, in each iteration
    return not kernel.block and not measured and (not kernel.axes or len(walked_together(kernel.stages)) == 1)


def carries(kernels: Sequence[Kernel]) -> bool:
    """Whether an iteration reads what one before it has stored; a loop over images does not."""
    stored: set = set()
    early: set = set()
    for kernel in kernels:
        early |= {n.data.root for n in buffer_reads(kernel)} - stored
        stored |= {target.root for target in kernel.targets}
    return bool(early & stored)


def _constants(kernels: Sequence[Kernel]) -> int:
    reads = [n for k in kernels for s in k.stages for n in walk(s.value) if n.op == "read" and n.data.root.kind == "constant"]
    return sum(b.bytes for b in dict.fromkeys(n.data.root for n in reads))


def _joined(kernels: Sequence[Kernel]) -> Kernel:
    """One kernel with the stages of all in turn."""
    stages = tuple(replace(stage, axes=(*kernel.axes, *stage.axes)) for kernel in kernels for stage in kernel.stages)
    return replace(kernels[-1], axes=(), stages=stages, origins=tuple(dict.fromkeys(o for k in kernels for o in k.origins)))
