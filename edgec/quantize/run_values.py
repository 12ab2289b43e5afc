"""Values of a graph on samples: the float network compiled here, with the values that are asked for as its outputs.

Where a part of the graph cannot be compiled the interpreter computes it. The runner is made once and serves any number of samples.

    run = runner(graph, [conv.output, add.output])
    run(sample)                                       # [array, array]
"""

from __future__ import annotations

from typing import Callable, Mapping, Sequence

import numpy as np

from edgec.compiler import compile
from edgec.errors import CompileError
from edgec.graph import Graph, Value
from edgec.interpreter import interpret
from edgec.named_arrays import as_bytes

Run = Callable[[Mapping[str, np.ndarray]], list[np.ndarray]]


def runner(graph: Graph, values: Sequence[Value], threads: int = 1, progress: Callable[[int, int], None] | None = None) -> Run:
    """A function from a sample to the arrays of the values."""
    wanted = [v for v in dict.fromkeys(values) if v not in graph.inputs and not v.is_constant]
    part = Graph(graph.inputs, tuple(wanted), tuple(f"value_{n}" for n in range(len(wanted))), graph.name)
    whole = _whole(part, threads, progress) if wanted else lambda sample: {}

    def run(sample: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        arrays = whole(sample)
        found = {v: arrays[n] for v, n in zip(wanted, part.output_names)}
        return [sample[v.name] if v in graph.inputs else v.array if v.is_constant else found[v] for v in values]
    return run


def _whole(part: Graph, threads: int, progress: Callable[[int, int], None] | None) -> Callable[[Mapping[str, np.ndarray]], dict]:
    """Native code for a graph, else the interpreter."""
    try:
        loaded = compile(part, optimize="2", progress=progress).load(threads)
        return lambda sample: loaded.run(as_bytes(sample))
    except CompileError:
        return lambda sample: interpret(part, sample)
