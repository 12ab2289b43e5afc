"""Lets a large intermediate live in the cache only: producer and consumer run band by band, as stages of one kernel.

    t[c,y,x] = conv1x1(a);  z[c,y,x] = sum_over(p, q; t[c, 2y+p-1, 2x+q-1] * w[c,p,q])
    ->  for every band of 4 rows of z:  s[c,r,x] = t at the 9 rows the band reads;  z = sum_over(p, q; s[c, 2r+p, 2x+q] * w[c,p,q])

A kernel joins the one that stores what it reads when nothing else reads that, the tensor is larger than the cache, and the traffic saved
is worth the rows that neighbouring bands compute twice. A third kernel that reads the same rows (a projection) joins without any.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import prod
from typing import Any

from edgec.accesses import buffer_reads
from edgec.expr import Expr, ReduceParts, binary, fresh, read
from edgec.kernel import Axis, Buffer, Kernel, Program, Stage
from edgec.linear import coefficient
from edgec.passes.uses import Uses
from edgec.sweeps import substitute, transform, walk

BYTES_PER_CYCLE = 8.0  # beyond the second-level cache, one way
SHARE = 0.5            # of the second-level cache, for what lives in one band
FEW = 0.13             # the share of rows computed twice up to which a band pays
DEAR = 0.3             # the share of the traffic saved that computing more rows twice may cost
LEAST_BANDS = 4        # so that threads can share them
MANY = 16              # bands of which one more or less hardly counts
EVEN = 0.02            # so many more rows may be computed twice where two threads then share the bands evenly
MOST_WEIGHTS = 0.25    # the share of the second-level cache that constants read in every band may have


def bands(program: Program, target: Any = None) -> Program:
    """The program with producers and consumers of large temporaries in bands. Targets without a second-level cache stay as they are."""
    if target is None or not target.l2_bytes:
        return program
    steps: list[Kernel] = []
    cut: dict[Kernel, Cut] = {}
    uses = Uses(program.steps)
    for kernel in program.steps:
        joined = _joined(kernel, steps, uses, cut, target)
        if joined is None:
            steps.append(kernel)
            continue
        producer, merged, how = joined
        steps[steps.index(producer)] = merged
        cut[merged] = how
        uses.replace((producer, kernel), merged)
        # The merged kernel runs where the consumer stood: what it reads may have been stored in between.
        steps.append(steps.pop(steps.index(merged)))
    return program.with_steps(steps)


@dataclass(frozen=True, eq=False)
class Cut:
    """How a kernel of bands is cut: rows of its result per band, the axis over bands, the dimension of its result that is cut."""

    rows: int
    band: Axis
    dimension: int
    held: int  # bytes of one band's scratch


@dataclass(frozen=True, eq=False)
class Window:
    """What a consumer reads along one dimension: rows step * axis + low ... step * axis + high."""

    dimension: int
    axis: Axis
    step: int
    low: int
    high: int


def _joined(kernel: Kernel, before: list[Kernel], uses: Uses, cut: dict[Kernel, Cut], target: Any) -> tuple[Kernel, Kernel, Cut] | None:
    if not _is_plain(kernel) or _weights(kernel) > MOST_WEIGHTS * target.l2_bytes:
        return None
    for buffer in dict.fromkeys(n.data for n in buffer_reads(kernel)):
        producer = _only_producer(buffer, kernel, uses)
        window = _window(kernel, buffer) if producer is not None else None
        least = target.l2_bytes * (SHARE if producer in cut else 1)  # a tensor that stays in the cache gains nothing
        if window is None or buffer.bytes <= least or not _undisturbed(producer, before) or not _same_loop(producer, kernel, buffer):
            continue
        if _wanted_below(kernel, buffer, uses, target):
            continue
        if producer in cut:
            how = cut[producer]
            fits = window.dimension == how.dimension and (window.step, window.low, window.high) == (1, 0, 0)
            if fits and window.axis.extent == how.rows * how.band.extent and how.held + _band_bytes(buffer, how) <= SHARE * target.l2_bytes:
                return producer, *_append(producer, kernel, buffer, window, how)
        elif _is_plain(producer) and _stored_along(producer, window.dimension) and _weights(producer) <= MOST_WEIGHTS * target.l2_bytes:
            rows = _rows(producer, kernel, buffer, window, uses, target)
            if rows:
                return producer, *_merge(producer, kernel, buffer, window, rows)
    return None


def _is_plain(kernel: Kernel) -> bool:
    """One stage that stores every element where its axes say, with no intermediate of its own."""
    stage = kernel.stages[0]
    return len(kernel.stages) == 1 and not (stage.combine or stage.guards or stage.axes)


def _only_producer(buffer: Buffer, reader: Kernel, uses: Uses) -> Kernel | None:
    """The kernel that stores a temporary, last of all, which nothing but `reader` reads."""
    found = uses.only_producer(buffer, reader)
    return found if found is not None and found.stages[-1].target is buffer else None


def _undisturbed(producer: Kernel, before: list[Kernel]) -> bool:
    """Whether what the producer reads is still the same after the kernels that follow it."""
    read_buffers = {n.data.root for n in buffer_reads(producer)}
    return not any(t.root in read_buffers for k in before[before.index(producer) + 1:] for t in k.targets)


def _same_loop(producer: Kernel, consumer: Kernel, buffer: Buffer) -> bool:
    """Whether both run under the same loops, and the buffer holds what one iteration stores."""
    around = {a.var for a in producer.repeat}
    indices = [i for n in buffer_reads(consumer) if n.data is buffer for i in n.args] + [i for s in producer.stages for i in s.indices]
    return producer.repeat == consumer.repeat and not any(i.free & around for i in indices)


def _stored_along(producer: Kernel, dimension: int) -> bool:
    """Whether an axis of the producer runs along this dimension of its result, and occurs in no other."""
    stage = producer.stages[0]
    i = stage.indices[dimension]
    return any(a.var is i for a in producer.axes) and not any(i in other.free for d, other in enumerate(stage.indices) if d != dimension)


def _window(kernel: Kernel, buffer: Buffer) -> Window | None:
    """The outermost dimension of the buffer that the kernel walks row by row."""
    reads = [n for n in buffer_reads(kernel) if n.data is buffer]
    dimension = next((d for d in buffer.order or range(buffer.rank) if buffer.max_shape[d] > 1), None)
    if dimension is None or not isinstance(buffer.shape[dimension], int):
        return None
    found = {_row_window(kernel, n, dimension) for n in reads}
    if len(found) != 1 or None in found:
        return None
    axis, step, low, high = found.pop()
    if any(axis.var in i.free for n in reads for d, i in enumerate(n.args) if d != dimension):
        return None
    return Window(dimension, axis, step, low, high)


def _row_window(kernel: Kernel, node: Expr, dimension: int) -> tuple[Axis, int, int, int] | None:
    i = node.args[dimension]
    axes = [a for a in kernel.axes if a.var in i.free]
    if len(axes) != 1 or not isinstance(axes[0].extent, int):
        return None
    step = coefficient(i, axes[0].var)
    rest = i - axes[0].var * step if step else None
    if not step or step < 0 or rest.free & {a.var for a in kernel.axes} or rest.lo <= -1 << 20 or rest.hi >= 1 << 20:
        return None
    return axes[0], step, rest.lo, rest.hi


# --------------------------------------------------------------------------------------------------------------------- cost

def _rows(producer: Kernel, consumer: Kernel, buffer: Buffer, window: Window, uses: Uses, target: Any) -> int:
    """Rows of the consumer per band, 0 where bands do not pay.

    Where few rows can be computed twice, that is the least divisor of its extent which does so. A lower band computes more of them twice,
    and is taken where that costs less than a third of the traffic which it alone saves: that of the buffer, where there is no other, or
    that of the consumer's own result, where a kernel joins that reads it row by row.
    """
    room, twice = SHARE * target.l2_bytes, _computed_twice(buffer, window, target)
    cycles = _work(producer) / (target.lanes(32) * (1 if target.vector_bits >= 512 else target.fma_per_cycle))
    found = _cheap_rows(twice, window, target)
    found = found if found and twice[found] * cycles < _cycles_of(buffer.bytes) else 0
    result, joins = consumer.stages[-1].target, _joins_below(consumer, uses, target)
    lower = max((r for r in twice if r > 1 and (not joins or _held(buffer, result, window, r) <= room)), default=0)
    spills = joins and result.bytes > room and bool(found) and _held(buffer, result, window, found) > room
    saved = buffer.bytes if not found else result.bytes * spills
    more = (twice[lower] - twice.get(found, 0.0)) * cycles if lower else 0.0
    return lower if lower and saved and more < DEAR * _cycles_of(saved) else found


def _computed_twice(buffer: Buffer, window: Window, target: Any) -> dict[int, float]:
    """The share of rows that bands of so many rows compute twice, for those that divide the extent and fit the cache."""
    size, extent = buffer.max_shape[window.dimension], window.axis.extent
    fits = [r for r in range(1, extent // LEAST_BANDS + 1) if extent % r == 0 and _halo(window, r) < size
            and _halo(window, r) * (buffer.bytes // size) <= SHARE * target.l2_bytes]
    return {r: max(0.0, _halo(window, r) * (extent // r) / size - 1) for r in fits}


def _held(buffer: Buffer, result: Buffer, window: Window, rows: int) -> int:
    """Bytes of a band of both stages."""
    return _halo(window, rows) * (buffer.bytes // buffer.max_shape[window.dimension]) + rows * (result.bytes // window.axis.extent)


def _cheap_rows(twice: Mapping[int, float], window: Window, target: Any) -> int:
    """The least rows of a band that computes few twice, so that two threads share the bands evenly; 0 where none does."""
    good, extent = [r for r in twice if r > 1 and twice[r] <= FEW], window.axis.extent
    best = (good[0] if window.high > window.low else good[-1]) if good else 0  # without a halo, large bands cost nothing
    if best and extent // best % 2 and extent // best < MANY and target.hand_over:
        even = [r for r in twice if r > 1 and extent // r % 2 == 0 and twice[r] <= max(FEW, twice[best] + EVEN)]
        best = min(even, key=lambda r: abs(r - best), default=best)
    return best


def _cycles_of(size: int) -> float:
    """What it takes to store so many bytes beyond the cache and to load them again."""
    return 2 * size / BYTES_PER_CYCLE


def _reader_below(kernel: Kernel, uses: Uses, target: Any) -> tuple[Kernel, Window] | None:
    """The only kernel that reads a kernel's result, and how, if it could join."""
    result = kernel.stages[-1].target
    reader = uses.only_reader(result)
    window = _window(reader, result) if reader is not None and _is_plain(reader) else None
    return (reader, window) if window is not None and _weights(reader) <= MOST_WEIGHTS * target.l2_bytes else None


def _joins_below(kernel: Kernel, uses: Uses, target: Any) -> bool:
    """Whether the only reader of a kernel's result reads it row by row."""
    found = _reader_below(kernel, uses, target)
    return found is not None and (found[1].step, found[1].low, found[1].high) == (1, 0, 0)


def _wanted_below(kernel: Kernel, buffer: Buffer, uses: Uses, target: Any) -> bool:
    """Whether a kernel does better as the producer of a larger tensor, from which rows are computed twice, than as a reader of `buffer`."""
    found, result = _reader_below(kernel, uses, target), kernel.stages[-1].target
    if found is None or found[1].high == found[1].low or result.bytes <= max(buffer.bytes, target.l2_bytes):
        return False
    reader, window = found
    return _stored_along(kernel, window.dimension) and bool(_rows(kernel, reader, result, window, uses, target))


def _halo(window: Window, rows: int) -> int:
    """Rows of the producer that one band reads."""
    return window.step * (rows - 1) + window.high - window.low + 1


def _work(kernel: Kernel) -> float:
    """Multiply-adds of a kernel, or its points where it has none."""
    points = prod(a.max_extent for a in kernel.axes)
    inner = [prod(e.data if e.op == "const" else e.hi for e in ReduceParts(n).extents)
             for n in walk(kernel.stages[0].value) if n.op == "reduce"]
    return float(points * max(1, sum(inner)))


def _weights(kernel: Kernel) -> int:
    return sum(b.bytes for b in dict.fromkeys(n.data.root for n in buffer_reads(kernel)) if b.kind == "constant")


def _band_bytes(buffer: Buffer, how: Cut) -> int:
    return buffer.bytes // buffer.max_shape[how.dimension] * how.rows


# -------------------------------------------------------------------------------------------------------------------- merge

def _merge(producer: Kernel, consumer: Kernel, buffer: Buffer, window: Window, rows: int) -> tuple[Kernel, Cut]:
    """Two plain kernels as the two stages of a band."""
    count, halo = window.axis.extent // rows, _halo(window, rows)
    band = Axis(fresh("w", 0, count - 1), count)
    first = band.var * (window.step * rows) + window.low
    scratch = _scratch(buffer, window.dimension, halo)
    made = _filled(producer, scratch, window.dimension, first, halo, buffer.shape[window.dimension])
    used, dimension = _using(consumer, buffer, scratch, window, first, band, rows)
    kernel = replace(consumer, axes=(band,), stages=(made, used))
    return kernel, Cut(rows, band, dimension, scratch.bytes)


def _append(producer: Kernel, consumer: Kernel, buffer: Buffer, window: Window, how: Cut) -> tuple[Kernel, Cut]:
    """A kernel of bands and a consumer of the same rows; what was its result becomes scratch."""
    last = producer.stages[-1]
    scratch = _scratch(buffer, window.dimension, how.rows)
    first = how.band.var * how.rows
    indices = tuple(i - first if d == window.dimension else i for d, i in enumerate(last.indices))
    used, dimension = _using(consumer, buffer, scratch, window, first, how.band, how.rows)
    stages = (*producer.stages[:-1], replace(last, name=scratch.name, target=scratch, indices=indices), used)
    return replace(consumer, axes=producer.axes, stages=stages), Cut(how.rows, how.band, dimension, how.held + scratch.bytes)


def _scratch(buffer: Buffer, dimension: int, rows: int) -> Buffer:
    """The buffer's rows of one band, laid out as it was."""
    shape = tuple(rows if d == dimension else n for d, n in enumerate(buffer.shape))
    return replace(buffer, name=f"{buffer.name}.band", kind="scratch", shape=shape)


def _filled(producer: Kernel, scratch: Buffer, dimension: int, first: Expr, halo: int, extent: int) -> Stage:
    """The producer's rows from `first` on. Rows beyond the tensor repeat its border: nobody reads them."""
    stage = producer.stages[0]
    row = Axis(fresh("r", 0, halo - 1), halo)
    at = first + row.var
    at = binary("max", at, 0) if at.lo < 0 else at
    at = binary("min", at, extent - 1) if at.hi >= extent else at
    old = stage.indices[dimension]
    axes = (row, *(a for a in producer.axes if a.var is not old))
    indices = tuple(row.var if d == dimension else i for d, i in enumerate(stage.indices))
    return Stage(scratch.name, axes, substitute(stage.value, {old: at}), scratch, indices)


def _using(consumer: Kernel, buffer: Buffer, scratch: Buffer, window: Window, first: Expr, band: Axis, rows: int) -> tuple[Stage, int]:
    """The consumer's stage over the rows of a band, and the dimension of its result that is cut (-1: none, so nothing can be appended)."""
    stage = consumer.stages[0]
    row = Axis(fresh("r", 0, rows - 1), rows)
    moved = {window.axis.var: band.var * rows + row.var}

    def local(node: Expr) -> Expr | None:
        if node.op != "read" or node.data is not buffer:
            return None
        return read(scratch, tuple(i - first if d == window.dimension else i for d, i in enumerate(node.args)))

    value, *indices = transform([substitute(e, moved) for e in (stage.value, *stage.indices)], local)
    axes = (row, *(a for a in consumer.axes if a is not window.axis))
    dimension = next((d for d, i in enumerate(stage.indices) if i is window.axis.var), -1)
    return replace(stage, axes=axes, value=value, indices=tuple(indices)), dimension
