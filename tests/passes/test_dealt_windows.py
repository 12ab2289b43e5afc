"""What rows of a window read by loads that deal: the same sums at every extent, nothing read outside of the picture."""

import numpy as np
import pytest

from edgec.backends.emulate import emulate, missing_tools
from edgec.backends.target import all_targets
from edgec.compiler import compile, lower
from edgec.graph_parser import parse_graph
from edgec.interpreter import interpret
from edgec.linear import coefficient
from edgec.loops import For, If, expressions, iota, statements
from edgec.passes.dealt_windows import blocks, dealt_windows
from edgec.passes.in_order import channel_block
from edgec.passes.tile import tile
from edgec.sweeps import walk
from edgec.testing.arrows import run_tiled
from edgec.testing.graphs import whole_inputs

TARGET = next(t for t in all_targets() if channel_block(t) == 4)
OTHERS = [t for t in all_targets() if channel_block(t) == 1]


def first_layer(channels: int, outputs: int, height: int, width: int, kernel: int, stride: int, pad: int):
    rng = np.random.default_rng(kernel * width)
    after = [(side + 2 * pad - kernel) // stride + 1 for side in (height, width)]
    weights = {"w": rng.integers(-4, 5, (outputs, channels, kernel, kernel)).astype(np.float32)}
    return parse_graph(f"""graph first(%x: f32[1,{channels},{height},{width}]) -> (%y) {{
      @w: f32[{outputs},{channels},{kernel},{kernel}]
      %c = Conv(%x, @w) pads=[{pad},{pad},{pad},{pad}] strides=[{stride},{stride}] : f32[1,{outputs},{after[0]},{after[1]}]
      %y = Relu(%c) : f32[1,{outputs},{after[0]},{after[1]}]
    }}""", weights)


# Around tiles of four rows (3 to 9 outputs a line), borders and none, one to three channels, windows of 3, 5 and 7, strides 1 and 2.
SIZES = [(3, 16, 2 * n + 1, 2 * n + 1, 3, 2, 1) for n in range(3, 10)]
SIZES += [(3, 16, 9, 2 * n + 1, 3, 2, 0) for n in range(3, 10)]
SIZES += [(3, 32, 14, 2 * n, 7, 2, 3) for n in range(5, 11)]
SIZES += [(3, 16, 7, 17, 3, 1, 1), (1, 16, 11, 19, 5, 1, 2), (2, 48, 12, 21, 5, 2, 2), (3, 20, 9, 18, 3, 2, 1), (4, 16, 7, 23, 3, 2, 1)]


def chosen(graph) -> list[If]:
    """The choices between two loops in the code of a graph."""
    found = [s for k in lower(graph, TARGET).steps for s in statements(tile(k, TARGET).loops.body)]
    return [s for s in found if isinstance(s, If) and all(isinstance(each, For) for each in s.orelse)]


@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_sums_are_exact_at_every_extent(sizes):
    assert not missing_tools(TARGET)
    graph = first_layer(*sizes)
    inputs = [whole_inputs(graph, seed) for seed in range(2)]
    for given, found in zip(inputs, emulate(compile(graph, TARGET, winograd=False), inputs).outputs, strict=True):
        np.testing.assert_array_equal(found["y"], interpret(graph, given)["y"])


@pytest.mark.parametrize("sizes", [(3, 16, 32, 32, 3, 2, 1), (3, 64, 32, 32, 7, 2, 3), (3, 16, 33, 33, 3, 2, 0)], ids=str)
def test_loops_of_dealt_loads_stand_beside_those_that_read_no_more_than_they_take(sizes):
    loops = chosen(first_layer(*sizes))
    assert loops
    for choice in loops:
        moving = [{n for s in statements(side) for e in expressions(s) for n in walk(e) if n.op == "load" and not n.data[0].constant}
                  for side in (choice.body, choice.orelse)]
        assert all(coefficient(n.args[0], iota(4)) == 4 for n in moving[0])
        assert not any(n.args[0].lanes > 1 for n in moving[1])


@pytest.mark.parametrize("places, expected", [
    (range(9), [0]), (range(13), [0]), (range(3, 16), [0]), (range(4, 20), [4]), (range(3, 20), [0, 16]), (range(-3, 10), [-4]),
    ([0, 1, 50, 51, 100], [0, 48, 100]), ([7], [4])], ids=str)
def test_blocks_hold_all_places_and_begin_at_multiples(places, expected):
    assert blocks(list(places), 4) == expected
    assert all(any(0 <= place - start < 16 for start in expected) for place in places)


@pytest.mark.parametrize("target", OTHERS, ids=lambda t: t.name)
def test_other_targets_keep_their_loops(target):
    for kernel in lower(first_layer(3, 16, 15, 15, 3, 2, 1), target).steps:
        body = list(tile(kernel, target).loops.body)
        assert dealt_windows(body, target) == body


@pytest.mark.parametrize("sizes", [(3, 16, 17, 17, 3, 2, 1), (2, 16, 16, 40, 7, 2, 3), (3, 16, 11, 23, 3, 2, 0)], ids=str)
def test_what_is_read_lies_in_the_picture(sizes):
    """Loops are run step by step on arrays of just their size, where a load out of bounds is an error; both sides of a choice are taken."""
    graph = first_layer(*sizes)
    program, inputs, ran = lower(graph, TARGET), whole_inputs(graph, 1), set[For]()
    tiled = [tile(kernel, TARGET) for kernel in program.steps]
    found = run_tiled(program, tiled, inputs, ran)
    np.testing.assert_array_equal(found["y"], interpret(graph, inputs)["y"])
    sides = [(choice.body, choice.orelse) for t in tiled for choice in statements(t.loops.body) if isinstance(choice, If)]
    assert any(all(any(s in ran for s in side) for side in choice) for choice in sides)
