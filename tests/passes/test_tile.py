"""Tiling: loops that compute what the kernel says, without tests where borders are far, each element stored once."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from edgec import loops_interpreter
from edgec.backends.target import all_targets, find
from edgec.compiler import lower
from edgec.edge_file import read_graph
from edgec.expr import Combine, argument, cast, const, fresh, inside, read, reduce, select, sum_over, var
from edgec.interpreter import interpret
from edgec.kernel import Axis, Buffer, Kernel, Program, Stage
from edgec.loops import For, If, Let, Store, expressions, statements
from edgec.loops_text import print_loops
from edgec.passes.reductions import LONGEST, _bounds
from edgec.passes.schedule import Schedule
from edgec.passes.segments import Piece, Segment
from edgec.passes.tile import tile
from edgec.program_interpreter import run_program
from edgec.sweeps import walk
from edgec.testing.arrows import run_machine_code, run_tiled
from edgec.testing.graphs import whole_inputs
from edgec.types import f32, i32, i64, index

NATIVE = find("native")
TARGETS = [replace(NATIVE, vector_bits=bits, masks=bits > 256) for bits in (0, 128, 256, 512)]
CONVOLUTION = """graph g(%x: f32[1,8,20,60]) -> (%y) {
  @w: f32[32,8,5,5]
  @v: f32[8,32,1,1]
  %n = Neg(%x) : f32[1,8,20,60]
  %a = Conv(%n, @w) pads=[2,2,2,2] : f32[1,32,20,60]
  %y = Conv(%a, @v) : f32[1,8,20,60]
}"""
POOL = """graph g(%x: f32[1,8,20,20]) -> (%y) {
  @w: f32[32,8,1,1]
  @v: f32[8,32,1,1]
  %a = Conv(%x, @w) : f32[1,32,20,20]
  %p = MaxPool(%a) kernel_shape=[3,3] pads=[1,1,1,1] : f32[1,32,20,20]
  %y = Conv(%p, @v) : f32[1,8,20,20]
}"""

TRANSPOSED = """graph g(%x: f32[1,8,12,12]) -> (%y) {
  @u: f32[16,8,1,1]
  @w: f32[16,8,4,4]
  @v: f32[4,8,1,1]
  %a = Conv(%x, @u) : f32[1,16,12,12]
  %t = ConvTranspose(%a, @w) strides=[2,2] pads=[1,1,1,1] : f32[1,8,24,24]
  %y = Conv(%t, @v) : f32[1,4,24,24]
}"""


def inner_loops(loops):
    """Loops without loops inside that assign registers: reductions at their innermost."""
    return [s for s in statements(loops.body) if isinstance(s, For) and any(isinstance(c, Let) for c in s.body)
            and not any(isinstance(c, For) for c in statements(s.body))]


def check(program: Program, arrays, targets=TARGETS) -> None:
    """Loops and machine code of a program against its interpreter, bit for bit."""
    expected = run_program(program, arrays)
    for target in targets:
        tiled = [tile(kernel, target) for kernel in program.steps]
        for found in (run_tiled(program, tiled, arrays), run_machine_code(program, tiled, target, arrays)):
            for name in expected:
                np.testing.assert_array_equal(found[name], expected[name])


@pytest.mark.parametrize("target", all_targets(), ids=lambda t: t.name)
@pytest.mark.parametrize("text", [CONVOLUTION, POOL, TRANSPOSED], ids=["convolution", "pool", "transposed"])
def test_reduction_loops_hold_no_test(text, target):
    """Borders are tiles of their own and bounds of loops: nowhere is an element tested before it is added."""
    for kernel in lower(read_graph(text, "test"), target).steps:
        for statement in statements(tile(kernel, target).loops.body):
            assert not isinstance(statement, If)
            assert not any(n.op in ("inside", "select") for n in walk(*expressions(statement)))


@pytest.mark.parametrize("target", all_targets(), ids=lambda t: t.name)
def test_every_accumulator_stays_in_a_register(target):
    """Innermost loops store nothing; in the interior each register is assigned once for each copy of the step, at a border at most that."""
    loops = tile(lower(read_graph(CONVOLUTION, "test"), target).steps[1], target).loops
    uniform = 0
    for loop in inner_loops(loops):
        assert all(isinstance(s, Let) for s in loop.body)
        copies = Counter(s.register for s in loop.body)
        assert len(copies) <= target.registers
        uniform += len(set(copies.values())) == 1
    assert uniform


SMALL = CONVOLUTION.replace("20,60", "3,9"), POOL.replace("20,20", "5,6"), TRANSPOSED.replace("12,12", "3,7").replace("24,24", "6,14")


@pytest.mark.parametrize("text", SMALL, ids=["convolution", "pool", "transposed"])
@pytest.mark.parametrize("target", TARGETS, ids=lambda t: str(t.vector_bits))
def test_every_element_is_stored_once(text, target, monkeypatch):
    graph = read_graph(text, "test")
    program = lower(graph, target)
    stored = Counter()
    original = loops_interpreter._Machine.store

    def counting(machine, statement: Store) -> None:
        start = machine.value(statement.index)
        stored.update((statement.param, at) for at in range(start, start + (statement.active or statement.value.lanes)))
        original(machine, statement)

    monkeypatch.setattr(loops_interpreter._Machine, "store", counting)
    tiled = [tile(kernel, target) for kernel in program.steps]
    arrays = whole_inputs(graph)
    found = run_tiled(program, tiled, arrays)
    np.testing.assert_array_equal(found["y"], interpret(graph, arrays)["y"])
    assert set(stored.values()) == {1}
    assert len(stored) == sum(b.max_size for b in {b for k in program.steps for b in k.targets})


def test_a_given_schedule_is_followed():
    """matmul in tiles of 2 rows and 8 + 4 columns, the columns' tiles outermost: read off the loops."""
    text = """graph g(%x: f32[5,6]) -> (%y) {
      @w: f32[6,28]
      %y = MatMul(%x, @w) : f32[5,28]
    }"""
    target = replace(NATIVE, vector_bits=256)
    graph = read_graph(text, "test")
    program = lower(graph, target)

    def choose(nest, target):
        rows, columns = nest.axes
        segments = (Segment(0, 2, Piece((8, 4), 4)), Segment(24, 1, Piece((4,), 4)))
        return Schedule(columns, segments, None, rows, 2, (), (), 0, 1, 3)

    one = tile(program.steps[0], target, choose=choose)
    outer = [s for s in one.loops.body if isinstance(s, For)]
    assert (outer[0].start.data, outer[0].stop.data, outer[0].step) == (0, 2, 1)  # two tiles of twelve columns
    rows = next(s for s in outer[0].body if isinstance(s, For))
    assert (rows.start.data, rows.stop.data, rows.step) == (0, 4, 2)
    assert Counter(r.lanes for r in {s.register for s in rows.body if isinstance(s, Let)}) == {8: 2, 4: 2}
    assert len([s for s in rows.body if isinstance(s, Let)]) == 4 + 6 * 4  # six steps of four accumulators, short enough to be written out
    arrays = whole_inputs(graph)
    np.testing.assert_array_equal(run_tiled(program, [one], arrays)["y"], interpret(graph, arrays)["y"])
    assert [b.name for b in one.buffers][:2] == ["y", "x"] and "packed" in one.buffers[2].name


def test_blocks_of_rows_are_walked_for_each_panel():
    text = """graph g(%x: f32[3,50,8]) -> (%y) {
      @w: f32[8,8]
      %y = MatMul(%x, @w) : f32[3,50,8]
    }"""
    target = replace(NATIVE, vector_bits=256)
    graph = read_graph(text, "test")
    program = lower(graph, target)

    def choose(nest, target):
        rows, columns = nest.axes
        return Schedule(columns, (Segment(0, 1, Piece((8,), 8)),), None, None, 1, (), (rows,), 40, 1, 1)

    one = tile(program.steps[0], target, choose=choose)
    blocks, = one.loops.body
    assert (blocks.stop.data, blocks.step) == (150, 40)
    arrays = whole_inputs(graph)
    np.testing.assert_array_equal(run_tiled(program, [one], arrays)["y"], interpret(graph, arrays)["y"])


def test_loops_name_no_buffer_they_do_not_touch():
    graph = read_graph(CONVOLUTION, "test")
    for kernel in lower(graph, NATIVE).steps:
        one = tile(kernel, NATIVE)
        used = {n.data[0] for s in statements(one.loops.body) for n in walk(*expressions(s)) if n.op == "load"}
        used |= {s.param for s in statements(one.loops.body) if isinstance(s, Store)}
        assert used == set(one.loops.params) and len(one.buffers) == len(one.loops.params)


def test_equal_kernels_have_equal_loops():
    """Two layers of one shape are one function: nothing in the text depends on when the kernel was made."""
    from edgec.loops_text import loops_key
    graph = read_graph("""graph g(%x: f32[1,16,8,8]) -> (%y) {
      @w: f32[16,16,3,3]
      @v: f32[16,16,3,3]
      @u: f32[16,16,3,3]
      %a = Neg(%x) : f32[1,16,8,8]
      %b = Conv(%a, @w) pads=[1,1,1,1] : f32[1,16,8,8]
      %c = Conv(%b, @v) pads=[1,1,1,1] : f32[1,16,8,8]
      %d = Conv(%c, @u) pads=[1,1,1,1] : f32[1,16,8,8]
      %y = Neg(%d) : f32[1,16,8,8]
    }""", "test")
    target = replace(NATIVE, max_flash_growth=1.0)
    steps = [k for k in lower(graph, target).steps if any(n.op == "reduce" for s in k.stages for n in walk(s.value))]
    assert len(steps) == 3 and len({loops_key(tile(k, target).loops) for k in steps[:2]}) == 1
    assert print_loops(tile(steps[0], target).loops) == print_loops(tile(steps[0], target).loops)


@pytest.mark.parametrize("c", [-3, -2, -1, 1, 2, 5])
@pytest.mark.parametrize("extent", [1, 4, 7])
def test_the_bounds_of_a_loop_are_those_of_its_guard(c, extent):
    for base in range(-9, 10):
        least, past = (bound.data for bound in _bounds(const(base, index), c, const(extent, index)))
        assert [k for k in range(-20, 21) if least <= k < past] == [k for k in range(-20, 21) if 0 <= base + c * k < extent]


# -------------------------------------------------------------------------------------- kernels that graphs rarely make

def test_two_results_of_one_walk():
    """The greatest element of each row and where it stands, by one tuple reduction."""
    x, most, place = Buffer("x", f32, (5, 19), "input"), Buffer("most", f32, (5,), "output"), Buffer("place", i64, (5,), "output")
    i, k = fresh("i", 0, 4), fresh("k", 0, 18)
    a, b, m, n = argument("a", f32), argument("b", f32), argument("m", index), argument("n", index)
    later = a < b
    combine = Combine((a, m), (b, n), (select(later, b, a), select(later, n, m)))
    value, at = reduce(combine, (k,), (19,), (const(-np.inf, f32), const(0, index)), (read(x, (i, k)), k))
    stages = (Stage("most", (), value, most, (i,)), Stage("place", (), cast(at, i64), place, (i,)))
    program = Program("p", (x,), (most, place), (Kernel("k", (Axis(i, 5),), stages),))
    arrays = {"x": np.random.default_rng(1).standard_normal((5, 19)).astype(np.float32)}
    check(program, arrays)
    np.testing.assert_array_equal(run_program(program, arrays)["place"], arrays["x"].argmax(axis=1))


@pytest.mark.parametrize("combine, expected", [("add", [3, 0, 3, 4]), ("max", [2, 0, 3, 4])])
def test_updates_meet_in_one_element(combine, expected):
    """y[at[i]] (+=, max=) i: stored where data says, in order."""
    at, y = Buffer("at", i64, (5,), "input"), Buffer("y", f32, (4,), "output")
    i, j = fresh("i", 0, 4), fresh("j", 0, 3)
    clear = Kernel("clear", (Axis(j, 4),), (Stage("y", (), const(0.0, f32), y, (j,)),))
    store = Stage("y", (), cast(i, f32), y, (cast(read(at, (i,)), index),), combine=combine)
    program = Program("p", (at,), (y,), (clear, Kernel("update", (Axis(i, 5),), (store,))))
    arrays = {"at": np.array([0, 0, 0, 2, 3])}
    check(program, arrays)
    np.testing.assert_array_equal(run_program(program, arrays)["y"], expected)


def test_guarded_stores_leave_the_rest_alone():
    """Lanes of one vector that disagree are stored one by one."""
    x, y = Buffer("x", f32, (12,), "input"), Buffer("y", f32, (12,), "output")
    i, j = fresh("i", 0, 11), fresh("j", 0, 11)
    clear = Kernel("clear", (Axis(j, 12),), (Stage("y", (), const(-1.0, f32), y, (j,)),))
    some = Stage("y", (), read(x, (i,)) * 2.0, y, (i,), guards=((i - 3, const(6, index)),))
    program = Program("p", (x,), (y,), (clear, Kernel("some", (Axis(i, 12),), (some,))))
    arrays = {"x": np.arange(12, dtype=np.float32)}
    check(program, arrays)
    assert list(run_program(program, arrays)["y"]) == [-1, -1, -1, 6, 8, 10, 12, 14, 16, -1, -1, -1]


def test_a_fill_in_the_middle_of_a_vector():
    x, y = Buffer("x", i32, (3, 21), "input"), Buffer("y", i32, (3, 21), "output")
    i, j = fresh("i", 0, 2), fresh("j", 0, 20)
    value = inside([(j - 2, 21), (i + 1, 3)], read(x, (i + 1, j - 2)), 7) * 3
    program = Program("p", (x,), (y,), (Kernel("k", (Axis(i, 3), Axis(j, 21)), (Stage("y", (), value, y, (i, j)),)),))
    check(program, {"x": np.arange(63, dtype=np.int32).reshape(3, 21)})


def test_an_open_axis_beside_a_reduction_over_it():
    n = var("n", 1, 9)
    x, y = Buffer("x", f32, (n, 6), "input"), Buffer("y", f32, (n,), "output")
    i = fresh("i", 0, 8)
    value = sum_over(n, lambda k: read(x, (k, 0))) + sum_over(6, lambda k: read(x, (i, k)))
    program = Program("p", (x,), (y,), (Kernel("k", (Axis(i, n),), (Stage("y", (), value, y, (i,)),)),), (n,))
    for rows in (1, 4, 9):
        check(program, {"x": np.arange(6 * rows, dtype=np.float32).reshape(rows, 6)})


def test_short_sums_of_a_wide_tile_stay_loops():
    """Eight channels a group, three taps beside the border and 28 rows would be 672 multiply-adds in a row, with spills among them."""
    kernel = lower(read_graph("""graph g(%x: f32[1,128,28,28]) -> (%y) {
      @u: f32[128,128,1,1]
      @w: f32[128,8,3,3]
      @v: f32[8,128,1,1]
      %a = Conv(%x, @u) : f32[1,128,28,28]
      %b = Conv(%a, @w) pads=[1,1,1,1] group=16 : f32[1,128,28,28]
      %y = Conv(%b, @v) : f32[1,8,28,28]
    }""", "test"), find("x86-64-v4")).steps[1]
    bodies = [s.body for s in statements(tile(kernel, find("x86-64-v4")).loops.body) if isinstance(s, For)]
    assert max(sum(isinstance(s, Let) for s in body) for body in bodies) <= LONGEST


def test_neighbouring_rows_of_a_full_tile_share_no_scalars_within_a_loop():
    """Tap 2 of one row is tap 0 of the next at stride 2: in one body LLVM would keep thirteen such scalars beside 28 sums."""
    target = find("x86-64-v4")
    kernel = lower(read_graph("""graph g(%x: f32[1,3,64,224]) -> (%y) {
      @w: f32[32,3,3,3]
      %y = Conv(%x, @w) pads=[1,1,1,1] strides=[2,2] : f32[1,32,32,112]
    }""", "test"), target).steps[0]
    source = next(n.data for n in walk(kernel.stages[0].value) if n.op == "read" and n.data.kind == "input")
    tiled = tile(kernel, target)
    param = tiled.loops.params[tiled.buffers.index(source)]
    for body in [s.body for s in statements(tiled.loops.body) if isinstance(s, For)]:
        own = [e for s in body if isinstance(s, Let) for e in expressions(s)]
        rows = Counter(id(n.args[0]) for e in own for n in walk(e) if n.op == "load" and n.data[0] is param)
        assert not rows or max(rows.values()) <= 2  # the two vectors of its own row
