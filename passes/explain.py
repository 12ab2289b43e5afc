"""Says why a nest is walked as it is: the numbers `schedule` chose by, as data and in words.

    explain(nest, target).words      # '14 rows of i1 x 2 vectors of 16 of i0, 9 x 64 steps, k unrolled 4, packed weights'
    explain(nest, target).reasons    # ('vectors along i0 (0.13 memory accesses an element; i1 1.06)', ...)

Axes are named by their place in the nest: i0, i1, ...
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

from edgec.backends.instruction import dots as dot_rows
from edgec.backends.llvm_dots import matrix_row
from edgec.expr import Expr
from edgec.kernel import Axis
from edgec.passes.in_order import channel_block
from edgec.passes.nest import Domain, Nest
from edgec.passes.schedule import Schedule, TileChoice, bytes_touched, moving_loads, schedule, tile_choices, vector_cost, widest
from edgec.passes.schedule_text import axis_names
from edgec.sweeps import walk
from edgec.types import element_of, i32

SHOWN = 4  # tiles beside the chosen one that a reason names


@dataclass(frozen=True, eq=False)
class Explanation:
    """A schedule and the numbers behind it; `cycles` is for the whole nest, by the estimate that ranks the tiles."""

    schedule: Schedule
    axes: tuple[tuple[str, int], ...]             # names and largest extents
    vector_costs: tuple[tuple[str, float], ...]   # memory accesses an element where that axis fills vectors
    tiles: tuple[TileChoice, ...]                 # the chosen one, then the others by estimated cycles
    registers: int                                # that the chosen tile takes
    available: int
    cycles: float
    words: str
    reasons: tuple[str, ...]


def explain(nest: Nest, target: Any, plan: Schedule | None = None) -> Explanation:
    """Why `schedule` walks a nest as it does; with a `plan` of somebody else's, how that one compares."""
    chosen = schedule(nest, target)
    plan = plan or chosen
    names = axis_names(nest)
    lanes = target.lanes(widest(nest))
    wide = [a for a in nest.axes if isinstance(a.extent, int) and a.extent > 1]
    costs = tuple((names[a], vector_cost(nest, a, lanes, channel_block(target))) for a in wide)
    tiles = _ranked(nest, plan, target, lanes)
    steps = _steps(nest) * prod(a.max_extent for a in nest.axes if a not in (plan.vector, plan.row))
    cycles = tiles[0].cycles * steps if tiles else 0.0
    registers = tiles[0].registers if tiles else 0
    reasons = (*_arithmetic_reasons(nest, target), *_axis_reasons(plan, names, costs), *_tile_reasons(target, tiles, steps),
               *_order_reasons(nest, plan, target, names), *_latency_reasons(nest, plan, target))
    return Explanation(plan, tuple((names[a], a.max_extent) for a in nest.axes), costs, tiles, registers, target.registers, cycles,
                       words(nest, plan), reasons)


def _ranked(nest: Nest, plan: Schedule, target: Any, lanes: int) -> tuple[TileChoice, ...]:
    """The tiles that were to choose from, the plan's own first."""
    if not nest.domains or nest.is_update:
        return ()
    found = sorted(tile_choices(nest, target, plan.vector, plan.row, lanes), key=lambda t: t.cycles)
    vectors = max((len(s.piece.lanes) for s in plan.segments), default=1)
    own = [t for t in found if (t.rows, t.vectors) == (plan.rows, vectors)]
    return (*own, *(t for t in found if t not in own)) if own else ()


def _steps(nest: Nest) -> int:
    """Points of the longest reduction."""
    return max((prod(e.data if e.op == "const" else e.hi for e in d.extents) for d in nest.domains.values()), default=1)


# -------------------------------------------------------------------------------------------------------------------- words

def words(nest: Nest, plan: Schedule) -> str:
    """A schedule in words."""
    if nest.is_update:
        return "points one by one, in order"
    names = axis_names(nest)
    parts = [" x ".join(filter(None, (_rows(plan, names), _vectors(plan, names)))) or "one point at a time"]
    if plan.reduce_vector is not None:
        parts.append("the sum in vectors")
    parts += [_domain(d) for d in nest.domains.values()][:1]
    if nest.domains and plan.unroll > 1:
        parts.append(f"k unrolled {plan.unroll}")
    if nest.domains and plan.partials > 1:
        parts.append(f"{plan.partials} partial sums")
    if _packs(nest, plan):
        parts.append("packed weights")
    parts += [kind for kind in dict.fromkeys(arithmetic(d) for d in nest.domains.values()) if kind != "f32"]
    if plan.block:
        parts.append(f"blocks of {plan.block} of {names[plan.middle[0]]}")
    return ", ".join(parts)


def _rows(plan: Schedule, names: dict[Axis, str]) -> str:
    return f"{plan.rows} row{'s' * (plan.rows > 1)} of {names[plan.row]}" if plan.row is not None else ""


def _vectors(plan: Schedule, names: dict[Axis, str]) -> str:
    if plan.vector is None:
        return ""
    lanes = plan.segments[0].piece.lanes
    if set(lanes) == {1}:
        return f"{len(lanes)} of {names[plan.vector]}"
    same = len(set(lanes)) == 1
    sizes = f"{len(lanes)} vector{'s' * (len(lanes) > 1)} of {lanes[0]}" if same else f"vectors of {'+'.join(map(str, lanes))}"
    rest = sum(s.count * s.piece.width for s in plan.segments[1:])
    return f"{sizes} of {names[plan.vector]}" + (f" and {rest} more" if rest else "")


def _domain(d: Any) -> str:
    extents = [str(e.data if e.op == "const" else f"<={e.hi}") for e in d.extents]
    return f"{' x '.join(extents)} steps"


def _packs(nest: Nest, plan: Schedule) -> bool:
    loads = [n for d in nest.domains.values() for b in d.body for n in walk(b) if n.op == "load"]
    return plan.vector is not None and any(n.data[0].constant and plan.vector.var in n.free for n in loads)


# ------------------------------------------------------------------------------------------------------------------ reasons

def arithmetic(d: Domain) -> str:
    """What a sum of products is computed in: the elements of the words that a dot product takes, else the type of the sum."""
    body = d.body[0]
    if body.op != "dot":
        return body.dtype.name
    elements = [element_of(a.dtype) for a in body.args[1:]]
    return f"int{elements[0].bits} dot products" if body.dtype.is_integer else f"{elements[0].name} dot products"


def _arithmetic_reasons(nest: Nest, target: Any) -> list[str]:
    """Which arithmetic integers are multiplied in, and by which instruction; that of floats needs no word."""
    found = []
    for d in nest.domains.values():
        body = d.body[0]
        if d.combine == "add" and body.op == "dot" and body.dtype.is_integer:
            types = (body.dtype.name, *(element_of(a.dtype).name for a in body.args[1:]))
            block, row = matrix_row(target, body), next((r for r in dot_rows(target.instructions) if (r.acc, r.a, r.b) == types), None)
            if block:
                found.append(f"{types[1]} x {types[2]} by {block.row.name}: {block.rows} rows and {block.lanes} columns at once, "
                             f"{block.group} products each")
            elif row:
                found.append(f"{types[1]} x {types[2]} by {row.row.name}: {row.group} products a lane where f32 has one")
        elif d.combine == "add" and body.op == "mul" and body.dtype is i32:
            rows = {(r.a, r.b) for r in dot_rows(target.instructions) if r.acc == "i32"}
            why = "its factors do not lie in words along the sum" if rows else f"{target.name} has no dot product of integers"
            found.append(f"products in i32: {why}")
    return list(dict.fromkeys(found))


def _axis_reasons(plan: Schedule, names: dict[Axis, str], costs: tuple[tuple[str, float], ...]) -> list[str]:
    known = dict(costs)
    if plan.vector is None:
        listed = ", ".join(f"{name} {cost:.2f}" for name, cost in sorted(costs, key=lambda c: c[1]))
        return [f"no axis fills vectors: memory accesses an element would be {listed}"] if listed else []
    own = names[plan.vector]
    others = ", ".join(f"{name} {cost:.2f}" for name, cost in sorted(costs, key=lambda c: c[1]) if name != own)
    return [f"vectors along {own}: {known.get(own, 0):.2f} memory accesses an element" + (f" ({others})" if others else "")]


def _tile_reasons(target: Any, tiles: tuple[TileChoice, ...], steps: int) -> list[str]:
    if not tiles:
        return []
    own, rest = tiles[0], tiles[1:1 + SHOWN]
    others = ", ".join(f"{t.rows} x {t.vectors} {_cycles(t.cycles * steps)}" for t in rest)
    text = f"tile of {own.rows} x {own.vectors}: {_cycles(own.cycles * steps)} cycles estimated, "
    return [f"{text}{own.registers} of {target.registers} registers" + (f"; next of {len(tiles)}: {others}" if others else "")]


def _cycles(count: float) -> str:
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if count >= size:
            return f"{count / size:.3g}{letter}"
    return f"{count:.0f}"


def _order_reasons(nest: Nest, plan: Schedule, target: Any, names: dict[Axis, str]) -> list[str]:
    if plan.vector is None or not plan.middle:
        return []
    loads: list[Expr] = moving_loads(nest, plan.vector)
    inside = tuple(a for a in (plan.row, *plan.middle) if a is not None)
    cache, size = ("L2", target.l2_bytes) if target.l2_bytes else ("L1", target.l1_bytes)
    walked = ", ".join(names[a] for a in plan.middle)
    if plan.block:
        blocked = names[plan.middle[0]]
        return [f"blocks of {plan.block} of {blocked}: what one panel of weights meets then fits half of {cache} ({size >> 10} KB)"]
    kept = bytes_touched(loads, inside, nest)
    return [f"{walked} inside the vector tiles: the {kept / 1024:.3g} KB they walk fit half of {cache} ({size >> 10} KB)"]


def _latency_reasons(nest: Nest, plan: Schedule, target: Any) -> list[str]:
    if not nest.domains or plan.partials == 1:
        return []
    points = plan.rows * max((len(s.piece.lanes) for s in plan.segments), default=1)
    needed = target.fma_latency * target.fma_per_cycle
    few = f"{points} accumulator{'s' * (points > 1)} do not hide"
    return [f"{plan.partials} partial sums: {few} the latency of a multiply-add, {needed} would"]
