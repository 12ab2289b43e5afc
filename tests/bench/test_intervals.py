"""The interval of a median: its rank against tables and against draws, and means."""

from math import comb

import numpy as np
import pytest

from edgec.bench.intervals import geometric_mean, median_interval


# n, and the rank of the lower end: printed tables of the sign test at 5 %, two-sided
@pytest.mark.parametrize("n, rank", [(6, 1), (8, 1), (9, 2), (10, 2), (11, 2), (12, 3), (15, 4), (20, 6), (25, 8), (50, 18)])
def test_ranks_are_those_of_the_sign_test(n, rank):
    values = list(range(1, n + 1))
    middle, low, high = median_interval(values[::-1])
    assert (middle, low, high) == ((n + 1) / 2, rank, n + 1 - rank)


@pytest.mark.parametrize("n", range(6, 40))
def test_it_is_the_narrowest_with_enough_probability(n):
    _, low, _ = median_interval(range(1, n + 1))
    covered = [1 - 2 * sum(comb(n, i) for i in range(k)) / 2**n for k in (low, low + 1)]
    assert covered[0] >= 0.95 > covered[1]


def test_it_holds_the_median_about_as_often_as_it_says():
    generator = np.random.default_rng(1)
    held = [low <= np.log(2) <= high for _, low, high in (median_interval(generator.exponential(size=11)) for _ in range(2000))]
    assert 0.95 <= np.mean(held) <= 1.0 and np.mean(held) < 0.998


@pytest.mark.parametrize("values, expected", [([3.0], (3, 3, 3)), ([2.0, 1.0], (1.5, 1, 2)), ([5, 1, 4, 2, 3], (3, 1, 5))])
def test_few_values_have_their_range(values, expected):
    assert median_interval(values) == expected


def test_the_geometric_mean():
    assert geometric_mean([1, 4, 16]) == pytest.approx(4) and geometric_mean([2]) == pytest.approx(2)
