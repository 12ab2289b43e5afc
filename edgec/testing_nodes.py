"""Drawn operands and attributes of single operators, for tests that hold each operator against onnxruntime and its own compilation.

    node = drawn_node(Random(3), "", "Col2Im")      # its arrays, attributes, and how exactly results must agree
    op = node.operator()                             # on inputs of these types; constants hold their arrays
    drawn_node(Random(3), "edgec", "Lookup").oracle  # False: onnxruntime has no such operator

DRAWN has a function for each operator here; operators that random graphs or a family's own tests draw need none
(tests/ops/test_every_operator.py says which).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

import numpy as np

from edgec.graph import Op, constant, fields_of, graph_input
from edgec.onnx_tensor import CODE_OF_DTYPE
from edgec.ops import OPERATORS
from edgec.types import TensorType, dtype_of, f16, i8, i16, i64

Array = np.ndarray


@dataclass(frozen=True)
class Node:
    """One operator: arrays of its operands (None: absent; those numbered `constants` are known), attributes, and how it is judged.

    Results may differ by `roundings` units of numbers of the size `magnitude` (without it: of the largest result, at least 1).
    `oracle` says whether onnxruntime has the operator in this form; `known`, that the size of a result depends on the numbers.
    """

    domain: str
    name: str
    arrays: tuple[Array | None, ...]
    attributes: Mapping[str, Any] = field(default_factory=dict)
    constants: Sequence[int] = ()
    oracle: bool = True
    known: bool = False
    roundings: int = 8
    magnitude: float = 0.0
    opset: int = 22

    def operator(self) -> Op:
        """The operator on fresh inputs of the arrays' types."""
        cls = OPERATORS[self.domain, self.name]
        fields = [f for f in fields_of(cls) if f.kind != "attribute"]
        values: list[Any] = [None if a is None else self._value(n, a) for n, a in enumerate(self.arrays)]
        for n, operand in enumerate(fields):
            if operand.kind == "variadic":
                values[n:] = [tuple(values[n:])]
        return cls(**dict(zip((f.name for f in fields), values)), **self.attributes)

    def _value(self, number: int, array: Array) -> Any:
        if number in self.constants:
            return constant(array)
        return graph_input(f"x{number}", TensorType(dtype_of(array.dtype), array.shape), known=array if self.known else None)


class Draw:
    """Numbers, shapes and choices from one random generator."""

    def __init__(self, random: Random):
        self.random, self.numbers = random, np.random.default_rng(random.getrandbits(32))

    def pick(self, *options: Any) -> Any:
        return self.random.choice(options)

    def integer(self, low: int, high: int) -> int:
        return self.random.randint(low, high)

    def shape(self, least: int = 0, most: int = 4) -> tuple[int, ...]:
        return tuple(self.integer(1, 5) for _ in range(self.integer(least, most)))

    def normal(self, *shape: int) -> Array:
        return self.numbers.standard_normal(shape).astype(np.float32)

    def uniform(self, low: float, high: float, *shape: int) -> Array:
        return np.asarray(self.numbers.uniform(low, high, shape), np.float32)

    def whole(self, low: int, high: int, *shape: int, dtype: Any = np.int64) -> Array:
        return np.asarray(self.numbers.integers(low, high, shape, endpoint=True), dtype)

    def bools(self, *shape: int) -> Array:
        return np.asarray(self.numbers.integers(0, 2, shape), bool)


def drawn_node(random: Random, domain: str, name: str) -> Node:
    """An operator of DRAWN with operands and attributes from the generator."""
    made = DRAWN[domain, name](Draw(random))
    return Node(domain, name, **made)


Made = dict[str, Any]  # the fields of a Node after its name


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


def _binarizer(d: Draw) -> Made:
    return {"arrays": (np.round(d.normal(*d.shape(1, 2))),), "attributes": {"threshold": float(d.integer(-1, 1))}}


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
    return {"arrays": (d.normal(d.integer(1, 2), d.integer(1, 3) * block[0] * block[1], counts[0] * counts[1]), np.array(image), np.array(block)),
            "constants": (1, 2), "attributes": {"strides": strides, "pads": pads}, "roundings": 16, "magnitude": 20.0}


def _deformed(d: Draw) -> Made:
    group, k, side = d.integer(1, 2), d.integer(1, 3), d.integer(3, 6)
    channels, moved = 2 * group, d.integer(1, 2)
    out = side + 2 - k + 1
    arrays = (d.normal(1, channels, side, side), d.normal(2 * group, 2, k, k), d.normal(1, 2 * moved * k * k, out, out), d.normal(2 * group),
              d.pick(None, d.uniform(0, 1, 1, moved * k * k, out, out)))
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


def _integer_mean(d: Draw) -> Made:
    dtype, pads = d.pick(np.int8, np.uint8, np.int16), d.integer(0, 1)
    info = np.iinfo(dtype)
    attributes = {"kernel_shape": (2, d.integer(2, 3)), "strides": (d.integer(1, 2), 1), "pads": (pads,) * 4}
    return {"arrays": (d.whole(info.min, info.max, 1, d.integer(1, 3), 4, 5, dtype=dtype),), "attributes": attributes, "oracle": False}


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
    return {"arrays": (x, np.array([d.integer(1, shape[axis])])), "constants": (1,), "attributes": {"axis": axis, "largest": d.integer(0, 1)}}


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
    return {"arrays": (d.normal(*shape), places, d.normal(count, *shape[2:])), "attributes": {"reduction": d.pick(*REDUCTIONS)}, "opset": 18}


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


def _rank_of_rows(d: Draw) -> Made:
    rows = d.whole(0, 1, d.integer(1, 6), 2)
    group = np.array([int(np.flatnonzero((rows == row).all(1))[0]) for row in rows])
    return {"arrays": (rows.astype(np.float32), group), "oracle": False}


def _first_equal(d: Draw) -> Made:
    return {"arrays": (d.whole(0, 1, d.integer(1, 6), 2).astype(np.float32),), "oracle": False}


def _occurrences(d: Draw) -> Made:
    return {"arrays": (d.whole(0, 3, d.integer(1, 9)),), "attributes": {"number": 4}, "oracle": False}


def _own_place(d: Draw) -> Made:
    return {"arrays": (d.whole(0, 2, d.integer(1, 6)),), "oracle": False}


def _prefix(d: Draw) -> Made:
    shape = d.shape(1, 3)
    axis = d.integer(0, len(shape) - 1)
    return {"arrays": (d.normal(*shape), np.array([d.integer(0, shape[axis])])), "constants": (1,), "attributes": {"axis": axis}, "oracle": False}


def _sizes(d: Draw) -> Made:
    return {"arrays": (d.whole(0, 5, 2),), "attributes": {"low": (0, 0), "high": (5, 7), "stem": "drawn"}, "oracle": False}


# ------------------------------------------------------------------------------------------------------ classical learning

TRANSFORMS = ("NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO")


def _numbers(d: Draw, count: int) -> list[float]:
    return d.normal(count).tolist()


def _extracted(d: Draw) -> Made:
    shape = d.shape(1, 2)
    return {"arrays": (d.normal(*shape), d.whole(0, shape[-1] - 1, 1, d.integer(1, 4))), "constants": (1,), "oracle": len(shape) > 1}


def _joined_features(d: Draw) -> Made:
    rows, sizes = d.integer(1, 4), [d.integer(1, 3) for _ in range(d.integer(1, 3))]
    return {"arrays": tuple(d.normal(rows, n) for n in sizes), "attributes": {"inputdimensions": sizes}}


def _imputed(d: Draw) -> Made:
    rows, columns = d.integer(1, 4), d.integer(1, 4)
    if d.pick(True, False):
        x = d.whole(-1, 3, rows, columns)
        return {"arrays": (x,), "attributes": {"imputed_value_int64s": [7], "replaced_value_int64": -1}}
    x = np.where(d.bools(rows, columns), d.normal(rows, columns), np.float32(np.nan))
    return {"arrays": (x,), "attributes": {"imputed_value_floats": _numbers(d, columns), "replaced_value_float": float("nan")}}


def _scaled_features(d: Draw) -> Made:
    columns = d.integer(1, 4)
    given = d.pick(1, columns)
    return {"arrays": (d.normal(d.integer(1, 4), columns),), "attributes": {"offset": _numbers(d, given), "scale": _numbers(d, given)}}


def _normal_rows(d: Draw) -> Made:
    return {"arrays": (np.abs(d.normal(d.integer(1, 4), d.integer(1, 5))) + np.float32(0.1),), "attributes": {"norm": d.pick("MAX", "L1", "L2")}}


def _linear_classes(d: Draw) -> Made:
    classes, columns = d.integer(3, 5), d.integer(1, 4)
    attributes = {"coefficients": _numbers(d, classes * columns), "intercepts": _numbers(d, classes), "post_transform": d.pick(*TRANSFORMS),
                  "classlabels_ints": d.random.sample(range(-9, 9), classes), "multi_class": 1}
    return {"arrays": (d.normal(d.integer(1, 5), columns),), "attributes": attributes, "roundings": 256}


def _linear_numbers(d: Draw) -> Made:
    targets, columns = d.integer(2, 3), d.integer(1, 4)
    attributes = {"coefficients": _numbers(d, targets * columns), "intercepts": _numbers(d, targets), "targets": targets,
                  "post_transform": d.pick(*TRANSFORMS)}
    return {"arrays": (d.normal(d.integer(1, 5), columns),), "attributes": attributes, "roundings": 256}


def _support(d: Draw) -> Made:
    vectors, columns = d.integer(1, 4), d.integer(1, 4)
    attributes = {"kernel_type": d.pick("LINEAR", "POLY", "RBF", "SIGMOID"), "kernel_params": [0.5, 0.25, 2.0], "n_supports": vectors,
                  "support_vectors": _numbers(d, vectors * columns), "coefficients": _numbers(d, vectors), "rho": [0.125],
                  "one_class": 0}
    return {"arrays": (d.normal(d.integer(1, 5), columns),), "attributes": attributes, "roundings": 2048}


def _forest(d: Draw) -> Made:
    """A root with a leaf on one side, and a node with two leaves on the other."""
    attributes = {"nodes_featureids": d.random.choices(range(3), k=2), "nodes_truenodeids": [1, 0], "nodes_falsenodeids": [1, 1],
                  "nodes_trueleafs": [0, 1], "nodes_falseleafs": [1, 1], "tree_roots": [0], "leaf_targetids": d.random.choices(range(2), k=2),
                  "n_targets": 2, "leaf_weights": d.normal(2), "nodes_splits": np.float32([d.integer(-1, 1), d.integer(-1, 1)]),
                  "nodes_modes": np.array([d.integer(0, 5), d.integer(0, 5)], np.uint8)}
    return {"arrays": (np.round(d.normal(d.integer(1, 6), 3)),), "attributes": attributes}


# ----------------------------------------------------------------------------------------------- random numbers and training

def _random_shape(d: Draw) -> Made:
    return {"arrays": (), "attributes": {"shape": d.shape(1), "seed": float(d.integer(0, 99))}, "oracle": False}


def _random_like(d: Draw) -> Made:
    return {"arrays": (d.normal(*d.shape(1)),), "attributes": {"seed": float(d.integer(0, 99))}, "oracle": False}


def _classes(d: Draw) -> Made:
    return {"arrays": (d.normal(d.integer(1, 4), d.integer(1, 5)),),
            "attributes": {"sample_size": d.integer(1, 5), "seed": float(d.integer(0, 99))}, "oracle": False}


def _step(groups: int, **attributes: Any) -> Callable[[Draw], Made]:
    def draw(d: Draw) -> Made:
        shapes = [d.shape(1, 2) for _ in range(d.integer(1, 2))] * groups
        tensors = [np.abs(d.normal(*s)) for s in shapes]
        return {"arrays": (d.uniform(0.01, 0.2), np.array(d.integer(0, 3)), *tensors), "attributes": attributes, "oracle": False, "roundings": 64}
    return draw


# --------------------------------------------------------------------------------------------------- quantized, small types

def _product_of_nibbles(d: Draw) -> Made:
    rows, blocks, block = d.integer(1, 5), d.integer(1, 3), 16
    size = blocks * block
    arrays = (d.normal(d.integer(1, 3), size), d.whole(0, 255, rows, blocks, block // 2, dtype=np.uint8), d.uniform(0.01, 0.1, rows * blocks))
    return {"arrays": arrays, "constants": (1, 2), "attributes": {"K": size, "N": rows, "bits": 4, "block_size": block}, "roundings": 2 * size,
            "magnitude": 40.0}


def _quantized_attention(d: Draw) -> Made:
    positions, width, heads = d.integer(1, 6), d.integer(1, 9), d.integer(1, 3)
    hidden = 8 * heads
    arrays = (d.whole(0, 255, 2, positions, width, dtype=np.uint8), d.whole(-127, 127, width, 3 * hidden, dtype=np.int8), d.normal(3 * hidden),
              np.float32(0.01), np.float32(0.005), None, np.array(d.integer(0, 255), np.uint8), np.array(0, np.int8))
    return {"arrays": arrays, "constants": range(1, 8), "attributes": {"num_heads": heads, "unidirectional": d.integer(0, 1)}, "roundings": 256,
            "magnitude": 8.0}


def _quantized_lstm(d: Draw) -> Made:
    """Exact functions only: others may round the state to another quantum."""
    steps, inputs, hidden = d.integer(1, 4), d.integer(1, 6), d.integer(1, 9)
    rows = 4 * hidden
    arrays = (d.normal(steps, 1, inputs), d.whole(-128, 127, 1, inputs, rows, dtype=np.int8), d.whole(-128, 127, 1, hidden, rows, dtype=np.int8),
              d.normal(1, 2 * rows), None, None, None, None, d.uniform(0.001, 0.004, 1), np.zeros(1, np.int8), d.uniform(0.001, 0.004, 1),
              np.zeros(1, np.int8))
    attributes = {"hidden_size": hidden, "activations": ("Relu", "Affine", "Affine"), "activation_alpha": [0.5] * 2, "activation_beta": [0.25] * 2,
                  "outputs": 3}
    return {"arrays": arrays, "constants": (1, 2, *range(8, 12)), "attributes": attributes, "oracle": False}


def _looked_up(d: Draw) -> Made:
    return {"arrays": (d.whole(-128, 127, *d.shape(), dtype=np.int8), d.normal(256)), "constants": (1,), "oracle": False}


def _reciprocal_of_sum(d: Draw) -> Made:
    return {"arrays": (d.whole(1 << 19, 2**31 - 1, *d.shape(1), dtype=np.int32),), "oracle": False}


def _share(d: Draw) -> Made:
    shape = d.shape(1)
    arrays = (d.whole(0, 2**31 - 1, *shape, dtype=np.int32), d.whole(2**30, 2**31 - 1, *shape, dtype=np.int32), d.whole(0, 7, *shape, dtype=np.int32))
    return {"arrays": arrays, "attributes": {"to": CODE_OF_DTYPE[d.pick(i8, i16)]}, "oracle": False}


def _scaled(d: Draw) -> Made:
    x = d.whole(-100, 100, *d.shape(2)).astype(np.float32)
    arrays = (x, np.float32(d.pick(0.5, 0.01, 3.0))) if d.pick(True, False) else (x, d.uniform(0.1, 2, x.shape[1]))
    return {"arrays": arrays, "constants": (1,), "oracle": False}


def _scaled_result(d: Draw) -> Made:
    made = _scaled(d)
    return {**made, "attributes": {"output_dtype": CODE_OF_DTYPE[f16]} if d.pick(True, False) else {"output_dtype": 1}}


def _rounded_away(d: Draw) -> Made:
    x = d.whole(-300, 300, *d.shape()).astype(np.float32) / np.float32(2)
    return {"arrays": (x,), "attributes": {"scale": d.pick(1.0, 0.5, 0.3), "zero": d.integer(-9, 9)}, "oracle": False}


def _decoded(d: Draw) -> Made:
    return {"arrays": (d.whole(0, 255, *d.shape(), dtype=np.uint8),), "attributes": {"bits": d.pick(2, 4), "signed": d.integer(0, 1)},
            "oracle": False}


def _encoded(d: Draw) -> Made:
    return {"arrays": (d.whole(-300, 300, *d.shape(), dtype=np.int32),), "attributes": {"bits": d.pick(2, 4)}, "oracle": False}


def _encoded_float(d: Draw) -> Made:
    return {"arrays": (d.normal(*d.shape()) * np.float32(d.pick(0.01, 1.0, 100.0)),),
            "attributes": {"format": d.pick("f8e4m3fn", "f8e5m2", "f4e2m1"), "saturate": d.integer(0, 1)}, "oracle": False}


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
LEARNING: dict[str, Callable[[Draw], Made]] = {
    "Binarizer": _binarizer, "ArrayFeatureExtractor": _extracted, "FeatureVectorizer": _joined_features, "Imputer": _imputed,
    "Scaler": _scaled_features, "Normalizer": _normal_rows, "LinearClassifier": _linear_classes, "LinearRegressor": _linear_numbers,
    "SVMRegressor": _support, "TreeEnsemble": _forest,
}
OWN: dict[str, Callable[[Draw], Made]] = {
    "Lookup": _looked_up, "FixedReciprocal": _reciprocal_of_sum, "FixedShare": _share, "Ratio": _scaled, "Product": _scaled_result,
    "RoundAway": _rounded_away, "DecodeInteger": _decoded, "EncodeInteger": _encoded, "EncodeFloat": _encoded_float,
    "IntegerAveragePool": _integer_mean, "Prefix": _prefix, "Sizes": _sizes, "FirstEqual": _first_equal, "RowRank": _rank_of_rows,
    "Occurrences": _occurrences, "SameAsPlace": _own_place,
}
DRAWN: dict[tuple[str, str], Callable[[Draw], Made]] = {
    **{("", name): draw for name, draw in ONNX.items()}, **{("ai.onnx.ml", name): draw for name, draw in LEARNING.items()},
    **{("edgec", name): draw for name, draw in OWN.items()},
    ("ai.onnx.preview.training", "Adagrad"): _step(3, decay_factor=0.1, norm_coefficient=0.01),
    ("ai.onnx.preview.training", "Adam"): _step(4, norm_coefficient=0.01, norm_coefficient_post=0.02),
    ("ai.onnx.preview.training", "Momentum"): _step(3, alpha=0.9, beta=0.5, mode="nesterov", norm_coefficient=0.01),
    ("com.microsoft", "MatMulNBits"): _product_of_nibbles, ("com.microsoft", "QAttention"): _quantized_attention,
    ("com.microsoft", "DynamicQuantizeLSTM"): _quantized_lstm,
}
