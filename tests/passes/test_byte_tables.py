"""Functions of one byte as tables: found in kernels, exact, picked by whole vectors of bytes, and left alone where nothing picks."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from edgec.backends.target import find
from edgec.backends.targets.x86_64 import INSTRUCTIONS
from edgec.compiler import compile, lower
from edgec.graph import Graph, Value, constant, graph_input
from edgec.interpreter import interpret
from edgec.loops import Store, statements
from edgec.ops.arithmetic import Add
from edgec.ops.joining import Concat
from edgec.ops.quantization import DequantizeLinear, QuantizeLinear
from edgec.passes.byte_tables import byte_tables
from edgec.passes.fuse import fuse
from edgec.passes.tile import tile
from edgec.program_interpreter import run_program
from edgec.testing.arrows import run_tiled
from edgec.types import TensorType, i8, u8

V4 = find("x86-64-v4")
PICKS = replace(V4, instructions=(*V4.instructions, *(row for row in INSTRUCTIONS if "pick" in row.meaning)))


def number(value: float, dtype=np.float32) -> Value:
    return constant(np.array(value, dtype))


def rescaled(size: int, dtype, made, first: float, second: float, zero: int) -> Graph:
    """Bytes with another scale, zero point and sign."""
    x = graph_input("x", TensorType(dtype, (size,)))
    real = DequantizeLinear(x, number(first), number(dtype.low + zero, dtype.numpy)).output
    return Graph((x,), (QuantizeLinear(real, number(second), number(made.low + 128, made.numpy)).output,), ("y",), "rescaled")


def every(dtype, size: int) -> dict[str, np.ndarray]:
    return {"x": np.resize(np.arange(dtype.low, dtype.high + 1), size).astype(dtype.numpy)}


@settings(max_examples=40, deadline=None)
@given(size=st.sampled_from([1, 15, 63, 64, 65, 256, 300]), dtype=st.sampled_from([i8, u8]), made=st.sampled_from([i8, u8]),
       first=st.floats(1e-3, 10), second=st.floats(1e-3, 10), zero=st.integers(0, 255))
def test_rescaled_bytes_are_what_the_interpreter_says(size, dtype, made, first, second, zero):
    graph = rescaled(size, dtype, made, first, second, zero)
    arrays = every(dtype, size)
    program = lower(graph, PICKS)
    assert program.steps[0].stages[0].value.op == "read"
    expected = interpret(graph, arrays)["y"]
    np.testing.assert_array_equal(run_program(program, arrays)["y"], expected)
    np.testing.assert_array_equal(run_tiled(program, [tile(k, PICKS) for k in program.steps], arrays)["y"], expected)


@pytest.mark.parametrize("dtype", [i8, u8], ids=str)
def test_machine_code_too(dtype):
    graph = rescaled(300, dtype, u8, 0.031, 0.033, 100)
    np.testing.assert_array_equal(compile(graph, "native", workers=0).run(every(dtype, 300))["y"],
                                  interpret(graph, every(dtype, 300))["y"])


def test_whole_vectors_of_bytes_are_picked():
    program = lower(rescaled(256, u8, u8, 0.031, 0.033, 100), PICKS)
    stores = [s for s in statements(tile(program.steps[0], PICKS).loops.body) if isinstance(s, Store)]
    assert stores and {s.value.lanes for s in stores} == {64}


def test_vectors_run_along_memory_even_where_neighbours_are_few():
    x = graph_input("x", TensorType(u8, (40, 16)))
    real = DequantizeLinear(x, number(0.03), number(5, np.uint8)).output
    made = QuantizeLinear(real, number(0.04), number(7, np.uint8)).output
    graph = Graph((x,), (Concat((made, made), axis=1).output,), ("y",), "joined")
    for kernel in lower(graph, PICKS).steps:
        stores = [s for s in statements(tile(kernel, PICKS).loops.body) if isinstance(s, Store)]
        assert stores and all(s.value.lanes == 16 for s in stores)


def test_what_is_no_function_of_one_byte_stays_and_so_does_all_without_such_an_instruction():
    one = fuse(rescaled(8, u8, u8, 0.031, 0.033, 100))
    assert byte_tables(one, V4) is one and byte_tables(one, find("cortex-m4")) is one
    x, z = (graph_input(n, TensorType(u8, (8,))) for n in "xz")
    real = [DequantizeLinear(v, number(0.1), number(3, np.uint8)).output for v in (x, z)]
    two = fuse(Graph((x, z), (QuantizeLinear(Add(*real).output, number(0.2), number(4, np.uint8)).output,), ("y",), "two"))
    assert byte_tables(two, PICKS).steps[0].stages[0].value is two.steps[0].stages[0].value
