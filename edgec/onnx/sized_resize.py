"""Resize whose sizes or scales only the run decides: every axis is gathered at positions that are computed, and blended.

Positions of given sizes are ratios of whole numbers, so they are exact; those of given scales are computed in f32.

    Resize(x: f32[1,3,8,8], sizes)  ->  Gather(Gather(x, rows, axis=2), columns, axis=3)
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edgec.errors import Unsupported
from edgec.graph import Value, constant
from edgec.onnx.node import Node, build
from edgec.onnx.parts import cast_to, counted, element, least, limit, part
from edgec.ops.shape_arithmetic import normal_axes, same_dim
from edgec.types import f32, f64, i64

TAPS = {"nearest": 1, "linear": 2, "cubic": 4}


def resize_at_run_time(node: Node, sizes: Any, name: str) -> list[Value] | None:
    """The result, None where the class of Resize builds it: where sizes, or the factors between them, are known."""
    try:
        build(node)
        return None
    except Unsupported as error:
        refused = error
    x, _, scales, wanted = (node.input(n) for n in range(4))
    _require_plain(node, refused)
    axes = normal_axes(x.op, node.attributes.get("axes") or range(x.type.rank), x.type.rank)
    if any(least(x.shape[a]) < 1 for a in axes):
        raise Unsupported(f"Resize: an axis of {x.type} may be empty", loc=node.loc, hint="raise the lower bound of the dimension")
    by_scale = scales is not None and scales.shape != (0,)
    target = _bounded(node, x, axes, scales if by_scale else wanted, by_scale, sizes, name)
    mode = node.attributes.get("mode", "nearest")
    y = x if mode == "nearest" else cast_to(x, f64 if x.dtype.bits > 16 and x.dtype is not f32 else f32)
    for n, axis in enumerate(axes):
        if not same_dim(target.elements[n], x.shape[axis]):
            y = _along(node, y, axis, element(target, n), element(scales, n) if by_scale else None, mode)
    return [_stored(y, x)]


def _require_plain(node: Node, refused: Unsupported) -> None:
    """Raise what the class said, for forms that are not built here either."""
    given = node.attributes
    if given.get("antialias") or given.get("coordinate_transformation_mode") == "tf_crop_and_resize" or \
            given.get("keep_aspect_ratio_policy", "stretch") not in ("stretch", b"stretch"):
        raise refused


def _bounded(node: Node, x: Value, axes: Any, given: Value, by_scale: bool, sizes: Any, name: str) -> Value:
    """The output sizes of the axes, within bounds."""
    if given.elements is not None and not by_scale:
        return given
    extents = part("Gather", part("Shape", x), list(axes))
    numbers = cast_to(part("Floor", part("Mul", cast_to(given, f32), cast_to(extents, f32))), i64) if by_scale else cast_to(given, i64)
    if name in sizes.given:
        found = sizes.bounds(name, x.type.rank, node.loc)
        return sizes.sizes(numbers, tuple(found[a] for a in axes), name)
    if given.elements is not None:
        exact = [np.float32(s) * np.float32(limit(x.shape[a])) for a, s in zip(axes, given.elements)]
        return sizes.sizes(numbers, tuple((0, int(np.floor(e))) for e in exact), name)
    shape = "x".join(str(d) if isinstance(d, int) and n not in axes[-2:] else "1..64" for n, d in enumerate(x.shape))
    raise Unsupported(f"Resize: %{given.name} is not known at compile time", loc=node.loc,
                      hint=f"give bounds for the sizes of the result: --bind {name}={shape}")


def _along(node: Node, y: Value, axis: int, size: Value, scale: Value | None, mode: str) -> Value:
    """The tensor resampled along one axis."""
    have = part("Shape", y, start=axis, end=axis + 1)
    how = node.attributes.get("coordinate_transformation_mode", "half_pixel")
    base, rest = _positions(how, have, size, scale)
    last = part("Sub", have, 1)

    def taken(place: Value) -> Value:
        return part("Gather", y, part("Max", [part("Min", [place, last]), 0]), axis=axis)
    if mode == "nearest":
        return taken(part("Add", base, _rounds_up(node.attributes.get("nearest_mode", "round_prefer_floor"), rest)))
    first = -(TAPS[mode] // 2) + 1
    places = [part("Add", base, first + n) for n in range(TAPS[mode])]
    weights = _linear(rest) if mode == "linear" else _cubic(rest, node.attributes.get("cubic_coeff_a", -0.75))
    if node.attributes.get("exclude_outside"):
        inside = [part("And", part("GreaterOrEqual", p, 0), part("LessOrEqual", p, last)) for p in places]
        weights = [part("Mul", w, cast_to(i, f32)) for w, i in zip(weights, inside)]
        total = _sum(weights)
        weights = [part("Div", w, total) for w in weights]
    shape = [-1 if n == axis else 1 for n in range(y.type.rank)]
    return _sum([part("Mul", taken(p), cast_to(_column(w, shape), y.dtype)) for p, w in zip(places, weights)])


def _column(weights: Value, shape: list[int]) -> Value:
    """A vector along one axis of so many."""
    at = shape.index(-1)
    return part("Unsqueeze", weights, [n for n in range(len(shape)) if n != at])


def _sum(values: list[Value]) -> Value:
    total = values[0]
    for value in values[1:]:
        total = part("Add", total, value)
    return total


def _number(value: float) -> Value:
    return constant(np.array(value, np.float32))


def _positions(how: str, have: Value, size: Value, scale: Value | None) -> tuple[Value, Value]:
    """For every output element the whole part (i64) and the rest (f32, 0 to 1) of its position on the input."""
    place = counted(size)
    if scale is None:
        return _ratio(how, place, have, size)
    at, scale = cast_to(place, f32), cast_to(scale, f32)
    middle = part("Sub", part("Div", part("Add", at, _number(0.5)), scale), _number(0.5))
    if how == "asymmetric":
        middle = part("Div", at, scale)
    elif how == "align_corners":
        wide = cast_to(have, f32)
        span = part("Sub", part("Mul", scale, wide), _number(1.0))
        step = part("Div", part("Sub", wide, _number(1.0)), span)
        middle = part("Mul", at, part("Where", part("Equal", span, _number(0.0)), _number(0.0), step))
    elif how == "half_pixel_symmetric":
        wide = cast_to(have, f32)
        adjust = part("Sub", _number(1.0), part("Div", cast_to(size, f32), part("Mul", scale, wide)))
        middle = part("Add", part("Mul", part("Mul", wide, _number(0.5)), adjust), middle)
    elif how == "pytorch_half_pixel":
        middle = part("Where", part("Greater", size, 1), middle, _number(0.0))
    base = part("Floor", middle)
    return cast_to(base, i64), part("Sub", middle, base)


def _ratio(how: str, place: Value, have: Value, size: Value) -> tuple[Value, Value]:
    """The positions as ratios of whole numbers, where the sizes decide them."""
    if how == "align_corners":
        above, below = part("Mul", place, part("Sub", have, 1)), part("Max", [part("Sub", size, 1), 1])
    elif how == "asymmetric":
        above, below = part("Mul", place, have), part("Max", [size, 1])
    else:
        above = part("Sub", part("Mul", part("Add", part("Mul", place, 2), 1), have), size)
        below = part("Max", [part("Mul", size, 2), 1])
        above = part("Where", part("Greater", size, 1), above, 0) if how == "pytorch_half_pixel" else above
    base = part("Sub", part("Div", part("Add", above, below), below), 1)  # no position is below -1
    rest = part("Sub", above, part("Mul", base, below))
    return base, part("Div", cast_to(rest, f32), cast_to(below, f32))


def _rounds_up(mode: str, rest: Value) -> Value:
    """1 where the nearest element is the one above."""
    if mode == "floor":
        return part("Mul", cast_to(rest, i64), 0)
    if mode == "ceil":
        return cast_to(part("Greater", rest, _number(0.0)), i64)
    compare = "Greater" if mode == "round_prefer_floor" else "GreaterOrEqual"
    return cast_to(part(compare, rest, _number(0.5)), i64)


def _linear(rest: Value) -> list[Value]:
    return [part("Sub", _number(1.0), rest), rest]


def _cubic(rest: Value, a: float) -> list[Value]:
    """The weights of the four elements around a position (R. Keys, Cubic convolution interpolation, 1981)."""
    def polynomial(t: Value, *coefficients: float) -> Value:
        total = _number(coefficients[0])
        for c in coefficients[1:]:
            total = part("Add", part("Mul", total, t), _number(c))
        return total
    other = part("Sub", _number(1.0), rest)
    far, near = (a, -5 * a, 8 * a, -4 * a), (a + 2, -(a + 3), 0.0, 1.0)
    one = _number(1.0)
    return [polynomial(part("Add", rest, one), *far), polynomial(rest, *near), polynomial(other, *near),
            polynomial(part("Add", other, one), *far)]


def _stored(y: Value, x: Value) -> Value:
    """The result in the type of x: integers rounded half to even and saturated."""
    if y.dtype is x.dtype or x.dtype.is_float:
        return cast_to(y, x.dtype)
    low, high = (constant(np.array(float(b), y.dtype.numpy)) for b in (x.dtype.low, x.dtype.high))
    return cast_to(part("Clip", part("Round", y), low, high), x.dtype)
