"""Small elements: every bit pattern, roundings against ml_dtypes, and compiled conversions against the interpreter."""

import numpy as np
import pytest

from edgec import interpret
from edgec.compiler import compile
from edgec.errors import TypeMismatch, Unsupported
from edgec.evaluate import evaluate_op
from edgec.graph import Graph, graph_input, run_reference
from edgec.named_arrays import as_bytes, from_bytes
from edgec.onnx.tensor import CODE_OF_DTYPE
from edgec.ops.arithmetic import Add
from edgec.ops.cast import Cast, CastLike
from edgec.ops.quantization import DequantizeLinear, Product, QuantizeLinear, Ratio
from edgec.ops.reshape import Transpose
from edgec.ops.small_types import EncodeFloat, EncodeInteger, patterns, to_small
from edgec.types import SMALL, TensorType, dtype_of, f4e2m1, f8e4m3fn, f8e5m2, f8e8m0, f16, f32, i4, i8, i32, u4, u8

FLOATS = [t for t in SMALL if t.is_float]


def numbers():
    """f32 of all magnitudes, ties between neighbours of every format among them."""
    drawn = np.random.default_rng(0).standard_normal(4000) * 2.0 ** np.random.default_rng(1).integers(-20, 20, 4000)
    exact = np.concatenate([patterns(t) for t in FLOATS])
    ties = [(np.unique(p)[1:] + np.unique(p)[:-1]) / 2 for p in (patterns(t)[np.isfinite(patterns(t))].astype(np.float64) for t in FLOATS)]
    special = [0.0, -0.0, np.inf, -np.inf, np.nan, 1e-45, 3e38]
    return np.concatenate([drawn, exact, *ties, special]).astype(np.float32)


def through(values, graph_of):
    """(compiled, interpreted) results of a graph made on inputs of the arrays' types."""
    inputs = [graph_input(f"x{n}", TensorType(dtype_of(a.dtype), a.shape)) for n, a in enumerate(values)]
    result = graph_of(*inputs)
    graph, arrays = Graph(tuple(inputs), (result,), ("y",)), {f"x{n}": a for n, a in enumerate(values)}
    compiled = from_bytes(compile(graph, optimize="1", workers=0).run(as_bytes(arrays)), {"y": result.dtype})
    return compiled["y"], interpret(graph, arrays)["y"]


def require_same(found, expected):
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found.astype(np.float64), expected.astype(np.float64))


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("saturate", [0, 1])
def test_every_rounding(dtype, saturate):
    x = numbers()
    op = EncodeFloat(graph_input("x", TensorType(f32, x.shape)), format=dtype.name, saturate=saturate)
    found, expected = evaluate_op(op, [x])[0].view(dtype.numpy), run_reference(op, [x])[0].view(dtype.numpy)
    require_same(found, expected)
    zeros = (expected.astype(np.float32) == 0) & ~np.isnan(x)
    if dtype is not f8e8m0:
        np.testing.assert_array_equal(found[zeros].view(np.uint8), expected[zeros].view(np.uint8))  # the sign of zero as well


@pytest.mark.parametrize("round_mode", ["up", "down", "nearest"])
def test_powers_of_two(round_mode):
    x = np.abs(numbers())
    op = EncodeFloat(graph_input("x", TensorType(f32, x.shape)), format="f8e8m0", round_mode=round_mode)
    np.testing.assert_array_equal(evaluate_op(op, [x])[0], run_reference(op, [x])[0])
    wanted = {"up": 4.0, "down": 2.0, "nearest": 4.0}[round_mode]
    assert to_small(np.float32([3.0]), f8e8m0, round_mode=round_mode).astype(np.float32) == wanted


def test_saturation():
    x = np.float32([1e9, -np.inf, np.nan])
    assert to_small(x, f8e4m3fn).astype(np.float32).tolist()[:2] == [448.0, -448.0]
    assert np.isnan(to_small(x, f8e4m3fn, saturate=False).astype(np.float32)).all()
    assert np.isinf(to_small(x, f8e5m2, saturate=False).astype(np.float32)[:2]).all()


@pytest.mark.parametrize("dtype", SMALL, ids=str)
def test_compiled_conversions(dtype):
    every = np.arange(1 << dtype.bits, dtype=np.uint8).view(dtype.numpy)
    for wide in (f32, f16, i8):
        require_same(*through([every], lambda x: Cast(x, to=CODE_OF_DTYPE[wide]).output))
    x = np.linspace(-6, 6, 37, dtype=np.float32)
    require_same(*through([x], lambda v: Cast(v, to=CODE_OF_DTYPE[dtype]).output))
    require_same(*through([x, every], lambda v, like: CastLike(v, like).output))


def test_elements_are_moved_as_they_are():
    x = np.arange(15, dtype=np.uint8).reshape(3, 5).view(i4.numpy)
    require_same(*through([x], lambda v: Transpose(v).output))


@pytest.mark.parametrize("dtype", [t for t in SMALL if t is not f8e8m0], ids=str)
def test_compiled_quantization(dtype):
    rng = np.random.default_rng(3)
    x, scale = rng.standard_normal((3, 8)).astype(np.float32), np.float32([0.5, 0.25, 2.0])
    zero = np.zeros(3, np.float32) if dtype.is_float else np.float32([0, 1, 1])
    zero = zero.astype(dtype.numpy)
    quantized = through([x, scale, zero], lambda *v: QuantizeLinear(*v, axis=0).output)
    require_same(*quantized)
    require_same(*through([quantized[1], scale, zero], lambda *v: DequantizeLinear(*v, axis=0).output))


def test_quantization_saturates():
    x, scale = np.float32([100, -100]), np.float32(1)
    found, expected = through([x, scale], lambda *v: QuantizeLinear(*v, output_dtype=CODE_OF_DTYPE[u4]).output)
    assert found.astype(int).tolist() == expected.astype(int).tolist() == [15, 0]


def test_what_is_refused():
    a = graph_input("a", TensorType(i4, (3,)))
    with pytest.raises(Unsupported, match="Add cannot compute with i4"):
        compile(Graph((a,), (Add(a, a).output,), ("y",)), optimize="0", workers=0)
    with pytest.raises(TypeMismatch, match="needs f32"):
        EncodeFloat(graph_input("x", TensorType(f16, (3,))), format="f4e2m1")
    with pytest.raises(TypeMismatch, match="no small float format f32"):
        EncodeFloat(graph_input("x", TensorType(f32, (3,))), format="f32")
    with pytest.raises(TypeMismatch, match="round_mode"):
        EncodeFloat(graph_input("x", TensorType(f32, (3,))), format="f8e8m0", round_mode="away")
    with pytest.raises(TypeMismatch, match="needs i32"):
        EncodeInteger(graph_input("x", TensorType(u8, (3,))), bits=4)


def test_parts_agree_with_their_references(check):
    check(EncodeInteger, [np.arange(-20, 20, dtype=np.int32)], oracle=False, bits=4)
    pair = [np.float32([[1, 2], [3, 4]]), np.float32([2, 4])]
    check(Ratio, pair, oracle=False, axis=0)
    check(Product, pair, oracle=False, axis=0, output_dtype=CODE_OF_DTYPE[f16])
    assert dtype_of(patterns(i4).dtype) is i32 and patterns(f4e2m1).dtype == np.float32
