"""What the first sums of a round take by dealt loads is loaded at the end of the round before, while its last sums go on.

A loop of sums begins with loads that nothing hides on a core that runs code in its order. Those of its first sums become registers that
the loop carries: loaded before it, and in each round for the next one. The last round loads its own once more, so nothing is read that
no sum takes.

    for i < n: acc = x[i] * w[i] + acc   ->   a, b = x[0], w[0];  for i < n: acc = a * b + acc;  a, b = x[min(i + 1, n - 1)], w[...]
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from edgec.expr import Expr, minimum
from edgec.linear import coefficient, join, split
from edgec.loops import Block, For, If, Let, Register, Stmt, get, iota
from edgec.passes.in_order import deals_rows
from edgec.sweeps import substitute, transform, walk

NEAR = 8    # sums before which the first loads of a round would keep them waiting
LEAST = 64  # sums of a round whose end leaves room for loads of the next one


def loads_ahead(body: Sequence[Stmt], target: Any) -> list[Stmt]:
    """The statements with rounds of sums whose rows come from blocks of channels (`dealt_rows`) that load ahead."""
    if not deals_rows(target):
        return list(body)
    return [new for s in body for new in _ahead(s, target.dealt_vectors)]


def _ahead(s: Stmt, dealt: int) -> list[Stmt]:
    match s:
        case For() if all(isinstance(each, Let) and each.value.op == "mul_add" for each in s.body):
            return _carried(s, dealt)
        case For() | Block():
            return [replace(s, body=tuple(new for each in s.body for new in _ahead(each, dealt)))]
        case If():
            parts = [tuple(new for each in part for new in _ahead(each, dealt)) for part in (s.body, s.orelse)]
            return [replace(s, body=parts[0], orelse=parts[1])]
    return [s]


def _carried(loop: For, dealt: int) -> list[Stmt]:
    loads = [[n for n in walk(s.value) if n.op == "load"] for s in loop.body]
    every = dict.fromkeys(n for each in loads for n in each)
    if len(loop.body) < LEAST or loop.step != 1 or loop.stop.op != "const" or not any(not n.data[0].constant for n in every):
        return [loop]
    if any(n.lanes == 1 or coefficient(n.args[0], iota(n.lanes)) != dealt or loop.var not in n.free for n in every):
        return [loop]
    near = {_block(n, dealt) for each in loads[:NEAR] for n in each}
    mine = {n: Register(f"ahead{number}", n.dtype, n.lanes) for number, n in enumerate(n for n in every if _block(n, dealt) in near)}
    following = minimum(loop.var + 1, loop.stop - 1)
    sums = [replace(s, value=transform((s.value,), lambda n: get(mine[n]) if n in mine else None)[0]) for s in loop.body]
    first = [Let(r, substitute(n, {loop.var: loop.start})) for n, r in mine.items()]
    return [*first, replace(loop, body=(*sums, *(Let(r, substitute(n, {loop.var: following})) for n, r in mine.items())))]


def _block(n: Expr, dealt: int) -> tuple[Any, Expr]:
    """The dealt load that brings a vector."""
    constant, terms = split(n.args[0])
    return n.data[0], join(constant - constant % dealt, terms)
