"""What a method that rounds weights gets to see of one layer: its float weights, what went in and what came out on the calibration data.

A rounding method is a function from LayerData to the integers of the weights, of the shape of `weights` and the type of `grid`; it is given
to `edgec.quantize.quantize(..., rounding=method)`, which calls it for every convolution and matrix product with constant weights, in the
order of the data flow. `rows()` shows any of them as one matrix product, a group of channels at a time.

    def to_nearest(layer):
        return layer.grid.quantized(layer.weights)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from edgec.graph import Op, run_reference
from edgec.ops.window import padded, tap_views, window_of
from edgec.quantize.grid import Grid


@dataclass(frozen=True, eq=False)
class LayerData:
    """One convolution, Gemm or MatMul.

    `op` has the attributes (strides, pads, group, transB ...); weights f32 as the model has them (Conv [out, in/group, k...], ConvTranspose
    [in, out/group, k...], MatMul and Gemm [in, out], with transB [out, in]); `bias` f32[out] or None; `grid` the grid the weights are to be
    rounded to; `input_grid` that of the activations. `samples()` gives the operand x of the float network, one array a calibration sample.
    """

    name: str
    op: Op
    weights: np.ndarray
    bias: np.ndarray | None
    grid: Grid
    input_grid: Grid | None
    samples: Callable[[], Sequence[np.ndarray]]

    @cached_property
    def inputs(self) -> list[np.ndarray]:
        """The operand x of every calibration sample, as the float network computes it."""
        return list(self.samples())

    @cached_property
    def rounded_inputs(self) -> list[np.ndarray]:
        """The inputs on their grid: what the integer layer sees (without the errors of the layers before it)."""
        return [x if self.input_grid is None else self.input_grid.rounded(x) for x in self.inputs]

    @cached_property
    def outputs(self) -> list[np.ndarray]:
        """What the float layer gives on the inputs, before any activation."""
        return [self.output(x) for x in self.inputs]

    def output(self, x: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
        """The layer on one input x, with its own or other float weights of the same shape."""
        w = self.weights if weights is None else np.asarray(weights, np.float32)
        arrays = [x, w] if self.bias is None else [x, w, self.bias]
        return np.asarray(run_reference(self.op, arrays)[0])

    @property
    def groups(self) -> int:
        """Groups of channels that do not see each other: of a convolution, else 1."""
        return getattr(self.op, "group", 1)

    def columns(self, x: np.ndarray, group: int = 0) -> np.ndarray:
        """One input as the rows of a matrix [positions, K]: output rows = columns(x, g) @ matrix(g) + bias. Not for ConvTranspose."""
        if type(self.op).__name__ != "Conv":
            return x.reshape(-1, x.shape[-1])
        return unfolded(self.op, x, self.weights.shape, group)

    def mean_row(self, x: np.ndarray) -> np.ndarray:
        """The mean of the rows of `columns`, f64[groups, K], found without unfolding them."""
        if type(self.op).__name__ != "Conv":
            return x.reshape(-1, x.shape[-1]).mean(0, dtype=np.float64)[None]
        window = window_of(self.op, x.shape[2:], self.weights.shape[2:])
        counts = window.counts(x.shape[2:])
        views = tap_views(padded(x, window, counts, 0), window, counts)
        axes = (0, *range(2, x.ndim))
        return np.stack([view.mean(axes, dtype=np.float64) for _, view in views], 1).reshape(self.groups, -1)

    def matrix(self, group: int = 0, weights: np.ndarray | None = None) -> np.ndarray:
        """The weights (or others of their shape) as the matrix [K, outputs of the group] that `columns` meets."""
        w = self.weights if weights is None else weights
        if type(self.op).__name__ == "Conv":
            each = w.shape[0] // self.groups
            return w[group * each:(group + 1) * each].reshape(each, -1).T
        return w.T if getattr(self.op, "transB", 0) else w

    def assembled(self, matrices: Sequence[np.ndarray]) -> np.ndarray:
        """The reverse of `matrix`: one matrix [K, outputs] a group, as weights of the model's shape."""
        if type(self.op).__name__ == "Conv":
            return np.concatenate([m.T for m in matrices]).reshape(self.weights.shape)
        return matrices[0].T if getattr(self.op, "transB", 0) else matrices[0]

    def rows(self, group: int = 0, limit: int = 1 << 14, rounded: bool = True) -> np.ndarray:
        """At most `limit` rows [n, K] of all samples together, drawn evenly; of the inputs on their grid unless not `rounded`."""
        arrays = self.rounded_inputs if rounded else self.inputs
        each = max(1, limit // max(1, len(arrays)))
        return np.concatenate([_drawn(self.columns(x, group), each) for x in arrays])[:limit]

    def with_grid(self, grid: Grid) -> LayerData:
        """The same layer, its weights to be rounded to another grid."""
        return replace(self, grid=grid)


def _drawn(rows: np.ndarray, count: int) -> np.ndarray:
    """At most `count` rows, evenly spaced."""
    return rows if len(rows) <= count else rows[np.linspace(0, len(rows) - 1, count).astype(int)]


def unfolded(op: Any, x: np.ndarray, weights: tuple[int, ...], group: int) -> np.ndarray:
    """What a convolution multiplies with one group of its weights (of this shape): x [n, c, y...] as [n * positions, c/group * k...]."""
    window = window_of(op, x.shape[2:], weights[2:])
    each = weights[1]
    x = x[:, group * each:(group + 1) * each]
    x = np.pad(x, [(0, 0), (0, 0), *zip(map(int, window.begin), map(int, window.end))])
    views = np.lib.stride_tricks.sliding_window_view(x, window.extents, axis=tuple(range(2, x.ndim)))
    steps = [slice(None, None, step) for step in (*window.strides, *window.dilations)]
    patches = np.moveaxis(views[(slice(None), slice(None), *steps)], 1, 1 + window.rank)
    return patches.reshape(-1, each * int(np.prod(window.kernel)))


Rounding = Callable[[LayerData], np.ndarray]
