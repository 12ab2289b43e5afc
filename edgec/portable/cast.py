"""Conversions that a core may have no instruction for: 16-bit floats by integer arithmetic, 64-bit integers on 32-bit cores.

Rounding is half to even throughout. The bit patterns of half precision follow IEEE 754-2008, 3.6; bfloat16 is the upper half of an f32.
Going from f64 to 16 bits, the f32 between is rounded to odd, which the second rounding cannot tell from the exact value (S. Boldo and
G. Melquiond, "When double rounding is odd", 2005).

    expand_cast(cast(x, bf16), native=frozenset())     # bits + 0x7FFF + (bits >> 16 & 1), shifted right by 16
"""

from __future__ import annotations

from edgec.expr import COMPARE, Expr, binary, bitcast, cast, compare, const, select, unary
from edgec.types import DType, bf16, bool_, f16, f32, f64, i32, i64, u16, u32, u64

WORD = 32
STEP = 6  # of the shifts that bring a 64-bit number below 2^32: at least 26 bits stay, two more than an f32 holds


def expand_cast(node: Expr, native: frozenset[str]) -> Expr | None:
    """What replaces a conversion; None where the core converts by itself.

    `native` may hold "cast.f16", "cast.bf16" and "i64" (64-bit registers).
    """
    source, target = node.args[0].dtype, node.dtype
    if target is bool_:
        return expand_half(compare("ne", node.args[0], const(0.0, source)), native) if source in (f16, bf16) else None
    if {source, target} & {f16, bf16}:
        return _of_16_bits(node.args[0], target, native)
    if "i64" in native or not ({source, target} & {i64, u64}):
        return None
    if source.is_float:
        return to_64_bits(node.args[0], target)
    return from_64_bits(node.args[0], target) if target.is_float else None


def expand_half(node: Expr, native: frozenset[str]) -> Expr | None:
    """What replaces a comparison, minimum or maximum of bf16 numbers, and of f16 ones where the core cannot even widen them."""
    if node.op not in (*COMPARE, "min", "max") or node.args[0].dtype is f16 and "cast.f16" in native:
        return None
    a, b = node.args
    wide = widen if a.dtype is f16 else lambda x: cast(x, f32)
    if node.op in COMPARE:
        return compare(node.op, wide(a), wide(b))
    low, high = (a, b) if node.op == "min" else (b, a)
    return select(compare("lt", wide(low), wide(high)), a, b)


def _of_16_bits(x: Expr, target: DType, native: frozenset[str]) -> Expr | None:
    """Through f32, which holds every 16-bit float exactly."""
    source, direct = x.dtype, "cast.f16" in native
    if (source is f16 and target is f32 or source is f32 and target is f16) and direct or source is bf16 and target is f32:
        return None
    if source is f32 and target is bf16 and "cast.bf16" in native:
        return None
    if source is f16:
        wide = cast(x, f32) if direct else widen(x)
    else:
        wide = cast(x, f32) if source is bf16 else to_odd(x) if source is f64 else x if source is f32 else _convert(x, f32, native)
    if target is f16:
        return cast(wide, f16) if direct else to_half(wide)
    return to_bfloat(wide) if target is bf16 else _convert(wide, target, native)


def _convert(x: Expr, target: DType, native: frozenset[str]) -> Expr:
    """A conversion with what it needs written out."""
    node = cast(x, target)
    written = expand_cast(node, native) if node.op == "cast" else None
    return node if written is None else written


def _u32(n: int) -> Expr:
    return const(n, u32)


def to_bfloat(x: Expr) -> Expr:
    """f32 to bf16; a NaN stays one."""
    bits = bitcast(x, u32)
    rounded = binary("shr", bits + _u32(0x7FFF) + (binary("shr", bits, _u32(16)) & _u32(1)), _u32(16))
    quiet = binary("shr", bits, _u32(16)) | _u32(0x40)
    return bitcast(cast(select(compare("ne", x, x), quiet, rounded), u16), bf16)


def to_half(x: Expr) -> Expr:
    """f32 to f16: normal numbers by adding to the bits, subnormal ones by adding 0.5, whose last bit is their last."""
    bits = bitcast(x, u32)
    magnitude = bits & _u32(0x7FFFFFFF)
    odd = binary("shr", magnitude, _u32(13)) & _u32(1)
    normal = binary("shr", magnitude - _u32(0x38000000) + _u32(0xFFF) + odd, _u32(13))
    tiny = bitcast(bitcast(magnitude, f32) + const(0.5, f32), u32) - bitcast(const(0.5, f32), u32)
    special = select(compare("lt", _u32(0x7F800000), magnitude), _u32(0x7E00), _u32(0x7C00))
    finite = select(compare("lt", magnitude, _u32(0x38800000)), tiny, normal)
    result = select(compare("lt", magnitude, _u32(0x47800000)), finite, special)
    return bitcast(cast(result | (binary("shr", bits, _u32(16)) & _u32(0x8000)), u16), f16)


def widen(x: Expr) -> Expr:
    """f16 to f32, exactly: the exponent is moved; a subnormal number is freed of the leading one it is given for that."""
    bits = cast(bitcast(x, u16), u32)
    moved = binary("shl", bits & _u32(0x7FFF), _u32(13))
    exponent = moved & _u32(0x0F800000)
    infinite = compare("eq", exponent, _u32(0x0F800000))
    normal = moved + select(infinite, _u32(0x70000000), _u32(0x38000000))
    tiny = bitcast(bitcast(moved + _u32(0x38800000), f32) - const(2.0**-14, f32), u32)
    result = select(compare("eq", exponent, _u32(0)), tiny, normal)
    return bitcast(result | binary("shl", bits & _u32(0x8000), _u32(16)), f32)


def to_odd(x: Expr) -> Expr:
    """f64 to the f32 next to it toward zero, its last bit set unless the conversion is exact."""
    near = cast(x, f32)
    back, bits = cast(near, f64), bitcast(near, u32)
    down = select(compare("lt", unary("abs", x), unary("abs", back)), bits - _u32(1), bits)
    return bitcast(select(compare("ne", back, x), down | _u32(1), bits), f32)


def to_64_bits(x: Expr, target: DType) -> Expr:
    """f32 or f64 to i64 or u64, toward zero and saturating, NaN to 0: the upper and the lower 32 bits by themselves."""
    real = lambda n: const(n, x.dtype)
    magnitude = unary("abs", x)
    upper = cast(magnitude * real(2.0**-WORD), u32)
    lower = cast(magnitude - cast(upper, x.dtype) * real(2.0**WORD), u32)
    whole = binary("shl", cast(upper, target), const(WORD, target)) | cast(lower, target)
    if target is u64:
        whole = select(compare("lt", x, real(0.0)), const(0, u64), whole)
        return select(compare("le", real(2.0**64), x), const(u64.high, u64), whole)
    signed = select(compare("lt", x, real(0.0)), const(0, i64) - whole, whole)
    above, below = compare("le", real(2.0**63), x), compare("le", x, real(-(2.0**63)))
    return select(above, const(i64.high, i64), select(below, const(i64.low, i64), signed))


def from_64_bits(x: Expr, target: DType) -> Expr:
    """i64 or u64 to f32 or f64, rounded once."""
    if target is f64:
        upper = cast(binary("shr", x, const(WORD, x.dtype)), i32 if x.dtype is i64 else u32)
        return cast(upper, f64) * const(2.0**WORD, f64) + cast(cast(x, u32), f64)
    if x.dtype is u64:
        return _magnitude_to_f32(x)
    negative = compare("lt", x, const(0, i64))
    size = _magnitude_to_f32(cast(select(negative, const(0, i64) - x, x), u64))
    return select(negative, unary("neg", size), size)


def _magnitude_to_f32(n: Expr) -> Expr:
    """u64 to f32: the upper 32 significant bits, with a last bit that says whether any below is set, are rounded by the core."""
    shift, scale = const(0, u64), const(1.0, f32)
    for k in range(STEP, WORD + STEP, STEP):
        large = compare("le", const(1 << (WORD + k - STEP), u64), n)
        shift = select(large, const(min(k, WORD), u64), shift)
        scale = select(large, const(2.0 ** min(k, WORD), f32), scale)
    upper = binary("shr", n, shift)
    lost = compare("ne", binary("shl", upper, shift), n)
    return cast(cast(upper, u32) | cast(lost, u32), f32) * scale
