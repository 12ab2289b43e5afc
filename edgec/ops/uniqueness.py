"""Which of many numbers differ, found by sorting them once: what Unique does of a long vector (edgec.ops.selection).

Sorted, equal numbers are neighbours. The places where another number begins are gathered; the first of each in the order they had, how
often it occurs and which one a number is (by bisection among the different ones) follow.

    different_numbers(x, in_order=1)        # (firsts, inverse, counts, mask): of i64[n], valid as far as mask has true elements
"""

from __future__ import annotations

import numpy as np

from edgec.expr import Expr, cast, compare, const, maximum, minimum, select
from edgec.graph import Op, Value
from edgec.lowering import Reader
from edgec.ops.shape_arithmetic import same_dim
from edgec.ops.sizes import Compacted
from edgec.ops.sorting import Searched, SortKey, merged_places
from edgec.types import TensorType, bool_, i64, index


def different_numbers(x: Value, in_order: int) -> tuple[Value, Value, Value, Value]:
    """For a vector: the first place of each different number, which one each is, how often each occurs; a mask with as many true elements.

    They are sorted where `in_order`, else they stand as they first appear. Firsts and counts are as long as the vector.
    """
    from edgec.ops.gather import Gather
    from edgec.ops.selection import SameAsPlace
    keys = SortKey(x).output
    places = merged_places(keys, x.shape[0])
    ordered = Gather(keys, places).output
    mask = Begins(ordered).output
    begins, number = Compacted(mask).results
    firsts, counts = _as_i64(Gather(places, begins).output), Spans(begins, number).output
    standing = Searched(Gather(ordered, begins).output, number, keys).output
    if in_order:
        return firsts, standing, counts, mask
    own = Gather(firsts, standing).output
    appear, _ = Compacted(SameAsPlace(own).output).results
    return appear, Searched(appear, number, own).output, Gather(counts, Gather(standing, appear).output).output, mask


def _as_i64(x: Value) -> Value:
    from edgec.ops.cast import Cast
    return Cast(x, to=7).output


class Begins(Op):
    """edgec Begins: whether each element of a vector differs from the one before it; the first one does."""

    domain = "edgec"
    x: Value

    def infer(self) -> TensorType:
        self.require(self.x.type.rank == 1, f"needs a vector, the operand is {self.x.type}")
        return self.x.type.with_dtype(bool_)

    def reference(self, x: np.ndarray) -> np.ndarray:
        return np.concatenate([np.ones(min(1, len(x)), bool), x[1:] != x[:-1]])

    def lower(self, at: tuple[Expr, ...], x: Reader) -> Expr:
        here, = at
        return compare("eq", here, 0) | compare("ne", x(here), x(maximum(here - 1, 0)))


class Spans(Op):
    """edgec Spans: how far it is from each of the first `number` begins to the next, or to the end; there are as many as places."""

    domain = "edgec"
    begins: Value
    number: Value

    def infer(self) -> TensorType:
        fits = self.begins.dtype is self.number.dtype is i64 and self.begins.type.rank == 1 and same_dim(self.number.type.max_size, 1)
        self.require(fits, f"needs a vector and a number of i64, they are {self.begins.type} and {self.number.type}")
        return self.begins.type

    def reference(self, begins: np.ndarray, number: np.ndarray) -> np.ndarray:
        found = np.zeros(len(begins), np.int64)
        used = int(number.reshape(()))
        found[:used] = np.diff(begins[:used], append=len(begins))
        return found

    def lower(self, at: tuple[Expr, ...], begins: Reader, number: Reader) -> Expr:
        here, = at
        size, used = begins.shape[0], cast(number(*(0 for _ in number.shape)), index)
        after = select(here + 1 < used, begins(minimum(here + 1, size - 1)), const(size, i64))
        return select(here < used, after - begins(here), const(0, i64))
