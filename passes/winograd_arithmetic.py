"""What a convolution in Winograd form computes with: the matrices and types of F(m, r), for floats and, exactly, for integers.

Floats take the matrices as they are. Operands that lie in memory as f16 are transformed in f32, or, where the matrices amplify rounding
errors little, in f16; products are added up in f32 (in blocks of f16 first, where the machine does so, halves.py). For integers their
fractions are cleared: at integer points row i of G times a whole number s[i] is whole, and so is A^T with its columns times S / s[i], S
being the least common multiple; what comes out is S^2 y. Inputs and weights so transformed are integers of 16 bits, their products are
added up modulo 2^32, and since S^2 = odd * 2^e, where odd has an inverse there,

    y = (S^2 y * odd^-1 mod 2^32) >> e        exact while |y| < 2^(31 - e): e is 2 for F(2,3) and F(3,3), 6 for F(4,3)

which the weights prove, as they prove that 16 bits suffice. So the result is the convolution's own, bit for bit.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import lcm

import numpy as np

from edgec.evaluate import evaluate
from edgec.expr import Expr, as_expr, binary, const
from edgec.passes.winograd_convolution import Convolution
from edgec.passes.winograd_matrices import POINTS, Matrix, amplification, matrices
from edgec.types import DType, f16, f32, i16, i32

AMPLIFIED = 8.0  # the most that matrices may amplify the errors of f16: F(2,3) has 7.1
LARGEST = 65504.0  # of the finite numbers of f16


@dataclass(frozen=True, eq=False)
class Arithmetic:
    """`scale` y = A^T ((G w G^T) * (B^T d B)) A: `factor` is the type of the transformed operands, `sums` that of their products' sums."""

    at: Matrix
    g: Matrix
    bt: Matrix
    factor: DType
    sums: DType
    scale: int

    def result(self, total: Expr) -> Expr:
        """y, when A^T M A gave `total`."""
        if self.scale == 1:
            return total
        power = _power_of_two(self.scale)
        return binary("shr", total * const(pow(self.scale >> power, -1, 1 << 32), i32), as_expr(power, i32))


def arithmetic(c: Convolution, m: int, half: bool = False) -> Arithmetic | None:
    """That of F(m, r) for a convolution; None where 16 bits, or 32 for the sums, might not hold its integers.

    With `half` its transformed operands are f16: None where they are not to begin with, where too much would be lost, and where a
    transformed weight is too large.
    """
    if half:
        return _half(c, m)
    if not c.is_integer:
        return Arithmetic(*matrices(m, c.size), f32, f32, 1)
    return _whole(c, m) if m in POINTS and all(Fraction(p).denominator == 1 for p in POINTS[m]) else None


def weights_of(c: Convolution) -> np.ndarray:
    """The weights as [p, q, channel, out], as floats or integers of 64 bits."""
    p, q, k, o = np.ogrid[:c.size, :c.size, :c.channel[1], :c.out.extent]
    positions = evaluate(c.weight.data.flat(c.weight.args), {c.taps[0]: p, c.taps[1]: q, c.channel[0]: k, c.out.var: o}, None)
    found = c.weight.data.root.data.ravel()[np.broadcast_to(positions, (c.size, c.size, c.channel[1], c.out.extent))]
    return found.astype(np.int64 if c.is_integer else np.float64)


def transformed(w: np.ndarray, g: Matrix) -> np.ndarray:
    """U[f, c, o] = G w G^T, f = alpha * row + column, in the type of w."""
    rows = np.array(g, dtype=w.dtype)
    return np.ascontiguousarray(np.einsum("ip,jq,pqko->ijko", rows, rows, w).reshape(len(g) ** 2, *w.shape[2:]))


def _half(c: Convolution, m: int) -> Arithmetic | None:
    found = Arithmetic(*matrices(m, c.size), f16, f32, 1)
    accurate = c.is_half and amplification(m, c.size) <= AMPLIFIED
    return found if accurate and np.abs(transformed(weights_of(c), found.g)).max(initial=0) <= LARGEST else None


def _whole(c: Convolution, m: int) -> Arithmetic | None:
    at, g, bt = matrices(m, c.size)
    clear = [lcm(*(x.denominator for x in row)) for row in g]
    common = lcm(*clear)
    g = tuple(tuple(x * s for x in row) for row, s in zip(g, clear))
    at = tuple(tuple(x * (common // s) for x, s in zip(row, clear)) for row in at)
    found, w = Arithmetic(at, g, bt, i16, i32, common ** 2), weights_of(c)
    low, high = min(c.data.dtype.low, 0), max(c.data.dtype.high, 0)
    largest = np.maximum(np.maximum(w, 0).sum((0, 1, 2)) * high - np.minimum(w, 0).sum((0, 1, 2)) * low,
                         np.maximum(w, 0).sum((0, 1, 2)) * -low - np.minimum(w, 0).sum((0, 1, 2)) * high).max(initial=0)
    holds = largest < 1 << 31 - _power_of_two(found.scale) and np.abs(transformed(w, g)).max(initial=0) <= i16.high
    return found if holds and _largest_input(bt, low, high) <= i16.high else None


def _largest_input(bt: Matrix, low: int, high: int) -> int:
    """The largest magnitude of B^T d B, and of every partial sum on the way, for inputs between low <= 0 and high >= 0."""
    rows = np.abs(np.array(bt, dtype=np.int64)).sum(1)
    return int(rows.max() ** 2 * max(-low, high))


def _power_of_two(n: int) -> int:
    """How often 2 divides n."""
    return (n & -n).bit_length() - 1
