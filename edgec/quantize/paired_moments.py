"""What rounding a layer for the inputs it will really meet needs of the data: moments of those inputs, and with the float network's.

With x the inputs of the network under way and t those of the float one, rounded weights q are to make x q near t w. With
H = mean x x^T and C = mean x t^T (of differences from the means where a bias takes those up) that is |x (q - v)|^2 for v = H^-1 C w:
weights v, which mend what was broken before, are rounded in place of w. How far H can be trusted, which is of few samples, is found on the
samples themselves: half of them give weights, the other half says which damping does best, and the other way round.

    pair = PairedMoments();  pair.see(x_rows, t_rows) ...;  pair.problem(w, damping)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgec.quantize.reconstruction import DAMPING, Reconstruction, unit

DAMPINGS = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
LEAST = 4  # samples, fewer are not divided


@dataclass(eq=False)
class PairedMoments:
    """Sums over rows [n, groups, K] of the network under way and of the float one; `centred` takes differences from the means."""

    centred: bool = False
    count: int = 0
    near: Any = 0.0
    exact: Any = 0.0
    square: Any = 0.0
    cross: Any = 0.0

    def see(self, near: np.ndarray, exact: np.ndarray) -> None:
        """Take in more rows."""
        x, t = (np.ascontiguousarray(rows.swapaxes(0, 1), np.float64) for rows in (near, exact))
        turned = x.swapaxes(1, 2)
        square = turned @ x
        self.count += x.shape[1]
        self.near, self.exact = self.near + x.sum(1), self.exact + t.sum(1)
        self.square, self.cross = self.square + square, self.cross + (square if near is exact else turned @ t)

    def __add__(self, other: PairedMoments) -> PairedMoments:
        return PairedMoments(self.centred, *(a + b for a, b in zip(self._sums, other._sums)))

    @property
    def _sums(self) -> tuple[Any, ...]:
        return self.count, self.near, self.exact, self.square, self.cross

    @property
    def means(self) -> tuple[np.ndarray, np.ndarray]:
        """The mean rows f64[groups, K] of the network under way and of the float one."""
        return self.near / self.count, self.exact / self.count

    @property
    def moment(self) -> np.ndarray:
        """f64[groups, K, K]: of the network under way with itself."""
        x, _ = self.means
        return self.square / self.count - (x[:, :, None] * x[:, None, :] if self.centred else 0.0)

    @property
    def crossed(self) -> np.ndarray:
        """f64[groups, K, K]: of the network under way with the float one."""
        x, t = self.means
        return self.cross / self.count - (x[:, :, None] * t[:, None, :] if self.centred else 0.0)

    def problem(self, weights: np.ndarray, damping: float = DAMPING) -> Reconstruction:
        """What is to be rounded in place of weights f64[groups, K, outputs]."""
        return next(self.problems(weights, (damping,)))

    def problems(self, weights: np.ndarray, dampings: Sequence[float]) -> Iterator[Reconstruction]:
        """The same with each of several dampings."""
        moment, crossed = self.moment, self.crossed
        changed = not np.array_equal(moment, crossed)
        scale, wanted = unit(moment), crossed @ weights if changed else weights
        size = np.diagonal(scale, axis1=-2, axis2=-1)[..., None]
        for damping in dampings:
            near = np.linalg.solve(moment + damping * scale, wanted + damping * size * weights) if changed else weights
            yield Reconstruction(near, moment, damping)

    def shift(self, weights: np.ndarray, real: np.ndarray) -> np.ndarray:
        """f64[groups, K, outputs] whose sum over K goes into the bias: what the means lose by rounding weights to `real`."""
        x, t = self.means
        return t[:, :, None] * weights - x[:, :, None] * real

    def loss(self, weights: np.ndarray, real: np.ndarray, shift: np.ndarray | float) -> float:
        """The mean square of x real + shift - t weights, but for what does not depend on `real`."""
        return self.judge(weights)(real, shift)

    def judge(self, weights: np.ndarray) -> Callable[[np.ndarray, np.ndarray | float], float]:
        """That loss as a function of real f64[groups, K, outputs] and shift f64[groups, outputs]."""
        x, aim = self.square / self.count, 2 * (self.cross / self.count) @ weights
        near, exact = self.means
        before = np.einsum("gk,gko->go", exact, weights)

        def loss(real: np.ndarray, shift: np.ndarray | float) -> float:
            lost = np.vdot(real, x @ real - aim)
            if not self.centred:
                return float(lost)
            change = np.einsum("gk,gko->go", near, real) - before
            return float(lost + np.sum(shift * (2 * change + shift)))
        return loss


def chosen_damping(halves: Sequence[PairedMoments], weights: np.ndarray, rounded: Callable[[Reconstruction], np.ndarray]) -> float:
    """The one of DAMPINGS by which weights found on one half of the samples do best on the other; `rounded` solves a problem."""
    if len(halves) < 2:
        return DAMPING

    found = np.zeros(len(DAMPINGS))
    for seen, other in (halves, halves[::-1]):
        loss = other.judge(weights)
        for number, problem in enumerate(seen.problems(weights, DAMPINGS)):
            real = rounded(problem)
            found[number] += loss(real, seen.shift(weights, real).sum(1) if seen.centred else 0.0)
    return DAMPINGS[int(found.argmin())]
