"""Which inputs and outputs of a model are strings: bytes, as far as its kernels know, text for whoever calls it.

    with_texts(interface, text_ports(graph))      # the ports that are text say so
"""

from __future__ import annotations

from dataclasses import replace
from typing import Sequence

from edgec.backends.interface import Interface, Port
from edgec.graph import Graph
from edgec.types import string

Texts = tuple[frozenset[str], frozenset[str]]  # names of inputs, and of outputs
NO_TEXTS: Texts = (frozenset(), frozenset())


def text_ports(graph: Graph) -> Texts:
    """The names of the inputs, and of the outputs, that are strings."""
    return (frozenset(v.name for v in graph.inputs if v.dtype is string),
            frozenset(name for name, v in zip(graph.output_names, graph.outputs) if v.dtype is string))


def with_texts(interface: Interface, texts: Texts) -> Interface:
    """The interface, the ports of these names being text."""
    def marked(ports: Sequence[Port], names: frozenset[str]) -> tuple[Port, ...]:
        return tuple(replace(p, text=True) if p.name in names else p for p in ports)
    return replace(interface, inputs=marked(interface.inputs, texts[0]), outputs=marked(interface.outputs, texts[1]))
