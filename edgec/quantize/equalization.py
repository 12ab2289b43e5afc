"""Equalization: scales of channels move from an operator into the products that read it, where integers then fit both better.

    y = relu(x w1 / s) (s w2)        equals relu(x w1) w2 for any s > 0, one number a channel

Two ways to choose s. Cross-layer: s = sqrt(max |w1| / max |w2|) by channel, so that both products use as much of their ranges (M. Nagel,
M. van Baalen, T. Blankevoort, M. Welling: "Data-free quantization through weight equalization and bias correction", arXiv:1906.04721,
4.1). Smooth: s = max |x|^a / max |w2|^(1-a), which moves the outliers of activations into weights (G. Xiao et al.: "SmoothQuant",
arXiv:2211.10438, eq. 4), a searched. Neither is believed: a place keeps what makes the error of its products on samples fall by a share.

    graph = equalized(prepared(graph), samples, Rounded(weight_bits=8, activations=u8))      # computes the same
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from edgec.errors import ModelError
from edgec.graph import Graph, Op, Value, constant, map_graph
from edgec.quantize.equalizable import Place, in_channels, out_channels, places, weights_of_producer
from edgec.quantize.grid import activation_grid, weight_grid
from edgec.quantize.run_values import multiply_adds, runner
from edgec.quantize.streams import computed
from edgec.quantize.weights import channel_axis
from edgec.types import DType

METHODS = {"cross-layer": ("cross-layer",), "smooth": ("smooth",), "both": ("cross-layer", "smooth")}
ALPHAS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
ENOUGH = 0.9  # of the error of before, at most, or nothing is changed
LARGEST = 2.0**10  # of a scale and of its inverse
SAMPLES, WORK = 16, 2 * 10**10  # that the error is measured on: samples at most, multiply-adds of all measurements


@dataclass(frozen=True)
class Rounded:
    """What will be rounded: weights to so many bits, activations to a type (None: not at all)."""

    weight_bits: int = 8
    activations: DType | None = None
    per_channel: bool = True


def equalized(graph: Graph, samples: Sequence[Mapping[str, np.ndarray]], rounded: Rounded, method: str = "both") -> Graph:
    """A prepared graph that computes the same, its channels scaled for what will be rounded; ModelError for a method that there is not."""
    if method not in METHODS:
        raise ModelError(f"there is no equalization '{method}'", hint="there are " + ", ".join(METHODS))
    found = places(graph)
    chosen = _few(graph, samples)
    inputs = list(dict.fromkeys(place.producer.operands[0] for place in found))
    run = runner(graph, inputs, len(chosen))
    arrays = [dict(zip(inputs, run(sample))) for sample in chosen] if found else []
    state = _Scaled(rounded)
    for place in found:
        state.settle(place, [row[place.producer.operands[0]] for row in arrays], METHODS[method])
    return map_graph(graph, state.visit)


def _few(graph: Graph, samples: Sequence[Mapping[str, np.ndarray]]) -> list[Mapping[str, np.ndarray]]:
    each = 2 * (len(ALPHAS) + 2) * sum(map(multiply_adds, graph.ops))
    count = max(1, min(len(samples), SAMPLES, max(4, WORK // max(1, each))))
    return [samples[n] for n in np.linspace(0, len(samples) - 1, count).astype(int)]


class _Scaled:
    """The constants of operators as they are by now, and the scale that the inputs of each product have lost."""

    def __init__(self, rounded: Rounded):
        self.rounded = rounded
        self.constants: dict[Op, dict[int, np.ndarray]] = {}
        self.lost: dict[Op, np.ndarray] = {}

    def array(self, op: Op, place: int) -> np.ndarray:
        """A constant operand as it is by now."""
        return self.constants.get(op, {}).get(place, op.operands[place].array)

    def visit(self, op: Op, operands: Sequence[Value]) -> Sequence[Value] | None:
        """The operator on its scaled constants."""
        if op not in self.constants:
            return None
        made = [constant(self.constants[op][n], op.operands[n].name, op.operands[n].loc) if n in self.constants[op] else v
                for n, v in enumerate(operands)]
        return op.with_operands(made).results

    def settle(self, place: Place, inputs: Sequence[np.ndarray], methods: Sequence[str]) -> None:
        """Scale a place by the candidate with the least error, if that is enough."""
        trial = _Trial(place, self, inputs)
        scales = [s for s in _candidates(place, self, trial, methods) if not np.allclose(s, 1)]
        errors = [trial.error(s) for s in scales]
        if errors and min(errors) < ENOUGH * trial.error(np.ones(place.channels)):
            self.scale(place, scales[int(np.argmin(errors))])

    def scale(self, place: Place, s: np.ndarray) -> None:
        """Take the scale out of the producer and into the products."""
        self.constants.setdefault(place.producer, {}).update(self.produced(place, s))
        for op in place.consumers:
            self.constants.setdefault(op, {})[1] = self.consumed(op, s)
            self.lost[op] = self.lost.get(op, 1.0) * s

    def produced(self, place: Place, s: np.ndarray) -> dict[int, np.ndarray]:
        """The producer's constants divided by a scale."""
        return {n: (self.array(place.producer, n) / out_channels(place.producer, n, s)).astype(np.float32)
                for n in weights_of_producer(place.producer)}

    def consumed(self, op: Op, s: np.ndarray) -> np.ndarray:
        """A product's weights multiplied by a scale."""
        return in_channels(op, self.array(op, 1), s).astype(np.float32)


class _Trial:
    """The products of a place on samples, with everything rounded that will be."""

    def __init__(self, place: Place, state: _Scaled, inputs: Sequence[np.ndarray]):
        self.place, self.state = place, state
        lost = state.lost.get(place.producer)
        self.inputs = [x if lost is None else (x / _along(lost, x, place.input_axis)).astype(np.float32) for x in inputs]
        ones = np.ones(place.channels)
        self.exact = [self._products(x, state.produced(place, ones), ones, False) for x in self.inputs]

    def magnitudes(self) -> np.ndarray:
        """The largest of each channel that the products read."""
        found = np.zeros(self.place.channels)
        for read, _ in self.exact:
            for op, x in read.items():
                axis = self.place.axis_of(op) % x.ndim
                found = np.maximum(found, np.abs(x).max(axis=tuple(n for n in range(x.ndim) if n != axis)))
        return found

    def error(self, s: np.ndarray) -> float:
        """The sum of squared errors of the products."""
        made = self._weights(self.place.producer, self.state.produced(self.place, s))
        lost = 0.0
        for x, (_, exact) in zip(self.inputs, self.exact):
            _, found = self._products(x, made, s, True)
            lost += sum(float(np.sum((found[op].astype(np.float64) - exact[op]) ** 2)) / max(1e-30, float(np.sum(exact[op] ** 2.0)))
                        for op in exact)
        return lost

    def _weights(self, op: Op, made: dict[int, np.ndarray]) -> dict[int, np.ndarray]:
        """The weights of a product rounded; a normalisation has none."""
        if not self.place.producer_is_product or op is not self.place.producer:
            return made
        return {**made, 1: self._rounded(op, made[1])}

    def _rounded(self, op: Op, w: np.ndarray) -> np.ndarray:
        axis = channel_axis(op) if self.state.rounded.per_channel else None
        return weight_grid(w, axis, self.state.rounded.weight_bits).rounded(w)

    def _products(self, x: np.ndarray, made: Mapping[int, np.ndarray], s: np.ndarray, rounded: bool) -> tuple[dict[Op, np.ndarray], ...]:
        """What the products read and give."""
        place, state = self.place, self.state
        known = {place.producer.output: _on(place.producer, x, made, state)}
        for op in place.between:
            known[op.output] = computed(op, [known.get(v) if not v.is_constant else v.array for v in op.operands])[0]
        read = {op: known[op.operands[0]] for op in place.consumers}
        given = {}
        for op, array in read.items():
            w = state.consumed(op, s)
            if rounded and state.rounded.activations is not None:
                array = activation_grid(*self._range(op, s), state.rounded.activations).rounded(array)
            given[op] = _on(op, array, {1: self._rounded(op, w) if rounded else w}, state)
        return read, given

    def _range(self, op: Op, s: np.ndarray) -> tuple[float, float]:
        arrays = [read[op] / _along(s, read[op], self.place.axis_of(op)) for read, _ in self.exact]
        return min(float(a.min()) for a in arrays), max(float(a.max()) for a in arrays)


def _on(op: Op, x: np.ndarray, made: Mapping[int, np.ndarray], state: _Scaled) -> np.ndarray:
    """The result of an operator on data x and constants, some of them other ones."""
    return computed(op, [x, *(made[n] if n in made else state.array(op, n) for n in range(1, len(op.operands)))])[0]


def _along(s: np.ndarray, x: np.ndarray, axis: int) -> np.ndarray:
    return s.reshape([-1 if n == axis % x.ndim else 1 for n in range(x.ndim)])


def _candidates(place: Place, state: _Scaled, trial: _Trial, methods: Sequence[str]) -> Iterator[np.ndarray]:
    """Scales worth trying; channels of zeros keep 1."""
    reads = np.max([place.largest_in(op, state.array(op, 1)) for op in place.consumers], axis=0)
    if "cross-layer" in methods and place.producer_is_product:
        writes = place.largest_out(state.array(place.producer, 1))
        yield _sane(np.sqrt(writes / np.where(reads > 0, reads, 1)), (writes > 0) & (reads > 0))
    if "smooth" in methods:
        sizes = trial.magnitudes()
        for alpha in ALPHAS:
            yield _sane(sizes**alpha / np.where(reads > 0, reads, 1) ** (1 - alpha), (sizes > 0) & (reads > 0))


def _sane(s: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Scales around 1, of channels that count."""
    middle = np.exp(np.mean(np.log(s[counts]))) if counts.any() else 1.0
    return np.where(counts, np.clip(s / middle, 1 / LARGEST, LARGEST), 1.0)
