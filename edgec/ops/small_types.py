"""Elements of less than 16 bits that no core computes with: 8-bit and 4-bit floats, 4-bit and 2-bit integers.

They are kept one to a byte, as their bit pattern; this file says what a pattern means and which pattern a number becomes. The pass
`storage` (edgec.passes.storage) puts bytes in their place and asks every operator that knows them for its form on bytes (`stored`).

    decoded(byte, f8e4m3fn)       # f32: a table of 256 numbers, read at the byte
    encoded(number, f8e4m3fn)     # u8: rounded half to even, saturated

Formats: P. Micikevicius et al., "FP8 formats for deep learning", arXiv:2209.05433; B. Noune et al., arXiv:2206.02915 (the fnuz forms);
OCP Microscaling Formats specification 1.0 (e8m0, e2m1).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgec.expr import Expr, binary, bitcast, cast, compare, const, minimum, select, unary
from edgec.graph import Op, Value, constant
from edgec.lowering import Reader
from edgec.types import DTYPES, SMALL, DType, TensorType, f4e2m1, f8e4m3fn, f8e4m3fnuz, f8e5m2, f8e5m2fnuz, f8e8m0, f32, i32, u8, u32


@dataclass(frozen=True)
class Format:
    """A small float: exponent and mantissa bits, the bias, the pattern of the largest finite number, of an overflow and of NaN."""

    mantissa: int
    bias: int
    largest: int
    overflow: int
    nan: int
    has_negative_zero: bool = True

    @property
    def sign(self) -> int:
        """The sign bit."""
        return 8 if self.largest < 8 else 128


FORMATS = {f8e4m3fn: Format(3, 7, 0x7E, 0x7F, 0x7F), f8e5m2: Format(2, 15, 0x7B, 0x7C, 0x7E), f4e2m1: Format(1, 1, 0x7, 0x7, 0x8),
           f8e4m3fnuz: Format(3, 8, 0x7F, 0x80, 0x80, False), f8e5m2fnuz: Format(2, 16, 0x7F, 0x80, 0x80, False)}


def is_small(dtype: DType) -> bool:
    """Whether elements of the type are kept as bit patterns in bytes."""
    return dtype in SMALL


def patterns(dtype: DType) -> np.ndarray:
    """What each of the 256 bytes means, as f32 or i32; bits above those of the type do not count."""
    mask = (1 << dtype.bits) - 1
    values = (np.arange(256, dtype=np.uint8) & mask).view(dtype.numpy)
    return values.astype(np.float32 if dtype.is_float else np.int32)


def decoded(stored: Value, dtype: DType) -> Value:
    """The numbers (f32 or i32) that bytes stand for."""
    if dtype.is_integer:
        return DecodeInteger(stored, bits=dtype.bits, signed=int(dtype.kind == "i")).output
    from edgec.ops.cast import Cast
    from edgec.ops.gather import Gather
    return Gather(constant(patterns(dtype), f"{dtype}_numbers"), Cast(stored, to=7).output).output


def encoded(number: Value, dtype: DType, saturate: bool = True, round_mode: str = "up") -> Value:
    """The bytes that numbers (f32 or i32) become: floats rounded, integers cut to the bits of the type."""
    from edgec.ops.cast import Cast
    if dtype.is_float:
        number = number if number.dtype is f32 else Cast(number, to=1).output
        return EncodeFloat(number, format=dtype.name, saturate=int(saturate), round_mode=round_mode).output
    whole = number if number.dtype is i32 else Cast(number, to=6).output
    return EncodeInteger(whole, bits=dtype.bits).output


class DecodeInteger(Op):
    """edgec DecodeInteger: the number that the lowest bits of each byte are, in two's complement where it is signed."""

    domain = "edgec"
    x: Value
    bits: int
    signed: int = 0

    def infer(self) -> TensorType:
        self.require(self.x.dtype is u8, f"needs u8, the operand is {self.x.type}")
        return self.x.type.with_dtype(i32)

    def reference(self, x: np.ndarray) -> np.ndarray:
        low = x.astype(np.int32) & ((1 << self.bits) - 1)
        return low - ((low >> (self.bits - 1)) << self.bits) if self.signed else low

    def lower(self, at: tuple[Expr, ...], x: Reader) -> Expr:
        low = cast(x(*at), i32) & const((1 << self.bits) - 1, i32)
        half = const(1 << (self.bits - 1), i32)
        return binary("xor", low, half) - half if self.signed else low


class EncodeInteger(Op):
    """edgec EncodeInteger: the lowest bits of each number, one number to a byte."""

    domain = "edgec"
    x: Value
    bits: int

    def infer(self) -> TensorType:
        self.require(self.x.dtype is i32, f"needs i32, the operand is {self.x.type}")
        return self.x.type.with_dtype(u8)

    def reference(self, x: np.ndarray) -> np.ndarray:
        return (x & ((1 << self.bits) - 1)).astype(np.uint8)

    def lower(self, at: tuple[Expr, ...], x: Reader) -> Expr:
        return cast(x(*at) & const((1 << self.bits) - 1, i32), u8)


class EncodeFloat(Op):
    """edgec EncodeFloat: the bit pattern of each number in a small float format, rounded half to even, one number to a byte."""

    domain = "edgec"
    x: Value
    format: str
    saturate: int = 1
    round_mode: str = "up"

    def infer(self) -> TensorType:
        self.require(self.x.dtype is f32, f"needs f32, the operand is {self.x.type}")
        self.require(DTYPES.get(self.format) in (*FORMATS, f8e8m0), f"there is no small float format {self.format}")
        self.require(self.round_mode in ("up", "down", "nearest"), f"round_mode is {self.round_mode!r}")
        return self.x.type.with_dtype(u8)

    def reference(self, x: np.ndarray) -> np.ndarray:
        return to_small(x, DTYPES[self.format], bool(self.saturate), self.round_mode).view(np.uint8)

    def lower(self, at: tuple[Expr, ...], x: Reader) -> Expr:
        dtype = DTYPES[self.format]
        if dtype is f8e8m0:
            return cast(_exponent(x(*at), self.round_mode), u8)
        return cast(_pattern(x(*at), FORMATS[dtype], bool(self.saturate) or dtype is f4e2m1), u8)


def _u32(n: int) -> Expr:
    return const(n, u32)


def _pattern(x: Expr, form: Format, saturate: bool) -> Expr:
    """The bits of a number: the f32's own, exponent moved and mantissa rounded; below the least normal number, a whole multiple of it."""
    size = unary("abs", x)
    bits = bitcast(size, u32)
    cut = 23 - form.mantissa
    odd = binary("shr", bits, _u32(cut)) & _u32(1)
    kept = binary("shr", bits + _u32((1 << (cut - 1)) - 1) + odd, _u32(cut))
    normal = kept - _u32((127 - form.bias) << form.mantissa)
    tiny = cast(cast(unary("round", minimum(size, 1.0) * const(2.0 ** (form.bias - 1 + form.mantissa), f32)), i32), u32)
    code = select(compare("lt", size, const(2.0 ** (1 - form.bias), f32)), tiny, normal)
    end = form.largest if saturate else form.overflow
    code = select(compare("lt", _u32(form.largest), code), _u32(end), code)
    negative = compare("ne", bitcast(x, u32) & _u32(1 << 31), _u32(0))
    signed = select(negative, code | _u32(form.sign), code)
    if not form.has_negative_zero:
        signed = select(compare("eq", code, _u32(0)), _u32(0), signed)
    nan = _u32(form.nan)
    nan = select(negative, nan | _u32(form.sign), nan) if form.has_negative_zero and form.nan != form.sign else nan
    return select(compare("ne", x, x), nan, signed)


def _exponent(x: Expr, round_mode: str) -> Expr:
    """The exponent of a number's magnitude; what lies between two powers of two goes `up`, `down` or to the `nearest`."""
    bits = bitcast(x, u32)
    exponent = binary("shr", bits, _u32(23)) & _u32(255)
    if round_mode == "down":
        return exponent
    up = compare("ne", bits & _u32(0x7FFFFF), _u32(0))
    if round_mode == "nearest":
        half = bits & _u32(0x7FFFFF)
        up = compare("lt", _u32(0x400000), half) | (compare("eq", _u32(0x400000), half) & compare("ne", exponent, _u32(0)))
    return select(up & compare("lt", exponent, _u32(0xFE)), exponent + _u32(1), exponent)


def to_small(x: np.ndarray, dtype: DType, saturate: bool = True, round_mode: str = "up") -> np.ndarray:
    """The numbers of an array in a small type, in numpy: 8-bit floats saturate when asked to (infinities too), the others as they do."""
    if dtype is f8e8m0:
        return _powers(np.asarray(x, np.float32), round_mode)
    if dtype in FORMATS and dtype is not f4e2m1 and saturate:
        import ml_dtypes
        limits = ml_dtypes.finfo(dtype.numpy)
        x = np.clip(x, float(limits.min), float(limits.max))
    with np.errstate(all="ignore"):
        return np.asarray(x).astype(dtype.numpy)


def _powers(x: np.ndarray, round_mode: str) -> np.ndarray:
    """Magnitudes as powers of two, NaN and infinity as NaN."""
    bits = x.view(np.uint32)
    exponent, rest = (bits >> 23) & 255, bits & 0x7FFFFF
    up = {"up": rest > 0, "down": np.zeros(x.shape, bool), "nearest": (rest > 0x400000) | ((rest == 0x400000) & (exponent > 0))}[round_mode]
    code = np.where(up & (exponent < 0xFE), exponent + 1, exponent)
    return code.astype(np.uint8).view(f8e8m0.numpy)
