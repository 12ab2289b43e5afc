"""Which axis of a temporary lies innermost: the one that the kernels around it want for their vectors."""

import numpy as np
from hypothesis import given, settings

from edgec.backends.target import all_targets, find
from edgec.compiler import lower
from edgec.edge_file import read_graph
from edgec.expr import fresh, read
from edgec.kernel import Axis, Buffer, Kernel, Program, Stage
from edgec.passes.fuse import fuse
from edgec.passes.layout import layout, replace_buffers
from edgec.program_interpreter import run_program
from edgec.program_text import print_program
from edgec.sweeps import walk
from edgec.testing import assert_same, programs, random_inputs
from edgec.types import f32, i64

CHANNELS_LAST = (0, 2, 3, 1)


def orders(text: str) -> dict[str, tuple[int, ...]]:
    """The axis order of every temporary of a graph."""
    program = layout(fuse(read_graph(text, "test")))
    return {b.name: b.order or tuple(range(b.rank)) for k in program.steps for b in k.targets if b.kind == "temporary"}


def test_convolutions_keep_channels_innermost():
    found = orders("""graph g(%x: f32[1,16,8,8]) -> (%y) {
      @w: f32[32,16,3,3]
      @v: f32[16,32,1,1]
      %a = Conv(%x, @w) pads=[1,1,1,1] : f32[1,32,8,8]
      %r = Relu(%a) : f32[1,32,8,8]
      %y = Conv(%r, @v) : f32[1,16,8,8]
    }""")
    assert found == {"r": CHANNELS_LAST}


def test_a_depthwise_convolution_between_pointwise_ones_shares_their_order():
    found = orders("""graph g(%x: f32[1,8,8,8]) -> (%y) {
      @up: f32[32,8,1,1]
      @d: f32[32,1,3,3]
      @down: f32[8,32,1,1]
      %a = Conv(%x, @up) : f32[1,32,8,8]
      %b = Conv(%a, @d) group=32 pads=[1,1,1,1] : f32[1,32,8,8]
      %y = Conv(%b, @down) : f32[1,8,8,8]
    }""")
    assert found == {"a": CHANNELS_LAST, "b": CHANNELS_LAST}


def test_phases_of_a_transposed_convolution_do_not_outvote_its_channels():
    """Its weights run along two axes of two phases, too, one of which is the last dimension of the result."""
    text = """graph g(%x: f32[1,32,8,8], %s: f32[1,64,16,16]) -> (%y) {
      @v: f32[64,32,1,1]
      @w: f32[64,32,2,2]
      @u: f32[8,96,1,1]
      %a = Conv(%x, @v) : f32[1,64,8,8]
      %t = ConvTranspose(%a, @w) strides=[2,2] : f32[1,32,16,16]
      %r = Relu(%s) : f32[1,64,16,16]
      %c = Concat(%t, %r) axis=1 : f32[1,96,16,16]
      %y = Conv(%c, @u) : f32[1,8,16,16]
    }"""
    assert orders(text)["t"] == CHANNELS_LAST
    steps = lower(read_graph(text, "test"), find("x86-64-v4")).steps
    copies = [k.name for k in steps for stage in k.stages if stage.value.op == "read"]
    assert not copies  # it is stored straight into what it is joined to


def test_a_mean_that_all_channels_share_counts_once():
    """Else the sums of a layer normalization outvote the convolution before it and the depthwise one behind."""
    found = orders("""graph g(%x: f32[1,3,32,32]) -> (%y) {
      @w: f32[40,3,4,4]
      @s: f32[40]
      @d: f32[40,1,7,7]
      %a = Conv(%x, @w) strides=[4,4] : f32[1,40,8,8]
      %t = Transpose(%a) perm=[0,2,3,1] : f32[1,8,8,40]
      %n = LayerNormalization(%t, @s) : f32[1,8,8,40]
      %u = Transpose(%n) perm=[0,3,1,2] : f32[1,40,8,8]
      %y = Conv(%u, @d) group=40 pads=[3,3,3,3] : f32[1,40,8,8]
    }""")
    assert list(found.values()) in ([CHANNELS_LAST, (0, 1, 2, 3)], [CHANNELS_LAST, CHANNELS_LAST])


def test_pools_keep_channels_innermost():
    found = orders("""graph g(%x: f32[1,8,8,8]) -> (%y) {
      @w: f32[16,8,1,1]
      %a = Conv(%x, @w) : f32[1,16,8,8]
      %p = MaxPool(%a) kernel_shape=[3,3] pads=[1,1,1,1] strides=[2,2] : f32[1,16,4,4]
      %y = Conv(%p, @v) : f32[1,8,4,4]
      @v: f32[8,16,1,1]
    }""".replace("      @v: f32[8,16,1,1]\n", "").replace("      @w", "      @v: f32[8,16,1,1]\n      @w"))
    assert found == {"a": CHANNELS_LAST, "p": CHANNELS_LAST}


def test_elementwise_kernels_pass_on_what_their_neighbours_want():
    """The sum of two convolutions is read twice more, so it has memory; nobody reduces over it, its neighbours decide."""
    found = orders("""graph g(%x: f32[1,8,8,8]) -> (%y) {
      @w: f32[16,8,1,1]
      @v: f32[16,16,3,3]
      %a = Conv(%x, @w) : f32[1,16,8,8]
      %s = Sigmoid(%a) : f32[1,16,8,8]
      %b = Conv(%s, @v) pads=[1,1,1,1] : f32[1,16,8,8]
      %t = Add(%b, %s) : f32[1,16,8,8]
      %u = Tanh(%t) : f32[1,16,8,8]
      %c = Conv(%u, @v) pads=[1,1,1,1] : f32[1,16,8,8]
      %y = Add(%c, %t) : f32[1,16,8,8]
    }""")
    assert set(found.values()) == {CHANNELS_LAST}


def test_a_matrix_product_keeps_columns_innermost():
    found = orders("""graph g(%x: f32[8,16]) -> (%y) {
      @w: f32[16,32]
      @v: f32[32,8]
      %a = MatMul(%x, @w) : f32[8,32]
      %y = MatMul(%a, @v) : f32[8,8]
    }""")
    assert found == {"a": (0, 1)}


def test_inputs_and_outputs_stay_dense_in_the_models_order():
    program = layout(fuse(read_graph("""graph g(%x: f32[1,16,8,8]) -> (%a, %y) {
      @w: f32[16,16,1,1]
      %a = Conv(%x, @w) : f32[1,16,8,8]
      %y = Conv(%a, @w) : f32[1,16,8,8]
    }""", "test")))
    assert all(not b.order for b in (*program.inputs, *program.outputs))


def test_a_new_order_reaches_every_mention_of_a_buffer():
    """Values, store indices and guards: an update may store where other data says."""
    x, t, place, y = Buffer("x", f32, (2, 3), "input"), Buffer("t", f32, (2, 3), "temporary"), Buffer("i", i64, (2, 3), "input"), Buffer(
        "y", f32, (2, 3), "output")
    i, j = fresh("i", 0, 1), fresh("j", 0, 2)
    first = Kernel("t", (Axis(i, 2), Axis(j, 3)), (Stage("t", (), read(x, (i, j)) * 2.0, t, (i, j)),))
    last = Kernel("y", (Axis(i, 2), Axis(j, 3)), (Stage("y", (), read(t, (i, j)), y, (i, j), guards=((i, i * 0 + 2),)),))
    program = Program("p", (x, place), (y,), (first, last))
    moved = Buffer("t", f32, (2, 3), "temporary", order=(1, 0))
    other = replace_buffers(program, {t: moved})
    assert not any(n.data is t for k in other.steps for s in k.stages for n in walk(s.value, *s.indices) if n.op == "read")
    assert other.steps[0].stages[0].target is moved
    arrays = {"x": np.arange(6, dtype=np.float32).reshape(2, 3), "i": np.zeros((2, 3), np.int64)}
    assert_same(run_program(other, arrays), run_program(program, arrays))


@given(programs())
@settings(max_examples=25 if settings.default.derandomize else 1000)
def test_an_order_changes_no_result(program):
    arrays = random_inputs(program)
    assert_same(run_program(layout(program), arrays), run_program(program, arrays))


def test_layout_is_deterministic():
    text = """graph g(%x: f32[1,16,8,8]) -> (%y) {
      @w: f32[16,16,3,3]
      %a = Conv(%x, @w) pads=[1,1,1,1] : f32[1,16,8,8]
      %b = Conv(%a, @w) pads=[1,1,1,1] : f32[1,16,8,8]
      %y = Add(%b, %a) : f32[1,16,8,8]
    }"""
    from edgec.backends.target import find
    texts = {print_program(lower(read_graph(text, "test"), find("x86-64-v3"))) for _ in range(2)}
    assert len(texts) == 1


def test_the_estimate_keeps_what_nobody_gains_by_moving():
    """Two means over features vote for the axis that they leave; all who touch the sum take half the cycles as it is."""
    graph = read_graph("""graph g(%x: f32[1,64,96]) -> (%y) {
      @w: f32[96,8]
      @s: f32[96]
      @p: f32[1,64,96]
      %a = Add(%x, @p) : f32[1,64,96]
      %n = LayerNormalization(%a, @s) : f32[1,64,96]
      %y = MatMul(%n, @w) : f32[1,64,8]
    }""", "test")
    voted = {b.name: b.order for k in layout(fuse(graph)).steps for b in k.targets}
    assert voted["a"] == (0, 2, 1)
    for name in ("x86-64-v4", "x86-64-v3"):
        assert {b.name: b.order for k in layout(fuse(graph, find(name)), find(name)).steps for b in k.targets}["a"] in ((), (0, 1, 2)), name


def test_channels_stay_innermost_by_the_estimate_on_every_machine():
    graph = read_graph("""graph g(%x: f32[1,3,32,32]) -> (%y) {
      @u: f32[32,3,3,3]
      @e: f32[96,32,1,1]
      @d: f32[96,1,3,3]
      @p: f32[32,96,1,1]
      %a = Conv(%x, @u) strides=[2,2] pads=[1,1,1,1] : f32[1,32,16,16]
      %b = Conv(%a, @e) : f32[1,96,16,16]
      %c = Conv(%b, @d) group=96 pads=[1,1,1,1] : f32[1,96,16,16]
      %q = Conv(%c, @p) : f32[1,32,16,16]
      %r = Add(%q, %a) : f32[1,32,16,16]
      %y = GlobalAveragePool(%r) : f32[1,32,1,1]
    }""", "test")
    for target in all_targets():
        if target.vector_bits and not target.levels:
            program = layout(fuse(graph), target)
            found = {b.name: b.order for k in program.steps for b in k.targets if b.kind == "temporary" and b.rank == 4}
            assert found and set(found.values()) == {CHANNELS_LAST}, (target.name, found)
