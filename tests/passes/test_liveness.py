"""Memory planning: intervals never overlap, arenas are small, in-place reuse happens where it is safe and nowhere else."""

import random
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from edgec.errors import Internal
from edgec.expr import cast, const, fresh, maximum, read, reduce_over, var
from edgec.kernel import Axis, Buffer, Kernel, Program, Stage
from edgec.passes.liveness import lifetimes, liveness, takes_place_of
from edgec.passes.placement import WORK, Interval, _Search, largest_live_set, place
from edgec.program_interpreter import run_program
from edgec.testing import assert_same, programs, random_inputs
from edgec.types import f32, i8, i32, index

interval = st.builds(lambda a, n, s: Interval(a, a + n, 64 * s), st.integers(0, 40), st.integers(0, 12), st.integers(0, 99))
intervals = st.lists(interval, max_size=60)


def assert_disjoint(found, offsets, size):
    for n, a in enumerate(found):
        assert offsets[n] >= 0 and offsets[n] % 64 == 0 and offsets[n] + a.bytes <= size
        for m, b in enumerate(found[:n]):
            if a.first <= b.last and b.first <= a.last:
                assert offsets[n] + a.bytes <= offsets[m] or offsets[m] + b.bytes <= offsets[n], (a, b)


@given(intervals)
def test_intervals_alive_together_never_share_bytes(found):
    offsets, size = place(found, work=2000)
    assert_disjoint(found, offsets, size)
    assert size >= largest_live_set(found)
    assert place(found, work=2000) == (offsets, size)


def test_largest_live_set_counts_both_ends():
    assert largest_live_set([Interval(0, 1, 64), Interval(1, 2, 128), Interval(2, 3, 64), Interval(5, 5, 64)]) == 192
    assert largest_live_set([]) == 0 and place([]) == ([], 0)


def network(kind, generator, layers=100):
    """Intervals as networks make them: chains, residual blocks, dense blocks, an encoder whose results the decoder reads again."""
    sizes = [64 * generator.randrange(1, 4000) for _ in range(layers)]
    ends = {"chain": lambda n: n + 1, "residual": lambda n: n + (3 if n % 3 == 0 else 1), "dense": lambda n: n - n % 6 + 6,
            "encoder": lambda n: layers - n if n < layers // 2 else n + 1, "branches": lambda n: n + generator.randrange(1, 8)}
    return [Interval(n, max(ends[kind](n), n + 1), sizes[n]) for n in range(layers)]


@pytest.mark.parametrize("kind", ["chain", "residual", "dense", "encoder", "branches"])
@pytest.mark.parametrize("seed", range(4))
def test_arenas_are_close_to_the_largest_live_set(kind, seed):
    found = network(kind, random.Random(seed))
    offsets, size = place(found)
    assert_disjoint(found, offsets, size)
    assert size <= 1.05 * largest_live_set(found)


def test_the_search_is_bounded_for_many_intervals():
    generator = random.Random(1)
    starts = [generator.randrange(300) for _ in range(300)]
    found = [Interval(a, a + generator.randrange(1, 120), 64 * generator.randrange(1, 999)) for a in starts]
    attempts = []
    original = _Search.attempt
    try:
        _Search.attempt = lambda self, order: attempts.append(len(order)) or original(self, order)
        offsets, size = place(found)
    finally:
        _Search.attempt = original
    assert_disjoint(found, offsets, size)
    neighbours = sum(map(len, _Search(found).neighbours))
    assert len(attempts) <= 6 + 1 + WORK // neighbours


@given(programs())
@settings(max_examples=60)
def test_a_planned_arena_changes_no_result(program):
    arrays = random_inputs(program)
    expected = run_program(program, arrays)
    planned = liveness(program)
    assert planned.arena_bytes >= planned.live_bytes
    assert_same(run_program(planned, arrays, arena=True, chunk_bytes=1), expected)
    apart = liveness(program, in_place=False)
    assert planned.live_bytes <= apart.live_bytes
    assert_same(run_program(apart, arrays, arena=True), expected)


SHAPE = (4, 6)


def matrix(name, kind="temporary", dtype=f32, **options):
    return Buffer(name, dtype, SHAPE, kind, **options)


def kernel(name, target, value, indices=None):
    """target[i, j] = value(i, j)"""
    i, j = fresh("i", 0, SHAPE[0] - 1), fresh("j", 0, SHAPE[1] - 1)
    at = indices(i, j) if indices else (i, j)
    return Kernel(name, (Axis(i, SHAPE[0]), Axis(j, SHAPE[1])), (Stage("s", (), value(i, j), target, at),))


def relu(name, source, target):
    return kernel(name, target, lambda i, j: maximum(read(source, (i, j)), 0.0))


def test_lifetimes_reach_from_first_store_to_last_read():
    x, a, b, y = matrix("x", "input"), matrix("a"), matrix("b"), matrix("y", "output")
    steps = (relu("k0", x, a), relu("k1", a, b), kernel("k2", y, lambda i, j: read(a, (i, j)) + read(b, (i, j))))
    assert lifetimes(Program("p", (x,), (y,), steps)) == {a: (0, 2), b: (1, 2)}


def test_views_live_in_their_root():
    x, root, y = matrix("x", "input"), Buffer("root", f32, (4, 12), "temporary"), matrix("y", "output")
    left, right = (matrix(n, parent=root, offset=o, view_strides=(12, 1)) for n, o in (("left", 0), ("right", 6)))
    steps = (relu("k0", x, left), relu("k1", x, right), relu("k2", left, y))
    planned = liveness(Program("p", (x,), (y,), steps))
    assert lifetimes(planned) == {root: (0, 2)}
    assert planned.arena == {root: 0, left: 0, right: 24}
    assert planned.arena_bytes == planned.live_bytes == 192


def test_a_read_before_any_store_is_an_error():
    a, y = matrix("a"), matrix("y", "output")
    with pytest.raises(Internal, match="a is read before anything is stored"):
        lifetimes(Program("p", (), (y,), (relu("k0", a, y),)))


def test_a_chain_of_elementwise_kernels_uses_one_place():
    x, y, temporaries = matrix("x", "input"), matrix("y", "output"), [matrix(f"t{n}") for n in range(5)]
    steps = [relu(f"k{n}", a, b) for n, (a, b) in enumerate(zip([x, *temporaries], [*temporaries, y]))]
    program = Program("p", (x,), (y,), tuple(steps))
    assert set(liveness(program).arena.values()) == {0}
    assert liveness(program).arena_bytes == 128 and liveness(program, in_place=False).arena_bytes == 256


def test_a_live_input_keeps_its_place():
    x, a, b, y = matrix("x", "input"), matrix("a"), matrix("b"), matrix("y", "output")
    steps = (relu("k0", x, a), relu("k1", a, b), kernel("k2", y, lambda i, j: read(a, (i, j)) + read(b, (i, j))))
    arena = liveness(Program("p", (x,), (y,), steps)).arena
    assert arena[a] != arena[b]


def test_scratch_never_shares_with_what_its_kernel_touches():
    x, a, y = matrix("x", "input"), matrix("a"), matrix("y", "output")
    scratch = Buffer("row", f32, (6,), "scratch")
    i, j, k = fresh("i", 0, 3), fresh("j", 0, 5), fresh("k", 0, 5)
    stages = (Stage("s", (Axis(j, 6),), read(a, (i, j)) * 2.0, scratch, (j,)),
              Stage("t", (Axis(k, 6),), read(scratch, (5 - k,)), y, (i, k)))
    program = liveness(Program("p", (x,), (y,), (relu("k0", x, a), Kernel("k1", (Axis(i, 4),), stages))))
    arrays = random_inputs(program)
    assert program.arena[scratch] >= program.arena[a] + 128 or program.arena[scratch] + 64 <= program.arena[a]
    expected = 2 * np.maximum(arrays["x"], 0)[:, ::-1]
    np.testing.assert_array_equal(run_program(program, arrays, arena=True)["y"], expected)


@pytest.mark.parametrize("value, safe", [
    (lambda a, i, j: maximum(read(a, (i, j)), 0.0), True),
    (lambda a, i, j: read(a, (i, j)) * read(a, (i, j)), True),
    (lambda a, i, j: read(a, (i, 5 - j)), False),
    (lambda a, i, j: read(a, (i, j)) + read(a, (0, j)), False),
    (lambda a, i, j: read(a, (0, j)) + read(a, (i, j)), False),
    (lambda a, i, j: reduce_over([3], "add", lambda r: read(a, (i, j)) * 2.0), False),
    (lambda a, i, j: reduce_over([6], "add", lambda r: read(a, (i, r))), False),
])
def test_in_place_wants_each_element_read_where_it_is_stored(value, safe):
    a, b = matrix("a"), matrix("b")
    assert takes_place_of(kernel("k", b, lambda i, j: value(a, i, j))) == ([a] if safe else [])


def test_in_place_wants_equal_layouts_and_element_sizes():
    a, b = matrix("a"), matrix("b")
    assert takes_place_of(relu("k", a, matrix("b", order=(1, 0)))) == []
    assert takes_place_of(relu("k", matrix("a", order=(1, 0)), matrix("b", order=(1, 0)))) != []
    assert takes_place_of(kernel("k", matrix("b", dtype=i8), lambda i, j: cast(read(a, (i, j)), i8))) == []
    assert takes_place_of(kernel("k", matrix("b", dtype=i32), lambda i, j: cast(read(a, (i, j)), i32))) == [a]
    assert takes_place_of(kernel("k", b, lambda i, j: read(a, (i, 0)), lambda i, j: (i, 0))) == []  # many points, one place


def test_in_place_wants_one_plain_stage():
    a, b, c = matrix("a"), matrix("b"), matrix("c")
    one = relu("k", a, b)
    stage = one.stages[0]
    assert takes_place_of(one) == [a]
    for stages in ((stage, replace(stage, value=read(a, stage.indices), target=c)), (replace(stage, combine="add"),),
                   (replace(stage, guards=((stage.indices[0], const(2, index)),)),)):
        assert takes_place_of(replace(one, stages=stages)) == []


def test_an_update_needs_what_was_there():
    x, a, y = matrix("x", "input"), matrix("a"), matrix("y", "output")
    first, update, last = relu("k0", x, a), relu("k1", x, a), relu("k2", a, y)
    update = replace(update, stages=(replace(update.stages[0], combine="add"),))
    assert lifetimes(Program("p", (x,), (y,), (first, update, last))) == {a: (0, 2)}
    with pytest.raises(Internal, match="a is read before anything is stored"):
        lifetimes(Program("p", (x,), (y,), (update, last)))
    start = replace(update, stages=(*first.stages, *update.stages))
    assert lifetimes(Program("p", (x,), (y,), (start, last))) == {a: (0, 1)}


def looped(*steps):
    t = Axis(fresh("t", 0, 2), 3)
    return tuple(replace(step, repeat=(t,)) for step in steps), t.var


def test_what_a_loop_carries_lives_as_long_as_the_loop():
    x, y = matrix("x", "input"), matrix("y", "output")
    before, state, inner, other, after = (matrix(n) for n in ("before", "state", "inner", "other", "after"))
    loop, _ = looped(kernel("k2", inner, lambda i, j: read(state, (i, j)) + read(before, (i, j))), relu("k3", inner, other),
                     relu("k4", other, state), relu("k5", other, after))
    program = Program("p", (x,), (y,), (relu("k0", x, before), relu("k1", x, state), *loop, relu("k6", after, y)))
    assert lifetimes(program) == {before: (0, 5), state: (1, 5), inner: (2, 3), other: (3, 5), after: (2, 6)}
    assert lifetimes(replace(program, steps=tuple(replace(k, repeat=()) for k in program.steps)))[before] == (0, 2)


def test_what_depends_on_the_iteration_lives_as_long_as_the_loop():
    x, y, inner, all_of_them = matrix("x", "input"), matrix("y", "output"), matrix("inner"), Buffer("all", f32, (3, *SHAPE), "temporary")
    (first, second, third), t = looped(relu("k0", x, inner), relu("k1", inner, inner), relu("k2", inner, y))
    store = replace(second, stages=(Stage("s", (), read(x, second.stages[0].indices), all_of_them, (t, *second.stages[0].indices)),))
    assert lifetimes(Program("p", (x,), (y,), (first, store, third))) == {inner: (0, 2), all_of_them: (0, 2)}


def test_a_state_that_is_read_and_stored_by_one_kernel_lives_as_long_as_the_loop():
    x, y, state, inner = (matrix(n, k) for n, k in (("x", "input"), ("y", "output"), ("state", "temporary"), ("inner", "temporary")))
    loop, _ = looped(relu("k0", x, inner), kernel("k1", state, lambda i, j: read(state, (i, j)) + read(inner, (i, j))), relu("k2", x, y))
    assert lifetimes(Program("p", (x,), (y,), loop)) == {inner: (0, 1), state: (0, 2)}


def test_digits_of_an_axis_are_known_to_be_different_places():
    i, j = fresh("i", 0, 3), fresh("j", 0, 7)
    a, b = Buffer("a", f32, (32,), "temporary"), Buffer("b", f32, (32,), "temporary")
    assert takes_place_of(Kernel("k", (Axis(i, 4), Axis(j, 8)), (Stage("s", (), read(a, (i * 8 + j,)), b, (i * 8 + j,)),))) == [a]
    assert takes_place_of(Kernel("k", (Axis(i, 4), Axis(j, 8)), (Stage("s", (), read(a, (i * 4 + j,)), b, (i * 4 + j,)),))) == []


def test_symbolic_sizes_count_at_their_bound():
    n = var("n", 1, 8)
    x, a, y = (Buffer(name, f32, (n, 16), kind) for name, kind in (("x", "input"), ("a", "temporary"), ("y", "output")))
    i, j = fresh("i", 0, 7), fresh("j", 0, 15)

    def step(source, target):
        return Kernel("k", (Axis(i, n), Axis(j, 16)), (Stage("s", (), read(source, (i, j)) + 1.0, target, (i, j)),))

    planned = liveness(Program("p", (x,), (y,), (step(x, a), step(a, y)), (n,)))
    assert planned.arena_bytes == 8 * 16 * 4
    arrays = random_inputs(planned, size=3)
    np.testing.assert_array_equal(run_program(planned, arrays, arena=True)["y"], arrays["x"] + np.float32(1) + np.float32(1))
