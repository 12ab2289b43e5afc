"""The texts of a model on its way through the compiler, one per language: graph after the graph passes, kernels, loops.

    compiled_texts(graph, target).kernels[0]      # 'program digits(image) -> (probabilities)\\n...'
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from edgec.backends.target import Target
from edgec.compiler import lower, optimise_graph
from edgec.graph import Graph
from edgec.graph_text import print_graph
from edgec.kernel import Program
from edgec.loops_text import print_loops
from edgec.passes.tile import tile
from edgec.program_text import constants, print_program

Text = tuple[str, Mapping[str, np.ndarray]]


@dataclass(frozen=True)
class CompiledTexts:
    """Each text with the arrays of its @names."""

    optimised: Graph
    target: Target
    without: tuple[str, ...] = ()

    @cached_property
    def program(self) -> Program:
        return lower(self.optimised, self.target, without=self.without)

    @cached_property
    def graph(self) -> Text:
        """What the model says."""
        return print_graph(self.optimised)

    @cached_property
    def kernels(self) -> Text:
        """What each element is."""
        return print_program(self.program), constants(self.program)

    @cached_property
    def loops(self) -> Text:
        """What the machine does, kernel after kernel."""
        return "\n".join(print_loops(tile(kernel, self.target).loops) for kernel in self.program.steps), {}


def compiled_texts(graph: Graph, target: Target, passes: Sequence[Any] = (), without: Sequence[str] = (),
                   precision: str = "f32") -> CompiledTexts:
    """The texts of a graph as it is compiled for a target."""
    return CompiledTexts(optimise_graph(graph, target, passes=passes, precision=precision), target, tuple(without))
