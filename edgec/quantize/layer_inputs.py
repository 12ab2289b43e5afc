"""The operands of all layers on calibration samples, for the methods that look at data: one run of the float network serves all layers.

    inputs = LayerInputs(graph, samples);  inputs(conv)      # [f32[1,16,28,28], ...], one array a sample
"""

from __future__ import annotations

from functools import cached_property
from typing import Mapping, Sequence

import numpy as np

from edgec.graph import Graph, Op, Value
from edgec.quantize.recipe import is_layer
from edgec.quantize.run_values import runner

SAMPLES = 32  # at most
BYTES = 1 << 30  # of memory, at most


class LayerInputs:
    """Keeps the operands once they are asked for, of as many evenly drawn samples as fit in the memory."""

    def __init__(self, graph: Graph, samples: Sequence[Mapping[str, np.ndarray]], threads: int = 1):
        self.graph, self.samples, self.threads = graph, samples, threads

    def __call__(self, op: Op) -> list[np.ndarray]:
        return [row[op.operands[0]] for row in self._arrays]

    @cached_property
    def _arrays(self) -> list[dict[Value, np.ndarray]]:
        values = list(dict.fromkeys(op.operands[0] for op in self.graph.ops if is_layer(op)))
        count = max(1, min(SAMPLES, len(self.samples), BYTES // max(1, sum(v.type.max_bytes for v in values))))
        run = runner(self.graph, values, count, self.threads)
        return [dict(zip(values, run(self.samples[n]))) for n in np.linspace(0, len(self.samples) - 1, count).astype(int)]
