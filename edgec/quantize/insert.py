"""The quantized graph: QuantizeLinear and DequantizeLinear around every value on a grid, integers in place of weights and biases.

Everything that reads a value on a grid reads it behind its DequantizeLinear, f32 operators too: there is one value, the rounded one.
Weights are integers behind a DequantizeLinear of one scale a channel, biases i32 with the scale input scale * weight scale.

    graph = inserted(recipe, grids, weights)      # standard ONNX operators; compile it, or write it with edgec.onnx.writer
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from edgec.graph import Constant, Graph, Input, Op, Value, constant
from edgec.ops.quantization import DequantizeLinear, QuantizeLinear
from edgec.quantize.cells import Cells
from edgec.quantize.grid import Grid, activation_grid
from edgec.quantize.recipe import Recipe, data_of, is_layer
from edgec.types import DType, i32


@dataclass(frozen=True, eq=False)
class Weights:
    """The integers of a layer's weights, their grid, and its float bias (None: it has none)."""

    integers: np.ndarray
    grid: Grid
    bias: np.ndarray | None


def inserted(recipe: Recipe, grids: Mapping[Value, Grid], weights: Mapping[Op, Weights | Cells], constants: DType) -> Graph:
    """The graph with integers: `grids` by the values whose ranges make them, `weights` of every layer; operands of sums and products that
    are constants get a grid of the type `constants`."""
    return _Insertion(recipe, grids, weights, constants).run()


class _Insertion:
    """One sweep in the order of the data flow; `done` has what stands for each value of the float graph."""

    def __init__(self, recipe: Recipe, grids: Mapping[Value, Grid], weights: Mapping[Op, Weights | Cells],
                 constants: DType):
        self.recipe, self.grids, self.weights, self.constants = recipe, grids, weights, constants
        self.quantized = set(recipe.quantized)
        self.done: dict[Value, Value] = {}

    def run(self) -> Graph:
        graph = self.recipe.graph
        for value in graph.inputs:
            self.done[value] = self.on_grid(value, value)
        for op in graph.ops:
            if not isinstance(op, Input):
                made = op.results if isinstance(op, Constant) else self.rebuilt(op)
                self.done.update((old, self.on_grid(old, new)) for old, new in zip(op.results, made))
        return graph.with_outputs(self.done[v] for v in graph.outputs)

    def grid_of(self, value: Value) -> Grid | None:
        leader = self.recipe.values.get(value)
        return None if leader is None else self.grids[leader]

    def on_grid(self, old: Value, new: Value) -> Value:
        """A value as its readers see it."""
        grid = self.grid_of(old)
        if grid is None:
            return new
        scale, zero = self.parameters(grid, old.name)
        integers = QuantizeLinear(new, scale, zero, _name=f"{old.name}.quantized").output
        return DequantizeLinear(integers, scale, zero, _name=f"{old.name}.real").output

    def parameters(self, grid: Grid, name: str) -> tuple[Value, Value]:
        return constant(grid.scale, f"{name}.scale"), constant(grid.zero_point, f"{name}.zero_point")

    def rebuilt(self, op: Op) -> Sequence[Value]:
        """What stands for the results of an operator, before they are put on grids."""
        operands = [self.done[v] for v in op.operands]
        if op in self.quantized and isinstance(self.weights.get(op), Cells):
            return self.weights[op].results(op, operands)
        if op in self.quantized:
            if is_layer(op):
                operands = self.layer_operands(op, operands)
            else:
                reads = data_of(op)
                places = range(len(operands)) if len(reads) > 1 or not hasattr(op, "x") else ()
                operands = [self.constant_on_grid(v) if n in places and v.is_constant and v.dtype is op.output.dtype else v
                            for n, v in enumerate(operands)]
        return op.results if all(a is b for a, b in zip(operands, op.operands)) else op.with_operands(operands).results

    def constant_on_grid(self, value: Value) -> Value:
        """A constant operand of a sum or product, on a grid of its own."""
        grid = activation_grid(value.array.min(initial=0), value.array.max(initial=0), self.constants)
        return self.real(grid.quantized(value.array), grid, value.name)

    def real(self, integers: np.ndarray, grid: Grid, name: str) -> Value:
        scale, zero = self.parameters(grid, name)
        return DequantizeLinear(constant(integers, f"{name}.integers"), scale, zero, axis=grid.axis, block_size=grid.block_size,
                                _name=f"{name}.real").output

    def layer_operands(self, op: Op, operands: list[Value]) -> list[Value]:
        given, x_grid = self.weights[op], self.grid_of(op.operands[0])
        w = self.real(given.integers, given.grid, op.operands[1].name)
        if given.bias is None:
            return [operands[0], w]
        name = op.operands[2].name if len(op.operands) > 2 else f"{op.output.name}.bias"
        if x_grid is None or given.grid.block_size:
            return [operands[0], w, constant(given.bias, name)]
        return [operands[0], w, self.real(*bias_integers(given, x_grid), name)]


def bias_integers(weights: Weights, x_grid: Grid) -> tuple[np.ndarray, Grid]:
    """The bias as i32 on the grid of the layer's sums: scale = f32(input scale * weight scale), zero point 0."""
    scale = (x_grid.scale * weights.grid.scale).astype(np.float32)
    grid = Grid(i32, scale, np.zeros(scale.shape, np.int32))
    ratio = np.rint(weights.bias.astype(np.float64) / grid.spread(scale, weights.bias.shape))
    return np.clip(ratio, i32.low, i32.high).astype(np.int32), grid
