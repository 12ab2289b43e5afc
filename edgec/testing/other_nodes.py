"""Drawn operands and attributes of classical learning, training, quantized and edgec's own operators, for nodes.py.

    OWN["Lookup"](Draw(Random(3)))      # {"arrays": ..., "constants": (1,), "oracle": False}: the fields of a Node
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from edgec.onnx.tensor import CODE_OF_DTYPE
from edgec.testing.draw import Draw, Made
from edgec.types import f16, i8, i16

# ------------------------------------------------------------------------------------------------------ classical learning

TRANSFORMS = ("NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO")


def _numbers(d: Draw, count: int) -> list[float]:
    return d.normal(count).tolist()


def _binarizer(d: Draw) -> Made:
    return {"arrays": (np.round(d.normal(*d.shape(1, 2))),), "attributes": {"threshold": float(d.integer(-1, 1))}}


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
    x = np.abs(d.normal(d.integer(1, 4), d.integer(1, 5))) + np.float32(0.1)
    return {"arrays": (x,), "attributes": {"norm": d.pick("MAX", "L1", "L2")}}


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
                  "nodes_trueleafs": [0, 1], "nodes_falseleafs": [1, 1], "tree_roots": [0],
                  "leaf_targetids": d.random.choices(range(2), k=2),
                  "n_targets": 2, "leaf_weights": d.normal(2), "nodes_splits": np.float32([d.integer(-1, 1), d.integer(-1, 1)]),
                  "nodes_modes": np.array([d.integer(0, 5), d.integer(0, 5)], np.uint8)}
    return {"arrays": (np.round(d.normal(d.integer(1, 6), 3)),), "attributes": attributes}


# ------------------------------------------------------------------------------------------------------------------ training

def _step(groups: int, **attributes: Any) -> Callable[[Draw], Made]:
    def draw(d: Draw) -> Made:
        shapes = [d.shape(1, 2) for _ in range(d.integer(1, 2))] * groups
        tensors = [np.abs(d.normal(*s)) for s in shapes]
        return {"arrays": (d.uniform(0.01, 0.2), np.array(d.integer(0, 3)), *tensors), "attributes": attributes, "oracle": False,
                "roundings": 64}
    return draw


# --------------------------------------------------------------------------------------------------- quantized, small types

def _product_of_nibbles(d: Draw) -> Made:
    rows, blocks, block = d.integer(1, 5), d.integer(1, 3), 16
    size = blocks * block
    arrays = (d.normal(d.integer(1, 3), size), d.whole(0, 255, rows, blocks, block // 2, dtype=np.uint8),
              d.uniform(0.01, 0.1, rows * blocks))
    return {"arrays": arrays, "constants": (1, 2), "attributes": {"K": size, "N": rows, "bits": 4, "block_size": block},
            "roundings": 2 * size, "magnitude": 40.0}


def _quantized_attention(d: Draw) -> Made:
    positions, width, heads = d.integer(1, 6), d.integer(1, 9), d.integer(1, 3)
    hidden = 8 * heads
    arrays = (d.whole(0, 255, 2, positions, width, dtype=np.uint8), d.whole(-127, 127, width, 3 * hidden, dtype=np.int8),
              d.normal(3 * hidden), np.float32(0.01), np.float32(0.005), None, np.array(d.integer(0, 255), np.uint8), np.array(0, np.int8))
    return {"arrays": arrays, "constants": range(1, 8), "attributes": {"num_heads": heads, "unidirectional": d.integer(0, 1)},
            "roundings": 256, "magnitude": 8.0}


def _quantized_lstm(d: Draw) -> Made:
    """Exact functions only: others may round the state to another quantum."""
    steps, inputs, hidden = d.integer(1, 4), d.integer(1, 6), d.integer(1, 9)
    rows = 4 * hidden
    weights = [d.whole(-128, 127, 1, size, rows, dtype=np.int8) for size in (inputs, hidden)]
    arrays = (d.normal(steps, 1, inputs), *weights,
              d.normal(1, 2 * rows), None, None, None, None, d.uniform(0.001, 0.004, 1), np.zeros(1, np.int8), d.uniform(0.001, 0.004, 1),
              np.zeros(1, np.int8))
    attributes = {"hidden_size": hidden, "activations": ("Relu", "Affine", "Affine"), "activation_alpha": [0.5] * 2,
                  "activation_beta": [0.25] * 2, "outputs": 3}
    return {"arrays": arrays, "constants": (1, 2, *range(8, 12)), "attributes": attributes, "oracle": False}


def _integer_mean(d: Draw) -> Made:
    dtype, pads = d.pick(np.int8, np.uint8, np.int16), d.integer(0, 1)
    info = np.iinfo(dtype)
    attributes = {"kernel_shape": (2, d.integer(2, 3)), "strides": (d.integer(1, 2), 1), "pads": (pads,) * 4}
    return {"arrays": (d.whole(info.min, info.max, 1, d.integer(1, 3), 4, 5, dtype=dtype),), "attributes": attributes, "oracle": False}


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
    return {"arrays": (d.normal(*shape), np.array([d.integer(0, shape[axis])])), "constants": (1,), "attributes": {"axis": axis},
            "oracle": False}


def _sizes(d: Draw) -> Made:
    return {"arrays": (d.whole(0, 5, 2),), "attributes": {"low": (0, 0), "high": (5, 7), "stem": "drawn"}, "oracle": False}


def _looked_up(d: Draw) -> Made:
    return {"arrays": (d.whole(-128, 127, *d.shape(), dtype=np.int8), d.normal(256)), "constants": (1,), "oracle": False}


def _reciprocal_of_sum(d: Draw) -> Made:
    return {"arrays": (d.whole(1 << 19, 2**31 - 1, *d.shape(1), dtype=np.int32),), "oracle": False}


def _share(d: Draw) -> Made:
    shape = d.shape(1)
    arrays = tuple(d.whole(low, high, *shape, dtype=np.int32) for low, high in ((0, 2**31 - 1), (2**30, 2**31 - 1), (0, 7)))
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


def _bent(d: Draw) -> Made:
    return {"arrays": (d.normal(*d.shape(1, 3)),), "attributes": {"alpha": d.pick(1.0, 1.702)}}


def _bent_sum(bias: Callable[[Draw], bool]) -> Callable[[Draw], Made]:
    def drawn(d: Draw) -> Made:
        shape = d.shape(1, 3)
        return {"arrays": (d.normal(*shape), *([d.normal(shape[-1])] if bias(d) else []))}
    return drawn


def _normal_sum(d: Draw) -> Made:
    """Rows of eight and more, so that none has a deviation near 0."""
    shape, line = (2, d.integer(1, 3), d.integer(8, 20)), d.pick(True, False)
    rows = [d.normal(shape[-1]) if given else None for given in (True, d.pick(True, False), line)]
    return {"arrays": (d.normal(*shape), d.normal(*shape), *rows), "roundings": 64}


def _embedded(d: Draw) -> Made:
    """Words with places, and with segments or without."""
    shape, size = (d.integer(1, 3), d.integer(1, 6)), d.integer(8, 20)
    kinds = d.pick(True, False)
    ids, segments = d.whole(0, 8, *shape, dtype=np.int32), d.whole(0, 1, *shape, dtype=np.int32) if kinds else None
    tables = [d.normal(n, size) for n in (9, 6)]
    return {"arrays": (ids, segments, *tables, d.normal(2, size) if kinds else None, d.normal(size), d.normal(size)), "roundings": 64,
            "oracle": False}


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
TRAINING: dict[str, Callable[[Draw], Made]] = {
    "Adagrad": _step(3, decay_factor=0.1, norm_coefficient=0.01),
    "Adam": _step(4, norm_coefficient=0.01, norm_coefficient_post=0.02),
    "Momentum": _step(3, alpha=0.9, beta=0.5, mode="nesterov", norm_coefficient=0.01),
}
CONTRIBUTED: dict[str, Callable[[Draw], Made]] = {
    "QuickGelu": _bent, "BiasGelu": _bent_sum(lambda d: True), "FastGelu": _bent_sum(lambda d: d.pick(True, False)),
    "SkipLayerNormalization": _normal_sum, "EmbedLayerNormalization": _embedded,
    "MatMulNBits": _product_of_nibbles, "QAttention": _quantized_attention, "DynamicQuantizeLSTM": _quantized_lstm,
}
