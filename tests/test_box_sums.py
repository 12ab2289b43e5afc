"""Sums of what lies within bounds: tables of windows and of prefixes against adding up, with every border."""

import numpy as np
import pytest

from edgec.box_sums import box_sum, prefix_sums, window_sums, windows, within
from edgec.evaluate import evaluate
from edgec.expr import as_expr, var
from edgec.types import index


@pytest.mark.parametrize("step", [1, 2])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("extent", [1, 2, 5, 9])
@pytest.mark.parametrize("pad", [0, 1, 3])
@pytest.mark.parametrize("count", [1, 3, 4])
def test_every_window_has_its_sum(step, stride, extent, pad, count):
    taps = np.random.default_rng(0).integers(-128, 128, (count, 2)).astype(np.int32)
    y = np.arange(6)
    rest = as_expr(var("y", 0, 5), index) * stride - pad
    expected = np.array([sum((taps[k] for k in range(count) if 0 <= p * stride - pad + k * step < extent), np.zeros(2, int)) for p in y])
    place, = rest.free
    (number,), members = windows([(rest, step, extent, count)])
    rows = np.broadcast_to(evaluate(number, {place: y}, None), y.shape)
    np.testing.assert_array_equal(window_sums(taps, members)[rows], expected)
    assert len(members[0]) <= 2 * pad + count + stride * 5 and rows.min() >= 0
    low, high = (np.broadcast_to(evaluate(e, {place: y}, None), y.shape) for e in within(rest, step, extent, count))
    prefix = prefix_sums(taps, 1)
    np.testing.assert_array_equal(prefix[high] - prefix[low], expected)


def test_open_extents_have_no_table_of_windows():
    y, n = var("y", 0, 5), var("n", 1, 9)
    assert windows([(y - 1, 1, n, 3)]) is None
    assert box_sum([within(y - 1, 1, n, 3)], lambda corner: corner[0]).dtype is index


def test_a_padded_window_of_three_has_three_sums():
    (number,), members = windows([(var("y", 0, 7) - 1, 1, 8, 3)])
    assert members[0].tolist() == [[1, 1, 0], [1, 1, 1], [0, 1, 1]]
