"""Chooses how a nest is walked: which axis fills vectors, which gives the rows of the register tile, how big it is, in what order loops go.

All from axes, strides and the target's numbers; an operator's name is not even known here.

    schedule(nest, target)   # Schedule(vector=o, pieces=((32, (16, 16)),), row=x, rows=14, ...)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from edgec.expr import Expr
from edgec.kernel import Axis
from edgec.linear import coefficient, coefficient_within
from edgec.loops import group_of
from edgec.passes.halves import taken_as_halves
from edgec.passes.in_order import (
    LANES,
    alone,
    blocked_cycles,
    blocked_registers,
    channel_block,
    deals,
    dealt_registers,
    dealt_together,
    in_blocks,
    round_length,
    slides,
    step_cycles,
    suits_blocks,
    window_registers,
)
from edgec.passes.matrix_tiles import cycles as matrix_cycles, is_column, matrix_of, registers as matrix_registers
from edgec.passes.nest import Nest, strides_of
from edgec.passes.overlapped import overlaps
from edgec.passes.points import is_picked
from edgec.passes.scalar_dots import between, calls_of, instructions, registers as scalar_registers
from edgec.passes.segments import Segment, ragged, segments_of
from edgec.passes.wide_dots import wide_axis
from edgec.sweeps import walk

MAX_POINTS = 30       # points of a register tile; more would not fit any machine's registers
PANEL = 0.3           # the share of L2 beyond which the packed constants of one tile are fetched again by every row of tiles
STREAM = 32.0         # bytes a cycle at which they then arrive
WAYS = 8              # of a first-level cache
UNROLL_LIMIT = 12     # reductions of at most this many points are written out
POINTERS = 8          # loads at places that other loads give, beyond which a kernel is left scalar
SMALL_TILE = 24       # points of a register tile where code is to be small


@dataclass(frozen=True, eq=False)
class Schedule:
    """How one nest is walked."""

    vector: Axis | None            # the axis whose neighbours fill a vector
    segments: tuple[Segment, ...]  # how it is cut into tiles
    reduce_vector: Expr | None     # or: the reduction axis that fills vectors
    row: Axis | None               # the axis of the tile's rows
    rows: int
    outer: tuple[Axis, ...]        # loops around the vector tiles, outermost first
    middle: tuple[Axis, ...]       # loops between the vector tiles and the rows
    block: int                     # the first middle axis is walked in blocks of this many around the vector tiles (0: no blocks)
    partials: int                  # independent accumulators per point, merged at the end
    unroll: int                    # copies of the innermost reduction step


def schedule(nest: Nest, target: Any) -> Schedule:
    """The schedule of a nest for a target's description."""
    lanes = target.lanes(widest(nest))
    if nest.is_update or _follows_pointers(nest):  # points may meet in one element: they go one by one, in order
        return Schedule(None, (), None, None, 1, nest.axes, (), 0, 1, 1)
    wide = wide_axis(nest, target)
    if wide is not None:  # sums of whole vectors: the points of a tile are scalars
        vector = _scalar_column(nest)
        row = row_axis(nest, vector)
        rows, columns = _tile_size(nest, target, vector, row, 1, 1)
        return arranged(nest, target, vector, row, rows, columns, wide)
    block = channel_block(target)
    vector = _vector_axis(nest, lanes, block) if lanes > 1 else _scalar_column(nest)
    reduce_vector = _reduce_vector(nest, lanes) if lanes > 1 and (vector is None or _gathers(nest, vector, block)) else None
    vector = None if reduce_vector is not None else vector
    row = row_axis(nest, vector)
    rows, vectors = _tile_size(nest, target, vector, row, lanes)
    return arranged(nest, target, vector, row, rows, vectors, reduce_vector)


def _follows_pointers(nest: Nest) -> bool:
    """Whether a point goes from one load to the next: in vectors, every lane would do so by itself, in as many copies of the code."""
    if nest.domains:
        return False
    return sum(1 for n in nest.loads if any(m.op == "load" for m in walk(n.args[0]))) > POINTERS


def arranged(nest: Nest, target: Any, vector: Axis | None, row: Axis | None, rows: int, vectors: int,
             reduce_vector: Expr | None = None) -> Schedule:
    """The schedule with a given register tile: how the vector axis is cut, the order of the other loops, sums and unrolling follow."""
    lanes = target.lanes(widest(nest)) if reduce_vector is None else 1
    segments = segments_of(vector, vectors, lanes, target, joined(nest, target) if lanes > 1 else 1) if vector else ()
    rest = tuple(a for a in nest.axes if a is not vector and a is not row)
    outer, middle, block = _loop_order(nest, target, vector, row, rest)
    if sum(segment.count for segment in segments) <= 1:  # one vector tile meets every operand once, whatever the order
        outer, middle, block = rest, (), 0
    points = rows * (vectors if vector else 1)
    partials = _partials(nest, target, points)
    unroll = _unroll(nest, target, points, partials, row)
    return Schedule(vector, segments, reduce_vector, row, rows, outer, middle, block, partials, unroll)


def widest(nest: Nest) -> int:
    """Bits of the widest element computed with (8-bit data that is summed in 32 bits fills vectors of 32-bit lanes).

    Where products are summed up in 16 bits, that is what fills vectors.
    """
    if any(d.sums_halves for d in nest.domains.values()):
        return 16
    bits = [n.dtype.bits for n in walk(*nest.values) if n.dtype.name not in ("index", "bool") and n.dtype.kind != "w" and n.op != "const"]
    return max(bits, default=nest.values[0].dtype.bits)


def joined(nest: Nest, target: Any) -> int:
    """How many vectors of the widest elements are one value of the loops, since their results fill one vector when they are stored."""
    stored = min(r.target.dtype.bits for r in nest.results)
    return max(1, min(target.joined_vectors, widest(nest) // stored)) if widest(nest) == 32 else 1


def _vector_axis(nest: Nest, lanes: int, block: int) -> Axis | None:
    """The parallel axis with the cheapest memory accesses when its neighbours share a vector; None when a reduction axis is better."""
    best, best_cost = None, float(len(nest.loads) + 1) * 1.01
    for axis in nest.axes:
        if isinstance(axis.extent, int) and axis.extent > 1 and is_column(nest, axis):
            cost = vector_cost(nest, axis, lanes, block)
            if cost < best_cost:
                best, best_cost = axis, cost
    return best


def vector_cost(nest: Nest, axis: Axis, lanes: int, block: int = 1) -> float:
    """Accesses per element when `axis` fills vectors: 1/lanes for neighbours, about 1 for a gather; border tests cost like gathers.

    Neighbours within groups of `block` will do where buffers lie in blocks of channels.
    """
    cost = _access(coefficient_within(nest.offset, axis.var, block), lanes, packable=False)
    for n in nest.loads:
        c = coefficient_within(n.args[0], axis.var, block)
        cost += 1.0 / lanes if is_picked(n) else _access(c if group_of(n) == 1 else _words(c, n), lanes, packable=n.data[0].constant)
    guarded = any(axis.var in i.free for d in nest.domains.values() for i, _ in d.guards)
    guarded = guarded or any(n.op == "inside" and any(axis.var in a.free for a in n.args[2:]) for n in walk(*nest.values))
    guarded = guarded or any(axis.var in i.free for r in nest.results for i, _ in r.guards)
    return cost * max(1.0, lanes / axis.extent) * (2.0 if guarded else 1.0)


def _words(c: int | None, n: Expr) -> int | None:
    """A step through elements as one through words; None where it is none."""
    return c // group_of(n) if c is not None and c % group_of(n) == 0 else None


def _access(c: int | None, lanes: int, packable: bool) -> float:
    if c == 1 or (packable and c not in (None, 0)):
        return 1.0 / lanes
    return 0.5 / lanes if c == 0 else 1.0


def _scalar_column(nest: Nest) -> Axis | None:
    """Without vectors: the axis along which a packed or neighbouring operand is walked (it gives the columns of the scalar tile)."""
    def score(axis: Axis) -> tuple[int, int]:
        cs = [c for n, c in strides_of(nest, axis.var) if n.data[0].constant]
        return (sum(1 for c in cs if c), 1 if coefficient(nest.offset, axis.var) == 1 else 0)
    return max((a for a in nest.axes if isinstance(a.extent, int) and a.extent > 1), key=score, default=None)


def row_axis(nest: Nest, vector: Axis | None) -> Axis | None:
    """The axis along which most loads of a reduction are shared by neighbouring points."""
    best, best_score = None, (0.0, 0.0)
    reduced = [n for d in nest.domains.values() for b in d.body for n in walk(b) if n.op == "load"]
    for axis in nest.axes:
        if axis is vector or axis.extent == 1:
            continue
        shared = sum(1 for n in reduced if axis.var not in n.free and (vector is None or vector.var in n.free))
        overlap = sum(1 for n in reduced if axis.var in n.free)
        near = coefficient(nest.offset, axis.var)
        score = (shared + 0.25 * overlap if reduced else 0.0, -float(near or 1 << 30))
        if shared and score > best_score or (best is None and shared):
            best, best_score = axis, score
    if best is None and vector is None and reduced:  # rows share nothing, but their sums do not wait for each other
        best = max((a for a in nest.axes if isinstance(a.extent, int) and a.extent > 1), key=lambda a: a.extent, default=None)
    return best


def _gathers(nest: Nest, vector: Axis, block: int) -> bool:
    """Whether reductions would gather their operands when this axis fills vectors."""
    loads = [n for d in nest.domains.values() for b in d.body for n in walk(b) if n.op == "load" and not n.data[0].constant]
    return any(coefficient_within(n.args[0], vector.var, block) not in (0, 1) for n in loads)


def _reduce_vector(nest: Nest, lanes: int) -> Expr | None:
    """The reduction axis with unit stride in every load that moves along it."""
    for d in nest.domains.values():
        if not isinstance(d.combine, str) or d.guards:
            continue
        loads = [n for b in d.body for n in walk(b) if n.op == "load"]
        for axis, extent in zip(d.axes, d.extents):
            steps = {coefficient(n.args[0], axis) for n in loads}
            if extent.op == "const" and extent.data >= lanes and 1 in steps and steps <= {0, 1}:
                return axis
    return None


def _tile_size(nest: Nest, target: Any, vector: Axis | None, row: Axis | None, lanes: int, calls: int = 0) -> tuple[int, int]:
    """(rows, vectors): the least estimated time over the actual extents among tiles whose accumulators fit the registers."""
    if not nest.domains:
        copies = 4 if lanes > 1 and len(nest.results) == 1 else 1
        return 1, 1 if vector is None else min(copies, -(-vector.extent // lanes))
    best, best_time = (1, 1), float("inf")
    for tile in tile_choices(nest, target, vector, row, lanes, calls):
        if tile.cycles < best_time * 0.999:
            best, best_time = (tile.rows, tile.vectors), tile.cycles
    return best


@dataclass(frozen=True)
class TileChoice:
    """A register tile that fits: rows, vectors, estimated cycles of one reduction step over the whole plane, registers it takes."""

    rows: int
    vectors: int
    cycles: float
    registers: int


def tile_choices(nest: Nest, target: Any, vector: Axis | None, row: Axis | None, lanes: int, calls: int = 0) -> Iterator[TileChoice]:
    """Every register tile of a reduction that fits the registers, with what it is estimated to take."""
    columns = -(-vector.extent // lanes) if vector else 1
    row_extent = (row.extent if isinstance(row.extent, int) else 4) if row else 1
    shared, steps, most_rows = _shared_by_row(nest, vector), _steps(nest), _rows_apart(nest, target, vector, row)
    calls, together = calls or calls_of(nest, target), joined(nest, target) if lanes > 1 else 1
    blocked = target.in_order and deals(nest, target) and in_blocks(nest, row)
    most, handed_on = target.dealt_vectors if shared and deals(nest, target) else 1, between(nest, target)
    matrix, two, fours = matrix_of(nest, target), overlaps(nest, target), _by_fours(nest, target)
    for v in range(1, min(columns, 16) + 1):
        for r in range(1, min(row_extent, MAX_POINTS) + 1):
            if target.compact and not _is_one_body(r, v, row_extent, columns):
                continue
            wide = _pieces(vector, v, lanes, target)
            if v % together and v < columns:
                continue
            dealt = dealt_together(wide, most)
            whole = blocked and suits_blocks(r, v) and columns % v == 0
            sliding = dealt == LANES and slides(r, nest)
            registers = (blocked_registers(r, v) if whole else dealt_registers(r, wide, dealt, nest) if dealt
                         else scalar_registers(r, wide, calls) if calls else matrix_registers(r, wide, matrix, target) if matrix
                         else _registers(r, wide, target, shared, steps, together))
            registers = max(registers, window_registers(r, wide, nest, row, target) if not shared and steps > UNROLL_LIMIT else 0)
            if shared and r > 1 and _is_mixed(vector, v, lanes, target):
                registers += wide + 2  # LLVM adds half vectors up in the registers of scalars, and needs others for the next ones
            registers = max(registers + handed_on, 2 * r * wide if two else 0)
            if registers <= (target.general_registers if calls else target.registers):
                time = _time(r, v, row_extent, columns, target, shared, calls, most, matrix, whole or sliding, fours)
                if row_extent > r and _panel(nest, v * lanes) > PANEL * target.l2_bytes > 0:
                    time = max(time, -(-row_extent // r) * columns * lanes * 4 / STREAM)
                if r > most_rows:
                    time *= 1.25
                if row_extent == 1 and shared:
                    time = _time_of_one_row(time, v, columns, lanes, steps, target)
                yield TileChoice(r, v, time, registers)


def _time_of_one_row(time: float, v: int, columns: int, lanes: int, steps: int, target: Any) -> float:
    """The cycles of a step of a matrix-vector product: no fewer than its constants take to arrive when they are not in the first-level
    cache. A few more where two threads would not share the tiles evenly, and for every tile that begins."""
    if columns < 8 or not target.hand_over or columns * lanes * 4 * steps <= target.l1_bytes:
        return time
    tiles = -(-columns // v)
    uneven = -(-tiles // 2) * 2 * v > 1.06 * columns
    return max(time, columns * lanes * 4 / STREAM) * (1.04 if uneven else 1.0) + 60.0 * tiles / max(1, steps)


def _pieces(vector: Axis | None, v: int, lanes: int, target: Any) -> int:
    """Vectors of the widest tile when each whole one has v: a ragged one may be cut into more, smaller ones."""
    if vector is None or lanes == 1:
        return v
    whole, rest = divmod(vector.extent, v * lanes)
    return max(v if whole else 0, sum(-(-n // lanes) for n in ragged(rest, lanes, target.masks).lanes) if rest else 0)


def _is_mixed(vector: Axis | None, v: int, lanes: int, target: Any) -> bool:
    """Whether whole vectors and a narrower one stand in one tile of a machine that broadcasts scalars from memory."""
    few = lanes == 1 or target.scalar_operand != "memory" or target.registers < 32
    rest = 0 if vector is None or few else vector.extent % (v * lanes)
    return rest > lanes and len(set(ragged(rest, lanes, target.masks).lanes)) > 1


def _is_one_body(r: int, v: int, row_extent: int, columns: int) -> bool:
    """Whether a tile is small and divides the plane: a ragged tile is a second body of code. Rows without a fair divisor may be ragged."""
    even = row_extent % r == 0 or not any(row_extent % rows == 0 for rows in range(4, MAX_POINTS))
    return r * v <= SMALL_TILE and even and columns % v == 0


def _steps(nest: Nest) -> int:
    """Points of the longest reduction."""
    return max((d.steps for d in nest.domains.values()), default=0)


def _panel(nest: Nest, width: int) -> int:
    """Bytes of packed constants that one tile of this width walks through; beyond a share of L2 every row of tiles fetches them again."""
    constants = any(n.data[0].constant for d in nest.domains.values() for b in d.body for n in walk(b) if n.op == "load")
    return _steps(nest) * width * 4 if constants else 0


def _rows_apart(nest: Nest, target: Any, vector: Axis | None, row: Axis | None) -> int:
    """Rows of a tile that find room in the first-level cache: those a multiple of one of its ways apart all fall into one set."""
    way = target.l1_bytes // WAYS
    loads = [n for d in nest.domains.values() for b in d.body for n in walk(b) if n.op == "load"]
    steps = [(coefficient(n.args[0], row.var) or 0) * n.dtype.bytes for n in loads if row and not (vector and vector.var in n.free)]
    return WAYS - 2 if way and any(step and step % way == 0 for step in steps) else MAX_POINTS


def _shared_by_row(nest: Nest, vector: Axis | None) -> bool:
    """Whether some operand of the reduction does not vary along the vector axis (then it is broadcast: a contraction)."""
    loads = [n for d in nest.domains.values() for b in d.body for n in walk(b) if n.op == "load"]
    return vector is not None and any(vector.var not in n.free for n in loads)


def _registers(r: int, v: int, target: Any, contraction: bool, steps: int, together: int = 1) -> int:
    if not contraction and together > 1:  # bytes: one row of a window, widened to 16 bits
        return r * v + (r + 3) * v // 2 + 1
    if not contraction and 0 < steps <= UNROLL_LIMIT and target.scalar_operand != "memory" and target.registers >= 3 * steps:
        return 3 * r * v + 2 * v + steps * v  # written out: windows that overlap, and the vectors of all taps, stay in registers
    if not contraction:
        return r * v + v + min(r, 4) * v
    if target.scalar_operand == "lane":  # a vector of k for each row, vectors loaded in pairs, and one to spare, or the allocator spills
        return r * v + v + v % 2 + r + 1
    return r * v + v + 1


def _time(r: int, v: int, row_extent: int, columns: int, target: Any, contraction: bool, calls: int, most: int, matrix: Any,
          blocked: bool, fours: bool) -> float:
    """Cycles of one reduction step over the whole row x column plane, ragged tiles included."""
    return sum(row_tiles * column_tiles * (instructions(rr, vv, calls) if calls else matrix_cycles(rr, vv, matrix, target) if matrix
                                           else blocked_cycles(rr, vv) if blocked and suits_blocks(rr, vv)
                                           else _step(rr, vv, target, contraction, most, fours))
               for rr, row_tiles in ((r, row_extent // r), (row_extent % r, 1))
               for vv, column_tiles in ((v, columns // v), (columns % v, 1)) if rr and vv)


def _by_fours(nest: Nest, target: Any) -> bool:
    """Whether four vectors of constants come by one load, which the back end makes of those side by side."""
    loads = [n for d in nest.domains.values() for b in d.body for n in walk(b) if n.op == "load" and n.data[0].constant]
    return bool(target.loads_four and loads) and not target.in_order and all(n.dtype.name == "f32" for n in loads)


def _step(r: int, v: int, target: Any, contraction: bool, most: int = 1, fours: bool = False) -> float:
    if most > 1:
        return step_cycles(r, v, most, target)
    loads = (v + r if contraction else 2 * r * v) / 2.0
    # Few accumulators are given several partial sums each, which hides most of the latency but not all.
    latency = target.fma_latency * 0.5 if r * v < target.fma_latency * target.fma_per_cycle else 0.0
    count = r + (v / 4 if fours and contraction and v % 4 == 0 else v)
    return max(r * v / target.fma_per_cycle, loads, latency, alone(target, contraction)) + 0.05 * count + 0.5


def _loop_order(nest: Nest, target: Any, vector: Axis | None, row: Axis | None, rest: tuple[Axis, ...]):
    """Vector tiles go outside as many loops as keep the other operand in cache: a panel of packed weights is used while it is hot."""
    moving = moving_loads(nest, vector) if vector is not None and nest.domains else []
    if not moving:
        return rest, (), 0
    budget = max(target.l2_bytes, target.l1_bytes, 1 << 15) // 2
    middle: list[Axis] = []
    footprint = bytes_touched(moving, (row,) if row else (), nest)
    batch = _batch(nest, rest)
    for axis in (a for a in reversed(rest) if a not in batch):
        grown = footprint * axis.max_extent
        if grown > budget and middle == [] and isinstance(axis.extent, int):
            block = max(1, int(budget // max(1, footprint)))
            return tuple(a for a in rest if a is not axis), (axis,), min(block, axis.extent)
        if grown > budget:
            break
        middle.insert(0, axis)
        footprint = grown
    return tuple(a for a in rest if a not in middle), tuple(middle), 0


def moving_loads(nest: Nest, vector: Axis) -> list[Expr]:
    """The loads that every vector tile repeats."""
    return [n for n in nest.loads if vector.var not in n.free and not n.data[0].constant]


def _batch(nest: Nest, axes: Sequence[Axis]) -> tuple[Axis, ...]:
    """Axes along which every operand of the reductions changes: their points share nothing, so they stand outside."""
    loads = [n for d in nest.domains.values() for b in d.body for n in walk(b) if n.op == "load"]
    return tuple(a for a in axes if all(a.var in n.free for n in loads))


def bytes_touched(loads: list[Expr], axes: tuple[Axis, ...], nest: Nest) -> float:
    """Bytes a set of loads touches over the given axes and all reductions (strided windows overlap: counted by the axes' extents)."""
    total = 0.0
    for n in loads:
        extents = [a.max_extent for a in axes if a.var in n.free]
        for d in nest.domains.values():
            extents += [_extent(e) for v, e in zip(d.axes, d.extents) if v in n.free and not _is_window(n, v, nest)]
        total += prod(extents) * n.dtype.bytes
    return total


def _extent(e: Expr) -> int:
    return e.data if e.op == "const" else e.hi


def _is_window(n: Expr, variable: Expr, nest: Nest) -> bool:
    """Whether the reduction axis slides over the same elements as a parallel axis does (kernel taps)."""
    c = coefficient(n.args[0], variable)
    return any(coefficient(n.args[0], a.var) and c and coefficient(n.args[0], a.var) % c == 0 and coefficient(n.args[0], a.var) // c <= 4
               for a in nest.axes)


def _partials(nest: Nest, target: Any, points: int) -> int:
    """Independent partial results per point, so that the multiply-add latency is hidden when a tile has few points."""
    wanted, steps = target.fma_latency * target.fma_per_cycle, _steps(nest)
    if points >= wanted or any(not isinstance(d.combine, str) for d in nest.domains.values()):
        return 1
    if steps <= UNROLL_LIMIT:  # written out: what follows fills the gaps
        return 1
    partials = 1
    while partials * points < wanted and partials < 8 and steps >= 8 * partials:
        partials *= 2
    return partials


def _widens(nest: Nest, target: Any) -> bool:
    """Whether reductions widen what they read: loads that stand far ahead of their use then take registers twice."""
    return any(n.op == "cast" and n.args[0].op == "load" for d in nest.domains.values() if not taken_as_halves(d, target)
               for n in walk(*d.body))


def _unroll(nest: Nest, target: Any, points: int, partials: int, row: Axis | None = None) -> int:
    """Copies of the innermost step: enough work per iteration to hide the loop, two whole vectors of k where scalars come by lane."""
    if target.compact:
        return max(partials, target.lanes(32) if target.scalar_operand == "lane" and points > 1 else 1)
    if target.in_order and points > 1 and deals(nest, target):
        return round_length(nest, in_blocks(nest, row))
    if target.scalar_operand == "lane" and points > 1:
        return max(partials, target.lanes(32) * (1 if _widens(nest, target) or between(nest, target) or matrix_of(nest, target) else 2))
    copies = max(1, 16 // max(1, points))
    return max(partials, min(4, 1 << (copies.bit_length() - 1)))
