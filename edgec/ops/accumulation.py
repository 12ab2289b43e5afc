"""How operators accumulate: folds over a box of indices, means, and the type partial results are kept in.

Used by the `lower` of every operator that sums, next to the plain numpy of `reference` (which accumulates in float64). 16-bit floats
widen to f32 and are rounded once at the end.

    narrow(fold((n,), "add", lambda k: widen(a(i, k)) * widen(b(k, j))), f16)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from edgec.expr import Expr, cast, const, reduce_over
from edgec.types import DType, bf16, f16, f32, index


def accumulator(dtype: DType) -> DType:
    """The type partial sums of `dtype` elements are kept in: f32 for f16 and bf16, else the type itself."""
    return f32 if dtype in (f16, bf16) else dtype


def widen(e: Expr) -> Expr:
    """The expression in its accumulator type (the very same expression where that is its type)."""
    return cast(e, accumulator(e.dtype))


def narrow(e: Expr, dtype: DType) -> Expr:
    """Back from the accumulator to the element type, rounded once."""
    return cast(e, dtype)


def rounded(array: Any, dtype: DType) -> np.ndarray:
    """A float64 array rounded to the numpy type of `dtype` (overflow gives infinity, without a warning)."""
    with np.errstate(over="ignore", invalid="ignore"):
        return np.asarray(array).astype(dtype.numpy)


def fold(extents: Sequence[Any], combine: str, value: Callable[..., Expr]) -> Expr:
    """Reduce `value(*indices)` over the box of `extents`. Axes of extent 1 are read at 0, so they never appear as loops."""
    live = [n for n, extent in enumerate(extents) if extent != 1]
    if not live:
        return value(*(const(0, index) for _ in extents))

    def spread(*taps: Expr) -> Expr:
        every: list[Expr] = [const(0, index)] * len(extents)
        for n, tap in zip(live, taps):
            every[n] = tap
        return value(*every)

    return reduce_over([extents[n] for n in live], combine, spread)


def mean(extents: Sequence[Any], value: Callable[..., Expr]) -> Expr:
    """The mean of a float `value(*indices)` over the box: the sum times 1/count where the count is a number."""
    total = fold(extents, "add", value)
    count = math.prod(extents)
    if isinstance(count, Expr):
        return total / cast(count, total.dtype)
    return total * (1.0 / count if count else math.nan)
