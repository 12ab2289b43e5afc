"""A graph for the very inputs it is run on: open dimensions get their sizes, and operands that decide a shape their values.

ONNX lets a shape, axes or a trip count be an input like any other; compiled code needs them beforehand. Where a model cannot be read
without such values, it is read with the values of the inputs at hand, and of as few of them as will do.

    graph = load_for(model, {"x": x, "shape": np.array([2, 3])})      # for this x's shape and this shape's values
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from edgec.errors import CompileError, Unsupported
from edgec.graph import Graph
from edgec.model_file import load
from edgec.text_slots import plain_text

LARGEST = 1 << 16  # elements of an input whose values may decide a shape
NOT_KNOWN = "not known"  # what says that values would help


def load_for(model: Any, arrays: Mapping[str, np.ndarray], shapes: Mapping[str, Any] | None = None,
             bind: Mapping[str, Any] | None = None, requant: str = "",
             ops: Sequence[str] = (), sizes: bool = True) -> Graph:
    """The graph of `model` for inputs of the shapes, and where needed the values, of `arrays`; the rest as `load`.

    Without `sizes`, the values are needed wherever a size depends on them.
    """
    shapes = {**{name: tuple(np.shape(a)) for name, a in arrays.items()}, **(shapes or {})}
    try:
        graph = load(model, shapes, bind, requant=requant, ops=ops)
        if sizes or not has_sizes(graph):
            return graph
        first = None
    except Unsupported as error:
        first = error
    known = {n: plain_text(np.asarray(a)) for n, a in arrays.items() if np.size(a) <= LARGEST}
    try:
        graph = load(model, shapes, bind, known, requant, ops)
    except CompileError as error:
        raise (error if first is None or NOT_KNOWN in str(first) else first) from None
    for name in sorted(known, key=lambda n: -known[n].size):
        fewer = {n: a for n, a in known.items() if n != name}
        try:
            other = load(model, shapes, bind, fewer, requant, ops)
        except CompileError:
            continue  # this one is needed
        if sizes or not has_sizes(other):
            graph, known = other, fewer
    return graph


def has_sizes(graph: Graph) -> bool:
    """Whether the graph computes sizes when it runs."""
    work, found = [graph], False
    while work and not found:
        ops = work.pop().ops
        found = any(hasattr(op, "computed_sizes") for op in ops)
        work += [a for op in ops for a in op.attributes.values() if isinstance(a, Graph)]
    return found
