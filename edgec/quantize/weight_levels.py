"""The levels that weights are rounded to, and rounding them by a method: matrices [groups, K, outputs], see product_rows.

    levels = uniform_levels(matrix, 4, importance);  levels, codes = rounded(method, levels, problem)
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from edgec.quantize.adaround import adaround
from edgec.quantize.gptq import gptq
from edgec.quantize.reconstruction import Levels, Reconstruction, Uniform, descended

SHRINKS = np.linspace(0.4, 1.1, 36)  # of the scale that just covers all weights of a channel


@dataclass(frozen=True)
class Method:
    """What weights become: integers of `bits`, or one of `values` of a codebook; rounded how, with how many inputs to a scale."""

    bits: int = 8
    values: int = 0
    block: int = 0
    rounding: str = "nearest"
    power_of_two: bool = False

    @property
    def stored_bits(self) -> int:
        """Bits of a weight in compiled code."""
        return (self.values - 1).bit_length() if self.values else self.bits


def rounded(method: Method, levels: Levels, problem: Reconstruction) -> tuple[Levels, np.ndarray]:
    """Levels for the weights of a problem, refitted where each output has one scale, and the code of each weight."""
    codes = adaround(problem, levels) if method.rounding == "adaround" else gptq(problem, levels)
    if not isinstance(levels, Uniform) or method.power_of_two or levels.scale.shape[-2] > 1:
        return levels, codes
    return refitted(problem, levels, codes)


def refitted(problem: Reconstruction, levels: Uniform, codes: np.ndarray) -> tuple[Uniform, np.ndarray]:
    """Scales that fit the codes best (least squares, output by output), and codes that fit those; kept while the error falls."""
    for _ in range(3):
        steps = codes - levels.zero
        bent = problem.damped @ steps
        size = np.sum(bent * steps, -2, keepdims=True)
        scale = np.where(size > 0, np.sum(bent * problem.weights, -2, keepdims=True) / np.where(size > 0, size, 1), levels.scale)
        other = replace(levels, scale=np.where(scale > 0, scale, levels.scale))
        found = descended(problem, other, codes)
        if problem.error(other.real(found)) >= problem.error(levels.real(codes)):
            break
        levels, codes = other, found
    return levels, codes


def uniform_levels(matrix: np.ndarray, bits: int, importance: np.ndarray | None = None, block: int = 0,
                   power_of_two: bool = False) -> Uniform:
    """Scales for weights f64[..., K, outputs] with the least square error of rounding to nearest, weighted by `importance` f64[..., K],
    among SHRINKS of the full range; one a block of K. The scale of all of K together is f64[..., 1, outputs]."""
    rows, lead = matrix.shape[-2], matrix.shape[:-2]
    size = block if block and block < rows else rows
    padded = np.zeros((*lead, -(-rows // size) * size, matrix.shape[-1]))
    padded[..., :rows, :] = matrix
    parts = padded.reshape(*lead, -1, size, matrix.shape[-1])
    weigh = np.zeros((*lead, padded.shape[-2]))
    weigh[..., :rows] = 1.0 if importance is None else importance + 1e-12 * (importance.max(initial=0.0) or 1.0)
    weigh = weigh.reshape(*lead, -1, 1, size)
    low, high = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    full = np.abs(parts).max(-2, initial=0.0, keepdims=True) / (high + 0.5)
    full = np.where(full > 0, full, 1.0)
    best, least, off = full, np.full(full.shape, np.inf), np.empty_like(parts)
    for shrink in SHRINKS if bits < 8 or power_of_two else (1.0,):
        scale = (full * shrink).astype(np.float32).astype(np.float64)
        scale = 2.0 ** np.round(np.log2(scale)) if power_of_two else scale
        np.rint(np.divide(parts, scale, out=off), out=off)
        np.subtract(np.multiply(np.clip(off, low, high, out=off), scale, out=off), parts, out=off)
        error = np.matmul(weigh, np.multiply(off, off, out=off))
        best, least = np.where(error < least, scale, best), np.minimum(error, least)
    best = best[..., 0, :]
    spread = best if size == rows else np.repeat(best, size, -2)[..., :rows, :]
    return Uniform(spread, np.zeros_like(spread), low, high)
