"""Inputs for a model when none are given: the same for the same seed.

    drawn_inputs(graph)      # {"image": array}
"""

from __future__ import annotations

import numpy as np

from edgec.graph import Graph


def drawn_inputs(graph: Graph, seed: int = 0) -> dict[str, np.ndarray]:
    """Normally distributed floats, integers 0 or 1 (which every index allows), by input name; symbolic dimensions at their largest."""
    generator = np.random.default_rng(seed)
    found = {}
    for value in graph.inputs:
        numbers = generator.standard_normal(value.type.max_shape)
        found[value.name] = (numbers if value.dtype.is_float else numbers > 0).astype(value.dtype.numpy)
    return found
