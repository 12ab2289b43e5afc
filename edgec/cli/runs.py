"""A model on arrays, interpreted or compiled: what `edgec run` does, and what ONNX's test suite is run with.

The arrays stand under the names of the model's inputs (edgec.named_arrays); the graph is made for them (edgec.onnx.specialise).

    compiled(model, {"x": x}, optimize="1")       # {"y": array}
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from edgec.errors import Unsupported
from edgec.graph import Graph
from edgec.named_arrays import as_bytes, from_bytes
from edgec.onnx.specialise import has_sizes, load_for
from edgec.text_slots import longest


def interpreted(model: Any, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Results by the interpreter."""
    from edgec.interpreter import interpret
    from edgec.passes.integers import integer_form
    graph = load_for(model, arrays)
    return interpret(integer_form(graph), read_by(graph, arrays))


def compiled(model: Any, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Results of native code, compiled at -O1 in this process."""
    graph = load_for(model, arrays)
    try:
        return run_compiled(graph, read_by(graph, arrays), optimize="1", workers=0)
    except Unsupported:
        if not has_sizes(graph):
            raise
    graph = load_for(model, arrays, sizes=False)
    return run_compiled(graph, read_by(graph, arrays), optimize="1", workers=0)


def run_compiled(graph: Graph, arrays: Mapping[str, np.ndarray], **options: Any) -> dict[str, np.ndarray]:
    """Results of compiled code, small elements as the types of the graph say; `options` are those of `edgec.compile`."""
    from edgec.compiler import compile
    results = compile(graph, **{"string_bytes": longest(arrays.values()), **options}).run(as_bytes(arrays))
    return from_bytes(results, {n: v.dtype for n, v in zip(graph.output_names, graph.outputs)})


def read_by(graph: Graph, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The arrays that the graph has inputs for: names of sequence lengths and the like are none."""
    return {v.name: arrays[v.name] for v in graph.inputs if v.name in arrays}
