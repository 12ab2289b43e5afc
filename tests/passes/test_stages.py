"""Reductions that the last axes do not change are stages of the outer point, computed once."""

import numpy as np
from hypothesis import given, settings

from edgec.edge_file import read_graph
from edgec.expr import fresh, max_over, read, sum_over
from edgec.interpreter import interpret
from edgec.kernel import Axis, Buffer, Kernel, Program, Stage
from edgec.passes.fuse import fuse
from edgec.passes.stages import scratch_bytes, stages
from edgec.program_interpreter import run_program
from edgec.sweeps import walk
from edgec.testing import assert_same, programs, random_inputs
from edgec.testing.bounds import assert_within, error_bounds
from edgec.testing.graphs import normal_inputs
from edgec.types import f32


def staged(text: str):
    graph = read_graph(text, "test")
    program = stages(fuse(graph))
    arrays = normal_inputs(graph)
    assert_within(run_program(program, arrays), interpret(graph, arrays), error_bounds(graph, arrays))
    return program


def shape(kernel) -> list[tuple[int, ...]]:
    """The inner extents of each stage."""
    return [tuple(a.extent for a in s.axes) for s in kernel.stages]


def reductions(stage) -> list[str]:
    return [n.data[0] for n in walk(stage.value) if n.op == "reduce"]


def test_softmax_is_maximum_powers_sum_and_quotient():
    kernel, = staged("""graph g(%x: f32[4,10]) -> (%y) {
      %y = Softmax(%x) axis=1 : f32[4,10]
    }""").steps
    assert [a.extent for a in kernel.axes] == [4] and shape(kernel) == [(), (10,), (), (10,)]
    most, powers, total, last = kernel.stages
    assert (reductions(most), reductions(powers), reductions(total), reductions(last)) == (["max"], [], ["add"], [])
    assert [sum(n.op == "exp" for n in walk(s.value)) for s in kernel.stages] == [0, 1, 0, 0]  # each power is taken once
    assert scratch_bytes(kernel) == 4 * (1 + 10 + 1)


def test_softmax_over_an_axis_in_the_middle():
    kernel, = staged("""graph g(%x: f32[2,5,3]) -> (%y) {
      %y = Softmax(%x) axis=1 : f32[2,5,3]
    }""").steps
    assert [a.extent for a in kernel.axes] == [2, 3] and shape(kernel) == [(), (5,), (), (5,)]


def test_layer_normalization_is_mean_variance_and_scaling():
    kernel, = staged("""graph g(%x: f32[4,12]) -> (%y) {
      @scale: f32[12]
      @b: f32[12]
      %y = LayerNormalization(%x, @scale, @b) epsilon=1.0 : f32[4,12]
    }""").steps
    assert [a.extent for a in kernel.axes] == [4] and shape(kernel) == [(), (), (12,)]
    assert [reductions(s) for s in kernel.stages] == [["add"], ["add"], []]


def test_a_broadcast_reduction_is_taken_once_per_row():
    x, y = Buffer("x", f32, (4, 12), "input"), Buffer("y", f32, (4, 12), "output")
    i, j = fresh("i", 0, 3), fresh("j", 0, 11)
    value = read(x, (i, j)) - max_over(12, lambda k: read(x, (i, k)))
    program = Program("p", (x,), (y,), (Kernel("y", (Axis(i, 4), Axis(j, 12)), (Stage("y", (), value, y, (i, j)),)),))
    kernel, = stages(program).steps
    assert shape(kernel) == [(), (12,)] and [a.extent for a in kernel.axes] == [4]
    arrays = random_inputs(program)
    assert_same(run_program(stages(program), arrays), {"y": arrays["x"] - arrays["x"].max(axis=1, keepdims=True)})


def test_nested_reductions_are_taken_from_the_inside_out():
    """The sum of squared differences from the mean: the mean is not summed again for every element."""
    x, y = Buffer("x", f32, (4, 8), "input"), Buffer("y", f32, (4,), "output")
    i = fresh("i", 0, 3)
    mean = sum_over(8, lambda k: read(x, (i, k))) * 0.125

    def squared(k):
        difference = read(x, (i, k)) - mean
        return difference * difference

    program = Program("p", (x,), (y,), (Kernel("y", (Axis(i, 4),), (Stage("y", (), sum_over(8, squared), y, (i,)),)),))
    kernel, = stages(program).steps
    assert len(kernel.stages) == 2 and all(len(reductions(s)) == 1 for s in kernel.stages)
    arrays = random_inputs(program)
    assert_same(run_program(stages(program), arrays), run_program(program, arrays))


def test_a_plain_contraction_keeps_one_stage():
    kernel, = staged("""graph g(%x: f32[4,12]) -> (%y) {
      @w: f32[12,8]
      %y = MatMul(%x, @w) : f32[4,8]
    }""").steps
    assert shape(kernel) == [()]


def test_a_count_stays_where_it_stands():
    """The divisor of an average at a border is arithmetic on indices, cheaper than memory."""
    kernel, = staged("""graph g(%x: f32[1,3,5,5]) -> (%y) {
      %y = AveragePool(%x) kernel_shape=[3,3] pads=[1,1,1,1] : f32[1,3,5,5]
    }""").steps
    assert len(kernel.stages) == 1


@given(programs())
@settings(max_examples=25 if settings.default.derandomize else 1000)
def test_stages_change_no_result(program):
    arrays = random_inputs(program)
    assert_same(run_program(stages(program), arrays), run_program(program, arrays))


def test_an_open_number_of_rows():
    graph = read_graph("graph g(%x: f32[n<=4,6]) -> (%y) {\n  %y = Softmax(%x) axis=1 : f32[n,6]\n}", "test")
    program = stages(fuse(graph))
    assert len(program.steps[0].stages) == 4
    for rows in (1, 4):
        x = np.linspace(-1, 1, 6 * rows, dtype=np.float32).reshape(rows, 6)
        found = run_program(program, {"x": x})["y"]
        np.testing.assert_allclose(found.sum(axis=1), np.ones(rows), rtol=1e-6)
