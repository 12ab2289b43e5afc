"""How close a quantized network is to the float one: signal to noise, and the same decisions.

SQNR in dB is 10 log10(sum y^2 / sum (y - q)^2) over all f32 outputs and samples together, y the float network's; agreement is the share of
samples whose largest element of the first output is the same.

    sqnr(exact, ours), agreement(exact, ours), drop(exact, ours, labels)
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

Outputs = Sequence[Sequence[np.ndarray]]  # of every sample, every output


def power(outputs: Outputs) -> float:
    """The sum of squares of all f32 elements."""
    return sum(float(np.square(a, dtype=np.float64).sum()) for row in outputs for a in row if a.dtype.kind == "f")


def noise(exact: Outputs, ours: Outputs) -> float:
    """The sum of squared differences."""
    return sum(float(np.square(a.astype(np.float64) - b).sum()) for x, y in zip(exact, ours) for a, b in zip(x, y) if a.dtype.kind == "f")


def decibels(signal: float, lost: float) -> float:
    """10 log10(signal / lost); infinite where nothing is lost."""
    return 10 * math.log10(max(signal, 1e-300) / lost) if lost > 0 else math.inf


def sqnr(exact: Outputs, ours: Outputs) -> float:
    """Signal to quantization noise in dB."""
    return decibels(power(exact), noise(exact, ours))


def least_sqnr(exact: Outputs, ours: Outputs) -> float:
    """That of the output with least, in dB."""
    ends = [n for n, a in enumerate(exact[0]) if a.dtype.kind == "f"]
    return min((sqnr([[row[n]] for row in exact], [[row[n]] for row in ours]) for n in ends), default=math.inf)


def classes(outputs: Outputs) -> np.ndarray:
    """The class of every sample: the place of the largest element of its first output."""
    return np.array([np.argmax(row[0]) for row in outputs])


def agreement(exact: Outputs, ours: Outputs) -> float:
    """Share of samples with the same class, 0 to 1."""
    return float(np.mean(classes(exact) == classes(ours)))


def drop(exact: Outputs, ours: Outputs, labels: np.ndarray | None) -> float:
    """Accuracy lost, 0 to 1; without labels the share of samples whose class changes."""
    if labels is None:
        return 1 - agreement(exact, ours)
    return float(np.mean(classes(exact) == labels) - np.mean(classes(ours) == labels))
