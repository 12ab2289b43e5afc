"""Computes 3x3 (r x r) convolutions of stride 1 with fewer multiplications: three stages over a block of output tiles.

    V[f,b,c] = B^T d B      d: the (m+r-1)^2 input patch of tile b, unrolled to the nonzero coefficients
    M[f,b,o] = sum_over(c; V[f,b,c] * U[f,c,o])      one matrix product per frequency f; U = G w G^T, computed at compile time in f64
    y        = A^T M A      then whatever followed the convolution

A convolution is recognised by its axes and reads alone. Source: A. Lavin, S. Gray, Fast Algorithms for Convolutional Neural Networks
(2015); the matrices follow from Toom-Cook interpolation at the points below (S. Winograd, Arithmetic Complexity of Computations, 1980).
The error relative to the largest output grows with m: at 512 channels about 9e-6 for F(4,3) where direct summation has 3e-7.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from math import prod
from typing import Any

import numpy as np

from edgec.evaluate import evaluate
from edgec.expr import Expr, ReduceParts, argument, as_expr, const, fresh, inside, inside_pairs, mul_add, read, reduce_over
from edgec.expr import substitute, transform, walk
from edgec.kernel import Axis, Buffer, Kernel, Program, Stage
from edgec.linear import coefficient
from edgec.types import f32, index

POINTS = {2: (0, 1, -1), 4: (0, 1, -1, 2, -2), 6: (0, 1, -1, 2, -2, Fraction(1, 2), Fraction(-1, 2))}
STREAM = 6.0  # bytes of weights per cycle that a working set beyond L2 delivers
START = 3000.0  # cycles by which three loop nests and their ragged ends cost more than one
WORTH = 0.8  # the share of the direct cost below which three stages, their scratch and the larger weights are worth it


def winograd(program: Program, target: Any, *, sizes: tuple[int, ...] = (2, 4)) -> Program:
    """The program with convolutions in Winograd form where that is estimated to be faster; `sizes` are the tile sizes m to consider."""
    if target.lanes(32) == 1 or target.max_flash_growth < 2:
        return program
    return program.with_steps(_best(kernel, target, sizes) for kernel in program.steps)


@dataclass(frozen=True, eq=False)
class Convolution:
    """The parts of a kernel that is a stride-1 r x r convolution."""

    kernel: Kernel
    node: Expr            # the reduction
    data: Expr            # the read of the input inside it
    weight: Expr          # the read of the constant
    rows: tuple[Axis, Axis]       # y and x
    taps: tuple[Expr, Expr]       # their reduction axes
    channel: tuple[Expr, int]     # the remaining reduction axis and its extent
    out: Axis             # the axis only the weights vary along
    guards: tuple[tuple[Expr, Expr], ...]
    size: int             # r


def recognise(kernel: Kernel) -> Convolution | None:
    """The convolution a single-stage kernel computes, if it is one."""
    stage = kernel.stages[0]
    nodes = [n for n in walk(stage.value) if n.op == "reduce"]
    if len(kernel.stages) > 1 or len(nodes) != 1 or nodes[0].data[0] != "add" or nodes[0].dtype is not f32:
        return None
    parts = ReduceParts(nodes[0])
    if len(parts.axes) != 3 or parts.body[0].op != "mul" or any(e.op != "const" for e in parts.extents) or parts.init[0].data != 0:
        return None
    data, weight = parts.body[0].args
    guards: list = []
    while data.op == "inside" and data.args[1].data == 0:
        guards, data = guards + inside_pairs(data), data.args[0]
    if data.op != "read" or weight.op != "read" or weight.data.kind != "constant" or data.data.root.kind == "constant":
        return None
    return _match_axes(kernel, nodes[0], parts, data, weight, tuple(guards))


def _match_axes(kernel: Kernel, node: Expr, parts: ReduceParts, data: Expr, weight: Expr, guards: tuple) -> Convolution | None:
    pairs = []
    for tap, extent in zip(parts.axes, parts.extents):
        for axis in kernel.axes:
            if any(coefficient(i, tap) == 1 and coefficient(i, axis.var) == 1 for i in data.args):
                pairs.append((axis, tap, extent.data))
    if len(pairs) != 2 or pairs[0][2] != pairs[1][2] or pairs[0][0] is pairs[1][0] or pairs[0][2] != 3:
        return None
    taps = (pairs[0][1], pairs[1][1])
    rest = [(a, e.data) for a, e in zip(parts.axes, parts.extents) if a not in taps]
    outs = [a for a in kernel.axes if a.var in weight.free and a.var not in data.free]
    rows = (pairs[0][0], pairs[1][0])
    static = all(isinstance(a.extent, int) for a in (*rows, *outs))
    if len(rest) != 1 or len(outs) != 1 or not static or any(a.var in weight.free for a in rows) or rest[0][0] not in data.free:
        return None
    if any(a.var in weight.free for a in kernel.axes if a is not outs[0]) or not _sliding(data, rows, taps):
        return None
    if coefficient(data.data.flat(data.args), rest[0][0]) != 1:  # channels must be neighbours, or every patch would be gathered
        return None
    return Convolution(kernel, node, data, weight, rows, taps, rest[0], outs[0], guards, pairs[0][2])


def _sliding(data: Expr, rows: tuple[Axis, Axis], taps: tuple[Expr, Expr]) -> bool:
    """Whether each row axis occurs in one index only, together with its tap."""
    for axis, tap in zip(rows, taps):
        holders = [i for i in data.args if axis.var in i.free or tap in i.free]
        if len(holders) != 1 or coefficient(holders[0], axis.var) != 1 or coefficient(holders[0], tap) != 1:
            return False
    return True


# --------------------------------------------------------------------------------------------------------------------- cost

def _best(kernel: Kernel, target: Any, sizes: tuple[int, ...]) -> Kernel:
    found = recognise(kernel)
    if found is None:
        return kernel
    direct = _direct_cycles(found, target)
    costs = {m: _cycles(found, m, target) for m in sizes}
    best = min(costs, key=costs.__getitem__)
    return rewrite(found, best, target) if costs[best] < WORTH * direct else kernel


def _direct_cycles(c: Convolution, target: Any) -> float:
    weights = c.channel[1] * c.out.extent * c.size ** 2
    return prod(a.extent for a in c.rows) * weights / _speed(target) + weights * 4 / _stream(c, c.size ** 2, target)


def _cycles(c: Convolution, m: int, target: Any) -> float:
    """Estimated cycles of F(m, r): products, both transforms (about 3 operations per patch element and vector), weights streamed."""
    alpha, lanes = m + c.size - 1, target.lanes(32)
    tiles = prod(-(-a.extent // m) for a in c.rows)
    products = tiles * alpha ** 2 * c.channel[1] * c.out.extent / _speed(target)
    vectors = -(-c.channel[1] // lanes) + -(-c.out.extent // lanes)
    transforms = tiles * vectors * alpha ** 2 * (3 + alpha / 2)
    return START + products + transforms + alpha ** 2 * c.channel[1] * c.out.extent * 4 / _stream(c, alpha ** 2, target)


def _speed(target: Any) -> float:
    """Multiply-adds per cycle; 512-bit units are counted once."""
    return target.lanes(32) * (1 if target.vector_bits >= 512 else target.fma_per_cycle) * 0.95


def _stream(c: Convolution, factor: int, target: Any) -> float:
    """Bytes per cycle at which weights of this size arrive."""
    size = factor * c.channel[1] * c.out.extent * 4
    return 64.0 if size <= target.l2_bytes // 2 else STREAM * 2 if size <= target.l3_bytes // 2 else STREAM


# ------------------------------------------------------------------------------------------------------------------ rewrite

def rewrite(c: Convolution, m: int, target: Any) -> Kernel:
    """The convolution's kernel in the form F(m, r), its block of tiles sized for the target's L2 cache."""
    return _Rewrite(c, m, target).kernel()


class _Rewrite:
    """The three-stage kernel of one convolution with output tiles of m x m."""

    def __init__(self, c: Convolution, m: int, target: Any):
        self.c, self.m, self.alpha = c, m, m + c.size - 1
        self.at, self.g, self.bt = matrices(m, c.size)
        self.tiles = tuple(-(-a.extent // m) for a in c.rows)
        self.band = self._band(target)
        self.block = self.band * self.tiles[1]
        blocks = -(-self.tiles[0] // self.band)
        self.outer = Axis(fresh("w", 0, blocks - 1), blocks)
        name = c.kernel.name
        frequencies = self.alpha ** 2
        self.v = Buffer(f"{name}.v", f32, (frequencies, self.block, c.channel[1]), "scratch")
        self.u = Buffer(f"{name}.u", f32, (frequencies, c.channel[1], c.out.extent), "constant", data=self._weights())
        self.products = Buffer(f"{name}.m", f32, (frequencies, self.block, c.out.extent), "scratch")

    def _band(self, target: Any) -> int:
        """Rows of tiles per block: at least a dozen tiles, as many as keep both scratch buffers in L2."""
        row = self.tiles[1] * self.alpha ** 2 * (self.c.channel[1] + self.c.out.extent) * 4
        most = max(1, int(target.l2_bytes * 0.6) // row)
        fitting = [b for b in range(1, self.tiles[0] + 1) if b <= most] or [1]
        wasted = {b: -self.tiles[0] % b for b in fitting}
        good = [b for b in fitting if wasted[b] == 0 and b * self.tiles[1] >= 12]
        return good[0] if good else max(b for b in fitting if wasted[b] == min(wasted.values()))

    def kernel(self) -> Kernel:
        stages = (*self._input_stages(), self._product_stage(), *self._output_stages())
        axes = tuple(a for a in self.c.kernel.axes if a not in self.c.rows and a is not self.c.out)
        return replace(self.c.kernel, axes=(*axes, self.outer), stages=stages)

    def _weights(self) -> np.ndarray:
        """U[f, c, o] = G w G^T, f = alpha * row + column."""
        c = self.c
        p, q, k, o = np.ogrid[:c.size, :c.size, :c.channel[1], :c.out.extent]
        positions = evaluate(c.weight.data.flat(c.weight.args), {c.taps[0]: p, c.taps[1]: q, c.channel[0]: k, c.out.var: o}, None)
        w = c.weight.data.root.data.ravel()[np.broadcast_to(positions, (c.size, c.size, c.channel[1], c.out.extent))].astype(np.float64)
        g = np.array(self.g, dtype=np.float64)
        u = np.einsum("ip,jq,pqko->ijko", g, g, w)
        return np.ascontiguousarray(u.reshape(self.alpha ** 2, c.channel[1], c.out.extent).astype(np.float32))

    def _place(self) -> tuple[Axis, Axis, Expr, Expr, Expr]:
        """Axes over the tiles of a block, the first output row and column of the tile, its number in the block."""
        r, t = Axis(fresh("r", 0, self.band - 1), self.band), Axis(fresh("t", 0, self.tiles[1] - 1), self.tiles[1])
        return r, t, (self.outer.var * self.band + r.var) * self.m, t.var * self.m, r.var * self.tiles[1] + t.var

    def _input_stages(self) -> list[Stage]:
        c = self.c
        r, t, y, x, number = self._place()
        k = Axis(fresh("c", 0, c.channel[1] - 1), c.channel[1])
        zero = const(0, index)
        patch = [[_patch(c, {c.rows[0].var: y + i, c.rows[1].var: x + j, c.taps[0]: zero, c.taps[1]: zero, c.channel[0]: k.var})
                  for j in range(self.alpha)] for i in range(self.alpha)]
        values = _two_sided(self.bt, patch)
        axes = (r, t, k)
        return [Stage(self.v.name, axes, values[i][j], self.v, (as_expr(i * self.alpha + j, index), number, k.var))
                for i in range(self.alpha) for j in range(self.alpha)]

    def _product_stage(self) -> Stage:
        f = Axis(fresh("f", 0, self.alpha ** 2 - 1), self.alpha ** 2)
        b = Axis(fresh("b", 0, self.block - 1), self.block)
        o = Axis(fresh("o", 0, self.c.out.extent - 1), self.c.out.extent)
        value = reduce_over([self.c.channel[1]], "add", lambda k: read(self.v, (f.var, b.var, k)) * read(self.u, (f.var, k, o.var)))
        return Stage(self.products.name, (f, b, o), value, self.products, (f.var, b.var, o.var))

    def _output_stages(self) -> list[Stage]:
        """A^T M A and the rest of the kernel; through scratch where tiles overhang the output, so that only plain stores are guarded."""
        c = self.c
        r, t, y, x, number = self._place()
        o = Axis(fresh("o", 0, c.out.extent - 1), c.out.extent)
        found = [[read(self.products, (as_expr(i * self.alpha + j, index), number, o.var)) for j in range(self.alpha)]
                 for i in range(self.alpha)]
        sums = _two_sided(self.at, found)
        places = [(i, j) for i in range(self.m) for j in range(self.m)]
        if all(a.extent % self.m == 0 for a in c.rows) and self.tiles[0] % self.band == 0:
            return [self._final((r, t, o), y + i, x + j, o.var, sums[i][j]) for i, j in places]
        tile = Buffer(f"{c.kernel.name}.y", f32, (self.m ** 2, self.block, c.out.extent), "scratch")
        stages = [Stage(tile.name, (r, t, o), sums[i][j], tile, (as_expr(i * self.m + j, index), number, o.var)) for i, j in places]
        return [*stages, self._overhanging(tile)]

    def _overhanging(self, tile: Buffer) -> Stage:
        r, t, y, x, number = self._place()
        i, j = (Axis(fresh(n, 0, self.m - 1), self.m) for n in "ij")
        o = Axis(fresh("o", 0, self.c.out.extent - 1), self.c.out.extent)
        return self._final((r, i, t, j, o), y + i.var, x + j.var, o.var, read(tile, (i.var * self.m + j.var, number, o.var)))

    def _final(self, axes: tuple[Axis, ...], y: Expr, x: Expr, o: Expr, value: Expr) -> Stage:
        """What the kernel stores at output row y and column x, the convolution's sum replaced by `value`."""
        c, stage = self.c, self.c.kernel.stages[0]
        moved = {c.rows[0].var: y, c.rows[1].var: x, c.out.var: o}
        own = substitute(transform((stage.value,), lambda n: _MARK if n is c.node else None)[0], moved)
        own = transform((own,), lambda n: value if n is _MARK else None)[0]
        guards = tuple((at, as_expr(axis.extent, index)) for at, axis in zip((y, x), c.rows))
        return Stage(stage.name, axes, own, stage.target, tuple(substitute(n, moved) for n in stage.indices), guards=guards)


_MARK = argument("sum", f32)  # stands for the convolution while the rest of its kernel is moved


def _patch(c: Convolution, at: dict[Expr, Expr]) -> Expr:
    """The input at one place of a patch, zero outside the tensor (a patch may reach further than the convolution's own guards tell)."""
    pairs = [*c.guards]
    for axis in c.rows:
        dimension = next(n for n, i in enumerate(c.data.args) if axis.var in i.free)
        pairs.append((c.data.args[dimension], as_expr(c.data.data.shape[dimension], index)))
    return inside([(substitute(i, at), e) for i, e in dict.fromkeys(pairs)], substitute(c.data, at), 0.0)


# ----------------------------------------------------------------------------------------------------------------- matrices

def matrices(m: int, r: int) -> tuple[list[list[Fraction]], list[list[Fraction]], list[list[Fraction]]]:
    """(A^T, G, B^T) of F(m, r) by Toom-Cook interpolation at POINTS[m] and infinity, exact."""
    points = [Fraction(p) for p in POINTS[m]]
    alpha = m + r - 1
    norms = [prod((p - q for q in points if q != p), start=Fraction(1)) for p in points]
    at = [[*(p ** k for p in points), Fraction(k == m - 1)] for k in range(m)]
    g = [[p ** k / n for k in range(r)] for p, n in zip(points, norms)] + [[Fraction(k == r - 1) for k in range(r)]]
    bt = [_expand([q for q in points if q != p], alpha) for p in points] + [_expand(points, alpha)]
    return at, g, bt


def _expand(roots: list[Fraction], length: int) -> list[Fraction]:
    """Coefficients of the product of (x - root), lowest first, padded with zeros."""
    found = [Fraction(1)]
    for root in roots:
        found = [(found[k - 1] if k else 0) - root * (found[k] if k < len(found) else 0) for k in range(len(found) + 1)]
    return [Fraction(x) for x in found] + [Fraction(0)] * (length - len(found))


def _two_sided(matrix: list[list[Fraction]], values: list[list[Expr]]) -> list[list[Expr]]:
    """matrix * values * matrix^T on expressions, columns first; zero coefficients vanish, partial sums are shared."""
    columns = [[_combination(row, [values[i][j] for i in range(len(values))]) for j in range(len(values))] for row in matrix]
    return [[_combination(row, line) for row in matrix] for line in columns]


def _combination(coefficients: list[Fraction], values: list[Expr]) -> Expr:
    total: Expr | None = None
    for c, value in sorted(zip(coefficients, values), key=lambda item: item[0] < 0):
        if c == 0:
            continue
        if total is None:
            total = value if c == 1 else value * float(c)
        elif abs(c) == 1:
            total = total + value if c == 1 else total - value
        else:
            total = mul_add(value, const(float(c), f32), total)
    return total
