"""Sums of products become dot products where the target has an instruction for them: g reduction steps at once in every lane.

The reduction axis k is walked in groups of g neighbours, 32 bits together. One operand has these neighbours side by side in memory and is
read as whole words; the other's are gathered into words, by `pack` at compile time where it is constant. A last incomplete group is filled
up with zeros and written out apart from the loop.

    sum_over(c < 64; f32(x[64*i + c]) * f32(w[64*o + c]))                       x, w: bf16
    ->  sum_over(c < 32; dot(0.0, x[64*i + 2*c as bf16x2], word(w[64*o + 2*c], w[64*o + 2*c + 1])))

Bytes whose signs no row takes are made ones it does by inverting the top bit, which adds or subtracts 128: sum (x + 128) w - 128 sum w,
the last sum being a constant (or one of a few, where a border cuts taps off). Without rows for bytes they are widened to 16 bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from edgec.backends.instruction import Dot, dots as dot_rows, matrices
from edgec.expr import Expr, binary, bitcast, cast, const, dot, fresh, inside, is_const, make, word
from edgec.linear import coefficient
from edgec.loops import group_of, load
from edgec.passes.matrix_sums import in_matrices
from edgec.passes.nest import Domain, Nest, domain_key
from edgec.passes.pack import Tables
from edgec.passes.schedule import Schedule, schedule, tile_choices, widest
from edgec.passes.weight_sums import weight_sum
from edgec.sweeps import rebuild, substitute, transform, walk
from edgec.types import DTYPES, DType, element_of, i16, index, u32, u64, word_of

HALF_RANGE = 128
OTHER_SIGN = {"i8": "u8", "u8": "i8"}
TOP_BITS = const(0x80808080, u32)


@dataclass(frozen=True, eq=False)
class Product:
    """What a dot product needs to know of a reduction: words along `axis` of `moving`, as `moving_type`, and `other`, as `other_type`."""

    row: Dot
    moving: Expr
    other: Expr
    axis: Expr
    moving_type: DType
    other_type: DType
    sum: Expr | None = None  # of the other operand, where the moving one's sign is changed

    @property
    def is_flipped(self) -> bool:
        return self.moving_type.bits == self.moving.dtype.bits and self.moving_type is not self.moving.dtype

    @property
    def correction(self) -> int:
        """What each product with a flipped operand is too large by, as a multiple of the other factor."""
        return HALF_RANGE if self.moving_type.kind == "u" else -HALF_RANGE


def dots(nest: Nest, target: Any, tables: Tables) -> Nest:
    """The nest with those reductions as dot products that a row of the target fits; `tables` takes the constants that this needs."""
    rows = [row for row in dot_rows(target.instructions) if row.lanes == target.lanes(32)]
    nest = _joined(nest) if rows and not nest.domains else nest
    found = {node: _product(nest, domain, rows, tables) for node, domain in nest.domains.items()} if rows else {}
    plain = _with_products(nest, found) if any(found.values()) else nest
    blocks = {node: _product(nest, domain, matrices(target.instructions), tables) for node, domain in nest.domains.items()}
    if not any(blocks.values()):
        return plain
    other = _with_products(nest, {node: blocks[node] or found.get(node) for node in nest.domains})
    return other if _pays(other, plain, target) else plain


def _pays(blocks: Nest, plain: Nest, target: Any) -> bool:
    """Whether a nest whose sums are multiplied as matrices takes less time than the same with dot products."""
    plan, before = schedule(blocks, target), schedule(plain, target)
    if plan.row is None or (plan.row, plan.vector) != (before.row, before.vector):
        return False
    if not any(d.body[0].op == "dot" for d in plain.domains.values()):
        return False
    fits = all(in_matrices(d, plan, target) for d in blocks.domains.values() if d.word_bits > 32)
    return fits and _cycles(blocks, plan, target) < _cycles(plain, before, target)


def _cycles(nest: Nest, plan: Schedule, target: Any) -> float:
    """What the best tile of a nest takes for all steps of its longest sum of dot products."""
    tiles = tile_choices(nest, target, plan.vector, plan.row, target.lanes(widest(nest)))
    return min((t.cycles for t in tiles), default=float("inf")) * max(d.steps for d in nest.domains.values() if d.body[0].op == "dot")


def _with_products(nest: Nest, found: dict[Expr, Product | None]) -> Nest:
    """The nest with reductions as sums over groups."""
    done: dict[int, Expr] = {}
    domains: dict[Expr, Domain] = {}
    for node in walk(*nest.values):
        made = rebuild(node, [done[id(a)] for a in node.args]) if node.args else node
        if node in nest.domains:
            product = found[node]
            made, domain = _rewritten(node, nest.domains[node], product) if product else (node, nest.domains[node])
            domains[made] = domain
            if product and product.sum is not None:
                made = made - const(product.correction, made.dtype) * product.sum
        done[id(node)] = made
    return replace(nest, results=tuple(replace(r, value=done[id(r.value)]) for r in nest.results), domains=domains)


def _joined(nest: Nest) -> Nest:
    """The nest with words of neighbours in memory read as words."""
    def whole(n: Expr) -> Expr | None:
        if n.op != "word" or any(e.op != "load" or e.lanes > 1 or e.data != n.args[0].data for e in n.args):
            return None
        first = n.args[0].args[0]
        near = all(e.args[0] - first is const(k, index) for k, e in enumerate(n.args))
        return load(n.args[0].data[0], first, dtype=n.dtype) if near else None
    values = transform([r.value for r in nest.results], whole)
    return replace(nest, results=tuple(replace(r, value=v) for r, v in zip(nest.results, values)))


def _product(nest: Nest, domain: Domain, rows: Sequence[Dot], tables: Tables) -> Product | None:
    if domain.combine != "add" or len(domain.body) != 1 or domain.body[0].op != "mul" or not is_const(domain.init[0]):
        return None
    factors = [a.args[0] if a.op == "cast" else a for a in domain.body[0].args]
    if any(f.op != "load" or f.lanes > 1 for f in factors):
        return None
    for moving, other in (factors, factors[::-1]):
        shared = [a for a in nest.axes if a.extent != 1 and a.var in other.free and a.var not in moving.free]
        axis = _grouped_axis(domain, moving, other) if shared and not moving.data[0].constant else None
        for row, *types in _fitting(rows, domain.body[0].dtype, moving.dtype, other.dtype) if axis is not None else ():
            if row.above is not None and not _is_above(other, row.above, tables):
                continue
            if row.rows > 1 and not _makes_blocks(nest, row, moving, other, domain.extents[domain.axes.index(axis)].data, tables):
                continue
            product = Product(row, moving, other, axis, *types)
            total = weight_sum(nest, domain, other, shared[-1], tables) if product.is_flipped else None
            if total is not None or not product.is_flipped:
                return replace(product, sum=total)
    return None


def _makes_blocks(nest: Nest, row: Dot, moving: Expr, other: Expr, extent: int, tables: Tables) -> bool:
    """Whether a row that multiplies matrices takes both operands as they are, the second packed, and some axis has its first one's rows."""
    rows = any(a.extent != 1 and a.var in moving.free and a.var not in other.free for a in nest.axes)
    packs = other.data[0].constant and -(-extent // row.group) * row.group <= tables.growth * extent
    return rows and packs and (row.a, row.b) == (moving.dtype.name, other.dtype.name)


def _is_above(factor: Expr, limit: int, tables: Tables) -> bool:
    """Whether a factor is a constant all of whose elements are above a number."""
    param = factor.data[0]
    return param.constant and int(tables.data(param).min()) > limit


def _fitting(rows: Sequence[Dot], acc: DType, moving: DType, other: DType) -> list[tuple[Dot, DType, DType]]:
    """Rows with the types that the operands take for them: as they are, else the moving one with the other sign, else both in 16 bits."""
    choices = [(moving, other)]
    if moving.name in OTHER_SIGN:
        choices.append((DTYPES[OTHER_SIGN[moving.name]], other))
    if all(t.is_integer and t.bits < 16 or t is i16 for t in (moving, other)):
        choices.append((i16, i16))
    return [(row, a, b) for a, b in choices for row in rows
            if row.acc == acc.name and (row.a, row.b) in ((a.name, b.name), (b.name, a.name))]


def _grouped_axis(domain: Domain, moving: Expr, other: Expr) -> Expr | None:
    """The longest reduction axis along which one operand's elements are neighbours and the other's lie at regular steps."""
    guarded = {v for i, _ in domain.guards for v in i.free}
    fitting = [(e.data, -n) for n, (v, e) in enumerate(zip(domain.axes, domain.extents))
               if e.op == "const" and e.data > 1 and v not in guarded and coefficient(moving.args[0], v) == 1
               and coefficient(other.args[0], v)]
    return domain.axes[-max(fitting)[1]] if fitting else None


def _rewritten(node: Expr, domain: Domain, product: Product) -> tuple[Expr, Domain]:
    """The reduction over groups."""
    group, place = product.row.group, domain.axes.index(product.axis)
    extent = domain.extents[place].data
    count = -(-extent // group)
    groups = fresh("g", 0, count - 1)
    first = _moving_words(product, domain, groups, extent)
    second = word(_elements(product.other, product.axis, groups, extent, group, product.other_type))
    # A broadcast comes second where the row's types allow: there instructions take it from memory, or by lane.
    last = product.row.rows == 1 and (product.row.a, product.row.b) == (product.other_type.name, product.moving_type.name)
    body = (dot(const(0, node.dtype), *((second, first) if last else (first, second))),)
    axes = (*domain.axes[:place], groups, *domain.axes[place + 1:])
    extents = (*domain.extents[:place], const(count, index), *domain.extents[place + 1:])
    made = make("reduce", (*axes, *extents, *domain.init, *body), node.dtype, node.data, free=node.free,
                key=domain_key(node, domain.guards))
    return made, replace(domain, axes=axes, extents=extents, body=body, peeled=frozenset({groups}) if extent % group else frozenset())


def _elements(x: Expr, axis: Expr, groups: Expr, extent: int, group: int, dtype: DType) -> list[Expr]:
    """The elements of one group; past the end of the axis they are zeros."""
    places = [groups * group + n for n in range(group)]
    return [inside([(at, extent)], cast(substitute(x, {axis: at}), dtype), 0) for at in places]


def _last_word(whole: Expr, gathered: Expr, domain: Domain, extent: int) -> Expr:
    """The word of an incomplete group of `extent`: what lies behind it is multiplied by zeros, so it is read where there is memory.

    That is where the point has a neighbour along an axis that is tested against its bounds, else where the offset says so.
    """
    at, group = whole.args[0], group_of(whole)
    if 2 * extent == group and whole.dtype.bits == 64:
        half = load(whole.data[0], at, dtype=word_of(element_of(whole.dtype)))
        return bitcast(cast(bitcast(half, u32), u64), whole.dtype)
    if not element_of(whole.dtype).is_integer:
        return gathered
    neighbours = [(min(steps), n) for n, (i, _) in enumerate(domain.guards)
                  for steps in [{(coefficient(at, v) or 0) / (coefficient(i, v) or 1) for v in i.free}] if len(steps) == 1]
    if nearest := min((pair for pair in neighbours if pair[0] >= group - extent), default=None):
        i, bound = domain.guards[nearest[1]]
        return inside([(i + 1, bound)], whole, gathered)
    return inside([(at, whole.data[0].size - group + 1)], whole, gathered)


def _moving_words(product: Product, domain: Domain, groups: Expr, extent: int) -> Expr:
    """One group of neighbours as a word in memory, with the sign that the row takes; gathered where incomplete or widened."""
    x, group = product.moving, product.row.group
    gathered = word(_elements(x, product.axis, groups, extent, group, product.moving_type if not product.is_flipped else x.dtype))
    if element_of(gathered.dtype) is not x.dtype:
        return gathered
    whole = load(x.data[0], substitute(x.args[0], {product.axis: groups * group}), dtype=gathered.dtype)
    rest = _last_word(whole, gathered, domain, extent % group) if extent % group else gathered
    found = inside([(groups, extent // group)], whole, rest)
    if not product.is_flipped:
        return found
    return bitcast(binary("xor", bitcast(found, u32), TOP_BITS), word_of(product.moving_type))
