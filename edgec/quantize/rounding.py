"""Rounding methods by name, for the layers of an integer network: what GPTQ and AdaRound make of a LayerData.

    quantize("model.onnx", calib, weight_bits=4, rounding=rounding_method("gptq"))

The rows that count are the inputs on their grid, as the integer layer meets them. A transposed convolution, and a product whose weights are
no matrix, round to nearest.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from edgec.errors import ModelError
from edgec.quantize.adaround import adaround
from edgec.quantize.gptq import gptq
from edgec.quantize.layer_data import LayerData, Rounding
from edgec.quantize.reconstruction import Reconstruction, Uniform, second_moment
from edgec.quantize.weights import to_nearest

ROWS = 1 << 13


def rounding_method(name: str) -> Rounding:
    """nearest, gptq or adaround as a function from LayerData to integers; ModelError for other names."""
    methods = {"nearest": to_nearest, "gptq": _by(gptq), "adaround": _by(adaround)}
    if name not in methods:
        raise ModelError(f"there is no rounding method '{name}'", hint="there are " + ", ".join(methods))
    return methods[name]


def _by(method: Callable[[Reconstruction, Uniform], np.ndarray]) -> Rounding:
    """A method that solves reconstruction problems, group by group of a layer's channels."""
    def rounded(layer: LayerData) -> np.ndarray:
        kind = type(layer.op).__name__
        if kind == "ConvTranspose" or kind != "Conv" and layer.weights.ndim != 2:
            return to_nearest(layer)
        groups = range(layer.groups)
        found = [method(_problem(layer, g), _levels(layer, g)) for g in groups]
        return layer.assembled(found).astype(layer.grid.dtype.numpy)
    return rounded


def _problem(layer: LayerData, group: int) -> Reconstruction:
    return Reconstruction(layer.matrix(group).astype(np.float64), second_moment(layer.rows(group, ROWS)))


def _levels(layer: LayerData, group: int) -> Uniform:
    """The layer's grid as the levels of one group's matrix; without zero points the range is symmetric."""
    grid, shape = layer.grid, layer.weights.shape
    spread = [np.broadcast_to(grid.spread(p, shape), shape) for p in (grid.scale, grid.zero_point)]
    scale, zero = (layer.matrix(group, p).astype(np.float64) for p in spread)
    return Uniform(scale, zero, grid.dtype.low if grid.zero_point.any() else -grid.dtype.high, grid.dtype.high)
