"""What onnxruntime's optimizer makes of transformers: its operators against onnxruntime, and a quantized block of them together."""

import numpy as np
import onnx
import onnxruntime
import pytest

import edgec
from edgec.errors import TypeMismatch
from edgec.graph import constant, graph_input
from edgec.interpreter import interpret
from edgec.onnx.reader import load
from edgec.ops.transformer_parts import EmbedLayerNormalization
from edgec.types import TensorType, i32

RANDOM = np.random.default_rng(8)
X, SKIP = (RANDOM.normal(size=(2, 5, 24)).astype(np.float32) for _ in range(2))
LINE = RANDOM.normal(size=24).astype(np.float32)
IDS = RANDOM.integers(0, 9, (2, 5)).astype(np.int32)
WORDS, PLACES, KINDS = (RANDOM.normal(size=(n, 24)).astype(np.float32) for n in (9, 7, 2))
MASK = np.array([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]], np.int32)


def agree(nodes, arrays, outputs, steps=64):
    """onnxruntime's results are those of the interpreter and of compiled code, up to roundings; the first array is an input."""
    value = lambda n, a: onnx.helper.make_tensor_value_info(n, onnx.helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
    first = next(iter(arrays))
    known = [onnx.numpy_helper.from_array(a, n) for n, a in arrays.items() if n != first]
    graph = onnx.helper.make_graph(nodes, "one", [value(first, arrays[first])], [onnx.ValueInfoProto(name=n) for n in outputs], known)
    opsets = [onnx.helper.make_opsetid("", 17), onnx.helper.make_opsetid("com.microsoft", 1)]
    model = onnx.helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString()
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 4, 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    given = {first: arrays[first]}
    expected = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"]).run(None, given)
    for found in (interpret(load(model), given), edgec.compile(load(model), workers=0).run(given)):
        for name, wanted in zip(outputs, expected):
            assert found[name].dtype == wanted.dtype and found[name].shape == wanted.shape
            assert np.abs(found[name] - wanted).max() <= steps * 2.0 ** -24 * max(1, np.abs(wanted).max()), name


@pytest.mark.parametrize("name, arrays, outputs, attributes", [
    ("Gelu", {"x": X}, ["y"], {}),
    ("BiasGelu", {"x": X, "b": LINE}, ["y"], {}),
    ("FastGelu", {"x": X}, ["y"], {}),
    ("FastGelu", {"x": X, "b": LINE}, ["y"], {}),
    ("QuickGelu", {"x": X}, ["y"], {"alpha": 1.5}),
    ("SkipLayerNormalization", {"x": X, "s": SKIP, "g": LINE}, ["y"], {"epsilon": 1e-5}),
    ("SkipLayerNormalization", {"x": X, "s": SKIP, "g": LINE, "b": LINE[::-1].copy(), "bias": LINE}, ["y", "", "", "sum"], {}),
    ("EmbedLayerNormalization", {"i": IDS, "": None, "w": WORDS, "p": PLACES, " ": None, "g": LINE, "b": LINE}, ["y", "seen"], {}),
    ("EmbedLayerNormalization", {"i": IDS, "k": IDS % 2, "w": WORDS, "p": PLACES, "s": KINDS, "g": LINE, "b": LINE, "m": MASK,
                                 "at": IDS % 7}, ["y", "seen", "sum"], {"epsilon": 1e-5}),
])
def test_one_operator(name, arrays, outputs, attributes):
    node = onnx.helper.make_node(name, [n.strip() for n in arrays], outputs, domain="com.microsoft", **attributes)
    agree([node], {n: a for n, a in arrays.items() if a is not None}, [n for n in outputs if n])


def test_a_quantized_block():
    """What dynamic quantization makes of a layer of BERT: quantized activations, attention, a sum that is normalised."""
    make, heads = onnx.helper.make_node, 3
    nodes = [make("DynamicQuantizeLinear", ["x"], ["q", "sx", "zx"]),
             make("QAttention", ["q", "w", "b", "sx", "sw", "", "zx", "zw"], ["a"], domain="com.microsoft", num_heads=heads),
             make("SkipLayerNormalization", ["a", "x", "g", "beta"], ["n"], domain="com.microsoft"),
             make("BiasGelu", ["n", "beta"], ["y"], domain="com.microsoft")]
    weights = RANDOM.integers(-127, 128, (24, 72)).astype(np.int8)
    agree(nodes, {"x": X, "w": weights, "b": RANDOM.normal(size=72).astype(np.float32), "sw": np.array(0.002, np.float32),
                  "zw": np.array(0, np.int8), "g": LINE, "beta": LINE}, ["y"], steps=256)


def test_segments_need_their_table():
    ids, words, line = graph_input("i", TensorType(i32, (1, 3))), constant(WORDS), constant(LINE)
    with pytest.raises(TypeMismatch, match="segment_ids and segment_embedding belong together"):
        EmbedLayerNormalization(ids, ids, words, constant(PLACES), None, line, line)
