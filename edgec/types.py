"""Element types and tensor types: `f32[1,10]`, `i64[n,3]`.

A dimension is an int or an integer expression over bounded symbols (`edgec.expr`); nearly always it is a number.

    TensorType(f32, (1, 10))      # prints as f32[1,10]
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np


@dataclass(frozen=True)
class DType:
    """An element type: `kind` is f(loat), i(nt), u(nsigned), b(ool), w(ord of packed elements), s(tring) or x (index: the machine's
    pointer-sized int)."""

    name: str
    kind: str
    bits: int
    numpy: Any

    def __str__(self) -> str:
        return self.name

    def __repr__(self) -> str:
        return self.name

    @property
    def is_float(self) -> bool:
        return self.kind == "f"

    @property
    def is_integer(self) -> bool:
        """Whether arithmetic on it is exact integer arithmetic (index included, bool not)."""
        return self.kind in "iux"

    @property
    def bytes(self) -> int:
        """Storage bytes of one element."""
        return max(1, self.bits // 8)

    @property
    def low(self) -> int:
        """Smallest integer value."""
        return -(1 << (self.bits - 1)) if self.kind in "ix" else 0

    @property
    def high(self) -> int:
        """Largest integer value."""
        return (1 << (self.bits - 1)) - 1 if self.kind in "ix" else (1 << self.bits) - 1 if self.kind == "u" else 1


def _make(name: str, kind: str, bits: int, numpy: Any) -> DType:
    return DType(name, kind, bits, np.dtype(numpy))


f16, f32, f64 = _make("f16", "f", 16, np.float16), _make("f32", "f", 32, np.float32), _make("f64", "f", 64, np.float64)
bf16 = _make("bf16", "f", 16, ml_dtypes.bfloat16)
i8, i16 = _make("i8", "i", 8, np.int8), _make("i16", "i", 16, np.int16)
i32, i64 = _make("i32", "i", 32, np.int32), _make("i64", "i", 64, np.int64)
u8, u16 = _make("u8", "u", 8, np.uint8), _make("u16", "u", 16, np.uint16)
u32, u64 = _make("u32", "u", 32, np.uint32), _make("u64", "u", 64, np.uint64)
i4, u4 = _make("i4", "i", 4, ml_dtypes.int4), _make("u4", "u", 4, ml_dtypes.uint4)
i2, u2 = _make("i2", "i", 2, ml_dtypes.int2), _make("u2", "u", 2, ml_dtypes.uint2)
f8e4m3fn, f8e4m3fnuz = _make("f8e4m3fn", "f", 8, ml_dtypes.float8_e4m3fn), _make("f8e4m3fnuz", "f", 8, ml_dtypes.float8_e4m3fnuz)
f8e5m2, f8e5m2fnuz = _make("f8e5m2", "f", 8, ml_dtypes.float8_e5m2), _make("f8e5m2fnuz", "f", 8, ml_dtypes.float8_e5m2fnuz)
f8e8m0, f4e2m1 = _make("f8e8m0", "f", 8, ml_dtypes.float8_e8m0fnu), _make("f4e2m1", "f", 4, ml_dtypes.float4_e2m1fn)
bool_ = _make("bool", "b", 8, np.bool_)
index = _make("index", "x", 64, np.int64)
string = _make("string", "s", 64, object)  # Python's str in graphs; no kernel knows it, see edgec.passes.strings

# Elements that are kept one to a byte and computed with in wider types (edgec.ops.small_types).
SMALL = (i4, u4, i2, u2, f8e4m3fn, f8e4m3fnuz, f8e5m2, f8e5m2fnuz, f8e8m0, f4e2m1)
DTYPES: dict[str, DType] = {t.name: t for t in (f16, bf16, f32, f64, i8, i16, i32, i64, u8, u16, u32, u64, bool_, index, *SMALL, string)}

# Words: neighbouring elements packed into 32 bits, the lowest address in the lowest bits; what dot-product instructions take a lane.
# Those of 64 bits are rows of the small matrices that some instructions multiply.
WORDS: dict[str, DType] = {f"{t.name}x{bits // t.bits}": DType(f"{t.name}x{bits // t.bits}", "w", bits, np.dtype(f"u{bits // 8}"))
                           for bits in (32, 64) for t in (bf16, f16, i8, u8, i16, u16)}


def word_of(element: DType, count: int = 0) -> DType:
    """The word of `count` neighbouring 8- or 16-bit elements, of 32 bits unless told: `bf16x2`, `u8x8`; KeyError for other types."""
    return WORDS[f"{element.name}x{count or 32 // element.bits}"]


def element_of(word: DType) -> DType:
    """The type of the elements that a word packs; any other type is its own element."""
    return DTYPES[word.name.partition("x")[0]] if word.kind == "w" else word


def dtype_of(array_dtype: Any) -> DType:
    """The DType of a numpy (or ml_dtypes) dtype; KeyError-free: raises TypeError naming the dtype when there is none."""
    wanted = np.dtype(array_dtype)
    if wanted.kind == "U":
        return string
    for candidate in DTYPES.values():
        if candidate.numpy == wanted and candidate is not index:
            return candidate
    raise TypeError(f"no element type for numpy dtype {wanted}")


@dataclass(frozen=True)
class TensorType:
    """A dense tensor: element type and shape (a tuple of dimensions; () is a scalar)."""

    dtype: DType
    shape: tuple[Any, ...]

    def __str__(self) -> str:
        return f"{self.dtype}[{','.join(str(dim) for dim in self.shape)}]"

    __repr__ = __str__

    @property
    def rank(self) -> int:
        return len(self.shape)

    @property
    def is_static(self) -> bool:
        """Whether every dimension is a number."""
        return all(isinstance(dim, int) for dim in self.shape)

    @property
    def max_shape(self) -> tuple[int, ...]:
        """The shape with every dimension at its upper bound."""
        return tuple(dim if isinstance(dim, int) else dim.hi for dim in self.shape)

    @property
    def max_size(self) -> int:
        """Number of elements at the upper bound."""
        size = 1
        for dim in self.max_shape:
            size *= dim
        return size

    @property
    def max_bytes(self) -> int:
        return self.max_size * self.dtype.bytes

    def with_shape(self, shape: tuple[Any, ...]) -> TensorType:
        return TensorType(self.dtype, tuple(shape))

    def with_dtype(self, dtype: DType) -> TensorType:
        return TensorType(dtype, self.shape)
