"""Cuts the loops of a kernel into a range of positions, so that threads can share its work.

The outermost loops whose iterations do not depend on each other are numbered through: one position is one iteration of the innermost loop
counted, or one register tile that stands beside such a loop. A kernel that is cut has two more arguments and walks the positions from
`first` below `last`; each element is computed by the same code whatever range it falls in, so cutting never changes a bit.

    for t in 0..4: for y in 0..56: ...      ->      for t in first//56..ceil(last/56): for y in max(0, first-56*t)..min(56, last-56*t): ...

What a thread stores should lie together, since the same thread will read it in the next kernel, from its own cache. Where the inner of two
loops takes the longer steps through the result (channels outside, pixels inside), positions are numbered across: inner * 4 + t.

    for t in 0..4: for y in 0..56: ...      ->      for t in 0..4: for y in ceil((first-t)/4)..ceil((last-t)/4): ...
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from edgec.expr import Expr, binary, compare, const, fresh
from edgec.linear import split
from edgec.loops import Block, For, If, Param, Stmt, Store, expressions, flattened, statements
from edgec.passes.tile import Tiled
from edgec.sweeps import walk
from edgec.types import index

DEPTH = 3              # so many loops around each other are numbered through at most
POSITIONS = 1 << 14    # loops are not entered for more positions than this
SLOTS = (2, 3, 4, 8)   # the numbers of threads that a cut should serve well
BALANCED = 0.93        # the share of an even division that is good enough not to enter another loop
BYTES_PER_CYCLE = 16   # what one core draws from a cache that it shares
COSTLY = {"div": 4, "floordiv": 4, "sqrt": 4, "exp": 16, "log": 16, "tanh": 20, "erf": 20, "pow": 32, "sin": 20, "cos": 20}


@dataclass(frozen=True, eq=False)
class Cuttable:
    """A kernel with numbered positions: the cycles that each is estimated to take, and how many loops are entered for them."""

    tiled: Tiled
    weights: np.ndarray
    depth: int
    across: bool = False  # of two loops the inner one is numbered first

    @property
    def positions(self) -> int:
        return len(self.weights)

    @property
    def cycles(self) -> float:
        return float(self.weights.sum())

    def bounds(self, parts: int) -> tuple[int, ...]:
        """Where `parts` ranges of nearly equal work begin, and where the last one ends. A range may be empty."""
        total = np.concatenate([[0.0], np.cumsum(self.weights)])
        wanted = total[-1] * np.arange(1, parts) / parts
        inner = np.searchsorted((total[1:] + total[:-1]) / 2, wanted)  # a position belongs to the range that holds its middle
        return (0, *(int(b) for b in inner), self.positions)


def estimated_cycles(tiled: Tiled, target: Any) -> float:
    """The cycles that one thread is estimated to take for all of a kernel."""
    return _with_memory(tiled, target, Known(target.fma))


def cuttable(tiled: Tiled, target: Any) -> Cuttable | None:
    """The positions of a kernel, over as few loops as give every number of threads its even share; None where nothing can be cut."""
    memo = Known(target.fma)
    cycles = _with_memory(tiled, target, memo)
    best: Cuttable | None = None
    for depth in range(1, DEPTH + 1):
        weights = _weights(tiled.pieces, depth, tiled.parallel, memo)
        if weights is None or best is not None and not best.positions < len(weights) <= POSITIONS:
            break
        found = Cuttable(tiled, weights * (cycles / max(weights.sum(), 1e-9)), depth)
        if best is None or balance(found) > balance(best):
            best = found
        if balance(found) >= BALANCED:
            break
    if best is not None and (outer := _crossed(tiled)) is not None:
        weights = np.repeat(_weights(outer.body, 1, tiled.parallel, memo), trips(outer))
        found = Cuttable(tiled, weights * (cycles / max(weights.sum(), 1e-9)), 2, across=True)
        best = found if balance(found) >= min(BALANCED, balance(best)) and found.positions <= POSITIONS else best
    return best if best is not None and best.positions > 1 else None


def balance(kernel: Cuttable, parts: int = 24) -> float:
    """The least of the speeds that 2, 3, 4 and 8 threads reach, relative to an even division, when each takes its neighbouring parts."""
    ends = np.concatenate([[0.0], np.cumsum(kernel.weights)])[list(kernel.bounds(parts))]
    if not ends[-1] > 0:
        return 1.0
    shares = [np.diff(ends[:: parts // slots]).max() * slots / ends[-1] for slots in SLOTS]
    return float(1 / max(shares))


def ranged(kernel: Cuttable) -> Tiled:
    """The loops with two more symbols, `first` and `last`, that walk the positions from one below the other."""
    first, last = fresh("first", 0, kernel.positions), fresh("last", 0, kernel.positions)
    old = kernel.tiled
    pieces = [_limited_across(old.pieces[0], first, last)] if kernel.across else \
        _limited(old.pieces, kernel.depth, first, last, old.parallel)
    loops = replace(old.loops, symbols=(*old.loops.symbols, first, last), body=flattened(pieces))
    return replace(old, loops=loops, pieces=tuple(pieces))


# ------------------------------------------------------------------------------------------------------------- positions


def _is_list(body: Sequence[Stmt], parallel: frozenset[Expr]) -> bool:
    """Whether the statements are loops and tiles that do not depend on each other."""
    return all(isinstance(s, Block) or isinstance(s, For) and s.var in parallel for s in body)


def trips(loop: For) -> int:
    """How often a loop runs at most."""
    reach = (loop.stop - loop.start).hi
    if loop.stop.op == "min":  # a block: its end is the end of all, or a number of steps after its start
        reach = min([reach, *((end - loop.start).hi for end in loop.stop.args)])
    return max(0, -(-reach // loop.step))


def _weights(body: Sequence[Stmt], depth: int, parallel: frozenset[Expr], memo: Known) -> np.ndarray | None:
    """The cycles of every position; None where the statements cannot be numbered."""
    if depth == 0 or not body or not _is_list(body, parallel):
        return None
    parts = []
    for statement in body:
        if isinstance(statement, Block):
            parts.append(np.array([_cycles(statement.body, memo)]))
            continue
        inner = _weights(statement.body, depth - 1, parallel, memo)
        if inner is None:
            inner = np.array([_cycles(statement.body, memo)])
        if trips(statement) * len(inner) > 64 * POSITIONS:
            return None
        parts.append(np.tile(inner, trips(statement)))
    return np.concatenate(parts)


def _size(body: Sequence[Stmt], depth: int, parallel: frozenset[Expr]) -> int:
    """How many positions a body has; one where it is not numbered."""
    if depth == 0 or not body or not _is_list(body, parallel):
        return 1
    return sum(1 if isinstance(s, Block) else trips(s) * _size(s.body, depth - 1, parallel) for s in body)


def _limited(body: Sequence[Stmt], depth: int, first: Expr, last: Expr, parallel: frozenset[Expr]) -> list[Stmt]:
    """The statements at the positions from `first` below `last`."""
    if depth == 0 or not _is_list(body, parallel):
        return list(body)
    found: list[Stmt] = []
    base = 0
    for statement in body:
        low, high = first - base, last - base
        if isinstance(statement, Block):
            found.append(If(binary("and", compare("le", low, 0), compare("lt", 0, high)), statement.body))
            base += 1
            continue
        size = _size(statement.body, depth - 1, parallel)
        base += trips(statement) * size
        found.append(_limited_loop(statement, size, depth, low, high, parallel))
    return found


def _limited_loop(loop: For, size: int, depth: int, low: Expr, high: Expr, parallel: frozenset[Expr]) -> For:
    start = loop.start + binary("max", const(0, index), low // size) * loop.step
    stop = binary("min", loop.stop, loop.start + ((high + (size - 1)) // size) * loop.step)
    if size == 1:
        return replace(loop, start=start, stop=stop)
    behind = ((loop.var - loop.start) // loop.step) * size
    return replace(loop, start=start, stop=stop, body=tuple(_limited(loop.body, depth - 1, low - behind, high - behind, parallel)))


# ---------------------------------------------------------------------------------------------------------------- across


def _crossed(tiled: Tiled) -> For | None:
    """The outer of two loops whose inner one takes the longer steps through the result; None where constants are most of what is read and
    stored, since every thread would read all of them."""
    outer = tiled.pieces[0] if len(tiled.pieces) == 1 else None
    if not isinstance(outer, For) or outer.start.free or outer.stop.free or not _is_list([outer], tiled.parallel):
        return None
    inner = [s for s in outer.body if isinstance(s, For)]
    if not inner or not _is_list(outer.body, tiled.parallel) or any(s.start.free or s.stop.free for s in inner):
        return None
    stores = [s for s in statements(inner[0].body) if isinstance(s, Store)]
    far = stores and all(_step(s, inner[0]) > _step(s, outer) > 0 for s in stores)
    sizes = Counter()
    for p in tiled.loops.params:
        sizes[p.constant] += (p.size if isinstance(p.size, int) else p.size.hi) * p.dtype.bytes
    return outer if far and sizes[True] <= sizes[False] else None


def _step(store: Store, loop: For) -> int:
    """Elements between what two iterations store."""
    return abs(split(store.index)[1].get(loop.var, 0)) * loop.step


def _limited_across(outer: For, first: Expr, last: Expr) -> For:
    """The iterations of inner loops at the positions from `first` below `last`, for every iteration of the outer one."""
    count, found, base = trips(outer), [], 0
    number = (outer.var - outer.start) // outer.step

    def reached(position: Expr) -> Expr:
        """Inner iterations whose position is below another."""
        return (position - number + (count - 1)) // count - base

    for statement in outer.body:
        if isinstance(statement, Block):
            low, high = reached(first), reached(last)
            found.append(If(binary("and", compare("le", low, 0), compare("lt", 0, high)), statement.body))
            base += 1
            continue
        start = statement.start + binary("max", const(0, index), reached(first)) * statement.step
        stop = binary("min", statement.stop, statement.start + reached(last) * statement.step)
        found.append(replace(statement, start=start, stop=stop))
        base += trips(statement)
    return replace(outer, body=tuple(found))


# ---------------------------------------------------------------------------------------------------------------- cycles


@dataclass(frozen=True)
class Known:
    """Cycles of statements that were counted, by identity; and whether the target multiplies and adds floats in one operation."""

    fused: bool
    cycles: dict[int, float] = field(default_factory=dict)


def _with_memory(tiled: Tiled, target: Any, memo: Known) -> float:
    """Cycles of the whole kernel: those of its operations, or those in which its operands come and its results go."""
    touched: Counter[Param] = Counter()
    _bytes(tiled.pieces, 1, touched)
    sizes = {p: (p.size if isinstance(p.size, int) else p.size.hi) * p.dtype.bytes for p in tiled.loops.params}
    moved = sum(min(sizes[p], touched[p]) for p in sizes)
    return max(_cycles(tiled.pieces, memo), moved / BYTES_PER_CYCLE)


def _bytes(body: Sequence[Stmt], times: int, touched: Counter[Param]) -> None:
    """Add the bytes that statements load and store to `touched`."""
    own = [s for s in body if not isinstance(s, (For, Block))]
    for node in walk(*(e for s in own for e in expressions(s))):
        if node.op == "load":
            touched[node.data[0]] += times * node.lanes * node.dtype.bytes
    for s in body:
        match s:
            case For():
                _bytes(s.body, times * trips(s), touched)
            case Block():
                _bytes(s.body, times, touched)
            case If():
                _bytes(s.body, times, touched)
            case Store():
                touched[s.param] += times * s.value.lanes * s.param.dtype.bytes


def _cycles(body: Sequence[Stmt], memo: Known) -> float:
    """A rough count: two operations, or two loads, or one store a cycle; index arithmetic and copies are free."""
    total = 0.0
    own = [s for s in body if not isinstance(s, (For, Block))]
    for node in walk(*(e for s in own for e in expressions(s))):
        if node.dtype is not index and node.op not in ("const", "get", "splat", "lane", "vector", "iota", "inside"):
            total += 0.5 * (2 if node.op == "mul_add" and node.dtype.is_float and not memo.fused else COSTLY.get(node.op, 1))
    for s in body:
        if id(s) not in memo.cycles:
            memo.cycles[id(s)] = _statement_cycles(s, memo)
        total += memo.cycles[id(s)]
    return total


def _statement_cycles(s: Stmt, memo: Known) -> float:
    match s:
        case For():
            return trips(s) * (_cycles(s.body, memo) + 1)
        case Block():
            return _cycles(s.body, memo)
        case If():
            return max(_cycles(s.body, memo), _cycles(s.orelse, memo))
        case Store():
            return 1.0
    return 0.0
