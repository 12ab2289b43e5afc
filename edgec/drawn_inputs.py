"""Inputs for a model when none are given: the same for the same seed.

    drawn_inputs(graph)                     # {"image": array}
    drawn_inputs(graph, sizes={"N": 4})     # open dimension N of 4
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from edgec.errors import ModelError
from edgec.expr import Expr
from edgec.graph import Graph, Value
from edgec.sweeps import evaluate_dim
from edgec.text_slots import as_text
from edgec.types import string


def drawn_inputs(graph: Graph, seed: int = 0, sizes: Mapping[str, int] | None = None) -> dict[str, np.ndarray]:
    """Normally distributed floats, integers 0 or 1 (which every index allows), words of few letters, by input name.

    Symbolic dimensions are at their largest, or as `sizes` says; inputs that are sizes themselves are as large as they may be, or as
    `sizes` says under the name of the input. ModelError for a size outside of its bounds.
    """
    generator, sizes = np.random.default_rng(seed), sizes or {}
    require_sizes(graph, sizes)
    numbers = {s.data: sizes.get(s.data, s.hi) for s in graph.symbols}
    bounds = _bounds(graph)
    found = {}
    for value in graph.inputs:
        shape = tuple(evaluate_dim(d, numbers) if isinstance(d, Expr) else d for d in value.shape)
        if value.dtype is string:
            letters = generator.choice(list("abé -"), (int(np.prod(shape)), 4))
            found[value.name] = as_text(["".join(row) for row in letters], shape)
            continue
        drawn = generator.standard_normal(shape)
        if value in bounds:
            found[value.name] = np.array([sizes.get(value.name, high) for _, high in bounds[value]], value.dtype.numpy).reshape(shape)
        else:
            found[value.name] = (drawn if value.dtype.is_float else drawn > 0).astype(value.dtype.numpy)
    return found


def require_sizes(graph: Graph, sizes: Mapping[str, int]) -> None:
    """ModelError for a size that is not asked for, or is outside of its bounds."""
    ranges = {s.data: (s.lo, s.hi) for s in graph.symbols}
    ranges |= {value.name: (min(a for a, _ in pairs), max(b for _, b in pairs)) for value, pairs in _bounds(graph).items()}
    for name, size in sizes.items():
        if name not in ranges:
            raise ModelError(f"--size names '{name}', which is no open dimension", hint=f"those are {', '.join(ranges) or 'none'}")
        low, high = ranges[name]
        if not low <= size <= high:
            raise ModelError(f"--size {name}={size}: {low} to {high} are possible")


def _bounds(graph: Graph) -> dict[Value, list[tuple[int, int]]]:
    """(least, largest) of the numbers of the inputs that are sizes."""
    ops = (op for op in graph.ops if hasattr(op, "computed_sizes") and op.operands[0] in graph.inputs)
    return {op.operands[0]: [(low, high) for _, low, high in op.computed_sizes] for op in ops}
