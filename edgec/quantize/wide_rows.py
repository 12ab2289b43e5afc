"""Which rows of weights get 8 bits where all in fewer bring too much noise: first those with most noise for each of their weights.

A row is what makes one output of a layer. To first order noises add up. What a layer brings to the outputs of the network is found by
rounding its weights alone; the rows share that as they share the error of the layer's products, once rounded by the data.

    rows = WideRows(noise_alone(graph, {conv: {1: rounded}}, samples), {conv: errors}, {conv: weights_in_a_row})
    rows.share_for(0.5);  rows.chosen(0.1)         # the share of the weights that halves the noise; {conv: bool[groups, outputs]}
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property

import numpy as np

from edgec.graph import Constant, Graph, Input, Op, Value
from edgec.ops.activation import Sigmoid
from edgec.ops.softmax import Softmax
from edgec.quantize.run_values import multiply_adds
from edgec.quantize.streams import computed

WORK = 2 * 10**10  # multiply-adds of all that is computed to find the noise of layers alone: some ten seconds of numpy
SAMPLES = 64  # at most, for that
Arrays = Mapping[Value, np.ndarray]


class WideRows:
    """The rows in the order in which they get 8 bits; `layers` is the noise of each operator alone, `errors` what part of it each of its
    rows has left, f64[groups, outputs], `sizes` the number of weights in a row."""

    def __init__(self, layers: Mapping[Op, float], errors: Mapping[Op, np.ndarray], sizes: Mapping[Op, int]):
        self.shapes = {op: e.shape for op, e in errors.items()}
        self.owner = np.repeat(np.arange(len(errors)), [e.size for e in errors.values()])
        self.noise = np.concatenate([layers[op] * e.ravel() for op, e in errors.items()])
        self.size = np.repeat([float(sizes[op]) for op in errors], [e.size for e in errors.values()])

    def gain_of(self, share: float) -> float:
        """The dB by which the noise falls when the first rows with this share of the weights get 8 bits."""
        left = self.noise[np.concatenate([~rows.ravel() for rows in self.chosen(share).values()])].sum()
        return float(-10 * np.log10(max(left, 1e-9 * self.noise.sum()) / max(self.noise.sum(), 1e-300)))

    @cached_property
    def order(self) -> np.ndarray:
        """Row numbers, those with most noise for each weight first."""
        return np.argsort(-self.noise / self.size, kind="stable")

    def share_for(self, fraction: float) -> float:
        """The share of the weights that has to get 8 bits for this fraction of the noise to be left."""
        left = 1 - np.cumsum(self.noise[self.order]) / max(self.noise.sum(), 1e-300)
        count = int(np.searchsorted(-left, -fraction)) + 1
        return float(self.size[self.order[:count]].sum() / self.size.sum()) if fraction < 1 else 0.0

    def chosen(self, share: float) -> dict[Op, np.ndarray]:
        """The rows bool[groups, outputs] that are first in order and have this share of the weights at most."""
        taken = np.zeros(len(self.size), bool)
        taken[self.order] = np.cumsum(self.size[self.order]) <= share * self.size.sum() * (1 + 1e-9)
        return {op: taken[self.owner == n].reshape(shape) for n, (op, shape) in enumerate(self.shapes.items())}


def noise_alone(graph: Graph, rounded: Mapping[Op, Mapping[int, np.ndarray]],
                samples: Sequence[Mapping[str, np.ndarray]]) -> dict[Op, float]:
    """What each operator alone brings to the outputs when these of its operands are others: noise over signal, summed over the outputs.

    Before a softmax or sigmoid at the end: behind it, the few samples that are near a decision would say nearly all.
    """
    ops = [op for op in graph.ops if not isinstance(op, (Input, Constant))]
    ends = list(dict.fromkeys(v.op.operands[0] if isinstance(v.op, (Softmax, Sigmoid)) else v for v in graph.outputs if v.dtype.is_float))
    power, noise = np.zeros(len(ends)), {op: np.zeros(len(ends)) for op in rounded}
    for sample in [samples[n] for n in np.linspace(0, len(samples) - 1, _count(ops, rounded, len(samples))).astype(int)]:
        exact: dict[Value, np.ndarray] = {v: sample[v.name] for v in graph.inputs}
        for op in ops:
            exact.update(zip(op.results, computed(op, [_of(v, exact) for v in op.operands])))
        power += [_square(exact[v]) for v in ends]
        for op, arrays in rounded.items():
            other = _after(ops, exact, op, arrays)
            noise[op] += [_square(other[v] - exact[v]) if v in other else 0.0 for v in ends]
    return {op: float(np.sum(n / np.maximum(power, 1e-300))) for op, n in noise.items()}


def _after(ops: Sequence[Op], exact: Arrays, changed: Op, arrays: Mapping[int, np.ndarray]) -> dict[Value, np.ndarray]:
    """The values that change when operands of one operator are others."""
    found: dict[Value, np.ndarray] = {}
    for op in ops[ops.index(changed):]:
        if op is changed or any(v in found for v in op.operands):
            operands = [found[v] if v in found else _of(v, exact) for v in op.operands]
            if op is changed:
                operands = [arrays.get(n, a) for n, a in enumerate(operands)]
            found.update(zip(op.results, computed(op, operands)))
    return found


def _of(value: Value, arrays: Arrays) -> np.ndarray:
    return value.array if value.is_constant else arrays[value]


def _square(array: np.ndarray) -> float:
    return float(np.sum(np.square(array, dtype=np.float64)))


def _count(ops: Sequence[Op], rounded: Mapping[Op, object], given: int) -> int:
    """How many samples are taken: what time allows, and one at least."""
    work, seen = 0, 0
    for op in ops:
        seen += op in rounded
        work += (1 + seen) * multiply_adds(op)
    return max(1, min(given, SAMPLES, WORK // max(1, work)))
