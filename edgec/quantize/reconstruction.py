"""Rounding a matrix of weights so that its products stay what they were: the problem that GPTQ, AdaRound and coordinate descent solve.

A layer is y = x w. What rounding w to q changes of y, over calibration inputs X, is |X (q - w)|^2 = sum over columns of e^T H e with
H = X^T X: all a method needs of the data is H. A free bias takes up the mean of the inputs, so with one H is their covariance.

    problem = Reconstruction(w, second_moment(rows));  codes = gptq(problem, levels);  problem.error(levels.real(codes))

Matrices may have leading axes: the groups of a convolution are one problem, f64[groups, K, outputs].
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

SWEEPS = 20  # of coordinate descent, at most
DESCENT = 8 * 10**9  # multiply-adds that all sweeps over a layer may take
BLOCK = 32  # rows of coordinate descent whose steps reach all others in one matrix product
DAMPING = 0.1  # of the mean diagonal: directions that few samples do not show are not free; paired_moments chooses another by the samples


@dataclass(frozen=True, eq=False)
class Uniform:
    """Levels (code - zero) * scale for codes `low` to `high`; scale and zero f64[..., K or 1, outputs], the bounds for all or for each
    output f64[..., 1, outputs]."""

    scale: np.ndarray
    zero: np.ndarray
    low: int | np.ndarray
    high: int | np.ndarray

    def codes(self, values: np.ndarray, row: slice = slice(None)) -> np.ndarray:
        """The nearest code of each value; `row` says which rows of the matrix the values are."""
        scale, zero = self.of(row)
        return np.clip(np.rint(values / scale) + zero, self.low, self.high).astype(np.int64)

    def real(self, codes: np.ndarray, row: slice = slice(None)) -> np.ndarray:
        """The real numbers of codes."""
        scale, zero = self.of(row)
        return (codes - zero) * scale

    def of(self, row: slice) -> tuple[np.ndarray, np.ndarray]:
        """Scale and zero of some rows, or the one row that serves all."""
        return tuple(p[..., row, :] if p.shape[-2] > 1 else p for p in (self.scale, self.zero))

    def in_order(self, order: np.ndarray) -> Uniform:
        """The levels of the rows in another order, i64[..., K]."""
        return self if self.scale.shape[-2] == 1 else replace(self, scale=rows_in(self.scale, order), zero=rows_in(self.zero, order))

    def of_outputs(self, outputs: np.ndarray) -> Uniform:
        """The levels of some outputs."""
        some = {n: a[..., outputs] for n in ("scale", "zero", "low", "high") if isinstance(a := getattr(self, n), np.ndarray)}
        return replace(self, **some)


@dataclass(frozen=True, eq=False)
class Codebook:
    """Levels values[code] * scale, values ascending f64[n], scale f64[..., 1, outputs]."""

    values: np.ndarray
    scale: np.ndarray

    def codes(self, values: np.ndarray, row: slice = slice(None)) -> np.ndarray:
        """The nearest code of each value."""
        return np.searchsorted((self.values[1:] + self.values[:-1]) / 2, values / self.scale)

    def real(self, codes: np.ndarray, row: slice = slice(None)) -> np.ndarray:
        """The real numbers of codes."""
        return self.values[codes] * self.scale

    def in_order(self, order: np.ndarray) -> Codebook:
        """The same: no row has levels of its own."""
        return self

    def of_outputs(self, outputs: np.ndarray) -> Codebook:
        """The levels of some outputs."""
        return replace(self, scale=self.scale[..., outputs])


Levels = Uniform | Codebook


@dataclass(frozen=True, eq=False)
class Reconstruction:
    """Weights f64[..., K, outputs] and the second moment (or covariance) f64[..., K, K] of the inputs they meet; `damping` is the share of
    the moment's mean diagonal that is added to the diagonal."""

    weights: np.ndarray
    moment: np.ndarray
    damping: float = DAMPING

    def errors(self, real: np.ndarray) -> np.ndarray:
        """The mean square of what other weights change of each product, f64[..., outputs]."""
        e = real - self.weights
        return np.sum(e * (self.moment @ e), -2)

    def error(self, real: np.ndarray) -> float:
        """Their sum over the outputs."""
        return float(np.sum(self.errors(real)))

    @cached_property
    def damped(self) -> np.ndarray:
        """The moment with the damping on its diagonal: positive definite."""
        return self.moment + self.damping * unit(self.moment)

    def best(self, levels: Levels, *candidates: np.ndarray) -> np.ndarray:
        """For each output the codes that change its products least."""
        found, least = candidates[0], self.errors(levels.real(candidates[0]))
        for codes in candidates[1:]:
            errors = self.errors(levels.real(codes))
            found, least = np.where((errors < least)[..., None, :], codes, found), np.minimum(errors, least)
        return found


def unit(moment: np.ndarray) -> np.ndarray:
    """The mean of the diagonal f64[..., K, K] on the diagonal (1 where it is 0)."""
    mean = np.mean(np.diagonal(moment, axis1=-2, axis2=-1), -1)
    return np.where(mean > 0, mean, 1.0)[..., None, None] * np.eye(moment.shape[-1])


def rows_in(matrix: np.ndarray, order: np.ndarray) -> np.ndarray:
    """The rows of f64[..., K, outputs] in the order i64[..., K]."""
    return np.take_along_axis(matrix, order[..., None], -2)


def second_moment(rows: np.ndarray, centred: bool = False) -> np.ndarray:
    """X^T X / n of rows [n, K] in f64, of their differences from the mean row when `centred`."""
    x = np.asarray(rows, np.float64)
    x = x - x.mean(0) if centred and len(x) else x
    return x.T @ x / max(1, len(x))


def descended(problem: Reconstruction, levels: Levels, codes: np.ndarray, low: np.ndarray | None = None,
              high: np.ndarray | None = None) -> np.ndarray:
    """Codes improved by coordinate descent: row after row takes the level that is best with all others fixed, until none changes.

    `low` and `high` bound each code. The error never grows: in one row it is a parabola, of which the nearest level is the least.
    """
    codes, e = codes.copy(), levels.real(codes) - problem.weights
    slope, outputs = problem.damped @ e, np.arange(e.shape[-1])
    sweeps = max(1, min(SWEEPS, DESCENT // max(1, e.size * e.shape[-2])))
    at = (..., outputs)
    for _ in range(sweeps):
        bounds = None if low is None else (low[at], high[at])
        found = codes[at]
        moved = _swept(problem.damped, problem.weights[at], levels.of_outputs(outputs), found, e, slope, bounds)
        codes[at] = found
        left = np.flatnonzero(moved)  # an output in which nothing moved stays as it is
        if not len(left):
            break
        if len(left) < len(outputs):
            e, slope, outputs = e[..., left], slope[..., left], outputs[left]
            at = (..., outputs)
    return codes


def _swept(h: np.ndarray, weights: np.ndarray, levels: Levels, codes: np.ndarray, e: np.ndarray, slope: np.ndarray,
           bounds: tuple[np.ndarray, np.ndarray] | None) -> np.ndarray:
    """Every row once; codes, errors e and slope = h e change in place. Which outputs something moved in, bool[outputs]."""
    moved = np.zeros(e.shape[-1], bool)
    for first in range(0, e.shape[-2], BLOCK):
        block = slice(first, min(first + BLOCK, e.shape[-2]))
        near, steps = slope[..., block, :].copy(), np.zeros_like(e[..., block, :])
        for n, k in enumerate(range(first, block.stop)):
            row = slice(k, k + 1)
            at = (..., row, slice(None))
            found = levels.codes(weights[at] + e[at] - near[..., n:n + 1, :] / h[..., row, row], row)
            found = found if bounds is None else np.clip(found, bounds[0][at], bounds[1][at])
            other = found != codes[at]
            if other.any():
                step = levels.real(found, row) - levels.real(codes[at], row)
                codes[at], steps[..., n:n + 1, :] = found, step
                e[at] += step
                near += h[..., block, row] * step
                moved |= other.reshape(-1, len(moved)).any(0)
        if steps.any():
            slope += h[..., :, block] @ steps
            slope[..., block, :] = near
    return moved
