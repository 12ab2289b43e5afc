"""One compiled network in which every rounding can be switched on and off: what sensitivities are measured with.

Every value on a grid passes through x + on * (rounded(x) - x), its scale, zero point and bounds coming from a table that is an input; every
layer is computed with float and with rounded weights, a switch between them. So one compilation serves every mixture of precisions.

    simulation = Simulation(recipe, weights, runs=500);  simulation.outputs(sample, simulation.switches(grids, layers))
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from edgec.graph import Constant, Graph, Input, Op, Value, constant, graph_input
from edgec.ops.arithmetic import Add, Div, Max, Min, Mul, Sub
from edgec.ops.gather import Gather
from edgec.ops.rounding import Round
from edgec.quantize.cells import Cells
from edgec.quantize.grid import Grid
from edgec.quantize.insert import Weights
from edgec.quantize.recipe import Recipe
from edgec.quantize.run_values import runner
from edgec.types import TensorType, f32

ON, SCALE, ZERO, LOW, HIGH = range(5)  # columns of the table of values
SWITCHES = "edgec.switches"


@dataclass(frozen=True, eq=False)
class Switches:
    """One setting: f32[values + layers, 5]; of a layer's row only the first column counts."""

    table: np.ndarray


class Simulation:
    """The switchable network of a recipe; `values` are all that may be rounded."""

    def __init__(self, recipe: Recipe, weights: Mapping[Op, Weights | Cells], runs: int, threads: int = 1,
                 progress: Callable[[int, int], None] | None = None):
        self.recipe, self.weights = recipe, weights
        self.rows: dict[Value | Op, int] = {key: n for n, key in enumerate([*recipe.values, *recipe.rounded])}
        self.switch = graph_input(SWITCHES, TensorType(f32, (max(1, len(self.rows)), 5)))
        self.run = runner(graph := self._graph(), graph.outputs, runs, threads, progress)

    def switches(self, grids: Mapping[Value, Grid], layers: Iterable[Op]) -> Switches:
        """The setting that rounds these values to these grids, and the weights of these layers."""
        table = np.zeros((max(1, len(self.rows)), 5), np.float32)
        table[:, SCALE] = 1
        for value, grid in grids.items():
            if value in self.rows:
                table[self.rows[value]] = (1, grid.scale, grid.zero_point, grid.dtype.low, grid.dtype.high)
        for op in layers:
            table[self.rows[op], ON] = 1
        return Switches(table)

    def outputs(self, sample: Mapping[str, np.ndarray], switches: Switches) -> list[np.ndarray]:
        """The outputs of the network for one sample under a setting."""
        return self.run({**sample, SWITCHES: switches.table})

    def _graph(self) -> Graph:
        graph = self.recipe.graph
        done: dict[Value, Value] = {v: self._switched(v, v) for v in graph.inputs}
        for op in graph.ops:
            if not isinstance(op, (Input, Constant)):
                results = self._results(op, [done.get(v, v) for v in op.operands])
                done.update((old, self._switched(old, new)) for old, new in zip(op.results, results))
        return Graph((*graph.inputs, self.switch), tuple(done.get(v, v) for v in graph.outputs), graph.output_names, graph.name)

    def _results(self, op: Op, operands: Sequence[Value]) -> Sequence[Value]:
        plain = op.with_operands(operands)
        if op not in self.rows:
            return plain.results
        given = self.weights[op]
        if isinstance(given, Cells):
            return [self._mixed(a, b, self.rows[op]) for a, b in zip(plain.results, given.results(op, operands))]
        rounded = constant(given.grid.real(given.integers), f"{operands[1].name}.rounded")
        bias = [constant(given.bias, f"{operands[2].name}.corrected")] if len(operands) > 2 else []
        return (self._mixed(plain.output, op.with_operands([operands[0], rounded, *bias]).output, self.rows[op]),)

    def _number(self, row: int, column: int) -> Value:
        line = Gather(self.switch, constant(np.array(row, np.int64)), axis=0).output
        return Gather(line, constant(np.array(column, np.int64)), axis=0).output

    def _mixed(self, plain: Value, other: Value, row: int) -> Value:
        """plain + on * (other - plain)"""
        return Add(plain, Mul(self._number(row, ON), Sub(other, plain).output).output).output

    def _switched(self, old: Value, new: Value) -> Value:
        """A value with its rounding behind a switch."""
        if old not in self.rows:
            return new
        row = self.rows[old]
        scale, zero, low, high = (self._number(row, column) for column in (SCALE, ZERO, LOW, HIGH))
        whole = Add(Round(Div(new, scale).output).output, zero).output
        clamped = Min((Max((whole, low)).output, high)).output
        return self._mixed(new, Mul(Sub(clamped, zero).output, scale).output, row)
