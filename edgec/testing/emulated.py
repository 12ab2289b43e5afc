"""Machine code under emulation against the interpreter.

    assert_exact(graph, find("cortex-a53"), winograd=False)
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edgec.backends.emulate import emulate
from edgec.compiler import compile
from edgec.graph import Graph
from edgec.interpreter import interpret
from edgec.testing.graphs import whole_inputs


def assert_exact(graph: Graph, target: Any, samples: int = 2, **options: Any) -> None:
    """Every output equals the interpreter's, bit for bit, for inputs of whole numbers; the options are those of compile."""
    inputs = [whole_inputs(graph, seed) for seed in range(samples)]
    for given, found in zip(inputs, emulate(compile(graph, target, **options), inputs).outputs, strict=True):
        for name, expected in interpret(graph, given).items():
            np.testing.assert_array_equal(found[name], expected, err_msg=f"{name} of {graph.name}")
