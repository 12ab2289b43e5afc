"""GPTQ: weights are rounded row by row, and what a row's rounding breaks the rows after it mend.

E. Frantar, S. Ashkboos, T. Hoefler, D. Alistarh: "GPTQ: accurate post-training quantization for generative pre-trained transformers",
arXiv:2210.17323. Rows with the largest inputs come first (its "act-order"); H gets 10 % of its mean diagonal. What comes out is polished by
coordinate descent, which can only lower the error.

    codes = gptq(Reconstruction(w, second_moment(rows)), levels)
"""

from __future__ import annotations

import numpy as np

from edgec.quantize.reconstruction import Levels, Reconstruction, descended


def gptq(problem: Reconstruction, levels: Levels) -> np.ndarray:
    """Codes [K, outputs] whose products are near those of the weights: never farther than by rounding to nearest."""
    order = np.argsort(-np.diag(problem.moment), kind="stable")
    h = problem.damped[np.ix_(order, order)]
    upper = np.linalg.cholesky(np.linalg.inv(h)).T
    left = problem.weights[order].copy()
    codes = np.zeros(left.shape, np.int64)
    for k in range(len(order)):
        row = slice(int(order[k]), int(order[k]) + 1)
        found = levels.codes(left[k:k + 1], row)
        codes[row] = found
        error = (left[k:k + 1] - levels.real(found, row)) / upper[k, k]
        left[k + 1:] -= upper[k, k + 1:, None] * error
    nearest = levels.codes(problem.weights)
    return problem.best(levels, nearest, *(descended(problem, levels, start) for start in (codes, nearest)))
