"""Calibrators: from what was observed of a tensor to the range that its grid covers. Values outside are clipped.

`min_max`, `moving_average`, `percentile`, `entropy` and `mse` all take an Observer and give (low, high); CALIBRATORS has them by the
names of the command line. Definitions and sources stand in docs/quantization.md.

    low, high = CALIBRATORS["mse"](observer)
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from edgec.quantize.observer import Observer

Range = tuple[float, float]
LEVELS = 256
SHRINKS = np.concatenate([np.geomspace(0.02, 0.4, 12), np.linspace(0.42, 1.0, 30)])  # candidate ranges, as shares of the observed one


def min_max(observer: Observer) -> Range:
    """All that was seen: nothing is clipped."""
    return observer.low, observer.high


def moving_average(observer: Observer) -> Range:
    """The averages over samples of their extremes, each new one with weight 0.01 (Jacob et al., arXiv:1712.05877, section 3)."""
    return observer.average_low, observer.average_high


def percentile(observer: Observer, share: float = 0.99999) -> Range:
    """The range that leaves out (1 - share) / 2 of the values at either end (Wu et al., arXiv:2004.09602, section 4)."""
    if not observer.counts.any():
        return min_max(observer)
    counts = observer.counts.copy()
    counts[len(counts) // 2] += observer.zeros
    total = np.cumsum(counts)
    cut = (1 - share) / 2 * total[-1]
    width = 2 * observer.limit / len(total)
    first, last = np.searchsorted(total, cut, side="right"), np.searchsorted(total, total[-1] - cut)
    low, high = first * width - observer.limit, (last + 1) * width - observer.limit
    return max(low, observer.low), min(high, observer.high)


def mse(observer: Observer) -> Range:
    """The range with the least mean square of rounding and clipping errors (Banner et al., arXiv:1810.05723, by search)."""
    return _best(observer, squared_error)


def entropy(observer: Observer) -> Range:
    """The range whose rounded distribution has the least Kullback-Leibler divergence from the observed one.

    Migacz, "8-bit inference with TensorRT", GTC 2017; here with the LEVELS values of an asymmetric grid, and without the zeros, which
    every grid has: behind a Relu they would be most of the distribution.
    """
    return _best(observer, divergence)


def _best(observer: Observer, cost: Callable[[np.ndarray, np.ndarray, float, float], float]) -> Range:
    """The candidate range of least cost: the side of larger magnitude shrinks first, then the other one."""
    centers, counts = observer.centers, observer.counts
    used = np.flatnonzero(counts)
    if len(used) < 2:
        return min_max(observer)
    centers, counts = centers[used], counts[used].astype(np.float64)
    low, high = min(observer.low, 0.0), max(observer.high, 0.0)
    for _ in range(2):  # each side for the best of the other
        high = min((s * high for s in SHRINKS), key=lambda h: cost(centers, counts, low, h)) if high > 0 else high
        low = min((s * low for s in SHRINKS), key=lambda m: cost(centers, counts, m, high)) if low < 0 else low
    return low, high


def squared_error(centers: np.ndarray, counts: np.ndarray, low: float, high: float) -> float:
    """The sum of squared differences between values and the grid from `low` to `high`."""
    step = (high - low) / (LEVELS - 1)
    if step <= 0:
        return float(np.dot(counts, centers * centers))
    offset = np.rint(low / step)
    rounded = np.clip(np.rint(centers / step), offset, offset + LEVELS - 1) * step
    return float(np.dot(counts, (centers - rounded) ** 2))


def divergence(centers: np.ndarray, counts: np.ndarray, low: float, high: float) -> float:
    """KL(p || q): p the histogram clipped to the range, q every level's mass spread evenly over the bins in use that round to it."""
    step = (high - low) / (LEVELS - 1)
    if step <= 0:
        return np.inf
    level = np.clip(np.rint((centers - low) / step), 0, LEVELS - 1).astype(int)
    inside = (centers >= low) & (centers <= high)
    if not inside.any():
        return np.inf
    clipped = counts * inside
    first, last = np.flatnonzero(inside)[[0, -1]]
    clipped[first] += counts[:first].sum()
    clipped[last] += counts[last + 1:].sum()
    mass = np.bincount(level, counts * inside, LEVELS)  # without what was clipped: that is what makes clipping cost
    bins = np.bincount(level, inside, LEVELS)
    q = np.where(inside, (mass / np.maximum(bins, 1))[level], 0.0)
    p, q = clipped / counts.sum(), q / counts.sum()  # q keeps what it lost: a range around one bin would be perfect otherwise
    seen = p > 0
    return float(np.sum(p[seen] * np.log(p[seen] / np.maximum(q[seen], 1e-12))) - p.sum() + q.sum())


CALIBRATORS: dict[str, Callable[[Observer], Range]] = {
    "minmax": min_max, "moving-average": moving_average, "percentile": percentile, "entropy": entropy, "mse": mse,
}
