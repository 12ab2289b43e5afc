"""Embeddings on tables of integers against onnxruntime: QEmbedLayerNormalization, GatherBlockQuantized; and what is refused."""

import ml_dtypes
import numpy as np
import onnx
import onnxruntime
import pytest

import edgec
from edgec.errors import TypeMismatch, Unsupported
from edgec.graph import constant, graph_input
from edgec.interpreter import interpret
from edgec.onnx.reader import load
from edgec.ops.quantized_embedding import GatherBlockQuantized, QEmbedLayerNormalization
from edgec.types import TensorType, f32, i32, i64, u8

BATCH, POSITIONS, WIDTH, WORDS = 2, 5, 24, 11


def both(name, known, inputs, outputs=("y",), **attributes):
    """The results of onnxruntime, of the interpreter and of compiled code, for a node whose operands are `known` or among `inputs`."""
    names = [n if a is not None else "" for n, a in known.items()]
    node = onnx.helper.make_node(name, names, list(outputs), domain="com.microsoft", **attributes)
    tensors = [onnx.numpy_helper.from_array(np.asarray(a), n) for n, a in known.items() if a is not None and n not in inputs]
    values = [onnx.helper.make_tensor_value_info(n, onnx.helper.np_dtype_to_tensor_dtype(a.dtype), a.shape) for n, a in inputs.items()]
    graph = onnx.helper.make_graph([node], "one", values, [onnx.ValueInfoProto(name=n) for n in outputs], tensors)
    opsets = [onnx.helper.make_opsetid("", 21), onnx.helper.make_opsetid("com.microsoft", 1)]
    model = onnx.helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString()
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 4, 1
    expected = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"]).run(None, inputs)
    return expected, list(interpret(load(model), inputs).values()), list(edgec.compile(load(model), workers=0).run(inputs).values())


def table(random, rows, dtype):
    info = np.iinfo(dtype)
    return random.integers(info.min, info.max, (rows, WIDTH) if rows else (WIDTH,), endpoint=True).astype(dtype)


@pytest.mark.parametrize("dtype", [np.uint8, np.int8])
@pytest.mark.parametrize("segments", [True, False])
@pytest.mark.parametrize("masked", [True, False])
def test_embedding_and_normalization(dtype, segments, masked):
    random = np.random.default_rng(5)
    inputs = {"ids": random.integers(0, WORDS, (BATCH, POSITIONS)).astype(np.int32)}
    if segments:
        inputs["segments"] = random.integers(0, 2, (BATCH, POSITIONS)).astype(np.int32)
    if masked:
        inputs["mask"] = np.array([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]], np.int32)
    scale, zero = (lambda: np.float32(random.uniform(0.01, 0.05))), (lambda: np.array(table(random, 0, dtype)[0]))
    known = {"ids": inputs["ids"], "segments": inputs.get("segments"), "words": table(random, WORDS, dtype),
             "positions": table(random, 9, dtype), "kinds": table(random, 2, dtype) if segments else None, "gamma": table(random, 0, dtype),
             "beta": table(random, 0, dtype), "mask": inputs.get("mask"), "s0": scale(), "s1": scale(), "s2": scale() if segments else None,
             "s3": scale(), "s4": scale(), "z0": zero(), "z1": zero(), "z2": zero() if segments else None, "z3": zero(), "z4": zero()}
    expected, *others = both("QEmbedLayerNormalization", known, inputs, ("y", "seen"), epsilon=1e-5)
    for found in others:
        assert np.abs(found[0] - expected[0]).max() <= 2.0 ** -24 * 64 * np.abs(expected[0]).max()
        np.testing.assert_array_equal(found[1], expected[1])


@pytest.mark.parametrize("kind", ["uint4", "int4", "bytes of two", "bytes"])
@pytest.mark.parametrize("zeros", [True, False])
def test_gather_in_blocks(kind, zeros):
    """Every bit: an element is one product of an integer and a scale."""
    random, width = np.random.default_rng(3), 64
    dtype = {"uint4": ml_dtypes.uint4, "int4": ml_dtypes.int4}.get(kind, np.uint8)
    low, high = {"uint4": (0, 16), "int4": (-8, 8)}.get(kind, (0, 256))
    stored = width // 2 if kind == "bytes of two" else width
    data = random.integers(low, high, (WORDS, stored)).astype(dtype)
    given = random.integers(low, high, (WORDS, 1 if kind == "bytes of two" else 2)).astype(dtype) if zeros else None
    inputs = {"at": random.integers(0, WORDS, (2, 3)).astype(np.int64)}
    known = {"data": data, "at": inputs["at"], "scales": random.uniform(0.1, 1, (WORDS, 2)).astype(np.float32), "zeros": given}
    expected, *others = both("GatherBlockQuantized", {n: a for n, a in known.items() if a is not None}, inputs, block_size=32,
                             bits=8 if kind == "bytes" else 4)
    for found in others:
        np.testing.assert_array_equal(found[0], expected[0])


def test_what_is_refused():
    at, scales = graph_input("at", TensorType(i64, (3,))), constant(np.ones((4, 2), np.float32))
    with pytest.raises(Unsupported, match="GatherBlockQuantized needs a constant table of 2, 4 or 8 bits"):
        GatherBlockQuantized(graph_input("t", TensorType(u8, (4, 16))), at, scales, block_size=16)
    with pytest.raises(TypeMismatch, match="gather_axis and quantize_axis are both 1"):
        GatherBlockQuantized(constant(np.zeros((4, 32), np.uint8)), at, scales, gather_axis=1, bits=8, block_size=16)
    with pytest.raises(TypeMismatch, match="the table is f32"):
        GatherBlockQuantized(graph_input("t", TensorType(f32, (4, 32))), at, scales, block_size=16)
    ids, one, zero = graph_input("ids", TensorType(i32, (1, 3))), constant(np.float32(1)), constant(np.uint8(0))
    words, line = constant(np.zeros((4, 8), np.uint8)), constant(np.zeros(8, np.uint8))
    operands = (words, words, None, line, line, None, one, one, None, one, one, zero, zero, None, zero, zero)
    with pytest.raises(TypeMismatch, match="segment_ids and segment_embedding belong together"):
        QEmbedLayerNormalization(ids, ids, *operands)
