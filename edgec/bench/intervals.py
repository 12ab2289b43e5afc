"""Statistics of rounds: the median with an interval that holds it with 95 % probability, and the geometric mean.

    median_interval([1.1, 1.2, 1.3, 1.2, 1.4, 1.1, 1.2, 1.3, 1.2, 1.2])      # (1.2, 1.1, 1.3)
"""

from __future__ import annotations

from collections.abc import Sequence
from math import comb, exp, log
from statistics import median

CONFIDENCE = 0.95


def median_interval(values: Sequence[float], confidence: float = CONFIDENCE) -> tuple[float, float, float]:
    """The median, and the narrowest pair of order statistics, the k-th least and the k-th greatest, that holds the median of the
    distribution with at least `confidence`: 1 - 2 * sum(C(n, i) / 2^n, i < k) (David and Nagaraja, Order Statistics, 7.1). It assumes
    nothing about the distribution. Below six values no pair does; then it is the whole range.
    """
    ordered, n = sorted(values), len(values)
    outside, k = 2 * 0.5**n, 1  # the probability that the median lies outside the k-th pair
    while 2 * (k + 1) <= n and 1 - (wider := outside + 2 * comb(n, k) * 0.5**n) >= confidence:
        outside, k = wider, k + 1
    return median(ordered), ordered[k - 1], ordered[n - k]


def geometric_mean(values: Sequence[float]) -> float:
    """The n-th root of the product of positive numbers."""
    return exp(sum(map(log, values)) / len(values))
