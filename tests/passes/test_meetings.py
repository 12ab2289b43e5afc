"""Where threads meet: however they run between two meetings, they compute the same bits; and they meet no more often than they need."""

from dataclasses import replace
from random import Random

import pytest

from edgec.backends.target import find
from edgec.buffer_memory import Memory
from edgec.compiler import lower, optimise_graph
from edgec.edge_file import read_graph
from edgec.loops_interpreter import run_loops
from edgec.passes.cut import ranged
from edgec.passes.meetings import meetings
from edgec.passes.parallel import parallel
from edgec.passes.tile import tile
from edgec.program_parser import parse_program
from edgec.testing.arrows import _flat, run_tiled
from edgec.testing.graphs import CONTROL_FLOW, INTEGER_STEPS, STEPS, normal_inputs, random_graph
from edgec.types import f32, i32

EAGER = replace(find("x86-64-v3"), hand_over=1)


def run_together(program, tiled, arrays, threads: int, random: Random):
    """Outputs after `threads` threads have run the program over one arena, in any order of their steps between two meetings. Steps in a row
    that are not shared fall to any one thread, which does them in the arena's scratch memory."""
    memory = Memory(program, arrays, arena=True)
    regions = {region.first: region.kernels[0] for region in parallel(program.steps, tiled, EAGER)}
    meet = meetings(program, parallel(program.steps, tiled, EAGER))
    queues: list[list] = [[] for _ in range(threads)]

    alone = 0

    def flat(one, thread: int):
        return [_flat(memory, b.root).copy() if thread and b.root.kind == "scratch" else _flat(memory, b.root) for b in one.buffers]

    def finish():
        while any(queues):
            thread = random.choice([n for n, queue in enumerate(queues) if queue])
            one, bindings = queues[thread].pop(0)
            run_loops(one.loops, flat(one, thread if bindings else 0), {**memory.bindings, **bindings})

    for step, one in enumerate(tiled):
        if step in meet:
            finish()
        if step not in regions:
            alone = alone if step - 1 not in regions and step not in meet else random.randrange(threads)
            queues[alone].append((one, {}))
            continue
        whole, bounds = ranged(regions[step].cut), regions[step].bounds
        first, last = (s.data for s in whole.loops.symbols[-2:])
        for thread in range(threads):
            start, end = ((len(bounds) - 1) * n // threads for n in (thread, thread + 1))
            queues[thread].append((whole, {first: bounds[start], last: bounds[end]}))
    finish()
    return {b.name: memory.array(b).copy() for b in program.outputs}, len(regions), len(meet)


@pytest.mark.parametrize("seed", range(60))
def test_any_order_between_meetings_computes_the_same_bits(seed):
    random, draw = Random(seed), Random(3300 + seed)
    kind, steps = (i32, INTEGER_STEPS) if seed % 5 == 4 else (f32, STEPS)
    straight = [step for step in steps if step not in CONTROL_FLOW]     # what is run here walks each kernel once
    graph = random_graph(draw, 6, kind, straight, symbolic=seed % 3 == 2 and kind is f32)
    program = lower(optimise_graph(graph, EAGER), EAGER, without=("images",))
    tiled = [tile(kernel, EAGER) for kernel in program.steps]
    arrays = normal_inputs(graph, seed=seed, size=3)
    expected = run_tiled(program, tiled, arrays)
    for threads in (2, 3):
        found, *_ = run_together(program, tiled, arrays, threads, random)
        for name, array in expected.items():
            assert array.tobytes() == found[name].tobytes(), name


def planned(text: str) -> tuple[list[int], int]:
    """The steps before which threads meet, and the number of steps."""
    program = lower(read_graph(text, "test"), EAGER)
    tiled = [tile(kernel, EAGER) for kernel in program.steps]
    return sorted(meetings(program, parallel(program.steps, tiled, EAGER))), len(program.steps)


def test_branches_of_one_tensor_need_no_meeting_between_them():
    text = "graph g(%x: f32[1,16,24,24]) -> (%y) {\n @u: f32[32,16,1,1]\n @v: f32[48,32,1,1]\n @w: f32[16,32,3,3]\n" \
           " %a = Conv(%x, @u) : f32[1,32,24,24]\n %b = Relu(%a) : f32[1,32,24,24]\n %c = Conv(%b, @v) : f32[1,48,24,24]\n" \
           " %d = Conv(%b, @w) pads=[1,1,1,1] : f32[1,16,24,24]\n %e = Concat(%c, %d) axis=1 : f32[1,64,24,24]\n" \
           " @k: f32[24,64,1,1]\n %f = Conv(%e, @k) : f32[1,24,24,24]\n %y = GlobalAveragePool(%f) : f32[1,24,1,1]\n}"
    meet, steps = planned(text)
    assert len(meet) == steps - 2


def test_a_chain_meets_at_every_step():
    text = "graph g(%x: f32[64,64]) -> (%y) {\n @u: f32[64,64]\n %a = MatMul(%x, @u) : f32[64,64]\n %b = MatMul(%a, @u) : f32[64,64]\n" \
           " %y = MatMul(%b, @u) : f32[64,64]\n}"
    assert planned(text) == ([1, 2], 3)


def test_steps_of_the_first_thread_need_no_meeting():
    program = parse_program("""
program scatters(x, at) -> (y, z)
input x: f32[6]
input at: i32[6]
output y: f32[3]
output z: f32[3]

kernel one(i0 < 6)
  merge one() y[cast<index>(at[i0])] add = x[i0] where cast<index>(at[i0]) < 3

kernel two(i0 < 6)
  merge two() z[cast<index>(at[i0])] add = x[i0] where cast<index>(at[i0]) < 3
""")
    assert not meetings(program, [])


def test_the_steps_of_a_loop_meet_at_its_beginning_and_behind_it():
    program = parse_program("""
program smooth(x) -> (y, z)
input x: f32[40]
output y: f32[40]
output z: f32[40]

kernel before(i0 < 40)
  store before() z[i0] = x[i0]

kernel step(i0 < 40) repeat (t0 < 4)
  store step() y[i0] = x[i0] + 1.0

kernel after(i0 < 40)
  store after() z[i0] = x[i0]
""")
    assert meetings(program, []) == {1, 2}
