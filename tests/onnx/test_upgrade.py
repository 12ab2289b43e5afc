"""Models of older opsets mean what onnxruntime says they mean: one case or more for every entry of the upgrade table."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper

from edgec import interpret, load
from edgec.errors import Unsupported
from edgec.onnx.upgrade import UPGRADES
from edgec.onnx.upgrade_first import FIRST_UPGRADES

X = np.random.default_rng(0).standard_normal((2, 3, 4, 5)).astype(np.float32)
ONES = np.ones(3, np.float32)
STATISTICS = [np.random.default_rng(n).uniform(0.5, 1.5, 3).astype(np.float32) for n in range(4)]


def i64(*numbers):
    return np.array(numbers, np.int64)


def f32(*numbers):
    return np.array(numbers, np.float32)


# operator, opset, operands (arrays; constants from the second on where `fixed`), attributes, number of results
CASES = [
    ("BatchNormalization", 7, [X, *STATISTICS], {"spatial": 1}, 1),
    ("BatchNormalization", 9, [X, *STATISTICS], {"epsilon": 0.1}, 1),
    ("Clip", 7, [X], {"min": -0.5, "max": 0.5}, 1), ("Clip", 10, [X], {"max": 0.25}, 1), ("Clip", 6 + 1, [X], {}, 1),
    ("DFT", 17, [X[0][..., :1]], {"axis": 1, "onesided": 1}, 1),
    ("Dropout", 7, [X], {"ratio": 0.3}, 1), ("Dropout", 10, [X], {}, 1),
    ("GridSample", 16, [X, np.random.default_rng(1).uniform(-1, 1, (2, 3, 3, 2)).astype(np.float32)], {"mode": "bilinear"}, 1),
    ("GroupNormalization", 18, [np.concatenate([X, X], 1), f32(1, 2, 3), f32(4, 5, 6)], {"num_groups": 3}, 1),
    ("Hardmax", 11, [X], {}, 1), ("Hardmax", 11, [X], {"axis": 2}, 1),
    ("LogSoftmax", 11, [X], {"axis": 2}, 1), ("LogSoftmax", 8, [X], {"axis": 3}, 1),
    ("Softmax", 11, [X], {}, 1), ("Softmax", 7, [X], {"axis": 0}, 1), ("Softmax", 11, [X], {"axis": -1}, 1), ("Softmax", 13, [X], {}, 1),
    ("Pad", 7, [X], {"pads": [0, 0, 1, 2, 0, 0, 0, 1], "value": 2.5}, 1),
    ("Pad", 10, [X], {"pads": [0, 0, 1, 1, 0, 0, 1, 1], "mode": "reflect"}, 1),
    ("Pad", 13, [X, i64(0, 0, 1, 0, 0, 0, 0, 1), f32(3).reshape(())], {}, 1),
    ("Resize", 10, [X, f32(1, 1, 2, 2)], {"mode": "nearest"}, 1), ("Resize", 10, [X, f32(1, 1, 1.5, 2.6)], {"mode": "linear"}, 1),
    ("Resize", 11, [X, f32(), f32(1, 1, 2, 3)], {"mode": "linear"}, 1),
    ("Resize", 11, [X, f32(), f32(), i64(2, 3, 7, 9)], {"mode": "cubic", "coordinate_transformation_mode": "align_corners"}, 1),
    ("RoiAlign", 10, [X, f32(0, 0, 3, 3).reshape(1, 4), i64(1)], {"output_height": 2, "output_width": 2, "sampling_ratio": 2}, 1),
    ("Scatter", 9, [X[0, 0], i64(0, 2).reshape(1, 2), f32(7, 8).reshape(1, 2)], {"axis": 1}, 1),
    ("Slice", 7, [X], {"starts": [1, 0], "ends": [3, -1], "axes": [2, 3]}, 1), ("Slice", 9, [X], {"starts": [1], "ends": [9]}, 1),
    ("Split", 7, [X], {"axis": 3, "split": [2, 3]}, 2), ("Split", 11, [X], {"axis": 2}, 2), ("Split", 13, [X, i64(1, 3)], {"axis": 2}, 2),
    ("Split", 17, [X], {"axis": 2}, 4),
    ("Squeeze", 11, [X[:1]], {"axes": [0]}, 1), ("Squeeze", 7, [X[:1, :1]], {}, 1), ("Unsqueeze", 11, [X], {"axes": [0, 3]}, 1),
    ("TopK", 9, [X], {"k": 2, "axis": 3}, 2), ("TopK", 10, [X, i64(3)], {}, 2), ("TopK", 11, [X, i64(2)], {"largest": 0}, 2),
    ("Upsample", 7, [X], {"scales": [1.0, 1.0, 2.0, 3.0]}, 1), ("Upsample", 9, [X, f32(1, 1, 2, 2)], {"mode": "linear"}, 1),
    *[(f"Reduce{kind}", 11, [np.abs(X) + 0.1], attributes, 1) for attributes in ({}, {"axes": [1, -1], "keepdims": 0})
      for kind in ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "Sum", "SumSquare")],
    ("ReduceMean", 17, [X], {"axes": [2]}, 1), ("ReduceSum", 13, [X, i64(1)], {}, 1),
]


def model_of(op, opset, arrays, attributes, count):
    """Operands after the first are initialisers; empty ones are left out in the newer form and stay in the older."""
    inputs = [helper.make_tensor_value_info("x0", helper.np_dtype_to_tensor_dtype(arrays[0].dtype), arrays[0].shape)]
    constants = [onnx.numpy_helper.from_array(a, f"x{n}") for n, a in enumerate(arrays) if n]
    results = [f"y{n}" for n in range(count)]
    node = helper.make_node(op, [f"x{n}" for n in range(len(arrays))], results, **attributes)
    graph = helper.make_graph([node], "old", inputs, [onnx.ValueInfoProto(name=r) for r in results], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=4)


def in_onnxruntime(model, x):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(model.SerializeToString(), options).run(None, {"x0": x})


@pytest.mark.parametrize("op, opset, arrays, attributes, count", CASES, ids=[f"{c[0]}-{c[1]}-{n}" for n, c in enumerate(CASES)])
def test_older_opsets(op, opset, arrays, attributes, count):
    from edgec.ops import OPERATORS
    model = model_of(op, opset, arrays, attributes, count)
    newer = {"Upsample": "Resize", "Scatter": "ScatterElements"}.get(op, op)
    if ("", newer) not in OPERATORS:
        with pytest.raises(Unsupported, match=f"operator {newer} of domain 'ai.onnx' is not supported"):
            load(model)
        return
    found = list(interpret(load(model), {"x0": arrays[0]}).values())
    expected = in_onnxruntime(model, arrays[0])
    for ours, theirs in zip(found, expected):
        assert ours.dtype == theirs.dtype and ours.shape == theirs.shape
        np.testing.assert_allclose(ours, theirs, rtol=2e-5, atol=2e-5)


def test_every_entry_has_a_case():
    tested = {(op, opset) for op, opset, *_ in CASES}
    lost = [(op, until) for op, until in UPGRADES if not any(name == op and opset < until for name, opset in tested)
            and (op, until) != ("Upsample", 10) and (op, until) not in FIRST_UPGRADES]
    assert lost == []


@pytest.mark.parametrize("op, opset, attributes, count", [
    ("BatchNormalization", 7, {"spatial": 0}, 1), ("BatchNormalization", 9, {}, 5),
    ("Resize", 11, {"coordinate_transformation_mode": "tf_half_pixel_for_nn"}, 1),
])
def test_what_has_no_newer_form(op, opset, attributes, count):
    arrays = [X, *STATISTICS] if op == "BatchNormalization" else [X, f32(), f32(1, 1, 2, 2)]
    with pytest.raises(Unsupported):
        load(model_of(op, opset, arrays, attributes, count))
