"""The pass word_operands: attention on bytes is dot products of packed words, with the bits of the plain sums."""

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import edgec
from edgec.backends.emulate import missing_tools
from edgec.backends.target import find
from edgec.compiler import lower, optimise_graph
from edgec.graph import Graph, constant, graph_input
from edgec.ops.arithmetic import Mul
from edgec.ops.matmul import MatMul
from edgec.ops.quantization import DequantizeLinear, QuantizeLinear
from edgec.ops.reshape import Transpose
from edgec.ops.softmax import Softmax
from edgec.program_interpreter import run_program
from edgec.program_parser import parse_program
from edgec.program_text import print_program
from edgec.sweeps import walk
from edgec.types import TensorType, i8, u8

DTYPES = {"u8": u8, "i8": i8}


def attention(heads, queries, keys, width, types, zeros):
    """Graph and inputs: quantize(softmax(q k^T) v), q k and v bytes of the given types and zero points."""
    random = np.random.default_rng(queries * keys + width)
    scale = lambda n: constant(np.float32(n))
    values, arrays, real = [], {}, []
    for name, rows, kind, zero in zip("qkv", (queries, keys, keys), types, zeros):
        dtype = DTYPES[kind]
        value = graph_input(name, TensorType(dtype, (1, rows, heads, width)))
        values.append(value)
        arrays[name] = random.integers(dtype.low, dtype.high, value.shape, endpoint=True).astype(dtype.numpy)
        real.append(DequantizeLinear(value, scale(0.02), constant(np.array(zero, dtype.numpy))).output)
    q, k, v = (Transpose(r, perm).output for r, perm in zip(real, ((0, 2, 1, 3), (0, 2, 3, 1), (0, 2, 1, 3))))
    scores = Mul(MatMul(q, k).output, scale(1 / np.sqrt(width))).output
    weights = Softmax(scores, axis=-1).output
    grid = scale(1 / 255), constant(np.uint8(0))
    weights = DequantizeLinear(QuantizeLinear(weights, *grid).output, *grid).output
    y = QuantizeLinear(MatMul(weights, v).output, scale(0.01), constant(np.uint8(120))).output
    return Graph(tuple(values), (y,), ("y",), "attention"), arrays


def dot_products(program):
    return sum(n.op == "dot" for kernel in program.steps for s in kernel.stages for n in walk(s.value))


CASES = [((2, 40, 24, 32), ("u8", "u8", "u8"), (130, 127, 129)), ((1, 33, 19, 12), ("u8", "u8", "i8"), (128, 100, 0)),
         ((2, 70, 21, 8), ("i8", "i8", "i8"), (0, 3, -7)), ((1, 64, 32, 16), ("u8", "i8", "i8"), (0, 0, 0))]


@pytest.mark.parametrize("sizes, types, zeros", CASES)
@pytest.mark.parametrize("target", ["alderlake", "cortex-a76"])
def test_both_products_are_of_words_and_mean_the_same(sizes, types, zeros, target):
    machine = find(target)
    graph, arrays = attention(*sizes, types, zeros)
    optimised = optimise_graph(graph, machine)
    packed, plain = lower(optimised, machine), lower(optimised, machine, without=("word_operands",))
    assert dot_products(packed) >= 2 and dot_products(plain) == 0
    np.testing.assert_array_equal(run_program(packed, arrays)["y"], run_program(plain, arrays)["y"])
    again = parse_program(print_program(packed))
    assert print_program(again) == print_program(packed)


@settings(deadline=None, max_examples=6)
@given(st.integers(1, 2), st.integers(2, 70), st.integers(8, 41), st.sampled_from((8, 12, 31)),
       st.tuples(*[st.sampled_from(("u8", "i8"))] * 3), st.tuples(*[st.integers(0, 127)] * 3))
def test_compiled_code_is_that_of_plain_sums_bit_for_bit(heads, queries, keys, width, types, zeros):
    graph, arrays = attention(heads, queries, keys, width, types, zeros)
    found = edgec.compile(graph, workers=0).run(arrays)["y"]
    np.testing.assert_array_equal(found, edgec.compile(graph, workers=0, without=("word_operands",)).run(arrays)["y"])


@pytest.mark.parametrize("sizes, types, zeros", CASES[:3])
@pytest.mark.parametrize("target", ["cortex-a76", "cortex-a710"])
def test_every_bit_under_emulation(sizes, types, zeros, target):
    """sdot and udot, and usdot, which takes both signs."""
    if missing_tools(find(target)):
        pytest.skip(f"the emulator of {target} is not installed")
    graph, arrays = attention(*sizes, types, zeros)
    packed, plain = (edgec.compile(graph, target, optimize="1", workers=0, without=out) for out in ((), ("word_operands",)))
    np.testing.assert_array_equal(packed.run(arrays)["y"], plain.run(arrays)["y"])


def test_machines_without_dot_products_of_bytes_keep_the_sums():
    graph, _ = attention(2, 40, 24, 32, ("u8", "u8", "u8"), (130, 127, 129))
    machine = find("x86-64-v3")
    assert dot_products(lower(optimise_graph(graph, machine), machine)) == 0
