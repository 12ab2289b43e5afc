"""An integer times a float, rounded to an integer, on cores without floats: the bits of f32 arithmetic at the price of one product.

round_half_even(f32(n) * m) differs from the same of the exact product only where that lies next to the middle between two integers. With m
as a whole number of 2^-32, the lower word of the 64-bit product says how near that is. Only there, and where m or the result is so large
or so small that the bounds below do not hold, f32 arithmetic is done in full behind a branch: the node `scaled` is float.scale.

    scaled(n, m)    # the upper word of n * whole(m) + 2^31, or a call
"""

from __future__ import annotations

from edgec.expr import Expr, binary, bitcast, cast, const, inside, make, select
from edgec.types import f32, i32, i64, index, u32

# m is in [2^-12, 2^-1), results up to 2^10: cutting m off costs less than 2^22 2^-32, rounding the sum and the product 2 * 2^10 2^-24. The
# margin is twice the first.
LEAST, MOST = 127 - 12, 127 - 2     # exponents of m
RESULTS = 1 << 10
MARGIN = 1 << 32 - 9


def scaled(n: Expr, m: Expr) -> Expr:
    """n (i32) times m (f32), rounded, as an i32 that is known to hold it."""
    bits = bitcast(m, u32)
    exponent = binary("shr", bits, const(23, u32))
    usual = exponent - LEAST < const(MOST - LEAST + 1, u32)
    digits = binary("shl", bits, const(8, u32)) | const(1 << 31, u32)
    whole = bitcast(binary("shr", digits, (const(126, u32) - exponent) & const(31, u32)), i32)
    product = cast(n, i64) * cast(whole, i64) + const(1 << 31, i64)
    upper = cast(binary("shr", product, const(32, i64)), i32)
    within = cast(upper, u32) + RESULTS < const(2 * RESULTS, u32)
    distance = select(usual & within, cast(product, u32) + const(MARGIN, u32), const(0, u32))
    return inside([(cast(distance, index), const(2 * MARGIN, index))], make("scaled", (n, m), i32), upper)


def is_scaling(node: Expr) -> bool:
    """Whether a node is a rounded product of an integer and a float as an integer that holds it."""
    return node.op == "cast" and node.data == "within" and node.dtype is i32 and node.lanes == 1 and _factors(node) is not None


def integer_scaling(node: Expr) -> Expr:
    """The node with f32 arithmetic only where integers do not do."""
    return scaled(*_factors(node))


def _factors(node: Expr) -> tuple[Expr, Expr] | None:
    """The integer and the float of a rounded product."""
    product = node.args[0].args[0] if node.args[0].op == "round" else node
    if product.op == "mul" and product.dtype is f32:
        for n, m in (product.args, product.args[::-1]):
            if n.op == "cast" and n.args[0].dtype is i32:
                return n.args[0], m
    return None
