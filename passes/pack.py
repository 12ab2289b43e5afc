"""Lays constants out in the order a schedule reads them.

A constant that a reduction reads and that varies along the vector axis becomes a table indexed by the loops that read it, innermost the
lanes of one tile. The table is computed by evaluating the constant's own index expression over those loops, so any weight layout and
any operator packs the same way.

    w[o, c, p, q]  read in tiles of 32 o, reduction order p q c   ->   table[o // 32, p, q, c, o % 32]

Loops around the tiles come first, so that a table is read from its beginning to its end: that of a batch of products is table[b, t, ...].
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from edgec.evaluate import evaluate
from edgec.expr import Expr, as_expr, maximum, minimum, read
from edgec.kernel import Axis, Buffer
from edgec.loops import Param, load
from edgec.passes.in_order import dealt_together
from edgec.passes.nest import Domain, Nest, in_groups
from edgec.passes.segments import Piece, Segment
from edgec.sweeps import rebuild, transform, walk
from edgec.types import DType, dtype_of, index


class Tables:
    """The parameters of one kernel: one per root buffer, and the packed tables made for it (equal tables once)."""

    def __init__(self, buffers: Sequence[Buffer], written: Sequence[Buffer], growth: float = 1.0):
        """`growth` bounds the size of a table, relative to the constant it is made from."""
        self.growth = growth
        self.params = {b: Param(f"p{n}", b.dtype, b.memory_size, b in written, b.kind == "constant") for n, b in enumerate(buffers)}
        self._sources = {p: b for b, p in self.params.items()}
        self._made: dict[tuple, Param] = {}
        self.packed: dict[Buffer, tuple[Buffer, Callable[[np.ndarray], np.ndarray]]] = {}  # what a table is made from, and how
        self.looked_at: dict[Buffer, None] = {}  # the constants whose numbers had a say in the code

    def data(self, param: Param) -> np.ndarray:
        """The contents of a constant parameter, in memory order; from now on the code may depend on them."""
        buffer = self._sources[param]
        self.looked_at[self.packed[buffer][0] if buffer in self.packed else buffer] = None
        return buffer.data.ravel()

    def laid_out(self, key: tuple, source: Param, layout: Callable[[np.ndarray], np.ndarray], dtype: DType, dealt: int = 0) -> Param:
        """The parameter of a table that holds the numbers of a constant in another order, whatever they are."""
        param = self._made.get(key) or self.add(key, layout(self._sources[source].data.ravel()), self.stem(source), dtype, dealt)
        self.packed[self._sources[param]] = (self._sources[source], layout)
        return param

    def add(self, key: tuple, data: np.ndarray, stem: str, dtype: DType, dealt: int = 0) -> Param:
        """The parameter of a packed table."""
        if key not in self._made:
            buffer = Buffer(f"{stem}.packed{len(self._made)}", dtype, data.shape, "constant", data=data)
            param = Param(f"p{len(self.params)}", buffer.dtype, data.size, False, True, dealt)
            self.params[buffer], self._sources[param], self._made[key] = param, buffer, param
        return self._made[key]

    @property
    def made(self) -> frozenset[Param]:
        """The parameters of packed tables."""
        return frozenset(self._made.values())

    def rows(self, param: Param) -> list[int]:
        """Neighbours of a constant parameter that vectors may take together: the size of its innermost axis, of the last two, ..."""
        sizes = np.cumprod(self._sources[param].data.shape[::-1], dtype=np.int64)
        return [int(size) for size in dict.fromkeys(sizes[:-1]) if size > 1]

    def stem(self, param: Param) -> str:
        return self._sources[param].name

    def used(self, statements_loads: set[Param]) -> list[tuple[Buffer, Param]]:
        """The (buffer, parameter) pairs that the finished loops really touch, in a stable order."""
        return [(b, p) for b, p in self.params.items() if p in statements_loads]


def pack(nest: Nest, segment: Segment, vector: Axis, order: dict[Expr, Sequence[Expr]], tables: Tables, deal: int = 1,
         copies: int = 1, outer: Sequence[Axis] = ()) -> Nest:
    """The nest with constants of its reductions read from tables made for one segment of the vector axis.

    `order` gives the loop order of each reduction's axes, outermost first; `deal` is the number of vectors that one load may fill in turn.
    Where the steps of a sum come in rounds of `copies`, those of several steps may be filled together. `outer` are the loops around the
    tiles.
    """
    domains = {}
    for node, d in nest.domains.items():
        if d.is_nested:
            domains[node] = d
            continue
        packed = lambda n: _packed(n, nest, d, segment, vector, order[node], tables, deal, copies, outer)
        body = transform(replace_words(d.body, {n: packed(n) for n in walk(*d.body) if n.op == "word"}), packed)
        domains[node] = replace(d, body=tuple(body))
    return replace(nest, domains=domains)


def replace_words(body: Sequence[Expr], words: dict[Expr, Expr | None]) -> tuple[Expr, ...]:
    """Bodies with packed words in place of gathered ones; what these read is not looked at again."""
    found = {n: other for n, other in words.items() if other is not None}
    done: dict[int, Expr] = {}
    for n in walk(*body):
        done[id(n)] = found[n] if n in found else rebuild(n, [done[id(a)] for a in n.args])
    return tuple(done[id(b)] for b in body)


def _packed(n: Expr, nest: Nest, d: Domain, segment: Segment, vector: Axis, order: Sequence[Expr], tables: Tables,
            deal: int = 1, copies: int = 1, outer: Sequence[Axis] = ()) -> Expr | None:
    source = _source(n)
    if source is None or source in tables.made or vector.var not in n.free or not (n.free & set(d.axes)):
        return None
    reduced = (*d.around, *zip(d.axes, d.extents))
    extents = {a.var: a.extent for a in nest.axes} | {v: e.data if e.op == "const" else None for v, e in reduced}
    order = (*(v for v, _ in d.around), *order)
    before = [a.var for a in outer if a.var in n.free]
    inside = [a.var for a in nest.axes if a.var in n.free and a is not vector and a not in outer]
    axes = [*before, *inside, *(v for v in order if v in n.free)]
    if any(not isinstance(extents.get(v), int) for v in axes) or any(v not in extents for v in n.free):
        return None
    sizes = [extents[v] for v in axes]
    size = int(np.prod(sizes, dtype=np.int64)) * segment.piece.width * segment.count * n.dtype.bits // source.dtype.bits
    if size > tables.growth * source.size + 1024:
        return None
    key = (source, n, segment, tuple(axes), len(before))
    together = _steps_together(n, d, order[-1], segment.piece, deal, copies)
    dealt = deal if together > 1 else _dealt(n, segment.piece, deal)
    lanes, real = segment.piece.lanes[0], segment.piece.width

    def layout(contents: np.ndarray) -> np.ndarray:
        data = _table(n, vector.var, segment, axes, sizes, len(before), contents)
        dealt_out = data.reshape(-1, dealt, lanes).swapaxes(-1, -2) if dealt else data
        return np.ascontiguousarray(dealt_out).reshape(data.shape)

    param = tables.laid_out(key, source, layout, n.dtype, dealt)
    local = vector.var - segment.start
    offset, place = as_expr(0, index), local % real
    for v, extent in (*zip(before, sizes), (local // real, segment.count), *zip(axes[len(before):], sizes[len(before):])):
        offset = offset * extent + v
    if together > 1:  # vectors of some steps, one after the other, are dealt out as if they were one step's
        offset, place = offset // together, offset % together * real + place
        real *= together
    if dealt:
        place = place // (dealt * lanes) * (dealt * lanes) + place % lanes * dealt + place // lanes % dealt
    return load(param, offset * real + place)


def _dealt(n: Expr, piece: Piece, most: int) -> int:
    """How many vectors of a tile one load can fill with what `n` reads: whole vectors of 32-bit lanes, at most `most`; 0: each its own."""
    vectors = piece.lanes
    whole = vectors[0] > 1 and piece.width == len(vectors) * vectors[0]
    return dealt_together(len(vectors), most) if whole and n.op == "load" and n.dtype.bits == 32 else 0


def _steps_together(n: Expr, d: Domain, axis: Expr, piece: Piece, deal: int, copies: int) -> int:
    """How many steps' vectors one load fills: more than 1 where a tile has fewer than `deal` vectors and steps lie in blocks."""
    vectors = len(piece.lanes)
    steps = deal // vectors if deal % vectors == 0 else 1
    extent = d.extents[d.axes.index(axis)] if axis in d.axes else None
    fits = extent is not None and extent.op == "const" and extent.data % steps == copies % steps == 0 and axis in n.free
    guarded = any(axis in i.free for i, _ in d.guards)
    blocks = fits and not guarded and axis not in d.peeled and in_groups(d.body, axis, piece.lanes[0])
    return steps if blocks and _dealt(n, piece, vectors) == vectors > 1 else 1


def _source(n: Expr) -> Param | None:
    """The constant that a load, or every element of a word, is read from."""
    sources = {each.data[0] for each in walk(n) if each.op == "load"} if n.op in ("load", "word") else set()
    return next(iter(sources)) if len(sources) == 1 and all(p.constant for p in sources) else None


def _table(n: Expr, vector: Expr, segment: Segment, axes: list[Expr], sizes: list[int], before: int, source: np.ndarray) -> np.ndarray:
    """table[axes before the tiles..., tile, axes..., lane]; no lane is padding, so packing costs no flash."""
    shape = (*sizes[:before], segment.count, *sizes[before:], segment.piece.width)
    counts = [np.arange(s).reshape([-1 if k == p else 1 for k in range(len(shape))]) for p, s in enumerate(shape)]
    tile, lanes = counts.pop(before), counts.pop()
    env = dict(zip(axes, counts))
    env[vector] = segment.start + tile * segment.piece.width + lanes
    if n.op == "load":
        return source[np.broadcast_to(_within(evaluate(n.args[0], env, _no_reads), source), shape)]
    memory = Buffer("memory", dtype_of(source.dtype), source.shape, "constant")
    clipped = lambda i: minimum(maximum(i, 0), source.size - 1)
    elements = transform((n,), lambda each: read(memory, [clipped(each.args[0])]) if each.op == "load" else None)[0]
    return np.ascontiguousarray(np.broadcast_to(evaluate(elements, env, lambda _, at: source[at[0]]), shape))


def _within(positions: np.ndarray, source: np.ndarray) -> np.ndarray:
    """Positions in the source: a read under a guard may leave it where the guard does not hold."""
    return np.clip(positions, 0, source.size - 1)


def _no_reads(source: object, at: tuple) -> np.ndarray:
    raise TypeError("an offset that depends on tensor data cannot be packed")
