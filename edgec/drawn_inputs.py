"""Inputs for a model when none are given: the same for the same seed.

    drawn_inputs(graph)      # {"image": array}
"""

from __future__ import annotations

import numpy as np

from edgec.graph import Graph
from edgec.text_slots import as_text
from edgec.types import string


def drawn_inputs(graph: Graph, seed: int = 0) -> dict[str, np.ndarray]:
    """Normally distributed floats, integers 0 or 1 (which every index allows), words of few letters, by input name.

    Symbolic dimensions are at their largest.
    """
    generator = np.random.default_rng(seed)
    found = {}
    for value in graph.inputs:
        if value.dtype is string:
            letters = generator.choice(list("abé -"), (value.type.max_size, 4))
            found[value.name] = as_text(["".join(row) for row in letters], value.type.max_shape)
            continue
        numbers = generator.standard_normal(value.type.max_shape)
        found[value.name] = (numbers if value.dtype.is_float else numbers > 0).astype(value.dtype.numpy)
    return found
