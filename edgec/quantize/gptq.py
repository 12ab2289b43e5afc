"""GPTQ: weights are rounded row by row, and what a row's rounding breaks the rows after it mend.

E. Frantar, S. Ashkboos, T. Hoefler, D. Alistarh: "GPTQ: accurate post-training quantization for generative pre-trained transformers",
arXiv:2210.17323. Rows with the largest inputs come first (its "act-order"); H is damped as the problem says. What comes out is polished
by coordinate descent, which can only lower the error.

    codes = gptq(Reconstruction(w, second_moment(rows)), levels)
"""

from __future__ import annotations

import numpy as np

from edgec.quantize.reconstruction import Levels, Reconstruction, descended, rows_in


def gptq(problem: Reconstruction, levels: Levels, polish: bool = True) -> np.ndarray:
    """Codes [..., K, outputs] whose products are near those of the weights: never farther than by rounding to nearest."""
    order = np.argsort(-np.diagonal(problem.moment, axis1=-2, axis2=-1), -1, kind="stable")
    back = np.argsort(order, -1)
    h = np.take_along_axis(rows_in(problem.damped, order), order[..., None, :], -1)
    upper = np.swapaxes(np.linalg.cholesky(np.linalg.inv(h)), -1, -2)
    left, steps = rows_in(problem.weights, order), levels.in_order(order)
    codes = np.zeros(left.shape, np.int64)
    for k in range(left.shape[-2]):
        row, rest = slice(k, k + 1), slice(k + 1, None)
        codes[..., row, :] = steps.codes(left[..., row, :], row)
        error = (left[..., row, :] - steps.real(codes[..., row, :], row)) / upper[..., row, row]
        left[..., rest, :] -= np.swapaxes(upper[..., row, rest], -1, -2) * error
    found, nearest = rows_in(codes, back), levels.codes(problem.weights)
    if not polish:
        return problem.best(levels, nearest, found)
    return problem.best(levels, nearest, *(descended(problem, levels, start) for start in (found, nearest)))
