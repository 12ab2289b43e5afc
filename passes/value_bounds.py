"""Between which numbers every value of a nest lies, from the types of what it loads and the contents of its constants.

Bounds of a float say that it is neither infinite nor NaN. A 32-bit sum that may wrap can be anything its type holds. Runs on a nest, for
`conversions`, which leaves out the clamps that nothing can reach.

    cast<f32>(sum_over(c < 64; x: u8 * w: i8)) * m     # |w| <= 127, m <= 0.01:  -20726.4 .. 20726.4
"""

from __future__ import annotations

from math import isfinite, prod

from edgec.expr import Expr, ReduceParts
from edgec.passes.nest import Nest
from edgec.passes.pack import Tables
from edgec.sweeps import walk
from edgec.types import DType, element_of

Bounds = tuple[float, float]
SLACK = 1 + 2.0**-20  # more than the rounding of one operation adds


def value_bounds(nest: Nest, tables: Tables) -> dict[Expr, Bounds]:
    """The bounds of those nodes of a nest's values that have any."""
    found: dict[Expr, Bounds] = {}
    for node in walk(*nest.values):
        bounds = _of(node, found, nest, tables)
        if bounds is not None and all(map(isfinite, bounds)):
            found[node] = _in_type(bounds, node)
    return found


def _of(node: Expr, known: dict[Expr, Bounds], nest: Nest, tables: Tables) -> Bounds | None:
    if node.op == "const":
        return (float(node.data), float(node.data))
    if node.op == "load":
        return _of_load(node, tables)
    if node.op == "reduce":
        return _of_reduction(node, known, nest)
    if node.op in ("inside", "select"):
        return _union([known.get(a) for a in (node.args[:2] if node.op == "inside" else node.args[1:])])
    operands = [known.get(a) for a in node.args]
    return None if None in operands or not operands else _of_operation(node, operands)


def _of_operation(node: Expr, operands: list[Bounds]) -> Bounds | None:
    (a, b), *rest = operands
    if node.op in ("add", "sub"):
        (c, d), = rest
        return (a + c, b + d) if node.op == "add" else (a - d, b - c)
    if node.op in ("mul", "dot", "div"):
        other, = rest[-1:]
        return _corners((a, b), other) if node.op == "mul" else _quotient((a, b), other) if node.op == "div" else _dot(node, operands)
    if node.op == "shr":
        (least, most), = rest
        return (a // 2 ** least, b // 2 ** least) if least == most else None
    if node.op in ("min", "max"):
        (c, d), = rest
        return (min(a, c), min(b, d)) if node.op == "min" else (max(a, c), max(b, d))
    if node.op == "neg":
        return -b, -a
    if node.op == "abs":
        return 0.0, max(abs(a), abs(b))
    if node.op in ("round", "floor", "ceil", "trunc"):
        return a - 1, b + 1
    if node.op == "word":
        return _union(operands)
    return (a, b) if node.op == "cast" else None


def _of_load(node: Expr, tables: Tables) -> Bounds | None:
    """The elements of a load, or of the words that it loads."""
    param = node.data[0]
    if param.constant and param.dtype.kind in "iuf":
        data = tables.data(param)
        return (float(data.min()), float(data.max())) if data.size else None
    return _of_type(element_of(node.dtype) if node.dtype.kind == "w" else node.dtype)


def _of_type(dtype: DType) -> Bounds | None:
    return (float(dtype.low), float(dtype.high)) if dtype.is_integer else None


def _of_reduction(node: Expr, known: dict[Expr, Bounds], nest: Nest) -> Bounds | None:
    parts, domain = ReduceParts(node), nest.domains.get(node)
    body, start = known.get(parts.body[0]), known.get(parts.init[0])
    if domain is None or len(parts.body) != 1 or body is None or start is None:
        return None
    if domain.combine in ("min", "max"):
        return _union([body, start])
    steps = prod(e.data if e.op == "const" else int(e.hi) for e in parts.extents)
    return (start[0] + steps * min(body[0], 0), start[1] + steps * max(body[1], 0)) if domain.combine == "add" else None


def _dot(node: Expr, operands: list[Bounds]) -> Bounds:
    start, a, b = operands
    group = node.args[1].dtype.bits // element_of(node.args[1].dtype).bits
    low, high = _corners(a, b)
    return start[0] + group * low, start[1] + group * high


def _corners(a: Bounds, b: Bounds) -> Bounds:
    products = [x * y for x in a for y in b]
    return min(products), max(products)


def _quotient(a: Bounds, b: Bounds) -> Bounds | None:
    return _corners(a, (1 / b[1], 1 / b[0])) if b[0] > 0 or b[1] < 0 else None


def _union(parts: list[Bounds | None]) -> Bounds | None:
    return None if None in parts else (min(low for low, _ in parts), max(high for _, high in parts))


def _in_type(bounds: Bounds, node: Expr) -> Bounds:
    """Bounds that rounding, wrapping or saturation of the node's type cannot leave."""
    low, high = bounds
    if not node.dtype.is_integer:
        return (low * SLACK if low < 0 else low / SLACK), (high * SLACK if high > 0 else high / SLACK)
    least, greatest = float(node.dtype.low), float(node.dtype.high)
    if node.op == "cast" and (node.data or node.args[0].dtype.is_float):
        return min(max(low, least), greatest), max(min(high, greatest), least)
    return (least, greatest) if low < least or high > greatest else (low, high)
