"""The pass integers: scales that move keep every bit, products become integer operators with the bits of the formula."""

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import edgec
from edgec.graph import Graph, Value, constant, graph_input, run_reference
from edgec.interpreter import interpret
from edgec.ops.activation import HardSwish, LeakyRelu, Relu, Sigmoid
from edgec.ops.arithmetic import Add, Clip, Div, Mul
from edgec.ops.convolution import Conv, ConvTranspose
from edgec.ops.depth_space import DepthToSpace
from edgec.ops.gather import Gather
from edgec.ops.joining import Concat, Tile
from edgec.ops.matmul import Gemm, MatMul
from edgec.ops.pooling import AveragePool, GlobalAveragePool, MaxPool
from edgec.ops.quantization import DequantizeLinear, QuantizeLinear
from edgec.ops.quantized import sum_type
from edgec.ops.quantized_arithmetic import QLinearAdd, QLinearMul
from edgec.ops.quantized_contrib import QLinearConcat
from edgec.ops.reduction import ReduceMean
from edgec.ops.reshape import Reshape, Transpose
from edgec.ops.resize import Resize
from edgec.ops.slicing import Pad, Slice
from edgec.ops.transcendental import Erf, Exp
from edgec.passes import rules_scales
from edgec.passes.integers import integer_form, integers
from edgec.rewrite import rewrite
from edgec.types import TensorType, f32, f64, i8, i16, i32, i64, u8
from edgec.verifier import verify

quick = settings(deadline=None, max_examples=25)
DTYPES = {"u8": u8, "i8": i8}


def number(value, dtype=np.float32) -> Value:
    return constant(np.asarray(value, dtype))


def dequantized(x: Value, scale, zero, axis=1) -> Value:
    return DequantizeLinear(x, number(scale), number(zero, x.dtype.numpy), axis=axis).output


def quantized(x: Value, scale, zero, dtype=u8) -> Value:
    return QuantizeLinear(x, number(scale), number(zero, dtype.numpy)).output


def kinds(graph: Graph) -> list[str]:
    return [type(op).__name__ for op in graph.ops if type(op).__name__ not in ("Input", "Constant")]


def draw(seed: int, dtype, *shape) -> np.ndarray:
    return np.random.default_rng(seed).integers(dtype.low, dtype.high, shape, endpoint=True).astype(dtype.numpy)


def ints(*values) -> Value:
    return constant(np.array(values, np.int64))


MOVES = {
    "Reshape": lambda x: Reshape(x, ints(4, -1)).output,
    "Transpose": lambda x: Transpose(x, (0, 2, 3, 1)).output,
    "Slice": lambda x: Slice(x, ints(1), ints(4), ints(2), ints(2)).output,
    "Gather": lambda x: Gather(x, ints(3, 0, 0), axis=1).output,
    "Tile": lambda x: Tile(x, ints(1, 1, 2, 1)).output,
    "DepthToSpace": lambda x: DepthToSpace(x, blocksize=2).output,
    "Pad": lambda x: Pad(x, ints(0, 0, 1, 2, 0, 0, 0, 1)).output,
    "Pad reflect": lambda x: Pad(x, ints(0, 0, 1, 2, 0, 0, 0, 1), mode="reflect").output,
    "MaxPool": lambda x: MaxPool(x, kernel_shape=(3, 2), strides=(2, 1), pads=(1, 0, 1, 1)).output,
    "Relu": lambda x: Relu(x).output,
    "Resize": lambda x: Resize(x, None, constant(np.float32([1, 1, 2, 1.5])), mode="nearest").output,
    "Concat": lambda x: Concat((x, Relu(x).output), axis=1).output,
}


@pytest.mark.parametrize("move", MOVES)
@pytest.mark.parametrize("dtype, zero", [("u8", 0), ("u8", 131), ("i8", -7)])
def test_scales_move_without_changing_a_bit(move, dtype, zero):
    """With the same scale behind, bytes are moved and nothing is left; with another one, one requantization."""
    dtype = DTYPES[dtype]
    q = graph_input("q", TensorType(dtype, (1, 4, 5, 6)))
    y = MOVES[move](dequantized(q, 0.037, zero))
    graph = Graph((q,), (quantized(y, 0.037, zero, dtype), quantized(y, 0.05, 3, u8), y), ("same", "other", "real"))
    found = rewrite(graph, *rules_scales.RULES)
    assert verify(found) == []
    assert not any(isinstance(op, (DequantizeLinear, QuantizeLinear)) for op in found.with_outputs(found.outputs[:1] * 3).ops)
    arrays = {"q": draw(1, dtype, 1, 4, 5, 6)}
    expected, results = interpret(graph, arrays), interpret(found, arrays)
    for name in expected:
        np.testing.assert_array_equal(results[name], expected[name])


def test_concatenated_tensors_of_other_scales_are_requantized_apart():
    a, b = (graph_input(n, TensorType(u8, (1, 2, 3))) for n in "ab")
    joined = Concat((dequantized(a, 0.1, 5), dequantized(b, 0.2, 0)), axis=1).output
    graph = Graph((a, b), (quantized(joined, 0.2, 0),), ("y",))
    found = integers(graph)
    assert kinds(found) == ["DequantizeLinear", "QuantizeLinear", "Concat"]
    arrays = {"a": draw(1, u8, 1, 2, 3), "b": draw(2, u8, 1, 2, 3)}
    np.testing.assert_array_equal(interpret(found, arrays)["y"], interpret(graph, arrays)["y"])


def test_another_scale_or_type_does_not_cancel():
    q = graph_input("q", TensorType(u8, (3,)))
    x = dequantized(q, 0.1, 5)
    for y in (quantized(x, 0.1, 6), quantized(x, 0.11, 5), quantized(x, 0.1, 5, i8)):
        assert kinds(integers(Graph((q,), (y,), ("y",)))) == ["DequantizeLinear", "QuantizeLinear"]


def formula(total, m, zero, dtype, low, high):
    """clamp(round(f32(total) * m) + zero), the clamp of a real activation by bounds that are quantized themselves."""
    y = np.clip(np.rint(total.astype(np.float32) * np.float32(m)) + zero, dtype.low, dtype.high)
    return np.clip(y, low, high).astype(dtype.numpy)


@st.composite
def products(draw_):
    """A convolution, Gemm or MatMul in QDQ form with its integers: (graph, arrays, i64 sum with bias, m, zero point, type, bounds)."""
    seed, x_type, y_type = draw_(st.integers(0, 99)), draw_(st.sampled_from((u8, i8))), draw_(st.sampled_from((u8, i8)))
    kind, per_channel, bias = draw_(st.sampled_from(("Conv", "Gemm", "MatMul"))), draw_(st.booleans()), draw_(st.sampled_from((0, 1, 2)))
    random = np.random.default_rng(seed)
    zx, zy, sx, sy = draw(seed, x_type), draw(seed + 1, y_type), np.float32(random.uniform(0.01, 0.1)), np.float32(random.uniform(0.5, 3))
    channels, inner = draw_(st.integers(1, 5)), draw_(st.integers(1, 9))
    sw = random.uniform(0.001, 0.02, channels if per_channel else ()).astype(np.float32)
    shape, w_shape = ((2, inner, 5), (channels, inner, 3)) if kind == "Conv" else ((3, inner), (inner, channels))
    q, w = graph_input("q", TensorType(x_type, shape)), draw(seed + 2, i8, *w_shape)
    x, v = dequantized(q, sx, zx), dequantized(number(w, np.int8), sw, np.zeros(sw.shape), axis=0 if kind == "Conv" else 1)
    b = random.integers(-3000, 3000, channels) if bias and kind != "MatMul" else np.zeros(channels, np.int64)
    real = None if not bias or kind == "MatMul" else \
        DequantizeLinear(number(b, np.int32), number(np.broadcast_to(sx * sw, channels)), None, axis=0).output if bias == 1 \
        else number(b * (sx * sw).astype(np.float64))
    y = Conv(x, v, real, pads=(1, 1)).output if kind == "Conv" else Gemm(x, v, real).output if kind == "Gemm" else MatMul(x, v).output
    act, limits = draw_(st.sampled_from((("none", None), ("relu", (0, np.inf)), ("relu6", (0, 6)), ("clip", (-1.3, 2.7)))))
    y = y if act == "none" else Relu(y).output if act == "relu" else Clip(y, *(number(n) for n in limits)).output
    graph = Graph((q,), (quantized(y, sy, zy, y_type),), ("y",))
    a = draw(seed + 3, x_type, *shape).astype(np.int64)
    if kind == "Conv":
        padded = np.pad(a - int(zx), ((0, 0), (0, 0), (1, 1)))
        total = sum(np.einsum("ncy,oc->noy", padded[:, :, k:k + 5], w[:, :, k].astype(np.int64)) for k in range(3)) + b[:, None]
        m = ((sx * sw) / sy).reshape(-1, 1)
    else:
        total, m = (a - int(zx)) @ w.astype(np.int64) + b, (sx * sw) / sy
    low, high = (y_type.low, y_type.high) if limits is None else \
        (int(np.clip(np.rint(np.float32(n) / sy) + int(zy), y_type.low, y_type.high)) for n in limits)
    return graph, {"q": a.astype(x_type.numpy)}, formula(total, m, int(zy), y_type, low, high)


@given(products())
@quick
def test_products_compute_the_formula(case):
    graph, arrays, expected = case
    found = integer_form(graph)
    assert verify(found) == []
    assert not any(isinstance(op, (Conv, Gemm, MatMul, QuantizeLinear, DequantizeLinear)) for op in found.ops)
    np.testing.assert_array_equal(interpret(found, arrays)["y"], expected)


@given(products())
@settings(deadline=None, max_examples=6)
def test_native_code_equals_the_interpreter(case):
    graph, arrays, expected = case
    np.testing.assert_array_equal(edgec.compile(graph, optimize="1", workers=0).run(arrays)["y"], expected)


@st.composite
def transposed(draw_):
    """A transposed convolution in QDQ form: (graph, arrays, exact sum with bias, f32(sx * sw), sy, zero point, type)."""
    seed, x_type, y_type = draw_(st.integers(0, 99)), draw_(st.sampled_from((u8, i8, i16))), draw_(st.sampled_from((u8, i8)))
    group, per_channel, biased = draw_(st.integers(1, 2)), draw_(st.booleans()), draw_(st.booleans())
    kernel, stride = draw_(st.sampled_from(((2, 2), (3, 2), (4, 2), (3, 1), (2, 3)))), draw_(st.integers(1, 3))
    attributes = {"strides": (stride, 2), "pads": draw_(st.sampled_from(((0, 0, 0, 0), (1, 0, 1, 1)))), "group": group,
                  "output_padding": (draw_(st.integers(0, stride - 1)), draw_(st.integers(0, 1)))}
    random = np.random.default_rng(seed)
    zx, zy, sx, sy = draw(seed, x_type), draw(seed + 1, y_type), np.float32(random.uniform(0.01, 0.1)), np.float32(random.uniform(0.5, 3))
    sw = random.uniform(0.001, 0.02, 3 if per_channel else ()).astype(np.float32)
    a, w = draw(seed + 2, x_type, 1, 4 * group, 4, 5), draw(seed + 3, i8, 4 * group, 3, *kernel)
    b = random.integers(-3000, 3000, 3 * group)
    m = np.tile(sx * sw, group) if per_channel else sx * sw
    bias = DequantizeLinear(number(b, np.int32), number(np.broadcast_to(m, b.shape)), None, axis=0).output
    q = graph_input("q", TensorType(x_type, a.shape))
    y = ConvTranspose(dequantized(q, sx, zx), dequantized(number(w, np.int8), sw, np.zeros(sw.shape), axis=1), bias if biased else None,
                      **attributes).output
    exact = ConvTranspose(graph_input("x", TensorType(f64, a.shape)), number(w, np.float64), **attributes)
    total = exact.reference(a - float(zx), w.astype(np.float64), None) + (b.reshape(-1, 1, 1) if biased else 0)
    return q, y, {"q": a}, total, m.reshape(-1, 1, 1) if per_channel else m, sy, zy, y_type


@given(transposed(), st.booleans())
@settings(deadline=None, max_examples=16)
def test_transposed_convolutions_are_of_integers(case, bounded):
    q, y, arrays, total, m, sy, zy, y_type = case
    graph = Graph((q,), (quantized(Relu(y).output if bounded else y, sy, zy, y_type),), ("y",))
    found = integer_form(graph)
    assert verify(found) == []
    assert set(kinds(found)) <= {"QLinearConvTranspose", "Clip"}
    expected = formula(total, m / sy, int(zy), y_type, int(zy) if bounded else y_type.low, y_type.high)
    np.testing.assert_array_equal(interpret(found, arrays)["y"], expected)
    np.testing.assert_array_equal(edgec.compile(graph, optimize="1", workers=0).run(arrays)["y"], expected)


@given(transposed())
@settings(deadline=None, max_examples=8)
def test_transposed_convolutions_that_stay_real_are_exact_times_the_scale(case):
    q, y, arrays, total, m, *_ = case
    graph = Graph((q,), (y,), ("y",))
    found = integer_form(graph)
    words = q.dtype is i16  # i32 sums of 16 bits could wrap
    assert ("ConvTransposeInteger" in kinds(found)) is not words
    expected = interpret(found, arrays)["y"]
    np.testing.assert_allclose(expected, total * m, rtol=1e-5 if words else 3e-7, atol=np.abs(total * m).max() * 1e-6 * words)
    if not words:
        np.testing.assert_array_equal(edgec.compile(graph, optimize="1", workers=0).run(arrays)["y"], expected)


def test_transposed_convolutions_of_computed_weights_stay_real():
    q, w = graph_input("q", TensorType(u8, (1, 4, 3, 3))), graph_input("w", TensorType(i8, (4, 2, 2, 2)))
    y = ConvTranspose(dequantized(q, 0.1, 3), dequantized(w, 0.2, 0), strides=(2, 2)).output
    assert "ConvTranspose" in kinds(integers(Graph((q, w), (quantized(y, 0.3, 0),), ("y",))))


@st.composite
def words(draw_):
    """A convolution or Gemm of 16-bit activations: (graph, arrays, exact sum, m, zero point); long rows leave the i32 range."""
    seed, kind, zx = draw_(st.integers(0, 99)), draw_(st.sampled_from(("Conv", "Gemm", "MatMul"))), draw_(st.sampled_from((0, 77, -32768)))
    inner, full = draw_(st.integers(1, 5)) if draw_(st.booleans()) else 1200, draw_(st.booleans())
    random = np.random.default_rng(seed)
    sx, sy, sw = np.float32(0.001), np.float32(inner * 0.004), random.uniform(0.001, 0.002, 3).astype(np.float32)
    shape, w_shape = ((1, inner, 4), (3, inner, 1)) if kind == "Conv" else ((2, inner), (inner, 3))
    q, w = graph_input("q", TensorType(i16, shape)), np.full(w_shape, 127, np.int8) if full else draw(seed, i8, *w_shape)
    x, v = dequantized(q, sx, zx), dequantized(number(w, np.int8), sw, [0, 0, 0], axis=0 if kind == "Conv" else 1)
    y = Conv(x, v).output if kind == "Conv" else Gemm(x, v).output if kind == "Gemm" else MatMul(x, v).output
    a = np.full(shape, 32767) if full else draw(seed + 1, i16, *shape).astype(np.int64)
    wide = w.astype(np.int64)
    total = np.einsum("ncy,oc->noy", a - zx, wide[:, :, 0]) if kind == "Conv" else (a - zx) @ wide
    m = ((sx * sw) / sy).reshape(-1, *[1] * (kind == "Conv"))
    return Graph((q,), (quantized(y, sy, -5, i16),), ("y",)), {"q": a.astype(np.int16)}, formula(total, m, -5, i16, i16.low, i16.high)


@given(words())
@settings(deadline=None, max_examples=12)
def test_activations_of_16_bits(case):
    """Exact also where the sum needs 64 bits; native code as well."""
    graph, arrays, expected = case
    found = integer_form(graph)
    assert len(kinds(found)) == 1 and kinds(found)[0].startswith("Q")
    np.testing.assert_array_equal(interpret(found, arrays)["y"], expected)
    np.testing.assert_array_equal(edgec.compile(graph, optimize="1", workers=0).run(arrays)["y"], expected)


def test_sums_of_16_bits_stay_in_32_where_they_fit():
    x = graph_input("x", TensorType(i16, (1, 500)))
    assert sum_type(x, None, np.full((500, 2), 100, np.int8), 0) is i32      # 500 * 100 * 32768 < 2^31
    assert sum_type(x, None, np.full((500, 2), 127, np.int8), 0) is i32
    assert sum_type(x, None, np.full((600, 2), 127, np.int8), 0) is i64
    assert sum_type(x, constant(np.int16(9000)), np.full((500, 2), 127, np.int8), 0) is i64
    assert sum_type(graph_input("x", TensorType(u8, (1, 9))), None, None, 0) is i32


def test_a_product_that_is_not_quantized_again_is_exact_times_the_scale():
    q = graph_input("q", TensorType(u8, (2, 70)))
    w, x = draw(1, i8, 70, 3), draw(2, u8, 2, 70)
    sw = np.float32([0.1, 0.3, 0.007])
    y = LeakyRelu(MatMul(dequantized(q, 0.3, 7), dequantized(number(w, np.int8), sw, [0, 0, 0])).output).output
    found = integer_form(Graph((q,), (y,), ("y",)))
    assert kinds(found) == ["MatMulInteger", "Cast", "Mul", "LeakyRelu"]
    total = ((x.astype(np.int64) - 7) @ w).astype(np.float32) * (np.float32(0.3) * sw)
    np.testing.assert_array_equal(interpret(found, {"q": x})["y"], np.where(total < 0, total * np.float32(0.01), total))


def test_a_bias_of_other_scale_is_rounded_to_the_sums_scale():
    q = graph_input("q", TensorType(u8, (1, 4)))
    w = dequantized(number(draw(1, i8, 4, 2), np.int8), 0.5, 0)
    bias = DequantizeLinear(number([100, -7], np.int32), number(0.03)).output
    gemm = integer_form(Graph((q,), (quantized(Gemm(dequantized(q, 0.25, 0), w, bias).output, 1.0, 0),), ("y",))).outputs[0].op
    assert gemm.c.array.tolist() == [24, -2]  # 100 * 0.03 / 0.125, -7 * 0.03 / 0.125


MEANS = {
    "QLinearAdd": lambda x: Add(x, Transpose(x, (0, 1, 3, 2)).output).output,
    "QLinearMul": lambda x: Mul(x, x).output,
    "QLinearAveragePool": lambda x: AveragePool(x, kernel_shape=(3, 2), pads=(1, 0, 1, 1)).output,
    "QLinearGlobalAveragePool": lambda x: GlobalAveragePool(x).output,
    "QLinearReduceMean": lambda x: ReduceMean(x, ints(1, 2), keepdims=0).output,
}


@pytest.mark.parametrize("name", MEANS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_sums_and_means_are_within_a_quantum_of_real_numbers(name, dtype):
    """... and become the contributed operators, also under a Relu; native code equals the interpreter."""
    dtype = DTYPES[dtype]
    q = graph_input("q", TensorType(dtype, (2, 4, 5, 5)))
    y = Relu(MEANS[name](dequantized(q, 0.037, dtype.low + 100))).output
    graph = Graph((q,), (quantized(y, 0.05, dtype.low + 7, dtype),), ("y",))
    found = integer_form(graph)
    assert kinds(found) == (["Transpose"] if name == "QLinearAdd" else []) + [name, "Clip"]
    arrays = {"q": draw(3, dtype, 2, 4, 5, 5)}
    result = interpret(found, arrays)["y"]
    assert np.abs(result.astype(int) - interpret(graph, arrays)["y"]).max() <= 1
    np.testing.assert_array_equal(edgec.compile(graph, optimize="1", workers=0).run(arrays)["y"], result)


CHAINS = {
    "Sigmoid": lambda x: Sigmoid(x).output,
    "silu": lambda x: Mul(x, Sigmoid(x).output).output,
    "HardSwish": lambda x: HardSwish(x).output,
    "gelu": lambda x: Mul(Mul(x, Add(Erf(Div(x, number(1.4142135)).output).output, number([1.0])).output).output, number(0.5)).output,
    "Exp": lambda x: Exp(Clip(x, number(-3), number(3)).output).output,
}


@pytest.mark.parametrize("name", CHAINS)
@pytest.mark.parametrize("dtype, y_type", [("u8", "i8"), ("i8", "u8"), ("i8", "i8")])
def test_functions_of_bytes_become_exact_tables(name, dtype, y_type):
    dtype, y_type = DTYPES[dtype], DTYPES[y_type]
    q = graph_input("q", TensorType(dtype, (16, 16)))
    graph = Graph((q,), (quantized(CHAINS[name](dequantized(q, 0.037, dtype.low + 100)), 0.03, y_type.low + 9, y_type),), ("y",))
    assert kinds(integer_form(graph)) == ["Lookup"]
    arrays = {"q": np.arange(dtype.low, dtype.high + 1).reshape(16, 16).astype(dtype.numpy)}
    expected = interpret(graph, arrays)["y"]
    np.testing.assert_array_equal(interpret(integer_form(graph), arrays)["y"], expected)
    np.testing.assert_array_equal(edgec.compile(graph, optimize="1", workers=0).run(arrays)["y"], expected)


@pytest.mark.parametrize("combine, integer", [(Mul, QLinearMul), (Add, QLinearAdd)])
@pytest.mark.parametrize("dtype", DTYPES.values(), ids=DTYPES)
def test_a_function_that_is_rounded_before_it_meets_its_operand_is_one_table(combine, integer, dtype):
    zero = dtype.low + 100
    q = graph_input("q", TensorType(dtype, (16, 16)))
    real = dequantized(q, 0.037, zero)
    inner = quantized(Sigmoid(real).output, 1 / 256, dtype.low, dtype)
    graph = Graph((q,), (quantized(combine(real, dequantized(inner, 1 / 256, dtype.low)).output, 0.03, dtype.low + 9, dtype),), ("y",))
    assert kinds(integer_form(graph)) == ["Lookup"]
    every = np.arange(dtype.low, dtype.high + 1).reshape(16, 16).astype(dtype.numpy)
    known = [number(0.037), number(zero, dtype.numpy), number(1 / 256), number(dtype.low, dtype.numpy), number(0.03),
             number(dtype.low + 9, dtype.numpy)]
    inside = interpret(Graph((q,), (inner,), ("s",)), {"q": every})["s"]
    expected = run_reference(integer(q, *known[:2], constant(inside), *known[2:]),
                             [every, known[0].array, known[1].array, inside, *(v.array for v in known[2:])])[0]
    np.testing.assert_array_equal(interpret(integer_form(graph), {"q": every})["y"], expected)
    np.testing.assert_array_equal(edgec.compile(graph, optimize="1", workers=0).run({"q": every})["y"], expected)


def test_a_function_of_a_function_is_one_table():
    q = graph_input("q", TensorType(u8, (16, 16)))
    inner = dequantized(quantized(Sigmoid(dequantized(q, 0.05, 128)).output, 1 / 256, 0), 1 / 256, 0)
    graph = Graph((q,), (quantized(Exp(inner).output, 0.02, 3),), ("y",))
    assert kinds(integer_form(graph)) == ["Lookup"]
    arrays = {"q": np.arange(256).reshape(16, 16).astype(np.uint8)}
    np.testing.assert_array_equal(interpret(integer_form(graph), arrays)["y"], interpret(graph, arrays)["y"])


def test_what_is_cheap_or_reads_two_tensors_stays_arithmetic():
    a, b = (graph_input(n, TensorType(u8, (3,))) for n in "ab")
    x = dequantized(a, 0.1, 5)
    cheap = quantized(Mul(x, number(0.3)).output, 0.2, 1)
    both = quantized(Mul(Sigmoid(x).output, dequantized(b, 0.2, 0)).output, 0.2, 1)
    assert "Lookup" not in kinds(integers(Graph((a, b), (cheap, both), ("y", "z"))))


def test_sums_of_other_types_stay_real():
    a, b = graph_input("a", TensorType(u8, (3,))), graph_input("b", TensorType(i8, (3,)))
    graph = Graph((a, b), (quantized(Add(dequantized(a, 0.1, 5), dequantized(b, 0.2, 0)).output, 0.3, 0),), ("y",))
    assert kinds(integers(graph)) == ["DequantizeLinear", "DequantizeLinear", "Add", "QuantizeLinear"]


def test_contributed_operators_are_written_out():
    q = graph_input("q", TensorType(u8, (2, 3)))
    one = [number(0.1), number(5, np.uint8)]
    joined = QLinearConcat(*one, (q, *one, q, *one), axis=1).output
    assert kinds(integer_form(Graph((q,), (joined,), ("y",)))) == ["Concat"]


def test_weights_with_a_scale_for_each_input_stay_real():
    q = graph_input("q", TensorType(u8, (1, 4)))
    w = dequantized(number(draw(1, i8, 4, 2), np.int8), [0.5, 0.1, 0.2, 0.3], [0, 0, 0, 0], axis=0)
    graph = Graph((q,), (quantized(MatMul(dequantized(q, 0.25, 0), w).output, 1.0, 0),), ("y",))
    assert "MatMul" in kinds(integers(graph))


def test_a_product_that_others_read_is_not_requantized_in_their_place():
    q = graph_input("q", TensorType(u8, (1, 4)))
    y = MatMul(dequantized(q, 0.25, 0), dequantized(number(draw(1, i8, 4, 2), np.int8), 0.5, 0)).output
    found = integer_form(Graph((q,), (quantized(y, 1.0, 0), y), ("y", "real")))
    assert kinds(found) == ["MatMulInteger", "Cast", "Mul", "QuantizeLinear"]


def test_graphs_without_scales_are_left_alone():
    x = graph_input("x", TensorType(f32, (2,)))
    graph = Graph((x,), (Relu(x).output,), ("y",))
    assert integer_form(graph) is graph
