"""Choosing elements by their order or their truth: TopK NonZero Unique.

Few elements are sorted by counting: the place of one among the others is the number of those before it, and the one that belongs at a place
is that with this count. Both are reductions, so they fuse and vectorise as any other. Many are sorted by merging runs (edgec.ops.sorting).
How many elements are true, or different, must be known when the model is read: it is the size of a result.

    TopK(x, k, axis=-1).results        # (values, indices)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from edgec.errors import Unsupported
from edgec.expr import Expr, cast, compare, const, maximum, minimum, reduce_over, select
from edgec.graph import Op, Value, constant
from edgec.lowering import Reader
from edgec.ops.known_values import known_value
from edgec.ops.shape_arithmetic import as_index, known, known_numbers, normal_axis, product, same_dim
from edgec.ops.sizes import Compacted
from edgec.ops.sorting import SortKey, merged_places, merging_pays
from edgec.types import TensorType, bf16, bool_, dtype_of, i64, index


def count(size: Any, holds: Any) -> Expr:
    """How many k below size have holds(k), in i64."""
    return reduce_over([size], "add", lambda k: select(holds(k), const(1, i64), const(0, i64)))


class Rank(Op):
    """edgec Rank: how many elements of the axis stand before each one in sorted order; equal ones stand in the order they have."""

    domain = "edgec"
    x: Value
    axis: int

    def infer(self) -> TensorType:
        return self.x.type.with_dtype(i64)

    def reference(self, x: np.ndarray) -> np.ndarray:
        ranks = np.empty(x.shape, np.int64)
        np.put_along_axis(ranks, sorted_order(x, self.axis, False), np.broadcast_to(along(x, self.axis), x.shape), self.axis)
        return ranks

    def lower(self, at: tuple[Expr, ...], x: Reader) -> Expr:
        here, mine = at[self.axis], x(*at)

        def before(k: Expr) -> Expr:
            other = x(*at[:self.axis], k, *at[self.axis + 1:])
            return compare("lt", other, mine) | (compare("eq", other, mine) & (k < here))
        return count(x.shape[self.axis], before)


def along(x: np.ndarray, axis: int) -> np.ndarray:
    """0, 1, 2 ... along an axis."""
    return np.arange(x.shape[axis]).reshape([-1 if n == axis else 1 for n in range(x.ndim)])


def sorted_order(x: np.ndarray, axis: int, descending: bool) -> np.ndarray:
    """The places of the elements in sorted order, equal ones in the order they have; NaN is the greatest."""
    x = x.astype(np.float32) if dtype_of(x.dtype) is bf16 else x  # which numpy cannot sort where there are NaN
    if not descending:
        return np.argsort(x, axis=axis, kind="stable")
    return x.shape[axis] - 1 - np.flip(np.argsort(np.flip(x, axis), axis=axis, kind="stable"), axis)


def places_in_order(x: Value, axis: int, count: int, descending: bool, merge: bool | None = None) -> Value:
    """The places, i64, of the first `count` elements along an axis in sorted order: by counting, or by merging runs where that pays."""
    from edgec.ops.cast import Cast
    from edgec.ops.reshape import Transpose
    key = SortKey(x, descending=int(descending)).output
    if not (merging_pays(x.shape[axis], count) if merge is None else merge):
        return PlaceOf(Rank(key, axis=axis).output, axis=axis, count=count).output
    last = x.type.rank - 1
    perm = tuple(n for n in range(last + 1) if n != axis) + (axis,)
    places = merged_places(Transpose(key, perm=perm).output, count)
    return Cast(Transpose(places, perm=tuple(int(n) for n in np.argsort(perm))).output, to=7).output


class PlaceOf(Op):
    """edgec PlaceOf: for every number below `count`, the place on the axis whose element is that number and whose mask (if any) holds."""

    domain = "edgec"
    x: Value
    mask: Value | None = None
    axis: int
    count: int

    def infer(self) -> TensorType:
        self.require(self.x.dtype is i64, f"needs i64, the operand is {self.x.type}")
        return self.x.type.with_shape(tuple(self.count if n == self.axis else d for n, d in enumerate(self.x.shape)))

    def reference(self, x: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
        moved = np.moveaxis(np.where(True if mask is None else mask, x, -1), self.axis, -1)
        wanted = np.arange(self.count)[:, None] == moved[..., None, :]
        places = np.where(wanted, np.arange(moved.shape[-1]), 0).max(axis=-1, initial=0)
        return np.moveaxis(places.astype(np.int64), -1, self.axis)

    def lower(self, at: tuple[Expr, ...], x: Reader, mask: Reader | None) -> Expr:
        wanted = cast(at[self.axis], i64)

        def place(k: Expr) -> Expr:
            there = (*at[:self.axis], k, *at[self.axis + 1:])
            holds = compare("eq", x(*there), wanted)
            return select(holds if mask is None else holds & mask(*there), cast(k, i64), const(0, i64))
        return reduce_over([x.shape[self.axis]], "max", place, const(0, i64))


class TopK(Op):
    """ONNX TopK: the k greatest (or least) elements along an axis in order, and where they stood; of equal ones the first come first."""

    x: Value
    k: Value
    axis: int = -1
    largest: int = 1
    sorted: int = 1

    def infer(self) -> tuple[TensorType, ...]:
        axis = normal_axis(self, self.axis, self.x.type.rank)
        self.require(self.k.type.max_size == 1 and self.k.dtype is i64, f"k must be one i64, it is {self.k.type}")
        number = known_numbers(self, self.k, "k")[0]
        size = self.x.shape[axis]
        self.require(0 <= number and (not isinstance(size, int) or number <= size), f"k is {number} of {size} elements")
        if not isinstance(size, int) and size.lo < number:
            raise Unsupported(f"TopK: {number} of {size} elements", loc=self._pending_loc, hint="raise the dimension's lower bound")
        shape = tuple(number if n == axis else d for n, d in enumerate(self.x.shape))
        return self.x.type.with_shape(shape), TensorType(i64, shape)

    def reference(self, x: np.ndarray, k: np.ndarray) -> tuple[np.ndarray, ...]:
        axis = self.axis % x.ndim
        places = sorted_order(x, axis, bool(self.largest)).take(range(int(k.item())), axis)
        return np.take_along_axis(x, places, axis), places.astype(np.int64)

    def decompose(self) -> tuple[Value, ...]:
        from edgec.ops.gather import GatherElements
        axis = self.axis % self.x.type.rank
        places = places_in_order(self.x, axis, self.results[1].shape[axis], bool(self.largest))
        return GatherElements(self.x, places, axis=axis).output, places


class NonZero(Op):
    """ONNX NonZero: the indices of the elements that are not zero, one row an axis."""

    x: Value

    def infer(self) -> TensorType:
        found = known_value(self.x)
        if found is None:
            raise Unsupported(f"NonZero: how many elements of %{self.x.name} are not zero is not known at compile time",
                              loc=self._pending_loc, hint="Where keeps the shape")
        return TensorType(i64, (self.x.type.rank, int(np.count_nonzero(found))))

    def elements(self) -> None:
        return None

    def reference(self, x: np.ndarray) -> np.ndarray:
        return np.array(np.nonzero(x), np.int64).reshape(x.ndim, -1)

    def decompose(self) -> Value:
        from edgec.ops.cast import Cast
        from edgec.ops.reshape import Reshape, Shape
        flat = Reshape(self.x, constant(np.array([-1]))).output
        mask = Cast(flat, to=9).output
        return Unravel(places_of_true(mask, self.output.shape[1]), Shape(self.x).output).output


def places_of_true(mask: Value, number: int) -> Value:
    """The places of the `number` true elements of a vector, in order."""
    return first_ones(Compacted(mask).results[0], number)


def first_ones(x: Value, number: int) -> Value:
    """The first elements of a vector."""
    from edgec.ops.slicing import Slice
    return Slice(x, constant(np.array([0])), constant(np.array([number])), constant(np.array([0]))).output


class Unravel(Op):
    """edgec Unravel: the indices, one row an axis, of offsets into a dense tensor of the given sizes."""

    domain = "edgec"
    x: Value
    sizes: Value

    def infer(self) -> TensorType:
        return TensorType(i64, (len(known(self, self.sizes, "the shape")), *self.x.shape))

    def reference(self, x: np.ndarray, sizes: np.ndarray) -> np.ndarray:
        shape = tuple(max(1, int(d)) for d in sizes)  # an empty tensor has no offsets either
        return np.array(np.unravel_index(x, shape), np.int64).reshape(len(shape), -1)

    def lower(self, at: tuple[Expr, ...], x: Reader, sizes: Reader) -> Expr:
        offset, value = cast(x(at[1]), index), const(0, index)
        shape = [maximum(as_index(d), 1) if isinstance(d, Expr) else max(d, 1) for d in self.sizes.elements]
        for axis, size in enumerate(shape):
            part = offset // as_index(product(shape[axis + 1:])) % size
            value = select(compare("eq", at[0], axis), part, value)
        return cast(value, i64)


class Unique(Op):
    """ONNX Unique: the different elements (or slices along an axis), the first place of each, which one each is, and their counts."""

    x: Value
    axis: int | None = None
    sorted: int = 1

    def infer(self) -> tuple[TensorType, ...]:
        found = known_value(self.x)
        if found is None:
            raise Unsupported(f"Unique: how many elements of %{self.x.name} differ is not known at compile time", loc=self._pending_loc)
        if self.axis is not None:
            normal_axis(self, self.axis, self.x.type.rank)
        parts = self.reference(found)
        return (self.x.type.with_shape(parts[0].shape), *(TensorType(i64, p.shape) for p in parts[1:]))

    def elements(self) -> list[None]:
        return [None] * 4

    def reference(self, x: np.ndarray) -> tuple[np.ndarray, ...]:
        rows = x.reshape(-1, 1) if self.axis is None else np.moveaxis(x, self.axis, 0).reshape(x.shape[self.axis], -1)
        keys = [tuple((v != v, 0 if v != v else v) for v in r.tolist()) for r in rows]  # NaN is one value, behind all others
        firsts = {}
        for place, key in enumerate(keys):
            firsts.setdefault(key, place)
        order = sorted(firsts) if self.sorted else list(firsts)
        indices = np.array([firsts[k] for k in order], np.int64)
        number = {k: n for n, k in enumerate(order)}
        inverse = np.array([number[k] for k in keys], np.int64)
        counts = np.bincount(inverse, minlength=len(order)).astype(np.int64)
        y = x.ravel()[indices] if self.axis is None else np.take(x, indices, self.axis)
        return y, indices, inverse, counts

    def in_bytes(self, x: Value) -> tuple[Value, ...]:
        """Different texts are different rows of bytes, and stand in the same order."""
        from edgec.ops.reshape import Reshape
        if self.axis is not None and self.x.type.rank > 1:
            raise Unsupported("Unique of strings along an axis", loc=self.loc, hint="without an axis, texts are compared one by one")
        rows = Reshape(x, constant(np.array([-1, x.shape[-1]]))).output
        return Unique(rows, axis=0, sorted=self.sorted).results

    def decompose(self) -> tuple[Value, ...]:
        return different(self.x, self.axis, self.sorted, self.results[1].shape[0], lambda places, mask: places)


def different(x: Value, axis: int | None, in_order: int, room: int, cut: Callable[[Value, Value], Value]) -> tuple[Value, ...]:
    """The results of Unique; of the places of the first ones `cut` takes those that there are, given which slices are the first of their
    equals, and of the counts as well."""
    from edgec.ops.cast import Cast
    from edgec.ops.gather import Gather
    from edgec.ops.reshape import Reshape, Transpose
    from edgec.ops.uniqueness import different_numbers
    data = Reshape(x, constant(np.array([-1]))).output if axis is None else x
    axis = 0 if axis is None else axis % x.type.rank
    front = (axis, *(n for n in range(data.type.rank) if n != axis))
    moved, size = Transpose(data, perm=front).output, data.shape[axis]
    width = product(moved.shape[1:])
    shape = [0 if isinstance(size, Expr) else size, -1 if isinstance(width, Expr) else width]
    rows = Reshape(moved, constant(np.array(shape))).output
    rows = SortKey(rows).output if rows.dtype.is_float else rows
    if same_dim(width, 1) and merging_pays(size, size):
        firsts, inverse, counts, mask = different_numbers(Reshape(rows, constant(np.array([-1]))).output, in_order)
        firsts, counts = (cut(first_ones(v, room), mask) for v in (firsts, counts))
        return Gather(data, firsts, axis=axis).output, firsts, inverse, counts
    group = FirstEqual(rows).output
    mask = SameAsPlace(group).output
    if in_order:
        standing = RowRank(rows, group).output
    else:
        from edgec.ops.cumulative import CumSum
        standing = CumSum(Cast(mask, to=7).output, constant(np.array(0)), exclusive=1).output
    firsts = cut(PlaceOf(standing, mask, axis=0, count=room).output, mask)
    inverse = Gather(standing, group).output
    return Gather(data, firsts, axis=axis).output, firsts, inverse, cut(Occurrences(inverse, number=room).output, mask)


class FirstEqual(Op):
    """edgec FirstEqual: for every row the place of the first one that equals it."""

    domain = "edgec"
    x: Value

    def infer(self) -> TensorType:
        return TensorType(i64, self.x.shape[:1])

    def reference(self, x: np.ndarray) -> np.ndarray:
        return np.array([int(np.argmax((x == row).all(axis=1))) for row in x], np.int64).reshape(len(x))

    def lower(self, at: tuple[Expr, ...], x: Reader) -> Expr:
        def place(k: Expr) -> Expr:
            return select(rows_equal(x, k, at[0]), cast(k, i64), cast(at[0], i64))
        return reduce_over([x.shape[0]], "min", place)

    def in_bytes(self, x: Value) -> Value:
        return FirstEqual(rows_of_bytes(x)).output


def rows_of_bytes(x: Value) -> Value:
    """A matrix of slots, u8[n, m, bytes], as one of bytes: rows are equal, and in order, where those of the texts are.

    The zeros behind a shorter text come before any byte of a longer one, and the bytes of UTF-8 are in the order of its characters.
    """
    from edgec.ops.reshape import Reshape
    width = product(x.shape[1:])
    return Reshape(x, constant(np.array([0, -1 if isinstance(width, Expr) else width]))).output


def rows_equal(x: Reader, a: Expr, b: Expr) -> Expr:
    """Whether two rows of a matrix are equal."""
    return compare("eq", count(x.shape[1], lambda c: compare("ne", x(a, c), x(b, c))), const(0, i64))


class SameAsPlace(Op):
    """edgec SameAsPlace: whether each element is the number of its own place."""

    domain = "edgec"
    x: Value

    def infer(self) -> TensorType:
        return self.x.type.with_dtype(bool_)

    def reference(self, x: np.ndarray) -> np.ndarray:
        return x == np.arange(len(x))

    def lower(self, at: tuple[Expr, ...], x: Reader) -> Expr:
        return compare("eq", x(*at), cast(at[0], i64))


class RowRank(Op):
    """edgec RowRank: how many different rows stand before each one in lexical order; `group` names the first of its equals."""

    domain = "edgec"
    x: Value
    group: Value

    def infer(self) -> TensorType:
        return TensorType(i64, self.x.shape[:1])

    def reference(self, x: np.ndarray, group: np.ndarray) -> np.ndarray:
        keys = [tuple(r.tolist()) for r in x]
        return np.array([sum(o < k for o in set(keys)) for k in keys], np.int64)

    def lower(self, at: tuple[Expr, ...], x: Reader, group: Reader) -> Expr:
        width = x.shape[1]

        def first_difference(k: Expr) -> Expr:
            def column(c: Expr) -> Expr:
                return select(compare("ne", x(k, c), x(at[0], c)), cast(c, i64), const(width, i64))
            return reduce_over([width], "min", column)

        def before(k: Expr) -> Expr:
            differs = first_difference(k)
            column = minimum(maximum(cast(differs, index), 0), width - 1)
            less = compare("lt", differs, const(width, i64)) & compare("lt", x(k, column), x(at[0], column))
            return less & compare("eq", group(k), cast(k, i64))
        return count(x.shape[0], before)

    def in_bytes(self, x: Value, group: Value) -> Value:
        return RowRank(rows_of_bytes(x), group).output


class Occurrences(Op):
    """edgec Occurrences: how often each number below `number` occurs in a vector."""

    domain = "edgec"
    x: Value
    number: int

    def infer(self) -> TensorType:
        return TensorType(i64, (self.number,))

    def reference(self, x: np.ndarray) -> np.ndarray:
        return np.bincount(x, minlength=self.number).astype(np.int64)

    def lower(self, at: tuple[Expr, ...], x: Reader) -> Expr:
        return count(x.shape[0], lambda k: compare("eq", x(k), cast(at[0], i64)))
