"""Dot products of words without an instruction for them: each element is shifted out and multiplied by itself.

    expand_dot(dot(acc, a, b))      # a, b: i16x2   ->   acc + low(a) * low(b) + high(a) * high(b)
"""

from __future__ import annotations

from edgec.expr import Expr, binary, bitcast, cast, const, mul_add
from edgec.types import DType, bf16, element_of, f16, f32, i32, u16, u32, u64


def expand_dot(node: Expr) -> Expr:
    """The sum of the products of the elements, first to last."""
    total, a, b = node.args
    for n in range(a.dtype.bits // element_of(a.dtype).bits):
        x, y = element(a, n, node.dtype), element(b, n, node.dtype)
        total = mul_add(x, y, total) if node.dtype.is_float else total + x * y
    return total


def element(words: Expr, number: int, dtype: DType) -> Expr:
    """One element of every word, in another type that holds it."""
    kind = element_of(words.dtype)
    bits, place = bitcast(words, u32 if words.dtype.bits == 32 else u64), kind.bits * number
    if words.dtype.bits == 64:
        bits, place, number = cast(binary("shr", bits, const(place // 32 * 32, u64)), u32), place % 32, place % 32 // kind.bits
    if kind is bf16:
        high = bits & const(0xFFFF0000, u32) if number else binary("shl", bits, const(16, u32))
        return cast(bitcast(high, f32), dtype)
    if kind is f16:
        return cast(bitcast(cast(binary("shr", bits, const(place, u32)), u16), f16), dtype)
    raised = binary("shl", bits, const(32 - kind.bits - place, u32))
    signed = bitcast(raised, i32) if kind.kind == "i" else raised
    return cast(binary("shr", signed, const(32 - kind.bits, signed.dtype)), dtype)
