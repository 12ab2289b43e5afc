"""Sorting by merging runs: the order of an axis in about n log2(n)^2 / 2 steps, where counting who stands before whom takes n^2.

Elements become whole numbers in the same order (SortKey), so one comparison serves every type. Runs of 32 are sorted by counting (RunRank,
RunPlaces). Each level then makes runs of 2w elements of runs of w (MergedRuns): every element of the result finds by bisection how many of
those before it come from the first run, so all of them are computed at once, by any number of threads, and equal ones keep their order.
Places move, keys stay. No run grows beyond what is asked for.

    merged_places(keys, count=10)                                # i32: where the ten least of each row stand
    Searched(keys, number, wanted).output                        # how many of the first `number` sorted keys are below each wanted one
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from edgec.expr import Expr, bitcast, cast, compare, const, inside, maximum, minimum, reduce_over, select, unary
from edgec.graph import Op, Value, constant
from edgec.lowering import Reader
from edgec.types import DType, TensorType, f32, f64, i32, i64, index, u32, u64

RUN = 32           # elements of the runs that are sorted by counting
SIDE_BY_SIDE = 32  # so many comparisons of a count take as long as one step of a bisection, whose every load waits for the one before


def merging_pays(size: object, count: int) -> bool:
    """Whether merging runs is quicker than counting, for the first `count` of an axis."""
    return isinstance(size, int) and size > 4 * RUN and size * (size + count) > 2 * RUN * size + SIDE_BY_SIDE * _steps(size, count)


def _steps(size: int, count: int) -> int:
    """The steps of bisections of all levels along one axis."""
    return sum(-(-size // (2 * width)) * min(2 * width, count) * min(width, count).bit_length() for width in _widths(size))


def _widths(size: int) -> list[int]:
    """The lengths of runs before each level."""
    return [RUN << n for n in range((-(-size // RUN) - 1).bit_length())]


def key_type(dtype: DType) -> DType:
    """The whole numbers that stand for elements of a type."""
    return i64 if dtype.bits == 64 else i32


def merged_places(keys: Value, count: int) -> Value:
    """The places, i32, of the first `count` keys along the fixed last axis in sorted order, equal ones in the order they have."""
    from edgec.ops.reshape import Reshape
    places = RunPlaces(RunRank(keys).output, most=count).output
    for width in _widths(keys.shape[-1]):
        places = MergedRuns(places, keys, width=width, most=count).output
    return Reshape(places, constant(np.array([0] * (keys.type.rank - 1) + [count]))).output


class SortKey(Op):
    """edgec SortKey: whole numbers in the order of the elements, NaN behind all others; turned round where `descending`.

    Equal elements have equal keys: -0.0 has that of 0.0, and every NaN the same.
    """

    domain = "edgec"
    x: Value
    descending: int = 0

    def infer(self) -> TensorType:
        self.require(self.x.dtype.kind in "fiub", f"needs numbers, the operand is {self.x.type}")
        return self.x.type.with_dtype(key_type(self.x.dtype))

    def reference(self, x: np.ndarray) -> np.ndarray:
        if self.x.dtype.is_float:
            keys = self._of_float(x)
        else:
            keys = np.asarray(x.astype(np.uint64) ^ np.uint64(1 << 63)).view(np.int64) if self.x.dtype is u64 else x.astype(np.int64)
            keys = keys - (1 << 31) if self.x.dtype is u32 else keys
        keys = keys.astype(self.output.dtype.numpy)
        return ~keys if self.descending else keys

    def _of_float(self, x: np.ndarray) -> np.ndarray:
        """Distances from 0 in steps of the type, which are what the bits of a positive number count."""
        wide, number = (np.float64, np.int64) if self.x.dtype is f64 else (np.float32, np.int32)
        x = x.astype(wide)
        bits = np.abs(x).view(number).astype(np.int64)
        return np.where(np.isnan(x), np.iinfo(number).max, np.where(np.signbit(x) & (bits > 0), ~bits, bits))

    def lower(self, at: tuple[Expr, ...], x: Reader) -> Expr:
        dtype, value = self.output.dtype, x(*at)
        if self.x.dtype.is_float:
            wide = cast(value, f64 if dtype is i64 else f32)
            bits = bitcast(select(compare("eq", wide, const(0.0, wide.dtype)), const(0.0, wide.dtype), wide), dtype)
            key = select(bits < const(0, dtype), bits ^ const(dtype.high, dtype), bits)
            key = select(unary("isnan", wide), const(dtype.high, dtype), key)
        else:
            whole = self.x.dtype in (u32, u64)
            key = bitcast(value ^ const(1 << dtype.bits - 1, value.dtype), dtype) if whole else cast(value, dtype)
        return key ^ const(-1, dtype) if self.descending else key


class RunRank(Op):
    """edgec RunRank: keys [..., size] as [..., runs, 32]: how many of its run stand before each one; behind the end stand greatest keys."""

    domain = "edgec"
    keys: Value

    def infer(self) -> TensorType:
        fits = self.keys.dtype in (i32, i64) and self.keys.type.rank and isinstance(self.keys.shape[-1], int) and self.keys.shape[-1] > 0
        self.require(bool(fits), f"needs keys along a fixed axis, they are {self.keys.type}")
        return TensorType(i32, (*self.keys.shape[:-1], -(-self.keys.shape[-1] // RUN), RUN))

    def reference(self, keys: np.ndarray) -> np.ndarray:
        behind = -keys.shape[-1] % RUN
        filled = np.concatenate([keys, np.full((*keys.shape[:-1], behind), np.iinfo(keys.dtype).max, keys.dtype)], -1)
        order = np.argsort(filled.reshape(self.output.shape), axis=-1, kind="stable")
        return np.argsort(order, axis=-1).astype(np.int32)

    def lower(self, at: tuple[Expr, ...], keys: Reader) -> Expr:
        *lead, run, here = at

        def key(k: Expr) -> Expr:
            place = run * RUN + k
            return inside([(place, keys.shape[-1])], keys(*lead, place), const(keys.dtype.high, keys.dtype))
        mine = key(here)

        def before(k: Expr) -> Expr:
            other = key(k)
            return select((other < mine) | (compare("eq", other, mine) & (k < here)), const(1, i32), const(0, i32))
        return reduce_over([RUN], "add", before)


class RunPlaces(Op):
    """edgec RunPlaces: the places, i32[..., runs, 32 or fewer], of the first `most` elements of every run, of whose ranks they are made."""

    domain = "edgec"
    ranks: Value
    most: int

    def infer(self) -> TensorType:
        fits = self.ranks.dtype is i32 and self.ranks.shape[-1:] == (RUN,) and self.most > 0
        self.require(fits, f"{self.ranks.type} are no ranks of runs")
        return self.ranks.type.with_shape((*self.ranks.shape[:-1], min(self.most, RUN)))

    def reference(self, ranks: np.ndarray) -> np.ndarray:
        found = ranks[..., None, :] == np.arange(self.output.shape[-1])[:, None]
        first = np.arange(0, RUN * ranks.shape[-2], RUN)[:, None]
        return (np.where(found, np.arange(RUN), 0).max(-1) + first).astype(np.int32)

    def lower(self, at: tuple[Expr, ...], ranks: Reader) -> Expr:
        *lead, run, here = at

        def place(k: Expr) -> Expr:
            return select(compare("eq", ranks(*lead, run, k), cast(here, i32)), cast(k, i32), const(0, i32))
        return cast(run * RUN, i32) + reduce_over([RUN], "max", place, const(0, i32))


class MergedRuns(Op):
    """edgec MergedRuns: two neighbouring sorted runs as one: places [..., runs, length] of keys [..., size].

    Runs hold `width` keys, the last one perhaps fewer, and of these the first `most`. Behind the end stand any places.
    """

    domain = "edgec"
    places: Value
    keys: Value
    width: int
    most: int

    def infer(self) -> TensorType:
        size = self.keys.shape[-1]
        wanted = TensorType(i32, (*self.keys.shape[:-1], -(-size // self.width), self._length))
        self.require(self.places.type == wanted, f"needs places {wanted}, they are {self.places.type}")
        return wanted.with_shape((*wanted.shape[:-2], -(-wanted.shape[-2] // 2), min(2 * self.width, self.most)))

    @property
    def _length(self) -> int:
        return min(self.width, self.most)

    def reference(self, places: np.ndarray, keys: np.ndarray) -> np.ndarray:
        made = np.zeros(self.output.shape, np.int32)
        for run in range(made.shape[-2]):
            sizes = [max(0, min(self._length, keys.shape[-1] - n * self.width)) for n in (2 * run, 2 * run + 1)]
            both = np.concatenate([places[..., 2 * run + n, :size] for n, size in enumerate(sizes) if size], -1)
            order = np.argsort(np.take_along_axis(keys, both, -1), axis=-1, kind="stable")[..., :made.shape[-1]]
            made[..., run, :order.shape[-1]] = np.take_along_axis(both, order, -1)
        return made

    def lower(self, at: tuple[Expr, ...], places: Reader, keys: Reader) -> Expr:
        *lead, run, here = at
        size = keys.shape[-1]
        runs = 2 * run, minimum(2 * run + 1, places.shape[-2] - 1)
        sizes = [maximum(minimum(size - n * self.width, self._length), 0) for n in (2 * run, 2 * run + 1)]

        def place(number: Expr, k: Expr) -> Expr:
            return places(*lead, number, maximum(minimum(k, self._length - 1), 0))

        def key(number: Expr, k: Expr) -> Expr:
            return keys(*lead, maximum(minimum(cast(place(number, k), index), size - 1), 0))

        def goes_before(a: Expr, b: Expr) -> Expr:
            return compare("le", key(runs[0], a), key(runs[1], b))

        low, high = maximum(here - sizes[1], 0), minimum(here, sizes[0])
        taken = largest(low, self._length, lambda n: (n <= high) & goes_before(n - 1, here - n))
        rest = here - taken
        from_first = (sizes[1] <= rest) | ((taken < sizes[0]) & goes_before(taken, rest))
        return place(select(from_first, *runs), select(from_first, taken, rest))


def largest(low: Expr, most: int, holds: Callable[[Expr], Expr]) -> Expr:
    """The greatest n of low..low+most up to which `holds` holds (low where for none above it), by bisection in written-out steps."""
    found, step = low, 1 << most.bit_length() >> 1
    while step:
        found = select(holds(found + step), found + step, found)
        step >>= 1
    return found


class Searched(Op):
    """edgec Searched: how many of the first `number` elements of a sorted vector are below each one of another tensor."""

    domain = "edgec"
    keys: Value
    number: Value
    x: Value

    def infer(self) -> TensorType:
        self.require(self.keys.type.rank == 1 and self.keys.type.is_static and self.keys.shape[0] > 0 and self.keys.dtype is self.x.dtype,
                     f"needs a vector to search for {self.x.type}, it is {self.keys.type}")
        self.require(self.number.type.max_size == 1 and self.number.dtype is i64, f"needs one number in i64, it is {self.number.type}")
        return self.x.type.with_dtype(i64)

    def reference(self, keys: np.ndarray, number: np.ndarray, x: np.ndarray) -> np.ndarray:
        return np.searchsorted(keys[:int(number.reshape(()))], x, side="left").astype(np.int64)

    def lower(self, at: tuple[Expr, ...], keys: Reader, number: Reader, x: Reader) -> Expr:
        size, wanted = keys.shape[0], x(*at)
        limit = cast(number(*(0 for _ in number.shape)), index)

        def holds(n: Expr) -> Expr:
            return (n <= limit) & (keys(minimum(n - 1, size - 1)) < wanted)
        return cast(largest(const(0, index), size, holds), i64)
