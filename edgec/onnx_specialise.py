"""A graph for the very inputs it is run on: open dimensions get their sizes, and operands that decide a shape their values.

ONNX lets a shape, axes or a trip count be an input like any other; compiled code needs them beforehand. Where a model cannot be read
without such values, it is read with the values of the inputs at hand, and of as few of them as will do.

    graph = load_for(model, {"x": x, "shape": np.array([2, 3])})      # for this x's shape and this shape's values
"""

from __future__ import annotations

from typing import Any, Mapping, Sequence

import numpy as np

from edgec.errors import CompileError, Unsupported
from edgec.graph import Graph
from edgec.model_file import load
from edgec.text_slots import plain_text

LARGEST = 1 << 16  # elements of an input whose values may decide a shape
NOT_KNOWN = "not known"


def load_for(model: Any, arrays: Mapping[str, np.ndarray], shapes: Mapping[str, Any] | None = None,
             bind: Mapping[str, Any] | None = None, requant: str = "",
             ops: Sequence[str] = ()) -> Graph:
    """The graph of `model` for inputs of the shapes, and where needed the values, of `arrays`; the rest as `load`."""
    shapes = {**{name: tuple(np.shape(a)) for name, a in arrays.items()}, **(shapes or {})}
    try:
        return load(model, shapes, bind, requant=requant, ops=ops)
    except Unsupported as error:
        if NOT_KNOWN not in str(error):
            raise
    known = {n: plain_text(np.asarray(a)) for n, a in arrays.items() if np.size(a) <= LARGEST}
    graph = load(model, shapes, bind, known, requant, ops)
    for name in sorted(known, key=lambda n: -known[n].size):
        fewer = {n: a for n, a in known.items() if n != name}
        try:
            graph, known = load(model, shapes, bind, fewer, requant, ops), fewer
        except CompileError:
            continue  # this one is needed
    return graph
