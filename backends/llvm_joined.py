"""Vectors of a table that one instruction loads side by side: fewer instructions where four of them are wanted at every step of a sum.

Stands beside llvm_order.py, for targets that say so (`loads_four`) and order instructions themselves. Such a load knows no offset but moves
its address on, so the loads of a round follow one address, each from where the one before left it; what LLVM sees of that is no sum of
base and constant, else it would make an addition for each. Only the innermost loop's body is looked at, and only where the four vectors
find registers beside the sums and the rows.

    acc0 = x[k] * w[16*k : 4] + acc0; acc1 = x[k] * w[16*k + 4 : 4] + acc1; ...    ->   ld1 {v0, v1, v2, v3}, [w], #64
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from types import MappingProxyType
from typing import Any

from edgec.backends.llvm_spelling import suffix, vec
from edgec.expr import Expr
from edgec.linear import join, split
from edgec.loops import Let, Stmt, flattened
from edgec.sweeps import walk
from edgec.types import f32

FOUR = 4
LEAST = 2       # loads of four that follow each other, below which an address of their own is not worth it


@dataclass(frozen=True, eq=False)
class Four:
    """Four vectors that are loaded together, and what else the sums are the first to load that take them."""

    vectors: tuple[Expr, ...]
    beside: tuple[Expr, ...]


class Joined:
    """The methods for such loads of the class that emits values; `fours` has the vectors that come so in the loop being emitted."""

    fours: Mapping[Expr, Four] = MappingProxyType({})

    def _side_by_side_in(self, body: Sequence[Stmt]) -> dict[Expr, Four]:
        """Each vector of a table with the four that are loaded together with it; none for other targets and bodies."""
        if not self.target.loads_four or self.target.in_order:
            return {}
        sums = [s for s in flattened(body) if isinstance(s, Let) and s.value.op == "mul_add"]
        used = [[n for n in walk(self.portable(s.value)) if n.op == "load" and n.args[0].lanes == 1] for s in sums]
        tables = dict.fromkeys(n for each in used for n in each if _is_vector_of_table(n, self.target))
        turns = _turns(used, list(_fours(list(tables))))
        rows = {n for n in turns[0][1] if not n.data[0].constant} if turns else set()
        if not turns or self.target.registers - len({s.register for s in sums}) - len(rows) < FOUR:
            return {}
        seen, found = set[Expr](), dict[Expr, Four]()
        for four, loads in turns:
            beside = tuple(n for n in dict.fromkeys(loads) if n not in seen and n not in tables)
            seen.update(beside)
            found |= dict.fromkeys(four, Four(four, beside))
        return found

    def _joined(self, e: Expr) -> str:
        """One vector; its neighbours are loaded with it and rows behind them, and the address is left where the next four begin.

        A label before and behind these loads keeps LLVM's schedulers from having more of them in registers than there is room for.
        """
        four, kind = self.fours[e], self.of(e)
        param, base, constant = _place(four.vectors[0])
        self._boundary()
        key = ("behind", param, base, constant)
        address = self._lookup(key, base) or self.address(param, four.vectors[0].args[0])
        several, name = "{ " + ", ".join([kind] * FOUR) + " }", f"{self.target.loads_four}.{suffix(kind, e.lanes)}.p0"
        self.declare(name, several, ["ptr"])
        whole = self.emit(f"call {several} @{name}(ptr {address})")
        for number, n in enumerate(four.vectors):
            self._remember(n, n, self.emit(f"extractvalue {several} {whole}, {number}"))
        moved = self.emit(f"getelementptr inbounds {vec(self.type(e.dtype), e.lanes * FOUR)}, ptr {address}, {self.pointer} 1")
        own = self.emit(f'call ptr asm "", "=r,0"(ptr {moved}) nounwind memory(none)')
        self._remember(("behind", param, base, constant + FOUR * e.lanes), base, own)
        for n in four.beside:
            self.value(n)
        self._boundary()
        return self._lookup(e, e)


def _is_vector_of_table(n: Expr, target: Any) -> bool:
    param, active = n.data
    return param.constant and not param.dealt and not active and n.dtype is f32 and n.lanes == target.lanes(32)


def _place(n: Expr) -> tuple[Any, Expr, int]:
    constant, terms = split(n.args[0])
    return n.data[0], join(0, terms), constant


def _fours(tables: Sequence[Expr]) -> Iterator[tuple[Expr, ...]]:
    """Four vectors one behind the other, where several such follow each other and none is left over."""
    places: dict[tuple[Any, Expr], dict[int, Expr]] = {}
    for n in tables:
        param, base, constant = _place(n)
        places.setdefault((param, base), {})[constant] = n
    for vectors in places.values():
        for _, group in groupby(enumerate(sorted(vectors)), key=lambda pair: pair[1] - pair[0] * vectors[pair[1]].lanes):
            run = [vectors[constant] for _, constant in group]
            if len(run) % FOUR == 0 and len(run) >= LEAST * FOUR:
                yield from (tuple(run[k:k + FOUR]) for k in range(0, len(run), FOUR))


def _turns(used: Sequence[Sequence[Expr]], fours: Sequence[tuple[Expr, ...]]) -> list[tuple[tuple[Expr, ...], list[Expr]]]:
    """Each four with all that the sums load which take its vectors; nothing where more than one is wanted at a time."""
    own = {n: four for four in fours for n in four}
    wanted = [(next((own[n] for n in each if n in own), ()), each) for each in used]
    turns = [(four, [n for _, each in group for n in each]) for four, group in groupby(wanted, key=lambda pair: pair[0])]
    return turns if turns and len(turns) == len(fours) and all(four for four, _ in turns) else []
