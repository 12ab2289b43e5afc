"""The form that schedules like: no unit axes, no choices by index, digits and phases as axes of their own; and the same results."""

import numpy as np
import pytest

from edgec.expr import as_expr, cast, fresh, inside, read, select, sum_over, var
from edgec.kernel import Axis, Buffer, Kernel, Program, Stage
from edgec.passes.normalize import cut_phases, cut_pieces, drop_units, normalize, split_digits
from edgec.program_interpreter import run_program
from edgec.sweeps import walk
from edgec.types import f32, index


def kernel(shape, value, inputs, **options) -> Kernel:
    """One kernel over `shape`: y[at] = value(*at)."""
    axes = [Axis(fresh("i", 0, (n if isinstance(n, int) else n.hi) - 1), n) for n in shape]
    at = tuple(a.var for a in axes)
    y = Buffer("y", f32, tuple(shape), "output")
    return Kernel("y", tuple(axes), (Stage("y", (), value(*at), y, at),))


def tensor(name, *shape) -> Buffer:
    return Buffer(name, f32, shape, "input")


def outcome(kernels, *inputs, size=3):
    """What kernels over the output y give for numbered inputs."""
    arrays = {b: np.arange(1, 1 + np.prod([n if isinstance(n, int) else size for n in b.shape]), dtype=np.float32).reshape(
        [n if isinstance(n, int) else size for n in b.shape]) for b in inputs}
    target = kernels[0].targets[0]
    symbols = tuple({v: None for b in inputs for d in b.shape if not isinstance(d, int) for v in d.free})
    return run_program(Program("p", tuple(inputs), (target,), tuple(kernels), symbols), {b.name: a for b, a in arrays.items()})["y"]


def check(before: Kernel, *inputs) -> list[Kernel]:
    """The normalized kernels, which give what the kernel gave."""
    after = normalize(before)
    np.testing.assert_array_equal(outcome(after, *inputs), outcome([before], *inputs))
    return after


def operations(kernels) -> set[str]:
    return {n.op for k in kernels for s in k.stages for n in walk(s.value, *s.indices)}


def test_unit_axes_disappear():
    x = tensor("x", 1, 5, 1)
    after, = check(kernel((1, 5, 1), lambda a, b, c: read(x, (a, b, c)) * 2.0, [x]), x)
    assert [a.extent for a in after.axes] == [5]
    assert len(after.stages[0].indices) == 3  # the buffer keeps its rank


def test_unit_axes_of_reductions_disappear():
    x = tensor("x", 4, 1, 3)
    after = drop_units(kernel((4,), lambda i: sum_over(1, 3, lambda p, q: read(x, (i, p, q))), [x]))
    node = next(n for n in walk(after.stages[0].value) if n.op == "reduce")
    assert node.data[1] == 1 and len(node.free) == 1
    check(kernel((4,), lambda i: sum_over(1, 3, lambda p, q: read(x, (i, p, q))), [x]), x)


def test_a_reduction_over_nothing_but_units_is_its_body():
    x = tensor("x", 4, 1)
    check(kernel((4,), lambda i: sum_over(1, lambda p: read(x, (i, p))), [x]), x)


def test_a_concatenation_is_cut():
    a, b, c = tensor("a", 4, 3), tensor("b", 2, 3), tensor("c", 5, 3)
    chosen = lambda i, j: select(i < 4, read(a, (i, j)), select(i < 6, read(b, (i - 4, j)), read(c, (i - 6, j))))
    before = kernel((11, 3), chosen, [a, b, c])
    # Every piece is read only where it lies.
    guarded = kernel((11, 3), lambda i, j: select(i < 4, inside([(i, 4)], read(a, (i, j)), 0.0), select(
        i < 6, inside([(i - 4, 2)], read(b, (i - 4, j)), 0.0), inside([(i - 6, 5)], read(c, (i - 6, j)), 0.0))), [a, b, c])
    after = normalize(guarded)
    assert [[x.extent for x in k.axes] for k in after] == [[4, 3], [2, 3], [5, 3]]
    assert not operations(after) & {"select", "inside"}
    expected = np.concatenate([np.arange(1, 13).reshape(4, 3), np.arange(1, 7).reshape(2, 3), np.arange(1, 16).reshape(5, 3)])
    np.testing.assert_array_equal(outcome(after, a, b, c), expected)
    assert len(cut_pieces(before)) == 3


@pytest.mark.parametrize("condition, pieces", [
    (lambda i: i < 4, 2), (lambda i: i * 2 <= 7, 2), (lambda i: i // 4 < 1, 2), (lambda i: i < 1, 2), (lambda i: as_expr(3, index) < i, 2),
    (lambda i: (i % 2) < 1, 1), (lambda i: ((i + 1) % 3) < 2, 1),
])
def test_a_choice_is_cut_where_it_changes_once(condition, pieces):
    """One that changes several times (every other element) stays a choice."""
    x, z = tensor("x", 8), tensor("z", 8)
    before = kernel((8,), lambda i: select(condition(i), read(x, (i,)), -read(z, (i,))), [x, z])
    assert len(cut_pieces(before)) == pieces
    check(before, x, z)


def test_a_choice_by_data_or_by_two_axes_stays():
    x = tensor("x", 4, 4)
    by_data = kernel((4, 4), lambda i, j: select(read(x, (i, j)) < 3.0, read(x, (i, j)), 0.0), [x])
    triangle = kernel((4, 4), lambda i, j: select(i < j, read(x, (i, j)), 0.0), [x])
    assert len(check(by_data, x)) == len(check(triangle, x)) == 1


def test_a_choice_on_an_open_axis_stays():
    n = var("n", 1, 6)
    x = tensor("x", n)
    assert len(check(kernel((n,), lambda i: select(i < 2, read(x, (i,)), 0.0), [x]), x)) == 1


def test_digits_become_axes():
    x = tensor("x", 6, 4)
    after, = check(kernel((24,), lambda j: read(x, (j // 4, j % 4)), [x]), x)
    assert [a.extent for a in after.axes] == [6, 4]
    assert "floordiv" not in operations([after])


def test_three_digits_and_a_reversal_of_them():
    x = tensor("x", 2, 3, 4)
    before = kernel((24,), lambda j: read(x, (j % 2, j // 2 % 3, j // 6)), [x])
    after, = check(before, x)
    assert [a.extent for a in after.axes] == [4, 3, 2] and "floordiv" not in operations([after])


def test_digits_of_a_reduction_become_axes():
    x, w = tensor("x", 6, 4), tensor("w", 24)
    after, = check(kernel((2,), lambda o: sum_over(24, lambda k: read(x, (k // 4, k % 4)) * read(w, (k,)) + cast(o, f32)), [x, w]), x, w)
    assert "floordiv" not in operations([after])
    node = next(n for n in walk(after.stages[0].value) if n.op == "reduce")
    assert node.data[1] == 2


def test_divisors_that_do_not_nest_are_left():
    x = tensor("x", 24)
    before = kernel((24,), lambda j: read(x, (j // 4 * 4 + (j // 6) % 2,)), [x])
    split = split_digits(before)
    np.testing.assert_array_equal(outcome([split], x), outcome([before], x))


def test_phases_become_kernels():
    """Every second element reads another tap: with the parity as an axis, and that cut, each kernel is affine."""
    x = tensor("x", 6)
    before = kernel((8,), lambda j: read(x, ((j + 1) // 2,)), [x])
    after = check(before, x)
    assert len(after) == 2 and "floordiv" not in operations(after)
    assert [k.stages[0].indices[0].data[1] for k in after] == [(2,), (2,)]


def test_long_axes_are_no_phases():
    x = tensor("x", 40)
    before = kernel((39,), lambda j: read(x, ((j + 1) // 7,)), [x])
    assert len(cut_phases(before)) == 1
    check(before, x)


def test_open_axes_are_left_alone():
    n = var("n", 1, 6)
    x = tensor("x", n, 4)
    after, = check(kernel((n, 4), lambda i, j: read(x, (i, j)) + 1.0, [x]), x)
    assert [a.extent for a in after.axes] == [n, 4]
