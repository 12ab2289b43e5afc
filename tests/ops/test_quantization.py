"""QuantizeLinear, DequantizeLinear, DynamicQuantizeLinear: onnxruntime bit for bit, lowering, granularities, halves, error messages."""

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from edgec.decomposition import expand
from edgec.errors import TypeMismatch
from edgec.evaluate import evaluate_op
from edgec.expr import var
from edgec.graph import Constant, Graph, Input, graph_input, run_reference
from edgec.ops.quantization import DequantizeLinear, DynamicQuantizeLinear, QuantizeLinear
from edgec.types import TensorType, bf16, f32, i8, i32, u8

BYTES = [np.uint8, np.int8, np.uint16, np.int16]
SCALES = np.array([0.5, 0.1, 0.037, 2.0], np.float32)


def value(name, *shape, dtype=f32):
    return graph_input(name, TensorType(dtype, shape))


def zeros(dtype, shape, seed=0):
    info = np.iinfo(dtype)
    return np.random.default_rng(seed).integers(max(info.min, -9), 9, shape).astype(dtype)


def reals(shape, seed):
    return (np.random.default_rng(seed).standard_normal(shape) * 40).astype(np.float32)


@pytest.mark.parametrize("dtype", BYTES)
@given(st.lists(st.integers(1, 4), max_size=3), st.integers(0, 99))
@settings(deadline=None, max_examples=20)
def test_quantize_a_whole_tensor(check, dtype, shape, seed):
    check(QuantizeLinear, [reals(shape, seed), SCALES[seed % 4], zeros(dtype, (), seed)])


@pytest.mark.parametrize("dtype", BYTES)
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_quantize_by_axis(check, dtype, axis):
    check(QuantizeLinear, [reals((4, 4, 4), 1), SCALES, zeros(dtype, (4,))], axis=axis)


@pytest.mark.parametrize("dtype", BYTES)
@pytest.mark.parametrize("axis, shape, scales", [(1, (3, 6), (3, 3)), (0, (4, 5), (2, 5)), (1, (3, 5), (3, 3)), (-1, (2, 3, 4), (2, 3, 2))])
def test_blocks(check, dtype, axis, shape, scales):
    scale = np.random.default_rng(0).uniform(0.05, 1, scales).astype(np.float32)
    check(QuantizeLinear, [reals(shape, 1), scale, zeros(dtype, scales)], axis=axis, block_size=2)
    quantized = np.random.default_rng(1).integers(0, 100, shape).astype(dtype)
    check(DequantizeLinear, [quantized, scale, zeros(dtype, scales)], axis=axis, block_size=2)


def test_halves_round_to_even(check):
    result, = check(QuantizeLinear, [np.array([0.5, 1.5, 2.5, -0.5, -1.5], np.float32), np.float32(1), np.int8(0)])
    assert result.tolist() == [0, 2, 2, 0, -2]


def test_saturation(check):
    x = np.array([1e9, -1e9, np.inf, -np.inf, 300, -200], np.float32)
    for dtype in BYTES:
        check(QuantizeLinear, [x, np.float32(1), dtype(3)], oracle=False)


def test_not_a_number_is_zero():
    op = QuantizeLinear(value("x", 1), value("s"), value("z", dtype=i8))
    arrays = [np.array([np.nan], np.float32), np.float32(1), np.int8(3)]
    assert run_reference(op, arrays)[0] == evaluate_op(op, arrays)[0] == 0


def test_default_is_unsigned_bytes(check):
    check(QuantizeLinear, [reals((3, 4), 1), np.float32(0.5), None])
    check(QuantizeLinear, [reals((3, 4), 1), np.float32(0.5), None], output_dtype=3)


def test_a_vector_of_one_scale_is_a_scalar(check):
    check(QuantizeLinear, [reals((3, 4), 1), np.array([0.5], np.float32), np.array([3], np.uint8)], oracle=False)


@pytest.mark.parametrize("dtype", [np.float16, bf16.numpy, np.int32])
def test_quantize_other_types(check, dtype):
    x = reals((3, 4), 2).astype(dtype)
    scale = np.array(0.5, np.float32 if dtype is np.int32 else dtype)
    check(QuantizeLinear, [x, scale, np.int8(1)], oracle=dtype is np.float16)
    check(QuantizeLinear, [x, scale, np.int8(1)], oracle=False, precision=1)


@pytest.mark.parametrize("dtype", [*BYTES, np.int32])
@given(st.lists(st.integers(1, 4), max_size=3), st.integers(0, 99))
@settings(deadline=None, max_examples=20)
def test_dequantize_a_whole_tensor(check, dtype, shape, seed):
    info = np.iinfo(dtype)
    x = np.random.default_rng(seed).integers(max(info.min, -30000), min(info.max, 30000), shape).astype(dtype)
    check(DequantizeLinear, [x, SCALES[seed % 4], None if dtype is np.int32 else zeros(dtype, (), seed)])


@pytest.mark.parametrize("dtype", [*BYTES, np.int32])
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_dequantize_by_axis(check, dtype, axis):
    x = np.random.default_rng(0).integers(0, 100, (4, 4, 4)).astype(dtype)
    check(DequantizeLinear, [x, SCALES, None if dtype is np.int32 else zeros(dtype, (4,))], axis=axis)


@pytest.mark.parametrize("dtype", [np.float16, bf16.numpy])
def test_dequantize_to_16_bit_floats(check, dtype):
    x = np.arange(-128, 128).astype(np.int8)
    check(DequantizeLinear, [x, np.array(0.1, dtype), np.int8(4)], oracle=dtype is np.float16)


@given(st.lists(st.integers(1, 5), min_size=1, max_size=3), st.integers(0, 99), st.sampled_from(["both", "positive", "negative", "zero"]))
@settings(deadline=None, max_examples=30)
def test_dynamic(check, shape, seed, sign):
    x = reals(shape, seed)
    x = {"both": x, "positive": np.abs(x), "negative": -np.abs(x), "zero": x * 0}[sign]
    reference = check(DynamicQuantizeLinear, [x])
    for found, expected in zip(_through_decomposition(x), reference):
        np.testing.assert_array_equal(found, expected)


def _through_decomposition(x):
    """The three results, every op of the decomposition run by its lowering."""
    op = DynamicQuantizeLinear(value("x", *x.shape))
    graph = expand(Graph(op.operands, op.results, ("y", "scale", "zero")), lambda o: isinstance(o, DynamicQuantizeLinear))
    known = {graph.inputs[0]: x}
    for inner in graph.ops:
        if not isinstance(inner, Input):
            run = run_reference if isinstance(inner, Constant) else evaluate_op
            known.update(zip(inner.results, run(inner, [known[v] for v in inner.operands])))
    return [known[v] for v in graph.outputs]


def test_symbolic_axis_in_blocks():
    n = var("n", 1, 8)
    op = DequantizeLinear(value("x", n, 4, dtype=u8), value("s", n, 2), axis=1, block_size=2)
    arrays = [np.arange(12, dtype=np.uint8).reshape(3, 4), np.arange(6, dtype=np.float32).reshape(3, 2)]
    np.testing.assert_array_equal(evaluate_op(op, arrays)[0], run_reference(op, arrays)[0])


def test_errors():
    x, q = value("x", 2, 4), value("q", 2, 4, dtype=u8)
    with pytest.raises(TypeMismatch, match=r"3 scales for axis 1 of f32\[2,4\]"):
        QuantizeLinear(x, value("s", 3))
    with pytest.raises(TypeMismatch, match="differ in shape"):
        QuantizeLinear(x, value("s", 4), value("z", dtype=u8))
    with pytest.raises(TypeMismatch, match="cannot quantize to i64"):
        QuantizeLinear(x, value("s"), output_dtype=7)
    with pytest.raises(TypeMismatch, match="the zero point is i8, the result u8"):
        QuantizeLinear(x, value("s"), value("z", dtype=i8), output_dtype=2)
    with pytest.raises(TypeMismatch, match="does not hold one element a block of 3 at axis 1"):
        QuantizeLinear(x, value("s", 2, 4), block_size=3)
    with pytest.raises(TypeMismatch, match="the zero point is i8, the operand u8"):
        DequantizeLinear(q, value("s"), value("z", dtype=i8))
    with pytest.raises(TypeMismatch, match="cannot dequantize f32"):
        DequantizeLinear(x, value("s"))
    with pytest.raises(TypeMismatch, match="the scale must be a float, it is i32"):
        DequantizeLinear(q, value("s", dtype=i32))
    with pytest.raises(TypeMismatch, match="needs f32"):
        DynamicQuantizeLinear(q)
