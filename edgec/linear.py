"""The canonical form of index arithmetic: constant + sum of coefficient * atom, with interval analysis.

A `linear` node's operands are its atoms (anything that is not itself a sum: variables, floordiv, min, max, products, reads), sorted by
age; its payload is (constant, coefficients). Sums, scalings and divisions below keep that form, which is what cancels
reshape-of-reshape and recognises strides.

    split(i * 56 + j + 3)       # (3, {i: 56, j: 1})
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import gcd

from edgec.expr import UNBOUNDED, Expr, const, fresh, make
from edgec.sweeps import substitute
from edgec.types import index


def split(e: Expr) -> tuple[int, dict[Expr, int]]:
    """(constant, {atom: coefficient}) of an index expression."""
    if e.op == "const":
        return e.data, {}
    if e.op == "linear":
        return e.data[0], dict(zip(e.args, e.data[1]))
    return 0, {e: 1}


def join(constant: int, terms: dict[Expr, int]) -> Expr:
    """The expression of a (constant, terms) pair; the inverse of `split`."""
    kept = sorted(((a, c) for a, c in terms.items() if c), key=lambda item: item[0].serial)
    if not kept:
        return const(constant, index)
    if constant == 0 and len(kept) == 1 and kept[0][1] == 1:
        return kept[0][0]
    atoms, coefficients = tuple(a for a, _ in kept), tuple(c for _, c in kept)
    return make("linear", atoms, index, (constant, coefficients), bounds=lambda: interval(constant, dict(kept)))


def interval(constant: int, terms: dict[Expr, int]) -> tuple[int, int]:
    """Bounds of the sum. c*y - c*d*(y//d) counts as c*[0, d-1], which is how remainders keep their range."""
    for atom, coefficient in terms.items():
        if atom.op == "floordiv" and atom.args[1].op == "const":
            rest = _without_remainder(constant, terms, atom, coefficient)
            if rest is not None:
                scale, steps, (rest_constant, rest_terms) = rest
                low, high = interval(rest_constant, rest_terms)
                reach = scale * (steps - 1)
                return low + min(0, reach), high + max(0, reach)
    low = high = constant
    for atom, coefficient in terms.items():
        ends = (coefficient * atom.lo, coefficient * atom.hi)
        low, high = low + min(ends), high + max(ends)
    return max(low, -UNBOUNDED), min(high, UNBOUNDED)


def _without_remainder(constant: int, terms: dict[Expr, int], atom: Expr, coefficient: int):
    """(c, the sum less c*(y - d*(y//d))) when `atom` = y//d stands in the sum as part of such a remainder; likewise y//e - d*(y//(e*d))."""
    dividend, divisor = atom.args[0], atom.args[1].data
    for lower, e in _coarser(terms, dividend, divisor):
        scale = -coefficient // (divisor // e)
        if terms[lower] == scale and coefficient == -scale * (divisor // e):
            return scale, divisor // e, (constant, {a: c for a, c in terms.items() if a is not atom and a is not lower})
    if coefficient % divisor:
        return None
    scale = -coefficient // divisor
    inner_constant, inner = split(dividend)
    if any(terms.get(a, 0) != scale * c for a, c in inner.items()):
        return None
    rest = {a: c for a, c in terms.items() if a is not atom and a not in inner}
    return scale, divisor, (constant - scale * inner_constant, rest)


def _coarser(terms: dict[Expr, int], dividend: Expr, divisor: int) -> list[tuple[Expr, int]]:
    """The terms that divide the same dividend by a proper divisor of `divisor`, with that number."""
    found = [(a, a.args[1].data) for a in terms if a.op == "floordiv" and a.args[0] is dividend and a.args[1].op == "const"]
    return [(a, e) for a, e in found if e < divisor and divisor % e == 0]


def add(a: Expr, b: Expr) -> Expr:
    (ca, ta), (cb, tb) = split(a), split(b)
    for atom, coefficient in tb.items():
        ta[atom] = ta.get(atom, 0) + coefficient
    return join(ca + cb, ta)


def weighted(constant: int, parts: Iterable[tuple[Expr, int]]) -> Expr:
    """constant + the sum of every expression times its number: what `add` and `scale` give, made in one step."""
    total: dict[Expr, int] = {}
    for part, factor in parts:
        more, terms = split(part)
        constant += factor * more
        for atom, coefficient in terms.items():
            total[atom] = total.get(atom, 0) + factor * coefficient
    return join(constant, total)


def without(e: Expr, variable: Expr) -> Expr:
    """The sum less its term in a variable."""
    constant, terms = split(e)
    terms.pop(variable, None)
    return join(constant, terms)


def scale(a: Expr, factor: int) -> Expr:
    constant, terms = split(a)
    return join(constant * factor, {atom: c * factor for atom, c in terms.items()})


def multiply(a: Expr, b: Expr) -> Expr:
    """A product: a scaling when one side is a number, else distributed over the sums with `mul` atoms."""
    if a.op == "const":
        return scale(b, a.data)
    if b.op == "const":
        return scale(a, b.data)
    (ca, ta), (cb, tb) = split(a), split(b)
    result = add(scale(join(0, tb), ca), scale(a, cb))
    for x, cx in ta.items():
        for y, cy in tb.items():
            result = add(result, scale(_product(x, y), cx * cy))
    return result


def _product(x: Expr, y: Expr) -> Expr:
    factors = sorted((*(x.args if x.op == "mul" else (x,)), *(y.args if y.op == "mul" else (y,))), key=lambda f: f.serial)
    low, high = factors[0].lo, factors[0].hi
    for f in factors[1:]:
        ends = [low * f.lo, low * f.hi, high * f.lo, high * f.hi]
        low, high = min(ends), max(ends)
    return make("mul", factors, index, bounds=(low, high))


def floordiv(a: Expr, b: Expr) -> Expr:
    """floor(a / b): multiples of b leave the division, a rest within [0, b) vanishes, common factors cancel."""
    if a.op == "const" and b.op == "const" and b.data > 0:
        return const(a.data // b.data, index)
    if b.op != "const" or b.data <= 0:
        return _symbolic_floordiv(a, b)
    d = b.data
    constant, terms = split(a)
    whole = {atom: c // d for atom, c in terms.items() if c % d == 0}
    rest = {atom: c for atom, c in terms.items() if c % d}
    quotient = join(constant // d, whole)
    low, high = interval(constant % d, rest)
    if low // d == high // d:
        return add(quotient, const(low // d, index))
    return add(quotient, _reduced_floordiv(constant % d, rest, d))


def _reduced_floordiv(constant: int, terms: dict[Expr, int], d: int) -> Expr:
    common = gcd(d, *terms.values())
    if common > 1:
        reduced = join(constant // common, {a: c // common for a, c in terms.items()})
        return floordiv(reduced, const(d // common, index))
    dividend = join(constant, terms)
    if dividend.op == "floordiv" and dividend.args[1].op == "const":
        return floordiv(dividend.args[0], const(dividend.args[1].data * d, index))
    return make("floordiv", (dividend, const(d, index)), index, bounds=(dividend.lo // d, dividend.hi // d))


def _symbolic_floordiv(a: Expr, b: Expr) -> Expr:
    """a // b for a symbolic b >= 1: exact multiples divide out, a rest known within [0, b) vanishes."""
    if a is b:
        return const(1, index)
    constant, terms = split(a)
    whole, rest = {}, {}
    for atom, c in terms.items():
        if atom is b:
            whole[const(1, index)] = c
        elif atom.op == "mul" and b in atom.args:
            others = list(atom.args)
            others.remove(b)
            left = others[0]
            for other in others[1:]:
                left = _product(left, other)
            whole[left] = whole.get(left, 0) + c
        else:
            rest[atom] = c
    quotient = const(0, index)
    for atom, c in whole.items():
        quotient = add(quotient, scale(atom, c))
    remainder = join(constant, rest)
    if remainder.lo >= 0 and remainder.hi < max(b.lo, 1):
        return quotient
    low = max(b.lo, 1)
    ends = [remainder.lo // low, remainder.hi // low, remainder.lo // max(b.hi, 1), remainder.hi // max(b.hi, 1)]
    return add(quotient, make("floordiv", (remainder, b), index, bounds=(min(ends), max(ends))))


def rebuild(node: Expr, args: Sequence[Expr]) -> Expr:
    """A linear node over other atoms (which may be sums themselves now)."""
    return weighted(node.data[0], zip(args, node.data[1]))


def coefficient(e: Expr, variable: Expr) -> int | None:
    """The coefficient of a variable, or None where the expression is not affine in it."""
    constant, terms = split(e)
    if any(variable in atom.free for atom in terms if atom is not variable):
        return None
    return terms.get(variable, 0)


def coefficient_within(e: Expr, variable: Expr, width: int) -> int | None:
    """The step between neighbours of one aligned group of `width`: the coefficient, or what it is where groups lie apart.

    n * (c // 4) + c % 4 has no coefficient in c; within fours it is 1.
    """
    plain = coefficient(e, variable)
    if plain is not None or width < 2 or not any(_divides(atom, variable, width) for atom in split(e)[1]):
        return plain
    group, place = fresh("g", 0, variable.hi // width), fresh("p", 0, width - 1)
    return coefficient(substitute(e, {variable: group * width + place}), place)


def _divides(atom: Expr, variable: Expr, width: int) -> bool:
    """Whether an atom is a division of something with the variable by a multiple of `width`."""
    return atom.op == "floordiv" and variable in atom.free and atom.args[1].op == "const" and atom.args[1].data % width == 0
