"""Concatenation, split, slice and reshape cost no kernel on a model's path: producers store where the result is read."""

import numpy as np
import pytest

from edgec.backends.target import find
from edgec.compiler import lower, optimise_graph
from edgec.edge_file import read_graph
from edgec.expr import fresh, read
from edgec.graph import Graph, constant, graph_input
from edgec.graph_text import parse_graph
from edgec.interpreter import interpret
from edgec.kernel import Axis, Buffer, Kernel, Program, Stage
from edgec.ops.activation import Relu
from edgec.ops.control_flow import Scan
from edgec.ops.convolution import Conv
from edgec.ops.joining import Concat
from edgec.ops.matmul import MatMul
from edgec.ops.pooling import AveragePool
from edgec.ops.reshape import Reshape
from edgec.passes.views import views
from edgec.program_interpreter import run_program
from edgec.testing.bounds import assert_within, error_bounds
from edgec.testing.graphs import whole_inputs
from edgec.types import TensorType, f32

TARGET = find("x86-64-v3")


def copies(program) -> list[str]:
    """Kernels that only move a tensor."""
    return [k.name for k in program.steps if all(s.value.op == "read" for s in k.stages)]


def lowered(graph):
    """The program of a graph or text, checked against the interpreter."""
    graph = graph if isinstance(graph, Graph) else read_graph(graph, "test")
    program = lower(optimise_graph(graph, TARGET), TARGET)
    arrays = whole_inputs(graph)
    assert_within(run_program(program, arrays, arena=True), interpret(graph, arrays), error_bounds(graph, arrays))
    return program


def weights(*shape):
    return constant(np.random.default_rng(1).integers(-2, 3, shape).astype(np.float32), "w")


def dense_block(layers: int, growth: int = 8) -> Graph:
    """Every layer reads the concatenation of all results before it (G. Huang et al., Densely Connected Convolutional Networks)."""
    x = graph_input("x", TensorType(f32, (1, 8, 6, 6)))
    value = Relu(Conv(x, weights(16, 8, 1, 1)).output).output
    for _ in range(layers):
        narrow = Relu(Conv(value, weights(12, value.shape[1], 1, 1)).output).output
        made = Conv(narrow, weights(growth, 12, 3, 3), pads=(1, 1, 1, 1)).output
        value = Concat((value, made), axis=1).output
    pooled = AveragePool(Conv(Relu(value).output, weights(8, value.shape[1], 1, 1)).output, kernel_shape=(2, 2), strides=(2, 2)).output
    return Graph((x,), (pooled,), ("y",), "dense")


@pytest.mark.parametrize("layers", [1, 3, 6])
def test_a_dense_block_moves_no_tensor(layers):
    program = lowered(dense_block(layers))
    assert copies(program) == []
    assert len(program.steps) == 2 * layers + 4  # the first convolution, two a layer; relu, the last convolution, the mean


def test_branches_store_into_the_concatenation():
    program = lowered("""graph g(%x: f32[1,8,6,6]) -> (%y) {
      @a: f32[16,8,1,1]
      @b: f32[8,8,3,3]
      @c: f32[8,32,1,1]
      %p = Conv(%x, @a) : f32[1,16,6,6]
      %q = Conv(%x, @b) pads=[1,1,1,1] : f32[1,8,6,6]
      %r = MaxPool(%x) kernel_shape=[3,3] pads=[1,1,1,1] : f32[1,8,6,6]
      %t = Concat(%p, %q, %r) axis=1 : f32[1,32,6,6]
      %y = Conv(%t, @c) : f32[1,8,6,6]
    }""")
    assert copies(program) == [] and len(program.steps) == 4
    joined = {b.root for k in program.steps[:3] for b in k.targets}
    assert len(joined) == 1 and sorted(k.targets[0].offset for k in program.steps[:3]) == [0, 16, 24]  # channels lie innermost


def test_halves_of_a_split_are_read_where_they_lie():
    program = lowered("""graph g(%x: f32[1,8,6,6]) -> (%y) {
      @w: f32[16,8,1,1]
      @v: f32[8,8,3,3]
      %a = Conv(%x, @w) : f32[1,16,6,6]
      %p, %q = Split(%a) axis=1 num_outputs=2 : f32[1,8,6,6], f32[1,8,6,6]
      %c = Conv(%p, @v) pads=[1,1,1,1] : f32[1,8,6,6]
      %y = Add(%c, %q) : f32[1,8,6,6]
    }""")
    assert copies(program) == [] and len(program.steps) == 2


def test_reshapes_and_flattening_are_free():
    program = lowered("""graph g(%x: f32[1,8,4,4]) -> (%y) {
      @w: f32[8,8,1,1]
      @v: f32[128,10]
      %a = Conv(%x, @w) : f32[1,8,4,4]
      %f = Flatten(%a) : f32[1,128]
      %y = MatMul(%f, @v) : f32[1,10]
    }""")
    assert copies(program) == [] and len(program.steps) == 2


def test_a_shuffle_of_channels_is_free():
    """Reshape, transpose, reshape between two convolutions (X. Zhang et al., ShuffleNet)."""
    program = lowered("""graph g(%x: f32[1,8,4,4]) -> (%y) {
      @w: f32[8,8,1,1]
      %a = Conv(%x, @w) : f32[1,8,4,4]
      %r = Reshape(%a, i64[5]{1,2,4,4,4}) : f32[1,2,4,4,4]
      %t = Transpose(%r) perm=[0,2,1,3,4] : f32[1,4,2,4,4]
      %s = Reshape(%t, i64[4]{1,8,4,4}) : f32[1,8,4,4]
      %y = Conv(%s, @w) : f32[1,8,4,4]
    }""")
    assert copies(program) == [] and len(program.steps) == 2


@pytest.mark.parametrize("parts, moved", [("%a, %x", 1), ("%a, %a", 1), ("%a, %b", 0)])
def test_only_what_lies_elsewhere_is_copied_into_a_concatenation(parts, moved):
    """An input, and a value that already lies in another part."""
    program = lowered("""graph g(%x: f32[1,8,4,4]) -> (%y, %z) {
      @w: f32[8,8,1,1]
      @v: f32[8,16,1,1]
      %a = Conv(%x, @w) : f32[1,8,4,4]
      %b = Conv(%a, @w) : f32[1,8,4,4]
      %t = Concat(PARTS) axis=1 : f32[1,16,4,4]
      %y = Conv(%t, @v) : f32[1,8,4,4]
      %z = Add(%y, %b) : f32[1,8,4,4]
    }""".replace("PARTS", parts))
    assert len(copies(program)) == moved


def copy_program(source: Buffer, target: Buffer, at) -> Program:
    """source = x;  target[at(i, j)] = source[i, j]."""
    x = Buffer("x", f32, source.shape, "input")
    i, j = fresh("i", 0, source.shape[0] - 1), fresh("j", 0, source.shape[1] - 1)
    axes = (Axis(i, source.shape[0]), Axis(j, source.shape[1]))
    first = Kernel("first", axes, (Stage("s", (), read(x, (i, j)) * 2.0, source, (i, j)),))
    return Program("p", (x,), (target,), (first, Kernel("copy", axes, (Stage("s", (), read(source, (i, j)), target, at(i, j)),))))


def check(program: Program, kernels: int) -> Program:
    after = views(program)
    x = {"x": np.arange(12, dtype=np.float32).reshape(3, 4)}
    np.testing.assert_array_equal(run_program(after, x)["y"], run_program(program, x)["y"])
    assert len(after.steps) == kernels
    return after


def temporary(**options) -> Buffer:
    return Buffer("t", f32, (3, 4), "temporary", **options)


def test_a_copy_into_a_part_becomes_a_view():
    """Only the part is compared: the rest of y is never stored."""
    y = Buffer("y", f32, (3, 4), "output")
    after = check(copy_program(temporary(), y, lambda i, j: (i, j)), 1)
    view = after.steps[0].targets[0]
    assert view.root is y and (view.offset, view.view_strides) == (0, (4, 1))


def test_a_copy_that_loses_its_unit_stride_stays():
    y = Buffer("y", f32, (4, 3), "output")
    check(copy_program(temporary(), y, lambda i, j: (j, i)), 2)
    check(copy_program(temporary(order=(1, 0)), y, lambda i, j: (j, i)), 1)


def test_a_copy_of_a_part_stays():
    source, y = temporary(), Buffer("y", f32, (2, 4), "output")
    x = Buffer("x", f32, (3, 4), "input")
    i, j, k = fresh("i", 0, 2), fresh("j", 0, 3), fresh("k", 0, 1)
    first = Kernel("first", (Axis(i, 3), Axis(j, 4)), (Stage("s", (), read(x, (i, j)) * 2.0, source, (i, j)),))
    last = Kernel("last", (Axis(k, 2), Axis(j, 4)), (Stage("s", (), read(source, (k + 1, j)), y, (k, j)),))
    check(Program("p", (x,), (y,), (first, last)), 2)


def exact(graph):
    """The program of a graph or text, equal to the interpreter on whole numbers."""
    graph = graph if isinstance(graph, Graph) else read_graph(graph, "test")
    program = lower(optimise_graph(graph, TARGET), TARGET)
    arrays = whole_inputs(graph)
    for name, wanted in interpret(graph, arrays).items():
        np.testing.assert_array_equal(run_program(program, arrays, arena=True)[name], wanted)
    return program


def test_an_operand_that_others_read_is_no_view_of_what_changes_it():
    """An update works on a copy of its operand; who reads the operand later must find it as it was."""
    program = exact("""
graph scatter(%x: f32[4,3]) -> (%y, %z) {
  %r = Relu(%x) : f32[4,3]
  %y = ScatterElements(%r, i64[1,3]{1,2,0}, f32[1,3]{9.0,8.0,7.0}) : f32[4,3]
  %t = Transpose(%r) perm=[1,0] : f32[3,4]
  %z = MatMul(%r, %t) : f32[4,4]
}
""")
    assert len(copies(program)) >= 1


def test_a_tensor_from_outside_of_a_loop_is_no_view_of_one_of_its_slices():
    """Every row of y is e: a copy for each iteration, not one place where e is stored at once."""
    body = parse_graph("""graph step(%s: f32[3], %a: f32[3], %e: f32[3]) -> (%t, row=%e) { %t = Add(%s, %a) : f32[3] }""", {})
    x, c = graph_input("x", TensorType(f32, (4, 3))), graph_input("c", TensorType(f32, (3, 3)))
    e = Relu(MatMul(constant(np.ones((1, 3), np.float32)), c).output).output
    e = Reshape(e, constant(np.array([3]))).output
    scan = Scan((constant(np.zeros(3, np.float32)), x), (e,), body=body, num_scan_inputs=1)
    exact(Graph((x, c), scan.results, ("last", "y"), "rows"))
