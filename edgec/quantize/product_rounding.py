"""The weights of one product rounded for what its inputs are: levels, damping and codes.

    found = solved(conv, Method(bits=4, rounding="gptq"), matrices_of(conv, [w]), halves);  found.real      # f64[groups, K, outputs]
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from edgec.graph import Op
from edgec.ops.convolution import Conv
from edgec.quantize.codebook import codebook, largest
from edgec.quantize.gptq import gptq
from edgec.quantize.paired_moments import PairedMoments, chosen_damping
from edgec.quantize.product_rows import RECURRENT
from edgec.quantize.reconstruction import Codebook, Levels, Reconstruction, Uniform
from edgec.quantize.weight_levels import Method, rounded, uniform_levels


@dataclass(frozen=True, eq=False)
class Solved:
    """Weights of a product as codes i64[groups, K, outputs] of levels; by data also the damping with which they were found, and the error
    of each output f64[groups, outputs] relative to what rounding to nearest gives all together."""

    levels: Levels
    codes: np.ndarray
    damping: float | None = None
    errors: np.ndarray | None = None

    @property
    def real(self) -> np.ndarray:
        """f64[groups, K, outputs]"""
        return self.levels.real(self.codes)


def solved(op: Op, method: Method, w: np.ndarray, halves: Sequence[PairedMoments], damping: float | None = None,
           wide: np.ndarray | None = None) -> Solved:
    """The weights of a product rounded for what its inputs are; `damping` is one that was chosen before for the same layer, `wide`
    bool[groups, outputs] says which outputs have 8 bits instead of the method's."""
    if not halves or method.rounding == "nearest":
        moment = sum(halves[1:], halves[0]).moment if halves else None
        levels = product_levels(op, method, w, moment)
        return Solved(levels, levels.codes(w))

    def quickly(problem: Reconstruction) -> np.ndarray:
        levels = product_levels(op, method, problem.weights, problem.moment)
        return levels.real(gptq(problem, levels, polish=False))
    problem = sum(halves[1:], halves[0]).problem(w, damping or chosen_damping(halves, w, quickly))
    start = product_levels(op, method, problem.weights, problem.moment)
    if wide is not None:
        start = widened(start, product_levels(op, replace(method, bits=8), problem.weights, problem.moment), wide)
    levels, codes = rounded(method, start, problem)
    nearest = max(problem.error(start.real(start.codes(problem.weights))), 1e-300)
    return Solved(levels, codes, problem.damping, problem.errors(levels.real(codes)) / nearest)


def widened(levels: Uniform, other: Uniform, wide: np.ndarray) -> Uniform:
    """The levels of all outputs, those where `wide` bool[groups, outputs] from others; each output has one scale."""
    at = wide[:, None, :]
    return Uniform(*(np.where(at, getattr(other, n), getattr(levels, n)) for n in ("scale", "zero", "low", "high")))


def product_levels(op: Op, method: Method, w: np.ndarray, moment: np.ndarray | None) -> Levels:
    """Levels of all groups, f64[groups, K or 1, outputs]; of a recurrent cell, inputs and states have scales apart."""
    importance = None if moment is None else np.diagonal(moment, axis1=-2, axis2=-1)
    if method.values or not isinstance(op, RECURRENT):
        taps = int(np.prod(op.operands[1].shape[2:])) if isinstance(op, Conv) else 1
        return levels_of(method, w, importance, taps)
    ends = [0, op.operands[1].shape[2], w.shape[1]]
    parts = [levels_of(method, w[:, a:b], None if importance is None else importance[:, a:b]) for a, b in itertools.pairwise(ends)]
    scale = np.concatenate([np.broadcast_to(p.scale, (len(w), b - a, w.shape[2])) for p, a, b in zip(parts, ends, ends[1:])], 1)
    return replace(parts[0], scale=scale, zero=np.zeros_like(scale))


def levels_of(method: Method, w: np.ndarray, importance: np.ndarray | None = None, taps: int = 1) -> Levels:
    """Levels for weights f64[..., K, outputs]; K counts `taps` places of each input channel, and blocks lie along the channels."""
    if method.values:
        weigh = np.ones(w.shape) if importance is None else np.broadcast_to(importance[..., None], w.shape)
        flat = [a if a.ndim == 2 else a.transpose(1, 0, 2).reshape(a.shape[1], -1) for a in (w, weigh)]
        return Codebook(codebook(flat[0], method.values, flat[1]).values, largest(w))
    if taps == 1 or not 0 < method.block * taps < w.shape[-2]:
        return uniform_levels(w, method.bits, importance, method.block if taps == 1 else 0, method.power_of_two)
    turned = w.reshape(len(w), -1, taps * w.shape[-1])
    found = uniform_levels(turned, method.bits, None, method.block, method.power_of_two)
    return replace(found, **{n: np.broadcast_to(getattr(found, n), turned.shape).reshape(w.shape) for n in ("scale", "zero")})
