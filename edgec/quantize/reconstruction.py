"""Rounding a matrix of weights so that its products stay what they were: the problem that GPTQ, AdaRound and coordinate descent solve.

A layer is y = x w. What rounding w to q changes of y, over calibration inputs X, is |X (q - w)|^2 = sum over columns of e^T H e with
H = X^T X: all a method needs of the data is H. A free bias takes up the mean of the inputs, so with one H is their covariance.

    problem = Reconstruction(w, second_moment(rows));  codes = gptq(problem, levels);  problem.error(levels.real(codes))
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

SWEEPS = 20
DAMPING = 0.1  # of the mean diagonal: directions that few samples do not show are not free (with 0.01, 28 pictures are learnt by heart)


@dataclass(frozen=True, eq=False)
class Uniform:
    """Levels (code - zero) * scale for codes `low` to `high`; scale and zero f64[K or 1, outputs]."""

    scale: np.ndarray
    zero: np.ndarray
    low: int
    high: int

    def codes(self, values: np.ndarray, row: slice = slice(None)) -> np.ndarray:
        """The nearest code of each value; `row` says which rows of the matrix the values are."""
        scale, zero = self.of(row, values.shape)
        return np.clip(np.rint(values / scale) + zero, self.low, self.high).astype(np.int64)

    def real(self, codes: np.ndarray, row: slice = slice(None)) -> np.ndarray:
        """The real numbers of codes."""
        scale, zero = self.of(row, codes.shape)
        return (codes - zero) * scale

    def of(self, row: slice, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
        """Scale and zero of some rows."""
        return tuple(np.broadcast_to(p[row] if len(p) > 1 else p, shape) for p in (self.scale, self.zero))


@dataclass(frozen=True, eq=False)
class Codebook:
    """Levels values[code] * scale, values ascending f64[n], scale f64[1, outputs]."""

    values: np.ndarray
    scale: np.ndarray

    def codes(self, values: np.ndarray, row: slice = slice(None)) -> np.ndarray:
        """The nearest code of each value."""
        return np.searchsorted((self.values[1:] + self.values[:-1]) / 2, values / self.scale)

    def real(self, codes: np.ndarray, row: slice = slice(None)) -> np.ndarray:
        """The real numbers of codes."""
        return self.values[codes] * self.scale


Levels = Uniform | Codebook


@dataclass(frozen=True, eq=False)
class Reconstruction:
    """Weights f64[K, outputs] and the second moment (or covariance) f64[K, K] of the inputs they meet."""

    weights: np.ndarray
    moment: np.ndarray

    def error(self, real: np.ndarray) -> float:
        """The mean square of what other weights change of the products, summed over outputs."""
        e = real - self.weights
        return float(np.sum(e * (self.moment @ e)))

    @property
    def damped(self) -> np.ndarray:
        """The moment with DAMPING of its mean diagonal added to the diagonal: positive definite."""
        mean = float(np.mean(np.diag(self.moment))) or 1.0
        return self.moment + DAMPING * mean * np.eye(len(self.moment))

    def best(self, levels: Levels, *candidates: np.ndarray) -> np.ndarray:
        """The codes that change the products least."""
        return min(candidates, key=lambda codes: self.error(levels.real(codes)))


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
    codes, h = codes.copy(), problem.damped
    e = levels.real(codes) - problem.weights
    slope = h @ e
    for _ in range(SWEEPS):
        changed = False
        for k in range(len(h)):
            row = slice(k, k + 1)
            found = levels.codes(problem.weights[row] + e[row] - slope[row] / h[k, k], row)
            found = found if low is None else np.clip(found, low[row], high[row])
            if np.any(found != codes[row]):
                changed = True
                step = levels.real(found, row) - levels.real(codes[row], row)
                codes[row] = found
                e[row] += step
                slope += h[:, row] * step
        if not changed:
            break
    return codes
