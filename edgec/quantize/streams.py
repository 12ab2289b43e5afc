"""Two networks side by side on the same samples, operator by operator: the float one, and the one under way, whose weights are rounded.

Rounding a layer for the inputs that the layers before it really give, towards what the float network computes there, lets each layer mend
what those before it broke. An array is kept until its last reader has had it, so memory follows the widest place, not the depth.

    streams = Streams(graph, samples)
    for op in graph.ops:                   # in this order, every one
        pairs = streams.operands(op)       # [(of the network under way, of the float one), ...], one a sample
        streams.advance(op, rounded_op)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from edgec.errors import ModelError
from edgec.graph import Constant, Graph, Input, Op, Value, graph_input, run_reference
from edgec.interpreter import run
from edgec.quantize.run_values import multiply_adds

SAMPLES = 128  # at most, and at least LEAST where there are so many
LEAST = 16
WORK = 3 * 10**10  # multiply-adds of all samples in both networks: half a minute of numpy
BYTES = 1 << 30  # of arrays that are alive at once

Arrays = list[np.ndarray | None]


class Streams:
    """The arrays that are still to be read, of both networks; where nothing was rounded before, they are the same arrays."""

    def __init__(self, graph: Graph, samples: Sequence[Mapping[str, np.ndarray]]):
        chosen = [samples[n] for n in np.linspace(0, len(samples) - 1, samples_taken(graph, len(samples))).astype(int)]
        self.exact: list[dict[Value, np.ndarray]] = [{v: s[v.name] for v in graph.inputs} for s in chosen]
        self.near = [dict(row) for row in self.exact]
        self.left = Counter(v for op in graph.ops for v in op.operands)

    def operands(self, op: Op) -> list[tuple[Arrays, Arrays]]:
        """The operands of the next operator, of the network under way and of the float one, sample by sample."""
        return [tuple([_of(v, arrays) for v in op.operands] for arrays in pair) for pair in zip(self.near, self.exact)]

    def advance(self, op: Op, made: Op | None = None) -> None:
        """Compute the next operator in both networks, in the one under way as `made`, whose weights are other constants."""
        if isinstance(op, (Input, Constant)):
            return
        known = {} if made is None else {n: a for n, v in enumerate(made.operands) if (a := known_array(v)) is not None}
        for number, (near, exact) in enumerate(self.operands(op)):
            found = other = computed(op, exact)
            if made is not None or any(a is not b for a, b in zip(near, exact)):
                other = computed(made or op, [known[n] if n in known else near[n] for n in range(len((made or op).operands))])
            _require_finite(op, found, number)
            for row, arrays in ((self.exact[number], found), (self.near[number], other)):
                row.update((v, a) for v, a in zip(op.results, arrays) if self.left[v])
        self._drop(op)

    def _drop(self, op: Op) -> None:
        self.left.subtract(op.operands)
        for value in op.operands:
            if not self.left[value]:
                for row in (*self.exact, *self.near):
                    row.pop(value, None)


def computed(op: Op, arrays: Arrays) -> Sequence[np.ndarray]:
    """The results of one operator on these operands."""
    with np.errstate(all="ignore"):
        if hasattr(op, "reference"):
            return run_reference(op, arrays)
        inputs = [graph_input(f"x{n}", v.type) for n, v in enumerate(op.operands)]
        made = op.with_operands(inputs)
        return run(Graph(tuple(inputs), made.results, tuple(f"y{n}" for n in range(len(made.results)))), arrays)


def known_array(value: Value, depth: int = 4) -> np.ndarray | None:
    """The array of a value that follows from constants alone in a few steps, as weights behind their DequantizeLinear do; else None."""
    if value.is_constant:
        return value.array
    if depth == 0 or isinstance(value.op, Input) or len(value.op.results) > 1:
        return None
    operands = []
    for v in value.op.operands:
        operands.append(known_array(v, depth - 1))
        if operands[-1] is None:
            return None
    return computed(value.op, operands)[0] if operands else None


def _of(value: Value, arrays: Mapping[Value, np.ndarray]) -> np.ndarray:
    return value.array if value.is_constant else arrays[value]


def _require_finite(op: Op, arrays: Sequence[np.ndarray], number: int) -> None:
    if not all(np.isfinite(a).all() for a in arrays if a is not None and a.dtype.kind == "f"):
        raise ModelError(f"the value '{op.output.name}' is not finite for calibration sample {number}", loc=op.loc,
                         hint="check that the samples are prepared as the model expects them")


def samples_taken(graph: Graph, given: int) -> int:
    """How many samples are taken: what time and memory allow."""
    work, most = 2 * sum(map(multiply_adds, graph.ops)), 2 * max((sum(v.type.max_bytes for v in (*op.operands, *op.results)
                                                                     if not v.is_constant) for op in graph.ops), default=1)
    return max(1, min(given, SAMPLES, max(LEAST, WORK // max(1, work)), 1 + BYTES // (2 * max(1, most))))
