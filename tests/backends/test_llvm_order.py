"""Loads in groups for cores that run code in its order: the same numbers at every extent, tables dealt out, and code in the order meant."""

import re
from dataclasses import replace

import numpy as np
import pytest

from edgec.backends.emulate import missing_tools
from edgec.backends.llvm import module_text
from edgec.backends.llvm_order import FENCE, FENCE_NAME, Step, _groups, dealt_place
from edgec.backends.target import all_targets
from edgec.compiler import compile, lower
from edgec.expr import var
from edgec.graph_parser import parse_graph
from edgec.loops import For, Let, Param, expressions, iota, load, statements
from edgec.loops_parser import parse_loops
from edgec.loops_text import print_loops
from edgec.passes.in_order import dealt_together
from edgec.passes.tile import tile
from edgec.sweeps import walk
from edgec.testing.emulated import assert_exact
from edgec.types import f32

IN_ORDER = [t for t in all_targets() if t.in_order]
DEALING = next(t for t in IN_ORDER if t.dealt_vectors == 4)
# Channels read, channels written, side, kernel: around rounds of 8 to 48 steps, tiles of 16 channels and of four and five rows.
SIZES = [(8, 16, 5, 1), (16, 16, 4, 1), (24, 24, 3, 1), (32, 8, 6, 1), (33, 17, 4, 1), (64, 32, 3, 3), (144, 24, 2, 1), (96, 15, 1, 1),
         (40, 48, 5, 3), (80, 64, 1, 1), (7, 20, 5, 1), (36, 12, 9, 3), (1, 16, 6, 3)]


def convolution(channels: int, outputs: int, side: int, kernel: int):
    rng, pad = np.random.default_rng(channels * outputs), kernel // 2
    weights = {"w": rng.integers(-4, 5, (outputs, channels, kernel, kernel)), "b": rng.integers(-9, 9, outputs)}
    return parse_graph(f"""graph g(%x: f32[1,{channels},{side},{side}]) -> (%y) {{
      @w: f32[{outputs},{channels},{kernel},{kernel}]
      @b: f32[{outputs}]
      %a = Relu(%x) : f32[1,{channels},{side},{side}]
      %c = Conv(%a, @w, @b) pads=[{pad},{pad},{pad},{pad}] : f32[1,{outputs},{side},{side}]
      %y = MaxPool(%c) kernel_shape=[2,2] pads=[1,1,0,0] : f32[1,{outputs},{side},{side}]
    }}""", {name: array.astype(np.float32) for name, array in weights.items()})


def contraction(graph, target):
    """The loops of the one kernel with a reduction, over buffers whose channels lie together."""
    steps = lower(graph, target, without=("channel_blocks",)).steps
    return next(t.loops for t in (tile(k, target) for k in steps) if any(p.constant for p in t.loops.params))


def innermost(loops) -> list[For]:
    return [s for s in statements(loops.body) if isinstance(s, For) and not any(isinstance(x, For) for x in s.body)]


@pytest.mark.parametrize("target", IN_ORDER, ids=lambda t: t.name)
def test_sums_of_whole_numbers_are_exact_at_every_extent(target):
    assert not missing_tools(target)
    for sizes in SIZES:
        assert_exact(convolution(*sizes), target, winograd=False)


@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_dealt_tables_mean_the_same_in_the_loops_and_print(sizes):
    graph = convolution(*sizes)
    for kernel in lower(graph, DEALING).steps:
        loops = tile(kernel, DEALING).loops
        assert print_loops(parse_loops(print_loops(loops))) == print_loops(loops)
    dealt = [p.dealt for p in contraction(graph, DEALING).params if p.constant]
    assert set(dealt) <= {0, 2, 3, 4}
    assert sizes[0] < 32 or sizes[1] % 16 or sizes[2] < 4 or 4 in dealt


def test_one_load_brings_the_vectors_of_a_step_and_no_label_is_left():
    artifact = compile(convolution(64, 32, 8, 1), DEALING, keep=("asm",))
    text = "\n".join(artifact.asm.values()) if isinstance(artifact.asm, dict) else artifact.asm
    assert "ld4" in text
    assert b"annotation" not in artifact.object


def test_the_order_of_the_loops_is_kept_by_labels_on_cores_in_order_alone():
    graph = convolution(64, 32, 8, 1)
    loops = contraction(graph, DEALING)
    ordered, free = (module_text(loops, replace(DEALING, in_order=each), "f") for each in (True, False))
    assert FENCE in ordered and FENCE_NAME in ordered and FENCE not in free and FENCE_NAME not in free
    parts = ordered[ordered.index(FENCE):].split(FENCE)
    sums = [part.count("llvm.fma") for part in parts]
    loads = [len(re.findall(r"= load ", part)) for part in parts]
    assert not any(s and n for s, n in zip(sums, loads[:-1]))     # sums and loads stand apart
    assert max(loads) == 2 * 4                                    # two vectors of k for each of four rows in one group
    assert sums.count(16) >= 2 * 8                                # sixteen sums for each vector of a dealt load


def test_rounds_of_a_loop_are_long_but_there_are_two_of_them():
    """A single round is no loop: LLVM would keep the table of the whole reduction in registers across rows, and run out of them."""
    for channels, rounds in ((16, 8), (24, 12), (32, 16), (40, 20), (48, 24), (64, 32), (96, 48), (144, 48), (960, 32)):
        steps = {loop.step for loop in innermost(contraction(convolution(channels, 16, 8, 1), DEALING))}
        assert rounds in steps or channels == 96 and 32 in steps, (channels, steps)


def test_places_in_a_dealt_table():
    table, k = Param("w", f32, 640, constant=True, dealt=4), var("k", 0, 9)
    for number in range(4):
        base, found = dealt_place(load(table, k * 64 + 16 + 4 * iota(4) + number))
        assert found == number and base is k * 64 + 16
    assert [dealt_together(v, 4) for v in range(1, 9)] == [0, 2, 3, 4, 0, 3, 0, 4]


def test_groups_count_loads_that_later_steps_still_use():
    steps = [Step(None, [], list(new), set(used)) for new, used in (("ab", "ab"), ("c", "ca"), ("d", "da"))]
    assert [[len(group) for group in _groups(steps, room)] for room in (2, 3, 4)] == [[1, 1, 1], [2, 1], [3]]


# Channels, side, kernel, stride of windows that slide over each channel by itself.
WINDOWS = [(16, 10, 3, 1), (8, 9, 3, 2), (48, 14, 5, 1), (4, 13, 5, 2), (7, 8, 3, 1), (24, 28, 5, 1), (12, 7, 5, 1), (8, 6, 7, 1)]


def depthwise(channels: int, side: int, kernel: int, stride: int):
    rng, pad, out = np.random.default_rng(channels + side), kernel // 2, (side - 1) // stride + 1
    weights = {"w": rng.integers(-4, 5, (channels, 1, kernel, kernel)), "b": rng.integers(-9, 9, channels),
               "v": rng.integers(-4, 5, (channels, channels, 1, 1))}
    return parse_graph(f"""graph g(%x: f32[1,{channels},{side},{side}]) -> (%y) {{
      @w: f32[{channels},1,{kernel},{kernel}]
      @b: f32[{channels}]
      @v: f32[{channels},{channels},1,1]
      %a = Conv(%x, @v) : f32[1,{channels},{side},{side}]
      %c = Conv(%a, @w, @b) group={channels} pads=[{pad},{pad},{pad},{pad}] strides=[{stride},{stride}] : f32[1,{channels},{out},{out}]
      %r = Relu(%c) : f32[1,{channels},{out},{out}]
      %y = Conv(%r, @v) : f32[1,{channels},{out},{out}]
    }}""", {name: array.astype(np.float32) for name, array in weights.items()})


def sliding(graph, target):
    """The loops of the kernels in which no table is dealt: windows alone."""
    tiled = [tile(k, target) for k in lower(graph, target).steps]
    return next(t.loops for t in tiled if any(p.constant for p in t.loops.params) and not any(p.dealt for p in t.loops.params))


@pytest.mark.parametrize("target", IN_ORDER, ids=lambda t: t.name)
def test_windows_of_whole_numbers_are_exact_at_every_extent(target):
    for sizes in WINDOWS:
        assert_exact(depthwise(*sizes), target, winograd=False)


def test_loads_sums_and_stores_of_a_window_stand_apart():
    """Two tiles of seven rows in a row of the picture: all that a row or two of taps reads, then its sums, and seven stores at the end."""
    text = module_text(sliding(depthwise(16, 14, 3, 1), DEALING), DEALING, "f")
    parts = text[text.index(FENCE):text.index("ret void")].split(FENCE)
    counted = [(part.count("llvm.fma"), len(re.findall(r"= load ", part)), part.count("  store ")) for part in parts]
    assert all(sum(n > 0 for n in each) <= 1 for each in counted)
    assert sum(sums in (20, 40) for sums, _, _ in counted) >= 6
    assert {stores for _, _, stores in counted} == {0, 7}


@pytest.mark.parametrize("sizes", [(48, 14, 5, 1), (24, 28, 5, 1), (12, 7, 5, 1), (8, 6, 7, 1)], ids=str)
def test_the_rows_of_a_large_window_find_room_in_registers(sizes):
    """Sums, and all that a row of taps reads: what stands in no register would be loaded in front of the sum that wants it."""
    for loop in innermost(sliding(depthwise(*sizes), DEALING)):
        sums = {s.register for s in loop.body if isinstance(s, Let)}
        loads = {n for s in loop.body for e in expressions(s) for n in walk(e) if n.op == "load"}
        assert len(sums) + len(loads) <= DEALING.registers
