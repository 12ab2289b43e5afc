"""Weights in few bits: they mean the same on every machine, and the object is as small as they are."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

import edgec
from edgec.backends.emulate import emulate, missing_tools
from edgec.backends.inspect_object import section_sizes
from edgec.backends.target import find
from edgec.compiler import compile, lower, optimise_graph
from edgec.expr import cast, read, sum_over, var
from edgec.graph import Graph, constant, graph_input
from edgec.kernel import Axis, Buffer, Kernel, Program, Stage
from edgec.linear import coefficient
from edgec.loops import For, Store, load
from edgec.ops.activation import Relu
from edgec.ops.arithmetic import Add
from edgec.ops.convolution import Conv
from edgec.ops.gather import Gather
from edgec.ops.matmul import Gemm, MatMul
from edgec.ops.quantization import DequantizeLinear
from edgec.ops.reshape import Reshape, Transpose
from edgec.passes.bits import Multiples, bits
from edgec.passes.codebooks import codebooks
from edgec.passes.pack import Tables
from edgec.passes.scales import scales
from edgec.sweeps import walk
from edgec.types import DTYPES, TensorType, f32, i8, index

RNG = np.random.default_rng(5)
SMALL = {"i8": np.int8, "u8": np.uint8, "i4": ml_dtypes.int4, "u4": ml_dtypes.uint4, "i2": ml_dtypes.int2, "u2": ml_dtypes.uint2}


def dequantized(shape, dtype, granularity, axis=0, zero_point=True, block=4):
    """A DequantizeLinear of random numbers, per tensor, per place of an axis, or per block of an axis."""
    low, high = DTYPES[dtype].low, DTYPES[dtype].high
    q = constant(RNG.integers(low, high + 1, shape).astype(np.int32).astype(SMALL[dtype]))
    parameters = {"tensor": (), "axis": (shape[axis],),
                  "block": tuple(-(-n // block) if a == axis else n for a, n in enumerate(shape))}[granularity]
    scale = constant(RNG.uniform(0.5, 1.5, parameters).astype(np.float32) / high)
    zero = constant(RNG.integers(low, high + 1, parameters).astype(np.int32).astype(SMALL[dtype])) if zero_point else None
    return DequantizeLinear(q, scale, zero, axis=axis, block_size=block if granularity == "block" else 0).output


def network(output, *inputs):
    return Graph(inputs, (output,), ("y",), "net")


def check(graph, target="native", **options):
    """Machine code and interpreter agree within the rounding of one sum; gives the artifact."""
    artifact = compile(graph, target, workers=0, **options)
    arrays = {v.op.name: RNG.standard_normal(v.shape).astype(np.float32) if v.dtype is f32 else RNG.integers(0, 20, v.shape)
              for v in graph.inputs}
    found = artifact.run(arrays) if target == "native" else emulate(artifact, [arrays]).outputs[0]
    for name, expected in edgec.interpret(graph, arrays).items():
        np.testing.assert_allclose(found[name], expected, rtol=2e-5, atol=2e-5 * max(1.0, float(np.abs(expected).max())))
    return artifact


def layers(dtype, granularity):
    """A matrix product, a convolution (with padding), a depthwise one, and rows looked up."""
    x = graph_input("x", TensorType(f32, (3, 48)))
    a = graph_input("a", TensorType(f32, (1, 24, 9, 7)))
    i = graph_input("i", TensorType(DTYPES["i64"], (5,)))
    conv = dequantized((40, 24, 3, 3), dtype, granularity, axis=1 if granularity == "block" else 0)
    return {"matmul": network(MatMul(x, dequantized((48, 72), dtype, granularity, axis=0 if granularity == "block" else 1)).output, x),
            "gemm": network(Gemm(x, dequantized((50, 48), dtype, granularity), transB=1).output, x),
            "conv": network(Conv(Relu(a).output, conv, pads=(1, 1, 1, 1)).output, a),
            "depthwise": network(Conv(a, dequantized((24, 1, 5, 5), dtype, granularity), group=24, pads=(2, 2, 2, 2)).output, a),
            "gather": network(Gather(dequantized((20, 96), dtype, granularity, axis=1), i).output, i)}


@pytest.mark.parametrize("granularity", ["tensor", "axis", "block"])
@pytest.mark.parametrize("dtype", list(SMALL))
def test_all_types_and_granularities(dtype, granularity):
    for graph in layers(dtype, granularity).values():
        check(graph)


@pytest.mark.parametrize("target", ["x86-64-v2", "aarch64", "cortex-m4"])
@pytest.mark.parametrize("dtype", ["i8", "u4", "i2"])
def test_other_machines(target, dtype):
    if missing_tools(find(target)):
        pytest.fail(f"this computer cannot run code for {target}: {missing_tools(find(target))}")
    for graph in layers(dtype, "axis").values():
        check(graph, target)


def mlp(dtype):
    """256-256-128-10, in f32 (`dtype` None) or with weights in fewer bits."""
    x = graph_input("x", TensorType(f32, (1, 256)))
    value = x
    for n, (inputs, outputs) in enumerate([(256, 256), (256, 128), (128, 10)]):
        w = dequantized((inputs, outputs), dtype, "axis", axis=1, zero_point=False) if dtype else \
            constant(RNG.standard_normal((inputs, outputs)).astype(np.float32))
        value = Gemm(value, w, constant(RNG.standard_normal(outputs).astype(np.float32))).output
        value = Relu(value).output if n < 2 else value
    return network(value, x)


def weights_bytes(artifact):
    return sum(size for name, size in section_sizes(artifact.object).items() if name.endswith("_weights"))


@pytest.mark.parametrize("target", ["native", "aarch64", "cortex-m4", "cortex-m55"])
def test_the_object_is_as_small_as_its_weights(target):
    whole = weights_bytes(compile(mlp(None), target, workers=0))
    for dtype, share in (("i8", 0.265), ("i4", 0.14), ("i2", 0.078)):
        assert weights_bytes(compile(mlp(dtype), target, workers=0)) <= share * whole


def test_without_packed_they_are_floats():
    graph = mlp("i4")
    artifact = check(graph, without=("packed",))
    assert weights_bytes(artifact) >= 4 * 99_000
    assert weights_bytes(check(graph)) <= 0.14 * weights_bytes(artifact)


@pytest.mark.parametrize("values, width", [(2, 1), (4, 2), (8, 3), (16, 4), (40, 6), (200, 8)])
@pytest.mark.parametrize("dtype", [np.int64, np.uint8])
def test_codebooks_stay_indices(values, width, dtype):
    x = graph_input("x", TensorType(f32, (2, 64)))
    book = constant(RNG.standard_normal(values).astype(np.float32))
    chosen = Gather(book, constant(RNG.integers(0, values, (48 * 64,)).astype(dtype))).output
    weights = Transpose(Reshape(chosen, constant(np.array([48, 64]))).output, perm=(1, 0)).output
    graph = network(MatMul(x, weights).output, x)
    assert weights_bytes(check(graph)) <= 48 * 64 * width / 8 + 4 * values + 128


def test_a_codebook_is_a_choice_where_vectors_are_long():
    i = var("i", 0, 63)
    book = Buffer("book", f32, (3,), "constant", data=np.float32([1, 2, 4]))
    at = Buffer("at", i8, (64,), "constant", data=np.arange(64, dtype=np.int8) % 3)
    y = Buffer("y", f32, (64,), "output")
    stage = Stage("y", (), read(book, (cast(read(at, (i,)), index),)), y, (i,))
    program = Program("p", (), (y,), (Kernel("y", (Axis(i, 64),), (stage,)),))
    changed = codebooks(program, find("x86-64-v3")).steps[0].stages[0].value
    assert not any(n.op == "read" and n.data is book for n in walk(changed)) and any(n.op == "select" for n in walk(changed))
    assert codebooks(program, find("cortex-m4")) is program


def scaled(blocks):
    x, y = Buffer("x", f32, (64,), "input"), Buffer("y", f32, (8,), "output")
    q = Buffer("q", i8, (64, 8), "constant", data=np.ones((64, 8), np.int8))
    s = Buffer("s", f32, (4, 8) if blocks else (8,), "constant", data=np.ones((4, 8) if blocks else 8, np.float32))
    o = var("o", 0, 7)
    scale = lambda k: read(s, (k // 16, o) if blocks else (o,))
    value = sum_over(64, lambda k: read(x, (k,)) * (cast(read(q, (k, o)), f32) * scale(k)))
    return Program("p", (x,), (y,), (Kernel("y", (Axis(o, 8),), (Stage("y", (), value, y, (o,)),)),))


def test_scales_leave_the_sums_that_they_do_not_change_in():
    assert scales(scaled(False)).steps[0].stages[0].value.op == "mul"
    assert scales(scaled(True)).steps[0].stages[0].value.op == "reduce"


def test_a_vector_across_rows_leaves_a_table_as_it_is():
    data = Buffer("d", i8, (40, 20), "constant", data=RNG.integers(-2, 2, (40, 20)).astype(np.int8))
    y = Buffer("y", i8, (800,), "output")
    tables = Tables([y, data], [y])
    k = var("k", 0, 49)
    across = For(k, 0 * k, 0 * k + 50, 1, (Store(tables.params[y], k * 16, load(tables.params[data], k * 16, 16)),))
    assert bits([across], tables) == [across]
    within = For(k, 0 * k, 0 * k + 40, 1, (Store(tables.params[y], k * 20, load(tables.params[data], k * 20, 16)),))
    assert bits([within], tables) != [within]


def test_remainders_of_a_loop_with_a_step_are_known():
    k = var("k", 0, 60)
    multiples = Multiples().within(For(k, 0 * k, 0 * k + 64, 4, ()))
    shown = multiples.shown(k + 3)
    assert (shown % 2).data == 1 and coefficient(multiples.hidden(shown // 4), k // 4) == 1


def test_small_integers_that_are_looked_up_at_run_time():
    i = graph_input("i", TensorType(DTYPES["i64"], (5,)))
    table = constant(RNG.integers(-8, 8, (20, 64)).astype(ml_dtypes.int4))
    rows = Gather(table, i).output
    found = DequantizeLinear(rows, constant(np.float32(0.5))).output
    artifact = check(network(Add(found, constant(np.float32(1))).output, i))
    assert weights_bytes(artifact) <= 20 * 64 // 2 + 192


def test_the_pipeline_keeps_decoding_apart_from_sums():
    """A scale of channels stands behind the sum, that of blocks in it."""
    for granularity, wanted in (("axis", 1), ("block", 2)):
        graph = optimise_graph(layers("i4", granularity)["matmul"], find("native"))
        (kernel,) = lower(graph, find("native")).steps
        (node,) = [n for n in walk(kernel.stages[0].value) if n.op == "reduce"]
        assert sum(n.op == "mul" and n.dtype is f32 for n in walk(node)) == wanted
