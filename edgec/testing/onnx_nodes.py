"""Drawn operands and attributes of ONNX's own operators, for nodes.py: a function for each kind of operand.

    ONNX["Col2Im"](Draw(Random(3)))      # {"arrays": ..., "attributes": ...}: the fields of a Node
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from edgec.onnx.tensor import CODE_OF_DTYPE
from edgec.testing.draw import Array, Draw, Made
from edgec.types import dtype_of

# --------------------------------------------------------------------------------------------------------------- elementwise

def _unary(low: float, high: float, half: bool = False) -> Callable[[Draw], Made]:
    def draw(d: Draw) -> Made:
        x = d.uniform(low, high, *d.shape())
        return {"arrays": (np.round(2 * x) / np.float32(2) if half and d.pick(True, False) else x,)}
    return draw


def _special(d: Draw) -> Array:
    return d.numbers.choice(np.float32([np.nan, np.inf, -np.inf, 0, -0.0, 1, -2]), d.shape(1))


def _is_inf(d: Draw) -> Made:
    return {"arrays": (_special(d),), "attributes": {"detect_negative": d.integer(0, 1), "detect_positive": d.integer(0, 1)}}


INTEGERS = (np.uint8, np.int8, np.uint16, np.int16, np.uint32, np.int32, np.int64)


def _bits(d: Draw) -> Made:
    """Two operands, one of them perhaps broadcast."""
    shape, dtype = d.shape(), d.pick(*INTEGERS)
    low, high = max(np.iinfo(dtype).min, -2**40), min(np.iinfo(dtype).max, 2**40)
    other = tuple(d.pick(1, n) for n in shape)[d.integer(0, len(shape)):]
    return {"arrays": (d.whole(low, high, *shape, dtype=dtype), d.whole(low, high, *other, dtype=dtype))}


def _one_of_bits(d: Draw) -> Made:
    return {"arrays": _bits(d)["arrays"][:1]}


def _shift(d: Draw) -> Made:
    shape, dtype = d.shape(), d.pick(np.uint8, np.uint32, np.uint64)
    bits = np.iinfo(dtype).bits
    return {"arrays": (d.whole(0, 255, *shape, dtype=dtype), d.whole(0, bits - 1, *shape, dtype=dtype)),
            "attributes": {"direction": d.pick("LEFT", "RIGHT")}}


def _bit_cast(d: Draw) -> Made:
    source, target = d.pick((np.float32, np.int32), (np.int64, np.float64), (np.float16, np.uint16), (np.uint8, np.int8))
    x = d.whole(-9 if source is not np.uint8 else 0, 9, *d.shape()).astype(source)
    return {"arrays": (x,), "attributes": {"to": CODE_OF_DTYPE[dtype_of(np.dtype(target))]}, "oracle": False}


def _cast_like(d: Draw) -> Made:
    x = d.uniform(-100, 100, *d.shape()).astype(d.pick(np.float32, np.float64, np.int32, np.int8))
    return {"arrays": (x, np.zeros(1, d.pick(np.float32, np.int32, np.int64, np.float16)))}


def _dropout(d: Draw) -> Made:
    return {"arrays": (d.normal(*d.shape()), d.uniform(0, 0.9), np.array(False)), "constants": (1, 2)}


# -------------------------------------------------------------------------------------------------- shapes, tables, sums

def _filled(d: Draw) -> Made:
    value = d.pick(None, d.whole(-5, 5, 1), d.normal(1))
    return {"arrays": (np.array(d.shape(1)),), "constants": (0,), "attributes": {"value": value} if value is not None else {}}


def _diagonal(d: Draw) -> Made:
    return {"arrays": (d.normal(d.integer(1, 6), d.integer(1, 6)),),
            "attributes": {"k": d.integer(-3, 3), **d.pick({}, {"dtype": 7})}}


def _shape(d: Draw) -> Made:
    return {"arrays": (d.normal(*d.shape()),), "attributes": {"start": d.integer(-3, 3), **d.pick({}, {"end": d.integer(-3, 3)})}}


def _product_so_far(d: Draw) -> Made:
    shape = d.shape(1, 3)
    return {"arrays": (d.whole(-2, 2, *shape).astype(np.float32), np.array(d.integer(-len(shape), len(shape) - 1))), "constants": (1,),
            "attributes": {"exclusive": d.integer(0, 1), "reverse": d.integer(0, 1)}, "oracle": False}


# --------------------------------------------------------------------------------------------------- windows and regions

def _columns(d: Draw) -> Made:
    image, block = (d.integer(4, 7), d.integer(4, 7)), (d.integer(1, 3), d.integer(1, 3))
    strides, pads = (d.integer(1, 2), d.integer(1, 2)), tuple(d.integer(0, 1) for _ in range(4))
    counts = [(n + pads[k] + pads[k + 2] - block[k]) // strides[k] + 1 for k, n in enumerate(image)]
    x = d.normal(d.integer(1, 2), d.integer(1, 3) * block[0] * block[1], counts[0] * counts[1])
    return {"arrays": (x, np.array(image), np.array(block)),
            "constants": (1, 2), "attributes": {"strides": strides, "pads": pads}, "roundings": 16, "magnitude": 20.0}


def _deformed(d: Draw) -> Made:
    group, k, side = d.integer(1, 2), d.integer(1, 3), d.integer(3, 6)
    channels, moved = 2 * group, d.integer(1, 2)
    out = side + 2 - k + 1
    arrays = (d.normal(1, channels, side, side), d.normal(2 * group, 2, k, k), d.normal(1, 2 * moved * k * k, out, out),
              d.normal(2 * group), d.pick(None, d.uniform(0, 1, 1, moved * k * k, out, out)))
    return {"arrays": arrays, "attributes": {"kernel_shape": (k, k), "pads": (1,) * 4, "group": group, "offset_group": moved},
            "roundings": 72, "magnitude": 64.0}


def _determinant(d: Draw) -> Made:
    n = d.integer(1, 4)
    return {"arrays": (d.normal(*d.shape(0, 2), n, n),), "roundings": 40, "magnitude": 30.0}


def _regions(d: Draw) -> Made:
    count, mode = d.integer(1, 4), d.pick("avg", "max")
    corners = np.sort(d.uniform(-2, 10, count, 2, 2), axis=1).reshape(count, 4)
    attributes = {"output_height": d.integer(1, 3), "output_width": d.integer(1, 3), "sampling_ratio": d.integer(1, 3), "mode": mode,
                  "coordinate_transformation_mode": d.pick("half_pixel", "output_half_pixel"), "spatial_scale": d.pick(0.5, 1.0)}
    return {"arrays": (d.normal(2, 2, 7, 8), corners, d.whole(0, 1, count)), "attributes": attributes, "oracle": mode == "avg", "opset": 16,
            "roundings": 72, "magnitude": 16.0}


def _grid(d: Draw) -> Made:
    x, grid = d.normal(2, d.integer(1, 3), d.integer(2, 5), d.integer(2, 5)), d.uniform(-1.4, 1.4, 2, d.integer(1, 4), 3, 2)
    attributes = {"mode": d.pick("linear", "nearest", "cubic"), "padding_mode": d.pick("zeros", "border", "reflection"),
                  "align_corners": d.integer(0, 1)}
    return {"arrays": (x, grid), "attributes": attributes, "roundings": 256, "magnitude": 16.0, "opset": 20}


def _unpooled(d: Draw) -> Made:
    rows, columns = d.integer(1, 3), d.integer(1, 3)
    windows = d.whole(0, 1, 1, 2, rows, columns, 2)
    at = (2 * np.arange(rows)[:, None] + windows[..., 0]) * 2 * columns + 2 * np.arange(columns) + windows[..., 1]
    at = at + np.arange(2).reshape(1, 2, 1, 1) * 4 * rows * columns
    return {"arrays": (d.normal(1, 2, rows, columns), at), "attributes": {"kernel_shape": (2, 2), "strides": (2, 2)}}


# ------------------------------------------------------------------------------------------------------------------ spectra

def _spectrum(d: Draw) -> Made:
    parts, inverse = d.integer(1, 2), d.integer(0, 1)
    attributes = {"inverse": inverse if parts == 2 else 0, "onesided": 0 if inverse or parts == 2 else d.integer(0, 1)}
    length = d.pick(None, np.array(d.integer(3, 12)))
    return {"arrays": (d.normal(2, d.integer(3, 10), parts), length, np.array(1)), "constants": (1, 2), "attributes": attributes,
            "oracle": False, "roundings": 40, "magnitude": 40.0}


def _frames(d: Draw) -> Made:
    size = d.pick(4, 8, 16)
    window = d.pick(None, np.hanning(size).astype(np.float32))
    return {"arrays": (d.normal(1, size + d.integer(0, 20), 1), np.array(d.integer(1, 6)), window, np.array(size)), "constants": (1, 3),
            "roundings": 40, "magnitude": 64.0, "opset": 17}


def _mel(d: Draw) -> Made:
    numbers = (np.array(d.integer(2, 8)), np.array(d.pick(16, 32)), np.array(8000), d.uniform(0, 100), d.uniform(3000, 4000))
    return {"arrays": numbers, "constants": range(5), "opset": 17}


# ---------------------------------------------------------------------------------------------------- choosing and storing

def _compressed(d: Draw) -> Made:
    shape = d.shape(1, 3)
    axis = d.pick(None, *range(-len(shape), len(shape)))
    size = int(np.prod(shape)) if axis is None else shape[axis]
    return {"arrays": (d.normal(*shape), d.bools(size)), "constants": (1,), "attributes": {} if axis is None else {"axis": axis}}


def _non_zero(d: Draw) -> Made:
    return {"arrays": (d.whole(-1, 1, *d.shape(1, 3)).astype(d.pick(np.float32, np.int64, bool)),), "known": True}


def _largest(d: Draw) -> Made:
    shape = d.shape(1, 3)
    axis = d.integer(-len(shape), len(shape) - 1)
    x = d.whole(0, 5, *shape).astype(d.pick(np.float32, np.int64))
    number = np.array([d.integer(1, shape[axis])])
    return {"arrays": (x, number), "constants": (1,), "attributes": {"axis": axis, "largest": d.integer(0, 1)}}


REDUCTIONS = ("none", "add", "mul", "min", "max")


def _scattered(d: Draw) -> Made:
    shape = tuple(n + 1 for n in d.shape(1, 3))
    axis, reduction = d.integer(0, len(shape) - 1), d.pick(*REDUCTIONS)
    part = tuple(d.integer(1, n) for n in shape)
    places = np.argsort(d.uniform(0, 1, *part[:axis], shape[axis], *part[axis + 1:]), axis=axis)  # each once a line
    places = places.take(range(part[axis]), axis) - shape[axis] * d.whole(0, 1, *part)
    return {"arrays": (d.normal(*shape), places, d.normal(*part)), "attributes": {"axis": axis, "reduction": reduction}, "opset": 18}


def _scattered_slices(d: Draw) -> Made:
    shape = tuple(n + 1 for n in d.shape(2, 3))
    count = d.integer(1, min(3, shape[0]))
    places = np.stack([d.numbers.permutation(shape[0])[:count], d.whole(0, shape[1] - 1, count)], axis=1)
    return {"arrays": (d.normal(*shape), places, d.normal(count, *shape[2:])), "attributes": {"reduction": d.pick(*REDUCTIONS)},
            "opset": 18}


def _cached(d: Draw) -> Made:
    mode, length = d.pick("linear", "circular"), d.integer(3, 6)
    new = d.integer(1, length)
    starts = d.whole(0, length - new if mode == "linear" else length - 1, 2)
    return {"arrays": (d.normal(2, 2, length, 3), d.normal(2, 2, new, 3), starts), "attributes": {"mode": mode}, "oracle": False}


def _suppressed(d: Draw) -> Made:
    batch, classes, count = d.integer(1, 2), d.integer(1, 3), d.integer(1, 8)
    boxes = np.sort(d.uniform(0, 1, batch, count, 2, 2), axis=2).reshape(batch, count, 4)
    limits = (np.array([d.integer(1, 4)]), d.uniform(0.2, 0.6, 1), *d.pick((), (d.uniform(0.1, 0.6, 1),)))
    return {"arrays": (boxes, d.uniform(0, 1, batch, classes, count), *limits), "attributes": {"center_point_box": d.integer(0, 1)},
            "known": True}


# ------------------------------------------------------------------------------------------------------------ random numbers

def _random_shape(d: Draw) -> Made:
    return {"arrays": (), "attributes": {"shape": d.shape(1), "seed": float(d.integer(0, 99))}, "oracle": False}


def _random_like(d: Draw) -> Made:
    return {"arrays": (d.normal(*d.shape(1)),), "attributes": {"seed": float(d.integer(0, 99))}, "oracle": False}


def _classes(d: Draw) -> Made:
    return {"arrays": (d.normal(d.integer(1, 4), d.integer(1, 5)),),
            "attributes": {"sample_size": d.integer(1, 5), "seed": float(d.integer(0, 99))}, "oracle": False}


EDGES = {"Acos": (-1, 1), "Acosh": (1, 1e3), "Asin": (-1, 1), "Asinh": (-1e3, 1e3), "Atanh": (-0.999, 0.999), "Cosh": (-9, 9),
         "Exp": (-9, 9), "Log": (1e-6, 1e6), "Sinh": (-9, 9), "Tan": (-1.5, 1.5), "Reciprocal": (0.1, 9), "Sign": (-1, 1), "Sqrt": (0, 1e4),
         "Identity": (-9, 9), "Size": (0, 1)}
ONNX: dict[str, Callable[[Draw], Made]] = {
    **{name: _unary(*edges) for name, edges in EDGES.items()}, **{name: _unary(-50, 50, half=True) for name in ("Ceil", "Floor", "Round")},
    "IsInf": _is_inf, "IsNaN": lambda d: {"arrays": (_special(d),)}, "Not": lambda d: {"arrays": (d.bools(*d.shape()),)},
    "BitwiseAnd": _bits, "BitwiseOr": _bits, "BitwiseXor": _bits, "BitwiseNot": _one_of_bits, "BitShift": _shift, "BitCast": _bit_cast,
    "CastLike": _cast_like, "Dropout": _dropout, "ConstantOfShape": _filled, "EyeLike": _diagonal, "Shape": _shape,
    "CumProd": _product_so_far, "Col2Im": _columns, "DeformConv": _deformed, "Det": _determinant, "RoiAlign": _regions, "GridSample": _grid,
    "MaxUnpool": _unpooled, "DFT": _spectrum, "STFT": _frames, "MelWeightMatrix": _mel, "Compress": _compressed, "NonZero": _non_zero,
    "TopK": _largest, "ScatterElements": _scattered, "ScatterND": _scattered_slices, "TensorScatter": _cached,
    "NonMaxSuppression": _suppressed, "RandomNormal": _random_shape, "RandomUniform": _random_shape, "RandomNormalLike": _random_like,
    "RandomUniformLike": _random_like, "Multinomial": _classes,
}
