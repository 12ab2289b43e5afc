"""Sizes that are known only when the model runs: Sizes Prefix Compacted Arranged.

A symbol is made for each number that decides a shape; shape arithmetic goes on with it as with the size of an open input. Memory is for the
largest value, the compiled code reads the actual one as soon as it is computed, and refuses one outside of its bounds.

    number = Sizes(count, low=(0,), high=(100,), stem="found").output      # its element is the symbol found.0, 0 to 100
    Prefix(places, number, axis=0).output                                   # i64[found.0]
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np

from edgec.expr import Expr, var
from edgec.graph import Op, Value
from edgec.lowering import Reader
from edgec.ops.reshape import reshaped_index
from edgec.ops.shape_arithmetic import known, require_sizes
from edgec.types import TensorType, bool_, i32, i64


class Sizes(Op):
    """edgec Sizes: the same whole numbers, each known to be from `low` to `high`, as sizes; others are refused when the model runs.

    `stem` names their symbols, and must be the name of no other such operation of the model.
    """

    domain = "edgec"
    x: Value
    low: tuple
    high: tuple
    stem: str

    def infer(self) -> TensorType:
        fits = self.x.dtype in (i32, i64) and self.x.type.is_static and self.x.type.max_size == len(self.low) == len(self.high)
        self.require(fits, f"{len(self.low)} bounds for {self.x.type}; i32 or i64 are needed, one bound for each")
        self.require(all(low <= high for low, high in zip(self.low, self.high)), "a lower bound is above the upper one")
        return self.x.type

    @cached_property
    def computed_sizes(self) -> tuple[tuple[Any, int, int], ...]:
        """(symbol, or the number where it can be one only; low; high) of each element."""
        bounds = enumerate(zip(self.low, self.high))
        return tuple((low if low == high else var(f"{self.stem}.{n}", low, high), low, high) for n, (low, high) in bounds)

    def elements(self) -> tuple[Any, ...]:
        return tuple(symbol for symbol, _, _ in self.computed_sizes)

    def reference(self, x: np.ndarray) -> np.ndarray:
        for number, low, high in zip(x.ravel(), self.low, self.high):
            if not low <= number <= high:
                raise ValueError(f"a size is {number}, allowed are {low} to {high}")
        return x

    def lower(self, at: tuple[Expr, ...], x: Reader) -> Expr:
        return x(*at)


class Prefix(Op):
    """edgec Prefix: the first `size` elements along an axis, which has as many at least."""

    domain = "edgec"
    x: Value
    size: Value
    axis: int = 0

    def infer(self) -> TensorType:
        number = known(self, self.size, "the size")[0]
        self.require(0 <= self.axis < self.x.type.rank, f"axis {self.axis} of {self.x.type}")
        shape = list(self.x.shape)
        room, most = (d if isinstance(d, int) else d.hi for d in (shape[self.axis], number))
        self.require(most <= room, f"{number} of {shape[self.axis]} elements")
        shape[self.axis] = number
        return self.x.type.with_shape(tuple(shape))

    def reference(self, x: np.ndarray, size: np.ndarray) -> np.ndarray:
        return x.take(range(int(size.reshape(()))), self.axis)

    def lower(self, at: tuple[Expr, ...], x: Reader, size: Reader) -> Expr:
        return x(*at)


class Compacted(Op):
    """edgec Compacted: the places of the true elements of a vector in order (zeros behind them), and how many there are."""

    domain = "edgec"
    mask: Value

    def infer(self) -> tuple[TensorType, TensorType]:
        self.require(self.mask.dtype is bool_ and self.mask.type.rank == 1, f"needs a vector of bool, the operand is {self.mask.type}")
        return TensorType(i64, self.mask.shape), TensorType(i64, (1,))

    def elements(self) -> list[None]:
        return [None, None]

    def reference(self, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        places = np.zeros(mask.shape, np.int64)
        found = np.flatnonzero(mask)
        places[:len(found)] = found
        return places, np.array([len(found)])

    def selection(self, at: Expr, mask: Reader) -> Expr:
        """Whether a place is among them."""
        return mask(at)


class Arranged(Op):
    """edgec Arranged: the same elements under a shape that is known when the model runs; `fits` is 1 where it has as many elements."""

    domain = "edgec"
    x: Value
    shape: Value
    fits: Value

    def infer(self) -> TensorType:
        sizes = known(self, self.shape, "the shape")
        require_sizes(self, sizes)
        self.require(self.fits.elements == (1,), "nothing says that the shape fits")
        return self.x.type.with_shape(tuple(sizes))

    def reference(self, x: np.ndarray, shape: np.ndarray, fits: np.ndarray) -> np.ndarray:
        return x.reshape(tuple(int(d) for d in shape))

    def lower(self, at: tuple[Expr, ...], x: Reader, shape: Reader, fits: Reader) -> Expr:
        return x(*reshaped_index(x.shape, self.output.shape, at))
