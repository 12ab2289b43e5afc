"""The text of a schedule, for files of measured schedules and for people: axes by place (i0, i1, ...; reductions r0, r1, ...).

    schedule ::= part | part ...        what is left out is none, or 1
    part     ::= vector AXIS tile, ...  the tiles of the vector axis, in order
               | sum REDUCTION          the reduction axis that fills vectors
               | rows AXIS xN | outer AXIS ... | middle AXIS ... [block N] | unroll N | partials N
    tile     ::= LANES[+LANES ...][/ACTIVE][ xN]     vectors of one tile, the real lanes of the last one if fewer, how many tiles

    vector i0 16+16 x3, 16/7 | rows i1 x14 | outer i2 | unroll 2
"""

from __future__ import annotations

import re
from typing import Any

from edgec.errors import ModelError
from edgec.expr import Expr
from edgec.kernel import Axis
from edgec.passes.legal import illegal
from edgec.passes.nest import Nest
from edgec.passes.schedule import Schedule
from edgec.passes.segments import Piece, Segment

TILE = re.compile(r"(\d+(?:\+\d+)*)(?:/(\d+))?(?: x(\d+))?")


def print_schedule(nest: Nest, plan: Schedule) -> str:
    """One line; `parse_schedule` reads it back."""
    names = axis_names(nest)
    reductions = {v: name for name, v in reduction_axes(nest).items()}
    parts = []
    if plan.vector is not None:
        parts.append(f"vector {names[plan.vector]} {', '.join(map(_tile, plan.segments))}")
    if plan.reduce_vector is not None:
        parts.append(f"sum {reductions[plan.reduce_vector]}")
    if plan.row is not None:
        parts.append(f"rows {names[plan.row]} x{plan.rows}")
    if plan.outer:
        parts.append("outer " + " ".join(names[a] for a in plan.outer))
    if plan.middle:
        parts.append("middle " + " ".join(names[a] for a in plan.middle) + (f" block {plan.block}" if plan.block else ""))
    parts += [f"{word} {n}" for word, n in (("unroll", plan.unroll), ("partials", plan.partials)) if n != 1]
    return " | ".join(parts) or "unroll 1"


def axis_names(nest: Nest) -> dict[Axis, str]:
    """i0, i1, ... by place."""
    return {a: f"i{n}" for n, a in enumerate(nest.axes)}


def reduction_axes(nest: Nest) -> dict[str, Expr]:
    """r0, r1, ...: the axes of all reductions, in order of their appearance."""
    axes = dict.fromkeys(v for d in nest.domains.values() for v in d.axes)
    return {f"r{n}": v for n, v in enumerate(axes)}


def _tile(segment: Segment) -> str:
    lanes, active = segment.piece.lanes, segment.piece.active
    text = "+".join(map(str, lanes)) + (f"/{active}" if active != lanes[-1] else "")
    return text + (f" x{segment.count}" if segment.count != 1 else "")


def parse_schedule(text: str, nest: Nest, target: Any) -> Schedule:
    """The schedule of a text for a nest. ModelError says what is no schedule, or no legal one of this nest."""
    reader = _Reader(nest)
    for part in text.split("|"):
        word, _, rest = part.strip().partition(" ")
        if word not in reader.READERS:
            raise ModelError(f"'{part.strip()}' is no part of a schedule", hint=f"parts begin with {', '.join(reader.READERS)}")
        reader.READERS[word](reader, rest.strip())
    plan = reader.plan()
    problem = illegal(nest, plan, target)
    if problem:
        raise ModelError(f"'{text.strip()}' is no schedule of this kernel: {problem}")
    return plan


class _Reader:
    """The parts read so far."""

    def __init__(self, nest: Nest):
        self.axes = {name: axis for axis, name in axis_names(nest).items()}
        self.reductions = reduction_axes(nest)
        self.vector: Axis | None = None
        self.segments: list[Segment] = []
        self.wide: Expr | None = None
        self.row: Axis | None = None
        self.outer: tuple[Axis, ...] = ()
        self.middle: tuple[Axis, ...] = ()
        self.rows, self.block, self.copies, self.sums = 1, 0, 1, 1

    def plan(self) -> Schedule:
        return Schedule(self.vector, tuple(self.segments), self.wide, self.row, self.rows, self.outer, self.middle, self.block, self.sums,
                        self.copies)

    def read_vector(self, text: str) -> None:
        name, _, tiles = text.partition(" ")
        self.vector, at = self.axis(name), 0
        for tile in tiles.split(","):
            match = TILE.fullmatch(tile.strip())
            if not match:
                raise ModelError(f"'{tile.strip()}' is no tile", hint="a tile is 16+16, 16/7 or 16+16 x3")
            lanes = tuple(map(int, match[1].split("+")))
            segment = Segment(at, int(match[3] or 1), Piece(lanes, int(match[2] or lanes[-1])))
            self.segments.append(segment)
            at += segment.count * segment.piece.width

    def read_sum(self, text: str) -> None:
        if text not in self.reductions:
            raise ModelError(f"there is no reduction axis '{text}'", hint=f"there are {', '.join(self.reductions) or 'none'}")
        self.wide = self.reductions[text]

    def read_rows(self, text: str) -> None:
        name, _, count = text.partition(" x")
        self.row, self.rows = self.axis(name), self.number(count)

    def read_outer(self, text: str) -> None:
        self.outer = tuple(map(self.axis, text.split()))

    def read_middle(self, text: str) -> None:
        names, _, block = text.partition(" block ")
        self.middle, self.block = tuple(map(self.axis, names.split())), self.number(block or "0")

    def read_unroll(self, text: str) -> None:
        self.copies = self.number(text)

    def read_partials(self, text: str) -> None:
        self.sums = self.number(text)

    READERS = {"vector": read_vector, "sum": read_sum, "rows": read_rows, "outer": read_outer, "middle": read_middle,
               "unroll": read_unroll, "partials": read_partials}

    def axis(self, name: str) -> Axis:
        if name not in self.axes:
            raise ModelError(f"there is no axis '{name}'", hint=f"there are {', '.join(self.axes) or 'none'}")
        return self.axes[name]

    def number(self, text: str) -> int:
        if not text.isdigit() or len(text) > 9:
            raise ModelError(f"'{text}' is no number")
        return int(text)
