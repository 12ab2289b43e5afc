"""Scalars that lie side by side in memory are loaded together and taken by lane, where multiply-adds take a lane of a vector.

The rows of a window along an axis whose neighbours are neighbours in memory (the first layer of a CNN, whose input has channels outside)
read scalars that overlap: four rows of a 3x3 convolution of stride 2 read elements 0 to 8 of a row of the picture, each row three of them.
As vectors those are three loads and three registers. Nothing is read that no sum takes: the last vector of a run overlaps the one before.
Scalars of f16 that are widened for their sum are widened as vectors.

    acc0 = x[i] * w0 + acc0; ... acc3 = x[i + 6] * w0 + acc3   ->   acc0 = lane(x[i : 4], 0) * w0 + acc0; ... lane(x[i + 3 : 4], 3) ...
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any

from edgec.expr import Expr, cast, mul_add
from edgec.linear import join, split
from edgec.loops import Block, For, If, Let, Stmt, lane, load
from edgec.types import f16, f32


def scalar_runs(body: Sequence[Stmt], target: Any) -> list[Stmt]:
    """The statements with neighbouring scalars of sums as lanes of vectors, for a target whose multiply-adds take those."""
    width = target.lanes(32)
    if target.scalar_operand != "lane" or width < 2:
        return list(body)
    found: list[Stmt] = []
    for sums, group in groupby(body, key=lambda s: isinstance(s, Let)):
        found += _taken_by_lane(list(group), width) if sums else [_inside(s, target) for s in group]
    return found


def _inside(s: Stmt, target: Any) -> Stmt:
    match s:
        case For() | Block():
            return replace(s, body=tuple(scalar_runs(s.body, target)))
        case If():
            return replace(s, body=tuple(scalar_runs(s.body, target)), orelse=tuple(scalar_runs(s.orelse, target)))
    return s


def _taken_by_lane(sums: Sequence[Let], width: int) -> list[Stmt]:
    """A row of assignments, between which memory does not change."""
    places: dict[tuple[Any, Expr], dict[int, Expr]] = {}
    for s in sums:
        for n in scalars_of(s):
            constant, terms = split(_loaded(n).args[0])
            places.setdefault((_loaded(n).data[0], join(0, terms)), {})[constant] = n
    lanes: dict[Expr, Expr] = {}
    for (param, base), scalars in places.items():
        for start, size in vectors(sorted(scalars), width):
            whole = cast(load(param, base + start, size), f32)
            lanes |= {scalars[start + n]: lane(whole, n) for n in range(size) if scalars[start + n] not in lanes}
    return [_on_lanes(s, lanes) for s in sums] if lanes else list(sums)


def vectors(places: Sequence[int], width: int) -> Iterator[tuple[int, int]]:
    """(first, size) of the vectors of up to `width` that bring what lies side by side: 0 .. 8 by fours is (0, 4), (4, 4); 8 is alone."""
    for _, group in groupby(enumerate(places), key=lambda pair: pair[1] - pair[0]):
        run = [place for _, place in group]
        first, past = run[0], run[-1] + 1
        while past - first >= width:
            yield first, width
            first += width
        rest = past - first
        if rest > 1 and len(run) >= width:
            yield past - width, width
        elif rest > 1:
            yield first, 2


def scalars_of(s: Let) -> list[Expr]:
    """The scalars from memory, widened or not, by which a sum of vectors multiplies."""
    value = s.value
    if value.op != "mul_add" or s.register.lanes == 1 or s.register.dtype is not f32:
        return []
    return [n for n in value.args[:2] if (x := _loaded(n)).op == "load" and x.lanes == 1 and x.dtype in (f16, f32)
            and x.data[0].dtype is x.dtype and x.args[0].lanes == 1 and not x.data[0].constant]


def _loaded(factor: Expr) -> Expr:
    """What is loaded for a factor of f32."""
    return factor.args[0] if factor.op == "cast" else factor


def _on_lanes(s: Let, lanes: dict[Expr, Expr]) -> Let:
    if not any(n in lanes for n in scalars_of(s)):
        return s
    a, b, c = s.value.args
    return replace(s, value=mul_add(lanes.get(a, a), lanes.get(b, b), c))
