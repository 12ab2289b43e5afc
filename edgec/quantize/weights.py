"""Weights of the layers as integers: grids by channel, room for the bias, and the method that rounds.

Each output channel of a convolution or matrix product has a scale of its own. A channel whose bias would not fit an i32 at the scale of its
sums gets a larger one, and a channel of zeros the scale 1.

    quantized_weights(layer, to_nearest)      # Weights(integers, grid, bias)
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from edgec.errors import ModelError
from edgec.graph import Op
from edgec.quantize.grid import Grid, weight_grid
from edgec.quantize.insert import Weights
from edgec.quantize.layer_data import LayerData, Rounding

LARGEST_BIAS = 2**30  # half of what an i32 holds: the products need room as well


def to_nearest(layer: LayerData) -> np.ndarray:
    """Every weight to the nearest place of the grid."""
    return layer.grid.quantized(layer.weights)


def channel_axis(op: Op) -> int | None:
    """The axis of the weights that counts output channels; None where they lie in groups along two axes."""
    name = type(op).__name__
    if name == "Conv":
        return 0
    if name == "ConvTranspose":
        return 1 if op.group == 1 else None
    if name == "Gemm" and op.transB:
        return 0
    return op.operands[1].type.rank - 1 if op.operands[1].type.rank == 2 else None


def grid_of_weights(op: Op, w: np.ndarray, bias: np.ndarray | None, x_grid: Grid | None, *, bits: int, per_channel: bool,
                    symmetric: bool, power_of_two: bool) -> Grid:
    """The grid of the weights w of a layer whose operand lies on `x_grid`."""
    grid = weight_grid(w, channel_axis(op) if per_channel else None, bits, symmetric, power_of_two)
    if bias is None or x_grid is None:
        return grid
    magnitude = np.abs(bias.astype(np.float64))
    magnitude = magnitude if grid.scale.ndim else magnitude.max(initial=0.0)
    least = magnitude / (float(x_grid.scale) * LARGEST_BIAS)
    return replace(grid, scale=np.maximum(grid.scale, least.astype(np.float32)))


def quantized_weights(layer: LayerData, rounding: Rounding) -> Weights:
    """The integers a rounding method gives for a layer, checked."""
    integers = np.asarray(rounding(layer))
    if integers.shape != layer.weights.shape or integers.dtype != layer.grid.dtype.numpy:
        raise ModelError(f"the rounding method gives {integers.dtype}{list(integers.shape)} for layer '{layer.name}', "
                         f"its weights are {layer.grid.dtype}{list(layer.weights.shape)}")
    return Weights(integers, layer.grid, layer.bias)
