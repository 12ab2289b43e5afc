"""DynamicQuantizeLSTM: against onnxruntime within a quantum of the state a step, compiled code against the interpreter bit for bit."""

import numpy as np
import onnx
import onnxruntime
import pytest

import edgec
from edgec.errors import TypeMismatch, Unsupported
from edgec.graph import Graph, constant, graph_input
from edgec.interpreter import interpret
from edgec.onnx.reader import load
from edgec.ops.control_flow import Scan
from edgec.ops.quantized import MatMulInteger
from edgec.ops.quantized_recurrent import DynamicQuantizeLSTM
from edgec.passes.integers import integer_form
from edgec.types import TensorType, f32

EXACT = {"Affine", "Relu"}  # functions whose f32 arithmetic is the same in numpy and in compiled code
CASES = [  # directions, steps, batch, inputs, hidden, one scale a column, u8 weights, activations
    (1, 5, 1, 3, 4, False, False, ()),
    (1, 7, 1, 40, 36, True, False, ("Relu", "Affine", "Affine")),
    (2, 3, 2, 5, 17, False, True, ("Affine", "Affine", "Relu") * 2),
    (2, 4, 1, 9, 64, True, False, ()),
    (1, 1, 3, 6, 8, True, True, ("Affine", "Relu", "Affine")),
]


def operands(directions, steps, batch, inputs, hidden, by_column, unsigned, seed=3):
    """Arrays by name: x, and the weights [directions, inputs, 4 * hidden] with their scales, a bias and peepholes."""
    random, rows = np.random.default_rng(seed), 4 * hidden
    made = {"x": random.normal(size=(steps, batch, inputs)).astype(np.float32)}
    for name, size in (("w", inputs), ("r", hidden)):
        low, dtype = (0, np.uint8) if unsigned else (-128, np.int8)
        made[name] = random.integers(low, low + 256, (directions, size, rows)).astype(dtype)
        places = (directions, rows) if by_column else (directions,)
        made[f"{name}_scale"] = (random.uniform(0.5, 1, places) / (128 * np.sqrt(size))).astype(np.float32)
        made[f"{name}_zero_point"] = np.full(places, 128 if unsigned else 0, dtype)
    made["b"] = random.normal(scale=0.2, size=(directions, 2 * rows)).astype(np.float32)
    made["p"] = random.normal(scale=0.2, size=(directions, 3 * hidden)).astype(np.float32)
    return made


def attributes_of(directions, hidden, functions):
    given = {"direction": "bidirectional" if directions == 2 else "forward", "hidden_size": hidden, "activations": functions}
    count = sum(f == "Affine" for f in functions)
    return given | ({"activation_alpha": [0.5] * count, "activation_beta": [0.25] * count} if functions else {})


def graph_of(arrays, attributes):
    values = {n: graph_input(n, TensorType(f32, a.shape)) if n == "x" else constant(a, n) for n, a in arrays.items()}
    op = DynamicQuantizeLSTM(**values, **attributes, outputs=3)
    return Graph((values["x"],), op.results, ("y", "y_h", "y_c"))


def in_onnxruntime(arrays, attributes):
    order = ["x", "w", "r", "b", "", "", "", "p", "w_scale", "w_zero_point", "r_scale", "r_zero_point"]
    passed = {k: v for k, v in attributes.items() if v not in ((), [])}
    node = onnx.helper.make_node("DynamicQuantizeLSTM", order, ["y", "y_h", "y_c"], domain="com.microsoft", **passed)
    known = [onnx.numpy_helper.from_array(a, n) for n, a in arrays.items() if n != "x"]
    x = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, arrays["x"].shape)
    graph = onnx.helper.make_graph([node], "one", [x], [onnx.ValueInfoProto(name=n) for n in node.output], known)
    opsets = [onnx.helper.make_opsetid("", 21), onnx.helper.make_opsetid("com.microsoft", 1)]
    model = onnx.helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString()
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 4, 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return model, session.run(None, {"x": arrays["x"]})


@pytest.mark.parametrize("case", CASES)
def test_results_are_those_of_onnxruntime(case):
    *sizes, functions = case
    arrays, attributes = operands(*sizes), attributes_of(sizes[0], sizes[4], functions)
    model, expected = in_onnxruntime(arrays, attributes)
    # What one quantum of the state at every step could do to a gate: its step times the largest column of weights, twice a cell.
    weights = np.abs((arrays["r"].astype(np.float64) - arrays["r_zero_point"].reshape(sizes[0], 1, -1))
                     * arrays["r_scale"].reshape(sizes[0], 1, -1)).max(axis=1)
    quantum = 2 * np.abs(expected[0]).max() / 255 * weights.max()
    for name, other in zip(("y", "y_h", "y_c"), expected):
        found = interpret(load(model), {"x": arrays["x"]})[name]
        assert found.shape == other.shape and np.abs(found - other).max() <= 2 * quantum, name
        assert np.median(np.abs(found - other)) <= 2e-6 * max(1, np.abs(other).max()), name


@pytest.mark.parametrize("case", [c for c in CASES if c[-1]])
def test_compiled_code_is_the_interpreter_bit_for_bit(case):
    *sizes, functions = case
    assert set(functions) <= EXACT
    arrays = operands(*sizes)
    graph = graph_of(arrays, attributes_of(sizes[0], sizes[4], functions))
    given = {"x": arrays["x"]}
    wanted, found = interpret(integer_form(graph), given), edgec.compile(graph, workers=0).run(given)
    for name in ("y", "y_h", "y_c"):
        np.testing.assert_array_equal(found[name], wanted[name])


def test_both_products_are_of_integers():
    *sizes, functions = CASES[0]
    graph = integer_form(graph_of(operands(*sizes), attributes_of(sizes[0], sizes[4], functions)))
    scan, = [op for op in graph.ops if isinstance(op, Scan)]
    for part in (graph, scan.body):
        assert sum(isinstance(op, MatMulInteger) for op in part.ops) == 1 and not any(type(op).__name__ == "MatMul" for op in part.ops)


def test_weights_that_are_computed_are_refused():
    arrays = operands(1, 2, 1, 3, 4, False, False)
    values = {n: constant(a) for n, a in arrays.items()} | {n: graph_input(n, TensorType(f32, arrays[n].shape)) for n in ("x", "w_scale")}
    with pytest.raises(Unsupported, match="constant weights, scales and zero points"):
        DynamicQuantizeLSTM(**values, hidden_size=4)


def test_scales_that_do_not_fit_are_refused():
    arrays = operands(1, 2, 1, 3, 4, True, False) | {"r_scale": np.ones((1, 5), np.float32)}
    with pytest.raises(TypeMismatch, match="r has 5 scales or zero points a direction; 1 or 16 are needed"):
        graph_of(arrays, {"hidden_size": 4})
