"""Every schedule that tuning may try: legal, printed and read back, and computing what the kernel means, around the tile sizes."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from edgec.backends.target import all_targets, find
from edgec.compiler import lower, optimise_graph
from edgec.edge_file import read_graph
from edgec.errors import ModelError
from edgec.expr import fresh, read
from edgec.interpreter import interpret
from edgec.kernel import Axis, Buffer, Kernel, Program, Stage
from edgec.passes.candidates import candidates
from edgec.passes.legal import illegal
from edgec.passes.schedule import schedule
from edgec.passes.schedule_text import parse_schedule, print_schedule
from edgec.passes.segments import Piece, Segment
from edgec.passes.tile import tile
from edgec.testing.arrows import random_schedule, run_machine_code, run_tiled
from edgec.testing.bounds import assert_within, error_bounds
from edgec.testing.graphs import whole_inputs
from edgec.types import f32

NATIVE = find("native")
MACHINES = [replace(NATIVE, vector_bits=bits, registers=registers, masks=masks, scalar_operand=operand)
            for bits, registers, masks, operand in [(0, 16, False, "register"), (128, 8, True, "register"), (128, 32, False, "lane"),
                                                    (256, 16, False, "memory"), (512, 32, True, "memory")]]

# What the parameters a, b, c mean is the kernel's business: sizes of its axes.
NESTS = {
    "convolution": """graph g(%x: f32[1,3,{b},{a}]) -> (%y) {{
      @w: f32[{c},3,3,3]
      %y = Conv(%x, @w) pads=[1,1,1,1] : f32[1,{c},{b},{a}]
    }}""",
    "depthwise": """graph g(%x: f32[1,{c},{b},{a}]) -> (%y) {{
      @w: f32[{c},1,3,3]
      %n = Neg(%x) : f32[1,{c},{b},{a}]
      %c = Conv(%n, @w) group={c} pads=[1,1,1,1] : f32[1,{c},{b},{a}]
      %y = Relu(%c) : f32[1,{c},{b},{a}]
    }}""",
    "product": """graph g(%x: f32[{a},{b}]) -> (%y) {{
      @w: f32[{b},{c}]
      %y = MatMul(%x, @w) : f32[{a},{c}]
    }}""",
    "batched product of inputs": """graph g(%x: f32[2,{a},{b}], %w: f32[2,{c},{b}]) -> (%y) {{
      %t = Transpose(%w) perm=[0,2,1] : f32[2,{b},{c}]
      %y = MatMul(%x, %t) : f32[2,{a},{c}]
    }}""",
    "vector times matrix": """graph g(%x: f32[1,{b}]) -> (%y) {{
      @w: f32[{b},{c}]
      %y = MatMul(%x, @w) : f32[1,{c}]
    }}""",
    "pooling": """graph g(%x: f32[1,{c},{b},{a}]) -> (%y) {{
      %n = Neg(%x) : f32[1,{c},{b},{a}]
      %y = MaxPool(%n) kernel_shape=[3,3] pads=[1,1,1,1] : f32[1,{c},{b},{a}]
    }}""",
    "softmax": """graph g(%x: f32[{a},{c}]) -> (%y) {{
      %y = Softmax(%x) axis=1 : f32[{a},{c}]
    }}""",
    "elementwise": """graph g(%x: f32[{a},{b},{c}], %s: f32[{b},1]) -> (%y) {{
      %m = Mul(%x, %s) : f32[{a},{b},{c}]
      %y = Relu(%m) : f32[{a},{b},{c}]
    }}""",
    "transpose": """graph g(%x: f32[{a},{b},{c}]) -> (%y) {{
      %t = Transpose(%x) perm=[2,0,1] : f32[{c},{a},{b}]
      %y = Neg(%t) : f32[{c},{a},{b}]
    }}""",
    "open product": """graph g(%x: f32[n<={a},{b}]) -> (%y) {{
      @w: f32[{b},{c}]
      %y = MatMul(%x, @w) : f32[n,{c}]
    }}""",
}


def lowered(name, a, b, c, target):
    graph = read_graph(NESTS[name].format(a=a, b=b, c=c), "test")
    return graph, lower(optimise_graph(graph, target), target)


def nests(program, target):
    """(kernel number, nest) of everything that is walked."""
    found = []
    for number, kernel in enumerate(program.steps):
        tile(kernel, target, choose=lambda nest, machine, n=number: found.append((n, nest)) or schedule(nest, machine))
    return found


def tile_extents(target):
    """Extents around a tile of this target's vectors: 1, 2, one less and one more than a vector, two tiles and a tail."""
    lanes = target.lanes(32)
    return sorted({1, 2, max(1, lanes - 1), lanes, lanes + 1, 2 * lanes, 2 * lanes + 3})


def check(graph, program, target, choose, machine_code):
    arrays = whole_inputs(graph)
    with np.errstate(all="ignore"):
        expected, bounds = interpret(graph, arrays), error_bounds(graph, arrays)
    tiled = [tile(kernel, target, choose=choose) for kernel in program.steps]
    assert_within(run_tiled(program, tiled, arrays), expected, bounds)
    if machine_code:
        assert_within(run_machine_code(program, tiled, target, arrays, "0"), expected, bounds)


@given(st.sampled_from(sorted(NESTS)), st.sampled_from(MACHINES), st.data())
@settings(max_examples=60 if settings.default.derandomize else 2000)
def test_any_candidate_computes_what_the_kernel_means(name, target, data):
    extents = st.sampled_from(tile_extents(target))
    a, b, c = (data.draw(extents, label=label) for label in "abc")
    graph, program = lowered(name, a, b, c, target)

    def choose(nest, machine):
        return data.draw(st.sampled_from(candidates(nest, machine)))

    check(graph, program, target, choose, machine_code=data.draw(st.booleans()))


@pytest.mark.parametrize("name", NESTS)
@pytest.mark.parametrize("target", MACHINES[2:], ids=lambda t: str(t.vector_bits))
def test_every_candidate_of_one_size_computes_what_the_kernel_means(name, target):
    """Each in turn for the first nest of the kernel that has most, as loops."""
    lanes = target.lanes(32)
    graph, program = lowered(name, 3, 5, lanes + 1, target)
    most = max(len(candidates(nest, target)) for _, nest in nests(program, target))
    for number in range(0, most, 1 if settings.default.derandomize is False else 3):
        check(graph, program, target, lambda nest, machine, n=number: (found := candidates(nest, machine))[n % len(found)], False)


@pytest.mark.parametrize("target", all_targets(), ids=lambda t: t.name)
@pytest.mark.parametrize("name", NESTS)
def test_candidates_are_legal_distinct_and_begin_with_the_chosen_one(name, target):
    for _, nest in nests(lowered(name, 29, 35, 50, target)[1], target):
        found = candidates(nest, target)
        texts = [print_schedule(nest, plan) for plan in found]
        assert texts[0] == print_schedule(nest, schedule(nest, target)) and len(set(texts)) == len(texts) <= 200
        assert not any(illegal(nest, plan, target) for plan in found)
        for text in texts:
            assert print_schedule(nest, parse_schedule(text, nest, target)) == text


@given(st.sampled_from(sorted(NESTS)), st.sampled_from(MACHINES), st.randoms(use_true_random=False))
def test_the_text_of_any_legal_schedule_is_read_back(name, target, random):
    for _, nest in nests(lowered(name, 5, 7, 19, target)[1], target):
        plan = random_schedule(random, nest, target)
        again = parse_schedule(print_schedule(nest, plan), nest, target)
        assert all(getattr(again, field) == getattr(plan, field) for field in vars(plan))


def test_variants_of_another_plan_contain_it():
    target = find("x86-64-v3")
    (_, nest), = nests(lowered("product", 29, 64, 50, target)[1], target)
    other = candidates(nest, target)[5]
    around = [print_schedule(nest, plan) for plan in candidates(nest, target, other)]
    assert print_schedule(nest, other) in around and len(set(around) - {print_schedule(nest, p) for p in candidates(nest, target)}) >= 1


@pytest.mark.parametrize("text, message", [
    ("vector i1 8 x6, 2 | rows i0 x4 | shape 3", "'shape 3' is no part of a schedule"), ("vector i7 8", "there is no axis 'i7'"),
    ("sum r4", "there is no reduction axis 'r4'"), ("rows i0 x4", "every axis must be walked once"),
    ("vector i1 8 x6, 2 | rows i0 x40", "rows must be 1 to 29"), ("vector i1 8 x6, 2 | rows i0 xfour", "'four' is no number"),
    ("vector i1 8 x6 | rows i0 x4", "pieces cover 48 of 50"), ("vector i1 8+7, 8 x4, 3 | rows i0 x4", "powers of two"),
    ("vector i1 8 x6, 8/2 | rows i0 x4", "needs masks"), ("vector i1 eight | rows i0 x4", "'eight' is no tile"),
    ("vector i1 8 x6, 2 | rows i0 x20 | unroll 64", "outside 1 to 512"), ("vector i1 8 x6, 2 | sum r0 | rows i0 x4", "either"),
    ("vector i1 8 x6, 2 | rows i0 x4 | outer i0", "every axis must be walked once"), ("vector i1 8 x6, 2 | middle i0 block 60", "a block of 60"),
    ("sum r0 | rows i0 x4 | outer i1", "no neighbours in memory"), ("", "'' is no part"),
])
def test_what_is_no_schedule_is_told(text, message):
    target = find("x86-64-v3")
    (_, nest), = nests(lowered("product", 29, 64, 50, target)[1], target)
    with pytest.raises(ModelError) as caught:
        parse_schedule(text, nest, target)
    assert message in str(caught.value)


def test_updates_are_walked_in_order():
    target = find("x86-64-v3")
    i = Axis(fresh("i", 0, 3), 4)
    x, y = Buffer("x", f32, (4,), "input"), Buffer("y", f32, (2,), "output")
    kernel = Kernel("y", (i,), (Stage("y", (), read(x, (i.var,)), y, (i.var // 2,), combine="add"),))
    (_, nest), = nests(Program("p", (x,), (y,), (kernel,)), target)
    assert nest.is_update
    plan, = candidates(nest, target)
    assert parse_schedule(print_schedule(nest, plan), nest, target).outer == nest.axes
    assert "in order" in illegal(nest, replace(plan, outer=(), vector=nest.axes[0], segments=(Segment(0, 1, Piece((4,), 4)),)), target)
