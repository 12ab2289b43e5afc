"""Floats that are rounded into 8 or 16 bits go through one conversion to i32, and saturate there.

The portable meaning of a conversion to a narrow type is a clamp, a truncation and, where something was rounded before, that rounding too.
Where bounds of the value are known, or after one clamp, a float is converted to i32 by the machine's rounding conversion, the zero point is
added there and the integer saturates, which machines do while they pack vectors. Runs on a nest, after `dots` and before the schedule.

A byte that only becomes a float again (a shortcut that is added to a requantised sum) never leaves floats, where an instruction rounds them
in place: two conversions less, one rounding more. Less its own zero point it is a clamp to what is left of the range.

    cast<u8>(round(x) + 5.0)   ->   saturate<u8>(within<i32>(round(x)) + 5)        |x| < 2^30
    cast<f32>(cast<i32>(cast<u8>(round(x) + 5.0)) - 5)   ->   clamped(round(x), -5.0, 250.0) + 0.0
"""

from __future__ import annotations

from typing import Any

from edgec.backends.instruction import meaning
from edgec.expr import Expr, cast, cast_within, compare, const, is_const, select, unary
from edgec.passes.nest import Nest, transformed
from edgec.passes.pack import Tables
from edgec.passes.value_bounds import Bounds, value_bounds
from edgec.sweeps import walk
from edgec.types import f32, i32

LIMIT = 2.0**30  # whole numbers up to here, plus a zero point, fit in 32 bits
LARGEST = 65535  # magnitude of a zero point


def conversions(nest: Nest, tables: Tables, target: Any = None) -> Nest:
    """The nest with conversions of f32 to 8 and 16 bits said by way of i32, or of no integer where `target` rounds floats in place."""
    if not any(_narrows(n) for n in walk(*nest.values)):
        return nest
    known = value_bounds(nest, tables)
    if target is not None and rounds_in_place(target) and any(_widens_again(n) for n in walk(*nest.values)):
        nest = transformed(nest, lambda node, made: _by_floats(made, known) if _widens_again(node) else None)
        known = value_bounds(nest, tables)
    return transformed(nest, lambda node, made: _by_integers(made, known.get(_rounded(node.args[0])[0])) if _narrows(node) else None)


def rounds_in_place(target: Any) -> bool:
    """Whether vectors of f32 are rounded by one instruction to floats and to integers, and none narrows integers as it saturates."""
    rows = [meaning(row) for row in target.instructions]
    found = {m.operation for m in rows if m.result.lanes != 1 and m.operands[:1] and m.operands[0].dtype == "f32"}
    return {"round_half_even", "nearest"} <= found and not any(m.operation == "saturate" for m in rows)


def _widens_again(node: Expr) -> bool:
    """Whether a float is a narrowed one, or that less a number."""
    if node.op != "cast" or node.dtype is not f32:
        return False
    narrow, taken = _less(node.args[0])
    return taken is not None and abs(taken) <= LARGEST and _narrows(narrow) and _whole(narrow.args[0])[1] is not None


def _less(e: Expr) -> tuple[Expr, int | None]:
    """The integer n and the number z of i32(n) - z; None where the number is not known."""
    e, taken = (e.args[0], e.args[1]) if e.op == "sub" and e.dtype is i32 else (e, const(0, i32))
    while taken.op == "cast" and taken.args[0].op == "const":
        taken = const(int(taken.args[0].data), i32)
    return e.args[0] if e.op == "cast" and e.dtype is i32 else e, taken.data if is_const(taken) else None


def _whole(y: Expr) -> tuple[Expr, int | None]:
    """x and the number z of y = round(x) + z."""
    x, zero = _rounded(y)
    return x, zero.data if zero is not None and is_const(zero) else None


def _by_floats(made: Expr, known: dict[Expr, Bounds]) -> Expr | None:
    """A float that was narrowed between, by a clamp alone; None where it may be NaN or so large that a sum with it would round.

    What is rounded below zero may be -0.0, which no integer is: 0.0 is added where the least value does not hide it.
    """
    narrow, taken = _less(made.args[0])
    x, zero = _whole(narrow.args[0])
    if x not in known:
        return None
    low, high = narrow.dtype.low - zero, narrow.dtype.high - zero
    near = _clamped(unary("round", x), low, high)
    return near + float(zero - taken) if zero != taken or low < 0 else near


def _narrows(node: Expr) -> bool:
    return node.op == "cast" and node.args[0].dtype is f32 and node.dtype.is_integer and node.dtype.bits in (8, 16)


def _rounded(y: Expr) -> tuple[Expr, Expr | None]:
    """x and the integer z of y = round(x) + z; y itself and None where it is not of that form."""
    if y.op == "round":
        return y.args[0], const(0, i32)
    for whole, zero in (y.args, y.args[::-1]) if y.op == "add" else ():
        integer = _integer(zero)
        if whole.op == "round" and integer is not None:
            return whole.args[0], integer
    return y, None


def _integer(zero: Expr) -> Expr | None:
    """A float that is a small integer, as one."""
    if is_const(zero):
        fits = abs(zero.data) <= LARGEST and zero.data == int(zero.data)
        return const(int(zero.data), i32) if fits else None
    narrow = zero.op == "cast" and zero.args[0].dtype.is_integer and zero.args[0].dtype.bits <= 16
    return cast(zero.args[0], i32) if narrow else None


def _by_integers(made: Expr, bounds: Bounds | None) -> Expr:
    """A narrowing conversion, its operand's float being within `bounds`; None: it may be infinite or NaN, which becomes 0."""
    x, zero = _rounded(made.args[0])
    bounded = bounds is not None and max(-bounds[0], bounds[1]) <= LIMIT
    if zero is None:
        near = x if bounded else _clamped(x, made.dtype.low, made.dtype.high)
        result = cast(cast_within(near, i32), made.dtype, saturate=bounded)
    else:
        whole = cast_within(unary("round", x if bounded else _clamped(x, -LIMIT, LIMIT)), i32)
        result = cast(whole if is_const(zero, 0) else whole + zero, made.dtype, saturate=True)
    maybe_nan = bounds is None and made.dtype.low < 0  # what _clamped makes of it is the least value
    return select(compare("eq", x, x), result, const(0, made.dtype)) if maybe_nan else result


def _clamped(x: Expr, low: float, high: float) -> Expr:
    """x between two bounds; NaN becomes the lower one."""
    least, greatest = const(float(low), f32), const(float(high), f32)
    above = select(compare("lt", least, x), x, least)
    return select(compare("lt", above, greatest), above, greatest)
