"""Brings a kernel into the form that schedules like: unit axes dropped, concatenations cut, digits of an axis made axes of their own.

    y[c] = select(c < 4, a[c], b[c - 4])            ->  two kernels, each without a choice
    y[j] = x[j // 49, j % 49]   (j < 64*49)         ->  y[49*p + q] = x[p, q]   (p < 64, q < 49)
    y[j] = x[(j + 1) // 2]      (j < 8)             ->  y[2*p] = x[p];  y[2*p + 1] = x[p + 1]   (p < 4)
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from edgec.evaluate import evaluate
from edgec.expr import COMPARE, Expr, ReduceParts, const, fresh, reduce
from edgec.kernel import Axis, Kernel, Stage
from edgec.linear import coefficient
from edgec.sweeps import substitute, transform, walk
from edgec.types import index

ZERO = const(0, index)
MAX_PHASES = 4


def normalize(kernel: Kernel) -> list[Kernel]:
    """The kernels that together do what a single-stage kernel does."""
    return [whole for piece in cut_pieces(kernel) for whole in cut_phases(split_digits(drop_units(piece)))]


def drop_units(kernel: Kernel) -> Kernel:
    """Axes of extent 1 are index 0, in the kernel and in its reductions."""
    units = {a.var: ZERO for a in kernel.axes if a.extent == 1}
    stage = kernel.stages[0]
    value = substitute(stage.value, units)
    value = transform((value,), _drop_reduce_units)[0]
    indices = tuple(substitute(i, units) for i in stage.indices)
    axes = tuple(a for a in kernel.axes if a.var not in units)
    return Kernel(kernel.name, axes, (Stage(stage.name, stage.axes, value, stage.target, indices),), loc=kernel.loc)


def _drop_reduce_units(node: Expr) -> Expr | None:
    if node.op != "reduce":
        return None
    parts = ReduceParts(node)
    units = {a: ZERO for a, e in zip(parts.axes, parts.extents) if e.op == "const" and e.data == 1}
    if not units or len(parts.body) > 1:
        return None
    kept = [(a, e) for a, e in zip(parts.axes, parts.extents) if a not in units]
    body = tuple(substitute(b, units) for b in parts.body)
    return reduce(parts.combine, [a for a, _ in kept], [e for _, e in kept], parts.init, body)[0]


def cut_pieces(kernel: Kernel) -> list[Kernel]:
    """A value chosen by the range of one axis becomes one kernel per range, so that no choice is left in any loop."""
    stage = kernel.stages[0]
    cut = _boundary(stage.value, kernel.axes)
    if cut is None:
        return [kernel]
    axis, at = cut
    pieces = []
    for start, stop in ((0, at), (at, axis.extent)):
        inner = fresh("i", 0, stop - start - 1)
        moved = {axis.var: inner + start}
        axes = tuple(Axis(inner, stop - start) if a is axis else a for a in kernel.axes)
        indices = tuple(substitute(i, moved) for i in stage.indices)
        new = Stage(stage.name, stage.axes, substitute(stage.value, moved), stage.target, indices)
        pieces.extend(cut_pieces(Kernel(f"{kernel.name}.{start}", axes, (new,), loc=kernel.loc)))
    return pieces


def _boundary(value: Expr, axes: tuple[Axis, ...]) -> tuple[Axis, int] | None:
    """(axis, number) of the first choice at the top of a value that depends on `axis < number` alone."""
    node = value
    while node.op == "select":
        condition = node.args[0]
        for axis in axes:
            if condition.free == {axis.var} and isinstance(axis.extent, int):
                at = _flip(condition, axis)
                if at is not None:
                    return axis, at
        node = node.args[1] if node.args[1].op == "select" else node.args[2]
    return None


def _flip(condition: Expr, axis: Axis) -> int | None:
    """Where in its range a condition on one axis changes, when it does so exactly once."""
    if condition.op not in COMPARE or any(n.op == "read" for n in walk(condition)):
        return None
    truth = np.broadcast_to(evaluate(condition, {axis.var: np.arange(axis.extent)}, None), axis.extent)
    changes = np.flatnonzero(truth[1:] != truth[:-1])
    return int(changes[0]) + 1 if len(changes) == 1 else None


def split_digits(kernel: Kernel) -> Kernel:
    """Axes (of the kernel and of its reductions) that are divided by numbers become one axis per digit."""
    stage = kernel.stages[0]
    value, indices, axes = stage.value, stage.indices, list(kernel.axes)
    value = transform((value,), _split_reduce)[0]
    for axis in kernel.axes:
        factors = _factors(axis.var, axis.extent, (value, *indices))
        if factors:
            digits, number = _digits(factors)
            value = substitute(value, {axis.var: number})
            indices = tuple(substitute(i, {axis.var: number}) for i in indices)
            axes[axes.index(axis):axes.index(axis) + 1] = [Axis(v, e) for v, e in digits]
    return Kernel(kernel.name, tuple(axes), (Stage(stage.name, stage.axes, value, stage.target, indices),), loc=kernel.loc)


def _split_reduce(node: Expr) -> Expr | None:
    if node.op != "reduce":
        return None
    parts = ReduceParts(node)
    axes, extents, body = list(parts.axes), list(parts.extents), parts.body
    for axis, extent in zip(parts.axes, parts.extents):
        factors = _factors(axis, extent.data if extent.op == "const" else extent, body)
        if factors and len(body) == 1:
            digits, number = _digits(factors)
            body = (substitute(body[0], {axis: number}),)
            at = axes.index(axis)
            axes[at:at + 1] = [v for v, _ in digits]
            extents[at:at + 1] = [const(e, index) for _, e in digits]
    return None if len(axes) == len(parts.axes) else reduce(parts.combine, axes, extents, parts.init, body)[0]


def _digits(factors: list[int]) -> tuple[list[tuple[Expr, int]], Expr]:
    """Variables of the digits, most significant first, and the number they spell."""
    digits = [(fresh("d", 0, f - 1), f) for f in factors]
    number = ZERO
    for v, f in digits:
        number = number * f + v
    return digits, number


def _factors(axis: Expr, extent: Any, values: tuple[Expr, ...]) -> list[int]:
    """Extents of the digits of an axis that occurs as axis // d (for divisors that divide each other and the extent)."""
    if not isinstance(extent, int):
        return []
    divisors = sorted({d for node in walk(*values) if node.op == "floordiv" for d in _divisor(node, axis)})
    divisors = [d for d in divisors if extent % d == 0 and 1 < d < extent]
    chain: list[int] = []
    for d in divisors:
        if not chain or d % chain[-1] == 0:
            chain.append(d)
    if not chain:
        return []
    bounds = [1, *chain, extent]
    return [b // a for a, b in itertools.pairwise(bounds)][::-1]


def _divisor(node: Expr, axis: Expr) -> list[int]:
    """The step of `axis` at which node (a division by a number) grows by one, when that is a whole number."""
    if node.args[1].op != "const" or axis not in node.args[0].free:
        return []
    step = coefficient(node.args[0], axis)
    d = node.args[1].data
    return [d // abs(step)] if step and d % abs(step) == 0 else []


def cut_phases(kernel: Kernel) -> list[Kernel]:
    """A short axis that indices divide (the phase of a strided transposed convolution) becomes one kernel per value: all affine then."""
    stage = kernel.stages[0]
    divided = {v for node in walk(stage.value, *stage.indices) if node.op == "floordiv" for v in node.free}
    axis = next((a for a in kernel.axes if a.var in divided and isinstance(a.extent, int) and a.extent <= MAX_PHASES), None)
    if axis is None:
        return [kernel]
    pieces = []
    for number in range(axis.extent):
        fixed = {axis.var: const(number, index)}
        indices = tuple(substitute(i, fixed) for i in stage.indices)
        new = Stage(stage.name, stage.axes, substitute(stage.value, fixed), stage.target, indices)
        pieces.extend(cut_phases(Kernel(f"{kernel.name}.{number}", tuple(a for a in kernel.axes if a is not axis), (new,), loc=kernel.loc)))
    return pieces
