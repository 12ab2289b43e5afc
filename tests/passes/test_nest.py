"""Flat nests: element offsets, axes that merge, guards that become the domain of a reduction."""

import numpy as np
import pytest

from edgec.evaluate import evaluate
from edgec.expr import const, fresh, inside, max_over, maximum, read, reduce, select, sum_over, var
from edgec.kernel import Axis, Buffer, Stage
from edgec.linear import coefficient
from edgec.loops import Param
from edgec.passes.nest import flatten
from edgec.sweeps import walk
from edgec.types import f32, i32


def nest_of(shape, value, *buffers, target=None, indices=None):
    """The nest of y[at] = value(*at)."""
    axes = tuple(Axis(fresh("i", 0, (n if isinstance(n, int) else n.hi) - 1), n) for n in shape)
    at = tuple(a.var for a in axes)
    y = target or Buffer("y", f32, tuple(shape), "output")
    params = {b.root: Param(b.root.name, b.root.dtype, b.root.max_size, b.root is y.root, b.root.kind == "constant") for b in (*buffers, y)}
    return flatten([Stage("y", (), value(*at), y, indices(*at) if indices else at)], axes, params)


def extents(nest):
    return [a.extent for a in nest.axes]


def guards(nest):
    domain, = nest.domains.values()
    return domain.guards


def test_reads_become_loads_of_offsets():
    x = Buffer("x", f32, (5, 7), "input")
    nest = nest_of((7, 5), lambda i, j: read(x, (j, i)), x)
    load, = nest.loads
    i, j = (a.var for a in nest.axes)
    assert (coefficient(load.args[0], i), coefficient(load.args[0], j)) == (1, 7)
    assert (coefficient(nest.offset, i), coefficient(nest.offset, j)) == (5, 1)


def test_elementwise_axes_are_one():
    x, z = Buffer("x", f32, (2, 3, 4, 5), "input"), Buffer("z", f32, (2, 3, 4, 5), "input")
    nest = nest_of((2, 3, 4, 5), lambda *at: maximum(read(x, at) + read(z, at), 0.0), x, z)
    assert extents(nest) == [120]


def test_a_broadcast_keeps_the_axes_it_needs():
    x, b = Buffer("x", f32, (2, 3, 4, 5), "input"), Buffer("b", f32, (3,), "input")
    nest = nest_of((2, 3, 4, 5), lambda n, c, y, x_: read(x, (n, c, y, x_)) + read(b, (c,)), x, b)
    assert extents(nest) == [2, 3, 20]


def test_positions_of_a_pointwise_convolution_are_one_axis():
    x, w = Buffer("x", f32, (4, 6, 7), "input"), Buffer("w", f32, (8, 4), "constant", np.zeros((8, 4), np.float32))
    nest = nest_of((8, 6, 7), lambda o, i, j: sum_over(4, lambda c: read(x, (c, i, j)) * read(w, (o, c))), x, w)
    assert extents(nest) == [8, 42]


def test_axes_of_another_order_do_not_merge():
    x = Buffer("x", f32, (3, 4), "input", order=(1, 0))
    assert extents(nest_of((3, 4), lambda i, j: read(x, (i, j)), x)) == [3, 4]


def test_an_open_outer_axis_merges_with_a_closed_inner_one():
    n = var("n", 1, 6)
    x = Buffer("x", f32, (n, 4), "input")
    nest = nest_of((n, 4), lambda i, j: read(x, (i, j)), x)
    assert len(nest.axes) == 1 and nest.axes[0].extent is n * 4
    m = var("m", 1, 6)
    z = Buffer("z", f32, (4, m), "input")
    assert extents(nest_of((4, m), lambda i, j: read(z, (i, j)), z)) == [4, m]


def test_an_axis_that_is_compared_does_not_merge():
    x = Buffer("x", f32, (3, 4), "input")
    assert extents(nest_of((3, 4), lambda i, j: select(i < j, read(x, (i, j)), 0.0), x)) == [3, 4]
    assert extents(nest_of((3, 4), lambda i, j: inside([(j - 1, 4)], read(x, (i, j - 1)), 0.0), x)) == [3, 4]


def test_padding_of_a_sum_becomes_its_domain():
    x, w = Buffer("x", f32, (9,), "input"), Buffer("w", f32, (3,), "input")
    nest = nest_of((9,), lambda i: sum_over(3, lambda k: inside([(i + k - 1, 9)], read(x, (i + k - 1,)), 0.0) * read(w, (k,))), x, w)
    assert not any(n.op == "inside" for n in walk(*nest.values))
    (i, extent), = guards(nest)
    assert (i.lo, i.hi) == (-1, 9) and extent.data == 9


def test_padding_of_a_maximum_becomes_its_domain_when_it_never_wins():
    x = Buffer("x", f32, (9,), "input")
    padded = lambda fill: lambda i: max_over(3, lambda k: inside([(i + k - 1, 9)], read(x, (i + k - 1,)), fill))
    assert len(guards(nest_of((9,), padded(-np.inf), x))) == 1
    zero = nest_of((9,), padded(0.0), x)
    assert guards(zero) == () and any(n.op == "inside" for n in walk(*zero.values))


def test_padding_with_a_number_stays_a_choice():
    x = Buffer("x", f32, (9,), "input")
    nest = nest_of((9,), lambda i: sum_over(3, lambda k: inside([(i + k - 1, 9)], read(x, (i + k - 1,)), 2.0)), x)
    assert guards(nest) == ()


def test_padding_outside_of_a_product_stays_a_choice():
    """(x or 0) + w is w outside, not nothing."""
    x, w = Buffer("x", f32, (9,), "input"), Buffer("w", f32, (3,), "input")
    nest = nest_of((9,), lambda i: sum_over(3, lambda k: inside([(i + k - 1, 9)], read(x, (i + k - 1,)), 0.0) + read(w, (k,))), x, w)
    assert guards(nest) == ()


def test_sums_that_differ_in_their_padding_stay_apart():
    """The bodies are equal once their guards are taken out; the domains are not."""
    x = Buffer("x", i32, (12,), "input")
    y = Buffer("y", i32, (9,), "output")
    r = fresh("r", 0, 2)

    def total(i, low):
        return reduce("add", (r,), (3,), (const(0, i32),), (inside([(i + r - low, 9)], read(x, (i + r,)), 0) * 2,))[0]

    nest = nest_of((9,), lambda i: total(i, 1) - total(i, 2), x, target=y)
    assert len(nest.domains) == 2 and len({d.guards for d in nest.domains.values()}) == 2


def test_views_and_offsets_reach_the_root():
    root = Buffer("root", f32, (4, 10), "temporary")
    view = Buffer("view", f32, (4, 3), "temporary", parent=root, offset=5, view_strides=(10, 1))
    y = Buffer("y", f32, (4, 3), "output")
    nest = nest_of((4, 3), lambda i, j: read(view, (i, j)), view, target=y)
    load, = nest.loads
    assert load.data[0].size == 40 and load.args[0].lo == 5 and load.args[0].hi == 5 + 32


@pytest.mark.parametrize("shape", [(6, 4, 5), (1, 7), (3, 1, 4)])
def test_merging_keeps_every_point(shape):
    """Offsets of the merged nest, point by point, are those of the stage."""
    x = Buffer("x", f32, shape, "input")
    nest = nest_of(shape, lambda *at: read(x, at), x)
    grid = {a.var: np.arange(a.extent).reshape([-1 if k == n else 1 for k in range(len(nest.axes))]) for n, a in enumerate(nest.axes)}
    offsets = np.broadcast_to(evaluate(nest.offset, grid, None), [a.extent for a in nest.axes])
    assert sorted(offsets.ravel()) == list(range(np.prod(shape)))
