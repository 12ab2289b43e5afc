"""Products of two run-time tensors of bytes inside a kernel of stages become dot products of words that stages before them pack.

In attention both factors are computed, so no table can be packed for a dot-product instruction. Their bytes are put together into words of
four along the sum, each once for a block of rows; zero points leave the sum as they do for constant weights, with sums of the words that
are stages, too. Where no row takes the signs, one factor's top bits are inverted and its zero point moved by 128.

    row[j] = cast<u8>(...);  y[d] = sum_over(j; i32(row[j]) * (i32(V[j,d]) - 129))
    ->  row[g] = word(...);  v[g,d] = word(V[4*g,d], ...) ^ top bits;  t = sum_over(g; dot(row[g], ones));
        y[d] = sum_over(g; dot(row[g], v[g,d])) - 1 * t
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from edgec.backends.instruction import dots as dot_rows
from edgec.expr import Expr, ReduceParts, binary, bitcast, const, dot, fresh, inside, is_const, read, sum_over, word
from edgec.kernel import Axis, Buffer, Kernel, Program, Stage
from edgec.linear import coefficient
from edgec.sweeps import substitute, transform, walk
from edgec.types import DTYPES, WORDS, DType, i8, i32, u8, u32, word_of

GROUP = 4
LEAST = 8        # elements of a sum that is worth packing
HALF_RANGE = 128
TOP_BITS, ONES = const(0x80808080, u32), const(0x01010101, u32)


def word_operands(program: Program, target: Any) -> Program:
    """The program with such products as dot products, where a row of the target takes words of bytes."""
    rows = [row for row in dot_rows(target.instructions) if row.lanes == target.lanes(32) and (row.acc, row.group) == ("i32", GROUP)
            and row.above is None]
    return program.with_steps(_packed(kernel, rows) for kernel in program.steps) if rows else program


def _packed(kernel: Kernel, rows: list) -> Kernel:
    if not kernel.block or kernel.repeat or any(s.combine or s.guards for s in kernel.stages):
        return kernel
    for stage in kernel.stages:
        for node in walk(stage.value):
            found = _product(kernel, stage, node)
            if found is not None:
                return _packed(_Packing(found, rows).kernel(), rows)
    return kernel


@dataclass(frozen=True, eq=False)
class Factor:
    """A byte along the reduction less a zero point: read from memory, or computed by a stage that stores a row of them."""

    element: Expr            # at reduction index r
    zero: int
    row: Stage | None = None
    unused: Stage | None = None  # a stage that widened what is read here instead

    @property
    def dtype(self) -> DType:
        return self.element.dtype


@dataclass(frozen=True, eq=False)
class Product:
    """A sum of products of two such factors in a stage of a kernel."""

    owner: Kernel
    stage: Stage
    node: Expr
    r: Expr
    extent: int
    factors: tuple[Factor, Factor]


def _product(kernel: Kernel, stage: Stage, node: Expr) -> Product | None:
    if node.op != "reduce" or node.data[0] != "add" or node.dtype is not i32:
        return None
    parts = ReduceParts(node)
    fits = len(parts.axes) == len(parts.body) == 1 and parts.extents[0].op == "const" and is_const(parts.init[0], 0)
    if not fits or parts.extents[0].data < LEAST or parts.body[0].op != "mul":
        return None
    factors = [_factor(kernel, stage, a, parts.axes[0]) for a in parts.body[0].args]
    if None in factors or factors[0].row and factors[1].row:
        return None
    return Product(kernel, stage, node, parts.axes[0], parts.extents[0].data, tuple(factors))


def _factor(kernel: Kernel, stage: Stage, e: Expr, r: Expr) -> Factor | None:
    maker = _only_stage(kernel, stage, e) if e.op == "read" and e.dtype is i32 else None
    if maker is not None and _along(maker, e, r):
        found = _factor(kernel, stage, substitute(maker.value, dict(zip((a.var for a in maker.axes), e.args))), r)
        return found and replace(found, unused=maker)
    zero = 0
    if e.op in ("sub", "add") and is_const(e.args[1]):
        zero, e = e.args[1].data * (1 if e.op == "sub" else -1), e.args[0]
    if e.op != "cast" or e.args[0].op != "read" or e.args[0].dtype not in (i8, u8) or r not in e.free:
        return None
    element = e.args[0]
    if element.data.root.kind == "constant":
        return None
    if element.data.kind != "scratch":
        return Factor(element, zero)
    row = _only_stage(kernel, stage, element)
    if row is None or not _along(row, element, r) or len(row.axes) != 1:
        return None
    return Factor(element, zero, row)


def _only_stage(kernel: Kernel, reader: Stage, e: Expr) -> Stage | None:
    """The one stage that stores the scratch that nothing but `reader` reads, there once."""
    makers = [s for s in kernel.stages if s.target is e.data]
    reads = [(s, n) for s in kernel.stages for n in walk(s.value, *s.indices) if n.op == "read" and n.data is e.data]
    return makers[0] if e.data.kind == "scratch" and len(makers) == 1 and reads == [(reader, e)] else None


def _along(maker: Stage, e: Expr, r: Expr) -> bool:
    """Whether a scratch element is what the maker stored at r, for the same row."""
    own = tuple(a.var for a in maker.axes)
    return len(own) == 1 and maker.indices[:1] == own and e.args[:1] == (r,) and maker.indices[1:] == e.args[1:]


@dataclass(frozen=True, eq=False)
class Words:
    """A packed factor: how it is read at a group, its element type and zero point, the stages that make it."""

    at: Callable[[Expr], Expr]
    dtype: DType
    zero: int
    stages: tuple[Stage, ...]


class _Packing:
    """Builds the kernel with one product of words."""

    def __init__(self, product: Product, rows: list):
        self.product, self.rows = product, rows
        self.blocked = product.owner.axes[-1]
        self.groups = -(-product.extent // GROUP)
        self.name = f"{product.stage.name}.words{len(product.owner.stages)}"

    def kernel(self) -> Kernel:
        p = self.product
        types, flips = self._types()
        words = [self._words(f, flip, f"{self.name}{'ab'[n]}") for n, (f, flip) in enumerate(zip(p.factors, flips))]
        order = (0, 1) if types == tuple(w.dtype for w in words) else (1, 0)
        self.ordered = lambda a, b: (a, b) if order == (0, 1) else (b, a)
        total = sum_over(self.groups, lambda g: dot(const(0, i32), *self.ordered(words[0].at(g), words[1].at(g))))
        extra: list[Stage] = []
        for n, each in enumerate(words):
            other = words[1 - n]
            if other.zero:
                stage, here = self._total(each, p.factors[n], n)
                extra.append(stage)
                total = total - here * other.zero
        total = total + const(p.extent * words[0].zero * words[1].zero, i32)
        value = transform((p.stage.value,), lambda n: total if n is p.node else None)[0]
        return replace(p.owner, stages=tuple(self._stages(words, extra, replace(p.stage, value=value))))

    def _types(self) -> tuple[tuple[DType, DType], tuple[bool, bool]]:
        """The types of a row's operands, and which factors change their sign for it; what is read from memory rather than what is made."""
        given = tuple(f.dtype for f in self.product.factors)
        choices = []
        for row in self.rows:
            types = (DTYPES[row.a], DTYPES[row.b])
            for wanted in (types, types[::-1]):
                if set(wanted) <= {i8, u8}:
                    flips = tuple(a is not b for a, b in zip(given, wanted))
                    cost = sum(2 if f.row else 1 for f, flip in zip(self.product.factors, flips) if flip)
                    choices.append((cost, len(choices), types, flips))
        _, _, types, flips = min(choices)
        return types, flips

    def _words(self, factor: Factor, flip: bool, name: str) -> Words:
        p = self.product
        dtype = (u8 if factor.dtype is i8 else i8) if flip else factor.dtype
        shift = 0 if not flip else HALF_RANGE if dtype is u8 else -HALF_RANGE
        group = Axis(fresh("g", 0, self.groups - 1), self.groups)
        element = substitute(factor.row.value, {factor.row.axes[0].var: p.r}) if factor.row else factor.element
        inner = [a for a in p.stage.axes if a.var in element.free]
        own = {a.var: Axis(fresh("w", 0, a.max_extent - 1), a.extent) for a in inner}
        moved = substitute(element, {v: a.var for v, a in own.items()})
        # What lies behind the end adds nothing: it is 0 once its sign is changed.
        places = [group.var * GROUP + n for n in range(GROUP)]
        parts = [inside([(place, p.extent)], substitute(moved, {p.r: place}), -shift) for place in places]
        value = word(parts)
        if flip:
            value = bitcast(binary("xor", bitcast(value, u32), TOP_BITS), word_of(dtype))
        near = not factor.row and coefficient(factor.element.data.flat(factor.element.args), p.r) == 1
        axes = (*own.values(), group) if near else (group, *own.values())
        slot = (self.blocked.var % p.owner.block,) if self.blocked.var in element.free else ()
        shape = (*(a.extent for a in axes), *(p.owner.block for _ in slot))
        buffer = Buffer(name, value.dtype, shape, "scratch")
        stage = Stage(name, axes, value, buffer, (*(a.var for a in axes), *slot))
        ours = tuple(a.var for a in inner)

        def at(g: Expr) -> Expr:
            return read(buffer, (*ours, g, *slot) if near else (g, *ours, *slot))
        return Words(at, dtype, factor.zero + shift, (stage,))

    def _total(self, words: Words, factor: Factor, number: int) -> tuple[Stage, Expr]:
        """A stage for the sums of a factor's elements, and its result where the product wants it."""
        stage, ones = words.stages[0], bitcast(ONES, WORDS["u8x4" if words.dtype is i8 else "i8x4"])
        inner = [a for a in self.product.stage.axes if a.var in words.at(self.product.r).free]
        own = {a.var: Axis(fresh("w", 0, a.max_extent - 1), a.extent) for a in inner}
        pair = lambda w: (w, ones) if number == 0 else (ones, w)
        value = sum_over(self.groups, lambda g: dot(const(0, i32), *self.ordered(*pair(words.at(g)))))
        slot = tuple(i for i in stage.indices if self.blocked.var in i.free)
        shape = (*(a.extent for a in own.values()), *(self.product.owner.block for _ in slot))
        buffer = Buffer(f"{stage.name}.sum", i32, shape, "scratch")
        made = Stage(buffer.name, tuple(own.values()), substitute(value, {v: a.var for v, a in own.items()}), buffer,
                     (*(a.var for a in own.values()), *slot))
        return made, read(buffer, (*own, *slot))

    def _stages(self, words: list[Words], extra: list[Stage], product: Stage) -> list[Stage]:
        """The kernel's stages with rows stored as words, and what is packed from memory just before the product."""
        p, found = self.product, []
        made = {id(f.row): w.stages for f, w in zip(p.factors, words) if f.row}
        unused = {id(f.unused) for f in p.factors if f.unused}
        for stage in p.owner.stages:
            if stage is p.stage:
                found += [s for f, w in zip(p.factors, words) if not f.row for s in w.stages]
                found += [*extra, product]
            elif id(stage) in made:
                found += made[id(stage)]
            elif id(stage) not in unused:
                found.append(stage)
        return found
