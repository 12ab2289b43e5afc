"""Recurrent layers in integers: products of bytes inside and before the recurrence, close to the float layer, equal in onnxruntime."""

import numpy as np
import onnx
import onnxruntime
import pytest

import edgec
from edgec import load
from edgec.graph import Graph, constant, graph_input
from edgec.interpreter import interpret
from edgec.onnx.writer import model_proto
from edgec.ops.control_flow import Scan
from edgec.ops.matmul import MatMul
from edgec.ops.quantized import MatMulInteger
from edgec.ops.recurrent import GRU, LSTM, RNN
from edgec.passes.integers import integer_form
from edgec.quantize import quantize, quantize_within
from edgec.quantize.dynamic import dynamic
from edgec.types import TensorType, f32

STEPS, BATCH, WIDTH, HIDDEN = 6, 2, 10, 12
GATES = {LSTM: 4, GRU: 3, RNN: 1}
EXACT = {"activations": ("Affine", "Relu", "Affine"), "activation_alpha": (0.25, 0.5), "activation_beta": (0.5, 0.125)}
CASES = [(LSTM, {}), (LSTM, {"direction": "bidirectional", "outputs": 3}), (GRU, {}), (GRU, {"linear_before_reset": 1, "layout": 1}),
         (RNN, {"direction": "reverse", "outputs": 2})]


def layer(cls, attributes, lengths=False):
    """A graph of one layer with random weights."""
    random, rows = np.random.default_rng(8), GATES[cls] * HIDDEN
    count = 2 if attributes.get("direction") == "bidirectional" else 1
    weights = {name: constant(random.normal(scale=0.3, size=(count, *shape)).astype(np.float32), name)
               for name, shape in (("w", (rows, WIDTH)), ("r", (rows, HIDDEN)), ("b", (2 * rows,)))}
    shape = (BATCH, STEPS, WIDTH) if attributes.get("layout") else (STEPS, BATCH, WIDTH)
    x = graph_input("x", TensorType(f32, shape))
    if lengths:
        weights["sequence_lens"] = constant(np.array([STEPS, 2], np.int32))
    op = cls(x=x, **weights, hidden_size=HIDDEN, **attributes)
    return Graph((x,), op.results, tuple(f"y{n}" for n in range(len(op.results))), "layer")


def samples(graph, count=40):
    return np.random.default_rng(1).normal(size=(count, *graph.inputs[0].shape)).astype(np.float32)


def sqnr(exact, found):
    noise = sum(float(((exact[n] - found[n]) ** 2).sum()) for n in exact)
    return 10 * np.log10(sum(float((a ** 2).sum()) for a in exact.values()) / noise)


def in_onnxruntime(model, x):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    run = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return dict(zip((o.name for o in model.graph.output), run.run(None, {"x": x})))


def assert_integer(graph):
    """Every matrix product of the graph and of its loops is one of integers."""
    form = integer_form(graph)
    parts = [form, *(op.body for op in form.ops if isinstance(op, Scan))]
    kinds = [type(op) for part in parts for op in part.ops]
    assert MatMul not in kinds and kinds.count(MatMulInteger) >= 2


@pytest.mark.parametrize("cls, attributes", CASES)
@pytest.mark.parametrize("lengths", [False, True])
def test_layers_become_integers_and_stay_close(cls, attributes, lengths):
    if lengths and attributes.get("layout"):
        attributes = {n: v for n, v in attributes.items() if n != "layout"}
    graph = layer(cls, attributes, lengths)
    x = samples(graph)
    made = quantize(graph, {"x": x})
    assert made.recipe.cells and not made.recipe.layers
    onnx.checker.check_model(made.model, full_check=True)
    again = load(made.model)
    assert_integer(again)
    for row in x[:3]:
        exact, ours, theirs = interpret(graph, {"x": row}), interpret(again, {"x": row}), in_onnxruntime(made.model, row)
        assert sqnr(exact, ours) > 28
        assert sqnr(theirs, ours) > 45  # a sigmoid that differs in its last bit may move a quantum


@pytest.mark.parametrize("cls, attributes", [(LSTM, EXACT), (GRU, {"activations": ("Affine", "Affine"), "activation_alpha": (0.25, 0.5),
                                                                   "activation_beta": (0.5, 0.125)})])
def test_compiled_code_is_the_interpreter_bit_for_bit(cls, attributes):
    graph = layer(cls, attributes)
    x = samples(graph, 12)
    made = integer_form(quantize(graph, {"x": x}).graph)
    compiled = edgec.compile(made, workers=0).load()
    for row in x:
        np.testing.assert_array_equal(compiled.run({"x": row})["y0"], interpret(made, {"x": row})["y0"])


def test_a_state_that_is_given_widens_the_grid_of_states():
    plain = layer(GRU, {"outputs": 2})
    op = plain.outputs[0].op
    h = graph_input("h", TensorType(f32, (1, BATCH, HIDDEN)))
    op = GRU(op.x, op.w, op.r, op.b, initial_h=h, hidden_size=HIDDEN, outputs=2)
    graph = Graph((op.x, h), op.results, ("y", "h_after"), "stateful")
    x = samples(graph)
    far = np.full((len(x), 1, BATCH, HIDDEN), 5, np.float32)
    exact = interpret(graph, {"x": x[0], "h": far[0]})
    near = interpret(quantize(graph, {"x": x, "h": far}, calibrator="minmax").graph, {"x": x[0], "h": far[0]})
    clipped = interpret(quantize(graph, {"x": x, "h": 0 * far}, calibrator="minmax").graph, {"x": x[0], "h": far[0]})
    assert sqnr(exact, near) > sqnr(exact, clipped) + 5  # what calibration never saw saturates


@pytest.mark.parametrize("cls, attributes", CASES)
def test_a_budget_holds(cls, attributes):
    graph = layer(cls, attributes)
    made = quantize_within(graph, {"x": samples(graph, 10)}, min_sqnr=60.0)
    assert made.quality.sqnr >= 60.0
    assert [row.operator for row in made.rows] == [cls.__name__] and made.rows[0].level > 8


def test_kept_layers_stay_float():
    graph = layer(LSTM, {})
    made = quantize(graph, {"x": samples(graph)}, keep_float=(graph.outputs[0].name,))
    assert [type(op).__name__ for op in made.graph.ops if isinstance(op, (LSTM, Scan))] == ["LSTM"] and not made.recipe.quantized


@pytest.mark.parametrize("cls, attributes", CASES)
@pytest.mark.parametrize("per_channel", [True, False])
def test_dynamic_layers_are_those_of_onnxruntime(cls, attributes, per_channel):
    graph = layer(cls, attributes)
    model = model_proto(dynamic(graph, per_channel=per_channel))
    kinds = [n.op_type for n in model.graph.node]
    assert ("DynamicQuantizeLSTM" if cls is LSTM else "Scan") in kinds
    again = load(model)
    assert_integer(again)
    for row in samples(graph)[:3]:
        exact, ours, theirs = interpret(graph, {"x": row}), interpret(again, {"x": row}), in_onnxruntime(model, row)
        assert sqnr(exact, ours) > 28 and sqnr(theirs, ours) > 45
