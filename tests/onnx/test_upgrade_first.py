"""Models of opsets 1 to 6 mean what the changelog of ONNX says: numpy tells what that is, since no runtime reads them any more."""

import numpy as np
import onnx
import pytest
from onnx import helper

from edgec import interpret, load
from edgec.errors import Unsupported
from edgec.onnx.upgrade_first import ARITHMETIC, FIRST_UPGRADES, IN_PLACE

X = np.random.default_rng(0).standard_normal((2, 3, 4, 5)).astype(np.float32)
C = np.array([0.5, 2.0, 4.0], np.float32)
S = [np.random.default_rng(n).uniform(0.5, 1.5, 3).astype(np.float32) for n in range(4)]


def wide(c):
    return c[:, None, None]


def run(op, opset, arrays, attributes):
    inputs = [helper.make_tensor_value_info("x0", helper.np_dtype_to_tensor_dtype(arrays[0].dtype), arrays[0].shape)]
    constants = [onnx.numpy_helper.from_array(a, f"x{n}") for n, a in enumerate(arrays) if n]
    node = helper.make_node(op, [f"x{n}" for n in range(len(arrays))], ["y"], **attributes)
    graph = helper.make_graph([node], "old", inputs, [onnx.ValueInfoProto(name="y")], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=3)
    return interpret(load(model), {"x0": arrays[0]})["y"]


CASES = [
    ("Add", 6, [X, C], {"broadcast": 1, "axis": 1}, X + wide(C)), ("Sub", 1, [X, X[0, 0]], {"broadcast": 1}, X - X[0, 0]),
    ("Div", 6, [X, C], {"broadcast": 1, "axis": -3}, X / wide(C)), ("Add", 5, [X, X], {"consumed_inputs": [0, 0]}, X + X),
    ("Relu", 1, [X], {"consumed_inputs": [0]}, np.maximum(X, 0)), ("Cast", 1, [X * 9], {"to": "INT32"}, (X * 9).astype(np.int32)),
    ("Concat", 1, [X, X], {}, np.concatenate([X, X], 1)), ("Dropout", 1, [X], {"is_test": 1}, X),
    ("Gemm", 6, [X[0, 0], X[0, 0].T, np.ones(4, np.float32)], {"broadcast": 1}, X[0, 0] @ X[0, 0].T + 1),
    ("PRelu", 6, [X, C], {}, np.where(X < 0, X * wide(C), X)), ("PRelu", 6, [X, C[:1]], {}, np.where(X < 0, X * C[0], X)),
    ("Pad", 1, [X], {"paddings": [0, 0, 1, 0, 0, 0, 0, 2]}, np.pad(X, [(0, 0), (0, 0), (1, 0), (0, 2)])),
    ("Reshape", 1, [X], {"shape": [6, -1]}, X.reshape(6, -1)),
    ("Tile", 1, [X, np.array([2.0], np.float32), np.array([1.0], np.float32)], {}, np.tile(X, (1, 2, 1, 1))),
    ("Upsample", 1, [X], {"height_scale": 2.0, "width_scale": 3.0}, X.repeat(2, 2).repeat(3, 3)),
    ("BatchNormalization", 6, [X, *S], {"is_test": 1, "epsilon": 0.0},
     (X - wide(S[2])) / np.sqrt(wide(S[3])) * wide(S[0]) + wide(S[1])),
]


@pytest.mark.parametrize("op, opset, arrays, attributes, expected", CASES, ids=[f"{c[0]}-{c[1]}" for c in CASES])
def test_first_opsets(op, opset, arrays, attributes, expected):
    found = run(op, opset, arrays, attributes)
    assert found.dtype == expected.dtype and found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=2e-5, atol=2e-6)


def test_every_kind_of_rule_has_a_case():
    tested = {(op, opset) for op, opset, *_ in CASES}
    lists = {*ARITHMETIC, *IN_PLACE, "RNN", "GRU", "LSTM"}  # one rule each
    assert [op for op, until in FIRST_UPGRADES if op not in lists and not any(op == n and o < until for n, o in tested)] == []


@pytest.mark.parametrize("op, arrays, attributes", [("Cast", [X], {"to": "NUMBER"})])
def test_what_has_no_newer_form(op, arrays, attributes):
    with pytest.raises(Unsupported):
        run(op, 1, arrays, attributes)
