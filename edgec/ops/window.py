"""The geometry of sliding windows: how many fit, and which input element each tap of each window reads. For convolution and pooling.

Sizes may be symbolic dimensions; kernels, strides and dilations are numbers. Formulas: ONNX operator documentation, Conv and MaxPool.

    w = Window(kernel=(3,), strides=(2,), dilations=(1,), begin=(1,), end=(1,))
    w.counts((8,))                 # (4,)
    w.position((y,), (k,))         # (2*y + k - 1,)
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgec.expr import Expr, as_expr, binary, dim
from edgec.graph import Op
from edgec.types import index

AUTO_PADS = ("NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID")


class Windowed(Op):
    """Base of operators whose windows slide over the spatial axes."""

    abstract = True
    auto_pad: str = "NOTSET"
    dilations: tuple = ()
    pads: tuple = ()
    strides: tuple = ()


class Convolution(Windowed):
    """Base of operators whose windows have weights; without `kernel_shape` the weights say it."""

    abstract = True
    group: int = 1
    kernel_shape: tuple = ()


class TransposedConvolution(Convolution):
    """Base of operators that spread each input element over a window of the output."""

    abstract = True
    output_padding: tuple = ()
    output_shape: tuple = ()


class Pooling(Windowed):
    """Base of operators that make one number of each window."""

    abstract = True
    ceil_mode: int = 0
    kernel_shape: tuple


@dataclass(frozen=True)
class Window:
    """One window shape; every field has one entry a spatial axis. `begin` and `end` count the padding (ints or dimensions)."""

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    begin: tuple[Any, ...]
    end: tuple[Any, ...]

    @property
    def rank(self) -> int:
        return len(self.kernel)

    @property
    def extents(self) -> tuple[int, ...]:
        """Input elements from the first to the last tap of a window."""
        return tuple((k - 1) * d + 1 for k, d in zip(self.kernel, self.dilations))

    def counts(self, sizes: Sequence[Any], ceil_mode: bool = False) -> tuple[Any, ...]:
        """Windows along each axis: floor((size + padding - extent) / stride) + 1.

        `ceil_mode` rounds up instead, and then drops a window that would start in the padding at the end.
        """
        found = []
        for size, begin, end, extent, stride in zip(sizes, self.begin, self.end, self.extents, self.strides):
            room = size + begin + end - extent
            count = room // stride + 1
            if ceil_mode:
                count = least(-(-room // stride) + 1, (size + begin - 1) // stride + 1)
            found.append(dim(count))
        return tuple(found)

    def position(self, at: Sequence[Any], taps: Sequence[Any]) -> tuple[Any, ...]:
        """The input index that tap `taps` of window `at` reads; it may lie in the padding."""
        return tuple(y * s + k * d - p for y, s, k, d, p in zip(at, self.strides, taps, self.dilations, self.begin))


def least(a: Any, b: Any) -> Any:
    """The smaller of two dimensions."""
    return dim(binary("min", as_expr(a, index), as_expr(b, index)))


def greatest(a: Any, b: Any) -> Any:
    """The larger of two dimensions."""
    return dim(binary("max", as_expr(a, index), as_expr(b, index)))


def per_axis(op: Op, name: str, rank: int, default: int = 1) -> tuple[int, ...]:
    """The attribute `name` as one entry a spatial axis; absent means `default` everywhere."""
    values = tuple(getattr(op, name) or ()) or (default,) * rank
    op.require(len(values) == rank, f"{name} has {len(values)} entries for {rank} spatial axes")
    op.require(all(v >= default for v in values), f"{name} is {list(values)}; entries must be at least {default}")
    return values


def window_of(op: Op, sizes: Sequence[Any], kernel: Sequence[int]) -> Window:
    """The window of an operator with attributes auto_pad, pads, strides and dilations over spatial `sizes`."""
    rank = len(sizes)
    op.require(len(kernel) == rank and all(k > 0 for k in kernel), f"kernel {list(kernel)} does not fit {rank} spatial axes")
    op.require(op.auto_pad in AUTO_PADS, f"auto_pad is {op.auto_pad!r}", hint="one of " + ", ".join(AUTO_PADS))
    strides, dilations = per_axis(op, "strides", rank), per_axis(op, "dilations", rank)
    window = Window(tuple(kernel), strides, dilations, (0,) * rank, (0,) * rank)
    if op.auto_pad == "VALID":
        return window
    begin, end = explicit_pads(op, rank) if op.auto_pad == "NOTSET" else same_pads(window, sizes, op.auto_pad == "SAME_UPPER")
    return Window(window.kernel, strides, dilations, begin, end)


def explicit_pads(op: Op, rank: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The attribute `pads` cut into beginnings and ends."""
    pads = tuple(op.pads or ()) or (0,) * (2 * rank)
    op.require(len(pads) == 2 * rank, f"pads has {len(pads)} entries for {rank} spatial axes")
    op.require(all(p >= 0 for p in pads), f"pads is {list(pads)}; padding cannot be negative", hint="Slice crops a tensor")
    return pads[:rank], pads[rank:]


def same_pads(window: Window, sizes: Sequence[Any], upper: bool) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """The padding that makes ceil(size / stride) windows; an odd element goes to the end when `upper`, else to the beginning."""
    begin, end = [], []
    for size, extent, stride in zip(sizes, window.extents, window.strides):
        total = greatest(((size + stride - 1) // stride - 1) * stride + extent - size, 0)
        small = dim(total // 2)
        begin.append(small if upper else dim(total - small))
        end.append(dim(total - small) if upper else small)
    return tuple(begin), tuple(end)


def require_counts(op: Op, window: Window, sizes: Sequence[Any], counts: Sequence[Any]) -> None:
    """Every axis must have room for at least one window (for some value of its symbols)."""
    for axis, count in enumerate(counts):
        most = count.hi if isinstance(count, Expr) else count
        op.require(most > 0, f"a window of {window.extents[axis]} elements does not fit spatial axis {axis} of {sizes[axis]} elements "
                             f"with padding {window.begin[axis]} and {window.end[axis]}")


def padded(x: np.ndarray, window: Window, counts: Sequence[int], fill: Any) -> np.ndarray:
    """`x` [n, c, spatial...] inside a frame of `fill` that holds every tap of every window."""
    sizes = x.shape[2:]
    room = [max(b + n + e, (c - 1) * s + extent)
            for n, b, e, c, s, extent in zip(sizes, window.begin, window.end, counts, window.strides, window.extents)]
    frame = np.full((*x.shape[:2], *room), fill, dtype=x.dtype)
    frame[(slice(None), slice(None), *(slice(b, b + n) for b, n in zip(window.begin, sizes)))] = x
    return frame


def tap_views(frame: np.ndarray, window: Window, counts: Sequence[int]) -> Iterator[tuple[tuple[int, ...], np.ndarray]]:
    """(tap, the elements that tap reads in all windows) for every tap of the kernel, from a `padded` frame."""
    for tap in itertools.product(*(range(k) for k in window.kernel)):
        cut = (slice(k * d, k * d + (c - 1) * s + 1, s) for k, d, c, s in zip(tap, window.dilations, counts, window.strides))
        yield tap, frame[(slice(None), slice(None), *cut)]
