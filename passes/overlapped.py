"""Tiles of short sums overlap: while the products of one are added up, what is left to do for the one before is done between them.

Scaling, rounding and storing a tile takes other units of a processor than its sums do, but the window in which instructions run out of
order is shorter than a tile, so the sums would wait. A loop over tiles hands the finished sums of a tile on to its next iteration, whose
first steps each do their share of it. Runs on the loops of a kernel after they are cut for threads; the schedule leaves it registers.

    for t < n: acc = 0; for k < 16: acc[r] += dot(...); y[t, r] = f(acc[r])
    ->  acc = sums of tile 0; done = acc
        for t in 1..n: acc = 0; acc[r] += dot(...); y[t - 1, 0] = f(done[0]); acc[r] += dot(...); y[t - 1, 1] = ...; done = acc
        y[n - 1, r] = f(done[r])
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

from edgec.expr import Expr, compare, const, is_const
from edgec.loops import For, If, Let, Loops, Prefetch, Register, Stmt, Store, get
from edgec.passes.nest import Nest
from edgec.sweeps import substitute, transform, walk
from edgec.types import index

REGISTERS = 32    # of a machine that has room for two tiles
MOST_STEPS = 64   # longer sums hide what follows them,
PER_OPERATION = 10  # and so do those of more steps than so many for each operation that follows
LEAST_STORES = 4
WRITTEN = 16      # steps of a loop that are written out, each with its share of the tile before


def overlaps(nest: Nest, target: Any) -> bool:
    """Whether tiles of a nest are to overlap: one short sum of dot products of as many terms everywhere, and a machine with room."""
    if not _suits(target) or len(nest.domains) != 1 or len(nest.axes) < 2:
        return False
    domain, = nest.domains.values()
    long = [e for e in domain.extents if not is_const(e, 1)]
    return (domain.body[0].op == "dot" and not domain.guards and not domain.peeled and len(domain.body) == 1 and len(long) <= 2
            and all(map(is_const, long)) and prod(e.data for e in long) <= min(MOST_STEPS, PER_OPERATION * _operations(nest))
            and not nest.is_update)


def _operations(nest: Nest) -> int:
    """What is computed of each sum."""
    seen, pending = set[Expr](), list(nest.values)
    while pending:
        node = pending.pop()
        if node not in seen and node.dtype is not index and node.op not in ("const", "load", "reduce"):
            seen.add(node)
            pending += node.args
    return len(seen)


def _suits(target: Any) -> bool:
    """Whether a machine runs out of order, with registers for two tiles, and takes scalars from memory."""
    return not (target.in_order or target.compact) and target.registers >= REGISTERS and target.scalar_operand == "memory"


@dataclass(frozen=True, eq=False)
class Tile:
    """The body of a loop over tiles: registers set, the sums, in a loop or written out, and stores of what becomes of them.

    Requests for memory may stand anywhere before the stores, and stay with the tile that they stand in.
    """

    start: tuple[Let | Prefetch, ...]
    sums: tuple[Let | Prefetch, ...]
    steps: For | None
    stores: tuple[Store, ...]

    @property
    def registers(self) -> list[Register]:
        return [s.register for s in self.start if isinstance(s, Let)]

    def statements(self) -> tuple[Stmt, ...]:
        """Everything before the stores."""
        return (*self.start, *(self.sums if self.steps is None else (self.steps,)))


def overlapped(loops: Loops, target: Any) -> Loops:
    """The loops of a kernel with tiles of short sums overlapped, where the machine has room for two of them."""
    return replace(loops, body=_body(loops.body)) if _suits(target) and any(isinstance(s, For) for s in loops.body) else loops


def _body(body: Sequence[Stmt]) -> tuple[Stmt, ...]:
    return tuple(new for s in body for new in (_loop(s) if isinstance(s, For) else (s,)))


def _loop(loop: For) -> Sequence[Stmt]:
    tile = _tile(loop.body)
    return [replace(loop, body=_body(loop.body))] if tile is None else _carried(loop, tile)


def _tile(body: Sequence[Stmt]) -> Tile | None:
    """What the body of a loop over tiles of short sums consists of; None for anything else."""
    first = next((n for n, s in enumerate(body) if isinstance(s, For) or isinstance(s, Let) and s.value.op == "dot"), len(body))
    stores = tuple(s for s in body[first:] if isinstance(s, Store))
    start, middle = body[:first], body[first:len(body) - len(stores)]
    plain = all(isinstance(s, (Let, Prefetch)) for s in start) and body[len(body) - len(stores):] == stores
    if not middle or len(stores) < LEAST_STORES or not plain:
        return None
    steps = middle[0] if len(middle) == 1 and isinstance(middle[0], For) else None
    tile = Tile(start, tuple(middle if steps is None else steps.body), steps, stores)
    fits = 2 * len(tile.registers) <= REGISTERS
    return tile if fits and _is_short(tile) and _is_apart(tile) else None


def _is_short(tile: Tile) -> bool:
    """Whether sums are dot products of a known, small number of steps."""
    loop = tile.steps
    known = loop is None or is_const(loop.start) and is_const(loop.stop) and loop.step == 1
    short = loop is None or known and loop.stop.data - loop.start.data <= MOST_STEPS
    return short and all(isinstance(s, Prefetch) or isinstance(s, Let) and s.value.op == "dot" for s in tile.sums)


def _is_apart(tile: Tile) -> bool:
    """Whether the sums of a tile need nothing of the tile before, and its stores no register but theirs."""
    mine, start, sums = set(tile.registers), _lets(tile.start), _lets(tile.sums)
    values = [s.value for s in (*start, *sums)]
    stored, read = {s.param for s in tile.stores}, {n.data[0] for n in walk(*values) if n.op == "load"}
    used = {n.data for s in tile.stores for n in walk(s.value, s.index) if n.op == "get"}
    free = not any(n.op == "get" for s in start for n in walk(s.value))
    return len(mine) == len(start) and {s.register for s in sums} == mine == used and free and stored.isdisjoint(read)


def _lets(body: Sequence[Stmt]) -> list[Let]:
    return [s for s in body if isinstance(s, Let)]


def _carried(loop: For, tile: Tile) -> list[Stmt]:
    """The loop with the stores of each tile in the iteration of the next one."""
    done = {r: Register(f"{r.name}.done", r.dtype, r.lanes) for r in tile.registers}
    stores = [replace(s, value=transform((s.value,), lambda n: get(done[n.data]) if n.op == "get" else None)[0]) for s in tile.stores]
    keep = [Let(mine, get(r)) for r, mine in done.items()]
    last = loop.start + (loop.stop - loop.start - 1) // loop.step * loop.step
    inner = (*tile.start, *_shared(tile, _at(stores, {loop.var: loop.var - loop.step})), *keep)
    whole = [*_at(tile.statements(), {loop.var: loop.start}), *keep, replace(loop, start=loop.start + loop.step, body=inner),
             *_at(stores, {loop.var: last})]
    if (loop.stop - loop.start).lo > 0:
        return whole
    return [If(compare("lt", loop.start, loop.stop), tuple(whole))]


def _shared(tile: Tile, stores: Sequence[Stmt]) -> list[Stmt]:
    """The sums of a tile, those of the first steps with their share of some stores behind each."""
    if tile.steps is None:
        steps = [[s] for s in tile.sums]
    else:
        first, last = tile.steps.start.data, min(tile.steps.stop.data, tile.steps.start.data + WRITTEN)
        steps = [_at(tile.sums, {tile.steps.var: const(k, index)}) for k in range(first, last)]
    count, body = len(steps), list[Stmt]()
    for n, step in enumerate(steps):
        body += [*step, *stores[len(stores) * n // count:len(stores) * (n + 1) // count]]
    left = tile.steps is not None and tile.steps.stop.data > last
    return [*body, replace(tile.steps, start=const(last, index))] if left else body


def _at(body: Sequence[Stmt], env: dict[Expr, Expr]) -> list[Stmt]:
    """Statements where variables have other values."""
    found: list[Stmt] = []
    for s in body:
        match s:
            case For():
                found.append(replace(s, body=tuple(_at(s.body, env))))
            case Store():
                found.append(replace(s, index=substitute(s.index, env), value=substitute(s.value, env)))
            case Let():
                found.append(replace(s, value=substitute(s.value, env)))
            case Prefetch():
                found.append(replace(s, index=substitute(s.index, env)))
    return found
