"""Scan as opset 8 has it, over a batch: every operand has a batch axis in front, and each entry of it is scanned by itself.

    y = Scan-8(, s0, x)   ->   y = Concat(Unsqueeze(Scan(s0[0], x[0])), Unsqueeze(Scan(s0[1], x[1])), ...)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from edgec.errors import Unsupported
from edgec.graph import Value, constant
from edgec.onnx.node import Node
from edgec.ops.gather import Gather
from edgec.ops.joining import Concat
from edgec.ops.reshape import Unsqueeze


def batched_scan(reader: Any, node: Node, scope: Any) -> Sequence[Value]:
    """The results of a node of opset 8; Unsupported where sequences have lengths of their own, or nobody knows how many there are."""
    from edgec.onnx.subgraphs import build_with_subgraphs
    given = [value for value in node.inputs[1:] if value is not None]
    batch = given[0].shape[0] if given and given[0].shape else None
    if node.input(0) is not None or not isinstance(batch, int) or not batch:
        raise Unsupported("Scan of opset 8 with sequence lengths, or an open batch axis", loc=node.loc,
                          hint="convert the model to opset 9 or newer")
    kept = {"body": node.attributes["body"], "num_scan_inputs": node.attributes["num_scan_inputs"],
            "scan_input_directions": node.attributes.get("directions", ())}
    entries = [build_with_subgraphs(reader, replace(node, inputs=_entry(given, n), opset=9, attributes=kept), scope) for n in range(batch)]
    first = constant(np.array([0]))
    return [Concat(tuple(Unsqueeze(value, first).output for value in parts), axis=0).output for parts in zip(*entries)]


def _entry(given: Sequence[Value], number: int) -> tuple[Value, ...]:
    return tuple(Gather(value, constant(np.array(number)), axis=0).output for value in given)
