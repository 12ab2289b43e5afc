"""Bias correction: the mean error that rounding a layer's operands and weights makes goes into its bias, where it is certain.

The mean error of every output channel is measured on calibration samples (Nagel et al., arXiv:1906.04721, section 4.2, with data). A mean
of few samples is noise itself, and subtracting noise ruins small networks; so a channel is corrected only where its mean is more than
CERTAIN standard errors away from 0, and not at all with fewer than LEAST samples.

    corrected(layer, weights)      # the same integers, another bias
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from edgec.quantize.insert import Weights
from edgec.quantize.layer_data import LayerData

CERTAIN = 3.0  # standard errors
LEAST = 8  # samples


def corrected(layer: LayerData, weights: Weights) -> Weights:
    """The weights of a layer with its corrected bias; a layer without a bias stays as it is."""
    if weights.bias is None or len(layer.inputs) < LEAST:
        return weights
    errors = mean_errors(layer, weights)
    mean, uncertainty = errors.mean(axis=0), errors.std(axis=0, ddof=1) / np.sqrt(len(errors))
    certain = np.abs(mean) > CERTAIN * uncertainty
    return replace(weights, bias=(weights.bias - np.where(certain, mean, 0.0)).astype(np.float32))


def mean_errors(layer: LayerData, weights: Weights) -> np.ndarray:
    """f64[samples, channels]: the mean of rounded minus float outputs of each sample."""
    real = weights.grid.real(weights.integers)
    pairs = zip(layer.inputs, layer.rounded_inputs)
    return np.array([_mean(layer, rounded, real) - _mean(layer, x, layer.weights) for x, rounded in pairs])


def _mean(layer: LayerData, x: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The mean of the layer's result on one input f64[channels], but for the bias. A product is linear, so that of a mean row is enough."""
    if type(layer.op).__name__ == "ConvTranspose" or layer.weights.ndim != 2 and type(layer.op).__name__ != "Conv":
        y = layer.output(x, weights).astype(np.float64)
        axis = 1 if type(layer.op).__name__ == "ConvTranspose" else y.ndim - 1
        return y.mean(axis=tuple(n for n in range(y.ndim) if n != axis))
    rows = layer.mean_row(x)
    return np.concatenate([row @ layer.matrix(g, weights) for g, row in enumerate(rows)])
