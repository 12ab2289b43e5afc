"""The three matrices of F(m, r), exact: a correlation of m + r - 1 inputs with r weights to m outputs in m + r - 1 products.

    y = A^T ((G w) * (B^T d))

They follow from Toom-Cook interpolation at the points below and infinity (S. Winograd, Arithmetic Complexity of Computations, 1980).
Points of small numerator and denominator keep the matrices' elements, and with them the rounding errors, small.
"""

from __future__ import annotations

from fractions import Fraction
from functools import cache
from math import prod

import numpy as np

POINTS = {2: (0, 1, -1), 3: (0, 1, -1, 2), 4: (0, 1, -1, 2, -2), 5: (0, 1, -1, 2, -2, Fraction(-1, 2)),
          6: (0, 1, -1, 2, -2, Fraction(1, 2), Fraction(-1, 2))}

Matrix = tuple[tuple[Fraction, ...], ...]


@cache
def matrices(m: int, r: int) -> tuple[Matrix, Matrix, Matrix]:
    """(A^T, G, B^T) of F(m, r) by Toom-Cook interpolation at POINTS[m] and infinity, exact. Every convolution asks, so they are kept."""
    points = [Fraction(p) for p in POINTS[m]]
    alpha = m + r - 1
    norms = [prod((p - q for q in points if q != p), start=Fraction(1)) for p in points]
    at = [[*(p ** k for p in points), Fraction(k == m - 1)] for k in range(m)]
    g = [[p ** k / n for k in range(r)] for p, n in zip(points, norms)] + [[Fraction(k == r - 1) for k in range(r)]]
    bt = [_expand([q for q in points if q != p], alpha) for p in points] + [_expand(points, alpha)]
    return _frozen(at), _frozen(g), _frozen(bt)


def _frozen(rows: list[list[Fraction]]) -> Matrix:
    return tuple(map(tuple, rows))


def _expand(roots: list[Fraction], length: int) -> list[Fraction]:
    """Coefficients of the product of (x - root), lowest first, padded with zeros."""
    found = [Fraction(1)]
    for root in roots:
        found = [(found[k - 1] if k else 0) - root * (found[k] if k < len(found) else 0) for k in range(len(found) + 1)]
    return [Fraction(x) for x in found] + [Fraction(0)] * (length - len(found))


def amplification(m: int, r: int = 3) -> float:
    """How much larger the products that F(m, r) adds up may be than those of the convolution itself, for data of equal size: the largest
    element of |A^T| ((|G| 1 |G^T|) * (|B^T| 1 |B|)) |A| / r^2, absolute values element by element, 1 the matrix of ones."""
    at, g, bt = (np.abs(np.array(each, dtype=np.float64)) for each in matrices(m, r))
    products = (g @ np.ones((r, r)) @ g.T) * (bt @ np.ones((m + r - 1, m + r - 1)) @ bt.T)
    return float((at @ products @ at.T).max()) / r ** 2


def error_bound(m: int, channels: int, largest_x: float, largest_w: float, r: int = 3) -> float:
    """A bound on |computed - exact| of every output of F(m, r) in f32, before what follows the sum: first-order error analysis (N. Higham,
    Accuracy and Stability of Numerical Algorithms, 2002, section 3.1). Each product passes channels additions, 2 a roundings in B^T d B and
    as many in A^T M A with a = m + r - 1, and one in U; the rest of the factor is for the higher orders."""
    roundings = channels + 4 * (m + r - 1) + 8
    return roundings * 2.0 ** -24 * amplification(m, r) * r ** 2 * channels * largest_x * largest_w


def half_error_bound(channels: int, largest_x: float, largest_w: float, in_blocks: bool, r: int = 3) -> float:
    """A bound on |computed - exact| of every output of F(2, r) with transformed operands of f16, x and w being f16 to begin with.

    A product has three roundings of f16 more than in f32, two in B^T d B and one in U, with `in_blocks` up to 32 in a sum of f16 besides;
    what becomes smaller than f16's normal numbers is off by half of the smallest number at most, once in U and once a step of a block.
    """
    at = np.abs(np.array(matrices(2, r)[0], dtype=np.float64)).sum(1).max() ** 2
    products = amplification(2, r) * r ** 2 * channels * largest_x * largest_w
    small = 2.0 ** -25 * at * channels * (4 * largest_x + in_blocks)
    return error_bound(2, channels, largest_x, largest_w, r) + (4 * 2.0 ** -11 + in_blocks / 63) * products + small
