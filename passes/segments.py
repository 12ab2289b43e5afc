"""How the vector axis of a nest is cut: into tiles of equal vectors and one smaller tile, which wastes no lane.

    segments_of(axis of 70, vectors=2, lanes=16, target)   # two tiles of 16 + 16 lanes, then 4 + 2 (or one masked vector of 6)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from edgec.kernel import Axis


@dataclass(frozen=True)
class Piece:
    """Consecutive vectors of one tile along the vector axis: lanes of each, and how many of the last one's lanes are real."""

    lanes: tuple[int, ...]
    active: int

    @property
    def width(self) -> int:
        return sum(self.lanes[:-1]) + self.active


@dataclass(frozen=True)
class Segment:
    """Part of the vector axis: `count` tiles of equal pieces from `start` on."""

    start: int
    count: int
    piece: Piece


def segments_of(axis: Axis, vectors: int, lanes: int, target: Any, joined: int = 1) -> tuple[Segment, ...]:
    """Whole tiles, then one smaller tile: masked where masks are cheap, else cut into powers of two."""
    width = vectors * lanes
    whole, rest = axis.extent // width, axis.extent % width
    found = [Segment(0, whole, ragged(width, lanes * joined, False))] if whole else []
    if rest:
        found.append(Segment(whole * width, 1, ragged(rest, lanes * joined, target.masks)))
    return tuple(found)


def ragged(rest: int, lanes: int, masks: bool) -> Piece:
    """One tile of `rest` neighbours: whole vectors, then what is left in powers of two, or masked."""
    full, tail = divmod(rest, lanes)
    pieces = [lanes] * full
    if tail and masks and tail & (tail - 1):
        return Piece((*pieces, lanes), tail)
    while tail:
        part = 1 << (tail.bit_length() - 1)
        pieces.append(part)
        tail -= part
    return Piece(tuple(pieces), pieces[-1])
