"""Buffers in blocks of channels: the same numbers whatever stands around them, blocks where rows of a tile come by dealt loads."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings

from edgec.backends.emulate import emulate
from edgec.backends.llvm_order import APART, SLOTS, slot_places
from edgec.backends.native import Loaded
from edgec.backends.target import all_targets, find
from edgec.compiler import compile, lower
from edgec.emission import emit
from edgec.expr import mul_add, var
from edgec.graph_parser import parse_graph
from edgec.interpreter import interpret
from edgec.linear import coefficient, coefficient_within
from edgec.loops import For, Let, Param, Register, get, iota, lane, load, statements
from edgec.loops_interpreter import run_loops
from edgec.passes.channel_blocks import channel_blocks
from edgec.passes.dealt_rows import dealt_rows
from edgec.passes.in_order import channel_block
from edgec.passes.liveness import liveness
from edgec.passes.loads_ahead import loads_ahead
from edgec.passes.tile import tile
from edgec.program_interpreter import run_program
from edgec.sweeps import walk
from edgec.testing import assert_same, programs, random_inputs
from edgec.testing.graphs import whole_inputs
from edgec.types import f32

TARGET = next(t for t in all_targets() if channel_block(t) == 4)
OTHERS = [t for t in all_targets() if channel_block(t) == 1]


def network(channels: int, middle: int, outputs: int, side: int, stride: int = 1):
    """Expand, window by channel, project, residual, concatenation, pooling, three by three: all on few channels of whole numbers."""
    rng = np.random.default_rng(channels * outputs)
    shapes = {"ku": (channels, 3, 1, 1), "ke": (middle, channels, 1, 1), "kd": (middle, 1, 3, 3), "kp": (channels, middle, 1, 1),
              "kt": (outputs, 2 * channels, 3, 3)}
    weights = {name: rng.integers(-2, 3, shape).astype(np.float32) for name, shape in shapes.items()}
    after = (side + 1) // stride if stride > 1 else side
    return parse_graph(f"""graph g(%x: f32[1,3,{side},{side}]) -> (%y, %m) {{
      {chr(10).join(f"@{name}: f32[{','.join(map(str, shape))}]" for name, shape in shapes.items())}
      %a = Conv(%x, @ku) : f32[1,{channels},{side},{side}]
      %e = Conv(%a, @ke) : f32[1,{middle},{side},{side}]
      %d = Conv(%e, @kd) group={middle} pads=[1,1,1,1] : f32[1,{middle},{side},{side}]
      %p = Conv(%d, @kp) : f32[1,{channels},{side},{side}]
      %s = Add(%p, %a) : f32[1,{channels},{side},{side}]
      %c = Concat(%s, %a) axis=1 : f32[1,{2 * channels},{side},{side}]
      %y = Conv(%c, @kt) strides=[{stride},{stride}] pads=[1,1,1,1] : f32[1,{outputs},{after},{after}]
      %m = MaxPool(%s) kernel_shape=[2,2] strides=[2,2] : f32[1,{channels},{side // 2},{side // 2}]
    }}""", weights)


SIZES = [(8, 24, 16, 7), (16, 32, 8, 6), (12, 20, 12, 5), (10, 18, 7, 6), (4, 64, 4, 9), (16, 48, 24, 4, 2), (32, 16, 33, 8), (6, 36, 8, 3)]


def blocked(program) -> set[str]:
    """The names of the buffers in blocks: of one dimension more, the last of four channels."""
    return {b.name for k in program.steps for b in k.targets if b.rank == 5 and b.shape[-1] == 4}


@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_networks_compute_the_same_whole_numbers(sizes):
    graph = network(*sizes)
    inputs = [whole_inputs(graph, seed) for seed in range(2)]
    for given_, output in zip(inputs, emulate(compile(graph, TARGET, winograd=False), inputs).outputs):
        for name, expected in interpret(graph, given_).items():
            np.testing.assert_array_equal(output[name], expected, err_msg=f"{sizes} {name}")


def test_winograd_products_lie_in_blocks_too():
    weights = np.random.default_rng(1).integers(-2, 3, (64, 64, 3, 3)).astype(np.float32)
    graph = parse_graph("""graph g(%x: f32[1,64,16,16]) -> (%y) {
      @w: f32[64,64,3,3]
      %a = Relu(%x) : f32[1,64,16,16]
      %c = Conv(%a, @w) pads=[1,1,1,1] : f32[1,64,16,16]
      %y = Relu(%c) : f32[1,64,16,16]
    }""", {"w": weights})
    shapes = {s.target.name: s.target.shape for k in lower(graph, TARGET).steps for s in k.stages}
    assert shapes["y.v"] == (36, 16, 16, 4)      # frequencies, blocks of channels, tiles, channels of a block
    inputs = [whole_inputs(graph, 3)]
    found = emulate(compile(graph, TARGET), inputs).outputs[0]
    for name, expected in interpret(graph, inputs[0]).items():
        np.testing.assert_allclose(found[name], expected, rtol=0, atol=1e-4 * np.abs(expected).max(), err_msg=name)


@pytest.mark.parametrize("precision", ["f16"])
def test_other_precisions_agree_with_the_layout_left_out(precision):
    graph = network(8, 24, 16, 7)
    inputs = [whole_inputs(graph, 1)]
    found, plain = (emulate(compile(graph, TARGET, precision=precision, without=w), inputs).outputs[0] for w in ((), ("channel_blocks",)))
    for name in found:
        np.testing.assert_allclose(found[name], plain[name], rtol=0, atol=0.02 * np.abs(plain[name]).max(), err_msg=name)


def test_what_contractions_sum_over_lies_in_blocks():
    found = blocked(lower(network(8, 24, 16, 7), TARGET))
    assert {"d", "c"} <= found           # read by contractions, the second through the views of what is concatenated
    assert "e" not in found              # read by a window that slides over each channel by itself


def test_channels_that_are_no_whole_blocks_stay():
    assert not blocked(lower(network(10, 18, 7, 6), TARGET))


def test_other_targets_and_left_out():
    graph = network(8, 24, 16, 7)
    assert not blocked(lower(graph, TARGET, without=("channel_blocks",)))
    for target in OTHERS:
        program = lower(graph, target, without=("channel_blocks",))
        assert channel_blocks(program, target) is program


@settings(max_examples=60, deadline=None)
@given(programs())
def test_any_program_computes_the_same(program):
    inputs = random_inputs(program)
    assert_same(run_program(program, inputs), run_program(channel_blocks(program, TARGET), inputs))


def test_steps_within_a_group():
    c, p = var("c", 0, 63), var("p", 0, 99)
    at = c // 4 * 400 + p * 4 + c % 4
    assert coefficient(at, c) is None
    assert [coefficient_within(at, c, width) for width in (1, 4, 8)] == [None, 1, None]
    assert coefficient_within(at, p, 4) == 4


def loops_of(graph, name: str):
    program = lower(graph, TARGET, without=("winograd", "bands"))
    return next(tile(k, TARGET).loops for k in program.steps if k.name == name)


def pointwise(channels: int, outputs: int, points: int):
    weights = {"u": np.ones((channels, 3, 1, 1), np.float32), "w": np.ones((outputs, channels, 1, 1), np.float32)}
    return parse_graph(f"""graph g(%x: f32[1,3,{points},1]) -> (%y) {{
      @u: f32[{channels},3,1,1]
      @w: f32[{outputs},{channels},1,1]
      %a = Conv(%x, @u) : f32[1,{channels},{points},1]
      %y = Conv(%a, @w) : f32[1,{outputs},{points},1]
    }}""", weights)


def test_a_round_takes_eight_rows_by_two_vectors_all_by_dealt_loads():
    loops = loops_of(pointwise(64, 32, 64), "y")
    rounds = next(s for s in statements(loops.body) if isinstance(s, For) and isinstance(s.body[0], Let) and s.body[0].value.op == "mul_add")
    sums = [s for s in rounds.body if s.value.op == "mul_add"]
    assert len({s.register for s in sums}) == 16 and len(sums) == 16 * 16
    loads = {n for s in rounds.body for n in walk(s.value) if n.op == "load"}
    assert all(coefficient(n.args[0], iota(4)) == 4 for n in loads)
    ahead = [s for s in rounds.body if s.value.op == "load"]
    assert len(ahead) == 8                # what the first sums take: four steps of four rows, two of two vectors


def test_rows_are_dealt_only_where_all_take_a_step_before_the_next():
    x, sums = Param("x", f32, 64), [Register(f"s{r}", f32, 4) for r in range(4)]
    w = Param("w", f32, 64, constant=True)

    def term(row: int, step: int) -> Let:
        return Let(sums[row], mul_add(lane(load(x, 4 * row, 4), step), load(w, 4 * step, 4), get(sums[row])))

    by_step = [term(r, k) for k in range(4) for r in range(4)]
    by_row = [term(r, k) for r in range(4) for k in range(4)]
    dealt = [n for s in dealt_rows(by_step, TARGET) for n in walk(s.value) if n.op == "load" and n.data[0] is x]
    assert dealt and all(coefficient(n.args[0], iota(4)) == 4 for n in dealt)
    assert dealt_rows(by_row, TARGET) == by_row


def test_loads_ahead_read_nothing_beyond_the_last_round():
    loops = loops_of(pointwise(32, 8, 16), "y")
    run_loops(loops, [np.ones(p.size, np.float32) for p in loops.params])  # raises where an index leaves a parameter
    assert any("ahead" in s.register.name for s in statements(loops.body) if isinstance(s, Let))


def test_other_loops_are_left_alone():
    k = var("k", 0, 3)
    loop = For(k, k - k, k - k + 4, 1, (Let(Register("r", f32, 4), load(Param("x", f32, 16), k * 4, 4)),))
    assert [s.body for s in loads_ahead([loop], TARGET)] == [loop.body]


def test_dealt_loads_stand_where_registers_are_free():
    # eight rows by two vectors, four steps: rows 0 to 3, the first two steps' vectors, rows 4 to 7, the other two steps' vectors
    uses = [(0, 55), (0, 31), (8, 63), (32, 63), (64, 119), (64, 95)]
    places = slot_places(uses, SLOTS)
    assert [p for p, _ in places] == sorted(p for p, _ in places)
    for n, (place, slot) in enumerate(places):
        assert place <= uses[n][0]
        assert all(uses[m][1] < place for m in range(n) if places[m][1] == slot)
    assert all(b - a >= APART or a == 0 for (a, _), (b, _) in pairwise(places))


def test_loads_for_the_next_round_come_into_the_slots_they_are_expected_in():
    uses = [(8, 63), (32, 63), (64, 64), (65, 65)]
    places = slot_places(uses, SLOTS, carried=(55, 31))
    assert [slot for _, slot in places[-2:]] == [0, 1]
    assert places[-1][0] > 31 and places[-2][0] > 55


# ------------------------------------------------------------------------------------------------------------ chosen by cost

WIDE = [replace(find(name), channel_blocks=(t,)) for name, t in (("x86-64-v4", 16), ("x86-64-v3", 8), ("cortex-a72", 4))]


def likes_blocks(kernel, machine):
    """Cycles that fall with every dimension of what a kernel touches."""
    reads = sum(n.data.rank for s in kernel.stages for n in walk(s.value) if n.op == "read")
    return 1000.0 - reads - sum(t.rank for t in kernel.targets)


@pytest.mark.parametrize("target", WIDE, ids=lambda t: t.name)
def test_where_loads_do_not_deal_the_estimate_refuses_blocks(target):
    """Groups of channels that lie apart cost a turn each, and bring nothing."""
    program = lower(network(32, 48, 32, 8), target, without=("channel_blocks", "winograd"))
    assert channel_blocks(program, target) is program
    assert channel_blocks(program, target, likes_blocks) is not program


def test_what_a_kernel_loses_by_stays_where_it_costs_more_than_it_saves():
    """Each kernel's cycles are imagined: those that read d in blocks lose much, and all others gain."""
    program = lower(network(8, 24, 16, 7), TARGET, without=("channel_blocks",))

    def cycles(kernel, machine):
        reads = {n.data.root for s in kernel.stages for n in walk(s.value) if n.op == "read"}
        in_blocks = {b for b in reads if len(b.shape) == 5 and b.shape[-1] == 4}
        return likes_blocks(kernel, machine) + sum(500.0 for b in in_blocks if b.name == "d")

    free = blocked(channel_blocks(program, TARGET, likes_blocks))
    assert "d" in free and blocked(channel_blocks(program, TARGET, cycles)) == free - {"d"}
    assert channel_blocks(program, TARGET, lambda kernel, machine: -likes_blocks(kernel, machine)) is program


def test_the_best_of_several_sizes_is_taken():
    target = replace(TARGET, channel_blocks=(8, 4))
    program = lower(network(8, 24, 16, 7), target, without=("channel_blocks",))

    def likes(width):
        return lambda kernel, machine: 100.0 - float(sum(s.target.shape[-1] == width and s.target.rank == 5 for s in kernel.stages))

    for width in (4, 8):
        found = channel_blocks(program, target, likes(width))
        assert {t.shape[-1] for k in found.steps for t in k.targets if t.rank == 5} == {width}


def test_blocks_as_wide_as_vectors_compute_the_same():
    """Here, in blocks of a whole vector."""
    native = find("native")
    lanes = native.lanes(32)
    target = replace(native, channel_blocks=(lanes,))
    graph = network(2 * lanes, 3 * lanes, lanes, 7)
    program = lower(graph, target, without=("channel_blocks", "winograd"))
    moved = liveness(channel_blocks(program, target, likes_blocks))
    assert moved is not program
    artifact = emit(moved, target, "g", "1")
    inputs = whole_inputs(graph, 1)
    with Loaded(artifact.object, artifact.interface) as model:
        for name, expected in model.run(inputs).items():
            np.testing.assert_array_equal(expected, interpret(graph, inputs)[name], err_msg=name)
