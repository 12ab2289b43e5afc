"""Products of bytes that one sum takes one after another are added up in 16 bits before they are widened, as many as have room there.

For machines that multiply bytes to 16 bits and have no dot product for what is summed: the taps of a window that slides over each channel
by itself. Runs on finished loops. Types bound what is loaded, the numbers of a table the weights: with weights above -128 two products fit.

    acc += i32(x0) * i32(w0);  acc += i32(x1) * i32(w1)   ->   acc += i32(i16(x0) * i16(w0) + i16(x1) * i16(w1))

On NEON that is smull, smlal, saddw for two taps instead of smull, saddw, smull, saddw.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from edgec.backends.instruction import multiplies_bytes
from edgec.expr import Expr, cast
from edgec.loops import Block, For, If, Let, Register, Stmt, get
from edgec.passes.pack import Tables
from edgec.sweeps import walk
from edgec.types import i16, i32

ROOM = 2**15 - 1


def short_sums(body: Sequence[Stmt], tables: Tables, target: Any) -> list[Stmt]:
    """The statements with neighbouring products of bytes as sums of 16 bits, for a target that multiplies bytes to that."""
    return _Shorter(tables).statements(body) if multiplies_bytes(target.instructions) else list(body)


class _Shorter:
    """Walks a body and keeps back products until as many have come as are added up together."""

    def __init__(self, tables: Tables):
        self.tables = tables
        self.bounds: dict[Any, int] = {}

    def statements(self, body: Sequence[Stmt]) -> list[Stmt]:
        found, waiting = list[Stmt](), dict[Register, list[Let]]()
        for s in body:
            room = self._room(s)
            if room < 2:
                found += self._finished(waiting)
                found.append(self._inside(s))
                continue
            together = waiting.setdefault(s.register, [])
            if together and len(together) >= min(room, *map(self._room, together)):
                found += self._finished({s.register: waiting.pop(s.register)})
            waiting.setdefault(s.register, []).append(s)
        return found + self._finished(waiting)

    def _inside(self, s: Stmt) -> Stmt:
        match s:
            case For() | Block():
                return replace(s, body=tuple(self.statements(s.body)))
            case If():
                return replace(s, body=tuple(self.statements(s.body)), orelse=tuple(self.statements(s.orelse)))
        return s

    def _finished(self, waiting: dict[Register, list[Let]]) -> list[Stmt]:
        """What has been kept back, each register's products as one sum."""
        found = [self._together(sums) for sums in waiting.values()]
        waiting.clear()
        return found

    def _together(self, sums: Sequence[Let]) -> Let:
        if len(sums) == 1:
            return sums[0]
        products = [cast(a.args[0], i16) * cast(b.args[0], i16) for a, b, _ in (s.value.args for s in sums)]
        total = products[0]
        for product in products[1:]:
            total = total + product
        return Let(sums[0].register, get(sums[0].register) + cast(total, i32))

    def _room(self, s: Stmt) -> int:
        """How many products as large as this one 16 bits hold; 0 for anything but a product of bytes that a sum of vectors takes."""
        if not isinstance(s, Let) or s.value.op != "mul_add" or s.register.lanes < 8 or s.value.args[2] is not get(s.register):
            return 0
        a, b = (x.args[0] if x.op == "cast" and not x.data else x for x in s.value.args[:2])
        bytes_both = all(x.op == "load" and x.lanes == s.register.lanes and x.dtype.bits == 8 and x.dtype is a.dtype for x in (a, b))
        if s.register.dtype is not i32 or not bytes_both or any(n.op == "get" for x in (a, b) for n in walk(x)):
            return 0
        return ROOM // max(1, self._most(a) * self._most(b))

    def _most(self, x: Expr) -> int:
        """The largest magnitude of what is loaded."""
        param = x.data[0]
        if param not in self.bounds:
            data = self.tables.data(param) if param.constant else None
            ends = (int(data.min()), int(data.max())) if data is not None and data.size else (param.dtype.low, param.dtype.high)
            self.bounds[param] = max(-ends[0], ends[1])
        return self.bounds[param]
