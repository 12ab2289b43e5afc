"""Rows of a tile whose elements lie side by side in blocks are loaded by one instruction that deals them out, a vector for each step.

A buffer in blocks of channels has four channels of a point together and its neighbours behind them. Four rows of a tile (neighbouring
points) read sixteen elements that lie side by side in four steps of a sum: loaded in turn, step k is one vector, and a row is its lane.

    row r, step k:  lane(x[i + 4*r : 4], k)   ->   lane(x[i + k + 4*iota(4)], r)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby, pairwise
from typing import Any

from edgec.expr import Expr, mul_add
from edgec.linear import join, split
from edgec.loops import Block, For, If, Let, Stmt, iota, lane, load
from edgec.passes.in_order import deals_rows
from edgec.types import f32

Place = tuple[Any, Expr, int]  # a parameter, what varies of an offset, the constant


def dealt_rows(body: Sequence[Stmt], target: Any) -> list[Stmt]:
    """The statements with such rows as lanes of dealt vectors, for a target that runs code in its order and has loads which deal."""
    if not deals_rows(target):
        return list(body)
    found: list[Stmt] = []
    for sums, group in groupby(body, key=lambda s: isinstance(s, Let)):
        found += _dealt(list(group), target.dealt_vectors) if sums else [_inside(s, target) for s in group]
    return found


def _inside(s: Stmt, target: Any) -> Stmt:
    match s:
        case For() | Block():
            return replace(s, body=tuple(dealt_rows(s.body, target)))
        case If():
            return replace(s, body=tuple(dealt_rows(s.body, target)), orelse=tuple(dealt_rows(s.orelse, target)))
    return s


def _dealt(sums: Sequence[Let], width: int) -> list[Stmt]:
    """A row of sums, between which memory does not change."""
    first: dict[Place, dict[int, int]] = {}  # of every vector: which sum takes a lane first
    for number, s in enumerate(sums):
        for n in _by_lane(s, width):
            first.setdefault(_place(n.args[0]), {}).setdefault(n.data, number)
    begins: dict[Place, Place] = {}
    for place in first:
        rows = [(*place[:2], place[2] + width * r) for r in range(width)]
        if place not in begins and _is_block(place, width) and all(r in first and r not in begins for r in rows) and \
                _step_by_step([first[r] for r in rows], width):
            begins |= dict.fromkeys(rows, place)
    return [_moved(s, begins, width) for s in sums] if begins else list(sums)


def _by_lane(s: Let, width: int) -> list[Expr]:
    """The lanes of vectors from memory by which a sum multiplies."""
    value = s.value
    if value.op != "mul_add" or s.register.lanes != width or s.register.dtype is not f32:
        return []
    lanes = [a for a in value.args[:2] if a.op == "lane" and a.args[0].op == "load" and a.args[0].lanes == width]
    return [a for a in lanes if a.args[0].args[0].lanes == 1 and not a.args[0].data[0].constant and not a.args[0].data[1]]


def _place(n: Expr) -> Place:
    constant, terms = split(n.args[0])
    return n.data[0], join(0, terms), constant


def _is_block(place: Place, width: int) -> bool:
    """Whether a block of channels begins here."""
    return place[2] % width == 0 and all(c % width == 0 for c in split(place[1])[1].values())


def _step_by_step(first: Sequence[dict[int, int]], width: int) -> bool:
    """Whether all rows take a lane before any takes the next."""
    steps = [[row.get(k) for row in first] for k in range(width)]
    return all(None not in step for step in steps) and all(max(a) < min(b) for a, b in pairwise(steps))


def _moved(s: Let, begins: dict[Place, Place], width: int) -> Let:
    def other(a: Expr) -> Expr:
        if a not in taken or (place := _place(a.args[0])) not in begins:
            return a
        param, base, start = begins[place]
        return lane(load(param, base + start + a.data + width * iota(width)), (place[2] - start) // width)

    taken = _by_lane(s, width)
    a, b, c = s.value.args if taken else (None, None, None)
    return replace(s, value=mul_add(other(a), other(b), c)) if taken else s
