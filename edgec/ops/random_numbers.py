"""Random tensors: RandomUniform RandomNormal, their Like forms, and Multinomial.

An element's number is a hash of the seed and of the element's place, so elements can be computed in any order and a run can be repeated:
the same seed gives the same tensor everywhere. Without a seed it is 0. The hash is two rounds of the finaliser of MurmurHash3 (A. Appleby).

    RandomUniform(shape=(2, 3), seed=7.0).output
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from edgec.expr import Expr, as_expr, binary, cast, compare, const, maximum, reduce_over, select, sum_over, unary
from edgec.graph import Op, Value
from edgec.lowering import Reader
from edgec.onnx.tensor import dtype_of_code
from edgec.types import DType, TensorType, f32, i32, i64, index, u32

MIX = (0x85EBCA6B, 0xC2B2AE35)
BELOW_ONE = 2.0 ** -24


def hashed(x: Any, shift_right: Any) -> Any:
    """The finaliser of MurmurHash3 on a u32, an array or an expression."""
    x = x ^ shift_right(x, 16)
    x = x * (const(MIX[0], u32) if isinstance(x, Expr) else np.uint32(MIX[0]))
    x = x ^ shift_right(x, 13)
    x = x * (const(MIX[1], u32) if isinstance(x, Expr) else np.uint32(MIX[1]))
    return x ^ shift_right(x, 16)


def seed_bits(seed: float | None, stream: int) -> int:
    """The seed and the number of a stream as 32 bits."""
    bits = int(np.float32(0.0 if seed is None else seed).view(np.uint32))
    return (bits * 2654435761 + stream * 0x9E3779B9 + 1) % (1 << 32)


def uniform_array(count: int, seed: float | None, stream: int = 0) -> np.ndarray:
    """`count` numbers of [0, 1) in f32."""
    shift = lambda x, n: x >> np.uint32(n)
    with np.errstate(over="ignore"):
        bits = hashed(hashed(np.arange(count, dtype=np.uint32) + np.uint32(seed_bits(seed, stream)), shift), shift)
    return (bits >> np.uint32(8)).astype(np.float32) * np.float32(BELOW_ONE)


def uniform(offset: Expr, seed: float | None, stream: int = 0) -> Expr:
    """The number of the element at a linear offset."""
    shift = lambda x, n: binary("shr", x, const(n, u32))
    bits = hashed(hashed(cast(offset, u32) + const(seed_bits(seed, stream), u32), shift), shift)
    return cast(cast(binary("shr", bits, const(8, u32)), i32), f32) * const(BELOW_ONE, f32)


class Drawn(Op):
    """Base of all: the type of the result, and the linear offset of an element."""

    abstract = True

    def check(self, dtype: DType) -> None:
        """Random numbers are floats."""
        self.require(dtype.is_float, f"random numbers cannot be {dtype}")

    def offset(self, at: tuple[Expr, ...]) -> Expr:
        """The place of an element in the order of memory."""
        total: Any = const(0, i64)
        for i, size in zip(at, self.output.shape):
            total = total * cast(as_expr(size, index), i64) + cast(i, i64)
        return total

    def elements(self) -> None:
        return None


class Distribution(Drawn):
    """Base of what has one distribution for all elements: `numbers` in numpy, `number` at an index, whatever gives the shape."""

    abstract = True

    def infer(self) -> TensorType:
        like = self.operands[0].type if self.operands else None
        dtype = like.dtype if like and self.dtype is None else dtype_of_code(self.dtype, "the result", self._pending_loc)
        self.check(dtype)
        return like.with_dtype(dtype) if like else TensorType(dtype, tuple(self.shape))

    def reference(self, *like: np.ndarray) -> np.ndarray:
        return self.numbers()

    def lower(self, at: tuple[Expr, ...], *like: Reader) -> Expr:
        return self.number(at)


class Uniform(Distribution):
    """Base of the uniform ones: numbers of [low, high)."""

    abstract = True

    def numbers(self) -> np.ndarray:
        """The tensor in numpy."""
        shape, dtype = self.output.type.shape, self.output.dtype
        wide = np.float32(self.low) + uniform_array(math.prod(shape), self.seed) * np.float32(self.high - self.low)
        return wide.reshape(shape).astype(dtype.numpy)

    def number(self, at: tuple[Expr, ...]) -> Expr:
        """One element."""
        return cast(uniform(self.offset(at), self.seed) * float(np.float32(self.high - self.low)) + self.low, self.output.dtype)


class Normal(Distribution):
    """Base of the normal ones, by the transform of G. Box and M. Muller (Ann. Math. Stat. 29, 1958)."""

    abstract = True

    def numbers(self) -> np.ndarray:
        """The tensor in numpy."""
        shape, dtype = self.output.type.shape, self.output.dtype
        one, two = (uniform_array(math.prod(shape), self.seed, n).astype(np.float64) for n in (1, 2))
        wide = np.sqrt(-2 * np.log(np.maximum(one, BELOW_ONE))) * np.cos(2 * np.pi * two)
        return (wide * self.scale + self.mean).reshape(shape).astype(dtype.numpy)

    def number(self, at: tuple[Expr, ...]) -> Expr:
        """One element."""
        one, two = (uniform(self.offset(at), self.seed, n) for n in (1, 2))
        wave = unary("cos", two * (2 * math.pi))
        wide = unary("sqrt", unary("log", maximum(one, BELOW_ONE)) * -2.0) * wave
        return cast(wide * self.scale + self.mean, self.output.dtype)


class RandomUniform(Uniform):
    """ONNX RandomUniform: numbers of [low, high), all equally likely."""

    shape: tuple
    dtype: int = 1
    low: float = 0.0
    high: float = 1.0
    seed: float | None = None


class RandomNormal(Normal):
    """ONNX RandomNormal: numbers of a normal distribution."""

    shape: tuple
    dtype: int = 1
    mean: float = 0.0
    scale: float = 1.0
    seed: float | None = None


class RandomUniformLike(Uniform):
    """ONNX RandomUniformLike: RandomUniform in the shape (and, without `dtype`, type) of the operand."""

    x: Value
    dtype: int | None = None
    low: float = 0.0
    high: float = 1.0
    seed: float | None = None


class RandomNormalLike(Normal):
    """ONNX RandomNormalLike: RandomNormal in the shape (and, without `dtype`, type) of the operand."""

    x: Value
    dtype: int | None = None
    mean: float = 0.0
    scale: float = 1.0
    seed: float | None = None


class Multinomial(Drawn):
    """ONNX Multinomial: classes drawn by their unnormalised log probabilities, `sample_size` for each row."""

    x: Value
    dtype: int = 6
    sample_size: int = 1
    seed: float | None = None

    def infer(self) -> TensorType:
        dtype = dtype_of_code(self.dtype, "the result", self._pending_loc)
        self.require(self.x.type.rank == 2 and self.x.dtype.is_float, f"needs [batch, classes], the operand is {self.x.type}")
        self.require(dtype in (i32, i64), f"classes are i32 or i64, not {dtype}")
        return TensorType(dtype, (self.x.shape[0], self.sample_size))

    def reference(self, x: np.ndarray) -> np.ndarray:
        weights = np.exp(x.astype(np.float64))
        drawn = uniform_array(math.prod(self.output.shape), self.seed).reshape(self.output.shape) * weights.sum(1, keepdims=True)
        below = (np.cumsum(weights, 1)[:, None, :] <= drawn[..., None]).sum(-1)
        return np.minimum(below, x.shape[1] - 1).astype(self.output.dtype.numpy)

    def lower(self, at: tuple[Expr, ...], x: Reader) -> Expr:
        row, classes = at[0], x.shape[1]

        def weight(k: Expr) -> Expr:
            return unary("exp", cast(x(row, k), f32))
        limit = uniform(self.offset(at), self.seed) * sum_over(classes, weight)

        def passed(k: Expr) -> Expr:
            before = sum_over(classes, lambda n: select(n <= k, weight(n), const(0.0, f32)))
            return select(compare("le", before, limit), const(1, i64), const(0, i64))
        found = reduce_over([classes], "add", passed)
        last = const(classes - 1, i64)
        return cast(binary("min", found, last), self.output.dtype)
