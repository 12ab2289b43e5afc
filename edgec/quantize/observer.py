"""What is remembered of a tensor while samples pass: its extremes, their moving averages, and a histogram that grows with the range.

The histogram has BINS bins over (-limit, limit], limit a power of two. A value outside doubles the limit and merges neighbouring bins in
pairs, so counts stay exact and one pass over the data is enough.

    observer = Observer();  observer.see(array);  observer.low, observer.high, observer.counts
"""

from __future__ import annotations

import math

import numpy as np

BINS = 8192  # 4096 for tensors without negative numbers: 16 bins a step of 8 bits, 8 at worst
MOMENTUM = 0.01  # weight of a new sample in the moving averages, as torch.ao.quantization.MovingAverageMinMaxObserver has it


class Observer:
    """Statistics of the tensors it has seen; `histogram=False` keeps the extremes only."""

    def __init__(self, histogram: bool = True):
        self.low, self.high = math.inf, -math.inf
        self.average_low, self.average_high = math.nan, math.nan
        self.histogram, self.limit = histogram, 0.0
        self.counts = np.zeros(BINS, np.int64)
        self.zeros = 0  # counted apart: every grid has 0 on it

    def see(self, array: np.ndarray) -> None:
        """Take one more sample into account."""
        if array.size == 0:
            return
        low, high = float(array.min()), float(array.max())
        self.low, self.high = min(self.low, low), max(self.high, high)
        first = math.isnan(self.average_low)
        self.average_low = low if first else self.average_low + MOMENTUM * (low - self.average_low)
        self.average_high = high if first else self.average_high + MOMENTUM * (high - self.average_high)
        if self.histogram:
            self._count(array, max(-low, high))

    def _count(self, array: np.ndarray, largest: float) -> None:
        if largest == 0:
            self.zeros += array.size
            return
        if largest > self.limit:
            self._widen(2.0 ** max(-100, math.ceil(math.log2(largest))))
        flat = array.ravel()
        bins = (flat * np.float32(BINS / 2 / self.limit)).astype(np.int32)  # towards 0: no bin of one sign holds the other
        places = np.clip(bins + (BINS // 2) - (flat < 0), 0, BINS - 1)
        zeros = flat.size - int(np.count_nonzero(flat))
        self.counts += np.bincount(places, minlength=BINS)
        self.counts[BINS // 2] -= zeros
        self.zeros += zeros

    def _widen(self, limit: float) -> None:
        """Merge bins until they reach `limit`."""
        if self.limit == 0.0 or not self.counts.any():
            self.limit = limit
        while self.limit < limit:
            merged = self.counts.reshape(-1, 2).sum(axis=1)
            self.counts = np.zeros(BINS, np.int64)
            self.counts[BINS // 4:BINS // 4 + BINS // 2] = merged
            self.limit *= 2

    @property
    def centers(self) -> np.ndarray:
        """The middle of every bin, f64[BINS]."""
        return (np.arange(BINS) + 0.5 - BINS // 2) * (2 * self.limit / BINS)
