"""The operands of all layers on some calibration samples, for the methods that look at data: kept while calibration computes them anyway.

    inputs = LayerInputs(graph, samples);  observe(recipe, samples, inputs=inputs);  inputs(conv)      # [f32[1,16,28,28], ...], by sample
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from edgec.graph import Graph, Op, Value
from edgec.quantize.recipe import is_layer

SAMPLES = 32  # at most
BYTES = 1 << 30  # of memory, at most


class LayerInputs:
    """Of the samples as many as fit in the memory, evenly drawn; of each the operands of all convolutions and matrix products."""

    def __init__(self, graph: Graph, samples: Sequence[Mapping[str, np.ndarray]]):
        self.values = tuple(dict.fromkeys(op.operands[0] for op in graph.ops if is_layer(op)))
        count = max(1, min(SAMPLES, len(samples), BYTES // max(1, sum(v.type.max_bytes for v in self.values))))
        self.numbers = frozenset(map(int, np.linspace(0, len(samples) - 1, count)))
        self._rows: dict[int, list[np.ndarray]] = {}

    def see(self, number: int, arrays: Mapping[Value, np.ndarray]) -> None:
        """Keep the operands of a sample, if it is among those."""
        if number in self.numbers:
            self._rows[number] = [arrays[v] for v in self.values]

    def __call__(self, op: Op) -> list[np.ndarray]:
        at = self.values.index(op.operands[0])
        return [self._rows[number][at] for number in sorted(self._rows)]
