"""Loops whose iterations are known when the model is read: the body in place, once for each.

States may then change their shapes or be sequences, positions in them are numbers, and what is left is compiled like any other nodes.

    y = Loop(3, , y0) {y + x}   ->   ((y0 + x) + x) + x
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from edgec.graph import Value, constant
from edgec.onnx.known import known_array
from edgec.onnx.node import Node
from edgec.onnx.sequences import inline, joined

MOST_NODES = 4096  # of an unrolled loop
MOST_TRIPS = 1024


def unrolled(reader: Any, node: Node, scope: Any) -> Sequence[Any] | None:
    """The results of a Loop, None where the number of its iterations is not known or they are many."""
    body, limit = node.attributes["body"], _limit(node)
    keep = True if node.input(1) is None else _truth(node.input(1))
    if limit is None or keep is None or limit * len(body.node) > MOST_NODES:
        return None
    states, rows = list(node.inputs[2:]), []
    while keep and len(rows) < limit:
        trip = constant(np.array(len(rows), np.int64))
        condition, *results = inline(reader, node, scope, body, [trip, constant(np.array(True)), *states])
        keep = _truth(condition)
        if keep is None or len(rows) == MOST_TRIPS:
            return None
        states, scans = results[:len(states)], results[len(states):]
        rows.append(scans)
    count = len(body.output) - 1 - len(states)
    if count and not rows:
        return None
    return [*states, *(joined(reader, node, scope, [row[n] for row in rows], 0, True) for n in range(count))]


def _limit(node: Node) -> int | None:
    """The most iterations: MOST_TRIPS + 1 where only the condition says when to stop."""
    if node.input(0) is None:
        return MOST_TRIPS + 1
    found = known_array(node.input(0))
    return None if found is None else max(0, int(found.reshape(())))


def _truth(value: Value) -> bool | None:
    found = known_array(value)
    return None if found is None else bool(found.reshape(()))
