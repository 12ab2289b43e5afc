"""The integers that a fused activation leaves of a quantized result.

    activation_range(node)         # (-128, 127) without one
"""

from __future__ import annotations

import math

import numpy as np

from edgec.tflite.converters.activations import RANGES, fused_activation
from edgec.tflite.node import Node
from edgec.tflite.records import Tensor


def quantized_bound(bound: float, tensor: Tensor) -> float:
    """The integer that stands for a real number: zero point + round(number / scale), halves away from zero, in f32."""
    ratio = float(np.float32(bound) / tensor.scale)
    return tensor.zero + math.floor(abs(ratio) + 0.5) * (1 if ratio >= 0 else -1)


def limits(tensor: Tensor, low: float, high: float) -> tuple[int, int]:
    """The least and greatest integer of a tensor for real numbers from `low` to `high`, which may be infinite."""
    least = tensor.dtype.low if math.isinf(low) else max(tensor.dtype.low, quantized_bound(low, tensor))
    most = tensor.dtype.high if math.isinf(high) else min(tensor.dtype.high, quantized_bound(high, tensor))
    return int(least), int(most)


def activation_range(node: Node) -> tuple[int, int]:
    """The least and greatest integer of the result (CalculateActivationRangeQuantized in tflite/kernels/kernel_util.cc)."""
    return limits(node.result, *RANGES[fused_activation(node)])
