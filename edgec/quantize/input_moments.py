"""What rounding methods need of the calibration data: for each layer, the mean and second moment of the rows that its weights meet.

The float network runs once over all samples; of a convolution's positions at most ROWS a sample count, so memory is K^2 a group of
channels, however large the pictures are.

    moments = input_moments(graph, ops, samples);  moments[conv].second     # f64[groups, K, K]
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Callable, Mapping, Sequence

import numpy as np

from edgec.errors import ModelError
from edgec.graph import Graph, Op
from edgec.ops.convolution import Conv
from edgec.quantize.layer_data import unfolded
from edgec.quantize.run_values import runner

ROWS = 1024  # of a sample


@dataclass(eq=False)
class Moments:
    """Sums over the rows [n, groups, K] seen so far."""

    count: int = 0
    total: Any = 0.0
    square: Any = 0.0

    def see(self, rows: np.ndarray) -> None:
        """Take in more rows."""
        x = rows.astype(np.float64)
        self.count += len(x)
        self.total = self.total + x.sum(0)
        self.square = self.square + np.matmul(x.transpose(1, 2, 0), x.transpose(1, 0, 2))

    @property
    def mean(self) -> np.ndarray:
        """f64[groups, K]"""
        return self.total / max(1, self.count)

    @property
    def second(self) -> np.ndarray:
        """The mean of x x^T, f64[groups, K, K]."""
        return self.square / max(1, self.count)

    @property
    def covariance(self) -> np.ndarray:
        """That of x minus its mean."""
        return self.second - self.mean[:, :, None] * self.mean[:, None, :]


def input_moments(graph: Graph, ops: Sequence[Op], samples: Sequence[Mapping[str, np.ndarray]], threads: int = 1,
                  progress: Callable[[str, int, int], None] = lambda what, done, total: None) -> dict[Op, Moments]:
    """The moments of every op's rows; ModelError where the network gives NaN or infinity."""
    found = {op: Moments() for op in ops}
    run = runner(graph, [op.operands[0] for op in ops], len(samples), threads,
                 lambda done, total: progress("compiling the float network", done, total))
    for number, sample in enumerate(samples):
        progress("calibrating", number, len(samples))
        for op, x in zip(ops, run(sample)):
            if not np.isfinite(x).all():
                raise ModelError(f"the input of layer '{op.output.name}' is not finite for calibration sample {number}", loc=op.loc,
                                 hint="check that the samples are prepared as the model expects them")
            found[op].see(rows_of(op, x))
    progress("calibrating", len(samples), len(samples))
    return found


def rows_of(op: Op, x: np.ndarray) -> np.ndarray:
    """At most ROWS of the rows [n, groups, K] that the weights of a Conv, Gemm or MatMul meet in one input, evenly spaced."""
    if not isinstance(op, Conv):
        return _drawn((x.T if getattr(op, "transA", 0) else x).reshape(-1, 1, op.operands[1].shape[getattr(op, "transB", 0)]))
    shape = op.operands[1].shape
    rows = _drawn(unfolded(op, x, (shape[0], x.shape[1], *shape[2:]), 0))
    return rows.reshape(len(rows), op.group, -1)


def _drawn(rows: np.ndarray) -> np.ndarray:
    return rows if len(rows) <= ROWS else rows[np.linspace(0, len(rows) - 1, ROWS).astype(int)]
