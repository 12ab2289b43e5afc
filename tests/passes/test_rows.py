"""The row axis cut into tiles: borders apart, one loop for the interior, a smaller tile at the end."""

import pytest
from hypothesis import given, strategies as st

from edgec.expr import as_expr, const, fresh, inside, read, sum_over, var
from edgec.kernel import Axis, Buffer, Stage
from edgec.loops import Param
from edgec.passes.nest import flatten
from edgec.passes.rows import MAX_STATIC, border_parts, row_tiles
from edgec.sweeps import substitute
from edgec.types import f32, index


def window(extent, kernel: int, pad: int, stride: int = 1, dilation: int = 1):
    """The nest of a one-dimensional convolution with `extent` results, and its axis."""
    high = extent if isinstance(extent, int) else extent.hi
    size = (high - 1) * stride + (kernel - 1) * dilation + 1 - 2 * pad
    x, w, y = Buffer("x", f32, (max(size, 1),), "input"), Buffer("w", f32, (kernel,), "input"), Buffer("y", f32, (extent,), "output")
    axis = Axis(fresh("i", 0, high - 1), extent)

    def product(k):
        at = axis.var * stride + k * dilation - pad
        return inside([(at, max(size, 1))], read(x, (at,)), 0.0) * read(w, (k,))

    stage = Stage("y", (), sum_over(kernel, product), y, (axis.var,))
    return flatten([stage], (axis,), {b: Param(b.name, f32, b.max_size, b is y) for b in (x, w, y)}), axis


def numbers(tiles):
    return [(as_expr(t.start, index).data, as_expr(t.stop, index).data, t.rows, t.static) for t in tiles]


def test_without_borders_there_is_one_loop():
    nest, axis = window(56, 3, 0)
    assert numbers(row_tiles(nest, axis, 14)) == [(0, 56, 14, False)]


def test_border_tiles_are_written_out():
    nest, axis = window(56, 3, 1)
    assert numbers(row_tiles(nest, axis, 14)) == [(0, 14, 14, True), (14, 42, 14, False), (42, 56, 14, True)]


def test_what_remains_is_a_smaller_tile():
    nest, axis = window(59, 3, 0)
    assert numbers(row_tiles(nest, axis, 14)) == [(0, 56, 14, False), (56, 59, 3, True)]


def test_a_single_interior_tile_is_no_loop():
    nest, axis = window(12, 3, 1)
    assert numbers(row_tiles(nest, axis, 4)) == [(0, 4, 4, True), (4, 8, 4, True), (8, 12, 4, True)]


def test_many_border_tiles_are_a_loop_with_tests():
    nest, axis = window(40, 21, 10)
    assert numbers(row_tiles(nest, axis, 1)) == [(0, 40, 1, False)]


def test_an_open_axis_has_a_loop_of_single_rows_at_the_end():
    n = var("n", 1, 20)
    nest, axis = window(n, 1, 0)
    whole, rest = row_tiles(nest, axis, 4)
    assert (whole.start, whole.stop, whole.rows, whole.static) == (0, n // 4 * 4, 4, False)
    assert (rest.start, rest.stop, rest.rows, rest.static) == (n // 4 * 4, n, 1, False)


@given(st.integers(1, 60), st.integers(1, 5), st.integers(0, 2), st.integers(1, 3), st.integers(1, 2), st.integers(1, 9))
def test_tiles_cover_the_axis_once_and_loops_hold_no_border(extent, kernel, pad, stride, dilation, rows):
    nest, axis = window(extent, kernel, min(pad, (kernel - 1) * dilation), stride, dilation)
    rows = min(rows, extent)
    tiles = numbers(row_tiles(nest, axis, rows))
    covered = [n for start, stop, width, _ in tiles for t in range(start, stop, width) for n in range(t, t + width)]
    assert covered == list(range(extent))
    statics = [t for t in tiles if t[3]]
    guards = [g for d in nest.domains.values() for g in d.guards]
    if len(statics) > 1 or not guards:
        for start, stop, width, static in tiles:
            for at in range(start, stop) if not static and width < stop - start else ():
                assert all(0 <= low and high < e.data for i, e in guards for low, high in [reach(i, axis, at)])
    assert len(statics) <= MAX_STATIC + 1


def reach(i, axis, at):
    """The interval of a guarded index at one row."""
    e = substitute(i, {axis.var: const(at, index)})
    return e.lo, e.hi


@pytest.mark.parametrize("rows", [1, 3, 8])
def test_a_border_wider_than_the_axis(rows):
    nest, axis = window(8, 15, 7)
    tiles = numbers(row_tiles(nest, axis, rows))
    assert [n for start, stop, width, _ in tiles for n in range(start, stop)] == list(range(8))


def parts(*window_of):
    nest, axis = window(*window_of)
    return [(p.start.data, p.stop.data, p.step) for p in border_parts(nest, axis)]


@pytest.mark.parametrize("extent, kernel, pad, stride, expected", [
    (56, 3, 1, 1, [(0, 56, 55), (1, 55, 1)]), (56, 5, 2, 1, [(0, 2, 1), (2, 54, 1), (54, 56, 1)]), (28, 4, 1, 2, [(0, 28, 27), (1, 27, 1)]),
    (28, 3, 0, 1, []), (3, 3, 1, 1, []), (40, 13, 1, 1, []),
], ids=["both ends in one loop", "wider borders", "strided", "no border", "hardly an interior", "too long to write out"])
def test_an_axis_around_the_tile_is_walked_in_parts_where_that_writes_its_reduction_out(extent, kernel, pad, stride, expected):
    assert parts(extent, kernel, pad, stride) == expected


@given(st.integers(1, 30), st.integers(1, 5), st.integers(0, 4), st.integers(1, 3))
def test_parts_cover_every_point_once(extent, kernel, pad, stride):
    nest, axis = window(extent, kernel, min(pad, kernel - 1), stride)
    found = border_parts(nest, axis)
    walked = [i for p in found for i in range(p.start.data, p.stop.data, p.step or 1)]
    assert not found or sorted(walked) == list(range(extent))
    assert all(not p.var.free or (p.var.lo, p.var.hi) == (p.start.data, p.stop.data - 1) for p in found)
