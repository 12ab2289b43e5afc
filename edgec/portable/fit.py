"""Where the coefficient tables of portable arithmetic come from: best polynomials for the largest weighted error on an interval.

Nothing in the compiler calls this; it documents and re-derives the tables of the other modules here. The method is Lawson's: weighted least
squares whose weights grow where the error is large, which converges to the polynomial that Remez' exchange finds (C. L. Lawson, 1961).
Coefficients are rounded to the target type one by one from the lowest power, each time fitting the rest anew, so that the later ones
make up for the rounding of the earlier ones.

    fit(np.exp, -0.35, 0.35, powers=range(7), relative_to=np.exp, fixed={0: 1.0, 1: 1.0})
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import numpy as np

Function = Callable[[np.ndarray], np.ndarray]


def fit(function: Function, low: float, high: float, powers: Iterable[int], relative_to: Function, fixed: Mapping[int, float] | None = None,
        dtype: type = np.float32, points: int = 1500) -> dict[int, float]:
    """{power: coefficient} of the polynomial closest to `function` on [low, high], the error measured in units of `relative_to(x)`.

    `fixed` coefficients stay as given; the others are rounded to `dtype`.
    """
    nodes = np.cos(np.pi * (np.arange(points) + 0.5) / points)
    x = (low + high) / 2 + (high - low) / 2 * nodes
    scale = 1 / np.abs(relative_to(x))
    known = dict(fixed or {})
    todo = [p for p in sorted(powers) if p not in known]
    while todo:
        target = function(x) - sum((c * x**p for p, c in known.items()), np.zeros_like(x))
        best = _lawson(np.stack([x**p for p in todo], axis=1) * scale[:, None], target * scale)
        known[todo[0]] = float(dtype(best[0]))
        todo = todo[1:]
    return dict(sorted(known.items()))


def _lawson(matrix: np.ndarray, target: np.ndarray, rounds: int = 120) -> np.ndarray:
    """The x with the least max|matrix @ x - target|."""
    size = np.max(np.abs(matrix), axis=0)
    weight, best, least = np.full(len(target), 1 / len(target)), None, np.inf
    for _ in range(rounds):
        root = np.sqrt(weight)[:, None]
        x = np.linalg.lstsq(matrix / size * root, target * root[:, 0], rcond=None)[0] / size
        error = np.abs(matrix @ x - target)
        if error.max() < least:
            best, least = x, error.max()
        weight = weight * (error + 1e-3 * error.max() + 1e-300)
        weight /= weight.sum()
    return best


def largest_error(function: Function, coefficients: Mapping[int, float], low: float, high: float, relative_to: Function) -> float:
    """max |polynomial - function| / |relative_to| on [low, high], the polynomial evaluated in float64."""
    x = np.linspace(low, high, 20000)[1:-1]
    return float(np.max(np.abs((sum(c * x**p for p, c in coefficients.items()) - function(x)) / relative_to(x))))
