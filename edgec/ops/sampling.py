"""One axis of a resize: where each output element samples the input, and with which weights.

Coordinates are exact fractions (a resize of 3 to 7 samples at 2*3/7, not at a rounding of it), so floor and ties never depend on float
rounding. A `SampledAxis` then finds a closed form of the sample positions, (step*o + offset) // period, where there is a small one (for
integer factors, for instance); otherwise positions and weights are tables over the output index.

    SampledAxis.of(Sampling(mode="linear", ...), size=4, count=8, scale=Fraction(2))
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any

import numpy as np

from edgec.expr import Expr, as_expr, binary, cast, compare, const, read
from edgec.kernel import Buffer
from edgec.ops.constant_table import table
from edgec.types import DType, f64, index, u8

HALF = Fraction(1, 2)
LARGEST_PERIOD = 8  # beyond it, dividing by the period costs more than reading a table


@dataclass(frozen=True)
class Sampling:
    """How a resize samples: the attributes of ONNX Resize that decide positions and weights."""

    mode: str
    coordinates: str
    nearest_mode: str
    cubic_coeff_a: float
    exclude_outside: bool
    antialias: bool

    def sources(self, size: int, count: int, scale: Fraction, roi: tuple[Fraction, Fraction]) -> list[Fraction]:
        """The input coordinate of each of `count` output elements (ONNX operators, Resize-19).

        `size` * `scale` is the output length that may be fractional; align_corners and tf_crop_and_resize stretch over that length.
        """
        length = size * scale
        if self.coordinates == "align_corners":
            step = Fraction(size - 1) / (length - 1) if length != 1 else Fraction(0)
            return [o * step for o in range(count)]
        if self.coordinates == "asymmetric":
            return [o / scale for o in range(count)]
        if self.coordinates == "tf_crop_and_resize":
            start, end = (r * (size - 1) for r in roi)
            step = (end - start) / (length - 1) if length != 1 else Fraction(0)
            return [(start if length != 1 else (start + end) / 2) + o * step for o in range(count)]
        if self.coordinates == "pytorch_half_pixel" and count == 1:
            return [Fraction(0)]
        middle = Fraction(size, 2) * (1 - count / length) if self.coordinates == "half_pixel_symmetric" else 0
        return [middle + (o + HALF) / scale - HALF for o in range(count)]

    def nearest(self, source: Fraction) -> int:
        """The input index nearest to a coordinate (it may lie outside the input)."""
        return {"round_prefer_floor": lambda x: math.ceil(x - HALF), "round_prefer_ceil": lambda x: math.floor(x + HALF),
                "floor": math.floor, "ceil": math.ceil}[self.nearest_mode](source)

    def stretch(self, scale: Fraction) -> Fraction:
        """How much narrower than its standard width the filter is drawn: less than 1 only when downscaling with antialias."""
        return min(scale, Fraction(1)) if self.antialias else Fraction(1)

    def filter(self, distance: np.ndarray) -> np.ndarray:
        """The weight at a distance from the sample: a triangle, or Keys' cubic (IEEE ASSP 29(6), 1981, equation 4)."""
        d = np.abs(distance)
        if self.mode == "linear":
            return np.maximum(1.0 - d, 0.0)
        a = self.cubic_coeff_a
        near, far = ((a + 2) * d - (a + 3)) * d * d + 1, ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
        return np.where(d <= 1, near, np.where(d < 2, far, 0.0))

    def taps(self, sources: Sequence[Fraction], size: int, scale: Fraction) -> tuple[np.ndarray, np.ndarray]:
        """(the first input index [count], weights [count, taps]) of each sample; indices may lie outside the input."""
        if self.mode == "nearest":
            return np.array([self.nearest(s) for s in sources], np.int64), np.ones((len(sources), 1))
        stretch = self.stretch(scale)
        reach = math.ceil((1 if self.mode == "linear" else 2) / stretch)
        first = np.array([math.floor(s) - reach + 1 for s in sources], np.int64)
        rest = np.array([float(s - math.floor(s)) for s in sources])
        weights = self.filter((np.arange(1 - reach, reach + 1) - rest[:, None]) * float(stretch))
        if self.exclude_outside:
            places = first[:, None] + np.arange(2 * reach)
            weights = np.where((places >= 0) & (places < size), weights, 0.0)
        total = weights.sum(axis=1, keepdims=True)
        return first, weights / np.where(total == 0, 1.0, total)

    def matrix(self, sources: Sequence[Fraction], size: int, scale: Fraction) -> np.ndarray:
        """The same as a dense [count, size] matrix that maps input to output: for the reference, straight from the filter."""
        stretch = float(self.stretch(scale))
        reach = math.ceil(2 / stretch) + 1
        found = np.zeros((len(sources), size))
        for o, source in enumerate(sources):
            center = math.floor(source)
            places = np.arange(center - reach, center + reach + 1)
            weights = self.filter((places - float(source)) * stretch)
            if self.exclude_outside:
                weights = weights * ((places >= 0) & (places < size))
            np.add.at(found[o], np.clip(places, 0, size - 1), weights / weights.sum())
        return found


@dataclass(frozen=True, eq=False)
class SampledAxis:
    """The samples of one axis, ready to be read: `first` and `weights` say what `Sampling.taps` says.

    With `closed` = (step, offset, period) the first index of output o is (step*o + offset) // period. `size` may be symbolic then.
    `outside` marks outputs that take the extrapolation value.
    """

    size: Any
    first: np.ndarray
    weights: np.ndarray
    closed: tuple[int, int, int] | None
    outside: np.ndarray | None = None

    @staticmethod
    def of(sampling: Sampling, size: int, count: int, scale: Fraction, roi: tuple[Fraction, Fraction] = (Fraction(0), Fraction(1)),
           extent: Any = None) -> SampledAxis:
        """The axis that maps `size` elements to `count`; `extent` is the symbolic size when `size` is its bound."""
        sources = sampling.sources(size, count, scale, roi)
        first, weights = sampling.taps(sources, size, scale)
        outside = np.array([not 0 <= s <= size - 1 for s in sources])
        outside = outside if sampling.coordinates == "tf_crop_and_resize" and outside.any() else None
        slope = sources[1] - sources[0] if count > 1 else Fraction(0)
        return SampledAxis(size if extent is None else extent, first, weights, closed_form(first, slope), outside)

    @cached_property
    def period(self) -> int | None:
        """The smallest shift of the output index that leaves the weights as they are, None where they depend on the whole index."""
        for period in range(1, min(LARGEST_PERIOD, len(self.weights)) + 1):
            if np.array_equal(self.weights[period:], self.weights[:-period]):
                return period
        return None

    def position(self, o: Expr, tap: Any) -> Expr:
        """The input index that tap `tap` of output `o` reads, within the input."""
        if self.closed:
            step, offset, period = self.closed
            return binary("min", binary("max", (o * step + offset) // period + tap, as_expr(0, index)), as_expr(self.size, index) - 1)
        return cast(read(self._places, (tap, o)), index)

    def weight(self, o: Expr, tap: Any, dtype: DType) -> Expr:
        """The weight (f32 or f64) of tap `tap` of output `o`: a literal, or a table over o modulo the period."""
        period = self.period
        if isinstance(tap, int) and (period == 1 or np.ptp(self.weights[:, tap]) == 0):
            return const(self.weights[0, tap], dtype)
        return read(self._weights[dtype is f64], (tap, o % period if period else o))

    def is_outside(self, o: Expr) -> Expr:
        """Whether output `o` takes the extrapolation value."""
        return compare("ne", read(self._outside, (o,)), const(0, u8))

    @cached_property
    def _places(self) -> Buffer:
        places = self.first + np.arange(self.weights.shape[1])[:, None]
        return table(np.clip(places, 0, self.size - 1).astype(np.int32))

    @cached_property
    def _weights(self) -> tuple[Buffer, Buffer]:
        rows = self.weights[:self.period] if self.period else self.weights
        return table(rows.T.astype(np.float32)), table(rows.T)

    @cached_property
    def _outside(self) -> Buffer:
        return table(self.outside.astype(np.uint8))

    def live_taps(self) -> list[int]:
        """The taps that have a weight anywhere."""
        return [t for t in range(self.weights.shape[1]) if np.any(self.weights[:, t])]


def closed_form(first: np.ndarray, slope: Fraction) -> tuple[int, int, int] | None:
    """(step, offset, period) with first[o] == (step*o + offset) // period for all o, for a small period; else None."""
    step, period = slope.numerator, slope.denominator
    if period > LARGEST_PERIOD:
        return None
    rest = period * first - step * np.arange(len(first))
    offset = int(rest.max())
    return (step, offset, period) if offset <= rest.min() + period - 1 else None
