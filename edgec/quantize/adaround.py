"""AdaRound: whether each weight is rounded up or down is learnt, so that the layer's products stay what they were.

M. Nagel, R. A. Amjad, M. van Baalen, C. Louizos, T. Blankevoort: "Up or down? Adaptive rounding for post-training quantization",
arXiv:2004.10568. The share h of the way up is a rectified sigmoid of a free variable; h is pressed towards 0 and 1 by
1 - |2h - 1|^beta, beta falling from 20 to 2 after a fifth of the steps. The products' error is a quadratic form, so gradients are closed;
the optimiser is Adam (Kingma and Ba, arXiv:1412.6980). Coordinate descent between the same two neighbours polishes the result.

    codes = adaround(Reconstruction(w, second_moment(rows)), levels)
"""

from __future__ import annotations

import numpy as np

from edgec.quantize.reconstruction import Reconstruction, Uniform, descended

STEPS, RATE, PRESSURE = 400, 0.02, 0.02
STRETCH, OFFSET = 1.2, -0.1  # the sigmoid reaches beyond 0 and 1 and is clipped


def adaround(problem: Reconstruction, levels: Uniform) -> np.ndarray:
    """Codes [..., K, outputs], each one of the two next to the weight: never farther in products than rounding to nearest."""
    scale, zero = levels.of(slice(None))
    place = np.clip(problem.weights / scale + zero, levels.low, levels.high)
    low = np.minimum(np.floor(place), levels.high - 1)
    share = _learnt(problem, scale, zero, low, place - low)
    codes = (low + (share >= 0.5)).astype(np.int64)
    nearest = levels.codes(problem.weights)
    bounds = low.astype(np.int64), low.astype(np.int64) + 1
    return problem.best(levels, nearest, codes, *(descended(problem, levels, start, *bounds) for start in (codes, nearest)))


def _learnt(problem: Reconstruction, scale: np.ndarray, zero: np.ndarray, low: np.ndarray, share: np.ndarray) -> np.ndarray:
    """The shares of the way up [..., K, outputs] after STEPS of Adam, from where the weights are."""
    h = problem.moment / (float(np.mean(np.diagonal(problem.moment, axis1=-2, axis2=-1))) or 1.0)
    weight = scale / (float(np.mean(scale)) or 1.0)
    v = _free(np.clip(share, 0.01, 0.99))
    first, second = np.zeros_like(v), np.zeros_like(v)
    error = ((low - zero) - problem.weights / scale) * weight
    for step in range(1, STEPS + 1):
        sigmoid = 1 / (1 + np.exp(-v))
        up = np.clip(sigmoid * STRETCH + OFFSET, 0, 1)
        inside = (up > 0) & (up < 1)
        gradient = 2 * (h @ (error + up * weight)) * weight + _pressure(up, step)
        gradient = gradient * inside * STRETCH * sigmoid * (1 - sigmoid)
        first, second = 0.9 * first + 0.1 * gradient, 0.999 * second + 0.001 * gradient**2
        v -= RATE * (first / (1 - 0.9**step)) / (np.sqrt(second / (1 - 0.999**step)) + 1e-8)
    return np.clip(STRETCH / (1 + np.exp(-v)) + OFFSET, 0, 1)


def _free(share: np.ndarray) -> np.ndarray:
    """The variable whose rectified sigmoid is a share."""
    p = (share - OFFSET) / STRETCH
    return np.log(p / (1 - p))


def _pressure(up: np.ndarray, step: int) -> np.ndarray | float:
    """The gradient of PRESSURE * (1 - |2h - 1|^beta) by h."""
    warm = STEPS // 5
    if step <= warm:
        return 0.0
    beta = 2 + 18 * (1 - (step - warm) / (STEPS - warm))
    away = 2 * up - 1
    return -PRESSURE * 2 * beta * np.abs(away) ** (beta - 1) * np.sign(away)
