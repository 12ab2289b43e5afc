"""Quantized operators of com.microsoft against onnxruntime: integers at most one quantum apart (it rounds sums its own way), reals close;
lowering against reference bit for bit."""

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings, strategies as st

from edgec.errors import TypeMismatch, Unsupported
from edgec.evaluate import evaluate_op
from edgec.graph import Graph, constant, graph_input, run_reference
from edgec.interpreter import interpret
from edgec.ops import OPERATORS
from edgec.types import TensorType, dtype_of

TYPE = onnx.helper.np_dtype_to_tensor_dtype
quick = settings(deadline=None, max_examples=15)
DTYPES = st.sampled_from((np.uint8, np.int8))


def run_node(name, arrays, **attributes):
    """The first result; None in `arrays` is an absent operand. The first array is an input, the others are initializers."""
    while arrays[-1] is None:
        arrays = arrays[:-1]
    names = ["" if a is None else f"x{n}" for n, a in enumerate(arrays)]
    node = onnx.helper.make_node(name, names, ["y"], domain="com.microsoft", **attributes)
    known = [onnx.numpy_helper.from_array(np.asarray(a), n) for n, a in zip(names[1:], arrays[1:]) if n]
    x = onnx.helper.make_tensor_value_info("x0", TYPE(np.asarray(arrays[0]).dtype), np.shape(arrays[0]))
    graph = onnx.helper.make_graph([node], "one", [x], [onnx.ValueInfoProto(name="y")], known)
    opsets = [onnx.helper.make_opsetid("", 21), onnx.helper.make_opsetid("com.microsoft", 1)]
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level, options.intra_op_num_threads = 4, 1
    model = onnx.helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString()
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"]).run(None, {"x0": np.asarray(arrays[0])})[0]


class Drawn:
    """Operands of a seed."""

    def __init__(self, seed: int, dtype):
        self.random, self.dtype = np.random.default_rng(seed), dtype

    def bytes(self, *shape, dtype=None):
        dtype = dtype or self.dtype
        return self.random.integers(np.iinfo(dtype).min, np.iinfo(dtype).max, shape, endpoint=True).astype(dtype)

    def scale(self, size=1.0, *shape):
        return self.random.uniform(0.5 * size, size, shape).astype(np.float32)


def edgec_result(name, arrays, **attributes):
    cls = OPERATORS["com.microsoft", name]
    values = [None if a is None else constant(a) if n else graph_input("x", TensorType(dtype_of(a.dtype), a.shape))
              for n, a in enumerate(arrays)]
    if name == "QLinearConcat":
        values = [*values[:2], tuple(values[2:])]
    op = cls(*values, **attributes)
    inputs = tuple(v for v in op.operands if not v.is_constant)
    return op, interpret(Graph(inputs, (op.output,), ("y",)), {"x": arrays[0]} if inputs else {})["y"]


def within_a_quantum(name, arrays, **attributes):
    """edgec's result against onnxruntime's; where the operator has a lowering, that equals the reference."""
    op, found = edgec_result(name, arrays, **attributes)
    expected = run_node(name, arrays, **attributes)
    assert found.dtype == expected.dtype and found.shape == expected.shape
    assert np.abs(found.astype(int) - expected.astype(int)).max(initial=0) <= 1
    if hasattr(op, "lower"):
        given_arrays = [a for a in arrays if a is not None]
        np.testing.assert_array_equal(evaluate_op(op, given_arrays)[0], run_reference(op, given_arrays)[0])


@pytest.mark.parametrize("name", ["QLinearAdd", "QLinearMul"])
@given(DTYPES, st.integers(0, 99), st.booleans())
@quick
def test_sums_and_products(name, dtype, seed, row):
    d = Drawn(seed, dtype)
    size = 200 if name == "QLinearMul" else 2
    within_a_quantum(name, [d.bytes(2, 3, 4), d.scale(), d.bytes(), d.bytes(*((4,) if row else (2, 3, 4))), d.scale(), d.bytes(),
                            d.scale(size), d.bytes()])


@given(DTYPES, st.integers(0, 99), st.integers(0, 1), st.integers(0, 1), st.integers(0, 1), st.integers(0, 1))
@quick
def test_average_pool(dtype, seed, counted, ceil, pad, last):
    d = Drawn(seed, dtype)
    arrays = [d.bytes(2, 3, 7, 6), d.scale(), d.bytes(), d.scale(), d.bytes()]
    within_a_quantum("QLinearAveragePool", arrays, kernel_shape=(3, 2), strides=(2, 1), pads=(pad, 0, pad, pad), ceil_mode=ceil,
                     count_include_pad=counted, channels_last=last)


@given(DTYPES, st.integers(0, 99), st.integers(0, 1))
@quick
def test_global_average_pool(dtype, seed, last):
    """onnxruntime rounds so as well: not one quantum apart."""
    d = Drawn(seed, dtype)
    arrays = [d.bytes(2, 5, 7, 6), d.scale(), d.bytes(), d.scale(), d.bytes()]
    within_a_quantum("QLinearGlobalAveragePool", arrays, channels_last=last)
    np.testing.assert_array_equal(edgec_result("QLinearGlobalAveragePool", arrays, channels_last=last)[1],
                                  run_node("QLinearGlobalAveragePool", arrays, channels_last=last))


@given(DTYPES, st.integers(0, 99), st.integers(0, 1))
@quick
def test_conv_with_channels_last(dtype, seed, last):
    d = Drawn(seed, dtype)
    arrays = [d.bytes(2, 5, 7, 6), d.scale(), d.bytes(), d.bytes(4, 6 if last else 5, 3, 2, dtype=np.int8), d.scale(0.01, 4),
              np.zeros(4, np.int8), d.scale(), d.bytes(), d.random.integers(-9999, 9999, 4).astype(np.int32)]
    found = edgec_result("QLinearConv", arrays, pads=(1, 0, 1, 1), channels_last=last)[1]
    np.testing.assert_array_equal(found, run_node("QLinearConv", arrays, pads=(1, 0, 1, 1), channels_last=last))


@given(DTYPES, st.integers(0, 99), st.integers(0, 1))
@quick
def test_reduce_mean(dtype, seed, keep):
    """onnxruntime has no kernel: against the mean of real numbers."""
    d = Drawn(seed, dtype)
    x, sx, zx, sy, zy = arrays = [d.bytes(2, 5, 7), d.scale(), d.bytes(), d.scale(), d.bytes()]
    op, found = edgec_result("QLinearReduceMean", arrays, axes=(0, -1), keepdims=keep)
    real = (x.astype(float) - int(zx)).mean(axis=(0, 2), keepdims=bool(keep)) * (float(sx) / float(sy)) + int(zy)
    assert np.abs(found - np.clip(real, np.iinfo(dtype).min, np.iinfo(dtype).max)).max() <= 0.5001
    np.testing.assert_array_equal(evaluate_op(op, arrays)[0], found)


@pytest.mark.parametrize("name, attributes", [("QLinearSigmoid", {}), ("QLinearLeakyRelu", {"alpha": 0.1}),
                                              ("QLinearSoftmax", {"axis": 1, "opset": 13}), ("QLinearSoftmax", {"axis": 1, "opset": 12})])
@given(DTYPES, st.integers(0, 99))
@quick
def test_functions(name, attributes, dtype, seed):
    d = Drawn(seed, dtype)
    y_scale = d.scale() if name == "QLinearLeakyRelu" else np.float32(1 / 256)
    zero = d.bytes() if name == "QLinearLeakyRelu" else np.asarray(np.iinfo(dtype).min, dtype)
    within_a_quantum(name, [d.bytes(2, 3, 5), d.scale(0.1), d.bytes(), y_scale, zero], **attributes)


@given(DTYPES, st.integers(0, 99))
@quick
def test_concat_and_where(dtype, seed):
    d = Drawn(seed, dtype)
    pair = [d.bytes(2, 3), d.scale(), d.bytes(), d.bytes(2, 3), d.scale(), d.bytes()]
    within_a_quantum("QLinearConcat", [d.scale(), d.bytes(), *pair], axis=1)
    within_a_quantum("QLinearWhere", [d.random.integers(0, 2, (2, 3)).astype(bool), *pair, d.scale(), d.bytes()])


def close(name, arrays, **attributes):
    found = edgec_result(name, arrays, **attributes)[1]
    expected = run_node(name, arrays, **attributes)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


@given(DTYPES, st.integers(0, 99), st.booleans(), st.booleans())
@quick
def test_products_in_f32(dtype, seed, channels, biased):
    d = Drawn(seed, dtype)
    b_scale, bias = d.scale(0.01, *((4,) if channels else ())), d.scale(1, 4) if biased else None
    zero = d.bytes(*b_scale.shape, dtype=np.int8)
    close("MatMulIntegerToFloat", [d.bytes(3, 7), d.bytes(7, 4, dtype=np.int8), d.scale(0.1), b_scale, d.bytes(), zero, bias])
    close("DynamicQuantizeMatMul", [d.random.normal(size=(3, 7)).astype(np.float32), d.bytes(7, 4, dtype=np.int8), b_scale, zero, bias])


@pytest.mark.parametrize("zeros", [False, True])
@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("size", [64, 40])
def test_matmul_of_few_bits(bits, zeros, size):
    d, rows, block = Drawn(1, np.uint8), 6, 32
    blocks = -(-size // block)
    arrays = [d.random.normal(size=(3, size)).astype(np.float32), d.bytes(rows, blocks, block * bits // 8), d.scale(0.1, rows * blocks),
              d.bytes(rows, -(-blocks * bits // 8)) if zeros else None]
    close("MatMulNBits", arrays, K=size, N=rows, bits=bits, block_size=block)


def test_what_is_refused():
    x, s = constant(np.zeros((1, 2, 3, 4), np.uint8)), constant(np.float32(1))
    pool, mean = OPERATORS["com.microsoft", "QLinearAveragePool"], OPERATORS["com.microsoft", "QLinearReduceMean"]
    with pytest.raises(TypeMismatch, match="input has rank 2"):
        pool(constant(np.zeros((1, 2), np.uint8)), s, None, s, None, kernel_shape=(2, 2))
    with pytest.raises(TypeMismatch, match=r"axes \(4,\)"):
        mean(x, s, None, s, None, axes=(4,))
    with pytest.raises(TypeMismatch, match="element types differ: u8 and i8"):
        OPERATORS["com.microsoft", "QLinearAdd"](x, s, None, constant(np.zeros(4, np.int8)), s, None, s, None)
    with pytest.raises(Unsupported, match="MatMulNBits needs constant weights"):
        OPERATORS["com.microsoft", "MatMulNBits"](constant(np.zeros((1, 8), np.float32)), constant(np.zeros((2, 1, 3), np.uint8)),
                                                  constant(np.ones(2, np.float32)), K=8, N=2, bits=3, block_size=8)


@given(DTYPES, st.integers(0, 99), st.integers(0, 1))
@quick
def test_pool_of_the_largest_with_channels_last(dtype, seed, ceil):
    d = Drawn(seed, dtype)
    arrays = [d.bytes(2, 7, 6, 3)]
    attributes = {"kernel_shape": (3, 2), "strides": (2, 1), "pads": (1, 0, 1, 1), "ceil_mode": ceil}
    np.testing.assert_array_equal(edgec_result("NhwcMaxPool", arrays, **attributes)[1], run_node("NhwcMaxPool", arrays, **attributes))


@pytest.mark.parametrize("size", [(3, 7, 4), (2, 33, 17)])
def test_products_of_16_bit_integers(size):
    """Sums wrap around in 32 bits."""
    m, k, n = size
    arrays = [np.random.default_rng(k).integers(-2**15, 2**15, shape).astype(np.int16) for shape in ((m, k), (k, n))]
    found = edgec_result("MatMulInteger16", arrays)[1]
    np.testing.assert_array_equal(found, run_node("MatMulInteger16", arrays))
    np.testing.assert_array_equal(found, (arrays[0].astype(np.int64) @ arrays[1]).astype(np.int32))


@pytest.mark.parametrize("kind", [0, 1])
@pytest.mark.parametrize("k, n, block", [(32, 5, 16), (24, 3, 16), (20, 3, 16)])
def test_matmul_of_a_table_of_sixteen(kind, k, n, block):
    """Blocks that go on from row to row, and a last one that is not full."""
    d = Drawn(k, np.uint8)
    arrays = [d.random.normal(size=(3, k)).astype(np.float32), d.bytes(k * n // 2), d.scale(1, -(-k * n // block))]
    close("MatMulBnb4", arrays, K=k, N=n, block_size=block, quant_type=kind)
