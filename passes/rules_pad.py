"""Rules of simplify: a Pad in front of a window becomes the window's own padding.

    conv(pad(x, zeros))  ->  conv(x) pads=...
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edgec.errors import CompileError
from edgec.graph import Op, Value
from edgec.ops.activation import HardSigmoid, Relu, Sigmoid
from edgec.ops.arithmetic import Clip
from edgec.ops.convolution import Conv
from edgec.ops.pooling import AveragePool, MaxPool
from edgec.ops.slicing import Pad
from edgec.rewrite import rule


def spatial_border(value: Value, fill: Any) -> tuple[Value, list[int], list[int]] | None:
    """(x, elements before, elements after by spatial axis) where `value` is x padded with a constant `fill` on spatial axes only."""
    pad = value.op
    if not isinstance(pad, Pad) or pad.mode != "constant" or not _fills_with(pad, fill):
        return None
    borders = pad.borders
    spatial = range(2, len(pad.data.shape))
    outside = [b for axis, b in borders.items() if axis not in spatial]
    sizes = [borders.get(axis, (0, 0)) for axis in spatial]
    if any(b != (0, 0) for b in outside) or not all(isinstance(s, int) and s >= 0 for b in sizes for s in b):
        return None
    return pad.data, [b for b, _ in sizes], [a for _, a in sizes]


def _fills_with(pad: Pad, fill: Any) -> bool:
    given = pad.constant_value
    return fill == 0 if given is None else given.is_constant and bool(np.all(given.array == fill))


def own_pads(op: Op) -> tuple[int, ...] | None:
    """The explicit padding of a window operator (all before, then all after); None where it follows from the input size."""
    rank = len(op.x.shape) - 2
    if op.auto_pad not in ("NOTSET", "VALID"):
        return None
    return (0,) * (2 * rank) if op.auto_pad == "VALID" or not op.pads else tuple(op.pads)


def widened(op: Op, fill: Any, **changes: Any) -> Value | None:
    """The window operator on the unpadded tensor, the border added to its own padding."""
    found, pads = spatial_border(op.x, fill), own_pads(op)
    if found is None or pads is None:
        return None
    x, before, after = found
    kept = {name: getattr(op, name) for name in op.attributes}
    operands = {"w": op.w, "b": op.b} if isinstance(op, Conv) else {}
    summed = tuple(p + q for p, q in zip(pads, (*before, *after)))
    try:
        return type(op)(x=x, **operands, **{**kept, "auto_pad": "NOTSET", "pads": summed, **changes}).output
    except CompileError:  # some windows may not be padded by more than their extent
        return None


@rule
def pad_into_conv(op: Conv):
    """conv(pad(x, zeros))  ->  conv(x) with the border in its pads"""
    return widened(op, 0)


@rule
def pad_into_average_pool(op: AveragePool):
    """averagepool(pad(x, zeros))  ->  averagepool(x) count_include_pad=1 with the border in its pads"""
    counted = op.count_include_pad or not any(own_pads(op) or ())
    return widened(op, 0, count_include_pad=1) if counted and not op.ceil_mode else None


@rule
def pad_into_max_pool(op: MaxPool):
    """maxpool(pad(x, least value))  ->  maxpool(x) with the border in its pads; zeros do as well where nothing in x is negative"""
    if op.outputs > 1 or op.ceil_mode or not isinstance(op.x.op, Pad):
        return None
    found = widened(op, -np.inf if op.x.dtype.is_float else op.x.dtype.low)
    if found is None and _never_negative(op.x.op.data) and not any(d != 1 for d in op.dilations):
        found = widened(op, 0)
        return found if found is not None and _windows_reach_in(found.op) else None
    return found


def _windows_reach_in(op: MaxPool) -> bool:
    """Whether every window holds an element of the input: no border is as wide as the window."""
    return all(pad < size for pad, size in zip(op.pads, op.kernel_shape * 2))


def _never_negative(value: Value) -> bool:
    """Whether no element can be below zero."""
    op = value.op
    if isinstance(op, Clip):
        return op.low is not None and op.low.is_constant and bool(np.all(op.low.array >= 0)) and not _below_zero(op.high)
    return isinstance(op, (Relu, Sigmoid, HardSigmoid))


def _below_zero(bound: Value | None) -> bool:
    """Whether the upper bound of a Clip, which wins over the lower one, may be negative."""
    return bound is not None and not (bound.is_constant and bool(np.all(bound.array >= 0)))


RULES = (pad_into_conv, pad_into_average_pool, pad_into_max_pool)
