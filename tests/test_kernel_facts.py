"""Counts of kernels, against numbers worked out by hand."""

import pytest

from edgec.backends.target import all_targets, find
from edgec.compiler import lower, optimise_graph
from edgec.edge_file import read_graph
from edgec.kernel_facts import POLYNOMIAL, kernel_facts
from edgec.layer_facts import layer_facts

TARGET = find("x86-64-v3")


def facts(text, **bindings):
    program = lower(optimise_graph(read_graph(text, "test"), TARGET), TARGET, without=("winograd",))
    return [kernel_facts(k, bindings or None) for k in program.steps]


def test_a_product():
    found, = facts("""graph g(%x: f32[5,7]) -> (%y) {
      @w: f32[7,11]
      %y = MatMul(%x, @w) : f32[5,11]
    }""")
    assert (found.macs, found.operations) == (5 * 7 * 11, 2 * 5 * 7 * 11)
    assert (found.read_bytes, found.weight_bytes, found.written_bytes) == (4 * 35, 4 * 77, 4 * 55)


def test_only_what_is_read_counts():
    """Every other row of the input, one column of it left out."""
    found, = facts("""graph g(%x: f32[8,10], %i: i64[3]) -> (%y) {
      %s = Gather(%x, %i) axis=0 : f32[3,10]
      %y = Neg(%s) : f32[3,10]
    }""")
    assert found.read_bytes == 3 * 10 * 4 + 3 * 8 and found.macs == 0


def test_a_convolution_counts_taps_in_the_padding():
    found, = facts("""graph g(%x: f32[1,3,8,8]) -> (%y) {
      @w: f32[5,3,3,3]
      %y = Conv(%x, @w) pads=[1,1,1,1] : f32[1,5,8,8]
    }""")
    assert found.macs == 5 * 64 * 27 and found.read_bytes == 3 * 64 * 4 and found.written_bytes == 5 * 64 * 4


def test_an_exponential_counts_as_a_polynomial():
    found, = facts("graph g(%x: f32[6]) -> (%y) {\n  %y = Exp(%x) : f32[6]\n}")
    assert found.operations == 6 * POLYNOMIAL


def test_scratch_is_no_traffic():
    found, = facts("graph g(%x: f32[4,16]) -> (%y) {\n  %y = Softmax(%x) : f32[4,16]\n}")
    assert found.read_bytes == found.written_bytes == 4 * 64 and found.macs == 0


def test_sums_of_scratch_count_at_every_outer_point():
    """Scratch holds something else at each outer point, whatever axes its elements have."""
    found = facts("graph g(%x: f32[4,16]) -> (%y) {\n  %y = Softmax(%x) : f32[4,16]\n}")
    assert sum(f.operations for f in found) >= 4 * 16 * (POLYNOMIAL + 4)
    model = read_graph("""graph g(%x: f32[1,8,5,5]) -> (%y) {
      @d: f32[8,1,3,3]
      @w: f32[16,8,1,1]
      %a = Conv(%x, @d) group=8 pads=[1,1,1,1] : f32[1,8,5,5]
      %y = Conv(%a, @w) : f32[1,16,5,5]
    }""", "test")
    for target in all_targets():
        program = lower(optimise_graph(model, target), target, without=("winograd",))
        assert sum(kernel_facts(k).macs for k in program.steps) == sum(layer.macs for layer in layer_facts(model)) == 25 * 8 * (9 + 16)


@pytest.mark.parametrize("n", [2, 9])
def test_open_dimensions_have_the_given_size(n):
    text = """graph g(%x: f32[n<=9,4]) -> (%y) {
      @w: f32[4,3]
      %y = MatMul(%x, @w) : f32[n,3]
    }"""
    assert facts(text, n=n)[0].macs == n * 12 and facts(text)[0].macs == 9 * 12


def test_a_loop_counts_every_iteration():
    text = """graph g(%x: f32[7,1,4]) -> (%y) {
      @w: f32[1,9,4]
      @r: f32[1,9,3]
      %y = GRU(%x, @w, @r) hidden_size=3 : f32[7,1,1,3]
    }"""
    found = facts(text)
    assert {f.repeats for f in found} == {1, 7} and sum(f.macs for f in found) >= 7 * (9 * 3 + 9 * 4)
