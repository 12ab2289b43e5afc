"""A convolution's kernel in Winograd form: three groups of stages over a block of output tiles.

    V[f,b,c] = B^T d B      d: the (m+r-1)^2 input patch of tile b, unrolled to the nonzero coefficients
    M[f,b,o] = sum_over(c; V[f,b,c] * U[f,c,o])      one matrix product per frequency f; U = G w G^T, computed at compile time in f64
    y        = A^T M A      then whatever followed the convolution

Bytes are transformed into 16 bits and summed in 32, f16 into f32 or f16 (winograd_arithmetic).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import combinations

from edgec.expr import Expr, argument, as_expr, cast, const, fresh, inside, mul_add, read, reduce_over
from edgec.kernel import Axis, Buffer, Kernel, Stage
from edgec.passes.winograd_arithmetic import arithmetic, transformed, weights_of
from edgec.passes.winograd_convolution import Convolution
from edgec.passes.winograd_matrices import Matrix
from edgec.sweeps import substitute, transform
from edgec.types import DType, f32, index


def rewrite(c: Convolution, m: int, band: int, half: bool = False) -> Kernel:
    """The convolution's kernel in the form F(m, r), `band` rows of tiles a block, its transformed operands as f16 with `half`."""
    return _Rewrite(c, m, band, half).kernel()


class _Rewrite:
    """The three-stage kernel of one convolution with output tiles of m x m."""

    def __init__(self, c: Convolution, m: int, band: int, half: bool):
        self.c, self.m, self.alpha, self.band = c, m, m + c.size - 1, band
        self.how = arithmetic(c, m, half)
        self.tiles = tuple(-(-a.extent // m) for a in c.rows)
        self.block = self.band * self.tiles[1]
        blocks = -(-self.tiles[0] // self.band)
        self.outer = Axis(fresh("w", 0, blocks - 1), blocks)
        name = c.kernel.name
        frequencies = self.alpha ** 2
        weights = transformed(weights_of(c), self.how.g).astype(self.how.factor.numpy)
        self.v = Buffer(f"{name}.v", self.how.factor, (frequencies, self.block, c.channel[1]), "scratch")
        self.u = Buffer(f"{name}.u", self.how.factor, (frequencies, c.channel[1], c.out.extent), "constant", data=weights)
        self.products = Buffer(f"{name}.m", self.how.sums, (frequencies, self.block, c.out.extent), "scratch")

    def kernel(self) -> Kernel:
        stages = (*self._input_stages(), self._product_stage(), *self._output_stages())
        axes = tuple(a for a in self.c.kernel.axes if a not in self.c.rows and a is not self.c.out)
        return replace(self.c.kernel, axes=(*axes, self.outer), stages=stages)

    def _place(self) -> tuple[Axis, Axis, Expr, Expr, Expr]:
        """Axes over the tiles of a block, the first output row and column of the tile, its number in the block."""
        r, t = Axis(fresh("r", 0, self.band - 1), self.band), Axis(fresh("t", 0, self.tiles[1] - 1), self.tiles[1])
        return r, t, (self.outer.var * self.band + r.var) * self.m, t.var * self.m, r.var * self.tiles[1] + t.var

    def _input_stages(self) -> list[Stage]:
        c = self.c
        r, t, y, x, number = self._place()
        k = Axis(fresh("c", 0, c.channel[1] - 1), c.channel[1])
        zero = const(0, index)
        corner = {c.taps[0]: zero, c.taps[1]: zero, c.channel[0]: k.var}
        patch = [[_patch(c, self.how.factor, {c.rows[0].var: y + i, c.rows[1].var: x + j, **corner})
                  for j in range(self.alpha)] for i in range(self.alpha)]
        values = _two_sided(self.how.bt, patch)
        axes = (r, t, k)
        return [Stage(self.v.name, axes, values[i][j], self.v, (as_expr(i * self.alpha + j, index), number, k.var))
                for i in range(self.alpha) for j in range(self.alpha)]

    def _product_stage(self) -> Stage:
        f = Axis(fresh("f", 0, self.alpha ** 2 - 1), self.alpha ** 2)
        b = Axis(fresh("b", 0, self.block - 1), self.block)
        o = Axis(fresh("o", 0, self.c.out.extent - 1), self.c.out.extent)
        value = reduce_over([self.c.channel[1]], "add", lambda k: cast(read(self.v, (f.var, b.var, k)), self.how.sums)
                            * cast(read(self.u, (f.var, k, o.var)), self.how.sums))
        return Stage(self.products.name, (f, b, o), value, self.products, (f.var, b.var, o.var))

    def _output_stages(self) -> list[Stage]:
        """A^T M A and the rest of the kernel; through scratch where tiles overhang the output, so that only plain stores are guarded."""
        c = self.c
        r, t, y, x, number = self._place()
        o = Axis(fresh("o", 0, c.out.extent - 1), c.out.extent)
        found = [[read(self.products, (as_expr(i * self.alpha + j, index), number, o.var)) for j in range(self.alpha)]
                 for i in range(self.alpha)]
        sums = [[self.how.result(total) for total in line] for line in _two_sided(self.how.at, found)]
        places = [(i, j) for i in range(self.m) for j in range(self.m)]
        if all(a.extent % self.m == 0 for a in c.rows) and self.tiles[0] % self.band == 0:
            return [self._final((r, t, o), y + i, x + j, o.var, sums[i][j]) for i, j in places]
        height, width = self.band * self.m, self.tiles[1] * self.m
        tile = Buffer(f"{c.kernel.name}.y", self.how.sums, (height, width, c.out.extent), "scratch")
        stages = [Stage(tile.name, (r, t, o), sums[i][j], tile, (r.var * self.m + i, t.var * self.m + j, o.var)) for i, j in places]
        return [*stages, self._overhanging(tile)]

    def _overhanging(self, tile: Buffer) -> Stage:
        """What the block's output rows are made of; columns beyond the output are not walked at all."""
        c = self.c
        i, x, o = (Axis(fresh(n, 0, e - 1), e) for n, e in zip("ixo", (tile.shape[0], c.rows[1].extent, c.out.extent)))
        return self._final((i, x, o), self.outer.var * tile.shape[0] + i.var, x.var, o.var, read(tile, (i.var, x.var, o.var)))

    def _final(self, axes: tuple[Axis, ...], y: Expr, x: Expr, o: Expr, value: Expr) -> Stage:
        """What the kernel stores at output row y and column x, the convolution's sum replaced by `value`."""
        c, stage = self.c, self.c.kernel.stages[0]
        moved = {c.rows[0].var: y, c.rows[1].var: x, c.out.var: o}
        mark = argument("sum", value.dtype)  # stands for the convolution while the rest of its kernel is moved
        own = substitute(transform((stage.value,), lambda n: mark if n is c.node else None)[0], moved)
        own = transform((own,), lambda n: value if n is mark else None)[0]
        guards = tuple((at, as_expr(axis.extent, index)) for at, axis in zip((y, x), c.rows))
        return Stage(stage.name, axes, own, stage.target, tuple(substitute(n, moved) for n in stage.indices), guards=guards)


def _patch(c: Convolution, dtype: DType, at: dict[Expr, Expr]) -> Expr:
    """The input at one place of a patch as `dtype`, zero outside the tensor: a patch may reach further than the convolution's own guards
    tell."""
    pairs = [*c.guards]
    for axis in c.rows:
        dimension = next(n for n, i in enumerate(c.data.args) if axis.var in i.free)
        pairs.append((c.data.args[dimension], as_expr(c.data.data.shape[dimension], index)))
    return inside([(substitute(i, at), e) for i, e in dict.fromkeys(pairs)], cast(substitute(c.data, at), dtype), 0)


def _two_sided(matrix: Matrix, values: list[list[Expr]]) -> list[list[Expr]]:
    """matrix * values * matrix^T on expressions, columns first; zero coefficients vanish, partial sums are shared."""
    columns = [_product(matrix, [line[j] for line in values]) for j in range(len(values))]
    return [_product(matrix, [column[i] for column in columns]) for i in range(len(matrix))]


def _product(matrix: Matrix, values: Sequence[Expr]) -> list[Expr]:
    """matrix * values. Points come in pairs p and -p, so columns (of A^T) and rows (of B^T) come in pairs that differ in signs alone: what
    these have in common is added up once, 10 and 12 operations in F(4,3) instead of 14 and 21."""
    rows, values = [list(row) for row in matrix], list(values)
    for j, k in _mirrored(list(zip(*matrix))):
        values[j], values[k] = values[j] + values[k], values[j] - values[k]
        for row in rows:
            row[j], row[k] = (row[j] + row[k]) / 2, (row[j] - row[k]) / 2
    found = [_combination(row, values) for row in rows]
    for i, k in _mirrored(rows):
        same, other = [(a + b) / 2 for a, b in zip(rows[i], rows[k])], [(a - b) / 2 for a, b in zip(rows[i], rows[k])]
        least = min(abs(c) for c in other if c)
        factor = least if all((c / least).denominator == 1 for c in other) else Fraction(1)
        total, part = _combination(same, values), _combination([c / factor for c in other], values)
        found[i], found[k] = _added(total, factor, part), _added(total, -factor, part)
    return found


def _mirrored(lines: Sequence[Sequence[Fraction]]) -> list[tuple[int, int]]:
    """Pairs of rows whose coefficients differ in signs alone, in some but not in all."""
    pairs, free = list[tuple[int, int]](), list(range(len(lines)))
    for i, k in combinations(range(len(lines)), 2):
        signs = {a * b > 0 for a, b in zip(lines[i], lines[k]) if a or b}
        if i in free and k in free and len(signs) == 2 and list(map(abs, lines[i])) == list(map(abs, lines[k])):
            pairs.append((i, k))
            free = [n for n in free if n not in (i, k)]
    return pairs


def _combination(coefficients: Sequence[Fraction], values: Sequence[Expr]) -> Expr:
    """The sum of values times coefficients, begun with one that needs no product."""
    pairs = sorted(zip(coefficients, values), key=lambda item: (item[0] < 0, item[0] != 1))
    (c, value), *rest = [(c, value) for c, value in pairs if c]
    total = value if c == 1 else value * const(c, value.dtype)
    for c, value in rest:
        total = _added(total, c, value)
    return total


def _added(total: Expr, c: Fraction, value: Expr) -> Expr:
    if abs(c) == 1:
        return total + value if c == 1 else total - value
    return mul_add(value, const(c, f32), total) if value.dtype is f32 else total + value * const(c, value.dtype)
