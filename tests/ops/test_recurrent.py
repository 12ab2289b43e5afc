"""LSTM, GRU and RNN: reference against onnxruntime, the decomposition against the reference, whole models, error messages."""

from functools import cache
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from hypothesis import given, settings, strategies as st

from edgec import load
from edgec.compiler import compile
from edgec.decomposition import expand
from edgec.errors import TypeMismatch
from edgec.expr import var
from edgec.graph import Graph, constant, fields_of, graph_input, run_reference
from edgec.graph_text import parse_graph, print_graph
from edgec.interpreter import run
from edgec.ops.activation import LeakyRelu
from edgec.ops.cell_activation import FUNCTIONS
from edgec.ops.control_flow import Scan
from edgec.ops.recurrent import GRU, LSTM, RNN
from edgec.sweeps import evaluate_dim
from edgec.types import TensorType, dtype_of, f32, f64, i32
from edgec.verifier import verify

quick = settings(deadline=None, max_examples=25)
LAYERS = [LSTM, GRU, RNN]
SIZES = {LSTM: (4, 3, 3), GRU: (3, 2, 2), RNN: (1, 1, 2)}  # gates, activations of a direction, results
NAMES = {name.lower(): name for name in ("Affine", "Elu", "HardSigmoid", "LeakyRelu", "Relu", "ScaledTanh", "Sigmoid", "Softplus",
                                         "Softsign", "Tanh", "ThresholdedRelu")}
MODELS = [p for p in sorted((Path(__file__).resolve().parents[3] / "shared" / "models").glob("*.onnx"))
          if p.name.startswith(("fsdd_gru2", "silero_vad", "dtln_"))]


@st.composite
def layers(draw, cls, dtype=np.float32, layouts=(0,)):
    """(arrays by operand name, attributes); no row of weights sums to more than 1, so that errors do not grow from step to step."""
    gates, functions, results = SIZES[cls]
    steps, batch, width, hidden = (draw(st.integers(1, n)) for n in (4, 3, 3, 4))
    direction, layout = draw(st.sampled_from(("forward", "reverse", "bidirectional"))), draw(st.sampled_from(layouts))
    count = 2 if direction == "bidirectional" else 1
    random = np.random.default_rng(draw(st.integers(0, 99)))
    uniform = lambda bound, *shape: random.uniform(-bound, bound, shape).astype(dtype)
    state = (batch, count, hidden) if layout else (count, batch, hidden)
    optional = {"b": (0.5, count, 2 * gates * hidden), "initial_h": (1, *state)}
    if cls is LSTM:
        optional |= {"initial_c": (1, *state), "p": (0.5, count, 3 * hidden)}
    arrays = {"x": uniform(1, *((batch, steps) if layout else (steps, batch)), width), "w": uniform(1, count, gates * hidden, width),
              "r": uniform(1 / hidden, count, gates * hidden, hidden)}
    arrays |= {name: uniform(*box) for name, box in optional.items() if draw(st.booleans())}
    if draw(st.booleans()):
        arrays["sequence_lens"] = random.integers(1, steps + 1, batch).astype(np.int32)
    attributes = {"direction": direction, "layout": layout, "hidden_size": hidden, "clip": draw(st.sampled_from((None, 0.25))),
                  "outputs": draw(st.integers(1, results))}
    attributes |= draw(activations(functions * count))
    if cls is not RNN:
        attributes["linear_before_reset" if cls is GRU else "input_forget"] = draw(st.integers(0, 1))
    return arrays, attributes


@st.composite
def activations(draw, count):
    """Nothing, or names with an alpha and a beta for each function that has one."""
    if draw(st.booleans()):
        return {}
    names = [draw(st.sampled_from(sorted(FUNCTIONS))) for _ in range(count)]
    given = {"activation_alpha": [0.5 for n in names if FUNCTIONS[n].alpha != "unused"],
             "activation_beta": [0.25 + 0.125 * k for k, n in enumerate(names) if FUNCTIONS[n].beta != "unused"]}
    return {"activations": [NAMES[n] for n in names], **{k: v for k, v in given.items() if v}}


def operand_names(cls):
    return [f.name for f in fields_of(cls) if f.kind != "attribute"]


def build(cls, arrays, attributes, constants=()):
    """The operator on inputs of the arrays' types; the operands named in `constants` hold the arrays themselves."""
    values = {n: constant(a) if n in constants else graph_input(n, TensorType(dtype_of(a.dtype), a.shape)) for n, a in arrays.items()}
    return cls(**values, **attributes)


def in_reference(op, arrays):
    return run_reference(op, [arrays[n] for n in operand_names(type(op)) if n in arrays])


def decomposed(op):
    """A graph of the operator in simpler operators."""
    inputs = [v for v in op.operands if not v.is_constant]
    graph = Graph(tuple(inputs), op.results, tuple(f"y{n}" for n in range(len(op.results))))
    return expand(graph, lambda inner: inner is op)


def in_pieces(op, arrays):
    """The results of the decomposition."""
    graph = decomposed(op)
    return run(graph, [arrays[v.name] for v in graph.inputs])


def assert_near(found, expected, unit, terms):
    for a, b in zip(found, expected, strict=True):
        assert a.dtype == b.dtype and a.shape == b.shape
        distance = np.abs(a.astype(np.float64) - b.astype(np.float64))
        assert np.all(distance <= terms * unit * max(1.0, np.abs(b.astype(np.float64)).max(initial=0))), distance.max()


def rounding_terms(arrays):
    """How many roundings a result may have seen: each step sums a product per input and hidden element, then comes the cell."""
    return max(arrays["x"].shape[:2]) * (arrays["w"].shape[2] + arrays["r"].shape[2] + 8)


@pytest.mark.parametrize("cls", LAYERS)
@given(data=st.data())
@quick
def test_reference_is_onnxruntime(onnxruntime_results, cls, data):
    arrays, attributes = data.draw(layers(cls))
    op = build(cls, arrays, attributes)
    results = in_reference(op, arrays)
    passed = {k: v for k, v in attributes.items() if k != "outputs"}
    expected = onnxruntime_results(cls.__name__, [arrays.get(n) for n in operand_names(cls)], passed, attributes["outputs"])
    assert_near(results, expected, 2.0 ** -24, rounding_terms(arrays))


@pytest.mark.parametrize("cls", LAYERS)
@given(data=st.data())
@quick
def test_decomposition_is_reference(cls, data):
    arrays, attributes = data.draw(layers(cls, np.float64, (0, 1)))
    constants = data.draw(st.sampled_from(((), ("w", "r", "b", "p"), ("r",), ("sequence_lens", "initial_h"))))
    op = build(cls, arrays, attributes, constants)
    results = in_reference(op, arrays)
    assert [r.shape for r in results] == [v.shape for v in op.results]
    assert_near(in_pieces(op, arrays), results, 2.0 ** -53, rounding_terms(arrays))


@pytest.mark.parametrize("cls", LAYERS)
@given(data=st.data())
@settings(deadline=None, max_examples=5)
def test_machine_code_is_reference(cls, data):
    """Every direction, layout, activation, length, peephole and clip, in the object's own instructions."""
    arrays, attributes = data.draw(layers(cls, layouts=(0, 1)))
    op = build(cls, arrays, attributes, data.draw(st.sampled_from(((), ("w", "r", "b", "p")))))
    inputs = tuple(v for v in op.operands if not v.is_constant)
    names = tuple(f"y{n}" for n in range(len(op.results)))
    artifact = compile(Graph(inputs, op.results, names, "layer"), optimize="0", workers=0)
    found = artifact.run({v.name: arrays[v.name] for v in inputs})
    assert_near([found[name] for name in names], in_reference(op, arrays), 2.0 ** -24, 2 * rounding_terms(arrays))


@pytest.mark.parametrize("cls", LAYERS)
@given(data=st.data())
@settings(deadline=None, max_examples=8)
def test_layouts_differ_in_the_order_of_axes_alone(cls, data):
    arrays, attributes = data.draw(layers(cls))
    attributes["outputs"] = SIZES[cls][2]
    swapped = {n: a.swapaxes(0, 1) if n in ("x", "initial_h", "initial_c") else a for n, a in arrays.items()}
    y, *states = in_reference(build(cls, arrays, attributes), arrays)
    found = in_reference(build(cls, swapped, {**attributes, "layout": 1}), swapped)
    assert_near(found, [y.transpose(2, 0, 1, 3), *(s.swapaxes(0, 1) for s in states)], 0, 0)


@cache
def example(cls, dtype=np.float32, steps=3, direction="bidirectional"):
    """All operands of a small layer."""
    random, count, gates = np.random.default_rng(5), 2 if direction == "bidirectional" else 1, SIZES[cls][0]
    shapes = {"x": (steps, 2, 3), "w": (count, gates * 4, 3), "r": (count, gates * 4, 4), "b": (count, gates * 8),
              "initial_h": (count, 2, 4)}
    if cls is LSTM:
        shapes |= {"initial_c": (count, 2, 4), "p": (count, 12)}
    arrays = {n: random.uniform(-0.5, 0.5, s).astype(dtype) for n, s in shapes.items()}
    return arrays | {"sequence_lens": np.array([steps, 1], np.int32)}


@pytest.mark.parametrize("cls", LAYERS)
def test_16_bit_floats_are_rounded_once(cls):
    arrays = example(cls, np.float16)
    op = build(cls, arrays, {"direction": "bidirectional", "outputs": 2})
    wide = {n: a.astype(np.float64) if a.dtype == np.float16 else a for n, a in arrays.items()}
    exact = in_reference(build(cls, wide, {"direction": "bidirectional", "outputs": 2}), wide)
    assert_near(in_reference(op, arrays), [e.astype(np.float16) for e in exact], 0, 0)
    for found, expected in zip(in_pieces(op, arrays), exact):
        assert found.dtype == np.float16 and np.all(np.abs(found - expected) <= 2.0 ** -12 + 1e-6)  # half a unit below 1, and the f32 steps


@pytest.mark.parametrize("cls", LAYERS)
def test_weights_are_prepared_while_compiling(cls):
    arrays = example(cls)
    graph = decomposed(build(cls, arrays, {"direction": "bidirectional"}, ("w", "r", "b", "p", "initial_h", "initial_c")))
    scans = [op for op in graph.ops if isinstance(op, Scan)]
    assert [s.scan_input_directions for s in scans] == [(0, 0), (1, 1)] and all(s.captured == () for s in scans)
    assert sum(type(op).__name__ == "MatMul" for op in graph.ops) == 2
    assert not any(type(op).__name__ in ("Transpose", "Slice", "Gather") for op in graph.ops)


@pytest.mark.parametrize("cls", LAYERS)
def test_other_weights_are_captured_by_the_steps(cls):
    scans = [op for op in decomposed(build(cls, example(cls), {"direction": "bidirectional"})).ops if isinstance(op, Scan)]
    assert len(scans) == 2 and all(s.captured and not any(v.is_constant for v in s.captured) for s in scans)


def test_one_step_needs_no_scan():
    arrays = example(LSTM, steps=1, direction="forward")
    assert not any(isinstance(op, Scan) for op in decomposed(build(LSTM, arrays, {})).ops)


def test_sequences_that_all_last_to_the_end_need_no_masks():
    arrays = example(RNN) | {"sequence_lens": np.array([3, 7], np.int32)}
    scans = [op for op in decomposed(build(RNN, arrays, {"direction": "bidirectional"}, ("sequence_lens",))).ops if isinstance(op, Scan)]
    assert [s.num_scan_inputs for s in scans] == [1, 1]


@pytest.mark.parametrize("cls", LAYERS)
def test_decompositions_verify_and_print(cls):
    arrays = example(cls)
    graph = decomposed(build(cls, arrays, {"direction": "bidirectional", "outputs": 2}, ("w",)))
    assert verify(graph) == []
    again = parse_graph(*print_graph(graph))
    given = [arrays[v.name] for v in graph.inputs]
    assert all(np.array_equal(a, b) for a, b in zip(run(again, given), run(graph, given)))


@pytest.mark.parametrize("cls", LAYERS)
@pytest.mark.parametrize("layout", [0, 1])
def test_batch_and_length_may_be_symbols(cls, layout):
    n, t = var("n", 1, 5), var("t", 1, 9)
    arrays = {k: a for k, a in example(cls).items() if k in ("x", "w", "r", "b", "sequence_lens")}
    arrays["x"] = arrays["x"].swapaxes(0, 1) if layout else arrays["x"]
    values = {k: constant(a) for k, a in arrays.items() if k not in ("x", "sequence_lens")}
    values["x"] = graph_input("x", TensorType(f32, (n, t, 3) if layout else (t, n, 3)))
    values["sequence_lens"] = graph_input("sequence_lens", TensorType(i32, (n,)))
    op = cls(**values, direction="bidirectional", layout=layout, outputs=2)
    results = in_reference(op, arrays)
    bound = [tuple(evaluate_dim(d, {"n": 2, "t": 3}) for d in v.shape) for v in op.results]
    assert bound == [r.shape for r in results]
    assert_near(in_pieces(op, arrays), results, 2.0 ** -24, rounding_terms(arrays))


def test_no_steps_leave_the_first_state():
    arrays = {n: a for n, a in example(GRU).items() if n != "sequence_lens"} | {"x": np.zeros((0, 2, 3), np.float32)}
    op = build(GRU, arrays, {"direction": "bidirectional", "outputs": 2})
    for y, y_h in (in_reference(op, arrays), in_pieces(op, arrays)):
        assert y.shape == (0, 2, 2, 4) and np.array_equal(y_h, arrays["initial_h"])


def test_numbers_go_to_the_functions_that_have_them(onnxruntime_results):
    arrays = {n: example(LSTM)[n] for n in ("x", "w", "r")}
    attributes = {"activations": ["Sigmoid", "LeakyRelu", "Tanh", "HardSigmoid", "Elu", "LeakyRelu"], "activation_alpha": [0.5, 0.25],
                  "activation_beta": [0.375], "direction": "bidirectional"}
    passed = {**attributes, "hidden_size": 4}
    results = in_reference(build(LSTM, arrays, {**attributes, "outputs": 3}), arrays)
    expected = onnxruntime_results("LSTM", list(arrays.values()), passed, 3)
    assert_near(results, expected, 2.0 ** -24, rounding_terms(arrays))
    first, second = (build(LSTM, arrays, attributes)._activations(n) for n in (0, 1))
    assert (first[1].alpha, second[0].alpha, second[0].beta) == (0.5, 0.25, 0.375)
    assert (second[1].alpha, second[2].alpha) == (1.0, LeakyRelu.alpha)


def value(name, *shape, dtype=f32):
    return graph_input(name, TensorType(dtype, shape))


WEIGHTS = {LSTM: (value("w", 1, 16, 3), value("r", 1, 16, 4)), GRU: (value("w", 1, 12, 3), value("r", 1, 12, 4))}


@pytest.mark.parametrize("make, message", [
    (lambda x, w, r: LSTM(x, w, r, direction="backward"), "direction 'backward' is none of forward, reverse, bidirectional"),
    (lambda x, w, r: LSTM(x, w, r, direction="bidirectional"), r"w is f32\[1,16,3\], its shape must be \[2, 16, 3\]"),
    (lambda x, w, r: LSTM(x, w, r, layout=2), "layout is 2, not 0 or 1"),
    (lambda x, w, r: LSTM(x, w, r, clip=0.0), "clip is 0.0; a positive bound is needed"),
    (lambda x, w, r: LSTM(x, w, r, hidden_size=5), r"hidden_size is 5, r is f32\[1,16,4\]"),
    (lambda x, w, r: LSTM(x, w, r, activations=("Tanh",)), "1 activations are given, 3 are needed"),
    (lambda x, w, r: LSTM(x, w, r, activations=("Tanh", "Sine", "Tanh")), "activation 'Sine' is not known"),
    (lambda x, w, r: LSTM(x, w, r, activations=("Tanh", "Affine", "Tanh"), activation_alpha=(2.0,)),
     "activation Affine needs an entry in activation_alpha and activation_beta"),
    (lambda x, w, r: LSTM(value("x", 5, 3), w, r), "x and r have ranks 2 and 3, not 3"),
    (lambda x, w, r: LSTM(x, w, value("r64", 1, 16, 4, dtype=f64)), "operands must have one float type"),
    (lambda x, w, r: LSTM(x, w, r, sequence_lens=value("n", 2)), "sequence_lens must be i32"),
    (lambda x, w, r: LSTM(x, w, r, sequence_lens=value("n", 3, dtype=i32)), r"sequence_lens is i32\[3\], its shape must be \[2\]"),
    (lambda x, w, r: LSTM(x, w, r, p=value("p", 1, 4)), r"p is f32\[1,4\], its shape must be \[1, 12\]"),
    (lambda x, w, r: LSTM(x, w, value("r", 1, 16, var("h", 1, 4))), "the hidden size h must be a number"),
])
def test_messages(make, message):
    with pytest.raises(TypeMismatch, match=message):
        make(value("x", 5, 2, 3), *WEIGHTS[LSTM])


def test_message_shows_the_layout():
    with pytest.raises(TypeMismatch, match=r"initial_h is f32\[1,2,4\], its shape must be \[2, 1, 4\]") as caught:
        GRU(value("x", 2, 5, 3), *WEIGHTS[GRU], initial_h=value("h", 1, 2, 4), layout=1)
    assert "direction is forward, layout is 1" in str(caught.value)


@pytest.mark.parametrize("path", MODELS, ids=lambda p: p.stem)
def test_models_mean_what_onnxruntime_says(path):
    graph = load(path, bind={"N": "1..8"} if path.stem.endswith("_dyn") else None)
    random = np.random.default_rng(0)
    arrays = [random.uniform(-1, 1, [d if isinstance(d, int) else 3 for d in v.shape]).astype(v.dtype.numpy) for v in graph.inputs]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    expected = onnxruntime.InferenceSession(str(path), options).run(list(graph.output_names),
                                                                    {v.name: a for v, a in zip(graph.inputs, arrays)})
    simpler = expand(graph, lambda op: hasattr(op, "decompose") and not hasattr(op, "lower"))
    for form in (graph, simpler):
        for ours, theirs in zip(run(form, arrays), expected, strict=True):
            assert np.abs(ours - theirs).max() <= 2e-5 * max(1.0, np.abs(theirs).max())
