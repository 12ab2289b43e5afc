"""Portable arithmetic: the mathematical functions of `edgec.expr` said with additions, products, comparisons and bit operations.

An object that edgec writes has no undefined symbols, so no function may end up in a math library. `expand` rewrites what the target
has no instruction for, just before code generation; the functions stand in the other modules here, one family a file. Each says its largest
f32 error in units in the last place, found over every f32 where it can be large, with mul_add rounding once and without ("unfused"). In
f64 they stay below 4, erf below 8, pow below 64. Numbers in and out may be flushed to zero below the smallest normal number.

    expand(unary("exp", x), native=frozenset(), fma=True)       # max, mul_add, min, sub, 2 + 6 mul_add, shl, mul
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from edgec.expr import Expr
from edgec.portable import (
    erf as portable_erf,
    exp as portable_exp,
    hyperbolic as portable_hyperbolic,
    inverse_trig as portable_inverse_trig,
    log as portable_log,
    pow as portable_pow,
    remainder as portable_remainder,
    root as portable_root,
    round as portable_round,
    trig as portable_trig,
)
from edgec.portable.arithmetic import Arithmetic
from edgec.portable.cast import expand_cast, expand_half
from edgec.portable.division import divide, remainder
from edgec.portable.dot import expand_dot
from edgec.portable.integer import expand_integer
from edgec.sweeps import transform
from edgec.types import DType, bf16, f16, f32, f64, i64, u64

UNARY = {
    "exp": portable_exp.exp, "tanh": portable_exp.tanh, "log": portable_log.log, "erf": portable_erf.erf,
    "sin": portable_trig.sin, "cos": portable_trig.cos, "tan": portable_trig.tan,
    "asin": portable_inverse_trig.asin, "acos": portable_inverse_trig.acos, "atan": portable_inverse_trig.atan,
    "sinh": portable_hyperbolic.sinh, "cosh": portable_hyperbolic.cosh,
    "asinh": portable_hyperbolic.asinh, "acosh": portable_hyperbolic.acosh, "atanh": portable_hyperbolic.atanh,
    "sqrt": portable_root.sqrt, "rsqrt": portable_root.rsqrt,
    "round": portable_round.round_half_even, "floor": portable_round.floor, "ceil": portable_round.ceil, "trunc": portable_round.trunc,
    "isnan": portable_round.isnan, "isinf": portable_round.isinf,
}
BINARY = {"pow": portable_pow.power, "mod": portable_remainder.remainder}
FUNCTIONS = {**UNARY, **BINARY}


def expand(root: Expr, native: frozenset[str], fma: bool, has_dot: Callable[[Expr], bool] = lambda node: False,
           done: dict[Expr, Expr] | None = None) -> Expr:
    """`root` with every f32 and f64 function not named in `native` written out; `fma` says that mul_add rounds once.

    A name in `native` counts for both types, or for one when that follows a dot: `sqrt`, `sqrt.f32`; `cast.f16` says that half precision
    is converted, `i64` that registers have 64 bits: else such conversions are written out, too. `has_dot` says which dot nodes stay.
    `done` keeps what was found for the next root.

    What remains: add sub mul div neg abs min max, comparisons, select, cast, bitcast, mul_add, and or xor shl shr, and `native`;
    comparisons are false on NaN but `ne`, which is true, and integers wrap. mul_add itself becomes mul and add where it does
    not round once. Lanes, loads and registers stay as they are.
    """
    machines = _machines(native, fma)

    def replace(node: Expr) -> Expr | None:
        dtype = node.args[0].dtype if node.args else None
        if node.op == "dot":
            return None if has_dot(node) else expand(expand_dot(node), native, fma)
        if node.op == "cast":
            return expand_cast(node, native)
        if dtype in (f16, bf16):
            return expand_half(node, native)
        if dtype in (i64, u64) and "i64" not in native and node.op in ("div", "mod"):
            return (divide if node.op == "div" else remainder)(*node.args)
        if node.op in FUNCTIONS and dtype.kind in "iu":
            return None if node.op == "mod" else expand_integer(node)
        m = machines.get(dtype)
        if m is None or node.op in m.native:
            return None
        if node.op == "mul_add" and not fma:
            return node.args[0] * node.args[1] + node.args[2]
        function = FUNCTIONS.get(node.op)
        return function(m, *node.args) if function else None

    return transform((root,), replace, done)[0]


@cache
def _machines(native: frozenset[str], fma: bool) -> dict[DType, Arithmetic]:
    return {t: Arithmetic(t, _of_type(native, t), fma and t is f32) for t in (f32, f64)}


def _of_type(native: frozenset[str], dtype: DType) -> frozenset[str]:
    return frozenset(name.split(".")[0] for name in native if name.partition(".")[2] in ("", dtype.name))
