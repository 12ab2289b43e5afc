"""Constants of small integers in as few bits as their values need: two 4-bit numbers a byte, four of 2 bits, eight of 1.

What a kernel reads of a table of whole numbers (weights of 4 bits, the indices of a codebook) is looked at when its loops are finished. A
table whose numbers span at most 64 values is laid out anew, less than a byte a number (up to 256 values where they took more than a byte),
and decoded in registers: a load, a shift, a mask and the least value. Rows of the table are kept side by side, so that neighbours stay
neighbours and fill vectors: bits 4r to 4r+3 of byte [n, j] hold row 2n+r. Widths that are no power of two are several planes: 3 bits are
2 and 1.

    q[64*k + j] = -8 .. 7   ->   ((u32(q4[64*(k // 2) + j]) >> 4 * (k % 2)) & 15) - 8
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from edgec.expr import Expr, binary, cast, const, fresh, is_const
from edgec.loops import Block, For, If, Let, Param, Prefetch, Stmt, Store, expressions, load, statements
from edgec.passes.pack import Tables
from edgec.sweeps import substitute, transform, walk
from edgec.types import DTYPES, DType, u8, u32

MOST_BITS = 6      # of less than a byte: wider numbers would save an eighth of a byte
LEAST_SAVED = 256  # bytes; below that the code for decoding is larger than what it saves


@dataclass(frozen=True, eq=False)
class Coded:
    """A table in fewer bits: value = least + sum of plane << shift; each plane holds rows of `row` numbers, `bits` each."""

    dtype: DType
    least: int
    row: int
    planes: tuple[tuple[Param, int, int], ...]  # (bytes, bits a number, shift)

    def read(self, at: Expr, lanes: int, active: int, multiples: Multiples) -> Expr:
        """The numbers that a load of the table gives."""
        at, total = multiples.shown(at), None
        number, place = at // self.row, at % self.row
        for param, bits, shift in self.planes:
            each = 8 // bits
            byte, turn = (multiples.hidden(e) for e in ((number // each) * self.row + place, (number % each) * bits))
            packed = cast(load(param, byte, lanes, active), u32)
            part = binary("shr", packed, cast(turn, u32)) & const((1 << bits) - 1, u32) if each > 1 else packed
            part = binary("shl", part, const(shift, u32)) if shift else part
            total = part if total is None else total | part
        wide = cast(total, self.dtype if self.dtype.bits > 32 else DTYPES["i32"])
        return cast(wide + const(self.least, wide.dtype), self.dtype)


class Multiples:
    """Variables of loops with a step, of which remainders are known: `k` is `4*q` in sums, and `q` is `k // 4` in what comes of them."""

    def __init__(self, found: dict[Expr, tuple[Expr, int]] | None = None):
        self.found = found or {}

    def within(self, loop: For) -> Multiples:
        """Those that hold in the body of a loop as well."""
        if loop.step == 1 or not is_const(loop.start) or loop.start.data % loop.step:
            return self
        return Multiples({**self.found, loop.var: (fresh("q", loop.var.lo // loop.step, loop.var.hi // loop.step), loop.step)})

    def shown(self, e: Expr) -> Expr:
        """With the quotients in place of the variables."""
        return substitute(e, {v: q * step for v, (q, step) in self.found.items()})

    def hidden(self, e: Expr) -> Expr:
        """And back."""
        return substitute(e, {q: v // step for v, (q, step) in self.found.items()})


def bits(pieces: Sequence[Stmt], tables: Tables) -> list[Stmt]:
    """The statements of a kernel with its tables of small integers in fewer bits, where every load of them can be decoded."""
    loads: dict[Param, list[Expr]] = {}
    for n in walk(*(e for s in statements(pieces) for e in expressions(s))):
        if n.op == "load" and n.data[0].constant:
            loads.setdefault(n.data[0], []).append(n)
    coded = {param: found for param, each in loads.items() if (found := _coded(param, each, tables)) is not None}
    return [_replaced(s, coded, Multiples()) for s in pieces] if coded else list(pieces)


def _coded(param: Param, loads: Sequence[Expr], tables: Tables) -> Coded | None:
    """A table in fewer bits; None where that saves nothing, or where a vector would lie across its rows."""
    if not param.dtype.is_integer or not isinstance(param.size, int) or any(n.dtype is not param.dtype for n in loads):
        return None
    data = tables.data(param)
    least, width = int(data.min(initial=0)), (int(data.max(initial=0)) - int(data.min(initial=0))).bit_length()
    width = 8 if MOST_BITS < width <= 8 else width
    saved = data.size * (param.dtype.bits - width) // 8
    if not 1 <= width <= 8 or saved < LEAST_SAVED:
        return None
    row = next((r for r in (*tables.rows(param), 1) if all(_in_rows(n, r) for n in loads)), 0)
    if not row:
        return None
    planes, shift = [], 0
    for size in (8, 4, 2, 1):
        if width & size:
            plane = _plane((data.astype(np.int64) - least).astype(np.uint8) >> shift, size, row)
            planes.append((tables.add((param, "bits", shift), plane, f"{tables.stem(param)}.{size}bits", u8), size, shift))
            shift += size
    return Coded(param.dtype, least, row, tuple(planes))


def _in_rows(n: Expr, row: int) -> bool:
    """Whether the neighbours that a load takes lie in one row."""
    return n.lanes == 1 or (n.args[0] % row).hi + n.lanes <= row


def _plane(numbers: np.ndarray, size: int, row: int) -> np.ndarray:
    """bytes[n, j]: the lowest `size` bits of rows each*n, each*n+1, ..., the first in the lowest bits."""
    each = 8 // size
    rows = -(-numbers.size // row)
    padded = np.zeros((-(-rows // each) * each * row,), np.uint8)
    padded[:numbers.size] = numbers & ((1 << size) - 1)
    parts = padded.reshape(-1, each, row) << (np.arange(each) * size).astype(np.uint8)[:, None]
    return np.bitwise_or.reduce(parts, axis=1).astype(np.uint8)


def _replaced(s: Stmt, coded: dict[Param, Coded], multiples: Multiples) -> Stmt:
    """A statement that reads the coded tables."""
    def one(e: Expr) -> Expr:
        return transform((e,), lambda n: _decoded(n, coded, multiples))[0]

    def all_of(body: Sequence[Stmt]) -> tuple[Stmt, ...]:
        return tuple(_replaced(each, coded, multiples.within(s) if isinstance(s, For) else multiples) for each in body)

    match s:
        case For():
            return replace(s, start=one(s.start), stop=one(s.stop), body=all_of(s.body))
        case Block():
            return replace(s, body=all_of(s.body))
        case If():
            return replace(s, condition=one(s.condition), body=all_of(s.body), orelse=all_of(s.orelse))
        case Let():
            return replace(s, value=one(s.value))
        case Prefetch():
            return Block(()) if s.param in coded else s
        case Store():
            return replace(s, index=one(s.index), value=one(s.value))
    return s


def _decoded(n: Expr, coded: dict[Param, Coded], multiples: Multiples) -> Expr | None:
    if n.op != "load" or n.data[0] not in coded:
        return None
    return coded[n.data[0]].read(n.args[0], n.lanes, n.data[1], multiples)
