"""Numbers, shapes and choices for the drawn operators of nodes.py, from one random generator.

    d = Draw(Random(3));  d.normal(*d.shape(1, 3))       # a tensor of one to three axes
"""

from __future__ import annotations

from random import Random
from typing import Any

import numpy as np

Array = np.ndarray
Made = dict[str, Any]  # the fields of a Node after its name


class Draw:
    """Numbers, shapes and choices from one random generator."""

    def __init__(self, random: Random):
        self.random, self.numbers = random, np.random.default_rng(random.getrandbits(32))

    def pick(self, *options: Any) -> Any:
        return self.random.choice(options)

    def integer(self, low: int, high: int) -> int:
        return self.random.randint(low, high)

    def shape(self, least: int = 0, most: int = 4) -> tuple[int, ...]:
        return tuple(self.integer(1, 5) for _ in range(self.integer(least, most)))

    def normal(self, *shape: int) -> Array:
        return self.numbers.standard_normal(shape).astype(np.float32)

    def uniform(self, low: float, high: float, *shape: int) -> Array:
        return np.asarray(self.numbers.uniform(low, high, shape), np.float32)

    def whole(self, low: int, high: int, *shape: int, dtype: Any = np.int64) -> Array:
        return np.asarray(self.numbers.integers(low, high, shape, endpoint=True), dtype)

    def bools(self, *shape: int) -> Array:
        return np.asarray(self.numbers.integers(0, 2, shape), bool)
