"""What the rows of a window read along neighbours in memory is loaded by one instruction that deals it out, a lane for each element.

Four rows of a 7x7 convolution of stride 2 (the first layer of a CNN, whose input has channels outside) read elements 0 to 12 of a line
of the picture. Sixteen elements dealt to four vectors are one load, of which element i is lane i / 4 of vector i mod 4. The load may
begin and end a few elements further than any sum does, so the loop stands beside the one it was, which the ends of a picture take, and
the lines where a border cuts the window.

    for k: acc += x[i + k] * w[k]  ->  if whole(k) and i + .. + 16 <= size: for k: acc += lane(x[i + k%4 + 4*iota(4)], k/4) * w[k]  else ...
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from edgec.expr import Expr, binary, compare, const, fresh, is_const, mul_add
from edgec.linear import coefficient, join, split
from edgec.loops import Block, For, If, Let, Stmt, iota, lane, load
from edgec.passes.in_order import SLOTS, channel_block
from edgec.passes.scalar_runs import scalars_of
from edgec.sweeps import substitute
from edgec.types import index

LEAST = 24  # sums for each load, below which it is not worth a loop of its own


def dealt_windows(body: Sequence[Stmt], target: Any) -> list[Stmt]:
    """The statements with such loops, for a target that runs code in its order and has loads which deal."""
    return [_inside(s, target) for s in body] if channel_block(target) > 1 else list(body)


def _inside(s: Stmt, target: Any) -> Stmt:
    match s:
        case For() if all(isinstance(each, Let) for each in s.body):
            return _beside(s, target)
        case For() | Block():
            return replace(s, body=tuple(dealt_windows(s.body, target)))
        case If():
            return replace(s, body=tuple(dealt_windows(s.body, target)), orelse=tuple(dealt_windows(s.orelse, target)))
    return s


def _beside(loop: For, target: Any) -> Stmt:
    """The loop in dealt loads where these are in bounds, else as it is."""
    width, places = target.dealt_vectors, _places(loop, target)
    if len(places) != 1:
        return loop
    (param, base), constants = next(iter(places.items()))
    starts, along, low, high = blocks(constants, width), coefficient(base, loop.var), loop.start.lo, loop.stop.hi
    if along is None or along < 0 or not isinstance(param.size, int) or len(loop.body) < LEAST * len(starts) or high - low < 2:
        return loop
    inside = _is_whole(loop, base + min(starts), base + max(starts) + width * width, param.size)
    if is_const(inside, False):
        return loop
    k = fresh("k", low, high - 1)
    body = [replace(s, value=substitute(_dealt(s, base, starts, width), {loop.var: k})) for s in loop.body]
    whole = For(k, const(low, index), const(high, index), 1, tuple(body))
    return whole if is_const(inside) else If(inside, (whole,), (loop,))


def _places(loop: For, target: Any) -> dict[tuple[Any, Expr], list[int]]:
    """The scalars that a loop of sums reads, one each, by parameter and what varies of their places; none where dealt loads do not suit.

    Places of which all parts are multiples of a vector are blocks of channels (dealt_rows.py).
    """
    width, found = target.dealt_vectors, dict[tuple[Any, Expr], list[int]]()
    if loop.step != 1 or target.registers - len({s.register for s in loop.body}) < SLOTS * width:
        return {}
    for s in loop.body:
        scalars = scalars_of(s)
        if len(scalars) != 1 or scalars[0].op != "load" or not _is_sum(s, width):
            return {}
        constant, terms = split(scalars[0].args[0])
        if all(c % width == 0 for c in terms.values()):
            return {}
        found.setdefault((scalars[0].data[0], join(0, terms)), []).append(constant)
    return found


def _is_whole(loop: For, first: Expr, past: Expr, size: int) -> Expr:
    """Whether a loop goes round as often as it ever may, and what is read, from `first` to `past` in a round, is in bounds."""
    condition = compare("le", substitute(past, {loop.var: loop.stop - 1}), const(size, index))
    condition = binary("and", condition, compare("le", 0, substitute(first, {loop.var: loop.start})))
    for bound, extreme in ((loop.start, loop.start.lo), (loop.stop, loop.stop.hi)):
        if not is_const(bound):
            condition = binary("and", condition, compare("eq", bound, const(extreme, index)))
    return condition


def _is_sum(s: Let, width: int) -> bool:
    """Whether the other factor of a sum is part of a dealt load of constants."""
    others = [a for a in s.value.args[:2] if a.op == "load" and a.data[0].dealt == width] if s.value.op == "mul_add" else []
    return len(others) == 1 and s.register.lanes == width


def blocks(places: Sequence[int], width: int) -> list[int]:
    """Where blocks of width * width elements begin that hold all places: 1 .. 12 and 103 .. 112 by fours are 0 and 100.

    They begin at multiples of `width`, by which `dealt_place` knows them.
    """
    found: list[int] = []
    for place in sorted(set(places)):
        if not found or place >= found[-1] + width * width:
            found.append(place - place % width)
    return found


def _dealt(s: Let, base: Expr, starts: Sequence[int], width: int) -> Expr:
    """The sum with its scalar as a lane of a dealt vector."""
    scalar = scalars_of(s)[0]
    place = split(scalar.args[0])[0]
    start = max(b for b in starts if b <= place)
    number, which = (place - start) % width, (place - start) // width
    element = lane(load(scalar.data[0], base + start + number + width * iota(width)), which)
    a, b, c = s.value.args
    return mul_add(element if a is scalar else a, element if b is scalar else b, c)
