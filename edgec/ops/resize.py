"""Resize: nearest, linear and cubic resampling along any axes, one axis after the other.

Which input elements an output element samples is decided at compile time (see `edgec.ops.sampling`); only the sizes of axes with a simple
factor may be symbolic.

    Resize(x, scales=constant(np.array([1, 1, 2, 2], np.float32)), mode="nearest")
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any

import numpy as np

from edgec.errors import Unsupported
from edgec.expr import Expr, cast, const, dim, select, unary
from edgec.graph import Op, Value
from edgec.ops.accumulation import accumulator, fold, rounded
from edgec.ops.sampling import SampledAxis, Sampling
from edgec.ops.shape_arithmetic import exact_quotient, known, normal_axes, same_dim, shape_text
from edgec.types import DType, TensorType, f32, f64

CHOICES = {
    "mode": ("nearest", "linear", "cubic"),
    "nearest_mode": ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil"),
    "keep_aspect_ratio_policy": ("stretch", "not_larger", "not_smaller"),
    "coordinate_transformation_mode": ("half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners", "asymmetric",
                                       "tf_crop_and_resize"),
}
WHOLE = (Fraction(0), Fraction(1))
UNROLLED_TAPS = 4


@dataclass(frozen=True)
class Extent:
    """One axis: `count` output elements from `size` input elements at a scale, within a region of interest."""

    size: Any
    count: Any
    scale: Fraction
    roi: tuple[Fraction, Fraction] = WHOLE

    @property
    def is_identity(self) -> bool:
        return self.scale == 1 and same_dim(self.size, self.count) and self.roi == WHOLE


class Resize(Op):
    """ONNX Resize: resample to the given scales or sizes (ONNX operators, Resize-19)."""

    x: Value
    roi: Value | None = None
    scales: Value | None = None
    sizes: Value | None = None
    antialias: int = 0
    axes: tuple | None = None
    coordinate_transformation_mode: str = "half_pixel"
    cubic_coeff_a: float = -0.75
    exclude_outside: int = 0
    extrapolation_value: float = 0.0
    keep_aspect_ratio_policy: str = "stretch"
    mode: str = "nearest"
    nearest_mode: str = "round_prefer_floor"

    def infer(self) -> TensorType:
        for name, choices in CHOICES.items():
            self.require(getattr(self, name) in choices, f"{name} is {getattr(self, name)!r}", hint="one of " + ", ".join(choices))
        self.require(self.mode == "nearest" or self.x.dtype.kind in "fiu", f"mode {self.mode} needs a number type, not {self.x.dtype}")
        self.require(not (self.antialias and self.mode == "nearest"), "antialias needs mode linear or cubic")
        scales, roi = self._numbers(self.scales, "scales"), self._numbers(self.roi, "roi") if self._crops else None
        sizes = None if self.sizes is None or same_dim(self.sizes.shape[0], 0) else known(self, self.sizes, "sizes")
        self.require((scales is None) != (sizes is None), "exactly one of scales and sizes must be given")
        self._extents = self.extents(self.x.shape, scales, sizes, roi)
        self._axes = tuple(None if e.is_identity else self._sampled(e) for e in self._extents)
        return self.x.type.with_shape(tuple(e.count for e in self._extents))

    @property
    def _crops(self) -> bool:
        return self.coordinate_transformation_mode == "tf_crop_and_resize"

    @property
    def _sampling(self) -> Sampling:
        return Sampling(self.mode, self.coordinate_transformation_mode, self.nearest_mode, self.cubic_coeff_a,
                        bool(self.exclude_outside), bool(self.antialias))

    def _numbers(self, value: Value | None, what: str) -> np.ndarray | None:
        """The elements of a float operand that must be known; None where it is absent or empty."""
        if value is None or value.shape == (0,):
            return None
        if value.elements is None:
            raise Unsupported(f"Resize: {what} %{value.name} is not known at compile time", loc=self._pending_loc,
                              notes=[f"operand %{v.name}: {v.type}" for v in self.operands],
                              hint=f"make {what} an initializer of the model")
        return np.array(value.elements, value.dtype.numpy)

    def extents(self, shape: Sequence[Any], scales: np.ndarray | None, sizes: Sequence[Any] | None,
                roi: np.ndarray | None) -> tuple[Extent, ...]:
        """What happens to each axis of a tensor of `shape`."""
        rank = len(shape)
        axes = tuple(range(rank)) if self.axes is None else normal_axes(self, self.axes, rank)
        given = scales if scales is not None else sizes
        self.require(len(given) == len(axes), f"{'sizes' if scales is None else 'scales'} has {len(given)} entries for {len(axes)} axes")
        self.require(not self._crops or roi is not None and len(roi) == 2 * len(axes), f"roi must hold {2 * len(axes)} numbers")
        if scales is not None:
            found = [self._scaled(shape[a], float(s)) for a, s in zip(axes, scales)]
        else:
            found = self._sized([shape[a] for a in axes], sizes)
        windows = [(Fraction(float(roi[n])), Fraction(float(roi[n + len(axes)]))) if self._crops else WHOLE for n in range(len(axes))]
        made = {a: Extent(shape[a], count, scale, window) for a, (count, scale), window in zip(axes, found, windows)}
        return tuple(made.get(a, Extent(shape[a], shape[a], Fraction(1))) for a in range(rank))

    def _scaled(self, size: Any, scale: float) -> tuple[Any, Fraction]:
        """(floor(size * scale), scale); the product is one of f32 numbers, as in ONNX's shape inference."""
        self.require(scale > 0 and math.isfinite(scale), f"a scale is {scale}; it must be positive")
        exact = Fraction(scale)
        if isinstance(size, int):
            return math.floor(float(np.float32(scale) * np.float32(size))), exact
        if exact.denominator > 1024:
            raise Unsupported(f"Resize: an axis of symbolic size {size} cannot be scaled by {scale}", loc=self._pending_loc,
                              hint="give the dimension a fixed size")
        return dim(size * exact.numerator // exact.denominator), exact

    def _sized(self, have: Sequence[Any], want: Sequence[Any]) -> list[tuple[Any, Fraction]]:
        """(output size, scale) of each axis for the given sizes and the policy on the aspect ratio."""
        self.require(all(not isinstance(n, int) or n > 0 for n in (*have, *want)),
                     f"cannot resize {shape_text(have)} to {shape_text(want)}: every size must be positive")
        scales = [self._ratio(n, m) for n, m in zip(have, want)]
        if self.keep_aspect_ratio_policy == "stretch":
            return list(zip(want, scales))
        scale = (min if self.keep_aspect_ratio_policy == "not_larger" else max)(scales)
        if not all(isinstance(n, int) for n in have):
            raise Unsupported(f"Resize: {self.keep_aspect_ratio_policy} of symbolic sizes {shape_text(have)}", loc=self._pending_loc)
        return [(math.floor(scale * n + Fraction(1, 2)), scale) for n in have]

    def _ratio(self, have: Any, want: Any) -> Fraction:
        if isinstance(have, int) and isinstance(want, int):
            return Fraction(want, have)
        up, down = exact_quotient((want,), (have,)), exact_quotient((have,), (want,))
        if isinstance(up, int):
            return Fraction(up)
        if isinstance(down, int):
            return Fraction(1, down)
        raise Unsupported(f"Resize: the factor from size {have} to {want} is not known at compile time", loc=self._pending_loc,
                          hint="give the dimension a fixed size, or resize by scales")

    def _sampled(self, e: Extent) -> SampledAxis:
        """The samples of an axis; one of symbolic size must have a closed form that does not depend on the size."""
        if isinstance(e.size, int):
            return SampledAxis.of(self._sampling, e.size, e.count, e.scale, e.roi)
        probe = 16 * e.scale.denominator
        follows = self.coordinate_transformation_mode in ("half_pixel", "asymmetric") or e.scale.denominator == 1 and (
            self.coordinate_transformation_mode == "half_pixel_symmetric")
        axis = SampledAxis.of(self._sampling, probe, int(probe * e.scale), e.scale, extent=e.size)
        if not follows or axis.closed is None or axis.period is None:
            raise Unsupported(f"Resize: an axis of symbolic size {e.size} with scale {float(e.scale)}, "
                              f"{self.coordinate_transformation_mode} and mode {self.mode}", loc=self._pending_loc,
                              hint="give the dimension a fixed size, or use half_pixel or asymmetric with an integer scale")
        return axis

    def reference(self, x, roi, scales, sizes):
        scales, roi = (None if a is None or a.size == 0 else a for a in (scales, roi))
        wide = x if self.mode == "nearest" else x.astype(np.float64)
        outside = np.zeros((1,) * x.ndim, bool)
        for axis, e in enumerate(self.extents(x.shape, scales, None if scales is not None else tuple(map(int, sizes)), roi)):
            if e.is_identity:
                continue
            sources = self._sampling.sources(e.size, e.count, e.scale, e.roi)
            if self.mode == "nearest":
                wide = np.take(wide, [min(max(self._sampling.nearest(s), 0), e.size - 1) for s in sources], axis=axis)
            else:
                matrix = self._sampling.matrix(sources, e.size, e.scale)
                wide = np.moveaxis(np.tensordot(matrix, wide, axes=(1, axis)), 0, axis)
            if self._crops:
                beyond = np.array([not 0 <= s <= e.size - 1 for s in sources])
                outside = outside | beyond.reshape([-1 if a == axis else 1 for a in range(x.ndim)])
        return self._stored(np.where(outside, np.asarray(self.extrapolation_value).astype(wide.dtype), wide))

    def _stored(self, y: np.ndarray) -> np.ndarray:
        """The result in the type of x: integers rounded half to even and saturated."""
        dtype = self.x.dtype
        if y.dtype == dtype.numpy:
            return y
        if dtype.is_float:
            return rounded(y, dtype)
        return np.clip(np.rint(y), float(dtype.low), float(dtype.high)).astype(dtype.numpy)

    def lower(self, at, x, roi, scales, sizes):
        live = [(n, axis) for n, axis in enumerate(self._axes) if axis is not None]
        y = self._blend(x, list(at), live)
        if x.dtype.is_integer and self.mode != "nearest":
            y = unary("round", y)
        y = cast(y, x.dtype)
        for n, axis in live:
            if axis.outside is not None:
                y = select(axis.is_outside(at[n]), const(self.extrapolation_value, x.dtype), y)
        return y

    def _blend(self, x, at: list[Expr], live: Sequence[tuple[int, SampledAxis]]) -> Expr:
        """The weighted sum over the taps of the first live axis of the same over the others."""
        if not live:
            return x(*at) if self.mode == "nearest" else cast(x(*at), self._wide)
        (n, axis), *others = live

        def term(tap):
            value = self._blend(x, [*at[:n], axis.position(at[n], tap), *at[n + 1:]], others)
            return value if self.mode == "nearest" else axis.weight(at[n], tap, self._wide) * value

        taps = axis.live_taps()
        if len(taps) > UNROLLED_TAPS:
            return fold((axis.weights.shape[1],), "add", term)
        first, *rest = (term(tap) for tap in taps)
        return sum(rest, first)

    @cached_property
    def _wide(self) -> DType:
        """The type samples are blended in: f32, or f64 where the elements have more digits."""
        return accumulator(self.x.dtype) if self.x.dtype.is_float else f32 if self.x.dtype.bits <= 16 else f64
