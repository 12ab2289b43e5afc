"""GPTQ: weights are rounded row by row, and what a row's rounding breaks the rows after it mend.

E. Frantar, S. Ashkboos, T. Hoefler, D. Alistarh: "GPTQ: accurate post-training quantization for generative pre-trained transformers",
arXiv:2210.17323. Rows with the largest inputs come first (its "act-order"); H is damped as the problem says. What comes out is polished
by coordinate descent, which can only lower the error.

    codes = gptq(Reconstruction(w, second_moment(rows)), levels)
"""

from __future__ import annotations

import numpy as np

from edgec.quantize.reconstruction import Levels, Reconstruction, descended, rows_in

BLOCK = 32  # rows whose errors reach those after them in one matrix product


def gptq(problem: Reconstruction, levels: Levels, polish: bool = True) -> np.ndarray:
    """Codes [..., K, outputs] whose products are near those of the weights: never farther than by rounding to nearest."""
    order = np.argsort(-np.diagonal(problem.moment, axis1=-2, axis2=-1), -1, kind="stable")
    h = np.take_along_axis(rows_in(problem.damped, order), order[..., None, :], -1)
    codes = _in_turn(rows_in(problem.weights, order), levels.in_order(order), _unlike(h))
    found, nearest = rows_in(codes, np.argsort(order, -1)), levels.codes(problem.weights)
    if not polish:
        return problem.best(levels, nearest, found)
    return problem.best(levels, nearest, *(descended(problem, levels, start) for start in (found, nearest)))


def _unlike(h: np.ndarray) -> np.ndarray:
    """The unit lower triangle m with e^T h e = sum over k of d_k (e_k + sum over j < k of m_kj e_j)^2: what row k makes good of errors
    e_j is what all rows from k on would. (With h = u u^T, u upper: m_kj = u_jk / u_kk. The paper takes the same from the inverse of h.)"""
    upper = np.linalg.cholesky(h[..., ::-1, ::-1])[..., ::-1, ::-1]
    return np.ascontiguousarray(np.swapaxes(upper, -1, -2)) / np.diagonal(upper, axis1=-2, axis2=-1)[..., None]


def _in_turn(weights: np.ndarray, levels: Levels, m: np.ndarray) -> np.ndarray:
    """Codes of rows that are rounded one after the other, each with what those before it broke."""
    codes, error = np.zeros(weights.shape, np.int64), np.zeros(weights.shape)
    for first in range(0, weights.shape[-2], BLOCK):
        block = slice(first, min(first + BLOCK, weights.shape[-2]))
        wanted = weights[..., block, :] - m[..., block, :first] @ error[..., :first, :]
        for k in range(first, block.stop):
            row, n = slice(k, k + 1), k - first
            value = wanted[..., n:n + 1, :] - m[..., row, first:k] @ error[..., first:k, :]
            codes[..., row, :] = levels.codes(value, row)
            error[..., row, :] = levels.real(codes[..., row, :], row) - weights[..., row, :]
    return codes
