"""Which values get a kernel of their own: fusing never computes an element twice and never reads memory that it could keep in registers."""

import re

import numpy as np
import pytest

from edgec.edge_file import read_graph
from edgec.errors import Unsupported
from edgec.graph import Graph, Op, Value, constant, graph_input
from edgec.interpreter import interpret
from edgec.ops.activation import Relu, Sigmoid
from edgec.ops.arithmetic import Add, Mul
from edgec.ops.gather import GatherElements
from edgec.ops.lookup import Lookup
from edgec.ops.quantized import MatMulInteger
from edgec.ops.reshape import Transpose
from edgec.ops.selection import TopK
from edgec.passes.fuse import fuse
from edgec.program_interpreter import run_program
from edgec.sweeps import walk
from edgec.testing.bounds import assert_within, error_bounds
from edgec.testing.graphs import whole_inputs
from edgec.types import TensorType, f32, i64, u8


def fused(text: str, **options):
    """The program of a graph text, checked against the interpreter."""
    graph = read_graph(text, "test")
    program = fuse(graph, **options)
    arrays = whole_inputs(graph)
    assert_within(run_program(program, arrays), interpret(graph, arrays), error_bounds(graph, arrays))
    return program


def names(program) -> list[str]:
    """The buffer each kernel stores; those that make one tensor piece by piece count once."""
    return list(dict.fromkeys(re.sub(r"(\.\d+)+$", "", k.targets[0].name) for k in program.steps))


def test_convolution_bias_and_activation_are_one_kernel():
    program = fused("""graph g(%x: f32[1,4,6,6]) -> (%y) {
      @w: f32[8,4,3,3]
      @b: f32[8]
      @scale: f32[8,1,1]
      %c = Conv(%x, @w, @b) pads=[1,1,1,1] : f32[1,8,6,6]
      %s = Mul(%c, @scale) : f32[1,8,6,6]
      %y = Relu(%s) : f32[1,8,6,6]
    }""")
    assert names(program) == ["y"]


def test_a_residual_connection_joins_the_convolution():
    program = fused("""graph g(%x: f32[1,8,6,6]) -> (%y) {
      @w: f32[8,8,3,3]
      @v: f32[8,8,1,1]
      %a = Conv(%x, @w) pads=[1,1,1,1] : f32[1,8,6,6]
      %r = Relu(%a) : f32[1,8,6,6]
      %c = Conv(%r, @v) : f32[1,8,6,6]
      %s = Add(%c, %x) : f32[1,8,6,6]
      %y = Relu(%s) : f32[1,8,6,6]
    }""")
    assert names(program) == ["r", "y"]


def test_two_convolutions_that_are_added_are_two_kernels():
    """One kernel has one reduction to tile for; the other convolution's result is read."""
    program = fused("""graph g(%x: f32[1,8,6,6]) -> (%y) {
      @w: f32[8,8,3,3]
      @v: f32[8,8,1,1]
      %a = Conv(%x, @w) pads=[1,1,1,1] : f32[1,8,6,6]
      %c = Conv(%x, @v) : f32[1,8,6,6]
      %y = Add(%a, %c) : f32[1,8,6,6]
    }""")
    assert len(program.steps) == 2


def test_a_decomposed_hard_swish_is_one_kernel():
    program = fused("""graph g(%x: f32[1,8,6,6]) -> (%y) {
      @w: f32[8,8,1,1]
      %c = Conv(%x, @w) : f32[1,8,6,6]
      %a = Add(%c, f32[]{3.0}) : f32[1,8,6,6]
      %k = Clip(%a, f32[]{0.0}, f32[]{6.0}) : f32[1,8,6,6]
      %m = Mul(%c, %k) : f32[1,8,6,6]
      %y = Mul(%m, f32[]{0.125}) : f32[1,8,6,6]
    }""")
    assert names(program) == ["y"]


def test_a_mean_of_a_convolution_is_a_second_kernel():
    """One kernel has one reduction to tile for."""
    program = fused("""graph g(%x: f32[1,4,6,6]) -> (%y) {
      @w: f32[8,4,3,3]
      %c = Conv(%x, @w) pads=[1,1,1,1] : f32[1,8,6,6]
      %r = Relu(%c) : f32[1,8,6,6]
      %y = GlobalAveragePool(%r) : f32[1,8,1,1]
    }""")
    assert len(program.steps) == 2


def test_an_activation_before_a_mean_is_read_once_and_joins_it():
    program = fused("""graph g(%x: f32[1,4,6,6]) -> (%y) {
      %r = Relu(%x) : f32[1,4,6,6]
      %y = GlobalAveragePool(%r) : f32[1,4,1,1]
    }""")
    assert names(program) == ["y"]


def test_squeeze_and_excite_is_not_computed_per_pixel():
    program = fused("""graph g(%x: f32[1,8,6,6]) -> (%y) {
      @down: f32[4,8,1,1]
      @up: f32[8,4,1,1]
      @w: f32[8,8,1,1]
      %c = Conv(%x, @w) : f32[1,8,6,6]
      %p = GlobalAveragePool(%c) : f32[1,8,1,1]
      %d = Conv(%p, @down) : f32[1,4,1,1]
      %r = Relu(%d) : f32[1,4,1,1]
      %u = Conv(%r, @up) : f32[1,8,1,1]
      %s = HardSigmoid(%u) : f32[1,8,1,1]
      %m = Mul(%c, %s) : f32[1,8,6,6]
      %y = Conv(%m, @w) : f32[1,8,6,6]
    }""")
    assert len(program.steps) == 6  # conv, mean, down + relu, up + sigmoid, scaling, conv: each reads the last one's result
    for kernel in program.steps[4:]:
        assert sum(n.op == "reduce" for n in walk(kernel.stages[0].value)) <= 1


def test_views_are_free():
    program = fused("""graph g(%x: f32[2,3,4,5]) -> (%y) {
      %t = Transpose(%x) perm=[0,2,3,1] : f32[2,4,5,3]
      %s = Slice(%t, i64[1]{1}, i64[1]{4}, i64[1]{1}) : f32[2,3,5,3]
      %r = Reshape(%s, i64[2]{2,45}) : f32[2,45]
      %p = Pad(%r, i64[4]{0,2,0,1}, f32[]{3.0}) : f32[2,48]
      %y = Relu(%p) : f32[2,48]
    }""")
    assert names(program) == ["y"]


def test_a_view_with_many_readers_is_still_free():
    program = fused("""graph g(%x: f32[4,6]) -> (%a, %b) {
      @w: f32[4,4]
      %t = Transpose(%x) perm=[1,0] : f32[6,4]
      %a = MatMul(%t, @w) : f32[6,4]
      %b = Softmax(%t) axis=1 : f32[6,4]
    }""")
    assert names(program) == ["a", "b"]


def test_a_value_behind_a_view_with_many_readers_has_memory():
    """Read through the transpose by two kernels, the sum would be computed in both."""
    program = fused("""graph g(%x: f32[4,6], %z: f32[4,6]) -> (%a, %b) {
      @w: f32[4,4]
      %s = Add(%x, %z) : f32[4,6]
      %t = Transpose(%s) perm=[1,0] : f32[6,4]
      %a = MatMul(%t, @w) : f32[6,4]
      %b = Softmax(%t) axis=1 : f32[6,4]
    }""")
    assert names(program) == ["s", "a", "b"]


def test_nothing_expensive_moves_into_a_reduction():
    """The exponential of each element would be taken once per column of the product."""
    program = fused("""graph g(%x: f32[8,8]) -> (%y) {
      @w: f32[8,16]
      %e = Sigmoid(%x) : f32[8,8]
      %y = MatMul(%e, @w) : f32[8,16]
    }""")
    assert names(program) == ["e", "y"]


def test_softmax_is_one_kernel():
    program = fused("""graph g(%x: f32[4,10]) -> (%y) {
      %y = Softmax(%x) axis=1 : f32[4,10]
    }""")
    assert names(program) == ["y"]


def test_concatenation_is_stored_piece_by_piece():
    program = fused("""graph g(%x: f32[1,4,3,3], %z: f32[1,2,3,3]) -> (%y) {
      %r = Relu(%x) : f32[1,4,3,3]
      %y = Concat(%r, %z) axis=1 : f32[1,6,3,3]
    }""")
    assert names(program) == ["r", "y"]
    assert not any(n.op in ("select", "inside") for k in program.steps for n in walk(k.stages[0].value))


def test_a_value_given_out_and_read_on_has_memory():
    program = fused("""graph g(%x: f32[4,4]) -> (%a, %b) {
      %a = Relu(%x) : f32[4,4]
      %b = Neg(%a) : f32[4,4]
    }""")
    assert names(program) == ["a", "b"]


def test_a_value_given_out_twice_is_copied():
    program = fused("""graph g(%x: f32[4,4]) -> (a=%r, b=%r) {
      %r = Relu(%x) : f32[4,4]
    }""")
    assert names(program) == ["a", "b"] and [b.name for b in program.outputs] == ["a", "b"]


def test_an_input_given_out_is_copied():
    program = fused("graph g(%x: f32[4,4]) -> (y=%x) {\n}")
    assert names(program) == ["y"] and program.steps[0].stages[0].value.op == "read"


@pytest.mark.parametrize("value", ["f32[3]{1.0,2.0,3.0}", "f32[]{4.0}"])
def test_a_constant_given_out_is_copied(value):
    program = fused(f"graph g(%x: f32[4,4]) -> (y=%c) {{\n  %c = Identity({value}) : {value.partition('{')[0]}\n}}")
    assert names(program) == ["y"]


def test_an_input_that_nobody_reads_stays_an_input():
    program = fused("""graph g(%x: f32[4,4], %unused: f32[2]) -> (%y) {
      %y = Relu(%x) : f32[4,4]
    }""")
    assert [b.name for b in program.inputs] == ["x", "unused"]


def test_buffers_have_names_of_their_own():
    x = graph_input("y", TensorType(f32, (4,)))
    first = Mul(x, x, _name="t").output
    second = Sigmoid(first, _name="t").output
    third = Sigmoid(Add(first, second, _name="t").output, _name="t").output
    program = fuse(Graph((x,), (first, second, third), ("t", "u", "v")))
    found = [b.name for k in program.steps for b in k.targets] + [b.name for b in program.inputs]
    assert len(set(found)) == len(found)


def test_max_ops_bounds_a_kernel():
    graph = chain(20)
    assert len(fuse(graph).steps) == 1
    program = fuse(graph, max_ops=8)
    assert len(program.steps) == 5
    x = np.linspace(-2, 2, 6, dtype=np.float32)
    np.testing.assert_array_equal(run_program(program, {"x": x})["y"], run_program(fuse(graph), {"x": x})["y"])


def chain(length: int) -> Graph:
    """length times x * sigmoid(x): twice as many operators, and without sharing 2^length reads."""
    x = value = graph_input("x", TensorType(f32, (6,)))
    for _ in range(length):
        value = Mul(value, Sigmoid(value).output).output
    return Graph((x,), (value,), ("y",))


def test_200_chained_silu_stay_small():
    program = fuse(chain(200), max_ops=1000)
    assert len(program.steps) == 1
    assert len(walk(program.steps[0].stages[0].value)) < 3000
    program = fuse(chain(200))
    assert len(program.steps) == 400 // 64 + 1
    x = np.linspace(-2, 2, 6, dtype=np.float32)
    with np.errstate(all="ignore"):
        expected = interpret(chain(200), {"x": x})["y"]
    np.testing.assert_allclose(run_program(program, {"x": x})["y"], expected, rtol=1e-4, atol=1e-30)


def averages(count: int) -> Graph:
    """count times the mean of a value and x: twice as many operators."""
    x = value = graph_input("x", TensorType(f32, (6,)))
    half = constant(np.float32(0.5))
    for _ in range(count):
        value = Mul(Add(value, x).output, half).output
    return Graph((x,), (value,), ("y",))


def test_twice_as_many_operators_are_twice_the_work(calls_of):
    few, many = (calls_of(lambda: fuse(averages(count))) for count in (500, 1000))
    assert many < 3 * few


def test_ten_thousand_operators():
    program = fuse(averages(5000))
    assert 10_000 // 64 <= len(program.steps) <= 10_000 // 64 + 2
    np.testing.assert_array_equal(run_program(program, {"x": np.ones(6, np.float32)})["y"], np.ones(6, np.float32))


class Opaque(Op):
    """An operator that only numpy can compute."""

    x: Value

    def infer(self):
        return self.x.type


def test_what_cannot_be_compiled_is_said():
    x = graph_input("x", TensorType(f32, (4,)))
    with pytest.raises(Unsupported, match="Opaque cannot be compiled"):
        fuse(Graph((x,), (Opaque(x).output,), ("y",)))


def test_a_table_of_bytes_is_read_where_its_byte_is_made_and_not_wherever_a_product_reads_it():
    x = graph_input("x", TensorType(u8, (4, 8)))
    table, weights = constant(np.arange(256).astype(np.uint8)[::-1], "table"), constant(np.eye(8, 16, dtype=np.int8), "w")
    f = Lookup(x, table, _name="f")
    program = fuse(Graph((x,), (MatMulInteger(f.output, weights, _name="y").output,), ("y",)))
    assert names(program) == ["f", "y"]  # the product reads bytes, which dot products of four take, and looks nothing up


def test_rows_gathered_from_a_constant_stay_a_view():
    graph = read_graph("""graph g(%i: i64[4]) -> (%y) {
      @rows: f32[9,6]
      @w: f32[6,5]
      %r = Gather(@rows, %i) : f32[4,6]
      %y = MatMul(%r, @w) : f32[4,5]
    }""", "test")
    program = fuse(graph)
    assert names(program) == ["y"]


def chain_of_selections(count, between):
    """The program of so many TopK, each on what a view makes of the values before; checked against NumPy."""
    value = x = graph_input("x", TensorType(f32, (4, 4)))
    for _ in range(count):
        value = between(TopK(value, constant(np.array([4]))).decompose()[0])
    graph = Graph((x,), (Relu(value).output,), ("y",))
    program, arrays = fuse(graph), {"x": np.random.default_rng(count).standard_normal((4, 4)).astype(np.float32)}
    np.testing.assert_array_equal(run_program(program, arrays)["y"], interpret(graph, arrays)["y"])
    return program


@pytest.mark.parametrize("between", [lambda v: v, lambda v: Transpose(v).output], ids=["none", "transpose"])
def test_kernels_of_a_chain_of_selections_do_not_grow_with_it(between):
    def reads(count):
        return max(str(k.stages[0].value).count("[") for k in chain_of_selections(count, between).steps)
    assert reads(4) == reads(8)  # a choice that is chosen from is stored; inlined, each would triple the reads of the next


def test_a_choice_from_a_choice_that_is_read_once_stays_a_view():
    x, i = graph_input("x", TensorType(f32, (8,))), graph_input("i", TensorType(i64, (8,)))
    value = GatherElements(GatherElements(x, i).output, i).output
    assert names(fuse(Graph((x, i), (Relu(value, _name="y").output,), ("y",)))) == ["y"]
