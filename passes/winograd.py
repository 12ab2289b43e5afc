"""Computes 3x3 convolutions of stride 1 with fewer multiplications, where that pays.

    y = conv(x, w)    ->    V = B^T d B;  M[f] = V[f] U[f];  y = A^T M A      tile by tile of m x m outputs

Larger tiles save more products and cost more transforms, weights and rounding error (docs/numerics.md has the bounds); which is taken, is
decided by estimated cycles, convolution by convolution, under one bound on the growth of all weights. Convolutions of bytes lose nothing:
winograd_arithmetic proves that theirs is exact. Source: A. Lavin, S. Gray, Fast
Algorithms for Convolutional Neural Networks (2015).
"""

from __future__ import annotations

from typing import Any

from edgec.kernel import Kernel, Program
from edgec.passes.winograd_convolution import recognise
from edgec.passes.winograd_cost import Form, forms
from edgec.passes.winograd_stages import rewrite
from edgec.sweeps import walk
from edgec.types import f16, f32

BETTER = 0.96  # the share of the cost of smaller tiles below which larger ones are worth their error
WORTH = 0.8  # the share of the direct cost below which three stages, their scratch and the larger weights are worth it
WORTH_EXACT = 0.9  # the same for integers, which lose nothing by it


def winograd(program: Program, target: Any, *, sizes: tuple[int, ...] = (2, 3, 4, 5, 6)) -> Program:
    """The program with convolutions in Winograd form where that is estimated to be faster; `sizes` are the tile sizes m to consider.

    All weights together grow by no more than the target's `max_flash_growth`, counted from four bytes each where they have been narrowed
    to f16: what saves most for its bytes comes first.
    """
    if target.lanes(32) == 1 or target.max_flash_growth <= 1:
        return program
    found = {kernel: convolution for kernel in program.steps if (convolution := recognise(kernel)) is not None}
    total = _constant_bytes(program)
    options = {kernel: _worthwhile(forms(c, target, sizes, total), WORTH_EXACT if c.is_integer else WORTH) for kernel, c in found.items()}
    chosen = _within(options, int(_constant_bytes(program, narrowed=f32.bytes) * target.max_flash_growth) - total)
    return program.with_steps(rewrite(found[k], chosen[k].m, chosen[k].band, chosen[k].half) if k in chosen else k for k in program.steps)


def _constant_bytes(program: Program, narrowed: int = f16.bytes) -> int:
    """Bytes of all constants, an element of f16 counted as `narrowed`."""
    reads = (n for kernel in program.steps for stage in kernel.stages for n in walk(stage.value) if n.op == "read")
    constants = (b for b in dict.fromkeys(n.data.root for n in reads) if b.kind == "constant")
    return sum(b.bytes // f16.bytes * narrowed if b.dtype is f16 else b.bytes for b in constants)


def _worthwhile(all_forms: list[Form], worth: float) -> list[Form]:
    """The direct form, then those that beat it clearly, each clearly better than all before it, which are more accurate."""
    kept, least = all_forms[:1], all_forms[0].cycles * worth
    for form in all_forms[1:]:
        if form.cycles < least:
            kept.append(form)
            least = form.cycles * BETTER
    return kept


def _within(options: dict[Kernel, list[Form]], budget: int) -> dict[Kernel, Form]:
    """The form of each kernel that leaves the direct one, taken in order of cycles saved for each byte added, while the bytes last."""
    chosen = {kernel: all_forms[0] for kernel, all_forms in options.items()}
    while True:
        steps = [((now.cycles - form.cycles) / (form.bytes - now.bytes), kernel, form) for kernel, now in chosen.items()
                 for form in options[kernel] if form.cycles < now.cycles and now.bytes < form.bytes <= now.bytes + budget]
        if not steps:
            return {kernel: form for kernel, form in chosen.items() if form.m}
        _, kernel, form = max(steps, key=lambda step: step[0])
        budget -= form.bytes - chosen[kernel].bytes
        chosen[kernel] = form
