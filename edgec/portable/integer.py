"""The functions of floats that also take integers: rounding and tests are trivial there, pow multiplies.

    expand(binary("pow", x, y), ...) on i32      # x^(y & 1) * (x^2)^(y >> 1 & 1) * ...
"""

from __future__ import annotations

from edgec.expr import Expr, binary, compare, const, select
from edgec.types import bool_

UNCHANGED = ("floor", "ceil", "round", "trunc")
NEVER = ("isnan", "isinf")


def expand_integer(node: Expr) -> Expr | None:
    """What replaces a function of integers; None for anything else."""
    if node.op in UNCHANGED:
        return node.args[0]
    if node.op in NEVER:
        return const(False, bool_)
    return power(*node.args) if node.op == "pow" else None


def power(x: Expr, y: Expr) -> Expr:
    """x^y by repeated squaring, wrapping; a negative exponent gives the reciprocal rounded toward zero: 0 but for x = 1 and x = -1."""
    dtype, one = x.dtype, const(1, x.dtype)
    bits = dtype.bits - (dtype.kind == "i")
    if y.op == "const":
        bits = min(bits, max(y.data, 0).bit_length())
    result, square = one, x
    for bit in range(bits):
        odd = compare("ne", binary("shr", y, const(bit, dtype)) & one, const(0, dtype))
        result = select(odd, result * square, result)
        square = square * square
    if dtype.kind == "u":
        return result
    alternating = select(compare("ne", y & one, const(0, dtype)), x, one)
    reciprocal = select(compare("eq", x, one), one, select(compare("eq", x, const(-1, dtype)), alternating, const(0, dtype)))
    return select(compare("lt", y, const(0, dtype)), reciprocal, result)
