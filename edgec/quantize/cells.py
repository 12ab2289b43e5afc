"""Recurrent layers on integers: the input projection and the recurrent product read 8-bit weights and rounded operands; gates stay f32.

ONNX has no place in LSTM, GRU or RNN for the grid of the hidden state, so the quantized layer is written out: a product of all inputs, and
a Scan whose body rounds the state before its product. The state itself is carried on in f32, so roundings do not add up in it.

    cells = cell_grids(lstm, grids, weight_bits=8, per_channel=True)
    cells.results(lstm, operands)                 # y, y_h, y_c: what stands in the layer's place; operands[0] is on a grid
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from edgec.graph import Op, Value, constant
from edgec.ops.matmul import MatMul
from edgec.ops.quantization import DequantizeLinear, QuantizeLinear
from edgec.ops.recurrent import Recurrent
from edgec.quantize.grid import Grid, activation_grid, weight_grid
from edgec.types import f32

INPUT_RANK = 3  # of x [t, b, i]; the state of a step is [b, hidden]


def is_cell(op: Op) -> bool:
    """Whether an operator is a recurrent layer with constant weights, in f32."""
    return isinstance(op, Recurrent) and op.x.dtype is f32 and not op.x.is_constant and op.w.is_constant and op.r.is_constant


def states_of(op: Recurrent) -> tuple[Value, ...]:
    """The values whose range is that of the hidden state: the outputs of all steps, and the first state where it is given."""
    first = op.initial_h
    return (op.results[0],) if first is None or first.is_constant else (op.results[0], first)


@dataclass(frozen=True, eq=False)
class Cells:
    """How one recurrent layer is rounded: the grid of its hidden state (None: it stays f32), bits and scales of its weights."""

    state: Grid | None
    weight_bits: int
    per_channel: bool
    symmetric: bool
    power_of_two: bool

    def results(self, op: Recurrent, operands: Sequence[Value]) -> tuple[Value, ...]:
        """The results of the layer on these operands, in standard operators."""
        made = op.with_operands(operands).written(self._product)
        return made if isinstance(made, tuple) else (made,)

    def _product(self, a: Value, w: Value) -> Value:
        """a @ w with rounded weights [K, N], and with a rounded where it is a state."""
        grid = weight_grid(w.array, 1 if self.per_channel else None, self.weight_bits, self.symmetric, self.power_of_two)
        scale, zero = constant(grid.scale, f"{w.name}.scale"), constant(grid.zero_point, f"{w.name}.zero_point")
        integers = constant(grid.quantized(w.array), f"{w.name}.integers")
        real = DequantizeLinear(integers, scale, zero, axis=grid.axis, _name=f"{w.name}.real").output
        return MatMul(self._on_grid(a) if a.type.rank < INPUT_RANK else a, real).output

    def _on_grid(self, h: Value) -> Value:
        if self.state is None:
            return h
        scale, zero = constant(self.state.scale, f"{h.name}.scale"), constant(self.state.zero_point, f"{h.name}.zero_point")
        integers = QuantizeLinear(h, scale, zero, _name=f"{h.name}.quantized").output
        return DequantizeLinear(integers, scale, zero, _name=f"{h.name}.real").output


def cell_grids(op: Recurrent, grids: Mapping[Value, Grid], *, weight_bits: int, per_channel: bool, symmetric: bool,
               power_of_two: bool) -> Cells:
    """The rounding of a layer whose states have these grids; with 16 bits the state stays f32."""
    found = [grids[v] for v in states_of(op)]
    state = None if found[0].dtype.bits > 8 else covering(found, power_of_two)
    return Cells(state, weight_bits, per_channel, symmetric, power_of_two)


def covering(grids: Sequence[Grid], power_of_two: bool) -> Grid:
    """A grid of the first one's type over the ranges of all."""
    if len(grids) == 1:
        return grids[0]
    ends = np.array([[(n - int(g.zero_point)) * float(g.scale) for n in (g.dtype.low, g.dtype.high)] for g in grids])
    return activation_grid(ends[:, 0].min(), ends[:, 1].max(), grids[0].dtype, power_of_two)
