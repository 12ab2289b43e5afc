"""The program interpreter against plain numpy: stages, views, orders, symbols, chunks, sequential kernels, and what it refuses."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings

from edgec.buffer_memory import Memory
from edgec.errors import Internal, ModelError
from edgec.expr import binary, cast, const, fresh, inside, read, reduce_over, sum_over, var
from edgec.kernel import Axis, Buffer, Kernel, Program, Stage
from edgec.passes.liveness import liveness
from edgec.program_interpreter import _Runner, run_buffers, run_memory, run_program
from edgec.testing import assert_same, programs, random_inputs
from edgec.types import f32, i32, index


def vector(name, kind="temporary", size=8, dtype=f32, **options):
    return Buffer(name, dtype, (size,), kind, **options)


def axis(extent, stem="i"):
    return Axis(fresh(stem, 0, (extent if isinstance(extent, int) else extent.hi) - 1), extent)


def one(target, *axes, value):
    variables = [a.var for a in axes]
    return Kernel("k", axes, (Stage("s", (), value(*variables), target, tuple(variables)),))


def run_one(kernel, arrays, symbols=(), **options):
    inputs = tuple(dict.fromkeys(b for b in kernel_inputs(kernel)))
    program = Program("p", inputs, tuple(dict.fromkeys(b for b in kernel.targets if b.kind == "output")), (kernel,), symbols)
    return run_program(program, arrays, **options)


def kernel_inputs(kernel):
    from edgec.accesses import kernel_buffers
    return [b for b in kernel_buffers(kernel) if b.kind == "input"]


@given(programs())
@settings(max_examples=60)
def test_chunks_change_nothing(program):
    arrays = random_inputs(program)
    assert_same(run_program(program, arrays, chunk_bytes=1), run_program(program, arrays))


def test_a_matrix_product():
    x, w, y = Buffer("x", f32, (5, 7), "input"), Buffer("w", f32, (7, 3), "input", order=(1, 0)), Buffer("y", f32, (5, 3), "output")
    kernel = one(y, axis(5), axis(3), value=lambda i, j: sum_over(7, lambda k: read(x, (i, k)) * read(w, (k, j))))
    generator = np.random.default_rng(1)
    arrays = {"x": generator.standard_normal((5, 7)).astype(np.float32), "w": generator.standard_normal((7, 3)).astype(np.float32)}
    np.testing.assert_allclose(run_one(kernel, arrays)["y"], arrays["x"].astype(np.float64) @ arrays["w"], rtol=1e-6)


def test_chunks_stay_within_their_bytes():
    x, y = Buffer("x", f32, (64, 1000), "input"), Buffer("y", f32, (64, 50), "output")
    kernel = one(y, axis(64), axis(50), value=lambda i, j: sum_over(1000, lambda k: read(x, (i, k))) * cast(j, f32))
    program = Program("p", (x,), (y,), (kernel,))
    runner = _Runner(kernel, Memory(program, random_inputs(program)))
    boxes = list(runner.boxes(48 * 1000 * 70))
    assert max((b - a) * (d - c) for (a, b), (c, d) in boxes) == 50
    assert sum((b - a) * (d - c) for (a, b), (c, d) in boxes) == 64 * 50


@pytest.mark.parametrize("chunk_bytes", [1, 700, 1 << 20])
def test_scratch_lives_in_one_outer_point(chunk_bytes):
    x, y = Buffer("x", f32, (6, 5), "input"), Buffer("y", f32, (6, 5), "output")
    most, less = Buffer("most", f32, (), "scratch"), Buffer("less", f32, (5,), "scratch")
    n, c, d = axis(6), axis(5), axis(5)
    stages = (Stage("most", (), reduce_over([5], "max", lambda r: read(x, (n.var, r))), most),
              Stage("less", (c,), read(x, (n.var, c.var)) - read(most, ()), less, (c.var,)),
              Stage("last", (d,), read(less, (4 - d.var,)), y, (n.var, d.var)))
    arrays = {"x": np.random.default_rng(2).standard_normal((6, 5)).astype(np.float32)}
    result = run_one(Kernel("k", (n,), stages), arrays, chunk_bytes=chunk_bytes)["y"]
    np.testing.assert_array_equal(result, (arrays["x"] - arrays["x"].max(1, keepdims=True))[:, ::-1])


def test_inner_extents_may_depend_on_the_outer_point():
    x, y, scratch = vector("x", "input", 10), vector("y", "output", 10), vector("twice", "scratch", 4)
    o = Axis(fresh("o", 0, 2), 3)
    size = binary("min", 10 - o.var * 4, 4)
    i, j = Axis(fresh("i", 0, 3), size), Axis(fresh("j", 0, 3), size)
    stages = (Stage("twice", (i,), read(x, (o.var * 4 + i.var,)) * 2.0, scratch, (i.var,)),
              Stage("last", (j,), read(scratch, (j.var,)) + 1.0, y, (o.var * 4 + j.var,)))
    arrays = {"x": np.arange(10, dtype=np.float32)}
    np.testing.assert_array_equal(run_one(Kernel("k", (o,), stages), arrays)["y"], 2 * arrays["x"] + 1)


def test_guards_keep_stores_and_reads_away():
    x, y = vector("x", "input", 4), vector("y", "output", 6)
    i, j = axis(6), axis(6)
    stages = (Stage("zero", (i,), const(7, f32), y, (i.var,)),
              Stage("some", (j,), read(x, (j.var - 1,)), y, (j.var,), guards=((j.var - 1, const(4, index)),)))
    np.testing.assert_array_equal(run_one(Kernel("k", (), stages), {"x": np.arange(4, dtype=np.float32)})["y"], [7, 0, 1, 2, 3, 7])


@pytest.mark.parametrize("combine, expected", [
    ("add", [3, 7, 5]), ("mul", [2, 12, 5]), ("max", [2, 4, 5]), ("min", [1, 3, 5]), ("", [2, 4, 5])])
def test_updates_merge_into_what_is_there(combine, expected):
    x, y = vector("x", "input", 5), vector("y", "output", 3)
    i, j = axis(3), axis(5)
    stages = (Stage("start", (i,), const({"mul": 1.0, "min": 99.0}.get(combine, 0.0), f32), y, (i.var,)),
              Stage("merge", (j,), read(x, (j.var,)), y, (j.var // 2,), combine))
    np.testing.assert_array_equal(run_one(Kernel("k", (), stages), {"x": np.arange(1, 6, dtype=np.float32)})["y"], expected)


def test_points_that_share_one_element_merge_too():
    x, y, a = vector("x", "input", 5), Buffer("y", f32, (), "output"), axis(5)
    stages = (Stage("start", (), const(2, f32), y), Stage("merge", (a,), read(x, (a.var,)), y, (), "add"))
    assert run_one(Kernel("k", (), stages), {"x": np.arange(1, 6, dtype=np.float32)})["y"] == 17


def test_an_update_after_a_start_in_one_kernel_waits_for_it():
    x, y = Buffer("x", f32, (3, 4), "input"), Buffer("y", f32, (4,), "output")
    n, i, j = axis(3), axis(4), axis(4)
    stages = (Stage("start", (i,), cast(n.var, f32), y, (i.var,)), Stage("merge", (j,), read(x, (n.var, j.var)), y, (j.var,), "add"))
    arrays = {"x": np.ones((3, 4), np.float32)}
    np.testing.assert_array_equal(run_one(Kernel("k", (n,), stages), arrays)["y"], [3, 3, 3, 3])


def test_views_write_into_their_parent():
    x, y = vector("x", "input", 4), Buffer("y", f32, (2, 4), "output")
    rows = [Buffer(f"row{n}", f32, (4,), "temporary", parent=y, offset=4 * n, view_strides=(1,)) for n in range(2)]
    steps = tuple(one(row, axis(4), value=lambda i, n=n: read(x, (i,)) + float(n)) for n, row in enumerate(rows))
    program = Program("p", (x,), (y,), steps)
    arrays = {"x": np.arange(4, dtype=np.float32)}
    np.testing.assert_array_equal(run_program(program, arrays)["y"], [arrays["x"], arrays["x"] + 1])
    assert list(run_buffers(program, arrays)) == rows


def test_orders_lie_in_memory_as_they_say():
    x, y = Buffer("x", f32, (2, 3), "input"), Buffer("y", f32, (2, 3), "output", order=(1, 0))
    program = Program("p", (x,), (y,), (one(y, axis(2), axis(3), value=lambda i, j: read(x, (i, j))),))
    arrays = {"x": np.arange(6, dtype=np.float32).reshape(2, 3)}
    memory = run_memory(program, arrays)
    np.testing.assert_array_equal(memory.array(y), arrays["x"])
    np.testing.assert_array_equal(memory.block(y).view(np.float32), arrays["x"].T.ravel())


def test_symbols_have_the_size_of_the_inputs():
    n = var("n", 1, 8)
    x, y = Buffer("x", f32, (n, 3), "input"), Buffer("y", f32, (n * 3,), "output")
    kernel = one(y, Axis(fresh("i", 0, 23), n * 3), value=lambda i: read(x, (i // 3, i % 3)))
    arrays = {"x": np.arange(15, dtype=np.float32).reshape(5, 3)}
    np.testing.assert_array_equal(run_one(kernel, arrays, (n,))["y"], arrays["x"].ravel())


def test_a_recurrence_runs_in_order():
    x, y = vector("x", "input"), vector("y", "output")
    kernel = one(y, axis(8), value=lambda i: read(x, (i,)) + inside([(i - 1, 8)], read(y, (i - 1,)), 0.0))
    arrays = {"x": np.arange(8, dtype=np.float32)}
    np.testing.assert_array_equal(run_one(kernel, arrays)["y"], np.cumsum(arrays["x"]))


def test_repeats_run_their_kernels_in_turn():
    x, y, state = vector("x", "input", 4), Buffer("y", f32, (3, 2), "output"), vector("state", "temporary", 1)
    t, u = axis(3, "t"), axis(2, "u")
    zero = const(0, index)
    start = Kernel("start", (), (Stage("s", (), read(x, (t.var,)), state, (zero,)),), repeat=(t,))
    double = Kernel("double", (), (Stage("s", (), read(state, (zero,)) * 2.0, state, (zero,)),), repeat=(t, u))
    keep = Kernel("keep", (), (Stage("s", (), read(state, (zero,)), y, (t.var, u.var)),), repeat=(t, u))
    program = Program("p", (x,), (y,), (start, double, keep))
    arrays = {"x": np.arange(4, dtype=np.float32)}
    np.testing.assert_array_equal(run_program(program, arrays)["y"], [[0, 0], [2, 4], [4, 8]])
    apart = Program("p", (x,), (y,), (start, replace(double, repeat=(t,)), replace(keep, repeat=(t, u))))
    np.testing.assert_array_equal(run_program(apart, arrays)["y"], [[0, 0], [2, 2], [4, 4]])


def test_halves_of_a_state_need_no_order():
    state, t, i = Buffer("state", f32, (2, 4), "temporary"), axis(3, "t"), axis(4)
    value = reduce_over([4], "add", lambda r: read(state, (t.var % 2, r)))
    kernel = Kernel("k", (i,), (Stage("s", (), value, state, ((t.var + 1) % 2, i.var)),), repeat=(t,))
    memory = Memory(Program("p", (), (), (kernel,)), {})
    memory.bind(t.var, 1)
    assert _Runner(kernel, memory).sequential() == [False]
    same = replace(kernel, stages=(replace(kernel.stages[0], indices=(t.var % 2, i.var)),))
    assert _Runner(same, memory).sequential() == [True]


def test_scratch_is_used_again_at_every_outer_point():
    x, y, scratch = Buffer("x", f32, (3, 4), "input"), Buffer("y", f32, (3, 4), "output"), vector("row", "scratch", 4)
    n, i, j = axis(3), axis(4), axis(4)
    stages = (Stage("a", (i,), read(x, (n.var, i.var)) * 3.0, scratch, (i.var,)),
              Stage("b", (j,), read(scratch, (3 - j.var,)), y, (n.var, j.var)))
    arrays = {"x": np.arange(12, dtype=np.float32).reshape(3, 4)}
    np.testing.assert_array_equal(run_one(Kernel("k", (n,), stages), arrays)["y"], 3 * arrays["x"][:, ::-1])
    program = liveness(Program("p", (x,), (y,), (Kernel("k", (n,), stages),)))
    assert _Runner(program.steps[0], Memory(program, arrays, arena=True)).sequential() == [True]
    np.testing.assert_array_equal(run_program(program, arrays, arena=True)["y"], 3 * arrays["x"][:, ::-1])


def test_scratch_with_an_outer_axis_needs_no_order():
    x, y, scratch = Buffer("x", f32, (3, 4), "input"), Buffer("y", f32, (3, 4), "output"), Buffer("row", f32, (3, 4), "scratch")
    n, i, j = axis(3), axis(4), axis(4)
    stages = (Stage("a", (i,), read(x, (n.var, i.var)), scratch, (n.var, i.var)),
              Stage("b", (j,), read(scratch, (n.var, 3 - j.var)), y, (n.var, j.var)))
    kernel = Kernel("k", (n,), stages)
    program = Program("p", (x,), (y,), (kernel,))
    assert _Runner(kernel, Memory(program, random_inputs(program))).sequential() == [False]


def test_halves_of_one_buffer_are_apart():
    x, root = vector("x", "input", 4), Buffer("root", f32, (4, 2), "output")
    even, odd = (Buffer(n, f32, (4,), "temporary", parent=root, offset=o, view_strides=(2,)) for n, o in (("even", 0), ("odd", 1)))
    first, second = one(even, axis(4), value=lambda i: read(x, (i,))), one(odd, axis(4), value=lambda i: read(even, (3 - i,)))
    program = Program("p", (x,), (root,), (first, second))
    memory = Memory(program, {"x": np.arange(4, dtype=np.float32)})
    assert _Runner(second, memory).sequential() == [False]
    np.testing.assert_array_equal(run_program(program, {"x": np.arange(4, dtype=np.float32)})["root"].T, [[0, 1, 2, 3], [3, 2, 1, 0]])


def test_too_small_an_arena_is_seen():
    x, a, y = vector("x", "input"), vector("a"), vector("y", "output")
    steps = (one(a, axis(8), value=lambda i: read(x, (i,)) + 1.0), one(y, axis(8), value=lambda i: read(a, (7 - i,))))
    program = Program("p", (x,), (y,), steps, arena={a: 32}, arena_bytes=32)
    with pytest.raises(Internal, match="leaves the arena of 32 bytes"):
        run_program(program, {"x": np.ones(8, np.float32)}, arena=True)


def test_a_wrong_arena_gives_wrong_results():
    x, a, b, y = vector("x", "input"), vector("a"), vector("b"), vector("y", "output")
    steps = (one(a, axis(8), value=lambda i: read(x, (i,)) + 1.0), one(b, axis(8), value=lambda i: read(a, (7 - i,))),
             one(y, axis(8), value=lambda i: read(b, (i,))))
    program = Program("p", (x,), (y,), steps, arena={a: 0, b: 0}, arena_bytes=32)
    arrays = {"x": np.arange(8, dtype=np.float32)}
    expected = arrays["x"][::-1] + 1
    assert (run_program(program, arrays)["y"] == expected).all()
    assert (run_program(program, arrays, arena=True, chunk_bytes=1)["y"] != expected).any()


def test_a_read_outside_is_an_error():
    x, y = vector("x", "input"), vector("y", "output")
    with pytest.raises(Internal, match="leaves its source"):
        run_one(one(y, axis(8), value=lambda i: read(x, (i + 1,))), {"x": np.ones(8, np.float32)})


@pytest.mark.parametrize("shift", [-1, 1])
def test_a_store_outside_is_an_error(shift):
    x, y, a = vector("x", "input"), vector("y", "output"), axis(8)
    kernel = Kernel("k", (a,), (Stage("s", (), read(x, (a.var,)), y, (a.var + shift,)),))
    with pytest.raises(Internal, match="a store to y: f32.8. leaves it"):
        run_one(kernel, {"x": np.ones(8, np.float32)})


def test_a_store_of_another_type_is_an_error():
    x, y = vector("x", "input"), vector("y", "output", dtype=i32)
    with pytest.raises(Internal, match="stores f32 into y: i32"):
        run_one(one(y, axis(8), value=lambda i: read(x, (i,))), {"x": np.ones(8, np.float32)})


@pytest.mark.parametrize("arrays, message", [
    ({}, "input 'x' is missing"),
    ({"x": np.ones((3, 4))}, "other element type"),
    ({"x": np.ones(3, np.float32)}, "other rank"),
    ({"x": np.ones((3, 5), np.float32)}, "axis 1 must have 4 elements"),
    ({"x": np.ones((9, 4), np.float32)}, "axis 0 must have 1 to 8 elements"),
])
def test_inputs_must_fit(arrays, message):
    n = var("n", 1, 8)
    x, y = Buffer("x", f32, (n, 4), "input"), Buffer("y", f32, (n, 4), "output")
    program = Program("p", (x,), (y,), (one(y, Axis(fresh("i", 0, 7), n), axis(4), value=lambda i, j: read(x, (i, j))),), (n,))
    with pytest.raises(ModelError, match=message):
        run_program(program, arrays)
