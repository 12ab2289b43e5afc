"""Addresses that a loop carries from round to round, one register each: the part of the code generator for rounds of dealt loads.

A load that deals elements out to several vectors knows no offsets, so each has an address of its own. LLVM would keep few and add to
them in front of the first load, which waits for two additions in a row; carried, each takes one, behind the last sum, where a core that
runs code in its order waits for the branch in any case. What is loaded for the next round (loads_ahead.py) stays where it is at the
end: one count of the rounds that are left, less two, decides that and the branch.

    loop i < n: x1 = x + 64 * i; x2 = x1 + 16; ...   ->   loop: ...;  left -= 1;  x1 += 64;  x2 += 64;  ahead += left != 0 ? 64 : 0
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgec.expr import Expr
from edgec.linear import split
from edgec.loops import For, Let, Stmt
from edgec.sweeps import substitute

MOST = 24  # addresses in registers beside the count and steps that are no constants of an addition
BETWEEN = 4  # additions between the count and what it decides, which they would wait for


@dataclass
class Pointer:
    """The address of a dealt load: its parameter and place, the bytes by which a round moves it, whether it is that of the next round,
    its names before the loop, in a round and after it."""

    param: Any
    base: Expr
    step: int
    ahead: bool
    before: str
    name: str
    after: str = ""


class Pointers:
    """The methods for such addresses of the class that emits values."""

    pointers: Sequence[Pointer] = ()  # of the loop whose body is being emitted

    def _pointers(self, loop: For) -> list[Pointer]:
        """The addresses that a loop carries, their first places emitted in front of it; none where its body is something else."""
        rounds = self._slotted(loop.body)
        if not rounds or loop.step != 1 or len(rounds) > MOST or not _only_in_places(loop.body, loop.var):
            return []
        found = []
        for param, base, _ in rounds:
            moving = [(atom, c) for atom, c in split(base)[1].items() if loop.var in atom.free]
            if not all(atom is loop.var or _is_ahead(atom, loop) for atom, _ in moving) or len(moving) > 1:
                return []
            found.append((param, base, sum(c for _, c in moving) * param.dtype.bytes, any(atom is not loop.var for atom, _ in moving)))
        return [Pointer(*place, self.address(place[0], substitute(place[1], {loop.var: loop.start})), self._name()) for place in found]

    def _carry(self) -> None:
        """Let dealt loads of the present round find their addresses."""
        for p in self.pointers:
            self._remember(("dealt address", p.param, p.base), p.base, p.name)
            self._remember(("own address", p.param, p.base), p.base, p.name)

    def _advance(self, left: str) -> str:
        """The addresses of the next round and the count for it, given the present one's.

        LLVM would see that addresses lie side by side, and let loads add to them, if it knew what they are.
        """
        fewer = self._unknown(self.emit(f"add {self.pointer} {self._unknown(left, self.pointer)}, -1"), self.pointer)
        own, ahead = ([p for p in self.pointers if p.ahead is kind] for kind in (False, True))
        self._move(own[:BETWEEN], {})
        steps: dict[int, str] = {}
        for step in sorted({p.step for p in ahead if p.step}):
            goes_on = self.emit(f"icmp ne {self.pointer} {fewer}, 0")
            steps[step] = self._unknown(self.emit(f"select i1 {goes_on}, {self.pointer} {step}, {self.pointer} 0"), self.pointer)
        self._move(own[BETWEEN:], {})
        self._move(ahead, steps)
        return fewer

    def _move(self, pointers: Sequence[Pointer], steps: Mapping[int, str]) -> None:
        for p in pointers:
            if not p.step:
                p.after = p.name
                continue
            moved = f"getelementptr i8, ptr {self._unknown(p.name)}, {self.pointer} {steps.get(p.step, p.step)}"
            p.after = self._unknown(self.emit(moved))

    def _unknown(self, text: str, kind: str = "ptr") -> str:
        """The same address or number by assembly of no instruction, behind what is emitted before."""
        return self.emit(f'call {kind} asm sideeffect "", "=r,0"({kind} {text}) nounwind')


def carried_addresses(pointers: Sequence[Pointer], before: str, latch: str) -> list[str]:
    """The lines at the head of the loop, given the labels in front of it and at its end."""
    return [f"  {p.name} = phi ptr [ {p.before}, %{before} ], [ {p.after}, %{latch} ]" for p in pointers]


def _is_ahead(atom: Expr, loop: For) -> bool:
    """Whether part of a place is the number of the next round, or of the last one."""
    return atom.op == "min" and atom.args[0] is loop.var + 1 and atom.args[1] is loop.stop - 1


def _only_in_places(body: Sequence[Stmt], variable: Expr) -> bool:
    """Whether assignments take the variable of their loop in places of loads alone."""
    stack = [s.value for s in body if isinstance(s, Let)]
    while stack:
        node = stack.pop()
        if node is variable:
            return False
        stack += [] if node.op == "load" else node.args
    return True
