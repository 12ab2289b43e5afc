"""Data for tests of rounding errors: kinds that the matrices of a minimal filtering algorithm amplify little or much.

    amplified(np.random.default_rng(0), "alternating", (1, 8, 6, 6))      # f32, neighbours of opposite signs
"""

from __future__ import annotations

import numpy as np

KINDS = ("normal", "positive", "alternating", "one", "wide")


def amplified(random: np.random.Generator, kind: str, shape: tuple[int, ...], largest: int = 4) -> np.ndarray:
    """An array of f32 of one kind; alternating signs are amplified most, "wide" spans powers of ten from -4 to below `largest`."""
    values = random.standard_normal(shape)
    if kind == "positive":
        values = np.abs(values)
    elif kind == "alternating":
        values = (1 + 0.01 * values) * (-1.0) ** np.indices(shape)[-2:].sum(axis=0)
    elif kind == "one":
        values = np.ones(shape)
    elif kind == "wide":
        values = values * 10.0 ** random.integers(-4, largest, shape)
    return values.astype(np.float32)
