"""Which inputs and outputs of a model are strings: bytes, as far as its kernels know, text for whoever calls it.

    interface.with_texts(*text_ports(graph))      # the ports that are text say so
"""

from __future__ import annotations

from edgec.graph import Graph
from edgec.types import string

Texts = tuple[frozenset[str], frozenset[str]]  # names of inputs, and of outputs
NO_TEXTS: Texts = (frozenset(), frozenset())


def text_ports(graph: Graph) -> Texts:
    """The names of the inputs, and of the outputs, that are strings."""
    return (frozenset(v.name for v in graph.inputs if v.dtype is string),
            frozenset(name for name, v in zip(graph.output_names, graph.outputs) if v.dtype is string))
